//! What only the embedded engine can show: what is left after a stop, a crash or a full disk, and what its one writer
//! makes of it. A crash is what its files hold at one moment, copied while the store lives.

use super::*;
use crate::{
    model::{
        attempt::{Answer, Attempt, Outcome},
        catalog::Tenant,
        delivery::Next,
        message::{Held, Message},
        sample,
    },
    store::{
        Again, Forgotten,
        contract::{Store, delivery, first_endpoint, soon},
    },
};
use bytes::Bytes;
use std::collections::BTreeSet;

mod far;

fn open(directory: &Path, bytes: Option<u64>) -> Store {
    let limits = Limits { bytes, ..Limits::default() };
    Store::over(
        Sqlite::open(directory, limits, &Master::new(None, directory)).expect("opens"),
        Sqlite::close,
    )
}

/// The files as a kill would leave them now.
fn crashed(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    for name in ["octohooks.db", "octohooks.db-wal", "master.key"] {
        std::fs::copy(directory.join(name), copy.path().join(name)).expect("copies");
    }
    copy
}

fn mark(directory: &Path) -> u64 {
    let connection = Connection::open(directory.join("octohooks.db")).expect("opens");
    read::bounds(&connection).expect("reads").0
}

/// Leases that many messages and makes those of their deliveries to the endpoint that have no row.
async fn dispatch_again(store: &Store, count: usize, endpoint: EndpointId) {
    for leased in store.lease(count).await {
        let delivery = delivery(&leased, endpoint);
        let done = leased.done.contains(&delivery.key);
        store.dispatch(&leased, if done { Vec::new() } else { vec![delivery] });
    }
}

fn numbers<'a>(deliveries: impl IntoIterator<Item = &'a Arc<Delivery>>) -> BTreeSet<u64> {
    deliveries.into_iter().map(|delivery| delivery.key.message.0).collect()
}

fn large(tenant: &Tenant, bytes: usize) -> Message {
    Message { payload: Bytes::from(vec![b'x'; bytes]), ..sample::message(tenant.application.id) }
}

#[tokio::test]
async fn what_was_not_settled_is_leased_again_after_a_stop() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), None);
    let tenant = store.tenant(1).await;
    let endpoint = first_endpoint(&tenant);
    let taken = store.deliveries(&tenant, endpoint, 6).await;
    store.settle(&taken[1], 200, Next::Delivered);
    store.settle(&taken[2], 500, Next::RetryAt(clock::now()));
    store.settle(&taken[3], 500, Next::DeadLetter);
    store.queue.set_aside(taken[4].clone());
    let again = store.take(1).await;
    store.settle(&again[0], 500, Next::RetryAt(clock::now()));
    drop(store);
    let log = std::fs::metadata(directory.path().join("octohooks.db-wal"));
    assert!(log.map_or(0, |log| log.len()) == 0, "a stop leaves an empty log");

    let store = open(directory.path(), None);
    assert_eq!(store.queue.endpoints_aside(), [endpoint]);
    let aside = soon(store.queue.take_aside(endpoint, 9)).await.expect("are leased");
    assert_eq!(numbers(&aside), numbers(&taken[4..5]));
    // In memory they are gone: messages from the low-water mark on are dispatched again.
    dispatch_again(&store, 6, endpoint).await;
    let again = store.take(3).await;
    assert_eq!(numbers(&again), numbers([&taken[0], &taken[2], &taken[5]]));
    let retried = again.iter().find(|delivery| delivery.key == taken[2].key);
    assert_eq!(retried.map(|delivery| delivery.attempts), Some(2));
    again.iter().chain(&aside).for_each(|delivery| store.settle(delivery, 200, Next::Delivered));
    store.assert_nothing_comes().await;
    let snapshot = store.catalog.snapshot();
    let found = snapshot.tenant(tenant.application.id).expect("the catalog is kept");
    assert_eq!(found.endpoints.keys().copied().collect::<Vec<_>>(), [endpoint]);
}

#[tokio::test]
async fn what_was_expunged_is_not_sent_after_a_crash() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), None);
    let (slow, tenant) = (store.tenant(1).await, store.tenant(1).await);
    let open_one = store.deliveries(&slow, first_endpoint(&slow), 1).await.remove(0);
    let leased = store.leased(&tenant, 1).await.remove(0);
    store.dispatch(&leased, Vec::new());
    let gone = store.retention.forget(Forgotten::Content, vec![leased.sequence], None);
    assert_eq!(soon(gone).await.expect("forgets"), 1);
    let copy = crashed(directory.path());

    let store = open(copy.path(), None);
    let again = store.lease(1).await.remove(0);
    assert_eq!(again.sequence, open_one.key.message);
    store.dispatch(&again, Vec::new());
    store.assert_nothing_comes().await;
}

#[tokio::test]
async fn a_first_attempt_that_was_resent_is_made_again_after_a_crash() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), None);
    let tenant = store.tenant(1).await;
    let first = store.deliveries(&tenant, first_endpoint(&tenant), 1).await.remove(0);
    let resent = store.recovery.again(vec![Again::Delivery(first.key)], None);
    assert_eq!(soon(resent).await.expect("is done"), 1);
    let copy = crashed(directory.path());

    let store = open(copy.path(), None);
    let again = store.take(1).await.remove(0);
    assert_eq!((again.key, again.attempts, again.spent), (first.key, 0, 0));
    store.settle(&again, 200, Next::Delivered);
    assert_eq!(store.records(first.key.message).await.len(), 1);
    while store.queue.depths().undispatched > 0 {
        let leased = store.lease(1).await.remove(0);
        assert_eq!(leased.done, [first.key]);
        store.dispatch(&leased, Vec::new());
    }
    store.assert_nothing_comes().await;
}

#[tokio::test]
async fn what_was_not_settled_is_leased_again_after_a_crash() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), None);
    let tenant = store.tenant(1).await;
    let endpoint = first_endpoint(&tenant);
    let taken = store.deliveries(&tenant, endpoint, 5).await;
    store.settle(&taken[1], 200, Next::Delivered);
    store.settle(&taken[3], 500, Next::RetryAt(clock::now() + 200));
    let held = store.leased(&tenant, 3).await;
    store.hold(&held[0], Held::Parked { kind: "trap".into(), reason: "why".into() });
    store.hold(&held[1], Held::Retry { due: clock::now(), calls: 4, reason: "why".into() });
    store.accept([sample::message(tenant.application.id)]).await;
    store.flush().await;
    let copy = crashed(directory.path());

    let store = open(copy.path(), None);
    assert_eq!(store.queue.depths().parked, 1);
    let due = store.lease(1).await.remove(0);
    assert_eq!((due.sequence, due.held, due.calls), (held[1].sequence, true, 4));
    store.dispatch(&due, Vec::new());
    // Five with deliveries, one that was leased, and one that nobody had seen.
    dispatch_again(&store, 7, endpoint).await;
    let again = store.take(6).await;
    let expected = [&taken[0], &taken[2], &taken[3], &taken[4]];
    let new = [held[2].sequence.0, held[2].sequence.0 + 1];
    assert_eq!(numbers(&again), numbers(expected).into_iter().chain(new).collect());
    again.iter().for_each(|delivery| store.settle(delivery, 200, Next::Delivered));
    store.assert_nothing_comes().await;
}

#[tokio::test]
async fn a_sender_that_was_answered_finds_its_message_after_a_crash() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), None);
    let sent: Vec<Message> = (0..20).map(|_| sample::message(sample::application().id)).collect();
    for message in &sent {
        store.accept([message.clone()]).await;
        let copy = crashed(directory.path());
        let store = open(copy.path(), None);
        let (environment, application) = (message.environment, message.application);
        let id = message.id.to_string();
        let found = store.log.message(environment, application, &id);
        let found = soon(found).await.expect("reads").expect("is there");
        assert_eq!(found.message, *message);
    }
}

#[tokio::test]
async fn the_low_water_mark_follows_what_is_settled() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), None);
    let tenant = store.tenant(1).await;
    let endpoint = first_endpoint(&tenant);
    let taken = store.deliveries(&tenant, endpoint, 4).await;
    // A commit writes the mark as it was before.
    for (settled, expected) in [(1, 1), (0, 3), (3, 3), (2, 5)] {
        store.settle(&taken[settled], 200, Next::Delivered);
        store.flush().await;
        store.flush().await;
        assert_eq!(mark(crashed(directory.path()).path()), expected);
    }
    drop(store);
    let store = open(directory.path(), None);
    store.assert_nothing_comes().await;
}

/// A ledger longer than it may be, with one delivery that holds the mark back.
async fn lagging(store: &Store) -> Arc<Delivery> {
    let tenant = store.tenant(1).await;
    let slow = store.deliveries(&tenant, first_endpoint(&tenant), 1).await.remove(0);
    let mut left = 20_100;
    while left > 0 {
        let count = left.min(1000);
        store.accept((0..count).map(|_| sample::message(tenant.application.id))).await;
        left -= count;
    }
    for leased in store.lease(20_100).await {
        store.dispatch(&leased, Vec::new());
    }
    slow
}

#[tokio::test]
async fn a_slow_delivery_does_not_hold_the_mark_back_for_ever() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), None);
    let slow = lagging(&store).await;
    assert_eq!(store.records(slow.key.message).await[0].state, Some(State::Waiting));
    store.flush().await;
    assert!(mark(crashed(directory.path()).path()) > 20_000);
    store.settle(&slow, 200, Next::Delivered);
    assert_eq!(store.records(slow.key.message).await[0].state, Some(State::Success));
    store.assert_nothing_comes().await;
}

#[tokio::test]
async fn a_slow_delivery_that_is_settled_at_last_stays_settled() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), None);
    let slow = lagging(&store).await;
    store.settle(&slow, 200, Next::Delivered);
    assert_eq!(store.records(slow.key.message).await[0].state, Some(State::Success));
}

#[tokio::test]
async fn a_full_store_refuses_and_owes_until_there_is_room() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), Some(2 << 20));
    let tenant = store.tenant(1).await;
    let endpoint = first_endpoint(&tenant);
    let old: Vec<Message> =
        (0..100).map(|_| Message { accepted: 1, ..large(&tenant, 8 << 10) }).collect();
    store.accept(old).await;
    let mut old = Vec::new();
    for leased in store.lease(100).await {
        store.dispatch(&leased, Vec::new());
        old.push(leased.sequence);
    }
    let taken = store.deliveries(&tenant, endpoint, 20).await;

    let mut taken_in = 0;
    let refused = loop {
        let message = large(&tenant, 8 << 10);
        match soon(store.queue.accept(vec![Arc::new(message.clone()).into()])).await {
            Ok(_) => taken_in += 1,
            Err(error) => {
                assert!(matches!(error, StoreError::Full), "{error}");
                break message;
            }
        }
    };
    assert_eq!(store.queue.depths().undispatched, taken_in, "what was refused is not seen");
    let (environment, id) = (refused.environment, refused.id.to_string());
    let found = soon(store.log.message(environment, refused.application, &id)).await;
    assert!(found.expect("reads").is_none(), "what was refused is not there");

    let body = vec![b'y'; 16 << 10];
    for delivery in &taken {
        let outcome =
            Outcome::Answered(Answer { status: 200, body: body.clone(), ..Answer::default() });
        let attempt = Some(Attempt { number: 1, at: 1, latency: 1, revision: None, outcome });
        store.queue.settle(Settlement {
            delivery: delivery.clone(),
            attempt,
            next: Next::Delivered,
            notice: None,
        });
    }
    assert!(matches!(soon(store.queue.flush()).await, Err(StoreError::Full)));
    assert_eq!(store.queue.depths().unsettled, 20, "what is owed is not done");

    let forgotten = soon(store.retention.forget(Forgotten::All, old, None))
        .await
        .expect("there is room to make room");
    assert_eq!(forgotten, 100);
    for delivery in &taken {
        assert_eq!(store.records(delivery.key.message).await[0].state, Some(State::Success));
    }
    assert_eq!(store.queue.depths().unsettled, 0);
    assert_eq!(store.accept([refused]).await, [Accepted::New]);
}

#[tokio::test]
async fn a_message_without_room_keeps_nothing_else_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), Some(1 << 20));
    let tenant = store.tenant(1).await;
    for taken in store.deliveries(&tenant, first_endpoint(&tenant), 20).await {
        let too_large = store.queue.accept(vec![Arc::new(large(&tenant, 2 << 20)).into()]);
        store.settle(&taken, 200, Next::Delivered);
        let (refused, flushed) = soon(async { tokio::join!(too_large, store.queue.flush()) }).await;
        assert!(matches!(refused, Err(StoreError::Full)));
        flushed.expect("is flushed");
        assert_eq!(store.records(taken.key.message).await[0].state, Some(State::Success));
    }
}

#[tokio::test]
async fn what_could_not_be_read_stays_due() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), None);
    let tenant = store.tenant(1).await;
    let endpoint = first_endpoint(&tenant);
    let taken = store.deliveries(&tenant, endpoint, 4).await;
    store.settle(&taken[0], 500, Next::RetryAt(clock::now()));
    taken[1..].iter().for_each(|delivery| store.queue.set_aside(delivery.clone()));
    let held = store.leased(&tenant, 1).await;
    store.hold(&held[0], Held::Retry { due: clock::now(), calls: 1, reason: "why".into() });
    drop(store);

    let store = open(directory.path(), None);
    // Readers open the file when they are first needed.
    let (file, away) = (directory.path().join("octohooks.db"), directory.path().join("away"));
    std::fs::rename(&file, &away).expect("renames");
    for _ in 0..2 {
        assert!(soon(store.queue.next_messages(9)).await.is_err());
        assert!(soon(store.queue.next_deliveries(9)).await.is_err());
        assert!(soon(store.queue.take_aside(endpoint, 2)).await.is_err());
    }
    let depths = store.queue.depths();
    assert_eq!((depths.undispatched > 0, depths.waiting, depths.aside), (true, 1, 3));
    std::fs::rename(&away, &file).expect("renames");
    assert_eq!(store.lease(1).await[0].sequence, held[0].sequence);
    assert_eq!(numbers(&store.take(1).await), numbers(&taken[..1]));
    let aside = soon(store.queue.take_aside(endpoint, 9)).await.expect("are leased");
    let order: Vec<_> = aside.iter().map(|delivery| delivery.key).collect();
    let expected: Vec<_> = taken[1..].iter().map(|delivery| delivery.key).collect();
    assert_eq!(order, expected);
}

#[test]
fn a_directory_has_one_owner() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), None);
    let master = Master::new(None, directory.path());
    let error = Sqlite::open(directory.path(), Limits::default(), &master).expect_err("is refused");
    assert!(error.contains("another gateway owns this directory"), "{error}");
    drop(store);
    drop(open(directory.path(), None));
}

#[tokio::test]
async fn times_of_acceptance_go_on_from_the_last_message_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), None);
    let tenant = store.tenant(0).await;
    let last = clock::now() + 20_000;
    let message = Message { accepted: last, ..sample::message(tenant.application.id) };
    store.accept([message]).await;
    drop(store);
    let _store = open(directory.path(), None);
    assert!(clock::accepted() >= last);
}

#[tokio::test]
async fn a_dead_letter_that_goes_on_is_there_after_a_crash() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), None);
    let tenant = store.tenant(2).await;
    let ids: Vec<_> = tenant.endpoints.keys().copied().collect();
    let first = crate::model::endpoint::Endpoint {
        dead_letter_endpoint: Some(ids[1].to_string()),
        revision: 2,
        ..(*tenant.endpoints[&ids[0]]).clone()
    };
    store.change(crate::model::catalog::Change::PutEndpoint(first)).await;
    let delivery = store.deliveries(&tenant, ids[0], 1).await.remove(0);
    store.settle(&delivery, 500, Next::DeadLetter);
    store.flush().await;
    let copy = crashed(directory.path());
    drop(store);
    let store = open(copy.path(), None);
    let onward = store.take(1).await.remove(0);
    assert_eq!((onward.key.endpoint, onward.key.message), (ids[1], delivery.key.message));
    assert!(crate::model::dead_letter::is_onward(onward.key.ordinal));
    store.settle(&onward, 200, Next::Delivered);
}
