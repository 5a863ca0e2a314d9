//! What a component has outside: the names of its imports and exports. For `octohooks plugin inspect`, which shows them of
//! a component that would be refused as well.

use super::compile::{self, Rejected};
use wasmparser::Parser;

/// The names that a component's neighbours see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surface {
    /// What it needs, as `octohooks:plugin/log@0.1.0`.
    pub imports: Vec<String>,
    /// What it gives.
    pub exports: Vec<String>,
}

impl Surface {
    /// Of a component's bytes, whoever may run it.
    pub fn of(bytes: &[u8]) -> Result<Self, Rejected> {
        if Parser::is_core_wasm(bytes) {
            return Err(Rejected::CoreModule);
        }
        if !Parser::is_component(bytes) {
            return Err(Rejected::NotWasm);
        }
        let (imports, exports) =
            compile::outside(bytes).map_err(|error| Rejected::Invalid(error.to_string()))?;
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        Ok(Self { imports: owned(imports), exports: owned(exports) })
    }
}
