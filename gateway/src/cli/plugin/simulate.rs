//! `octohooks plugin simulate`: what a version that was deployed would change, on messages that the application has had or on
//! one of the author's.

use crate::{
    cli::{
        client::Call,
        failure::{Failure, Outcome},
        input,
        output::{Run, Session, cell, some},
        table::{Details, Fit, Table},
        times,
    },
    model::Millis,
};
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json, value::RawValue};
use std::path::PathBuf;

/// What selects messages.
const SELECTS: [&str; 6] = ["since", "until", "limit", "event_types", "channels", "iterator"];

/// Which version, on what.
#[derive(Debug, Args)]
pub struct Simulate {
    /// What the application calls the plugin
    name: String,
    /// The application's id or uid
    #[arg(long)]
    app: String,
    /// One of its versions [default: the newest that is not active]
    #[arg(long, value_name = "DIGEST")]
    version: Option<String>,
    /// Settings for this version instead of the plugin's: a file with JSON, or - for stdin
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// On this message, with eventType and payload: a file with JSON, or - for stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = SELECTS)]
    message: Option<PathBuf>,
    /// On messages accepted then or later, like 2h (ago), 2026-10-05 or 2026-10-05T14:30:00Z
    #[arg(long, value_name = "TIME", value_parser = times::past)]
    since: Option<Millis>,
    /// On messages accepted before
    #[arg(long, value_name = "TIME", value_parser = times::past)]
    until: Option<Millis>,
    /// On how many messages [default: 100]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: Option<u64>,
    /// On messages of this type; may be given again
    #[arg(long = "event-type", value_name = "TYPE")]
    event_types: Vec<String>,
    /// On messages that name this channel; may be given again
    #[arg(long = "channel", value_name = "CHANNEL")]
    channels: Vec<String>,
    /// Where the simulation before said to go on
    #[arg(long)]
    iterator: Option<String>,
}

impl Simulate {
    /// The body. Files stay as they are, byte for byte.
    fn body(&self) -> Outcome<String> {
        let names = |names: &[String]| (!names.is_empty()).then(|| json!(names));
        let fields = [
            ("version", self.version.as_ref().map(|digest| json!(digest))),
            ("since", self.since.map(|time| json!(time))),
            ("until", self.until.map(|time| json!(time))),
            ("limit", self.limit.map(|limit| json!(limit))),
            ("eventTypes", names(&self.event_types)),
            ("channels", names(&self.channels)),
            ("iterator", self.iterator.as_ref().map(|place| json!(place))),
        ];
        let mut all = Vec::new();
        for (name, value) in fields {
            all.extend(value.map(|value| format!("\"{name}\":{value}")));
        }
        for (name, file) in [("settings", &self.settings), ("message", &self.message)] {
            if let Some(file) = file {
                let document: Box<RawValue> = input::json(file)?;
                all.push(format!("\"{name}\":{document}"));
            }
        }
        Ok(format!("{{{}}}", all.join(",")))
    }
}

impl Run for Simulate {
    async fn run(self, session: &Session) -> Outcome {
        let path = ["applications", &self.app, "plugins", &self.name, "simulate"];
        let call = Call::new(Method::POST, &path).body(&self.body()?);
        let answer = session.client.call(call).await?;
        let output = session.output;
        if output.json {
            return output.raw(answer.text());
        }
        let found = answer.value()?;
        output.table(&table(&found), "messages", true)?;
        output.raw(&details(&found).text())?;
        for (field, said) in [
            ("timedOut", "the time was up before all messages were run"),
            ("truncated", "the report is too long: the later messages are only counted"),
        ] {
            if found[field] == true {
                output.aside(said);
            }
        }
        if let Some(iterator) = some(&found["iterator"]) {
            output.aside(&format!("there are more: --iterator {iterator}"));
        }
        match found["totals"]["messages"] == 0 && found["timedOut"] == true {
            true => Err(Failure::failed("no message was run in time")),
            false => Ok(()),
        }
    }
}

/// What differs, message by message; the others are counted below.
fn table(found: &Value) -> Table {
    let (whole, number) = (Fit::Whole, Fit::Number);
    let mut table = Table::new(&[
        ("MESSAGE", whole),
        ("ACTIVE", whole),
        ("CANDIDATE", whole),
        ("ADDED", number),
        ("REMOVED", number),
        ("CHANGED", number),
        ("WHY", Fit::Cut),
    ]);
    let length = |list: &Value| list.as_array().map_or(0, Vec::len).to_string();
    let messages = found["messages"].as_array().map_or(&[][..], Vec::as_slice);
    for one in messages.iter().filter(|one| one["same"] != true) {
        let why = [
            &one["failure"]["reason"],
            &one["dropped"]["candidate"],
            &one["payloadDiffs"][0]["path"],
        ];
        table.row([
            cell(&one["message"]),
            cell(&one["verdict"]["active"]),
            cell(&one["verdict"]["candidate"]),
            length(&one["added"]),
            length(&one["removed"]),
            length(&one["payloadDiffs"]),
            why.into_iter().find_map(some).unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table
}

fn details(found: &Value) -> Details {
    let totals = &found["totals"];
    let of = |side: &str, figure: &str| {
        let figures = &totals[side][figure];
        figures.is_object().then(|| format!("{} / {}", figures["p50"], figures["p99"]))
    };
    Details::default()
        .with("version", some(&found["version"]))
        .with("active", some(&found["active"]))
        .with("messages", some(&totals["messages"]))
        .with("the same", some(&totals["same"]))
        .with("different", some(&totals["different"]))
        .with("failed", some(&totals["failed"]))
        .with("active: fuel p50 / p99", of("active", "fuel"))
        .with("candidate: fuel p50 / p99", of("candidate", "fuel"))
        .with("active: µs p50 / p99", of("active", "wallMicros"))
        .with("candidate: µs p50 / p99", of("candidate", "wallMicros"))
}
