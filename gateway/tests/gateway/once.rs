//! Requests that come again under an idempotency key, and many messages in one request.

use super::{
    receiver::Receiver,
    rig::{Gateway, json_of},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

async fn post(gateway: &Gateway, key: &str, path: &str, body: &Value) -> (u16, bool, Value) {
    let request = gateway.request(Method::POST, path).header("idempotency-key", key);
    let answer = request.body(body.to_string()).send().await.expect("an answer");
    let again = answer.headers().contains_key("idempotent-replayed");
    (answer.status().as_u16(), again, json_of(answer).await)
}

#[tokio::test]
async fn a_key_makes_no_body_longer_than_its_route_takes() {
    let gateway = Gateway::start(&[]).await;
    gateway.application("hooli", &["http://127.0.0.1:2/"]).await;
    let long = " ".repeat(300 << 10);
    for path in ["/applications/hooli/messages/m/endpoints/e0/resend", "/nowhere"] {
        let request = gateway.request(Method::POST, path).header("idempotency-key", "one");
        let answer = request.body(long.clone()).send().await.expect("an answer");
        assert_eq!(answer.status(), 413, "{path}");
    }
}

#[tokio::test]
async fn a_repetition_gets_the_first_answer_also_after_a_kill() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let application = json!({ "name": "Hooli", "uid": "hooli" });
    let endpoint = json!({ "url": receiver.url("/ok") });
    let message = json!({ "eventType": "a", "payload": { "big": "x".repeat(1000) } });
    let cases = [
        ("/applications", application),
        ("/applications/hooli/endpoints", endpoint),
        ("/applications/hooli/messages", message),
    ];
    let mut first = Vec::new();
    for (path, body) in &cases {
        let (status, again, answer) = post(&gateway, path, path, body).await;
        assert_eq!((status, again), (200, false), "{answer}");
        assert_eq!(post(&gateway, path, path, body).await, (200, true, answer.clone()), "{path}");
        first.push(answer);
    }
    gateway.restart().await;
    for ((path, body), answer) in cases.iter().zip(&first) {
        assert_eq!(post(&gateway, path, path, body).await, (200, true, answer.clone()), "{path}");
        let other = json!({ "name": "Other", "url": receiver.url("/other"), "eventType": "b",
            "payload": 1 });
        let (status, _, answer) = post(&gateway, path, path, &other).await;
        assert_eq!((status, &answer["code"]), (409, &json!("key_reused")), "{path}: {answer}");
    }
    receiver.wait_for("/ok", 1).await;
    let messages = gateway.get("/applications/hooli/messages").await;
    assert_eq!(messages["data"].as_array().expect("a list").len(), 1);
}

#[tokio::test]
async fn what_is_sent_again_in_the_background_is_begun_once() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let urls = ["/status/404", "/status/404"].map(|path| receiver.url(path));
    gateway.application("hooli", &urls.each_ref().map(String::as_str)).await;
    let message = gateway.message("hooli", json!({ "n": 1 })).await;
    gateway.settled("hooli", &message).await;
    let path = "/applications/hooli/dead-letters/resend";
    let (status, again, begun) = post(&gateway, "one", path, &json!({})).await;
    assert_eq!((status, again), (202, false), "{begun}");
    assert_eq!(begun["data"].as_array().expect("a list").len(), 2, "{begun}");
    for _ in 0..2 {
        let repeated = post(&gateway, "one", path, &json!({})).await;
        assert_eq!(repeated, (202, true, begun.clone()));
        let operations = gateway.get("/operations").await;
        assert_eq!(operations["data"].as_array().expect("a list").len(), 2, "{operations}");
        gateway.restart().await;
    }
}

#[tokio::test]
async fn of_two_at_once_one_runs_and_both_get_its_answer() {
    let gateway = Gateway::start(&[]).await;
    gateway.application("hooli", &[]).await;
    let body = json!({ "eventType": "a", "payload": 1 });
    let requests = (0..16).map(|_| post(&gateway, "one", "/applications/hooli/messages", &body));
    let answers = futures_util::future::join_all(requests).await;
    let ran = answers.iter().filter(|(_, again, _)| !again).count();
    assert_eq!(ran, 1);
    assert!(answers.iter().all(|(status, _, answer)| (*status, answer) == (200, &answers[0].2)));
    let messages = gateway.get("/applications/hooli/messages").await;
    assert_eq!(messages["data"].as_array().expect("a list").len(), 1);
}

#[tokio::test]
async fn what_failed_may_be_tried_again_under_its_key() {
    let gateway = Gateway::start(&[]).await;
    let body = json!({ "eventType": "a", "payload": 1 });
    let path = "/applications/hooli/messages";
    assert_eq!(post(&gateway, "one", path, &body).await.0, 404);
    gateway.application("hooli", &[]).await;
    let (status, again, _) = post(&gateway, "one", path, &body).await;
    assert_eq!((status, again), (200, false));
    let long = "k".repeat(257);
    assert_eq!(post(&gateway, &long, path, &body).await.0, 422);
    let other = gateway.request_with("no key", Method::POST, path).header("idempotency-key", "one");
    let answer = other.body(body.to_string()).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "a stored answer is not for everybody");
}

#[tokio::test]
async fn a_uid_that_is_taken_names_the_message_that_has_it() {
    let gateway = Gateway::start(&[]).await;
    gateway.application("hooli", &[]).await;
    let body = json!({ "eventType": "a", "payload": 1, "uid": "u" });
    let first = gateway.post("/applications/hooli/messages", body.clone()).await;
    let path = "/applications/hooli/messages";
    let (status, answer) = gateway.call(Method::POST, path, Some(&body)).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(answer["id"], first["id"], "{answer}");
}

#[tokio::test]
async fn each_message_of_a_batch_is_answered_for_itself() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let taken = json!({ "eventType": "a", "payload": { "n": 0 }, "uid": "taken" });
    let taken = gateway.post("/applications/hooli/messages", taken).await;
    let path = "/applications/hooli/messages/batch";
    let large = "x".repeat(400_000);
    let batch = json!({ "messages": [
        { "eventType": "a", "payload": { "n": 1 } },
        { "eventType": "a", "payload": { "n": 2 }, "uid": "taken" },
        { "eventType": "no such type", "payload": 1 },
        { "payload": 1 },
        { "eventType": "a", "payload": large },
        7,
        { "eventType": "a", "payload": { "n": 3 }, "uid": "new" },
        { "eventType": "a", "payload": { "n": 4 }, "uid": "new" },
    ] });
    let (status, again, answer) = post(&gateway, "batch", path, &batch).await;
    assert_eq!((status, again), (200, false), "{answer}");
    let data = answer["data"].as_array().expect("a list");
    let statuses: Vec<_> = data.iter().map(|one| one["status"].as_str().expect("one")).collect();
    let (created, duplicate, invalid) = ("created", "duplicate", "invalid");
    let expected = [created, duplicate, invalid, invalid, invalid, invalid, created, duplicate];
    assert_eq!(statuses, expected, "{answer}");
    assert_eq!(data[0]["message"]["payload"], json!({ "n": 1 }));
    assert_eq!(data[1]["id"], taken["id"]);
    assert_eq!(data[2]["error"]["details"][0]["path"], "/eventType");
    assert_eq!(data[4]["error"]["code"], "too_large");
    assert_eq!(data[7]["id"], data[6]["message"]["id"]);
    receiver.wait_for("/ok", 3).await;
    gateway.restart().await;
    assert_eq!(post(&gateway, "batch", path, &batch).await, (200, true, answer));
    let many = vec![json!({ "eventType": "a", "payload": 1 }); 1001];
    for bad in [json!({}), json!({ "messages": [] }), json!({ "messages": many })] {
        let (status, answer) = gateway.call(Method::POST, path, Some(&bad)).await;
        assert_eq!((status.as_u16(), &answer["details"][0]["path"]), (422, &json!("/messages")));
    }
    let none = "/applications/none/messages/batch";
    let one = json!({ "messages": [{ "eventType": "a", "payload": 1 }] });
    assert_eq!(gateway.call(Method::POST, none, Some(&one)).await.0, StatusCode::NOT_FOUND);
    let whole = vec![json!({ "eventType": "a", "payload": { "n": 5 } }); 1000];
    let answer = gateway.post(path, json!({ "messages": whole })).await;
    let data = answer["data"].as_array().expect("a list");
    assert!(data.len() == 1000 && data.iter().all(|one| one["status"] == "created"));
}

#[tokio::test]
async fn what_has_no_uid_is_made_once_however_often_it_is_asked_for() {
    let root = [("OCTOHOOKS_AUTH__ROOT_KEY", "root")];
    let (mut gateway, receiver) = (Gateway::start(&root).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let secrets = "/applications/hooli/endpoints/e0/secrets";
    let rotate = format!("{secrets}/rotate");
    let cases = [
        (&*rotate, json!({})),
        ("/applications/hooli/tokens", json!({})),
        ("/event-types", json!({ "name": "a" })),
        ("/applications/hooli/endpoints/e0/recover", json!({ "since": 0, "dryRun": true })),
    ];
    let mut first = Vec::new();
    for (path, body) in &cases {
        // A client that does not wait for its answer.
        let request = gateway.request(Method::POST, path).header("idempotency-key", *path);
        let hasty = request.timeout(std::time::Duration::from_millis(1)).body(body.to_string());
        let _gone = hasty.send().await;
        first.push(post(&gateway, path, path, body).await.2);
    }
    gateway.restart().await;
    for ((path, body), answer) in cases.iter().zip(&first) {
        let (status, again, found) = post(&gateway, path, path, body).await;
        assert!(status < 300 && again, "{path}: {status} {found}");
        assert_eq!(&found, answer, "{path}");
    }
    assert_eq!(gateway.get(secrets).await["data"].as_array().expect("a list").len(), 2);
    let operations = gateway.get("/operations").await;
    assert_eq!(operations["data"].as_array().expect("a list").len(), 1);
}

#[tokio::test]
async fn what_was_expunged_does_not_come_back_with_a_repeated_batch() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let path = "/applications/hooli/messages/batch";
    let batch = json!({ "messages": [{ "eventType": "a", "payload": { "n": 1 } }] });
    let (_, _, answer) = post(&gateway, "batch", path, &batch).await;
    receiver.wait_for("/ok", 1).await;
    let bytes = std::fs::read(gateway.path("data/octohooks.db-wal")).expect("reads");
    let text = br#""status":"created""#;
    assert!(!bytes.windows(text.len()).any(|part| part == text), "its answer is not kept");
    assert_eq!(post(&gateway, "batch", path, &batch).await, (200, true, answer));
}

#[tokio::test]
async fn a_repeated_batch_gets_its_first_answer_whatever_has_changed() {
    let gateway = Gateway::start(&[]).await;
    gateway.application("hooli", &[]).await;
    let path = "/applications/hooli/messages/batch";
    let batch = json!({ "messages": [
        { "eventType": "a", "payload": { "n": 1.5 }, "attributes": { "from": "here" } },
        { "eventType": "no such type", "payload": 1 },
        { "eventType": "a", "payload": { "n": 2 }, "uid": "u" },
        { "eventType": "a", "payload": { "n": 3 }, "uid": "u" },
    ] });
    let wrong = json!({ "messages": [{ "payload": 1 }] });
    let (_, _, first) = post(&gateway, "batch", path, &batch).await;
    let (_, _, all_wrong) = post(&gateway, "wrong", path, &wrong).await;
    assert_eq!(all_wrong["data"][0]["status"], "invalid");
    // Judged anew, all would be refused.
    let schema = json!({ "type": "string" });
    let event_type = json!({ "name": "a", "schema": schema, "enforce": true });
    gateway.post("/event-types", event_type).await;
    let (_, _, judged) = post(&gateway, "another", path, &batch).await;
    let statuses: Vec<_> = judged["data"].as_array().expect("a list").to_vec();
    assert!(statuses.iter().all(|one| one["status"] == "invalid"), "{judged}");
    assert_eq!(post(&gateway, "batch", path, &batch).await, (200, true, first.clone()));
    assert_eq!(post(&gateway, "wrong", path, &wrong).await, (200, true, all_wrong));
    let listed = gateway.get("/applications/hooli/messages").await;
    assert_eq!(listed["data"].as_array().expect("a list").len(), 2);
    let (status, _) = gateway.call(Method::DELETE, "/applications/hooli", None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(post(&gateway, "batch", path, &batch).await, (200, true, first));
}
