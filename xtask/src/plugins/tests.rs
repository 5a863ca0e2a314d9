//! The components in `plugins/prebuilt` are what the sources say: all guests are built again, and
//! both are given the same messages. Where rustc and its standard library are those that built the
//! kept ones the bytes are the same too; elsewhere only the behaviour must be.

use super::*;
use octohooks::model::{
    application::Application,
    catalog::Tenant,
    endpoint::Endpoint,
    id::{ApplicationId, EndpointId, EnvironmentId, MessageId},
    message::Message,
    name::{Channel, EventType},
};
use octohooks::plugin::{Call, Called, Host, Level, Settings};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::sync::Arc;
use uuid::Uuid;

/// A message and its application's settings, as the guest `of` gets them.
struct Case {
    of: &'static str,
    event_type: &'static str,
    payload: Value,
    settings: Value,
}

fn case(of: &'static str, event_type: &'static str, payload: Value) -> Case {
    Case { of, event_type, payload, settings: json!({}) }
}

fn cases() -> Vec<Case> {
    let report = |status: &str| {
        json!({ "messageId": "m-1", "to": "+46701234567", "from": "ACME", "status": status,
                "errorCode": "006", "doneDate": "2611240437", "segments": 2, "price": 0.042 })
    };
    let repository = json!({ "full_name": "octo/hello", "id": 7 });
    let commits = json!([{ "id": "a", "added": ["é"] }, { "id": "b" }]);
    vec![
        case("sms-status", "sms.report", report("DELIVRD")),
        case("sms-status", "sms.report", report("UNDELIV")),
        case("sms-status", "sms.report", report("ENROUTE")),
        case("sms-status", "sms.report", report("LOST")),
        case("sms-status", "sms.report", json!({ "messageId": "m-1" })),
        Case {
            settings: json!({ "intermediate": true }),
            ..case("sms-status", "r", report("ENROUTE"))
        },
        case(
            "github-router",
            "push",
            json!({ "ref": "refs/heads/main", "commits": commits,
            "repository": repository, "sender": { "login": "mona" } }),
        ),
        Case {
            settings: json!({ "channels": { "octo/*": ["release"] } }),
            ..case("github-router", "issues.opened", json!({ "repository": repository }))
        },
        case("github-router", "push", json!({ "sender": { "login": "x[bot]" } })),
        case("github-router", "ping", json!([])),
        case("capable", "a", json!({})),
        case("capable", "a", json!({ "steps": [{ "use": "now" }] })),
        case("scripted", "a", json!({})),
        case("scripted", "a", json!({ "do": "echo-message" })),
        case("scripted", "a", json!({ "do": "echo-endpoints" })),
        Case {
            settings: json!({ "k": [1, null] }),
            ..case("scripted", "a", json!({ "do": "echo-settings" }))
        },
        case("scripted", "a", json!({ "do": "log", "level": "warn", "lines": ["one", "two"] })),
        case("scripted", "a", json!({ "do": "retry", "afterMs": 5 })),
        case(
            "scripted",
            "a",
            json!({ "do": "send", "dispatches": [
            { "target": { "channels": ["c"] }, "payload": { "k": 1 }, "delayMs": 7 },
            { "target": { "endpoints": ["crm"] }, "headers": [["x-a", "1"]] }] }),
        ),
    ]
}

#[test]
fn the_kept_components_behave_like_their_sources() {
    let root = root();
    let toolchain = match Toolchain::find(&root, false) {
        Ok(toolchain) => toolchain,
        // Past the test runner, which would keep it for itself.
        Err(error) => {
            return writeln!(std::io::stderr(), "SKIPPED, the guests cannot be rebuilt: {error:#}")
                .expect("an output");
        }
    };
    let guests = Guest::all(&root).map(|guest| {
        let built = toolchain.component(&root, &guest).expect("builds");
        let kept = root.join(format!("plugins/prebuilt/{}.wasm", guest.name));
        (guest.name, built, fs::read(kept).expect("kept: `cargo xtask plugins --update`"))
    });
    let guests: Vec<_> = guests.collect();
    let host = Host::new(octohooks::plugin::Options::default(), None).expect("a host");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().expect("one");
    for (name, built, kept) in guests {
        let [built, kept] = [built, kept].map(|bytes| host.load(&bytes).expect(&name));
        for case in cases().iter().filter(|case| case.of == name) {
            let called = [&built, &kept].map(|loaded| {
                let (host, loaded, call) = (host.clone(), loaded.clone(), call(case));
                let called = runtime.spawn(async move { host.call(&loaded, call).await });
                told(runtime.block_on(called).expect("a call"))
            });
            assert_eq!(called[0], called[1], "{name}, {}", case.payload);
            assert!(!called[0].0.contains("Trap"), "{name}, {}: {}", case.payload, called[0].0);
        }
    }
}

#[test]
fn what_is_no_plugin_is_refused_with_the_reason() {
    let host = Host::new(octohooks::plugin::Options::default(), None).expect("a host");
    for (guest, why) in [
        ("no-export", "it exports nothing"),
        ("imports-ungranted", "imports `wasi:http/outgoing-handler@0.2.0`"),
        ("core-module", "core module"),
    ] {
        let text = root().join(format!("plugins/test-guests/{guest}.wat"));
        let bytes = wat::parse_file(text).expect("WebAssembly");
        let refused = host.load(&bytes).expect_err(guest).to_string();
        assert!(refused.contains(why), "{guest}: {refused}");
    }
}

/// What a call came to, without what it cost.
fn told(called: Called) -> (String, Vec<(Level, String)>) {
    let lines = called.log.into_iter().map(|line| (line.level, line.text)).collect();
    (format!("{:?}", called.result), lines)
}

fn call(case: &Case) -> Call {
    let (environment, application) = (EnvironmentId::DEFAULT, ApplicationId(Uuid::from_u128(1)));
    let endpoint = serde_json::from_value::<Endpoint>(json!({
        "environment": environment, "application": application, "id": EndpointId(Uuid::from_u128(2)),
        "uid": "crm", "name": "CRM", "url": "https://example.com/hook", "enabled": true,
        "event_types": [], "channels": ["c"], "headers": [], "secrets": ["s"], "rate_limit": null,
        "max_in_flight": null, "revision": 1, "created": 1, "updated": 1
    }));
    let endpoint = endpoint.expect("an endpoint");
    let tenant = Tenant {
        application: Application {
            environment,
            id: application,
            uid: None,
            name: "test".into(),
            rate_limit: None,
            retry: None,
            declared: false,
            revision: 1,
            created: 1,
            updated: 1,
        },
        endpoints: [(endpoint.id, Arc::new(endpoint))].into(),
        plugins: Vec::new(),
        grants: None,
    };
    let message = Message {
        content_until: None,
        deliver_at: None,
        expires_at: None,
        ordering_key: None,
        environment,
        application,
        id: MessageId(Uuid::from_u128(3)),
        uid: None,
        event_type: EventType::new(case.event_type).expect("legal"),
        channels: vec![Channel::new("own").expect("legal")],
        payload: case.payload.to_string().into(),
        attributes: Default::default(),
        accepted: 1_700_000_000_123,
    };
    let settings: Map<String, Value> = case.settings.as_object().expect("an object").clone();
    Call {
        message: Arc::new(message),
        tenant: Arc::new(tenant),
        settings: Arc::new(Settings::from(settings)),
        content_type: None,
        effects: true,
    }
}
