//! Signers: their call, and the keys that they never see.

use crate::{
    model::secret::Secret,
    plugin::{
        call::{CallFailure, ToSign, reason},
        state::State,
    },
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;
use wasmtime::{
    Result, Store,
    component::{HasSelf, Linker},
};

mod bindings {
    #![allow(missing_docs, reason = "generated; the documentation is in the WIT")]
    wasmtime::component::bindgen!({
        path: "../wit/since-v0.1",
        inline: "
            package octohooks:host;
            world signing {
                import octohooks:plugin/keys@0.1.0;
                export octohooks:plugin/signer@0.1.0;
            }
        ",
        world: "octohooks:host/signing",
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub(super) use bindings::SigningPre;
use bindings::{
    Signing,
    exports::octohooks::plugin::signer::Request,
    octohooks::plugin::keys::{self, Key, KeyError, Kind},
};

/// Makes an instance in the store and has it sign.
pub(super) async fn call(
    ready: &SigningPre<State>,
    store: &mut Store<State>,
    request: &ToSign,
) -> Result<Result<Vec<(String, String)>, CallFailure>> {
    let instance = ready.instantiate_async(&mut *store).await?;
    let mut id = Uuid::encode_buffer();
    let request = Request {
        endpoint: request.endpoint.id.0.as_hyphenated().encode_lower(&mut id),
        endpoint_uid: request.endpoint.uid.as_deref(),
        url: request.endpoint.url.as_str(),
        webhook_id: &request.webhook_id,
        timestamp: request.timestamp,
        content_type: &request.content_type,
        body: &request.body,
        attributes: &[],
    };
    let signed = instance.octohooks_plugin_signer().call_sign(store, request).await?;
    Ok(signed.map_err(|why| CallFailure::Other(reason(why))))
}

/// Gives signers their keys.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    Signing::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

impl State {
    fn key(&self, handle: u32) -> Result<&Secret, KeyError> {
        let index = usize::try_from(handle).map_err(|_| KeyError::Unknown)?;
        self.keys.get(index).ok_or(KeyError::Unknown)
    }
}

impl keys::Host for State {
    fn all(&mut self) -> Vec<Key> {
        let kind = |secret: &Secret| match secret.is_asymmetric() {
            true => Kind::Ed25519,
            false => Kind::Symmetric,
        };
        (0..).zip(&self.keys).map(|(handle, key)| Key { handle, kind: kind(key) }).collect()
    }

    fn hmac_sha256(&mut self, handle: u32, bytes: Vec<u8>) -> Result<Vec<u8>, KeyError> {
        let secret = self.key(handle)?;
        if secret.is_asymmetric() {
            return Err(KeyError::WrongKind);
        }
        // HMAC takes a key of any length.
        let mac = Hmac::<Sha256>::new_from_slice(&secret.standard_key());
        let mut mac = mac.map_err(|_| KeyError::WrongKind)?;
        mac.update(&bytes);
        Ok(mac.finalize().into_bytes().to_vec())
    }

    fn ed25519(&mut self, handle: u32, bytes: Vec<u8>) -> Result<Vec<u8>, KeyError> {
        let pair = self.key(handle)?.key_pair().ok_or(KeyError::WrongKind)?;
        Ok(pair.sign(&bytes).as_ref().to_vec())
    }
}
