//! Bad receivers: each has a recorded outcome, and the next good message goes through.

use super::{
    receiver::Receiver,
    rig::{Gateway, KEY, command, directory},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpListener};

/// The attempts' status codes.
fn codes(delivery: &Value) -> Vec<Value> {
    let attempts = delivery["attempts"].as_array().expect("a list").iter();
    attempts.map(|attempt| attempt["statusCode"].clone()).collect()
}

#[tokio::test]
async fn every_bad_receiver_has_an_outcome_and_hurts_no_other() {
    let gateway = Gateway::start(&[
        ("OCTOHOOKS_DELIVERY__TIMEOUT_MS", "300"),
        ("OCTOHOOKS_DELIVERY__RETRY__WAITS_SECONDS", "[0.01]"),
    ])
    .await;
    let receiver = Receiver::start().await;
    let resetting = resetting().await;
    let closed = {
        let port = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        format!("http://{}/", port.local_addr().expect("an address"))
    };
    for (uid, url, status, expected) in [
        ("hang", receiver.url("/hang"), "failed", json!([null, null])),
        ("reset", resetting, "failed", json!([null, null])),
        ("closed", closed, "failed", json!([null, null])),
        ("redirect", receiver.url("/redirect"), "failed", json!([302, 302])),
        // The status is there; the rest of the body is nobody's business.
        ("endless", receiver.url("/endless"), "success", json!([200])),
        ("no-such-host", "http://no-such-host.invalid/".to_owned(), "failed", json!([null, null])),
    ] {
        gateway.application(uid, &[&url, &receiver.url("/ok/neighbour")]).await;
        let message = gateway.message(uid, json!({ "to": uid })).await;
        let deliveries = gateway.settled(uid, &message).await;
        let of = |uid: &str| deliveries.iter().find(|d| d["endpoint"]["uid"] == uid).expect("one");
        assert_eq!(of("e0")["status"], status, "{uid}: {deliveries:?}");
        assert_eq!(json!(codes(of("e0"))), expected, "{uid}");
        assert_eq!(of("e1")["status"], "success", "{uid}");
    }
    assert!(receiver.received("/ok/elsewhere").is_empty(), "a redirect is not followed");
    let log = gateway.log();
    for class in ["timeout", "reset", "connect", "status", "dns"] {
        assert!(log.contains(class), "the log does not say `{class}`:\n{log}");
    }
}

/// A receiver that resets every connection once it has read something.
async fn resetting() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _read = stream.read(&mut [0; 10]).await;
            // What was not read makes the close a reset.
            drop(stream);
        }
    });
    url
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/retry-after/1")]).await;
    let message = gateway.message("hooli", json!({})).await;
    let delivery = gateway.settled("hooli", &message).await.remove(0);
    assert_eq!(codes(&delivery), [json!(503), json!(200)]);
    let at = |n: usize| delivery["attempts"][n]["timestamp"].as_u64().expect("a time");
    assert!(at(1) - at(0) >= 1000, "{delivery}");
}

#[tokio::test]
async fn an_address_that_became_internal_is_not_called() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    // The endpoint was made while loopback was allowed; a name could change its address in the same way.
    gateway.set("OCTOHOOKS_GUARD__ALLOW", "");
    gateway.restart().await;
    let message = gateway.message("hooli", json!({})).await;
    let delivery = gateway.settled("hooli", &message).await.remove(0);
    assert_eq!(delivery["status"], "failed");
    assert!(receiver.received("/ok").is_empty());
    assert!(gateway.log().contains("class=\"guard\""), "{}", gateway.log());
}

#[tokio::test]
async fn hanging_receivers_leave_sockets_for_everybody_else() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.limit_descriptors(512);
    gateway.restart().await;
    let hang = receiver.url("/hang");
    gateway.application("hanging", &[&*hang; 20]).await;
    gateway.application("other", &[&receiver.url("/ok")]).await;
    // 20 endpoints that want 100 requests under way each.
    for n in 0..60 {
        gateway.message("hanging", json!({ "n": n })).await;
    }
    receiver.wait_for("/hang", 80).await;
    for n in 0..20 {
        let message = gateway.message("other", json!({ "n": n })).await;
        assert_eq!(gateway.settled("other", &message).await[0]["status"], "success");
    }
    let health: Value = serde_json::from_str(&gateway.text("/health").await).expect("JSON");
    let count = |what: &str| health["parts"]["delivery"][what].as_u64().expect("a number");
    assert!(count("inFlight") < 512, "no more than there are sockets: {health}");
    assert!(count("inFlight") + count("queued") >= 1000, "most of them wait: {health}");
    assert!(receiver.received("/hang").len() < 512);
}

#[tokio::test]
async fn no_proxy_of_the_surroundings_is_used() {
    let proxy = Receiver::start().await;
    let url = proxy.url("");
    let gateway = Gateway::start(&[("http_proxy", &*url), ("HTTP_PROXY", &*url)]).await;
    let receiver = Receiver::start().await;
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    gateway.message("hooli", json!({})).await;
    receiver.wait_for("/ok", 1).await;
}

#[tokio::test]
async fn one_directory_has_one_gateway() {
    let gateway = Gateway::start(&[]).await;
    let data = gateway.path("data").display().to_string();
    let environment =
        [("OCTOHOOKS_DATA__DIR", data), ("OCTOHOOKS_SERVER__LISTEN", "127.0.0.1:0".to_owned())];
    let environment = environment.map(|(name, value)| (name.to_owned(), value));
    let second = command(directory().path(), &environment).arg("serve").output().expect("runs");
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("another gateway owns this directory"), "{said}");
    let (status, _) = gateway.call(Method::GET, "/applications", None).await;
    assert_eq!(status, 200, "{KEY} still opens the first");
}
