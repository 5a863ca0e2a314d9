//! Who the gateway is to a nats-server that lets not everybody in: whoever can prove it is let in, and one who cannot
//! is told in the log, while HTTP works.

use super::{Broker, SUBJECT, ask, connected};
use crate::gateway::rig::{Gateway, client as http_client, directory, until};
use async_nats::ConnectOptions;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair as TlsKey};
use serde_json::{Value, json};
use std::{fs, path::PathBuf};
use tempfile::TempDir;

/// Settings of the gateway, below `nats`, and their values.
type Settings = Vec<(&'static str, String)>;

/// Starts a nats-server so configured, and a gateway with the wrong settings, which is not let in; then with the right
/// ones, which answers a request of that client.
async fn lets_in(
    server: &str,
    wrong: &[(&str, String)],
    told: &str,
    right: &[(&str, String)],
    client: ConnectOptions,
) {
    let Some(broker) = Broker::configured(server) else { return };
    let client = broker.client_with(&client).await;
    let variable =
        |(name, value): &(&str, String)| (format!("OCTOHOOKS_NATS__{name}"), value.clone());
    let mut environment: Vec<_> = wrong.iter().map(variable).collect();
    environment.push(variable(&("SERVERS", broker.url())));
    let environment: Vec<_> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
    let mut gateway = Gateway::start(&environment).await;
    until("it is told", async || {
        let log = gateway.log();
        let mut lines = log.lines();
        lines.any(|line| line.contains("cannot be reached") && line.contains(told)).then_some(())
    })
    .await;
    connected(&gateway, false).await;
    gateway.application("hooli", &[]).await;
    gateway.message("hooli", json!({})).await;
    wrong.iter().map(variable).for_each(|(name, _)| gateway.unset(&name));
    right.iter().map(variable).for_each(|(name, value)| gateway.set(&name, &value));
    gateway.restart().await;
    connected(&gateway, true).await;
    let body = r#"{"eventType": "t", "payload": {}}"#;
    let (_, answer) = ask(&client, SUBJECT, &[], body).await;
    assert!(answer["id"].is_string(), "{answer}");
}

const VIOLATION: &str = "authorization violation";

fn texts(settings: &[(&'static str, &str)]) -> Settings {
    settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_user_needs_the_right_password() {
    // A password of digits is a text too.
    let server = r#"authorization { user: octo, password: "12345" }"#;
    let wrong = texts(&[("USER", "octo"), ("PASSWORD", "secret")]);
    let right = texts(&[("USER", "octo"), ("PASSWORD", "12345")]);
    let client = ConnectOptions::with_user_and_password("octo".into(), "12345".into());
    lets_in(server, &wrong, VIOLATION, &right, client).await;
}

#[tokio::test]
async fn a_token_must_be_the_right_one() {
    let server = "authorization { token: s3cret }";
    let client = ConnectOptions::with_token("s3cret".into());
    // Without one.
    lets_in(server, &[], VIOLATION, &texts(&[("TOKEN", "s3cret")]), client).await;
}

#[tokio::test]
async fn an_nkey_must_be_one_that_the_server_knows() {
    let (user, other) = (KeyPair::new_user(), KeyPair::new_user());
    let seed = |user: &KeyPair| user.seed().expect("a seed");
    let server = format!("authorization {{ users: [{{ nkey: {} }}] }}", user.public_key());
    let client = ConnectOptions::with_nkey(seed(&user));
    let settings = |user| vec![("NKEY", seed(user))];
    lets_in(&server, &settings(&other), VIOLATION, &settings(&user), client).await;
}

/// A token that the issuer has signed, as a nats-server reads it.
fn jwt(issuer: &KeyPair, subject: &KeyPair, claims: &Value) -> String {
    let part = |value: Value| BASE64.encode(value.to_string());
    let header = part(json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let body = part(json!({
        "jti": subject.public_key(), "iat": 1_700_000_000, "iss": issuer.public_key(),
        "sub": subject.public_key(), "name": "test", "nats": claims,
    }));
    let signed = format!("{header}.{body}");
    let signature = BASE64.encode(issuer.sign(signed.as_bytes()).expect("a signature"));
    format!("{signed}.{signature}")
}

/// A credentials file of a new user of that account.
fn credentials(account: &KeyPair) -> String {
    let user = KeyPair::new_user();
    let claims = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
    format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        jwt(account, &user, &claims),
        user.seed().expect("a seed")
    )
}

#[tokio::test]
async fn credentials_must_be_of_an_account_that_the_operator_knows() {
    let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1,
    });
    let claims = json!({ "type": "account", "version": 2, "limits": limits });
    let server = format!(
        "operator: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {} }}",
        jwt(&operator, &operator, &json!({ "type": "operator", "version": 2 })),
        account.public_key(),
        jwt(&operator, &account, &claims)
    );
    let directory = directory();
    let file = |name: &str, account: &KeyPair| {
        let path = directory.path().join(name);
        fs::write(&path, credentials(account)).expect("is written");
        path
    };
    let (right, wrong) = (file("right", &account), file("wrong", &KeyPair::new_account()));
    let settings = |path: &PathBuf| vec![("CREDENTIALS", path.display().to_string())];
    let client = ConnectOptions::with_credentials_file(&right).await.expect("credentials");
    lets_in(&server, &settings(&wrong), VIOLATION, &settings(&right), client).await;
}

/// Certificates in a directory, by name: `ca`, and for `server` and `gateway` what it has issued, with keys; `other`
/// has issued nothing.
struct Certificates(TempDir);

impl Certificates {
    fn new() -> Self {
        let certificates = Self(directory());
        let authority = || {
            let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = TlsKey::generate().expect("a key");
            (parameters.self_signed(&key).expect("a certificate"), Issuer::new(parameters, key))
        };
        let (ca, issuer) = authority();
        certificates.write("ca", &ca.pem());
        certificates.write("other", &authority().0.pem());
        for name in ["server", "gateway"] {
            let parameters = CertificateParams::new(["127.0.0.1".to_owned()]).expect("parameters");
            let key = TlsKey::generate().expect("a key");
            let certificate = parameters.signed_by(&key, &issuer).expect("a certificate");
            certificates.write(name, &certificate.pem());
            certificates.write(&format!("{name}-key"), &key.serialize_pem());
        }
        certificates
    }

    fn write(&self, name: &str, pem: &str) {
        fs::write(self.path(name), pem).expect("is written");
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// What a server is told.
    fn server(&self, more: &str) -> String {
        let [cert, key] = ["server", "server-key"].map(|name| self.path(name));
        format!("tls {{ cert_file: {cert:?}, key_file: {key:?}, {more} }}")
    }

    fn settings(&self, names: &[(&'static str, &str)]) -> Settings {
        names.iter().map(|(setting, name)| (*setting, self.path(name))).collect()
    }

    fn client(&self) -> ConnectOptions {
        // For its provider of cryptography, which is the process's.
        let _installs = http_client();
        ConnectOptions::new().add_root_certificates(self.path("ca").into())
    }
}

#[tokio::test]
async fn a_server_must_have_a_certificate_of_the_authority() {
    let certificates = Certificates::new();
    let of = |authority| certificates.settings(&[("TLS__CA", authority)]);
    let mut right = of("ca");
    right.push(("TLS__REQUIRED", "true".into()));
    let (server, client) = (certificates.server(""), certificates.client());
    lets_in(&server, &of("other"), "invalid peer certificate", &right, client).await;
}

#[tokio::test]
async fn a_gateway_shows_its_certificate_where_one_is_asked_for() {
    let certificates = Certificates::new();
    let wrong = certificates.settings(&[("TLS__CA", "ca")]);
    let mut right = wrong.clone();
    right.extend(certificates.settings(&[("TLS__CERT", "gateway"), ("TLS__KEY", "gateway-key")]));
    let server =
        certificates.server(&format!("ca_file: {:?}, verify: true", certificates.path("ca")));
    let [cert, key] = ["gateway", "gateway-key"].map(|name| certificates.path(name).into());
    let client = certificates.client().add_client_certificate(cert, key);
    lets_in(&server, &wrong, "CertificateRequired", &right, client).await;
}
