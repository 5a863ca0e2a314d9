//! What waits far ahead is in its rows alone. The writer reads it in pieces as its time comes nearer: between two commits,
//! so that the rows say what memory knows, and so that a piece delays no sender by more than some milliseconds.

use super::{super::read, Op, Writer};
use crate::clock;
use std::{sync::mpsc::RecvTimeoutError, time::Duration};

/// How often it is looked whether the time of what waits far ahead comes nearer: the clock may be set meanwhile.
const LOOK: Duration = Duration::from_secs(5);

impl Writer {
    /// Waits for an operation, and reads meanwhile what is due next.
    pub(super) fn receive(&self) -> Result<Op, RecvTimeoutError> {
        loop {
            let read = self.read_ahead();
            // The lock must not be held while this waits.
            let has_far = self.handover.waiting().has_far();
            let received = match has_far {
                _ if read => self.ops.recv_timeout(Duration::ZERO),
                true => self.ops.recv_timeout(LOOK),
                false => self.ops.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match received {
                Err(RecvTimeoutError::Timeout) => {}
                ended => return ended,
            }
        }
    }

    /// Reads a piece of what waits far ahead, if its time comes nearer: between two commits, so that the rows say what
    /// memory knows. Whether it did.
    pub(super) fn read_ahead(&self) -> bool {
        let Some(wanted) = self.handover.waiting().wanted(clock::now()) else { return false };
        match read::ahead(&self.connection, wanted) {
            Ok(read) => {
                self.handover.read_ahead(read);
                true
            }
            Err(error) => {
                tracing::error!(%error, "what waits could not be read; tried again");
                false
            }
        }
    }
}
