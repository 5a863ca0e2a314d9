//! What a plugin says its settings must look like, and whether they do. Asked when a component is uploaded, activated or
//! configured; never on a message's way.

use super::{
    call::{Call, Called, Settings},
    compile::{Loaded, Rejected},
    host::Host,
};
use crate::model::{
    application::Application,
    catalog::Tenant,
    event_type::{Form, Violation},
    id::{ApplicationId, EnvironmentId, MessageId},
    message::Message,
    name::EventType,
};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};
use uuid::Uuid;

/// The longest schema, in bytes.
const SCHEMA: usize = 256 << 10;

/// What a plugin's settings must look like.
#[derive(Debug)]
pub struct Schema {
    /// As the plugin says it.
    pub schema: Value,
    form: Form,
}

impl Schema {
    fn new(text: &str) -> Result<Self, String> {
        if text.len() > SCHEMA {
            return Err(format!("it has {} bytes, where at most {SCHEMA} are allowed", text.len()));
        }
        let schema =
            serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
        let wrong = |v: Violation| format!("{} {}", v.path, v.message).trim_start().to_owned();
        let form = Form::new(&schema).map_err(wrong)?;
        Ok(Self { schema, form })
    }
}

impl Schema {
    /// What is wrong with these settings.
    #[must_use]
    pub fn violations(&self, settings: &Map<String, Value>) -> Vec<Violation> {
        self.form.violations(&Value::Object(settings.clone()))
    }
}

impl Host {
    /// What the plugin says its settings must look like; none if it does not say. Blocking: it is asked once, within the
    /// limits of a call.
    pub fn settings_schema(&self, loaded: &Loaded) -> Result<Option<Arc<Schema>>, Rejected> {
        if let Some(known) = loaded.schema.get() {
            return Ok(known.clone());
        }
        let schema = match loaded.made.is_configured() {
            true => Some(Arc::new(self.ask(loaded).map_err(Rejected::Schema)?)),
            false => None,
        };
        Ok(loaded.schema.get_or_init(|| schema).clone())
    }

    /// What is wrong with these settings for the plugin; nothing where it does not say what they must look like. Blocking
    /// when it is asked first.
    pub fn check_settings(
        &self,
        loaded: &Loaded,
        settings: &Map<String, Value>,
    ) -> Result<Vec<Violation>, Rejected> {
        let schema = self.settings_schema(loaded)?;
        Ok(schema.map(|schema| schema.violations(settings)).unwrap_or_default())
    }

    /// On a runtime of its own: this thread may be blocked, and no other is.
    fn ask(&self, loaded: &Loaded) -> Result<Schema, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| format!("it cannot be asked: {error}"))?;
        let Called { result, .. } = runtime.block_on(self.schema(loaded, nobody()?));
        Schema::new(&result.map_err(|failure| failure.to_string())?)
    }
}

/// A call of no application, with no message and no grants.
fn nobody() -> Result<Call, String> {
    let (environment, application) = (EnvironmentId::DEFAULT, ApplicationId(Uuid::nil()));
    let message = Message {
        environment,
        application,
        id: MessageId(Uuid::nil()),
        uid: None,
        event_type: EventType::new("configuration").map_err(|error| error.to_string())?,
        channels: Vec::new(),
        payload: Bytes::new(),
        attributes: BTreeMap::new(),
        accepted: 0,
        content_until: None,
        deliver_at: None,
        expires_at: None,
        ordering_key: None,
    };
    let application = Application {
        environment,
        id: application,
        uid: None,
        name: String::new(),
        retry: None,
        rate_limit: None,
        declared: false,
        revision: 0,
        created: 0,
        updated: 0,
    };
    let (endpoints, plugins, grants) = (BTreeMap::new(), Vec::new(), None);
    let tenant = Tenant { application, endpoints, plugins, grants };
    let (message, tenant) = (Arc::new(message), Arc::new(tenant));
    let settings = Arc::new(Settings::from(Map::new()));
    Ok(Call { message, tenant, settings, content_type: None, effects: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_bounded_json_that_settings_are_held_against() {
        for (text, why) in [
            ("{", "no JSON"),
            (r#"{"type": 7}"#, "7"),
            (r##"{"$ref": "#"}"##, ""),
            (r#"{"$schema": "http://json-schema.org/draft-07/schema#"}"#, "must be"),
            (&format!("\"{}\"", "x".repeat(SCHEMA)), "at most"),
        ] {
            let error = Schema::new(text).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
        let schema = Schema::new(r#"{"required": ["a"], "properties": {"a": {"type": "string"}}}"#);
        let schema = schema.expect("a schema");
        let wrong = schema.form.violations(&serde_json::json!({ "a": 1 }));
        assert_eq!(wrong.len(), 1);
        assert_eq!(wrong[0].path, "/a");
    }
}
