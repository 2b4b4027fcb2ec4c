//! A miner's operating points as a function, and the concave hull of them.

use crate::control::site::OperatingPoint;

/// Hashrate at a power between the points, linear in between; constant above the highest, and below the lowest in
/// proportion to the power.
pub fn hashrate(points: &[OperatingPoint], power: f64) -> f64 {
    let upper = points.partition_point(|point| point.power.get() < power);
    let above = points.get(upper);
    let below = upper.checked_sub(1).and_then(|index| points.get(index));
    match (below, above) {
        (Some(low), Some(high)) => {
            let span = high.power.get() - low.power.get();
            let part = if span > 0.0 { (power - low.power.get()) / span } else { 1.0 };
            low.hashrate.get() + (high.hashrate.get() - low.hashrate.get()) * part
        }
        (None, Some(first)) => {
            let full = first.power.get();
            if full > 0.0 { first.hashrate.get() * (power / full).clamp(0.0, 1.0) } else { 0.0 }
        }
        (Some(last), None) => last.hashrate.get(),
        (None, None) => 0.0,
    }
}

/// A corner of a concave hull: draw in watts and hashrate.
pub type Corner = (f64, f64);

/// The upper concave hull of the points together with the lowest that there is (sleep, mostly), from there up. `scale` turns a
/// miner's own watts into true watts. Only corners that bring hashrate are kept, so slopes are positive and fall.
pub fn hull(
    lowest: Corner,
    scale: f64,
    points: impl Iterator<Item = OperatingPoint>,
    corners: &mut Vec<Corner>,
) {
    corners.clear();
    corners.push(lowest);
    for point in points {
        let next = (point.power.get() * scale, point.hashrate.get());
        while let [.., last] = corners.as_slice() {
            if next.1 <= last.1 {
                break;
            }
            let keeps = match corners.as_slice() {
                [.., before, last] => slope(*before, *last) > slope(*last, next),
                _ => next.0 > last.0,
            };
            if keeps || corners.len() == 1 {
                break;
            }
            corners.pop();
        }
        if corners.last().is_some_and(|last| next.1 > last.1 && next.0 > last.0) {
            corners.push(next);
        }
    }
}

/// Hashrate per watt from one corner to the next.
pub fn slope(from: Corner, to: Corner) -> f64 {
    let watts = to.0 - from.0;
    if watts > 0.0 { (to.1 - from.1) / watts } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::curve as points;

    #[test]
    fn hashrate_is_linear_between_points() {
        let points = points(&[(1_000, 50.0), (2_000, 90.0)]);
        assert!((hashrate(&points, 1_500.0) - 70e12).abs() < 1.0);
        assert!((hashrate(&points, 2_500.0) - 90e12).abs() < 1.0);
        assert!((hashrate(&points, 500.0) - 25e12).abs() < 1.0);
        assert!(hashrate(&[], 500.0).abs() < 1.0);
    }

    #[test]
    fn the_hull_is_concave_and_lies_on_or_above_every_point() {
        let points = points(&[(800, 30.0), (1_000, 45.0), (1_500, 60.0), (1_600, 58.0), (2_000, 80.0)]);
        let mut corners = Vec::new();
        hull((20.0, 0.0), 1.0, points.iter().copied(), &mut corners);
        assert_eq!(corners.first(), Some(&(20.0, 0.0)));
        let slopes: Vec<f64> = corners.windows(2).map(|pair| slope(pair[0], pair[1])).collect();
        assert!(slopes.windows(2).all(|pair| pair[0] > pair[1]), "{slopes:?}");
        for point in &points {
            let at = corners.windows(2).find(|pair| pair[1].0 >= point.power.get()).unwrap();
            let value = at[0].1 + slope(at[0], at[1]) * (point.power.get() - at[0].0);
            assert!(value >= point.hashrate.get() - 1.0, "{point:?} lies above the hull");
        }
    }
}
