//! Guests that would harm the gateway or each other. After every one, the next call works.

use super::*;
use crate::model::dispatch::Verdict;
use std::time::Duration;

#[tokio::test]
async fn a_guest_that_misbehaves_harms_nobody() {
    // Time enough to touch 64 MiB, also where the tests share few cores.
    let options = Options { concurrency: 2, ..Options::default() };
    let stage = Stage::with(Options { cpu_ms: 2000, timeout_ms: 20_000, ..options });
    let many = |count, value: &str| {
        (0..count).map(|n| json!([format!("x{n}"), value])).collect::<Vec<_>>()
    };
    let long = "x".repeat(600);
    let cases = [
        (json!({ "do": "spin" }), "cpu-limit"),
        (json!({ "do": "fill-memory" }), "memory-limit"),
        (json!({ "do": "send-many" }), "memory-limit"),
        (json!({ "do": "send-many", "count": 1001 }), "bad-output"),
        (json!({ "do": "big-output", "bytes": (4 << 20) + 1 }), "output-too-large"),
        (json!({ "do": "big-output", "bytes": 20 << 20 }), "output-too-large"),
        (json!({ "do": "send", "dispatches": [{ "headers": many(65, "x") }] }), "bad-output"),
        (json!({ "do": "send", "dispatches": [{ "headers": many(30, &long) }] }), "bad-output"),
        (json!({ "do": "recurse" }), "trap"),
        (json!({ "do": "panic", "reason": "oh no" }), "trap"),
    ];
    for (script, kind) in cases {
        let called = stage.run(&script).await;
        let failure = called.result.expect_err("a failure");
        assert_eq!(failure.kind(), kind, "{script}: {failure}");
        stage.still_works().await;
    }
}

#[tokio::test]
async fn a_trap_says_what_and_where() {
    let stage = Stage::new();
    let called = stage.run(&json!({ "do": "panic", "reason": "oh no" })).await;
    let Err(CallFailure::Trap { reason, backtrace }) = called.result else { panic!() };
    assert!(reason.contains("unreachable"), "{reason}");
    assert!(backtrace.contains("wasm function"), "{backtrace}");
    assert!(called.log.iter().any(|line| line.text.contains("oh no")), "{:?}", called.log);

    let called = stage.run(&json!({ "do": "recurse" })).await;
    let Err(CallFailure::Trap { reason, .. }) = called.result else { panic!() };
    assert!(reason.contains("stack"), "{reason}");
}

#[tokio::test]
async fn a_guest_is_stopped_by_whichever_time_is_up_first() {
    let options = Options { concurrency: 2, ..Options::default() };
    let cpu = Stage::with(Options { cpu_ms: 20, timeout_ms: 10_000, ..options.clone() });
    let called = cpu.run(&json!({ "do": "spin" })).await;
    assert_eq!(called.result, Err(CallFailure::CpuLimit(20)));
    assert!(called.cost.cpu >= Duration::from_millis(20), "{:?}", called.cost);

    let wall = Stage::with(Options { cpu_ms: 10_000, timeout_ms: 20, ..options });
    let called = wall.run(&json!({ "do": "spin" })).await;
    assert_eq!(called.result, Err(CallFailure::Timeout(20)));
    wall.still_works().await;
}

#[tokio::test]
async fn the_clock_of_guests_sleeps_while_there_is_none_and_wakes_for_each() {
    let options = Options { concurrency: 2, cpu_ms: 20, timeout_ms: 60_000, ..Options::default() };
    let stage = Stage::with(options);
    for _ in 0..3 {
        for _ in 0..3000 {
            if stage.host.0.ticker.sleeps() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(stage.host.0.ticker.sleeps(), "nobody is there");
        let called = stage.run(&json!({ "do": "spin" })).await;
        assert_eq!(called.result, Err(CallFailure::CpuLimit(20)), "it ticked");
    }
}

#[tokio::test]
async fn a_spinning_guest_shares_its_thread_and_leaves_room_in_the_pool() {
    let options = Options { concurrency: 4, per_application: 2, ..Options::default() };
    let stage = Stage::with(Options { cpu_ms: 60_000, timeout_ms: 600_000, ..options });
    let (host, scripted) = (&stage.host, &stage.scripted);
    let spin = || host.call(scripted, call_of(id(1), r#"{"do":"spin"}"#, Map::new()));
    let spinning = async { tokio::join!(spin(), spin(), spin(), spin(), spin(), spin()) };
    let other = async {
        tokio::task::yield_now().await;
        for _ in 0..20 {
            let called = host.call(scripted, call_of(id(2), "{}", Map::new())).await;
            assert_eq!(called.result, Ok(Verdict::Pass));
        }
    };
    // The spinning calls have a minute each: had the other waited for one of them, they would end first.
    tokio::select! {
        _ = spinning => panic!("the other application waited for the spinning one"),
        () = other => {}
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_gives_everything_back() {
    let options = Options { concurrency: 1, per_application: 1, ..Options::default() };
    let stage = Stage::with(Options { cpu_ms: 60_000, timeout_ms: 600_000, ..options });
    for _ in 0..20 {
        let given_up = stage.host.call(&stage.scripted, call(r#"{"do":"spin"}"#));
        let waited = tokio::time::timeout(Duration::from_millis(5), given_up).await;
        assert!(waited.is_err(), "it was still spinning");
    }
    stage.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_the_pool_holds_wait_their_turn() {
    let stage = Arc::new(Stage::new());
    let calls: Vec<_> = (0..200_u32)
        .map(|n| {
            let stage = Arc::clone(&stage);
            tokio::spawn(async move {
                let call = call_of(id(u128::from(n % 7)), r#"{"do":"panic"}"#, Map::new());
                stage.host.call(&stage.scripted, call).await.result
            })
        })
        .collect();
    for call in calls {
        assert!(matches!(call.await.expect("no panic"), Err(CallFailure::Trap { .. })));
    }
    stage.still_works().await;
}

/// `ok(send(list))` of `count` dispatches: a memory of zeros holds any number of the plainest. They start
/// beyond where `cabi_realloc` puts the message.
fn many(count: u32) -> String {
    format!(
        "(i32.store (i32.const 72) (i32.const 2))
         (i32.store (i32.const 76) (i32.const 65536))
         (i32.store (i32.const 80) (i32.const {count}))"
    )
}

#[tokio::test]
async fn ten_million_dispatches_cost_the_host_nothing() {
    let options = Options { concurrency: 1, memory_bytes: 1 << 30, ..Options::default() };
    let host = Host::new(options, None).expect("a host");
    let loaded = host.load(&component(16_000, &many(10_000_000))).expect("loads");
    let called = host.call(&loaded, call("{}")).await;
    assert_eq!(called.result, Err(CallFailure::OutputTooLarge(4 << 20)));

    let loaded = host.load(&component(16_000, &many(u32::MAX))).expect("loads");
    let called = host.call(&loaded, call("{}")).await;
    assert_eq!(called.result.expect_err("a lie").kind(), "trap");

    let loaded = host.load(&component(16_000, &many(1000))).expect("loads");
    let called = host.call(&loaded, call("{}")).await;
    assert!(matches!(called.result, Ok(Verdict::Send(all)) if all.len() == 1000));
}

#[tokio::test]
async fn the_memory_limit_is_that_of_all_memories_together() {
    let stage = Stage::new();
    let grow = |first: u32, second: u32| {
        let body = format!(
            "(if (i32.eq (memory.grow 0 (i32.const {first})) (i32.const -1)) (then unreachable))
             (if (i32.eq (memory.grow $other (i32.const {second})) (i32.const -1)) (then unreachable))"
        );
        stage.host.load(&component(1, &body)).expect("loads")
    };
    let fits = stage.host.call(&grow(600, 400), call("{}")).await;
    assert_eq!(fits.result, Ok(Verdict::Pass));
    assert_eq!(fits.cost.memory_peak, 1002 << 16);
    let over = stage.host.call(&grow(600, 600), call("{}")).await;
    assert_eq!(over.result, Err(CallFailure::MemoryLimit(64 << 20)));
}
