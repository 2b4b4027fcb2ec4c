//! What the commands for commissioning write on: a terminal or a file.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use crate::cli::print;

/// Whether a person looks at standard output.
pub(super) fn watched() -> bool {
    io::stdout().is_terminal()
}

/// Draws a page over the one before. The first clears the screen.
#[derive(Debug, Default)]
pub(super) struct Page {
    drawn: bool,
}

impl Page {
    /// Draws.
    pub(super) fn draw(&mut self, text: &str) -> io::Result<()> {
        // Home, each line with its rest erased, then everything below: nothing flickers.
        let start = if std::mem::replace(&mut self.drawn, true) { "\x1b[H" } else { "\x1b[2J\x1b[H" };
        let body = text.replace('\n', "\x1b[K\n");
        print(&format!("{start}{body}\x1b[J"))
    }
}

/// One line on standard error that changes while something takes long. Nothing is shown where no terminal is.
#[derive(Debug)]
pub(super) struct Progress {
    shown: bool,
    terminal: bool,
}

impl Progress {
    /// Nothing shown yet.
    pub(super) fn new() -> Self {
        Self { shown: false, terminal: io::stderr().is_terminal() }
    }

    /// Whether there is a terminal to show it on.
    pub(super) fn visible(&self) -> bool {
        self.terminal
    }

    /// Shows a line in place of the last one.
    pub(super) fn show(&mut self, text: &str) {
        if self.terminal {
            self.shown = true;
            // A terminal that has gone away ends the command by its signal.
            let _ = write!(io::stderr().lock(), "\r\x1b[K{text}");
        }
    }

    /// Takes the line away, so that other text can come.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A time as people say it: `45 s`, `3 min 20 s`, `0.4 s`.
pub(super) fn spell(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 if time.subsec_millis() > 0 => format!("{:.1} s", time.as_secs_f64()),
        0..100 => format!("{:.0} s", time.as_secs_f64()),
        100..6_000 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        100..6_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// `1 meter`, `2 meters`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_do() {
        let told = |millis| spell(Duration::from_millis(millis));
        assert_eq!(told(400), "0.4 s");
        assert_eq!(told(3_000), "3 s");
        assert_eq!(told(99_600), "100 s");
        assert_eq!(told(200_000), "3 min 20 s");
        assert_eq!(told(7_260_000), "2 h 1 min");
    }
}
