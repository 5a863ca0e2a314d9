//! Definitions that are good and bad, and what the good ones do.

use super::*;
use crate::model::{
    id::{ApplicationId, EnvironmentId, MessageId},
    name::{AttributeName, AttributeValue, Channel, EventType, Uid},
};
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

fn message(payload: &str) -> Message {
    Message {
        content_until: None,
        deliver_at: None,
        expires_at: None,
        ordering_key: None,
        environment: EnvironmentId::DEFAULT,
        application: ApplicationId(Uuid::from_u128(1)),
        id: MessageId(Uuid::from_u128(5)),
        uid: Uid::new("order-1").ok(),
        event_type: EventType::new("order.paid").expect("legal"),
        channels: vec![Channel::new("east").expect("legal")],
        payload: payload.to_owned().into(),
        attributes: [(
            AttributeName::new("tier").expect("legal"),
            AttributeValue::new("gold").expect("legal"),
        )]
        .into(),
        accepted: 0,
    }
}

fn made(definition: &Value, payload: &str) -> Result<Verdict, CallFailure> {
    apply(&Definition::new(definition).expect("a definition"), &message(payload))
}

/// The one dispatch: its payload, if it is another, and its headers.
fn sent(definition: &Value, payload: &str) -> (Option<String>, Vec<(String, String)>) {
    let verdict = made(definition, payload).expect("a verdict");
    let Verdict::Send(mut all) = verdict else { panic!("{verdict:?}") };
    let one = all.pop().expect("a dispatch");
    assert!(all.is_empty() && one.target == Target::Subscribed);
    let payload = one.payload.map(|bytes| String::from_utf8(bytes.into()).expect("text"));
    (payload, one.headers)
}

#[test]
fn a_filter_lets_through_what_it_matches() {
    let payload =
        r#"{"status":"delivered","parts":2,"to":{"country":"SE"},"tags":["a","b"],"x":null}"#;
    for (filter, through) in [
        ("@.status == 'delivered'", true),
        ("@.status == 'failed'", false),
        ("@.status == 'delivered' && @.parts > 1", true),
        ("@.parts > 1 && !(@.to.country == 'SE' || @.to.country == 'NO')", false),
        ("@.missing", false),
        ("!@.missing", true),
        ("@.x", true),
        ("@.missing == null", false),
        ("@.x == null", true),
        ("@.tags[?@ == 'b']", true),
        ("@.tags[?@ == 'c']", false),
        ("length(@.status) == 9", true),
        ("count(@.tags[*]) > 1", true),
        ("@..country == 'SE'", false),
        ("@..[?@.country == 'SE']", true),
        ("@['status'] == \"delivered\"", true),
        ("@.status == 'a $ in a text, or two.. ..'", false),
        ("@.status == \"delivered\" || @[\"a,b\"] == ','", true),
    ] {
        let Ok(definition) = Definition::new(&json!({ "filter": filter })) else {
            assert_eq!(filter, "@..country == 'SE'", "only what is one value can be compared");
            continue;
        };
        let expected = match through {
            true => Verdict::Pass,
            false => Verdict::Drop("the filter does not match".into()),
        };
        assert_eq!(apply(&definition, &message(payload)), Ok(expected), "{filter}");
    }
}

#[test]
fn fields_are_renamed_and_removed_and_nothing_else_is_touched() {
    let payload = r#"{ "b": 12345678901234567890123.50, "a": {"msisdn": "+46", "email" : "x"},
        "list":[{"p":1,"q":2}, 7, {"p":3}], "a/b": 1, "dup": 1, "dup": 2 }"#;
    let remove = |list: Value| json!({ "remove": list });
    for (definition, expected) in [
        (
            remove(json!(["/a/email", "/list/0/p", "/list/1"])),
            r#"{"b":12345678901234567890123.50,"a":{"msisdn":"+46"},"list":[{"q":2},{"p":3}],"a/b":1,"dup":1,"dup":2}"#,
        ),
        (
            json!({ "rename": { "/a/msisdn": "phone", "/a": "customer" }, "remove": ["/list", "/dup", "/a~1b"] }),
            r#"{"b":12345678901234567890123.50,"customer":{"phone":"+46","email":"x"}}"#,
        ),
        (
            json!({ "rename": { "/a": "b" }, "remove": ["/list", "/dup", "/a~1b"] }),
            r#"{"b":{"msisdn": "+46", "email" : "x"}}"#,
        ),
        (
            json!({ "rename": { "/b": "a", "/dup": "list" }, "remove": ["/a~1b"] }),
            r#"{"a":12345678901234567890123.50,"list":2}"#,
        ),
    ] {
        assert_eq!(sent(&definition, payload).0.as_deref(), Some(expected), "{definition}");
    }
    for nothing in ["/c", "/a/msisdn/x", "/list/9", "/list/x", "/a/0"] {
        assert_eq!(made(&remove(json!([nothing])), payload), Ok(Verdict::Pass), "{nothing}");
    }
    for other in ["7", "\"text\"", "[]", "null"] {
        assert_eq!(made(&remove(json!(["/a"])), other), Ok(Verdict::Pass), "{other}");
    }
}

#[test]
fn headers_are_filled_from_the_message_or_left_out() {
    let payload = r#"{"a":{"id":7,"on":true,"none":null,"text":"x y","lines":"x\r\ny: z","umlaut":"ä"},"secret":"s"}"#;
    for (template, expected) in [
        ("plain", Some("plain")),
        ("{/a/id}-{/a/on}", Some("7-true")),
        ("<{/a/text}>", Some("<x y>")),
        ("{eventType} {uid} {channel} {attribute.tier}", Some("order.paid order-1 east gold")),
        ("{{{/a/id}}}", Some("{7}")),
        ("{/a/none}", None),
        ("{/a}", None),
        ("x{/missing}", None),
        ("{attribute.other}", None),
        ("{/a/lines}", None),
        ("x{/a/umlaut}", None),
        ("{/secret}", Some("s")),
    ] {
        // What is removed was still there when the headers were made.
        let definition = json!({ "headers": { "x-one": template }, "remove": ["/secret"] });
        let (changed, headers) = sent(&definition, payload);
        assert!(!changed.expect("another payload").contains("secret"));
        let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(headers.first().map(|header| header.1), expected, "{template}");
    }
}

#[test]
fn headers_that_there_is_no_room_for_are_left_out() {
    let payload = json!({ "long": "x".repeat(16 << 10), "half": "x".repeat(9 << 10) }).to_string();
    let template = |place: &str| json!(format!("{{/{place}}}"));
    let (long, half) = (template("long"), template("half"));
    let headers = json!({ "x-a": long, "x-b": half, "x-c": half, "x-d": "d" });
    let (_, headers) = sent(&json!({ "headers": headers }), &payload);
    let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x-b", "x-d"]);
}

#[test]
fn what_is_no_json_is_rejected_where_it_must_be_read() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for payload in ["", "{", "\u{0}", &deep] {
        let failure = made(&json!({ "filter": "@.a" }), payload).expect_err("a failure");
        assert_eq!(failure.kind(), "reject", "{payload}");
    }
    let (payload, headers) = sent(&json!({ "headers": { "x-type": "{eventType}" } }), "no JSON");
    assert_eq!((payload, headers.len()), (None, 1));
}

#[test]
fn a_bad_definition_says_where_and_what() {
    let long = "x".repeat(2000);
    let many: Vec<_> = (0..65).map(|n| format!("/{n}")).collect();
    for (definition, path, text) in [
        (json!([]), "", "an object"),
        (json!({}), "", "at least one"),
        (json!({ "filters": "@.a" }), "/filters", "not known"),
        (json!({ "a/b": 1 }), "/a~1b", "not known"),
        (json!({ "filter": 1 }), "/filter", "a string"),
        (json!({ "filter": "" }), "/filter", "JSONPath"),
        (json!({ "filter": "@.a ==" }), "/filter", "JSONPath"),
        (json!({ "filter": "$.a" }), "/filter", "`@` is the payload"),
        (json!({ "filter": "@..a || @..b" }), "/filter", "at most once"),
        (json!({ "filter": "@.a], $[?@.b" }), "/filter", "bracket"),
        (json!({ "filter": "@.a, ?@.b" }), "/filter", "one expression"),
        (json!({ "filter": "@[0,0]" }), "/filter", "one selector"),
        (json!({ "filter": "@[*,*]" }), "/filter", "one selector"),
        (json!({ "filter": "@['a' , 'a']" }), "/filter", "one selector"),
        (json!({ "filter": "@.a[0:1,0:1]" }), "/filter", "one selector"),
        (json!({ "filter": "@..[?@[?@.a,?@.b]]" }), "/filter", "one selector"),
        (json!({ "filter": "match(@.a, 'x')" }), "/filter", "one expression"),
        (json!({ "filter": "match(@.a)" }), "/filter", "JSONPath"),
        (json!({ "filter": "((((((((@.a))))))))" }), "/filter", "brackets"),
        (json!({ "filter": "@.a == 'x" }), "/filter", "does not end"),
        (json!({ "filter": &long }), "/filter", "at most 512"),
        (json!({ "remove": "/a" }), "/remove", "a list"),
        (json!({ "remove": many }), "/remove", "at most 64"),
        (json!({ "remove": ["/a", "b"] }), "/remove/1", "begins with"),
        (json!({ "remove": [""] }), "/remove/0", "begins with"),
        (json!({ "remove": ["/a~2"] }), "/remove/0", "`~`"),
        (json!({ "remove": ["/a", "/a"] }), "/remove/1", "twice"),
        (json!({ "remove": [1] }), "/remove/0", "a string"),
        (json!({ "rename": ["/a"] }), "/rename", "an object"),
        (json!({ "rename": { "/a": 1 } }), "/rename/~1a", "a string"),
        (json!({ "rename": { "/a": &long } }), "/rename/~1a", "at most 512"),
        (json!({ "headers": [] }), "/headers", "an object"),
        (json!({ "headers": { "X-A": "a" } }), "/headers/X-A", "lower-case"),
        (json!({ "headers": { "webhook-id": "a" } }), "/headers/webhook-id", "gateway's to set"),
        (json!({ "headers": { "x-a": 1 } }), "/headers/x-a", "a string"),
        (json!({ "headers": { "x-a": "{" } }), "/headers/x-a", "without"),
        (json!({ "headers": { "x-a": "}" } }), "/headers/x-a", "without"),
        (json!({ "headers": { "x-a": "{name}" } }), "/headers/x-a", "`{name}`"),
        (json!({ "headers": { "x-a": "a\nb" } }), "/headers/x-a", "ASCII"),
    ] {
        let wrong = Definition::new(&definition).expect_err("refused");
        assert_eq!(wrong.len(), 1, "{definition}: {wrong:?}");
        assert_eq!(wrong[0].0, path, "{definition}");
        assert!(wrong[0].1.contains(text), "{definition}: {wrong:?}");
    }
    let wrong = Definition::new(&json!({ "filter": 1, "remove": ["a", "b"], "x": 1 }));
    assert_eq!(wrong.expect_err("refused").len(), 4, "everything that is wrong is said");
}

/// Time must not be looked at, but steps can be counted: those of the filter are known before it begins.
#[test]
fn a_filter_that_would_take_long_on_a_payload_does_not_begin() {
    let deep = |levels: usize, inner: Value| (0..levels).fold(inner, |inner, _| json!([inner]));
    let compares = |terms: usize| format!("@..[?{}@!=@]", "@!=@||".repeat(terms - 1));
    let looks = |terms: usize| format!("@[?{}!@]", "!@||".repeat(terms - 1));
    let zeros = vec![0; 170_000];
    for (filter, payload, runs) in [
        (compares(80), deep(110, json!(zeros)), false),
        (compares(80), deep(110, json!(zeros[..100])), true),
        (compares(80), json!(zeros[..1000]), true),
        (compares(1), deep(40, json!(zeros)), true),
        (looks(126), json!(zeros), false),
        (looks(126), json!(zeros[..10_000]), true),
        (looks(10), json!(zeros), true),
        (
            "@[0]==@[1] && @[0]==1 && @[2]==1 && @[3]==1 && @[4]==1 && @[5]==1".into(),
            json!(zeros),
            true,
        ),
        ("@[?@==1]".into(), json!(["x".repeat(300_000)]), true),
    ] {
        let expected = match runs {
            true => Ok(Verdict::Drop("the filter does not match".into())),
            false => Err("reject"),
        };
        let made = made(&json!({ "filter": filter }), &payload.to_string());
        let made = made.map_err(|failure| {
            assert!(failure.to_string().contains("steps on this payload"), "{failure}");
            failure.kind()
        });
        assert_eq!(made, expected, "{filter}");
    }
}

#[test]
fn the_costliest_filter_over_the_largest_payload_ends() {
    let wide: Vec<_> = (0..15_000).map(|n| json!({ "a": n, "b": [n, n] })).collect();
    let payload = (0..60).fold(json!(wide), |inner, _| json!({ "in": inner })).to_string();
    let filter = json!({ "filter": "@..[?@.a == @.b && @.b[*]]" });
    let expected = Ok(Verdict::Drop("the filter does not match".into()));
    assert_eq!(made(&filter, &payload), expected);
}

/// It took a step for each two of the names, which would be a quarter of an hour here.
#[test]
fn names_that_are_there_again_and_again_are_renamed_in_one_pass() {
    let count = 500_000;
    let payload = format!("{{{}{}\"c\":2}}", "\"a\":1,".repeat(count), "\"c\":1,".repeat(count));
    let (changed, _) = sent(&json!({ "rename": { "/a": "b" } }), &payload);
    let expected = format!("{{\"b\":1,{}\"c\":2}}", "\"c\":1,".repeat(count));
    assert!(changed.expect("another payload") == expected, "the last of them is left");
}

#[test]
fn what_may_take_a_while_is_known_beforehand() {
    let quick =
        |definition: &Value, bytes| Definition::new(definition).expect("good").is_quick(bytes);
    let plain = json!({ "filter": "@.status == 'x' && @.parts > 1", "remove": ["/a/b"] });
    assert!(quick(&plain, 8 << 10));
    assert!(!quick(&plain, 350_000));
    let costly = json!({ "filter": format!("@..[?{}@]", "@!=@||".repeat(80)) });
    assert!(quick(&costly, 20));
    assert!(!quick(&costly, 1000));
    assert!(!quick(&json!({ "rename": { "/a": "b" } }), 350_000));
}

proptest! {
    #[test]
    fn no_expression_and_no_template_brings_anything_down(text in r"[@$.\[\]()?*'{}&|=!<> ,:0-9a-c\\~/-]{0,60}") {
        let definitions = [
            json!({ "filter": text }),
            json!({ "remove": [text] }),
            json!({ "rename": { &text: "x" } }),
            json!({ "headers": { "x-a": text } }),
        ];
        for definition in &definitions {
            if let Ok(definition) = Definition::new(definition) {
                let _made = apply(&definition, &message(r#"{"a":[1,{"b":"c"}],"":{"":0}}"#));
            }
        }
    }

    #[test]
    fn what_is_not_named_is_handed_on_as_it_was(value in any_json(), name in "[a-c]") {
        let payload = json!({ "keep": value, &name: 1 }).to_string();
        let (changed, _) = sent(&json!({ "remove": [format!("/{name}")] }), &payload);
        let changed: Value = serde_json::from_str(&changed.expect("another")).expect("JSON");
        prop_assert_eq!(changed, json!({ "keep": value }));
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}
