//! Who compiles when, and what an end that is nobody's fault is told as. The compiler is a script here.

use super::*;
use futures_util::FutureExt;
use std::{fs, process::Command, time::Duration};

/// A host that compiles with a script, in whose directory it runs.
struct Scene {
    host: Host,
    directory: tempfile::TempDir,
}

impl Scene {
    fn new(script: &str, options: Options) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("compiler");
        let text = format!("#!/bin/sh\ncd {}\n{script}\n", directory.path().display());
        // Whoever has a file open to write it cannot run it, and tests beside this one inherit what is open.
        let written = Command::new("/bin/sh")
            .args(["-c", r#"printf %s "$1" > "$0" && chmod 700 "$0""#])
            .args([path.as_os_str(), text.as_ref()])
            .status();
        assert!(written.expect("a shell").success());
        let options = Options { concurrency: 1, per_application: 1, ..options };
        let means = Means { compiler: Compiler::Child(path), ..Means::default() };
        Self { host: Host::with(options, means).expect("a host"), directory }
    }

    fn load(&self, pages: u32) -> impl Future<Output = Result<Arc<Loaded>, Rejected>> {
        self.host.load_in_turn(id(1), component(pages, "").into())
    }

    /// How many compilers have started.
    fn started(&self) -> usize {
        let starts = fs::read_to_string(self.directory.path().join("started"));
        starts.unwrap_or_default().lines().count()
    }
}

#[tokio::test]
async fn who_leaves_gives_up_waiting_and_no_turn_in_which_something_runs() {
    const WAITS: &str =
        "echo >> started; while [ ! -e go ]; do /bin/sleep 0.01; done; echo no >&2; exit 65";
    let scene = Scene::new(WAITS, Options { compile_concurrency: 4, ..Options::default() });
    let mut leaves = Box::pin(scene.load(1));
    while scene.started() == 0 {
        let ended = tokio::time::timeout(Duration::from_millis(10), &mut leaves).await;
        assert!(ended.is_err(), "it waits: {ended:?}");
    }
    drop(leaves);
    let gate = &scene.host.0.compiles.gate;
    let mut waits = Box::pin(scene.load(2));
    for _ in 0..10 {
        let ended = tokio::time::timeout(Duration::from_millis(10), &mut waits).await;
        assert!(ended.is_err(), "it has no turn: {ended:?}");
        assert!(gate.turn(id(1)).now_or_never().is_none(), "the compiler has it");
    }
    assert_eq!(scene.started(), 1);
    drop(waits);
    fs::write(scene.directory.path().join("go"), "").expect("is written");
    drop(gate.turn(id(1)).await);
    assert_eq!(scene.started(), 1, "nobody waited for the other");
    let refused = scene.load(3).await.expect_err("is refused");
    assert_eq!((refused, scene.started()), (Rejected::Compile("no".into()), 2));
}

#[tokio::test]
async fn a_compiler_that_the_machine_ends_is_nobodys_fault() {
    let patient = Options::default();
    let short = Options { compile_timeout_ms: 50, ..Options::default() };
    for (script, options, fault, why) in [
        ("kill -KILL $$", &patient, false, "was killed"),
        ("exec /bin/sleep 600", &short, false, "longer than 50 ms"),
        ("kill -SEGV $$", &patient, true, "crashed"),
        ("kill -XCPU $$", &patient, true, "60 s of CPU time"),
        ("echo memory allocation of 5 bytes failed >&2; kill -ABRT $$", &patient, true, "memory"),
    ] {
        let rejected = Scene::new(script, options.clone()).load(1).await.expect_err(script);
        assert_eq!(rejected.is_fault(), fault, "{script}: {rejected}");
        assert!(rejected.to_string().contains(why), "{script}: {rejected}");
        assert_eq!(rejected.is_of_the_moment(), fault, "{script}: it was compiled once");
    }
    assert!(!Rejected::Probe(CallFailure::Timeout(1)).is_fault(), "it was starved");
    assert!(Rejected::Probe(CallFailure::CpuLimit(1)).is_fault());
}

#[test]
fn why_a_component_could_not_be_loaded_is_remembered_until_it_is() {
    let (stage, registry) = (Stage::new(), Registry::default());
    let digest = stage.scripted.digest;
    assert_eq!(registry.rejected_before(&digest), None);
    registry.reject(digest, Rejected::OutOfMemory(1));
    assert_eq!(registry.rejected_before(&digest), Some(Rejected::OutOfMemory(1)));
    registry.insert(&stage.scripted);
    assert_eq!(registry.rejected_before(&digest), None);
}

#[tokio::test]
async fn a_component_becomes_no_more_code_than_it_may() {
    let options = Options { code_bytes: 1000, ..Options::default() };
    let endless = Scene::new("while :; do echo and more and more; done", options.clone());
    assert_eq!(endless.load(1).await.expect_err("is refused"), Rejected::TooMuchCode(1000));
    let host = Host::new(Options { concurrency: 1, ..options }, None).expect("a host");
    assert_eq!(host.load(&scripted()).expect_err("is refused"), Rejected::TooMuchCode(1000));
}

#[tokio::test]
async fn what_was_compiled_is_kept_once_it_is_a_version() {
    let directory = tempfile::tempdir().expect("a directory");
    let host = || {
        let cache = Cache::new(directory.path().join("compiled"), [1; 32]);
        let options = Options { concurrency: 1, ..Options::default() };
        Host::new(options, Some(cache)).expect("a host")
    };
    let (first, tenant) = (host(), Arc::new(tenant(id(1))));
    let admitted = first.admit(tenant.clone(), scripted().into()).await.expect("is admitted");
    assert!(!directory.path().join("compiled").exists(), "it may come to nothing");
    first.keep(&admitted).await;
    let second = host();
    let again = second.load_in_turn(id(1), scripted().into()).await.expect("loads");
    assert_eq!(again.compiled_in, None, "it was kept");
    let called = second.call(&again, call(r#"{"do":"pass"}"#)).await;
    assert_eq!(called.result, Ok(crate::model::dispatch::Verdict::Pass));
}
