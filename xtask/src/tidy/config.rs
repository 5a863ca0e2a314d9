//! `config/octohooks.toml` says what is true: as it is it changes nothing, and with its comments
//! taken away it has every key there is, with its default. A key that is absent by default, or
//! empty, has an example there.

use crate::cargo::root;
use octohooks::config::{Config, load};
use serde_json::Value;
use std::fs;

#[test]
fn the_documented_configuration_is_the_default() {
    let file = root().join("config/octohooks.toml");
    let defaults = json(&Config::default());
    assert_eq!(
        json(&load(Some(&file), &[]).expect("loads")),
        defaults,
        "the file changes something"
    );

    let text = fs::read_to_string(&file).expect("reads");
    let directory = tempfile::tempdir().expect("a directory");
    let uncommented = directory.path().join("octohooks.toml");
    let lines =
        text.lines().filter_map(|line| line.strip_prefix("# ")).filter(|line| is_toml(line));
    let lines: Vec<&str> = lines.collect();
    fs::write(&uncommented, lines.join("\n")).expect("writes");
    let documented = json(&load(Some(&uncommented), &[]).expect("the keys and values are legal"));
    assert_same("", &defaults, &documented);
    for key in keys(&defaults) {
        let documented = lines.iter().any(|line| {
            line.strip_prefix(&key).is_some_and(|rest| rest.starts_with(" = "))
                || **line == format!("[{key}]")
                || **line == format!("[[{key}]]")
                || line.ends_with(&format!(".{key}]]"))
        });
        assert!(documented, "config/octohooks.toml does not have the key `{key}`");
    }
}

/// Whether a comment is a table's name or a key with its value.
fn is_toml(line: &str) -> bool {
    let is_name = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || "_.[]".contains(c));
    let name = line.split_once(" = ").map_or(line, |(key, _)| key);
    is_name(name) && (name != line || line.starts_with('['))
}

fn json(config: &Config) -> Value {
    serde_json::to_value(config).expect("serialises")
}

/// What has a default is documented with it.
fn assert_same(path: &str, default: &Value, documented: &Value) {
    match default {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                assert_same(&format!("{path}.{key}"), value, &documented[key]);
            }
        }
        Value::Null => {}
        Value::Array(list) if list.is_empty() => {}
        _ => assert_eq!(default, documented, "the default of `{path}`"),
    }
}

/// The names of all values, wherever they are.
fn keys(value: &Value) -> Vec<String> {
    let Value::Object(fields) = value else { return Vec::new() };
    let own = |(key, value): (&String, &Value)| match keys(value) {
        below if below.is_empty() => vec![key.clone()],
        below => below,
    };
    fields.iter().flat_map(own).collect()
}
