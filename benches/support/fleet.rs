//! A site with a mixed fleet, built through the public types.
//!
//! The operating points are those of `config/models` and, for the 25 profiles of the S19k Pro and all points of the
//! S19 XP, of the same sources without the cut at the stock power supply.

use std::time::Duration;

use ballast::control::site::{
    Actuator, AnswerWithin, Cap, ChangeCost, Circuit, CircuitId, Limit, LimitClass, LoadClass, Meter,
    MeterId, Miner, OperatingPoint, Response, Scope, Settings, Site,
};
use ballast::units::{Hashrate, Watts, WattsPerSecond};

/// Miners in a container.
pub const PER_CONTAINER: usize = 200;

/// (watts, terahashes per second)
type Curve = &'static [(i32, f64)];

/// A Whatsminer M60S: one point on record, the others on the power law through it.
const M60S: Curve =
    &[(1_900, 113.8), (2_200, 128.0), (2_500, 141.8), (2_800, 155.2), (2_980, 163.2), (3_156, 170.8)];
/// A Whatsminer M30S++, likewise.
const M30S: Curve = &[(1_950, 84.8), (2_250, 95.1), (2_550, 105.1), (2_900, 116.5), (3_200, 126.0)];
/// An S19k Pro up to its default.
const S19K: Curve = &[
    (784, 39.2),
    (978, 49.5),
    (1_188, 59.8),
    (1_414, 70.2),
    (1_657, 80.5),
    (1_916, 90.8),
    (2_192, 101.1),
    (2_485, 111.5),
    (2_794, 121.8),
];
/// All profiles of an S19k Pro.
const S19K_PROFILES: Curve = &[
    (784, 39.2),
    (879, 44.4),
    (978, 49.5),
    (1_080, 54.7),
    (1_188, 59.8),
    (1_299, 65.0),
    (1_414, 70.2),
    (1_533, 75.3),
    (1_657, 80.5),
    (1_785, 85.7),
    (1_916, 90.8),
    (2_052, 96.0),
    (2_192, 101.1),
    (2_336, 106.3),
    (2_485, 111.5),
    (2_637, 116.6),
    (2_794, 121.8),
    (2_954, 127.0),
    (3_119, 132.1),
    (3_288, 137.3),
    (3_461, 142.4),
    (3_638, 147.6),
    (3_820, 152.8),
    (4_005, 157.9),
    (4_195, 163.1),
];
/// An S19 XP with a control board that tunes it.
const S19_XP: Curve =
    &[(1_700, 80.0), (2_200, 100.0), (2_700, 120.0), (3_350, 142.0), (3_850, 154.0), (4_400, 169.0)];
/// An S19 Pro Hydro as it comes: full power or asleep.
const HYDRO: Curve = &[(5_560, 175.0)];

/// What a model is and how its firmware is set.
#[derive(Clone, Copy)]
struct Kind {
    driver: &'static str,
    curve: Curve,
    actuator: Actuator,
    sleep: i32,
    nameplate: i32,
    /// Dead time down and up in seconds, watts per second down and up.
    pace: (u64, u64, i32, i32),
    /// Seconds of full hashrate that a change costs, and least seconds between two raises.
    cost: (u64, u64),
}

/// A kind for each miner in turn: Whatsminers in percent, Braiins OS in watts, profiles, and a stock miner.
fn kind(index: usize) -> Kind {
    let percent = |watts: i32| Actuator::Continuous { quantum: Watts::whole(watts) };
    let whatsminer = |curve, quantum, nameplate| Kind {
        driver: "whatsminer-v3",
        curve,
        actuator: percent(quantum),
        sleep: 40,
        nameplate,
        pace: (1, 1, 2_000, 1_000),
        cost: (1, 2),
    };
    let steps = |driver, curve, nameplate| Kind {
        driver,
        curve,
        actuator: Actuator::Steps,
        sleep: 25,
        nameplate,
        pace: (2, 4, 600, 200),
        cost: (10, 30),
    };
    match index % 6 {
        0 => whatsminer(M60S, 32, 3_600),
        1 => whatsminer(M30S, 32, 3_300),
        2 => Kind {
            driver: "braiins-os",
            curve: S19K,
            actuator: percent(10),
            sleep: 25,
            nameplate: 2_950,
            pace: (2, 4, 300, 20),
            cost: (30, 60),
        },
        3 => steps("luxos", S19K_PROFILES, 4_400),
        4 => steps("epic", S19_XP, 4_600),
        _ => Kind {
            driver: "bitmain",
            curve: HYDRO,
            actuator: Actuator::OnOff,
            sleep: 40,
            nameplate: 5_850,
            pace: (15, 15, 1_000, 300),
            cost: (60, 120),
        },
    }
}

fn miner(index: usize, circuit: usize) -> Miner {
    let kind = kind(index);
    let (dead_down, dead_up, ramp_down, ramp_up) = kind.pace;
    let seconds = Duration::from_secs;
    Miner {
        name: format!("miner-{index:05}"),
        driver: kind.driver,
        circuit: CircuitId(circuit),
        points: kind
            .curve
            .iter()
            .map(|&(power, hashrate)| OperatingPoint {
                power: Watts::whole(power),
                hashrate: Hashrate::terahashes(hashrate),
            })
            .collect(),
        class: LoadClass::Miner,
        contract: None,
        sleeps: true,
        notice: Duration::ZERO,
        answer_within: AnswerWithin::NONE,
        restarts: false,
        sleep: Watts::whole(kind.sleep),
        nameplate: Watts::whole(kind.nameplate),
        actuator: kind.actuator,
        response: Response {
            dead_time_down: seconds(dead_down),
            dead_time_up: seconds(dead_up),
            ramp_down: WattsPerSecond::whole(ramp_down),
            ramp_up: WattsPerSecond::whole(ramp_up),
            start_time: seconds(60),
            starts_at_full: false,
            start_overshoot: 0.05,
            caps: false,
        },
        cost: ChangeCost {
            adjust: seconds(kind.cost.0),
            sleep: seconds(300),
            min_interval: seconds(kind.cost.1),
        },
        poll_period: seconds(2),
        silent_after: seconds(20),
    }
}

fn circuit(name: String, parent: Option<usize>, meter: Option<usize>) -> Circuit {
    Circuit {
        name,
        parent: parent.map(CircuitId),
        meter: meter.map(MeterId),
        dedicated: false,
        margin: Watts::ZERO,
        other_load: Watts::ZERO,
        interlock: None,
        emergency_stop: None,
        breaker: None,
        fail_safe: Watts::ZERO,
    }
}

fn meter(name: &str) -> Meter {
    Meter {
        name: name.into(),
        period: Duration::from_secs(1),
        lag: Duration::ZERO,
        stale_after: Duration::from_secs(5),
        fail_safe_after: Duration::from_secs(20),
        learn_lag: true,
        combined: None,
    }
}

fn limit(name: String, circuit: usize, scope: Scope, class: LimitClass, cap: Cap) -> Limit {
    Limit { name, circuit: CircuitId(circuit), scope, class, cap, condition: None }
}

/// The sum of the miners' highest points on a circuit and all below it, in watts.
pub fn maximum(site: &Site, circuit: Option<usize>) -> f64 {
    let here = |miner: &&Miner| circuit.is_none_or(|circuit| miner.circuit.0 == circuit);
    site.miners.iter().filter(here).map(|miner| miner.maximum().get()).sum()
}

/// A metered point of common coupling that may not import, a dedicated and metered feeder below it, and containers
/// of up to 200 miners with a rating of 92 % of what their miners could draw and an order, the same for each, that
/// comes in as a reading.
///
/// Meters: 0 at the point of common coupling, 1 at the feeder, 2 the order.
pub fn site(miners: usize) -> Site {
    let containers = miners.div_ceil(PER_CONTAINER);
    let mut root = circuit("pcc".into(), None, Some(0));
    root.margin = Watts::whole(3_000);
    let mut feeder = circuit("feeder".into(), Some(0), Some(1));
    feeder.dedicated = true;
    let mut circuits = vec![root, feeder];
    circuits
        .extend((0..containers).map(|container| circuit(format!("container-{container:02}"), Some(1), None)));
    let mut site = Site {
        name: "bench".into(),
        circuits,
        meters: vec![meter("pcc"), meter("feeder"), meter("order")],
        limits: Vec::new(),
        sources: Vec::new(),
        miners: (0..miners).map(|index| miner(index, 2 + index / PER_CONTAINER)).collect(),
        settings: settings(),
    };
    let all = maximum(&site, None);
    site.settings.raise_rate = WattsPerSecond::saturating(all * 0.02);
    let surplus = Cap::Constant(Watts::ZERO);
    site.limits.push(limit("follow-surplus".into(), 0, Scope::Import, LimitClass::Surplus, surplus));
    let rating = Cap::Constant(Watts::saturating(all * 0.95));
    site.limits.push(limit("feeder-rating".into(), 1, Scope::Import, LimitClass::Safety, rating));
    for container in 2..2 + containers {
        let rating = Cap::Constant(Watts::saturating(maximum(&site, Some(container)) * 0.92));
        let name = format!("rating-{container:02}");
        site.limits.push(limit(name, container, Scope::Miners, LimitClass::Safety, rating));
        let order = Cap::Reading { meter: MeterId(2), fail_safe: Watts::ZERO };
        let name = format!("order-{container:02}");
        site.limits.push(limit(name, container, Scope::Miners, LimitClass::Grid, order));
    }
    site
}

fn settings() -> Settings {
    let seconds = Duration::from_secs;
    Settings {
        observe: false,
        period: seconds(1),
        raise_rate: WattsPerSecond::whole(1),
        import_share: 0.000_4,
        deadband: Some(Watts::whole(500)),
        min_sleep: seconds(30),
        start_timeout: seconds(30),
        horizon: seconds(600),
        rebalance_period: seconds(60),
        straggler_grace: seconds(15),
    }
}
