//! Sites and miners for the tests of the control law.

use std::time::Duration;

use crate::control::site::{
    Actuator, AnswerWithin, Cap, ChangeCost, Circuit, CircuitId, Limit, LimitClass, LoadClass, Meter,
    MeterId, Miner, OperatingPoint, Response, Scope, Settings, Site,
};
use crate::units::{Hashrate, Watts, WattsPerSecond};

/// Settings of a brisk site.
pub(crate) fn settings() -> Settings {
    Settings {
        observe: false,
        period: Duration::from_secs(1),
        raise_rate: WattsPerSecond::whole(10_000),
        import_share: 0.000_8,
        deadband: None,
        min_sleep: Duration::from_secs(30),
        start_timeout: Duration::from_secs(10),
        horizon: Duration::from_secs(600),
        rebalance_period: Duration::from_secs(60),
        straggler_grace: Duration::from_secs(10),
    }
}

/// Operating points from (watts, terahashes per second).
pub(crate) fn curve(points: &[(i32, f64)]) -> Vec<OperatingPoint> {
    points
        .iter()
        .map(|&(power, hashrate)| OperatingPoint {
            power: Watts::whole(power),
            hashrate: Hashrate::terahashes(hashrate),
        })
        .collect()
}

/// A miner that can be set finely and follows within seconds.
pub(crate) fn miner(name: &str, circuit: usize) -> Miner {
    Miner {
        name: name.into(),
        driver: "test",
        circuit: CircuitId(circuit),
        points: curve(&[(1_400, 80.0), (2_200, 122.0), (2_800, 150.0), (3_400, 172.0)]),
        class: LoadClass::Miner,
        contract: None,
        sleeps: true,
        notice: Duration::ZERO,
        answer_within: AnswerWithin::NONE,
        restarts: false,
        sleep: Watts::whole(20),
        nameplate: Watts::whole(3_600),
        actuator: Actuator::Continuous { quantum: Watts::whole(10) },
        response: Response {
            dead_time_down: Duration::from_secs(1),
            dead_time_up: Duration::from_secs(1),
            ramp_down: WattsPerSecond::whole(1_500),
            ramp_up: WattsPerSecond::whole(800),
            start_time: Duration::from_secs(20),
            starts_at_full: false,
            start_overshoot: 0.05,
            caps: false,
        },
        cost: ChangeCost {
            adjust: Duration::from_secs(1),
            sleep: Duration::from_secs(120),
            min_interval: Duration::from_secs(2),
        },
        poll_period: Duration::from_secs(2),
        silent_after: Duration::from_secs(15),
    }
}

/// A circuit without a meter.
pub(crate) fn circuit(name: &str, parent: Option<usize>) -> Circuit {
    Circuit {
        name: name.into(),
        parent: parent.map(CircuitId),
        meter: None,
        dedicated: false,
        margin: Watts::ZERO,
        other_load: Watts::ZERO,
        fail_safe: Watts::ZERO,
        interlock: None,
        emergency_stop: None,
        breaker: None,
    }
}

/// A meter that is read every second.
pub(crate) fn meter(name: &str) -> Meter {
    Meter {
        name: name.into(),
        period: Duration::from_secs(1),
        lag: Duration::ZERO,
        learn_lag: true,
        stale_after: Duration::from_secs(4),
        fail_safe_after: Duration::from_secs(14),
        combined: None,
    }
}

/// A constant limit.
pub(crate) fn limit(name: &str, circuit: usize, scope: Scope, class: LimitClass, watts: i32) -> Limit {
    Limit {
        name: name.into(),
        circuit: CircuitId(circuit),
        scope,
        class,
        cap: Cap::Constant(Watts::whole(watts)),
        condition: None,
    }
}

/// A root with a meter that may not import, and two containers below it with `count` miners each.
pub(crate) fn site(count: usize) -> Site {
    let mut root = circuit("pcc", None);
    root.meter = Some(MeterId(0));
    root.margin = Watts::whole(1_000);
    Site {
        name: "test".into(),
        circuits: vec![root, circuit("north", Some(0)), circuit("south", Some(0))],
        meters: vec![meter("pcc")],
        sources: Vec::new(),
        limits: vec![limit("follow", 0, Scope::Import, LimitClass::Surplus, 0)],
        miners: (0..2 * count).map(|index| miner(&format!("m{index}"), 1 + index % 2)).collect(),
        settings: settings(),
    }
}
