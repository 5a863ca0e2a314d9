//! Applications and endpoints over the API.

use super::{
    receiver::Receiver,
    rig::{Gateway, client, json_of},
};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn an_applications_life() {
    let gateway = Gateway::start(&[]).await;
    let made = gateway.post("/applications", json!({ "name": "Hooli", "uid": "hooli" })).await;
    let id = made["id"].as_str().expect("an id").to_owned();
    assert_eq!(made["name"], "Hooli");
    for key in ["hooli", &id] {
        assert_eq!(gateway.get(&format!("/applications/{key}")).await, made);
    }
    let changed = json!({ "name": "Hooli XYZ", "uid": "hooli" });
    let changed = gateway.put("/applications/hooli", changed).await;
    assert_eq!((&changed["name"], &changed["id"]), (&json!("Hooli XYZ"), &json!(id)));

    let taken = json!({ "name": "Another", "uid": "hooli" });
    let (status, error) = gateway.call(Method::POST, "/applications", Some(&taken)).await;
    assert_eq!((status.as_u16(), &error["code"]), (409, &json!("conflict")));
    assert_eq!(error["details"][0]["path"], "/uid");

    gateway.good(Method::DELETE, "/applications/hooli", None).await;
    let (status, body) = gateway.call(Method::GET, "/applications/hooli", None).await;
    assert_eq!((status.as_u16(), body), (404, Value::Null), "clients take any body for the object");
    gateway.post("/applications", json!({ "name": "Hooli", "uid": "hooli" })).await;
}

#[tokio::test]
async fn lists_come_in_pages() {
    let gateway = Gateway::start(&[]).await;
    for n in 0..25 {
        gateway
            .post("/applications", json!({ "name": format!("{n}"), "uid": format!("a{n}") }))
            .await;
    }
    let names = async |query: &str| {
        let list = gateway.get(&format!("/applications{query}")).await;
        let list = list.as_array().expect("a list").clone();
        list.iter().map(|a| a["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    let expected = |from: u8, to: u8| (from..to).map(|n| n.to_string()).collect::<Vec<_>>();
    assert_eq!(names("").await, expected(0, 10));
    assert_eq!(names("?page=3").await, expected(20, 25));
    assert_eq!(names("?page=2&size=20").await, expected(20, 25));
    assert_eq!(names("?page=9").await, expected(0, 0));
    for bad in ["?page=0", "?size=0", "?size=251", "?page=x"] {
        let (status, error) = gateway.call(Method::GET, &format!("/applications{bad}"), None).await;
        assert_eq!((status.as_u16(), &error["code"]), (422, &json!("invalid")), "{bad}");
    }
}

#[tokio::test]
async fn an_endpoints_life() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[]).await;
    let endpoint = json!({
        "url": receiver.url("/ok"), "name": "CRM", "uid": "crm", "eventTypes": ["sms.status"],
        "channels": ["a"], "headers": { "x-one": "1" }, "maxInFlight": 7,
        "rateLimit": { "limit": 100, "per": "minute", "burst": 5 },
    });
    let made = gateway.post("/applications/hooli/endpoints", endpoint.clone()).await;
    for (field, value) in endpoint.as_object().expect("an object") {
        assert_eq!(&made[field], value, "{field}");
    }
    assert_eq!(made["enabled"], true);
    let secret = made["secrets"][0].as_str().expect("a secret");
    assert!(secret.starts_with("whsec_"), "{secret}");
    let id = made["id"].as_str().expect("an id").to_owned();
    gateway.restart().await;
    for key in ["crm", &id] {
        let path = format!("/applications/hooli/endpoints/{key}");
        assert_eq!(gateway.get(&path).await, made, "the same after a kill");
    }
    let list = gateway.get("/applications/hooli/endpoints").await;
    assert_eq!(list, json!({ "data": [made], "meta": { "count": 1 } }));

    let changed = json!({ "url": receiver.url("/ok/2"), "uid": "crm" });
    let changed = gateway.put("/applications/hooli/endpoints/crm", changed).await;
    assert_eq!(changed["secrets"], made["secrets"], "an update does not change the secret");
    assert_eq!(changed["id"], made["id"]);
    let deleted = gateway.good(Method::DELETE, "/applications/hooli/endpoints/crm", None).await;
    assert_eq!(deleted["id"], made["id"]);
    let path = "/applications/hooli/endpoints/crm";
    assert_eq!(gateway.call(Method::GET, path, None).await.0, 404);
}

#[tokio::test]
async fn what_belongs_to_another_application_is_not_there() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("a", &[&receiver.url("/ok")]).await;
    gateway.application("b", &[]).await;
    let message = gateway.message("a", json!({})).await;
    let endpoint = gateway.get("/applications/a/endpoints/e0").await;
    let endpoint = endpoint["id"].as_str().expect("an id");
    for path in [
        format!("/applications/b/messages/{message}"),
        format!("/applications/b/messages/{message}/endpoint-messages"),
        format!("/applications/b/endpoints/{endpoint}"),
        "/applications/b/endpoints/e0".to_owned(),
    ] {
        assert_eq!(gateway.call(Method::GET, &path, None).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn nobody_passes_without_a_key() {
    let gateway = Gateway::start(&[]).await;
    let url = format!("http://{}/api/v1/applications", gateway.address());
    let client = client();
    for (key, status) in [
        (None, 401),
        (Some("wrong"), 401),
        (Some("Bearer wrong"), 401),
        (Some("test-key"), 200),
        (Some("Bearer test-key"), 200),
    ] {
        let mut request = client.get(&url);
        if let Some(key) = key {
            request = request.header("authorization", key);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{key:?}");
        if status == 401 {
            let error = json_of(answer).await;
            assert_eq!(error["code"], "unauthorized");
        }
    }
}

#[tokio::test]
async fn an_application_has_as_many_endpoints_as_the_configuration_says() {
    let mut gateway = Gateway::start(&[("OCTOHOOKS_API__MAX_ENDPOINTS", "2")]).await;
    gateway.application("hooli", &["http://127.0.0.1:2/a", "http://127.0.0.1:2/b"]).await;
    let more = json!({ "url": "http://127.0.0.1:2/c", "uid": "more" });
    let path = "/applications/hooli/endpoints";
    let (status, error) = gateway.call(Method::POST, path, Some(&more)).await;
    assert_eq!((status.as_u16(), &error["code"]), (422, &json!("too_many")), "{error}");
    gateway.put(&format!("{path}/e0"), json!({ "url": "http://127.0.0.1:2/d" })).await;
    gateway.set("OCTOHOOKS_API__MAX_ENDPOINTS", "3");
    gateway.restart().await;
    gateway.post(path, more).await;
}
