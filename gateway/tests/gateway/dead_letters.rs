//! Dead letters: what failed for good is found, goes on where its endpoint says, and is sent again.

use super::{
    receiver::Receiver,
    rig::{Gateway, component, until},
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

/// The list's `data`.
async fn list(gateway: &Gateway, query: &str) -> Vec<Value> {
    let page = gateway.get(&format!("/applications/hooli/dead-letters{query}")).await;
    page["data"].as_array().expect("a list").clone()
}

async fn accepted(gateway: &Gateway, path: &str, body: Value) -> Value {
    let path = format!("/applications/hooli/dead-letters{path}");
    let (status, answer) = gateway.call(Method::POST, &path, Some(&body)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    answer
}

/// Waits until these operations are done.
async fn done(gateway: &Gateway, begun: &Value) {
    for operation in begun["data"].as_array().expect("a list") {
        let path = format!("/operations/{}", operation["id"].as_str().expect("an id"));
        until("the operation ends", async || {
            (gateway.get(&path).await["state"] == "done").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn dead_letters_are_listed_shown_and_sent_again_one_by_one() {
    let (gateway, receiver) = rig().await;
    let first = gateway.message("hooli", json!({ "n": 1 })).await;
    let second = gateway.message("hooli", json!({ "n": 2 })).await;
    for id in [&first, &second] {
        ended(&gateway, id, 2).await;
    }
    let all = list(&gateway, "").await;
    let of: Vec<_> = all.iter().map(|letter| letter["message"].as_str().expect("an id")).collect();
    assert_eq!(of, [&*second, &*first], "newest first");
    assert_eq!((&all[0]["kind"], &all[0]["reason"]), (&json!("delivery"), &json!("status 500")));
    assert_eq!(all[0]["attemptCount"], 4);
    assert_eq!(list(&gateway, "?endpoint=crm&limit=1").await.len(), 1);
    assert!(list(&gateway, "?endpoint=archive").await.is_empty());
    assert!(list(&gateway, "?kind=message").await.is_empty());
    assert!(list(&gateway, "?eventType=other").await.is_empty());

    let path = format!("/applications/hooli/dead-letters/{first}");
    let shown = gateway.get(&path).await;
    assert_eq!(
        (&shown["message"]["id"], &shown["message"]["payload"]),
        (&json!(first), &json!({ "n": 1 }))
    );
    let tried = &shown["deliveries"][0];
    assert_eq!(
        (&tried["delivery"]["state"], &tried["attempts"][3]["statusCode"]),
        (&json!("failed"), &json!(500))
    );

    let crm = json!({ "url": receiver.url("/ok/mended") });
    gateway.put("/applications/hooli/endpoints/crm", crm).await;
    accepted(&gateway, &format!("/{first}/resend"), json!({})).await;
    receiver.wait_for("/ok/mended", 1).await;
    assert_eq!(
        ended(&gateway, &first, 2).await,
        pairs(&[("archive", "success"), ("crm", "success")])
    );
    let (status, _) = gateway.call(Method::GET, &path, None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "nothing of it is dead any more");
    let body = json!({ "endpoint": "nobody" });
    let resend = format!("/applications/hooli/dead-letters/{second}/resend");
    let (status, answer) = gateway.call(Method::POST, &resend, Some(&body)).await;
    assert_eq!((status.as_u16(), &answer["details"][0]["path"]), (422, &json!("/endpoint")));
    let (status, _) =
        gateway.call(Method::POST, &resend, Some(&json!({ "endpoint": "archive" }))).await;
    assert_eq!(status, StatusCode::CONFLICT, "nothing of it is dead there");
}

#[tokio::test]
async fn all_dead_letters_of_an_application_are_sent_again_and_those_of_its_plugins() {
    let (gateway, receiver) = rig().await;
    let other = json!({ "url": receiver.url("/status/404"), "uid": "other" });
    gateway.post("/applications/hooli/endpoints", other).await;
    let off = json!({ "url": receiver.url("/status/404"), "uid": "off" });
    gateway.post("/applications/hooli/endpoints", off).await;
    let ids = [1, 2].map(|n| json!({ "n": n }));
    for payload in ids {
        let id = gateway.message("hooli", payload).await;
        ended(&gateway, &id, 4).await;
    }
    let off = json!({ "url": receiver.url("/status/404"), "enabled": false });
    gateway.put("/applications/hooli/endpoints/off", off).await;
    assert_eq!(gateway.upload("hooli", component("scripted")).await.0, 200);
    let plugin = "/applications/hooli/plugins/main";
    let policy = json!({ "policy": "dead-letter" });
    gateway.good(Method::PATCH, plugin, Some(&policy)).await;
    let died = gateway.message("hooli", json!({ "do": "panic", "n": 3 })).await;
    gateway.held("hooli", &died, "dead").await;
    let all = list(&gateway, "").await;
    assert_eq!(all.len(), 7, "{all:?}");
    assert_eq!((&all[0]["kind"], &all[0]["message"]), (&json!("message"), &json!(died)));
    let shown = gateway.get(&format!("/applications/hooli/dead-letters/{died}")).await;
    assert_eq!(shown["message"]["failure"]["plugin"], "main");

    let count = accepted(&gateway, "/resend", json!({ "dryRun": true })).await;
    assert_eq!(count["data"].as_array().expect("a list").len(), 4, "{count}");
    done(&gateway, &count).await;
    let script = json!({ "settings": { "script": r#"{"do":"pass"}"# } });
    gateway.good(Method::PATCH, plugin, Some(&script)).await;
    for uid in ["crm", "other"] {
        let mended = json!({ "url": receiver.url(&format!("/ok/{uid}")) });
        gateway.put(&format!("/applications/hooli/endpoints/{uid}"), mended).await;
    }
    let begun = accepted(&gateway, "/resend", json!({ "since": 0 })).await;
    assert_eq!(begun["data"].as_array().expect("a list").len(), 3, "{begun}");
    let skipped = begun["skipped"].as_array().expect("a list");
    assert_eq!((skipped.len(), &skipped[0]["reason"]), (1, &json!("the endpoint is disabled")));
    done(&gateway, &begun).await;
    receiver.wait_for("/ok/crm", 3).await;
    receiver.wait_for("/ok/other", 3).await;
    until("only those of the disabled endpoint are left", async || {
        (list(&gateway, "").await.len() == 2).then_some(())
    })
    .await;
}
