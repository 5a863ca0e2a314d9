//! A TCP proxy between a gateway and its nats-server, which does what networks do: it cuts connections, delays what it
//! carries, and loses acknowledgements of messages of streams while everything else passes.

use super::Broker;
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// A proxy. Its connections end when it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    faults: Arc<Faults>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Faults {
    cuts: watch::Sender<()>,
    delay_ms: AtomicU64,
    loses_acknowledgements: AtomicBool,
    lost: AtomicUsize,
}

/// What is on its way, and when it arrives.
type Late = (Instant, Vec<u8>);

impl Proxy {
    /// A proxy that carries everything to that server.
    pub(crate) async fn before(broker: &Broker) -> Self {
        let server = SocketAddr::from(([127, 0, 0, 1], broker.port()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let faults = Arc::new(Faults::default());
        let of_each = faults.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server, of_each.clone()));
            }
        });
        Self { address, faults, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Cuts every connection. New ones are made as before.
    pub(crate) fn cut(&self) {
        self.faults.cuts.send_replace(());
    }

    /// From now on everything arrives so much later, in both directions.
    pub(crate) fn delay(&self, delay: Duration) {
        self.faults.delay_ms.store(delay.as_millis().try_into().expect("short"), SeqCst);
    }

    /// Whether acknowledgements are lost from now on.
    pub(crate) fn lose_acknowledgements(&self, lose: bool) {
        self.faults.loses_acknowledgements.store(lose, SeqCst);
    }

    /// How many acknowledgements were lost.
    pub(crate) fn lost(&self) -> usize {
        self.faults.lost.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

impl Faults {
    fn due(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.delay_ms.load(SeqCst))
    }
}

/// Carries one connection until an end of it closes, or it is cut.
async fn carry(client: TcpStream, server: SocketAddr, faults: Arc<Faults>) {
    let mut cuts = faults.cuts.subscribe();
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (up, down) = (mpsc::channel(1024), mpsc::channel(1024));
    tokio::select! {
        _closed = commands(from_client, up.0, &faults) => {}
        _closed = chunks(from_server, down.0, &faults) => {}
        _closed = deliver(up.1, to_server) => {}
        _closed = deliver(down.1, to_client) => {}
        _cut = cuts.changed() => {}
    }
}

async fn deliver(mut late: mpsc::Receiver<Late>, mut to: OwnedWriteHalf) -> io::Result<()> {
    while let Some((due, bytes)) = late.recv().await {
        sleep_until(due).await;
        to.write_all(&bytes).await?;
    }
    Ok(())
}

/// From the server, whatever it is.
async fn chunks(
    mut from: OwnedReadHalf,
    late: mpsc::Sender<Late>,
    faults: &Faults,
) -> io::Result<()> {
    loop {
        let mut chunk = vec![0; 64 << 10];
        let read = from.read(&mut chunk).await?;
        chunk.truncate(read);
        if read == 0 || late.send((faults.due(), chunk)).await.is_err() {
            return Ok(());
        }
    }
}

/// From the client, command by command: what is published has its payload behind its line.
async fn commands(
    from: OwnedReadHalf,
    late: mpsc::Sender<Late>,
    faults: &Faults,
) -> io::Result<()> {
    let mut from = BufReader::new(from);
    loop {
        let mut command = Vec::new();
        if from.read_until(b'\n', &mut command).await? == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&command).into_owned();
        let mut words = line.split_ascii_whitespace();
        if matches!(words.next(), Some("PUB" | "HPUB")) {
            // PUB subject [reply] size; HPUB has the headers' size before, which is a part of the last number.
            let subject = words.next().expect("a subject");
            let size: usize = words.last().and_then(|size| size.parse().ok()).expect("a size");
            let start = command.len();
            command.resize(start + size + b"\r\n".len(), 0);
            from.read_exact(&mut command[start..]).await?;
            if subject.starts_with("$JS.ACK.") && faults.loses_acknowledgements.load(SeqCst) {
                faults.lost.fetch_add(1, SeqCst);
                continue;
            }
        }
        if late.send((faults.due(), command)).await.is_err() {
            return Ok(());
        }
    }
}
