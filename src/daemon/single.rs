//! One daemon at a time: two that command the same miners undo what the other does, and each counts on its own.
//!
//! What is held goes with the process, however it ends; nothing is left behind that a person would have to remove.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::call::{self, Call};
use super::name::{self, Name, Others, Trusted};
use crate::config::Config;
use crate::control::site::Actuator;

/// How many of the miners stand for all of them: those with the least digests, so that two sites that share a good part of
/// their miners share some of these. More would cost a file each.
const STAND_FOR_ALL: usize = 16;
/// Read and written by one account.
const OURS: u32 = 0o600;
/// A folder that only one account may enter.
const OURS_ALONE: u32 = 0o700;

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
    _configuration: Option<Name>,
    trusted: Trusted,
    /// By the beginnings of the names: of the miners that stand for all.
    miners: BTreeMap<String, Option<Name>>,
    strangers: BTreeMap<&'static str, u64>,
}

impl Alone {
    /// Takes hold of the configuration, by a name in the kernel that needs no file, and of the database where there is one,
    /// by a lock on `DATABASE.lock` beside it. A disk that does not let itself be written now is told and holds nobody up:
    /// the miners must be led all the same. Whoever calls about the configuration comes by `calls`; whoever takes calls is the
    /// daemon, and makes the folder of the database where there is none yet.
    ///
    /// # Errors
    /// A process of this account, of root or of the service holds one of them.
    pub async fn hold(
        config: &Path,
        store: Option<&Path>,
        calls: Option<mpsc::Sender<Call>>,
    ) -> Result<Self, NotAlone> {
        let trusted = Trusted::beside(config);
        let start = call::start(config);
        let runs = calls.is_some();
        let name = held(Name::take(&start, |listener| async move {
            match calls {
                Some(calls) => call::take(listener, calls).await,
                None => name::be_seen(listener).await,
            }
        }));
        let others = look(&BTreeSet::from([start]), &[&name], &trusted).await;
        if !others.believed.is_empty() {
            return Err(NotAlone::Configuration { path: config.to_owned() });
        }
        if !others.strangers.is_empty() {
            warn!(
                "a program of another account says that it runs with {}: it is not believed; `ss -xlp | grep ballast-run` \
                 shows which",
                config.display()
            );
        }
        let store = match store {
            Some(path) if !runs || has_folder(path) => lock(path)?,
            Some(_) | None => None,
        };
        let strangers = BTreeMap::from([("configuration", others.count())]);
        Ok(Self { _store: store, _configuration: name, trusted, miners: BTreeMap::new(), strangers })
    }

    /// Takes hold of the miners that a configuration commands, and lets go of those that it does not. Whoever only looks on
    /// holds none. Two daemons in containers with networks of their own do not see each other.
    ///
    /// # Errors
    /// A process of this account, of root or of the service commands some of them; then what was held before stays so.
    pub async fn command(&mut self, config: &Config) -> Result<(), NotAlone> {
        let wanted = commanded(config);
        let taken: BTreeMap<_, _> = wanted
            .keys()
            .filter(|start| !self.miners.contains_key(*start))
            .map(|start| (start.clone(), held(Name::take(start, name::be_seen))))
            .collect();
        let starts = wanted.keys().cloned().collect();
        let own: Vec<_> = self.miners.values().chain(taken.values()).collect();
        let others = look(&starts, &own, &self.trusted).await;
        if let Some(address) = others.believed.keys().find_map(|start| wanted.get(start)) {
            return Err(NotAlone::Miners { address: address.clone() });
        }
        for address in others.strangers.iter().filter_map(|start| wanted.get(start)) {
            warn!(
                "a program of another account says that it commands the miner at {address}, too: if that is true, it undoes \
                 what this daemon does; `ss -xlp | grep ballast-miner` shows which"
            );
        }
        self.strangers.insert("miners", others.count());
        self.miners.retain(|start, _| wanted.contains_key(start));
        self.miners.extend(taken);
        Ok(())
    }

    /// How many of what this daemon holds programs of other accounts say that they hold, too. They are not believed.
    pub fn strangers(&self) -> u64 {
        self.strangers.values().sum()
    }
}

/// A name; `None` where the system has none.
fn held(taken: io::Result<Name>) -> Option<Name> {
    let unknown = |error| warn!("another daemon will not find out that this one does the same: {error}");
    taken.map_err(unknown).ok()
}

async fn look(starts: &BTreeSet<String>, own: &[&Option<Name>], trusted: &Trusted) -> Others {
    let own: Vec<_> = own.iter().filter_map(|name| name.as_ref()).collect();
    name::others(starts, &own, |peer| trusted.knows(peer)).await.unwrap_or_else(|error| {
        warn!("cannot find out whether another daemon does the same: {error}");
        Others::default()
    })
}

/// The miners that stand for all that a configuration commands: the beginnings of their names, and addresses.
fn commanded(config: &Config) -> BTreeMap<String, String> {
    // The two of a pair are there for the same miners, and on two machines: what is held is held on one.
    if config.site.settings.observe {
        return BTreeMap::new();
    }
    let miners = config.site.miners.iter().zip(&config.miners);
    let addresses: BTreeSet<String> = miners
        .filter(|(miner, _)| miner.actuator != Actuator::Fixed)
        .map(|(_, connection)| connection.endpoint.to_string().to_ascii_lowercase())
        .collect();
    let all: BTreeMap<String, String> =
        addresses.into_iter().map(|address| (name::start("miner", address.as_bytes()), address)).collect();
    all.into_iter().take(STAND_FOR_ALL).collect()
}

/// Makes the folder of a database where there is none, and says whether it is there.
fn has_folder(database: &Path) -> bool {
    let folder = match database.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => folder,
        _ => return true,
    };
    match DirBuilder::new().recursive(true).mode(OURS_ALONE).create(folder) {
        Ok(()) => {
            info!("{} was not there and is made, for the database", folder.display());
            true
        }
        Err(error) => {
            warn!("cannot make {}, the folder of the database: {error}", folder.display());
            false
        }
    }
}

/// Locks a database against another daemon; `None` where nothing can be written. Whoever may open the file may lock it
/// (flock(2)), so only this account may.
fn lock(database: &Path) -> Result<Option<File>, NotAlone> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let mut options = OpenOptions::new();
    let opened = options.create(true).truncate(false).write(true).mode(OURS).open(&path);
    let kept = opened.and_then(|file| file.set_permissions(Permissions::from_mode(OURS)).map(|()| file));
    let locked = kept.map_err(TryLockError::Error).and_then(|file| file.try_lock().map(|()| file));
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
    use super::super::name::testing::Program;
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ballast-single-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Holds without anybody who calls.
    async fn hold(config: &Path, store: Option<&Path>) -> Result<Alone, NotAlone> {
        // What was let go is gone with the next turn.
        tokio::task::yield_now().await;
        Alone::hold(config, store, None).await
    }

    #[tokio::test]
    async fn a_second_daemon_with_the_same_database_or_configuration_is_refused_until_the_first_is_gone() {
        let folder = folder("both");
        let (one, other) = (folder.join("one.toml"), folder.join("other.toml"));
        let database = folder.join("ballast.db");
        let first = hold(&one, Some(&database)).await.unwrap();
        let refused = hold(&other, Some(&database)).await.unwrap_err();
        assert_eq!(refused, NotAlone::Store { path: database.clone() });
        assert!(refused.to_string().contains("stop it, or give this one a path of its own in [store]"));
        assert_eq!(hold(&one, None).await.unwrap_err(), NotAlone::Configuration { path: one.clone() });
        // Another site on the same computer has both of its own.
        let beside = hold(&other, Some(&folder.join("other.db"))).await.unwrap();
        drop((first, beside));
        assert!(hold(&one, Some(&database)).await.is_ok());
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// Whoever may open a file may lock it, for reading is enough: one more program of another account that keeps the daemon
    /// from its work.
    #[test]
    fn no_other_account_can_lock_the_database() {
        let folder = folder("lock");
        let database = folder.join("ballast.db");
        let file = folder.join("ballast.db.lock");
        // As an earlier version may have left it.
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        for _ in 0..2 {
            assert!(lock(&database).unwrap().is_some());
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, OURS);
            std::fs::remove_file(&file).unwrap();
        }
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

    #[tokio::test]
    async fn a_copy_of_the_configuration_elsewhere_commands_nobody() {
        let folder = folder("copies");
        let first = site("control", &["198.51.100.1-198.51.100.40"]);
        let mut one = hold(&folder.join("one.toml"), None).await.unwrap();
        one.command(&first).await.unwrap();
        // Without a database, on another port, and with some miners more.
        let more = site("control", &["198.51.100.1-198.51.100.50"]);
        let mut other = hold(&folder.join("other.toml"), None).await.unwrap();
        let refused = other.command(&more).await.unwrap_err();
        assert!(refused.to_string().contains("commands the miner at 198.51.100."), "{refused}");
        // Looking on is free, and so are other miners.
        other.command(&site("observe", &["198.51.100.1-198.51.100.50"])).await.unwrap();
        other.command(&site("control", &["198.51.100.101-198.51.100.140"])).await.unwrap();
        // A reload to the miners of the other one is refused, and what was held stays held.
        assert_eq!(other.command(&first).await.unwrap_err(), one_of(&first));
        one.command(&site("control", &["198.51.100.41"])).await.unwrap();
        tokio::task::yield_now().await;
        other.command(&first).await.unwrap();
        drop(other);
        tokio::task::yield_now().await;
        one.command(&first).await.unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// The refusal for the first of those that stand for a site.
    fn one_of(config: &Config) -> NotAlone {
        NotAlone::Miners { address: commanded(config).into_values().next().unwrap() }
    }

    #[tokio::test]
    async fn a_disk_that_cannot_be_written_holds_nobody_up() {
        let folder = folder("none");
        let alone = hold(&folder.join("c.toml"), Some(&folder.join("missing/ballast.db"))).await.unwrap();
        assert!(alone._store.is_none());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn whoever_runs_makes_the_folder_of_its_database_and_whoever_only_looks_does_not() {
        let folder = folder("first");
        let database = folder.join("state/deeper/ballast.db");
        drop(hold(&folder.join("c.toml"), Some(&database)).await.unwrap());
        assert!(!folder.join("state").exists());
        tokio::task::yield_now().await;
        let (calls, _inbox) = mpsc::channel(1);
        let alone = Alone::hold(&folder.join("c.toml"), Some(&database), Some(calls)).await.unwrap();
        assert!(alone._store.is_some());
        let made = std::fs::metadata(folder.join("state/deeper")).unwrap();
        assert_eq!(made.permissions().mode() & 0o777, OURS_ALONE);
        drop(alone);
        // A file stands where the folder should be.
        std::fs::write(folder.join("file"), "").unwrap();
        assert!(!has_folder(&folder.join("file/ballast.db")));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_stranger_keeps_no_daemon_from_its_miners_nor_hides_a_second_one() {
        let folder = folder("stranger");
        let (config, copy) = (folder.join("site.toml"), folder.join("copy.toml"));
        for file in [&config, &copy] {
            std::fs::write(file, "").unwrap();
            std::fs::set_permissions(file, Permissions::from_mode(0o640)).unwrap();
        }
        let fleet = site("control", &["198.51.100.201-198.51.100.240"]);
        let starts = || commanded(&fleet).into_keys().chain([call::start(&config)]);
        // What an older version would have needed, and what looks like a daemon of today.
        let names: Vec<String> =
            starts().flat_map(|start| [start.clone(), start + "-0123456789abcdef"]).collect();
        let (stranger, service) = (54_321, 54_322);
        let Some(program) = Program::holds(stranger, &names) else { return };
        let mut one = hold(&config, None).await.unwrap();
        one.command(&fleet).await.unwrap();
        assert_eq!(usize::try_from(one.strangers()), Ok(STAND_FOR_ALL + 1));
        // A second daemon of this account is refused as ever.
        assert_eq!(hold(&config, None).await.unwrap_err(), NotAlone::Configuration { path: config.clone() });
        let mut other = hold(&copy, None).await.unwrap();
        assert_eq!(other.command(&fleet).await.unwrap_err(), one_of(&fleet));
        assert!(matches!(call::reload(&copy).await, Err(call::ReloadError::NoAnswer(_))), "that is `other`");
        drop((one, other));
        tokio::task::yield_now().await;
        let asked = call::reload(&config).await.unwrap_err();
        assert!(matches!(asked, call::ReloadError::Stranger { .. }), "{asked}");

        // The configuration is for the group of the service: one of its members is a daemon of this site.
        drop(program);
        std::os::unix::fs::chown(&config, None, Some(service)).unwrap();
        let _program = Program::holds(service, &names).unwrap();
        assert_eq!(hold(&config, None).await.unwrap_err(), NotAlone::Configuration { path: config.clone() });
        std::os::unix::fs::chown(&copy, None, Some(service)).unwrap();
        let mut other = hold(&copy, None).await.unwrap();
        assert_eq!(other.command(&fleet).await.unwrap_err(), one_of(&fleet));
        // Read by everybody it says nothing of its group, and its owner is believed.
        std::fs::set_permissions(&copy, Permissions::from_mode(0o644)).unwrap();
        drop(other);
        tokio::task::yield_now().await;
        hold(&copy, None).await.unwrap().command(&fleet).await.unwrap();
        std::os::unix::fs::chown(&copy, Some(service), None).unwrap();
        tokio::task::yield_now().await;
        let mut other = hold(&copy, None).await.unwrap();
        assert_eq!(other.command(&fleet).await.unwrap_err(), one_of(&fleet));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
