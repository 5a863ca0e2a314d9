//! What plugins' capabilities lead to: the store, and the deliveries' own HTTP client.

use crate::{
    clock,
    deliver::client::Client,
    model::{
        id::{ApplicationId, Digest},
        keyvalue::{Entry, Write, Written},
    },
    plugin::{Outside, Request, Response, Unsent},
    store::{Catalog, KeyValue},
};
use async_trait::async_trait;
use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};
use tokio::runtime::Handle;

/// The way out. Made before the store is open, and filled when it is: plugins run only after that.
#[derive(Default)]
pub struct Gateway {
    open: OnceLock<Open>,
}

struct Open {
    catalog: Arc<dyn Catalog>,
    values: Arc<dyn KeyValue>,
    client: Client,
    /// Where there is a network: the plugins' own runtime has none.
    network: Handle,
}

impl Gateway {
    /// Opens the way.
    pub fn open(
        &self,
        catalog: Arc<dyn Catalog>,
        values: Arc<dyn KeyValue>,
        client: Client,
        network: Handle,
    ) {
        let _only_once = self.open.set(Open { catalog, values, client, network });
    }

    /// The components that plugins call now.
    pub fn called(&self) -> BTreeSet<Digest> {
        self.open.get().map(|open| open.catalog.snapshot().called()).unwrap_or_default()
    }

    fn get(&self) -> Result<&Open, String> {
        self.open.get().ok_or_else(|| "the gateway is starting".to_owned())
    }
}

#[async_trait]
impl Outside for Gateway {
    async fn value(
        &self,
        application: ApplicationId,
        key: String,
    ) -> Result<Option<Entry>, String> {
        let open = self.get()?;
        let values = open.values.clone();
        // Not on a guest's thread, which others may keep waiting: what reads has a reader meanwhile, which the API shares.
        let found = open.network.spawn(async move {
            values.value(application, key, clock::now()).await.map_err(|error| error.to_string())
        });
        found.await.map_err(|error| error.to_string())?
    }

    async fn write(&self, write: Write) -> Result<Written, String> {
        let open = self.get()?;
        let values = open.values.clone();
        let written = open
            .network
            .spawn(async move { values.write(write).await.map_err(|error| error.to_string()) });
        written.await.map_err(|error| error.to_string())?
    }

    async fn send(&self, request: Request) -> Result<Response, Unsent> {
        let open = self.get().map_err(Unsent::Failed)?;
        let client = open.client.clone();
        let sent = open.network.spawn(async move { client.fetch(request).await });
        // A call that is given up gives up its request.
        let mut sent = AbortOnDrop(sent);
        (&mut sent.0).await.map_err(|error| Unsent::Failed(error.to_string()))?
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
