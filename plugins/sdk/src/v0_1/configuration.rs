//! The contract's `configuration`. For `export_schema!`.

#[doc(hidden)]
#[allow(unsafe_code, missing_docs, reason = "generated: the canonical ABI speaks in pointers")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit/since-v0.1",
        world: "configured",
        pub_export_macro: true,
        export_macro_name: "export_schema_component",
    });
}

pub use bindings::export_schema_component;
pub use bindings::exports::octohooks::plugin::configuration::Guest;
