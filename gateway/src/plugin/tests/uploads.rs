//! What `load` takes and refuses, and the cache of compiled code.

use super::*;
use std::{
    fs,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

#[test]
fn what_is_not_a_plugin_is_refused_with_the_reason() {
    let host = Host::new(Options { concurrency: 1, ..Options::default() }, None).expect("a host");
    let plain = component(1, "");
    let text = |text: &str| wat::parse_str(text).expect("text");
    let native = wasmtime::Engine::default().precompile_component(&plain).expect("compiles");
    let mut truncated = plain.clone();
    truncated.truncate(plain.len() - 3);
    let cases: [(&str, Vec<u8>, &str); 12] = [
        ("nothing", vec![], "not WebAssembly"),
        ("text", b"(component)".to_vec(), "not WebAssembly"),
        ("too large", vec![0; (32 << 20) + 1], "at most 33554432"),
        ("native code", native, "precompiled"),
        ("an executable", b"\x7fELF\x02\x01\x01".to_vec(), "precompiled"),
        ("a core module", text("(module)"), "core module"),
        ("a part of one", truncated, "not valid"),
        ("no export", text("(component)"), "it exports nothing"),
        (
            "another version",
            text(
                r#"(component (instance $i) (export "octohooks:plugin/transformer@0.9.0" (instance $i)))"#,
            ),
            "it exports octohooks:plugin/transformer@0.9.0",
        ),
        (
            "an empty export",
            text(
                r#"(component (instance $i) (export "octohooks:plugin/transformer@0.1.0" (instance $i)))"#,
            ),
            "does not fit the contract",
        ),
        (
            "http",
            text(
                r#"(component (import "wasi:http/outgoing-handler@0.2.0" (instance)) (instance $i)
                    (export "octohooks:plugin/transformer@0.1.0" (instance $i)))"#,
            ),
            "imports `wasi:http/outgoing-handler@0.2.0`",
        ),
        ("more memory than there is", component(1025, ""), "cannot be compiled"),
    ];
    for (name, bytes, why) in cases {
        let rejected = host.load(&bytes).expect_err(name).to_string();
        assert!(rejected.contains(why), "{name}: {rejected}");
    }
    assert!(host.load(&plain).is_ok());
}

#[test]
fn threads_and_relaxed_simd_are_refused() {
    let host = Host::new(Options { concurrency: 1, ..Options::default() }, None).expect("a host");
    for inside in [
        "(memory 1 1 shared)",
        "(func (param v128 v128 v128) local.get 0 local.get 1 local.get 2 f32x4.relaxed_madd drop)",
        "(memory i64 1)",
    ] {
        let module = format!("(component (core module {inside}))");
        let rejected = host.load(&wat::parse_str(module).expect("text")).expect_err(inside);
        assert!(matches!(rejected, Rejected::Invalid(_)), "{rejected}");
    }
}

#[test]
fn options_that_cannot_work_are_refused() {
    let fails = |options| Host::new(options, None).map(|_| ()).expect_err("refused").to_string();
    assert!(fails(Options { concurrency: 0, ..Options::default() }).contains("concurrency"));
    assert!(fails(Options { memory_bytes: 1, ..Options::default() }).contains("memory_bytes"));
    assert!(fails(Options { cpu_ms: 0, ..Options::default() }).contains("cpu_ms"));
    assert!(
        fails(Options { compile_memory_bytes: 1, ..Options::default() })
            .contains("compile_memory_bytes")
    );
    assert!(
        fails(Options { compile_concurrency: 0, ..Options::default() })
            .contains("compile_concurrency")
    );
    let unknown = serde_json::from_value::<Options>(json!({ "timeout": 1 }));
    assert!(unknown.is_err());
    let some: Options = serde_json::from_value(json!({ "timeout_ms": 5 })).expect("known");
    assert_eq!(some, Options { timeout_ms: 5, ..Options::default() });
}

/// The one entry of a cache's directory.
fn entry(directory: &Path) -> std::path::PathBuf {
    let mut entries = fs::read_dir(directory).expect("a directory");
    let one = entries.next().expect("an entry").expect("readable").path();
    assert!(entries.next().is_none(), "no temporary file is left");
    one
}

#[tokio::test]
async fn compiled_code_is_taken_from_the_cache_only_if_it_is_ours() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("made/when/needed");
    let options = Options { concurrency: 1, ..Options::default() };
    let host = |key: u8| {
        let cache = Cache::new(path.clone(), [key; 32]);
        Host::new(options.clone(), Some(cache)).expect("a host")
    };
    let bytes = scripted();
    assert!(host(1).load(&bytes).expect("loads").compiled_in.is_some(), "there is none yet");
    assert!(host(1).load(&bytes).expect("loads").compiled_in.is_none(), "found after a restart");

    let spoil = |change: fn(&mut Vec<u8>)| {
        let path = entry(&path);
        let mut entry = fs::read(&path).expect("readable");
        change(&mut entry);
        fs::write(&path, entry).expect("writable");
    };
    let changes: [fn(&mut Vec<u8>); 4] = [
        |entry| *entry.last_mut().expect("a byte") ^= 1,
        |entry| entry[0] ^= 1,
        |entry| entry.truncate(40),
        Vec::clear,
    ];
    for change in changes {
        spoil(change);
        let again = host(1).load(&bytes).expect("loads");
        assert!(again.compiled_in.is_some(), "an altered entry is not used");
        assert!(host(1).load(&bytes).expect("loads").compiled_in.is_none(), "it was mended");
    }
    assert!(
        host(2).load(&bytes).expect("loads").compiled_in.is_some(),
        "another key's is not ours"
    );
    let host = host(2);
    let cached = host.load(&bytes).expect("loads");
    assert!(cached.compiled_in.is_none());
    let called = host.call(&cached, call(r#"{"do":"pass"}"#)).await;
    assert_eq!(called.result, Ok(crate::model::dispatch::Verdict::Pass));
}

#[test]
fn an_entry_does_not_stand_in_for_another_component() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = Cache::new(directory.path().into(), [1; 32]);
    let host =
        Host::new(Options { concurrency: 1, ..Options::default() }, Some(cache)).expect("a host");
    let (a, b) = (component(1, ""), component(2, ""));
    host.load(&a).expect("loads");
    let of_a = entry(directory.path());
    host.load(&b).expect("loads");
    let all = fs::read_dir(directory.path()).expect("a directory").map(|e| e.expect("one").path());
    let of_b = all.into_iter().find(|path| *path != of_a).expect("two entries");
    fs::copy(&of_a, &of_b).expect("copied");
    assert!(host.load(&b).expect("loads").compiled_in.is_some());
}

#[test]
fn what_was_compiled_of_components_that_nobody_wants_goes() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = Cache::new(directory.path().into(), [1; 32]);
    let options = Options { concurrency: 1, ..Options::default() };
    let host = Host::new(options, Some(cache)).expect("a host");
    let (a, b) = (component(1, ""), component(2, ""));
    let wanted = host.load(&a).expect("loads").digest;
    host.load(&b).expect("loads");
    let of_another_engine = directory.path().join(format!("{wanted}-0123456789abcdef.cwasm"));
    for path in [&of_another_engine, &directory.path().join("being-written.tmp")] {
        fs::write(path, "").expect("is written");
    }
    let left = fs::File::create(directory.path().join("left-by-a-kill.tmp")).expect("is written");
    let hours_ago = UNIX_EPOCH + Duration::from_millis(crate::clock::now() - 7_200_000);
    left.set_modified(hours_ago).expect("is older");
    host.forget_compiled(|digest| *digest == wanted);
    assert!(host.load(&a).expect("loads").compiled_in.is_none(), "it is kept");
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 2);
    assert!(host.load(&b).expect("loads").compiled_in.is_some(), "it is compiled again");
}

#[test]
fn what_is_compiled_has_a_bound_on_the_disk_and_what_is_called_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = || Options { concurrency: 1, ..Options::default() };
    let components = [1, 2, 3, 4].map(|pages| component(pages, ""));
    let plain = Host::new(options(), None).expect("a host");
    let [first, ..] = components.each_ref().map(|bytes| plain.load(bytes).expect("loads"));
    assert!(first.code > 0);
    // Entries are of one size: there is room for two and a half.
    let cache = Cache::new(directory.path().into(), [1; 32]);
    let digest = first.digest;
    let cache = cache.within(first.code * 5 / 2, Arc::new(move || [digest].into()));
    let host = Host::new(options(), Some(cache)).expect("a host");
    let count = || fs::read_dir(directory.path()).expect("a directory").count();
    let names = || -> Vec<_> {
        let entries = fs::read_dir(directory.path()).expect("a directory");
        entries.map(|entry| entry.expect("one").file_name()).collect()
    };
    let has = |digest: &crate::model::id::Digest| {
        names().iter().any(|name| name.to_string_lossy().starts_with(&digest.to_string()))
    };
    let mut loaded = Vec::new();
    for (at, bytes) in components.iter().enumerate() {
        loaded.push(host.load(bytes).expect("loads"));
        assert_eq!(count(), (at + 1).min(2), "of {at}");
        assert!(has(&digest), "the one that is called stays");
    }
    assert!(has(&loaded[3].digest), "of the others the newest");
    let again = host.load(&components[0]).expect("loads");
    assert_eq!((again.compiled_in, again.code), (None, first.code), "read, it is as large");
    let compiled = host.load(&components[1]).expect("loads").compiled_in;
    assert!(compiled.is_some(), "what went is made again");
}

#[test]
fn the_registry_finds_by_digest_and_forgets_what_is_not_wanted() {
    let stage = Stage::new();
    let other = stage.host.load(&component(1, "")).expect("loads");
    let registry = Registry::default();
    registry.insert(&stage.scripted);
    registry.insert(&other);
    registry.insert(&other);
    assert_eq!(registry.get(&other.digest).expect("there").digest, other.digest);
    registry.retain(|digest| *digest == stage.scripted.digest);
    assert!(registry.get(&other.digest).is_none());
    assert!(registry.get(&stage.scripted.digest).is_some());
}

#[tokio::test]
async fn what_cannot_be_instantiated_is_refused_when_it_comes() {
    let options = Options { concurrency: 1, per_application: 1, cpu_ms: 50, ..Options::default() };
    let stage = Stage::with(Options { timeout_ms: 60_000, ..options });
    let tenant = Arc::new(tenant(id(1)));
    let start = |body: &str| {
        let text = module("", 1, "").replacen(
            "(module",
            &format!("(module (func $start {body}) (start $start)"),
            1,
        );
        component_with("", "", &text)
    };
    let grow = "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
    for (body, expected) in [
        ("(loop $again (br $again))", CallFailure::CpuLimit(50)),
        (grow, CallFailure::MemoryLimit(64 << 20)),
    ] {
        let rejected = stage.host.admit(tenant.clone(), start(body).into()).await;
        assert_eq!(rejected.expect_err("refused"), Rejected::Probe(expected));
        stage.still_works().await;
    }
    let starved = Stage::with(Options {
        timeout_ms: 20,
        cpu_ms: 60_000,
        concurrency: 1,
        ..Options::default()
    });
    let rejected = starved.host.admit(tenant.clone(), start("(loop $again (br $again))").into());
    let rejected = tokio::time::timeout(Duration::from_secs(60), rejected).await.expect("ends");
    assert_eq!(rejected.expect_err("refused"), Rejected::Probe(CallFailure::Timeout(20)));
    let good = stage.host.admit(tenant, start("nop").into()).await.expect("loads");
    let called = stage.host.call(&good, call("{}")).await;
    assert_eq!(called.result, Ok(crate::model::dispatch::Verdict::Pass));
}
