//! `cargo xtask crash`: load, SIGKILL at a random moment, restart, drain, and a comparison of what
//! the senders were told with what the receiver saw. The test is the module `crash` of
//! `gateway/tests`; here it only gets its number of rounds.

use crate::cargo;
use anyhow::{Context, Result, ensure};

/// What may be asked for.
#[derive(clap::Args)]
pub struct Options {
    /// How often the gateway is killed
    #[arg(long, default_value_t = 50)]
    rounds: u32,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<()> {
    let test = ["test", "--release", "--package", "octohooks", "--test", "gateway"];
    let status = cargo::command()
        .args(test)
        .args(["crash", "--", "--nocapture"])
        .env("OCTOHOOKS_CRASH_ROUNDS", options.rounds.to_string())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the crash test failed");
    Ok(())
}
