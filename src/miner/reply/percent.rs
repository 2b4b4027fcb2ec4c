//! Watts to percent and back, for firmware whose power is set relative to what it drew once it had started.

use crate::control::snapshot::Target;
use crate::units::Watts;

/// Lets a target that is exactly a whole percent survive the rounding of binary fractions.
const ROUNDING: Watts = Watts::whole(1);

/// What 100 % means for one miner, and which percent it was last given.
///
/// The vendor defines 100 % as the stable power after the start. The device does not say that number, but it says
/// its power limit, which the stable power does not exceed: a base that is too large gives a percent that is too
/// small, so the miner draws less than it was asked for, never more.
#[derive(Debug)]
pub struct PercentBase {
    rated: Watts,
    limit: Option<Watts>,
    sent: Option<(u8, Watts)>,
    /// By all that is known here a percent below 100 is in force.
    reduced: bool,
}

impl PercentBase {
    /// With the rated power, which stands in until the device says its limit.
    pub fn new(rated: Watts) -> Self {
        Self { rated, limit: None, sent: None, reduced: false }
    }

    /// Takes over the power limit that the device says, given the percent that is in force by its own word.
    ///
    /// While a percent is in force it is not documented whether the limit that is shown is already reduced by it.
    /// A base that shrinks with every command would raise the next percent, so then it may only grow.
    pub fn observe(&mut self, limit: Option<Watts>, in_force: Option<u8>) {
        let Some(limit) = limit.filter(|limit| limit.get() > 0.0) else {
            return;
        };
        let reduced = match in_force {
            Some(percent) => (1..100).contains(&percent),
            None => self.reduced,
        };
        self.limit = Some(if reduced { limit.max(self.limit.unwrap_or(self.rated)) } else { limit });
    }

    /// The power that counts as 100 %.
    pub fn base(&self) -> Watts {
        self.limit.unwrap_or(self.rated)
    }

    /// The range of power targets, once the device has said its limit. The lower end is the smallest percent that
    /// can be sent; the vendor does not say below which percent a model becomes unstable.
    pub fn range(&self) -> Option<(Watts, Watts)> {
        self.limit.map(|limit| (limit.scaled(0.01), limit))
    }

    /// The highest percent that does not exceed a power; `None` when not even one percent fits. Zero is never
    /// used: devices show it for "no percent in force", that is, full power.
    pub fn percent(&self, power: Watts) -> Option<u8> {
        let allowed = power + ROUNDING.scaled(1e-3);
        (1..=100).rev().find(|percent| self.base().scaled(f64::from(*percent) / 100.0) <= allowed)
    }

    /// Notes what the device has accepted.
    pub fn accepted(&mut self, percent: u8, power: Watts) {
        self.sent = Some((percent, power));
        self.reduced = percent < 100;
    }

    /// The mining software starts anew. On most firmware that gives full power, whatever was in force before;
    /// where the percent stays, the device says so.
    pub fn restarted(&mut self) {
        self.reduced = false;
    }

    /// The target behind the percent that the device says is in force. A percent that this program sent reads
    /// back as the power that was asked for, not as the power that its rounding gave.
    pub fn target(&self, in_force: u8) -> Target {
        let full = |percent: u8| percent == 0 || percent == 100;
        match self.sent {
            Some((percent, power)) if percent == in_force || (full(percent) && full(in_force)) => {
                Target::Power(power)
            }
            _ if in_force == 0 => Target::Power(self.base()),
            _ => Target::Power(self.base().scaled(f64::from(in_force) / 100.0)),
        }
    }
}

/// A percent as devices write it, `None` when it is not a whole number from 0 to 255.
pub fn whole_percent(number: f64) -> Option<u8> {
    (0..=u8::MAX).find(|percent| (f64::from(*percent) - number).abs() < 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_whole_percent_is_not_rounded_away() {
        let base = PercentBase::new(Watts::whole(3_300));
        for percent in 1..=100_u8 {
            let power = Watts::whole(3_300).scaled(f64::from(percent) / 100.0);
            assert_eq!(base.percent(power), Some(percent));
        }
    }

    #[test]
    fn above_the_base_is_a_hundred_and_below_one_percent_is_nothing() {
        let base = PercentBase::new(Watts::whole(3_300));
        assert_eq!(base.percent(Watts::whole(9_000)), Some(100));
        assert_eq!(base.percent(Watts::whole(32)), None);
        assert_eq!(base.percent(Watts::whole(-5)), None);
    }

    #[test]
    fn the_limit_of_the_device_replaces_the_rated_power() {
        let mut base = PercentBase::new(Watts::whole(3_300));
        assert_eq!(base.range(), None);
        base.observe(Some(Watts::whole(3_600)), Some(0));
        assert_eq!(base.base(), Watts::whole(3_600));
        base.observe(None, None);
        base.observe(Some(Watts::ZERO), None);
        assert_eq!(base.base(), Watts::whole(3_600));
    }

    #[test]
    fn a_limit_that_shrinks_under_a_percent_does_not_raise_the_next_percent() {
        let mut base = PercentBase::new(Watts::whole(3_300));
        base.observe(Some(Watts::whole(3_300)), Some(0));
        base.accepted(50, Watts::whole(1_650));
        base.observe(Some(Watts::whole(1_650)), Some(50));
        base.observe(Some(Watts::whole(1_650)), None);
        assert_eq!(base.percent(Watts::whole(1_650)), Some(50));
        // Seen for the first time while reduced: the rated power is the cautious base.
        let mut fresh = PercentBase::new(Watts::whole(3_300));
        fresh.observe(Some(Watts::whole(1_650)), Some(50));
        assert_eq!(fresh.base(), Watts::whole(3_300));
    }

    #[test]
    fn what_was_asked_reads_back() {
        let mut base = PercentBase::new(Watts::whole(3_300));
        base.accepted(60, Watts::whole(2_000));
        assert_eq!(base.target(60), Target::Power(Watts::whole(2_000)));
        assert_eq!(base.target(50), Target::Power(Watts::whole(1_650)));
        assert_eq!(base.target(0), Target::Power(Watts::whole(3_300)));
        base.accepted(100, Watts::whole(3_290));
        assert_eq!(base.target(0), Target::Power(Watts::whole(3_290)));
    }

    #[test]
    fn a_limit_that_was_lowered_counts_once_no_percent_is_in_force() {
        let mut base = PercentBase::new(Watts::whole(3_300));
        base.observe(Some(Watts::whole(3_300)), None);
        base.accepted(50, Watts::whole(1_650));
        base.observe(Some(Watts::whole(2_800)), None);
        assert_eq!(base.base(), Watts::whole(3_300));
        base.restarted();
        base.observe(Some(Watts::whole(2_800)), None);
        assert_eq!(base.base(), Watts::whole(2_800));
    }

    #[test]
    fn percents_of_devices_are_read_with_care() {
        assert_eq!(whole_percent(0.0), Some(0));
        assert_eq!(whole_percent(120.0), Some(120));
        assert_eq!(whole_percent(-3.0), None);
        assert_eq!(whole_percent(1e9), None);
        assert_eq!(whole_percent(f64::NAN), None);
    }

    proptest! {
        #[test]
        fn a_percent_never_asks_for_more_power_than_given(base in 100.0..20_000.0_f64, power in -100.0..25_000.0_f64) {
            let scale = PercentBase::new(Watts::saturating(base));
            if let Some(percent) = scale.percent(Watts::saturating(power)) {
                prop_assert!((1..=100).contains(&percent));
                prop_assert!(base * f64::from(percent) / 100.0 <= power + 0.01);
            } else {
                prop_assert!(power < base / 100.0 + 0.01);
            }
        }
    }
}
