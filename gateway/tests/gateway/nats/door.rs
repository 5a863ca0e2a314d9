//! The NATS door: requests and publishes.

use super::{Broker, SUBJECT, ask, gateway};
use crate::gateway::{receiver::Receiver, rig::until};
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use std::env;

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
async fn an_answer_goes_to_no_subject_that_is_not_the_senders() {
    let Some(broker) = Broker::start() else { return };
    let client = broker.client().await;
    let context = super::source::stream(&client).await;
    let gateway = super::source::with_source(&broker.url(), super::source::SOURCE).await;
    super::source::publish(&context, 0..4).await;
    super::source::all_accepted(&gateway, 4).await;
    let mut heard = client.subscribe(">").await.expect("subscribes");
    let subject = "octohooks.ingest.app0";
    let body = r#"{"eventType": "t", "payload": {"n": 4}}"#;
    let elsewhere =
        ["$JS.API.STREAM.PURGE.SMS", "sms.app1.status", "octohooks.ingest.app1", "dead.sms"];
    for reply in elsewhere {
        client.publish_with_reply(subject, reply, body.into()).await.expect("is sent");
    }
    let counted = async || {
        let metrics = gateway.text("/metrics").await;
        let count = |kind: &str| {
            let line = format!("octohooks_nats_replies_refused_total{{kind=\"{kind}\"}} ");
            metrics.lines().find_map(|known| known.strip_prefix(&*line)?.parse::<usize>().ok())
        };
        let found = ["server", "door", "source"].map(|kind| count(kind).unwrap_or(0));
        (found == [1, 1, 2]).then_some(())
    };
    until("all are counted", counted).await;
    // What the gateway answers on this connection comes behind what it would have answered before.
    ask(&client, subject, &[], body).await;
    let answers = std::iter::from_fn(|| heard.next().now_or_never().flatten());
    let answers: Vec<_> = answers.filter(|m| m.payload.starts_with(b"{\"id\"")).collect();
    assert!(answers.iter().all(|m| m.subject.starts_with("_INBOX.")), "{answers:?}");
    let info = context.get_stream("SMS").await.expect("a stream").cached_info().state.messages;
    assert_eq!(info, 4, "the stream was not emptied, and nothing was added");
}

#[tokio::test]
async fn a_long_key_is_refused() {
    let Some(broker) = Broker::start() else { return };
    let receiver = Receiver::start().await;
    let (client, gateway) = (broker.client().await, gateway(&broker, &receiver).await);
    let body = r#"{"eventType": "t", "payload": {}}"#;
    for (length, code) in
        [(1024, Value::Null), (1025, json!("invalid")), (400_000, json!("too_large"))]
    {
        let key = "k".repeat(length);
        let (_, answer) = ask(&client, SUBJECT, &[("Nats-Msg-Id", &key)], body).await;
        assert_eq!(answer["code"], code, "{length}: {answer}");
    }
    drop(gateway);
}

#[tokio::test]
async fn a_door_that_may_not_listen_is_told() {
    let only = r#"authorization { users = [
        { user: deaf, password: x, permissions: { publish: ">", subscribe: "_INBOX.>" } }
    ] }"#;
    let Some(broker) = Broker::configured(only) else { return };
    let settings = [
        ("OCTOHOOKS_NATS__SERVERS", &*broker.url()),
        ("OCTOHOOKS_NATS__USER", "deaf"),
        ("OCTOHOOKS_NATS__PASSWORD", "x"),
    ];
    let gateway = crate::gateway::rig::Gateway::start(&settings).await;
    let expected = json!([{ "prefix": "octohooks.ingest", "listening": false }]);
    until("it is told", async || {
        let health: Value = serde_json::from_str(&gateway.text("/health").await).ok()?;
        let nats = &health["parts"]["nats"];
        (nats["connected"] == true && nats["doors"] == expected).then_some(())
    })
    .await;
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
