//! Where the world begins: TCP connections to addresses that were checked.

use async_trait::async_trait;
use std::{fmt, io, net::SocketAddr};
use tokio::net::TcpStream;

/// Opens connections. Everything that the client sends, it sends over one of these; tests have one that records.
#[async_trait]
pub trait Dial: fmt::Debug + Send + Sync {
    /// A connection to that address, and to no other.
    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream>;
}

/// The network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

#[async_trait]
impl Dial for Tcp {
    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
