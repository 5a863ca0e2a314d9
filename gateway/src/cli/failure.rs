//! How a command ends, for scripts: each exit code says who has to do something about it, and one line says what.

use std::process::ExitCode;

/// What the help says of the exit codes.
pub const HELP: &str = "\
Exit codes:
  0    done
  1    failed: something on this side, or work that did not succeed
  2    used in a wrong way, or server or key are missing
  3    not found
  4    refused by the gateway (any other 4xx)
  5    the gateway could not be reached, or could not (5xx)";

/// How a command of the client ends.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a command did not do what it was asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    code: u8,
    line: String,
    /// Whether the text may have several lines: it is this program's own.
    several: bool,
}

impl Failure {
    /// Something on this side: a file, the terminal, work that did not succeed.
    pub fn failed(line: impl Into<String>) -> Self {
        Self { code: 1, line: line.into(), several: false }
    }

    /// Something on this side that takes several lines to say.
    pub fn lines(text: impl Into<String>) -> Self {
        Self { code: 1, line: text.into(), several: true }
    }

    /// What was asked for makes no sense, or lacks something.
    pub fn usage(line: impl Into<String>) -> Self {
        Self { code: 2, line: line.into(), several: false }
    }

    /// There is no such thing.
    pub fn not_found(line: impl Into<String>) -> Self {
        Self { code: 3, line: line.into(), several: false }
    }

    /// The gateway will not.
    pub fn refused(line: impl Into<String>) -> Self {
        Self { code: 4, line: line.into(), several: false }
    }

    /// The gateway is not there, or could not.
    pub fn unavailable(line: impl Into<String>) -> Self {
        Self { code: 5, line: line.into(), several: false }
    }

    /// After Ctrl-C, with the exit code that shells know it by.
    pub fn interrupted(line: impl Into<String>) -> Self {
        Self { code: super::INTERRUPTED, line: line.into(), several: false }
    }

    /// Whether there is no such thing.
    pub const fn is_not_found(&self) -> bool {
        self.code == 3
    }

    /// The same failure, with this said before it.
    pub fn after(self, said: &str) -> Self {
        Self { line: format!("{said}: {}", self.line), ..self }
    }

    /// Says it, and gives the exit code.
    pub fn say(&self) -> ExitCode {
        match self.several {
            true => super::fail(plain_lines(&self.line).trim_end(), self.code),
            false => super::fail(&plain(&self.line), self.code),
        }
    }
}

/// The text with its lines, which do nothing to a terminal.
pub fn plain_lines(text: &str) -> String {
    text.lines().map(|line| line.replace(acts, " ") + "\n").collect()
}

/// The text as one line that does nothing to a terminal: what it says may come from anywhere.
pub fn plain(text: &str) -> String {
    text.trim().replace(acts, " ")
}

/// Whether a terminal does something at the character, or writes what follows in another direction.
fn acts(c: char) -> bool {
    let turns = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    turns || c.is_control()
}
