//! Where requests come in: an address of the network, or a socket of this machine.

use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use super::WebError;

/// Those of the group may connect too: systemd makes it the one that may read the configuration.
const MODE: u32 = 0o660;

/// Between two attempts to have an address that somebody else has.
const AGAIN: Duration = Duration::from_secs(10);

/// Who has not answered a knock by then will not.
const KNOCK: Duration = Duration::from_millis(500);

/// A connection, whatever it runs over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Opens the address at which [`serve`](super::serve) is to answer.
///
/// # Errors
/// [`WebError::Bind`] when it is taken, not of this computer, or not allowed.
pub fn bind(address: SocketAddr) -> Result<TcpListener, WebError> {
    crate::door::listen(address).map_err(|reason| WebError::Bind { address, reason })
}

/// The accounts that listen there or at the same port of all addresses, as this machine's tables tell (proc(5),
/// `/proc/net/tcp`).
///
/// # Errors
/// They cannot be read.
pub fn holders(address: SocketAddr) -> io::Result<Vec<u32>> {
    let v4 = std::fs::read_to_string("/proc/thread-self/net/tcp")?;
    // A machine without IPv6 has none.
    let v6 = std::fs::read_to_string("/proc/thread-self/net/tcp6").unwrap_or_default();
    Ok(v4.lines().chain(v6.lines()).filter_map(|line| holder(line, address)).collect())
}

/// The account of a line, `sl local rem st tx:rx tr:when retrnsmt uid …`: addresses are words of 32 bits in the order of this
/// machine, and 0A is whoever listens.
fn holder(line: &str, address: SocketAddr) -> Option<u32> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let (ip, port) = columns.next()?.split_once(':')?;
    let listens = columns.nth(1)? == "0A" && u16::from_str_radix(port, 16).ok()? == address.port();
    let bytes = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = bytes.as_chunks::<4>().0.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word)));
    let in_the_way = address.ip().is_unspecified()
        || ip.bytes().all(|digit| digit == b'0')
        || ip == words.collect::<String>();
    columns.nth(3)?.parse().ok().filter(|_| listens && in_the_way)
}

/// Where pages are served over the network.
#[derive(Debug)]
pub enum Pages {
    /// Here.
    Open(TcpListener),
    /// Nowhere, as long as somebody else has this address.
    Taken(SocketAddr),
}

impl Pages {
    /// Where they are, or are to be.
    ///
    /// # Errors
    /// The system does not say where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Open(listener) => listener.local_addr(),
            Self::Taken(address) => Ok(*address),
        }
    }

    /// Waits until the address is free.
    async fn open(&mut self) -> &TcpListener {
        loop {
            match self {
                Self::Open(listener) => return listener,
                Self::Taken(address) => {
                    tokio::time::sleep(AGAIN).await;
                    if let Ok(listener) = bind(*address) {
                        tracing::info!("metrics and status on http://{address}/, which is free again");
                        *self = Self::Open(listener);
                    }
                }
            }
        }
    }
}

/// The name of the socket of a daemon that listens at this address, in the folder for it: whoever would call the one finds
/// the other, and two daemons never share it.
pub fn socket_in(folder: &Path, listen: SocketAddr) -> PathBuf {
    folder.join(format!("{listen}.sock"))
}

/// Whether somebody listens at a socket of this machine, without ever waiting for long: one whose queue is full holds whoever
/// knocks, as long as it likes.
///
/// # Errors
/// Nobody does, or they do not answer.
pub fn knock(path: &Path) -> io::Result<()> {
    let (told, heard) = std::sync::mpsc::sync_channel(1);
    let path = path.to_owned();
    std::thread::Builder::new().name("knock".into()).spawn(move || {
        let _ = told.send(std::os::unix::net::UnixStream::connect(path).map(drop));
    })?;
    heard.recv_timeout(KNOCK).unwrap_or_else(|_| Err(io::ErrorKind::WouldBlock.into()))
}

/// A socket of this machine. File permissions decide who may connect; its file goes with it.
#[derive(Debug)]
pub struct Local {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of the file, so that nobody else's is removed.
    file: Option<(u64, u64)>,
}

impl Local {
    /// Opens it. A socket that a daemon left behind there is replaced, and nothing else.
    ///
    /// # Errors
    /// It cannot be made; something else has its name, or somebody answers there.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::symlink_metadata(path) {
            Ok(there) if there.file_type().is_socket() => match knock(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
                _ => return Err(io::ErrorKind::AddrInUse.into()),
            },
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        let local = Self { listener, path: path.to_owned(), file: file(path) };
        std::fs::set_permissions(path, Permissions::from_mode(MODE))?;
        Ok(local)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn file(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|there| (there.dev(), there.ino()))
}

impl Drop for Local {
    fn drop(&mut self) {
        if self.file.is_some() && file(&self.path) == self.file {
            // One that is gone already is as good.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Where connections come from.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(Pages),
    Local(Local),
}

impl Listener {
    /// The next connection, and from where; `None` from this machine's own socket.
    pub(super) async fn accept(&mut self) -> io::Result<(Box<dyn Stream>, Option<SocketAddr>)> {
        match self {
            Self::Tcp(pages) => {
                let (stream, peer) = pages.open().await.accept().await?;
                // An answer that waits for more to send with it is late; one that cannot be hurried is an answer.
                let _ = stream.set_nodelay(true);
                Ok((Box::new(stream), Some(peer)))
            }
            Self::Local(local) => {
                let (stream, _) = local.listener.accept().await?;
                Ok((Box::new(stream), None))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ballast-socket-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn whoever_listens_at_an_address_or_at_all_of_them_is_found() {
        const LINE: &str =
            "   0: 0100007F:2672 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12 1";
        let at = |address: &str| holder(LINE, address.parse().unwrap());
        assert_eq!(at("127.0.0.1:9842"), Some(1000).filter(|_| cfg!(target_endian = "little")));
        assert_eq!(at("0.0.0.0:9842"), Some(1000));
        assert_eq!(at("127.0.0.1:9843"), None);
        assert_eq!(at("127.0.0.2:9842"), None);
        let all = LINE.replace("0100007F", &"0".repeat(32));
        assert_eq!(holder(&all, "[::1]:9842".parse().unwrap()), Some(1000));
        let connected = LINE.replace(" 0A ", " 01 ");
        for line in [connected.as_str(), "  sl  local_address rem_address   st", ""] {
            assert_eq!(holder(line, "127.0.0.1:9842".parse().unwrap()), None, "{line}");
        }
        // This process is found by itself.
        let listener =
            std::net::TcpListener::bind("[::1]:0").or_else(|_| std::net::TcpListener::bind("127.0.0.1:0"));
        let listener = listener.unwrap();
        let own = std::fs::metadata("/proc/self").unwrap().uid();
        assert_eq!(holders(listener.local_addr().unwrap()).unwrap(), [own]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_was_taken_is_served_once_it_is_free() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let mut pages = Pages::Taken(address);
        assert!(tokio::time::timeout(AGAIN * 3, pages.open()).await.is_err());
        drop(other);
        assert_eq!(pages.open().await.local_addr().unwrap(), address);
        assert_eq!(pages.address().unwrap(), address);
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_nothing_else_is() {
        let folder = folder("left");
        let path = socket_in(&folder, "127.0.0.1:9842".parse().unwrap());
        assert!(path.ends_with("127.0.0.1:9842.sock"));
        let first = Local::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(Local::bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(!path.exists(), "its file goes with it");
        // As after `kill -9`: the file is there, and nobody behind it.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let next = Local::bind(&path).unwrap();
        // Somebody has taken the name meanwhile: that file stays.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "notes").unwrap();
        drop(next);
        assert_eq!(Local::bind(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "notes");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_socket_whose_queue_is_full_is_taken_and_holds_nobody_up() {
        let folder = folder("full");
        let path = folder.join("w.sock");
        let _holder = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = tokio::net::UnixStream::connect(&path).await {
            waiting.push(stream);
            assert!(waiting.len() < 10_000, "the queue never gets full");
        }
        assert_eq!(Local::bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
