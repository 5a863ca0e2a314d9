//! What the writer tells once a commit is durable: the senders their answers, the stages what is theirs now.

use super::{Applied, Op, Reply, Writer};
use crate::{
    clock,
    model::{
        catalog::{Change, Snapshot},
        delivery::{Delivery, Next, State},
        message::Held,
    },
    store::{Accepted, StoreError},
};
use std::sync::{Arc, atomic::Ordering};

impl Writer {
    /// Tells the stages and the senders what is durable now.
    pub(super) fn tell(&self, batch: Vec<Op>, applied: Vec<Applied>, draft: Option<Snapshot>) {
        if let Some(draft) = draft {
            self.handover.publish(draft);
        }
        let mut committed = Vec::new();
        let mut replies = Vec::new();
        for (op, applied) in batch.into_iter().zip(applied) {
            match (op, applied) {
                (Op::Accept(messages, reply), Applied::Accepted(accepted)) => {
                    let new = messages.into_iter().zip(&accepted);
                    committed.extend(new.filter_map(|(message, (accepted, sequence))| {
                        (*accepted == Accepted::New).then_some((*sequence, message))
                    }));
                    replies.push((reply, accepted.into_iter().map(|(a, _)| a).collect()));
                }
                (Op::Change(change, reply), Applied::Done) => {
                    self.follow(&change);
                    answer(reply, Ok(()));
                }
                (Op::Change(_, reply), Applied::Refused(error)) => answer(reply, Err(error)),
                (Op::PutCode(_, _, reply) | Op::Flush(reply), _) => answer(reply, Ok(())),
                (Op::Forget(_, _, reply), Applied::Count(count)) => answer(reply, Ok(count)),
                (op, _) => self.tell_queue(op),
            }
        }
        self.handover.front.committed(committed);
        for (reply, accepted) in replies {
            answer(reply, Ok(accepted));
        }
    }

    fn tell_queue(&self, op: Op) {
        match op {
            Op::Settle(settlement) => {
                if let Next::RetryAt(due) = settlement.next {
                    let attempts =
                        settlement.attempt.map_or(settlement.delivery.attempts, |a| a.number);
                    let again = Delivery { attempts, due, ..Delivery::clone(&settlement.delivery) };
                    self.handover.wait_until(&Arc::new(again), due);
                }
                self.handover.front.settled(&settlement.delivery.key);
            }
            Op::Wait(delivery, state) => {
                // An overdue delivery is still leased: its row is for the next start only.
                match state {
                    State::Aside => self.handover.waiting().aside_written(delivery.key),
                    _ if delivery.due > clock::now() => {
                        self.handover.wait_until(&delivery, delivery.due);
                    }
                    _ => {}
                }
                self.handover.front.settled(&delivery.key);
            }
            Op::Hold(leased, held) => {
                match held {
                    Held::Retry { due, .. } => self.handover.hold_until(leased.sequence, due),
                    Held::Parked { .. } => {
                        self.handover.parked.fetch_add(1, Ordering::Relaxed);
                    }
                    Held::Dropped { .. } => {}
                }
                self.handover.front.dispatched(leased.sequence, Vec::new());
            }
            Op::Unhold(_, deliveries) => {
                let now = clock::now();
                let (later, ready): (Vec<_>, Vec<_>) =
                    deliveries.into_iter().partition(|delivery| delivery.due > now);
                for delivery in later {
                    self.handover.wait_until(&delivery, delivery.due);
                }
                self.handover.offer(ready);
            }
            _ => {}
        }
    }

    /// What a catalog change means for what waits.
    fn follow(&self, change: &Change) {
        match change {
            Change::PutEndpoint(endpoint) if !endpoint.enabled => {
                self.handover.waiting().remove_endpoint(endpoint.id);
            }
            Change::DeleteEndpoint(_, id) => self.handover.waiting().remove_endpoint(*id),
            Change::PutPlugin(plugin) => {
                let due = crate::store::sqlite::read::held_due(
                    &self.connection,
                    Some(plugin.application),
                );
                let parked = crate::store::sqlite::read::parked(&self.connection);
                for (sequence, due) in due.unwrap_or_default() {
                    self.handover.hold_until(sequence, due);
                }
                self.handover.parked.store(parked.unwrap_or(0), Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

pub(super) fn answer<T>(reply: Reply<T>, result: Result<T, StoreError>) {
    // Who asked may have gone; what was done stays done.
    let _gone = reply.send(result);
}
