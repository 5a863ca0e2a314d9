//! What a command says: tables and details for people, and the API's own JSON for scripts. What is not the answer goes to
//! stderr, so that an answer can be piped.

use super::{
    client::{Answer, Client},
    failure::{Failure, Outcome, plain},
    profile::Connection,
    table::{Details, Table},
    times,
};
use clap::{Args, Subcommand};
use console::Term;
use serde_json::Value;
use std::{
    io::{self, Write},
    process::ExitCode,
};
use tokio::runtime::Builder;

/// What every command of the client takes.
#[derive(Debug, Args)]
pub struct Common {
    #[command(flatten)]
    connection: Connection,
    /// Print the API's JSON
    #[arg(long, global = true)]
    json: bool,
}

/// A command of the client.
pub trait Run {
    /// Does it.
    async fn run(self, session: &Session) -> Outcome;
}

/// A command of its own, as `octohooks send`.
#[derive(Debug, Args)]
#[command(after_help = super::failure::HELP)]
pub struct Single<T: Args> {
    #[command(flatten)]
    options: T,
    #[command(flatten)]
    common: Common,
}

/// A command with several below it, as `octohooks app list`.
#[derive(Debug, Args)]
#[command(after_help = super::failure::HELP)]
pub struct Several<T: Subcommand> {
    #[command(subcommand)]
    verb: T,
    #[command(flatten)]
    common: Common,
}

impl<T: Args + Run> Single<T> {
    /// Does it: the exit code.
    pub fn start(self) -> ExitCode {
        start(self.options, self.common)
    }
}

impl<T: Subcommand + Run> Several<T> {
    /// Does it: the exit code.
    pub fn start(self) -> ExitCode {
        start(self.verb, self.common)
    }
}

fn start(command: impl Run, common: Common) -> ExitCode {
    let session = || {
        let client = Client::new(common.connection.target()?)?;
        Ok(Session { client, output: Output { json: common.json } })
    };
    let done = session().and_then(|session| {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::failed(format!("the runtime: {error}")))?;
        runtime.block_on(command.run(&session))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.say(),
    }
}

/// A gateway to ask, and somebody to tell.
pub struct Session {
    /// Whom to ask.
    pub client: Client,
    /// Whom to tell.
    pub output: Output,
}

/// Where answers go.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// For a script.
    pub json: bool,
}

impl Output {
    /// One thing.
    pub fn one(self, answer: &Answer, details: impl FnOnce(&Value) -> Details) -> Outcome {
        match self.json {
            true => self.raw(answer.text()),
            false => self.raw(&details(&answer.value()?).text()),
        }
    }

    /// What was done to one thing, in a sentence.
    pub fn done(self, answer: &Answer, sentence: impl FnOnce(&Value) -> String) -> Outcome {
        match self.json {
            true => self.raw(answer.text()),
            false => self.raw(&plain(&sentence(&answer.value()?))),
        }
    }

    /// Several things; what they are called, if there are none.
    pub fn many(self, answer: &Answer, what: &str, table: impl FnOnce(&Value) -> Table) -> Outcome {
        match self.json {
            true => self.raw(answer.text()),
            false => self.table(&table(&answer.value()?), what, true),
        }
    }

    /// Rows, below titles if they are the first.
    pub fn table(self, table: &Table, what: &str, first: bool) -> Outcome {
        if !table.is_empty() {
            let terminal = Term::stdout();
            let size = terminal.size_checked().filter(|_| terminal.features().is_attended());
            self.raw(&table.text(size.map(|(_, columns)| columns.into()), first))
        } else {
            if first {
                self.aside(&format!("no {what}"));
            }
            Ok(())
        }
    }

    /// The text with a line's end.
    pub fn raw(self, text: &str) -> Outcome {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        match write!(io::stdout().lock(), "{text}{end}").and_then(|()| io::stdout().flush()) {
            // Whoever read has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| Failure::failed(format!("cannot print: {error}"))),
        }
    }

    /// What is not the answer: for people only.
    #[allow(clippy::print_stderr, reason = "the command line speaks to whoever called it")]
    pub fn aside(self, line: &str) {
        if !self.json {
            eprintln!("{}", plain(line));
        }
    }
}

/// What an answer's list holds: the list itself, or its `data`.
pub fn rows(answer: &Value) -> &[Value] {
    let list = answer.as_array().or_else(|| answer["data"].as_array());
    list.map_or(&[], Vec::as_slice)
}

/// A field as a cell: a hyphen if there is none.
pub fn cell(value: &Value) -> String {
    some(value).unwrap_or_else(|| "-".to_owned())
}

/// A field as text: none if it is null, or an empty text or list.
pub fn some(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    Some(text).filter(|text| !text.is_empty())
}

/// `yes` or `no`.
pub fn yes(value: &Value) -> String {
    (if value == &Value::Bool(true) { "yes" } else { "no" }).to_owned()
}

/// A field with a time, as a cell.
pub fn time_cell(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), times::short)
}

/// A field with a time, with its zone.
pub fn time(value: &Value) -> Option<String> {
    value.as_u64().map(times::long)
}
