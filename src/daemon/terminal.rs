//! SIGHUP means two things: "read your configuration again", and "your terminal is gone". Here they are told apart.
//!
//! Whoever starts the daemon in a terminal and closes it expects what any other program does: it ends, here in order, as
//! `on_exit` says. Whoever wants it to go on says so with `nohup`. A service has no terminal, so for it every SIGHUP is a
//! reload.
//!
//! A shell that ends sends its jobs a SIGHUP while the terminal is still there (zsh, bash with `huponexit`). Who has sent a signal
//! is not told here, but such a shell is gone a moment later, and with it the parent of this process.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::process::parent_id;
use std::time::Duration;

use crate::clock::Clock;

/// How often [`Terminal::look_again`] is to be called.
pub const OFTEN: Duration = Duration::from_secs(1);
/// How long a shell that has hung up may take to end.
const FAREWELL: Duration = Duration::from_millis(300);
/// Between two looks in that time.
const LOOK: Duration = Duration::from_millis(20);

/// What a SIGHUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUp {
    /// Somebody sent it: the configuration is to be read again.
    Reload,
    /// The terminal is gone, and the daemon is to end.
    End,
    /// The terminal is gone, and the daemon was started to outlive it (`nohup`).
    Outlive,
}

/// The terminal in which the daemon was started.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// It was there at the latest look.
    there: bool,
    /// Hang-ups were ignored at the start.
    ignored: bool,
    /// Whose child the daemon was at the latest look.
    parent: u32,
}

/// What is to be seen of the terminal at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    there: bool,
    parent: u32,
}

impl Seen {
    fn now() -> Self {
        Self { there: has_terminal(), parent: parent_id() }
    }
}

impl Terminal {
    /// Looks for it, before anything takes the signal.
    pub fn look() -> Self {
        let Seen { there, parent } = Seen::now();
        Self { there, ignored: ignores_hang_ups(), parent }
    }

    /// Whether there is one to look after.
    pub fn is_there(&self) -> bool {
        self.there
    }

    /// Looks who the parent is now: one that has long ended, as a script that only starts the daemon, is no shell that has just
    /// hung up.
    pub fn look_again(&mut self) {
        self.parent = parent_id();
    }

    /// What the SIGHUP that has just come means. In a terminal it takes a moment to tell.
    pub async fn hang_up(&mut self) -> HangUp {
        let clock = Clock::start();
        let end = clock.now() + FAREWELL;
        loop {
            let seen = Seen::now();
            if !self.there || self.is_left(seen) || clock.now() >= end {
                return self.means(seen);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether the terminal, or the shell in it, has gone since the latest look.
    fn is_left(&self, seen: Seen) -> bool {
        self.there && (!seen.there || seen.parent != self.parent)
    }

    fn means(&mut self, seen: Seen) -> HangUp {
        let left = self.is_left(seen);
        // Without its shell it is nobody's job any more, whatever terminal is left.
        (self.there, self.parent) = (seen.there && !left, seen.parent);
        match (left, self.ignored) {
            (false, _) => HangUp::Reload,
            (true, false) => HangUp::End,
            (true, true) => HangUp::Outlive,
        }
    }
}

/// Whether this process has a controlling terminal (tty(4)): once it has hung up, `/dev/tty` cannot be opened any more.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether SIGHUP is ignored, as `nohup` leaves it (proc(5), `SigIgn`: a bit for each signal, SIGHUP the lowest).
fn ignores_hang_ups() -> bool {
    let mut text = String::new();
    let read =
        File::open("/proc/self/status").and_then(|file| file.take(16 * 1024).read_to_string(&mut text));
    read.is_ok() && ignored(&text)
}

fn ignored(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_terminal_is_no_reload() {
        let (there, gone) = (Seen { there: true, parent: 7 }, Seen { there: false, parent: 7 });
        let mut service = Terminal { there: false, ignored: false, parent: 1 };
        assert_eq!(service.means(gone), HangUp::Reload);
        let by_hand = Terminal { there: true, ignored: false, parent: 7 };
        assert_eq!({ by_hand }.means(there), HangUp::Reload, "kill -HUP, and the terminal is still there");
        assert_eq!({ by_hand }.means(gone), HangUp::End);
        let mut nohup = Terminal { ignored: true, ..by_hand };
        assert_eq!(nohup.means(gone), HangUp::Outlive);
        assert_eq!(nohup.means(gone), HangUp::Reload, "from then on it has none");
    }

    #[test]
    fn a_shell_that_hangs_up_and_ends_is_no_reload_although_its_terminal_is_there() {
        let orphan = Seen { there: true, parent: 1 };
        let by_hand = Terminal { there: true, ignored: false, parent: 7 };
        assert_eq!({ by_hand }.means(orphan), HangUp::End);
        let mut nohup = Terminal { ignored: true, ..by_hand };
        assert_eq!(nohup.means(orphan), HangUp::Outlive);
        assert_eq!(nohup.means(orphan), HangUp::Reload, "somebody sent it");
        // A script that has started it and has ended since then is no shell.
        let mut started = Terminal { parent: 1, ..by_hand };
        assert_eq!(started.means(orphan), HangUp::Reload);
    }

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        assert!(ignored("Name:\tballast\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"));
        assert!(!ignored("SigIgn:\t0000000000001000\n"));
        for text in ["", "SigIgn:", "SigIgn:\tmany", "SigCgt:\t0000000000000001"] {
            assert!(!ignored(text), "{text}");
        }
    }
}
