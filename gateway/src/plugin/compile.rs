//! From an upload to something that can be called: the bytes are checked from the outside in, so that the
//! author reads the first thing to mend and wasmtime compiles only what can run here. Blocking: a Rust
//! component of 100 KB takes 60 ms on two cores.

use super::{
    builtin::{self, Definition, Wrong},
    cache::{self, Cache},
    call::CallFailure,
    compiler::Compiler,
    limits::Options,
    settings::Schema,
    state::State,
    v1::{self, Ready},
};
use crate::{
    clock,
    model::{grants::Capabilities, id::Digest, plugin::Kind},
};
use sha2::{Digest as _, Sha256};
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};
use wasmparser::{Parser, Payload, Validator, WasmFeatures};
use wasmtime::{Engine, component::Linker};

/// A component that can be called.
pub struct Loaded {
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The size of its native code in bytes.
    pub code: u64,
    /// How long it took to compile; none if it came from the cache.
    pub compiled_in: Option<Duration>,
    /// What it is for.
    pub kind: Kind,
    /// The capabilities it imports, by the names of their grants.
    pub capabilities: Vec<&'static str>,
    /// What its settings must look like, once that was asked.
    pub(super) schema: OnceLock<Option<Arc<Schema>>>,
    pub(super) made: Made,
}

/// What is called.
pub(super) enum Made {
    /// Somebody's code.
    Component(Arc<Ready>),
    /// A transform without code.
    Builtin(Arc<Definition>),
}

impl Made {
    /// Whether it says what its settings must look like.
    pub(super) fn is_configured(&self) -> bool {
        match self {
            Self::Component(ready) => ready.is_configured(),
            Self::Builtin(_) => false,
        }
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Loaded");
        fields.field("digest", &self.digest).field("size", &self.size).field("kind", &self.kind);
        fields.field("compiled_in", &self.compiled_in).finish_non_exhaustive()
    }
}

/// Why a component was refused, as its author reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Too many bytes.
    #[error("the component has {size} bytes, where at most {limit} are allowed")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A definition of a transform without code, and what is wrong with it where.
    #[error("the definition cannot be used: {}", .0.iter().map(|(at, text)| format!("{at} {text}").trim_start().to_owned()).collect::<Vec<_>>().join("; "))]
    Definition(Vec<Wrong>),
    /// Something else.
    #[error(
        "this is not WebAssembly: upload the `.wasm` file of a component, or the JSON object that defines a transform \
         without code"
    )]
    NotWasm,
    /// Native code, which is never taken from outside.
    #[error("this is precompiled native code: upload the `.wasm` file it was made from")]
    Precompiled,
    /// A module without types.
    #[error(
        "this is a core module, not a component: build with the target wasm32-wasip2, or wrap it with \
         `wasm-tools component new`"
    )]
    CoreModule,
    /// Broken, or of a proposal that is not supported.
    #[error("the component is not valid: {0}")]
    Invalid(String),
    /// Not a plugin.
    #[error(
        "the component must export one of `{}`, `{}` and `{}`; it exports {exports}",
        v1::EXPORTS[0].1, v1::EXPORTS[1].1, v1::EXPORTS[2].1
    )]
    NoPlugin {
        /// The names of what it does export.
        exports: String,
    },
    /// It asks for something that plugins of its kind do not have.
    #[error(
        "the component imports `{import}`, which a plugin that exports `{export}` does not have; it has {has} of \
         octohooks:plugin@0.1.0, the capabilities that its application is granted, and an empty WASI 0.2 without http"
    )]
    Import {
        /// What it imports.
        import: String,
        /// What makes its kind.
        export: &'static str,
        /// What plugins of its kind have.
        has: String,
    },
    /// It asks for a capability that its application is not granted.
    #[error(
        "the component imports `{import}`, which the application is not granted: grant it `{grant}` first \
         (PUT /applications/{{app}}/grants, or `grants` in the file that declares the application)"
    )]
    NotGranted {
        /// What it imports.
        import: String,
        /// The name of the grant.
        grant: &'static str,
    },
    /// The settings that are there are not as it says.
    #[error("the settings are not as the component says: {0}")]
    Settings(String),
    /// What it says its settings must look like cannot be used.
    #[error("the component's settings schema cannot be used: {0}")]
    Schema(String),
    /// An import or the export has other types than the contract's.
    #[error("the component does not fit the contract octohooks:plugin@0.1.0: {0}")]
    Mismatch(String),
    /// It cannot be compiled, or wants more than the pool has.
    #[error("the component cannot be compiled: {0}")]
    Compile(String),
    /// Compiling it takes too much memory.
    #[error("the component cannot be compiled in the {0} bytes of memory that may take")]
    OutOfMemory(u64),
    /// It becomes too much.
    #[error("the component becomes more than {0} bytes of native code")]
    TooMuchCode(usize),
    /// Compiling it takes too much time.
    #[error("the component cannot be compiled in the {0} that may take")]
    TooLong(String),
    /// The compiler came to harm, and nobody else.
    #[error("the compiler crashed on the component: {0}")]
    Crashed(String),
    /// It fails before it is called.
    #[error("the component cannot be instantiated: {0}")]
    Probe(CallFailure),
    /// Too many wait to be compiled.
    #[error("too many components wait to be compiled: upload it again in a while")]
    Busy,
    /// Not the component's fault.
    #[error("the component could not be checked: {0}")]
    Unavailable(String),
}

impl Rejected {
    /// Whether the component is at fault, as far as can be told.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        !matches!(self, Self::Busy | Self::Unavailable(_) | Self::Probe(CallFailure::Timeout(_)))
    }

    /// Whether a component that was compiled once may well be another time: what that takes depends on how the machine is
    /// doing, and on limits that may be others by now.
    #[must_use]
    pub const fn is_of_the_moment(&self) -> bool {
        matches!(self, Self::OutOfMemory(_) | Self::TooLong(_) | Self::Crashed(_))
    }
}

/// Checks, compiles (or finds the compiled form) and links. What it may import depends on `granted`; none where that was
/// looked at when it came in.
pub(super) fn load(
    engine: &Engine,
    linker: &Linker<State>,
    (cache, keeps): (Option<&Cache>, bool),
    (compiler, counts): (&Compiler, bool),
    (options, granted): (&Options, Option<&Capabilities>),
    bytes: &[u8],
) -> Result<Loaded, Rejected> {
    let digest = Digest(Sha256::digest(bytes).into());
    let (size, schema) = (bytes.len() as u64, OnceLock::new());
    if builtin::is_definition(bytes) {
        let definition = builtin::read(bytes).map_err(Rejected::Definition)?;
        let made = Made::Builtin(Arc::new(definition));
        let (kind, capabilities) = (Kind::Transform, Vec::new());
        let (code, compiled_in) = (0, None);
        return Ok(Loaded { digest, size, code, compiled_in, kind, capabilities, schema, made });
    }
    let Outline { kind, configured, capabilities } =
        inspect(bytes, options.component_bytes, granted)?;
    let (component, bytes_of_code, compiled_in) =
        match cache.and_then(|cache| cache.get(engine, &digest)) {
            Some((component, code)) => (component, code, None),
            None => {
                let start = clock::instant();
                let code = compiler.compile(engine, options, counts, bytes)?;
                let component = cache::deserialize(engine, &code)
                    .map_err(|error| Rejected::Compile(format!("{error:#}")))?;
                let took = start.elapsed();
                if let Some(cache) = cache.filter(|_| keeps) {
                    keep(cache, engine, &digest, &code);
                }
                (component, code.len(), Some(took))
            }
        };
    let linked = linker.instantiate_pre(&component);
    let ready = linked.and_then(|linked| Ready::new(kind, configured, linked));
    let ready = ready.map_err(|error| Rejected::Mismatch(format!("{error:#}")))?;
    let made = Made::Component(Arc::new(ready));
    let code = bytes_of_code as u64;
    Ok(Loaded { digest, size, code, compiled_in, kind, capabilities, schema, made })
}

/// Keeps a component's code for the next start.
pub(super) fn keep(cache: &Cache, engine: &Engine, digest: &Digest, code: &[u8]) {
    if let Err(error) = cache.put(engine, digest, code) {
        tracing::warn!(%error, "a compiled plugin could not be kept");
    }
}

/// What a component is, from the outside.
struct Outline {
    kind: Kind,
    configured: bool,
    capabilities: Vec<&'static str>,
}

/// Everything that can be said without compiling.
fn inspect(
    bytes: &[u8],
    limit: usize,
    granted: Option<&Capabilities>,
) -> Result<Outline, Rejected> {
    if bytes.len() > limit {
        return Err(Rejected::TooLarge { size: bytes.len(), limit });
    }
    if bytes.starts_with(b"\x7fELF") || Engine::detect_precompiled(bytes).is_some() {
        return Err(Rejected::Precompiled);
    }
    if Parser::is_core_wasm(bytes) {
        return Err(Rejected::CoreModule);
    }
    if !Parser::is_component(bytes) {
        return Err(Rejected::NotWasm);
    }
    let invalid = |error: wasmparser::BinaryReaderError| Rejected::Invalid(error.to_string());
    Validator::new_with_features(features()).validate_all(bytes).map_err(invalid)?;
    let (imports, exports) = outside(bytes).map_err(invalid)?;
    let has = |known: &str| exports.iter().any(|name| within(name, known));
    let mut kinds = v1::EXPORTS.into_iter().filter(|(_, known)| has(known));
    let (Some((kind, export)), None) = (kinds.next(), kinds.next()) else {
        let exports = if exports.is_empty() { "nothing".into() } else { exports.join(", ") };
        return Err(Rejected::NoPlugin { exports });
    };
    let mut capabilities = Vec::new();
    for import in imports {
        if let Some((_, grant)) = v1::CAPABILITIES.iter().find(|(known, _)| within(import, known)) {
            if granted.is_some_and(|granted| !granted.has(grant)) {
                return Err(Rejected::NotGranted { import: import.to_owned(), grant });
            }
            capabilities.push(*grant);
        } else if !is_always_there(kind, import) {
            let own = v1::IMPORTS.into_iter().filter(|(_, kinds)| kinds.contains(&kind));
            let names = own.filter_map(|(name, _)| name.split(['/', '@']).nth(1));
            let has = names.collect::<Vec<_>>().join(", ");
            return Err(Rejected::Import { import: import.to_owned(), export, has });
        }
    }
    Ok(Outline { kind, configured: has(v1::CONFIGURATION), capabilities })
}

/// Whether what a component imports is granted. It was looked at as a whole when it came in.
pub(super) fn granted(bytes: &[u8], granted: &Capabilities) -> Result<(), Rejected> {
    if builtin::is_definition(bytes) {
        return Ok(());
    }
    let (imports, _) = outside(bytes).map_err(|error| Rejected::Invalid(error.to_string()))?;
    for import in imports {
        if let Some((_, grant)) = v1::CAPABILITIES.iter().find(|(known, _)| within(import, known))
            && !granted.has(grant)
        {
            return Err(Rejected::NotGranted { import: import.to_owned(), grant });
        }
    }
    Ok(())
}

/// WebAssembly 3 without what would make calls differ (threads, relaxed SIMD) or is not built in (GC).
/// `host::config` says the same to wasmtime.
fn features() -> WasmFeatures {
    WasmFeatures::WASM3
        .union(WasmFeatures::COMPONENT_MODEL)
        .difference(WasmFeatures::THREADS)
        .difference(WasmFeatures::RELAXED_SIMD)
        .difference(WasmFeatures::MEMORY64)
        .difference(WasmFeatures::EXCEPTIONS)
        .difference(WasmFeatures::GC_TYPES)
        .difference(WasmFeatures::GC)
        .difference(WasmFeatures::FUNCTION_REFERENCES)
}

/// The names of the outermost component's imports and exports.
pub(super) fn outside(
    bytes: &[u8],
) -> Result<(Vec<&str>, Vec<&str>), wasmparser::BinaryReaderError> {
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0_u32);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import?.name.name);
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export?.name.name);
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

/// Whether both are the same interface in compatible versions: `…@0.1.3` and `…@0.1.0`.
fn within(name: &str, known: &str) -> bool {
    if name == known {
        return true;
    }
    let (Some((name, version)), Some((known, wanted))) =
        (name.split_once('@'), known.split_once('@'))
    else {
        return false;
    };
    name == known && version.rsplit_once('.').map(|v| v.0) == wanted.rsplit_once('.').map(|v| v.0)
}

/// What plugins of that kind may import whatever they are granted. WASI is there for standard libraries; nothing is behind
/// it.
fn is_always_there(kind: Kind, name: &str) -> bool {
    const WASI: [&str; 6] = ["io", "cli", "clocks", "random", "filesystem", "sockets"];
    if v1::IMPORTS.iter().any(|(known, kinds)| kinds.contains(&kind) && within(name, known)) {
        return true;
    }
    let Some((package, _)) = name.strip_prefix("wasi:").and_then(|name| name.split_once('/'))
    else {
        return false;
    };
    let version = name.split_once('@').map_or("", |(_, version)| version);
    WASI.contains(&package) && version.starts_with("0.2.")
}
