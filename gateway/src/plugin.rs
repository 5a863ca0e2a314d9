//! The plugin host: runs an application's WebAssembly component on each of its messages, for `dispatch`,
//! and checks uploads, for the API. The only place that knows of wasmtime.
//!
//! A component comes in through [`Host::admit`]: it is validated, its imports are held against what a
//! plugin may have, it is compiled once, in a process of its own, instantiated once, and kept by digest in a [`Registry`]. [`Host::call`] then gives
//! every message an instance of its own, in a fresh store from a pool, under the limits of [`Options`];
//! nothing survives from one call to the next, and a call that traps or runs over harms no other. What a
//! plugin answers is checked and turned into the model's nouns before anyone else sees it.
//!
//! Who does what: `host` owns pool and calls, `engine` says what engine; `limits` counts, and `fuel` for trials; `long` lets calls
//! that compute for long take turns, and `precedence` others go before them; `state` is what one call has; `admission` takes uploads in turn; `compile` says whether a component may run, `surface` what it has
//! outside, `compiler` makes its code and `cache` keeps it; `builtin` transforms without code; `v1` speaks the contract's
//! version 0.1, `wasi` the empty WASI behind it; `outside` is what capabilities lead to, and `apart` what a call without
//! effects sees of that; `check` says whether an answer can be used, and `settings` whether a plugin can be configured so.

mod call;
mod limits;
mod long;
mod precedence;
mod fuel;
mod outside;
mod apart;
mod engine;
mod ticker;
mod host;
mod compile;
mod compiler;
mod admission;
mod surface;
mod cache;
mod registry;
mod settings;
mod state;
mod v1;
mod wasi;
mod check;
pub mod signature;
mod builtin;
#[cfg(test)]
mod tests;

pub use admission::placeholder;
pub use builtin::is_definition;
pub use cache::Cache;
pub use call::{Call, CallFailure, Called, Cost, Level, LogLine, Settings, ToClassify, ToSign};
pub use compile::{Loaded, Rejected};
pub use compiler::{Compiler, serve};
pub use host::{Host, HostError, Means};
pub use limits::Options;
pub use outside::{Nothing, Outside, Request, Response, Unsent};
pub use registry::Registry;
pub use settings::Schema;
pub use surface::Surface;
