//! TLS to receivers: whom we trust, and who we are. One verifier for all; one configuration for endpoints without a
//! certificate, and one each for those with, made when it is first needed and kept by the endpoint's revision.

use crate::model::{credentials::ClientCertificate, id::EndpointId};
use rustls::{
    ClientConfig, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{CryptoProvider, ring::default_provider},
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::Verifier;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// Whom deliveries trust.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// A PEM file of the authorities that are trusted, in place of the system's.
    pub ca: Option<PathBuf>,
}

/// What TLS needs.
#[derive(Clone)]
pub struct Tls {
    /// None without anybody to trust, and why.
    trust: Result<Trust, String>,
    own: Arc<Mutex<HashMap<EndpointId, Own>>>,
}

/// How many endpoints' certificates are kept ready.
const MOST: usize = 1000;

/// Of an endpoint's revision.
type Own = (u64, Arc<ClientConfig>);

#[derive(Clone)]
struct Trust {
    verifier: Arc<dyn ServerCertVerifier>,
    provider: Arc<CryptoProvider>,
    anonymous: Arc<ClientConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}

impl Tls {
    /// Trusts whom the options name, else whom the system does. An error is a line for the operator.
    pub fn new(options: &Options) -> Result<Self, String> {
        let provider = Arc::new(default_provider());
        let verifier: Result<Arc<dyn ServerCertVerifier>, String> = match &options.ca {
            Some(path) => {
                let wrong = |what: &dyn fmt::Display| {
                    format!("the key `delivery.tls.ca`: {}: {what}", path.display())
                };
                let roots = roots(path).map_err(|error| wrong(&error))?;
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
                Ok(verifier.build().map_err(|error| wrong(&error))?)
            }
            None => match Verifier::new(provider.clone()) {
                Ok(verifier) => Ok(Arc::new(verifier)),
                Err(error) => Err(format!(
                    "the system trusts nobody ({error}): install its certificates, or give delivery.tls.ca"
                )),
            },
        };
        if let Err(line) = &verifier {
            // What is not https works.
            tracing::warn!("{line}");
        }
        let trust = verifier.and_then(|verifier| {
            let anonymous = Arc::new(configuration(&verifier, &provider, None)?);
            Ok(Trust { verifier, provider, anonymous })
        });
        Ok(Self { trust, own: Arc::default() })
    }

    /// How to speak to receivers.
    pub fn anonymous(&self) -> Result<Arc<ClientConfig>, String> {
        self.trust.as_ref().map(|trust| trust.anonymous.clone()).map_err(Clone::clone)
    }
}

impl Tls {
    /// How to speak to an endpoint that wants to see this certificate.
    pub fn own(
        &self,
        endpoint: EndpointId,
        revision: u64,
        certificate: &ClientCertificate,
    ) -> Result<Arc<ClientConfig>, String> {
        let Trust { verifier, provider, .. } = self.trust.as_ref().map_err(Clone::clone)?;
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = own.get(&endpoint).filter(|(known, _)| *known == revision) {
            return Ok(config.clone());
        }
        let config = Arc::new(configuration(verifier, provider, Some(certificate))?);
        if own.len() >= MOST
            && let Some(any) = own.keys().next().copied()
        {
            own.remove(&any);
        }
        own.insert(endpoint, (revision, config.clone()));
        Ok(config)
    }
}

fn roots(path: &PathBuf) -> Result<RootCertStore, String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    match roots.is_empty() {
        true => Err("has no certificate in PEM".into()),
        false => Ok(roots),
    }
}

fn configuration(
    verifier: &Arc<dyn ServerCertVerifier>,
    provider: &Arc<CryptoProvider>,
    certificate: Option<&ClientCertificate>,
) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone());
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(certificate) => {
            let (chain, key) = certificate.parsed().map_err(|(_, text)| text)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
