//! Recover: operations that send again what an endpoint missed, in the background. Each finds what it wants by an index,
//! oldest first, and makes it due in small steps; from there on it is delivered like anything else.
//!
//! An operation is kept with every step, in the step's own commit: a restart goes on where the last step ended, and what
//! a step made due is sent however the operation ends. It counts first, then sends. It is paced by the endpoint's backlog,
//! so that what is sent anew is not behind it, and by half of the endpoint's rate.

use crate::{
    clock,
    model::{
        endpoint::Endpoint,
        id::{EnvironmentId, OperationId},
        message::Sequence,
        operation::{Operation, State},
    },
    store::{Again, Catalog, Recovery, StoreError},
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// How many are counted at once.
const COUNT: usize = 1000;
/// How many are made due at once.
const STEP: usize = 32;
/// As long as that many wait to be sent to the endpoint, no more are made due.
const BACKLOG: usize = 16;
/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_millis(50);

/// The stage.
pub struct Recoverer {
    catalog: Arc<dyn Catalog>,
    recovery: Arc<dyn Recovery>,
}

/// What follows a step.
enum After {
    /// The next one.
    Step,
    /// The next one, later.
    Wait(Duration),
    /// Nothing.
    End,
}

impl Recoverer {
    /// A stage that is not running yet.
    pub fn new(catalog: Arc<dyn Catalog>, recovery: Arc<dyn Recovery>) -> Arc<Self> {
        Arc::new(Self { catalog, recovery })
    }

    /// Runs every operation that goes on, until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut kept = self.recovery.watch_operations();
        let mut under_way = Running::default();
        loop {
            match self.recovery.running().await {
                Ok(running) => {
                    under_way.0.retain(|_, task| !task.is_finished());
                    for operation in running {
                        let start = || tokio::spawn(self.clone().work(operation.clone()));
                        under_way.0.entry(operation.id).or_insert_with(start);
                    }
                }
                Err(error) => tracing::error!(%error, "operations could not be read; tried again"),
            }
            // An operation that could not go on is found again by the clock.
            let _either = tokio::time::timeout(Duration::from_secs(10), kept.changed()).await;
        }
    }

    async fn work(self: Arc<Self>, operation: Operation) {
        loop {
            match self.step(operation.environment, operation.id).await {
                Ok(After::Step) => {}
                Ok(After::Wait(time)) => tokio::time::sleep(time).await,
                Ok(After::End) => return,
                Err(error) => {
                    tracing::warn!(operation = %operation.id, %error, "an operation stands still");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn step(&self, environment: EnvironmentId, id: OperationId) -> Result<After, StoreError> {
        let found = self.recovery.operation(environment, id).await?;
        let Some(mut operation) = found.filter(|found| found.state == State::Running) else {
            return Ok(After::End);
        };
        let (endpoint, has_plugin) = match self.to(&operation) {
            Ok(to) => to,
            Err(why) => return self.fail(operation, why).await,
        };
        if let Some(endpoint) = endpoint.as_ref().filter(|_| operation.counted)
            && self.recovery.backlog(endpoint.id, BACKLOG).await? >= BACKLOG
        {
            return Ok(After::Wait(PAUSE));
        }
        let size = if operation.counted { step_size(endpoint.as_deref()) } else { COUNT };
        // Before the search: what is settled meanwhile is seen by the next one.
        let (_, mark) = self.recovery.bounds(operation.application);
        let page = self.recovery.candidates(&operation, size).await?;
        let wanted = page.records.iter();
        let wanted = wanted.filter(|found| {
            // A plugin may send what the endpoint does not subscribe to; what was a delivery was subscribed to.
            let undecided = matches!(found.again, Again::Message(..)) && !has_plugin;
            operation.wanted.takes(&found.head, endpoint.as_deref().filter(|_| undecided))
        });
        let again: Vec<_> = wanted.map(|found| found.again).collect();
        let count = again.len() as u64;
        let waits = page.next.is_none() && mark < operation.upto;
        operation.cursor = page.next.unwrap_or(operation.cursor.max(Sequence(mark.0 - 1)));
        operation.updated = clock::now();
        let ends = page.next.is_none() && !waits;
        if !operation.counted {
            operation.total += count;
            operation.counted = ends;
            if ends {
                operation.cursor = Sequence(0);
                operation.state = if operation.dry_run { State::Done } else { State::Running };
            }
            self.recovery.again(Vec::new(), Some(operation)).await?;
            return Ok(if waits { After::Wait(PAUSE) } else { After::Step });
        }
        if ends {
            operation.state = State::Done;
        }
        let due = self.recovery.again(again, Some(operation)).await?;
        Ok(match endpoint.and_then(|endpoint| pause(&endpoint, due)) {
            Some(pause) => After::Wait(pause.max(PAUSE)),
            // Some were left alone, or are for another endpoint just now.
            None if waits || due < count => After::Wait(PAUSE),
            None => After::Step,
        })
    }

    /// The endpoint that an operation is for, if it is for one, and whether its application has plugins; or why it cannot
    /// go on.
    fn to(&self, operation: &Operation) -> Result<(Option<Arc<Endpoint>>, bool), &'static str> {
        let snapshot = self.catalog.snapshot();
        let tenant = snapshot.tenant(operation.application);
        let has_plugin = tenant.is_some_and(|tenant| tenant.transforms().next().is_some());
        match operation.endpoint {
            None if tenant.is_none() => Err("the application is gone"),
            None => Ok((None, has_plugin)),
            Some(id) => match snapshot.endpoint(id).cloned() {
                None => Err("the endpoint is gone"),
                Some(endpoint) if !endpoint.enabled && !operation.dry_run => {
                    Err("the endpoint is disabled")
                }
                endpoint => Ok((endpoint, has_plugin)),
            },
        }
    }

    async fn fail(&self, operation: Operation, why: &str) -> Result<After, StoreError> {
        let state = State::Failed(why.to_owned());
        let failed = Operation { state, updated: clock::now(), ..operation };
        self.recovery.again(Vec::new(), Some(failed)).await?;
        Ok(After::End)
    }
}

/// How many to make due at once: at most half of what the endpoint takes in a second.
fn step_size(endpoint: Option<&Endpoint>) -> usize {
    let Some(rate) = endpoint.and_then(|endpoint| endpoint.rate_limit) else { return STEP };
    let seconds = rate.per.duration().as_secs();
    let half = u64::from(rate.limit.get()) / seconds / 2;
    usize::try_from(half).unwrap_or(STEP).clamp(1, STEP)
}

/// How long to wait after making that many due, so that half of the endpoint's rate is left.
fn pause(endpoint: &Endpoint, count: u64) -> Option<Duration> {
    let rate = endpoint.rate_limit?;
    let one = rate.per.duration() / rate.limit.get();
    Some(one * 2 * u32::try_from(count).unwrap_or(u32::MAX))
}

/// The operations under way. They end with the stage.
#[derive(Default)]
struct Running(HashMap<OperationId, JoinHandle<()>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.values().for_each(JoinHandle::abort);
    }
}

#[cfg(test)]
mod tests;
