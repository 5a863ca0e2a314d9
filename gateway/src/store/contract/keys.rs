//! Environments, keys and event types in the catalog: what each needs, and what goes with what.

use super::*;
use crate::model::{
    catalog::Conflict,
    event_type::Listed,
    id::{Digest, EnvironmentId},
    key::{Former, Key, Scope},
    name::EventType,
};

on_every_engine![
    an_environment_can_be_renamed,
    an_environment_goes_when_it_is_empty_and_its_id_is_never_given_again,
    what_needs_an_environment_is_refused_without_it,
    a_rotated_key_is_found_by_both_its_hashes_and_a_deleted_one_by_none,
    an_applications_keys_go_with_it,
    event_types_are_listed_once_by_name,
];

async fn refused(store: &Store, change: Change) -> Conflict {
    match soon(store.catalog.change(change)).await.expect_err("is refused") {
        StoreError::Conflict(conflict) => conflict,
        other => panic!("{other}"),
    }
}

fn event_type(environment: EnvironmentId, name: &str, revision: u64) -> Arc<Listed> {
    let entry = sample::event_type(environment, name);
    Arc::new(Listed::new(crate::model::event_type::Entry { revision, ..entry }).expect("a schema"))
}

async fn an_environment_can_be_renamed(store: &Store) {
    let (old, other) = (store.environment("old").await, store.environment("other").await);
    let name = |text: &str| EnvironmentName::new(text).expect("legal");
    let renamed = |text: &str| Environment { name: name(text), revision: 2, ..old.clone() };
    for (change, conflict) in [
        (renamed("other"), Conflict::NameTaken),
        (renamed("default"), Conflict::NameTaken),
        (Environment { revision: 3, ..renamed("new") }, Conflict::Stale),
        (Environment { id: EnvironmentId::DEFAULT, ..renamed("new") }, Conflict::NameTaken),
    ] {
        assert_eq!(refused(store, Change::PutEnvironment(change)).await, conflict);
    }
    store.change(Change::PutEnvironment(renamed("new"))).await;
    let snapshot = store.catalog.snapshot();
    let found = ["new", "old", "other"].map(|name| snapshot.environment(name));
    assert_eq!(found, [Some(old.id), None, Some(other.id)]);
}

async fn an_environment_goes_when_it_is_empty_and_its_id_is_never_given_again(store: &Store) {
    let gone = store.environment("gone").await;
    let application = Application { environment: gone.id, ..sample::application() };
    let key = sample::key(gone.id);
    store.change(Change::PutApplication(application.clone())).await;
    store.change(Change::PutKey(key.clone())).await;
    store.change(Change::PutEventType(event_type(gone.id, "a", 1))).await;
    let delete = || Change::DeleteEnvironment(gone.id);
    assert_eq!(refused(store, delete()).await, Conflict::NotEmpty);
    store.change(Change::DeleteApplication(application.id)).await;
    store.change(delete()).await;
    assert_eq!(refused(store, delete()).await, Conflict::Stale);
    let default = Change::DeleteEnvironment(EnvironmentId::DEFAULT);
    assert_eq!(refused(store, default).await, Conflict::Stale);
    {
        let snapshot = store.catalog.snapshot();
        assert_eq!(snapshot.environment("gone"), None);
        assert!(snapshot.key(&key.hash).is_none());
        assert_eq!(snapshot.event_types(gone.id).count(), 0);
    }
    let again = Environment { revision: 2, ..gone.clone() };
    assert_eq!(refused(store, Change::PutEnvironment(again)).await, Conflict::Stale);
    assert_ne!(store.environment("gone").await.id, gone.id, "the name is free, the id is not");
}

async fn what_needs_an_environment_is_refused_without_it(store: &Store) {
    let nowhere = store.catalog.snapshot().free_environment();
    let application = Application { environment: nowhere, ..sample::application() };
    for change in [
        Change::PutApplication(application),
        Change::PutKey(sample::key(nowhere)),
        Change::PutEventType(event_type(nowhere, "a", 1)),
    ] {
        assert_eq!(refused(store, change).await, Conflict::NoEnvironment);
    }
    let elsewhere = store.environment("elsewhere").await.id;
    let scope = Scope::Application(store.tenant(0).await.application.id);
    let key = Key { scope, ..sample::key(elsewhere) };
    assert_eq!(refused(store, Change::PutKey(key)).await, Conflict::NoApplication);
}

async fn a_rotated_key_is_found_by_both_its_hashes_and_a_deleted_one_by_none(store: &Store) {
    let first = sample::key(EnvironmentId::DEFAULT);
    store.change(Change::PutKey(first.clone())).await;
    assert_eq!(refused(store, Change::PutKey(first.clone())).await, Conflict::Stale);
    let hash = |n| Digest([n; 32]);
    let rotated = |n, former, revision| {
        let former = Some(Former { hash: former, until: 9 });
        Change::PutKey(Key { hash: hash(n), former, revision, ..first.clone() })
    };
    store.change(rotated(1, first.hash, 2)).await;
    let found = |hash: Digest| store.catalog.snapshot().key(&hash).map(|key| key.id);
    assert_eq!([first.hash, hash(1)].map(found), [Some(first.id); 2]);
    store.change(rotated(2, hash(1), 3)).await;
    assert_eq!([first.hash, hash(1), hash(2)].map(found), [None, Some(first.id), Some(first.id)]);
    store.change(Change::DeleteKey(first.id)).await;
    assert_eq!([first.hash, hash(1), hash(2)].map(found), [None; 3]);
    assert_eq!(refused(store, Change::DeleteKey(first.id)).await, Conflict::Stale);
}

async fn an_applications_keys_go_with_it(store: &Store) {
    let tenant = store.tenant(0).await;
    let scope = Scope::Application(tenant.application.id);
    let (own, other) = (sample::key(EnvironmentId::DEFAULT), sample::key(EnvironmentId::DEFAULT));
    let own = Key { scope, ..own };
    for key in [&own, &other] {
        store.change(Change::PutKey(key.clone())).await;
    }
    store.change(Change::DeleteApplication(tenant.application.id)).await;
    let snapshot = store.catalog.snapshot();
    assert!(snapshot.key(&own.hash).is_none());
    assert!(snapshot.key(&other.hash).is_some());
}

async fn event_types_are_listed_once_by_name(store: &Store) {
    let here = EnvironmentId::DEFAULT;
    let elsewhere = store.environment("elsewhere").await.id;
    let first = event_type(here, "b", 1);
    for listed in [first.clone(), event_type(here, "a", 1), event_type(elsewhere, "b", 1)] {
        store.change(Change::PutEventType(listed)).await;
    }
    let again = Change::PutEventType(event_type(here, "b", 1));
    assert_eq!(refused(store, again).await, Conflict::NameTaken);
    assert_eq!(refused(store, Change::PutEventType(first.clone())).await, Conflict::Stale);
    let names = |environment| {
        let snapshot = store.catalog.snapshot();
        snapshot.event_types(environment).map(|l| l.entry.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(here), ["a", "b"]);
    let name = EventType::new("b").expect("legal");
    let delete = || Change::DeleteEventType(here, name.clone());
    store.change(delete()).await;
    assert_eq!(refused(store, delete()).await, Conflict::Stale);
    assert_eq!((names(here), names(elsewhere)), (vec!["a".into()], vec!["b".to_owned()]));
}
