//! What waits far ahead, in rows alone: what of it is to be read when, and what is under way and must not be.

pub use super::timers::{PIECE, Place, Wanted};
use super::{Waiting, timers::Timers};
use crate::model::{Millis, delivery::DeliveryKey, message::Sequence};

/// What is to be read of what is far ahead.
#[derive(Clone, Copy, Debug)]
pub struct Ahead {
    /// Deliveries.
    pub deliveries: Option<Wanted<DeliveryKey>>,
    /// Messages.
    pub messages: Option<Wanted<Sequence>>,
}

/// What was read, and where what was not begins.
pub type Piece<K> = (Vec<(Millis, K)>, Place<K>);

/// What was read of that.
#[derive(Debug)]
pub struct Read {
    /// Deliveries.
    pub deliveries: Option<Piece<DeliveryKey>>,
    /// Messages.
    pub messages: Option<Piece<Sequence>>,
}

impl Waiting {
    /// What waited before the start: in rows alone, and not counted yet.
    #[must_use]
    pub fn of_before() -> Self {
        Self { timers: Timers::far(), messages: Timers::far(), ..Self::default() }
    }

    /// So many deliveries and messages waited for their time at the start.
    pub fn count(&mut self, deliveries: i64, messages: i64) {
        self.timers.count(deliveries);
        self.messages.count(messages);
    }

    /// What is to be read by now, if anything.
    #[must_use]
    pub fn wanted(&self, now: Millis) -> Option<Ahead> {
        let (deliveries, messages) = (self.timers.wanted(now), self.messages.wanted(now));
        (deliveries.is_some() || messages.is_some()).then_some(Ahead { deliveries, messages })
    }

    /// Takes what was read. What is under way does not wait.
    pub fn read(&mut self, read: Read) {
        if let Some((mut found, upto)) = read.deliveries {
            found.retain(|(_, key)| !self.is_under_way(key));
            self.timers.read(found.into_iter().map(|(due, key)| (due, key, None)), upto);
            // What stands before the horizon is under way if it is not here.
            let timers = &self.timers;
            self.noted.retain(|key, due| timers.is_far(*due, *key));
        }
        if let Some((found, upto)) = read.messages {
            self.messages.read(found.into_iter().map(|(due, key)| (due, key, ())), upto);
        }
    }

    /// Whether there is anything to be read, now or later.
    #[must_use]
    pub fn has_far(&self) -> bool {
        self.timers.has_far() || self.messages.has_far()
    }

    /// Where what is far ahead of deliveries begins.
    #[must_use]
    pub fn horizon(&self) -> Option<Place<DeliveryKey>> {
        self.timers.horizon()
    }

    /// A delivery is under way though its row waits until then.
    pub fn note(&mut self, key: DeliveryKey, due: Millis) {
        if self.timers.is_far(due, key) {
            self.noted.insert(key, due);
        }
    }

    pub(super) fn is_under_way(&self, key: &DeliveryKey) -> bool {
        self.noted.contains_key(key) || self.resent.contains(key)
    }
}
