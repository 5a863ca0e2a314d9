//! A new plugin's folder: for each language what builds and passes its case at once. For `octohooks plugin new`. The
//! files are in `gateway/templates`, inside this program; `NAME` in them is the plugin's name.

use super::{
    Problem,
    manifest::{Language, check_name},
};
use std::{fs, path::Path};

/// A file's path in the folder, and its text.
type File = (&'static str, &'static str);

macro_rules! files {
    ($folder:literal: $($name:literal = $file:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../templates/", $folder, "/", $file)))),+]
    };
}

macro_rules! contract {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../wit/since-v0.1/", $name)))
    };
}

/// The contract, for languages whose tools want it in a folder. A test holds that it is the whole of it.
const CONTRACT: &[File] = &[
    contract!("always.wit"),
    contract!("capabilities.wit"),
    contract!("classify.wit"),
    contract!("configuration.wit"),
    contract!("http.wit"),
    contract!("keyvalue.wit"),
    contract!("plugin.wit"),
    contract!("sign.wit"),
    contract!("transform.wit"),
    contract!("types.wit"),
];

const RUST: &[File] = files!("rust":
    "Cargo.toml" = "Cargo.toml.txt", "src/lib.rs" = "lib.rs.txt", ".gitignore" = "gitignore",
    "plugin.toml" = "plugin.toml", "README.md" = "README.md",
    "cases/hello.json" = "hello.json", "cases/unreadable.json" = "unreadable.json");
const JAVASCRIPT: &[File] = files!("javascript":
    "plugin.js" = "plugin.js", "build.mjs" = "build.mjs", "package.json" = "package.json",
    ".gitignore" = "gitignore", "plugin.toml" = "plugin.toml", "README.md" = "README.md",
    "cases/hello.json" = "hello.json", "cases/unreadable.json" = "unreadable.json");
const PYTHON: &[File] = files!("python":
    "plugin.py" = "plugin.py", "requirements.txt" = "requirements.txt", ".gitignore" = "gitignore",
    "plugin.toml" = "plugin.toml", "README.md" = "README.md",
    "cases/hello.json" = "hello.json", "cases/unreadable.json" = "unreadable.json");
const C: &[File] = files!("c":
    "plugin.c" = "plugin.c", ".gitignore" = "gitignore",
    "plugin.toml" = "plugin.toml", "README.md" = "README.md",
    "cases/hello.json" = "hello.json", "cases/large.json" = "large.json");

/// Makes the folder; what is there already is never overwritten. `sdk` is where the Rust crate is, if not on crates.io.
pub fn create(
    folder: &Path,
    name: &str,
    language: Language,
    sdk: Option<&Path>,
) -> Result<(), Problem> {
    check_name(name)?;
    if folder.exists() {
        return Err(Problem::new(format!("{} is there already", folder.display())));
    }
    let sdk = match (language, sdk) {
        (Language::Rust, Some(path)) => {
            let path = fs::canonicalize(path)
                .map_err(|error| Problem::new(error.to_string()).at(path.display()))?;
            if !path.join("Cargo.toml").is_file() {
                return Err(Problem::new(format!("no crate in {}", path.display())));
            }
            format!("{{ path = {:?} }}", path.display().to_string())
        }
        (_, Some(_)) => return Err(Problem::new("--sdk is for Rust: other languages have none")),
        (_, None) => format!("{:?}", env!("CARGO_PKG_VERSION")),
    };
    let files = match language {
        Language::Rust => RUST,
        Language::Javascript => JAVASCRIPT,
        Language::Python => PYTHON,
        Language::C => C,
    };
    for (path, text) in files {
        write(&folder.join(path), &text.replace("NAME", name).replace("\"SDK\"", &sdk))?;
    }
    match language {
        Language::Rust => Ok(()),
        _ => write_contract(&folder.join("wit")),
    }
}

/// Writes the contract into that folder.
pub fn write_contract(folder: &Path) -> Result<(), Problem> {
    CONTRACT.iter().try_for_each(|(name, text)| write(&folder.join(name), text))
}

fn write(path: &Path, text: &str) -> Result<(), Problem> {
    let written = match path.parent() {
        Some(parent) => fs::create_dir_all(parent).and_then(|()| fs::write(path, text)),
        None => fs::write(path, text),
    };
    written.map_err(|error| Problem::new(error.to_string()).at(path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workbench::{case::Case, manifest::Manifest};
    use clap::ValueEnum;

    #[test]
    fn the_whole_contract_is_inside() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/since-v0.1");
        let files = fs::read_dir(folder).expect("the contract").flatten();
        let mut names: Vec<_> =
            files.map(|file| file.file_name().into_string().expect("text")).collect();
        names.sort();
        let mut inside: Vec<_> = CONTRACT.iter().map(|(name, _)| (*name).to_owned()).collect();
        inside.sort();
        assert_eq!(inside, names, "gateway/src/workbench/template.rs lists the contract's files");
    }

    #[test]
    fn a_new_folder_has_a_manifest_and_cases_that_can_be_read() {
        let place = tempfile::tempdir().expect("a directory");
        for language in Language::value_variants() {
            let folder = place.path().join(format!("{language:?}"));
            create(&folder, "orders", *language, None).expect("made");
            let manifest = Manifest::read(&folder).expect("a manifest");
            assert_eq!((&*manifest.name, manifest.language), ("orders", *language));
            let cases = Case::all(&folder.join("cases")).expect("cases");
            assert!(cases.len() == 2 && cases.iter().all(|case| case.expected.is_some()));
            let again = create(&folder, "orders", *language, None).expect_err("there already");
            assert!(again.to_string().ends_with("is there already"), "{again}");
            let bad = create(&place.path().join("x"), "Bad", *language, None);
            assert!(bad.is_err() && !place.path().join("x").exists());
        }
    }

    #[test]
    fn the_crate_comes_from_where_it_was_said_to_be() {
        let place = tempfile::tempdir().expect("a directory");
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/sdk");
        let folder = place.path().join("a");
        create(&folder, "a", Language::Rust, Some(&sdk)).expect("made");
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("there");
        assert!(manifest.contains("octohooks-plugin = { path = "), "{manifest}");
        let folder = place.path().join("b");
        create(&folder, "b", Language::Rust, None).expect("made");
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("there");
        assert!(manifest.contains("octohooks-plugin = \"0.1.0\""), "{manifest}");
        for (language, sdk) in [(Language::C, &*sdk), (Language::Rust, Path::new("/lost"))] {
            assert!(create(&place.path().join("c"), "c", language, Some(sdk)).is_err());
        }
    }
}
