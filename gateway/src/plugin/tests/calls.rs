//! What goes into a plugin and what may come out, with guests that behave.

use super::*;
use crate::model::{
    dispatch::{Dispatch, Target, Verdict},
    grants::Grants,
};
use futures_util::FutureExt;

fn sent(called: Called) -> Vec<Dispatch> {
    match called.result {
        Ok(Verdict::Send(dispatches)) => dispatches,
        other => panic!("not a send: {other:?}"),
    }
}

async fn echo(stage: &Stage, call: Call) -> Value {
    let dispatches = sent(stage.host.call(&stage.scripted, call).await);
    let payload = dispatches[0].payload.as_ref().expect("a payload");
    serde_json::from_slice(payload).expect("JSON")
}

#[tokio::test]
async fn a_verdict_or_a_failure_arrives_as_it_was_given() {
    let stage = Stage::new();
    let long = "é".repeat(4000);
    let cases = [
        (json!({ "do": "pass" }), Ok(Verdict::Pass)),
        (json!({ "do": "drop", "reason": "spam" }), Ok(Verdict::Drop("spam".into()))),
        (json!({ "do": "drop", "reason": long }), Ok(Verdict::Drop("é".repeat(512)))),
        (json!({ "do": "send", "dispatches": [] }), Ok(Verdict::Send(vec![]))),
        (json!({ "do": "reject", "reason": "no" }), Err(CallFailure::Reject("no".into()))),
        (
            json!({ "do": "retry", "reason": "later", "afterMs": 7 }),
            Err(CallFailure::Retry { reason: "later".into(), after_ms: 7 }),
        ),
        (json!({ "do": "other", "reason": "hm" }), Err(CallFailure::Other("hm".into()))),
    ];
    for (script, expected) in cases {
        let called = stage.run(&script).await;
        assert_eq!(called.result, expected, "{script}");
        assert!(called.cost.memory_peak >= 1 << 16);
        assert!(called.cost.cpu <= called.cost.wall);
    }
}

#[tokio::test]
async fn a_dispatch_arrives_with_all_its_fields() {
    let stage = Stage::new();
    let script = json!({ "do": "send", "dispatches": [
        {},
        { "target": { "channels": ["east", "west"] }, "eventType": "order.split", "delayMs": 9 },
        { "target": { "endpoints": ["crm", "00000000-0000-0000-0000-00000000000c"] },
          "text": "hello", "contentType": "text/plain", "headers": [["x-a", "1"], ["x-a", "2"]],
          "orderingKey": "k" },
    ] });
    let plain = Dispatch {
        target: Target::Subscribed,
        event_type: None,
        content_type: None,
        payload: None,
        headers: vec![],
        ordering_key: None,
        delay: 0,
    };
    let channel = |name| Channel::new(name).expect("legal");
    let expected = [
        plain.clone(),
        Dispatch {
            target: Target::Channels(vec![channel("east"), channel("west")]),
            event_type: EventType::new("order.split").ok(),
            delay: 9,
            ..plain.clone()
        },
        Dispatch {
            target: Target::Endpoints(vec![
                "crm".into(),
                "00000000-0000-0000-0000-00000000000c".into(),
            ]),
            content_type: Some("text/plain".into()),
            payload: Some("hello".into()),
            headers: vec![("x-a".into(), "1".into()), ("x-a".into(), "2".into())],
            ordering_key: Some("k".into()),
            ..plain
        },
    ];
    assert_eq!(sent(stage.run(&script).await), expected);
}

#[tokio::test]
async fn a_plugin_sees_the_message_the_settings_and_the_enabled_endpoints() {
    let stage = Stage::new();
    let script = r#"{"do":"echo-message"}"#;
    let expected = json!({
        "id": "00000000-0000-0000-0000-000000000005", "uid": "order-1", "application": "acme",
        "eventType": "order.paid", "channels": ["east"], "acceptedAt": ACCEPTED,
        "contentType": "application/json", "payload": script, "attributes": [["tier", "gold"]],
    });
    assert_eq!(echo(&stage, call(script)).await, expected);

    let settings = json!({ "script": { "do": "echo-settings" }, "k": [1, "é"] });
    let Value::Object(map) = settings.clone() else { panic!() };
    assert_eq!(echo(&stage, call_of(id(1), "{}", map)).await, settings);

    let expected = json!([{
        "id": "00000000-0000-0000-0000-00000000000b", "uid": "crm", "name": "The CRM",
        "url": "https://crm.example/hook", "eventTypes": ["a.b"], "channels": ["east"],
        "attributes": [],
    }]);
    assert_eq!(echo(&stage, call(r#"{"do":"echo-endpoints"}"#)).await, expected);

    let mut nameless = call(r#"{"do":"echo-message"}"#);
    Arc::make_mut(&mut nameless.tenant).application.uid = None;
    let seen = echo(&stage, nameless).await;
    assert_eq!(seen["application"], "00000000-0000-0000-0000-000000000001");
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused() {
    let stage = Stage::new();
    let bad = [
        (json!({ "eventType": "not legal" }), "event type"),
        (json!({ "target": { "channels": [""] } }), "channel"),
        (json!({ "contentType": "text/plain\r\nx: y", "text": "" }), "content-type"),
        (json!({ "headers": [["X-Upper", "1"]] }), "lower-case"),
        (json!({ "headers": [["a b", "1"]] }), "lower-case"),
        (json!({ "headers": [["x-a", "1\r\nx-b: 2"]] }), "illegal value"),
        (json!({ "headers": [["host", "evil.example"]] }), "gateway's"),
        (json!({ "headers": [["webhook-id", "1"]] }), "gateway's"),
        (json!({ "headers": [["x-signature", "1"]] }), "gateway's"),
        (json!({ "headers": [["content-type", "text/plain"]] }), "gateway's"),
        (json!({ "headers": [["transfer-encoding", "chunked"]] }), "gateway's"),
        (json!({ "orderingKey": "k".repeat(257) }), "ordering key"),
        (json!({ "delayMs": u64::MAX }), "delay"),
    ];
    for (dispatch, word) in bad {
        let called = stage.run(&json!({ "do": "send", "dispatches": [{}, dispatch] })).await;
        match called.result {
            Err(CallFailure::BadOutput(why)) => assert!(why.contains(word), "{why}"),
            other => panic!("{dispatch}: {other:?}"),
        }
    }
    // 99 is the endpoint of another application, for all this one can tell.
    for foreign in ["nobody", "00000000-0000-0000-0000-000000000063"] {
        let script = json!({ "do": "send", "dispatches": [{ "target": { "endpoints": ["crm", foreign] } }] });
        let called = stage.run(&script).await;
        assert_eq!(called.result, Err(CallFailure::UnknownEndpoint(foreign.into())));
    }
}

#[tokio::test]
async fn log_lines_are_kept_up_to_the_limits_and_counted_beyond() {
    let stage = Stage::with(Options {
        concurrency: 2,
        log_lines: 2,
        log_line_bytes: 5,
        ..Options::default()
    });
    let script = json!({ "do": "log", "level": "warn", "lines": ["one", "two éé", "three", "4"] });
    let called = stage.run(&script).await;
    let line = |text: &str| LogLine { level: Level::Warn, text: text.into() };
    assert_eq!(called.log, [line("one"), line("two ")], "cut before the character that is over");
    assert_eq!(called.log_dropped, 2);
}

#[tokio::test]
async fn wasi_knows_the_time_of_the_message_and_nothing_else() {
    let packages = "package wasi:clocks@0.2.0;
        interface wall-clock {
            record datetime { seconds: u64, nanoseconds: u32 }
            now: func() -> datetime;
        }";
    let random = "package wasi:random@0.2.0; interface random { get-random-u64: func() -> u64; }";
    let now = r#"(import "wasi:clocks/wall-clock@0.2.0" "now" (func $now (param i32)))"#;
    let draw = r#"(import "wasi:random/random@0.2.0" "get-random-u64" (func $draw (result i64)))"#;
    // Traps unless the time is that of the message; the verdict is a drop whose reason is the number.
    let clock = module(
        now,
        1,
        "(call $now (i32.const 128))
         (if (i64.ne (i64.load (i32.const 128)) (i64.const 1700000000)) (then unreachable))",
    );
    let number = module(
        draw,
        1,
        "(i64.store (i32.const 256) (i64.and (call $draw) (i64.const 0x3f3f3f3f3f3f3f3f)))
         (i32.store (i32.const 72) (i32.const 1))
         (i32.store (i32.const 76) (i32.const 256)) (i32.store (i32.const 80) (i32.const 8))",
    );
    let stage = Stage::new();
    let load = |bytes: Vec<u8>| stage.host.load(&bytes).expect("loads");
    let clock = load(component_with(packages, "import wasi:clocks/wall-clock@0.2.0;", &clock));
    assert_eq!(stage.host.call(&clock, call("{}")).await.result, Ok(Verdict::Pass));

    let number = load(component_with(random, "import wasi:random/random@0.2.0;", &number));
    let first = stage.host.call(&number, call("{}")).await.result;
    assert!(matches!(&first, Ok(Verdict::Drop(reason)) if reason.len() == 8), "{first:?}");
    assert_eq!(stage.host.call(&number, call("{}")).await.result, first, "the same at a retry");
    let mut other = call("{}");
    Arc::make_mut(&mut other.message).id = MessageId(Uuid::from_u128(6));
    assert_ne!(stage.host.call(&number, other).await.result, first, "another message's differs");
}

#[tokio::test]
async fn fuel_is_counted_where_it_is_asked_for_and_is_the_same_every_time() {
    let options = Options { concurrency: 1, per_application: 1, cpu_ms: 5, ..Options::default() };
    let counting = Host::counting(options, Means::default()).expect("a host");
    let loaded = counting.load(&scripted()).expect("loads");
    let fuel = async |script: Value| {
        let called = counting.call(&loaded, call(script.to_string())).await;
        (called.cost.fuel.expect("a figure"), called.result)
    };
    let (little, first) = fuel(json!({ "do": "drop", "reason": "a" })).await;
    let (again, _) = fuel(json!({ "do": "drop", "reason": "a" })).await;
    assert_eq!((first, little), (Ok(Verdict::Drop("a".into())), again));
    let (more, _) = fuel(json!({ "do": "drop", "reason": "a".repeat(1000) })).await;
    assert!(more > little, "{more} {little}");
    let (endless, stopped) = fuel(json!({ "do": "spin" })).await;
    assert!(matches!(stopped, Err(CallFailure::CpuLimit(_))), "{stopped:?}");
    assert!(endless > 0, "what it took until its last call of a function");
    let stage = Stage::new();
    assert_eq!(stage.run(&json!({ "do": "pass" })).await.cost.fuel, None);
}

/// The tests' one thread is the guests' here: what is done at the first look, nobody else could do anything meanwhile.
#[tokio::test]
async fn a_transform_without_code_leaves_the_thread_where_it_may_take_a_while() {
    let host = Stage::new().host;
    let definition = host.load(br#"{ "rename": { "/a": "b" } }"#).expect("a definition");
    let made = |called: Called| sent(called)[0].payload.as_ref().expect("a payload").len();
    let small = host.call(&definition, call(r#"{"a":1}"#)).now_or_never();
    assert_eq!(made(small.expect("is over at once")), r#"{"b":1}"#.len());
    let payload = format!(r#"{{"a":"{}"}}"#, "x".repeat(300_000));
    let mut large = Box::pin(host.call(&definition, call(payload.clone())));
    assert!(large.as_mut().now_or_never().is_none(), "it is elsewhere");
    assert_eq!(made(large.await), payload.len());
}

/// A guest that asks for a time so many nanoseconds from now, waits for it, and traps unless its clock has come there.
fn sleeper(nanoseconds: u64) -> Vec<u8> {
    let packages = "package test:packages;
        package wasi:io@0.2.0 { interface poll {
            resource pollable { block: func(); }
            poll: func(in: list<borrow<pollable>>) -> list<u32>;
        } }
        package wasi:clocks@0.2.0 { interface monotonic-clock {
            use wasi:io/poll@0.2.0.{pollable};
            now: func() -> u64;
            subscribe-duration: func(when: u64) -> pollable;
        } }";
    let imports = r#"
        (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
        (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration"
            (func $subscribe (param i64) (result i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))"#;
    let body = format!(
        "(local $begun i64)
         (local.set $begun (call $now))
         (call $block (call $subscribe (i64.const {nanoseconds})))
         (if (i64.lt_u (i64.sub (call $now) (local.get $begun)) (i64.const {nanoseconds}))
            (then unreachable))"
    );
    let imported = "import wasi:io/poll@0.2.0; import wasi:clocks/monotonic-clock@0.2.0;";
    component_with(packages, imported, &module(imports, 1, &body))
}

#[tokio::test]
async fn nobody_sleeps_on_a_clock_that_stands_still_and_on_a_real_one_it_is_their_doing() {
    let hour = 3_600_000_000_000;
    let stage = Stage::with(Options { concurrency: 1, timeout_ms: 500, ..Options::default() });
    let load = |nanoseconds| stage.host.load(&sleeper(nanoseconds)).expect("loads");
    let (long, short) = (load(hour), load(1_000_000));
    for sleeper in [&long, &short] {
        assert_eq!(stage.host.call(sleeper, call("{}")).await.result, Ok(Verdict::Pass));
    }
    let mut granted = call("{}");
    let capabilities = serde_json::from_value(json!({ "clock": true })).expect("capabilities");
    let grants = Grants { capabilities, ..Grants::none(EnvironmentId::DEFAULT, id(1)) };
    Arc::make_mut(&mut granted.tenant).grants = Some(Arc::new(grants));
    let failure = stage.host.call(&long, granted.clone()).await.result.expect_err("asleep");
    assert_eq!((failure.clone(), failure.is_fault()), (CallFailure::Slept(500), true));
    let patient = Stage::with(Options { concurrency: 1, timeout_ms: 60_000, ..Options::default() });
    let short = patient.host.load(&sleeper(1_000_000)).expect("loads");
    assert_eq!(patient.host.call(&short, granted).await.result, Ok(Verdict::Pass));
}

#[tokio::test]
async fn the_next_call_of_one_that_spins_begins_where_it_harms_nobody() {
    let stage = Stage::new();
    let application = call("{}").tenant.application.id;
    let is_expected = |who| stage.host.0.lasting.has(&(who, stage.scripted.digest));
    assert!(!is_expected(application));
    let called = stage.run(&json!({ "do": "spin" })).await;
    assert!(matches!(called.result, Err(CallFailure::CpuLimit(_))), "{called:?}");
    assert_eq!((is_expected(application), is_expected(id(999))), (true, false));
    stage.still_works().await;
    assert!(!is_expected(application));
}
