//! A full disk: senders are told, nothing breaks, and it goes on when there is room.

use super::{
    receiver::{Received, Receiver},
    rig::Gateway,
};
use reqwest::Method;
use serde_json::json;
use std::collections::HashSet;

#[tokio::test]
async fn a_full_store_refuses_senders_and_loses_nothing() {
    let mut gateway = Gateway::start(&[("OCTOHOOKS_DATA__MAX_BYTES", "2000000")]).await;
    let receiver = Receiver::start().await;
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let path = "/applications/hooli/messages";
    let padding = "x".repeat(20_000);
    let message = |n: usize| json!({ "eventType": "t", "payload": { "n": n, "padding": padding } });
    let mut accepted = HashSet::new();
    let mut refused = 0;
    for n in 0..400 {
        let (status, answer) = gateway.call(Method::POST, path, Some(&message(n))).await;
        match status.as_u16() {
            200 => drop(accepted.insert(n)),
            507 | 503 => {
                refused += 1;
                assert!(answer["code"].is_string(), "{answer}");
            }
            other => panic!("{other}: {answer}"),
        }
    }
    assert!(refused > 100 && accepted.len() > 20, "{refused} refused, {} not", accepted.len());
    let (status, answer) = gateway.call(Method::POST, path, Some(&message(0))).await;
    assert_eq!((status.as_u16(), &answer["code"]), (507, &json!("store_full")));
    assert_eq!(numbers(&receiver.wait_for("/ok", accepted.len()).await), accepted);

    // Killed while it is full, and given room: nothing corrupted, everything accepted is there, and it goes on.
    gateway.set("OCTOHOOKS_DATA__MAX_BYTES", "50000000");
    gateway.restart().await;
    let (status, answer) = gateway.call(Method::POST, path, Some(&message(1000))).await;
    assert_eq!(status, 200, "{answer}");
    accepted.insert(1000);
    let id = answer["id"].as_str().expect("an id");
    assert_eq!(gateway.settled("hooli", id).await[0]["status"], "success");
    assert_eq!(numbers(&receiver.received("/ok")), accepted);
    let listed = gateway.get("/applications/hooli/messages?limit=250").await;
    assert_eq!(listed["data"].as_array().expect("a list").len(), accepted.len());
}

fn numbers(received: &[Received]) -> HashSet<usize> {
    received.iter().map(Received::n).collect()
}
