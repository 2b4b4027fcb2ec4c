//! From a model and the keys of a group to the operating points of a miner.

use super::diagnostic::Report;
use super::diagnostic::Span;
use super::members::THROUGHPUT;
use super::miners::Keys;
use super::models::Fineness;
use crate::control::site::{Actuator, OperatingPoint, Response};
use crate::miner::kind::{Class, Quantum, Traits};
use crate::units::{Hashrate, Watts};

/// Lowest power of a miner of which only the highest is known, as a share of that.
const UNKNOWN_MINIMUM: f64 = 0.7;

/// The same of a server: about there the work that a watt does begins to fall off.
const SERVER_MINIMUM: f64 = 0.5;

/// Efficiency of a miner of which nothing is known, in joules per hash (25 J/TH): worse than that of every current
/// model, so that a miner nobody described is shed first.
const UNKNOWN_EFFICIENCY: f64 = 25e-12;

/// Draw of a sleeping miner of which nothing is known: the largest that is on record for any vendor.
const UNKNOWN_SLEEP: Watts = Watts::whole(60);

/// How far the draw asleep of a member that does not sleep lies below its lowest point, for those who add such draws up.
const NO_SLEEP: Watts = Watts::whole(1);

/// What a miner can draw.
pub(super) struct Curve {
    pub(super) points: Vec<OperatingPoint>,
    pub(super) sleep: Watts,
    pub(super) nameplate: Watts,
    pub(super) rated: Watts,
    pub(super) rated_is_told: bool,
    pub(super) actuator: Actuator,
}

/// Puts model and keys together; notes what does not fit. A `server` cannot be put to sleep, and its work falls off with its power
/// otherwise than that of a miner.
pub(super) fn curve(
    title: &str,
    span: Span,
    keys: &Keys,
    response: Response,
    traits: &Traits,
    server: bool,
    report: &Report<'_>,
) -> Option<Curve> {
    let mistakes = report.count();
    if let (Some(minimum), Some(maximum)) = (keys.minimum, keys.maximum)
        && minimum.value > maximum.value
    {
        report.error(
            minimum.span,
            format!("`minimum` ({}) is above `maximum` ({})", minimum.value, maximum.value),
            "the miner runs between the two",
        );
        return None;
    }
    let model = keys.model.as_deref();
    let usual = match traits.class {
        Class::Continuous => Fineness::Continuous,
        Class::Steps => Fineness::Steps,
        Class::OnOff | Class::ReadOnly => Fineness::OnOff,
    };
    let fineness = keys.actuator.or(model.and_then(|model| model.actuator)).unwrap_or(usual);
    let (points, rated) = match model {
        Some(model) => {
            let highest = model.points.last().map_or(Watts::ZERO, |point| point.power);
            let points = limited(&model.points, keys, fineness, report);
            (points, model.rated.unwrap_or(highest))
        }
        None => {
            let points = unknown(title, span, keys, fineness, server, report)?;
            let highest = points.last().map_or(Watts::ZERO, |point| point.power);
            (points, highest)
        }
    };
    let points = match fineness {
        // Full power or asleep: nothing in between can be asked for.
        Fineness::OnOff => points.last().copied().into_iter().collect(),
        Fineness::Continuous | Fineness::Steps => points,
    };
    let (first, last) = (points.first()?.power, points.last()?.power);

    let sleep = keys.sleep.map(|at| at.value).or(model.and_then(|model| model.sleep));
    let sleep = sleep.filter(|_| !server).unwrap_or_else(|| {
        // A guess must not make a small miner impossible.
        if server { (first - NO_SLEEP).max(first.scaled(0.5)) } else { UNKNOWN_SLEEP.min(first.scaled(0.5)) }
    });
    if sleep >= first {
        report.error(
            keys.sleep.or(keys.minimum).map_or(span, |at| at.span),
            format!("{title} draws {sleep} asleep, and no more than {first} at its lowest point"),
            "check `sleep` and `minimum`",
        );
    }
    let nameplate = keys
        .nameplate
        .map(|at| at.value)
        .or(model.and_then(|model| model.nameplate))
        .unwrap_or_else(|| last.scaled(1.0 + response.start_overshoot));
    if nameplate < last {
        report.error(
            keys.nameplate.or(keys.maximum).map_or(span, |at| at.span),
            format!("{title} may be set to {last}, but its nameplate is {nameplate}"),
            "the nameplate is the most that the miner can ever draw; lower `maximum` or raise `nameplate`",
        );
    }
    let rated_is_told = keys.rated.is_some() || model.is_some_and(|model| model.rated.is_some());
    let rated = keys.rated.map_or(rated, |at| at.value);
    if report.count() > mistakes {
        return None;
    }
    let actuator = match (fineness, traits.quantum) {
        _ if traits.class == Class::ReadOnly => Actuator::Fixed,
        (Fineness::Steps, _) => Actuator::Steps,
        (Fineness::OnOff, _) => Actuator::OnOff,
        (Fineness::Continuous, Quantum::Watts(quantum)) => Actuator::Continuous { quantum },
        (Fineness::Continuous, Quantum::Fraction(share)) => {
            Actuator::Continuous { quantum: rated.scaled(share) }
        }
    };
    Some(Curve { points, sleep, nameplate, rated, rated_is_told, actuator })
}

/// A model's points between `minimum` and `maximum`. A miner with steps keeps the points within; one that is set
/// continuously gets points at the bounds, on the line through the nearest two.
fn limited(
    points: &[OperatingPoint],
    keys: &Keys,
    fineness: Fineness,
    report: &Report<'_>,
) -> Vec<OperatingPoint> {
    let low = keys.minimum.map(|at| at.value);
    let high = keys.maximum.map(|at| at.value);
    let inside = |power: Watts| low.is_none_or(|low| power >= low) && high.is_none_or(|high| power <= high);
    let mut kept: Vec<OperatingPoint> = points.iter().copied().filter(|point| inside(point.power)).collect();
    if fineness == Fineness::Continuous {
        let has = |kept: &[OperatingPoint], power| kept.iter().any(|point| point.power == power);
        for bound in [low, high].into_iter().flatten() {
            if !has(&kept, bound) {
                kept.push(OperatingPoint { power: bound, hashrate: hashrate_at(points, bound) });
            }
        }
        kept.sort_by(|a, b| a.power.total_cmp(&b.power));
    }
    if kept.is_empty()
        && let Some(bound) = keys.minimum.or(keys.maximum)
    {
        let powers: Vec<String> = points.iter().map(|point| point.power.to_string()).collect();
        report.error(
            bound.span,
            "no operating point of the model lies between `minimum` and `maximum`",
            format!("its points are {}", powers.join(", ")),
        );
    }
    kept
}

/// Hashrate on the line through the two points nearest to a power; in proportion where there is one point only.
fn hashrate_at(points: &[OperatingPoint], power: Watts) -> Hashrate {
    let above = points.partition_point(|point| point.power < power);
    let start = above.saturating_sub(1).min(points.len().saturating_sub(2));
    match (points.get(start), points.get(start + 1)) {
        (Some(a), Some(b)) => {
            let along = (power - a.power).ratio(b.power - a.power).unwrap_or(0.0);
            (a.hashrate + (b.hashrate - a.hashrate).scaled(along)).at_least_zero()
        }
        (Some(only), None) => only.hashrate.scaled(power.ratio(only.power).unwrap_or(0.0)),
        _ => Hashrate::ZERO,
    }
}

/// Points of a miner without a model: a straight line through zero; of a server, what is usual of servers.
fn unknown(
    title: &str,
    span: Span,
    keys: &Keys,
    fineness: Fineness,
    server: bool,
    report: &Report<'_>,
) -> Option<Vec<OperatingPoint>> {
    let Some(maximum) = keys.maximum.or(keys.nameplate) else {
        report.error(
            span,
            format!("{title} has neither a `model` nor a `maximum`"),
            "name a model, or write minimum, maximum and nameplate, like maximum = \"3400 W\": \
             every model can be controlled",
        );
        return None;
    };
    if fineness == Fineness::Steps {
        report.error(
            span,
            format!("{title} is set in steps, but has no `model` that lists them"),
            "describe it: [models.NAME] with points = […]",
        );
        return None;
    }
    let maximum = maximum.value;
    let share = if server { SERVER_MINIMUM } else { UNKNOWN_MINIMUM };
    let minimum = keys.minimum.map_or_else(|| maximum.scaled(share), |at| at.value);
    if minimum > maximum {
        report.error(
            keys.minimum.map_or(span, |at| at.span),
            format!("`minimum` ({minimum}) is above the `nameplate` ({maximum})"),
            "the miner runs between the two",
        );
        return None;
    }
    let efficiency = keys.efficiency.map_or(UNKNOWN_EFFICIENCY, |at| at.value);
    let point =
        |power: Watts| OperatingPoint { power, hashrate: Hashrate::saturating(power.get() / efficiency) };
    if minimum == maximum {
        return Some(vec![point(maximum)]);
    }
    if server {
        let full = point(maximum).hashrate;
        let usual: Vec<OperatingPoint> = THROUGHPUT
            .iter()
            .map(|(power, work)| OperatingPoint {
                power: maximum.scaled(*power),
                hashrate: full.scaled(*work),
            })
            .collect();
        let end = |power| OperatingPoint { power, hashrate: hashrate_at(&usual, power) };
        let between = usual.iter().copied().filter(|point| point.power > minimum && point.power < maximum);
        return Some([end(minimum)].into_iter().chain(between).chain([end(maximum)]).collect());
    }
    Some(vec![point(minimum), point(maximum)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(list: &[(i32, f64)]) -> Vec<OperatingPoint> {
        list.iter()
            .map(|(power, hashrate)| OperatingPoint {
                power: Watts::whole(*power),
                hashrate: Hashrate::terahashes(*hashrate),
            })
            .collect()
    }

    #[test]
    fn the_hashrate_between_and_beyond_points_lies_on_their_line() {
        let curve = points(&[(1_000, 50.0), (2_000, 90.0), (3_000, 120.0)]);
        for (power, expected) in [(1_500, 70.0), (2_000, 90.0), (500, 30.0), (3_500, 135.0)] {
            let hashrate = hashrate_at(&curve, Watts::whole(power)).as_terahashes();
            assert!((hashrate - expected).abs() < 1e-6, "{power} W: {hashrate}");
        }
        let single = points(&[(2_000, 100.0)]);
        assert!((hashrate_at(&single, Watts::whole(1_000)).as_terahashes() - 50.0).abs() < 1e-6);
        assert_eq!(hashrate_at(&[], Watts::whole(1_000)), Hashrate::ZERO);
    }
}
