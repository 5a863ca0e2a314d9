//! CloudEvents 1.0 at both ends: what is taken as one, and what endpoints get that ask for one.

use super::{
    receiver::{Received, Receiver},
    rig::{Gateway, component, json_of},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const MESSAGES: &str = "/applications/hooli/messages";
const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json; charset=utf-8");

/// A gateway with the application `hooli` and an endpoint of each format, at `/structured` and `/binary`: their secrets.
async fn rig() -> (Gateway, Receiver, [String; 2]) {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    let mut secrets = Vec::new();
    for format in ["structured", "binary"] {
        let endpoint = json!({
            "url": receiver.url(&format!("/{format}")),
            "uid": format,
            "format": format!("cloudevents-{format}"),
            "headers": { "x-team": "billing" },
        });
        let made = gateway.post("/applications/hooli/endpoints", endpoint).await;
        assert_eq!(made["format"], format!("cloudevents-{format}"));
        secrets.push(made["secrets"][0].as_str().expect("a secret").to_owned());
    }
    (gateway, receiver, secrets.try_into().expect("two"))
}

async fn sent(
    gateway: &Gateway,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (StatusCode, Value) {
    let mut request = gateway.request(Method::POST, path).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.expect("an answer");
    (answer.status(), json_of(answer).await)
}

/// What came to both endpoints: the event's attributes, without its data, and the data.
async fn received(receiver: &Receiver, count: usize, secrets: &[String; 2]) -> [(Value, Value); 2] {
    let structured = receiver.wait_for("/structured", count).await.remove(count - 1);
    let binary = receiver.wait_for("/binary", count).await.remove(count - 1);
    for (received, secret) in [&structured, &binary].into_iter().zip(secrets) {
        let webhook = standardwebhooks::Webhook::new(secret).expect("a secret");
        webhook.verify(&received.body, &received.headers).expect("what was sent is signed");
        assert_eq!(received.header("x-team"), "billing");
    }
    assert_eq!(structured.header("content-type"), "application/cloudevents+json");
    let mut body: Value = serde_json::from_slice(&structured.body).expect("JSON");
    let data = body.as_object_mut().expect("an object").remove("data").unwrap_or_default();
    let own = serde_json::from_slice(&binary.body).unwrap_or_default();
    [(body, data), (of_headers(&binary), own)]
}

fn of_headers(received: &Received) -> Value {
    let attributes = received.headers.iter().filter_map(|(name, value)| {
        let name = match name.as_str() {
            "content-type" => "datacontenttype",
            name => name.strip_prefix("ce-")?,
        };
        Some((name.to_owned(), json!(value.to_str().expect("text"))))
    });
    Value::Object(attributes.collect())
}

#[tokio::test]
async fn an_endpoint_gets_events_in_the_mode_it_asks_for() {
    let (gateway, receiver, secrets) = rig().await;
    let message = json!({ "eventType": "sms.status", "uid": "é 1", "payload": { "n": "é" } });
    let made = gateway.post(MESSAGES, message).await;
    let application = gateway.get("/applications/hooli").await;
    let [structured, binary] = received(&receiver, 1, &secrets).await;
    assert_eq!(structured.1, json!({ "n": "é" }));
    assert_eq!(binary.1, structured.1);
    let mut expected = json!({
        "specversion": "1.0",
        "id": made["id"],
        "source": format!("/applications/{}", application["id"].as_str().expect("an id")),
        "type": "sms.status",
        "time": structured.0["time"],
        "subject": "é 1",
        "datacontenttype": "application/json",
    });
    assert_eq!(structured.0, expected);
    assert!(structured.0["time"].as_str().is_some_and(|time| time.ends_with('Z')));
    expected["subject"] = json!("%C3%A9%201");
    assert_eq!(binary.0, expected);
}

#[tokio::test]
async fn an_event_that_comes_in_either_mode_goes_out_as_it_was_and_comes_once() {
    let (gateway, receiver, secrets) = rig().await;
    let event = json!({
        "specversion": "1.0", "id": "7", "source": "/sms", "type": "sms.status", "subject": "a",
        "time": "2026-01-01T00:00:00+01:00", "tenant": "t", "data": { "n": 1 },
    });
    let (status, made) = sent(&gateway, MESSAGES, &[STRUCTURED], &event.to_string()).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(made["attributes"]["ce-id"], "7");
    let mut expected = event.clone();
    expected["datacontenttype"] = json!("application/json");
    expected.as_object_mut().expect("an object").remove("data");
    for (attributes, data) in received(&receiver, 1, &secrets).await {
        assert_eq!((attributes, data), (expected.clone(), json!({ "n": 1 })));
    }
    // What the binary endpoint got comes in again, as from another gateway, under another id.
    let got = receiver.received("/binary").remove(0);
    let mut headers: Vec<_> = got
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
        .collect();
    headers.retain(|(name, _)| name.starts_with("ce-") || *name == "content-type");
    let body = str::from_utf8(&got.body).expect("text");
    let (status, same) = sent(&gateway, MESSAGES, &headers, body).await;
    assert_eq!((status, &same["id"]), (StatusCode::OK, &made["id"]), "it is the same message");
    let other = headers.iter_mut().find(|(name, _)| *name == "ce-id").expect("an id");
    other.1 = "8";
    let (status, other) = sent(&gateway, MESSAGES, &headers, body).await;
    assert_eq!(status, 200, "{other}");
    assert_ne!(other["id"], made["id"]);
    expected["id"] = json!("8");
    for (attributes, data) in received(&receiver, 2, &secrets).await {
        assert_eq!((attributes, data), (expected.clone(), json!({ "n": 1 })));
    }
}

#[tokio::test]
async fn a_batch_of_events_is_answered_event_by_event() {
    let (gateway, receiver, _) = rig().await;
    let event = |id: &str| json!({ "specversion": "1.0", "id": id, "source": "/sms", "type": "sms.status", "data": 1 });
    let wrong = json!({ "specversion": "1.0", "id": "1", "source": "/sms", "data": 1 });
    let batch = [("content-type", "application/cloudevents-batch+json")];
    let path = &format!("{MESSAGES}/batch");
    let events = json!([event("1"), wrong, event("2"), event("1")]).to_string();
    let (status, answer) = sent(&gateway, path, &batch, &events).await;
    assert_eq!(status, 200, "{answer}");
    let each = answer["data"].as_array().expect("a list");
    let states: Vec<_> = each.iter().map(|one| one["status"].as_str().expect("text")).collect();
    assert_eq!(states, ["created", "invalid", "created", "created"]);
    assert_eq!(each[1]["error"]["details"][0]["path"], "/type");
    assert_eq!(each[3]["message"]["id"], each[0]["message"]["id"], "it is the same message");
    receiver.wait_for("/binary", 2).await;
    assert_eq!(sent(&gateway, path, &batch, "[]").await, (StatusCode::OK, json!({ "data": [] })));
    let (status, answer) = sent(&gateway, MESSAGES, &batch, &events).await;
    assert_eq!(
        (status, &answer["details"][0]["path"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("Content-Type"))
    );
    let wrong = [STRUCTURED, ("ce-specversion", "1.0")];
    let (status, _) = sent(&gateway, MESSAGES, &wrong, "{}").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn attempts_show_the_headers_of_an_event_until_its_content_goes() {
    let (gateway, receiver, _) = rig().await;
    let event = json!({
        "specversion": "1.0", "id": "7", "source": "/sms", "type": "t", "tenant": "x", "data": 1,
    });
    let (_, made) = sent(&gateway, MESSAGES, &[STRUCTURED], &event.to_string()).await;
    let id = made["id"].as_str().expect("an id");
    gateway.settled("hooli", id).await;
    let shown = async |uid: &str| {
        let path = format!("{MESSAGES}/{id}/deliveries/{uid}/attempts");
        let headers = gateway.get(&path).await["data"][0]["requestHeaders"].clone();
        let pairs = headers.as_array().expect("a list").iter();
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let pairs = pairs.map(|pair| (text(&pair[0]), text(&pair[1])));
        let wanted = |name: &str| name.starts_with("ce-") || name == "content-type";
        pairs.filter(|(name, _)| wanted(name)).collect::<std::collections::BTreeMap<_, _>>()
    };
    let got = receiver.received("/binary").remove(0);
    let binary = shown("binary").await;
    for (name, value) in &binary {
        assert_eq!(got.header(name), value, "{name}");
    }
    assert_eq!(
        binary.len(),
        got.headers.keys().filter(|name| name.as_str().starts_with("ce-")).count() + 1
    );
    let structured = shown("structured").await;
    assert_eq!(structured.into_values().collect::<Vec<_>>(), ["application/cloudevents+json"]);
    let (status, _) = gateway.call(Method::DELETE, &format!("{MESSAGES}/{id}/payload"), None).await;
    assert_eq!(status, 200);
    let binary = shown("binary").await;
    assert_eq!(
        (&*binary["ce-id"], &*binary["ce-source"], &*binary["ce-type"]),
        ("(removed)", "(removed)", "t")
    );
    assert!(!binary.contains_key("ce-tenant"), "{binary:?}");
}

#[tokio::test]
async fn what_a_plugin_made_that_is_not_json_is_in_base64() {
    let (gateway, receiver, secrets) = rig().await;
    assert_eq!(gateway.upload("hooli", component("scripted")).await.0, 200);
    gateway.message("hooli", json!({ "do": "big-output", "bytes": 3 })).await;
    let [structured, binary] = received(&receiver, 1, &secrets).await;
    assert_eq!(structured.0["datacontenttype"], "text/plain");
    assert_eq!(structured.0["data_base64"], "eHh4");
    assert_eq!(binary.0["datacontenttype"], "text/plain");
    assert_eq!(&*receiver.received("/binary")[0].body, b"xxx");
}

#[tokio::test]
async fn a_format_is_one_of_three_and_stays_when_it_is_not_mentioned() {
    let (gateway, receiver, _) = rig().await;
    let path = "/applications/hooli/endpoints/binary";
    let changed = gateway.put(path, json!({ "url": receiver.url("/binary") })).await;
    assert_eq!(changed["format"], "cloudevents-binary");
    let changed = gateway.put(path, json!({ "url": receiver.url("/ok"), "format": "none" })).await;
    assert_eq!(changed["format"], "none");
    let wrong = json!({ "url": receiver.url("/ok"), "format": "cloudevents" });
    let (status, answer) = gateway.call(Method::PUT, path, Some(&wrong)).await;
    assert_eq!(
        (status, &answer["details"][0]["path"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("/format"))
    );
}
