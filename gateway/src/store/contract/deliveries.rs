//! Deliveries: made by dispatch, handed over when they are due, settled once.

use super::*;
use crate::{
    clock,
    model::{
        delivery::{Content, State},
        id::Digest,
    },
    store::{Again, DeliveryRecord, Outstanding},
};

on_every_engine![
    dispatched_deliveries_are_handed_over_in_order,
    a_message_for_nobody_is_settled,
    a_delayed_delivery_comes_when_it_is_due,
    what_is_due_before_it_is_written_comes,
    a_delivered_one_never_comes_again,
    a_retry_comes_again_and_its_attempts_are_counted,
    a_delivery_that_has_ended_never_comes_again,
    a_delivery_is_open_until_it_is_settled,
    what_is_set_aside_comes_back_whole_and_in_order,
    what_is_set_aside_can_be_taken_before_it_is_written,
    what_is_set_aside_can_be_taken_by_its_place,
    what_is_outstanding_is_known_with_its_place_and_key,
    an_endpoint_that_is_disabled_or_gone_has_nothing_waiting,
    what_is_set_aside_too_late_has_ended,
    what_fails_after_its_endpoint_was_disabled_or_removed_has_ended,
];

fn states(records: &[DeliveryRecord]) -> Vec<Option<State>> {
    records.iter().map(|record| record.state).collect()
}

fn keys<'a>(deliveries: impl IntoIterator<Item = &'a Arc<Delivery>>) -> Vec<DeliveryKey> {
    deliveries.into_iter().map(|delivery| delivery.key).collect()
}

async fn dispatched_deliveries_are_handed_over_in_order(store: &Store) {
    let tenant = store.tenant(3).await;
    let mut made = Vec::new();
    for leased in store.leased(&tenant, 2).await {
        let of = tenant.endpoints.keys().map(|endpoint| delivery(&leased, *endpoint));
        let of: Vec<Delivery> = of.collect();
        made.extend(of.clone());
        store.dispatch(&leased, of);
    }
    let first = soon(store.queue.next_deliveries(4)).await.expect("are leased");
    assert_eq!(first.len(), 4, "at most as many as asked for");
    let rest = store.take(2).await;
    let taken: Vec<Delivery> =
        first.iter().chain(&rest).map(|delivery| Delivery::clone(delivery)).collect();
    assert_eq!(taken, made);
}

async fn a_message_for_nobody_is_settled(store: &Store) {
    let tenant = store.tenant(1).await;
    let leased = store.leased(&tenant, 1).await;
    assert_eq!(store.depths().await.unsettled, 1);
    store.dispatch(&leased[0], Vec::new());
    assert_eq!(store.depths().await, Depths::default());
    assert!(store.records(leased[0].sequence).await.is_empty());
}

async fn a_delayed_delivery_comes_when_it_is_due(store: &Store) {
    let tenant = store.tenant(2).await;
    let leased = store.leased(&tenant, 1).await.remove(0);
    let due = clock::now() + 300;
    let mut made: Vec<Delivery> =
        tenant.endpoints.keys().map(|endpoint| delivery(&leased, *endpoint)).collect();
    made[0].due = due;
    store.dispatch(&leased, made.clone());
    assert_eq!(*store.take(1).await[0], made[1]);
    let delayed = store.take(1).await;
    assert!(clock::now() >= due, "it came too early");
    assert_eq!(*delayed[0], made[0]);
    let records = store.records(leased.sequence).await;
    assert_eq!(states(&records), [Some(State::Waiting), None]);
    assert_eq!(records[0].due, Some(due));
}

async fn what_is_due_before_it_is_written_comes(store: &Store) {
    let tenant = store.tenant(1).await;
    let endpoint = *tenant.endpoints.keys().next().expect("one");
    let leased = store.leased(&tenant, 200).await;
    for leased in &leased {
        store.dispatch(
            leased,
            vec![Delivery { due: clock::now() + 1, ..delivery(leased, endpoint) }],
        );
    }
    assert_eq!(store.take(leased.len()).await.len(), leased.len());
}

async fn a_delivered_one_never_comes_again(store: &Store) {
    let tenant = store.tenant(1).await;
    let taken = store.deliveries(&tenant, first_endpoint(&tenant), 1).await;
    store.settle(&taken[0], 200, Next::Delivered);
    let records = store.records(taken[0].key.message).await;
    assert_eq!(states(&records), [Some(State::Success)]);
    assert_eq!(records[0].attempts, [attempt(1, 200)]);
    assert_eq!(store.depths().await, Depths::default());
    store.assert_nothing_comes().await;
}

async fn a_retry_comes_again_and_its_attempts_are_counted(store: &Store) {
    let tenant = store.tenant(1).await;
    let mut taken = store.deliveries(&tenant, first_endpoint(&tenant), 1).await;
    let message = taken[0].key.message;
    for number in 1..=3 {
        let due = clock::now() + 50;
        store.settle(&taken[0], 500, Next::RetryAt(due));
        taken = store.take(1).await;
        assert!(clock::now() >= due, "it came too early");
        assert_eq!((taken[0].attempts, taken[0].due), (number, due));
        let records = store.records(message).await;
        assert_eq!(states(&records), [Some(State::Waiting)]);
        assert_eq!(records[0].due, Some(due));
    }
    store.settle(&taken[0], 200, Next::Delivered);
    let records = store.records(message).await;
    assert_eq!(states(&records), [Some(State::Success)]);
    assert_eq!(records[0].due, None);
    let expected = [attempt(1, 500), attempt(2, 500), attempt(3, 500), attempt(4, 200)];
    assert_eq!(records[0].attempts, expected);
}

async fn a_delivery_that_has_ended_never_comes_again(store: &Store) {
    let tenant = store.tenant(1).await;
    let endpoint = first_endpoint(&tenant);
    let table = [
        (Next::DeadLetter, Some(attempt(1, 500)), State::Failed),
        (Next::Disabled, Some(attempt(1, 500)), State::Disabled),
        (Next::Disabled, None, State::Disabled),
    ];
    for (next, attempt, state) in table {
        let taken = store.deliveries(&tenant, endpoint, 1).await.remove(0);
        let message = taken.key.message;
        let attempts: Vec<Attempt> = attempt.clone().into_iter().collect();
        store.queue.settle(Settlement { delivery: taken, attempt, next, notice: None });
        let records = store.records(message).await;
        assert_eq!(states(&records), [Some(state)]);
        assert_eq!(records[0].attempts, attempts);
    }
    assert_eq!(store.depths().await, Depths::default());
    store.assert_nothing_comes().await;
}

async fn a_delivery_is_open_until_it_is_settled(store: &Store) {
    let tenant = store.tenant(2).await;
    let leased = store.leased(&tenant, 1).await.remove(0);
    let endpoints: Vec<EndpointId> = tenant.endpoints.keys().copied().collect();
    let ordinals = [(0, 1), (0, 0), (1, 0)].map(|(endpoint, ordinal)| {
        let mut delivery = delivery(&leased, endpoints[endpoint]);
        delivery.key.ordinal = ordinal;
        delivery
    });
    store.dispatch(&leased, ordinals.to_vec());
    let taken = store.take(3).await;
    let open = store.records(leased.sequence).await;
    assert_eq!(states(&open), [None, None, None]);
    assert!(open.iter().all(|record| record.attempts.is_empty() && record.due.is_none()));
    let order: Vec<_> = open.iter().map(|r| (r.key.endpoint, r.key.ordinal)).collect();
    assert_eq!(order, [(endpoints[0], 0), (endpoints[0], 1), (endpoints[1], 0)]);
    store.settle(&taken[0], 200, Next::Delivered);
    store.settle(&taken[2], 200, Next::Delivered);
    let records = store.records(leased.sequence).await;
    assert_eq!(states(&records), [None, Some(State::Success), Some(State::Success)]);
    assert_eq!(store.depths().await.unsettled, 1);
    store.settle(&taken[1], 200, Next::Delivered);
    assert_eq!(store.depths().await.unsettled, 0);
}

async fn what_is_set_aside_comes_back_whole_and_in_order(store: &Store) {
    let tenant = store.tenant(2).await;
    let (endpoint, other) = (first_endpoint(&tenant), tenant.endpoints.keys().nth(1));
    let content = Arc::new(Content {
        event_type: Some(crate::model::name::EventType::new("other").expect("legal")),
        content_type: Some("text/plain".into()),
        payload: Some("bytes".into()),
        headers: vec![("x-a".into(), "1".into())],
        ordering_key: Some("key".into()),
    });
    for leased in store.leased(&tenant, 5).await {
        let delivery = Delivery {
            content: Some(content.clone()),
            plugin: Some(Digest([9; 32])),
            ..delivery(&leased, endpoint)
        };
        store.dispatch(&leased, vec![delivery]);
    }
    let taken = store.take(5).await;
    taken.iter().for_each(|delivery| store.queue.set_aside(delivery.clone()));
    assert_eq!(store.depths().await.aside, 5);
    assert_eq!(store.queue.endpoints_aside(), [endpoint]);
    let records = store.records(taken[0].key.message).await;
    assert_eq!(states(&records), [Some(State::Aside)]);
    assert_eq!(records[0].due, None, "it waits for room, not for a time");

    let back = soon(store.queue.take_aside(endpoint, 2)).await.expect("are leased");
    assert_eq!(back, taken[..2]);
    let none = store.queue.take_aside(*other.expect("has two"), 2);
    assert!(soon(none).await.expect("reads").is_empty());
    // One that still has no room is where its message is.
    store.queue.set_aside(back[1].clone());
    store.flush().await;
    let back = soon(store.queue.take_aside(endpoint, 100)).await.expect("are leased");
    assert_eq!(keys(&back), keys(&taken[1..]));
    assert!(store.queue.endpoints_aside().is_empty());
    assert_eq!(store.depths().await.aside, 0);
    store.assert_nothing_comes().await;
}

async fn what_is_set_aside_can_be_taken_before_it_is_written(store: &Store) {
    let tenant = store.tenant(1).await;
    let endpoint = first_endpoint(&tenant);
    let taken = store.deliveries(&tenant, endpoint, 100).await;
    let mut back = Vec::new();
    for two in taken.chunks(2) {
        store.queue.set_aside(two[0].clone());
        store.queue.set_aside(two[1].clone());
        back.extend(soon(store.queue.take_aside(endpoint, 1)).await.expect("is leased"));
    }
    back.extend(soon(store.queue.take_aside(endpoint, 100)).await.expect("are leased"));
    assert_eq!(keys(&back), keys(&taken));
    back.iter().for_each(|delivery| store.settle(delivery, 200, Next::Delivered));
    assert_eq!(store.depths().await, Depths::default());
    for delivery in &back {
        let records = store.records(delivery.key.message).await;
        assert_eq!(states(&records), [Some(State::Success)]);
    }
}

async fn what_is_set_aside_can_be_taken_by_its_place(store: &Store) {
    let tenant = store.tenant(1).await;
    let endpoint = first_endpoint(&tenant);
    let taken = store.deliveries(&tenant, endpoint, 6).await;
    taken[..4].iter().for_each(|delivery| store.queue.set_aside(delivery.clone()));
    store.flush().await;
    store.queue.set_aside(taken[4].clone());
    let wanted: Vec<_> = [5, 4, 2].iter().map(|n: &usize| taken[*n].place()).collect();
    let back = soon(store.queue.take_places(endpoint, &wanted)).await.expect("are leased");
    let mut places: Vec<_> = back.iter().map(|delivery| delivery.place()).collect();
    places.sort_unstable();
    assert_eq!(places, [wanted[2], wanted[1]], "one was not set aside");
    let again = soon(store.queue.take_places(endpoint, &wanted)).await.expect("reads");
    assert!(again.is_empty(), "they are taken");
    let rest = soon(store.queue.take_aside(endpoint, 9)).await.expect("are leased");
    assert_eq!(keys(&rest), [taken[0].key, taken[1].key, taken[3].key]);
}

async fn what_is_outstanding_is_known_with_its_place_and_key(store: &Store) {
    let tenant = store.tenant(2).await;
    let (endpoint, other) =
        (first_endpoint(&tenant), *tenant.endpoints.keys().nth(1).expect("two"));
    let keyed = Content { ordering_key: Some("k".into()), ..Content::default() };
    for (n, leased) in (0..).zip(store.leased(&tenant, 6).await) {
        let due = if n == 5 { clock::now() + 3_600_000 } else { 0 };
        let content = (n % 2 == 0).then(|| Arc::new(keyed.clone()));
        let one = Delivery { content, due, ..delivery(&leased, endpoint) };
        store.dispatch(&leased, vec![one, delivery(&leased, other)]);
    }
    let taken: Vec<_> =
        store.take(11).await.into_iter().filter(|d| d.key.endpoint == endpoint).collect();
    // Delivered, waits for a retry, set aside, set aside and leased, and leased with no row at all.
    store.settle(&taken[0], 200, Next::Delivered);
    store.settle(&taken[1], 500, Next::RetryAt(clock::now() + 3_600_000));
    store.queue.set_aside(taken[2].clone());
    store.queue.set_aside(taken[3].clone());
    store.flush().await;
    let leased = soon(store.queue.take_places(endpoint, &[taken[3].place()])).await;
    assert_eq!(leased.expect("is leased").len(), 1);
    let mut found = soon(store.queue.outstanding(endpoint)).await.expect("reads");
    found.sort_by_key(|one| one.place);
    found.dedup();
    let one = |n: usize, key: Option<&str>, aside| Outstanding {
        place: taken[n].place(),
        key: key.map(crate::model::delivery::ordering_hash),
        aside,
    };
    let expected = [
        one(1, None, false),
        one(2, Some("k"), true),
        one(3, None, false),
        one(4, Some("k"), false),
    ];
    assert_eq!(found, expected, "what is due later for the first time is not in any order yet");
    assert!(!store.queue.is_behind_start());
}

async fn an_endpoint_that_is_disabled_or_gone_has_nothing_waiting(store: &Store) {
    for case in 0..3 {
        let tenant = store.tenant(2).await;
        let endpoints: Vec<EndpointId> = tenant.endpoints.keys().copied().collect();
        let taken = store.deliveries(&tenant, endpoints[0], 4).await;
        let other = store.deliveries(&tenant, endpoints[1], 1).await.remove(0);
        store.settle(&taken[0], 200, Next::Delivered);
        store.settle(&taken[1], 500, Next::RetryAt(clock::now() + 3_600_000));
        store.settle(&taken[2], 500, Next::RetryAt(clock::now() + 5_000));
        store.queue.set_aside(taken[3].clone());
        let (change, others_aside) = match case {
            0 => (disabled(&tenant, endpoints[0]), Some(State::Aside)),
            1 => (Change::DeleteEndpoint(tenant.application.id, endpoints[0]), Some(State::Aside)),
            _ => (Change::DeleteApplication(tenant.application.id), Some(State::Disabled)),
        };
        store.queue.set_aside(other.clone());
        store.change(change).await;
        let mut found = Vec::new();
        for delivery in taken.iter().chain([&other]) {
            found.extend(states(&store.records(delivery.key.message).await));
        }
        let ended = Some(State::Disabled);
        assert_eq!(found, [Some(State::Success), ended, ended, ended, others_aside]);
        let aside = u64::from(others_aside == Some(State::Aside));
        assert_eq!(store.depths().await, Depths { aside, ..Depths::default() });
        assert_eq!(store.queue.endpoints_aside().len() as u64, aside);
        let gone = soon(store.queue.take_aside(endpoints[0], 9)).await.expect("reads");
        assert!(gone.is_empty());
        let _others = soon(store.queue.take_aside(endpoints[1], 9)).await.expect("reads");
    }
    store.assert_nothing_comes().await;
}

async fn what_fails_after_its_endpoint_was_disabled_or_removed_has_ended(store: &Store) {
    let hour = clock::now() + 3_600_000;
    for case in 0..3 {
        let tenant = store.tenant(1).await;
        let endpoint = first_endpoint(&tenant);
        let leased = store.leased(&tenant, 1).await.remove(0);
        let taken = store.deliveries(&tenant, endpoint, 3).await;
        store.settle(&taken[0], 500, Next::RetryAt(clock::now()));
        let second = store.take(1).await.remove(0);
        let resent = vec![Again::Delivery(taken[1].key)];
        assert_eq!(soon(store.recovery.again(resent, None)).await.expect("is done"), 1);
        store
            .change(match case {
                0 => disabled(&tenant, endpoint),
                1 => Change::DeleteEndpoint(tenant.application.id, endpoint),
                _ => Change::DeleteApplication(tenant.application.id),
            })
            .await;
        for failed in [&second, &taken[1], &taken[2]] {
            store.settle(failed, 500, Next::RetryAt(hour));
        }
        store.dispatch(&leased, vec![Delivery { due: hour, ..delivery(&leased, endpoint) }]);
        for delivery in &taken {
            let record = store.records(delivery.key.message).await.remove(0);
            let made = if delivery.key == second.key { 2 } else { 1 };
            assert_eq!((record.state, record.attempts.len()), (Some(State::Disabled), made));
        }
        assert_eq!(states(&store.records(leased.sequence).await), [Some(State::Disabled)]);
        assert_eq!(store.depths().await, Depths::default());
    }
    store.assert_nothing_comes().await;
}

async fn what_is_set_aside_too_late_has_ended(store: &Store) {
    let tenant = store.tenant(1).await;
    let endpoint = first_endpoint(&tenant);
    let taken = store.deliveries(&tenant, endpoint, 1).await.remove(0);
    store.change(disabled(&tenant, endpoint)).await;
    store.queue.set_aside(taken.clone());
    let records = store.records(taken.key.message).await;
    assert_eq!(states(&records), [Some(State::Disabled)]);
    assert_eq!(store.depths().await, Depths::default());
    assert!(store.queue.endpoints_aside().is_empty());
}
