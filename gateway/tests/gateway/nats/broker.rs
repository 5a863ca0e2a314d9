//! A real nats-server, which the tests start, kill and start again.

use crate::gateway::rig::{directory, until};
use async_nats::{Client, ConnectOptions};
use std::{
    env,
    ffi::OsString,
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A nats-server. Killed when dropped.
pub(crate) struct Broker {
    child: Child,
    server: OsString,
    port: u16,
    directory: TempDir,
}

/// A port that nobody has.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.expect("a port").port()
}

impl Broker {
    /// A server on a free port, with JetStream. None, said aloud, where there is no nats-server: `cargo xtask test`
    /// fetches one.
    pub(crate) fn start() -> Option<Self> {
        Self::of("NATS_SERVER", "jetstream: enabled")
    }

    /// The same of version 2.9.
    pub(crate) fn old() -> Option<Self> {
        Self::of("NATS_SERVER_OLD", "jetstream: enabled")
    }

    /// The same with that configuration, and without JetStream.
    pub(crate) fn configured(configuration: &str) -> Option<Self> {
        Self::of("NATS_SERVER", configuration)
    }

    fn of(variable: &str, configuration: &str) -> Option<Self> {
        let Some(server) = env::var_os(variable) else {
            println!("left out: {variable} names no nats-server");
            return None;
        };
        let (port, directory) = (free_port(), directory());
        fs::write(directory.path().join("configuration"), configuration).expect("is written");
        let child = spawn(&server, port, directory.path());
        Some(Self { child, server, port, directory })
    }

    pub(crate) fn kill(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }

    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.server, self.port, self.directory.path());
    }

    /// Kills it, and starts one with the same streams on that port.
    pub(crate) fn move_to(&mut self, port: u16) {
        self.port = port;
        self.restart();
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn client(&self) -> Client {
        self.client_with(&ConnectOptions::new()).await
    }

    /// A client that is let in where not everybody is.
    pub(crate) async fn client_with(&self, options: &ConnectOptions) -> Client {
        let connect = async || options.clone().connect(self.url()).await.ok();
        until("the nats-server lets a client in", connect).await
    }
}

fn spawn(server: &OsString, port: u16, directory: &Path) -> Child {
    let mut command = Command::new(server);
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--config", "configuration"]);
    command.args(["--store_dir", "streams"]).current_dir(directory).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nats-server starts")
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}
