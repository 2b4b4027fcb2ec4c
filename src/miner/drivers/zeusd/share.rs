//! How a power becomes power limits of graphics processors: to each the same, within what each allows, and never more in sum
//! than there is to share, unless all are at their lowest. Everything is in milliwatts here, as NVML and `zeusd` have it.

use std::collections::BTreeMap;

/// The largest power that is believed of one graphics processor, in milliwatts: 10 kW. The largest on the market in 2026 draw
/// between 1 and 2 kW; a larger number is nonsense, or in another unit.
pub(super) const MOST_MILLIWATTS: u32 = 10_000_000;
/// Limits are set in whole watts where the range allows it: a `zeusd` later than 0.5.0 may hand them on to a command that takes no
/// fractions (`power_limit_w` of its `--gpu-command-overrides`).
const STEP: u32 = 1_000;

/// Shares a power (mW) among processors with these ranges (lowest and highest limit, mW): water filling. The same ranges and the
/// same power always give the same limits; what is left of the last watt of each goes to the first of them.
pub(super) fn share(ranges: &[(u32, u32)], power: u64) -> Vec<u32> {
    let at = |level: u32| -> Vec<u32> {
        ranges.iter().map(|(low, high)| level.saturating_mul(STEP).min(*high).max(*low)).collect()
    };
    // The highest level that fits, by halving: `fits` does or is the bottom, `over` does not or is above all.
    let (mut fits, mut over) = (0_u32, MOST_MILLIWATTS / STEP + 1);
    while over - fits > 1 {
        let middle = fits + (over - fits) / 2;
        if sum(&at(middle)) <= power { fits = middle } else { over = middle }
    }
    let mut shares = at(fits);
    let mut left = power.saturating_sub(sum(&shares));
    for (share, next) in shares.iter_mut().zip(at(fits + 1)) {
        let more = u64::from(next.saturating_sub(*share));
        if more <= left {
            *share = next.max(*share);
            left -= more;
        }
    }
    shares
}

/// What limits are in sum, in milliwatts.
pub(super) fn sum(limits: &[u32]) -> u64 {
    limits.iter().map(|limit| u64::from(*limit)).sum()
}

/// A processor whose limit is to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// Its id.
    pub(super) id: u16,
    /// The limit that stands, in milliwatts, where that is known.
    pub(super) stands: Option<u32>,
    /// The one that it is to have, in milliwatts.
    pub(super) wanted: u32,
}

/// The requests that set them: a limit (mW) and all processors that get it. Limits that fall come first, so that the sum is at no
/// moment above both the old and the new one.
pub(super) fn orders(wishes: &[Wish]) -> Vec<(u32, Vec<u16>)> {
    let mut orders: BTreeMap<(bool, u32), Vec<u16>> = BTreeMap::new();
    for wish in wishes {
        let rises = wish.stands.is_none_or(|stands| stands < wish.wanted);
        orders.entry((rises, wish.wanted)).or_default().push(wish.id);
    }
    orders.into_iter().map(|((_, limit), ids)| (limit, ids)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_processors_get_the_same_and_the_first_ones_the_watts_that_are_left() {
        let four = [(200_000, 700_000); 4];
        assert_eq!(share(&four, 1_600_000), [400_000; 4]);
        assert_eq!(share(&four, 1_602_500), [401_000, 401_000, 400_000, 400_000]);
        assert_eq!(share(&four, 9_000_000), [700_000; 4]);
        assert_eq!(share(&four, 100_000), [200_000; 4], "lower than the lowest there is nothing");
        assert_eq!(share(&[], 1_000), Vec::<u32>::new());
    }

    #[test]
    fn one_that_cannot_take_its_share_leaves_it_to_the_others() {
        let mixed = [(100_000, 300_000), (200_000, 700_000)];
        assert_eq!(share(&mixed, 900_000), [300_000, 600_000]);
        assert_eq!(share(&mixed, 320_000), [120_000, 200_000]);
        // Ranges that are not in whole watts are kept to all the same.
        assert_eq!(share(&[(100_500, 250_250)], 240_000), [240_000]);
        assert_eq!(share(&[(100_500, 250_250)], 900_000), [250_250]);
        assert_eq!(share(&[(100_500, 100_500)], 900_000), [100_500]);
    }

    #[test]
    fn limits_that_fall_come_before_those_that_rise() {
        let wish = |id, stands, wanted| Wish { id, stands, wanted };
        let wishes = [
            wish(0, Some(300), 400),
            wish(1, Some(700), 500),
            wish(2, Some(450), 400),
            wish(3, None, 400),
            wish(4, Some(500), 500),
        ];
        assert_eq!(orders(&wishes), [(400, vec![2]), (500, vec![1, 4]), (400, vec![0, 3])]);
    }

    proptest! {
        #[test]
        fn what_is_shared_is_never_more_than_there_is_and_wastes_no_watt(
            ranges in prop::collection::vec((50_000..400_000_u32, 0..900_000_u32), 1..17), power in 0..20_000_000_u64
        ) {
            let ranges: Vec<(u32, u32)> = ranges.iter().map(|(low, span)| (*low, low + span)).collect();
            let shares = share(&ranges, power);
            let low: Vec<u32> = ranges.iter().map(|range| range.0).collect();
            let high: Vec<u32> = ranges.iter().map(|range| range.1).collect();
            prop_assert!(shares.iter().zip(&ranges).all(|(share, (low, high))| (low..=high).contains(&share)));
            prop_assert!(sum(&shares) <= power || shares == low, "{shares:?} of {power}");
            let unused = power.saturating_sub(sum(&shares));
            let count = u64::try_from(ranges.len()).unwrap();
            prop_assert!(unused < count * u64::from(STEP) || shares == high, "{unused} unused");
            prop_assert!(shares == share(&ranges, power), "the same comes out each time");
            // No two that could have the same are more than a watt apart.
            for (one, (_, high)) in shares.iter().zip(&ranges) {
                for (other, (low, _)) in shares.iter().zip(&ranges) {
                    prop_assert!(*one == *high || *other == *low || *other <= one + STEP);
                }
            }
        }
    }
}
