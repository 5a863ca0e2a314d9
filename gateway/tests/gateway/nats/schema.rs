//! An enforced schema at the doors of NATS: the same error as over HTTP, and a dead letter of what a stream has.

use super::{
    Broker, SUBJECT, ask, gateway,
    source::{SOURCE, all_accepted, all_acknowledged, stream, with_source},
};
use crate::gateway::{
    receiver::Receiver,
    rig::{Gateway, LONG},
};
use futures_util::StreamExt;
use serde_json::json;

async fn enforce(gateway: &Gateway, name: &str) {
    let schema = json!({ "properties": { "n": { "type": "integer" } } });
    gateway.post("/event-types", json!({ "name": name, "enforce": true, "schema": schema })).await;
}

#[tokio::test]
async fn a_payload_that_violates_a_schema_is_answered_as_over_http() {
    let Some(broker) = Broker::start() else { return };
    let receiver = Receiver::start().await;
    let (client, gateway) = (broker.client().await, gateway(&broker, &receiver).await);
    enforce(&gateway, "t").await;
    let own = [("Octohooks-Event-Type", "t")];
    for (headers, body) in
        [(&[][..], r#"{"eventType": "t", "payload": {"n": "1"}}"#), (&own, r#"{"n": "1"}"#)]
    {
        let (reply, answer) = ask(&client, SUBJECT, headers, body).await;
        assert_eq!(
            (&answer["code"], &answer["details"][0]["path"]),
            (&json!("schema"), &json!("/payload/n"))
        );
        let headers = reply.headers.expect("headers");
        assert_eq!(headers.get("Nats-Service-Error-Code").expect("a code").as_str(), "422");
    }
    let (_, answer) = ask(&client, SUBJECT, &own, r#"{"n": 1}"#).await;
    assert!(answer["id"].is_string(), "{answer}");
}

#[tokio::test]
async fn what_violates_a_schema_in_a_stream_becomes_a_dead_letter() {
    let Some(broker) = Broker::start() else { return };
    let client = broker.client().await;
    let context = stream(&client).await;
    let mut dead = client.subscribe("dead.sms").await.expect("subscribes");
    client.flush().await.expect("is subscribed");
    let gateway = with_source(&broker.url(), SOURCE).await;
    enforce(&gateway, "status").await;
    for body in [r#"{"n": "zero"}"#, r#"{"n": 0}"#] {
        let sent = context.publish("sms.app0.status", body.into()).await;
        sent.expect("is sent").await.expect("is in the stream");
    }
    let letter = tokio::time::timeout(LONG, dead.next()).await.expect("comes").expect("a letter");
    assert_eq!(&letter.payload[..], br#"{"n": "zero"}"#);
    let headers = letter.headers.expect("headers");
    assert_eq!(headers.get("Octohooks-Code").expect("a code").as_str(), "schema");
    let reason = headers.get("Octohooks-Reason").expect("a reason").as_str();
    assert!(reason.contains("/payload/n"), "{reason}");
    all_accepted(&gateway, 1).await;
    all_acknowledged(&context).await;
}
