//! Real input: every payload of GitHub's own collection through a live gateway, as it is and through `github-router`.
//! `cargo xtask test` fetches the collection and names it in `GITHUB_EXAMPLES`.

use super::{
    receiver::{Received, Receiver},
    rig::{Gateway, component, json_of, until},
};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::{collections::HashMap, env, fs};

#[derive(Deserialize)]
struct Event {
    name: String,
    examples: Vec<Box<RawValue>>,
}

/// The collection: event type and payload, in its own bytes; empty where there is none.
fn examples() -> Vec<(String, String)> {
    let Ok(file) = env::var("GITHUB_EXAMPLES") else {
        println!("left out: GITHUB_EXAMPLES names no file; `cargo xtask test` fetches it");
        return Vec::new();
    };
    let text = fs::read_to_string(file).expect("the collection");
    let events: Vec<Event> = serde_json::from_str(&text).expect("JSON");
    let payloads = events.into_iter().flat_map(|event| {
        let payload = |payload: Box<RawValue>| (event.name.clone(), payload.get().to_owned());
        event.examples.into_iter().map(payload).collect::<Vec<_>>()
    });
    let payloads: Vec<_> = payloads.collect();
    assert!(payloads.len() > 300, "{}", payloads.len());
    payloads
}

/// Sends them all, each with its place as its uid.
async fn send(gateway: &Gateway, examples: &[(String, String)]) -> Vec<String> {
    let mut ids = Vec::new();
    for (index, (event_type, payload)) in examples.iter().enumerate() {
        let body =
            format!(r#"{{"eventType": "{event_type}", "uid": "{index}", "payload": {payload}}}"#);
        let sent = gateway.request(Method::POST, "/applications/hooli/messages").body(body);
        let answer = sent.send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{event_type}");
        let answer = json_of(answer).await;
        ids.push(answer["id"].as_str().expect("an id").to_owned());
    }
    ids
}

#[tokio::test]
async fn every_payload_of_github_arrives_byte_for_byte() {
    let examples = examples();
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok")]).await;
    let ids = send(&gateway, &examples).await;
    let received = receiver.wait_for("/ok", examples.len()).await;
    assert_eq!(received.len(), examples.len());
    let by_id: HashMap<&str, &Received> =
        received.iter().map(|r| (r.header("webhook-id"), r)).collect();
    for (id, (event_type, payload)) in ids.iter().zip(&examples) {
        assert_eq!(by_id[&**id].body, payload, "{event_type}");
    }
}

/// What `github-router`'s README says becomes of a payload.
#[derive(Debug, PartialEq)]
enum Ruled {
    Dropped(String),
    /// The payloads that come out, and whether the channels below are theirs.
    Sent(Vec<Value>, Channels),
}

#[derive(Debug, Default, PartialEq)]
struct Channels {
    repository: bool,
    master: bool,
}

/// The repository and the branch that an endpoint of this test asks for.
const REPOSITORY: &str = "Codertocat/Hello-World";
const BRANCH: &str = "master";

/// The rules, read off the README and not off the plugin.
fn rule(event: &str, payload: &Value) -> Ruled {
    let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str);
    let login = text("/sender/login");
    let is_bot = text("/sender/type") == Some("Bot") || login.is_some_and(|l| l.ends_with("[bot]"));
    if let (true, Some(login)) = (is_bot, login) {
        return Ruled::Dropped(format!("sender {login} is a bot"));
    }
    let commits = payload["commits"].as_array().filter(|_| event == "push");
    if commits.is_some_and(Vec::is_empty) {
        let reference = text("/ref").unwrap_or_default();
        return Ruled::Dropped(format!("push to {reference} without commits"));
    }
    let Some(repository) = text("/repository/full_name") else {
        return Ruled::Sent(vec![payload.clone()], Channels::default());
    };
    let branches = [
        text("/ref").and_then(|r| r.strip_prefix("refs/heads/")),
        text("/ref").filter(|_| text("/ref_type") == Some("branch")),
        text("/pull_request/base/ref"),
        text("/check_suite/head_branch"),
        text("/check_run/check_suite/head_branch"),
        text("/workflow_run/head_branch"),
        text("/workflow_job/head_branch"),
    ];
    let branch = branches.into_iter().flatten().find(|branch| !branch.is_empty());
    let channels =
        Channels { repository: repository == REPOSITORY, master: branch == Some(BRANCH) };
    let Some(commits) = commits else { return Ruled::Sent(vec![payload.clone()], channels) };
    let part = |(index, commit): (usize, &Value)| {
        let mut part = json!({
            "ref": payload["ref"], "branch": branch, "index": index, "total": commits.len(),
            "commit": commit, "pusher": payload["pusher"], "sender": payload["sender"],
            "compare": payload["compare"], "repository": { "full_name": repository },
        });
        for field in ["id", "html_url"] {
            part["repository"][field] = payload["repository"][field].clone();
        }
        part
    };
    Ruled::Sent(commits.iter().enumerate().map(part).collect(), channels)
}

#[tokio::test]
async fn every_payload_of_github_goes_where_the_routers_rules_say() {
    let examples = examples();
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/ok/all")]).await;
    for (path, channel) in [
        ("/ok/repository", format!("repo:{REPOSITORY}")),
        ("/ok/master", format!("branch:{BRANCH}")),
    ] {
        let endpoint = json!({ "url": receiver.url(path), "channels": [channel] });
        gateway.post("/applications/hooli/endpoints", endpoint).await;
    }
    assert_eq!(gateway.upload("hooli", component("github-router")).await.0, 200);
    let ids = send(&gateway, &examples).await;
    until("everything is settled", async || {
        let health: Value = serde_json::from_str(&gateway.text("/health").await).expect("JSON");
        let store = &health["parts"]["store"];
        (store["undispatched"] == 0 && store["unsettled"] == 0).then_some(())
    })
    .await;

    let came = |path: &str, id: &str| {
        let mut parts: Vec<_> = receiver
            .received(path)
            .into_iter()
            .filter(|r| r.header("webhook-id").starts_with(id))
            .collect();
        parts.sort_by_key(|r| r.header("webhook-id").to_owned());
        let parts = parts.iter().map(|r| serde_json::from_slice(&r.body).expect("JSON"));
        parts.collect::<Vec<Value>>()
    };
    let (mut dropped, mut sent) = (0, 0);
    for (id, (event, payload)) in ids.iter().zip(&examples) {
        let ruled = rule(event, &serde_json::from_str(payload).expect("JSON"));
        let message = gateway.get(&format!("/applications/hooli/messages/{id}")).await;
        let (parts, channels) = match ruled {
            Ruled::Dropped(reason) => {
                assert_eq!(
                    (&message["state"], &message["reason"]),
                    (&json!("dropped"), &json!(reason))
                );
                dropped += 1;
                (Vec::new(), Channels::default())
            }
            Ruled::Sent(parts, channels) => {
                assert_eq!(message["state"], "accepted", "{event}: {message}");
                sent += 1;
                (parts, channels)
            }
        };
        let if_so = |is: bool| if is { parts.clone() } else { Vec::new() };
        assert_eq!(came("/ok/all", id), parts, "{event}");
        assert_eq!(came("/ok/repository", id), if_so(channels.repository), "{event}");
        assert_eq!(came("/ok/master", id), if_so(channels.master), "{event}");
    }
    println!("{sent} routed, {dropped} dropped");
    assert!(examples.is_empty() || (dropped > 0 && sent > 300));
}
