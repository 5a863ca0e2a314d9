//! What the API shows of parts that it does not hold: it asks, and they answer.

use super::doors::Connections;
use crate::{api::health::Parts, clock, deliver::Deliver, nats::State};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// How to ask the parts.
pub fn parts(
    deliver: &Arc<Deliver>,
    nats: Option<Connections>,
    stopping: &Arc<AtomicBool>,
) -> Parts {
    let (deliver, stopping) = (deliver.clone(), stopping.clone());
    let state = |nats: Connections| -> Arc<dyn Fn() -> State + Send + Sync> {
        Arc::new(move || nats.state(clock::now()))
    };
    let known = deliver.clone();
    Parts {
        nats: nats.map(state),
        health_of: Arc::new(move |endpoint| known.health(endpoint)),
        lanes: Arc::new(move || deliver.depths()),
        stopping: Arc::new(move || stopping.load(Ordering::Relaxed)),
    }
}
