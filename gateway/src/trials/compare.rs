//! How two versions' verdicts on one message differ. Pure.
//!
//! What counts is what receivers would get: a `pass` is the same as one dispatch that says nothing, and a payload that is
//! repeated the same as one that is left alone. What only one of them sends is matched with what the other sends
//! instead, where all but the payload is alike; then the places are told in which the payloads differ.

use super::shown::{
    Comparison, Cost, Costs, Failed, Given, PayloadDiff, Reasons, TEXT, Verdicts, Whole, Word, cut,
};
use crate::{
    model::{
        dispatch::{Dispatch, Verdict},
        message::Message,
    },
    plugin::{self, CallFailure, Called},
};
use serde_json::Value;

/// How many dispatches are shown that only one version sends.
const SENT: usize = 20;
/// How many places are shown in which payloads differ.
const DIFFS: usize = 50;
/// Bytes of a comparison.
pub const BYTES: usize = 8 << 10;

/// What a version came to on a message.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its verdict, or how it failed.
    pub result: Result<Verdict, CallFailure>,
    /// What it took.
    pub cost: Cost,
}

impl From<&Called> for Ran {
    fn from(called: &Called) -> Self {
        Self { result: called.result.clone(), cost: called.cost.into() }
    }
}

impl From<plugin::Cost> for Cost {
    fn from(cost: plugin::Cost) -> Self {
        let wall_micros = u64::try_from(cost.wall.as_micros()).unwrap_or(u64::MAX);
        Self { fuel: cost.fuel, wall_micros, memory_peak: cost.memory_peak }
    }
}

/// How the version that is tried fared with the message beside the active one; where none is active, beside a message that
/// is left as it is. The message's payload is of that type, if a plugin has made it.
#[must_use]
pub fn compare(
    message: &Message,
    content_type: Option<&str>,
    active: Option<&Ran>,
    candidate: &Ran,
) -> Comparison {
    let left_alone = Ok(Verdict::Pass);
    let before = active.map_or(&left_alone, |ran| &ran.result);
    let after = &candidate.result;
    let mut found = Comparison {
        verdict: Verdicts {
            active: active.map(|ran| word(&ran.result)),
            candidate: Some(word(after)),
        },
        dropped: Reasons { active: reason(before), candidate: reason(after) },
        failure: failed(after),
        active_failure: failed(before),
        cost: Costs { active: active.map(|ran| ran.cost), candidate: Some(candidate.cost) },
        ..Comparison::of(message.id)
    };
    let kinds = |found: &Comparison| {
        let kind = |failed: &Option<Failed>| failed.as_ref().map(|failed| failed.kind.clone());
        (kind(&found.active_failure), kind(&found.failure))
    };
    let (old, new) = kinds(&found);
    let all_alike = match (old, new) {
        (Some(old), Some(new)) => old == new,
        (None, None) if before == after => true,
        (None, None) => {
            let given = Given::new(message, content_type);
            differ(&mut found, &whole(before, &given), &whole(after, &given))
        }
        // What the one sends that did not fail is not news: that the other failed is.
        _ => false,
    };
    found.same = all_alike && found.dropped.active == found.dropped.candidate;
    bounded(found)
}

/// A verdict, without what is in it.
#[must_use]
pub fn word(result: &Result<Verdict, CallFailure>) -> Word {
    match result {
        Ok(Verdict::Pass) => Word::Pass,
        Ok(Verdict::Drop(_)) => Word::Drop,
        Ok(Verdict::Send(_)) => Word::Send,
        Err(_) => Word::Failed,
    }
}

fn reason(result: &Result<Verdict, CallFailure>) -> Option<String> {
    match result {
        Ok(Verdict::Drop(reason)) => Some(cut(reason, TEXT)),
        _ => None,
    }
}

/// How a call failed.
#[must_use]
pub fn failed(result: &Result<Verdict, CallFailure>) -> Option<Failed> {
    result.as_ref().err().map(failure)
}

/// How that is told.
#[must_use]
pub fn failure(failure: &CallFailure) -> Failed {
    let (kind, reason) = (failure.kind().to_owned(), cut(&failure.to_string(), TEXT));
    Failed { kind, reason }
}

fn whole(result: &Result<Verdict, CallFailure>, given: &Given<'_>) -> Vec<Whole> {
    let pass = [Dispatch::PASS];
    let dispatches = match result {
        Ok(Verdict::Pass) => &pass[..],
        Ok(Verdict::Send(all)) => all,
        Ok(Verdict::Drop(_)) | Err(_) => &[],
    };
    dispatches.iter().enumerate().map(|one| Whole::new(one, given)).collect()
}

/// Notes what is sent by one only. Whether there is nothing of it.
fn differ(found: &mut Comparison, before: &[Whole], after: &[Whole]) -> bool {
    let in_order = before.len() == after.len()
        && before.iter().zip(after).all(|(before, after)| before.is_like(after));
    if in_order {
        return true;
    }
    let mut gone: Vec<&Whole> = before.iter().collect();
    let mut new = Vec::new();
    for one in after {
        // Mostly the first that is left.
        match gone.iter().position(|old| old.is_like(one)) {
            Some(index) => drop(gone.remove(index)),
            None => new.push(one),
        }
    }
    found.reordered = gone.is_empty() && new.is_empty();
    for one in new {
        match gone.iter().position(|old| old.differs_in_payload(one)) {
            Some(index) => {
                let old = gone.remove(index);
                payloads(found, old, one);
            }
            None if found.added.len() < SENT => found.added.push(one.shown()),
            None => found.cut = true,
        }
    }
    found.cut |= gone.len() > SENT;
    found.removed = gone.into_iter().take(SENT).map(Whole::shown).collect();
    false
}

fn payloads(found: &mut Comparison, before: &Whole, after: &Whole) {
    let mut places = Places { found, dispatch: after.index, path: String::new() };
    match (before.json(), after.json()) {
        (Some(before), Some(after)) => places.walk(Some(before), Some(after)),
        _ => {
            places.note(Some(before.text(TEXT).into()), Some(after.text(TEXT).into()));
        }
    }
}

/// The places of one payload, as they are gone through.
struct Places<'f> {
    found: &'f mut Comparison,
    dispatch: usize,
    path: String,
}

impl Places<'_> {
    /// Both were read by serde, which does not nest deeper than 128.
    fn walk(&mut self, before: Option<&Value>, after: Option<&Value>) {
        match (before, after) {
            (before, after) if before == after => {}
            (Some(Value::Object(old)), Some(Value::Object(new))) => {
                let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
                for name in names {
                    let escaped = name.replace('~', "~0").replace('/', "~1");
                    self.within(&escaped, old.get(name), new.get(name));
                }
            }
            (Some(Value::Array(old)), Some(Value::Array(new))) => {
                for index in 0..old.len().max(new.len()) {
                    self.within(&index.to_string(), old.get(index), new.get(index));
                }
            }
            (before, after) => self.note(before.map(short), after.map(short)),
        }
    }

    fn within(&mut self, step: &str, before: Option<&Value>, after: Option<&Value>) {
        if self.found.cut {
            return;
        }
        let length = self.path.len();
        self.path.push('/');
        self.path.push_str(step);
        self.walk(before, after);
        self.path.truncate(length);
    }

    fn note(&mut self, before: Option<Value>, after: Option<Value>) {
        if self.found.payload_diffs.len() == DIFFS {
            self.found.cut = true;
            return;
        }
        let (dispatch, path) = (self.dispatch, cut(&self.path, 2 * TEXT));
        self.found.payload_diffs.push(PayloadDiff { dispatch, path, before, after });
    }
}

/// The value, or the beginning of its text if that is long.
fn short(value: &Value) -> Value {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.len() <= TEXT { value.clone() } else { format!("{}…", cut(&text, TEXT)).into() }
}

/// The comparison within [`BYTES`]: of each list the first are kept.
fn bounded(mut found: Comparison) -> Comparison {
    while size(&found) > BYTES {
        found.cut = true;
        let half = |length: usize| length / 2;
        found.added.truncate(half(found.added.len()));
        found.removed.truncate(half(found.removed.len()));
        found.payload_diffs.truncate(half(found.payload_diffs.len()));
        if found.added.is_empty() && found.removed.is_empty() && found.payload_diffs.is_empty() {
            break;
        }
    }
    found
}

/// Bytes of it, as JSON.
#[must_use]
pub fn size(found: &Comparison) -> usize {
    serde_json::to_vec(found).map_or(0, |json| json.len())
}

#[cfg(test)]
mod tests;
