//! Lanes: rate limits, in-flight limits, what waits aside, and that one endpoint's trouble is its own.

use super::{
    receiver::{Received, Receiver},
    rig::Gateway,
};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_rate_limit_is_kept_and_used_up() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    let limit = json!({ "limit": 50, "burst": 5 });
    let endpoint = json!({ "url": receiver.url("/ok"), "rateLimit": limit });
    gateway.post("/applications/hooli/endpoints", endpoint).await;
    for n in 0..55 {
        gateway.message("hooli", json!({ "n": n })).await;
    }
    let received = receiver.wait_for("/ok", 55).await;
    let mut numbers = numbers(&received);
    // Those of the burst are under way together.
    numbers[..5].sort_unstable();
    assert_eq!(numbers, (0..55).collect::<Vec<_>>(), "in order");
    // Five at once and fifty more at fifty a second. A slow machine makes it longer, never shorter.
    let took = received[54].at - received[0].at;
    assert!(took >= Duration::from_millis(990), "{took:?}");
}

#[tokio::test]
async fn no_more_are_under_way_than_may_be() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    let endpoint = json!({ "url": receiver.url("/slow/20"), "maxInFlight": 3 });
    gateway.post("/applications/hooli/endpoints", endpoint).await;
    for n in 0..30 {
        gateway.message("hooli", json!({ "n": n })).await;
    }
    receiver.wait_for("/slow/20", 30).await;
    assert_eq!(receiver.most_under_way(), 3);
}

#[tokio::test]
async fn what_a_full_lane_has_no_room_for_waits_on_disk_and_arrives_in_order() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    let slow = json!({ "url": receiver.url("/gate/slow"), "uid": "slow", "maxInFlight": 1 });
    gateway.post("/applications/hooli/endpoints", slow).await;
    let quick = json!({ "url": receiver.url("/ok/quick"), "uid": "quick" });
    gateway.post("/applications/hooli/endpoints", quick).await;
    // The window is 1000, half of it is room for a fetch.
    const COUNT: usize = 2600;
    for n in 0..COUNT {
        gateway.message("hooli", json!({ "n": n })).await;
    }
    // Its neighbour has everything while the slow one has its first.
    receiver.wait_for("/ok/quick", COUNT).await;
    assert_eq!(receiver.received("/gate/slow").len(), 1);
    let health: Value = serde_json::from_str(&gateway.text("/health").await).expect("JSON");
    assert!(health["parts"]["store"]["aside"].as_u64() >= Some(1000), "{health}");

    receiver.open_gate();
    let received = receiver.wait_for("/gate/slow", COUNT).await;
    assert_eq!(numbers(&received), (0..COUNT).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_waits_on_disk_for_its_lane_survives_a_kill() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    let slow = json!({ "url": receiver.url("/gate/slow"), "maxInFlight": 1 });
    gateway.post("/applications/hooli/endpoints", slow).await;
    const COUNT: usize = 1500;
    for n in 0..COUNT {
        gateway.message("hooli", json!({ "n": n })).await;
    }
    receiver.wait_for("/gate/slow", 1).await;
    gateway.restart().await;
    receiver.open_gate();
    let received = receiver.wait_for("/gate/slow", COUNT + 1).await;
    let mut numbers = numbers(&received[1..]);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>(), "only what was in flight came twice");
}

/// The `n` of each payload.
fn numbers(received: &[Received]) -> Vec<usize> {
    received.iter().map(Received::n).collect()
}

#[tokio::test]
async fn changed_limits_count_for_what_waits_already() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    let url = receiver.url("/ok");
    let limit = json!({ "limit": 1, "per": "hour" });
    let endpoint = json!({ "url": url, "uid": "e", "rateLimit": limit });
    gateway.post("/applications/hooli/endpoints", endpoint).await;
    for n in 0..20 {
        gateway.message("hooli", json!({ "n": n })).await;
    }
    receiver.wait_for("/ok", 1).await;
    gateway.put("/applications/hooli/endpoints/e", json!({ "url": url, "uid": "e" })).await;
    receiver.wait_for("/ok", 20).await;
}
