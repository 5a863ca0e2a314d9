//! The document of the API: what it says, that it says it of every route, and that nobody needs a key to read it.

use super::{
    rig::{Gateway, KEY, client},
    scopes,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

async fn document(gateway: &Gateway) -> Value {
    let url = format!("http://{}/api/v1/openapi.json", gateway.address());
    let answer = client().get(url).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    super::rig::json_of(answer).await
}

/// Whoever means to change the API sees here what clients will see; `cargo insta accept` or `INSTA_UPDATE=always` takes it.
#[tokio::test]
async fn the_document_is_the_one_that_is_kept() {
    let mut document = document(&Gateway::start(&[]).await).await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    document["info"]["version"] = json!("(this version)");
    insta::assert_json_snapshot!("document", document);
}

/// The methods that a path has, as the answer to one that none has says.
async fn methods(gateway: &Gateway, path: &str) -> BTreeSet<String> {
    let none = Method::from_bytes(b"PURGE").expect("a method");
    let request = gateway.request_with(KEY, none, &path.replace(['{', '}'], ""));
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 405, "{path}");
    let allowed = answer.headers()["allow"].to_str().expect("text");
    let allowed = allowed.split(',').map(|method| method.trim().to_ascii_lowercase());
    // What answers GET answers HEAD too, without a body.
    allowed.filter(|method| method != "head").collect()
}

#[tokio::test]
async fn the_document_has_every_method_of_every_route_and_no_other() {
    let gateway = Gateway::start(&[]).await;
    let document = document(&gateway).await;
    let mut served = BTreeMap::new();
    for path in scopes::paths() {
        served.insert(path.to_owned(), methods(&gateway, path).await);
    }
    let paths = document["paths"].as_object().expect("paths");
    let documented: BTreeMap<_, BTreeSet<String>> = paths
        .iter()
        .map(|(path, calls)| {
            (path.clone(), calls.as_object().expect("calls").keys().cloned().collect())
        })
        .collect();
    assert_eq!(documented, served);
}

#[tokio::test]
async fn each_reference_leads_somewhere_and_each_operation_has_a_name_of_its_own() {
    let document = document(&Gateway::start(&[]).await).await;
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 100, "{}", references.len());
    for reference in references {
        let place = reference.strip_prefix('#').expect("is in the document");
        assert!(document.pointer(place).is_some(), "{reference}");
    }
    let calls = document["paths"].as_object().expect("paths").values();
    let calls: Vec<_> =
        calls.flat_map(|calls| calls.as_object().expect("calls").values()).collect();
    let names: BTreeSet<_> = calls.iter().map(|call| call["operationId"].as_str()).collect();
    assert_eq!(names.len(), calls.len());
}

fn collect(value: &Value, references: &mut Vec<String>) {
    if let Some(reference) = value["$ref"].as_str() {
        references.push(reference.to_owned());
    }
    match value {
        Value::Object(fields) => fields.values().for_each(|field| collect(field, references)),
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}
