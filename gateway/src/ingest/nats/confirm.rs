//! Acknowledgements that the server confirms, for a source, which acknowledges a batch at a time. All confirmations of
//! a batch come on one subscription: one for each, as the client makes them, costs both sides more than the
//! acknowledgement itself.

use async_nats::{Client, Subject, jetstream::AckKind};
use futures_util::StreamExt;
use std::time::Duration;

/// How long to wait for the server.
const PATIENCE: Duration = Duration::from_secs(5);

/// Acknowledges these, no more than a subscription holds: how many the server has confirmed. What it does not confirm is
/// delivered again, and known by its key.
pub async fn settle(client: &Client, messages: Vec<Subject>, kind: AckKind) -> usize {
    let (count, mut confirmed) = (messages.len(), 0);
    if count == 0 {
        return 0;
    }
    let confirmations = async {
        let inbox = client.new_inbox();
        let replies = client.subscribe(inbox.clone()).await.ok()?;
        for message in messages {
            client.publish_with_reply(message, inbox.clone(), kind.into()).await.ok()?;
        }
        let mut replies = replies.take(count);
        while let Some(reply) = replies.next().await {
            // A reply with a status says that nobody is there to be told.
            confirmed += usize::from(reply.status.is_none());
        }
        Some(())
    };
    let _in_time = tokio::time::timeout(PATIENCE, confirmations).await;
    if confirmed < count {
        tracing::debug!(count, confirmed, "an acknowledgement was not confirmed");
    }
    confirmed
}
