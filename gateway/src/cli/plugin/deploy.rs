//! `octohooks plugin deploy`: a component or a definition becomes a version of an application's plugin.

use super::Named;
use crate::{
    cli::{
        client::Call,
        failure::{Failure, Outcome},
        output::{Run, Session, some},
    },
    workbench::{anatomy, is_definition, manifest},
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
    /// An ed25519 signature of the component's SHA-256, in base64, for a gateway with trusted keys; `inspect` shows the
    /// digest
    #[arg(long, value_name = "BASE64")]
    signature: Option<String>,
}

impl Run for Deploy {
    async fn run(self, session: &Session) -> Outcome {
        let found = self.named.find()?;
        let name = self.name.unwrap_or(found.name);
        manifest::check_name(&name)
            .map_err(|problem| Failure::usage(format!("{problem}; give another with --name")))?;
        let path = ["applications", &self.app, "plugins", &name];
        let query = match self.no_activate {
            true => vec![("activate", "false".to_owned())],
            false => Vec::new(),
        };
        let digest = anatomy::digest(&found.bytes).to_string();
        let call = Call::new(Method::PUT, &path).query(query);
        let media_type = match is_definition(&found.bytes) {
            true => "application/json",
            false => "application/wasm",
        };
        let mut call = call.bytes(found.bytes, media_type);
        if let Some(signature) = self.signature {
            call = call.header("octohooks-signature", signature);
        }
        let answer = session.client.call(call).await?;
        session.output.done(&answer, |plugin| sentence(plugin, &name, &self.app, &digest))
    }
}

/// What there is now, as the gateway says.
fn sentence(plugin: &Value, name: &str, app: &str, digest: &str) -> String {
    match some(&plugin["active"]) {
        Some(active) if active == digest => format!("{name} is active for {app}: {digest}"),
        Some(active) => format!("kept {digest} of {name} for {app}; active is {active}"),
        None => format!("kept {digest} of {name} for {app}; none is active"),
    }
}
