//! `cargo xtask sim`: plays one seed of the simulation of dispatch and deliver again and prints all that happened, or plays
//! many. The simulation is the module `simulation` of `gateway/src`, a test; here it only gets its numbers.

use crate::cargo;
use anyhow::{Context, Result, ensure};

/// What may be asked for.
#[derive(clap::Args)]
pub struct Options {
    /// The seed to play; without it many are
    #[arg(long)]
    seed: Option<u64>,
    /// How many steps it has
    #[arg(long)]
    steps: Option<u64>,
    /// How many seeds to play
    #[arg(long, conflicts_with = "seed")]
    seeds: Option<u64>,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<()> {
    let mut command = cargo::command();
    command.args(["test", "--release", "--workspace", "--lib", "--bins", "--", "--nocapture"]);
    command.arg("simulation::");
    for (name, number) in
        [("SEED", options.seed), ("STEPS", options.steps), ("SEEDS", options.seeds)]
    {
        if let Some(number) = number {
            command.env(format!("OCTOHOOKS_SIM_{name}"), number.to_string());
        }
    }
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "the simulation found something");
    Ok(())
}
