//! Plugins that mean harm, in a live gateway: what they do is refused at the upload or recorded with the message, the
//! next good message is delivered, and the gateway's memory is back where it was.

use super::{
    receiver::Receiver,
    rig::{Gateway, component, until},
};
use guests::{bombs, functions, guest};
use serde_json::json;
use std::fs;

mod guests;

/// When a guest's misdeed shows.
#[derive(Clone, Copy, Debug)]
enum Shows {
    /// At its upload, which is refused for this reason.
    Uploaded(&'static str),
    /// At its first message, which is parked for this reason.
    Called(&'static str),
}

use Shows::{Called, Uploaded};

const GUESTS: [(&str, Shows); 26] = [
    ("spin-in-start", Uploaded("instantiated: the plugin used up its CPU time")),
    ("grow-in-start", Uploaded("instantiated: the plugin wanted more memory")),
    ("recurse-in-start", Uploaded("stack")),
    ("unreachable-in-start", Uploaded("unreachable")),
    ("too-large-memory", Uploaded("cannot be compiled")),
    ("many-memories", Uploaded("cannot be compiled")),
    ("large-table", Uploaded("cannot be compiled")),
    ("spin-in-export", Called("CPU time")),
    ("spin-in-realloc", Called("CPU time")),
    ("realloc-outside", Called("crashed")),
    ("grow", Called("more memory")),
    ("grow-table", Called("more than the 32768 elements that its tables may have")),
    ("recurse", Called("stack")),
    ("unreachable", Called("unreachable")),
    ("huge-list", Called("crashed")),
    ("many-dispatches", Called("larger than its limit")),
    ("huge-string", Called("crashed")),
    ("large-string", Called("larger than its limit")),
    ("many-headers", Called("larger than its limit")),
    ("invalid-utf8", Called("crashed")),
    ("unknown-endpoint", Called("`elsewhere`")),
    ("unknown-case", Called("crashed")),
    ("answer-outside", Called("crashed")),
    ("log-flood", Called("CPU time")),
    ("large-log-line", Called("larger than its limit")),
    ("bad-handle", Called("crashed")),
];

/// A gateway with an application that is attacked, and one that is not.
struct Scene {
    gateway: Gateway,
    receiver: Receiver,
    delivered: usize,
}

impl Scene {
    async fn new(environment: &[(&str, &str)]) -> Self {
        let (gateway, receiver) = (Gateway::start(environment).await, Receiver::start().await);
        for application in ["hostile", "peaceful"] {
            gateway.application(application, &[&receiver.url(&format!("/ok/{application}"))]).await;
            assert_eq!(gateway.upload(application, component("scripted")).await.0, 200);
        }
        Self { gateway, receiver, delivered: 0 }
    }

    /// One guest's visit, after which everything is as it was.
    async fn visit(&mut self, name: &str, shows: Shows) {
        let (status, answer) = self.gateway.upload("hostile", guest(name)).await;
        match shows {
            Uploaded(why) => {
                let text = answer["message"].as_str().unwrap_or_default();
                assert_eq!((status.as_u16(), &answer["code"]), (422, &json!("invalid_component")));
                assert!(text.contains(why), "{name}: {text}");
            }
            Called(why) => {
                assert_eq!(status, 200, "{name}: {answer}");
                let message = self.gateway.message("hostile", json!({ "n": 0 })).await;
                let parked = self.gateway.held("hostile", &message, "parked").await;
                let reason = parked["reason"].as_str().expect("a reason");
                assert!(reason.contains(why), "{name}: {reason}");
                // What was parked is delivered by the version that comes after.
                assert_eq!(self.gateway.upload("hostile", component("scripted")).await.0, 200);
                self.delivered += 1;
            }
        }
        self.good_messages_pass().await;
    }

    async fn good_messages_pass(&mut self) {
        self.delivered += 1;
        for application in ["hostile", "peaceful"] {
            self.gateway.message(application, json!({ "n": 0 })).await;
        }
        self.receiver.wait_for("/ok/hostile", self.delivered).await;
    }

    /// The gateway's resident memory, in bytes.
    fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.gateway.id()));
        let status = status.expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib << 10
    }

    /// The processes that the gateway started and that are there.
    fn children(&self) -> Vec<String> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.gateway.id())).expect("threads");
        let children = threads.flat_map(|thread| {
            let path = thread.expect("a thread").path().join("children");
            let text = fs::read_to_string(path).unwrap_or_default();
            text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        });
        children.collect()
    }
}

/// Few instances, so that a few rounds use them all. Time enough to touch 64 MiB, also where the tests share few cores.
const LIMITS: [(&str, &str); 4] = [
    ("OCTOHOOKS_PLUGINS__CONCURRENCY", "2"),
    ("OCTOHOOKS_PLUGINS__PER_APPLICATION", "1"),
    ("OCTOHOOKS_PLUGINS__CPU_MS", "400"),
    ("OCTOHOOKS_PLUGINS__TIMEOUT_MS", "60000"),
];

#[tokio::test]
async fn no_guest_harms_another_application_or_takes_memory_for_good() {
    let mut scene = Scene::new(&LIMITS).await;
    let mut resident = Vec::new();
    for _ in 0..5 {
        for (name, shows) in GUESTS {
            scene.visit(name, shows).await;
        }
        resident.push(scene.resident());
    }
    scene.receiver.wait_for("/ok/peaceful", 5 * GUESTS.len()).await;
    // The first rounds fill caches and pools.
    let (before, after) = (resident[1], resident[4]);
    assert!(after < before + (24 << 20), "three rounds more took memory: {resident:?}");
    assert_eq!(scene.children(), Vec::<String>::new());
}

#[tokio::test]
async fn a_bomb_for_the_compiler_takes_nobodys_place() {
    let mut scene = Scene::new(&LIMITS).await;
    for (name, bomb) in bombs() {
        let peaceful = async {
            let message = scene.gateway.message("peaceful", json!({ "n": 0 })).await;
            assert_eq!(scene.gateway.settled("peaceful", &message).await[0]["status"], "success");
            // There is a place to compile, too: one application has one at a time.
            assert_eq!(scene.gateway.upload("peaceful", component("sms-status")).await.0, 200);
            assert_eq!(scene.gateway.upload("peaceful", component("scripted")).await.0, 200);
        };
        let ((status, answer), ()) = tokio::join!(scene.gateway.upload("hostile", bomb), peaceful);
        assert_eq!(
            (status.as_u16(), &answer["code"]),
            (422, &json!("invalid_component")),
            "{name}"
        );
        scene.good_messages_pass().await;
    }
    assert_eq!(scene.children(), Vec::<String>::new());
}

#[tokio::test]
async fn compiling_is_stopped_by_whichever_limit_is_reached_first() {
    const ROOMY: (&str, &str) = ("OCTOHOOKS_PLUGINS__COMPILE_MEMORY_BYTES", "4294967296");
    let bomb = functions(100_000);
    // What is good is compiled before the limits are too small for it.
    let mut scene = Scene::new(&[]).await;
    // That the clock was faster may be the machine's doing.
    for (name, value, expected, why) in [
        ("OCTOHOOKS_PLUGINS__COMPILE_CPU_SECONDS", "1", 422, "1 s of CPU time"),
        ("OCTOHOOKS_PLUGINS__COMPILE_TIMEOUT_MS", "300", 503, "300 ms"),
        ("OCTOHOOKS_PLUGINS__COMPILE_MEMORY_BYTES", "268435456", 422, "268435456 bytes of memory"),
    ] {
        scene.gateway.set(ROOMY.0, ROOMY.1);
        scene.gateway.set(name, value);
        scene.gateway.restart().await;
        let (status, answer) = scene.gateway.upload("hostile", bomb.clone()).await;
        let text = answer["message"].as_str().unwrap_or_default();
        assert!(status == expected && text.contains(why), "{name}: {status} {text}");
        assert_eq!(scene.children(), Vec::<String>::new());
        scene.good_messages_pass().await;
        scene.gateway.unset(name);
    }
}

#[tokio::test]
async fn an_application_that_uploads_without_end_is_told_to_wait() {
    let scene = Scene::new(&[]).await;
    let bomb = functions(100_000);
    let uploads = (0..8).map(|_| scene.gateway.upload("hostile", bomb.clone()));
    let answers = futures_util::future::join_all(uploads);
    let other = async {
        until("the compiler is busy", async || (!scene.children().is_empty()).then_some(())).await;
        scene.gateway.upload("peaceful", component("sms-status")).await
    };
    let (answers, other) = tokio::join!(answers, other);
    assert_eq!(other.0, 200, "{}", other.1);
    let waits = answers.iter().filter(|(status, _)| *status == 503).count();
    assert_eq!(waits, 4, "four are compiled in turn: {answers:?}");
    let told = answers.iter().find(|(status, _)| *status == 503).expect("one");
    assert_eq!(told.1["code"], "unavailable");
}

#[tokio::test]
async fn native_code_is_refused_also_the_gateways_own() {
    let mut scene = Scene::new(&[]).await;
    let folder = scene.gateway.path("data").join("compiled");
    let entry = fs::read_dir(&folder).expect("a folder").next().expect("an entry").expect("one");
    let entry = fs::read(entry.path()).expect("readable");
    for (bytes, why) in [(entry[32..].to_vec(), "precompiled"), (entry, "not WebAssembly")] {
        let (status, answer) = scene.gateway.upload("hostile", bytes).await;
        let text = answer["message"].as_str().unwrap_or_default();
        assert!(status == 422 && text.contains(why), "{status} {text}");
    }
    scene.good_messages_pass().await;
}

#[tokio::test]
async fn what_is_refused_leaves_no_native_code_on_the_disk() {
    let gateway = Gateway::start(&[("OCTOHOOKS_PLUGINS__CODE_BYTES", "1000000")]).await;
    gateway.application("hooli", &[]).await;
    let compiled = || fs::read_dir(gateway.path("data/compiled")).map_or(0, Iterator::count);
    for (name, bytes, why) in [
        ("a probe that fails", guest("unreachable-in-start"), "cannot be instantiated"),
        ("too much code", functions(100_000), "more than 1000000 bytes of native code"),
    ] {
        let (status, error) = gateway.upload("hooli", bytes).await;
        assert_eq!(status, 422, "{name}: {error}");
        let message = error["message"].as_str().expect("a text");
        assert!(message.contains(why), "{name}: {message}");
        assert_eq!(compiled(), 0, "{name}");
    }
    assert_eq!(gateway.upload("hooli", component("scripted")).await.0, 200);
    assert_eq!(compiled(), 1);
}
