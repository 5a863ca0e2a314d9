//! `octohooks plugin logs`: what a plugin wrote, and how it failed, as the gateway remembers it.

use crate::cli::{
    client::{Answer, Call},
    failure::{Outcome, plain},
    output::{Run, Session, cell, rows, time_cell},
};
use clap::Args;
use reqwest::Method;
use serde_json::Value;
use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// How many lines are asked for at once while following.
const MOST: u64 = 1000;

/// Whose lines.
#[derive(Debug, Args)]
pub struct Logs {
    /// What the application calls the plugin
    name: String,
    /// The application's id or uid
    #[arg(long)]
    app: String,
    /// How many of the last lines
    #[arg(long, default_value = "100", value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
    /// Go on with what comes, until interrupted; with --json a line of JSON for each
    #[arg(long, short)]
    follow: bool,
}

impl Logs {
    async fn ask(&self, session: &Session, limit: u64, after: Option<u64>) -> Outcome<Answer> {
        let path = ["applications", &self.app, "plugins", &self.name, "log"];
        let mut query = vec![("limit", limit.to_string())];
        query.extend(after.map(|after| ("after", after.to_string())));
        session.client.call(Call::new(Method::GET, &path).query(query).patient()).await
    }

    async fn follow(&self, session: &Session, first: Answer) -> Outcome {
        let mut found = first.value()?;
        loop {
            show(session, &found)?;
            let lines = rows(&found).len() as u64;
            // More may be there already.
            if lines < MOST {
                tokio::time::sleep(PAUSE).await;
            }
            found = self.ask(session, MOST, found["after"].as_u64()).await?.value()?;
        }
    }
}

impl Run for Logs {
    async fn run(self, session: &Session) -> Outcome {
        let first = self.ask(session, self.limit, None).await?;
        match (self.follow, session.output.json) {
            (false, true) => session.output.raw(first.text()),
            (false, false) => {
                let found = first.value()?;
                if rows(&found).is_empty() {
                    session.output.aside("no lines");
                }
                show(session, &found)
            }
            (true, _) => tokio::select! {
                ended = self.follow(session, first) => ended,
                _ = tokio::signal::ctrl_c() => Ok(()),
            },
        }
    }
}

fn show(session: &Session, found: &Value) -> Outcome {
    if found["gap"] == true {
        session.output.aside("lines are missing here: more were written than are kept");
    }
    for line in rows(found) {
        let text = match session.output.json {
            true => line.to_string(),
            false => sentence(line),
        };
        session.output.raw(&text)?;
    }
    Ok(())
}

/// A line, for people: what a plugin wrote cannot write over it.
fn sentence(line: &Value) -> String {
    let failed = line["failure"].as_str().map_or_else(String::new, |kind| format!("{kind}: "));
    let (at, level) = (time_cell(&line["at"]), cell(&line["level"]));
    plain(&format!("{at}  {level:5}  {}  {failed}{}", cell(&line["message"]), cell(&line["text"])))
}
