//! File descriptors: how many the system grants, and who may have how many. Connections of senders, requests to
//! receivers and the store's files all come out of one number; each gets its share, so that none starves the others.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For the store's files, what listens, logs and libraries.
const KEPT: usize = 192;
/// Fewer are not enough to begin with.
const LEAST: usize = 256;
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
    /// Raises the process's limit as far as it may be raised, and shares out what there is; a line for the operator if that is
    /// too little.
    pub fn raise() -> Result<Self, String> {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        let granted = if raised.is_ok() { maximum } else { current };
        Self::of(granted.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX)))
    }

    fn of(granted: usize) -> Result<Self, String> {
        if granted < LEAST {
            return Err(format!(
                "the process may open {granted} files at once (`ulimit -n`): it needs {LEAST}, and some thousands for many receivers"
            ));
        }
        let share = ((granted - KEPT) / 2).min(MOST);
        // As many as are under way at once to hosts that serve many endpoints: a new connection costs as much as several requests.
        Ok(Self { connections: share, requests: share, idle: (share / 4).clamp(4, 2048) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_gets_a_share() {
        assert_eq!(
            Descriptors::of(1024),
            Ok(Descriptors { connections: 416, requests: 416, idle: 104 })
        );
        let most = Descriptors { connections: MOST, requests: MOST, idle: 2048 };
        assert_eq!(Descriptors::of(usize::MAX), Ok(most));
        let least = Descriptors { connections: 32, requests: 32, idle: 8 };
        assert_eq!(Descriptors::of(LEAST), Ok(least));
        assert!(Descriptors::of(LEAST - 1).expect_err("too few").contains("ulimit -n"));
    }
}
