//! What is sent again: single deliveries and messages.

use super::{operations::operation, *};
use crate::{
    clock,
    model::{
        delivery::State,
        id::OperationId,
        operation::{self, Mode, Operation},
    },
    store::Again,
};

on_every_engine![
    what_has_ended_is_sent_again_with_a_new_schedule,
    what_waits_is_sent_at_once_and_once,
    what_is_resent_under_way_is_sent_again_if_that_fails,
    what_is_aside_or_gone_is_left_alone,
    a_message_is_dispatched_again_for_one_endpoint,
    a_message_that_is_held_or_there_already_is_left_alone,
    what_is_for_another_endpoint_comes_for_this_one_too,
    what_is_held_for_another_endpoint_comes_for_this_one_too,
];

async fn again(store: &Store, again: &[Again]) -> u64 {
    store.flush().await;
    soon(store.recovery.again(again.to_vec(), None)).await.expect("is done")
}

async fn what_has_ended_is_sent_again_with_a_new_schedule(store: &Store) {
    let tenant = store.tenant(1).await;
    for next in [Next::Delivered, Next::DeadLetter, Next::Disabled] {
        let delivery = store.deliveries(&tenant, first_endpoint(&tenant), 1).await.remove(0);
        store.settle(&delivery, 500, next);
        assert_eq!(again(store, &[Again::Delivery(delivery.key)]).await, 1);
        let resent = store.take(1).await.remove(0);
        assert_eq!((resent.key, resent.attempts, resent.spent), (delivery.key, 1, 1));
        store.settle(&resent, 500, Next::RetryAt(clock::now()));
        let third = store.take(1).await.remove(0);
        assert_eq!((third.attempts, third.spent), (2, 1));
        store.settle(&third, 200, Next::Delivered);
        let record = store.records(delivery.key.message).await.remove(0);
        let numbers: Vec<_> = record.attempts.iter().map(|attempt| attempt.number).collect();
        assert_eq!((record.state, numbers), (Some(State::Success), vec![1, 2, 3]));
    }
    store.assert_nothing_comes().await;
}

async fn what_waits_is_sent_at_once_and_once(store: &Store) {
    let tenant = store.tenant(1).await;
    let endpoint = first_endpoint(&tenant);
    let hour = clock::now() + 3_600_000;
    let soon_due = clock::now() + 5_000;
    for due in [hour, soon_due] {
        let delivery = store.deliveries(&tenant, endpoint, 1).await.remove(0);
        store.settle(&delivery, 500, Next::RetryAt(due));
        assert_eq!(again(store, &[Again::Delivery(delivery.key)]).await, 1);
        let resent = store.take(1).await.remove(0);
        assert_eq!((resent.key, resent.spent), (delivery.key, 1));
        store.settle(&resent, 200, Next::Delivered);
        assert_eq!(store.depths().await, Depths::default());
    }
    store.assert_nothing_comes().await;
}

async fn what_is_resent_under_way_is_sent_again_if_that_fails(store: &Store) {
    let tenant = store.tenant(1).await;
    let endpoint = first_endpoint(&tenant);
    let hour = clock::now() + 3_600_000;
    let started = store.deliveries(&tenant, endpoint, 4).await;
    let mut leased = started[..2].to_vec();
    started[2..].iter().for_each(|started| {
        store.settle(started, 500, Next::RetryAt(clock::now()));
    });
    leased.extend(store.take(2).await);
    for (delivery, next) in
        leased.into_iter().zip([Next::RetryAt(hour), Next::DeadLetter].repeat(2))
    {
        for _ in 0..2 {
            assert_eq!(again(store, &[Again::Delivery(delivery.key)]).await, 1);
        }
        store.settle(&delivery, 500, next);
        let made = delivery.attempts + 1;
        let resent = store.take(1).await.remove(0);
        assert_eq!((resent.key, resent.attempts, resent.spent), (delivery.key, made, made));
        // Once: what follows is the schedule's.
        store.settle(&resent, 500, Next::RetryAt(hour));
        let record = store.records(delivery.key.message).await.remove(0);
        assert_eq!((record.state, record.due), (Some(State::Waiting), Some(hour)));
        // In the middle of its schedule it is sent at once, and the schedule begins anew.
        assert_eq!(again(store, &[Again::Delivery(delivery.key)]).await, 1);
        let resent = store.take(1).await.remove(0);
        assert_eq!((resent.key, resent.spent), (delivery.key, made + 1));
        store.settle(&resent, 200, Next::Delivered);
    }
    // What is delivered needs nothing more.
    let good = store.deliveries(&tenant, endpoint, 1).await.remove(0);
    assert_eq!(again(store, &[Again::Delivery(good.key)]).await, 1);
    store.settle(&good, 200, Next::Delivered);
    assert_eq!(store.records(good.key.message).await[0].state, Some(State::Success));
    store.assert_nothing_comes().await;
}

async fn what_is_aside_or_gone_is_left_alone(store: &Store) {
    let tenant = store.tenant(2).await;
    let endpoint = first_endpoint(&tenant);
    let other = *tenant.endpoints.keys().nth(1).expect("has two");
    let sending = store.deliveries(&tenant, endpoint, 3).await;
    let (fresh, aside, waits) = (&sending[0], &sending[1], &sending[2]);
    store.queue.set_aside(aside.clone());
    store.settle(waits, 500, Next::RetryAt(clock::now()));
    let leased = store.take(1).await.remove(0);
    let gone = store.deliveries(&tenant, other, 1).await.remove(0);
    store.settle(&gone, 500, Next::DeadLetter);
    store.change(disabled(&tenant, other)).await;
    for key in [aside.key, gone.key] {
        assert_eq!(again(store, &[Again::Delivery(key)]).await, 0);
    }
    // Its row waits, and it is leased: it is sent once.
    again(store, &[Again::Delivery(leased.key)]).await;
    store.settle(&leased, 200, Next::Delivered);
    store.settle(fresh, 200, Next::Delivered);
    let back = soon(store.queue.take_aside(endpoint, 1)).await.expect("is there").remove(0);
    store.settle(&back, 200, Next::Delivered);
    store.assert_nothing_comes().await;
}

async fn a_message_is_dispatched_again_for_one_endpoint(store: &Store) {
    let tenant = store.tenant(2).await;
    let endpoints: Vec<_> = tenant.endpoints.keys().copied().collect();
    let sent = store.deliveries(&tenant, endpoints[0], 1).await.remove(0);
    store.settle(&sent, 200, Next::Delivered);
    let dropped = store.leased(&tenant, 1).await.remove(0);
    store.hold(&dropped, Held::Dropped { reason: "a test".into() });
    for (sequence, done) in [(sent.key.message, vec![sent.key]), (dropped.sequence, vec![])] {
        assert_eq!(again(store, &[Again::Message(sequence, endpoints[1])]).await, 1);
        let leased = store.lease(1).await.remove(0);
        assert_eq!((leased.sequence, &*leased.only), (sequence, &endpoints[1..]));
        assert_eq!((&leased.done, leased.held), (&done, true));
        // Held once more, it is still for that endpoint alone.
        store.hold(&leased, Held::Retry { due: clock::now(), calls: 1, reason: "why".into() });
        let leased = store.lease(1).await.remove(0);
        assert_eq!((&*leased.only, leased.calls), (&endpoints[1..], 1));
        store.dispatch(&leased, vec![delivery(&leased, endpoints[1])]);
        let made = store.take(1).await.remove(0);
        store.settle(&made, 200, Next::Delivered);
        let to: Vec<_> = store.records(sequence).await.iter().map(|r| r.key.endpoint).collect();
        assert!(to.contains(&endpoints[1]), "{to:?}");
    }
    store.assert_nothing_comes().await;
}

async fn what_is_for_another_endpoint_comes_for_this_one_too(store: &Store) {
    let tenant = store.tenant(3).await;
    let endpoints: Vec<_> = tenant.endpoints.keys().copied().collect();
    let sent = store.deliveries(&tenant, endpoints[0], 1).await.remove(0);
    store.settle(&sent, 200, Next::Delivered);
    let message = sent.key.message;
    assert_eq!(again(store, &[Again::Message(message, endpoints[1])]).await, 1);
    let leased = store.lease(1).await.remove(0);
    // It is dispatched for the second just now: an operation for the third comes back to it.
    let id = OperationId(clock::id());
    let mut other =
        Operation { id, endpoint: Some(endpoints[2]), ..operation(&tenant, Mode::Missing) };
    (other.state, other.cursor) = (operation::State::Done, message);
    let third = vec![Again::Message(message, endpoints[2])];
    let due = store.recovery.again(third.clone(), Some(other.clone()));
    assert_eq!(soon(due).await.expect("is done"), 0);
    let kept = store.recovery.operation(EnvironmentId::DEFAULT, id);
    let kept = soon(kept).await.expect("reads").expect("is kept");
    let back = Sequence(message.0 - 1);
    assert_eq!((kept.state, kept.cursor, kept.done), (operation::State::Running, back, 0));
    // Parked for the second, it is for the third as well once it is released.
    store.hold(&leased, Held::Parked { kind: "trap".into(), reason: "why".into() });
    let due = store.recovery.again(third, Some(Operation { cursor: message, ..other }));
    store.flush().await;
    assert_eq!(soon(due).await.expect("is done"), 1);
    store.change(Change::PutPlugin(sample::plugin(tenant.application.id, "main"), None)).await;
    let leased = store.lease(1).await.remove(0);
    assert_eq!(leased.only, endpoints[1..]);
    store.dispatch(&leased, vec![]);
    store.assert_nothing_comes().await;
}

async fn what_is_held_for_another_endpoint_comes_for_this_one_too(store: &Store) {
    let tenant = store.tenant(4).await;
    let endpoints: Vec<_> = tenant.endpoints.keys().copied().collect();
    let sent = store.deliveries(&tenant, endpoints[0], 1).await.remove(0);
    store.settle(&sent, 200, Next::Delivered);
    let message = sent.key.message;
    let to = |index: usize| Again::Message(message, endpoints[index]);
    assert_eq!(again(store, &[to(1)]).await, 1);
    let leased = store.lease(1).await.remove(0);
    let due = clock::now() + 500;
    store.hold(&leased, Held::Retry { due, calls: 1, reason: "later".into() });
    // Two at once, and one that has its turn already.
    assert_eq!(again(store, &[to(2), to(3), to(2)]).await, 2);
    let depths = store.depths().await;
    assert_eq!(depths.undispatched + depths.scheduled, 1);
    let leased = store.lease(1).await.remove(0);
    assert_eq!((&*leased.only, leased.calls), (&endpoints[1..], 1));
    assert!(clock::now() >= due, "it came too early");
    store.dispatch(&leased, Vec::new());
    store.assert_nothing_comes().await;
}

async fn a_message_that_is_held_or_there_already_is_left_alone(store: &Store) {
    let tenant = store.tenant(2).await;
    let endpoints: Vec<_> = tenant.endpoints.keys().copied().collect();
    let sent = store.deliveries(&tenant, endpoints[0], 1).await.remove(0);
    store.settle(&sent, 500, Next::DeadLetter);
    let parked = store.leased(&tenant, 1).await.remove(0);
    store.hold(&parked, Held::Parked { kind: "trap".into(), reason: "why".into() });
    let waiting = store.leased(&tenant, 1).await.remove(0);
    assert_eq!(again(store, &[Again::Message(sent.key.message, endpoints[0])]).await, 0);
    assert_eq!(again(store, &[Again::Message(parked.sequence, endpoints[0])]).await, 0);
    assert_eq!(again(store, &[Again::Message(waiting.sequence, endpoints[0])]).await, 0);
    store.change(disabled(&tenant, endpoints[1])).await;
    assert_eq!(again(store, &[Again::Message(sent.key.message, endpoints[1])]).await, 0);
    store.assert_nothing_comes().await;
}
