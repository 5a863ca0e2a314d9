//! The doors that messages are sent through: HTTP alone, or with `--nats` all three. Which one a message takes is decided
//! by its number and nothing else, so that what came through a door can be held against what must have.

use super::broker::{request_subject, stream_subject};

/// A way to send a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// A POST, answered when the message is on disk.
    Http,
    /// A request over NATS, answered when the message is on disk.
    Request,
    /// A publish to a JetStream stream, acknowledged when the message is in the stream.
    Stream,
}

impl Door {
    /// What programs call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Request => "request",
            Self::Stream => "stream",
        }
    }

    /// What people call it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Request => "NATS request",
            Self::Stream => "JetStream",
        }
    }

    /// What it is, for people.
    pub fn what(self) -> String {
        match self {
            Self::Http => "half: POST; the answer says that the message is on disk".into(),
            Self::Request => format!("a quarter: {}; the reply says so", request_subject()),
            Self::Stream => format!("a quarter: {}, a stream the gateway reads", stream_subject()),
        }
    }
}

/// Which doors are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doors {
    /// HTTP alone.
    #[default]
    Http,
    /// All three.
    All,
}

impl Doors {
    /// They, in the order in which they are shown.
    pub const fn each(self) -> &'static [Door] {
        match self {
            Self::Http => &[Door::Http],
            Self::All => &[Door::Http, Door::Request, Door::Stream],
        }
    }

    /// The door of message number `n`.
    pub const fn of(self, n: u32) -> Door {
        match self {
            Self::Http => Door::Http,
            // What becomes of a message goes by its last digit: each ten begins at another door than the ten before, so
            // that each door gets some of everything.
            Self::All => match (n + n / 10) % 4 {
                1 => Door::Request,
                3 => Door::Stream,
                _ => Door::Http,
            },
        }
    }

    /// How many of so many messages go through a door.
    pub fn expected(self, messages: u32, door: Door) -> u32 {
        let count = (0..messages).filter(|n| self.of(*n) == door).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::status, *};
    use std::collections::HashMap;

    #[test]
    fn a_half_and_two_quarters_are_mixed_and_each_has_some_of_every_fate() {
        let mut of = HashMap::<_, u32>::new();
        (0..400).for_each(|n| *of.entry((Doors::All.of(n), status::fate(n))).or_default() += 1);
        for (door, share) in [(Door::Http, 2), (Door::Request, 1), (Door::Stream, 1)] {
            for (fate, in_ten) in
                [(status::Fate::Sent, 6), (status::Fate::Dropped, 2), (status::Fate::Failure, 2)]
            {
                assert_eq!(of[&(door, fate)], 10 * share * in_ten, "{door:?} {fate:?}");
            }
            assert_eq!(Doors::All.expected(400, door), 100 * share);
            let all = (0..400).step_by(8).all(|n| (n..n + 8).any(|n| Doors::All.of(n) == door));
            assert!(all, "{door:?} is never idle for long");
        }
        assert_eq!(Doors::Http.expected(400, Door::Http), 400);
        assert_eq!(Doors::Http.expected(400, Door::Stream), 0);
    }
}
