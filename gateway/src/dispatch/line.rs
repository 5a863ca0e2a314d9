//! A line: what calls give comes out in the order in which they began, where an application's endpoint asks for an order
//! or the message was held.
//! Pure. Plugin calls of one application run beside each other and end as they end; one that takes long keeps what began
//! after it waiting, of its own application. What is held (parked, called again later) leaves its place in the line, and
//! has none before it is dispatched.

use std::collections::VecDeque;

/// Those that wait for others to end.
#[derive(Debug)]
pub struct Line<T> {
    /// The number of the first.
    first: u64,
    places: VecDeque<Option<T>>,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { first: 0, places: VecDeque::new() }
    }
}

impl<T> Line<T> {
    /// A call begins; its place.
    #[must_use]
    pub fn enter(&mut self) -> u64 {
        self.places.push_back(None);
        self.first + self.places.len() as u64 - 1
    }

    /// The call of that place has ended and gave this: what comes out now, in order.
    #[must_use]
    pub fn leave(&mut self, place: u64, gave: T) -> Vec<T> {
        let index = usize::try_from(place - self.first).unwrap_or(usize::MAX);
        if let Some(slot) = self.places.get_mut(index) {
            *slot = Some(gave);
        }
        let mut out = Vec::new();
        while let Some(gave) = self.places.pop_front_if(|slot| slot.is_some()) {
            out.extend(gave);
            self.first += 1;
        }
        out
    }

    /// Whether nobody waits, and nobody is waited for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn however_calls_end_their_results_come_out_in_order(ends in Just((0..30_u64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut line = Line::default();
            let places: Vec<_> = ends.iter().map(|_| line.enter()).collect();
            let mut out = Vec::new();
            for (count, end) in ends.iter().enumerate() {
                out.extend(line.leave(places[*end as usize], *end));
                let ended = &ends[..=count];
                let ready = (0..30).take_while(|n| ended.contains(n)).count();
                prop_assert_eq!(out.len(), ready, "nothing waits for nobody");
            }
            prop_assert_eq!(out, (0..30).collect::<Vec<_>>());
            prop_assert!(line.is_empty());
            let (first, second) = (line.enter(), line.enter());
            prop_assert_eq!(line.leave(second, 2), [] as [u64; 0]);
            prop_assert_eq!(line.leave(first, 1), [1, 2]);
        }
    }
}
