//! The small capabilities: [`secret`], [`now_ms`] and [`random`], each for a plugin whose application was granted it.

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::outside as world;
#[cfg(target_arch = "wasm32")]
use crate::v0_1::capabilities as world;

/// The application's secret of that name, if there is one. Granted: `secrets`.
#[must_use]
pub fn secret(name: &str) -> Option<String> {
    world::secret(name)
}

/// Milliseconds since the Unix epoch. Granted: `clock`. Without it a plugin has the message's `accepted_at`.
#[must_use]
pub fn now_ms() -> u64 {
    world::now_ms()
}

/// That many random bytes, good for keys; at most 65,536. Granted: `random`.
#[must_use]
pub fn random(count: u32) -> Vec<u8> {
    world::random(count)
}
