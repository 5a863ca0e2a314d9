//! JetStream sources: each message of a stream once, and in order.

use super::Broker;
use crate::gateway::rig::{Gateway, LONG, until};
use async_nats::{
    Client, HeaderMap,
    jetstream::{self, consumer::PullConsumer, context::PublishAckFuture},
};
use futures_util::StreamExt;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::time::Duration;

/// The source of the tests: `sms.<application>.<event type>`.
pub(super) const SOURCE: &str = r#"[{stream="SMS", durable="octohooks", application="{subject.2}", event_type="{subject.3}", dead_letter="dead.sms"}]"#;

pub(super) const STREAM: &str = "SMS";
pub(super) const DURABLE: &str = "octohooks";

pub(super) async fn stream(client: &Client) -> jetstream::Context {
    let context = jetstream::new(client.clone());
    let config = jetstream::stream::Config {
        name: STREAM.into(),
        subjects: vec!["sms".into(), "sms.>".into()],
        ..jetstream::stream::Config::default()
    };
    until("the stream is there", async || context.create_stream(config.clone()).await.ok()).await;
    context
}

/// Publishes a message with each of the numbers as `n`, and waits until the stream has it.
pub(super) async fn publish(
    context: &jetstream::Context,
    numbers: impl IntoIterator<Item = usize>,
) {
    let mut acknowledged = Vec::new();
    for n in numbers {
        let subject = format!("sms.app{}.status", n % 2);
        let sent = context.publish(subject, format!("{{\"n\":{n}}}").into()).await;
        acknowledged.push(sent.expect("is sent"));
        // The client lets so many wait, and no more.
        if acknowledged.len() == 1000 {
            are_in_the_stream(acknowledged.drain(..)).await;
        }
    }
    are_in_the_stream(acknowledged).await;
}

async fn are_in_the_stream(sent: impl IntoIterator<Item = PublishAckFuture>) {
    for one in sent {
        one.await.expect("is in the stream");
    }
}

/// The `n` of each message in the store, by application, in the order of acceptance.
pub(super) fn accepted(gateway: &Gateway) -> [Vec<usize>; 2] {
    let path = gateway.path("data/octohooks.db");
    let store = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("opens");
    let mut rows = store.prepare("SELECT payload FROM message ORDER BY sequence").expect("a query");
    let rows = rows.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("rows");
    let mut of = [Vec::new(), Vec::new()];
    for payload in rows {
        let payload: Value = serde_json::from_slice(&payload.expect("a row")).expect("JSON");
        let n = usize::try_from(payload["n"].as_u64().expect("a number")).expect("small");
        of[n % 2].push(n);
    }
    of
}

pub(super) fn in_order(count: usize) -> [Vec<usize>; 2] {
    [(0..count).step_by(2).collect(), (1..count).step_by(2).collect()]
}

/// The same without an order: what was on its way when something broke comes later.
pub(super) fn each_once(gateway: &Gateway) -> [Vec<usize>; 2] {
    let mut of = accepted(gateway);
    of.iter_mut().for_each(|of| of.sort_unstable());
    of
}

/// Waits until that many messages are accepted. One too many is seen by whoever compares then.
pub(super) async fn all_accepted(gateway: &Gateway, count: usize) {
    until(&format!("{count} messages are accepted"), async || {
        (accepted(gateway).iter().map(Vec::len).sum::<usize>() >= count).then_some(())
    })
    .await;
}

/// The source's consumer, if it is there.
pub(super) async fn consumer(context: &jetstream::Context) -> Option<PullConsumer> {
    context.get_consumer_from_stream(DURABLE, STREAM).await.ok()
}

/// Waits until everything in the stream is delivered and acknowledged.
pub(super) async fn all_acknowledged(context: &jetstream::Context) {
    until("all is acknowledged", async || {
        let info = consumer(context).await?.get_info().await.ok()?;
        (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
    })
    .await;
}

/// A gateway with these servers and sources, and the applications of the messages.
pub(super) async fn with_source(servers: &str, sources: &str) -> Gateway {
    let settings =
        [("OCTOHOOKS_NATS__SERVERS", servers), ("OCTOHOOKS_INGEST__NATS__SOURCES", sources)];
    let gateway = Gateway::start(&settings).await;
    for application in ["app0", "app1"] {
        gateway.application(application, &[]).await;
    }
    gateway
}

#[tokio::test]
async fn what_a_stream_held_meanwhile_is_accepted_once_and_in_order() {
    let Some(broker) = Broker::start() else { return };
    let context = stream(&broker.client().await).await;
    let mut gateway = with_source(&broker.url(), SOURCE).await;
    gateway.kill();
    const COUNT: usize = 50_000;
    publish(&context, 0..COUNT).await;
    gateway.restart().await;
    all_accepted(&gateway, COUNT).await;
    assert_eq!(accepted(&gateway), in_order(COUNT));
    all_acknowledged(&context).await;
}

#[tokio::test]
async fn a_kill_under_load_loses_and_repeats_nothing_of_a_stream() {
    let Some(broker) = Broker::start() else { return };
    let context = stream(&broker.client().await).await;
    let mut gateway = with_source(&broker.url(), SOURCE).await;
    let mut sent = 0;
    for round in 1..=20 {
        publish(&context, sent..sent + 500).await;
        sent += 500;
        tokio::time::sleep(Duration::from_millis(round * 7 % 60)).await;
        gateway.restart().await;
    }
    // What was in hand at a kill is delivered again after the acknowledgement's time, 10 s.
    let until_all = tokio::time::timeout(Duration::from_secs(120), async {
        while accepted(&gateway).iter().map(Vec::len).sum::<usize>() < sent {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    until_all.await.unwrap_or_else(|_| panic!("{} of {sent}", accepted(&gateway).len()));
    assert_eq!(each_once(&gateway), in_order(sent));
}

#[tokio::test]
async fn what_can_never_be_accepted_becomes_a_dead_letter() {
    let Some(broker) = Broker::start() else { return };
    let client = broker.client().await;
    let context = stream(&client).await;
    let mut dead = client.subscribe("dead.sms").await.expect("subscribes");
    client.flush().await.expect("is subscribed");
    let source = SOURCE.replace("{subject.3}", "{header.X-Type}");
    let gateway = with_source(&broker.url(), &source).await;
    let large = format!("\"{}\"", "x".repeat(360_000));
    let typed = [("X-Own", "kept"), ("X-Type", "status")];
    for (subject, headers, body, code, reason) in [
        ("sms", &typed[..], "{}", "invalid", "no token 2"),
        ("sms.nobody", &typed, "{}", "not_found", "application"),
        ("sms.app0", &typed, &large, "too_large", "350000 bytes"),
        ("sms.app0", &typed, "no JSON", "malformed", "JSON"),
        ("sms.app0", &typed[..1], "{}", "invalid", "no header X-Type"),
    ] {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| map.insert(*name, *value));
        let sent = context.publish_with_headers(subject, map, body.to_owned().into()).await;
        sent.expect("is sent").await.expect("is in the stream");
        let letter = tokio::time::timeout(LONG, dead.next()).await;
        let letter = letter.expect("comes").expect("a letter");
        assert_eq!(letter.payload, body.as_bytes(), "{reason}");
        let found = letter.headers.expect("headers");
        let header = |name: &str| found.get(name).map(ToString::to_string).unwrap_or_default();
        headers.iter().for_each(|(name, value)| assert_eq!(header(name), *value, "{reason}"));
        assert_eq!((&*header("Octohooks-Code"), &*header("Octohooks-Subject")), (code, subject));
        assert!(header("Octohooks-Reason").contains(reason), "{}", header("Octohooks-Reason"));
    }
    // They are gone, and the next good one is accepted.
    let good =
        HeaderMap::from_iter([("X-Type".parse().expect("a name"), "t".parse().expect("a value"))]);
    let sent = context.publish_with_headers("sms.app0", good, r#"{"n": 0}"#.into()).await;
    sent.expect("is sent").await.expect("is in the stream");
    all_accepted(&gateway, 1).await;
    all_acknowledged(&context).await;
}
