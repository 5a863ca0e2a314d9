//! Versions that are tried before they are trusted: on what was recorded (`simulate`), and on live traffic, in a shadow and
//! as a canary. The active version is `sms-status`, the other one mostly `scripted`, which leaves reports as they are.

use super::{
    receiver::Receiver,
    rig::{Gateway, component, until},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

mod simulate;

const MAIN: &str = "/applications/hooli/plugins/main";

/// An SMS provider's report.
fn report(status: &str) -> Value {
    json!({ "messageId": "m-1", "to": "+46701234567", "status": status, "doneDate": "2601010000" })
}

/// A report that `sms-status` takes and on which `scripted` does this.
fn script(does: &Value) -> Value {
    let mut report = report("DELIVRD");
    let fields = report.as_object_mut().expect("an object");
    fields.extend(does.as_object().expect("an object").clone());
    report
}

/// An application `hooli` with an endpoint, and a plugin with two versions: their digests. The first is active.
async fn two_versions(gateway: &Gateway, receiver: &Receiver) -> [Value; 2] {
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    gateway.upload("hooli", component("sms-status")).await;
    let (status, plugin) =
        gateway.upload_as("hooli", "main?activate=false", component("scripted")).await;
    assert_eq!(status, 200, "{plugin}");
    [0, 1].map(|index| plugin["versions"][index]["digest"].clone())
}

async fn tries(gateway: &Gateway, trial: Value) -> Value {
    gateway.good(Method::PATCH, MAIN, Some(&json!({ "trial": trial }))).await
}

/// The report of the trial, once it has so many messages, seen or not.
async fn seen(gateway: &Gateway, count: u64) -> Value {
    until("the trial has seen them", async || {
        let report = gateway.get(&format!("{MAIN}/trial")).await;
        let number = |value: &Value| value.as_u64().expect("a number");
        let all = number(&report["totals"]["messages"]) + number(&report["skipped"]);
        (all >= count).then_some(report)
    })
    .await
}

fn delivered(receiver: &Receiver) -> Vec<(String, bool)> {
    let all = receiver.received("/ok").into_iter().map(|received| {
        let body: Value = serde_json::from_slice(&received.body).expect("JSON");
        (received.header("webhook-id").to_owned(), body["status"] == "delivered")
    });
    all.collect()
}

#[tokio::test]
async fn a_shadow_sees_messages_and_sends_nothing_and_its_report_grows() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let [active, candidate] = two_versions(&gateway, &receiver).await;
    assert_eq!(gateway.call(Method::GET, &format!("{MAIN}/trial"), None).await.0, 404);
    let plugin = tries(&gateway, json!({ "version": candidate, "mode": "shadow" })).await;
    let trial = &plugin["trial"];
    assert_eq!((&trial["version"], &trial["mode"]), (&candidate, &json!("shadow")));
    let fresh = gateway.get(&format!("{MAIN}/trial")).await;
    assert_eq!((&fresh["since"], &fresh["totals"]["messages"]), (&Value::Null, &json!(0)));

    let dropped = gateway.message("hooli", report("ENROUTE")).await;
    seen(&gateway, 1).await;
    let sent = gateway.message("hooli", report("DELIVRD")).await;
    seen(&gateway, 2).await;
    gateway.message("hooli", script(&json!({ "do": "panic", "reason": "bad day" }))).await;
    let found = seen(&gateway, 3).await;
    gateway.held("hooli", &dropped, "dropped").await;
    receiver.wait_for("/ok", 2).await;
    assert!(delivered(&receiver).iter().all(|(_, by_active)| *by_active));
    assert_eq!((&found["version"], &found["active"]), (&candidate, &active));
    assert!(found["since"].is_u64());
    let differences = found["differences"].as_array().expect("a list");
    let skipped = found["skipped"].as_u64().expect("a number");
    assert_eq!(differences.len() as u64 + skipped, 3, "{found}");
    let of = |id: &str| differences.iter().find(|one| one["message"] == id);
    if let Some(dropped) = of(&dropped) {
        assert_eq!(dropped["verdict"], json!({ "active": "drop", "candidate": "pass" }));
        assert_eq!(dropped["added"][0]["payload"], report("ENROUTE"));
    }
    if let Some(sent) = of(&sent) {
        assert_eq!((&sent["same"], &sent["failure"]), (&json!(false), &Value::Null), "{sent}");
    }
    if let Some(failed) = differences.iter().find(|one| one["failure"].is_object()) {
        assert_eq!(failed["failure"]["kind"], "trap");
        let lines = gateway.get(&format!("{MAIN}/log")).await;
        let line =
            lines["data"].as_array().expect("a list").iter().find(|l| l["failure"] == "trap");
        assert_eq!(line.expect("is there")["digest"], candidate);
    }
    // The trial is kept, its report begins anew.
    gateway.restart().await;
    assert_eq!(gateway.get(MAIN).await, plugin);
    gateway.message("hooli", report("DELIVRD")).await;
    assert!(seen(&gateway, 1).await["since"].as_u64() > found["since"].as_u64());

    let promoted = gateway.post(&format!("{MAIN}/promote"), json!({})).await;
    assert_eq!(
        (&promoted["active"], &promoted["previous"], &promoted["trial"]),
        (&candidate, &active, &Value::Null)
    );
    let kept = gateway.get(&format!("{MAIN}/trial")).await;
    assert_eq!((&kept["trial"], &kept["version"]), (&Value::Null, &candidate));
    let now = gateway.message("hooli", report("ENROUTE")).await;
    gateway.settled("hooli", &now).await;
    let (status, error) = gateway.call(Method::POST, &format!("{MAIN}/promote"), None).await;
    assert_eq!((status.as_u16(), &error["message"]), (409, &json!("no version is tried")));
}

#[tokio::test]
async fn a_canary_decides_on_its_share_and_promoting_it_under_load_loses_and_repeats_nothing() {
    const COUNT: usize = 400;
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let [_, candidate] = two_versions(&gateway, &receiver).await;
    let half = json!({ "version": candidate, "mode": "canary", "percent": 50 });
    assert_eq!(tries(&gateway, half).await["trial"]["percent"], 50);
    for _ in 0..COUNT / 2 {
        gateway.message("hooli", report("DELIVRD")).await;
    }
    let found = seen(&gateway, COUNT as u64 / 2).await;
    receiver.wait_for("/ok", COUNT / 2).await;
    let first = delivered(&receiver);
    let by_candidate = first.iter().filter(|(_, by_active)| !by_active).count();
    // Seven standard deviations.
    assert!((50..=150).contains(&by_candidate), "{by_candidate}");
    assert_eq!(found["totals"]["candidate"]["calls"], by_candidate, "{found}");
    assert_eq!(found["totals"]["active"]["calls"], first.len() - by_candidate);
    // An endpoint that has missed them gets each as the same version makes it.
    let again = json!({ "url": receiver.url("/ok/again"), "uid": "again" });
    gateway.post("/applications/hooli/endpoints", again).await;
    let wanted = json!({ "since": 0, "mode": "missing" });
    let path = "/applications/hooli/endpoints/again/recover";
    assert_eq!(gateway.call(Method::POST, path, Some(&wanted)).await.0, 202);
    let repeated = receiver.wait_for("/ok/again", COUNT / 2).await;
    for received in repeated {
        let body: Value = serde_json::from_slice(&received.body).expect("JSON");
        let of = (received.header("webhook-id").to_owned(), body["status"] == "delivered");
        assert!(first.contains(&of), "{of:?}");
    }
    let send = async {
        for _ in 0..COUNT / 2 {
            gateway.message("hooli", report("DELIVRD")).await;
        }
    };
    let promote = async {
        receiver.wait_for("/ok", COUNT / 2 + 50).await;
        gateway.post(&format!("{MAIN}/promote"), json!({})).await
    };
    let ((), promoted) = tokio::join!(send, promote);
    assert_eq!((&promoted["active"], &promoted["trial"]), (&candidate, &Value::Null));
    let last = gateway.message("hooli", report("DELIVRD")).await;
    receiver.wait_for("/ok", COUNT + 1).await;
    until("nothing waits", async || {
        let health: Value = serde_json::from_str(&gateway.text("/health").await).expect("JSON");
        let store = &health["parts"]["store"];
        ["undispatched", "unsettled", "parked"].iter().all(|n| store[n] == 0).then_some(())
    })
    .await;
    let all = delivered(&receiver);
    let ids: BTreeSet<_> = all.iter().map(|(id, _)| id).collect();
    assert_eq!((ids.len(), all.len()), (COUNT + 1, COUNT + 1));
    assert!(all.contains(&(last, false)), "by the version that was promoted");
}

#[tokio::test]
async fn a_canary_that_only_fails_is_ended_and_the_active_version_does_its_work() {
    let few = [("OCTOHOOKS_PLUGINS__QUARANTINE_AFTER", "3")];
    let (mut gateway, receiver) = (Gateway::start(&few).await, Receiver::start().await);
    let listener = json!({ "url": receiver.url("/ok/told"), "uid": "operators" });
    gateway.post("/applications/octohooks-operational/endpoints", listener).await;
    let [active, candidate] = two_versions(&gateway, &receiver).await;
    tries(&gateway, json!({ "version": candidate, "mode": "canary", "percent": 100 })).await;
    let bad = script(&json!({ "do": "panic", "reason": "bad day" }));
    let first = gateway.message("hooli", bad.clone()).await;
    let parked = gateway.held("hooli", &first, "parked").await;
    assert_eq!(parked["failure"]["digest"], candidate);
    gateway.message("hooli", bad.clone()).await;
    gateway.message("hooli", bad.clone()).await;
    let plugin = until("the trial is stopped", async || {
        let plugin = gateway.get(MAIN).await;
        plugin["trial"]["stopped"].is_string().then_some(plugin)
    })
    .await;
    assert_eq!((&plugin["active"], &plugin["quarantined"]), (&active, &Value::Null));
    // What the canary has parked goes out by the active version.
    gateway.message("hooli", bad).await;
    receiver.wait_for("/ok", 4).await;
    assert!(delivered(&receiver).iter().all(|(_, by_active)| *by_active));
    let told = until("operators are told", async || {
        let received = receiver.received("/ok/told");
        let told = received.iter().map(|r| serde_json::from_slice::<Value>(&r.body).expect("JSON"));
        told.into_iter().find(|told| told["type"] == "plugin.quarantined")
    })
    .await;
    assert_eq!((&told["plugin"]["digest"], &told["plugin"]["trial"]), (&candidate, &json!(true)));
    let report = gateway.get(&format!("{MAIN}/trial")).await;
    assert!(report["trial"]["stopped"].as_str().is_some_and(|why| why.contains("3 failures")));
    assert_eq!(report["totals"]["failed"], 3, "{report}");
    let (status, error) = gateway.call(Method::POST, &format!("{MAIN}/promote"), None).await;
    assert_eq!(status, 409, "{error}");
    gateway.restart().await;
    assert_eq!(gateway.get(MAIN).await, plugin);
    let over = tries(&gateway, Value::Null).await;
    assert_eq!(over["trial"], Value::Null);
}

#[tokio::test]
async fn a_canary_of_a_plugin_in_quarantine_decides_on_its_share() {
    let few = [("OCTOHOOKS_PLUGINS__QUARANTINE_AFTER", "1")];
    let (gateway, receiver) = (Gateway::start(&few).await, Receiver::start().await);
    let [mended, broken] = two_versions(&gateway, &receiver).await;
    gateway.post(&format!("{MAIN}/activate"), json!({ "digest": broken })).await;
    let payload = script(&json!({ "do": "panic", "reason": "bad day" }));
    let message = gateway.message("hooli", payload).await;
    gateway.held("hooli", &message, "parked").await;
    until("it is in quarantine", async || {
        gateway.get(MAIN).await["quarantined"].is_string().then_some(())
    })
    .await;
    tries(&gateway, json!({ "version": mended, "mode": "canary", "percent": 100 })).await;
    gateway.message("hooli", report("DELIVRD")).await;
    receiver.wait_for("/ok", 1).await;
}

#[tokio::test]
async fn a_trial_that_cannot_be_is_refused_and_changes_nothing() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let [active, candidate] = two_versions(&gateway, &receiver).await;
    let before = gateway.get(MAIN).await;
    let other = "0".repeat(64);
    for (trial, at) in [
        (json!({ "version": active, "mode": "shadow" }), "/trial/version"),
        (json!({ "version": other, "mode": "shadow" }), "/trial/version"),
        (json!({ "version": "none", "mode": "shadow" }), "/trial/version"),
        (json!({ "version": candidate, "mode": "canary" }), "/trial/percent"),
        (json!({ "version": candidate, "mode": "canary", "percent": 0 }), "/trial/percent"),
        (json!({ "version": candidate, "mode": "canary", "percent": 101 }), "/trial/percent"),
        (json!({ "version": candidate, "mode": "canary", "percent": -1 }), "/trial/percent"),
        (json!({ "version": candidate, "mode": "shadow", "percent": 5 }), "/trial/percent"),
        (json!({ "version": candidate, "mode": "sometimes" }), "/trial/mode"),
        (json!({ "version": candidate }), "/trial"),
    ] {
        let change = json!({ "trial": trial });
        let (status, error) = gateway.call(Method::PATCH, MAIN, Some(&change)).await;
        assert_eq!(
            (status.as_u16(), &error["details"][0]["path"]),
            (422, &json!(at)),
            "{trial}: {error}"
        );
    }
    assert_eq!(gateway.get(MAIN).await, before);
    // It ends with its version, and when that is activated otherwise.
    let shadow = json!({ "version": candidate, "mode": "shadow" });
    tries(&gateway, shadow.clone()).await;
    let path = format!("{MAIN}/activate");
    assert_eq!(gateway.post(&path, json!({ "digest": candidate })).await["trial"], Value::Null);
    gateway.post(&path, json!({ "digest": active })).await;
    tries(&gateway, shadow).await;
    let path = format!("{MAIN}/versions/{}", candidate.as_str().expect("text"));
    assert_eq!(gateway.good(Method::DELETE, &path, None).await["trial"], Value::Null);
    gateway.message("hooli", report("DELIVRD")).await;
    receiver.wait_for("/ok", 1).await;
}

#[tokio::test]
async fn what_a_plugin_writes_can_be_followed_and_its_failures_are_among_it() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let (_, plugin) = gateway.upload("hooli", component("scripted")).await;
    let empty = gateway.get(&format!("{MAIN}/log")).await;
    assert_eq!(empty["data"], json!([]));
    let lines = json!({ "do": "log", "level": "warn", "lines": ["one", "two"] });
    let message = gateway.message("hooli", lines).await;
    gateway.settled("hooli", &message).await;
    let follow = |after: &Value| format!("{MAIN}/log?after={after}");
    let found = gateway.get(&follow(&empty["after"])).await;
    let text = |found: &Value| {
        let lines = found["data"].as_array().expect("a list");
        lines.iter().map(|line| line["text"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((text(&found), &found["gap"]), (vec!["one".into(), "two".into()], &json!(false)));
    let line = &found["data"][0];
    assert_eq!((&line["message"], &line["level"]), (&json!(message), &json!("warn")));
    assert_eq!(line["digest"], plugin["active"]);
    let failed = gateway.message("hooli", json!({ "do": "reject", "reason": "never" })).await;
    gateway.held("hooli", &failed, "parked").await;
    let next = gateway.get(&follow(&found["after"])).await;
    assert_eq!(text(&next), ["the plugin rejected the message: never"]);
    let line = &next["data"][0];
    assert_eq!((&line["failure"], &line["message"]), (&json!("reject"), &json!(failed)));
    assert_eq!(gateway.get(&follow(&next["after"])).await["data"], json!([]));
    assert_eq!(text(&gateway.get(&format!("{MAIN}/log?limit=1")).await).len(), 1);
    for bad in ["limit=0", "limit=1001", "after=x"] {
        let (status, error) = gateway.call(Method::GET, &format!("{MAIN}/log?{bad}"), None).await;
        assert_eq!(status, 422, "{error}");
    }
    // It goes with the content of its message.
    gateway
        .good(Method::DELETE, &format!("/applications/hooli/messages/{message}/payload"), None)
        .await;
    assert_eq!(text(&gateway.get(&follow(&empty["after"])).await).len(), 1);
    // Who follows goes on after a start: what is written then is newer.
    gateway.restart().await;
    let message = gateway.message("hooli", json!({ "do": "log", "lines": ["three"] })).await;
    gateway.settled("hooli", &message).await;
    assert_eq!(text(&gateway.get(&follow(&next["after"])).await), ["three"]);
}
