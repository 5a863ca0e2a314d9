//! `cargo xtask test`: everything the tests need, then all tests, in the one profile there is
//! (`--release`), so that wasmtime is built once.
//!
//! What they need beyond Rust is GitHub's own collection of webhook payloads, a package of npm's, and what
//! [`nats`] and [`clients`] find. What cannot be had, without a network for instance, is said, and the tests that
//! use it are left out; but for those of `clients`, which fail.

use crate::{
    cargo::{self, say},
    clients, nats,
};
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Real payloads of every event that GitHub sends. The version is fixed: what a test says of them
/// should stay true.
const EXAMPLES: &str = "@octokit/webhooks-examples@7.6.1";

/// Names the payloads' file to the tests.
const EXAMPLES_VARIABLE: &str = "GITHUB_EXAMPLES";

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
    let build = cargo::root().join("target");
    command.envs(nats::variables(&build)).envs(clients::variable(&build));
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
    clients::npm(directory, &[EXAMPLES])?;
    let package = directory.join("node_modules/@octokit/webhooks-examples");
    let file = package.join("api.github.com/index.json");
    ensure!(file.exists(), "{EXAMPLES} has no {}", file.display());
    Ok(file)
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
