//! The rules of the README, as tests.

use super::on_message;
use octohooks_plugin::testing::{Host, message};
use octohooks_plugin::{Dispatch, Failure, Target, Verdict};
use serde_json::{Value, json};

fn report(status: &str) -> Value {
    json!({
        "messageId": "0197c2f0-77b1", "to": "+46701234567", "from": "ACME", "reference": "order-7",
        "status": status, "errorCode": "006", "doneDate": "2611240437", "segments": 2,
        "price": 0.042, "currency": "EUR", "internalRoute": "se-tier1-b", "operator": "24001"
    })
}

fn call(host: &Host, report: &Value, channels: &[&str]) -> Result<Verdict, Failure> {
    let mut message = message("sms.status", report.to_string());
    message.channels = channels.iter().map(|&channel| channel.to_owned()).collect();
    host.call(on_message, message)
}

fn sent(verdict: Result<Verdict, Failure>) -> (Dispatch, Value) {
    let Ok(Verdict::Send(mut dispatches)) = verdict else { panic!("{verdict:?}") };
    assert_eq!(dispatches.len(), 1);
    let dispatch = dispatches.remove(0);
    let payload = serde_json::from_slice(dispatch.payload.as_deref().expect("a payload"));
    (dispatch, payload.expect("JSON"))
}

#[test]
fn a_delivered_sms_goes_to_its_subscribers() {
    let (dispatch, payload) = sent(call(&Host::new(), &report("DELIVRD"), &["se"]));
    assert_eq!(dispatch.target, Target::Subscribed);
    assert_eq!(dispatch.event_type.as_deref(), Some("sms.delivered"));
    assert_eq!(
        payload,
        json!({
            "messageId": "0197c2f0-77b1", "to": "+46701234567", "from": "ACME",
            "reference": "order-7", "status": "delivered", "final": true,
            "occurredAt": "2026-11-24T04:37:00Z", "segments": 2
        })
    );
}

#[test]
fn a_failure_reaches_alerts_too_in_the_same_dispatch() {
    for (code, name) in [("UNDELIV", "failed"), ("EXPIRED", "expired"), ("rejectd", "rejected")] {
        let (dispatch, payload) = sent(call(&Host::new(), &report(code), &["se"]));
        assert_eq!(dispatch.target, Target::Channels(vec!["se".into(), "alerts".into()]));
        assert_eq!(dispatch.event_type, Some(format!("sms.{name}")));
        assert_eq!(payload["status"], name);
        assert_eq!(payload["error"], json!({ "code": "006", "reason": "absent-subscriber" }));
    }
}

#[test]
fn alerts_is_not_named_twice() {
    let (dispatch, _) = sent(call(&Host::new(), &report("UNDELIV"), &["alerts"]));
    assert_eq!(dispatch.target, Target::Channels(vec!["alerts".into()]));
}

#[test]
fn intermediate_statuses_are_for_those_who_ask() {
    let dropped = call(&Host::new(), &report("ENROUTE"), &[]);
    assert_eq!(dropped, Ok(Verdict::drop("ENROUTE is not a final status")));
    let host = Host::new().settings(json!({ "intermediate": true }));
    for (code, name) in [("ENROUTE", "sent"), ("ACCEPTD", "accepted")] {
        let (dispatch, payload) = sent(call(&host, &report(code), &[]));
        assert_eq!(dispatch.event_type, Some(format!("sms.{name}")));
        assert_eq!((&payload["status"], &payload["final"]), (&json!(name), &json!(false)));
    }
}

#[test]
fn little_is_needed() {
    let host = Host::new();
    let (_, payload) = sent(call(
        &host,
        &json!({ "messageId": "\u{e9}\n", "to": "+1", "status": "UNDELIV" }),
        &[],
    ));
    assert_eq!(
        payload,
        json!({
            "messageId": "\u{e9}\n", "to": "+1", "status": "failed", "final": true,
            "occurredAt": "2023-11-14T22:13:20Z",
            "error": { "code": "0", "reason": "unspecified" }
        })
    );
    for (code, name) in [(json!(32), "memory-full"), (json!(null), "unspecified")] {
        let mut report = report("UNDELIV");
        report["errorCode"] = code;
        assert_eq!(sent(call(&host, &report, &[])).1["error"]["reason"], name);
    }
}

#[test]
fn bad_input_is_rejected_with_its_reason() {
    let cases = [
        (json!([]), "invalid length 0, expected struct Report"),
        (json!({ "messageId": "1", "to": "+1" }), "missing field `status`"),
        (json!({ "messageId": 1, "to": "+1", "status": "DELIVRD" }), "integer `1`"),
        (json!({ "messageId": "1", "to": "+1", "status": "LOST" }), "status `LOST` is not one"),
        (
            json!({ "messageId": "1", "to": "+1", "status": "DELIVRD", "doneDate": "today" }),
            "doneDate `today` is neither",
        ),
    ];
    for (report, expected) in cases {
        let Err(Failure::Reject(reason)) = call(&Host::new(), &report, &[]) else {
            panic!("{report} was taken");
        };
        assert!(reason.contains(expected), "{reason}");
    }
}
