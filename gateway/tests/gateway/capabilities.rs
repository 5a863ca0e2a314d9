//! What plugins may use in a live gateway: granted, used, taken away, and gone with their application.

use super::{
    receiver::Receiver,
    rig::{Gateway, component, until},
};
use reqwest::Method;
use serde_json::{Value, json};

const GRANTS: &str = "/applications/hooli/grants";

fn everything(receiver: &Receiver) -> Value {
    let host = receiver.url("").trim_start_matches("http://").to_owned();
    json!({ "keyvalue": { "keys": 3 }, "secrets": true, "clock": true, "random": true,
            "http": { "hosts": [host, "10.0.0.1"] } })
}

/// A gateway whose application is granted everything and runs the guest that uses it.
async fn scene() -> (Gateway, Receiver) {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    gateway.put(GRANTS, everything(&receiver)).await;
    assert_eq!(gateway.upload("hooli", component("capable")).await.0, 200);
    (gateway, receiver)
}

/// What each step of the plugin came to, in the message that the receiver got.
async fn came(gateway: &Gateway, receiver: &Receiver, steps: Value) -> Value {
    receiver.take();
    let message = gateway.message("hooli", json!({ "steps": steps })).await;
    gateway.settled("hooli", &message).await;
    // After a kill another may come again.
    let mut received = receiver.received("/ok").into_iter();
    let received = received.rfind(|received| received.header("webhook-id") == message);
    serde_json::from_slice(&received.expect("came").body).expect("JSON")
}

#[tokio::test]
async fn an_upload_needs_its_grants_and_a_grant_that_is_taken_away_is_missed() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let none = json!({ "secrets": false, "clock": false, "random": false });
    assert_eq!(gateway.get(GRANTS).await, none);
    let (status, error) = gateway.upload("hooli", component("capable")).await;
    assert_eq!((status.as_u16(), &error["code"]), (422, &json!("invalid_component")));
    let text = error["message"].as_str().expect("a text");
    assert!(text.contains("imports `octohooks:plugin/") && text.contains("granted"), "{text}");

    let granted = gateway.put(GRANTS, everything(&receiver)).await;
    assert_eq!(granted["keyvalue"], json!({ "keys": 3, "bytes": 16 << 20 }));
    assert_eq!(granted["http"]["timeoutMs"], 2000);
    assert_eq!(gateway.get(GRANTS).await, granted);
    assert_eq!(gateway.upload("hooli", component("capable")).await.0, 200);

    let mut without = everything(&receiver);
    without["clock"] = json!(false);
    gateway.put(GRANTS, without).await;
    let message = gateway.message("hooli", json!({ "steps": [{ "use": "now" }] })).await;
    let parked = gateway.held("hooli", &message, "parked").await;
    let reason = parked["reason"].as_str().expect("a reason");
    assert!(reason.contains("`clock`") && reason.contains("not granted"), "{reason}");
    gateway.put(GRANTS, everything(&receiver)).await;
    let delivered = receiver.wait_for("/ok", 1).await.remove(0);
    let came: Value = serde_json::from_slice(&delivered.body).expect("JSON");
    assert!(came[0]["ok"].is_u64(), "it went on with the grant: {came}");

    // Activating asks for the grants again, though the component is loaded.
    let digest = gateway.get("/applications/hooli/plugins/main").await["active"].clone();
    let mut without = everything(&receiver);
    without["random"] = json!(false);
    gateway.put(GRANTS, without).await;
    let activate = "/applications/hooli/plugins/main/activate";
    let wanted = json!({ "digest": digest });
    let (status, error) = gateway.call(Method::POST, activate, Some(&wanted)).await;
    assert_eq!(status, 422, "{error}");
    assert!(error["message"].to_string().contains("`random`"), "{error}");
}

#[tokio::test]
async fn what_a_plugin_remembers_is_the_applications_own_and_outlives_a_kill() {
    let (mut gateway, receiver) = scene().await;
    let set = |key: &str| json!({ "use": "set", "key": key, "value": "1" });
    let wrote = came(&gateway, &receiver, json!([set("a"), set("b"), set("c"), set("d")])).await;
    assert_eq!(wrote, json!([{ "ok": 1 }, { "ok": 2 }, { "ok": 3 }, { "error": "Full" }]));
    gateway.kill();
    gateway.restart().await;
    let get = json!({ "use": "get", "key": "a" });
    let read = came(&gateway, &receiver, json!([get])).await;
    // The message that wrote it may have been run again: then it is a later version.
    assert_eq!(read[0]["ok"]["value"], "1", "{read}");

    gateway.application("other", &[&receiver.url("/ok/other")]).await;
    gateway.put("/applications/other/grants", json!({ "keyvalue": {} })).await;
    let refused = gateway.upload("other", component("capable")).await;
    assert_eq!(refused.0.as_u16(), 422, "it was granted to another");
    gateway.put("/applications/other/grants", everything(&receiver)).await;
    assert_eq!(gateway.upload("other", component("capable")).await.0, 200);
    gateway.message("other", json!({ "steps": [get] })).await;
    let others = receiver.wait_for("/ok/other", 1).await.remove(0);
    assert_eq!(&others.body[..], br#"[{"ok":null}]"#);

    // A new application of the same uid has nothing of the old one.
    gateway.good(Method::DELETE, "/applications/hooli", None).await;
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    assert_eq!(gateway.get(GRANTS).await["clock"], false);
    gateway.put(GRANTS, everything(&receiver)).await;
    assert_eq!(gateway.upload("hooli", component("capable")).await.0, 200);
    assert_eq!(came(&gateway, &receiver, json!([get])).await, json!([{ "ok": null }]));
}

#[tokio::test]
async fn a_value_goes_when_its_time_is_up() {
    let (gateway, receiver) = scene().await;
    let set = json!({ "use": "set", "key": "a", "value": "1", "ttlMs": 1 });
    came(&gateway, &receiver, json!([set])).await;
    until("the value is gone", async || {
        let read = came(&gateway, &receiver, json!([{ "use": "get", "key": "a" }])).await;
        (read == json!([{ "ok": null }])).then_some(())
    })
    .await;
    let three = ["b", "c", "d"].map(|key| json!({ "use": "set", "key": key, "value": "1" }));
    let wrote = came(&gateway, &receiver, json!(three)).await;
    assert!(wrote.as_array().expect("a list").iter().all(|one| one["ok"].is_u64()), "{wrote}");
}

#[tokio::test]
async fn a_request_goes_through_the_guard_and_no_further() {
    let (gateway, receiver) = scene().await;
    let http = |url: String| json!({ "use": "http", "url": url });
    let post = json!({ "use": "http", "url": receiver.url("/status/201"), "method": "POST",
                       "body": "hello", "headers": [["x-a", "1"]] });
    let read = came(
        &gateway,
        &receiver,
        json!([post, http(receiver.url("/redirect")), http("http://10.0.0.1/".into())]),
    )
    .await;
    assert_eq!(read[0]["ok"]["status"], 201);
    assert_eq!(read[1]["ok"]["status"], 302, "a redirect is not followed: {read}");
    let refused = read[2]["error"].as_str().expect("an error");
    assert!(refused.contains("not a public address"), "{refused}");
    let sent = receiver.received("/status/201").remove(0);
    assert_eq!((&sent.body[..], sent.header("x-a")), (&b"hello"[..], "1"));
    assert!(sent.header("webhook-id").is_empty() && sent.header("x-signature").is_empty());

    let endless = came(&gateway, &receiver, json!([http(receiver.url("/endless"))])).await;
    assert!(endless[0]["error"].as_str().expect("an error").starts_with("Budget"), "{endless}");
    let mut hasty = everything(&receiver);
    hasty["http"]["timeoutMs"] = json!(50);
    gateway.put(GRANTS, hasty).await;
    let hang = http(receiver.url("/hang"));
    let read = came(&gateway, &receiver, json!([hang, hang])).await;
    assert_eq!(read[0]["error"], "Timeout");
    assert!(read[1]["error"].as_str().expect("an error").contains("50 ms"), "{read}");
}

#[tokio::test]
async fn named_secrets_are_written_listed_and_read_by_plugins_alone() {
    let (mut gateway, receiver) = scene().await;
    let path = "/applications/hooli/secrets";
    gateway.put(&format!("{path}/crm"), json!({ "value": "t-0123456789" })).await;
    gateway.put(&format!("{path}/a.b"), json!({ "value": "old" })).await;
    gateway.put(&format!("{path}/a.b"), json!({ "value": "new" })).await;
    assert_eq!(gateway.get(path).await, json!({ "data": [{ "name": "a.b" }, { "name": "crm" }] }));
    gateway.restart().await;
    let secret = |name: &str| json!({ "use": "secret", "name": name });
    let read = came(&gateway, &receiver, json!([secret("crm"), secret("a.b")])).await;
    assert_eq!(read, json!([{ "ok": "t-0123456789" }, { "ok": "new" }]));
    gateway.good(Method::DELETE, &format!("{path}/crm"), None).await;
    assert_eq!(gateway.call(Method::DELETE, &format!("{path}/crm"), None).await.0, 404);
    assert_eq!(came(&gateway, &receiver, json!([secret("crm")])).await, json!([{ "ok": null }]));
    for (name, value, place) in [
        ("a%20b", json!({ "value": "x" }), "/name"),
        ("a", json!({ "value": "" }), "/value"),
        ("a", json!({ "value": "x".repeat(16_385) }), "/value"),
        ("a", json!({ "text": "x" }), "/text"),
    ] {
        let (status, error) =
            gateway.call(Method::PUT, &format!("{path}/{name}"), Some(&value)).await;
        assert_eq!(
            (status.as_u16(), &error["details"][0]["path"]),
            (422, &json!(place)),
            "{error}"
        );
    }
}

#[tokio::test]
async fn grants_that_cannot_be_are_refused_with_the_place() {
    let (gateway, _receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    for (grants, place) in [
        (json!({ "clocks": true }), "/clocks"),
        (json!({ "keyvalue": { "keys": 0 } }), "/keyvalue/keys"),
        (json!({ "http": {} }), "/http"),
        (json!({ "http": { "hosts": [] } }), "/http/hosts"),
        (json!({ "http": { "hosts": ["a", "http://b"] } }), "/http/hosts/1"),
        (json!({ "http": { "hosts": ["a"], "timeoutMs": 60000 } }), "/http/timeoutMs"),
        (json!([]), ""),
    ] {
        let (status, error) = gateway.call(Method::PUT, GRANTS, Some(&grants)).await;
        assert_eq!(
            (status.as_u16(), &error["details"][0]["path"]),
            (422, &json!(place)),
            "{error}"
        );
    }
    let none = json!({ "secrets": false, "clock": false, "random": false });
    assert_eq!(gateway.get(GRANTS).await, none, "nothing was changed");
}

#[tokio::test]
async fn settings_must_fit_what_the_active_version_says_of_them() {
    let (gateway, receiver) = scene().await;
    let main = "/applications/hooli/plugins/main";
    let patch = async |settings: Value| {
        let body = json!({ "settings": settings });
        gateway.call(Method::PATCH, main, Some(&body)).await
    };
    assert_eq!(patch(json!({ "limit": 5 })).await.0, 200);
    let (status, error) = patch(json!({ "limit": 0 })).await;
    assert_eq!((status.as_u16(), &error["details"][0]["path"]), (422, &json!("/settings/limit")));
    assert_eq!(gateway.get(main).await["settings"], json!({ "limit": 5 }));
    let capable = gateway.get(main).await["active"].clone();

    // Another component says nothing of them; then the first does not fit any more.
    assert_eq!(gateway.upload("hooli", component("scripted")).await.0, 200);
    assert_eq!(patch(json!({ "any": "thing" })).await.0, 200);
    let back = json!({ "digest": capable });
    let activate = format!("{main}/activate");
    let (status, error) = gateway.call(Method::POST, &activate, Some(&back)).await;
    assert_eq!((status.as_u16(), &error["code"]), (422, &json!("invalid")), "{error}");
    let rollback = gateway.call(Method::POST, &format!("{main}/rollback"), None).await;
    assert_eq!(rollback.0.as_u16(), 422);
    assert_eq!(gateway.upload("hooli", component("capable")).await.0.as_u16(), 422);
    assert_ne!(gateway.get(main).await["active"], capable, "nothing was changed");
    assert_eq!(patch(json!({})).await.0, 200);
    assert_eq!(gateway.call(Method::POST, &activate, Some(&back)).await.0, 200);
    receiver.take();
}
