//! Endpoints' signers and classifiers: plugins of the application, called on the guests' runtime before an attempt and
//! after its answer. Whatever they do, it is an attempt that failed, or an answer that is taken as usual.

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
    plugin::{Call, Called, Host, Loaded, Registry, Settings, ToClassify, ToSign},
    store::Catalog,
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
    runtime: Handle,
}

/// A plugin that can be called for a delivery.
struct Ready {
    loaded: Arc<Loaded>,
    call: Call,
}

impl Guests {
    /// Calls the plugins of this host on that runtime.
    pub const fn new(
        catalog: Arc<dyn Catalog>,
        host: Host,
        registry: Arc<Registry>,
        runtime: Handle,
    ) -> Self {
        Self { catalog, host, registry, runtime }
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
            content_type: delivery.content_type().to_owned(),
            body,
            keys: endpoint.signing(seconds.saturating_mul(1000)).cloned().collect(),
        };
        let host = self.host.clone();
        let Ready { loaded, call } = ready;
        let called = self.runtime.spawn(async move { host.sign(&loaded, call, request).await });
        let called = called.await.map_err(|error| error.to_string())?;
        note(Kind::Sign, name, delivery, &called);
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
        let Ready { loaded, call } = self.ready(name, Kind::Classify, delivery).await?;
        let (endpoint, answer) = (endpoint.clone(), answer.clone());
        let asked = ToClassify { endpoint, webhook_id: delivery.webhook_id(), attempt, answer };
        let host = self.host.clone();
        let called = self.runtime.spawn(async move { host.classify(&loaded, call, asked).await });
        let called = called.await.map_err(|error| error.to_string())?;
        note(Kind::Classify, name, delivery, &called);
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
        let plugin = usable(&tenant, name, kind)?;
        let digest =
            plugin.active.ok_or_else(|| format!("the plugin `{name}` has no active version"))?;
        let settings = Arc::new(Settings::from(plugin.settings.clone()));
        let (message, content_type) = (delivery.message.clone(), None);
        let loaded = self.loaded(message.application, digest).await?;
        let call = Call { message, tenant, settings, content_type, effects: true };
        Ok(Ready { loaded, call })
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
    match plugin.kind == kind {
        true => Ok(plugin),
        false => {
            Err(format!("the plugin `{name}` is not for this: it is of the kind {:?}", plugin.kind))
        }
    }
}

/// Counts a call, and writes the lines that it wrote.
fn note<T>(kind: Kind, name: &PluginName, delivery: &Delivery, called: &Called<T>) {
    let kind = match kind {
        Kind::Sign => "sign",
        Kind::Classify => "classify",
        Kind::Transform => "transform",
    };
    let outcome = called.result.as_ref().err().map_or("done", |failure| failure.kind());
    metrics::counter!("octohooks_endpoint_plugin_calls_total", "kind" => kind, "outcome" => outcome)
        .increment(1);
    called.write_log(&delivery.message, name);
}
