//! File descriptors: how many the system grants, and who may have how many. Connections of senders, requests to
//! receivers and the store's files all come out of one number; each gets its share, so that none starves the others.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For the store's files, what listens, logs and libraries.
const KEPT: usize = 192;
/// More of a kind than anybody needs.
const MOST: usize = 20_000;

/// The shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Connections of senders at once.
    pub connections: usize,
    /// Requests to receivers at once.
    pub requests: usize,
    /// Idle connections to one receiver.
    pub idle: usize,
}

impl Descriptors {
    /// Raises the process's limit as far as it may be raised, and shares out what there is.
    #[must_use]
    pub fn raise() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        let granted = if raised.is_ok() { maximum } else { current };
        Self::of(granted.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX)))
    }

    fn of(granted: usize) -> Self {
        let share = (granted.saturating_sub(KEPT) / 2).clamp(16, MOST);
        // As many as are under way at once to hosts that serve many endpoints: a new connection costs as much as several requests.
        Self { connections: share, requests: share, idle: (share / 4).clamp(4, 2048) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_gets_a_share() {
        assert_eq!(
            Descriptors::of(1024),
            Descriptors { connections: 416, requests: 416, idle: 104 }
        );
        let most = Descriptors { connections: MOST, requests: MOST, idle: 2048 };
        assert_eq!(Descriptors::of(usize::MAX), most);
        assert_eq!(Descriptors::of(0).requests, 16);
    }
}
