//! Chooses channels by what a payload says: each route has an expression, written as the filters of JSONPath (RFC 9535)
//! are, with `@` for the payload: `@.amount >= 1000 && @.country == "SE"`. The settings are in this crate's `README.md`.

use octohooks_plugin::{Dispatch, Failure, Message, Verdict, settings};
use serde::Deserialize;
use serde_json::Value;
use serde_json_path::JsonPath;

/// What an application configures.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// Tried in this order; every one that is true counts, unless it says it is the last.
    routes: Vec<Route>,
    /// What becomes of a message that no route wants.
    otherwise: Otherwise,
}

/// Where to, and when.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Route {
    when: String,
    channels: Vec<String>,
    #[serde(default)]
    last: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Otherwise {
    #[default]
    Pass,
    Drop,
}

#[allow(clippy::needless_pass_by_value, reason = "a plugin is given its message")]
fn on_message(message: Message) -> Result<Verdict, Failure> {
    let settings: Settings = settings()?;
    // A filter looks at the elements of a list: the payload is the only one.
    let payload = Value::Array(vec![message.json()?]);
    let mut channels: Vec<&String> = Vec::new();
    for route in &settings.routes {
        if !is_true(&route.when, &payload)? {
            continue;
        }
        channels.extend(&route.channels);
        if route.last {
            break;
        }
    }
    if channels.is_empty() {
        return Ok(match settings.otherwise {
            Otherwise::Pass => Verdict::Pass,
            Otherwise::Drop => Verdict::drop("no route wants it"),
        });
    }
    let mut all = message.channels;
    for channel in channels {
        if !all.contains(channel) {
            all.push(channel.clone());
        }
    }
    Ok(Dispatch::to_channels(all).into())
}

octohooks_plugin::export!(on_message);

fn is_true(expression: &str, payload: &Value) -> Result<bool, Failure> {
    let path = JsonPath::parse(&format!("$[?{expression}]")).map_err(|error| {
        Failure::Other(format!("settings: the expression `{expression}`: {error}"))
    })?;
    Ok(!path.query(payload).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use octohooks_plugin::testing::{Host, message};
    use serde_json::json;

    fn routed(settings: Value) -> Result<Verdict, Failure> {
        let payload =
            json!({ "amount": 1200, "country": "SE", "tags": ["vip"], "note": "urgent!" });
        let mut message = message("order", payload.to_string());
        message.channels = vec!["own".to_owned()];
        Host::new().settings(settings).call(on_message, message)
    }

    #[test]
    fn an_expression_says_whether_a_route_is_taken() {
        let table = [
            ("@.amount >= 1000 && @.country == 'SE'", true),
            ("@.amount >= 1000 && @.country == \"NO\"", false),
            ("@.country == 'NO' || (@.amount > 1 && !(@.amount > 2000))", true),
            ("@.tags[0] == 'vip'", true),
            ("@.tags[?@ == 'vip']", true),
            ("@.missing", false),
            ("!@.missing", true),
            ("length(@.tags) > 1", false),
        ];
        for (when, is_taken) in table {
            let verdict = routed(json!({ "routes": [{ "when": when, "channels": ["big"] }] }));
            let expected = match is_taken {
                true => Dispatch::to_channels(["own", "big"]).into(),
                false => Verdict::Pass,
            };
            assert_eq!(verdict, Ok(expected), "{when}");
        }
    }

    #[test]
    fn routes_add_up_until_the_last() {
        let route = |channel: &str, last: bool| json!({ "when": "@.amount", "channels": [channel, "own"], "last": last });
        let routes = json!({ "routes": [route("a", false), route("b", true), route("c", false)] });
        assert_eq!(routed(routes), Ok(Dispatch::to_channels(["own", "a", "b"]).into()));
    }

    #[test]
    fn what_no_route_wants_goes_nowhere_if_that_is_said() {
        let verdict = routed(json!({ "routes": [], "otherwise": "drop" }));
        assert_eq!(verdict, Ok(Verdict::drop("no route wants it")));
    }

    #[test]
    fn an_expression_that_is_none_is_named() {
        match routed(json!({ "routes": [{ "when": "@.amount >", "channels": [] }] })) {
            Err(Failure::Other(said)) => {
                assert!(said.contains("the expression `@.amount >`"), "{said}");
            }
            other => panic!("{other:?}"),
        }
    }
}
