//! The command line as a client: the real binary against a real gateway, as scripts and people use it.

mod dead_letters;
mod plugins;
mod trials;

use super::{
    receiver::Receiver,
    rig::{self, Gateway, KEY, LONG, directory},
};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Stdio};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

const ROOT: &str = "test-root";

/// Somebody at a shell.
struct Shell {
    directory: TempDir,
    variables: Vec<(String, String)>,
}

/// What a command came to.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Shell {
    fn new(variables: &[(&str, &str)]) -> Self {
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self { directory: directory(), variables: variables.iter().map(text).collect() }
    }

    /// With server and key in the environment.
    fn of(gateway: &Gateway, key: &str) -> Self {
        let server = format!("http://{}", gateway.address());
        Self::new(&[("OCTOHOOKS_SERVER", &server), ("OCTOHOOKS_KEY", key), ("TZ", "UTC")])
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Runs a command whose arguments have spaces between, with that on stdin.
    async fn run_with(&self, arguments: &[&str], stdin: &str) -> Ended {
        let mut command = Command::from(rig::command(self.path(), &self.variables));
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().expect("starts");
        let mut input = child.stdin.take().expect("is piped");
        // It may end without reading.
        let _written = input.write_all(stdin.as_bytes()).await;
        drop(input);
        let ended = timeout(LONG, child.wait_with_output()).await.expect("ends").expect("a child");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let code = ended.status.code().expect("a code");
        Ended { code, stdout: text(ended.stdout), stderr: text(ended.stderr) }
    }

    async fn run(&self, arguments: &str) -> Ended {
        self.run_with(&arguments.split_whitespace().collect::<Vec<_>>(), "").await
    }

    /// A command that must succeed: what it printed.
    async fn good(&self, arguments: &str) -> String {
        let ended = self.run(arguments).await;
        assert_eq!(ended.code, 0, "{arguments}: {}{}", ended.stdout, ended.stderr);
        ended.stdout
    }

    /// A command that must succeed: the JSON that it printed.
    async fn json(&self, arguments: &str) -> Value {
        let printed = self.good(&format!("{arguments} --json")).await;
        serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{arguments}: {printed}"))
    }

    /// A command that must fail with that code and one line that has this in it.
    async fn bad(&self, arguments: &str, code: i32, said: &str) {
        let ended = self.run(arguments).await;
        let line = ended.stderr.trim_end();
        assert_eq!((ended.code, &*ended.stdout), (code, ""), "{arguments}: {line}");
        assert!(line.starts_with("octohooks: ") && line.contains(said), "{arguments}: {line}");
        assert!(!line.contains('\n'), "{arguments}: {line}");
    }
}

/// An application with an endpoint that fails and one that does not.
async fn set_up(shell: &Shell, receiver: &Receiver) {
    shell.good("app create --uid hooli --name Hooli").await;
    for (uid, path) in [("good", "/ok"), ("bad", "/status/500")] {
        let url = receiver.url(path);
        shell.good(&format!("endpoint create hooli --uid {uid} --url {url}")).await;
    }
}

#[tokio::test]
async fn from_an_application_to_what_became_of_its_message_and_once_more() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let shell = Shell::of(&gateway, KEY);
    set_up(&shell, &receiver).await;
    let payload = r#"{"n":123456789012345678901234567890}"#;
    let send = ["send", "hooli", "--event-type", "sms.status", "--uid", "m1", "--channel", "a,b"];
    let sent = shell.run_with(&send, payload).await;
    assert_eq!(sent.code, 0, "{}", sent.stderr);
    assert!(sent.stdout.contains("event type  sms.status\n"), "{}", sent.stdout);
    gateway.settled("hooli", "m1").await;

    let shown = shell.good("messages hooli m1").await;
    assert!(shown.contains("channels    a, b\n") && shown.ends_with(&format!("{payload}\n")));
    let list = shell.good("messages hooli --event-type sms.status --after 1h").await;
    assert!(list.starts_with("ID ") && list.lines().count() == 2, "{list}");
    assert_eq!(shell.good("messages hooli --channel other").await, "");

    let deliveries = shell.json("deliveries hooli --message m1").await;
    assert_eq!(deliveries["data"].as_array().map(Vec::len), Some(2), "{deliveries}");
    let failed = shell.good("deliveries hooli --message m1 --state failed").await;
    assert!(failed.lines().count() == 2 && failed.contains("failed         4"), "{failed}");
    let failed = shell.good("deliveries hooli --endpoint bad --state failed,disabled").await;
    let row: Vec<&str> = failed.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row[1..6], ["m1", "sms.status", "failed", "4", "500"], "{failed}");

    let attempts = shell.good("attempts hooli m1 bad").await;
    assert_eq!(attempts.lines().count(), 5, "{attempts}");
    let attempt = shell.good("attempts hooli m1 bad --number 2").await;
    assert!(attempt.contains("status   500\n") && attempt.contains("webhook-id: "), "{attempt}");
    shell.bad("attempts hooli m1 bad --number 9", 3, "no such attempt").await;

    let resent = shell.json("resend hooli m1 good").await;
    assert_eq!(resent["data"][0]["messageUid"], "m1", "{resent}");
    receiver.wait_for("/ok", 2).await;
}

#[tokio::test]
async fn a_batch_says_what_became_of_each_line() {
    let gateway = Gateway::start(&[]).await;
    let shell = Shell::of(&gateway, KEY);
    shell.good("app create --uid hooli").await;
    let lines = "{\"eventType\":\"a.b\",\"payload\":1,\"uid\":\"one\"}\n\n\
                 {\"eventType\":\"a.b\",\"payload\":2,\"uid\":\"one\"}\n{\"payload\":3}\n";
    fs::write(shell.path().join("lines"), lines).expect("writes");
    let ended = shell.run("send hooli --batch lines --idempotency-key k").await;
    assert_eq!(ended.code, 4, "{}{}", ended.stdout, ended.stderr);
    for said in
        ["3 messages: 1 created, 1 there before, 1 refused\n", "   4  invalid    /eventType"]
    {
        assert!(ended.stdout.contains(said), "{}", ended.stdout);
    }
    assert_eq!(ended.stderr, "octohooks: 1 of 3 refused\n");
    // The same command again is the same request: what was created is said to be, and not a duplicate.
    let again = shell.run("send hooli --batch lines --idempotency-key k --json").await;
    let again: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!(again["data"][0]["status"], "created", "{again}");
    fs::write(shell.path().join("lines"), "{}\nnonsense\n").expect("writes");
    shell.bad("send hooli --batch lines", 1, "lines: line 2 is not JSON").await;
}

#[tokio::test]
async fn an_operation_is_followed_to_its_end() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let shell = Shell::of(&gateway, KEY);
    set_up(&shell, &receiver).await;
    for n in 0..3 {
        let message = gateway.message("hooli", json!({ "n": n })).await;
        gateway.settled("hooli", &message).await;
    }
    let counted = shell.json("recover hooli bad --since 1h --dry-run").await;
    let fields = |operation: &Value| {
        ["state", "total", "done", "dryRun"].map(|field| operation[field].clone())
    };
    assert_eq!(fields(&counted)[..2], [json!("done"), json!(3)], "{counted}");
    assert_eq!(receiver.received("/status/500").len(), 12);
    shell.good(&format!("endpoint update hooli bad --url {}", receiver.url("/ok/mended"))).await;
    let shown = shell.good("recover hooli bad --since 1h").await;
    for said in ["mode         failed\n", "state        done\n", "progress     3 of 3\n"] {
        assert!(shown.contains(said), "{shown}");
    }
    receiver.wait_for("/ok/mended", 3).await;

    let new = receiver.url("/ok/new");
    shell.good(&format!("endpoint create hooli --uid new --url {new}")).await;
    let started = shell.json("recover hooli new --since 1h --missing --detach").await;
    let id = started["id"].as_str().expect("an id");
    let ended = shell.json(&format!("operations get {id} --follow")).await;
    assert_eq!(fields(&ended), [json!("done"), json!(3), json!(3), json!(false)], "{ended}");
    receiver.wait_for("/ok/new", 3).await;
    let list = shell.good("operations list --application hooli").await;
    assert!(list.lines().count() == 4 && list.contains("missing  done"), "{list}");
    shell.good(&format!("operations cancel {id}")).await;
}

#[tokio::test]
async fn what_an_update_does_not_name_stays() {
    let gateway = Gateway::start(&[]).await;
    let shell = Shell::of(&gateway, KEY);
    shell.good("app create --uid hooli").await;
    let fields = "--event-type a,b --channel c --rate-limit 5/minute/2 --secret s3cret";
    let url = "--url http://127.0.0.1:2/";
    let made = shell.json(&format!("endpoint create hooli --uid e {url} {fields}")).await;
    let changed = shell.json("endpoint update hooli e --name Partner --disable").await;
    for field in ["id", "url", "eventTypes", "channels", "rateLimit", "secrets", "signatures"] {
        assert_eq!(changed[field], made[field], "{field}");
    }
    assert_eq!([&changed["enabled"], &changed["name"]], [&json!(false), &json!("Partner")]);
    let shown = shell.good("endpoint get hooli e").await;
    assert!(shown.contains("rate limit   5 a minute, 2 at once\n"), "{shown}");
    assert!(!shown.contains("s3cret"), "{shown}");
    let rotated = shell.good("endpoint rotate-secret hooli e --grace 1h").await;
    assert!(rotated.contains("secret       whsec_"), "{rotated}");
    let secrets = shell.good("endpoint get hooli e --secrets").await;
    assert!(secrets.contains("s3cret") && secrets.contains("whsec_"), "{secrets}");
    shell.good("endpoint delete hooli e").await;
    shell.bad("endpoint get hooli e", 3, "no such endpoint").await;
}

#[tokio::test]
async fn lists_have_pages() {
    let gateway = Gateway::start(&[]).await;
    let shell = Shell::of(&gateway, KEY);
    for uid in ["a", "b", "c"] {
        shell.good(&format!("app create --uid {uid} --name app-{uid}")).await;
        gateway.message("a", json!({ "of": uid })).await;
    }
    let page = shell.run("app list --size 2").await;
    assert_eq!(page.stdout.lines().count(), 3, "{}", page.stdout);
    assert!(page.stderr.contains("--page 2"), "{}", page.stderr);
    assert_eq!(shell.good("app list --size 2 --all").await.lines().count(), 4);
    let page = shell.run("messages a --limit 2").await;
    let more = page.stderr.split_whitespace().nth(3).expect("an iterator");
    let more = shell.good(&format!("messages a --iterator {}", more.trim_end_matches(','))).await;
    assert_eq!((page.stdout.lines().count(), more.lines().count()), (3, 2), "{more}");
    let (all, pages) = (shell.good("messages a --all").await, shell.json("messages a --all").await);
    assert_eq!((all.lines().count(), pages["data"].as_array().map(Vec::len)), (4, Some(3)));
}

#[tokio::test]
async fn environments_keys_and_event_types() {
    let gateway = Gateway::start(&[("OCTOHOOKS_AUTH__ROOT_KEY", ROOT)]).await;
    let root = Shell::of(&gateway, ROOT);
    root.good("environments create staging").await;
    assert_eq!(root.good("environments list").await.lines().count(), 3);
    let made = root.json("keys create CI --scope environment --environment staging").await;
    let (id, key) = (made["id"].as_str().expect("an id"), made["key"].as_str().expect("a key"));
    let staging = Shell::of(&gateway, key);
    staging.good("app create --uid hooli").await;
    let token = staging.json("keys token hooli --expires-in 10m").await;
    let token = Shell::of(&gateway, token["key"].as_str().expect("a key"));
    assert_eq!(token.json("app get hooli").await["uid"], "hooli");
    token.bad("app delete hooli", 4, "one application's owner").await;
    root.bad("environments delete staging", 4, "applications").await;

    let schema = r#"{"type":"object","required":["id"]}"#;
    fs::write(staging.path().join("schema.json"), schema).expect("writes");
    staging.good("event-types put sms.status --schema schema.json --enforce").await;
    let put = staging.json("event-types put sms.status --description Status").await;
    assert_eq!((&put["enforce"], &put["version"]), (&json!(true), &json!(1)), "{put}");
    assert!(staging.good("event-types list").await.contains("sms.status"));
    assert!(staging.good("event-types get sms.status").await.contains(r#""required":["id"]"#));
    staging.bad("send hooli --event-type sms.status --payload {}", 4, "/payload").await;
    staging.good("event-types delete sms.status").await;
    staging.bad("event-types get sms.status", 3, "no such event type").await;

    let rotated = root.json(&format!("keys rotate {id} --environment staging")).await;
    staging.bad("app list", 4, "the key is not valid").await;
    let staging = Shell::of(&gateway, rotated["key"].as_str().expect("a key"));
    staging.good("app delete hooli").await;
    assert!(root.good("keys list --environment staging").await.contains("CI"));
    root.good(&format!("keys revoke {id} --environment staging")).await;
    staging.bad("app list", 4, "the key is not valid").await;
    root.good("environments delete staging").await;
}

#[tokio::test]
async fn errors_are_one_line_and_a_code_says_whose_they_are() {
    let gateway = Gateway::start(&[]).await;
    let shell = Shell::of(&gateway, KEY);
    shell.good("app create --uid hooli").await;
    let table = [
        ("app get lost", 3, "no such application"),
        ("messages hooli lost", 3, "no such message"),
        ("app create --uid hooli", 4, "(/uid)"),
        ("app list --key wrong-key", 4, "the key is not valid"),
        ("endpoint create hooli --url ftp://x", 4, "/url"),
        ("send hooli --event-type a --payload nonsense", 1, "the payload: is not JSON"),
        ("send hooli --event-type a --file lost", 1, "cannot read lost"),
        ("app get ..", 2, "`..` is no id or uid"),
        ("app list --server localhost:80", 2, "must begin with http://"),
        ("app list --server http://127.0.0.1:1", 5, "Connection refused"),
        ("app list --profile lost", 2, "which file of profiles?"),
    ];
    for (arguments, code, said) in table {
        shell.bad(arguments, code, said).await;
    }
    Shell::new(&[]).bad("app list", 2, "which server? Give --server URL").await;
    // What the parser refuses says how it would be right, on several lines.
    for arguments in ["app", "app create", "deliveries hooli", "recover hooli e --since soon"] {
        assert_eq!(shell.run(arguments).await.code, 2, "{arguments}");
    }
}

#[tokio::test]
async fn a_profile_says_which_gateway() {
    let gateway = Gateway::start(&[]).await;
    let shell = Shell::new(&[]);
    let address = gateway.address();
    let text = format!("[default]\nserver = \"http://{address}\"\nkey = \"{KEY}\"\n");
    let file = shell.path().join("profiles");
    fs::write(&file, text + "[wrong]\nserver = \"http://127.0.0.1:1\"\nkey = \"s3cret\"\n")
        .expect("writes");
    shell.good("app list --profile-file profiles").await;
    shell.bad("app list --profile-file profiles --profile wrong", 5, "Connection refused").await;
}

#[tokio::test]
async fn a_message_is_sent_again_under_the_same_key_and_a_stranger_is_no_gateway() {
    let receiver = Receiver::start().await;
    let server = receiver.url("/retry-after/0");
    let shell = Shell::new(&[("OCTOHOOKS_SERVER", &server), ("OCTOHOOKS_KEY", "s3cret-key")]);
    shell.bad("send hooli --event-type a --payload 1", 5, "is the server one?").await;
    let requests = receiver.take();
    let keys: Vec<_> = requests.iter().map(|request| request.header("idempotency-key")).collect();
    assert!(keys.len() == 2 && keys[0] == keys[1] && !keys[0].is_empty(), "{keys:?}");
    assert_eq!(requests[0].header("authorization"), "Bearer s3cret-key");
    let server = receiver.url("/redirect");
    shell.bad(&format!("app list --json --server {server}"), 5, "leads to /ok/elsewhere").await;
    assert_eq!(receiver.take().len(), 1);
}

#[tokio::test]
async fn shells_complete_the_commands() {
    let shell = Shell::new(&[]);
    for name in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = shell.good(&format!("completions {name}")).await;
        assert!(script.contains("rotate-secret"), "{name}");
    }
    let help = shell.good("recover --help").await;
    assert!(help.contains("Exit codes:") && help.contains("--dry-run"), "{help}");
}
