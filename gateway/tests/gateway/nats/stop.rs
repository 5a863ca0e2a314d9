//! A door whose gateway stops: what the server has sent it by then is answered, and what is answered is safe.

use super::{Broker, SUBJECT, ask, gateway};
use crate::gateway::{
    receiver::Receiver,
    rig::{LONG, until},
};
use async_nats::{Client, StatusCode, Subscriber};
use futures_util::StreamExt;
use serde_json::Value;
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;

/// A client, and what it is answered.
struct Sender {
    client: Client,
    inbox: String,
    answers: Subscriber,
}

impl Sender {
    async fn new(broker: &Broker) -> Self {
        let client = broker.client().await;
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await.expect("subscribes");
        Self { client, inbox, answers }
    }

    /// The server has done all that the client told it.
    async fn settled(&self) {
        let echo = self.client.new_inbox();
        let mut heard = self.client.subscribe(echo.clone()).await.expect("subscribes");
        // Twice: what is in one piece with the first goes out beside it.
        for _ in 0..2 {
            self.client.publish(echo.clone(), "".into()).await.expect("is sent");
            timeout(LONG, heard.next()).await.expect("in time").expect("comes back");
        }
    }
}

async fn send(client: &Client, inbox: &str, n: usize) {
    let body = format!(r#"{{"eventType": "t", "payload": {{"n": {n}}}}}"#);
    let reply = format!("{inbox}.{n}");
    client.publish_with_reply(SUBJECT, reply, body.into()).await.expect("is sent");
}

/// Waits until the receiver has all of these.
async fn all_received(receiver: &Receiver, ids: &HashSet<String>) {
    until("all that was answered is delivered", async || {
        let received = receiver.received("/ok");
        let received: HashSet<_> =
            received.iter().map(|request| request.header("webhook-id").to_owned()).collect();
        ids.is_subset(&received).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_door_was_sent_before_a_stop_is_answered_and_safe() {
    const COUNT: usize = 300;
    let Some(broker) = Broker::start() else { return };
    let receiver = Receiver::start().await;
    let (mut sender, mut gateway) = (Sender::new(&broker).await, gateway(&broker, &receiver).await);
    ask(&sender.client, SUBJECT, &[], r#"{"eventType": "t", "payload": {"n": -1}}"#).await;
    // It reads nothing of this before the signal has come.
    gateway.signal("STOP");
    for n in 0..COUNT {
        send(&sender.client, &sender.inbox, n).await;
    }
    sender.settled().await;
    gateway.signal("TERM");
    gateway.signal("CONT");
    assert_eq!(gateway.ended().await.code(), Some(0));
    let mut ids = HashSet::new();
    for _ in 0..COUNT {
        let answer = timeout(LONG, sender.answers.next()).await;
        let answer = answer.unwrap_or_else(|_| panic!("{} answers:\n{}", ids.len(), gateway.log()));
        let answer: Value =
            serde_json::from_slice(&answer.expect("an answer").payload).expect("JSON");
        ids.insert(answer["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned());
    }
    assert_eq!(ids.len(), COUNT, "each is a message of its own");
    gateway.restart().await;
    all_received(&receiver, &ids).await;
}

#[tokio::test]
async fn what_is_sent_while_a_gateway_stops_is_answered_and_safe_or_not_taken() {
    let Some(broker) = Broker::start() else { return };
    let receiver = Receiver::start().await;
    let (mut sender, mut gateway) = (Sender::new(&broker).await, gateway(&broker, &receiver).await);
    ask(&sender.client, SUBJECT, &[], r#"{"eventType": "t", "payload": {"n": -1}}"#).await;
    let ended = Arc::new(AtomicBool::new(false));
    let flood = tokio::spawn({
        let (client, inbox, ended) = (sender.client.clone(), sender.inbox.clone(), ended.clone());
        async move {
            let mut n = 0;
            while !ended.load(Ordering::Relaxed) {
                send(&client, &inbox, n).await;
                n += 1;
                // A stream, and not all at once.
                if n % 10 == 0 {
                    client.flush().await.expect("is written");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
    });
    let (mut ids, mut refused, mut nobody) = (HashSet::new(), 0, 0);
    let mut is_told = false;
    // What comes after the end comes from the server alone.
    while nobody < 100 {
        let answer = timeout(LONG, sender.answers.next()).await.expect("in time").expect("one");
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            nobody += 1;
            continue;
        }
        let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
        match answer["id"].as_str() {
            Some(id) => drop(ids.insert(id.to_owned())),
            None => {
                assert_eq!(answer["code"], "stopping", "{answer}");
                refused += 1;
            }
        }
        if ids.len() == 200 && !is_told {
            gateway.signal("TERM");
            is_told = true;
        }
    }
    ended.store(true, Ordering::Relaxed);
    flood.await.expect("it ends");
    assert_eq!(gateway.ended().await.code(), Some(0));
    println!("{} answered, {refused} refused", ids.len());
    assert!(ids.len() >= 200);
    gateway.restart().await;
    all_received(&receiver, &ids).await;
}
