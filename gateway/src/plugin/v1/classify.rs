//! Classifiers: their call.

use crate::{
    model::attempt::Meaning,
    plugin::{
        call::{CallFailure, ToClassify, reason},
        state::State,
    },
};
use uuid::Uuid;
use wasmtime::{Result, Store};

mod bindings {
    #![allow(missing_docs, reason = "generated; the documentation is in the WIT")]
    wasmtime::component::bindgen!({
        path: "../wit/since-v0.1",
        inline: "
            package octohooks:host;
            world classifying {
                export octohooks:plugin/classifier@0.1.0;
            }
        ",
        world: "octohooks:host/classifying",
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub(super) use bindings::ClassifyingPre;
use bindings::exports::octohooks::plugin::classifier::{self, Answer};

/// Makes an instance in the store and has it say what the answer means.
pub(super) async fn call(
    ready: &ClassifyingPre<State>,
    store: &mut Store<State>,
    answer: &ToClassify,
) -> Result<Result<Meaning, CallFailure>> {
    let instance = ready.instantiate_async(&mut *store).await?;
    let mut id = Uuid::encode_buffer();
    let headers: Vec<(&str, &str)> = answer.headers().collect();
    let answer = Answer {
        endpoint: answer.endpoint.id.0.as_hyphenated().encode_lower(&mut id),
        endpoint_uid: answer.endpoint.uid.as_deref(),
        webhook_id: &answer.webhook_id,
        attempt: answer.attempt,
        status: answer.answer.status,
        headers: &headers,
        body: &answer.answer.body,
        attributes: &[],
    };
    let meaning = instance.octohooks_plugin_classifier().call_classify(store, answer).await?;
    Ok(match meaning {
        Ok(classifier::Meaning::Success) => Ok(Meaning::Success),
        Ok(classifier::Meaning::RetryAfter(wait)) => Ok(Meaning::RetryAfter(wait)),
        Ok(classifier::Meaning::Fail) => Ok(Meaning::Fail),
        Ok(classifier::Meaning::Disable) => Ok(Meaning::Disable),
        Err(why) => Err(CallFailure::Other(reason(why))),
    })
}
