//! One push in, one dispatch per commit out. For `on_message`.

use crate::event::{Event, Repository};
use octohooks_plugin::{Dispatch, Failure, Verdict};
use serde::Serialize;
use serde_json::value::RawValue;

/// The payload of one commit. What GitHub wrote is handed on as it was written.
#[derive(Serialize)]
struct PushedCommit<'a> {
    #[serde(rename = "ref")]
    git_ref: Option<&'a str>,
    branch: Option<&'a str>,
    index: usize,
    total: usize,
    commit: &'a RawValue,
    repository: &'a Repository<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pusher: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compare: Option<&'a RawValue>,
}

/// Splits a push, oldest commit first, as GitHub lists them. Each goes where `whole` would.
pub fn split(
    whole: &Dispatch,
    event: &Event<'_>,
    repository: &Repository<'_>,
    branch: Option<&str>,
    commits: &[&RawValue],
) -> Result<Verdict, Failure> {
    let git_ref = event.git_ref();
    let one = |(index, &commit)| {
        whole.clone().payload_json(&PushedCommit {
            git_ref: git_ref.as_deref(),
            branch,
            index,
            total: commits.len(),
            commit,
            repository,
            pusher: event.pusher,
            sender: event.sender(),
            compare: event.compare,
        })
    };
    let dispatches: Result<Vec<_>, _> = commits.iter().enumerate().map(one).collect();
    Ok(dispatches?.into())
}
