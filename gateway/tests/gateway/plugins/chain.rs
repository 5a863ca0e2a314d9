//! Several plugins in a row: each sees what those before it have sent, and what it does not say stays as it was.

use super::{Gateway, Receiver, component};
use crate::gateway::receiver::Received;
use reqwest::Method;
use serde_json::{Value, json};

/// An application with an endpoint, and `scripted` under each of these names with that script in its settings, if any.
pub(super) async fn scripted(gateway: &Gateway, receiver: &Receiver, plugins: &[(&str, Value)]) {
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    for (name, script) in plugins {
        let (status, answer) = gateway.upload_as("hooli", name, component("scripted")).await;
        assert_eq!(status, 200, "{answer}");
        if !script.is_null() {
            change(gateway, name, json!({ "settings": { "script": script.to_string() } })).await;
        }
    }
}

/// Changes a plugin of `hooli`.
pub(super) async fn change(gateway: &Gateway, plugin: &str, change: Value) -> Value {
    let path = format!("/applications/hooli/plugins/{plugin}");
    gateway.good(Method::PATCH, &path, Some(&change)).await
}

fn body(received: &Received) -> Value {
    serde_json::from_slice(&received.body).expect("JSON")
}

#[tokio::test]
async fn each_part_of_a_message_goes_through_the_plugins_that_follow() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let inner = json!([{ "payload": { "part": 1 } }, { "headers": [["x-b", "2"]] }]);
    let script = json!({ "do": "send", "dispatches": [
        { "payload": { "do": "pass" }, "headers": [["x-a", "1"]] },
        { "payload": { "do": "drop", "reason": "not this one" } },
        { "payload": { "do": "send", "dispatches": inner }, "headers": [["x-a", "3"], ["x-b", "1"]] },
    ] });
    scripted(&gateway, &receiver, &[("first", script), ("second", Value::Null)]).await;
    let message = gateway.message("hooli", json!({ "n": 1 })).await;
    gateway.settled("hooli", &message).await;
    let mut received = receiver.wait_for("/ok", 3).await;
    received.sort_by_key(|received| received.header("webhook-id").len());
    received[1..].sort_by_key(|received| received.header("webhook-id").to_owned());
    let ids: Vec<_> = received.iter().map(|received| received.header("webhook-id")).collect();
    assert_eq!(ids, [&*message, &*format!("{message}-1"), &*format!("{message}-2")]);
    assert_eq!((body(&received[0]), received[0].header("x-a")), (json!({ "do": "pass" }), "1"));
    assert_eq!((body(&received[1]), received[1].header("x-b")), (json!({ "part": 1 }), "1"));
    // What the second said nothing of is as the first sent it; of a header that both have, the second's counts.
    assert_eq!(body(&received[2])["do"], "send");
    assert_eq!((received[2].header("x-a"), received[2].header("x-b")), ("3", "2"));
    assert_eq!(received[2].headers.get_all("x-b").iter().count(), 1);
}

#[tokio::test]
async fn a_plugin_is_given_what_the_one_before_has_made_of_the_message() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let script = json!({ "do": "send", "dispatches": [{
        "target": { "channels": ["north"] }, "eventType": "own.type", "contentType": "text/plain",
        "text": r#"{"do":"echo-message"}"#,
    }] });
    scripted(&gateway, &receiver, &[("first", script), ("second", Value::Null)]).await;
    let north = json!({ "url": receiver.url("/ok/north"), "channels": ["north"], "eventTypes": ["own.type"] });
    gateway.post("/applications/hooli/endpoints", north).await;
    let south = json!({ "url": receiver.url("/ok/south"), "channels": ["south"] });
    gateway.post("/applications/hooli/endpoints", south).await;
    let message = gateway.message("hooli", json!({ "n": 1 })).await;
    assert_eq!(gateway.settled("hooli", &message).await.len(), 2, "to all but the south");
    let seen = body(&receiver.received("/ok/north").remove(0));
    assert_eq!(seen["id"], message.as_str());
    assert_eq!(
        (&seen["eventType"], &seen["contentType"]),
        (&json!("own.type"), &json!("text/plain"))
    );
    assert_eq!(seen["channels"], json!(["north"]));
    assert_eq!(seen["payload"], r#"{"do":"echo-message"}"#);
    assert!(receiver.received("/ok/south").is_empty());
}

#[tokio::test]
async fn a_message_whose_parts_are_all_dropped_is_dropped() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let part = |reason: &str| json!({ "payload": { "do": "drop", "reason": reason } });
    let script = json!({ "do": "send", "dispatches": [part("the first"), part("the second")] });
    scripted(&gateway, &receiver, &[("first", script), ("second", Value::Null)]).await;
    let message = gateway.message("hooli", json!({})).await;
    let dropped = gateway.held("hooli", &message, "dropped").await;
    assert_eq!(dropped["reason"], "the first");
    // One that the first drops never gets to the second.
    change(
        &gateway,
        "first",
        json!({ "settings": { "script": r#"{"do":"drop","reason":"at once"}"# } }),
    )
    .await;
    let message = gateway.message("hooli", json!({ "do": "panic" })).await;
    assert_eq!(gateway.held("hooli", &message, "dropped").await["reason"], "at once");
    assert!(receiver.received("/ok").is_empty());
}

#[tokio::test]
async fn plugins_are_called_by_place_and_then_by_name() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let by = |name: &str| {
        let header = json!([[format!("x-{name}"), "1"]]);
        json!({ "do": "send", "dispatches": [{ "payload": { "by": name }, "headers": header }] })
    };
    scripted(&gateway, &receiver, &[("b", by("b")), ("a", by("a")), ("c", by("c"))]).await;
    let mut count = 0;
    let mut last = async |gateway: &Gateway| {
        gateway.message("hooli", json!({})).await;
        count += 1;
        let received = receiver.wait_for("/ok", count).await.remove(count - 1);
        assert!(["x-a", "x-b", "x-c"].iter().all(|name| received.header(name) == "1"));
        body(&received)["by"].as_str().expect("a name").to_owned()
    };
    assert_eq!(last(&gateway).await, "c");
    change(&gateway, "a", json!({ "place": 7 })).await;
    assert_eq!(last(&gateway).await, "a");
    gateway.restart().await;
    assert_eq!(last(&gateway).await, "a");
    let list = gateway.get("/applications/hooli/plugins").await;
    let names = list["data"].as_array().expect("a list").iter().map(|plugin| &plugin["name"]);
    assert!(names.eq(["b", "c", "a"]), "{list}");
}

#[tokio::test]
async fn all_dispatches_of_a_message_together_have_one_limit() {
    let few = [("OCTOHOOKS_PLUGINS__DISPATCHES", "5")];
    let (gateway, receiver) = (Gateway::start(&few).await, Receiver::start().await);
    let twice = json!({ "payload": { "do": "send", "dispatches": [{}, {}] } });
    let script = json!({ "do": "send", "dispatches": [twice, twice, twice] });
    scripted(&gateway, &receiver, &[("first", script), ("second", Value::Null)]).await;
    let message = gateway.message("hooli", json!({})).await;
    let parked = gateway.held("hooli", &message, "parked").await;
    let failure = &parked["failure"];
    assert_eq!((&failure["plugin"], &failure["kind"]), (&json!("second"), &json!("bad-output")));
    let reason = parked["reason"].as_str().expect("a reason");
    assert!(reason.contains("6 dispatches, where at most 5"), "{reason}");
    // The part that has no room goes on as it was given.
    change(&gateway, "second", json!({ "policy": "pass-through" })).await;
    assert_eq!(gateway.settled("hooli", &message).await.len(), 5);
}
