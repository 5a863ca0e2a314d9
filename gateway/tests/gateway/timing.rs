//! Messages that are sent later, cancelled, or too late.

use super::{
    receiver::Receiver,
    rig::{Gateway, component, until},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

const MESSAGES: &str = "/applications/hooli/messages";
const DAY: u64 = 24 * 3_600_000;

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("fits")
}

/// A message with these fields beside: its id.
async fn send(gateway: &Gateway, fields: Value) -> String {
    let mut message = json!({ "eventType": "sms.status", "payload": { "n": 1 } });
    message.as_object_mut().expect("an object").extend(fields.as_object().expect("too").clone());
    let made = gateway.post(MESSAGES, message).await;
    made["id"].as_str().expect("an id").to_owned()
}

async fn message(gateway: &Gateway, id: &str) -> Value {
    gateway.get(&format!("{MESSAGES}/{id}")).await
}

async fn deliveries(gateway: &Gateway, id: &str) -> Vec<Value> {
    let list = gateway.get(&format!("{MESSAGES}/{id}/deliveries")).await;
    list["data"].as_array().expect("a list").clone()
}

/// The message's only delivery, once it has ended.
async fn ended(gateway: &Gateway, id: &str) -> Value {
    until("the delivery ends", async || {
        let mut list = deliveries(gateway, id).await;
        let only = list.pop()?;
        let open = ["pending", "sending"].contains(&only["state"].as_str().expect("a state"));
        (!open).then_some(only)
    })
    .await
}

async fn cancel(gateway: &Gateway, id: &str) -> (StatusCode, Value) {
    gateway.call(Method::POST, &format!("{MESSAGES}/{id}/cancel"), None).await
}

#[tokio::test]
async fn a_scheduled_message_survives_a_kill_and_is_sent_at_its_time() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let due = now() + 1_500;
    let (soon, far) = (json!({ "deliverAt": due }), json!({ "delay": 30 * DAY }));
    let (soon, far) = (send(&gateway, soon).await, send(&gateway, far).await);
    gateway.restart().await;
    let shown = message(&gateway, &soon).await;
    assert_eq!((&shown["state"], &shown["deliverAt"]), (&json!("scheduled"), &json!(due)));
    gateway.settled("hooli", &soon).await;
    assert!(now() >= due, "too early");
    assert_eq!(message(&gateway, &soon).await["state"], "accepted");
    let listed = gateway.get(&format!("{MESSAGES}?state=scheduled")).await;
    let listed = listed["data"].as_array().expect("a list");
    assert_eq!((listed.len(), &listed[0]["id"]), (1, &json!(far)));
    let metrics = gateway.text("/metrics").await;
    assert!(metrics.contains("octohooks_queue_depth{queue=\"scheduled\"} 1"), "{metrics}");
    assert_eq!(receiver.received("/ok").len(), 1);
}

#[tokio::test]
async fn a_scheduled_message_is_cancelled_until_its_time_and_not_after() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let scheduled = send(&gateway, json!({ "delay": DAY, "uid": "later" })).await;
    // By its uid, and a second time: it is cancelled.
    for id in ["later", &scheduled] {
        let (status, answer) = cancel(&gateway, id).await;
        assert_eq!((status, &answer["state"]), (StatusCode::OK, &json!("cancelled")));
        assert_eq!((&answer["id"], answer.get("payload")), (&json!(scheduled), None));
    }
    gateway.restart().await;
    let shown = message(&gateway, &scheduled).await;
    assert_eq!(shown["state"], "cancelled");
    let resend = format!("{MESSAGES}/{scheduled}/endpoints/e0/resend");
    let (status, answer) = gateway.call(Method::POST, &resend, None).await;
    assert_eq!(
        (status, &answer["message"]),
        (StatusCode::CONFLICT, &json!("the message was cancelled"))
    );
    let at_once = send(&gateway, json!({})).await;
    gateway.settled("hooli", &at_once).await;
    let sent = send(&gateway, json!({ "delay": 1 })).await;
    gateway.settled("hooli", &sent).await;
    for (id, said) in [(at_once, "was not scheduled"), (sent, "time has come")] {
        let (status, answer) = cancel(&gateway, &id).await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert!(answer["message"].as_str().expect("text").contains(said), "{answer}");
    }
    assert_eq!(cancel(&gateway, "lost").await.0, StatusCode::NOT_FOUND);
    assert_eq!(receiver.received("/ok").len(), 2);
}

#[tokio::test]
async fn the_plugin_that_a_scheduled_message_meets_is_the_one_of_its_time() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let scheduled = send(&gateway, json!({ "delay": 700 })).await;
    // It fails on a payload that is no SMS, and would have seen none of it before.
    assert_eq!(gateway.upload("hooli", component("sms-status")).await.0, 200);
    let state = until("its time comes", async || {
        let state = message(&gateway, &scheduled).await["state"].clone();
        (state != "scheduled").then_some(state)
    })
    .await;
    assert_eq!((state, receiver.received("/ok").len()), (json!("parked"), 0));
}

#[tokio::test]
async fn what_expires_is_not_attempted_again_and_says_so() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/retry-after/30")]).await;
    // The retry in half a minute would be too late: it is not waited for.
    let retried = send(&gateway, json!({ "timeToLive": 20_000 })).await;
    let delivery = ended(&gateway, &retried).await;
    assert_eq!((&delivery["state"], &delivery["attemptCount"]), (&json!("expired"), &json!(1)));
    assert_eq!(delivery["nextAttempt"], Value::Null);
    let contract = gateway.get(&format!("{MESSAGES}/{retried}/endpoint-messages")).await;
    assert_eq!(contract[0]["status"], "failed", "the contract has no other word");
    let filtered = gateway.get("/applications/hooli/endpoints/e0/deliveries?state=expired").await;
    assert_eq!(filtered["data"].as_array().expect("a list").len(), 1);
    // What has expired when it is accepted is kept, and sent to nobody.
    let late = send(&gateway, json!({ "expiresAt": now() - 1 })).await;
    gateway.held("hooli", &late, "expired").await;
    let resend = format!("{MESSAGES}/{late}/endpoints/e0/resend");
    let (status, answer) = gateway.call(Method::POST, &resend, None).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    assert_eq!(receiver.received("/retry-after/30").len(), 1);
}

#[tokio::test]
async fn what_expires_in_its_lane_or_aside_takes_no_turn() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let only_one = json!({ "url": receiver.url("/gate"), "uid": "e0", "maxInFlight": 1 });
    gateway.application("hooli", &[]).await;
    gateway.post("/applications/hooli/endpoints", only_one).await;
    let first = send(&gateway, json!({})).await;
    receiver.wait_for("/gate", 1).await;
    // More than a lane keeps.
    let one = json!({ "eventType": "sms.status", "payload": { "n": 2 }, "timeToLive": 1 });
    let batch = json!({ "messages": vec![one; 600] });
    for _ in 0..2 {
        gateway.post(&format!("{MESSAGES}/batch"), batch.clone()).await;
    }
    let last = send(&gateway, json!({})).await;
    receiver.open_gate();
    for id in [&first, &last] {
        assert_eq!(ended(&gateway, id).await["state"], "success");
    }
    assert_eq!(receiver.received("/gate").len(), 2, "the others had expired");
    let metrics = gateway.text("/metrics").await;
    let expired: u64 = metrics
        .lines()
        .filter(|line| {
            line.starts_with("octohooks_deliveries_expired_total")
                || line.starts_with("octohooks_messages_expired_total")
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    assert_eq!(expired, 1200);
}

#[tokio::test]
async fn times_that_cannot_be_are_refused_with_their_place() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let later = now() + DAY;
    for (fields, place) in [
        (json!({ "deliverAt": now() + 31 * DAY }), "/deliverAt"),
        (json!({ "delay": 31 * DAY }), "/delay"),
        (json!({ "deliverAt": "tomorrow" }), "/deliverAt"),
        (json!({ "deliverAt": later, "delay": 5 }), "/delay"),
        (json!({ "deliverAt": later, "expiresAt": later }), "/expiresAt"),
        (json!({ "expiresAt": later, "timeToLive": 5 }), "/timeToLive"),
        (json!({ "timeToLive": 0 }), "/timeToLive"),
        (json!({ "orderingKey": "" }), "/orderingKey"),
    ] {
        let mut message = json!({ "eventType": "sms.status", "payload": 1 });
        let of = message.as_object_mut().expect("an object");
        of.extend(fields.as_object().expect("an object").clone());
        let (status, answer) = gateway.call(Method::POST, MESSAGES, Some(&message)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{fields}: {answer}");
        assert_eq!(answer["details"][0]["path"], place, "{fields}");
        let batch = json!({ "messages": [message, { "eventType": "a", "payload": 1 }] });
        let answer = gateway.post(&format!("{MESSAGES}/batch"), batch).await;
        let data = &answer["data"];
        assert_eq!(
            (&data[0]["status"], &data[1]["status"]),
            (&json!("invalid"), &json!("created"))
        );
        assert_eq!(data[0]["error"]["details"][0]["path"], place, "{fields}");
    }
}

#[tokio::test]
async fn a_batch_shows_the_times_of_its_messages_and_again_when_repeated() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let message = json!({ "eventType": "a", "payload": 1, "delay": DAY, "timeToLive": 9, "orderingKey": "k" });
    let batch = json!({ "messages": [message] });
    let sent = async || {
        let request = gateway.request(Method::POST, &format!("{MESSAGES}/batch"));
        let request = request.header("idempotency-key", "once").body(batch.to_string());
        super::rig::json_of(request.send().await.expect("an answer")).await
    };
    let first = sent().await;
    assert_eq!(sent().await, first);
    let shown = &first["data"][0]["message"];
    let created = shown["created"].as_u64().expect("a time");
    assert_eq!(shown["deliverAt"], created + DAY);
    assert_eq!(shown["expiresAt"], created + DAY + 9);
    let found = message_of(&gateway, shown).await;
    for field in ["deliverAt", "expiresAt", "orderingKey"] {
        assert_eq!(found[field], shown[field], "{field}");
    }
}

async fn message_of(gateway: &Gateway, shown: &Value) -> Value {
    message(gateway, shown["id"].as_str().expect("an id")).await
}
