//! A load that switches to and fro: by how much, and for how long it stays away.
//!
//! A compressor, a pump or an oven that comes and goes is no weather. Each time that it comes, its whole power is missing until the
//! miners have made room; where that happens every minute or more often it must be kept free, and where it is kept free all the
//! time that the load is away, most of what it leaves is lost. But such a load mostly stays away for a while: as long as it has
//! stayed away less than the shortest of its latest five absences, nothing is kept free for it, and shortly before that all of
//! it. One that comes and goes at random has short absences among five, and nothing is gained or lost by this. One that has stayed
//! away for much longer than ever does not come back for all that is known.
//!
//! A switch is a change of the level within two samples that is far larger than the usual one, and not small beside the miners.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::history::History;
use crate::moment::Moment;

/// A switch happens within this time, or two samples and a bit where those are further apart.
const WITHIN: Duration = Duration::from_millis(1_600);
const SAMPLES: f64 = 2.2;
/// Changes of less than this share of the nameplates are no switch.
const SMALL: f64 = 0.04;
/// And those of less than this many times the usual change: six standard deviations of what is normally distributed.
const UNUSUAL: f64 = 6.0 / 0.674_5;
/// The usual change follows by a factor of e within this time, in seconds.
const FOLLOW: f64 = 10.0;
/// So many times it must have come within this time.
const OFTEN: usize = 3;
const LATELY: Duration = Duration::from_secs(600);
/// Switches of one load differ by no more than this. Clouds do.
const ALIKE: f64 = 0.8;
/// So many absences are compared, and so many must be known.
const COMPARED: usize = 5;
/// Beyond this many times the longest of them, and this time more, it has gone for good.
const GONE: (u32, Duration) = (2, Duration::from_secs(5));
/// The most switches that are remembered.
const MOST: usize = 24;

/// One switch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Edge {
    at: Moment,
    /// The level before, and by how much it has changed since: more load, or less.
    from: f64,
    by: f64,
    /// Whether it was known that so much may come.
    foreseen: bool,
}

/// What is known of switches of one circuit's other load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Switching {
    edges: VecDeque<Edge>,
    /// The middle one of the changes within [`WITHIN`], in watts.
    usual: Option<f64>,
}

impl Switching {
    /// Takes in the newest level, which `levels` holds already. `period` is the time between two samples.
    pub fn take(&mut self, levels: &History, nameplate: f64, period: Duration) {
        let Some((now, level)) = levels.newest() else { return };
        let within = WITHIN.max(period.mul_f64(SAMPLES));
        let Some(before) = levels.latest(now.earlier(within)).map(|(_, before)| before) else { return };
        let change = level - before;
        // Never so little that a wind that gets up is taken for switches until it has become usual.
        let least = nameplate * SMALL / UNUSUAL;
        let usual = self.usual.unwrap_or(least).max(least);
        let far = usual * UNUSUAL;
        let towards = if change.abs() > usual { 1.0 } else { -1.0 };
        let usual = usual * (towards * period.as_secs_f64().min(FOLLOW) / FOLLOW).exp();
        self.usual = Some(usual.max(least));
        match self.edges.back_mut() {
            // The same one, on its way still.
            Some(edge)
                if now - edge.at <= within * 2 && change.is_sign_positive() == edge.by.is_sign_positive() =>
            {
                let by = level - edge.from;
                if by.abs() > edge.by.abs() && now - edge.at <= within {
                    edge.by = by;
                }
                return;
            }
            _ => {}
        }
        if change.abs() > far {
            let foreseen = change > 0.0 && self.away(now) > change * 0.7;
            self.edges.push_back(Edge { at: now, from: before, by: change, foreseen });
            while self.edges.len() > MOST {
                self.edges.pop_front();
            }
        }
    }

    /// Something was there all along and is only known now.
    pub fn shift(&mut self, by: f64) {
        self.edges.iter_mut().for_each(|edge| edge.from += by);
    }

    /// By how much it has come within this time, where it was known that it may: no surprise to learn from.
    pub fn came(&self, now: Moment, within: Duration) -> Option<f64> {
        let mut latest = self.edges.iter().rev().take(2);
        latest.find(|edge| edge.foreseen && now - edge.at <= within).map(|edge| edge.by)
    }

    /// What may come, in watts, with no regard to when: zero while it is there, and where nothing comes often.
    pub fn away(&self, now: Moment) -> f64 {
        self.absent(now).map(|(_, by)| by).fold(0.0, f64::max)
    }

    /// What must be kept free for what may come, where it takes `lead` to make room for it.
    pub fn reserve(&self, now: Moment, lead: Duration) -> f64 {
        let soon = self.absent(now).filter(|(gone, _)| {
            let known = self.absences(gone.by).count() >= OFTEN;
            let shortest = self.absences(gone.by).min().unwrap_or_default();
            !known || now - gone.at + lead >= shortest
        });
        soon.map(|(_, by)| by).fold(0.0, f64::max)
    }

    /// The loads that are away and often come: when each went, and by how much it comes.
    fn absent(&self, now: Moment) -> impl Iterator<Item = (&Edge, f64)> {
        let gone = self.edges.iter().enumerate().filter(|(_, edge)| edge.by < 0.0);
        gone.filter_map(move |(place, gone)| {
            if self.edges.range(place..).any(|edge| edge.by > 0.0 && alike(edge.by, gone.by)) {
                return None;
            }
            let longest = self.absences(gone.by).max().unwrap_or_default();
            if now - gone.at > longest * GONE.0 + GONE.1 {
                return None;
            }
            let came = self.edges.iter().rev().filter(|edge| edge.by > 0.0 && alike(edge.by, gone.by));
            let lately = came.take(COMPARED).filter(|edge| now - edge.at <= LATELY);
            let (times, most) =
                lately.fold((0, 0.0_f64), |(times, most), edge| (times + 1, most.max(edge.by)));
            // Steps up one after the other are none that goes in between.
            let returns = self.absences(gone.by).count();
            (times >= OFTEN && returns + 1 >= OFTEN).then_some((gone, most))
        })
    }

    /// How long a load of this size has stayed away lately.
    fn absences(&self, by: f64) -> impl Iterator<Item = Duration> {
        let own = move || self.edges.iter().filter(move |edge| alike(edge.by, by));
        let away = own().zip(own().skip(1)).filter(|(gone, back)| gone.by < 0.0 && back.by > 0.0);
        let count = away.clone().count();
        away.skip(count.saturating_sub(COMPARED)).map(|(gone, back)| back.at - gone.at)
    }
}

/// Whether two switches may be those of one load, in whichever direction.
fn alike(one: f64, other: f64) -> bool {
    let (one, other) = (one.abs(), other.abs());
    one.min(other) >= ALIKE * one.max(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMEPLATES: f64 = 132e3;

    /// What is known after so many seconds of a load with these levels, beside clouds that differ by some hundred watts.
    fn watch(seconds: u64, level: impl Fn(f64) -> f64) -> (Switching, Moment) {
        let (mut switching, mut levels) = (Switching::default(), History::default());
        let mut now = Moment::START;
        for half in 0..seconds * 2 {
            now = Moment::after_start(Duration::from_millis(half * 500));
            let at = now.since(Moment::START).as_secs_f64();
            levels.push(now, level(at) + 400.0 * (at * 1.3).sin() + 300.0 * (at * 0.31).cos());
            switching.take(&levels, NAMEPLATES, Duration::from_millis(500));
        }
        (switching, now)
    }

    /// There for a minute, away for a minute: there first.
    fn by_the_minute(at: f64) -> f64 {
        if (at / 60.0) % 2.0 < 1.0 { -50e3 } else { -90e3 }
    }

    const LEAD: Duration = Duration::from_secs(3);

    #[test]
    fn nothing_is_kept_free_for_a_load_that_stays_away_for_a_minute_until_shortly_before_it_comes() {
        for (seconds, kept, away) in [
            (662, 0.0, 40e3),
            (690, 0.0, 40e3),
            (715, 0.0, 40e3),
            (718, 40e3, 40e3),
            (722, 0.0, 0.0),
            (770, 0.0, 0.0),
        ] {
            let (switching, now) = watch(seconds, by_the_minute);
            let reserve = switching.reserve(now, LEAD);
            assert!((reserve - kept).abs() < 3e3, "{seconds} s: {reserve} instead of {kept}");
            // Nobody is woken for what it leaves while it is away.
            assert!((switching.away(now) - away).abs() < 3e3, "{seconds} s: {}", switching.away(now));
        }
    }

    #[test]
    fn a_load_that_came_once_or_twice_or_has_gone_for_long_keeps_nothing_free() {
        for seconds in [100, 150, 200, 230] {
            let (switching, now) = watch(seconds, by_the_minute);
            assert!(switching.away(now) < 1.0, "{seconds} s: {}", switching.away(now));
        }
        let gone = |at: f64| if at < 680.0 { by_the_minute(at) } else { -90e3 };
        for (seconds, there) in [(700, true), (780, true), (800, false), (1_000, false)] {
            let (switching, now) = watch(seconds, gone);
            assert_eq!(switching.away(now) > 30e3, there, "{seconds} s: {}", switching.away(now));
        }
    }

    #[test]
    fn one_that_comes_and_goes_at_random_is_kept_free_for_as_long_as_its_short_absences() {
        // Absences of 4 to 40 s, each between stays of 10 s.
        let absences = [30.0, 4.0, 40.0, 17.0, 5.0, 23.0, 9.0, 38.0, 4.0, 12.0];
        let level = move |at: f64| {
            let (mut edge, mut place) = (0.0, 0);
            loop {
                let absence = absences[place % absences.len()];
                if at < edge + 10.0 {
                    return -50e3;
                }
                if at < edge + 10.0 + absence {
                    return -90e3;
                }
                edge += 10.0 + absence;
                place += 1;
            }
        };
        let mut unguarded = 0;
        for seconds in 200..480 {
            let (switching, now) = watch(seconds, level);
            let away = switching.away(now) > 30e3;
            if away && switching.reserve(now, LEAD) < 30e3 {
                unguarded += 1;
            }
        }
        assert!(unguarded < 20, "{unguarded} s of 280 with nothing kept free while it may come back");
    }

    #[test]
    fn clouds_ramps_and_noise_are_no_switches() {
        let noise = |at: f64| 6e3 * (((at * 12.9898).sin() * 43_758.545_3).fract().abs() - 0.5);
        let kinds: [&dyn Fn(f64) -> f64; 3] =
            [&|at| -80e3 + 20e3 * (at / 20.0).sin(), &|at| -80e3 + 2e3 * at.rem_euclid(40.0), &|at| {
                -80e3 + noise(at)
            }];
        for (kind, level) in kinds.iter().enumerate() {
            // A ramp that falls back at once is a fall, and no load that comes.
            let came = (100..400).filter(|seconds| {
                let (switching, now) = watch(*seconds, level);
                switching.edges.len() > 5 && switching.away(now) > 0.0
            });
            assert_eq!(came.count(), 0, "kind {kind}");
        }
    }

    #[test]
    fn a_step_over_several_samples_is_one_switch_of_its_whole_height() {
        let slow = |at: f64| {
            by_the_minute(at)
                - if (at % 60.0) < 1.5 { 40e3 * (1.5 - at % 60.0) / 1.5 * sign(at) } else { 0.0 }
        };
        let (switching, _) = watch(650, slow);
        // One of them is that of the beginning.
        assert_eq!(switching.edges.len(), 11, "{:?}", switching.edges);
        let heights = switching.edges.iter().skip(1).map(|edge| edge.by.abs());
        assert!(heights.clone().all(|by| (38e3..43e3).contains(&by)), "{:?}", switching.edges);
    }

    fn sign(at: f64) -> f64 {
        if (at / 60.0) % 2.0 < 1.0 { 1.0 } else { -1.0 }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (switching, _) = watch(4_000, |at| if (at / 3.0) % 2.0 < 1.0 { -50e3 } else { -90e3 });
        assert!(switching.edges.len() <= MOST);
    }
}
