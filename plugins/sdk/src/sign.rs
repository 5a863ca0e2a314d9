//! Signers: a function that makes the headers which a receiver verifies. For plugins named by endpoints as their `signer`.
//!
//! ```
//! use octohooks_plugin::{Pair, sign::{Kind, Request, keys}};
//!
//! /// As GitHub signs: `sha256=` and the HMAC of the body, in hexadecimal.
//! fn sign(request: Request) -> Result<Vec<Pair>, String> {
//!     let key = keys().into_iter().find(|key| key.kind == Kind::Symmetric).ok_or("no secret")?;
//!     let mac = key.hmac_sha256(&request.body).map_err(|error| format!("{error:?}"))?;
//!     let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
//!     Ok(vec![("x-hub-signature-256".into(), format!("sha256={hex}"))])
//! }
//!
//! octohooks_plugin::export_signer!(sign);
//! # fn main() {}
//! ```

use crate::Pair;

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::outside as world;
#[cfg(target_arch = "wasm32")]
use crate::v0_1::sign as world;

/// A request that is about to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The endpoint, by the gateway's id.
    pub endpoint: String,
    /// The customer's own identifier of the endpoint, if it gave one.
    pub endpoint_uid: Option<String>,
    /// Where it goes.
    pub url: String,
    /// The header `webhook-id`.
    pub webhook_id: String,
    /// The header `webhook-timestamp`, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// The header `content-type`.
    pub content_type: String,
    /// The body, as it is sent.
    pub body: Vec<u8>,
    /// The room for what later versions add.
    pub attributes: Vec<Pair>,
}

/// What a secret can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It makes HMACs.
    Symmetric,
    /// It is an ed25519 key.
    Ed25519,
}

/// Why there is no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// No key of this call has that handle.
    Unknown,
    /// The key is of the other kind.
    WrongKind,
}

/// One of the endpoint's secrets, as a handle: the gateway holds what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Good for this call.
    pub handle: u32,
    /// What it can do.
    pub kind: Kind,
}

impl Key {
    /// HMAC-SHA256 of the bytes, 32 bytes.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn hmac_sha256(self, bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
        world::hmac_sha256(self.handle, bytes)
    }

    /// The ed25519 signature of the bytes, 64 bytes.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn ed25519(self, bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
        world::ed25519(self.handle, bytes)
    }
}

/// The secrets that sign now, the newest first.
#[must_use]
pub fn keys() -> Vec<Key> {
    world::keys()
}

/// Exports a `fn(sign::Request) -> Result<Vec<Pair>, String>` as the component's `signer`. Once per plugin, instead of
/// [`export!`](crate::export); on other targets it only checks the function's type.
#[macro_export]
macro_rules! export_signer {
    ($sign:path) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Plugin;
            impl $crate::v0_1::sign::Guest for Plugin {
                fn sign(
                    request: $crate::v0_1::sign::wire::Request,
                ) -> ::core::result::Result<
                    $crate::v0_1::__private::Vec<(
                        $crate::v0_1::__private::String,
                        $crate::v0_1::__private::String,
                    )>,
                    $crate::v0_1::__private::String,
                > {
                    $crate::v0_1::sign::call($sign, request)
                }
            }
            $crate::v0_1::sign::export_signer_component!(
                Plugin with_types_in $crate::v0_1::sign::bindings
            );
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(
            $crate::sign::Request,
        ) -> ::core::result::Result<
            ::std::vec::Vec<$crate::Pair>,
            ::std::string::String,
        > = $sign;
    };
}
