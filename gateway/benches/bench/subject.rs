//! The gateway under test, as a process: started with a store of its own, made ready over the same
//! API that a customer uses, asked for its counters, killed when dropped.
//!
//! One that finds a backlog at its start knows its application from its configuration instead:
//! messages are there before anybody could call the API.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use reqwest::{Client, Method, Response};
use serde_json::json;
use tempfile::TempDir;

use super::broker::{self, Broker};
use super::procfs::Usage;
use super::{load, nats};

const KEY: &str = "bench-key";
pub(crate) const APP: &str = "bench";

/// What a gateway may take to become healthy, or to answer one call: a new plugin is compiled.
pub(crate) const START: Duration = Duration::from_secs(30);

/// The counter of transactions made durable: one fsync each.
const COMMITS: &str = "octohooks_store_commits_total";

/// The counter of messages made durable.
const ACCEPTED: &str = "octohooks_messages_accepted_total";

/// A gateway to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// Does nothing.
    Null,
    /// Octohooks without a plugin.
    Plain,
    /// Octohooks with the SMS status plugin.
    Plugin,
    /// Octohooks without a plugin, its messages coming over NATS.
    Nats,
}

impl Subject {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Plain => "plain",
            Self::Plugin => "plugin",
            Self::Nats => "nats",
        }
    }
}

/// Where the parts of a gateway are found.
pub(crate) struct Launch {
    pub(crate) gateway: Option<PathBuf>,
    pub(crate) plugin: PathBuf,
    /// `None` where there is none.
    pub(crate) nats_server: Option<PathBuf>,
    /// Stores are made below it.
    pub(crate) scratch: PathBuf,
}

/// Where a gateway's messages are sent.
pub(crate) enum Target {
    Http(load::Target),
    Nats(nats::Target),
}

/// A running gateway that knows its endpoints.
pub(crate) struct Gateway {
    // Dropped in this order: the process must be gone before its files go.
    process: Process,
    data: TempDir,
    /// What its messages come through.
    broker: Option<Broker>,
    host: String,
    client: Client,
    pub(crate) subject: Subject,
}

/// A gateway's counters at one moment.
pub(crate) struct Sample {
    pub(crate) usage: Usage,
    /// `None` when the gateway does not count them.
    pub(crate) commits: Option<f64>,
    /// CPU of the nats-server; `None` when there is none.
    pub(crate) broker_cpu: Option<Duration>,
}

impl Gateway {
    /// Starts the subject and gives it one application with these endpoints.
    pub(crate) async fn start(
        subject: Subject,
        urls: &[String],
        launch: &Launch,
        broker: Option<Broker>,
    ) -> Result<Self> {
        let data = tempfile::Builder::new().prefix("bench-").tempdir_in(&launch.scratch)?;
        // Freed just before the gateway takes it; the range is wide enough for that to be safe.
        let host = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let mut command = match subject {
            Subject::Null => null_command(&host, urls)?,
            _ => octohooks_command(&host, data.path(), launch)?,
        };
        if let Some(broker) = &broker {
            command.env("OCTOHOOKS_NATS__SERVERS", broker.url());
        }
        let drains = broker.as_ref().is_some_and(|broker| broker.has_backlog);
        if drains {
            let file = data.path().join("octohooks.toml");
            std::fs::write(&file, broker::source() + &declared(urls))?;
            command.arg("--config").arg(file);
        }
        let process = Process::start(command, data.path())?;
        let client = Client::builder().no_proxy().timeout(START).build()?;
        let mut gateway = Self { process, data, broker, host, client, subject };
        gateway.wait_until_healthy().await.with_context(|| gateway.log())?;
        if subject != Subject::Null && !drains {
            gateway.furnish(urls, launch).await.with_context(|| gateway.log())?;
        }
        Ok(gateway)
    }

    pub(crate) fn target(&self) -> Target {
        match &self.broker {
            None => Target::Http(load::Target { host: self.host.clone(), app: APP, key: KEY }),
            Some(broker) => Target::Nats(nats::Target {
                server: broker.address.clone(),
                subject: format!("octohooks.ingest.{APP}"),
            }),
        }
    }

    /// What the gateway has used and counted so far.
    pub(crate) async fn sample(&self) -> Result<Sample> {
        let commits = match self.subject {
            Subject::Null => Some(0.0),
            _ => counter(&self.metrics().await?, COMMITS),
        };
        let broker_cpu = self.broker.as_ref().map(Broker::cpu).transpose()?;
        Ok(Sample { usage: Usage::of(self.process.0.id())?, commits, broker_cpu })
    }

    /// How many messages it has accepted so far.
    pub(crate) async fn accepted(&self) -> Result<u64> {
        Ok(counter(&self.metrics().await?, ACCEPTED).unwrap_or_default() as u64)
    }

    /// The end of what the gateway wrote to its log.
    pub(crate) fn log(&self) -> String {
        let text = std::fs::read(self.data.path().join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(10)..].join("\n  ");
        format!("the {} gateway failed; its log ends:\n  {tail}", self.subject.name())
    }

    async fn wait_until_healthy(&mut self) -> Result<()> {
        let health = format!("http://{}/health", self.host);
        let until = Instant::now() + START;
        loop {
            if let Ok(answer) = self.client.get(&health).send().await
                && answer.status().is_success()
            {
                return Ok(());
            }
            if let Some(status) = self.process.0.try_wait()? {
                bail!("ended at its start: {status}");
            }
            if Instant::now() > until {
                bail!("not healthy after {START:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Creates the application, its endpoints and its plugin.
    async fn furnish(&self, urls: &[String], launch: &Launch) -> Result<()> {
        self.application(APP).await?;
        for (number, url) in urls.iter().enumerate() {
            let name = format!("sink-{number}");
            let endpoint = json!({"url": url, "name": name, "uid": name});
            let path = format!("/applications/{APP}/endpoints");
            self.call(Method::POST, &path, endpoint.to_string().into()).await?;
        }
        if self.subject == Subject::Plugin {
            let component = std::fs::read(&launch.plugin)
                .with_context(|| format!("reading {}", launch.plugin.display()))?;
            self.upload(APP, component).await?;
        }
        Ok(())
    }

    /// Creates an application.
    pub(crate) async fn application(&self, uid: &str) -> Result<()> {
        let app = json!({"name": uid, "uid": uid});
        self.call(Method::POST, "/applications", app.to_string().into()).await.map(drop)
    }

    /// Gives an application a plugin, or another one.
    pub(crate) async fn upload(&self, uid: &str, component: Vec<u8>) -> Result<()> {
        let path = format!("/applications/{uid}/plugins/main");
        self.call(Method::PUT, &path, component).await.map(drop)
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// Stops it; what it kept stays until that is dropped.
    pub(crate) fn stop(self) -> TempDir {
        drop(self.process);
        self.data
    }

    /// One call of the API, which must succeed.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Response> {
        let kind = if method == Method::PUT { "application/wasm" } else { "application/json" };
        let url = format!("http://{}/api/v1{path}", self.host);
        let request = self.client.request(method.clone(), url).bearer_auth(KEY);
        let answer = request.header("content-type", kind).body(body).send().await?;
        let status = answer.status();
        if !status.is_success() {
            bail!("{method} {path}: {status} {}", answer.text().await.unwrap_or_default());
        }
        Ok(answer)
    }

    async fn metrics(&self) -> Result<String> {
        let url = format!("http://{}/metrics", self.host);
        Ok(self.client.get(url).bearer_auth(KEY).send().await?.text().await?)
    }
}

/// The sum of a counter's series in the Prometheus text format, `None` when it has none.
fn counter(metrics: &str, name: &str) -> Option<f64> {
    let series = metrics.lines().filter_map(|line| line.strip_prefix(name));
    let own = series.filter(|rest| rest.starts_with([' ', '{']));
    let values = own.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
    values.reduce(|sum, value| sum + value)
}

/// The application and its endpoints, as the gateway's configuration has them.
fn declared(urls: &[String]) -> String {
    let endpoints = urls.iter().enumerate().map(|(number, url)| {
        format!("[[applications.endpoints]]\nuid = \"sink-{number}\"\nurl = \"{url}\"\n")
    });
    format!("[[applications]]\nuid = \"{APP}\"\n{}", endpoints.collect::<String>())
}

fn null_command(host: &str, urls: &[String]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["null", "--listen", host]).args(urls);
    Ok(command)
}

fn octohooks_command(host: &str, data: &Path, launch: &Launch) -> Result<Command> {
    let binary = launch.gateway.as_ref().context("no gateway to start: give --gateway PATH")?;
    let binary = binary.canonicalize().with_context(|| format!("no {}", binary.display()))?;
    let store = data.join("store");
    std::fs::create_dir(&store)?;
    let mut command = Command::new(binary);
    command
        .arg("serve")
        .env("OCTOHOOKS_SERVER__LISTEN", host)
        .env("OCTOHOOKS_DATA__DIR", &store)
        .env("OCTOHOOKS_AUTH__API_KEY", KEY)
        .env("OCTOHOOKS_GUARD__ALLOW", "127.0.0.0/8")
        .env("OCTOHOOKS_LOG__LEVEL", "warn")
        .env("OCTOHOOKS_PLUGINS__QUARANTINE_AFTER", "0");
    Ok(command)
}

/// A child that does not outlive its handle.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Starts it in a directory of its own, where it finds no stray configuration.
    pub(crate) fn start(mut command: Command, directory: &Path) -> Result<Self> {
        let log = File::create(directory.join("log"))?;
        let child = command
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {:?}", command.get_program()))?;
        Ok(Self(child))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its store is thrown away: there is nothing to end in order for.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
