//! The host, tested with real guests: `plugins/prebuilt/scripted.wasm`, which does what the payload says,
//! and small ones written as text where no compiler would produce them.

mod admission;
mod calls;
mod capabilities;
mod fixtures;
mod hostile;
mod mutants;
mod signers;
mod uploads;

use super::*;
use crate::model::{
    application::Application,
    catalog::Tenant,
    endpoint::Endpoint,
    id::{ApplicationId, EndpointId, EnvironmentId, MessageId},
    message::Message,
    name::{AttributeName, AttributeValue, Channel, EventType, Uid},
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};
use uuid::Uuid;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// When every message here was accepted.
const ACCEPTED: u64 = 1_700_000_000_123;

/// A host small enough that many fit a test run, and the scripted guest in it.
struct Stage {
    host: Host,
    scripted: Arc<Loaded>,
}

impl Stage {
    fn new() -> Self {
        Self::with(Options { concurrency: 4, per_application: 2, ..Options::default() })
    }

    fn with(options: Options) -> Self {
        let host = Host::new(options, None).expect("a host");
        let scripted = host.load(&scripted()).expect("the scripted guest");
        Self { host, scripted }
    }

    async fn run(&self, script: &Value) -> Called {
        self.host.call(&self.scripted, call(script.to_string())).await
    }

    /// What comes of every call that does nothing wrong, whatever came before it.
    async fn still_works(&self) {
        let called = self.run(&json!({ "do": "drop", "reason": "fine" })).await;
        let expected = crate::model::dispatch::Verdict::Drop("fine".into());
        assert_eq!(called.result, Ok(expected));
    }
}

fn scripted() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/prebuilt/scripted.wasm");
    std::fs::read(path).expect("plugins/prebuilt/scripted.wasm, made by `cargo xtask plugins`")
}

fn id(n: u128) -> ApplicationId {
    ApplicationId(Uuid::from_u128(n))
}

/// An application with two endpoints: 11, whose uid is `crm`, and 12, which is disabled.
fn tenant(application: ApplicationId) -> Tenant {
    let endpoint = |n: u128, uid: Option<&str>, enabled| {
        let id = EndpointId(Uuid::from_u128(n));
        let endpoint = Endpoint {
            environment: EnvironmentId::DEFAULT,
            application,
            id,
            uid: uid.map(|uid| Uid::new(uid).expect("legal")),
            name: "The CRM".into(),
            url: "https://user:secret@crm.example/hook".parse().expect("a URL"),
            disabled: None,
            enabled,
            event_types: vec![EventType::new("a.b").expect("legal")],
            channels: vec![Channel::new("east").expect("legal")],
            headers: vec![("authorization".into(), "Bearer secret".into())],
            secrets: Vec::new(),
            ..crate::model::sample::endpoint()
        };
        (id, Arc::new(endpoint))
    };
    Tenant {
        application: Application {
            environment: EnvironmentId::DEFAULT,
            id: application,
            uid: Uid::new("acme").ok(),
            name: "Acme".into(),
            retry: None,
            rate_limit: None,
            declared: false,
            revision: 1,
            created: 0,
            updated: 0,
        },
        endpoints: BTreeMap::from([endpoint(11, Some("crm"), true), endpoint(12, None, false)]),
        plugins: Vec::new(),
        grants: None,
    }
}

fn call(payload: impl Into<bytes::Bytes>) -> Call {
    call_of(id(1), payload, Map::new())
}

fn call_of(
    application: ApplicationId,
    payload: impl Into<bytes::Bytes>,
    settings: Map<String, Value>,
) -> Call {
    let message = Message {
        content_until: None,
        deliver_at: None,
        expires_at: None,
        ordering_key: None,
        environment: EnvironmentId::DEFAULT,
        application,
        id: MessageId(Uuid::from_u128(5)),
        uid: Uid::new("order-1").ok(),
        event_type: EventType::new("order.paid").expect("legal"),
        channels: vec![Channel::new("east").expect("legal")],
        payload: payload.into(),
        attributes: [(
            AttributeName::new("tier").expect("legal"),
            AttributeValue::new("gold").expect("legal"),
        )]
        .into(),
        accepted: ACCEPTED,
    };
    Call {
        message: Arc::new(message),
        tenant: Arc::new(tenant(application)),
        settings: Arc::new(settings.into()),
        content_type: None,
        effects: true,
    }
}

/// A component from the text of a core module that exports the contract's core function, its memory and
/// `cabi_realloc`. `imports` is WIT beside the contract: packages and `import` lines of the world.
fn component_with(packages: &str, imports: &str, module: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let contract = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/since-v0.1");
    resolve.push_dir(contract).expect("the contract");
    if !packages.is_empty() {
        resolve.push_str("packages.wit", packages).expect("packages");
    }
    let world = format!(
        "package test:guest; world guest {{ include octohooks:plugin/transform@0.1.0; {imports} }}"
    );
    let package = resolve.push_str("guest.wit", &world).expect("a world");
    let world = resolve.select_world(&[package], Some("guest")).expect("the world");
    let mut module = wat::parse_str(module).expect("text of a module");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("types");
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .expect("a component")
}

/// A component that answers every message with what `body` leaves at address 64, in `pages` of memory. A
/// memory full of zeros is `pass`.
fn component(pages: u32, body: &str) -> Vec<u8> {
    component_with("", "", &module("", pages, body))
}

fn module(imports: &str, pages: u32, body: &str) -> String {
    format!(
        r#"(module {imports}
            (memory (export "memory") {pages})
            (memory $other 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
            (func (export "octohooks:plugin/transformer@0.1.0#on-message") (param i32) (result i32)
                {body} i32.const 64))"#
    )
}
