//! What is forgotten of the rows in memory.

use super::{Memory, tables::Tables};
use crate::{
    clock,
    model::{
        Millis,
        delivery::{Content, Delivery},
        id::EnvironmentId,
        message::{Attributes, Held, Message, Sequence},
        operation::State,
    },
    store::{Aged, Forgotten, Retention, StoreError, front::Front, handover::emptied},
};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;

impl Tables {
    fn has_ended(&self, message: Sequence, front: &Front) -> bool {
        let held = self.held.get(&message).map(|(held, _)| held);
        front.is_settled(message)
            && self.messages.contains_key(&message)
            && held.is_none_or(|held| held.is_final() || matches!(held, Held::Parked { .. }))
            && self.rows(message).all(|row| row.state.is_final())
    }

    /// Drops the message if it is parked; whether it was.
    fn empty(&mut self, message: Sequence) -> bool {
        match self.held.get_mut(&message) {
            Some(held) if matches!(held.0, Held::Parked { .. }) => {
                *held = (emptied(), clock::now());
                self.only.remove(&message);
                true
            }
            _ => false,
        }
    }

    fn forget(&mut self, what: Forgotten, message: Sequence) {
        match what {
            Forgotten::Content => self.forget_content(message),
            Forgotten::Attempts => {
                let rows = self.deliveries.iter_mut().filter(|(key, _)| key.message == message);
                for (_, row) in rows {
                    row.forgotten += std::mem::take(&mut row.attempts).len();
                }
            }
            Forgotten::All => {
                self.deliveries.retain(|key, _| key.message != message);
                self.held.remove(&message);
                self.failures.remove(&message);
                self.passed_over.remove(&message);
                let Some(message) = self.messages.remove(&message) else { return };
                self.ids.remove(&message.id);
                self.keys.retain(|_, first| *first != message.id);
                if let Some(uid) = &message.uid {
                    let key = (message.environment, message.application, uid.clone());
                    self.uids.remove(&key);
                }
            }
        }
    }

    fn forget_content(&mut self, sequence: Sequence) {
        let Some(message) = self.messages.get_mut(&sequence) else { return };
        let bare = Arc::new(Message {
            payload: Bytes::new(),
            attributes: Attributes::new(),
            content_until: None,
            ..Message::clone(message)
        });
        *message = bare.clone();
        self.failures.remove(&sequence);
        self.passed_over.remove(&sequence);
        for (_, row) in self.deliveries.iter_mut().filter(|(key, _)| key.message == sequence) {
            let content = row.delivery.content.as_deref();
            let content = content.map(|c| Arc::new(Content { payload: None, ..c.clone() }));
            let message = bare.clone();
            let delivery = Delivery { message, content, ..Delivery::clone(&row.delivery) };
            row.delivery = Arc::new(delivery);
        }
    }
}

#[async_trait]
impl Retention for Memory {
    async fn aged(
        &self,
        environment: EnvironmentId,
        after: Sequence,
        before: Millis,
    ) -> Result<Aged, StoreError> {
        let (tables, mark) = (self.tables(), self.handover.front.mark());
        let later = tables.messages.iter().filter(|(sequence, _)| **sequence > after);
        let settled = later.take_while(|(sequence, _)| **sequence < mark);
        let (mut aged, mut young) = (Aged::default(), false);
        for (sequence, message) in settled {
            if message.accepted >= before {
                young = true;
            } else if message.environment == environment {
                aged.passed_over |= young;
                aged.records.push(*sequence);
            }
        }
        Ok(aged)
    }

    async fn outlived(&self, now: Millis, max: usize) -> Result<Vec<Sequence>, StoreError> {
        let (tables, front) = (self.tables(), &self.handover.front);
        let over = tables.messages.iter();
        let over = over.filter(|(_, message)| message.content_until.is_some_and(|at| at <= now));
        let over = over.filter(|(sequence, _)| tables.has_ended(**sequence, front));
        Ok(over.map(|(sequence, _)| *sequence).take(max).collect())
    }

    async fn forget(
        &self,
        what: Forgotten,
        messages: Vec<Sequence>,
        upto: Option<(EnvironmentId, Sequence)>,
    ) -> Result<u64, StoreError> {
        self.handover.front.check_open()?;
        let (mut tables, front) = (self.tables(), &self.handover.front);
        let ended: Vec<_> = messages.into_iter().filter(|m| tables.has_ended(*m, front)).collect();
        let parked = ended.iter().filter(|m| what != Forgotten::Attempts && tables.empty(**m));
        self.handover.emptied(parked.count() as u64);
        ended.iter().for_each(|message| tables.forget(what, *message));
        if let Some((environment, upto)) = upto {
            tables.forgotten.insert((what, environment), upto);
        }
        Ok(ended.len() as u64)
    }

    async fn forgotten_upto(
        &self,
        what: Forgotten,
        environment: EnvironmentId,
    ) -> Result<Sequence, StoreError> {
        Ok(self.tables().forgotten.get(&(what, environment)).copied().unwrap_or(Sequence(0)))
    }

    async fn forget_answers(
        &self,
        answers: Millis,
        operations: Millis,
        _max: usize,
    ) -> Result<u64, StoreError> {
        let mut tables = self.tables();
        let had = tables.answers.len() + tables.operations.len();
        tables.answers.retain(|_, (_, _, kept)| *kept >= answers);
        let keeps = |state: &State, updated| *state == State::Running || updated >= operations;
        tables.operations.retain(|_, operation| keeps(&operation.state, operation.updated));
        Ok((had - tables.answers.len() - tables.operations.len()) as u64)
    }
}
