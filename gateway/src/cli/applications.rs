//! `octohooks app`: the applications of an environment.

use super::{
    failure::Outcome,
    output::{Run, Session, cell, some, time, time_cell},
    pages::{List, Numbered},
    table::{Details, Fit, Table},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// What to do with applications.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the applications
    List(Numbered),
    /// Show one
    Get {
        /// Its id or uid
        app: String,
    },
    /// Create one
    Create(Fields),
    /// Give one another name or uid
    Update {
        /// Its id or uid
        app: String,
        #[command(flatten)]
        fields: Fields,
    },
    /// Delete one, with its endpoints
    Delete {
        /// Its id or uid
        app: String,
    },
}

/// What an application has.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Fields {
    /// For people
    #[arg(long)]
    name: Option<String>,
    /// What you call it yourself: paths take it as they take the id
    #[arg(long)]
    uid: Option<String>,
}

impl Fields {
    fn json(self) -> Value {
        json!({ "name": self.name, "uid": self.uid })
    }
}

impl Run for Verb {
    async fn run(self, session: &Session) -> Outcome {
        let Session { client, output } = session;
        match self {
            Self::List(pages) => {
                let path = &["applications"];
                List { path, query: Vec::new(), what: "applications", table }
                    .numbered(session, pages)
                    .await
            }
            Self::Get { app } => output.one(&client.get(&["applications", &app]).await?, details),
            Self::Create(fields) => {
                output.one(&client.post(&["applications"], &fields.json()).await?, details)
            }
            Self::Update { app, fields } => {
                output.one(&client.put(&["applications", &app], &fields.json()).await?, details)
            }
            Self::Delete { app } => {
                let gone = client.delete(&["applications", &app]).await?;
                output.done(&gone, |app| format!("deleted the application {}", named(app)))
            }
        }
    }
}

/// What a person calls it, and its id.
pub fn named(thing: &Value) -> String {
    match some(&thing["uid"]).or_else(|| some(&thing["name"])) {
        Some(name) => format!("{name} ({})", cell(&thing["id"])),
        None => cell(&thing["id"]),
    }
}

fn table(applications: &[Value]) -> Table {
    let (whole, cut) = (Fit::Whole, Fit::Cut);
    let mut table = Table::new(&[("ID", whole), ("UID", cut), ("NAME", cut), ("CREATED", whole)]);
    for app in applications {
        table.row([
            cell(&app["id"]),
            cell(&app["uid"]),
            cell(&app["name"]),
            time_cell(&app["created"]),
        ]);
    }
    table
}

fn details(app: &Value) -> Details {
    Details::default()
        .with("id", some(&app["id"]))
        .with("uid", some(&app["uid"]))
        .with("name", some(&app["name"]))
        .with("created", time(&app["created"]))
        .with("updated", time(&app["updated"]))
}
