//! What the pool knows of each host: its connections, idle and shared, and whether it keeps them as it says.

use super::{Body, Hold};
use crate::clock;
use hyper::client::conn::{http1, http2};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex as Turn;

/// When an idle connection is closed, and which it is.
pub(super) type Mark = (Instant, u64);

pub(super) struct Idle {
    pub(super) mark: Mark,
    pub(super) sender: http1::SendRequest<Body>,
    pub(super) born: Instant,
    pub(super) hold: Hold,
}

pub(super) struct Shared {
    pub(super) number: u64,
    pub(super) sender: http2::SendRequest<Body>,
    pub(super) streams: usize,
    pub(super) born: Instant,
    /// While nobody uses it.
    pub(super) idle: Option<Mark>,
    pub(super) hold: Hold,
}

pub(super) struct Host {
    pub(super) name: Arc<str>,
    /// The one used last is the last.
    pub(super) idle: VecDeque<Idle>,
    pub(super) shared: Vec<Shared>,
    /// Who connects, where HTTP/2 is spoken.
    pub(super) turn: Option<Arc<Turn<()>>>,
    /// Until when none of its connections is kept.
    pub(super) distrusted: Option<Instant>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) hosts: HashMap<Arc<str>, Host>,
    pub(super) idle: BTreeMap<Mark, Arc<str>>,
    pub(super) number: u64,
}

impl State {
    pub(super) fn mark(&mut self, idle: Duration) -> Mark {
        self.number += 1;
        (clock::instant() + idle, self.number)
    }

    pub(super) fn close(&mut self, mark: Mark, name: &str) {
        let Some(host) = self.hosts.get_mut(name) else { return };
        host.idle.retain(|idle| idle.mark != mark);
        host.shared.retain(|shared| shared.idle != Some(mark));
        if host.is_empty() {
            self.hosts.remove(name);
        }
    }
}

impl Host {
    pub(super) const fn new(name: Arc<str>) -> Self {
        Self { name, idle: VecDeque::new(), shared: Vec::new(), turn: None, distrusted: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.idle.is_empty() && self.shared.is_empty()
    }
}
