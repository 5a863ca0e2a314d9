//! The composition root: the only place that names concrete engines. Starts the stages in the order that a message meets
//! them in reverse, so that nothing is accepted before it can go on, and stops them in order, so that what is under
//! way ends.

use crate::{
    api::{self, Api, Checks, openapi::Document},
    clock,
    config::{Config, Server},
    declared::{self, Reconciler},
    deliver::{
        Deliver,
        client::{Client, Sockets, dial::Tcp},
        guard::Guard,
        guests::Guests,
        wires::Wires,
    },
    descriptors::Descriptors,
    dispatch::Dispatcher,
    ingest::{
        self,
        accept::Acceptor,
        http::{BatchBytes, Door},
    },
    model::{
        catalog::{Change, Snapshot},
        id::EnvironmentId,
        key::Scope,
    },
    observe,
    plugin::Registry,
    recover::Recoverer,
    retention::Keeper,
    store::{Catalog, Log, Queue, Recovery, sqlite::Sqlite, vault::Master},
    trials::{Trials, simulate::Simulator},
    web::{
        self,
        auth::{Fixed, Keys, hash},
        new_key::NewKey,
        once::{Repeats, once},
        serve::Limits,
        shape,
    },
};
use anyhow::{Context, anyhow};
use axum::{
    Router,
    middleware::{from_fn_with_state, map_response},
};
use doors::Connections;
use metrics_exporter_prometheus::PrometheusHandle;
use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use stop::Signals;
use tokio::{
    net::TcpListener,
    runtime::{Handle, Runtime},
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use utoipa::OpenApi;

mod chores;
mod doors;
mod outside;
mod parts;
mod plugins;
mod stop;

pub use crate::plugin::serve as compile_component;

/// How long requests under way may take to end, however long attempts took.
const LAST: Duration = Duration::from_secs(1);

/// How long threads may take to end once everything is done.
const LINGER: Duration = Duration::from_millis(200);

/// How long an answer may wait for its receiver to take more of it.
const UNREAD: Duration = Duration::from_secs(30);

/// A limit on the size of files was reached. The same number on every Linux but MIPS.
const SIGXFSZ: i32 = 25;

/// Reads the configuration again.
pub type Reload = Box<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// Why a gateway did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration cannot be used: a line for the operator.
    #[error("{0}")]
    Config(String),
    /// A second signal, of that number, came before everything under way had ended.
    #[error("stopped at once by a second signal: what was under way goes on at the next start")]
    Interrupted(u8),
    /// Anything else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

/// A gateway, assembled and not yet running.
pub struct App {
    config: Config,
    store: Arc<Sqlite>,
    deliver: Arc<Deliver>,
    dispatcher: Arc<Dispatcher>,
    recoverer: Arc<Recoverer>,
    keeper: Keeper,
    reconciler: Reconciler,
    router: Router,
    metrics: PrometheusHandle,
    stopping: Arc<AtomicBool>,
    connections: usize,
    doors: Vec<ingest::nats::Door>,
}

impl App {
    /// Runs until told to stop (SIGTERM or SIGINT), then drains. On SIGHUP, what the configuration declares is read again.
    pub fn run(config: Config, reload: Reload) -> Result<(), Failure> {
        let guests = tokio::runtime::Builder::new_multi_thread()
            .thread_name("plugin")
            // A message that comes is next, and not one of those that compute for long.
            .global_queue_interval(1)
            .worker_threads(std::thread::available_parallelism().map_or(2, usize::from))
            .enable_time()
            .build()
            .context("the plugins' runtime")?;
        let main = Runtime::new().context("the main runtime")?;
        let served = main.block_on(async {
            let app = Self::assemble(config, guests.handle().clone()).await?;
            app.serve(reload).await
        });
        guests.shutdown_timeout(LINGER);
        main.shutdown_timeout(LINGER);
        served
    }

    async fn assemble(config: Config, guests: Handle) -> Result<Self, Failure> {
        let metrics = observe::metrics::start().map_err(|line| anyhow!(line))?;
        let _installed = rustls::crypto::ring::default_provider().install_default();
        // A file that may not grow is an error of the write from now on, and not the process's end.
        let _handled = signal(SignalKind::from_raw(SIGXFSZ));
        // What is wrong with the configuration is said before the store is opened, and perhaps a master key made.
        let descriptors = Descriptors::raise().map_err(Failure::Config)?;
        let (host, outside) = plugins::host(&config, &guests)?;
        let nats = Connections::open(&config).await?;
        let master = Master::new(config.data.master_key.clone(), &config.data.dir);
        let limits = plugins::limits(&config);
        let store = Sqlite::open(&config.data.dir, limits, &master)
            .map_err(|line| anyhow!("the store: {line}"))?;
        let (queue, catalog, log): (Arc<dyn Queue>, Arc<dyn Catalog>, Arc<dyn Log>) =
            (store.clone(), store.clone(), store.clone());
        let recovery: Arc<dyn Recovery> = store.clone();
        let recoverer = Recoverer::new(catalog.clone(), recovery.clone());
        let keeper = keeper(&config, &store);
        let registry = Arc::new(Registry::default());
        let guard = Guard::new(config.guard.clone());
        let sockets = Sockets { all: descriptors.requests, idle: descriptors.idle };
        let http = Client::new(guard.clone(), &config.delivery, sockets, Arc::new(Tcp))
            .map_err(Failure::Config)?;
        outside.open(store.clone(), store.clone(), http.clone(), Handle::current());
        declared::environments(&*catalog, &config.environments).await.map_err(Failure::Config)?;
        let subjects = doors::subjects(nats.is_some(), &config, &catalog.snapshot());
        let publisher = doors::publisher(&nats, &config, &catalog.snapshot(), &subjects);
        let check_name = doors::check_name(http.clone());
        let wires = Wires::Real { http, nats: publisher };
        let delivery = config.delivery.clone();
        let trials = Arc::new(Trials::default());
        let endpoint_plugins =
            Guests::new(catalog.clone(), &host, &registry, &trials, guests.clone());
        let deliver = Deliver::new(
            queue.clone(),
            catalog.clone(),
            (wires, endpoint_plugins),
            delivery,
            // A look-up has two sockets: who waits for names takes none from those who do not.
            descriptors.requests / 2,
        );
        let simulator = Simulator::new(&host, &registry, &catalog, &log, guests.clone());
        let dispatcher =
            Dispatcher::new(queue.clone(), catalog.clone(), &host, &registry, &trials, guests);
        let check_url = doors::check_url(subjects, guard);
        let reconciler = Reconciler {
            catalog: catalog.clone(),
            host: host.clone(),
            registry: registry.clone(),
            check_url: check_url.clone(),
        };
        let stopping = Arc::new(AtomicBool::new(false));
        let keys = Keys::new(catalog.clone(), fixed_keys(&config, &catalog.snapshot()));
        let acceptor = Acceptor::new(queue.clone(), catalog.clone(), config.ingest.payload_bytes);
        let doors = match &nats {
            Some(nats) => nats.doors(&config, &acceptor, &catalog.snapshot())?,
            None => Vec::new(),
        };
        let parts = parts::parts(&deliver, nats, &stopping);
        let batch = BatchBytes(config.ingest.batch_bytes);
        let door = Door { acceptor, keys: keys.clone(), batch };
        let limits = door.limits();
        let repeats = Repeats::new(store.clone(), keys.clone(), limits);
        let document =
            Document::new(ingest::http::Calls::openapi()).context("the API's document")?;
        let api = Api {
            catalog,
            log,
            recovery,
            retention: store.clone(),
            queue,
            keys,
            host,
            registry,
            trials,
            simulator,
            checks: Checks { url: check_url, name: check_name },
            metrics,
            parts,
            document,
        };
        let metrics = api.metrics.clone();
        let router = router(api, door, repeats, &stopping);
        let connections = descriptors.connections;
        Ok(Self {
            config,
            store,
            deliver,
            dispatcher,
            recoverer,
            keeper,
            reconciler,
            router,
            metrics,
            stopping,
            connections,
            doors,
        })
    }

    /// Serves until the first signal, and drains; a second one ends that.
    async fn serve(self, reload: Reload) -> Result<(), Failure> {
        let (signals, mut others) = (stopping_signals()?, stopping_signals()?);
        let second = async {
            others.next().await;
            others.next().await
        };
        tokio::select! {
            ended = self.serve_and_drain(signals, reload) => ended,
            number = second => Err(Failure::Interrupted(number)),
        }
    }

    async fn serve_and_drain(self, mut signals: Signals, reload: Reload) -> Result<(), Failure> {
        let Server { listen, body_timeout_ms, drain_ms } = self.config.server;
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}"))?;
        if self.config.auth.api_key.is_none() && !self.store.snapshot().has_keys() {
            make_key(&*self.store).await?;
        }
        let declared = self.reconciler.reconcile(&self.config.applications).await;
        declared.map_err(Failure::Config)?;
        let measuring = tokio::spawn(observe::metrics::keep_up(self.metrics));
        let delivering = tokio::spawn(self.deliver.clone().run());
        let dispatching = tokio::spawn(self.dispatcher.clone().run());
        let cleaning = tokio::spawn(chores::remove_expired(self.store.clone()));
        let (host, registry) = (self.reconciler.host.clone(), self.reconciler.registry.clone());
        let forgetting = tokio::spawn(chores::forget_compiled(self.store.clone(), host, registry));
        let recovering = tokio::spawn(self.recoverer.run());
        let keeping = tokio::spawn(self.keeper.run());
        let reconciling = tokio::spawn(reconcile_on_hangup(self.reconciler, reload));
        let address = listener.local_addr().context("the address listened on")?;
        tracing::info!(listen = %address, data = %self.config.data.dir.display(), "ready");

        let (stop, stopped) = watch::channel(());
        let listening: JoinSet<()> =
            self.doors.into_iter().map(|door| door.run(end_of(stopped.clone()))).collect();
        let drain = Duration::from_millis(drain_ms);
        let (body, connections) = (Duration::from_millis(body_timeout_ms), self.connections);
        let limits = Limits { connections, body, write: UNREAD };
        let (deliver, stopping) = (self.deliver, self.stopping);
        // Meanwhile senders are told, instead of finding nobody.
        let drained = async {
            signals.next().await;
            stopping.store(true, Ordering::Relaxed);
            tracing::info!("stopping: no new messages, what is under way ends");
            let until = clock::instant() + drain;
            drop(stop);
            let doors = tokio::time::timeout(drain, listening.join_all());
            let (_in_time, left) = tokio::join!(doors, deliver.drain(drain));
            tracing::info!(left, "attempts have ended");
            until.saturating_duration_since(clock::instant()).max(LAST)
        };
        web::serve::serve(listener, self.router, drained, limits).await;

        // What is not done within the limit is done at the next start.
        recovering.abort();
        keeping.abort();
        reconciling.abort();
        measuring.abort();
        cleaning.abort();
        forgetting.abort();
        let _flushed = self.store.flush().await;
        let store = self.store;
        let closed = tokio::task::spawn_blocking(move || store.close()).await;
        closed.context("the store did not close")?;
        dispatching.abort();
        delivering.abort();
        tracing::info!("stopped");
        Ok(())
    }
}

/// Waits until whoever holds the other end drops it.
async fn end_of(mut stopped: watch::Receiver<()>) {
    let _dropped = stopped.changed().await;
}

fn keeper(config: &Config, store: &Arc<Sqlite>) -> Keeper {
    let own = config.environments.iter();
    let own = own.filter_map(|one| Some((one.name.to_string(), one.retention?))).collect();
    Keeper::new(store.clone(), store.clone(), store.clone(), config.retention, own)
}

/// The keys that the configuration fixes, each with the environment it opens.
fn fixed_keys(config: &Config, catalog: &Snapshot) -> Fixed {
    let own = config.auth.api_key.iter().map(|key| (hash(key), EnvironmentId::DEFAULT));
    let others = config.environments.iter().filter_map(|environment| {
        Some((hash(&environment.api_key), catalog.environment(&environment.name)?))
    });
    Fixed {
        root: config.auth.root_key.as_deref().map(hash),
        environments: own.chain(others).collect(),
    }
}

fn router(api: Api, door: Door, repeats: Repeats, stopping: &Arc<AtomicBool>) -> Router {
    let routes = api::router(api.clone())
        .merge(ingest::http::router(door))
        .fallback(shape::no_route)
        .method_not_allowed_fallback(shape::no_method)
        .layer(from_fn_with_state(repeats, once))
        .layer(from_fn_with_state(stopping.clone(), stop::refuse))
        .layer(map_response(shape::shaped));
    Router::new()
        .nest("/api/v1", web::cors::open(routes))
        .merge(api::watch_router(api))
        .fallback(shape::no_route)
        .method_not_allowed_fallback(shape::no_method)
}

/// A file that cannot be used changes nothing: the gateway goes on with what it had.
async fn reconcile_on_hangup(reconciler: Reconciler, reload: Reload) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        let reconciled = match reload() {
            Ok(config) => reconciler.reconcile(&config.applications).await,
            Err(line) => Err(line),
        };
        match reconciled {
            Ok(changes) => tracing::info!(changes, "declared applications were read again"),
            Err(line) => tracing::error!(line, "declared applications cannot be used"),
        }
    }
}

fn stopping_signals() -> Result<Signals, Failure> {
    Ok(Signals::listen().context("cannot listen to signals")?)
}

/// Makes the first key, prints it this once, and keeps its hash: one that nobody could read would lock everybody out.
async fn make_key(catalog: &dyn Catalog) -> anyhow::Result<()> {
    let (environment, name) = (EnvironmentId::DEFAULT, "made at the first start".to_owned());
    let (key, text) = NewKey { environment, name, scope: Scope::Admin, expires: None }.make();
    // To whoever starts the gateway, and never to a log.
    let line = format!("API key of the default environment, shown only now: {text}\n");
    let mut out = io::stdout().lock();
    let shown = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    drop(out);
    shown.context("the first API key cannot be shown on the standard output, so none is made")?;
    catalog.change(Change::PutKey(key)).await?;
    Ok(())
}
