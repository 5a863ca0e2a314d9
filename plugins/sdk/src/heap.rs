//! The guest's heap, for every component made with this crate: an arena that is there from the start, and the memory
//! beyond it only when that is used up.
//!
//! Each call has a fresh instance. One that never grows its memory is made and given back without a change of the
//! gateway's memory map, which every core has to be told of: measured, two system calls and some 15 µs a call.

use core::{alloc::Layout, arch::wasm32::memory_grow};
use talc::{
    base::{Talc, binning::Binning},
    cell::TalcSyncCell,
    source::Source,
    wasm::WasmBinning,
};

/// Bytes of the arena; holds what a payload of some 50 KiB becomes. Zeros: they are not in the component, and what is not
/// touched costs nothing.
const ARENA: usize = 512 << 10;

/// Bytes of a page of WebAssembly.
const PAGE: usize = 64 << 10;

#[global_allocator]
static HEAP: TalcSyncCell<Memory, WasmBinning> =
    TalcSyncCell::new_wasm(Memory { arena_is_used: false });

static mut BYTES: [u8; ARENA] = [0; ARENA];

#[derive(Debug)]
struct Memory {
    arena_is_used: bool,
}

#[allow(
    unsafe_code,
    reason = "a heap is made of raw memory; nothing else names these bytes, and it allocates nothing itself"
)]
unsafe impl Source for Memory {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        if !talc.source.arena_is_used {
            talc.source.arena_is_used = true;
            // SAFETY: the arena is claimed once, and only here.
            let claimed = unsafe { talc.claim((&raw mut BYTES).cast(), ARENA) };
            return claimed.map(drop).ok_or(());
        }
        // Room for the allocation, its alignment and the allocator's own marks.
        let pages = (layout.size() + layout.align() + 1024).div_ceil(PAGE);
        let base = match memory_grow::<0>(pages) {
            usize::MAX => return Err(()),
            before => (before * PAGE) as *mut u8,
        };
        // SAFETY: the pages are new, so they are nobody's.
        unsafe { talc.claim(base, pages * PAGE) }.map(drop).ok_or(())
    }
}
