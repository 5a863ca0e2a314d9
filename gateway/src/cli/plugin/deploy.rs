//! `octohooks plugin deploy`: a component becomes a version of an application's plugin.

use super::Named;
use crate::cli::{
    client::Call,
    failure::{Failure, Outcome},
    output::{Run, Session, cell, some},
};
use clap::Args;
use reqwest::Method;
use serde_json::Value;

/// Which plugin, and where to.
#[derive(Debug, Args)]
pub struct Deploy {
    #[command(flatten)]
    named: Named,
    /// The application's id or uid
    #[arg(long)]
    app: String,
    /// What the application calls it [default: the name in plugin.toml, or the file's]
    #[arg(long)]
    name: Option<String>,
    /// Only keep it: the version that is active stays
    #[arg(long)]
    no_activate: bool,
}

impl Run for Deploy {
    async fn run(self, session: &Session) -> Outcome {
        let found = self.named.find()?;
        let name = self.name.unwrap_or(found.name);
        crate::workbench::manifest::check_name(&name)
            .map_err(|problem| Failure::usage(format!("{problem}; give another with --name")))?;
        let path = ["applications", &self.app, "plugins", &name];
        let query = match self.no_activate {
            true => vec![("activate", "false".to_owned())],
            false => Vec::new(),
        };
        let call =
            Call::new(Method::PUT, &path).query(query).bytes(found.bytes, "application/wasm");
        let answer = session.client.call(call).await?;
        session.output.done(&answer, |plugin| sentence(plugin, &name, &self.app, self.no_activate))
    }
}

fn sentence(plugin: &Value, name: &str, app: &str, kept: bool) -> String {
    let active = some(&plugin["active"]).or_else(|| some(&plugin["digest"]));
    match (kept, active) {
        (true, Some(active)) => format!("kept a version of {name} for {app}; active is {active}"),
        (true, None) => format!("kept a version of {name} for {app}; none is active"),
        (false, active) => {
            format!("{name} is active for {app}: {}", active.unwrap_or_else(|| cell(&Value::Null)))
        }
    }
}
