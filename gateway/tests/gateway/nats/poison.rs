//! Headers that the client of NATS cannot read: at the door they cost a connection, in a stream they become dead letters,
//! and everything else goes on.

use super::{
    Broker, SUBJECT, ask, gateway,
    source::{
        SOURCE, all_accepted, all_acknowledged, each_once, in_order, publish, stream, with_source,
    },
};
use crate::gateway::{
    receiver::Receiver,
    rig::{Gateway, LONG, until},
};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Ends the client's task.
const PANIC: &[u8] = b"NATS/1.0\r\nX-Own: kept\r\nX: a\rb\r\n\r\n";
/// Are an error of the connection.
const BROKEN: [&[u8]; 4] = [
    b"NATS/1.0\r\nX: \xff\r\n\r\n",
    b"NATS/1.0\r\nno colon\r\n\r\n",
    b"NATS/1.0\r\nA\x01: y\r\n\r\n",
    b"HTTP/1.1\r\nX: y\r\n\r\n",
];
/// The same at the door; a stream of a newer server leaves the status out.
const STATUS: &[u8] = b"NATS/1.0 abc\r\nX: y\r\n\r\n";

/// Publishes `{}` with these headers as they are, and waits until the server has it.
async fn raw(broker: &Broker, subject: &str, headers: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", broker.port())).await.expect("connects");
    let (length, all) = (headers.len(), headers.len() + 2);
    let connect = r#"CONNECT {"verbose":false,"pedantic":false,"headers":true}"#;
    let mut sent = format!("{connect}\r\nHPUB {subject} {length} {all}\r\n").into_bytes();
    sent.extend_from_slice(headers);
    sent.extend_from_slice(b"{}\r\nPING\r\n");
    stream.write_all(&sent).await.expect("writes");
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !answer.windows(6).any(|bytes| bytes == b"PONG\r\n") {
        let read = stream.read(&mut buffer).await.expect("reads");
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
    }
}

async fn connections(gateway: &Gateway) -> u64 {
    let health: Value = serde_json::from_str(&gateway.text("/health").await).expect("JSON");
    health["parts"]["nats"]["connections"].as_u64().expect("a number")
}

#[tokio::test]
async fn headers_that_cannot_be_read_cost_a_door_a_connection_and_nothing_else() {
    let Some(broker) = Broker::start() else { return };
    let receiver = Receiver::start().await;
    let (client, gateway) = (broker.client().await, gateway(&broker, &receiver).await);
    let body = r#"{"eventType": "t", "payload": {}}"#;
    for (index, headers) in BROKEN.into_iter().chain([STATUS, PANIC, PANIC]).enumerate() {
        ask(&client, SUBJECT, &[], body).await;
        raw(&broker, SUBJECT, headers).await;
        let again = async || (connections(&gateway).await == index as u64 + 2).then_some(());
        until("it is connected again", again).await;
        let (_, answer) = ask(&client, SUBJECT, &[], body).await;
        assert!(answer["id"].is_string(), "{answer}");
    }
    let log = gateway.log();
    let ended = log.lines().filter(|line| line.contains("the NATS client has ended")).count();
    assert_eq!(ended, 2, "{log}");
}

#[tokio::test]
async fn what_cannot_be_read_of_a_stream_becomes_a_dead_letter_and_the_rest_is_taken() {
    let Some(broker) = Broker::start() else { return };
    let client = broker.client().await;
    let context = stream(&client).await;
    let mut dead = client.subscribe("dead.sms").await.expect("subscribes");
    client.flush().await.expect("is subscribed");
    let gateway = with_source(&broker.url(), SOURCE).await;
    publish(&context, 0..10).await;
    for headers in BROKEN.into_iter().chain([PANIC]) {
        raw(&broker, "sms.app0.status", headers).await;
    }
    publish(&context, 10..20).await;
    all_accepted(&gateway, 20).await;
    let mut kept = 0;
    for _ in 0..=BROKEN.len() {
        let letter = tokio::time::timeout(LONG, dead.next()).await;
        let letter = letter.expect("comes").expect("a letter");
        assert_eq!(*letter.payload, *b"{}");
        let headers = letter.headers.expect("headers");
        let header = |name: &str| headers.get(name).map(ToString::to_string).unwrap_or_default();
        assert_eq!(header("Octohooks-Subject"), "sms.app0.status");
        assert!(header("Octohooks-Reason").contains("headers"), "{headers:?}");
        kept += usize::from(header("X-Own") == "kept" && header("X") == "a b");
    }
    assert_eq!(kept, 1, "what can be kept of the headers");
    all_acknowledged(&context).await;
    publish(&context, 20..30).await;
    all_accepted(&gateway, 30).await;
    assert_eq!(each_once(&gateway), in_order(30));
}
