//! How plugins fail, and what becomes of a message that goes nowhere for now: it waits for another call, or for a person.

use super::components::NotLoaded;
use crate::{
    clock,
    model::{
        Millis,
        failure::{Failure, LogLine},
        id::Digest,
        message::Held,
        name::PluginName,
        plugin::Plugin,
    },
    plugin::CallFailure,
    store::{Dispatched, LeasedMessage},
};

/// How often a message may be called again.
const RETRIES: u32 = 20;
/// How much longer each time, in milliseconds, when the plugin did not get the CPU it may have.
const STARVED: Millis = 1000;
/// Why a message is parked whose plugin is in quarantine.
const QUARANTINED: &str = "quarantined";
/// Why a message is parked whose plugin is not there.
const NOT_LOADED: &str = "not-loaded";

/// A plugin that failed on a message.
#[derive(Debug)]
pub struct Failed {
    /// In one word, for the metrics.
    pub outcome: &'static str,
    /// What becomes of the message where the plugin's policy does not say otherwise.
    held: Held,
    backtrace: String,
    log: Vec<LogLine>,
}

impl Failed {
    fn new(outcome: &'static str, held: Held) -> Self {
        Self { outcome, held, backtrace: String::new(), log: Vec::new() }
    }

    /// It is not called, for this reason.
    pub fn quarantined(reason: String) -> Self {
        Self::new(QUARANTINED, Held::Parked { kind: QUARANTINED.to_owned(), reason })
    }

    /// Its component is not there, after that many calls. Of one that was `replaced` meanwhile that is no wonder.
    pub fn not_loaded(failure: &NotLoaded, calls: u32, replaced: bool) -> Self {
        let reason = failure.to_string();
        let held = match failure {
            NotLoaded::Store(_) | NotLoaded::Busy(_) => {
                Held::Retry { due: clock::now() + STARVED, calls, reason }
            }
            NotLoaded::Shaky(_) | NotLoaded::Bad(_) if replaced => {
                Held::Retry { due: clock::now(), calls, reason }
            }
            NotLoaded::Shaky(_) if calls + 1 < RETRIES => {
                let calls = calls + 1;
                Held::Retry { due: clock::now() + STARVED * u64::from(calls), calls, reason }
            }
            NotLoaded::Shaky(_) | NotLoaded::Bad(_) => {
                Held::Parked { kind: NOT_LOADED.to_owned(), reason }
            }
        };
        Self::new(NOT_LOADED, held)
    }

    /// Its call, the message's so-manieth, failed like this and wrote these lines.
    pub fn of_call(failure: CallFailure, calls: u32, log: Vec<LogLine>) -> Self {
        let (outcome, held) = (failure.kind(), after_failure(&failure, calls));
        let backtrace = match failure {
            CallFailure::Trap { backtrace, .. } => backtrace,
            _ => String::new(),
        };
        Self { outcome, held, backtrace, log }
    }

    /// What becomes of the message, and what is kept of how this version of the plugin failed.
    pub fn record(self, plugin: &PluginName, digest: Digest) -> (Held, Failure) {
        let failure = Failure {
            plugin: plugin.clone(),
            digest,
            kind: self.outcome.to_owned(),
            reason: self.held.reason().to_owned(),
            backtrace: self.backtrace,
            log: self.log,
        };
        (self.held, failure.bounded())
    }
}

/// Notes that a message goes nowhere for now, and why.
pub fn hold(leased: &LeasedMessage, plugin: &Plugin, outcome: &'static str, held: &Held) {
    let (message_id, name) = (leased.message.id, &plugin.name);
    match held {
        Held::Scheduled { .. }
        | Held::Dropped { .. }
        | Held::Crowded { .. }
        | Held::Cancelled
        | Held::Expired => {}
        Held::Retry { reason, .. } => {
            tracing::info!(%message_id, plugin = %name, outcome, reason, "a message waits for another call");
        }
        Held::Parked { reason, .. } => {
            tracing::warn!(%message_id, plugin = %name, outcome, reason, "a message is parked");
        }
        Held::Dead { reason, .. } => {
            tracing::warn!(%message_id, plugin = %name, outcome, reason, "a message is dead");
        }
    }
}

/// What becomes of a message that is dispatched too late.
pub fn expired(leased: &LeasedMessage) -> Dispatched {
    metrics::counter!("octohooks_messages_expired_total").increment(1);
    tracing::info!(message_id = %leased.message.id, "a message expired before it was dispatched");
    Dispatched::Held(Held::Expired, None)
}

/// What becomes of a message whose plugin failed, after that many calls.
fn after_failure(failure: &CallFailure, calls: u32) -> Held {
    match failure {
        // Nothing it did: the CPU was not to be had.
        CallFailure::Timeout(_) if calls < RETRIES => {
            let due = clock::now().saturating_add(STARVED * u64::from(calls));
            Held::Retry { due, calls, reason: failure.to_string() }
        }
        CallFailure::Retry { reason, after_ms } if calls < RETRIES => {
            let due = clock::now().saturating_add(*after_ms);
            Held::Retry { due, calls, reason: reason.clone() }
        }
        other => Held::Parked { kind: other.kind().to_owned(), reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::Rejected;

    #[test]
    fn a_starved_call_is_made_again_and_a_failed_one_waits_for_a_person() {
        let starved = CallFailure::Timeout(1000);
        let before = clock::now();
        for calls in [1, 2, RETRIES - 1] {
            let Held::Retry { due, calls: noted, .. } = after_failure(&starved, calls) else {
                panic!("call {calls} is not the last")
            };
            assert_eq!(noted, calls);
            assert!(due >= before + STARVED * u64::from(calls));
        }
        for (failure, calls) in [(starved, RETRIES), (CallFailure::CpuLimit(100), 1)] {
            let held = after_failure(&failure, calls);
            assert_eq!(held.state(), "parked");
            assert_eq!(held.reason(), failure.to_string());
        }
    }

    #[test]
    fn a_component_that_was_compiled_once_is_compiled_again_before_it_is_at_fault() {
        let rejected = [
            Rejected::OutOfMemory(1),
            Rejected::TooLong("60 s of CPU time".into()),
            Rejected::Crashed("signal 11".into()),
        ];
        for rejected in rejected {
            let failure = NotLoaded::from(rejected.clone());
            let before = clock::now();
            for calls in [0, 1, RETRIES - 2] {
                let Held::Retry { due, calls: noted, .. } =
                    Failed::not_loaded(&failure, calls, false).held
                else {
                    panic!("{rejected} is not the last at call {calls}")
                };
                assert_eq!(noted, calls + 1);
                assert!(due >= before + STARVED * u64::from(noted));
            }
            let last = Failed::not_loaded(&failure, RETRIES - 1, false).held;
            assert_eq!((last.state(), last.reason()), ("parked", &*rejected.to_string()));
        }
        let killed = NotLoaded::from(Rejected::Unavailable("the compiler was killed".into()));
        let held = Failed::not_loaded(&killed, RETRIES, false).held;
        assert_eq!(held.state(), "retry", "that is never the component's fault");
        let broken = NotLoaded::from(Rejected::Compile("too large".into()));
        assert_eq!(Failed::not_loaded(&broken, 0, false).held.state(), "parked");
    }

    #[test]
    fn a_component_that_went_with_its_version_is_no_failure_of_the_plugin() {
        let bad = NotLoaded::Bad("is not in the store".into());
        assert_eq!(Failed::not_loaded(&bad, 1, false).held.state(), "parked");
        assert_eq!(Failed::not_loaded(&bad, 1, true).held.state(), "retry");
    }
}
