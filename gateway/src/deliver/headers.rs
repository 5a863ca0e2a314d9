//! What a delivery carries beside its bytes: the plugin's headers, the endpoint's, and the signatures, made at the moment
//! of sending. The same over HTTP and NATS.

use super::{
    payload,
    sign::{Signatures, sign},
};
use crate::model::{cloud_event::Format, delivery::Delivery, endpoint::Endpoint};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The headers of one try with that body, signed as of `seconds` since the epoch; by the endpoint's signer where `signed`
/// has what that made.
#[must_use]
pub fn headers(
    endpoint: &Endpoint,
    delivery: &Delivery,
    body: &[u8],
    seconds: u64,
    signed: Option<&[(String, String)]>,
) -> HeaderMap {
    let id = delivery.webhook_id();
    let signatures = match signed {
        Some(_) => Signatures::default(),
        None => {
            let secrets = endpoint.signing(seconds.saturating_mul(1000));
            sign(secrets, endpoint.signatures, &id, seconds, body)
        }
    };
    let mut headers = HeaderMap::with_capacity(12);
    // Names, values and their number were checked where they came in.
    let from_plugin = delivery.content.iter().flat_map(|content| &content.headers);
    for (name, value) in from_plugin {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
            let _room = headers.try_append(name, value);
        }
    }
    let mut put = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            let _room = headers.try_insert(name, value);
        }
    };
    for (name, value) in &endpoint.headers {
        if let Ok(name) = name.parse() {
            put(name, value);
        }
    }
    put(header::CONTENT_TYPE, &payload::content_type(endpoint, delivery));
    if endpoint.format == Format::CloudeventsBinary {
        for (name, value) in payload::event(delivery).headers() {
            if let Ok(name) = name.parse() {
                put(name, &value);
            }
        }
    }
    if let Some(signature) = &signatures.octohooks {
        put(HeaderName::from_static("x-signature"), signature);
    }
    put(HeaderName::from_static("webhook-id"), &id);
    put(HeaderName::from_static("webhook-timestamp"), &seconds.to_string());
    if let Some(signature) = &signatures.standard {
        put(HeaderName::from_static("webhook-signature"), signature);
    }
    // Its names are none of the gateway's; one that comes twice is sent twice, one of the endpoint's own is replaced.
    let signed = signed.unwrap_or_default();
    for (name, _) in signed {
        headers.remove(name.as_str());
    }
    for (name, value) in signed {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
            let _room = headers.try_append(name, value);
        }
    }
    headers
}
