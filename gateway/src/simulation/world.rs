//! What happens in a simulation, one step after the other, and what is looked at after each.

use super::{
    Played,
    books::Shared,
    life::Life,
    panics,
    receivers::{Mood, Receivers},
};
use crate::{
    clock::{
        self,
        simulated::{Simulated, draw},
    },
    model::{
        application::Application,
        catalog::Change,
        dead_letter::is_onward,
        delivery::{DeliveryKey, State},
        endpoint::{Endpoint, Order, Per, RateLimit},
        id::{ApplicationId, EndpointId, EnvironmentId, MessageId},
        message::{Message, Sequence},
        name::{OrderingKey, Uid},
        sample,
    },
    store::{Accepted, Again, Catalog, DeliveryRecord, Log, Queue, Recovery, memory::Memory},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

/// How long it may take until everything has come to an end once all are well, in hours.
const HOURS: u32 = 24 * 14;

/// Applications, their endpoints, and a gateway.
pub struct World {
    time: Simulated,
    books: Shared,
    receivers: Arc<Receivers>,
    endpoints: Vec<(ApplicationId, EndpointId)>,
    /// What was accepted, by its number.
    accepted: BTreeMap<Sequence, (ApplicationId, Arc<Message>)>,
    /// Endpoints that were disabled at some time: what came then is not theirs.
    disabled: BTreeSet<EndpointId>,
    life: Option<Life>,
    requests: usize,
    panics: usize,
}

fn number(range: std::ops::Range<u64>) -> u64 {
    draw(range).unwrap_or_default()
}

fn one_in(count: u64) -> bool {
    number(0..count) == 0
}

fn some(range: std::ops::Range<u64>) -> NonZeroU32 {
    u32::try_from(number(range)).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
}

fn rate(per: Per) -> RateLimit {
    RateLimit { limit: some(1..40), per, burst: some(1..6) }
}

impl World {
    /// Two applications with two or three endpoints each, of which the first sends its dead letters to the second.
    pub fn new(seed: u64) -> Self {
        panics::count();
        let time = Simulated::begin(seed);
        let books = Shared::default();
        let receivers = Arc::new(Receivers::new(books.clone()));
        let store = Memory::new();
        // Where they are few, applications wait for each other's requests.
        let requests = if one_in(3) { 12 } else { 1000 };
        let life = Life::begin(&time, &store, &receivers, requests);
        let mut world = Self {
            time,
            books,
            receivers,
            endpoints: Vec::new(),
            accepted: BTreeMap::new(),
            disabled: BTreeSet::new(),
            life: Some(life),
            requests,
            panics: panics::seen(),
        };
        for _ in 0..2 {
            world.tenant(2 + number(0..2));
        }
        world
    }

    fn tenant(&mut self, endpoints: u64) {
        let id = ApplicationId(self.life().id());
        let rate_limit = one_in(3).then(|| rate(Per::Second));
        rate_limit.into_iter().for_each(|rate| self.books.lock().limit(id, rate));
        let application = Application { id, rate_limit, ..sample::application() };
        self.change(Change::PutApplication(application));
        let ids = (0..endpoints).map(|_| EndpointId(self.life().id()));
        let mut ids: Vec<_> = ids.collect();
        ids.sort_unstable();
        for (index, endpoint) in ids.iter().enumerate() {
            let dead_letter_endpoint = (index == 0).then(|| ids[1].to_string());
            self.books.lock().name(*endpoint);
            self.endpoints.push((id, *endpoint));
            let endpoint = Endpoint {
                id: *endpoint,
                application: id,
                dead_letter_endpoint,
                order: [Order::None, Order::Endpoint, Order::Key][number(0..3) as usize],
                ..sample::endpoint()
            };
            self.change(Change::PutEndpoint(endpoint));
        }
    }

    fn life(&self) -> &Life {
        self.life.as_ref().expect("it lives")
    }

    fn note(&self, line: impl AsRef<str>) {
        self.life().during(async { self.books.lock().note(line) });
    }

    pub fn is_broken(&self) -> bool {
        !self.books.lock().broken.is_empty()
    }

    fn change(&self, change: Change) {
        let store = self.life().store.clone();
        self.life().during(async { store.change(change).await }).expect("is changed");
    }

    fn endpoint(&self) -> Arc<Endpoint> {
        let index = number(0..self.endpoints.len() as u64) as usize;
        let catalog = self.life().store.snapshot();
        catalog.endpoint(self.endpoints[index].1).cloned().expect("is there")
    }

    fn alter(&self, what: &str, old: &Endpoint, new: Endpoint) {
        let key = DeliveryKey { message: Sequence(0), ordinal: 0, endpoint: old.id };
        let shown = self.books.lock().shown(key);
        self.note(format!("{what} {shown}"));
        self.life().during(async { self.books.lock().changes(old) });
        self.change(Change::PutEndpoint(Endpoint { revision: old.revision + 1, ..new }));
    }

    /// Something happens, time passes, and all is looked at.
    pub fn step(&mut self, step: u64) {
        self.note(format!("-- step {step}"));
        match number(0..100) {
            0..=39 => self.publish(),
            40..=54 => self.mood(),
            55..=64 => self.limit(),
            65..=70 => self.switch(),
            71..=78 => self.resend(),
            79..=83 => self.jump(),
            84..=90 => self.kill(),
            91..=93 => self.stop(),
            _ => {}
        }
        let millis = match number(0..100) {
            0..=49 => number(0..50),
            50..=79 => number(0..5_000),
            80..=94 => number(0..600_000),
            _ => number(0..18_000_000),
        };
        self.life().pass(Duration::from_millis(millis));
        self.look();
    }

    fn publish(&mut self) {
        let application = self.endpoints[number(0..self.endpoints.len() as u64) as usize].0;
        let count = if one_in(10) { number(1..60) } else { number(1..8) };
        let messages: Vec<_> = (0..count).map(|_| self.message(application)).collect();
        let batch: Vec<_> = messages.iter().map(|message| message.clone().into()).collect();
        let queue = self.life().queue.clone();
        let accepted = self.life().during(async { queue.accept(batch).await }).expect("accepts");
        for (message, accepted) in messages.iter().zip(accepted) {
            match accepted {
                Accepted::New => {
                    let sequence = self.sequence(application, message.id).expect("is there");
                    self.accepted.insert(sequence, (application, message.clone()));
                }
                Accepted::Duplicate(id) | Accepted::Repeated(id) => {
                    let known = self.accepted.values().any(|(_, known)| known.id == id);
                    assert!(known, "it was accepted before");
                }
            }
        }
        self.note(format!("{count} messages"));
    }

    /// Of a few uids, so that some come twice.
    fn message(&self, application: ApplicationId) -> Arc<Message> {
        let uid = one_in(3).then(|| Uid::new(&format!("u{}", number(0..40))).expect("legal"));
        let id = MessageId(self.life().id());
        let accepted = self.life().during(async { clock::accepted() });
        let later = |longest: u64| one_in(8).then(|| accepted + number(0..longest));
        let (deliver_at, expires_at) = (later(1_800_000), later(3_600_000));
        let ordering_key = (!one_in(3)).then(|| OrderingKey::new(&format!("k{}", number(0..3))));
        let ordering_key = ordering_key.map(|key| key.expect("legal"));
        let message = sample::message(application);
        Arc::new(Message { id, uid, accepted, deliver_at, expires_at, ordering_key, ..message })
    }

    fn sequence(&self, application: ApplicationId, id: MessageId) -> Option<Sequence> {
        let (store, text) = (self.life().store.clone(), id.to_string());
        let find = async { store.message(EnvironmentId::DEFAULT, application, &text).await };
        self.life().during(find).expect("reads").map(|record| record.sequence)
    }

    fn mood(&self) {
        let (endpoint, mood) = (self.endpoint(), Mood::drawn());
        self.note(format!("{mood:?} is the receiver of {}", endpoint.id));
        self.receivers.set(endpoint.id, mood);
    }

    fn limit(&self) {
        let old = self.endpoint();
        let per = if one_in(4) { Per::Minute } else { Per::Second };
        let rate_limit = (!one_in(3)).then(|| rate(per));
        let max_in_flight = (!one_in(3)).then(|| some(1..12));
        let new = Endpoint { rate_limit, max_in_flight, ..Endpoint::clone(&old) };
        self.alter(&format!("{rate_limit:?} {max_in_flight:?} at once for"), &old, new);
    }

    fn switch(&mut self) {
        let old = self.endpoint();
        self.disabled.insert(old.id);
        self.books.lock().off(old.id);
        let new = Endpoint { enabled: !old.enabled, ..Endpoint::clone(&old) };
        self.alter(if new.enabled { "enabled" } else { "disabled" }, &old, new);
    }

    fn resend(&self) {
        let records = self.records();
        if records.is_empty() {
            return;
        }
        let record = &records[number(0..records.len() as u64) as usize];
        let shown = self.books.lock().shown(record.key);
        let store = self.life().store.clone();
        let count = self.life().during(async {
            let count = store.again(vec![Again::Delivery(record.key)], None).await;
            self.books.lock().note(format!("{shown} again: {count:?}"));
            count.expect("is done")
        });
        if count > 0 {
            self.books.lock().resent(record.key);
        }
    }

    fn jump(&self) {
        let by = i64::try_from(number(0..7_200_000)).unwrap_or(0) - 3_600_000;
        self.time.jump(by);
        self.note(format!("the clock is set by {by} ms"));
    }

    fn kill(&mut self) {
        self.note("killed");
        let life = self.life.take().expect("it lives");
        let store = life.kill(&self.time, number(0..30));
        self.begin(&store);
    }

    fn stop(&mut self) {
        let grace = Duration::from_millis(number(0..40_000));
        let left = self.life().stop(grace);
        self.note(format!("stopped within {grace:?}; {left} left"));
        self.kill();
    }

    fn begin(&mut self, store: &Arc<Memory>) {
        self.books.lock().killed();
        let life = Life::begin(&self.time, store, &self.receivers, self.requests);
        self.life = Some(life);
        // Before anything is sent: what was recorded must stay.
        self.look();
    }

    /// What is recorded of all deliveries.
    fn records(&self) -> Vec<DeliveryRecord> {
        let store = self.life().store.clone();
        self.life().during(async {
            let mut records = Vec::new();
            for sequence in self.accepted.keys() {
                records.extend(store.deliveries(*sequence).await.expect("reads"));
            }
            records.retain(|record| record.state.is_some());
            records
        })
    }

    fn look(&mut self) {
        let records = self.records();
        let (known, catalog) = (&self.accepted, self.life().store.snapshot());
        self.life().during(async {
            let mut books = self.books.lock();
            for record in &records {
                let of = known.get(&record.key.message).map(|(application, _)| *application);
                let to = catalog.endpoint(record.key.endpoint).map(|to| to.application);
                if of.is_none() || of != to {
                    books.wrong(format!("{:?} is nobody's", record.key));
                }
                books.look(record);
            }
            if panics::seen() > self.panics {
                books.wrong("something panicked".to_owned());
            }
        });
        let off = self
            .endpoints
            .iter()
            .filter(|(_, id)| catalog.endpoint(*id).is_some_and(|endpoint| !endpoint.enabled));
        for (_, id) in off {
            self.books.lock().off(*id);
            self.disabled.insert(*id);
        }
    }

    /// All receivers are well and all endpoints enabled, and everything comes to an end.
    pub fn end(mut self) -> Played {
        if !self.is_broken() {
            self.note("-- all are well");
            for (_, id) in self.endpoints.clone() {
                self.receivers.set(id, Mood::Well);
                let old = self.life().store.snapshot().endpoint(id).cloned().expect("is there");
                self.alter("well", &old, Endpoint { enabled: true, ..Endpoint::clone(&old) });
            }
            let quiet = (0..HOURS).any(|_| {
                self.life().pass(Duration::from_secs(3600));
                self.life().is_quiet()
            });
            self.look();
            if !quiet {
                let depths = self.life().queue.depths();
                self.books.lock().broken.push(format!("it does not come to an end: {depths:?}"));
            }
            self.all_ended();
        }
        let life = self.life.take().expect("it lives");
        let _store = life.kill(&self.time, 0);
        let mut books = self.books.lock();
        let (trace, broken) = (std::mem::take(&mut books.trace), std::mem::take(&mut books.broken));
        drop(books);
        Played { trace, broken }
    }

    /// Nothing that was accepted is lost: each message has one delivery to each endpoint, which has ended; each dead
    /// letter that goes on went.
    fn all_ended(&mut self) {
        let mut by_key: BTreeMap<DeliveryKey, State> = BTreeMap::new();
        for record in self.records() {
            by_key.extend(record.state.map(|state| (record.key, state)));
        }
        let mut lost = Vec::new();
        for (sequence, (application, message)) in &self.accepted {
            let own: Vec<_> = self.endpoints.iter().filter(|(of, _)| of == application).collect();
            for (index, (_, endpoint)) in own.iter().enumerate() {
                let key = DeliveryKey { message: *sequence, ordinal: 0, endpoint: *endpoint };
                let state = by_key.get(&key).copied();
                let ended = state.map(State::is_final);
                // What expires before it is dispatched is for nobody.
                let expected = !self.disabled.contains(endpoint) && message.expires_at.is_none();
                if ended == Some(false) || (ended.is_none() && expected) {
                    lost.push(format!("{key:?} is {state:?}"));
                }
                let onward = by_key.keys().any(|key| {
                    key.message == *sequence && key.endpoint == own[1].1 && is_onward(key.ordinal)
                });
                if index == 0 && state == Some(State::Failed) && !onward {
                    lost.push(format!("the dead letter {key:?} did not go on"));
                }
            }
        }
        let mut books = self.books.lock();
        books.trace.extend(by_key.iter().map(|(key, state)| format!("{key:?} {state:?}")));
        books.broken.extend(lost);
    }
}
