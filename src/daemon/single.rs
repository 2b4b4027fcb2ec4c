//! One daemon at a time: two that command the same miners undo what the other does, and each counts on its own.
//!
//! What is held goes with the process, however it ends; nothing is left behind that a person would have to remove.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tracing::warn;

/// Another daemon is there already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAlone {
    /// It keeps its orders in the same database.
    #[error(
        "another daemon keeps its orders in {}: stop it, or give this one a path of its own in [store]",
        path.display()
    )]
    Store {
        /// The database.
        path: PathBuf,
    },
    /// It runs with the same configuration.
    #[error("another daemon runs with {}: stop it first", path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
    },
}

/// What a running daemon holds against a second one, until it is dropped.
#[derive(Debug)]
pub struct Alone {
    _store: Option<File>,
    _configuration: Option<UnixListener>,
}

impl Alone {
    /// Takes hold of the configuration, by a name in the kernel that needs no file, and of the database where there is one,
    /// by a lock on `DATABASE.lock` beside it. A disk that does not let itself be written now is told and holds nobody up:
    /// the miners must be led all the same.
    ///
    /// # Errors
    /// Another process holds one of them.
    pub fn hold(config: &Path, store: Option<&Path>) -> Result<Self, NotAlone> {
        let configuration = name(config).map_err(|()| NotAlone::Configuration { path: config.to_owned() })?;
        let store = match store {
            Some(path) => lock(path)?,
            None => None,
        };
        Ok(Self { _store: store, _configuration: configuration })
    }
}

/// A name in the kernel that needs no file and goes with the process, for one purpose and one path.
///
/// # Errors
/// The system has no such names.
pub(super) fn kernel_name(purpose: &str, path: &Path) -> std::io::Result<SocketAddr> {
    // A name has 107 bytes at the most (unix(7)); a path may have more.
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    let short: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    SocketAddr::from_abstract_name(format!("ballast-{purpose}-{short}"))
}

/// Takes the name of a configuration; `None` where the system has no such names.
fn name(config: &Path) -> Result<Option<UnixListener>, ()> {
    let whole = std::fs::canonicalize(config).unwrap_or_else(|_| config.to_owned());
    let bound = kernel_name("run", &whole).and_then(|address| UnixListener::bind_addr(&address));
    match bound {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(()),
        Err(error) => {
            warn!("cannot find out whether another daemon runs with this configuration: {error}");
            Ok(None)
        }
    }
}

/// Locks a database against another daemon; `None` where nothing can be written.
fn lock(database: &Path) -> Result<Option<File>, NotAlone> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let locked = opened.map_err(TryLockError::Error).and_then(|file| file.try_lock().map(|()| file));
    match locked {
        Ok(file) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(NotAlone::Store { path: database.to_owned() }),
        Err(TryLockError::Error(error)) => {
            warn!("cannot lock {} against a second daemon: {error}", database.display());
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ballast-single-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_second_daemon_with_the_same_database_or_configuration_is_refused_until_the_first_is_gone() {
        let folder = folder("both");
        let (one, other) = (folder.join("one.toml"), folder.join("other.toml"));
        let database = folder.join("ballast.db");
        let first = Alone::hold(&one, Some(&database)).unwrap();
        let refused = Alone::hold(&other, Some(&database)).unwrap_err();
        assert_eq!(refused, NotAlone::Store { path: database.clone() });
        assert!(refused.to_string().contains("stop it, or give this one a path of its own in [store]"));
        assert_eq!(Alone::hold(&one, None).unwrap_err(), NotAlone::Configuration { path: one.clone() });
        // Another site on the same computer has both of its own.
        let beside = Alone::hold(&other, Some(&folder.join("other.db"))).unwrap();
        drop((first, beside));
        assert!(Alone::hold(&one, Some(&database)).is_ok());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_disk_that_cannot_be_written_holds_nobody_up() {
        let folder = folder("none");
        let alone = Alone::hold(&folder.join("c.toml"), Some(&folder.join("missing/ballast.db"))).unwrap();
        assert!(alone._store.is_none());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
