//! Operations on the store in memory, which does at once what it is asked.

use super::*;
use crate::{
    model::{
        application::Application,
        attempt::{Answer, Attempt, Outcome},
        catalog::{Change, Tenant},
        delivery::{Delivery, DeliveryKey, Next, State as DeliveryState},
        id::{EndpointId, EnvironmentId},
        message::Message,
        name::{Channel, EventType},
        operation::{Mode, Wanted},
        sample,
    },
    store::{Dispatched, Queue, Settlement, memory::Memory},
};

struct Rig {
    store: Arc<Memory>,
    tenant: Tenant,
    stage: JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stage.abort();
        self.store.close();
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("comes")
}

impl Rig {
    async fn new(endpoints: usize) -> Self {
        let store = Memory::new();
        let tenant = sample::tenant(endpoints);
        let stage = tokio::spawn(Recoverer::new(store.clone(), store.clone()).run());
        let rig = Self { store, tenant, stage };
        rig.change(Change::PutApplication(Application::clone(&rig.tenant.application))).await;
        for endpoint in rig.tenant.endpoints.values() {
            rig.change(Change::PutEndpoint(Endpoint::clone(endpoint))).await;
        }
        rig
    }

    async fn change(&self, change: Change) {
        self.store.change(change).await.expect("is changed");
    }

    fn endpoint(&self, index: usize) -> EndpointId {
        *self.tenant.endpoints.keys().nth(index).expect("is there")
    }

    /// Accepts that many messages and settles a delivery of each to the endpoint.
    async fn settled(&self, count: usize, to: EndpointId, next: Next) {
        for index in 0..count {
            let rare = index % 10 == 0;
            let message = Message {
                event_type: EventType::new(if rare { "rare" } else { "common" }).expect("legal"),
                accepted: 1_000 + index as u64,
                ..sample::message(self.tenant.application.id)
            };
            self.store.accept(vec![Arc::new(message).into()]).await.expect("is accepted");
            let leased = soon(self.store.next_messages(1)).await.expect("is leased").remove(0);
            let key = DeliveryKey { message: leased.sequence, ordinal: 0, endpoint: to };
            let delivery = Delivery { key, ..sample::delivery(&leased.message, leased.sequence) };
            self.store.dispatched(leased, Dispatched::Deliveries(vec![Arc::new(delivery)]));
            self.deliver(1, next).await;
        }
    }

    /// Takes that many deliveries and settles them so.
    async fn deliver(&self, count: usize, next: Next) -> Vec<DeliveryKey> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let more = soon(self.store.next_deliveries(count - taken.len())).await;
            for delivery in more.expect("are leased") {
                let answer = Answer { status: 500, ..Answer::default() };
                let number = delivery.attempts + 1;
                let outcome = Outcome::Answered(answer);
                let attempt = Attempt { number, at: 1, latency: 1, revision: None, outcome };
                taken.push(delivery.key);
                let (attempt, notice) = (Some(attempt), None);
                self.store.settle(Settlement { delivery, attempt, next, notice });
            }
        }
        taken
    }

    async fn begin(&self, to: EndpointId, wanted: Wanted, dry_run: bool) -> OperationId {
        let id = OperationId(clock::id());
        let operation = Operation {
            environment: EnvironmentId::DEFAULT,
            id,
            application: self.tenant.application.id,
            endpoint: Some(to),
            wanted,
            dry_run,
            state: State::Running,
            total: 0,
            counted: false,
            done: 0,
            cursor: Sequence(0),
            upto: self.store.bounds(self.tenant.application.id).0,
            created: 1,
            updated: 1,
        };
        self.store.again(Vec::new(), Some(operation)).await.expect("is kept");
        id
    }

    async fn now(&self, id: OperationId) -> Operation {
        let found = self.store.operation(EnvironmentId::DEFAULT, id).await;
        found.expect("reads").expect("is there")
    }

    async fn ended(&self, id: OperationId) -> Operation {
        let mut kept = self.store.watch_operations();
        soon(async {
            loop {
                let now = self.now(id).await;
                if now.state != State::Running {
                    return now;
                }
                kept.changed().await.expect("goes on");
            }
        })
        .await
    }
}

fn wanted(mode: Mode) -> Wanted {
    let (event_types, channels) = (Vec::new(), Vec::new());
    Wanted { mode, since: 0, until: None, event_types, channels }
}

fn failed() -> Mode {
    Mode::Ended(vec![DeliveryState::Failed])
}

#[tokio::test]
async fn what_failed_is_sent_again_and_counted() {
    let rig = Rig::new(1).await;
    let to = rig.endpoint(0);
    rig.settled(100, to, Next::DeadLetter).await;
    rig.settled(3, to, Next::Delivered).await;
    let id = rig.begin(to, wanted(failed()), false).await;
    let sent = rig.deliver(100, Next::Delivered).await;
    assert!(sent.is_sorted(), "oldest first");
    let ended = rig.ended(id).await;
    assert_eq!((ended.state, ended.total, ended.done), (State::Done, 100, 100));
}

#[tokio::test]
async fn only_what_the_filter_takes_is_sent() {
    let rig = Rig::new(1).await;
    let to = rig.endpoint(0);
    rig.settled(40, to, Next::DeadLetter).await;
    let rare = vec![EventType::new("rare").expect("legal")];
    let young = Wanted { since: 1_010, until: Some(1_030), event_types: rare, ..wanted(failed()) };
    let id = rig.begin(to, young, false).await;
    rig.deliver(2, Next::Delivered).await;
    let ended = rig.ended(id).await;
    assert_eq!((ended.total, ended.done), (2, 2));
    let channels = vec![Channel::new("none").expect("legal")];
    let none = rig.begin(to, Wanted { channels, ..wanted(failed()) }, false).await;
    assert_eq!(rig.ended(none).await.total, 0);
}

#[tokio::test]
async fn a_dry_run_counts_and_sends_nothing() {
    let rig = Rig::new(1).await;
    let to = rig.endpoint(0);
    rig.settled(5, to, Next::DeadLetter).await;
    let id = rig.begin(to, wanted(failed()), true).await;
    let ended = rig.ended(id).await;
    assert_eq!((ended.state, ended.total, ended.done), (State::Done, 5, 0));
    assert_eq!(rig.store.depths().waiting, 0);
}

#[tokio::test]
async fn what_an_endpoint_never_got_is_dispatched_for_it() {
    let rig = Rig::new(2).await;
    rig.settled(50, rig.endpoint(0), Next::Delivered).await;
    let late = Endpoint {
        event_types: vec![EventType::new("rare").expect("legal")],
        revision: 2,
        ..Endpoint::clone(&rig.tenant.endpoints[&rig.endpoint(1)])
    };
    rig.change(Change::PutEndpoint(late)).await;
    // What waited for it when it was disabled, it missed as well.
    rig.settled(2, rig.endpoint(1), Next::Disabled).await;
    let id = rig.begin(rig.endpoint(1), wanted(Mode::Missing), false).await;
    rig.deliver(2, Next::Delivered).await;
    let mut leased = Vec::new();
    while leased.len() < 5 {
        leased.extend(soon(rig.store.next_messages(10)).await.expect("are leased"));
    }
    assert!(leased.iter().all(|leased| leased.only == [rig.endpoint(1)]));
    let ended = rig.ended(id).await;
    assert_eq!((ended.total, ended.done), (7, 7), "only what it subscribes to, or did");
}

#[tokio::test]
async fn an_operation_waits_for_what_it_made_due_and_can_be_cancelled() {
    let rig = Rig::new(1).await;
    let to = rig.endpoint(0);
    rig.settled(100, to, Next::DeadLetter).await;
    let id = rig.begin(to, wanted(failed()), false).await;
    // The first step is due; nobody takes it, so there is no second.
    let first = soon(rig.store.next_deliveries(STEP)).await.expect("are leased");
    let cancelled = Operation { state: State::Cancelled, ..rig.now(id).await };
    rig.store.again(Vec::new(), Some(cancelled)).await.expect("is kept");
    let ended = rig.ended(id).await;
    assert_eq!(ended.state, State::Cancelled);
    assert!(!first.is_empty() && ended.done <= 2 * STEP as u64, "{}", ended.done);
}

#[tokio::test]
async fn an_operation_whose_endpoint_is_disabled_says_so() {
    let rig = Rig::new(1).await;
    let to = rig.endpoint(0);
    let endpoint = Endpoint::clone(&rig.tenant.endpoints[&to]);
    rig.change(Change::PutEndpoint(Endpoint { enabled: false, revision: 2, ..endpoint })).await;
    let id = rig.begin(to, wanted(failed()), false).await;
    assert_eq!(rig.ended(id).await.state, State::Failed("the endpoint is disabled".into()));
}

#[test]
fn half_of_an_endpoints_rate_is_left() {
    use crate::model::endpoint::{Per, RateLimit};
    use std::num::NonZeroU32;
    let of = |limit, per| {
        let limit = NonZeroU32::new(limit).expect("some");
        let rate = RateLimit { limit, per, burst: NonZeroU32::MIN };
        Endpoint { rate_limit: Some(rate), ..sample::endpoint() }
    };
    for (limit, per, size, wait) in [
        (10, Per::Second, 5, 1_000),
        (1000, Per::Second, STEP, 64),
        (60, Per::Minute, 1, 2_000),
        (1, Per::Hour, 1, 7_200_000),
    ] {
        let endpoint = of(limit, per);
        assert_eq!(step_size(Some(&endpoint)), size);
        let pause = pause(&endpoint, size as u64).expect("has a rate");
        assert_eq!(pause, Duration::from_millis(wait), "{limit} per {per:?}");
    }
    assert_eq!(pause(&sample::endpoint(), 5), None);
}
