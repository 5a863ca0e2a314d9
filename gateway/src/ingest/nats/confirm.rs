//! Acknowledgements that the server confirms, for a source, which acknowledges a batch at a time. All confirmations of
//! a batch come on one subscription: one for each, as the client makes them, costs both sides more than the
//! acknowledgement itself.

use async_nats::{
    Client,
    jetstream::{AckKind, Message},
};
use futures_util::{StreamExt, future::ready};
use std::time::Duration;

/// How long to wait for the server.
const PATIENCE: Duration = Duration::from_secs(5);

/// Acknowledges these, no more than a subscription holds; whether the server has confirmed every one.
async fn confirmed(client: &Client, messages: &[Message], kind: AckKind) -> bool {
    if messages.is_empty() {
        return true;
    }
    let confirmations = async {
        let inbox = client.new_inbox();
        let replies = client.subscribe(inbox.clone()).await.ok()?;
        for message in messages {
            let to = message.reply.clone()?;
            client.publish_with_reply(to, inbox.clone(), kind.into()).await.ok()?;
        }
        // A reply with a status says that nobody is there to be told.
        let replies = replies.take(messages.len());
        Some(replies.filter(|reply| ready(reply.status.is_none())).count().await)
    };
    let count = tokio::time::timeout(PATIENCE, confirmations).await;
    count == Ok(Some(messages.len()))
}

/// Acknowledges these. What the server does not confirm is delivered again, and known by its key.
pub async fn settle(client: &Client, messages: &[Message], kind: AckKind) {
    if !confirmed(client, messages, kind).await {
        tracing::debug!(messages = messages.len(), "an acknowledgement was not confirmed");
    }
}
