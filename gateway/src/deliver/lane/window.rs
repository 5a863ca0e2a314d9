//! A lane's window: what of its deliveries is in memory. When the window is full, what comes is set aside in the store,
//! and from then on everything is, so that the order stays; when half of it is worked off, more is fetched.

use crate::model::{Millis, delivery::Delivery};
use std::{collections::VecDeque, sync::Arc};

/// How many deliveries a lane keeps in memory: what is set aside costs two more statements.
pub const COUNT: usize = 4096;
/// How many bytes of them, unless it is one.
pub const BYTES: usize = 8 << 20;
/// How many are fetched at once: reading more would keep a core from others for longer than they should notice.
pub const FETCH: usize = 128;
/// What a delivery costs in memory beside its payload, in bytes: its own, its message's and their names.
pub const OVERHEAD: usize = 1024;

/// What of a lane's deliveries is in memory.
#[derive(Debug, Default)]
pub struct Window {
    queue: VecDeque<Arc<Delivery>>,
    /// Of the queue.
    bytes: usize,
    /// Whether the store may hold more.
    aside: bool,
    fetching: bool,
    /// Whether something was set aside since the last fetch began, which it may have missed.
    missed: bool,
}

/// What a delivery counts for, in bytes.
pub fn cost(delivery: &Delivery) -> usize {
    delivery.bytes() + OVERHEAD
}

impl Window {
    /// Takes a delivery, or gives it back to be set aside. It may have `share` bytes of the memory of all lanes.
    #[must_use]
    pub fn offer(&mut self, delivery: Arc<Delivery>, share: usize) -> Option<Arc<Delivery>> {
        if self.aside || !self.has_room(share) {
            self.set_aside();
            return Some(delivery);
        }
        self.push(delivery);
        None
    }

    /// The store holds something for the lane.
    pub fn set_aside(&mut self) {
        self.aside = true;
        self.missed = true;
    }

    /// Takes a delivery, whether there is room or not.
    pub fn push(&mut self, delivery: Arc<Delivery>) {
        self.bytes += cost(&delivery);
        self.queue.push_back(delivery);
    }

    /// The next to send.
    pub fn pop(&mut self) -> Option<Arc<Delivery>> {
        let delivery = self.queue.pop_front()?;
        self.bytes -= cost(&delivery);
        Some(delivery)
    }

    /// The next, if it is too late to send it: it takes no slot.
    pub fn expired(&mut self, now: Millis) -> Option<Arc<Delivery>> {
        let delivery = self.queue.pop_front_if(|first| first.message.has_expired(now))?;
        self.bytes -= cost(&delivery);
        Some(delivery)
    }

    /// Whether there is room for one more.
    #[must_use]
    pub fn has_room(&self, share: usize) -> bool {
        self.queue.is_empty() || (self.queue.len() < COUNT && self.bytes < share.min(BYTES))
    }

    /// How many to fetch, if there is room for many.
    fn space(&self, share: usize) -> Option<usize> {
        let (share, count) = (share.min(BYTES), self.queue.len());
        let room = count == 0 || (count <= COUNT / 2 && self.bytes <= share / 2);
        let more = share.saturating_sub(self.bytes) / OVERHEAD;
        room.then(|| more.clamp(1, FETCH.min(COUNT - count)))
    }

    /// Whether it wants to fetch, where there may be `more`, and did not say so yet.
    #[must_use]
    pub fn wants(&mut self, more: bool, share: usize) -> bool {
        let wants = more && !self.fetching && self.space(share).is_some();
        self.fetching |= wants;
        wants
    }

    /// The fetch that it wanted begins: how many, if it still wants any.
    #[must_use]
    pub fn fetch(&mut self, more: bool, share: usize) -> Option<usize> {
        let space = self.space(share).filter(|_| more);
        self.fetching = space.is_some();
        self.missed = false;
        space
    }

    /// Whether the store may hold more.
    #[must_use]
    pub fn has_aside(&self) -> bool {
        self.aside
    }

    /// What the fetch gave. Only when it gave nothing, and nothing was set aside meanwhile, is there no more: it may
    /// give less than was asked for, since what ended meanwhile is left out.
    pub fn fetched(&mut self, deliveries: Vec<Arc<Delivery>>) {
        self.fetching = false;
        self.aside = self.missed || !deliveries.is_empty();
        deliveries.into_iter().for_each(|delivery| self.push(delivery));
    }

    /// Fetching failed, and is to be tried again; or what it gave is not for here.
    pub fn not_fetched(&mut self) {
        self.fetching = false;
    }

    /// Empties it, when the endpoint is gone or disabled: the store's own have ended.
    #[must_use]
    pub fn clear(&mut self) -> Vec<Arc<Delivery>> {
        self.aside = false;
        self.bytes = 0;
        self.queue.drain(..).collect()
    }

    /// How many deliveries are in memory, and what they cost, in bytes.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.queue.len(), self.bytes)
    }

    /// Whether nothing is to be sent from memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether there is nothing, here or in the store.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.aside && !self.fetching
    }
}
