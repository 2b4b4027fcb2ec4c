//! Why a miner stands where it stands, in sentences.

use std::time::Duration;

use super::sentence::waiting_words;
use super::sources::{circuit_name, miner_name};
use super::told::Telling;
use super::why::{Here, Speaker, Told, is_put_to_sleep, said};
use crate::clock::Moment;
use crate::control::decision::{Cause, MinerDecision, MinerState, Mode, Source};
use crate::control::frame::{Frame, fresh_status};
use crate::control::lead::Lead;
use crate::control::learned::Learned;
use crate::control::response::near;
use crate::control::signal::Wall;
use crate::control::site::{Actuator, Miner, MinerId};
use crate::control::snapshot::{Activity, Contact, Hold, MinerInput, Outcome, Target};
use crate::control::stop::StopState;
use crate::maintenance::{Kind, Work};
use crate::signal::status::Status;
use crate::units::Watts;

/// What was learned is told where it differs from what was assumed by more than this.
const WORTH_TELLING: f64 = 0.03;

/// Everything that is needed to explain a miner.
#[derive(Clone, Copy, Debug)]
pub struct Known<'k> {
    /// What it was told last.
    pub told: Option<&'k Telling>,
    /// What was learned of it.
    pub learned: Option<&'k Learned>,
    /// The sources of orders as they stand.
    pub signals: Option<&'k Status>,
    /// Who works on it.
    pub work: Option<&'k Work>,
}

/// How long ago, or for how long: `12 s`, `4 min`, `2.5 h`.
pub(crate) fn long(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        short if short < 99.5 => format!("{short:.0} s"),
        medium if medium < 5_970.0 => format!("{:.0} min", medium / 60.0),
        long if long < 172_800.0 => format!("{:.1} h", long / 3_600.0),
        longest => format!("{:.0} days", longest / 86_400.0),
    }
}

/// Why a miner stands where it stands, the most telling sentence first; empty for one that the site does not have.
///
/// `now` is the moment of the daemon's clock that belongs to `here`.
pub fn explain(frame: &Frame, id: MinerId, known: Known<'_>, now: Moment, here: &Here) -> Vec<String> {
    let Frame { site, snapshot, decision } = frame;
    let (Some(miner), Some(outcome)) = (site.miners.get(id.0), decision.miners.get(id.0)) else {
        return Vec::new();
    };
    let input = snapshot.miners.get(id.0).unwrap_or(&MinerInput::PENDING);
    let teller = Teller { frame, miner, outcome, input, now, here };
    // A stop goes before everything, also before the word of whoever works on it.
    let (stopped, stop) = teller.stop().unzip();
    let stopped = stopped == Some(true);
    let mut sentences: Vec<String> = stop.into_iter().collect();
    sentences.extend(known.work.map(|work| teller.work(work, stopped)));
    sentences.push(teller.state());
    if known.work.is_none() && !stopped {
        sentences.extend(teller.rest(known.told));
    }
    sentences.extend(teller.told(known.told));
    sentences.extend(teller.delivery());
    let speaker = Speaker::new(frame, known.signals, here);
    match speaker.waiting() {
        // Who is put to sleep does not wait for power.
        _ if stopped || is_put_to_sleep(site, decision, miner.circuit) => {}
        Some(waiting) if waiting.miner == id => {
            sentences.push(format!("It is the next to be woken, and {}.", waiting_words(&waiting)));
        }
        Some(waiting) if outcome.state == MinerState::Asleep => sentences.push(format!(
            "{} is woken before it, and {}.",
            miner_name(site, waiting.miner),
            waiting_words(&waiting)
        )),
        _ => {}
    }
    if decision.mode == Mode::Observe {
        sentences.push("The daemon observes: it tells no miner anything.".into());
    }
    match decision.lead {
        Lead::Alone | Lead::Leads => {}
        Lead::Lowers => {
            sentences.push(
                "Nobody knows for certain which daemon leads: miners are lowered, and none is raised.".into(),
            );
        }
        Lead::Follows => {
            sentences.push(
                "This machine stands by: it tells no miner anything, and the one that leads does.".into(),
            );
        }
    }
    sentences.push(teller.circuit(&speaker.cap(miner.circuit)));
    sentences.push(format!("The fleet as a whole: {}.", speaker.binding().words));
    sentences.extend(known.learned.into_iter().flat_map(|learned| teller.learned(learned)));
    sentences
}

struct Teller<'t> {
    frame: &'t Frame,
    miner: &'t Miner,
    outcome: &'t MinerDecision,
    input: &'t MinerInput,
    now: Moment,
    here: &'t Here,
}

impl Teller<'_> {
    /// Whether one that did not follow counts with no more than it was told now.
    fn follows_now(&self) -> bool {
        let counted = self.outcome.counted;
        let at_most = |told: Watts| counted <= told || near(self.miner, counted.get(), told.get());
        matches!(self.outcome.setpoint, Some(Target::Power(told)) if at_most(told))
    }

    fn ago(&self, at: Moment) -> String {
        let ago = self.now.since(at);
        let wall = self.here.now.earlier(ago);
        format!("{} ago, at {}", long(ago), self.here.time(wall))
    }

    /// The emergency stop that it hangs on, and whether that has stopped it; `None` while none has a word in it.
    fn stop(&self) -> Option<(bool, String)> {
        let site = &self.frame.site;
        let mut unread = None;
        for (id, _) in site.up(self.miner.circuit) {
            let state = self.frame.decision.circuits.get(id.0).and_then(|circuit| circuit.emergency_stop);
            let name = circuit_name(site, id);
            let words = match state {
                None | Some(StopState::Ready) => None,
                Some(StopState::Open) => Some(format!(
                    "The emergency stop of {name} is open: it has to sleep until the contact is closed and somebody \
                     releases the stop."
                )),
                Some(StopState::Unknown) => Some(format!(
                    "The contact of the emergency stop of {name} cannot be read: it has to sleep until the contact is \
                     seen closed and somebody releases the stop."
                )),
                Some(StopState::Latched) => Some(format!(
                    "The emergency stop of {name} is closed again, and not released: it has to sleep until somebody \
                     releases it."
                )),
                Some(StopState::Unread) => {
                    unread = Some(format!(
                        "The contact of the emergency stop of {name} has not been read yet: nobody is woken before."
                    ));
                    None
                }
            };
            if let Some(words) = words {
                return Some((true, words));
            }
        }
        unread.map(|words| (false, words))
    }

    /// For how long it has to stay asleep, where that alone keeps it from being woken.
    fn rest(&self, told: Option<&Telling>) -> Option<String> {
        if self.outcome.state != MinerState::Asleep {
            return None;
        }
        let told = told.filter(|told| told.target == Target::Sleep)?;
        let slept = self.now.since(told.at);
        let rest = self.frame.site.settings.min_sleep.checked_sub(slept).filter(|rest| !rest.is_zero())?;
        Some(format!("It has to stay asleep for another {} (min_sleep).", long(rest)))
    }

    fn work(&self, work: &Work, stopped: bool) -> String {
        let of = match work.kind {
            Kind::Miner => String::new(),
            Kind::Circuit => format!(" of {}", work.name),
        };
        let kept = match (work.hold, stopped) {
            (Hold::Asleep, _) => "it is kept asleep",
            (Hold::HandsOff, false) => "nothing is told to it",
            (Hold::HandsOff, true) => "nothing but the sleep of the emergency stop is told to it",
        };
        let until = match work.until {
            Some(until) => format!("until {}", self.here.time(Wall::unix_millis(until))),
            None => "until that is ended".into(),
        };
        let note = if work.note.is_empty() { String::new() } else { format!(" ({})", work.note) };
        format!("In maintenance{of} by {}{note}: {kept} {until}.", work.by)
    }

    fn state(&self) -> String {
        let (outcome, miner) = (self.outcome, self.miner);
        let draws = said(outcome.draw);
        let status = fresh_status(self.input, self.now, miner.silent_after);
        let fault = status.and_then(|status| match &status.activity {
            Activity::Fault(text) => Some(text),
            _ => None,
        });
        let wanted = match outcome.setpoint {
            None => "it was told nothing yet".to_owned(),
            Some(Target::Sleep) => "it was told to sleep".into(),
            Some(Target::Power(power)) => {
                // Of one that starts it is what it starts with.
                let runs = !matches!(outcome.state, MinerState::Starting | MinerState::Asleep);
                let apart = runs && (outcome.settled - power).abs() > power.scaled(WORTH_TELLING / 2.0);
                let settles = match apart {
                    true => format!(", at which it is known to draw {}", said(outcome.settled)),
                    false => String::new(),
                };
                format!("it was told to draw at most {}{settles}", said(power))
            }
        };
        match outcome.state {
            MinerState::Pending => format!(
                "It was not heard yet since the start of the daemon: it counts with {}, the most that it may draw.",
                said(outcome.counted)
            ),
            MinerState::Hashing if matches!(miner.actuator, Actuator::Fixed) => {
                format!("It hashes and draws {draws}; it cannot be told anything and counts as a load.")
            }
            MinerState::Hashing => format!("It hashes and draws {draws}; {wanted}."),
            MinerState::Starting => format!("It is waking up and draws {draws}; {wanted}."),
            MinerState::Asleep if matches!(outcome.setpoint, Some(Target::Power(_))) => {
                format!("It sleeps and draws {draws}; {wanted}.")
            }
            MinerState::Asleep => format!("It sleeps as it was told to, and draws {draws}."),
            MinerState::Straggler if self.follows_now() => format!(
                "It did not do what it was told, and does now: {wanted}, and it draws {draws}. It counts with {} and is not raised before \
                 it has followed for longer.",
                said(outcome.counted)
            ),
            MinerState::Straggler => format!(
                "It does not do what it was told: {wanted}, and it draws {draws}. It counts with {}.",
                said(outcome.counted)
            ),
            MinerState::Fault => match fault {
                Some(text) => format!("It reports a fault of its own: {text}."),
                None => "It reports a fault of its own.".into(),
            },
            MinerState::Unanswered => format!(
                "It has not answered to the latest command: {wanted}. It counts with {}, the worst of before and after.",
                said(outcome.counted)
            ),
            MinerState::Unreachable => {
                let since = match self.input.contact {
                    Contact::Unreachable { since } => format!("for {}", long(self.now.since(since))),
                    _ => "in time".into(),
                };
                format!(
                    "It has not answered {since}: it counts with {}, the most that it may draw. Look at its network and \
                     its power supply.",
                    said(outcome.counted)
                )
            }
        }
    }

    fn told(&self, told: Option<&Telling>) -> Option<String> {
        let told = told?;
        let what = match told.target {
            Target::Sleep => "to sleep".into(),
            Target::Power(power) => format!("to draw at most {}", said(power)),
        };
        let why = match told.cause {
            Cause::Shed => format!("because there was less for it: {}", told.binding),
            // What holds it back is no reason to raise it, but how far it could be raised.
            Cause::Raise
                if !["follows the surplus", "no limit"].iter().any(|it| told.binding.starts_with(it)) =>
            {
                format!("because there was more for it, up to what bound then: {}", told.binding)
            }
            Cause::Raise => format!("because there was more for it: {}", told.binding),
            Cause::Rebalance => "because the same power brings more hashes that way".into(),
            Cause::Reapply => "because it was not where it had been put".into(),
            Cause::Escalate => "because it had not followed the command before".into(),
            Cause::Maintenance => "because somebody works on it".into(),
        };
        Some(format!("It was told {what} {}, {why}.", self.ago(told.at)))
    }

    /// What became of the latest command, where that is worth a word.
    fn delivery(&self) -> Option<String> {
        let delivery = self.input.delivery.as_ref()?;
        let ago = long(self.now.since(delivery.at));
        match &delivery.outcome {
            Outcome::Accepted => None,
            Outcome::InFlight => Some(format!("The command is on its way since {ago}.")),
            Outcome::Rejected(why) => Some(format!("It refused the command {ago} ago: {}.", why.explain())),
            Outcome::Unknown => {
                Some(format!("No answer to the command has come for {ago}: it may or may not have arrived."))
            }
        }
    }

    fn circuit(&self, told: &Told) -> String {
        let site = &self.frame.site;
        let name = circuit_name(site, self.miner.circuit);
        let budget = self.frame.decision.circuits.get(told.circuit.0).map(|circuit| circuit.budget);
        let budget = budget.filter(|_| told.source != Source::Fleet);
        let may = budget.map_or_else(String::new, |budget| {
            format!(" All miners there together may draw {}.", said(budget))
        });
        if told.circuit == self.miner.circuit {
            format!("Its circuit {name}: {}.{may}", told.words)
        } else {
            let above = circuit_name(site, told.circuit);
            format!("Its circuit {name} is fed by {above}: {}.{may}", told.words)
        }
    }

    fn learned(&self, learned: &Learned) -> Vec<String> {
        let miner = self.miner;
        let mut all = Vec::new();
        let percent = (learned.scale - 1.0) * 100.0;
        if (learned.scale - 1.0).abs() > WORTH_TELLING {
            let side = if percent > 0.0 { "more" } else { "less" };
            all.push(format!("Learned: it draws {:.0} % {side} than it is asked for.", percent.abs()));
        }
        if let Some(floor) =
            learned.floor.filter(|floor| *floor > miner.minimum().get() * (1.0 + WORTH_TELLING))
        {
            all.push(format!(
                "Learned: it does not go below {} while it hashes.",
                said(Watts::saturating(floor))
            ));
        }
        if (learned.pace - 1.0).abs() > 0.2 {
            all.push(format!(
                "Learned: it takes {:.1} times as long to follow as its model says.",
                learned.pace
            ));
        }
        if let Some(sleep) = learned.sleep {
            all.push(format!("Learned: asleep it draws {}.", said(Watts::saturating(sleep))));
        }
        if let Some(start) = learned.start {
            all.push(format!("Learned: its draw begins to rise {start:.0} s after it is woken."));
        }
        all
    }
}
