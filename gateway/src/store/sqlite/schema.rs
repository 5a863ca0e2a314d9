//! The schema and its versions. A file carries its version in `user_version`; an older one is brought forward
//! step by step when it is opened, a newer one is refused.
//!
//! Lean, since the schema decides the CPU a message costs: messages are appended under an integer key; a delivery
//! has no row until it must wait or is finished, and its first attempt is inside that row.

use rusqlite::{Connection, config::DbConfig};

/// Each version's step, from the one before.
const STEPS: [&str; 9] = [
    VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6, VERSION_7, VERSION_8,
    VERSION_9,
];

const VERSION_1: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;

-- The catalog: one document per application (1), endpoint (2), plugin (3) and key (4).
CREATE TABLE object (
    kind INTEGER NOT NULL, environment INTEGER NOT NULL, id BLOB NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (kind, environment, id)
) WITHOUT ROWID;
CREATE TABLE code (digest BLOB PRIMARY KEY, bytes BLOB NOT NULL);

CREATE TABLE message (
    sequence INTEGER PRIMARY KEY, id BLOB NOT NULL, environment INTEGER NOT NULL,
    application BLOB NOT NULL, uid TEXT, event_type TEXT NOT NULL, channels TEXT,
    accepted INTEGER NOT NULL, payload BLOB NOT NULL
);
CREATE UNIQUE INDEX message_id ON message (id);
CREATE UNIQUE INDEX message_uid ON message (environment, application, uid) WHERE uid IS NOT NULL;

-- Messages that a plugin dropped, parked or wants to see again.
CREATE TABLE held (
    sequence INTEGER PRIMARY KEY, environment INTEGER NOT NULL, application BLOB NOT NULL,
    state TEXT NOT NULL, due INTEGER, calls INTEGER NOT NULL, kind TEXT, reason TEXT NOT NULL,
    noted INTEGER NOT NULL
);
CREATE INDEX held_application ON held (environment, application, state, sequence);
CREATE INDEX held_due ON held (due) WHERE due IS NOT NULL;

CREATE TABLE delivery (
    message INTEGER NOT NULL, endpoint BLOB NOT NULL, ordinal INTEGER NOT NULL,
    state INTEGER NOT NULL, attempts INTEGER NOT NULL, due INTEGER NOT NULL, updated INTEGER NOT NULL,
    plugin BLOB, content TEXT, payload BLOB,
    sent INTEGER, latency INTEGER, status INTEGER, failure TEXT, detail BLOB,
    PRIMARY KEY (message, endpoint, ordinal)
) WITHOUT ROWID;
CREATE INDEX delivery_endpoint ON delivery (endpoint, message);
CREATE INDEX delivery_open ON delivery (state, due) WHERE state < 2;

-- Attempts after a delivery's first.
CREATE TABLE attempt (
    message INTEGER NOT NULL, endpoint BLOB NOT NULL, ordinal INTEGER NOT NULL, number INTEGER NOT NULL,
    sent INTEGER NOT NULL, latency INTEGER NOT NULL, status INTEGER, failure TEXT, detail BLOB,
    PRIMARY KEY (message, endpoint, ordinal, number)
) WITHOUT ROWID;
";

/// What tells a sender's repetitions of a message.
const VERSION_2: &str = "
ALTER TABLE message ADD COLUMN idempotency_key TEXT;
CREATE UNIQUE INDEX message_key ON message (environment, application, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
";

/// What a publisher attached to a message: an object as JSON text, NULL if it is empty.
const VERSION_3: &str = "ALTER TABLE message ADD COLUMN attributes TEXT;";

/// What operators look for, and what they have done again.
const VERSION_4: &str = "
-- When its content goes, if earlier than others'.
ALTER TABLE message ADD COLUMN content_until INTEGER;
CREATE INDEX message_content_until ON message (content_until) WHERE content_until IS NOT NULL;
CREATE INDEX message_application ON message (application);

-- Of a first attempt: the endpoint's revision as of then, and the answer's headers.
ALTER TABLE delivery ADD COLUMN revision INTEGER;
ALTER TABLE delivery ADD COLUMN headers TEXT;
ALTER TABLE attempt ADD COLUMN revision INTEGER;
ALTER TABLE attempt ADD COLUMN headers TEXT;
-- How many attempts were made before it was last resent.
ALTER TABLE delivery ADD COLUMN spent INTEGER NOT NULL DEFAULT 0;
DROP INDEX delivery_open;
CREATE INDEX delivery_not_delivered ON delivery (endpoint, state, message) WHERE state <> 2;

-- The endpoint that a message is dispatched again for; NULL: all.
ALTER TABLE held ADD COLUMN endpoint BLOB;
CREATE INDEX held_endpoint ON held (endpoint, state) WHERE endpoint IS NOT NULL;

-- Where an endpoint's requests went and with which headers, from that revision on.
CREATE TABLE endpoint_version (
    endpoint BLOB NOT NULL, revision INTEGER NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (endpoint, revision)
) WITHOUT ROWID;
INSERT INTO endpoint_version SELECT id, json_extract(document, '$.revision'),
    json_object('url', json_extract(document, '$.url'), 'headers', json_extract(document, '$.headers'))
    FROM object WHERE kind = 2;

-- The first answer to a request with that idempotency key. Where it ends with the payload of a message, that is its number.
CREATE TABLE answer (
    environment INTEGER NOT NULL, key BLOB NOT NULL, fingerprint BLOB NOT NULL, created INTEGER NOT NULL,
    status INTEGER NOT NULL, body BLOB NOT NULL, message INTEGER,
    PRIMARY KEY (environment, key)
) WITHOUT ROWID;
CREATE INDEX answer_created ON answer (created);

-- What is done in the background.
CREATE TABLE operation (
    id BLOB PRIMARY KEY, environment INTEGER NOT NULL, running INTEGER NOT NULL, document TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX operation_running ON operation (id) WHERE running;
";

/// Plugins have names and versions: the one that an application had becomes its `main`, the component it ran a version of
/// that. Components that nobody runs any more were kept until now.
const VERSION_5: &str = "
DELETE FROM code WHERE lower(hex(digest)) NOT IN
    (SELECT document ->> '$.digest' FROM object WHERE kind = 3);
-- A plugin's id is its application's, and its name.
UPDATE object SET id = CAST(id || 'main' AS BLOB), document = json_remove(json_set(document,
        '$.name', 'main', '$.kind', 'transform', '$.place', 0, '$.policy', 'park',
        '$.versions', json_array(json_object('digest', document ->> '$.digest',
            'size', document ->> '$.size', 'created', document ->> '$.updated')),
        '$.active', document ->> '$.digest', '$.revision', 1, '$.runs_since', 1),
    '$.digest', '$.size') WHERE kind = 3;

-- How a plugin failed on the message, as JSON text.
ALTER TABLE held ADD COLUMN failure TEXT;
";

/// What plugins remember, and how much of it each application has.
const VERSION_6: &str = "
CREATE TABLE value (
    application BLOB NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, version INTEGER NOT NULL,
    expires INTEGER,
    PRIMARY KEY (application, key)
);
CREATE INDEX value_expires ON value (expires) WHERE expires IS NOT NULL;
CREATE INDEX value_own_expires ON value (application, expires) WHERE expires IS NOT NULL;
-- The version is that of the last write: no two of an application's have the same.
CREATE TABLE value_total (
    application BLOB PRIMARY KEY, keys INTEGER NOT NULL, bytes INTEGER NOT NULL, version INTEGER NOT NULL
) WITHOUT ROWID;
";

/// When messages are sent and until when, and what they are sent in order with; and what waits, in the order in which it
/// is due, so that a start reads the nearest alone.
const VERSION_7: &str = "
ALTER TABLE message ADD COLUMN deliver_at INTEGER;
ALTER TABLE message ADD COLUMN expires_at INTEGER;
ALTER TABLE message ADD COLUMN ordering_key TEXT;
CREATE INDEX delivery_due ON delivery (due, message, ordinal, endpoint) WHERE state = 0;
CREATE INDEX held_crowded ON held (application, sequence) WHERE state = 'crowded';
CREATE INDEX held_parked ON held (sequence) WHERE state = 'parked';
";

/// How a plugin failed on a message that went on without it, as JSON text.
const VERSION_8: &str =
    "CREATE TABLE passed_over (message INTEGER PRIMARY KEY, failure TEXT NOT NULL);";

/// What is kept of endpoints that are not well, as JSON text; of the others nothing is.
const VERSION_9: &str = "
CREATE TABLE endpoint_health (endpoint BLOB PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
";

/// A statement's plan does not depend on what is bound to it. Else SQLite plans many of ours anew each time they run, because a
/// partial index might be of use for another value: measured, an eighth of all CPU while a backlog is read back. Ours say with
/// literals what such an index wants.
pub fn plan_once(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// Sets the connection's ways and brings the file to the newest version.
pub fn prepare(connection: &mut Connection, max_pages: Option<u64>) -> Result<(), String> {
    let text = |error: rusqlite::Error| error.to_string();
    connection
        .execute_batch(
            "PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -65536;
             PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF;",
        )
        .map_err(text)?;
    plan_once(connection).map_err(text)?;
    connection.set_prepared_statement_cache_capacity(64);
    migrate(connection)?;
    // 2^32 - 2 is SQLite's own limit, in pages.
    let pages = max_pages.unwrap_or(4_294_967_294);
    connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).map_err(text)
}

fn migrate(connection: &mut Connection) -> Result<(), String> {
    let text = |error: rusqlite::Error| error.to_string();
    let version: u32 =
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(text)?;
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > STEPS.len() {
        return Err(format!(
            "the store is of version {version}, newer than this program knows ({}); run a newer one",
            STEPS.len()
        ));
    }
    for (index, step) in STEPS.iter().enumerate().skip(version) {
        let transaction = connection.transaction().map_err(text)?;
        transaction.execute_batch(step).map_err(text)?;
        transaction.pragma_update(None, "user_version", index as u32 + 1).map_err(text)?;
        transaction.commit().map_err(text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{delivery::DeliveryKey, id::EndpointId, message::Sequence},
        store::sqlite::rows,
    };
    use rusqlite::StatementStatus;
    use uuid::Uuid;

    #[test]
    fn a_file_of_the_first_version_keeps_its_messages() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut connection = Connection::open(directory.path().join("store.db")).expect("opens");
        connection.execute_batch(VERSION_1).expect("is written");
        connection
            .execute_batch(
                "INSERT INTO message VALUES (7, x'01', 1, x'02', 'a', 't', NULL, 5, '{}');
                 PRAGMA user_version = 1;",
            )
            .expect("is written");
        prepare(&mut connection, None).expect("migrates");
        let found = connection
            .query_row("SELECT sequence, uid, idempotency_key FROM message", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .expect("is there");
        assert_eq!(found, (7, "a".to_owned(), None::<String>));
    }

    #[test]
    fn a_file_of_before_schedules_has_none_and_finds_what_waits_by_its_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut connection = Connection::open(directory.path().join("store.db")).expect("opens");
        for step in &STEPS[..6] {
            connection.execute_batch(step).expect("is written");
        }
        connection
            .execute_batch(
                "INSERT INTO message (sequence, id, environment, application, event_type, accepted, payload)
                     VALUES (7, x'01', 1, x'02', 't', 5, '{}');
                 INSERT INTO delivery (message, endpoint, ordinal, state, attempts, due, updated)
                     VALUES (7, x'03', 0, 0, 1, 9, 5), (7, x'04', 0, 2, 1, 8, 5);
                 PRAGMA user_version = 6;",
            )
            .expect("is written");
        prepare(&mut connection, None).expect("migrates");
        let times = "SELECT deliver_at IS NULL AND expires_at IS NULL AND ordering_key IS NULL FROM message";
        let none: bool = connection.query_row(times, [], |row| row.get(0)).expect("reads");
        let due = "SELECT due FROM delivery INDEXED BY delivery_due WHERE state = 0";
        let due: u32 = connection.query_row(due, [], |row| row.get(0)).expect("is indexed");
        assert_eq!((none, due), (true, 9));
    }

    #[test]
    fn a_plugin_of_before_becomes_the_plugin_main_with_one_version() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut connection = Connection::open(directory.path().join("store.db")).expect("opens");
        for step in &STEPS[..4] {
            connection.execute_batch(step).expect("is written");
        }
        let plugin = crate::model::sample::plugin(crate::model::sample::application().id, "main");
        let (digest, application) = (plugin.versions[0].digest, plugin.application);
        let old = serde_json::json!({
            "environment": 1, "application": application, "digest": digest, "size": 9,
            "settings": { "a": [1, "b", null] }, "declared": true, "quarantined": null,
            "created": 3, "updated": 5,
        });
        let id = application.0.as_bytes();
        connection
            .execute("INSERT INTO object VALUES (3, 1, ?, ?)", (id, old.to_string()))
            .expect("is written");
        for kept in [digest.0, [9; 32]] {
            connection.execute("INSERT INTO code VALUES (?, x'00')", [&kept[..]]).expect("writes");
        }
        connection.pragma_update(None, "user_version", 4).expect("updates");
        prepare(&mut connection, None).expect("migrates");
        let (id, document): (Vec<u8>, String) = connection
            .query_row("SELECT id, document FROM object WHERE kind = 3", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .expect("is there");
        assert_eq!(id, [application.0.as_bytes(), &b"main"[..]].concat());
        let found: crate::model::plugin::Plugin = serde_json::from_str(&document).expect("is one");
        let mut expected = plugin;
        expected.settings = old["settings"].as_object().expect("an object").clone();
        (expected.declared, expected.created, expected.updated) = (true, 3, 5);
        (expected.versions[0].size, expected.versions[0].created) = (9, 5);
        assert_eq!(found, expected);
        let left: Vec<u8> = connection
            .query_row("SELECT digest FROM code", [], |row| row.get(0))
            .expect("the other is gone");
        assert_eq!(left, digest.0);
    }

    #[test]
    fn a_file_of_before_endpoints_had_health_has_none_of_it() {
        let mut connection = Connection::open_in_memory().expect("opens");
        for step in &STEPS[..8] {
            connection.execute_batch(step).expect("is written");
        }
        let put = "INSERT INTO object VALUES (2, 1, x'01', '{}')";
        connection.execute(put, []).expect("is written");
        connection.pragma_update(None, "user_version", 8).expect("updates");
        prepare(&mut connection, None).expect("migrates");
        let count = |table: &str| -> i64 {
            let sql = format!("SELECT count(*) FROM {table}");
            connection.query_row(&sql, [], |row| row.get(0)).expect("counts")
        };
        assert_eq!((count("endpoint_health"), count("object")), (0, 1));
    }

    #[test]
    fn a_new_file_gets_the_newest_version_and_a_newer_one_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.db");
        let mut connection = Connection::open(&path).expect("opens");
        prepare(&mut connection, None).expect("migrates");
        prepare(&mut connection, None).expect("and again, with nothing to do");
        connection.pragma_update(None, "user_version", STEPS.len() as u32 + 1).expect("updates");
        let error = prepare(&mut connection, None).expect_err("is refused");
        assert!(error.contains("newer"), "{error}");
    }

    #[test]
    fn a_statement_is_planned_once_whatever_is_bound_to_it() {
        let mut connection = Connection::open_in_memory().expect("opens");
        prepare(&mut connection, None).expect("migrates");
        let planned_again = |connection: &Connection| {
            for message in (1..5).map(Sequence) {
                let key = DeliveryKey { message, endpoint: EndpointId(Uuid::nil()), ordinal: 0 };
                assert!(rows::read_delivery(connection, key).expect("reads").is_none());
            }
            let statement = connection.prepare_cached(&rows::READ_DELIVERY).expect("is there");
            statement.get_status(StatementStatus::RePrepare)
        };
        assert_eq!(planned_again(&connection), 0);
        let planned_each_time = DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG;
        connection.set_db_config(planned_each_time, false).expect("is set");
        assert!(planned_again(&connection) > 0, "there is nothing to switch off any more");
    }
}
