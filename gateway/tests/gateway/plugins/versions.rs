//! The versions of a plugin: which is called, how it is changed, and what is refused.

use super::{Gateway, Receiver, chain::change, component, report, until};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const MAIN: &str = "/applications/hooli/plugins/main";

/// The component with something in it that changes nothing but its digest.
fn variant(name: &str, number: u8) -> Vec<u8> {
    let mut bytes = component(name);
    // A custom section: its length, the length of its name, its name, its content.
    bytes.extend([0, 3, 1, b'n', number]);
    bytes
}

fn digests(plugin: &Value) -> Vec<Value> {
    let versions = plugin["versions"].as_array().expect("a list");
    versions.iter().map(|version| version["digest"].clone()).collect()
}

#[tokio::test]
async fn a_version_is_activated_rolled_back_and_deleted() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    assert_eq!(gateway.get("/applications/hooli/plugins").await, json!({ "data": [] }));
    let (_, first) = gateway.upload("hooli", component("sms-status")).await;
    let (status, both) =
        gateway.upload_as("hooli", "main?activate=false", component("scripted")).await;
    assert_eq!(status, 200, "{both}");
    let [one, two] = <[Value; 2]>::try_from(digests(&both)).expect("two");
    assert_eq!((&both["active"], &both["previous"]), (&one, &Value::Null));
    assert_eq!(
        (&both["kind"], &both["policy"], &both["place"]),
        (&json!("transform"), &json!("park"), &json!(0))
    );
    assert_eq!(both["versions"][1]["signedBy"], Value::Null);
    let dropped = gateway.message("hooli", report("ENROUTE")).await;
    gateway.held("hooli", &dropped, "dropped").await;

    let active = gateway.post(&format!("{MAIN}/activate"), json!({ "digest": two })).await;
    assert_eq!((&active["active"], &active["previous"]), (&two, &one));
    let passed = gateway.message("hooli", report("ENROUTE")).await;
    gateway.settled("hooli", &passed).await;
    gateway.restart().await;
    assert_eq!(gateway.get(MAIN).await, active);
    let back = gateway.post(&format!("{MAIN}/rollback"), json!({})).await;
    assert_eq!((&back["active"], &back["previous"]), (&one, &two));
    let dropped = gateway.message("hooli", report("ENROUTE")).await;
    gateway.held("hooli", &dropped, "dropped").await;

    let version = |digest: &Value| format!("{MAIN}/versions/{}", digest.as_str().expect("text"));
    let (status, error) = gateway.call(Method::DELETE, &version(&one), None).await;
    assert_eq!((status.as_u16(), &error["code"]), (409, &json!("conflict")), "it is active");
    let left = gateway.good(Method::DELETE, &version(&two), None).await;
    assert_eq!((digests(&left), &left["previous"]), (vec![one], &Value::Null));
    assert_eq!(gateway.call(Method::DELETE, &version(&two), None).await.0, 404);
    let (status, error) = gateway.call(Method::POST, &format!("{MAIN}/rollback"), None).await;
    assert_eq!(status, 409, "{error}");
    assert_eq!(first["created"], left["created"]);
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    for name in ["Main", "2nd", "a_b", "a.b", &"a".repeat(65)] {
        let (status, error) = gateway.upload_as("hooli", name, component("sms-status")).await;
        assert_eq!(
            (status.as_u16(), &error["details"][0]["path"]),
            (422, &json!("name")),
            "{name}: {error}"
        );
    }
    let nowhere = "/applications/hooli/plugins/none";
    for (method, path) in [
        (Method::GET, nowhere.to_owned()),
        (Method::PATCH, nowhere.to_owned()),
        (Method::DELETE, nowhere.to_owned()),
        (Method::POST, format!("{nowhere}/activate")),
        (Method::POST, format!("{nowhere}/rollback")),
        (Method::POST, format!("{nowhere}/release")),
        (Method::DELETE, format!("{nowhere}/versions/{}", "0".repeat(64))),
    ] {
        let body = match method {
            Method::PATCH => json!({}),
            _ => json!({ "digest": "0".repeat(64) }),
        };
        let (status, error) = gateway.call(method.clone(), &path, Some(&body)).await;
        assert_eq!(
            (status.as_u16(), &error["message"]),
            (404, &json!("no such plugin")),
            "{method} {path}"
        );
    }
    let (_, good) = gateway.upload("hooli", component("sms-status")).await;
    let (activate, other) = (format!("{MAIN}/activate"), json!({ "digest": "0".repeat(64) }));
    let settings = |bytes: usize| json!({ "settings": { "a": "x".repeat(bytes) } });
    for (method, path, body, status, at) in [
        (Method::POST, &*activate, other, 422, "/digest"),
        (Method::POST, &activate, json!({ "digest": "abc" }), 422, "/digest"),
        (Method::POST, &activate, json!({}), 422, ""),
        (Method::PATCH, MAIN, settings(65 << 10), 422, "/settings"),
        (Method::PATCH, MAIN, json!({ "settings": [] }), 422, "/settings"),
        (Method::PATCH, MAIN, json!({ "policy": "pray" }), 422, "/policy"),
        (Method::PATCH, MAIN, json!({ "place": -1 }), 422, "/place"),
        (Method::PATCH, MAIN, json!([]), 422, ""),
        (Method::PATCH, MAIN, json!({ "activate": false }), 422, "/activate"),
    ] {
        let (got, error) = gateway.call(method, path, Some(&body)).await;
        assert_eq!((got.as_u16(), &error["details"][0]["path"]), (status, &json!(at)), "{error}");
    }
    assert_eq!(gateway.call(Method::PATCH, MAIN, Some(&settings(200 << 10))).await.0, 413);
    let perhaps = gateway.upload_as("hooli", "main?activate=perhaps", component("scripted")).await;
    assert_eq!(perhaps.0, 422, "{}", perhaps.1);
    let misspelt = gateway.upload_as("hooli", "main?activat=false", component("scripted")).await;
    assert_eq!(misspelt.0, 422, "{}", misspelt.1);
    let path = format!("{MAIN}/versions/none");
    assert_eq!(gateway.call(Method::DELETE, &path, None).await.0, 404);
    assert_eq!(gateway.get(MAIN).await, good);
    let most = change(&gateway, "main", settings((64 << 10) - 8)).await;
    assert_eq!(most["versions"], good["versions"]);
}

#[tokio::test]
async fn so_many_versions_are_kept_and_the_active_one_among_them() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let (_, first) = gateway.upload("hooli", variant("sms-status", 0)).await;
    let active = digests(&first).remove(0);
    let mut last = Value::Null;
    for number in 1..=21 {
        let upload =
            gateway.upload_as("hooli", "main?activate=false", variant("sms-status", number));
        let (status, plugin) = upload.await;
        assert_eq!(status, 200, "{plugin}");
        if number == 19 {
            last = plugin.clone();
        }
        let most = usize::from(number + 1).min(20);
        assert_eq!((digests(&plugin).len(), &plugin["active"]), (most, &active));
    }
    let plugin = gateway.get(MAIN).await;
    assert_eq!((&digests(&plugin)[0], &digests(&plugin)[1]), (&active, &digests(&last)[3]));
}

/// Whatever is activated while they come: each message arrives once, as one version or the other has made it.
#[tokio::test]
async fn a_swap_under_load_loses_nothing_and_runs_each_message_by_one_version() {
    const COUNT: usize = 600;
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    gateway.upload("hooli", component("scripted")).await;
    gateway.upload("hooli", component("sms-status")).await;
    let send = async {
        for _ in 0..COUNT {
            gateway.message("hooli", report("DELIVRD")).await;
        }
    };
    let swap = async {
        for _ in 0..40 {
            gateway.post(&format!("{MAIN}/rollback"), json!({})).await;
        }
    };
    tokio::join!(send, swap);
    until("nothing waits", async || {
        let health: Value = serde_json::from_str(&gateway.text("/health").await).expect("JSON");
        let store = &health["parts"]["store"];
        ["undispatched", "parked"].iter().all(|name| store[name] == 0).then_some(())
    })
    .await;
    receiver.wait_for("/ok", COUNT).await;
    let mut kinds = BTreeMap::new();
    let mut ids = Vec::new();
    for received in receiver.received("/ok") {
        ids.push(received.header("webhook-id").to_owned());
        let body: Value = serde_json::from_slice(&received.body).expect("JSON");
        let by = if body == report("DELIVRD") { "scripted" } else { "sms-status" };
        assert!(by == "scripted" || body["status"] == "delivered", "{body}");
        *kinds.entry(by).or_insert(0) += 1;
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), kinds.values().sum::<usize>()), (COUNT, COUNT), "{kinds:?}");
    assert_eq!(kinds.len(), 2, "both had some: {kinds:?}");
}

#[tokio::test]
async fn of_uploads_at_once_none_is_forgotten() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let upload = async |number| gateway.upload("hooli", variant("scripted", number)).await;
    let all = tokio::join!(upload(1), upload(2), upload(3), upload(4));
    assert!([&all.0, &all.1, &all.2, &all.3].iter().all(|answer| answer.0 == 200), "{all:?}");
    let plugin = gateway.get(MAIN).await;
    let versions = digests(&plugin);
    assert_eq!(versions.len(), 4);
    assert!(versions.contains(&plugin["active"]) && versions.contains(&plugin["previous"]));
    let message = gateway.message("hooli", json!({ "n": 1 })).await;
    gateway.settled("hooli", &message).await;
}

#[tokio::test]
async fn a_change_that_says_nothing_ends_no_quarantine() {
    let few = [("OCTOHOOKS_PLUGINS__QUARANTINE_AFTER", "1")];
    let (gateway, receiver) = (Gateway::start(&few).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    gateway.upload("hooli", component("scripted")).await;
    let message = gateway.message("hooli", json!({ "do": "panic" })).await;
    gateway.held("hooli", &message, "parked").await;
    let is_quarantined = async || gateway.get(MAIN).await["quarantined"].is_string();
    until("it is in quarantine", async || is_quarantined().await.then_some(())).await;
    let (status, same) =
        gateway.upload_as("hooli", "main?activate=false", component("sms-status")).await;
    assert_eq!(status, 200, "{same}");
    change(&gateway, "main", json!({})).await;
    assert!(is_quarantined().await);
    change(&gateway, "main", json!({ "settings": {} })).await;
    until("it is called again, and fails", async || is_quarantined().await.then_some(())).await;
}

#[tokio::test]
async fn what_was_activated_once_is_not_activated_twice_by_a_repetition() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    gateway.upload("hooli", component("scripted")).await;
    let (_, second) = gateway.upload("hooli", component("sms-status")).await;
    for _ in 0..2 {
        let request = gateway.request(Method::POST, &format!("{MAIN}/rollback"));
        let answer = request.header("idempotency-key", "one").send().await.expect("an answer");
        let answer = crate::gateway::rig::json_of(answer).await;
        assert_eq!(answer["active"], second["previous"]);
    }
    assert_eq!(gateway.get(MAIN).await["active"], second["previous"]);
}
