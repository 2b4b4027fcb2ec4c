//! One daemon at a time: two that command the same miners undo what the other does, and each counts on its own.
//!
//! What is held goes with the process, however it ends; nothing is left behind that a person would have to remove.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tracing::warn;

use crate::config::Config;
use crate::control::site::Actuator;

/// How many of the miners stand for all of them: those with the least digests, so that two sites that share a good part of
/// their miners share some of these. More would cost a file each.
const STAND_FOR_ALL: usize = 16;

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
    /// It commands the same miners.
    #[error(
        "another daemon on this computer commands the miner at {address}: stop it, or let this one look on with mode = \
         \"observe\" in [site]"
    )]
    Miners {
        /// One of them, as the configuration writes it.
        address: String,
    },
}

/// What a running daemon holds against a second one, until it is dropped.
#[derive(Debug)]
pub struct Alone {
    _store: Option<File>,
    _configuration: Option<UnixListener>,
    /// By the names of the miners that stand for all.
    miners: BTreeMap<String, Option<UnixListener>>,
}

impl Alone {
    /// Takes hold of the configuration, by a name in the kernel that needs no file, and of the database where there is one,
    /// by a lock on `DATABASE.lock` beside it. A disk that does not let itself be written now is told and holds nobody up:
    /// the miners must be led all the same.
    ///
    /// # Errors
    /// Another process holds one of them.
    pub fn hold(config: &Path, store: Option<&Path>) -> Result<Self, NotAlone> {
        let whole = std::fs::canonicalize(config).unwrap_or_else(|_| config.to_owned());
        let configuration = name("run", &digest(whole.as_os_str().as_encoded_bytes()))
            .map_err(|()| NotAlone::Configuration { path: config.to_owned() })?;
        let store = match store {
            Some(path) => lock(path)?,
            None => None,
        };
        Ok(Self { _store: store, _configuration: configuration, miners: BTreeMap::new() })
    }

    /// Takes hold of the miners that a configuration commands, and lets go of those that it does not. Whoever only looks on
    /// holds none. Two daemons in containers with networks of their own do not see each other.
    ///
    /// # Errors
    /// Another process commands some of them; then what was held before stays so.
    pub fn command(&mut self, config: &Config) -> Result<(), NotAlone> {
        let wanted = commanded(config);
        let mut taken = BTreeMap::new();
        for (short, address) in &wanted {
            if !self.miners.contains_key(short) {
                let held =
                    name("miner", short).map_err(|()| NotAlone::Miners { address: address.clone() })?;
                taken.insert(short.clone(), held);
            }
        }
        self.miners.retain(|short, _| wanted.contains_key(short));
        self.miners.append(&mut taken);
        Ok(())
    }
}

/// The miners that stand for all that a configuration commands: digest and address.
fn commanded(config: &Config) -> BTreeMap<String, String> {
    if config.site.settings.observe {
        return BTreeMap::new();
    }
    let miners = config.site.miners.iter().zip(&config.miners);
    let addresses: BTreeSet<String> = miners
        .filter(|(miner, _)| miner.actuator != Actuator::Fixed)
        .map(|(_, connection)| connection.endpoint.to_string().to_ascii_lowercase())
        .collect();
    let all: BTreeMap<String, String> =
        addresses.into_iter().map(|address| (digest(address.as_bytes()), address)).collect();
    all.into_iter().take(STAND_FOR_ALL).collect()
}

/// A name has 107 bytes at the most (unix(7)); a path may have more.
fn digest(text: &[u8]) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A name in the kernel that needs no file and goes with the process, for one purpose and one path.
///
/// # Errors
/// The system has no such names.
pub(super) fn kernel_name(purpose: &str, path: &Path) -> std::io::Result<SocketAddr> {
    let short = digest(path.as_os_str().as_encoded_bytes());
    SocketAddr::from_abstract_name(format!("ballast-{purpose}-{short}"))
}

/// Takes a name in the kernel; `None` where the system has no such names.
fn name(of: &str, short: &str) -> Result<Option<UnixListener>, ()> {
    let bound = SocketAddr::from_abstract_name(format!("ballast-{of}-{short}"))
        .and_then(|address| UnixListener::bind_addr(&address));
    match bound {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(()),
        Err(error) => {
            warn!("cannot find out whether another daemon does the same: {error}");
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

    /// A site of its own with these miners.
    fn site(mode: &str, miners: &[&str]) -> Config {
        let mut text = format!(
            "[site]\nname = \"One\"\nmode = \"{mode}\"\n[circuits.pcc]\n[limits.all]\ncircuit = \"pcc\"\nminers = \"1 MW\"\n\
             [groups.g]\ndriver = \"luxos\"\nmodel = \"s19k-pro\"\ncircuit = \"pcc\"\naddresses = ["
        );
        for miner in miners {
            text.push_str(&format!("\"{miner}\","));
        }
        text.push_str("]\n");
        crate::config::parse(&text, Path::new("site.toml"), &crate::config::Options::default()).unwrap()
    }

    #[test]
    fn a_copy_of_the_configuration_elsewhere_commands_nobody() {
        let folder = folder("copies");
        let hold = |file: &str| Alone::hold(&folder.join(file), None).unwrap();
        let first = site("control", &["198.51.100.1-198.51.100.40"]);
        let mut one = hold("one.toml");
        one.command(&first).unwrap();
        // Without a database, on another port, and with some miners more.
        let more = site("control", &["198.51.100.1-198.51.100.50"]);
        let mut other = hold("other.toml");
        let refused = other.command(&more).unwrap_err();
        assert!(refused.to_string().contains("commands the miner at 198.51.100."), "{refused}");
        // Looking on is free, and so are other miners.
        other.command(&site("observe", &["198.51.100.1-198.51.100.50"])).unwrap();
        other.command(&site("control", &["198.51.100.101-198.51.100.140"])).unwrap();
        // A reload to the miners of the other one is refused, and what was held stays held.
        assert_eq!(other.command(&first).unwrap_err(), one_of(&first));
        one.command(&site("control", &["198.51.100.41"])).unwrap();
        other.command(&first).unwrap();
        drop(other);
        one.command(&first).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// The refusal for the first of those that stand for a site.
    fn one_of(config: &Config) -> NotAlone {
        NotAlone::Miners { address: commanded(config).into_values().next().unwrap() }
    }

    #[test]
    fn a_disk_that_cannot_be_written_holds_nobody_up() {
        let folder = folder("none");
        let alone = Alone::hold(&folder.join("c.toml"), Some(&folder.join("missing/ballast.db"))).unwrap();
        assert!(alone._store.is_none());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
