//! The contract between releases, held by a test: a component that was built for a released folder of `wit` runs where a
//! newer one of the same package is spoken. `wit_component::semver_check` says so, world by world.

use crate::cargo::root;
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
};
use wit_component::semver_check;
use wit_parser::{PackageId, Resolve, UnresolvedPackageGroup};

/// The worlds that plugins are made for.
const WORLDS: [&str; 6] = ["transform", "sign", "classify", "always", "capabilities", "configured"];

/// The released folders, oldest first: their names sort so until a number has two digits.
fn folders() -> Result<Vec<PathBuf>> {
    let found = fs::read_dir(root().join("wit"))?.flatten().map(|entry| entry.path());
    let mut found: Vec<_> = found.filter(|path| path.is_dir()).collect();
    found.sort();
    Ok(found)
}

/// Whether whoever was built for `old` runs where `new` is spoken.
fn check(old: &Path, new: &Path) -> Result<()> {
    for world in WORLDS {
        let mut resolve = Resolve::default();
        let mut load = |folder: &Path, version: &str| -> Result<PackageId> {
            let mut group = UnresolvedPackageGroup::parse_dir(folder)?;
            // Both at once in one place: the check itself looks at no versions.
            group.main.name.version = Some(version.parse().context("a version")?);
            Ok(resolve.push_group(group)?)
        };
        let (old, new) = (load(old, "0.0.1")?, load(new, "0.0.2")?);
        let [old, new] = [old, new].map(|package| resolve.select_world(&[package], Some(world)));
        let (old, new) = (old.context("the older folder")?, new.context("the newer folder")?);
        semver_check(resolve, old, new).with_context(|| format!("the world `{world}`"))?;
    }
    Ok(())
}

#[test]
fn released_folders_are_compatible_with_those_after_them() {
    let folders = folders().expect("reads");
    assert!(!folders.is_empty());
    // Each with itself too: that it can be checked at all.
    for (index, old) in folders.iter().enumerate() {
        for new in &folders[index..] {
            check(old, new).unwrap_or_else(|error| {
                panic!("{} does not run what {} does: {error:#}", new.display(), old.display())
            });
        }
    }
}

/// The folder with one thing changed.
fn altered(folder: &Path, file: &str, from: &str, to: &str) -> Result<tempfile::TempDir> {
    let copy = tempfile::tempdir()?;
    for entry in fs::read_dir(folder)?.flatten() {
        fs::copy(entry.path(), copy.path().join(entry.file_name()))?;
    }
    let file = copy.path().join(file);
    let text = fs::read_to_string(&file)?;
    ensure!(text.contains(from), "{from} is not in {}", file.display());
    fs::write(&file, text.replacen(from, to, 1))?;
    Ok(copy)
}

#[test]
fn the_check_sees_what_breaks_plugins_and_lets_the_rest_through() {
    let folder = folders().expect("reads").pop().expect("one");
    for (file, from, to) in [
        ("types.wit", "        uid: option<string>,\n", ""),
        ("types.wit", "        subscribed,\n", "        subscribed,\n        nobody,\n"),
        ("transform.wit", "result<verdict, failure>", "verdict"),
        ("always.wit", "write: func(level: level, line: string)", "write: func(line: string)"),
        ("sign.wit", "timestamp: u64", "timestamp: u32"),
        ("classify.wit", "retry-after(option<u64>)", "retry-after(u64)"),
        ("keyvalue.wit", "delete: func(key: string)", "remove: func(key: string)"),
        ("http.wit", "        status: u16,\n", "        status: u32,\n"),
        ("configuration.wit", "schema: func() -> string", "schema: func() -> list<u8>"),
    ] {
        let broken = altered(&folder, file, from, to).expect("copies");
        check(&folder, broken.path()).expect_err(&format!("{file}: {from:?} became {to:?}"));
    }
    // What is offered beside it harms nobody.
    let more = "now-ms: func() -> u64;\n    ticks: func() -> u64;";
    let good =
        altered(&folder, "capabilities.wit", "now-ms: func() -> u64;", more).expect("copies");
    check(&folder, good.path()).expect("a function more");
}
