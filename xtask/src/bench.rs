//! `cargo xtask bench`: the load benchmark in `gateway/benches/bench.rs`, whose options follow.

use crate::cargo;
use anyhow::Result;

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
    let bench = ["bench", "--quiet", "--package", "octohooks", "--bench", "bench", "--"];
    cargo::run(bench.into_iter().chain(options.args.iter().map(String::as_str)))
}
