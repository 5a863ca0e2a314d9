//! Compiled components on disk, so that a restart does not compile again. Compiled code is native code:
//! an entry is used only if its tag proves that this gateway wrote it, for this component and this engine.
//! Not needed for correctness: an entry that is missing or wrong is made again. So what nobody calls goes where there is no
//! room, and what is called stays.

use crate::model::id::Digest;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::{
    collections::BTreeSet,
    fmt, fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::PathBuf,
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use wasmtime::{Engine, component::Component};

/// How the names of entries end.
const ENDING: &str = ".cwasm";
/// How the names end of what is being written.
const UNFINISHED: &str = ".tmp";
/// After how long nobody can be writing an entry any more.
const LEFT: Duration = Duration::from_secs(3_600);
/// The bytes of a tag, in front of the code.
const TAG: usize = 32;

/// Where compiled components are kept.
#[derive(Clone)]
pub struct Cache {
    /// Made if it is not there.
    pub directory: PathBuf,
    /// Proves who wrote an entry. Whoever has it can run native code in the gateway.
    pub key: [u8; 32],
    bound: Bound,
}

/// Which components are called now.
pub type Called = Arc<dyn Fn() -> BTreeSet<Digest> + Send + Sync>;

/// How many bytes all entries may have together, but for those that are called.
#[derive(Clone)]
struct Bound {
    most: u64,
    called: Called,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Cache {
    /// One without a bound.
    #[must_use]
    pub fn new(directory: PathBuf, key: [u8; 32]) -> Self {
        let bound = Bound { most: u64::MAX, called: Arc::new(BTreeSet::new) };
        Self { directory, key, bound }
    }

    /// The same with so many bytes at most; what is not called goes first.
    #[must_use]
    pub fn within(self, most: u64, called: Called) -> Self {
        Self { bound: Bound { most, called }, ..self }
    }

    /// The component's compiled form and its size in bytes, if there is a true one.
    pub(super) fn get(&self, engine: &Engine, digest: &Digest) -> Option<(Component, usize)> {
        let name = name(engine, digest);
        let entry = fs::read(self.directory.join(&name)).ok()?;
        let (tag, code) = entry.split_at_checked(TAG)?;
        if self.mac(&name, code).verify_slice(tag).is_err() {
            tracing::warn!(entry = name, "a compiled plugin in the cache was altered: not used");
            return None;
        }
        let component = deserialize(engine, code)
            .inspect_err(|error| tracing::debug!(%error, "a cached plugin is of another engine"));
        component.ok().map(|component| (component, code.len()))
    }

    /// Whether there is an entry, true or not.
    pub(super) fn has(&self, engine: &Engine, digest: &Digest) -> bool {
        self.directory.join(name(engine, digest)).exists()
    }

    /// Keeps a component's code, in place of what was there; for it the oldest go that nobody calls.
    pub(super) fn put(&self, engine: &Engine, digest: &Digest, code: &[u8]) -> io::Result<()> {
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let name = name(engine, digest);
        let mut entry = self.mac(&name, code).finalize().into_bytes().to_vec();
        entry.extend_from_slice(code);
        fs::create_dir_all(&self.directory)?;
        let write = WRITES.fetch_add(1, Relaxed);
        let temporary =
            self.directory.join(format!("{name}.{}-{write}{UNFINISHED}", process::id()));
        let written = fs::write(&temporary, entry)
            .and_then(|()| fs::rename(&temporary, self.directory.join(&name)));
        match written {
            Ok(()) => self.trim(),
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                Err(error)
            }
        }
    }

    /// Removes entries until the others are within the bound.
    pub(super) fn trim(&self) -> io::Result<()> {
        let (mut all, mut entries) = (0_u64, Vec::new());
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            // Another may have removed it by now.
            let Ok(about) = entry.metadata() else { continue };
            all = all.saturating_add(about.len());
            let name = entry.file_name();
            let digest = name.to_str().filter(|name| name.ends_with(ENDING)).and_then(of);
            entries.extend(digest.map(|digest| (about.modified().ok(), about.len(), digest, name)));
        }
        if all <= self.bound.most {
            return Ok(());
        }
        let called = (self.bound.called)();
        entries.sort();
        for (_, bytes, _, name) in entries.iter().filter(|entry| !called.contains(&entry.2)) {
            if all <= self.bound.most {
                break;
            }
            fs::remove_file(self.directory.join(name))?;
            all = all.saturating_sub(*bytes);
        }
        Ok(())
    }

    /// Removes the entries of components that are not wanted, and those that another engine has made; how many. What is
    /// being written just now stays, and what a writer that was killed has left goes.
    pub(super) fn retain(
        &self,
        engine: &Engine,
        wanted: impl Fn(&Digest) -> bool,
    ) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let file = entry.file_name();
            if file.to_str().is_some_and(|name| name.ends_with(UNFINISHED)) && is_left(&entry) {
                fs::remove_file(entry.path())?;
            }
            let Some(found) = file.to_str().filter(|name| name.ends_with(ENDING)) else { continue };
            if !of(found).is_some_and(|digest| wanted(&digest) && found == name(engine, &digest)) {
                fs::remove_file(self.directory.join(found))?;
                removed += 1;
            }
        }
        self.trim()?;
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

/// Whether nobody can be writing that any more.
fn is_left(entry: &fs::DirEntry) -> bool {
    let modified = entry.metadata().and_then(|about| about.modified()).ok();
    modified.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > LEFT)
}

/// Of which component an entry of that name is.
fn of(name: &str) -> Option<Digest> {
    name.split('-').next().and_then(|digest| digest.parse().ok())
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
