//! A signing secret: how it is written, and until when it signs.

use super::Millis;
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::fmt;

/// What a secret begins with whose rest is a symmetric key in base64.
const SYMMETRIC: &str = "whsec_";
/// What one begins with whose rest is the seed of an ed25519 key in base64, and what its public key begins with.
const ASYMMETRIC: &str = "whsk_";
const PUBLIC: &str = "whpk_";
/// The longest, in bytes.
const TEXT: usize = 1024;

/// A signing secret. Its text never reaches a log, and is not serialised: the store seals it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// As its owner writes it.
    pub text: String,
    /// From then on it does not sign; none: it does until it is replaced.
    pub expires: Option<Millis>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// A secret that does not expire.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), expires: None }
    }

    /// A new secret of these random bytes, as the Standard Webhooks write it.
    #[must_use]
    pub fn generated(bytes: &[u8; 32]) -> Self {
        Self::new(format!("{SYMMETRIC}{}", STANDARD.encode(bytes)))
    }

    /// Whether it can be one; what would be right.
    pub fn check(&self) -> Result<(), String> {
        if self.text.is_empty() || self.text.len() > TEXT {
            return Err(format!("must have 1 to {TEXT} bytes"));
        }
        match self.is_asymmetric() && self.key_pair().is_none() {
            true => Err(format!("must have a seed of 32 bytes in base64 behind `{ASYMMETRIC}`")),
            false => Ok(()),
        }
    }

    /// Whether it signs what is sent now.
    #[must_use]
    pub fn signs(&self, now: Millis) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }

    /// The key of the Standard Webhooks' symmetric signature: what is behind `whsec_` decoded, any other text as its UTF-8
    /// bytes.
    #[must_use]
    pub fn standard_key(&self) -> Vec<u8> {
        let encoded = self.text.strip_prefix(SYMMETRIC);
        let decoded = encoded.and_then(|text| STANDARD.decode(text).ok());
        decoded.unwrap_or_else(|| self.text.as_bytes().to_vec())
    }

    /// Whether it is an ed25519 key: then it signs `v1a` and nothing else.
    #[must_use]
    pub fn is_asymmetric(&self) -> bool {
        self.text.starts_with(ASYMMETRIC)
    }

    /// The ed25519 key, if it is one.
    #[must_use]
    pub fn key_pair(&self) -> Option<Ed25519KeyPair> {
        let seed = STANDARD.decode(self.text.strip_prefix(ASYMMETRIC)?).ok()?;
        Ed25519KeyPair::from_seed_unchecked(&seed).ok()
    }

    /// What receivers verify an ed25519 key's signatures with: `whpk_<base64>`.
    #[must_use]
    pub fn public_key(&self) -> Option<String> {
        Some(format!("{PUBLIC}{}", STANDARD.encode(self.key_pair()?.public_key())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_8032() {
        for (seed, public, message, signature) in [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
        ] {
            let bytes = |text: &str| hex::decode(text).expect("hexadecimal");
            let secret = Secret::new(format!("whsk_{}", STANDARD.encode(bytes(seed))));
            let expected = format!("whpk_{}", STANDARD.encode(bytes(public)));
            assert_eq!(secret.public_key(), Some(expected));
            let signed = secret.key_pair().expect("a key").sign(&bytes(message));
            assert_eq!(hex::encode(signed), signature);
        }
    }

    #[test]
    fn a_secret_is_any_text_but_for_an_ed25519_key() {
        let seed = STANDARD.encode([7; 32]);
        for good in ["x", "whsec_not base64", &format!("whsk_{seed}"), &"x".repeat(1024)] {
            assert_eq!(Secret::new(good).check(), Ok(()), "{good}");
        }
        for bad in
            ["", "whsk_", "whsk_!", "whsk_AAAA", &format!("whsk_{seed}AAAA"), &"x".repeat(1025)]
        {
            Secret::new(bad).check().expect_err(bad);
        }
        assert_eq!(Secret::new(seed).public_key(), None);
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(format!("{:?}", Secret::new("text")), "Secret(…)");
    }
}
