//! A version on what was recorded, and on messages that are given.

use super::{Gateway, MAIN, Receiver, component, report, script, two_versions};
use reqwest::Method;
use serde_json::{Value, json};

async fn simulate(gateway: &Gateway, what: Value) -> Value {
    gateway.post(&format!("{MAIN}/simulate"), what).await
}

fn messages(found: &Value) -> &Vec<Value> {
    found["messages"].as_array().expect("a list")
}

#[tokio::test]
async fn a_candidate_that_differs_is_reported_message_by_message_and_nothing_is_sent() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let [active, candidate] = two_versions(&gateway, &receiver).await;
    let delivered = gateway.message("hooli", report("DELIVRD")).await;
    let dropped = gateway.message("hooli", report("ENROUTE")).await;
    let instead = json!({ "do": "send", "dispatches": [
        { "eventType": "sms.delivered", "payload": { "messageId": "m-2", "more": [1] } },
        { "target": { "endpoints": ["e0"] }, "headers": [["x-a", "1"]] },
    ] });
    let sent = gateway.message("hooli", script(&instead)).await;
    let trapped = gateway.message("hooli", script(&json!({ "do": "panic" }))).await;
    let gone = gateway.message("hooli", report("DELIVRD")).await;
    for message in [&delivered, &sent, &trapped, &gone] {
        gateway.settled("hooli", message).await;
    }
    gateway.held("hooli", &dropped, "dropped").await;
    let payload = format!("/applications/hooli/messages/{gone}/payload");
    gateway.good(Method::DELETE, &payload, None).await;
    let before = gateway.get("/applications/hooli/messages").await;

    let found = simulate(&gateway, json!({})).await;
    assert_eq!((&found["version"], &found["active"]), (&candidate, &active));
    let totals = &found["totals"];
    let counts = ["messages", "same", "different", "failed"].map(|name| &totals[name]);
    assert_eq!(counts, [4, 0, 4, 1].map(|count| json!(count)).each_ref(), "{totals}");
    assert_eq!((&found["withoutContent"], &found["iterator"]), (&json!(1), &Value::Null));
    assert_eq!((&found["truncated"], &found["timedOut"]), (&json!(false), &json!(false)));
    let ids: Vec<_> = messages(&found).iter().map(|one| one["message"].clone()).collect();
    assert_eq!(json!(ids), json!([trapped, sent, dropped, delivered]), "the newest first");
    let [trap, send, drop, pass] = [0, 1, 2, 3].map(|index| &messages(&found)[index]);
    assert_eq!(trap["failure"]["kind"], "trap");
    assert_eq!(trap["verdict"], json!({ "active": "send", "candidate": "failed" }));
    assert_eq!(drop["verdict"], json!({ "active": "drop", "candidate": "pass" }));
    assert_eq!(drop["dropped"]["active"], "ENROUTE is not a final status");
    assert_eq!(drop["added"][0]["payload"], report("ENROUTE"));
    assert_eq!((pass["added"].as_array(), pass["removed"].as_array()).0.map(Vec::len), Some(1));
    assert_eq!(pass["removed"][0]["eventType"], "sms.delivered", "{pass}");
    let own = &send["added"][0];
    assert_eq!((&own["dispatch"], &own["target"]), (&json!(1), &json!({ "endpoints": ["e0"] })));
    assert_eq!(own["headers"], json!([["x-a", "1"]]));
    let diff = |path: &str| {
        let diffs = send["payloadDiffs"].as_array().expect("a list");
        diffs.iter().find(|diff| diff["path"] == path).cloned().expect("is told")
    };
    let id = json!({ "dispatch": 0, "path": "/messageId", "before": "m-1", "after": "m-2" });
    assert_eq!(diff("/messageId"), id);
    assert_eq!(diff("/more"), json!({ "dispatch": 0, "path": "/more", "after": [1] }));
    assert_eq!(diff("/final")["before"], true);
    for side in ["active", "candidate"] {
        for one in messages(&found) {
            let cost = &one["cost"][side];
            assert!(cost["fuel"].as_u64().is_some_and(|fuel| fuel > 1000), "{one}");
            assert!(cost["memoryPeak"].as_u64().is_some_and(|bytes| bytes > 65_535), "{one}");
        }
        let total = &totals[side];
        assert!(total["fuel"]["p99"].as_u64() >= total["fuel"]["p50"].as_u64(), "{total}");
        assert_eq!(total["calls"], 4);
    }
    assert_eq!(gateway.get("/applications/hooli/messages").await, before);
    assert_eq!(receiver.received("/ok").len(), 4, "what was sent before");
    assert_eq!(gateway.get(MAIN).await["active"], active);
}

#[tokio::test]
async fn a_version_that_does_the_same_is_the_same_and_takes_the_same_fuel_each_time() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    two_versions(&gateway, &receiver).await;
    let mut variant = component("sms-status");
    variant.extend([0, 3, 1, b'n', 7]);
    let (status, plugin) = gateway.upload_as("hooli", "main?activate=false", variant).await;
    assert_eq!(status, 200, "{plugin}");
    for status in ["DELIVRD", "ENROUTE", "EXPIRED", "no such status"] {
        gateway.message("hooli", report(status)).await;
    }
    let found = simulate(&gateway, json!({})).await;
    assert_eq!(found["version"], plugin["versions"][2]["digest"], "the newest");
    let totals = &found["totals"];
    assert_eq!((&totals["same"], &totals["failed"]), (&json!(4), &json!(1)), "{found}");
    let fuel = |found: &Value, side: &str| {
        let of = |one: &Value| one["cost"][side]["fuel"].clone();
        messages(found).iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(fuel(&found, "active"), fuel(&found, "candidate"));
    let again = simulate(&gateway, json!({})).await;
    assert_eq!(fuel(&again, "active"), fuel(&found, "active"));
    // Another key in the settings of the candidate alone is another verdict.
    let settings = json!({ "settings": { "intermediate": true } });
    let found = simulate(&gateway, settings).await;
    assert_eq!(found["totals"]["different"], 1, "{found}");
    assert_eq!(gateway.get(MAIN).await["settings"], json!({}));
}

#[tokio::test]
async fn what_was_recorded_is_selected_and_gone_through_in_pieces() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    two_versions(&gateway, &receiver).await;
    let mut ids = Vec::new();
    for (event_type, channel) in [("a", "x"), ("b", "x"), ("a", "y"), ("c", "z"), ("b", "y")] {
        let message = json!({
            "eventType": event_type, "channels": [channel], "payload": report("DELIVRD"),
        });
        let made = gateway.post("/applications/hooli/messages", message).await;
        ids.insert(0, (made["id"].clone(), made["created"].as_u64().expect("a time")));
    }
    let select = async |what: Value| {
        let found = simulate(&gateway, what).await;
        let of = |one: &Value| ids.iter().position(|(id, _)| *id == one["message"]).expect("ours");
        (messages(&found).iter().map(of).collect::<Vec<_>>(), found["iterator"].clone())
    };
    for (what, expected) in [
        (json!({}), vec![0, 1, 2, 3, 4]),
        (json!({ "eventTypes": ["a"] }), vec![2, 4]),
        (json!({ "eventTypes": ["a", "c"] }), vec![1, 2, 4]),
        (json!({ "channels": ["x"] }), vec![3, 4]),
        (json!({ "channels": ["x", "z"], "eventTypes": ["b", "c"] }), vec![1, 3]),
        (json!({ "since": ids[0].1 + 1 }), vec![]),
        (json!({ "until": ids[4].1 }), vec![]),
        (json!({ "since": ids[4].1, "until": ids[0].1 + 1 }), vec![0, 1, 2, 3, 4]),
    ] {
        let (found, iterator) = select(what.clone()).await;
        assert_eq!((found, iterator), (expected, Value::Null), "{what}");
    }
    let (first, iterator) = select(json!({ "limit": 2, "eventTypes": ["a", "b"] })).await;
    assert_eq!((first, iterator.is_string()), (vec![0, 2], true));
    let rest = json!({ "limit": 10, "eventTypes": ["a", "b"], "iterator": iterator });
    assert_eq!(select(rest).await, (vec![3, 4], Value::Null));
}

/// What a candidate does that must fail as it would in a call, and hurt nobody.
const HOSTILE: [(&str, &str); 7] = [
    (r#"{"do":"spin"}"#, "cpu-limit"),
    (r#"{"do":"fill-memory"}"#, "memory-limit"),
    (r#"{"do":"recurse"}"#, "trap"),
    (r#"{"do":"panic"}"#, "trap"),
    (r#"{"do":"big-output","bytes":50000000}"#, "output-too-large"),
    (r#"{"do":"send","dispatches":[{"target":{"endpoints":["nobody"]}}]}"#, "unknown-endpoint"),
    (r#"{"do":"retry","afterMs":5}"#, "retry"),
];

#[tokio::test]
async fn a_message_that_is_given_runs_like_any_and_a_hostile_candidate_fails_as_in_a_call() {
    let limits =
        [("OCTOHOOKS_PLUGINS__CPU_MS", "1000"), ("OCTOHOOKS_PLUGINS__TIMEOUT_MS", "60000")];
    let (gateway, receiver) = (Gateway::start(&limits).await, Receiver::start().await);
    two_versions(&gateway, &receiver).await;
    for (does, kind) in HOSTILE {
        let payload = script(&serde_json::from_str(does).expect("JSON"));
        let message = json!({ "eventType": "sms.status", "payload": payload });
        let found = simulate(&gateway, json!({ "message": message })).await;
        assert_eq!(messages(&found)[0]["failure"]["kind"], kind, "{does}: {found}");
        assert_eq!(found["totals"]["active"]["failed"], 0);
        let lives = gateway.message("hooli", report("DELIVRD")).await;
        gateway.settled("hooli", &lives).await;
    }
    let settings = json!({ "script": r#"{"do":"echo-message"}"# });
    let message = json!({
        "eventType": "a.b", "uid": "u-1", "channels": ["x"], "attributes": { "tier": "gold" },
        "payload": report("DELIVRD"),
    });
    let found = simulate(&gateway, json!({ "message": message, "settings": settings })).await;
    let echo = &messages(&found)[0]["added"][0]["payload"];
    assert_eq!((&echo["uid"], &echo["channels"]), (&json!("u-1"), &json!(["x"])), "{found}");
    assert_eq!(echo["eventType"], "a.b");
    assert!(gateway.get(MAIN).await["quarantined"].is_null());
}

#[tokio::test]
async fn what_cannot_be_simulated_is_refused() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    two_versions(&gateway, &receiver).await;
    let message = json!({ "eventType": "a", "payload": 1 });
    let large = json!({ "a": "x".repeat(65 << 10) });
    for (what, at) in [
        (json!({ "version": "0".repeat(64) }), "/version"),
        (json!({ "version": 5 }), "/version"),
        (json!({ "limit": 0 }), "/limit"),
        (json!({ "limit": 1001 }), "/limit"),
        (json!({ "iterator": "x" }), "/iterator"),
        (json!({ "eventTypes": ["not legal"] }), "/eventTypes/0"),
        (json!({ "channels": vec!["x"; 101] }), "/channels"),
        (json!({ "message": message, "since": 1 }), "/message"),
        (json!({ "message": { "payload": 1 } }), "/message"),
        (json!({ "settings": large }), "/settings"),
        (json!([]), ""),
    ] {
        let path = format!("{MAIN}/simulate");
        let (status, error) = gateway.call(Method::POST, &path, Some(&what)).await;
        assert_eq!(
            (status.as_u16(), &error["details"][0]["path"]),
            (422, &json!(at)),
            "{what}: {error}"
        );
    }
    let path = "/applications/hooli/plugins/none/simulate";
    assert_eq!(gateway.call(Method::POST, path, Some(&json!({}))).await.0, 404);
}

#[tokio::test]
async fn an_application_has_one_simulation_at_a_time() {
    let limits =
        [("OCTOHOOKS_PLUGINS__CPU_MS", "60000"), ("OCTOHOOKS_PLUGINS__TIMEOUT_MS", "5000")];
    let (gateway, receiver) = (Gateway::start(&limits).await, Receiver::start().await);
    two_versions(&gateway, &receiver).await;
    let slow = script(&json!({ "do": "spin" }));
    let slow = json!({ "message": { "eventType": "a", "payload": slow } });
    let path = format!("{MAIN}/simulate");
    // Whichever comes first: the other finds it under way.
    let (one, two) = tokio::join!(
        gateway.call(Method::POST, &path, Some(&slow)),
        gateway.call(Method::POST, &path, Some(&slow)),
    );
    let mut answers = [one.0.as_u16(), two.0.as_u16()];
    answers.sort_unstable();
    assert_eq!(answers, [200, 409], "{one:?} {two:?}");
    let found = [one.1, two.1].into_iter().find(|answer| answer["totals"].is_object());
    assert!(found.is_some_and(|found| !messages(&found).is_empty() || found["timedOut"] == true));
    // Nothing is left of it.
    let quick = json!({ "message": { "eventType": "a", "payload": report("DELIVRD") } });
    assert_eq!(simulate(&gateway, quick).await["totals"]["messages"], 1);
}
