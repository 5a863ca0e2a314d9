//! Who may import what in the gateway. The tables are the rules; `ARCHITECTURE.md` says why they
//! are worth having.
//!
//! They hold for `gateway/src` without its tests, which may use what they like: a test of `deliver`
//! needs the clock and a receiver, not a fence.

use crate::rust::{Mention, mentions};

/// Where a crate, or a function of one, may be named.
struct Fence {
    /// Beginnings of paths for crates (`rusqlite`), ends of paths for functions (`Instant::now`).
    names: &'static [&'static str],
    /// Files or folders below `gateway/src`, without `.rs`.
    only: &'static [&'static str],
}

const FENCES: [Fence; 10] = [
    Fence { names: &["rusqlite"], only: &["store/sqlite"] },
    Fence {
        names: &["async_nats"],
        only: &["store/nats", "ingest/nats", "deliver/nats", "nats", "cli/demo"],
    },
    Fence { names: &["wasmtime", "wasmtime_wasi", "wasmparser"], only: &["plugin"] },
    // The command line and its demo are clients like any other, outside the gateway's own path, which has its own.
    Fence { names: &["reqwest"], only: &["cli"] },
    // Nothing leaves the gateway over HTTP but past the guard.
    Fence {
        names: &["hickory_resolver", "tokio_rustls", "rustls_platform_verifier", "h2"],
        only: &["deliver/client"],
    },
    Fence { names: &["TcpStream::connect", "lookup_host"], only: &["deliver/client/dial", "cli"] },
    Fence {
        names: &["rustix"],
        only: &["clock", "descriptors", "plugin/compiler", "plugin/long", "plugin/precedence"],
    },
    Fence { names: &["libc"], only: &["plugin/precedence"] },
    Fence { names: &["rand", "getrandom", "fastrand"], only: &["clock"] },
    Fence {
        names: &[
            "Instant::now",
            "SystemTime::now",
            "Timestamp::now",
            "Utc::now",
            "Uuid::new_v4",
            "Uuid::now_v7",
            "Zoned::now",
        ],
        only: &["clock"],
    },
];

/// What a module may import of ours: a stage never another stage, and what is below them none.
struct Wall {
    /// The module.
    of: &'static str,
    /// What it may not import, or all that it may.
    imports: Imports,
}

enum Imports {
    Not(&'static [&'static str]),
    Only(&'static [&'static str]),
}

use Imports::{Not, Only};

const WALLS: [Wall; 19] = [
    Wall { of: "ingest", imports: Not(&["dispatch", "deliver", "api", "app", "cli"]) },
    Wall { of: "dispatch", imports: Not(&["ingest", "deliver", "api", "app", "cli"]) },
    Wall { of: "deliver", imports: Not(&["ingest", "dispatch", "api", "app", "cli"]) },
    Wall { of: "recover", imports: Not(&["ingest", "dispatch", "deliver", "api", "app", "cli"]) },
    Wall { of: "retention", imports: Not(&["ingest", "dispatch", "deliver", "api", "app", "cli"]) },
    Wall {
        of: "cli",
        imports: Not(&[
            "ingest",
            "dispatch",
            "deliver",
            "recover",
            "retention",
            "api",
            "store",
            "web",
            "plugin",
        ]),
    },
    Wall { of: "api", imports: Not(&["ingest", "dispatch", "deliver", "app", "cli"]) },
    Wall { of: "trials", imports: Only(&["trials", "model", "clock", "plugin", "store"]) },
    Wall { of: "store", imports: Only(&["store", "model", "clock", "invariant"]) },
    Wall { of: "plugin", imports: Only(&["plugin", "model", "clock", "invariant", "gate"]) },
    Wall { of: "workbench", imports: Only(&["workbench", "plugin", "model", "clock"]) },
    Wall { of: "web", imports: Only(&["web", "model", "clock", "store"]) },
    Wall { of: "observe", imports: Only(&["observe", "model"]) },
    Wall { of: "model", imports: Only(&["model"]) },
    Wall { of: "clock", imports: Only(&["model"]) },
    Wall { of: "invariant", imports: Only(&[]) },
    Wall { of: "nats", imports: Only(&["model", "clock"]) },
    Wall { of: "gate", imports: Only(&["model"]) },
    Wall { of: "descriptors", imports: Only(&[]) },
];

/// What one file breaks.
pub fn check(file: &str, text: &str) -> Vec<String> {
    let Some(place) = file.strip_prefix("gateway/src/").and_then(|path| path.strip_suffix(".rs"))
    else {
        return Vec::new();
    };
    let mentions = match mentions(text) {
        Ok(mentions) => mentions,
        Err(error) => return vec![format!("{file}:1: {error}")],
    };
    let mut broken: Vec<String> = mentions
        .iter()
        .filter_map(|mention| {
            let text = outside(place, mention).or_else(|| over_the_wall(place, mention))?;
            Some(format!("{file}:{}: {text}", mention.line))
        })
        .collect();
    broken.dedup();
    broken
}

/// Which fence a path is outside of.
fn outside(place: &str, mention: &Mention) -> Option<String> {
    let names = |name: &&&str| match name.split_once("::") {
        None => mention.path[0] == **name,
        Some((of, function)) => mention.path.windows(2).any(|pair| pair == [of, function]),
    };
    FENCES.iter().find_map(|fence| {
        let name = fence.names.iter().find(names)?;
        let inside = fence.only.iter().any(|only| is_within(place, only));
        (!inside).then(|| format!("`{name}` may only be named in {}", fence.only.join(", ")))
    })
}

/// Which import a module's wall does not let through.
fn over_the_wall(place: &str, mention: &Mention) -> Option<String> {
    let wall = WALLS.iter().find(|wall| is_within(place, wall.of))?;
    let imported = module(place, &mention.path)?;
    let (allowed, rule) = match wall.imports {
        Not(modules) => (!modules.contains(&&*imported), format!("not {}", modules.join(", "))),
        Only(modules) => {
            let rule = if modules.is_empty() { "nothing" } else { &*modules.join(", ") };
            (modules.contains(&&*imported), format!("of ours {rule}"))
        }
    };
    (!allowed).then(|| format!("`{}` may not import `{imported}`: {rule}", wall.of))
}

fn is_within(place: &str, folder: &str) -> bool {
    place.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The module of ours, directly below the crate's root, that a path in this file leads to.
fn module(place: &str, path: &[String]) -> Option<String> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    let depth = place.split('/').count();
    match path[0].as_str() {
        "crate" | "octohooks" => path.get(1).cloned(),
        "super" if supers == depth => path.get(supers).cloned(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_and_walls() {
        let table = [
            ("gateway/src/store/sqlite/read.rs", "use rusqlite::Row;", ""),
            ("gateway/src/store/sqlite.rs", "use rusqlite::Row;", ""),
            (
                "gateway/src/store.rs",
                "\nuse rusqlite::Row;",
                "2: `rusqlite` may only be named in store/sqlite",
            ),
            ("gateway/src/store/sqlited.rs", "use rusqlite::Row;", "1: `rusqlite`"),
            ("gateway/src/api.rs", "fn f() { wasmtime::Engine::new() }", "1: `wasmtime`"),
            ("gateway/src/plugin/wasi.rs", "use wasmtime_wasi::p2;", ""),
            (
                "gateway/src/deliver/lane.rs",
                "fn f() { Instant::now() }",
                "1: `Instant::now` may only",
            ),
            (
                "gateway/src/deliver/lane.rs",
                "#[cfg(test)] mod tests { fn f() { Instant::now() } }",
                "",
            ),
            (
                "gateway/src/deliver/lane.rs",
                "fn f() { tokio::time::Instant::now() }",
                "1: `Instant::now`",
            ),
            ("gateway/src/clock.rs", "fn f() { SystemTime::now(); rand::rng() }", ""),
            ("gateway/src/app.rs", "fn f() { Uuid::now_v7() }", "1: `Uuid::now_v7`"),
            ("gateway/src/cli/demo/receiver.rs", "use reqwest::Client;", ""),
            ("gateway/src/cli/client.rs", "use reqwest::Client;", ""),
            ("gateway/src/app.rs", "use reqwest::Client;", "1: `reqwest`"),
            ("gateway/tests/gateway.rs", "use reqwest::Client;", ""),
            ("gateway/src/ingest/http.rs", "use super::accept::Draft;", ""),
            (
                "gateway/src/ingest/http.rs",
                "use crate::{web,\n deliver::sign};",
                "2: `ingest` may not import `deliver`: not dispatch",
            ),
            (
                "gateway/src/ingest/http.rs",
                "use super::super::api::Api;",
                "1: `ingest` may not import `api`",
            ),
            ("gateway/src/ingest.rs", "use super::api::Api;", "1: `ingest` may not import `api`"),
            ("gateway/src/app.rs", "use crate::{api, deliver};", ""),
            (
                "gateway/src/model/id.rs",
                "use crate::clock::now;",
                "1: `model` may not import `clock`: of ours model",
            ),
            ("gateway/src/model/id.rs", "use crate::model::name::Uid;", ""),
            ("gateway/src/clock.rs", "use crate::model::Millis;", ""),
            ("gateway/src/clock.rs", "use crate::config::Config;", "1: `clock` may not"),
            (
                "gateway/src/invariant.rs",
                "use crate::model::Millis;",
                "1: `invariant` may not import `model`: of ours nothing",
            ),
            ("gateway/src/web/auth.rs", "use crate::api::Api;", "1: `web` may not"),
            ("gateway/src/store.rs", "fn f( {", "1: is not Rust"),
        ];
        for (file, text, expected) in table {
            let broken = check(file, text);
            let broken = broken.first().map_or("", |line| &line[file.len() + 1..]);
            assert!(broken.starts_with(expected), "{file}, {text}: {broken}");
            assert_eq!(broken.is_empty(), expected.is_empty(), "{file}, {text}: {broken}");
        }
    }
}
