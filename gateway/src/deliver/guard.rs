//! The guard against server-side request forgery: what may be called. A URL is looked at when an endpoint is created, for
//! early feedback, and at every attempt; there, after the name was resolved, every address is too, and the connection goes to
//! an address that was ([`connect`](super::client::connect)). A function of its arguments; what is special about an
//! address is in [`ranges`], what operators may say in [`Options`].
//!
//! What is refused at an attempt is a recorded attempt of the class `guard`, and tried again by the schedule: a name
//! may mean something else tomorrow, and the next attempt costs a look-up. It never costs a connection.

use std::{net::IpAddr, sync::Arc};
use url::{Host, Url};

pub use options::Options;

mod options;
pub mod ranges;

/// Why a URL or an address was refused, as its owner reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not one of the schemes.
    #[error("the scheme must be {0}, not {1}")]
    Scheme(&'static str, String),
    /// A user or a password in the URL.
    #[error("must not contain a user name or a password; use headers")]
    Credentials,
    /// No host.
    #[error("must have a host")]
    NoHost,
    /// A port of something else.
    #[error("the port {0} may not be called (guard.ports says which may)")]
    Port(u16),
    /// A name that operators do not want called.
    #[error("{0} may not be called (guard.deny_hosts and guard.only_hosts say what may)")]
    Host(String),
    /// An address that operators do not want called.
    #[error("{0} may not be called (guard.deny says so)")]
    Denied(IpAddr),
    /// An address that is not public, and what it is instead.
    #[error(
        "{0} is not a public address: {1} (guard.allow can name what may be called nevertheless)"
    )]
    Internal(String, &'static str),
}

/// Which addresses may be called.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    options: Arc<Options>,
}

/// Names that mean this machine, whatever a resolver says.
const LOOPBACK: [&str; 5] =
    ["localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"];

/// Names of clouds' metadata services.
const METADATA: [&str; 8] = [
    "instance-data",
    "instance-data.ec2.internal",
    "metadata",
    "metadata.goog",
    "metadata.google.internal",
    "metadata.packet.net",
    "metadata.platformequinix.com",
    "metadata.tencentyun.com",
];

/// Ports of services that speak no HTTP, in order: those that browsers refuse as well (the Fetch standard's bad ports).
/// A request there is at best in vain, and at worst mail.
const BAD_PORTS: [u16; 83] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427,
    465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990,
    993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667,
    6668, 6669, 6679, 6697, 10080,
];

impl Guard {
    /// A guard that lets through what these say.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options: Arc::new(options) }
    }

    /// Whether the URL may be called as far as it tells by itself.
    pub fn check_url(&self, url: &Url) -> Result<(), Refusal> {
        let schemes = &self.options.schemes;
        if !schemes.iter().any(|scheme| scheme.as_str() == url.scheme()) {
            let right = match &**schemes {
                [only] => only.as_str(),
                _ => "http or https",
            };
            return Err(Refusal::Scheme(right, url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Credentials);
        }
        self.check_port(url.port_or_known_default().unwrap_or_default())?;
        match url.host() {
            None => Err(Refusal::NoHost),
            Some(Host::Domain(name)) => self.check_name(name),
            Some(Host::Ipv4(address)) => self.check_address(None, address.into()),
            Some(Host::Ipv6(address)) => self.check_address(None, address.into()),
        }
    }

    fn check_port(&self, port: u16) -> Result<(), Refusal> {
        let ports = &self.options.ports;
        let may = match ports.is_empty() {
            true => BAD_PORTS.binary_search(&port).is_err(),
            false => ports.iter().any(|ports| ports.contains(port)),
        };
        if may { Ok(()) } else { Err(Refusal::Port(port)) }
    }

    fn check_name(&self, name: &str) -> Result<(), Refusal> {
        let Options { deny_hosts, only_hosts, .. } = &*self.options;
        let name = bare(name);
        let is_within = |hosts: &[options::Hosts]| hosts.iter().any(|hosts| hosts.contains(name));
        if is_within(deny_hosts) || !(only_hosts.is_empty() || is_within(only_hosts)) {
            return Err(Refusal::Host(name.to_owned()));
        }
        let internal = |what| Err(Refusal::Internal(name.to_owned(), what));
        if LOOPBACK.contains(&name) || name.ends_with(".localhost") {
            let here = self.check_address(Some(name), [127, 0, 0, 1].into());
            return here.or_else(|_| internal("this machine"));
        }
        match METADATA.contains(&name) && !self.is_allowed(name) {
            true => internal("a cloud's metadata"),
            false => Ok(()),
        }
    }

    fn is_allowed(&self, name: &str) -> bool {
        self.options.allow_hosts.iter().any(|hosts| hosts.contains(bare(name)))
    }

    /// Whether the address may be called; `name` is what was resolved to it, none for an address in a URL.
    pub fn check_address(&self, name: Option<&str>, address: IpAddr) -> Result<(), Refusal> {
        let Options { allow, deny, only_hosts, .. } = &*self.options;
        let address = address.to_canonical();
        let inner = match address {
            IpAddr::V6(address) => ranges::embedded(address).map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        let is_within = |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&address));
        let both = || std::iter::once(address).chain(inner);
        if both().any(|one| deny.iter().any(|net| net.contains(&one))) {
            return Err(Refusal::Denied(address));
        }
        let internal = |what| Err(Refusal::Internal(address.to_string(), what));
        // A block that is allowed for its intranet does not mean the cloud's own address in it.
        let is_named = |one: IpAddr| allow.iter().any(|net| *net == ipnet::IpNet::from(one));
        if both().any(|one| ranges::is_metadata(one) && !is_named(one)) {
            return internal("a cloud's metadata");
        }
        if is_within(allow) || name.is_some_and(|name| self.is_allowed(name)) {
            return Ok(());
        }
        if name.is_none() && !only_hosts.is_empty() {
            return Err(Refusal::Host(address.to_string()));
        }
        ranges::special(address).map_or(Ok(()), internal)
    }
}

/// A name without the dot of the root.
fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests;
