//! The front of the queue: which message is handed to dispatch next, and how far everything is settled.
//!
//! Messages are numbered in order of acceptance and handed over in that order. What was just committed is handed
//! over from memory (`fresh`). When dispatch falls behind, `fresh` is full and new messages are left on disk; the
//! engine then reads on from `next` until it has caught up. A start after a crash is nothing else than being behind
//! from the low-water mark on.
//!
//! The ledger holds what was handed over and is not yet settled, so that the low-water mark (the lowest number
//! not settled) can be kept on disk. When one slow delivery would hold the mark back for more than `LAG`
//! messages, the engine gives its deliveries rows of their own (`overdue`) and the mark moves on.

use super::{LeasedMessage, StoreError};
use crate::invariant::{Invariant, check};
use crate::model::{
    delivery::{Delivery, DeliveryKey},
    id::{ApplicationId, EndpointId},
    message::{Message, Sequence},
};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// How many messages wait for dispatch in memory; the rest wait on disk.
const FRESH: usize = 4096;
/// The same in bytes of payload.
const FRESH_BYTES: usize = 64 << 20;
/// How far the mark may lag behind, in messages; bounds the scan at start.
const LAG: usize = 20_000;

/// The front of the queue. Shared by the engine's threads.
#[derive(Debug)]
pub struct Front {
    state: Mutex<State>,
    changed: Notify,
    /// Told when everything is dispatched that was accepted before the start.
    started: Notify,
}

#[derive(Debug)]
struct State {
    /// Committed, from `next` on without a gap; empty when behind.
    /// Of one that is held from the start, its number alone.
    fresh: VecDeque<(Sequence, Option<Arc<Message>>)>,
    fresh_bytes: usize,
    /// The next to hand over.
    next: u64,
    /// One more than the last committed.
    head: u64,
    /// What was handed over and is not settled, from `next - ledger.len()` on.
    ledger: VecDeque<Entry>,
    /// Held messages that were leased before the reading from behind came to them, as after a start.
    early: BTreeSet<Sequence>,
    starting: Option<Starting>,
    closed: bool,
}

/// Until everything is dispatched that was accepted before the start.
#[derive(Debug)]
struct Starting {
    /// One more than the last of it.
    upto: Sequence,
    /// Of it, what was handed over and is not dispatched.
    leased: BTreeSet<Sequence>,
}

#[derive(Debug)]
enum Entry {
    Leased(ApplicationId),
    Open(Vec<Arc<Delivery>>),
    Settled,
}

/// What there is to hand over.
#[derive(Debug)]
pub enum Ready {
    /// These, from memory; none where all of a stretch are held.
    Fresh(Vec<LeasedMessage>),
    /// Read from this number on, below the second, then call `behind`.
    Behind(Sequence, Sequence),
    /// Nothing yet.
    Nothing,
}

impl Front {
    /// A front that hands over from `next` on, where `head` is one more than the last on disk.
    #[must_use]
    pub fn new(next: u64, head: u64) -> Self {
        let state = State {
            fresh: VecDeque::new(),
            fresh_bytes: 0,
            next,
            head,
            ledger: VecDeque::new(),
            early: BTreeSet::new(),
            starting: (next < head)
                .then(|| Starting { upto: Sequence(head), leased: BTreeSet::new() }),
            closed: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new(), started: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next message to be committed.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.lock().head
    }

    /// Takes what was just committed. What is scheduled was held in the same step, and is not handed over from here.
    pub fn committed(&self, batch: Vec<(Sequence, Arc<Message>)>) {
        if batch.is_empty() {
            return;
        }
        let mut state = self.lock();
        for (sequence, message) in batch {
            check(Invariant::SequenceFollows, sequence.0 == state.head, || {
                format!("{} was committed after {}", sequence.0, state.head)
            });
            let upto_date = state.next + state.fresh.len() as u64 == sequence.0;
            let room = state.fresh.len() < FRESH && state.fresh_bytes < FRESH_BYTES;
            if upto_date && room {
                let message = Some(message).filter(|message| message.deliver_at.is_none());
                state.fresh_bytes += message.as_ref().map_or(0, |message| message.payload.len());
                state.fresh.push_back((sequence, message));
            }
            state.head = sequence.0 + 1;
        }
        state.pass_held();
        drop(state);
        self.changed.notify_one();
    }

    /// Leases what is in memory, or says what to read.
    #[must_use]
    pub fn ready(&self, max: usize) -> Ready {
        let mut state = self.lock();
        if state.fresh.is_empty() {
            return match state.next < state.head {
                true => Ready::Behind(Sequence(state.next), Sequence(state.head)),
                false => Ready::Nothing,
            };
        }
        let count = max.min(state.fresh.len());
        let taken: Vec<_> = state.fresh.drain(..count).collect();
        for (_, message) in &taken {
            state.fresh_bytes -= message.as_ref().map_or(0, |message| message.payload.len());
            state.ledger.push_back(match message {
                Some(message) => Entry::Leased(message.application),
                None => Entry::Settled,
            });
        }
        state.next += count as u64;
        state.pass_held();
        let taken = taken.into_iter().filter_map(|(sequence, message)| Some((sequence, message?)));
        let lease = |(sequence, message)| LeasedMessage {
            sequence,
            message,
            done: Vec::new(),
            only: Vec::new(),
            calls: 0,
            held: false,
        };
        Ready::Fresh(taken.map(lease).collect())
    }

    /// Notes that everything below `upto` was read from disk, and that of it these are to be dispatched: leases them,
    /// but for those that were leased as held messages meanwhile and are held no more.
    #[must_use]
    pub fn behind(&self, upto: Sequence, mut read: Vec<LeasedMessage>) -> Vec<LeasedMessage> {
        let mut state = self.lock();
        let later = state.early.split_off(&upto);
        let early = std::mem::replace(&mut state.early, later);
        read.retain(|leased| !early.contains(&leased.sequence));
        let from = state.next;
        for number in from..upto.0 {
            let entry = match read.binary_search_by_key(&number, |leased| leased.sequence.0) {
                Ok(index) => Entry::Leased(read[index].message.application),
                Err(_) => Entry::Settled,
            };
            state.ledger.push_back(entry);
        }
        state.next = upto.0.max(from);
        state.trim();
        if let Some(starting) = &mut state.starting {
            let before = read.iter().map(|leased| leased.sequence);
            starting.leased.extend(before.filter(|sequence| *sequence < starting.upto));
            self.see_started(&mut state);
        }
        read
    }

    /// A message is dispatched, or held for now.
    pub fn came_through(&self, sequence: Sequence) {
        let mut state = self.lock();
        if let Some(starting) = &mut state.starting {
            starting.leased.remove(&sequence);
            self.see_started(&mut state);
        }
    }

    fn see_started(&self, state: &mut State) {
        let next = state.next;
        if state.starting.take_if(|s| next >= s.upto.0 && s.leased.is_empty()).is_some() {
            self.started.notify_waiters();
        }
    }

    /// Returns when everything is dispatched that was accepted before the start.
    pub async fn started(&self) {
        loop {
            // Before the look: what happens in between is not missed.
            let started = self.started.notified();
            if self.lock().starting.is_none() {
                return;
            }
            started.await;
        }
    }

    /// Whether some of that is still to be handed over.
    #[must_use]
    pub fn is_behind_start(&self) -> bool {
        let state = self.lock();
        state.starting.as_ref().is_some_and(|starting| state.next < starting.upto.0)
    }

    /// The endpoint's deliveries that have no row yet.
    #[must_use]
    pub fn open_at(&self, endpoint: EndpointId) -> Vec<Arc<Delivery>> {
        let state = self.lock();
        let open = state.ledger.iter().filter_map(|entry| match entry {
            Entry::Open(open) => Some(open),
            _ => None,
        });
        open.flatten().filter(|delivery| delivery.key.endpoint == endpoint).cloned().collect()
    }

    /// Notes that these held messages are leased.
    pub fn held_leased(&self, leased: &[LeasedMessage]) {
        let mut state = self.lock();
        let next = state.next;
        let early = leased.iter().map(|leased| leased.sequence).filter(|s| s.0 >= next);
        state.early.extend(early);
    }

    /// Ends a message's lease: these deliveries are open now.
    pub fn dispatched(&self, sequence: Sequence, deliveries: Vec<Arc<Delivery>>) {
        let mut state = self.lock();
        let Some(entry) = state.entry(sequence) else { return };
        *entry = match deliveries.is_empty() {
            true => Entry::Settled,
            false => Entry::Open(deliveries),
        };
        state.trim();
    }

    /// Notes that a delivery has a row.
    pub fn settled(&self, key: &DeliveryKey) {
        let mut state = self.lock();
        let Some(entry) = state.entry(key.message) else { return };
        if let Entry::Open(open) = entry {
            open.retain(|d| d.key != *key);
            if open.is_empty() {
                *entry = Entry::Settled;
                state.trim();
            }
        }
    }

    /// The message's deliveries that have no row yet.
    #[must_use]
    pub fn open(&self, sequence: Sequence) -> Vec<Arc<Delivery>> {
        match self.lock().entry(sequence) {
            Some(Entry::Open(open)) => open.clone(),
            _ => Vec::new(),
        }
    }

    /// Open deliveries that hold the mark back for too long.
    #[must_use]
    pub fn overdue(&self) -> Vec<Arc<Delivery>> {
        let state = self.lock();
        let over = state.ledger.len().saturating_sub(LAG);
        let open = state.ledger.iter().take(over).filter_map(|entry| match entry {
            Entry::Open(open) => Some(open),
            _ => None,
        });
        open.flatten().cloned().collect()
    }

    /// The low-water mark: everything below is settled.
    #[must_use]
    pub fn mark(&self) -> Sequence {
        let state = self.lock();
        Sequence(state.next - state.ledger.len() as u64)
    }

    /// Everything of the application below is settled: other applications' messages hold only the mark back.
    #[must_use]
    pub fn mark_of(&self, application: ApplicationId) -> Sequence {
        let state = self.lock();
        let is_open = |entry: &Entry| match entry {
            Entry::Leased(of) => *of == application,
            Entry::Open(open) => open.iter().any(|d| d.message.application == application),
            Entry::Settled => false,
        };
        let settled = state.ledger.iter().position(is_open).unwrap_or(state.ledger.len());
        Sequence(state.next - (state.ledger.len() - settled) as u64)
    }

    /// Whether the message was handed over and is settled.
    #[must_use]
    pub fn is_settled(&self, sequence: Sequence) -> bool {
        let mut state = self.lock();
        let below = sequence.0 < state.next - state.ledger.len() as u64;
        below || matches!(state.entry(sequence), Some(Entry::Settled))
    }

    /// How many are not handed over, and how many are not settled.
    #[must_use]
    pub fn depths(&self) -> (u64, u64) {
        let state = self.lock();
        (state.head - state.next, state.ledger.len() as u64)
    }

    /// Returns when something changed since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Wakes whoever waits.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// Nothing more is handed over.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// An error once closed.
    pub fn check_open(&self) -> Result<(), StoreError> {
        if self.lock().closed { Err(StoreError::Closed) } else { Ok(()) }
    }
}

impl State {
    fn entry(&mut self, sequence: Sequence) -> Option<&mut Entry> {
        let mark = self.next - self.ledger.len() as u64;
        let index = usize::try_from(sequence.0.checked_sub(mark)?).ok()?;
        self.ledger.get_mut(index)
    }

    /// What is held from the start is nobody's to take.
    fn pass_held(&mut self) {
        while self.fresh.pop_front_if(|(_, message)| message.is_none()).is_some() {
            self.ledger.push_back(Entry::Settled);
            self.next += 1;
        }
        self.trim();
    }

    fn trim(&mut self) {
        while matches!(self.ledger.front(), Some(Entry::Settled)) {
            self.ledger.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
