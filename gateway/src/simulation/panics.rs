//! Panics of a simulation's tasks: tokio keeps them to itself, and a broken invariant is one.

use std::{cell::Cell, sync::Once};

thread_local! {
    static SEEN: Cell<usize> = const { Cell::new(0) };
}

/// Counts them from now on, on every thread for itself.
pub fn count() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            SEEN.set(SEEN.get() + 1);
            before(info);
        }));
    });
}

/// How many this thread has seen.
pub fn seen() -> usize {
    SEEN.get()
}
