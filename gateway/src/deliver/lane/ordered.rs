//! A lane and the store: what is fetched, in the order that the endpoint asks for or in that of the messages.

use super::{
    Lane,
    order::{Arrived, Chains},
};
use crate::{
    model::{
        delivery::{Delivery, Place},
        endpoint::Order,
    },
    store::Outstanding,
};
use std::sync::Arc;

/// What to fetch of what was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// So many of the oldest.
    Oldest(usize),
    /// These.
    Places(Vec<Place>),
}

impl Lane {
    /// Which order it keeps.
    #[must_use]
    pub fn order(&self) -> Order {
        self.chains.as_ref().map_or(Order::None, |chains| chains.order())
    }

    /// What comes queues at its chain, and at the window if its turn is now.
    pub(super) fn offer_in_order(
        &mut self,
        delivery: Arc<Delivery>,
        share: usize,
    ) -> Option<Arc<Delivery>> {
        let Some(chains) = &mut self.chains else { return Some(delivery) };
        match chains.arrive(delivery, share) {
            Arrived::Next(delivery) if chains.wants() || !self.window.has_room(share) => {
                chains.no_room(&delivery);
                Some(delivery)
            }
            Arrived::Next(delivery) => {
                self.window.push(delivery);
                None
            }
            Arrived::Blocked => None,
            Arrived::Aside(delivery) => Some(delivery),
        }
    }

    /// Keeps that order from now on, of which nothing is known yet but what is under way, where it is the same one. What is here
    /// queues anew; what is to be set aside.
    #[must_use]
    pub fn set_order(&mut self, order: Order, share: usize) -> Vec<Arc<Delivery>> {
        let mut here = self.clear();
        here.sort_by_key(|delivery| delivery.place());
        self.chains = match self.chains.take() {
            _ if order == Order::None => None,
            Some(chains) if chains.order() == order => Some(Box::new(chains.anew())),
            _ => Some(Box::new(Chains::new(order))),
        };
        let over = here.into_iter().filter_map(|delivery| self.offer(delivery, share)).collect();
        if order == Order::None {
            // What the chains knew to be in the store.
            self.window.set_aside();
        }
        over
    }

    /// What waited before it kept an order is known.
    pub fn learn(&mut self, outstanding: Vec<Outstanding>) {
        let next = self.chains.as_mut().map(|chains| chains.learn(outstanding));
        next.into_iter().flatten().for_each(|next| self.window.push(next));
    }

    /// Whether it wants to fetch, and did not say so yet.
    #[must_use]
    pub fn wants(&mut self, share: usize) -> bool {
        let more = self.has_more();
        self.window.wants(more, share)
    }

    fn has_more(&self) -> bool {
        self.chains.as_ref().map_or(self.window.has_aside(), |chains| chains.wants())
    }

    /// The fetch that it wanted begins: what, if it still wants anything.
    #[must_use]
    pub fn fetch(&mut self, share: usize) -> Option<Fetch> {
        let more = self.has_more();
        let count = self.window.fetch(more, share)?;
        Some(match &mut self.chains {
            None => Fetch::Oldest(count),
            Some(chains) => Fetch::Places(chains.fetch(count)),
        })
    }

    /// What a fetch gave; none: it failed, and is to be made again. What is to be set aside.
    #[must_use]
    pub fn fetched(
        &mut self,
        fetch: &Fetch,
        found: Option<Vec<Arc<Delivery>>>,
        share: usize,
    ) -> Vec<Arc<Delivery>> {
        match (fetch, found, &mut self.chains) {
            (Fetch::Oldest(_), Some(found), None) => self.window.fetched(found),
            (Fetch::Places(places), Some(found), Some(chains)) => {
                self.window.not_fetched();
                let next = chains.fetched(places, found);
                next.into_iter().for_each(|next| self.window.push(next));
            }
            (Fetch::Places(places), None, Some(chains)) => {
                self.window.not_fetched();
                chains.not_fetched(places);
            }
            // Another order is kept meanwhile, or it failed.
            (_, found, _) => {
                self.window.not_fetched();
                let found = found.into_iter().flatten();
                match self.chains {
                    None => {
                        self.window.set_aside();
                        found.for_each(|delivery| self.window.push(delivery));
                    }
                    Some(_) => {
                        return found.filter_map(|found| self.offer(found, share)).collect();
                    }
                }
            }
        }
        Vec::new()
    }

    /// Empties it, when the endpoint is gone or disabled: the store's own have ended. There is nothing to learn then.
    #[must_use]
    pub fn clear(&mut self) -> Vec<Arc<Delivery>> {
        let mut cleared = self.window.clear();
        if let Some(chains) = &mut self.chains {
            let here = chains.clear(&cleared);
            cleared.extend(here);
        }
        cleared
    }
}
