//! The contract's signer, as this crate's words. For `export_signer!` and `sign`.

use crate::Pair;
use crate::sign::{Key, KeyError, Kind, Request};

#[doc(hidden)]
#[allow(unsafe_code, missing_docs, reason = "generated: the canonical ABI speaks in pointers")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit/since-v0.1",
        world: "sign",
        pub_export_macro: true,
        export_macro_name: "export_signer_component",
    });
}

pub use bindings::export_signer_component;
pub use bindings::exports::octohooks::plugin::signer as wire;
pub use wire::Guest;

use bindings::octohooks::plugin::keys as host;

/// One call: the request in, the headers out.
pub fn call(
    sign: fn(Request) -> Result<Vec<Pair>, String>,
    request: wire::Request,
) -> Result<Vec<Pair>, String> {
    super::tell_of_panics();
    sign(Request {
        endpoint: request.endpoint,
        endpoint_uid: request.endpoint_uid,
        url: request.url,
        webhook_id: request.webhook_id,
        timestamp: request.timestamp,
        content_type: request.content_type,
        body: request.body,
        attributes: request.attributes,
    })
}

fn error(error: host::KeyError) -> KeyError {
    match error {
        host::KeyError::Unknown => KeyError::Unknown,
        host::KeyError::WrongKind => KeyError::WrongKind,
    }
}

pub(crate) fn keys() -> Vec<Key> {
    let kind = |kind| match kind {
        host::Kind::Symmetric => Kind::Symmetric,
        host::Kind::Ed25519 => Kind::Ed25519,
    };
    let key = |key: host::Key| Key { handle: key.handle, kind: kind(key.kind) };
    host::all().into_iter().map(key).collect()
}

pub(crate) fn hmac_sha256(handle: u32, bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
    host::hmac_sha256(handle, bytes).map_err(error)
}

pub(crate) fn ed25519(handle: u32, bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
    host::ed25519(handle, bytes).map_err(error)
}
