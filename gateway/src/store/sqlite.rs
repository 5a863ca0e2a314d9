//! The embedded engine: SQLite in one file, owned by one process.
//!
//! One thread writes ([`writer`], group commit), one copies the log ([`checkpoint`]), readers have connections of
//! their own ([`read`]). What the stages need at once is in memory ([`Handover`]); the file is read back only when
//! dispatch is behind, for a retry that was not due soon, and after a start.

use super::{
    Accepted, BatchAnswer, Catalog, Current, Depths, Dispatched, HealthNote, KeptAnswer,
    LeasedMessage, Limits, Outstanding, Queue, Settlement, StoreError, Submission, due_later,
    front::Ready,
    handover::Handover,
    vault::{Master, Vault},
    waiting::Due,
};
use crate::{
    clock,
    model::{
        catalog::Change,
        delivery::{Delivery, Place, State},
        failure::Failure,
        health::Kept,
        id::{ApplicationId, Digest, EndpointId},
        message::{Held, Sequence},
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use readers::Readers;
use rusqlite::{Connection, OptionalExtension};
use std::{
    fs::File,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{Semaphore, oneshot, watch};
use writer::{Op, Reply, Writer};

mod answers;
mod aside;
mod changes;
mod checkpoint;
mod counting;
mod disorder;
mod health;
mod held;
mod keyvalue;
mod lock;
mod log;
mod read;
mod readers;
mod recovery;
mod retention;
mod rows;
mod schema;
mod sealing;
mod search;
mod writer;
#[cfg(test)]
mod tests;

/// How many senders may wait for a commit at once; more are told to come back.
const ACCEPTS: usize = 20_000;

/// The store in one SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    handover: Arc<Handover>,
    ops: Sender<Op>,
    accepts: Semaphore,
    readers: Readers,
    wal: Arc<checkpoint::Wal>,
    vault: Arc<Vault>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Moves on when an operation is kept.
    operations: watch::Sender<()>,
    _lock: File,
}

impl Sqlite {
    /// Opens `octohooks.db` in the directory, creating both; brings it to the newest version and leases what was
    /// pending or in flight. The master key seals what is secret. An error is one line for the operator.
    pub fn open(directory: &Path, limits: Limits, master: &Master) -> Result<Arc<Self>, String> {
        std::fs::create_dir_all(directory)
            .map_err(|error| format!("cannot create {}: {error}", directory.display()))?;
        let lock = lock::lock(directory)?;
        let path = directory.join("octohooks.db");
        let text = |error: rusqlite::Error| format!("{}: {error}", path.display());
        let mut connection = Connection::open(&path).map_err(text)?;
        schema::prepare(&mut connection, limits.bytes.map(|bytes| bytes.div_ceil(8192)))?;
        let vault = Arc::new(sealing::prepare(&mut connection, master)?);
        let latest = read::last_accepted(&connection).map_err(text)?;
        clock::accepted_until(latest);
        let catalog = read::catalog(&connection, limits.catalog, &vault)?;
        let waiting = read::waiting(&connection, &catalog, clock::now()).map_err(text)?;
        let parked = read::parked(&connection).map_err(text)?;
        let front = read::front(&connection).map_err(text)?;
        let handover = Arc::new(Handover::new(front, waiting, catalog, parked));
        let counting = counting::count(&path, &handover)?;
        let wal = Arc::new(checkpoint::Wal::default());
        let (ops, received) = channel();
        let writer = Writer {
            connection,
            vault: vault.clone(),
            ops: received,
            handover: handover.clone(),
            wal: wal.clone(),
            latest,
            owed: Vec::new(),
        };
        let copier = Connection::open(&path).map_err(text)?;
        copier.busy_timeout(Duration::from_secs(5)).map_err(text)?;
        let mut threads = vec![
            spawn("store-writer", move || writer.run())?,
            spawn("store-checkpointer", {
                let (path, wal) = (path.clone(), wal.clone());
                move || checkpoint::run(&copier, &path, &wal)
            })?,
        ];
        threads.extend(counting);
        let readers = Readers::new(path);
        Ok(Arc::new(Self {
            handover,
            ops,
            accepts: Semaphore::new(ACCEPTS),
            readers,
            wal,
            vault,
            threads: Mutex::new(threads),
            operations: watch::Sender::default(),
            _lock: lock,
        }))
    }

    /// Writes what was handed over, ends the threads and leaves an empty log.
    pub fn close(&self) {
        self.hand(Op::Stop);
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let mut threads = threads.into_iter();
        let _writer = threads.next().map(JoinHandle::join);
        self.wal.stop();
        threads.for_each(|thread| drop(thread.join()));
    }

    fn hand(&self, op: Op) {
        if self.ops.send(op).is_err() {
            tracing::debug!(
                "the writer has ended; what was handed over is due again at the next start"
            );
        }
    }

    /// Held messages that are due, read back. Those whose reading fails stay due.
    async fn held_messages(&self, due: Vec<Sequence>) -> Result<Vec<LeasedMessage>, StoreError> {
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = due.clone();
        let read = self.readers.read(move |c| read::messages_due(c, &wanted)).await;
        read.inspect(|leased| self.handover.front.held_leased(leased)).inspect_err(|_| {
            self.handover.waiting().put_messages_back(&due, clock::now());
        })
    }

    /// Messages that dispatch was too slow for, read back.
    async fn messages_behind(
        &self,
        from: Sequence,
        to: Sequence,
        max: usize,
    ) -> Result<Vec<LeasedMessage>, StoreError> {
        let chunk = move |c: &Connection| read::messages_behind(c, from, to, max);
        let (read, upto) = self.readers.read(chunk).await?;
        Ok(self.handover.front.behind(upto, read))
    }

    async fn ask<T>(&self, op: impl FnOnce(Reply<T>) -> Op) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.ops.send(op(reply)).map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, String> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(run).map_err(|error| format!("cannot start a thread: {error}"))
}

#[async_trait]
impl Queue for Sqlite {
    async fn accept_once(
        &self,
        batch: Vec<Submission>,
        answer: Option<BatchAnswer>,
    ) -> Result<Vec<Accepted>, StoreError> {
        let _waiting = self.accepts.try_acquire().map_err(|_| StoreError::Busy)?;
        self.ask(|reply| Op::Accept(batch, answer, reply)).await
    }

    async fn cancel(&self, message: Sequence) -> Result<bool, StoreError> {
        self.ask(|reply| Op::Cancel(message, reply)).await
    }

    async fn next_messages(&self, max: usize) -> Result<Vec<LeasedMessage>, StoreError> {
        loop {
            self.handover.front.check_open()?;
            // Half of it for what is due again: neither keeps the other out.
            let due = self.handover.waiting().due_messages(clock::now(), max.div_ceil(2));
            let mut leased = self.held_messages(due).await?;
            let room = max - leased.len();
            match self.handover.front.ready(room) {
                Ready::Fresh(fresh) => leased.extend(fresh),
                Ready::Behind(from, to) if room > 0 => {
                    match self.messages_behind(from, to, room).await {
                        Ok(behind) => leased.extend(behind),
                        // What is leased already must not be lost with an error, which comes again.
                        Err(error) if leased.is_empty() => return Err(error),
                        Err(_) => {}
                    }
                }
                Ready::Nothing if leased.is_empty() => self.handover.wait_for_message().await,
                Ready::Behind(..) | Ready::Nothing => {}
            }
            if !leased.is_empty() {
                return Ok(leased);
            }
        }
    }

    async fn take_crowded(
        &self,
        application: ApplicationId,
        max: usize,
    ) -> Result<Vec<LeasedMessage>, StoreError> {
        let taken = self.handover.waiting().take_crowded(application, max);
        let wanted = taken.clone();
        let read = self.readers.read(move |c| read::messages_crowded(c, &wanted)).await;
        read.inspect(|leased| self.handover.front.held_leased(leased)).inspect_err(|_| {
            let mut waiting = self.handover.waiting();
            taken.into_iter().for_each(|sequence| waiting.crowd(application, sequence));
        })
    }

    fn applications_crowded(&self) -> Vec<ApplicationId> {
        self.handover.waiting().applications_crowded()
    }

    fn note_failure(&self, message: Sequence, failure: Failure) {
        self.hand(Op::NoteFailure(message, Box::new(failure)));
    }

    fn dispatched(&self, message: LeasedMessage, result: Dispatched) {
        match result {
            Dispatched::Held(held @ Held::Crowded { .. }, _) => {
                let application = message.message.application;
                self.handover.crowd(application, message.sequence, || {
                    self.hand(Op::Hold(message, held, None));
                });
            }
            Dispatched::Held(held, cause) => self.hand(Op::Hold(message, held, cause)),
            Dispatched::Deliveries(deliveries) if message.held => {
                // Where an order is kept, nothing younger may overtake it; its rows are written before its attempts.
                let tenant = self.handover.snapshot().tenant(message.message.application).cloned();
                let in_order = message.only.is_empty() && tenant.is_some_and(|t| t.keeps_order());
                let (rest, ready) = match in_order {
                    true => due_later(deliveries),
                    false => (deliveries, Vec::new()),
                };
                self.hand(Op::Unhold(message.sequence, ready.clone(), rest));
                self.handover.offer(ready);
            }
            Dispatched::Deliveries(deliveries) => {
                self.handover.front.dispatched(message.sequence, deliveries.clone());
                let (later, ready) = due_later(deliveries);
                for delivery in later {
                    self.hand(Op::Wait(delivery, State::Waiting));
                }
                if !ready.is_empty() {
                    self.handover.offer(ready);
                }
                self.handover.front.came_through(message.sequence);
            }
        }
    }

    async fn next_deliveries(&self, max: usize) -> Result<Vec<Arc<Delivery>>, StoreError> {
        loop {
            let (mut leased, keys) = Due::split(self.handover.next_due(max).await?);
            match self.readers.deliveries(&keys).await {
                Ok((read, rest)) => {
                    leased.extend(read);
                    self.handover.waiting().put_back(&rest, clock::now());
                }
                Err(error) => {
                    self.handover.waiting().put_back(&keys, clock::now());
                    // What is in memory needs no disk.
                    if leased.is_empty() {
                        return Err(error);
                    }
                }
            }
            if !leased.is_empty() {
                return Ok(leased);
            }
        }
    }

    fn settle(&self, settlement: Settlement) {
        self.hand(Op::Settle(settlement));
    }

    fn keep_health(&self, note: HealthNote) {
        self.hand(Op::Health(Box::new(note)));
    }

    async fn troubles(&self) -> Result<Vec<Kept>, StoreError> {
        self.readers.read(health::all).await
    }

    fn set_aside(&self, delivery: Arc<Delivery>) {
        // Under the lock, so that nobody can take it and settle it before its row is handed over.
        let mut waiting = self.handover.waiting();
        waiting.set_aside(delivery.clone());
        self.hand(Op::Wait(delivery, State::Aside));
    }

    async fn take_aside(
        &self,
        endpoint: EndpointId,
        max: usize,
    ) -> Result<Vec<Arc<Delivery>>, StoreError> {
        let taken = self.handover.waiting().take_aside(endpoint, max);
        self.read_aside(endpoint, taken).await
    }

    async fn take_places(
        &self,
        endpoint: EndpointId,
        places: &[Place],
    ) -> Result<Vec<Arc<Delivery>>, StoreError> {
        let taken = self.handover.waiting().take_places(endpoint, places);
        self.read_aside(endpoint, taken).await
    }

    async fn outstanding(&self, endpoint: EndpointId) -> Result<Vec<Outstanding>, StoreError> {
        self.read_outstanding(endpoint).await
    }

    fn is_behind_start(&self) -> bool {
        self.handover.front.is_behind_start()
    }

    fn endpoints_aside(&self) -> Vec<EndpointId> {
        self.handover.waiting().endpoints_aside()
    }

    fn depths(&self) -> Depths {
        self.handover.depths()
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.ask(Op::Flush).await
    }
}

#[async_trait]
impl Catalog for Sqlite {
    fn snapshot(&self) -> Current {
        self.handover.snapshot()
    }

    async fn change_once(
        &self,
        change: Change,
        answer: Option<KeptAnswer>,
    ) -> Result<(), StoreError> {
        let answer = answer.map(Box::new);
        self.ask(|reply| Op::Change(Box::new(change), answer, reply)).await
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.handover.watch()
    }

    async fn code(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        let find = move |c: &Connection| {
            c.query_row("SELECT bytes FROM code WHERE digest = ?", [&digest.0[..]], |row| {
                row.get::<_, Vec<u8>>(0)
            })
            .optional()
        };
        Ok(self.readers.read(find).await?.map(Bytes::from))
    }
}
