//! `octohooks deliveries`, `attempts` and `resend`: what became of a message, and once more.

use super::{
    client::Call,
    failure::{Failure, Outcome, plain_lines},
    messages::Accepted,
    output::{Run, Session, cell, rows, some, time_cell},
    pages::{Keyset, List, given},
    table::{Details, Fit, Table},
    times,
};
use crate::model::Millis;
use clap::Args;
use reqwest::Method;
use serde_json::Value;

/// Which deliveries.
#[derive(Debug, Args)]
#[group(id = "of", required = true, multiple = false, args = ["message", "endpoint"])]
pub struct Options {
    /// The application's id or uid
    app: String,
    /// Of this message, all of them: its id or uid
    #[arg(long, conflicts_with_all = ["after", "before", "iterator", "all"])]
    message: Option<String>,
    /// To this endpoint, the newest message first: its id or uid
    #[arg(long)]
    endpoint: Option<String>,
    /// Only in this state; may be repeated, or have commas between
    #[arg(
        long = "state",
        value_name = "STATE",
        value_delimiter = ',',
        value_parser = ["pending", "success", "failed", "disabled", "expired"]
    )]
    states: Vec<String>,
    #[command(flatten)]
    accepted: Accepted,
    #[command(flatten)]
    pages: Keyset,
}

impl Run for Options {
    async fn run(self, session: &Session) -> Outcome {
        let app = ["applications", &self.app];
        let endpoint = self.endpoint.unwrap_or_default();
        let states = Some(self.states.join(",")).filter(|states| !states.is_empty());
        if let Some(message) = &self.message {
            let path = [&app[..], &["messages", message, "deliveries"]].concat();
            let call = Call::new(Method::GET, &path).query(given([("state", states)]));
            let answer = session.client.call(call).await?;
            return session.output.many(&answer, "deliveries", |list| of_message(rows(list)));
        }
        let path = &[&app[..], &["endpoints", &endpoint, "deliveries"]].concat();
        let number = |millis: Option<Millis>| millis.map(|millis| millis.to_string());
        let query = given([
            ("state", states),
            ("after", number(self.accepted.after)),
            ("before", number(self.accepted.before)),
        ]);
        let list = List { path, query, what: "deliveries", table: to_endpoint };
        list.keyset(session, self.pages).await
    }
}

/// What the last attempt came to: its status, or why it had none.
fn last(delivery: &Value) -> String {
    some(&delivery["lastStatusCode"]).unwrap_or_else(|| cell(&delivery["lastError"]))
}

fn of_message(deliveries: &[Value]) -> Table {
    let (whole, cut) = (Fit::Whole, Fit::Cut);
    let mut table = Table::new(&[
        ("ENDPOINT", whole),
        ("STATE", whole),
        ("ATTEMPTS", Fit::Number),
        ("LAST", cut),
        ("NEXT ATTEMPT", Fit::Spare),
        ("UPDATED", Fit::Spare),
    ]);
    for delivery in deliveries {
        table.row([
            cell(&delivery["endpoint"]),
            cell(&delivery["state"]),
            cell(&delivery["attemptCount"]),
            last(delivery),
            time_cell(&delivery["nextAttempt"]),
            time_cell(&delivery["updated"]),
        ]);
    }
    table
}

fn to_endpoint(deliveries: &[Value]) -> Table {
    let (whole, cut) = (Fit::Whole, Fit::Cut);
    let mut table = Table::new(&[
        ("MESSAGE", whole),
        ("UID", cut),
        ("EVENT TYPE", cut),
        ("STATE", whole),
        ("ATTEMPTS", Fit::Number),
        ("LAST", cut),
        ("NEXT ATTEMPT", Fit::Spare),
        ("ACCEPTED", Fit::Spare),
    ]);
    for delivery in deliveries {
        table.row([
            cell(&delivery["message"]),
            cell(&delivery["messageUid"]),
            cell(&delivery["eventType"]),
            cell(&delivery["state"]),
            cell(&delivery["attemptCount"]),
            last(delivery),
            time_cell(&delivery["nextAttempt"]),
            time_cell(&delivery["created"]),
        ]);
    }
    table
}

/// Whose attempts.
#[derive(Debug, Args)]
pub struct Attempts {
    /// The application's id or uid
    app: String,
    /// The message's id or uid
    message: String,
    /// The endpoint's id or uid, or the delivery's id
    endpoint: String,
    /// Show everything of this attempt: what was sent, and what came back
    #[arg(long)]
    number: Option<u64>,
}

impl Run for Attempts {
    async fn run(self, Session { client, output }: &Session) -> Outcome {
        let (app, message) = (&*self.app, &*self.message);
        let path =
            ["applications", app, "messages", message, "deliveries", &self.endpoint, "attempts"];
        let answer = client.get(&path).await?;
        match self.number.filter(|_| !output.json) {
            None => output.many(&answer, "attempts", |list| attempts(rows(list))),
            Some(number) => {
                let list = answer.value()?;
                let attempt = rows(&list).iter().find(|attempt| attempt["number"] == number);
                let missing = || Failure::not_found("no such attempt");
                output.raw(&attempt_text(attempt.ok_or_else(missing)?))
            }
        }
    }
}

/// Attempts, a row for each.
pub fn attempts(attempts: &[Value]) -> Table {
    let (whole, cut, number) = (Fit::Whole, Fit::Cut, Fit::Number);
    let mut table = Table::new(&[
        ("NUMBER", number),
        ("TIME", whole),
        ("STATUS", number),
        ("LATENCY", number),
        ("URL", cut),
        ("ANSWER", cut),
    ]);
    for attempt in attempts {
        table.row([
            cell(&attempt["number"]),
            time_cell(&attempt["timestamp"]),
            cell(&attempt["statusCode"]),
            format!("{} ms", attempt["latency"]),
            cell(&attempt["url"]),
            some(&attempt["responseBody"]).unwrap_or_else(|| said(attempt)),
        ]);
    }
    table
}

/// Why there was no answer.
fn said(attempt: &Value) -> String {
    match (some(&attempt["errorClass"]), some(&attempt["error"])) {
        (Some(class), Some(error)) => format!("{class}: {error}"),
        (class, error) => class.or(error).unwrap_or_else(|| "-".to_owned()),
    }
}

fn attempt_text(attempt: &Value) -> String {
    let error = Some(said(attempt)).filter(|said| said != "-");
    let mut text = Details::default()
        .with("number", some(&attempt["number"]))
        .with("time", attempt["timestamp"].as_u64().map(times::long))
        .with("url", some(&attempt["url"]))
        .with("signed by", some(&attempt["signer"]))
        .with("status", some(&attempt["statusCode"]))
        .with("error", error)
        .with("latency", format!("{} ms", attempt["latency"]))
        .text();
    for (title, field) in [("request", "requestHeaders"), ("answer", "responseHeaders")] {
        let mut lines = Details::default();
        for pair in attempt[field].as_array().into_iter().flatten() {
            lines = lines.with("", format!("{}: {}", cell(&pair[0]), cell(&pair[1])));
        }
        let lines = lines.text();
        if !lines.is_empty() {
            text.push_str(&format!("\n{title}\n{lines}"));
        }
    }
    if let Some(body) = some(&attempt["responseBody"]) {
        text.push_str(&format!(
            "
{}",
            plain_lines(&body)
        ));
    }
    text
}

/// What to send again, and where.
#[derive(Debug, Args)]
pub struct Resend {
    /// The application's id or uid
    app: String,
    /// The message's id or uid
    message: String,
    /// The endpoint's id or uid
    endpoint: String,
}

impl Run for Resend {
    async fn run(self, Session { client, output }: &Session) -> Outcome {
        let (app, message) = (&*self.app, &*self.message);
        let path =
            ["applications", app, "messages", message, "endpoints", &self.endpoint, "resend"];
        let answer = client.post(&path, &"").await?;
        match output.json {
            true => output.raw(answer.text()),
            false => output.raw(&format!(
                "sent again; see `octohooks deliveries {} --message {}`",
                self.app, self.message
            )),
        }
    }
}
