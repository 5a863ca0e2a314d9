//! `octohooks endpoint`: the endpoints of an application, and their secrets.

use super::{
    applications::named,
    endpoint_fields::{Changes, Fields},
    failure::Outcome,
    output::{Run, Session, cell, rows, some, time, time_cell, yes},
    pages::{List, Numbered},
    table::{Details, Fit, Table},
    times,
};
use crate::model::Millis;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// What to do with endpoints.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List an application's endpoints
    List {
        /// The application's id or uid
        app: String,
        #[command(flatten)]
        pages: Numbered,
    },
    /// Show one; its secrets only if asked for
    Get {
        #[command(flatten)]
        which: Which,
        /// Show the secrets that sign, and until when, instead
        #[arg(long)]
        secrets: bool,
    },
    /// Create one; without a secret it gets one
    Create {
        /// The application's id or uid
        app: String,
        #[command(flatten)]
        fields: Box<Fields>,
    },
    /// Change what is given, and leave the rest as it is
    Update {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        changes: Box<Changes>,
    },
    /// Delete one; what waits for it stops
    Delete {
        #[command(flatten)]
        which: Which,
    },
    /// Let a new secret sign, and the old ones beside it for a while
    RotateSecret {
        #[command(flatten)]
        which: Which,
        /// The new secret; made if absent
        #[arg(long)]
        secret: Option<String>,
        /// How long the old ones go on to sign, like 1h or 7d [default: 24h]
        #[arg(long, value_name = "TIME", value_parser = times::length)]
        grace: Option<Millis>,
    },
}

/// An endpoint of an application.
#[derive(Debug, Args)]
pub struct Which {
    /// The application's id or uid
    app: String,
    /// The endpoint's id or uid
    endpoint: String,
}

impl Which {
    fn path(&self) -> [&str; 4] {
        ["applications", &self.app, "endpoints", &self.endpoint]
    }
}

impl Run for Verb {
    async fn run(self, session: &Session) -> Outcome {
        let Session { client, output } = session;
        match self {
            Self::List { app, pages } => {
                let path = &["applications", &app, "endpoints"];
                let list = List { path, query: Vec::new(), what: "endpoints", table };
                list.numbered(session, pages).await
            }
            Self::Get { which, secrets: false } => {
                output.one(&client.get(&which.path()).await?, details)
            }
            Self::Get { which, secrets: true } => {
                let path = [&which.path()[..], &["secrets"]].concat();
                output.many(&client.get(&path).await?, "secrets", secrets)
            }
            Self::Create { app, fields } => {
                let path = &["applications", &app, "endpoints"];
                output.one(&client.post(path, &fields.json()).await?, with_secrets)
            }
            Self::Update { which, changes } => {
                // A PUT says all: what it leaves out is gone.
                let old = client.get(&which.path()).await?.value()?;
                output.one(&client.put(&which.path(), &changes.over(&old)).await?, details)
            }
            Self::Delete { which } => {
                let gone = client.delete(&which.path()).await?;
                output.done(&gone, |endpoint| format!("deleted the endpoint {}", named(endpoint)))
            }
            Self::RotateSecret { which, secret, grace } => {
                let path = [&which.path()[..], &["secrets", "rotate"]].concat();
                let body = json!({ "secret": secret, "gracePeriod": grace });
                output.one(&client.post(&path, &body).await?, with_secrets)
            }
        }
    }
}

fn table(endpoints: &[Value]) -> Table {
    let (whole, cut) = (Fit::Whole, Fit::Cut);
    let mut table = Table::new(&[
        ("ID", whole),
        ("UID", cut),
        ("URL", cut),
        ("ENABLED", whole),
        ("EVENT TYPES", cut),
        ("CHANNELS", Fit::Spare),
    ]);
    for endpoint in endpoints {
        table.row([
            cell(&endpoint["id"]),
            cell(&endpoint["uid"]),
            cell(&endpoint["url"]),
            yes(&endpoint["enabled"]),
            all_or(&endpoint["eventTypes"]),
            all_or(&endpoint["channels"]),
        ]);
    }
    table
}

/// An empty list means every one.
fn all_or(names: &Value) -> String {
    some(names).unwrap_or_else(|| "all".to_owned())
}

fn details(endpoint: &Value) -> Details {
    let headers = endpoint["headers"].as_object().into_iter().flatten();
    let headers = headers.map(|(name, value)| format!("{name}: {}", cell(value)));
    let headers = Some(headers.collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty());
    let limit = &endpoint["rateLimit"];
    let limit = limit.is_object().then(|| {
        format!("{} a {}, {} at once", limit["limit"], cell(&limit["per"]), limit["burst"])
    });
    let ascii = endpoint["asciiPayload"] == true;
    let format = some(&endpoint["format"]).filter(|format| format != "none");
    Details::default()
        .with("id", some(&endpoint["id"]))
        .with("uid", some(&endpoint["uid"]))
        .with("name", some(&endpoint["name"]))
        .with("url", some(&endpoint["url"]))
        .with("enabled", yes(&endpoint["enabled"]))
        .with("event types", all_or(&endpoint["eventTypes"]))
        .with("channels", all_or(&endpoint["channels"]))
        .with("headers", headers)
        .with("signatures", some(&endpoint["signatures"]))
        .with("payload", ascii.then(|| "as ASCII".to_owned()))
        .with("format", format)
        .with("dead letters to", some(&endpoint["deadLetterEndpoint"]))
        .with("rate limit", limit)
        .with("in flight", some(&endpoint["maxInFlight"]).map(|most| format!("at most {most}")))
        .with("created", time(&endpoint["created"]))
        .with("updated", time(&endpoint["updated"]))
}

/// Who made a secret has to give it to the receiver.
fn with_secrets(endpoint: &Value) -> Details {
    let secrets = endpoint["secrets"].as_array().into_iter().flatten();
    secrets.fold(details(endpoint), |details, secret| details.with("secret", some(secret)))
}

fn secrets(list: &Value) -> Table {
    let mut table = Table::new(&[("SECRET", Fit::Whole), ("SIGNS UNTIL", Fit::Whole)]);
    for secret in rows(list) {
        table.row([cell(&secret["secret"]), time_cell(&secret["expires"])]);
    }
    for key in list["publicKeys"].as_array().into_iter().flatten() {
        table.row([cell(key), "(public key)".to_owned()]);
    }
    table
}
