//! The test stand: one meter and the miners of its circuit, read and moved through the same tasks and sessions as in the
//! daemon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::plan::{self, Candidate, Move, Unmovable};
use super::trial::{self, Phase, Sample};
use crate::cli::Failure;
use crate::cli::meter::screen::{Progress, spell};
use crate::clock::{Clock, Moment};
use crate::config::{Config, ExitPolicy};
use crate::control::decision::{Cause, Command};
use crate::control::site::{CircuitId, Miner, MinerId, Site};
use crate::control::snapshot::{Contact, MeterInput, MeterStatus, MinerInput, Outcome, Target};
use crate::daemon::DaemonError;
use crate::daemon::fleet::Fleet;
use crate::meter::{self, LinkId};
use crate::units::Watts;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// How long everything has to answer for the first time.
const FIRST_ANSWER: Duration = Duration::from_secs(20);
/// Miners are polled at least so often while they are tested.
const POLL: Duration = Duration::from_secs(1);
/// Part of the step that must have come before the miners count as settled.
const ARRIVED: f64 = 0.9;
/// The least time from the miners' arrival to the plateau.
const ALLOWANCE: Duration = Duration::from_secs(2);
/// The least length of a plateau, and the longest.
const PLATEAU: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(240));
/// A meter that is still moving is waited for so long at the most.
const STILL_MOVING: Duration = Duration::from_secs(20);
/// What may come late is waited for so long at the most.
const LATEST: Duration = Duration::from_secs(60);
/// How often a miner is told to go back, and how long it is given each time.
const RESTORE: (u32, Duration) = (3, Duration::from_secs(15));

/// Everything that is read and moved.
pub(super) struct Stand {
    clock: Clock,
    /// The meter's name.
    pub(super) name: String,
    /// Whether the configuration turns its sign.
    pub(super) inverted: bool,
    input: watch::Receiver<MeterInput>,
    counters: Arc<meter::counters::MeterCounters>,
    period: Duration,
    lag: Duration,
    fleet: Fleet,
    miners: Vec<Miner>,
    connections: Vec<crate::miner::Connection>,
    sequence: u64,
    /// What the meter read.
    pub(super) readings: Vec<Sample>,
    /// What the moved miners say they draw together.
    pub(super) draws: Vec<Sample>,
    /// Whether all of them say it.
    pub(super) reported: bool,
    /// The miners that take part.
    pub(super) moves: Vec<Move>,
    /// What the miners that were told anything were told last.
    told: BTreeMap<usize, Watts>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

/// What the quiet time before the test showed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Baseline {
    /// The mean reading.
    pub(super) mean: Watts,
    /// Its standard deviation, drift taken off.
    pub(super) noise: Watts,
    /// How often the meter has a new value.
    pub(super) refresh: Duration,
}

/// What becomes of the miners that were lowered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Left {
    /// Its name.
    pub(super) name: String,
    /// Where it should be.
    pub(super) back: Watts,
    /// What is known.
    pub(super) why: &'static str,
}

/// All circuits below one, itself included.
fn below(site: &Site, top: CircuitId) -> Vec<CircuitId> {
    let mut found = vec![top];
    // Parents come before their children.
    for (index, circuit) in site.circuits.iter().enumerate() {
        if circuit.parent.is_some_and(|parent| found.contains(&parent)) {
            found.push(CircuitId(index));
        }
    }
    found
}

impl Stand {
    /// Connects to a meter and to the miners of its circuit; nothing is commanded.
    ///
    /// # Errors
    /// The system cannot give what every program needs.
    pub(super) fn start(config: &Config, meter: usize, circuit: CircuitId) -> Result<Option<Self>, Failure> {
        let clock = Clock::start();
        let circuits = below(&config.site, circuit);
        let (miners, connections): (Vec<Miner>, Vec<crate::miner::Connection>) = config
            .site
            .miners
            .iter()
            .zip(&config.miners)
            .filter(|(miner, _)| circuits.contains(&miner.circuit))
            .map(|(miner, connection)| {
                let poll_period = miner.poll_period.min(POLL);
                (Miner { poll_period, ..miner.clone() }, connection.clone())
            })
            .unzip();
        let (Some(spec), Some(connection)) = (config.site.meters.get(meter), config.meters.get(meter)) else {
            return Ok(None);
        };
        let Some(link) = config.links.get(connection.link.0) else { return Ok(None) };
        let only = meter::Connection { link: LinkId(0), ..connection.clone() };
        let (cancel, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mut running =
            meter::spawn(std::slice::from_ref(link), &[only], &[&spec.name], clock, &cancel, &tasks);
        tasks.close();
        let (Some(input), Some(counters)) = (running.inputs.pop(), running.counters.pop()) else {
            return Ok(None);
        };
        let site = Arc::new(Site { miners: miners.clone(), ..(*config.site).clone() });
        let part = Config { site, miners: connections.clone(), ..config.clone() };
        let fleet = Fleet::start(&part, clock).map_err(DaemonError::Http)?;
        Ok(Some(Self {
            clock,
            name: spec.name.clone(),
            inverted: connection.invert,
            input,
            counters,
            period: spec.period,
            lag: spec.lag,
            fleet,
            miners,
            connections,
            sequence: 0,
            readings: Vec::new(),
            draws: Vec::new(),
            reported: true,
            moves: Vec::new(),
            told: BTreeMap::new(),
            cancel,
            tasks,
        }))
    }

    /// How many miners hang on the circuit.
    pub(super) fn miners(&self) -> usize {
        self.miners.len()
    }

    fn seconds(&self) -> f64 {
        self.clock.now().since_start().as_secs_f64()
    }

    /// Waits a moment and takes down what has come.
    async fn look(&mut self) {
        sleep(LOOK).await;
        let at = self.seconds();
        if self.input.has_changed().unwrap_or(false) {
            let input = *self.input.borrow_and_update();
            if let (MeterStatus::Ok, Some(power)) = (input.status, input.power) {
                self.readings.push(Sample { at, value: power.value.get() });
            }
        }
        if !self.moves.is_empty() {
            let inputs = self.fleet.inputs();
            let draws: Option<Vec<f64>> =
                self.moves.iter().map(|step| Some(draw(inputs.get(step.miner)?)?.get())).collect();
            match draws {
                Some(draws) => {
                    let sample = Sample { at, value: draws.iter().sum() };
                    // Only what is new, or as old as a poll: a value that is held is no further proof of itself.
                    let news = self.draws.last().is_none_or(|last| {
                        (last.value - sample.value).abs() > 0.0 || at - last.at >= POLL.as_secs_f64()
                    });
                    if news {
                        self.draws.push(sample);
                    }
                }
                None => self.reported = false,
            }
        }
    }

    /// Waits until the meter and the miners have answered. Gives the meter's status when it does not.
    pub(super) async fn wake(&mut self, progress: &mut Progress) -> Result<(), MeterStatus> {
        let begun = self.clock.now();
        loop {
            let status = self.input.borrow().status;
            let inputs = self.fleet.inputs();
            let asked = inputs.iter().filter(|input| input.contact != Contact::Pending).count();
            let late = self.clock.now() - begun >= FIRST_ANSWER;
            if !self.readings.is_empty() && (asked == inputs.len() || late) {
                return Ok(());
            }
            if late {
                return Err(status);
            }
            progress.show(&format!("asking the meter and {} miners · {asked} have answered", inputs.len()));
            self.look().await;
        }
    }

    /// Watches the meter for a while.
    pub(super) async fn watch(&mut self, time: Duration, progress: &mut Progress) -> Option<Baseline> {
        let begun = self.seconds();
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            let left = end - self.clock.now();
            progress.show(&format!("watching {} · {} · {} left", self.name, self.power_now(), spell(left)));
            self.look().await;
        }
        let seen: Vec<Sample> = self.readings.iter().copied().filter(|sample| sample.at >= begun).collect();
        let sum: f64 = seen.iter().map(|sample| sample.value).sum();
        let count = u32::try_from(seen.len()).ok().filter(|count| *count > 0)?;
        Some(Baseline {
            mean: Watts::saturating(sum / f64::from(count)),
            noise: Watts::saturating(trial::noise(&seen)),
            refresh: self.refresh(),
        })
    }

    /// How often the meter has a new value, learned; at least its poll period.
    fn refresh(&self) -> Duration {
        let learned = self.input.borrow().refresh.or_else(|| self.counters.refresh_period());
        learned.unwrap_or(self.period).max(self.period)
    }

    fn power_now(&self) -> String {
        let input = *self.input.borrow();
        match (input.status, input.power) {
            (MeterStatus::Ok, Some(power)) => power.value.to_string(),
            (status, _) => String::from(status.name()),
        }
    }

    /// The miners that can be moved, and how many cannot and why.
    pub(super) fn candidates(&self) -> (Vec<Candidate>, BTreeMap<Unmovable, usize>) {
        let mut unmovable = BTreeMap::new();
        let mut candidates = Vec::new();
        let members = self.miners.iter().zip(&self.connections).zip(self.fleet.inputs());
        for (index, ((spec, connection), input)) in members.enumerate() {
            let writable = connection.credentials.is_some();
            match Candidate::new(index, spec, &connection.driver.traits(), writable, &input) {
                Ok(candidate) => candidates.push(candidate),
                Err(why) => *unmovable.entry(why).or_default() += 1,
            }
        }
        (candidates, unmovable)
    }

    /// How long each plateau lasts.
    fn plateau(&self) -> Duration {
        (self.refresh() * 5).max(self.period * 8).clamp(PLATEAU.0, PLATEAU.1)
    }

    /// What the meter is given after the miners have arrived.
    fn allowance(&self) -> Duration {
        ALLOWANCE.max(self.refresh() * 2).max(self.lag * 2).max(self.period * 2)
    }

    /// By their model, how long the miners take to go down.
    fn response(&self) -> Duration {
        let times = self.moves.iter().filter_map(|step| {
            let response = self.miners.get(step.miner)?.response;
            let ramp = (step.draw - step.low).get() / response.ramp_down.get().max(1.0);
            Some(response.dead_time_down + Duration::try_from_secs_f64(ramp.max(0.0)).unwrap_or_default())
        });
        times.max().unwrap_or_default()
    }

    /// About how long a whole test takes.
    pub(super) fn duration(&self, rounds: u32) -> Duration {
        // Half again for miners that are slower than their model, and what it takes until a poll tells.
        let phase = self.plateau() + self.allowance() + self.response().mul_f64(1.5) + POLL * 6;
        self.plateau() + phase * (2 * rounds)
    }

    /// Lowers and raises. The commands of a caller that stops waiting are made up for by [`Self::restore`].
    pub(super) async fn trial(
        &mut self,
        rounds: u32,
        noise: Watts,
        longest: Duration,
        progress: &mut Progress,
    ) -> Vec<Phase> {
        let begun = self.seconds();
        self.stay(self.plateau(), "before", progress).await;
        let mut phases = vec![Phase { begun, settled: begun, ended: self.seconds(), lowered: false }];
        let before = self.mean_draw(begun);
        for round in 1..=rounds {
            for lowered in [true, false] {
                let words =
                    format!("round {round} of {rounds}, {}", if lowered { "lowered" } else { "as before" });
                let begun = self.seconds();
                let from = self.power_now();
                self.command(lowered);
                self.settle(lowered, before, noise, longest, &words, progress).await;
                let settled = self.seconds();
                // How slow the meter is may only be known by now.
                self.stay(self.plateau(), &words, progress).await;
                phases.push(Phase { begun, settled, ended: self.seconds(), lowered });
                if !progress.visible() {
                    let _ = crate::cli::print(&format!(
                        "{words}: {} {from} -> {}\n",
                        self.name,
                        self.power_now()
                    ));
                }
            }
        }
        if self.may_be_late(&phases) {
            // What is on its way still is waited for: everything is as before by now.
            let longest = phases.windows(2).map(|two| match two {
                [one, next] => next.begun - one.begun,
                _ => 0.0,
            });
            let longest = Duration::try_from_secs_f64(longest.fold(0.0, f64::max) * 2.0).unwrap_or_default();
            self.stay(longest.min(LATEST), "waiting for what may come late", progress).await;
        }
        phases
    }

    /// Whether the meter does not show what the miners did, and may yet.
    fn may_be_late(&self, phases: &[Phase]) -> bool {
        let told = plan::total(&self.moves).get();
        let drawn = trial::fall(&self.draws, phases).filter(|_| self.reported);
        let drawn = drawn.map_or(told, |fall| fall.mean);
        trial::fall(&self.readings, phases)
            .is_none_or(|fall| (fall.mean - drawn).abs() + fall.within > 0.15 * drawn.abs())
    }

    fn mean_draw(&self, from: f64) -> f64 {
        let seen: Vec<f64> =
            self.draws.iter().filter(|sample| sample.at >= from).map(|sample| sample.value).collect();
        seen.iter().sum::<f64>() / f64::from(u32::try_from(seen.len()).unwrap_or(u32::MAX).max(1))
    }

    fn command(&mut self, lowered: bool) {
        let targets: Vec<(usize, Watts)> =
            self.moves.iter().map(|step| (step.miner, if lowered { step.low } else { step.back })).collect();
        self.send(&targets, if lowered { Cause::Shed } else { Cause::Raise });
    }

    fn send(&mut self, targets: &[(usize, Watts)], cause: Cause) {
        let mut commands = Vec::with_capacity(targets.len());
        for (miner, power) in targets {
            self.sequence += 1;
            self.told.insert(*miner, *power);
            commands.push(Command {
                miner: MinerId(*miner),
                target: Target::Power(*power),
                sequence: self.sequence,
                cause,
            });
        }
        self.fleet.send(&commands);
    }

    fn show(&self, words: &str, begun: Moment, progress: &mut Progress) {
        let draw = self.draws.last().filter(|_| self.reported).map_or_else(String::new, |sample| {
            format!(" · the moved miners say {}", Watts::saturating(sample.value))
        });
        let time = spell(Duration::from_secs((self.clock.now() - begun).as_secs()));
        progress.show(&format!("{words} · {time} · {} reads {}{draw}", self.name, self.power_now()));
    }

    async fn stay(&mut self, time: Duration, words: &str, progress: &mut Progress) {
        let begun = self.clock.now();
        while self.clock.now() - begun < time {
            self.show(words, begun, progress);
            self.look().await;
        }
    }

    /// Waits until the miners have arrived and the meter has had time to show it.
    async fn settle(
        &mut self,
        lowered: bool,
        before: f64,
        noise: Watts,
        longest: Duration,
        words: &str,
        progress: &mut Progress,
    ) {
        let step = plan::total(&self.moves);
        let begun = self.clock.now();
        let by_model = self.response().mul_f64(1.5) + ALLOWANCE;
        while self.clock.now() - begun < longest {
            self.show(words, begun, progress);
            self.look().await;
            let spent = self.clock.now() - begun;
            let arrived = match self.draws.last().filter(|_| self.reported) {
                Some(sample) => {
                    let fallen = (before - sample.value) / step.get().max(1.0);
                    // Miners that stop short of what they were told are not waited for until patience ends.
                    let stuck = spent > by_model * 3
                        && trial::still(&self.draws, self.seconds(), 5.0, step.scaled(0.02));
                    stuck || if lowered { fallen >= ARRIVED } else { fallen <= 1.0 - ARRIVED }
                }
                None => spent >= by_model,
            };
            if arrived {
                break;
            }
        }
        self.stay(self.allowance(), words, progress).await;
        // Where the meter is calm enough to tell, it is waited for.
        if noise.get() < 0.05 * step.get() {
            let window = (self.refresh() * 2).max(Duration::from_secs(2)).as_secs_f64();
            let tolerance = step.scaled(0.03).max(noise.scaled(3.0));
            let begun = self.clock.now();
            while self.clock.now() - begun < STILL_MOVING
                && !trial::still(&self.readings, self.seconds(), window, tolerance)
            {
                self.show(words, begun, progress);
                self.look().await;
            }
        }
    }

    /// Puts every miner that was told anything back to its setpoint before. Gives those of which that is not certain.
    pub(super) async fn restore(&mut self, progress: &mut Progress) -> Vec<Left> {
        for attempt in 0..RESTORE.0 {
            let open = self.open();
            if open.is_empty() {
                break;
            }
            // What is on its way back already is given its time first.
            let waits = attempt == 0 && open.iter().all(|(miner, back)| self.told.get(miner) == Some(back));
            if !waits {
                self.send(&open, Cause::Raise);
            }
            let begun = self.clock.now();
            while self.clock.now() - begun < RESTORE.1 {
                let open = self.open();
                if open.is_empty() || open.iter().all(|(miner, back)| self.refused(*miner, *back)) {
                    break;
                }
                progress.show(&format!("putting miners back · {} to go", open.len()));
                sleep(LOOK).await;
            }
        }
        self.left()
    }

    /// Those that have not confirmed that they are back.
    pub(super) fn left(&self) -> Vec<Left> {
        self.open()
            .into_iter()
            .map(|(miner, back)| Left {
                name: self.miners.get(miner).map_or_else(String::new, |spec| spec.name.clone()),
                back,
                why: if self.refused(miner, back) { "it refused" } else { "it has not confirmed" },
            })
            .collect()
    }

    fn open(&self) -> Vec<(usize, Watts)> {
        let inputs = self.fleet.inputs();
        let back = |step: &Move| {
            let delivery = inputs.get(step.miner).and_then(|input| input.delivery.as_ref());
            delivery.is_some_and(|delivery| {
                delivery.outcome == Outcome::Accepted && delivery.target == Target::Power(step.back)
            })
        };
        self.moves
            .iter()
            .filter(|step| self.told.contains_key(&step.miner) && !back(step))
            .map(|step| (step.miner, step.back))
            .collect()
    }

    fn refused(&self, miner: usize, back: Watts) -> bool {
        self.fleet.inputs().get(miner).and_then(|input| input.delivery.clone()).is_some_and(|delivery| {
            delivery.target == Target::Power(back)
                && matches!(delivery.outcome, Outcome::Rejected(_) | Outcome::Unknown)
        })
    }

    /// How many miners were told anything.
    pub(super) fn touched(&self) -> usize {
        self.told.len()
    }

    /// Closes every connection. Does nothing to the miners' power.
    pub(super) async fn stop(self) {
        self.cancel.cancel();
        self.fleet.stop(ExitPolicy::Hold, self.sequence, &[], &[]).await;
        self.tasks.wait().await;
    }
}

fn draw(input: &MinerInput) -> Option<Watts> {
    input.status.as_ref()?.value.power.value()
}
