//! What of two verdicts is the same, what is told of those that differ, and how much of it.

use super::*;
use crate::{
    model::{dispatch::Target, name::EventType, sample},
    trials::shown::Audience,
};
use serde_json::json;

fn message() -> Message {
    sample::message(sample::application().id)
}

fn ran(result: Result<Verdict, CallFailure>) -> Ran {
    Ran { result, cost: Cost { fuel: Some(7), wall_micros: 5, memory_peak: 3 } }
}

fn json_of(payload: &Value) -> Dispatch {
    Dispatch { payload: Some(payload.to_string().into()), ..Dispatch::PASS }
}

fn send(payloads: &[Value]) -> Result<Verdict, CallFailure> {
    Ok(Verdict::Send(payloads.iter().map(json_of).collect()))
}

fn compared(
    before: Result<Verdict, CallFailure>,
    after: Result<Verdict, CallFailure>,
) -> Comparison {
    compare(&message(), None, Some(&ran(before)), &ran(after))
}

#[test]
fn what_receivers_get_alike_is_the_same_however_it_is_said() {
    let text = |text: &'static str| Dispatch { payload: Some(text.into()), ..Dispatch::PASS };
    let event_type = EventType::new("sample.created").ok();
    let said = Dispatch {
        event_type,
        content_type: Some("application/json".into()),
        payload: Some(message().payload),
        ..Dispatch::PASS
    };
    for (before, after, same) in [
        (Ok(Verdict::Pass), Ok(Verdict::Pass), true),
        (Ok(Verdict::Pass), Ok(Verdict::Send(vec![Dispatch::PASS])), true),
        (Ok(Verdict::Pass), Ok(Verdict::Send(vec![said])), true),
        (Ok(Verdict::Pass), send(&[json!({ "n": 1 })]), true),
        (
            Ok(Verdict::Send(vec![text(r#"{"a":1,"b":2}"#)])),
            Ok(Verdict::Send(vec![text(r#"{ "b": 2, "a": 1 }"#)])),
            true,
        ),
        (Ok(Verdict::Send(vec![text("a b")])), Ok(Verdict::Send(vec![text("a  b")])), false),
        (Ok(Verdict::Drop("a".into())), Ok(Verdict::Drop("a".into())), true),
        (Ok(Verdict::Drop("a".into())), Ok(Verdict::Drop("b".into())), false),
        (Ok(Verdict::Drop("a".into())), Ok(Verdict::Send(Vec::new())), false),
        (Ok(Verdict::Drop("a".into())), Ok(Verdict::Pass), false),
        (Err(CallFailure::CpuLimit(1)), Err(CallFailure::CpuLimit(1)), true),
        (Err(CallFailure::CpuLimit(1)), Err(CallFailure::Timeout(1)), false),
        (Ok(Verdict::Pass), Err(CallFailure::CpuLimit(1)), false),
        (Err(CallFailure::CpuLimit(1)), Ok(Verdict::Pass), false),
    ] {
        let found = compared(before.clone(), after.clone());
        assert_eq!(found.same, same, "{before:?} {after:?}: {found:?}");
    }
    assert_eq!(compared(Ok(Verdict::Pass), Ok(Verdict::Pass)).verdict.candidate, Some(Word::Pass));
}

#[test]
fn without_an_active_version_a_message_is_left_as_it_is() {
    let found = compare(&message(), None, None, &ran(Ok(Verdict::Pass)));
    assert!(found.same && found.cost.active.is_none() && found.verdict.active.is_none());
    let dropped = compare(&message(), None, None, &ran(Ok(Verdict::Drop("why".into()))));
    assert!(!dropped.same);
    assert_eq!((dropped.removed.len(), dropped.dropped.candidate.as_deref()), (1, Some("why")));
}

#[test]
fn what_only_one_sends_is_told_and_what_differs_in_its_payload_by_place() {
    let own = Dispatch { target: Target::Endpoints(vec!["crm".into()]), ..Dispatch::PASS };
    let before = send(&[json!({ "a": { "b/c": 1, "x": [1, 2] }, "gone": null }), json!("same")]);
    let after = Verdict::Send(vec![
        json_of(&json!("same")),
        json_of(&json!({ "a": { "b/c": 2, "x": [1, 2, 3] }, "new": null })),
        own,
    ]);
    let found = compared(before, Ok(after));
    assert!(!found.same && !found.cut && !found.reordered && found.removed.is_empty());
    assert_eq!(found.added.len(), 1);
    assert_eq!((found.added[0].dispatch, &found.added[0].payload), (2, &Some(json!({ "n": 1 }))));
    assert_eq!(found.added[0].target, Audience::Endpoints(vec!["crm".into()]));
    let diff = |path: &str, before: Option<Value>, after: Option<Value>| PayloadDiff {
        dispatch: 1,
        path: path.into(),
        before,
        after,
    };
    let mut diffs = found.payload_diffs;
    diffs.sort_by(|a, b| a.path.cmp(&b.path));
    let expected = [
        diff("/a/b~1c", Some(json!(1)), Some(json!(2))),
        diff("/a/x/2", None, Some(json!(3))),
        diff("/gone", Some(Value::Null), None),
        diff("/new", None, Some(Value::Null)),
    ];
    assert_eq!(diffs, expected);
}

#[test]
fn another_order_is_a_difference_of_its_own() {
    let found = compared(send(&[json!(1), json!(2)]), send(&[json!(2), json!(1)]));
    assert!(!found.same && found.reordered);
    assert!(found.added.is_empty() && found.removed.is_empty() && found.payload_diffs.is_empty());
}

#[test]
fn a_failure_is_told_with_its_kind_and_nothing_of_what_the_other_sends() {
    let trap = CallFailure::Trap { reason: "r".repeat(5000), backtrace: "b".into() };
    let found = compared(send(&[json!(1)]), Err(trap));
    let failure = found.failure.expect("is told");
    assert_eq!((&*failure.kind, failure.reason.len()), ("trap", TEXT));
    assert!(found.removed.is_empty() && found.active_failure.is_none());
}

#[test]
fn a_comparison_has_a_bounded_size_whatever_is_compared() {
    let many = |n: usize| json!((0..1000).map(|i| format!("{n}{i}")).collect::<Vec<_>>());
    let places = compared(send(&[many(1)]), send(&[many(2)]));
    assert!(places.cut && places.payload_diffs.len() <= DIFFS, "{}", places.payload_diffs.len());
    assert!(!places.payload_diffs.is_empty());
    let long = |n: u64| Dispatch {
        delay: n,
        headers: (0..40).map(|h| (format!("x-{h}"), "é".repeat(300))).collect(),
        content_type: Some("t".repeat(2000)),
        payload: Some("é".repeat(5000).into()),
        ..Dispatch::PASS
    };
    let some = |from: u64| Ok(Verdict::Send((from..from + 100).map(long).collect()));
    let dispatches = compared(some(0), some(1000));
    assert!(dispatches.cut && !dispatches.same);
    for found in [places, dispatches] {
        assert!(size(&found) <= BYTES, "{}", size(&found));
    }
    let text = json!("x".repeat(1000));
    let short = &compared(send(&[text]), send(&[json!("y")])).payload_diffs[0];
    let before = short.before.as_ref().and_then(Value::as_str).expect("text");
    assert_eq!((short.path.as_str(), before.len()), ("", TEXT + '…'.len_utf8()));
}
