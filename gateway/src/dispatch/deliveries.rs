//! From a verdict to deliveries: which endpoints each dispatch means, and what they get. Pure.

use super::route;
use crate::{
    model::{
        Millis,
        catalog::Tenant,
        delivery::{Content, Delivery, DeliveryKey},
        dispatch::{Dispatch, Verdict},
        id::Digest,
    },
    store::LeasedMessage,
};
use std::sync::Arc;

/// The deliveries of a message. One that exists from before a crash is not made again.
pub fn deliveries(
    leased: &LeasedMessage,
    tenant: &Tenant,
    plugin: Option<Digest>,
    verdict: &Verdict,
    now: Millis,
) -> Vec<Arc<Delivery>> {
    let pass = [Dispatch::PASS];
    let dispatches = match verdict {
        Verdict::Pass => &pass[..],
        Verdict::Drop(_) => &[],
        Verdict::Send(dispatches) => dispatches,
    };
    let message = &leased.message;
    let mut made = Vec::new();
    for (ordinal, dispatch) in (0..).zip(dispatches) {
        let event_type = dispatch.event_type.as_ref().unwrap_or(&message.event_type);
        let content = content(dispatch);
        for endpoint in route::recipients(tenant, &dispatch.target, event_type, &message.channels) {
            let key = DeliveryKey { message: leased.sequence, ordinal, endpoint: endpoint.id };
            let meant = leased.only.is_empty() || leased.only.contains(&endpoint.id);
            if !meant || leased.done.contains(&key) {
                continue;
            }
            made.push(Arc::new(Delivery {
                key,
                message: message.clone(),
                content: content.clone(),
                plugin,
                attempts: 0,
                spent: 0,
                due: now + dispatch.delay,
            }));
        }
    }
    made
}

/// What a dispatch wants different from its message, if anything.
fn content(dispatch: &Dispatch) -> Option<Arc<Content>> {
    let content = Content {
        event_type: dispatch.event_type.clone(),
        content_type: dispatch.content_type.clone(),
        payload: dispatch.payload.clone(),
        headers: dispatch.headers.clone(),
        ordering_key: dispatch.ordering_key.clone(),
    };
    (content != Content::default()).then(|| Arc::new(content))
}
