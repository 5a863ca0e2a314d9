//! The nats-server between the load and the gateway, as a process with its own defaults: started
//! with a store of its own, filled with a backlog, asked for its CPU, killed when dropped.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use async_nats::jetstream;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::procfs::Usage;
use super::subject::{APP, Launch, Process, START};
use super::wire::Request;

/// The stream of the backlog, and the subject that its messages have.
const STREAM: &str = "BACKLOG";
const SUBJECT: &str = "backlog";

/// How many messages may wait for the stream's acknowledgement at once.
const UNACKNOWLEDGED: usize = 1000;

/// A running nats-server.
pub(crate) struct Broker {
    // Dropped in this order: the process must be gone before its files go.
    process: Process,
    data: TempDir,
    pub(crate) address: String,
    /// Whether it has a stream for the gateway to take messages from.
    pub(crate) has_backlog: bool,
}

impl Broker {
    pub(crate) async fn start(launch: &Launch) -> Result<Self> {
        let server = launch.nats_server.as_ref().context("no nats-server")?;
        let data = tempfile::Builder::new().prefix("bench-").tempdir_in(&launch.scratch)?;
        // Freed just before the server takes it; the range is wide enough for that to be safe.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(server);
        let port = address.port().to_string();
        command.args(["--addr", "127.0.0.1", "--port", &port, "--jetstream", "--store_dir"]);
        command.arg(data.path());
        let process = Process::start(command, data.path())?;
        let address = address.to_string();
        let mut broker = Self { process, data, address, has_backlog: false };
        broker.wait_until_listening().await?;
        Ok(broker)
    }

    async fn wait_until_listening(&mut self) -> Result<()> {
        let until = Instant::now() + START;
        while TcpStream::connect(&self.address).await.is_err() {
            if let Some(status) = self.process.0.try_wait()? {
                bail!("the nats-server ended at its start: {status}");
            }
            if Instant::now() > until {
                bail!("the nats-server does not listen after {START:?}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// User and system time so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        Ok(Usage::of(self.process.0.id())?.cpu)
    }

    /// Makes a stream of so many messages, numbered from 0, that wait on disk for the gateway.
    pub(crate) async fn fill(&mut self, count: usize, phase: u16) -> Result<()> {
        let context = jetstream::new(async_nats::connect(&self.address).await?);
        let config = jetstream::stream::Config {
            name: STREAM.into(),
            subjects: vec![SUBJECT.into()],
            storage: jetstream::stream::StorageType::File,
            ..jetstream::stream::Config::default()
        };
        context.create_stream(config).await?;
        let mut message = Request::bare(phase);
        let mut unacknowledged = Vec::new();
        for number in 0..count {
            let body = message.numbered(number).to_vec();
            unacknowledged.push(context.publish(SUBJECT, body.into()).await?);
            if unacknowledged.len() == UNACKNOWLEDGED || number + 1 == count {
                for acknowledgement in unacknowledged.drain(..) {
                    acknowledgement.await?;
                }
            }
        }
        // A backlog is on disk when a gateway comes back: writing it is no part of draining it.
        sync(self.data.path()).context("syncing the stream")?;
        self.has_backlog = true;
        Ok(())
    }
}

/// The source that takes the backlog, as the gateway's configuration has it.
pub(crate) fn source() -> String {
    format!(
        "[[ingest.nats.sources]]\nstream = \"{STREAM}\"\ndurable = \"bench\"\n\
         application = \"{APP}\"\ndead_letter = \"dead\"\n"
    )
}

/// What the server says its version is.
pub(crate) fn version(server: &Path) -> Result<String> {
    let said = Command::new(server).arg("--version").output();
    let said = said.with_context(|| format!("starting {}", server.display()))?;
    Ok(String::from_utf8_lossy(&said.stdout).trim().replace(": v", " "))
}

/// Makes what is in the directory durable.
fn sync(directory: &Path) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        match path.is_dir() {
            true => sync(&path)?,
            // The server may have replaced it meanwhile.
            false => File::open(&path).map_or(Ok(()), |file| file.sync_all())?,
        }
    }
    Ok(())
}
