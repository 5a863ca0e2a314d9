//! Payloads that no library would write: they arrive as they were sent, or are refused whole.

use super::{goes_on, post};
use crate::gateway::{receiver::Receiver, rig::Gateway};
use serde_json::json;

const MESSAGES: &str = "/applications/hooli/messages";

#[tokio::test]
async fn whatever_is_json_arrives_byte_for_byte() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let levels = 100_000;
    let deep = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let objects = format!("{}1{}", r#"{"a":"#.repeat(50_000), "}".repeat(50_000));
    let number = format!("-{}.{}E+{}", "9".repeat(1000), "0".repeat(1000), "7".repeat(1000));
    for (count, payload) in (1..).zip([
        &*deep,
        &objects,
        &number,
        "[1e400, -0, -0.0, 1E5, 0.1000, 123456789012345678901234567890, 9007199254740993]",
        r#"{"a": 1, "a": 2, "a": {"b": 1, "b": 2}, "": 0, "": 1}"#,
        r#""\ud800 \udc00\ud83d \u0000 \/""#,
        "\" \u{7f} \u{2028} \u{feff} \u{10ffff} e\u{301}\"",
        "{\r\n\t \"a\"\n:\r[ ]\t}",
    ]) {
        let body = format!(r#"{{"eventType": "t", "payload": {payload}}}"#);
        let (status, answer) = post_text(&gateway, body).await;
        let start: String = payload.chars().take(60).collect();
        assert_eq!(status, 200, "{start}: {answer}");
        assert!(answer.contains(payload), "{start}: the answer has it as it was sent");
        let received = receiver.wait_for("/ok", count).await.remove(count - 1);
        assert!(received.body == payload, "{start}");
    }
}

/// The answer as text: not all that is JSON can be read.
async fn post_text(gateway: &Gateway, body: String) -> (u16, String) {
    let sent = gateway.request(reqwest::Method::POST, MESSAGES).body(body).send().await;
    let answer = sent.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a text"))
}

#[tokio::test]
async fn what_is_not_json_is_refused_whole() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let with = |payload: &[u8]| [br#"{"eventType": "t", "payload": "#, payload, b"}"].concat();
    let open = "[".repeat(100_000);
    let unknown = format!(r#"{{"eventType": "t", "payload": 1, "more": {open}"#);
    for (body, status, code) in [
        (with(open.as_bytes()), 400, "malformed"),
        (unknown.into_bytes(), 400, "malformed"),
        (with(b"\"\xff\""), 400, "malformed"),
        (with(b"\"\xed\xa0\x80\""), 400, "malformed"),
        (with(b"\"\xc0\xaf\""), 400, "malformed"),
        (with(b"\"a\nb\""), 400, "malformed"),
        (with(br#""\x""#), 400, "malformed"),
        (with(b"01"), 400, "malformed"),
        (with(b"1."), 400, "malformed"),
        (with(b"NaN"), 400, "malformed"),
        (with(b"[1,]"), 400, "malformed"),
        (with(b"{'a': 1}"), 400, "malformed"),
        (with(b"1 // one"), 400, "malformed"),
        (b"\xef\xbb\xbf{}".to_vec(), 400, "malformed"),
        (b"\xff\xfe{\0}\0".to_vec(), 400, "malformed"),
        (b"{\"eventType\": \"\xff\", \"payload\": 1}".to_vec(), 400, "malformed"),
        (b"{\"eventType\": \"t\", \"payload\": 1, \"x\": \"\xff\"}".to_vec(), 400, "malformed"),
        (br#"{"eventType": "t", "eventType": "u", "payload": 1}"#.to_vec(), 422, "invalid"),
        (br#"{"eventType": "t", "payload": 1, "payload": 2}"#.to_vec(), 422, "invalid"),
    ] {
        let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let (got, error) = post(&gateway, MESSAGES, body).await;
        assert_eq!((got, &error["code"]), (status, &json!(code)), "{start}: {error}");
        assert!(error["details"].is_array(), "{start}: {error}");
    }
    goes_on(&gateway, &receiver, 1).await;
}
