//! What plugins may use: changed with a revision, and what was parked goes on.

use super::*;
use crate::model::{catalog::Conflict, grants::Grants, name::SecretName, secret::Secret};

on_every_engine![grants_are_replaced_in_order_and_release_what_was_parked,];

async fn grants_are_replaced_in_order_and_release_what_was_parked(store: &Store) {
    let tenant = store.tenant(0).await;
    let (environment, id) = (EnvironmentId::DEFAULT, tenant.application.id);
    let mut grants = Grants { revision: 1, ..Grants::none(environment, id) };
    grants.capabilities.clock = true;
    let name = SecretName::new("token").expect("legal");
    grants.named.insert(name, Secret::new("t-0123456789"));
    let leased = store.leased(&tenant, 1).await.remove(0);
    store.hold(&leased, Held::Parked { kind: "not-granted".into(), reason: "clock".into() });
    store.flush().await;
    store.change(Change::PutGrants(grants.clone())).await;
    let found = store.catalog.snapshot().tenant(id).and_then(|tenant| tenant.grants.clone());
    assert_eq!(found.as_deref(), Some(&grants));
    assert_eq!(store.lease(1).await[0].sequence, leased.sequence);
    // What was called under the old ones, and is parked only now, is due at once.
    let other = store.leased(&tenant, 1).await.remove(0);
    let parked = Held::Parked { kind: "not-granted".into(), reason: "clock".into() };
    let cause = Box::new(Cause { tenant: Arc::new(tenant.clone()), failure: None });
    store.queue.dispatched(other.clone(), Dispatched::Held(parked, Some(cause)));
    assert_eq!(store.lease(1).await[0].sequence, other.sequence);
    for (change, conflict) in [
        (grants.clone(), Conflict::Stale),
        (
            Grants { application: sample::application().id, ..grants.clone() },
            Conflict::NoApplication,
        ),
    ] {
        match soon(store.catalog.change(Change::PutGrants(change))).await.expect_err("is refused") {
            StoreError::Conflict(found) => assert_eq!(found, conflict),
            other => panic!("{other}"),
        }
    }
    store.change(Change::PutGrants(Grants { revision: 2, ..grants })).await;
}
