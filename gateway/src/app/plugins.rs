//! The plugin host as the gateway has it: with a cache of its own, a compiler in a child process, and a way out for
//! capabilities.

use super::{Failure, outside};
use crate::{
    clock,
    config::Config,
    model::catalog::Bounds,
    plugin::{Cache, Compiler, Host, Means},
    store,
};
use anyhow::Context;
use std::{path::Path, sync::Arc};
use tokio::runtime::Handle;

/// The host, and the way out that is opened when the store is.
pub fn host(config: &Config, guests: &Handle) -> Result<(Host, Arc<outside::Gateway>), Failure> {
    let outside = Arc::new(outside::Gateway::default());
    let means = Means {
        cache: Some(cache(config, &outside)?),
        outside: outside.clone(),
        compiler: Compiler::own().context("this program's path, to compile plugins")?,
        guests: Some(guests.clone()),
    };
    let host = Host::with(config.plugins.clone(), means)
        .map_err(|error| Failure::Config(format!("plugins: {error}")))?;
    Ok((host, outside))
}

/// How much the store may hold, of code and of everything else.
pub fn limits(config: &Config) -> store::Limits {
    let plugins = &config.plugins;
    let catalog = Bounds {
        endpoints: config.api.max_endpoints,
        code_of_one: plugins.code_bytes_per_application,
        code: plugins.code_bytes_total,
    };
    store::Limits { bytes: config.data.max_bytes, catalog }
}

/// Where compiled plugins are kept.
fn cache(config: &Config, outside: &Arc<outside::Gateway>) -> anyhow::Result<Cache> {
    let data = &config.data.dir;
    let key = cache_key(data).context("the key of compiled plugins")?;
    let outside = outside.clone();
    let cache = Cache::new(data.join("compiled"), key);
    Ok(cache.within(config.plugins.code_bytes_total, Arc::new(move || outside.called())))
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
