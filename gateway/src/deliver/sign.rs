//! Signatures, made at the moment a request is sent: the provider's own `X-Signature` and the Standard Webhooks
//! headers. Functions of their arguments.

use crate::model::secret::Secret;
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

type HmacSha256 = Hmac<Sha256>;

/// The header values of one request. Every secret signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signatures {
    /// `x-signature`: `t=<seconds>,v1=<hex>[,v1=<hex>…]` over `{seconds}.{body}`.
    pub octohooks: String,
    /// `webhook-signature`: `v1,<base64>[ v1,<base64>…]` over `{id}.{seconds}.{body}`.
    pub standard: String,
}

/// Signs the body with each secret. `seconds` is the time of sending since the epoch.
#[must_use]
pub fn sign(secrets: &[Secret], id: &str, seconds: u64, body: &[u8]) -> Signatures {
    let time = seconds.to_string();
    let mut octohooks = format!("t={seconds}");
    let mut standard = String::new();
    for secret in secrets {
        let own = mac(secret.text.as_bytes(), &[time.as_bytes(), b".", body]);
        octohooks.push_str(",v1=");
        push_hex(&mut octohooks, &own);
        let parts = [id.as_bytes(), b".", time.as_bytes(), b".", body];
        let standards = mac(&standard_key(secret), &parts);
        standard.push_str(if standard.is_empty() { "v1," } else { " v1," });
        STANDARD.encode_string(standards, &mut standard);
    }
    Signatures { octohooks, standard }
}

fn push_hex(text: &mut String, bytes: &[u8; 32]) {
    let mut digits = [0; 64];
    // The room is twice the bytes, and digits are UTF-8.
    let _encoded = hex::encode_to_slice(bytes, &mut digits);
    text.push_str(str::from_utf8(&digits).unwrap_or_default());
}

/// A secret written `whsec_<base64>` is used decoded, any other as its UTF-8 bytes.
fn standard_key(secret: &Secret) -> Vec<u8> {
    let encoded = secret.text.strip_prefix("whsec_");
    let decoded = encoded.and_then(|text| STANDARD.decode(text).ok());
    decoded.unwrap_or_else(|| secret.text.as_bytes().to_vec())
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

    #[test]
    fn the_contracts_vector() {
        let secret = Secret::new("i9viqa5vxx78hcxh4rwdm8x7791");
        let signed = sign(&[secret], "msg", 1_700_000_000, br#"{"id":"1"}"#);
        let expected =
            "t=1700000000,v1=cfeb6158be9964c4c1c5e137a664c8ed1d9eda2a914b5e9d28d204a36dce7437";
        assert_eq!(signed.octohooks, expected);
    }

    #[test]
    fn every_secret_signs() {
        let secrets = ["one", "two"].map(Secret::new);
        let signed = sign(&secrets, "msg", 1, b"{}");
        assert_eq!(signed.octohooks.matches(",v1=").count(), 2);
        assert_eq!(signed.standard.split(' ').count(), 2);
    }

    #[test]
    fn the_standard_webhooks_library_verifies_what_we_sign() {
        let text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let seconds = crate::clock::now() / 1000;
        let body = br#"{"id":"1"}"#;
        let signed = sign(&[Secret::new(text)], "msg_1", seconds, body);
        let mut headers = http::HeaderMap::new();
        let value = |text: &str| http::HeaderValue::from_str(text).expect("legal");
        headers.insert("webhook-id", value("msg_1"));
        headers.insert("webhook-timestamp", value(&seconds.to_string()));
        headers.insert("webhook-signature", value(&signed.standard));
        let oracle = standardwebhooks::Webhook::new(text).expect("a secret");
        oracle.verify(body, &headers).expect("verifies");
        assert!(oracle.verify(br#"{"id":"2"}"#, &headers).is_err(), "another body does not");
    }
}
