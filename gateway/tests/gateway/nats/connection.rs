//! The connection to NATS: how it is made, lost and found again.

use super::{
    Broker, SUBJECT, ask,
    broker::free_port,
    connected,
    source::{
        SOURCE, all_accepted, all_acknowledged, each_once, in_order, publish, stream, with_source,
    },
};
use crate::gateway::{receiver::Receiver, rig::Gateway};
use serde_json::json;

#[tokio::test]
async fn a_broker_that_is_away_stops_nothing_and_is_found_again() {
    let Some(mut broker) = Broker::start() else { return };
    let receiver = Receiver::start().await;
    broker.kill();
    let gateway = Gateway::start(&[("OCTOHOOKS_NATS__SERVERS", &broker.url())]).await;
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    gateway.message("hooli", json!({})).await;
    receiver.wait_for("/ok", 1).await;
    for round in 2..4 {
        broker.restart();
        connected(&gateway, true).await;
        let client = broker.client().await;
        ask(&client, SUBJECT, &[], r#"{"eventType": "t", "payload": {}}"#).await;
        receiver.wait_for("/ok", round).await;
        broker.kill();
        connected(&gateway, false).await;
    }
    let metrics = gateway.text("/metrics").await;
    assert!(metrics.lines().any(|line| line == "octohooks_nats_connected 0"), "{metrics}");
}

#[tokio::test]
async fn a_gateway_stops_at_once_while_the_broker_is_away() {
    let Some(mut broker) = Broker::start() else { return };
    // Longer than this test waits for anything.
    let settings =
        [("OCTOHOOKS_NATS__SERVERS", &*broker.url()), ("OCTOHOOKS_SERVER__DRAIN_MS", "600000")];
    let mut gateway = Gateway::start(&settings).await;
    connected(&gateway, true).await;
    broker.kill();
    connected(&gateway, false).await;
    gateway.signal("TERM");
    assert!(gateway.ended().await.success());
}

#[tokio::test]
async fn a_broker_that_is_replaced_by_another_of_the_list_loses_and_repeats_nothing() {
    let Some(mut broker) = Broker::start() else { return };
    let context = stream(&broker.client().await).await;
    let second = free_port();
    let servers = format!("{},nats://127.0.0.1:{second}", broker.url());
    let gateway = with_source(&servers, SOURCE).await;
    gateway.application("hooli", &[]).await;
    connected(&gateway, true).await;
    publish(&context, 0..2000).await;
    broker.move_to(second);
    let client = broker.client().await;
    let context = async_nats::jetstream::new(client.clone());
    let body = r#"{"eventType": "t", "payload": {"n": 3000}}"#;
    let (_, answer) = ask(&client, SUBJECT, &[], body).await;
    assert!(answer["id"].is_string(), "{answer}");
    publish(&context, 2000..3000).await;
    all_accepted(&gateway, 3001).await;
    all_acknowledged(&context).await;
    assert_eq!(each_once(&gateway), in_order(3001));
}
