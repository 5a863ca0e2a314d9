//! Cases as their authors write them, well and badly.

use super::*;
use crate::workbench::verdict::{Audience, Failed, Sent};

fn parse(text: &str) -> Result<Case, String> {
    Case::parse(Path::new("cases/one.json"), text.to_owned()).map_err(|problem| problem.to_string())
}

const SHORT: &str = r#"{ "message": { "eventType": "a.b", "payload": { "n": 1.50 } } }"#;

#[test]
fn what_a_case_leaves_out_is_there() {
    let case = parse(SHORT).expect("a case");
    assert_eq!((&*case.name, &case.expected), ("one", &None));
    let call = &case.calls()[0];
    assert_eq!(&call.message.payload[..], br#"{ "n": 1.50 }"#, "byte for byte");
    assert_eq!(call.message.accepted, ACCEPTED);
    assert_eq!(call.tenant.application.uid.as_deref(), Some("test"));
    assert!(call.tenant.endpoints.is_empty());
}

#[test]
fn what_a_case_says_is_what_the_plugin_gets() {
    let text = r#"{
        "description": "x", "application": "acme", "settings": { "k": 1 },
        "message": { "id": "00000000-0000-0000-0000-000000000007", "uid": "u", "eventType": "a",
            "channels": ["c"], "payload": 1, "attributes": { "ce-source": "/s" }, "acceptedAt": 5 },
        "endpoints": [ { "uid": "crm", "url": "https://crm.example/", "channels": ["c"] }, { "enabled": false } ]
    }"#;
    let case = parse(text).expect("a case");
    let call = &case.calls()[0];
    assert_eq!(call.message.id.0, Uuid::from_u128(7));
    assert_eq!((call.message.uid.as_deref(), call.message.accepted), (Some("u"), 5));
    assert_eq!(call.tenant.application.uid.as_deref(), Some("acme"));
    assert_eq!(call.tenant.endpoint("crm").expect("one").url.as_str(), "https://crm.example/");
    let other = call.tenant.endpoints.values().find(|endpoint| endpoint.uid.is_none());
    assert!(!other.expect("another").enabled);
}

#[test]
fn what_came_before_comes_first() {
    let text = r#"{ "before": [ { "eventType": "a", "payload": 1 }, { "eventType": "b", "payload": 2 } ],
        "message": { "eventType": "c", "payload": 3 } }"#;
    let case = parse(text).expect("a case");
    let types = case.calls().iter().map(|call| call.message.event_type.to_string());
    assert_eq!(types.collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let table = [
        ("", "EOF while parsing"),
        ("{}", "must have one of `message`, `sign` and `classify`"),
        (r#"{ "sign": {}, "classify": { "status": 200 } }"#, "must have one of"),
        (r#"{ "sign": {}, "endpoints": [{}] }"#, "which are for a `message`"),
        (r#"{ "sign": { "body": {}, "text": "" } }"#, "sign: has both `body` and `text`"),
        (r#"{ "classify": { "body": {} } }"#, "classify: missing field `status`"),
        (r#"{ "message": { "payload": 1 } }"#, "message: missing field `eventType`"),
        (r#"{ "message": { "eventType": "a b", "payload": 1 } }"#, "message.eventType: "),
        (r#"{ "message": { "eventType": "a", "payload": 1, "chanels": [] } }"#, "`chanels`"),
        (r#"{ "message": { "eventType": "a" } }"#, "missing field `payload`"),
        (r#"{ "message": { "eventType": "a", "payload": 1 }, "expect": "pass" }"#, "`expect`"),
        (
            r#"{ "message": { "eventType": "a", "payload": 1 }, "endpoints": [{}, { "url": "x" }] }"#,
            "endpoints[1].url: ",
        ),
        (
            r#"{ "message": { "eventType": "a", "payload": 1 }, "expected": "passed" }"#,
            "expected: unknown variant `passed`, expected one of `pass`, `drop`, `send`, `headers`, ",
        ),
    ];
    for (text, expected) in table {
        let said = parse(text).expect_err(expected);
        assert!(said.contains(expected), "{text}: {said}");
    }
}

#[test]
fn an_update_changes_nothing_else() {
    let drop = Expected::Drop("no".to_owned());
    let new = parse(SHORT).expect("a case").with(&drop);
    let kept = r#"{ "message": { "eventType": "a.b", "payload": { "n": 1.50 } },"#;
    assert_eq!(new, format!("{kept}\n  \"expected\": {{\n    \"drop\": \"no\"\n  }}\n}}\n"));
    let again = parse(&new).expect("a case");
    assert_eq!(again.expected, Some(drop));
    let passed = again.with(&Expected::Pass);
    assert_eq!(passed, format!("{kept}\n  \"expected\": \"pass\"\n}}\n"));
}

#[test]
fn a_failure_without_a_reason_is_met_by_any() {
    let failed = |reason: Option<&str>| {
        let reason = reason.map(str::to_owned);
        Expected::Failure(Failed { kind: "reject".to_owned(), reason, after_ms: None })
    };
    assert!(failed(None).is_met_by(&failed(Some("x"))));
    assert!(failed(Some("x")).is_met_by(&failed(Some("x"))));
    assert!(!failed(Some("y")).is_met_by(&failed(Some("x"))));
    assert!(!failed(None).is_met_by(&Expected::Pass));
}

#[test]
fn a_payload_is_written_as_what_it_is() {
    let sent = |payload: &[u8]| {
        let dispatch = crate::model::dispatch::Dispatch {
            target: crate::model::dispatch::Target::Endpoints(vec!["crm".to_owned()]),
            event_type: None,
            content_type: None,
            payload: Some(payload.to_vec().into()),
            headers: Vec::new(),
            ordering_key: None,
            delay: 0,
        };
        Sent::from(&dispatch)
    };
    assert_eq!(sent(b"null").payload, Some(Value::Null));
    assert_eq!(sent(b"a,b").text.as_deref(), Some("a,b"));
    assert_eq!(sent(b"\xff").base64.as_deref(), Some("/w=="));
    assert_eq!(sent(b"1").target, Audience::Endpoints(vec!["crm".to_owned()]));
    for payload in [&b"null"[..], b"a,b", b"\xff", b"{\"a\":1}"] {
        let expected = Expected::Send(vec![sent(payload)]);
        let read: Expected = serde_json::from_str(&expected.text()).expect("its own text");
        assert_eq!(read, expected);
    }
}
