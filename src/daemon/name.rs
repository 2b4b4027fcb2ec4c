//! Names in the kernel by which the daemons of a computer find each other (unix(7), abstract addresses). They need no file,
//! and go with their process.
//!
//! Anybody may take any name, and keeps it from everybody else. So nobody counts on a certain one: a daemon takes names with
//! an end that cannot be guessed, and looks for those of others that begin alike (proc(5), `/proc/net/unix`). What counts is
//! the account behind a name, which the kernel tells whoever connects.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::AbortOnDropHandle;

use crate::clock::Clock;

/// The names of all that listen on this computer, or in this container. Not by the process: its first thread may have ended.
const TABLE: &str = "/proc/thread-self/net/unix";
/// The largest table that is read, in bytes: half a million names.
const LARGEST: u64 = 64 << 20;
/// The mark of one that listens, in that table (`__SO_ACCEPTCON`).
const LISTENS: &str = "00010000";
/// How long those are asked again, all together, whose queue is full.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two rounds of questions.
const ROUND: Duration = Duration::from_millis(2);
/// Whom the kernel shows for every account that a container does not know (`/proc/sys/kernel/overflowuid`).
const NOBODY: u32 = 65_534;
/// Made by systemd for the service, and owned by its account.
const RUNTIME_FOLDER: &str = "/run/ballast";

/// What names of one purpose for one thing begin with: at most 78 of the 107 bytes of a name.
pub(super) fn start(purpose: &str, thing: &[u8]) -> String {
    let digest: String = Sha256::digest(thing).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("ballast-{purpose}-{digest}")
}

/// The account that this process runs as. It is asked for within a runtime.
pub(crate) fn own_account() -> io::Result<u32> {
    Ok(UnixStream::pair()?.0.peer_cred()?.uid())
}

/// The accounts whose word counts: root, this one, that of the service, and whose the configuration is.
#[derive(Clone, Debug)]
pub(super) struct Trusted {
    accounts: BTreeSet<u32>,
    /// The group for whose members alone the configuration can be read.
    group: Option<u32>,
}

impl Trusted {
    pub(super) fn beside(config: &Path) -> Self {
        let file = std::fs::metadata(config).ok();
        let owners = [file.clone(), std::fs::metadata(RUNTIME_FOLDER).ok()].into_iter().flatten();
        let accounts = owners.map(|made| made.uid()).filter(|account| *account != NOBODY);
        let accounts = accounts.chain([0]).chain(own_account()).collect();
        let group = file.filter(|file| file.mode() & 0o044 == 0o040 && file.gid() != NOBODY);
        Self { accounts, group: group.map(|file| file.gid()) }
    }

    pub(super) fn has(&self, account: u32) -> bool {
        self.accounts.contains(&account)
    }

    pub(super) fn knows(&self, peer: &UCred) -> bool {
        self.has(peer.uid()) || self.group == Some(peer.gid())
    }
}

/// A name that this process holds until it is dropped.
#[derive(Debug)]
pub(super) struct Name {
    whole: String,
    _listening: AbortOnDropHandle<()>,
}

impl Name {
    /// Takes a name that begins so. `attend` takes in whoever connects, for as long as the name is held: a queue that is
    /// full hides who holds it.
    ///
    /// # Errors
    /// The system has no such names.
    pub(super) fn take<A>(start: &str, attend: impl FnOnce(UnixListener) -> A) -> io::Result<Self>
    where
        A: Future<Output = ()> + Send + 'static,
    {
        let whole = format!("{start}-{:016x}", rand::random::<u64>());
        let listener = std::os::unix::net::UnixListener::bind_addr(&SocketAddr::from_abstract_name(&whole)?)?;
        listener.set_nonblocking(true)?;
        let listening = tokio::spawn(attend(UnixListener::from_std(listener)?));
        Ok(Self { whole, _listening: AbortOnDropHandle::new(listening) })
    }
}

/// The next one who connects.
pub(super) async fn next(listener: &UnixListener) -> UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // No file is left to take it in with.
            Err(_) => tokio::time::sleep(PATIENCE).await,
        }
    }
}

/// Lets whoever connects see whose name it is, and no more.
pub(super) async fn be_seen(listener: UnixListener) {
    loop {
        drop(next(&listener).await);
    }
}

/// Who else has names that begin so.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// Those whose word counts, by the beginning of their names.
    pub(super) believed: BTreeMap<String, UnixStream>,
    /// The beginnings of the names that others have whose word does not count, or who do not show themselves.
    pub(super) strangers: BTreeSet<String>,
}

impl Others {
    /// How many strangers there are.
    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.strangers.len()).unwrap_or(u64::MAX)
    }
}

/// Looks for the holders of all names that begin in one of these ways, except for our own.
///
/// # Errors
/// The table of names cannot be read.
pub(super) async fn others(
    starts: &BTreeSet<String>,
    own: &[&Name],
    believe: impl Fn(&UCred) -> bool,
) -> io::Result<Others> {
    let mut text = Vec::new();
    File::open(TABLE)?.take(LARGEST).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let mut left: Vec<(&str, &str)> = text
        .lines()
        .filter_map(listening)
        .filter_map(|whole| Some((whole, whole.rsplit_once('-')?.0)))
        .filter(|(whole, start)| starts.contains(*start) && own.iter().all(|name| name.whole != *whole))
        .collect();
    let mut found = Others::default();
    let clock = Clock::start();
    let end = clock.now() + PATIENCE;
    while !left.is_empty() && clock.now() < end {
        let mut full = Vec::new();
        for (whole, start) in left {
            match connect(whole).await {
                Ok(stream) if stream.peer_cred().is_ok_and(|peer| believe(&peer)) => {
                    found.believed.insert(start.to_owned(), stream);
                }
                Ok(_) => drop(found.strangers.insert(start.to_owned())),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(_) => full.push((whole, start)),
            }
        }
        left = full;
        if !left.is_empty() {
            tokio::time::sleep(ROUND).await;
        }
    }
    found.strangers.extend(left.into_iter().map(|(_, start)| start.to_owned()));
    Ok(found)
}

/// The name of whoever listens at it, from a line of the table: `Num RefCount Protocol Flags Type St Inode Path`, with `@`
/// before names without a file.
fn listening(line: &str) -> Option<&str> {
    let mut columns = line.split_ascii_whitespace().skip(3);
    let listens = columns.next()? == LISTENS;
    columns.nth(3)?.strip_prefix('@').filter(|_| listens)
}

/// Without waiting: one whose queue is full says so at once.
async fn connect(name: &str) -> io::Result<UnixStream> {
    // As a path a name is written behind a zero.
    let path = OsString::from_vec([&[0], name.as_bytes()].concat());
    UnixStream::connect(PathBuf::from(path)).await
}

#[cfg(test)]
pub(super) mod testing {
    //! What another account does.

    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::SocketAddr;
    use std::process::{Child, Command, Stdio};

    const HOLD: &str = "use Socket; $| = 1; for (@ARGV) { socket(my $held, AF_UNIX, SOCK_STREAM, 0) or die; \
        bind($held, pack_sockaddr_un(qq(\\0$_))) or die; listen($held, 9) or die; push @all, $held } \
        print qq(ready\\n); <STDIN>";
    const LISTEN: &str = "use Socket; $| = 1; socket(my $held, AF_INET, SOCK_STREAM, 0) or die; \
        bind($held, pack_sockaddr_in(0, INADDR_LOOPBACK)) or die; listen($held, 9) or die; \
        my ($port) = unpack_sockaddr_in(getsockname($held)); print qq(127.0.0.1:$port\\n); <STDIN>";

    /// A program of an account, until it is dropped.
    pub(crate) struct Program(Child);

    impl Program {
        /// One that holds these names. `None`, and told, where the account cannot be taken.
        pub(crate) fn holds(account: u32, names: &[String]) -> Option<Self> {
            Self::start(account, HOLD, names).map(|(program, _)| program)
        }

        /// One that listens at a port of this machine.
        pub(crate) fn listens(account: u32) -> Option<(Self, SocketAddr)> {
            let (program, said) = Self::start(account, LISTEN, &[])?;
            Some((program, said.parse().unwrap()))
        }

        fn start(account: u32, what: &str, arguments: &[String]) -> Option<(Self, String)> {
            let mut command = Command::new("setpriv");
            command.args([&format!("--reuid={account}"), &format!("--regid={account}"), "--clear-groups"]);
            command.args(["perl", "-e", what]).args(arguments).current_dir("/");
            let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
            let mut said = String::new();
            let program = child.ok().map(Self).and_then(|mut program| {
                BufReader::new(program.0.stdout.take()?).read_line(&mut said).ok()?;
                Some(program)
            });
            if said.is_empty() {
                let why = "it takes root, setpriv and perl";
                let _ = writeln!(std::io::stderr(), "SKIPPED: programs of other accounts ({why})");
                return None;
            }
            Some((program?, said.trim().to_owned()))
        }
    }

    impl Drop for Program {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_kernel_is_read() {
        let at = |line| listening(line);
        assert_eq!(
            at("0000000000000000: 00000002 00000000 00010000 0001 01 21 @ballast-run-1-2"),
            Some("ballast-run-1-2")
        );
        // A connection that was taken in has the name, too; others have a file, or nothing.
        assert_eq!(at("0000000000000000: 00000003 00000000 00000000 0001 03 22 @ballast-run-1-2"), None);
        assert_eq!(at("0000000000000000: 00000002 00000000 00010000 0001 01 23 /run/x"), None);
        for line in ["Num       RefCount Protocol Flags    Type St Inode Path", "", "1: 2 3 00010000 5 6 7"] {
            assert_eq!(at(line), None, "{line}");
        }
    }

    #[tokio::test]
    async fn a_holder_whose_queue_is_full_is_a_stranger_and_hides_nobody() {
        let start = start("full", std::process::id().to_string().as_bytes());
        let starts = BTreeSet::from([start.clone()]);
        let deaf = Name::take(&start, |listener| async move {
            let _held = listener;
            std::future::pending().await
        });
        let deaf = deaf.unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = connect(&deaf.whole).await {
            waiting.push(stream);
            assert!(waiting.len() < 10_000, "the queue never gets full");
        }
        let found = others(&starts, &[], |_| true).await.unwrap();
        assert!(found.believed.is_empty());
        assert_eq!(found.strangers, starts);
        assert!(others(&starts, &[&deaf], |_| true).await.unwrap().strangers.is_empty(), "it is our own");
        // One that attends to its name is found beside it.
        let _seen = Name::take(&start, be_seen).unwrap();
        assert_eq!(others(&starts, &[], |_| true).await.unwrap().believed.len(), 1);
        let nobody = others(&starts, &[], |_| false).await.unwrap();
        assert!(nobody.believed.is_empty() && nobody.strangers == starts);
    }
}
