//! What goes wrong between a gateway and its streams: the network's faults, streams and consumers that are deleted. Each
//! message is accepted all the same, and once.

use super::{
    Broker,
    proxy::Proxy,
    source::{
        DURABLE, SOURCE, STREAM, accepted, all_accepted, all_acknowledged, consumer, each_once,
        in_order, publish, stream, with_source,
    },
};
use crate::gateway::rig::until;
use serde_json::Value;
use std::time::Duration;

#[tokio::test]
async fn a_connection_that_is_cut_under_load_loses_and_repeats_nothing_of_a_stream() {
    let Some(broker) = Broker::start() else { return };
    let context = stream(&broker.client().await).await;
    let proxy = Proxy::before(&broker).await;
    let gateway = with_source(&proxy.url(), SOURCE).await;
    const CUTS: usize = 10;
    for round in 0..CUTS {
        until("it is connected again", async || {
            let health: Value = serde_json::from_str(&gateway.text("/health").await).ok()?;
            (health["parts"]["nats"]["connections"].as_u64()? > round as u64).then_some(())
        })
        .await;
        publish(&context, round * 1000..round * 1000 + 900).await;
        proxy.cut();
        publish(&context, round * 1000 + 900..(round + 1) * 1000).await;
    }
    all_accepted(&gateway, CUTS * 1000).await;
    all_acknowledged(&context).await;
    assert_eq!(each_once(&gateway), in_order(CUTS * 1000));
}

#[tokio::test]
async fn what_is_late_is_accepted_once_and_in_order() {
    let Some(broker) = Broker::start() else { return };
    let context = stream(&broker.client().await).await;
    let proxy = Proxy::before(&broker).await;
    let gateway = with_source(&proxy.url(), SOURCE).await;
    proxy.delay(Duration::from_millis(200));
    publish(&context, 0..2000).await;
    all_accepted(&gateway, 2000).await;
    assert_eq!(accepted(&gateway), in_order(2000));
}

#[tokio::test]
async fn what_is_so_late_that_it_is_delivered_again_is_accepted_once() {
    let Some(broker) = Broker::start() else { return };
    let context = stream(&broker.client().await).await;
    let proxy = Proxy::before(&broker).await;
    let gateway = with_source(&proxy.url(), SOURCE).await;
    publish(&context, 0..100).await;
    all_accepted(&gateway, 100).await;
    // Longer than the server waits for an acknowledgement, and than the gateway for a sign of life.
    proxy.delay(Duration::from_secs(12));
    publish(&context, 100..600).await;
    let noticed = async || gateway.log().contains("is made anew").then_some(());
    until("the silence is noticed", noticed).await;
    proxy.delay(Duration::ZERO);
    all_accepted(&gateway, 600).await;
    all_acknowledged(&context).await;
    assert_eq!(each_once(&gateway), in_order(600));
    delivered_again(&context, 600).await;
}

#[tokio::test]
async fn what_was_accepted_and_is_delivered_again_is_recognised() {
    let Some(broker) = Broker::start() else { return };
    let context = stream(&broker.client().await).await;
    let proxy = Proxy::before(&broker).await;
    let gateway = with_source(&proxy.url(), SOURCE).await;
    proxy.lose_acknowledgements(true);
    publish(&context, 0..200).await;
    all_accepted(&gateway, 200).await;
    until("all acknowledgements are lost", async || (proxy.lost() >= 200).then_some(())).await;
    let info = consumer(&context).await.expect("a consumer").get_info().await.expect("an answer");
    assert_eq!(info.num_ack_pending, 200, "none was acknowledged: {info:?}");
    proxy.lose_acknowledgements(false);
    // What comes behind them is not held up.
    publish(&context, 200..300).await;
    all_accepted(&gateway, 300).await;
    all_acknowledged(&context).await;
    assert_eq!(accepted(&gateway), in_order(300));
    delivered_again(&context, 300).await;
}

/// That the consumer has delivered more often than there are messages.
async fn delivered_again(context: &async_nats::jetstream::Context, count: u64) {
    let info = consumer(context).await.expect("a consumer").get_info().await.expect("an answer");
    assert_eq!(info.delivered.stream_sequence, count, "{info:?}");
    assert!(info.delivered.consumer_sequence > count, "{info:?}");
}

#[tokio::test]
async fn a_stream_that_is_made_anew_is_another_stream() {
    let Some(broker) = Broker::start() else { return };
    let client = broker.client().await;
    let context = stream(&client).await;
    let mut gateway = with_source(&broker.url(), SOURCE).await;
    publish(&context, 0..100).await;
    all_accepted(&gateway, 100).await;
    context.delete_stream(STREAM).await.expect("is deleted");
    // The same sequence numbers again.
    stream(&client).await;
    publish(&context, 100..200).await;
    all_accepted(&gateway, 200).await;
    all_acknowledged(&context).await;
    // While the gateway is away.
    gateway.kill();
    context.delete_stream(STREAM).await.expect("is deleted");
    stream(&client).await;
    publish(&context, 200..300).await;
    gateway.restart().await;
    all_accepted(&gateway, 300).await;
    assert_eq!(accepted(&gateway), in_order(300));
}

#[tokio::test]
async fn a_stream_that_is_made_anew_while_the_broker_is_away_is_another_stream() {
    let Some(mut broker) = Broker::start() else { return };
    // In memory, the stream and its consumer are gone with the server; whoever operates it makes both again.
    let set_up = async |client: &async_nats::Client| {
        let context = async_nats::jetstream::new(client.clone());
        let config = async_nats::jetstream::stream::Config {
            name: STREAM.into(),
            subjects: vec!["sms.>".into()],
            storage: async_nats::jetstream::stream::StorageType::Memory,
            ..Default::default()
        };
        let made = async || context.create_stream(config.clone()).await.ok();
        let stream = until("the stream is there", made).await;
        let consumer = async_nats::jetstream::consumer::pull::Config {
            durable_name: Some(DURABLE.into()),
            ..Default::default()
        };
        stream.create_consumer(consumer).await.expect("a consumer");
        context
    };
    let context = set_up(&broker.client().await).await;
    let gateway = with_source(&broker.url(), SOURCE).await;
    publish(&context, 0..20).await;
    all_accepted(&gateway, 20).await;
    all_acknowledged(&context).await;
    for round in 1..3 {
        broker.restart();
        let context = set_up(&broker.client().await).await;
        publish(&context, round * 20..(round + 1) * 20).await;
        all_acknowledged(&context).await;
    }
    assert_eq!(accepted(&gateway), in_order(60));
}

#[tokio::test]
async fn one_message_id_in_two_streams_is_two_messages() {
    let Some(broker) = Broker::start() else { return };
    let context = stream(&broker.client().await).await;
    let other = async_nats::jetstream::stream::Config {
        name: "OTHER".into(),
        subjects: vec!["other.>".into()],
        ..Default::default()
    };
    context.create_stream(other).await.expect("a stream");
    let one = SOURCE.trim_matches(['[', ']']);
    let sources = format!("[{one}, {}]", one.replace("\"SMS\"", "\"OTHER\""));
    let gateway = with_source(&broker.url(), &sources).await;
    for (n, subject) in ["sms.app0.t", "other.app0.t"].into_iter().enumerate() {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", "one");
        let body = format!("{{\"n\": {}}}", n * 2);
        let sent = context.publish_with_headers(subject, headers, body.into()).await;
        sent.expect("is sent").await.expect("is in the stream");
    }
    all_accepted(&gateway, 2).await;
    assert_eq!(each_once(&gateway)[0], [0, 2]);
}

#[tokio::test]
async fn a_consumer_that_loses_messages_is_told_and_nothing_is_taken() {
    let Some(broker) = Broker::start() else { return };
    let context = stream(&broker.client().await).await;
    let config = async_nats::jetstream::consumer::pull::Config {
        durable_name: Some(DURABLE.into()),
        ack_policy: async_nats::jetstream::consumer::AckPolicy::None,
        ..Default::default()
    };
    let of = context.get_stream(STREAM).await.expect("a stream");
    of.create_consumer(config).await.expect("a consumer");
    publish(&context, 0..10).await;
    let gateway = with_source(&broker.url(), SOURCE).await;
    until("it is told", async || gateway.log().contains("would lose messages").then_some(())).await;
    let info = consumer(&context).await.expect("a consumer").get_info().await.expect("an answer");
    assert_eq!((info.num_pending, accepted(&gateway)), (10, in_order(0)));
}

#[tokio::test]
async fn an_application_that_is_not_there_yet_is_waited_for() {
    let Some(broker) = Broker::start() else { return };
    let context = stream(&broker.client().await).await;
    let source = SOURCE.replace("{subject.2}", "later");
    let gateway = with_source(&broker.url(), &source).await;
    publish(&context, 0..10).await;
    until("it is told", async || gateway.log().contains("application `later`").then_some(())).await;
    gateway.application("later", &[]).await;
    all_accepted(&gateway, 10).await;
    assert_eq!(accepted(&gateway), in_order(10));
}

#[tokio::test]
async fn a_stream_that_is_deleted_under_load_and_made_anew_is_taken_whole() {
    let Some(broker) = Broker::start() else { return };
    let client = broker.client().await;
    let context = stream(&client).await;
    let gateway = with_source(&broker.url(), SOURCE).await;
    // All of one application, where a sequence number that comes again could be taken for the first.
    let of_first = || (0..4000).step_by(2);
    let of_second = || (4000..5000).step_by(2);
    publish(&context, of_first().take(100)).await;
    all_accepted(&gateway, 100).await;
    publish(&context, of_first().skip(100)).await;
    context.delete_stream(STREAM).await.expect("is deleted");
    stream(&client).await;
    publish(&context, of_second()).await;
    let last = async || accepted(&gateway)[0].contains(&4998).then_some(());
    until("the second stream is accepted", last).await;
    all_acknowledged(&context).await;
    let [accepted, _] = accepted(&gateway);
    let taken = accepted.iter().take_while(|n| **n < 4000).count();
    // What was taken of the first before its end, and all of the second.
    let expected: Vec<usize> = of_first().take(taken).chain(of_second()).collect();
    assert_eq!(accepted, expected);
}

#[tokio::test]
async fn a_consumer_that_is_deleted_is_made_anew_and_repeats_nothing() {
    let Some(broker) = Broker::start() else { return };
    let context = stream(&broker.client().await).await;
    let gateway = with_source(&broker.url(), SOURCE).await;
    publish(&context, 0..100).await;
    all_accepted(&gateway, 100).await;
    let of = context.get_stream(STREAM).await.expect("a stream");
    of.delete_consumer(DURABLE).await.expect("is deleted");
    publish(&context, 100..200).await;
    all_accepted(&gateway, 200).await;
    // The new consumer begins at the stream's begin.
    all_acknowledged(&context).await;
    assert_eq!(accepted(&gateway), in_order(200));
}
