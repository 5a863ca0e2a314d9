//! Pages, and what is sent again, on the rows in memory.

use super::tables::{Row, Tables};
use crate::{
    model::{
        Millis,
        catalog::Snapshot,
        dead_letter::is_onward,
        delivery::{Delivery, DeliveryKey, State},
        endpoint::Version,
        id::{ApplicationId, EndpointId, EnvironmentId},
        message::{Head, Held, Sequence},
        operation::{Mode, Operation},
    },
    store::{
        Again, Candidate, DeliveryFilter, MessageFilter, MessageRecord, Page, Summary,
        handover::{Found, Handover, Resent, again_reason},
        log::{DeadLetter, DeadLetterFilter, PAGE_BYTES},
        recovery::dead_reason,
    },
};
use std::sync::Arc;

impl Tables {
    /// A page of the application's messages, newest first.
    pub fn messages(
        &self,
        environment: EnvironmentId,
        application: ApplicationId,
        filter: &MessageFilter,
        limit: usize,
    ) -> Page<MessageRecord, Sequence> {
        let before = filter.before.unwrap_or(Sequence(u64::MAX));
        let of = (environment, application);
        let own = self.messages.range(..before).rev();
        let own = own.filter(|(_, m)| (m.environment, m.application) == of);
        let records = own.map(|(sequence, message)| self.record(*sequence, message));
        let wanted = |record: &MessageRecord| filter.takes(record);
        let mut bytes = 0;
        let has_room = |record: &MessageRecord| {
            let is_first = bytes == 0;
            bytes += record.message.payload.len();
            is_first || bytes <= PAGE_BYTES
        };
        let wanted = records.filter(wanted).take(limit);
        let records: Vec<_> = wanted.take_while(has_room).collect();
        let full = records.len() == limit || bytes > PAGE_BYTES;
        let next = records.last().map(|record| record.sequence).filter(|_| full);
        Page { records, next }
    }

    /// A page of the endpoint's deliveries, newest message first.
    pub fn deliveries_to(
        &self,
        endpoint: EndpointId,
        filter: &DeliveryFilter,
        limit: usize,
    ) -> Page<Summary, (Sequence, u32)> {
        let before = filter.before.unwrap_or((Sequence(u64::MAX), 0));
        let wanted = |(key, row): &(&DeliveryKey, &Row)| {
            let accepted = row.delivery.message.accepted;
            key.endpoint == endpoint
                && (key.message, key.ordinal) < before
                && (filter.states.is_empty() || filter.states.contains(&row.state))
                && filter.after.is_none_or(|after| accepted >= after)
                && filter.until.is_none_or(|until| accepted < until)
        };
        let rows = self.deliveries.iter().rev().filter(wanted).take(limit);
        let records: Vec<_> = rows.map(|(key, row)| summary(*key, row)).collect();
        let full = records.len() == limit;
        let next = records.last().map(|last| (last.key.message, last.key.ordinal));
        Page { records, next: next.filter(|_| full) }
    }

    /// A page of the application's dead letters, newest message first.
    pub fn dead_letters(
        &self,
        application: ApplicationId,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Page<DeadLetter, Sequence> {
        let before = filter.before.unwrap_or(Sequence(u64::MAX));
        let own = self.messages.range(..before).rev();
        let own = own.filter(|(_, message)| {
            message.application == application && filter.fits(&Head::from(&***message))
        });
        let (mut records, mut last) = (Vec::new(), None);
        for (sequence, message) in own {
            if records.len() >= limit {
                return Page { records, next: last };
            }
            last = Some(*sequence);
            if let Some((held @ Held::Dead { .. }, noted)) = self.held.get(sequence)
                && filter.messages
            {
                let head = Head::from(&**message);
                records.push(DeadLetter::Message(head, held.clone(), *noted));
            }
            let failed = self.deliveries.iter().filter(|(key, row)| {
                key.message == *sequence
                    && row.state == State::Failed
                    && filter.endpoints.contains(&key.endpoint)
            });
            records.extend(failed.map(|(key, row)| DeadLetter::Delivery(summary(*key, row))));
        }
        Page { records, next: None }
    }

    /// What the endpoint's requests looked like as of that revision.
    pub fn version(&self, endpoint: EndpointId, revision: u64) -> Option<Version> {
        let upto = (endpoint, 0)..=(endpoint, revision);
        self.versions.range(upto).next_back().map(|(_, version)| version.clone())
    }

    /// Takes a scheduled message back that nobody has leased; when it was due.
    pub fn cancel(
        &mut self,
        message: Sequence,
        handover: &Handover,
        now: Millis,
    ) -> Option<Millis> {
        let held = self.held.get_mut(&message)?;
        let Held::Scheduled { due } = held.0 else { return None };
        if !handover.waiting().keep_message(message, due) {
            return None;
        }
        *held = (Held::Cancelled, now);
        Some(due)
    }

    /// Makes one due again; none if it is left alone.
    pub fn again(
        &mut self,
        catalog: &Snapshot,
        again: Again,
        handover: &Handover,
        now: Millis,
    ) -> Option<Found> {
        let enabled = |id| catalog.endpoint(id).is_some_and(|endpoint| endpoint.enabled);
        match again {
            Again::Delivery(key) if enabled(key.endpoint) => {
                if !self.deliveries.contains_key(&key) {
                    let open = handover.front.open(key.message);
                    let open = open.iter().find(|open| open.key == key)?;
                    if open.message.has_expired(now) {
                        return None;
                    }
                    let delivery = Arc::new(Delivery { due: now, ..Delivery::clone(open) });
                    self.put(&delivery, State::Waiting, None, now);
                }
                let row = self.deliveries.get_mut(&key)?;
                let message = &row.delivery.message;
                let lost = message.payload.is_empty() || message.has_expired(now);
                if row.state == State::Aside || lost {
                    return None;
                }
                let before = (row.state == State::Waiting).then_some(row.due);
                let spent = row.count();
                row.delivery = Arc::new(Delivery { spent, ..Delivery::clone(&row.delivery) });
                (row.state, row.due, row.updated) = (State::Waiting, now, now);
                Some(Found::Due(Resent::Delivery(key, before, now)))
            }
            Again::Message(sequence, endpoint)
                if enabled(endpoint) && handover.front.is_settled(sequence) =>
            {
                let message = self.messages.get(&sequence)?;
                let has = |key: &DeliveryKey| {
                    (key.message, key.endpoint) == (sequence, endpoint) && !is_onward(key.ordinal)
                };
                let lost = message.payload.is_empty() || message.has_expired(now);
                if lost || self.deliveries.keys().any(has) {
                    return Some(Found::Nothing);
                }
                let held = self.held.get(&sequence).map(|(held, _)| held);
                let takes_more = |held: &Held| match held {
                    Held::Parked { .. } => true,
                    Held::Retry { due, .. } => handover.waiting().keep_message(sequence, *due),
                    _ => false,
                };
                match (held, self.only.get_mut(&sequence)) {
                    (None | Some(Held::Dropped { .. } | Held::Dead { .. }), _) => {}
                    (Some(_), None) => return Some(Found::Nothing),
                    (Some(_), Some(only)) if only.contains(&endpoint) => {
                        return Some(Found::Nothing);
                    }
                    (Some(held), Some(only)) if takes_more(held) => {
                        only.push(endpoint);
                        return Some(Found::Due(Resent::Held));
                    }
                    (Some(_), Some(_)) => return Some(Found::Busy),
                }
                let held = Held::Retry { due: now, calls: 0, reason: again_reason().to_owned() };
                self.held.insert(sequence, (held, now));
                self.failures.remove(&sequence);
                self.only.insert(sequence, vec![endpoint]);
                Some(Found::Due(Resent::Message(sequence, now)))
            }
            Again::Dead(sequence) if handover.front.is_settled(sequence) => {
                let message = self.messages.get(&sequence)?;
                let died = matches!(self.held.get(&sequence), Some((Held::Dead { .. }, _)));
                if message.payload.is_empty() || !died {
                    return Some(Found::Nothing);
                }
                let held = Held::Retry { due: now, calls: 0, reason: dead_reason().to_owned() };
                self.unhold(sequence);
                self.held.insert(sequence, (held, now));
                Some(Found::Due(Resent::Message(sequence, now)))
            }
            _ => None,
        }
    }

    /// The operation's candidates after its cursor that are below `mark`.
    pub fn candidates(
        &self,
        operation: &Operation,
        mark: Sequence,
        max: usize,
    ) -> Page<Candidate, Sequence> {
        let range = Sequence(operation.cursor.0 + 1)..operation.upto.min(mark);
        let mut records: Vec<Candidate> = Vec::new();
        let messages = match range.is_empty() {
            true => None,
            false => Some(self.messages.range(range)),
        };
        let full =
            messages.into_iter().flatten().filter(|(_, message)| !message.payload.is_empty());
        for (sequence, message) in full {
            if records.len() >= max {
                return Page { records, next: Some(Sequence(sequence.0 - 1)) };
            }
            let head = Head::from(&**message);
            let found = self.found(operation, *sequence, message.application);
            records.extend(found.into_iter().map(|again| Candidate { again, head: head.clone() }));
        }
        Page { records, next: None }
    }

    /// What of a message the operation sends again.
    fn found(
        &self,
        operation: &Operation,
        sequence: Sequence,
        application: ApplicationId,
    ) -> Vec<Again> {
        let own = application == operation.application;
        let Some(endpoint) = operation.endpoint else {
            let died = matches!(self.held.get(&sequence), Some((Held::Dead { .. }, _)));
            return if died && own { vec![Again::Dead(sequence)] } else { Vec::new() };
        };
        let rows = self.deliveries.iter();
        let to_it = rows.filter(|(key, _)| (key.message, key.endpoint) == (sequence, endpoint));
        let states = operation.wanted.states();
        let ended = to_it.clone().filter(|(_, row)| states.contains(&row.state));
        let ended = ended.map(|(key, _)| Again::Delivery(*key));
        match &operation.wanted.mode {
            Mode::Missing if !own => Vec::new(),
            Mode::Missing => {
                let never = to_it.clone().all(|(key, _)| is_onward(key.ordinal));
                let never = never.then_some(Again::Message(sequence, endpoint));
                ended.chain(never).collect()
            }
            Mode::Ended(_) | Mode::Dead => ended.collect(),
        }
    }

    /// The delivery of a dead letter that goes on, with the next ordinal of its kind.
    pub fn numbered(&self, onward: Delivery) -> Delivery {
        let DeliveryKey { message, endpoint, .. } = onward.key;
        let others = self.rows(message).map(|row| row.delivery.key);
        let others = others.filter(|key| key.endpoint == endpoint && is_onward(key.ordinal));
        let ordinal = others.map(|key| key.ordinal + 1).max().unwrap_or(onward.key.ordinal);
        Delivery { key: DeliveryKey { ordinal, ..onward.key }, ..onward }
    }

    /// How many of the endpoint's deliveries are to be sent now, up to `max`.
    pub fn backlog(&self, endpoint: EndpointId, now: Millis, max: usize) -> usize {
        let due = self.deliveries.iter().filter(|(key, row)| {
            key.endpoint == endpoint && !row.state.is_final() && row.due <= now
        });
        let held = self.only.iter().filter(|(sequence, only)| {
            let held = self.held.get(sequence).map(|(held, _)| held);
            let waits = matches!(held, Some(Held::Retry { .. } | Held::Crowded { .. }));
            only.contains(&endpoint) && waits
        });
        (due.count() + held.count()).min(max)
    }
}

fn summary(key: DeliveryKey, row: &Row) -> Summary {
    let message = Head::from(&*row.delivery.message);
    let own = row.delivery.content.as_ref().and_then(|content| content.event_type.clone());
    Summary {
        key,
        event_type: own.unwrap_or_else(|| message.event_type.clone()),
        message,
        state: row.state,
        due: (row.state == State::Waiting).then_some(row.due),
        updated: row.updated,
        attempts: row.count(),
        last: row.attempts.last().cloned(),
    }
}
