//! `plugin.toml`: what a plugin's folder says of itself. For `build`, and for whoever gets a folder.

use super::Problem;
use clap::ValueEnum;
use serde::Deserialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The file's name.
pub const FILE: &str = "plugin.toml";
/// The world of a plugin that does not say.
pub const TRANSFORM: &str = "transform";

/// A plugin's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Where it is.
    pub folder: PathBuf,
    /// As it is called on a gateway.
    pub name: String,
    /// What it is written in.
    pub language: Language,
    /// The world of the contract, or of the folder's own `wit`, that it is built for; in Rust the code says it.
    pub world: String,
    /// The component, once it is built.
    pub artifact: PathBuf,
}

/// What a plugin may be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// With the crate octohooks-plugin
    Rust,
    /// With componentize-js, from npm
    Javascript,
    /// With componentize-py, from PyPI
    Python,
    /// With clang, or zig
    C,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    plugin: Section,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    name: String,
    language: Language,
    #[serde(default)]
    world: Option<String>,
    #[serde(default)]
    artifact: Option<PathBuf>,
}

impl Manifest {
    /// Of that folder.
    pub fn read(folder: &Path) -> Result<Self, Problem> {
        let path = folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = folder.display();
                return Err(Problem::new(format!(
                    "no {FILE} in {folder}: give a plugin's folder, or make one with `octohooks plugin new`"
                )));
            }
            Err(error) => return Err(Problem::new(error.to_string()).at(path.display())),
        };
        Self::parse(folder, &text).map_err(|problem| problem.at(path.display()))
    }

    fn parse(folder: &Path, text: &str) -> Result<Self, Problem> {
        let File { plugin } = toml::from_str(text)
            .map_err(|error| Problem::new(error.to_string().trim_end().to_owned()))?;
        check_name(&plugin.name)?;
        if let Some(world) = &plugin.world {
            check_world(world, plugin.language)?;
        }
        let artifact = plugin.artifact.unwrap_or_else(|| {
            let file = format!("{}.wasm", plugin.name);
            Path::new("build").join(file)
        });
        Ok(Self {
            folder: folder.to_owned(),
            name: plugin.name,
            language: plugin.language,
            world: plugin.world.unwrap_or_else(|| TRANSFORM.to_owned()),
            artifact: folder.join(artifact),
        })
    }
}

/// Whether a plugin may be called that.
pub fn check_name(name: &str) -> Result<(), Problem> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    match begins && name.len() <= 64 && name.chars().all(legal) {
        true => Ok(()),
        false => Err(Problem::new(format!(
            "`{name}` is no name for a plugin: a lower-case letter first, then up to 63 of a-z, 0-9 and `-`"
        ))),
    }
}

/// Whether a plugin in that language may be built for a world of that name.
fn check_world(world: &str, language: Language) -> Result<(), Problem> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if language == Language::Rust {
        return Err(Problem::new(
            "`world` is for other languages: in Rust `export!`, `export_signer!` or `export_classifier!` says it",
        ));
    }
    match world.starts_with(|c: char| c.is_ascii_lowercase()) && world.chars().all(legal) {
        true => Ok(()),
        false => Err(Problem::new(format!(
            "`{world}` is no name of a world in small letters: `transform`, `sign`, `classify`, or one of your own in `wit`"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_says_what_it_is() {
        let read = |text| Manifest::parse(Path::new("a"), text);
        let short = read("[plugin]\nname = \"orders\"\nlanguage = \"python\"\n").expect("good");
        assert_eq!(short.artifact, Path::new("a/build/orders.wasm"));
        assert_eq!((&*short.name, short.language), ("orders", Language::Python));
        assert_eq!(short.world, "transform");
        let signer = "[plugin]\nname = \"o\"\nlanguage = \"c\"\nworld = \"sign\"\n";
        assert_eq!(read(signer).expect("good").world, "sign");
        let named = "[plugin]\nname = \"o\"\nlanguage = \"c\"\nartifact = \"out/o.wasm\"\n";
        assert_eq!(read(named).expect("good").artifact, Path::new("a/out/o.wasm"));
        let table = [
            ("", "missing field `plugin`"),
            ("[plugin]\nname = \"o\"\n", "missing field `language`"),
            ("[plugin]\nname = \"o\"\nlanguage = \"cobol\"\n", "unknown variant `cobol`"),
            ("[plugin]\nname = \"O\"\nlanguage = \"c\"\n", "`O` is no name for a plugin"),
            ("[plugin]\nname = \"o\"\nlanguage = \"c\"\nbuilt = 1\n", "unknown field `built`"),
            ("[plugin]\nname = \"o\"\nlanguage = \"c\"\nworld = \"../a\"\n", "no name of a world"),
            (
                "[plugin]\nname = \"o\"\nlanguage = \"rust\"\nworld = \"sign\"\n",
                "in Rust `export!`",
            ),
        ];
        for (text, expected) in table {
            let said = read(text).expect_err(expected).to_string();
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn a_name_is_what_a_path_can_have() {
        for good in ["a", "sms-status", "a1", &"a".repeat(64)] {
            assert_eq!(check_name(good), Ok(()));
        }
        for bad in ["", "A", "1a", "-a", "a_b", "a/b", "ä", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
