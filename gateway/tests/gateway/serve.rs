//! `octohooks serve` for operators: configuration, keys, health, metrics, declared applications, a stop.

use super::{
    receiver::Receiver,
    rig::{Gateway, client, command, component, directory, until},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;

/// The end of `serve` with that file and environment: exit code and what it said.
fn refused(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> (Option<i32>, String) {
    let directory = directory();
    fs::create_dir(directory.path().join("config")).expect("a folder");
    fs::write(directory.path().join("config/octohooks.toml"), file).expect("writes");
    let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let environment: Vec<_> = environment.iter().map(text).collect();
    let output = command(directory.path(), &environment).arg("serve").args(flags).output();
    let output = output.expect("runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_configuration_that_cannot_be_used_stops_the_start_with_one_clear_line() {
    for (file, environment, flags, expected) in [
        (
            "[server]\nlissten = \"x\"",
            &[][..],
            &[][..],
            &["octohooks.toml", "lissten", "listen"][..],
        ),
        ("[server]\nlisten = 7", &[], &[], &["octohooks.toml", "server.listen"]),
        ("[sever]\n", &[], &[], &["sever", "server"]),
        ("[server", &[], &[], &["octohooks.toml"]),
        ("", &[("OCTOHOOKS_SERVER__LISTEN", "nowhere")], &[], &["OCTOHOOKS_SERVER__LISTEN"]),
        ("", &[("OCTOHOOKS_GUARD__ALLOW", "10.0.0.0/99")], &[], &["10.0.0.0/99", "10.0.0.0/8"]),
        ("", &[("OCTOHOOKS_SERVERR__LISTEN", "x")], &[], &["OCTOHOOKS_SERVERR", "server"]),
        ("", &[], &["--listen", "here"], &["server.listen", "address"]),
        ("", &[("OCTOHOOKS_PLUGINS__CONCURRENCY", "0")], &[], &["concurrency", "1"]),
        ("", &[("OCTOHOOKS_DATA__MASTER_KEY", "007")], &[], &["data.master_key", "32 bytes"]),
        ("[delivery.retry]\njitter = 2.0", &[], &[], &["jitter", "0.9"]),
        ("", &[("OCTOHOOKS_AUTH__API_KEY", "")], &[], &["auth.api_key", "empty"]),
        (
            "[[ingest.nats.sources]]\nstream = \"S\"\ndurable = \"d\"\napplication = \"a\"\ndead_letter = \"x\"",
            &[],
            &[],
            &["ingest.nats", "nats.servers"],
        ),
    ] {
        let (code, said) = refused(file, environment, flags);
        assert_eq!(code, Some(64), "{file:?} {environment:?}: {said}");
        assert_eq!(said.trim().lines().count(), 1, "{said}");
        for word in expected {
            assert!(said.contains(word), "{file:?} {environment:?}: `{word}` is not in: {said}");
        }
    }
}

#[test]
fn limits_that_leave_no_room_to_begin_stop_the_start_with_a_line() {
    for (limit, code, expected) in [
        ("ulimit -n 200", 64, "at once (`ulimit -n`): it needs 256"),
        // A file that may not grow is no signal that ends the process.
        ("ulimit -f 50", 1, "the store: "),
    ] {
        let directory = directory();
        let gateway = command(directory.path(), &[]);
        let mut shell = std::process::Command::new("sh");
        shell.arg("-c").arg(format!("{limit}; exec \"$0\" serve")).arg(gateway.get_program());
        let given = gateway.get_envs().filter_map(|(name, value)| Some((name, value?)));
        shell.envs(given).current_dir(directory.path());
        let output = shell.output().expect("runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{limit}: {said} {}", output.status);
        assert!(said.contains(expected), "{limit}: {said}");
    }
}

#[tokio::test]
async fn a_key_is_text_and_what_kubernetes_sets_is_not_ours() {
    let set = [("OCTOHOOKS_AUTH__API_KEY", "007"), ("OCTOHOOKS_SERVICE_HOST", "10.0.0.1")];
    let gateway = Gateway::start(&set).await;
    let url = format!("http://{}/api/v1/applications", gateway.address());
    for (key, expected) in [("007", 200), ("7", 401), ("", 401)] {
        let answer = client().get(&url).header("authorization", key).send().await;
        assert_eq!(answer.expect("an answer").status(), expected, "{key:?}");
    }
}

#[tokio::test]
async fn a_key_is_made_at_the_first_start_and_printed_once() {
    let mut gateway = Gateway::start(&[]).await;
    gateway.signal("TERM");
    gateway.ended().await;
    // The same without the fixed key, in a directory of its own.
    gateway.set("OCTOHOOKS_DATA__DIR", "fresh");
    gateway.unset("OCTOHOOKS_AUTH__API_KEY");
    gateway.restart().await;
    let printed = |log: &str| log.lines().filter(|l| l.contains("shown only now")).count();
    assert_eq!(printed(&gateway.log()), 1);
    gateway.restart().await;
    let log = gateway.log();
    assert_eq!(printed(&log), 1, "not again");
    let line = log.lines().find(|l| l.contains("shown only now")).expect("a line");
    let key = line.rsplit(' ').next().expect("a key");
    let url = format!("http://{}/api/v1/applications", gateway.address());
    let client = client();
    let answer = client.get(&url).header("authorization", key).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let path = "/environments/default/keys";
    let answer = gateway.request_with(key, Method::GET, path).send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "its scope is `admin`");
    let stored = fs::read(gateway.path("fresh/octohooks.db")).expect("a file");
    let is_there = stored.windows(key.len()).any(|window| window == key.as_bytes());
    assert!(!is_there, "only its hash is kept");
}

#[tokio::test]
async fn health_and_metrics_follow_the_path() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/flaky/1")]).await;
    gateway.upload("hooli", component("scripted")).await;
    let message = gateway.message("hooli", json!({})).await;
    gateway.settled("hooli", &message).await;
    let health: Value = serde_json::from_str(&gateway.text("/health").await).expect("JSON");
    assert_eq!(health["status"], "ready");
    for part in ["store", "plugins", "delivery"] {
        assert!(health["parts"][part].is_object(), "{health}");
    }
    let metrics = gateway.text("/metrics").await;
    for line in [
        "octohooks_messages_accepted_total{door=\"http\"} 1",
        "octohooks_accept_seconds_count{door=\"http\"} 1",
        "octohooks_messages_dispatched_total 1",
        "octohooks_dispatch_seconds_count 1",
        "octohooks_plugin_calls_total{outcome=\"pass\"} 1",
        "octohooks_plugin_call_seconds_count 1",
        "octohooks_attempts_total{outcome=\"delivered\"} 1",
        "octohooks_attempts_total{outcome=\"failed\"} 1",
        "octohooks_attempt_seconds_count 2",
        "octohooks_attempt_failures_total{class=\"status\"} 1",
        "octohooks_queue_depth{queue=\"undispatched\"} 0",
        "octohooks_store_commits_total",
        "octohooks_store_commit_operations_count",
    ] {
        assert!(metrics.contains(line), "no `{line}` in:\n{metrics}");
    }
    let log = gateway.log();
    let failures: Vec<_> = log.lines().filter(|l| l.contains("an attempt failed")).collect();
    assert_eq!(failures.len(), 1, "a failure is logged once:\n{log}");
    assert!(failures[0].contains(&message), "with the message's id: {}", failures[0]);
    assert!(!metrics.contains("invariant_breaches"), "{metrics}");
}

#[tokio::test]
async fn declared_applications_are_reconciled_at_start_and_on_hangup() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let file = gateway.path("config/octohooks.toml");
    fs::create_dir(gateway.path("config")).expect("a folder");
    fs::write(gateway.path("sms.wasm"), component("sms-status")).expect("writes");
    let declare = |path: &str| {
        let url = receiver.url(path);
        format!(
            "[[applications]]\nuid = \"hooli\"\nname = \"Hooli\"\n\
             [[applications.plugins]]\nname = \"main\"\npath = \"{}\"\n\
             [[applications.endpoints]]\nuid = \"crm\"\nurl = \"{url}\"\n",
            gateway.path("sms.wasm").display()
        )
    };
    fs::write(&file, declare("/ok/one")).expect("writes");
    let second = declare("/ok/two");
    gateway.restart().await;
    let report = json!({ "messageId": "m", "to": "+46", "status": "DELIVRD" });
    gateway.message("hooli", report.clone()).await;
    receiver.wait_for("/ok/one", 1).await;

    fs::write(&file, second).expect("writes");
    gateway.signal("HUP");
    until("the endpoint's URL is the new one", async || {
        let endpoint = gateway.get("/applications/hooli/endpoints/crm").await;
        (endpoint["url"] == receiver.url("/ok/two")).then_some(())
    })
    .await;
    gateway.message("hooli", report.clone()).await;
    receiver.wait_for("/ok/two", 1).await;

    // A file that cannot be used changes nothing, and is said to.
    fs::write(&file, "[[applications]]\nuid = 7\n").expect("writes");
    gateway.signal("HUP");
    until("the log says so", async || gateway.log().contains("cannot be used").then_some(())).await;
    gateway.message("hooli", report).await;
    receiver.wait_for("/ok/two", 2).await;
}

#[tokio::test]
async fn a_stop_lets_what_is_under_way_end() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/gate")]).await;
    let message = gateway.message("hooli", json!({})).await;
    receiver.wait_for("/gate", 1).await;
    gateway.signal("TERM");
    until("it stops", async || gateway.log().contains("stopping").then_some(())).await;
    receiver.open_gate();
    assert_eq!(gateway.ended().await.code(), Some(0));
    gateway.restart().await;
    let delivery = gateway.settled("hooli", &message).await.remove(0);
    assert_eq!((&delivery["status"], &delivery["attemptCount"]), (&json!("success"), &json!(1)));
    assert_eq!(receiver.received("/gate").len(), 1, "it was recorded before the end");
}

#[tokio::test]
async fn what_is_new_during_a_stop_is_told_to_come_back() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/gate")]).await;
    let message = gateway.message("hooli", json!({})).await;
    receiver.wait_for("/gate", 1).await;
    gateway.signal("TERM");
    until("it stops", async || gateway.log().contains("stopping").then_some(())).await;
    let new = json!({ "eventType": "a", "payload": 1, "name": "n" });
    for (method, path) in [
        (Method::POST, "/applications/hooli/messages"),
        (Method::POST, "/applications/hooli/messages/batch"),
        (Method::POST, "/applications"),
        (Method::PUT, "/applications/hooli"),
        (Method::DELETE, "/applications/hooli"),
    ] {
        let answer = gateway.request(method, path).body(new.to_string()).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["retry-after"] == "1"),
            (503, true)
        );
        assert_eq!(super::rig::json_of(answer).await["code"], "stopping", "{path}");
    }
    let shown = gateway.get(&format!("/applications/hooli/messages/{message}")).await;
    assert_eq!(shown["state"], "accepted", "what is there can be read");
    assert!(gateway.text("/health").await.contains("stopping"));
    receiver.open_gate();
    assert_eq!(gateway.ended().await.code(), Some(0));
    gateway.restart().await;
    gateway.settled("hooli", &message).await;
    assert_eq!(receiver.received("/gate").len(), 1, "nothing else was accepted, or sent twice");
}

#[tokio::test]
async fn a_second_signal_stops_at_once_and_loses_nothing() {
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
        gateway.application("hooli", &[&receiver.url("/gate")]).await;
        let message = gateway.message("hooli", json!({})).await;
        receiver.wait_for("/gate", 1).await;
        gateway.signal("TERM");
        until("it stops", async || gateway.log().contains("stopping").then_some(())).await;
        gateway.signal(name);
        // The gate is shut still.
        assert_eq!(gateway.ended().await.code(), Some(code));
        assert!(gateway.log().contains("a second signal"), "{}", gateway.log());
        receiver.open_gate();
        gateway.restart().await;
        let delivery = gateway.settled("hooli", &message).await.remove(0);
        assert_eq!(
            (&delivery["status"], &delivery["attemptCount"]),
            (&json!("success"), &json!(1))
        );
    }
}

#[tokio::test]
async fn what_was_in_flight_at_a_kill_goes_out_again_at_the_start() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.application("hooli", &[&receiver.url("/gate"), &receiver.url("/ok")]).await;
    let message = gateway.message("hooli", json!({})).await;
    receiver.wait_for("/gate", 1).await;
    until("the other is recorded", async || {
        let path = "/applications/hooli/endpoints/e1/deliveries?state=success";
        (!gateway.get(path).await["data"].as_array()?.is_empty()).then_some(())
    })
    .await;
    gateway.kill();
    receiver.open_gate();
    let start = std::time::Instant::now();
    gateway.restart().await;
    let again = receiver.wait_for("/gate", 2).await;
    println!("in flight at a kill, again after {:?} from the start", again[1].at - start);
    gateway.settled("hooli", &message).await;
    assert_eq!(again[0].header("webhook-id"), again[1].header("webhook-id"));
    assert_eq!(receiver.received("/ok").len(), 1, "what was recorded is not sent again");
}

#[tokio::test]
async fn help_says_what_there_is() {
    let help = command(directory().path(), &[]).arg("--help").output().expect("runs");
    let text = String::from_utf8_lossy(&help.stdout);
    assert!(help.status.success() && text.contains("serve"), "{text}");
    let unknown = command(directory().path(), &[]).arg("swim").output().expect("runs");
    assert_ne!(unknown.status.code(), Some(0));
    let gateway = Gateway::start(&[]).await;
    assert_eq!(gateway.call(Method::GET, "/nothing-here", None).await.0, 404);
}

#[tokio::test]
async fn a_log_that_nobody_reads_any_more_stops_nothing() {
    let (mut gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    gateway.ignore_log();
    gateway.restart().await;
    gateway.application("hooli", &[&receiver.url("/status/500")]).await;
    let path = "/applications/hooli/endpoints/e0";
    let one = json!({ "url": receiver.url("/status/500"), "maxInFlight": 1 });
    gateway.put(path, one).await;
    // Each failure is a line.
    for n in 0..3 {
        let message = gateway.message("hooli", json!({ "n": n })).await;
        let deliveries = gateway.settled("hooli", &message).await;
        assert_eq!(deliveries[0]["status"], "failed", "{deliveries:?}");
    }
    gateway.signal("TERM");
    assert!(gateway.ended().await.success());
}
