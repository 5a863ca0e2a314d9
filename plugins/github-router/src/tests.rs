//! The rules of the README, as tests.

use super::on_message;
use octohooks_plugin::testing::{Host, message};
use octohooks_plugin::{Dispatch, Failure, Target, Verdict};
use serde_json::{Value, json};

fn call(host: &Host, event_type: &str, payload: &Value) -> Result<Verdict, Failure> {
    host.call(on_message, message(event_type, payload.to_string()))
}

fn routed(channels: &[&str]) -> Dispatch {
    Dispatch::to_channels(channels.iter().copied()).ordering_key("octo/hello")
}

fn in_hello(mut payload: Value) -> Value {
    payload["repository"] =
        json!({ "id": 7, "full_name": "octo/hello", "html_url": "https://h/", "private": true });
    payload
}

fn push(commits: usize) -> Value {
    let commits: Vec<_> = (0..commits).map(|id| json!({ "id": id, "message": "é" })).collect();
    in_hello(json!({
        "ref": "refs/heads/feature/x", "before": "0", "after": "1", "compare": "https://c/",
        "pusher": { "name": "mona" }, "sender": { "login": "mona", "type": "User" },
        "commits": commits
    }))
}

#[test]
fn bots_are_dropped() {
    for sender in [
        json!({ "login": "renovate[bot]", "type": "Bot" }),
        json!({ "login": "renovate[bot]" }),
        json!({ "login": "renovate[bot]", "type": "User" }),
    ] {
        let verdict = call(&Host::new(), "push", &json!({ "sender": sender }));
        assert_eq!(verdict, Ok(Verdict::drop("sender renovate[bot] is a bot")));
    }
    let verdict = call(&Host::new(), "x", &json!({ "sender": { "login": "ci", "type": "Bot" } }));
    assert_eq!(verdict, Ok(Verdict::drop("sender ci is a bot")));
}

#[test]
fn a_push_becomes_one_message_per_commit() {
    for event_type in ["push", "github.push"] {
        let verdict = call(&Host::new(), event_type, &push(2));
        let Ok(Verdict::Send(dispatches)) = verdict else { panic!("{verdict:?}") };
        assert_eq!(dispatches.len(), 2);
        for (index, dispatch) in dispatches.into_iter().enumerate() {
            let bytes = dispatch.payload.clone().expect("a payload");
            let payload: Value = serde_json::from_slice(&bytes).expect("JSON");
            let expected = json!({
                "ref": "refs/heads/feature/x", "branch": "feature/x", "index": index, "total": 2,
                "commit": { "id": index, "message": "é" },
                "repository": { "full_name": "octo/hello", "id": 7, "html_url": "https://h/" },
                "pusher": { "name": "mona" }, "sender": { "login": "mona", "type": "User" },
                "compare": "https://c/"
            });
            assert_eq!(payload, expected);
            let target = routed(&["repo:octo/hello", "branch:feature/x"]);
            assert_eq!(dispatch, target.payload("application/json", bytes));
        }
    }
}

#[test]
fn a_push_without_commits_is_dropped() {
    let verdict = call(&Host::new(), "push", &push(0));
    assert_eq!(verdict, Ok(Verdict::drop("push to refs/heads/feature/x without commits")));
}

#[test]
fn a_payload_that_is_not_split_keeps_its_bytes() {
    let verdict = call(&Host::new(), "issues", &in_hello(json!({ "action": "opened" })));
    assert_eq!(verdict, Ok(routed(&["repo:octo/hello"]).into()));
}

#[test]
fn without_a_repository_a_message_passes() {
    for payload in [json!({}), json!({ "repository": null }), json!({ "repository": { "id": 1 } })]
    {
        assert_eq!(call(&Host::new(), "organization", &payload), Ok(Verdict::Pass));
    }
}

#[test]
fn branches_are_found_where_github_puts_them() {
    let cases = [
        (json!({ "ref": "refs/heads/main" }), Some("main")),
        (json!({ "ref": "refs/tags/v1" }), None),
        (json!({ "ref": "dev", "ref_type": "branch" }), Some("dev")),
        (json!({ "ref": "v1", "ref_type": "tag" }), None),
        (json!({ "pull_request": { "base": { "ref": "main" }, "head": {} } }), Some("main")),
        (json!({ "check_suite": { "head_branch": "dev" } }), Some("dev")),
        (json!({ "check_suite": { "head_branch": null } }), None),
        (json!({ "check_run": { "check_suite": { "head_branch": "dev" } } }), Some("dev")),
        (json!({ "workflow_run": { "head_branch": "dev" } }), Some("dev")),
        (json!({ "workflow_job": { "head_branch": "dev" } }), Some("dev")),
        (json!({ "commits": 3, "ref": 4, "pull_request": "5" }), None),
    ];
    for (payload, branch) in cases {
        let branch = branch.map(|name| format!("branch:{name}"));
        let expected: Vec<_> =
            Some("repo:octo/hello").into_iter().chain(branch.as_deref()).collect();
        let verdict = call(&Host::new(), "any", &in_hello(payload.clone()));
        assert_eq!(verdict, Ok(routed(&expected).into()), "{payload}");
    }
}

#[test]
fn own_and_configured_channels_are_added_once() {
    let host = Host::new().settings(json!({ "channels": {
        "octo/*#main": ["release", "own"], "*": ["all"], "octo/other": ["never"]
    }}));
    let payload = in_hello(json!({ "ref": "refs/heads/main" })).to_string();
    let mut message = message("github.workflow_dispatch", payload);
    message.channels = vec!["own".into()];
    let expected = ["own", "repo:octo/hello", "branch:main", "all", "release"];
    assert_eq!(host.call(on_message, message), Ok(routed(&expected).into()));
}

#[test]
fn what_is_not_an_object_of_json_is_rejected() {
    for payload in ["", "payload=%7B%7D", "[]", "7"] {
        let verdict = Host::new().call(on_message, message("push", payload));
        assert!(matches!(verdict, Err(Failure::Reject(_))), "{payload}: {verdict:?}");
    }
}

/// Every payload of GitHub's own collection, if `GITHUB_EXAMPLES` names its `index.json`: none is
/// refused, none changes but pushes.
#[test]
fn every_known_event_of_github_has_a_verdict() {
    let Ok(path) = std::env::var("GITHUB_EXAMPLES") else { return };
    let text = std::fs::read_to_string(path).expect("a readable file");
    let events: Vec<Value> = serde_json::from_str(&text).expect("a list");
    for event in &events {
        let name = event["name"].as_str().expect("a name");
        for example in event["examples"].as_array().expect("a list") {
            let has_repository = example["repository"]["full_name"].is_string();
            match call(&Host::new(), name, example).expect("a verdict") {
                Verdict::Pass => assert!(!has_repository, "{name}"),
                Verdict::Drop(reason) => {
                    assert!(reason.ends_with("is a bot") || name == "push", "{name}: {reason}");
                }
                Verdict::Send(dispatches) => {
                    let Target::Channels(channels) = &dispatches[0].target else { panic!() };
                    assert!(has_repository && channels[0].starts_with("repo:"), "{name}");
                    assert_eq!(dispatches[0].payload.is_some(), name == "push", "{name}");
                }
            }
        }
    }
}
