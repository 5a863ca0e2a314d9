//! What becomes of an endpoint's secrets, and what a draft may not say.

use super::*;
use crate::model::sample;

const DAY: Millis = 24 * 3_600_000;

fn key() -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    format!("whsk_{}", STANDARD.encode([7; 32]))
}

fn with(secrets: &[(&str, Option<Millis>)]) -> Endpoint {
    let secret = |(text, expires): &(&str, _)| Secret { text: (*text).into(), expires: *expires };
    Endpoint { secrets: secrets.iter().map(secret).collect(), ..sample::endpoint() }
}

fn texts(endpoint: &Endpoint) -> Vec<(&str, Option<Millis>)> {
    endpoint.secrets.iter().map(|secret| (&*secret.text, secret.expires)).collect()
}

fn draft(json: &str) -> EndpointDraft {
    let mut draft: EndpointDraft = serde_json::from_str(json).expect("a draft");
    draft.url = Some("https://example.com/".into());
    draft
}

fn replace(old: &Endpoint, json: &str, now: Millis) -> Endpoint {
    draft(json).replace(old, now, |_| Ok(())).expect("is legal")
}

#[test]
fn a_rotation_puts_the_new_secret_first_and_ends_the_old_ones() {
    let old = with(&[("a", None), ("b", Some(500)), ("gone", Some(100))]);
    let new = rotate(&old, Secret::new("c"), 1000, 100).expect("is legal");
    assert_eq!(texts(&new), [("c", None), ("a", Some(1100)), ("b", Some(500))]);
    assert_eq!((new.revision, new.updated), (old.revision + 1, 100));
    let signing = |now| new.signing(now).map(|secret| &*secret.text).collect::<Vec<_>>();
    assert_eq!(signing(499), ["c", "a", "b"]);
    assert_eq!(signing(500), ["c", "a"]);
    assert_eq!(signing(1100), ["c"]);
    let at_once = rotate(&old, Secret::new("c"), 0, 100).expect("is legal");
    assert_eq!(texts(&at_once), [("c", None)]);
    let back = rotate(&new, Secret::new("a"), 1000, 200).expect("is legal");
    assert_eq!(texts(&back), [("a", None), ("c", Some(1200)), ("b", Some(500))]);
}

#[test]
fn a_rotation_that_cannot_be_says_why() {
    let mut many = with(&[("a", None)]);
    for number in 1..SECRETS {
        many = rotate(&many, Secret::new(number.to_string()), DAY, 1).expect("there is room");
    }
    let of = |old: &Endpoint, text: &str, grace| {
        let wrong = rotate(old, Secret::new(text), grace, 1).expect_err("is refused");
        wrong.into_iter().map(|(path, _)| path).collect::<Vec<_>>()
    };
    assert_eq!(of(&many, "one more", DAY), ["/secret"]);
    rotate(&many, Secret::new("one more"), 0, 1).expect("a leaked secret can always be ended");
    assert_eq!(of(&with(&[("a", None)]), "b", 31 * DAY), ["/gracePeriod"]);
    assert_eq!(of(&with(&[("a", None)]), "", DAY), ["/secret"]);
    assert_eq!(of(&with(&[("a", None)]), "whsk_no seed", DAY), ["/secret"]);
    let own = Endpoint { signatures: Scheme::Octohooks, ..with(&[("a", None)]) };
    assert_eq!(of(&own, &key(), DAY), ["/secret"]);
}

#[test]
fn secrets_that_are_written_replace_all_and_what_was_read_may_be_written_back() {
    let old = with(&[("new", None), ("old", Some(500)), ("gone", Some(100))]);
    for (json, now, expected) in [
        ("{}", 100, &[("new", None), ("old", Some(500))][..]),
        (r#"{"secrets": null}"#, 100, &[("new", None), ("old", Some(500))]),
        (r#"{"secrets": []}"#, 100, &[("new", None), ("old", Some(500))]),
        (r#"{"secrets": ["new", "old"]}"#, 100, &[("new", None), ("old", Some(500))]),
        (r#"{"secrets": ["new", "old"]}"#, 500, &[("new", None)]),
        (r#"{"secrets": ["old"]}"#, 100, &[("old", None)]),
        (r#"{"secrets": ["other"]}"#, 100, &[("other", None)]),
    ] {
        assert_eq!(texts(&replace(&old, json, now)), expected, "{json} at {now}");
    }
}

#[test]
fn who_does_not_know_of_schemes_changes_none() {
    let old =
        Endpoint { ascii_payload: true, signatures: Scheme::Standard, ..with(&[("a", None)]) };
    let same = replace(&old, "{}", 1);
    assert_eq!((same.signatures, same.ascii_payload), (Scheme::Standard, true));
    let other = replace(&old, r#"{"signatures": "both", "asciiPayload": false}"#, 1);
    assert_eq!((other.signatures, other.ascii_payload), (Scheme::Both, false));
}

#[test]
fn an_endpoint_that_wants_x_signature_alone_needs_a_secret_that_makes_one() {
    let wrong = |json: String| {
        let made = draft(&json).replace(&with(&[("a", None)]), 1, |_| Ok(()));
        let wrong = made.err().unwrap_or_default();
        wrong.into_iter().map(|(path, _)| path).collect::<Vec<_>>()
    };
    let key = key();
    let with = |signatures: &str, secrets: &str| {
        wrong(format!(r#"{{"signatures": "{signatures}", "secrets": [{secrets}]}}"#))
    };
    assert_eq!(with("octohooks", &format!(r#""{key}""#)), ["/signatures"]);
    assert_eq!(with("octohooks", &format!(r#""{key}", "b""#)), [""; 0]);
    assert_eq!(with("both", &format!(r#""{key}""#)), [""; 0]);
    assert_eq!(with("both", r#""a", "whsk_no", """#), ["/secrets/1", "/secrets/2"]);
    assert_eq!(with("both", &[r#""a""#; SECRETS + 1].join(", ")), ["/secrets"]);
}

#[test]
fn a_draft_shows_no_secret_however_wrong_it_is() {
    assert!(!format!("{:?}", draft(r#"{"secrets": ["hidden"]}"#)).contains("hidden"));
    for wrong in [r#"{"secrets": "hidden"}"#, r#"{"secrets": ["hidden", 7]}"#] {
        let error = serde_json::from_str::<EndpointDraft>(wrong).expect_err("is refused");
        let said = error.to_string();
        assert!(!said.contains("hidden") && said.contains("list of texts"), "{said}");
    }
}

#[test]
fn nothing_of_an_http_request_is_said_over_nats_and_no_certificate_shown_without_tls() {
    for (url, field, place) in [
        ("nats://a", r#""method": "PUT""#, Some("/method")),
        ("nats://a", r#""userAgent": "x""#, Some("/userAgent")),
        ("nats://a", r#""timeout": 5000"#, Some("/timeout")),
        ("NATS://a", r#""connectTimeout": 5000"#, Some("/connectTimeout")),
        ("nats://a", r#""credentials": { "type": "bearer", "token": "t" }"#, Some("/credentials")),
        ("nats://a", r#""credentials": { "type": "none" }"#, None),
        ("nats://a", r#""method": "POST", "timeout": 0, "userAgent": """#, None),
        ("http://a/", r#""timeout": 5000, "method": "PUT""#, None),
        ("http://a/", r#""clientCertificate": {}"#, None),
    ] {
        let text = format!(r#"{{ "url": "{url}", {field} }}"#);
        let draft: EndpointDraft = serde_json::from_str(&text).expect("a draft");
        let replaced = draft.replace(&sample::endpoint(), 1, |_| Ok(()));
        let wrong = replaced.err().map(|wrong| wrong[0].0.clone());
        assert_eq!(wrong.as_deref(), place, "{text}");
    }
}
