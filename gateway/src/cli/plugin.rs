//! `octohooks plugin`: from an empty folder to a plugin in front of an application's messages. What runs on the author's
//! machine is in [`workbench`](crate::workbench); `deploy` and what is behind it are clients of the API like any
//! other command.

use super::{
    failure::{Failure, Outcome},
    output::{Output, Single},
};
use crate::{
    config,
    workbench::{
        Limits, Problem, build,
        manifest::{Language, Manifest},
        template,
    },
};
use clap::{Args, Subcommand};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

mod ask;
mod deploy;
mod deployed;
mod inspect;
mod logs;
mod simulate;
mod test;

/// What prints, for people.
const OUTPUT: Output = Output { json: false };

/// What to do with a plugin.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a folder with a plugin that builds and passes its test
    New(New),
    /// Build the component of a plugin's folder, by its plugin.toml
    Build {
        /// The plugin's folder
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Run a plugin's golden cases in the host that the gateway has
    Test(test::Test),
    /// Show what a component or a definition is, and what it needs
    Inspect(inspect::Inspect),
    /// Put a plugin in front of an application's messages
    Deploy(Single<deploy::Deploy>),
    /// List an application's plugins, in the order in which they are called
    List(Single<deployed::List>),
    /// Show a plugin with its versions
    Show(Single<deployed::Show>),
    /// Call another version of a plugin from now on
    Activate(Single<deployed::Activate>),
    /// Call the version that was active before
    Rollback(Single<deployed::Rollback>),
    /// Take a plugin out of quarantine as it is
    Release(Single<deployed::Release>),
    /// Delete a plugin with its versions; messages go on without it
    Delete(Single<deployed::Delete>),
    /// Show what a version would change, on messages that the application has had
    Simulate(Single<simulate::Simulate>),
    /// Show what a version of a signer or a classifier says, beside the active one
    Ask(Single<ask::Ask>),
    /// Show what a plugin wrote, and how it failed
    Logs(Single<logs::Logs>),
}

/// A new plugin.
#[derive(Debug, Args)]
pub struct New {
    /// Its name, and its folder's: lower-case letters, digits and hyphens
    name: String,
    /// What it is written in
    #[arg(long, value_enum)]
    lang: Language,
    /// Rust: take the crate octohooks-plugin from this folder; without, the plugin gets a copy
    #[arg(long, value_name = "FOLDER")]
    sdk: Option<PathBuf>,
}

/// Does it: the exit code.
pub fn start(verb: Verb) -> ExitCode {
    let done = match verb {
        Verb::New(new) => new.run(),
        Verb::Build { folder } => Manifest::read(&folder).map_err(failed).and_then(|plugin| {
            let built = built(&plugin)?;
            let size = size(built.len() as u64);
            OUTPUT.raw(&format!("{}: {size}", plugin.artifact.display()))
        }),
        Verb::Test(test) => test.run(),
        Verb::Inspect(inspect) => inspect.run(),
        Verb::Deploy(deploy) => return deploy.start(),
        Verb::List(list) => return list.start(),
        Verb::Show(show) => return show.start(),
        Verb::Activate(activate) => return activate.start(),
        Verb::Rollback(rollback) => return rollback.start(),
        Verb::Release(release) => return release.start(),
        Verb::Delete(delete) => return delete.start(),
        Verb::Simulate(simulate) => return simulate.start(),
        Verb::Ask(ask) => return ask.start(),
        Verb::Logs(logs) => return logs.start(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.say(),
    }
}

impl New {
    fn run(self) -> Outcome {
        let folder = Path::new(&self.name);
        template::create(folder, &self.name, self.lang, self.sdk.as_deref()).map_err(failed)?;
        let name = &self.name;
        OUTPUT.raw(&format!("made {name}; next: cd {name} && octohooks plugin test"))
    }
}

/// A problem of the workbench's.
fn failed(problem: Problem) -> Failure {
    Failure::lines(problem.0)
}

/// The plugin's component, made anew.
fn built(plugin: &Manifest) -> Outcome<Vec<u8>> {
    build::build(plugin).map_err(failed)?;
    component(&plugin.artifact)
}

fn component(file: &Path) -> Outcome<Vec<u8>> {
    let read = std::fs::read(file);
    read.map_err(|error| Failure::failed(format!("cannot read {}: {error}", file.display())))
}

/// A plugin as it was named: by its folder, or by its component or definition.
#[derive(Debug, Args)]
pub struct Named {
    /// A plugin's folder, a component, or the definition of a transform without code
    #[arg(default_value = ".", value_name = "FOLDER|FILE")]
    plugin: PathBuf,
    /// Take the folder's component as it is, without building it
    #[arg(long)]
    no_build: bool,
}

/// A plugin that is there.
struct Found {
    /// Its name: the manifest's, or the file's.
    name: String,
    /// Where its cases are.
    cases: PathBuf,
    /// The component, or the definition.
    bytes: Vec<u8>,
}

impl Named {
    fn find(&self) -> Outcome<Found> {
        let plugin = &self.plugin;
        if plugin.is_dir() {
            let manifest = Manifest::read(plugin).map_err(failed)?;
            let bytes = match self.no_build {
                false => built(&manifest)?,
                true if manifest.artifact.is_file() => component(&manifest.artifact)?,
                true => {
                    let artifact = manifest.artifact.display();
                    return Err(Failure::failed(format!(
                        "{artifact} is not built yet: leave out --no-build"
                    )));
                }
            };
            return Ok(Found { name: manifest.name, cases: plugin.join("cases"), bytes });
        }
        let bytes = component(plugin)?;
        let name =
            plugin.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into());
        Ok(Found { name, cases: plugin.with_file_name("cases"), bytes })
    }
}

/// The limits that a gateway with that configuration has.
fn limits(file: Option<&Path>) -> Outcome<Limits> {
    match file {
        None => Ok(Limits::default()),
        Some(file) => {
            let config = config::load(Some(file), &[]).map_err(Failure::usage)?;
            Ok(config.plugins)
        }
    }
}

/// So many bytes, for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
