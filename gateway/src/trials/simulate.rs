//! Simulations: a version of a plugin on a given message, or on those that an application has had, beside the active one.
//! Nothing is sent, nothing is stored.
//!
//! Each version is called as `dispatch` calls it, under the same limits and in the application's turns, one call at a time:
//! live messages keep their places. A second call of each counts the fuel, by an engine that is made for it; one that did
//! not answer is not made twice. What is compared is this plugin's verdict on the message as it came: other plugins of
//! the application are not called.

use super::{
    Busy, NoPlace,
    compare::{self, Ran},
    report::{Report, Totals},
    shown::Comparison,
};
use crate::{
    clock,
    model::{
        catalog::Tenant,
        id::{ApplicationId, Digest},
        message::{Message, Sequence},
        name::{Channel, EventType},
        plugin::Plugin,
    },
    plugin::{Call, CallFailure, Host, Loaded, Registry, Settings},
    store::{Catalog, Log, MessageFilter, StoreError},
};
use serde_json::{Map, Value};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, task::JoinSet, time::timeout_at};

/// How long a simulation may take, once both versions are loaded: whoever asks waits for it.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);
/// How many simulations may be under way.
const SIMULATIONS: usize = 2;
/// How many messages are read at once.
const PAGE: usize = 50;
/// Bytes of all comparisons together: what is more is counted only.
const BYTES: usize = 1 << 20;
/// How many components stay loaded that count their fuel.
const COUNTED: usize = 4;
/// How often a call is made that was starved of its time by others.
pub(super) const TRIES: usize = 3;

/// Runs simulations.
pub struct Simulator {
    pub(super) host: Host,
    registry: Arc<Registry>,
    catalog: Arc<dyn Catalog>,
    log: Arc<dyn Log>,
    guests: Handle,
    busy: Arc<Busy>,
    /// Made for the first simulation. None: it could not be.
    pub(super) counting: OnceLock<Option<Host>>,
    counted: Mutex<VecDeque<Arc<Loaded>>>,
}

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The application.
    pub tenant: Arc<Tenant>,
    /// Its plugin.
    pub plugin: Arc<Plugin>,
    /// The version that is tried.
    pub candidate: Digest,
    /// Its settings, if other than the plugin's.
    pub settings: Option<Map<String, Value>>,
    /// On what.
    pub source: Source,
}

/// Messages.
#[derive(Clone, Debug)]
pub enum Source {
    /// This one.
    Given(Arc<Message>),
    /// Those that the application has had.
    Recorded(Recorded),
}

/// Messages that an application has had.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// From when to when, and where to begin.
    pub filter: MessageFilter,
    /// Of one of these types; empty: of any.
    pub event_types: Vec<EventType>,
    /// Those that name one of these channels; empty: all.
    pub channels: Vec<Channel>,
    /// How many.
    pub limit: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The counts.
    pub totals: Totals,
    /// How each message fared.
    pub comparisons: Vec<Comparison>,
    /// Whether comparisons were left out, since there were too many bytes of them.
    pub truncated: bool,
    /// How many messages were left out whose content is gone.
    pub without_content: u64,
    /// Where to go on, if there are more.
    pub next: Option<Sequence>,
    /// Whether the time was up.
    pub timed_out: bool,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum NotSimulated {
    /// The application has one under way.
    #[error("a simulation of this application is under way")]
    Busy,
    /// Others are under way.
    #[error("as many simulations are under way as may be")]
    Full,
    /// A version's component cannot be run.
    #[error("the version {0} cannot be run: {1}")]
    Version(Digest, String),
    /// They did not answer in time.
    #[error("the time was up before both versions had answered")]
    Late,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A fault of ours.
    #[error("the gateway failed while simulating; its log says why")]
    Failed,
}

/// A version, ready to be called.
pub(super) struct Side {
    pub(super) loaded: Arc<Loaded>,
    pub(super) counted: Option<Arc<Loaded>>,
    pub(super) settings: Arc<Settings>,
}

/// What is known so far.
struct Walk<'s> {
    simulation: &'s Simulation,
    active: Option<Side>,
    candidate: Side,
    deadline: Instant,
    report: Report,
    bytes: usize,
    outcome: Outcome,
}

impl Simulator {
    /// One that calls on `guests`.
    pub fn new(
        host: &Host,
        registry: &Arc<Registry>,
        catalog: &Arc<dyn Catalog>,
        log: &Arc<dyn Log>,
        guests: Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            host: host.clone(),
            registry: registry.clone(),
            catalog: catalog.clone(),
            log: log.clone(),
            guests,
            busy: Arc::new(Busy::new(SIMULATIONS)),
            counting: OnceLock::new(),
            counted: Mutex::default(),
        })
    }

    /// Runs a simulation to its end. Dropping the future ends it.
    pub async fn run(self: &Arc<Self>, simulation: Simulation) -> Result<Outcome, NotSimulated> {
        let (simulator, application) = (self.clone(), simulation.tenant.application.id);
        self.alone(application, async move { simulator.walk(&simulation).await }).await
    }

    /// Does that on the guests' runtime, if there is a place.
    pub(super) async fn alone<T: Send + 'static>(
        &self,
        application: ApplicationId,
        work: impl Future<Output = Result<T, NotSimulated>> + Send + 'static,
    ) -> Result<T, NotSimulated> {
        let place = self.busy.enter(application);
        let place = place.map_err(|none| match none {
            NoPlace::Own => NotSimulated::Busy,
            NoPlace::All => NotSimulated::Full,
        })?;
        let mut running = JoinSet::new();
        let run = async move {
            let _place = place;
            work.await
        };
        running.spawn_on(run, &self.guests);
        match running.join_next().await {
            Some(Ok(ran)) => ran,
            ended => {
                let ended = ended.and_then(Result::err);
                tracing::error!(?ended, "a simulation ended early");
                Err(NotSimulated::Failed)
            }
        }
    }

    async fn walk(&self, simulation: &Simulation) -> Result<Outcome, NotSimulated> {
        let plugin = &simulation.plugin;
        let active = match plugin.active {
            Some(active) => Some(self.side(plugin.application, active, &plugin.settings).await?),
            None => None,
        };
        let settings = simulation.settings.as_ref().unwrap_or(&plugin.settings);
        let candidate = self.side(plugin.application, simulation.candidate, settings).await?;
        let deadline = clock::instant() + DEADLINE;
        let (report, bytes, outcome) = (Report::default(), 0, Outcome::nothing());
        let mut walk = Walk { simulation, active, candidate, deadline, report, bytes, outcome };
        match &simulation.source {
            Source::Given(message) => {
                let _in_time = self.add(&mut walk, message).await;
            }
            Source::Recorded(recorded) => self.recorded(&mut walk, recorded).await?,
        }
        walk.outcome.totals = walk.report.totals();
        Ok(walk.outcome)
    }

    /// Goes through what was recorded, newest first.
    async fn recorded(&self, walk: &mut Walk<'_>, recorded: &Recorded) -> Result<(), NotSimulated> {
        let application = &walk.simulation.tenant.application;
        let mut filter = recorded.filter.clone();
        let mut left = recorded.limit;
        loop {
            let read = self.log.messages(
                application.environment,
                application.id,
                filter.clone(),
                PAGE.min(left),
            );
            let page = read.await?;
            for record in page.records {
                if record.message.payload.is_empty() {
                    walk.outcome.without_content += 1;
                } else if recorded.takes(&record.message) {
                    let message = Arc::new(record.message);
                    if !self.add(walk, &message).await {
                        // It was not compared: this one is the next.
                        walk.outcome.next = Some(Sequence(record.sequence.0 + 1));
                        return Ok(());
                    }
                    left -= 1;
                }
                filter.before = Some(record.sequence);
                if left == 0 {
                    walk.outcome.next = filter.before;
                    return Ok(());
                }
            }
            let Some(next) = page.next else { return Ok(()) };
            filter.before = Some(next);
            if clock::instant() >= walk.deadline {
                (walk.outcome.next, walk.outcome.timed_out) = (filter.before, true);
                return Ok(());
            }
        }
    }

    /// Compares on one message. Whether there was time for it.
    async fn add(&self, walk: &mut Walk<'_>, message: &Arc<Message>) -> bool {
        let tenant = &walk.simulation.tenant;
        let both = async {
            let active = match &walk.active {
                Some(side) => Some(self.call(side, tenant, message).await),
                None => None,
            };
            (active, self.call(&walk.candidate, tenant, message).await)
        };
        let Ok((active, candidate)) = timeout_at(walk.deadline.into(), both).await else {
            walk.outcome.timed_out = true;
            return false;
        };
        let found = compare::compare(message, None, active.as_ref(), &candidate);
        walk.report.compared(&found);
        let size = compare::size(&found);
        if walk.bytes + size > BYTES {
            walk.outcome.truncated = true;
        } else if !walk.outcome.truncated {
            walk.bytes += size;
            walk.outcome.comparisons.push(found);
        }
        true
    }

    async fn call(&self, side: &Side, tenant: &Arc<Tenant>, message: &Arc<Message>) -> Ran {
        let application = tenant.application.id;
        let call = || Call {
            message: message.clone(),
            tenant: tenant.clone(),
            settings: side.settings.clone(),
            content_type: None,
            effects: false,
        };
        let turn = self.host.turn(application).await;
        let mut called = self.host.call_in_turn(turn, &side.loaded, call()).await;
        for _ in 1..TRIES {
            if !matches!(called.result, Err(CallFailure::Timeout(_))) {
                break;
            }
            let turn = self.host.turn(application).await;
            called = self.host.call_in_turn(turn, &side.loaded, call()).await;
        }
        let mut ran = Ran::from(&called);
        let answered =
            !matches!(ran.result, Err(CallFailure::Timeout(_) | CallFailure::CpuLimit(_)));
        if let (true, Some(counted), Some(Some(counting))) =
            (answered, &side.counted, self.counting.get())
        {
            let turn = self.host.turn(application).await;
            ran.cost.fuel = counting.call_in_turn(turn, counted, call()).await.cost.fuel;
        }
        ran
    }

    pub(super) async fn side(
        &self,
        application: ApplicationId,
        digest: Digest,
        settings: &Map<String, Value>,
    ) -> Result<Side, NotSimulated> {
        let loaded = self.registry.get(&digest);
        let counted = self.counted().iter().find(|known| known.digest == digest).cloned();
        let settings = Arc::new(Settings::from(settings.clone()));
        if let (Some(loaded), Some(counted)) = (&loaded, &counted) {
            let (loaded, counted) = (loaded.clone(), Some(counted.clone()));
            return Ok(Side { loaded, counted, settings });
        }
        let bad = |why: &dyn std::fmt::Display| NotSimulated::Version(digest, why.to_string());
        let code = self.catalog.code(digest).await?;
        let code = code.ok_or_else(|| bad(&"it is not in the store"))?;
        let load = async |host: Host| {
            host.load_in_turn(application, code.clone()).await.map_err(|rejected| bad(&rejected))
        };
        let loaded = match loaded {
            Some(loaded) => loaded,
            None => load(self.host.clone()).await?,
        };
        let counted = match (counted, self.counting()) {
            (None, Some(host)) => Some(self.keep(load(host).await?)),
            (counted, _) => counted,
        };
        Ok(Side { loaded, counted, settings })
    }

    /// The host that counts fuel, if there can be one.
    fn counting(&self) -> Option<Host> {
        let make = || {
            let host = self.host.counter();
            let noted = |error: &_| tracing::warn!(%error, "fuel cannot be counted");
            host.inspect_err(noted).ok()
        };
        self.counting.get_or_init(make).clone()
    }

    fn keep(&self, loaded: Arc<Loaded>) -> Arc<Loaded> {
        let mut counted = self.counted();
        counted.push_back(loaded.clone());
        if counted.len() > COUNTED {
            counted.pop_front();
        }
        loaded
    }

    fn counted(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Loaded>>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outcome {
    fn nothing() -> Self {
        Self {
            totals: Report::default().totals(),
            comparisons: Vec::new(),
            truncated: false,
            without_content: 0,
            next: None,
            timed_out: false,
        }
    }
}

impl Recorded {
    fn takes(&self, message: &Message) -> bool {
        let Self { event_types, channels, .. } = self;
        (event_types.is_empty() || event_types.contains(&message.event_type))
            && (channels.is_empty() || channels.iter().any(|one| message.channels.contains(one)))
    }
}
