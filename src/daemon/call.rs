//! The way by which `ballast reload` reaches the running daemon: a name (`name`) that belongs to one configuration file.
//!
//! A signal says nothing back, and whoever sends it must know the process. Here the daemon is found by its file, reads it
//! anew with what only it has (credentials of systemd, its environment), and answers what came of it.
//!
//! The answer is text: `ok` or `no` in a line of its own, then what there is to say. The connection ends with it.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::name::{self, Trusted};
use crate::config::Diagnostic;
use crate::line;

/// What is asked.
const RELOAD: &[u8; 7] = b"reload\n";
/// How long a caller may take to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the daemon may take: to read a file with many names, and to come to the end of a cycle of a minute.
const LONGEST: Duration = Duration::from_secs(90);
/// The longest answer that is taken, in bytes.
const MOST: u64 = 1 << 20;

/// How a line of the answer begins that names what waits for a restart.
const RESTART: &str = "restart: ";

/// What came of a reload that was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken<W> {
    /// What deserves a look: the warnings of the configuration.
    pub warnings: W,
    /// What is otherwise in the file and changes with a restart only, like `clock in [site]`.
    pub restart: Vec<String>,
}

/// A call that waits for its answer.
#[derive(Debug)]
pub struct Call {
    stream: UnixStream,
}

impl Call {
    /// Tells the caller what came of it. Who has gone away is not waited for.
    pub async fn answer(mut self, outcome: Result<&Taken<Vec<Diagnostic>>, &impl Display>) {
        let mut words = String::from(if outcome.is_ok() { "ok\n" } else { "no\n" });
        match outcome {
            Ok(taken) => {
                taken.restart.iter().for_each(|keys| words.push_str(&format!("{RESTART}{keys}\n")));
                taken.warnings.iter().for_each(|warning| words.push_str(&format!("{warning}\n\n")));
            }
            Err(errors) => words.push_str(&format!("{errors}\n")),
        }
        let _ = tokio::time::timeout(PATIENCE, self.stream.write_all(words.as_bytes())).await;
    }
}

/// What a configuration's daemon is found by: how the file is named, not what a link shows at the moment, for the link may be
/// what was changed.
pub(super) fn start(config: &Path) -> String {
    name::start("run", absolute(config).as_os_str().as_encoded_bytes())
}

fn absolute(config: &Path) -> PathBuf {
    std::path::absolute(config).unwrap_or_else(|_| config.to_owned())
}

/// Takes calls from the account of the daemon and from root, and shows everybody else out.
pub(super) async fn take(listener: UnixListener, calls: mpsc::Sender<Call>) {
    let own = name::own_account().ok();
    loop {
        let mut stream = name::next(&listener).await;
        if !stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || Some(peer.uid()) == own) {
            continue;
        }
        let mut asked = [0; RELOAD.len()];
        let heard = tokio::time::timeout(PATIENCE, stream.read_exact(&mut asked)).await;
        if matches!(heard, Ok(Ok(_))) && asked == *RELOAD {
            let _ = calls.send(Call { stream }).await;
        }
    }
}

/// Why a reload was not done.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Nobody has that name, or nobody that one may speak with.
    #[error(
        "no daemon runs with {}: {reason}; is it running, with this very file, as this account or as that of its \
         service?",
        path.display()
    )]
    NotThere {
        /// The file.
        path: PathBuf,
        /// Why it could not be reached.
        reason: io::Error,
    },
    /// Nobody but a stranger says that he runs with it.
    #[error(
        "no daemon runs with {}; another account's program, which is no daemon of this kind, says that it does, and was \
         told nothing",
        path.display()
    )]
    Stranger {
        /// The file.
        path: PathBuf,
    },
    /// The daemon does not use the file; what it says of it.
    #[error("{0}\nthe new configuration is not used, the running one stays in force")]
    Refused(String),
    /// It has ended, or hangs.
    #[error("the daemon has not answered: {0}; its log says what became of it")]
    NoAnswer(&'static str),
}

/// Whether somebody is this very program, which root believes where nobody better is there.
fn is_this_program(peer: &UCred) -> bool {
    let program = |of: &str| std::fs::read_link(format!("/proc/{of}/exe")).ok();
    let theirs = peer.pid().and_then(|pid| program(&pid.to_string()));
    name::own_account().ok() == Some(0) && theirs.is_some() && theirs == program("self")
}

/// Lets the daemon that runs with a file read it again. Returns its warnings, each of several lines, as one text; empty
/// without any.
///
/// # Errors
/// See [`ReloadError`].
pub async fn reload(config: &Path) -> Result<Taken<String>, ReloadError> {
    let path = absolute(config);
    let not_there = |reason| ReloadError::NotThere { path: path.clone(), reason };
    let (starts, trusted) = (BTreeSet::from([start(&path)]), Trusted::beside(&path));
    let mut others = name::others(&starts, &[], |peer| trusted.knows(peer)).await.map_err(not_there)?;
    if others.believed.is_empty() && !others.strangers.is_empty() {
        others = name::others(&starts, &[], is_this_program).await.map_err(not_there)?;
    }
    let Some((_, mut stream)) = others.believed.pop_first() else {
        return Err(match others.strangers.is_empty() {
            true => not_there(io::ErrorKind::NotFound.into()),
            false => ReloadError::Stranger { path },
        });
    };
    let mut answer = String::new();
    let heard = tokio::time::timeout(LONGEST, async {
        stream.write_all(RELOAD).await?;
        stream.take(MOST).read_to_string(&mut answer).await
    });
    match heard.await {
        Err(_) => return Err(ReloadError::NoAnswer("too long")),
        Ok(Err(_)) => return Err(ReloadError::NoAnswer("the connection broke")),
        Ok(Ok(_)) => {}
    }
    let answer: String =
        answer.chars().map(|sign| if sign == '\n' { sign } else { line::shown(sign) }).collect();
    match answer.split_once('\n') {
        Some(("ok", said)) => Ok(taken(said)),
        Some(("no", errors)) => Err(ReloadError::Refused(errors.trim_end().to_owned())),
        _ => Err(ReloadError::NoAnswer("it ended, or does not speak with this account")),
    }
}

/// Reads what follows on a yes.
fn taken(said: &str) -> Taken<String> {
    let (mut restart, mut rest) = (Vec::new(), said);
    while let Some((keys, behind)) = rest.strip_prefix(RESTART).and_then(|rest| rest.split_once('\n')) {
        restart.push(keys.to_owned());
        rest = behind;
    }
    Taken { warnings: rest.trim_end().to_owned(), restart }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("ballast-call-{}-{name}.toml", std::process::id()))
    }

    /// A daemon with that file.
    fn daemon(path: &Path) -> (name::Name, mpsc::Receiver<Call>) {
        let (calls, inbox) = mpsc::channel(1);
        (name::Name::take(&start(path), |listener| take(listener, calls)).unwrap(), inbox)
    }

    #[tokio::test]
    async fn a_reload_is_answered_by_the_daemon_of_that_file_and_by_no_other() {
        let path = file("one");
        let (_name, mut calls) = daemon(&path);
        let asked = tokio::spawn({
            let path = path.clone();
            async move { (reload(&path).await, reload(&path).await) }
        });
        let errors = crate::config::parse("", &path, &crate::config::Options::default()).unwrap_err();
        let restart = vec![String::from("clock in [site]"), String::from("[record]")];
        let done = Taken { warnings: Vec::new(), restart: restart.clone() };
        calls.recv().await.unwrap().answer(Ok::<_, &&str>(&done)).await;
        calls.recv().await.unwrap().answer(Err(&errors)).await;
        let (first, second) = asked.await.unwrap();
        assert_eq!(first.unwrap(), Taken { warnings: String::new(), restart });
        assert!(
            matches!(&second, Err(ReloadError::Refused(words)) if words.contains("mistake")),
            "{second:?}"
        );
        assert!(matches!(reload(&file("other")).await, Err(ReloadError::NotThere { .. })));
    }

    #[tokio::test]
    async fn a_caller_that_says_nothing_or_goes_away_keeps_nobody_from_the_next() {
        let path = file("silent");
        let (_name, mut calls) = daemon(&path);
        let starts = BTreeSet::from([start(&path)]);
        drop(name::others(&starts, &[], |_| true).await.unwrap());
        let asked = tokio::spawn(async move { reload(&path).await });
        calls.recv().await.unwrap().answer(Ok::<_, &&str>(&Taken::default())).await;
        assert!(asked.await.unwrap().is_ok());
        drop(calls);
    }
}
