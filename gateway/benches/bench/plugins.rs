//! What plugins cost, and whom: a call in this process, without a gateway around it; 500 applications of a gateway with a
//! plugin of their own; one that is replaced under load; and one that does nothing but harm beside an application that
//! works.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use octohooks::clock;
use octohooks::model::application::Application;
use octohooks::model::catalog::{Change, Tenant};
use octohooks::model::id::{ApplicationId, EnvironmentId, MessageId};
use octohooks::model::message::{Attributes, Message};
use octohooks::model::name::EventType;
use octohooks::plugin::{Cache, Call, Host, Loaded, Options, Settings};
use octohooks::store::sqlite::Sqlite;
use octohooks::store::vault::Master;
use octohooks::store::{Catalog, Limits};
use serde_json::Map;

use super::histogram::Histogram;
use super::neighbours;
use super::scenario::Plan;
use super::subject::Launch;

/// One line of the result.
pub(crate) struct Figure {
    pub(crate) key: &'static str,
    pub(crate) label: String,
    pub(crate) value: Option<f64>,
    pub(crate) decimals: usize,
}

/// Everything about plugins.
pub(crate) struct Plugins {
    pub(crate) figures: Vec<Figure>,
    /// The larger of the ratios of others' p99 beside a plugin that does harm.
    pub(crate) harm: Option<f64>,
    /// Deliveries that were lost or doubled while a plugin was replaced.
    pub(crate) wrong: u64,
}

pub(crate) fn figure(
    key: &'static str,
    label: impl Into<String>,
    decimals: usize,
    value: Option<f64>,
) -> Figure {
    Figure { key, label: label.into(), value, decimals }
}

/// Measures all of it, with that many distinct plugins.
pub(crate) async fn measure(count: usize, plan: &Plan, launch: &Launch) -> Result<Plugins> {
    let component = std::fs::read(&launch.plugin)
        .with_context(|| format!("reading {}", launch.plugin.display()))?;
    let distinct: Vec<_> = (0..count).map(|n| variant(&component, n)).collect();
    let many = neighbours::upload_many(&distinct, launch).await.context("many plugins")?;
    let store = many.store.path().join("store");
    let calls = tokio::task::spawn_blocking(move || in_process(&distinct, &store)).await??;
    let swap = neighbours::swap(&component, plan, launch).await.context("swap under load")?;
    let (harm, mut ratios) =
        neighbours::harm(plan, launch).await.context("beside a plugin that does harm")?;
    let mut figures = calls;
    figures.extend(many.figures);
    figures.extend(swap.figures);
    figures.append(&mut ratios);
    Ok(Plugins { figures, harm, wrong: swap.wrong })
}

/// The component with a section that says nothing, so that its digest is its own.
pub(crate) fn variant(component: &[u8], number: usize) -> Vec<u8> {
    let text = format!("\u{5}bench{number:08}");
    let mut bytes = component.to_vec();
    // A custom section: its id, the length of what follows, and its name with a length before.
    bytes.extend([0, u8::try_from(text.len()).unwrap_or(u8::MAX)]);
    bytes.extend(text.as_bytes());
    bytes
}

/// Calls in this process. The code was compiled by the gateway whose store that is.
fn in_process(distinct: &[Vec<u8>], store: &Path) -> Result<Vec<Figure>> {
    let cores = std::thread::available_parallelism()?.get();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(cores).enable_time().build()?;
    let key = std::fs::read(store.join("compiled.key"))?;
    let key = key.try_into().map_err(|_| anyhow!("a key of another length"))?;
    let cache = Cache::new(store.join("compiled"), key);
    let host = Host::new(Options::default(), Some(cache))?;
    let loaded = distinct.iter().map(|bytes| host.load(bytes)).collect::<Result<Vec<_>, _>>()?;
    let scratch = store.parent().unwrap_or(store);
    let tenants = runtime.block_on(tenants(scratch, cores * 4))?;
    let (one, all) = (&loaded[..1], &loaded[..]);
    let alone = runtime.block_on(alone(&host, &one[0], &tenants[0]))?;
    let rate = |of: &[Arc<Loaded>]| runtime.block_on(together(&host, of, &tenants));
    let (of_one, of_all) = (rate(one)?, rate(all)?);
    let micros = |q: f64| alone.quantile_ms(q).map(|ms| ms * 1000.0);
    let count = distinct.len();
    Ok(vec![
        figure("callP50Micros", "a call, 1 KiB of JSON, p50 µs", 1, micros(0.5)),
        figure("callP99Micros", "a call, 1 KiB of JSON, p99 µs", 1, micros(0.99)),
        figure("callsPerSecond", "calls/s of one plugin", 0, Some(of_one)),
        figure("callsPerSecondOfMany", format!("calls/s of {count} plugins"), 0, Some(of_all)),
    ])
}

/// How many calls are timed one by one, and how long they are counted.
const TIMED: usize = 20_000;
const COUNTED: Duration = Duration::from_secs(2);

/// One after another.
async fn alone(host: &Host, loaded: &Loaded, tenant: &Arc<Tenant>) -> Result<Histogram> {
    let mut times = Histogram::default();
    for n in 0..TIMED + TIMED / 10 {
        let call = call(tenant)?;
        let start = Instant::now();
        host.call(loaded, call).await.result?;
        if n >= TIMED / 10 {
            times.record(start.elapsed());
        }
    }
    Ok(times)
}

/// As many a second as there can be, of these plugins in turn.
async fn together(host: &Host, plugins: &[Arc<Loaded>], tenants: &[Arc<Tenant>]) -> Result<f64> {
    let until = Instant::now() + COUNTED;
    let callers = tenants.iter().enumerate().map(|(n, tenant)| {
        let (host, tenant, plugins) = (host.clone(), tenant.clone(), plugins.to_vec());
        tokio::spawn(async move {
            let mut made = 0;
            while Instant::now() < until {
                let plugin = &plugins[(n * 7919 + made) % plugins.len()];
                host.call(plugin, call(&tenant)?).await.result?;
                made += 1;
            }
            anyhow::Ok(made)
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut made = 0;
    for caller in callers {
        made += caller.await??;
    }
    Ok(made as f64 / COUNTED.as_secs_f64())
}

/// A status report as the load has them.
fn call(tenant: &Arc<Tenant>) -> Result<Call> {
    let text = "x".repeat(900);
    let payload = format!(
        r#"{{"messageId":"m-1","to":"+46701234567","status":"DELIVRD","internalRoute":"r","text":"{text}"}}"#
    );
    let message = Message {
        environment: tenant.application.environment,
        application: tenant.application.id,
        id: MessageId(clock::id()),
        uid: None,
        event_type: EventType::new("sms.status").map_err(|bad| anyhow!("{bad:?}"))?,
        channels: Vec::new(),
        payload: payload.into(),
        attributes: Attributes::new(),
        accepted: clock::now(),
        content_until: None,
        deliver_at: None,
        expires_at: None,
        ordering_key: None,
    };
    let settings = Arc::new(Settings::from(Map::new()));
    Ok(Call {
        message: Arc::new(message),
        tenant: tenant.clone(),
        settings,
        content_type: None,
        effects: true,
    })
}

/// So many applications, as a catalog has them.
async fn tenants(scratch: &Path, count: usize) -> Result<Vec<Arc<Tenant>>> {
    let directory = tempfile::Builder::new().prefix("bench-tenants-").tempdir_in(scratch)?;
    let master = Master::new(None, directory.path());
    let store =
        Sqlite::open(directory.path(), Limits::default(), &master).map_err(|line| anyhow!(line))?;
    for n in 0..count {
        let application = Application {
            environment: EnvironmentId::DEFAULT,
            id: ApplicationId(clock::id()),
            uid: None,
            name: format!("bench {n}"),
            retry: None,
            rate_limit: None,
            declared: false,
            revision: 1,
            created: 1,
            updated: 1,
        };
        store.change(Change::PutApplication(application)).await?;
    }
    let tenants = store.snapshot().tenants().cloned().collect();
    store.close();
    Ok(tenants)
}
