//! A trial: a version of a plugin beside the active one, on live traffic. In a shadow it sees each message and decides
//! nothing; in a canary it decides on a share of them.
//!
//! Which share is a question of the message's id, so that a message that is called for again meets the same version.

use super::{
    Millis,
    id::{Digest, MessageId},
};
use serde::{Deserialize, Serialize};

/// What a version that is tried may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It sees what the active version has decided on, and is compared with it.
    Shadow,
    /// It decides on a share of the messages.
    Canary {
        /// How many in a hundred: 1 to 100.
        percent: u8,
    },
}

/// A version that is tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Which version: not the active one.
    pub digest: Digest,
    /// What it may do.
    pub mode: Mode,
    /// When the trial began.
    pub since: Millis,
    /// Why it is over before somebody ended it: the version failed too often in a row.
    #[serde(default)]
    pub stopped: Option<String>,
}

impl Trial {
    /// Whether the version that is tried decides on that message.
    #[must_use]
    pub fn decides(&self, message: MessageId) -> bool {
        let Mode::Canary { percent } = self.mode else { return false };
        let [a, b, c, d, ..] = self.digest.0;
        // The end of an id is random; the digest lets each trial have a share of its own.
        let [.., w, x, y, z] = *message.0.as_bytes();
        let point = u32::from_be_bytes([a ^ w, b ^ x, c ^ y, d ^ z]);
        self.stopped.is_none() && (u64::from(point) * 100) >> 32 < u64::from(percent)
    }

    /// Whether the version that is tried sees what the active one has decided on.
    #[must_use]
    pub fn watches(&self) -> bool {
        self.mode == Mode::Shadow && self.stopped.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn canary(percent: u8) -> Trial {
        let mode = Mode::Canary { percent };
        Trial { digest: Digest([9; 32]), mode, since: 1, stopped: None }
    }

    #[test]
    fn a_canary_decides_on_its_share_and_a_larger_one_on_the_same_and_more() {
        let ids: Vec<_> = (0..10_000).map(|_| MessageId(Uuid::now_v7())).collect();
        let mut before: Vec<MessageId> = Vec::new();
        for percent in [1, 10, 50, 99, 100] {
            let trial = canary(percent);
            let taken: Vec<_> = ids.iter().copied().filter(|id| trial.decides(*id)).collect();
            let expected = usize::from(percent) * 100;
            // Five standard deviations.
            assert!(taken.len().abs_diff(expected) <= 250, "{percent}: {}", taken.len());
            assert!(before.iter().all(|id| trial.decides(*id)), "{percent}");
            before = taken;
        }
        assert_eq!(before.len(), ids.len(), "all of them");
    }

    #[test]
    fn a_shadow_decides_nothing_and_what_was_stopped_sees_nothing() {
        let id = MessageId(Uuid::now_v7());
        let shadow = Trial { mode: Mode::Shadow, ..canary(100) };
        assert!(shadow.watches() && !shadow.decides(id));
        let stopped = Some("why".to_owned());
        assert!(!Trial { stopped: stopped.clone(), ..shadow }.watches());
        assert!(!Trial { stopped, ..canary(100) }.decides(id));
        assert!(canary(100).decides(id) && !canary(100).watches());
    }
}
