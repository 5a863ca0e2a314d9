//! The guard from outside: hostile URLs at the API, and names that mean something else at every attempt. What the client
//! does with every hostile URL and name is in `deliver/client/tests/hostile.rs`.

use super::{
    receiver::{
        names::{NameServer, Zone},
        scripted::{Say, Scripted},
    },
    rig::Gateway,
};
use reqwest::Method;
use serde_json::{Value, json};

const CORPUS: &str = include_str!("../hostile-urls.txt");

#[tokio::test]
async fn a_hostile_url_is_refused_when_it_is_written() {
    let gateway = Gateway::start(&[("OCTOHOOKS_GUARD__ALLOW", "")]).await;
    gateway.application("hooli", &[]).await;
    let (mut refused, mut resolved) = (0, 0);
    for line in CORPUS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.contains(" -> ") {
            continue;
        }
        let url = match line.starts_with('"') {
            true => serde_json::from_str(line).expect("a JSON string"),
            false => Value::from(line),
        };
        let endpoint = json!({ "url": url, "enabled": false });
        let path = "/applications/hooli/endpoints";
        let (status, answer) = gateway.call(Method::POST, path, Some(&endpoint)).await;
        if status == 200 {
            // Only its name tells, and that is resolved at every attempt.
            let host = url.as_str().expect("text").to_ascii_lowercase();
            assert!(host.contains("evil"), "{line}: {answer}");
            let id = answer["id"].as_str().expect("an id");
            gateway.good(Method::DELETE, &format!("{path}/{id}"), None).await;
            resolved += 1;
            continue;
        }
        assert_eq!(
            (status.as_u16(), &answer["code"]),
            (422, &json!("invalid")),
            "{line}: {answer}"
        );
        assert_eq!(answer["details"][0]["path"], "/url", "{line}: {answer}");
        refused += 1;
    }
    assert!(refused >= 150 && resolved >= 30, "{refused} {resolved}");
}

#[tokio::test]
async fn a_name_is_checked_at_every_attempt_and_may_mean_something_better_later() {
    let receiver = Scripted::start([Say::Status(200)]).await;
    let answers = ["10.0.0.1", "169.254.169.254", "127.0.0.1"];
    let answers = answers.map(|text| vec![text.parse().expect("an address")]).to_vec();
    let server = NameServer::start(Zone::from([("moving.test".into(), answers)])).await;
    let address = server.address.to_string();
    let gateway = Gateway::start(&[("OCTOHOOKS_DELIVERY__DNS__SERVERS", &address)]).await;
    let url = format!("http://moving.test:{}/hook", receiver.port());
    gateway.application("hooli", &[&url]).await;
    let message = gateway.message("hooli", json!({})).await;
    let delivery = gateway.settled("hooli", &message).await.remove(0);
    assert_eq!(delivery["status"], "success", "{delivery}");
    let path = format!("/applications/hooli/messages/{message}/deliveries/e0/attempts");
    let attempts = gateway.get(&path).await;
    let classes: Vec<_> = attempts["data"].as_array().expect("a list").iter().collect();
    assert_eq!(classes.len(), 3, "{attempts}");
    for (attempt, address) in classes.iter().zip(["10.0.0.1", "169.254.169.254"]) {
        assert_eq!(attempt["errorClass"], "guard");
        assert!(attempt["error"].as_str().expect("text").starts_with(address), "{attempt}");
    }
    assert_eq!(receiver.heard().len(), 1);
    assert_eq!(receiver.heard()[0].header("host"), format!("moving.test:{}", receiver.port()));
}
