//! Signers and classifiers: what they are given, what they may answer, and that no key leaves the host.

use super::{capabilities::prebuilt, *};
use crate::model::{
    attempt::{Answer, Meaning},
    plugin::Kind,
    secret::Secret,
};
use base64::{Engine, engine::general_purpose::STANDARD};

const BODY: &[u8] = br#"{"a":1}"#;

fn host() -> Host {
    let options = Options { concurrency: 2, per_application: 2, ..Options::default() };
    Host::new(options, None).expect("a host")
}

fn request() -> ToSign {
    let endpoint = tenant(id(1)).endpoints.pop_first().expect("one").1;
    let seed = STANDARD.encode([7; 32]);
    ToSign {
        endpoint,
        webhook_id: "msg_1".into(),
        timestamp: 1_700_000_000,
        content_type: "application/json".into(),
        body: BODY.into(),
        keys: vec![Secret::new("It's a Secret to Everybody"), Secret::new(format!("whsk_{seed}"))],
    }
}

async fn sign(host: &Host, mode: Option<&str>) -> Called<Vec<(String, String)>> {
    let signer = host.load(&prebuilt("signer")).expect("loads");
    assert_eq!(signer.kind, Kind::Sign);
    let settings = mode.map(|mode| ("mode".to_owned(), json!(mode))).into_iter().collect();
    host.sign(&signer, call_of(id(1), "", settings), request()).await
}

#[tokio::test]
async fn a_signer_signs_with_keys_that_it_never_sees() {
    let headers = sign(&host(), None).await.result.expect("signs");
    let value = |name: &str| &headers.iter().find(|(known, _)| known == name).expect(name).1;
    assert_eq!(value("x-signed-for"), "crm");
    assert_eq!(value("x-signed-at"), "msg_1 1700000000");
    // Made with Python's hmac.
    let expected = "sha256=3aea7d9882012d69ea49b8443b94e755179f85ee830bfa901efb5dc673af63a3";
    assert_eq!(value("x-hub-signature-256"), expected);
    let pair = request().keys[1].key_pair().expect("a key");
    assert_eq!(*value("x-ed25519"), hex::encode(pair.sign(BODY)));
}

#[tokio::test]
async fn what_a_signer_may_not_answer_is_a_failure() {
    let host = host();
    let headers = sign(&host, Some("own-name")).await.result;
    assert_eq!(headers, Ok(vec![("x-signature".into(), "its own".into())]));
    for (mode, kind, why) in [
        ("fail", "other", "as told"),
        ("panic", "trap", ""),
        ("spin", "cpu-limit", ""),
        ("reserved", "bad-output", "webhook-id"),
        ("flood", "bad-output", "16 headers"),
        ("bad-handle", "other", "Err(Unknown) Err(WrongKind)"),
    ] {
        let failure = sign(&host, Some(mode)).await.result.expect_err(mode);
        assert_eq!(failure.kind(), kind, "{failure}");
        assert!(failure.to_string().contains(why), "{failure}");
    }
    assert!(sign(&host, None).await.result.is_ok(), "the next call is a good one");
}

#[tokio::test]
async fn a_classifier_says_what_an_answer_means() {
    let host = host();
    let classifier = host.load(&prebuilt("classifier")).expect("loads");
    assert_eq!(classifier.kind, Kind::Classify);
    let endpoint = request().endpoint;
    let classify = async |body: &str, attempt| {
        let headers = "content-type: text/plain\nx-result: good\n".to_owned();
        let answer = Answer { status: 200, retry_after: None, headers, body: body.into() };
        let (endpoint, webhook_id) = (endpoint.clone(), "msg_1".to_owned());
        let answer = ToClassify { endpoint, webhook_id, attempt, answer };
        host.classify(&classifier, call(""), answer).await.result
    };
    for (body, attempt, expected) in [
        ("ok", 1, Meaning::Success),
        ("busy 70", 1, Meaning::RetryAfter(Some(70))),
        ("busy", 1, Meaning::RetryAfter(None)),
        ("second", 1, Meaning::RetryAfter(None)),
        ("second", 2, Meaning::Success),
        ("never", 1, Meaning::Fail),
        ("gone", 1, Meaning::Disable),
        ("header", 1, Meaning::Success),
    ] {
        assert_eq!(classify(body, attempt).await, Ok(expected), "{body}");
    }
    let failure = classify("what", 1).await.expect_err("it does not know");
    assert!(failure.to_string().contains("200 with \"what\" is new"), "{failure}");
    assert_eq!(classify("panic", 1).await.expect_err("traps").kind(), "trap");
}

#[tokio::test]
async fn a_plugin_is_called_for_its_kind_alone() {
    let host = host();
    let signer = host.load(&prebuilt("signer")).expect("loads");
    let called = host.call(&signer, call("{}")).await;
    assert_eq!(called.result, Err(CallFailure::Other("it cannot transform".into())));
    let called = host.sign(&host.load(&scripted()).expect("loads"), call("{}"), request()).await;
    assert_eq!(called.result, Err(CallFailure::Other("it cannot sign".into())));
}

#[test]
fn keys_are_for_signers_alone() {
    let host = host();
    for (import, export, why) in [
        ("octohooks:plugin/keys@0.1.0", "transformer", "log, settings"),
        ("octohooks:plugin/application@0.1.0", "signer", "log, settings, keys"),
        ("octohooks:plugin/keys@0.1.0", "classifier", "it has log, settings of"),
    ] {
        let text = format!(
            r#"(component (import "{import}" (instance)) (instance $i)
                (export "octohooks:plugin/{export}@0.1.0" (instance $i)))"#
        );
        let refused = host.load(&wat::parse_str(text).expect("text")).expect_err(import);
        assert!(matches!(refused, Rejected::Import { .. }), "{refused}");
        let text = refused.to_string();
        assert!(text.contains(import) && text.contains(why), "{text}");
    }
    let both = r#"(component (instance $i) (instance $j)
        (export "octohooks:plugin/signer@0.1.0" (instance $i))
        (export "octohooks:plugin/classifier@0.1.0" (instance $j)))"#;
    let refused = host.load(&wat::parse_str(both).expect("text")).expect_err("is both");
    assert!(matches!(refused, Rejected::NoPlugin { .. }), "{refused}");
}
