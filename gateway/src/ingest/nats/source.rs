//! A JetStream source: messages of a stream that exists already, each accepted once and in the stream's order.
//!
//! What is in hand is accepted as one batch and acknowledged after its commit; while the server confirms that, the next
//! batch is accepted, and no third one before. What can never be accepted is terminated and published to a dead-letter
//! subject, with its headers and the reason. What cannot be accepted now stays in hand, so that the order stays, and is
//! tried again. Delivered again by the server, a message is the same message: its key is its place in the stream.
//!
//! A session ends when its connection is lost: the stream may be another one when it is back.

use super::{
    confirm, consumer,
    dead_letter::{DeadLetters, Letter},
    poison,
    replies::Replies,
};
use crate::{
    clock,
    ingest::accept::{Acceptor, Draft, Refused},
    model::id::EnvironmentId,
    nats::{Connection, back_off, progress::Progress},
    web::error::ApiError,
};
use async_nats::{
    Client, Subject,
    jetstream::{
        self, AckKind, Message,
        consumer::{PullConsumer, pull},
        stream::Stream,
    },
};
use futures_util::{
    FutureExt, StreamExt,
    future::{join, join_all},
};
use options::Options;
use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{Arc, Once},
    time::Duration,
};
use tokio::task::unconstrained;

pub mod options;
mod draft;

/// How many messages are accepted at once, and about how many bytes.
pub(super) const BATCH: usize = 256;
const BATCH_BYTES: usize = 8 << 20;
/// How long the server waits for an acknowledgement before it delivers again.
pub(super) const ACK_WAIT: Duration = Duration::from_secs(10);
/// A consumer that is not heard of for twice as long is made anew.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// The shortest and the longest wait before something is tried again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// Why a session ends with its connection.
const LOST: &str = "the connection was lost";
/// After how many lost connections it is looked whether a message is the reason.
const SUSPICIOUS: u32 = 2;

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
    /// Where doors must not answer: to the stream's subjects.
    pub replies: Arc<Replies>,
    /// Whether it was told that nobody keeps the dead letters.
    pub told: Once,
}

/// What a source is bound to.
struct Binding {
    client: Client,
    /// The connection that it is bound by.
    epoch: u64,
    /// Names the stream, and tells it from one of the same name that was there before: it counts from 1 again.
    stream: String,
    dead_letters: DeadLetters,
}

/// What became of a batch.
#[derive(Default)]
struct Taken {
    /// On disk.
    safe: Vec<Message>,
    /// These can never be accepted.
    refused: Vec<Message>,
    letters: Vec<Letter>,
}

/// Which messages of a stream were given up without the client having read them.
#[derive(Default)]
struct GivenUp {
    stream: String,
    sequences: BTreeSet<u64>,
}

impl Source {
    /// Takes messages for ever. What is in hand when this is dropped is delivered again.
    pub async fn run(self) {
        let (mut failed, mut said) = (0, String::new());
        let (mut cuts, mut given_up) = (0, GivenUp::default());
        loop {
            let epoch = self.connection.stands().await;
            let started = clock::instant();
            let suspects = (cuts >= SUSPICIOUS).then_some(&mut given_up);
            cuts %= SUSPICIOUS;
            let error = tokio::select! {
                biased;
                () = self.connection.lost(epoch) => LOST.to_owned(),
                ended = self.session(epoch, suspects) => match ended {
                    Ok(never) => match never {},
                    Err(error) => error,
                },
            };
            cuts += u32::from(!self.connection.is(epoch));
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

    async fn session(
        &self,
        epoch: u64,
        suspects: Option<&mut GivenUp>,
    ) -> Result<Infallible, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let Options { stream: name, durable, filter_subjects, dead_letter, .. } = &self.options;
        self.application_is_there()?;
        let client = self.connection.client();
        let context = jetstream::new(client.clone());
        let mut stream = context.get_stream(name).await.map_err(|e| text(&e))?;
        let wanted = consumer::config(&self.options, &client)?;
        let consumer: PullConsumer =
            stream.get_or_create_consumer(durable, wanted).await.map_err(|e| text(&e))?;
        let info = consumer.cached_info();
        consumer::check(filter_subjects, &info.config)?;
        let created = self.created(&mut stream).await?;
        let dead_letters =
            DeadLetters::find(context.clone(), dead_letter, (name, created), filter_subjects);
        let dead_letters = dead_letters.await?;
        if !dead_letters.kept() {
            self.told.call_once(|| {
                tracing::warn!(
                    stream = name,
                    "no stream keeps the dead letters on {dead_letter}: they are gone where nobody listens"
                );
            });
        }
        let binding = Binding { client, epoch, stream: format!("{name} {created}"), dead_letters };
        if let Some(given_up) = suspects {
            let letters = poison::find(&context, info, filter_subjects).await?;
            self.give_up_unread(letters, given_up, info.ack_floor.stream_sequence, &binding).await;
        }
        self.progress.bound(info.num_pending);
        let mut messages = consumer
            .stream()
            .max_messages_per_batch(BATCH)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(|e| text(&e))?;
        // One that is deleted from here on ends the consumer, and so this session.
        if self.created(&mut stream).await? != created {
            return Err("the stream was made anew".into());
        }
        let (mut taken, mut failure) = (Taken::default(), None);
        loop {
            let next = async {
                let batch = Self::batch(&mut messages, &mut failure).await?;
                self.take(batch, &binding).await
            };
            // While the server is told of one batch the next is accepted: two are in hand at most.
            let (next, ()) = join(next, self.tell(taken, &binding)).await;
            taken = next?;
        }
    }

    /// When the stream was made. Doors do not answer to its subjects from now on.
    async fn created(&self, stream: &mut Stream) -> Result<i128, String> {
        let info = stream.info().await.map_err(|error| error.to_string())?;
        self.replies.refuse(&info.config.subjects);
        Ok(info.created.unix_timestamp_nanos())
    }

    /// An application that is written in the configuration may come later: its messages wait for it.
    fn application_is_there(&self) -> Result<(), String> {
        match self.options.application.constant() {
            Some(name) if !self.acceptor.knows(self.environment, name) => {
                Err(format!("there is no application `{name}`; its messages wait"))
            }
            _ => Ok(()),
        }
    }

    /// Gives up what the client cannot read, each once.
    async fn give_up_unread(
        &self,
        letters: Vec<Letter>,
        given_up: &mut GivenUp,
        floor: u64,
        binding: &Binding,
    ) {
        if given_up.stream != binding.stream {
            *given_up = GivenUp { stream: binding.stream.clone(), ..GivenUp::default() };
        }
        given_up.sequences = given_up.sequences.split_off(&(floor + 1));
        let new = |letter: &Letter| !given_up.sequences.contains(&letter.sequence);
        let letters: Vec<Letter> = letters.into_iter().filter(new).collect();
        // As many as a subscription for confirmations holds.
        for letters in letters.chunks(BATCH) {
            let gone = binding.dead_letters.give_up(letters).await;
            self.progress.terminated(gone as u64);
            if gone == letters.len() {
                given_up.sequences.extend(letters.iter().map(|letter| letter.sequence));
            }
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

    /// Accepts the batch, in its order; what became of each.
    async fn take(&self, batch: Vec<Message>, binding: &Binding) -> Result<Taken, String> {
        // Of another connection, it may be of another stream: it must not get this one's keys.
        if !self.connection.is(binding.epoch) {
            return Err(LOST.into());
        }
        self.note(&batch);
        let mut good = Vec::with_capacity(batch.len());
        let mut drafts = Vec::with_capacity(batch.len());
        let mut taken = Taken::default();
        for message in batch {
            match self.draft(&message, &binding.stream) {
                Ok(draft) => {
                    good.push(message);
                    drafts.push(draft);
                }
                Err(error) => taken.refuse(message, error),
            }
        }
        let accepting = self.accept(good.len(), drafts);
        let accepted = in_progress(&good, accepting).await?;
        for (message, accepted) in good.into_iter().zip(accepted) {
            match accepted {
                Ok(()) => taken.safe.push(message),
                Err(error) => taken.refuse(message, error),
            }
        }
        self.progress.settled(taken.safe.len() as u64);
        Ok(taken)
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
    async fn tell(&self, taken: Taken, binding: &Binding) {
        let Taken { safe, refused, letters } = taken;
        let client = &binding.client;
        let safe = safe.iter().filter_map(|message| message.reply.clone()).collect();
        let given_up = in_progress(&refused, binding.dead_letters.give_up(&letters));
        let (_, gone) = join(confirm::settle(client, safe, AckKind::Ack), given_up).await;
        self.progress.terminated(gone as u64);
    }

    /// What became of each, once that is certain: while the store cannot, the batch waits.
    async fn accept(
        &self,
        messages: usize,
        drafts: Vec<(String, Draft)>,
    ) -> Result<Vec<Result<(), ApiError>>, String> {
        let mut failed = 0;
        loop {
            let accepted = self.acceptor.accept_all(self.environment, drafts.clone()).await;
            let error = match accepted {
                Ok(each) => {
                    if each.iter().any(|one| matches!(one, Err(Refused::NoApplication))) {
                        // One that is written in the configuration was removed meanwhile.
                        self.application_is_there()?;
                    }
                    let ended = each.into_iter().map(|one| match one {
                        // The sender's uid names the message that was there before: it is safe.
                        Ok(_) | Err(Refused::Duplicate(_)) => Ok(()),
                        Err(refused) => Err(refused.into()),
                    });
                    return Ok(ended.collect());
                }
                Err(error) => error,
            };
            tracing::warn!(%error, messages, "messages of a stream cannot be accepted now");
            tokio::time::sleep(back_off(failed, BACK_OFF)).await;
            failed += 1;
        }
    }

    fn draft(&self, message: &Message, stream: &str) -> Result<(String, Draft), ApiError> {
        let info = message.info().map_err(|error| ApiError::field("", error.to_string()))?;
        let letter = draft::Letter {
            subject: &message.subject,
            headers: super::headers(message.headers.as_ref()),
            body: &message.payload,
        };
        let (application, mut draft) =
            draft::draft(&letter, &self.options, self.acceptor.payload_limit())?;
        // `Nats-Msg-Id` is for the stream, which has dropped what it had: another stream may use it for another message.
        draft.idempotency_key = Some(format!("{stream} {}", info.stream_sequence).into());
        Ok((application, draft))
    }
}

impl Taken {
    fn refuse(&mut self, message: Message, error: ApiError) {
        self.letters.push(Letter {
            subject: message.subject.to_string(),
            headers: super::headers(message.headers.as_ref()).0,
            payload: message.payload.clone(),
            sequence: message.info().map(|info| info.stream_sequence).unwrap_or_default(),
            ack: message.reply.clone().unwrap_or_else(|| Subject::from_static("")),
            error,
        });
        self.refused.push(message);
    }
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
