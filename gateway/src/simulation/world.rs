//! What happens in a simulation, one step after the other, and what is looked at after each.

use super::{
    Played,
    books::Shared,
    dice::{Settings, number, one_in, rate, some},
    life::Life,
    panics,
    plugins::{self, Fate},
    receivers::{Mood, Receivers},
};
use crate::{
    clock::{self, simulated::Simulated},
    model::{
        application::Application,
        catalog::Change,
        delivery::DeliveryKey,
        endpoint::{Endpoint, Order, Per},
        id::{ApplicationId, EndpointId, EnvironmentId, MessageId},
        message::{Message, Sequence},
        name::{OrderingKey, Uid},
        sample,
    },
    store::{Accepted, Again, Catalog, DeliveryRecord, Log, Queue, Recovery, memory::Memory},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How long it may take until everything has come to an end once all are well, in hours.
const HOURS: u32 = 24 * 14;

/// Applications, their endpoints, and a gateway.
pub struct World {
    time: Simulated,
    pub(super) books: Shared,
    receivers: Arc<Receivers>,
    pub(super) endpoints: Vec<(ApplicationId, EndpointId)>,
    /// What was accepted, by its number.
    pub(super) accepted: BTreeMap<Sequence, (ApplicationId, Arc<Message>)>,
    /// Endpoints that were disabled at some time: what came then is not theirs.
    pub(super) disabled: BTreeSet<EndpointId>,
    life: Option<Life>,
    settings: Settings,
    /// Those that have a plugin.
    pub(super) plugged: BTreeSet<ApplicationId>,
    panics: usize,
}

/// The endpoint enabled or not, as the API makes it: one that is enabled again begins anew.
fn switched(old: &Endpoint, enabled: bool) -> Endpoint {
    let renewed = if enabled && !old.enabled { old.revision + 1 } else { old.renewed };
    Endpoint { enabled, disabled: None, renewed, ..old.clone() }
}

impl World {
    /// Two applications with two or three endpoints each, of which the first sends its dead letters to the second.
    pub fn new(seed: u64) -> Self {
        panics::count();
        let time = Simulated::begin(seed);
        let books = Shared::default();
        let receivers = Arc::new(Receivers::new(books.clone()));
        let store = Memory::new();
        let settings = Settings::drawn();
        books.lock().rest.breaker = settings.breaker;
        settings.rate.into_iter().for_each(|rate| books.lock().limit_all(rate));
        let life = Life::begin(&time, &store, &receivers, &settings);
        let mut world = Self {
            time,
            books,
            receivers,
            endpoints: Vec::new(),
            accepted: BTreeMap::new(),
            disabled: BTreeSet::new(),
            life: Some(life),
            settings,
            plugged: BTreeSet::new(),
            panics: panics::seen(),
        };
        world.note(format!("{settings:?}"));
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
        if one_in(3) {
            self.change(Change::PutPlugin(plugins::plugin(id), None));
            self.plugged.insert(id);
        }
    }

    pub(super) fn life(&self) -> &Life {
        self.life.as_ref().expect("it lives")
    }

    pub(super) fn note(&self, line: impl AsRef<str>) {
        self.life().during(async { self.books.lock().note(line) });
    }

    pub fn is_broken(&self) -> bool {
        !self.books.lock().broken.is_empty()
    }

    pub(super) fn change(&self, change: Change) {
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
        self.life().during(async {
            self.receivers.note_limit(old);
            self.books.lock().changes(old);
        });
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
            71..=76 => self.resend(),
            77 => self.revive(),
            78 => self.plug(),
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
        let (payload, message) = (Fate::drawn().payload(), sample::message(application));
        let message =
            Message { id, uid, accepted, deliver_at, expires_at, ordering_key, ..message };
        Arc::new(Message { payload, ..message })
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
        let new = switched(&old, !old.enabled);
        self.alter(if new.enabled { "enabled" } else { "disabled" }, &old, new);
        self.books.lock().rest.renewed(old.id);
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
        self.life().during(async { self.books.lock().jumped() });
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
        let life = Life::begin(&self.time, store, &self.receivers, &self.settings);
        self.life = Some(life);
        // Before anything is sent: what was recorded must stay.
        self.look();
    }

    /// What is recorded of all deliveries.
    pub(super) fn records(&self) -> Vec<DeliveryRecord> {
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
        self.look_at_held(&records);
        let off = self
            .endpoints
            .iter()
            .filter(|(_, id)| catalog.endpoint(*id).is_some_and(|endpoint| !endpoint.enabled));
        for (_, id) in off {
            self.books.lock().off(*id);
            self.disabled.insert(*id);
        }
    }

    /// Whether in the end nothing is to be done any more.
    fn comes_to_rest(&self) -> bool {
        (0..HOURS).any(|_| {
            self.life().pass(Duration::from_secs(3600));
            self.life().is_quiet()
        })
    }

    /// All receivers are well and all endpoints enabled, and everything comes to an end.
    pub fn end(mut self) -> Played {
        if !self.is_broken() {
            self.note("-- all are well");
            for (_, id) in self.endpoints.clone() {
                self.receivers.set(id, Mood::Well);
                let old = self.life().store.snapshot().endpoint(id).cloned().expect("is there");
                self.alter("well", &old, switched(&old, true));
                if !old.enabled {
                    self.books.lock().rest.renewed(id);
                }
            }
            self.let_through();
            let first = self.comes_to_rest();
            // What died and was not settled yet is by now.
            self.revive();
            let quiet = first && self.comes_to_rest();
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
}
