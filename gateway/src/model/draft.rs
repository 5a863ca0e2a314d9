//! Endpoints as their owners write them, over the API or in the configuration file, and the checks that make
//! endpoints of them. One set of rules for both.

use super::{
    Millis,
    cloud_event::Format,
    dead_letter,
    endpoint::{Endpoint, Method, Order, RateLimit, Scheme},
    id::{ApplicationId, EndpointId, EnvironmentId},
    name::{BadName, Channel, EventType, PluginName, Uid},
    retry::RetryDraft,
    secret::Secret,
};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;
use std::{collections::BTreeMap, num::NonZeroU32};
use url::Url;
use utoipa::ToSchema;

pub use request::{ClientCertificateDraft, CredentialsDraft};

mod headers;
mod request;

pub use headers::{PROTOCOL, check_header};

/// An endpoint as it is written. Absent and `null` are the same.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointDraft {
    /// Unique in the application; kept if absent.
    pub uid: Option<Uid>,
    /// For people; kept if absent.
    #[schema(max_length = 256)]
    pub name: Option<String>,
    /// Required: `http` or `https`, at a public address; `nats://SUBJECT` where the gateway is told of NATS.
    #[schema(value_type = String, required, format = "uri", max_length = 4096)]
    pub url: Option<String>,
    /// True if absent.
    pub enabled: Option<bool>,
    /// All if absent.
    #[serde(alias = "event_types")]
    #[schema(max_items = 1000)]
    pub event_types: Option<Vec<EventType>>,
    /// All if absent.
    #[schema(max_items = 1000)]
    pub channels: Option<Vec<Channel>>,
    /// Sent with each request.
    pub headers: Option<BTreeMap<String, String>>,
    /// Kept if absent; one is made for a new endpoint.
    #[serde(default, deserialize_with = "secrets")]
    #[schema(value_type = Option<Vec<String>>, max_items = 10)]
    pub secrets: Option<Vec<Secret>>,
    /// Kept if absent; both for a new endpoint.
    pub signatures: Option<Scheme>,
    /// Kept if absent; false for a new endpoint.
    #[serde(alias = "ascii_payload")]
    pub ascii_payload: Option<bool>,
    /// As what it gets messages. Kept if absent; `none`, the payload alone, for a new endpoint.
    pub format: Option<Format>,
    /// The application's plugin that signs requests, in place of `signatures`. Kept if absent; an empty text removes it.
    #[schema(pattern = "^([a-z][a-z0-9-]{0,63})?$")]
    pub signer: Option<String>,
    /// The application's plugin that says what answers mean. Kept if absent; an empty text removes it.
    #[schema(pattern = "^([a-z][a-z0-9-]{0,63})?$")]
    pub classifier: Option<String>,
    /// Another endpoint of the application, by id or uid: dead letters go there too. Kept if absent; an empty text removes it.
    #[serde(alias = "dead_letter_endpoint")]
    #[schema(max_length = 256)]
    pub dead_letter_endpoint: Option<String>,
    /// No limit if absent.
    #[serde(alias = "rate_limit")]
    pub rate_limit: Option<RateLimit>,
    /// The configuration's default if absent.
    #[serde(alias = "max_in_flight")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub max_in_flight: Option<NonZeroU32>,
    /// How requests are made. Kept if absent; `POST` for a new endpoint.
    pub method: Option<Method>,
    /// In place of the gateway's own. Kept if absent; an empty text removes it.
    #[serde(alias = "user_agent")]
    #[schema(max_length = 256)]
    pub user_agent: Option<String>,
    /// The longest that an attempt may take, in milliseconds: 100 to 120000. Kept if absent; 0 is the configuration's.
    #[schema(maximum = 120_000)]
    pub timeout: Option<u64>,
    /// The longest that connecting may take, in milliseconds: 100 to 60000. Kept if absent; 0 is the configuration's.
    #[serde(alias = "connect_timeout")]
    #[schema(maximum = 60_000)]
    pub connect_timeout: Option<u64>,
    /// What requests log in with. Kept if absent, where the URL's origin stays; the type `none` removes them.
    pub credentials: Option<CredentialsDraft>,
    /// The certificate that requests show. Kept if absent; an empty object removes it.
    #[serde(alias = "client_certificate")]
    pub client_certificate: Option<ClientCertificateDraft>,
    /// When deliveries are tried again. Kept if absent; an empty object removes it.
    pub retry: Option<RetryDraft>,
    /// Which deliveries wait for those ahead of them. Kept if absent; none for a new endpoint.
    pub order: Option<Order>,
}

/// One thing that is wrong with a draft: a JSON pointer, and what would be right.
pub type Wrong = (String, String);

/// What a new endpoint gets from the gateway.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// Where it lives.
    pub environment: EnvironmentId,
    /// Whose it is.
    pub application: ApplicationId,
    /// Its id.
    pub id: EndpointId,
    /// Its secret, unless the draft has some.
    pub secret: Secret,
    /// Now.
    pub now: Millis,
}

/// The longest URL, in bytes.
const URL: usize = 4096;
/// How many names a list may have, how many headers, how many secrets.
const NAMES: usize = 1000;
const HEADERS: usize = 50;
const SECRETS: usize = 10;
/// The longest that what was rotated may be good beside the new, in milliseconds: 30 days.
pub const GRACE: Millis = 30 * 24 * 3_600_000;
/// How many requests to one endpoint may be under way at once.
const IN_FLIGHT: u32 = 1000;

impl EndpointDraft {
    /// A new endpoint.
    pub fn create(
        mut self,
        fresh: Fresh,
        check_url: impl Fn(&Url) -> Result<(), String>,
    ) -> Result<Endpoint, Vec<Wrong>> {
        let given = self.secrets.take().filter(|secrets| !secrets.is_empty());
        self.endpoint(fresh, given, None, check_url)
    }

    /// The endpoint as it is after this draft replaced it.
    pub fn replace(
        mut self,
        old: &Endpoint,
        now: Millis,
        check_url: impl Fn(&Url) -> Result<(), String>,
    ) -> Result<Endpoint, Vec<Wrong>> {
        let given = self.secrets.take().filter(|secrets| !secrets.is_empty());
        let secrets = match given {
            Some(given) => replaced(old, given, now),
            None => old.signing(now).cloned().collect(),
        };
        let fresh = Fresh {
            environment: old.environment,
            application: old.application,
            id: old.id,
            secret: Secret::new(""),
            now,
        };
        self.uid = self.uid.or_else(|| old.uid.clone());
        self.name = self.name.or_else(|| Some(old.name.clone()));
        // A caller who does not know them does not mean to change what a receiver must verify.
        self.signatures = self.signatures.or(Some(old.signatures));
        self.ascii_payload = self.ascii_payload.or(Some(old.ascii_payload));
        self.format = self.format.or(Some(old.format));
        let kept = |name: &Option<PluginName>| name.as_deref().map(str::to_owned);
        self.signer = self.signer.or_else(|| kept(&old.signer));
        self.classifier = self.classifier.or_else(|| kept(&old.classifier));
        self.order = self.order.or(Some(old.order));
        self.retry = self.retry.or_else(|| old.retry.clone().map(RetryDraft::from));
        self.dead_letter_endpoint =
            self.dead_letter_endpoint.or_else(|| old.dead_letter_endpoint.clone());
        let new = self.endpoint(fresh, Some(secrets), Some(old), check_url)?;
        let (created, revision, declared) = (old.created, old.revision + 1, old.declared);
        // Another receiver, or one that was mended: what was learnt of it is of the past.
        let is_renewed = (new.enabled && !old.enabled) || new.url != old.url;
        let renewed = if is_renewed { revision } else { old.renewed };
        let disabled = old.disabled.filter(|_| !new.enabled);
        Ok(Endpoint { created, revision, renewed, declared, disabled, ..new })
    }

    fn endpoint(
        self,
        Fresh { environment, application, id, secret, now }: Fresh,
        secrets: Option<Vec<Secret>>,
        old: Option<&Endpoint>,
        check_url: impl Fn(&Url) -> Result<(), String>,
    ) -> Result<Endpoint, Vec<Wrong>> {
        let secrets = secrets.unwrap_or_else(|| vec![secret]);
        let signatures = self.signatures.unwrap_or_default();
        let request = self.request(old, &check_url);
        let url = self.check(&secrets, signatures, check_url);
        let (url, request) = match (url, request) {
            (Ok(url), Ok(request)) => (url, request),
            (url, request) => {
                return Err([url.err(), request.err()].into_iter().flatten().flatten().collect());
            }
        };
        Ok(Endpoint {
            environment,
            application,
            id,
            uid: self.uid,
            name: self.name.unwrap_or_default(),
            url,
            enabled: self.enabled.unwrap_or(true),
            disabled: None,
            event_types: self.event_types.unwrap_or_default(),
            channels: self.channels.unwrap_or_default(),
            headers: lower_case(self.headers),
            secrets,
            signatures,
            ascii_payload: self.ascii_payload.unwrap_or_default(),
            format: self.format.unwrap_or_default(),
            signer: plugin(self.signer.as_deref()).unwrap_or_default(),
            classifier: plugin(self.classifier.as_deref()).unwrap_or_default(),
            dead_letter_endpoint: dead_letter::named(self.dead_letter_endpoint.as_deref())
                .unwrap_or_default(),
            rate_limit: self.rate_limit,
            max_in_flight: self.max_in_flight,
            method: request.method,
            user_agent: request.user_agent,
            timeout: request.timeout,
            connect_timeout: request.connect_timeout,
            credentials: request.credentials,
            client_certificate: request.client_certificate,
            order: self.order.unwrap_or_default(),
            // Checked above.
            retry: self.retry.and_then(|retry| retry.check().ok().flatten()),
            declared: false,
            revision: 1,
            renewed: 1,
            created: now,
            updated: now,
        })
    }

    fn check(
        &self,
        secrets: &[Secret],
        signatures: Scheme,
        check_url: impl Fn(&Url) -> Result<(), String>,
    ) -> Result<Url, Vec<Wrong>> {
        let mut wrong: Vec<Wrong> = Vec::new();
        let mut no = |path: &str, text: String| wrong.push((path.to_owned(), text));
        let url = match self.url.as_deref().map(Url::parse) {
            None => Err("is required".to_owned()),
            Some(Err(error)) => Err(format!("is not a URL: {error}")),
            Some(Ok(url)) if url.as_str().len() > URL => {
                Err(format!("must have at most {URL} bytes"))
            }
            Some(Ok(url)) => check_url(&url).map(|()| url),
        };
        if let Err(text) = &url {
            no("/url", text.clone());
        }
        if self.max_in_flight.is_some_and(|most| most.get() > IN_FLIGHT) {
            no("/maxInFlight", format!("must be at most {IN_FLIGHT}"));
        }
        if self.name.as_ref().is_some_and(|name| name.chars().count() > 256) {
            no("/name", "must have at most 256 characters".into());
        }
        for (path, count) in [
            ("/eventTypes", self.event_types.as_ref().map_or(0, Vec::len)),
            ("/channels", self.channels.as_ref().map_or(0, Vec::len)),
        ] {
            if count > NAMES {
                no(path, format!("must be at most {NAMES}"));
            }
        }
        for (path, name) in [("/signer", &self.signer), ("/classifier", &self.classifier)] {
            if let Err(BadName(text)) = plugin(name.as_deref()) {
                no(path, text.to_owned());
            }
        }
        let headers = self.headers.iter().flatten();
        for (name, value) in headers.clone() {
            if let Err(text) = check_header(name, value) {
                no(&format!("/headers/{name}"), text);
            }
        }
        if headers.count() > HEADERS {
            no("/headers", format!("must be at most {HEADERS}"));
        }
        let retry = self.retry.clone().map(RetryDraft::check);
        wrong.extend(retry.and_then(Result::err).into_iter().flatten());
        wrong.extend(dead_letter::named(self.dead_letter_endpoint.as_deref()).err());
        wrong.extend(check_secrets(secrets, signatures));
        match url {
            Ok(url) if wrong.is_empty() => Ok(url),
            _ => Err(wrong),
        }
    }
}

/// The plugin that is named, if one is.
fn plugin(name: Option<&str>) -> Result<Option<PluginName>, BadName> {
    name.filter(|name| !name.is_empty()).map(PluginName::new).transpose()
}

/// What is wrong is not shown, since it may be a secret.
fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Secret>>, D::Error> {
    let value = Option::<Value>::deserialize(deserializer)?;
    let secret = |value: &Value| value.as_str().map(Secret::new);
    let Some(value) = value else { return Ok(None) };
    let secrets = value.as_array().and_then(|list| list.iter().map(secret).collect());
    secrets.map(Some).ok_or_else(|| D::Error::custom("must be a list of texts"))
}

/// The secrets that replace the endpoint's. One that it has already keeps its expiry, so that what was read and is written
/// back changes nothing; unless none would be left that does not expire.
fn replaced(old: &Endpoint, given: Vec<Secret>, now: Millis) -> Vec<Secret> {
    let known = |secret: &Secret| old.secrets.iter().find(|known| known.text == secret.text);
    let kept = given.iter().map(|secret| known(secret).unwrap_or(secret).clone());
    let kept: Vec<Secret> = kept.filter(|secret| secret.signs(now)).collect();
    match kept.iter().any(|secret| secret.expires.is_none()) {
        true => kept,
        false => given,
    }
}

/// The endpoint after its secrets were rotated: the new one first, and the old ones sign for that long beside it.
pub fn rotate(
    old: &Endpoint,
    new: Secret,
    grace: Millis,
    now: Millis,
) -> Result<Endpoint, Vec<Wrong>> {
    if grace > GRACE {
        return Err(vec![("/gracePeriod".into(), format!("must be at most {GRACE}"))]);
    }
    let end = now + grace;
    let others = old.signing(now).filter(|secret| secret.text != new.text);
    let ending = |secret: &Secret| Secret {
        expires: Some(secret.expires.map_or(end, |earlier| earlier.min(end))),
        ..secret.clone()
    };
    let others: Vec<_> = others.map(ending).filter(|secret| secret.signs(now)).collect();
    let secrets = [vec![new], others].concat();
    let mut wrong = check_secrets(&secrets, old.signatures);
    if secrets.len() > SECRETS {
        let text =
            format!("would be one more than {SECRETS}; a gracePeriod of 0 ends the old ones");
        wrong = vec![("/secret".into(), text)];
    }
    for (path, _) in &mut wrong {
        "/secret".clone_into(path);
    }
    match wrong.is_empty() {
        true => {
            let revision = old.revision + 1;
            Ok(Endpoint { secrets, revision, updated: now, ..old.clone() })
        }
        false => Err(wrong),
    }
}

fn check_secrets(secrets: &[Secret], signatures: Scheme) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    if secrets.len() > SECRETS {
        wrong.push(("/secrets".to_owned(), format!("must be at most {SECRETS}")));
    }
    for (index, secret) in secrets.iter().enumerate() {
        if let Err(text) = secret.check() {
            wrong.push((format!("/secrets/{index}"), text));
        }
    }
    let mut lasting = secrets.iter().filter(|secret| secret.expires.is_none());
    if signatures == Scheme::Octohooks && lasting.all(Secret::is_asymmetric) {
        let text =
            "needs a secret that does not begin with `whsk_`: an ed25519 key makes no x-signature";
        wrong.push(("/signatures".to_owned(), text.to_owned()));
    }
    wrong
}

fn lower_case(headers: Option<BTreeMap<String, String>>) -> Vec<(String, String)> {
    let headers = headers.unwrap_or_default().into_iter();
    headers.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}

#[cfg(test)]
mod tests;
