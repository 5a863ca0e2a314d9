//! The NATS door, with a real nats-server and ordinary clients.

use super::{
    receiver::Receiver,
    rig::{Gateway, directory, until},
};
use async_nats::{Client, HeaderMap, Message, jetstream};
use futures_util::StreamExt;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use std::{
    env,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// A nats-server. Killed when dropped.
struct Broker {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Broker {
    /// A server on a free port. None, said aloud, where there is no nats-server: `cargo xtask test` fetches one.
    fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        let Some(server) = env::var_os("NATS_SERVER") else {
            println!("left out: NATS_SERVER names no nats-server");
            return None;
        };
        let directory = directory();
        let child = Self::spawn(&server, port.port(), &directory);
        Some(Self { child, port: port.port(), directory })
    }

    fn spawn(server: &std::ffi::OsStr, port: u16, directory: &TempDir) -> Child {
        let mut command = Command::new(server);
        command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--jetstream"]);
        command.arg("--store_dir").arg(directory.path()).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nats-server starts")
    }

    fn kill(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }

    fn restart(&mut self) {
        self.kill();
        let server = env::var_os("NATS_SERVER").expect("it ran before");
        self.child = Self::spawn(&server, self.port, &self.directory);
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    async fn client(&self) -> Client {
        until("the nats-server listens", async || async_nats::connect(self.url()).await.ok()).await
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

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

#[tokio::test]
async fn a_request_is_answered_when_its_message_is_safe() {
    let Some(broker) = Broker::start() else { return };
    let receiver = Receiver::start().await;
    let (client, gateway) = (broker.client().await, gateway(&broker, &receiver).await);
    let contract = r#"{"eventType": "sms.status", "payload": {"n": 1 }}"#;
    let event = r#"{"specversion": "1.0", "id": "7", "source": "/sms", "type": "sms.status", "data": {"n": 1 }}"#;
    let own = [("Octohooks-Event-Type", "sms.status"), ("Nats-Msg-Id", "one")];
    let in_headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "8"),
        ("ce-source", "/sms"),
        ("ce-type", "sms.status"),
    ];
    let ways: [(&[_], _); 4] = [
        (&[], contract),
        (&own, r#"{"n": 1 }"#),
        (&[("Content-Type", "application/cloudevents+json")], event),
        (&in_headers, r#"{"n": 1 }"#),
    ];
    let mut ids = Vec::new();
    for (headers, body) in ways {
        let (reply, answer) = ask(&client, SUBJECT, headers, body).await;
        assert!(reply.headers.is_none(), "{answer}");
        ids.push(answer["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned());
        let received = receiver.wait_for("/ok", ids.len()).await.pop().expect("it came");
        assert_eq!(
            (&*received.body, received.header("webhook-id")),
            (&br#"{"n": 1 }"#[..], &*ids[ids.len() - 1])
        );
    }
    // Sent again, they are the same messages.
    for ((headers, body), id) in ways.into_iter().zip(&ids).skip(1) {
        let (_, answer) = ask(&client, SUBJECT, headers, body).await;
        assert_eq!(answer["id"], **id);
    }
    let listed = gateway.get("/applications/hooli/messages").await;
    assert_eq!(listed["data"].as_array().expect("a list").len(), ids.len());
    // A plain publish is a message too.
    client.publish(SUBJECT, contract.into()).await.expect("is sent");
    receiver.wait_for("/ok", ids.len() + 1).await;
}

#[tokio::test]
async fn what_is_wrong_is_answered_as_over_http() {
    let Some(broker) = Broker::start() else { return };
    let receiver = Receiver::start().await;
    let (client, gateway) = (broker.client().await, gateway(&broker, &receiver).await);
    let large = format!(r#"{{"eventType": "t", "payload": "{}"}}"#, "x".repeat(350_000));
    let good = r#"{"eventType": "t", "uid": "u", "payload": {}}"#;
    let (_, first) = ask(&client, SUBJECT, &[], good).await;
    assert!(first["id"].is_string(), "{first}");
    for (subject, body, status, code) in [
        ("octohooks.ingest.nobody", good, "404", "not_found"),
        ("octohooks.ingest.hooli.more", good, "404", "not_found"),
        (SUBJECT, good, "409", "conflict"),
        (SUBJECT, "{", "400", "malformed"),
        (SUBJECT, "", "400", "malformed"),
        (SUBJECT, r#"{"payload": {}}"#, "422", "invalid"),
        (SUBJECT, r#"{"eventType": "t"}"#, "422", "invalid"),
        (SUBJECT, &large, "413", "too_large"),
    ] {
        let (reply, answer) = ask(&client, subject, &[], body).await;
        assert_eq!(answer["code"], code, "{subject}: {answer}");
        let headers = reply.headers.expect("headers");
        let code_header = headers.get("Nats-Service-Error-Code").map(AsRef::as_ref);
        assert_eq!(code_header, Some(status), "{subject}: {answer}");
    }
    let (_, next) = ask(&client, SUBJECT, &[], r#"{"eventType": "t", "payload": {}}"#).await;
    assert!(next["id"].is_string(), "{next}");
    client.publish(SUBJECT, "{".into()).await.expect("is sent");
    until("it is logged", async || gateway.log().contains("was refused").then_some(())).await;
}

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

#[tokio::test]
async fn gateways_in_a_queue_group_share_the_messages() {
    let Some(broker) = Broker::start() else { return };
    let receiver = Receiver::start().await;
    let client = broker.client().await;
    let gateways = [gateway(&broker, &receiver).await, gateway(&broker, &receiver).await];
    const COUNT: usize = 100;
    let mut each = [0, 0];
    until("both have taken some", async || {
        for _ in 0..COUNT {
            let (_, answer) =
                ask(&client, SUBJECT, &[], r#"{"eventType": "t", "payload": {}}"#).await;
            assert!(answer["id"].is_string(), "{answer}");
        }
        for (gateway, count) in gateways.iter().zip(&mut each) {
            let listed = gateway.get("/applications/hooli/messages?limit=250").await;
            *count = listed["data"].as_array().expect("a list").len();
        }
        each.iter().all(|count| *count > 0).then_some(())
    })
    .await;
    assert_eq!((each[0] + each[1]) % COUNT, 0, "each message once: {each:?}");
}

/// What the README shows.
const PYTHON: &str = r#"
import asyncio, nats, sys
async def main():
    nc = await nats.connect(sys.argv[1])
    headers = {"Octohooks-Event-Type": "sms.status", "Nats-Msg-Id": "m-1"}
    reply = await nc.request("octohooks.ingest.hooli", b'{"id": 1}', timeout=10, headers=headers)
    print(reply.data.decode())
asyncio.run(main())
"#;

#[tokio::test]
async fn an_ordinary_client_publishes() {
    let Some(broker) = Broker::start() else { return };
    let Some(client) = env::var_os("NATS_CLIENT") else {
        println!("left out: NATS_CLIENT names no client");
        return;
    };
    let receiver = Receiver::start().await;
    let gateway = gateway(&broker, &receiver).await;
    ask(&broker.client().await, SUBJECT, &[], r#"{"eventType": "t", "payload": {}}"#).await;
    for _ in 0..2 {
        let mut python = tokio::process::Command::new("python3");
        python.args(["-c", PYTHON, &broker.url()]).env("PYTHONPATH", &client);
        let output = python.output().await.expect("runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let answer: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
        let received = receiver.wait_for("/ok", 2).await.pop().expect("it came");
        assert_eq!(
            (&*received.body, &answer["id"]),
            (&br#"{"id": 1}"#[..], &json!(received.header("webhook-id")))
        );
    }
    let listed = gateway.get("/applications/hooli/messages").await;
    assert_eq!(listed["data"].as_array().expect("a list").len(), 2, "the second was the first");
}

/// The source of the tests: `sms.<application>.<event type>`.
const SOURCE: &str = r#"[{stream="SMS", durable="octohooks", application="{subject.2}", event_type="{subject.3}", dead_letter="dead.sms"}]"#;

async fn stream(client: &Client) -> jetstream::Context {
    let context = jetstream::new(client.clone());
    let config = jetstream::stream::Config {
        name: "SMS".into(),
        subjects: vec!["sms.>".into()],
        ..jetstream::stream::Config::default()
    };
    until("the stream is there", async || context.create_stream(config.clone()).await.ok()).await;
    context
}

async fn publish(context: &jetstream::Context, range: std::ops::Range<usize>) {
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

async fn with_source(broker: &Broker) -> Gateway {
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
        let letter = tokio::time::timeout(super::rig::LONG, dead.next()).await;
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
