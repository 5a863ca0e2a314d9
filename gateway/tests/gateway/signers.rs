//! Signers and classifiers of endpoints in a live gateway: what goes out is signed by a plugin, and what comes back means
//! what a plugin says.

use super::{
    receiver::Receiver,
    rig::{Gateway, component, until},
};
use reqwest::Method;
use serde_json::{Value, json};

const SECRET: &str = "It's a Secret to Everybody";

/// A gateway whose application has a signer and a classifier.
async fn scene() -> (Gateway, Receiver) {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    for (name, guest) in [("github", "signer"), ("by-body", "classifier")] {
        put(&gateway, name, guest).await;
    }
    (gateway, receiver)
}

async fn put(gateway: &Gateway, name: &str, guest: &str) -> Value {
    let path = format!("/applications/hooli/plugins/{name}");
    let request = gateway.request(Method::PUT, &path).body(component(guest));
    let answer = request.send().await.expect("an answer");
    let status = answer.status();
    let body = super::rig::json_of(answer).await;
    assert_eq!(status, 200, "{body}");
    body
}

/// An endpoint with that uid at that path.
async fn endpoint(gateway: &Gateway, receiver: &Receiver, path: &str, more: Value) -> String {
    let mut endpoint = json!({ "url": receiver.url(path), "secrets": [SECRET] });
    let more = more.as_object().expect("an object").clone();
    endpoint.as_object_mut().expect("an object").extend(more);
    let made = gateway.post("/applications/hooli/endpoints", endpoint).await;
    made["id"].as_str().expect("an id").to_owned()
}

async fn attempts(gateway: &Gateway, message: &str, endpoint: &str) -> Vec<Value> {
    let path = format!("/applications/hooli/messages/{message}/deliveries/{endpoint}/attempts");
    let page = gateway.get(&path).await;
    page["data"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn a_request_is_signed_by_the_endpoints_plugin_alone() {
    let (gateway, receiver) = scene().await;
    let signer =
        json!({ "uid": "own", "signer": "github", "headers": { "x-signed-for": "nobody" } });
    endpoint(&gateway, &receiver, "/ok/own", signer).await;
    endpoint(&gateway, &receiver, "/ok/usual", json!({ "uid": "usual" })).await;
    let message = gateway.message("hooli", json!({ "a": 1 })).await;
    gateway.settled("hooli", &message).await;
    let own = receiver.received("/ok/own").remove(0);
    assert_eq!(&own.body[..], br#"{"a":1}"#);
    // Made with Python's hmac.
    let expected = "sha256=3aea7d9882012d69ea49b8443b94e755179f85ee830bfa901efb5dc673af63a3";
    assert_eq!(own.header("x-hub-signature-256"), expected);
    let at = own.header("webhook-timestamp");
    assert_eq!(own.header("x-signed-at"), format!("{message} {at}"));
    let all = own.headers.get_all("x-signed-for");
    assert!(all.iter().eq(["own"]), "it stands over the endpoint's own: {all:?}");
    assert!(own.header("x-signature").is_empty() && own.header("webhook-signature").is_empty());
    let usual = receiver.received("/ok/usual").remove(0);
    assert!(usual.header("x-hub-signature-256").is_empty());
    assert!(!usual.header("x-signature").is_empty());

    // The record says who signed, also when the endpoint has another signer by now, and nothing that was not sent.
    for (uid, signer, ours) in [("own", json!("github"), 0), ("usual", Value::Null, 2)] {
        let path = format!("/applications/hooli/endpoints/{uid}");
        let other = if ours == 0 { "" } else { "github" };
        let url = receiver.url("/ok/other");
        gateway.put(&path, json!({ "uid": uid, "url": url, "signer": other })).await;
        let attempt = attempts(&gateway, &message, uid).await.remove(0);
        assert_eq!(attempt["signer"], signer, "{uid}: {attempt}");
        let headers = attempt["requestHeaders"].as_array().expect("a list");
        let named = |name: &str| headers.iter().any(|pair| pair[0] == name);
        let signatures = ["x-signature", "webhook-signature"];
        assert_eq!(signatures.iter().filter(|name| named(name)).count(), ours, "{uid}: {attempt}");
        assert!(named("webhook-id") && named("webhook-timestamp"), "{uid}: {attempt}");
    }
}

#[tokio::test]
async fn a_signer_that_fails_is_a_failed_attempt_and_the_schedule_goes_on() {
    let (mut gateway, receiver) = scene().await;
    let id = endpoint(&gateway, &receiver, "/ok", json!({ "signer": "github" })).await;
    let settings = |mode: &str| json!({ "settings": { "mode": mode } });
    let path = "/applications/hooli/plugins/github";
    gateway.good(Method::PATCH, path, Some(&settings("fail"))).await;
    let message = gateway.message("hooli", json!({})).await;
    let settled = gateway.settled("hooli", &message).await;
    assert_eq!(settled[0]["status"], "failed");
    let tried = attempts(&gateway, &message, &id).await;
    assert_eq!(tried.len(), 4, "the whole schedule");
    for attempt in &tried {
        let text = attempt.to_string();
        assert!(text.contains("signer") && text.contains("as told"), "{text}");
    }
    assert!(receiver.received("/ok").is_empty(), "nothing was sent");

    // With a good one again, it is sent when it is resent, also after a restart.
    gateway.good(Method::PATCH, path, Some(&json!({ "settings": {} }))).await;
    gateway.restart().await;
    let resend = format!("/applications/hooli/messages/{message}/endpoints/{id}/resend");
    assert!(gateway.call(Method::POST, &resend, None).await.0.is_success());
    let sent = receiver.wait_for("/ok", 1).await.remove(0);
    assert!(sent.header("x-hub-signature-256").starts_with("sha256="));

    gateway.good(Method::DELETE, path, None).await;
    let message = gateway.message("hooli", json!({})).await;
    gateway.settled("hooli", &message).await;
    let tried = attempts(&gateway, &message, &id).await;
    assert!(tried[0].to_string().contains("has no plugin `github`"), "{tried:?}");
    assert_eq!(receiver.received("/ok").len(), 1, "it is never sent without its signature");
}

#[tokio::test]
async fn an_answer_means_what_the_endpoints_plugin_says() {
    let (gateway, receiver) = scene().await;
    let classifier = || json!({ "classifier": "by-body" });
    let mut expected = Vec::new();
    for (says, status, count) in [
        ("ok", "success", 1),
        ("never", "failed", 1),
        ("second", "success", 2),
        ("busy", "failed", 4),
    ] {
        let path = format!("/says/200/{says}");
        let id = endpoint(&gateway, &receiver, &path, classifier()).await;
        expected.push((path, id, status, count));
    }
    // A 500 that it knows to be good, and a word that it does not know: then a 200 is a success.
    for (path, count) in [("/says/500/ok", 1), ("/says/200/what", 1), ("/says/200/panic", 1)] {
        let id = endpoint(&gateway, &receiver, path, classifier()).await;
        expected.push((path.to_owned(), id, "success", count));
    }
    let message = gateway.message("hooli", json!({})).await;
    gateway.settled("hooli", &message).await;
    for (path, id, status, count) in expected {
        let delivery =
            gateway.get(&format!("/applications/hooli/messages/{message}/deliveries")).await;
        let list = delivery["data"].as_array().expect("a list");
        let own = list.iter().find(|one| one.to_string().contains(&id)).expect("its delivery");
        assert_eq!(own["state"], status, "{path}: {own}");
        assert_eq!(receiver.received(&path).len(), count, "{path}");
    }
    let log = gateway.log();
    assert!(log.contains("an answer is taken as usual") && log.contains("is new"), "it is said");
    let metrics = gateway.text("/metrics").await;
    assert!(metrics.contains("octohooks_classifier_failures_total 2"), "it is counted");
}

#[tokio::test]
async fn what_endpoints_plugins_write_is_kept_and_those_that_only_fail_are_not_called() {
    let few = [("OCTOHOOKS_PLUGINS__QUARANTINE_AFTER", "2")];
    let (gateway, receiver) = (Gateway::start(&few).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    let uploaded = [("github", "signer"), ("by-body", "classifier")];
    for (name, guest) in uploaded {
        put(&gateway, name, guest).await;
    }
    let fail = json!({ "settings": { "mode": "fail" } });
    gateway.good(Method::PATCH, "/applications/hooli/plugins/github", Some(&fail)).await;
    let signed = json!({ "uid": "signed", "signer": "github" });
    let id = endpoint(&gateway, &receiver, "/ok/signed", signed).await;
    endpoint(&gateway, &receiver, "/says/200/panic", json!({ "classifier": "by-body" })).await;
    for n in 0..2 {
        let message = gateway.message("hooli", json!({ "n": n })).await;
        gateway.settled("hooli", &message).await;
    }
    for (name, _) in uploaded {
        let path = format!("/applications/hooli/plugins/{name}");
        until("it is in quarantine", async || {
            gateway.get(&path).await["quarantined"].is_string().then_some(())
        })
        .await;
        let log = gateway.get(&format!("{path}/log")).await;
        let lines = log["data"].as_array().expect("a list");
        assert!(lines.iter().any(|line| line["failure"].is_string()), "{name}: {log}");
    }
    let message = gateway.message("hooli", json!({})).await;
    gateway.settled("hooli", &message).await;
    let tried = attempts(&gateway, &message, &id).await;
    assert!(tried[0].to_string().contains("is in quarantine"), "{tried:?}");
    assert!(receiver.received("/ok/signed").is_empty());
    // Released, and mended, it signs.
    let path = "/applications/hooli/plugins/github";
    gateway.good(Method::PATCH, path, Some(&json!({ "settings": {} }))).await;
    assert_eq!(gateway.get(path).await["quarantined"], Value::Null);
    gateway.message("hooli", json!({})).await;
    receiver.wait_for("/ok/signed", 1).await;
}

#[tokio::test]
async fn a_version_is_asked_before_it_is_trusted_and_nothing_comes_of_it() {
    let (gateway, receiver) = scene().await;
    endpoint(&gateway, &receiver, "/ok", json!({ "uid": "own", "signer": "github" })).await;
    let ask = async |name: &str, what: Value| {
        gateway
            .call(Method::POST, &format!("/applications/hooli/plugins/{name}/ask"), Some(&what))
            .await
    };
    let request = json!({ "body": { "a": 1 }, "webhookId": "m-1", "timestamp": 7 });
    let question = json!({ "endpoint": "own", "request": request });
    let (status, found) = ask("github", question.clone()).await;
    assert_eq!((status.as_u16(), &found["same"]), (200, &json!(true)), "{found}");
    let mac = "sha256=3aea7d9882012d69ea49b8443b94e755179f85ee830bfa901efb5dc673af63a3";
    let headers =
        json!([["x-signed-for", "own"], ["x-signed-at", "m-1 7"], ["x-hub-signature-256", mac]]);
    assert_eq!((&found["said"]["headers"], &found["activeSaid"]["headers"]), (&headers, &headers));
    assert!(found["said"]["cost"]["fuel"].as_u64().is_some_and(|fuel| fuel > 100), "{found}");
    // With other settings, and with a failure, beside the active one as it is.
    let mut failing = question.clone();
    failing["settings"] = json!({ "mode": "fail" });
    let (_, found) = ask("github", failing).await;
    assert_eq!((&found["same"], &found["activeSaid"]["failure"]), (&json!(false), &Value::Null));
    assert_eq!(found["said"]["failure"]["kind"], "other", "{found}");
    for (says, meaning, wait) in [
        ("ok", "success", Value::Null),
        ("busy 50", "retry", json!(50)),
        ("gone", "disable", Value::Null),
    ] {
        let answer = json!({ "status": 500, "body": says });
        let (_, found) = ask("by-body", json!({ "endpoint": "own", "answer": answer })).await;
        let said = (&found["said"]["meaning"], &found["said"]["retryAfterMs"]);
        assert_eq!(said, (&json!(meaning), &wait), "{found}");
    }
    let answer = |status: u16, value: &str| json!({ "endpoint": "own", "answer": { "status": status, "headers": [["x-result", value]], "body": "header" } });
    let (_, found) = ask("by-body", answer(404, "good")).await;
    assert_eq!(found["said"]["meaning"], "success", "{found}");
    for (name, what, place) in [
        ("by-body", question.clone(), "/answer"),
        ("github", answer(200, ""), "/request"),
        ("by-body", answer(99, ""), "/answer/status"),
        ("by-body", answer(200, "a\nx-other: b"), "/answer/headers"),
        ("github", json!({ "endpoint": "nobody", "request": request }), "/endpoint"),
    ] {
        let (status, error) = ask(name, what).await;
        assert_eq!(
            (status.as_u16(), &error["details"][0]["path"]),
            (422, &json!(place)),
            "{error}"
        );
    }
    // Nothing was sent, disabled or put in quarantine.
    assert!(receiver.received("/ok").is_empty());
    assert_eq!(gateway.get("/applications/hooli/endpoints/own").await["enabled"], true);
    let log = gateway.get("/applications/hooli/plugins/github/log").await;
    assert_eq!(log["data"], json!([]));
}

#[tokio::test]
async fn a_receiver_whose_classifier_says_that_it_is_gone_has_its_endpoint_disabled() {
    let (gateway, receiver) = scene().await;
    let operators = json!({ "url": receiver.url("/ok/told"), "uid": "operators" });
    gateway.post("/applications/octohooks-operational/endpoints", operators).await;
    let paths = ["/says/410/gone", "/says/200/gone"];
    for path in paths {
        let classifier = json!({ "uid": &path[6..9], "classifier": "by-body" });
        endpoint(&gateway, &receiver, path, classifier).await;
    }
    let message = gateway.message("hooli", json!({})).await;
    let settled = gateway.settled("hooli", &message).await;
    assert!(settled.iter().all(|one| one["status"] == "failed"), "{settled:?}");
    for path in paths {
        let endpoint = format!("/applications/hooli/endpoints/{}", &path[6..9]);
        let shown = until("it is disabled", async || {
            Some(gateway.get(&endpoint).await).filter(|shown| shown["enabled"] == false)
        })
        .await;
        assert_eq!(shown["disabledReason"], "classifier", "{path}");
        assert_eq!(receiver.received(path).len(), 1, "{path}");
    }
    let told = until("operators are told", async || {
        let received = receiver.received("/ok/told");
        let told = received.iter().map(|one| serde_json::from_slice(&one.body).expect("JSON"));
        let told: Vec<_> =
            told.filter(|told: &Value| told["type"] == "endpoint.disabled").collect();
        Some(told).filter(|told| told.len() == paths.len())
    })
    .await;
    assert!(told.iter().all(|told| told["reason"] == "classifier"), "{told:?}");
}

#[tokio::test]
async fn an_endpoint_names_plugins_that_can_do_it() {
    let (gateway, receiver) = scene().await;
    let post = "/applications/hooli/endpoints";
    let with = |more: Value| {
        let mut all = json!({ "url": receiver.url("/ok"), "uid": "e" });
        all.as_object_mut().expect("one").extend(more.as_object().expect("one").clone());
        all
    };
    for (more, place) in [
        (json!({ "signer": "by-body" }), "/signer"),
        (json!({ "signer": "nobody" }), "/signer"),
        (json!({ "classifier": "github" }), "/classifier"),
        (json!({ "classifier": "Not A Name" }), "/classifier"),
    ] {
        let (status, error) = gateway.call(Method::POST, post, Some(&with(more))).await;
        assert_eq!(
            (status.as_u16(), &error["details"][0]["path"]),
            (422, &json!(place)),
            "{error}"
        );
    }
    let both = with(json!({ "signer": "github", "classifier": "by-body" }));
    let made = gateway.post(post, both).await;
    assert_eq!((&made["signer"], &made["classifier"]), (&json!("github"), &json!("by-body")));
    // Who does not know them keeps them; an empty text removes one.
    let path = "/applications/hooli/endpoints/e";
    let kept = gateway.put(path, with(json!({}))).await;
    assert_eq!((&kept["signer"], &kept["classifier"]), (&json!("github"), &json!("by-body")));
    let without = gateway.put(path, with(json!({ "signer": "" }))).await;
    assert_eq!((&without["signer"], &without["classifier"]), (&Value::Null, &json!("by-body")));
}
