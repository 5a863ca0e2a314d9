//! Pages of other origins, as browsers ask for them.

use super::rig::{Gateway, KEY, client};
use reqwest::Method;

#[tokio::test]
async fn pages_of_every_origin_are_answered_errors_too() {
    let gateway = Gateway::start(&[]).await;
    gateway.application("hooli", &[]).await;
    let origin = "https://page.example";
    for (key, method, path, body, status) in [
        (KEY, Method::GET, "/applications", "", 200),
        ("wrong", Method::GET, "/applications", "", 401),
        (KEY, Method::GET, "/environments", "", 403),
        (KEY, Method::GET, "/applications/none", "", 404),
        (KEY, Method::GET, "/no/such/path", "", 404),
        (KEY, Method::PATCH, "/applications", "", 405),
        (KEY, Method::POST, "/applications", "{", 400),
        (KEY, Method::POST, "/applications", r#"{"uid": "hooli"}"#, 409),
        (KEY, Method::POST, "/applications/hooli/messages", "{}", 422),
        (KEY, Method::GET, "/applications/hooli/messages?limit=x", "", 422),
    ] {
        let request = gateway.request_with(key, method.clone(), path).header("origin", origin);
        let answer = request.body(body).send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{method} {path}");
        let allowed = answer.headers().get("access-control-allow-origin");
        assert_eq!(allowed.expect("a header"), "*", "{method} {path}");
    }
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let url = format!("http://{}/api/v1/applications/hooli/messages", gateway.address());
        let answer = client()
            .request(Method::OPTIONS, url)
            .header("origin", origin)
            .header("access-control-request-method", method)
            .header("access-control-request-headers", "authorization,content-type,idempotency-key")
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200, "without a key");
        let says = |name: &str| {
            let value = answer.headers().get(name).expect(name).to_str().expect("text");
            value.to_ascii_lowercase().split(',').map(|t| t.trim().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(says("access-control-allow-origin"), ["*"]);
        let methods = says("access-control-allow-methods");
        assert!(methods.contains(&method.to_ascii_lowercase()), "{method}: {methods:?}");
        // A wildcard would not stand for `Authorization`.
        let headers = says("access-control-allow-headers");
        for name in ["authorization", "content-type", "idempotency-key"] {
            assert!(headers.contains(&name.to_owned()), "{name}: {headers:?}");
        }
    }
}
