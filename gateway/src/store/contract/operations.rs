//! Operations: how they begin, go on and end, and the search for what they send again.

use super::*;
use crate::{
    clock,
    model::{
        delivery::State,
        id::OperationId,
        operation::{self, Mode, Operation, Wanted},
    },
    store::{Again, Candidate, Forgotten},
};

on_every_engine![
    an_operation_is_kept_until_it_ends,
    one_operation_on_an_endpoint_goes_on,
    several_begin_with_their_answer_in_one_step,
    candidates_come_oldest_first_and_whole,
    what_is_not_settled_is_no_candidate_yet,
    another_applications_open_message_stops_nothing,
    what_has_lost_its_content_is_no_candidate,
];

/// An operation on the tenant's first endpoint that begins.
pub fn operation(tenant: &Tenant, mode: Mode) -> Operation {
    let wanted =
        Wanted { mode, since: 0, until: None, event_types: Vec::new(), channels: Vec::new() };
    Operation {
        environment: EnvironmentId::DEFAULT,
        id: OperationId(clock::id()),
        application: tenant.application.id,
        endpoint: Some(first_endpoint(tenant)),
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

async fn one_operation_on_an_endpoint_goes_on(store: &Store) {
    use crate::{
        model::id::Digest,
        store::{KeptAnswer, Once, recovery::RUNNING},
    };
    let tenant = store.tenant(1).await;
    let new = |endpoint| {
        let endpoint = Some(endpoint);
        Operation { endpoint, ..operation(&tenant, Mode::Missing) }
    };
    let endpoint = first_endpoint(&tenant);
    let all: Vec<_> = (0..8).map(|_| new(endpoint)).collect();
    let key = |index| Digest([index; 32]);
    let begin = all.iter().zip(0..).map(|(one, index)| {
        let (environment, key) = (one.environment, key(index));
        let once = Once { environment, key, fingerprint: key };
        let answer = KeptAnswer { once, status: 202, body: "{}".into() };
        store.recovery.again_once(Vec::new(), Some(one.clone()), Some(answer))
    });
    let begun = soon(futures_util::future::join_all(begin)).await;
    let first = begun.iter().position(Result::is_ok).expect("one begins");
    for (index, result) in begun.iter().enumerate().filter(|(index, _)| *index != first) {
        let refused = matches!(result, Err(StoreError::UnderWay(id)) if *id == all[first].id);
        assert!(refused, "{index}: {result:?}");
    }
    for index in 0..all.len() {
        let answer = store.answers.answer(EnvironmentId::DEFAULT, key(index as u8), 0);
        let kept = soon(answer).await.expect("reads").is_some();
        assert_eq!(kept, index == first, "what was refused has no answer");
    }
    assert_eq!(soon(store.recovery.running()).await.expect("reads"), [all[first].clone()]);
    let keep = async |operation| soon(store.recovery.again(Vec::new(), Some(operation))).await;
    // It goes on; others begin elsewhere, as many as may.
    keep(Operation { total: 7, ..all[first].clone() }).await.expect("goes on");
    keep(Operation { environment: EnvironmentId(2), ..new(endpoint) }).await.expect("begins");
    let other = || EndpointId(clock::id());
    for _ in 1..RUNNING {
        keep(new(other())).await.expect("begins");
    }
    let refused = keep(new(other())).await;
    assert!(matches!(refused, Err(StoreError::TooManyOperations)), "{refused:?}");
    let done = Operation { state: operation::State::Done, ..all[first].clone() };
    keep(done).await.expect("ends");
    keep(new(endpoint)).await.expect("begins");
}

async fn several_begin_with_their_answer_in_one_step(store: &Store) {
    use crate::{
        model::id::Digest,
        store::{AnswerBy, Began, Once},
    };
    let tenant = store.tenant(2).await;
    let endpoints: Vec<_> = tenant.endpoints.keys().copied().collect();
    let new = |endpoint| Operation { endpoint, ..operation(&tenant, Mode::Missing) };
    let before = new(Some(endpoints[0]));
    soon(store.recovery.again(Vec::new(), Some(before.clone()))).await.expect("begins");
    // One of each kind: refused for what goes on, begun, refused for the one ahead of it, begun.
    let asked: Vec<_> =
        [Some(endpoints[0]), Some(endpoints[1]), Some(endpoints[1]), None].map(new).into();
    let (environment, key) = (EnvironmentId::DEFAULT, Digest([7; 32]));
    let body = |each: &[Began]| {
        let said: Vec<_> =
            each.iter().map(|one| if one.is_ok() { "begun" } else { "no" }).collect();
        said.join(" ").into()
    };
    let once = Once { environment, key, fingerprint: key };
    let answer = AnswerBy { once, status: 202, body: Box::new(body) };
    let began = soon(store.recovery.begin(asked.clone(), Some(answer))).await.expect("is done");
    let other = |one: &Began| match one {
        Err(StoreError::UnderWay(id)) => Some(*id),
        _ => None,
    };
    let others: Vec<_> = began.iter().map(other).collect();
    assert_eq!(others, [Some(before.id), None, Some(asked[1].id), None], "{began:?}");
    assert!(began[1].is_ok() && began[3].is_ok(), "{began:?}");
    let kept = soon(store.answers.answer(environment, key, 0)).await.expect("reads");
    let kept = kept.map(|kept| (kept.status, kept.body));
    assert_eq!(kept, Some((202, "no begun no begun".into())));
    let mut running: Vec<_> = soon(store.recovery.running())
        .await
        .expect("reads")
        .into_iter()
        .map(|one| one.id)
        .collect();
    let mut expected = [before.id, asked[1].id, asked[3].id];
    running.sort_unstable();
    expected.sort_unstable();
    assert_eq!(running, expected, "what was refused is not kept");
    // Without an answer, and none at all.
    assert_eq!(soon(store.recovery.begin(Vec::new(), None)).await.expect("is done").len(), 0);
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
    let missing = Operation { endpoint: Some(endpoints[1]), ..operation(&tenant, Mode::Missing) };
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
    let settled = Again::Message(leased[0].sequence, first_endpoint(&tenant));
    assert_eq!(found.iter().map(|found| found.again).collect::<Vec<_>>(), [settled]);
    let (head, mark) = store.recovery.bounds(tenant.application.id);
    assert_eq!((head.0 - mark.0, mark), (1, leased[1].sequence));
}

async fn another_applications_open_message_stops_nothing(store: &Store) {
    let (slow, tenant) = (store.tenant(1).await, store.tenant(2).await);
    let open = store.deliveries(&slow, first_endpoint(&slow), 1).await.remove(0);
    let endpoints: Vec<_> = tenant.endpoints.keys().copied().collect();
    let sent = store.deliveries(&tenant, endpoints[1], 2).await;
    sent.iter().for_each(|sent| store.settle(sent, 200, Next::Delivered));
    let short = Message { content_until: Some(7), ..sample::message(tenant.application.id) };
    store.accept([short]).await;
    let last = store.lease(1).await.remove(0);
    store.dispatch(&last, Vec::new());
    store.flush().await;
    let (head, mark) = store.recovery.bounds(tenant.application.id);
    assert_eq!((mark, store.recovery.bounds(slow.application.id).1), (head, open.key.message));
    let missing = operation(&tenant, Mode::Missing);
    assert_eq!(candidates(store, missing, 10).await.len(), 3);
    let again = vec![Again::Message(sent[0].key.message, endpoints[0])];
    assert_eq!(soon(store.recovery.again(again, None)).await.expect("is done"), 1);
    store.dispatch(&store.lease(1).await[0], Vec::new());
    let outlived = soon(store.retention.outlived(7, 10)).await.expect("reads");
    assert_eq!(outlived, [last.sequence]);
    store.flush().await;
    for (message, expected) in [(last.sequence, 1), (sent[1].key.message, 1), (open.key.message, 0)]
    {
        let forgotten = store.retention.forget(Forgotten::Content, vec![message], None);
        assert_eq!(soon(forgotten).await.expect("forgets"), expected, "{message:?}");
    }
    store.settle(&open, 200, Next::Delivered);
    store.assert_nothing_comes().await;
}

async fn what_has_lost_its_content_is_no_candidate(store: &Store) {
    let tenant = store.tenant(2).await;
    let endpoints: Vec<_> = tenant.endpoints.keys().copied().collect();
    let sent = store.deliveries(&tenant, endpoints[0], 6).await;
    sent.iter().for_each(|sent| store.settle(sent, 500, Next::DeadLetter));
    store.flush().await;
    let message = |index: usize| sent[index].key.message;
    let gone = [0, 1, 3, 5].map(message).to_vec();
    let forgotten = store.retention.forget(Forgotten::Content, gone, None);
    assert_eq!(soon(forgotten).await.expect("forgets"), 4);
    let failed = operation(&tenant, Mode::Ended(vec![State::Failed]));
    let missing = Operation { endpoint: Some(endpoints[1]), ..operation(&tenant, Mode::Missing) };
    for max in [1, 2, 10] {
        for operation in [&failed, &missing] {
            let found = candidates(store, operation.clone(), max).await;
            let found: Vec<_> = found.iter().map(|found| found.again.message()).collect();
            assert_eq!(found, [2, 4].map(message), "{max}");
        }
    }
}
