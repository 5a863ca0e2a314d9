//! A JetStream source: messages of a stream that exists already, each accepted once and in the stream's order.
//!
//! What is in hand is accepted as one batch and acknowledged after its commit; while the server confirms that, the next
//! batch is accepted, and no third one before. What can never be accepted is terminated and published to a dead-letter
//! subject, with its headers and the reason. What cannot be accepted now stays in hand, so that the order stays, and is
//! tried again. Delivered again by the server, a message is the same message: its key is `Nats-Msg-Id`, else its place in
//! the stream.

use super::{
    confirm, consumer,
    dead_letter::DeadLetters,
    template::{Source as Found, Template},
};
use crate::{
    clock,
    ingest::{
        accept::{Acceptor, Draft, Refused},
        envelope::{self, Written},
    },
    model::{
        id::EnvironmentId,
        subject::{Subject, is_name},
    },
    nats::{Connection, back_off, progress::Progress},
    web::{self, error::ApiError},
};
use async_nats::jetstream::{
    self, AckKind, Message,
    consumer::{PullConsumer, pull},
};
use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt,
    future::{join, join_all},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Duration};
use tokio::task::unconstrained;

/// How many messages are accepted at once, and about how many bytes.
pub(super) const BATCH: usize = 256;
const BATCH_BYTES: usize = 8 << 20;
/// How long the server waits for an acknowledgement before it delivers again.
pub(super) const ACK_WAIT: Duration = Duration::from_secs(10);
/// A consumer that is not heard of for twice as long is made anew.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// The shortest and the longest wait before something is tried again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// A stream to take messages from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The stream's name.
    pub stream: String,
    /// The durable consumer's name; made if it is not there. Gateways with the same name share the messages.
    pub durable: String,
    /// Which of the stream's subjects. None: all. More than one needs a server of version 2.10.
    #[serde(default)]
    pub filter_subjects: Vec<String>,
    /// The name of the environment whose messages these are.
    #[serde(default = "EnvironmentId::default_name")]
    pub environment: String,
    /// The application's id or uid.
    pub application: Template,
    /// The event type. None: the message's headers say what it is written in, as for a request.
    pub event_type: Option<Template>,
    /// With commas between.
    pub channels: Option<Template>,
    /// The sender's own identifier.
    pub uid: Option<Template>,
    /// The part of the body that is the payload, as a JSON pointer. None: all of it.
    pub payload: Option<String>,
    /// Where to publish what can never be accepted.
    pub dead_letter: String,
}

impl Options {
    /// Which key is wrong, and what would be right.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !is_name(&self.stream) {
            return Err(("stream", "a stream's name"));
        }
        if !is_name(&self.durable) {
            return Err(("durable", "a name without dots and wildcards"));
        }
        if Subject::new(&self.dead_letter).is_none() {
            return Err(("dead_letter", "a subject without wildcards"));
        }
        let more = self.channels.is_some() || self.uid.is_some() || self.payload.is_some();
        if self.event_type.is_none() && more {
            return Err(("event_type", "given, where channels, uid or payload are"));
        }
        if self.payload.as_ref().is_some_and(|pointer| !pointer.starts_with('/')) {
            return Err(("payload", "a JSON pointer, such as /data"));
        }
        Ok(())
    }
}

/// A message, and whether it is on disk.
type Became = (Message, Result<(), ApiError>);

/// A source that runs.
pub struct Source {
    /// Behind the door.
    pub acceptor: Acceptor,
    /// What it listens on.
    pub connection: Connection,
    /// Where, and what its messages mean.
    pub options: Options,
    /// Whose messages come here.
    pub environment: EnvironmentId,
    /// How it is doing.
    pub progress: Arc<Progress>,
}

/// What a source is bound to.
struct Binding {
    /// Names the stream, and tells it from one of the same name that was there before: it counts from 1 again.
    stream: String,
    dead_letters: DeadLetters,
}

impl Source {
    /// Takes messages for ever. What is in hand when this is dropped is delivered again.
    pub async fn run(self) {
        let (mut failed, mut said) = (0, String::new());
        loop {
            let started = clock::instant();
            let error = match self.session().await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            self.progress.unbound();
            // One that has worked for a while starts from the shortest wait.
            if started.elapsed() > BACK_OFF.1 {
                (failed, said) = (0, String::new());
            }
            let (stream, durable) = (&self.options.stream, &self.options.durable);
            // Once, not at every try.
            if error != said {
                tracing::warn!(stream, durable, error, "a JetStream source is made anew");
                said = error;
            }
            metrics::counter!("octohooks_nats_source_restarts_total").increment(1);
            tokio::time::sleep(back_off(failed, BACK_OFF)).await;
            failed += 1;
        }
    }

    async fn session(&self) -> Result<std::convert::Infallible, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let Options { stream: name, durable, filter_subjects, dead_letter, .. } = &self.options;
        let context = jetstream::new(self.connection.client.clone());
        let stream = context.get_stream(name).await.map_err(|e| text(&e))?;
        let created = stream.cached_info().created.unix_timestamp_nanos();
        let wanted = consumer::config(&self.options, &self.connection.client)?;
        let consumer: PullConsumer =
            stream.get_or_create_consumer(durable, wanted).await.map_err(|e| text(&e))?;
        consumer::check(filter_subjects, &consumer.cached_info().config)?;
        self.progress.bound(consumer.cached_info().num_pending);
        let binding = Binding {
            stream: format!("{name} {created}"),
            dead_letters: DeadLetters::find(context, dead_letter, name, filter_subjects).await?,
        };
        let mut messages = consumer
            .stream()
            .max_messages_per_batch(BATCH)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(|e| text(&e))?;
        let (mut accepted, mut failure) = (Vec::new(), None);
        loop {
            let next = async {
                let batch = Self::batch(&mut messages, &mut failure).await?;
                Ok::<_, String>(self.take(batch, &binding).await)
            };
            // While the server is told of one batch the next is accepted: two are in hand at most.
            let (next, ()) = join(next, self.tell(accepted, &binding)).await;
            accepted = next?;
        }
    }

    /// What has come, as one batch at least of one; a failure behind it is for the next call.
    async fn batch(
        messages: &mut pull::Stream,
        failure: &mut Option<String>,
    ) -> Result<Vec<Message>, String> {
        if let Some(failure) = failure.take() {
            return Err(failure);
        }
        let first = messages.next().await.ok_or("the consumer ended")?;
        let mut batch = vec![first.map_err(|e| e.to_string())?];
        let mut bytes = batch[0].payload.len();
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            // Not by the task's budget, which says that nothing is there when half a batch is taken.
            match unconstrained(messages.next()).now_or_never() {
                Some(Some(Ok(message))) => {
                    bytes += message.payload.len();
                    batch.push(message);
                }
                Some(Some(Err(error))) => {
                    *failure = Some(error.to_string());
                    break;
                }
                _ => break,
            }
        }
        Ok(batch)
    }

    /// Accepts the batch, in its order; what became of each. What is no message of ours is given up at once.
    async fn take(&self, batch: Vec<Message>, binding: &Binding) -> Vec<Became> {
        self.note(&batch);
        let count = batch.len();
        let mut good = Vec::with_capacity(batch.len());
        let mut drafts = Vec::with_capacity(batch.len());
        for message in batch {
            match self.draft(&message, &binding.stream) {
                Ok(draft) => {
                    good.push(message);
                    drafts.push(draft);
                }
                Err(error) => binding.dead_letters.give_up(&message, &error).await,
            }
        }
        let accepting = self.accept(good.len(), drafts);
        let accepted = in_progress(&good, accepting).await;
        let kept = accepted.iter().filter(|accepted| accepted.is_ok()).count();
        self.progress.settled(kept as u64, (count - kept) as u64);
        good.into_iter().zip(accepted).collect()
    }

    fn note(&self, batch: &[Message]) {
        let info =
            |message: Option<&Message>| message?.info().ok().map(|i| (i.published, i.pending));
        let (first, last) = (info(batch.first()), info(batch.last()));
        if let (Some((published, _)), Some((_, behind))) = (first, last) {
            let nanos = published.unix_timestamp_nanos();
            let oldest = u64::try_from(nanos / 1_000_000).unwrap_or(0);
            self.progress.took(batch.len() as u64, oldest, behind);
        }
    }

    /// Tells the server what became of each, and waits until it knows.
    async fn tell(&self, accepted: Vec<Became>, binding: &Binding) {
        let (mut safe, mut refused) = (Vec::new(), Vec::new());
        for (message, became) in accepted {
            match became {
                Ok(()) => safe.push(message),
                Err(error) => refused.push((message, error)),
            }
        }
        let letters = &binding.dead_letters;
        let given_up = refused.iter().map(|(message, error)| letters.give_up(message, error));
        let client = &self.connection.client;
        join(confirm::settle(client, &safe, AckKind::Ack), join_all(given_up)).await;
    }

    /// What became of each, once that is certain: while the store cannot, the batch waits.
    async fn accept(
        &self,
        messages: usize,
        drafts: Vec<(String, Draft)>,
    ) -> Vec<Result<(), ApiError>> {
        let mut failed = 0;
        loop {
            let accepted = self.acceptor.accept_all(self.environment, drafts.clone()).await;
            let error = match accepted {
                Ok(each) => {
                    let ended = each.into_iter().map(|one| match one {
                        // The sender's uid names the message that was there before: it is safe.
                        Ok(_) | Err(Refused::Duplicate(_)) => Ok(()),
                        Err(refused) => Err(refused.into()),
                    });
                    return ended.collect();
                }
                Err(error) => error,
            };
            tracing::warn!(%error, messages, "messages of a stream cannot be accepted now");
            tokio::time::sleep(back_off(failed, BACK_OFF)).await;
            failed += 1;
        }
    }

    fn draft(&self, message: &Message, stream_id: &str) -> Result<(String, Draft), ApiError> {
        let headers = super::headers(message.headers.as_ref());
        let Options { application, event_type, channels, uid, payload, .. } = &self.options;
        if message.payload.len() > self.acceptor.payload_limit() + envelope::BYTES {
            return Err(ApiError::too_large("message", self.acceptor.payload_limit()));
        }
        let templates = [Some(application), event_type.as_ref(), channels.as_ref(), uid.as_ref()];
        let reads_body = templates.iter().flatten().any(|template| template.reads_body());
        let body: Option<Value> =
            reads_body.then(|| serde_json::from_slice(&message.payload).ok()).flatten();
        let found = Found { subject: &message.subject, headers: &headers, body: body.as_ref() };
        let fill = |key: &str, template: Option<&Template>| match template {
            None => Ok(String::new()),
            Some(template) => template.fill(&found).map_err(|what| ApiError::field(key, what)),
        };
        let application = fill("application", Some(application))?;
        let mut draft = match event_type {
            None => Written::by(&headers)?.read(&message.payload, &headers)?,
            Some(event_type) => {
                let names = [
                    ("eventType", fill("eventType", Some(event_type))?),
                    ("uid", fill("uid", uid.as_ref())?),
                ];
                let channels = fill("channels", channels.as_ref())?;
                let payload = part(&message.payload, payload.as_deref())?;
                let draft = envelope::named(names, &channels, "channels", payload)?;
                envelope::attach(draft, &headers)?
            }
        };
        draft.idempotency_key = draft.idempotency_key.or_else(|| envelope::message_id(&headers));
        if draft.idempotency_key.is_none() {
            let info = message.info().map_err(|error| ApiError::field("", error.to_string()))?;
            draft.idempotency_key = Some(format!("{stream_id} {}", info.stream_sequence).into());
        }
        Ok((application, draft))
    }
}

/// The payload: the body, or what the pointer finds in it, as the bytes it came in.
fn part(body: &Bytes, pointer: Option<&str>) -> Result<Bytes, ApiError> {
    let whole = envelope::whole(body)?;
    let Some(pointer) = pointer else { return Ok(whole) };
    let missing = || ApiError::field(pointer, "is not in the body");
    let mut found: &RawValue = web::body::json(&whole)?;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let object: Result<HashMap<Cow<'_, str>, &RawValue>, _> = serde_json::from_str(found.get());
        let inside = match object {
            Ok(mut fields) => fields.remove(&*token),
            Err(_) => {
                let list: Vec<&RawValue> = serde_json::from_str(found.get()).unwrap_or_default();
                token.parse().ok().and_then(|index: usize| list.get(index).copied())
            }
        };
        found = inside.ok_or_else(missing)?;
    }
    Ok(body.slice_ref(found.get().as_bytes()))
}

/// Does the work, and tells the server meanwhile that these are still in hand: not to be delivered again.
async fn in_progress<T>(messages: &[Message], work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        if let Ok(done) = tokio::time::timeout(ACK_WAIT / 2, &mut work).await {
            return done;
        }
        join_all(messages.iter().map(|message| message.ack_with(AckKind::Progress))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_body_keeps_its_bytes() {
        let body =
            Bytes::from_static(br#" {"a/b": [0, { "z": 1.50,  "a": "\u00e9" }], "n": null}"#);
        for (pointer, expected) in [
            ("/a~1b/1", r#"{ "z": 1.50,  "a": "\u00e9" }"#),
            ("/a~1b/1/a", r#""\u00e9""#),
            ("/n", "null"),
        ] {
            assert_eq!(part(&body, Some(pointer)).expect(pointer), expected);
        }
        for pointer in ["/x", "/a~1b/2", "/n/x", "/a~1b/x"] {
            assert!(part(&body, Some(pointer)).is_err(), "{pointer}");
        }
        assert!(part(&Bytes::from_static(b"no"), Some("/x")).is_err());
    }
}
