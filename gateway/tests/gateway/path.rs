//! The path of a message, from its sender to its receivers and to the record.

use super::{
    receiver::Receiver,
    rig::{Gateway, component, json_of, until},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

#[tokio::test]
async fn any_json_is_a_payload() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    for (count, payload) in (1..).zip([json!(null), json!("text"), json!(7), json!([])]) {
        gateway.message("hooli", payload.clone()).await;
        let received = receiver.wait_for("/ok", count).await.remove(count - 1);
        assert_eq!(received.body, payload.to_string());
    }
}

#[tokio::test]
async fn a_payload_arrives_byte_for_byte_and_signed() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let headers = json!({ "x-partner": "hooli" });
    let change = json!({ "url": receiver.url("/ok"), "uid": "e0", "headers": headers });
    let endpoint = gateway.put("/applications/hooli/endpoints/e0", change).await;

    // White space, order, numbers and escapes as no library would write them.
    let payload =
        "{ \"b\":1.50,\n\t\"a\" : \"\\u00e9\\/\", \"big\": 12345678901234567890, \"b\": 2 }";
    let body = format!(r#"{{"eventType": "sms.status", "uid": "one", "payload": {payload}  }}"#);
    let sent = gateway.request(Method::POST, "/applications/hooli/messages").body(body);
    let answer = json_of(sent.send().await.expect("an answer")).await;
    let received = receiver.wait_for("/ok", 1).await.remove(0);

    assert_eq!(received.body, payload);
    assert_eq!(received.header("content-type"), "application/json");
    assert_eq!(received.header("x-partner"), "hooli");
    assert_eq!(received.header("webhook-id"), answer["id"].as_str().expect("an id"));
    let secret = endpoint["secrets"][0].as_str().expect("a secret");
    let standard = standardwebhooks::Webhook::new(secret).expect("a secret");
    standard.verify(&received.body, &received.headers).expect("the standard signature");
    let time = received.header("webhook-timestamp");
    let mut own = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
    own.update(format!("{time}.{payload}").as_bytes());
    let own = hex::encode(own.finalize().into_bytes());
    assert_eq!(received.header("x-signature"), format!("t={time},v1={own}"));

    let deliveries = gateway.settled("hooli", "one").await;
    assert_eq!(deliveries[0]["status"], "success");
    assert_eq!(deliveries[0]["attemptCount"], 1);
    assert_eq!(deliveries[0]["attempts"][0]["statusCode"], 200);
    let kept = gateway.request(Method::GET, "/applications/hooli/messages/one").send().await;
    let kept = kept.expect("an answer").text().await.expect("text");
    assert!(kept.contains(payload), "{kept}");
}

#[tokio::test]
async fn two_secrets_sign_twice() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    let new = format!("whsec_{}", STANDARD.encode([7; 32]));
    let secrets = json!(["i9viqa5vxx78hcxh4rwdm8x7791", new]);
    let endpoint = json!({ "url": receiver.url("/ok"), "secrets": secrets });
    gateway.post("/applications/hooli/endpoints", endpoint).await;
    gateway.message("hooli", json!({ "id": "1" })).await;
    let received = receiver.wait_for("/ok", 1).await.remove(0);
    assert_eq!(received.header("x-signature").matches(",v1=").count(), 2);
    let standard = standardwebhooks::Webhook::new(&new).expect("a secret");
    standard.verify(&received.body, &received.headers).expect("by the second secret");
}

#[tokio::test]
async fn a_failing_receiver_is_tried_again_and_every_attempt_is_recorded() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/flaky/2"), &receiver.url("/status/404")]).await;
    let message = gateway.message("hooli", json!({})).await;
    let deliveries = gateway.settled("hooli", &message).await;
    let of = |uid: &str| deliveries.iter().find(|d| d["endpoint"]["uid"] == uid).expect("one");
    let codes = |delivery: &Value| {
        let attempts = delivery["attempts"].as_array().expect("a list");
        attempts.iter().map(|attempt| attempt["statusCode"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("e0")["status"], "success");
    assert_eq!(codes(of("e0")), [500, 500, 200]);
    assert_eq!(of("e1")["status"], "failed");
    assert_eq!(codes(of("e1")), [404, 404, 404, 404], "three waits, four attempts");
    let received = receiver.received("/flaky/2");
    assert!(received.iter().all(|r| r.header("webhook-id") == message), "one stable id");
}

#[tokio::test]
async fn messages_go_to_those_who_subscribed() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    for (path, more) in [
        ("/ok/all", json!({})),
        ("/ok/type", json!({ "eventTypes": ["sms.status"] })),
        ("/ok/other-type", json!({ "eventTypes": ["sms.other"] })),
        ("/ok/channel", json!({ "channels": ["a", "b"] })),
        ("/ok/other-channel", json!({ "channels": ["c"] })),
        ("/ok/both", json!({ "channels": ["a"], "eventTypes": ["sms.status"] })),
        ("/ok/disabled", json!({ "enabled": false })),
    ] {
        let mut endpoint = json!({ "url": receiver.url(path), "uid": path[4..] });
        let fields = endpoint.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        gateway.post("/applications/hooli/endpoints", endpoint).await;
    }
    let recipients = async |message: Value| {
        let made = gateway.post("/applications/hooli/messages", message).await;
        let id = made["id"].as_str().expect("an id");
        let mut uids: Vec<_> = gateway.settled("hooli", id).await;
        uids.sort_by_key(|d| d["endpoint"]["uid"].to_string());
        let uid = |d: &Value| d["endpoint"]["uid"].as_str().expect("a uid").to_owned();
        uids.iter().map(uid).collect::<Vec<_>>()
    };
    let message = json!({ "eventType": "sms.status", "channels": ["a"], "payload": {} });
    assert_eq!(recipients(message).await, ["all", "both", "channel", "type"]);
    let message = json!({ "eventType": "sms.other", "payload": {} });
    assert_eq!(recipients(message).await, ["all", "other-type"]);
}

#[tokio::test]
async fn what_was_accepted_survives_a_kill_and_a_stop() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/gate")]).await;
    let first = gateway.message("hooli", json!({ "n": 1 })).await;
    receiver.wait_for("/gate", 1).await;
    gateway.restart().await;
    receiver.wait_for("/gate", 2).await;
    gateway.set("OCTOHOOKS_SERVER__DRAIN_MS", "100");
    gateway.restart().await;
    receiver.wait_for("/gate", 3).await;
    gateway.signal("TERM");
    assert!(gateway.ended().await.success());
    gateway.restart().await;
    receiver.open_gate();
    let second = gateway.message("hooli", json!({ "n": 2 })).await;
    for message in [&first, &second] {
        assert_eq!(gateway.settled("hooli", message).await[0]["status"], "success");
    }
    let of_first = receiver.received("/gate");
    assert!(of_first.iter().filter(|r| r.header("webhook-id") == first).count() >= 4);
}

#[tokio::test]
async fn a_uid_is_used_once_in_its_application() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    for application in ["a", "b"] {
        gateway.application(application, &[&receiver.url("/ok")]).await;
    }
    let message = json!({ "eventType": "t", "uid": "one", "payload": {} });
    let first = gateway.post("/applications/a/messages", message.clone()).await;
    let path = "/applications/a/messages";
    let (status, error) = gateway.call(Method::POST, path, Some(&message)).await;
    assert_eq!((status.as_u16(), &error["code"]), (409, &json!("conflict")));
    let text = error["message"].as_str().expect("a text");
    assert!(text.contains(first["id"].as_str().expect("an id")), "{text}");
    gateway.post("/applications/b/messages", message).await;
    gateway.settled("a", "one").await;
    gateway.settled("b", "one").await;
    assert_eq!(receiver.received("/ok").len(), 2);
}

#[tokio::test]
async fn an_endpoint_that_is_disabled_or_deleted_gets_nothing_more() {
    let gateway = Gateway::start(&[("OCTOHOOKS_DELIVERY__RETRY__WAITS_SECONDS", "[3600]")]).await;
    let receiver = Receiver::start().await;
    let urls = [receiver.url("/status/500"), receiver.url("/status/501")];
    gateway.application("hooli", &urls.each_ref().map(String::as_str)).await;
    let message = gateway.message("hooli", json!({})).await;
    receiver.wait_for("/status/500", 1).await;
    receiver.wait_for("/status/501", 1).await;
    let path = format!("/applications/hooli/messages/{message}/endpoint-messages");
    until("both wait for their retries", async || {
        let list = gateway.get(&path).await;
        let list = list.as_array().expect("a list").clone();
        list.iter().all(|d| d["status"] == "pending" && d["attemptCount"] == 1).then_some(())
    })
    .await;
    let disabled = json!({ "url": urls[0], "uid": "e0", "enabled": false });
    gateway.put("/applications/hooli/endpoints/e0", disabled).await;
    gateway.good(Method::DELETE, "/applications/hooli/endpoints/e1", None).await;
    let deliveries = gateway.settled("hooli", &message).await;
    assert!(deliveries.iter().all(|d| d["status"] == "disabled"), "{deliveries:?}");
    let next = gateway.message("hooli", json!({})).await;
    let path = format!("/applications/hooli/messages/{next}/endpoint-messages");
    assert_eq!(gateway.get(&path).await, json!([]));
}

#[tokio::test]
async fn what_a_sender_attached_is_kept_and_the_plugin_reads_it() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let (status, answer) = gateway.upload("hooli", component("scripted")).await;
    assert_eq!(status, 200, "{answer}");
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let expected = json!({ "tier": "gold", "traceparent": trace });
    let message = json!({
        "eventType": "t", "payload": { "do": "echo-message" }, "attributes": { "tier": "gold" },
    });
    let sent = gateway.request(Method::POST, "/applications/hooli/messages");
    let sent = sent.header("traceparent", trace).body(message.to_string()).send().await;
    let answer = json_of(sent.expect("an answer")).await;
    assert_eq!(answer["attributes"], expected, "{answer}");
    let received = receiver.wait_for("/ok", 1).await.remove(0);
    let echoed: Value = serde_json::from_slice(&received.body).expect("JSON");
    let pairs = json!([["tier", "gold"], ["traceparent", trace]]);
    assert_eq!(echoed["attributes"], pairs, "{echoed}");
    gateway.restart().await;
    let path = format!("/applications/hooli/messages/{}", answer["id"].as_str().expect("an id"));
    assert_eq!(gateway.get(&path).await["attributes"], expected);
}
