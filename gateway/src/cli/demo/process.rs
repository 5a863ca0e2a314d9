//! A process of the demo's. It does not outlive its owner, and what it says is kept beside its data.

use anyhow::{Result, bail};
use std::{
    fs::{self, File},
    io,
    path::Path,
    process::{Child, Command, Stdio},
};

/// A process that runs. Dropped, it is killed with SIGKILL, and gone when that returns: until then it owns its directory.
pub struct Process(Child);

impl Process {
    /// Starts it; what it says goes to the directory's log.
    pub fn start(command: &mut Command, directory: &Path) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(directory.join("log"))?;
        command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().map(Self)
    }

    /// An error with its last lines, if it has ended.
    pub fn check(&mut self, name: &str, directory: &Path) -> Result<()> {
        match self.0.try_wait()? {
            Some(status) => {
                let said = format!("{name} ended ({status})\n{}", last_lines(directory));
                bail!("{}", said.trim_end())
            }
            None => Ok(()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _killed = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// The last lines of the directory's log.
pub fn last_lines(directory: &Path) -> String {
    let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
