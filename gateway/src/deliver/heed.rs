//! What the end of an attempt tells of its receiver is heeded: the endpoint's lane pauses, narrows or widens; what is to last
//! is kept; operators are warned of an endpoint that only fails, and in the end it is disabled.

use super::{
    Deliver, Options,
    health::{Ended, Health, Orders, Policy, Sign},
    lane::Lane,
};
use crate::{
    clock,
    model::{
        endpoint::Endpoint,
        health::{self, Disabled, Trouble},
        id::{EndpointId, MessageId},
        message::Message,
        notice,
    },
    store::HealthNote,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What an attempt tells.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// Of its receiver.
    pub sign: Sign,
    /// When it was sent.
    pub started: Instant,
    /// How long it took.
    pub took: Duration,
}

/// What is to be done beside the lane.
pub(super) struct FollowUp {
    orders: Orders,
    renewed: u64,
}

impl From<&Options> for Policy {
    fn from(options: &Options) -> Self {
        Self {
            longest_asked: options.retry.retry_after_max_seconds.saturating_mul(1000),
            breaker: options.breaker,
            adaptive: options.adaptive,
            disable_after: options.disable_after_seconds.saturating_mul(1000),
        }
    }
}

impl Deliver {
    /// An attempt of this lane told that, and is about to end; what is to be done beside, if anything.
    pub(super) fn heed(&self, lane: &mut Lane, told: Told) -> Option<FollowUp> {
        let Told { sign, started, took } = told;
        // Of what went well nothing is drawn.
        let chance = if sign == Sign::Good { 0.0 } else { clock::chance() };
        let (now, at, full) = (clock::instant(), clock::now(), lane.is_full());
        let ended = Ended { started, took, now, at, full, chance };
        let orders = lane.health.ended(&self.policy, sign, ended);
        lane.heed(now);
        if let Some(until) = orders.pause {
            lane.pause_until(until);
        }
        let is_something = orders.keep.is_some() || orders.disable;
        is_something.then(|| FollowUp { orders, renewed: lane.health.renewed() })
    }

    /// Keeps what is to last, tells operators, disables the endpoint: what its health ordered.
    pub(super) async fn follow_up(&self, id: EndpointId, follows: FollowUp) {
        let FollowUp { orders, renewed } = follows;
        if let Some(trouble) = orders.keep {
            let notice = if orders.warn { self.warning(id, &trouble) } else { None };
            self.queue.keep_health(HealthNote { endpoint: id, trouble, notice });
        }
        if orders.disable {
            self.disable(id, (Disabled::Failing, renewed)).await;
        }
    }

    /// That the endpoint will be disabled, for operators who listen.
    fn warning(&self, id: EndpointId, trouble: &Trouble) -> Option<Arc<Message>> {
        let catalog = self.catalog.snapshot();
        let endpoint = catalog.endpoint(id)?;
        let tenant = catalog.tenant(endpoint.application)?;
        let at = clock::now().saturating_add(self.policy.disable_after.div_ceil(2));
        tracing::warn!(endpoint = %id, failures = trouble.failures, "an endpoint only fails");
        let notice = notice::of_failing(tenant, endpoint, trouble, at)?;
        let listeners = notice::listeners(&catalog, endpoint.environment)?;
        notice.message(listeners, MessageId(clock::id()), clock::accepted()).map(Arc::new)
    }

    /// Endpoints that were not well when the process before this one ended are not well still.
    pub(super) async fn restore_health(&self) {
        let kept = match self.queue.troubles().await {
            Ok(kept) => kept,
            Err(error) => {
                tracing::error!(%error, "what was known of endpoints' health could not be read");
                return;
            }
        };
        let (now, at) = (clock::instant(), clock::now());
        let catalog = self.catalog.snapshot();
        let mut lanes = self.lanes();
        for (id, trouble) in kept {
            let Some(endpoint) = catalog.endpoint(id) else { continue };
            if endpoint.renewed != trouble.renewed {
                continue;
            }
            let restore = |lane: &mut Lane| {
                let of = (endpoint.renewed, lane.limits().in_flight);
                lane.health = Health::restored(of, trouble, &self.policy, (now, at));
                lane.heed(now);
                if let Some(left) = lane.health.left_alone(at) {
                    lane.pause_until(now + Duration::from_millis(left));
                }
            };
            lanes.at(&catalog, endpoint, restore, now);
        }
    }

    /// How the endpoint is.
    #[must_use]
    pub fn health(&self, endpoint: &Endpoint) -> health::Health {
        self.lanes().health(endpoint, clock::instant())
    }
}
