//! What a host has for calls that are made beside those that decide: for trials.

use super::{Host, HostError, Means};
use crate::gate::Turn;
use std::sync::Arc;

impl Host {
    /// One that counts fuel, with the same limits and the same world outside.
    pub fn counter(&self) -> Result<Self, HostError> {
        let means = Means {
            cache: None,
            outside: Arc::clone(&self.0.outlet.outside),
            compiler: self.0.compiler.clone(),
            guests: self.0.guests.clone(),
        };
        Self::counting(self.0.options.clone(), means)
    }

    /// A turn that delays no message, if there is one now.
    #[must_use]
    pub fn spare_turn(&self) -> Option<Turn<'_>> {
        self.0.gate.spare()
    }
}
