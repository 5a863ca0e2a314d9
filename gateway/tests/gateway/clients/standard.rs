//! What the gateway sends verifies with the public libraries, by every secret that signs and no other.

use super::run;
use crate::gateway::{
    receiver::{Received, Receiver},
    rig::Gateway,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::{Value, json};

/// A request for the scripts.
fn request(received: &Received, secrets: &[&str]) -> Value {
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: Value = headers
        .into_iter()
        .map(|name| (name.to_owned(), Value::from(received.header(name))))
        .collect();
    json!({ "body": STANDARD.encode(&received.body), "headers": headers, "secrets": secrets })
}

/// What is sent before, within and after a rotation, as a script sees it: which of the two secrets it verifies by.
async fn by_rotation(script: &str) {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let endpoint = "/applications/hooli/endpoints/e0";
    let rotate = format!("{endpoint}/secrets/rotate");
    let secret = |shown: &Value| shown["secrets"][0].as_str().expect("a secret").to_owned();
    let send = async |count: usize| {
        let text = "Räksmörgås 😀";
        gateway.message("hooli", json!({ "n": count, "text": text })).await;
        receiver.wait_for("/ok", count).await.remove(count - 1)
    };
    let old = secret(&gateway.get(endpoint).await);
    let before = send(1).await;
    let new = secret(&gateway.good(Method::POST, &rotate, None).await);
    let within = send(2).await;
    let again = json!({ "secret": new, "gracePeriod": 0 });
    gateway.post(&rotate, again).await;
    let after = send(3).await;
    let tampered = Received { body: b"{}".to_vec().into(), ..within.clone() };

    let sent = [&before, &within, &after, &tampered];
    let sent: Vec<_> = sent.into_iter().map(|received| request(received, &[&old, &new])).collect();
    let said = run(script, &[], &json!(sent).to_string()).await;
    let verified: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(verified, json!([[true, false], [true, true], [false, true], [false, false]]));
}

#[tokio::test]
async fn npms_library_verifies_by_old_and_new_secret() {
    by_rotation("verify.mjs").await;
}

#[tokio::test]
async fn pypis_library_verifies_by_old_and_new_secret() {
    by_rotation("verify.py").await;
}
