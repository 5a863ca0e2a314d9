//! One life of the gateway: from its start over a store to a kill or a stop. The real stages, on a runtime of their own
//! whose time is paused; it goes with everything that is under way.

use super::{dice::Settings, plugins, receivers::Receivers, slow::Slow};
use crate::{
    clock::{self, simulated::Simulated},
    deliver::{Deliver, guests::Guests, wires::Wires},
    dispatch::Dispatcher,
    plugin::{Host, Options, Registry},
    store::{Queue, memory::Memory},
    trials::Trials,
};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};

/// A gateway that runs.
pub struct Life {
    runtime: Runtime,
    pub store: Arc<Memory>,
    pub queue: Arc<Slow>,
    deliver: Arc<Deliver>,
}

/// Runs no code, but transforms without: it is made once, since it reserves memory.
pub fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| {
        let options = Options { concurrency: 1, per_application: 1, ..Options::default() };
        Host::new(options, None).expect("a host")
    })
}

impl Life {
    /// Starts a gateway over the store, configured like that.
    pub fn begin(
        time: &Simulated,
        store: &Arc<Memory>,
        receivers: &Arc<Receivers>,
        settings: &Settings,
    ) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let within = runtime.enter();
        time.enter();
        let queue = Arc::new(Slow::over(store.clone(), receivers.books.clone()));
        let (registry, trials) = (Arc::new(Registry::default()), Arc::new(Trials::default()));
        registry.insert(plugins::loaded());
        let handle = runtime.handle().clone();
        let guests = Guests::new(store.clone(), host(), &registry, &trials, handle.clone());
        let wires = Wires::Simulated(receivers.clone());
        let (ways, options) = ((wires, guests), settings.options());
        let deliver = Deliver::new(queue.clone(), store.clone(), ways, options, settings.requests);
        receivers.watch(&deliver);
        let dispatcher =
            Dispatcher::new(queue.clone(), store.clone(), host(), &registry, &trials, handle);
        drop(within);
        runtime.spawn(deliver.clone().run());
        runtime.spawn(dispatcher.run());
        Self { runtime, store: store.clone(), queue, deliver }
    }

    /// Does that, while everything else goes on.
    pub fn during<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }

    /// An id of the present moment.
    pub fn id(&self) -> uuid::Uuid {
        self.during(async { clock::id() })
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.during(async { tokio::time::sleep(time).await });
    }

    /// Ends at once: what is on its way to the disk is lost. The store as a start finds it.
    pub fn kill(self, time: &Simulated, behind: u64) -> Arc<Memory> {
        {
            let _within = self.runtime.enter();
            time.leave();
        }
        drop(self.runtime);
        self.store.reopened(behind)
    }

    /// Ends as on a signal: what is under way has that long, and what was handed over is written. How many were not
    /// waited for.
    pub fn stop(&self, grace: Duration) -> usize {
        self.during(async {
            let left = self.deliver.drain(grace).await;
            let _flushed = self.queue.flush().await;
            left
        })
    }

    /// Whether nothing is to be done any more.
    pub fn is_quiet(&self) -> bool {
        let depths = self.queue.depths();
        let waits = depths.undispatched + depths.unsettled + depths.waiting + depths.aside;
        // What has a row and was taken is counted by its lane alone.
        let (_, in_lanes, under_way) = self.deliver.depths();
        self.queue.pending() + in_lanes + under_way == 0 && waits + depths.scheduled == 0
    }
}
