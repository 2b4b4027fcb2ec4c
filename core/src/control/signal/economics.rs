//! Which operating points pay: break-even from prices, and the caps that make the fleet stay at the points that do.
//!
//! A terahash per second that runs for a day earns the *hash price* and, at an efficiency of `e` J/TH, draws `e` watts:
//! `0.024 · e` kWh. So it pays as long as `e` is below
//!
//! ```text
//! break-even (J/TH) = hash price (per TH/s and day) / (0.024 · price of power (per kWh))
//! ```
//!
//! Of each miner the point is taken at which `break-even · hashrate − power` is highest, asleep included: from there
//! on, no step up earns what it costs, and no step down saves what it loses. The sum over the miners of a circuit is
//! its cap. The allocation then seeks the most hashrate under the caps, and since the chosen points maximise
//! `hashrate − power / break-even`, no other choice of points with the same power has more hashrate (Everett's theorem
//! on Lagrange multipliers): it fills the points that pay, and those alone, without being told which.
//!
//! That holds for each circuit that feeds miners, so each has a cap of its own: one cap for several would let the
//! power that an efficient circuit may not have, because its breaker binds, go to miners that do not pay.
//!
//! A cap is all that a price can set, so it can lower the draw and never raise it above another limit.

use std::time::Duration;

use crate::control::site::{Actuator, CircuitId, LoadClass, Miner, Site};
use crate::control::tree::Tree;
use crate::moment::Moment;
use crate::units::Watts;

/// kWh that one watt comes to in a day.
const KWH_PER_WATT_DAY: f64 = 0.024;
/// A cap has at least this much room above the sum of its points: rounding in a miner's steps must not put one to sleep.
const ROOM: f64 = 0.005;

/// What power costs and what hashing earns, in one currency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// Of a kilowatt-hour; negative when one is paid for taking it.
    pub power: f64,
    /// What a terahash per second earns in a day. Not negative.
    pub hash: f64,
}

/// Up to which efficiency hashing pays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BreakEven {
    /// Power costs nothing, or one is paid for taking it: everything pays.
    Everything,
    /// Below this many joules per terahash. Not negative; zero when nothing pays.
    Below(f64),
}

impl BreakEven {
    /// From prices; a number that is not finite, or a negative hash price, counts as nothing earned.
    pub fn of(prices: Prices) -> Self {
        if prices.power <= 0.0 {
            return Self::Everything;
        }
        let joules = prices.hash / (KWH_PER_WATT_DAY * prices.power);
        // An overflow is a price next to nothing.
        if joules == f64::INFINITY {
            Self::Everything
        } else {
            Self::Below(if joules > 0.0 { joules } else { 0.0 })
        }
    }

    /// The efficiency up to which it pays, in joules per terahash; infinite when everything does.
    pub fn joules_per_terahash(self) -> f64 {
        match self {
            Self::Everything => f64::INFINITY,
            Self::Below(joules) => joules,
        }
    }

    /// With a part of the earnings taken off: fees, and the losses and fans that the miners' own efficiency leaves
    /// out. 0.03 = 3 %.
    #[must_use]
    pub fn less(self, share: f64) -> Self {
        match self {
            Self::Everything => Self::Everything,
            Self::Below(joules) => Self::Below(joules * (1.0 - share.clamp(0.0, 1.0))),
        }
    }
}

/// What a miner draws at the point that pays best: the highest of `break-even · hashrate − power` over its points and
/// sleep. A miner that cannot be commanded draws what it draws. Of what a server does the price of hashing says nothing: it counts at
/// its most, and since all miners give power up before it, what is left to them is what pays for them.
pub fn paying(miner: &Miner, break_even: BreakEven) -> Watts {
    let BreakEven::Below(joules) = break_even else { return miner.maximum() };
    if miner.class != LoadClass::Miner {
        return miner.maximum();
    }
    if miner.actuator == Actuator::Fixed {
        return miner.nameplate;
    }
    let only_full = miner.actuator == Actuator::OnOff;
    let points = miner.points.iter().skip(if only_full { miner.points.len().saturating_sub(1) } else { 0 });
    let asleep = (miner.sleep, -miner.sleep.get());
    points
        .map(|point| (point.power, joules * point.hashrate.as_terahashes() - point.power.get()))
        // Of two that are worth the same, the lower.
        .fold(asleep, |best, point| if point.1 > best.1 { point } else { best })
        .0
}

/// The caps on the miners' draw that a break-even comes to: of every circuit at or below `top` that feeds miners
/// directly, and only where some point does not pay.
pub fn caps(site: &Site, top: CircuitId, break_even: BreakEven) -> Vec<(CircuitId, Watts)> {
    if break_even == BreakEven::Everything {
        return Vec::new();
    }
    let tree = Tree::new(site);
    let mut sums = vec![Sums::NONE; site.circuits.len()];
    for miner in &site.miners {
        if let Some(sums) = sums.get_mut(miner.circuit.0) {
            sums.direct = true;
        }
        for circuit in tree.path(miner.circuit.0) {
            if let Some(sums) = sums.get_mut(*circuit) {
                sums.add(miner, paying(miner, break_even));
            }
        }
    }
    sums.into_iter()
        .enumerate()
        .filter(|(at, sums)| sums.direct && sums.pays < sums.maximum && tree.path(*at).contains(&top.0))
        .map(|(at, sums)| {
            // What the circuit keeps free below every limit is not the price's business.
            let margin = site.circuits.get(at).map_or(Watts::ZERO, |circuit| circuit.margin);
            (CircuitId(at), (sums.pays + margin + sums.room()).min(sums.nameplate))
        })
        .collect()
}

/// What the miners at or below a circuit come to.
#[derive(Clone, Copy)]
struct Sums {
    /// Some of them hang on it directly.
    direct: bool,
    /// At the points that pay.
    pays: Watts,
    /// At their highest.
    maximum: Watts,
    nameplate: Watts,
    /// The most that one needs beyond its point while it starts.
    start: Watts,
    /// The least with which one could wake that does not pay.
    least: f64,
}

impl Sums {
    const NONE: Self = Self {
        direct: false,
        pays: Watts::ZERO,
        maximum: Watts::ZERO,
        nameplate: Watts::ZERO,
        start: Watts::ZERO,
        least: f64::INFINITY,
    };

    fn add(&mut self, miner: &Miner, pays: Watts) {
        self.pays += pays;
        self.maximum += if miner.actuator == Actuator::Fixed { miner.nameplate } else { miner.maximum() };
        self.nameplate += miner.nameplate;
        if pays > miner.sleep {
            let most = if miner.response.starts_at_full { miner.maximum() } else { pays };
            self.start = self.start.max(most.scaled(1.0 + miner.response.start_overshoot) - pays);
        } else {
            self.least = self.least.min((miner.minimum() - miner.sleep).get());
        }
    }

    /// What a cap has above the sum of its points: for rounding, and for a miner that starts. Not so much that one which
    /// does not pay could wake in it.
    fn room(&self) -> Watts {
        let wanted = self.pays.scaled(ROOM).max(self.start).get();
        Watts::saturating(wanted.min(self.least / 2.0).max(0.0))
    }
}

/// Keeps a price at the edge from switching the fleet: a break-even counts only when it differs enough from the one in
/// force, and the fleet is let up again only after a while.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keeper {
    kept: Option<(BreakEven, Moment)>,
}

impl Keeper {
    /// Takes what the latest prices come to, and gives what counts. A change of less than `band` of the value in force
    /// (0.05 = 5 %) does not count; a rise counts only when the latest change is `hold` ago, a fall always.
    pub fn take(&mut self, latest: BreakEven, now: Moment, band: f64, hold: Duration) -> BreakEven {
        let Some((kept, since)) = self.kept else {
            self.kept = Some((latest, now));
            return latest;
        };
        let (before, after) = (kept.joules_per_terahash(), latest.joules_per_terahash());
        let moved = match (kept, latest) {
            (BreakEven::Below(before), BreakEven::Below(after)) => (after - before).abs() > before * band,
            (one, other) => one != other,
        };
        let waits = after > before && now - since < hold;
        if !moved || waits {
            return kept;
        }
        self.kept = Some((latest, now));
        latest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::control::site::OperatingPoint;
    use crate::control::testing;
    use crate::units::Hashrate;

    fn point(power: f64, terahashes: f64) -> OperatingPoint {
        OperatingPoint { power: Watts::saturating(power), hashrate: Hashrate::terahashes(terahashes) }
    }

    /// 25 J/TH at its lowest, then 40, then 60.
    fn miner() -> Miner {
        let points = vec![point(2_500.0, 100.0), point(3_300.0, 120.0), point(3_900.0, 130.0)];
        Miner {
            points,
            sleep: Watts::whole(20),
            nameplate: Watts::whole(4_000),
            actuator: Actuator::Steps,
            ..testing::miner("m", 0)
        }
    }

    fn at(joules: f64) -> Watts {
        paying(&miner(), BreakEven::Below(joules))
    }

    #[test]
    fn break_even_is_what_the_formula_says() {
        let BreakEven::Below(joules) = BreakEven::of(Prices { power: 0.06, hash: 0.05 }) else { panic!() };
        assert!((joules - 34.722).abs() < 1e-3, "{joules}");
        assert_eq!(BreakEven::of(Prices { power: 0.0, hash: 0.05 }), BreakEven::Everything);
        assert_eq!(
            BreakEven::of(Prices { power: -0.02, hash: 0.0 }),
            BreakEven::Everything,
            "paid for taking it"
        );
        assert_eq!(BreakEven::of(Prices { power: 0.06, hash: 0.0 }), BreakEven::Below(0.0));
        assert_eq!(BreakEven::Below(40.0).less(0.05), BreakEven::Below(38.0));
    }

    #[test]
    fn what_hashing_earns_says_nothing_of_servers() {
        let server = Miner { class: LoadClass::Throttle, ..miner() };
        assert_eq!(paying(&server, BreakEven::Below(0.0)), Watts::whole(3_900));
        let mut site = testing::site(1);
        site.miners =
            vec![Miner { circuit: CircuitId(1), ..miner() }, Miner { circuit: CircuitId(2), ..server }];
        let caps = caps(&site, CircuitId(0), BreakEven::Below(0.0));
        assert!(caps.iter().any(|(circuit, cap)| circuit.0 == 1 && *cap < Watts::whole(1_300)), "{caps:?}");
        assert!(!caps.iter().any(|(circuit, _)| circuit.0 == 2), "{caps:?}");
    }

    #[test]
    fn a_step_pays_while_its_own_efficiency_is_below_break_even() {
        assert_eq!(at(24.0), Watts::whole(20), "asleep: not even the first point");
        assert_eq!(at(26.0), Watts::whole(2_500));
        assert_eq!(at(39.0), Watts::whole(2_500), "the step to the second costs 40 J/TH");
        assert_eq!(at(41.0), Watts::whole(3_300));
        assert_eq!(at(59.0), Watts::whole(3_300));
        assert_eq!(at(61.0), Watts::whole(3_900));
        assert_eq!(paying(&miner(), BreakEven::Everything), Watts::whole(3_900));
    }

    #[test]
    fn a_miner_that_only_switches_pays_as_a_whole_and_one_that_is_fixed_draws_what_it_draws() {
        let switch = Miner { actuator: Actuator::OnOff, ..miner() };
        assert_eq!(paying(&switch, BreakEven::Below(29.0)), Watts::whole(20), "30 J/TH at full power");
        assert_eq!(paying(&switch, BreakEven::Below(31.0)), Watts::whole(3_900));
        let fixed = Miner { actuator: Actuator::Fixed, ..miner() };
        assert_eq!(paying(&fixed, BreakEven::Below(0.0)), Watts::whole(4_000));
    }

    #[test]
    fn a_price_at_the_edge_does_not_switch_the_fleet() {
        let mut keeper = Keeper::default();
        let hold = Duration::from_secs(600);
        let mut take = |joules: f64, second: u64| {
            Some(
                keeper
                    .take(BreakEven::Below(joules), Moment::millis(second * 1_000), 0.05, hold)
                    .joules_per_terahash(),
            )
        };
        assert_eq!(take(30.0, 0), Some(30.0));
        for second in 1..100 {
            assert_eq!(take(if second % 2 == 0 { 29.0 } else { 31.0 }, second), Some(30.0), "within 5 %");
        }
        assert_eq!(take(20.0, 100), Some(20.0), "a fall counts at once");
        assert_eq!(take(40.0, 101), Some(20.0), "a rise waits");
        assert_eq!(take(10.0, 102), Some(10.0), "and another fall does not");
        assert_eq!(take(40.0, 701), Some(10.0));
        assert_eq!(take(40.0, 702), Some(40.0));
    }

    #[test]
    fn a_circuit_is_capped_where_something_on_it_does_not_pay_and_nowhere_else() {
        let mut site = testing::site(2);
        let names =
            |caps: &[(CircuitId, Watts)]| caps.iter().map(|(circuit, _)| circuit.0).collect::<Vec<_>>();
        assert_eq!(names(&caps(&site, CircuitId(0), BreakEven::Everything)), [] as [usize; 0]);
        assert_eq!(
            names(&caps(&site, CircuitId(0), BreakEven::Below(1e3))),
            [] as [usize; 0],
            "all of it pays"
        );
        let nothing = caps(&site, CircuitId(0), BreakEven::Below(0.0));
        assert_eq!(names(&nothing), [1, 2], "the circuits that feed miners, not the one above");
        assert!(nothing.iter().all(|(_, cap)| *cap >= Watts::whole(40) && *cap < Watts::whole(1_400)));
        assert_eq!(
            names(&caps(&site, CircuitId(2), BreakEven::Below(0.0))),
            [2],
            "below the source's circuit alone"
        );
        site.circuits[1].margin = Watts::whole(500);
        let kept = caps(&site, CircuitId(1), BreakEven::Below(0.0));
        let more = (kept[0].1 - nothing[0].1).get();
        assert!((more - 500.0).abs() < 1e-6, "what is kept free comes on top: {more}");
        // The last of the miners that pay must be able to start: 5 % of 2,200 W.
        let some = caps(&site, CircuitId(2), BreakEven::Below(20.0));
        assert_eq!(names(&some), [2]);
        assert!((some[0].1.get() - 4_510.0).abs() < 1e-6, "{some:?}");
    }

    proptest! {
        /// Everett's theorem on whole points: among all ways to run a fleet with no more power than the points that pay
        /// come to, none has more hashrate.
        #[test]
        fn under_the_cap_nothing_has_more_hashrate_than_what_pays(
            fleet in proptest::collection::vec(
                proptest::collection::vec((100.0..5_000.0_f64, 1.0..300.0_f64), 1..4), 1..5),
            joules in 1.0..80.0_f64,
        ) {
            let miners: Vec<Miner> = fleet
                .iter()
                .map(|raw| {
                    let mut points: Vec<OperatingPoint> = raw.iter().map(|(p, h)| point(p + 30.0, *h)).collect();
                    points.sort_by(|a, b| a.power.total_cmp(&b.power));
                    Miner { points, ..miner() }
                })
                .collect();
            let chosen: Vec<Watts> = miners.iter().map(|miner| paying(miner, BreakEven::Below(joules))).collect();
            let hash = |miner: &Miner, power: Watts| {
                let at = miner.points.iter().filter(|point| point.power == power);
                at.map(|point| point.hashrate.as_terahashes()).fold(0.0, f64::max)
            };
            let cap: f64 = chosen.iter().map(|power| power.get()).sum();
            let best: f64 = miners.iter().zip(&chosen).map(|(miner, power)| hash(miner, *power)).sum();
            // All ways to run the fleet: power and hashrate of each.
            let mut ways = vec![(0.0, 0.0)];
            for miner in &miners {
                let levels = miner.points.iter().map(|point| (point.power.get(), hash(miner, point.power)));
                let levels: Vec<_> = levels.chain([(miner.sleep.get(), 0.0)]).collect();
                ways = ways.iter().flat_map(|way| levels.iter().map(|at| (way.0 + at.0, way.1 + at.1))).collect();
            }
            for (power, hashrate) in ways {
                prop_assert!(power > cap + 1e-6 || hashrate <= best + 1e-6, "{hashrate} at {power}: {best} at {cap}");
            }
        }

        /// What is chosen is worth at least as much as any other choice, and rises with the break-even.
        #[test]
        fn no_other_point_is_worth_more(
            raw in proptest::collection::vec((100.0..5_000.0_f64, 1.0..300.0_f64), 1..6),
            low in 0.0..80.0_f64,
            more in 0.0..80.0_f64,
        ) {
            let mut points: Vec<OperatingPoint> = raw.iter().map(|(p, h)| point(p + 30.0, *h)).collect();
            points.sort_by(|a, b| a.power.total_cmp(&b.power));
            let miner = Miner { points: points.clone(), ..miner() };
            let worth = |joules: f64, power: Watts| {
                let hash = points.iter().filter(|p| p.power == power).map(|p| p.hashrate.as_terahashes());
                joules * hash.fold(0.0, f64::max) - power.get()
            };
            let chosen = paying(&miner, BreakEven::Below(low));
            for point in &points {
                prop_assert!(worth(low, chosen) >= worth(low, point.power) - 1e-6);
            }
            prop_assert!(worth(low, chosen) >= -miner.sleep.get() - 1e-6);
            prop_assert!(paying(&miner, BreakEven::Below(low + more)) >= chosen);
        }
    }
}
