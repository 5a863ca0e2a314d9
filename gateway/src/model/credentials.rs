//! Who the gateway is at an endpoint: what it logs in with, and the certificate it shows. Each has one secret; what is not
//! secret is shown and written as it is, the secret only by the store, sealed.

use super::secret::Secret;
use rustls::{
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

/// The longest PEM, in bytes.
const PEM: usize = 32 << 10;

/// What an endpoint's requests log in with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// All but the secret.
    #[serde(flatten)]
    pub kind: Kind,
    /// The password, token, value or client secret.
    #[serde(skip, default = "unknown")]
    pub secret: Secret,
}

/// What an endpoint's requests log in with, without the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[schema(as = Credentials)]
pub enum Kind {
    /// `Authorization: Basic`, with a password.
    Basic {
        /// The user.
        username: String,
    },
    /// `Authorization: Bearer`, with a token.
    Bearer,
    /// A header of its own, with a value.
    ApiKey {
        /// Its name, in small letters.
        header: String,
    },
    /// `Authorization: Bearer`, with a token that is fetched with a client secret (OAuth 2, client credentials).
    #[serde(rename = "oauth2")]
    OAuth2(OAuth2),
}

/// Where a token is fetched, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuth2 {
    /// The token endpoint.
    #[schema(value_type = String, format = "uri")]
    pub token_url: Url,
    /// Who asks.
    pub client_id: String,
    /// What for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Whom for, where the server asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// How it says who it is.
    #[serde(default)]
    pub authentication: ClientAuthentication,
}

/// How a client says at a token endpoint who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthentication {
    /// In `Authorization: Basic`.
    #[default]
    Basic,
    /// In the body, as `client_id` and `client_secret`.
    Body,
}

impl Credentials {
    /// The header that it sets.
    #[must_use]
    pub fn header(&self) -> &str {
        match &self.kind {
            Kind::ApiKey { header } => header,
            _ => "authorization",
        }
    }
}

/// The certificate that an endpoint's requests show (mutual TLS).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCertificate {
    /// It and those that lead to its authority, in PEM, its own first.
    pub certificate: String,
    /// Its key, in PEM.
    #[serde(skip, default = "unknown")]
    pub key: Secret,
}

impl ClientCertificate {
    /// Both as TLS takes them; what would be right is for whoever wrote them, and shows nothing of the key.
    pub fn parsed(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), (&'static str, String)>
    {
        let wrong = |field, text: &str| Err((field, text.to_owned()));
        if self.certificate.len() > PEM {
            return wrong("certificate", "must have at most 32 KiB");
        }
        if self.key.text.len() > PEM {
            return wrong("key", "must have at most 32 KiB");
        }
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes());
        let chain: Vec<_> = match chain.collect() {
            Ok(chain) => chain,
            Err(_) => return wrong("certificate", "must be certificates in PEM"),
        };
        if chain.is_empty() {
            return wrong("certificate", "must be certificates in PEM");
        }
        if self.key.text.contains("ENCRYPTED") {
            return wrong("key", "must not be encrypted");
        }
        match PrivateKeyDer::from_pem_slice(self.key.text.as_bytes()) {
            Ok(key) => Ok((chain, key)),
            Err(_) => wrong("key", "must be a private key in PEM"),
        }
    }

    /// Whether they can be used, and belong to each other.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let (chain, key) = self.parsed()?;
        // What is shown again: a key must not be among it.
        let mut sections = self.certificate.split("-----BEGIN").skip(1);
        if !sections.all(|section| section.starts_with(" CERTIFICATE-----")) {
            let right = "must have certificates alone: the key is `key`, which is never shown";
            return Err(("certificate", right.into()));
        }
        match CertifiedKey::from_der(chain, key, &default_provider()) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(("key", "must be the certificate's".into()))
            }
            Err(rustls::Error::InvalidCertificate(_)) => {
                Err(("certificate", "must be certificates in PEM".into()))
            }
            Err(_) => Err((
                "key",
                "must be an RSA key of 2048 to 4096 bits, an ECDSA key of P-256 or P-384, or an Ed25519 key".into(),
            )),
        }
    }
}

/// What is put in its place when the store opens it.
fn unknown() -> Secret {
    Secret::new("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use serde_json::json;

    #[test]
    fn a_secret_is_neither_serialised_nor_shown() {
        let kind = Kind::Basic { username: "u".into() };
        let credentials = Credentials { kind, secret: Secret::new("hidden") };
        assert_eq!(json!(credentials), json!({ "type": "basic", "username": "u" }));
        assert!(!format!("{credentials:?}").contains("hidden"));
        let read: Credentials = serde_json::from_value(json!(credentials)).expect("reads");
        assert_eq!((read.kind, &*read.secret.text), (credentials.kind, ""));
        let oauth2 = json!({
            "type": "oauth2",
            "tokenUrl": "https://id.example/token",
            "clientId": "c",
            "authentication": "basic",
        });
        let read: Credentials = serde_json::from_value(oauth2.clone()).expect("reads");
        assert_eq!(json!(read), oauth2);
    }

    #[test]
    fn a_certificate_needs_the_key_that_is_its_own() {
        let (own, other) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("one"));
        let params = CertificateParams::new(vec!["client".to_owned()]).expect("parameters");
        let certificate = params.self_signed(&own).expect("is signed").pem();
        let with = |certificate: &str, key: &str| {
            let (certificate, key) = (certificate.to_owned(), Secret::new(key));
            ClientCertificate { certificate, key }.check()
        };
        assert_eq!(with(&certificate, &own.serialize_pem()), Ok(()));
        for (certificate, key, field) in [
            (&*certificate, &*other.serialize_pem(), "key"),
            (&certificate, "", "key"),
            (&certificate, "-----BEGIN ENCRYPTED PRIVATE KEY-----", "key"),
            (&certificate, &certificate, "key"),
            ("", &own.serialize_pem(), "certificate"),
            ("nothing", &own.serialize_pem(), "certificate"),
            (&format!("{certificate}{}", own.serialize_pem()), &own.serialize_pem(), "certificate"),
            (&"x".repeat(PEM + 1), &own.serialize_pem(), "certificate"),
        ] {
            assert_eq!(with(certificate, key).expect_err("is bad").0, field);
        }
    }
}
