//! What works with nats-server 2.9, and what is told of what does not.

use super::{
    Broker, SUBJECT, ask, gateway,
    source::{SOURCE, accepted, all_accepted, in_order, publish, stream, with_source},
};
use crate::gateway::{receiver::Receiver, rig::until};

#[tokio::test]
async fn an_old_server_carries_requests_publishes_and_streams() {
    let Some(broker) = Broker::old() else { return };
    let receiver = Receiver::start().await;
    let client = broker.client().await;
    assert!(client.server_info().version.starts_with("2.9."), "{:?}", client.server_info());
    {
        let gateway = gateway(&broker, &receiver).await;
        let body = r#"{"eventType": "t", "payload": {}}"#;
        let (_, answer) = ask(&client, SUBJECT, &[], body).await;
        assert!(answer["id"].is_string(), "{answer}");
        client.publish(SUBJECT, body.into()).await.expect("is sent");
        receiver.wait_for("/ok", 2).await;
        drop(gateway);
    }
    let context = stream(&client).await;
    let gateway = with_source(&broker.url(), SOURCE).await;
    publish(&context, 0..1000).await;
    all_accepted(&gateway, 1000).await;
    assert_eq!(accepted(&gateway), in_order(1000));
}

#[tokio::test]
async fn a_source_that_needs_a_newer_server_is_told_and_stops_nothing_else() {
    let Some(broker) = Broker::old() else { return };
    let client = broker.client().await;
    let context = stream(&client).await;
    let several = SOURCE
        .replace("octohooks", "several")
        .replace("stream=", r#"filter_subjects=["sms.app0.*", "sms.app1.*"], stream="#);
    let sources = format!("{},{}", several.trim_end_matches(']'), SOURCE.trim_start_matches('['));
    let gateway = with_source(&broker.url(), &sources).await;
    let line = until("it is told", async || {
        let log = gateway.log();
        log.lines().find(|line| line.contains("filter_subjects")).map(str::to_owned)
    })
    .await;
    for part in ["WARN", "SMS", "several", "sms.app0.*, sms.app1.*", "2.10", "2.9.10"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    publish(&context, 0..100).await;
    all_accepted(&gateway, 100).await;
    gateway.application("hooli", &[]).await;
    let body = r#"{"eventType": "t", "payload": {"n": 100}}"#;
    let (_, answer) = ask(&client, SUBJECT, &[], body).await;
    assert!(answer["id"].is_string(), "{answer}");
    let told = gateway.log().lines().filter(|line| line.contains("filter_subjects")).count();
    assert_eq!(told, 1, "once, not at every try");
}
