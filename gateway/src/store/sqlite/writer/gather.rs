//! What shares a commit, and when it is enough.

use super::{Op, Writer};
use crate::{
    clock,
    model::{
        attempt::Outcome,
        delivery::{Delivery, DeliveryKey},
    },
};
use bytes::Bytes;
use std::{collections::HashSet, time::Duration};

/// Once that much is there, no more is added to a commit, beside what is owed: some ten milliseconds of work, which is what
/// a sender waits for beside somebody's flood. Each delivery to another endpoint writes another page of the store's index,
/// so that fewer, larger commits write less: with a hundred endpoints a quarter of this made the writer the slowest part of
/// the gateway.
pub(super) const BATCH: usize = 1024;
/// What an operation carries counts as one more for each so many bytes: a page of the store.
const PAGE: usize = 8192;
/// How long settlements wait for company.
const LAZY: Duration = Duration::from_millis(8);
/// How long the writer waits before it tries again what it owes.
const OWED: Duration = Duration::from_millis(250);

impl Op {
    /// How much of a commit it is: one, or one for each message and delivery, and one more for each page of what these carry.
    fn weight(&self) -> usize {
        let of = |bytes: usize| 1 + bytes / PAGE;
        let own = |delivery: &Delivery| delivery.own_payload().map_or(0, Bytes::len);
        match self {
            Self::Accept(messages, ..) => {
                messages.iter().map(|sent| of(sent.message.payload.len())).sum()
            }
            Self::Settle(settlement) => {
                let answer = settlement.attempt.as_ref().map(|attempt| &attempt.outcome);
                let answer = match answer {
                    Some(Outcome::Answered(answer)) => answer.headers.len() + answer.body.len(),
                    _ => 0,
                };
                of(own(&settlement.delivery) + answer)
            }
            Self::Again(again, ..) => again.len().max(1),
            Self::Wait(delivery, _) | Self::Note(delivery) => of(own(delivery)),
            Self::Unhold(_, ready, later) => {
                let each = ready.iter().chain(later);
                each.map(|delivery| of(own(delivery))).sum::<usize>().max(1)
            }
            _ => 1,
        }
    }
}

impl Writer {
    /// What is owed, and what was handed over: at least one, unless nobody is left to hand over.
    pub(super) fn gather(&mut self) -> Vec<Op> {
        let mut batch = std::mem::take(&mut self.owed);
        let mut weight = 0;
        let mut until = (!batch.is_empty()).then(|| clock::instant() + OWED);
        let mut urgent = false;
        while weight < BATCH {
            let op = match self.ops.try_recv() {
                Ok(op) => op,
                Err(_) if urgent => break,
                Err(_) => {
                    let received = match until {
                        None => self.receive(),
                        Some(until) => {
                            let left = until.saturating_duration_since(clock::instant());
                            self.ops.recv_timeout(left)
                        }
                    };
                    let Ok(op) = received else { break };
                    op
                }
            };
            urgent |= op.urgent();
            weight += op.weight();
            // The first settlement sets how long all wait.
            until = until.or_else(|| Some(clock::instant() + LAZY));
            match op {
                // It makes room for the rest.
                Op::Forget(..) | Op::ForgetAnswers(..) | Op::ForgetValues(..) => {
                    batch.insert(0, op);
                }
                op => batch.push(op),
            }
        }
        batch
    }

    /// Deliveries that have held back the low-water mark for too long get rows, unless they get one anyway.
    pub(super) fn append_overdue(&self, batch: &mut Vec<Op>) {
        let overdue = self.handover.front.overdue();
        if overdue.is_empty() {
            return;
        }
        let written: HashSet<DeliveryKey> = batch.iter().filter_map(Op::delivery).collect();
        let missing = overdue.into_iter().filter(|delivery| !written.contains(&delivery.key));
        batch.extend(missing.map(Op::Note));
    }
}
