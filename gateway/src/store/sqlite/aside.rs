//! What waits for its lane: read back when there is room, and looked up when a lane begins to keep an order.

use super::{Sqlite, read};
use crate::{
    clock,
    model::{delivery::Delivery, id::EndpointId},
    store::{Outstanding, Queue, StoreError, waiting::Due},
};
use std::sync::Arc;

impl Sqlite {
    /// What was set aside and taken, read back; what is too much for once is put back, and all if reading fails.
    pub(super) async fn read_aside(
        &self,
        endpoint: EndpointId,
        taken: Vec<Due>,
    ) -> Result<Vec<Arc<Delivery>>, StoreError> {
        let (whole, keys) = Due::split(taken.clone());
        match self.readers.deliveries(&keys).await {
            Ok((read, rest)) if rest.is_empty() => Ok([read, whole].concat()),
            Ok((read, rest)) => {
                let rest = rest.into_iter().map(Due::Key);
                let later = rest.chain(whole.into_iter().map(Due::Whole)).collect();
                self.handover.waiting().put_aside_back(endpoint, later);
                Ok(read)
            }
            Err(error) => {
                self.handover.waiting().put_aside_back(endpoint, taken);
                Err(error)
            }
        }
    }

    /// Every delivery of the endpoint that is not done and whose time has come once.
    pub(super) async fn read_outstanding(
        &self,
        endpoint: EndpointId,
    ) -> Result<Vec<Outstanding>, StoreError> {
        self.handover.front.started().await;
        // What has ended by now has its row; what has none yet is looked for before the rows are, so that none is missed.
        self.flush().await?;
        let open = self.handover.front.open_at(endpoint);
        let now = clock::now();
        let rows = self.readers.read(move |c| read::outstanding(c, endpoint, now)).await?;
        Ok(self.handover.outstanding(endpoint, &open, rows))
    }
}
