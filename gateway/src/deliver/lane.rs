//! A lane: one endpoint's queue with its limits. Pure: time comes in as a value, and whether something may be sent comes
//! out. What is in memory of the queue is its [`window`]; when it is a lane's turn, [`Lanes`](super::lanes::Lanes) says.

use super::{health::Health, limit::Limiter};
use crate::{
    invariant::{Invariant, check},
    model::{Millis, delivery::Delivery, endpoint::RateLimit},
};
use order::Chains;
use std::{sync::Arc, time::Instant};
use window::Window;

pub mod window;
pub mod order;
pub mod ordered;

/// A lane's limits, from its endpoint and the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many requests may start in a time.
    pub rate: Option<RateLimit>,
    /// How many may be under way at once.
    pub in_flight: usize,
    /// From which of the endpoint's revisions on its health is judged.
    pub renewed: u64,
}

/// One endpoint's queue.
#[derive(Debug)]
pub struct Lane {
    limits: Limits,
    limiter: Option<Limiter>,
    window: Window,
    /// Of an endpoint that asks for an order.
    chains: Option<Box<Chains>>,
    /// What was counted of what is in memory, in deliveries and in bytes.
    counted: (usize, usize),
    in_flight: usize,
    /// Nothing is sent before.
    paused: Option<Instant>,
    /// What its attempts tell of the receiver. Kept here, since it counts with every attempt's end.
    pub health: Health,
}

/// Whether a lane has something to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Now.
    Now,
    /// Not before this time.
    At(Instant),
    /// Not until something happens.
    No,
}

impl Lane {
    /// An empty lane, with the limiter of its rate.
    #[must_use]
    pub fn new(limits: Limits, limiter: Option<Limiter>) -> Self {
        Self {
            limits,
            limiter,
            window: Window::default(),
            chains: None,
            counted: (0, 0),
            in_flight: 0,
            paused: None,
            health: Health::new(limits.renewed, limits.in_flight),
        }
    }

    /// Takes a delivery, or gives it back to be set aside. It may have `share` bytes of the memory of all lanes.
    #[must_use]
    pub fn offer(&mut self, delivery: Arc<Delivery>, share: usize) -> Option<Arc<Delivery>> {
        match self.chains {
            None => self.window.offer(delivery, share),
            Some(_) => self.offer_in_order(delivery, share),
        }
    }

    /// The store holds something for it.
    pub fn set_aside(&mut self) {
        self.window.set_aside();
    }

    /// Whether it has something to send, and may.
    #[must_use]
    pub fn ready(&mut self, now: Instant) -> Ready {
        if self.window.is_empty() || self.is_full() {
            return Ready::No;
        }
        let paused = self.paused.unwrap_or(now);
        let slot = self.limiter.as_mut().map_or(now, |limiter| limiter.slot(now));
        match paused.max(slot) {
            at if at > now => Ready::At(at),
            _ => Ready::Now,
        }
    }

    /// Takes the next, to send it now: it is ready.
    pub fn take(&mut self, now: Instant) -> Option<Arc<Delivery>> {
        let delivery = self.window.pop()?;
        self.paused = None;
        if let Some(limiter) = &mut self.limiter {
            limiter.take(now);
        }
        self.in_flight += 1;
        let limit = self.in_flight_limit();
        check(Invariant::InFlightWithinLimit, self.in_flight <= limit, || {
            format!("{} under way of {limit}", self.in_flight)
        });
        Some(delivery)
    }

    /// The next, if it is too late to send it: it takes no slot.
    pub fn expired(&mut self, now: Millis) -> Option<Arc<Delivery>> {
        let late = self.window.expired(now)?;
        self.ended(&late, true);
        Some(late)
    }

    /// An attempt has ended, and with it the delivery if it `ends`: else it comes again.
    pub fn finished(&mut self, delivery: &Delivery, ends: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.ended(delivery, ends);
    }

    fn ended(&mut self, delivery: &Delivery, ends: bool) {
        let next = self.chains.as_mut().and_then(|chains| chains.finished(delivery, ends));
        next.into_iter().for_each(|next| self.window.push(next));
    }

    /// By how much what is in memory has grown or shrunk, in deliveries and in bytes, since this was last asked.
    pub fn uncounted(&mut self) -> (isize, isize) {
        let (count, bytes) = self.window.size();
        let now = (count, bytes + self.chains.as_ref().map_or(0, |chains| chains.bytes()));
        let before = std::mem::replace(&mut self.counted, now);
        (now.0.cast_signed() - before.0.cast_signed(), now.1.cast_signed() - before.1.cast_signed())
    }

    /// How many are under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many may be under way at once, as things are: as many as are good for the receiver.
    #[must_use]
    pub fn in_flight_limit(&self) -> usize {
        self.health.in_flight().clamp(1, self.limits.in_flight.max(1))
    }

    /// Whether as many are under way as may be.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.in_flight >= self.in_flight_limit()
    }

    /// Its limits.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Does what its health says: nothing is sent before the receiver may be asked.
    pub fn heed(&mut self, now: Instant) {
        if let Some(until) = self.health.open_until(now) {
            self.pause_until(until);
        }
    }

    /// Nothing is sent before that time, nor before one it was told earlier. What is under way ends as it would.
    pub fn pause_until(&mut self, at: Instant) {
        self.paused = self.paused.max(Some(at));
    }

    /// It is paused no more.
    pub fn resume(&mut self) {
        self.paused = None;
    }

    /// Takes over changed limits at once.
    pub fn set_limits(&mut self, limits: Limits, now: Instant) {
        if limits.rate != self.limits.rate {
            self.limiter =
                limits.rate.map(|rate| Limiter::going_on(rate, self.limiter.as_ref(), now));
        }
        if self.health.set(limits.renewed, limits.in_flight) {
            self.resume();
        }
        self.limits = limits;
    }

    /// Whether it is as good as a new one: there is nothing to send, and what it knows of before counts no more.
    #[must_use]
    pub fn is_idle(&self, now: Instant) -> bool {
        let rested = self.limiter.as_ref().is_none_or(|limiter| limiter.is_rested(now));
        let paused = self.paused.is_some_and(|until| until > now);
        let chained = self.chains.as_ref().is_some_and(|chains| !chains.is_empty());
        self.window.is_idle()
            && !chained
            && self.in_flight == 0
            && rested
            && !paused
            && self.health.is_plain()
    }
}

#[cfg(test)]
mod tests;
