//! What becomes of a message that goes nowhere for now: it waits for another call, or for a person.

use crate::{
    clock,
    model::{Millis, message::Held, plugin::Plugin},
    plugin::CallFailure,
    store::{Dispatched, LeasedMessage},
};
use std::sync::Arc;

/// How often a message may be called again.
const RETRIES: u32 = 20;
/// How much longer each time, in milliseconds, when the plugin did not get the CPU it may have.
pub const STARVED: Millis = 1000;

/// Notes that a message goes nowhere for now, and why.
pub fn hold(
    leased: &LeasedMessage,
    plugin: &Arc<Plugin>,
    outcome: &'static str,
    held: Held,
) -> Dispatched {
    metrics::counter!("octohooks_plugin_calls_total", "outcome" => outcome).increment(1);
    let (message_id, digest) = (leased.message.id, plugin.digest);
    match &held {
        Held::Dropped { .. } | Held::Crowded { .. } => {}
        Held::Retry { reason, .. } => {
            tracing::info!(%message_id, plugin = %digest, outcome, reason, "a message waits for another call");
        }
        Held::Parked { reason, .. } => {
            tracing::warn!(%message_id, plugin = %digest, outcome, reason, "a message is parked");
        }
    }
    Dispatched::Held(held, Some(plugin.clone()))
}

/// What becomes of a message whose plugin failed, after that many calls.
pub fn after_failure(failure: &CallFailure, calls: u32) -> Held {
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
}
