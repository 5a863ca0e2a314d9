//! `octohooks demo`: the summary, what may be lost, and that nothing is left behind.

use super::rig::{command, directory};
use serde_json::Value;
use std::fs;

/// The summary of a demo that must succeed, which prints nothing else and leaves no file.
fn demo(flags: &[&str]) -> Value {
    let directory = directory();
    let temporary = ("TMPDIR".to_owned(), directory.path().display().to_string());
    let mut demo = command(directory.path(), &[temporary]);
    let output = demo.args(["demo", "--json"]).args(flags).output().expect("runs");
    let (said, failed) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}{failed}");
    assert_eq!((said.lines().count(), &*failed), (1, ""), "one line: {said}");
    assert_eq!(fs::read_dir(directory.path()).expect("a folder").count(), 0, "it cleans up");
    serde_json::from_str(&said).expect("JSON")
}

#[test]
fn the_demo_loses_nothing() {
    let summary = demo(&["--messages", "60"]);
    for (field, count) in [
        ("accepted", 60),
        ("transformed", 48),
        ("dropped", 12),
        ("delivered", 48 + 48 + 12),
        ("retried", 96),
        ("lost", 0),
        ("duplicated", 0),
        ("badSignatures", 0),
    ] {
        assert_eq!(summary[field], count, "{field}: {summary}");
    }
    assert!(summary["p99Ms"].as_f64() >= summary["p50Ms"].as_f64(), "{summary}");
}

#[test]
fn the_demo_loses_nothing_when_the_gateway_is_killed() {
    let summary = demo(&["--messages", "400", "--crash"]);
    assert_eq!((&summary["accepted"], &summary["lost"]), (&400.into(), &0.into()), "{summary}");
    assert_eq!(
        (&summary["crashed"], &summary["delivered"]),
        (&true.into(), &720.into()),
        "{summary}"
    );
}
