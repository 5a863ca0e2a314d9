//! Each way a message can be written, and what is said of one that is not right.

use super::*;

fn read(headers: &[(&str, &str)], body: &str) -> Result<Draft, ApiError> {
    let header = |name: &str| {
        let found = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| (*value).to_owned())
    };
    Written::by(&header)?.read(&Bytes::copy_from_slice(body.as_bytes()), &header)
}

fn shown(draft: &Draft) -> (&str, Vec<&str>, Option<&str>, &[u8], Option<&str>) {
    (
        &draft.event_type,
        draft.channels.iter().map(|name| &**name).collect(),
        draft.uid.as_deref(),
        &draft.payload,
        draft.idempotency_key.as_deref(),
    )
}

#[test]
fn the_same_message_can_be_written_in_four_ways() {
    let contract =
        r#"{"eventType": "sms.status", "uid": "u", "channels": ["a", "b"], "payload": {"n": 1 }}"#;
    let event = r#"{"specversion": "1.0", "id": "7", "source": "/sms", "type": "sms.status",
        "octohooksuid": "u", "octohookschannels": "a,b", "time": "2026-01-01T00:00:00Z", "data": {"n": 1 }}"#;
    let in_headers = [
        ("CE-SpecVersion", "1.0"),
        ("ce-id", "7"),
        ("ce-source", "/sms"),
        ("ce-type", "sms.status"),
        ("ce-octohooksuid", "u"),
        ("ce-octohookschannels", "a, b"),
    ];
    let own = [
        ("octohooks-event-type", "sms.status"),
        ("Octohooks-Uid", "u"),
        ("Octohooks-Channels", "a,b"),
        ("Nats-Msg-Id", "key"),
    ];
    let body = r#"{"n": 1 }"#;
    for (headers, body, key) in [
        (&[][..], contract, None),
        (&[("content-type", "application/json; charset=utf-8")], contract, None),
        (&own, body, Some("key")),
        (&[("Content-Type", CLOUD_EVENT)], event, Some("/sms 7")),
        (&[("Content-Type", CLOUD_EVENT), ("Nats-Msg-Id", "k")], event, Some("k")),
        (&in_headers, body, Some("/sms 7")),
    ] {
        let draft = read(headers, body).unwrap_or_else(|error| panic!("{headers:?}: {error}"));
        let expected = ("sms.status", vec!["a", "b"], Some("u"), br#"{"n": 1 }"#.as_slice(), key);
        assert_eq!(shown(&draft), expected, "{headers:?}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let event =
        |rest: &str| format!(r#"{{"specversion": "1.0", "id": "7", "source": "/s"{rest}}}"#);
    let cloud = [("Content-Type", CLOUD_EVENT)];
    let own = |value| [("Octohooks-Event-Type", value)];
    for (headers, body, code, path) in [
        (&[][..], "{}", "invalid", "/eventType"),
        (&[], "not JSON", "malformed", ""),
        (&[("Content-Type", "text/plain")], "{}", "invalid", CONTENT_TYPE),
        (
            &[("Content-Type", CLOUD_EVENT), ("Octohooks-Event-Type", "t")],
            "{}",
            "invalid",
            CONTENT_TYPE,
        ),
        (&own(""), "{}", "invalid", EVENT_TYPE),
        (&own("a b"), "{}", "invalid", EVENT_TYPE),
        (&own("t"), "not JSON", "malformed", ""),
        (&own("t"), "{} {}", "malformed", ""),
        (&own("t"), "", "malformed", ""),
        (
            &[("Octohooks-Event-Type", "t"), ("Octohooks-Uid", "a\u{0}")],
            "{}",
            "invalid",
            MESSAGE_UID,
        ),
        (
            &[("Octohooks-Event-Type", "t"), ("Octohooks-Channels", "\u{1}")],
            "{}",
            "invalid",
            CHANNEL_NAMES,
        ),
        (&cloud, r#"{"data": 1}"#, "invalid", "/specversion"),
        (&cloud, &event(r#", "data": 1"#), "invalid", "/type"),
        (&cloud, &event(r#", "type": "t""#), "invalid", "/data"),
        (&cloud, &event(r#", "type": "t", "data_base64": "AA==""#), "invalid", "/data_base64"),
        (&[("ce-specversion", "0.3")], "{}", "invalid", "ce-specversion"),
        (&[("ce-specversion", "1.0"), ("ce-id", "1")], "{}", "invalid", "ce-source"),
    ] {
        let error = read(headers, body).expect_err(body);
        let shown = serde_json::to_value(&error).expect("JSON");
        assert_eq!(shown["code"], code, "{headers:?} {body}: {shown}");
        let place = shown["details"][0]["path"].as_str().unwrap_or_default();
        assert_eq!(place, path, "{headers:?} {body}: {shown}");
    }
}
