//! What lanes fetch of what was set aside, in turn, and what they learn of what waited before they kept an order.

use super::{FETCHES, Lanes, Step};
use crate::{
    deliver::lane::ordered::Fetch,
    model::{catalog::Snapshot, delivery::Delivery, id::EndpointId},
    store::Outstanding,
};
use std::{sync::Arc, time::Instant};

impl Lanes {
    /// The store holds deliveries for the endpoint.
    pub fn set_aside(&mut self, catalog: &Snapshot, id: EndpointId, now: Instant) {
        let Some(application) = catalog.endpoint(id).map(|endpoint| endpoint.application) else {
            return;
        };
        self.entry(catalog, id, application, now).lane.set_aside();
        self.stir(id, now);
    }

    /// What a fetch gave; none: it failed, and is to be tried again.
    pub fn fetched(
        &mut self,
        id: EndpointId,
        fetch: &Fetch,
        found: Option<Vec<Arc<Delivery>>>,
        now: Instant,
    ) {
        self.fetches = self.fetches.saturating_sub(1);
        let share = self.share();
        if let Some(entry) = self.lanes.get_mut(&id) {
            self.over.extend(entry.lane.fetched(fetch, found, share));
        }
        self.count(id, now);
    }

    /// What `Learn` gave, if the lane still keeps that order.
    pub fn learned(&mut self, id: EndpointId, count: u64, found: Vec<Outstanding>, now: Instant) {
        if let Some(entry) = self.lanes.get_mut(&id).filter(|entry| entry.orders == count) {
            entry.lane.learn(found);
        }
        self.count(id, now);
    }

    /// What has no room after other changes than `offer`: to be set aside.
    pub fn over(&mut self) -> Vec<Arc<Delivery>> {
        std::mem::take(&mut self.over)
    }

    /// The next to fetch, if not so many do already.
    pub(super) fn next_fetch(&mut self) -> Option<Step> {
        while self.fetches < FETCHES {
            let id = self.fetchers.pop_front()?;
            let share = self.share();
            let Some(entry) = self.lanes.get_mut(&id) else { continue };
            if let Some(fetch) = entry.lane.fetch(share) {
                self.fetches += 1;
                return Some(Step::Fetch(id, fetch));
            }
        }
        None
    }
}
