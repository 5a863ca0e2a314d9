//! Nouns for tests: legal ones, to be altered where a test needs something else.

use super::{
    application::Application,
    catalog::Tenant,
    cloud_event::Format,
    delivery::{Delivery, DeliveryKey},
    endpoint::{Endpoint, Method, Scheme},
    event_type::{Entry, Version},
    id::{ApplicationId, Digest, EndpointId, EnvironmentId, EventTypeId, KeyId, MessageId},
    key::{Key, Scope},
    message::{Message, Sequence},
    name::{EventType, PluginName},
    plugin::{Kind, Plugin, Version as Component},
    secret::Secret,
};
use std::{collections::BTreeMap, sync::Arc};
use uuid::Uuid;

/// An application without a uid.
pub fn application() -> Application {
    Application {
        environment: EnvironmentId::DEFAULT,
        id: ApplicationId(Uuid::now_v7()),
        uid: None,
        name: "sample".into(),
        retry: None,
        rate_limit: None,
        declared: false,
        revision: 1,
        created: 1,
        updated: 1,
    }
}

/// An endpoint that takes everything.
pub fn endpoint() -> Endpoint {
    Endpoint {
        environment: EnvironmentId::DEFAULT,
        application: ApplicationId(Uuid::now_v7()),
        id: EndpointId(Uuid::now_v7()),
        uid: None,
        name: "sample".into(),
        url: "https://example.com/hook".parse().expect("a URL"),
        enabled: true,
        disabled: None,
        event_types: Vec::new(),
        channels: Vec::new(),
        headers: Vec::new(),
        secrets: vec![Secret::new("secret")],
        signatures: Scheme::Both,
        ascii_payload: false,
        format: Format::None,
        signer: None,
        classifier: None,
        dead_letter_endpoint: None,
        rate_limit: None,
        max_in_flight: None,
        method: Method::Post,
        user_agent: None,
        timeout: None,
        connect_timeout: None,
        credentials: None,
        client_certificate: None,
        order: Default::default(),
        retry: None,
        declared: false,
        revision: 1,
        renewed: 1,
        created: 1,
        updated: 1,
    }
}

/// An application with that many endpoints.
pub fn tenant(endpoints: usize) -> Tenant {
    let application = application();
    let endpoints: BTreeMap<_, _> = (0..endpoints)
        .map(|_| Endpoint { application: application.id, ..endpoint() })
        .map(|endpoint| (endpoint.id, Arc::new(endpoint)))
        .collect();
    Tenant { application, endpoints, plugins: Vec::new(), grants: None }
}

/// A plugin of that application that sees its messages.
pub fn plugin(application: ApplicationId, name: &str) -> Plugin {
    let digest = Digest([7; 32]);
    let of = (EnvironmentId::DEFAULT, application);
    let name = PluginName::new(name).expect("legal");
    let mut plugin = Plugin::new(of, name, Kind::Transform, 1);
    plugin.add(Component { digest, size: 1, created: 1, signed_by: None, code: 0 });
    plugin.activate(digest);
    plugin
}

/// A message of that application.
pub fn message(application: ApplicationId) -> Message {
    Message {
        environment: EnvironmentId::DEFAULT,
        application,
        id: MessageId(Uuid::now_v7()),
        uid: None,
        event_type: EventType::new("sample.created").expect("legal"),
        channels: Vec::new(),
        payload: r#"{"n": 1}"#.into(),
        attributes: BTreeMap::new(),
        accepted: 1_000,
        content_until: None,
        deliver_at: None,
        expires_at: None,
        ordering_key: None,
    }
}

/// A first delivery of that message to a new endpoint.
pub fn delivery(message: &Arc<Message>, sequence: Sequence) -> Delivery {
    let key = DeliveryKey { message: sequence, ordinal: 0, endpoint: EndpointId(Uuid::now_v7()) };
    Delivery {
        key,
        message: message.clone(),
        content: None,
        plugin: None,
        attempts: 0,
        spent: 0,
        due: 0,
    }
}

/// A key that opens everything of the environment, with a hash that no other sample has.
pub fn key(environment: EnvironmentId) -> Key {
    let id = Uuid::now_v7();
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(id.as_bytes());
    Key {
        id: KeyId(id),
        environment,
        hash: Digest(hash),
        former: None,
        name: "sample".into(),
        scope: Scope::Environment,
        expires: None,
        prefix: "key_00…".into(),
        revision: 1,
        created: 1,
        updated: 1,
    }
}

/// An event type whose payloads must be texts.
pub fn event_type(environment: EnvironmentId, name: &str) -> Entry {
    let version =
        Version { version: 1, schema: serde_json::json!({ "type": "string" }), created: 1 };
    Entry {
        environment,
        id: EventTypeId(Uuid::now_v7()),
        name: EventType::new(name).expect("legal"),
        description: "sample".into(),
        enforce: true,
        example: None,
        versions: vec![version],
        revision: 1,
        created: 1,
        updated: 1,
    }
}
