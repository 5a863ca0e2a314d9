//! `octohooks recover` and `octohooks operations`: bulk work that the gateway does in the background, watched until it ends.

use super::{
    client::{Answer, Call},
    failure::{Failure, Outcome},
    output::{Run, Session, cell, rows, some, time, time_cell},
    pages::given,
    table::{Details, Fit, Table},
    times,
};
use crate::model::Millis;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use reqwest::Method;
use serde_json::{Value, json};
use std::{fmt, time::Duration};
use tokio::time::sleep;

/// How often it is asked how far an operation is.
const EVERY: Duration = Duration::from_millis(250);

/// What to recover.
#[derive(Debug, Args)]
pub struct Recover {
    /// The application's id or uid
    app: String,
    /// The endpoint's id or uid
    endpoint: String,
    /// Messages accepted since then, like 2h (ago), 2026-10-05 or 2026-10-05T14:30:00Z
    #[arg(long, value_name = "TIME", value_parser = times::past)]
    since: Millis,
    /// Messages accepted until then [default: all there are]
    #[arg(long, value_name = "TIME", value_parser = times::past)]
    until: Option<Millis>,
    /// What never came there, since the endpoint is newer or was disabled, instead of what failed
    #[arg(long, conflicts_with = "states")]
    missing: bool,
    /// Deliveries in this state; may be repeated, or have commas between [default: failed]
    #[arg(
        long = "state",
        value_name = "STATE",
        value_delimiter = ',',
        value_parser = ["success", "failed", "disabled"]
    )]
    states: Vec<String>,
    /// Only of this event type; may be repeated, or have commas between
    #[arg(long = "event-type", value_name = "TYPE", value_delimiter = ',')]
    event_types: Vec<String>,
    /// Only of this channel; may be repeated, or have commas between
    #[arg(long = "channel", value_name = "CHANNEL", value_delimiter = ',')]
    channels: Vec<String>,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for the end
    #[arg(long)]
    detach: bool,
}

impl Recover {
    fn json(&self) -> Value {
        let states = Some(&self.states).filter(|states| !states.is_empty());
        json!({
            "since": self.since,
            "until": self.until,
            "mode": if self.missing { "missing" } else { "failed" },
            "states": states,
            "eventTypes": self.event_types,
            "channels": self.channels,
            "dryRun": self.dry_run,
        })
    }
}

impl Run for Recover {
    async fn run(self, session: &Session) -> Outcome {
        let path = ["applications", &self.app, "endpoints", &self.endpoint, "recover"];
        let answer = session.client.post(&path, &self.json()).await?;
        match self.detach {
            true => session.output.one(&answer, details),
            false => follow(session, answer).await,
        }
    }
}

/// What to do with operations.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the operations, the newest first
    List {
        /// Only of this application: its id or uid
        #[arg(long)]
        application: Option<String>,
    },
    /// Show one
    Get {
        /// Its id
        operation: String,
        /// Wait for its end
        #[arg(long)]
        follow: bool,
    },
    /// Cancel one; what it has made due is sent
    Cancel {
        /// Its id
        operation: String,
    },
}

impl Run for Verb {
    async fn run(self, session: &Session) -> Outcome {
        let Session { client, output } = session;
        match self {
            Self::List { application } => {
                let query = given([("application", application)]);
                let call = Call::new(Method::GET, &["operations"]).query(query);
                output.many(&client.call(call).await?, "operations", table)
            }
            Self::Get { operation, follow: false } => {
                output.one(&client.get(&["operations", &operation]).await?, details)
            }
            Self::Get { operation, follow: true } => {
                follow(session, client.get(&["operations", &operation]).await?).await
            }
            Self::Cancel { operation } => {
                let path = ["operations", &operation, "cancel"];
                output.one(&client.post(&path, &"").await?, details)
            }
        }
    }
}

/// Watches these to their ends, one after the other, or says how they are now.
pub async fn follow_all(session: &Session, operations: &[Value], detach: bool) -> Outcome {
    if operations.is_empty() {
        session.output.aside("nothing to do");
    }
    for operation in operations {
        let answer = session.client.get(&["operations", &cell(&operation["id"])]).await?;
        match detach {
            true => session.output.one(&answer, details)?,
            false => follow(session, answer).await?,
        }
    }
    Ok(())
}

/// Watches an operation to its end. Ctrl-C ends the watching only.
async fn follow(session: &Session, operation: Answer) -> Outcome {
    let first = operation.value()?;
    let id = cell(&first["id"]);
    let ended = tokio::select! {
        ended = until_ended(session, &id, operation) => ended?,
        _ = tokio::signal::ctrl_c() => {
            return Err(Failure::interrupted(format!(
                "the operation goes on; `octohooks operations cancel {id}` ends it"
            )));
        }
    };
    let value = ended.value()?;
    session.output.one(&ended, details)?;
    match value["state"].as_str() {
        Some("done") => Ok(()),
        Some("failed") => {
            let why = some(&value["reason"]).unwrap_or_else(|| "for no known reason".to_owned());
            Err(Failure::failed(format!("the operation failed: {why}")))
        }
        state => Err(Failure::failed(format!("the operation is {}", state.unwrap_or("unknown")))),
    }
}

async fn until_ended(session: &Session, id: &str, mut operation: Answer) -> Outcome<Answer> {
    // It goes to stderr, and nowhere if that is no terminal.
    let bar = ProgressBar::no_length();
    set_style(&bar, "{spinner} counting {elapsed}");
    loop {
        let value = operation.value()?;
        if let Some(total) = value["total"].as_u64() {
            if bar.length().is_none() {
                set_style(&bar, "{bar:30} {pos}/{len}  {rate}  {eta} left");
            }
            // What failed since it was counted is done too.
            bar.set_length(total.max(done(&value)));
            bar.set_position(done(&value));
        }
        if value["state"] != "running" {
            bar.finish_and_clear();
            return Ok(operation);
        }
        bar.tick();
        sleep(EVERY).await;
        let call = Call::new(Method::GET, &["operations", id]).patient();
        operation = session.client.call(call).await?;
    }
}

fn set_style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        let style = style.with_key("rate", |state: &ProgressState, text: &mut dyn fmt::Write| {
            // What cannot be shown is only decoration.
            let _written = write!(text, "{:.0}/s", state.per_sec());
        });
        bar.set_style(style.progress_chars("━╸─"));
    }
}

fn done(operation: &Value) -> u64 {
    operation["done"].as_u64().unwrap_or(0)
}

/// `12 of 40`; what a dry run only counted it did not do.
fn progress(operation: &Value) -> String {
    match (operation["total"].as_u64(), operation["dryRun"] == true) {
        (None, _) => "counting".to_owned(),
        (Some(total), true) => format!("{total} to do"),
        (Some(total), false) => format!("{} of {}", done(operation), total.max(done(operation))),
    }
}

fn table(operations: &Value) -> Table {
    let whole = Fit::Whole;
    let mut table = Table::new(&[
        ("ID", whole),
        ("MODE", whole),
        ("STATE", whole),
        ("PROGRESS", whole),
        ("CREATED", Fit::Spare),
        ("ENDPOINT", Fit::Spare),
    ]);
    for operation in rows(operations) {
        table.row([
            cell(&operation["id"]),
            cell(&operation["mode"]),
            cell(&operation["state"]),
            progress(operation),
            time_cell(&operation["created"]),
            cell(&operation["endpoint"]),
        ]);
    }
    table
}

fn details(operation: &Value) -> Details {
    let dry = operation["dryRun"] == true;
    Details::default()
        .with("id", some(&operation["id"]))
        .with("application", some(&operation["application"]))
        .with("endpoint", some(&operation["endpoint"]))
        .with("mode", some(&operation["mode"]))
        .with("dry run", dry.then(|| "yes: nothing is sent".to_owned()))
        .with("since", time(&operation["since"]))
        .with("until", time(&operation["until"]))
        .with("state", some(&operation["state"]))
        .with("reason", some(&operation["reason"]))
        .with("progress", progress(operation))
        .with("updated", time(&operation["updated"]))
}
