//! The rows of the engine in memory: what the embedded engine has in its file.

use super::keyvalue::Values;
use crate::{
    invariant::{Invariant, check},
    model::{
        Millis,
        attempt::Attempt,
        catalog::{Change, Snapshot},
        delivery::{Content, Delivery, DeliveryKey, Next, State},
        endpoint::Version,
        failure::Failure,
        health::Trouble,
        id::{ApplicationId, Digest, EndpointId, EnvironmentId, MessageId, OperationId},
        message::{Held, Message, Sequence},
        name::Uid,
        operation::Operation,
    },
    store::{
        Accepted, DeliveryRecord, Forgotten, KeptAnswer, LeasedMessage, MessageRecord, Settlement,
        Submission, complete,
        handover::{Effects, Follows, orphaned},
    },
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// All rows.
#[derive(Debug, Default)]
pub struct Tables {
    pub(super) messages: BTreeMap<Sequence, Arc<Message>>,
    pub(super) ids: HashMap<MessageId, Sequence>,
    pub(super) uids: HashMap<(EnvironmentId, ApplicationId, Uid), Sequence>,
    pub(super) keys: HashMap<(EnvironmentId, ApplicationId, Box<str>), MessageId>,
    pub(super) held: BTreeMap<Sequence, (Held, Millis)>,
    /// How plugins failed on held messages.
    pub(super) failures: HashMap<Sequence, Failure>,
    /// Of messages that went on without the plugin.
    pub(super) passed_over: HashMap<Sequence, Failure>,
    /// The endpoints that held messages are dispatched again for.
    pub(super) only: HashMap<Sequence, Vec<EndpointId>>,
    pub(super) deliveries: BTreeMap<DeliveryKey, Row>,
    /// What endpoints' requests looked like, by revision.
    pub versions: BTreeMap<(EndpointId, u64), Version>,
    /// How endpoints' health was last, of those that are gone too.
    pub troubles: BTreeMap<EndpointId, Trouble>,
    /// Work in the background.
    pub operations: BTreeMap<OperationId, Operation>,
    /// Answers by environment and key, with the message whose payload is their end, and when they were kept.
    pub(super) answers: HashMap<(EnvironmentId, Digest), (KeptAnswer, Option<Sequence>, Millis)>,
    /// How far environments' messages have come in being forgotten.
    pub forgotten: HashMap<(Forgotten, EnvironmentId), Sequence>,
    /// What plugins remember.
    pub(super) values: HashMap<ApplicationId, Values>,
    /// Components, by digest.
    pub code: HashMap<Digest, Bytes>,
}

/// A delivery that waits or has ended.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) delivery: Arc<Delivery>,
    pub(super) state: State,
    pub(super) due: Millis,
    pub(super) updated: Millis,
    pub(super) attempts: Vec<Attempt>,
    /// How many attempts there were before those.
    pub(super) forgotten: usize,
}

impl Row {
    /// How many attempts were made.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.attempts.len() + self.forgotten).unwrap_or(u32::MAX)
    }
}

impl Tables {
    /// Appends a message, unless its key or its uid is taken.
    pub fn insert(&mut self, sequence: Sequence, submission: &Submission, now: Millis) -> Accepted {
        let Submission { message, idempotency_key, answer } = submission;
        if let Some(key) = idempotency_key {
            let key = (message.environment, message.application, key.clone());
            if let Some(first) = self.keys.get(&key) {
                return Accepted::Repeated(*first);
            }
        }
        if let Some(uid) = &message.uid {
            let key = (message.environment, message.application, uid.clone());
            if let Some(first) = self.uids.get(&key).and_then(|first| self.messages.get(first)) {
                return Accepted::Duplicate(first.id);
            }
            self.uids.insert(key, sequence);
        }
        if let Some(key) = idempotency_key {
            let key = (message.environment, message.application, key.clone());
            self.keys.insert(key, message.id);
        }
        if let Some(answer) = answer {
            self.keep(answer, Some(sequence), now);
        }
        if let Some(due) = message.deliver_at {
            self.held.insert(sequence, (Held::Scheduled { due }, now));
        }
        self.ids.insert(message.id, sequence);
        self.messages.insert(sequence, message.clone());
        Accepted::New
    }

    /// Keeps an answer; that to a message with its number.
    pub fn keep(&mut self, answer: &KeptAnswer, message: Option<Sequence>, now: Millis) {
        let key = (answer.once.environment, answer.once.key);
        self.answers.insert(key, (answer.clone(), message, now));
    }

    /// The answer that was kept under that key, if it was at that time or later.
    pub fn answer(
        &self,
        environment: EnvironmentId,
        key: Digest,
        since: Millis,
    ) -> Option<KeptAnswer> {
        let (answer, message, kept) = self.answers.get(&(environment, key))?;
        let mut answer = Some(answer.clone()).filter(|_| *kept >= since)?;
        if let Some(sequence) = message {
            let message = self.messages.get(sequence);
            let attributes = message.and_then(|message| message.attributes_text());
            let mut body = answer.body.to_vec();
            let payload = message.map_or(&[][..], |message| &message.payload);
            complete(&mut body, attributes.as_deref(), payload);
            answer.body = body.into();
        }
        Some(answer)
    }

    /// Records an attempt and what follows.
    pub fn settle(&mut self, settlement: &Settlement, follows: Follows, now: Millis) {
        let Settlement { delivery, attempt, .. } = settlement;
        let due = match follows.next {
            Next::RetryAt(due) => due,
            _ => 0,
        };
        let spent = follows.spent;
        let delivery = Arc::new(Delivery { due, spent, ..Delivery::clone(delivery) });
        self.put(&delivery, follows.next.state(), attempt.clone(), now);
    }

    /// Writes a delivery's row: a new one, or the one it had.
    pub fn put(
        &mut self,
        delivery: &Arc<Delivery>,
        state: State,
        attempt: Option<Attempt>,
        now: Millis,
    ) {
        let new = || Row {
            delivery: delivery.clone(),
            state,
            due: 0,
            updated: 0,
            attempts: Vec::new(),
            forgotten: 0,
        };
        let row = self.deliveries.entry(delivery.key).or_insert_with(new);
        (row.state, row.due, row.updated) = (state, delivery.due, now);
        let spent = row.delivery.spent.max(delivery.spent);
        if spent != row.delivery.spent {
            row.delivery = Arc::new(Delivery { spent, ..Delivery::clone(&row.delivery) });
        }
        if let Some(attempt) = attempt {
            let recorded = row.attempts.len() + row.forgotten;
            check(
                Invariant::AttemptsWithoutGaps,
                usize::try_from(attempt.number).ok() == Some(recorded + 1),
                || format!("attempt {} of {:?} follows {recorded}", attempt.number, delivery.key),
            );
            row.attempts.push(attempt);
        }
    }

    /// Notes why a message goes nowhere for now.
    pub fn hold(&mut self, sequence: Sequence, held: Held, failure: Option<Failure>, now: Millis) {
        self.failures.remove(&sequence);
        self.failures.extend(failure.map(|failure| (sequence, failure)));
        if held.is_final() {
            self.only.remove(&sequence);
        }
        self.held.insert(sequence, (held, now));
    }

    /// The message goes on.
    pub fn unhold(&mut self, sequence: Sequence) {
        self.held.remove(&sequence);
        self.failures.remove(&sequence);
        self.only.remove(&sequence);
    }

    /// What a change of this catalog means for what waits.
    pub fn follow(&mut self, catalog: &Snapshot, change: &Change, now: Millis) -> Effects {
        let mut effects = Effects::default();
        match change {
            Change::PutEndpoint(endpoint) => {
                let version = (endpoint.id, endpoint.revision);
                self.versions.insert(version, Version::from(endpoint));
                effects.ended.extend((!endpoint.enabled).then_some(endpoint.id));
            }
            Change::DeleteEndpoint(_, id) => effects.ended.push(*id),
            Change::DeleteApplication(id) => {
                let endpoints = catalog.tenant(*id).map(|tenant| tenant.endpoints.keys().copied());
                effects.ended.extend(endpoints.into_iter().flatten());
                effects.dropped = self.drop_held(*id, now);
                effects.gone = Some(*id);
                self.delete_values(*id);
            }
            Change::PutPlugin(plugin, code) => {
                self.code.extend(code.iter().cloned());
                if catalog.releases(plugin) {
                    effects.released = self.release(plugin.application, now);
                }
            }
            Change::PutGrants(grants) => effects.released = self.release(grants.application, now),
            Change::QuarantinePlugin(id, name, digest, reason) => {
                let plugin = catalog.plugin(*id, name);
                let plugin = plugin.map(|plugin| plugin.in_quarantine(*digest, reason.clone()));
                if plugin.is_some_and(|plugin| catalog.releases(&plugin)) {
                    effects.released = self.release(*id, now);
                }
            }
            _ => {}
        }
        self.disable(&effects.ended, now);
        effects.at = now;
        effects
    }

    fn disable(&mut self, endpoints: &[EndpointId], now: Millis) {
        for row in self.deliveries.values_mut() {
            if endpoints.contains(&row.delivery.key.endpoint) && !row.state.is_final() {
                (row.state, row.updated) = (State::Disabled, now);
            }
        }
    }

    fn drop_held(
        &mut self,
        application: ApplicationId,
        now: Millis,
    ) -> Vec<(Sequence, Option<Millis>)> {
        let mut dropped = Vec::new();
        for (sequence, held) in self.held_of(application) {
            let due = match &held.0 {
                Held::Parked { .. } => None,
                Held::Retry { due, .. } | Held::Scheduled { due } => Some(*due),
                held if held.is_final() => continue,
                _ => {
                    *held = (orphaned(), now);
                    continue;
                }
            };
            *held = (orphaned(), now);
            dropped.push((sequence, due));
        }
        dropped
    }

    fn release(&mut self, application: ApplicationId, now: Millis) -> Vec<Sequence> {
        let mut released = Vec::new();
        for (sequence, (held, _)) in self.held_of(application) {
            if let Held::Parked { reason, .. } = held {
                *held = Held::Retry { due: now, calls: 0, reason: std::mem::take(reason) };
                released.push(sequence);
            }
        }
        released
    }

    fn held_of(
        &mut self,
        application: ApplicationId,
    ) -> impl Iterator<Item = (Sequence, &mut (Held, Millis))> {
        let messages = &self.messages;
        let own = move |sequence: &Sequence| {
            messages.get(sequence).is_some_and(|message| message.application == application)
        };
        self.held
            .iter_mut()
            .filter(move |(sequence, _)| own(sequence))
            .map(|(sequence, held)| (*sequence, held))
    }

    /// Messages to dispatch in `from..to`, at most `max`, and how far the reading got.
    pub fn messages_behind(
        &self,
        from: Sequence,
        to: Sequence,
        max: usize,
    ) -> (Vec<LeasedMessage>, Sequence) {
        let range: Vec<_> = self.messages.range(from..to).take(max).collect();
        let upto = match range.last() {
            Some((last, _)) if range.len() == max => Sequence(last.0 + 1),
            _ => to,
        };
        let waiting = range.into_iter().filter(|(sequence, message)| {
            !self.held.contains_key(sequence) && !message.payload.is_empty()
        });
        let leased = waiting.map(|(sequence, message)| self.lease(*sequence, message, 0, false));
        (leased.collect(), upto)
    }

    /// Held messages that are due or have room, to be dispatched again.
    pub fn messages_held(&self, sequences: &[Sequence]) -> Vec<LeasedMessage> {
        let due = sequences.iter().filter_map(|sequence| {
            let calls = match self.held.get(sequence)?.0 {
                Held::Retry { calls, .. } | Held::Crowded { calls } => calls,
                Held::Scheduled { .. } => 0,
                _ => return None,
            };
            Some(self.lease(*sequence, self.messages.get(sequence)?, calls, true))
        });
        due.collect()
    }

    fn lease(
        &self,
        sequence: Sequence,
        message: &Arc<Message>,
        calls: u32,
        held: bool,
    ) -> LeasedMessage {
        let done = self.rows(sequence).map(|row| row.delivery.key).collect();
        let only = self.only.get(&sequence).filter(|_| held).cloned().unwrap_or_default();
        LeasedMessage { sequence, message: message.clone(), done, only, calls, held }
    }

    pub(super) fn rows(&self, message: Sequence) -> impl Iterator<Item = &Row> {
        let first = DeliveryKey { message, ordinal: 0, endpoint: EndpointId(uuid::Uuid::nil()) };
        let of = move |(key, _): &(&DeliveryKey, &Row)| key.message == message;
        self.deliveries.range(first..).take_while(of).map(|(_, row)| row)
    }

    /// These deliveries, to be attempted again. What has ended meanwhile is left out.
    pub fn waiting(&self, keys: &[DeliveryKey]) -> Vec<Arc<Delivery>> {
        let rows = keys.iter().filter_map(|key| self.deliveries.get(key));
        let waiting = rows.filter(|row| !row.state.is_final()).map(|row| {
            let attempts = row.count();
            Arc::new(Delivery { attempts, due: row.due, ..Delivery::clone(&row.delivery) })
        });
        waiting.collect()
    }

    pub(super) fn record(&self, sequence: Sequence, message: &Message) -> MessageRecord {
        let held = self.held.get(&sequence).cloned();
        let failure = self.failures.get(&sequence).or_else(|| self.passed_over.get(&sequence));
        let failure = failure.cloned();
        MessageRecord { sequence, message: message.clone(), held, failure }
    }

    /// The application's message with that id or uid.
    pub fn message(
        &self,
        environment: EnvironmentId,
        application: ApplicationId,
        id_or_uid: &str,
    ) -> Option<MessageRecord> {
        let by_id = id_or_uid.parse().ok().and_then(|id: MessageId| self.ids.get(&id));
        let by_uid = || {
            let uid = Uid::new(id_or_uid).ok()?;
            self.uids.get(&(environment, application, uid))
        };
        let own = |sequence: &&Sequence| {
            self.messages.get(sequence).is_some_and(|message| {
                (message.environment, message.application) == (environment, application)
            })
        };
        let sequence = by_id.filter(own).or_else(by_uid)?;
        Some(self.record(*sequence, self.messages.get(sequence)?))
    }

    /// The message's deliveries that have rows, with their attempts.
    pub fn deliveries(&self, message: Sequence) -> Vec<DeliveryRecord> {
        let records = self.rows(message).map(|row| DeliveryRecord {
            key: row.delivery.key,
            state: Some(row.state),
            due: (row.state == State::Waiting).then_some(row.due),
            updated: row.updated,
            content: row.delivery.content.as_deref().map(without_payload),
            attempts: row.attempts.clone(),
        });
        records.collect()
    }
}

fn without_payload(content: &Content) -> Arc<Content> {
    Arc::new(Content { payload: None, ..content.clone() })
}
