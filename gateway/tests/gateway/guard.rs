//! The guard from outside: hostile URLs and names at the API, and names that mean something else at every attempt. What the client
//! does with every hostile URL and name is in `deliver/client/tests/hostile.rs`.

use super::{
    receiver::{
        names::{NameServer, Zone},
        scripted::{Say, Scripted},
    },
    rig::{Gateway, LONG},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::UdpSocket;

const CORPUS: &str = include_str!("../hostile-urls.txt");

const ENDPOINTS: &str = "/applications/hooli/endpoints";

/// What the name server says by the corpus.
fn zone() -> Zone {
    let addresses = |text: &str| {
        text.split_whitespace().map(|one| one.parse().expect("an address")).collect::<Vec<_>>()
    };
    let said = |(name, said): (&str, &str)| {
        (name.to_owned(), said.split('|').map(addresses).collect::<Vec<_>>())
    };
    lines().filter_map(|line| line.split_once(" -> ").map(said)).collect()
}

fn lines() -> impl Iterator<Item = &'static str> {
    CORPUS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[tokio::test]
async fn a_hostile_url_is_refused_when_it_is_written_whatever_its_name_means() {
    let server = NameServer::start(zone()).await;
    let address = server.address.to_string();
    let environment =
        [("OCTOHOOKS_GUARD__ALLOW", ""), ("OCTOHOOKS_DELIVERY__DNS__SERVERS", &address)];
    let gateway = Gateway::start(&environment).await;
    gateway.application("hooli", &[]).await;
    let mut refused = 0;
    for line in lines().filter(|line| !line.contains(" -> ")) {
        let url = match line.starts_with('"') {
            true => serde_json::from_str(line).expect("a JSON string"),
            false => Value::from(line),
        };
        let endpoint = json!({ "url": url, "enabled": false });
        let (status, answer) = gateway.call(Method::POST, ENDPOINTS, Some(&endpoint)).await;
        let said = (status.as_u16(), &answer["code"], &answer["details"][0]["path"]);
        assert_eq!(said, (422, &json!("invalid"), &json!("/url")), "{line}: {answer}");
        refused += 1;
    }
    let resolved = server.asked().len();
    assert!(refused >= 180 && resolved >= 30, "{refused} {resolved}");
}

#[tokio::test]
async fn a_name_is_looked_up_when_it_is_written_and_refused_for_what_it_means_only() {
    let server = NameServer::start(Zone::from([
        ("here.test".into(), vec![vec!["127.0.0.1".parse().expect("an address")]]),
        ("inside.test".into(), vec![vec!["10.0.0.1".parse().expect("an address")]]),
    ]))
    .await;
    let address = server.address.to_string();
    let gateway = Gateway::start(&[("OCTOHOOKS_DELIVERY__DNS__SERVERS", &address)]).await;
    gateway.application("hooli", &[]).await;
    let token = |url: &str| {
        let (kind, secret) = ("oauth2", "s3cret");
        json!({ "type": kind, "tokenUrl": url, "clientId": "me", "clientSecret": secret })
    };
    let inside = "10.0.0.1 is not a public address";
    for (body, wrong) in [
        (json!({ "url": "http://inside.test/" }), &["/url"][..]),
        (json!({ "url": "http://inside.test./", "enabled": false }), &["/url"]),
        (
            json!({ "url": "http://here.test/", "credentials": token("http://inside.test/") }),
            &["/credentials/tokenUrl"],
        ),
        (
            json!({ "url": "http://inside.test/", "credentials": token("http://inside.test/") }),
            &["/url", "/credentials/tokenUrl"],
        ),
        (json!({ "url": "http://here.test/", "uid": "here" }), &[]),
        // It may mean something by its first message.
        (json!({ "url": "http://unknown.test/", "uid": "unknown" }), &[]),
    ] {
        let (status, answer) = gateway.call(Method::POST, ENDPOINTS, Some(&body)).await;
        let details = answer["details"].as_array().into_iter().flatten();
        for detail in details.clone() {
            let message = detail["message"].as_str().expect("text");
            assert!(message.starts_with(inside), "{body}: {answer}");
        }
        let paths: Vec<_> = details.map(|detail| detail["path"].as_str().expect("text")).collect();
        assert_eq!(paths, wrong, "{body}: {answer}");
        assert_eq!(status, if wrong.is_empty() { 200 } else { 422 }, "{body}: {answer}");
    }
    // A change is checked as well.
    let path = format!("{ENDPOINTS}/here");
    let moved = json!({ "url": "http://inside.test/" });
    let (status, answer) = gateway.call(Method::PUT, &path, Some(&moved)).await;
    assert_eq!((status.as_u16(), &answer["details"][0]["path"]), (422, &json!("/url")));
    // What stays is not.
    let asked = server.asked().len();
    let disabled = json!({ "url": "http://here.test/", "enabled": false });
    gateway.good(Method::PUT, &path, Some(&disabled)).await;
    assert_eq!(server.asked().len(), asked);
}

#[tokio::test]
async fn a_name_server_that_does_not_answer_keeps_nobody_from_writing_a_url() {
    // It takes what it is asked, and says nothing.
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let gateway = Gateway::start(&[("OCTOHOOKS_DELIVERY__DNS__SERVERS", &address)]).await;
    gateway.application("hooli", &[]).await;
    let endpoint = json!({ "url": "http://slow.test/" });
    let made = tokio::time::timeout(LONG, gateway.good(Method::POST, ENDPOINTS, Some(&endpoint)));
    let made = made.await.expect("does not hang");
    assert_eq!(made["url"], "http://slow.test/");
    let mut query = [0; 512];
    silent.try_recv(&mut query).expect("was asked");
}

#[tokio::test]
async fn a_name_is_checked_at_every_attempt_and_may_mean_something_better_later() {
    let receiver = Scripted::start([Say::Status(200)]).await;
    // The first is what it means when it is written.
    let answers = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "127.0.0.1"];
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
