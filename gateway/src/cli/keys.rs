//! `octohooks keys`: an environment's keys, and tokens for an application's own page.

use super::{
    failure::Outcome,
    output::{Run, Session, cell, rows, some, time, time_cell},
    table::{Details, Fit, Table},
    times,
};
use crate::model::Millis;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// What to do with keys. The key must be the root key, or one of scope `admin`; for a token any of the environment.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Create a key; it is shown once
    Create {
        /// For people
        name: String,
        /// What it may do: everything, everything but keys, send messages only, or what concerns one application
        #[arg(long, value_parser = ["admin", "environment", "publish", "application"])]
        scope: String,
        /// The application of that scope: its id or uid
        #[arg(long, required_if_eq("scope", "application"))]
        application: Option<String>,
        /// When it ends: in a time like 90d, or at one like 2027-01-01 [default: never]
        #[arg(long, value_name = "TIME", value_parser = times::future)]
        expires: Option<Millis>,
        #[command(flatten)]
        of: Of,
    },
    /// List the keys, without their texts
    List {
        #[command(flatten)]
        of: Of,
    },
    /// Give a key another text; it is shown once
    Rotate {
        /// Its id
        id: String,
        /// How long the old text is good, like 1h [default: not at all]
        #[arg(long, value_name = "TIME", value_parser = times::length)]
        grace: Option<Millis>,
        #[command(flatten)]
        of: Of,
    },
    /// Take a key back; it opens nothing any more
    Revoke {
        /// Its id
        id: String,
        #[command(flatten)]
        of: Of,
    },
    /// Make a short-lived key for one application's own page
    Token {
        /// The application's id or uid
        app: String,
        /// How long it is good, up to 7d [default: 1h]
        #[arg(long, value_name = "TIME", value_parser = times::length)]
        expires_in: Option<Millis>,
    },
}

/// Whose keys.
#[derive(Debug, Args)]
pub struct Of {
    /// The environment's name or id
    #[arg(long, value_name = "NAME", default_value = "default")]
    environment: String,
}

impl Of {
    fn keys<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        [&["environments", &*self.environment, "keys"], rest].concat()
    }
}

impl Run for Verb {
    async fn run(self, Session { client, output }: &Session) -> Outcome {
        match self {
            Self::Create { name, scope, application, expires, of } => {
                let body = json!({
                    "name": name, "scope": scope, "application": application, "expires": expires,
                });
                output.one(&client.post(&of.keys(&[]), &body).await?, details)
            }
            Self::List { of } => output.many(&client.get(&of.keys(&[])).await?, "keys", table),
            Self::Rotate { id, grace, of } => {
                let body = json!({ "gracePeriod": grace });
                output.one(&client.post(&of.keys(&[&id, "rotate"]), &body).await?, details)
            }
            Self::Revoke { id, of } => {
                let gone = client.delete(&of.keys(&[&id])).await?;
                output.done(&gone, |key| {
                    format!("revoked the key {} ({})", cell(&key["name"]), cell(&key["id"]))
                })
            }
            Self::Token { app, expires_in } => {
                let body = json!({ "expiresIn": expires_in.map(|millis| millis.div_ceil(1000)) });
                output.one(&client.post(&["applications", &app, "tokens"], &body).await?, details)
            }
        }
    }
}

fn table(keys: &Value) -> Table {
    let (whole, cut) = (Fit::Whole, Fit::Cut);
    let mut table = Table::new(&[
        ("ID", whole),
        ("NAME", cut),
        ("SCOPE", whole),
        ("APPLICATION", cut),
        ("PREFIX", Fit::Spare),
        ("EXPIRES", Fit::Spare),
        ("CREATED", Fit::Spare),
    ]);
    for key in rows(keys) {
        table.row([
            cell(&key["id"]),
            cell(&key["name"]),
            cell(&key["scope"]),
            cell(&key["application"]),
            cell(&key["prefix"]),
            time_cell(&key["expires"]),
            time_cell(&key["created"]),
        ]);
    }
    table
}

fn details(key: &Value) -> Details {
    Details::default()
        .with("id", some(&key["id"]))
        .with("name", some(&key["name"]))
        .with("scope", some(&key["scope"]))
        .with("application", some(&key["application"]))
        .with("expires", time(&key["expires"]))
        .with("key", some(&key["key"]))
}
