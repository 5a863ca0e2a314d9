//! A receiver over raw sockets that does what a script says, request by request: for what a well-behaved server cannot
//! do, and for tests that count connections.
//!
//! ```ignore
//! let receiver = Scripted::start([Say::Status(500), Say::Reset, Say::Status(200)]).await;
//! gateway.application("hooli", &[&receiver.url("/")]).await;
//! gateway.message("hooli", json!({})).await;
//! let heard = receiver.wait_for(3).await;
//! assert_eq!(heard[2].connection, 1, "the second connection");
//! ```
//!
//! Requests are counted over all connections and take the script's steps in turn; the last step stays. A path may have a
//! script of its own ([`Scripted::script`]), so that one receiver serves several endpoints. [`Scripted::start_tls`] is
//! the same behind TLS. What is bad below HTTP: `https` to a receiver that speaks plain HTTP, a certificate that the
//! gateway does not trust, a port nobody listens on.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

/// What the receiver does with a request, once it has read it whole.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// Answers with that status and no body.
    Status(u16),
    /// Answers with that status, these headers and that body.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Answers with that status and `Retry-After`: seconds, or a date.
    RetryAfter(u16, String),
    /// Answers 302 to there.
    Redirect(String),
    /// Answers with that status after so long.
    Slow(Duration, u16),
    /// Never says anything.
    HangBeforeHeaders,
    /// Says `200` and headers that promise a body, and nothing more.
    HangAfterHeaders,
    /// Says `200`, and then a byte of the body every so often, for ever.
    Drip(Duration),
    /// Says `200` and that many bytes of body.
    Huge(u64),
    /// Promises 100 bytes of body, sends 10 and closes.
    WrongLength,
    /// Says something that is no HTTP, and closes.
    Garbage,
    /// Answers with that status and closes the connection, without a word about it: the next request on it meets nobody.
    CloseAfter(u16),
    /// Closes the connection (a FIN) without an answer.
    Close,
    /// Resets the connection (an RST) without an answer.
    Reset,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// Of which connection, from 0 in the order they were opened.
    pub(crate) connection: usize,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Heard {
    /// A header's value, empty if it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

/// The receiver. It ends when it is dropped.
pub(crate) struct Scripted {
    address: SocketAddr,
    scheme: &'static str,
    books: Arc<Mutex<Books>>,
    server: AbortHandle,
}

#[derive(Default)]
struct Books {
    script: Vec<Say>,
    paths: HashMap<String, (Vec<Say>, usize)>,
    heard: Vec<Heard>,
    /// Requests without a script of their own.
    common: usize,
    opened: usize,
    open: usize,
    most_open: usize,
}

impl Scripted {
    /// A receiver on a free port of 127.0.0.1 with that script.
    pub(crate) async fn start(script: impl IntoIterator<Item = Say>) -> Self {
        Self::serve(script, None).await
    }

    /// The same behind TLS.
    pub(crate) async fn start_tls(
        script: impl IntoIterator<Item = Say>,
        tls: Arc<ServerConfig>,
    ) -> Self {
        Self::serve(script, Some(TlsAcceptor::from(tls))).await
    }

    async fn serve(script: impl IntoIterator<Item = Say>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let script = script.into_iter().collect();
        let books = Arc::new(Mutex::new(Books { script, ..Books::default() }));
        let shared = books.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = Connection::open(&shared);
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => connection.serve(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                connection.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, scheme, books, server: server.abort_handle() }
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Gives requests for that path a script of their own.
    pub(crate) fn script(&self, path: &str, script: impl IntoIterator<Item = Say>) {
        let script = script.into_iter().collect();
        self.books().paths.insert(path.to_owned(), (script, 0));
    }

    /// Every request so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.books().heard.clone()
    }

    /// Every request, once there are that many.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Heard> {
        let enough = async {
            while self.heard().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let limit = tokio::time::timeout(Duration::from_secs(60), enough);
        limit.await.unwrap_or_else(|_| panic!("never: {count} requests"));
        self.heard()
    }

    /// How many connections were ever opened.
    pub(crate) fn opened(&self) -> usize {
        self.books().opened
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.books().open
    }

    /// How many connections were open at once, at most.
    pub(crate) fn most_open(&self) -> usize {
        self.books().most_open
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("not poisoned")
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What a connection may be: TCP, or TLS over it.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Makes the next close a reset.
    fn reset(&self);
}

impl Stream for TcpStream {
    fn reset(&self) {
        self.set_zero_linger().expect("is set");
    }
}

impl Stream for tokio_rustls::server::TlsStream<TcpStream> {
    fn reset(&self) {
        self.get_ref().0.reset();
    }
}

struct Connection {
    number: usize,
    books: Arc<Mutex<Books>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.books.lock().expect("not poisoned").open -= 1;
    }
}

impl Connection {
    fn open(books: &Arc<Mutex<Books>>) -> Self {
        let mut locked = books.lock().expect("not poisoned");
        let number = locked.opened;
        locked.opened += 1;
        locked.open += 1;
        locked.most_open = locked.most_open.max(locked.open);
        Self { number, books: books.clone() }
    }

    async fn serve(self, mut stream: impl Stream) {
        let mut buffer = Vec::new();
        while let Some(heard) = self.read(&mut stream, &mut buffer).await {
            let say = self.note(heard);
            // One that went away is the test's business.
            if !answer(&mut stream, say).await.unwrap_or(false) {
                return;
            }
        }
    }

    /// Keeps the request, and says what is next in its script.
    fn note(&self, heard: Heard) -> Say {
        let mut books = self.books.lock().expect("not poisoned");
        let books = &mut *books;
        let (script, turn) = match books.paths.get_mut(&heard.path) {
            Some((script, turn)) => (&*script, turn),
            None => (&books.script, &mut books.common),
        };
        let say = script.get(*turn).or_else(|| script.last()).cloned();
        *turn += 1;
        books.heard.push(heard);
        say.unwrap_or(Say::Status(200))
    }

    /// The next request; none when the other side has closed.
    async fn read(&self, stream: &mut impl Stream, buffer: &mut Vec<u8>) -> Option<Heard> {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if stream.read_buf(buffer).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8(buffer.drain(..end + 4).collect()).expect("text");
        let mut lines = head.trim_end().split("\r\n");
        let mut first = lines.next()?.split(' ').map(str::to_owned);
        let (method, path) = (first.next()?, first.next()?);
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a header");
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        let length = headers.get("content-length").map_or("0", |v| v.to_str().expect("text"));
        let length: usize = length.parse().expect("a number");
        while buffer.len() < length {
            if stream.read_buf(buffer).await.ok()? == 0 {
                return None;
            }
        }
        let body = buffer.drain(..length).collect();
        Some(Heard { connection: self.number, method, path, headers, body })
    }
}

/// Does it; whether the connection goes on.
async fn answer(stream: &mut impl Stream, say: Say) -> std::io::Result<bool> {
    let (status, headers, body) = match say {
        Say::Status(status) | Say::CloseAfter(status) => (status, vec![], vec![]),
        Say::Answer(status, ref headers, ref body) => (status, headers.clone(), body.clone()),
        Say::RetryAfter(status, ref when) => (status, vec![("retry-after", when.clone())], vec![]),
        Say::Redirect(ref to) => (302, vec![("location", to.clone())], vec![]),
        Say::Slow(wait, status) => {
            tokio::time::sleep(wait).await;
            (status, vec![], vec![])
        }
        Say::HangBeforeHeaders => return gone(stream).await,
        Say::HangAfterHeaders => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").await?;
            return gone(stream).await;
        }
        Say::Drip(pause) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            loop {
                stream.write_all(b"1\r\n.\r\n").await?;
                tokio::time::sleep(pause).await;
            }
        }
        Say::Huge(size) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            let (mut left, chunk) = (size, [b'x'; 64 << 10]);
            while left > 0 {
                let part = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
                stream.write_all(&chunk[..part]).await?;
                left -= part as u64;
            }
            return Ok(true);
        }
        Say::WrongLength => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789").await?;
            stream.shutdown().await?;
            return Ok(false);
        }
        Say::Garbage => {
            stream.write_all(b"220 this is no HTTP\r\n").await?;
            stream.shutdown().await?;
            return Ok(false);
        }
        Say::Close => return Ok(false),
        Say::Reset => {
            stream.reset();
            return Ok(false);
        }
    };
    let mut head = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(&[head.as_bytes(), &body].concat()).await?;
    stream.flush().await?;
    Ok(!matches!(say, Say::CloseAfter(_)))
}

/// Waits until the other side has gone.
async fn gone(stream: &mut impl Stream) -> std::io::Result<bool> {
    while stream.read(&mut [0; 1024]).await? > 0 {}
    Ok(false)
}
