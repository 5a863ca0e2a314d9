//! Endpoints' signers and classifiers: plugins of the application, called on the guests' runtime before an attempt and
//! after its answer. Whatever they do, it is an attempt that failed, or an answer that is taken as usual.

use super::payload;
use crate::{
    model::{
        attempt::{Answer, Meaning},
        catalog::Tenant,
        delivery::Delivery,
        endpoint::Endpoint,
        id::{ApplicationId, Digest},
        name::PluginName,
        plugin::{Kind, Plugin},
    },
    plugin::{Call, CallFailure, Called, Host, Loaded, Registry, Settings, ToClassify, ToSign},
    quarantine::Quarantine,
    store::Catalog,
    trials::{Trials, lines::Written},
};
use bytes::Bytes;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Headers, in order.
pub type Headers = Vec<(String, String)>;

/// Calls signers and classifiers.
pub struct Guests {
    catalog: Arc<dyn Catalog>,
    host: Host,
    registry: Arc<Registry>,
    trials: Arc<Trials>,
    quarantine: Quarantine,
    runtime: Handle,
}

/// A plugin that can be called for a delivery.
struct Ready {
    plugin: Arc<Plugin>,
    digest: Digest,
    loaded: Arc<Loaded>,
    call: Call,
}

impl Guests {
    /// Calls the plugins of this host on that runtime; what they write goes to `trials`.
    pub fn new(
        catalog: Arc<dyn Catalog>,
        host: &Host,
        registry: &Arc<Registry>,
        trials: &Arc<Trials>,
        runtime: Handle,
    ) -> Self {
        let quarantine = Quarantine::new(catalog.clone(), host.options().quarantine_after);
        let (host, registry, trials) = (host.clone(), registry.clone(), trials.clone());
        Self { catalog, host, registry, trials, quarantine, runtime }
    }

    /// The headers that sign this body for the endpoint, as of `seconds` since the epoch; or why there are none.
    pub async fn sign(
        &self,
        name: &PluginName,
        endpoint: &Arc<Endpoint>,
        delivery: &Delivery,
        body: Bytes,
        seconds: u64,
    ) -> Result<Headers, String> {
        let ready = self.ready(name, Kind::Sign, delivery).await?;
        let request = ToSign {
            endpoint: endpoint.clone(),
            webhook_id: delivery.webhook_id(),
            timestamp: seconds,
            content_type: payload::content_type(endpoint, delivery).into_owned(),
            body,
            keys: endpoint.signing(seconds.saturating_mul(1000)).cloned().collect(),
        };
        let host = self.host.clone();
        let Ready { plugin, digest, loaded, call } = ready;
        let called = self.runtime.spawn(async move { host.sign(&loaded, call, request).await });
        let called = called.await.map_err(|error| error.to_string())?;
        self.note((&plugin, digest), delivery, &called).await;
        called.result.map_err(|failure| format!("the signer `{name}`: {failure}"))
    }

    /// What the answer means to the endpoint's classifier; none where that does not say: then it means what it usually does.
    pub async fn classify(
        &self,
        name: &PluginName,
        endpoint: &Arc<Endpoint>,
        delivery: &Delivery,
        attempt: u32,
        answer: &Answer,
    ) -> Option<Meaning> {
        let called = self.try_classify(name, endpoint, delivery, attempt, answer).await;
        called.unwrap_or_else(|why| {
            metrics::counter!("octohooks_classifier_failures_total").increment(1);
            let (message_id, endpoint) = (delivery.message.id, endpoint.id);
            tracing::warn!(%message_id, %endpoint, classifier = %name, why, "an answer is taken as usual");
            None
        })
    }

    async fn try_classify(
        &self,
        name: &PluginName,
        endpoint: &Arc<Endpoint>,
        delivery: &Delivery,
        attempt: u32,
        answer: &Answer,
    ) -> Result<Option<Meaning>, String> {
        let ready = self.ready(name, Kind::Classify, delivery).await?;
        let Ready { plugin, digest, loaded, call } = ready;
        let (endpoint, answer) = (endpoint.clone(), answer.clone());
        let asked = ToClassify { endpoint, webhook_id: delivery.webhook_id(), attempt, answer };
        let host = self.host.clone();
        let called = self.runtime.spawn(async move { host.classify(&loaded, call, asked).await });
        let called = called.await.map_err(|error| error.to_string())?;
        self.note((&plugin, digest), delivery, &called).await;
        called.result.map(Some).map_err(|failure| failure.to_string())
    }

    /// The plugin of that name and kind, and its call.
    async fn ready(
        &self,
        name: &PluginName,
        kind: Kind,
        delivery: &Delivery,
    ) -> Result<Ready, String> {
        let tenant = self.catalog.snapshot().tenant(delivery.message.application).cloned();
        let tenant = tenant.ok_or("the application is gone")?;
        let plugin = usable(&tenant, name, kind)?.clone();
        let digest =
            plugin.active.ok_or_else(|| format!("the plugin `{name}` has no active version"))?;
        let settings = Arc::new(Settings::from(plugin.settings.clone()));
        let (message, content_type) = (delivery.message.clone(), None);
        let loaded = self.loaded(message.application, digest).await?;
        let call = Call { message, tenant, settings, content_type, effects: true };
        Ok(Ready { plugin, digest, loaded, call })
    }

    /// Counts a call, and keeps what it wrote and how it failed.
    async fn note<T>(
        &self,
        (plugin, digest): (&Plugin, Digest),
        delivery: &Delivery,
        called: &Called<T>,
    ) {
        let failure = called.result.as_ref().err();
        let kind = match plugin.kind {
            Kind::Sign => "sign",
            Kind::Classify => "classify",
            Kind::Transform => "transform",
        };
        let outcome = failure.map_or("done", CallFailure::kind);
        metrics::counter!("octohooks_endpoint_plugin_calls_total", "kind" => kind, "outcome" => outcome)
            .increment(1);
        called.write_log(&delivery.message, &plugin.name);
        let message = delivery.message.id;
        let written = Written { message, digest, lines: &called.log, failure };
        self.trials.lines.write(&self.catalog.snapshot(), plugin, written);
        self.quarantine.count(plugin, digest, failure).await;
    }

    async fn loaded(
        &self,
        application: ApplicationId,
        digest: Digest,
    ) -> Result<Arc<Loaded>, String> {
        let load = async {
            let code = self.catalog.code(digest).await.map_err(|error| error.to_string())?;
            let code = code.ok_or_else(|| format!("the component {digest} is not in the store"))?;
            let loaded = self.host.load_in_turn(application, code).await;
            loaded.map_err(|error| error.to_string())
        };
        self.registry.get_or_load(&digest, load).await
    }
}

/// The application's plugin of that name, if it is for that.
fn usable<'t>(tenant: &'t Tenant, name: &str, kind: Kind) -> Result<&'t Arc<Plugin>, String> {
    let missing = || format!("the application has no plugin `{name}`");
    let plugin = tenant.plugin(name).ok_or_else(missing)?;
    match &plugin.quarantined {
        _ if plugin.kind != kind => {
            Err(format!("the plugin `{name}` is not for this: it is of the kind {:?}", plugin.kind))
        }
        Some(reason) => Err(format!("the plugin `{name}` is in quarantine: {reason}")),
        None => Ok(plugin),
    }
}
