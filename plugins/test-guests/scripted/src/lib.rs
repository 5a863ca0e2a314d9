//! Does what it is told, good or bad. For the gateway's tests, which need guests that spin, flood,
//! recurse and panic without a component for each.
//!
//! The script is the setting `script` if there is one, else the payload: `{"do": "drop", "reason":
//! "…"}`. Without a `do` the message passes, so that a probe does. The words are in
//! `plugins/test-guests/README.md`; `script` reads them, `hostile` holds those that never answer.

mod hostile;
mod script;

use octohooks_plugin::{
    Dispatch, Failure, Message, Verdict, endpoints, log, setting, settings_json,
};
use script::Action;
use serde_json::json;

#[allow(clippy::needless_pass_by_value, reason = "a plugin is given its message")]
fn on_message(message: Message) -> Result<Verdict, Failure> {
    let action = match setting("script") {
        Some(text) => Action::read(text.as_bytes())?,
        None => Action::read(&message.payload)?,
    };
    act(action, &message)
}

octohooks_plugin::export!(on_message);

fn act(action: Action, message: &Message) -> Result<Verdict, Failure> {
    match action {
        Action::Pass => Ok(Verdict::Pass),
        Action::Drop { reason } => Ok(Verdict::drop(reason)),
        Action::Send { dispatches } => {
            Ok(Verdict::send(dispatches.into_iter().map(Dispatch::from)))
        }
        Action::Reject { reason } => Err(Failure::reject(reason)),
        Action::Retry { reason, after_ms } => Err(Failure::retry(reason, after_ms)),
        Action::Other { reason } => Err(Failure::Other(reason)),
        Action::Log { level, lines } => {
            lines.iter().for_each(|line| log::write(level.into(), line));
            Ok(Verdict::Pass)
        }
        Action::LogFlood { count, bytes } => {
            let line = "x".repeat(bytes);
            (0..count).for_each(|_| log::info!("{line}"));
            Ok(Verdict::Pass)
        }
        Action::EchoSettings => Ok(text_of("application/json", settings_json())),
        Action::EchoEndpoints => echo_endpoints(),
        Action::EchoMessage => echo_message(message),
        Action::BigOutput { bytes } => Ok(text_of("text/plain", "x".repeat(bytes))),
        Action::SendMany { count } => {
            Ok(Verdict::send((0..count).map(|_| Dispatch::to_subscribed())))
        }
        Action::Panic { reason } => hostile::panic(&reason),
        Action::Spin => hostile::spin(),
        Action::FillMemory => hostile::fill_memory(),
        Action::Recurse => Ok(Verdict::drop(hostile::recurse(u64::MAX).to_string())),
    }
}

fn text_of(content_type: &str, text: String) -> Verdict {
    Dispatch::to_subscribed().payload(content_type, text).into()
}

fn echo_endpoints() -> Result<Verdict, Failure> {
    let list: Vec<_> = endpoints()
        .into_iter()
        .map(|one| {
            json!({
                "id": one.id, "uid": one.uid, "name": one.name, "url": one.url,
                "eventTypes": one.event_types, "channels": one.channels,
                "attributes": one.attributes
            })
        })
        .collect();
    Ok(Dispatch::to_subscribed().payload_json(&list)?.into())
}

fn echo_message(message: &Message) -> Result<Verdict, Failure> {
    let echo = json!({
        "id": message.id, "uid": message.uid, "application": message.application,
        "eventType": message.event_type, "channels": message.channels,
        "acceptedAt": message.accepted_at, "contentType": message.content_type,
        "payload": String::from_utf8_lossy(&message.payload), "attributes": message.attributes
    });
    Ok(Dispatch::to_subscribed().payload_json(&echo)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use octohooks_plugin::testing::{Host, message};
    use octohooks_plugin::{Endpoint, Target};
    use serde_json::Value;

    fn run(host: &Host, script: &str) -> Result<Verdict, Failure> {
        host.call(on_message, message("test.scripted", script))
    }

    fn payload_of(verdict: Result<Verdict, Failure>) -> Value {
        let Ok(Verdict::Send(dispatches)) = verdict else { panic!("{verdict:?}") };
        serde_json::from_slice(dispatches[0].payload.as_deref().expect("bytes")).expect("JSON")
    }

    #[test]
    fn answers_are_as_told() {
        let cases = [
            (r#"{"do":"pass"}"#, Ok(Verdict::Pass)),
            (r#"{"any":"thing"}"#, Ok(Verdict::Pass)),
            ("not JSON", Ok(Verdict::Pass)),
            (r#"{"do":"drop","reason":"r"}"#, Ok(Verdict::drop("r"))),
            (r#"{"do":"send","dispatches":[]}"#, Ok(Verdict::Send(vec![]))),
            (r#"{"do":"reject","reason":"r"}"#, Err(Failure::reject("r"))),
            (r#"{"do":"retry","afterMs":5}"#, Err(Failure::retry("as told", 5))),
            (r#"{"do":"other"}"#, Err(Failure::Other("as told".into()))),
        ];
        for (script, expected) in cases {
            assert_eq!(run(&Host::new(), script), expected, "{script}");
        }
        let unknown = run(&Host::new(), r#"{"do":"dance"}"#);
        assert!(matches!(unknown, Err(Failure::Reject(reason)) if reason.contains("dance")));
    }

    #[test]
    fn every_field_of_a_dispatch_can_be_told() {
        let script = r#"{"do":"send","dispatches":[{},
            {"target":{"channels":["c"]},"eventType":"a.b","payload":{"k":1},"orderingKey":"o"},
            {"target":{"endpoints":["e"]},"text":"t","contentType":"text/plain","delayMs":7,
             "headers":[["x-a","1"]],"attributes":[["k","v"]]}]}"#;
        let expected = [
            Dispatch::to_subscribed(),
            Dispatch::to_channels(["c"])
                .event_type("a.b")
                .payload("application/json", r#"{"k":1}"#)
                .ordering_key("o"),
            Dispatch::to_endpoints(["e"])
                .payload("text/plain", "t")
                .delay_ms(7)
                .header("x-a", "1")
                .attribute("k", "v"),
        ];
        let Ok(Verdict::Send(dispatches)) = run(&Host::new(), script) else { panic!() };
        assert_eq!(dispatches[0], expected[0]);
        assert_eq!(dispatches[1], Dispatch { content_type: None, ..expected[1].clone() });
        assert_eq!(dispatches[2], expected[2]);
        assert_eq!(dispatches[2].target, Target::Endpoints(vec!["e".into()]));
    }

    #[test]
    fn the_imports_are_echoed() {
        let host = Host::new()
            .settings(json!({ "k": [1] }))
            .endpoint(Endpoint { name: "crm".into(), ..Endpoint::default() });
        assert_eq!(payload_of(run(&host, r#"{"do":"echo-settings"}"#)), json!({ "k": [1] }));
        assert_eq!(payload_of(run(&host, r#"{"do":"echo-endpoints"}"#))[0]["name"], "crm");
        let echo = payload_of(run(&host, r#"{"do":"echo-message"}"#));
        assert_eq!(echo["eventType"], "test.scripted");
        assert_eq!(run(&host, r#"{"do":"log","level":"warn","lines":["l"]}"#), Ok(Verdict::Pass));
        assert_eq!(Host::lines(), [(log::Level::Warn, "l".to_owned())]);
    }

    #[test]
    fn a_script_in_the_settings_comes_first() {
        let host = Host::new().settings(json!({ "script": { "do": "drop", "reason": "set" } }));
        assert_eq!(run(&host, r#"{"do":"pass"}"#), Ok(Verdict::drop("set")));
    }
}
