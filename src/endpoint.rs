//! Where a device listens.

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
    /// Whether it is of this machine, so that what is sent in the clear meets nobody on its way.
    pub fn is_here(&self) -> bool {
        is_here(&self.host)
    }

    /// Opens a connection, without a time limit of its own. How names are looked up is told in `names`.
    ///
    /// # Errors
    /// The name is not known, or nobody listens at any of its addresses.
    pub async fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = crate::names::connect(&self.host, self.port).await?;
        // A request is one small segment that must not wait for an acknowledgement. Where this cannot be set it is slower, and
        // nothing else.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

/// Whether a name or an address, without brackets, is of this machine.
pub fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
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
