//! The wire contract as its callers use it: as the Node.js client does, and as a .NET program.

use super::run;
use crate::gateway::rig::{Gateway, KEY};

/// That the script found these right, and nothing wrong.
async fn rights(script: &str, expected: &[&str]) {
    let gateway = Gateway::start(&[]).await;
    let base = format!("http://{}", gateway.address());
    let said = run(script, &[&base, KEY], "").await;
    let rights: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("right: ")).collect();
    assert_eq!(rights, expected, "{said}");
}

#[tokio::test]
async fn every_call_of_the_contract_works_as_the_nodejs_client_makes_it() {
    let calls = [
        "POST /applications",
        "GET /applications",
        "GET /applications/{app}",
        "PUT /applications/{app}",
        "DELETE /applications/{app}",
        "POST /applications/{app}/endpoints",
        "GET /applications/{app}/endpoints",
        "GET /applications/{app}/endpoints/{ep}",
        "PUT /applications/{app}/endpoints/{ep}",
        "DELETE /applications/{app}/endpoints/{ep}",
        "POST /applications/{app}/messages",
        "X-Signature",
        "GET /applications/{app}/messages/{msg}/endpoint-messages",
        "Authorization",
        "CORS",
    ];
    rights("contract.mjs", &calls).await;
}

#[tokio::test]
async fn a_dotnet_program_sends_nulls_and_escapes_and_verifies_ascii() {
    let calls = [
        "applications",
        "endpoints with nulls",
        "an escaped payload verifies as ASCII",
        "a payload in UTF-8 verifies as ASCII at an endpoint with asciiPayload",
        "a change with nulls",
    ];
    rights("dotnet.mjs", &calls).await;
}
