//! The books: what was posted, accepted, and arrived where, kept by the senders and the receiver, so that the end can
//! be held against what must be.

use super::{
    door::{Door, Doors},
    receiver::Endpoint,
    status::{self, Fate},
    summary::{Summary, Traffic, percentile},
};
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::sync::Notify;

/// How often the flaky endpoint refuses a message.
const REFUSALS: u32 = 2;

/// The books.
#[derive(Debug, Default)]
pub struct Books {
    doors: Doors,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    secrets: HashMap<Endpoint, String>,
    messages: HashMap<u32, Entry>,
    passages: HashMap<Door, Passage>,
    counts: Counts,
}

/// What is known of one message.
#[derive(Debug, Default)]
struct Entry {
    sent: Option<Instant>,
    accepted: bool,
    transformed: bool,
    arrived: bool,
    tries: HashMap<Endpoint, u32>,
    taken: HashMap<Endpoint, u32>,
}

/// What went through one door.
#[derive(Clone, Debug, Default)]
struct Passage {
    sent: u32,
    again: u32,
    accepted: u32,
    /// Milliseconds from the first sending to the first arrival.
    latencies: Vec<f64>,
}

/// What has happened so far.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Messages whose sender knows that they are safe.
    pub accepted: u32,
    /// Deliveries that arrived, each once.
    pub delivered: HashMap<Endpoint, u32>,
    /// Tries that an endpoint refused.
    pub refused: HashMap<Endpoint, u32>,
    duplicated: u32,
    unexpected: u32,
    bad_signatures: u32,
}

/// A request as it arrived.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// Where.
    pub endpoint: Endpoint,
    /// Whether both signatures are right.
    pub verified: bool,
    /// The payload.
    pub body: &'a [u8],
    /// When.
    pub at: Instant,
}

/// How many of so many messages an endpoint must get.
pub fn expected(messages: u32, endpoint: Endpoint) -> u32 {
    let wanted = |fate| match endpoint {
        Endpoint::All | Endpoint::Flaky => fate != Fate::Dropped,
        Endpoint::Alerts => fate == Fate::Failure,
    };
    let count = (0..messages).filter(|n| wanted(status::fate(*n))).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// How many of so many messages the plugin must drop.
pub fn expected_drops(messages: u32) -> u32 {
    messages - expected(messages, Endpoint::All)
}

impl Books {
    /// Empty books for what goes through these doors.
    pub fn new(doors: Doors) -> Self {
        Self { doors, ..Self::default() }
    }

    /// The doors.
    pub const fn doors(&self) -> Doors {
        self.doors
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_waiters();
    }

    async fn until(&self, is_so: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_so(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Learns the endpoints' secrets.
    pub fn know(&self, secrets: HashMap<Endpoint, String>) {
        self.lock().secrets = secrets;
    }

    /// An endpoint's secret.
    pub fn secret(&self, endpoint: Endpoint) -> Option<String> {
        self.lock().secrets.get(&endpoint).cloned()
    }

    /// A message is about to be sent; its first time counts.
    pub fn sent(&self, n: u32, at: Instant) {
        let state = &mut *self.lock();
        let passage = state.passages.entry(self.doors.of(n)).or_default();
        match &mut state.messages.entry(n).or_default().sent {
            Some(_) => passage.again += 1,
            first => {
                *first = Some(at);
                passage.sent += 1;
            }
        }
    }

    /// A message's sender knows that it is safe.
    pub fn accepted(&self, n: u32) {
        self.change(|state| {
            let entry = state.messages.entry(n).or_default();
            let first = u32::from(!entry.accepted);
            entry.accepted = true;
            state.counts.accepted += first;
            state.passages.entry(self.doors.of(n)).or_default().accepted += first;
        });
    }

    /// Enters a request; whether the endpoint takes it.
    pub fn arrived(&self, arrival: &Arrival<'_>) -> bool {
        let payload: Value = serde_json::from_slice(arrival.body).unwrap_or_default();
        let number = payload["messageId"].as_str().and_then(status::number);
        let mut taken = true;
        self.change(|state| {
            state.counts.bad_signatures += u32::from(!arrival.verified);
            match number {
                Some(n) => {
                    taken =
                        state.enter(n, self.doors.of(n), arrival, status::is_transformed(&payload));
                }
                None => state.counts.unexpected += 1,
            }
        });
        taken
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// What has gone through a door so far.
    pub fn traffic(&self, door: Door) -> Traffic {
        let passage = self.lock().passages.get(&door).cloned().unwrap_or_default();
        let Passage { sent, again, accepted, mut latencies } = passage;
        let [p50_ms, p99_ms] = [0.50, 0.99].map(|share| percentile(&mut latencies, share));
        Traffic { name: door.name(), sent, again, accepted, p50_ms, p99_ms, title: door.title() }
    }

    /// A number that grows with everything that happens.
    pub fn arrivals(&self) -> u32 {
        let counts = &self.lock().counts;
        let sum = |per: &HashMap<Endpoint, u32>| per.values().sum::<u32>();
        counts.accepted + sum(&counts.delivered) + sum(&counts.refused)
    }

    /// Returns when that many messages are accepted.
    pub async fn accepted_at_least(&self, messages: u32) {
        self.until(|state| state.counts.accepted >= messages).await;
    }

    /// Returns when all of so many messages are accepted, and everything that must arrive has.
    pub async fn complete(&self, messages: u32) {
        let wanted = Endpoint::ALL.map(|endpoint| (endpoint, expected(messages, endpoint)));
        self.until(|State { counts, .. }| {
            let of = |endpoint| counts.delivered.get(&endpoint).copied().unwrap_or(0);
            counts.accepted >= messages && wanted.iter().all(|(e, count)| of(*e) >= *count)
        })
        .await;
    }

    /// How it ended; `dropped` is what the gateway's record says.
    pub fn summary(&self, messages: u32, dropped: u32, crashed: bool) -> Summary {
        let doors = match self.doors {
            Doors::Http => Vec::new(),
            Doors::All => self.doors.each().iter().map(|door| self.traffic(*door)).collect(),
        };
        let state = self.lock();
        let counts = &state.counts;
        let all: u32 = Endpoint::ALL.iter().map(|endpoint| expected(messages, *endpoint)).sum();
        let missing =
            state.messages.iter().filter(|(_, entry)| entry.accepted).map(|(n, entry)| {
                let must = |e: &&Endpoint| expected_of(*n, **e) && !entry.taken.contains_key(*e);
                u32::try_from(Endpoint::ALL.iter().filter(must).count()).unwrap_or(0)
            });
        let latencies = state.passages.values().flat_map(|passage| &passage.latencies);
        let mut latencies: Vec<f64> = latencies.copied().collect();
        let transformed = state.messages.values().filter(|entry| entry.transformed).count();
        Summary {
            messages,
            accepted: counts.accepted,
            transformed: u32::try_from(transformed).unwrap_or(u32::MAX),
            dropped,
            delivered: counts.delivered.values().sum(),
            retried: counts.refused.values().sum(),
            lost: missing.sum::<u32>() + expected_drops(messages).saturating_sub(dropped),
            duplicated: counts.duplicated,
            unexpected: counts.unexpected,
            bad_signatures: counts.bad_signatures,
            crashed,
            p50_ms: percentile(&mut latencies, 0.50),
            p99_ms: percentile(&mut latencies, 0.99),
            doors,
            expected: all,
        }
    }
}

fn expected_of(n: u32, endpoint: Endpoint) -> bool {
    match status::fate(n) {
        Fate::Dropped => false,
        Fate::Sent => endpoint != Endpoint::Alerts,
        Fate::Failure => true,
    }
}

impl State {
    fn enter(&mut self, n: u32, door: Door, arrival: &Arrival<'_>, transformed: bool) -> bool {
        let endpoint = arrival.endpoint;
        if !expected_of(n, endpoint) {
            self.counts.unexpected += 1;
            return true;
        }
        let entry = self.messages.entry(n).or_default();
        let tries = entry.tries.entry(endpoint).or_default();
        *tries += 1;
        if !std::mem::replace(&mut entry.arrived, true)
            && let Some(sent) = entry.sent
        {
            let latency = arrival.at.duration_since(sent).as_secs_f64() * 1e3;
            self.passages.entry(door).or_default().latencies.push(latency);
        }
        entry.transformed |= transformed;
        if endpoint == Endpoint::Flaky && *tries <= REFUSALS {
            *self.counts.refused.entry(endpoint).or_default() += 1;
            return false;
        }
        let taken = entry.taken.entry(endpoint).or_default();
        *taken += 1;
        match *taken {
            1 => *self.counts.delivered.entry(endpoint).or_default() += 1,
            _ => self.counts.duplicated += 1,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrive(books: &Books, n: u32, endpoint: Endpoint) -> bool {
        let body = format!(r#"{{"messageId": "{}", "final": true}}"#, status::id(n));
        let at = crate::clock::instant();
        books.arrived(&Arrival { endpoint, verified: true, body: body.as_bytes(), at })
    }

    #[tokio::test]
    async fn what_is_missing_is_lost_and_what_comes_twice_is_a_duplicate() {
        let books = Books::default();
        for n in 0..3 {
            books.sent(n, crate::clock::instant());
            books.accepted(n);
            assert!(arrive(&books, n, Endpoint::All));
        }
        // 2 is a failure.
        assert_eq!(books.summary(3, 0, false).lost, 4);
        arrive(&books, 2, Endpoint::Alerts);
        for n in 0..3 {
            assert!(!arrive(&books, n, Endpoint::Flaky));
            assert!(!arrive(&books, n, Endpoint::Flaky));
            assert!(arrive(&books, n, Endpoint::Flaky));
        }
        books.complete(3).await;
        let summary = books.summary(3, 0, false);
        assert!(summary.is_good(), "{summary:?}");
        assert_eq!((summary.delivered, summary.retried, summary.transformed), (7, 6, 3));
        arrive(&books, 0, Endpoint::All);
        assert_eq!(books.summary(3, 0, true).duplicated, 1);
        arrive(&books, 0, Endpoint::Alerts);
        assert!(!books.summary(3, 0, false).is_good(), "number 0 is no failure");
    }

    #[tokio::test]
    async fn what_goes_through_a_door_is_counted_there() {
        let books = Books::new(Doors::All);
        let start = crate::clock::instant();
        // 0 and 2 go over HTTP, 1 is a request, and 3 goes to the stream, at the second try.
        for n in [0, 1, 2, 3, 3] {
            books.sent(n, start);
        }
        [0, 1, 3, 3].into_iter().for_each(|n| books.accepted(n));
        let body = format!(r#"{{"messageId": "{}"}}"#, status::id(3));
        for (endpoint, ms) in [(Endpoint::All, 20), (Endpoint::Flaky, 900)] {
            let at = start + std::time::Duration::from_millis(ms);
            books.arrived(&Arrival { endpoint, verified: true, body: body.as_bytes(), at });
        }
        let of = |door| {
            let Traffic { sent, again, accepted, p50_ms, p99_ms, .. } = books.traffic(door);
            (sent, again, accepted, p50_ms, p99_ms)
        };
        assert_eq!(of(Door::Http), (2, 0, 1, 0.0, 0.0));
        assert_eq!(of(Door::Request), (1, 0, 1, 0.0, 0.0));
        assert_eq!(of(Door::Stream), (1, 1, 1, 20.0, 20.0), "the first arrival counts");
        let names: Vec<_> = books.summary(4, 0, false).doors.iter().map(|door| door.name).collect();
        assert_eq!(names, ["http", "request", "stream"]);
    }
}
