//! What the tests of other people's programs need, for `cargo xtask test`: the Standard Webhooks libraries of npm and PyPI,
//! axios, which the Node.js client is made of, and schemathesis. Fetched into the build directory; nothing is installed.

use crate::cargo::say;
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Fixed versions: what a test says of them should stay true.
const NPM: [&str; 2] = ["standardwebhooks@1.1.1", "axios@1.21.1"];
const PYPI: [&str; 2] = ["standardwebhooks==1.1.0", "schemathesis==4.32.5"];

/// Names their folder to the tests, which fail without it.
const VARIABLE: &str = "WEBHOOK_CLIENTS";

/// What names them to the tests, fetched below that folder unless they are there. What cannot be had is said.
pub fn variable(build: &Path) -> Option<(&'static str, PathBuf)> {
    let folder = build.join("clients");
    match npm(&folder, &NPM).and_then(|()| pypi(&folder.join("python"), &PYPI)) {
        Ok(()) => Some((VARIABLE, folder)),
        Err(error) => {
            say(&format!("without clients of npm and PyPI, so that their tests fail: {error:#}"));
            None
        }
    }
}

/// Fetches packages (`name@version`) into `node_modules` of that folder, unless those versions are there.
pub fn npm(folder: &Path, packages: &[&str]) -> Result<()> {
    let is_there = |package: &str| {
        let Some((name, version)) = package.rsplit_once('@') else { return false };
        let manifest = folder.join("node_modules").join(name).join("package.json");
        let manifest = fs::read_to_string(manifest).unwrap_or_default();
        manifest.contains(&format!("\"version\": \"{version}\""))
    };
    if packages.iter().all(|package| is_there(package)) {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    let npm = Command::new("npm")
        .args(["install", "--silent", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"])
        .arg("--prefix")
        .arg(folder)
        .args(packages)
        .stdin(Stdio::null())
        .status()
        .context("cannot run npm")?;
    let all = packages.iter().all(|package| is_there(package));
    ensure!(npm.success() && all, "npm install {} failed", packages.join(" "));
    Ok(())
}

/// Fetches packages (`name==version`) into that folder, unless those versions are there.
pub fn pypi(folder: &Path, packages: &[&str]) -> Result<()> {
    let is_there = || {
        packages.iter().all(|package| {
            let name = package.replace('-', "_").replace("==", "-");
            folder.join(format!("{name}.dist-info")).is_dir()
        })
    };
    if is_there() {
        return Ok(());
    }
    let pip = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--root-user-action", "ignore", "--upgrade", "--target"])
        .arg(folder)
        .args(packages)
        .stdin(Stdio::null())
        .status()
        .context("cannot run python3")?;
    ensure!(pip.success() && is_there(), "pip install {} failed", packages.join(" "));
    Ok(())
}
