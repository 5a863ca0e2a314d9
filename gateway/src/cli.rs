//! The command line: a table of commands.

use crate::{
    app::{App, Failure},
    config, observe,
};
use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

mod demo;

/// The exit code for a configuration that cannot be used (`EX_USAGE`).
const USAGE: u8 = 64;

/// A webhook gateway you extend with WebAssembly.
#[derive(Debug, Parser)]
#[command(name = "octohooks", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve {
        /// The configuration file [default: config/octohooks.toml, if it exists].
        #[arg(long)]
        config: Option<PathBuf>,
        /// Where to listen, such as 127.0.0.1:8080.
        #[arg(long)]
        listen: Option<String>,
        /// Where messages are kept.
        #[arg(long)]
        data_dir: Option<String>,
    },
    /// Show everything at work: a gateway, a plugin, three endpoints, and nothing lost.
    Demo(demo::Options),
}

/// Runs the command.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Serve { config, listen, data_dir } => serve(config, listen, data_dir),
        Command::Demo(options) => demo::run(&options),
    }
}

fn serve(file: Option<PathBuf>, listen: Option<String>, data_dir: Option<String>) -> ExitCode {
    let flags = [("server.listen", listen), ("data.dir", data_dir)];
    let flags: Vec<_> = flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let loaded = config::load(file.as_deref(), &flags).and_then(|config| {
        observe::logs::start(&config.log)?;
        Ok(config)
    });
    let config = match loaded {
        Ok(config) => config,
        Err(line) => return fail(&line, USAGE),
    };
    let reload = move || config::load(file.as_deref(), &flags);
    match App::run(config, Box::new(reload)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Config(line)) => fail(&line, USAGE),
        Err(error) => fail(&error.to_string(), 1),
    }
}

#[allow(clippy::print_stderr, reason = "the command line speaks to whoever called it")]
fn fail(line: &str, code: u8) -> ExitCode {
    eprintln!("octohooks: {line}");
    ExitCode::from(code)
}
