//! SIGHUP means two things: "read your configuration again", and "your terminal is gone". Here they are told apart.
//!
//! Whoever starts the daemon in a terminal and closes it expects what any other program does: it ends, here in order, as
//! `on_exit` says. Whoever wants it to go on says so with `nohup`. A service has no terminal, so for it every SIGHUP is a
//! reload.

use std::fs::File;
use std::io::Read as _;

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
}

impl Terminal {
    /// Looks for it, before anything takes the signal.
    pub fn look() -> Self {
        Self { there: has_terminal(), ignored: ignores_hang_ups() }
    }

    /// What the SIGHUP that has just come means.
    pub fn hang_up(&mut self) -> HangUp {
        self.means(has_terminal())
    }

    fn means(&mut self, is_there: bool) -> HangUp {
        let was_there = std::mem::replace(&mut self.there, is_there);
        match (was_there && !is_there, self.ignored) {
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
        let mut service = Terminal { there: false, ignored: false };
        assert_eq!(service.means(false), HangUp::Reload);
        let mut by_hand = Terminal { there: true, ignored: false };
        assert_eq!(by_hand.means(true), HangUp::Reload, "kill -HUP, and the terminal is still there");
        assert_eq!(by_hand.means(false), HangUp::End);
        let mut nohup = Terminal { there: true, ignored: true };
        assert_eq!(nohup.means(false), HangUp::Outlive);
        assert_eq!(nohup.means(false), HangUp::Reload, "from then on it has none");
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
