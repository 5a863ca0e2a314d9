//! `octohooks plugin`, with a component that is kept: what needs a compiler is in `xtask/src/plugins/authors.rs`.

use super::{Ended, Gateway, KEY, Shell};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn prebuilt(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../plugins/prebuilt/{name}.wasm"))
}

/// A component beside a folder of cases, by their names and texts.
fn bench(cases: &[(&str, Value)]) -> Shell {
    let shell = Shell::new(&[]);
    fs::copy(prebuilt("scripted"), shell.path().join("scripted.wasm")).expect("copied");
    fs::create_dir(shell.path().join("cases")).expect("made");
    for (name, case) in cases {
        let text = serde_json::to_string_pretty(case).expect("JSON");
        fs::write(shell.path().join(format!("cases/{name}.json")), text).expect("written");
    }
    shell
}

#[allow(clippy::needless_pass_by_value, reason = "the tables read better so")]
fn case(script: Value, expected: Value) -> Value {
    json!({ "message": { "eventType": "a.b", "payload": script }, "expected": expected })
}

fn failed(ended: &Ended, code: i32, said: &[&str]) {
    assert_eq!(ended.code, code, "{}{}", ended.stdout, ended.stderr);
    let all = format!("{}{}", ended.stdout, ended.stderr);
    for said in said {
        assert!(all.contains(said), "`{said}` in: {all}");
    }
}

#[tokio::test]
async fn cases_pass_with_what_they_cost() {
    let sent = json!({ "send": [{ "target": { "endpoints": ["crm"] }, "eventType": "c", "text": "hi",
        "contentType": "text/plain", "headers": [["x-a", "1"]], "orderingKey": "k", "delayMs": 7 }] });
    let script = json!({ "do": "send", "dispatches": [{ "target": { "endpoints": ["crm"] }, "eventType": "c",
        "text": "hi", "contentType": "text/plain", "headers": [["x-a", "1"]], "orderingKey": "k", "delayMs": 7 }] });
    let mut send = case(script, sent);
    send["endpoints"] = json!([{ "uid": "crm" }]);
    let shell = bench(&[
        ("pass", case(json!({ "do": "pass" }), json!("pass"))),
        ("drop", case(json!({ "do": "drop", "reason": "spam" }), json!({ "drop": "spam" }))),
        ("send", send),
        (
            "later",
            case(
                json!({ "do": "retry", "reason": "busy", "afterMs": 5 }),
                json!({ "failure": { "kind": "retry", "reason": "busy", "afterMs": 5 } }),
            ),
        ),
        ("crash", case(json!({ "do": "panic" }), json!({ "failure": { "kind": "trap" } }))),
    ]);
    let said = shell.good("plugin test scripted.wasm").await;
    assert!(said.starts_with("scripted: ") && said.ends_with("5 passed\n"), "{said}");
    assert_eq!(said.matches(" fuel ").count(), 5, "{said}");
    let said = shell.good("plugin test scripted.wasm --no-fuel --only p").await;
    assert!(said.ends_with("2 passed\n") && !said.contains("fuel"), "{said}");
}

#[tokio::test]
async fn signers_and_classifiers_have_cases_too() {
    // Made with Python's hmac, as in the test of a live signer.
    let mac = "sha256=3aea7d9882012d69ea49b8443b94e755179f85ee830bfa901efb5dc673af63a3";
    let signed = json!({ "headers": [
        ["x-signed-for", "crm"], ["x-signed-at", "m-1 7"], ["x-hub-signature-256", mac],
    ] });
    let request = json!({ "endpoint": { "uid": "crm" }, "webhookId": "m-1", "timestamp": 7, "text": r#"{"a":1}"#,
        "keys": ["It's a Secret to Everybody"] });
    let answer = |text: &str| json!({ "status": 200, "text": text });
    let fail = json!({ "failure": { "kind": "other", "reason": "as told" } });
    let signer = [
        ("signed", json!({ "sign": request, "expected": signed })),
        ("not", json!({ "sign": {}, "settings": { "mode": "fail" }, "expected": fail })),
    ];
    let good = json!({ "status": 404, "headers": [["X-Result", "good"]], "text": "header" });
    let second = json!({ "status": 500, "attempt": 2, "text": "second" });
    let classifier = [
        (
            "busy",
            json!({ "classify": answer("busy 50"), "expected": { "retry": { "afterMs": 50 } } }),
        ),
        ("first", json!({ "classify": answer("second"), "expected": { "retry": {} } })),
        ("second", json!({ "classify": second, "expected": "success" })),
        ("header", json!({ "classify": good, "expected": "success" })),
        ("gone", json!({ "classify": answer("gone"), "expected": "disable" })),
    ];
    for (guest, cases) in [("signer", &signer[..]), ("classifier", &classifier[..])] {
        let shell = bench(cases);
        fs::copy(prebuilt(guest), shell.path().join("it.wasm")).expect("copied");
        let said = shell.good("plugin test it.wasm").await;
        assert!(said.ends_with(&format!("{} passed\n", cases.len())), "{said}");
        let said = "has `message`";
        shell.bad("plugin test scripted.wasm", 1, said).await;
        let (name, mut other) = cases[0].clone();
        other["expected"] = json!("fail");
        let file = shell.path().join(format!("cases/{name}.json"));
        fs::write(&file, other.to_string()).expect("written");
        failed(&shell.run("plugin test it.wasm").await, 1, &["- \"fail\"\n", "1 of"]);
        shell.good("plugin test it.wasm --update").await;
        let written: Value = serde_json::from_slice(&fs::read(file).expect("there")).expect("JSON");
        assert_eq!(written["expected"], cases[0].1["expected"]);
    }
}

#[tokio::test]
async fn a_case_that_differs_is_shown_line_by_line_and_can_be_taken_over() {
    let echo = json!({ "do": "log", "level": "warn", "lines": ["a line"] });
    let shell = bench(&[
        ("a", case(echo, json!({ "drop": "no" }))),
        (
            "b",
            json!({ "message": { "eventType": "a", "payload": { "do": "drop", "reason": "x" } } }),
        ),
        ("c", case(json!({ "do": "panic" }), json!("pass"))),
    ]);
    let ended = shell.run("plugin test scripted.wasm --no-fuel").await;
    let said = [
        "DIFFERS  a ",
        "- expected, + got:",
        "-   \"drop\": \"no\"",
        "+ \"pass\"",
        "warn  a line",
        "nothing is expected yet; what came:",
        "\"drop\": \"x\"",
        "it crashed in:",
        "octohooks: 3 of 3 differ; --update makes what came what is expected",
    ];
    failed(&ended, 1, &said);
    let said = shell.good("plugin test scripted.wasm --no-fuel --update").await;
    assert!(said.ends_with("0 passed, 3 written\n"), "{said}");
    assert!(shell.good("plugin test scripted.wasm --no-fuel").await.ends_with("3 passed\n"));
    let written = fs::read_to_string(shell.path().join("cases/b.json")).expect("there");
    let written: Value = serde_json::from_str(&written).expect("JSON");
    assert_eq!(written["expected"], json!({ "drop": "x" }));
}

#[tokio::test]
async fn the_limits_are_those_of_a_configuration() {
    let shell = bench(&[("a", case(json!({ "do": "pass" }), json!("pass")))]);
    fs::write(shell.path().join("small.toml"), "[plugins]\ncomponent_bytes = 1000\n")
        .expect("written");
    let said = "where at most 1000 are allowed";
    shell.bad("plugin test scripted.wasm --config small.toml", 1, said).await;
    let inspected = shell.good("plugin inspect scripted.wasm --config small.toml").await;
    assert!(inspected.contains("accepted  no: ") && inspected.contains(said), "{inspected}");
    shell.bad("plugin test scripted.wasm --config lost.toml", 2, "lost.toml: no such file").await;
}

#[tokio::test]
async fn what_cannot_be_tested_is_said_in_a_line() {
    let shell = bench(&[]);
    fs::write(shell.path().join("text.wasm"), "text").expect("written");
    fs::create_dir(shell.path().join("empty")).expect("made");
    let table = [
        (
            "plugin test scripted.wasm",
            1,
            "no cases in cases: write what the plugin is given as cases/NAME.json",
        ),
        ("plugin test scripted.wasm --cases lost", 1, "lost: No such file"),
        ("plugin test lost.wasm", 1, "cannot read lost.wasm"),
        ("plugin test empty", 1, "no plugin.toml in empty: give a plugin's folder"),
        ("plugin build empty", 1, "no plugin.toml in empty"),
        ("plugin inspect text.wasm", 1, "text.wasm: this is not WebAssembly"),
        ("plugin new Orders --lang c", 1, "`Orders` is no name for a plugin"),
        ("plugin new empty --lang c", 1, "empty is there already"),
        ("plugin new orders --lang c --sdk .", 1, "--sdk is for Rust"),
        ("plugin deploy scripted.wasm --app a --server http://127.0.0.1:1 --key k", 5, "refused"),
        (
            "plugin deploy scripted.wasm --app a --name B --server http://h --key k",
            2,
            "give another with --name",
        ),
    ];
    for (arguments, code, said) in table {
        shell.bad(arguments, code, said).await;
    }
    fs::write(shell.path().join("cases/bad.json"), r#"{ "message": { "eventType": 1 } }"#)
        .expect("written");
    shell.bad("plugin test scripted.wasm", 1, "cases/bad.json: message.eventType: ").await;
}

#[tokio::test]
async fn a_folder_without_its_component_says_what_to_do() {
    let shell = Shell::new(&[]);
    let made = shell.good("plugin new orders --lang rust").await;
    assert_eq!(made, "made orders; next: cd orders && octohooks plugin test\n");
    shell.bad("plugin test orders --no-build", 1, "is not built yet: leave out --no-build").await;
    fs::remove_file(shell.path().join("orders/plugin.toml")).expect("there");
    fs::write(shell.path().join("orders/plugin.toml"), "[plugin]\nname = \"orders\"\n")
        .expect("written");
    let ended = shell.run("plugin build orders").await;
    failed(&ended, 1, &["orders/plugin.toml: ", "missing field `language`"]);
}

#[tokio::test]
async fn a_missing_compiler_is_said_with_the_ways_to_get_one() {
    let shell = Shell::new(&[("PATH", "/nowhere"), ("WASI_SDK_PATH", "/nowhere")]);
    for (language, said) in [
        ("rust", vec!["`cargo` is not installed", "https://rustup.rs"]),
        ("javascript", vec!["`node` is not installed", "https://nodejs.org"]),
        ("python", vec!["`python3` is not installed", "with pip"]),
        (
            "c",
            vec![
                "No C compiler here can compile for wasm32-wasi",
                "WASI_SDK_PATH",
                "pip install ziglang",
            ],
        ),
    ] {
        shell.good(&format!("plugin new in-{language} --lang {language}")).await;
        failed(&shell.run(&format!("plugin build in-{language}")).await, 1, &said);
    }
}

#[tokio::test]
async fn a_component_is_shown_with_what_it_needs() {
    let shell = bench(&[]);
    let said = shell.good("plugin inspect scripted.wasm").await;
    for line in ["kind      transform\n", "contract  octohooks:plugin@0.1.0\n", "accepted  yes\n"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(
        said.contains("  octohooks:plugin/log@0.1.0 ") && said.contains("  always there\n"),
        "{said}"
    );
    let shown: Value =
        serde_json::from_str(&shell.good("plugin inspect scripted.wasm --json").await)
            .expect("JSON");
    assert_eq!((&shown["kind"], &shown["refused"]), (&json!("transform"), &Value::Null));
    assert_eq!(shown["digest"].as_str().map(str::len), Some(64));

    fs::copy(prebuilt("capable"), shell.path().join("capable.wasm")).expect("copied");
    let said = shell.good("plugin inspect capable.wasm").await;
    assert!(said.contains("grants    keyvalue, secrets, clock, random, http\n"), "{said}");

    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/test-guests");
    let ungranted = wat::parse_file(guests.join("imports-ungranted.wat")).expect("text");
    fs::write(shell.path().join("http.wasm"), ungranted).expect("written");
    let said = shell.good("plugin inspect http.wasm").await;
    assert!(
        said.contains("accepted  no: the component imports `wasi:http/outgoing-handler"),
        "{said}"
    );
}

#[tokio::test]
async fn a_definition_is_shown_tested_and_deployed_as_a_component_is() {
    let definition = json!({ "filter": "@.a > 1", "headers": { "x-kind": "{eventType}" } });
    let sent = json!({ "send": [{ "headers": [["x-kind", "a.b"]] }] });
    let shell = bench(&[("sent", case(json!({ "a": 2 }), sent))]);
    let write = |name: &str, text: &str| fs::write(shell.path().join(name), text).expect("written");
    write("big.json", &definition.to_string());
    let said = shell.good("plugin inspect big.json").await;
    let size = format!("size      {} B\n", definition.to_string().len());
    for line in
        ["kind      transform, without code\n", &size, "accepted  yes\n", "\ndefinition\n{\n"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("imports") && !said.contains("exports"), "{said}");
    let shown = shell.good("plugin inspect big.json --json").await;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let expected = (&json!("transform"), &definition, &Value::Null);
    assert_eq!((&shown["kind"], &shown["definition"], &shown["refused"]), expected);
    write("bad.json", r#"{ "filter": "$.a", "x": 1 }"#);
    let said = shell.good("plugin inspect bad.json").await;
    let refused = "accepted  no: the definition cannot be used: /filter must ";
    assert!(said.contains(refused) && said.contains("; /x is not known"), "{said}");
    write("no.json", "{ no JSON");
    let said = shell.good("plugin inspect no.json").await;
    assert!(said.contains("accepted  no: the definition cannot be used: must be JSON"), "{said}");

    let said = shell.good("plugin test big.json").await;
    assert!(said.starts_with("big: ") && said.ends_with("1 passed\n"), "{said}");
    let gateway = Gateway::start(&[]).await;
    gateway.application("hooli", &[]).await;
    let live = Shell::of(&gateway, KEY);
    fs::copy(shell.path().join("big.json"), live.path().join("big.json")).expect("copied");
    let said = live.good("plugin deploy big.json --app hooli").await;
    assert!(said.starts_with("big is active for hooli: "), "{said}");
}

#[tokio::test]
async fn signers_and_classifiers_are_asked() {
    let gateway = Gateway::start(&[]).await;
    let shell = Shell::of(&gateway, KEY);
    shell.good("app create --uid hooli").await;
    for guest in ["signer", "classifier"] {
        fs::copy(prebuilt(guest), shell.path().join(format!("{guest}.wasm"))).expect("copied");
        shell.good(&format!("plugin deploy {guest}.wasm --app hooli")).await;
    }
    let endpoint = json!({ "url": "https://crm.example/", "uid": "crm",
        "secrets": ["It's a Secret to Everybody"] });
    gateway.post("/applications/hooli/endpoints", endpoint).await;
    let write = |name: &str, text: &str| fs::write(shell.path().join(name), text).expect("written");
    write("request.json", r#"{ "body": {"a":1}, "webhookId": "m-1", "timestamp": 7 }"#);
    write("answer.json", r#"{ "status": 500, "body": "busy 50" }"#);
    write("fail.json", r#"{ "mode": "fail" }"#);
    let to = "--app hooli --endpoint crm";
    let said = shell.good(&format!("plugin ask signer {to} --request request.json")).await;
    let mac = "sha256=3aea7d9882012d69ea49b8443b94e755179f85ee830bfa901efb5dc673af63a3";
    assert!(said.contains("the same  yes\n"), "{said}");
    assert_eq!(said.matches(&format!("\n  x-hub-signature-256: {mac}\n")).count(), 2, "{said}");
    let failing = format!("plugin ask signer {to} --request request.json --settings fail.json");
    let said = shell.good(&failing).await;
    assert!(said.contains("the same  no\n") && said.contains("\n  failed: other: "), "{said}");
    let said = shell.good(&format!("plugin ask classifier {to} --answer answer.json")).await;
    assert!(said.contains("\nthe version\n  retry, after 50 ms\n"), "{said}");
    let ended = shell.run(&format!("plugin ask signer {to}")).await;
    failed(&ended, 2, &["--request <FILE>"]);
    let wrong = format!("plugin ask classifier {to} --request request.json");
    shell.bad(&wrong, 4, "is what a classifier is asked about").await;
}

#[tokio::test]
async fn a_component_is_deployed_and_sees_the_applications_messages() {
    let gateway = Gateway::start(&[]).await;
    let shell = Shell::of(&gateway, KEY);
    fs::copy(prebuilt("scripted"), shell.path().join("scripted.wasm")).expect("copied");
    fs::copy(prebuilt("sms-status"), shell.path().join("sms.wasm")).expect("copied");
    shell.good("app create --uid hooli").await;
    let said = shell.good("plugin deploy scripted.wasm --app hooli --no-activate").await;
    assert!(said.starts_with("kept ") && said.ends_with("; none is active\n"), "{said}");
    let said = shell.good("plugin deploy scripted.wasm --app hooli").await;
    assert!(said.starts_with("scripted is active for hooli: "), "{said}");
    let active = said.trim_end().rsplit(' ').next().expect("a digest").to_owned();
    let said = shell.good("plugin deploy sms.wasm --app hooli --name scripted --no-activate").await;
    assert!(said.ends_with(&format!(" of scripted for hooli; active is {active}\n")), "{said}");
    let plugin = gateway.get("/applications/hooli/plugins/scripted").await;
    assert_eq!(
        (&plugin["active"], plugin["versions"].as_array().map(Vec::len)),
        (&json!(active), Some(2))
    );
    let message = gateway.message("hooli", json!({ "do": "drop", "reason": "spam" })).await;
    let held = gateway.held("hooli", &message, "dropped").await;
    assert!(held.to_string().contains("spam"), "{held}");

    // From there on by the command line as well.
    let said = shell.good("plugin list --app hooli").await;
    let [_, row] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    let cells: Vec<_> = row.split_whitespace().take(7).collect();
    let expected = ["scripted", "transform", "active", &active[..12], "2", "0", "park"];
    assert_eq!(cells, expected, "{said}");
    let said = shell.good("plugin show scripted --app hooli").await;
    let other = plugin["versions"].as_array().expect("a list").iter().map(|v| &v["digest"]);
    let other = other.filter_map(Value::as_str).find(|digest| *digest != active).expect("another");
    assert!(said.contains(&format!("\n{active}  active ")), "{said}");
    assert!(said.contains("\nVERSION ") && said.contains(&format!("\n{other} ")), "{said}");
    shell.bad("plugin activate scripted zz --app hooli", 1, "scripted has no version zz").await;
    let said = shell.good(&format!("plugin activate scripted {} --app hooli", &other[..8])).await;
    assert_eq!(said, format!("scripted is active for hooli: {other}\n"));
    let said = shell.good("plugin rollback scripted --app hooli").await;
    assert_eq!(said, format!("scripted is active for hooli: {active}\n"));
    shell.good("plugin release scripted --app hooli").await;
    let said = shell.good("plugin delete scripted --app hooli").await;
    assert_eq!(said, "deleted the plugin scripted of hooli\n");
    shell.bad("plugin show scripted --app hooli", 3, "no such plugin").await;
    let none = shell.run("plugin list --app hooli").await;
    assert_eq!((none.code, &*none.stdout, &*none.stderr), (0, "", "no plugins\n"));

    fs::write(shell.path().join("text.wasm"), "text").expect("written");
    shell.bad("plugin deploy text.wasm --app hooli", 4, "this is not WebAssembly").await;
    shell.bad("plugin deploy scripted.wasm --app lost", 3, "no such application").await;
}
