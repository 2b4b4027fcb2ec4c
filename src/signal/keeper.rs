//! Whether somebody keeps this machine's clock right.
//!
//! `systemd-timesyncd` touches a file when it has synchronised the clock (systemd-timesyncd.service(8)). Other programs
//! (chrony, ntpd, a receiver for GPS) leave none; what they have in common is the state of the kernel's clock, adjtimex(2),
//! whose call is `unsafe` and which `ProtectClock=` forbids to the service. `timedatectl` tells it to everybody:
//! `NTPSynchronized` is yes while the kernel's largest error is below 16 s (org.freedesktop.timedate1(5);
//! systemd's time-util.c, `ntp_synced`).

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// `systemd-timesyncd` touches this when it has synchronised the clock.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
/// Who tells the state of the kernel's clock.
const TELLS: &str = "timedatectl";
/// Time between two questions. The kernel calls a clock that nobody keeps any more unsynchronised after hours (its error
/// grows by 0.5 ms a second).
const ASK: Duration = Duration::from_secs(60);

/// How long the first answer is waited for: without it every start would begin with a doubt about a clock that is kept.
const FIRST: Duration = Duration::from_secs(1);

/// Looks for whoever keeps the clock right. Asking takes a thread of its own, which ends with this.
#[derive(Debug)]
pub(super) struct Keeper {
    kernel: Arc<AtomicBool>,
}

impl Keeper {
    /// Begins to look, and waits for the first answer, though not for long.
    pub(super) fn look_for() -> Self {
        let kernel = Arc::new(AtomicBool::new(false));
        let told = Arc::downgrade(&kernel);
        let (answered, first) = std::sync::mpsc::sync_channel(1);
        let ask = move || {
            while let Some(told) = told.upgrade() {
                told.store(tells_so(TELLS), Ordering::Relaxed);
                drop(told);
                let _ = answered.try_send(());
                std::thread::sleep(ASK);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("clock-keeper".into()).spawn(ask) {
            tracing::debug!("nobody asks whether the clock is kept right: {error}");
        }
        let _ = first.recv_timeout(FIRST);
        Self { kernel }
    }

    /// Whether somebody is known to keep it right. Waits for nothing.
    pub(super) fn is_there(&self) -> bool {
        // The file lies in memory: looking for it waits for no disk.
        self.kernel.load(Ordering::Relaxed) || Path::new(SYNCHRONISED).exists()
    }
}

/// Whether a program, called as `timedatectl` is, says yes. One that is missing, fails or says anything else does not.
fn tells_so(program: &str) -> bool {
    // It gets nothing of this process: not its passwords, and not the socket on which systemd hears of readiness.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let asked = Command::new(program)
        .env_clear()
        .env("PATH", path)
        .args(["show", "--property=NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    asked.is_ok_and(|answer| answer.status.success() && answer.stdout.trim_ascii() == b"yes")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_kernels_word_counts_whoever_keeps_the_clock_and_nothing_else_does() {
        let folder = std::env::temp_dir().join(format!("ballast-keeper-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let says = |name: &str, script: &str| {
            let path = folder.join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            tells_so(path.to_str().unwrap())
        };
        assert!(says("chrony", "[ \"$*\" = 'show --property=NTPSynchronized --value' ] && echo yes"));
        assert!(says("clean", "[ -z \"$NOTIFY_SOCKET$CARGO_PKG_NAME$CARGO\" ] && echo yes"));
        assert!(!says("nobody", "echo no"));
        assert!(!says("odd", "echo yes; echo yes"));
        assert!(!says("fails", "echo yes; exit 1"));
        assert!(!tells_so("/nowhere/timedatectl"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
