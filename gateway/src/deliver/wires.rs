//! What deliveries go out by: the wire that the endpoint's URL names.

use super::{
    client::Client,
    nats::{self, Publisher},
};
use crate::{
    model::{
        attempt::{Failure, Outcome},
        delivery::Delivery,
        endpoint::Endpoint,
    },
    store::Catalog,
};

/// What deliveries go out by.
#[derive(Clone, Debug)]
#[cfg_attr(test, allow(clippy::large_enum_variant, reason = "the other one is for tests alone"))]
pub enum Wires {
    /// To receivers.
    Real {
        /// To `http` and `https` URLs.
        http: Client,
        /// To `nats` URLs.
        nats: Publisher,
    },
    /// To those of a simulation.
    #[cfg(test)]
    Simulated(std::sync::Arc<crate::simulation::Receivers>),
}

impl Wires {
    /// Makes one try by the wire that the endpoint's URL names, signed as of `seconds` since the epoch, or by these
    /// headers of its signer.
    pub async fn send(
        &self,
        catalog: &dyn Catalog,
        endpoint: &Endpoint,
        delivery: &Delivery,
        seconds: u64,
        signed: Option<&[(String, String)]>,
    ) -> Outcome {
        let (http, nats) = match self {
            Self::Real { http, nats } => (http, nats),
            #[cfg(test)]
            Self::Simulated(receivers) => return receivers.send(endpoint, delivery).await,
        };
        if endpoint.url.scheme() != nats::SCHEME {
            return http.send(endpoint, delivery, seconds, signed).await;
        }
        // Its uid says where it may publish.
        let tenant = catalog.snapshot().tenant(endpoint.application).cloned();
        match tenant {
            Some(tenant) => {
                nats.send(endpoint, &tenant.application, delivery, seconds, signed).await
            }
            None => {
                Outcome::Failed { class: Failure::Guard, detail: "the application is gone".into() }
            }
        }
    }
}
