//! NATS as a destination: endpoints whose URL is a subject.

use super::{Broker, broker::free_port, connected};
use crate::gateway::rig::{Gateway, until};
use async_nats::jetstream::{self, stream::DiscardPolicy};
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

const SUBJECTS: (&str, &str) = ("OCTOHOOKS_DELIVERY__NATS__SUBJECTS", "hooks.{application}.>");
/// As many tries as a broker may need to come back.
const PATIENT: (&str, &str) = (
    "OCTOHOOKS_DELIVERY__RETRY__WAITS_SECONDS",
    "[0.05, 0.1, 0.2, 0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]",
);

async fn gateway(broker: &Broker, more: &[(&str, &str)]) -> Gateway {
    let url = broker.url();
    let settings = [&[("OCTOHOOKS_NATS__SERVERS", &*url), SUBJECTS], more].concat();
    let gateway = Gateway::start(&settings).await;
    gateway.application("hooli", &[]).await;
    connected(&gateway, true).await;
    gateway
}

async fn endpoint(gateway: &Gateway, url: &str) -> Value {
    let endpoint = json!({ "url": url, "uid": "nats", "headers": { "X-Own": "yes" } });
    gateway.post("/applications/hooli/endpoints", endpoint).await
}

/// The status codes of the message's attempts, once its one delivery has ended so.
async fn ended(gateway: &Gateway, message: &str, status: &str) -> Vec<Value> {
    let delivery = gateway.settled("hooli", message).await.remove(0);
    assert_eq!(delivery["status"], status, "{delivery}");
    let attempts = delivery["attempts"].as_array().expect("a list");
    attempts.iter().map(|attempt| attempt["statusCode"].clone()).collect()
}

#[tokio::test]
async fn a_delivery_to_a_subject_is_signed_and_recorded() {
    let Some(broker) = Broker::start() else { return };
    let client = broker.client().await;
    let mut listener = client.subscribe("hooks.hooli.>").await.expect("subscribes");
    client.flush().await.expect("is subscribed");
    let gateway = gateway(&broker, &[]).await;
    let made = endpoint(&gateway, "nats://hooks.hooli.sms").await;
    let id = gateway.message("hooli", json!({ "n": 1 })).await;
    assert_eq!(ended(&gateway, &id, "success").await, [202]);
    let came = listener.next().await.expect("it came");
    assert_eq!((&*came.payload, came.subject.as_str()), (&br#"{"n":1}"#[..], "hooks.hooli.sms"));
    let headers = came.headers.expect("headers");
    let header = |name: &str| headers.get(name).map(|value| value.as_str()).unwrap_or_default();
    assert_eq!((header("webhook-id"), header("x-own")), (&*id, "yes"));
    assert_eq!(header("content-type"), "application/json");
    let mut signed = http::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        signed.insert(name, header(name).parse().expect("legal"));
    }
    let secret = made["secrets"][0].as_str().expect("a secret");
    let webhook = standardwebhooks::Webhook::new(secret).expect("a key");
    webhook.verify(&came.payload, &signed).expect("verifies");
    assert!(header("x-signature").starts_with("t="), "{}", header("x-signature"));
}

#[tokio::test]
async fn a_subject_where_nobody_listens_is_tried_again() {
    let Some(broker) = Broker::start() else { return };
    let client = broker.client().await;
    let gateway = gateway(&broker, &[PATIENT]).await;
    endpoint(&gateway, "nats://hooks.hooli.sms").await;
    let id = gateway.message("hooli", json!({ "n": 1 })).await;
    let path = format!("/applications/hooli/messages/{id}/endpoint-messages");
    until("it was tried", async || {
        let deliveries = gateway.get(&path).await;
        (deliveries[0]["attempts"][0]["statusCode"] == 503).then_some(())
    })
    .await;
    let mut listener = client.subscribe("hooks.hooli.sms").await.expect("subscribes");
    let came = listener.next().await.expect("it came");
    assert_eq!(*came.payload, *br#"{"n":1}"#);
    let codes = ended(&gateway, &id, "success").await;
    let (last, before) = codes.split_last().expect("some");
    assert!(*last == 202 && before.iter().all(|code| *code == 503), "{codes:?}");
}

#[tokio::test]
async fn a_stream_confirms_what_it_stored_and_refuses_what_it_did_not() {
    let Some(broker) = Broker::start() else { return };
    let context = jetstream::new(broker.client().await);
    let config = jetstream::stream::Config {
        name: "HOOKS".into(),
        subjects: vec!["hooks.>".into()],
        max_messages: 1,
        discard: DiscardPolicy::New,
        ..jetstream::stream::Config::default()
    };
    let stream =
        until("the stream is there", async || context.create_stream(config.clone()).await.ok());
    let stream = stream.await;
    let gateway = gateway(&broker, &[]).await;
    let made = endpoint(&gateway, "nats://hooks.hooli.sms?stream=HOOKS").await;
    let id = gateway.message("hooli", json!({ "n": 1 })).await;
    assert_eq!(ended(&gateway, &id, "success").await, [200]);
    let stored = stream.get_raw_message(1).await.expect("it is stored");
    assert_eq!(*stored.payload, *br#"{"n":1}"#);
    let header = |name: &str| stored.headers.get(name).map(ToString::to_string);
    assert_eq!(header("webhook-id"), Some(id));
    assert!(header("Nats-Msg-Id").is_some());
    // The stream is full: an answer like any other, tried again and then a dead letter.
    let full = gateway.message("hooli", json!({ "n": 2 })).await;
    let codes = ended(&gateway, &full, "failed").await;
    assert!(codes.len() == 4 && codes.iter().all(|code| *code != 200), "{codes:?}");
    stream.purge().await.expect("is emptied");
    let path = format!("/applications/hooli/endpoints/{}", made["id"].as_str().expect("an id"));
    gateway.put(&path, json!({ "url": "nats://hooks.hooli.sms?stream=OTHER" })).await;
    let wrong = gateway.message("hooli", json!({ "n": 3 })).await;
    let codes = ended(&gateway, &wrong, "failed").await;
    assert!(codes.iter().all(|code| *code == 400), "{codes:?}");
    assert_eq!(stream.get_info().await.expect("an answer").state.messages, 0);
}

#[tokio::test]
async fn deliveries_wait_for_a_broker_that_is_away() {
    let Some(mut broker) = Broker::start() else { return };
    let gateway = gateway(&broker, &[PATIENT]).await;
    endpoint(&gateway, "nats://hooks.hooli.sms").await;
    broker.kill();
    connected(&gateway, false).await;
    let id = gateway.message("hooli", json!({ "n": 1 })).await;
    until("its first attempt failed", async || gateway.log().contains("connect").then_some(()))
        .await;
    broker.restart();
    let client = broker.client().await;
    let mut listener = client.subscribe("hooks.hooli.sms").await.expect("subscribes");
    let came = listener.next().await.expect("it came");
    let headers = came.headers.expect("headers");
    assert_eq!(headers.get("webhook-id").map(ToString::to_string), Some(id.clone()));
    let codes = ended(&gateway, &id, "success").await;
    assert_eq!((codes.first(), codes.last()), (Some(&Value::Null), Some(&202.into())));
}

#[tokio::test]
async fn subjects_of_others_are_refused_when_an_endpoint_is_made() {
    let Some(broker) = Broker::start() else { return };
    let gateway = gateway(&broker, &[]).await;
    let off = Gateway::start(&[]).await;
    off.application("hooli", &[]).await;
    for (gateway, url, reason) in [
        (&gateway, "nats://hooks.acme.sms", "may not publish"),
        (&gateway, "nats://octohooks.ingest.acme", "own"),
        (&gateway, "nats://$JS.API.INFO", "own"),
        (&gateway, "nats://hooks.hooli.*", "nats://<subject>"),
        (&gateway, "nats://hooks.hooli.sms?stream=a.b", "nats://<subject>"),
        (&off, "nats://hooks.hooli.sms", "nats.servers"),
    ] {
        let path = "/applications/hooli/endpoints";
        let body = json!({ "url": url });
        let (status, answer) = gateway.call(Method::POST, path, Some(&body)).await;
        assert_eq!((status.as_u16(), &answer["details"][0]["path"]), (422, &json!("/url")));
        let said = answer["details"][0]["message"].as_str().unwrap_or_default();
        assert!(said.contains(reason), "{url}: {said}");
    }
    // With a header of NATS's own, a publisher could empty a stream.
    let body = json!({ "url": "nats://hooks.hooli.a", "headers": { "Nats-Rollup": "all" } });
    let (status, _) =
        gateway.call(Method::POST, "/applications/hooli/endpoints", Some(&body)).await;
    assert_eq!(status, 422);
}

#[tokio::test]
async fn a_subject_gets_events_and_dead_letters() {
    let Some(broker) = Broker::start() else { return };
    let client = broker.client().await;
    let mut listener = client.subscribe("hooks.hooli.>").await.expect("subscribes");
    client.flush().await.expect("is subscribed");
    let gateway = gateway(&broker, &[]).await;
    for format in ["structured", "binary"] {
        let endpoint = json!({
            "url": format!("nats://hooks.hooli.{format}"), "uid": format,
            "format": format!("cloudevents-{format}"), "eventTypes": ["sms.status"],
        });
        gateway.post("/applications/hooli/endpoints", endpoint).await;
    }
    let dead = json!({
        "url": "nats://hooks.hooli.dead", "uid": "dead", "eventTypes": ["never.sent"],
    });
    gateway.post("/applications/hooli/endpoints", dead).await;
    let failing = json!({
        "url": "nats://hooks.nobody", "eventTypes": ["lost"], "deadLetterEndpoint": "dead",
    });
    let (status, _) =
        gateway.call(Method::POST, "/applications/hooli/endpoints", Some(&failing)).await;
    assert_eq!(status, 422, "not one of its subjects");
    let failing = json!({
        "url": format!("http://127.0.0.1:{}/", free_port()), "eventTypes": ["lost"], "deadLetterEndpoint": "dead",
    });
    gateway.post("/applications/hooli/endpoints", failing).await;
    let id = gateway.message("hooli", json!({ "n": 1 })).await;
    let mut came = [listener.next().await.expect("it came"), listener.next().await.expect("and")];
    came.sort_by(|one, other| one.subject.cmp(&other.subject));
    let [binary, structured] = came;
    let header = |of: &async_nats::Message, name: &str| {
        let headers = of.headers.as_ref().expect("headers");
        headers.get(name).map(|value| value.to_string()).unwrap_or_default()
    };
    assert_eq!((header(&binary, "ce-id"), &*binary.payload), (id.clone(), &br#"{"n":1}"#[..]));
    assert_eq!(header(&binary, "ce-specversion"), "1.0");
    assert_eq!(header(&binary, "content-type"), "application/json");
    assert_eq!(header(&structured, "content-type"), "application/cloudevents+json");
    let event: Value = serde_json::from_slice(&structured.payload).expect("JSON");
    assert_eq!((&event["id"], &event["data"]), (&json!(id), &json!({ "n": 1 })));
    let lost = json!({ "eventType": "lost", "payload": { "n": 2 } });
    gateway.post("/applications/hooli/messages", lost).await;
    let letter = listener.next().await.expect("it came");
    assert_eq!(
        (letter.subject.as_str(), &*letter.payload),
        ("hooks.hooli.dead", &br#"{"n":2}"#[..])
    );
    let reason = header(&letter, "octohooks-dead-letter-reason");
    assert!(reason.starts_with("connect: "), "{reason}");
}
