//! The gateway does what its document says: schemathesis makes calls of it, good ones and bad ones, and compares the answers.
//! `fixtures.py` turns its calls to what is prepared here, so that they do something, and nothing is called but loopback.

use super::{PACKAGES, packages};
use crate::gateway::{
    receiver::Receiver,
    rig::{Gateway, KEY, component as component_of, json_of},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, process::Stdio, time::Duration};
use tokio::process::Command;

const ROOT: &str = "test-root";
/// A bound that only a hang reaches: it takes a quarter of a minute by itself.
const HANG: Duration = Duration::from_secs(600);
/// What is compared. That callers need keys of certain scopes is the tests' of scopes.
const CHECKS: [&str; 7] = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
];
/// How many calls it makes up for each operation, beside the ones that it makes systematically.
const EXAMPLES: &str = "15";

/// An object, made by that request: its id.
async fn made(gateway: &Gateway, key: &str, path: &str, body: Value) -> String {
    let request = gateway.request_with(key, Method::POST, path).body(body.to_string());
    let answer = json_of(request.send().await.expect("an answer")).await;
    answer["id"].as_str().unwrap_or_else(|| panic!("{path}: {answer}")).to_owned()
}

/// What there is to be found, and for some calls to be changed and deleted. By id where a call might change the name.
async fn fixtures(gateway: &Gateway, receiver: &str) -> Value {
    let own = async |path: &str, body| made(gateway, KEY, path, body).await;
    let root = async |path: &str, body| made(gateway, ROOT, path, body).await;
    let app = own("/applications", json!({ "name": "hooli" })).await;
    let other = own("/applications", json!({ "name": "doomed" })).await;
    let versioned = own("/applications", json!({ "name": "versioned" })).await;
    let tried = own("/applications", json!({ "name": "tried" })).await;
    let promoted = own("/applications", json!({ "name": "promoted" })).await;
    let endpoints = format!("/applications/{app}/endpoints");
    let endpoint = own(&endpoints, json!({ "url": receiver })).await;
    let [message, forgotten] =
        [gateway.message(&app, json!({ "n": 1 })).await, gateway.message(&app, json!(2)).await];
    for message in [&message, &forgotten] {
        gateway.settled(&app, message).await;
    }
    let later = json!({ "eventType": "sms.sent", "payload": 1, "delay": 3_600_000 });
    let scheduled = own(&format!("/applications/{app}/messages"), later).await;
    for name in ["token", "doomed"] {
        let path = format!("/applications/{app}/secrets/{name}");
        gateway.put(&path, json!({ "value": "text" })).await;
    }
    let environment = root("/environments", json!({ "name": "other" })).await;
    let keys = format!("/environments/{environment}/keys");
    let component =
        format!("{}/../plugins/prebuilt/github-router.wasm", env!("CARGO_MANIFEST_DIR"));
    let other_component = &component.replace("github-router", "sms-status");
    for app in [&app, &other, &versioned, &tried, &promoted] {
        for file in [other_component, &component] {
            let bytes = fs::read(file).expect("a component");
            assert_eq!(gateway.upload(app, bytes).await.0, 200);
        }
    }
    let classifier = component_of("classifier");
    assert_eq!(gateway.upload_as(&app, "classifier", classifier).await.0, 200);
    let plugin = gateway.get(&format!("/applications/{versioned}/plugins/main")).await;
    for app in [&tried, &promoted] {
        let path = format!("/applications/{app}/plugins/main");
        let trial = json!({ "trial": { "version": plugin["previous"], "mode": "shadow" } });
        gateway.good(Method::PATCH, &path, Some(&trial)).await;
    }
    for name in ["sms.sent", "doomed"] {
        own("/event-types", json!({ "name": name })).await;
    }
    let recover = format!("{endpoints}/{endpoint}/recover");
    // One that is sent again is none for as long as that takes.
    let failing = receiver.replace("/ok", "/status/500");
    let (shown, again) = (dead(gateway, &failing).await, dead(gateway, &failing).await);
    json!({
        "keys": { "caller": KEY, "root": ROOT },
        "receiver": receiver,
        "component": component,
        "bodies": {
            "post /applications/{app}/plugins/{plugin}/ask":
                { "endpoint": endpoint, "answer": { "status": 500, "body": "ok" } },
        },
        "parts": {
            "app": app,
            "endpoint": endpoint,
            "message": message,
            "delivery": endpoint,
            "operation": own(&recover, json!({ "since": 0, "dryRun": true })).await,
            "plugin": "main",
            "digest": plugin["active"],
            "name": "sms.sent",
            "secret": "token",
            "environment": environment,
            "key": root(&keys, json!({ "name": "a", "scope": "admin" })).await,
        },
        "own": {
            "put /applications/{app}/endpoints/{endpoint}":
                { "endpoint": own(&endpoints, json!({ "url": receiver })).await },
            "get /applications/{app}/dead-letters/{message}": { "app": shown.0, "message": shown.1 },
            "post /applications/{app}/dead-letters/{message}/resend": { "app": again.0, "message": again.1 },
            "delete /applications/{app}": { "app": own("/applications", json!({ "name": "gone" })).await },
            "delete /applications/{app}/endpoints/{endpoint}":
                { "endpoint": own(&endpoints, json!({ "url": receiver })).await },
            "delete /applications/{app}/messages/{message}/payload": { "message": forgotten },
            "post /applications/{app}/messages/{message}/cancel": { "message": scheduled },
            "delete /applications/{app}/plugins/{plugin}": { "app": other },
            "post /applications/{app}/plugins/{plugin}/ask": { "plugin": "classifier" },
            "get /applications/{app}/plugins/{plugin}/trial": { "app": tried },
            "post /applications/{app}/plugins/{plugin}/promote": { "app": promoted },
            "delete /applications/{app}/plugins/{plugin}/versions/{digest}":
                { "app": versioned, "digest": plugin["previous"] },
            "delete /applications/{app}/secrets/{secret}": { "secret": "doomed" },
            "delete /event-types/{name}": { "name": "doomed" },
            "delete /environments/{environment}":
                { "environment": root("/environments", json!({ "name": "doomed" })).await },
            "delete /environments/{environment}/keys/{key}":
                { "key": root(&keys, json!({ "name": "b", "scope": "admin" })).await },
        },
    })
}

/// An application with a message that can be sent again and fails always: both by id.
async fn dead(gateway: &Gateway, url: &str) -> (String, String) {
    let app = made(gateway, KEY, "/applications", json!({ "name": "failing" })).await;
    let endpoint = json!({ "url": url });
    made(gateway, KEY, &format!("/applications/{app}/endpoints"), endpoint).await;
    let message = gateway.message(&app, json!({ "n": 3 })).await;
    gateway.settled(&app, &message).await;
    (app, message)
}

/// What schemathesis says, and whether it found nothing wrong.
async fn checked(gateway: &Gateway, fixtures: &Value) -> (bool, String) {
    let python = packages().join("python");
    assert!(python.join("schemathesis").is_dir(), "schemathesis is missing in {PACKAGES}");
    let base = format!("http://{}/api/v1", gateway.address());
    let hooks = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");
    let path = std::env::join_paths([python, hooks.into()]).expect("a path");
    let mut command = Command::new("python3");
    command.args(["-m", "schemathesis.cli", "run"]).arg(format!("{base}/openapi.json"));
    command.args(["--url", &base, "--checks", &CHECKS.join(","), "--max-examples", EXAMPLES]);
    command.args(["--seed", "1", "--workers", "1", "--request-timeout", "60"]);
    command.args(["--suppress-health-check", "all", "--generation-database", "none"]);
    command.args(["--no-color", "--continue-on-failure"]);
    // It keeps things where it runs.
    command.current_dir(gateway.path("")).env("PYTHONPATH", path);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("NO_PROXY", "127.0.0.1");
    command.env("SCHEMATHESIS_HOOKS", "fixtures").env("FIXTURES", fixtures.to_string());
    command.env("ANSWERS", gateway.path("answers"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let running = tokio::time::timeout(HANG, command.output()).await;
    let output = running.expect("schemathesis ends").expect("`python3` runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

/// That no endpoint is anywhere else.
async fn assert_loopback(gateway: &Gateway) {
    let applications = gateway.get("/applications?size=250").await;
    let mut urls = Vec::new();
    for application in applications.as_array().expect("a list") {
        let id = application["id"].as_str().expect("an id");
        let list = gateway.get(&format!("/applications/{id}/endpoints?size=250")).await;
        let endpoints = list["data"].as_array().expect("a list").iter();
        urls.extend(endpoints.map(|endpoint| endpoint["url"].as_str().expect("a URL").to_owned()));
    }
    assert!(urls.len() > 2, "{urls:?}");
    assert!(urls.iter().all(|url| url.starts_with("http://127.0.0.1:")), "{urls:?}");
}

#[tokio::test]
async fn what_is_answered_is_what_the_document_says() {
    let gateway = Gateway::start(&[("OCTOHOOKS_AUTH__ROOT_KEY", ROOT)]).await;
    let receiver = Receiver::start().await;
    let fixtures = fixtures(&gateway, &receiver.url("/ok")).await;
    let (good, said) = checked(&gateway, &fixtures).await;
    assert!(good, "{said}");

    // It is no use to be refused by every call: each has also done what it is for.
    let answers = fs::read_to_string(gateway.path("answers")).expect("answers");
    let done = answers.lines().filter_map(|line| line.rsplit_once(' '));
    let done: BTreeSet<_> = done
        .filter(|(_, status)| status.starts_with('2'))
        .map(|(call, _)| call.to_owned())
        .collect();
    let document = gateway.get("/openapi.json").await;
    let mut left_out = Vec::new();
    for (path, calls) in document["paths"].as_object().expect("paths") {
        let calls = calls.as_object().expect("calls").keys();
        left_out.extend(calls.map(|method| format!("{method} {path}")));
    }
    // It leaves out where the document is, which is a test of its own.
    left_out.retain(|call| !done.contains(call) && call != "get /openapi.json");
    assert!(left_out.is_empty(), "never done: {left_out:?}\n{said}");
    assert_loopback(&gateway).await;
    let log = gateway.log();
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
}
