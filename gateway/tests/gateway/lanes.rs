//! Lanes: rate limits, in-flight limits, what waits aside, and that one endpoint's trouble is its own.

use super::{
    receiver::{Received, Receiver},
    rig::Gateway,
};
use reqwest::Method;
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
    // Those of the burst are under way together, and so are those of a timer that was late.
    numbers.sort_unstable();
    assert_eq!(numbers, (0..55).collect::<Vec<_>>());
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
    // The window is 4096, half of it is room for a fetch.
    const COUNT: usize = 7000;
    publish(&gateway, COUNT).await;
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
    const COUNT: usize = 5000;
    publish(&gateway, COUNT).await;
    receiver.wait_for("/gate/slow", 1).await;
    gateway.restart().await;
    receiver.open_gate();
    let received = receiver.wait_for("/gate/slow", COUNT + 1).await;
    let mut numbers = numbers(&received[1..]);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>(), "only what was in flight came twice");
}

/// So many messages, numbered by their `n`, a hundred at once.
async fn publish(gateway: &Gateway, count: usize) {
    for first in (0..count).step_by(100) {
        let message = |n| json!({ "eventType": "sms.status", "payload": { "n": n } });
        let messages: Vec<_> = (first..first + 100).map(message).collect();
        let path = "/applications/hooli/messages/batch";
        gateway.post(path, json!({ "messages": messages })).await;
    }
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

#[tokio::test]
async fn the_endpoints_of_an_application_share_its_rate_limit_until_it_is_removed() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let limit = json!({ "limit": 50, "per": "second", "burst": 1 });
    let made = json!({ "name": "Hooli", "uid": "hooli", "rateLimit": limit });
    let made = gateway.post("/applications", made).await;
    assert_eq!(made["rateLimit"], limit);
    for path in ["/ok/one", "/ok/other"] {
        let endpoint = json!({ "url": receiver.url(path) });
        gateway.post("/applications/hooli/endpoints", endpoint).await;
    }
    for n in 0..25 {
        gateway.message("hooli", json!({ "n": n })).await;
    }
    let (one, other) =
        (receiver.wait_for("/ok/one", 25).await, receiver.wait_for("/ok/other", 25).await);
    let mut times: Vec<_> = one.iter().chain(&other).map(|received| received.at).collect();
    times.sort_unstable();
    let took = times[49] - times[0];
    assert!(took >= Duration::from_millis(970), "fifty at fifty a second: {took:?}");

    let hourly = json!({ "rateLimit": { "limit": 1, "per": "hour" } });
    gateway.put("/applications/hooli", hourly).await;
    let kept = gateway.put("/applications/hooli", json!({ "name": "Hooli" })).await;
    assert_eq!(kept["rateLimit"]["per"], "hour");
    for n in 25..35 {
        gateway.message("hooli", json!({ "n": n })).await;
    }
    let gone = gateway.put("/applications/hooli", json!({ "rateLimit": null })).await;
    assert_eq!(gone["rateLimit"], Value::Null);
    receiver.wait_for("/ok/one", 35).await;
    receiver.wait_for("/ok/other", 35).await;
}

#[tokio::test]
async fn the_gateway_has_a_rate_limit_and_places_of_its_own() {
    let limits = [
        ("OCTOHOOKS_DELIVERY__RATE_LIMIT__LIMIT", "50"),
        ("OCTOHOOKS_DELIVERY__MAX_IN_FLIGHT_TOTAL", "4"),
    ];
    let (gateway, receiver) = (Gateway::start(&limits).await, Receiver::start().await);
    for app in ["hooli", "acme"] {
        gateway.application(app, &[]).await;
        let path = format!("/applications/{app}/endpoints");
        gateway.post(&path, json!({ "url": receiver.url("/slow/200") })).await;
    }
    for n in 0..20 {
        gateway.message("hooli", json!({ "n": n })).await;
        gateway.message("acme", json!({ "n": n })).await;
    }
    let received = receiver.wait_for("/slow/200", 40).await;
    assert!(receiver.most_under_way() <= 4, "{}", receiver.most_under_way());
    let took = received[39].at - received[0].at;
    assert!(took >= Duration::from_millis(770), "forty at fifty a second: {took:?}");
}

#[tokio::test]
async fn a_rate_limit_that_cannot_be_is_refused_with_its_place() {
    let gateway = Gateway::start(&[]).await;
    for (limit, place) in [
        (json!({ "limit": 0 }), "/rateLimit/limit"),
        (json!({ "limit": 1, "per": "day" }), "/rateLimit/per"),
        (json!({ "limit": 1, "burst": -1 }), "/rateLimit/burst"),
    ] {
        let body = json!({ "name": "Hooli", "rateLimit": limit });
        let (status, answer) = gateway.call(Method::POST, "/applications", Some(&body)).await;
        assert_eq!(status, 422, "{answer}");
        assert!(answer.to_string().contains(place), "{answer}");
    }
}
