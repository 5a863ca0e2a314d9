//! Why there is no answer: a class for whoever counts, a text for whoever reads.

use super::patience::TooMuch;
use crate::{
    deliver::guard::Refusal,
    model::attempt::{Failure, Outcome},
};
use std::error::Error;

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

fn is_io(error: &hyper::Error) -> bool {
    causes(error).any(|cause| cause.is::<std::io::Error>())
}

/// Whether that is what reading or writing failed at.
fn has_within<E: Error + 'static>(error: &hyper::Error) -> bool {
    let inner = |cause: &(dyn Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        io.is_some_and(|inner| inner.is::<E>())
    };
    causes(error).any(inner)
}

/// Whether TLS ended it: a receiver may refuse our certificate only behind the handshake.
fn is_tls(error: &hyper::Error) -> bool {
    has_within::<rustls::Error>(error)
}

/// Whether it said too much before it answered.
fn is_too_much(error: &hyper::Error) -> bool {
    has_within::<TooMuch>(error)
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
        || is_io(error);
    if broken { Failure::Reset } else { Failure::Protocol }
}

/// Whether the connection ended, and not only this request: closed, reset, or going away.
fn died(error: &hyper::Error) -> bool {
    match h2(error) {
        Some(h2) => {
            let refused = h2.reason() == Some(h2::Reason::REFUSED_STREAM);
            h2.is_go_away() || h2.is_io() || refused
        }
        None => {
            error.is_incomplete_message()
                || error.is_canceled()
                || error.is_closed()
                || (is_io(error) && !is_too_much(error))
        }
    }
}
