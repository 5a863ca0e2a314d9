//! Each way a message can be written, and what is said of one that is not right.

use super::*;
use crate::model::{cloud_event::Event, message::Message, sample};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;

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
        "datacontenttype": "application/json; charset=utf-8", "time": "2026-01-01T00:00:00Z", "tenant": 5, "dataschema": null}"#;
    let in_headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "7"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("CE-Subject", "100%25%20%E2%82%AC"),
        ("content-type", "application/vnd.t+json"),
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
            json!({
                "ce-id": "7", "ce-source": "/s", "ce-subject": "100% €", "tracestate": "a=1",
                "ce-datacontenttype": "application/vnd.t+json",
            }),
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
    let long = "x".repeat(KEY_BYTES);
    let long = json!({ "specversion": "1.0", "id": long, "source": "/", "type": "t", "data": 1 });
    let long = long.to_string();
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
        (
            &cloud,
            &event(r#", "type": "t", "data": 1, "data_base64": "MQ==""#),
            "invalid",
            "/data_base64",
        ),
        (&cloud, &event(r#", "type": "t", "data": 1, "x": []"#), "invalid", "/x"),
        (&cloud, &event(r#", "type": "t", "data": 1, "x/Y": "1""#), "invalid", "/x~1Y"),
        (&cloud, &event(r#", "type": "t", "data": 1, "time": "noon""#), "invalid", "/time"),
        (
            &cloud,
            &event(r#", "type": "t", "data": "<a/>", "datacontenttype": "text/xml""#),
            "invalid",
            "/datacontenttype",
        ),
        (&cloud, &long, "invalid", "/id"),
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
        (&[("ce-specversion", "1.0"), ("ce-id", "%FF")], "{}", "invalid", "ce-id"),
        (
            &[
                ("ce-specversion", "1.0"),
                ("ce-id", "1"),
                ("ce-source", "/"),
                ("ce-type", "t"),
                ("content-type", "text/plain"),
            ],
            "1",
            "invalid",
            CONTENT_TYPE,
        ),
    ] {
        let error = read(headers, body).expect_err(body);
        let shown = serde_json::to_value(&error).expect("JSON");
        assert_eq!(shown["code"], code, "{headers:?} {body}: {shown}");
        let place = shown["details"][0]["path"].as_str().unwrap_or_default();
        assert_eq!(place, path, "{headers:?} {body}: {shown}");
    }
}

#[test]
fn when_and_in_which_order_can_be_said_at_every_door() {
    use crate::model::timing::When::{At, In};
    let said = |draft: &Draft| {
        let when = |said: &Option<crate::model::timing::Said>| said.as_ref().map(|said| said.when);
        (when(&draft.timing.deliver), when(&draft.timing.expires), draft.ordering_key.clone())
    };
    let contract = |fields: &str| format!(r#"{{"eventType": "t", "payload": 1{fields}}}"#);
    let event = |fields: &str| {
        format!(
            r#"{{"specversion": "1.0", "id": "7", "source": "/s", "type": "t", "data": 1{fields}}}"#
        )
    };
    let (text, at) = ("2026-10-05T14:30:00Z", At(1_791_210_600_000));
    let own = ("Octohooks-Event-Type", "t");
    let cloud = ("Content-Type", CLOUD_EVENT);
    let partition = r#", "partitionkey": "p""#;
    let of_event = format!(
        r#", "octohooksdelay": 5, "octohooksexpiresat": "{text}", "octohooksorderingkey": "k"{partition}"#
    );
    for (headers, body, expected) in [
        (&[][..], contract(&format!(r#", "deliverAt": "{text}""#)), (Some(at), None, None)),
        (
            &[],
            contract(r#", "deliverAt": 1791210600000, "orderingKey": "k""#),
            (Some(at), None, Some("k")),
        ),
        (&[], contract(r#", "delay": 0, "timeToLive": 7"#), (Some(In(0)), Some(In(7)), None)),
        (
            &[],
            contract(r#", "delay": null, "deliverAt": null, "orderingKey": null"#),
            (None, None, None),
        ),
        (&[own, ("octohooks-deliver-at", text)], "1".into(), (Some(at), None, None)),
        (
            &[own, ("Octohooks-Delay", "5"), ("Octohooks-Time-To-Live", " 7 ")],
            "1".into(),
            (Some(In(5)), Some(In(7)), None),
        ),
        (
            &[own, ("Octohooks-Expires-At", "1791210600000"), ("Octohooks-Ordering-Key", "k")],
            "1".into(),
            (None, Some(at), Some("k")),
        ),
        // What the body says counts.
        (
            &[("Octohooks-Delay", "5"), ("Octohooks-Ordering-Key", "h")],
            contract(r#", "delay": 9"#),
            (Some(In(9)), None, Some("h")),
        ),
        (&[cloud], event(partition), (None, None, Some("p"))),
        (&[cloud, ("Octohooks-Ordering-Key", "h")], event(partition), (None, None, Some("h"))),
        (&[cloud], event(&of_event), (Some(In(5)), Some(at), Some("k"))),
        (
            &[
                ("ce-specversion", "1.0"),
                ("ce-id", "7"),
                ("ce-source", "/s"),
                ("ce-type", "t"),
                ("ce-partitionkey", "p"),
                ("ce-octohooksdelay", "3"),
            ],
            "1".into(),
            (Some(In(3)), None, Some("p")),
        ),
    ] {
        let draft = read(headers, &body).unwrap_or_else(|error| panic!("{headers:?}: {error}"));
        let (deliver, expires, key) = said(&draft);
        assert_eq!((deliver, expires, key.as_deref()), expected, "{headers:?} {body}");
        let named = |name: &str| draft.attributes.keys().any(|known| known.contains(name));
        assert!(!named("octohooks"), "{body}");
    }
    let long = "x".repeat(257);
    let late = (crate::model::timing::AHEAD + 1).to_string();
    for (headers, body, place) in [
        (&[][..], contract(r#", "deliverAt": "soon""#), "/deliverAt"),
        (&[], contract(r#", "deliverAt": true"#), "/deliverAt"),
        (&[], contract(&format!(r#", "deliverAt": "{text}", "delay": 5"#)), "/delay"),
        (&[], contract(&format!(r#", "delay": {late}"#)), "/delay"),
        (&[], contract(r#", "expiresAt": 1791210600, "delay": 5"#), "/expiresAt"),
        (&[], contract(r#", "timeToLive": 0"#), "/timeToLive"),
        (&[], contract(&format!(r#", "expiresAt": "{text}", "timeToLive": 5"#)), "/timeToLive"),
        (&[], contract(r#", "orderingKey": """#), "/orderingKey"),
        (&[], contract(&format!(r#", "orderingKey": "{long}""#)), "/orderingKey"),
        (&[own, ("Octohooks-Delay", "soon")], "1".into(), "Octohooks-Delay"),
        (&[own, ("Octohooks-Time-To-Live", "0")], "1".into(), "Octohooks-Time-To-Live"),
        (
            &[own, ("Octohooks-Deliver-At", text), ("Octohooks-Delay", "5")],
            "1".into(),
            "Octohooks-Delay",
        ),
        (&[own, ("Octohooks-Ordering-Key", &long)], "1".into(), "Octohooks-Ordering-Key"),
        (&[cloud], event(r#", "octohooksdeliverat": "soon""#), "/octohooksdeliverat"),
        (&[cloud], event(&format!(r#", "partitionkey": "{long}""#)), "/partitionkey"),
    ] {
        let error = read(headers, &body).expect_err(place);
        let shown = serde_json::to_value(&error).expect("JSON");
        assert_eq!(shown["details"][0]["path"], place, "{shown}");
    }
}

#[test]
fn data_in_base64_is_the_payload_if_it_is_json() {
    let event = r#"{"specversion": "1.0", "id": "7", "source": "/s", "type": "t", "data_base64": "eyJuIjogMX0="}"#;
    let draft = read(&[("Content-Type", CLOUD_EVENT)], event).expect("is legal");
    assert_eq!(draft.payload, r#"{"n": 1}"#);
}

/// The message that is made of a draft.
fn message(draft: Draft) -> Message {
    let Draft { event_type, payload, attributes, .. } = draft;
    let application = sample::application().id;
    Message { event_type, payload, attributes, ..sample::message(application) }
}

/// What must be the same of two, but for an attribute's kind, which JSON has and a message has not.
fn same(draft: &Draft) -> (&str, &[u8], &Attributes, Option<&str>) {
    (&draft.event_type, &draft.payload, &draft.attributes, draft.idempotency_key.as_deref())
}

proptest! {
    /// What comes as an event and goes out as one, in either mode, is the same event to whoever reads it.
    #[test]
    fn an_event_goes_through_the_gateway_and_stays_what_it_is(
        extensions in prop::collection::btree_map("[a-z][a-z0-9]{0,10}", "[^\\x00-\\x1f\\x7f-\\x9f]{1,30}", 0..6),
        values in prop::array::uniform3("[^\\x00-\\x1f\\x7f-\\x9f]{1,30}"),
        texts: Vec<String>,
        media in prop::option::of(prop::sample::select(vec!["application/json", "application/a+json"])),
    ) {
        let [id, source, subject] = values;
        let mut event: BTreeMap<_, _> = extensions;
        event.extend([
            ("specversion".to_owned(), "1.0".to_owned()),
            ("id".to_owned(), id),
            ("source".to_owned(), source),
            ("type".to_owned(), "sms.status".to_owned()),
            ("subject".to_owned(), subject),
            ("time".to_owned(), "2026-01-01T00:00:00.5+01:00".to_owned()),
        ]);
        event.remove("octohooksuid");
        event.remove("octohookschannels");
        event.remove("datacontenttype");
        event.extend(media.map(|media| ("datacontenttype".to_owned(), media.to_owned())));
        let mut body = json!(event);
        body["data"] = json!(texts);
        let cloud = [("Content-Type", CLOUD_EVENT)];
        let came = read(&cloud, &body.to_string()).expect("is legal");
        let message = message(came.clone());
        let went = Event::new(&message, None, 0, None);
        let again = String::from_utf8(went.structured(&message.payload, true)).expect("text");
        let again = read(&cloud, &again).expect("is legal");
        prop_assert_eq!(same(&again), same(&came));
        let headers: Vec<_> = went.headers().collect();
        let mut headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        headers.push(("content-type", &went.content_type));
        let body = str::from_utf8(&message.payload).expect("text");
        let again = read(&headers, body).expect("is legal");
        prop_assert_eq!(same(&again), same(&came));
    }
}
