//! Plugins in a live gateway: uploaded, called, parked for, replaced, and survived.

use super::{
    receiver::{Received, Receiver},
    rig::{Gateway, component, until},
};
use reqwest::Method;
use serde_json::{Value, json};

mod chain;
mod code;
mod declared;
mod policies;
mod trust;
mod versions;

/// An SMS provider's report.
fn report(status: &str) -> Value {
    json!({ "messageId": "m-1", "to": "+46701234567", "status": status, "internalRoute": "secret" })
}

#[tokio::test]
async fn a_plugins_life() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let path = "/applications/hooli/plugins/main";
    assert_eq!(gateway.call(Method::GET, path, None).await.0, 404);
    let bytes = component("sms-status");
    let (status, made) = gateway.upload("hooli", bytes.clone()).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(made["versions"][0]["size"], bytes.len());
    assert_eq!(gateway.get(path).await, made);
    gateway.message("hooli", report("DELIVRD")).await;
    receiver.wait_for("/ok", 1).await;
    let settings = json!({ "intermediate": true });
    let configured = gateway.settings("hooli", settings.clone()).await;
    assert_eq!((&configured["settings"], &configured["active"]), (&settings, &made["active"]));
    let second = gateway.message("hooli", report("ENROUTE")).await;
    gateway.settled("hooli", &second).await;
    gateway.restart().await;
    gateway.message("hooli", report("EXPIRED")).await;
    let received = receiver.wait_for("/ok", 3).await;
    let status = |n: usize| {
        let payload: Value = serde_json::from_slice(&received[n].body).expect("JSON");
        assert!(payload.get("internalRoute").is_none());
        payload["status"].clone()
    };
    assert_eq!([status(0), status(1), status(2)], ["delivered", "sent", "expired"]);

    gateway.good(Method::DELETE, path, None).await;
    gateway.message("hooli", report("DELIVRD")).await;
    let last = receiver.wait_for("/ok", 4).await.remove(3);
    assert_eq!(serde_json::from_slice::<Value>(&last.body).expect("JSON"), report("DELIVRD"));
}

#[tokio::test]
async fn a_verdict_is_followed() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok/all")]).await;
    for (uid, channels) in [("alerts", json!(["alerts"])), ("named", json!(["nothing-else"]))] {
        let url = receiver.url(&format!("/ok/{uid}"));
        let endpoint = json!({ "url": url, "uid": uid, "channels": channels });
        gateway.post("/applications/hooli/endpoints", endpoint).await;
    }
    assert_eq!(gateway.upload("hooli", component("scripted")).await.0, 200);
    let dispatches = json!([
        { "target": "subscribed", "payload": { "part": 1 },
          "headers": [["x-part", "1"], ["x-more", "a"], ["x-more", "b"]] },
        { "target": { "channels": ["alerts"] }, "text": "two", "contentType": "text/plain" },
        { "target": { "endpoints": ["named"] }, "payload": { "part": 3 }, "delayMs": 50 },
    ]);
    let message = json!({ "do": "send", "dispatches": dispatches });
    let message = gateway.message("hooli", message).await;
    assert_eq!(gateway.settled("hooli", &message).await.len(), 4);
    let all = receiver.received("/ok/all");
    let mut ids: Vec<_> = all.iter().map(|r| r.header("webhook-id").to_owned()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [message.clone(), format!("{message}-1")], "each part has an id of its own");
    let first = all.iter().find(|r| r.header("x-part") == "1").expect("the first part");
    assert_eq!(first.body, r#"{"part":1}"#);
    assert!(first.headers.get_all("x-more").iter().eq(["a", "b"]), "{:?}", first.headers);
    let alert = receiver.received("/ok/alerts").remove(0);
    assert_eq!((&*alert.body, alert.header("content-type")), (&b"two"[..], "text/plain"));
    let named = receiver.received("/ok/named").remove(0);
    assert_eq!(
        (&*named.body, named.header("webhook-id")),
        (&br#"{"part":3}"#[..], &*format!("{message}-2"))
    );
}

#[tokio::test]
async fn a_dropped_message_says_why() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    gateway.upload("hooli", component("sms-status")).await;
    let message = gateway.message("hooli", report("ENROUTE")).await;
    let dropped = gateway.held("hooli", &message, "dropped").await;
    assert_eq!(dropped["reason"], "ENROUTE is not a final status");
    let list = gateway.get("/applications/hooli/messages?state=dropped").await;
    assert_eq!(list["data"], json!([dropped]));
    assert!(receiver.received("/ok").is_empty());
}

#[tokio::test]
async fn what_a_failing_plugin_parks_goes_out_with_the_next_version() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    gateway.upload("hooli", component("scripted")).await;
    let script = json!({ "script": r#"{"do":"panic","reason":"bad day"}"# });
    gateway.settings("hooli", script).await;
    for n in 0..5 {
        let message = gateway.message("hooli", json!({ "n": n })).await;
        let parked = gateway.held("hooli", &message, "parked").await;
        assert!(parked["reason"].as_str().expect("a reason").contains("unreachable"), "{parked}");
    }
    gateway.restart().await;
    let list = gateway.get("/applications/hooli/messages?state=parked").await;
    assert_eq!(list["data"].as_array().expect("a list").len(), 5);
    let health: Value = serde_json::from_str(&gateway.text("/health").await).expect("JSON");
    assert_eq!(health["parts"]["store"]["parked"], 5);
    gateway.settings("hooli", json!({})).await;
    let mut bodies: Vec<_> =
        receiver.wait_for("/ok", 5).await.iter().map(|r| r.body.clone()).collect();
    bodies.sort_unstable();
    let expected: Vec<_> = (0..5).map(|n| format!("{{\"n\":{n}}}")).collect();
    assert_eq!(bodies, expected);
    until("nothing is parked", async || {
        let list = gateway.get("/applications/hooli/messages?state=parked").await;
        (list["data"] == json!([])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_slow_plugin_is_replaced_and_all_that_waited_goes_out_with_the_next_version() {
    let limits = [
        ("OCTOHOOKS_PLUGINS__CPU_MS", "60000"),
        ("OCTOHOOKS_PLUGINS__TIMEOUT_MS", "60000"),
        ("OCTOHOOKS_PLUGINS__PER_APPLICATION", "1"),
    ];
    let (mut gateway, receiver) = (Gateway::start(&limits).await, Receiver::start().await);
    for (uid, path) in [("slow", "/ok/slow"), ("other", "/ok/other")] {
        gateway.application(uid, &[&receiver.url(path)]).await;
        gateway.upload(uid, component("scripted")).await;
    }
    let script = json!({ "script": r#"{"do":"spin"}"# });
    gateway.settings("slow", script).await;
    // More than may wait for the plugin.
    const COUNT: usize = 1500;
    for n in 0..COUNT {
        gateway.message("slow", json!({ "n": n })).await;
    }
    let other = gateway.message("other", json!({ "n": 0 })).await;
    assert_eq!(gateway.settled("other", &other).await[0]["status"], "success");
    let crowded = gateway.get("/applications/slow/messages?state=crowded&limit=1").await;
    assert!(crowded["data"][0]["reason"].as_str().expect("one").contains("slower"), "{crowded}");

    gateway.set("OCTOHOOKS_PLUGINS__CPU_MS", "100");
    gateway.restart().await;
    gateway.settings("slow", json!({})).await;
    let received = receiver.wait_for("/ok/slow", COUNT).await;
    let mut numbers: Vec<_> = received.iter().map(Received::n).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
    for state in ["crowded", "parked", "retry"] {
        let path = format!("/applications/slow/messages?state={state}");
        until("nothing waits", async || {
            (gateway.get(&path).await["data"] == json!([])).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_plugin_may_ask_to_see_a_message_again() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    gateway.upload("hooli", component("scripted")).await;
    let script = json!({ "script": r#"{"do":"retry","afterMs":3600000,"reason":"later"}"# });
    gateway.settings("hooli", script).await;
    let message = gateway.message("hooli", json!({})).await;
    let held = gateway.held("hooli", &message, "retry").await;
    assert!(held["reason"].as_str().expect("a reason").contains("later"), "{held}");
    assert_eq!(held["failure"]["kind"], "retry");
    let script = json!({ "script": r#"{"do":"retry","afterMs":10,"reason":"soon"}"# });
    gateway.settings("hooli", script).await;
    let soon = gateway.message("hooli", json!({})).await;
    // Again and again, until it has asked too often.
    let parked = gateway.held("hooli", &soon, "parked").await;
    assert!(parked["reason"].as_str().expect("a reason").contains("soon"), "{parked}");
    gateway.restart().await;
    gateway.held("hooli", &message, "retry").await;
}

/// What a guest does that must hurt only its own application, and what is recorded of it.
const HOSTILE: [(&str, &str); 6] = [
    (r#"{"do":"spin"}"#, "CPU"),
    (r#"{"do":"fill-memory"}"#, "memory"),
    (r#"{"do":"send-many","count":10000000}"#, ""),
    (r#"{"do":"recurse"}"#, "stack"),
    (r#"{"do":"big-output","bytes":50000000}"#, ""),
    (r#"{"do":"send","dispatches":[{"target":{"endpoints":["ENDPOINT"]}}]}"#, "endpoint"),
];

#[tokio::test]
async fn a_hostile_plugin_hurts_only_its_own_application() {
    let limits =
        [("OCTOHOOKS_PLUGINS__CPU_MS", "2000"), ("OCTOHOOKS_PLUGINS__TIMEOUT_MS", "60000")];
    let gateway = Gateway::start(&limits).await;
    let receiver = Receiver::start().await;
    for application in ["hostile", "peaceful"] {
        gateway.application(application, &[&receiver.url(&format!("/ok/{application}"))]).await;
        assert_eq!(gateway.upload(application, component("scripted")).await.0, 200);
    }
    let endpoint = gateway.get("/applications/peaceful/endpoints/e0").await;
    let endpoint = endpoint["id"].as_str().expect("an id");
    for (index, (script, why)) in HOSTILE.iter().enumerate() {
        let script = script.replace("ENDPOINT", endpoint);
        let payload = serde_json::from_str(&script).expect("JSON");
        let message = gateway.message("hostile", payload).await;
        let parked = gateway.held("hostile", &message, "parked").await;
        let reason = parked["reason"].as_str().expect("a reason");
        assert!(!reason.is_empty() && reason.contains(why), "{script}: {reason}");
        // The next good message of either goes through.
        for application in ["hostile", "peaceful"] {
            gateway.message(application, json!({ "n": index })).await;
            receiver.wait_for(&format!("/ok/{application}"), index + 1).await;
        }
    }
    assert_eq!(receiver.received("/ok/peaceful").len(), HOSTILE.len());
}

#[tokio::test]
async fn what_is_no_plugin_is_refused_and_changes_nothing() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let (_, good) = gateway.upload("hooli", component("sms-status")).await;
    let guest = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/test-guests");
        wat::parse_file(format!("{folder}/{name}.wat")).expect("WebAssembly")
    };
    let compiled = b"\x7fELF\x02\x01\x01".to_vec();
    for (bytes, why) in [
        (b"not a component".to_vec(), ""),
        (Vec::new(), ""),
        (guest("core-module"), "core module"),
        (compiled, "compiled"),
        (guest("no-export"), "exports nothing"),
        (guest("imports-ungranted"), "wasi:http/outgoing-handler"),
        (component("sms-status")[..60_000].to_vec(), ""),
    ] {
        let (status, error) = gateway.upload("hooli", bytes).await;
        assert_eq!(
            (status.as_u16(), &error["code"]),
            (422, &json!("invalid_component")),
            "{error}"
        );
        let message = error["message"].as_str().expect("a text");
        assert!(!message.is_empty() && message.contains(why), "{why}: {message}");
    }
    assert_eq!(gateway.get("/applications/hooli/plugins/main").await, good);
    gateway.message("hooli", report("DELIVRD")).await;
    receiver.wait_for("/ok", 1).await;
}
