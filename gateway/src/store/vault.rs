//! The vault: seals what must not be readable in a file that was copied, under the master key. ChaCha20-Poly1305 with a
//! random nonce of 96 bits, which is good for some four thousand million seals under one key.
//!
//! What is sealed is bound to its context (whose it is): moved to another place, it does not open there.

use crate::clock;
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Deserializer, de};
use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// What sealed bytes begin with, and sealed text: the version of their form.
const VERSION: u8 = 1;
const TEXT_VERSION: &str = "v1:";

/// The key that everything is sealed under. Its bytes never reach a log.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey([u8; 32]);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl FromStr for MasterKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let bytes = STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("must be 32 bytes in base64")
    }
}

impl<'de> Deserialize<'de> for MasterKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Where the master key comes from.
#[derive(Clone, Debug)]
pub enum Master {
    /// The configuration.
    Given(MasterKey),
    /// This file, made when there is nothing yet that it should open.
    File(PathBuf),
}

impl Master {
    /// The configured key, or the file beside the data.
    #[must_use]
    pub fn new(configured: Option<MasterKey>, data: &Path) -> Self {
        configured.map_or_else(|| Self::File(data.join("master.key")), Self::Given)
    }

    /// The key. `is_used`: whether something is sealed under it already, so that a new one would open nothing. An error is
    /// a line for the operator.
    pub fn key(&self, is_used: bool) -> Result<MasterKey, String> {
        let path = match self {
            Self::Given(key) => return Ok(key.clone()),
            Self::File(path) => path,
        };
        let text = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
        match fs::read_to_string(path) {
            Ok(key) => key.parse().map_err(|error| text(&error)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(text(&error)),
            Err(_) if is_used => Err(text(
                &"the master key is missing, and secrets are sealed with it: put the file back, or give `data.master_key`",
            )),
            Err(_) => {
                let key = MasterKey(clock::random_bytes());
                write(path, &key).map_err(|error| text(&error))?;
                tracing::warn!(
                    file = %path.display(),
                    "a master key was made, and lies beside the data that it protects; keep a copy of it apart, or give \
                     `data.master_key`"
                );
                Ok(key)
            }
        }
    }
}

/// Whole or not at all, and durable before anything is sealed with it.
fn write(path: &Path, key: &MasterKey) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    writeln!(file, "{}", STANDARD.encode(key.0))?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// What is sealed does not open: another master key, another context, or it was altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not open: it was sealed with another master key, for something else, or altered")]
pub struct NotOpened;

/// Seals and opens.
pub struct Vault(LessSafeKey);

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(…)")
    }
}

impl Vault {
    /// A vault under that key.
    pub fn new(key: &MasterKey) -> Result<Self, String> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key.0);
        key.map(LessSafeKey::new).map(Self).map_err(|_| "the master key is not usable".into())
    }

    /// Seals these bytes for that context: a version, the nonce, and what it made of them.
    #[must_use]
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&clock::random_bytes()[..NONCE_LEN]);
        let mut sealed = plain.to_vec();
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        // Only a text of 256 GiB is too long for the cipher.
        let done = self.0.seal_in_place_append_tag(nonce_used, Aad::from(context), &mut sealed);
        debug_assert!(done.is_ok(), "nothing that long is ever in memory");
        [&[VERSION][..], &nonce, &sealed].concat()
    }

    /// Opens what was sealed for that context.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, NotOpened> {
        let rest = sealed.strip_prefix(&[VERSION]).ok_or(NotOpened)?;
        let (nonce, rest) = rest.split_at_checked(NONCE_LEN).ok_or(NotOpened)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotOpened)?;
        let mut bytes = rest.to_vec();
        let opened = self.0.open_in_place(nonce, Aad::from(context), &mut bytes);
        let length = opened.map_err(|_| NotOpened)?.len();
        bytes.truncate(length);
        Ok(bytes)
    }

    /// As [`seal`](Self::seal), as text: `v1:` and base64.
    #[must_use]
    pub fn seal_text(&self, context: &[u8], plain: &str) -> String {
        let sealed = self.seal(context, plain.as_bytes());
        let mut text = TEXT_VERSION.to_owned();
        STANDARD.encode_string(&sealed[1..], &mut text);
        text
    }

    /// Opens text that was sealed for that context.
    pub fn open_text(&self, context: &[u8], sealed: &str) -> Result<String, NotOpened> {
        let encoded = sealed.strip_prefix(TEXT_VERSION).ok_or(NotOpened)?;
        let mut bytes = vec![VERSION];
        STANDARD.decode_vec(encoded, &mut bytes).map_err(|_| NotOpened)?;
        String::from_utf8(self.open(context, &bytes)?).map_err(|_| NotOpened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn vault(byte: u8) -> Vault {
        Vault::new(&MasterKey([byte; 32])).expect("a key")
    }

    #[test]
    fn what_was_sealed_opens_for_its_context_and_key_alone() {
        let sealed = vault(1).seal(b"endpoint-1", b"whsec_abc");
        assert_eq!(vault(1).open(b"endpoint-1", &sealed).as_deref(), Ok(&b"whsec_abc"[..]));
        assert_eq!(vault(1).open(b"endpoint-2", &sealed), Err(NotOpened));
        assert_eq!(vault(2).open(b"endpoint-1", &sealed), Err(NotOpened));
        for length in 0..sealed.len() {
            assert_eq!(vault(1).open(b"endpoint-1", &sealed[..length]), Err(NotOpened));
        }
        for index in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[index] ^= 1;
            assert_eq!(vault(1).open(b"endpoint-1", &altered), Err(NotOpened), "byte {index}");
        }
    }

    #[test]
    fn the_same_text_is_never_sealed_the_same_way_twice() {
        let vault = vault(1);
        let (one, two) = (vault.seal_text(b"c", "text"), vault.seal_text(b"c", "text"));
        assert_ne!(one, two);
        for sealed in [&one, &two] {
            assert!(sealed.starts_with("v1:"), "{sealed}");
            assert_eq!(vault.open_text(b"c", sealed).as_deref(), Ok("text"));
        }
        for other in ["", "text", "v1:", "v1:!", &one.replacen("v1:", "v2:", 1)] {
            assert_eq!(vault.open_text(b"c", other), Err(NotOpened), "{other}");
        }
    }

    #[test]
    fn a_key_file_is_made_once_and_only_for_its_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let master = Master::new(None, directory.path());
        let error = master.key(true).expect_err("a new key would open nothing");
        assert!(error.contains("master.key") && error.contains("data.master_key"), "{error}");
        let made = master.key(false).expect("is made");
        assert!(master.key(true).expect("is there") == made);
        assert!(master.key(false).expect("is there") == made);
        let path = directory.path().join("master.key");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).expect("reads").count(), 1, "nothing is left");
        fs::write(&path, "half a k").expect("writes");
        let error = master.key(false).expect_err("it is never replaced");
        assert!(error.contains("32 bytes"), "{error}");
    }

    #[test]
    fn a_key_is_32_bytes_in_base64_and_is_not_shown() {
        let text = STANDARD.encode([7; 32]);
        let key: MasterKey = format!("{text}\n").parse().expect("a key");
        assert_eq!(format!("{key:?} {:?}", vault(7)), "MasterKey(…) Vault(…)");
        for bad in ["", "AAAA", &text[1..], &STANDARD.encode([7; 33])] {
            bad.parse::<MasterKey>().expect_err(bad);
        }
    }
}
