//! OAuth 2 tokens (client credentials, RFC 6749 section 4.4), fetched by the same client past the same guard. A token is
//! kept in memory by its endpoint and that one's revision. One request at a time fetches: a token that will soon
//! expire is replaced by whoever comes first while the others go on with it; one that is not there is waited for. What
//! failed is not asked for again for a moment, so that a queue of deliveries does not become a queue at the server.

use super::{Client, Draft, Trouble, exchange::idle, usual};
use crate::{
    clock,
    model::{
        attempt::Failure,
        credentials::{ClientAuthentication, OAuth2},
        endpoint::Endpoint,
        id::EndpointId,
        secret::Secret,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Mutex as Turn;
use url::form_urlencoded;

/// How long fetching a token may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How large an answer with a token may be, in bytes.
const ANSWER: usize = 64 << 10;
/// How long a token is good whose server does not say.
const UNSAID: Duration = Duration::from_secs(300);
/// A token is replaced in the last tenth of its time, and in its last minute at the earliest.
const EARLY: Duration = Duration::from_secs(60);
/// How long a failure stands for what would be asked again.
const FAILED: Duration = Duration::from_secs(2);
/// How many endpoints' tokens are kept.
const MOST: usize = 10_000;

/// The tokens of all endpoints.
#[derive(Clone, Default)]
pub struct Tokens(Arc<Mutex<HashMap<EndpointId, Arc<Slot>>>>);

struct Slot {
    revision: u64,
    state: Mutex<State>,
    turn: Turn<()>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    failed: Option<(Instant, String)>,
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    early: Instant,
    end: Instant,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(…)")
    }
}

impl Tokens {
    /// Forgets the endpoint's token, if it is this one: its receiver does not take it.
    pub fn refused(&self, endpoint: EndpointId, header: &HeaderValue) {
        let slot = lock(&self.0).get(&endpoint).cloned();
        if let Some(slot) = slot {
            let mut state = lock(&slot.state);
            if state.token.as_ref().is_some_and(|token| token.header == header) {
                state.token = None;
            }
        }
    }

    fn slot(&self, endpoint: &Endpoint, now: Instant) -> Arc<Slot> {
        let mut slots = lock(&self.0);
        if let Some(slot) = slots.get(&endpoint.id).filter(|s| s.revision == endpoint.revision) {
            return slot.clone();
        }
        if slots.len() >= MOST {
            let is_good =
                |slot: &Slot| lock(&slot.state).token.as_ref().is_some_and(|token| token.end > now);
            slots.retain(|_, slot| is_good(slot));
            if let Some(any) = slots.keys().next().copied().filter(|_| slots.len() >= MOST) {
                slots.remove(&any);
            }
        }
        let (revision, state, turn) = (endpoint.revision, Mutex::default(), Turn::default());
        let slot = Arc::new(Slot { revision, state, turn });
        slots.insert(endpoint.id, slot.clone());
        slot
    }
}

impl Slot {
    /// The token, and whether it should be replaced.
    fn token(&self, now: Instant) -> Option<(HeaderValue, bool)> {
        let state = lock(&self.state);
        let token = state.token.as_ref().filter(|token| token.end > now)?;
        Some((token.header.clone(), token.early <= now))
    }

    fn failed(&self, now: Instant) -> Option<String> {
        let state = lock(&self.state);
        let failed = state.failed.as_ref();
        failed.filter(|(until, _)| *until > now).map(|(_, why)| why.clone())
    }

    fn keep(&self, fetched: &Result<Token, String>) {
        let mut state = lock(&self.state);
        match fetched {
            Ok(token) => *state = State { token: Some(token.clone()), failed: None },
            Err(why) => state.failed = Some((clock::instant() + FAILED, why.clone())),
        }
    }
}

impl Client {
    /// `Authorization` for the endpoint: a token that is there, or a new one.
    pub(super) async fn token(
        &self,
        endpoint: &Endpoint,
        options: &OAuth2,
        secret: &Secret,
    ) -> Result<HeaderValue, Trouble> {
        let failed = |why: String| Trouble::new(Failure::Token, why);
        let slot = self.tokens.slot(endpoint, clock::instant());
        let known = slot.token(clock::instant());
        let _turn = match &known {
            Some((header, false)) => return Ok(header.clone()),
            Some((header, true)) => match slot.turn.try_lock() {
                Ok(turn) => turn,
                Err(_) => return Ok(header.clone()),
            },
            None => slot.turn.lock().await,
        };
        // Whoever had the turn before may have fetched it, or failed to.
        match slot.token(clock::instant()) {
            Some((header, false)) => return Ok(header),
            now => {
                if let Some(why) = slot.failed(clock::instant()) {
                    return now.map(|(header, _)| header).ok_or_else(|| failed(why));
                }
            }
        }
        let fetching = tokio::time::timeout(LIMIT, self.fetch_token(options, secret));
        let fetched = fetching.await.unwrap_or_else(|_| {
            Err(format!("the token endpoint has not answered within {} s", LIMIT.as_secs()))
        });
        slot.keep(&fetched);
        match (fetched, known) {
            (Ok(token), _) => Ok(token.header),
            // The old one is still good.
            (Err(_), Some((header, _))) => Ok(header),
            (Err(why), None) => Err(failed(why)),
        }
    }

    async fn fetch_token(&self, options: &OAuth2, secret: &Secret) -> Result<Token, String> {
        let said = |trouble: Trouble| {
            format!("the token endpoint: {}: {}", trouble.class.name(), trouble.detail)
        };
        let route = self.route(&options.token_url).map_err(said)?;
        let (headers, body) = request(options, secret)?;
        let draft =
            || Draft { method: Method::POST, headers: usual(headers.clone()), body: body.clone() };
        let start = clock::instant();
        let (response, lease) = self.connector.exchange(&route, draft).await.map_err(said)?;
        let (status, keep) = (response.status().as_u16(), idle(&response));
        let body = Limited::new(response.into_body(), ANSWER).collect().await;
        let body = body.map_err(|error| format!("the token endpoint: {error}"))?.to_bytes();
        if let Some(keep) = keep {
            lease.done(keep);
        }
        read(status, &body, start)
    }
}

/// The request for a token.
fn request(options: &OAuth2, secret: &Secret) -> Result<(HeaderMap, Bytes), String> {
    let OAuth2 { client_id, scope, audience, authentication, .. } = options;
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    for (name, value) in [("scope", scope), ("audience", audience)] {
        if let Some(value) = value {
            form.append_pair(name, value);
        }
    }
    let mut headers = HeaderMap::new();
    match authentication {
        ClientAuthentication::Body => {
            form.append_pair("client_id", client_id).append_pair("client_secret", &secret.text);
        }
        ClientAuthentication::Basic => {
            // RFC 6749 section 2.3.1: both are encoded before.
            let encoded = |text: &str| -> String {
                form_urlencoded::byte_serialize(text.as_bytes()).collect()
            };
            let header = basic(&encoded(client_id), &encoded(&secret.text))?;
            headers.insert(header::AUTHORIZATION, header);
        }
    }
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(header::CONTENT_TYPE, form_type);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    Ok((headers, form.finish().into()))
}

/// `Authorization: Basic` of that user.
pub(super) fn basic(user: &str, password: &str) -> Result<HeaderValue, String> {
    sensitive(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

/// A header's value that is nobody's to read.
pub(super) fn sensitive(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text).map_err(|_| "is no header's value".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The token of an answer; good from when it was asked for.
fn read(status: u16, body: &[u8], start: Instant) -> Result<Token, String> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| answer[name].as_str();
    if status != 200 {
        // Nothing that it may have got from us: the codes are words (RFC 6749, 5.2).
        let is_word = |code: &&str| {
            code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        let code = text("error").filter(is_word).unwrap_or("no error code");
        return Err(format!("the token endpoint answered {status}: {code}"));
    }
    let token = text("access_token").ok_or("the token endpoint's answer has no access_token")?;
    let kind = text("token_type").unwrap_or("bearer");
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err("the token endpoint's answer is not a bearer token".into());
    }
    let seconds = match &answer["expires_in"] {
        Value::Number(seconds) => seconds.as_f64(),
        Value::String(seconds) => seconds.parse().ok(),
        _ => None,
    };
    let good = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let good = good.unwrap_or(UNSAID).min(Duration::from_secs(30 * 24 * 3600));
    let end = start + good;
    let header = sensitive(&format!("Bearer {token}"))
        .map_err(|_| "the token endpoint's access_token fits in no header")?;
    Ok(Token { header, early: end - (good / 10).min(EARLY), end })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn token(status: u16, answer: &Value) -> Result<(String, u64, u64), String> {
        let start = clock::instant();
        let Token { header, early, end } = read(status, answer.to_string().as_bytes(), start)?;
        let header = header.to_str().expect("text").to_owned();
        Ok((header, (early - start).as_secs(), (end - start).as_secs()))
    }

    #[test]
    fn a_token_is_good_for_as_long_as_its_server_says_and_replaced_early() {
        for (answer, early, end) in [
            (json!({ "access_token": "t", "expires_in": 3600 }), 3540, 3600),
            (json!({ "access_token": "t", "expires_in": "100" }), 90, 100),
            (json!({ "access_token": "t", "token_type": "Bearer" }), 270, 300),
            (json!({ "access_token": "t", "expires_in": 1e300 }), 270, 300),
            (json!({ "access_token": "t", "expires_in": -1 }), 270, 300),
        ] {
            assert_eq!(token(200, &answer), Ok(("Bearer t".into(), early, end)), "{answer}");
        }
        for (status, answer, says) in [
            (400, json!({ "error": "invalid_client" }), "answered 400: invalid_client"),
            (500, json!("x"), "answered 500: no error code"),
            (401, json!({ "error": "bad Basic YzpT" }), "answered 401: no error code"),
            (200, json!({}), "no access_token"),
            (200, json!({ "access_token": "a\nb" }), "fits in no header"),
            (200, json!({ "access_token": "t", "token_type": "mac" }), "not a bearer"),
        ] {
            let error = token(status, &answer).expect_err("is bad");
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_client_says_who_it_is_as_its_server_wants_it() {
        let mut options = OAuth2 {
            token_url: "https://id.example/token".parse().expect("a URL"),
            client_id: "a b".into(),
            scope: Some("x y".into()),
            audience: None,
            authentication: ClientAuthentication::Basic,
        };
        let secret = Secret::new("s:&");
        let (headers, body) = request(&options, &secret).expect("a request");
        assert_eq!(headers["authorization"], format!("Basic {}", STANDARD.encode("a+b:s%3A%26")));
        assert_eq!(body, "grant_type=client_credentials&scope=x+y");
        options.authentication = ClientAuthentication::Body;
        let (headers, body) = request(&options, &secret).expect("a request");
        assert!(headers.get("authorization").is_none());
        let all = "grant_type=client_credentials&scope=x+y&client_id=a+b&client_secret=s%3A%26";
        assert_eq!(body, all);
    }
}
