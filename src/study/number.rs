//! The few conversions between counts and numbers, in one place.

/// A count as a number. Exact up to 2⁵³, and no trace is that long.
#[expect(clippy::cast_precision_loss, reason = "counts of rows lie far below 2^53")]
pub const fn count(n: usize) -> f64 {
    n as f64
}

/// Seconds as a number; exact for every time that a calendar has.
#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 lie far below 2^53")]
pub const fn seconds(s: i64) -> f64 {
    s as f64
}

/// The whole part of a number as a count: 0 for what is negative or no number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and 0 is what is wanted for what is below"
)]
pub const fn floor(x: f64) -> usize {
    x as usize
}

/// The whole part of a number as seconds; saturates.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and what lies outside is refused later")]
pub const fn whole(x: f64) -> i64 {
    x as i64
}

/// A count of slots from seconds: 0 for what is negative.
pub fn slots(s: i64) -> usize {
    usize::try_from(s).unwrap_or(0)
}

/// A count as seconds or slots with a sign.
pub fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The value below which a share of the sorted values lies, between neighbours in proportion (as pandas and numpy do it).
/// NaN for none.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = share.clamp(0.0, 1.0) * count(last);
    let low = floor(at);
    let below = sorted.get(low).copied().unwrap_or(f64::NAN);
    let above = sorted.get(low + 1).copied().unwrap_or(below);
    below + (above - below) * (at - count(low))
}

/// As [`quantile`] of values in any order, which are stirred; quicker than putting all in order for one.
pub fn quantile_of(values: &mut Vec<f64>, share: f64) -> f64 {
    values.retain(|value| !value.is_nan());
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    let at = share.clamp(0.0, 1.0) * count(last);
    let low = floor(at);
    let (_, below, higher) = values.select_nth_unstable_by(low, f64::total_cmp);
    let above = higher.iter().copied().fold(f64::INFINITY, f64::min);
    if higher.is_empty() { *below } else { *below + (above - *below) * (at - count(low)) }
}

/// Numbers in order; NaN is left out.
pub fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
    all.sort_unstable_by(f64::total_cmp);
    all
}

/// The mean; NaN for none.
pub fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, n) = values.into_iter().fold((0.0, 0_usize), |(sum, n), value| (sum + value, n + 1));
    sum / count(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_between_its_neighbours_in_proportion() {
        let all = sorted([3.0, 1.0, f64::NAN, 2.0, 4.0]);
        assert!((quantile(&all, 0.5) - 2.5).abs() < 1e-12);
        assert!((quantile(&all, 0.1) - 1.3).abs() < 1e-12);
        assert!((quantile(&all, 1.0) - 4.0).abs() < 1e-12);
        assert!(quantile(&[], 0.5).is_nan());
        for share in [0.0, 0.1, 0.33, 0.5, 1.0] {
            let picked = quantile_of(&mut vec![3.0, 1.0, f64::NAN, 2.0, 4.0], share);
            assert!((picked - quantile(&all, share)).abs() < 1e-12);
        }
        assert!(quantile_of(&mut Vec::new(), 0.5).is_nan());
    }
}
