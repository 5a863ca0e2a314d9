//! The plugin host as the gateway has it: with a cache of its own, a compiler in a child process, and a way out for
//! capabilities.

use super::{Failure, outside};
use crate::{
    clock,
    config::Config,
    plugin::{Cache, Compiler, Host, Means},
};
use anyhow::Context;
use std::{path::Path, sync::Arc};
use tokio::runtime::Handle;

/// The host, and the way out that is opened when the store is.
pub fn host(config: &Config, guests: &Handle) -> Result<(Host, Arc<outside::Gateway>), Failure> {
    let outside = Arc::new(outside::Gateway::default());
    let means = Means {
        cache: Some(cache(&config.data.dir)?),
        outside: outside.clone(),
        compiler: Compiler::own().context("this program's path, to compile plugins")?,
        guests: Some(guests.clone()),
    };
    let host = Host::with(config.plugins.clone(), means)
        .map_err(|error| Failure::Config(format!("plugins: {error}")))?;
    Ok((host, outside))
}

/// Where compiled plugins are kept.
fn cache(data: &Path) -> anyhow::Result<Cache> {
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
