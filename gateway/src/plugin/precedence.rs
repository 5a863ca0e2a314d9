//! Which threads go first where there are fewer cores than threads. The system would let a guest that computes go on to the end
//! of its slice, some milliseconds, whoever is woken meanwhile. Linux from 6.12 on prefers whoever asks for a shorter slice:
//! so the ticker asks for a short one, that a tick is one, and threads for those that compute for long ask for a long one.
//! Elsewhere, and where the system refuses, ticks come later and everything works.

#[cfg(target_os = "linux")]
use std::{io, time::Duration};

/// How nice threads are whose guests compute for long: with a tenth of the weight of others, but never starved.
#[cfg(target_os = "linux")]
pub(super) const NICE: i32 = 10;
/// The slice of whoever has little to do and must do it in time: the shortest there is.
#[cfg(target_os = "linux")]
const SHORT: Duration = Duration::from_micros(100);
/// The slice of whoever can wait: the longest there is.
#[cfg(target_os = "linux")]
const LONG: Duration = Duration::from_millis(100);

/// This thread goes before others.
pub(super) fn first() {
    #[cfg(target_os = "linux")]
    ask(0, SHORT);
}

/// This thread goes behind others.
pub(super) fn last() {
    #[cfg(target_os = "linux")]
    ask(NICE, LONG);
}

#[cfg(target_os = "linux")]
fn ask(nice: i32, slice: Duration) {
    let asked = rustix::process::getpriority_process(None)
        .map_err(io::Error::from)
        .and_then(|usual| set(usual.max(nice), slice));
    if let Err(error) = asked {
        tracing::debug!(%error, "the system does not know which threads of plugins go first");
    }
}

/// Sets this thread's niceness and slice.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "no crate has this system call; see SAFETY")]
fn set(nice: i32, slice: Duration) -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or_default(),
        sched_policy: 0,
        sched_flags: u64::try_from(libc::SCHED_FLAG_KEEP_POLICY).unwrap_or_default(),
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: u64::try_from(slice.as_nanos()).unwrap_or_default(),
        sched_deadline: 0,
        sched_period: 0,
    };
    let (this_thread, flags) = (0, 0);
    // SAFETY: the system reads `size` bytes of the attributes, which live until it returns, and keeps no pointer.
    let done = unsafe {
        libc::syscall(libc::SYS_sched_setattr, this_thread, &raw const attributes, flags)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::thread;

    /// How nice a thread of its own is after that, and how long its slice, in nanoseconds.
    fn asked(ask: fn()) -> (i32, u64) {
        let there = thread::spawn(move || {
            ask();
            let nice = rustix::process::getpriority_process(None).expect("a number");
            (nice, slice())
        });
        there.join().expect("an end")
    }

    #[allow(unsafe_code, reason = "no crate has this system call; see SAFETY")]
    fn slice() -> u64 {
        let mut attributes = [0_u64; 7];
        let size = u32::try_from(size_of_val(&attributes)).expect("is small");
        // SAFETY: the system writes at most `size` bytes.
        let done =
            unsafe { libc::syscall(libc::SYS_sched_getattr, 0, attributes.as_mut_ptr(), size, 0) };
        assert_eq!(done, 0, "{}", io::Error::last_os_error());
        attributes[3]
    }

    #[test]
    fn threads_are_as_nice_as_they_should_be_and_where_slices_are_known_theirs_are_theirs() {
        let (usual, known) = asked(|| {});
        assert_eq!(asked(first).0, usual);
        assert_eq!(asked(last).0, usual.max(NICE));
        // Before 6.12 the system says nothing of slices.
        if known > 0 {
            assert_eq!(asked(first).1, 100_000);
            assert_eq!(asked(last).1, 100_000_000);
        }
    }
}
