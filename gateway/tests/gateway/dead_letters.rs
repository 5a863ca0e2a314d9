//! Dead letters: what failed for good is found, goes on where its endpoint says, and is sent again.

use super::{
    receiver::Receiver,
    rig::{Gateway, until},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// A gateway with the application `hooli`; its endpoint `crm` fails always and sends its dead letters to `archive`.
async fn rig() -> (Gateway, Receiver) {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    let archive =
        json!({ "url": receiver.url("/ok"), "uid": "archive", "eventTypes": ["never.sent"] });
    gateway.post("/applications/hooli/endpoints", archive).await;
    let crm = json!({
        "url": receiver.url("/status/500"), "uid": "crm", "deadLetterEndpoint": "archive",
    });
    let made = gateway.post("/applications/hooli/endpoints", crm).await;
    assert_eq!(made["deadLetterEndpoint"], "archive");
    (gateway, receiver)
}

/// The message's deliveries once there are that many and all have ended: their endpoints' uids and states.
async fn ended(gateway: &Gateway, message: &str, count: usize) -> Vec<(String, String)> {
    let found = until("the deliveries end", async || {
        Some(gateway.settled("hooli", message).await).filter(|all| all.len() == count)
    })
    .await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut states: Vec<_> =
        found.iter().map(|one| (text(&one["endpoint"]["uid"]), text(&one["status"]))).collect();
    states.sort();
    states
}

fn pairs(states: &[(&str, &str)]) -> Vec<(String, String)> {
    states.iter().map(|(uid, state)| ((*uid).to_owned(), (*state).to_owned())).collect()
}

#[tokio::test]
async fn a_dead_letter_goes_on_to_the_endpoint_that_is_named() {
    let (gateway, receiver) = rig().await;
    let id = gateway.message("hooli", json!({ "n": 7 })).await;
    let both = pairs(&[("archive", "success"), ("crm", "failed")]);
    assert_eq!(ended(&gateway, &id, 2).await, both);
    let came = receiver.received("/ok").remove(0);
    assert_eq!((came.n(), came.header("webhook-id")), (7, &*format!("{id}-dead-1")));
    let crm = gateway.get("/applications/hooli/endpoints/crm").await;
    for (name, expected) in [
        ("endpoint", crm["id"].as_str().expect("an id")),
        ("endpoint-uid", "crm"),
        ("reason", "status 500"),
        ("attempts", "4"),
    ] {
        assert_eq!(came.header(&format!("octohooks-dead-letter-{name}")), expected, "{name}");
    }
    let path = format!("/applications/hooli/messages/{id}/deliveries/archive/attempts");
    let shown = gateway.get(&path).await["data"][0]["requestHeaders"].clone();
    let pair = json!(["octohooks-dead-letter-reason", "status 500"]);
    assert!(shown.as_array().is_some_and(|all| all.contains(&pair)), "{shown}");
}

#[tokio::test]
async fn a_dead_letter_for_a_disabled_endpoint_waits_for_it_and_for_one_that_is_gone_it_stays() {
    let (gateway, receiver) = rig().await;
    let off = json!({ "url": receiver.url("/ok"), "enabled": false });
    gateway.put("/applications/hooli/endpoints/archive", off).await;
    let id = gateway.message("hooli", json!({ "n": 1 })).await;
    let kept = pairs(&[("archive", "disabled"), ("crm", "failed")]);
    assert_eq!(ended(&gateway, &id, 2).await, kept);
    gateway
        .put("/applications/hooli/endpoints/archive", json!({ "url": receiver.url("/ok") }))
        .await;
    let recover = json!({ "since": 0, "states": ["disabled"] });
    let path = "/applications/hooli/endpoints/archive/recover";
    let (status, _) = gateway.call(Method::POST, path, Some(&recover)).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    receiver.wait_for("/ok", 1).await;
    gateway.good(Method::DELETE, "/applications/hooli/endpoints/archive", None).await;
    let id = gateway.message("hooli", json!({ "n": 2 })).await;
    assert_eq!(ended(&gateway, &id, 1).await, pairs(&[("crm", "failed")]));
    assert!(gateway.log().contains("a dead letter stays"), "{}", gateway.log());
}

#[tokio::test]
async fn dead_letters_go_to_another_endpoint_of_the_application_alone() {
    let (gateway, receiver) = rig().await;
    let path = "/applications/hooli/endpoints/crm";
    let with = |name: &str| json!({ "url": receiver.url("/ok"), "deadLetterEndpoint": name });
    for bad in ["nobody", "crm", "a\u{7}"] {
        let (status, answer) = gateway.call(Method::PUT, path, Some(&with(bad))).await;
        let place = &answer["details"][0]["path"];
        assert_eq!((status.as_u16(), place), (422, &json!("/deadLetterEndpoint")), "{bad}");
    }
    let kept = gateway.put(path, json!({ "url": receiver.url("/ok") })).await;
    assert_eq!(kept["deadLetterEndpoint"], "archive", "who does not know it does not change it");
    let gone = gateway.put(path, with("")).await;
    assert_eq!(gone["deadLetterEndpoint"], Value::Null);
}
