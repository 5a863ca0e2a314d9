//! Files whose secrets are sealed, and files of before.

use super::*;
use crate::{
    model::{
        catalog::Change,
        credentials::Kind,
        keyvalue::{Expected, Size, Write},
        sample,
    },
    store::{Catalog, KeyValue, Limits, sqlite::Sqlite},
};
use std::{fs, path::Path};

const TEXT: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PASSWORD: &str = "a-password-0123456789";
const PRIVATE: &str = "a-private-key-0123456789";
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
            let (secrets, sealed_credentials, sealed_key) = (plain(text), None, None);
            let document = Document { endpoint, secrets, sealed_credentials, sealed_key };
            let document = rows::json(&document);
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
    let credentials = Some(Arc::new(Credentials {
        kind: Kind::Basic { username: "user".into() },
        secret: Secret::new(PASSWORD),
    }));
    let (certificate, key) = ("certificate".into(), Secret::new(PRIVATE));
    let client_certificate = Some(Arc::new(ClientCertificate { certificate, key }));
    let endpoint =
        Endpoint { secrets, credentials, client_certificate, ..Endpoint::clone(&endpoint) };
    let put = crate::model::catalog::Change::PutEndpoint(endpoint.clone());
    store.change(put).await.expect("is changed");
    for text in [TEXT, FORMER, PASSWORD, PRIVATE] {
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
