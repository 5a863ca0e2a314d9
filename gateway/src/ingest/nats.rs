//! The NATS door: a request, or a plain publish, on `<prefix>.<application>` is a message. The reply carries the
//! message's id once it is on disk, or the same error as over HTTP. A queue group shares the load between gateways.
//!
//! What a message is written in is said by its headers, never guessed; see [`super::envelope`].

use super::{
    accept::{Acceptor, Receipt},
    envelope::{self, Written},
    headers::Headers,
};
use crate::{
    model::{id::EnvironmentId, subject::Subject},
    nats::{Connection, Identity},
    web::error::ApiError,
};
use async_nats::{HeaderMap, Message, Subscriber};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::json;
use source::Source;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, task::JoinSet};

mod confirm;
pub mod source;
pub mod consumer;
pub mod dead_letter;
pub mod template;

/// How many messages of this door may wait for a commit at once.
const UNDER_WAY: u32 = 4096;
/// How long to wait before a subscription that failed is made again.
const AGAIN: Duration = Duration::from_secs(1);
/// What clients of NATS services look for in a reply.
const ERROR: &str = "Nats-Service-Error";
const ERROR_CODE: &str = "Nats-Service-Error-Code";

/// A door of another environment.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorOptions {
    /// Whose messages come here.
    pub environment: String,
    /// The subject before the application's id or uid.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// The queue group.
    #[serde(default = "queue")]
    pub queue: String,
    /// Who the gateway is there. None: as for everything else.
    pub account: Option<Identity>,
}

fn prefix() -> String {
    "octohooks.ingest".into()
}

fn queue() -> String {
    "octohooks".into()
}

/// The doors' options.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The subject before the application's id or uid.
    pub prefix: String,
    /// The queue group; gateways in one group share the messages.
    pub queue: String,
    /// Streams to take messages from.
    pub sources: Vec<source::Options>,
    /// Doors of other environments, told apart by their prefix or their account.
    pub doors: Vec<DoorOptions>,
}

impl Default for Options {
    fn default() -> Self {
        Self { prefix: prefix(), queue: queue(), sources: Vec::new(), doors: Vec::new() }
    }
}

impl Options {
    /// Which key is wrong, and what would be right.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let token = |token: &str| {
            !token.is_empty() && !token.contains(|c: char| c.is_whitespace() || "*>".contains(c))
        };
        let mut known: Vec<(&Option<Identity>, Subject)> = Vec::new();
        let own = (&None, &self.prefix, &self.queue);
        let doors = self.doors.iter().map(|door| (&door.account, &door.prefix, &door.queue));
        for (account, prefix, queue) in std::iter::once(own).chain(doors) {
            let right = "a subject without wildcards, such as octohooks.ingest";
            let prefix = Subject::new(prefix).ok_or(("prefix", right))?;
            let meets = |(other, known): &(&Option<Identity>, Subject)| {
                let within = prefix.is_within(known.as_str()) || known.is_within(prefix.as_str());
                *other == account && within
            };
            if known.iter().any(meets) {
                return Err(("doors.prefix", "none of another door's subjects in its account"));
            }
            if !token(queue) {
                return Err(("queue", "a name without white space"));
            }
            known.push((account, prefix));
        }
        self.sources.iter().try_for_each(source::Options::check)
    }

    /// Where messages come in, of every environment.
    #[must_use]
    pub fn prefixes(&self) -> Vec<String> {
        let others = self.doors.iter().map(|door| door.prefix.clone());
        std::iter::once(self.prefix.clone()).chain(others).collect()
    }
}

/// The door: what comes on its subjects is accepted for the environment.
#[derive(Clone)]
pub struct Door {
    /// Behind the door.
    pub acceptor: Acceptor,
    /// What it listens on.
    pub connection: Connection,
    /// The subject before the application's id or uid.
    pub prefix: String,
    /// The queue group.
    pub queue: String,
    /// Whose messages come here.
    pub environment: EnvironmentId,
    /// Streams to take messages from, and whose those are.
    pub sources: Vec<(source::Options, EnvironmentId)>,
}

impl Door {
    /// Takes messages until told to stop, and then ends those under way.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(UNDER_WAY as usize));
        let sources = self.sources.iter().cloned();
        let sources = sources.map(|(options, environment)| self.source(options, environment).run());
        let sources: JoinSet<()> = sources.collect();
        tokio::select! {
            () = self.listen(&places) => {}
            () = stop => {}
        }
        drop(sources);
        // All places are free when the last is answered.
        let _answered = places.acquire_many(UNDER_WAY).await;
        let _sent = self.connection.client.flush().await;
    }

    fn source(&self, options: source::Options, environment: EnvironmentId) -> Source {
        let (acceptor, connection) = (self.acceptor.at("jetstream"), self.connection.clone());
        let progress = connection.source(&options.stream, &options.durable);
        Source { acceptor, connection, options, environment, progress }
    }

    async fn listen(&self, places: &Arc<Semaphore>) {
        loop {
            let subject = format!("{}.>", self.prefix);
            match self.connection.client.queue_subscribe(subject, self.queue.clone()).await {
                Ok(subscriber) => self.take(subscriber, places).await,
                Err(error) => tracing::error!(%error, "NATS cannot be listened to; tried again"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn take(&self, mut subscriber: Subscriber, places: &Arc<Semaphore>) {
        while let Some(message) = subscriber.next().await {
            // No more in hand than the acceptor can commit: the rest waits in the subscription, then at the server.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let door = self.clone();
            tokio::spawn(async move {
                door.answer(message).await;
                drop(place);
            });
        }
    }

    async fn answer(&self, message: Message) {
        let accepted = self.accept(&message).await;
        let Some(reply) = message.reply else {
            // Nobody waits for an answer; whoever looks for the message finds this.
            if let Err(error) = accepted {
                let subject = message.subject.as_str();
                tracing::warn!(subject, %error, "a message from NATS was refused");
            }
            return;
        };
        let (headers, body) = match &accepted {
            Ok(receipt) => (HeaderMap::new(), json!({ "id": receipt.id.to_string() }).to_string()),
            Err(error) => {
                let mut headers = HeaderMap::new();
                headers.insert(ERROR_CODE, error.status().as_str());
                headers.insert(ERROR, error.code());
                (headers, serde_json::to_string(error).unwrap_or_default())
            }
        };
        let sent = self.connection.client.publish_with_headers(reply, headers, body.into()).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "a reply could not be sent");
        }
    }

    async fn accept(&self, message: &Message) -> Result<Receipt, ApiError> {
        let application = message.subject.strip_prefix(&*self.prefix);
        let application = application.and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
        if message.payload.len() > self.acceptor.payload_limit() + envelope::BYTES {
            return Err(ApiError::too_large("message", self.acceptor.payload_limit()));
        }
        let headers = headers(message.headers.as_ref());
        let draft = Written::by(&headers)?.read(&message.payload, &headers)?;
        Ok(self.acceptor.accept(self.environment, application, draft).await?)
    }
}

/// The headers of a message of NATS.
fn headers(map: Option<&HeaderMap>) -> Headers {
    let all = map.into_iter().flat_map(HeaderMap::iter);
    let pairs = all.flat_map(|(name, values)| {
        values.iter().map(move |value| (name.to_string(), value.to_string()))
    });
    Headers(pairs.collect())
}
