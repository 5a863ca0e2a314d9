//! Components that were built for a released version of the contract, and are never built again: what ran once runs for
//! ever. Their sources of then were `plugins/test-guests/capable`, `signer` and `classifier`.

use super::*;
use crate::model::{
    attempt::{Answer, Meaning},
    dispatch::Verdict,
    plugin::Kind,
    secret::Secret,
};

/// The folders of `wit`, and of the components that were built for them.
fn releases() -> Vec<String> {
    let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit");
    let folders = std::fs::read_dir(wit).expect("the contract").flatten();
    let folders = folders.filter(|entry| entry.path().is_dir());
    folders.map(|entry| entry.file_name().into_string().expect("a name")).collect()
}

fn fixture(release: &str, name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    std::fs::read(format!("{folder}/{release}/{name}.wasm")).expect("each release has its own")
}

#[tokio::test]
async fn what_was_built_for_a_released_version_runs() {
    let options = Options { concurrency: 2, per_application: 2, ..Options::default() };
    let host = Host::new(options, None).expect("a host");
    for release in releases() {
        let load = |name: &str| host.load(&fixture(&release, name)).expect(name);
        let [capable, signer, classifier] = ["capable", "signer", "classifier"].map(load);
        let kinds = [&capable, &signer, &classifier].map(|loaded| loaded.kind);
        assert_eq!(kinds, [Kind::Transform, Kind::Sign, Kind::Classify], "{release}");
        assert_eq!(capable.capabilities.len(), 5, "it imports all there is");

        let called = host.call(&capable, call("{}")).await;
        assert_eq!(called.result, Ok(Verdict::Pass), "{release}");
        let settings = json!({ "limit": 0 }).as_object().expect("an object").clone();
        let wrong = tokio::task::spawn_blocking({
            let host = host.clone();
            move || host.check_settings(&capable, &settings)
        });
        let wrong = wrong.await.expect("runs").expect("has a schema");
        assert_eq!(wrong[0].path, "/limit", "{release}");

        let endpoint = tenant(id(1)).endpoints.pop_first().expect("one").1;
        let webhook_id = "msg_1".to_owned();
        let request = ToSign {
            endpoint: endpoint.clone(),
            webhook_id: webhook_id.clone(),
            timestamp: 1,
            content_type: "text/plain".into(),
            body: "body".into(),
            keys: vec![Secret::new("key")],
        };
        let signed = host.sign(&signer, call(""), request).await.result.expect("signs");
        let mac = signed.iter().find(|(name, _)| name == "x-hub-signature-256").expect("one");
        assert_eq!(mac.1.len(), "sha256=".len() + 64, "{release}");

        let answer = Answer { status: 200, body: b"never".to_vec(), ..Answer::default() };
        let answer = ToClassify { endpoint, webhook_id, attempt: 1, answer };
        let meaning = host.classify(&classifier, call(""), answer).await.result;
        assert_eq!(meaning, Ok(Meaning::Fail), "{release}");
    }
}
