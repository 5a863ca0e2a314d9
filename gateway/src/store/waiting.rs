//! What waits: deliveries for their due time, deliveries for room in their lane, messages for another plugin call or for
//! room in their plugin.
//! Only keys are kept here (about 60 bytes each), and of times only the nearest ([`timers`]); what is due soon keeps its
//! delivery too, so that the immediate retry reads nothing back.

use crate::model::{
    Millis,
    delivery::{Delivery, DeliveryKey, Place},
    id::{ApplicationId, EndpointId},
    message::Sequence,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};
use timers::Timers;

pub mod ahead;
mod timers;

/// What is due within this time keeps its delivery in memory, in milliseconds.
const SOON: Millis = 10_000;
/// At most this many do, and as long as they are fewer bytes.
const KEPT: usize = 4096;
const KEPT_BYTES: usize = 32 << 20;

/// A delivery that is leased again: whole, or to be read by its key.
#[derive(Clone, Debug)]
pub enum Due {
    /// From memory.
    Whole(Arc<Delivery>),
    /// From disk.
    Key(DeliveryKey),
}

impl Due {
    /// Those that are whole, and the keys of the others.
    #[must_use]
    pub fn split(due: Vec<Self>) -> (Vec<Arc<Delivery>>, Vec<DeliveryKey>) {
        let (mut whole, mut keys) = (Vec::new(), Vec::new());
        for due in due {
            match due {
                Self::Whole(delivery) => whole.push(delivery),
                Self::Key(key) => keys.push(key),
            }
        }
        (whole, keys)
    }
}

/// The waiting rows' index.
#[derive(Debug, Default)]
pub struct Waiting {
    timers: Timers<DeliveryKey, Option<Arc<Delivery>>>,
    /// What is under way though its row waits, far ahead: until then.
    noted: HashMap<DeliveryKey, Millis>,
    kept: usize,
    kept_bytes: usize,
    aside: HashMap<EndpointId, Aside>,
    /// What is resent while it is under way: sent again if that fails.
    resent: HashSet<DeliveryKey>,
    messages: Timers<Sequence, ()>,
    /// Of those, what nobody may take while its row is changed.
    kept_messages: Vec<(Millis, Sequence)>,
    crowded: HashMap<ApplicationId, BTreeSet<Sequence>>,
}

/// One endpoint's deliveries that its lane had no room for, by their places.
#[derive(Debug, Default)]
struct Aside {
    /// They have rows, or they were taken before and put back, whole.
    first: BTreeMap<Place, Option<Arc<Delivery>>>,
    /// Those whose rows are being written.
    unwritten: BTreeMap<Place, Arc<Delivery>>,
}

impl Aside {
    fn len(&self) -> usize {
        self.first.len() + self.unwritten.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
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
        let keep = due <= now + SOON && self.kept < KEPT && self.kept_bytes < KEPT_BYTES;
        let delivery = delivery.filter(|_| keep);
        if let Some(delivery) = &delivery {
            self.kept += 1;
            self.kept_bytes += delivery.bytes();
        }
        for gone in self.timers.add(due, key, delivery, now) {
            self.kept_no_more(gone.as_deref());
        }
    }

    /// Ends a delivery's wait; whether it waited until then.
    pub fn remove_timer(&mut self, key: DeliveryKey, due: Millis) -> bool {
        if self.is_under_way(&key) {
            return false;
        }
        let (removed, waited) = self.timers.remove(due, key);
        self.kept_no_more(removed.flatten().as_deref());
        waited
    }

    /// Whether a delivery waits until then. One whose row does, and that has no timer, is under way.
    #[must_use]
    pub fn waits(&self, key: DeliveryKey, due: Millis) -> bool {
        let is_far = self.timers.is_far(due, key) && !self.is_under_way(&key);
        is_far || self.timers.has(due, key)
    }

    /// A delivery is due at `due`, instead of `before` if it waited; or once more when what is under way has failed.
    pub fn resend(&mut self, key: DeliveryKey, before: Option<Millis>, due: Millis, now: Millis) {
        if before.is_none_or(|before| self.remove_timer(key, before)) {
            self.resent.remove(&key);
            self.add_timer(key, due, None, now);
        } else {
            self.resent.insert(key);
            self.note(key, due);
        }
    }

    /// What is resent while it is under way.
    #[must_use]
    pub fn resent(&self) -> HashSet<DeliveryKey> {
        self.resent.clone()
    }

    /// What was under way is no more.
    pub fn settled(&mut self, key: DeliveryKey) {
        self.resent.remove(&key);
        self.noted.remove(&key);
    }

    fn kept_no_more(&mut self, delivery: Option<&Delivery>) {
        if let Some(delivery) = delivery {
            self.kept -= 1;
            self.kept_bytes -= delivery.bytes();
        }
    }

    /// A delivery waits for room in its lane; its row is being written.
    pub fn set_aside(&mut self, delivery: Arc<Delivery>) {
        let aside = self.aside.entry(delivery.key.endpoint).or_default();
        aside.unwritten.insert(delivery.place(), delivery);
    }

    /// The row of a delivery that was set aside is written: its key is enough from here on.
    pub fn aside_written(&mut self, key: DeliveryKey) {
        self.noted.remove(&key);
        // It may have been taken before its row was written.
        if let Some(aside) = self.written(key) {
            aside.first.insert(key.into(), None);
        }
    }

    /// A delivery that was set aside has ended instead: its endpoint is disabled or gone.
    pub fn aside_ended(&mut self, key: DeliveryKey) {
        let _taken = self.written(key);
        self.tidy_aside(key.endpoint);
    }

    /// Ends the wait for a row, if it is not taken.
    fn written(&mut self, key: DeliveryKey) -> Option<&mut Aside> {
        let aside = self.aside.get_mut(&key.endpoint)?;
        aside.unwritten.remove(&key.into())?;
        Some(aside)
    }

    fn tidy_aside(&mut self, endpoint: EndpointId) {
        if self.aside.get(&endpoint).is_some_and(Aside::is_empty) {
            self.aside.remove(&endpoint);
        }
    }

    /// A row on disk that waits for room in its lane.
    pub fn add_aside(&mut self, key: DeliveryKey) {
        self.aside.entry(key.endpoint).or_default().first.insert(key.into(), None);
    }

    /// What was taken could not be read: it is first again.
    pub fn put_aside_back(&mut self, endpoint: EndpointId, taken: Vec<Due>) {
        let aside = self.aside.entry(endpoint).or_default();
        aside.first.extend(taken.into_iter().map(|due| match due {
            Due::Whole(delivery) => (delivery.place(), Some(delivery)),
            Due::Key(key) => (key.into(), None),
        }));
        self.tidy_aside(endpoint);
    }

    /// A message waits for another plugin call.
    pub fn add_message(&mut self, sequence: Sequence, due: Millis, now: Millis) {
        self.messages.add(due, sequence, (), now);
    }

    /// Keeps a message that waits until then from being taken; whether it waits.
    pub fn keep_message(&mut self, sequence: Sequence, due: Millis) -> bool {
        let place = (due, sequence);
        // What is far ahead nobody takes meanwhile.
        if self.messages.is_far(due, sequence) {
            return true;
        }
        let (_, waits) = self.messages.remove(due, sequence);
        self.kept_messages.extend(waits.then_some(place));
        waits || self.kept_messages.contains(&place)
    }

    /// Messages may be taken again; whether there are any.
    pub fn free_messages(&mut self) -> bool {
        let kept = std::mem::take(&mut self.kept_messages);
        let some = !kept.is_empty();
        for (due, sequence) in kept {
            self.messages.put_back(due, sequence, ());
        }
        some
    }

    /// A message waits until its application's plugin has room.
    pub fn crowd(&mut self, application: ApplicationId, sequence: Sequence) {
        self.crowded.entry(application).or_default().insert(sequence);
    }

    /// Takes the application's crowded messages, oldest first.
    pub fn take_crowded(&mut self, application: ApplicationId, max: usize) -> Vec<Sequence> {
        let Some(crowded) = self.crowded.get_mut(&application) else { return Vec::new() };
        let taken = (0..max).map_while(|_| crowded.pop_first()).collect();
        if crowded.is_empty() {
            self.crowded.remove(&application);
        }
        taken
    }

    /// Forgets the application's crowded messages: which.
    pub fn remove_crowded(&mut self, application: ApplicationId) -> BTreeSet<Sequence> {
        self.crowded.remove(&application).unwrap_or_default()
    }

    /// Forgets a crowded message, if it still waits.
    pub fn uncrowd(&mut self, application: ApplicationId, sequence: Sequence) {
        if let Some(crowded) = self.crowded.get_mut(&application) {
            crowded.remove(&sequence);
            if crowded.is_empty() {
                self.crowded.remove(&application);
            }
        }
    }

    /// The applications that have crowded messages.
    #[must_use]
    pub fn applications_crowded(&self) -> Vec<ApplicationId> {
        self.crowded.keys().copied().collect()
    }

    /// Takes deliveries that are due, at most `max`.
    pub fn due(&mut self, now: Millis, max: usize) -> Vec<Due> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some((key, delivery)) = self.timers.pop(now)
        {
            self.kept_no_more(delivery.as_deref());
            taken.push(delivery.map_or(Due::Key(key), Due::Whole));
        }
        taken
    }

    /// What was due and taken could not be read: it is due now.
    pub fn put_back(&mut self, keys: &[DeliveryKey], now: Millis) {
        keys.iter().for_each(|key| self.timers.put_back(now, *key, None));
    }

    /// Takes messages that are due, at most `max`.
    pub fn due_messages(&mut self, now: Millis, max: usize) -> Vec<Sequence> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some((sequence, ())) = self.messages.pop(now)
        {
            taken.push(sequence);
        }
        taken
    }

    /// What was due and taken could not be read: it is due now.
    pub fn put_messages_back(&mut self, messages: &[Sequence], now: Millis) {
        messages.iter().for_each(|sequence| self.messages.put_back(now, *sequence, ()));
    }

    /// When the next delivery is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        self.timers.first()
    }

    /// When the next message is due.
    #[must_use]
    pub fn next_message(&self) -> Option<Millis> {
        self.messages.first()
    }

    /// Takes what was set aside for the endpoint, oldest first.
    pub fn take_aside(&mut self, endpoint: EndpointId, max: usize) -> Vec<Due> {
        let Some(aside) = self.aside.get_mut(&endpoint) else { return Vec::new() };
        let first = std::iter::from_fn(|| aside.first.pop_first()).take(max);
        let due = |(place, whole): (Place, Option<Arc<Delivery>>)| {
            whole.map_or(Due::Key(place.at(endpoint)), Due::Whole)
        };
        let mut taken: Vec<Due> = first.map(due).collect();
        let room = max - taken.len();
        let unwritten = std::iter::from_fn(|| aside.unwritten.pop_first()).take(room);
        taken.extend(unwritten.map(|(_, delivery)| Due::Whole(delivery)));
        self.tidy_aside(endpoint);
        taken
    }

    /// Takes those of what was set aside for the endpoint, as far as they are there.
    pub fn take_places(&mut self, endpoint: EndpointId, places: &[Place]) -> Vec<Due> {
        let Some(aside) = self.aside.get_mut(&endpoint) else { return Vec::new() };
        let take = |place: &Place| match aside.first.remove(place) {
            Some(whole) => Some(whole.map_or(Due::Key(place.at(endpoint)), Due::Whole)),
            None => aside.unwritten.remove(place).map(Due::Whole),
        };
        let taken = places.iter().filter_map(take).collect();
        self.tidy_aside(endpoint);
        taken
    }

    /// Whether it was set aside, and not taken.
    #[must_use]
    pub fn is_aside(&self, key: DeliveryKey) -> bool {
        let (aside, place) = (self.aside.get(&key.endpoint), Place::from(key));
        aside.is_some_and(|of| of.first.contains_key(&place) || of.unwritten.contains_key(&place))
    }

    /// The endpoints that have something set aside, oldest first.
    #[must_use]
    pub fn endpoints_aside(&self) -> Vec<EndpointId> {
        let mut endpoints: Vec<_> = self.aside.keys().copied().collect();
        endpoints.sort_unstable();
        endpoints
    }

    /// Forgets the rows of these endpoints, of which so many were far ahead or under way. What is not written yet stays
    /// until it is.
    pub fn remove_endpoints(&mut self, endpoints: &[EndpointId], far: u64) {
        if endpoints.is_empty() {
            return;
        }
        self.timers.retain(|key| !endpoints.contains(&key.endpoint));
        let noted = self.noted.extract_if(|key, _| endpoints.contains(&key.endpoint)).count();
        self.timers.end_far(i64::try_from(far).unwrap_or(0) - noted as i64);
        self.resent.retain(|key| !endpoints.contains(&key.endpoint));
        self.kept = self.timers.values().flatten().count();
        self.kept_bytes = self.timers.values().flatten().map(|delivery| delivery.bytes()).sum();
        for endpoint in endpoints {
            if let Some(aside) = self.aside.get_mut(endpoint) {
                aside.first.clear();
            }
            self.tidy_aside(*endpoint);
        }
    }

    /// Forgets a message that was due then.
    pub fn remove_message(&mut self, sequence: Sequence, due: Millis) {
        let _waited = self.messages.remove(due, sequence);
    }

    /// Deliveries with a due time, deliveries set aside, messages that are due or crowded, and those that are due later.
    #[must_use]
    pub fn depths(&self, now: Millis) -> (u64, u64, u64, u64) {
        let aside: usize = self.aside.values().map(Aside::len).sum();
        let crowded: usize = self.crowded.values().map(BTreeSet::len).sum();
        let due = self.messages.due(now);
        let later = self.messages.len() - due;
        (self.timers.len(), aside as u64, due + crowded as u64, later)
    }
}

#[cfg(test)]
mod tests;
