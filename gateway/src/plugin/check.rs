//! Whether a verdict can be sent: what a plugin asks for is held against the limits, HTTP and the
//! application's own endpoints, before dispatch sees it. Pure.

use super::{
    call::{CallFailure, cut},
    limits::Options,
};
use crate::model::{
    catalog::Tenant,
    dispatch::{Dispatch, Target, Verdict},
};
use http::{HeaderName, HeaderValue};

/// The longest a dispatch may wait, in milliseconds: a year. More is a mistake in the unit.
pub(super) const MAX_DELAY: u64 = 365 * 24 * 60 * 60 * 1000;

/// Bytes of an ordering key, as many as of a uid.
const MAX_ORDERING_KEY: usize = 256;

/// How many headers a dispatch may set, and how long they may be together, in bytes: what most receivers take.
const HEADERS: usize = 64;
pub(super) const HEADER_BYTES: usize = 16 << 10;

/// The same of what a signer makes: it knows one receiver.
const SIGNATURES: usize = 16;
const SIGNATURE_BYTES: usize = 8 << 10;

/// Set by the gateway for each request, or about one connection only.
const RESERVED: [&str; 13] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-signature",
];

/// The first reason why the verdict cannot be sent.
pub(super) fn verdict(
    verdict: &Verdict,
    tenant: &Tenant,
    options: &Options,
) -> Result<(), CallFailure> {
    let Verdict::Send(dispatches) = verdict else { return Ok(()) };
    if dispatches.len() > options.dispatches {
        let (asked, limit) = (dispatches.len(), options.dispatches);
        return Err(bad(format!("{asked} dispatches, where at most {limit} are allowed")));
    }
    let size = dispatches.iter().map(Dispatch::size).fold(0, usize::saturating_add);
    if size > options.output_bytes {
        return Err(CallFailure::OutputTooLarge(options.output_bytes));
    }
    dispatches.iter().try_for_each(|dispatch| one(dispatch, tenant))
}

/// The first reason why these headers cannot sign a request.
pub(super) fn signature(headers: &[(String, String)]) -> Result<(), CallFailure> {
    let bytes = headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    if headers.len() > SIGNATURES || bytes > SIGNATURE_BYTES {
        let limit = format!("{SIGNATURES} headers, or {SIGNATURE_BYTES} bytes of them");
        return Err(bad(format!("a signature has more than {limit}")));
    }
    for (name, value) in headers {
        let may = matches!(&**name, "x-signature" | "webhook-signature");
        if may { legal_value(name, value)? } else { header(name, value)? }
    }
    Ok(())
}

fn bad(why: String) -> CallFailure {
    CallFailure::BadOutput(why)
}

fn one(dispatch: &Dispatch, tenant: &Tenant) -> Result<(), CallFailure> {
    if let Target::Endpoints(names) = &dispatch.target
        && let Some(unknown) = names.iter().find(|name| tenant.endpoint(name).is_none())
    {
        return Err(CallFailure::UnknownEndpoint(cut(unknown.clone(), 256)));
    }
    if let Some(value) = &dispatch.content_type {
        legal_value("content-type", value)?;
    }
    let bytes = dispatch.headers.iter().map(|(name, value)| name.len() + value.len());
    if dispatch.headers.len() > HEADERS || bytes.sum::<usize>() > HEADER_BYTES {
        let limit = format!("{HEADERS} headers, or {HEADER_BYTES} bytes of them");
        return Err(bad(format!("a dispatch has more than {limit}")));
    }
    for (name, value) in &dispatch.headers {
        header(name, value)?;
    }
    if let Some(key) = &dispatch.ordering_key
        && (key.is_empty() || key.len() > MAX_ORDERING_KEY)
    {
        return Err(bad(format!("an ordering key must have 1 to {MAX_ORDERING_KEY} bytes")));
    }
    if dispatch.delay > MAX_DELAY {
        return Err(bad(format!("a delay of {} ms is over the limit of a year", dispatch.delay)));
    }
    Ok(())
}

pub(super) fn header(name: &str, value: &str) -> Result<(), CallFailure> {
    let shown = || cut(name.to_owned(), 128);
    if HeaderName::from_lowercase(name.as_bytes()).is_err() {
        return Err(bad(format!("{:?} is not a lower-case header name", shown())));
    }
    if RESERVED.contains(&name) || name.starts_with("webhook-") {
        return Err(bad(format!("the header `{}` is the gateway's to set", shown())));
    }
    legal_value(name, value)
}

/// Whether a header can carry it: visible ASCII, spaces and tabs.
pub(super) fn is_value(value: &str) -> bool {
    HeaderValue::from_str(value).is_ok_and(|value| value.to_str().is_ok())
}

fn legal_value(name: &str, value: &str) -> Result<(), CallFailure> {
    let name = || cut(name.to_owned(), 128);
    if is_value(value) {
        Ok(())
    } else {
        Err(bad(format!("the header `{}` has an illegal value", name())))
    }
}
