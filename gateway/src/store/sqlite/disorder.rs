//! Where times of acceptance go back: a clock that was far ahead was set right. What is looked for by time is looked for
//! in each stretch between, in which times are in order.

use super::{
    rows::signed,
    writer::{Applied, Op},
};
use crate::{
    model::{Millis, message::Sequence},
    store::Accepted,
};
use rusqlite::{Connection, Result, params};

/// By how much times of acceptance may be out of order: messages get theirs before they wait for a commit. A
/// clock that is set back is another matter: [`crate::clock::accepted`]. What is looked for by time is looked for this
/// much further, in milliseconds.
pub const DISORDER: Millis = 60_000;

/// Notes with which of the batch's messages times went back, after the latest so far; the latest now.
pub fn note(c: &Connection, batch: &[Op], applied: &[Applied], latest: Millis) -> Result<Millis> {
    let mut latest = latest;
    let mut see = |sequence: Sequence, accepted: Millis| {
        if accepted.saturating_add(DISORDER) >= latest {
            latest = latest.max(accepted);
            return Ok(());
        }
        latest = accepted;
        let name = format!("disorder {:020}", sequence.0);
        c.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?, ?)")?
            .execute(params![name, signed(sequence.0)])
            .map(|_| ())
    };
    for (op, applied) in batch.iter().zip(applied) {
        match (op, applied) {
            (Op::Accept(messages, ..), Applied::Accepted(accepted)) => {
                for (sent, (result, sequence)) in messages.iter().zip(accepted) {
                    if *result == Accepted::New {
                        see(*sequence, sent.message.accepted)?;
                    }
                }
            }
            (_, Applied::Changed(_, told)) => {
                told.iter().try_for_each(|(sequence, message)| see(*sequence, message.accepted))?;
            }
            (Op::Settle(settlement), Applied::Settled(_, Some(sequence), _)) => {
                let told = settlement.notice.iter();
                told.into_iter().try_for_each(|message| see(*sequence, message.accepted))?;
            }
            (Op::Health(note), Applied::Noted(Some(sequence))) => {
                note.notice.iter().try_for_each(|message| see(*sequence, message.accepted))?;
            }
            _ => {}
        }
    }
    Ok(latest)
}

/// The numbers with which times went back, in order.
pub fn all(c: &Connection) -> Result<Vec<u64>> {
    let mut find = c.prepare_cached(
        "SELECT value FROM meta WHERE name >= 'disorder ' AND name < 'disorder!' ORDER BY name",
    )?;
    find.query_map([], |row| row.get::<_, i64>(0).map(i64::unsigned_abs))?.collect()
}
