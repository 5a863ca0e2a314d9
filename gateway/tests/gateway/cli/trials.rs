//! `octohooks plugin simulate` and `logs`, against a gateway with two versions of a plugin.

use super::{Gateway, KEY, Shell, rig};
use crate::gateway::rig::component;
use serde_json::{Value, json};
use std::fs;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

fn report(status: &str) -> Value {
    json!({ "messageId": "m", "to": "+46701234567", "status": status })
}

async fn rigged() -> (Gateway, Shell) {
    let gateway = Gateway::start(&[]).await;
    let shell = Shell::of(&gateway, KEY);
    gateway.application("hooli", &[]).await;
    gateway.upload("hooli", component("sms-status")).await;
    let later = gateway.upload_as("hooli", "main?activate=false", component("scripted")).await;
    assert_eq!(later.0, 200, "{}", later.1);
    (gateway, shell)
}

#[tokio::test]
async fn a_simulation_says_what_would_change() {
    let (gateway, shell) = rigged().await;
    let dropped = gateway.message("hooli", report("ENROUTE")).await;
    let failed = gateway.message("hooli", json!({ "messageId": "m" })).await;
    for message in [&dropped, &failed] {
        let state = if message == &dropped { "dropped" } else { "parked" };
        gateway.held("hooli", message, state).await;
    }
    let said = shell.good("plugin simulate main --app hooli").await;
    let line = |id: &str| said.lines().find(|line| line.contains(id)).expect("is told").to_owned();
    let words = line(&dropped);
    let words: Vec<_> = words.split_whitespace().collect();
    assert_eq!(words[1..6], ["drop", "pass", "1", "0", "0"], "{said}");
    assert!(line(&failed).contains("failed"), "{said}");
    assert!(said.contains("different") && said.contains("fuel p50 / p99"), "{said}");
    let found = shell.json("plugin simulate main --app hooli --limit 1").await;
    assert_eq!(
        (&found["totals"]["messages"], &found["messages"][0]["message"]),
        (&json!(1), &json!(failed))
    );
    let iterator = found["iterator"].as_str().expect("there are more");
    let rest = shell.json(&format!("plugin simulate main --app hooli --iterator {iterator}")).await;
    assert_eq!(rest["messages"][0]["message"], json!(dropped));

    let message = json!({ "eventType": "a", "payload": report("DELIVRD") });
    fs::write(shell.path().join("message.json"), message.to_string()).expect("written");
    let settings = json!({ "script": r#"{"do":"panic"}"# });
    fs::write(shell.path().join("settings.json"), settings.to_string()).expect("written");
    let files = "--message message.json --settings settings.json";
    let found = shell.json(&format!("plugin simulate main --app hooli {files}")).await;
    assert_eq!(found["messages"][0]["failure"]["kind"], "trap", "{found}");
    for (arguments, code, said) in [
        ("plugin simulate main --app lost", 3, "no such application"),
        ("plugin simulate other --app hooli", 3, "no such plugin"),
        ("plugin simulate main --app hooli --message none.json", 1, "cannot read none.json"),
        ("plugin simulate main --app hooli --version 00", 4, "/version"),
    ] {
        shell.bad(arguments, code, said).await;
    }
    let both = "plugin simulate main --app hooli --message message.json --limit 1";
    assert_eq!(shell.run(both).await.code, 2);
}

#[tokio::test]
async fn what_a_plugin_writes_is_followed() {
    let (gateway, shell) = rigged().await;
    gateway
        .post("/applications/hooli/plugins/main/activate", {
            let plugin = gateway.get("/applications/hooli/plugins/main").await;
            json!({ "digest": plugin["versions"][1]["digest"] })
        })
        .await;
    let said = shell.run("plugin logs main --app hooli").await;
    assert_eq!((said.code, &*said.stdout, &*said.stderr), (0, "", "no lines\n"));
    let mut command = Command::from(rig::command(shell.path(), &shell.variables));
    command.args(["plugin", "logs", "main", "--app", "hooli", "--follow"]).kill_on_drop(true);
    let mut following = command.stdout(std::process::Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(following.stdout.take().expect("is piped")).lines();
    let mut ids = Vec::new();
    for text in ["one", "two"] {
        let script = json!({ "do": "log", "level": "warn", "lines": [text] });
        ids.push(gateway.message("hooli", script).await);
        let line = timeout(rig::LONG, lines.next_line()).await.expect("comes").expect("is read");
        let line = line.expect("a line");
        assert!(
            line.contains("warn") && line.ends_with(&format!("{}  {text}", ids[ids.len() - 1]))
        );
    }
    drop(following);
    let failed = gateway.message("hooli", json!({ "do": "reject", "reason": "a\u{1b}[2Jb" })).await;
    gateway.held("hooli", &failed, "parked").await;
    let said = shell.good("plugin logs main --app hooli --limit 2").await;
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains("reject: the plugin rejected") && !said.contains('\u{1b}'), "{said}");
    let found = shell.json("plugin logs main --app hooli").await;
    assert_eq!(found["data"].as_array().map(Vec::len), Some(3));
    shell.bad("plugin logs other --app hooli", 3, "no such plugin").await;
}
