//! Transforms, and what every plugin may import: the bindings that the other files share, the call of a transform, and the
//! answers to `log`, `settings` and `application`.

use crate::{
    model::{
        dispatch::{Dispatch, Target, Verdict},
        message,
        name::{BadName, Channel, EventType},
    },
    plugin::{
        call::{CallFailure, Level, cut, reason},
        check::MAX_DELAY,
        state::State,
    },
};
use serde_json::Value;
use uuid::Uuid;
use wasmtime::{Result, Store};

pub(super) mod bindings {
    #![allow(missing_docs, reason = "generated; the documentation is in the WIT")]
    wasmtime::component::bindgen!({
        path: "../wit/since-v0.1",
        inline: "
            package octohooks:host;
            world transforming {
                include octohooks:plugin/transform@0.1.0;
                include octohooks:plugin/capabilities@0.1.0;
            }
        ",
        world: "octohooks:host/transforming",
        imports: {
            "octohooks:plugin/keyvalue": async | trappable,
            "octohooks:plugin/http": async | trappable,
            "octohooks:plugin/secrets": trappable,
            "octohooks:plugin/clock": trappable,
            "octohooks:plugin/random": trappable,
        },
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

use bindings::{
    TransformingPre,
    octohooks::plugin::{application, log, settings, types},
};

/// Makes an instance in the store and calls it. The outer error is a trap or a limit; the verdict's names are checked, what
/// it says is not.
pub(super) async fn call(
    ready: &TransformingPre<State>,
    store: &mut Store<State>,
    content_type: Option<&str>,
) -> Result<Result<Verdict, CallFailure>> {
    let (message, tenant) = (store.data().message.clone(), store.data().tenant.clone());
    let instance = ready.instantiate_async(&mut *store).await?;
    let (mut id, mut application) = (Uuid::encode_buffer(), Uuid::encode_buffer());
    let channels: Vec<&str> = message.channels.iter().map(|c| &**c).collect();
    let attributes = message.attributes.iter().map(|(name, value)| (&**name, &**value));
    let attributes: Vec<(&str, &str)> = attributes.collect();
    let record = types::Message {
        id: message.id.0.as_hyphenated().encode_lower(&mut id),
        uid: message.uid.as_deref(),
        application: match &tenant.application.uid {
            Some(uid) => uid,
            None => tenant.application.id.0.as_hyphenated().encode_lower(&mut application),
        },
        event_type: &message.event_type,
        channels: &channels,
        accepted_at: message.accepted,
        content_type: content_type.unwrap_or(message::JSON),
        payload: &message.payload,
        attributes: &attributes,
    };
    let answer = instance.octohooks_plugin_transformer().call_on_message(store, record).await?;
    Ok(match answer {
        Ok(types::Verdict::Pass) => Ok(Verdict::Pass),
        Ok(types::Verdict::Drop(why)) => Ok(Verdict::Drop(reason(why))),
        Ok(types::Verdict::Send(all)) => {
            all.into_iter().map(dispatch).collect::<Result<_, _>>().map(Verdict::Send)
        }
        Err(types::Failure::Reject(why)) => Err(CallFailure::Reject(reason(why))),
        Err(types::Failure::Retry((why, after))) => {
            Err(CallFailure::Retry { reason: reason(why), after_ms: after.min(MAX_DELAY) })
        }
        Err(types::Failure::Other(why)) => Err(CallFailure::Other(reason(why))),
    })
}

fn dispatch(asked: types::Dispatch) -> Result<Dispatch, CallFailure> {
    Ok(Dispatch {
        target: match asked.target {
            types::Target::Subscribed => Target::Subscribed,
            types::Target::Channels(names) => {
                let named = names.iter().map(|name| {
                    Channel::new(name).map_err(|BadName(why)| bad_name("channel", name, why))
                });
                Target::Channels(named.collect::<Result<_, _>>()?)
            }
            types::Target::Endpoints(names) => Target::Endpoints(names),
        },
        event_type: match asked.event_type {
            Some(name) => Some(
                EventType::new(&name).map_err(|BadName(why)| bad_name("event type", &name, why))?,
            ),
            None => None,
        },
        content_type: asked.content_type,
        payload: asked.payload.map(Into::into),
        headers: asked.headers,
        ordering_key: asked.ordering_key,
        delay: asked.delay.unwrap_or(0),
    })
}

fn bad_name(what: &str, name: &str, why: &str) -> CallFailure {
    CallFailure::BadOutput(format!("the {what} {:?} {why}", cut(name.to_owned(), 128)))
}

impl types::Host for State {}

impl log::Host for State {
    fn write(&mut self, level: log::Level, line: String) {
        let level = match level {
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        self.write_log(level, line);
    }
}

impl settings::Host for State {
    fn json(&mut self) -> String {
        self.settings.json.clone()
    }

    fn get(&mut self, key: String) -> Option<String> {
        self.settings.map.get(&key).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    }
}

impl application::Host for State {
    fn endpoints(&mut self) -> Vec<application::Endpoint> {
        let enabled = self.tenant.endpoints.values().filter(|endpoint| endpoint.enabled);
        let seen = enabled.map(|endpoint| application::Endpoint {
            id: endpoint.id.to_string(),
            uid: endpoint.uid.as_deref().map(str::to_owned),
            name: endpoint.name.clone(),
            url: {
                // The model has no credentials in a URL; a plugin must not see them even if it had.
                let mut url = endpoint.url.clone();
                let _ = url.set_username("");
                let _ = url.set_password(None);
                url.into()
            },
            event_types: endpoint.event_types.iter().map(ToString::to_string).collect(),
            channels: endpoint.channels.iter().map(ToString::to_string).collect(),
            attributes: Vec::new(),
        });
        seen.collect()
    }
}
