//! Configuration: defaults < file < environment (`OCTOHOOKS_SERVER__LISTEN`) < flags. One options struct per stage; what
//! is wrong is one line that names the source, the key and what would be right.

use crate::{
    declared::{DeclaredApplication, DeclaredEnvironment},
    deliver::{self, client::proxy::Proxy},
    ingest,
    model::{catalog::MAX_ENDPOINTS, environment::Kept, id::EnvironmentId},
    nats, observe, plugin,
    store::vault::MasterKey,
};
use figment::{
    Figment, Source,
    error::Kind,
    providers::{Env, Format, Serialized, Toml},
};
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Everything that can be configured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The HTTP server.
    pub server: Server,
    /// Where messages are kept.
    pub data: Data,
    /// Who may call.
    pub auth: Auth,
    /// What callers may have.
    pub api: ApiOptions,
    /// What is accepted.
    pub ingest: Ingest,
    /// The connection to NATS.
    pub nats: nats::options::Options,
    /// How plugins run.
    pub plugins: plugin::Options,
    /// How long what is recorded is kept.
    pub retention: Kept,
    /// How deliveries are made.
    pub delivery: deliver::Options,
    /// Which addresses may be called.
    pub guard: deliver::guard::Options,
    /// Logs.
    pub log: observe::logs::Options,
    /// Environments beside `default`.
    #[serde(skip_serializing)]
    pub environments: Vec<DeclaredEnvironment>,
    /// Applications, with their endpoints and plugins.
    #[serde(skip_serializing)]
    pub applications: Vec<DeclaredApplication>,
}

/// The HTTP server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How long the body of a request may take, in milliseconds.
    pub body_timeout_ms: u64,
    /// How long a stop waits for what is under way, in milliseconds.
    pub drain_ms: u64,
}

/// Where messages are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// The directory; made if it is not there.
    pub dir: PathBuf,
    /// The largest the database may become, in bytes; senders are refused beyond. None: the disk decides.
    pub max_bytes: Option<u64>,
    /// What the endpoints' secrets are sealed with: 32 bytes in base64. None: a file beside the data, made once.
    #[serde(skip_serializing)]
    pub master_key: Option<MasterKey>,
}

/// Who may call.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// A fixed key of the default environment. None: one is made at the first start and printed once.
    pub api_key: Option<String>,
    /// The key that makes environments, and keys of every environment. None: nobody does.
    pub root_key: Option<String>,
}

/// What callers may have.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiOptions {
    /// How many endpoints one application may have.
    pub max_endpoints: usize,
}

/// What is accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ingest {
    /// The largest payload, in bytes.
    pub payload_bytes: usize,
    /// The largest body of a batch, in bytes.
    pub batch_bytes: usize,
    /// The NATS door, open when `nats.servers` names a server.
    pub nats: ingest::nats::options::Options,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            body_timeout_ms: 30_000,
            drain_ms: 20_000,
        }
    }
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: "data".into(), max_bytes: None, master_key: None }
    }
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self { max_endpoints: MAX_ENDPOINTS }
    }
}

impl Default for Ingest {
    fn default() -> Self {
        // The provider's 350 kB.
        Self {
            payload_bytes: 350_000,
            batch_bytes: 16 << 20,
            nats: ingest::nats::options::Options::default(),
        }
    }
}

/// Where the configuration is looked for, unless a flag says.
const FILE: &str = "config/octohooks.toml";
/// What the names of our environment variables begin with.
const PREFIX: &str = "OCTOHOOKS_";
/// The variable of the fixed key.
const API_KEY: &str = "OCTOHOOKS_AUTH__API_KEY";

/// Keys whose texts may look like a number.
const SECRETS: [&str; 8] = [
    "auth.api_key",
    "auth.root_key",
    "data.master_key",
    "delivery.proxy.password",
    "delivery.proxy.user",
    "nats.user",
    "nats.password",
    "nats.token",
];

/// Loads the configuration. An error is the line for the operator.
pub fn load(file: Option<&Path>, flags: &[(&str, String)]) -> Result<Config, String> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    figment = match file {
        Some(path) if !path.exists() => return Err(format!("{}: no such file", path.display())),
        Some(path) => figment.merge(Toml::file_exact(path)),
        None => figment.merge(Toml::file(FILE)),
    };
    // One without a section is not ours: Kubernetes makes some for a service of our name.
    let own = Env::prefixed(PREFIX).filter(|name| name.as_str().contains("__"));
    figment = figment.merge(own.split("__"));
    for key in SECRETS {
        let variable = format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"));
        if let Ok(secret) = std::env::var(variable) {
            // As it is written: figment would make a number of `007`.
            figment = figment.merge(Serialized::default(key, secret));
        }
    }
    for (key, value) in flags {
        figment = figment.merge(Serialized::default(key, value));
    }
    let config: Config = figment.extract().map_err(|error| line(&error))?;
    check(&config)?;
    Ok(config)
}

/// One line: where the value came from, its key, and what would be right.
fn line(error: &figment::Error) -> String {
    let kind = match &error.kind {
        Kind::UnknownField(name, known) => {
            format!("there is no `{name}`; there are {}", known.join(", "))
        }
        kind => kind.to_string(),
    };
    // A parser's message draws the place on lines of its own; the first and the last say it.
    let mut lines = kind.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let what =
        lines.next_back().map_or_else(|| first.to_owned(), |last| format!("{first}: {last}"));
    let key = error.path.join(".");
    let metadata = error.metadata.as_ref();
    match metadata.and_then(|metadata| metadata.source.as_ref()).and_then(Source::file_path) {
        Some(file) if key.is_empty() => format!("{}: {what}", file.display()),
        Some(file) => format!("{}: key `{key}`: {what}", file.display()),
        None if metadata.is_some_and(|metadata| metadata.name.contains("environment")) => {
            format!("{PREFIX}{}: {what}", error.path.join("__").to_uppercase())
        }
        None => format!("the flag for `{key}`: {what}"),
    }
}

fn check(config: &Config) -> Result<(), String> {
    config
        .delivery
        .check()
        .map_err(|(key, right)| format!("configuration: key `delivery.{key}`: must be {right}"))?;
    Proxy::new(&config.delivery.proxy).map_err(|(key, right)| {
        format!("configuration: key `delivery.proxy.{key}`: must be {right}")
    })?;
    config
        .guard
        .check()
        .map_err(|(key, right)| format!("configuration: key `guard.{key}`: must be {right}"))?;
    config.ingest.nats.check(&config.nats.identity()).map_err(|(key, right)| {
        format!("configuration: key `ingest.nats.{key}`: must be {right}")
    })?;
    environments(config)?;
    root_key(config)?;
    if config.auth.api_key.as_ref().is_some_and(|key| key.trim().is_empty()) {
        return Err(format!(
            "configuration: key `auth.api_key`: is empty; give a key, or leave {API_KEY} out to have one made"
        ));
    }
    Ok(())
}

/// The root key opens more than any other, and is none of them.
fn root_key(config: &Config) -> Result<(), String> {
    let Some(root) = &config.auth.root_key else { return Ok(()) };
    let others = config.environments.iter().map(|environment| &environment.api_key);
    match root.trim().is_empty() || others.chain(&config.auth.api_key).any(|key| key == root) {
        true => {
            Err("configuration: key `auth.root_key`: must be a key that no environment has".into())
        }
        false => Ok(()),
    }
}

/// Each environment once and with a key of its own, and only those that are declared are named.
fn environments(config: &Config) -> Result<(), String> {
    let mut names = vec![EnvironmentId::DEFAULT_NAME];
    let mut keys: Vec<&str> = config.auth.api_key.iter().map(String::as_str).collect();
    let wrong = |key: &str, what: String| Err(format!("configuration: key `{key}`: {what}"));
    for DeclaredEnvironment { name, api_key, .. } in &config.environments {
        if names.contains(&&**name) {
            return wrong("environments.name", format!("`{name}` is there twice"));
        }
        if api_key.trim().is_empty() || keys.contains(&api_key.as_str()) {
            let what = format!("`{name}` needs a key that no other environment has");
            return wrong("environments.api_key", what);
        }
        names.push(name);
        keys.push(api_key);
    }
    let nats = &config.ingest.nats;
    let doors = nats.doors.iter().map(|door| ("ingest.nats.doors.environment", &door.environment));
    let sources = nats.sources.iter();
    let sources = sources.map(|source| ("ingest.nats.sources.environment", &source.environment));
    let applications = config.applications.iter();
    let applications = applications.map(|a| ("applications.environment", &a.environment));
    match doors.chain(sources).chain(applications).find(|(_, name)| !names.contains(&name.as_str()))
    {
        Some((key, name)) => wrong(key, format!("no [[environments]] has the name `{name}`")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_toml(text: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("octohooks.toml");
        std::fs::write(&path, text).expect("writes");
        load(Some(&path), &[])
    }

    fn source(rest: &str) -> String {
        let own = "stream = \"S\"\ndurable = \"d\"\ndead_letter = \"dead\"";
        format!("[[ingest.nats.sources]]\n{own}\n{rest}")
    }

    #[test]
    fn what_is_wrong_is_named_with_its_source_and_key() {
        for (text, parts) in [
            ("[server]\nlisten_on = \"x\"", ["octohooks.toml", "listen_on"]),
            ("[server]\nlisten = \"nowhere\"", ["octohooks.toml", "server.listen"]),
            ("[guard]\nallow = [\"10.0.0.0\", \"nonsense\"]", ["guard", "such as"]),
            ("[guard]\nschemes = []", ["guard.schemes", "http, https"]),
            ("[guard]\nports = \"0\"", ["guard.ports", "8000-8999"]),
            ("[guard]\ndeny_hosts = [\"10.0.0.1\"]", ["guard.deny_hosts", "is an address"]),
            ("[delivery.proxy]\nurl = \"https://p\"", ["delivery.proxy.url", "socks5://"]),
            ("[delivery.dns]\nservers = \"ns.example\"", ["delivery.dns.servers", "10.0.0.2:53"]),
            ("[data]\nmaster_key = \"c2hvcnQ=\"", ["data.master_key", "32 bytes"]),
            ("[delivery]\nmax_in_flight = 0", ["delivery.max_in_flight", "at least 1"]),
            ("[auth]\nroot_key = \"\"", ["auth.root_key", "must be a key"]),
            ("[auth]\napi_key = \"k\"\nroot_key = \"k\"", ["auth.root_key", "no environment"]),
            ("[plugins]\ntrusted_keys = [\"abc\"]", ["plugins.trusted_keys", "32 bytes"]),
            ("[delivery.retry]\njitter = 2.0", ["delivery.retry.jitter", "0 to 0.9"]),
            ("[delivery.breaker]\nopen_ms = 0", ["delivery.breaker.open_ms", "at least 1"]),
            (&source("application = \"{subject.x}\""), ["application", "from 1"]),
            (
                &source("application = \"a\"\npayload = \"x\""),
                ["ingest.nats.sources.event_type", "given"],
            ),
            (
                &source("application = \"a\"\nenvironment = \"b\""),
                ["ingest.nats.sources.environment", "`b`"],
            ),
            (&source("application = \"\""), ["sources.application", "an application"]),
            (
                &source("application = \"a\"\nevent_type = \"a b\""),
                ["sources.event_type", "an event type"],
            ),
            (
                &source("application = \"a\"\nfilter_subjects = [\"a..b\"]"),
                ["sources.filter_subjects", "such as"],
            ),
            (
                &source("application = \"a\"\nfilter_subjects = [\"a.>\", \"a.b\"]"),
                ["sources.filter_subjects", "within another"],
            ),
            (
                &source("application = \"{subject.2}\"\nfilter_subjects = [\"a\"]"),
                ["sources.filter_subjects", "as many tokens"],
            ),
            (&format!("{0}\n{0}", source("application = \"a\"")), ["sources.durable", "another"]),
            (
                &source("application = \"a\"").replace("\"dead\"", "\"octohooks.ingest.a\""),
                ["sources.dead_letter", "door"],
            ),
            (
                &source("application = \"a\"").replace("\"dead\"", "\"$JS.API.X\""),
                ["sources.dead_letter", "server's"],
            ),
            ("[ingest.nats]\nprefix = \"_INBOX.a\"", ["ingest.nats.prefix", "wildcards"]),
            ("[ingest.nats]\nprefix = \"$SYS.a\"", ["ingest.nats.prefix", "wildcards"]),
            (
                "nats.user = \"u\"\nnats.password = \"p\"\n[[ingest.nats.doors]]\nenvironment = \"a\"\naccount = { user = \"u\", password = \"p\" }",
                ["ingest.nats.doors.prefix", "another door"],
            ),
            (
                "[[environments]]\nname = \"default\"\napi_key = \"k\"",
                ["environments.name", "twice"],
            ),
            ("[[environments]]\nname = \"a\"\napi_key = \" \"", ["environments.api_key", "`a`"]),
            (
                "[[environments]]\nname = \"A b\"\napi_key = \"k\"",
                ["environments", "small letters"],
            ),
            (
                "[[ingest.nats.doors]]\nenvironment = \"a\"\nprefix = \"octohooks.ingest.x\"",
                ["ingest.nats.doors.prefix", "another door"],
            ),
            (
                "[[ingest.nats.doors]]\nenvironment = \"a\"\nprefix = \"x.*\"",
                ["prefix", "wildcards"],
            ),
            (
                "[[ingest.nats.doors]]\nenvironment = \"a\"\nprefix = \"x\"",
                ["doors.environment", "`a`"],
            ),
            ("[[applications]]\nuid = \"a\"\nenvironment = \"b\"", ["applications", "`b`"]),
        ] {
            let error = from_toml(text).expect_err(text);
            for part in parts {
                assert!(error.contains(part), "{error} should contain {part}");
            }
        }
    }

    #[test]
    fn a_list_of_networks_may_be_text() {
        let config = from_toml("[guard]\nallow = \"127.0.0.0/8, ::1/128\"").expect("loads");
        assert_eq!(config.guard.allow.len(), 2);
    }
}
