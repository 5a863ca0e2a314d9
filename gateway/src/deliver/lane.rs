//! A lane: one endpoint's queue with its limits. Pure: time comes in as a value, and what to do comes out.
//!
//! A lane keeps a window of deliveries in memory. When the window is full, what comes is set aside in the store, and
//! from then on everything is, so that the order stays; when half the window is worked off, the lane asks for more.

use super::limit::Limiter;
use crate::{
    invariant::{Invariant, check},
    model::{Millis, delivery::Delivery, endpoint::RateLimit},
};
use std::{collections::VecDeque, sync::Arc, time::Instant};

/// How many deliveries a lane keeps in memory.
pub const WINDOW: usize = 1000;
/// How many bytes of them, unless it is one.
pub const BYTES: usize = 8 << 20;

/// A lane's limits, from its endpoint and the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many requests may start in a time.
    pub rate: Option<RateLimit>,
    /// How many may be under way at once.
    pub in_flight: usize,
}

/// One endpoint's queue.
#[derive(Debug)]
pub struct Lane {
    limits: Limits,
    limiter: Option<Limiter>,
    /// The slot that the first in the queue waits for.
    booked: Option<Instant>,
    queue: VecDeque<Arc<Delivery>>,
    /// Of the queue.
    bytes: usize,
    in_flight: usize,
    /// How many of `limits.in_flight` may be used, where the receiver was found to bear less.
    narrowed: Option<usize>,
    /// Nothing is sent before.
    paused: Option<Instant>,
    /// Whether the store may hold more.
    aside: bool,
    fetching: bool,
    /// Whether something was set aside since the last fetch began, which it may have missed.
    missed: bool,
    /// Until when a timer sleeps for this lane.
    timer: Option<Instant>,
}

/// What a lane wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Attempt this delivery now.
    Send(Arc<Delivery>),
    /// Ask again at this time.
    WakeAt(Instant),
    /// Fetch this many that were set aside.
    Fetch(usize),
    /// Nothing until something happens.
    Rest,
}

impl Lane {
    /// An empty lane; `aside` if the store holds deliveries for it.
    #[must_use]
    pub fn new(limits: Limits, aside: bool) -> Self {
        Self {
            limits,
            limiter: limits.rate.map(Limiter::new),
            booked: None,
            queue: VecDeque::new(),
            bytes: 0,
            in_flight: 0,
            narrowed: None,
            paused: None,
            aside,
            fetching: false,
            missed: false,
            timer: None,
        }
    }

    /// Takes a delivery, or gives it back to be set aside.
    #[must_use]
    pub fn offer(&mut self, delivery: Arc<Delivery>) -> Option<Arc<Delivery>> {
        if self.aside || self.queue.len() >= WINDOW || self.bytes >= BYTES {
            self.aside = true;
            self.missed = true;
            return Some(delivery);
        }
        self.bytes += delivery.bytes();
        self.queue.push_back(delivery);
        None
    }

    /// What to do now. Called again until it says `WakeAt` or `Rest`.
    #[must_use]
    pub fn step(&mut self, now: Instant) -> Step {
        let room = self.queue.len() <= WINDOW / 2 && self.bytes <= BYTES / 2;
        if self.aside && !self.fetching && room {
            self.fetching = true;
            self.missed = false;
            return Step::Fetch(WINDOW - self.queue.len());
        }
        if self.queue.is_empty() || self.in_flight >= self.in_flight_limit() {
            return Step::Rest;
        }
        if let Some(until) = self.paused.filter(|until| *until > now) {
            return self.wake_at(until);
        }
        self.paused = None;
        if let Some(limiter) = &mut self.limiter {
            let slot = *self.booked.get_or_insert_with(|| limiter.book(now));
            if slot > now {
                return self.wake_at(slot);
            }
            self.booked = None;
        }
        let Some(delivery) = self.queue.pop_front() else { return Step::Rest };
        self.bytes -= delivery.bytes();
        self.in_flight += 1;
        check(Invariant::InFlightWithinLimit, self.in_flight <= self.in_flight_limit(), || {
            format!("{} under way of {}", self.in_flight, self.in_flight_limit())
        });
        Step::Send(delivery)
    }

    /// One timer a lane: asked for again only if the time has changed.
    fn wake_at(&mut self, at: Instant) -> Step {
        match self.timer.replace(at) {
            Some(before) if before == at => Step::Rest,
            _ => Step::WakeAt(at),
        }
    }

    /// How many may be under way at once, as things are.
    #[must_use]
    pub fn in_flight_limit(&self) -> usize {
        self.narrowed.map_or(self.limits.in_flight, |most| most.clamp(1, self.limits.in_flight))
    }

    /// Of the endpoint's own limit so many may be used, from now on; at least one. None: all.
    pub fn set_in_flight(&mut self, most: Option<usize>) {
        self.narrowed = most;
    }

    /// Nothing is sent before that time, nor before one it was told earlier. What is under way ends as it would.
    pub fn pause_until(&mut self, at: Instant) {
        self.paused = self.paused.max(Some(at));
    }

    /// It is paused no more.
    pub fn resume(&mut self) {
        self.paused = None;
    }

    /// Those that are next and that it is too late to send: they take no slot.
    pub fn expired(&mut self, now: Millis) -> Vec<Arc<Delivery>> {
        let late = |first: &mut Arc<Delivery>| first.message.has_expired(now);
        let mut expired = Vec::new();
        while let Some(delivery) = self.queue.pop_front_if(late) {
            self.bytes -= delivery.bytes();
            expired.push(delivery);
        }
        expired
    }

    /// An attempt has ended.
    pub fn finished(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// What `Fetch` gave. Only when it gave nothing, and nothing was set aside meanwhile, is there no more: it may
    /// give less than was asked for, since what ended meanwhile is left out.
    pub fn fetched(&mut self, deliveries: Vec<Arc<Delivery>>) {
        self.fetching = false;
        self.aside = self.missed || !deliveries.is_empty();
        self.bytes += deliveries.iter().map(|delivery| delivery.bytes()).sum::<usize>();
        self.queue.extend(deliveries);
    }

    /// Fetching failed; ask again.
    pub fn not_fetched(&mut self) {
        self.fetching = false;
    }

    /// Takes over changed limits at once.
    pub fn set_limits(&mut self, limits: Limits) {
        if limits.rate != self.limits.rate {
            self.limiter = limits.rate.map(|rate| Limiter::going_on(rate, self.limiter.as_ref()));
            self.booked = None;
            self.timer = None;
        }
        self.limits = limits;
    }

    /// Empties the queue, when the endpoint is gone or disabled.
    #[must_use]
    pub fn clear(&mut self) -> Vec<Arc<Delivery>> {
        self.aside = false;
        self.booked = None;
        self.bytes = 0;
        self.queue.drain(..).collect()
    }

    /// How many wait in memory, and how many are under way.
    #[must_use]
    pub fn depths(&self) -> (usize, usize) {
        (self.queue.len(), self.in_flight)
    }
}

#[cfg(test)]
mod tests;
