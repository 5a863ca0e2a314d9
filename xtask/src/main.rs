//! The project's own chores, as `cargo xtask COMMAND`. For whoever works on Octohooks.
//!
//! This file is the table of commands; each command is a module of the same name. `cargo` runs
//! cargo for them, `nats` and `clients` find what `test` needs of others, `rust` reads Rust for `tidy`.

#![allow(
    clippy::disallowed_methods,
    reason = "the fences are the gateway's; chores read the clock"
)]

mod test;
mod nats;
mod clients;
mod ci;
#[cfg(test)]
mod contract;
mod tidy;
mod plugins;
mod bench;
mod crash;
mod sim;
mod cargo;
mod rust;

use clap::Parser;
use std::process::ExitCode;

/// The project's own chores.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Command {
    /// Fetches what the tests need, and runs them all.
    Test(test::Options),
    /// What every change must pass: format, lints, tests.
    Ci,
    /// Holds the sources against the rules of the house.
    Tidy,
    /// Builds the guests into components, under target/components.
    Plugins(plugins::Options),
    /// Measures what a message costs, beside a gateway that does nothing.
    Bench(bench::Options),
    /// Kills the gateway again and again, and looks for what was lost.
    Crash(crash::Options),
    /// Plays a seed of the simulation of dispatch and deliver, or many.
    Sim(sim::Options),
}

#[allow(clippy::print_stderr, reason = "an error is an answer too")]
fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Test(options) => test::run(&options),
        Command::Ci => ci::run(),
        Command::Tidy => tidy::run(),
        Command::Plugins(options) => plugins::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Crash(options) => crash::run(&options),
        Command::Sim(options) => sim::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
