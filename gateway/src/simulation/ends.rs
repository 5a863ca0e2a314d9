//! What must have become of everything in the end.

use super::world::World;
use crate::model::{
    dead_letter::is_onward,
    delivery::{DeliveryKey, State},
    message::Held,
};
use std::collections::{BTreeMap, BTreeSet};

impl World {
    /// Nothing that was accepted is lost: each message has one delivery to each endpoint, which has ended; each dead
    /// letter that goes on went.
    pub(super) fn all_ended(&self) {
        let mut by_key: BTreeMap<DeliveryKey, State> = BTreeMap::new();
        for record in self.records() {
            by_key.extend(record.state.map(|state| (record.key, state)));
        }
        let mut lost = Vec::new();
        let mut dropped = BTreeSet::new();
        for (sequence, _, held) in self.held() {
            match held {
                Held::Dropped { .. } => drop(dropped.insert(sequence)),
                Held::Expired => {}
                held => lost.push(format!("{sequence:?} is {held:?} still")),
            }
        }
        for (sequence, (application, message)) in &self.accepted {
            let own: Vec<_> = self.endpoints.iter().filter(|(of, _)| of == application).collect();
            for (index, (_, endpoint)) in own.iter().enumerate() {
                let key = DeliveryKey { message: *sequence, ordinal: 0, endpoint: *endpoint };
                let state = by_key.get(&key).copied();
                let ended = state.map(State::is_final);
                // What expires before it is dispatched is for nobody.
                let expected = !self.disabled.contains(endpoint)
                    && message.expires_at.is_none()
                    && !dropped.contains(sequence);
                if ended == Some(false) || (ended.is_none() && expected) {
                    lost.push(format!("{key:?} is {state:?}"));
                }
                let onward = by_key.keys().any(|key| {
                    key.message == *sequence && key.endpoint == own[1].1 && is_onward(key.ordinal)
                });
                if index == 0 && state == Some(State::Failed) && !onward {
                    lost.push(format!("the dead letter {key:?} did not go on"));
                }
            }
        }
        let mut books = self.books.lock();
        books.trace.extend(by_key.iter().map(|(key, state)| format!("{key:?} {state:?}")));
        books.broken.extend(lost);
    }
}
