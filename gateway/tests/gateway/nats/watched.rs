//! What can be seen of a JetStream source from outside: `/health`, `/metrics`, and dead letters in a stream.

use super::{
    Broker,
    source::{SOURCE, publish, stream, with_source},
};
use crate::gateway::rig::{Gateway, until};
use async_nats::{HeaderMap, jetstream};
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};

async fn source(gateway: &Gateway) -> Value {
    let health: Value = serde_json::from_str(&gateway.text("/health").await).expect("JSON");
    health["parts"]["nats"]["sources"][0].clone()
}

#[tokio::test]
async fn a_sources_state_is_shown_and_dead_letters_are_kept_by_a_stream() {
    let Some(broker) = Broker::start() else { return };
    let context = stream(&broker.client().await).await;
    let letters = context.create_stream(jetstream::stream::Config {
        name: "DEAD".into(),
        subjects: vec!["dead.>".into()],
        ..jetstream::stream::Config::default()
    });
    let letters = letters.await.expect("the stream is there");
    let gateway = with_source(&broker.url(), SOURCE).await;
    publish(&context, 0..20).await;
    // A command to the server must not act again in the dead letter.
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Expected-Stream", "SMS");
    headers.insert("X-Own", "kept");
    headers.insert("Nats-Msg-Id", "own");
    let sent = context.publish_with_headers("sms.nobody.status", headers, "{}".into()).await;
    sent.expect("is sent").await.expect("is in the stream");
    let expected = json!({
        "stream": "SMS", "durable": "octohooks", "bound": true,
        "pending": 0, "accepted": 20, "terminated": 1, "lagMs": 0,
    });
    until("all are counted", async || (source(&gateway).await == expected).then_some(())).await;
    let letter = letters.get_raw_message(1).await.expect("it is kept");
    let header = |name: &str| letter.headers.get(name).map(ToString::to_string);
    assert_eq!(header("X-Own").as_deref(), Some("kept"));
    assert_eq!(header("Octohooks-Nats-Expected-Stream").as_deref(), Some("SMS"));
    assert_eq!(header("Octohooks-Nats-Msg-Id").as_deref(), Some("own"));
    let id = header("Nats-Msg-Id").unwrap_or_default();
    assert!(id.starts_with("SMS ") && id.ends_with(" 21"), "{id}");
    assert_eq!(header("Octohooks-Subject").as_deref(), Some("sms.nobody.status"));
    let metrics = gateway.text("/metrics").await;
    for line in [
        r#"octohooks_messages_accepted_total{door="jetstream"} 20"#,
        r#"octohooks_messages_refused_total{door="jetstream"} 1"#,
        r#"octohooks_nats_source_accepted_total{stream="SMS",durable="octohooks"} 20"#,
        r#"octohooks_nats_source_terminated_total{stream="SMS",durable="octohooks"} 1"#,
        r#"octohooks_nats_source_pending{stream="SMS",durable="octohooks"} 0"#,
        r#"octohooks_nats_source_bound{stream="SMS",durable="octohooks"} 1"#,
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn what_has_no_room_as_a_dead_letter_is_left_out_of_it() {
    let Some(broker) = Broker::start() else { return };
    let context = stream(&broker.client().await).await;
    for kept in [false, true] {
        if kept {
            let config = jetstream::stream::Config {
                name: "DEAD".into(),
                subjects: vec!["dead.>".into()],
                max_message_size: 2000,
                ..jetstream::stream::Config::default()
            };
            context.create_stream(config).await.expect("a stream");
        }
        let gateway = with_source(&broker.url(), SOURCE).await;
        let mut dead = broker.client().await.subscribe("dead.sms").await.expect("subscribes");
        // As large as the server lets a message be, and with headers for which a small stream has no room.
        let mut headers = HeaderMap::new();
        headers.insert("X-Large", "x".repeat(3000));
        let body = "x".repeat((1 << 20) - 3100);
        let sent = context.publish_with_headers("sms.nobody.status", headers, body.into()).await;
        sent.expect("is sent").await.expect("is in the stream");
        let all = async || (source(&gateway).await["terminated"] == 1).then_some(());
        until("it is given up", all).await;
        let letters = std::iter::from_fn(|| dead.next().now_or_never().flatten());
        let headers = letters.last().expect("it came").headers.expect("headers");
        let header = |name: &str| headers.get(name).map(ToString::to_string);
        assert_eq!(header("Octohooks-Body").as_deref(), Some("omitted"));
        assert_eq!(header("Octohooks-Body-Bytes"), Some(((1 << 20) - 3100).to_string()));
        assert_eq!(header("Octohooks-Headers").is_some(), kept);
        assert_eq!(header("X-Large").is_none(), kept);
    }
}

#[tokio::test]
async fn dead_letters_that_would_come_back_are_said() {
    let Some(broker) = Broker::start() else { return };
    let _context = stream(&broker.client().await).await;
    let source = r#"[{stream="SMS", durable="d", application="{subject.2}", event_type="t", dead_letter="sms.dead"}]"#;
    let gateway = with_source(&broker.url(), source).await;
    until("it is said", async || gateway.log().contains("would come back").then_some(())).await;
}

#[tokio::test]
async fn a_consumer_with_other_filters_is_said_and_left_alone() {
    let Some(broker) = Broker::start() else { return };
    let context = stream(&broker.client().await).await;
    let gateway = with_source(&broker.url(), SOURCE).await;
    publish(&context, 0..2).await;
    until("it is bound", async || (source(&gateway).await["accepted"] == 2).then_some(())).await;
    drop(gateway);
    let narrowed = SOURCE.replace("stream=", r#"filter_subjects=["sms.app0.>"], stream="#);
    let gateway = with_source(&broker.url(), &narrowed).await;
    until("it is said", async || {
        gateway.log().contains("takes everything, where `filter_subjects` asks for").then_some(())
    })
    .await;
    assert_eq!(source(&gateway).await["bound"], false);
}
