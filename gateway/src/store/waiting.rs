//! What waits: deliveries for their due time, deliveries for room in their lane, messages for another plugin call.
//! Only keys are kept here (about 60 bytes each); what is due soon keeps its delivery too, so that the immediate retry
//! reads nothing back.

use crate::model::{
    Millis,
    delivery::{Delivery, DeliveryKey},
    id::EndpointId,
    message::Sequence,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

/// What is due within this time keeps its delivery in memory, in milliseconds.
const SOON: Millis = 10_000;
/// At most this many do.
const KEPT: usize = 4096;

/// A delivery that is leased again: whole, or to be read by its key.
#[derive(Clone, Debug)]
pub enum Due {
    /// From memory.
    Whole(Arc<Delivery>),
    /// From disk.
    Key(DeliveryKey),
}

/// The waiting rows' index.
#[derive(Debug, Default)]
pub struct Waiting {
    timers: BTreeMap<(Millis, DeliveryKey), Option<Arc<Delivery>>>,
    kept: usize,
    aside: HashMap<EndpointId, Aside>,
    messages: BTreeSet<(Millis, Sequence)>,
}

/// One endpoint's deliveries that its lane had no room for, oldest first.
#[derive(Debug, Default)]
struct Aside {
    /// They have rows.
    written: VecDeque<DeliveryKey>,
    /// Younger ones, whose rows are being written.
    unwritten: VecDeque<Arc<Delivery>>,
}

impl Waiting {
    /// A delivery's row waits for its due time.
    pub fn add_timer(
        &mut self,
        key: DeliveryKey,
        due: Millis,
        delivery: Option<Arc<Delivery>>,
        now: Millis,
    ) {
        let keep = due <= now + SOON && self.kept < KEPT;
        let delivery = delivery.filter(|_| keep);
        self.kept += usize::from(delivery.is_some());
        self.timers.insert((due, key), delivery);
    }

    /// A delivery waits for room in its lane; its row is being written.
    pub fn set_aside(&mut self, delivery: Arc<Delivery>) {
        self.aside.entry(delivery.key.endpoint).or_default().unwritten.push_back(delivery);
    }

    /// The row of a delivery that was set aside is written: its key is enough from here on.
    pub fn aside_written(&mut self, key: DeliveryKey) {
        let Some(aside) = self.aside.get_mut(&key.endpoint) else { return };
        // It may have been taken before its row was written.
        if aside.unwritten.front().is_some_and(|first| first.key == key) {
            aside.unwritten.pop_front();
            aside.written.push_back(key);
        }
    }

    /// A row on disk that waits for room in its lane.
    pub fn add_aside(&mut self, key: DeliveryKey) {
        self.aside.entry(key.endpoint).or_default().written.push_back(key);
    }

    /// A message waits for another plugin call.
    pub fn add_message(&mut self, sequence: Sequence, due: Millis) {
        self.messages.insert((due, sequence));
    }

    /// Takes deliveries that are due, at most `max`.
    pub fn due(&mut self, now: Millis, max: usize) -> Vec<Due> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(first) = self.timers.first_entry()
            && first.key().0 <= now
        {
            let ((_, key), delivery) = first.remove_entry();
            self.kept -= usize::from(delivery.is_some());
            taken.push(delivery.map_or(Due::Key(key), Due::Whole));
        }
        taken
    }

    /// Takes messages that are due, at most `max`.
    pub fn due_messages(&mut self, now: Millis, max: usize) -> Vec<Sequence> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(first) = self.messages.first()
            && first.0 <= now
        {
            taken.extend(self.messages.pop_first().map(|(_, sequence)| sequence));
        }
        taken
    }

    /// When the next delivery is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        self.timers.first_key_value().map(|((due, _), _)| *due)
    }

    /// When the next message is due.
    #[must_use]
    pub fn next_message(&self) -> Option<Millis> {
        self.messages.first().map(|(due, _)| *due)
    }

    /// Takes what was set aside for the endpoint, oldest first.
    pub fn take_aside(&mut self, endpoint: EndpointId, max: usize) -> Vec<Due> {
        let Some(aside) = self.aside.get_mut(&endpoint) else { return Vec::new() };
        let written = max.min(aside.written.len());
        let unwritten = (max - written).min(aside.unwritten.len());
        let keys = aside.written.drain(..written).map(Due::Key);
        let taken = keys.chain(aside.unwritten.drain(..unwritten).map(Due::Whole)).collect();
        if aside.written.is_empty() && aside.unwritten.is_empty() {
            self.aside.remove(&endpoint);
        }
        taken
    }

    /// The endpoints that have something set aside.
    #[must_use]
    pub fn endpoints_aside(&self) -> Vec<EndpointId> {
        self.aside.keys().copied().collect()
    }

    /// Forgets everything of an endpoint.
    pub fn remove_endpoint(&mut self, endpoint: EndpointId) {
        self.timers.retain(|(_, key), _| key.endpoint != endpoint);
        self.kept = self.timers.values().flatten().count();
        self.aside.remove(&endpoint);
    }

    /// Deliveries with a due time, deliveries set aside, messages.
    #[must_use]
    pub fn depths(&self) -> (u64, u64, u64) {
        let aside: usize = self.aside.values().map(|a| a.written.len() + a.unwritten.len()).sum();
        (self.timers.len() as u64, aside as u64, self.messages.len() as u64)
    }
}
