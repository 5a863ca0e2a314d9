//! The front against a model: a list of messages and what became of each.

use super::*;
use crate::model::{id::ApplicationId, sample};
use proptest::prelude::*;
use uuid::Uuid;

/// What became of a message.
#[derive(Clone, Debug)]
enum Fate {
    Committed,
    Leased,
    Open(Vec<DeliveryKey>),
    Settled,
}

/// A front, and what it must say.
struct Modelled {
    front: Front,
    message: Arc<Message>,
    fates: Vec<Fate>,
    handed: usize,
}

impl Modelled {
    fn new() -> Self {
        let message = Arc::new(sample::message(ApplicationId(Uuid::nil())));
        Self { front: Front::new(0, 0), message, fates: Vec::new(), handed: 0 }
    }

    fn lease(&self, number: u64) -> LeasedMessage {
        let (sequence, message) = (Sequence(number), self.message.clone());
        LeasedMessage {
            sequence,
            message,
            done: Vec::new(),
            only: Vec::new(),
            calls: 0,
            held: false,
        }
    }

    fn commit(&mut self, count: usize) {
        let from = self.fates.len();
        let batch = (from..from + count).map(|n| (Sequence(n as u64), self.message.clone()));
        self.front.committed(batch.collect());
        self.fates.resize(from + count, Fate::Committed);
    }

    /// Takes what there is, at most `max`; of what is read from disk, every third is settled there already.
    fn take(&mut self, max: usize) {
        match self.front.ready(max) {
            Ready::Nothing => assert_eq!(self.handed, self.fates.len(), "all is handed over"),
            Ready::Fresh(leased) => {
                assert!((1..=max).contains(&leased.len()));
                for lease in leased {
                    self.handed_over(lease.sequence.0, Fate::Leased);
                }
            }
            Ready::Behind(from, head) => {
                assert_eq!(head.0, self.fates.len() as u64);
                let upto = head.0.min(from.0 + max as u64);
                let read = (from.0..upto).filter(|n| n % 3 != 0);
                let read: Vec<_> = read.map(|n| self.lease(n)).collect();
                let leased = self.front.behind(Sequence(upto), read.clone());
                assert_eq!(leased.len(), read.len());
                for number in from.0..upto {
                    let settled = number % 3 == 0;
                    self.handed_over(number, if settled { Fate::Settled } else { Fate::Leased });
                }
            }
        }
    }

    fn handed_over(&mut self, number: u64, fate: Fate) {
        assert_eq!(number, self.handed as u64, "in order, and each once");
        assert!(matches!(self.fates[self.handed], Fate::Committed));
        self.fates[self.handed] = fate;
        self.handed += 1;
    }

    /// Ends the `n`th lease with that many deliveries.
    fn dispatch(&mut self, n: usize, count: usize) {
        let leased = |(_, fate): &(usize, &Fate)| matches!(fate, Fate::Leased);
        let Some((number, _)) = self.fates.iter().enumerate().filter(leased).nth(n) else { return };
        let sequence = Sequence(number as u64);
        let deliveries: Vec<_> =
            (0..count).map(|_| Arc::new(sample::delivery(&self.message, sequence))).collect();
        self.fates[number] = match count {
            0 => Fate::Settled,
            _ => Fate::Open(deliveries.iter().map(|delivery| delivery.key).collect()),
        };
        self.front.dispatched(sequence, deliveries);
    }

    /// Settles the first delivery of the `n`th message that has open ones.
    fn settle(&mut self, n: usize) {
        let open = |fate: &&mut Fate| matches!(fate, Fate::Open(_));
        let Some(fate) = self.fates.iter_mut().filter(open).nth(n) else { return };
        let Fate::Open(keys) = fate else { return };
        let key = keys.remove(0);
        if keys.is_empty() {
            *fate = Fate::Settled;
        }
        self.front.settled(&key);
        self.front.settled(&key);
    }

    fn check(&self) {
        let settled = |fate: &Fate| matches!(fate, Fate::Settled);
        let mark = self.fates.iter().take_while(|fate| settled(fate)).count();
        assert_eq!(self.front.mark(), Sequence(mark as u64));
        assert_eq!(self.front.mark_of(self.message.application), Sequence(mark as u64));
        let other = ApplicationId(Uuid::max());
        assert_eq!(self.front.mark_of(other), Sequence(self.handed as u64));
        for (number, fate) in self.fates.iter().enumerate() {
            assert_eq!(self.front.is_settled(Sequence(number as u64)), settled(fate), "{number}");
        }
        let depths = ((self.fates.len() - self.handed) as u64, (self.handed - mark) as u64);
        assert_eq!(self.front.depths(), depths);
    }
}

proptest! {
    /// Whatever comes when: each message is handed over once and in order, whether from memory or from disk, and the
    /// mark stands at the first message that is not settled.
    #[test]
    fn each_message_is_handed_over_once_and_the_mark_never_passes_what_is_open(
        actions in prop::collection::vec((0_u8..6, 0_usize..8, 0_usize..4), 1..80)
    ) {
        let mut modelled = Modelled::new();
        for (action, n, count) in actions {
            match action {
                0 => modelled.commit(n),
                // Now and then more than memory takes.
                1 => modelled.commit(n * FRESH / 4),
                2 => modelled.take(n + 1),
                3 => modelled.take(FRESH / 2),
                4 => modelled.dispatch(n, count),
                _ => modelled.settle(n),
            }
            modelled.check();
        }
        while modelled.handed < modelled.fates.len() {
            modelled.take(FRESH);
        }
        modelled.check();
    }
}

#[test]
fn what_holds_the_mark_back_for_too_long_is_overdue() {
    let mut modelled = Modelled::new();
    modelled.commit(1);
    modelled.take(1);
    modelled.dispatch(0, 2);
    while modelled.handed < LAG {
        modelled.commit(1000);
        modelled.take(1000);
    }
    assert_eq!(modelled.handed, LAG + 1);
    let Fate::Open(keys) = modelled.fates[0].clone() else { panic!("it is open") };
    let overdue: Vec<_> = modelled.front.overdue().iter().map(|delivery| delivery.key).collect();
    assert_eq!(overdue, keys);
    keys.iter().for_each(|key| modelled.front.settled(key));
    assert_eq!(modelled.front.overdue(), []);
    assert_eq!(modelled.front.mark(), Sequence(1));
}

#[test]
fn what_was_held_and_leased_before_is_not_leased_again() {
    let mut modelled = Modelled::new();
    modelled.front = Front::new(0, 20);
    // Of what was held at the start, 2 and 12 are due before the reading comes to them.
    modelled.front.held_leased(&[modelled.lease(2), modelled.lease(12)]);
    let read = (0..5).map(|number| modelled.lease(number)).collect();
    let leased = modelled.front.behind(Sequence(5), read);
    assert_eq!(leased.iter().map(|leased| leased.sequence.0).collect::<Vec<_>>(), [0, 1, 3, 4]);
    let read = (5..13).map(|number| modelled.lease(number)).collect();
    assert_eq!(modelled.front.behind(Sequence(13), read).len(), 7);
}

#[test]
fn large_messages_fill_the_memory_sooner() {
    let front = Front::new(0, 0);
    let mut message = sample::message(ApplicationId(Uuid::nil()));
    message.payload = vec![b' '; FRESH_BYTES / 4].into();
    let message = Arc::new(message);
    front.committed((0..10).map(|n| (Sequence(n), message.clone())).collect());
    let Ready::Fresh(leased) = front.ready(10) else { panic!("some are in memory") };
    assert_eq!(leased.len(), 4);
    let Ready::Behind(from, head) = front.ready(10) else { panic!("the others are on disk") };
    assert_eq!((from.0, head.0), (4, 10));
}

#[test]
fn what_is_held_from_the_start_is_passed_by_and_holds_nothing_back() {
    let front = Front::new(0, 0);
    let message = sample::message(ApplicationId(Uuid::nil()));
    let later = Arc::new(Message { deliver_at: Some(9), ..message.clone() });
    let message = Arc::new(message);
    let order = [&later, &message, &later, &message, &later];
    let batch = order.iter().enumerate();
    front.committed(batch.map(|(n, m)| (Sequence(n as u64), (*m).clone())).collect());
    assert_eq!(front.mark(), Sequence(1), "the first is nobody's");
    for (number, mark) in [(1, 3), (3, 5)] {
        let Ready::Fresh(leased) = front.ready(1) else { panic!("one is in memory") };
        assert_eq!(leased.len(), 1);
        assert_eq!(leased[0].sequence, Sequence(number));
        front.dispatched(Sequence(number), Vec::new());
        assert_eq!(front.mark(), Sequence(mark));
    }
    assert!(matches!(front.ready(1), Ready::Nothing));
    assert_eq!(front.depths(), (0, 0));
}
