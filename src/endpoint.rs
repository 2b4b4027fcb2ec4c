//! Where a device listens.

use std::net::SocketAddr;

use tokio::net::TcpStream;

/// Where a device listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Endpoint {
    /// Opens a connection, without a time limit of its own. Of several addresses of a name those of version 4 are tried first:
    /// meters and miners have those, and a name that has one of version 6 too mostly leads nowhere by that.
    ///
    /// # Errors
    /// The name is not known, or nobody listens at any of its addresses.
    pub async fn connect(&self) -> std::io::Result<TcpStream> {
        let mut addresses: Vec<SocketAddr> =
            tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        let stream = TcpStream::connect(addresses.as_slice()).await?;
        // A request is one small segment that must not wait for an acknowledgement. Where this cannot be set it is slower, and
        // nothing else.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
