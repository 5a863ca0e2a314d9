//! The command line: `serve` and `demo` run a gateway; everything else is a client of one, and knows no more of it than
//! its API says. A table of commands.
//!
//! The client: [`profile`] says which gateway, [`client`] asks it and [`refusal`] reads what it will not do; [`output`]
//! ties that together and prints, with [`table`], [`times`] and [`pages`]; [`failure`] has the exit codes. The rest is a
//! file for each noun; [`plugin`] has the workbench of those who write them.

use crate::{
    app::{self, App, Failure},
    config, observe,
};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use output::{Several, Single};
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

mod demo;
mod profile;
mod client;
mod refusal;
mod failure;
mod output;
mod table;
mod times;
mod pages;
mod input;
mod applications;
mod endpoints;
mod endpoint_fields;
mod send;
mod batch;
mod messages;
mod dead_letters;
mod deliveries;
mod operations;
mod event_types;
mod environments;
mod keys;
mod plugin;

/// The exit code for a configuration that cannot be used (`EX_USAGE`).
const USAGE: u8 = 64;
/// The exit code after a signal is this and its number, as shells have it.
const SIGNALLED: u8 = 128;
/// The exit code after Ctrl-C, as shells know it.
const INTERRUPTED: u8 = 130;

/// What the help says below everything.
fn notes() -> String {
    const CLIENT: &str = "\
All but serve, demo, completions and most of plugin ask a gateway. Which, and with which key, they take from the first of these that
says so: the flags --server and --key, or --profile; the variables OCTOHOOKS_SERVER and OCTOHOOKS_KEY; the profile
`default`, or the one that OCTOHOOKS_PROFILE names, in ~/.config/octohooks/profiles.toml or OCTOHOOKS_PROFILE_FILE:

  [default]
  server = \"https://hooks.example.com\"
  key = \"key_…\"";
    let more = "64   serve: the configuration cannot be used\n  143  serve: a second SIGTERM stopped it at once\n  130  after Ctrl-C";
    format!("{CLIENT}\n\n{}\n  {more}", failure::HELP)
}

/// A webhook gateway you extend with WebAssembly.
#[derive(Debug, Parser)]
#[command(name = "octohooks", version, after_help = notes())]
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
    /// What the gateway starts to compile a plugin: a component on stdin, its code on stdout.
    #[command(hide = true)]
    CompileComponent {
        /// The most address space, in bytes.
        memory_bytes: u64,
        /// The most CPU time, in seconds.
        cpu_seconds: u64,
        /// For calls that count their fuel.
        #[arg(long)]
        fuel: bool,
    },
    /// Show everything at work: a gateway, a plugin, three endpoints, and nothing lost.
    Demo(demo::Options),
    /// Applications: list, get, create, update, delete.
    App(Several<applications::Verb>),
    /// Endpoints of an application, and their secrets.
    Endpoint(Several<endpoints::Verb>),
    /// Send a message, or many from a file.
    Send(Single<send::Options>),
    /// What an application was sent.
    Messages(Single<messages::Options>),
    /// Cancel a scheduled message.
    Cancel(Single<messages::Cancel>),
    /// What became of a message, or of all for an endpoint.
    Deliveries(Single<deliveries::Options>),
    /// Every try of a delivery, with what was sent and what came back.
    Attempts(Single<deliveries::Attempts>),
    /// What failed for good, at endpoints or in plugins: list, show, resend.
    DeadLetters(Several<dead_letters::Verb>),
    /// Send one message to one endpoint again.
    Resend(Single<deliveries::Resend>),
    /// Send an endpoint again what failed there, or what never came there.
    Recover(Single<operations::Recover>),
    /// What `recover` started: list, get, cancel.
    Operations(Several<operations::Verb>),
    /// What may happen, and the schemas of its payloads.
    EventTypes(Several<event_types::Verb>),
    /// Environments: list, create, delete. Needs the root key.
    Environments(Several<environments::Verb>),
    /// Keys of an environment: create, list, rotate, revoke; and tokens.
    Keys(Several<keys::Verb>),
    /// Plugins: make, build, test and deploy them, and see to those that are deployed.
    Plugin {
        #[command(subcommand)]
        verb: plugin::Verb,
    },
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Runs the command.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Serve { config, listen, data_dir } => serve(config, listen, data_dir),
        Command::CompileComponent { memory_bytes, cpu_seconds, fuel } => {
            match app::compile_component(memory_bytes, cpu_seconds, fuel) {
                Ok(()) => ExitCode::SUCCESS,
                Err((code, line)) => fail(&line, code),
            }
        }
        Command::Demo(options) => demo::run(&options),
        Command::App(command) => command.start(),
        Command::Endpoint(command) => command.start(),
        Command::Send(command) => command.start(),
        Command::Messages(command) => command.start(),
        Command::Cancel(command) => command.start(),
        Command::Deliveries(command) => command.start(),
        Command::Attempts(command) => command.start(),
        Command::DeadLetters(command) => command.start(),
        Command::Resend(command) => command.start(),
        Command::Recover(command) => command.start(),
        Command::Operations(command) => command.start(),
        Command::EventTypes(command) => command.start(),
        Command::Environments(command) => command.start(),
        Command::Keys(command) => command.start(),
        Command::Plugin { verb } => plugin::start(verb),
        Command::Completions { shell } => completions(shell),
    }
}

fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "octohooks", &mut script);
    match io::stdout().write_all(&script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(&format!("cannot print: {error}"), 1)
        }
        _ => ExitCode::SUCCESS,
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
        Err(ended @ Failure::Interrupted(number)) => fail(&ended.to_string(), SIGNALLED + number),
        Err(error) => fail(&error.to_string(), 1),
    }
}

#[allow(clippy::print_stderr, reason = "the command line speaks to whoever called it")]
fn fail(line: &str, code: u8) -> ExitCode {
    eprintln!("octohooks: {line}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Arguments::command().debug_assert();
    }
}
