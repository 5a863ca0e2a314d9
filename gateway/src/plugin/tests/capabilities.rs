//! What plugins may use: refused where it was not granted, bounded where it was, and nobody else's.

mod requests;

use super::{super::state::NOT_GRANTED, *};
use crate::{
    clock,
    model::{
        dispatch::Verdict,
        grants::{Capabilities, Grants},
        keyvalue::{Entry, Expected, Size, Write, Written},
        name::SecretName,
        secret::Secret,
    },
};
use async_trait::async_trait;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// A world in memory: values without a quota, and a web whose hosts are made of their names.
#[derive(Default)]
struct World {
    values: Mutex<HashMap<(ApplicationId, String), Entry>>,
    sent: Mutex<Vec<Request>>,
    writes: Mutex<Vec<Write>>,
}

#[async_trait]
impl Outside for World {
    async fn value(
        &self,
        application: ApplicationId,
        key: String,
    ) -> Result<Option<Entry>, String> {
        if key == "broken" {
            return Err("the disk is gone".into());
        }
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(values.get(&(application, key)).cloned())
    }

    async fn write(&self, write: Write) -> Result<Written, String> {
        // As a disk does, it takes its time.
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.writes.lock().expect("nobody panics").push(write.clone());
        let mut values = self.values.lock().expect("nobody panics");
        let key = (write.application, write.key.clone());
        let current = values.get(&key).map(|entry| (entry.version, Size::default()));
        let next = current.map_or(1, |(version, _)| version + 1);
        let written = write.decide(current, Size::default(), next);
        match (written, write.value) {
            (Written::Done(version), Some(value)) => {
                values.insert(key, Entry { value, version });
            }
            (Written::Removed(_), _) => {
                values.remove(&key);
            }
            _ => {}
        }
        Ok(written)
    }

    async fn send(&self, request: Request) -> Result<Response, Unsent> {
        self.sent.lock().expect("nobody panics").push(request.clone());
        let size = match request.url.host_str() {
            Some("slow.test") => std::future::pending().await,
            Some("inside.test") => return Err(Unsent::Refused("not a public address".into())),
            Some("large.test") => request.bytes + 1,
            Some("third.test") => request.bytes / 3,
            _ => 2,
        };
        match size > request.bytes {
            true => Err(Unsent::TooLarge),
            false => Ok(Response { status: 404, headers: vec![], body: vec![b'x'; size] }),
        }
    }
}

/// A host before a world, and the guest that uses all of it.
struct Scene {
    world: Arc<World>,
    host: Host,
    capable: Arc<Loaded>,
}

pub(super) fn prebuilt(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/prebuilt");
    std::fs::read(format!("{folder}/{name}.wasm")).expect("made by `cargo xtask plugins --update`")
}

fn scene(options: Options) -> Scene {
    scene_of(Options { concurrency: 4, per_application: 2, ..options })
}

fn scene_of(options: Options) -> Scene {
    let world = Arc::new(World::default());
    let means = Means { outside: world.clone(), ..Means::default() };
    let host = Host::with(options, means).expect("a host");
    let capable = host.load(&prebuilt("capable")).expect("loads");
    Scene { world, host, capable }
}

fn grants(capabilities: &Value) -> Grants {
    let capabilities: Capabilities =
        serde_json::from_value(capabilities.clone()).expect("capabilities");
    assert_eq!(capabilities.wrong(), []);
    Grants { capabilities, ..Grants::none(EnvironmentId::DEFAULT, id(1)) }
}

fn everything() -> Value {
    json!({ "keyvalue": {}, "secrets": true, "clock": true, "random": true,
            "http": { "hosts": ["a.test", "*.test"], "calls": 3, "bytes": 1000, "timeoutMs": 1500 } })
}

fn granted(application: ApplicationId, grants: Option<Grants>) -> Tenant {
    Tenant { grants: grants.map(Arc::new), ..tenant(application) }
}

impl Scene {
    async fn call(&self, grants: Option<Grants>, steps: &Value) -> Called {
        let call = call(json!({ "steps": steps }).to_string());
        let tenant = Arc::new(granted(call.tenant.application.id, grants));
        self.host.call(&self.capable, Call { tenant, ..call }).await
    }

    /// What each step of that application's came to, with everything granted, and half a minute for answers.
    async fn steps_of(&self, application: u128, steps: &Value) -> Vec<Value> {
        let payload = json!({ "steps": steps }).to_string();
        let call = call_of(id(application), payload, Map::new());
        let mut patient = everything();
        patient["http"]["timeoutMs"] = json!(30_000);
        let tenant = Arc::new(granted(id(application), Some(grants(&patient))));
        let called = self.host.call(&self.capable, Call { tenant, ..call }).await;
        let Ok(Verdict::Send(sent)) = called.result else { panic!("{called:?}") };
        serde_json::from_slice(sent[0].payload.as_ref().expect("a payload")).expect("JSON")
    }

    /// What each step came to, with everything granted.
    async fn steps(&self, steps: &Value) -> Vec<Value> {
        self.steps_with(&everything(), steps).await
    }

    async fn steps_with(&self, capabilities: &Value, steps: &Value) -> Vec<Value> {
        let called = self.call(Some(grants(capabilities)), steps).await;
        let Ok(Verdict::Send(sent)) = called.result else { panic!("{called:?}") };
        serde_json::from_slice(sent[0].payload.as_ref().expect("a payload")).expect("JSON")
    }
}

fn admit(host: &Host, bytes: &[u8], tenant: &Tenant) -> Result<Arc<Loaded>, Rejected> {
    let granted = tenant.grants.as_deref().map(|grants| grants.capabilities.clone());
    host.load_granted(bytes, Some(&granted.unwrap_or_else(|| NOT_GRANTED.clone())), true)
}

#[test]
fn an_upload_that_imports_what_was_not_granted_is_refused_with_its_name() {
    let Scene { host, .. } = scene(Options::default());
    let bytes = prebuilt("capable");
    for name in ["keyvalue", "secrets", "clock", "random", "http"] {
        let mut some = everything();
        some.as_object_mut().expect("an object").remove(name);
        let refused = admit(&host, &bytes, &granted(id(1), Some(grants(&some)))).expect_err(name);
        let import = format!("octohooks:plugin/{name}@0.1.0");
        let expected = (import.clone(), name);
        assert!(
            matches!(&refused, Rejected::NotGranted { import, grant } if (import.clone(), *grant) == expected),
            "{refused}"
        );
        assert!(refused.to_string().contains(&format!("imports `{import}`")), "{refused}");
    }
    assert!(admit(&host, &bytes, &granted(id(1), None)).is_err(), "nothing is granted by itself");
    let loaded = admit(&host, &bytes, &granted(id(1), Some(grants(&everything())))).expect("loads");
    let mut names = loaded.capabilities.clone();
    names.sort_unstable();
    assert_eq!(names, ["clock", "http", "keyvalue", "random", "secrets"]);
}

#[test]
fn a_guest_imports_no_capability_that_it_does_not_use() {
    let Scene { host, .. } = scene(Options::default());
    for name in ["scripted", "sms-status", "github-router", "signer", "classifier"] {
        let loaded = admit(&host, &prebuilt(name), &granted(id(1), None)).expect(name);
        assert!(loaded.capabilities.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn what_is_granted_no_longer_fails_the_call_and_is_no_fault_of_the_plugin() {
    let scene = scene(Options::default());
    for (name, step) in [
        ("keyvalue", json!({ "use": "get", "key": "a" })),
        ("keyvalue", json!({ "use": "set", "key": "a", "value": "1" })),
        ("secrets", json!({ "use": "secret", "name": "a" })),
        ("clock", json!({ "use": "now" })),
        ("random", json!({ "use": "random", "count": 1 })),
        ("http", json!({ "use": "http", "url": "http://a.test/" })),
    ] {
        let mut rest = everything();
        rest.as_object_mut().expect("an object").remove(name);
        for grants in [None, Some(grants(&rest))] {
            let called = scene.call(grants, &json!([step])).await;
            let failure = called.result.expect_err("fails");
            assert_eq!(failure, CallFailure::NotGranted(name));
            assert_eq!((failure.kind(), failure.is_fault()), ("not-granted", false));
        }
    }
    assert!(scene.world.sent.lock().expect("one").is_empty());
    assert!(scene.world.writes.lock().expect("one").is_empty());
}

#[tokio::test]
async fn values_are_read_and_written_within_bounds() {
    let scene = scene(Options::default());
    let long = "k".repeat(513);
    let came = scene
        .steps(&json!([
            { "use": "get", "key": "a" },
            { "use": "set", "key": "a", "value": "1", "ttlMs": 5000 },
            { "use": "compare-and-set", "key": "a", "expected": null, "value": "2" },
            { "use": "compare-and-set", "key": "a", "expected": 1, "value": "2" },
            { "use": "get", "key": "a" },
            { "use": "delete", "key": "a" },
            { "use": "delete", "key": "a" },
            { "use": "get", "key": "" },
            { "use": "get", "key": long },
            { "use": "set", "key": "a", "value": "v".repeat(65_537) },
            { "use": "get", "key": "broken" },
        ]))
        .await;
    let expected = json!([
        { "ok": null },
        { "ok": 1 },
        { "error": "Conflict(Some(1))" },
        { "ok": 2 },
        { "ok": { "value": "2", "version": 2 } },
        { "ok": true },
        { "ok": false },
        { "error": "Key" },
        { "error": "Key" },
        { "error": "Value" },
        { "error": "Unavailable(\"the disk is gone\")" },
    ]);
    assert_eq!(json!(came), expected);
    let writes = scene.world.writes.lock().expect("one");
    let expires = writes[0].expires.expect("it has a time");
    assert!(expires > clock::now() && expires <= clock::now() + 5000);
    let quota = Size { keys: 10_000, bytes: 16 << 20 };
    assert_eq!((writes[0].quota, writes[0].application), (quota, id(1)));
    assert_eq!(writes[1].expected, Expected::Version(None));
}

#[tokio::test]
async fn a_call_uses_the_store_so_often_and_its_waits_are_not_its_own_time() {
    // The waits of its writes together take longer than a call may.
    let scene = scene(Options::default());
    let came = scene.steps(&json!([{ "use": "set-many", "count": 128 }])).await;
    assert_eq!(json!(came), json!([{ "ok": 128 }]));
    let came = scene.steps(&json!([{ "use": "set-many", "count": 129 }])).await;
    assert_eq!(json!(came), json!([{ "error": "Calls" }]));
}

#[tokio::test]
async fn secrets_time_and_chance_are_the_real_ones() {
    let scene = scene(Options::default());
    let mut with = grants(&everything());
    with.named.insert(SecretName::new("crm").expect("legal"), Secret::new("t-1"));
    let steps = json!([
        { "use": "secret", "name": "crm" }, { "use": "secret", "name": "other" }, { "use": "now" },
        { "use": "random", "count": 16 }, { "use": "random", "count": 100_000 },
    ]);
    let before = clock::now();
    let mut drawn = Vec::new();
    for _ in 0..2 {
        let called = scene.call(Some(with.clone()), &steps).await;
        let Ok(Verdict::Send(sent)) = called.result else { panic!("{called:?}") };
        let came: Value =
            serde_json::from_slice(sent[0].payload.as_ref().expect("a payload")).expect("JSON");
        assert_eq!((&came[0]["ok"], &came[1]["ok"]), (&json!("t-1"), &Value::Null));
        let now = came[2]["ok"].as_u64().expect("a time");
        assert!((before..=clock::now()).contains(&now), "{now}");
        assert_eq!(came[4]["ok"].as_array().expect("bytes").len(), 65_536);
        drawn.push(came[3]["ok"].clone());
    }
    assert_ne!(drawn[0], drawn[1]);
}

#[tokio::test]
async fn requests_go_to_granted_hosts_alone_and_are_whole() {
    let scene = scene(Options::default());
    let came = scene
        .steps(&json!([
            { "use": "http", "url": "http://a.test/x?y", "method": "PUT", "body": "b",
              "headers": [["X-A", "1"], ["x-a", "2"]], "timeoutMs": 7 },
            { "use": "http", "url": "http://example.com/" },
            { "use": "http", "url": "ftp://a.test/" },
            { "use": "http", "url": "/x" },
            { "use": "http", "url": "http://a.test/", "method": "CONNECT" },
            { "use": "http", "url": "http://a.test/", "method": "A B" },
            { "use": "http", "url": "http://a.test/", "headers": [["Host", "b.test"]] },
            { "use": "http", "url": "http://a.test/", "headers": [["a", "b\r\nc: d"]] },
            { "use": "http", "url": "http://inside.test/" },
        ]))
        .await;
    assert_eq!(came[0]["ok"], json!({ "status": 404, "headers": [], "body": "xx" }));
    for (index, why) in
        [(1, "host example.com"), (2, "scheme"), (3, "URL"), (4, "CONNECT"), (5, "method")]
    {
        let error = came[index]["error"].as_str().expect("an error");
        assert!(error.starts_with("Refused") && error.contains(why), "{error}");
    }
    for (index, why) in [(6, "protocol"), (7, "illegal"), (8, "public")] {
        let error = came[index]["error"].as_str().expect("an error");
        assert!(error.starts_with("Refused") && error.contains(why), "{error}");
    }
    let sent = scene.world.sent.lock().expect("one");
    assert_eq!(sent.len(), 2, "what is refused is not sent");
    assert_eq!((sent[0].method.as_str(), &sent[0].body[..]), ("PUT", &b"b"[..]));
    assert!(sent[0].headers.get_all("x-a").iter().eq(["1", "2"]));
    assert_eq!(sent[0].timeout, Duration::from_millis(7));
}

#[tokio::test]
async fn a_call_has_a_budget_of_requests_bytes_and_time() {
    let scene = scene(Options::default());
    let get = |host: &str| json!({ "use": "http", "url": format!("http://{host}/") });
    let errors = |came: &[Value]| -> Vec<String> {
        came.iter().map(|one| one["error"].as_str().unwrap_or("ok").to_owned()).collect()
    };
    let four = json!([get("a.test"), get("a.test"), get("a.test"), get("a.test")]);
    let came = errors(&scene.steps(&four).await);
    assert_eq!(came[..3], ["ok", "ok", "ok"]);
    assert!(came[3].starts_with("Budget") && came[3].contains("3 requests"), "{}", came[3]);

    let large = json!([get("third.test"), get("large.test"), get("a.test")]);
    let came = errors(&scene.steps(&large).await);
    assert_eq!(came[0], "ok");
    assert!(came[1].contains("1000 bytes") && came[2].contains("1000 bytes"), "{came:?}");

    // Longer than a call may take, and not its own time.
    let slow = json!([get("slow.test"), get("a.test")]);
    let came = errors(&scene.steps(&slow).await);
    assert_eq!(came[0], "Timeout");
    assert!(came[1].contains("1500 ms"), "{}", came[1]);
}

#[test]
fn settings_are_held_against_what_the_plugin_says() {
    let Scene { host, capable, .. } = scene(Options::default());
    let settings = |value: Value| value.as_object().expect("an object").clone();
    let wrong = |value| host.check_settings(&capable, &settings(value)).expect("has a schema");
    assert_eq!(wrong(json!({})), []);
    assert_eq!(wrong(json!({ "limit": 3 })), []);
    assert_eq!(wrong(json!({ "limit": 0 }))[0].path, "/limit");
    assert_eq!(wrong(json!({ "other": 0 })).len(), 1);
    let scripted = host.load(&scripted()).expect("loads");
    let any = host.check_settings(&scripted, &settings(json!({ "any": "thing" })));
    assert_eq!(any, Ok(vec![]), "it does not say");
}

#[tokio::test]
async fn a_call_without_effects_sees_what_it_writes_and_leaves_nothing() {
    let scene = scene(Options::default());
    scene.steps(&json!([{ "use": "set", "key": "a", "value": "there" }])).await;
    let before = scene.world.writes.lock().expect("one").len();
    let steps = json!([
        { "use": "get", "key": "a" },
        { "use": "set", "key": "a", "value": "own" },
        { "use": "get", "key": "a" },
        { "use": "http", "url": "http://a.test/" },
    ]);
    let call = call(json!({ "steps": steps }).to_string());
    let tenant = Arc::new(granted(call.tenant.application.id, Some(grants(&everything()))));
    let call = Call { tenant, effects: false, ..call };
    for _ in 0..2 {
        let called = scene.host.call(&scene.capable, call.clone()).await;
        let Ok(Verdict::Send(sent)) = called.result else { panic!("{called:?}") };
        let payload = sent[0].payload.as_ref().expect("a payload");
        let came: Vec<Value> = serde_json::from_slice(payload).expect("JSON");
        let value = |step: usize| &came[step]["ok"]["value"];
        assert_eq!((value(0), value(2)), (&json!("there"), &json!("own")), "{came:?}");
        assert!(came[3]["error"].as_str().is_some_and(|why| why.contains("tried")), "{came:?}");
    }
    assert_eq!(scene.world.writes.lock().expect("one").len(), before);
    assert!(scene.world.sent.lock().expect("one").is_empty());
}
