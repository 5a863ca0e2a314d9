//! An endpoint's secrets as their owner meets them: rotated, read, of two kinds, and nowhere in the gateway's files.

use super::{
    receiver::{Received, Receiver},
    rig::{Gateway, until},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::Method;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use std::fs;

const ENDPOINT: &str = "/applications/hooli/endpoints/e0";

async fn sent(gateway: &Gateway, receiver: &Receiver) -> Received {
    let id = gateway.message("hooli", json!({ "id": "1" })).await;
    until("it arrives", async || {
        receiver.received("/ok").into_iter().find(|r| r.header("webhook-id") == id)
    })
    .await
}

/// Which of these secrets the request verifies by.
fn verified(received: &Received, secrets: &[&str]) -> Vec<bool> {
    let by = |secret: &&str| {
        let webhook = standardwebhooks::Webhook::new(secret).expect("a secret");
        webhook.verify(&received.body, &received.headers).is_ok()
    };
    secrets.iter().map(by).collect()
}

fn is_in(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn after_a_rotation_old_and_new_sign_until_the_grace_period_is_over() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let made = gateway.get(ENDPOINT).await;
    let first = made["secrets"][0].as_str().expect("a secret");
    let rotate = format!("{ENDPOINT}/secrets/rotate");

    let rotated = gateway.good(Method::POST, &rotate, None).await;
    let second = rotated["secrets"][0].as_str().expect("a secret");
    assert_eq!(rotated["secrets"], json!([second, first]));
    let list = gateway.get(&format!("{ENDPOINT}/secrets")).await;
    let (expires, updated) = (&list["data"][1]["expires"], &rotated["updated"]);
    let updated = updated.as_u64().expect("milliseconds");
    assert_eq!(list["data"][0], json!({ "secret": second, "expires": null }));
    assert_eq!(*expires, json!(updated + 86_400_000), "a day: {list}");
    assert_eq!(list["publicKeys"], json!([]));
    let received = sent(&gateway, &receiver).await;
    assert_eq!(verified(&received, &[first, second]), [true, true]);
    assert_eq!(received.header("x-signature").matches(",v1=").count(), 2);

    let third = format!("whsec_{}", STANDARD.encode([3; 24]));
    let body = json!({ "secret": third, "gracePeriod": 0 });
    let rotated = gateway.post(&rotate, body).await;
    assert_eq!(rotated["secrets"], json!([third]));
    let received = sent(&gateway, &receiver).await;
    assert_eq!(verified(&received, &[first, second, &third]), [false, false, true]);

    let (status, error) =
        gateway.call(Method::POST, &rotate, Some(&json!({ "gracePeriod": -1 }))).await;
    assert_eq!((status.as_u16(), &error["details"][0]["path"]), (422, &json!("/gracePeriod")));
    let missing = "/applications/hooli/endpoints/nobody/secrets";
    assert_eq!(gateway.call(Method::GET, missing, None).await.0, 404);
}

#[tokio::test]
async fn an_ed25519_key_signs_and_its_public_key_is_there_to_read() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let key = format!("whsk_{}", STANDARD.encode([7; 32]));
    let url = receiver.url("/ok");
    let endpoint = json!({ "url": url, "uid": "e0", "secrets": [key] });
    gateway.put(ENDPOINT, endpoint).await;
    let received = sent(&gateway, &receiver).await;
    assert!(!received.headers.contains_key("x-signature"), "an ed25519 key makes none");
    let list = gateway.get(&format!("{ENDPOINT}/secrets")).await;
    let public = list["publicKeys"][0].as_str().and_then(|text| text.strip_prefix("whpk_"));
    let public = STANDARD.decode(public.expect("a public key")).expect("base64");
    let signature = received.header("webhook-signature").strip_prefix("v1a,").expect("one");
    let signature = STANDARD.decode(signature).expect("base64");
    let (id, time) = (received.header("webhook-id"), received.header("webhook-timestamp"));
    let content = [id.as_bytes(), b".", time.as_bytes(), b".", &received.body].concat();
    let public = UnparsedPublicKey::new(&ED25519, public);
    public.verify(&content, &signature).expect("verifies");

    let own = json!({ "url": url, "uid": "e0", "signatures": "octohooks" });
    let (status, error) = gateway.call(Method::PUT, ENDPOINT, Some(&own)).await;
    assert_eq!((status.as_u16(), &error["details"][0]["path"]), (422, &json!("/signatures")));
}

#[tokio::test]
async fn an_endpoint_gets_the_signatures_it_wants() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    for (scheme, own, standard) in
        [("octohooks", true, false), ("standard", false, true), ("both", true, true)]
    {
        let body = json!({ "url": receiver.url("/ok"), "uid": "e0", "signatures": scheme });
        let shown = gateway.put(ENDPOINT, body).await;
        assert_eq!(shown["signatures"], scheme);
        let received = sent(&gateway, &receiver).await;
        let has = |name: &str| received.headers.contains_key(name);
        assert_eq!((has("x-signature"), has("webhook-signature")), (own, standard), "{scheme}");
        assert!(has("webhook-timestamp"), "{scheme}");
    }
}

#[tokio::test]
async fn no_secret_is_in_the_gateways_files_or_its_log() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.set("OCTOHOOKS_LOG__LEVEL", "trace");
    gateway.restart().await;
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let first = gateway.get(ENDPOINT).await["secrets"][0].clone();
    gateway.good(Method::POST, &format!("{ENDPOINT}/secrets/rotate"), None).await;
    let secrets: Value = gateway.get(ENDPOINT).await["secrets"].clone();
    assert_eq!(secrets[1], first);
    sent(&gateway, &receiver).await;
    for restarted in [false, true] {
        for secret in secrets.as_array().expect("a list") {
            let secret = secret.as_str().expect("a text").trim_start_matches("whsec_");
            for name in ["data/octohooks.db", "data/octohooks.db-wal", "log"] {
                let bytes = fs::read(gateway.path(name)).unwrap_or_default();
                assert!(!is_in(&bytes, secret), "{name}, restarted: {restarted}");
            }
        }
        gateway.restart().await;
    }
    assert_eq!(gateway.get(ENDPOINT).await["secrets"], secrets);
    assert_eq!(gateway.log().matches("a master key was made").count(), 1);
}

#[tokio::test]
async fn a_wrong_master_key_stops_the_start_with_one_clear_line() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let secrets = gateway.get(ENDPOINT).await["secrets"].clone();
    gateway.kill();
    let key = fs::read_to_string(gateway.path("data/master.key")).expect("a file");
    let start = |name: &str, value: &str| {
        let mut command = super::rig::command(&gateway.path(""), &[(name.into(), value.into())]);
        let output = command.arg("serve").output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = start("OCTOHOOKS_DATA__MASTER_KEY", &STANDARD.encode([1; 32]));
    assert_eq!((code, said.trim().lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("the master key is not the one"), "{said}");
    fs::remove_file(gateway.path("data/master.key")).expect("removes");
    let (code, said) = start("OCTOHOOKS_LOG__LEVEL", "error");
    assert_eq!((code, said.trim().lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("master.key") && said.contains("data.master_key"), "{said}");
    gateway.set("OCTOHOOKS_DATA__MASTER_KEY", key.trim());
    gateway.restart().await;
    assert_eq!(gateway.get(ENDPOINT).await["secrets"], secrets);
}
