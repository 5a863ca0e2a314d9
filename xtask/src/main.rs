//! The project's own chores, as `cargo xtask COMMAND`. For whoever works on Octohooks.
//!
//! This file is the table of commands; each command is a module of the same name.

mod plugins;

use clap::Parser;

/// The project's own chores.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Command {
    /// Builds the guests into components, under target/components.
    Plugins(plugins::Options),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Plugins(options) => plugins::run(&options),
    }
}
