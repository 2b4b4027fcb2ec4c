//! The last hours in memory: means over ten seconds of what a person wants to see as a curve.
//!
//! Kept on the daemon's steady clock, and told in wall-clock time by what the wall clock shows when somebody asks: a clock that
//! is set moves the whole curve and tears no hole into it. A value that was not known during an interval is absent there, not
//! zero. Nothing is kept over a restart; a reload goes on, for sources are kept by their names.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Moment;

/// The length of an interval.
pub const STEP: Duration = Duration::from_secs(10);
/// How many intervals are kept: six hours.
pub const MOST: usize = 6 * 360;
/// Names of sources that are kept at most. A site has a few; once there are
/// more that are still needed, what bound is not known.
const MOST_NAMES: usize = 512;

/// The curves, in this order.
pub const CURVES: usize = 5;

/// What one cycle has to say: power in watts, import and consumption positive; `None` is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Left over locally before the miners take any.
    pub surplus: Option<f64>,
    /// Draw of the fleet.
    pub power: Option<f64>,
    /// Power into the root circuit by its meter; negative is export.
    pub import: Option<f64>,
    /// What the fleet may draw.
    pub budget: Option<f64>,
    /// The tightest cap on the root circuit, that of the surplus aside.
    pub cap: Option<f64>,
}

impl Sample {
    fn values(self) -> [Option<f64>; CURVES] {
        [self.surplus, self.power, self.import, self.budget, self.cap]
    }
}

/// The mean of what was known in an interval.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.sum += value;
            self.count = self.count.saturating_add(1);
        }
    }

    fn get(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }
}

/// One interval.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    means: [Mean; CURVES],
    /// What bound last in it, by its position among the names.
    binding: Option<usize>,
}

#[derive(Debug, Default)]
struct Inside {
    /// The number of the latest interval, counted from the start of the clock.
    latest: Option<u64>,
    /// The latest intervals without a gap, the latest last.
    slots: VecDeque<Slot>,
    names: Vec<Arc<str>>,
}

/// The last hours. Copies share one.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Inside>>);

/// The curves of a time that somebody asked for, all of one length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    /// How long ago the first interval began.
    pub ago: Duration,
    /// Surplus, power, import, budget and cap, as in [`Sample`].
    pub values: [Vec<Option<f64>>; CURVES],
    /// What bound, by its position in `sources`.
    pub binding: Vec<Option<usize>>,
    /// Names of sources.
    pub sources: Vec<Arc<str>>,
}

fn interval(at: Moment) -> u64 {
    at.since_start().as_secs() / STEP.as_secs()
}

impl History {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a cycle has to say, and what bound in it.
    pub fn note(&self, at: Moment, sample: Sample, binding: Option<&str>) {
        let mut inside = self.inside();
        inside.advance(interval(at));
        let name = binding.and_then(|binding| inside.name(binding));
        if let Some(slot) = inside.slots.back_mut() {
            for (mean, value) in slot.means.iter_mut().zip(sample.values()) {
                mean.add(value);
            }
            slot.binding = name.or(slot.binding);
        }
    }

    /// The intervals of the time before `now`, the one that runs included; none from before the first cycle.
    pub fn last(&self, now: Moment, time: Duration) -> Curves {
        let (latest, slots, names) = {
            let inside = self.inside();
            let latest = inside.latest.unwrap_or_else(|| interval(now));
            (latest, inside.slots.clone(), inside.names.clone())
        };
        let current = interval(now).max(latest);
        let wanted = usize::try_from(time.as_secs() / STEP.as_secs()).unwrap_or(MOST).clamp(1, MOST);
        // Intervals without any cycle since the latest one: the daemon hangs, and the curve says so.
        let missing = usize::try_from(current - latest).unwrap_or(MOST).min(MOST);
        let empty = std::iter::repeat_n(Slot::default(), missing);
        let all: Vec<Slot> = slots.into_iter().chain(empty).collect();
        let shown = all.get(all.len().saturating_sub(wanted)..).unwrap_or_default();
        let before = u32::try_from(shown.len()).unwrap_or(u32::MAX).saturating_sub(1);
        let begun = Duration::from_secs(current.saturating_mul(STEP.as_secs()));
        let ago = now.since_start().saturating_sub(begun) + STEP * before;
        let mut curves = Curves { ago, ..Curves::default() };
        for (index, curve) in curves.values.iter_mut().enumerate() {
            *curve = shown.iter().map(|slot| slot.means.get(index).copied().and_then(Mean::get)).collect();
        }
        // Only names that are needed go out, in the order in which they come.
        let mut places: Vec<Option<usize>> = vec![None; names.len()];
        for slot in shown {
            let place = slot.binding.and_then(|name| {
                let place = places.get_mut(name)?;
                if place.is_none() {
                    *place = Some(curves.sources.len());
                    curves.sources.push(names.get(name)?.clone());
                }
                *place
            });
            curves.binding.push(place);
        }
        curves
    }
}

impl Inside {
    /// Opens the interval of a number, and empty ones for those that nobody has said anything in.
    fn advance(&mut self, number: u64) {
        let missing = match self.latest {
            None => 1,
            Some(latest) => usize::try_from(number.saturating_sub(latest)).unwrap_or(MOST).min(MOST),
        };
        for _ in 0..missing {
            if self.slots.len() >= MOST {
                self.slots.pop_front();
            }
            self.slots.push_back(Slot::default());
        }
        self.latest = Some(self.latest.map_or(number, |latest| latest.max(number)));
    }

    /// The position of a name. Where there is no room for one more, those that no interval names go.
    fn name(&mut self, name: &str) -> Option<usize> {
        if let Some(at) = self.names.iter().position(|known| **known == *name) {
            return Some(at);
        }
        if self.names.len() >= MOST_NAMES {
            let mut places: Vec<Option<usize>> = vec![None; self.names.len()];
            let mut kept = Vec::new();
            // In one pass: this runs in a control cycle.
            for slot in &mut self.slots {
                slot.binding = slot.binding.and_then(|at| {
                    let place = places.get_mut(at)?;
                    if place.is_none() {
                        *place = Some(kept.len());
                        kept.push(self.names.get(at)?.clone());
                    }
                    *place
                });
            }
            self.names = kept;
            if self.names.len() >= MOST_NAMES {
                return None;
            }
        }
        self.names.push(name.into());
        Some(self.names.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn power(watts: f64) -> Sample {
        Sample { power: Some(watts), ..Sample::default() }
    }

    #[test]
    fn an_interval_is_the_mean_of_what_was_known_and_nothing_where_nothing_was() {
        let history = History::default();
        history.note(at(100), power(10.0), Some("surplus"));
        history.note(at(105), Sample { import: Some(-4.0), ..power(30.0) }, Some("order"));
        history.note(at(131), power(7.0), None);
        let curves = history.last(at(135), Duration::from_secs(3_600));
        assert_eq!(curves.ago, Duration::from_secs(35));
        assert_eq!(curves.values[1], [Some(20.0), None, None, Some(7.0)]);
        assert_eq!(curves.values[2], [Some(-4.0), None, None, None]);
        assert_eq!(curves.values[0], [None; 4], "not known is not zero");
        assert_eq!(curves.binding, [Some(0), None, None, None]);
        assert_eq!(&*curves.sources[0], "order", "what bound last in the interval, and no other name");
        assert_eq!(curves.sources.len(), 1);
    }

    #[test]
    fn a_daemon_that_hangs_leaves_a_hole_and_six_hours_are_the_most() {
        let history = History::default();
        assert_eq!(history.last(at(5), STEP).values[1].len(), 0, "nothing before the first cycle");
        for second in (0..30_000).step_by(5) {
            history.note(at(second), power(1.0), Some("a"));
        }
        let curves = history.last(at(30_025), Duration::from_secs(86_400));
        assert_eq!(curves.values[1].len(), MOST);
        let curves = history.last(at(30_025), Duration::from_secs(60));
        assert_eq!(curves.values[1], [Some(1.0), Some(1.0), Some(1.0), None, None, None]);
        assert_eq!(curves.ago, Duration::from_secs(55));
    }

    #[test]
    fn names_that_no_interval_needs_any_more_make_room() {
        let history = History::default();
        for number in 0..5_000_u64 {
            history.note(at(number * 10), power(1.0), Some(&format!("name {number}")));
        }
        let inside = history.inside();
        assert!(inside.names.len() <= MOST_NAMES && inside.slots.len() <= MOST);
        drop(inside);
        let curves = history.last(at(49_995), Duration::from_secs(10));
        assert_eq!(curves.binding.len(), 1);
        let far = History::default();
        far.note(at(0), power(1.0), Some("a"));
        far.note(at(100_000_000), power(2.0), Some("b"));
        assert_eq!(far.inside().slots.len(), MOST, "a leap of years costs no more");
    }
}
