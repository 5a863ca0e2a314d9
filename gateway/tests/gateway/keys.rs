//! Environments, keys and tokens: who may do what, and what is left of a key.

use super::rig::{Gateway, until};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

/// The root key in tests.
const ROOT: &str = "test-root";

async fn gateway() -> Gateway {
    Gateway::start(&[("OCTOHOOKS_AUTH__ROOT_KEY", ROOT)]).await
}

/// A call with that key: status and body.
async fn call(
    gateway: &Gateway,
    key: &str,
    method: Method,
    path: &str,
    body: Value,
) -> (StatusCode, Value) {
    let mut request = gateway.request_with(key, method, path);
    if !body.is_null() {
        request = request.body(body.to_string());
    }
    let answer = request.send().await.expect("an answer");
    let (status, bytes) = (answer.status(), answer.bytes().await.expect("a body"));
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

/// A call with the root key that must succeed.
async fn root(gateway: &Gateway, method: Method, path: &str, body: Value) -> Value {
    let (status, answer) = call(gateway, ROOT, method, path, body).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// A new key: its id and its text.
async fn make(gateway: &Gateway, environment: &str, mut draft: Value) -> (String, String) {
    draft["name"] = json!("a key");
    let path = format!("/environments/{environment}/keys");
    let made = root(gateway, Method::POST, &path, draft).await;
    let text = |field: &str| made[field].as_str().expect(field).to_owned();
    (text("id"), text("key"))
}

/// The status of a list of applications with that key.
async fn opens(gateway: &Gateway, key: &str) -> u16 {
    call(gateway, key, Method::GET, "/applications", Value::Null).await.0.as_u16()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time");
    u64::try_from(since.as_millis()).expect("small")
}

#[tokio::test]
async fn a_keys_life() {
    let mut gateway = gateway().await;
    gateway.application("hooli", &[]).await;
    let path = "/environments/default/keys";
    let draft = json!({ "name": "CRM", "scope": "application", "application": "hooli" });
    let made = root(&gateway, Method::POST, path, draft).await;
    let key = made["key"].as_str().expect("a key").to_owned();
    let prefix = made["prefix"].as_str().expect("a prefix");
    assert!(key.starts_with("key_") && key.len() == 68, "{key}");
    assert!(key.starts_with(prefix.trim_end_matches('…')) && prefix.len() < 16, "{prefix}");
    let hooli = gateway.get("/applications/hooli").await;
    for (field, value) in [
        ("name", json!("CRM")),
        ("scope", json!("application")),
        ("application", hooli["id"].clone()),
        ("expires", Value::Null),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
    let own = "/applications/hooli/endpoints";
    assert_eq!(call(&gateway, &key, Method::GET, own, Value::Null).await.0, 200);

    gateway.restart().await;
    assert_eq!(call(&gateway, &key, Method::GET, own, Value::Null).await.0, 200, "it survives");
    let id = made["id"].as_str().expect("an id");
    let one = format!("{path}/{id}");
    let mut shown = made.clone();
    shown.as_object_mut().expect("an object").remove("key");
    assert_eq!(root(&gateway, Method::GET, &one, Value::Null).await, shown);
    assert_eq!(root(&gateway, Method::GET, path, Value::Null).await, json!({ "data": [shown] }));
    for file in ["octohooks.db", "octohooks.db-wal"] {
        let stored = fs::read(gateway.path("data").join(file)).expect("a file");
        for text in [&key[..], &key[4..]] {
            let there = stored.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!there, "only its hash is kept, in {file}");
        }
    }
    assert!(!gateway.log().contains(&key[4..]), "nor is it in the log");

    assert_eq!(root(&gateway, Method::DELETE, &one, Value::Null).await, shown);
    assert_eq!(call(&gateway, &key, Method::GET, own, Value::Null).await.0, 401);
    assert_eq!(call(&gateway, ROOT, Method::DELETE, &one, Value::Null).await.0, 404);
}

#[tokio::test]
async fn rotation_blocks_the_old_key() {
    let mut gateway = gateway().await;
    let (id, first) = make(&gateway, "default", json!({ "scope": "environment" })).await;
    let path = format!("/environments/default/keys/{id}/rotate");
    let rotate = async |gateway: &Gateway, body: Value| {
        let new = root(gateway, Method::POST, &path, body).await;
        assert_eq!((&new["id"], &new["scope"]), (&json!(id), &json!("environment")));
        new["key"].as_str().expect("a key").to_owned()
    };
    let second = rotate(&gateway, Value::Null).await;
    assert_eq!((opens(&gateway, &first).await, opens(&gateway, &second).await), (401, 200));
    gateway.restart().await;
    assert_eq!((opens(&gateway, &first).await, opens(&gateway, &second).await), (401, 200));
    // With a grace period both are good, but none from before.
    let third = rotate(&gateway, json!({ "gracePeriod": 600_000 })).await;
    gateway.restart().await;
    assert_eq!((opens(&gateway, &second).await, opens(&gateway, &third).await), (200, 200));
    let fourth = rotate(&gateway, json!({ "gracePeriod": 300 })).await;
    assert_eq!((opens(&gateway, &second).await, opens(&gateway, &fourth).await), (401, 200));
    until("the grace period ends", async || (opens(&gateway, &third).await == 401).then_some(()))
        .await;
    assert_eq!(opens(&gateway, &fourth).await, 200);
}

#[tokio::test]
async fn an_expired_key_opens_nothing() {
    let gateway = gateway().await;
    let soon = now() + 300;
    let draft = json!({ "scope": "environment", "expires": soon });
    let (id, key) = make(&gateway, "default", draft).await;
    let error = until("the key expires", async || {
        let (status, error) = call(&gateway, &key, Method::GET, "/applications", Value::Null).await;
        (status == 401).then_some(error)
    })
    .await;
    assert_eq!(error["message"], "the key has expired");
    assert!(now() >= soon, "not before its time");
    let path = format!("/environments/default/keys/{id}");
    assert_eq!(root(&gateway, Method::GET, &path, Value::Null).await["expires"], soon);
    let rotate = format!("{path}/rotate");
    assert_eq!(call(&gateway, ROOT, Method::POST, &rotate, Value::Null).await.0, 409);
}

#[tokio::test]
async fn what_is_wrong_with_a_key_is_named() {
    let gateway = gateway().await;
    gateway.application("hooli", &[]).await;
    for (body, path) in [
        (json!({ "scope": "publish" }), "/name"),
        (json!({ "name": "", "scope": "publish" }), "/name"),
        (json!({ "name": "x".repeat(257), "scope": "publish" }), "/name"),
        (json!({ "name": "a" }), "/scope"),
        (json!({ "name": "a", "scope": "root" }), "/scope"),
        (json!({ "name": "a", "scope": "application" }), "/application"),
        (json!({ "name": "a", "scope": "application", "application": "none" }), "/application"),
        (json!({ "name": "a", "scope": "admin", "application": "hooli" }), "/application"),
        (json!({ "name": "a", "scope": "admin", "expires": 1 }), "/expires"),
        (json!({ "name": "a", "scope": "admin", "expires": "soon" }), "/expires"),
    ] {
        let keys = "/environments/default/keys";
        let (status, error) = call(&gateway, ROOT, Method::POST, keys, body.clone()).await;
        assert_eq!((status.as_u16(), &error["code"]), (422, &json!("invalid")), "{body}: {error}");
        assert_eq!(error["details"][0]["path"], path, "{body}: {error}");
    }
    let tokens = "/applications/hooli/tokens";
    for seconds in [json!(0), json!(604_801), json!(-1), json!("1")] {
        let body = json!({ "expiresIn": seconds });
        let (status, error) = gateway.call(Method::POST, tokens, Some(&body)).await;
        assert_eq!((status.as_u16(), &error["details"][0]["path"]), (422, &json!("/expiresIn")));
    }
}

#[tokio::test]
async fn a_token_is_a_short_lived_key_of_one_application() {
    let gateway = gateway().await;
    gateway.application("hooli", &[]).await;
    gateway.application("other", &[]).await;
    let path = "/applications/hooli/tokens";
    for (body, seconds) in [
        (None, 3600),
        (Some(json!({ "expiresIn": null })), 3600),
        (Some(json!({ "expiresIn": 60 })), 60),
        (Some(json!({ "expiresIn": 604_800 })), 604_800),
    ] {
        let (before, made) = (now(), gateway.good(Method::POST, path, body.as_ref()).await);
        let expires = made["expires"].as_u64().expect("a time");
        assert!((before..=now()).contains(&(expires - seconds * 1000)), "{made}");
        let key = made["key"].as_str().expect("a key");
        for (path, status) in [
            ("/applications/hooli/endpoints", 200),
            ("/applications/other/endpoints", 404),
            ("/applications", 403),
            (path, 405),
        ] {
            let (got, error) = call(&gateway, key, Method::GET, path, Value::Null).await;
            assert_eq!(got, status, "{path}: {error}");
        }
    }
    let token = gateway.post(path, json!({})).await;
    let token = token["key"].as_str().expect("a key");
    gateway.good(Method::DELETE, "/applications/hooli", None).await;
    let (status, _) = call(&gateway, token, Method::GET, "/applications/hooli", Value::Null).await;
    assert_eq!(status, 401, "it goes with its application");
}

#[tokio::test]
async fn an_environments_life() {
    let mut gateway = gateway().await;
    let named = |name: &str| json!({ "name": name });
    let made = root(&gateway, Method::POST, "/environments", named("staging")).await;
    let taken = call(&gateway, ROOT, Method::POST, "/environments", named("staging")).await;
    assert_eq!((taken.0.as_u16(), &taken.1["details"][0]["path"]), (409, &json!("/name")));
    for bad in [json!({}), named("Staging"), json!({ "name": 7 })] {
        let (status, error) = call(&gateway, ROOT, Method::POST, "/environments", bad).await;
        assert_eq!((status.as_u16(), &error["details"][0]["path"]), (422, &json!("/name")));
    }
    let (_, key) = make(&gateway, "staging", json!({ "scope": "admin" })).await;
    let hooli = json!({ "uid": "hooli" });
    assert_eq!(call(&gateway, &key, Method::POST, "/applications", hooli).await.0, 200);
    assert_eq!(gateway.call(Method::GET, "/applications/hooli", None).await.0, 404, "elsewhere");

    let changed = root(&gateway, Method::PUT, "/environments/staging", named("test")).await;
    assert_eq!((&changed["id"], &changed["name"]), (&made["id"], &json!("test")));
    gateway.restart().await;
    let list = root(&gateway, Method::GET, "/environments", Value::Null).await;
    let names: Vec<_> =
        list["data"].as_array().expect("a list").iter().map(|e| &e["name"]).collect();
    assert_eq!(names, ["default", "test"]);
    let by_id = format!("/environments/{}", made["id"].as_str().expect("an id"));
    for path in ["/environments/test", &by_id] {
        assert_eq!(call(&gateway, &key, Method::GET, path, Value::Null).await.1, changed);
    }
    assert_eq!(opens(&gateway, &key).await, 200, "its keys are the same");

    let delete = async |gateway: &Gateway, path: &str| {
        call(gateway, ROOT, Method::DELETE, path, Value::Null).await.0.as_u16()
    };
    assert_eq!(delete(&gateway, "/environments/test").await, 409, "it has an application");
    let gone = call(&gateway, &key, Method::DELETE, "/applications/hooli", Value::Null).await;
    assert_eq!(gone.0, 200);
    assert_eq!(delete(&gateway, "/environments/test").await, 200);
    assert_eq!(opens(&gateway, &key).await, 401, "its keys went with it");
    assert_eq!(delete(&gateway, "/environments/test").await, 404);
    gateway.restart().await;
    assert_eq!((opens(&gateway, &key).await, delete(&gateway, &by_id).await), (401, 404));
    let again = root(&gateway, Method::POST, "/environments", named("test")).await;
    assert_ne!(again["id"], made["id"], "what is left of one is not another's");
}

#[tokio::test]
async fn what_the_configuration_declares_is_its_own_to_change() {
    let mut gateway = gateway().await;
    fs::create_dir(gateway.path("config")).expect("a folder");
    let file = "environments = [{ name = \"staging\", api_key = \"staging-key\" }]";
    fs::write(gateway.path("config/octohooks.toml"), file).expect("is written");
    gateway.restart().await;
    for environment in ["default", "staging"] {
        let path = format!("/environments/{environment}");
        for (method, body) in
            [(Method::DELETE, Value::Null), (Method::PUT, json!({ "name": "other" }))]
        {
            let (status, error) = call(&gateway, ROOT, method, &path, body).await;
            assert_eq!(status, 409, "{path}: {error}");
        }
    }
    assert_eq!(opens(&gateway, "staging-key").await, 200);
}

#[tokio::test]
async fn without_a_root_key_nobody_is_root() {
    let gateway = Gateway::start(&[]).await;
    for key in ["", ROOT, "Bearer"] {
        let (status, _) = call(&gateway, key, Method::GET, "/environments", Value::Null).await;
        assert_eq!(status, 401, "{key:?}");
    }
}
