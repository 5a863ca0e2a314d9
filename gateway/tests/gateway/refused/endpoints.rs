//! Bad endpoints, and bad changes of good ones: refused with the place, and nothing is half done.

use super::{goes_on, post};
use crate::gateway::{
    receiver::Receiver,
    rig::{Gateway, LONG},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const ENDPOINTS: &str = "/applications/hooli/endpoints";

#[tokio::test]
async fn a_bad_endpoint_is_refused_with_the_place_and_what_would_be_right() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let ok = receiver.url("/ok");
    for (body, path) in [
        (json!({}), "/url"),
        (json!({ "url": "nowhere" }), "/url"),
        (json!({ "url": "ftp://example.com/" }), "/url"),
        (json!({ "url": "http://" }), "/url"),
        (json!({ "url": "https://user:secret@example.com/" }), "/url"),
        (json!({ "url": "http://10.0.0.1/" }), "/url"),
        (json!({ "url": "http://169.254.169.254/latest/meta-data" }), "/url"),
        (json!({ "url": "http://[::ffff:10.0.0.1]/" }), "/url"),
        (json!({ "url": 7 }), "/url"),
        (json!({ "url": ok, "eventTypes": ["a b"] }), "/eventTypes/0"),
        (json!({ "url": ok, "channels": [""] }), "/channels/0"),
        (json!({ "url": ok, "headers": { "a b": "c" } }), "/headers/a b"),
        (json!({ "url": ok, "headers": { "host": "evil" } }), "/headers/host"),
        (json!({ "url": ok, "headers": { "x": "a\nb" } }), "/headers/x"),
        (json!({ "url": ok, "rateLimit": { "limit": 0 } }), "/rateLimit/limit"),
        (json!({ "url": ok, "maxInFlight": 0 }), "/maxInFlight"),
        (json!({ "url": ok, "maxInFlight": 4_000_000_000_u32 }), "/maxInFlight"),
        (json!({ "url": format!("{ok}?{}", "x".repeat(5000)) }), "/url"),
        (json!({ "url": ok, "uid": "a\u{0}b" }), "/uid"),
    ] {
        let url = "/applications/hooli/endpoints";
        let (status, error) = gateway.call(Method::POST, url, Some(&body)).await;
        assert_eq!((status.as_u16(), &error["code"]), (422, &json!("invalid")), "{body}: {error}");
        assert_eq!(error["details"][0]["path"], path, "{body}: {error}");
    }
    let list = gateway.get("/applications/hooli/endpoints").await;
    assert_eq!(list["meta"]["count"], 1);
    goes_on(&gateway, &receiver, 1).await;
}

#[tokio::test]
async fn a_header_that_may_not_be_set_is_refused_and_the_endpoint_stays_as_it_was() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let path = format!("{ENDPOINTS}/e0");
    let before = gateway.get(&path).await;
    for name in [
        "host",
        "Content-Length",
        "webhook-id",
        "Webhook-Anything",
        "X-Signature",
        "connection",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "Transfer-Encoding",
        "upgrade",
        "nats-msg-id",
    ] {
        let body = json!({ "url": receiver.url("/ok"), "headers": { "x-good": "1", name: "x" } });
        for (method, path) in [(Method::POST, ENDPOINTS), (Method::PUT, &path)] {
            let (status, error) = gateway.call(method.clone(), path, Some(&body)).await;
            assert_eq!(status, 422, "{method} {name}: {error}");
            assert_eq!(error["details"][0]["path"], format!("/headers/{name}"), "{error}");
            assert_eq!(error["details"].as_array().map(Vec::len), Some(1), "{error}");
        }
    }
    let headers: serde_json::Map<_, _> = (0..51).map(|n| (format!("x-{n}"), json!(""))).collect();
    let many = json!({ "url": receiver.url("/ok"), "headers": headers });
    let (status, error) = gateway.call(Method::POST, ENDPOINTS, Some(&many)).await;
    assert_eq!((status.as_u16(), &error["details"][0]["path"]), (422, &json!("/headers")));
    assert_eq!(gateway.get(&path).await, before);
    assert_eq!(gateway.get(ENDPOINTS).await["meta"]["count"], 1);
    goes_on(&gateway, &receiver, 1).await;
}

#[tokio::test]
async fn an_application_has_as_many_endpoints_as_it_may_and_no_more() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    gateway.application("other", &[]).await;
    let endpoint = json!({ "url": receiver.url("/ok") });
    for _ in 0..50 {
        gateway.post(ENDPOINTS, endpoint.clone()).await;
    }
    let (status, error) = gateway.call(Method::POST, ENDPOINTS, Some(&endpoint)).await;
    assert_eq!((status.as_u16(), &error["code"]), (422, &json!("too_many")), "{error}");
    let list = gateway.get(ENDPOINTS).await;
    assert_eq!(list["meta"]["count"], 50);
    gateway.post("/applications/other/endpoints", endpoint.clone()).await;
    let first = list["data"][0]["id"].as_str().expect("an id");
    gateway.put(&format!("{ENDPOINTS}/{first}"), endpoint.clone()).await;
    gateway.good(Method::DELETE, &format!("{ENDPOINTS}/{first}"), None).await;
    gateway.post(ENDPOINTS, endpoint).await;
}

#[tokio::test]
async fn a_field_of_the_wrong_type_is_refused_with_its_place() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let ok = receiver.url("/ok");
    let with = |field: &str, value: Value| {
        let mut body = json!({ "url": ok, "uid": "e0" });
        body[field] = value;
        (body, format!("/{field}"))
    };
    let endpoints = [
        with("enabled", json!("yes")),
        with("eventTypes", json!("t")),
        with("channels", json!({})),
        with("headers", json!([])),
        with("name", json!(1)),
        with("uid", json!(false)),
        with("secrets", json!("whsec_hidden")),
        with("secrets", json!([1])),
        with("signatures", json!("none")),
        with("asciiPayload", json!(1)),
        with("rateLimit", json!(5)),
    ];
    let before = gateway.get(&format!("{ENDPOINTS}/e0")).await;
    for (body, place) in endpoints {
        for (method, path) in [(Method::POST, ENDPOINTS), (Method::PUT, &format!("{ENDPOINTS}/e0"))]
        {
            let (status, error) = gateway.call(method, path, Some(&body)).await;
            assert_eq!(
                (status.as_u16(), &error["code"]),
                (422, &json!("invalid")),
                "{body}: {error}"
            );
            assert_eq!(error["details"][0]["path"], place, "{body}: {error}");
            assert!(!error.to_string().contains("hidden"), "a secret is not shown: {error}");
        }
    }
    assert_eq!(gateway.get(&format!("{ENDPOINTS}/e0")).await, before);
    for (body, place) in [
        (json!({ "uid": 7, "name": "n" }), "/uid"),
        (json!({ "name": ["n"] }), "/name"),
        (json!([]), ""),
        (json!("text"), ""),
    ] {
        let (status, error) = gateway.call(Method::POST, "/applications", Some(&body)).await;
        assert_eq!((status.as_u16(), &error["code"]), (422, &json!("invalid")), "{body}: {error}");
        assert_eq!(error["details"][0]["path"], place, "{body}: {error}");
    }
    let list = gateway.get("/applications").await;
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
}

#[tokio::test]
async fn a_list_is_no_object_even_with_the_right_fields_in_it() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let ok = receiver.url("/ok");
    gateway.application("hooli", &[&ok]).await;
    gateway.post("/event-types", json!({ "name": "t" })).await;
    let endpoint = format!("{ENDPOINTS}/e0");
    for (method, path, body) in [
        (Method::POST, "/applications", json!(["name", "uid"])),
        (Method::PUT, "/applications/hooli", json!(["name"])),
        (Method::POST, ENDPOINTS, json!(["uid", "name", ok])),
        (Method::PUT, &endpoint, json!(["uid", "name", ok])),
        (Method::POST, &format!("{endpoint}/secrets/rotate"), json!(["secret"])),
        (Method::POST, &format!("{endpoint}/recover"), json!([0])),
        (Method::POST, "/applications/hooli/messages", json!(["t", ["c"], {}])),
        (
            Method::POST,
            "/applications/hooli/messages/batch",
            json!([[{ "eventType": "t", "payload": {} }]]),
        ),
        (Method::POST, "/applications/hooli/tokens", json!([60])),
        (Method::POST, "/event-types", json!(["u"])),
        (Method::PUT, "/event-types/t", json!([])),
    ] {
        let (status, error) = gateway.call(method, path, Some(&body)).await;
        assert_eq!((status.as_u16(), &error["code"]), (422, &json!("invalid")), "{path}: {error}");
        let detail = json!({ "path": "", "message": "must be an object" });
        assert_eq!(error["details"], json!([detail]), "{path}: {error}");
    }
    let (status, error) = post(&gateway, "/applications", b"[,]".to_vec()).await;
    assert_eq!((status, &error["code"]), (400, &json!("malformed")), "{error}");
    assert_eq!(gateway.get(ENDPOINTS).await["meta"]["count"], 1);
    goes_on(&gateway, &receiver, 1).await;
}

#[tokio::test]
async fn a_body_that_is_no_json_changes_nothing() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let deep = format!(r#"{{"url": "x", "secrets": {}"#, "[".repeat(100_000));
    let large = format!(r#"{{"url": "{}"}}"#, "x".repeat(300_000));
    let rotate = format!("{ENDPOINTS}/e0/secrets/rotate");
    let before = gateway.get(&format!("{ENDPOINTS}/e0")).await;
    for path in ["/applications", ENDPOINTS, &rotate] {
        for (body, status, code) in [
            (&b"{"[..], 400, "malformed"),
            (b"{} {}", 400, "malformed"),
            (b"{\"name\": \"\xff\"}", 400, "malformed"),
            (b"\xef\xbb\xbf{}", 400, "malformed"),
            (deep.as_bytes(), 400, "malformed"),
            (large.as_bytes(), 413, "too_large"),
        ] {
            let (got, error) = post(&gateway, path, body.to_vec()).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]);
            assert_eq!((got, &error["code"]), (status, &json!(code)), "{path} {shown}: {error}");
            assert!(error["details"].is_array(), "{error}");
        }
    }
    assert_eq!(gateway.get(&format!("{ENDPOINTS}/e0")).await, before);
    assert_eq!(gateway.get(ENDPOINTS).await["meta"]["count"], 1);
    goes_on(&gateway, &receiver, 1).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_or_is_too_slow_changes_nothing() {
    let gateway = Gateway::start(&[("OCTOHOOKS_SERVER__BODY_TIMEOUT_MS", "200")]).await;
    let receiver = Receiver::start().await;
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let body = json!({ "url": receiver.url("/ok"), "uid": "new" }).to_string();
    for (method, path) in [("POST", ENDPOINTS), ("PUT", &format!("{ENDPOINTS}/e0"))] {
        let head = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nhost: x\r\nauthorization: test-key\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        for goes_away in [true, false] {
            let mut stream = TcpStream::connect(gateway.address()).await.expect("connects");
            // All but the last byte, which would make it whole.
            let sent = format!("{head}{}", &body[..body.len() - 1]);
            stream.write_all(sent.as_bytes()).await.expect("writes");
            if goes_away {
                stream.shutdown().await.expect("closes");
            }
            let mut answer = Vec::new();
            let read = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await;
            let _reset = read.expect("the gateway answers or closes");
            let answer = String::from_utf8_lossy(&answer);
            match goes_away {
                true => assert!(!answer.contains("200 OK"), "{answer}"),
                false => assert!(
                    answer.starts_with("HTTP/1.1 408") && answer.contains("\"timeout\""),
                    "{answer}"
                ),
            }
        }
    }
    let list = gateway.get(ENDPOINTS).await;
    assert_eq!((&list["meta"]["count"], &list["data"][0]["uid"]), (&json!(1), &json!("e0")));
    goes_on(&gateway, &receiver, 1).await;
}
