//! Notices: messages of the gateway's own, to tell an environment's operators of what happens to its endpoints. They are
//! delivered like any message, to the endpoints of a reserved application; without one of those, nothing is noted.

use super::{
    Millis,
    attempt::{Attempt, Outcome},
    catalog::{Change, Snapshot, Tenant},
    delivery::{Delivery, Next},
    endpoint::Endpoint,
    health::Trouble,
    id::{Digest, EnvironmentId, MessageId},
    message::{Attributes, Message},
    name::{EventType, PluginName},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// The uid of an environment's reserved application.
pub const APPLICATION: &str = "octohooks-operational";
/// A delivery is failing from this attempt of its schedule on.
const FAILING: u32 = 4;

/// What is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// What happened, such as `endpoint.disabled`.
    pub event_type: &'static str,
    /// To what.
    pub payload: Value,
}

impl Notice {
    /// The message that says so, of this reserved application.
    #[must_use]
    pub fn message(&self, reserved: &Tenant, id: MessageId, now: Millis) -> Option<Message> {
        Some(Message {
            environment: reserved.application.environment,
            application: reserved.application.id,
            id,
            uid: None,
            event_type: EventType::new(self.event_type).ok()?,
            channels: Vec::new(),
            payload: self.payload.to_string().into(),
            attributes: Attributes::new(),
            accepted: now,
            content_until: None,
            deliver_at: None,
            expires_at: None,
            ordering_key: None,
        })
    }
}

/// The environment's reserved application, if anybody listens there.
#[must_use]
pub fn listeners(catalog: &Snapshot, environment: EnvironmentId) -> Option<&Arc<Tenant>> {
    let tenant = catalog.find(environment, APPLICATION)?;
    tenant.endpoints.values().any(|endpoint| endpoint.enabled).then_some(tenant)
}

/// What an attempt, the schedule's `number`-th, gives to tell. Of most there is nothing.
#[must_use]
pub fn of_attempt(
    tenant: &Tenant,
    endpoint: &Endpoint,
    delivery: &Delivery,
    attempt: &Attempt,
    number: u32,
    next: Next,
) -> Option<Notice> {
    let event_type = match next {
        Next::DeadLetter => "message.attempt.exhausted",
        Next::RetryAt(_) if number == FAILING => "message.attempt.failing",
        Next::Delivered if number > FAILING => "message.attempt.recovered",
        _ => return None,
    };
    if is_reserved(tenant) {
        return None;
    }
    let (status, error) = match &attempt.outcome {
        Outcome::Answered(answer) => (Some(answer.status), None),
        Outcome::Failed { class, .. } => (None, Some(class.name())),
    };
    let mut payload = of_endpoint(tenant, endpoint);
    payload["type"] = json!(event_type);
    payload["message"] = json!({
        "id": delivery.message.id,
        "uid": delivery.message.uid,
        "eventType": delivery.message.event_type,
    });
    payload["attempt"] = json!({
        "number": attempt.number,
        "timestamp": attempt.at,
        "statusCode": status,
        "errorClass": error,
    });
    Some(Notice { event_type, payload })
}

/// That an endpoint has only failed for a while, and when it will be disabled if it goes on like that.
#[must_use]
pub fn of_failing(
    tenant: &Tenant,
    endpoint: &Endpoint,
    trouble: &Trouble,
    disabled_at: Millis,
) -> Option<Notice> {
    if is_reserved(tenant) {
        return None;
    }
    let event_type = "endpoint.failing";
    let mut payload = of_endpoint(tenant, endpoint);
    payload["type"] = json!(event_type);
    payload["failing"] = json!({
        "since": trouble.failing_since,
        "failures": trouble.failures,
        "disabledAt": disabled_at,
    });
    Some(Notice { event_type, payload })
}

/// What a change of this catalog gives to tell.
#[must_use]
pub fn of_change(catalog: &Snapshot, change: &Change) -> Vec<Notice> {
    match change {
        Change::PutEndpoint(new) => {
            let Some(tenant) = catalog.tenant(new.application) else { return Vec::new() };
            let event_type = match tenant.endpoints.get(&new.id).map(|old| old.enabled) {
                None => "endpoint.created",
                Some(true) if !new.enabled => "endpoint.disabled",
                Some(false) if new.enabled => "endpoint.enabled",
                Some(_) => "endpoint.updated",
            };
            let mut notices = about(event_type, tenant, [new]);
            if event_type == "endpoint.disabled" {
                // None: somebody did.
                notices
                    .iter_mut()
                    .for_each(|notice| notice.payload["reason"] = json!(new.disabled));
            }
            notices
        }
        Change::DeleteEndpoint(application, id) => {
            let Some(tenant) = catalog.tenant(*application) else { return Vec::new() };
            about("endpoint.deleted", tenant, tenant.endpoints.get(id).map(|gone| &**gone))
        }
        Change::DeleteApplication(application) => {
            let Some(tenant) = catalog.tenant(*application) else { return Vec::new() };
            about("endpoint.deleted", tenant, tenant.endpoints.values().map(|gone| &**gone))
        }
        Change::QuarantinePlugin(application, name, digest, reason) => {
            let tenant = catalog.tenant(*application).filter(|tenant| !is_reserved(tenant));
            tenant.map(|tenant| quarantined(tenant, name, digest, reason)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn quarantined(tenant: &Tenant, name: &PluginName, digest: &Digest, reason: &str) -> Notice {
    let event_type = "plugin.quarantined";
    // Of a version that is tried the plugin goes on without.
    let is_tried = tenant.plugin(name).is_some_and(|plugin| plugin.active != Some(*digest));
    let payload = json!({
        "type": event_type,
        "application": of_application(tenant),
        "plugin": { "name": name, "digest": digest, "reason": reason, "trial": is_tried },
    });
    Notice { event_type, payload }
}

fn about<'a>(
    event_type: &'static str,
    tenant: &Tenant,
    endpoints: impl IntoIterator<Item = &'a Endpoint>,
) -> Vec<Notice> {
    if is_reserved(tenant) {
        return Vec::new();
    }
    let notices = endpoints.into_iter().map(|endpoint| {
        let mut payload = of_endpoint(tenant, endpoint);
        payload["type"] = json!(event_type);
        Notice { event_type, payload }
    });
    notices.collect()
}

/// Whether it is an environment's reserved application: of its own deliveries nothing is told, or telling never ends.
fn is_reserved(tenant: &Tenant) -> bool {
    tenant.application.uid.as_deref() == Some(APPLICATION)
}

fn of_application(tenant: &Tenant) -> Value {
    let application = &tenant.application;
    json!({ "id": application.id, "uid": application.uid, "name": application.name })
}

/// Whose endpoint it is, and where it is: never its secrets or headers.
fn of_endpoint(tenant: &Tenant, endpoint: &Endpoint) -> Value {
    json!({
        "application": of_application(tenant),
        "endpoint": {
            "id": endpoint.id,
            "uid": endpoint.uid,
            "name": endpoint.name,
            "url": endpoint.url,
            "enabled": endpoint.enabled,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{attempt::Answer, message::Sequence, name::Uid, sample};

    #[test]
    fn most_attempts_have_nothing_to_tell() {
        let tenant = sample::tenant(1);
        let endpoint = tenant.endpoints.values().next().expect("one");
        let message = Arc::new(sample::message(tenant.application.id));
        let delivery = sample::delivery(&message, Sequence(1));
        let outcome = Outcome::Answered(Answer { status: 500, ..Answer::default() });
        let attempt = Attempt { number: 9, at: 1, latency: 1, revision: None, outcome };
        for (number, next, expected) in [
            (1, Next::Delivered, None),
            (FAILING, Next::Delivered, None),
            (FAILING + 1, Next::Delivered, Some("message.attempt.recovered")),
            (1, Next::RetryAt(5), None),
            (FAILING, Next::RetryAt(5), Some("message.attempt.failing")),
            (FAILING + 1, Next::RetryAt(5), None),
            (8, Next::DeadLetter, Some("message.attempt.exhausted")),
            (8, Next::Disabled, None),
        ] {
            let told = of_attempt(&tenant, endpoint, &delivery, &attempt, number, next);
            assert_eq!(
                told.as_ref().map(|notice| notice.event_type),
                expected,
                "{number} {next:?}"
            );
        }
        let mut reserved = tenant.clone();
        reserved.application.uid = Uid::new(APPLICATION).ok();
        let told = of_attempt(&reserved, endpoint, &delivery, &attempt, 8, Next::DeadLetter);
        assert_eq!(told, None, "of its own deliveries");
        let told = of_attempt(&tenant, endpoint, &delivery, &attempt, 8, Next::DeadLetter);
        let text = told.expect("is told").payload.to_string();
        assert!(text.contains(&endpoint.id.to_string()) && !text.contains("secret"), "{text}");
    }
}
