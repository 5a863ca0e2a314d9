//! Environments apart from each other, over NATS by prefix and by account, and over HTTP by key.

use super::{Broker, SUBJECT, ask, connected};
use crate::gateway::rig::{Gateway, LONG, json_of};
use async_nats::ConnectOptions;
use futures_util::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::fs;

const STAGING: &str = "staging-key";
/// Two environments, and the same application in both.
const FILE: &str = r#"
environments = [{ name = "staging", api_key = "staging-key" }]
applications = [
    { uid = "hooli", name = "Live" },
    { uid = "hooli", name = "Test", environment = "staging" },
]
"#;
const BODY: &str = r#"{"eventType": "t", "payload": {}}"#;

/// A gateway with that file and one more door, connected to the broker.
async fn with_door(broker: &Broker, door: &str, more: &[(&str, &str)]) -> Gateway {
    let url = broker.url();
    let servers = [("OCTOHOOKS_NATS__SERVERS", &*url)];
    let mut gateway = Gateway::start(&[&servers[..], more].concat()).await;
    let file = format!("{FILE}\n[[ingest.nats.doors]]\nenvironment = \"staging\"\n{door}");
    fs::create_dir(gateway.path("config")).expect("a folder");
    fs::write(gateway.path("config/octohooks.toml"), file).expect("is written");
    gateway.restart().await;
    connected(&gateway, true).await;
    gateway
}

/// A GET with that key.
async fn get(gateway: &Gateway, key: &str, path: &str) -> (StatusCode, Value) {
    let answer = gateway.request_with(key, Method::GET, path).send().await.expect("an answer");
    let status = answer.status();
    let body = if status == 404 { Value::Null } else { json_of(answer).await };
    (status, body)
}

/// The message is in its environment, and nowhere else.
async fn is_only_in(gateway: &Gateway, id: &str, [there, elsewhere]: [&str; 2]) {
    let path = format!("/applications/hooli/messages/{id}");
    assert_eq!(get(gateway, there, &path).await.0, 200, "{id} with {there}");
    assert_eq!(get(gateway, elsewhere, &path).await.0, 404, "{id} with {elsewhere}");
}

fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test]
async fn a_prefix_is_an_environments_door() {
    let Some(broker) = Broker::start() else { return };
    let client = broker.client().await;
    let mut gateway = with_door(&broker, "prefix = \"staging.ingest\"", &[]).await;
    let (_, live) = ask(&client, SUBJECT, &[("Nats-Msg-Id", "1")], BODY).await;
    // The same key in another environment is another message.
    let (_, test) = ask(&client, "staging.ingest.hooli", &[("Nats-Msg-Id", "1")], BODY).await;
    is_only_in(&gateway, &id(&live), ["test-key", STAGING]).await;
    is_only_in(&gateway, &id(&test), [STAGING, "test-key"]).await;
    let names = async |key| {
        let (_, list) = get(&gateway, key, "/applications").await;
        list.as_array().expect("a list").iter().map(|a| a["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (names("test-key").await, names(STAGING).await),
        (vec!["Live".into()], vec!["Test".into()])
    );
    gateway.restart().await;
    is_only_in(&gateway, &id(&test), [STAGING, "test-key"]).await;
}

#[tokio::test]
async fn an_account_is_an_environments_door() {
    let accounts = r#"accounts {
        LIVE { users = [{user: live, password: one}] }
        TEST { users = [{user: test, password: two}] }
    }"#;
    let Some(broker) = Broker::configured(accounts) else { return };
    let as_user = |user: &str, password: &str| {
        ConnectOptions::new().user_and_password(user.into(), password.into())
    };
    let live = broker.client_with(&as_user("live", "one")).await;
    let test = broker.client_with(&as_user("test", "two")).await;
    let own = [
        ("OCTOHOOKS_NATS__USER", "live"),
        ("OCTOHOOKS_NATS__PASSWORD", "one"),
        ("OCTOHOOKS_DELIVERY__NATS__SUBJECTS", "hooks.{environment}"),
    ];
    let door = r#"account = { user = "test", password = "two" }"#;
    let gateway = with_door(&broker, door, &own).await;
    let (_, in_live) = ask(&live, SUBJECT, &[], BODY).await;
    let (_, in_test) = ask(&test, SUBJECT, &[], BODY).await;
    is_only_in(&gateway, &id(&in_live), ["test-key", STAGING]).await;
    is_only_in(&gateway, &id(&in_test), [STAGING, "test-key"]).await;
    // What an environment's endpoints publish goes to its account, on subjects with its name.
    let mut heard = Vec::new();
    for (client, key, environment) in [(&live, "test-key", "default"), (&test, STAGING, "staging")]
    {
        heard.push(client.subscribe("hooks.>").await.expect("subscribes"));
        client.flush().await.expect("is subscribed");
        let mut statuses = Vec::new();
        for name in ["default", "staging"] {
            let endpoint = json!({ "url": format!("nats://hooks.{name}") }).to_string();
            let path = "/applications/hooli/endpoints";
            let made = gateway.request_with(key, Method::POST, path).body(endpoint).send().await;
            statuses.push((name == environment, made.expect("an answer").status() == 200));
        }
        assert!(statuses.iter().all(|(own, made)| own == made), "{environment}: {statuses:?}");
    }
    ask(&live, SUBJECT, &[], r#"{"eventType": "t", "payload": "live"}"#).await;
    ask(&test, SUBJECT, &[], r#"{"eventType": "t", "payload": "test"}"#).await;
    for (heard, expected) in heard.iter_mut().zip([r#""live""#, r#""test""#]) {
        let came =
            tokio::time::timeout(LONG, heard.next()).await.expect("comes").expect("is there");
        assert_eq!(*came.payload, *expected.as_bytes());
    }
    let health: Value = serde_json::from_str(&gateway.text("/health").await).expect("JSON");
    assert_eq!(health["parts"]["nats"]["connections"], json!(2));
}
