//! The request as an endpoint's owner wants it, from the API to the receiver: method, times, who the gateway is. Secrets go
//! in and never out.

use super::{
    receiver::{
        certificates::Authority,
        scripted::{Say, Scripted},
    },
    rig::Gateway,
};
use reqwest::Method;
use serde_json::{Value, json};

const ENDPOINTS: &str = "/applications/hooli/endpoints";

#[tokio::test]
async fn an_endpoint_says_how_its_requests_are_made_and_a_change_of_something_else_leaves_that() {
    let mut gateway = Gateway::start(&[]).await;
    let receiver = Scripted::start([Say::Status(200)]).await;
    gateway.application("hooli", &[]).await;
    let url = receiver.url("/");
    let request = json!({
        "url": url, "uid": "e0", "method": "PUT", "userAgent": "Hooli/7",
        "timeout": 20_000, "connectTimeout": 3000,
        "credentials": { "type": "basic", "username": "u", "password": "hidden-1" },
    });
    let made = gateway.post(ENDPOINTS, request).await;
    assert_eq!(made["credentials"], json!({ "type": "basic", "username": "u" }));
    assert_eq!((&made["timeout"], &made["connectTimeout"]), (&json!(20_000), &json!(3000)));
    let path = format!("{ENDPOINTS}/e0");
    // What is not mentioned stays, and so does what was read and is written back.
    gateway.put(&path, json!({ "url": url })).await;
    let read = gateway.get(&path).await;
    gateway.put(&path, read.clone()).await;
    gateway.restart().await;
    let shown = gateway.get(&path).await;
    for field in ["method", "userAgent", "timeout", "connectTimeout", "credentials"] {
        assert_eq!(shown[field], made[field], "{field}");
    }
    let message = gateway.message("hooli", json!({})).await;
    let delivery = gateway.settled("hooli", &message).await.remove(0);
    assert_eq!(delivery["status"], "success");
    let heard = receiver.heard().remove(0);
    assert_eq!((&*heard.method, heard.header("user-agent")), ("PUT", "Hooli/7"));
    assert_eq!(heard.header("authorization"), "Basic dTpoaWRkZW4tMQ==");
    let attempts = gateway
        .get(&format!("/applications/hooli/messages/{message}/deliveries/e0/attempts"))
        .await;
    assert_eq!(attempts["data"][0]["method"], "PUT");
    let sent = attempts["data"][0]["requestHeaders"].to_string();
    assert!(sent.contains(r#"["authorization","(not shown)"]"#), "{sent}");
    // And it goes again.
    let none = json!({
        "url": url, "method": "POST", "userAgent": "", "timeout": 0, "connectTimeout": 0,
        "credentials": { "type": "none" },
    });
    let shown = gateway.put(&path, none).await;
    assert_eq!((&shown["method"], &shown["credentials"]), (&json!("POST"), &Value::Null));
    assert_eq!((&shown["userAgent"], &shown["timeout"]), (&Value::Null, &Value::Null));
    for text in [made, read, attempts].map(|answer| answer.to_string()) {
        assert!(!text.contains("hidden"), "{text}");
    }
    assert!(!gateway.log().contains("hidden"));
}

#[tokio::test]
async fn a_bad_request_of_an_endpoint_is_refused_with_its_place() {
    let gateway = Gateway::start(&[]).await;
    gateway.application("hooli", &[]).await;
    let url = "https://example.com/";
    let login = |credentials: Value| json!({ "url": url, "credentials": credentials });
    let token = |token_url: &str| {
        login(
            json!({ "type": "oauth2", "tokenUrl": token_url, "clientId": "c", "clientSecret": "hidden" }),
        )
    };
    let (one, other) = (Authority::new().certify("a"), Authority::new().certify("b"));
    let certificate = |certificate: &str, key: &str| json!({ "url": url, "clientCertificate": { "certificate": certificate, "key": key } });
    let both = format!("{}{}", one.certificate, one.key);
    let plain = json!({
        "url": "http://example.com/",
        "clientCertificate": { "certificate": one.certificate, "key": one.key },
    });
    for (body, place) in [
        (json!({ "url": url, "method": "GET" }), "/method"),
        (json!({ "url": url, "timeout": 99 }), "/timeout"),
        (json!({ "url": url, "timeout": 120_001 }), "/timeout"),
        (json!({ "url": url, "timeout": -1 }), "/timeout"),
        (json!({ "url": url, "connectTimeout": 60_001 }), "/connectTimeout"),
        (json!({ "url": url, "userAgent": "a\nb" }), "/userAgent"),
        (json!({ "url": url, "userAgent": "a".repeat(257) }), "/userAgent"),
        (login(json!({})), "/credentials/type"),
        (login(json!({ "type": "digest" })), "/credentials/type"),
        (login(json!({ "type": "basic" })), "/credentials/username"),
        (login(json!({ "type": "basic", "username": "u" })), "/credentials/password"),
        (
            login(json!({ "type": "basic", "username": "a:b", "password": "hidden" })),
            "/credentials/username",
        ),
        (
            login(json!({ "type": "basic", "username": "u", "password": ["hidden"] })),
            "/credentials/password",
        ),
        (login(json!({ "type": "bearer", "token": "hidden\n" })), "/credentials/token"),
        (login(json!({ "type": "bearer", "token": "" })), "/credentials/token"),
        (
            login(json!({ "type": "bearer", "token": "hidden", "username": "u" })),
            "/credentials/username",
        ),
        (
            login(json!({ "type": "api-key", "header": "host", "value": "hidden" })),
            "/credentials/header",
        ),
        (
            login(json!({ "type": "api-key", "header": "a b", "value": "hidden" })),
            "/credentials/header",
        ),
        (token("http://169.254.169.254/"), "/credentials/tokenUrl"),
        (token("nats://hooks"), "/credentials/tokenUrl"),
        (token("nowhere"), "/credentials/tokenUrl"),
        (certificate("", &one.key), "/clientCertificate/certificate"),
        (certificate(&both, &one.key), "/clientCertificate/certificate"),
        (certificate(&one.certificate, "hidden"), "/clientCertificate/key"),
        (certificate(&one.certificate, &other.key), "/clientCertificate/key"),
        (
            json!({ "url": url, "clientCertificate": { "key": "hidden" } }),
            "/clientCertificate/certificate",
        ),
        (plain, "/clientCertificate"),
        (
            json!({
                "url": url,
                "headers": { "Authorization": "x" },
                "credentials": { "type": "bearer", "token": "hidden" },
            }),
            "/headers/Authorization",
        ),
    ] {
        let (status, error) = gateway.call(Method::POST, ENDPOINTS, Some(&body)).await;
        assert_eq!((status.as_u16(), &error["code"]), (422, &json!("invalid")), "{body}: {error}");
        assert_eq!(error["details"][0]["path"], place, "{body}: {error}");
        let error = error.to_string();
        assert!(!error.contains("hidden") && !error.contains("PRIVATE"), "{error}");
    }
    assert_eq!(gateway.get(ENDPOINTS).await["meta"]["count"], 0);
}

#[tokio::test]
async fn a_certificate_does_not_stay_where_the_url_has_no_tls() {
    let gateway = Gateway::start(&[]).await;
    gateway.application("hooli", &[]).await;
    let one = Authority::new().certify("a");
    let certificate = json!({ "certificate": one.certificate, "key": one.key });
    let made =
        json!({ "url": "https://a.example/", "uid": "e0", "clientCertificate": certificate });
    gateway.post(ENDPOINTS, made).await;
    let path = format!("{ENDPOINTS}/e0");
    gateway.put(&path, json!({ "url": "https://b.example/" })).await;
    for body in [
        json!({ "url": "http://a.example/" }),
        json!({ "url": " http://a.example/", "clientCertificate": certificate }),
    ] {
        let (status, error) = gateway.call(Method::PUT, &path, Some(&body)).await;
        let place = (status.as_u16(), &error["details"][0]["path"]);
        assert_eq!(place, (422, &json!("/clientCertificate")), "{error}");
    }
    let removed = json!({ "url": "http://a.example/", "clientCertificate": {} });
    assert_eq!(gateway.put(&path, removed).await["clientCertificate"], Value::Null);
}

#[tokio::test]
async fn who_moves_an_endpoint_must_know_its_secret() {
    let gateway = Gateway::start(&[]).await;
    gateway.application("hooli", &[]).await;
    let credentials = json!({ "type": "bearer", "token": "hidden" });
    let made = json!({ "url": "https://a.example/x", "uid": "e0", "credentials": credentials });
    gateway.post(ENDPOINTS, made).await;
    let path = format!("{ENDPOINTS}/e0");
    gateway.put(&path, json!({ "url": "https://a.example/y" })).await;
    let without = json!({ "type": "bearer" });
    for (body, place) in [
        (json!({ "url": "https://b.example/" }), "/credentials"),
        (json!({ "url": "https://b.example/", "credentials": without }), "/credentials/token"),
        (json!({ "url": "http://a.example/" }), "/credentials"),
        (json!({ "url": "https://a.example:444/" }), "/credentials"),
    ] {
        let (status, error) = gateway.call(Method::PUT, &path, Some(&body)).await;
        assert_eq!(
            (status.as_u16(), &error["details"][0]["path"]),
            (422, &json!(place)),
            "{error}"
        );
    }
    gateway.put(&path, json!({ "url": "https://b.example/", "credentials": credentials })).await;
    let none = json!({ "type": "none" });
    let shown =
        gateway.put(&path, json!({ "url": "https://c.example/", "credentials": none })).await;
    assert_eq!(shown["credentials"], Value::Null);
}

#[tokio::test]
async fn without_a_token_the_attempts_say_so_and_with_one_they_go_through() {
    let gateway = Gateway::start(&[]).await;
    let receiver = Scripted::start([Say::Status(200)]).await;
    let token = br#"{"access_token": "t", "expires_in": 60}"#.to_vec();
    let server = Scripted::start([Say::Status(503)]).await;
    server.script("/good", [Say::Answer(200, vec![], token)]);
    gateway.application("hooli", &[]).await;
    let endpoint = |token_url: &str| {
        json!({
            "url": receiver.url("/"),
            "uid": "e0",
            "credentials": {
                "type": "oauth2", "tokenUrl": server.url(token_url),
                "clientId": "c", "clientSecret": "hidden", "scope": "hooks", "authentication": "body",
            },
        })
    };
    gateway.post(ENDPOINTS, endpoint("/bad")).await;
    let message = gateway.message("hooli", json!({})).await;
    assert_eq!(gateway.settled("hooli", &message).await[0]["status"], "failed");
    let path = format!("/applications/hooli/messages/{message}/deliveries/e0/attempts");
    let attempt = gateway.get(&path).await["data"][0].clone();
    assert_eq!(attempt["errorClass"], "token");
    assert_eq!(attempt["error"], "the token endpoint answered 503: no error code");
    assert!(receiver.heard().is_empty());
    let shown = gateway.put(&format!("{ENDPOINTS}/e0"), endpoint("/good")).await;
    let expected = json!({
        "type": "oauth2", "tokenUrl": server.url("/good"), "clientId": "c", "scope": "hooks",
        "authentication": "body",
    });
    assert_eq!(shown["credentials"], expected);
    let message = gateway.message("hooli", json!({})).await;
    assert_eq!(gateway.settled("hooli", &message).await[0]["status"], "success");
    assert_eq!(receiver.heard()[0].header("authorization"), "Bearer t");
    let asked = server.heard().pop().expect("one");
    let asked = String::from_utf8(asked.body).expect("text");
    let expected = "grant_type=client_credentials&scope=hooks&client_id=c&client_secret=hidden";
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn a_receiver_that_wants_a_certificate_is_shown_the_endpoints() {
    let (ours, clients) = (Authority::new(), Authority::new());
    let tls = ours.server("127.0.0.1", &["http/1.1"], Some(&clients));
    let receiver = Scripted::start_tls([Say::Status(200)], tls).await;
    let directory = super::rig::directory();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, &ours.pem).expect("writes");
    let ca = file.display().to_string();
    let mut gateway = Gateway::start(&[("OCTOHOOKS_DELIVERY__TLS__CA", &ca)]).await;
    gateway.application("hooli", &[]).await;
    let own = clients.certify("octohooks");
    let shown = json!({ "certificate": own.certificate });
    let certificate = json!({ "certificate": own.certificate, "key": own.key });
    let url = receiver.url("/");
    let made = json!({ "url": url, "uid": "e0", "clientCertificate": certificate });
    let made = gateway.post(ENDPOINTS, made).await;
    assert_eq!(made["clientCertificate"], shown);
    gateway.restart().await;
    let path = format!("{ENDPOINTS}/e0");
    gateway.put(&path, json!({ "url": url, "clientCertificate": shown })).await;
    let message = gateway.message("hooli", json!({})).await;
    assert_eq!(gateway.settled("hooli", &message).await[0]["status"], "success");
    gateway.put(&path, json!({ "url": url, "clientCertificate": {} })).await;
    let message = gateway.message("hooli", json!({})).await;
    assert_eq!(gateway.settled("hooli", &message).await[0]["status"], "failed");
    let path = format!("/applications/hooli/messages/{message}/deliveries/e0/attempts");
    // The refusal comes behind the handshake, and may be lost in the connection's end.
    let class = gateway.get(&path).await["data"][0]["errorClass"].clone();
    assert!(class == "tls" || class == "reset", "{class}");
}
