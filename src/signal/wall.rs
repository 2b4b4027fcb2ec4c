//! The wall clock of this machine, and how far it can be trusted.
//!
//! The windows of orders are in wall-clock time, so a wrong clock makes an order late. Two things are watched: whether
//! somebody keeps the clock right, and whether it jumps against the monotonic clock.
//!
//! Who keeps it right is looked for by `keeper`; where nobody is found who does, the operator says
//! `[site] clock = "trusted"`. Without either the clock is in doubt: windows begin early and end late by the source's
//! `clock_allowance`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::desk::WallClock;
use super::keeper::Keeper;
use crate::clock::{self, Clock, Moment};
use crate::control::signal::time::FOUNDED;
use crate::control::signal::{Doubt, Wall};

/// A difference between two looks up to this is no jump: rule 4 of the model.
const JUMP: Duration = Duration::from_secs(30);
/// A clock that has jumped is believed once it has run evenly for this long, and is synchronised.
const CONFIRMED_AFTER: Duration = Duration::from_secs(600);
/// What a source allows for a clock in doubt, usually. A jump that is larger counts with what it is.
const USUAL_ALLOWANCE: Duration = Duration::from_secs(300);
/// Time between two looks for who keeps it.
const LOOK: Duration = Duration::from_secs(5);

/// Whether somebody keeps the clock right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The operator says so.
    Trusted,
    /// It is looked for.
    Checked,
}

/// Watches a clock for jumps. Pure: whoever looks tells both clocks.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// What the wall clock showed at the start of the monotonic scale, in milliseconds, as it is believed.
    believed: Option<i64>,
    /// Whether somebody has ever kept it right.
    was_kept: bool,
    /// The same, by the latest look, and since when it has been so.
    shown: Option<(i64, Moment)>,
}

impl Watch {
    /// One look. `synchronised` says that somebody keeps the clock right; `None` that nobody can tell.
    pub fn look(&mut self, moment: Moment, wall: Wall, synchronised: Option<bool>) -> Doubt {
        let passed = i64::try_from(moment.since_start().as_millis()).unwrap_or(i64::MAX);
        let origin = wall.as_unix_millis().saturating_sub(passed);
        let within = |one: i64, other: i64| u128::from(one.abs_diff(other)) <= JUMP.as_millis();
        let kept = synchronised == Some(true);
        let since = match self.shown {
            Some((shown, since)) if within(shown, origin) => since,
            _ => moment,
        };
        self.shown = Some((origin, since));
        // What a clock showed that nobody had set yet is no measure for what it shows now that somebody has.
        let first = kept && !self.was_kept;
        self.was_kept |= kept;
        let believed = *self.believed.get_or_insert(origin);
        if first || within(believed, origin) || (kept && moment - since >= CONFIRMED_AFTER) {
            // Small corrections are followed.
            self.believed = Some(origin);
            return if kept { Doubt::None } else { Doubt::Unknown };
        }
        let off = Duration::from_millis(believed.abs_diff(origin));
        if kept || off > USUAL_ALLOWANCE { Doubt::Off(off) } else { Doubt::Unknown }
    }
}

struct Looks {
    watch: Watch,
    synchronised: Option<bool>,
    looked: Option<Moment>,
}

/// The wall clock of this machine.
pub fn of_this_machine(clock: Clock, trust: Trust) -> WallClock {
    let keeper = (trust == Trust::Checked).then(Keeper::look_for);
    let looks = Mutex::new(Looks { watch: Watch::default(), synchronised: None, looked: None });
    Arc::new(move || {
        let now = clock.now();
        let wall = Wall::unix_millis(clock::unix_millis());
        let mut looks = looks.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.looked.is_none_or(|looked| now - looked >= LOOK) {
            looks.looked = Some(now);
            // Who answers for the clock (no keeper is looked for then) does not answer for one that was never set.
            let kept = keeper.as_ref().is_none_or(Keeper::is_there);
            looks.synchronised = kept.then_some(true);
        }
        let synchronised = looks.synchronised.filter(|_| wall >= FOUNDED);
        (wall, looks.watch.look(now, wall, synchronised))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(watch: &mut Watch, second: u64, wall: u64, synchronised: Option<bool>) -> Doubt {
        watch.look(
            Moment::millis(second * 1000),
            Wall::unix_millis(i64::try_from(wall).unwrap() * 1000),
            synchronised,
        )
    }

    #[test]
    fn a_clock_that_nobody_keeps_right_is_in_doubt() {
        let mut watch = Watch::default();
        assert_eq!(look(&mut watch, 0, 1_000, None), Doubt::Unknown);
        assert_eq!(look(&mut watch, 1, 1_001, Some(true)), Doubt::None, "until somebody does");
    }

    #[test]
    fn a_jump_makes_windows_wider_by_as_much_until_it_is_confirmed() {
        let mut watch = Watch::default();
        assert_eq!(look(&mut watch, 0, 1_000, Some(true)), Doubt::None);
        assert_eq!(look(&mut watch, 1, 4_601, Some(true)), Doubt::Off(Duration::from_secs(3_600)));
        assert_eq!(look(&mut watch, 300, 4_900, Some(true)), Doubt::Off(Duration::from_secs(3_600)));
        assert_eq!(look(&mut watch, 601, 5_201, Some(true)), Doubt::None, "ten minutes without another one");
    }

    #[test]
    fn a_jump_back_counts_as_one_forward_does_and_a_return_ends_it() {
        let mut watch = Watch::default();
        assert_eq!(look(&mut watch, 0, 10_000, Some(true)), Doubt::None);
        assert_eq!(look(&mut watch, 10, 9_910, Some(true)), Doubt::Off(Duration::from_secs(100)));
        assert_eq!(look(&mut watch, 20, 10_020, Some(true)), Doubt::None);
    }

    #[test]
    fn a_clock_that_jumps_over_and_over_is_never_confirmed() {
        let mut watch = Watch::default();
        look(&mut watch, 0, 10_000, Some(true));
        for minute in 1..60 {
            let wall = 10_000 + minute * 60 + 600 * (1 + minute % 2);
            assert_ne!(look(&mut watch, minute * 60, wall, Some(true)), Doubt::None, "minute {minute}");
        }
    }

    #[test]
    fn small_corrections_are_followed_and_are_no_jump() {
        let mut watch = Watch::default();
        for second in 0..1_000_u64 {
            assert_eq!(look(&mut watch, second, 10_000 + second * 2, Some(true)), Doubt::None);
        }
    }

    #[test]
    fn a_jump_that_nobody_has_set_right_is_never_confirmed() {
        let mut watch = Watch::default();
        look(&mut watch, 0, 10_000, Some(true));
        assert_eq!(look(&mut watch, 100, 10_200, None), Doubt::Unknown);
        assert_eq!(look(&mut watch, 5_000, 90_000, None), Doubt::Off(Duration::from_secs(75_000)));
    }

    #[test]
    fn the_first_synchronisation_after_a_start_is_a_correction_and_no_jump() {
        let mut watch = Watch::default();
        assert_eq!(
            look(&mut watch, 0, 0, None),
            Doubt::Unknown,
            "a computer without a battery for its clock"
        );
        assert_eq!(look(&mut watch, 30, 1_780_000_000, Some(true)), Doubt::None);
    }
}
