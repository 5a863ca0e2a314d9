//! Dead letters: those that go on to another endpoint.

use super::{operations::operation, *};
use crate::{
    clock,
    model::{
        dead_letter::{FIRST, HEADERS},
        delivery::State,
        operation::Mode,
    },
    store::Again,
};

on_every_engine![
    a_dead_letter_goes_on_with_its_record_and_no_further,
    one_that_is_resent_and_dies_again_goes_on_again,
    one_for_a_disabled_endpoint_can_be_recovered,
    one_for_an_endpoint_that_is_gone_stays,
    what_went_on_is_not_what_an_endpoint_was_to_get,
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
        endpoint: second,
        ..operation(&tenant, Mode::Missing)
    };
    let found = soon(store.recovery.candidates(&missing, 10)).await.expect("reads");
    let again = Again::Message(delivery.key.message, second);
    assert_eq!(found.records.iter().map(|found| found.again).collect::<Vec<_>>(), [again]);
    assert_eq!(soon(store.recovery.again(vec![again], None)).await.expect("is done"), 1);
    assert_eq!(store.lease(1).await[0].only, [second]);
}
