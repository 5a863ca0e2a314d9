//! What is sent again: single deliveries, messages, and the search for many.

use super::*;
use crate::{
    clock,
    model::{
        delivery::State,
        id::OperationId,
        operation::{self, Mode, Operation, Wanted},
    },
    store::{Again, Candidate},
};

on_every_engine![
    what_has_ended_is_sent_again_with_a_new_schedule,
    what_waits_is_sent_at_once_and_once,
    what_is_being_sent_or_gone_is_left_alone,
    a_message_is_dispatched_again_for_one_endpoint,
    a_message_that_is_held_or_there_already_is_left_alone,
    what_is_for_another_endpoint_comes_for_this_one_too,
    an_operation_is_kept_until_it_ends,
    candidates_come_oldest_first_and_whole,
    what_is_not_settled_is_no_candidate_yet,
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

async fn what_is_being_sent_or_gone_is_left_alone(store: &Store) {
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
    for key in [fresh.key, aside.key, gone.key] {
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
    // It is dispatched for the second just now: an operation for the third comes back to it.
    let id = OperationId(clock::id());
    let mut other = Operation { id, endpoint: endpoints[2], ..operation(&tenant, Mode::Missing) };
    (other.state, other.cursor) = (operation::State::Done, message);
    let third = vec![Again::Message(message, endpoints[2])];
    let due = store.recovery.again(third.clone(), Some(other.clone()));
    assert_eq!(soon(due).await.expect("is done"), 0);
    let kept = store.recovery.operation(EnvironmentId::DEFAULT, id);
    let kept = soon(kept).await.expect("reads").expect("is kept");
    let back = Sequence(message.0 - 1);
    assert_eq!((kept.state, kept.cursor, kept.done), (operation::State::Running, back, 0));
    // Parked for the second, it is for the third as well once it is released.
    let leased = store.lease(1).await.remove(0);
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

fn operation(tenant: &Tenant, mode: Mode) -> Operation {
    let wanted = Wanted {
        mode,
        since: 0,
        until: u64::MAX / 2,
        event_types: Vec::new(),
        channels: Vec::new(),
    };
    Operation {
        environment: EnvironmentId::DEFAULT,
        id: OperationId(clock::id()),
        application: tenant.application.id,
        endpoint: first_endpoint(tenant),
        wanted,
        dry_run: false,
        state: operation::State::Running,
        total: 0,
        counted: false,
        done: 0,
        cursor: Sequence(0),
        upto: Sequence(u64::MAX / 4),
        created: 1,
        updated: 1,
    }
}

async fn an_operation_is_kept_until_it_ends(store: &Store) {
    let tenant = store.tenant(1).await;
    let mut one = operation(&tenant, Mode::Missing);
    let two = operation(&store.tenant(1).await, Mode::Ended(vec![State::Failed]));
    let mut kept = store.recovery.watch_operations();
    for operation in [&one, &two] {
        soon(store.recovery.again(Vec::new(), Some(operation.clone()))).await.expect("is kept");
        soon(kept.changed()).await.expect("is seen");
    }
    let running = soon(store.recovery.running()).await.expect("reads");
    assert_eq!(running, [one.clone(), two.clone()]);
    (one.state, one.done, one.total) = (operation::State::Done, 7, 7);
    soon(store.recovery.again(Vec::new(), Some(one.clone()))).await.expect("is kept");
    let running = soon(store.recovery.running()).await.expect("reads");
    assert_eq!(running, std::slice::from_ref(&two));
    // What has ended goes on no more, whoever wants it to.
    let late = Operation { state: operation::State::Running, ..one.clone() };
    soon(store.recovery.again(Vec::new(), Some(late))).await.expect("is done");
    let of = |application| store.recovery.operations(EnvironmentId::DEFAULT, application, 10);
    assert_eq!(soon(of(None)).await.expect("reads"), [two.clone(), one.clone()]);
    assert_eq!(soon(of(Some(one.application))).await.expect("reads"), [one.clone()]);
    let find = |environment| store.recovery.operation(environment, one.id);
    assert_eq!(soon(find(EnvironmentId::DEFAULT)).await.expect("reads"), Some(one.clone()));
    assert_eq!(soon(find(EnvironmentId(2))).await.expect("reads"), None);
}

/// All candidates by pages of at most `max`, the cursor moved as an operation does.
async fn candidates(store: &Store, mut operation: Operation, max: usize) -> Vec<Candidate> {
    store.flush().await;
    let mut all = Vec::new();
    loop {
        let page = soon(store.recovery.candidates(&operation, max)).await.expect("reads");
        all.extend(page.records);
        let Some(next) = page.next else { return all };
        assert!(next > operation.cursor, "it comes further");
        operation.cursor = next;
    }
}

async fn candidates_come_oldest_first_and_whole(store: &Store) {
    let tenant = store.tenant(2).await;
    let endpoints: Vec<_> = tenant.endpoints.keys().copied().collect();
    let mut expected = Vec::new();
    for (index, leased) in store.leased(&tenant, 6).await.into_iter().enumerate() {
        // Every second message is parted in three.
        let ordinals = if index % 2 == 0 { 0..1 } else { 0..3 };
        let made = ordinals.map(|ordinal| {
            let mut delivery = delivery(&leased, endpoints[0]);
            delivery.key.ordinal = ordinal;
            delivery
        });
        store.dispatch(&leased, made.collect());
    }
    for delivery in store.take(12).await {
        let next = match delivery.key.ordinal {
            0 => Next::DeadLetter,
            1 => Next::Disabled,
            _ => Next::Delivered,
        };
        store.settle(&delivery, 500, next);
        if next != Next::Delivered {
            expected.push(Again::Delivery(delivery.key));
        }
    }
    let mode = Mode::Ended(vec![State::Failed, State::Disabled]);
    for max in [1, 2, 100] {
        let found = candidates(store, operation(&tenant, mode.clone()), max).await;
        let found: Vec<_> = found.into_iter().map(|candidate| candidate.again).collect();
        assert_eq!(found, expected, "{max}");
    }
    // The second endpoint has nothing, so it misses everything.
    let missing = Operation { endpoint: endpoints[1], ..operation(&tenant, Mode::Missing) };
    assert_eq!(candidates(store, missing, 2).await.len(), 6);
    // The first misses what ended since it was disabled.
    for max in [1, 100] {
        let disabled = candidates(store, operation(&tenant, Mode::Missing), max).await;
        let found: Vec<_> = disabled.into_iter().map(|candidate| candidate.again).collect();
        let ordinal = |again: &&Again| matches!(again, Again::Delivery(key) if key.ordinal == 1);
        assert_eq!(found, expected.iter().filter(ordinal).copied().collect::<Vec<_>>(), "{max}");
    }
}

async fn what_is_not_settled_is_no_candidate_yet(store: &Store) {
    let tenant = store.tenant(1).await;
    let leased = store.leased(&tenant, 2).await;
    store.dispatch(&leased[0], Vec::new());
    let operation = operation(&tenant, Mode::Missing);
    let found = candidates(store, operation.clone(), 10).await;
    let settled = Again::Message(leased[0].sequence, operation.endpoint);
    assert_eq!(found.iter().map(|found| found.again).collect::<Vec<_>>(), [settled]);
    let (head, mark) = store.recovery.bounds();
    assert_eq!((head.0 - mark.0, mark), (1, leased[1].sequence));
}
