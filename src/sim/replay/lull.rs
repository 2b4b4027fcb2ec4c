//! When cycles and polls may be further apart: nothing moves, nothing was commanded for a while, and what is to spare cannot
//! change that before the next cycle.
//!
//! The law is asked all the same, with fresh values, only less often. Four kinds of lull are known, each by the recorded
//! surplus of the time ahead, which the simulation can see and the law cannot:
//!
//! | Lull | All miners | Surplus until the next cycle |
//! |---|---|---|
//! | asleep | sleep | below half of what the least of them needs |
//! | full | run at their highest | above what all can draw, by a tenth |
//! | steady | stand still | moves by less than a thousandth of what all can draw |
//! | calm | whatever they do | moves by less than a hundredth of what all can draw |
//!
//! The last is as long as the replay was told ([`super::Setup::calm`]), and none if it was told nothing.
//!
//! Without a recording, while a fault lasts or an order holds, and where servers have jobs, there is none.

use std::time::Duration;

use super::Replay;
use super::unit::Unit;
use crate::clock::Moment;
use crate::units::Watts;

/// So many cycles in a row without a command before a lull.
const QUIET_CYCLES: u32 = 3;
/// The longest pauses between two cycles.
const ASLEEP: Duration = Duration::from_secs(20);
const FULL: Duration = Duration::from_secs(5);
const STEADY: Duration = Duration::from_secs(3);
/// Of the least that a miner needs: below it none is woken.
const TOO_LITTLE: f64 = 0.5;
/// Of what all can draw: above it none is lowered.
const PLENTY: f64 = 1.1;
/// Of what all can draw: a surplus that moves by less moves no miner.
const STEADY_SHARE: f64 = 0.001;
/// Of what all can draw: a surplus that moves by less is followed as well by cycles that are further apart.
const CALM_SHARE: f64 = 0.01;

/// Whether there is a lull, and what it needs to begin.
#[derive(Debug, Default)]
pub(super) struct Lull {
    until: Option<Moment>,
    quiet: u32,
}

impl Lull {
    /// A command was sent.
    pub(super) fn disturb(&mut self) {
        (self.until, self.quiet) = (None, 0);
    }

    /// A cycle is over; what comes is a pause of this length, or none.
    pub(super) fn begin(&mut self, now: Moment, pause: Option<Duration>) {
        self.quiet = self.quiet.saturating_add(1);
        self.until = pause.map(|pause| now + pause);
    }

    /// Whether a moment lies in it.
    pub(super) fn holds(&self, at: Moment) -> bool {
        self.until.is_some_and(|until| at < until)
    }
}

impl Replay {
    /// How long nothing will happen, if that is longer than a period.
    pub(super) fn look_for_lull(&self, period: Duration) -> Option<Duration> {
        let curve = self.recorded.as_ref()?;
        let time = self.now.since_start();
        let ahead = self.now + ASLEEP;
        let disturbed = self.outages > 0
            || self.works
            || self.plant.is_eventful()
            || self.schedule.iter().any(|event| {
                event.is_on() || event.next().is_some_and(|at| Moment::after_start(at) <= ahead)
            })
            || self.orders.iter().any(|order| {
                order.event.at <= ahead.since_start()
                    && order
                        .event
                        .lasting
                        .is_none_or(|lasting| order.event.at.saturating_add(lasting) + ASLEEP >= time)
            });
        if disturbed {
            return None;
        }
        let maximum: Watts = self.site.miners.iter().map(|miner| miner.nameplate).sum();
        let range = |pause: Duration| curve.range(time, time.saturating_add(pause));
        let moves = |pause: Duration| {
            let (low, high) = range(pause);
            high - low
        };
        let settled = self.lull.quiet >= QUIET_CYCLES
            && self.still.iter().all(|still| *still > self.now)
            && self.units.iter().all(Unit::rests);
        if !settled {
            return self.calm.filter(|pause| *pause > period && moves(*pause) < maximum.scaled(CALM_SHARE));
        }
        let least = self.site.miners.iter().map(|miner| miner.minimum()).reduce(Watts::min)?;
        let pause = if self.units.iter().all(Unit::sleeps) {
            (range(ASLEEP).1 < least.scaled(TOO_LITTLE)).then_some(ASLEEP)
        } else if range(FULL).0 > maximum.scaled(PLENTY) {
            Some(FULL)
        } else {
            (moves(STEADY) < maximum.scaled(STEADY_SHARE))
                .then_some(STEADY)
                .or(self.calm.filter(|pause| moves(*pause) < maximum.scaled(CALM_SHARE)))
        };
        pause.filter(|pause| *pause > period)
    }
}
