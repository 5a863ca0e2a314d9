//! The demo's gateway: `octohooks serve` as a process of its own on a temporary directory, set up over its API like
//! any other. Killed when dropped, and its directory removed.

use super::{
    SILENCE,
    process::{Process, last_lines},
    receiver::Endpoint,
};
use crate::clock;
use anyhow::{Context, Result, ensure};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// The application's uid.
pub const APPLICATION: &str = "hooli-partner";
/// The demo's key; the gateway listens on loopback, and for minutes.
pub const KEY: &str = "demo-key";

const PLUGIN: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/prebuilt/sms-status.wasm"));
/// Seconds between attempts: the usual schedule takes a day and a half.
const WAITS: &str = "[0.2, 0.4, 1, 1, 1, 1, 1]";
/// How long a start may take.
pub const START: Duration = Duration::from_secs(30);

/// The process and its directory.
pub struct Gateway {
    process: Option<Process>,
    // Dropped after the process.
    directory: TempDir,
    address: SocketAddr,
    client: Client,
    settings: Vec<(&'static str, String)>,
}

/// A client of the demo's own.
pub fn client() -> Result<Client> {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().timeout(START).build().context("the HTTP client")
}

impl Gateway {
    /// A running gateway without applications, with these variables besides.
    pub async fn start(settings: Vec<(&'static str, String)>) -> Result<Self> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let mut gateway = Self {
            process: None,
            directory: TempDir::with_prefix("octohooks-demo-").context("a temporary directory")?,
            address: free.context("a free port")?,
            client: client()?,
            settings,
        };
        gateway.run().await?;
        Ok(gateway)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts the process, and waits until it is ready.
    pub async fn run(&mut self) -> Result<()> {
        let program = std::env::current_exe().context("this program")?;
        let ours = std::env::vars_os().map(|(name, _)| name);
        let ours = ours.filter(|name| name.to_string_lossy().starts_with("OCTOHOOKS_"));
        let mut command = Command::new(program);
        for name in ours {
            command.env_remove(name);
        }
        command
            .arg("serve")
            .env("OCTOHOOKS_SERVER__LISTEN", self.address.to_string())
            .env("OCTOHOOKS_AUTH__API_KEY", KEY)
            .env("OCTOHOOKS_GUARD__ALLOW", "127.0.0.0/8")
            .env("OCTOHOOKS_DELIVERY__RETRY__WAITS_SECONDS", WAITS)
            // A receiver that refuses every message twice looks like one that is down.
            .env("OCTOHOOKS_DELIVERY__BREAKER__FAILURES", "0")
            .envs(self.settings.iter().cloned());
        let process = Process::start(&mut command, self.directory.path());
        self.process = Some(process.context("the gateway")?);
        timeout(START, self.is_ready()).await.context("the gateway is not ready")?
    }

    async fn is_ready(&mut self) -> Result<()> {
        let url = format!("http://{}/health", self.address);
        loop {
            if let Ok(answer) = self.client.get(&url).send().await
                && answer.status().is_success()
            {
                return Ok(());
            }
            if let Some(process) = &mut self.process {
                process.check("the gateway", self.directory.path())?;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// SIGKILL: nothing is written, nothing is closed.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// The application with its plugin and its three endpoints; their secrets.
    pub async fn set_up(&self, receiver: SocketAddr) -> Result<HashMap<Endpoint, String>> {
        let application = json!({ "name": "Hooli, SMS partner", "uid": APPLICATION });
        self.call(Method::POST, "/applications", application.to_string()).await?;
        let plugin = format!("/applications/{APPLICATION}/plugins/main");
        self.call(Method::PUT, &plugin, PLUGIN).await?;
        let mut secrets = HashMap::new();
        for endpoint in Endpoint::ALL {
            let mut wanted = endpoint.wanted();
            wanted["url"] = json!(format!("http://{receiver}{}", endpoint.path()));
            let path = format!("/applications/{APPLICATION}/endpoints");
            let made = self.call(Method::POST, &path, wanted.to_string()).await?;
            let secret = made["secrets"][0].as_str().context("an endpoint without a secret")?;
            secrets.insert(endpoint, secret.to_owned());
        }
        Ok(secrets)
    }

    /// How many messages the plugin dropped, as the gateway's record says, once they are so many or come no more: what
    /// is dropped does not arrive, so nobody else can tell that the gateway is done with it.
    pub async fn dropped(&self, wanted: u32) -> Result<u32> {
        let (mut count, mut since) = (0, clock::instant());
        loop {
            let now = self.count_dropped().await?;
            if now > count {
                (count, since) = (now, clock::instant());
            }
            if count >= wanted || since.elapsed() > SILENCE {
                return Ok(count);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn count_dropped(&self) -> Result<u32> {
        let mut count = 0;
        let mut iterator = String::new();
        loop {
            let path =
                format!("/applications/{APPLICATION}/messages?state=dropped&limit=250{iterator}");
            let page = self.call(Method::GET, &path, "").await?;
            count += page["data"].as_array().map_or(0, Vec::len);
            match page["iterator"].as_str() {
                Some(next) => iterator = format!("&iterator={next}"),
                None => return Ok(u32::try_from(count)?),
            }
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> Result<Value> {
        let url = format!("http://{}/api/v1{path}", self.address);
        let request = self.client.request(method, &url).header("authorization", KEY);
        let answer: Response = request.body(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status == StatusCode::OK, "{path}: {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// What the gateway said last, for who must find out why the demo failed.
    #[allow(clippy::print_stderr, reason = "the command line speaks to whoever called it")]
    pub fn print_log(&self) {
        eprintln!("\nThe gateway's last lines:\n{}", last_lines(self.directory.path()));
    }
}
