//! The control law on any site with any history of readings, answers and orders. Whatever it is told: figures stay finite,
//! nobody is asked for what they cannot do, the same input gives the same output, an order to draw nothing is obeyed in the
//! same cycle, and a fleet is back after a while of sound readings and room.
#![no_main]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ballast::clock::Moment;
use ballast::control::decision::{Decision, MinerState, Mode};
use ballast::control::site::{
    Actuator, Breaker, Cap, ChangeCost, Circuit, CircuitId, Condition, EmergencyStop, Interlock, Limit, LimitClass,
    LoadClass, Meter, MeterId, Miner, OpensBreaker, OperatingPoint, Response, Scope, Settings, Site,
};
use ballast::control::snapshot::{
    Activity, Contact, Delivery, Measured, MeterInput, MeterStatus, MinerInput, MinerStatus, Outcome,
    Reading, Rejection, Snapshot, Target,
};
use ballast::control::{State, step};
use ballast::units::{Hashrate, Watts, WattsPerSecond};
use libfuzzer_sys::fuzz_target;

/// Reads an input from its front; past its end it gives zeros.
struct Bytes<'b>(&'b [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    fn often(&mut self) -> bool {
        self.byte() % 8 != 1
    }

    /// Any watts: mostly of the size of the site, now and then beyond all sense.
    fn watts(&mut self) -> f64 {
        let raw = i16::from_be_bytes([self.byte(), self.byte()]);
        match self.byte() {
            255 => f64::MAX,
            254 => f64::MIN,
            253 => 2_147_483_647.0,
            252 => -0.0,
            shift if shift > 240 => f64::from(raw) * 1e3,
            _ => f64::from(raw) * 2.0,
        }
    }
}

fn seconds(value: u64) -> Duration {
    Duration::from_secs(value)
}

fn miner(bytes: &mut Bytes<'_>, index: usize, circuits: usize) -> Miner {
    let curve = |points: &[(i32, f64)]| -> Vec<OperatingPoint> {
        let point = |&(power, hashrate): &(i32, f64)| OperatingPoint {
            power: Watts::whole(power),
            hashrate: Hashrate::terahashes(hashrate),
        };
        points.iter().map(point).collect()
    };
    let full = curve(&[(1_400, 80.0), (2_200, 122.0), (2_800, 150.0), (3_400, 172.0)]);
    let kind = bytes.byte();
    let (actuator, points, nameplate) = match kind % 8 {
        0..=3 => (Actuator::Continuous { quantum: Watts::whole(10) }, full, 3_600),
        4 => (Actuator::Steps, curve(&[(900, 45.0), (1_300, 63.0), (2_100, 96.0)]), 2_400),
        5 => (Actuator::OnOff, full, 3_600),
        6 => (Actuator::Continuous { quantum: Watts::whole(1) }, curve(&[(12, 0.5), (20, 0.9)]), 25),
        _ => (Actuator::Fixed, full, 3_600),
    };
    let class = LoadClass::ALL[usize::from(bytes.byte() >> 4) % LoadClass::ALL.len()];
    let contract = (class == LoadClass::Guaranteed).then(|| points[points.len() / 2].power);
    Miner {
        name: format!("m{index}"),
        driver: "test",
        circuit: CircuitId(bytes.below(circuits)),
        points,
        class,
        contract,
        sleeps: class <= LoadClass::Interruptible,
        notice: seconds(if class == LoadClass::Interruptible { 20 } else { 0 }),
        answer_within: seconds(if class == LoadClass::Interruptible { 5 } else { 0 }),
        sleep: Watts::whole(if nameplate < 100 { 1 } else { 20 }),
        nameplate: Watts::whole(nameplate),
        actuator,
        response: Response {
            dead_time_down: seconds(u64::from(kind >> 6)),
            dead_time_up: seconds(u64::from(kind >> 6)),
            ramp_down: WattsPerSecond::whole(1_500),
            ramp_up: WattsPerSecond::whole(800),
            start_time: seconds(20),
            starts_at_full: kind & 16 != 0,
            start_overshoot: 0.05,
            caps: false,
        },
        cost: ChangeCost { adjust: seconds(1), sleep: seconds(120), min_interval: seconds(2) },
        poll_period: seconds(2),
        silent_after: seconds(15),
    }
}

fn site(bytes: &mut Bytes<'_>) -> Site {
    let circuits = 1 + bytes.below(4);
    let metered = bytes.byte();
    let meters: usize = 2;
    let circuit = |index: usize, bytes: &mut Bytes<'_>| Circuit {
        name: format!("c{index}"),
        parent: (index > 0).then(|| CircuitId(bytes.below(index))),
        meter: (index < meters && metered & (1 << index) != 0).then_some(MeterId(index)),
        dedicated: index == 1 && metered & 4 != 0,
        margin: Watts::whole(i32::from(bytes.byte()) * 4),
        other_load: Watts::whole(i32::from(bytes.byte()) * 8),
        fail_safe: Watts::whole(i32::from(bytes.byte()) * 16),
        interlock: (index == 2 && metered & 8 != 0)
            .then_some(Interlock { meter: MeterId(0), at_least: Watts::whole(100) }),
        breaker: (index == 2 && metered & 16 != 0).then_some(Breaker { after: seconds(5) }),
        // Its contact is whatever the meter says, watts or not: it is open most of the time where it is there.
        emergency_stop: (index == 3 && metered & 32 != 0)
            .then_some(EmergencyStop { meter: MeterId(1), opens_breaker: OpensBreaker::WhenOpen }),
    };
    let circuits: Vec<Circuit> = (0..circuits).map(|index| circuit(index, bytes)).collect();
    let limit = |index: usize, bytes: &mut Bytes<'_>| {
        let kind = bytes.byte();
        let cap = Watts::whole((i32::from(bytes.byte()) - 16) * 200);
        Limit {
            name: format!("l{index}"),
            circuit: CircuitId(bytes.below(circuits.len())),
            scope: if kind & 1 == 0 { Scope::Import } else { Scope::Miners },
            class: [LimitClass::Surplus, LimitClass::Surplus, LimitClass::Safety, LimitClass::Grid]
                [usize::from(kind >> 1) % 4],
            cap: if kind & 8 == 0 {
                Cap::Constant(cap)
            } else {
                Cap::Reading { meter: MeterId(1), fail_safe: cap }
            },
            condition: (kind & 48 == 48).then_some(Condition { meter: MeterId(1), below: 0.3, until: 0.6 }),
        }
    };
    let limits = (0..bytes.below(4)).map(|index| limit(index, bytes)).collect();
    let miners = (0..1 + bytes.below(8)).map(|index| miner(bytes, index, circuits.len())).collect();
    let meter = |index: usize| Meter {
        name: format!("meter{index}"),
        period: seconds(1),
        lag: Duration::ZERO,
        learn_lag: metered & 32 == 0,
        stale_after: seconds(4),
        fail_safe_after: seconds(14),
        combined: None,
    };
    Site {
        name: "any".into(),
        meters: (0..meters).map(meter).collect(),
        sources: Vec::new(),
        limits,
        miners,
        settings: Settings {
            observe: metered & 192 == 192,
            period: seconds(1),
            raise_rate: WattsPerSecond::whole(10_000),
            import_share: 0.000_8,
            deadband: None,
            min_sleep: seconds(30),
            start_timeout: seconds(10),
            horizon: seconds(600),
            rebalance_period: seconds(60),
            straggler_grace: seconds(10),
        },
        circuits,
    }
}

/// What is heard in one cycle. What is not heard anew stays as it was.
fn hear(site: &Site, bytes: &mut Bytes<'_>, before: &Snapshot, last: Option<&Decision>) -> Snapshot {
    let now = before.now + Duration::from_millis(200 + 16 * u64::from(bytes.byte()));
    let mut snapshot = before.clone();
    snapshot.now = now;
    for meter in &mut snapshot.meters {
        match bytes.byte() % 16 {
            1 => meter.status = MeterStatus::Unreachable,
            2 => meter.status = MeterStatus::Implausible,
            3 => {}
            kind => {
                let value = Watts::saturating(bytes.watts());
                *meter = MeterInput::new(MeterStatus::Ok, Some(Reading { value, at: now }));
                meter.at_most = kind == 4;
                meter.refresh = (kind == 5).then(|| seconds(10));
            }
        }
    }
    for (index, (input, spec)) in snapshot.miners.iter_mut().zip(&site.miners).enumerate() {
        if let Some(command) = last.and_then(|last| last.commands.iter().find(|sent| sent.miner.0 == index)) {
            let outcome = match bytes.byte() % 8 {
                1 => Outcome::Unknown,
                2 => Outcome::Rejected(Rejection::Busy),
                3 => Outcome::Rejected(Rejection::OutOfRange),
                4 => Outcome::InFlight,
                _ => Outcome::Accepted,
            };
            input.delivery =
                Some(Delivery { sequence: command.sequence, target: command.target, at: now, outcome });
        }
        if !bytes.often() {
            input.contact = Contact::Unreachable { since: now };
            continue;
        }
        let kind = bytes.byte();
        if kind % 16 == 15 {
            continue;
        }
        let activity = match kind % 16 {
            1 => Activity::Starting,
            2 | 3 => Activity::Asleep,
            4 => Activity::Fault("fan".into()),
            5 => Activity::Unknown,
            _ => Activity::Hashing,
        };
        let share = f64::from(bytes.byte()) / 200.0;
        let watts = spec.nameplate.scaled(if kind > 250 { share * 1e6 } else { share });
        let status = MinerStatus {
            power: if kind & 16 == 0 { Measured::Value(watts) } else { Measured::Unsupported },
            hashrate: Measured::Value(Hashrate::terahashes(watts.get() / 20.0)),
            activity,
            target: Measured::Unsupported,
            range: (kind & 96 == 96).then(|| (spec.minimum().scaled(1.2), spec.maximum().scaled(0.9))),
            uptime: Some(seconds(u64::from(kind) * 7)),
            points: None,
        };
        input.contact = Contact::Reachable;
        input.status = Some(Reading { value: status, at: now });
    }
    snapshot
}

fn movable(spec: &Miner, state: MinerState) -> bool {
    spec.actuator != Actuator::Fixed
        && matches!(state, MinerState::Hashing | MinerState::Starting | MinerState::Asleep)
}

fn check(site: &Site, before: &State, snapshot: &Snapshot, decision: &Decision) {
    for circuit in &decision.circuits {
        for watts in [circuit.other, circuit.miners, circuit.budget, circuit.setpoint, circuit.shortfall] {
            assert!(watts.get().is_finite(), "{circuit:?}");
        }
        let hair = site.miners.iter().map(|miner| miner.nameplate).sum::<Watts>().scaled(0.002);
        let over = circuit.setpoint - circuit.budget;
        assert!(
            decision.would_be == Mode::StartUp
                || over <= hair + Watts::saturating(0.01)
                || circuit.shortfall > Watts::ZERO,
            "{over} over without a word: {circuit:?}"
        );
    }
    assert!(decision.fleet.target.get().is_finite() && decision.fleet.left.get().is_finite());
    let mut told = BTreeSet::new();
    for command in &decision.commands {
        let spec = &site.miners[command.miner.0];
        assert!(!site.settings.observe && spec.actuator != Actuator::Fixed && told.insert(command.miner));
        assert!(spec.sleeps || command.target != Target::Sleep, "{spec:?} is told to sleep");
        if let Target::Power(power) = command.target {
            assert!(power >= spec.minimum() && power <= spec.nameplate, "{power} for {spec:?}");
        }
    }
    if snapshot.now.since_start().as_millis() % 8 == 0 {
        assert_eq!(&step(&mut before.clone(), snapshot), decision, "the same input gives the same output");
    }
    if snapshot.now.since_start().as_millis() % 4 == 1 && decision.would_be != Mode::StartUp {
        let mut nothing = site.clone();
        nothing.limits.push(Limit {
            name: "nothing".into(),
            circuit: CircuitId(0),
            scope: Scope::Miners,
            class: LimitClass::Safety,
            cap: Cap::Constant(Watts::ZERO),
            condition: None,
        });
        // As a reload does it.
        let mut state = State::new(Arc::new(nothing));
        state.inherit(before);
        let lower = step(&mut state, snapshot);
        if lower.would_be == Mode::StartUp {
            return;
        }
        for (spec, miner) in site.miners.iter().zip(&lower.miners) {
            if spec.sleeps && movable(spec, miner.state) && miner.setpoint.is_some() {
                assert_eq!(miner.setpoint, Some(Target::Sleep), "{miner:?}");
            }
        }
    }
}

/// Sound readings, miners that obey within a second, and room for all: what remains is the history.
fn recover(site: &Site, state: &mut State, mut snapshot: Snapshot, mut last: Option<Decision>) {
    // Only what a meter at its own circuit sees to leave room is sure to have some.
    let roomy = |limit: &Limit| {
        let circuit = &site.circuits[limit.circuit.0];
        limit.scope == Scope::Import
            && limit.condition.is_none()
            && matches!(limit.cap, Cap::Constant(_))
            && circuit.meter.is_some()
            && !circuit.dedicated
    };
    let unlimited = site.limits.iter().all(roomy);
    if !unlimited || site.settings.observe || site.circuits.iter().any(|circuit| circuit.breaker.is_some()) {
        return;
    }
    let mut draws: Vec<f64> = site.miners.iter().map(|miner| miner.maximum().get()).collect();
    let mut tree: Vec<f64> = Vec::new();
    for second in 0..1_500_u64 {
        snapshot.now = snapshot.now + seconds(1);
        let now = snapshot.now;
        for (index, (draw, spec)) in draws.iter_mut().zip(&site.miners).enumerate() {
            let command =
                last.as_ref().and_then(|last| last.commands.iter().find(|sent| sent.miner.0 == index));
            if let Some(command) = command {
                *draw = match command.target {
                    Target::Sleep => spec.sleep.get(),
                    Target::Power(power) => power.get(),
                };
                snapshot.miners[index].delivery = Some(Delivery {
                    sequence: command.sequence,
                    target: command.target,
                    at: now,
                    outcome: Outcome::Accepted,
                });
            }
            let asleep = *draw <= spec.sleep.get();
            snapshot.miners[index].contact = Contact::Reachable;
            snapshot.miners[index].status = Some(Reading {
                value: MinerStatus {
                    power: Measured::Value(Watts::saturating(*draw)),
                    activity: if asleep { Activity::Asleep } else { Activity::Hashing },
                    uptime: Some(seconds(100_000 + second)),
                    ..MinerStatus::default()
                },
                at: now,
            });
        }
        tree.clear();
        tree.resize(site.circuits.len(), 0.0);
        for (draw, spec) in draws.iter().zip(&site.miners) {
            let mut circuit = Some(spec.circuit);
            while let Some(CircuitId(index)) = circuit {
                tree[index] += draw;
                circuit = site.circuits[index].parent;
            }
        }
        // Ten times what there is to draw flows out, a little more or less each second.
        let flicker = f64::from(u32::try_from(second % 7).unwrap_or(0));
        for (index, meter) in snapshot.meters.iter_mut().enumerate() {
            let other = if index == 1 && site.circuits.get(1).is_some_and(|circuit| circuit.dedicated) {
                0.0
            } else {
                -400e3
            };
            let value = Watts::saturating(tree.get(index).copied().unwrap_or(0.0) + other + flicker);
            *meter = MeterInput::new(MeterStatus::Ok, Some(Reading { value, at: now }));
        }
        last = Some(step(state, &snapshot));
    }
    // One that did not move when it was told to is left alone for half an hour.
    let deaf = |index: usize| {
        let state = last.as_ref().and_then(|last| last.miners.get(index)).map(|miner| miner.state);
        state == Some(MinerState::Straggler)
    };
    let heard = site.miners.iter().zip(&draws).enumerate().filter(|(index, _)| !deaf(*index));
    let (all, now) =
        heard.fold((0.0, 0.0), |(all, now), (_, (miner, draw))| (all + miner.maximum().get(), now + draw));
    let caps = site.circuits.iter().any(|circuit| {
        circuit.interlock.is_some() || circuit.meter.is_none() && circuit.other_load > Watts::ZERO
    });
    assert!(
        caps || now >= all * 0.8,
        "{now} of {all} W after a while of room: {:?}",
        last.map(|last| (last.binding, last.miners, last.circuits))
    );
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Bytes(bytes);
    let site = site(&mut bytes);
    let shared = Arc::new(site.clone());
    let mut state = State::new(shared);
    let now = Moment::after_start(seconds(50));
    let meters = vec![MeterInput::PENDING; site.meters.len()];
    let mut snapshot = Snapshot::new(now, meters, vec![MinerInput::PENDING; site.miners.len()]);
    let mut last = None;
    let mut cycles = 0;
    while !bytes.0.is_empty() && cycles < 400 {
        cycles += 1;
        snapshot = hear(&site, &mut bytes, &snapshot, last.as_ref());
        let before = state.clone();
        let decision = step(&mut state, &snapshot);
        check(&site, &before, &snapshot, &decision);
        last = Some(decision);
    }
    if cycles % 8 == 3 {
        recover(&site, &mut state, snapshot, last);
    }
});
