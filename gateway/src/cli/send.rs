//! `octohooks send`: one message from flags, a file or stdin, or many from a file with one on each line. Each request has
//! an idempotency key, so that it can be tried again and is accepted once.

use super::{
    batch,
    client::Call,
    failure::{Failure, Outcome},
    input,
    output::{Run, Session, some, time},
    table::Details,
    times,
};
use crate::{clock, model::Millis};
use clap::Args;
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use std::{
    collections::BTreeMap,
    io::IsTerminal,
    num::NonZeroU16,
    path::{Path, PathBuf},
};

/// What to send.
#[derive(Debug, Args)]
pub struct Options {
    /// The application's id or uid
    app: String,
    /// The message's event type
    #[arg(long, value_name = "TYPE", required_unless_present = "batch")]
    event_type: Option<String>,
    /// The payload, as JSON [default: what stdin has]
    #[arg(long, value_name = "JSON", conflicts_with = "file", allow_hyphen_values = true)]
    payload: Option<String>,
    /// A file with the payload; - is stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What you call the message yourself: a uid is accepted once
    #[arg(long)]
    uid: Option<String>,
    /// A channel; may be repeated, or have commas between
    #[arg(long = "channel", value_name = "CHANNEL", value_delimiter = ',')]
    channels: Vec<String>,
    /// An attribute for plugins, as name=value; may be repeated
    #[arg(long = "attribute", value_name = "ATTRIBUTE", value_parser = attribute)]
    attributes: Vec<(String, String)>,
    /// Keep the payload so many days only
    #[arg(long, value_name = "DAYS")]
    retention_days: Option<NonZeroU16>,
    /// Send it then, like 2h (from now), 2026-10-05T14:30 or 2026-10-05T14:30:00Z; at most 30 days ahead
    #[arg(long, value_name = "TIME", value_parser = times::future)]
    deliver_at: Option<Millis>,
    /// Do not attempt it from then on
    #[arg(long, value_name = "TIME", value_parser = times::future)]
    expires_at: Option<Millis>,
    /// Keeps messages with the same key in order, where an endpoint asks for that
    #[arg(long, value_name = "KEY")]
    ordering_key: Option<String>,
    /// Send a file with a message on each line instead: {"eventType":…,"payload":…}; - is stdin
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["event_type", "payload", "file", "uid", "channels", "attributes", "retention_days",
            "deliver_at", "expires_at", "ordering_key"]
    )]
    batch: Option<PathBuf>,
    /// Makes that running this command again sends nothing twice [default: a new one]
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "must be name=value".to_owned())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    event_type: Option<String>,
    uid: Option<String>,
    channels: Vec<String>,
    attributes: BTreeMap<String, String>,
    payload_retention_days: Option<NonZeroU16>,
    deliver_at: Option<Millis>,
    expires_at: Option<Millis>,
    ordering_key: Option<String>,
    payload: Box<RawValue>,
}

impl Options {
    fn payload(&mut self) -> Outcome<Box<RawValue>> {
        match (self.payload.take(), self.file.take()) {
            (Some(text), _) => {
                input::document(&text).map_err(|failure| failure.after("the payload"))
            }
            (None, Some(file)) => input::json(&file),
            (None, None) if std::io::stdin().is_terminal() => {
                Err(Failure::usage("which payload? Give --payload, --file, or a pipe"))
            }
            (None, None) => input::json(Path::new("-")),
        }
    }

    fn message(mut self) -> Outcome<String> {
        let payload = self.payload()?;
        let message = Message {
            event_type: self.event_type,
            uid: self.uid,
            channels: self.channels,
            attributes: self.attributes.into_iter().collect(),
            payload_retention_days: self.retention_days,
            deliver_at: self.deliver_at,
            expires_at: self.expires_at,
            ordering_key: self.ordering_key,
            payload,
        };
        serde_json::to_string(&message).map_err(|error| Failure::failed(error.to_string()))
    }
}

impl Run for Options {
    async fn run(mut self, session: &Session) -> Outcome {
        let app = self.app.clone();
        let once = self.idempotency_key.take().unwrap_or_else(|| clock::id().to_string());
        if let Some(file) = &self.batch {
            return batch::send(session, &app, file, &once).await;
        }
        let path = ["applications", &app, "messages"];
        let call = Call::new(Method::POST, &path).body(&self.message()?).once(once);
        session.output.one(&session.client.call(call).await?, details)
    }
}

fn details(message: &Value) -> Details {
    Details::default()
        .with("id", some(&message["id"]))
        .with("uid", some(&message["uid"]))
        .with("event type", some(&message["eventType"]))
        .with("channels", some(&message["channels"]))
        .with("accepted", time(&message["created"]))
        .with("sent at", time(&message["deliverAt"]))
        .with("expires", time(&message["expiresAt"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Send {
        #[command(flatten)]
        options: Options,
    }

    fn parsed(flags: &[&str]) -> Result<String, String> {
        let parsed = Send::try_parse_from([&["send", "hooli"], flags].concat());
        let options = parsed.map_err(|error| error.kind().to_string())?.options;
        options.message().map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn a_payload_is_sent_as_it_was_written() {
        let payload = r#"{"n": 123456789012345678901234567890.10, "e":"\u00e9" }"#;
        let flags = ["--event-type", "a.b", "--channel", "x,y", "--attribute", "k=v=w"];
        let sent = parsed(&[&flags[..], &["--payload", payload]].concat()).expect("a message");
        assert!(sent.ends_with(&format!(r#""payload":{payload}}}"#)), "{sent}");
        assert!(sent.contains(r#""channels":["x","y"],"attributes":{"k":"v=w"}"#), "{sent}");
    }

    #[test]
    fn what_makes_no_message_is_refused() {
        let table: [(&[&str], &str); 5] = [
            (&["--payload", "1"], "required arguments"),
            (&["--event-type", "a", "--payload", "{"], "the payload: is not JSON"),
            (&["--event-type", "a", "--file", "/lost"], "cannot read /lost"),
            (&["--event-type", "a", "--batch", "-"], "cannot be used"),
            (&["--event-type", "a", "--payload", "1", "--attribute", "k"], "invalid value"),
        ];
        for (flags, expected) in table {
            let said = parsed(flags).expect_err(expected);
            assert!(said.to_lowercase().contains(expected) || said.contains(expected), "{said}");
        }
    }
}
