//! Lines for operators, in the message's record and in `octohooks plugin logs`. For plugins.
//!
//! ```
//! use octohooks_plugin::log;
//! log::info!("{} of {} items", 1, 2);
//! ```
//!
//! The gateway bounds number and length of lines per call; what is over is dropped and counted.

#[cfg(not(target_arch = "wasm32"))]
use crate::testing as world;
#[cfg(target_arch = "wasm32")]
use crate::v0_1 as world;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For whoever writes the plugin.
    Debug,
    /// Worth knowing.
    Info,
    /// Unexpected, and handled.
    Warn,
    /// Somebody should look.
    Error,
}

/// Writes one line. It cannot fail and it does not block.
pub fn write(level: Level, line: &str) {
    world::write_log(level, line);
}

pub use crate::{__debug as debug, __error as error, __info as info, __warn as warn};

#[doc(hidden)]
#[macro_export]
macro_rules! __debug {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($line)+)) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __info {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($line)+)) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __warn {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($line)+)) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __error {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($line)+)) };
}
