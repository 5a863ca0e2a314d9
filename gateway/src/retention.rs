//! Retention: forgets what is older than it must be kept, in small pieces with a pause between, so that no sender notices.
//!
//! An environment's payloads and its attempts each have their time. What is past both goes whole; what is past one loses
//! that. Messages are walked in the order of acceptance, so that a round looks only at what has become old since the one
//! before; how far that is, is noted with what was forgotten. Kept answers go after their twelve hours, operations that
//! ended after thirty days, what plugins remember when its time is up. What still waits is left, and looked at again once
//! a day; what only waits for a plugin's next version, for ever if none comes, goes like the rest.

use crate::{
    clock,
    model::{Millis, catalog::Snapshot, environment::Kept, id::EnvironmentId, message::Sequence},
    store::{Catalog, Forgotten, KeyValue, Retention, StoreError},
    web::once,
};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
    num::NonZeroU16,
    sync::Arc,
    time::Duration,
};

/// How often to look for what has become old.
const PERIOD: Duration = Duration::from_secs(60);
/// The pause after each piece.
const PAUSE: Duration = Duration::from_millis(20);
/// How many go at once.
const PIECE: usize = 200;
/// A day, in milliseconds.
const DAY: Millis = 24 * 3_600_000;

/// What is forgotten of an environment's messages, and from which age on, in milliseconds.
fn rules(kept: Kept) -> impl Iterator<Item = (Forgotten, Millis)> {
    let age = |days: NonZeroU16| Millis::from(days.get()) * DAY;
    let (payload, attempts) = (age(kept.payload_days), age(kept.attempt_days));
    let first = match payload.cmp(&attempts) {
        Ordering::Less => Some((Forgotten::Content, payload)),
        Ordering::Greater => Some((Forgotten::Attempts, attempts)),
        Ordering::Equal => None,
    };
    first.into_iter().chain([(Forgotten::All, payload.max(attempts))])
}

/// How far a walk has come, in one round after another.
#[derive(Clone, Copy)]
struct Come {
    upto: Sequence,
    /// Whether nothing before was left alone.
    clean: bool,
}

/// Forgets what is old.
pub struct Keeper {
    catalog: Arc<dyn Catalog>,
    retention: Arc<dyn Retention>,
    values: Arc<dyn KeyValue>,
    usual: Kept,
    /// By the environment's name, where the configuration says.
    own: BTreeMap<String, Kept>,
    /// How far each environment's messages have come since the last whole walk.
    come: HashMap<(Forgotten, EnvironmentId), Come>,
    walked: Millis,
}

impl Keeper {
    /// A keeper of what is usual, and of what the configuration says of some environments.
    pub fn new(
        catalog: Arc<dyn Catalog>,
        retention: Arc<dyn Retention>,
        values: Arc<dyn KeyValue>,
        usual: Kept,
        own: BTreeMap<String, Kept>,
    ) -> Self {
        let (come, walked) = (HashMap::new(), clock::now());
        Self { catalog, retention, values, usual, own, come, walked }
    }

    /// Forgets for ever.
    pub async fn run(mut self) {
        loop {
            if let Err(error) = self.round(clock::now()).await {
                tracing::warn!(%error, "what is old could not be forgotten; tried again");
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    async fn round(&mut self, now: Millis) -> Result<(), StoreError> {
        if now.saturating_sub(self.walked) >= DAY {
            // What waited then may have ended.
            self.come.clear();
            self.walked = now;
        }
        let policies = policies(&self.catalog.snapshot(), self.usual, &self.own);
        for (environment, kept) in policies {
            for (what, age) in rules(kept) {
                self.forget(environment, what, now.saturating_sub(age)).await?;
            }
        }
        loop {
            let outlived = self.retention.outlived(now, PIECE).await?;
            let found = outlived.len();
            let gone = self.retention.forget(Forgotten::Content, outlived, None).await?;
            count(Forgotten::Content, gone);
            if gone == 0 || found < PIECE {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let (answers, operations) = (now.saturating_sub(once::KEPT), now.saturating_sub(30 * DAY));
        while self.retention.forget_answers(answers, operations, PIECE).await? > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        while self.values.forget_values(now, PIECE).await? > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Forgets that of the environment's messages from before that time.
    async fn forget(
        &mut self,
        environment: EnvironmentId,
        what: Forgotten,
        before: Millis,
    ) -> Result<(), StoreError> {
        let mut come = match self.come.get(&(what, environment)) {
            Some(come) => *come,
            // What is gone needs no note: the walk begins with what is left.
            None if what == Forgotten::All => Come { upto: Sequence(0), clean: false },
            None => {
                Come { upto: self.retention.forgotten_upto(what, environment).await?, clean: true }
            }
        };
        loop {
            let aged = self.retention.aged(environment, come.upto, before).await?;
            let last = aged.next.or_else(|| aged.records.last().copied());
            let Some(upto) = last else { return Ok(()) };
            let found = aged.records.len() as u64;
            // What was left alone or passed over is come back to: the note stays before it.
            let note = come.clean.then_some((environment, come.upto));
            let gone = self.retention.forget(what, aged.records, note).await?;
            count(what, gone);
            come = Come { upto, clean: come.clean && gone == found && !aged.passed_over };
            self.come.insert((what, environment), come);
            if aged.next.is_none() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn count(what: Forgotten, messages: u64) {
    metrics::counter!("octohooks_messages_forgotten_total", "what" => what.name())
        .increment(messages);
}

/// How long each environment keeps what is recorded.
fn policies(
    catalog: &Snapshot,
    usual: Kept,
    own: &BTreeMap<String, Kept>,
) -> Vec<(EnvironmentId, Kept)> {
    let others = catalog.every_environment().map(|environment| {
        let configured = own.get(&*environment.name).copied();
        (environment.id, configured.or(environment.kept).unwrap_or(usual))
    });
    std::iter::once((EnvironmentId::DEFAULT, usual)).chain(others).collect()
}

#[cfg(test)]
mod tests;
