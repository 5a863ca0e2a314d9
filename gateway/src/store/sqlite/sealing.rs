//! Documents whose secrets are sealed (endpoints', and named secrets of applications): the file holds no secret that can be read without the master key.
//! Documents of versions that wrote them in plain text are sealed at the start, and what that leaves behind is wiped.

use super::{changes, rows};
use crate::{
    model::{
        Millis, endpoint::Endpoint, grants::Grants, id::EndpointId, name::SecretName,
        secret::Secret,
    },
    store::vault::{Master, NotOpened, Vault},
};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    rows::json(&Document { endpoint, secrets })
}

/// The endpoint of that document. An error is a line for the operator.
pub fn endpoint(vault: &Vault, document: &str) -> Result<Endpoint, String> {
    let bad = |error: &dyn std::fmt::Display| format!("the document of an endpoint: {error}");
    let Document { mut endpoint, secrets } =
        serde_json::from_str::<Document<Endpoint>>(document).map_err(|error| bad(&error))?;
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
mod tests {
    use super::*;
    use crate::{
        model::{
            catalog::Change,
            keyvalue::{Expected, Size, Write},
            sample,
        },
        store::{Catalog, KeyValue, Limits, sqlite::Sqlite},
    };
    use std::{fs, path::Path};

    const TEXT: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const FORMER: &str = "a-secret-of-before-0123456789";

    fn master(directory: &Path) -> Master {
        Master::new(None, directory)
    }

    /// Whether the store's files have the text anywhere.
    fn lies_in_files(directory: &Path, text: &str) -> bool {
        let files = ["octohooks.db", "octohooks.db-wal"].map(|name| directory.join(name));
        let bytes = files.iter().filter_map(|file| fs::read(file).ok());
        bytes.into_iter().any(|b| b.windows(text.len()).any(|part| part == text.as_bytes()))
    }

    fn documents(directory: &Path) -> Vec<String> {
        let c = Connection::open(directory.join("octohooks.db")).expect("opens");
        let mut all = c.prepare("SELECT document FROM object").expect("reads");
        let all = all.query_map([], |row| row.get(0)).expect("reads");
        all.collect::<rusqlite::Result<_>>().expect("reads")
    }

    fn opened(directory: &Path) -> std::sync::Arc<Sqlite> {
        Sqlite::open(directory, Limits::default(), &master(directory)).expect("opens")
    }

    /// A file as older versions wrote it: many endpoints with plain secrets, changed and deleted some.
    fn written_the_old_way(directory: &Path) -> Endpoint {
        let tenant = sample::tenant(40);
        let mut c = Connection::open(directory.join("octohooks.db")).expect("opens");
        super::super::schema::prepare(&mut c, None).expect("migrates");
        let put = |kind: u8, id: &[u8; 16], document: &str| {
            let row = params![kind, 1, id, document];
            c.execute("INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?)", row).expect("writes");
        };
        let application = &tenant.application;
        put(changes::APPLICATION, application.id.0.as_bytes(), &rows::json(application));
        let plain = |text: &str| vec![Kept::Plain(text.to_owned())];
        for endpoint in tenant.endpoints.values() {
            for text in [FORMER, TEXT] {
                let long = Endpoint { name: text.repeat(9), ..Endpoint::clone(endpoint) };
                let endpoint = if text == FORMER { &long } else { &**endpoint };
                let document = rows::json(&Document { endpoint, secrets: plain(text) });
                put(changes::ENDPOINT, endpoint.id.0.as_bytes(), &document);
            }
        }
        for endpoint in tenant.endpoints.keys().skip(10) {
            c.execute("DELETE FROM object WHERE id = ?", [endpoint.0.as_bytes()]).expect("deletes");
        }
        let first = tenant.endpoints.values().next().expect("one");
        let expected = Endpoint { secrets: vec![Secret::new(TEXT)], ..Endpoint::clone(first) };
        // As a kill would leave it: a log that is not copied.
        let copy = |name: &str| {
            fs::copy(directory.join(name), directory.join(format!("{name}."))).expect("copies");
        };
        let names = ["octohooks.db", "octohooks.db-wal"];
        names.into_iter().for_each(copy);
        drop(c);
        for name in names {
            fs::rename(directory.join(format!("{name}.")), directory.join(name)).expect("renames");
        }
        expected
    }

    #[test]
    fn secrets_that_were_written_in_plain_text_are_sealed_at_the_start_and_leave_no_trace() {
        let directory = tempfile::tempdir().expect("a directory");
        let expected = written_the_old_way(directory.path());
        for text in [TEXT, FORMER] {
            assert!(lies_in_files(directory.path(), text), "{text}");
        }
        for _ in 0..2 {
            let store = opened(directory.path());
            for text in [TEXT, FORMER] {
                assert!(!lies_in_files(directory.path(), text), "{text}");
            }
            let found = store.snapshot().endpoint(expected.id).cloned().expect("one");
            assert_eq!(*found, expected);
            store.close();
        }
    }

    #[tokio::test]
    async fn what_is_changed_is_sealed_and_comes_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = opened(directory.path());
        let mut tenant = sample::tenant(1);
        let application = tenant.application.clone();
        let put = crate::model::catalog::Change::PutApplication(application);
        store.change(put).await.expect("is changed");
        let endpoint = tenant.endpoints.pop_first().expect("one").1;
        let later = Secret { text: FORMER.into(), expires: Some(7) };
        let secrets = vec![Secret::new(TEXT), later];
        let endpoint = Endpoint { secrets, ..Endpoint::clone(&endpoint) };
        let put = crate::model::catalog::Change::PutEndpoint(endpoint.clone());
        store.change(put).await.expect("is changed");
        for text in [TEXT, FORMER] {
            assert!(!lies_in_files(directory.path(), text), "{text}");
        }
        store.close();
        drop(store);
        let found = opened(directory.path()).snapshot().endpoint(endpoint.id).cloned();
        assert_eq!(found.as_deref(), Some(&endpoint));
    }

    #[tokio::test]
    async fn named_secrets_are_sealed_and_what_plugins_remember_is_there_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = opened(directory.path());
        let application = sample::application();
        let (environment, id) = (application.environment, application.id);
        store.change(Change::PutApplication(application)).await.expect("is changed");
        let mut grants = Grants { revision: 1, ..Grants::none(environment, id) };
        let name = SecretName::new("token").expect("legal");
        grants.named.insert(name.clone(), Secret::new(TEXT));
        store.change(Change::PutGrants(grants.clone())).await.expect("is changed");
        let write = Write {
            application: id,
            key: "k".into(),
            value: Some("v".into()),
            expires: None,
            expected: Expected::Any,
            quota: Size { keys: 1, bytes: 2 },
        };
        store.write(write).await.expect("is written");
        assert!(!lies_in_files(directory.path(), TEXT));
        store.close();
        drop(store);
        let store = opened(directory.path());
        let found = store.snapshot().tenant(id).and_then(|tenant| tenant.grants.clone());
        assert_eq!(found.as_deref(), Some(&grants));
        let value = store.value(id, "k".into(), 0).await.expect("reads").expect("is there");
        assert_eq!(&value.value[..], b"v");
        // Moved to another name, it does not open.
        let vault = &store.vault;
        let document = super::grants(vault, &grants).replace(r#""token""#, r#""other""#);
        granted(vault, &document).expect_err("it is sealed for its name");
        let whole = granted(vault, &super::grants(vault, &grants)).expect("opens");
        assert_eq!(whole.named[&name].text, TEXT);
    }

    #[test]
    fn a_wrong_or_missing_master_key_stops_the_start_and_changes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        let expected = written_the_old_way(path);
        opened(path).close();
        let before = documents(path);
        let wrong = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".parse().expect("a key");
        let error =
            Sqlite::open(path, Limits::default(), &Master::Given(wrong)).expect_err("is refused");
        assert!(error.contains("the master key is not the one"), "{error}");
        let key = fs::read_to_string(path.join("master.key")).expect("a file");
        fs::remove_file(path.join("master.key")).expect("removes");
        let error = Sqlite::open(path, Limits::default(), &master(path)).expect_err("is refused");
        assert!(error.contains("is missing"), "{error}");
        assert!(!path.join("master.key").exists(), "no other is made");
        assert_eq!(documents(path), before);
        let given = Master::Given(key.parse().expect("a key"));
        let store = Sqlite::open(path, Limits::default(), &given).expect("opens");
        assert!(store.snapshot().endpoint(expected.id).is_some());
    }
}
