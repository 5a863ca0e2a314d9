//! One message through its application's plugins: each is called with what those before it made, and its policy says what
//! becomes of a message on which it fails. The plugins are those of one moment: a change that comes while a message is
//! among them is for the next message, or for this one if it is parked.

use super::{
    Dispatcher,
    chain::{self, Limits, Parts},
    hold::{Failed, expired, hold},
    trial::Watched,
};
use crate::{
    clock,
    gate::Turn,
    model::{
        catalog::Tenant,
        dispatch::{Dispatch, Verdict},
        failure::Failure,
        id::Digest,
        message::Held,
        plugin::{Plugin, Policy},
    },
    plugin::{Call, CallFailure, Called},
    store::{Cause, Dispatched, LeasedMessage},
    trials::lines::Written,
};
use std::sync::Arc;

/// A message among the plugins of its application.
struct Run<'m> {
    leased: &'m LeasedMessage,
    tenant: Arc<Tenant>,
    /// The turn it has for its next call, if it was waited for already.
    turn: Option<Turn<'m>>,
}

/// A plugin of the chain, and the version that is called.
#[derive(Clone, Copy)]
pub(super) struct Link<'p> {
    pub(super) plugin: &'p Arc<Plugin>,
    pub(super) digest: Digest,
}

impl Dispatcher {
    /// Runs the plugins: what they make of the message, or why that waits.
    pub(super) async fn transform(self: &Arc<Self>, leased: &LeasedMessage) -> Dispatched {
        let arrived = clock::instant();
        let application = leased.message.application;
        let turn = self.host.turn(application).await;
        self.meters.wait_seconds.record(arrived.elapsed().as_secs_f64());
        // After the wait: what was uploaded meanwhile counts.
        let tenant = self.catalog.snapshot().tenant(application).cloned();
        let Some(tenant) = tenant else { return self.untouched(leased) };
        if leased.message.has_expired(clock::now()) {
            return expired(leased);
        }
        let mut run = Run { leased, tenant: tenant.clone(), turn: Some(turn) };
        let (mut made, mut last) = (Verdict::Pass, None);
        for (plugin, active) in tenant.transforms() {
            let digest = plugin.decides(active, leased.message.id);
            last = Some(digest);
            made = match self.link(&mut run, Link { plugin, digest }, made).await {
                Ok(Verdict::Drop(reason)) => return run.held(Held::Dropped { reason }, None),
                Ok(made) => made,
                Err(held) => return held,
            };
        }
        self.route(leased, &tenant, last, &made)
    }

    /// What one plugin makes of what those before it made: the message as it came, or what was asked for instead.
    async fn link(
        self: &Arc<Self>,
        run: &mut Run<'_>,
        link: Link<'_>,
        made: Verdict,
    ) -> Result<Verdict, Dispatched> {
        let Verdict::Send(given) = made else {
            return match self.call_link(run, link, None, Ok).await {
                Ok(verdict) => Ok(verdict),
                Err(failed) => self.by_policy(run, link, failed).map(|()| Verdict::Pass),
            };
        };
        let options = self.host.options();
        let limits = Limits { dispatches: options.dispatches, bytes: options.output_bytes };
        let (mut parts, tenant) = (Parts::new(&given, limits), run.tenant.clone());
        for part in given {
            let add = |verdict| parts.add(&part, verdict, |all| self.host.check(all, &tenant));
            if let Err(failed) = self.call_link(run, link, Some(&part), add).await {
                self.by_policy(run, link, failed)?;
                parts.keep(part);
            }
        }
        Ok(parts.end())
    }

    /// One call: the verdict, if `take` takes it, or how the plugin failed.
    async fn call_link<T>(
        self: &Arc<Self>,
        run: &mut Run<'_>,
        link: Link<'_>,
        given: Option<&Dispatch>,
        take: impl FnOnce(Verdict) -> Result<T, CallFailure>,
    ) -> Result<T, Failed> {
        let Link { plugin, digest } = link;
        // A version that is tried is called, whatever the active one did.
        let is_active = plugin.active == Some(digest);
        if let Some(reason) = plugin.quarantined.as_ref().filter(|_| is_active) {
            return Err(Failed::quarantined(reason.clone()));
        }
        let loaded = match self.loaded(plugin.application, digest).await {
            Ok(loaded) => loaded,
            Err(failure) => {
                let replaced = self.is_replaced(&run.tenant);
                return Err(Failed::not_loaded(&failure, run.leased.calls, replaced));
            }
        };
        let message = match given {
            None => run.leased.message.clone(),
            Some(given) => Arc::new(chain::message(&run.leased.message, given)),
        };
        let content_type = given.and_then(|given| given.content_type.clone());
        let (tenant, settings) = (run.tenant.clone(), self.settings_of(plugin));
        let call = Call { message, tenant, settings, content_type, effects: true };
        let (id, watched) = (call.message.id, Watched::new(plugin, &call));
        let turn = match run.turn.take() {
            Some(turn) => turn,
            None => self.host.turn(run.tenant.application.id).await,
        };
        let called = self.host.call_in_turn(turn, &loaded, call).await;
        self.meters.call_seconds.record(called.cost.wall.as_secs_f64());
        called.write_log(&run.leased.message, &plugin.name);
        let ran = watched.ran(&called);
        let Called { result, log, .. } = called;
        let result = result.and_then(|verdict| {
            let meter = match &verdict {
                Verdict::Pass => &self.meters.passed,
                Verdict::Send(_) => &self.meters.sent,
                Verdict::Drop(_) => &self.meters.dropped,
            };
            take(verdict).inspect(|_| meter.increment(1))
        });
        let failure = result.as_ref().err();
        let written = Written { message: id, digest, lines: &log, failure };
        self.trials.lines.write(&self.catalog.snapshot(), plugin, written);
        if let Some(ran) = ran {
            self.note_trial(link, id, ran, failure);
        }
        self.quarantine.count(plugin, digest, failure).await;
        result.map_err(|failure| Failed::of_call(failure, run.leased.calls + 1, log))
    }

    /// What becomes of a message on which a plugin failed: `Ok` where it goes on as the plugin was given it.
    fn by_policy(
        &self,
        run: &Run<'_>,
        Link { plugin, digest }: Link<'_>,
        failed: Failed,
    ) -> Result<(), Dispatched> {
        let outcome = failed.outcome;
        metrics::counter!("octohooks_plugin_calls_total", "outcome" => outcome).increment(1);
        let (held, failure) = failed.record(&plugin.name, digest);
        let (message_id, name) = (run.leased.message.id, &plugin.name);
        let held = match (plugin.policy, held) {
            (Policy::PassThrough, Held::Parked { reason, .. }) => {
                metrics::counter!("octohooks_messages_passed_through_total").increment(1);
                self.queue.note_failure(run.leased.sequence, failure);
                tracing::warn!(%message_id, plugin = %name, outcome, reason, "a message goes on without its plugin");
                return Ok(());
            }
            (Policy::DeadLetter, Held::Parked { kind, reason }) => Held::Dead { kind, reason },
            (_, held) => held,
        };
        hold(run.leased, plugin, outcome, &held);
        Err(run.held(held, Some(failure)))
    }

    /// Whether the application's plugins run otherwise by now.
    fn is_replaced(&self, tenant: &Tenant) -> bool {
        let now = self.catalog.snapshot().tenant(tenant.application.id).cloned();
        now.is_none_or(|now| {
            now.runs_otherwise(tenant) || now.transforms().count() != tenant.transforms().count()
        })
    }
}

impl Run<'_> {
    fn held(&self, held: Held, failure: Option<Failure>) -> Dispatched {
        Dispatched::Held(held, Some(Box::new(Cause { tenant: self.tenant.clone(), failure })))
    }
}
