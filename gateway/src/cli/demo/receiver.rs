//! The receiver: three endpoints of a partner, one of which has bad days. Verifies both signatures of every request with
//! nothing of the gateway's, as a receiver would.

use super::{
    books::{Arrival, Books},
    door::Doors,
};
use crate::clock;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::{io, net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;

/// One of the demo's endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Gets everything.
    All,
    /// Gets failures only, at a limited rate.
    Alerts,
    /// Gets everything, and refuses every message twice before it takes it.
    Flaky,
}

impl Endpoint {
    /// All three.
    pub const ALL: [Self; 3] = [Self::All, Self::Alerts, Self::Flaky];

    /// The path of its URL.
    pub const fn path(self) -> &'static str {
        match self {
            Self::All => "/all",
            Self::Alerts => "/alerts",
            Self::Flaky => "/flaky",
        }
    }

    /// What it is, for people.
    pub const fn what(self) -> &'static str {
        match self {
            Self::All => "every status",
            Self::Alerts => "failures only, at most 100 a second",
            Self::Flaky => "every status; refuses each twice, then takes it",
        }
    }

    /// How it is asked for in the API, without its URL.
    pub fn wanted(self) -> Value {
        match self {
            Self::All => json!({ "uid": "all", "name": "CRM" }),
            Self::Alerts => {
                let limit = json!({ "limit": 100, "per": "second", "burst": 10 });
                json!({ "uid": "alerts", "name": "On call", "channels": ["alerts"], "rateLimit": limit })
            }
            Self::Flaky => json!({ "uid": "flaky", "name": "Old billing system" }),
        }
    }
}

/// The receiver, as long as the runtime lives.
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it keeps.
    pub books: Arc<Books>,
}

/// Starts it on a free port, for what goes through these doors.
pub async fn start(doors: Doors) -> io::Result<Receiver> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let books = Arc::new(Books::new(doors));
    let router = Router::new().fallback(receive).with_state(Arc::clone(&books));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(Receiver { address, books })
}

async fn receive(
    State(books): State<Arc<Books>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let at = clock::instant();
    let known = Endpoint::ALL.into_iter().find(|endpoint| endpoint.path() == uri.path());
    let Some(endpoint) = known else { return StatusCode::NOT_FOUND };
    let verified = books.secret(endpoint).is_some_and(|secret| verify(&secret, &headers, &body));
    match books.arrived(&Arrival { endpoint, verified, body: &body, at }) {
        true => StatusCode::NO_CONTENT,
        // Not 503: that asks to be sent less.
        false => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Whether both signatures are right.
fn verify(secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let own = text("x-signature").is_some_and(|header| verify_own(secret, header, body));
    let standard = || {
        let key = STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?;
        let (id, time) = (text("webhook-id")?, text("webhook-timestamp")?);
        let signed = mac(&key, &[id.as_bytes(), b".", time.as_bytes(), b".", body])?;
        let expected = format!("v1,{}", STANDARD.encode(signed));
        Some(text("webhook-signature")?.split(' ').any(|one| one == expected))
    };
    own && standard() == Some(true)
}

/// `t=<seconds>,v1=<hex>` over `<seconds>.<body>`.
fn verify_own(secret: &str, header: &str, body: &[u8]) -> bool {
    let mut parts = header.split(',');
    let Some(time) = parts.next().and_then(|part| part.strip_prefix("t=")) else { return false };
    let Some(signed) = mac(secret.as_bytes(), &[time.as_bytes(), b".", body]) else { return false };
    let expected = format!("v1={}", hex::encode(signed));
    parts.any(|one| one == expected)
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Option<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac.finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_vector_verifies_and_nothing_else() {
        let secret = "i9viqa5vxx78hcxh4rwdm8x7791";
        let header =
            "t=1700000000,v1=cfeb6158be9964c4c1c5e137a664c8ed1d9eda2a914b5e9d28d204a36dce7437";
        assert!(verify_own(secret, header, br#"{"id":"1"}"#));
        assert!(!verify_own(secret, header, br#"{"id":"2"}"#));
        assert!(!verify_own("another", header, br#"{"id":"1"}"#));
        assert!(!verify_own(secret, "t=1700000000", br#"{"id":"1"}"#));
        assert!(!verify(secret, &HeaderMap::new(), b"{}"), "both must be there");
    }
}
