//! JetStream sources: each message of a stream once, and in order.

use super::Broker;
use crate::gateway::rig::{Gateway, LONG, until};
use async_nats::{Client, HeaderMap, jetstream};
use futures_util::StreamExt;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::time::Duration;

/// The source of the tests: `sms.<application>.<event type>`.
const SOURCE: &str = r#"[{stream="SMS", durable="octohooks", application="{subject.2}", event_type="{subject.3}", dead_letter="dead.sms"}]"#;

pub(crate) async fn stream(client: &Client) -> jetstream::Context {
    let context = jetstream::new(client.clone());
    let config = jetstream::stream::Config {
        name: "SMS".into(),
        subjects: vec!["sms.>".into()],
        ..jetstream::stream::Config::default()
    };
    until("the stream is there", async || context.create_stream(config.clone()).await.ok()).await;
    context
}

pub(crate) async fn publish(context: &jetstream::Context, range: std::ops::Range<usize>) {
    let mut acknowledged = Vec::new();
    for n in range.clone() {
        let subject = format!("sms.app{}.status", n % 2);
        let sent = context.publish(subject, format!("{{\"n\":{n}}}").into()).await;
        acknowledged.push(sent.expect("is sent"));
        // The client lets so many wait, and no more.
        if acknowledged.len() == 1000 || n + 1 == range.end {
            for one in acknowledged.drain(..) {
                one.await.expect("is in the stream");
            }
        }
    }
}

/// The `n` of each message in the store, by application, in the order of acceptance.
fn accepted(gateway: &Gateway) -> [Vec<usize>; 2] {
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

fn in_order(count: usize) -> [Vec<usize>; 2] {
    [(0..count).step_by(2).collect(), (1..count).step_by(2).collect()]
}

pub(crate) async fn with_source(broker: &Broker) -> Gateway {
    let settings =
        [("OCTOHOOKS_NATS__SERVERS", &*broker.url()), ("OCTOHOOKS_INGEST__NATS__SOURCES", SOURCE)];
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
    let mut gateway = with_source(&broker).await;
    gateway.kill();
    const COUNT: usize = 50_000;
    publish(&context, 0..COUNT).await;
    gateway.restart().await;
    until("all are accepted", async || {
        let of = accepted(&gateway);
        (of[0].len() + of[1].len() >= COUNT).then_some(())
    })
    .await;
    assert_eq!(accepted(&gateway), in_order(COUNT));
    until("all are acknowledged", async || {
        let consumer: jetstream::consumer::PullConsumer =
            context.get_consumer_from_stream("octohooks", "SMS").await.ok()?;
        let info = consumer.get_info().await.ok()?;
        (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_kill_under_load_loses_and_repeats_nothing_of_a_stream() {
    let Some(broker) = Broker::start() else { return };
    let context = stream(&broker.client().await).await;
    let mut gateway = with_source(&broker).await;
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
    let mut of = accepted(&gateway);
    of.iter_mut().for_each(|of| of.sort_unstable());
    assert_eq!(of, in_order(sent), "each once");
}

#[tokio::test]
async fn what_can_never_be_accepted_becomes_a_dead_letter() {
    let Some(broker) = Broker::start() else { return };
    let client = broker.client().await;
    let context = stream(&client).await;
    let mut dead = client.subscribe("dead.sms").await.expect("subscribes");
    client.flush().await.expect("is subscribed");
    let gateway = with_source(&broker).await;
    for (subject, body, code, reason) in [
        ("sms.nobody.status", "{}", "not_found", "application"),
        ("sms.app0", "{}", "invalid", "no token 3"),
        ("sms.app0.status", "no JSON", "malformed", "JSON"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("X-Own", "kept");
        let sent = context.publish_with_headers(subject, headers, body.into()).await;
        sent.expect("is sent").await.expect("is in the stream");
        let letter = tokio::time::timeout(LONG, dead.next()).await;
        let letter = letter.expect("comes").expect("a letter");
        let headers = letter.headers.expect("headers");
        let header = |name: &str| headers.get(name).map(ToString::to_string).unwrap_or_default();
        assert_eq!((&*letter.payload, header("X-Own")), (body.as_bytes(), "kept".into()));
        assert_eq!((&*header("Octohooks-Code"), &*header("Octohooks-Subject")), (code, subject));
        assert!(header("Octohooks-Reason").contains(reason), "{}", header("Octohooks-Reason"));
    }
    publish(&context, 0..1).await;
    until("the next good one is accepted", async || (accepted(&gateway)[0] == [0]).then_some(()))
        .await;
}
