//! A lane that keeps an order, against a model: whatever comes, fails, is set aside, crashes or changes its mind, of a
//! chain nothing is sent before what is ahead of it is done.

use super::*;
use crate::{
    clock,
    deliver::lane::{
        Lane, Limits, Ready,
        ordered::Fetch,
        window::{BYTES, OVERHEAD},
    },
    model::{id::ApplicationId, message::Sequence, name::OrderingKey, sample},
};
use proptest::prelude::*;
use uuid::Uuid;

/// A lane, its store, and what was sent.
struct World {
    lane: Lane,
    order: Order,
    share: usize,
    made: u64,
    /// Not done, by number.
    open: BTreeMap<u64, Arc<Delivery>>,
    /// Set aside.
    store: BTreeMap<Place, Arc<Delivery>>,
    /// Waits for a retry.
    retries: Vec<Arc<Delivery>>,
    under_way: Vec<Arc<Delivery>>,
    sent: Vec<u64>,
    /// How many the store has been asked for.
    asked: usize,
}

fn delivery(number: u64, key: Option<&str>) -> Arc<Delivery> {
    let mut message = sample::message(ApplicationId(Uuid::nil()));
    message.ordering_key = key.map(|key| OrderingKey::new(key).expect("legal"));
    Arc::new(sample::delivery(&Arc::new(message), Sequence(number)))
}

impl World {
    fn new(order: Order, share: usize) -> Self {
        let mut world = Self {
            lane: Lane::new(Limits { rate: None, in_flight: 3, renewed: 1 }, None),
            order,
            share,
            made: 0,
            open: BTreeMap::new(),
            store: BTreeMap::new(),
            retries: Vec::new(),
            under_way: Vec::new(),
            sent: Vec::new(),
            asked: 0,
        };
        world.keep(order);
        world
    }

    /// Keeps that order from now on; what waited is learned at once.
    fn keep(&mut self, order: Order) {
        self.order = order;
        let over = self.lane.set_order(order, self.share);
        self.set_aside(over);
        self.learn();
    }

    fn set_aside(&mut self, over: impl IntoIterator<Item = Arc<Delivery>>) {
        self.store.extend(over.into_iter().map(|delivery| (delivery.place(), delivery)));
    }

    fn learn(&mut self) {
        let outstanding = self.open.values().map(|delivery| Outstanding {
            place: delivery.place(),
            key: delivery.ordering_hash(),
            aside: self.store.contains_key(&delivery.place()),
        });
        self.lane.learn(outstanding.collect());
    }

    fn arrive(&mut self, delivery: Arc<Delivery>) {
        let over = self.lane.offer(delivery, self.share);
        self.set_aside(over);
    }

    fn publish(&mut self, key: Option<&str>) {
        let delivery = delivery(self.made, key);
        self.open.insert(self.made, delivery.clone());
        self.made += 1;
        self.arrive(delivery);
    }

    /// Which chain, as people would say it.
    fn chain(&self, delivery: &Delivery) -> Option<String> {
        match self.order {
            Order::None => None,
            Order::Endpoint => Some(String::new()),
            Order::Key => delivery.ordering_key().map(str::to_owned),
        }
    }

    fn act(&mut self) {
        loop {
            if self.lane.wants(self.share) {
                let Some(fetch) = self.lane.fetch(self.share) else { continue };
                let found: Vec<_> = match &fetch {
                    Fetch::Oldest(count) => std::iter::from_fn(|| self.store.pop_first())
                        .take(*count)
                        .map(|(_, d)| d)
                        .collect(),
                    Fetch::Places(places) => {
                        places.iter().filter_map(|place| self.store.remove(place)).collect()
                    }
                };
                self.asked += 1;
                let over = self.lane.fetched(&fetch, Some(found), self.share);
                self.set_aside(over);
            } else if self.lane.ready(clock::instant()) == Ready::Now {
                let delivery = self.lane.take(clock::instant()).expect("is ready");
                if let Some(chain) = self.chain(&delivery) {
                    let ahead = self.open.values().find(|d| self.chain(d).as_ref() == Some(&chain));
                    assert_eq!(ahead.map(|d| d.key), Some(delivery.key), "the first of {chain}");
                    let beside =
                        self.under_way.iter().filter(|d| self.chain(d).as_ref() == Some(&chain));
                    assert_eq!(beside.count(), 0, "one of {chain} at a time");
                }
                self.sent.push(delivery.key.message.0);
                self.under_way.push(delivery);
            } else {
                break;
            }
        }
    }

    fn end(&mut self, which: usize, ends: bool) {
        if self.under_way.is_empty() {
            return;
        }
        let delivery = self.under_way.remove(which % self.under_way.len());
        match ends {
            true => drop(self.open.remove(&delivery.key.message.0)),
            false => self.retries.push(delivery.clone()),
        }
        self.lane.finished(&delivery, ends);
    }

    fn retry(&mut self, which: usize) {
        if !self.retries.is_empty() {
            let delivery = self.retries.remove(which % self.retries.len());
            self.arrive(delivery);
        }
    }

    /// The process ends and starts again: what had no row comes again, and the rest is found.
    fn crash(&mut self) {
        self.lane = Lane::new(Limits { rate: None, in_flight: 3, renewed: 1 }, None);
        let over = self.lane.set_order(self.order, self.share);
        assert!(over.is_empty());
        self.under_way.clear();
        let waits: HashSet<Place> = self.retries.iter().map(|delivery| delivery.place()).collect();
        let again: Vec<_> = self
            .open
            .values()
            .filter(|delivery| {
                !waits.contains(&delivery.place()) && !self.store.contains_key(&delivery.place())
            })
            .cloned()
            .collect();
        again.into_iter().for_each(|delivery| self.arrive(delivery));
        let ready = self.lane.ready(clock::instant()) == Ready::Now;
        assert!(
            !ready || self.order == Order::Key,
            "nothing is sent before it is known what waits"
        );
        self.learn();
    }

    fn finish(&mut self) {
        for _ in 0..10 * self.made + 10 {
            self.act();
            self.retry(0);
            self.end(0, true);
        }
        assert!(self.open.is_empty(), "left: {:?}", self.open.keys());
        assert!(self.lane.is_idle(clock::instant()) || self.order == Order::None);
    }
}

#[test]
fn a_chain_with_a_backlog_keeps_no_other_waiting() {
    let mut world = World::new(Order::Key, usize::MAX);
    for _ in 0..5_000 {
        world.publish(Some("busy"));
    }
    world.publish(Some("other"));
    world.publish(None);
    world.act();
    assert_eq!(world.sent, [0, 5_000, 5_001]);
    assert!(world.store.len() > 3_000, "most of it is set aside: {}", world.store.len());
    while !world.under_way.is_empty() {
        world.end(0, true);
        world.act();
    }
    assert_eq!(world.sent[3..], (1..5_000).collect::<Vec<_>>());
    assert!(world.asked < 100, "it is fetched by many: {}", world.asked);
}

#[test]
fn a_retry_is_waited_for_and_what_is_sent_again_comes_before_what_is_younger() {
    let mut world = World::new(Order::Endpoint, usize::MAX);
    (0..4).for_each(|_| world.publish(None));
    world.act();
    world.end(0, false);
    world.act();
    assert_eq!(world.sent, [0], "its retry is waited for");
    world.retry(0);
    world.act();
    world.end(0, true);
    world.act();
    assert_eq!(world.sent, [0, 0, 1]);
    // The first is sent again while the second is under way.
    let again = delivery(0, None);
    world.open.insert(0, again.clone());
    world.arrive(again);
    world.end(0, true);
    world.act();
    assert_eq!(world.sent, [0, 0, 1, 0]);
    world.finish();
    assert_eq!(world.sent, [0, 0, 1, 0, 2, 3]);
}

#[test]
fn a_retry_that_is_back_before_its_attempt_has_ended_is_not_lost() {
    let mut world = World::new(Order::Endpoint, usize::MAX);
    world.publish(None);
    world.act();
    let delivery = world.under_way[0].clone();
    world.arrive(delivery);
    world.act();
    assert_eq!(world.sent.len(), 1);
    world.lane.finished(&world.under_way.remove(0), false);
    world.act();
    assert_eq!(world.sent, [0, 0]);
    world.finish();
}

#[test]
fn what_the_store_has_no_more_is_not_waited_for() {
    let mut world = World::new(Order::Endpoint, 0);
    (0..5).for_each(|_| world.publish(None));
    world.act();
    for gone in [1, 3] {
        world.open.remove(&gone);
        world.store.retain(|place, _| place.message.0 != gone);
    }
    world.finish();
    assert_eq!(world.sent, [0, 2, 4]);
}

#[test]
fn a_lane_whose_endpoint_was_disabled_starts_anew() {
    let mut world = World::new(Order::Endpoint, 3 * OVERHEAD);
    (0..9).for_each(|_| world.publish(None));
    world.act();
    world.end(0, false);
    world.act();
    let cleared = world.lane.clear();
    assert!(!cleared.is_empty());
    world.retries.clear();
    world.store.clear();
    world.open.clear();
    assert!(world.lane.is_idle(clock::instant()));
    world.publish(None);
    world.act();
    assert_eq!(world.sent, [0, 9]);
    world.finish();
}

proptest! {
    #[test]
    fn of_a_chain_nothing_is_sent_before_what_is_ahead_of_it(
        by_key in any::<bool>(), share in 0_usize..6,
        actions in prop::collection::vec((0_u8..12, 0_usize..8), 1..150)
    ) {
        let order = if by_key { Order::Key } else { Order::Endpoint };
        let mut world = World::new(order, share * 2 * OVERHEAD);
        for (action, n) in actions {
            match action {
                0..=4 => world.publish([None, Some("a"), Some("b"), Some("c")][n % 4]),
                5 | 6 => world.end(n, true),
                7 | 8 => world.end(n, false),
                9 | 10 => world.retry(n),
                _ => world.crash(),
            }
            world.act();
        }
        world.finish();
    }

    /// It changes its mind while deliveries wait: none is lost, and each order holds once what was under way has ended.
    #[test]
    fn an_order_can_be_changed_while_deliveries_wait(
        share in 0_usize..6, changes in prop::collection::vec((0_usize..3, 0_usize..30, 0_usize..9), 1..8)
    ) {
        let mut world = World::new(Order::None, share * 2 * OVERHEAD);
        for (order, publish, ends) in changes {
            (0..publish).for_each(|n| world.publish([None, Some("a"), Some("b")][n % 3]));
            world.act();
            (0..ends).for_each(|n| world.end(n, n % 3 > 0));
            world.act();
            while !world.under_way.is_empty() {
                world.end(0, true);
            }
            world.keep([Order::None, Order::Endpoint, Order::Key][order]);
            world.act();
        }
        world.finish();
    }
}

#[test]
fn who_is_enabled_again_waits_for_what_is_under_way() {
    let now = clock::instant();
    let delivery = |number| {
        let message = Arc::new(sample::message(ApplicationId(Uuid::nil())));
        Arc::new(sample::delivery(&message, Sequence(number)))
    };
    let mut lane = Lane::new(Limits { rate: None, in_flight: 3, renewed: 1 }, None);
    assert_eq!(lane.set_order(Order::Endpoint, BYTES), []);
    lane.learn(Vec::new());
    let [first, second, third] = [1, 2, 3].map(delivery);
    assert_eq!(lane.offer(first.clone(), BYTES), None);
    assert_eq!(lane.take(now), Some(first.clone()));
    assert_eq!(lane.offer(second.clone(), BYTES), None);
    assert_eq!(lane.clear(), [second], "the endpoint is disabled");
    // And enabled: what waits is learnt again, of which the first is no part.
    assert_eq!(lane.set_order(Order::Endpoint, BYTES), []);
    lane.learn(Vec::new());
    assert_eq!(lane.offer(third.clone(), BYTES), None);
    assert_eq!(lane.ready(now), Ready::No, "the first is under way");
    lane.finished(&first, false);
    assert_eq!(lane.ready(now), Ready::No, "it comes again");
    assert_eq!(lane.offer(first.clone(), BYTES), None);
    assert_eq!(lane.take(now), Some(first.clone()));
    lane.finished(&first, true);
    assert_eq!(lane.take(now), Some(third));
}
