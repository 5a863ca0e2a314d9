//! Transforms without code, as plugins like any other.

use super::{
    receiver::Receiver,
    rig::{Gateway, component},
};
use rusqlite::Connection;
use serde_json::{Value, json};

#[tokio::test]
async fn a_definition_filters_changes_and_gives_headers() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let definition = json!({
        "filter": "@.status == 'DELIVRD' && @.parts > 1",
        "rename": { "/to/msisdn": "phone" },
        "remove": ["/internal"],
        "headers": { "x-country": "{/to/country}", "x-kind": "{eventType}", "x-none": "{/none}" },
    });
    let (status, made) = gateway.upload("hooli", definition.to_string().into_bytes()).await;
    assert_eq!((status.as_u16(), &made["kind"]), (200, &json!("transform")), "{made}");
    let report = |status: &str| {
        let to = json!({ "msisdn": "+46", "country": "SE" });
        json!({ "status": status, "parts": 2, "to": to, "internal": { "route": 7 } })
    };
    let dropped = gateway.message("hooli", report("ENROUTE")).await;
    let dropped = gateway.held("hooli", &dropped, "dropped").await;
    assert_eq!(dropped["reason"], "the filter does not match");
    gateway.message("hooli", report("DELIVRD")).await;
    // It is there after a restart, and beside what has code.
    receiver.wait_for("/ok", 1).await;
    gateway.restart().await;
    gateway.message("hooli", report("DELIVRD")).await;
    for received in receiver.wait_for("/ok", 2).await {
        let payload: Value = serde_json::from_slice(&received.body).expect("JSON");
        let to = json!({ "phone": "+46", "country": "SE" });
        assert_eq!(payload, json!({ "status": "DELIVRD", "parts": 2, "to": to }));
        assert_eq!((received.header("x-country"), received.header("x-kind")), ("SE", "sms.status"));
        assert_eq!(received.header("x-none"), "");
    }
    let (status, next) = gateway.upload("hooli", component("sms-status")).await;
    assert_eq!((status.as_u16(), &next["previous"]), (200, &made["active"]), "{next}");
}

#[tokio::test]
async fn a_definition_that_is_wrong_says_where_and_changes_nothing() {
    let gateway = Gateway::start(&[]).await;
    gateway.application("hooli", &[]).await;
    for (definition, paths) in [
        (json!({ "filter": "$.a", "remove": ["a", "/b"] }), vec!["/filter", "/remove/0"]),
        (json!({ "headers": { "Host": "x" } }), vec!["/headers/Host"]),
        (json!({}), vec![""]),
    ] {
        let (status, error) = gateway.upload("hooli", definition.to_string().into_bytes()).await;
        assert_eq!((status.as_u16(), &error["code"]), (422, &json!("invalid")), "{error}");
        let details = error["details"].as_array().expect("a list");
        let said: Vec<_> = details.iter().map(|d| d["path"].as_str().expect("a path")).collect();
        assert_eq!(said, paths, "{error}");
    }
    let (status, error) = gateway.upload("hooli", b"{ no JSON".to_vec()).await;
    assert_eq!((status.as_u16(), &error["code"]), (422, &json!("invalid")), "{error}");
    let list = gateway.get("/applications/hooli/plugins").await;
    assert_eq!(list["data"], json!([]));
}

#[tokio::test]
async fn a_stored_definition_that_would_be_refused_today_is_not_run_and_the_gateway_starts() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    for application in ["hooli", "acme"] {
        gateway.application(application, &[&receiver.url("/ok")]).await;
        let definition = json!({ "filter": format!("@{}", "[0]".repeat(30)) });
        let (status, made) = gateway.upload(application, definition.to_string().into()).await;
        assert_eq!(status, 200, "{made}");
    }
    gateway.kill();
    let store = Connection::open(gateway.path("data/octohooks.db")).expect("opens");
    let endless = json!({ "filter": format!("@{}", "[0,0]".repeat(30)) }).to_string();
    let changed = store.execute("UPDATE code SET bytes = ?", [endless.into_bytes()]);
    assert_eq!(changed.expect("is written"), 1, "both have the same");
    drop(store);
    gateway.restart().await;
    let deep = (0..32).fold(json!(1), |inner, _| json!([inner]));
    let parked = gateway.message("hooli", deep.clone()).await;
    let parked = gateway.held("hooli", &parked, "parked").await;
    let reason = parked["reason"].as_str().expect("a reason");
    assert!(reason.contains("/filter must be one expression"), "{reason}");
    let (status, _) = gateway.upload("acme", br#"{ "filter": "@[0]" }"#.to_vec()).await;
    assert_eq!(status, 200);
    gateway.message("acme", deep).await;
    receiver.wait_for("/ok", 1).await;
}
