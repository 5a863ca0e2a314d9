//! `octohooks event-types`: the catalog of what may happen.

use super::{
    failure::{Failure, Outcome},
    input,
    output::{Run, Session, cell, rows, some, time, time_cell, yes},
    table::{Details, Fit, Table},
};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use std::path::PathBuf;

/// What to do with event types.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the event types
    List,
    /// Show one, with its schema
    Get {
        /// Its name
        name: String,
    },
    /// Create one, or change what is given of one that is there
    Put(Put),
    /// Delete one; messages of that type are taken as they come
    Delete {
        /// Its name
        name: String,
    },
}

/// What an event type has.
#[derive(Debug, Args)]
pub struct Put {
    /// Its name, such as sms.status
    name: String,
    /// For people
    #[arg(long)]
    description: Option<String>,
    /// Refuse payloads that do not fit the schema
    #[arg(long, conflicts_with = "no_enforce")]
    enforce: bool,
    /// Take payloads as they come
    #[arg(long)]
    no_enforce: bool,
    /// A file with its JSON Schema; - is stdin. A changed one is the next version
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// A file with a payload as an example; - is stdin
    #[arg(long, value_name = "FILE")]
    example: Option<PathBuf>,
}

#[derive(Serialize)]
struct Body {
    name: String,
    description: Option<String>,
    enforce: Option<bool>,
    schema: Option<Box<RawValue>>,
    example: Option<Box<RawValue>>,
}

impl Put {
    fn body(self) -> Outcome<String> {
        let document = |file: Option<PathBuf>| file.map(|file| input::json(&file)).transpose();
        let body = Body {
            name: self.name,
            description: self.description,
            enforce: (self.enforce || self.no_enforce).then_some(self.enforce),
            schema: document(self.schema)?,
            example: document(self.example)?,
        };
        serde_json::to_string(&body).map_err(|error| Failure::failed(error.to_string()))
    }
}

impl Run for Verb {
    async fn run(self, Session { client, output }: &Session) -> Outcome {
        match self {
            Self::List => output.many(&client.get(&["event-types"]).await?, "event types", table),
            Self::Get { name } => output.one(&client.get(&["event-types", &name]).await?, details),
            Self::Put(put) => {
                let name = put.name.clone();
                let body = put.body()?;
                let answer = match client.put(&["event-types", &name], &body).await {
                    Err(failure) if failure.is_not_found() => {
                        client.post(&["event-types"], &body).await?
                    }
                    answer => answer?,
                };
                output.one(&answer, details)
            }
            Self::Delete { name } => {
                let gone = client.delete(&["event-types", &name]).await?;
                output.done(&gone, |gone| format!("deleted the event type {}", cell(&gone["name"])))
            }
        }
    }
}

fn table(types: &Value) -> Table {
    let (whole, cut) = (Fit::Whole, Fit::Cut);
    let mut table = Table::new(&[
        ("NAME", whole),
        ("VERSION", Fit::Number),
        ("ENFORCED", whole),
        ("DESCRIPTION", cut),
        ("UPDATED", whole),
    ]);
    for kind in rows(types) {
        table.row([
            cell(&kind["name"]),
            cell(&kind["version"]),
            yes(&kind["enforce"]),
            some(&kind["description"]).unwrap_or_else(|| "-".to_owned()),
            time_cell(&kind["updated"]),
        ]);
    }
    table
}

fn details(kind: &Value) -> Details {
    Details::default()
        .with("name", some(&kind["name"]))
        .with("description", some(&kind["description"]))
        .with("enforced", yes(&kind["enforce"]))
        .with("version", some(&kind["version"]))
        .with("schema", some(&kind["schema"]))
        .with("example", some(&kind["example"]))
        .with("created", time(&kind["created"]))
        .with("updated", time(&kind["updated"]))
}
