//! NATS as a destination: an endpoint whose URL is `nats://<subject>`. The same lane, limits, retries, signatures and
//! record as over HTTP; what differs is the wire.
//!
//! Without more, a delivery has arrived when the server has it and somebody listens: answered 202. With
//! `?stream=<name>` it has arrived when that stream has stored it: 200. The statuses are NATS's own where it has some
//! (503: nobody listens), so that one record shows both kinds. A retry carries the same `Nats-Msg-Id`, by which a stream
//! knows what it has.

use super::{headers::headers, payload::payload};
use crate::{
    model::{
        application::Application,
        attempt::{Answer, Failure, Outcome},
        delivery::Delivery,
        endpoint::Endpoint,
        id::EnvironmentId,
        list::texts,
        subject::{Pattern, Subject, is_name},
    },
    nats::Connection,
};
use async_nats::{Client, HeaderMap, Message, Request, RequestErrorKind, StatusCode, header};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::{Deserialize, Deserializer, Serialize};
use std::{collections::HashMap, sync::Arc, time::Duration};
use url::{Host, Url};

/// The scheme of such URLs.
pub const SCHEME: &str = "nats";
/// NATS's own "nobody listens", and what it means here.
const NOBODY: u16 = 503;
/// The server has it; nobody said that it is kept.
const TAKEN: u16 = 202;
/// It is stored.
const STORED: u16 = 200;
/// What comes back behind a message, when the server has it.
const MARK: &[u8] = b"octohooks-mark";
/// How much of an answer is recorded, in bytes.
const ANSWER: usize = 16 << 10;

/// Which subjects deliveries may go to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Patterns, in a list or a text with commas: `hooks.{application}.>`. None: no endpoint may be on NATS.
    #[serde(deserialize_with = "patterns")]
    pub subjects: Vec<Pattern>,
}

fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pattern>, D::Error> {
    let parsed = texts(deserializer)?.into_iter().map(|text| text.parse());
    parsed.collect::<Result<_, String>>().map_err(serde::de::Error::custom)
}

/// Why a `nats:` URL was refused, as its owner reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not as such a URL is written.
    #[error("must be nats://<subject>, or nats://<subject>?stream=<name>")]
    Form,
    /// No such wire.
    #[error("the scheme nats needs a server (nats.servers)")]
    Off,
    /// Not one of the application's subjects.
    #[error("the application may not publish to {0} (delivery.nats.subjects says where it may)")]
    NotAllowed(String),
    /// A subject that means something else.
    #[error("{0} is the gateway's or the server's own")]
    Reserved(String),
}

/// Where a URL means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    subject: Subject,
    stream: Option<String>,
}

impl Target {
    /// What the URL says.
    pub fn parse(url: &Url) -> Result<Self, Refusal> {
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.port().is_none()
            && matches!(url.path(), "" | "/")
            && url.fragment().is_none();
        let subject = match url.host() {
            Some(Host::Domain(name)) if bare => Subject::new(name).ok_or(Refusal::Form)?,
            _ => return Err(Refusal::Form),
        };
        let mut pairs = url.query_pairs();
        let stream = match (pairs.next(), pairs.next()) {
            (None, _) => None,
            (Some((key, name)), None) if key == "stream" && is_name(&name) => {
                Some(name.into_owned())
            }
            _ => return Err(Refusal::Form),
        };
        Ok(Self { subject, stream })
    }
}

/// Which subjects are whose.
#[derive(Clone, Debug, Default)]
pub struct Subjects {
    /// Whether there is a server.
    on: bool,
    allow: Arc<[Pattern]>,
    /// Where the gateway itself takes messages: through them one application could send in another's name.
    own: Arc<[String]>,
    /// The names of environments.
    environments: Arc<HashMap<EnvironmentId, String>>,
}

impl Subjects {
    /// What `options` allow, but for those of the gateway `own`; nothing if there is no server.
    #[must_use]
    pub fn new(
        on: bool,
        options: &Options,
        own: Vec<String>,
        environments: HashMap<EnvironmentId, String>,
    ) -> Self {
        let allow = options.subjects.as_slice().into();
        Self { on, allow, own: own.into(), environments: environments.into() }
    }

    /// Where the URL means, if the application may publish there.
    pub fn check(&self, url: &Url, application: &Application) -> Result<Target, Refusal> {
        let target = Target::parse(url)?;
        if !self.on {
            return Err(Refusal::Off);
        }
        let subject = &target.subject;
        let text = subject.as_str();
        if text.starts_with('$')
            || subject.is_within("_INBOX")
            || self.own.iter().any(|own| subject.is_within(own))
        {
            return Err(Refusal::Reserved(text.to_owned()));
        }
        let environment = self.environments.get(&application.environment);
        let environment = environment.map_or("", String::as_str);
        let allows = |pattern: &Pattern| pattern.allows(subject, application, environment);
        match self.allow.iter().any(allows) {
            true => Ok(target),
            false => Err(Refusal::NotAllowed(text.to_owned())),
        }
    }
}

/// Publishes deliveries.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// None: there is no server.
    pub connection: Option<Connection>,
    /// Those of environments whose doors are in accounts of their own: what they publish goes there too.
    pub accounts: HashMap<EnvironmentId, Connection>,
    /// Which subjects are whose.
    pub subjects: Subjects,
    /// The longest an attempt may take.
    pub timeout: Duration,
}

impl Publisher {
    /// Makes one try, signed as of `seconds` since the epoch.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        application: &Application,
        delivery: &Delivery,
        seconds: u64,
        signed: Option<&[(String, String)]>,
    ) -> Outcome {
        let failed = |class, detail: String| Outcome::Failed { class, detail };
        let target = match self.subjects.check(&endpoint.url, application) {
            Ok(target) => target,
            Err(refusal) => return failed(Failure::Guard, refusal.to_string()),
        };
        // A message for a server that is away would wait in the client, and go out after its failure was recorded.
        let account = self.accounts.get(&application.environment);
        let connection = account.or(self.connection.as_ref());
        let Some(client) = connection.and_then(Connection::standing) else {
            return failed(Failure::Connect, "there is no connection to NATS".into());
        };
        let body = payload(endpoint, delivery);
        let mut map = HeaderMap::new();
        for (name, value) in &headers(endpoint, delivery, &body, seconds, signed) {
            map.append(name.as_str(), value.to_str().unwrap_or_default());
        }
        map.insert(header::NATS_MESSAGE_ID, delivery.id().to_string());
        let exchange = async {
            match &target.stream {
                None => publish(&client, &target.subject, map, &body).await,
                Some(stream) => {
                    map.insert(header::NATS_EXPECTED_STREAM, stream.as_str());
                    store(&client, &target.subject, map, &body).await
                }
            }
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok(answer)) => Outcome::Answered(answer),
            Ok(Err((class, detail))) => failed(class, detail),
            Err(_) => {
                let limit = self.timeout.as_millis();
                failed(Failure::Timeout, format!("no confirmation within {limit} ms"))
            }
        }
    }
}

type Failed = (Failure, String);

fn answer(status: u16, body: &[u8]) -> Answer {
    Answer { status, body: body[..body.len().min(ANSWER)].to_vec(), ..Answer::default() }
}

fn nobody() -> Answer {
    answer(NOBODY, b"nobody listens on the subject")
}

/// Publishes, and returns when the server has it. The server answers at once where nobody listens, and a message to
/// ourselves that follows comes back behind that answer: one connection keeps its order.
async fn publish(
    client: &Client,
    subject: &Subject,
    headers: HeaderMap,
    payload: &Bytes,
) -> Result<Answer, Failed> {
    let inbox = client.new_inbox();
    let failed = |error: &dyn std::fmt::Display| (Failure::Protocol, error.to_string());
    let mut back = client.subscribe(inbox.clone()).await.map_err(|error| failed(&error))?;
    let subject = subject.as_str().to_owned();
    client
        .publish_with_reply_and_headers(subject, inbox.clone(), headers, payload.clone())
        .await
        .map_err(|error| failed(&error))?;
    client.publish(inbox, Bytes::from_static(MARK)).await.map_err(|error| failed(&error))?;
    let broken = || (Failure::Reset, "the connection to NATS broke".to_owned());
    loop {
        let message = back.next().await.ok_or_else(broken)?;
        match message.status {
            Some(StatusCode::NO_RESPONDERS) => return Ok(nobody()),
            _ if *message.payload == *MARK => return Ok(answer(TAKEN, b"")),
            // A listener's own answer: nobody asked.
            _ => {}
        }
    }
}

/// What a stream answers.
#[derive(Deserialize)]
struct Stored {
    stream: Option<String>,
    error: Option<NotStored>,
}

#[derive(Deserialize)]
struct NotStored {
    code: u16,
}

/// Publishes, and returns when the stream has stored it.
async fn store(
    client: &Client,
    subject: &Subject,
    headers: HeaderMap,
    payload: &Bytes,
) -> Result<Answer, Failed> {
    // The attempt has a limit of its own.
    let request = Request::new().headers(headers).payload(payload.clone()).timeout(None);
    let reply = client.send_request(subject.as_str().to_owned(), request).await;
    match reply {
        Ok(message) => stored(&message),
        Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(nobody()),
        Err(error) => Err((Failure::Protocol, error.to_string())),
    }
}

fn stored(reply: &Message) -> Result<Answer, Failed> {
    let text = String::from_utf8_lossy(&reply.payload[..reply.payload.len().min(ANSWER)]);
    match serde_json::from_slice(&reply.payload) {
        Ok(Stored { error: Some(error), .. }) => Ok(answer(error.code, &reply.payload)),
        Ok(Stored { stream: Some(_), error: None }) => Ok(answer(STORED, &reply.payload)),
        _ => Err((Failure::Protocol, format!("answered by something that is no stream: {text}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{name::Uid, sample};

    #[test]
    fn urls_say_a_subject_and_perhaps_a_stream() {
        for (url, subject, stream) in [
            ("nats://Hooks.hooli.sms", "Hooks.hooli.sms", None),
            ("nats://a.b/?stream=S", "a.b", Some("S")),
            ("nats://a?stream=S", "a", Some("S")),
        ] {
            let target = Target::parse(&Url::parse(url).expect(url)).expect(url);
            assert_eq!((target.subject.as_str(), target.stream.as_deref()), (subject, stream));
        }
        for bad in [
            "nats:a.b",
            "nats:///a",
            "nats://a.b:4222",
            "nats://user@a.b",
            "nats://:pass@a.b",
            "nats://a.b/c",
            "nats://a.b#c",
            "nats://a.*",
            "nats://a..b",
            "nats://a.b?stream=",
            "nats://a.b?stream=a.b",
            "nats://a.b?stream=S&stream=S",
            "nats://a.b?other=S",
            "nats://[::1]",
        ] {
            if let Ok(url) = Url::parse(bad) {
                assert_eq!(Target::parse(&url), Err(Refusal::Form), "{bad}");
            }
        }
    }

    #[test]
    fn an_application_publishes_only_where_it_may() {
        let mut application = sample::application();
        application.uid = Uid::new("hooli").ok();
        let options = Options {
            subjects: vec![
                "hooks.{application}.>".parse().expect("legal"),
                "$JS.>".parse().expect("legal"),
                "octohooks.>".parse().expect("legal"),
                "_INBOX.>".parse().expect("legal"),
            ],
        };
        let check = |on, url: &str| {
            let subjects =
                Subjects::new(on, &options, vec!["octohooks.ingest".into()], HashMap::new());
            subjects.check(&Url::parse(url).expect(url), &application).map(|_| ())
        };
        assert_eq!(check(true, "nats://hooks.hooli.sms"), Ok(()));
        assert_eq!(check(true, "nats://octohooks.other"), Ok(()));
        assert_eq!(check(false, "nats://hooks.hooli.sms"), Err(Refusal::Off));
        for other in ["hooks.acme.sms", "hooks.hooli", "elsewhere"] {
            let refused = check(true, &format!("nats://{other}"));
            assert_eq!(refused, Err(Refusal::NotAllowed(other.into())));
        }
        for reserved in ["$JS.API.INFO", "octohooks.ingest.acme", "_INBOX.abc"] {
            let refused = check(true, &format!("nats://{reserved}"));
            assert_eq!(refused, Err(Refusal::Reserved(reserved.into())));
        }
    }

    #[test]
    fn a_streams_answer_is_read_and_nobody_elses() {
        let reply = |payload: &str| {
            let payload = Bytes::from(payload.to_owned());
            stored(&Message {
                subject: "s".into(),
                reply: None,
                payload,
                headers: None,
                status: None,
                description: None,
                length: 0,
            })
        };
        assert_eq!(reply(r#"{"stream":"S","seq":5}"#).expect("stored").status, 200);
        let refused = r#"{"error":{"code":400,"description":"expected stream does not match"}}"#;
        assert_eq!(reply(refused).expect("answered").status, 400);
        for other in ["", "thanks", "{}", "[]"] {
            assert_eq!(reply(other).expect_err(other).0, Failure::Protocol);
        }
    }
}
