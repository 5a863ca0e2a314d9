//! Runs cargo, in the workspace's root and without an input, for the other commands.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

/// The workspace's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The file may have moved with its repository since it was compiled.
    let root = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| here.into(), PathBuf::from);
    fs::canonicalize(root.join("..")).unwrap_or_else(|_| here.join(".."))
}

/// The cargo that runs this program. What it tells a program about that program's own package is
/// taken out again: build scripts would see it change, and crates be built anew.
pub fn command() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let own = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(own)) {
        command.env_remove(name);
    }
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs cargo with these arguments; an error says which they were.
pub fn run<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> Result<()> {
    let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
    let status = command().args(&args).status().context("cannot run cargo")?;
    ensure!(status.success(), "`cargo {}` failed", args.join(" "));
    Ok(())
}

/// A line of a command's answer.
#[allow(clippy::print_stdout, reason = "a command's answer is its output")]
pub fn say(line: &str) {
    println!("{line}");
}
