//! Signed uploads: where the gateway has trusted keys, only their components are taken.

use super::{Gateway, Receiver, component};
use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::Method;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key")
}

fn public(pair: &Ed25519KeyPair) -> String {
    BASE64_STANDARD.encode(pair.public_key())
}

fn sign(pair: &Ed25519KeyPair, component: &[u8]) -> String {
    BASE64_STANDARD.encode(pair.sign(&Sha256::digest(component)))
}

async fn upload(gateway: &Gateway, bytes: &[u8], signature: Option<&str>) -> (u16, Value) {
    let mut request = gateway.request(Method::PUT, "/applications/hooli/plugins/main");
    if let Some(signature) = signature {
        request = request.header("octohooks-signature", signature);
    }
    let answer = request.body(bytes.to_vec()).send().await.expect("an answer");
    (answer.status().as_u16(), crate::gateway::rig::json_of(answer).await)
}

#[tokio::test]
async fn only_what_a_trusted_key_has_signed_is_taken() {
    let (one, two, stranger) = (pair(1), pair(2), pair(3));
    let keys = format!("{},{}", public(&one), public(&two));
    let mut gateway = Gateway::start(&[("OCTOHOOKS_PLUGINS__TRUSTED_KEYS", &keys)]).await;
    let receiver = Receiver::start().await;
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let (bytes, other) = (component("sms-status"), component("scripted"));
    for signature in [
        None,
        Some(String::new()),
        Some("nonsense".to_owned()),
        Some(sign(&stranger, &bytes)),
        Some(sign(&one, &other)),
    ] {
        let (status, error) = upload(&gateway, &bytes, signature.as_deref()).await;
        assert_eq!((status, &error["code"]), (403, &json!("untrusted")), "{signature:?}");
    }
    let path = "/applications/hooli/plugins/main";
    assert_eq!(gateway.call(Method::GET, path, None).await.0, 404, "nothing was kept");
    let (status, plugin) = upload(&gateway, &bytes, Some(&sign(&two, &bytes))).await;
    assert_eq!((status, &plugin["versions"][0]["signedBy"]), (200, &json!(public(&two))));
    // Without trusted keys nobody is asked.
    gateway.unset("OCTOHOOKS_PLUGINS__TRUSTED_KEYS");
    gateway.restart().await;
    assert_eq!(gateway.get(path).await, plugin);
    let (status, plugin) = upload(&gateway, &other, None).await;
    assert_eq!((status, &plugin["versions"][1]["signedBy"]), (200, &Value::Null));
}
