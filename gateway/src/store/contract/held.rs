//! Held messages: parked until a plugin comes, due for another call, or dropped.

use super::*;
use crate::{
    clock,
    model::{
        failure::{Failure, Level, LogLine},
        id::Digest,
        name::PluginName,
        plugin::{Kind, Plugin, Version},
    },
    store::{Again, Forgotten, MessageFilter, MessageRecord},
};

on_every_engine![
    parked_messages_are_released_in_order_by_a_plugin,
    a_plugin_releases_only_its_own_applications_messages,
    a_plugin_does_not_release_what_is_leased,
    a_message_to_retry_comes_when_it_is_due,
    a_dropped_message_is_seen_and_never_comes,
    a_held_messages_deliveries_go_their_way,
    a_deleted_application_has_nothing_held,
    what_is_held_after_its_application_is_dropped,
    what_a_replaced_plugin_parks_is_for_the_new_one,
    what_several_plugins_parked_is_released_in_one_order,
    only_a_change_of_how_plugins_run_releases_what_is_parked,
    a_failure_is_kept_with_its_message_and_goes_with_its_content,
    a_dead_message_ends_like_a_dropped_one,
    crowded_messages_are_taken_in_order_when_there_is_room,
    what_is_due_again_keeps_nobody_else_out,
];

fn parked() -> Held {
    Held::Parked { kind: "trap".into(), reason: "unreachable".into() }
}

fn retry(due: u64) -> Held {
    Held::Retry { due, calls: 3, reason: "later".into() }
}

fn plugin(tenant: &Tenant) -> Change {
    Change::PutPlugin(sample::plugin(tenant.application.id, "main"), None)
}

async fn what_a_replaced_plugin_parks_is_for_the_new_one(store: &Store) {
    let tenant = store.tenant(1).await;
    store.change(plugin(&tenant)).await;
    let leased = store.leased(&tenant, 2).await;
    let called = |store: &Store| store.cause(&tenant, None);
    let (old, mut new) = (called(store), sample::plugin(tenant.application.id, "main").next(2));
    store.queue.dispatched(leased[0].clone(), Dispatched::Held(parked(), old.clone()));
    assert_eq!(store.depths().await.parked, 1);
    let digest = Digest([8; 32]);
    new.add(Version { digest, size: 1, created: 1, signed_by: None, code: 0 });
    store.change(Change::PutPlugin(new.clone(), None)).await;
    store.assert_nothing_comes().await;
    let mut new = new.next(3);
    new.activate(digest);
    store.change(Change::PutPlugin(new, None)).await;
    let again = store.lease(1).await;
    assert_eq!(sequences(&again), [leased[0].sequence]);
    // It ran under the old one all this time.
    store.queue.dispatched(leased[1].clone(), Dispatched::Held(parked(), old));
    let again = store.lease(1).await.remove(0);
    assert_eq!((again.sequence, again.calls), (leased[1].sequence, 0));
    store.queue.dispatched(again, Dispatched::Held(parked(), called(store)));
    assert_eq!(store.depths().await.parked, 1);
}

async fn what_several_plugins_parked_is_released_in_one_order(store: &Store) {
    let tenant = store.tenant(1).await;
    let id = tenant.application.id;
    let plugins = ["one", "two"].map(|name| sample::plugin(id, name));
    for plugin in &plugins {
        store.change(Change::PutPlugin(plugin.clone(), None)).await;
    }
    let leased = store.leased(&tenant, 6).await;
    for number in [5, 0, 3, 2, 4, 1] {
        let plugin = plugins[number % 2].name.clone();
        let cause = store.cause(&tenant, Some(Failure { plugin, ..failure() }));
        store.queue.dispatched(leased[number].clone(), Dispatched::Held(parked(), cause));
    }
    assert_eq!(store.depths().await.parked, 6);
    let mut mended = plugins[1].next(2);
    mended.renew();
    store.change(Change::PutPlugin(mended, None)).await;
    let mut again = Vec::new();
    while again.len() < leased.len() {
        again.extend(store.lease(1).await);
    }
    assert_eq!(sequences(&again), sequences(&leased));
    // The one that is not mended parks its own again.
    for leased in &again {
        match leased.sequence.0 % 2 == again[0].sequence.0 % 2 {
            true => store.queue.dispatched(
                leased.clone(),
                Dispatched::Held(parked(), store.cause(&tenant, Some(failure()))),
            ),
            false => store.dispatch(leased, Vec::new()),
        }
    }
    assert_eq!(store.depths().await.parked, 3);
    store.assert_nothing_comes().await;
}

async fn only_a_change_of_how_plugins_run_releases_what_is_parked(store: &Store) {
    let tenant = store.tenant(1).await;
    let id = tenant.application.id;
    let put = async |plugin: &Plugin| {
        store.change(Change::PutPlugin(plugin.clone(), None)).await;
        store.depths().await.parked
    };
    let (one, two) = (sample::plugin(id, "one"), sample::plugin(id, "two"));
    put(&one).await;
    let leased = store.leased(&tenant, 2).await;
    store
        .queue
        .dispatched(leased[0].clone(), Dispatched::Held(parked(), store.cause(&tenant, None)));
    let digest = one.active.expect("one");
    let quarantine = Change::QuarantinePlugin(id, one.name.clone(), digest, "why".into());
    store.change(quarantine).await;
    let mut more = one.next(2).next(3);
    more.add(Version { digest: Digest([8; 32]), size: 1, created: 1, signed_by: None, code: 0 });
    assert_eq!(put(&more).await, 1, "a version that is not called");
    let mut inactive = sample::plugin(id, "three");
    inactive.active = None;
    assert_eq!(put(&inactive).await, 1, "a plugin that is not called");
    let signer = Plugin { kind: Kind::Sign, ..sample::plugin(id, "signer") };
    assert_eq!(put(&signer).await, 1, "one of another kind");
    // One that is new may make another message of it, and so it may for what was among the others meanwhile.
    let cause = store.cause(&tenant, None);
    assert_eq!(put(&two).await, 0);
    assert_eq!(sequences(&store.lease(1).await), [leased[0].sequence]);
    store.queue.dispatched(leased[1].clone(), Dispatched::Held(parked(), cause));
    let again = store.lease(1).await.remove(0);
    assert_eq!(again.sequence, leased[1].sequence);
    store.queue.dispatched(again, Dispatched::Held(parked(), store.cause(&tenant, None)));
    store.change(Change::DeletePlugin(id, two.name.clone())).await;
    assert_eq!(store.depths().await.parked, 1, "without one");
    let mut released = more.next(4);
    released.renew();
    assert_eq!(put(&released).await, 0);
}

fn failure() -> Failure {
    Failure {
        plugin: PluginName::new("main").expect("legal"),
        digest: Digest([7; 32]),
        kind: "trap".into(),
        reason: "unreachable".into(),
        backtrace: "0: x".into(),
        log: vec![LogLine { level: Level::Warn, text: "why".into() }],
    }
}

async fn a_failure_is_kept_with_its_message_and_goes_with_its_content(store: &Store) {
    let tenant = store.tenant(1).await;
    store.change(plugin(&tenant)).await;
    let found = async |leased: &LeasedMessage| {
        store.flush().await;
        let (application, id) = (tenant.application.id, leased.message.id.to_string());
        let found = store.log.message(EnvironmentId::DEFAULT, application, &id);
        soon(found).await.expect("reads").expect("is there").failure
    };
    let leased = store.leased(&tenant, 3).await;
    let [parked, dead, retry] =
        [parked(), Held::Dead { kind: "trap".into(), reason: "unreachable".into() }, retry(0)];
    for (leased, held) in leased.iter().zip([&parked, &dead, &retry]) {
        let cause = store.cause(&tenant, Some(failure()));
        store.queue.dispatched(leased.clone(), Dispatched::Held(held.clone(), cause));
        assert_eq!(found(leased).await, Some(failure()));
    }
    // One that goes on in the end has not failed; one that goes on without the plugin has.
    let again = store.lease(1).await.remove(0);
    store.dispatch(&again, Vec::new());
    assert_eq!(found(&again).await, None);
    let passed = store.leased(&tenant, 1).await.remove(0);
    store.queue.note_failure(passed.sequence, failure());
    store.dispatch(&passed, Vec::new());
    assert_eq!(found(&passed).await, Some(failure()));
    let sequences = leased.iter().chain([&passed]).map(|leased| leased.sequence).collect();
    let forgotten = store.retention.forget(Forgotten::Content, sequences, None);
    assert_eq!(soon(forgotten).await.expect("are forgotten"), 4);
    for leased in [&leased[0], &leased[1], &passed] {
        assert_eq!(found(leased).await, None);
    }
}

async fn a_dead_message_ends_like_a_dropped_one(store: &Store) {
    let tenant = store.tenant(2).await;
    let leased = store.leased(&tenant, 2).await;
    let held = Held::Dead { kind: "trap".into(), reason: "a test".into() };
    leased.iter().for_each(|leased| store.hold(leased, held.clone()));
    let seen = held_as(store, &tenant, "dead").await;
    assert_eq!(seen[1].held.as_ref().map(|(held, _)| held), Some(&held));
    assert_eq!(store.depths().await, Depths::default());
    store.change(plugin(&tenant)).await;
    store.assert_nothing_comes().await;
    // Sent again, it is for that endpoint, and may die once more: for nobody then.
    let endpoint = first_endpoint(&tenant);
    let again = || store.recovery.again(vec![Again::Message(leased[0].sequence, endpoint)], None);
    for _ in 0..2 {
        assert_eq!(soon(again()).await.expect("is due"), 1);
        let due = store.lease(1).await.remove(0);
        assert_eq!((due.sequence, &due.only[..]), (leased[0].sequence, &[endpoint][..]));
        store.hold(&due, held.clone());
        store.flush().await;
    }
    let all = Forgotten::All;
    let old = store.retention.forget(all, vec![leased[1].sequence], None);
    assert_eq!(soon(old).await.expect("is forgotten"), 1);
    store.change(Change::DeleteApplication(tenant.application.id)).await;
    assert_eq!(store.depths().await, Depths::default());
    let seen = held_as(store, &tenant, "dead").await;
    assert_eq!(seen.len(), 1, "it has ended already");
}

async fn crowded_messages_are_taken_in_order_when_there_is_room(store: &Store) {
    let (tenant, other) = (store.tenant(1).await, store.tenant(1).await);
    let (id, other_id) = (tenant.application.id, other.application.id);
    let leased = store.leased(&tenant, 4).await;
    let others = store.leased(&other, 1).await;
    for leased in leased.iter().chain(&others) {
        store.hold(leased, Held::Crowded { calls: 2 });
    }
    // At once, whether their rows are written or not.
    let first = soon(store.queue.take_crowded(id, 2)).await.expect("reads");
    assert_eq!(sequences(&first), sequences(&leased[..2]));
    assert!(first.iter().all(|leased| leased.held));
    assert_eq!(held_as(store, &tenant, "crowded").await.len(), 4);
    assert_eq!(store.depths().await, Depths { undispatched: 3, ..Depths::default() });
    first.iter().for_each(|leased| store.dispatch(leased, Vec::new()));
    store.assert_nothing_comes().await;
    let rest = soon(store.queue.take_crowded(id, 10)).await.expect("reads");
    assert_eq!(sequences(&rest), sequences(&leased[2..]));
    assert!(rest.iter().all(|leased| leased.held && leased.calls == 2));
    rest.iter().for_each(|leased| store.dispatch(leased, Vec::new()));
    assert!(held_as(store, &tenant, "crowded").await.is_empty());
    assert!(soon(store.queue.take_crowded(id, 10)).await.expect("reads").is_empty());

    assert_eq!(store.queue.applications_crowded(), [other_id]);
    store.change(Change::DeleteApplication(other_id)).await;
    assert_eq!(store.queue.applications_crowded(), []);
    assert_eq!(held_as(store, &other, "dropped").await.len(), 1);
    assert_eq!(store.depths().await, Depths::default());
}

async fn what_is_due_again_keeps_nobody_else_out(store: &Store) {
    let (tenant, other) = (store.tenant(1).await, store.tenant(1).await);
    let leased = store.leased(&tenant, 20).await;
    leased.iter().for_each(|leased| store.hold(leased, retry(0)));
    store.flush().await;
    store.accept([sample::message(other.application.id)]).await;
    let next = soon(store.queue.next_messages(4)).await.expect("are leased");
    assert_eq!(next.len(), 3, "at most half is what is due again");
    assert_eq!(next[2].message.application, other.application.id);
}

async fn held_as(store: &Store, tenant: &Tenant, state: &str) -> Vec<MessageRecord> {
    store.flush().await;
    let filter = MessageFilter { held: Some(state.to_owned()), ..MessageFilter::default() };
    store.page(tenant.application.id, filter, 100).await.records
}

fn sequences(leased: &[LeasedMessage]) -> Vec<Sequence> {
    leased.iter().map(|leased| leased.sequence).collect()
}

async fn parked_messages_are_released_in_order_by_a_plugin(store: &Store) {
    let tenant = store.tenant(1).await;
    let leased = store.leased(&tenant, 4).await;
    for leased in [&leased[2], &leased[0], &leased[3]] {
        store.hold(leased, parked());
    }
    store.dispatch(&leased[1], Vec::new());
    assert_eq!(store.depths().await, Depths { parked: 3, ..Depths::default() });
    let seen = held_as(store, &tenant, "parked").await;
    let newest_first: Vec<_> = seen.iter().map(|record| record.sequence).collect();
    assert_eq!(newest_first, [leased[3].sequence, leased[2].sequence, leased[0].sequence]);
    assert!(seen.iter().all(|r| r.held.as_ref().is_some_and(|(held, _)| *held == parked())));

    store.change(plugin(&tenant)).await;
    assert_eq!(store.queue.depths().parked, 0);
    assert!(held_as(store, &tenant, "parked").await.is_empty());
    let again = store.lease(3).await;
    let expected = [leased[0].sequence, leased[2].sequence, leased[3].sequence];
    assert_eq!(sequences(&again), expected);
    assert!(again.iter().all(|leased| leased.held && leased.calls == 0));
    again.iter().for_each(|leased| store.dispatch(leased, Vec::new()));
    assert_eq!(store.depths().await, Depths::default());
    assert!(held_as(store, &tenant, "retry").await.is_empty());
    store.assert_nothing_comes().await;
}

async fn a_plugin_releases_only_its_own_applications_messages(store: &Store) {
    let (tenant, other) = (store.tenant(1).await, store.tenant(1).await);
    for tenant in [&tenant, &other] {
        store.hold(&store.leased(tenant, 1).await[0], parked());
    }
    store.change(plugin(&tenant)).await;
    let again = store.lease(1).await;
    assert_eq!(again[0].message.application, tenant.application.id);
    assert_eq!(store.depths().await.parked, 1);
    store.assert_nothing_comes().await;
    // One that fails again is parked again.
    store.hold(&again[0], parked());
    assert_eq!(store.depths().await.parked, 2);
}

async fn a_plugin_does_not_release_what_is_leased(store: &Store) {
    let tenant = store.tenant(1).await;
    let leased = store.leased(&tenant, 2).await;
    store.hold(&leased[0], retry(0));
    let again = store.lease(1).await;
    assert_eq!(again[0].sequence, leased[0].sequence);
    store.change(plugin(&tenant)).await;
    store.assert_nothing_comes().await;
}

async fn a_message_to_retry_comes_when_it_is_due(store: &Store) {
    let tenant = store.tenant(1).await;
    let leased = store.leased(&tenant, 2).await;
    let due = clock::now() + 300;
    store.hold(&leased[0], retry(due));
    store.hold(&leased[1], retry(due - 100));
    // Due or not by now.
    let depths = store.depths().await;
    assert_eq!(depths.undispatched + depths.scheduled, 2);
    let seen = held_as(store, &tenant, "retry").await;
    assert_eq!(seen[1].held.as_ref().map(|(held, _)| held), Some(&retry(due)));
    let again = store.lease(2).await;
    assert!(clock::now() >= due, "it came too early");
    assert_eq!(sequences(&again), [leased[1].sequence, leased[0].sequence]);
    assert!(again.iter().all(|leased| leased.held && leased.calls == 3));
    assert_eq!(*again[1].message, *leased[0].message);
}

async fn a_dropped_message_is_seen_and_never_comes(store: &Store) {
    let tenant = store.tenant(1).await;
    let leased = store.leased(&tenant, 1).await;
    let held = Held::Dropped { reason: "a test".into() };
    store.hold(&leased[0], held.clone());
    let seen = held_as(store, &tenant, "dropped").await;
    assert_eq!(seen[0].sequence, leased[0].sequence);
    assert_eq!(seen[0].held.as_ref().map(|(held, _)| held), Some(&held));
    assert_eq!(store.depths().await, Depths::default());
    store.change(plugin(&tenant)).await;
    store.assert_nothing_comes().await;
}

async fn a_held_messages_deliveries_go_their_way(store: &Store) {
    let tenant = store.tenant(3).await;
    let leased = store.leased(&tenant, 1).await;
    store.hold(&leased[0], retry(0));
    let again = store.lease(1).await.remove(0);
    assert!(again.done.is_empty());
    let due = clock::now() + 300;
    let mut made: Vec<Delivery> =
        tenant.endpoints.keys().map(|endpoint| delivery(&again, *endpoint)).collect();
    made[0].due = due;
    store.dispatch(&again, made.clone());
    let taken = store.take(3).await;
    let order = [&made[1], &made[2], &made[0]];
    assert!(taken.iter().map(|delivery| &**delivery).eq(order));
    assert!(clock::now() >= due, "it came too early");
    taken.iter().for_each(|delivery| store.settle(delivery, 200, Next::Delivered));
    let records = store.records(again.sequence).await;
    assert_eq!(records.iter().filter(|record| record.attempts.len() == 1).count(), 3);
    assert!(held_as(store, &tenant, "retry").await.is_empty());
    assert_eq!(store.depths().await, Depths::default());
}

async fn a_deleted_application_has_nothing_held(store: &Store) {
    let (tenant, other) = (store.tenant(1).await, store.tenant(1).await);
    let leased = store.leased(&tenant, 3).await;
    store.hold(&leased[0], parked());
    store.hold(&leased[1], retry(clock::now() + 3_600_000));
    store.hold(&leased[2], Held::Dropped { reason: "a test".into() });
    store.hold(&store.leased(&other, 1).await[0], parked());
    store.change(Change::DeleteApplication(tenant.application.id)).await;
    assert_eq!(store.depths().await, Depths { parked: 1, ..Depths::default() });
    assert!(held_as(store, &tenant, "parked").await.is_empty());
    assert!(held_as(store, &tenant, "retry").await.is_empty());
    let dropped = held_as(store, &tenant, "dropped").await;
    let reasons: Vec<_> =
        dropped.iter().filter_map(|r| r.held.as_ref()).map(|(held, _)| held.reason()).collect();
    assert_eq!(reasons, ["a test", "the application was deleted", "the application was deleted"]);
    store.assert_nothing_comes().await;
}

async fn what_is_held_after_its_application_is_dropped(store: &Store) {
    let tenant = store.tenant(1).await;
    let leased = store.leased(&tenant, 2).await;
    store.change(Change::DeleteApplication(tenant.application.id)).await;
    store.hold(&leased[0], parked());
    store.hold(&leased[1], retry(clock::now()));
    assert_eq!(held_as(store, &tenant, "dropped").await.len(), 2);
    assert_eq!(store.depths().await, Depths::default());
    store.assert_nothing_comes().await;
}
