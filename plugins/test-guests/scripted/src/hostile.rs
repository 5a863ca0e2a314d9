//! What a plugin must not do, and the gateway must survive. For `act`; none of it is run by this
//! crate's own tests.

use std::hint::black_box;

/// Traps, after its text went to the log.
pub fn panic(reason: &str) -> ! {
    panic!("{reason}")
}

/// Computes for ever.
pub fn spin() -> ! {
    let mut turns: u64 = 0;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Takes memory by the megabyte, and uses it, until it gets no more; then the allocator aborts.
pub fn fill_memory() -> ! {
    let mut taken = Vec::new();
    loop {
        taken.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// Calls itself `depth` times: more than any stack has room for.
pub fn recurse(depth: u64) -> u64 {
    if depth == 0 {
        return 0;
    }
    black_box(recurse(black_box(depth - 1))).wrapping_add(depth)
}
