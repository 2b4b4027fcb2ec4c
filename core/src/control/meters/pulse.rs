//! Whether a meter lives. It does as long as its values differ; one that stands still while the miners move does not.
//!
//! A value that stands still beside miners that stand still says nothing, and a gateway that repeats the last value of a dead
//! meter looks just so. Once it has stood still for much longer than it does, it is therefore asked: the miners are put a
//! little lower, which a meter that lives must show. The answer comes with the next values; a meter that often stands still is
//! asked less and less often.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CircuitMemory, MODEL_DOUBT};
use crate::control::combine::Seen;
use crate::control::lag::{Against, shifted};
use crate::control::snapshot::MeterStatus;
use crate::moment::Moment;

/// A meter must have shown a movement of the miners of this share of their nameplates, and of its own value.
pub(super) const SHOWN: (f64, f64) = (0.015, 0.000_5);
/// A meter of which nobody knows how often it has a new value has one within this.
pub(super) const SLOWEST: Duration = Duration::from_secs(75);
/// A meter is asked after so many times its usual longest stand, and not before nor after these times.
const UNUSUAL: u32 = 3;
const PATIENCE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(1_800));
/// A stand is forgotten in this time.
const FORGOTTEN: Duration = Duration::from_secs(300);
/// By how many times what it must show the miners are put lower.
const DEPTH: f64 = 2.0;
/// A meter whose values differ by more than this share of the nameplates at the least is not asked: it would take too much.
const TOO_COARSE: f64 = 0.05;
/// Lowering has shown in what the miners say within this time; where it has not, nobody can be lowered, and one is put to sleep.
const LOWERED: Duration = Duration::from_secs(20);
/// Miners that have moved by less than half of that within this time stand.
const STOOD: Duration = Duration::from_secs(10);
/// A question to which there is no answer after this time, and the time in which the meter must have shown it, is given up.
const GIVEN_UP: Duration = Duration::from_secs(60);

/// What is remembered of whether a meter lives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pulse {
    /// The value that it has shown without change, and since when.
    same: Option<(f64, Moment)>,
    /// It did not show a movement of the miners that it must have shown, and has the same value still.
    frozen: bool,
    /// It has failed to show what the miners did, so far.
    hides: bool,
    /// The longest that it has stood still of late and lived.
    usual: Duration,
    /// The least by which two values in a row have differed, in watts; zero before they have.
    resolution: f64,
    /// It was silent while it stood: nobody knows how long it has really stood.
    silent: bool,
    /// The question that it is asked.
    question: Option<Asked>,
}

/// A question to a meter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Asked {
    /// Since when.
    since: Moment,
    /// What the miners may draw at the most meanwhile, in their own watts.
    most: f64,
    /// Since when they have said, without a break, that they are lowered.
    lowered: Option<Moment>,
}

/// What a question to a meter asks of its miners.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// What they may draw at the most meanwhile, in their own watts.
    pub most: f64,
    /// Whether one may be put to sleep for it: nobody could be lowered.
    pub by_sleep: bool,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            same: None,
            frozen: false,
            hides: false,
            usual: SLOWEST / UNUSUAL,
            resolution: 0.0,
            silent: false,
            question: None,
        }
    }
}

impl Pulse {
    /// Whether it is taken for dead.
    pub fn frozen(&self) -> bool {
        self.frozen
    }

    /// Whether it has shown what the miners did, as far as that can be told; until it has, nothing is raised on its word.
    pub fn shows(&self) -> bool {
        !self.hides
    }

    /// What is asked of its miners to see whether it lives; `None` as long as nothing is.
    pub fn question(&self, now: Moment) -> Option<Question> {
        let asked = self.question?;
        Some(Question { most: asked.most, by_sleep: asked.lowered.is_none() && now - asked.since >= LOWERED })
    }

    /// For how long it has shown the same by now, while it is asked; `None` as long as it is not.
    pub fn asked_after(&self, now: Moment) -> Option<Duration> {
        self.question.and(self.same).map(|(_, since)| now - since)
    }

    /// How long it may stand still before it is asked. `renewed` is the time between two of its values.
    fn patience(&self, renewed: Duration) -> Duration {
        (self.usual.max(renewed) * UNUSUAL).clamp(PATIENCE.0, PATIENCE.1)
    }

    /// Takes in a value.
    fn take(&mut self, value: f64, at: Moment) {
        let Some((same, since)) = self.same else {
            self.same = Some((value, at));
            return;
        };
        if same.total_cmp(&value).is_eq() {
            return;
        }
        let difference = (value - same).abs();
        if difference > 0.0 && (self.resolution <= 0.0 || difference < self.resolution) {
            self.resolution = difference;
        }
        // How long a dead one stood, or one that was not heard, is nothing to get used to.
        if !self.frozen && !self.silent {
            self.stood(at - since);
        }
        (self.same, self.frozen, self.silent, self.question) = (Some((value, at)), false, false, None);
    }

    /// It has stood still for this time, and that says nothing against it.
    fn stood(&mut self, time: Duration) {
        let kept = (-time.as_secs_f64() / FORGOTTEN.as_secs_f64()).exp();
        self.usual = self.usual.mul_f64(kept).max(time);
    }
}

/// Looks whether the meter of a circuit lives. `delay` is how late the miners say what they draw; whether their meter may be asked
/// is told by `asks`: whoever cannot raise them again must not lower them for it.
pub(super) fn watch(
    memory: &mut CircuitMemory,
    seen: &Seen,
    now: Moment,
    nameplate: f64,
    delay: Duration,
    asks: bool,
) {
    let Some(reading) = seen.input.power else { return };
    let pulse = &mut memory.pulse;
    if seen.one_sided() {
        // What stands at its end cannot show what the miners do.
        *pulse = Pulse { usual: pulse.usual, resolution: pulse.resolution, ..Pulse::default() };
        return;
    }
    let value = reading.value.get();
    pulse.take(value, reading.at);
    let silent = seen.input.status != MeterStatus::Ok || !seen.fresh();
    pulse.silent |= silent && !pulse.frozen;
    let Some((_, since)) = pulse.same else { return };
    let must = (nameplate * SHOWN.0).max(value.abs() * SHOWN.1);
    // Of a scale that is coarser than that nobody knows where between two values it stands.
    let least = must.max(pulse.resolution);
    let doubt = memory.lag.doubt(Against::Estimate).widened(MODEL_DOUBT);
    let renewed = seen.input.refresh.map_or(seen.period, |refresh| refresh * 2);
    let (told, gain) = (&memory.told, memory.gain);
    let moved = |lag: f64, by: f64| {
        let last = shifted(now, lag).earlier(renewed);
        // What the miners said shortly after may be what they had done before, or be over before the device had a new
        // value; only what has moved for good must have been shown.
        // It may have stood still for longer than anybody remembers, or since before the beginning.
        let begun = told.oldest().map_or(now, |(oldest, _)| oldest.max(shifted(since, lag)));
        let settled = begun + delay + renewed;
        let before = told.range(begun, settled).filter(|_| settled < last);
        let after = told.range(last.earlier(renewed).max(settled), last.max(settled));
        before
            .zip(after)
            .is_some_and(|(before, after)| (after.0 - before.1).max(before.0 - after.1) * gain > by)
    };
    let patience = pulse.patience(seen.period);
    let long = now - since >= seen.input.refresh.map_or(SLOWEST.min(patience), |refresh| refresh * UNUSUAL);
    let likely = doubt.best.max(doubt.least) + MODEL_DOUBT;
    let both = |other: f64, by: f64| moved(doubt.least.max(0.0), by) && moved(other, by);
    let (hides, frozen) = (both(likely, must), long && both(doubt.most, least));
    // A lag that is taken for too long makes a movement that was shown long ago look like one that was not.
    pulse.hides = hides;
    pulse.frozen |= frozen;
    let Some((_, said)) = memory.told.newest() else { return };
    let depth = least * DEPTH / memory.gain;
    // While they move they ask it themselves, and those that start are about to.
    let starts = memory.starting.newest().is_some_and(|(_, starting)| starting > 0.0);
    let still = |(low, high): (f64, f64)| high - low < depth / 2.0;
    let from = now.earlier(delay.max(STOOD));
    let stands = !starts
        && [&memory.told, &memory.estimate].iter().all(|past| past.range(from, now).is_some_and(still));
    match &mut pulse.question {
        _ if pulse.frozen || silent || !asks => pulse.question = None,
        Some(asked) => {
            let late = Duration::try_from_secs_f64(doubt.most.max(0.0)).unwrap_or(Duration::ZERO);
            let down = said <= asked.most + depth / 2.0;
            asked.lowered = if down { asked.lowered.or(Some(now)) } else { asked.lowered.map(|_| now) };
            // Of a slow one what has moved for good is soon longer ago than anybody remembers; of a question it is known when.
            let must = late + seen.input.refresh.unwrap_or(SLOWEST) * UNUSUAL;
            pulse.frozen = asked.lowered.is_some_and(|since| now - since >= must);
            let shown = late + renewed * UNUSUAL;
            if now - asked.since >= GIVEN_UP + delay + shown {
                pulse.question = None;
                pulse.stood(now - since);
            }
        }
        None if now - since >= patience
            && stands
            && said > depth * 2.0
            && least <= nameplate * TOO_COARSE =>
        {
            pulse.question = Some(Asked { since: now, most: said - depth, lowered: None });
        }
        None => {}
    }
}
