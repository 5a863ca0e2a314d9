//! The order of an endpoint's deliveries, where it asks for one: per endpoint, or per ordering key. Pure.
//!
//! What belongs together is a chain, in the order of the messages' acceptance. One of a chain is sent at a time: the
//! next one's turn is when the one ahead is delivered, is a dead letter, has expired or was given up; a retry is waited
//! for. Of what waits behind, some is here and the rest is set aside in the store, by place: so what is blocked fills no
//! window, and a chain with a backlog keeps no other waiting. What is sent again takes its message's place, which is
//! ahead of what is younger.
//!
//! What is not done is known here by chain and place, some 60 bytes each. When a lane begins to keep an order, what waited
//! before is looked up once ([`Chains::learn`]); until then everything that has a chain waits.

use super::window::cost;
use crate::{
    model::{
        delivery::{Delivery, Place},
        endpoint::Order,
    },
    store::Outstanding,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

/// How many bytes of what is blocked are kept here, if the lane's share is not smaller.
const HERE: usize = 1 << 20;
/// How many are fetched at once.
const FETCH: usize = 128;

/// Which chain, by the hash of the ordering key.
type Chain = u64;

/// Where something is whose turn has not come.
#[derive(Debug)]
enum Whereabouts {
    Here(Arc<Delivery>),
    /// In the store, to be fetched by its place.
    Aside,
    /// It comes by itself: it waits for a retry, is under way, or is on its way to its lane.
    Away,
}

/// What becomes of a delivery that arrives.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrived {
    /// Its turn is now.
    Next(Arc<Delivery>),
    /// It waits here.
    Blocked,
    /// It waits in the store: to be set aside.
    Aside(Arc<Delivery>),
}

/// An endpoint's chains.
#[derive(Debug)]
pub struct Chains {
    order: Order,
    /// What is not done.
    all: BTreeMap<(Chain, Place), Whereabouts>,
    /// Of each chain, the one whose turn it is.
    turns: HashMap<Chain, Place>,
    /// Whose turn it is and who are in the store, and what has no chain and is there.
    wanted: BTreeSet<Place>,
    /// Of what is here, in bytes.
    bytes: usize,
    /// While what waited before is not known: what has ended since.
    learning: Option<HashSet<Place>>,
}

impl Chains {
    /// Chains of which nothing is known yet.
    #[must_use]
    pub fn new(order: Order) -> Self {
        Self {
            order,
            all: BTreeMap::new(),
            turns: HashMap::new(),
            wanted: BTreeSet::new(),
            bytes: 0,
            learning: Some(HashSet::new()),
        }
    }

    /// Chains of an endpoint for which nothing waits.
    #[must_use]
    pub fn known(order: Order) -> Self {
        Self { learning: None, ..Self::new(order) }
    }

    /// The same, where what waits is to be learnt again.
    #[must_use]
    pub fn anew(self) -> Self {
        Self { learning: Some(HashSet::new()), ..self }
    }

    /// Which order it is.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order
    }

    /// The chain of what has that ordering key, if it is in any.
    fn chain(&self, key: Option<u64>) -> Option<Chain> {
        match self.order {
            Order::None => None,
            Order::Endpoint => Some(0),
            Order::Key => key,
        }
    }

    /// A delivery comes to its lane, for the first time or again.
    #[must_use]
    pub fn arrive(&mut self, delivery: Arc<Delivery>, share: usize) -> Arrived {
        let place = delivery.place();
        let Some(chain) = self.chain(delivery.ordering_hash()) else {
            return Arrived::Next(delivery);
        };
        self.put(chain, place, Whereabouts::Away);
        let is_next = self.learning.is_none()
            && !self.turns.contains_key(&chain)
            && self.first(chain) == Some(place);
        if is_next {
            self.turns.insert(chain, place);
            return Arrived::Next(delivery);
        }
        let fits = self.bytes + cost(&delivery) <= share.min(HERE);
        if fits {
            self.put(chain, place, Whereabouts::Here(delivery));
            return Arrived::Blocked;
        }
        self.put(chain, place, Whereabouts::Aside);
        Arrived::Aside(delivery)
    }

    /// The window has no room for a delivery whose turn it is: it is set aside, and fetched when there is.
    pub fn no_room(&mut self, delivery: &Delivery) {
        self.wanted.insert(delivery.place());
    }

    /// An attempt has ended, and the delivery with it if it `ends`; what is next is given, if it is here.
    #[must_use]
    pub fn finished(&mut self, delivery: &Delivery, ends: bool) -> Option<Arc<Delivery>> {
        let (chain, place) = (self.chain(delivery.ordering_hash())?, delivery.place());
        self.end(chain, place, ends)
    }

    fn end(&mut self, chain: Chain, place: Place, ends: bool) -> Option<Arc<Delivery>> {
        if self.turns.get(&chain) == Some(&place) {
            self.turns.remove(&chain);
        }
        if ends {
            // It may be back already: then it was sent again, and has its turn again.
            if matches!(self.all.get(&(chain, place)), Some(Whereabouts::Away)) {
                self.all.remove(&(chain, place));
            }
            self.learning.iter_mut().for_each(|ended| ended.extend([place]));
        }
        self.next(chain)
    }

    /// The chain's next has its turn, if none has; given, if it is here.
    fn next(&mut self, chain: Chain) -> Option<Arc<Delivery>> {
        if self.learning.is_some() || self.turns.contains_key(&chain) {
            return None;
        }
        let (&(_, place), whereabouts) =
            self.all.range_mut((chain, FIRST)..=(chain, LAST)).next()?;
        match std::mem::replace(whereabouts, Whereabouts::Away) {
            // It is waited for.
            Whereabouts::Away => None,
            Whereabouts::Aside => {
                self.turns.insert(chain, place);
                self.wanted.insert(place);
                None
            }
            Whereabouts::Here(delivery) => {
                self.bytes -= cost(&delivery);
                self.turns.insert(chain, place);
                Some(delivery)
            }
        }
    }

    /// Whether something is to be fetched.
    #[must_use]
    pub fn wants(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// What to fetch, at most so many: those whose turn it is, and some of what follows them.
    #[must_use]
    pub fn fetch(&mut self, most: usize) -> Vec<Place> {
        let most = most.min(FETCH);
        let wanted = std::iter::from_fn(|| self.wanted.pop_first());
        let mut places: Vec<Place> = wanted.take(most).collect();
        let turns: HashMap<Place, Chain> = match places.len() < most {
            true => self.turns.iter().map(|(chain, place)| (*place, *chain)).collect(),
            false => HashMap::new(),
        };
        for head in places.clone() {
            let Some(chain) = turns.get(&head) else { continue };
            let behind = self.all.range((*chain, head)..=(*chain, LAST)).skip(1);
            let behind = behind.take_while(|(_, w)| matches!(w, Whereabouts::Aside));
            let room = most - places.len();
            places.extend(behind.take(room).map(|((_, place), _)| *place));
        }
        places
    }

    /// What a fetch of those gave: what is next, for the window. What is not found has ended.
    #[must_use]
    pub fn fetched(&mut self, wanted: &[Place], found: Vec<Arc<Delivery>>) -> Vec<Arc<Delivery>> {
        let mut next = Vec::new();
        let there: HashSet<Place> = found.iter().map(|delivery| delivery.place()).collect();
        for delivery in found {
            let place = delivery.place();
            match self.chain(delivery.ordering_hash()) {
                Some(chain) if self.turns.get(&chain) != Some(&place) => {
                    self.put(chain, place, Whereabouts::Here(delivery));
                    next.extend(self.next(chain));
                }
                _ => next.push(delivery),
            }
        }
        let gone: HashSet<Place> =
            wanted.iter().filter(|at| !there.contains(at)).copied().collect();
        if !gone.is_empty() {
            let of = self.all.keys().filter(|(_, place)| gone.contains(place));
            for (chain, place) in of.copied().collect::<Vec<_>>() {
                next.extend(self.end(chain, place, true));
            }
        }
        next
    }

    /// Fetching those failed: they are wanted again.
    pub fn not_fetched(&mut self, wanted: &[Place]) {
        self.wanted.extend(wanted);
    }

    /// What waited before is known: what is next, for the window.
    #[must_use]
    pub fn learn(&mut self, outstanding: Vec<Outstanding>) -> Vec<Arc<Delivery>> {
        let Some(ended) = self.learning.take() else { return Vec::new() };
        for Outstanding { place, key, aside } in outstanding {
            if ended.contains(&place) {
                continue;
            }
            match self.chain(key) {
                Some(chain) => {
                    let new = if aside { Whereabouts::Aside } else { Whereabouts::Away };
                    self.all.entry((chain, place)).or_insert(new);
                }
                None if aside => self.wanted.extend([place]),
                None => {}
            }
        }
        let mut chains: Vec<Chain> = self.all.keys().map(|(chain, _)| *chain).collect();
        chains.dedup();
        chains.into_iter().filter_map(|chain| self.next(chain)).collect()
    }

    /// What is here, when all that waits has ended but for what is under way: those whose turn it is, unless they were among
    /// `waited`, in the window. Nothing goes ahead of them.
    #[must_use]
    pub fn clear(&mut self, waited: &[Arc<Delivery>]) -> Vec<Arc<Delivery>> {
        let waited = waited.iter().map(|delivery| delivery.place());
        let waited: HashSet<Place> = waited.chain(std::mem::take(&mut self.wanted)).collect();
        let known = Self::known(self.order);
        let old = std::mem::replace(self, known);
        for (chain, place) in old.turns.iter().filter(|(_, place)| !waited.contains(place)) {
            self.turns.insert(*chain, *place);
            self.put(*chain, *place, Whereabouts::Away);
        }
        old.dissolve()
    }

    /// What is here, when the endpoint keeps another order, or none, or is gone.
    #[must_use]
    pub fn dissolve(self) -> Vec<Arc<Delivery>> {
        let here = self.all.into_values().filter_map(|whereabouts| match whereabouts {
            Whereabouts::Here(delivery) => Some(delivery),
            _ => None,
        });
        here.collect()
    }

    /// Of what is here, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is known of anything that is not done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.wanted.is_empty() && self.learning.is_none()
    }

    fn first(&self, chain: Chain) -> Option<Place> {
        self.all.range((chain, FIRST)..=(chain, LAST)).next().map(|((_, place), _)| *place)
    }

    fn put(&mut self, chain: Chain, place: Place, new: Whereabouts) {
        if let Whereabouts::Here(delivery) = &new {
            self.bytes += cost(delivery);
        }
        if let Some(Whereabouts::Here(delivery)) = self.all.insert((chain, place), new) {
            self.bytes -= cost(&delivery);
        }
    }
}

/// The first and the last place there can be.
const FIRST: Place = Place { message: crate::model::message::Sequence(0), ordinal: 0 };
const LAST: Place = Place { message: crate::model::message::Sequence(u64::MAX), ordinal: u32::MAX };

#[cfg(test)]
mod tests;
