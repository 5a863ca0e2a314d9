//! Headers of an endpoint's own: which a request may carry.

/// Headers that the protocol sets, or that are about one connection only.
pub const PROTOCOL: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Headers that the gateway sets beside.
const OURS: [&str; 2] = ["x-signature", "http2-settings"];

/// Whether a request may carry this header.
pub fn check_header(name: &str, value: &str) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    if http::HeaderName::from_bytes(lower.as_bytes()).is_err() {
        return Err("is not a header name".into());
    }
    // With some of NATS's own a publisher can empty a stream.
    let is_ours = ["webhook-", "nats-"].iter().any(|prefix| lower.starts_with(prefix));
    if is_ours || PROTOCOL.contains(&lower.as_str()) || OURS.contains(&lower.as_str()) {
        return Err("is set by the gateway".into());
    }
    match http::HeaderValue::from_str(value).is_ok() && value.len() <= 4096 {
        true => Ok(()),
        false => Err("must be at most 4096 visible characters".into()),
    }
}
