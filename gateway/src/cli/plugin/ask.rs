//! `octohooks plugin ask`: what a version of a signer or a classifier says, beside the active one.

use crate::cli::{
    client::Call,
    failure::{Outcome, plain},
    input,
    output::{Run, Session, cell, some, yes},
    table::Details,
};
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json, value::RawValue};
use std::path::PathBuf;

/// Which version, about what.
#[derive(Debug, Args)]
pub struct Ask {
    /// What the application calls the plugin
    name: String,
    /// The application's id or uid
    #[arg(long)]
    app: String,
    /// Whose request or answer it is: the endpoint's id or uid
    #[arg(long)]
    endpoint: String,
    /// Of a signer, about this request, with a body: a file with JSON, or - for stdin
    #[arg(long, value_name = "FILE", required_unless_present = "answer")]
    request: Option<PathBuf>,
    /// Of a classifier, about this answer, with status, headers and body: a file with JSON, or - for stdin
    #[arg(long, value_name = "FILE", conflicts_with = "request")]
    answer: Option<PathBuf>,
    /// One of its versions [default: the newest that is not active]
    #[arg(long, value_name = "DIGEST")]
    version: Option<String>,
    /// Settings for this version instead of the plugin's: a file with JSON, or - for stdin
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

impl Ask {
    /// The body. Files stay as they are, byte for byte.
    fn body(&self) -> Outcome<String> {
        let mut all = vec![format!("\"endpoint\":{}", json!(self.endpoint))];
        all.extend(self.version.as_ref().map(|digest| format!("\"version\":{}", json!(digest))));
        let files =
            [("request", &self.request), ("answer", &self.answer), ("settings", &self.settings)];
        for (name, file) in files {
            if let Some(file) = file {
                let document: Box<RawValue> = input::json(file)?;
                all.push(format!("\"{name}\":{document}"));
            }
        }
        Ok(format!("{{{}}}", all.join(",")))
    }
}

impl Run for Ask {
    async fn run(self, session: &Session) -> Outcome {
        let path = ["applications", &self.app, "plugins", &self.name, "ask"];
        let call = Call::new(Method::POST, &path).body(&self.body()?);
        let answer = session.client.call(call).await?;
        match session.output.json {
            true => session.output.raw(answer.text()),
            false => session.output.raw(&shown(&answer.value()?)),
        }
    }
}

fn shown(found: &Value) -> String {
    let cost = |said: &Value| {
        let fuel = some(&said["cost"]["fuel"]).map(|fuel| format!("{fuel} fuel, "));
        format!("{}{} µs", fuel.unwrap_or_default(), cell(&said["cost"]["wallMicros"]))
    };
    let mut text = Details::default()
        .with("version", some(&found["version"]))
        .with("active", some(&found["active"]))
        .with("the same", yes(&found["same"]))
        .with("took", cost(&found["said"]))
        .text();
    for (title, said) in [("the version", &found["said"]), ("the active one", &found["activeSaid"])]
    {
        if said.is_object() {
            text.push_str(&format!("\n{title}\n"));
            lines(said).iter().for_each(|line| text.push_str(&format!("  {}\n", plain(line))));
        }
    }
    text
}

/// What one said, and wrote.
fn lines(said: &Value) -> Vec<String> {
    let list = |field: &str| said[field].as_array().cloned().unwrap_or_default();
    let (failure, wait) = (&said["failure"], &said["retryAfterMs"]);
    let mut lines: Vec<_> = list("headers")
        .iter()
        .map(|pair| format!("{}: {}", cell(&pair[0]), cell(&pair[1])))
        .collect();
    lines.extend(some(&said["meaning"]).map(|meaning| match some(wait) {
        Some(wait) => format!("{meaning}, after {wait} ms"),
        None => meaning,
    }));
    if failure.is_object() {
        lines.push(format!("failed: {}: {}", cell(&failure["kind"]), cell(&failure["reason"])));
    }
    let wrote = |line: &Value| format!("{:5} {}", cell(&line["level"]), cell(&line["text"]));
    lines.extend(list("log").iter().map(wrote));
    lines
}
