//! Names to addresses, as the system resolves them.

use std::net::IpAddr;

/// Resolves names.
#[derive(Clone, Copy, Debug)]
pub struct Names;

impl Names {
    /// Every address of the name.
    pub async fn addresses(self, name: &str) -> Result<Vec<IpAddr>, String> {
        // The port is the connection's.
        let found = tokio::net::lookup_host((name, 0)).await.map_err(|error| error.to_string())?;
        Ok(found.map(|address| address.ip()).collect())
    }
}
