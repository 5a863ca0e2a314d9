//! Dead letters: those that go on to another endpoint.

use super::{operations::operation, *};
use crate::{
    clock,
    model::{
        dead_letter::{FIRST, HEADERS},
        delivery::State,
        id::MessageId,
        operation::Mode,
    },
    store::{Again, DeadLetter, DeadLetterFilter},
};

on_every_engine![
    a_dead_letter_goes_on_with_its_record_and_no_further,
    one_that_is_resent_and_dies_again_goes_on_again,
    one_for_a_disabled_endpoint_can_be_recovered,
    one_for_an_endpoint_that_is_gone_stays,
    what_went_on_is_not_what_an_endpoint_was_to_get,
    dead_letters_are_listed_newest_message_first_and_whole,
    a_message_that_died_is_dispatched_again,
    messages_that_died_are_candidates_without_an_endpoint,
];

/// A tenant with two endpoints of which the first sends its dead letters to the second: both.
async fn pair(store: &Store) -> (Tenant, EndpointId, EndpointId) {
    let tenant = store.tenant(2).await;
    let ids: Vec<_> = tenant.endpoints.keys().copied().collect();
    let first = Endpoint::clone(&tenant.endpoints[&ids[0]]);
    let dead_letter_endpoint = Some(ids[1].to_string());
    let first = Endpoint { dead_letter_endpoint, revision: 2, ..first };
    store.change(Change::PutEndpoint(first)).await;
    (tenant, ids[0], ids[1])
}

async fn states(store: &Store, message: Sequence) -> Vec<(EndpointId, bool, Option<State>)> {
    let records = store.records(message).await.into_iter();
    records.map(|one| (one.key.endpoint, one.key.ordinal >= FIRST, one.state)).collect()
}

async fn a_dead_letter_goes_on_with_its_record_and_no_further(store: &Store) {
    let (tenant, first, second) = pair(store).await;
    let delivery = store.deliveries(&tenant, first, 1).await.remove(0);
    store.settle(&delivery, 500, Next::RetryAt(clock::now()));
    let delivery = store.take(1).await.remove(0);
    store.settle(&delivery, 500, Next::DeadLetter);
    let onward = store.take(1).await.remove(0);
    assert_eq!((onward.key.endpoint, onward.key.ordinal), (second, FIRST));
    assert_eq!((onward.attempts, onward.spent, onward.payload()), (0, 0, delivery.payload()));
    assert_eq!(onward.webhook_id(), format!("{}-dead-1", delivery.message.id));
    let headers = onward.content.as_ref().map(|content| content.headers.clone());
    let attempts = (HEADERS[4].to_owned(), "2".to_owned());
    assert!(headers.is_some_and(|headers| headers.contains(&attempts)));
    let message = delivery.key.message;
    let expected = [(first, false, Some(State::Failed)), (second, true, Some(State::Waiting))];
    assert_eq!(states(store, message).await, expected);
    store.settle(&onward, 500, Next::DeadLetter);
    let expected = [(first, false, Some(State::Failed)), (second, true, Some(State::Failed))];
    assert_eq!(states(store, message).await, expected);
    store.assert_nothing_comes().await;
}

async fn one_that_is_resent_and_dies_again_goes_on_again(store: &Store) {
    let (tenant, first, _) = pair(store).await;
    let delivery = store.deliveries(&tenant, first, 1).await.remove(0);
    store.settle(&delivery, 500, Next::DeadLetter);
    store.settle(&store.take(1).await[0], 200, Next::Delivered);
    store.flush().await;
    let again = vec![Again::Delivery(delivery.key)];
    assert_eq!(soon(store.recovery.again(again, None)).await.expect("is done"), 1);
    let resent = store.take(1).await.remove(0);
    store.settle(&resent, 500, Next::DeadLetter);
    assert_eq!(store.take(1).await[0].key.ordinal, FIRST + 1);
}

async fn one_for_a_disabled_endpoint_can_be_recovered(store: &Store) {
    let (tenant, first, second) = pair(store).await;
    store.change(disabled(&tenant, second)).await;
    let delivery = store.deliveries(&tenant, first, 1).await.remove(0);
    store.settle(&delivery, 500, Next::DeadLetter);
    let expected = [(first, false, Some(State::Failed)), (second, true, Some(State::Disabled))];
    assert_eq!(states(store, delivery.key.message).await, expected);
    store.assert_nothing_comes().await;
    let enabled = Endpoint { revision: 3, ..Endpoint::clone(&tenant.endpoints[&second]) };
    store.change(Change::PutEndpoint(enabled)).await;
    let key = DeliveryKey { endpoint: second, ordinal: FIRST, ..delivery.key };
    let again = vec![Again::Delivery(key)];
    assert_eq!(soon(store.recovery.again(again, None)).await.expect("is done"), 1);
    assert_eq!(store.take(1).await[0].key, key);
}

async fn one_for_an_endpoint_that_is_gone_stays(store: &Store) {
    let (tenant, first, second) = pair(store).await;
    store.change(Change::DeleteEndpoint(tenant.application.id, second)).await;
    let delivery = store.deliveries(&tenant, first, 1).await.remove(0);
    store.settle(&delivery, 500, Next::DeadLetter);
    let expected = [(first, false, Some(State::Failed))];
    assert_eq!(states(store, delivery.key.message).await, expected);
    store.assert_nothing_comes().await;
}

async fn what_went_on_is_not_what_an_endpoint_was_to_get(store: &Store) {
    let (tenant, first, second) = pair(store).await;
    let delivery = store.deliveries(&tenant, first, 1).await.remove(0);
    store.settle(&delivery, 500, Next::DeadLetter);
    store.settle(&store.take(1).await[0], 200, Next::Delivered);
    store.flush().await;
    let missing = crate::model::operation::Operation {
        endpoint: Some(second),
        ..operation(&tenant, Mode::Missing)
    };
    let found = soon(store.recovery.candidates(&missing, 10)).await.expect("reads");
    let again = Again::Message(delivery.key.message, second);
    assert_eq!(found.records.iter().map(|found| found.again).collect::<Vec<_>>(), [again]);
    assert_eq!(soon(store.recovery.again(vec![again], None)).await.expect("is done"), 1);
    assert_eq!(store.lease(1).await[0].only, [second]);
}

fn dead() -> Held {
    Held::Dead { kind: "trap".into(), reason: "as told".into() }
}

/// The page's messages, with the endpoint where there is one, and where it goes on.
async fn page(
    store: &Store,
    tenant: &Tenant,
    filter: DeadLetterFilter,
    limit: usize,
) -> (Vec<(MessageId, Option<EndpointId>)>, Option<Sequence>) {
    store.flush().await;
    let id = tenant.application.id;
    let page = store.log.dead_letters(EnvironmentId::DEFAULT, id, filter, limit);
    let page = soon(page).await.expect("reads");
    let shown = page.records.into_iter().map(|letter| match letter {
        DeadLetter::Delivery(summary) => (summary.message.id, Some(summary.key.endpoint)),
        DeadLetter::Message(head, held, _) => {
            assert_eq!(held, dead());
            (head.id, None)
        }
    });
    (shown.collect(), page.next)
}

async fn dead_letters_are_listed_newest_message_first_and_whole(store: &Store) {
    let tenant = store.tenant(3).await;
    let ids: Vec<_> = tenant.endpoints.keys().copied().collect();
    let leased = store.leased(&tenant, 6).await;
    let mut expected = Vec::new();
    for (index, leased) in leased.iter().enumerate() {
        if index == 2 {
            store.hold(leased, dead());
            expected.push((leased.message.id, None));
            continue;
        }
        store.dispatch(leased, ids.iter().map(|id| delivery(leased, *id)).collect());
        for taken in store.take(3).await {
            let fails = taken.key.endpoint != ids[2] && index != 4;
            let next = if fails { Next::DeadLetter } else { Next::Delivered };
            store.settle(&taken, if fails { 500 } else { 200 }, next);
        }
        if index != 4 {
            expected.extend(ids[..2].iter().map(|id| (leased.message.id, Some(*id))));
        }
    }
    let number = |id: &MessageId| leased.iter().position(|one| one.message.id == *id);
    expected.sort_by_key(|(id, endpoint)| (std::cmp::Reverse(number(id)), *endpoint));
    let all = || DeadLetterFilter {
        endpoints: ids.clone(),
        messages: true,
        ..DeadLetterFilter::default()
    };
    assert_eq!(page(store, &tenant, all(), 100).await, (expected.clone(), None));
    for limit in 1..10 {
        let (mut found, mut before, mut pages) = (Vec::new(), None, 0);
        loop {
            let (records, next) =
                page(store, &tenant, DeadLetterFilter { before, ..all() }, limit).await;
            assert!(records.len() <= limit + 1, "a message is whole");
            found.extend(records);
            (before, pages) = (next, pages + 1);
            if next.is_none() {
                break;
            }
        }
        assert_eq!((&found, pages < 12), (&expected, true), "{limit} a page");
    }
    for (filter, count) in [
        (DeadLetterFilter { messages: false, ..all() }, 8),
        (DeadLetterFilter { endpoints: Vec::new(), ..all() }, 1),
        (DeadLetterFilter { endpoints: vec![ids[2]], messages: false, ..all() }, 0),
        (DeadLetterFilter { after: Some(1_001), ..all() }, 0),
        (DeadLetterFilter { until: Some(1_001), ..all() }, 9),
        (
            DeadLetterFilter {
                event_type: crate::model::name::EventType::new("other").ok(),
                ..all()
            },
            0,
        ),
    ] {
        assert_eq!(page(store, &tenant, filter.clone(), 100).await.0.len(), count, "{filter:?}");
    }
    let other = store.tenant(1).await;
    let none = DeadLetterFilter { messages: true, ..DeadLetterFilter::default() };
    assert_eq!(page(store, &other, none, 100).await, (Vec::new(), None));
}

async fn a_message_that_died_is_dispatched_again(store: &Store) {
    let tenant = store.tenant(1).await;
    let leased = store.leased(&tenant, 2).await;
    store.hold(&leased[0], dead());
    store.hold(&leased[1], Held::Dropped { reason: "as told".into() });
    store.flush().await;
    let again: Vec<_> = leased.iter().map(|leased| Again::Dead(leased.sequence)).collect();
    let count = soon(store.recovery.again(again.clone(), None)).await.expect("is done");
    assert_eq!(count, 1, "what was dropped on purpose is left alone");
    let anew = store.lease(1).await.remove(0);
    assert_eq!((anew.sequence, anew.only.len(), anew.calls), (leased[0].sequence, 0, 0));
    // It dies again, is sent again, and goes on.
    store.hold(&anew, dead());
    store.flush().await;
    assert_eq!(soon(store.recovery.again(again, None)).await.expect("is done"), 1);
    let anew = store.lease(1).await.remove(0);
    store.dispatch(&anew, vec![delivery(&anew, first_endpoint(&tenant))]);
    store.settle(&store.take(1).await[0], 200, Next::Delivered);
    assert_eq!(store.depths().await, Depths::default());
}

async fn messages_that_died_are_candidates_without_an_endpoint(store: &Store) {
    use crate::model::operation::Operation;
    let (tenant, other) = (store.tenant(1).await, store.tenant(1).await);
    let of_other = store.leased(&other, 1).await;
    store.hold(&of_other[0], dead());
    let leased = store.leased(&tenant, 5).await;
    for (index, leased) in leased.iter().enumerate() {
        match index {
            3 => store.dispatch(leased, Vec::new()),
            _ => store.hold(leased, dead()),
        }
    }
    store.flush().await;
    let mut wanted = Operation { endpoint: None, ..operation(&tenant, Mode::Dead) };
    let mut found = Vec::new();
    loop {
        let page = soon(store.recovery.candidates(&wanted, 2)).await.expect("reads");
        found.extend(page.records.into_iter().map(|found| found.again));
        let Some(next) = page.next else { break };
        wanted.cursor = next;
    }
    let expected = [0, 1, 2, 4].map(|index: usize| Again::Dead(leased[index].sequence));
    assert_eq!(found, expected);
}
