//! Order: of an endpoint, or of a key, nothing is sent before what is ahead of it is done.

use super::{
    receiver::{Received, Receiver},
    rig::{Gateway, component},
};
use serde_json::json;

/// The `n` of each payload.
fn numbers(received: &[Received]) -> Vec<usize> {
    received.iter().map(Received::n).collect()
}

async fn send(gateway: &Gateway, n: usize, key: &str) {
    let message = json!({ "eventType": "sms.status", "payload": { "n": n }, "orderingKey": key });
    gateway.post("/applications/hooli/messages", message).await;
}

#[tokio::test]
async fn what_has_a_key_waits_for_the_one_ahead_and_other_keys_go_on() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    // Each fails once, and is sent again a moment later.
    let endpoint = json!({ "url": receiver.url("/flaky/1"), "order": "key" });
    let made = gateway.post("/applications/hooli/endpoints", endpoint).await;
    assert_eq!(made["order"], "key");
    for n in 0..30 {
        send(&gateway, n, ["a", "b", "c"][n % 3]).await;
    }
    let received = numbers(&receiver.wait_for("/flaky/1", 60).await);
    for key in 0..3 {
        let own: Vec<_> = received.iter().copied().filter(|n| n % 3 == key).collect();
        let expected: Vec<_> = (0..30).filter(|n| n % 3 == key).flat_map(|n| [n, n]).collect();
        assert_eq!(own, expected, "of key {key}");
    }
    assert!(receiver.most_under_way() <= 3);
}

#[tokio::test]
async fn a_key_with_a_backlog_on_disk_keeps_no_other_waiting() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    let endpoint = json!({ "url": receiver.url("/gate"), "order": "key" });
    gateway.post("/applications/hooli/endpoints", endpoint).await;
    const COUNT: usize = 2_000;
    for n in 0..COUNT {
        send(&gateway, n, "busy").await;
    }
    send(&gateway, COUNT, "other").await;
    let received = receiver.wait_for("/gate", 2).await;
    assert_eq!(numbers(&received), [0, COUNT], "the next of the key waits, the other does not");
    receiver.open_gate();
    let received = numbers(&receiver.wait_for("/gate", COUNT + 1).await);
    assert_eq!(received[2..], (1..COUNT).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_order_outlives_a_kill() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    let endpoint = json!({ "url": receiver.url("/gate"), "order": "endpoint" });
    gateway.post("/applications/hooli/endpoints", endpoint).await;
    // More than is kept in memory of what is blocked: some have rows, and some have none.
    const COUNT: usize = 1_500;
    for n in 0..COUNT {
        gateway.message("hooli", json!({ "n": n })).await;
    }
    assert_eq!(receiver.wait_for("/gate", 1).await.len(), 1);
    gateway.restart().await;
    for n in COUNT..COUNT + 50 {
        gateway.message("hooli", json!({ "n": n })).await;
    }
    receiver.open_gate();
    let received = numbers(&receiver.wait_for("/gate", COUNT + 51).await);
    assert_eq!(received[1..], (0..COUNT + 50).collect::<Vec<_>>(), "only the first came twice");
}

#[tokio::test]
async fn an_order_that_is_asked_for_later_holds_for_what_waits_already() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    let url = receiver.url("/gate");
    let endpoint = json!({ "url": url, "uid": "e", "maxInFlight": 2 });
    gateway.post("/applications/hooli/endpoints", endpoint).await;
    const COUNT: usize = 1_200;
    for n in 0..COUNT {
        gateway.message("hooli", json!({ "n": n })).await;
    }
    receiver.wait_for("/gate", 2).await;
    let ordered = json!({ "url": url, "order": "endpoint" });
    gateway.put("/applications/hooli/endpoints/e", ordered).await;
    for n in COUNT..COUNT + 50 {
        gateway.message("hooli", json!({ "n": n })).await;
    }
    receiver.open_gate();
    let received = numbers(&receiver.wait_for("/gate", COUNT + 50).await);
    assert_eq!(received[2..], (2..COUNT + 50).collect::<Vec<_>>());
    // A caller who does not know of it does not mean to change it.
    let kept = gateway.put("/applications/hooli/endpoints/e", json!({ "url": url })).await;
    assert_eq!(kept["order"], "endpoint");
}

#[tokio::test]
async fn an_order_holds_behind_plugins_that_take_unequally_long() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    let endpoint = json!({ "url": receiver.url("/ok"), "order": "endpoint" });
    gateway.post("/applications/hooli/endpoints", endpoint).await;
    let (status, answer) = gateway.upload("hooli", component("scripted")).await;
    assert!(status.is_success(), "{answer}");
    let mut tasks = Vec::new();
    for n in 0..300 {
        // What spins is parked when its time is up, and is in no order then.
        let task = if n % 50 == 7 { "spin" } else { "pass" };
        tasks.push(json!({ "eventType": "sms.status", "payload": { "n": n, "do": task } }));
    }
    for batch in tasks.chunks(100) {
        let path = "/applications/hooli/messages/batch";
        gateway.post(path, json!({ "messages": batch })).await;
    }
    let received = numbers(&receiver.wait_for("/ok", 294).await);
    assert_eq!(received, (0..300).filter(|n| n % 50 != 7).collect::<Vec<_>>());
}
