//! `octohooks plugin list | show | activate | rollback | release | delete`: the plugins that an application has.

use super::size;
use crate::cli::{
    client::Call,
    failure::{Failure, Outcome},
    output::{Run, Session, cell, rows, some, time, time_cell},
    table::{Details, Fit, Table},
};
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

/// Characters of a digest that tell versions apart for people.
const SHORT: usize = 12;

/// An application.
#[derive(Debug, Args)]
pub struct Whose {
    /// The application's id or uid
    #[arg(long)]
    app: String,
}

/// A plugin of an application.
#[derive(Debug, Args)]
pub struct Which {
    /// What the application calls the plugin
    name: String,
    #[command(flatten)]
    whose: Whose,
}

impl Which {
    fn path(&self) -> [&str; 4] {
        ["applications", &self.whose.app, "plugins", &self.name]
    }

    /// Does that to it, and says what there is now.
    async fn call(&self, session: &Session, verb: &str, body: Option<&Value>) -> Outcome {
        let [a, b, c, d] = self.path();
        let path = [a, b, c, d, verb];
        let call = Call::new(Method::POST, &path);
        let call = match body {
            Some(body) => call.body(body),
            None => call,
        };
        let answer = session.client.call(call).await?;
        let Self { name, whose: Whose { app } } = self;
        session.output.done(&answer, |plugin| match some(&plugin["active"]) {
            Some(active) => format!("{name} is active for {app}: {active}"),
            None => format!("no version of {name} is active for {app}"),
        })
    }

    /// The one version whose digest begins so.
    async fn version(&self, session: &Session, start: &str) -> Outcome<String> {
        let plugin = session.client.get(&self.path()).await?.value()?;
        let versions = rows(&plugin["versions"]).iter().filter_map(|v| v["digest"].as_str());
        let mut found = versions.filter(|digest| digest.starts_with(start));
        match (found.next(), found.next()) {
            (Some(digest), None) => Ok(digest.to_owned()),
            (None, _) => Err(Failure::failed(format!("{} has no version {start}", self.name))),
            _ => Err(Failure::failed(format!("{} has several versions {start}…", self.name))),
        }
    }
}

/// All of an application.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    whose: Whose,
}

/// One.
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    which: Which,
}

/// Another version.
#[derive(Debug, Args)]
pub struct Activate {
    #[command(flatten)]
    which: Which,
    /// The version's digest, or its beginning
    #[arg(value_name = "DIGEST")]
    version: String,
}

/// The version before.
#[derive(Debug, Args)]
pub struct Rollback {
    #[command(flatten)]
    which: Which,
}

/// Out of quarantine.
#[derive(Debug, Args)]
pub struct Release {
    #[command(flatten)]
    which: Which,
}

/// One that is to go.
#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    which: Which,
}

impl Run for List {
    async fn run(self, session: &Session) -> Outcome {
        let answer = session.client.get(&["applications", &self.whose.app, "plugins"]).await?;
        session.output.many(&answer, "plugins", table)
    }
}

impl Run for Show {
    async fn run(self, session: &Session) -> Outcome {
        let Session { client, output } = session;
        let answer = client.get(&self.which.path()).await?;
        output.one(&answer, details)?;
        if output.json {
            return Ok(());
        }
        output.raw("\n")?;
        output.table(&versions(&answer.value()?), "versions", true)
    }
}

impl Run for Activate {
    async fn run(self, session: &Session) -> Outcome {
        let digest = self.which.version(session, &self.version).await?;
        self.which.call(session, "activate", Some(&json!({ "digest": digest }))).await
    }
}

impl Run for Rollback {
    async fn run(self, session: &Session) -> Outcome {
        self.which.call(session, "rollback", None).await
    }
}

impl Run for Release {
    async fn run(self, session: &Session) -> Outcome {
        self.which.call(session, "release", None).await
    }
}

impl Run for Delete {
    async fn run(self, session: &Session) -> Outcome {
        let gone = session.client.delete(&self.which.path()).await?;
        let Which { name, whose: Whose { app } } = &self.which;
        session.output.done(&gone, |_| format!("deleted the plugin {name} of {app}"))
    }
}

/// The beginning of a digest, as a cell.
fn short(digest: &Value) -> String {
    cell(digest).chars().take(SHORT).collect()
}

/// Whether it is called, in a word or two.
fn state(plugin: &Value) -> String {
    let trial = &plugin["trial"];
    let said = if plugin["quarantined"].is_string() {
        "quarantine"
    } else if plugin["active"].is_null() {
        "not called"
    } else if trial["stopped"].is_string() {
        "trial stopped"
    } else if trial["percent"].is_u64() {
        return format!("canary {} %", trial["percent"]);
    } else if trial.is_object() {
        "shadow"
    } else {
        "active"
    };
    said.to_owned()
}

fn table(found: &Value) -> Table {
    let (whole, cut) = (Fit::Whole, Fit::Cut);
    let mut table = Table::new(&[
        ("NAME", cut),
        ("KIND", whole),
        ("STATE", whole),
        ("ACTIVE", whole),
        ("VERSIONS", Fit::Number),
        ("PLACE", Fit::Number),
        ("POLICY", Fit::Spare),
        ("UPDATED", Fit::Spare),
    ]);
    for plugin in rows(found) {
        table.row([
            cell(&plugin["name"]),
            cell(&plugin["kind"]),
            state(plugin),
            short(&plugin["active"]),
            rows(&plugin["versions"]).len().to_string(),
            cell(&plugin["place"]),
            cell(&plugin["policy"]),
            time_cell(&plugin["updated"]),
        ]);
    }
    table
}

fn details(plugin: &Value) -> Details {
    let settings = plugin["settings"].as_object().filter(|settings| !settings.is_empty());
    Details::default()
        .with("name", some(&plugin["name"]))
        .with("kind", some(&plugin["kind"]))
        .with("state", state(plugin))
        .with("quarantine", some(&plugin["quarantined"]))
        .with("trial stopped", some(&plugin["trial"]["stopped"]))
        .with("place", some(&plugin["place"]))
        .with("policy", some(&plugin["policy"]))
        .with("settings", settings.map(|settings| Value::from(settings.clone()).to_string()))
        .with("created", time(&plugin["created"]))
        .with("updated", time(&plugin["updated"]))
}

/// The newest first.
fn versions(plugin: &Value) -> Table {
    let whole = Fit::Whole;
    let mut table = Table::new(&[
        ("VERSION", whole),
        ("", whole),
        ("SIZE", Fit::Number),
        ("CODE", Fit::Number),
        ("CREATED", whole),
    ]);
    for version in rows(&plugin["versions"]).iter().rev() {
        let digest = &version["digest"];
        let roles = [
            ("active", &plugin["active"]),
            ("tried", &plugin["trial"]["version"]),
            ("previous", &plugin["previous"]),
        ];
        let role = roles.into_iter().find(|(_, of)| *of == digest).map_or("", |(role, _)| role);
        let bytes = |field: &str| version[field].as_u64().filter(|bytes| *bytes > 0);
        table.row([
            cell(digest),
            role.to_owned(),
            bytes("size").map_or_else(|| "-".to_owned(), size),
            bytes("codeSize").map_or_else(|| "-".to_owned(), size),
            time_cell(&version["created"]),
        ]);
    }
    table
}
