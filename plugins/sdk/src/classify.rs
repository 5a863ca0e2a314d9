//! Classifiers: a function that says what a receiver's answer means. For plugins named by endpoints as their `classifier`.
//!
//! ```
//! use octohooks_plugin::classify::{Answer, Meaning};
//!
//! /// A receiver that answers 200 whatever happened, and says in the body what did.
//! fn classify(answer: Answer) -> Result<Meaning, String> {
//!     Ok(match &answer.body[..] {
//!         b"OK" => Meaning::Success,
//!         b"BUSY" => Meaning::RetryAfter(Some(60_000)),
//!         b"GONE" => Meaning::Disable,
//!         _ => Meaning::Fail,
//!     })
//! }
//!
//! octohooks_plugin::export_classifier!(classify);
//! # fn main() {}
//! ```

use crate::Pair;

/// What a receiver answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The endpoint, by the gateway's id.
    pub endpoint: String,
    /// The customer's own identifier of the endpoint, if it gave one.
    pub endpoint_uid: Option<String>,
    /// The header `webhook-id` of the request.
    pub webhook_id: String,
    /// Which attempt of the retry schedule, from 1.
    pub attempt: u32,
    /// The HTTP status.
    pub status: u16,
    /// At most 4 KiB of them. Names are lower-case.
    pub headers: Vec<Pair>,
    /// The start of the body, at most 16 KiB.
    pub body: Vec<u8>,
    /// The room for what later versions add.
    pub attributes: Vec<Pair>,
}

impl Answer {
    /// The first header of that lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The receiver took the message.
    Success,
    /// It is tried again; not before this many milliseconds, if any.
    RetryAfter(Option<u64>),
    /// It has failed, and is not tried again.
    Fail,
    /// The same, and the endpoint is disabled.
    Disable,
}

/// Exports a `fn(classify::Answer) -> Result<classify::Meaning, String>` as the component's `classifier`. Once per plugin,
/// instead of [`export!`](crate::export); on other targets it only checks the function's type.
#[macro_export]
macro_rules! export_classifier {
    ($classify:path) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Plugin;
            impl $crate::v0_1::classify::Guest for Plugin {
                fn classify(
                    answer: $crate::v0_1::classify::wire::Answer,
                ) -> ::core::result::Result<
                    $crate::v0_1::classify::wire::Meaning,
                    $crate::v0_1::__private::String,
                > {
                    $crate::v0_1::classify::call($classify, answer)
                }
            }
            $crate::v0_1::classify::export_classifier_component!(
                Plugin with_types_in $crate::v0_1::classify::bindings
            );
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(
            $crate::classify::Answer,
        ) -> ::core::result::Result<$crate::classify::Meaning, ::std::string::String> = $classify;
    };
}
