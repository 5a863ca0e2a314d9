//! `octohooks plugin inspect`: what a component is, or a definition, before anybody uploads it.

use super::{OUTPUT, component, failed, limits, size};
use crate::{
    cli::{
        failure::{Failure, Outcome, plain, plain_lines},
        table::Details,
    },
    workbench::{
        anatomy::{Anatomy, Needs},
        manifest::Manifest,
    },
};
use clap::Args;
use std::path::PathBuf;

/// Which component.
#[derive(Debug, Args)]
pub struct Inspect {
    /// The folder of a plugin that was built, a component, or the definition of a transform without code
    #[arg(default_value = ".", value_name = "FOLDER|FILE")]
    component: PathBuf,
    /// The gateway's configuration file, for its limits [default: the default limits]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl Inspect {
    /// Does it.
    pub fn run(self) -> Outcome {
        let options = limits(self.config.as_deref())?;
        let file = match self.component.is_dir() {
            true => Manifest::read(&self.component).map_err(failed)?.artifact,
            false => self.component,
        };
        let anatomy = Anatomy::of(&component(&file)?, options)
            .map_err(|problem| failed(problem).after(&file.display().to_string()))?;
        if self.json {
            let json = serde_json::to_string_pretty(&anatomy);
            return OUTPUT.raw(&json.map_err(|error| Failure::failed(error.to_string()))?);
        }
        OUTPUT.raw(&shown(&anatomy))
    }
}

fn shown(anatomy: &Anatomy) -> String {
    let bytes = match anatomy.size {
        bytes @ ..1024 => size(bytes),
        bytes => format!("{} ({bytes} bytes)", size(bytes)),
    };
    let accepted = match &anatomy.refused {
        None => "yes".to_owned(),
        Some(why) => format!("no: {why}"),
    };
    let kind = match &anatomy.definition {
        Some(_) => "transform, without code",
        None => anatomy.kind.unwrap_or("none: it is no plugin"),
    };
    let grants = anatomy.grants.join(", ");
    let mut text = Details::default()
        .with("kind", kind.to_owned())
        .with(
            "contract",
            anatomy.contract.as_ref().map(|version| format!("octohooks:plugin@{version}")),
        )
        .with("digest", Some(anatomy.digest.to_string()))
        .with("size", Some(bytes))
        .with("grants", Some(grants).filter(|grants| !grants.is_empty()))
        .with("accepted", Some(accepted))
        .text();
    let width = anatomy.imports.iter().map(|import| import.name.len()).max().unwrap_or(0);
    let title = |text: &mut String, title: &str, is_there: bool| {
        if is_there {
            text.push_str(&format!("\n{title}\n"));
        }
    };
    title(&mut text, "imports", !anatomy.imports.is_empty());
    for import in &anatomy.imports {
        let needs = match import.needs {
            Needs::Nothing => "always there".to_owned(),
            Needs::Empty => "there, with nothing behind it".to_owned(),
            Needs::Grant(grant) => format!("needs the grant `{grant}`"),
            Needs::Unknown => "no plugin can have it".to_owned(),
        };
        text.push_str(&format!("  {:width$}  {needs}\n", plain(&import.name)));
    }
    title(&mut text, "exports", !anatomy.exports.is_empty());
    for export in &anatomy.exports {
        text.push_str(&format!("  {}\n", plain(export)));
    }
    for (name, json) in [("settings", &anatomy.schema), ("definition", &anatomy.definition)] {
        title(&mut text, name, json.is_some());
        if let Some(json) = json {
            let json = serde_json::to_string_pretty(json).unwrap_or_default();
            text.push_str(&format!("{}\n", plain_lines(&json).trim_end()));
        }
    }
    text
}
