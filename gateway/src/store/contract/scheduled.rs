//! Messages that are sent later, and what it is too late for.

use super::*;
use crate::{
    clock,
    model::{delivery::State, name::OrderingKey},
    store::{Again, Forgotten},
};

on_every_engine![
    what_is_scheduled_comes_when_it_is_due_and_not_before,
    what_is_scheduled_holds_nothing_back,
    a_scheduled_message_can_be_cancelled_until_it_is_leased,
    what_was_never_scheduled_cannot_be_cancelled,
    what_is_scheduled_goes_with_its_application,
    the_content_of_what_is_scheduled_stays,
    what_is_scheduled_or_cancelled_is_not_sent_again,
    what_has_expired_ends_so,
    what_has_expired_is_not_sent_again,
];

const HOUR: u64 = 3_600_000;

fn at(application: ApplicationId, due: u64) -> Message {
    Message { deliver_at: Some(due), ..sample::message(application) }
}

async fn state(store: &Store, tenant: &Tenant, message: &Message) -> Option<&'static str> {
    store.flush().await;
    let (environment, application) = (EnvironmentId::DEFAULT, tenant.application.id);
    let id = message.id.to_string();
    let found = soon(store.log.message(environment, application, &id)).await.expect("reads");
    found.expect("is there").held.map(|(held, _)| held.state())
}

async fn sequence(store: &Store, tenant: &Tenant, message: &Message) -> Sequence {
    let (environment, application) = (EnvironmentId::DEFAULT, tenant.application.id);
    let id = message.id.to_string();
    let found = soon(store.log.message(environment, application, &id)).await.expect("reads");
    found.expect("is there").sequence
}

async fn what_is_scheduled_comes_when_it_is_due_and_not_before(store: &Store) {
    let tenant = store.tenant(1).await;
    let now = clock::now();
    let (later, sooner) = (now + 400, now + 200);
    let whole = Message {
        expires_at: Some(now + HOUR),
        ordering_key: Some(OrderingKey::new("k é").expect("legal")),
        ..at(tenant.application.id, later)
    };
    let first = at(tenant.application.id, sooner);
    store.accept([whole.clone(), first.clone()]).await;
    assert_eq!(state(store, &tenant, &first).await, Some("scheduled"));
    let depths = store.depths().await;
    assert_eq!(depths.scheduled + depths.undispatched, 2);
    for (sent, due) in [(&first, sooner), (&whole, later)] {
        let leased = store.lease(1).await.remove(0);
        assert_eq!(*leased.message, *sent);
        assert!(clock::now() >= due, "too early");
        assert!(leased.held && leased.calls == 0);
        store.dispatch(&leased, vec![delivery(&leased, first_endpoint(&tenant))]);
        let taken = store.take(1).await.remove(0);
        assert_eq!(taken.ordering_key(), sent.ordering_key.as_deref());
        store.settle(&taken, 200, Next::Delivered);
        assert_eq!(state(store, &tenant, sent).await, None);
    }
    store.assert_nothing_comes().await;
}

async fn what_is_scheduled_holds_nothing_back(store: &Store) {
    let tenant = store.tenant(1).await;
    let id = tenant.application.id;
    let far = clock::now() + 24 * HOUR;
    let batch = [at(id, far), sample::message(id), at(id, far), sample::message(id), at(id, far)];
    store.accept(batch.clone()).await;
    let leased = store.lease(2).await;
    let got: Vec<_> = leased.iter().map(|leased| leased.message.id).collect();
    assert_eq!(got, [batch[1].id, batch[3].id]);
    leased.iter().for_each(|leased| store.dispatch(leased, Vec::new()));
    let depths = store.depths().await;
    assert_eq!((depths.unsettled, depths.undispatched, depths.scheduled), (0, 0, 3));
    let (next, mark) = store.recovery.bounds(id);
    assert_eq!(next, mark, "everything is settled");
    let filter = MessageFilter { held: Some("scheduled".into()), ..MessageFilter::default() };
    assert_eq!(store.page(id, filter, 10).await.records.len(), 3);
    store.assert_nothing_comes().await;
}

async fn a_scheduled_message_can_be_cancelled_until_it_is_leased(store: &Store) {
    let tenant = store.tenant(1).await;
    let id = tenant.application.id;
    let (far, near) = (at(id, clock::now() + 300 * HOUR), at(id, clock::now() + 1));
    store.accept([far.clone(), near.clone()]).await;
    let leased = store.lease(1).await.remove(0);
    assert_eq!(leased.message.id, near.id);
    for (message, expected) in [(&near, [false, false]), (&far, [true, false])] {
        let sequence = sequence(store, &tenant, message).await;
        for expected in expected {
            let cancelled = soon(store.queue.cancel(sequence)).await.expect("is done");
            assert_eq!(cancelled, expected);
        }
    }
    store.dispatch(&leased, Vec::new());
    assert_eq!(state(store, &tenant, &near).await, None);
    assert_eq!(state(store, &tenant, &far).await, Some("cancelled"));
    assert_eq!(store.depths().await.scheduled, 0);
    store.assert_nothing_comes().await;
}

async fn what_was_never_scheduled_cannot_be_cancelled(store: &Store) {
    let tenant = store.tenant(1).await;
    let [parked, open] = [(); 2].map(|()| sample::message(tenant.application.id));
    store.accept([parked.clone(), open]).await;
    let leased = store.lease(2).await;
    store.hold(&leased[0], Held::Parked { kind: "trap".into(), reason: "r".into() });
    store.flush().await;
    for sequence in [leased[0].sequence, leased[1].sequence, Sequence(9999)] {
        assert!(!soon(store.queue.cancel(sequence)).await.expect("is done"), "{sequence:?}");
    }
    assert_eq!(state(store, &tenant, &parked).await, Some("parked"));
}

async fn what_is_scheduled_goes_with_its_application(store: &Store) {
    let tenant = store.tenant(1).await;
    let id = tenant.application.id;
    let (far, near) = (at(id, clock::now() + 300 * HOUR), at(id, clock::now() + 60_000));
    store.accept([far.clone(), near.clone()]).await;
    assert_eq!(store.depths().await.scheduled, 2);
    store.change(Change::DeleteApplication(id)).await;
    for message in [&far, &near] {
        assert_eq!(state(store, &tenant, message).await, Some("dropped"));
    }
    assert_eq!(store.depths().await.scheduled, 0);
    store.assert_nothing_comes().await;
}

async fn the_content_of_what_is_scheduled_stays(store: &Store) {
    let tenant = store.tenant(1).await;
    let message = at(tenant.application.id, clock::now() + 24 * HOUR);
    store.accept([message.clone()]).await;
    let sequence = sequence(store, &tenant, &message).await;
    for what in [Forgotten::Content, Forgotten::All] {
        let forgotten = soon(store.retention.forget(what, vec![sequence], None)).await;
        assert_eq!(forgotten.expect("is done"), 0, "{what:?}");
    }
    assert!(soon(store.queue.cancel(sequence)).await.expect("is done"));
    let forgotten = soon(store.retention.forget(Forgotten::Content, vec![sequence], None)).await;
    assert_eq!(forgotten.expect("is done"), 1, "it has ended");
}

async fn what_is_scheduled_or_cancelled_is_not_sent_again(store: &Store) {
    let tenant = store.tenant(1).await;
    let message = at(tenant.application.id, clock::now() + 24 * HOUR);
    store.accept([message.clone()]).await;
    // What is handed over after it has passed it by.
    store.assert_nothing_comes().await;
    let sequence = sequence(store, &tenant, &message).await;
    let again = [Again::Message(sequence, first_endpoint(&tenant))];
    let resend = || store.recovery.again(again.to_vec(), None);
    assert_eq!(soon(resend()).await.expect("is done"), 0);
    assert!(soon(store.queue.cancel(sequence)).await.expect("is done"));
    assert_eq!(soon(resend()).await.expect("is done"), 0);
    store.assert_nothing_comes().await;
}

async fn what_has_expired_ends_so(store: &Store) {
    let tenant = store.tenant(1).await;
    let delivery = store.deliveries(&tenant, first_endpoint(&tenant), 1).await.remove(0);
    store.settle(&delivery, 500, Next::Expired);
    let record = store.records(delivery.key.message).await.remove(0);
    assert_eq!((record.state, record.due), (Some(State::Expired), None));
    assert_eq!(record.attempts.len(), 1);
    let filter =
        crate::store::DeliveryFilter { states: vec![State::Expired], ..Default::default() };
    let page = store.log.deliveries_to(delivery.key.endpoint, filter, 10);
    assert_eq!(soon(page).await.expect("reads").records.len(), 1);
    let message = sample::message(tenant.application.id);
    store.accept([message.clone()]).await;
    let leased = store.lease(1).await.remove(0);
    store.hold(&leased, Held::Expired);
    assert_eq!(state(store, &tenant, &message).await, Some("expired"));
    let forgotten = store.retention.forget(Forgotten::Content, vec![leased.sequence], None);
    assert_eq!(soon(forgotten).await.expect("is done"), 1, "it has ended");
    store.assert_nothing_comes().await;
}

async fn what_has_expired_is_not_sent_again(store: &Store) {
    let tenant = store.tenant(1).await;
    let endpoint = first_endpoint(&tenant);
    let message =
        Message { expires_at: Some(clock::now() + 200), ..sample::message(tenant.application.id) };
    let silent = Message { id: crate::model::id::MessageId(clock::id()), ..message.clone() };
    store.accept([message, silent]).await;
    let leased = store.lease(2).await;
    store.dispatch(&leased[0], vec![delivery(&leased[0], endpoint)]);
    store.dispatch(&leased[1], Vec::new());
    let open = store.take(1).await.remove(0);
    store.settle(&open, 500, Next::DeadLetter);
    store.flush().await;
    while clock::now() < open.message.expires_at.expect("expires") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let again = vec![Again::Delivery(open.key), Again::Message(leased[1].sequence, endpoint)];
    assert_eq!(soon(store.recovery.again(again, None)).await.expect("is done"), 0);
    // Under way, it is not made again once that has failed either.
    let late = Message { expires_at: Some(1), ..sample::message(tenant.application.id) };
    store.accept([late]).await;
    let leased = store.lease(1).await.remove(0);
    store.dispatch(&leased, vec![delivery(&leased, endpoint)]);
    let open = store.take(1).await.remove(0);
    let again = soon(store.recovery.again(vec![Again::Delivery(open.key)], None)).await;
    assert_eq!(again.expect("is done"), 0);
    store.settle(&open, 500, Next::Expired);
    store.assert_nothing_comes().await;
}
