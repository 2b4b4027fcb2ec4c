//! Turns the last snapshot and decision into metrics. Nothing here waits for a device.
//!
//! A value that is not known has no series: zero watts and no answer are different things.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prometheus::core::Desc;
use prometheus::proto::MetricFamily;

use super::catalogue::{self as names, Definition};
use super::counters::{CommandStats, MeterReads};
use super::family::{Family, number};
use super::meters::meters;
use super::sources::{circuit_name, source_label};
use super::{State, surplus};
use crate::clock::Moment;
use crate::control::classes::by_class;
use crate::control::decision::{BreakerState, Decision, MinerState, Mode, Source};
use crate::control::frame::{Frame, circuit_power};
use crate::control::lead::Lead;
use crate::control::site::{CircuitId, Site};
use crate::control::stop::StopState;
use crate::energy::tally::Totals;
use crate::maintenance::counts;
use crate::units::Watts;

/// Whether every name and label of the catalogue is one that Prometheus takes.
///
/// # Errors
/// Which is not.
pub(super) fn check() -> Result<(), prometheus::Error> {
    for definition in names::ALL {
        let labels = definition.labels.iter().map(|&label| label.to_owned()).collect();
        Desc::new(definition.name.to_owned(), definition.help.to_owned(), labels, HashMap::new())?;
    }
    Ok(())
}

/// All that is told of one state, but for the miners.
pub(super) fn families(state: &State, now: Moment) -> Vec<MetricFamily> {
    let mut families = vec![build_info()];
    // That the configuration was read again changes neither.
    let last = state.frame.as_ref().or(state.before.as_ref()).map(|frame| &frame.decision);
    families.push(mode(last.map_or(Mode::StartUp, |decision| decision.mode)));
    if let Some(frame) = &state.frame {
        fleet(frame, now, &mut families);
        circuits(frame, now, &mut families);
        meters(frame, now, &mut families);
    }
    if let Some(reads) = &state.reads {
        families.push(meter_reads(&state.site, reads.as_ref()));
    }
    if let Some(commands) = &state.commands {
        families.extend(command_stats(commands.as_ref()));
    }
    if let Some(signals) = &state.signals {
        super::signals::signals(&signals.status(), now, &mut families);
    }
    if let Some(record) = &state.record {
        super::record::record(record.health(), &mut families);
    }
    super::heartbeat::heartbeats(&state.heartbeats.list(), now, &mut families);
    if let Some(tally) = &state.tenants {
        tenants(&tally.get(), &mut families);
    }
    if let Some(alarms) = &state.alarms {
        super::alarms::alarms(&alarms.alarms(), &mut families);
    }
    if let Some(counts) = state.mqtt.as_ref().and_then(|mqtt| mqtt.mqtt()) {
        super::mqtt::mqtt(counts, &mut families);
    }
    if let Some(standby) = &state.standby {
        let health = standby.health();
        families.push(lead(last.map_or(Lead::Follows, |decision| decision.lead)));
        families.push(Family::single(&names::STANDBY_PEER_UP, flag(health.peer_up)));
        families.push(Family::single(&names::STANDBY_ADDRESS, flag(health.holds)));
    }
    if let Some(strangers) = state.strangers {
        families.push(Family::single(&names::STRANGERS, number(strangers)));
    }
    families
}

fn build_info() -> MetricFamily {
    let mut family = Family::new(&names::BUILD_INFO);
    family.add(&[env!("CARGO_PKG_VERSION")], 1.0);
    family.finish()
}

pub(super) fn flag(truth: bool) -> f64 {
    if truth { 1.0 } else { 0.0 }
}

fn mode(current: Mode) -> MetricFamily {
    let mut family = Family::with_capacity(&names::MODE, Mode::ALL.len());
    for mode in Mode::ALL {
        family.add(&[mode.name()], flag(mode == current));
    }
    family.finish()
}

fn lead(current: Lead) -> MetricFamily {
    let mut family = Family::with_capacity(&names::LEAD, Lead::ALL.len());
    for lead in Lead::ALL {
        family.add(&[lead.name()], flag(lead == current));
    }
    family.finish()
}

fn fleet(frame: &Frame, now: Moment, families: &mut Vec<MetricFamily>) {
    let Frame { site, snapshot, decision } = frame;
    let fleet = &decision.fleet;
    let mut held = Family::with_capacity(&names::MAINTENANCE_MINERS, 2);
    for (hold, count) in counts(&snapshot.holds) {
        held.add(&[hold.name()], number(u64::try_from(count).unwrap_or(u64::MAX)));
    }
    families.push(held.finish());
    let single = [
        (&names::LAST_CYCLE_AGE, now.since(decision.at).as_secs_f64()),
        (&names::BUDGET, fleet.budget.get()),
        (&names::SHORTFALL, fleet.shortfall.get()),
        (&names::FLEET_POWER, fleet.draw.get()),
        (&names::FLEET_SETPOINT, fleet.setpoint.get()),
        (&names::FLEET_TARGET, fleet.target.get()),
        (&names::FLEET_HASHRATE, fleet.hashrate.get()),
        (&names::OPTIMALITY_GAP, fleet.optimality_gap),
        (&names::FLEET_LEFT, fleet.left.get()),
    ];
    for (definition, value) in single {
        families.push(Family::single(definition, value));
    }

    let waits = decision.waiting.filter(|waiting| !waiting.held.is_turn());
    for (definition, value) in [
        (&names::SURPLUS, surplus(site, decision)),
        (&names::WAKE_NEEDED, waits.map(|waiting| waiting.needs)),
        (&names::WAKE_AVAILABLE, waits.map(|waiting| waiting.there)),
    ] {
        families.extend(value.map(|watts| Family::single(definition, watts.get())));
    }

    let mut binding = Family::new(&names::BINDING);
    binding.add(
        &[circuit_name(site, decision.binding.circuit), &source_label(site, decision.binding.source)],
        1.0,
    );
    families.push(binding.finish());

    classes(frame, families);

    let mut count = Family::with_capacity(&names::MINERS, MinerState::ALL.len());
    for (state, miners) in count_by_state(decision) {
        count.add(&[state.name()], number(miners));
    }
    families.push(count.finish());

    let mut energy = Family::with_capacity(&names::ENERGY, 4);
    for (kind, joules) in [
        ("surplus", decision.energy.surplus),
        ("captured", decision.energy.captured),
        ("imported", decision.energy.imported),
        ("curtailed", decision.energy.curtailed),
    ] {
        energy.add(&[kind], joules.get());
    }
    families.push(energy.finish());
}

fn classes(frame: &Frame, families: &mut Vec<MetricFamily>) {
    let sums = by_class(frame);
    let family = |definition: &'static Definition| Family::with_capacity(definition, sums.len());
    let mut draws = family(&names::CLASS_POWER);
    let mut setpoints = family(&names::CLASS_SETPOINT);
    let mut members = family(&names::CLASS_MEMBERS);
    let mut sheddable = family(&names::CLASS_SHEDDABLE);
    let mut paused = family(&names::CLASS_PAUSED);
    for sum in &sums {
        let class = [sum.class.name()];
        draws.add(&class, sum.draw.get());
        setpoints.add(&class, sum.setpoint.get());
        members.add(&class, number(sum.members));
        sheddable.add(&class, sum.sheddable.get());
        paused.add(&class, number(sum.paused));
    }
    families.extend([draws, setpoints, members, sheddable, paused].map(Family::finish));
}

/// How many miners are in each state; every state is there.
pub(crate) fn count_by_state(decision: &Decision) -> BTreeMap<MinerState, u64> {
    let mut counts: BTreeMap<_, u64> = MinerState::ALL.into_iter().map(|state| (state, 0)).collect();
    for miner in &decision.miners {
        let count = counts.entry(miner.state).or_default();
        *count = count.saturating_add(1);
    }
    counts
}

fn circuits(frame: &Frame, now: Moment, families: &mut Vec<MetricFamily>) {
    let Frame { site, decision, .. } = frame;
    let size = site.circuits.len();
    let family = |definition: &'static Definition| Family::with_capacity(definition, size);
    let mut power = family(&names::CIRCUIT_POWER);
    let mut limit = family(&names::CIRCUIT_LIMIT);
    let mut active = family(&names::LIMIT_ACTIVE);
    let mut headroom = family(&names::CIRCUIT_HEADROOM);
    let mut budget = family(&names::CIRCUIT_BUDGET);
    let mut binding = family(&names::CIRCUIT_BINDING);
    let mut shortfall = family(&names::CIRCUIT_SHORTFALL);
    let mut interlock = family(&names::INTERLOCK_HOLDS);
    let mut breaker = family(&names::BREAKER_STATE);
    let mut stop = family(&names::EMERGENCY_STOP);
    for (index, (circuit, outcome)) in site.circuits.iter().zip(&decision.circuits).enumerate() {
        let name = circuit.name.as_str();
        if let Some(watts) = circuit_power(frame, CircuitId(index), now) {
            power.add(&[name], watts.get());
        }
        // Two series with the same labels would make Prometheus refuse the whole scrape: the tightest stands.
        let mut caps: BTreeMap<_, Watts> = BTreeMap::new();
        for value in outcome.limits.iter().filter(|value| value.acts) {
            if let Some(cap) = value.cap {
                caps.entry(source_label(site, value.source))
                    .and_modify(|lowest| *lowest = lowest.min(cap))
                    .or_insert(cap);
            }
        }
        for (source, cap) in caps {
            limit.add(&[name, &source], cap.get());
        }
        for value in &outcome.limits {
            if let Source::Interlock(_) = value.source {
                interlock.add(&[name], flag(!value.acts));
            }
            let Source::Limit(id) = value.source else { continue };
            if site.limits.get(id.0).is_some_and(|limit| limit.condition.is_some()) {
                active.add(&[name, &source_label(site, value.source)], flag(value.acts));
            }
        }
        // Without any limit of its own a circuit has no headroom to speak of.
        if outcome.limits.iter().any(|value| value.acts) {
            headroom.add(&[name], outcome.headroom.get());
        }
        // What nothing bounds has no value.
        if let Some(bound) = outcome.bound() {
            budget.add(&[name], bound.get());
        }
        binding.add(&[name, &source_label(site, outcome.binding)], 1.0);
        shortfall.add(&[name], outcome.shortfall.get());
        if let Some(now) = outcome.emergency_stop {
            for state in StopState::ALL {
                stop.add(&[name, state.name()], flag(state == now));
            }
        }
        if let Some(now) = outcome.breaker {
            for state in BreakerState::ALL {
                breaker.add(&[name, state.name()], flag(state == now));
            }
        }
    }
    for family in [power, limit, active, headroom, budget, binding, shortfall, interlock, stop, breaker] {
        families.push(family.finish());
    }
}

fn meter_reads(site: &Site, reads: &dyn MeterReads) -> MetricFamily {
    let known: BTreeSet<&str> = site.meters.iter().map(|meter| meter.name.as_str()).collect();
    let mut counts: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
    for row in reads.reads() {
        // A meter that a reload took away would otherwise stay in the metrics for ever.
        if known.contains(row.meter.as_str()) {
            let count = counts.entry((row.meter, row.result)).or_default();
            *count = count.saturating_add(row.count);
        }
    }
    let mut family = Family::with_capacity(&names::METER_READS, counts.len());
    for ((meter, result), count) in counts {
        family.add(&[&meter, result], number(count));
    }
    family.finish()
}

fn command_stats(stats: &dyn CommandStats) -> [MetricFamily; 2] {
    let mut counts: BTreeMap<(&'static str, &'static str), u64> = BTreeMap::new();
    for row in stats.commands() {
        let count = counts.entry((row.driver, row.result)).or_default();
        *count = count.saturating_add(row.count);
    }
    let mut commands = Family::with_capacity(&names::COMMANDS, counts.len());
    for ((driver, result), count) in counts {
        commands.add(&[driver, result], number(count));
    }
    let mut durations = Family::new(&names::COMMAND_DURATION);
    let lanes: BTreeMap<_, _> = stats.durations().into_iter().map(|row| (row.driver, row)).collect();
    for (driver, row) in lanes {
        durations.add_histogram(&[driver], &row);
    }
    [commands.finish(), durations.finish()]
}

/// What each tenant's miners did.
fn tenants(totals: &Totals, families: &mut Vec<MetricFamily>) {
    let mut energy = Family::with_capacity(&names::TENANT_ENERGY, totals.len());
    let mut hashes = Family::with_capacity(&names::TENANT_HASHES, totals.len());
    for (name, total) in totals {
        energy.add(&[name], total.energy.get());
        hashes.add(&[name], total.terahashes * 1e12);
    }
    if !totals.is_empty() {
        families.extend([energy.finish(), hashes.finish()]);
    }
}
