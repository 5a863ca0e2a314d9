//! The engine in memory after a crash: what a file would have is kept, what the stages had of it is found again, as at a
//! start of the embedded engine. For simulations.

use super::{Memory, tables::Tables};
use crate::{
    model::{catalog::Snapshot, delivery::State, message::Held},
    store::{front::Front, handover::Handover, waiting::Waiting},
};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

impl Memory {
    /// A store of what this one has made durable, with its low-water mark at most that many messages behind.
    pub fn reopened(&self, behind: u64) -> Arc<Self> {
        self.close();
        let tables: Tables = std::mem::take(&mut *self.tables());
        let mark = self.handover.front.mark().0.saturating_sub(behind).max(1);
        let front = Front::new(mark, self.handover.front.head());
        let catalog = Snapshot::clone(&self.handover.snapshot());
        let (waiting, parked) = (waiting(&tables), parked(&tables));
        let handover = Handover::new(front, waiting, catalog, parked);
        let operations = watch::Sender::default();
        Arc::new(Self { handover, tables: Mutex::new(tables), operations })
    }
}

fn waiting(tables: &Tables) -> Waiting {
    let mut waiting = Waiting::default();
    for row in tables.deliveries.values() {
        match row.state {
            State::Waiting => waiting.add_timer(row.delivery.key, row.due, None, 0),
            State::Aside => waiting.add_aside(row.delivery.key),
            _ => {}
        }
    }
    for (sequence, (held, _)) in &tables.held {
        let application = tables.messages.get(sequence).map(|message| message.application);
        match (held, application) {
            (Held::Retry { due, .. } | Held::Scheduled { due }, _) => {
                waiting.add_message(*sequence, *due, 0);
            }
            (Held::Crowded { .. }, Some(application)) => waiting.crowd(application, *sequence),
            _ => {}
        }
    }
    waiting
}

fn parked(tables: &Tables) -> u64 {
    tables.held.values().filter(|(held, _)| matches!(held, Held::Parked { .. })).count() as u64
}
