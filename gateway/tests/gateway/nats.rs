//! NATS, with real nats-servers and ordinary clients. This file is what its tests share, with `broker`, the nats-server,
//! and `proxy`, what is between it and the gateway.

mod broker;
mod proxy;
mod door;
mod source;
mod faults;
mod poison;
mod connection;
mod destination;
mod environments;
mod watched;
mod identity;
mod schema;
mod old;
mod stop;

use super::{
    receiver::Receiver,
    rig::{Gateway, until},
};
use async_nats::{Client, HeaderMap, Message};
use broker::Broker;
use serde_json::Value;

/// A gateway on that broker, connected, with the application `hooli`.
async fn gateway(broker: &Broker, receiver: &Receiver) -> Gateway {
    let gateway = Gateway::start(&[("OCTOHOOKS_NATS__SERVERS", &broker.url())]).await;
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    connected(&gateway, true).await;
    gateway
}

async fn connected(gateway: &Gateway, expected: bool) {
    until("the connection to NATS is as expected", async || {
        let health: Value = serde_json::from_str(&gateway.text("/health").await).expect("JSON");
        (health["parts"]["nats"]["connected"] == expected).then_some(())
    })
    .await;
}

const SUBJECT: &str = "octohooks.ingest.hooli";

/// A request: its reply, and the reply's body. Asked again while nobody listens.
async fn ask(
    client: &Client,
    subject: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (Message, Value) {
    let mut map = HeaderMap::new();
    headers.iter().for_each(|(name, value)| map.insert(*name, *value));
    let reply = until("there is a reply", async || {
        let body = body.to_owned().into();
        client.request_with_headers(subject.to_owned(), map.clone(), body).await.ok()
    })
    .await;
    let answer = serde_json::from_slice(&reply.payload).expect("JSON");
    (reply, answer)
}
