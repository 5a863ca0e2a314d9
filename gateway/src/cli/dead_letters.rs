//! `octohooks dead-letters`: what failed for good at an application's endpoints or in its plugins, listed, shown, and sent
//! again.

use super::{
    deliveries::attempts,
    failure::Outcome,
    messages::Accepted,
    operations::follow_all,
    output::{Run, Session, cell, rows, some, time, time_cell},
    pages::{Keyset, List, given},
    table::{Details, Fit, Table},
    times,
};
use crate::model::Millis;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List them, those of the newest message first
    List(Box<Listed>),
    /// Show all of a message: why, and every attempt
    Show {
        /// The application's id or uid
        app: String,
        /// The message's id or uid
        message: String,
    },
    /// Send those of a message again, or with --all all of an application in the background
    Resend(Box<Resend>),
}

/// Which to list.
#[derive(Debug, Args)]
pub struct Listed {
    /// The application's id or uid
    app: String,
    /// Only of this endpoint: its id or uid
    #[arg(long)]
    endpoint: Option<String>,
    /// Only deliveries that failed, or messages that a plugin failed on
    #[arg(long, value_parser = ["delivery", "message"])]
    kind: Option<String>,
    /// Only of this event type
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    #[command(flatten)]
    accepted: Accepted,
    #[command(flatten)]
    pages: Keyset,
}

/// Which to send again.
#[derive(Debug, Args)]
pub struct Resend {
    /// The application's id or uid
    app: String,
    /// Those of this message: its id or uid
    #[arg(required_unless_present = "everything")]
    message: Option<String>,
    /// All of the application
    #[arg(long = "all", conflicts_with = "message")]
    everything: bool,
    /// Only of this endpoint: its id or uid
    #[arg(long)]
    endpoint: Option<String>,
    /// Of messages accepted since then, like 2h (ago), 2026-10-05 or 2026-10-05T14:30:00Z
    #[arg(long, value_name = "TIME", value_parser = times::past, conflicts_with = "message")]
    since: Option<Millis>,
    /// Of messages accepted until then [default: all there are]
    #[arg(long, value_name = "TIME", value_parser = times::past, conflicts_with = "message")]
    until: Option<Millis>,
    /// Only of this event type; may be repeated, or have commas between
    #[arg(
        long = "event-type",
        value_name = "TYPE",
        value_delimiter = ',',
        conflicts_with = "message"
    )]
    event_types: Vec<String>,
    /// Only of this channel; may be repeated, or have commas between
    #[arg(
        long = "channel",
        value_name = "CHANNEL",
        value_delimiter = ',',
        conflicts_with = "message"
    )]
    channels: Vec<String>,
    /// Only count
    #[arg(long, conflicts_with = "message")]
    dry_run: bool,
    /// Do not wait for the end
    #[arg(long, conflicts_with = "message")]
    detach: bool,
}

impl Run for Verb {
    async fn run(self, session: &Session) -> Outcome {
        match self {
            Self::List(listed) => listed.run(session).await,
            Self::Show { app, message } => {
                let path = ["applications", &app, "dead-letters", &message];
                let answer = session.client.get(&path).await?;
                match session.output.json {
                    true => session.output.raw(answer.text()),
                    false => {
                        let found: WithPayload = answer.read()?;
                        session.output.raw(&shown(&answer.value()?, found.message.payload.get()))
                    }
                }
            }
            Self::Resend(resend) => resend.run(session).await,
        }
    }
}

impl Listed {
    async fn run(self, session: &Session) -> Outcome {
        let path = &["applications", &self.app, "dead-letters"];
        let number = |millis: Option<Millis>| millis.map(|millis| millis.to_string());
        let query = given([
            ("endpoint", self.endpoint),
            ("kind", self.kind),
            ("eventType", self.event_type),
            ("after", number(self.accepted.after)),
            ("before", number(self.accepted.before)),
        ]);
        let list = List { path, query, what: "dead letters", table };
        list.keyset(session, self.pages).await
    }
}

impl Resend {
    async fn run(self, session: &Session) -> Outcome {
        let Session { client, output } = session;
        let app = ["applications", &self.app, "dead-letters"];
        if let Some(message) = &self.message {
            let path = [&app[..], &[message, "resend"]].concat();
            let answer = client.post(&path, &json!({ "endpoint": self.endpoint })).await?;
            return match output.json {
                true => output.raw(answer.text()),
                false => output.raw(&format!(
                    "sent again; see `octohooks deliveries {} --message {message}`",
                    self.app
                )),
            };
        }
        let path = [&app[..], &["resend"]].concat();
        let body = json!({
            "endpoint": self.endpoint,
            "since": self.since,
            "until": self.until,
            "eventTypes": self.event_types,
            "channels": self.channels,
            "dryRun": self.dry_run,
        });
        let answer = client.post(&path, &body).await?;
        if output.json {
            return output.raw(answer.text());
        }
        let begun = answer.value()?;
        for skipped in begun["skipped"].as_array().into_iter().flatten() {
            let of = some(&skipped["endpoint"]).unwrap_or_else(|| "dead messages".to_owned());
            output.aside(&format!("left: {of}: {}", cell(&skipped["reason"])));
        }
        follow_all(session, rows(&begun), self.detach).await
    }
}

fn table(letters: &[Value]) -> Table {
    let (whole, cut) = (Fit::Whole, Fit::Cut);
    let mut table = Table::new(&[
        ("MESSAGE", whole),
        ("UID", cut),
        ("EVENT TYPE", cut),
        ("ENDPOINT", whole),
        ("ATTEMPTS", Fit::Number),
        ("REASON", cut),
        ("SINCE", Fit::Spare),
    ]);
    for letter in letters {
        table.row([
            cell(&letter["message"]),
            cell(&letter["messageUid"]),
            cell(&letter["eventType"]),
            some(&letter["endpoint"]).unwrap_or_else(|| "(in a plugin)".to_owned()),
            cell(&letter["attemptCount"]),
            cell(&letter["reason"]),
            time_cell(&letter["updated"]),
        ]);
    }
    table
}

/// The payload as it came: numbers may be larger than any of ours.
#[derive(Deserialize)]
struct WithPayload {
    message: Whole,
}

#[derive(Deserialize)]
struct Whole {
    payload: Box<RawValue>,
}

/// A message's dead letters, as text.
fn shown(found: &Value, payload: &str) -> String {
    let message = &found["message"];
    let failure = &message["failure"];
    let plugin = some(&failure["plugin"]);
    let mut text = Details::default()
        .with("message", some(&message["id"]))
        .with("uid", some(&message["uid"]))
        .with("event type", some(&message["eventType"]))
        .with("state", some(&message["state"]))
        .with("reason", some(&message["reason"]))
        .with("plugin", plugin)
        .with("accepted", time(&message["created"]))
        .with("payload", Some(payload.to_owned()))
        .text();
    for tried in found["deliveries"].as_array().into_iter().flatten() {
        let endpoint = cell(&tried["delivery"]["endpoint"]);
        let table = attempts(tried["attempts"].as_array().map_or(&[], Vec::as_slice));
        text.push_str(&format!("\nendpoint {endpoint}\n{}", table.text(None, true)));
    }
    text
}
