//! Uses every capability, as it is told. For the gateway's tests of what plugins may use.
//!
//! The payload is `{"steps": [{"use": "set", "key": "a", "value": "1", "ttlMs": 5}, …]}`; what each step came to is the
//! payload of the dispatch: an array of `{"ok": …}` and `{"error": "…"}`. Without steps the message passes.

use octohooks_plugin::{
    Dispatch, Failure, Message, Verdict, http::Request, keyvalue, now_ms, random, secret,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Script {
    #[serde(default)]
    steps: Vec<Step>,
}

/// One use of a capability.
#[derive(Deserialize)]
#[serde(tag = "use", rename_all = "kebab-case", rename_all_fields = "camelCase")]
enum Step {
    Get {
        key: String,
    },
    Set {
        key: String,
        value: String,
        ttl_ms: Option<u64>,
    },
    CompareAndSet {
        key: String,
        expected: Option<u64>,
        value: String,
    },
    Delete {
        key: String,
    },
    /// Many writes of new keys, of which the last counts.
    SetMany {
        count: u32,
    },
    Secret {
        name: String,
    },
    Now,
    Random {
        count: u32,
    },
    Http {
        #[serde(default = "get")]
        method: String,
        url: String,
        #[serde(default)]
        headers: Vec<(String, String)>,
        #[serde(default)]
        body: String,
        timeout_ms: Option<u64>,
    },
}

fn get() -> String {
    "GET".into()
}

type Came = Result<Value, String>;

fn told<T, E: std::fmt::Debug>(result: Result<T, E>, ok: impl FnOnce(T) -> Value) -> Came {
    result.map(ok).map_err(|error| format!("{error:?}"))
}

fn text(bytes: &[u8]) -> Value {
    json!(String::from_utf8_lossy(bytes))
}

fn take(step: Step) -> Came {
    match step {
        Step::Get { key } => told(keyvalue::get(&key), |found| match found {
            Some(entry) => json!({ "value": text(&entry.value), "version": entry.version }),
            None => Value::Null,
        }),
        Step::Set { key, value, ttl_ms } => {
            told(keyvalue::set(&key, value.as_bytes(), ttl_ms), |version| json!(version))
        }
        Step::CompareAndSet { key, expected, value } => {
            let set = keyvalue::compare_and_set(&key, expected, value.as_bytes(), None);
            told(set, |version| json!(version))
        }
        Step::Delete { key } => told(keyvalue::delete(&key), |was| json!(was)),
        Step::SetMany { count } => {
            let all = (0..count).map(|n| keyvalue::set(&format!("many-{n}"), b"1", None));
            told(all.collect::<Result<Vec<_>, _>>(), |all| json!(all.len()))
        }
        Step::Secret { name } => Ok(json!(secret(&name))),
        Step::Now => Ok(json!(now_ms())),
        Step::Random { count } => Ok(json!(random(count))),
        Step::Http { method, url, headers, body, timeout_ms } => {
            let request = Request { method, url, headers, body: body.into(), timeout_ms };
            told(request.send(), |response| {
                let headers = response.headers;
                json!({ "status": response.status, "headers": headers, "body": text(&response.body) })
            })
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "a plugin is given its message")]
fn on_message(message: Message) -> Result<Verdict, Failure> {
    let script: Script = message.json()?;
    if script.steps.is_empty() {
        return Ok(Verdict::Pass);
    }
    let came = script.steps.into_iter().map(|step| match take(step) {
        Ok(ok) => json!({ "ok": ok }),
        Err(error) => json!({ "error": error }),
    });
    let came: Vec<_> = came.collect();
    Ok(Dispatch::to_subscribed().payload_json(&came)?.into())
}

fn schema() -> String {
    r#"{
        "type": "object",
        "properties": { "limit": { "type": "integer", "minimum": 1 } },
        "additionalProperties": false
    }"#
    .into()
}

octohooks_plugin::export!(on_message);
octohooks_plugin::export_schema!(schema);

#[cfg(test)]
mod tests {
    use super::*;
    use octohooks_plugin::testing::{Host, message, outside::Outside};

    #[test]
    fn each_step_tells_what_it_came_to() {
        Outside::new().secret("s", "t").now(7).place();
        let script = r#"{"steps": [
            {"use": "set", "key": "a", "value": "1"},
            {"use": "compare-and-set", "key": "a", "expected": 9, "value": "2"},
            {"use": "get", "key": "a"}, {"use": "secret", "name": "s"}, {"use": "now"},
            {"use": "http", "url": "http://a/"}]}"#;
        let Ok(Verdict::Send(sent)) = Host::new().call(on_message, message("a", script)) else {
            panic!("it sends")
        };
        let payload = sent[0].payload.as_deref().expect("bytes");
        let came: Value = serde_json::from_slice(payload).expect("JSON");
        let expected = json!([
            { "ok": 1 },
            { "error": "Conflict(Some(1))" },
            { "ok": { "value": "1", "version": 1 } },
            { "ok": "t" },
            { "ok": 7 },
            { "error": "Refused(\"http://a/ is not granted\")" },
        ]);
        assert_eq!(came, expected);
    }

    #[test]
    fn the_schema_is_one() {
        serde_json::from_str::<Value>(&schema()).expect("JSON");
    }
}
