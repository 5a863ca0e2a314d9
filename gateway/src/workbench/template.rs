//! A new plugin's folder: for each language what builds and passes its case at once. For `octohooks plugin new`. The
//! files are in `gateway/templates`, inside this program; `NAME` in them is the plugin's name.
//!
//! A plugin in Rust has the crate it is written with beside it, in `sdk`: this program's own, which is on no registry.

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

macro_rules! sdk {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../plugins/sdk/", $name)))),+]
    };
}

/// The crate `octohooks-plugin`, but for its manifest, which speaks of our workspace: `rust/sdk.toml` is there in its
/// place. A test holds that it is the whole of it.
const SDK: &[File] = sdk![
    "README.md",
    "src/classify.rs",
    "src/heap.rs",
    "src/host.rs",
    "src/http.rs",
    "src/keyvalue.rs",
    "src/lib.rs",
    "src/log.rs",
    "src/message.rs",
    "src/outside.rs",
    "src/schema.rs",
    "src/sign.rs",
    "src/testing.rs",
    "src/testing/outside.rs",
    "src/v0_1.rs",
    "src/v0_1/capabilities.rs",
    "src/v0_1/classify.rs",
    "src/v0_1/configuration.rs",
    "src/v0_1/sign.rs",
    "src/verdict.rs",
];

/// The manifest of that copy.
const SDK_MANIFEST: &str = include_str!("../../templates/rust/sdk.toml");

/// Where the crate's bindings find the contract: in our workspace, and in the copy.
const CONTRACT_FROM_SDK: (&str, &str) = ("\"../../wit/since-v0.1\"", "\"wit\"");

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

/// Makes the folder; what is there already is never overwritten. `sdk` is the Rust crate's folder; without, the plugin
/// gets a copy of its own.
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
    let crate_path = match (language, sdk) {
        (Language::Rust, Some(path)) => {
            let path = fs::canonicalize(path)
                .map_err(|error| Problem::new(error.to_string()).at(path.display()))?;
            if !path.join("Cargo.toml").is_file() {
                return Err(Problem::new(format!("no crate in {}", path.display())));
            }
            toml_text(&path.display().to_string())
        }
        (_, Some(_)) => return Err(Problem::new("--sdk is for Rust: other languages have none")),
        (_, None) => toml_text("sdk"),
    };
    let files = match language {
        Language::Rust => RUST,
        Language::Javascript => JAVASCRIPT,
        Language::Python => PYTHON,
        Language::C => C,
    };
    for (path, text) in files {
        write(&folder.join(path), &text.replace("NAME", name).replace("\"SDK\"", &crate_path))?;
    }
    match (language, sdk) {
        (Language::Rust, Some(_)) => Ok(()),
        (Language::Rust, None) => write_sdk(&folder.join("sdk")),
        _ => write_contract(&folder.join("wit")),
    }
}

/// Writes the crate that plugins in Rust are written with into that folder, and the contract into its `wit`.
fn write_sdk(folder: &Path) -> Result<(), Problem> {
    let (ours, copys) = CONTRACT_FROM_SDK;
    write(&folder.join("Cargo.toml"), SDK_MANIFEST)?;
    for (path, text) in SDK {
        write(&folder.join(path), &text.replace(ours, copys))?;
    }
    write_contract(&folder.join("wit"))
}

/// In quotes: what JSON escapes, TOML reads.
fn toml_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
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

    /// All files below, by their paths from there.
    fn below(folder: &Path, from: &Path) -> Vec<String> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => names.extend(below(&path, from)),
                false => names.push(path.strip_prefix(from).expect("below").display().to_string()),
            }
        }
        names.sort();
        names
    }

    #[test]
    fn a_plugin_in_rust_has_the_whole_crate_beside_it() {
        let place = tempfile::tempdir().expect("a directory");
        let (folder, named) = (place.path().join("a"), place.path().join("a \"b\""));
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/sdk");
        create(&folder, "a", Language::Rust, None).expect("made");
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("there");
        assert!(manifest.contains(r#"octohooks-plugin = { path = "sdk" }"#), "{manifest}");
        let sdk = folder.join("sdk");
        let mut expected = below(&ours, &ours);
        expected.extend(CONTRACT.iter().map(|(name, _)| format!("wit/{name}")));
        expected.sort();
        assert_eq!(
            below(&sdk, &sdk),
            expected,
            "gateway/src/workbench/template.rs lists the crate's files"
        );
        let bindings = SDK.iter().filter(|(_, text)| text.contains("wit_bindgen::generate!"));
        for (file, _) in bindings {
            let text = fs::read_to_string(sdk.join(file)).expect("there");
            assert!(text.contains(r#"path: "wit""#) && !text.contains("../"), "{text}");
        }

        fs::create_dir(&named)
            .and_then(|()| fs::write(named.join("Cargo.toml"), ""))
            .expect("made");
        for (name, sdk) in [("c", &ours), ("d", &named)] {
            let folder = place.path().join(name);
            create(&folder, name, Language::Rust, Some(sdk)).expect("made");
            let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("there");
            let manifest: toml::Value = toml::from_str(&manifest).expect("TOML");
            let path = manifest["dependencies"]["octohooks-plugin"]["path"].as_str();
            assert_eq!(path.map(Path::new), fs::canonicalize(sdk).ok().as_deref());
            assert!(!folder.join("sdk").exists());
        }
        for (language, sdk) in [(Language::C, &*ours), (Language::Rust, Path::new("/lost"))] {
            assert!(create(&place.path().join("e"), "e", language, Some(sdk)).is_err());
        }
    }

    #[test]
    fn the_copy_of_the_crate_needs_what_ours_needs() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let read = |file: &str| -> toml::Value {
            toml::from_str(&fs::read_to_string(root.join(file)).expect("there")).expect("TOML")
        };
        let (workspace, ours) = (read("Cargo.toml"), read("plugins/sdk/Cargo.toml"));
        let copy: toml::Value = toml::from_str(SDK_MANIFEST).expect("TOML");
        let parts = |manifest: &toml::Value| -> [toml::Table; 2] {
            let wasm = &manifest["target"]["cfg(target_arch = \"wasm32\")"]["dependencies"];
            let parts = [&manifest["dependencies"], wasm];
            parts.map(|part| part.as_table().expect("a table").clone())
        };
        for (ours, copy) in parts(&ours).iter().zip(parts(&copy)) {
            assert_eq!(ours.len(), copy.len());
            for (name, what) in copy {
                assert_eq!(ours[&name]["workspace"].as_bool(), Some(true));
                assert_eq!(workspace["workspace"]["dependencies"][&name], what, "{name}");
            }
        }
        for about in ["name", "description"] {
            assert_eq!(ours["package"][about], copy["package"][about]);
        }
        for about in ["version", "edition", "license"] {
            assert_eq!(workspace["workspace"]["package"][about], copy["package"][about]);
        }
    }
}
