//! No hostile URL is let through, however it is written and whatever a name server says of it.

use super::{
    names::{NameServer, Zone},
    world::{Recorder, asking, client, failed, sent},
};
use crate::{
    deliver::{client::connect::EARLY_AT_ONCE, guard::Guard},
    model::attempt::Failure,
    plugin::{Request, Unsent},
};
use bytes::Bytes;
use http::{HeaderMap, Method};
use std::{sync::Arc, time::Duration};
use url::Url;

const CORPUS: &str = include_str!("../../../../tests/hostile-urls.txt");

/// The URLs of the corpus, and what the name server says.
fn corpus() -> (Vec<String>, Zone) {
    let (mut urls, mut zone) = (Vec::new(), Zone::new());
    for line in CORPUS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some((name, said)) = line.split_once(" -> ") {
            let addresses = |text: &str| {
                text.split_whitespace().map(|a| a.parse().expect("an address")).collect()
            };
            zone.insert(name.to_owned(), said.split('|').map(addresses).collect());
        } else if line.starts_with('"') {
            urls.push(serde_json::from_str(line).expect("a JSON string"));
        } else {
            urls.push(line.to_owned());
        }
    }
    (urls, zone)
}

#[tokio::test]
async fn no_hostile_url_is_let_through() {
    let (urls, zone) = corpus();
    assert!(urls.len() >= 150, "{}", urls.len());
    let (server, dialer) = (NameServer::start(zone.clone()).await, Arc::new(Recorder::default()));
    let client = client(Default::default(), asking(&server), dialer.clone());
    let (mut unparsed, mut at_once, mut resolved) = (0, 0, 0);
    for text in &urls {
        // What cannot be parsed never becomes an endpoint's.
        let Ok(url) = Url::parse(text) else {
            unparsed += 1;
            continue;
        };
        let outcome = sent(&client, text).await;
        let (class, detail) = failed(&outcome);
        assert_eq!(class, Failure::Guard, "{text:?}: {detail}");
        match Guard::default().check_url(&url) {
            Err(_) => at_once += 1,
            Ok(()) => {
                resolved += 1;
                let name = url.host_str().expect("a host").trim_end_matches('.');
                assert!(zone.contains_key(name), "{text:?} is found at the creation");
            }
        }
        assert_eq!(dialer.take(), [], "{text:?}");
    }
    // Each way of refusing has its share, so that none of them is what refuses everything.
    assert!(unparsed >= 30 && at_once >= 150 && resolved >= 30, "{unparsed} {at_once} {resolved}");
    let looked_up = server.asked();
    assert!(looked_up.iter().all(|name| zone.contains_key(name)), "{looked_up:?}");
    assert_eq!(looked_up.len(), resolved);
}

#[tokio::test]
async fn nor_for_a_plugin() {
    let (urls, zone) = corpus();
    let (server, dialer) = (NameServer::start(zone).await, Arc::new(Recorder::default()));
    let client = client(Default::default(), asking(&server), dialer.clone());
    for text in urls {
        let Ok(url) = Url::parse(&text) else { continue };
        let request = Request {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            bytes: 1000,
            timeout: Duration::from_secs(20),
        };
        let refused = client.fetch(request).await;
        assert!(matches!(refused, Err(Unsent::Refused(_))), "{text:?}: {refused:?}");
        assert_eq!(dialer.take(), [], "{text:?}");
    }
}

#[tokio::test]
async fn a_name_is_looked_up_early_unless_many_are() {
    let zone = Zone::from([("inside.test".into(), vec![vec!["10.0.0.1".parse().expect("one")]])]);
    let server = NameServer::start(zone).await;
    let client = client(Default::default(), asking(&server), Arc::new(Recorder::default()));
    let url = Url::parse("http://inside.test/").expect("a URL");
    assert!(client.check_name(&url).await.is_err());
    let early = client.connector.early.clone();
    let many = u32::try_from(EARLY_AT_ONCE).expect("a number");
    let others = early.acquire_many_owned(many).await.expect("all of them");
    assert_eq!(client.check_name(&url).await, Ok(()), "nobody waits for others' look-ups");
    drop(others);
    assert!(client.check_name(&url).await.is_err());
}

/// The recorder does see what passes: with public addresses, and with what operators allow.
#[tokio::test]
async fn what_is_public_or_allowed_is_dialled_at_the_address_that_was_checked() {
    let zone = Zone::from([
        ("public.test".into(), vec![vec!["1.1.1.1".parse().expect("one")]]),
        ("six.test".into(), vec![vec!["2606:4700::1111".parse().expect("one")]]),
        ("intranet.test".into(), vec![vec!["10.1.2.3".parse().expect("one")]]),
        ("a.corp.test".into(), vec![vec!["192.168.0.1".parse().expect("one")]]),
        ("nat64.test".into(), vec![vec!["64:ff9b::808:808".parse().expect("one")]]),
    ]);
    let (server, dialer) = (NameServer::start(zone).await, Arc::new(Recorder::default()));
    let guard = serde_json::json!({ "allow": "10.1.0.0/16", "allow_hosts": "*.corp.test" });
    let guard = serde_json::from_value(guard).expect("options");
    let client = client(guard, asking(&server), dialer.clone());
    for (url, dialled) in [
        ("http://public.test/", "1.1.1.1:80"),
        ("https://PUBLIC.test./", "1.1.1.1:443"),
        ("https://public.test:8443/x", "1.1.1.1:8443"),
        ("http://six.test/", "[2606:4700::1111]:80"),
        ("http://nat64.test/", "[64:ff9b::808:808]:80"),
        ("http://intranet.test/", "10.1.2.3:80"),
        ("http://a.corp.test/", "192.168.0.1:80"),
        ("http://134744072/", "8.8.8.8:80"),
        ("http://8。8。8。8/", "8.8.8.8:80"),
        ("https://[2606:4700::1111]/", "[2606:4700::1111]:443"),
        ("http://10.1.0.1:8080/", "10.1.0.1:8080"),
    ] {
        let outcome = sent(&client, url).await;
        assert_eq!(failed(&outcome), (Failure::Connect, "nothing leaves a test"), "{url}");
        assert_eq!(dialer.take(), [dialled.parse().expect("an address")], "{url}");
    }
    let outcome = sent(&client, "http://unknown.test/").await;
    assert_eq!(failed(&outcome).0, Failure::Dns);
    assert_eq!(dialer.take(), []);
}

#[tokio::test]
async fn a_name_that_answers_otherwise_the_next_time_is_called_where_it_was_checked() {
    let answers =
        |texts: [&str; 3]| texts.map(|text| vec![text.parse().expect("an address")]).to_vec();
    let zone = Zone::from([
        ("rebinding.test".into(), answers(["1.1.1.1", "127.0.0.1", "127.0.0.1"])),
        ("back.test".into(), answers(["127.0.0.1", "1.1.1.1", "127.0.0.1"])),
    ]);
    let (server, dialer) = (NameServer::start(zone).await, Arc::new(Recorder::default()));
    let client = client(Default::default(), asking(&server), dialer.clone());
    // One look-up, and its answer is what is dialled: whoever asked once more would call 127.0.0.1.
    let outcome = sent(&client, "http://rebinding.test/").await;
    assert_eq!(failed(&outcome).0, Failure::Connect);
    assert_eq!(dialer.take(), ["1.1.1.1:80".parse().expect("an address")]);
    assert_eq!(server.asked(), ["rebinding.test"]);
    // The next attempt looks it up, and refuses what it means now.
    let outcome = sent(&client, "http://rebinding.test/").await;
    assert_eq!(failed(&outcome).0, Failure::Guard);
    let outcomes =
        [sent(&client, "http://back.test/").await, sent(&client, "http://back.test/").await];
    let classes = [failed(&outcomes[0]).0, failed(&outcomes[1]).0];
    assert_eq!(classes, [Failure::Guard, Failure::Connect], "a name may mean something else later");
    assert_eq!(dialer.take(), ["1.1.1.1:80".parse().expect("an address")]);
}

#[tokio::test]
async fn an_address_that_does_not_answer_has_the_others_tried() {
    let addresses = ["1.0.0.1", "1.0.0.2", "2606:4700::1111"].map(|a| a.parse().expect("one"));
    let zone = Zone::from([("several.test".into(), vec![addresses.to_vec()])]);
    let (server, dialer) = (NameServer::start(zone).await, Arc::new(Recorder::default()));
    let client = client(Default::default(), asking(&server), dialer.clone());
    let outcome = sent(&client, "http://several.test/").await;
    assert_eq!(failed(&outcome).0, Failure::Connect);
    let mut dialled: Vec<_> = dialer.take().into_iter().map(|to| to.ip()).collect();
    dialled.sort();
    assert_eq!(dialled, addresses);
}
