//! The contract of the ports: what an engine does, whatever it is made of. Written against [`Queue`], [`Catalog`],
//! [`Log`] and [`Recovery`] alone, and run on every engine: SQLite in a real file, and the one in memory.
//!
//! That something does *not* come is shown by what comes instead: a sentinel that was handed over after it. Times are
//! compared, never measured; the bound of [`soon`] only stops a hang.

use super::{
    Accepted, Answers, Catalog, Cause, Depths, Dispatched, KeyValue, LeasedMessage, Limits, Log,
    MessageFilter, MessageRecord, Page, Queue, Recovery, Retention, Settlement, StoreError,
    Submission, memory::Memory, sqlite::Sqlite, vault::Master,
};
use crate::model::{
    application::Application,
    attempt::{Answer, Attempt, Outcome},
    catalog::{Change, Tenant},
    delivery::{Delivery, DeliveryKey, Next},
    endpoint::Endpoint,
    environment::Environment,
    failure::Failure,
    id::{ApplicationId, EndpointId, EnvironmentId},
    message::{Held, Message, Sequence},
    name::EnvironmentName,
    sample,
};
use std::{future::Future, sync::Arc, time::Duration};

mod catalog;
mod dead_letters;
mod deliveries;
mod grants;
mod health;
mod held;
mod keyvalue;
mod keys;
mod log;
mod messages;
mod operations;
mod recovery;
mod scheduled;
mod search;
mod trials;

/// Runs these tests on every engine.
macro_rules! on_every_engine {
    ($($name:ident,)*) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::Store::sqlite()).await;
            })*
        }
        mod in_memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::Store::memory()).await;
            })*
        }
    };
}
use on_every_engine;

/// An engine behind its ports, closed at the end.
pub struct Store {
    pub queue: Arc<dyn Queue>,
    pub catalog: Arc<dyn Catalog>,
    pub log: Arc<dyn Log>,
    pub recovery: Arc<dyn Recovery>,
    pub answers: Arc<dyn Answers>,
    pub retention: Arc<dyn Retention>,
    pub values: Arc<dyn KeyValue>,
    close: Box<dyn Fn() + Send + Sync>,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

/// Waits for what must come.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("comes")
}

/// An attempt that was answered with that status.
pub fn attempt(number: u32, status: u16) -> Attempt {
    let headers = "content-type: text/plain\n".to_owned();
    let answer = Answer { status, retry_after: None, headers, body: b"a body".to_vec() };
    let outcome = Outcome::Answered(answer);
    Attempt { number, at: 2_000, latency: 30, revision: Some(1), outcome }
}

/// A message's first delivery to that endpoint.
pub fn delivery(leased: &LeasedMessage, endpoint: EndpointId) -> Delivery {
    Delivery {
        key: DeliveryKey { message: leased.sequence, ordinal: 0, endpoint },
        message: leased.message.clone(),
        content: None,
        plugin: None,
        attempts: 0,
        spent: 0,
        due: 0,
    }
}

impl Store {
    /// SQLite in a file of its own.
    pub fn sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let master = Master::new(None, directory.path());
        let engine = Sqlite::open(directory.path(), Limits::default(), &master).expect("opens");
        Self::over(engine, move |engine| {
            engine.close();
            assert!(directory.path().exists(), "the directory is kept until here");
        })
    }

    /// The engine in memory.
    pub fn memory() -> Self {
        Self::over(Memory::new(), Memory::close)
    }

    /// That engine.
    pub fn over<E: Queue + Catalog + Log + Recovery + Answers + Retention + KeyValue>(
        engine: Arc<E>,
        close: impl Fn(&E) + Send + Sync + 'static,
    ) -> Self {
        Self {
            queue: engine.clone(),
            catalog: engine.clone(),
            log: engine.clone(),
            recovery: engine.clone(),
            answers: engine.clone(),
            retention: engine.clone(),
            values: engine.clone(),
            close: Box::new(move || close(&engine)),
        }
    }

    pub fn close(&self) {
        (self.close)();
    }

    pub async fn change(&self, change: Change) {
        soon(self.catalog.change(change)).await.expect("is changed");
    }

    /// A new environment.
    pub async fn environment(&self, name: &str) -> Environment {
        let id = self.catalog.snapshot().free_environment();
        let name = EnvironmentName::new(name).expect("legal");
        let environment = Environment::new(id, name, 1);
        self.change(Change::PutEnvironment(environment.clone())).await;
        environment
    }

    /// A new application with that many endpoints.
    pub async fn tenant(&self, endpoints: usize) -> Tenant {
        let tenant = sample::tenant(endpoints);
        self.change(Change::PutApplication(tenant.application.clone())).await;
        for endpoint in tenant.endpoints.values() {
            self.change(Change::PutEndpoint(Endpoint::clone(endpoint))).await;
        }
        tenant
    }

    /// Accepts these in one batch.
    pub async fn accept(&self, messages: impl IntoIterator<Item = Message>) -> Vec<Accepted> {
        self.submit(messages.into_iter().map(|message| Arc::new(message).into())).await
    }

    /// The same with idempotency keys.
    pub async fn submit(&self, batch: impl IntoIterator<Item = Submission>) -> Vec<Accepted> {
        let batch = batch.into_iter().collect();
        soon(self.queue.accept(batch)).await.expect("are accepted")
    }

    /// Leases that many messages.
    pub async fn lease(&self, count: usize) -> Vec<LeasedMessage> {
        let mut leased = Vec::new();
        while leased.len() < count {
            let next = self.queue.next_messages(count - leased.len());
            leased.extend(soon(next).await.expect("are leased"));
        }
        leased
    }

    /// Accepts and leases that many messages of the tenant.
    pub async fn leased(&self, tenant: &Tenant, count: usize) -> Vec<LeasedMessage> {
        let id = tenant.application.id;
        self.accept((0..count).map(|_| sample::message(id))).await;
        self.lease(count).await
    }

    /// Ends a message's lease with these deliveries.
    pub fn dispatch(&self, leased: &LeasedMessage, deliveries: Vec<Delivery>) {
        let deliveries = deliveries.into_iter().map(Arc::new).collect();
        self.queue.dispatched(leased.clone(), Dispatched::Deliveries(deliveries));
    }

    pub fn hold(&self, leased: &LeasedMessage, held: Held) {
        self.queue.dispatched(leased.clone(), Dispatched::Held(held, None));
    }

    /// The tenant's plugins as they are now, on one of which a message failed.
    pub fn cause(&self, tenant: &Tenant, failure: Option<Failure>) -> Option<Box<Cause>> {
        let tenant = self.catalog.snapshot().tenant(tenant.application.id).cloned();
        tenant.map(|tenant| Box::new(Cause { tenant, failure }))
    }

    /// Leases that many deliveries.
    pub async fn take(&self, count: usize) -> Vec<Arc<Delivery>> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let next = self.queue.next_deliveries(count - taken.len());
            taken.extend(soon(next).await.expect("are leased"));
        }
        taken
    }

    /// Accepts a message for each count, makes its delivery to that endpoint and leases it.
    pub async fn deliveries(
        &self,
        tenant: &Tenant,
        endpoint: EndpointId,
        count: usize,
    ) -> Vec<Arc<Delivery>> {
        for leased in self.leased(tenant, count).await {
            let delivery = delivery(&leased, endpoint);
            self.dispatch(&leased, vec![delivery]);
        }
        self.take(count).await
    }

    /// Settles with an attempt that was answered with that status.
    pub fn settle(&self, delivery: &Arc<Delivery>, status: u16, next: Next) {
        let attempt = Some(attempt(delivery.attempts + 1, status));
        let delivery = delivery.clone();
        self.queue.settle(Settlement { delivery, attempt, next, notice: None });
    }

    /// A page of the application's messages.
    pub async fn page(
        &self,
        application: ApplicationId,
        filter: MessageFilter,
        limit: usize,
    ) -> Page<MessageRecord, Sequence> {
        let page = self.log.messages(EnvironmentId::DEFAULT, application, filter, limit);
        soon(page).await.expect("reads")
    }

    pub async fn flush(&self) {
        soon(self.queue.flush()).await.expect("is flushed");
    }

    /// The states of the message's deliveries once everything handed over is durable.
    pub async fn records(&self, message: Sequence) -> Vec<super::DeliveryRecord> {
        self.flush().await;
        soon(self.log.deliveries(message)).await.expect("reads")
    }

    /// How much waits where once everything handed over is durable.
    pub async fn depths(&self) -> Depths {
        self.flush().await;
        self.queue.depths()
    }

    /// Nothing is there to be leased: of what is handed over from now on, the first comes first.
    pub async fn assert_nothing_comes(&self) {
        self.flush().await;
        let sentinel = self.tenant(1).await;
        let endpoint = first_endpoint(&sentinel);
        let id = sentinel.application.id;
        self.accept([sample::message(id)]).await;
        let leased = soon(self.queue.next_messages(100)).await.expect("is leased");
        let of: Vec<_> = leased.iter().map(|leased| leased.message.application).collect();
        assert_eq!(of, [id], "another message came");
        self.dispatch(&leased[0], vec![delivery(&leased[0], endpoint)]);
        let taken = soon(self.queue.next_deliveries(100)).await.expect("is leased");
        let to: Vec<_> = taken.iter().map(|delivery| delivery.key.endpoint).collect();
        assert_eq!(to, [endpoint], "another delivery came");
        self.settle(&taken[0], 200, Next::Delivered);
        self.flush().await;
    }
}

/// The tenant's first endpoint.
pub fn first_endpoint(tenant: &Tenant) -> EndpointId {
    *tenant.endpoints.keys().next().expect("has one")
}

/// The endpoint, disabled.
pub fn disabled(tenant: &Tenant, endpoint: EndpointId) -> Change {
    let endpoint = Endpoint::clone(&tenant.endpoints[&endpoint]);
    let revision = endpoint.revision + 1;
    Change::PutEndpoint(Endpoint { enabled: false, revision, ..endpoint })
}
