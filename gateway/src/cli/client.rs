//! The HTTP side of the command line: a call of the API and its answer, and what becomes of one that is not good. The key
//! is in one header and in no text.

use super::{
    failure::{Failure, Outcome},
    profile::Target,
    refusal::refused,
};
use crate::clock;
use bare::Bare;
use reqwest::{
    Client as Http, Method, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER},
    redirect::Policy,
};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use std::{error::Error, time::Duration};
use tokio::time::sleep;
use url::Url;

mod bare;

/// The API's version, as its paths begin.
const BASE: [&str; 2] = ["api", "v1"];
/// What bodies are, unless a call says.
const JSON: &str = "application/json";
/// How long a connection may take, and a whole call.
const CONNECT: Duration = Duration::from_secs(10);
const CALL: Duration = Duration::from_secs(60);
/// Between the tries of a call that may be repeated.
const WAITS: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// The longest answer, in bytes.
const ANSWER: usize = 64 << 20;
/// What a gateway that asks for patience is given at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway's API.
pub struct Client {
    http: Http,
    base: Url,
    key: String,
}

/// A body as it came.
#[derive(Debug)]
pub struct Answer {
    text: String,
}

impl Answer {
    /// The text, which is JSON of the gateway's.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// As that type.
    pub fn read<T: DeserializeOwned>(&self) -> Outcome<T> {
        serde_json::from_str(&self.text).map_err(|_| {
            Failure::unavailable("the answer is not what a gateway says; is the server one?")
        })
    }

    /// Whatever it is, without payloads.
    pub fn value(&self) -> Outcome<Value> {
        self.read().map(|Bare(value)| value)
    }
}

/// A call of the API.
pub struct Call<'a> {
    method: Method,
    path: Vec<&'a str>,
    query: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
    content_type: &'static str,
    header: Option<(&'static str, String)>,
    once: Option<String>,
    again: bool,
}

impl<'a> Call<'a> {
    /// A call without a body.
    pub fn new(method: Method, path: &[&'a str]) -> Self {
        let (path, query, content_type) = (path.to_vec(), Vec::new(), JSON);
        let (body, header, once) = (None, None, None);
        Self { method, path, query, body, content_type, header, once, again: false }
    }

    /// With these behind the `?`.
    pub fn query(self, query: Vec<(&'static str, String)>) -> Self {
        Self { query, ..self }
    }

    /// With this JSON.
    pub fn body(self, body: &impl ToString) -> Self {
        Self { body: Some(body.to_string().into_bytes()), ..self }
    }

    /// With these bytes, which are of that type.
    pub fn bytes(self, bytes: Vec<u8>, content_type: &'static str) -> Self {
        Self { body: Some(bytes), content_type, ..self }
    }

    /// With this header.
    pub fn header(self, name: &'static str, value: String) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    /// Under this idempotency key, so that it can be tried again.
    pub fn once(self, key: String) -> Self {
        Self { once: Some(key), again: true, ..self }
    }

    /// Tried again if the gateway is away for a moment: it changes nothing.
    pub fn patient(self) -> Self {
        Self { again: true, ..self }
    }
}

/// What became of one try.
enum Try {
    Ended(Answer),
    /// It may be tried again, after that time at least.
    Again(Failure, Duration),
}

impl Client {
    /// A client of that gateway, with that key.
    pub fn new(target: Target) -> Outcome<Self> {
        let Target { server, key } = target;
        let base = address(&server)?;
        let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
            .map_err(|_| Failure::usage("the key has characters that no key has"))?;
        value.set_sensitive(true);
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        // An error says that it is installed already.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let http = Http::builder()
            .user_agent(concat!("octohooks/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            // A POST that is led elsewhere would come there as a GET, and the key with it.
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            .timeout(CALL)
            .build()
            .map_err(|error| Failure::failed(format!("the HTTP client: {}", causes(&error))))?;
        Ok(Self { http, base, key })
    }

    /// `GET`.
    pub async fn get(&self, path: &[&str]) -> Outcome<Answer> {
        self.call(Call::new(Method::GET, path)).await
    }

    /// `POST` with this JSON.
    pub async fn post(&self, path: &[&str], body: &impl ToString) -> Outcome<Answer> {
        self.call(Call::new(Method::POST, path).body(body)).await
    }

    /// `PUT` with this JSON.
    pub async fn put(&self, path: &[&str], body: &impl ToString) -> Outcome<Answer> {
        self.call(Call::new(Method::PUT, path).body(body)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &[&str]) -> Outcome<Answer> {
        self.call(Call::new(Method::DELETE, path)).await
    }

    /// The call, tried again where it may be.
    pub async fn call(&self, call: Call<'_>) -> Outcome<Answer> {
        let url = self.url(&call)?;
        let mut waits = WAITS.iter().filter(|_| call.again);
        loop {
            match (self.attempt(&call, &url).await?, waits.next()) {
                (Try::Ended(answer), _) => return Ok(answer),
                (Try::Again(failure, _), None) => return Err(failure),
                (Try::Again(_, asked), Some(wait)) => {
                    // Up to a quarter more, so that many do not come back at once.
                    sleep(asked.max(wait.mul_f64(1.0 + clock::chance().abs() / 4.0))).await;
                }
            }
        }
    }

    async fn attempt(&self, call: &Call<'_>, url: &Url) -> Outcome<Try> {
        let mut request = self.http.request(call.method.clone(), url.clone());
        request = request.header(CONTENT_TYPE, call.content_type);
        if let Some(key) = &call.once {
            request = request.header("idempotency-key", key);
        }
        if let Some((name, value)) = &call.header {
            request = request.header(*name, value);
        }
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        let lost = |error: reqwest::Error| {
            let line = format!("no answer from {}: {}", self.base, causes(&error.without_url()));
            Try::Again(Failure::unavailable(self.without_key(&line)), Duration::ZERO)
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Ok(lost(error)),
        };
        let (status, patience) = (response.status(), patience(&response));
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let to = to.unwrap_or("elsewhere");
            let line = format!("{} leads to {to}: give that as the server", self.base);
            return Err(Failure::unavailable(self.without_key(&line)));
        }
        let bytes = match body(response).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                return Err(Failure::unavailable("the answer has no end; is the server one?"));
            }
            Err(error) => return Ok(lost(error)),
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if status.is_success() {
            let answer = Answer { text };
            // A script gets what a gateway said, or an error.
            return answer.read::<IgnoredAny>().map(|_| Try::Ended(answer));
        }
        let failure = refused(status.as_u16(), &self.without_key(&text), &call.path);
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Ok(Try::Again(failure, patience)),
            _ => Err(failure),
        }
    }

    fn url(&self, call: &Call<'_>) -> Outcome<Url> {
        // A URL drops such parts, and the call would be another.
        if let Some(bad) = call.path.iter().find(|part| ["", ".", ".."].contains(part)) {
            return Err(Failure::usage(format!("`{bad}` is no id or uid")));
        }
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(BASE).extend(&call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        Ok(url)
    }

    /// A server may say back what it was given.
    fn without_key(&self, text: &str) -> String {
        text.replace(&self.key, "(the key)")
    }
}

/// The gateway's address.
fn address(server: &str) -> Outcome<Url> {
    let url = Url::parse(server.trim()).ok();
    let url = url.filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
    let plain = |url: &Url| url.username().is_empty() && url.password().is_none();
    match url {
        Some(url) if plain(&url) && url.query().is_none() && url.fragment().is_none() => Ok(url),
        Some(_) => Err(Failure::usage("the server must be an address and nothing more")),
        None => Err(Failure::usage(format!(
            "the server must begin with http:// or https://, like http://127.0.0.1:8080; not `{server}`"
        ))),
    }
}

/// The answer's body; none if it is longer than any of a gateway's.
async fn body(mut response: Response) -> reqwest::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > ANSWER {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// What the gateway asks for, in seconds.
fn patience(response: &Response) -> Duration {
    let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = asked.and_then(|text| text.parse().ok()).unwrap_or(0);
    Duration::from_secs(seconds).min(PATIENCE)
}

/// The innermost cause, which is what people look for: `Connection refused`.
fn causes(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match error.is_timeout() {
        true => "it takes too long".to_owned(),
        false => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(server: &str) -> Outcome<Client> {
        Client::new(Target { server: server.to_owned(), key: "key_s3cret".to_owned() })
    }

    #[test]
    fn a_path_leads_where_it_says() {
        let table = [
            ("http://h:1", vec!["applications"], Some("http://h:1/api/v1/applications")),
            ("http://h/", vec!["a", "b/c?d é"], Some("http://h/api/v1/a/b%2Fc%3Fd%20%C3%A9")),
            ("https://h/below/", vec!["a"], Some("https://h/below/api/v1/a")),
            ("http://h", vec!["applications", ".."], None),
            ("http://h", vec!["applications", ""], None),
        ];
        for (server, path, expected) in table {
            let client = client(server).expect("an address");
            let url = client.url(&Call::new(Method::GET, &path)).ok().map(String::from);
            assert_eq!(url.as_deref(), expected, "{server} {path:?}");
        }
    }

    #[test]
    fn an_address_is_one() {
        for bad in ["h:80", "localhost:8080", "ftp://h", "", "http://", "http://h/?a=b"] {
            assert!(client(bad).is_err(), "{bad}");
        }
        let secret = client("http://me:s3cret@h").err().map(|failure| format!("{failure:?}"));
        assert!(secret.is_some_and(|said| !said.contains("s3cret")));
    }

    #[test]
    fn a_key_that_cannot_be_sent_is_not_shown() {
        let target = Target { server: "http://h".into(), key: "s3cret\n".into() };
        let said = Client::new(target).err().map(|failure| format!("{failure:?}"));
        assert!(said.is_some_and(|said| said.contains("the key") && !said.contains("s3cret")));
    }
}
