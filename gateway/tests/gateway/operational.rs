//! Operational webhooks: what operators are told of their endpoints, by messages like any other.

use super::{
    receiver::Receiver,
    rig::{Gateway, component, until},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const RESERVED: &str = "/applications/octohooks-operational";

/// What was told, as pairs of a type and an endpoint's uid.
fn told(receiver: &Receiver) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let received = receiver.received("/ok/told");
    let payloads = received.iter().map(|r| serde_json::from_slice::<Value>(&r.body).expect("JSON"));
    payloads.map(|told| (text(&told["type"]), text(&told["endpoint"]["uid"]))).collect()
}

async fn listen(gateway: &Gateway, receiver: &Receiver) {
    let endpoint = json!({ "url": receiver.url("/ok/told"), "uid": "operators" });
    gateway.post(&format!("{RESERVED}/endpoints"), endpoint).await;
}

#[tokio::test]
async fn operators_are_told_what_happens_to_endpoints() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("before", &[&receiver.url("/ok")]).await;
    listen(&gateway, &receiver).await;
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let path = "/applications/hooli/endpoints/e0";
    for change in
        [json!({ "name": "new" }), json!({ "enabled": false }), json!({ "enabled": true })]
    {
        let mut endpoint = json!({ "url": receiver.url("/ok") });
        endpoint.as_object_mut().expect("one").extend(change.as_object().expect("one").clone());
        gateway.put(path, endpoint).await;
    }
    gateway.good(Method::DELETE, path, None).await;
    receiver.wait_for("/ok/told", 5).await;
    let mut found = told(&receiver);
    found.sort();
    let of = |what: &str| (format!("endpoint.{what}"), "e0".to_owned());
    assert_eq!(found, ["created", "deleted", "disabled", "enabled", "updated"].map(of));
    let received = receiver.received("/ok/told").remove(0);
    assert!(!received.header("webhook-signature").is_empty(), "it is signed like any message");
    assert!(!String::from_utf8_lossy(&received.body).contains("whsec_"));
}

#[tokio::test]
async fn operators_are_told_of_deliveries_that_fail_and_recover() {
    let waits = "[0.05, 0.05, 0.05, 0.05]";
    let gateway = Gateway::start(&[("OCTOHOOKS_DELIVERY__RETRY__WAITS_SECONDS", waits)]).await;
    let receiver = Receiver::start().await;
    listen(&gateway, &receiver).await;
    let urls = ["/flaky/3", "/flaky/4", "/status/500"].map(|path| receiver.url(path));
    gateway.application("hooli", &urls.each_ref().map(String::as_str)).await;
    let message = gateway.message("hooli", json!({ "n": 1 })).await;
    gateway.settled("hooli", &message).await;
    let expected: Vec<_> =
        [("failing", "e1"), ("failing", "e2"), ("recovered", "e1"), ("exhausted", "e2")]
            .map(|(what, uid)| (format!("message.attempt.{what}"), uid.to_owned()))
            .into();
    until("operators are told", async || {
        let found = told(&receiver);
        expected.iter().all(|one| found.contains(one)).then_some(())
    })
    .await;
    let attempts = told(&receiver).into_iter().filter(|(what, _)| what.starts_with("message"));
    assert_eq!(attempts.count(), expected.len());
    let received = receiver.received("/ok/told");
    let told = received.iter().map(|r| serde_json::from_slice::<Value>(&r.body).expect("JSON"));
    let exhausted = told.into_iter().find(|told| told["type"] == "message.attempt.exhausted");
    let exhausted = exhausted.expect("is there");
    assert_eq!(exhausted["message"]["id"], message.as_str());
    assert_eq!(
        (&exhausted["attempt"]["number"], &exhausted["attempt"]["statusCode"]),
        (&json!(5), &json!(500))
    );
}

#[tokio::test]
async fn the_reserved_application_is_the_gateways_own_and_of_it_nothing_is_told() {
    let waits = "[0.01, 0.01, 0.01, 0.01]";
    let gateway = Gateway::start(&[("OCTOHOOKS_DELIVERY__RETRY__WAITS_SECONDS", waits)]).await;
    let receiver = Receiver::start().await;
    listen(&gateway, &receiver).await;
    let deaf = json!({ "url": receiver.url("/status/500"), "uid": "deaf" });
    gateway.post(&format!("{RESERVED}/endpoints"), deaf).await;
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let created = until("it is told", async || {
        let list = gateway.get(&format!("{RESERVED}/messages")).await;
        let message = list["data"][0]["id"].as_str().map(str::to_owned)?;
        let ends = gateway.settled("octohooks-operational", &message).await;
        (ends.len() == 2).then_some(list)
    })
    .await;
    assert_eq!(
        created["data"].as_array().expect("a list").len(),
        1,
        "its own failures are not told"
    );
    let sent = json!({ "eventType": "endpoint.created", "payload": {} });
    let (status, answer) =
        gateway.call(Method::POST, &format!("{RESERVED}/messages"), Some(&sent)).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
}

#[tokio::test]
async fn a_plugin_that_only_fails_is_put_in_quarantine_and_a_new_version_releases_it() {
    let few = [("OCTOHOOKS_PLUGINS__QUARANTINE_AFTER", "3")];
    let (mut gateway, receiver) = (Gateway::start(&few).await, Receiver::start().await);
    listen(&gateway, &receiver).await;
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    assert_eq!(gateway.upload("hooli", component("scripted")).await.0, StatusCode::OK);
    // One version panics at it, the next one delivers it.
    let report =
        json!({ "do": "panic", "messageId": "1", "to": "+46701234567", "status": "DELIVRD" });
    let mut parked = Vec::new();
    for _ in 0..3 {
        parked.push(gateway.message("hooli", report.clone()).await);
    }
    for message in &parked {
        gateway.held("hooli", message, "parked").await;
    }
    let plugin = until("it is in quarantine", async || {
        let plugin = gateway.get("/applications/hooli/plugins/main").await;
        plugin["quarantined"].is_string().then_some(plugin)
    })
    .await;
    until("operators are told", async || {
        told(&receiver).contains(&("plugin.quarantined".into(), String::new())).then_some(())
    })
    .await;
    let told = receiver.received("/ok/told");
    let told = told.iter().map(|r| serde_json::from_slice::<Value>(&r.body).expect("JSON"));
    let told = told.into_iter().find(|told| told["type"] == "plugin.quarantined");
    let told = told.expect("is told")["plugin"].clone();
    assert_eq!((&told["name"], &told["digest"]), (&json!("main"), &plugin["active"]));
    gateway.restart().await;
    parked.push(gateway.message("hooli", report).await);
    let held = gateway.held("hooli", &parked[3], "parked").await;
    assert!(held["reason"].as_str().is_some_and(|why| why.contains("3 failures")), "{held}");
    assert_eq!(gateway.get("/applications/hooli/plugins/main").await, plugin, "it is kept");
    assert_eq!(gateway.upload("hooli", component("sms-status")).await.0, StatusCode::OK);
    assert!(gateway.get("/applications/hooli/plugins/main").await["quarantined"].is_null());
    for message in &parked {
        assert_eq!(gateway.settled("hooli", message).await[0]["status"], "success");
    }
}
