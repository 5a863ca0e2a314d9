//! Who has signed a component: an upload carries an ed25519 signature of its digest, and the configuration names the keys
//! that are trusted.

use crate::model::{id::Digest, list::texts};
use base64::{Engine, prelude::BASE64_STANDARD};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserializer, Serialize, Serializer, de::Error};
use std::fmt;

/// An ed25519 public key: 32 bytes, in base64.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustedKey([u8; 32]);

impl fmt::Display for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl fmt::Debug for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TrustedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Keys as operators write them: a list, or a text with commas.
pub(super) fn keys<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<TrustedKey>, D::Error> {
    let keys = texts(deserializer)?.into_iter().map(|text| {
        let bytes = BASE64_STANDARD.decode(&text).ok().and_then(|bytes| bytes.try_into().ok());
        let wrong = || D::Error::custom(format!("`{text}` is not the base64 of 32 bytes"));
        bytes.map(TrustedKey).ok_or_else(wrong)
    });
    keys.collect()
}

/// Why an upload is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// It has no signature.
    #[error("the component is not signed, and only signed ones are taken here")]
    Unsigned,
    /// It is not a signature.
    #[error("the signature must be the base64 of 64 bytes")]
    Malformed,
    /// None of the trusted keys has made it of this component.
    #[error("the signature is not one of this component by a trusted key")]
    Unknown,
}

/// The trusted key that has signed the component. Where none is trusted, nobody is asked for a signature.
pub fn signer<'k>(
    trusted: &'k [TrustedKey],
    digest: &Digest,
    signature: Option<&[u8]>,
) -> Result<Option<&'k TrustedKey>, Untrusted> {
    if trusted.is_empty() {
        return Ok(None);
    }
    let signature = BASE64_STANDARD.decode(signature.ok_or(Untrusted::Unsigned)?);
    let signature = signature.ok().filter(|bytes| bytes.len() == 64);
    let signature = signature.ok_or(Untrusted::Malformed)?;
    let signed = |key: &&TrustedKey| {
        UnparsedPublicKey::new(&ED25519, &key.0).verify(&digest.0, &signature).is_ok()
    };
    trusted.iter().find(signed).map(Some).ok_or(Untrusted::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    fn pair(seed: u8) -> (Ed25519KeyPair, TrustedKey) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key");
        let public = pair.public_key().as_ref().try_into().expect("32 bytes");
        (pair, TrustedKey(public))
    }

    #[test]
    fn only_a_trusted_keys_signature_of_the_digest_is_good() {
        let ((first, one), (second, two), (stranger, _)) = (pair(1), pair(2), pair(3));
        let (digest, other) = (Digest([7; 32]), Digest([8; 32]));
        let trusted = [one, two];
        let sign = |pair: &Ed25519KeyPair, digest: &Digest| {
            BASE64_STANDARD.encode(pair.sign(&digest.0)).into_bytes()
        };
        let ask = |signature: &[u8]| signer(&trusted, &digest, Some(signature));
        assert_eq!(ask(&sign(&first, &digest)), Ok(Some(&trusted[0])));
        assert_eq!(ask(&sign(&second, &digest)), Ok(Some(&trusted[1])));
        assert_eq!(ask(&sign(&stranger, &digest)), Err(Untrusted::Unknown));
        assert_eq!(ask(&sign(&first, &other)), Err(Untrusted::Unknown));
        for wrong in [&b""[..], b"!", b"AAAA", "é".as_bytes()] {
            assert_eq!(ask(wrong), Err(Untrusted::Malformed));
        }
        assert_eq!(signer(&trusted, &digest, None), Err(Untrusted::Unsigned));
        assert_eq!(signer(&[], &digest, None), Ok(None));
    }
}
