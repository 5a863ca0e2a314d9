//! What a simulation knows of what happened: what is sent, under way and answered, and whether that may be.

use super::rest::Rest;
use crate::{
    clock::{self, simulated},
    model::{
        Millis,
        attempt::Outcome,
        delivery::{Delivery, DeliveryKey, Next, State},
        endpoint::{Endpoint, Order, RateLimit},
        id::{ApplicationId, EndpointId},
    },
    store::DeliveryRecord,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How many requests an endpoint may have under way that does not say.
pub const IN_FLIGHT: usize = 8;

/// The books, shared by receivers and the world.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<Books>>);

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
pub struct Books {
    pub trace: Vec<String>,
    pub broken: Vec<String>,
    /// The latest time that the wall clock has shown.
    latest: Millis,
    /// By the order of their creation.
    names: BTreeMap<EndpointId, usize>,
    under_way: BTreeMap<EndpointId, usize>,
    /// Limits that were lowered at that moment: until it is over, what was let through before may come.
    lowered: BTreeMap<EndpointId, (Duration, usize)>,
    /// How many requests the gateway would have under way: at one moment, the most of it.
    learnt: BTreeMap<EndpointId, (Duration, usize)>,
    pub rest: Rest,
    /// The gateway's limit, and when its requests began.
    gateway: Option<(RateLimit, VecDeque<Duration>)>,
    /// When requests began, since the rate was changed or the gateway was started.
    starts: BTreeMap<EndpointId, (Option<RateLimit>, VecDeque<Duration>)>,
    /// Applications' limits, and when their requests began.
    rates: BTreeMap<ApplicationId, (RateLimit, VecDeque<Duration>)>,
    /// What was delivered since the gateway was started, and is not to be sent again.
    delivered: BTreeSet<DeliveryKey>,
    /// Of endpoints that keep an order: what was tried since the start and is not done, of each key.
    tried: BTreeMap<(EndpointId, Option<String>), BTreeSet<DeliveryKey>>,
    /// How deliveries ended that have ended.
    ended: BTreeMap<DeliveryKey, State>,
}

fn elapsed() -> Duration {
    simulated::elapsed().unwrap_or_default()
}

fn in_flight(endpoint: &Endpoint) -> usize {
    endpoint.max_in_flight.map_or(IN_FLIGHT, |most| most.get() as usize)
}

/// Notes that a request starts now: how many do in a window and how many may, if they are more.
fn over(rate: RateLimit, starts: &mut VecDeque<Duration>, now: Duration) -> Option<(usize, usize)> {
    starts.push_back(now);
    while starts.front().is_some_and(|start| *start + rate.per.duration() <= now) {
        starts.pop_front();
    }
    let most = (rate.limit.get() + rate.burst.get()) as usize;
    (starts.len() > most).then_some((starts.len(), most))
}

impl Books {
    pub fn name(&mut self, endpoint: EndpointId) {
        let next = self.names.len();
        self.names.entry(endpoint).or_insert(next);
    }

    pub fn note(&mut self, line: impl AsRef<str>) {
        self.latest = self.latest.max(clock::now());
        let line = format!("{:>12} {}", elapsed().as_millis(), line.as_ref());
        self.trace.push(line);
    }

    pub fn wrong(&mut self, what: String) {
        self.note(format!("WRONG: {what}"));
        self.broken.push(what);
    }

    /// What a delivery is called in the trace.
    pub fn shown(&self, key: DeliveryKey) -> String {
        let endpoint = self.names.get(&key.endpoint).copied().unwrap_or(usize::MAX);
        let onward = crate::model::dead_letter::is_onward(key.ordinal);
        format!("m{}{}>e{endpoint}", key.message.0, if onward { "dead" } else { "" })
    }

    /// A request arrives.
    pub fn starts(&mut self, endpoint: &Endpoint, delivery: &Delivery) {
        let (key, now) = (delivery.key, elapsed());
        let shown = self.shown(key);
        self.note(format!("{shown} sent, attempt {}", delivery.attempts + 1));
        if !endpoint.enabled || endpoint.application != delivery.message.application {
            self.wrong(format!("{shown} is not for that endpoint"));
        }
        let message = &delivery.message;
        if message.deliver_at.is_some_and(|at| at > self.latest) {
            self.wrong(format!("{shown} is sent before its time"));
        }
        if message.expires_at.is_some_and(|at| at < clock::now()) {
            self.wrong(format!("{shown} is sent after it expired"));
        }
        if self.delivered.contains(&key) {
            self.wrong(format!("{shown} is sent again after a success"));
        }
        if self.ended.contains_key(&key) {
            self.wrong(format!("{shown} is sent after its end"));
        }
        let lowered = self.lowered.get(&endpoint.id).filter(|(at, _)| *at == now);
        let most = in_flight(endpoint).max(lowered.map_or(0, |(_, most)| *most));
        let count = self.under_way.entry(endpoint.id).or_default();
        *count += 1;
        if *count > most {
            let count = *count;
            self.wrong(format!("{shown}: {count} under way of {most}"));
        }
        let learnt = self.learnt.get(&endpoint.id).map_or(usize::MAX, |(_, most)| *most);
        let count = self.under_way.get(&endpoint.id).copied().unwrap_or_default();
        if count > learnt {
            self.wrong(format!("{shown}: {count} under way, where {learnt} would be good"));
        }
        if let Some(wrong) = self.rest.starts(key, now) {
            self.wrong(format!("{shown} {wrong}"));
        }
        self.in_order(endpoint, delivery, &shown);
        self.within_rate(endpoint, &shown, now);
    }

    /// Where an order is asked for, nothing is tried before what was tried ahead of it is done.
    fn in_order(&mut self, endpoint: &Endpoint, delivery: &Delivery, shown: &str) {
        let key = delivery.ordering_key().map(str::to_owned);
        let of = match endpoint.order {
            Order::None => return,
            Order::Key if key.is_none() => return,
            Order::Key => key,
            Order::Endpoint => None,
        };
        // What comes back later, as what is sent again, has its old place and may pass.
        let tried = self.tried.entry((endpoint.id, of)).or_default();
        let ahead = tried.iter().find(|tried| **tried < delivery.key).copied();
        tried.insert(delivery.key);
        if let Some(ahead) = ahead {
            let ahead = self.shown(ahead);
            self.wrong(format!("{shown} is sent before {ahead} is done"));
        }
    }

    /// That follows an attempt, or the lack of one.
    pub fn settled(&mut self, key: DeliveryKey, next: Next) {
        if !matches!(next, Next::RetryAt(_)) {
            self.is_done(key);
        }
    }

    fn within_rate(&mut self, endpoint: &Endpoint, shown: &str, now: Duration) {
        let changed = self.lowered.get(&endpoint.id).is_some_and(|(at, _)| *at == now);
        let (rate, starts) = self.starts.entry(endpoint.id).or_default();
        if *rate != endpoint.rate_limit || changed {
            // At the very moment of a change some may come that were let through before.
            (*rate, *starts) = (endpoint.rate_limit, VecDeque::new());
        }
        let own = if changed { None } else { rate.and_then(|rate| over(rate, starts, now)) };
        let shared = self.rates.get_mut(&endpoint.application);
        let shared = shared.and_then(|(rate, starts)| over(*rate, starts, now));
        let all = self.gateway.as_mut();
        let all = all.and_then(|(rate, starts)| over(*rate, starts, now));
        for (count, most) in own.into_iter().chain(shared).chain(all) {
            self.wrong(format!("{shown}: {count} requests in a window, where {most} may be"));
        }
    }

    /// The application has that rate limit, always.
    pub fn limit(&mut self, application: ApplicationId, rate: RateLimit) {
        self.rates.insert(application, (rate, VecDeque::new()));
    }

    /// The gateway has that rate limit, always.
    pub fn limit_all(&mut self, rate: RateLimit) {
        self.gateway = Some((rate, VecDeque::new()));
    }

    /// So many requests the gateway would have under way now.
    pub fn bears(&mut self, endpoint: EndpointId, limit: usize) {
        let now = elapsed();
        let (at, most) = self.learnt.entry(endpoint).or_insert((now, limit));
        *most = if *at == now { limit.max(*most) } else { limit };
        *at = now;
    }

    /// A request has its answer, or has none.
    pub fn ends(&mut self, key: DeliveryKey, outcome: &Outcome) {
        let came = match outcome {
            Outcome::Answered(answer) => answer.status.to_string(),
            Outcome::Failed { class, .. } => class.name().to_owned(),
        };
        let shown = self.shown(key);
        self.note(format!("{shown} came to {came}"));
        self.rest.ends(key, outcome, elapsed());
        if outcome.delivered() {
            self.delivered.insert(key);
        }
    }

    /// A request is no more, answered or not.
    pub fn over(&mut self, endpoint: EndpointId) {
        if let Some(count) = self.under_way.get_mut(&endpoint) {
            *count = count.saturating_sub(1);
        }
    }

    /// The endpoint's limits are changed now.
    pub fn changes(&mut self, old: &Endpoint) {
        self.lowered.insert(old.id, (elapsed(), in_flight(old)));
    }

    fn is_done(&mut self, key: DeliveryKey) {
        for tried in self.tried.values_mut() {
            tried.remove(&key);
        }
    }

    /// The endpoint is disabled: what waited for it has ended.
    pub fn off(&mut self, endpoint: EndpointId) {
        self.tried.retain(|(of, _), _| *of != endpoint);
    }

    /// The delivery is to be sent again.
    pub fn resent(&mut self, key: DeliveryKey) {
        self.delivered.remove(&key);
        self.ended.remove(&key);
        // It may be tried again at any time.
        self.is_done(key);
    }

    /// Somebody sets the wall clock.
    pub fn jumped(&mut self) {
        self.rest.jumped(elapsed());
    }

    /// The gateway was killed: what was only in its memory is gone.
    pub fn killed(&mut self) {
        self.under_way.clear();
        self.learnt.clear();
        self.rest.killed(elapsed());
        self.gateway.iter_mut().for_each(|(_, starts)| starts.clear());
        self.starts.clear();
        self.rates.values_mut().for_each(|(_, starts)| starts.clear());
        self.delivered.clear();
        self.tried.clear();
    }

    /// Looks at what is recorded of a delivery.
    pub fn look(&mut self, record: &DeliveryRecord) {
        let shown = self.shown(record.key);
        let numbers = record.attempts.iter().map(|attempt| attempt.number);
        if !numbers.eq(1..=record.attempts.len() as u32) {
            self.wrong(format!("{shown}: its attempts have gaps"));
        }
        let delivered = record.attempts.last().map(|attempt| attempt.outcome.delivered());
        match record.state {
            Some(State::Success) if delivered != Some(true) => {
                self.wrong(format!("{shown} is a success without one"));
            }
            Some(State::Failed) if delivered != Some(false) => {
                self.wrong(format!("{shown} is a dead letter without a failure"));
            }
            _ => {}
        }
        let before = self.ended.get(&record.key).copied();
        if before.is_some() && before != record.state {
            self.wrong(format!("{shown} ended as {before:?} and is {:?} now", record.state));
        }
        // What was under way when its endpoint was disabled may still end otherwise.
        let last = |state: &State| matches!(state, State::Success | State::Failed);
        if let Some(state) = record.state.filter(last) {
            self.ended.insert(record.key, state);
        }
    }
}
