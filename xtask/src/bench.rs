//! `cargo xtask bench`: the load benchmark in `gateway/benches/bench.rs`, whose options follow, with a nats-server for
//! what it measures over NATS.

use crate::{cargo, nats};
use anyhow::{Context, Result, ensure};

/// What may be asked for.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Options {
    /// The benchmark's own options; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<()> {
    let mut command = cargo::command();
    command.args(["bench", "--quiet", "--workspace", "--bench", "bench", "--"]);
    match nats::server(&cargo::root().join("target")) {
        Ok(server) => {
            command.env(nats::SERVER, server);
        }
        Err(error) => complain(&error),
    }
    let status = command.args(&options.args).status().context("cannot run cargo")?;
    ensure!(status.success(), "the benchmark failed");
    Ok(())
}

#[allow(clippy::print_stderr, reason = "the output may be JSON")]
fn complain(error: &anyhow::Error) {
    eprintln!("without a nats-server, which could not be fetched: {error:#}");
}
