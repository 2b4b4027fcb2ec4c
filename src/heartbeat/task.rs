//! Writes the beats of one output.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::{Board, Settings, Withheld, judge};
use crate::clock::Clock;
use crate::control::frame::Frame;
use crate::miner::drivers::generic::modbus::{Address, Kind, Number, Peer};
use crate::miner::{Connection, DriverError, DriverKind};
use crate::units::Watts;

/// The state of one output.
pub(super) struct Task {
    settings: Settings,
    peer: Peer,
    board: Board,
    clock: Clock,
    /// The value that was written last, or tried.
    beat: u16,
    told: Told,
}

impl Task {
    pub(super) fn new(settings: Settings, board: Board, clock: Clock) -> Self {
        let connection = Connection {
            name: format!("heartbeat {}", settings.name).into(),
            driver: DriverKind::Generic,
            endpoint: settings.endpoint.clone(),
            credentials: None,
            timeout: settings.timeout,
            rated: Watts::ZERO,
            device: None,
            certificate: None,
            gpus: None,
            pause: None,
            rated_is_told: true,
        };
        let peer = Peer::new(&connection, settings.unit);
        // Where the run before stopped is not known: by chance, so that the first value is most likely a new one.
        Self { settings, peer, board, clock, beat: rand::random(), told: Told::default() }
    }

    /// Runs until whoever publishes the cycles is gone.
    pub(super) async fn run(mut self, mut frames: watch::Receiver<Option<Frame>>) {
        let mut due = self.clock.instant(self.clock.now());
        loop {
            sleep_until(due).await;
            // What has run before says nothing of now: the next cycle counts.
            frames.mark_unchanged();
            if frames.changed().await.is_err() {
                return;
            }
            let Some(frame) = frames.borrow_and_update().clone() else { continue };
            // A tenth less, so that a period that is that of the cycles does not miss every other one.
            due = self.clock.instant(self.clock.now()) + self.settings.period.mul_f64(0.9);
            self.turn(&frame, due).await;
        }
    }

    /// Beats for a cycle where it deserves it, then tells the rest in what is left of the time.
    async fn turn(&mut self, frame: &Frame, due: Instant) {
        let judgement = judge(&self.settings, frame);
        let mut failed = None;
        if judgement.withheld.is_none() {
            match self.write_beat().await {
                Ok(()) => {
                    let now = self.clock.now();
                    self.board.note(&self.settings.name, |health| {
                        health.beats = health.beats.saturating_add(1);
                        health.beat_at = Some(now);
                    });
                }
                Err(error) => failed = Some(error),
            }
        }
        // Nobody waits twice for a PLC that is gone, and no beat for what stands beside it.
        let mut beside = None;
        if failed.is_none() && judgement.withheld != Some(Withheld::StandsBy) {
            let rest = self.tell(frame, judgement.state, judgement.withheld.is_none());
            beside = match tokio::time::timeout_at(due, rest).await {
                Ok(result) => result.err(),
                Err(_) => Some(format!("it takes longer than {:?}", self.settings.period).into()),
            };
        }
        self.note(judgement.withheld, failed, beside);
    }

    async fn write_beat(&mut self) -> Result<(), Arc<str>> {
        let value = match self.settings.beat {
            Address::Coil(_) => u16::from(self.beat & 1 == 0),
            _ => self.beat.checked_add(1).unwrap_or(1),
        };
        let result = self.peer.write("its beat", self.settings.beat, value).await;
        // A write that was not answered may have arrived: the next one differs from it, and from what was there before.
        self.beat = value;
        result.map_err(|error| said(&error))
    }

    async fn tell(&self, frame: &Frame, state: Option<u16>, beats: bool) -> Result<(), Arc<str>> {
        if let Some((address, value)) = self.settings.alive.filter(|_| beats) {
            self.peer.write("its fixed value", address, value).await.map_err(|error| said(&error))?;
        }
        if let (Some(address), Some(state)) = (self.settings.state, state) {
            self.peer.write("its state", address, state).await.map_err(|error| said(&error))?;
        }
        let fleet = &frame.decision.fleet;
        for (number, value) in [(self.settings.draw, fleet.draw), (self.settings.setpoint, fleet.setpoint)] {
            if let Some(number) = number {
                self.number(&number, value).await.map_err(|error| said(&error))?;
            }
        }
        Ok(())
    }

    async fn number(&self, number: &Number, value: Watts) -> Result<(), DriverError> {
        let registers = registers(number, value);
        match (number.address, registers.as_slice()) {
            (address, [one]) => self.peer.write("a power", address, *one).await,
            (Address::Holding(at), many) => self.peer.write_many("a power", at, many).await,
            // The configuration knows registers alone.
            _ => Ok(()),
        }
    }

    fn note(&mut self, withheld: Option<Withheld>, failed: Option<Arc<str>>, beside: Option<Arc<str>>) {
        let name = &*self.settings.name;
        let kind = |withheld: Option<Withheld>| withheld.map(|why| std::mem::discriminant(&why));
        if kind(withheld) != kind(self.told.withheld) {
            match withheld {
                None => info!(heartbeat = name, "it beats again"),
                Some(why) => warn!(heartbeat = name, "it does not beat: {}", why.words()),
            }
        }
        match (&failed, self.told.failed) {
            (Some(error), false) => {
                warn!(heartbeat = name, "{error}; the PLC will take this daemon for dead")
            }
            (None, true) => info!(heartbeat = name, "it can be written again"),
            _ => {}
        }
        match (&beside, self.told.beside) {
            (Some(error), false) => {
                warn!(heartbeat = name, "what stands beside the beat is not written: {error}")
            }
            (None, true) if failed.is_none() => {
                info!(heartbeat = name, "what stands beside the beat is written again")
            }
            _ => {}
        }
        self.told = Told { withheld, failed: failed.is_some(), beside: beside.is_some() };
        let failures = u64::from(failed.is_some() || beside.is_some());
        self.board.note(&self.settings.name, |health| {
            health.withheld = withheld;
            health.failures = health.failures.saturating_add(failures);
            health.error = failed;
        });
    }
}

/// What was told to the log last.
#[derive(Debug, Default)]
struct Told {
    /// Why there is no beat.
    withheld: Option<Withheld>,
    /// The beat could not be written.
    failed: bool,
    /// What stands beside it could not.
    beside: bool,
}

fn said(error: &DriverError) -> Arc<str> {
    error.to_string().into()
}

/// The registers for a power, rounded down. What does not fit is the highest value that the registers hold.
fn registers(number: &Number, value: Watts) -> Vec<u16> {
    number.encode(value.get()).unwrap_or_else(|| {
        let [high, low] = match number.kind {
            Kind::U16 => return vec![0xFFFF],
            Kind::I16 => return vec![0x7FFF],
            Kind::U32 => [0xFFFF, 0xFFFF],
            Kind::I32 => [0x7FFF, 0xFFFF],
            Kind::F32 => [0x7FC0, 0],
        };
        if number.low_first { vec![low, high] } else { vec![high, low] }
    })
}

impl Withheld {
    /// In words that go on after "it does not beat:".
    pub fn words(self) -> String {
        match self {
            Self::StandsBy => "the other machine leads".into(),
            Self::StartUp => "the site starts up".into(),
            Self::Observe => "it only observes".into(),
            Self::FailSafe => "a fail-safe value holds".into(),
            Self::Lost(share) => {
                format!("miners with {:.0} % of the nameplates do not answer or do not obey", share * 100.0)
            }
        }
    }
}
