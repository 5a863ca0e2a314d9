//! The receivers of a simulation: each endpoint's does what it is in the mood for, and notes what comes.

use super::books::Shared;
use crate::{
    clock::simulated,
    deliver::Deliver,
    model::{
        attempt::{Answer, Failure, Outcome},
        delivery::Delivery,
        endpoint::Endpoint,
        id::EndpointId,
    },
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

/// How long the gateway waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What a receiver does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Answers soon, and well.
    #[default]
    Well,
    /// Answers late.
    Slow,
    /// Answers with an error.
    Bad(u16),
    /// Is too busy, and says until when, in seconds.
    Busy(u16, Option<u64>),
    /// Never answers.
    Hangs,
    /// Breaks the connection.
    Resets,
    /// Any of these.
    Moody,
}

/// All receivers.
pub struct Receivers {
    pub books: Shared,
    /// What sends to them, which says how many requests it would have under way.
    sender: Mutex<Weak<Deliver>>,
    moods: Mutex<BTreeMap<EndpointId, Mood>>,
}

/// A request under way, until it is dropped.
struct UnderWay<'r>(&'r Receivers, EndpointId);

impl fmt::Debug for Receivers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receivers").finish_non_exhaustive()
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.books.lock().over(self.1);
    }
}

fn draw(below: u64) -> u64 {
    simulated::draw(0..below).unwrap_or_default()
}

impl Mood {
    /// One of them.
    pub fn drawn() -> Self {
        match draw(14) {
            0..=3 => Self::Well,
            4 => Self::Slow,
            5 => Self::Bad(500),
            6 => Self::Bad(404),
            7 => Self::Busy(503, Some(draw(120))),
            8 => Self::Busy(429, None),
            9 => Self::Hangs,
            10 => Self::Resets,
            11 if draw(4) == 0 => Self::Bad(410),
            _ => Self::Moody,
        }
    }

    /// How long it takes, and what comes of it.
    fn answer(self) -> (Duration, Outcome) {
        let answered = |status, seconds: Option<u64>| {
            let retry_after = seconds.map(|seconds| seconds * 1000);
            Outcome::Answered(Answer { status, retry_after, ..Answer::default() })
        };
        let failed = |class| Outcome::Failed { class, detail: "as drawn".to_owned() };
        let soon = Duration::from_millis(1 + draw(20));
        match self {
            Self::Well => (soon, answered(200, None)),
            Self::Slow => (Duration::from_millis(500 + draw(20_000)), answered(204, None)),
            Self::Bad(status) => (soon, answered(status, None)),
            Self::Busy(status, after) => (soon, answered(status, after)),
            Self::Hangs => (TIMEOUT, failed(Failure::Timeout)),
            Self::Resets => (soon, failed(Failure::Reset)),
            Self::Moody => match draw(6) {
                0..=2 => Self::Well.answer(),
                3 => Self::Slow.answer(),
                4 => Self::Bad(500).answer(),
                _ => Self::Resets.answer(),
            },
        }
    }
}

impl Receivers {
    pub fn new(books: Shared) -> Self {
        Self { books, sender: Mutex::default(), moods: Mutex::default() }
    }

    /// This sends to them from now on.
    pub fn watch(&self, sender: &Arc<Deliver>) {
        *self.sender.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(sender);
    }

    /// Notes how many requests may be under way to the endpoint at this moment, as the gateway has learnt.
    pub fn note_limit(&self, endpoint: &Endpoint) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(sender) = sender {
            let limit = sender.health(endpoint).in_flight_limit;
            self.books.lock().bears(endpoint.id, limit);
        }
    }

    /// From now on the endpoint's receiver does that.
    pub fn set(&self, endpoint: EndpointId, mood: Mood) {
        self.moods.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint, mood);
    }

    /// One try, in place of the wires.
    pub async fn send(&self, endpoint: &Endpoint, delivery: &Delivery) -> Outcome {
        self.note_limit(endpoint);
        self.books.lock().starts(endpoint, delivery);
        let under_way = UnderWay(self, endpoint.id);
        let mood = {
            let moods = self.moods.lock().unwrap_or_else(PoisonError::into_inner);
            moods.get(&endpoint.id).copied().unwrap_or_default()
        };
        let (time, outcome) = mood.answer();
        tokio::time::sleep(time).await;
        drop(under_way);
        // Before the gateway learns from it.
        self.note_limit(endpoint);
        self.books.lock().ends(delivery.key, &outcome);
        outcome
    }
}
