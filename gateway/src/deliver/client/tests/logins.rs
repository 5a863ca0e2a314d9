//! Who the gateway is at an endpoint: credentials, tokens, certificates, and the request as its owner wants it.

use super::{
    certificates::Authority,
    connections::loopback,
    scripted::{Heard, Say, Scripted},
    secure::trusting,
    world::{client, failed, send},
};
use crate::{
    deliver::{
        Options,
        client::{Client, dial::Tcp},
    },
    model::{
        attempt::{Failure, Outcome},
        credentials::{ClientAuthentication, ClientCertificate, Credentials, Kind, OAuth2},
        endpoint::{Endpoint, Method},
        sample,
        secret::Secret,
    },
};
use futures_util::future::join_all;
use serde_json::json;
use std::sync::Arc;

fn here() -> Client {
    client(loopback(), Options::default(), Arc::new(Tcp))
}

/// An endpoint there that logs in.
fn endpoint(url: &str, kind: Kind, secret: &str) -> Endpoint {
    let credentials = Credentials { kind, secret: Secret::new(secret) };
    Endpoint {
        url: url.parse().expect("a URL"),
        credentials: Some(Arc::new(credentials)),
        ..sample::endpoint()
    }
}

fn oauth2(token_url: &str) -> Kind {
    Kind::OAuth2(OAuth2 {
        token_url: token_url.parse().expect("a URL"),
        client_id: "octohooks".into(),
        scope: None,
        audience: None,
        authentication: ClientAuthentication::Basic,
    })
}

/// An answer with a token that is good for so many seconds.
fn token(name: &str, seconds: u32) -> Say {
    let body = json!({ "access_token": name, "token_type": "Bearer", "expires_in": seconds });
    Say::Answer(200, vec![], body.to_string().into_bytes())
}

fn tokens_of(heard: &[Heard]) -> Vec<&str> {
    heard.iter().map(|heard| heard.header("authorization")).collect()
}

#[tokio::test]
async fn what_an_endpoint_logs_in_with_is_not_recorded_where_its_receiver_says_it() {
    let basic = Kind::Basic { username: "u".into() };
    let key = Kind::ApiKey { header: "x-key".into() };
    for (kind, secret, said) in [
        (Kind::Bearer, "abc", "Bearer abc"),
        (basic, "n", "Basic dTpu"),
        (Kind::Bearer, "shown", "shown"),
        (key, "dTpu abc", "dTpu abc"),
    ] {
        let body = format!("{said}, {said}!").into_bytes();
        let answer = Say::Answer(400, vec![("x-echo", said.to_owned())], body);
        let receiver = Scripted::start([answer]).await;
        let outcome = send(&here(), &endpoint(&receiver.url("/"), kind, secret)).await;
        let Outcome::Answered(answer) = outcome else { panic!("{outcome:?}") };
        let hidden = |text: &str| text.replace("(not shown)", "");
        for text in [answer.headers, String::from_utf8(answer.body).expect("text")] {
            assert!(text.contains("(not shown)"), "{text}");
            let text = hidden(&text);
            assert!(
                !text.contains("abc") && !text.contains("dTpu") && !text.contains("shown"),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_request_logs_in_as_its_endpoint_says() {
    for (kind, secret, name, value) in [
        (Kind::Basic { username: "u".into() }, "pä:ss", "authorization", "Basic dTpww6Q6c3M="),
        (Kind::Bearer, "abc", "authorization", "Bearer abc"),
        (Kind::ApiKey { header: "x-api-key".into() }, "k 1", "x-api-key", "k 1"),
        (Kind::ApiKey { header: "authorization".into() }, "Token t", "authorization", "Token t"),
    ] {
        let receiver = Scripted::start([Say::Status(200)]).await;
        let outcome = send(&here(), &endpoint(&receiver.url("/"), kind, secret)).await;
        assert_eq!(outcome.status(), Some(200), "{outcome:?}");
        assert_eq!(receiver.heard()[0].header(name), value);
    }
}

#[tokio::test]
async fn a_request_is_made_as_its_endpoint_says() {
    let receiver = Scripted::start([Say::Status(200), Say::HangBeforeHeaders]).await;
    let endpoint = Endpoint {
        url: receiver.url("/x?y=z").parse().expect("a URL"),
        method: Method::Put,
        user_agent: Some("Hooli/7".into()),
        headers: vec![("user-agent".into(), "another".into()), ("x-a".into(), "b".into())],
        timeout: Some(150),
        ..sample::endpoint()
    };
    let client = here();
    assert_eq!(send(&client, &endpoint).await.status(), Some(200));
    let heard = &receiver.heard()[0];
    assert_eq!((&*heard.method, &*heard.path), ("PUT", "/x?y=z"));
    assert_eq!((heard.header("user-agent"), heard.header("x-a")), ("Hooli/7", "b"));
    let outcome = send(&client, &endpoint).await;
    let said = (Failure::Timeout, "no complete answer within 150 ms");
    assert_eq!(failed(&outcome), said);
}

#[tokio::test]
async fn a_token_is_fetched_once_kept_and_dropped_when_it_is_refused() {
    let server = Scripted::start([token("one", 3600), token("two", 3600)]).await;
    let ok = vec![Say::Status(200); 20];
    let receiver = Scripted::start([ok, vec![Say::Status(401), Say::Status(200)]].concat()).await;
    let endpoint = endpoint(&receiver.url("/"), oauth2(&server.url("/token")), "s3cret");
    let client = here();
    let outcomes = join_all((0..20).map(|_| send(&client, &endpoint))).await;
    assert!(outcomes.iter().all(|outcome| outcome.status() == Some(200)), "{outcomes:?}");
    let asked = server.heard();
    assert_eq!(asked.len(), 1, "one request for all that wait");
    assert_eq!(asked[0].header("authorization"), "Basic b2N0b2hvb2tzOnMzY3JldA==");
    assert_eq!(asked[0].body, b"grant_type=client_credentials");
    assert_eq!(tokens_of(&receiver.heard()), ["Bearer one"; 20]);
    // Refused, it is dropped, and the attempt is what it is.
    assert_eq!(send(&client, &endpoint).await.status(), Some(401));
    assert_eq!(server.heard().len(), 1);
    assert_eq!(send(&client, &endpoint).await.status(), Some(200));
    assert_eq!(server.heard().len(), 2);
    assert_eq!(receiver.heard()[21].header("authorization"), "Bearer two");
    // A changed endpoint has nothing to do with what the former one was given.
    let changed = Endpoint { revision: 2, ..endpoint };
    send(&client, &changed).await;
    assert_eq!(server.heard().len(), 3);
}

#[tokio::test]
async fn a_token_that_expires_is_replaced() {
    let server = Scripted::start([token("short", 0), token("next", 0)]).await;
    let receiver = Scripted::start([Say::Status(200)]).await;
    let endpoint = endpoint(&receiver.url("/"), oauth2(&server.url("/")), "s");
    let client = here();
    for _ in 0..3 {
        assert_eq!(send(&client, &endpoint).await.status(), Some(200));
    }
    assert_eq!(tokens_of(&receiver.heard()), ["Bearer short", "Bearer next", "Bearer next"]);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_class_says_so() {
    let refusing = Say::Answer(400, vec![], br#"{"error": "invalid_client"}"#.to_vec());
    for (say, says) in [
        (refusing, "the token endpoint answered 400: invalid_client"),
        (Say::Status(500), "the token endpoint answered 500: no error code"),
        (Say::Status(200), "the token endpoint's answer has no access_token"),
        (
            Say::Redirect("http://elsewhere/".into()),
            "the token endpoint answered 302: no error code",
        ),
        (Say::Huge(1 << 20), "the token endpoint: length limit exceeded"),
    ] {
        let server = Scripted::start([say]).await;
        let receiver = Scripted::start([Say::Status(200)]).await;
        let endpoint = endpoint(&receiver.url("/"), oauth2(&server.url("/")), "hidden");
        let client = here();
        let outcomes = join_all((0..10).map(|_| send(&client, &endpoint))).await;
        for outcome in outcomes {
            assert_eq!(failed(&outcome), (Failure::Token, says));
        }
        assert_eq!(server.heard().len(), 1, "what failed is not asked again by all of them");
        assert!(receiver.heard().is_empty());
    }
    // The guard stands before the token endpoint as before everything else.
    let receiver = Scripted::start([Say::Status(200)]).await;
    let endpoint = endpoint(&receiver.url("/"), oauth2("http://169.254.169.254/"), "hidden");
    let outcome = send(&here(), &endpoint).await;
    let (class, detail) = failed(&outcome);
    assert_eq!(class, Failure::Token);
    assert!(detail.starts_with("the token endpoint: guard: 169.254.169.254"), "{detail}");
    assert!(receiver.heard().is_empty());
}

#[tokio::test]
async fn a_certificate_is_shown_to_whoever_asks_for_it_and_its_connections_are_nobody_elses() {
    let (ours, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let tls = ours.server("127.0.0.1", &["http/1.1"], Some(&clients));
    let receiver = Scripted::start_tls([Say::Status(200)], tls).await;
    let (options, _file) = trusting(&ours);
    let client = client(loopback(), options, Arc::new(Tcp));
    let with = |authority: &Authority| {
        let certified = authority.certify("octohooks");
        let (certificate, key) = (certified.certificate, Secret::new(certified.key));
        Endpoint {
            client_certificate: Some(Arc::new(ClientCertificate { certificate, key })),
            url: receiver.url("/").parse().expect("a URL"),
            ..sample::endpoint()
        }
    };
    let (good, same, bad) = (with(&clients), with(&clients), with(&others));
    let none = Endpoint { client_certificate: None, ..good.clone() };
    for _ in 0..2 {
        assert_eq!(send(&client, &good).await.status(), Some(200));
        assert_eq!(send(&client, &same).await.status(), Some(200));
        for endpoint in [&bad, &none] {
            let outcome = send(&client, endpoint).await;
            // The refusal comes behind the handshake, and may be lost in the connection's end.
            let class = failed(&outcome).0;
            assert!(matches!(class, Failure::Tls | Failure::Reset), "{outcome:?}");
        }
    }
    let connections: Vec<_> = receiver.heard().iter().map(|heard| heard.connection).collect();
    let [a, b, c, d] = connections[..] else { panic!("{connections:?}") };
    assert_eq!((a, b), (c, d), "one is made for each endpoint, and kept");
    assert_ne!(a, b);
}
