//! What waits for a time that is not near, for the engine that keeps it in rows.

use super::Handover;
use crate::{
    model::{Millis, delivery::Delivery, message::Sequence},
    store::waiting::ahead::Read,
};

impl Handover {
    /// A scheduled message that was due then is cancelled.
    pub fn cancelled(&self, sequence: Sequence, due: Millis) {
        self.waiting().remove_message(sequence, due);
    }

    /// A delivery that is under way has a row in which it waits.
    pub fn noted(&self, delivery: &Delivery) {
        self.waiting().note(delivery.key, delivery.due);
    }

    /// What waits far ahead was read.
    pub fn read_ahead(&self, read: Read) {
        self.waiting().read(read);
        self.ready_changed.notify_one();
        self.front.wake();
    }
}
