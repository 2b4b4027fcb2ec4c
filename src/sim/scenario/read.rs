//! From TOML to a [`Scenario`].
//!
//! Kinds of events are keys, not a `kind = "…"` field: serde's internally tagged enums lose the place of an error.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::meter_fault;
use super::quantity::{Power, Share, Time};
use super::raw::{Common, RawEvent, RawLoad, RawMetering, RawMiners, RawReading, RawScenario, RawSun};
use super::{
    Change, Fault, FaultEvent, InitialMiners, Keeps, Machine, Metering, MinerFault, Named, Noise, OrderEvent,
    OtherLoad, Place, PlantEvent, ReadingScript, ReadingSource, Scenario, ScenarioError, Square, Sun, differ,
    job,
};
use crate::units::Watts;

/// The file that is being read: turns byte offsets into places.
pub(super) struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset.min(self.text.len())).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }

    pub(super) fn error(&self, span: Range<usize>, message: impl Into<String>) -> ScenarioError {
        ScenarioError { file: self.file.to_owned(), place: self.place(span.start), message: message.into() }
    }

    pub(super) fn named(&self, name: &Spanned<String>) -> Named {
        Named { text: name.get_ref().clone(), place: self.place(name.span().start) }
    }
}

/// Connections that a link takes unless told otherwise.
const USUAL_CLIENTS: usize = 8;

/// The shortest refresh that the simulation's tick of 50 ms can keep.
pub(super) const SHORTEST_REFRESH: Duration = Duration::from_millis(50);

pub(super) fn scenario(file: &str, text: &str) -> Result<Scenario, ScenarioError> {
    let source = Source { file, text };
    let raw: RawScenario = toml::from_str(text)
        .map_err(|e| source.error(e.span().unwrap_or(0..0), e.message().replace('\n', "; ")))?;

    let general = metering(&source, Metering::DEFAULT, raw.metering.as_ref().map(RawMetering::common))?;
    let mut meters = Vec::new();
    for (name, meter) in &raw.meters {
        meters.push((source.named(name), metering(&source, general, Some(meter.common()))?));
    }
    let mut readings = Vec::new();
    for (name, reading) in &raw.readings {
        readings.push(self::reading(&source, name, reading)?);
    }
    let (mut plant_events, mut faults, mut orders) = (Vec::new(), Vec::new(), Vec::new());
    for event in &raw.event {
        match self::event(&source, event)? {
            Event::Plant(event) => plant_events.push(event),
            Event::Fault(event) => faults.push(event),
            Event::Order(event) => orders.push(event),
        }
    }
    let steady_generation = match &raw.generation {
        None => Watts::ZERO,
        Some(generation) => positive(&source, &generation.steady)?,
    };
    let (connections, keeps) = clients(&source, raw.metering.as_ref())?;
    let begins = raw.sun.as_ref().map_or(Duration::ZERO, |sun| sun.start.0);
    let scenario = Scenario {
        file: file.to_owned(),
        description: raw.description.trim().to_owned(),
        seed: u64::from(raw.seed),
        sun: sun(&source, raw.sun.as_ref())?,
        steady_generation,
        load: load(&source, raw.load.as_ref())?,
        auxiliaries: raw.auxiliary.iter().map(|(name, power)| (source.named(name), power.0)).collect(),
        miners: miners(&source, raw.miners.as_ref())?,
        differ: raw.differ.iter().map(|one| differ::read(&source, one)).collect::<Result<_, _>>()?,
        jobs: raw.job.iter().map(|one| job::read(&source, one, begins)).collect::<Result<_, _>>()?,
        metering: general,
        connections,
        keeps,
        meters,
        readings,
        plant_events,
        orders,
        faults,
        vtn: raw.vtn.iter().map(|event| super::vtn::read(&source, event)).collect::<Result<_, _>>()?,
    };
    Ok(scenario)
}

impl Metering {
    /// What a common three-phase energy meter does.
    pub const DEFAULT: Self = Self {
        refresh: Duration::from_millis(500),
        lag: Duration::from_millis(300),
        delay: Duration::ZERO,
        noise: Noise { absolute: Watts::whole(50), share: 0.0 },
    };
}

fn metering(source: &Source<'_>, base: Metering, raw: Option<Common<'_>>) -> Result<Metering, ScenarioError> {
    let Some(raw) = raw else {
        return Ok(base);
    };
    if let Some(refresh) = raw.refresh
        && refresh.get_ref().0 < SHORTEST_REFRESH
    {
        return Err(source.error(refresh.span(), "a simulated meter refreshes every 50 ms at the most often"));
    }
    Ok(Metering {
        refresh: raw.refresh.as_ref().map_or(base.refresh, |time| time.get_ref().0),
        lag: raw.lag.map_or(base.lag, |time| time.0),
        delay: match raw.delay {
            None => base.delay,
            Some(delay) => meter_fault::within(source, delay, Duration::ZERO..=meter_fault::LONGEST_AGE)?,
        },
        noise: Noise {
            absolute: raw.noise.map_or(base.noise.absolute, |power| power.0.abs()),
            share: meter_fault::noise_share(source, raw.noise_share.as_ref())?.unwrap_or(base.noise.share),
        },
    })
}

fn clients(source: &Source<'_>, raw: Option<&RawMetering>) -> Result<(usize, Keeps), ScenarioError> {
    let most = match raw.and_then(|raw| raw.connections.as_ref()) {
        None => USUAL_CLIENTS,
        Some(count) => meter_fault::clients(source, count)?,
    };
    let keeps = match raw.and_then(|raw| raw.keeps.as_ref()) {
        None => Keeps::First,
        Some(keeps) => meter_fault::keeps(source, keeps)?,
    };
    Ok((most, keeps))
}

fn positive(source: &Source<'_>, power: &Spanned<Power>) -> Result<Watts, ScenarioError> {
    let value = power.get_ref().0;
    if value < Watts::ZERO {
        return Err(source.error(power.span(), "must not be negative"));
    }
    Ok(value)
}

pub(super) fn share(
    source: &Source<'_>,
    share: Option<&Spanned<Share>>,
    default: f64,
    range: std::ops::RangeInclusive<f64>,
) -> Result<f64, ScenarioError> {
    let Some(share) = share else {
        return Ok(default);
    };
    let value = share.get_ref().0;
    if range.contains(&value) {
        return Ok(value);
    }
    Err(source.error(
        share.span(),
        format!("must lie between {} % and {} %", range.start() * 100.0, range.end() * 100.0),
    ))
}

fn sun(source: &Source<'_>, raw: Option<&RawSun>) -> Result<Sun, ScenarioError> {
    let Some(raw) = raw else {
        return Ok(Sun {
            peak: Watts::ZERO,
            start: Duration::ZERO,
            flutter: 0.0,
            patches_per_hour: 0.0,
            patch_depth: 0.0,
            patch_edge: Duration::from_secs(8),
            circuit: None,
        });
    };
    let edge = raw.patch_edge.map_or(Duration::from_secs(8), |time| time.0);
    let patches = raw.patches_per_hour.as_ref().map_or(0.0, |number| *number.get_ref());
    if let Some(number) = &raw.patches_per_hour {
        // Every patch lies within its own cell of time, so that no two edges add up and the steepest ramp is
        // known: both its edges, each up to twice the shortest, must fit.
        let most = 3600.0 / (4.0 * edge.as_secs_f64().max(0.1));
        if !(0.0..=most).contains(&patches) {
            return Err(source.error(
                number.span(),
                format!("with edges of {edge:?} there is room for 0 to {} patches an hour", most.floor()),
            ));
        }
    }
    Ok(Sun {
        peak: positive(source, &raw.peak)?,
        start: raw.start.0,
        flutter: share(source, raw.flutter.as_ref(), 0.0, 0.0..=0.2)?,
        patches_per_hour: patches,
        patch_depth: share(source, raw.patch_depth.as_ref(), 0.0, 0.0..=0.9)?,
        patch_edge: edge.max(Duration::from_millis(100)),
        circuit: raw.circuit.as_ref().map(|name| source.named(name)),
    })
}

fn load(source: &Source<'_>, raw: Option<&RawLoad>) -> Result<OtherLoad, ScenarioError> {
    let mut load = OtherLoad {
        base: Watts::ZERO,
        swing: Watts::ZERO,
        swing_period: Duration::from_secs(600),
        noise: Watts::ZERO,
        machines: Vec::new(),
        squares: Vec::new(),
        circuit: None,
    };
    let Some(raw) = raw else {
        return Ok(load);
    };
    load.base = raw.base.0;
    load.swing = raw.swing.map_or(Watts::ZERO, |power| power.0);
    load.noise = raw.noise.map_or(Watts::ZERO, |power| power.0);
    load.circuit = raw.circuit.as_ref().map(|name| source.named(name));
    if let Some(period) = &raw.swing_period {
        load.swing_period = not_zero(source, period)?;
    }
    for machine in &raw.machine {
        load.machines.push(Machine {
            name: machine.name.clone(),
            power: machine.power.0,
            on: not_zero(source, &machine.on)?,
            off: not_zero(source, &machine.off)?,
            ramp: machine.ramp.map_or(Duration::from_secs(1), |time| time.0),
        });
    }
    for square in &raw.square {
        load.squares.push(Square {
            name: square.name.clone(),
            power: square.power.0,
            half_period: not_zero(source, &square.half_period)?,
            from: square.from.map_or(Duration::ZERO, |time| time.0),
            circuit: square.circuit.as_ref().map(|name| source.named(name)),
        });
    }
    Ok(load)
}

fn not_zero(source: &Source<'_>, time: &Spanned<Time>) -> Result<Duration, ScenarioError> {
    match time.get_ref().0 {
        Duration::ZERO => Err(source.error(time.span(), "must be longer than nothing")),
        duration => Ok(duration),
    }
}

fn miners(source: &Source<'_>, raw: Option<&RawMiners>) -> Result<InitialMiners, ScenarioError> {
    let Some(raw) = raw else {
        return Ok(InitialMiners::Hashing { fraction: 1.0 });
    };
    match (raw.start.get_ref().as_str(), &raw.at) {
        ("asleep", None) => Ok(InitialMiners::Asleep),
        ("asleep", Some(at)) => Err(source.error(at.span(), "`at` is for miners that hash")),
        ("hashing", at) => {
            Ok(InitialMiners::Hashing { fraction: share(source, at.as_ref(), 1.0, 0.01..=1.0)? })
        }
        _ => Err(source.error(raw.start.span(), "miners start `\"hashing\"` or `\"asleep\"`")),
    }
}

fn reading(
    source: &Source<'_>,
    name: &Spanned<String>,
    raw: &RawReading,
) -> Result<ReadingScript, ScenarioError> {
    let meter = source.named(name);
    let reading_source = match (raw.value, &raw.follows) {
        (Some(first), None) => {
            let mut then: Vec<(Duration, Watts)> = Vec::new();
            for step in &raw.steps {
                let at = step.at.get_ref().0;
                if then.last().is_some_and(|(before, _)| *before >= at) {
                    return Err(source.error(step.at.span(), "steps must stand in the order of their time"));
                }
                then.push((at, step.to.0));
            }
            ReadingSource::Steps { first: first.0, then }
        }
        (None, Some(follows)) if follows.get_ref() == "surplus" && raw.steps.is_empty() => {
            ReadingSource::Surplus
        }
        (None, Some(follows)) => {
            return Err(source.error(follows.span(), "a reading can follow `\"surplus\"`, without steps"));
        }
        _ => {
            return Err(
                source.error(name.span(), "a reading has either a `value` (and `steps`) or `follows`")
            );
        }
    };
    Ok(ReadingScript { meter, source: reading_source })
}

/// What is wrong with an event of several kinds, or none.
const ONE_OF: &str = "this event must have exactly one of `load`, `sun`, `surplus`, `mains`, `meter`, `miner`, \
                      `contact`, `outage`, `order`";

/// From the return of the power until a miner answers, unless told otherwise.
const USUAL_BOOT: Duration = Duration::from_secs(45);

/// The longest boot.
const LONGEST_BOOT: Duration = Duration::from_secs(86_400);

enum Event {
    Plant(PlantEvent),
    Fault(FaultEvent),
    Order(OrderEvent),
}

fn event(source: &Source<'_>, raw: &RawEvent) -> Result<Event, ScenarioError> {
    let kinds = [
        raw.load.is_some(),
        raw.sun.is_some(),
        raw.surplus.is_some(),
        raw.mains.is_some(),
        raw.meter.is_some(),
        raw.miner.is_some(),
        raw.contact.is_some(),
        raw.outage.is_some(),
        raw.order.is_some(),
    ];
    if kinds.into_iter().filter(|there| *there).count() != 1 {
        return Err(source.error(raw.at.span(), ONE_OF));
    }
    if let Some(order) = &raw.order {
        return Ok(Event::Order(OrderEvent {
            at: raw.at.get_ref().0,
            lasting: raw.r#for.map(|time| time.0),
            circuit: source.named(&order.circuit),
            cap: positive(source, &order.cap)?,
            miners: order.miners,
            emergency: order.emergency,
        }));
    }
    match change(source, raw)? {
        Some(event) => Ok(Event::Plant(event)),
        None => Ok(Event::Fault(fault(source, raw)?)),
    }
}

/// What an event changes in the plant, if it does.
fn change(source: &Source<'_>, raw: &RawEvent) -> Result<Option<PlantEvent>, ScenarioError> {
    let (over, change) = if let Some(load) = &raw.load {
        (load.over, Change::LoadBy(load.by.0))
    } else if let Some(sun) = &raw.sun {
        let change = match (sun.to, &sun.times) {
            (Some(to), None) => Change::SunTo(to.0),
            (None, Some(times)) if (0.0..=10.0).contains(times.get_ref()) => {
                Change::SunTimes(*times.get_ref())
            }
            (None, Some(times)) => return Err(source.error(times.span(), "must lie between 0 and 10")),
            _ => {
                let words = "the sun changes either `to` a power or by a factor (`times`)";
                return Err(source.error(raw.at.span(), words));
            }
        };
        (sun.over, change)
    } else if let Some(surplus) = &raw.surplus {
        (surplus.over, Change::SurplusTo(surplus.to.0))
    } else if let Some(mains) = &raw.mains {
        let change = match (mains.frequency, mains.voltage) {
            (Some(to), None) => Change::FrequencyTo(to.0),
            (None, Some(to)) => Change::VoltageTo(to.0),
            _ => {
                let words = "the mains change either their `frequency` or their `voltage`";
                return Err(source.error(raw.at.span(), words));
            }
        };
        (mains.over, change)
    } else {
        return Ok(None);
    };
    let circuit = raw.load.as_ref().and_then(|load| load.circuit.as_ref());
    Ok(Some(PlantEvent {
        at: raw.at.get_ref().0,
        lasting: raw.r#for.map(|time| time.0),
        over: over.map_or(Duration::ZERO, |time| time.0),
        change,
        circuit: circuit.map(|name| source.named(name)),
    }))
}

/// What an event does to devices.
fn fault(source: &Source<'_>, raw: &RawEvent) -> Result<FaultEvent, ScenarioError> {
    let lasting = raw.r#for.map(|time| time.0);
    let fault = if let Some(meter) = &raw.meter {
        Fault::Meter { name: source.named(&meter.name), fault: meter_fault::read(source, meter)? }
    } else if let Some(miner) = &raw.miner {
        Fault::Miner {
            choice: differ::choice(
                source,
                source.named(&miner.name),
                &miner.circuit,
                &miner.count,
                &miner.share,
            )?,
            fault: MinerFault { kind: miner.fault.clone(), with: miner.with.clone() },
        }
    } else if let Some(contact) = &raw.contact {
        Fault::Contact { source: source.named(&contact.source), name: source.named(&contact.name) }
    } else if let (Some(outage), Some(_)) = (&raw.outage, lasting) {
        let boot = match &outage.boot {
            Some(boot) => meter_fault::within(source, boot, Duration::ZERO..=LONGEST_BOOT)?,
            None => USUAL_BOOT,
        };
        Fault::Outage { boot }
    } else {
        return Err(source.error(raw.at.span(), "an outage must end: say how long it lasts with `for`"));
    };
    Ok(FaultEvent { at: raw.at.get_ref().0, lasting, fault })
}

#[cfg(test)]
mod tests;
