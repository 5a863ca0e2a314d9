//! One attempt: signed, sent, its answer read and weighed, and what follows decided.

use super::{
    Deliver, decide,
    health::{self, Sign},
    heed::Told,
    payload,
    schedule::Rules,
};
use crate::{
    clock,
    invariant::{Invariant, check},
    model::{
        Millis,
        attempt::{Attempt, Failure, Meaning, Outcome},
        catalog::{Change, Conflict, Snapshot},
        delivery::{Delivery, Next},
        endpoint::Endpoint,
        health::Disabled,
        id::{ApplicationId, EndpointId, MessageId},
        message::Message,
        notice,
    },
    store::{Settlement, StoreError},
};
use futures_util::FutureExt;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

/// What became of a delivery that was its turn.
pub(super) struct Tried {
    /// What is recorded.
    pub(super) settlement: Settlement,
    /// Why its endpoint is to be disabled, if it is, and as of which `renewed`.
    pub(super) disable: Option<(Disabled, u64)>,
    /// What the attempt tells of the receiver; none: there was none.
    pub(super) told: Option<Told>,
}

impl Tried {
    /// There was no attempt.
    pub(super) const fn not(settlement: Settlement) -> Self {
        Self { settlement, disable: None, told: None }
    }
}

impl Deliver {
    /// The attempt.
    pub(super) async fn attempt_at(
        &self,
        endpoint: &Arc<Endpoint>,
        delivery: Arc<Delivery>,
    ) -> Tried {
        check(
            Invariant::StaysInApplication,
            endpoint.application == delivery.message.application,
            || format!("a delivery of {} is bound for {}", delivery.message.id, endpoint.id),
        );
        let start = clock::instant();
        let at = clock::now();
        // A fault of ours must not hold the lane's place for ever: it is an outcome like any other.
        let sent = AssertUnwindSafe(self.send(endpoint, &delivery, at / 1000));
        let outcome = sent.catch_unwind().await.unwrap_or_else(|_| Outcome::Failed {
            class: Failure::Internal,
            detail: "the gateway failed while sending; its log says why".into(),
        });
        let took = clock::instant().saturating_duration_since(start);
        let attempt = Attempt {
            number: delivery.attempts + 1,
            at,
            latency: u32::try_from(took.as_millis()).unwrap_or(u32::MAX),
            revision: Some(endpoint.revision),
            outcome,
        };
        let now = clock::now();
        let number = attempt.number - delivery.spent;
        let said = self.classified(endpoint, &delivery, number, &attempt.outcome).await;
        let meaning = said.or_else(|| decide::usual_meaning(&attempt.outcome));
        let (next, sign) = self.decide(endpoint, &attempt, meaning, number, now);
        let next = next.unless_expired(&delivery.message);
        self.meters.seconds.record(took.as_secs_f64());
        if next == Next::Delivered {
            self.meters.delivered.increment(1);
            let since = Duration::from_millis(now.saturating_sub(delivery.message.accepted));
            self.meters.arrival.record(since.as_secs_f64());
        } else {
            self.meters.failed.increment(1);
            note_failure(&delivery, &attempt, next);
        }
        let notice = self.notice(endpoint, &delivery, &attempt, number, next);
        let settlement = Settlement { delivery, attempt: Some(attempt), next, notice };
        let told = Some(Told { sign, started: start, took });
        let why = if said.is_some() { Disabled::Classifier } else { Disabled::Gone };
        let disable = (meaning == Some(Meaning::Disable)).then_some((why, endpoint.renewed));
        Tried { settlement, disable, told }
    }

    /// What follows where the gateway itself came to harm: it is not known whether the request was made, nor what was answered,
    /// so that it counts as an attempt that failed, and whatever harms us does so as often as the schedule says.
    pub(super) fn harmed(&self, delivery: Arc<Delivery>) -> Settlement {
        let (now, catalog) = (clock::now(), self.catalog.snapshot());
        let endpoint = catalog.endpoint(delivery.key.endpoint);
        let rules = self.rules(&catalog, delivery.message.application, endpoint.map(Arc::as_ref));
        let (attempt, next) = decide::harmed(&delivery, &rules, now, clock::chance());
        self.meters.failed.increment(1);
        note_failure(&delivery, &attempt, next);
        let number = attempt.number - delivery.spent;
        let notice = || self.notice(endpoint?, &delivery, &attempt, number, next);
        // Perhaps it is this that harms us.
        let notice = catch_unwind(AssertUnwindSafe(notice)).unwrap_or_default();
        Settlement { delivery, attempt: Some(attempt), next, notice }
    }

    /// Signs and sends. What a signer fails at is sent to nobody.
    async fn send(&self, endpoint: &Arc<Endpoint>, delivery: &Delivery, seconds: u64) -> Outcome {
        let signed = match &endpoint.signer {
            None => None,
            Some(name) => {
                let body = payload::payload(endpoint, delivery);
                match self.guests.sign(name, endpoint, delivery, body, seconds).await {
                    Ok(headers) => Some(headers),
                    Err(detail) => return Outcome::Failed { class: Failure::Signer, detail },
                }
            }
        };
        self.wires.send(&*self.catalog, endpoint, delivery, seconds, signed.as_deref()).await
    }

    /// What follows the attempt, by what endpoint, application and configuration say of retries, and what it says of the
    /// receiver.
    fn decide(
        &self,
        endpoint: &Endpoint,
        attempt: &Attempt,
        meaning: Option<Meaning>,
        number: u32,
        now: Millis,
    ) -> (Next, Sign) {
        if meaning.is_none() && attempt.outcome.delivered() {
            return (Next::Delivered, Sign::Good);
        }
        let catalog = self.catalog.snapshot();
        let rules = self.rules(&catalog, endpoint.application, Some(endpoint));
        let is_final = attempt.outcome.status().is_some_and(|status| rules.is_final(status));
        let sign = health::sign(&attempt.outcome, meaning, is_final);
        (decide::decide(attempt, meaning, number, &rules, now, clock::chance()), sign)
    }

    /// Who has a say in the retries to that endpoint.
    fn rules<'a>(
        &'a self,
        catalog: &'a Snapshot,
        application: ApplicationId,
        endpoint: Option<&'a Endpoint>,
    ) -> Rules<'a> {
        let tenant = catalog.tenant(application);
        Rules {
            endpoint: endpoint.and_then(|endpoint| endpoint.retry.as_ref()),
            application: tenant.and_then(|tenant| tenant.application.retry.as_ref()),
            usual: &self.options.retry,
        }
    }

    /// What the endpoint's classifier says of an answer.
    async fn classified(
        &self,
        endpoint: &Arc<Endpoint>,
        delivery: &Delivery,
        number: u32,
        outcome: &Outcome,
    ) -> Option<Meaning> {
        let (Some(name), Outcome::Answered(answer)) = (&endpoint.classifier, outcome) else {
            return None;
        };
        self.guests.classify(name, endpoint, delivery, number, answer).await
    }

    /// Disables an endpoint, whatever else is changed of it meanwhile; unless it was renewed.
    pub(super) async fn disable(&self, id: EndpointId, (why, renewed): (Disabled, u64)) {
        loop {
            let endpoint = self.catalog.snapshot().endpoint(id).cloned();
            let Some(endpoint) = endpoint.filter(|endpoint| {
                // Another receiver did nothing wrong.
                endpoint.enabled && endpoint.renewed == renewed
            }) else {
                return;
            };
            let (revision, updated) = (endpoint.revision + 1, clock::now());
            let (enabled, disabled) = (false, Some(why));
            let changed = Endpoint { enabled, disabled, revision, updated, ..(*endpoint).clone() };
            match self.catalog.change(Change::PutEndpoint(changed)).await {
                Ok(()) => {
                    tracing::warn!(endpoint = %id, ?why, "an endpoint is disabled");
                    return;
                }
                Err(StoreError::Conflict(Conflict::Stale)) => {}
                Err(error) => {
                    tracing::error!(endpoint = %id, %error, "an endpoint could not be disabled");
                    return;
                }
            }
        }
    }

    /// What operators are told of this attempt, if anything, and if any of them listens.
    fn notice(
        &self,
        endpoint: &Endpoint,
        delivery: &Delivery,
        attempt: &Attempt,
        number: u32,
        next: Next,
    ) -> Option<Arc<Message>> {
        if next == Next::Delivered && number == 1 {
            return None;
        }
        let catalog = self.catalog.snapshot();
        let tenant = catalog.tenant(endpoint.application)?;
        let notice = notice::of_attempt(tenant, endpoint, delivery, attempt, number, next)?;
        let listeners = notice::listeners(&catalog, endpoint.environment)?;
        notice.message(listeners, MessageId(clock::id()), clock::accepted()).map(Arc::new)
    }
}

fn note_failure(delivery: &Delivery, attempt: &Attempt, next: Next) {
    let (class, detail) = match &attempt.outcome {
        Outcome::Answered(answer) => ("status", answer.status.to_string()),
        Outcome::Failed { class, detail } => (class.name(), detail.clone()),
    };
    metrics::counter!("octohooks_attempt_failures_total", "class" => class).increment(1);
    tracing::info!(
        message_id = %delivery.message.id,
        delivery = %delivery.id(),
        endpoint = %delivery.key.endpoint,
        attempt = attempt.number,
        class,
        detail,
        ?next,
        "an attempt failed"
    );
}
