//! Endpoints as their owners write them, over the API or in the configuration file, and the checks that make
//! endpoints of them. One set of rules for both.

use super::{
    Millis,
    endpoint::{Endpoint, RateLimit},
    id::{ApplicationId, EndpointId, EnvironmentId},
    name::{Channel, EventType, Uid},
    secret::Secret,
};
use serde::Deserialize;
use std::{collections::BTreeMap, num::NonZeroU32};
use url::Url;

/// An endpoint as it is written. Absent and `null` are the same.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointDraft {
    /// Unique in the application; kept if absent.
    pub uid: Option<Uid>,
    /// For people; kept if absent.
    pub name: Option<String>,
    /// Required.
    pub url: Option<String>,
    /// True if absent.
    pub enabled: Option<bool>,
    /// All if absent.
    #[serde(alias = "event_types")]
    pub event_types: Option<Vec<EventType>>,
    /// All if absent.
    pub channels: Option<Vec<Channel>>,
    /// Sent with each request.
    pub headers: Option<BTreeMap<String, String>>,
    /// Kept if absent; one is made for a new endpoint.
    pub secrets: Option<Vec<String>>,
    /// No limit if absent.
    #[serde(alias = "rate_limit")]
    pub rate_limit: Option<RateLimit>,
    /// The configuration's default if absent.
    #[serde(alias = "max_in_flight")]
    pub max_in_flight: Option<NonZeroU32>,
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
/// How many requests to one endpoint may be under way at once.
const IN_FLIGHT: u32 = 1000;

impl EndpointDraft {
    /// A new endpoint.
    pub fn create(
        self,
        fresh: Fresh,
        check_url: impl Fn(&Url) -> Result<(), String>,
    ) -> Result<Endpoint, Vec<Wrong>> {
        let url = self.check(check_url)?;
        let secrets =
            self.secrets.map(|texts| texts.into_iter().map(Secret::new).collect::<Vec<_>>());
        let secrets = secrets.filter(|secrets| !secrets.is_empty());
        Ok(Endpoint {
            environment: fresh.environment,
            application: fresh.application,
            id: fresh.id,
            uid: self.uid,
            name: self.name.unwrap_or_default(),
            url,
            enabled: self.enabled.unwrap_or(true),
            event_types: self.event_types.unwrap_or_default(),
            channels: self.channels.unwrap_or_default(),
            headers: lower_case(self.headers),
            secrets: secrets.unwrap_or_else(|| vec![fresh.secret]),
            rate_limit: self.rate_limit,
            max_in_flight: self.max_in_flight,
            declared: false,
            revision: 1,
            created: fresh.now,
            updated: fresh.now,
        })
    }

    /// The endpoint as it is after this draft replaced it.
    pub fn replace(
        self,
        old: &Endpoint,
        now: Millis,
        check_url: impl Fn(&Url) -> Result<(), String>,
    ) -> Result<Endpoint, Vec<Wrong>> {
        let uid = self.uid.clone().or_else(|| old.uid.clone());
        let name = self.name.clone().unwrap_or_else(|| old.name.clone());
        let kept = old.secrets.first().cloned().unwrap_or_else(|| Secret::new(""));
        let some = self.secrets.as_ref().is_some_and(|secrets| !secrets.is_empty());
        let fresh = Fresh {
            environment: old.environment,
            application: old.application,
            id: old.id,
            secret: kept,
            now,
        };
        let mut new = self.create(fresh, check_url)?;
        new.uid = uid;
        new.name = name;
        new.created = old.created;
        new.revision = old.revision + 1;
        new.declared = old.declared;
        if !some {
            new.secrets.clone_from(&old.secrets);
        }
        Ok(new)
    }

    fn check(&self, check_url: impl Fn(&Url) -> Result<(), String>) -> Result<Url, Vec<Wrong>> {
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
        let headers = self.headers.iter().flatten();
        for (name, value) in headers.clone() {
            if let Err(text) = check_header(name, value) {
                no(&format!("/headers/{name}"), text);
            }
        }
        if headers.count() > HEADERS {
            no("/headers", format!("must be at most {HEADERS}"));
        }
        let secrets = self.secrets.iter().flatten();
        if secrets.clone().count() > SECRETS
            || secrets.clone().any(|s| s.is_empty() || s.len() > 1024)
        {
            no("/secrets", format!("must be at most {SECRETS}, each of 1 to 1024 bytes"));
        }
        match url {
            Ok(url) if wrong.is_empty() => Ok(url),
            _ => Err(wrong),
        }
    }
}

fn lower_case(headers: Option<BTreeMap<String, String>>) -> Vec<(String, String)> {
    let headers = headers.unwrap_or_default().into_iter();
    headers.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}

/// Headers that the gateway or the protocol sets.
const OURS: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-signature",
    "http2-settings",
];

/// Whether a request may carry this header.
pub fn check_header(name: &str, value: &str) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    if http::HeaderName::from_bytes(lower.as_bytes()).is_err() {
        return Err("is not a header name".into());
    }
    // With some of NATS's own a publisher can empty a stream.
    let is_ours = ["webhook-", "nats-"].iter().any(|prefix| lower.starts_with(prefix));
    if is_ours || OURS.contains(&lower.as_str()) {
        return Err("is set by the gateway".into());
    }
    match http::HeaderValue::from_str(value).is_ok() && value.len() <= 4096 {
        true => Ok(()),
        false => Err("must be at most 4096 visible characters".into()),
    }
}
