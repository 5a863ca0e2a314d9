//! What a plugin's settings must look like: [`export_schema!`](crate::export_schema), beside the plugin's own export.

/// Exports a `fn() -> String` that gives a JSON Schema (2020-12) as the component's `configuration`: the gateway holds the
/// application's settings against it. Once per plugin, beside [`export!`](crate::export) or the like.
///
/// ```
/// fn schema() -> String {
///     r#"{ "type": "object", "properties": { "limit": { "type": "integer" } } }"#.into()
/// }
///
/// octohooks_plugin::export_schema!(schema);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_schema {
    ($schema:path) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Configured;
            impl $crate::v0_1::configuration::Guest for Configured {
                fn schema() -> $crate::v0_1::__private::String {
                    $schema()
                }
            }
            $crate::v0_1::configuration::export_schema_component!(
                Configured with_types_in $crate::v0_1::configuration::bindings
            );
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() -> ::std::string::String = $schema;
    };
}
