//! Who is to be woken when: one timer each, and one alarm for all of them.

use crate::model::id::{ApplicationId, EndpointId};
use std::{collections::BTreeSet, time::Instant};

/// Who is to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wake {
    /// A lane, for its endpoint's next slot, or since its pause ends.
    Lane(EndpointId),
    /// An application, for its next slot.
    Application(ApplicationId),
    /// The gateway, for its own next slot.
    Gateway,
    /// Whoever looks after idle lanes.
    Ages,
}

/// All timers.
#[derive(Debug, Default)]
pub struct Timers {
    set: BTreeSet<(Instant, Wake)>,
    /// What the alarm is set to.
    alarm: Option<Instant>,
}

impl Timers {
    /// Wakes it then and at no other time; `timer` is where it notes that.
    pub fn set(&mut self, timer: &mut Option<Instant>, at: Instant, wake: Wake) {
        if *timer != Some(at) {
            self.unset(timer, wake);
            *timer = Some(at);
            self.add(at, wake);
        }
    }

    /// Does not wake it.
    pub fn unset(&mut self, timer: &mut Option<Instant>, wake: Wake) {
        if let Some(before) = timer.take() {
            self.set.remove(&(before, wake));
        }
    }

    /// Wakes it then.
    pub fn add(&mut self, at: Instant, wake: Wake) {
        self.set.insert((at, wake));
    }

    /// One whose time has come.
    pub fn pop(&mut self, now: Instant) -> Option<Wake> {
        let (at, _) = self.set.first()?;
        if *at > now {
            return None;
        }
        self.set.pop_first().map(|(_, wake)| wake)
    }

    /// The earliest time: what the alarm is set to from now on.
    pub fn alarm(&mut self) -> Option<Instant> {
        self.alarm = self.set.first().map(|(at, _)| *at);
        self.alarm
    }

    /// Whether the earliest time is before the alarm.
    #[must_use]
    pub fn is_earlier(&self) -> bool {
        let first = self.set.first().map(|(at, _)| *at);
        first.is_some_and(|first| self.alarm.is_none_or(|alarm| first < alarm))
    }
}
