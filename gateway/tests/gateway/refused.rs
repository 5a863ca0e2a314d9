//! Bad input from senders: a clear error in the contract's shape, and the next good message goes through.

use super::{
    receiver::Receiver,
    rig::{Gateway, LONG, json_of},
};
use reqwest::{Body, Method};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

mod endpoints;
mod payloads;
mod routes;

/// Posts that body as it is.
pub(crate) async fn post(gateway: &Gateway, path: &str, body: impl Into<Body>) -> (u16, Value) {
    let sent = gateway.request(Method::POST, path).body(body).send().await.expect("an answer");
    let status = sent.status().as_u16();
    (status, json_of(sent).await)
}

/// That the gateway still does what it is for.
pub(crate) async fn goes_on(gateway: &Gateway, receiver: &Receiver, count: usize) {
    gateway.message("hooli", json!({})).await;
    receiver.wait_for("/ok", count).await;
    assert_eq!(receiver.received("/ok").len(), count, "nothing else was sent");
}

#[tokio::test]
async fn a_bad_message_is_refused_with_the_place_and_what_would_be_right() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let long = "x".repeat(300);
    for (body, status, code, path) in [
        ("", 400, "malformed", ""),
        ("{", 400, "malformed", ""),
        (r#"{"eventType": "t", "payload": {}} x"#, 400, "malformed", ""),
        (r#"{"eventType": "t", "payload": {"a":}}"#, 400, "malformed", ""),
        ("[]", 422, "invalid", ""),
        ("{}", 422, "invalid", "/eventType"),
        (r#"{"payload": {}}"#, 422, "invalid", "/eventType"),
        (r#"{"eventType": "t"}"#, 422, "invalid", "/payload"),
        (r#"{"eventType": 7, "payload": {}}"#, 422, "invalid", "/eventType"),
        (r#"{"eventType": "", "payload": {}}"#, 422, "invalid", "/eventType"),
        (r#"{"eventType": "with space", "payload": {}}"#, 422, "invalid", "/eventType"),
        (r#"{"eventType": "LONG", "payload": {}}"#, 422, "invalid", "/eventType"),
        (r#"{"eventType": "t", "payload": {}, "uid": 7}"#, 422, "invalid", "/uid"),
        (r#"{"eventType": "t", "payload": {}, "uid": "a\u0000b"}"#, 422, "invalid", "/uid"),
        (r#"{"eventType": "t", "payload": {}, "channels": "a"}"#, 422, "invalid", "/channels"),
        (
            r#"{"eventType": "t", "payload": {}, "channels": ["a", 7]}"#,
            422,
            "invalid",
            "/channels/1",
        ),
    ] {
        let body = body.replace("LONG", &long);
        let (got, error) = post(&gateway, "/applications/hooli/messages", body.clone()).await;
        assert_eq!((got, &error["code"]), (status, &json!(code)), "{body}: {error}");
        assert!(!error["message"].as_str().expect("a text").is_empty(), "{body}");
        let at = error["details"][0]["path"].as_str().unwrap_or_default();
        assert_eq!(at, path, "{body}: {error}");
    }
    let good = r#"{"eventType": "t", "payload": {}}"#;
    let (status, error) = post(&gateway, "/applications/nobody/messages", good).await;
    assert_eq!((status, &error["code"]), (404, &json!("not_found")));
    goes_on(&gateway, &receiver, 1).await;
}

#[tokio::test]
async fn a_payload_may_be_as_large_as_the_limit_and_not_a_byte_larger() {
    let gateway = Gateway::start(&[("OCTOHOOKS_INGEST__PAYLOAD_BYTES", "1000")]).await;
    let receiver = Receiver::start().await;
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let body = |bytes: usize| {
        let payload = format!("\"{}\"", "x".repeat(bytes - 2));
        format!(r#"{{"eventType": "t", "payload": {payload}}}"#)
    };
    let path = "/applications/hooli/messages";
    let (status, error) = post(&gateway, path, body(1001)).await;
    assert_eq!((status, &error["code"]), (413, &json!("too_large")));
    assert!(error["message"].as_str().expect("a text").contains("1000 bytes"), "{error}");
    assert_eq!(post(&gateway, path, body(1000)).await.0, 200);
    goes_on(&gateway, &receiver, 2).await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_off() {
    let gateway = Gateway::start(&[("OCTOHOOKS_SERVER__BODY_TIMEOUT_MS", "200")]).await;
    let receiver = Receiver::start().await;
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let head = "POST /api/v1/applications/hooli/messages HTTP/1.1\r\nhost: x\r\n\
                authorization: test-key\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("1000\r\n{}\r\n", "[".repeat(0x1000));
    // More and more of it: the limit of bytes. Nothing more: the limit of time.
    for (chunks, status, code) in
        [(120, "HTTP/1.1 413", "too_large"), (1, "HTTP/1.1 408", "timeout")]
    {
        let mut stream = TcpStream::connect(gateway.address()).await.expect("connects");
        stream.write_all(head.as_bytes()).await.expect("writes");
        stream.write_all(chunk.repeat(chunks).as_bytes()).await.expect("writes");
        let mut answer = Vec::new();
        let read = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await;
        let _reset = read.expect("the gateway answers and closes");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(status) && answer.contains(code), "{answer}");
    }
    goes_on(&gateway, &receiver, 1).await;
}

#[tokio::test]
async fn half_a_request_is_nothing() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let head = "POST /api/v1/applications/hooli/messages HTTP/1.1\r\nhost: x\r\nauthorization: test-key\r\n\
                content-length: 100\r\n\r\n";
    for half in [&head[..30], head, &format!("{head}{{\"eventType\": \"t\", \"payl")] {
        let mut stream = TcpStream::connect(gateway.address()).await.expect("connects");
        stream.write_all(half.as_bytes()).await.expect("writes");
        stream.shutdown().await.expect("closes");
        let mut answer = Vec::new();
        let read = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await;
        let _reset = read.expect("the gateway closes it too");
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let mut stream = TcpStream::connect(gateway.address()).await.expect("connects");
    stream.write_all(b"\x16\x03\x01 not HTTP\r\n\r\n").await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    goes_on(&gateway, &receiver, 1).await;
}
