//! What became of messages is found, and what an endpoint missed is sent again.

use super::{
    receiver::Receiver,
    rig::{Gateway, until},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

async fn list(gateway: &Gateway, path: &str) -> Vec<Value> {
    gateway.get(path).await["data"].as_array().expect("a list").clone()
}

/// Every page from the first to the last.
async fn pages(gateway: &Gateway, path: &str) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut iterator = String::new();
    loop {
        let page = gateway.get(&format!("{path}{iterator}")).await;
        pages.push(page["data"].as_array().expect("a list").clone());
        let Some(next) = page["iterator"].as_str() else { return pages };
        iterator = format!("&iterator={next}");
    }
}

/// Starts an operation on the endpoint: its id.
async fn recover(gateway: &Gateway, endpoint: &str, body: Value) -> String {
    let path = format!("/applications/hooli/endpoints/{endpoint}/recover");
    let (status, answer) = gateway.call(Method::POST, &path, Some(&body)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    answer["id"].as_str().expect("an id").to_owned()
}

/// The operation, once it has ended.
async fn ended(gateway: &Gateway, operation: &str) -> Value {
    until("the operation ends", async || {
        let now = gateway.get(&format!("/operations/{operation}")).await;
        (now["state"] != "running").then_some(now)
    })
    .await
}

#[tokio::test]
async fn an_attempt_shows_what_was_sent_and_what_came_back() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/flaky/1")]).await;
    let headers = json!({ "x-partner": "hooli" });
    let change = json!({ "url": receiver.url("/flaky/1"), "headers": headers });
    gateway.put("/applications/hooli/endpoints/e0", change).await;
    let message = gateway.message("hooli", json!({ "n": 1 })).await;
    gateway.settled("hooli", &message).await;
    // What the endpoint is later is not what it was.
    let moved = json!({ "url": receiver.url("/ok") });
    gateway.put("/applications/hooli/endpoints/e0", moved).await;
    let path = format!("/applications/hooli/messages/{message}/deliveries");
    let delivery = list(&gateway, &path).await.remove(0);
    assert_eq!((&delivery["state"], &delivery["attemptCount"]), (&json!("success"), &json!(2)));
    let id = delivery["id"].as_str().expect("an id");
    let attempts = list(&gateway, &format!("{path}/{id}/attempts")).await;
    assert_eq!(list(&gateway, &format!("{path}/e0/attempts")).await, attempts);
    let received = receiver.received("/flaky/1");
    for (index, attempt) in attempts.iter().enumerate() {
        assert_eq!(attempt["number"], index + 1);
        assert_eq!(attempt["url"], receiver.url("/flaky/1"));
        assert_eq!(attempt["statusCode"], [500, 200][index]);
        let header = |of: &str, name: &str| {
            let pairs = attempt[of].as_array().expect("a list").iter();
            let found = pairs.filter(|pair| pair[0] == name).map(|pair| pair[1].clone());
            found.collect::<Vec<_>>()
        };
        assert_eq!(header("requestHeaders", "x-partner"), ["hooli"]);
        for name in ["webhook-id", "webhook-timestamp", "content-type"] {
            assert_eq!(header("requestHeaders", name), [received[index].header(name)], "{name}");
        }
        let signature = header("requestHeaders", "x-signature").remove(0).to_string();
        assert!(signature.contains("(not shown)"), "{signature}");
        assert!(!header("responseHeaders", "date").is_empty());
        assert!(attempt["latency"].is_u64() && attempt["error"].is_null());
    }
    let nobody = json!({ "url": "http://127.0.0.1:2/" });
    gateway.put("/applications/hooli/endpoints/e0", nobody).await;
    let message = gateway.message("hooli", json!({ "n": 2 })).await;
    gateway.settled("hooli", &message).await;
    let path = format!("/applications/hooli/messages/{message}/deliveries/e0/attempts");
    let attempt = list(&gateway, &path).await.remove(0);
    assert_eq!(attempt["errorClass"], "connect");
    assert_eq!(attempt["statusCode"], Value::Null);
}

#[tokio::test]
async fn messages_and_deliveries_are_found_by_what_is_known_of_them() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway
        .application("hooli", &[&receiver.url("/sometimes"), &receiver.url("/status/500")])
        .await;
    for n in 0..20 {
        let event_type = if n % 5 == 0 { "rare" } else { "common" };
        let channels = if n % 2 == 0 { json!(["even"]) } else { Value::Null };
        let body = json!({ "eventType": event_type, "channels": channels, "uid": format!("m{n}"),
            "payload": { "n": n } });
        gateway.post("/applications/hooli/messages", body).await;
    }
    for n in 0..20 {
        gateway.settled("hooli", &format!("m{n}")).await;
    }
    let uids = |records: Vec<Value>| -> Vec<String> {
        records.iter().map(|r| r["uid"].as_str().expect("a uid").to_owned()).collect()
    };
    for (query, expected) in [
        ("eventType=rare", vec!["m15", "m10", "m5", "m0"]),
        ("eventType=rare&channel=even", vec!["m10", "m0"]),
        ("uid=m7", vec!["m7"]),
        ("uid=none", vec![]),
        ("uid=m10&eventType=rare&channel=even&after=1&before=99999999999999", vec!["m10"]),
        ("uid=m10&eventType=common", vec![]),
        ("uid=m10&channel=odd", vec![]),
        ("uid=m10&after=99999999999999", vec![]),
        ("uid=m10&before=1", vec![]),
        ("uid=m10&state=dropped", vec![]),
        ("after=99999999999999", vec![]),
        ("channel=odd", vec![]),
    ] {
        let path = format!("/applications/hooli/messages?limit=3&{query}");
        assert_eq!(uids(pages(&gateway, &path).await.concat()), expected, "{query}");
    }
    let to = "/applications/hooli/endpoints";
    let failed = pages(&gateway, &format!("{to}/e1/deliveries?state=failed&limit=7")).await;
    let sizes: Vec<_> = failed.iter().map(Vec::len).collect();
    assert_eq!(sizes, [7, 7, 6]);
    assert_eq!(failed[0][0]["messageUid"], "m19");
    assert_eq!(
        (&failed[0][0]["lastStatusCode"], &failed[0][0]["attemptCount"]),
        (&json!(500), &json!(4))
    );
    assert!(list(&gateway, &format!("{to}/e1/deliveries?state=success,pending")).await.is_empty());
    assert_eq!(list(&gateway, &format!("{to}/e0/deliveries?state=success")).await.len(), 20);
    for bad in ["limit=0", "limit=251", "limit=x", "iterator=!", "state=none", "after=soon"] {
        let path = format!("{to}/e0/deliveries?{bad}");
        let (status, answer) = gateway.call(Method::GET, &path, None).await;
        assert_eq!((status.as_u16(), &answer["code"]), (422, &json!("invalid")), "{bad}: {answer}");
    }
}

#[tokio::test]
async fn one_message_is_sent_again_to_one_endpoint() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok"), &receiver.url("/status/500")]).await;
    let message = gateway.message("hooli", json!({ "n": 1 })).await;
    gateway.settled("hooli", &message).await;
    let resend = async |endpoint: &str| {
        let path = format!("/applications/hooli/messages/{message}/endpoints/{endpoint}/resend");
        gateway.call(Method::POST, &path, None).await
    };
    assert_eq!(resend("e0").await.0, StatusCode::ACCEPTED);
    let twice = receiver.wait_for("/ok", 2).await;
    assert_eq!(twice[0].header("webhook-id"), twice[1].header("webhook-id"));
    assert_eq!(resend("e1").await.0, StatusCode::ACCEPTED);
    receiver.wait_for("/status/500", 8).await;
    // One that was made after the message has nothing of it yet.
    let late = json!({ "url": receiver.url("/ok/late"), "uid": "late" });
    gateway.post("/applications/hooli/endpoints", late).await;
    assert_eq!(resend("late").await.0, StatusCode::ACCEPTED);
    receiver.wait_for("/ok/late", 1).await;
    // To several at once: each has its turn.
    let many: Vec<_> = (0..4).map(|n| format!("many{n}")).collect();
    for uid in &many {
        let endpoint = json!({ "url": receiver.url("/ok/many"), "uid": uid });
        gateway.post("/applications/hooli/endpoints", endpoint).await;
    }
    let resent = futures_util::future::join_all(many.iter().map(|uid| resend(uid))).await;
    assert!(resent.iter().all(|(status, _)| *status == StatusCode::ACCEPTED), "{resent:?}");
    receiver.wait_for("/ok/many", 4).await;
    let deliveries = gateway.settled("hooli", &message).await;
    let counts: Vec<_> = deliveries.iter().map(|d| d["attemptCount"].clone()).collect();
    assert_eq!(counts, [2, 8, 1, 1, 1, 1, 1]);
    assert_eq!(resend("none").await.0, StatusCode::NOT_FOUND);
    let off = json!({ "url": receiver.url("/ok"), "enabled": false });
    gateway.put("/applications/hooli/endpoints/e0", off).await;
    let (status, answer) = resend("e0").await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
}

#[tokio::test]
async fn what_failed_is_recovered_across_a_restart() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/status/500")]).await;
    for n in 0..200 {
        gateway.message("hooli", json!({ "n": n })).await;
    }
    until("all have failed", async || {
        let path = "/applications/hooli/endpoints/e0/deliveries?state=failed&limit=200";
        (list(&gateway, path).await.len() == 200).then_some(())
    })
    .await;
    // Slowly, so that the kill falls between.
    let repaired = json!({ "url": receiver.url("/ok"), "rateLimit": { "limit": 100 } });
    gateway.put("/applications/hooli/endpoints/e0", repaired).await;
    let counted = recover(&gateway, "e0", json!({ "since": 0, "dryRun": true })).await;
    let counted = ended(&gateway, &counted).await;
    assert_eq!((&counted["total"], &counted["done"]), (&json!(200), &json!(0)));
    let operation = recover(&gateway, "e0", json!({ "since": 0 })).await;
    receiver.wait_for("/ok", 40).await;
    gateway.restart().await;
    let done = ended(&gateway, &operation).await;
    assert_eq!(
        (&done["state"], &done["total"], &done["done"]),
        (&json!("done"), &json!(200), &json!(200))
    );
    until("all are delivered", async || {
        let path = "/applications/hooli/endpoints/e0/deliveries?state=success&limit=250";
        (list(&gateway, path).await.len() == 200).then_some(())
    })
    .await;
    let mut seen: Vec<_> =
        receiver.received("/ok").iter().map(super::receiver::Received::n).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 200, "each came");
}

#[tokio::test]
async fn what_came_before_an_endpoint_is_sent_to_it_and_only_to_it() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let mut last = String::new();
    for n in 0..100 {
        last = gateway.message("hooli", json!({ "n": n })).await;
    }
    gateway.settled("hooli", &last).await;
    receiver.wait_for("/ok", 100).await;
    let late = json!({ "url": receiver.url("/ok/late"), "uid": "late" });
    gateway.post("/applications/hooli/endpoints", late).await;
    let operation = recover(&gateway, "late", json!({ "since": 0, "mode": "missing" })).await;
    let done = ended(&gateway, &operation).await;
    assert_eq!((&done["state"], &done["done"]), (&json!("done"), &json!(100)));
    let mut late: Vec<_> =
        receiver.wait_for("/ok/late", 100).await.iter().map(super::receiver::Received::n).collect();
    late.sort_unstable();
    assert_eq!(late, (0..100).collect::<Vec<_>>());
    assert_eq!(receiver.received("/ok").len(), 100, "the first got nothing again");
    let listed = list(&gateway, "/operations?application=hooli").await;
    assert_eq!(listed[0]["id"], operation.as_str());
}

#[tokio::test]
async fn an_operation_can_be_cancelled_and_says_what_is_wrong() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    for n in 0..50 {
        gateway.message("hooli", json!({ "n": n })).await;
    }
    let slow = json!({ "url": receiver.url("/ok"), "rateLimit": { "limit": 1, "per": "minute" } });
    receiver.wait_for("/ok", 50).await;
    gateway.put("/applications/hooli/endpoints/e0", slow).await;
    let all = json!({ "since": 0, "states": ["success"] });
    let operation = recover(&gateway, "e0", all).await;
    let cancelled = gateway.post(&format!("/operations/{operation}/cancel"), json!({})).await;
    assert_eq!(cancelled["state"], "cancelled");
    assert_eq!(ended(&gateway, &operation).await["state"], "cancelled");
    let path = "/applications/hooli/endpoints/e0/recover";
    for (body, at) in [
        (json!({}), "/since"),
        (json!({ "since": 5, "until": 4 }), "/until"),
        (json!({ "since": 0, "mode": "all" }), "/mode"),
        (json!({ "since": 0, "states": ["pending"] }), "/states"),
        (json!({ "since": 0, "mode": "missing", "states": ["failed"] }), "/states"),
    ] {
        let (status, answer) = gateway.call(Method::POST, path, Some(&body)).await;
        assert_eq!(status, 422, "{body}");
        assert_eq!(answer["details"][0]["path"], at, "{answer}");
    }
    assert_eq!(gateway.call(Method::GET, "/operations/none", None).await.0, 404);
}

#[tokio::test]
async fn a_payload_goes_when_it_is_asked_to_and_the_row_stays() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/gate")]).await;
    let message = gateway.message("hooli", json!({ "number": "+46701234567" })).await;
    let path = format!("/applications/hooli/messages/{message}/payload");
    let (status, answer) = gateway.call(Method::DELETE, &path, None).await;
    assert_eq!(status, StatusCode::CONFLICT, "it is being sent: {answer}");
    receiver.open_gate();
    gateway.settled("hooli", &message).await;
    let gone = until("the content goes", async || {
        let (status, answer) = gateway.call(Method::DELETE, &path, None).await;
        (status == StatusCode::OK).then_some(answer)
    })
    .await;
    assert_eq!((&gone["payload"], &gone["id"]), (&Value::Null, &json!(message)));
    let again = format!("/applications/hooli/messages/{message}/endpoints/e0/resend");
    let (status, answer) = gateway.call(Method::POST, &again, None).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    let short = json!({ "eventType": "a", "payload": 1, "payloadRetentionDays": 0 });
    let (status, answer) =
        gateway.call(Method::POST, "/applications/hooli/messages", Some(&short)).await;
    assert_eq!(status, 422, "{answer}");
    let short = json!({ "eventType": "a", "payload": 1, "payloadRetentionDays": 7 });
    gateway.post("/applications/hooli/messages", short).await;
}
