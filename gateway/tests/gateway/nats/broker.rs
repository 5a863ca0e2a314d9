//! A real nats-server, which the tests start, kill and start again.

use crate::gateway::rig::{directory, until};
use async_nats::Client;
use std::{
    env,
    net::TcpListener,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A nats-server. Killed when dropped.
pub(crate) struct Broker {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Broker {
    /// A server on a free port. None, said aloud, where there is no nats-server: `cargo xtask test` fetches one.
    pub(crate) fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        let Some(server) = env::var_os("NATS_SERVER") else {
            println!("left out: NATS_SERVER names no nats-server");
            return None;
        };
        let directory = directory();
        let child = Self::spawn(&server, port.port(), &directory);
        Some(Self { child, port: port.port(), directory })
    }

    fn spawn(server: &std::ffi::OsStr, port: u16, directory: &TempDir) -> Child {
        let mut command = Command::new(server);
        command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--jetstream"]);
        command.arg("--store_dir").arg(directory.path()).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nats-server starts")
    }

    pub(crate) fn kill(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }

    pub(crate) fn restart(&mut self) {
        self.kill();
        let server = env::var_os("NATS_SERVER").expect("it ran before");
        self.child = Self::spawn(&server, self.port, &self.directory);
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn client(&self) -> Client {
        until("the nats-server listens", async || async_nats::connect(self.url()).await.ok()).await
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}
