//! How much native code plugins may have together.

use super::{Gateway, Method, component};
use serde_json::{Value, json};
use std::fs;

/// What a component becomes, in bytes.
async fn weighed(gateway: &Gateway, name: &str) -> u64 {
    let (status, made) = gateway.upload_as("scales", name, component(name)).await;
    assert_eq!(status, 200, "{made}");
    let version = &made["versions"][0];
    let code = version["codeSize"].as_u64().expect("a number");
    assert!(code > version["size"].as_u64().expect("a number"), "{made}");
    code
}

#[tokio::test]
async fn plugins_that_would_have_too_much_code_together_are_refused_and_others_go_on() {
    let mut gateway = Gateway::start(&[]).await;
    gateway.application("scales", &[]).await;
    let (scripted, sms) =
        (weighed(&gateway, "scripted").await, weighed(&gateway, "sms-status").await);
    gateway.good(Method::DELETE, "/applications/scales", None).await;
    let all = scripted + sms;
    for (name, value) in [
        ("CODE_BYTES", scripted.max(sms).to_string()),
        ("CODE_BYTES_PER_APPLICATION", (all - 1).to_string()),
        ("CODE_BYTES_TOTAL", all.to_string()),
    ] {
        gateway.set(&format!("OCTOHOOKS_PLUGINS__{name}"), &value);
    }
    gateway.restart().await;
    for application in ["hooli", "acme", "initech"] {
        gateway.application(application, &[]).await;
    }
    let upload = async |application: &str, name: &str, guest: &str| {
        gateway.upload_as(application, name, component(guest)).await
    };
    assert_eq!(upload("hooli", "first", "scripted").await.0, 200);
    let too_much = |error: &Value, whose: &str| {
        assert_eq!(error["code"], "too_much_code", "{error}");
        assert!(error["message"].as_str().expect("a text").contains(whose), "{error}");
    };
    let (status, error) = upload("hooli", "second", "sms-status").await;
    assert_eq!(status, 422, "{error}");
    too_much(&error, "plugins.code_bytes_per_application");
    // Kept without being called it takes no memory; it is refused when it would.
    let (status, kept) = upload("hooli", "second?activate=false", "sms-status").await;
    assert_eq!(status, 200, "{kept}");
    let digest = json!({ "digest": kept["versions"][0]["digest"] });
    let activate = "/applications/hooli/plugins/second/activate";
    let (status, error) = gateway.call(Method::POST, activate, Some(&digest)).await;
    assert_eq!(status, 422, "{error}");
    too_much(&error, "plugins.code_bytes_per_application");
    // What others have counts once where it is the same.
    assert_eq!(upload("acme", "first", "scripted").await.0, 200);
    assert_eq!(upload("acme", "first", "sms-status").await.0, 200, "in place of the other");
    let (status, error) = upload("initech", "signer", "signer").await;
    assert_eq!(status, 507, "{error}");
    too_much(&error, "plugins.code_bytes_total");
    // What is called goes on, and what goes makes room.
    let first = "/applications/hooli/plugins/first";
    gateway.good(Method::PATCH, first, Some(&json!({ "settings": {} }))).await;
    gateway.good(Method::DELETE, "/applications/acme/plugins/first", None).await;
    assert_eq!(upload("initech", "signer", "signer").await.0, 200);
    let compiled = fs::read_dir(gateway.path("data/compiled")).expect("a folder");
    let bytes = compiled.map(|entry| entry.expect("one").metadata().expect("there").len());
    assert!(bytes.sum::<u64>() <= all, "the disk has the same bound");
}
