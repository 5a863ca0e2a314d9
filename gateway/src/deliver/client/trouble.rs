//! Why there is no answer: a class for whoever counts, a text for whoever reads.

use super::patience::TOO_MUCH;
use crate::{
    deliver::guard::Refusal,
    model::attempt::{Failure, Outcome},
};
use std::{error::Error, io};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Whose fault.
    pub class: Failure,
    /// For people.
    pub detail: String,
    /// Whether the connection died before any byte of the answer: on one that was used before, that says nothing of the
    /// request.
    pub died: bool,
}

impl Trouble {
    /// Trouble of that class.
    pub fn new(class: Failure, detail: impl Into<String>) -> Self {
        Self { class, detail: detail.into(), died: false }
    }

    /// What HTTP failed at: before the answer, or within it.
    pub fn of(error: &hyper::Error, is_before: bool) -> Self {
        let class = class(error);
        let detail = innermost(error);
        Self { died: is_before && died(error), ..Self::new(class, detail) }
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::new(Failure::Guard, refusal.to_string())
    }
}

impl From<Trouble> for Outcome {
    fn from(Trouble { class, detail, .. }: Trouble) -> Self {
        Self::Failed { class, detail }
    }
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'e (dyn Error + 'static)| (*error).source())
}

/// The innermost cause says it best.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map_or_else(String::new, ToString::to_string)
}

fn h2(error: &hyper::Error) -> Option<&h2::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// What reading or writing failed at.
fn io(error: &hyper::Error) -> impl Iterator<Item = &io::Error> {
    causes(error).filter_map(|cause| cause.downcast_ref())
}

/// Whether TLS ended it: a receiver may refuse our certificate only behind the handshake.
fn is_tls(error: &hyper::Error) -> bool {
    io(error).filter_map(io::Error::get_ref).any(|inner| inner.is::<rustls::Error>())
}

/// Whether it said too much before it answered, or beside.
fn is_too_much(error: &hyper::Error) -> bool {
    io(error).any(|error| error.kind() == TOO_MUCH)
}

fn class(error: &hyper::Error) -> Failure {
    if is_tls(error) {
        return Failure::Tls;
    }
    if is_too_much(error) {
        return Failure::Protocol;
    }
    let broken = error.is_incomplete_message()
        || error.is_canceled()
        || error.is_closed()
        || h2(error).is_some()
        || io(error).next().is_some();
    if broken { Failure::Reset } else { Failure::Protocol }
}

/// Whether the connection ended, and not only this request: closed, reset, or going away. Of one that says too much no other
/// is tried at once.
fn died(error: &hyper::Error) -> bool {
    if is_too_much(error) {
        return false;
    }
    match h2(error) {
        Some(h2) => {
            let refused = h2.reason() == Some(h2::Reason::REFUSED_STREAM);
            h2.is_go_away() || h2.is_io() || refused
        }
        None => {
            error.is_incomplete_message()
                || error.is_canceled()
                || error.is_closed()
                || io(error).next().is_some()
        }
    }
}
