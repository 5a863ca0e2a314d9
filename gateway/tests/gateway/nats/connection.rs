//! The connection to NATS: how it is made, lost and found again.

use super::{Broker, SUBJECT, ask, connected};
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
