//! The contract's classifier, as this crate's words. For `export_classifier!`.

use crate::classify::{Answer, Meaning};

#[doc(hidden)]
#[allow(unsafe_code, missing_docs, reason = "generated: the canonical ABI speaks in pointers")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit/since-v0.1",
        world: "classify",
        pub_export_macro: true,
        export_macro_name: "export_classifier_component",
    });
}

pub use bindings::export_classifier_component;
pub use bindings::exports::octohooks::plugin::classifier as wire;
pub use wire::Guest;

/// One call: the answer in, its meaning out.
pub fn call(
    classify: fn(Answer) -> Result<Meaning, String>,
    answer: wire::Answer,
) -> Result<wire::Meaning, String> {
    super::tell_of_panics();
    let meaning = classify(Answer {
        endpoint: answer.endpoint,
        endpoint_uid: answer.endpoint_uid,
        webhook_id: answer.webhook_id,
        attempt: answer.attempt,
        status: answer.status,
        headers: answer.headers,
        body: answer.body,
        attributes: answer.attributes,
    })?;
    Ok(match meaning {
        Meaning::Success => wire::Meaning::Success,
        Meaning::RetryAfter(wait) => wire::Meaning::RetryAfter(wait),
        Meaning::Fail => wire::Meaning::Fail,
        Meaning::Disable => wire::Meaning::Disable,
    })
}
