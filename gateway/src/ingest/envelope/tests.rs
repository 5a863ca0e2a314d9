//! Each way a message can be written, and what is said of one that is not right.

use super::*;
use serde_json::json;

fn read(headers: &[(&str, &str)], body: &str) -> Result<Draft, ApiError> {
    let pairs = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let headers = Headers(pairs.collect());
    Written::by(&headers)?.read(&Bytes::copy_from_slice(body.as_bytes()), &headers)
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
fn what_is_attached_becomes_attributes() {
    let attributes = |headers: &[(&str, &str)], body: &str| {
        let draft = read(headers, body).unwrap_or_else(|error| panic!("{headers:?}: {error}"));
        serde_json::to_value(draft.attributes).expect("JSON")
    };
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let body = r#"{"eventType": "t", "payload": 1, "attributes": {"tier": "gold", "a.b": ""}}"#;
    let own = [
        ("Octohooks-Event-Type", "t"),
        ("Octohooks-Attribute-Tier", "gold"),
        ("Traceparent", parent),
    ];
    let event = r#"{"specversion": "1.0", "id": "7", "source": "/s", "type": "t", "data": 1,
        "datacontenttype": "application/json", "time": "2026-01-01T00:00:00Z", "tenant": 5, "dataschema": null}"#;
    let in_headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "7"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("CE-Subject", "x"),
        ("tracestate", "a=1"),
    ];
    for (headers, body, expected) in [
        (&[][..], body, json!({ "tier": "gold", "a.b": "" })),
        (
            &[("Octohooks-Attribute-TIER", "iron"), ("Octohooks-Attribute-x", "y")],
            body,
            json!({ "tier": "gold", "a.b": "", "x": "y" }),
        ),
        (&own, "1", json!({ "tier": "gold", "traceparent": parent })),
        (
            &[("Content-Type", CLOUD_EVENT)],
            event,
            json!({ "ce-id": "7", "ce-source": "/s", "ce-time": "2026-01-01T00:00:00Z", "ce-tenant": "5" }),
        ),
        (
            &in_headers,
            "1",
            json!({ "ce-id": "7", "ce-source": "/s", "ce-subject": "x", "tracestate": "a=1" }),
        ),
    ] {
        assert_eq!(attributes(headers, body), expected, "{headers:?}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let many: serde_json::Map<_, _> = (0..65).map(|n| (format!("a{n}"), json!(""))).collect();
    let many = json!({ "eventType": "t", "payload": 1, "attributes": many }).to_string();
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
        (&cloud, &event(r#", "type": "t", "data": 1, "x": []"#), "invalid", "/x"),
        (&[], &many, "invalid", "/attributes"),
        (
            &[],
            r#"{"eventType": "t", "payload": 1, "attributes": {"a b": "x"}}"#,
            "invalid",
            "/attributes/a b",
        ),
        (
            &[("Octohooks-Event-Type", "t"), ("Octohooks-Attribute-a", "\u{7}")],
            "1",
            "invalid",
            "Octohooks-Attribute-a",
        ),
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
