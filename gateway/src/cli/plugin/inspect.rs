//! `octohooks plugin inspect`: what a component is, before anybody uploads it.

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
    /// A component, or the folder of a plugin that was built
    #[arg(default_value = ".", value_name = "FILE.wasm|FOLDER")]
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
    let bytes = format!("{} ({} bytes)", size(anatomy.size), anatomy.size);
    let accepted = match &anatomy.refused {
        None => "yes".to_owned(),
        Some(why) => format!("no: {why}"),
    };
    let mut text = Details::default()
        .with("kind", Some(anatomy.kind.unwrap_or("none: it is no plugin").to_owned()))
        .with(
            "contract",
            anatomy.contract.as_ref().map(|version| format!("octohooks:plugin@{version}")),
        )
        .with("digest", Some(anatomy.digest.to_string()))
        .with("size", Some(bytes))
        .with("accepted", Some(accepted))
        .text();
    let width = anatomy.imports.iter().map(|import| import.name.len()).max().unwrap_or(0);
    text.push_str("\nimports\n");
    for import in &anatomy.imports {
        let needs = match import.needs {
            Needs::Nothing => "every plugin has it".to_owned(),
            Needs::Empty => "there, with nothing behind it".to_owned(),
            Needs::Grant(grant) => format!("needs the grant `{grant}`"),
            Needs::Unknown => "no plugin can have it".to_owned(),
        };
        text.push_str(&format!("  {:width$}  {needs}\n", plain(&import.name)));
    }
    text.push_str("exports\n");
    for export in &anatomy.exports {
        text.push_str(&format!("  {}\n", plain(export)));
    }
    if let Some(schema) = &anatomy.schema {
        let schema = serde_json::to_string_pretty(schema).unwrap_or_default();
        text.push_str(&format!("settings\n{}\n", plain_lines(&schema).trim_end()));
    }
    text
}
