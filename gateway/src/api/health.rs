//! For machines that watch: `/health` with the state of each part, `/metrics` for Prometheus. Neither needs a key, and
//! neither tells anything of a tenant.

use super::Api;
use crate::{
    model::{endpoint::Endpoint, health},
    nats::{self, progress::SourceState},
    store::Depths,
};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::sync::Arc;

/// Lanes, deliveries queued in them, attempts under way.
pub type Lanes = (usize, usize, usize);

/// The state of the parts that the API does not hold.
#[derive(Clone)]
pub struct Parts {
    /// How an endpoint is: the deliver stage knows.
    pub health_of: Arc<dyn Fn(&Endpoint) -> health::Health + Send + Sync>,
    /// The deliver stage's depths.
    pub lanes: Arc<dyn Fn() -> Lanes + Send + Sync>,
    /// The connection to NATS, if there is one.
    pub nats: Option<Arc<dyn Fn() -> nats::State + Send + Sync>>,
    /// Whether the gateway is stopping.
    pub stopping: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// `/health`'s answer.
#[derive(Serialize)]
pub struct Health {
    status: &'static str,
    version: &'static str,
    parts: PartStates,
}

#[derive(Serialize)]
struct PartStates {
    store: Store,
    plugins: Plugins,
    delivery: Delivery,
    #[serde(skip_serializing_if = "Option::is_none")]
    nats: Option<nats::State>,
}

#[derive(Serialize)]
struct Store {
    engine: &'static str,
    #[serde(flatten)]
    depths: Depths,
}

#[derive(Serialize)]
struct Plugins {
    applications: usize,
    loaded: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    lanes: usize,
    queued: usize,
    in_flight: usize,
}

/// `GET /health`: 200 when messages can be accepted, 503 while stopping.
pub async fn health(State(api): State<Api>) -> Response {
    let stopping = (api.parts.stopping)();
    let (lanes, queued, in_flight) = (api.parts.lanes)();
    let nats = api.parts.nats.as_ref().map(|state| state());
    let snapshot = api.catalog.snapshot();
    let health = Health {
        status: if stopping { "stopping" } else { "ready" },
        version: env!("CARGO_PKG_VERSION"),
        parts: PartStates {
            store: Store { engine: "sqlite", depths: api.queue.depths() },
            plugins: Plugins {
                applications: snapshot.tenants().filter(|t| !t.plugins.is_empty()).count(),
                loaded: api.registry.len(),
            },
            delivery: Delivery { lanes, queued, in_flight },
            nats,
        },
    };
    let status = if stopping { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(health)).into_response()
}

fn measure(source: &SourceState) {
    let of = [("stream", source.stream.clone()), ("durable", source.durable.clone())];
    metrics::gauge!("octohooks_nats_source_bound", &of).set(f64::from(u8::from(source.bound)));
    metrics::gauge!("octohooks_nats_source_pending", &of).set(source.pending as f64);
    metrics::gauge!("octohooks_nats_source_lag_seconds", &of).set(source.lag_ms as f64 / 1e3);
    metrics::counter!("octohooks_nats_source_accepted_total", &of).absolute(source.accepted);
    metrics::counter!("octohooks_nats_source_terminated_total", &of).absolute(source.terminated);
}

/// `GET /metrics`
pub async fn metrics(State(api): State<Api>) -> Response {
    let depths = api.queue.depths();
    let (lanes, queued, in_flight) = (api.parts.lanes)();
    for (queue, depth) in [
        ("undispatched", depths.undispatched),
        ("unsettled", depths.unsettled),
        ("waiting", depths.waiting),
        ("aside", depths.aside),
        ("parked", depths.parked),
        ("scheduled", depths.scheduled),
        ("lanes", queued as u64),
        ("in_flight", in_flight as u64),
    ] {
        metrics::gauge!("octohooks_queue_depth", "queue" => queue).set(depth as f64);
    }
    metrics::gauge!("octohooks_lanes").set(lanes as f64);
    if let Some(state) = &api.parts.nats {
        state().sources.iter().for_each(measure);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], api.metrics.render()).into_response()
}
