//! What becomes of messages on which a plugin fails, and what is kept of the failure.

use super::{
    Gateway, Receiver,
    chain::{change, scripted},
    component, until,
};
use crate::gateway::receiver::Received;
use reqwest::Method;
use serde_json::{Value, json};

/// The settings with which `scripted` crashes on everything.
fn broken() -> Value {
    json!({ "settings": { "script": r#"{"do":"panic","reason":"bad day"}"# } })
}

async fn state(gateway: &Gateway, state: &str) -> Vec<Value> {
    let list = gateway.get(&format!("/applications/hooli/messages?state={state}")).await;
    list["data"].as_array().expect("a list").clone()
}

/// After a start without compiled forms, on a machine that has no time for the compiler.
#[tokio::test]
async fn what_cannot_be_compiled_just_now_is_waited_for_and_passed_by_by_nothing() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    scripted(&gateway, &receiver, &[("a", Value::Null)]).await;
    change(&gateway, "a", json!({ "policy": "pass-through" })).await;
    gateway.kill();
    std::fs::remove_dir_all(gateway.path("data/compiled")).expect("is removed");
    gateway.set("OCTOHOOKS_PLUGINS__COMPILE_TIMEOUT_MS", "1");
    gateway.restart().await;
    let message = gateway.message("hooli", json!({ "do": "drop", "reason": "seen" })).await;
    let waits = gateway.held("hooli", &message, "retry").await;
    let reason = waits["reason"].as_str().expect("a reason");
    assert!(reason.contains("compiling took longer than 1 ms"), "{reason}");
    gateway.unset("OCTOHOOKS_PLUGINS__COMPILE_TIMEOUT_MS");
    gateway.restart().await;
    let dropped = gateway.held("hooli", &message, "dropped").await;
    assert_eq!(dropped["reason"], "seen");
    assert_eq!(receiver.received("/ok").len(), 0);
}

#[tokio::test]
async fn a_message_may_go_on_without_the_plugin_that_fails() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let send = |part: Value| json!({ "do": "send", "dispatches": [part] });
    let first = send(json!({ "payload": { "do": "reject", "reason": "never" } }));
    let last = send(json!({ "headers": [["x-last", "1"]] }));
    let plugins = [("a", first.clone()), ("b", Value::Null), ("c", last)];
    scripted(&gateway, &receiver, &plugins).await;
    let message = gateway.message("hooli", json!({})).await;
    gateway.held("hooli", &message, "parked").await;
    change(&gateway, "b", json!({ "policy": "pass-through" })).await;
    let received = receiver.wait_for("/ok", 1).await.remove(0);
    assert_eq!(serde_json::from_slice::<Value>(&received.body).expect("JSON")["do"], "reject");
    assert_eq!(received.header("x-last"), "1", "the others are called");
    // A plugin that is alone leaves the message as it came.
    for plugin in ["a", "c"] {
        let path = format!("/applications/hooli/plugins/{plugin}");
        gateway.good(Method::DELETE, &path, None).await;
    }
    let payload = json!({ "do": "panic", "reason": "bad day" });
    let message = gateway.message("hooli", payload.clone()).await;
    assert_eq!(gateway.settled("hooli", &message).await.len(), 1);
    let received = receiver.received("/ok").remove(1);
    assert_eq!(serde_json::from_slice::<Value>(&received.body).expect("JSON"), payload);
    let metrics = gateway.text("/metrics").await;
    assert!(metrics.contains("octohooks_messages_passed_through_total 2"), "{metrics}");
    assert!(gateway.log().contains("a message goes on without its plugin"));
    // How the plugin failed is kept with the message nevertheless.
    gateway.restart().await;
    let record = gateway.get(&format!("/applications/hooli/messages/{message}")).await;
    let failure = &record["failure"];
    assert_eq!((&record["state"], &failure["plugin"]), (&json!("accepted"), &json!("b")));
    assert_eq!(failure["kind"], "trap");
    assert!(failure["backtrace"].as_str().is_some_and(|text| text.contains("wasm")), "{failure}");
    assert!(failure["log"].to_string().contains("bad day"), "{failure}");
}

#[tokio::test]
async fn what_was_parked_goes_on_in_order_however_long_its_calls_take() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    let endpoint = json!({ "url": receiver.url("/ok"), "maxInFlight": 1 });
    gateway.post("/applications/hooli/endpoints", endpoint).await;
    gateway.upload("hooli", component("scripted")).await;
    change(&gateway, "main", broken()).await;
    // Every fifth takes its time to be read.
    let message = |n: usize| {
        let pad = "x".repeat(if n.is_multiple_of(5) { 50_000 } else { 1 });
        json!({ "eventType": "t", "payload": { "do": "pass", "n": n, "pad": pad } })
    };
    const COUNT: usize = 300;
    let all: Vec<_> = (0..COUNT).map(message).collect();
    for batch in all.chunks(100) {
        gateway.post("/applications/hooli/messages/batch", json!({ "messages": batch })).await;
    }
    until("all are parked", async || {
        let health: Value = serde_json::from_str(&gateway.text("/health").await).expect("JSON");
        health.to_string().contains(&format!("\"parked\":{COUNT}")).then_some(())
    })
    .await;
    change(&gateway, "main", json!({ "settings": {} })).await;
    let received = receiver.wait_for("/ok", COUNT).await;
    let numbers: Vec<_> = received.iter().map(|received| received.n()).collect();
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_dead_message_waits_for_a_person_and_for_no_version() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    scripted(&gateway, &receiver, &[("main", Value::Null)]).await;
    change(&gateway, "main", json!({ "policy": "dead-letter" })).await;
    let message = gateway.message("hooli", json!({ "do": "panic" })).await;
    let dead = gateway.held("hooli", &message, "dead").await;
    assert_eq!(
        (&dead["failure"]["kind"], &dead["failure"]["plugin"]),
        (&json!("trap"), &json!("main"))
    );
    gateway.restart().await;
    assert_eq!(gateway.upload("hooli", component("sms-status")).await.0, 200);
    gateway.upload("hooli", component("scripted")).await;
    gateway.settings("hooli", json!({ "script": r#"{"do":"pass"}"# })).await;
    let next = gateway.message("hooli", json!({ "n": 1 })).await;
    gateway.settled("hooli", &next).await;
    let found = state(&gateway, "dead").await;
    assert_eq!((found.len(), &found[0]["id"]), (1, &json!(message)));
    assert!(found[0].get("failure").is_none(), "lists are short");
    let path = "/applications/hooli/endpoints/e0/recover";
    let wanted = json!({ "since": 0, "mode": "missing" });
    assert_eq!(gateway.call(Method::POST, path, Some(&wanted)).await.0, 202);
    assert_eq!(gateway.settled("hooli", &message).await.len(), 1);
    receiver.wait_for("/ok", 2).await;
    assert!(state(&gateway, "dead").await.is_empty());
}

#[tokio::test]
async fn how_a_plugin_failed_is_kept_with_the_message_until_it_goes_on() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    scripted(&gateway, &receiver, &[("fine", Value::Null), ("main", Value::Null)]).await;
    let plugin = change(&gateway, "main", broken()).await;
    let message = gateway.message("hooli", json!({ "n": 1 })).await;
    gateway.held("hooli", &message, "parked").await;
    gateway.restart().await;
    let parked = gateway.held("hooli", &message, "parked").await;
    let failure = &parked["failure"];
    assert_eq!(failure["plugin"], "main");
    assert_eq!((&failure["digest"], &failure["kind"]), (&plugin["active"], &json!("trap")));
    assert_eq!(failure["reason"], parked["reason"]);
    assert!(failure["backtrace"].as_str().is_some_and(|text| text.contains("wasm")), "{failure}");
    let log = failure["log"].as_array().expect("a list");
    let line =
        log.iter().find(|line| line["text"].as_str().is_some_and(|text| text.contains("bad day")));
    assert!(line.is_some_and(|line| line["level"] == "error"), "{failure}");
    gateway.settings("hooli", json!({})).await;
    gateway.settled("hooli", &message).await;
    let path = format!("/applications/hooli/messages/{message}");
    assert!(gateway.get(&path).await.get("failure").is_none());

    // It goes with the message's content.
    change(&gateway, "fine", json!({ "policy": "dead-letter" })).await;
    let message = gateway.message("hooli", json!({ "do": "panic", "reason": "secret" })).await;
    let dead = gateway.held("hooli", &message, "dead").await;
    assert!(dead["failure"].to_string().contains("secret"), "{dead}");
    let path = format!("/applications/hooli/messages/{message}");
    gateway.good(Method::DELETE, &format!("{path}/payload"), None).await;
    let bare = gateway.get(&path).await;
    assert_eq!((&bare["state"], bare.get("failure")), (&json!("dead"), None));
}

#[tokio::test]
async fn of_several_failures_the_one_that_holds_the_message_is_kept() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    scripted(&gateway, &receiver, &[("main", Value::Null), ("next", Value::Null)]).await;
    let script = json!({ "settings": { "script": r#"{"do":"other","reason":"why"}"# } });
    change(&gateway, "next", script).await;
    change(&gateway, "main", json!({ "policy": "pass-through" })).await;
    let payload = json!({ "do": "big-output", "bytes": 50_000_000 });
    let message = gateway.message("hooli", payload).await;
    let failure = gateway.held("hooli", &message, "parked").await["failure"].clone();
    assert_eq!((&failure["plugin"], &failure["kind"]), (&json!("next"), &json!("other")));
    assert_eq!(
        (&failure["reason"], &failure["log"]),
        (&json!("the plugin failed: why"), &json!([]))
    );
}

#[tokio::test]
async fn each_plugin_has_a_quarantine_of_its_own_and_is_released_from_it() {
    let few = [("OCTOHOOKS_PLUGINS__QUARANTINE_AFTER", "3")];
    let (mut gateway, receiver) = (Gateway::start(&few).await, Receiver::start().await);
    scripted(&gateway, &receiver, &[("first", Value::Null), ("second", Value::Null)]).await;
    change(&gateway, "first", json!({ "policy": "pass-through" })).await;
    // The first fails and lets them pass, the second parks what it fails on.
    let mut messages = Vec::new();
    for n in 0..3 {
        messages.push(gateway.message("hooli", json!({ "do": "panic", "n": n })).await);
    }
    for message in &messages {
        gateway.held("hooli", message, "parked").await;
    }
    let quarantined = async |gateway: &Gateway, name: &str| {
        gateway.get(&format!("/applications/hooli/plugins/{name}")).await["quarantined"].clone()
    };
    until("both are in quarantine", async || {
        let both = [quarantined(&gateway, "first").await, quarantined(&gateway, "second").await];
        both.iter().all(Value::is_string).then_some(())
    })
    .await;
    gateway.restart().await;
    let good = gateway.message("hooli", json!({ "do": "pass" })).await;
    let parked = gateway.held("hooli", &good, "parked").await;
    assert_eq!(
        (&parked["failure"]["plugin"], &parked["failure"]["kind"]),
        (&json!("second"), &json!("quarantined"))
    );
    gateway.post("/applications/hooli/plugins/second/release", json!({})).await;
    assert_eq!(quarantined(&gateway, "second").await, Value::Null);
    assert!(quarantined(&gateway, "first").await.is_string(), "the other's stays");
    gateway.settled("hooli", &good).await;
    assert_eq!(receiver.received("/ok").len(), 1);
}

#[tokio::test]
async fn whatever_mends_a_plugin_lets_all_that_it_parked_go_on() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    scripted(&gateway, &receiver, &[("first", Value::Null), ("second", Value::Null)]).await;
    let path = "/applications/hooli/plugins/second";
    let bad = change(&gateway, "second", broken()).await["active"].clone();
    let (status, both) =
        gateway.upload_as("hooli", "second?activate=false", component("sms-status")).await;
    assert_eq!(status, 200, "{both}");
    let good = both["versions"][1]["digest"].clone();
    let mut sent = 0;
    for step in ["activate", "rollback", "settings", "release"] {
        // The settings break one version, and not the other.
        change(&gateway, "second", broken()).await;
        if gateway.get(path).await["active"] != bad {
            gateway.post(&format!("{path}/activate"), json!({ "digest": bad })).await;
        }
        for _ in 0..5 {
            let report = json!({ "messageId": "m", "to": "+46", "status": "DELIVRD", "n": sent });
            let message = gateway.message("hooli", report).await;
            gateway.held("hooli", &message, "parked").await;
            sent += 1;
        }
        match step {
            "activate" => {
                gateway.post(&format!("{path}/activate"), json!({ "digest": good })).await;
            }
            "rollback" => {
                gateway.post(&format!("{path}/rollback"), json!({})).await;
            }
            "settings" => {
                change(&gateway, "second", json!({ "settings": {} })).await;
            }
            _ => {
                // They are tried again, and parked again.
                gateway.post(&format!("{path}/release"), json!({})).await;
                until("they are parked again", async || {
                    (state(&gateway, "parked").await.len() == 5).then_some(())
                })
                .await;
                change(&gateway, "second", json!({ "settings": {} })).await;
            }
        }
        receiver.wait_for("/ok", sent).await;
    }
    let all: Vec<Received> = receiver.received("/ok");
    assert_eq!(all.len(), sent, "each once");
}
