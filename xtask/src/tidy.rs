//! `cargo xtask tidy`: holds the sources against the rules of the house, for whoever is about to
//! break one without knowing. It runs as a test too.
//!
//! Here are the rules about files: how long they may be, how they begin, what they are called, and
//! that documents name files which exist. [`fences`] has those about who may import what. Functions
//! of more than 70 lines are clippy's to find (`too_many_lines`, with the number in `clippy.toml`).

mod fences;
#[cfg(test)]
mod config;

use crate::cargo::{root, say};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// Lines that one file of Rust may have.
const FILE_LINES: usize = 400;

/// Lines that `ARCHITECTURE.md` may have: a map is smaller than its territory.
const MAP_LINES: usize = 300;

/// Names that say nothing of what a file is for.
const EMPTY_NAMES: [&str; 9] =
    ["mod", "util", "utils", "common", "helper", "helpers", "core", "types", "misc"];

/// Folders with sources.
const SOURCES: [&str; 3] = ["gateway", "plugins", "xtask"];

/// Documents whose file names are checked.
const DOCUMENTS: [&str; 5] =
    ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "SECURITY.md", "wit/README.md"];

/// Runs the command.
pub fn run() -> Result<()> {
    let broken = check(&root())?;
    for line in &broken {
        say(line);
    }
    match broken.len() {
        0 => Ok(()),
        count => bail!("{count} rules broken"),
    }
}

/// What is not as it should be: `file:line: what, and what would be right`.
fn check(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for folder in SOURCES {
        list(root, &root.join(folder), &mut files)?;
    }
    files.sort();
    let mut broken = Vec::new();
    for file in &files {
        let text = fs::read_to_string(root.join(file)).with_context(|| file.clone())?;
        broken.extend(check_file(file, &text));
        if !is_for_tests(root, file) {
            broken.extend(fences::check(file, &text));
        }
    }
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).with_context(|| document.to_owned())?;
        let exists = |path: &str| root.join(path).exists();
        broken.extend(check_document(document, &text, exists));
    }
    Ok(broken)
}

/// The files of Rust in a folder, as paths from the root.
fn list(root: &Path, folder: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                list(root, &path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path.strip_prefix(root)?.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

/// Whether a file of the gateway, or one that it is a part of, is only compiled for tests.
fn is_for_tests(root: &Path, file: &str) -> bool {
    let Some((folder, name)) = file.strip_suffix(".rs").and_then(|path| path.rsplit_once('/'))
    else {
        return false;
    };
    let parent = match folder {
        "gateway/src" => "gateway/src/lib.rs".to_owned(),
        folder => format!("{folder}.rs"),
    };
    let Ok(text) = fs::read_to_string(root.join(&parent)) else { return false };
    let declares = |line: &str| line.trim().trim_start_matches("pub ") == format!("mod {name};");
    let lines: Vec<&str> = text.lines().collect();
    let here = lines.windows(2).any(|two| two[0].trim() == "#[cfg(test)]" && declares(two[1]));
    here || (parent != file && is_for_tests(root, &parent))
}

fn check_file(file: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if !text.starts_with("//! ") {
        broken.push(format!("{file}:1: must open with `//!`: who this is for, and why it is"));
    }
    let lines = text.lines().count();
    if lines > FILE_LINES {
        broken.push(format!("{file}:{lines}: has more than {FILE_LINES} lines; split it"));
    }
    let stem = Path::new(file).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if EMPTY_NAMES.contains(&stem) {
        broken.push(format!("{file}:1: `{stem}` says nothing; name it after what it does"));
    }
    broken
}

/// Checks what a document says in backticks: `gateway/…` and its like are files.
fn check_document(document: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut broken = Vec::new();
    let lines = text.lines().count();
    if document == "ARCHITECTURE.md" && lines > MAP_LINES {
        broken.push(format!("{document}:{lines}: has more than {MAP_LINES} lines; shorten it"));
    }
    for (number, line) in (1..).zip(text.lines()) {
        for word in line.split('`').skip(1).step_by(2) {
            let is_path = word.split_once('/').is_some_and(|(first, _)| {
                SOURCES.contains(&first) || ["config", "wit", ".ci"].contains(&first)
            });
            let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if is_path && plain && !exists(word) {
                broken.push(format!("{document}:{number}: there is no `{word}`"));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_keeps_its_rules() {
        let broken = check(&root()).expect("reads");
        assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
    }

    #[test]
    fn what_is_only_for_tests_is_known() {
        let table = [
            ("gateway/src/plugin/tests/calls.rs", true),
            ("gateway/src/plugin/tests.rs", true),
            ("gateway/src/plugin/call.rs", false),
            ("gateway/src/lib.rs", false),
            ("xtask/src/plugins/tests.rs", true),
        ];
        for (file, expected) in table {
            assert_eq!(is_for_tests(&root(), file), expected, "{file}");
        }
    }

    #[test]
    fn files_are_short_and_say_what_they_are_for() {
        let long = "//! Why.\n".repeat(FILE_LINES + 1);
        let table = [
            ("gateway/src/a.rs", "//! Why.\n", ""),
            ("gateway/src/a.rs", "\n//! Why.\n", "gateway/src/a.rs:1: must open"),
            ("gateway/src/a.rs", "// Why.\n", "gateway/src/a.rs:1: must open"),
            ("gateway/src/a.rs", &long, "gateway/src/a.rs:401: has more"),
            ("gateway/src/a.rs", &long[9..], ""),
            (
                "plugins/a/src/utils.rs",
                "//! Why.\n",
                "plugins/a/src/utils.rs:1: `utils` says nothing",
            ),
            ("gateway/src/a/mod.rs", "//! Why.\n", "gateway/src/a/mod.rs:1: `mod` says nothing"),
        ];
        for (file, text, expected) in table {
            let broken = check_file(file, text).join("\n");
            assert!(broken.starts_with(expected), "{file}: {broken}");
            assert_eq!(broken.is_empty(), expected.is_empty(), "{file}: {broken}");
        }
    }

    #[test]
    fn documents_name_files_that_exist() {
        let table = [
            ("see `gateway/src/app.rs`", ""),
            (
                "see `gateway/src/lost.rs` and `wit/lost`",
                "a.md:1: there is no `gateway/src/lost.rs`\na.md:1: there is no `wit/lost`",
            ),
            ("run `cargo xtask lost/x`, `a/b`, `wit/*`", ""),
            ("gateway/src/lost.rs", ""),
        ];
        for (text, expected) in table {
            let broken = check_document("a.md", text, |path| path == "gateway/src/app.rs");
            assert_eq!(broken.join("\n"), expected, "{text}");
        }
        let long = "\n".repeat(MAP_LINES + 1);
        assert_eq!(check_document("ARCHITECTURE.md", &long, |_| true).len(), 1);
    }
}
