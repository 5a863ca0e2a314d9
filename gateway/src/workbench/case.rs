//! A golden case: a message, the application it comes to, and what the plugin must make of it; or, for plugins of other
//! kinds, what else they are asked ([`asked`]). One file of JSON each, in
//! the folder `cases` of a plugin. For `trial`; the format is told in the guest crate's `README.md`.
//!
//! A payload is given to the plugin as the file has it, byte for byte. An update writes `expected` anew and leaves every
//! other byte of the file.

use super::{Problem, verdict::Expected};
use crate::{
    model::{
        application::Application,
        catalog::Tenant,
        endpoint::Endpoint,
        grants::{Capabilities, Grants, KeyValueGrant},
        id::{ApplicationId, EndpointId, EnvironmentId, MessageId},
        message::{Attributes, Message},
        name::{Channel, EventType, SecretName, Uid},
        secret::Secret,
    },
    plugin::Call,
};
use asked::{Asked, Received, Request};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use uuid::Uuid;

pub mod asked;

/// The message's id and the moment of its acceptance, where a case does not say.
const ID: Uuid = Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001);
const ACCEPTED: u64 = 1_700_000_000_000;

/// One file.
#[derive(Debug)]
pub struct Case {
    /// The file's name, without `.json`.
    pub name: String,
    /// What is expected; none if the file does not say yet.
    pub expected: Option<Expected>,
    path: PathBuf,
    text: String,
    /// Where `expected` is in the text.
    place: Option<(usize, usize)>,
    /// What comes before, and the case's own at the end.
    calls: Vec<Call>,
    asked: Asked,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<'a> {
    /// What the case is about, for people.
    #[serde(default, rename = "description")]
    _description: Option<String>,
    /// Messages that the plugin was given before, in the same world.
    #[serde(default, borrow)]
    before: Vec<Given<'a>>,
    #[serde(default, borrow)]
    message: Option<Given<'a>>,
    /// In its place, for a signer.
    #[serde(default, borrow)]
    sign: Option<Request<'a>>,
    /// And for a classifier.
    #[serde(default, borrow)]
    classify: Option<Received<'a>>,
    #[serde(default)]
    application: Option<Uid>,
    #[serde(default)]
    endpoints: Vec<Target>,
    #[serde(default)]
    settings: Map<String, Value>,
    /// The application's named secrets.
    #[serde(default)]
    secrets: BTreeMap<SecretName, String>,
    #[serde(default, borrow)]
    expected: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Given<'a> {
    #[serde(default)]
    id: Option<MessageId>,
    #[serde(default)]
    uid: Option<Uid>,
    event_type: EventType,
    #[serde(default)]
    channels: Vec<Channel>,
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(default)]
    attributes: Attributes,
    #[serde(default)]
    accepted_at: Option<u64>,
    /// What another plugin before this one said that its payload is.
    #[serde(default)]
    content_type: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Target {
    #[serde(default)]
    id: Option<EndpointId>,
    #[serde(default)]
    uid: Option<Uid>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    url: Option<url::Url>,
    #[serde(default)]
    event_types: Vec<EventType>,
    #[serde(default)]
    channels: Vec<Channel>,
    #[serde(default)]
    enabled: Option<bool>,
}

impl Given<'_> {
    /// What a signer or classifier is called for is not shown to it.
    fn stand_in() -> Result<Self, Problem> {
        let given = serde_json::from_str(r#"{ "eventType": "test", "payload": {} }"#);
        given.map_err(|error| Problem::new(error.to_string()))
    }
}

impl Case {
    /// All cases of a folder, by name.
    pub fn all(folder: &Path) -> Result<Vec<Self>, Problem> {
        let unreadable =
            |error: std::io::Error| Problem::new(error.to_string()).at(folder.display());
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                files.push(path);
            }
        }
        files.sort();
        files.iter().map(|path| Self::read(path)).collect()
    }

    /// The case in that file.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        let text = fs::read_to_string(path).map_err(|error| Problem::new(error.to_string()));
        let at = |problem: Problem| problem.at(path.display());
        Self::parse(path, text.map_err(at)?).map_err(at)
    }

    fn parse(path: &Path, text: String) -> Result<Self, Problem> {
        let wrong = |error: serde_json::Error| Problem::new(error.to_string());
        let reader = &mut serde_json::Deserializer::from_str(&text);
        let file: File<'_> = serde_path_to_error::deserialize(reader).map_err(|error| {
            let at = error.path().to_string();
            match at.as_str() {
                "." => Problem::new(error.into_inner().to_string()),
                at => Problem::new(format!("{at}: {}", error.into_inner())),
            }
        })?;
        let start = |raw: &RawValue| raw.get().as_ptr() as usize - text.as_ptr() as usize;
        let place = file.expected.map(|raw| (start(raw), start(raw) + raw.get().len()));
        let expected = file.expected.map(|raw| serde_json::from_str(raw.get())).transpose();
        let expected = expected.map_err(|error| wrong(error).at("expected"))?;
        let (calls, asked) = calls(file)?;
        let name = path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into());
        Ok(Self { name, expected, path: path.to_owned(), text, place, calls, asked })
    }

    /// The calls that a gateway would make: what comes of the last is what the case is about.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// What the calls are for.
    #[must_use]
    pub const fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Writes what came of it into the file, as what is expected from now on.
    pub fn update(&self, got: &Expected) -> Result<(), Problem> {
        // Beside it first: on a full disk the author keeps the case.
        let new = self.path.with_extension("json.new");
        let written = fs::write(&new, self.with(got)).and_then(|()| fs::rename(&new, &self.path));
        written.map_err(|error| {
            let _gone = fs::remove_file(&new);
            Problem::new(error.to_string()).at(self.path.display())
        })
    }

    fn with(&self, got: &Expected) -> String {
        let expected = got.text().replace('\n', "\n  ");
        match self.place {
            Some((from, to)) => format!("{}{expected}{}", &self.text[..from], &self.text[to..]),
            None => {
                let end = self.text.rfind('}').unwrap_or(self.text.len());
                let body = self.text[..end].trim_end();
                format!("{body},\n  \"expected\": {expected}\n}}\n")
            }
        }
    }
}

/// What is asked, and by which call.
fn calls(mut file: File<'_>) -> Result<(Vec<Call>, Asked), Problem> {
    let application = ApplicationId(Uuid::from_u128(1));
    let asked = match (file.message.take(), file.sign.take(), file.classify.take()) {
        (Some(message), None, None) => {
            file.before.push(message);
            Asked::Message
        }
        (None, Some(request), None) => {
            request.asked(application).map_err(|problem| problem.at("sign"))?
        }
        (None, None, Some(answer)) => {
            answer.asked(application).map_err(|problem| problem.at("classify"))?
        }
        _ => return Err(Problem::new("must have one of `message`, `sign` and `classify`")),
    };
    if let Asked::Message = asked {
        return messages(file, application).map(|calls| (calls, asked));
    }
    if !file.before.is_empty() || !file.endpoints.is_empty() {
        return Err(Problem::new("has `before` or `endpoints`, which are for a `message`"));
    }
    file.before.push(Given::stand_in()?);
    messages(file, application).map(|calls| (calls, asked))
}

/// A call for each message.
fn messages(file: File<'_>, application: ApplicationId) -> Result<Vec<Call>, Problem> {
    let environment = EnvironmentId::DEFAULT;
    let uid = match file.application {
        Some(uid) => Some(uid),
        None => Uid::new("test").ok(),
    };
    let named = Application {
        environment,
        id: application,
        uid,
        name: "Test".into(),
        retry: None,
        rate_limit: None,
        declared: false,
        revision: 1,
        created: 0,
        updated: 0,
    };
    let mut tenant = Tenant {
        application: named,
        endpoints: Default::default(),
        plugins: Vec::new(),
        grants: None,
    };
    for (at, target) in file.endpoints.into_iter().enumerate() {
        let endpoint = endpoint(application, at, &target)
            .map_err(|error| Problem::new(error.to_string()).at(format!("endpoints[{at}]")))?;
        tenant.endpoints.insert(endpoint.id, Arc::new(endpoint));
    }
    tenant.grants = Some(Arc::new(grants(environment, application, file.secrets)));
    let (tenant, settings) = (Arc::new(tenant), Arc::new(file.settings.into()));
    let calls = file.before.into_iter().map(|given| Call {
        effects: true,
        content_type: given.content_type.clone(),
        message: Arc::new(message(environment, application, given)),
        tenant: Arc::clone(&tenant),
        settings: Arc::clone(&settings),
    });
    Ok(calls.collect())
}

fn message(environment: EnvironmentId, application: ApplicationId, given: Given<'_>) -> Message {
    Message {
        environment,
        application,
        id: given.id.unwrap_or(MessageId(ID)),
        uid: given.uid,
        event_type: given.event_type,
        channels: given.channels,
        payload: given.payload.get().to_owned().into(),
        attributes: given.attributes,
        accepted: given.accepted_at.unwrap_or(ACCEPTED),
        content_until: None,
        deliver_at: None,
        expires_at: None,
        ordering_key: None,
    }
}

/// All that can be granted but the network. Time and chance are real: what depends on them differs from run to run.
fn grants(
    environment: EnvironmentId,
    application: ApplicationId,
    secrets: BTreeMap<SecretName, String>,
) -> Grants {
    let mut grants = Grants::none(environment, application);
    grants.capabilities = Capabilities {
        keyvalue: Some(KeyValueGrant::default()),
        secrets: true,
        clock: true,
        random: true,
        http: None,
    };
    grants.named = secrets.into_iter().map(|(name, text)| (name, Secret::new(text))).collect();
    grants
}

/// The endpoint, with what a case does not say.
fn endpoint(
    application: ApplicationId,
    at: usize,
    target: &Target,
) -> Result<Endpoint, serde_json::Error> {
    let id = target.id.unwrap_or(EndpointId(Uuid::from_u128(at as u128 + 1)));
    let url = target.url.as_ref().map_or("https://example.com/hook", |url| url.as_str());
    serde_json::from_value(json!({
        "environment": EnvironmentId::DEFAULT, "application": application, "id": id,
        "uid": target.uid, "name": target.name, "url": url,
        "enabled": target.enabled.unwrap_or(true), "event_types": target.event_types,
        "channels": target.channels, "headers": [], "rate_limit": null, "max_in_flight": null,
        "revision": 1, "created": 0, "updated": 0,
    }))
}

#[cfg(test)]
mod tests;
