//! What plugins remember: versions, quotas, times, and whose it is.

use super::*;
use crate::{
    clock,
    model::{
        Millis,
        catalog::Conflict,
        keyvalue::{Expected, Size, Write, Written},
    },
};
use bytes::Bytes;

on_every_engine![
    what_is_written_is_read_with_a_version_that_grows,
    of_many_who_expect_the_same_one_succeeds,
    what_is_over_the_quota_is_not_written,
    what_has_expired_is_not_there_and_takes_no_room,
    what_has_expired_is_deleted_in_pieces,
    applications_do_not_see_each_others_and_theirs_goes_with_them,
];

const LARGE: Size = Size { keys: 1000, bytes: 1_000_000 };

fn write(application: ApplicationId, key: &str, value: &'static str) -> Write {
    Write {
        application,
        key: key.into(),
        value: Some(Bytes::from(value)),
        expires: None,
        expected: Expected::Any,
        quota: LARGE,
    }
}

fn remove(application: ApplicationId, key: &str) -> Write {
    Write { value: None, ..write(application, key, "") }
}

async fn written(store: &Store, write: Write) -> Written {
    soon(store.values.write(write)).await.expect("is decided")
}

async fn version(store: &Store, write: Write) -> u64 {
    match written(store, write).await {
        Written::Done(version) => version,
        other => panic!("{other:?}"),
    }
}

/// The value at that time.
async fn value_at(store: &Store, of: ApplicationId, key: &str, now: Millis) -> Option<String> {
    let found = soon(store.values.value(of, key.into(), now)).await.expect("reads");
    found.map(|entry| String::from_utf8(entry.value.to_vec()).expect("a text"))
}

async fn value(store: &Store, of: ApplicationId, key: &str) -> Option<String> {
    value_at(store, of, key, clock::now()).await
}

async fn what_is_written_is_read_with_a_version_that_grows(store: &Store) {
    let id = store.tenant(0).await.application.id;
    assert_eq!(value(store, id, "a").await, None);
    assert_eq!(written(store, remove(id, "a")).await, Written::Removed(false));
    let first = version(store, write(id, "a", "1")).await;
    let found = store.values.value(id, "a".into(), clock::now()).await.expect("reads");
    assert_eq!(found.expect("is there").version, first);
    let second = version(store, write(id, "a", "2")).await;
    assert!(second > first);
    assert_eq!(value(store, id, "a").await.as_deref(), Some("2"));
    assert_eq!(written(store, remove(id, "a")).await, Written::Removed(true));
    assert_eq!(value(store, id, "a").await, None);
    let third = version(store, write(id, "a", "")).await;
    assert!(third > second, "a version is never given twice");
    assert_eq!(value(store, id, "a").await.as_deref(), Some(""));
}

async fn of_many_who_expect_the_same_one_succeeds(store: &Store) {
    let id = store.tenant(0).await.application.id;
    let first = version(store, write(id, "a", "0")).await;
    let expecting =
        |expected| Write { expected: Expected::Version(expected), ..write(id, "a", "x") };
    let all = (0..20).map(|_| store.values.write(expecting(Some(first))));
    let all = soon(futures_util::future::join_all(all)).await;
    let all: Vec<_> = all.into_iter().map(|one| one.expect("is decided")).collect();
    let done: Vec<_> = all.iter().filter(|one| matches!(one, Written::Done(_))).collect();
    let [Written::Done(second)] = done[..] else { panic!("{all:?}") };
    let refused = all.iter().filter(|one| **one == Written::Conflict(Some(*second)));
    assert_eq!(refused.count(), 19);
    assert_eq!(written(store, expecting(None)).await, Written::Conflict(Some(*second)));
    let absent = Write { key: "b".into(), ..expecting(Some(1)) };
    assert_eq!(written(store, absent).await, Written::Conflict(None));
    let removal = Write { value: None, ..expecting(Some(first)) };
    assert_eq!(written(store, removal).await, Written::Conflict(Some(*second)));
}

async fn what_is_over_the_quota_is_not_written(store: &Store) {
    let id = store.tenant(0).await.application.id;
    let quota = Size { keys: 2, bytes: 12 };
    let write = |key: &str, value| Write { quota, ..write(id, key, value) };
    version(store, write("a", "12345")).await;
    version(store, write("b", "1")).await;
    assert_eq!(written(store, write("c", "")).await, Written::Full, "keys");
    assert_eq!(written(store, write("b", "123456")).await, Written::Full, "bytes");
    assert_eq!(value(store, id, "b").await.as_deref(), Some("1"), "it is as it was");
    version(store, write("b", "12345")).await;
    written(store, remove(id, "a")).await;
    version(store, write("c", "12345")).await;
    let smaller = Size { keys: 1, bytes: 1 };
    assert_eq!(
        written(store, Write { quota: smaller, ..write("b", "123456") }).await,
        Written::Full
    );
    version(store, Write { quota: smaller, ..write("b", "1") }).await;
}

async fn what_has_expired_is_not_there_and_takes_no_room(store: &Store) {
    let (id, now) = (store.tenant(0).await.application.id, clock::now());
    let quota = Size { keys: 2, bytes: 100 };
    let write = |key: &str, expires| Write { quota, expires, ..write(id, key, "1") };
    let later = now + 3_600_000;
    version(store, write("later", Some(later))).await;
    assert_eq!(value_at(store, id, "later", later - 1).await.as_deref(), Some("1"));
    assert_eq!(value_at(store, id, "later", later).await, None);
    let gone = version(store, write("gone", Some(now))).await;
    assert_eq!(value(store, id, "gone").await, None);
    let absent = Write { expected: Expected::Version(None), ..write("gone", Some(now)) };
    assert!(version(store, absent).await > gone, "as if it had never been there");
    assert_eq!(
        written(store, Write { value: None, ..write("gone", None) }).await,
        Written::Removed(false)
    );
    version(store, write("gone", Some(now))).await;
    version(store, write("new", None)).await;
    assert_eq!(written(store, write("more", None)).await, Written::Full);
    version(store, write("later", None)).await;
    assert_eq!(value_at(store, id, "later", later).await.as_deref(), Some("1"), "it stays now");
}

async fn what_has_expired_is_deleted_in_pieces(store: &Store) {
    let (id, now) = (store.tenant(0).await.application.id, clock::now());
    let later = Some(now + 1_000_000);
    for n in 0..5 {
        version(store, Write { expires: later, ..write(id, &n.to_string(), "1") }).await;
    }
    version(store, write(id, "kept", "1")).await;
    assert_eq!(soon(store.values.forget_values(now, 100)).await.expect("forgets"), 0);
    let (mut gone, then) = (0, now + 1_000_000);
    loop {
        match soon(store.values.forget_values(then, 2)).await.expect("forgets") {
            0 => break,
            some => gone += some,
        }
    }
    assert_eq!(gone, 5);
    assert_eq!(value(store, id, "0").await, None);
    assert_eq!(value(store, id, "kept").await.as_deref(), Some("1"));
    let quota = Size { keys: 2, bytes: 1000 };
    version(store, Write { quota, ..write(id, "room", "1") }).await;
}

async fn applications_do_not_see_each_others_and_theirs_goes_with_them(store: &Store) {
    let (one, other) = (store.tenant(0).await.application.id, store.tenant(0).await.application.id);
    version(store, write(one, "a", "1")).await;
    version(store, write(other, "a", "2")).await;
    assert_eq!(value(store, one, "a").await.as_deref(), Some("1"));
    store.change(Change::DeleteApplication(one)).await;
    assert_eq!(value(store, one, "a").await, None);
    assert_eq!(value(store, other, "a").await.as_deref(), Some("2"));
    let refused = soon(store.values.write(write(one, "a", "1"))).await.expect_err("is gone");
    assert!(matches!(refused, StoreError::Conflict(Conflict::NoApplication)), "{refused}");
}
