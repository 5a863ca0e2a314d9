//! What waits for its time, for [`Waiting`](super::Waiting): the nearest in memory, the rest in its rows alone, so that a
//! retry due tomorrow costs no memory and a start reads no million rows.
//!
//! A time has a place: itself, and what tells apart what is due at once. What stands before the `horizon` is near, and in memory;
//! what stands behind is far: counted here, and read from the rows when its time comes nearer. Only whoever
//! writes the rows moves the horizon, between two writes, so that what is far is exactly what the rows have behind it.

use crate::model::Millis;
use std::collections::BTreeMap;

/// What is due within this time is near, in milliseconds.
const AHEAD: Millis = 3_600_000;
/// At most so many are near: some ten megabytes of keys.
const NEAR: usize = 100_000;
/// At most so many are read at once, which is some ten milliseconds of the writer's.
pub const PIECE: usize = 5_000;

/// A time, and what is due then; none stands before all of that time.
pub type Place<K> = (Millis, Option<K>);

/// What is to be read: from a place on, up to a time.
pub type Wanted<K> = (Place<K>, Millis);

/// Times of one kind of thing.
#[derive(Debug)]
pub struct Timers<K, V> {
    near: BTreeMap<(Millis, K), V>,
    /// None: everything is near.
    horizon: Option<Place<K>>,
    /// How many stand behind it; of those of before the start, once they are counted.
    far: i64,
    counted: bool,
}

impl<K, V> Default for Timers<K, V> {
    fn default() -> Self {
        Self { near: BTreeMap::new(), horizon: None, far: 0, counted: true }
    }
}

impl<K: Copy + Ord, V> Timers<K, V> {
    /// What there is of before the start: behind the horizon, and not counted yet.
    #[must_use]
    pub fn far() -> Self {
        Self { horizon: Some((0, None)), counted: false, ..Self::default() }
    }

    /// Whether that is behind the horizon.
    #[must_use]
    pub fn is_far(&self, due: Millis, key: K) -> bool {
        self.horizon.is_some_and(|horizon| (due, Some(key)) >= horizon)
    }

    /// The horizon, if there is one.
    #[must_use]
    pub const fn horizon(&self) -> Option<Place<K>> {
        self.horizon
    }

    /// Whether nobody else knows of it but its row.
    #[must_use]
    pub fn has(&self, due: Millis, key: K) -> bool {
        self.near.contains_key(&(due, key))
    }

    /// Adds one whose row waits until then. What was there instead, or was near until now, is given back.
    pub fn add(&mut self, due: Millis, key: K, value: V, now: Millis) -> Vec<V> {
        if self.is_far(due, key) {
            self.far += 1;
            return vec![value];
        }
        let replaced = self.near.insert((due, key), value);
        replaced.into_iter().chain(self.narrow(now)).collect()
    }

    /// Adds one that is near, whatever its row says.
    pub fn put_back(&mut self, due: Millis, key: K, value: V) {
        self.near.insert((due, key), value);
    }

    /// Takes out one that waits until then: what it has, if it is near, and whether it waited.
    pub fn remove(&mut self, due: Millis, key: K) -> (Option<V>, bool) {
        if self.is_far(due, key) {
            self.far -= 1;
            return (None, true);
        }
        let removed = self.near.remove(&(due, key));
        let waited = removed.is_some();
        (removed, waited)
    }

    /// Takes the first, if it is due.
    pub fn pop(&mut self, now: Millis) -> Option<(K, V)> {
        let first = self.near.first_entry().filter(|first| first.key().0 <= now)?;
        let ((_, key), value) = first.remove_entry();
        Some((key, value))
    }

    /// When the first that is near is due.
    #[must_use]
    pub fn first(&self) -> Option<Millis> {
        self.near.first_key_value().map(|((due, _), _)| *due)
    }

    /// Keeps only these of those that are near.
    pub fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.near.retain(|(_, key), _| keep(key));
    }

    /// What those that are near have.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.near.values()
    }

    /// So many there were at the start.
    pub const fn count(&mut self, all: i64) {
        self.far += all;
        self.counted = true;
    }

    /// So many of those that are far have ended.
    pub const fn end_far(&mut self, count: i64) {
        self.far -= count;
    }

    /// Whether any may be far.
    #[must_use]
    pub const fn has_far(&self) -> bool {
        !self.counted || self.far != 0
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        let far = usize::try_from(self.far).unwrap_or(0);
        (self.near.len() + far) as u64
    }

    /// How many of them are due.
    #[must_use]
    pub fn due(&self, now: Millis) -> u64 {
        self.near.keys().take_while(|(due, _)| *due <= now).count() as u64
    }

    /// What is to be read by now, if anything.
    #[must_use]
    pub fn wanted(&self, now: Millis) -> Option<Wanted<K>> {
        let horizon = self.horizon?;
        let near = horizon.0 < now.saturating_add(AHEAD / 2) && self.near.len() < NEAR / 2;
        near.then(|| (horizon, now.saturating_add(AHEAD)))
    }

    /// What was wanted was read: these are near now, and all before the place.
    pub fn read(&mut self, found: impl IntoIterator<Item = (Millis, K, V)>, upto: Place<K>) {
        for (due, key, value) in found {
            self.near.insert((due, key), value);
            self.far -= 1;
        }
        self.horizon = Some(upto);
    }

    /// When too many are near, the last of them are far; but none that is due, which may have been taken.
    fn narrow(&mut self, now: Millis) -> Vec<V> {
        let mut narrowed = Vec::new();
        if self.horizon.is_none() || self.near.len() <= NEAR {
            return narrowed;
        }
        while self.near.len() > NEAR / 4 * 3
            && let Some(last) = self.near.last_entry().filter(|last| last.key().0 > now)
        {
            let ((due, key), value) = last.remove_entry();
            self.horizon = Some((due, Some(key)));
            self.far += 1;
            narrowed.push(value);
        }
        narrowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const HOUR: Millis = 3_600_000;

    /// Timers, and the rows of what waits and what was taken, as the store has them.
    struct Modelled {
        timers: Timers<u32, ()>,
        waits: BTreeSet<(Millis, u32)>,
    }

    impl Modelled {
        fn new() -> Self {
            let mut timers = Timers::far();
            timers.count(0);
            Self { timers, waits: BTreeSet::new() }
        }

        /// Reads as the store does, at most that many.
        fn read(&mut self, now: Millis, piece: usize) -> bool {
            let Some((from, to)) = self.timers.wanted(now) else { return false };
            let behind = self.waits.iter().filter(|(due, key)| (*due, Some(*key)) >= from);
            let mut found: Vec<_> = behind.take_while(|(due, _)| *due < to).copied().collect();
            let upto = found.get(piece).map_or((to, None), |(due, key)| (*due, Some(*key)));
            found.truncate(piece);
            self.timers.read(found.into_iter().map(|(due, key)| (due, key, ())), upto);
            true
        }

        fn add(&mut self, due: Millis, key: u32, now: Millis) {
            self.waits.insert((due, key));
            self.timers.add(due, key, (), now);
        }

        fn take(&mut self, now: Millis) -> Vec<u32> {
            let taken: Vec<_> =
                std::iter::from_fn(|| self.timers.pop(now)).map(|(key, ())| key).collect();
            let ended: BTreeSet<_> = taken.iter().collect();
            self.waits.retain(|(_, key)| !ended.contains(key));
            taken
        }
    }

    proptest! {
        #[test]
        fn everything_comes_once_and_when_it_is_due_whatever_the_clock_does(
            steps in prop::collection::vec((0_u8..4, 0_u64..6 * HOUR), 1..60),
        ) {
            let (mut now, mut modelled, mut next) = (HOUR, Modelled::new(), 0);
            for (what, by) in steps {
                match what {
                    0 => {
                        modelled.add(now + by, next, now);
                        next += 1;
                    }
                    // Somebody sends it at once.
                    1 => if let Some((due, key)) = modelled.waits.last().copied() {
                        prop_assert!(modelled.timers.remove(due, key).1);
                        modelled.waits.remove(&(due, key));
                        modelled.add(now, key, now);
                    },
                    2 => now += by,
                    _ => now = now.saturating_sub(by / 8),
                }
                while modelled.read(now, 2) {}
                let due: BTreeSet<_> =
                    modelled.waits.iter().filter(|(due, _)| *due <= now).map(|(_, k)| *k).collect();
                let taken = modelled.take(now);
                prop_assert_eq!(taken.iter().copied().collect::<BTreeSet<_>>(), due);
                prop_assert_eq!(modelled.timers.len(), modelled.waits.len() as u64);
            }
            while modelled.read(now + 100 * HOUR, 2) {}
            modelled.take(now + 100 * HOUR);
            prop_assert!(modelled.waits.is_empty());
            prop_assert_eq!(modelled.timers.len(), 0);
        }
    }

    #[test]
    fn what_is_due_tomorrow_is_not_in_memory_until_tomorrow() {
        let mut modelled = Modelled::new();
        assert!(modelled.read(0, PIECE));
        for key in 0..1000 {
            modelled.add(24 * HOUR, key, 0);
        }
        assert!(!modelled.read(0, PIECE), "nothing is wanted for a while");
        assert_eq!((modelled.timers.near.len(), modelled.timers.len()), (0, 1000));
        assert!(modelled.read(24 * HOUR - HOUR / 4, PIECE));
        assert_eq!((modelled.timers.near.len(), modelled.timers.len()), (1000, 1000));
    }

    #[test]
    fn no_more_than_some_are_near_and_all_come() {
        let mut modelled = Modelled::new();
        assert!(modelled.read(0, PIECE));
        let all = u32::try_from(NEAR).expect("fits") * 2;
        for key in 0..all {
            modelled.add(HOUR / 2 - Millis::from(key), key, 0);
            assert!(modelled.timers.near.len() <= NEAR);
        }
        assert_eq!(modelled.timers.len(), u64::from(all));
        let mut came = 0;
        while came < all as usize {
            came += modelled.take(HOUR).len();
            modelled.read(HOUR, PIECE);
            assert!(modelled.timers.near.len() <= NEAR);
        }
        assert_eq!(modelled.timers.len(), 0);
    }
}
