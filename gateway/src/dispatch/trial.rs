//! Versions that are tried on live traffic. A canary decides like any version (`Plugin::decides` says on which messages);
//! here is noted what it came to. A shadow is called here, once the active version has decided: on the guests' runtime, one
//! call of an application at a time, where there is a place that delays no message, and else not at all.

use super::{Dispatcher, transform::Link};
use crate::{
    model::{id::MessageId, plugin::Plugin},
    plugin::{Call, CallFailure, Called},
    trials::{
        Place,
        compare::{Ran, compare},
        lines::Written,
    },
};
use std::sync::Arc;

/// What is to be known of a call, for a trial: nothing, where there is none.
pub struct Watched {
    /// What a shadow is called with.
    beside: Option<Call>,
    is_tried: bool,
}

/// A call to be made beside the one that has decided.
struct Beside {
    plugin: Arc<Plugin>,
    call: Call,
    active: Ran,
    _place: Place,
}

impl Watched {
    /// A call of this plugin that is about to be made.
    pub fn new(plugin: &Plugin, call: &Call) -> Self {
        let trial = plugin.trial.as_ref();
        let watches = trial.is_some_and(|trial| trial.watches());
        let beside = watches.then(|| Call { effects: false, ..call.clone() });
        Self { beside, is_tried: trial.is_some_and(|trial| trial.stopped.is_none()) }
    }

    /// The same once it was made.
    pub fn ran(self, called: &Called) -> Option<(Ran, Option<Call>)> {
        self.is_tried.then(|| (Ran::from(called), self.beside))
    }
}

impl Dispatcher {
    /// Notes what a call that decided came to, where a version is tried; calls one that only watches.
    pub(super) fn note_trial(
        self: &Arc<Self>,
        Link { plugin, digest }: Link<'_>,
        message: MessageId,
        (mut ran, beside): (Ran, Option<Call>),
        failure: Option<&CallFailure>,
    ) {
        let Some(call) = beside else {
            if let Some(failure) = failure {
                ran.result = Err(failure.clone());
            }
            let by_candidate = plugin.active != Some(digest);
            let (reports, catalog) = (&self.trials.reports, self.catalog.snapshot());
            return reports.decided(&catalog, plugin, (message, by_candidate), &ran);
        };
        if is_starved(&ran) {
            // It is called again.
            return;
        }
        match self.trials.beside.enter(plugin.application) {
            Ok(place) => {
                let plugin = plugin.clone();
                let beside = Beside { plugin, call, active: ran, _place: place };
                self.guests.spawn(self.clone().call_beside(beside));
            }
            Err(_) => self.skip(plugin),
        }
    }

    async fn call_beside(self: Arc<Self>, beside: Beside) {
        let Beside { plugin, call, active, _place } = &beside;
        let Some(trial) = &plugin.trial else { return };
        let digest = trial.digest;
        let loaded = match self.loaded(plugin.application, digest).await {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::debug!(%digest, %error, "a version that is tried is not there");
                return self.skip(plugin);
            }
        };
        let Some(turn) = self.host.spare_turn() else { return self.skip(plugin) };
        let called = self.host.call_in_turn(turn, &loaded, call.clone()).await;
        let candidate = Ran::from(&called);
        if is_starved(&candidate) {
            return self.skip(plugin);
        }
        let failure = candidate.result.as_ref().err();
        let written = Written { message: call.message.id, digest, lines: &called.log, failure };
        self.trials.lines.write(&self.catalog.snapshot(), plugin, written);
        let content_type = call.content_type.as_deref();
        let found = compare(&call.message, content_type, Some(active), &candidate);
        self.trials.reports.compared(&self.catalog.snapshot(), plugin, &found);
        self.quarantine.count(plugin, digest, failure).await;
    }

    fn skip(&self, plugin: &Plugin) {
        metrics::counter!("octohooks_plugin_shadows_skipped_total").increment(1);
        self.trials.reports.skipped(&self.catalog.snapshot(), plugin);
    }
}

/// Whether it did not get the time that it may have, which says nothing of it.
fn is_starved(ran: &Ran) -> bool {
    matches!(ran.result, Err(CallFailure::Timeout(_)))
}
