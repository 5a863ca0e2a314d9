//! One id type per noun, so that a message's id can never be given where an endpoint's is wanted.
//! All are UUIDs; the gateway makes version 7, whose order is the order of creation.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::try_parse(text).map(Self)
            }
        }
    )*};
}

ids! {
    /// An application's id.
    ApplicationId
    /// An endpoint's id.
    EndpointId
    /// A message's id; receivers see it as `webhook-id`.
    MessageId
    /// A delivery's id, derived from what it binds (see `Delivery::id`).
    DeliveryId
    /// An API key's id (not the key).
    KeyId
    /// An event type's id.
    EventTypeId
    /// The id of work in the background.
    OperationId
}

impl MessageId {
    /// When it was made, in milliseconds since the epoch: that is in it.
    #[must_use]
    pub fn created(self) -> Option<super::Millis> {
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        Some(seconds * 1000 + u64::from(nanos / 1_000_000))
    }
}

/// An environment: the unit of isolation. A small number, since it is part of every key in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EnvironmentId(pub u32);

impl EnvironmentId {
    /// The environment named `default`, which exists from the start.
    pub const DEFAULT: Self = Self(1);
    /// Its name.
    pub const DEFAULT_NAME: &str = "default";

    /// Its name, for what does not name another.
    #[must_use]
    pub fn default_name() -> String {
        Self::DEFAULT_NAME.to_owned()
    }
}

/// The SHA-256 of a component's bytes: a plugin version's name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = hex::FromHexError;
    fn from_str(text: &str) -> Result<Self, hex::FromHexError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
