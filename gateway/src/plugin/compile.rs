//! From an upload to something that can be called: the bytes are checked from the outside in, so that the
//! author reads the first thing to mend and wasmtime compiles only what can run here. Blocking: a Rust
//! component of 100 KB takes 60 ms on two cores.

use super::{
    builtin::{self, Definition, Wrong},
    cache::{self, Cache},
    call::CallFailure,
    compiler::Compiler,
    host::State,
    limits::Options,
    v1::{self, Ready},
};
use crate::{
    clock,
    model::{id::Digest, plugin::Kind},
};
use sha2::{Digest as _, Sha256};
use std::{fmt, time::Duration};
use wasmparser::{Parser, Payload, Validator, WasmFeatures};
use wasmtime::{Engine, component::Linker};

/// A component that can be called.
pub struct Loaded {
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// How long it took to compile; none if it came from the cache.
    pub compiled_in: Option<Duration>,
    /// What its exports say it is for.
    pub kind: Kind,
    pub(super) made: Made,
}

/// What is called.
pub(super) enum Made {
    /// Somebody's code.
    Component(Ready),
    /// A transform without code.
    Builtin(Definition),
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Loaded");
        fields.field("digest", &self.digest).field("size", &self.size);
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
    #[error("the definition cannot be used: {}", .0.iter().map(|(at, text)| format!("{at} {text}")).collect::<Vec<_>>().join("; "))]
    Definition(Vec<Wrong>),
    /// Something else.
    #[error("this is not WebAssembly: upload the `.wasm` file of a component")]
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
    #[error("the component does not export `{}`; it exports {exports}", v1::EXPORT)]
    NoTransformer {
        /// The names of what it does export.
        exports: String,
    },
    /// It asks for something plugins do not have.
    #[error(
        "the component imports `{0}`, which plugins do not have; they have the interfaces log, settings and \
         application of octohooks:plugin@0.1.0, and an empty WASI 0.2 without http"
    )]
    Import(String),
    /// An import or the export has other types than the contract's.
    #[error("the component does not fit the contract octohooks:plugin@0.1.0: {0}")]
    Mismatch(String),
    /// It cannot be compiled, or wants more than the pool has.
    #[error("the component cannot be compiled: {0}")]
    Compile(String),
    /// Compiling it takes too much memory.
    #[error("the component cannot be compiled in the {0} bytes of memory that may take")]
    OutOfMemory(u64),
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
    /// Whether the component is at fault, and would be at any other time.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        !matches!(self, Self::Busy | Self::Unavailable(_))
    }
}

/// Checks, compiles (or finds the compiled form) and links.
pub(super) fn load(
    engine: &Engine,
    linker: &Linker<State>,
    cache: Option<&Cache>,
    compiler: &Compiler,
    options: &Options,
    bytes: &[u8],
) -> Result<Loaded, Rejected> {
    let digest = Digest(Sha256::digest(bytes).into());
    if bytes.trim_ascii_start().starts_with(b"{") {
        let made = Made::Builtin(builtin::read(bytes).map_err(Rejected::Definition)?);
        let (size, kind) = (bytes.len() as u64, Kind::Transform);
        return Ok(Loaded { digest, size, compiled_in: None, kind, made });
    }
    inspect(bytes, options.component_bytes)?;
    let (component, compiled_in) = match cache.and_then(|cache| cache.get(engine, &digest)) {
        Some(component) => (component, None),
        None => {
            let start = clock::instant();
            let code = compiler.compile(engine, options, bytes)?;
            let component = cache::deserialize(engine, &code)
                .map_err(|error| Rejected::Compile(format!("{error:#}")))?;
            let took = start.elapsed();
            if let Some(Err(error)) = cache.map(|cache| cache.put(engine, &digest, &code)) {
                tracing::warn!(%error, "a compiled plugin could not be kept");
            }
            (component, Some(took))
        }
    };
    let ready = linker.instantiate_pre(&component).and_then(Ready::new);
    let ready = ready.map_err(|error| Rejected::Mismatch(format!("{error:#}")))?;
    // All that is accepted is one.
    let kind = Kind::Transform;
    Ok(Loaded { digest, size: bytes.len() as u64, compiled_in, kind, made: Made::Component(ready) })
}

/// Everything that can be said without compiling.
fn inspect(bytes: &[u8], limit: usize) -> Result<(), Rejected> {
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
    if !exports.iter().any(|name| *name == v1::EXPORT || within(name, v1::EXPORT)) {
        let exports = if exports.is_empty() { "nothing".into() } else { exports.join(", ") };
        return Err(Rejected::NoTransformer { exports });
    }
    match imports.iter().find(|name| !granted(name)) {
        Some(name) => Err(Rejected::Import((*name).to_owned())),
        None => Ok(()),
    }
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
fn outside(bytes: &[u8]) -> Result<(Vec<&str>, Vec<&str>), wasmparser::BinaryReaderError> {
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
    let (Some((name, version)), Some((known, wanted))) =
        (name.split_once('@'), known.split_once('@'))
    else {
        return false;
    };
    name == known && version.rsplit_once('.').map(|v| v.0) == wanted.rsplit_once('.').map(|v| v.0)
}

/// What plugins may import. WASI is there for standard libraries; nothing is behind it.
fn granted(name: &str) -> bool {
    const OURS: [&str; 4] = [
        "octohooks:plugin/types@0.1.0",
        "octohooks:plugin/log@0.1.0",
        "octohooks:plugin/settings@0.1.0",
        "octohooks:plugin/application@0.1.0",
    ];
    const WASI: [&str; 6] = ["io", "cli", "clocks", "random", "filesystem", "sockets"];
    if OURS.iter().any(|ours| within(name, ours)) {
        return true;
    }
    let Some((package, _)) = name.strip_prefix("wasi:").and_then(|name| name.split_once('/'))
    else {
        return false;
    };
    let version = name.split_once('@').map_or("", |(_, version)| version);
    WASI.contains(&package) && version.starts_with("0.2.")
}
