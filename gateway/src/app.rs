//! The composition root: the only place that names concrete engines. Starts the stages in the order that a message meets
//! them in reverse, so that nothing is accepted before it can go on, and stops them in order, so that what is under
//! way ends.

use crate::{
    api::{self, Api, health::Parts},
    clock,
    config::Config,
    deliver::{Deliver, client::Client, guard::Guard},
    dispatch::Dispatcher,
    ingest::{self, accept::Acceptor, http::Door},
    model::{
        catalog::{Change, Key},
        id::{EnvironmentId, KeyId},
    },
    observe,
    plugin::{Cache, Host, Registry},
    store::{Catalog, Log, Queue, sqlite::Sqlite},
    web::auth::{Keys, hash},
};
use anyhow::{Context, anyhow};
use axum::Router;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, runtime::Runtime};
use tower_http::cors::CorsLayer;

/// A gateway.
#[derive(Debug)]
pub struct App;

impl App {
    /// Runs until told to stop (SIGTERM or SIGINT), then drains.
    pub fn run(config: Config) -> anyhow::Result<()> {
        let guests = tokio::runtime::Builder::new_multi_thread()
            .thread_name("plugin")
            .worker_threads(std::thread::available_parallelism().map_or(2, usize::from))
            .enable_time()
            .build()?;
        let main = Runtime::new()?;
        let served = main.block_on(serve(config, &guests));
        guests.shutdown_timeout(Duration::from_millis(200));
        main.shutdown_timeout(Duration::from_millis(200));
        served
    }
}

async fn serve(config: Config, guests: &Runtime) -> anyhow::Result<()> {
    let metrics = observe::metrics::start().map_err(|line| anyhow!(line))?;
    let _provider = rustls::crypto::ring::default_provider().install_default();
    let store =
        Sqlite::open(&config.data.dir, config.data.max_bytes).map_err(|line| anyhow!(line))?;
    let (queue, catalog, log): (Arc<dyn Queue>, Arc<dyn Catalog>, Arc<dyn Log>) =
        (store.clone(), store.clone(), store.clone());
    let cache = Cache {
        directory: config.data.dir.join("compiled"),
        key: cache_key(&config.data.dir).context("the key of compiled plugins")?,
    };
    let host = Host::new(config.plugins.clone(), Some(cache))?;
    let registry = Arc::new(Registry::default());
    let guard = Guard::new(&config.guard.allow);
    let client = Client::new(
        guard.clone(),
        Duration::from_millis(config.delivery.connect_timeout_ms),
        Duration::from_millis(config.delivery.timeout_ms),
    )?;
    if config.auth.api_key.is_none() && !catalog.snapshot().has_keys() {
        make_key(&catalog).await?;
    }

    let deliver = Deliver::new(queue.clone(), catalog.clone(), client, config.delivery.clone());
    let delivering = tokio::spawn(deliver.clone().run());
    let dispatcher = Dispatcher::new(
        queue.clone(),
        catalog.clone(),
        host.clone(),
        registry.clone(),
        guests.handle().clone(),
    );
    let dispatching = tokio::spawn(dispatcher.run());

    let stopping = Arc::new(AtomicBool::new(false));
    let keys = Keys::new(catalog.clone(), config.auth.api_key.as_deref());
    let acceptor = Acceptor::new(queue.clone(), catalog.clone(), config.ingest.payload_bytes);
    let api = Api {
        catalog,
        log,
        queue: queue.clone(),
        keys: keys.clone(),
        host,
        registry,
        check_url: Arc::new(move |url| guard.check_url(url).map_err(|refusal| refusal.to_string())),
        metrics,
        parts: Parts {
            lanes: Arc::new({
                let deliver = deliver.clone();
                move || deliver.depths()
            }),
            stopping: Arc::new({
                let stopping = stopping.clone();
                move || stopping.load(Ordering::Relaxed)
            }),
        },
    };
    let routes = api::router(api.clone()).merge(ingest::http::router(Door { acceptor, keys }));
    let router = Router::new()
        .nest("/api/v1", routes.layer(CorsLayer::permissive()))
        .merge(api::watch_router(api));
    let listener = TcpListener::bind(config.server.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.server.listen))?;
    tracing::info!(listen = %listener.local_addr()?, data = %config.data.dir.display(), "ready");

    let limit = Duration::from_millis(config.server.drain_ms);
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop_signal(stopping));
    let serving = tokio::spawn(serving.into_future());
    serve_until_stopped(serving, limit).await?;

    // What is not done within the limit is done at the next start.
    let left = deliver.drain(limit).await;
    let _flushed = queue.flush().await;
    tokio::task::spawn_blocking(move || store.close()).await?;
    dispatching.abort();
    delivering.abort();
    tracing::info!(left, "stopped");
    Ok(())
}

async fn serve_until_stopped(
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    limit: Duration,
) -> anyhow::Result<()> {
    let stop = async {
        stop_signal(Arc::new(AtomicBool::new(false))).await;
        tokio::time::sleep(limit).await;
    };
    tokio::select! {
        served = serving => Ok(served??),
        // Somebody keeps a connection open: its request was never whole, so nothing was promised.
        () = stop => Ok(()),
    }
}

async fn stop_signal(stopping: Arc<AtomicBool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    stopping.store(true, Ordering::Relaxed);
    tracing::info!("stopping: no new messages, what is under way ends");
}

/// Makes the first key, keeps its hash, and prints it this once.
async fn make_key(catalog: &Arc<dyn Catalog>) -> anyhow::Result<()> {
    let text = format!("key_{}", hex::encode(clock::random_bytes()));
    let key =
        Key { id: KeyId(clock::id()), environment: EnvironmentId::DEFAULT, hash: hash(&text) };
    catalog.change(Change::PutKey(key)).await?;
    print_key(&text);
    Ok(())
}

#[allow(
    clippy::print_stdout,
    reason = "shown once, to whoever starts the gateway, and never in a log"
)]
fn print_key(text: &str) {
    println!("API key of the default environment, shown only now: {text}");
}

/// The key that authenticates compiled plugins: random, made once, readable by the owner only.
fn cache_key(directory: &Path) -> anyhow::Result<[u8; 32]> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let path = directory.join("compiled.key");
    if let Ok(bytes) = std::fs::read(&path)
        && let Ok(key) = bytes.try_into()
    {
        return Ok(key);
    }
    let key = clock::random_bytes();
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}
