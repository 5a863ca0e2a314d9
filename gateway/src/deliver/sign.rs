//! Signatures, made at the moment a request is sent: the provider's own `X-Signature` and the Standard Webhooks
//! headers. Functions of their arguments.

use crate::model::{endpoint::Scheme, secret::Secret};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

type HmacSha256 = Hmac<Sha256>;

/// The header values of one request; none where the endpoint does not want it, or no secret makes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signatures {
    /// `x-signature`: `t=<seconds>,v1=<hex>[,v1=<hex>…]` over `{seconds}.{body}`. An ed25519 key makes none.
    pub octohooks: Option<String>,
    /// `webhook-signature`: `v1,<base64>[ v1,<base64>…]` over `{id}.{seconds}.{body}`, `v1a,<base64>` for an ed25519 key.
    pub standard: Option<String>,
}

/// Signs the body with each secret. `seconds` is the time of sending since the epoch.
#[must_use]
pub fn sign<'a>(
    secrets: impl Iterator<Item = &'a Secret>,
    scheme: Scheme,
    id: &str,
    seconds: u64,
    body: &[u8],
) -> Signatures {
    let time = seconds.to_string();
    let parts = [id.as_bytes(), b".", time.as_bytes(), b".", body];
    let mut signatures = Signatures::default();
    for secret in secrets {
        if scheme != Scheme::Standard && !secret.is_asymmetric() {
            let own = mac(secret.text.as_bytes(), &parts[2..]);
            let text = signatures.octohooks.get_or_insert_with(|| format!("t={seconds}"));
            text.push_str(",v1=");
            push_hex(text, &own);
        }
        if scheme == Scheme::Octohooks {
            continue;
        }
        let text = signatures.standard.get_or_insert_default();
        if !text.is_empty() {
            text.push(' ');
        }
        if let Some(key) = secret.key_pair() {
            text.push_str("v1a,");
            STANDARD.encode_string(key.sign(&parts.concat()), text);
        } else {
            text.push_str("v1,");
            STANDARD.encode_string(mac(&secret.standard_key(), &parts), text);
        }
    }
    signatures
}

fn push_hex(text: &mut String, bytes: &[u8; 32]) {
    let mut digits = [0; 64];
    // The room is twice the bytes, and digits are UTF-8.
    let _encoded = hex::encode_to_slice(bytes, &mut digits);
    text.push_str(str::from_utf8(&digits).unwrap_or_default());
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes a key of any length.
    let Ok(mut mac) = HmacSha256::new_from_slice(key) else { return [0; 32] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"1"}"#;
    const SECONDS: u64 = 1_700_000_000;

    fn signed(secrets: &[&str], scheme: Scheme) -> Signatures {
        let secrets: Vec<Secret> = secrets.iter().copied().map(Secret::new).collect();
        sign(secrets.iter(), scheme, "msg", SECONDS, BODY)
    }

    /// RFC 8032's first seed.
    fn ed25519() -> String {
        format!(
            "whsk_{}",
            STANDARD.encode(
                hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
                    .expect("hex"),
            )
        )
    }

    #[test]
    fn the_contracts_vector() {
        let signed = signed(&["i9viqa5vxx78hcxh4rwdm8x7791"], Scheme::Both);
        let expected =
            "t=1700000000,v1=cfeb6158be9964c4c1c5e137a664c8ed1d9eda2a914b5e9d28d204a36dce7437";
        assert_eq!(signed.octohooks.as_deref(), Some(expected));
    }

    #[test]
    fn every_secret_signs() {
        let signed = signed(&["one", "two"], Scheme::Both);
        assert_eq!(signed.octohooks.expect("one").matches(",v1=").count(), 2);
        assert_eq!(signed.standard.expect("one").split(' ').count(), 2);
    }

    #[test]
    fn an_endpoint_gets_the_signatures_it_wants() {
        let both = signed(&["one"], Scheme::Both);
        let Signatures { octohooks, standard } = both;
        assert!(octohooks.is_some() && standard.is_some());
        let own = signed(&["one"], Scheme::Octohooks);
        assert_eq!(own, Signatures { octohooks, standard: None });
        let other = signed(&["one"], Scheme::Standard);
        assert_eq!(other, Signatures { octohooks: None, standard });
    }

    #[test]
    fn an_ed25519_key_signs_what_a_symmetric_one_does_and_makes_no_signature_of_our_own() {
        let key = ed25519();
        let alone = signed(&[&key], Scheme::Both);
        assert_eq!(alone.octohooks, None);
        // Made with OpenSSL.
        let expected = "v1a,NAV3N1ZxPeRsNdxTk5AzSaq5npwbTyeN7AmofpfyA4sMA1x9SfaB/74eoJEwITcmEJjinyrQNU1uCFg+OrnACA==";
        assert_eq!(alone.standard.as_deref(), Some(expected));
        let beside = signed(&["one", &key], Scheme::Both);
        assert_eq!(beside.octohooks.expect("one").matches("v1=").count(), 1);
        let standard = beside.standard.expect("both");
        let (first, second) = standard.split_once(' ').expect("two");
        assert!(first.starts_with("v1,") && second == expected, "{standard}");
    }

    #[test]
    fn the_standard_webhooks_library_verifies_what_we_sign() {
        let text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let seconds = crate::clock::now() / 1000;
        let secrets = [Secret::new(text)];
        let signed = sign(secrets.iter(), Scheme::Both, "msg_1", seconds, BODY);
        let mut headers = http::HeaderMap::new();
        let value = |text: &str| http::HeaderValue::from_str(text).expect("legal");
        headers.insert("webhook-id", value("msg_1"));
        headers.insert("webhook-timestamp", value(&seconds.to_string()));
        headers.insert("webhook-signature", value(&signed.standard.expect("one")));
        let oracle = standardwebhooks::Webhook::new(text).expect("a secret");
        oracle.verify(BODY, &headers).expect("verifies");
        assert!(oracle.verify(br#"{"id":"2"}"#, &headers).is_err(), "another body does not");
    }
}
