//! TLS and HTTP/2, with real servers whose authority is the tests' own.

use super::{
    certificates::Authority,
    connections::loopback,
    scripted::{Say, Scripted},
    world::{client, failed, sent},
};
use crate::{
    deliver::{Options, client::dial::Tcp},
    model::attempt::Failure,
};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

/// Options that trust this authority alone, and its file.
pub fn trusting(authority: &Authority) -> (Options, NamedTempFile) {
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &authority.pem).expect("writes");
    let mut options = Options::default();
    options.tls.ca = Some(file.path().to_owned());
    (options, file)
}

#[tokio::test]
async fn a_receiver_is_who_its_certificate_says_or_is_told_nothing() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (options, _file) = trusting(&ours);
    let client = client(loopback(), options, Arc::new(Tcp));
    let (address, other) = ("127.0.0.1", "127.0.0.2");
    for (tls, expected) in [
        (ours.server(address, &[], None), Ok(200)),
        (ours.server(address, &["http/1.1"], None), Ok(200)),
        (ours.server(other, &[], None), Err(Failure::Tls)),
        (theirs.server(address, &[], None), Err(Failure::Tls)),
    ] {
        let receiver = Scripted::start_tls([Say::Status(200)], tls).await;
        let outcome = sent(&client, &receiver.url("/")).await;
        match expected {
            Ok(status) => assert_eq!(outcome.status(), Some(status), "{outcome:?}"),
            Err(class) => {
                assert_eq!(failed(&outcome).0, class, "{outcome:?}");
                assert_eq!(receiver.heard().len(), 0);
            }
        }
    }
    // One that speaks no TLS at all.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("writes");
        let _gone = stream.read(&mut [0; 1024]).await;
    });
    let outcome = sent(&client, &url).await;
    assert_eq!(failed(&outcome).0, Failure::Tls, "{outcome:?}");
}

/// A server of HTTP/2 alone: how many connections it was asked for, and how many requests it had at once at most.
struct Second {
    address: SocketAddr,
    opened: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

async fn second(tls: Arc<ServerConfig>) -> Second {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (opened, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let server = Second { address, opened: opened.clone(), most: most.clone() };
    let acceptor = TlsAcceptor::from(tls);
    tokio::spawn(async move {
        let now = Arc::new(AtomicUsize::new(0));
        while let Ok((stream, _)) = listener.accept().await {
            opened.fetch_add(1, SeqCst);
            let (acceptor, now, most) = (acceptor.clone(), now.clone(), most.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request: Request<Incoming>| {
                    let (now, most) = (now.clone(), most.clone());
                    async move {
                        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                        assert_eq!(request.version(), Version::HTTP_2);
                        assert_eq!(request.method(), "POST");
                        assert!(request.headers().get("host").is_none());
                        let body = request.into_body().collect().await.expect("a body");
                        assert!(!body.to_bytes().is_empty());
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        now.fetch_sub(1, SeqCst);
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("of two"))))
                    }
                });
                let serving = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                let _ended = serving.await;
            });
        }
    });
    server
}

#[tokio::test]
async fn http_2_is_spoken_where_a_receiver_does_and_one_connection_serves_many() {
    let authority = Authority::new();
    let server = second(authority.server("127.0.0.1", &["h2"], None)).await;
    let (options, _file) = trusting(&authority);
    let client = client(loopback(), options, Arc::new(Tcp));
    let url = format!("https://{}/", server.address);
    assert_eq!(sent(&client, &url).await.status(), Some(200));
    for _ in 0..3 {
        let outcomes = join_all((0..40).map(|_| sent(&client, &url))).await;
        for outcome in outcomes {
            assert_eq!(outcome.status(), Some(200), "{outcome:?}");
        }
    }
    assert_eq!(server.opened.load(SeqCst), 1);
    assert!(server.most.load(SeqCst) > 1, "at once");
}

#[tokio::test]
async fn many_that_meet_a_new_receiver_of_http_2_all_get_through() {
    let authority = Authority::new();
    let server = second(authority.server("127.0.0.1", &["h2", "http/1.1"], None)).await;
    let (options, _file) = trusting(&authority);
    let client = client(loopback(), options, Arc::new(Tcp));
    let url = format!("https://{}/", server.address);
    let outcomes = join_all((0..150).map(|_| sent(&client, &url))).await;
    assert!(outcomes.iter().all(|outcome| outcome.status() == Some(200)));
    // Whatever was opened at once, what is kept serves a hundred each.
    let (_, idle) = client.connector.pool.depths(64);
    assert!((1..=2).contains(&idle), "{idle}");
}

/// A frame of HTTP/2 that says `:status` on a stream, and whether nothing follows.
fn status_frame(stream: [u8; 4], status: &[u8], ends: bool) -> Vec<u8> {
    let block = [&[0x08, 3], status].concat();
    let length = u8::try_from(block.len()).expect("is short");
    [&[0, 0, length, 1, 4 | u8::from(ends)][..], &stream, &block].concat()
}

/// A receiver that says `103` so many times before it answers, to one request.
async fn hinting(tls: Arc<ServerConfig>, times: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("accepts");
        let mut stream = TlsAcceptor::from(tls).accept(stream).await.expect("speaks TLS");
        // Our settings, and theirs behind the preface.
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.expect("writes");
        stream.read_exact(&mut [0; 24]).await.expect("a preface");
        let asked = loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.expect("a frame");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut rest = vec![0; usize::try_from(length).expect("is short")];
            stream.read_exact(&mut rest).await.expect("its rest");
            if head[3] == 1 {
                break [head[5], head[6], head[7], head[8]];
            }
        };
        let hints = status_frame(asked, b"103", false).repeat(times);
        let _given_up = stream.write_all(&hints).await;
        let _given_up = stream.write_all(&status_frame(asked, b"204", true)).await;
        let _closed = stream.read_to_end(&mut Vec::new()).await;
    });
    url
}

#[tokio::test]
async fn who_says_everything_but_an_answer_over_http_2_is_not_listened_to_for_long() {
    let authority = Authority::new();
    let tls = authority.server("127.0.0.1", &["h2"], None);
    let (options, _file) = trusting(&authority);
    let client = client(loopback(), options, Arc::new(Tcp));
    let outcome = sent(&client, &hinting(tls.clone(), 100).await).await;
    assert_eq!(outcome.status(), Some(204), "{outcome:?}");
    let outcome = sent(&client, &hinting(tls, 100_000).await).await;
    assert_eq!(failed(&outcome), (Failure::Protocol, "more than 131072 bytes beside the answer"));
}
