//! A small site in the middle of a cycle, for tests and benches.

use std::sync::Arc;
use std::time::Duration;

use ballast::clock::{Clock, Moment};
use ballast::control::decision::{
    Binding, CircuitDecision, Decision, Energy, FleetDecision, LimitValue, MinerDecision, MinerState, Mode,
    Source,
};
use ballast::control::lead::Lead;
use ballast::control::site::{
    Actuator, AnswerWithin, Cap, ChangeCost, Circuit, CircuitId, Limit, LimitClass, LimitId, LoadClass,
    Meter, MeterId, Miner, OperatingPoint, Response, Scope, Settings, Site,
};
use ballast::control::snapshot::{
    Activity, Contact, Measured, MeterInput, MeterStatus, MinerInput, MinerStatus, Reading, Snapshot, Target,
};
use ballast::metrics::Exporter;
use ballast::units::{Hashrate, Joules, Watts, WattsPerSecond};

pub const SECOND: Duration = Duration::from_secs(1);

fn circuit(name: &str, parent: Option<usize>, meter: Option<usize>) -> Circuit {
    Circuit {
        name: name.into(),
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
        period: SECOND,
        lag: Duration::ZERO,
        learn_lag: true,
        stale_after: 3 * SECOND,
        fail_safe_after: 10 * SECOND,
        combined: None,
    }
}

fn limit(name: &str, circuit: usize, class: LimitClass, cap: f64) -> Limit {
    Limit {
        name: name.into(),
        circuit: CircuitId(circuit),
        scope: Scope::Import,
        class,
        cap: Cap::Constant(Watts::kilowatts(cap)),
        condition: None,
    }
}

fn miner(index: usize) -> Miner {
    Miner {
        name: format!("rack-{:03}-{:02}", index / 40, index % 40),
        driver: if index.is_multiple_of(2) { "whatsminer-v3" } else { "braiins-os" },
        circuit: CircuitId(1),
        points: vec![OperatingPoint { power: Watts::whole(3_400), hashrate: Hashrate::terahashes(171.0) }],
        class: LoadClass::Miner,
        contract: None,
        sleeps: true,
        notice: Duration::ZERO,
        answer_within: AnswerWithin::NONE,
        restarts: false,
        sleep: Watts::whole(20),
        nameplate: Watts::whole(3_600),
        actuator: Actuator::OnOff,
        response: Response {
            dead_time_down: SECOND,
            dead_time_up: SECOND,
            ramp_down: WattsPerSecond::whole(2_000),
            ramp_up: WattsPerSecond::whole(1_000),
            start_time: 60 * SECOND,
            starts_at_full: false,
            start_overshoot: 0.05,
            caps: false,
        },
        cost: ChangeCost { adjust: SECOND, sleep: 300 * SECOND, min_interval: 2 * SECOND },
        poll_period: 5 * SECOND,
        silent_after: 15 * SECOND,
    }
}

/// Two circuits, three meters (the second never answered), three limits.
pub fn site(miners: usize) -> Site {
    Site {
        name: "Mill Creek".into(),
        circuits: vec![circuit("pcc", None, Some(0)), circuit("container", Some(0), None)],
        meters: vec![meter("pcc"), meter("dead"), meter("pv")],
        sources: Vec::new(),
        limits: vec![
            limit("follow-surplus", 0, LimitClass::Surplus, 0.0),
            limit("main-breaker", 0, LimitClass::Safety, 400.0),
            limit("container-feeder", 1, LimitClass::Safety, 350.0),
        ],
        miners: (0..miners).map(miner).collect(),
        settings: Settings {
            observe: false,
            period: SECOND,
            raise_rate: WattsPerSecond::whole(10_000),
            import_share: 0.000_4,
            deadband: Some(Watts::whole(100)),
            min_sleep: 60 * SECOND,
            start_timeout: 10 * SECOND,
            horizon: 300 * SECOND,
            rebalance_period: 60 * SECOND,
            straggler_grace: 5 * SECOND,
        },
    }
}

/// All miners hash, but for: 1 asleep, 2 unreachable, 3 a straggler without hashrate, 4 never asked.
pub fn snapshot(site: &Site, now: Moment) -> Snapshot {
    let ok = |watts: f64| {
        MeterInput::new(MeterStatus::Ok, Some(Reading { value: Watts::kilowatts(watts), at: now }))
    };
    let dead = MeterInput::new(MeterStatus::Unreachable, None);
    let miners = (0..site.miners.len()).map(|index| match index {
        2 => MinerInput { contact: Contact::Unreachable { since: now }, ..hashing(now) },
        3 => MinerInput {
            status: Some(Reading {
                value: MinerStatus {
                    power: Measured::Value(Watts::whole(3_390)),
                    hashrate: Measured::Unavailable,
                    ..MinerStatus::default()
                },
                at: now,
            }),
            ..hashing(now)
        },
        4 => MinerInput::PENDING,
        _ => hashing(now),
    });
    Snapshot::new(now, vec![ok(-7.5), dead, ok(-312.4)], miners.collect())
}

fn hashing(now: Moment) -> MinerInput {
    MinerInput {
        contact: Contact::Reachable,
        status: Some(Reading {
            value: MinerStatus {
                power: Measured::Value(Watts::whole(3_412)),
                hashrate: Measured::Value(Hashrate::terahashes(171.3)),
                activity: Activity::Hashing,
                ..MinerStatus::default()
            },
            at: now,
        }),
        delivery: None,
    }
}

fn on(cap: f64, limit: usize) -> LimitValue {
    LimitValue {
        source: Source::Limit(LimitId(limit)),
        cap: Some(Watts::kilowatts(cap)),
        headroom: Watts::kilowatts(306.1),
        acts: true,
    }
}

/// Follows the surplus; the names and numbers are those of [`site`].
pub fn decision(site: &Site, at: Moment) -> Decision {
    let one = |limits: Vec<LimitValue>, power: Option<f64>, binding: usize| CircuitDecision {
        power: power.map(Watts::kilowatts),
        other: Watts::kilowatts(-312.4),
        miners: Watts::kilowatts(304.9),
        limits,
        headroom: Watts::kilowatts(306.1),
        budget: Watts::kilowatts(306.1),
        binding: Source::Limit(LimitId(binding)),
        setpoint: Watts::kilowatts(305.0),
        shortfall: Watts::ZERO,
        asleep: Watts::ZERO,
        breaker: None,
        emergency_stop: None,
    };
    let miners = (0..site.miners.len()).map(|index| {
        let (state, setpoint) = match index {
            1 => (MinerState::Asleep, Some(Target::Sleep)),
            2 => (MinerState::Unreachable, Some(Target::Sleep)),
            3 => (MinerState::Straggler, Some(Target::Sleep)),
            4 => (MinerState::Pending, None),
            _ => (MinerState::Hashing, Some(Target::Power(Watts::whole(3_400)))),
        };
        MinerDecision {
            state,
            draw: Watts::whole(3_412),
            counted: Watts::whole(3_600),
            hashrate: Hashrate::terahashes(171.3),
            setpoint,
            settled: match setpoint {
                Some(Target::Power(power)) => power,
                _ => Watts::whole(20),
            },
        }
    });
    Decision {
        lead: Lead::Alone,
        at,
        mode: Mode::Following,
        would_be: Mode::Following,
        binding: Binding {
            circuit: CircuitId(0),
            source: Source::Limit(LimitId(0)),
            budget: Watts::kilowatts(306.1),
        },
        fleet: FleetDecision {
            draw: Watts::kilowatts(304.9),
            setpoint: Watts::kilowatts(305.0),
            budget: Watts::kilowatts(306.1),
            target: Watts::kilowatts(306.0),
            hashrate: Hashrate::terahashes(16_200.0),
            shortfall: Watts::ZERO,
            surplus: Watts::kilowatts(312.4),
            optimality_gap: 0.000_4,
            left: Watts::kilowatts(5.7),
            left_for: 40 * SECOND,
        },
        circuits: vec![one(vec![on(0.0, 0), on(400.0, 1)], Some(-7.5), 0), one(vec![on(350.0, 2)], None, 2)],
        meters: Vec::new(),
        miners: miners.collect(),
        commands: Vec::new(),
        breakers: Vec::new(),
        responses: Vec::new(),
        waiting: None,
        energy: Energy {
            surplus: Joules::saturating(4.0e9),
            captured: Joules::saturating(3.9e9),
            imported: Joules::saturating(1.0e6),
            curtailed: Joules::saturating(5.0e7),
        },
    }
}

/// An exporter to which nothing was published yet, and its clock.
pub fn silent(miners: usize) -> (Exporter, Clock) {
    let clock = Clock::start();
    (Exporter::new(Arc::new(site(miners)), clock).unwrap(), clock)
}

/// An exporter to which one cycle of now was published.
pub fn running(miners: usize) -> (Exporter, Clock) {
    let (exporter, clock) = silent(miners);
    publish(&exporter, |_, _| {});
    exporter.observe_cycle(Duration::from_millis(3));
    (exporter, clock)
}

/// Publishes a cycle of now, changed as wanted.
pub fn publish(exporter: &Exporter, change: impl FnOnce(&mut Snapshot, &mut Decision)) {
    let (site, now) = (exporter.site(), exporter.clock().now());
    let (mut snapshot, mut decision) = (snapshot(&site, now), decision(&site, now));
    change(&mut snapshot, &mut decision);
    exporter.publish(Arc::new(snapshot), Arc::new(decision));
}

/// What Prometheus would read.
pub fn text(exporter: &Exporter) -> String {
    String::from_utf8(exporter.render().unwrap()).unwrap()
}
