//! All lanes in a world of values: time is what the world says it is, receivers take as long as they are told to.

use super::*;
use crate::{
    clock,
    model::{
        catalog::{Bounds, Change},
        endpoint::Per,
        message::Sequence,
        sample,
    },
};
use std::{collections::BTreeMap, num::NonZeroU32};

mod levels;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// The gateway's surroundings.
struct World {
    lanes: Lanes,
    catalog: Snapshot,
    now: Instant,
    /// How late timers are.
    late: Duration,
    /// How long each receiver takes; absent: no time.
    takes: HashMap<EndpointId, Duration>,
    under_way: BTreeMap<(Instant, u64), Arc<Delivery>>,
    store: HashMap<EndpointId, VecDeque<Arc<Delivery>>>,
    sent: Vec<(Instant, Arc<Delivery>)>,
    expired: Vec<u64>,
    made: u64,
}

/// What the wall clock says.
const TIME: Millis = 1_000;

fn rate(limit: u32, burst: u32) -> RateLimit {
    let some = |n| NonZeroU32::new(n).expect("positive");
    RateLimit { limit: some(limit), per: Per::Second, burst: some(burst) }
}

fn rules(places: usize) -> Rules {
    Rules { rate: None, places, in_flight: 100, began: (clock::instant(), 0) }
}

fn world(rules: Rules) -> World {
    World {
        lanes: Lanes::new(rules),
        catalog: Snapshot::new(Bounds { endpoints: 10_000, ..Bounds::default() }),
        now: clock::instant(),
        late: Duration::ZERO,
        takes: HashMap::new(),
        under_way: BTreeMap::new(),
        store: HashMap::new(),
        sent: Vec::new(),
        expired: Vec::new(),
        made: 0,
    }
}

impl World {
    fn application(&mut self, rate_limit: Option<RateLimit>) -> ApplicationId {
        let application =
            crate::model::application::Application { rate_limit, ..sample::application() };
        let id = application.id;
        self.catalog.apply(Change::PutApplication(application));
        id
    }

    fn endpoint(&mut self, of: ApplicationId, rate_limit: Option<RateLimit>) -> EndpointId {
        let endpoint = Endpoint { application: of, rate_limit, ..sample::endpoint() };
        let id = endpoint.id;
        self.catalog.apply(Change::PutEndpoint(endpoint));
        id
    }

    /// That many messages for the endpoint.
    fn offer(&mut self, endpoint: EndpointId, count: usize) {
        let application = self.catalog.endpoint(endpoint).expect("is there").application;
        let message = Arc::new(sample::message(application));
        for _ in 0..count {
            let mut delivery = sample::delivery(&message, Sequence(self.made));
            delivery.key.endpoint = endpoint;
            self.made += 1;
            let over = self.lanes.offer(&self.catalog, Arc::new(delivery), self.now);
            self.store.entry(endpoint).or_default().extend(over);
        }
        self.act();
    }

    fn act(&mut self) {
        while let Some(step) = self.lanes.next(self.now, TIME) {
            match step {
                Step::Send(delivery) => {
                    self.sent.push((self.now, delivery.clone()));
                    let takes = self.takes.get(&delivery.key.endpoint).copied();
                    let ends = self.now + takes.unwrap_or_default();
                    self.under_way.insert((ends, delivery.key.message.0), delivery);
                    self.end();
                }
                Step::Expire(delivery) => self.expired.push(delivery.key.message.0),
                Step::Fetch(id, fetch) => {
                    assert!(self.lanes.fetches <= FETCHES);
                    let Fetch::Oldest(count) = fetch else { panic!("no order is asked for") };
                    let store = self.store.entry(id).or_default();
                    let found = store.drain(..count.min(store.len())).collect();
                    self.lanes.fetched(id, &fetch, Some(found), self.now);
                }
                Step::Learn(..) => panic!("no order is asked for"),
            }
        }
    }

    /// What ends by now has ended.
    fn end(&mut self) {
        while let Some(first) = self.under_way.first_entry()
            && first.key().0 <= self.now
        {
            let delivery = first.remove();
            self.lanes.finished(&delivery, true, self.now);
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let alarm = self.lanes.alarm().map(|at| (at + self.late).max(self.now));
            let end = self.under_way.first_key_value().map(|((at, _), _)| *at);
            let next = alarm.into_iter().chain(end).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = next;
            self.end();
            self.lanes.wake(self.now);
            self.act();
        }
        self.now = until;
    }

    fn times(&self, of: impl Fn(&Delivery) -> bool) -> Vec<Instant> {
        self.sent.iter().filter(|(_, delivery)| of(delivery)).map(|(at, _)| *at).collect()
    }

    fn sent_to(&self, id: EndpointId) -> usize {
        self.times(|delivery| delivery.key.endpoint == id).len()
    }
}

#[test]
fn the_lanes_of_an_application_share_its_limit_in_turn() {
    let mut world = world(rules(100));
    let application = world.application(Some(rate(60, 1)));
    let lanes: Vec<_> = (0..3).map(|_| world.endpoint(application, None)).collect();
    lanes.iter().for_each(|id| world.offer(*id, 500));
    world.pass(10 * SECOND);
    for id in &lanes {
        assert!((199..=201).contains(&world.sent_to(*id)), "{}", world.sent_to(*id));
    }
}

#[test]
fn a_lane_that_waits_for_its_own_slot_takes_none_of_its_applications() {
    let mut world = world(rules(100));
    let application = world.application(Some(rate(10, 1)));
    let slow = world.endpoint(application, Some(rate(1, 1)));
    let quick = world.endpoint(application, None);
    world.offer(slow, 100);
    world.offer(quick, 1000);
    world.pass(10 * SECOND);
    let (slow, quick) = (world.sent_to(slow), world.sent_to(quick));
    assert!((10..=11).contains(&slow), "{slow}");
    assert!((89..=91).contains(&quick), "{quick}");
}

#[test]
fn applications_take_turns_at_the_gateways_limit() {
    let mut world = world(Rules { rate: Some(rate(50, 1)), ..rules(100) });
    let (one, other) = (world.application(None), world.application(None));
    let many: Vec<_> = (0..9).map(|_| world.endpoint(one, None)).collect();
    let single = world.endpoint(other, None);
    many.iter().for_each(|id| world.offer(*id, 500));
    world.offer(single, 500);
    world.pass(10 * SECOND);
    assert!((249..=251).contains(&world.sent_to(single)), "{}", world.sent_to(single));
    assert!((500..=501).contains(&world.sent.len()), "{}", world.sent.len());
}

#[test]
fn a_restart_does_not_give_the_bursts_again() {
    let limit = Some(rate(20, 20));
    let levels = [(limit, None, None), (None, limit, None), (None, None, limit)];
    for ((gateway, application, endpoint), knows) in
        levels.into_iter().flat_map(|level| [(level, true), (level, false)])
    {
        let now = clock::instant();
        let began = (now, if knows { 0 } else { Millis::MAX });
        let mut world = world(Rules { rate: gateway, began, ..rules(100) });
        world.now = now;
        let application = world.application(application);
        let endpoint = world.endpoint(application, endpoint);
        world.offer(endpoint, 100);
        world.pass(SECOND);
        let expected = if knows { 39..=41 } else { 19..=21 };
        assert!(expected.contains(&world.sent.len()), "{knows} {}", world.sent.len());
        // It comes back with time, as ever.
        world.pass(60 * SECOND);
        let before = world.sent.len();
        world.offer(endpoint, 100);
        world.pass(SECOND);
        let sent = world.sent.len() - before;
        assert!((39..=41).contains(&sent), "{sent}");
    }
}

#[test]
fn changed_limits_of_an_application_count_at_once() {
    let mut world = world(rules(100));
    let id = world.application(Some(rate(1, 1)));
    let endpoint = world.endpoint(id, None);
    world.offer(endpoint, 2000);
    world.pass(SECOND / 2);
    assert_eq!(world.sent.len(), 1);
    for (limit, after) in [(Some(rate(50, 1)), 50), (None, 2000)] {
        let old = world.catalog.tenant(id).expect("is there").application.clone();
        let new = crate::model::application::Application { rate_limit: limit, ..old };
        world.catalog.apply(Change::PutApplication(new));
        assert_eq!(world.lanes.follow(&world.catalog, world.now), []);
        world.act();
        world.pass(SECOND);
        assert!(world.sent.len().abs_diff(after) <= 2, "{} of {after}", world.sent.len());
    }
    assert_eq!(world.lanes.follow(&world.catalog, world.now), [], "nothing was changed since");
}

#[test]
fn who_hangs_leaves_places_to_others() {
    let mut world = world(rules(416));
    let mut hanging = Vec::new();
    for _ in 0..4 {
        let application = world.application(None);
        for _ in 0..5 {
            let id = world.endpoint(application, None);
            world.takes.insert(id, 1000 * SECOND);
            hanging.push(id);
        }
    }
    hanging.iter().for_each(|id| world.offer(*id, 1000));
    let under_way = world.lanes.depths().2;
    assert!((300..=405).contains(&under_way), "{under_way} of 416");
    let each: Vec<_> = hanging.iter().map(|id| world.sent_to(*id)).collect();
    assert!(each.iter().all(|count| *count > 0), "{each:?}");
    let application = world.application(None);
    let other = world.endpoint(application, None);
    world.takes.insert(other, 5 * MILLI);
    world.offer(other, 1000);
    world.pass(SECOND);
    assert!(
        world.sent_to(other) >= 500,
        "{}: at 5 ms each it has several places",
        world.sent_to(other)
    );
}

#[test]
fn alone_a_lane_has_a_share_and_goes_on_when_one_of_its_own_ends() {
    let mut world = world(rules(30));
    let application = world.application(None);
    let id = world.endpoint(application, None);
    world.takes.insert(id, SECOND);
    world.offer(id, 100);
    assert_eq!(world.lanes.depths().2, 10);
    world.pass(10 * SECOND + MILLI);
    assert_eq!(world.sent_to(id), 100);
}

#[test]
fn a_backlog_does_not_keep_others_from_their_turn() {
    let mut world = world(rules(10));
    let (one, other) = (world.application(None), world.application(None));
    let (busy, quiet) = (world.endpoint(one, None), world.endpoint(other, None));
    world.takes.insert(busy, MILLI);
    world.takes.insert(quiet, MILLI);
    world.offer(busy, 100_000);
    for _ in 0..20 {
        let before = world.now;
        world.offer(quiet, 1);
        world.pass(20 * MILLI);
        let (at, _) = world.sent.iter().rfind(|(_, d)| d.key.endpoint == quiet).expect("was sent");
        assert!(*at - before <= MILLI);
    }
    assert!(world.sent_to(busy) > 1_000);
}

#[test]
fn what_has_expired_takes_no_slot() {
    let mut world = world(rules(100));
    let application = world.application(None);
    let id = world.endpoint(application, Some(rate(1, 1)));
    let mut message = sample::message(application);
    for (n, expires_at) in [(0, None), (1, Some(TIME)), (2, Some(TIME)), (3, Some(TIME + 1))] {
        message.expires_at = expires_at;
        let mut delivery = sample::delivery(&Arc::new(message.clone()), Sequence(n));
        delivery.key.endpoint = id;
        assert_eq!(world.lanes.offer(&world.catalog, Arc::new(delivery), world.now), None);
    }
    world.act();
    world.pass(SECOND);
    assert_eq!((&world.expired[..], world.sent.len()), (&[1, 2][..], 2));
}

#[test]
fn windows_share_the_memory() {
    let mut world = world(Rules { in_flight: 1, ..rules(100_000) });
    let application = world.application(None);
    let lanes: Vec<_> = (0..1000).map(|_| world.endpoint(application, None)).collect();
    for id in &lanes {
        world.takes.insert(*id, SECOND);
        world.offer(*id, 300);
    }
    assert!(world.lanes.bytes <= BYTES + BYTES / 8, "{}", world.lanes.bytes);
    assert!(world.lanes.depths().1 < 100_000);
    world.pass(300 * SECOND + MILLI);
    assert_eq!(world.sent.len(), 300_000);
    assert_eq!((world.lanes.waiting, world.lanes.bytes), (0, 0));
}

#[test]
fn only_so_many_fetch_at_once_and_who_waits_has_its_turn() {
    let mut world = world(rules(100));
    let application = world.application(None);
    let lanes: Vec<_> = (0..10).map(|_| world.endpoint(application, None)).collect();
    for id in &lanes {
        world.lanes.set_aside(&world.catalog, *id, world.now);
    }
    let mut fetched = Vec::new();
    for _ in 0..3 {
        let mut now = Vec::new();
        while let Some(Step::Fetch(id, _)) = world.lanes.next(world.now, TIME) {
            now.push(id);
        }
        assert!(now.len() <= FETCHES);
        for id in now {
            world.lanes.fetched(id, &Fetch::Oldest(1), Some(Vec::new()), world.now);
            fetched.push(id);
        }
    }
    assert_eq!(fetched, lanes);
    assert_eq!(world.lanes.next(world.now, TIME), None);
}

#[test]
fn idle_lanes_go_when_what_they_know_counts_no_more() {
    let mut world = world(rules(100));
    let id = world.application(None);
    let limited = world.application(Some(RateLimit { per: Per::Hour, ..rate(60, 10) }));
    let idle: Vec<_> = (0..1000).map(|_| world.endpoint(id, None)).collect();
    let slow = world.endpoint(id, Some(RateLimit { per: Per::Hour, ..rate(20, 1) }));
    let last = world.endpoint(limited, None);
    idle.iter().chain([&slow, &last]).for_each(|id| world.offer(*id, 1));
    assert_eq!(world.lanes.depths(), (1002, 0, 0));
    world.pass(IDLE + SECOND);
    assert_eq!(world.lanes.depths().0, 1002, "they were used");
    world.pass(IDLE + SECOND);
    assert_eq!(world.lanes.depths().0, 1, "its slot is in three minutes");
    assert_eq!(world.lanes.applications.len(), 1);
    world.pass(4 * IDLE);
    assert_eq!(world.lanes.depths().0, 0);
    assert!(world.lanes.applications.is_empty() && world.lanes.ages.is_empty());
    assert_eq!(world.lanes.alarm(), None, "nothing ticks");
    world.offer(idle[0], 1);
    assert_eq!(world.lanes.depths().0, 1);
}

#[test]
fn lanes_of_endpoints_that_are_disabled_or_gone_are_emptied() {
    let mut world = world(Rules { in_flight: 1, ..rules(100) });
    let application = world.application(None);
    let lanes: Vec<_> = (0..3).map(|_| world.endpoint(application, None)).collect();
    for id in &lanes {
        world.takes.insert(*id, SECOND);
        world.offer(*id, 5);
    }
    let old = Endpoint::clone(world.catalog.endpoint(lanes[0]).expect("is there"));
    world.catalog.apply(Change::PutEndpoint(Endpoint { enabled: false, ..old }));
    world.catalog.apply(Change::DeleteEndpoint(application, lanes[1]));
    let cleared = world.lanes.follow(&world.catalog, world.now);
    let of = |id| cleared.iter().filter(|delivery| delivery.key.endpoint == id).count();
    assert_eq!(lanes.iter().map(|id| of(*id)).collect::<Vec<_>>(), [4, 4, 0]);
    assert_eq!(world.lanes.depths(), (2, 4, 3));
    world.pass(9 * SECOND);
    assert_eq!((world.sent.len(), world.lanes.depths().2), (7, 0));
    world.catalog.apply(Change::DeleteApplication(application));
    assert_eq!(world.lanes.follow(&world.catalog, world.now), []);
    assert_eq!(world.lanes.depths(), (0, 0, 0));
    assert!(world.lanes.applications.is_empty());
}
