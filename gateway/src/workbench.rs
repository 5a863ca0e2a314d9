//! What an author of plugins has on a machine of their own: a folder for a new plugin ([`template`]), its component
//! ([`build`], by [`manifest`]), a look into one ([`anatomy`]), and golden cases ([`case`]) that run in the very host that
//! the gateway has ([`trial`], before a [`world`] in memory). For `octohooks plugin`, which prints; nothing here does, and nothing here is on a
//! message's path.

pub mod manifest;
pub mod template;
pub mod build;
pub mod case;
pub mod verdict;
pub mod world;
pub mod trial;
pub mod anatomy;

pub use crate::plugin::{Options as Limits, is_definition};

/// Why something cannot be done, as its author reads it: one or more lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(pub String);

impl Problem {
    /// In those words.
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The same, with its place before it.
    fn at(self, place: impl std::fmt::Display) -> Self {
        Self(format!("{place}: {}", self.0))
    }
}
