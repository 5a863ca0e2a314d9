//! The crash test: load, SIGKILL at a random moment, restart, drain, and a comparison of what the senders were told
//! with what the receiver saw and what the store holds. `cargo xtask crash --rounds N` runs it for longer.

use super::{
    receiver::{Received, Receiver},
    rig::{Gateway, client, component, directory, until},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use reqwest::Method;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    env, fs,
    sync::{Arc, Mutex},
    time::Duration,
};

const APPLICATION: &str = "hooli";
const SENDERS: usize = 8;

/// Everything goes to the first two, failures to the third as well.
const PATHS: [&str; 3] = ["/ok/all", "/sometimes", "/ok/alerts"];

/// A delivery as a receiver knows it: its path and `webhook-id`.
type Key = (String, String);

/// The number of the state of a delivery that was delivered.
const SUCCESS: u8 = 2;

/// A delivery as the store holds it.
struct Recorded {
    state: u8,
    attempts: usize,
}

/// What the senders know: the ids they were told, and for each whether it is a failed SMS.
type Told = Arc<Mutex<Vec<(String, bool)>>>;

/// What all rounds came to.
#[derive(Debug, Default)]
struct Total {
    accepted: usize,
    unanswered: usize,
    delivered: usize,
    duplicates: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_loses_nothing() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse().expect("a number"));
    let rounds = number("OCTOHOOKS_CRASH_ROUNDS").unwrap_or(50);
    let seed = number("OCTOHOOKS_CRASH_SEED").unwrap_or_else(rand::random);
    println!("OCTOHOOKS_CRASH_SEED={seed} repeats the moments of the kills");
    let mut chance = StdRng::seed_from_u64(seed);
    let (mut gateway, receiver) = prepare().await;
    let mut total = Total::default();
    for round in 1..=rounds {
        let before_kill = Duration::from_micros(chance.random_range(1_000..250_000));
        one_round(&mut gateway, &receiver, before_kill, &mut total).await;
        if round % 10 == 0 || round == rounds {
            println!("{round} rounds: {total:?}");
        }
    }
    assert!(total.accepted > 0 && total.delivered > total.accepted);
    gateway.signal("TERM");
    assert!(gateway.ended().await.success());
    attempts_have_no_gaps(&left(&gateway));
}

async fn prepare() -> (Gateway, Receiver) {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let urls = PATHS[..2].iter().map(|path| receiver.url(path)).collect::<Vec<_>>();
    gateway.application(APPLICATION, &[&urls[0], &urls[1]]).await;
    let alerts = json!({ "url": receiver.url(PATHS[2]), "channels": ["alerts"] });
    gateway.post(&format!("/applications/{APPLICATION}/endpoints"), alerts).await;
    gateway.upload(APPLICATION, component("sms-status")).await;
    (gateway, receiver)
}

async fn one_round(
    gateway: &mut Gateway,
    receiver: &Receiver,
    before_kill: Duration,
    total: &mut Total,
) {
    let told = Told::default();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| tokio::spawn(send(gateway.address().to_owned(), sender, told.clone())))
        .collect();
    tokio::time::sleep(before_kill).await;
    gateway.kill();
    for sender in senders {
        total.unanswered += sender.await.expect("a sender");
    }
    // A delivery recorded as done was answered by the receiver, so that it is among these.
    let before = receiver.take();
    let at_kill = deliveries(&left(gateway));
    gateway.restart().await;
    until("everything is settled", async || {
        let health: Value = serde_json::from_str(&gateway.text("/health").await).expect("JSON");
        let store = &health["parts"]["store"];
        let depths = ["undispatched", "unsettled", "waiting", "aside"];
        let quiet = depths.iter().all(|depth| store[depth] == 0);
        // Between waiting and its lane a delivery is in neither count.
        let ended = || deliveries(&live(gateway)).values().all(|d| d.state >= SUCCESS);
        (quiet && ended()).then_some(())
    })
    .await;
    let held = gateway.get(&format!("/applications/{APPLICATION}/messages?state=parked")).await;
    assert_eq!(held["data"], json!([]), "a good message is never parked");
    let after = receiver.take();

    let again = count(&after);
    for (key, delivery) in &at_kill {
        let done_and_sent_again = delivery.state == SUCCESS && again.contains_key(key);
        assert!(!done_and_sent_again, "{key:?} was recorded as done before the kill");
    }
    let mut seen = count(&before);
    for (key, times) in again {
        *seen.entry(key).or_default() += times;
    }
    let told = std::mem::take(&mut *told.lock().expect("not poisoned"));
    for (id, failed) in &told {
        for path in &PATHS[..if *failed { 3 } else { 2 }] {
            let key = ((*path).to_owned(), id.clone());
            assert!(seen.contains_key(&key), "{key:?} was accepted, and never came");
        }
    }
    let in_the_end = deliveries(&live(gateway));
    for (key, times) in &seen {
        let recorded = &in_the_end[key];
        assert_eq!(recorded.state, SUCCESS, "{key:?}");
        // One attempt may have been under way at the kill, and have no record.
        let attempts = recorded.attempts;
        assert!((attempts..=attempts + 1).contains(times), "{key:?}: {attempts} of {times}");
        total.duplicates += times - attempts;
    }
    total.accepted += told.len();
    total.delivered += seen.len();
}

/// Sends one message after the other until the gateway is gone; how many were not answered.
async fn send(address: String, sender: usize, told: Told) -> usize {
    let client = client();
    let url = format!("http://{address}/api/v1/applications/{APPLICATION}/messages");
    for n in 0.. {
        let failed = n % 4 == 0;
        let status = if failed { "UNDELIV" } else { "DELIVRD" };
        let report = json!({ "messageId": format!("{sender}-{n}"), "to": "+46", "status": status });
        let message = json!({ "eventType": "sms.status", "payload": report });
        let request = client.request(Method::POST, &url).header("authorization", super::rig::KEY);
        let Ok(answer) = request.body(message.to_string()).send().await else { return 1 };
        assert_eq!(answer.status(), 200);
        let Ok(answer) = answer.bytes().await else { return 1 };
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        let id = answer["id"].as_str().expect("an id").to_owned();
        told.lock().expect("not poisoned").push((id, failed));
    }
    0
}

fn count(received: &[Received]) -> HashMap<Key, usize> {
    let mut times = HashMap::new();
    for r in received {
        let key = (r.path.clone(), r.header("webhook-id").to_owned());
        *times.entry(key).or_default() += 1;
    }
    times
}

/// The store of a gateway that runs.
fn live(gateway: &Gateway) -> Connection {
    let path = gateway.path("data/octohooks.db");
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("opens")
}

/// The store of a gateway that was killed, opened from a copy, so that the gateway finds it as it was left.
fn left(gateway: &Gateway) -> Connection {
    let copy = directory();
    for name in ["octohooks.db", "octohooks.db-wal"] {
        let from = gateway.path(&format!("data/{name}"));
        if from.exists() {
            fs::copy(from, copy.path().join(name)).expect("copies");
        }
    }
    let connection = Connection::open(copy.path().join("octohooks.db")).expect("opens");
    let whole: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    assert_eq!(whole, "ok");
    // The files stay as long as they are open.
    connection
}

/// Every delivery that has a row.
fn deliveries(store: &Connection) -> HashMap<Key, Recorded> {
    let mut endpoints =
        store.prepare("SELECT id, document FROM object WHERE kind = 2").expect("a query");
    let paths = endpoints.query_map([], |row| {
        let document: Value = serde_json::from_str(&row.get::<_, String>(1)?).expect("JSON");
        let url = document["url"].as_str().expect("a URL").parse::<url::Url>().expect("a URL");
        Ok((row.get::<_, Vec<u8>>(0)?, url.path().to_owned()))
    });
    let paths: HashMap<Vec<u8>, String> =
        paths.expect("rows").collect::<Result<_, _>>().expect("rows");
    let mut rows = store
        .prepare(
            "SELECT m.id, d.endpoint, d.state, d.attempts
             FROM delivery d JOIN message m ON m.sequence = d.message",
        )
        .expect("a query");
    let rows = rows.query_map([], |row| {
        let id = uuid::Uuid::from_slice(&row.get::<_, Vec<u8>>(0)?).expect("an id");
        let key = (paths[&row.get::<_, Vec<u8>>(1)?].clone(), id.to_string());
        Ok((key, Recorded { state: row.get(2)?, attempts: row.get::<_, u32>(3)? as usize }))
    });
    rows.expect("rows").collect::<Result<_, _>>().expect("rows")
}

/// Attempts after a delivery's first are rows with numbers from 2 on.
fn attempts_have_no_gaps(store: &Connection) {
    let gaps: u32 = store
        .query_row(
            "SELECT count(*) FROM delivery d
             LEFT JOIN (SELECT message, endpoint, ordinal, count(*) AS rows, min(number) AS first,
                               max(number) AS last
                        FROM attempt GROUP BY message, endpoint, ordinal) a
               USING (message, endpoint, ordinal)
             WHERE d.attempts <> 1 + coalesce(a.rows, 0)
                OR coalesce(a.first, 2) <> 2 OR coalesce(a.last, 1) <> d.attempts",
            [],
            |row| row.get(0),
        )
        .expect("a query");
    assert_eq!(gaps, 0, "deliveries whose attempts are not numbered 1, 2, 3 …");
}
