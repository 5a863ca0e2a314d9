//! An application, as far as its lanes share something: its rate limit, its turns and its places.

use super::{Limiter, Rules};
use crate::model::{catalog::Tenant, id::EndpointId};
use std::{collections::VecDeque, sync::Arc, time::Instant};

/// Whether an application that has so many requests under way may have another where so many places are free.
pub const fn leaves_room(application: usize, free: usize) -> bool {
    application < 3 * free
}

/// How many requests a lane may have under way, of those that are free, where its application has so many.
pub const fn may_have(free: usize, application: usize) -> usize {
    free.div_ceil(if application < free { 2 } else { 16 })
}

/// What the lanes of an application share.
#[derive(Debug)]
pub struct Application {
    /// As the lanes know it; none: it is gone.
    tenant: Option<Arc<Tenant>>,
    /// Its own limit.
    pub limiter: Option<Limiter>,
    /// Its lanes.
    pub lanes: Vec<EndpointId>,
    /// Those that may send, in turn.
    pub ready: VecDeque<EndpointId>,
    /// Whether it is among the applications that take turns.
    pub in_turn: bool,
    /// How many requests are under way to its endpoints.
    pub in_flight: usize,
    /// Whether it has so many that it leaves what is free to others.
    pub crowds: bool,
    /// Until when it waits for its next slot.
    pub timer: Option<Instant>,
}

impl Application {
    /// One without lanes.
    #[must_use]
    pub fn new(tenant: Option<&Arc<Tenant>>, rules: &Rules) -> Self {
        let limiter = tenant.and_then(|tenant| {
            let of = &tenant.application;
            of.rate_limit.map(|rate| rules.limiter(rate, of.created))
        });
        Self {
            limiter,
            tenant: tenant.cloned(),
            lanes: Vec::new(),
            ready: VecDeque::new(),
            in_turn: false,
            in_flight: 0,
            crowds: false,
            timer: None,
        }
    }

    /// Takes over the application as it is now; whether it was changed. A look at it costs next to nothing, since a
    /// change of the catalog makes a new one of each that it concerns, and of no other.
    pub fn follow(&mut self, tenant: Option<&Arc<Tenant>>, now: Instant) -> bool {
        let same = match (&self.tenant, tenant) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (old, new) => old.is_none() && new.is_none(),
        };
        if same {
            return false;
        }
        let rate = |tenant: Option<&Arc<Tenant>>| tenant?.application.rate_limit;
        let (old, new) = (rate(self.tenant.as_ref()), rate(tenant));
        if old != new {
            self.limiter = new.map(|rate| Limiter::going_on(rate, self.limiter.as_ref(), now));
        }
        self.tenant = tenant.cloned();
        true
    }

    /// Whether it knows nothing that a new one would not.
    #[must_use]
    pub fn is_rested(&self, now: Instant) -> bool {
        self.limiter.as_ref().is_none_or(|limiter| limiter.is_rested(now))
    }
}
