//! What a hall of servers would have had of the surplus, and left of it for the miners beside it, by the class of its servers: interval
//! by interval, the hall before the miners. Its work goes by its power as [`THROUGHPUT`] says of what is usual.
//!
//! A model and no plant: a hall follows the interval's mean exactly, and always has work.

use serde::Serialize;

use super::drought::longest_below;
use crate::config::THROUGHPUT;
use crate::control::site::LoadClass;

/// Below this part of its power a hall is not slowed down: about there the work that a watt does begins to fall off.
const KNEE: f64 = 0.5;
/// What a paused hall draws, as a part of its power: half of its least, as the configuration has it where nothing is said.
const PAUSED: f64 = 0.25;

/// A hall, if all of its servers were of one class, each class in turn.
#[derive(Clone, Debug, Serialize)]
pub struct Hall {
    /// What it draws at the most.
    pub watts: f64,
    /// The class whose servers may be paused first, then those with ever more of a promise.
    pub classes: Vec<HallClass>,
    /// The longest time with less than half of that, in hours: so long a pause would have been.
    pub longest_too_little_hours: f64,
}

/// A hall whose servers are all of one class. Shares are of the known time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct HallClass {
    /// `interruptible`, `throttle` or `guaranteed`; the last with its full power by contract.
    pub class: &'static str,
    /// The work that was done, as a share of what would have been done at full power.
    pub work_share: f64,
    /// At full power out of the surplus alone.
    pub full_share: f64,
    /// Slowed down to what the surplus gave.
    pub slowed_share: f64,
    /// Less was there than half of its power, or of `guaranteed` than all of it: it is paused, or held up from the grid.
    pub too_little_share: f64,
    /// The mean of its draw.
    pub mean_draw_watts: f64,
    /// The mean of what it took from the grid.
    pub mean_import_watts: f64,
    /// The mean of what is left of the surplus for miners.
    pub mean_left_watts: f64,
}

/// One moment of a hall.
struct Now {
    draw: f64,
    work: f64,
    full: bool,
    slowed: bool,
}

/// What a hall of `full` watts does where `there` watts are to spare.
fn now(class: LoadClass, full: f64, there: f64) -> Now {
    let at = |part: f64| Now { draw: full * part, work: work(part), full: false, slowed: false };
    let part = there / full;
    match class {
        _ if part >= 1.0 => Now { full: true, ..at(1.0) },
        LoadClass::Guaranteed => at(1.0),
        _ if part >= KNEE => Now { slowed: true, ..at(part) },
        LoadClass::Throttle => at(KNEE),
        LoadClass::Interruptible | LoadClass::Miner => Now { work: 0.0, ..at(PAUSED) },
    }
}

/// The part of its work at full power that is done at a part of its power, on straight lines.
fn work(part: f64) -> f64 {
    let mut below = (0.0_f64, 0.0_f64);
    for here in THROUGHPUT {
        if part <= here.0 {
            return below.1
                + (here.1 - below.1) * (part - below.0) / (here.0 - below.0).max(f64::MIN_POSITIVE);
        }
        below = here;
    }
    below.1
}

/// What a hall of `watts` would have had. `surplus` is in watts, 0 or more, NaN where it is not known; `weights` what each interval
/// counts, empty where each counts once; `unseen` what the time counts of which nothing is known: it counts as without power.
/// `None` without a hall, and where nothing is known.
pub(super) fn hall(
    watts: f64,
    surplus: &[f64],
    weights: &[f64],
    unseen: f64,
    hours: impl Fn(usize) -> f64,
) -> Option<Hall> {
    let weight = |slot: usize| weights.get(slot).copied().unwrap_or(1.0);
    let known = surplus.iter().enumerate().filter(|(_, there)| !there.is_nan());
    let mut moments: Vec<(f64, f64)> = known.map(|(slot, there)| (*there, weight(slot))).collect();
    moments.push((0.0, unseen));
    let all: f64 = moments.iter().map(|(_, weight)| weight).sum();
    if watts <= 0.0 || all <= 0.0 {
        return None;
    }
    let of = |class: LoadClass| {
        let mean = |value: &dyn Fn(&Now, f64) -> f64| {
            let sum = |sum: f64, (there, weight): &(f64, f64)| {
                sum + weight * value(&now(class, watts, *there), *there)
            };
            moments.iter().fold(0.0, sum) / all
        };
        let when = |is: bool| if is { 1.0 } else { 0.0 };
        HallClass {
            class: class.name(),
            work_share: mean(&|now, _| now.work),
            full_share: mean(&|now, _| when(now.full)),
            slowed_share: mean(&|now, _| when(now.slowed)),
            too_little_share: mean(&|now, _| when(!now.full && !now.slowed)),
            mean_draw_watts: mean(&|now, _| now.draw),
            mean_import_watts: mean(&|now, there| (now.draw - there).max(0.0)),
            mean_left_watts: mean(&|now, there| (there - now.draw).max(0.0)),
        }
    };
    Some(Hall {
        watts,
        classes: [LoadClass::Interruptible, LoadClass::Throttle, LoadClass::Guaranteed].map(of).to_vec(),
        longest_too_little_hours: longest_below(surplus, KNEE * watts)
            .map_or(0.0, |(from, to)| hours(to - from)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::number::count;

    #[track_caller]
    fn near(one: f64, other: f64) {
        assert!((one - other).abs() < 1e-9, "{one} is not {other}");
    }

    /// A hall of 100 W: an interval with plenty, one with three quarters, one with a tenth, one that is not known.
    fn told() -> Hall {
        hall(100.0, &[150.0, 75.0, 10.0, f64::NAN], &[], 0.0, count).unwrap()
    }

    #[test]
    fn who_may_be_paused_takes_nothing_from_the_grid_but_what_a_pause_draws() {
        let [paused, slowed, kept]: [HallClass; 3] = told().classes.try_into().unwrap();
        let (three_quarters, half) = (work(0.75), work(0.5));
        assert!(half > 0.5 && three_quarters > half && work(1.0) > 0.999, "{half} {three_quarters}");
        near(paused.work_share, (1.0 + three_quarters) / 3.0);
        near(slowed.work_share, (1.0 + three_quarters + half) / 3.0);
        near(kept.work_share, 1.0);
        near(paused.mean_import_watts, 15.0 / 3.0);
        near(slowed.mean_import_watts, 40.0 / 3.0);
        near(kept.mean_import_watts, (25.0 + 90.0) / 3.0);
        near(paused.mean_left_watts, 50.0 / 3.0);
        near(kept.full_share, 1.0 / 3.0);
        near(kept.too_little_share, 2.0 / 3.0);
        near(slowed.slowed_share, 1.0 / 3.0);
    }

    #[test]
    fn what_is_drawn_and_left_is_what_was_there_and_imported() {
        for class in told().classes {
            let in_all = class.mean_draw_watts + class.mean_left_watts;
            near(in_all, (150.0 + 75.0 + 10.0) / 3.0 + class.mean_import_watts);
            near(class.full_share + class.slowed_share + class.too_little_share, 1.0);
        }
    }

    #[test]
    fn time_of_which_nothing_is_known_counts_as_without_power_and_no_hall_is_none() {
        let seen = hall(100.0, &[150.0], &[1.0], 1.0, count).unwrap();
        near(seen.classes[1].full_share, 0.5);
        near(seen.classes[1].mean_import_watts, 25.0);
        near(
            hall(100.0, &[10.0, f64::NAN, 10.0, 90.0], &[], 0.0, count).unwrap().longest_too_little_hours,
            3.0,
        );
        assert!(hall(0.0, &[150.0], &[], 0.0, count).is_none());
        assert!(hall(100.0, &[f64::NAN], &[], 0.0, count).is_none());
    }
}
