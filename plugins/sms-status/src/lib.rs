//! Turns an SMS provider's delivery reports into messages for its partners. For an SMS provider
//! whose platform publishes reports as they come from the operators; the rules and both shapes are
//! in this crate's `README.md`.
//!
//! `report` is what comes in, `status` what its codes mean, `time` how its dates are read. This is
//! the hottest plugin there is (one report per SMS), so everything borrows from the payload and
//! the settings are asked for only where they decide something.

mod report;
mod status;
mod time;

use octohooks_plugin::{Dispatch, Failure, Message, Verdict, settings};
use report::Report;
use serde::{Deserialize, Serialize};
use status::{Status, reason_of};

/// The channel that failures reach besides the message's own.
const ALERTS: &str = "alerts";

/// What an application may configure.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Settings {
    /// Whether partners want the statuses before the last one too.
    intermediate: bool,
}

/// What a partner sees: nothing of prices, routes and operators.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PartnerStatus<'a> {
    message_id: &'a str,
    to: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    status: &'static str,
    #[serde(rename = "final")]
    is_final: bool,
    occurred_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<PartnerError<'a>>,
}

/// Why an SMS did not arrive.
#[derive(Serialize)]
struct PartnerError<'a> {
    code: &'a str,
    reason: &'static str,
}

fn on_message(message: Message) -> Result<Verdict, Failure> {
    let report: Report<'_> = message.json()?;
    let status = Status::from_code(&report.status).ok_or_else(|| {
        Failure::reject(format!("status `{}` is not one of an SMS", report.status))
    })?;
    if !status.is_final() && !settings::<Settings>()?.intermediate {
        return Ok(Verdict::drop(format!("{} is not a final status", report.status)));
    }
    let dispatch = Dispatch::to_subscribed()
        .event_type(status.event_type())
        .payload_json(&partner_status(&report, status, message.accepted_at)?)?;
    if !status.is_failure() {
        return Ok(dispatch.into());
    }
    let mut channels = message.channels;
    if !channels.iter().any(|channel| channel == ALERTS) {
        channels.push(ALERTS.to_owned());
    }
    Ok(dispatch.channels(channels).into())
}

octohooks_plugin::export!(on_message);

fn partner_status<'a>(
    report: &'a Report<'_>,
    status: Status,
    accepted_at: u64,
) -> Result<PartnerStatus<'a>, Failure> {
    let seconds = match &report.done_date {
        Some(text) => time::parse(text).ok_or_else(|| {
            Failure::reject(format!("doneDate `{text}` is neither YYMMDDhhmm nor ISO 8601"))
        })?,
        None => (accepted_at / 1000).cast_signed(),
    };
    let error = status.is_failure().then(|| {
        let code = report.error_code.as_deref().unwrap_or("0");
        PartnerError { code, reason: reason_of(code) }
    });
    Ok(PartnerStatus {
        message_id: &report.message_id,
        to: &report.to,
        from: report.from.as_deref(),
        reference: report.reference.as_deref(),
        status: status.name(),
        is_final: status.is_final(),
        occurred_at: time::format(seconds),
        segments: report.segments,
        error,
    })
}

#[cfg(test)]
mod tests;
