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
pub struct Wires {
    /// To `http` and `https` URLs.
    pub http: Client,
    /// To `nats` URLs.
    pub nats: Publisher,
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
        if endpoint.url.scheme() != nats::SCHEME {
            return self.http.send(endpoint, delivery, seconds, signed).await;
        }
        // Its uid says where it may publish.
        let tenant = catalog.snapshot().tenant(endpoint.application).cloned();
        match tenant {
            Some(tenant) => {
                self.nats.send(endpoint, &tenant.application, delivery, seconds, signed).await
            }
            None => {
                Outcome::Failed { class: Failure::Guard, detail: "the application is gone".into() }
            }
        }
    }
}
