//! The egress proxy, for gateways whose receivers want to know their addresses: HTTP CONNECT or SOCKS5. The guard holds:
//! the gateway resolves and checks, and gives the proxy the address that was checked, never a name (`CONNECT
//! 203.0.113.7:443`). TLS and `Host` go through the tunnel with the receiver's own name. So does plain HTTP: it is
//! tunnelled too, since a request in the absolute form would have the proxy look the name up again.

use super::trouble::{Trouble, innermost};
use crate::model::{attempt::Failure, list::texts};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, Uri};
use hyper_util::{
    client::legacy::connect::proxy::{SocksV5, Tunnel},
    rt::TokioIo,
};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de};
use std::{
    fmt,
    future::ready,
    io,
    net::{IpAddr, SocketAddr},
};
use tokio::net::TcpStream;
use tower::{Service, service_fn};
use url::{Host, Url};

/// The proxy that deliveries go through.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `http://HOST:PORT` or `socks5://HOST:PORT`. None: no proxy.
    pub url: Option<Url>,
    /// Who the gateway is there.
    pub user: Option<String>,
    /// The password of that user.
    #[serde(skip_serializing)]
    pub password: Option<String>,
    /// Networks that are called without it.
    #[serde(deserialize_with = "networks")]
    pub except: Vec<IpNet>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, user, except, .. } = self;
        f.debug_struct("Options")
            .field("url", url)
            .field("user", user)
            .field("except", except)
            .finish_non_exhaustive()
    }
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let net = |text: &String| {
        let bad = |_| de::Error::custom(format!("`{text}` is not a network such as 10.0.0.0/8"));
        text.parse().map_err(bad)
    };
    texts(deserializer)?.iter().map(net).collect()
}

/// How long user and password may be together over SOCKS5, in bytes: what the client's messages have room for.
const SOCKS_LOGIN: usize = 234;

/// A proxy that can be used.
#[derive(Clone)]
pub struct Proxy {
    kind: Kind,
    host: Host,
    port: u16,
    login: Option<(String, String)>,
    except: Vec<IpNet>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Http,
    Socks5,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({:?} {}:{})", self.kind, self.host, self.port)
    }
}

impl Proxy {
    /// The proxy of the options, if they name one. An error is a key and what would be right.
    pub fn new(options: &Options) -> Result<Option<Self>, (&'static str, &'static str)> {
        let Options { url, user, password, except } = options;
        let Some(url) = url else {
            return match user.is_some() || password.is_some() || !except.is_empty() {
                true => Err(("url", "given where anything else of the proxy is")),
                false => Ok(None),
            };
        };
        let right = "http://HOST:PORT or socks5://HOST:PORT";
        let (kind, usual) = match url.scheme() {
            "http" => (Kind::Http, 80),
            "socks5" => (Kind::Socks5, 1080),
            _ => return Err(("url", right)),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(("url", "without a user; delivery.proxy.user and .password say who"));
        }
        let is_bare = matches!(url.path(), "" | "/") && url.query().is_none();
        // In a scheme that browsers do not know, an address is read as a name.
        let host = url.host_str().and_then(|host| Host::parse(host).ok()).filter(|_| is_bare);
        let host = host.ok_or(("url", right))?;
        let login = match (user, password) {
            (None, None) => None,
            (Some(user), Some(password)) if user.len() < 256 && password.len() < 256 => {
                Some((user.clone(), password.clone()))
            }
            _ => return Err(("user", "given with a password, each of at most 255 bytes")),
        };
        let length = login.as_ref().map_or(0, |(user, password)| user.len() + password.len());
        if matches!(kind, Kind::Socks5) && length > SOCKS_LOGIN {
            return Err((
                "user",
                "given with a password, for SOCKS5 of at most 234 bytes together",
            ));
        }
        let port = url.port().unwrap_or(usual);
        Ok(Some(Self { kind, host, port, login, except: except.clone() }))
    }

    /// Where it is.
    #[must_use]
    pub const fn place(&self) -> (&Host, u16) {
        (&self.host, self.port)
    }

    /// Whether it is the way to that address.
    #[must_use]
    pub fn leads_to(&self, address: IpAddr) -> bool {
        let written = [address, address.to_canonical()];
        !self.except.iter().any(|net| written.iter().any(|address| net.contains(address)))
    }

    /// Makes the connection to the proxy one to that address.
    pub async fn tunnel(&self, stream: TcpStream, to: SocketAddr) -> Result<TcpStream, Trouble> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Trouble::new(Failure::Connect, format!("the proxy: {}", innermost(error)))
        };
        let mut once = Some(TokioIo::new(stream));
        let connected = service_fn(move |_: Uri| {
            ready(once.take().ok_or_else(|| io::Error::other("one connection, one tunnel")))
        });
        // Only what the URLs are made of is used: the address, and what is connected already.
        let uri = |text: String| {
            text.parse::<Uri>().map_err(|error| Trouble::new(Failure::Internal, error.to_string()))
        };
        let (proxy, to) = (uri("http://proxy".into())?, uri(format!("http://{to}/"))?);
        let stream = match self.kind {
            Kind::Http => {
                let mut tunnel = Tunnel::new(proxy, connected);
                if let Some(login) = self.login.as_ref().and_then(basic) {
                    tunnel = tunnel.with_auth(login);
                }
                tunnel.call(to).await.map_err(|error| failed(&error))?
            }
            Kind::Socks5 => {
                let mut tunnel = SocksV5::new(proxy, connected);
                if let Some((user, password)) = &self.login {
                    tunnel = tunnel.with_auth(user.clone(), password.clone());
                }
                tunnel.call(to).await.map_err(|error| failed(&error))?
            }
        };
        Ok(stream.into_inner())
    }
}

fn basic((user, password): &(String, String)) -> Option<HeaderValue> {
    let text = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn proxy(options: Value) -> Result<Option<Proxy>, (&'static str, &'static str)> {
        Proxy::new(&serde_json::from_value(options).expect("options"))
    }

    #[test]
    fn a_proxy_is_a_place_and_who_we_are_there() {
        assert!(proxy(json!({})).expect("is good").is_none());
        for (url, place) in [
            ("http://proxy.corp:3128", "proxy.corp:3128"),
            ("http://10.0.0.1", "10.0.0.1:80"),
            ("socks5://10.0.0.1", "10.0.0.1:1080"),
            ("socks5://[::1]:9050/", "[::1]:9050"),
        ] {
            let proxy = proxy(json!({ "url": url })).expect("is good").expect("one");
            let (host, port) = proxy.place();
            assert_eq!(format!("{host}:{port}"), place);
        }
        for (options, key) in [
            (json!({ "url": "https://proxy" }), "url"),
            (json!({ "url": "socks4://proxy" }), "url"),
            (json!({ "url": "http://u:p@proxy" }), "url"),
            (json!({ "url": "http://proxy/path" }), "url"),
            (json!({ "user": "u" }), "url"),
            (json!({ "except": "10.0.0.0/8" }), "url"),
            (json!({ "url": "http://proxy", "user": "u" }), "user"),
            (json!({ "url": "socks5://p", "user": "u", "password": "p".repeat(234) }), "user"),
            (json!({ "url": "http://proxy", "user": "u", "password": "p".repeat(256) }), "user"),
        ] {
            assert_eq!(proxy(options.clone()).expect_err("is bad").0, key, "{options}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let options = json!({ "url": "http://proxy", "user": "u", "password": "hidden" });
        let options: Options = serde_json::from_value(options).expect("options");
        let proxy = Proxy::new(&options).expect("is good").expect("one");
        let shown = format!("{options:?} {proxy:?} {}", serde_json::json!(options));
        assert!(!shown.contains("hidden"), "{shown}");
    }

    #[test]
    fn what_is_excepted_is_called_without_it() {
        let options = json!({ "url": "http://proxy", "except": "10.0.0.0/8" });
        let proxy = proxy(options).expect("is good").expect("one");
        assert!(!proxy.leads_to([10, 1, 2, 3].into()));
        assert!(!proxy.leads_to("::ffff:10.1.2.3".parse().expect("an address")));
        assert!(proxy.leads_to([1, 1, 1, 1].into()));
    }
}
