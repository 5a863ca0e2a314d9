//! Health: receivers that are not well are left alone, asked for less, and in the end no more.

use super::{
    receiver::Receiver,
    rig::{Gateway, until},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{fs, time::Duration};

const ENDPOINT: &str = "/applications/hooli/endpoints/e0";

async fn health(gateway: &Gateway) -> Value {
    gateway.get(ENDPOINT).await["health"].clone()
}

#[tokio::test]
async fn an_endpoint_that_fails_in_a_row_is_left_alone_across_a_restart_until_it_is_another() {
    let mut gateway = Gateway::start(&[
        ("OCTOHOOKS_DELIVERY__BREAKER__FAILURES", "3"),
        ("OCTOHOOKS_DELIVERY__BREAKER__OPEN_MS", "3600000"),
        ("OCTOHOOKS_DELIVERY__BREAKER__OPEN_MAX_MS", "3600000"),
        ("OCTOHOOKS_DELIVERY__MAX_IN_FLIGHT", "1"),
    ])
    .await;
    let receiver = Receiver::start().await;
    gateway.application("hooli", &[&receiver.url("/status/500")]).await;
    let well = json!({ "breaker": "closed", "until": null, "failingSince": null, "failures": 0,
        "inFlightLimit": 1 });
    assert_eq!(health(&gateway).await, well);
    for n in 0..6 {
        gateway.message("hooli", json!({ "n": n })).await;
    }
    let open = until("it is open", async || {
        let health = health(&gateway).await;
        (health["breaker"] == "open").then_some(health)
    })
    .await;
    assert_eq!(open["failures"], 3);
    assert!(open["failingSince"].as_u64() < open["until"].as_u64(), "{open}");
    let listed = gateway.get("/applications/hooli/endpoints").await;
    assert_eq!(listed["data"][0]["health"], open);
    gateway.restart().await;
    let same = until("it is known again", async || {
        let health = health(&gateway).await;
        (health["breaker"] == "open").then_some(health)
    })
    .await;
    assert_eq!((&same["failures"], &same["failingSince"]), (&json!(3), &open["failingSince"]));
    assert_eq!(receiver.received("/status/500").len(), 3, "what waits was not attempted");
    // Another URL is another receiver.
    gateway.put(ENDPOINT, json!({ "url": receiver.url("/ok") })).await;
    let received = receiver.wait_for("/ok", 6).await;
    let mut numbers: Vec<_> = received.iter().map(super::receiver::Received::n).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..6).collect::<Vec<_>>());
    assert_eq!(health(&gateway).await, well);
}

#[tokio::test]
async fn one_that_recovers_is_found_by_a_trial() {
    let gateway = Gateway::start(&[
        ("OCTOHOOKS_DELIVERY__BREAKER__FAILURES", "2"),
        ("OCTOHOOKS_DELIVERY__BREAKER__OPEN_MS", "30"),
        ("OCTOHOOKS_DELIVERY__BREAKER__OPEN_MAX_MS", "60"),
        ("OCTOHOOKS_DELIVERY__RETRY__WAITS_SECONDS", "[0.01, 0.01, 0.01, 0.01]"),
    ])
    .await;
    let receiver = Receiver::start().await;
    gateway.application("hooli", &[&receiver.url("/flaky/4")]).await;
    let message = gateway.message("hooli", json!({ "n": 1 })).await;
    let settled = gateway.settled("hooli", &message).await;
    assert_eq!(
        (&settled[0]["status"], &settled[0]["attemptCount"]),
        (&json!("success"), &json!(5))
    );
    until("it is well", async || {
        let health = health(&gateway).await;
        (health["breaker"] == "closed" && health["failures"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_pause_gets_it_for_every_delivery_and_fewer_at_once() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/retry-after/1")]).await;
    gateway.message("hooli", json!({ "n": 1 })).await;
    until("it pushed back", async || (health(&gateway).await["inFlightLimit"] == 50).then_some(()))
        .await;
    let second = gateway.message("hooli", json!({ "n": 2 })).await;
    gateway.settled("hooli", &second).await;
    let received = receiver.received("/retry-after/1");
    let second = received.iter().find(|request| request.n() == 2).expect("it came");
    // A slow machine makes it longer, never shorter.
    let waited = second.at - received[0].at;
    assert!(waited >= Duration::from_millis(950), "{waited:?}");
}

/// What operators were told with that type.
fn told(receiver: &Receiver, what: &str) -> Vec<Value> {
    let received = receiver.received("/ok/told");
    let payloads = received.iter().map(|r| serde_json::from_slice::<Value>(&r.body).expect("JSON"));
    payloads.filter(|told| told["type"] == what).collect()
}

#[tokio::test]
async fn one_that_only_fails_is_disabled_and_what_it_missed_is_recovered() {
    let gateway = Gateway::start(&[("OCTOHOOKS_DELIVERY__DISABLE_AFTER_SECONDS", "1")]).await;
    let receiver = Receiver::start().await;
    let operators = json!({ "url": receiver.url("/ok/told"), "uid": "operators" });
    gateway.post("/applications/octohooks-operational/endpoints", operators).await;
    gateway.application("hooli", &[]).await;
    let retry = json!({ "base": 0.05, "factor": 1, "attempts": 101 });
    let broken = json!({ "url": receiver.url("/status/500"), "uid": "e0", "retry": retry });
    gateway.post("/applications/hooli/endpoints", broken).await;
    let first = gateway.message("hooli", json!({ "n": 1 })).await;
    let settled = gateway.settled("hooli", &first).await;
    assert_eq!(settled[0]["status"], "disabled", "{settled:?}");
    let endpoint = gateway.get(ENDPOINT).await;
    let is = (&endpoint["enabled"], &endpoint["disabledReason"]);
    assert_eq!(is, (&json!(false), &json!("failing")));
    until("operators are told", async || {
        let both = [told(&receiver, "endpoint.failing"), told(&receiver, "endpoint.disabled")];
        both.iter().all(|told| !told.is_empty()).then_some(())
    })
    .await;
    let (before, after) =
        (told(&receiver, "endpoint.failing"), told(&receiver, "endpoint.disabled"));
    assert_eq!((before.len(), after.len()), (1, 1), "once");
    assert_eq!(
        (&before[0]["endpoint"]["uid"], &after[0]["reason"]),
        (&json!("e0"), &json!("failing"))
    );
    let failing = &before[0]["failing"];
    assert!(failing["since"].as_u64() < failing["disabledAt"].as_u64(), "{failing}");
    // It comes while the endpoint is disabled.
    gateway.message("hooli", json!({ "n": 2 })).await;
    let mended = json!({ "url": receiver.url("/ok"), "enabled": true });
    let shown = gateway.put(ENDPOINT, mended).await;
    assert_eq!(shown["disabledReason"], Value::Null);
    assert_eq!(health(&gateway).await["failures"], 0, "its health begins anew");
    let missing = json!({ "since": 0, "mode": "missing" });
    let (status, answer) =
        gateway.call(Method::POST, &format!("{ENDPOINT}/recover"), Some(&missing)).await;
    assert_eq!(status, 202, "{answer}");
    let received = receiver.wait_for("/ok", 2).await;
    let mut numbers: Vec<_> = received.iter().map(super::receiver::Received::n).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);
}

#[tokio::test]
async fn operators_are_told_why_an_endpoint_is_disabled() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let operators = json!({ "url": receiver.url("/ok/told"), "uid": "operators" });
    gateway.post("/applications/octohooks-operational/endpoints", operators).await;
    gateway.application("hooli", &[&receiver.url("/status/410"), &receiver.url("/ok")]).await;
    gateway.message("hooli", json!({ "n": 1 })).await;
    let mine = json!({ "url": receiver.url("/ok"), "enabled": false });
    gateway.put("/applications/hooli/endpoints/e1", mine).await;
    let told = until("operators are told", async || {
        Some(told(&receiver, "endpoint.disabled")).filter(|told| told.len() == 2)
    })
    .await;
    for (uid, reason) in [("e0", json!("gone")), ("e1", Value::Null)] {
        let found = told.iter().find(|told| told["endpoint"]["uid"] == uid).expect("is told");
        assert_eq!(found["reason"], reason, "{uid}");
    }
    assert_eq!(gateway.get(ENDPOINT).await["disabledReason"], "gone");
}

#[tokio::test]
async fn a_declared_endpoint_that_was_disabled_stays_so_until_its_declaration_is_another() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    fs::create_dir(gateway.path("config")).expect("a folder");
    let file = gateway.path("config/octohooks.toml");
    let declare = |path: &str, more: &str| {
        let text = format!(
            "[[applications]]\nuid = \"hooli\"\n[[applications.endpoints]]\nuid = \"e0\"\n\
             url = \"{}\"\n{more}\n\
             [[applications.endpoints]]\nuid = \"e1\"\nurl = \"{}\"\n",
            receiver.url(path),
            receiver.url("/ok/other"),
        );
        fs::write(&file, text).expect("writes");
    };
    let state = async |gateway: &Gateway| {
        let shown = gateway.get(ENDPOINT).await;
        (shown["enabled"] == true, shown["disabledReason"].clone())
    };
    declare("/status/410", "");
    gateway.restart().await;
    let message = gateway.message("hooli", json!({ "n": 1 })).await;
    gateway.settled("hooli", &message).await;
    let gone = || (false, json!("gone"));
    until("it is disabled", async || (state(&gateway).await == gone()).then_some(())).await;
    let on = || (true, Value::Null);
    for _ in 0..2 {
        gateway.restart().await;
        assert_eq!(state(&gateway).await, gone(), "a restart makes no receiver better");
    }
    // Somebody enables it, and its receiver is gone still.
    let enabled = json!({ "url": receiver.url("/status/410"), "enabled": true });
    gateway.put(ENDPOINT, enabled).await;
    gateway.restart().await;
    assert_eq!(state(&gateway).await, on());
    let message = gateway.message("hooli", json!({ "n": 2 })).await;
    gateway.settled("hooli", &message).await;
    until("it is disabled again", async || (state(&gateway).await == gone()).then_some(())).await;
    // Its owner disables it in the file, and enables it there.
    declare("/status/410", "enabled = false");
    gateway.restart().await;
    assert_eq!(state(&gateway).await, (false, Value::Null), "that is its owner's word");
    declare("/status/410", "enabled = true");
    gateway.restart().await;
    assert_eq!(state(&gateway).await, on());
    let message = gateway.message("hooli", json!({ "n": 3 })).await;
    gateway.settled("hooli", &message).await;
    until("it is disabled again", async || (state(&gateway).await == gone()).then_some(())).await;
    // The declaration leads elsewhere.
    declare("/ok/new", "enabled = true");
    gateway.restart().await;
    assert_eq!(state(&gateway).await, on());
    gateway.message("hooli", json!({ "n": 4 })).await;
    receiver.wait_for("/ok/new", 1).await;
}
