//! `octohooks messages`: what an application was sent.

use super::{
    client::Call,
    failure::{Outcome, plain_lines},
    output::{Run, Session, cell, some, time, time_cell},
    pages::{Keyset, List, given},
    table::{Details, Fit, Table},
    times,
};
use crate::model::{Millis, message::HELD};
use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// Which messages.
#[derive(Debug, Args)]
pub struct Options {
    /// The application's id or uid
    app: String,
    /// One message's id or uid: shows it with its payload
    #[arg(conflicts_with_all = ["event_type", "channel", "uid", "state", "after", "before", "iterator", "all"])]
    message: Option<String>,
    /// Only of this event type
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// Only of this channel
    #[arg(long)]
    channel: Option<String>,
    /// Only the one with this uid
    #[arg(long)]
    uid: Option<String>,
    /// Only those that are held like this
    #[arg(long, value_parser = HELD)]
    state: Option<String>,
    #[command(flatten)]
    accepted: Accepted,
    #[command(flatten)]
    pages: Keyset,
}

/// When messages were accepted.
#[derive(Debug, Args)]
pub struct Accepted {
    /// Only messages accepted then or later, like 2h (ago), 2026-10-05 or 2026-10-05T14:30:00Z
    #[arg(long, value_name = "TIME", value_parser = times::past)]
    pub after: Option<Millis>,
    /// Only messages accepted before
    #[arg(long, value_name = "TIME", value_parser = times::past)]
    pub before: Option<Millis>,
}

impl Run for Options {
    async fn run(self, session: &Session) -> Outcome {
        let path = ["applications", &self.app, "messages"];
        if let Some(message) = &self.message {
            return one(session, &[&path[..], &[message]].concat()).await;
        }
        let number = |millis: Option<Millis>| millis.map(|millis| millis.to_string());
        let query = given([
            ("eventType", self.event_type),
            ("channel", self.channel),
            ("uid", self.uid),
            ("state", self.state),
            ("after", number(self.accepted.after)),
            ("before", number(self.accepted.before)),
        ]);
        let list = List { path: &path, query, what: "messages", table };
        list.keyset(session, self.pages).await
    }
}

/// Which message not to send.
#[derive(Debug, Args)]
pub struct Cancel {
    /// The application's id or uid
    app: String,
    /// The id or uid of a message that is scheduled
    message: String,
}

impl Run for Cancel {
    async fn run(self, session: &Session) -> Outcome {
        let path = ["applications", &self.app, "messages", &self.message, "cancel"];
        let cancelled = session.client.call(Call::new(Method::POST, &path)).await?;
        session.output.one(&cancelled, |message| {
            Details::default()
                .with("id", some(&message["id"]))
                .with("uid", some(&message["uid"]))
                .with("sent at", time(&message["deliverAt"]))
                .with("state", some(&message["state"]))
        })
    }
}

/// The payload as it came: numbers may be larger than any of ours.
#[derive(Deserialize)]
struct WithPayload {
    payload: Box<RawValue>,
}

async fn one(session: &Session, path: &[&str]) -> Outcome {
    let answer = session.client.get(path).await?;
    session.output.one(&answer, details)?;
    match session.output.json {
        true => Ok(()),
        false => session.output.raw(&plain_lines(answer.read::<WithPayload>()?.payload.get())),
    }
}

fn table(messages: &[Value]) -> Table {
    let (whole, cut) = (Fit::Whole, Fit::Cut);
    let mut table = Table::new(&[
        ("ID", whole),
        ("UID", cut),
        ("EVENT TYPE", cut),
        ("CHANNELS", Fit::Spare),
        ("STATE", whole),
        ("ACCEPTED", Fit::Spare),
    ]);
    for message in messages {
        table.row([
            cell(&message["id"]),
            cell(&message["uid"]),
            cell(&message["eventType"]),
            some(&message["channels"]).unwrap_or_else(|| "-".to_owned()),
            cell(&message["state"]),
            time_cell(&message["created"]),
        ]);
    }
    table
}

fn details(message: &Value) -> Details {
    let attributes = message["attributes"].as_object().into_iter().flatten();
    let attributes = attributes.map(|(name, value)| format!("{name}={}", cell(value)));
    let attributes = attributes.collect::<Vec<_>>().join(", ");
    Details::default()
        .with("id", some(&message["id"]))
        .with("uid", some(&message["uid"]))
        .with("event type", some(&message["eventType"]))
        .with("channels", some(&message["channels"]))
        .with("attributes", Some(attributes).filter(|text| !text.is_empty()))
        .with("state", some(&message["state"]))
        .with("reason", some(&message["reason"]))
        .with("accepted", time(&message["created"]))
        .with("sent at", time(&message["deliverAt"]))
        .with("expires", time(&message["expiresAt"]))
        .with("ordering key", some(&message["orderingKey"]))
        .with("payload", String::new())
}
