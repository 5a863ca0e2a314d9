//! Lanes follow the catalog, and go when they are idle and what they know counts no more.

use super::{IDLE, LOOK, Lanes, application::leaves_room, limits, timers::Wake};
use crate::deliver::{health::Health, lane::Lane};
use crate::model::{
    catalog::Snapshot,
    delivery::Delivery,
    endpoint::{Endpoint, Order},
    health::Health as Shown,
    id::{ApplicationId, EndpointId},
};
use std::{sync::Arc, time::Instant};

impl Lanes {
    /// The endpoint's lane, if it has one. Whoever changes it lets an attempt end afterwards: the lane goes on with that.
    pub fn lane(&mut self, id: EndpointId) -> Option<&mut Lane> {
        self.lanes.get_mut(&id).map(|entry| &mut entry.lane)
    }

    /// Does that with the endpoint's lane, which is made if there is none.
    pub fn at(
        &mut self,
        catalog: &Snapshot,
        endpoint: &Endpoint,
        change: impl FnOnce(&mut Lane),
        now: Instant,
    ) {
        let entry = self.entry(catalog, endpoint.id, endpoint.application, now);
        change(&mut entry.lane);
        self.count(endpoint.id, now);
    }

    /// How the endpoint is: as its lane knows, or as nothing is known of it.
    #[must_use]
    pub fn health(&self, endpoint: &Endpoint, now: Instant) -> Shown {
        let limits = limits(&self.rules, Some(endpoint));
        let known = self.lanes.get(&endpoint.id).map(|entry| &entry.lane.health);
        match known.filter(|known| known.renewed() == limits.renewed) {
            Some(known) => known.shown(now),
            None => Health::new(limits.renewed, limits.in_flight).shown(now),
        }
    }

    /// Lanes follow the catalog: changed limits count at once, and what is disabled or gone is emptied; what was in it.
    #[must_use]
    pub fn follow(&mut self, catalog: &Snapshot, now: Instant) -> Vec<Arc<Delivery>> {
        let mut concerned = Vec::new();
        for (id, application) in &mut self.applications {
            if application.follow(catalog.tenant(*id), now) {
                concerned.push((*id, application.lanes.clone()));
            }
        }
        let mut cleared = Vec::new();
        for (application, lanes) in concerned {
            for id in lanes {
                let endpoint = catalog.endpoint(id).map(Arc::as_ref);
                let limits = limits(&self.rules, endpoint);
                let share = self.share();
                let Some(entry) = self.lanes.get_mut(&id) else { continue };
                match endpoint.filter(|endpoint| endpoint.enabled) {
                    Some(endpoint) => {
                        // It may have been disabled in between, and what waited has ended then.
                        let is_renewed = limits.renewed != entry.lane.limits().renewed;
                        entry.lane.set_limits(limits, now);
                        let keeps = endpoint.order != Order::None && is_renewed;
                        if endpoint.order != entry.lane.order() || keeps {
                            self.over.extend(entry.lane.set_order(endpoint.order, share));
                            self.orders += 1;
                            entry.orders = self.orders;
                            if endpoint.order != Order::None {
                                self.learners.push_back((id, self.orders));
                            }
                        }
                    }
                    None => cleared.extend(entry.lane.clear()),
                }
                self.count(id, now);
                if endpoint.is_none() {
                    // Its id is never used again.
                    self.remove(id);
                }
            }
            self.take_turns(application);
            self.forget_application(application, now);
        }
        cleared
    }

    /// Lanes go that have had nothing to do since they were last looked at.
    pub(super) fn look(&mut self, now: Instant) {
        while let Some((_, id)) = self.ages.pop_front_if(|(at, _)| *at <= now) {
            let Some(entry) = self.lanes.get_mut(&id) else { continue };
            let used = std::mem::take(&mut entry.used);
            let application = entry.application;
            match !used && entry.lane.is_idle(now) && self.may_forget(application, now) {
                true => {
                    self.remove(id);
                    self.forget_application(application, now);
                }
                false => self.ages.push_back((now + IDLE, id)),
            }
        }
        if let Some((next, _)) = self.ages.front() {
            self.timers.add((*next).max(now + LOOK), Wake::Ages);
        }
    }

    /// Whether nothing would be lost if the application lost a lane, which may be its last.
    fn may_forget(&self, id: ApplicationId, now: Instant) -> bool {
        let application = self.applications.get(&id);
        application.is_none_or(|of| of.lanes.len() > 1 || of.is_rested(now))
    }

    /// Applications that left what was free to others have turns again, now that more is.
    pub(super) fn readmit(&mut self) {
        let free = self.free();
        for _ in 0..self.crowding.len() {
            let Some(id) = self.crowding.pop_front() else { return };
            let Some(application) = self.applications.get_mut(&id) else { continue };
            application.crowds = !leaves_room(application.in_flight, free);
            match application.crowds {
                true => self.crowding.push_back(id),
                false => self.take_turns(id),
            }
        }
    }

    fn remove(&mut self, id: EndpointId) {
        let Some(mut entry) = self.lanes.remove(&id) else { return };
        self.timers.unset(&mut entry.timer, Wake::Lane(id));
        if let Some(application) = self.applications.get_mut(&entry.application) {
            application.lanes.retain(|lane| *lane != id);
            application.ready.retain(|lane| *lane != id);
        }
    }

    /// An application without lanes is forgotten.
    pub(super) fn forget_application(&mut self, id: ApplicationId, now: Instant) {
        let Some(application) = self.applications.get_mut(&id) else { return };
        if application.lanes.is_empty() && application.in_flight == 0 && application.is_rested(now)
        {
            self.timers.unset(&mut application.timer, Wake::Application(id));
            self.applications.remove(&id);
        }
    }
}
