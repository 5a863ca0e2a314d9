//! The waiting rows' index: what is put in comes out once, when it is due or when its lane has room.

use super::*;
use crate::model::{id::ApplicationId, message::Message, sample};
use proptest::prelude::*;
use std::collections::VecDeque;
use uuid::Uuid;

fn message() -> Arc<Message> {
    Arc::new(sample::message(ApplicationId(Uuid::nil())))
}

fn delivery(message: &Arc<Message>, number: u64, endpoint: EndpointId) -> Arc<Delivery> {
    let mut delivery = sample::delivery(message, Sequence(number));
    delivery.key.endpoint = endpoint;
    Arc::new(delivery)
}

fn number(due: &Due) -> u64 {
    match due {
        Due::Whole(delivery) => delivery.key.message.0,
        Due::Key(key) => key.message.0,
    }
}

#[test]
fn deliveries_come_in_the_order_of_their_due_times() {
    let (message, endpoint) = (message(), EndpointId(Uuid::nil()));
    let mut waiting = Waiting::default();
    for (number, due) in [(1, 300), (2, 100), (3, SOON + 1), (4, 200)] {
        let delivery = delivery(&message, number, endpoint);
        waiting.add_timer(delivery.key, due, Some(delivery), 0);
    }
    assert_eq!(waiting.next_due(), Some(100));
    assert_eq!(waiting.due(99, 10).len(), 0);
    let due = waiting.due(SOON + 1, 3);
    assert_eq!(due.iter().map(number).collect::<Vec<_>>(), [2, 4, 1]);
    assert!(due.iter().all(|due| matches!(due, Due::Whole(_))), "what is due soon is kept");
    let last = waiting.due(SOON + 1, 3);
    assert!(matches!(last[..], [Due::Key(key)] if key.message == Sequence(3)), "{last:?}");
    assert_eq!(waiting.next_due(), None);
}

#[test]
fn only_so_many_are_kept_whole() {
    let (message, endpoint) = (message(), EndpointId(Uuid::nil()));
    let mut waiting = Waiting::default();
    let add = |waiting: &mut Waiting, range: std::ops::Range<usize>| {
        for number in range {
            let delivery = delivery(&message, number as u64, endpoint);
            waiting.add_timer(delivery.key, 1, Some(delivery), 0);
        }
    };
    add(&mut waiting, 0..KEPT + 10);
    let (whole, keys) = Due::split(waiting.due(1, usize::MAX));
    assert_eq!((whole.len(), keys.len()), (KEPT, 10));
    add(&mut waiting, 0..10);
    waiting.put_back(&keys, 1);
    let (whole, keys) = Due::split(waiting.due(1, usize::MAX));
    assert_eq!((whole.len(), keys.len()), (10, 10), "there is room again");
}

#[test]
fn a_deleted_endpoints_rows_are_forgotten_but_not_those_that_are_being_written() {
    let message = message();
    let (gone, stays) = (EndpointId(Uuid::from_u128(1)), EndpointId(Uuid::from_u128(2)));
    let mut waiting = Waiting::default();
    for (number, endpoint) in [(1, gone), (2, stays)] {
        let delivery = delivery(&message, number, endpoint);
        waiting.add_timer(delivery.key, 1, Some(delivery.clone()), 0);
        waiting.add_aside(delivery.key);
    }
    let unwritten = delivery(&message, 3, gone);
    waiting.set_aside(unwritten.clone());
    waiting.remove_endpoints(&[gone], 0);
    assert_eq!(waiting.depths(0), (1, 2, 0, 0));
    waiting.aside_ended(unwritten.key);
    assert_eq!(waiting.depths(0), (1, 1, 0, 0));
    assert_eq!(waiting.endpoints_aside(), [stays]);
    assert_eq!(waiting.due(1, 10).iter().map(number).collect::<Vec<_>>(), [2]);
}

#[test]
fn crowded_messages_are_taken_oldest_first() {
    let (one, other) = (ApplicationId(Uuid::from_u128(1)), ApplicationId(Uuid::from_u128(2)));
    let mut waiting = Waiting::default();
    for (number, application) in [(3, one), (1, one), (2, other), (4, one)] {
        waiting.crowd(application, Sequence(number));
    }
    assert_eq!(waiting.depths(0), (0, 0, 4, 0));
    assert_eq!(waiting.take_crowded(one, 2), [Sequence(1), Sequence(3)]);
    waiting.uncrowd(one, Sequence(4));
    waiting.uncrowd(one, Sequence(3));
    assert_eq!(waiting.applications_crowded(), [other]);
    waiting.remove_crowded(other);
    assert_eq!(waiting.depths(0), (0, 0, 0, 0));
}

#[test]
fn messages_come_when_they_are_due() {
    let mut waiting = Waiting::default();
    for (number, due) in [(1, 30), (2, 10), (3, 20)] {
        waiting.add_message(Sequence(number), due, 0);
    }
    waiting.remove_message(Sequence(3), 20);
    assert_eq!(waiting.next_message(), Some(10));
    assert_eq!(waiting.due_messages(29, 10), [Sequence(2)]);
    assert_eq!(waiting.due_messages(30, 10), [Sequence(1)]);
    assert_eq!(waiting.next_message(), None);
}

proptest! {
    /// Whatever comes when: what was set aside is taken once and in order, written or not.
    #[test]
    fn what_was_set_aside_is_taken_once_and_in_order(
        actions in prop::collection::vec((0_u8..5, 0_usize..6), 1..200)
    ) {
        let (message, endpoint) = (message(), EndpointId(Uuid::nil()));
        let mut waiting = Waiting::default();
        let (mut set_aside, mut unwritten, mut taken) = (0_u64, VecDeque::new(), Vec::new());
        let mut take = |waiting: &mut Waiting, max| {
            let due = waiting.take_aside(endpoint, max);
            assert!(due.len() <= max);
            taken.extend(due.iter().map(number));
        };
        for (action, n) in actions {
            match action {
                0 | 1 => for _ in 0..n {
                    let delivery = delivery(&message, set_aside, endpoint);
                    unwritten.push_back(delivery.key);
                    waiting.set_aside(delivery);
                    set_aside += 1;
                },
                // Rows are written in the order in which they were set aside.
                2 => for key in unwritten.drain(..n.min(unwritten.len())) {
                    waiting.aside_written(key);
                },
                3 => take(&mut waiting, n),
                _ => {
                    let due = waiting.take_aside(endpoint, n);
                    waiting.put_aside_back(endpoint, due);
                }
            }
        }
        take(&mut waiting, usize::MAX);
        prop_assert_eq!(taken, (0..set_aside).collect::<Vec<_>>());
        prop_assert_eq!(waiting.endpoints_aside(), []);
    }
}
