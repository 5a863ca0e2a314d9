//! Retries as owners want them: whose word counts, which answers are final, and what is refused.

use super::{
    receiver::Receiver,
    rig::{Gateway, until},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// How many attempts a new message's only delivery to that endpoint had once it ended, and how it ended.
async fn tried(gateway: &Gateway, endpoint: &str) -> (u64, String) {
    let message = gateway.message("hooli", json!({ "n": 1 })).await;
    gateway.settled("hooli", &message).await;
    let path = format!("/applications/hooli/messages/{message}/deliveries/{endpoint}/attempts");
    let attempts = gateway.get(&path).await["data"].as_array().map_or(0, Vec::len);
    let path = format!("/applications/hooli/endpoints/{endpoint}/deliveries");
    let last = gateway.get(&path).await["data"][0].clone();
    assert_eq!(last["message"], message.as_str(), "{last}");
    (attempts as u64, last["state"].as_str().expect("a state").to_owned())
}

#[tokio::test]
async fn the_endpoints_word_counts_before_the_applications_and_that_before_the_configurations() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let url = receiver.url("/status/500");
    gateway.application("hooli", &[&url]).await;
    let ended = |attempts| (attempts, "failed".to_owned());
    assert_eq!(tried(&gateway, "e0").await, ended(4), "the configuration's three waits");
    let of = async |retry: Value| {
        let application = json!({ "name": "hooli", "retry": retry });
        gateway.put("/applications/hooli", application).await
    };
    let shown = of(json!({ "waits": [0.01] })).await;
    assert_eq!(shown["retry"], json!({ "waits": [0.01] }));
    assert_eq!(tried(&gateway, "e0").await, ended(2));
    let path = "/applications/hooli/endpoints/e0";
    let growing = json!({ "base": 0.001, "factor": 2, "cap": 0.01, "attempts": 6 });
    gateway.put(path, json!({ "url": url, "retry": growing })).await;
    assert_eq!(tried(&gateway, "e0").await, ended(6));
    // Who does not know it keeps it; an empty object removes it.
    let kept = gateway.put(path, json!({ "url": url })).await;
    let shown = json!({ "base": 0.001, "factor": 2.0, "cap": 0.01, "attempts": 6 });
    assert_eq!(kept["retry"], shown);
    assert_eq!(gateway.put(path, json!({ "url": url, "retry": {} })).await["retry"], Value::Null);
    assert_eq!(tried(&gateway, "e0").await, ended(2));
    of(json!({ "waits": [] })).await;
    assert_eq!(tried(&gateway, "e0").await, ended(1));
    // Each thing by itself: the schedule of one, what is final of the other.
    let final_ones = json!({ "url": url, "retry": { "finalStatuses": [404], "jitter": 0 } });
    gateway.put(path, final_ones).await;
    of(json!({ "waits": [0.01, 0.01], "finalStatuses": [500] })).await;
    assert_eq!(tried(&gateway, "e0").await, ended(3));
    assert_eq!(of(json!({})).await["retry"], Value::Null);
}

#[tokio::test]
async fn an_answer_that_is_final_makes_a_dead_letter_at_once() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    let retry = json!({ "finalStatuses": [404, 503] });
    for (uid, status) in [("final", 404), ("busy", 503), ("usual", 400)] {
        let url = receiver.url(&format!("/status/{status}"));
        let endpoint = json!({ "url": url, "uid": uid, "retry": retry });
        gateway.post("/applications/hooli/endpoints", endpoint).await;
    }
    let message = gateway.message("hooli", json!({ "n": 1 })).await;
    gateway.settled("hooli", &message).await;
    let counts = [404, 503, 400].map(|status| receiver.received(&format!("/status/{status}")));
    assert_eq!(counts.each_ref().map(Vec::len), [1, 1, 4]);
}

#[tokio::test]
async fn an_endpoint_that_answers_410_is_disabled() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/status/410")]).await;
    assert_eq!(tried(&gateway, "e0").await, (1, "failed".to_owned()));
    let path = "/applications/hooli/endpoints/e0";
    until("it is disabled", async || (gateway.get(path).await["enabled"] == false).then_some(()))
        .await;
    gateway.message("hooli", json!({ "n": 2 })).await;
    gateway.put(path, json!({ "url": receiver.url("/ok") })).await;
    gateway.message("hooli", json!({ "n": 3 })).await;
    assert_eq!(receiver.wait_for("/ok", 1).await[0].n(), 3);
    assert_eq!(receiver.received("/status/410").len(), 1);
}

#[tokio::test]
async fn retries_that_cannot_be_are_refused_with_their_place() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    for (retry, place) in [
        (json!({ "waits": [1, -1] }), "/retry/waits/1"),
        (json!({ "waits": ["soon"] }), "/retry/waits/0"),
        (json!({ "waits": [1], "base": 1 }), "/retry/base"),
        (json!({ "base": 1 }), "/retry/attempts"),
        (json!({ "base": 1, "attempts": 0 }), "/retry/attempts"),
        (json!({ "base": 1, "attempts": 2, "factor": 0 }), "/retry/factor"),
        (json!({ "base": 2, "attempts": 2, "cap": 1 }), "/retry/cap"),
        (json!({ "jitter": 1 }), "/retry/jitter"),
        (json!({ "finalStatuses": [200] }), "/retry/finalStatuses/0"),
        (json!({ "retries": 3 }), "/retry/retries"),
        (json!(7), "/retry"),
    ] {
        let endpoint = json!({ "url": receiver.url("/ok"), "retry": retry });
        let application = json!({ "name": "hooli", "retry": retry });
        for (method, path, body) in [
            (Method::POST, "/applications/hooli/endpoints", &endpoint),
            (Method::PUT, "/applications/hooli/endpoints/e0", &endpoint),
            (Method::POST, "/applications", &application),
            (Method::PUT, "/applications/hooli", &application),
        ] {
            let (status, error) = gateway.call(method.clone(), path, Some(body)).await;
            let expected = (StatusCode::UNPROCESSABLE_ENTITY, &json!(place));
            assert_eq!((status, &error["details"][0]["path"]), expected, "{retry}: {error}");
        }
    }
    assert_eq!(gateway.get("/applications/hooli/endpoints").await["meta"]["count"], 1);
}
