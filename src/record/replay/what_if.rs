//! What another configuration would have decided on what was recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::{Difference, Discrepancy, MOST_TOLD, Segments, Window, command, decide, impossible, name};
use crate::control::decision::{Cause, Command};
use crate::control::site::{CircuitId, MinerId, Site, SourceId};
use crate::control::snapshot::{
    Delivery, HeldMiner, MeterInput, MinerInput, OrderCap, Outcome as Answer, Snapshot, Target, hold_of,
};
use crate::control::{Decision, State};
use crate::record::segment::{Reason, RecordError, Segment};

/// What two configurations would have come to, over the same time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Mean budget of the fleet, in watts.
    pub budget: f64,
    /// Mean of what the fleet is set to, in watts.
    pub setpoint: f64,
    /// Commands.
    pub commands: u64,
    /// Commands to sleep among them.
    pub sleeps: u64,
    /// Of each circuit by name, its mean budget in watts.
    pub circuits: BTreeMap<String, f64>,
}

/// What another configuration would have done with the same inputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WhatIf {
    /// Cycles in the window.
    pub cycles: u64,
    /// As recorded.
    pub recorded: Tally,
    /// With the other configuration.
    pub other: Tally,
    /// The first cycle in which the budget differs by a watt or more, or other commands are sent.
    pub first: Option<Difference>,
    /// What is in the record alone, by name.
    pub only_recorded: BTreeSet<String>,
    /// What is in the other configuration alone, by name: nothing was ever heard of it, so it counts as what it may draw.
    pub only_other: BTreeSet<String>,
    /// What could not be read.
    pub damaged: Vec<String>,
}

fn add(tally: &mut Tally, site: &Site, decision: &Decision) {
    tally.budget += decision.fleet.budget.get();
    tally.setpoint += decision.fleet.setpoint.get();
    for command in &decision.commands {
        tally.commands += 1;
        tally.sleeps += u64::from(command.target == Target::Sleep);
    }
    for (circuit, decided) in site.circuits.iter().zip(&decision.circuits) {
        *tally.circuits.entry(circuit.name.clone()).or_default() += decided.budget.get();
    }
}

fn divide(tally: &mut Tally, cycles: u64) {
    let by = f64::from(u32::try_from(cycles.max(1)).unwrap_or(u32::MAX));
    tally.budget /= by;
    tally.setpoint /= by;
    tally.circuits.values_mut().for_each(|value| *value /= by);
}

/// The latest command to each miner.
type Sent = BTreeMap<MinerId, Command>;

/// Where each part of a site is in another one, by name.
struct Match {
    meters: Vec<Option<usize>>,
    miners: Vec<Option<usize>>,
    circuits: Vec<Option<usize>>,
    /// From the recorded to the other one.
    back: BTreeMap<usize, usize>,
    sources: BTreeMap<usize, usize>,
}

fn places<'n>(from: impl Iterator<Item = &'n str>, to: impl Iterator<Item = &'n str>) -> Vec<Option<usize>> {
    let known: BTreeMap<&str, usize> = from.enumerate().map(|(at, name)| (name, at)).collect();
    to.map(|name| known.get(name).copied()).collect()
}

fn turned(places: &[Option<usize>]) -> BTreeMap<usize, usize> {
    places.iter().enumerate().filter_map(|(to, from)| Some(((*from)?, to))).collect()
}

fn devices(site: &Site) -> impl Iterator<Item = &str> {
    site.meters.iter().filter(|meter| meter.combined.is_none()).map(|meter| meter.name.as_str())
}

fn miners(site: &Site) -> impl Iterator<Item = &str> {
    site.miners.iter().map(|miner| miner.name.as_str())
}

fn circuits(site: &Site) -> impl Iterator<Item = &str> {
    site.circuits.iter().map(|circuit| circuit.name.as_str())
}

fn sources(site: &Site) -> impl Iterator<Item = &str> {
    site.sources.iter().map(|source| source.name.as_str())
}

impl Match {
    fn new(recorded: &Site, other: &Site) -> Self {
        let circuits = places(circuits(recorded), circuits(other));
        Self {
            meters: places(devices(recorded), devices(other)),
            miners: places(miners(recorded), miners(other)),
            back: turned(&circuits),
            circuits,
            sources: turned(&places(sources(recorded), sources(other))),
        }
    }

    /// What the other site would have been told. A command that was sent as recorded is answered as recorded; another one
    /// counts as accepted at once.
    fn told(&self, snapshot: &Snapshot, recorded: &Sent, sent: &Sent) -> Snapshot {
        let meter = |from: &Option<usize>| {
            from.and_then(|from| snapshot.meters.get(from)).copied().unwrap_or(MeterInput::PENDING)
        };
        let miner = |(at, from): (usize, &Option<usize>)| {
            let input = from.and_then(|from| snapshot.miners.get(from)).cloned();
            let mut input = input.unwrap_or(MinerInput::PENDING);
            let own = from.and_then(|from| recorded.get(&MinerId(from)));
            if let Some(command) = sent.get(&MinerId(at)).filter(|command| own != Some(command)) {
                input.delivery = Some(Delivery {
                    sequence: command.sequence,
                    target: command.target,
                    at: snapshot.now,
                    outcome: Answer::Accepted,
                });
            }
            input
        };
        let breaker = |from: &Option<usize>| {
            let input = from.and_then(|from| snapshot.breakers.get(from)).cloned();
            input.unwrap_or(MinerInput::PENDING)
        };
        let order = |order: &OrderCap| {
            let source = SourceId(*self.sources.get(&order.source.0)?);
            let circuit = CircuitId(*self.back.get(&order.active.circuit.0)?);
            let active = crate::control::signal::Active { circuit, ..order.active.clone() };
            Some(OrderCap { source, active })
        };
        let back = |circuit: &CircuitId| Some(CircuitId(*self.back.get(&circuit.0)?));
        Snapshot {
            released: snapshot.released.iter().filter_map(back).collect(),
            latched: snapshot.latched.iter().filter_map(back).collect(),
            now: snapshot.now,
            lead: snapshot.lead,
            meters: self.meters.iter().map(meter).collect(),
            miners: self.miners.iter().enumerate().map(miner).collect(),
            orders: snapshot.orders.iter().filter_map(order).collect(),
            breakers: self.circuits.iter().map(breaker).collect(),
            holds: self
                .miners
                .iter()
                .enumerate()
                .filter_map(|(here, there)| {
                    let hold = hold_of(&snapshot.holds, MinerId((*there)?))?;
                    Some(HeldMiner { miner: MinerId(here), hold })
                })
                .collect(),
        }
    }
}

/// What is in the first of two sites alone.
fn only(one: &Site, other: &Site) -> BTreeSet<String> {
    let both: [(&str, BTreeSet<&str>, BTreeSet<&str>); 4] = [
        ("meter", devices(one).collect(), devices(other).collect()),
        ("miner", miners(one).collect(), miners(other).collect()),
        ("circuit", circuits(one).collect(), circuits(other).collect()),
        ("source", sources(one).collect(), sources(other).collect()),
    ];
    let each = both
        .iter()
        .flat_map(|(kind, one, other)| one.difference(other).map(move |name| format!("{kind} {name}")));
    each.collect()
}

/// Runs another site's configuration over what was recorded. Miners, meters, circuits and sources are matched by name. What
/// was recorded does not answer to what the other configuration commands.
///
/// # Errors
/// Nothing of it can be read, or the site has none of the recorded miners.
pub fn what_if(files: &[PathBuf], window: Window, site: &Arc<Site>) -> Result<WhatIf, RecordError> {
    let mut all = WhatIf::default();
    let mut damaged = Vec::new();
    let mut segments = Segments::new(files, window, &mut damaged);
    let mut stopped = Vec::new();
    let mut carried: Option<(State, Sent, Sent)> = None;
    let mut opened = false;
    while let Some(mut segment) = segments.next() {
        opened = true;
        let mut own = segment.state.clone();
        let goes_on = segment.header.reason == Reason::Turn && segment.header.lost == 0;
        let (mut other, mut recorded, mut sent) = carried.take().filter(|_| goes_on).unwrap_or_else(|| {
            // As it is after a reload, which the same configuration needs none of.
            let mut other = own.clone();
            if *segment.site != **site {
                other = State::new(site.clone());
                other.inherit(&own);
            }
            (other, Sent::new(), Sent::new())
        });
        let places = Match::new(&segment.site, site);
        if places.miners.iter().all(Option::is_none) {
            return Err(RecordError::OtherSite {
                recorded: segment.site.name.clone(),
                other: site.name.clone(),
            });
        }
        all.only_recorded.append(&mut only(&segment.site, site));
        all.only_other.append(&mut only(site, &segment.site));
        let mut number = 0;
        loop {
            let cycle = match segment.next_cycle() {
                Ok(Some(cycle)) if !window.is_after(cycle.wall) => cycle,
                Ok(_) => break,
                Err(error) => {
                    stopped.push(error.to_string());
                    break;
                }
            };
            number += 1;
            let told = places.told(&cycle.snapshot, &recorded, &sent);
            let (Some(before), Some(after)) = (decide(&mut own, &cycle.snapshot), decide(&mut other, &told))
            else {
                stopped.push(impossible(&segment, number));
                break;
            };
            recorded.extend(before.commands.iter().map(|command| (command.miner, *command)));
            sent.extend(after.commands.iter().map(|command| (command.miner, *command)));
            if window.is_before(cycle.wall) {
                continue;
            }
            all.cycles += 1;
            add(&mut all.recorded, &segment.site, &before);
            add(&mut all.other, site, &after);
            if all.first.is_none() {
                let points = apart(&segment.site, &before, site, &after);
                all.first = (!points.is_empty()).then(|| Difference {
                    segment: segment.path().to_owned(),
                    cycle: number,
                    wall: cycle.wall,
                    points,
                });
            }
        }
        carried = Some((other, recorded, sent));
    }
    drop(segments);
    damaged.append(&mut stopped);
    divide(&mut all.recorded, all.cycles);
    divide(&mut all.other, all.cycles);
    match (opened, files) {
        (false, [only]) => Segment::open(only).map(|_| all),
        _ => Ok(WhatIf { damaged, ..all }),
    }
}

/// What two configurations decide differently in a cycle.
fn apart(site: &Site, before: &Decision, other_site: &Site, after: &Decision) -> Vec<Discrepancy> {
    let mut points = Vec::new();
    let (one, other) = (before.fleet.budget, after.fleet.budget);
    if (one.get() - other.get()).abs() >= 1.0 {
        points.push(Discrepancy {
            what: "budget of the fleet".into(),
            recorded: one.to_string(),
            replayed: other.to_string(),
        });
    }
    let named = |site: &Site, decision: &Decision| -> BTreeMap<String, (Target, Cause)> {
        let each =
            decision.commands.iter().map(|it| (name(site, it.miner).to_owned(), (it.target, it.cause)));
        each.collect()
    };
    let (one, other) = (named(site, before), named(other_site, after));
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let commands = names.into_iter().filter(|name| one.get(*name) != other.get(*name));
    points.extend(commands.map(|name| Discrepancy {
        what: format!("command to {name}"),
        recorded: command(one.get(name)),
        replayed: command(other.get(name)),
    }));
    points.truncate(MOST_TOLD);
    points
}
