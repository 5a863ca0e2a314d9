//! An endpoint: a URL with its secrets, filters and limits.

use super::{
    Millis,
    cloud_event::Format,
    credentials::{ClientCertificate, Credentials},
    health::Disabled,
    id::{ApplicationId, EndpointId, EnvironmentId},
    name::{Channel, EventType, PluginName, Uid},
    retry::Retry,
    secret::Secret,
};
use serde::{Deserialize, Serialize};
use std::{num::NonZeroU32, sync::Arc, time::Duration};
use url::Url;
use utoipa::ToSchema;

/// Where an application's messages go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The environment of its application.
    pub environment: EnvironmentId,
    /// Whose it is.
    pub application: ApplicationId,
    /// The gateway's id.
    pub id: EndpointId,
    /// The caller's own identifier, unique in the application.
    pub uid: Option<Uid>,
    /// For people.
    pub name: String,
    /// Where to send: `http`, `https` or `nats`, no credentials.
    pub url: Url,
    /// Whether anything is attempted.
    pub enabled: bool,
    /// Why the gateway disabled it; none: it is enabled, or its owner did.
    #[serde(default)]
    pub disabled: Option<Disabled>,
    /// Empty: all.
    pub event_types: Vec<EventType>,
    /// Empty: all.
    pub channels: Vec<Channel>,
    /// Sent with each request, lower-case names.
    pub headers: Vec<(String, String)>,
    /// Every one that has not expired signs, the newest first. Not serialised: the store seals them.
    #[serde(skip)]
    pub secrets: Vec<Secret>,
    /// Which of the two signatures a request carries.
    #[serde(default)]
    pub signatures: Scheme,
    /// Whether a JSON payload is sent with every character beyond ASCII escaped, for receivers that verify it so.
    #[serde(default)]
    pub ascii_payload: bool,
    /// As what it gets its messages.
    #[serde(default)]
    pub format: Format,
    /// The application's plugin that signs its requests; none: the gateway does.
    #[serde(default)]
    pub signer: Option<PluginName>,
    /// The application's plugin that says what its answers mean; none: a 2xx is a success.
    #[serde(default)]
    pub classifier: Option<PluginName>,
    /// The endpoint of the application, by id or uid, that its dead letters go to as well; none: they are kept only.
    #[serde(default)]
    pub dead_letter_endpoint: Option<String>,
    /// How many requests may start in a time; none: no limit.
    pub rate_limit: Option<RateLimit>,
    /// How many requests may be under way at once; none: the configuration's default.
    pub max_in_flight: Option<NonZeroU32>,
    /// Which of its deliveries wait for those ahead of them.
    #[serde(default)]
    pub order: Order,
    /// When its deliveries are tried again; of what it does not say, the application's counts.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// How requests are made.
    #[serde(default)]
    pub method: Method,
    /// In place of the gateway's own.
    #[serde(default)]
    pub user_agent: Option<String>,
    /// The longest that an attempt may take, in milliseconds; none: the configuration's default.
    #[serde(default)]
    pub timeout: Option<u64>,
    /// The longest that connecting may take, in milliseconds; none: the configuration's default.
    #[serde(default)]
    pub connect_timeout: Option<u64>,
    /// What requests log in with. Its secret is not serialised: the store seals it.
    #[serde(default)]
    pub credentials: Option<Arc<Credentials>>,
    /// What certificate they show. Its key is not serialised either.
    #[serde(default)]
    pub client_certificate: Option<Arc<ClientCertificate>>,
    /// Whether the configuration file declares it: then it goes when it leaves the file.
    #[serde(default)]
    pub declared: bool,
    /// Counts the changes, from 1.
    pub revision: u64,
    /// The revision from which on its health is judged: at which it was made, enabled again or sent elsewhere.
    #[serde(default)]
    pub renewed: u64,
    /// When it was created.
    pub created: Millis,
    /// When it last changed.
    pub updated: Millis,
}

impl Endpoint {
    /// The secrets that sign what is sent now.
    pub fn signing(&self, now: Millis) -> impl Iterator<Item = &Secret> {
        self.secrets.iter().filter(move |secret| secret.signs(now))
    }

    /// Whether it takes messages of this event type on these channels, while it is enabled.
    #[must_use]
    pub fn subscribes(&self, event_type: &EventType, channels: &[Channel]) -> bool {
        let takes_type = self.event_types.is_empty() || self.event_types.contains(event_type);
        let shares = || self.channels.iter().any(|channel| channels.contains(channel));
        takes_type && (self.channels.is_empty() || shares())
    }
}

/// What an endpoint's requests look like from one of its revisions on. Kept, so that what an attempt sent can be shown
/// long after the endpoint was changed, without a copy per attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Where they go.
    pub url: Url,
    /// The endpoint's own headers.
    pub headers: Vec<(String, String)>,
    /// Which signatures they carry.
    #[serde(default)]
    pub signatures: Scheme,
    /// How they are made.
    #[serde(default)]
    pub method: Method,
    /// The user agent, if the endpoint has one of its own.
    #[serde(default)]
    pub user_agent: Option<String>,
    /// The header that its credentials set.
    #[serde(default)]
    pub login: Option<String>,
    /// As what they carry messages.
    #[serde(default)]
    pub format: Format,
    /// The plugin that signs them in the gateway's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<PluginName>,
}

impl From<&Endpoint> for Version {
    fn from(endpoint: &Endpoint) -> Self {
        let login = endpoint.credentials.as_ref().map(|login| login.header().to_owned());
        Self {
            url: endpoint.url.clone(),
            headers: endpoint.headers.clone(),
            signatures: endpoint.signatures,
            method: endpoint.method,
            user_agent: endpoint.user_agent.clone(),
            login,
            format: endpoint.format,
            signer: endpoint.signer.clone(),
        }
    }
}

/// How requests are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// What webhooks are.
    #[default]
    Post,
    /// For receivers that keep the newest.
    Put,
}

impl Method {
    /// As HTTP has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// Which signatures a request carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Signatures)]
pub enum Scheme {
    /// Both.
    #[default]
    Both,
    /// `x-signature` alone.
    Octohooks,
    /// `webhook-signature` alone.
    Standard,
}

/// Which of an endpoint's deliveries wait for those ahead of them: until those are delivered, or given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// None.
    #[default]
    None,
    /// All.
    Endpoint,
    /// Those with the same ordering key; those without a key are in no order.
    Key,
}

/// At most `limit` requests start per `per`, and up to `burst` more at once after a quiet time, which a start of the gateway is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    /// Requests per `per`.
    #[schema(value_type = u32, minimum = 1)]
    pub limit: NonZeroU32,
    /// The unit of time; `second` unless said.
    #[serde(default)]
    pub per: Per,
    /// How many may go at once after a quiet time; 1 spaces them evenly.
    #[serde(default = "one")]
    #[schema(value_type = u32, minimum = 1, required = false)]
    pub burst: NonZeroU32,
}

const fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

/// A rate limit's unit of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// One second.
    #[default]
    Second,
    /// Sixty seconds.
    Minute,
    /// Sixty minutes.
    Hour,
}

impl Per {
    /// How long that is.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
        })
    }
}
