//! A dead letter that goes on to another endpoint: the delivery that an engine makes durable in the very step that records
//! the attempt which made it one, so that no crash can fall between.

use super::{Settlement, handover::Follows};
use crate::model::{
    Millis,
    catalog::Snapshot,
    dead_letter::{self, Onward},
    delivery::{Delivery, Next, State},
};

/// The delivery that goes on, and the state of its row: what is for a disabled endpoint has ended, and can be recovered. Its
/// ordinal is the engine's to give: the next one that its message has there.
#[must_use]
pub fn onward(
    catalog: &Snapshot,
    settlement: &Settlement,
    follows: Follows,
    now: Millis,
) -> Option<(Delivery, State)> {
    if follows.next != Next::DeadLetter {
        return None;
    }
    let Settlement { delivery, attempt, .. } = settlement;
    match dead_letter::onward(catalog, delivery, attempt.as_ref(), now) {
        Onward::No => None,
        Onward::Gone(name) => {
            let (message_id, endpoint) = (delivery.message.id, delivery.key.endpoint);
            metrics::counter!("octohooks_dead_letters_lost_way_total").increment(1);
            tracing::warn!(%message_id, %endpoint, to = name, "a dead letter stays: where it would go is nobody");
            None
        }
        Onward::To(onward) => {
            metrics::counter!("octohooks_dead_letters_onward_total").increment(1);
            let enabled = catalog.endpoint(onward.key.endpoint).is_some_and(|to| to.enabled);
            Some((*onward, if enabled { State::Waiting } else { State::Disabled }))
        }
    }
}
