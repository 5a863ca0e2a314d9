//! What is kept of endpoints that are not well.

use super::*;
use crate::{
    model::health::{Kept, Trouble},
    store::HealthNote,
};

on_every_engine![
    the_last_that_was_noted_is_kept_and_of_the_well_nothing,
    what_was_noted_goes_with_its_endpoint_and_when_that_is_renewed,
    operators_are_told_in_the_same_step_or_not_at_all,
];

fn trouble(renewed: u64, openings: u32) -> Trouble {
    let failing_since = Some(7);
    Trouble {
        renewed,
        openings,
        until: Some(9),
        failing_since,
        failures: 3,
        warned: None,
        asked: Some(7),
    }
}

fn note(store: &Store, endpoint: EndpointId, trouble: Trouble) {
    store.queue.keep_health(HealthNote { endpoint, trouble, notice: None });
}

async fn kept(store: &Store) -> Vec<Kept> {
    store.flush().await;
    let mut kept = soon(store.queue.troubles()).await.expect("reads");
    kept.sort_by_key(|(endpoint, _)| *endpoint);
    kept
}

async fn the_last_that_was_noted_is_kept_and_of_the_well_nothing(store: &Store) {
    let tenant = store.tenant(2).await;
    let endpoints: Vec<_> = tenant.endpoints.keys().copied().collect();
    assert!(kept(store).await.is_empty());
    note(store, endpoints[0], trouble(1, 1));
    note(store, endpoints[1], trouble(1, 2));
    note(store, endpoints[0], trouble(1, 3));
    assert_eq!(kept(store).await, [(endpoints[0], trouble(1, 3)), (endpoints[1], trouble(1, 2))]);
    note(store, endpoints[0], Trouble { renewed: 1, ..Trouble::default() });
    assert_eq!(kept(store).await, [(endpoints[1], trouble(1, 2))]);
}

async fn what_was_noted_goes_with_its_endpoint_and_when_that_is_renewed(store: &Store) {
    let tenant = store.tenant(3).await;
    let other = store.tenant(1).await;
    let endpoints: Vec<_> = tenant.endpoints.keys().copied().collect();
    let of_other = first_endpoint(&other);
    for endpoint in endpoints.iter().chain([&of_other]) {
        note(store, *endpoint, trouble(1, 1));
    }
    let first = Endpoint::clone(&tenant.endpoints[&endpoints[0]]);
    let changed = Endpoint { revision: 2, ..first.clone() };
    store.change(Change::PutEndpoint(changed)).await;
    assert_eq!(kept(store).await.len(), 4, "a change is not always a renewal");
    let renewed = Endpoint { revision: 3, renewed: 3, ..first };
    store.change(Change::PutEndpoint(renewed)).await;
    store.change(Change::DeleteEndpoint(tenant.application.id, endpoints[1])).await;
    store.change(Change::DeleteApplication(other.application.id)).await;
    assert_eq!(kept(store).await, [(endpoints[2], trouble(1, 1))]);
    // What is noted late is of the past.
    for late in [endpoints[0], endpoints[1], of_other] {
        note(store, late, trouble(1, 9));
    }
    assert_eq!(kept(store).await.len(), 1);
    note(store, endpoints[0], trouble(3, 1));
    assert_eq!(kept(store).await.len(), 2);
}

async fn operators_are_told_in_the_same_step_or_not_at_all(store: &Store) {
    let tenant = store.tenant(1).await;
    let endpoint = first_endpoint(&tenant);
    let message = || Some(Arc::new(sample::message(tenant.application.id)));
    let (told, not) = (message(), message());
    for (renewed, notice) in [(2, not), (1, told.clone())] {
        store.queue.keep_health(HealthNote { endpoint, trouble: trouble(renewed, 1), notice });
    }
    let leased = store.lease(1).await.remove(0);
    assert_eq!(Some(leased.message.id), told.map(|message| message.id));
    store.dispatch(&leased, Vec::new());
    store.assert_nothing_comes().await;
}
