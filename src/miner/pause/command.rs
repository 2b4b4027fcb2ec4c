//! A program that is run as a pause hook: without a shell, in an environment of its own, bounded in what it says, and ended with all that
//! it has started when its time is over.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::hook::Action;
use crate::miner::reply::fields;

/// Where programs are looked for that are named without a folder, by the hook and by what it runs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Of what it writes so much is kept, in bytes; the rest is read and dropped.
const MOST: usize = 4_096;
/// When it has ended, so long is waited for what it wrote last: something that it has started may keep the pipe open.
const REST: Duration = Duration::from_millis(200);

/// A program and what it is given each time.
pub(super) struct Program {
    words: Vec<String>,
    name: Arc<str>,
    notice: Duration,
}

/// How it ended.
pub(super) struct Done {
    /// With the status 0.
    pub(super) success: bool,
    /// In words: `exit status: 1`.
    pub(super) how: String,
    out: Vec<u8>,
    errors: Vec<u8>,
}

impl Done {
    /// The first line that it wrote, of its errors where there are any, as it may stand in a log; `None` where it was silent.
    pub(super) fn said(&self) -> Option<String> {
        let line = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
            Some(fields::words(line, &[]))
        };
        line(&self.errors).or_else(|| line(&self.out))
    }

    /// The first word that it wrote.
    pub(super) fn word(&self) -> Option<String> {
        String::from_utf8_lossy(&self.out).split_whitespace().next().map(str::to_owned)
    }
}

/// The process group of a program, which ends with this.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It fails where nobody is left, which is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Program {
    /// `{name}` in its arguments stands for the name of the server.
    pub(super) fn new(words: &[String], name: &Arc<str>, notice: Duration) -> Self {
        let words = words.iter().enumerate().map(|(at, word)| match at {
            0 => word.clone(),
            _ => word.replace("{name}", name),
        });
        Self { words: words.collect(), name: Arc::clone(name), notice }
    }

    /// Runs it with one more argument. It has no time limit of its own; dropping this ends the program and its group.
    ///
    /// # Errors
    /// It cannot be started, or not be waited for.
    pub(super) async fn run(&self, last: &str) -> io::Result<Done> {
        // As over HTTP: whoever goes on has no notice to keep.
        let notice = if last == Action::Pause.name() { self.notice } else { Duration::ZERO };
        let (program, arguments) = self
            .words
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program is named"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .arg(last)
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .env("BALLAST_SERVER", &*self.name)
            .env("BALLAST_NOTICE_SECONDS", notice.as_secs().to_string())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = Group::of(&child);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let status = watch(&mut child, stdout, stderr, &mut out, &mut errors).await;
        drop(group);
        let status = status?;
        Ok(Done { success: status.success(), how: status.to_string(), out, errors })
    }
}

/// Waits for the end, and keeps what is written until then.
async fn watch(
    child: &mut Child,
    stdout: Option<impl AsyncRead + Unpin>,
    stderr: Option<impl AsyncRead + Unpin>,
    out: &mut Vec<u8>,
    errors: &mut Vec<u8>,
) -> io::Result<ExitStatus> {
    let reading = async {
        tokio::join!(keep(stdout, out), keep(stderr, errors));
    };
    tokio::pin!(reading);
    let ended = tokio::select! {
        biased;
        () = &mut reading => None,
        status = child.wait() => Some(status),
    };
    match ended {
        None => child.wait().await,
        Some(status) => {
            // What is not read by then was written by somebody else.
            let _ = tokio::time::timeout(REST, reading).await;
            status
        }
    }
}

/// Reads to the end and keeps the beginning. A pipe that breaks has ended.
async fn keep(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = [0_u8; 1_024];
    while let Ok(count) = pipe.read(&mut chunk).await {
        if count == 0 {
            return;
        }
        let room = MOST.saturating_sub(kept.len());
        kept.extend(chunk.iter().take(count.min(room)));
    }
}
