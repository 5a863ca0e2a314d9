//! Accept: what every door does with a message. Checks it against the limits, makes it durable, and only then says so.

use crate::{
    clock,
    model::{
        event_type::{Listed, Violation},
        id::{EnvironmentId, MessageId},
        message::{Attributes, Message},
        name::{Channel, EventType, OrderingKey, Uid},
        notice,
        timing::{BadTime, Timing},
    },
    store::{Accepted, BatchAnswer, Catalog, KeptAnswer, Once, Queue, StoreError, Submission},
};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// A message as its sender wants it.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The sender's own identifier.
    pub uid: Option<Uid>,
    /// What happened.
    pub event_type: EventType,
    /// The audience.
    pub channels: Vec<Channel>,
    /// JSON, kept byte for byte.
    pub payload: Bytes,
    /// For the plugin to read.
    pub attributes: Attributes,
    /// Sent again under the same key, it is the same message.
    pub idempotency_key: Option<Box<str>>,
    /// After how many days its content goes, if earlier than others'.
    pub content_days: Option<u16>,
    /// When it is to be sent, and until when.
    pub timing: Timing,
    /// What it is sent in order with.
    pub ordering_key: Option<OrderingKey>,
}

impl Draft {
    /// A message that says no more than it must.
    #[must_use]
    pub fn new(
        uid: Option<Uid>,
        event_type: EventType,
        channels: Vec<Channel>,
        payload: Bytes,
    ) -> Self {
        Self {
            uid,
            event_type,
            channels,
            payload,
            attributes: Attributes::new(),
            idempotency_key: None,
            content_days: None,
            timing: Timing::default(),
            ordering_key: None,
        }
    }
}

/// A door's answer to the sender of a message, up to its payload.
pub type Shape = fn(&Message) -> Vec<u8>;

/// A day, in milliseconds.
const DAY: u64 = 24 * 3_600_000;

/// A message that is on disk.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The message; the sender's own, if it is a repetition.
    pub message: Arc<Message>,
    /// The id under which it is on disk.
    pub id: MessageId,
}

/// Why a message was not accepted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// No such application in the sender's environment.
    #[error("no such application")]
    NoApplication,
    /// Larger than this many bytes.
    #[error("the payload is larger than {0} bytes")]
    TooLarge(usize),
    /// The application is for the gateway's own messages.
    #[error("the application is for the gateway's own messages")]
    Reserved,
    /// The uid was used by this message.
    #[error("the uid is taken by the message {0}")]
    Duplicate(MessageId),
    /// The payload is not as the event type's schema, which is enforced, says.
    #[error("the payload does not fit the schema of its event type")]
    Schema(Vec<Violation>),
    /// It is to be sent at a time that cannot be.
    #[error(transparent)]
    Time(#[from] BadTime),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes messages for durable keeping.
#[derive(Clone)]
pub struct Acceptor(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    queue: Arc<dyn Queue>,
    catalog: Arc<dyn Catalog>,
    payload_limit: usize,
    /// For checks that take a while.
    checks: Arc<Semaphore>,
    meters: Meters,
}

#[derive(Clone)]
struct Meters {
    accepted: metrics::Counter,
    refused: metrics::Counter,
    seconds: metrics::Histogram,
}

impl Meters {
    fn of(door: &'static str) -> Self {
        Self {
            accepted: metrics::counter!("octohooks_messages_accepted_total", "door" => door),
            refused: metrics::counter!("octohooks_messages_refused_total", "door" => door),
            seconds: metrics::histogram!("octohooks_accept_seconds", "door" => door),
        }
    }
}

impl Acceptor {
    /// An acceptor behind the HTTP door, that takes payloads of at most that many bytes.
    pub fn new(queue: Arc<dyn Queue>, catalog: Arc<dyn Catalog>, payload_limit: usize) -> Self {
        let meters = Meters::of("http");
        // While these run, a core is left for everybody else, if there is more than one.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let checks = Arc::new(Semaphore::new((cores - 1).max(1)));
        Self(Arc::new(Inner { queue, catalog, payload_limit, checks, meters }))
    }

    /// The same acceptor behind another door, which has meters of its own.
    #[must_use]
    pub fn at(&self, door: &'static str) -> Self {
        Self(Arc::new(Inner { meters: Meters::of(door), ..Inner::clone(&self.0) }))
    }

    /// The largest payload, in bytes.
    #[must_use]
    pub fn payload_limit(&self) -> usize {
        self.0.payload_limit
    }

    /// Whether the environment has an application with that id or uid.
    #[must_use]
    pub fn knows(&self, environment: EnvironmentId, application: &str) -> bool {
        self.0.catalog.snapshot().find(environment, application).is_some()
    }

    /// Accepts a message for the application with that id or uid. `Ok` means that it is on disk.
    pub async fn accept(
        &self,
        environment: EnvironmentId,
        application: &str,
        draft: Draft,
    ) -> Result<Receipt, Refused> {
        self.accept_once(environment, application, draft, None).await
    }

    /// The same, and keeps what the sender is answered in the same step.
    pub async fn accept_once(
        &self,
        environment: EnvironmentId,
        application: &str,
        draft: Draft,
        answer: Option<(Once, Shape)>,
    ) -> Result<Receipt, Refused> {
        let start = clock::instant();
        let Inner { meters, .. } = &*self.0;
        let accepted = self.0.keep(environment, application, draft, answer).await;
        match &accepted {
            Ok(_) => meters.accepted.increment(1),
            Err(_) => meters.refused.increment(1),
        }
        meters.seconds.record(start.elapsed().as_secs_f64());
        accepted
    }

    /// Accepts these together, each for its application, in their order. An error is the store's, and concerns all.
    pub async fn accept_all(
        &self,
        environment: EnvironmentId,
        drafts: Vec<(String, Draft)>,
    ) -> Result<Vec<Result<Receipt, Refused>>, StoreError> {
        self.accept_all_once(environment, drafts, |_| None).await
    }

    /// The same, and keeps what their sender is answered in the same step; `answer` sees what is refused before.
    pub async fn accept_all_once(
        &self,
        environment: EnvironmentId,
        drafts: Vec<(String, Draft)>,
        answer: impl FnOnce(&[Result<Submission, Refused>]) -> Option<BatchAnswer>,
    ) -> Result<Vec<Result<Receipt, Refused>>, StoreError> {
        let start = clock::instant();
        let inner = &*self.0;
        let mut made = Vec::with_capacity(drafts.len());
        for (application, draft) in drafts {
            made.push(inner.submission(environment, &application, draft).await);
        }
        let batch: Vec<_> = made.iter().filter_map(|one| one.as_ref().ok()).cloned().collect();
        let answer = answer(&made);
        let mut told = match batch.is_empty() && answer.is_none() {
            true => Vec::new(),
            false => inner.queue.accept_once(batch, answer).await?,
        }
        .into_iter();
        let each = made.into_iter().map(|one| {
            let message = one?.message;
            receipt(message, told.next())
        });
        let each: Vec<_> = each.collect();
        let accepted = each.iter().filter(|one| one.is_ok()).count();
        inner.meters.accepted.increment(accepted as u64);
        inner.meters.refused.increment((each.len() - accepted) as u64);
        inner.meters.seconds.record(start.elapsed().as_secs_f64());
        Ok(each)
    }
}

fn receipt(message: Arc<Message>, accepted: Option<Accepted>) -> Result<Receipt, Refused> {
    match accepted {
        Some(Accepted::Duplicate(id)) => Err(Refused::Duplicate(id)),
        Some(Accepted::Repeated(id)) => Ok(Receipt { message, id }),
        _ => Ok(Receipt { id: message.id, message }),
    }
}

impl Inner {
    async fn keep(
        &self,
        environment: EnvironmentId,
        application: &str,
        draft: Draft,
        answer: Option<(Once, Shape)>,
    ) -> Result<Receipt, Refused> {
        let mut submission = self.submission(environment, application, draft).await?;
        submission.answer = answer.map(|(once, shape)| {
            let body = shape(&submission.message).into();
            Box::new(KeptAnswer { once, status: 200, body })
        });
        let message = submission.message.clone();
        let accepted = self.queue.accept(vec![submission]).await?;
        receipt(message, accepted.first().copied())
    }

    /// What is wrong with the payload. What takes more than a moment is found on a thread that nobody else waits for.
    async fn violations(&self, listed: &Arc<Listed>, payload: &Bytes) -> Vec<Violation> {
        if listed.is_quick(payload.len()) {
            return listed.violations(payload);
        }
        let permit = self.checks.clone().acquire_owned().await;
        let (listed, payload) = (listed.clone(), payload.clone());
        // The permit goes with the check, which goes on when its sender does not wait for it.
        let check = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            listed.violations(&payload)
        });
        match check.await {
            Ok(violations) => violations,
            Err(failed) => vec![Violation {
                path: String::new(),
                message: format!("cannot be held against a schema: {failed}"),
            }],
        }
    }

    async fn submission(
        &self,
        environment: EnvironmentId,
        application: &str,
        draft: Draft,
    ) -> Result<Submission, Refused> {
        if draft.payload.len() > self.payload_limit {
            return Err(Refused::TooLarge(self.payload_limit));
        }
        let catalog = self.catalog.snapshot();
        let found = catalog.find(environment, application).ok_or(Refused::NoApplication)?;
        let (application, uid) = (found.application.id, found.application.uid.as_deref());
        if uid == Some(notice::APPLICATION) {
            return Err(Refused::Reserved);
        }
        if let Some(listed) = catalog.event_type(environment, &draft.event_type) {
            let violations = self.violations(listed, &draft.payload).await;
            if !violations.is_empty() {
                return Err(Refused::Schema(violations));
            }
        }
        // The moment that is in the id, so that one tells the other.
        let (id, now) = clock::accept();
        let id = MessageId(id);
        let times = draft.timing.resolve(now)?;
        let message = Message {
            environment,
            application,
            id,
            uid: draft.uid,
            event_type: draft.event_type,
            channels: draft.channels,
            payload: draft.payload,
            attributes: draft.attributes,
            accepted: now,
            content_until: draft.content_days.map(|days| now + u64::from(days) * DAY),
            deliver_at: times.deliver_at,
            expires_at: times.expires_at,
            ordering_key: draft.ordering_key,
        };
        let idempotency_key = draft.idempotency_key;
        Ok(Submission { message: Arc::new(message), idempotency_key, answer: None })
    }
}
