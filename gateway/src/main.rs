//! The binary: arguments in, exit code out.

use clap::Parser;
use mimalloc::MiMalloc;
use octohooks::cli::{Arguments, run};
use std::process::ExitCode;

/// A message is made by one thread and freed by another. glibc's allocator takes a lock for that, which cost a
/// sixth of all CPU under load.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    run(Arguments::parse())
}
