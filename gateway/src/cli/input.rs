//! What a command reads: a file, or stdin.

use super::failure::{Failure, Outcome};
use serde_json::value::RawValue;
use std::{
    io::{self, Read},
    path::Path,
};

/// The text of a file; `-` is stdin.
pub fn text(file: &Path) -> Outcome<String> {
    let read = match is_stdin(file) {
        true => {
            let mut text = String::new();
            io::stdin().lock().read_to_string(&mut text).map(|_| text)
        }
        false => std::fs::read_to_string(file),
    };
    read.map_err(|error| Failure::failed(format!("cannot read {}: {error}", name(file))))
}

/// A file that is one JSON document, byte for byte.
pub fn json(file: &Path) -> Outcome<Box<RawValue>> {
    document(&text(file)?).map_err(|failure| failure.after(&name(file)))
}

/// A text that is one JSON document, byte for byte.
pub fn document(text: &str) -> Outcome<Box<RawValue>> {
    let parsed = serde_json::from_str(text);
    parsed.map_err(|error| Failure::failed(format!("is not JSON: {error}")))
}

/// What a file is called in an error.
pub fn name(file: &Path) -> String {
    match is_stdin(file) {
        true => "stdin".to_owned(),
        false => file.display().to_string(),
    }
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}
