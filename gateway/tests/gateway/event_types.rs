//! The catalog of event types, and payloads that are held to a schema.

use super::rig::Gateway;
use reqwest::Method;
use serde_json::{Value, json};

/// A schema of what a status may be.
fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["to"],
        "properties": {
            "to": { "type": "string", "pattern": "^\\+[0-9]+$" },
            "parts": { "type": "array", "items": { "type": "integer" } },
        },
    })
}

#[tokio::test]
async fn an_event_types_life() {
    let mut gateway = Gateway::start(&[]).await;
    let made = gateway.post("/event-types", json!({ "name": "sms.status" })).await;
    for (field, value) in [
        ("name", json!("sms.status")),
        ("description", json!("")),
        ("enforce", json!(false)),
        ("version", Value::Null),
        ("schema", Value::Null),
        ("versions", json!([])),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
    let taken = json!({ "name": "sms.status" });
    assert_eq!(gateway.call(Method::POST, "/event-types", Some(&taken)).await.0, 409);

    let path = "/event-types/sms.status";
    let example = json!({ "to": "+49" });
    let first = json!({ "description": "A status", "schema": schema(), "example": example });
    let first = gateway.put(path, first).await;
    assert_eq!((&first["version"], &first["example"]), (&json!(1), &example));
    let same = gateway.put(path, json!({ "schema": schema(), "enforce": true })).await;
    assert_eq!((&same["version"], &same["enforce"]), (&json!(1), &json!(true)), "the same schema");
    let second = gateway.put(path, json!({ "schema": { "type": "object" } })).await;
    assert_eq!((&second["version"], &second["description"]), (&json!(2), &json!("A status")));
    let versions = second["versions"].as_array().expect("a list");
    let known: Vec<_> = versions.iter().map(|v| (&v["version"], &v["schema"])).collect();
    assert_eq!(known, [(&json!(1), &schema()), (&json!(2), &json!({ "type": "object" }))]);

    gateway.restart().await;
    assert_eq!(gateway.get(path).await, second);
    gateway.post("/event-types", json!({ "name": "a" })).await;
    let list = gateway.get("/event-types").await;
    let names: Vec<_> =
        list["data"].as_array().expect("a list").iter().map(|e| &e["name"]).collect();
    assert_eq!(names, ["a", "sms.status"]);
    gateway.good(Method::DELETE, path, None).await;
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(gateway.call(method, path, None).await.0, 404);
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_event_type_is_named() {
    let gateway = Gateway::start(&[]).await;
    gateway.post("/event-types", json!({ "name": "known" })).await;
    let large = json!({ "description": "x".repeat(70_000) });
    for (method, path, body, wrong) in [
        (Method::POST, "", json!({}), "/name"),
        (Method::POST, "", json!({ "name": "with space" }), "/name"),
        (Method::POST, "", json!({ "name": "a", "enforce": true }), "/enforce"),
        (Method::POST, "", json!({ "name": "a", "schema": 7 }), "/schema"),
        (Method::POST, "", json!({ "name": "a", "schema": { "type": "strin" } }), "/schema/type"),
        (Method::POST, "", json!({ "name": "a", "schema": large }), "/schema"),
        (Method::POST, "", json!({ "name": "a", "example": large }), "/example"),
        (Method::POST, "", json!({ "name": "a", "description": "x".repeat(5000) }), "/description"),
        (Method::PUT, "/known", json!({ "name": "other" }), "/name"),
        (
            Method::PUT,
            "/known",
            json!({ "schema": { "properties": { "a": { "$ref": "https://example.com/s" } } } }),
            "/schema/properties/a/$ref",
        ),
        (
            Method::PUT,
            "/known",
            json!({ "schema": { "items": { "minimum": "1" } } }),
            "/schema/items/minimum",
        ),
    ] {
        let path = format!("/event-types{path}");
        let (status, error) = gateway.call(method, &path, Some(&body)).await;
        assert_eq!((status.as_u16(), &error["code"]), (422, &json!("invalid")), "{error}");
        assert_eq!(error["details"][0]["path"], wrong, "{error}");
    }
    let list = gateway.get("/event-types").await;
    assert_eq!(list["data"].as_array().expect("a list").len(), 1, "nothing is half done");
}

#[tokio::test]
async fn a_payload_is_held_to_an_enforced_schema_and_to_no_other() {
    let mut gateway = Gateway::start(&[]).await;
    gateway.application("hooli", &[]).await;
    let send = async |gateway: &Gateway, event_type: &str, payload: &Value| {
        let body = json!({ "eventType": event_type, "payload": payload });
        gateway.call(Method::POST, "/applications/hooli/messages", Some(&body)).await
    };
    let (good, bad) = (json!({ "to": "+49" }), json!({ "to": "49", "parts": [1, "2", 3.5] }));
    let event_type = json!({ "name": "sms.status", "schema": schema() });
    gateway.post("/event-types", event_type).await;
    assert_eq!(send(&gateway, "sms.status", &bad).await.0, 200, "it is not enforced");
    gateway.put("/event-types/sms.status", json!({ "enforce": true })).await;
    for restart in [false, true] {
        if restart {
            gateway.restart().await;
        }
        let (status, error) = send(&gateway, "sms.status", &bad).await;
        assert_eq!((status.as_u16(), &error["code"]), (422, &json!("schema")), "{error}");
        let details = error["details"].as_array().expect("a list");
        let mut paths: Vec<_> =
            details.iter().map(|d| d["path"].as_str().expect("a path")).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["/payload/parts/1", "/payload/parts/2", "/payload/to"]);
        assert_eq!(send(&gateway, "sms.status", &good).await.0, 200);
        assert_eq!(send(&gateway, "other", &bad).await.0, 200, "another event type");
    }
    let (_, error) = send(&gateway, "sms.status", &json!([])).await;
    assert_eq!(error["details"][0]["path"], "/payload");
    let many = json!({ "to": "+49", "parts": vec!["x"; 100] });
    let (_, error) = send(&gateway, "sms.status", &many).await;
    assert_eq!(error["details"].as_array().expect("a list").len(), 20);
    // A large one is checked elsewhere, to the same end.
    for (last, expected) in [(json!(7), 200), (json!("x"), 422)] {
        let mut parts = vec![json!(1); 100_000];
        parts.push(last);
        let large = json!({ "to": "+49", "parts": parts });
        let (status, answer) = send(&gateway, "sms.status", &large).await;
        assert_eq!(status.as_u16(), expected);
        let place = json!("/payload/parts/100000");
        assert!(expected == 200 || answer["details"][0]["path"] == place, "{answer}");
    }
    // The newest version counts, and what is not listed any more is taken as it comes.
    gateway.put("/event-types/sms.status", json!({ "schema": { "type": "array" } })).await;
    assert_eq!(send(&gateway, "sms.status", &good).await.0, 422);
    gateway.good(Method::DELETE, "/event-types/sms.status", None).await;
    assert_eq!(send(&gateway, "sms.status", &bad).await.0, 200);
}
