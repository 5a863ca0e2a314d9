//! Where compiled plugins are kept, and the key that proves who compiled them.

use crate::{clock, plugin::Cache};
use anyhow::Context;
use std::path::Path;

/// Where compiled plugins are kept.
pub fn cache(data: &Path) -> anyhow::Result<Cache> {
    let key = cache_key(data).context("the key of compiled plugins")?;
    Ok(Cache { directory: data.join("compiled"), key })
}

/// The key that authenticates compiled plugins: random, made once, readable by the owner only.
fn cache_key(directory: &Path) -> anyhow::Result<[u8; 32]> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let path = directory.join("compiled.key");
    if let Ok(bytes) = std::fs::read(&path)
        && let Ok(key) = bytes.try_into()
    {
        return Ok(key);
    }
    let key = clock::random_bytes();
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}
