//! Egress proxies: what they are told, and that the guard holds in front of them.

use super::{
    certificates::Authority,
    connections::loopback,
    names::{NameServer, Zone},
    scripted::{Say, Scripted},
    world::{Recorder, asking, client, failed, sent},
};
use crate::{deliver::client::dial::Tcp, model::attempt::Failure};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

/// A proxy that leads every tunnel to one place of loopback, and what it was asked for.
struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(socks: bool, to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let books = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let books = books.clone();
                tokio::spawn(async move {
                    let said = match socks {
                        true => socks5(&mut stream).await,
                        false => connect(&mut stream).await,
                    };
                    let Some(said) = said else { return };
                    books.lock().expect("not poisoned").push(said);
                    let mut far = TcpStream::connect(("127.0.0.1", to)).await.expect("connects");
                    let _ended = copy_bidirectional(&mut stream, &mut far).await;
                });
            }
        });
        Self { address, asked }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("not poisoned"))
    }
}

/// Answers CONNECT: the head that it came with, one line.
async fn connect(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("text").trim().replace("\r\n", " | ");
    if head.contains("refused") || head.contains("9.9.9.9") {
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await.ok()?;
        return None;
    }
    stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.ok()?;
    Some(head)
}

/// Answers SOCKS5 with a user: who it is, and where to.
async fn socks5(stream: &mut TcpStream) -> Option<String> {
    let mut greeting = vec![0; 2];
    stream.read_exact(&mut greeting).await.ok()?;
    let mut methods = vec![0; usize::from(greeting[1])];
    stream.read_exact(&mut methods).await.ok()?;
    assert!(methods.contains(&2), "{methods:?}");
    stream.write_all(&[5, 2]).await.ok()?;
    let text = async |stream: &mut TcpStream| {
        let mut bytes = vec![0; usize::from(stream.read_u8().await.ok()?)];
        stream.read_exact(&mut bytes).await.ok()?;
        String::from_utf8(bytes).ok()
    };
    assert_eq!(stream.read_u8().await.ok()?, 1);
    let (user, password) = (text(stream).await?, text(stream).await?);
    stream.write_all(&[1, 0]).await.ok()?;
    let mut request = [0; 4];
    stream.read_exact(&mut request).await.ok()?;
    assert_eq!(request, [5, 1, 0, 1], "an IPv4 address, and no name");
    let mut to = [0; 6];
    stream.read_exact(&mut to).await.ok()?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.ok()?;
    let port = u16::from_be_bytes([to[4], to[5]]);
    Some(format!("{user}:{password} {}.{}.{}.{}:{port}", to[0], to[1], to[2], to[3]))
}

fn zone() -> Zone {
    let one = |text: &str| vec![vec![text.parse().expect("an address")]];
    Zone::from([
        ("public.test".into(), one("1.1.1.1")),
        ("inside.test".into(), one("10.0.0.1")),
        ("blocked.test".into(), one("9.9.9.9")),
        ("here.test".into(), one("127.0.0.1")),
        (
            "both.test".into(),
            vec![["127.0.0.1", "1.1.1.1"].map(|a| a.parse().expect("one")).into()],
        ),
    ])
}

#[tokio::test]
async fn a_proxy_is_given_the_address_that_was_checked_and_never_a_name() {
    let receiver = Scripted::start([Say::Status(200)]).await;
    let server = NameServer::start(zone()).await;
    for (scheme, expected) in [
        (
            "http",
            "CONNECT 1.1.1.1:8080 HTTP/1.1 | Host: 1.1.1.1:8080 | Proxy-Authorization: Basic dTpw",
        ),
        ("socks5", "u:p 1.1.1.1:8080"),
    ] {
        let proxy = Proxy::start(scheme == "socks5", receiver.port()).await;
        let mut options = asking(&server);
        options.proxy.url = format!("{scheme}://{}", proxy.address).parse().ok();
        (options.proxy.user, options.proxy.password) = (Some("u".into()), Some("p".into()));
        options.proxy.except = vec!["127.0.0.0/8".parse().expect("a network")];
        let dialer = Recorder::leading_to(proxy.address);
        let client = client(loopback(), options, dialer.clone());
        let outcome = sent(&client, "http://public.test:8080/hook").await;
        assert_eq!(outcome.status(), Some(200), "{outcome:?}");
        assert_eq!(proxy.take(), [expected]);
        assert_eq!(dialer.take(), [proxy.address]);
        let heard = receiver.heard().pop().expect("one");
        assert_eq!((&*heard.path, heard.header("host")), ("/hook", "public.test:8080"));
        // The guard is in front of it: nothing is asked of the proxy.
        for inside in ["http://inside.test/", "http://10.0.0.1/", "http://[::1]/"] {
            assert_eq!(failed(&sent(&client, inside).await).0, Failure::Guard, "{inside}");
        }
        assert_eq!((proxy.take(), dialer.take()), (vec![], vec![]));
        // An excepted address beside another one is no way past the proxy.
        let _outcome = sent(&client, "http://both.test:8080/").await;
        assert_eq!((proxy.take().len(), dialer.take()), (1, vec![proxy.address]));
        // What is excepted is dialled itself.
        let url = format!("http://here.test:{}/", receiver.port());
        let _outcome = sent(&client, &url).await;
        assert_eq!(dialer.take(), [SocketAddr::from(([127, 0, 0, 1], receiver.port()))]);
    }
}

#[tokio::test]
async fn tls_goes_through_the_tunnel_with_the_receivers_name() {
    let authority = Authority::new();
    let tls = authority.server("public.test", &["http/1.1"], None);
    let receiver = Scripted::start_tls([Say::Status(200)], tls).await;
    let server = NameServer::start(zone()).await;
    let proxy = Proxy::start(false, receiver.port()).await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &authority.pem).expect("writes");
    let mut options = asking(&server);
    options.tls.ca = Some(file.path().to_owned());
    options.proxy.url = format!("http://{}", proxy.address).parse().ok();
    let client = client(loopback(), options, Arc::new(Tcp));
    let outcome = sent(&client, "https://public.test/").await;
    assert_eq!(outcome.status(), Some(200), "{outcome:?}");
    assert_eq!(proxy.take(), ["CONNECT 1.1.1.1:443 HTTP/1.1 | Host: 1.1.1.1:443"]);
    assert_eq!(receiver.heard()[0].header("host"), "public.test");
}

#[tokio::test]
async fn what_a_proxy_refuses_is_a_connection_that_failed() {
    let receiver = Scripted::start([Say::Status(200)]).await;
    let server = NameServer::start(zone()).await;
    let proxy = Proxy::start(false, receiver.port()).await;
    let mut options = asking(&server);
    options.proxy.url = format!("http://{}", proxy.address).parse().ok();
    let client = client(loopback(), options, Arc::new(Tcp));
    let outcome = sent(&client, "http://blocked.test/").await;
    assert_eq!(failed(&outcome), (Failure::Connect, "the proxy: tunnel error: unsuccessful"));
}
