//! Every route with a key of every scope. A route that is not in the table here fails a test, so that nobody forgets to
//! say whom it answers.

use super::{
    receiver::Receiver,
    rig::{Gateway, KEY},
};
use reqwest::Method;
use serde_json::{Value, json};

const ROOT: &str = "test-root";

/// Whom a route answers.
#[derive(Clone, Copy)]
enum For {
    /// No key is needed.
    Anyone,
    Root,
    /// Of the environment that the path names.
    Admin,
    Caller,
    Publisher,
    Owner,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Becomes {
    /// The handler sees it, whatever it says then.
    Passes,
    /// 401.
    Unknown,
    /// 403.
    Forbidden,
    /// 404: what the path begins with is another's.
    Absent,
}

use Becomes::{Absent, Forbidden, Passes, Unknown};
use For::{Admin, Anyone, Caller, Owner, Publisher, Root};

/// Paths are filled in by [`fill`]. What would delete something is asked to delete what is not there.
const ROUTES: &[(&str, &[(&str, For)])] = &[
    ("/applications", &[("GET", Caller), ("POST", Caller)]),
    ("/applications/{app}", &[("GET", Owner), ("PUT", Caller), ("DELETE", Caller)]),
    ("/applications/{app}/endpoints", &[("GET", Owner), ("POST", Owner)]),
    (
        "/applications/{app}/endpoints/{endpoint}",
        &[("GET", Owner), ("PUT", Owner), ("DELETE", Owner)],
    ),
    ("/applications/{app}/messages", &[("GET", Owner), ("POST", Publisher)]),
    ("/applications/{app}/messages/batch", &[("POST", Publisher)]),
    ("/applications/{app}/messages/{message}", &[("GET", Owner)]),
    ("/applications/{app}/messages/{message}/endpoint-messages", &[("GET", Owner)]),
    ("/applications/{app}/messages/{message}/payload", &[("DELETE", Caller)]),
    ("/applications/{app}/messages/{message}/cancel", &[("POST", Publisher)]),
    ("/applications/{app}/messages/{message}/deliveries", &[("GET", Owner)]),
    ("/applications/{app}/messages/{message}/deliveries/{delivery}/attempts", &[("GET", Owner)]),
    ("/applications/{app}/messages/{message}/endpoints/{endpoint}/resend", &[("POST", Owner)]),
    ("/applications/{app}/endpoints/{endpoint}/deliveries", &[("GET", Owner)]),
    ("/applications/{app}/endpoints/{endpoint}/recover", &[("POST", Owner)]),
    ("/applications/{app}/endpoints/{endpoint}/secrets", &[("GET", Owner)]),
    ("/applications/{app}/endpoints/{endpoint}/secrets/rotate", &[("POST", Owner)]),
    ("/applications/{app}/dead-letters", &[("GET", Owner)]),
    ("/applications/{app}/dead-letters/resend", &[("POST", Owner)]),
    ("/applications/{app}/dead-letters/{message}", &[("GET", Owner)]),
    ("/applications/{app}/dead-letters/{message}/resend", &[("POST", Owner)]),
    ("/operations", &[("GET", Owner)]),
    ("/operations/{operation}", &[("GET", Owner)]),
    ("/operations/{operation}/cancel", &[("POST", Owner)]),
    ("/applications/{app}/plugins", &[("GET", Caller)]),
    (
        "/applications/{app}/plugins/{plugin}",
        &[("GET", Caller), ("PUT", Caller), ("PATCH", Caller), ("DELETE", Caller)],
    ),
    ("/applications/{app}/plugins/{plugin}/activate", &[("POST", Caller)]),
    ("/applications/{app}/plugins/{plugin}/rollback", &[("POST", Caller)]),
    ("/applications/{app}/plugins/{plugin}/release", &[("POST", Caller)]),
    ("/applications/{app}/plugins/{plugin}/versions/{digest}", &[("DELETE", Caller)]),
    ("/applications/{app}/grants", &[("GET", Caller), ("PUT", Caller)]),
    ("/applications/{app}/secrets", &[("GET", Caller)]),
    ("/applications/{app}/secrets/{secret}", &[("PUT", Caller), ("DELETE", Caller)]),
    ("/applications/{app}/plugins/{plugin}/simulate", &[("POST", Caller)]),
    ("/applications/{app}/plugins/{plugin}/ask", &[("POST", Caller)]),
    ("/applications/{app}/plugins/{plugin}/trial", &[("GET", Caller)]),
    ("/applications/{app}/plugins/{plugin}/promote", &[("POST", Caller)]),
    ("/applications/{app}/plugins/{plugin}/log", &[("GET", Caller)]),
    ("/applications/{app}/tokens", &[("POST", Caller)]),
    ("/event-types", &[("GET", Caller), ("POST", Caller)]),
    ("/event-types/{name}", &[("GET", Caller), ("PUT", Caller), ("DELETE", Caller)]),
    ("/environments", &[("GET", Root), ("POST", Root)]),
    ("/environments/{environment}", &[("GET", Admin), ("PUT", Root), ("DELETE", Root)]),
    ("/environments/{environment}/keys", &[("GET", Admin), ("POST", Admin)]),
    ("/environments/{environment}/keys/{key}", &[("GET", Admin), ("DELETE", Admin)]),
    ("/environments/{environment}/keys/{key}/rotate", &[("POST", Admin)]),
    ("/openapi.json", &[("GET", Anyone)]),
];

/// The files that have routes below `/api/v1`.
const SOURCES: [&str; 2] =
    [include_str!("../../src/api.rs"), include_str!("../../src/ingest/http.rs")];

/// The paths of all routes, as the sources have them.
pub(super) fn paths() -> Vec<&'static str> {
    let mut found: Vec<&str> = Vec::new();
    for source in SOURCES {
        let below = source.split("/// The routes outside `/api/v1`").next().expect("a part");
        let routes = below.split(".route(").skip(1);
        found.extend(routes.map(|route| route.split('"').nth(1).expect("a path")));
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn the_table_has_every_route() {
    let mut known: Vec<_> = ROUTES.iter().map(|(path, _)| *path).collect();
    known.sort_unstable();
    assert_eq!(paths(), known);
}

/// The keys, as columns of [`expected`].
struct Keys([(&'static str, String); 9]);

/// What becomes of a request with each of the keys: of nobody, unknown, root, admin, environment, publish, of the
/// application, of another application, admin of another environment.
fn expected(path: &str, whom: For) -> [Becomes; 9] {
    let others = if path.contains("{app}") { Absent } else { Passes };
    let rest = match whom {
        Anyone => return [Passes; 9],
        Root => [Passes, Forbidden, Forbidden, Forbidden, Forbidden, Forbidden, Forbidden],
        Admin => [Passes, Passes, Forbidden, Forbidden, Forbidden, Forbidden, Absent],
        Caller => [Forbidden, Passes, Passes, Forbidden, Forbidden, Forbidden, others],
        Publisher => [Forbidden, Passes, Passes, Passes, Forbidden, Forbidden, others],
        Owner => [Forbidden, Passes, Passes, Forbidden, Passes, others, others],
    };
    let mut all = [Unknown; 9];
    all[2..].copy_from_slice(&rest);
    all
}

fn fill(path: &str, method: &str, message: &str) -> String {
    let gone = |known: &'static str| if method == "DELETE" { "none" } else { known };
    path.replace("{app}", if path.ends_with("{app}") { gone("own") } else { "own" })
        .replace("{endpoint}", gone("e0"))
        .replace("{message}", message)
        .replace("{name}", gone("t"))
        .replace("{plugin}", "main")
        .replace("{digest}", "none")
        .replace("{secret}", gone("t"))
        .replace("{environment}", "default")
        .replace("{key}", "none")
}

async fn ask(gateway: &Gateway, key: &str, method: &str, path: &str) -> (u16, Value, bool) {
    let method: Method = method.parse().expect("a method");
    let mut request = gateway.request_with(key, method.clone(), path);
    if method == Method::POST || method == Method::PUT {
        // A good message; nothing, for everything else.
        request = request.body(r#"{"eventType": "t", "payload": {}}"#);
    }
    let answer = request.send().await.expect("an answer");
    let (status, bytes) = (answer.status().as_u16(), answer.bytes().await.expect("a body"));
    (status, serde_json::from_slice(&bytes).unwrap_or_default(), bytes.is_empty())
}

fn became(status: u16, error: &Value, empty: bool) -> Becomes {
    let message = error["message"].as_str().unwrap_or_default();
    match status {
        401 => Unknown,
        403 => Forbidden,
        // What is there is only absent for those whose it is not.
        404 if empty || ["no such application", "no such environment"].contains(&message) => Absent,
        500.. => panic!("{error}"),
        _ => Passes,
    }
}

async fn key(
    gateway: &Gateway,
    environment: &str,
    scope: &str,
    application: Option<&str>,
) -> String {
    let draft = json!({ "name": scope, "scope": scope, "application": application });
    let path = format!("/environments/{environment}/keys");
    let request = gateway.request_with(ROOT, Method::POST, &path).body(draft.to_string());
    let answer = super::rig::json_of(request.send().await.expect("an answer")).await;
    answer["key"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

async fn keys(gateway: &Gateway) -> Keys {
    let other = json!({ "name": "other" }).to_string();
    let made = gateway.request_with(ROOT, Method::POST, "/environments").body(other).send().await;
    assert_eq!(made.expect("an answer").status(), 200);
    Keys([
        ("nobody", String::new()),
        ("unknown", "key_unknown".to_owned()),
        ("root", ROOT.to_owned()),
        ("admin", key(gateway, "default", "admin", None).await),
        ("environment", key(gateway, "default", "environment", None).await),
        ("publish", key(gateway, "default", "publish", None).await),
        ("application", key(gateway, "default", "application", Some("own")).await),
        ("another application", key(gateway, "default", "application", Some("another")).await),
        ("another environment", key(gateway, "other", "admin", None).await),
    ])
}

#[tokio::test]
async fn every_route_answers_whom_it_is_for_and_nobody_else() {
    let gateway = Gateway::start(&[("OCTOHOOKS_AUTH__ROOT_KEY", ROOT)]).await;
    let receiver = Receiver::start().await;
    gateway.application("own", &[&receiver.url("/ok")]).await;
    gateway.application("another", &[]).await;
    gateway.post("/event-types", json!({ "name": "t" })).await;
    let message = gateway.message("own", json!({})).await;
    let Keys(keys) = keys(&gateway).await;
    for (template, methods) in ROUTES {
        for (method, whom) in *methods {
            let path = fill(template, method, &message);
            // A deletion of what is not there looks like one of another's.
            let deletes_root = *method == "DELETE" && ["/applications/{app}"].contains(template);
            for ((name, key), expected) in keys.iter().zip(expected(template, *whom)) {
                let (status, error, empty) = ask(&gateway, key, method, &path).await;
                let expected = match expected {
                    Passes if deletes_root => Absent,
                    expected => expected,
                };
                let got = became(status, &error, empty);
                assert_eq!(got, expected, "{method} {path} with {name}: {status} {error}");
                match got {
                    Unknown => assert_eq!(error["code"], "unauthorized"),
                    Forbidden => assert_eq!(error["code"], "forbidden"),
                    Absent | Passes => {}
                }
            }
        }
    }
    // The fixed key is one of the scope `environment`.
    let (status, error, _) = ask(&gateway, KEY, "GET", "/environments/default/keys").await;
    assert_eq!((status, &error["code"]), (403, &json!("forbidden")));
}
