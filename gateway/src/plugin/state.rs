//! What a call's store holds: the limits that it is held to, what its imports answer from, and what it has used of the world
//! outside.

use super::{
    apart::Apart,
    call::{Call, Level, LogLine, Settings, cut},
    limits::{Memory, Meter, Options},
    outside::Outlet,
    ticker::Present,
    wasi,
};
use crate::model::{catalog::Tenant, grants::Capabilities, message::Message, secret::Secret};
use std::{future::Future, sync::Arc, time::Duration};

/// What a call's store holds: the limits, and what the imports answer from.
pub(super) struct State {
    pub(super) memory: Memory,
    pub(super) message: Arc<Message>,
    pub(super) tenant: Arc<Tenant>,
    pub(super) settings: Arc<Settings>,
    pub(super) wasi: Option<Box<wasi::Wasi>>,
    /// What a signer signs with.
    pub(super) keys: Vec<Secret>,
    pub(super) outlet: Arc<Outlet>,
    pub(super) spent: Spent,
    pub(super) meter: Arc<Meter>,
    /// For as long as there is a store, its clock ticks.
    _present: Present,
    log: Vec<LogLine>,
    log_dropped: u32,
    log_lines: usize,
    log_line_bytes: usize,
}

/// What a call has used of the world outside.
#[derive(Debug, Default)]
pub(super) struct Spent {
    /// Uses of the key-value store.
    pub(super) values: u32,
    /// For the key-value store.
    pub(super) stored: Duration,
    pub(super) requests: u32,
    /// Sent and received.
    pub(super) bytes: u64,
    /// For answers of others.
    pub(super) waited: Duration,
}

/// What an application has to which nothing was ever granted.
pub(super) static NOT_GRANTED: Capabilities =
    Capabilities { keyvalue: None, secrets: false, clock: false, random: false, http: None };

impl State {
    /// As a call begins.
    pub(super) fn new(
        call: &Call,
        options: &Options,
        outlet: &Arc<Outlet>,
        meter: &Arc<Meter>,
        present: Present,
    ) -> Self {
        Self {
            memory: Memory::new(options.memory_bytes),
            message: Arc::clone(&call.message),
            tenant: Arc::clone(&call.tenant),
            settings: Arc::clone(&call.settings),
            wasi: None,
            keys: Vec::new(),
            outlet: match call.effects {
                true => Arc::clone(outlet),
                false => {
                    let outside = Arc::new(Apart::new(Arc::clone(&outlet.outside)));
                    Arc::new(Outlet::new(outside, 1, 1))
                }
            },
            spent: Spent::default(),
            meter: Arc::clone(meter),
            _present: present,
            log: Vec::new(),
            log_dropped: 0,
            log_lines: options.log_lines,
            log_line_bytes: options.log_line_bytes,
        }
    }

    /// What is left of it: the most memory that it had, its lines, and how many more it wrote.
    pub(super) fn ended(self) -> (u64, Vec<LogLine>, u32) {
        (self.memory.peak(), self.log, self.log_dropped)
    }

    /// What the application is granted, as of the start of the call.
    pub(super) fn granted(&self) -> &Capabilities {
        self.tenant.grants.as_deref().map_or(&NOT_GRANTED, |grants| &grants.capabilities)
    }

    /// Waits for the world outside, at most that long. It does not count as the call's own time.
    pub(super) fn waits<F: Future>(
        &self,
        limit: Duration,
        what: F,
    ) -> impl Future<Output = Option<F::Output>> + use<F> {
        let meter = Arc::clone(&self.meter);
        async move {
            meter.wait();
            let came = tokio::time::timeout(limit, what).await;
            meter.resume();
            came.ok()
        }
    }

    pub(super) fn write_log(&mut self, level: Level, text: String) {
        if self.log.len() < self.log_lines {
            self.log.push(LogLine { level, text: cut(text, self.log_line_bytes) });
        } else {
            self.log_dropped = self.log_dropped.saturating_add(1);
        }
    }
}
