//! Documents whose secrets are sealed (endpoints', and named secrets of applications): the file holds no secret that can be read without the master key.
//! Documents of versions that wrote them in plain text are sealed at the start, and what that leaves behind is wiped.

use super::{changes, rows};
use crate::{
    model::{
        Millis,
        credentials::{ClientCertificate, Credentials},
        endpoint::Endpoint,
        grants::Grants,
        id::EndpointId,
        name::SecretName,
        secret::Secret,
    },
    store::vault::{Master, NotOpened, Vault},
};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// Under this name `meta` keeps something sealed, which tells a wrong master key.
const PROOF: &str = "vault";
/// Under this name `meta` says that plain text may still lie in free pages or in the log.
const TO_WIPE: &str = "wipe";

/// An endpoint's document.
#[derive(Serialize, Deserialize)]
struct Document<E> {
    #[serde(flatten)]
    endpoint: E,
    secrets: Vec<Kept>,
    /// Sealed: what the endpoint's credentials have that is secret, and its certificate's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed_credentials: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed_key: Option<String>,
}

/// A secret in a document.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Kept {
    Sealed {
        sealed: String,
        expires: Option<Millis>,
    },
    /// Of a version that did not seal.
    Plain(String),
}

/// The endpoint's document.
pub fn document(vault: &Vault, endpoint: &Endpoint) -> String {
    let seal = |secret: &Secret| Kept::Sealed {
        sealed: vault.seal_text(endpoint.id.0.as_bytes(), &secret.text),
        expires: secret.expires,
    };
    let secrets = endpoint.secrets.iter().map(seal).collect();
    let apart = |what: &[u8], secret: &Secret| vault.seal_text(&of(endpoint, what), &secret.text);
    let credentials = endpoint.credentials.as_ref();
    let sealed_credentials = credentials.map(|one| apart(CREDENTIALS, &one.secret));
    let certificate = endpoint.client_certificate.as_ref();
    let sealed_key = certificate.map(|one| apart(KEY, &one.key));
    rows::json(&Document { endpoint, secrets, sealed_credentials, sealed_key })
}

/// What one of an endpoint's secrets is sealed for, so that none is read as another.
fn of(endpoint: &Endpoint, what: &[u8]) -> Vec<u8> {
    [endpoint.id.0.as_bytes(), what].concat()
}

/// The secrets that are sealed apart.
const CREDENTIALS: &[u8] = b"credentials";
const KEY: &[u8] = b"key";

/// The endpoint of that document. An error is a line for the operator.
pub fn endpoint(vault: &Vault, document: &str) -> Result<Endpoint, String> {
    let bad = |error: &dyn std::fmt::Display| format!("the document of an endpoint: {error}");
    let Document { mut endpoint, secrets, sealed_credentials, sealed_key } =
        serde_json::from_str::<Document<Endpoint>>(document).map_err(|error| bad(&error))?;
    let open_apart = |endpoint: &Endpoint, what: &[u8], sealed: Option<String>| {
        let opened = vault.open_text(&of(endpoint, what), &sealed.unwrap_or_default());
        opened.map(Secret::new).map_err(|error| {
            format!(
                "the {} of the endpoint {}: {error}",
                String::from_utf8_lossy(what),
                endpoint.id
            )
        })
    };
    if let Some(found) = endpoint.credentials.take() {
        let secret = open_apart(&endpoint, CREDENTIALS, sealed_credentials)?;
        let credentials = Credentials { kind: found.kind.clone(), secret };
        endpoint.credentials = Some(Arc::new(credentials));
    }
    if let Some(found) = endpoint.client_certificate.take() {
        let key = open_apart(&endpoint, KEY, sealed_key)?;
        let certificate = ClientCertificate { certificate: found.certificate.clone(), key };
        endpoint.client_certificate = Some(Arc::new(certificate));
    }
    for kept in secrets {
        endpoint.secrets.push(match kept {
            Kept::Plain(text) => Secret::new(text),
            Kept::Sealed { sealed, expires } => {
                let text = open(vault, endpoint.id, &sealed).map_err(|error| {
                    format!("a secret of the endpoint {}: {error}", endpoint.id)
                })?;
                Secret { text, expires }
            }
        });
    }
    Ok(endpoint)
}

/// What an application's plugins may use, as a document.
#[derive(Serialize, Deserialize)]
struct Granted<G> {
    #[serde(flatten)]
    grants: G,
    /// Sealed, by name.
    named: BTreeMap<SecretName, String>,
}

/// What a named secret is sealed for: its application and its name.
fn context(grants: &Grants, name: &str) -> Vec<u8> {
    [grants.application.0.as_bytes(), name.as_bytes()].concat()
}

/// The document of what an application's plugins may use.
pub fn grants(vault: &Vault, grants: &Grants) -> String {
    let sealed = grants.named.iter().map(|(name, secret)| {
        (name.clone(), vault.seal_text(&context(grants, name), &secret.text))
    });
    rows::json(&Granted { grants, named: sealed.collect() })
}

/// What an application's plugins may use, of that document. An error is a line for the operator.
pub fn granted(vault: &Vault, document: &str) -> Result<Grants, String> {
    let Granted { mut grants, named } = serde_json::from_str::<Granted<Grants>>(document)
        .map_err(|error| format!("the document of an application's grants: {error}"))?;
    for (name, sealed) in named {
        let text = vault.open_text(&context(&grants, &name), &sealed).map_err(|error| {
            format!("the secret {name} of the application {}: {error}", grants.application)
        })?;
        grants.named.insert(name, Secret::new(text));
    }
    Ok(grants)
}

fn open(vault: &Vault, endpoint: EndpointId, sealed: &str) -> Result<String, NotOpened> {
    vault.open_text(endpoint.0.as_bytes(), sealed)
}

/// The vault of this file: nothing is changed unless the master key is the right one, and then nothing is left in plain
/// text. An error is a line for the operator.
pub fn prepare(c: &mut Connection, master: &Master) -> Result<Vault, String> {
    let text = |error: rusqlite::Error| format!("the secrets could not be sealed: {error}");
    let proof: Option<String> = meta(c, PROOF).map_err(text)?;
    let vault = Vault::new(&master.key(proof.is_some())?)?;
    match proof {
        None => seal(c, &vault)?,
        Some(proof) => {
            vault.open_text(PROOF.as_bytes(), &proof).map_err(|_| {
                "the master key is not the one that the secrets in this file are sealed with; nothing was changed"
            })?;
        }
    }
    if meta::<bool>(c, TO_WIPE).map_err(text)?.is_some() {
        wipe(c).map_err(text)?;
    }
    Ok(vault)
}

fn meta<T: rusqlite::types::FromSql>(c: &Connection, name: &str) -> rusqlite::Result<Option<T>> {
    c.query_row("SELECT value FROM meta WHERE name = ?", [name], |row| row.get(0)).optional()
}

/// Writes the catalog anew, with every secret sealed: in one step, so that a crash leaves the old or the new.
fn seal(c: &mut Connection, vault: &Vault) -> Result<(), String> {
    let text = |error: rusqlite::Error| format!("the secrets could not be sealed: {error}");
    // Pages that are freed are overwritten, and with them what earlier versions of a document left in them.
    c.pragma_update(None, "secure_delete", true).map_err(text)?;
    let transaction = c.transaction().map_err(text)?;
    let mut objects = Vec::new();
    {
        let mut all = transaction
            .prepare("SELECT kind, environment, id, document FROM object")
            .map_err(text)?;
        let rows = all.query_map([], |row| {
            let (kind, environment, id) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok((kind, environment, id, row.get(3)?))
        });
        for row in rows.map_err(text)? {
            let (kind, environment, id, old): (u8, u32, Vec<u8>, String) = row.map_err(text)?;
            let new = match kind {
                changes::ENDPOINT => document(vault, &endpoint(vault, &old)?),
                _ => old,
            };
            objects.push((kind, environment, id, new));
        }
    }
    let write = || {
        transaction.execute("DELETE FROM object", [])?;
        let mut insert = transaction.prepare("INSERT INTO object VALUES (?, ?, ?, ?)")?;
        for (kind, environment, id, document) in &objects {
            insert.execute(params![kind, environment, id, document])?;
        }
        let proof = vault.seal_text(PROOF.as_bytes(), PROOF);
        let mut insert = transaction.prepare("INSERT OR REPLACE INTO meta VALUES (?, ?)")?;
        insert.execute(params![PROOF, proof])?;
        if !objects.is_empty() {
            insert.execute(params![TO_WIPE, true])?;
        }
        Ok(())
    };
    write().map_err(text)?;
    transaction.commit().map_err(text)
}

/// Takes free pages out of the file, and copies the log into it and empties that. Done again until it was done whole.
fn wipe(c: &Connection) -> rusqlite::Result<()> {
    let mut vacuum = c.prepare("PRAGMA incremental_vacuum")?;
    let mut steps = vacuum.query([])?;
    while steps.next()?.is_some() {}
    drop(steps);
    let is_busy: bool = c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    match is_busy {
        // No gateway, but another program may have the file open.
        true => tracing::warn!("the database is in use; plain text is wiped at the next start"),
        false => {
            c.execute("DELETE FROM meta WHERE name = ?", [TO_WIPE])?;
        }
    }
    c.pragma_update(None, "secure_delete", false)
}

#[cfg(test)]
mod tests;
