//! `octohooks environments`: for whoever has the root key.

use super::{
    failure::Outcome,
    output::{Run, Session, cell, rows, some, time, time_cell},
    table::{Details, Fit, Table},
};
use clap::Subcommand;
use serde_json::{Value, json};

/// What to do with environments. The key must be the root key.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the environments
    List,
    /// Create one
    Create {
        /// Small letters, digits and hyphens
        name: String,
    },
    /// Delete one that has no applications, with its keys
    Delete {
        /// Its name or id
        environment: String,
    },
}

impl Run for Verb {
    async fn run(self, Session { client, output }: &Session) -> Outcome {
        match self {
            Self::List => output.many(&client.get(&["environments"]).await?, "environments", table),
            Self::Create { name } => output
                .one(&client.post(&["environments"], &json!({ "name": name })).await?, details),
            Self::Delete { environment } => {
                let gone = client.delete(&["environments", &environment]).await?;
                output
                    .done(&gone, |gone| format!("deleted the environment {}", cell(&gone["name"])))
            }
        }
    }
}

fn table(environments: &Value) -> Table {
    let mut table =
        Table::new(&[("NAME", Fit::Whole), ("ID", Fit::Whole), ("CREATED", Fit::Whole)]);
    for environment in rows(environments) {
        // The one that is there from the start has no time.
        let created = match environment["created"].as_u64() {
            Some(0) => "-".to_owned(),
            _ => time_cell(&environment["created"]),
        };
        table.row([cell(&environment["name"]), cell(&environment["id"]), created]);
    }
    table
}

fn details(environment: &Value) -> Details {
    Details::default()
        .with("name", some(&environment["name"]))
        .with("id", some(&environment["id"]))
        .with("created", time(&environment["created"]))
}
