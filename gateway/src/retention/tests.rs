//! Rounds on the store in memory, which does at once what it is asked.

use super::*;
use crate::{
    model::{
        catalog::Change,
        environment::Environment,
        keyvalue::{Expected, Size, Write},
        message::{Held, Message},
        name::EnvironmentName,
        sample,
    },
    store::{Dispatched, Log, MessageFilter, Queue, memory::Memory},
};

fn days(payload: u16, attempts: u16) -> Kept {
    let days = |n| NonZeroU16::new(n).expect("some");
    Kept { payload_days: days(payload), attempt_days: days(attempts) }
}

/// A store with messages of these ages in days, oldest first, all dispatched.
async fn store(environment: EnvironmentId, ages: &[u64]) -> (Arc<Memory>, Message) {
    let store = Memory::new();
    let mut message = sample::message(sample::application().id);
    message.environment = environment;
    for age in ages {
        let id = crate::model::id::MessageId(clock::id());
        let message = Message { id, accepted: (100 - age) * DAY, ..message.clone() };
        store.accept(vec![Arc::new(message).into()]).await.expect("is accepted");
    }
    for leased in store.next_messages(100).await.expect("are leased") {
        store.dispatched(leased, Dispatched::Deliveries(Vec::new()));
    }
    (store, message)
}

fn keeper(store: &Arc<Memory>, usual: Kept, own: &[(&str, Kept)]) -> Keeper {
    let own = own.iter().map(|(name, kept)| ((*name).to_owned(), *kept)).collect();
    Keeper::new(store.clone(), store.clone(), store.clone(), usual, own)
}

/// The sizes of the payloads that are left, oldest first.
async fn left(store: &Memory, of: &Message) -> Vec<usize> {
    let page = store.messages(of.environment, of.application, MessageFilter::default(), 100).await;
    page.expect("reads").records.iter().rev().map(|r| r.message.payload.len()).collect()
}

#[tokio::test]
async fn what_plugins_remember_goes_when_its_time_is_up() {
    let store = Memory::new();
    let application = sample::application();
    let id = application.id;
    store.change(Change::PutApplication(application)).await.expect("is changed");
    let until = clock::now() + DAY;
    for (key, expires) in [("soon", Some(until)), ("later", Some(until + 1)), ("never", None)] {
        let (key, value) = (key.to_owned(), Some("v".into()));
        let quota = Size { keys: 9, bytes: 99 };
        let (application, expected) = (id, Expected::Any);
        let write = Write { application, key, value, expires, expected, quota };
        store.write(write).await.expect("is written");
    }
    let mut keeper = keeper(&store, days(200, 200), &[]);
    keeper.round(until).await.expect("is done");
    // As of a time before all of them: what is left is there, and what was deleted is not.
    for (key, is_left) in [("soon", false), ("later", true), ("never", true)] {
        let found = store.value(id, key.to_owned(), 0).await.expect("reads");
        assert_eq!(found.is_some(), is_left, "{key}");
    }
}

#[tokio::test]
async fn what_is_past_its_time_goes_and_the_rest_stays() {
    let full = sample::message(sample::application().id).payload.len();
    for (kept, expected) in [
        (days(30, 30), vec![full, full]),
        (days(30, 60), vec![0, full, full]),
        (days(60, 30), vec![full, full, full]),
        (days(5, 90), vec![0, 0, 0, 0]),
        (days(200, 200), vec![full; 4]),
    ] {
        let (store, message) = store(EnvironmentId::DEFAULT, &[70, 40, 20, 10]).await;
        let mut keeper = keeper(&store, kept, &[]);
        for _ in 0..2 {
            keeper.round(100 * DAY).await.expect("is done");
            assert_eq!(left(&store, &message).await, expected, "{kept:?}");
        }
    }
}

#[tokio::test]
async fn an_environment_may_keep_longer_or_shorter() {
    let environment = EnvironmentId(2);
    let name = EnvironmentName::new("staging").expect("legal");
    for (own, said, expected) in
        [(None, None, 2), (None, Some(days(5, 5)), 0), (Some(days(200, 200)), Some(days(5, 5)), 3)]
    {
        let (store, message) = store(environment, &[40, 20, 10]).await;
        let record = Environment { kept: said, ..Environment::new(environment, name.clone(), 1) };
        store.change(Change::PutEnvironment(record)).await.expect("is made");
        let own: Vec<_> = own.map(|kept| ("staging", kept)).into_iter().collect();
        keeper(&store, days(30, 30), &own).round(100 * DAY).await.expect("is done");
        assert_eq!(left(&store, &message).await.len(), expected);
    }
}

#[tokio::test]
async fn what_waited_at_its_time_goes_when_it_has_ended() {
    let (store, application) = (Memory::new(), sample::application());
    let message = sample::message(application.id);
    store.change(Change::PutApplication(application)).await.expect("is made");
    for accepted in [60 * DAY, 70 * DAY + DAY / 2] {
        let id = crate::model::id::MessageId(clock::id());
        let message = Message { id, accepted, ..message.clone() };
        store.accept(vec![Arc::new(message).into()]).await.expect("is accepted");
    }
    let mut leased = store.next_messages(2).await.expect("are leased").into_iter();
    let [first, second] = [(); 2].map(|()| leased.next().expect("is leased"));
    let waits = Held::Retry { due: 0, calls: 1, reason: "later".into() };
    store.dispatched(first, Dispatched::Held(waits, None));
    store.dispatched(second, Dispatched::Deliveries(Vec::new()));
    let full = message.payload.len();
    let mut keeper = keeper(&store, days(30, 60), &[]);
    keeper.walked = 100 * DAY;
    for (now, expected) in [(100 * DAY, [full, full]), (100 * DAY + DAY * 3 / 4, [full, 0])] {
        keeper.round(now).await.expect("is done");
        assert_eq!(left(&store, &message).await, expected);
    }
    let first = store.next_messages(1).await.expect("is leased").remove(0);
    store.dispatched(first, Dispatched::Deliveries(Vec::new()));
    keeper.round(101 * DAY).await.expect("is done");
    assert_eq!(left(&store, &message).await, [0, 0]);
}

#[tokio::test]
async fn a_message_may_ask_for_less() {
    let (store, message) = store(EnvironmentId::DEFAULT, &[10]).await;
    let short = Message { content_until: Some(95 * DAY), accepted: 91 * DAY, ..message.clone() };
    store.accept(vec![Arc::new(short).into()]).await.expect("is accepted");
    let leased = store.next_messages(1).await.expect("is leased").remove(0);
    let mut keeper = keeper(&store, days(90, 90), &[]);
    keeper.round(100 * DAY).await.expect("is done");
    assert!(left(&store, &message).await.iter().all(|size| *size > 0), "it is being dispatched");
    store.dispatched(leased, Dispatched::Deliveries(Vec::new()));
    keeper.round(94 * DAY).await.expect("is done");
    assert!(left(&store, &message).await.iter().all(|size| *size > 0), "it is not time");
    keeper.round(95 * DAY).await.expect("is done");
    let sizes = left(&store, &message).await;
    assert_eq!((sizes[0] > 0, sizes[1]), (true, 0));
}
