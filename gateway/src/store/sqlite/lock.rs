//! One process owns a directory: what it had leased when it died is due at the next start, and nobody else may say so.

use std::{fs::File, path::Path};

/// Makes the directory this process's, for as long as it has the file. An error is one line for the operator.
pub fn lock(directory: &Path) -> Result<File, String> {
    let path = directory.join("lock");
    let text = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = File::create(&path).map_err(|error| text(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(text(&"another gateway owns this directory")),
        Err(std::fs::TryLockError::Error(error)) => Err(text(&error)),
    }
}
