//! What an application's plugins may use beside what every plugin has: capabilities, each granted or not, and the named
//! secrets that one of them reads.

use super::{
    Millis,
    id::{ApplicationId, EnvironmentId},
    name::SecretName,
    secret::Secret,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};
use url::Url;
use utoipa::ToSchema;

/// How many keys, and how many bytes of keys and values together, one application may be granted: the store is for what
/// plugins remember, not for what they keep.
const KEYS: u64 = 1_000_000;
const BYTES: u64 = 1 << 30;
/// How many hosts one application may be granted.
const HOSTS: usize = 100;
/// The most requests of one call, bytes that it sends and receives, and milliseconds that it waits for them.
const CALLS: u32 = 100;
const HTTP_BYTES: u64 = 16 << 20;
const TIMEOUT: u64 = 30_000;
/// How many named secrets one application may have, and how long each may be, in bytes.
pub const SECRETS: usize = 100;
/// The longest named secret, in bytes.
pub const SECRET: usize = 16 << 10;

/// What one application's plugins may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grants {
    /// The environment of the application.
    pub environment: EnvironmentId,
    /// Whose plugins.
    pub application: ApplicationId,
    /// What they may.
    #[serde(flatten)]
    pub capabilities: Capabilities,
    /// The named secrets, whether they may read them or not. Not serialised: the store seals them.
    #[serde(skip)]
    pub named: BTreeMap<SecretName, Secret>,
    /// Whether the configuration file declares what they may: then they may nothing when that leaves the file.
    #[serde(default)]
    pub declared: bool,
    /// Counts the changes, from 1.
    pub revision: u64,
    /// When it last changed.
    pub updated: Millis,
}

impl Grants {
    /// Nothing granted, and no revision yet.
    #[must_use]
    pub fn none(environment: EnvironmentId, application: ApplicationId) -> Self {
        let (capabilities, named) = (Capabilities::default(), BTreeMap::new());
        let (declared, revision, updated) = (false, 0, 0);
        Self { environment, application, capabilities, named, declared, revision, updated }
    }
}

/// What may be granted. What is absent is not granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(as = Grants)]
pub struct Capabilities {
    /// A key-value store of the application's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub keyvalue: Option<KeyValueGrant>,
    /// Reading the application's named secrets.
    pub secrets: bool,
    /// The wall clock. Without it time stands still at the message's acceptance.
    pub clock: bool,
    /// Random numbers. Without it they are the same for the same message.
    pub random: bool,
    /// Requests to others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub http: Option<HttpGrant>,
}

/// How much the key-value store may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(as = KeyValueGrant)]
pub struct KeyValueGrant {
    /// Keys.
    #[schema(minimum = 1, maximum = 1_000_000, default = 10_000)]
    pub keys: u64,
    /// Bytes of keys and values together.
    #[schema(minimum = 1, maximum = 1_073_741_824, default = 16_777_216)]
    pub bytes: u64,
}

impl Default for KeyValueGrant {
    fn default() -> Self {
        Self { keys: 10_000, bytes: 16 << 20 }
    }
}

/// Whom plugins may send requests, and how much of that one call may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = HttpGrant)]
pub struct HttpGrant {
    /// Names or addresses of hosts, with or without a port; `*.example.com` is every name below `example.com`.
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 100)]
    pub hosts: Vec<HostPattern>,
    /// Requests of one call.
    #[serde(default = "calls")]
    #[schema(minimum = 1, maximum = 100, default = 4)]
    pub calls: u32,
    /// Bytes that one call may send and receive, bodies and headers.
    #[serde(default = "bytes")]
    #[schema(minimum = 1, maximum = 16_777_216, default = 1_048_576)]
    pub bytes: u64,
    /// How long one call may wait for answers in all, in milliseconds.
    #[serde(alias = "timeout_ms", default = "timeout_ms")]
    #[schema(minimum = 1, maximum = 30_000, default = 2_000)]
    pub timeout_ms: u64,
}

const fn calls() -> u32 {
    4
}

const fn bytes() -> u64 {
    1 << 20
}

const fn timeout_ms() -> u64 {
    2_000
}

impl Capabilities {
    /// Whether the capability of that name is granted.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match name {
            "keyvalue" => self.keyvalue.is_some(),
            "secrets" => self.secrets,
            "clock" => self.clock,
            "random" => self.random,
            "http" => self.http.is_some(),
            _ => false,
        }
    }

    /// What is over its limit: a JSON pointer, and what would be right.
    #[must_use]
    pub fn wrong(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        let mut within = |path: &str, value: u64, most: u64| {
            if value == 0 || value > most {
                wrong.push((path.to_owned(), format!("must be from 1 to {most}")));
            }
        };
        if let Some(grant) = self.keyvalue {
            within("/keyvalue/keys", grant.keys, KEYS);
            within("/keyvalue/bytes", grant.bytes, BYTES);
        }
        if let Some(grant) = &self.http {
            within("/http/hosts", grant.hosts.len() as u64, HOSTS as u64);
            within("/http/calls", u64::from(grant.calls), u64::from(CALLS));
            within("/http/bytes", grant.bytes, HTTP_BYTES);
            within("/http/timeoutMs", grant.timeout_ms, TIMEOUT);
        }
        wrong
    }
}

/// Which hosts: one, or all below one; at any port, or at one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    /// In the form that URLs have it.
    host: String,
    /// Whether the names below `host` are meant, and not itself.
    below: bool,
    port: Option<u16>,
}

impl HostPattern {
    /// Whether the URL goes to such a host.
    #[must_use]
    pub fn matches(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let host = host.trim_end_matches('.');
        let is_host = match self.below {
            false => host == self.host,
            true => host
                .strip_suffix(&self.host)
                .is_some_and(|rest| rest.strip_suffix('.').is_some_and(|name| !name.is_empty())),
        };
        is_host && self.port.is_none_or(|port| url.port_or_known_default() == Some(port))
    }
}

impl TryFrom<String> for HostPattern {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str =
            "must be a host, with or without a port: example.com, *.example.com, 10.1.2.3:8080";
        let (below, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text.as_str()),
        };
        // The scheme's own port would not be kept.
        let url = Url::parse(&format!("http://{rest}/")).map_err(|_| WRONG)?;
        let other = Url::parse(&format!("https://{rest}/")).map_err(|_| WRONG)?;
        let port = url.port().or_else(|| other.port());
        let bare = rest
            .bytes()
            .all(|b| !matches!(b, b'/' | b'?' | b'#' | b'@' | b'\\' | b'*') && b > b' ');
        let name = matches!(url.host(), Some(url::Host::Domain(_)));
        match url.host_str() {
            Some(host) if bare && (name || !below) => {
                Ok(Self { host: host.trim_end_matches('.').to_owned(), below, port })
            }
            _ => Err(WRONG),
        }
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.below { "*." } else { "" })?;
        f.write_str(&self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_its_hosts_and_no_other() {
        for (pattern, url, expected) in [
            ("example.com", "https://example.com/a", true),
            ("EXAMPLE.com", "https://example.COM/a", true),
            ("example.com", "https://example.com./", true),
            ("example.com", "https://example.com:8443/", true),
            ("example.com", "https://a.example.com/", false),
            ("example.com", "https://example.com.evil.test/", false),
            ("example.com", "https://example.com@evil.test/", false),
            ("example.com:443", "https://example.com/", true),
            ("example.com:443", "http://example.com/", false),
            ("example.com:80", "http://example.com/", true),
            ("example.com:8443", "https://example.com:8443/", true),
            ("*.example.com", "https://a.b.example.com/", true),
            ("*.example.com", "https://example.com/", false),
            ("*.example.com", "https://notexample.com/", false),
            ("127.0.0.1:9", "http://127.0.0.1:9/", true),
            ("127.0.0.1:9", "http://127.0.0.1:10/", false),
            ("[::1]", "http://[::1]:10/", true),
            ("bücher.example", "https://xn--bcher-kva.example/", true),
        ] {
            let pattern = HostPattern::try_from(pattern.to_owned()).expect("a pattern");
            let url: Url = url.parse().expect("a URL");
            assert_eq!(pattern.matches(&url), expected, "{pattern} {url}");
            let again = HostPattern::try_from(pattern.to_string());
            assert_eq!(again, Ok(pattern), "it is read as it is written");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for bad in
            ["", "*", "*.", "a b", "http://a", "a/b", "a?b", "u@a", "a.*.b", "*.10.0.0.1", "a:x"]
        {
            HostPattern::try_from(bad.to_owned()).expect_err(bad);
        }
    }

    #[test]
    fn nothing_is_granted_unless_it_is_said_and_no_more_than_there_may_be() {
        let none: Capabilities = serde_json::from_str("{}").expect("reads");
        assert_eq!(none, Capabilities::default());
        assert!(none.wrong().is_empty());
        let text = r#"{"keyvalue": {}, "clock": true, "http": {"hosts": ["a.test"]}}"#;
        let some: Capabilities = serde_json::from_str(text).expect("reads");
        assert!(some.wrong().is_empty(), "{:?}", some.wrong());
        let text = r#"{"keyvalue": {"keys": 0, "bytes": 2000000000},
                       "http": {"hosts": [], "calls": 101, "bytes": 0, "timeoutMs": 30001}}"#;
        let bad: Capabilities = serde_json::from_str(text).expect("reads");
        let paths: Vec<_> = bad.wrong().into_iter().map(|(path, _)| path).collect();
        let expected =
            ["/keyvalue/keys", "/keyvalue/bytes", "/http/hosts", "/http/calls", "/http/bytes"];
        assert_eq!(paths[..5], expected);
        assert_eq!(paths[5], "/http/timeoutMs");
        serde_json::from_str::<Capabilities>(r#"{"clocks": true}"#).expect_err("unknown");
    }
}
