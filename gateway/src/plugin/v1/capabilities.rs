//! The small capabilities: named secrets, the wall clock, random numbers.

use super::transform::bindings::octohooks::plugin::{clock, random, secrets};
use crate::{
    clock as time,
    plugin::{outside::NotGranted, state::State},
};
use wasmtime::Result;

/// Random bytes of one call of the function: each fills a buffer of the host's.
const RANDOM: usize = 64 << 10;

/// Fails the call where the grant was taken away after the upload.
fn granted(is: bool, grant: &'static str) -> Result<()> {
    if is { Ok(()) } else { Err(NotGranted(grant).into()) }
}

impl secrets::Host for State {
    fn get(&mut self, name: String) -> Result<Option<String>> {
        granted(self.granted().secrets, "secrets")?;
        let grants = self.tenant.grants.as_deref();
        Ok(grants.and_then(|grants| grants.named.get(&*name)).map(|secret| secret.text.clone()))
    }
}

impl clock::Host for State {
    fn now_ms(&mut self) -> Result<u64> {
        granted(self.granted().clock, "clock")?;
        Ok(time::now())
    }
}

impl random::Host for State {
    fn bytes(&mut self, count: u32) -> Result<Vec<u8>> {
        granted(self.granted().random, "random")?;
        let count = usize::try_from(count).unwrap_or(RANDOM).min(RANDOM);
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            let room = count - bytes.len();
            bytes.extend(time::random_bytes().into_iter().take(room));
        }
        Ok(bytes)
    }
}
