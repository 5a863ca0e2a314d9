//! Paths, queries, methods and ids that there are not: an error in the contract's shape, whoever answers.

use crate::gateway::rig::{Gateway, client};
use reqwest::{Method, Response};
use serde_json::{Value, json};

/// An error in the contract's shape.
async fn error(answer: Response) -> (u16, String, Value) {
    let status = answer.status().as_u16();
    let json = answer.headers()["content-type"] == "application/json";
    let text = answer.text().await.expect("a text");
    assert!(json, "{status}: {text}");
    let error: Value = serde_json::from_str(&text).expect("JSON");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
    assert!(error["details"].is_array(), "{error}");
    (status, error["code"].as_str().expect("a code").to_owned(), error)
}

async fn call(gateway: &Gateway, method: Method, path: &str) -> Response {
    gateway.request(method, path).send().await.expect("an answer")
}

#[tokio::test]
async fn what_cannot_be_read_of_a_path_or_a_query_is_malformed_or_invalid() {
    let gateway = Gateway::start(&[]).await;
    gateway.application("hooli", &[]).await;
    for (method, path, status) in [
        (Method::GET, "/applications/%ff", 400),
        (Method::POST, "/applications/%ff/messages", 400),
        (Method::DELETE, "/applications/hooli/endpoints/%C0%AF", 400),
        (Method::GET, "/applications?page=x", 422),
        (Method::GET, "/applications?page=0", 422),
        (Method::GET, "/applications?size=251", 422),
        (Method::GET, "/applications?size=-1", 422),
        (Method::GET, "/applications/hooli/endpoints?page=99999999999999999999999", 422),
        (Method::GET, "/applications/hooli/messages?limit=x", 422),
        (Method::GET, "/applications/hooli/messages?limit=0", 422),
        (Method::GET, "/applications/hooli/messages?iterator=%20", 422),
    ] {
        let (got, code, error) = error(call(&gateway, method, path).await).await;
        let expected = if status == 400 { "malformed" } else { "invalid" };
        assert_eq!((got, &*code), (status, expected), "{path}: {error}");
    }
}

#[tokio::test]
async fn an_unknown_path_is_not_found_and_a_wrong_method_not_allowed() {
    let gateway = Gateway::start(&[]).await;
    for path in
        ["", "/", "/nothing", "/applications/hooli/nothing", "/applications/", "//applications"]
    {
        let (status, code, error) = error(call(&gateway, Method::GET, path).await).await;
        assert_eq!((status, &*code), (404, "not_found"), "{path}: {error}");
    }
    let outside = client().get(format!("http://{}/nothing", gateway.address())).send().await;
    assert_eq!(error(outside.expect("an answer")).await.0, 404);
    for (method, path, allowed) in [
        (Method::DELETE, "/applications", "GET,HEAD,POST"),
        (Method::PATCH, "/applications/hooli", "GET,HEAD,PUT,DELETE"),
        (Method::PUT, "/applications/hooli/messages", "GET,HEAD,POST"),
        (Method::GET, "/applications/hooli/endpoints/e0/secrets/rotate", "POST"),
    ] {
        let answer = call(&gateway, method.clone(), path).await;
        let allow = answer.headers()["allow"].to_str().expect("text").to_owned();
        let sorted = |text: &str| {
            let mut methods: Vec<_> = text.split(',').map(str::to_owned).collect();
            methods.sort();
            methods
        };
        assert_eq!(sorted(&allow), sorted(allowed), "{method} {path}");
        assert_eq!(error(answer).await.1, "method_not_allowed", "{method} {path}");
    }
    let outside = client().post(format!("http://{}/health", gateway.address())).send().await;
    assert_eq!(error(outside.expect("an answer")).await.0, 405);
}

#[tokio::test]
async fn what_does_not_exist_is_not_found_whatever_is_asked_of_it() {
    let gateway = Gateway::start(&[]).await;
    gateway.application("hooli", &["http://127.0.0.1:2/"]).await;
    let id = "018f0000-0000-7000-8000-000000000000";
    let object =
        json!({ "name": "n", "url": "http://127.0.0.1:2/", "eventType": "t", "payload": 1 });
    for unknown in [id, "nobody", "%00", "..%2F..", "a%20b", &"x".repeat(2000)] {
        for path in
            [format!("/applications/{unknown}"), format!("/applications/hooli/endpoints/{unknown}")]
        {
            let (status, body) = gateway.call(Method::GET, &path, None).await;
            assert_eq!((status.as_u16(), body), (404, Value::Null), "an empty body: {path}");
            for method in [Method::PUT, Method::DELETE] {
                let sent = gateway.request(method.clone(), &path).body(object.to_string());
                let answer = error(sent.send().await.expect("an answer")).await;
                assert_eq!((answer.0, &*answer.1), (404, "not_found"), "{method} {path}");
            }
        }
        for (method, path) in [
            (Method::GET, format!("/applications/{unknown}/endpoints")),
            (Method::POST, format!("/applications/{unknown}/endpoints")),
            (Method::POST, format!("/applications/{unknown}/messages")),
            (Method::GET, format!("/applications/hooli/messages/{unknown}/endpoint-messages")),
            (Method::GET, format!("/applications/hooli/endpoints/{unknown}/secrets")),
            (Method::POST, format!("/applications/hooli/endpoints/{unknown}/secrets/rotate")),
            (Method::GET, format!("/applications/{unknown}/endpoints/e0/secrets")),
        ] {
            let sent = gateway.request(method.clone(), &path).body(object.to_string());
            let answer = error(sent.send().await.expect("an answer")).await;
            assert_eq!((answer.0, &*answer.1), (404, "not_found"), "{method} {path}");
        }
    }
    assert_eq!(gateway.get("/applications").await.as_array().map(Vec::len), Some(1));
}
