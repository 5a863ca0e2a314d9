//! `cargo xtask ci`: what every change must pass, cheapest first.

use crate::{cargo, test};
use anyhow::Result;

/// Runs the command.
pub fn run() -> Result<()> {
    cargo::run(["fmt", "--all", "--check"])?;
    let targets = ["--release", "--workspace", "--all-targets"];
    cargo::run(["clippy"].into_iter().chain(targets).chain(["--", "-D", "warnings"]))?;
    test::run(&test::Options::default())
}
