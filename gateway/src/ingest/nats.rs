//! The NATS door: a request, or a plain publish, on `<prefix>.<application>` is a message. The reply carries the
//! message's id once it is on disk, or the same error as over HTTP. A queue group shares the load between gateways.
//!
//! What a message is written in is said by its headers, never guessed; see [`super::envelope`].

use super::{
    accept::{Acceptor, Receipt},
    envelope::{self, Written},
    headers::Headers,
};
use crate::{model::id::EnvironmentId, nats::Connection, web::error::ApiError};
use async_nats::{HeaderMap, Message, Subscriber};
use futures_util::StreamExt;
use replies::Replies;
use serde_json::json;
use source::Source;
use std::{
    pin::{Pin, pin},
    sync::{Arc, Once},
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet};

pub mod options;
pub mod replies;
pub mod source;
pub mod template;
mod consumer;
mod confirm;
mod dead_letter;
mod poison;

/// How many messages of this door may wait for a commit at once.
const UNDER_WAY: u32 = 4096;
/// How long to wait before a subscription that failed is made again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a stop waits for the last answers to be with the server.
const FLUSH: Duration = Duration::from_secs(1);
/// What clients of NATS services look for in a reply.
const ERROR: &str = "Nats-Service-Error";
const ERROR_CODE: &str = "Nats-Service-Error-Code";

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
    /// Where it does not answer to.
    pub replies: Arc<Replies>,
    /// Streams to take messages from, and whose those are.
    pub sources: Vec<(source::options::Options, EnvironmentId)>,
}

impl Door {
    /// Takes messages until told to stop, and then ends those under way.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(UNDER_WAY as usize));
        let sources = self.sources.iter().cloned();
        let sources = sources.map(|(options, environment)| self.source(options, environment).run());
        let sources: JoinSet<()> = sources.collect();
        self.listen(&places, pin!(stop)).await;
        drop(sources);
        // All places are free when the last is answered.
        let _answered = places.acquire_many(UNDER_WAY).await;
        // A server that is away may stay away.
        if let Some(client) = self.connection.standing() {
            let _sent = tokio::time::timeout(FLUSH, client.flush()).await;
        }
    }

    fn source(&self, options: source::options::Options, environment: EnvironmentId) -> Source {
        let (acceptor, connection) = (self.acceptor.at("jetstream"), self.connection.clone());
        let progress = connection.source(&options.stream, &options.durable);
        let (replies, told) = (self.replies.clone(), Once::new());
        Source { acceptor, connection, options, environment, progress, replies, told }
    }

    /// Listens until told to stop. What the server has sent by then is nobody else's, and is answered. Of what is on the wire
    /// while it is told, the client may drop some that it is given too late: its senders are not answered, and ask again.
    async fn listen(&self, places: &Arc<Semaphore>, mut stop: Pin<&mut impl Future<Output = ()>>) {
        loop {
            let subject = format!("{}.>", self.prefix);
            let client = self.connection.client();
            let subscribed = tokio::select! {
                subscribed = client.queue_subscribe(subject, self.queue.clone()) => subscribed,
                () = &mut stop => return,
            };
            match subscribed {
                Ok(mut subscriber) => {
                    self.connection.listens(&self.prefix);
                    tokio::select! {
                        () = self.take(&mut subscriber, places) => {}
                        () = &mut stop => {
                            let rest = async {
                                let _sent = subscriber.drain().await;
                                self.take(&mut subscriber, places).await;
                            };
                            let _taken = tokio::time::timeout(FLUSH, rest).await;
                            return;
                        }
                    }
                }
                Err(error) => tracing::error!(%error, "NATS cannot be listened to; tried again"),
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = &mut stop => return,
            }
        }
    }

    async fn take(&self, subscriber: &mut Subscriber, places: &Arc<Semaphore>) {
        loop {
            // No more in hand than the acceptor can commit: the rest waits in the subscription, then at the server.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Some(message) = subscriber.next().await else { return };
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
        if !self.replies.may_go_to(&reply) {
            return;
        }
        let (headers, body) = match &accepted {
            Ok(receipt) => (HeaderMap::new(), json!({ "id": receipt.id.to_string() }).to_string()),
            Err(error) => {
                let mut headers = HeaderMap::new();
                headers.insert(ERROR_CODE, error.status().as_str());
                headers.insert(ERROR, error.code());
                (headers, serde_json::to_string(error).unwrap_or_default())
            }
        };
        let sent = self.connection.client().publish_with_headers(reply, headers, body.into()).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "a reply could not be sent");
        }
    }

    async fn accept(&self, message: &Message) -> Result<Receipt, ApiError> {
        let application = message.subject.strip_prefix(&*self.prefix);
        let application = application.and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
        let headers = headers(message.headers.as_ref());
        if headers.bytes() + message.payload.len() > self.acceptor.payload_limit() + envelope::BYTES
        {
            return Err(ApiError::too_large("message", self.acceptor.payload_limit()));
        }
        let draft = Written::by(&headers)?.read(&message.payload, &headers)?;
        Ok(self.acceptor.accept(self.environment, application, draft).await?)
    }
}

/// The headers of a message of NATS, in the order of their names: the map has them in none, and names that differ in case
/// alone are one to us.
fn headers(map: Option<&HeaderMap>) -> Headers {
    let all = map.into_iter().flat_map(HeaderMap::iter);
    let pairs = all.flat_map(|(name, values)| {
        values.iter().map(move |value| (name.to_string(), value.to_string()))
    });
    let mut pairs: Vec<_> = pairs.collect();
    // Stable: the values of one name keep their order.
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    Headers(pairs)
}
