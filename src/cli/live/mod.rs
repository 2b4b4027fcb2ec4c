//! What is going on in a running daemon, as it changes: for `ballast tail` and `ballast top`.
//!
//! A task follows the event stream, comes again whenever it is lost, and hands over what is new. Whoever takes slowly holds it up,
//! and then misses cycles, as every slow viewer does.

mod parser;

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Failure;
use super::orders::{Daemon, DaemonCallError};
use crate::clock::Clock;
use parser::Parser;

/// The daemon ends a stream after two minutes.
const LONGEST: Duration = Duration::from_secs(150);
/// It says something every 15 s, if only that it lives.
const SILENCE: Duration = Duration::from_secs(40);
/// Before one comes again: after an end, and after a failure.
const SOON: Duration = Duration::from_millis(200);
const LATER: Duration = Duration::from_secs(1);
/// How often it is asked what is worked on.
const WORKS: Duration = Duration::from_secs(5);
/// How often the curves of the last hours are read anew.
const CURVES: Duration = Duration::from_secs(60);

/// Who there is. Positions in rows mean these.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Roster {
    /// Changes with the configuration.
    pub(super) generation: String,
    /// The states of miners.
    pub(super) states: Vec<String>,
    /// Name, position of the circuit, driver, nameplate in watts.
    pub(super) miners: Vec<(String, usize, String, f64)>,
    /// Position and class of those that are no miners.
    #[serde(default)]
    pub(super) servers: Vec<(usize, String)>,
    /// In the order of the configuration.
    pub(super) circuits: Vec<RosterCircuit>,
}

/// A circuit of the roster.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct RosterCircuit {
    /// Its name.
    pub(super) name: String,
}

/// A cycle.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Frame {
    /// When it was, in milliseconds since 1970 (UTC).
    pub(super) at: i64,
    /// As `GET /api/v1/status`.
    pub(super) status: Value,
    /// How many alarms there are; null where nobody looks for any.
    pub(super) alarms: Value,
    /// The miners, or those that have changed.
    pub(super) miners: Rows,
}

/// Rows of miners.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Rows {
    /// Whether all are there.
    pub(super) whole: bool,
    /// Position, position of the state, draw in watts, told watts (-1 is sleep), mark.
    pub(super) rows: Vec<(usize, usize, f64, Option<f64>, u8)>,
}

/// What is new.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// The daemon answers; after a loss, too.
    Connected,
    /// It does not: why. Told once for each reason.
    Lost(String),
    /// Who there is.
    Roster(Roster),
    /// A cycle.
    Frame(Box<Frame>),
    /// The alarms, as `GET /api/v1/alarms`: when they have changed.
    Alarms(Value),
    /// What is worked on, as `GET /api/v1/maintenance`: at first, and when it has changed.
    Works(Value),
    /// The last hours, as `GET /api/v1/history`.
    Curves(Value),
}

/// Begins to follow. The task ends when the receiver is dropped.
pub(super) fn follow(daemon: Daemon, curves: bool) -> mpsc::Receiver<News> {
    let (sender, receiver) = mpsc::channel(4);
    let gone = sender.clone();
    let follower = Follower {
        daemon,
        sender,
        generation: None,
        alarms: Value::Null,
        works: None,
        looked: Clock::start(),
        lost: None,
        curves: curves.then(Clock::start),
    };
    tokio::spawn(async move {
        tokio::select! {
            () = gone.closed() => {}
            _ = follower.run() => {}
        }
    });
    receiver
}

/// Nobody takes what is new any more.
struct Gone;

struct Follower {
    daemon: Daemon,
    sender: mpsc::Sender<News>,
    generation: Option<String>,
    /// How many alarms there were when they were read last.
    alarms: Value,
    /// What was worked on when that was read last, and the time since.
    works: Option<Value>,
    looked: Clock,
    /// Why it was lost, as it was told last.
    lost: Option<String>,
    /// Since when the curves are as they are; `None` where nobody wants any.
    curves: Option<Clock>,
}

impl Follower {
    async fn run(mut self) -> Result<(), Gone> {
        let mut read = false;
        loop {
            let pause = match self.stream(&mut read).await {
                Ok(()) => SOON,
                Err(Ended::Gone) => return Err(Gone),
                Err(Ended::Lost(why)) => {
                    if self.lost.as_ref() != Some(&why) {
                        self.lost = Some(why.clone());
                        self.tell(News::Lost(why)).await?;
                    }
                    LATER
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn tell(&self, news: News) -> Result<(), Gone> {
        self.sender.send(news).await.map_err(|_| Gone)
    }

    /// One stream, to its end.
    async fn stream(&mut self, read: &mut bool) -> Result<(), Ended> {
        let mut response = self.daemon.listen(self.generation.as_deref(), LONGEST).await?;
        let mut parser = Parser::default();
        loop {
            let silent = || Ended::Lost(format!("{} says nothing any more", self.daemon.at()));
            let chunk = match timeout(SILENCE, response.chunk()).await {
                Err(_) => return Err(silent()),
                Ok(Err(error)) => return Err(Ended::Lost(crate::tls::innermost(&error))),
                Ok(Ok(None)) => return Ok(()),
                Ok(Ok(Some(chunk))) => chunk,
            };
            for (event, data) in parser.take(&chunk).map_err(|error| self.strange(error.to_string()))? {
                match event.as_str() {
                    "roster" => {
                        let roster: Roster =
                            serde_json::from_str(&data).map_err(|error| self.strange(error.to_string()))?;
                        self.generation = Some(roster.generation.clone());
                        self.tell(News::Roster(roster)).await?;
                    }
                    "frame" => {
                        let frame: Frame =
                            serde_json::from_str(&data).map_err(|error| self.strange(error.to_string()))?;
                        self.frame(frame, read).await?;
                    }
                    _ => {}
                }
            }
        }
    }

    async fn frame(&mut self, frame: Frame, read: &mut bool) -> Result<(), Ended> {
        if self.lost.take().is_some() || !*read {
            self.tell(News::Connected).await?;
            // A daemon that has started anew may have as many alarms as the one before, and others.
            self.alarms = Value::Null;
            self.works = None;
            self.curves = self.curves.as_ref().map(|_| Clock::start());
            *read = false;
        }
        let alarms = frame.alarms.clone();
        self.tell(News::Frame(Box::new(frame))).await?;
        if alarms != self.alarms && !alarms.is_null() {
            let all = self.daemon.get(&["alarms"]).await?;
            self.alarms = alarms;
            self.tell(News::Alarms(all)).await?;
        }
        if self.works.is_none() || self.looked.now().since_start() >= WORKS {
            let works = super::status::works(&self.daemon).await?;
            self.looked = Clock::start();
            if self.works.as_ref() != Some(&works) {
                self.works = Some(works.clone());
                self.tell(News::Works(works)).await?;
            }
        }
        let old = |clock: &Clock| clock.now().since_start() >= CURVES;
        if self.curves.as_ref().is_some_and(|clock| old(clock) || !*read) {
            let curves = self.daemon.look(&["history"], &[("minutes", "240")]).await?;
            self.curves = Some(Clock::start());
            self.tell(News::Curves(curves)).await?;
        }
        *read = true;
        Ok(())
    }

    fn strange(&self, reason: String) -> Ended {
        DaemonCallError::Strange { at: self.daemon.at().to_owned(), reason }.into()
    }
}

/// Why a stream is over.
enum Ended {
    Gone,
    Lost(String),
}

impl From<Gone> for Ended {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Lost(failure.to_string())
    }
}

impl From<DaemonCallError> for Ended {
    fn from(error: DaemonCallError) -> Self {
        Self::Lost(error.to_string())
    }
}
