//! The binary: arguments in, exit code out.

use clap::Parser;
use octohooks::cli::{Arguments, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    run(Arguments::parse())
}
