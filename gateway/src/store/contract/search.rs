//! Pages: what fits, each once, newest first, and where to go on.

use super::*;
use crate::{
    model::{
        delivery::{Content, State},
        name::{Channel, EventType},
    },
    store::{DeliveryFilter, Summary},
};

on_every_engine![
    messages_come_by_pages_newest_first,
    a_page_is_cut_where_its_payloads_are_large,
    messages_are_found_by_type_channel_and_time,
    messages_are_found_and_grow_old_also_where_the_clock_was_wrong,
    pages_stay_where_they_are_while_messages_arrive,
    deliveries_to_an_endpoint_come_by_state_and_time,
    deliveries_are_listed_with_the_plugins_event_type,
    what_an_endpoint_was_is_kept_by_revision,
];

/// Every page from the first to the last, and their sizes.
async fn pages(store: &Store, of: ApplicationId, mut filter: MessageFilter) -> Vec<Vec<Sequence>> {
    let mut pages = Vec::new();
    loop {
        let page = store.page(of, filter.clone(), 3).await;
        pages.push(page.records.iter().map(|record| record.sequence).collect());
        let Some(next) = page.next else { return pages };
        filter.before = Some(next);
    }
}

async fn messages_come_by_pages_newest_first(store: &Store) {
    let (one, two) = (sample::application().id, sample::application().id);
    let sent: Vec<Message> =
        (0..14).map(|n| sample::message(if n % 2 == 0 { one } else { two })).collect();
    store.accept(sent.clone()).await;
    let pages = pages(store, one, MessageFilter::default()).await;
    let sizes: Vec<_> = pages.iter().map(Vec::len).collect();
    assert_eq!(sizes, [3, 3, 1]);
    let shown = pages.concat();
    assert!(shown.is_sorted_by(|a, b| a > b), "{shown:?}");
    let page = store.page(one, MessageFilter::default(), 100).await;
    let mut expected: Vec<Message> = sent.into_iter().filter(|m| m.application == one).collect();
    expected.reverse();
    let found: Vec<Message> = page.records.into_iter().map(|record| record.message).collect();
    assert_eq!((found, page.next), (expected, None));
}

async fn a_page_is_cut_where_its_payloads_are_large(store: &Store) {
    let of = sample::application().id;
    let sizes = [1, 5 << 20, 2 << 20, 2 << 20, 1];
    store
        .accept(
            sizes.map(|size| Message { payload: vec![b' '; size].into(), ..sample::message(of) }),
        )
        .await;
    let (mut filter, mut pages) = (MessageFilter::default(), Vec::new());
    loop {
        let page = store.page(of, filter.clone(), 100).await;
        pages.push(page.records.iter().map(|r| r.message.payload.len()).collect::<Vec<_>>());
        let Some(next) = page.next else { break };
        filter.before = Some(next);
    }
    assert_eq!(pages, [vec![1, 2 << 20], vec![2 << 20], vec![5 << 20], vec![1]]);
}

async fn messages_are_found_by_type_channel_and_time(store: &Store) {
    let of = sample::application().id;
    let event_type = |text: &str| EventType::new(text).expect("legal");
    let channel = |text: &str| Channel::new(text).expect("legal");
    let sent = (0..12_u64).map(|n| Message {
        event_type: event_type(if n % 3 == 0 { "rare" } else { "common" }),
        channels: if n % 2 == 0 { vec![channel("even"), channel("all")] } else { Vec::new() },
        accepted: 1_000_000 * n,
        ..sample::message(of)
    });
    store.accept(sent).await;
    let none = MessageFilter::default;
    let table = [
        (MessageFilter { event_type: Some(event_type("rare")), ..none() }, vec![9, 6, 3, 0]),
        (MessageFilter { channel: Some(channel("even")), ..none() }, vec![10, 8, 6, 4, 2, 0]),
        (MessageFilter { channel: Some(channel("odd")), ..none() }, vec![]),
        (MessageFilter { after: Some(9_000_000), ..none() }, vec![11, 10, 9]),
        (MessageFilter { after: Some(9_000_001), ..none() }, vec![11, 10]),
        (MessageFilter { until: Some(2_000_000), ..none() }, vec![1, 0]),
        (
            MessageFilter {
                event_type: Some(event_type("common")),
                channel: Some(channel("all")),
                after: Some(3_000_000),
                until: Some(9_000_000),
                ..none()
            },
            vec![8, 4],
        ),
    ];
    let first = store.page(of, none(), 100).await.records.last().expect("is there").sequence.0;
    for (filter, expected) in table {
        let found = pages(store, of, filter.clone()).await.concat();
        let found: Vec<u64> = found.into_iter().map(|sequence| sequence.0 - first).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
}

async fn messages_are_found_and_grow_old_also_where_the_clock_was_wrong(store: &Store) {
    const DAY: u64 = 24 * 3_600_000;
    let tenant = store.tenant(0).await;
    let id = tenant.application.id;
    let at = |accepted| Message { accepted, ..sample::message(id) };
    // A month ahead for a while, twice; each batch is a commit of its own.
    let ahead = || (0..1_500).map(|n| at(40 * DAY + n));
    store.accept((0..3).map(|n| at(10 * DAY + n))).await;
    store.accept(ahead()).await;
    store.accept((0..3).map(|n| at(11 * DAY + n)).chain([at(12 * DAY)])).await;
    store.accept(ahead()).await;
    store.accept([at(13 * DAY)]).await;
    let all = store.lease(3_008).await;
    all.iter().for_each(|leased| store.dispatch(leased, Vec::new()));
    let numbers: Vec<_> = all.iter().map(|leased| leased.sequence).collect();
    let (first, second) = (&numbers[..3], &numbers[1_503..1_507]);
    let of = |after, until| MessageFilter { after, until, ..MessageFilter::default() };
    let of_days = |from: u64, to: u64| of(Some(from * DAY), Some(to * DAY));
    for (filter, mut expected) in [
        (of_days(10, 11), first.to_vec()),
        (of_days(11, 13), second.to_vec()),
        (of_days(13, 14), vec![numbers[3_007]]),
        (of(None, Some(12 * DAY)), [first, &second[..3]].concat()),
        (of(Some(40 * DAY + 1_499), None), vec![numbers[1_502], numbers[3_006]]),
        (of_days(14, 40), vec![]),
    ] {
        let mut found = pages(store, id, filter.clone()).await.concat();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{filter:?}");
    }
    store.flush().await;
    let (mut after, mut old, mut passed_over) = (Sequence(0), Vec::new(), false);
    loop {
        let aged = store.retention.aged(EnvironmentId::DEFAULT, after, 12 * DAY + 1);
        let aged = soon(aged).await.expect("reads");
        old.extend(aged.records);
        passed_over |= aged.passed_over;
        let Some(next) = aged.next else { break };
        assert!(next > after, "it comes further");
        after = next;
    }
    assert_eq!((old, passed_over), ([first, second].concat(), true));
}

async fn pages_stay_where_they_are_while_messages_arrive(store: &Store) {
    let of = sample::application().id;
    store.accept((0..6).map(|_| sample::message(of))).await;
    let first = store.page(of, MessageFilter::default(), 3).await;
    store.accept((0..5).map(|_| sample::message(of))).await;
    let filter = MessageFilter { before: first.next, ..MessageFilter::default() };
    let second = store.page(of, filter, 3).await;
    let last = first.records.last().expect("is full").sequence.0;
    let shown: Vec<_> = second.records.iter().map(|record| record.sequence.0).collect();
    assert_eq!(shown, [last - 1, last - 2, last - 3]);
}

async fn listed(store: &Store, endpoint: EndpointId, mut filter: DeliveryFilter) -> Vec<Summary> {
    let mut listed = Vec::new();
    loop {
        let page = store.log.deliveries_to(endpoint, filter.clone(), 2);
        let page = soon(page).await.expect("reads");
        assert!(page.records.len() <= 2);
        listed.extend(page.records);
        let Some(next) = page.next else { return listed };
        filter.before = Some(next);
    }
}

async fn deliveries_to_an_endpoint_come_by_state_and_time(store: &Store) {
    let tenant = store.tenant(2).await;
    let endpoint = first_endpoint(&tenant);
    let other = *tenant.endpoints.keys().nth(1).expect("has two");
    let taken = store.deliveries(&tenant, endpoint, 7).await;
    let elsewhere = store.deliveries(&tenant, other, 1).await;
    store.settle(&elsewhere[0], 500, Next::DeadLetter);
    for (index, next) in [
        Next::Delivered,
        Next::DeadLetter,
        Next::RetryAt(u64::MAX / 2),
        Next::Disabled,
        Next::Delivered,
        Next::DeadLetter,
    ]
    .into_iter()
    .enumerate()
    {
        store.settle(&taken[index], if next == Next::Delivered { 200 } else { 500 }, next);
    }
    store.queue.set_aside(taken[6].clone());
    store.flush().await;
    let states =
        |states: &[State]| DeliveryFilter { states: states.to_vec(), ..Default::default() };
    let young = DeliveryFilter { after: Some(1_001), ..DeliveryFilter::default() };
    let old = DeliveryFilter { until: Some(1_001), ..DeliveryFilter::default() };
    for (filter, expected) in [
        (states(&[]), vec![6, 5, 4, 3, 2, 1, 0]),
        (states(&[State::Success]), vec![4, 0]),
        (states(&[State::Failed]), vec![5, 1]),
        (states(&[State::Disabled, State::Failed]), vec![5, 3, 1]),
        (states(&[State::Waiting, State::Aside]), vec![6, 2]),
        (states(&[State::Success, State::Failed]), vec![5, 4, 1, 0]),
        (young, vec![]),
        (old, vec![6, 5, 4, 3, 2, 1, 0]),
    ] {
        let found = listed(store, endpoint, filter.clone()).await;
        let found: Vec<_> = found
            .iter()
            .map(|summary| taken.iter().position(|delivery| delivery.key == summary.key))
            .collect();
        let expected: Vec<_> = expected.into_iter().map(Some).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    let failed = listed(store, endpoint, states(&[State::Failed])).await.remove(0);
    assert_eq!((failed.attempts, failed.last), (1, Some(attempt(1, 500))));
    assert_eq!(failed.message.id, taken[5].message.id);
    let waiting = listed(store, endpoint, states(&[State::Waiting])).await.remove(0);
    assert_eq!(waiting.due, Some(u64::MAX / 2));
}

async fn deliveries_are_listed_with_the_plugins_event_type(store: &Store) {
    let tenant = store.tenant(1).await;
    let endpoint = first_endpoint(&tenant);
    let own = EventType::new("plugin.own").expect("legal");
    let typed = Content { event_type: Some(own.clone()), ..Content::default() };
    let untyped = Content { payload: Some("{}".into()), ..Content::default() };
    let leased = store.leased(&tenant, 3).await;
    for (leased, content) in leased.iter().zip([Some(typed), Some(untyped), None]) {
        let content = content.map(Arc::new);
        store.dispatch(leased, vec![Delivery { content, ..delivery(leased, endpoint) }]);
    }
    for delivery in store.take(3).await {
        store.settle(&delivery, 500, Next::DeadLetter);
    }
    store.flush().await;
    let found = listed(store, endpoint, DeliveryFilter::default()).await;
    let found: Vec<_> = found.into_iter().map(|summary| summary.event_type).collect();
    let plain = leased[0].message.event_type.clone();
    assert_eq!(found, [plain.clone(), plain, own]);
}

async fn what_an_endpoint_was_is_kept_by_revision(store: &Store) {
    let tenant = store.tenant(1).await;
    let first = Endpoint::clone(&tenant.endpoints[&first_endpoint(&tenant)]);
    let url = |text: &str| text.parse::<url::Url>().expect("a URL");
    let moved = Endpoint { url: url("https://moved.example/"), revision: 2, ..first.clone() };
    let renamed = Endpoint { name: "other".into(), revision: 3, ..moved.clone() };
    store.change(Change::PutEndpoint(moved.clone())).await;
    store.change(Change::PutEndpoint(renamed)).await;
    store.change(Change::DeleteEndpoint(first.application, first.id)).await;
    for (revision, expected) in
        [(0, None), (1, Some(&first.url)), (2, Some(&moved.url)), (3, Some(&moved.url))]
    {
        let found = soon(store.log.version(first.id, revision)).await.expect("reads");
        assert_eq!(found.as_ref().map(|version| &version.url), expected, "{revision}");
    }
}
