//! The guard on URLs and addresses by themselves. What names resolve to is in the client's tests, with the corpus.

use super::*;
use serde_json::{Value, json};

fn guard(options: &Value) -> Guard {
    Guard::new(serde_json::from_value(options.clone()).expect("options"))
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap_or_else(|_| panic!("{text} parses"))
}

#[test]
fn urls_are_checked_in_every_spelling() {
    let guard = Guard::default();
    for bad in [
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://user@example.com/",
        "https://u:p@example.com/",
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://[::ffff:169.254.169.254]/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://a.localhost/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://example.com:25/",
        "http://example.com:0/",
    ] {
        assert!(guard.check_url(&url(bad)).is_err(), "{bad}");
    }
    for good in ["https://example.com/hook", "http://example.com:8080/", "https://1.1.1.1:8443/"] {
        assert_eq!(guard.check_url(&url(good)), Ok(()), "{good}");
    }
}

/// Options, a URL or a name with an address, and whether it passes.
#[test]
fn operators_have_the_last_word() {
    let intranet = json!({ "allow": ["10.0.0.0/8", "169.254.0.0/16"], "deny": "10.9.0.0/16" });
    for (options, called, passes) in [
        (json!({ "allow": "127.0.0.0/8" }), "http://127.0.0.1:1234/", true),
        (json!({ "allow": "127.0.0.0/8" }), "http://localhost/", true),
        (json!({ "allow": "127.0.0.0/8" }), "http://[::1]/", false),
        (json!({ "allow": "127.0.0.0/8" }), "http://[::ffff:127.0.0.1]/", true),
        (json!({ "allow": "127.0.0.0/8" }), "http://10.0.0.1/", false),
        (intranet.clone(), "http://10.1.2.3/", true),
        (intranet.clone(), "http://10.9.2.3/", false),
        (intranet.clone(), "http://169.254.1.1/", true),
        // A metadata service is named, or it is not meant.
        (intranet, "http://169.254.169.254/", false),
        (json!({ "allow": "169.254.169.254/32" }), "http://169.254.169.254/", true),
        (json!({ "allow": "0.0.0.0/0" }), "http://168.63.129.16/", false),
        (json!({ "deny": "8.8.8.0/24" }), "http://8.8.8.8/", false),
        (json!({ "deny": "8.8.8.0/24" }), "http://[64:ff9b::8.8.8.8]/", false),
        (json!({ "deny": "8.8.8.0/24" }), "http://1.1.1.1/", true),
        (json!({ "schemes": "https" }), "http://example.com/", false),
        (json!({ "schemes": "https" }), "https://example.com/", true),
        (json!({ "ports": [443, "8000-8999"] }), "https://example.com/", true),
        (json!({ "ports": [443, "8000-8999"] }), "https://example.com:8443/", true),
        (json!({ "ports": [443, "8000-8999"] }), "http://example.com/", false),
        (json!({ "ports": "25" }), "http://example.com:25/", true),
        (json!({ "deny_hosts": "*.evil.example" }), "http://a.evil.example./", false),
        (json!({ "deny_hosts": "*.evil.example" }), "http://evil.example/", true),
        (json!({ "only_hosts": "*.good.example" }), "http://a.good.example/", true),
        (json!({ "only_hosts": "*.good.example" }), "http://example.com/", false),
        (json!({ "only_hosts": "*.good.example" }), "http://1.1.1.1/", false),
        (json!({ "only_hosts": "a", "allow": "1.1.1.0/24" }), "http://1.1.1.1/", true),
        (json!({ "allow_hosts": "localhost" }), "http://localhost/", true),
        (json!({ "allow_hosts": "metadata" }), "http://metadata/", true),
    ] {
        let checked = guard(&options).check_url(&url(called));
        assert_eq!(checked.is_ok(), passes, "{options} {called}: {checked:?}");
    }
    for (options, name, address, passes) in [
        (json!({ "allow_hosts": "*.corp.example" }), "a.corp.example", "10.0.0.1", true),
        (json!({ "allow_hosts": "*.corp.example" }), "a.corp.example.", "10.0.0.1", true),
        (json!({ "allow_hosts": "*.corp.example" }), "corp.example", "10.0.0.1", false),
        (json!({ "allow_hosts": "*.corp.example" }), "a.corp.example", "169.254.169.254", false),
        (
            json!({ "allow_hosts": "a.example", "deny": "10.0.0.0/8" }),
            "a.example",
            "10.0.0.1",
            false,
        ),
        (json!({ "only_hosts": "a.example" }), "a.example", "1.1.1.1", true),
        (json!({ "only_hosts": "a.example" }), "a.example", "10.0.0.1", false),
    ] {
        let parsed = address.parse().expect("an address");
        let checked = guard(&options).check_address(Some(name), parsed);
        assert_eq!(checked.is_ok(), passes, "{options} {name} {address}: {checked:?}");
    }
}

#[test]
fn a_refusal_says_what_is_wrong_and_what_can_be_done() {
    let guard = guard(&json!({ "schemes": "https" }));
    for (bad, says) in [
        ("http://example.com/", "the scheme must be https, not http"),
        ("https://10.0.0.1/", "10.0.0.1 is not a public address: private (guard.allow can"),
        ("https://example.com:22/", "the port 22 may not be called"),
    ] {
        let refusal = guard.check_url(&url(bad)).expect_err(bad).to_string();
        assert!(refusal.starts_with(says), "{refusal}");
    }
}

#[test]
fn bad_ports_are_in_order() {
    assert!(BAD_PORTS.is_sorted());
}
