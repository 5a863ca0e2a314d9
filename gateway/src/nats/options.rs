//! Where NATS is and who the gateway is there, as it is configured: read and checked before anything is connected.

use crate::model::list::texts;
use async_nats::{ConnectOptions, ServerAddr};
use nkeys::KeyPair;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where NATS is, and who the gateway is there. At most one way to prove that.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `nats://host:4222`, or `tls://…`, in a list or a text with commas; several are one cluster. None: NATS is not used.
    #[serde(deserialize_with = "texts")]
    pub servers: Vec<String>,
    /// A file with a user's JWT and seed.
    pub credentials: Option<PathBuf>,
    /// A user's nkey seed.
    pub nkey: Option<String>,
    /// A user's name, with `password`.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// A token.
    pub token: Option<String>,
    /// TLS, whatever the servers' URLs say.
    pub tls: Tls,
}

/// Who the gateway is for a server, and so in which account; at most one way to prove that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// A file with a user's JWT and seed.
    pub credentials: Option<PathBuf>,
    /// A user's nkey seed.
    pub nkey: Option<String>,
    /// A user's name, with `password`.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// A token.
    pub token: Option<String>,
}

/// TLS to NATS.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Refuse a connection without it.
    pub required: bool,
    /// Certificates to trust instead of the system's, as PEM.
    pub ca: Option<PathBuf>,
    /// The gateway's own certificate, as PEM, with `key`.
    pub cert: Option<PathBuf>,
    /// Its key, as PEM.
    pub key: Option<PathBuf>,
}

impl Identity {
    /// The same, told apart by what its file says and not by the file's path, as far as that can be read.
    #[must_use]
    pub fn resolved(&self) -> Self {
        let read = |path: &PathBuf| std::fs::read_to_string(path).ok().map(PathBuf::from);
        let credentials = self.credentials.as_ref();
        let credentials = credentials.map(|path| read(path).unwrap_or_else(|| path.clone()));
        Self { credentials, ..self.clone() }
    }
}

impl Options {
    /// Who the gateway is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let Self { credentials, nkey, user, password, token, .. } = self.clone();
        Identity { credentials, nkey, user, password, token }
    }
}

/// The server that a URL names.
pub fn server(url: &str) -> Result<ServerAddr, String> {
    url.parse().map_err(|error| {
        format!("configuration: key `nats.servers`: `{url}` is not like nats://host:4222: {error}")
    })
}

/// Options of a connection as that identity, which stands under `key` in the configuration.
pub async fn authenticated(identity: &Identity, key: &str) -> Result<ConnectOptions, String> {
    let wrong = |what: &str| Err(format!("configuration: key `{key}`: {what}"));
    let Identity { credentials, nkey, user, password, token } = identity;
    let ways = [credentials.is_some(), nkey.is_some(), user.is_some(), token.is_some()];
    if ways.into_iter().filter(|given| *given).count() > 1 {
        return wrong("give one of `credentials`, `nkey`, `user` and `token`");
    }
    let connect = ConnectOptions::new();
    Ok(match (credentials, nkey, user, password, token) {
        (Some(path), ..) => {
            let read = connect.credentials_file(path).await;
            read.map_err(|error| {
                format!("configuration: key `{key}.credentials`: {}: {error}", path.display())
            })?
        }
        (_, Some(seed), ..) if KeyPair::from_seed(seed).is_err() => {
            return Err(format!("configuration: key `{key}.nkey`: is not a user's seed (SU…)"));
        }
        (_, Some(seed), ..) => connect.nkey(seed.clone()),
        (_, _, Some(user), Some(password), _) => {
            connect.user_and_password(user.clone(), password.clone())
        }
        (_, _, Some(_), None, _) => return wrong("`user` needs a `password`"),
        (_, _, None, Some(_), _) => return wrong("`password` needs a `user`"),
        (.., Some(token)) => connect.token(token.clone()),
        _ => connect,
    })
}

/// The same with TLS.
pub fn with_tls(mut connect: ConnectOptions, tls: &Tls) -> Result<ConnectOptions, String> {
    let wrong = |key: &str, what: String| format!("configuration: key `nats.tls.{key}`: {what}");
    for (key, path) in [("ca", &tls.ca), ("cert", &tls.cert)] {
        let Some(path) = path else { continue };
        let told = |what: &dyn std::fmt::Display| wrong(key, format!("{}: {what}", path.display()));
        let read: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        if read.map_err(|error| told(&error))?.is_empty() {
            return Err(told(&"has no certificate"));
        }
    }
    if let Some(path) = &tls.key
        && let Err(error) = PrivateKeyDer::from_pem_file(path)
    {
        return Err(wrong("key", format!("{}: {error}", path.display())));
    }
    if let Some(ca) = &tls.ca {
        connect = connect.add_root_certificates(ca.clone());
    }
    match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            connect = connect.add_client_certificate(cert.clone(), key.clone());
        }
        (None, None) => {}
        _ => return Err(wrong("cert", "`cert` and `key` go together".into())),
    }
    Ok(connect.require_tls(tls.required))
}
