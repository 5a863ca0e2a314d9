//! The log: what was recorded, by key and by page, for as long as it must be kept.

use super::*;
use crate::{
    clock,
    model::{attempt::Failure, id::EnvironmentId, name::Uid},
    store::{Forgotten, MessageFilter},
};

on_every_engine![
    a_message_is_found_by_its_id_or_uid_where_it_belongs,
    attempts_are_recorded_as_they_were,
    what_is_old_and_has_ended_is_forgotten,
    what_is_open_is_kept,
    what_is_parked_goes_with_its_content,
    only_so_many_are_forgotten_at_once,
    a_forgotten_uid_is_free,
    what_is_forgotten_of_a_message_is_what_was_asked,
    old_answers_and_operations_go,
];

/// Later than anything.
const NEVER: u64 = u64::MAX / 2;

async fn forget(store: &Store, before: u64, max: usize) -> u64 {
    // What was settled shortly before counts.
    store.flush().await;
    let (environment, first) = (EnvironmentId::DEFAULT, Sequence(0));
    let aged = soon(store.retention.aged(environment, first, before)).await.expect("reads");
    let old = aged.records.into_iter().take(max).collect();
    soon(store.retention.forget(Forgotten::All, old, None)).await.expect("forgets")
}

async fn kept(store: &Store, tenant: &Tenant) -> Vec<Sequence> {
    let page = store.page(tenant.application.id, MessageFilter::default(), 1000).await;
    page.records.into_iter().rev().map(|record| record.sequence).collect()
}

async fn a_message_is_found_by_its_id_or_uid_where_it_belongs(store: &Store) {
    let application = sample::application().id;
    let uid = Uid::new("a uid").expect("legal");
    let sent = Message { uid: Some(uid), ..sample::message(application) };
    store.accept([sent.clone()]).await;
    let id = sent.id.to_string();
    let (here, there) = (EnvironmentId::DEFAULT, EnvironmentId(2));
    let other = sample::application().id;
    let table = [
        (here, application, &*id, true),
        (here, application, "a uid", true),
        (here, application, "another", false),
        (here, application, "0199b5a6-0000-7000-8000-000000000000", false),
        (here, other, &*id, false),
        (here, other, "a uid", false),
        (there, application, &*id, false),
        (there, application, "a uid", false),
    ];
    for (environment, application, wanted, expected) in table {
        let found = soon(store.log.message(environment, application, wanted)).await;
        let found = found.expect("reads").map(|record| record.message);
        assert_eq!(found, expected.then(|| sent.clone()), "{wanted}");
    }
}

async fn attempts_are_recorded_as_they_were(store: &Store) {
    let tenant = store.tenant(1).await;
    let answered = |status, body: &[u8]| {
        let headers = format!("x-status: {status}\n");
        Outcome::Answered(Answer { status, retry_after: None, headers, body: body.to_vec() })
    };
    let failed = |class| Outcome::Failed { class, detail: "in détail".into() };
    let outcomes = [
        answered(503, &[0, 159, 146, 150]),
        failed(Failure::Guard),
        failed(Failure::Timeout),
        answered(429, b""),
        failed(Failure::Tls),
        answered(204, b""),
    ];
    let mut made = Vec::new();
    let mut taken = store.deliveries(&tenant, first_endpoint(&tenant), 1).await.remove(0);
    let message = taken.key.message;
    for (number, outcome) in (1..).zip(outcomes) {
        let next = if number == 6 { Next::Delivered } else { Next::RetryAt(clock::now()) };
        let at = 1_000 * u64::from(number);
        let revision = (number != 2).then_some(u64::from(number));
        let attempt = Attempt { number, at, latency: number * 7, revision, outcome };
        made.push(attempt.clone());
        let (delivery, attempt) = (taken.clone(), Some(attempt));
        store.queue.settle(Settlement { delivery, attempt, next, notice: None });
        if number < 6 {
            taken = store.take(1).await.remove(0);
        }
    }
    assert_eq!(store.records(message).await[0].attempts, made);
}

async fn what_is_old_and_has_ended_is_forgotten(store: &Store) {
    let tenant = store.tenant(1).await;
    let endpoint = first_endpoint(&tenant);
    let young = Message { accepted: 5_000, ..sample::message(tenant.application.id) };
    let ended = store.deliveries(&tenant, endpoint, 2).await;
    store.settle(&ended[0], 200, Next::Delivered);
    store.settle(&ended[1], 500, Next::RetryAt(clock::now()));
    let again = store.take(1).await;
    store.settle(&again[0], 500, Next::DeadLetter);
    let held = store.leased(&tenant, 1).await;
    store.hold(&held[0], Held::Dropped { reason: "a test".into() });
    store.accept([young.clone()]).await;
    let leased = store.lease(1).await;
    store.dispatch(&leased[0], Vec::new());

    assert_eq!(forget(store, 1_000, 100).await, 0, "accepted at that time, not before");
    assert_eq!(forget(store, 5_000, 100).await, 3);
    assert_eq!(kept(store, &tenant).await, [leased[0].sequence]);
    assert!(store.records(ended[1].key.message).await.is_empty());
    assert_eq!(forget(store, NEVER, 100).await, 1);
    assert!(kept(store, &tenant).await.is_empty());
}

async fn what_is_open_is_kept(store: &Store) {
    let tenant = store.tenant(1).await;
    let endpoint = first_endpoint(&tenant);
    let deliveries = store.deliveries(&tenant, endpoint, 2).await;
    store.settle(&deliveries[0], 500, Next::RetryAt(NEVER));
    store.queue.set_aside(deliveries[1].clone());
    let held = store.leased(&tenant, 2).await;
    store.hold(&held[0], Held::Retry { due: NEVER, calls: 1, reason: "why".into() });
    store.hold(&held[1], Held::Retry { due: NEVER, calls: 1, reason: "why".into() });
    let leased = store.leased(&tenant, 2).await;
    store.dispatch(&leased[0], vec![delivery(&leased[0], endpoint)]);
    store.accept([sample::message(tenant.application.id)]).await;
    assert_eq!(forget(store, NEVER, 100).await, 0);
    assert_eq!(kept(store, &tenant).await.len(), 7);
}

async fn what_is_parked_goes_with_its_content(store: &Store) {
    let tenant = store.tenant(2).await;
    let endpoints: Vec<_> = tenant.endpoints.keys().copied().collect();
    let parked = || Held::Parked { kind: "trap".into(), reason: "why".into() };
    let mut leased = store.leased(&tenant, 3).await;
    // One was delivered to an endpoint, and is parked for another.
    store.dispatch(&leased[2], vec![delivery(&leased[2], endpoints[0])]);
    store.settle(&store.take(1).await.remove(0), 200, Next::Delivered);
    store.flush().await;
    let again = vec![crate::store::Again::Message(leased[2].sequence, endpoints[1])];
    leased[0..2].iter().for_each(|leased| store.hold(leased, parked()));
    store.flush().await;
    assert_eq!(soon(store.recovery.again(again, None)).await.expect("is done"), 1);
    leased[2] = store.lease(1).await.remove(0);
    store.hold(&leased[2], parked());
    assert_eq!(store.depths().await, Depths { parked: 3, ..Depths::default() });
    let forget = async |what, index: usize| {
        let forgotten = store.retention.forget(what, vec![leased[index].sequence], None);
        soon(forgotten).await.expect("forgets")
    };
    for index in [0, 2] {
        assert_eq!(forget(Forgotten::Attempts, index).await, 1);
        assert_eq!(store.depths().await.parked, if index == 0 { 3 } else { 2 });
        assert_eq!(forget(Forgotten::Content, index).await, 1);
    }
    assert_eq!(forget(Forgotten::All, 1).await, 1);
    assert_eq!(store.depths().await, Depths::default());
    let page = store.page(tenant.application.id, MessageFilter::default(), 10).await;
    let left: Vec<_> = page.records.iter().map(|record| record.sequence).collect();
    assert_eq!(left, [leased[2].sequence, leased[0].sequence]);
    for record in page.records {
        let (held, _) = record.held.expect("is held");
        assert_eq!(held.state(), "dropped");
        assert!(held.reason().contains("content was removed"), "{}", held.reason());
        assert!(record.message.payload.is_empty());
    }
    store.assert_nothing_comes().await;
}

async fn only_so_many_are_forgotten_at_once(store: &Store) {
    let tenant = store.tenant(1).await;
    for leased in store.leased(&tenant, 5).await {
        store.dispatch(&leased, Vec::new());
    }
    for (expected, left) in [(2, 3), (2, 1), (1, 0), (0, 0)] {
        assert_eq!(forget(store, NEVER, 2).await, expected);
        assert_eq!(kept(store, &tenant).await.len(), left);
    }
}

async fn a_forgotten_uid_is_free(store: &Store) {
    let tenant = store.tenant(1).await;
    let uid = || Some(Uid::new("a uid").expect("legal"));
    let sent = || Message { uid: uid(), ..sample::message(tenant.application.id) };
    store.accept([sent()]).await;
    let leased = store.lease(1).await;
    store.dispatch(&leased[0], Vec::new());
    assert_eq!(forget(store, NEVER, 1).await, 1);
    assert_eq!(store.accept([sent()]).await, [Accepted::New]);
    let again = store.lease(1).await;
    assert!(again[0].sequence > leased[0].sequence, "a number is not used again");
}

async fn what_is_forgotten_of_a_message_is_what_was_asked(store: &Store) {
    let tenant = store.tenant(1).await;
    let sent = store.deliveries(&tenant, first_endpoint(&tenant), 2).await;
    sent.iter().for_each(|delivery| store.settle(delivery, 200, Next::Delivered));
    store.flush().await;
    let keys: Vec<_> = sent.iter().map(|delivery| delivery.key.message).collect();
    let environment = EnvironmentId::DEFAULT;
    let forget = async |what, message, upto| {
        let forgotten = store.retention.forget(what, vec![message], upto);
        soon(forgotten).await.expect("forgets")
    };
    assert_eq!(forget(Forgotten::Content, keys[0], Some((environment, keys[0]))).await, 1);
    assert_eq!(forget(Forgotten::Attempts, keys[1], None).await, 1);
    let page = store.page(tenant.application.id, MessageFilter::default(), 10).await;
    let payloads: Vec<_> = page.records.iter().map(|r| r.message.payload.len()).collect();
    assert_eq!(payloads, [sent[1].message.payload.len(), 0], "newest first");
    assert_eq!(store.records(keys[0]).await.len(), 1);
    let bare = store.records(keys[1]).await.remove(0);
    assert_eq!((bare.state, bare.attempts), (Some(crate::model::delivery::State::Success), vec![]));
    // It may be sent once more, and its attempts go on from where they were.
    let again = vec![crate::store::Again::Delivery(sent[1].key)];
    assert_eq!(soon(store.recovery.again(again, None)).await.expect("is done"), 1);
    let resent = store.take(1).await.remove(0);
    assert_eq!((resent.attempts, resent.spent), (1, 1));
    store.settle(&resent, 200, Next::Delivered);
    assert_eq!(store.records(keys[1]).await.remove(0).attempts[0].number, 2);
    for (what, noted) in [(Forgotten::Content, keys[0]), (Forgotten::Attempts, Sequence(0))] {
        let upto = soon(store.retention.forgotten_upto(what, environment)).await.expect("reads");
        assert_eq!(upto, noted, "{what:?}");
    }
    // What has no content is not sent again.
    let again = vec![crate::store::Again::Delivery(sent[0].key)];
    assert_eq!(soon(store.recovery.again(again, None)).await.expect("is done"), 0);
    let short = Message { content_until: Some(7), ..sample::message(tenant.application.id) };
    store.accept([short]).await;
    let leased = store.lease(1).await.remove(0);
    store.dispatch(&leased, Vec::new());
    for (now, expected) in [(6, vec![]), (7, vec![leased.sequence])] {
        let found = soon(store.retention.outlived(now, 10)).await.expect("reads");
        assert_eq!(found, expected, "{now}");
    }
    store.flush().await;
    assert_eq!(forget(Forgotten::Content, leased.sequence, None).await, 1);
    assert!(soon(store.retention.outlived(NEVER, 10)).await.expect("reads").is_empty());
}

async fn old_answers_and_operations_go(store: &Store) {
    use crate::{
        model::id::Digest,
        store::{KeptAnswer, Once},
    };
    let (environment, key) = (EnvironmentId::DEFAULT, Digest([1; 32]));
    let once = Once { environment, key, fingerprint: key };
    let answer = KeptAnswer { once, status: 200, body: "{}".into() };
    soon(store.answers.keep(answer)).await.expect("is kept");
    assert_eq!(soon(store.retention.forget_answers(1, 1, 10)).await.expect("forgets"), 0);
    assert_eq!(soon(store.retention.forget_answers(NEVER, 1, 10)).await.expect("forgets"), 1);
    let found = soon(store.answers.answer(environment, key, 0)).await.expect("reads");
    assert_eq!(found, None);
}
