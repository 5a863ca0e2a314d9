//! Compiled components on disk, so that a restart does not compile again. Compiled code is native code:
//! an entry is used only if its tag proves that this gateway wrote it, for this component and this engine.
//! Not needed for correctness: an entry that is missing or wrong is made again.

use crate::model::id::Digest;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::{
    fmt, fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use wasmtime::{Engine, component::Component};

/// How the names of entries end.
const ENDING: &str = ".cwasm";
/// The bytes of a tag, in front of the code.
const TAG: usize = 32;

/// Where compiled components are kept.
#[derive(Clone)]
pub struct Cache {
    /// Made if it is not there.
    pub directory: PathBuf,
    /// Proves who wrote an entry. Whoever has it can run native code in the gateway.
    pub key: [u8; 32],
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Cache {
    /// The component's compiled form, if there is a true one.
    pub(super) fn get(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let name = name(engine, digest);
        let entry = fs::read(self.directory.join(&name)).ok()?;
        let (tag, code) = entry.split_at_checked(TAG)?;
        if self.mac(&name, code).verify_slice(tag).is_err() {
            tracing::warn!(entry = name, "a compiled plugin in the cache was altered: not used");
            return None;
        }
        deserialize(engine, code)
            .inspect_err(|error| tracing::debug!(%error, "a cached plugin is of another engine"))
            .ok()
    }

    /// Whether there is an entry, true or not.
    pub(super) fn has(&self, engine: &Engine, digest: &Digest) -> bool {
        self.directory.join(name(engine, digest)).exists()
    }

    /// Keeps a component's code, in place of what was there.
    pub(super) fn put(&self, engine: &Engine, digest: &Digest, code: &[u8]) -> io::Result<()> {
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let name = name(engine, digest);
        let mut entry = self.mac(&name, code).finalize().into_bytes().to_vec();
        entry.extend_from_slice(code);
        fs::create_dir_all(&self.directory)?;
        let write = WRITES.fetch_add(1, Relaxed);
        let temporary = self.directory.join(format!("{name}.{}-{write}.tmp", process::id()));
        let written = fs::write(&temporary, entry)
            .and_then(|()| fs::rename(&temporary, self.directory.join(&name)));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Removes the entries of components that are not wanted, and those that another engine has made; how many. What is
    /// being written just now stays.
    pub(super) fn retain(
        &self,
        engine: &Engine,
        wanted: impl Fn(&Digest) -> bool,
    ) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.directory)? {
            let file = entry?.file_name();
            let Some(found) = file.to_str().filter(|name| name.ends_with(ENDING)) else { continue };
            let digest = found.split('-').next().and_then(|digest| digest.parse().ok());
            if !digest.is_some_and(|digest| wanted(&digest) && found == name(engine, &digest)) {
                fs::remove_file(self.directory.join(found))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Over the name as well, so that no entry can stand in for another.
    fn mac(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut block = [0; 64]; // a shorter key is padded with zeros
        block[..self.key.len()].copy_from_slice(&self.key);
        let mut mac = Hmac::new(&block.into());
        mac.update(name.as_bytes());
        mac.update(code);
        mac
    }
}

fn name(engine: &Engine, digest: &Digest) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{digest}-{:016x}{ENDING}", hasher.finish())
}

/// Makes code a component again.
#[allow(unsafe_code, reason = "compiled code can only be loaded so; see SAFETY")]
pub(super) fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` is what this gateway's wasmtime made: it comes from the compiler itself, or from an entry whose tag
    // was verified. The engine checks that it is of its own version and configuration.
    unsafe { Component::deserialize(engine, code) }
}
