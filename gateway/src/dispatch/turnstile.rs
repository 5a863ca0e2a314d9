//! A turnstile: how much of one application may be in its plugin or wait for it. Pure.
//!
//! What comes while it is full waits on disk, and from then on everything does, so that the order stays; when half is
//! worked off, it asks for more. What a [`Lane`](crate::deliver::lane::Lane) is to an endpoint, this is to a plugin:
//! a slow one costs its own application time, and nobody memory.

/// How many messages may be in.
pub const CALLS: usize = 1024;
/// How many bytes their payloads may have together, unless it is one message.
pub const BYTES: usize = 16 << 20;
/// How many messages are asked for at once.
pub const FETCH: usize = 128;

/// One application's turnstile.
#[derive(Debug, Default)]
pub struct Turnstile {
    calls: usize,
    bytes: usize,
    /// Whether the store may hold more.
    crowded: bool,
    fetching: bool,
    /// Whether something was left on disk since the last fetch began, which it may have missed.
    missed: bool,
}

impl Turnstile {
    /// The turnstile of an application whose messages wait on disk.
    #[must_use]
    pub fn crowded() -> Self {
        Self { crowded: true, ..Self::default() }
    }

    /// A message with a payload of that many bytes comes: whether it goes in.
    #[must_use]
    pub fn enter(&mut self, bytes: usize) -> bool {
        if self.crowded || self.calls >= CALLS || self.bytes >= BYTES {
            self.crowded = true;
            self.missed = true;
            return false;
        }
        self.admit(bytes);
        true
    }

    /// One that was fetched goes in.
    pub fn admit(&mut self, bytes: usize) {
        self.calls += 1;
        self.bytes += bytes;
    }

    /// One goes out.
    pub fn leave(&mut self, bytes: usize) {
        self.calls = self.calls.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// How many to fetch now, if any.
    #[must_use]
    pub fn fetch(&mut self) -> Option<usize> {
        let room = self.calls <= CALLS / 2 && self.bytes <= BYTES / 2;
        (self.crowded && !self.fetching && room).then(|| {
            self.fetching = true;
            self.missed = false;
            FETCH
        })
    }

    /// A fetch gave that many. Only when it gave none, and none was left on disk meanwhile, are there no more.
    pub fn fetched(&mut self, count: usize) {
        self.fetching = false;
        self.crowded = self.missed || count > 0;
    }

    /// Fetching failed; ask again.
    pub fn not_fetched(&mut self) {
        self.fetching = false;
    }

    /// Whether nothing is in, and nothing waits.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.calls == 0 && !self.crowded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        /// Whatever comes when: everything goes in once and in order, and never more than may.
        #[test]
        fn everything_goes_in_once_and_in_order(
            actions in prop::collection::vec((0_u8..4, 1_usize..600), 1..100), bytes in 0_usize..50_000
        ) {
            let mut turnstile = Turnstile::default();
            let (mut came, mut inside, mut went_in) = (0, 0, Vec::new());
            let (mut disk, mut fetching) = (VecDeque::new(), None);
            let fetch = |turnstile: &mut Turnstile, disk: &mut VecDeque<usize>| {
                turnstile.fetch().map(|count| disk.drain(..count.min(disk.len())).collect::<Vec<_>>())
            };
            let mut end = false;
            let mut actions = actions.into_iter();
            while !end {
                let action = actions.next();
                end = action.is_none() && fetching.is_none() && inside == 0;
                match action.unwrap_or((if fetching.is_some() { 3 } else { 2 }, usize::MAX)) {
                    (0 | 1, count) => for _ in 0..count {
                        match turnstile.enter(bytes) {
                            true => { went_in.push(came); inside += 1; }
                            false => disk.push_back(came),
                        }
                        came += 1;
                    },
                    (2, count) => for _ in 0..count.min(inside) {
                        turnstile.leave(bytes);
                        inside -= 1;
                        fetching = fetching.or_else(|| fetch(&mut turnstile, &mut disk));
                    },
                    _ => if let Some(taken) = fetching.take() {
                        turnstile.fetched(taken.len());
                        inside += taken.len();
                        taken.iter().for_each(|_| turnstile.admit(bytes));
                        went_in.extend(taken);
                        fetching = fetch(&mut turnstile, &mut disk);
                    }
                }
                prop_assert!(inside <= CALLS);
                prop_assert!(inside * bytes <= BYTES + FETCH * bytes);
            }
            prop_assert!(turnstile.idle());
            prop_assert_eq!(went_in, (0..came).collect::<Vec<_>>());
        }
    }
}
