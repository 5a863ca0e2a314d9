//! All lanes, and whose turn it is. Pure: time and the catalog come in as values, and what to do comes out.
//!
//! A request starts when everything has room for it at once: its endpoint's lane, its application, the gateway. Each
//! may have a rate limit, and the gateway has so many places for requests under way. Nothing is booked ahead: a lane
//! that is not ready at its own level takes no slot of the levels above, and one that is waits for its turn there.
//! Applications with ready lanes take turns, and the lanes of each take turns among themselves, a delivery a turn. Who
//! has to wait for a time, lane, application or gateway, has one timer for exactly that time.
//!
//! So that there are places for whoever comes next, a lane may have half as many as are free, and much fewer once its
//! application has as many as are free ([`may_have`]): a third of all where it is alone, and the less the more are held
//! by others who are slow. Who has its share goes on when one of its own requests ends, so that nobody waits for
//! strangers, and who has none goes on if there is any; unless its application holds three times as many as are free
//! ([`leaves_room`]), whatever number of lanes it has or had: then a request ends first, its own or a stranger's.
//! Memory is shared out by the same rule: a lane's window may grow to half of what all windows leave free.

use super::{
    lane::{Lane, Limits, Ready, ordered::Fetch},
    limit::Limiter,
};
use crate::model::{
    Millis,
    catalog::Snapshot,
    delivery::Delivery,
    endpoint::{Endpoint, Order, RateLimit},
    id::{ApplicationId, EndpointId},
};
use application::{Application, leaves_room, may_have};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};
use timers::{Timers, Wake};

mod application;
mod fetching;
mod timers;
mod upkeep;

/// How many bytes of deliveries all windows have together, unless it is one each.
const BYTES: usize = 64 << 20;
/// How many lanes fetch at once: what one fetches is up to 8 MiB, and not counted before it is there.
const FETCHES: usize = 4;
/// After how long a lane goes that has nothing to do and knows nothing.
const IDLE: Duration = Duration::from_secs(60);
/// How often lanes are looked at for that, at most.
const LOOK: Duration = Duration::from_secs(15);

/// What holds for all lanes.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How many requests may start in a time.
    pub rate: Option<RateLimit>,
    /// How many requests may be under way at once.
    pub places: usize,
    /// The same to one endpoint that does not say.
    pub in_flight: usize,
    /// When the gateway began. What it let through before is not known, so that the bursts of all that was there by then are
    /// taken for used.
    pub began: (Instant, Millis),
}

impl Rules {
    /// Such a limiter, of what was created at that time.
    fn limiter(&self, rate: RateLimit, created: Millis) -> Limiter {
        match created < self.began.1 {
            true => Limiter::new(rate).spent(self.began.0),
            false => Limiter::new(rate),
        }
    }
}

/// All lanes.
#[derive(Debug)]
pub struct Lanes {
    rules: Rules,
    limiter: Option<Limiter>,
    lanes: HashMap<EndpointId, Entry>,
    applications: HashMap<ApplicationId, Application>,
    /// Those of which a lane may send, in turn.
    turns: VecDeque<ApplicationId>,
    /// Those that leave the places that are free to others.
    crowding: VecDeque<ApplicationId>,
    /// How many requests are under way.
    under_way: usize,
    /// What is in the windows, in deliveries and in bytes.
    waiting: usize,
    bytes: usize,
    /// Lanes that want to fetch, in turn, and how many do.
    fetchers: VecDeque<EndpointId>,
    fetches: usize,
    timers: Timers,
    timer: Option<Instant>,
    /// Every lane once, and when it is to be looked at.
    ages: VecDeque<(Instant, EndpointId)>,
    /// Lanes that keep an order and do not know what waited before; how often any began to.
    learners: VecDeque<(EndpointId, u64)>,
    orders: u64,
    /// To be set aside.
    over: Vec<Arc<Delivery>>,
}

#[derive(Debug)]
struct Entry {
    lane: Lane,
    application: ApplicationId,
    /// Whether it is among its application's ready lanes.
    in_turn: bool,
    timer: Option<Instant>,
    /// Whether something came since it was last looked at.
    used: bool,
    /// Which of all the times that lanes began to keep an order was its last.
    orders: u64,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Attempt this delivery now.
    Send(Arc<Delivery>),
    /// It is too late for this one.
    Expire(Arc<Delivery>),
    /// Fetch these of the endpoint's that were set aside.
    Fetch(EndpointId, Fetch),
    /// Look up what is outstanding at the endpoint, whose lane keeps an order for the so-manieth time.
    Learn(EndpointId, u64),
}

impl Lanes {
    /// No lanes.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            limiter: rules.rate.map(|rate| rules.limiter(rate, 0)),
            lanes: HashMap::new(),
            applications: HashMap::new(),
            turns: VecDeque::new(),
            crowding: VecDeque::new(),
            under_way: 0,
            waiting: 0,
            bytes: 0,
            fetchers: VecDeque::new(),
            fetches: 0,
            timers: Timers::default(),
            timer: None,
            ages: VecDeque::new(),
            learners: VecDeque::new(),
            orders: 0,
            over: Vec::new(),
        }
    }

    /// Takes a delivery, or gives it back to be set aside.
    #[must_use]
    pub fn offer(
        &mut self,
        catalog: &Snapshot,
        delivery: Arc<Delivery>,
        now: Instant,
    ) -> Option<Arc<Delivery>> {
        let (id, application) = (delivery.key.endpoint, delivery.message.application);
        let share = self.share();
        let entry = self.entry(catalog, id, application, now);
        entry.used = true;
        let over = entry.lane.offer(delivery, share);
        self.count(id, now);
        over
    }

    /// The next thing to do, if there is any now, which is `time` on the wall clock.
    #[must_use]
    pub fn next(&mut self, now: Instant, time: Millis) -> Option<Step> {
        if let Some((id, count)) = self.learners.pop_front() {
            return Some(Step::Learn(id, count));
        }
        if let Some(step) = self.next_fetch() {
            return Some(step);
        }
        while !self.turns.is_empty() && self.under_way < self.rules.places {
            if let Some(limiter) = &mut self.limiter {
                let slot = limiter.slot(now);
                if slot > now {
                    self.timers.set(&mut self.timer, slot, Wake::Gateway);
                    return None;
                }
            }
            let id = self.turns.pop_front()?;
            if let Some(step) = self.turn(id, now, time) {
                return Some(step);
            }
        }
        None
    }

    /// An application's turn: what one of its lanes sends, if it may.
    fn turn(&mut self, id: ApplicationId, now: Instant, time: Millis) -> Option<Step> {
        let free = self.free();
        let application = self.applications.get_mut(&id)?;
        application.in_turn = false;
        if !leaves_room(application.in_flight, free) {
            if !std::mem::replace(&mut application.crowds, true) {
                self.crowding.push_back(id);
            }
            return None;
        }
        if let Some(limiter) = &mut application.limiter {
            let slot = limiter.slot(now);
            if slot > now {
                self.timers.set(&mut application.timer, slot, Wake::Application(id));
                return None;
            }
        }
        let endpoint = application.ready.pop_front()?;
        let step = self.lanes.get_mut(&endpoint).and_then(|entry| {
            entry.in_turn = false;
            if let Some(late) = entry.lane.expired(time) {
                return Some(Step::Expire(late));
            }
            let may = may_have(free, application.in_flight);
            let ready = entry.lane.in_flight() < may && entry.lane.ready(now) == Ready::Now;
            ready.then(|| entry.lane.take(now)).flatten().map(Step::Send)
        });
        if matches!(step, Some(Step::Send(_))) {
            self.under_way += 1;
            application.in_flight += 1;
            application.limiter.iter_mut().for_each(|limiter| limiter.take(now));
            self.limiter.iter_mut().for_each(|limiter| limiter.take(now));
        }
        self.count(endpoint, now);
        self.take_turns(id);
        step
    }

    /// An attempt has ended, and with it the delivery if it `ends`: else it comes again.
    pub fn finished(&mut self, delivery: &Delivery, ends: bool, now: Instant) {
        let (id, application) = (delivery.key.endpoint, delivery.message.application);
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(entry) = self.lanes.get_mut(&id) {
            entry.lane.finished(delivery, ends);
        }
        if let Some(application) = self.applications.get_mut(&application) {
            application.in_flight = application.in_flight.saturating_sub(1);
        }
        self.count(id, now);
        self.take_turns(application);
        self.readmit();
        self.forget_application(application, now);
    }

    /// Those whose time it is have their turns.
    pub fn wake(&mut self, now: Instant) {
        while let Some(wake) = self.timers.pop(now) {
            match wake {
                Wake::Lane(id) => {
                    if let Some(entry) = self.lanes.get_mut(&id) {
                        entry.timer = None;
                    }
                    self.stir(id, now);
                }
                Wake::Application(id) => {
                    if let Some(application) = self.applications.get_mut(&id) {
                        application.timer = None;
                    }
                    self.take_turns(id);
                }
                Wake::Gateway => self.timer = None,
                Wake::Ages => self.look(now),
            }
        }
    }

    /// When to wake next; none: not before something happens.
    pub fn alarm(&mut self) -> Option<Instant> {
        self.timers.alarm()
    }

    /// Whether that is earlier than when it was last asked for.
    #[must_use]
    pub fn is_alarm_earlier(&self) -> bool {
        self.timers.is_earlier()
    }

    /// How many lanes there are, how many deliveries are in their windows, and how many requests are under way.
    #[must_use]
    pub fn depths(&self) -> (usize, usize, usize) {
        (self.lanes.len(), self.waiting, self.under_way)
    }

    /// How many bytes one window may have now.
    fn share(&self) -> usize {
        BYTES.saturating_sub(self.bytes) / 2
    }

    /// How many places are free.
    fn free(&self) -> usize {
        self.rules.places.saturating_sub(self.under_way)
    }

    fn entry(
        &mut self,
        catalog: &Snapshot,
        id: EndpointId,
        application: ApplicationId,
        now: Instant,
    ) -> &mut Entry {
        let endpoint = catalog.endpoint(id).map(Arc::as_ref);
        let Self { lanes, applications, rules, ages, timers, orders, learners, .. } = self;
        lanes.entry(id).or_insert_with(|| {
            let of = applications
                .entry(application)
                .or_insert_with(|| Application::new(catalog.tenant(application), rules));
            of.lanes.push(id);
            if ages.is_empty() {
                timers.add(now + IDLE, Wake::Ages);
            }
            ages.push_back((now + IDLE, id));
            let limits = limits(rules, endpoint);
            let created = endpoint.map_or(0, |endpoint| endpoint.created);
            let limiter = limits.rate.map(|rate| rules.limiter(rate, created));
            let mut lane = Lane::new(limits, limiter);
            if let Some(order) = order(endpoint).filter(|order| *order != Order::None) {
                // A new lane has nothing to set aside.
                let _nothing = lane.set_order(order, 0);
                *orders += 1;
                learners.push_back((id, *orders));
            }
            let orders = *orders;
            Entry { lane, application, in_turn: false, timer: None, used: true, orders }
        })
    }

    /// Something changed at the lane: counts what is in its window, and sees what it wants.
    fn count(&mut self, id: EndpointId, now: Instant) {
        if let Some(entry) = self.lanes.get_mut(&id) {
            let (count, bytes) = entry.lane.uncounted();
            self.waiting = self.waiting.wrapping_add_signed(count);
            self.bytes = self.bytes.wrapping_add_signed(bytes);
        }
        self.stir(id, now);
    }

    /// Sees what a lane wants: to fetch, to send, or to be woken.
    fn stir(&mut self, id: EndpointId, now: Instant) {
        let (share, free) = (self.share(), self.free());
        let Some(entry) = self.lanes.get_mut(&id) else { return };
        if entry.lane.wants(share) {
            self.fetchers.push_back(id);
        }
        if entry.in_turn {
            return;
        }
        match entry.lane.ready(now) {
            Ready::No => {}
            Ready::At(at) => self.timers.set(&mut entry.timer, at, Wake::Lane(id)),
            Ready::Now => {
                let Some(of) = self.applications.get_mut(&entry.application) else { return };
                let has = entry.lane.in_flight();
                // One that has its share goes on when one of its own ends.
                if has == 0 || has < may_have(free, of.in_flight) {
                    let application = entry.application;
                    entry.in_turn = true;
                    of.ready.push_back(id);
                    self.take_turns(application);
                }
            }
        }
    }

    /// An application with ready lanes is among those that take turns, once.
    fn take_turns(&mut self, id: ApplicationId) {
        if let Some(application) = self.applications.get_mut(&id)
            && !application.in_turn
            && !application.ready.is_empty()
        {
            application.in_turn = true;
            self.turns.push_back(id);
        }
    }
}

fn limits(rules: &Rules, endpoint: Option<&Endpoint>) -> Limits {
    let own = endpoint.and_then(|e| e.max_in_flight).and_then(|n| usize::try_from(n.get()).ok());
    Limits {
        rate: endpoint.and_then(|e| e.rate_limit),
        in_flight: own.unwrap_or(rules.in_flight).max(1),
        renewed: endpoint.map_or(0, |endpoint| endpoint.renewed),
    }
}

/// Which order the endpoint asks for, if it is there.
fn order(endpoint: Option<&Endpoint>) -> Option<Order> {
    endpoint.map(|endpoint| endpoint.order)
}

#[cfg(test)]
mod tests;
