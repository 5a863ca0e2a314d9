//! Names to addresses, without a thread: a receiver's name server that never answers costs a task, where the system's own
//! look-up would hold a thread of a pool that everybody shares. Answers are kept as long as they say, and no longer than
//! is said here. `/etc/hosts` and the search list are honoured.

use crate::model::list::texts;
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts},
    net::runtime::TokioRuntimeProvider,
    system_conf::read_system_conf,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// No answer is kept for longer: when a receiver moves, the next retry should find it.
const KEPT: Duration = Duration::from_secs(300);
/// Nor is it kept for longer that a name is unknown: the second retry should find it.
const UNKNOWN: Duration = Duration::from_secs(10);
/// The port of name servers.
const PORT: u16 = 53;

/// Which name servers are asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Addresses, with or without a port. None: the system's, of `/etc/resolv.conf`.
    #[serde(deserialize_with = "servers")]
    pub servers: Vec<SocketAddr>,
}

fn servers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    let server = |text: &String| {
        let alone = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, PORT));
        alone.or_else(|_| text.parse()).map_err(|_| {
            D::Error::custom(format!("`{text}` is not an address such as 10.0.0.2 or 10.0.0.2:53"))
        })
    };
    texts(deserializer)?.iter().map(server).collect()
}

/// Resolves names.
#[derive(Clone, Debug)]
pub struct Names(TokioResolver);

impl Names {
    /// Asks the servers of the options. An error is a line for the operator.
    pub fn new(options: &Options) -> Result<Self, String> {
        let (config, found) = match &*options.servers {
            [] => read_system_conf().unwrap_or_else(|error| {
                tracing::warn!(%error, "the system names no name server; {} is asked", Ipv4Addr::LOCALHOST);
                (config(&[(Ipv4Addr::LOCALHOST, PORT).into()]), ResolverOpts::default())
            }),
            servers => (config(servers), ResolverOpts::default()),
        };
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        *options = found;
        // Every address counts for the guard. Two sockets at once: one for each family.
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.num_concurrent_reqs = 1;
        options.positive_max_ttl = Some(KEPT);
        options.negative_max_ttl = Some(UNKNOWN);
        builder.build().map(Self).map_err(|error| format!("names cannot be resolved: {error}"))
    }

    /// Every address of the name.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let found = self.0.lookup_ip(name).await.map_err(|error| error.to_string())?;
        Ok(found.iter().collect())
    }
}

fn config(servers: &[SocketAddr]) -> ResolverConfig {
    let server = |address: &SocketAddr| {
        let port = |mut connection: ConnectionConfig| {
            connection.port = address.port();
            connection
        };
        let both = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(port);
        NameServerConfig::new(address.ip(), true, both.to_vec())
    };
    ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect())
}
