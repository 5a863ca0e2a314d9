//! Connections: which are kept, which are made again, and that there are never more sockets than there may be.

use super::{
    scripted::{Say, Scripted},
    world::{Recorder, client, failed, sent},
};
use crate::{
    deliver::{
        Options,
        client::{Client, Sockets, dial::Tcp},
        guard::{self, Guard},
    },
    model::{
        attempt::{Failure, Outcome},
        endpoint::Endpoint,
        message::Sequence,
        sample,
    },
};
use futures_util::future::join_all;
use std::{sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A guard that lets loopback through.
pub fn loopback() -> guard::Options {
    guard::Options {
        allow: vec!["127.0.0.0/8".parse().expect("a network")],
        ..guard::Options::default()
    }
}

fn here() -> Client {
    client(loopback(), Options::default(), Arc::new(Tcp))
}

fn status(outcome: &Outcome) -> Option<u16> {
    outcome.status()
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let (receiver, client) = (Scripted::start([Say::Status(200)]).await, here());
    for _ in 0..5 {
        assert_eq!(status(&sent(&client, &receiver.url("/")).await), Some(200));
    }
    let heard = receiver.heard();
    assert_eq!((heard.len(), receiver.opened()), (5, 1));
    assert_eq!(heard[0].method, "POST");
    assert_eq!(heard[0].header("user-agent"), concat!("Octohooks/", env!("CARGO_PKG_VERSION")));
    assert_eq!(heard[0].header("host"), format!("127.0.0.1:{}", receiver.port()));
    assert!(!heard[0].body.is_empty() && !heard[0].header("webhook-signature").is_empty());
}

#[tokio::test]
async fn a_kept_connection_that_dies_before_the_answer_is_replaced_at_once() {
    for dies in [Say::Close, Say::Reset] {
        let script = [Say::Status(200), dies.clone(), Say::Status(201)];
        let (receiver, client) = (Scripted::start(script).await, here());
        assert_eq!(status(&sent(&client, &receiver.url("/")).await), Some(200));
        assert_eq!(status(&sent(&client, &receiver.url("/")).await), Some(201), "{dies:?}");
        let connections: Vec<_> = receiver.heard().iter().map(|heard| heard.connection).collect();
        assert_eq!(connections, [0, 0, 1], "{dies:?}: once more, and on a new one");
        let heard = receiver.heard();
        assert_eq!(heard[1].body, heard[2].body);
    }
}

#[tokio::test]
async fn a_receiver_that_closes_behind_its_answers_loses_no_request() {
    let (receiver, client) = (Scripted::start([Say::CloseAfter(200)]).await, here());
    for _ in 0..20 {
        assert_eq!(status(&sent(&client, &receiver.url("/")).await), Some(200));
    }
    assert_eq!(receiver.opened(), 20);
}

#[tokio::test]
async fn what_fails_on_a_new_connection_has_failed_and_is_made_once() {
    for (dies, class) in [
        (Say::Close, Failure::Reset),
        (Say::Reset, Failure::Reset),
        (Say::WrongLength, Failure::Reset),
        (Say::Garbage, Failure::Protocol),
    ] {
        let (receiver, client) = (Scripted::start([dies.clone()]).await, here());
        let outcome = sent(&client, &receiver.url("/")).await;
        assert_eq!(failed(&outcome).0, class, "{dies:?}");
        assert_eq!(receiver.heard().len(), 1, "{dies:?}");
    }
    // Nor is one made again whose answer had begun.
    let script = [Say::Status(200), Say::WrongLength];
    let (receiver, client) = (Scripted::start(script).await, here());
    sent(&client, &receiver.url("/")).await;
    let outcome = sent(&client, &receiver.url("/")).await;
    assert_eq!(failed(&outcome).0, Failure::Reset);
    assert_eq!((receiver.heard().len(), receiver.opened()), (2, 1));
}

#[tokio::test]
async fn the_whole_time_covers_the_body_and_16_kib_of_it_are_read() {
    let drip = Say::Drip(Duration::from_millis(5));
    for (say, class) in [
        (Say::HangBeforeHeaders, Failure::Timeout),
        (Say::HangAfterHeaders, Failure::Timeout),
        (drip, Failure::Timeout),
    ] {
        let receiver = Scripted::start([say.clone()]).await;
        let options = Options { timeout_ms: 200, ..Options::default() };
        let client = client(loopback(), options, Arc::new(Tcp));
        let outcome = sent(&client, &receiver.url("/")).await;
        let said = (class, "no complete answer within 200 ms");
        assert_eq!(failed(&outcome), said, "{say:?}");
    }
    let (receiver, client) = (Scripted::start([Say::Huge(400 << 20)]).await, here());
    match sent(&client, &receiver.url("/")).await {
        Outcome::Answered(answer) => {
            assert_eq!((answer.status, answer.body.len()), (200, 16 << 10));
        }
        failed => panic!("{failed:?}"),
    }
    // Its connection is closed instead of read.
    sent(&client, &receiver.url("/")).await;
    assert_eq!(receiver.opened(), 2);
    let redirecting = Scripted::start([Say::Redirect(receiver.url("/elsewhere"))]).await;
    assert_eq!(status(&sent(&client, &redirecting.url("/")).await), Some(302));
    assert!(receiver.heard().iter().all(|heard| heard.path != "/elsewhere"));
}

#[tokio::test]
async fn connecting_has_a_time_of_its_own() {
    // Of TLS nothing is ever said.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}/", listener.local_addr().expect("an address"));
    let options = Options { connect_timeout_ms: 100, ..Options::default() };
    let client = client(loopback(), options, Arc::new(Tcp));
    let outcome = sent(&client, &url).await;
    assert_eq!(failed(&outcome), (Failure::Timeout, "no connection within 100 ms"));
}

#[tokio::test]
async fn sockets_idle_and_active_are_never_more_than_there_may_be() {
    const SOCKETS: usize = 6;
    let receiver = Scripted::start([Say::Slow(Duration::from_millis(2), 200)]).await;
    let to = ([127, 0, 0, 1], receiver.port()).into();
    let sockets = Sockets { all: SOCKETS, idle: 4 };
    let client =
        Client::new(Guard::new(loopback()), &Options::default(), sockets, Recorder::leading_to(to))
            .expect("a client");
    // 25 hosts, each with some requests at once, and each wants to keep its connections.
    for _ in 0..4 {
        let urls = (1..=100).map(|n| format!("http://127.0.0.{}/", n % 25 + 1));
        let sending = urls.map(|url| {
            let client = client.clone();
            async move { sent(&client, &url).await }
        });
        for outcome in join_all(sending).await {
            assert_eq!(status(&outcome), Some(200), "{outcome:?}");
        }
        let (taken, idle) = client.connector.pool.depths(SOCKETS);
        assert!(idle >= 1 && taken <= SOCKETS, "{taken} {idle}");
    }
    assert_eq!(receiver.heard().len(), 400);
    // What is closed for another is closed: the receiver sees no more than those that are kept.
    let closed = async {
        while receiver.open() > SOCKETS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), closed).await.expect("is closed");
}

/// Accepts what comes, says that as soon as a request begins and reads nothing of it; where.
async fn deaf(says: &'static [u8]) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if !says.is_empty() {
                stream.read_exact(&mut [0]).await.expect("comes");
                // It may not be listened to.
                let _written = stream.write_all(says).await;
            }
            held.push(stream);
        }
    });
    url
}

/// What comes of a delivery to there that is longer than all buffers are.
async fn send_much(client: &Client, url: &str) -> Outcome {
    let endpoint = Endpoint { url: url.parse().expect("a URL"), ..sample::endpoint() };
    let mut message = sample::message(endpoint.application);
    message.payload = vec![b' '; 32 << 20].into();
    let delivery = sample::delivery(&Arc::new(message), Sequence(1));
    client.send(&endpoint, &delivery, 1, None).await
}

async fn all_closed(client: &Client) {
    let closed = async {
        while client.connector.pool.depths(64).0 > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(50), closed).await.expect("is closed");
}

#[tokio::test]
async fn a_receiver_that_reads_nothing_keeps_no_socket() {
    let url = deaf(b"").await;
    let options = Options { timeout_ms: 100, ..Options::default() };
    let client = client(loopback(), options, Arc::new(Tcp));
    for outcome in join_all((0..3).map(|_| send_much(&client, &url))).await {
        assert_eq!(failed(&outcome).0, Failure::Timeout);
    }
    all_closed(&client).await;
}

#[tokio::test]
async fn a_receiver_that_says_everything_but_an_answer_is_not_listened_to_for_long() {
    // Some informational answers are borne.
    let few = ["HTTP/1.1 103 Early Hints\r\n\r\n"; 100].concat() + "HTTP/1.1 204 Well\r\n\r\n";
    let url = deaf(few.leak().as_bytes()).await;
    assert_eq!(status(&sent(&here(), &url).await), Some(204));
    let many = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100_000);
    let url = deaf(many.leak().as_bytes()).await;
    let outcome = sent(&here(), &url).await;
    assert_eq!(failed(&outcome), (Failure::Protocol, "more than 131072 bytes beside the answer"));
}

#[tokio::test]
async fn who_answers_what_it_did_not_read_is_asked_on_another_connection() {
    let url = deaf(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let client = here();
    for _ in 0..3 {
        let outcome = send_much(&client, &url).await;
        assert_eq!(status(&outcome), Some(200), "{outcome:?}");
    }
    all_closed(&client).await;
}

#[tokio::test]
async fn idle_connections_of_one_host_are_limited() {
    let receiver = Scripted::start([Say::Slow(Duration::from_millis(20), 200)]).await;
    let sockets = Sockets { all: 64, idle: 3 };
    let client = Client::new(Guard::new(loopback()), &Options::default(), sockets, Arc::new(Tcp))
        .expect("a client");
    let url = receiver.url("/");
    let outcomes = join_all((0..20).map(|_| sent(&client, &url))).await;
    assert!(outcomes.iter().all(|outcome| status(outcome) == Some(200)));
    let (_, idle) = client.connector.pool.depths(64);
    assert!((1..=3).contains(&idle), "{idle}");
}

#[tokio::test]
async fn a_connection_is_closed_before_its_receiver_would() {
    let answer = |value: &str| Say::Answer(200, vec![("keep-alive", value.to_owned())], vec![]);
    // It would be closed at any moment: it is not kept at all.
    let (receiver, client) = (Scripted::start([answer("timeout=1")]).await, here());
    for _ in 0..3 {
        sent(&client, &receiver.url("/")).await;
    }
    assert_eq!(receiver.opened(), 3);
    // Here for a second, without any request.
    let (receiver, client) = (Scripted::start([answer("timeout=2, max=100")]).await, here());
    sent(&client, &receiver.url("/")).await;
    assert_eq!(receiver.open(), 1);
    let closed = async {
        while receiver.open() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), closed).await.expect("is closed");
}

#[tokio::test]
async fn a_request_has_no_room_for_what_opens_a_connection() {
    let (client, endpoint) = (here(), sample::endpoint());
    let message = Arc::new(sample::message(endpoint.application));
    let delivery = sample::delivery(&message, Sequence(1));
    // Every attempt is moved and kept with it: with what opens connections it was 33 KiB.
    assert!(size_of_val(&client.send(&endpoint, &delivery, 0, None)) < 4096);
}
