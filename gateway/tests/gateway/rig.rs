//! The gateway as a process with a directory of its own, and its API. Killed when dropped, so that a failed test
//! leaves nothing running.

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// The key of the default environment in tests.
pub(crate) const KEY: &str = "test-key";
/// A bound that only a hang reaches.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A gateway that runs, or ran.
pub(crate) struct Gateway {
    child: Option<Child>,
    directory: TempDir,
    environment: Vec<(String, String)>,
    base: String,
    client: Client,
    descriptors: Option<u32>,
    unheard: bool,
}

/// A directory below the build directory.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

/// The binary with that environment and no other, in that directory.
pub(crate) fn command(directory: &Path, environment: &[(String, String)]) -> Command {
    of(env!("CARGO_BIN_EXE_octohooks"), directory, environment)
}

fn of(program: &str, directory: &Path, environment: &[(String, String)]) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(environment.iter().cloned()).current_dir(directory);
    command.stdin(Stdio::null());
    command
}

/// A client without a proxy.
pub(crate) fn client() -> Client {
    // An error says that it is installed already.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().expect("a client")
}

/// A component that is kept in the repository.
pub(crate) fn component(name: &str) -> Vec<u8> {
    let path = format!("{}/../plugins/prebuilt/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    fs::read(path).expect("a component")
}

impl Gateway {
    /// Starts a gateway with retries after moments instead of hours, without a breaker, so that what fails in a row is not left
    /// alone, and with that much more of an environment.
    pub(crate) async fn start(environment: &[(&str, &str)]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        let usual = [
            ("OCTOHOOKS_SERVER__LISTEN", &*port.to_string()),
            ("OCTOHOOKS_AUTH__API_KEY", KEY),
            ("OCTOHOOKS_GUARD__ALLOW", "127.0.0.0/8"),
            ("OCTOHOOKS_DELIVERY__RETRY__WAITS_SECONDS", "[0.05, 0.05, 0.05]"),
            ("OCTOHOOKS_DELIVERY__BREAKER__FAILURES", "0"),
        ];
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut gateway = Self {
            child: None,
            directory: directory(),
            environment: usual.iter().chain(environment).map(text).collect(),
            base: format!("http://{port}"),
            client: client(),
            descriptors: None,
            unheard: false,
        };
        gateway.restart().await;
        gateway
    }

    /// Starts it again in the same directory, and waits until it is ready.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        let log = File::options().create(true).append(true).open(self.path("log")).expect("opens");
        let mut command = command(self.directory.path(), &self.environment);
        if let Some(most) = self.descriptors {
            let limited = format!("ulimit -n {most}; exec \"$0\" \"$@\"");
            let binary = command.get_program().to_owned();
            // A shell by its path: there is no PATH.
            command = of("/bin/sh", self.directory.path(), &self.environment);
            command.args(["-c", &limited]).arg(binary);
        }
        let output = log.try_clone().expect("a handle");
        command.arg("serve").stdout(output);
        match self.unheard {
            true => command.stderr(Stdio::piped()),
            false => command.stderr(log),
        };
        let mut child = command.spawn().expect("the gateway starts");
        drop(child.stderr.take());
        self.child = Some(child);
        let url = format!("{}/health", self.base);
        until("the gateway is ready", async || {
            let child = self.child.as_mut().expect("was started");
            let ended = child.try_wait().expect("a child");
            assert!(ended.is_none(), "the gateway ended: {ended:?}\n{}", self.log());
            self.client.get(&url).send().await.ok().filter(|answer| answer.status() == 200)
        })
        .await;
    }

    /// From the next start on nobody reads its log.
    pub(crate) fn ignore_log(&mut self) {
        self.unheard = true;
    }

    /// The next start may open that many files and sockets.
    pub(crate) fn limit_descriptors(&mut self, most: u32) {
        self.descriptors = Some(most);
    }

    /// Sets a variable for the next start.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Leaves a variable out of the next start.
    pub(crate) fn unset(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    /// A path in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What it has printed.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ended = child.kill();
            let _status = child.wait();
        }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Sends it a signal by the name that `kill` takes.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.expect("kill").success());
    }

    /// How it ended, after a signal to.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        until("the gateway ends", async || child.try_wait().expect("a child")).await
    }

    /// A call of the API: status and body, `null` if that is empty.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.expect("an answer");
        let (status, bytes) = (answer.status(), answer.bytes().await.expect("a body"));
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// A request of the API, with the key of the default environment.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.request_with(KEY, method, path)
    }

    /// A request of the API, with that key.
    pub(crate) fn request_with(
        &self,
        key: &str,
        method: Method,
        path: &str,
    ) -> reqwest::RequestBuilder {
        let url = format!("{}/api/v1{path}", self.base);
        self.client.request(method, url).header("authorization", key).timeout(LONG)
    }

    /// The text at a path outside the API.
    pub(crate) async fn text(&self, path: &str) -> String {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await;
        answer.expect("an answer").text().await.expect("text")
    }

    /// Its address.
    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// A call that must succeed: its body.
    pub(crate) async fn good(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.call(method.clone(), path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}\n{}", self.log());
        answer
    }

    /// `POST` that must succeed.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        self.good(Method::POST, path, Some(&body)).await
    }

    /// `PUT` that must succeed.
    pub(crate) async fn put(&self, path: &str, body: Value) -> Value {
        self.good(Method::PUT, path, Some(&body)).await
    }

    /// `GET` that must succeed.
    pub(crate) async fn get(&self, path: &str) -> Value {
        self.good(Method::GET, path, None).await
    }

    /// An application with that uid, and endpoints with these URLs.
    pub(crate) async fn application(&self, uid: &str, urls: &[&str]) {
        self.post("/applications", json!({ "name": uid, "uid": uid })).await;
        for (index, url) in urls.iter().enumerate() {
            let endpoint = json!({ "url": url, "uid": format!("e{index}") });
            self.post(&format!("/applications/{uid}/endpoints"), endpoint).await;
        }
    }

    /// A message: its id.
    pub(crate) async fn message(&self, application: &str, payload: Value) -> String {
        let message = json!({ "eventType": "sms.status", "payload": payload });
        let made = self.post(&format!("/applications/{application}/messages"), message).await;
        made["id"].as_str().expect("an id").to_owned()
    }

    /// Uploads a component as the application's plugin `main`.
    pub(crate) async fn upload(&self, application: &str, bytes: Vec<u8>) -> (StatusCode, Value) {
        self.upload_as(application, "main", bytes).await
    }

    /// Uploads a component as that plugin; a query may follow the name.
    pub(crate) async fn upload_as(
        &self,
        application: &str,
        plugin: &str,
        bytes: Vec<u8>,
    ) -> (StatusCode, Value) {
        let path = format!("/applications/{application}/plugins/{plugin}");
        let answer = self.request(Method::PUT, &path).body(bytes).send().await.expect("an answer");
        (answer.status(), json_of(answer).await)
    }

    /// Gives the application's plugin `main` settings.
    pub(crate) async fn settings(&self, application: &str, settings: Value) -> Value {
        let path = format!("/applications/{application}/plugins/main");
        self.good(Method::PATCH, &path, Some(&json!({ "settings": settings }))).await
    }

    /// The message's deliveries, once all have ended.
    pub(crate) async fn settled(&self, application: &str, message: &str) -> Vec<Value> {
        let path = format!("/applications/{application}/messages/{message}/endpoint-messages");
        until("the deliveries end", async || {
            let list = self.get(&path).await.as_array().expect("a list").clone();
            let ended = |delivery: &Value| {
                matches!(delivery["status"].as_str(), Some("success" | "failed" | "disabled"))
            };
            (!list.is_empty() && list.iter().all(ended)).then_some(list)
        })
        .await
    }

    /// The message, once it is in that state.
    pub(crate) async fn held(&self, application: &str, message: &str, state: &str) -> Value {
        let path = format!("/applications/{application}/messages/{message}");
        until(&format!("the message is {state}"), async || {
            let found = self.get(&path).await;
            (found["state"] == state).then_some(found)
        })
        .await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let end = log.ceil_char_boundary(log.len().saturating_sub(8000));
            eprintln!("the gateway's last words:\n{}", &log[end..]);
        }
    }
}

/// An answer's body.
pub(crate) async fn json_of(answer: reqwest::Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
}

/// Asks again and again until there is an answer.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, asking).await.unwrap_or_else(|_| panic!("never: {what}"))
}
