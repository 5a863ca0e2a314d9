//! What waits far ahead: in rows alone, read when its time comes nearer.

use super::*;
use crate::{model::delivery::DeliveryKey, store::contract::disabled};
use std::collections::HashMap;

const DAY: u64 = 24 * 3_600_000;

/// A tenant, and in a directory that many deliveries of one message that wait, due then.
async fn rows(directory: &Path, count: u32, due: u64) -> Tenant {
    let store = open(directory, None);
    let tenant = store.tenant(2).await;
    let leased = store.leased(&tenant, 1).await.remove(0);
    store.dispatch(&leased, Vec::new());
    store.flush().await;
    drop(store);
    insert(directory, leased.sequence, first_endpoint(&tenant), count, due);
    tenant
}

fn insert(directory: &Path, message: Sequence, endpoint: EndpointId, count: u32, due: u64) {
    let connection = Connection::open(directory.join("octohooks.db")).expect("opens");
    let inserted = connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO delivery (message, endpoint, ordinal, state, attempts, due, updated)
             SELECT ?2, ?3, i, 0, 1, ?4, 0 FROM n",
        (count, rows::signed(message.0), endpoint.0.as_bytes(), rows::signed(due)),
    );
    assert_eq!(inserted.expect("writes"), count as usize);
}

/// How much waits, once that is counted.
async fn waiting(store: &Store, expected: u64) {
    let counted = async {
        while store.depths().await.waiting != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(counted).await;
}

#[tokio::test]
async fn a_start_counts_what_is_due_tomorrow_and_leaves_it_in_its_rows() {
    let directory = tempfile::tempdir().expect("a directory");
    let many = u32::try_from(counting::FEW).expect("fits") + 10_000;
    let tenant = rows(directory.path(), many, clock::now() + DAY).await;
    let engine =
        Sqlite::open(directory.path(), Limits::default(), &Master::new(None, directory.path()))
            .expect("opens");
    let waits = engine.handover.clone();
    let store = Store::over(engine, Sqlite::close);
    waiting(&store, u64::from(many)).await;
    assert_eq!(waits.waiting().next_due(), None, "nothing is in memory");
    // One is sent at once.
    let endpoint = first_endpoint(&tenant);
    let key = DeliveryKey { message: Sequence(1), ordinal: 77, endpoint };
    let again = || store.recovery.again(vec![Again::Delivery(key)], None);
    assert_eq!(soon(again()).await.expect("is done"), 1);
    let taken = store.take(1).await.remove(0);
    assert_eq!((taken.key, taken.attempts), (key, 1));
    // Again while it is under way, which is no second delivery unless it fails.
    assert_eq!(soon(again()).await.expect("is done"), 1);
    store.settle(&taken, 200, Next::Delivered);
    waiting(&store, u64::from(many) - 1).await;
    store.assert_nothing_comes().await;
    // And all end with their endpoint.
    store.change(disabled(&tenant, endpoint)).await;
    waiting(&store, 0).await;
    let other = *tenant.endpoints.keys().last().expect("has two");
    let delivery = store.deliveries(&tenant, other, 1).await.remove(0);
    store.settle(&delivery, 500, Next::RetryAt(clock::now() + 30 * DAY));
    waiting(&store, 1).await;
}

#[tokio::test]
async fn what_came_due_while_the_gateway_was_away_comes_in_pieces_and_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let piece = crate::store::waiting::ahead::PIECE;
    let many = u32::try_from(3 * piece).expect("fits");
    let tenant = rows(directory.path(), many, clock::now() - DAY).await;
    let store = open(directory.path(), None);
    // Beside it new ones, whose rows wait while they are under way: of a message that was held.
    let other = *tenant.endpoints.keys().last().expect("has two");
    let leased = store.leased(&tenant, 1).await.remove(0);
    store.hold(&leased, Held::Retry { due: clock::now(), calls: 1, reason: "r".into() });
    let leased = store.lease(1).await.remove(0);
    let one = Delivery { due: clock::now(), ..delivery(&leased, other) };
    let key = one.key;
    store.dispatch(&leased, vec![one]);
    let mut came: HashMap<DeliveryKey, u32> = HashMap::new();
    let mut open = Vec::new();
    while came.len() <= many as usize {
        let taken = soon(store.queue.next_deliveries(1000)).await.expect("are leased");
        for delivery in taken {
            *came.entry(delivery.key).or_default() += 1;
            match delivery.key == key {
                // It stays under way.
                true => open.push(delivery),
                false => store.settle(&delivery, 200, Next::Delivered),
            }
        }
    }
    assert!(came.values().all(|times| *times == 1), "some came twice");
    store.assert_nothing_comes().await;
    assert_eq!(store.depths().await.waiting, 0);
    store.settle(&open[0], 200, Next::Delivered);
    store.assert_nothing_comes().await;
}

#[tokio::test]
async fn what_is_scheduled_for_tomorrow_is_in_its_row_alone_and_can_be_cancelled() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), None);
    let tenant = store.tenant(1).await;
    let id = tenant.application.id;
    let later = |due| Message { deliver_at: Some(due), ..sample::message(id) };
    store.accept((0..3).map(|_| later(clock::now() + DAY))).await;
    drop(store);
    let store = open(directory.path(), None);
    assert_eq!(store.depths().await.scheduled, 3);
    assert!(soon(store.queue.cancel(Sequence(2))).await.expect("is done"));
    assert_eq!(store.depths().await.scheduled, 2);
    store.accept([later(clock::now() + 30 * DAY)]).await;
    assert_eq!(store.depths().await.scheduled, 3);
    // The clock says that it is tomorrow.
    let connection = Connection::open(directory.path().join("octohooks.db")).expect("opens");
    drop(store);
    let moved = "UPDATE held SET due = ? WHERE state = 'scheduled' AND due < ?";
    let now = rows::signed(clock::now());
    let moved = connection.execute(moved, (now, now + rows::signed(2 * DAY)));
    assert_eq!(moved.expect("writes"), 2);
    let store = open(directory.path(), None);
    let leased = store.lease(2).await;
    assert_eq!([leased[0].sequence, leased[1].sequence], [Sequence(1), Sequence(3)]);
    leased.iter().for_each(|leased| store.dispatch(leased, Vec::new()));
    store.assert_nothing_comes().await;
    assert_eq!(store.depths().await.scheduled, 1);
    store.change(Change::DeleteApplication(id)).await;
    assert_eq!(store.depths().await.scheduled, 0);
}
