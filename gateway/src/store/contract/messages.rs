//! Messages: accepted once, handed over in order.

use super::*;
use crate::{
    model::{
        id::{ApplicationId, Digest, EnvironmentId},
        name::{AttributeName, AttributeValue, Channel, EventType, Uid},
    },
    store::{BatchAnswer, Forgotten, KeptAnswer, Once},
};
use bytes::Bytes;

on_every_engine![
    an_answer_is_kept_with_what_made_it_true,
    messages_come_whole_and_in_order_of_acceptance,
    whoever_waits_for_a_message_gets_it,
    a_uid_that_was_used_tells_the_first_message,
    a_uid_is_one_applications_in_one_environment,
    a_repeated_submission_tells_the_first_message,
    what_dispatch_is_behind_with_comes_in_order,
    what_waits_where_is_counted,
    a_closed_store_takes_and_gives_nothing,
];

fn with_uid(application: ApplicationId, uid: &str) -> Message {
    Message { uid: Some(Uid::new(uid).expect("legal")), ..sample::message(application) }
}

async fn messages_come_whole_and_in_order_of_acceptance(store: &Store) {
    let application = sample::application().id;
    let whole = Message {
        uid: Some(Uid::new("ünique").expect("legal")),
        event_type: EventType::new("sms.status").expect("legal"),
        channels: vec![Channel::new("a").expect("legal"), Channel::new("b").expect("legal")],
        payload: vec![0, 255, b'"'].into(),
        attributes: [(
            AttributeName::new("ce-source").expect("legal"),
            AttributeValue::new("/sms \"é\"").expect("legal"),
        )]
        .into(),
        accepted: 42,
        ..sample::message(application)
    };
    let sent: Vec<Message> = std::iter::once(whole)
        .chain(std::iter::repeat_with(|| sample::message(application)))
        .take(6)
        .collect();
    assert_eq!(store.accept(sent[..3].to_vec()).await, [Accepted::New; 3]);
    store.accept(sent[3..4].to_vec()).await;
    store.accept(sent[4..].to_vec()).await;
    let first = soon(store.queue.next_messages(4)).await.expect("are leased");
    assert_eq!(first.len(), 4, "at most as many as asked for");
    let rest = store.lease(2).await;
    let leased: Vec<LeasedMessage> = first.into_iter().chain(rest).collect();
    assert!(leased.windows(2).all(|two| two[0].sequence < two[1].sequence));
    for (leased, sent) in leased.iter().zip(&sent) {
        assert_eq!(*leased.message, *sent);
        assert_eq!((leased.calls, leased.held, leased.done.len()), (0, false, 0));
    }
}

async fn whoever_waits_for_a_message_gets_it(store: &Store) {
    let sent = sample::message(sample::application().id);
    let (leased, _) = tokio::join!(store.lease(1), store.accept([sent.clone()]));
    assert_eq!(*leased[0].message, sent);
}

async fn a_uid_that_was_used_tells_the_first_message(store: &Store) {
    let application = sample::application().id;
    let batch: Vec<Message> =
        ["a", "b", "a"].into_iter().map(|uid| with_uid(application, uid)).collect();
    let (a, b) = (batch[0].id, batch[1].id);
    let accepted = store.accept(batch).await;
    assert_eq!(accepted, [Accepted::New, Accepted::New, Accepted::Duplicate(a)]);
    let again = store.accept([with_uid(application, "b"), sample::message(application)]).await;
    assert_eq!(again, [Accepted::Duplicate(b), Accepted::New]);
    let leased = store.lease(3).await;
    assert_eq!((leased[0].message.id, leased[1].message.id), (a, b));
    assert!(leased[2].message.uid.is_none());
    for leased in &leased {
        store.dispatch(leased, Vec::new());
    }
    store.assert_nothing_comes().await;
}

async fn a_repeated_submission_tells_the_first_message(store: &Store) {
    let (application, other) = (sample::application().id, sample::application().id);
    let keyed = |application, uid: Option<&str>, key: &str| {
        let mut message = sample::message(application);
        message.uid = uid.map(|uid| Uid::new(uid).expect("legal"));
        Submission { idempotency_key: Some(key.into()), ..Arc::new(message).into() }
    };
    let first = keyed(application, Some("a"), "1");
    let (id, again) = (first.message.id, first.clone());
    let accepted = store.submit([first, again, keyed(application, None, "2")]).await;
    assert_eq!(accepted, [Accepted::New, Accepted::Repeated(id), Accepted::New]);
    let later = [
        keyed(application, None, "1"),
        keyed(application, Some("a"), "3"),
        keyed(other, Some("a"), "1"),
    ];
    let accepted = store.submit(later).await;
    assert_eq!(accepted, [Accepted::Repeated(id), Accepted::Duplicate(id), Accepted::New]);
    for leased in store.lease(3).await {
        store.dispatch(&leased, Vec::new());
    }
    store.assert_nothing_comes().await;
}

async fn a_uid_is_one_applications_in_one_environment(store: &Store) {
    let application = sample::application().id;
    let first = with_uid(application, "a");
    let elsewhere = with_uid(sample::application().id, "a");
    let environment = EnvironmentId(2);
    let in_another = Message { environment, ..with_uid(application, "a") };
    let again = Message { environment, ..with_uid(application, "a") };
    let duplicate = Accepted::Duplicate(in_another.id);
    let accepted = store.accept([first, elsewhere, in_another, again]).await;
    assert_eq!(accepted, [Accepted::New, Accepted::New, Accepted::New, duplicate]);
}

/// More than an engine keeps in memory.
async fn what_dispatch_is_behind_with_comes_in_order(store: &Store) {
    let application = sample::application().id;
    let mut sent = Vec::new();
    for _ in 0..6 {
        let batch: Vec<Message> = (0..1000).map(|_| sample::message(application)).collect();
        sent.extend(batch.iter().map(|message| message.id));
        store.accept(batch).await;
    }
    assert_eq!(store.depths().await.undispatched, 6000);
    let mut leased = Vec::new();
    while leased.len() < sent.len() {
        leased.extend(store.lease(1).await);
        // Senders go on meanwhile.
        if leased.len() == 5000 {
            let late = sample::message(application);
            sent.push(late.id);
            store.accept([late]).await;
        }
    }
    let ids: Vec<_> = leased.iter().map(|leased| leased.message.id).collect();
    assert_eq!(ids, sent);
    for leased in &leased {
        store.dispatch(leased, Vec::new());
    }
    store.assert_nothing_comes().await;
    assert_eq!(store.depths().await, Depths::default());
}

async fn what_waits_where_is_counted(store: &Store) {
    let tenant = store.tenant(1).await;
    let endpoint = first_endpoint(&tenant);
    let parked = Held::Parked { kind: "trap".into(), reason: "why".into() };
    let later = u64::MAX / 4;
    let leased = store.leased(&tenant, 5).await;
    store.accept([sample::message(tenant.application.id)]).await;
    store.hold(&leased[0], parked);
    store.hold(&leased[1], Held::Retry { due: later, calls: 1, reason: "why".into() });
    for leased in &leased[2..] {
        store.dispatch(leased, vec![delivery(leased, endpoint)]);
    }
    let taken = store.take(3).await;
    store.queue.set_aside(taken[0].clone());
    store.settle(&taken[1], 500, Next::RetryAt(later));
    let expected =
        Depths { undispatched: 1, unsettled: 1, waiting: 1, aside: 1, parked: 1, scheduled: 1 };
    assert_eq!(store.depths().await, expected);
}

async fn a_closed_store_takes_and_gives_nothing(store: &Store) {
    let application = sample::application();
    store.accept([sample::message(application.id)]).await;
    store.close();
    assert!(matches!(soon(store.queue.next_messages(1)).await, Err(StoreError::Closed)));
    assert!(matches!(soon(store.queue.next_deliveries(1)).await, Err(StoreError::Closed)));
    let batch = vec![Arc::new(sample::message(application.id)).into()];
    assert!(matches!(soon(store.queue.accept(batch)).await, Err(StoreError::Closed)));
    let change = Change::PutApplication(application);
    assert!(matches!(soon(store.catalog.change(change)).await, Err(StoreError::Closed)));
    assert!(matches!(soon(store.queue.flush()).await, Err(StoreError::Closed)));
}

async fn an_answer_is_kept_with_what_made_it_true(store: &Store) {
    let digest = |n| Digest([n; 32]);
    let environment = EnvironmentId::DEFAULT;
    let once = |key| Once { environment, key: digest(key), fingerprint: digest(9) };
    let kept = |key, body: &'static str| KeptAnswer {
        once: once(key),
        status: 202,
        body: Bytes::from_static(body.as_bytes()),
    };
    let found = async |environment, key, since| {
        soon(store.answers.answer(environment, digest(key), since)).await.expect("reads")
    };
    let tenant = sample::tenant(0);
    let put = Change::PutApplication(tenant.application.clone());
    let change = store.catalog.change_once(put.clone(), Some(kept(1, "{}")));
    soon(change).await.expect("is changed");
    assert_eq!(found(environment, 1, 0).await, Some(kept(1, "{}")));
    assert_eq!(found(EnvironmentId(2), 1, 0).await, None);
    assert_eq!(found(environment, 1, u64::MAX / 2).await, None, "it is too old");
    let refused = soon(store.catalog.change_once(put, Some(kept(2, "{}")))).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    assert_eq!(found(environment, 2, 0).await, None, "what was not done has no answer");

    let name = AttributeName::new("number").expect("legal");
    let attributes = [(name, AttributeValue::new("+46701234567").expect("legal"))].into();
    let message = Arc::new(Message { attributes, ..with_uid(tenant.application.id, "u") });
    let answer = Some(Box::new(kept(3, r#"{"id":1"#)));
    store.submit([Submission { answer, ..message.into() }]).await;
    let again = found(environment, 3, 0).await.expect("is kept");
    let attributes = r#""attributes":{"number":"+46701234567"}"#;
    assert_eq!(again.body, format!(r#"{{"id":1,{attributes},"payload":{{"n": 1}}}}"#));
    // What is expunged is not answered again either.
    let leased = store.lease(1).await.remove(0);
    store.dispatch(&leased, Vec::new());
    let forgotten = store.retention.forget(Forgotten::Content, vec![leased.sequence], None);
    assert_eq!(soon(forgotten).await.expect("forgets"), 1);
    let again = found(environment, 3, 0).await.expect("is kept");
    assert_eq!(again.body, r#"{"id":1,"payload":null}"#);
    let answer = Some(Box::new(kept(4, "{")));
    let second = Arc::new(with_uid(tenant.application.id, "u"));
    store.submit([Submission { answer, ..second.into() }]).await;
    assert_eq!(found(environment, 4, 0).await, None, "its uid was taken");
    // That to many tells what became of each.
    let each = |accepted: &[Accepted]| Bytes::from(format!("{accepted:?}"));
    let batch = vec![Arc::new(with_uid(tenant.application.id, "u")).into()];
    let answer = BatchAnswer { once: once(6), status: 0, body: Box::new(each) };
    let accepted = soon(store.queue.accept_once(batch, Some(answer))).await.expect("is accepted");
    assert!(matches!(accepted[..], [Accepted::Duplicate(_)]));
    let again = found(environment, 6, 0).await.expect("is kept");
    assert_eq!((again.status, again.body), (0, each(&accepted)));
    soon(store.answers.keep(kept(5, "[]"))).await.expect("is kept");
    soon(store.answers.keep(kept(5, "[1]"))).await.expect("is kept");
    assert_eq!(found(environment, 5, 0).await, Some(kept(5, "[1]")));
}
