//! What a plugin says its settings must look like.

use crate::plugin::state::State;
use wasmtime::{Result, Store};

mod bindings {
    #![allow(missing_docs, reason = "generated; the documentation is in the WIT")]
    wasmtime::component::bindgen!({
        path: "../wit/since-v0.1",
        inline: "
            package octohooks:host;
            world configuring {
                export octohooks:plugin/configuration@0.1.0;
            }
        ",
        world: "octohooks:host/configuring",
        exports: { default: async },
    });
}

pub(super) use bindings::ConfiguringPre;

/// Makes an instance in the store and reads its schema.
pub(super) async fn call(
    ready: &ConfiguringPre<State>,
    store: &mut Store<State>,
) -> Result<String> {
    let instance = ready.instantiate_async(&mut *store).await?;
    instance.octohooks_plugin_configuration().call_schema(store).await
}
