//! The port to what plugins remember. Durable when a write returns, as an accepted message is: a plugin that has told a
//! value from a new one must not see it as new after a crash.

use super::StoreError;
use crate::model::{
    Millis,
    id::ApplicationId,
    keyvalue::{Entry, Write, Written},
};
use async_trait::async_trait;

/// Keys and values of applications. What has expired at the time that is given is not there.
#[async_trait]
pub trait KeyValue: Send + Sync + 'static {
    /// The value under that key.
    async fn value(
        &self,
        application: ApplicationId,
        key: String,
        now: Millis,
    ) -> Result<Option<Entry>, StoreError>;

    /// Writes, if the rules let it ([`Write::decide`]); durable when it returns. Writes of one application have growing
    /// versions, also after a key was removed. An application that does not exist has none.
    async fn write(&self, write: Write) -> Result<Written, StoreError>;

    /// Deletes what expired before that time, at most `max`; how many.
    async fn forget_values(&self, now: Millis, max: usize) -> Result<u64, StoreError>;
}
