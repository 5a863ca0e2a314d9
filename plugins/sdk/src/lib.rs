//! Write an Octohooks plugin as one function over idiomatic types. For authors of plugins; the
//! walk through it is in this crate's `README.md`.
//!
//! ```
//! use octohooks_plugin::{Dispatch, Failure, Message, Verdict, log};
//!
//! #[derive(serde::Deserialize)]
//! struct Order<'a> {
//!     id: &'a str,
//!     total: f64,
//! }
//!
//! fn on_message(message: Message) -> Result<Verdict, Failure> {
//!     let order: Order<'_> = message.json()?;
//!     if order.total == 0.0 {
//!         return Ok(Verdict::drop("nothing was bought"));
//!     }
//!     log::info!("order {}", order.id);
//!     let payload = serde_json::json!({ "orderId": order.id });
//!     Ok(Dispatch::to_subscribed().event_type("order.placed").payload_json(&payload)?.into())
//! }
//!
//! octohooks_plugin::export!(on_message);
//! # fn main() {}
//! ```
//!
//! The cast, in the order a message meets it: a [`Message`] comes in; [`settings()`] and
//! [`endpoints()`] say what the application configured and has; [`log`] leaves lines for operators;
//! a [`Verdict`] with its [`Dispatch`]es, or a [`Failure`], goes out. `v0_1` converts between
//! these and the contract in `wit/since-v0.1`, and is the only module that knows the contract.
//!
//! Built for any other target than WebAssembly the crate works too: what the gateway would answer
//! comes from `testing::Host`, so that a plugin's tests are ordinary tests.

mod message;
mod verdict;
mod host;
pub mod log;
pub mod keyvalue;
pub mod http;
pub mod sign;
pub mod classify;
mod outside;
mod schema;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
#[cfg(target_arch = "wasm32")]
mod heap;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod v0_1;

pub use host::{Endpoint, endpoints, setting, settings, settings_json};
pub use message::{Message, Pair};
pub use outside::{now_ms, random, secret};
pub use verdict::{Dispatch, Failure, Target, Verdict};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Exports a `fn(Message) -> Result<Verdict, Failure>` as the component's `transformer`.
///
/// Once per plugin, beside the function. On other targets it only checks the function's type.
#[macro_export]
macro_rules! export {
    ($on_message:path) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Plugin;
            impl $crate::v0_1::Guest for Plugin {
                fn on_message(
                    message: $crate::v0_1::types::Message,
                ) -> ::core::result::Result<
                    $crate::v0_1::types::Verdict,
                    $crate::v0_1::types::Failure,
                > {
                    $crate::v0_1::call($on_message, message)
                }
            }
    $crate::v0_1::export_component!(Plugin with_types_in $crate::v0_1::bindings);
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn($crate::Message) -> ::core::result::Result<$crate::Verdict, $crate::Failure> =
            $on_message;
    };
}
