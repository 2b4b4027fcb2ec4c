//! `ballast top`: the site on a screen of its own, as it changes.

mod model;
mod view;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::orders::{Daemon, Reach};
use super::{Failure, live};
use model::Model;

/// How often the age of what is shown is worked out anew.
const TICK: Duration = Duration::from_secs(1);
/// How often whoever waits for keys looks whether anybody wants them.
const LOOK: Duration = Duration::from_millis(200);

/// What `ballast top` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Keys: q ends it; arrows, PageUp and PageDown move through the miners; s sorts them by another column, r turns the \
                  order; / looks for a name, circuit, driver or state, Escape shows all again."
)]
pub struct Args {
    #[command(flatten)]
    reach: Reach,
}

/// The terminal, which is as it was when this is gone.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> io::Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self(terminal)),
            Err(error) => {
                let _ = ratatui::try_restore();
                Err(error)
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.0.show_cursor();
        let _ = ratatui::try_restore();
    }
}

/// Shows the site until somebody ends it.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::System {
            what: "ballast top needs a terminal; `ballast status` and `ballast tail` do not",
            source: io::Error::from(io::ErrorKind::Unsupported),
        });
    }
    let daemon = Daemon::reach_to_read(&args.reach)?;
    let failed = |source| Failure::System { what: "the terminal does not work", source };
    let mut model = Model::new(daemon.at(), super::status::colours());
    let mut news = live::follow(daemon, true);
    let mut keys = keys();
    let mut tick = tokio::time::interval(TICK);
    let mut end = signal(SignalKind::terminate()).map_err(failed)?;
    let mut gone = signal(SignalKind::hangup()).map_err(failed)?;
    let mut screen = Screen::open().map_err(failed)?;
    loop {
        screen.0.draw(|frame| view::draw(&mut model, frame)).map_err(failed)?;
        tokio::select! {
            Some(one) = news.recv() => model.take(one),
            key = keys.recv() => match key {
                Some(Ok(Event::Key(key))) if model.key(key) => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(failed(error)),
                None => return Ok(()),
            },
            _ = tick.tick() => {}
            _ = end.recv() => return Ok(()),
            _ = gone.recv() => return Ok(()),
        }
        // All that has come meanwhile is drawn at once.
        while let Ok(one) = news.try_recv() {
            model.take(one);
        }
    }
}

/// Keys and new sizes of the terminal. To wait for them blocks, so that is done elsewhere, until nobody wants them any more.
fn keys() -> mpsc::Receiver<io::Result<Event>> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::task::spawn_blocking(move || {
        while !sender.is_closed() {
            let read = match event::poll(LOOK) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if sender.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    receiver
}
