//! The script of a scenario brought to a site: names become positions, and what does not fit is refused before
//! anything runs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::meter::encode;
use super::miner::FaultKind;
use super::plant::circuit;
use super::scenario::{
    Bend, Deviation, Fault, FaultEvent, MeterFault, MinerChoice, MinerFault, Named, Part, Place,
    ReadingScript, ReadingSource, Scenario, ScenarioError,
};
use super::site::SimError;
use crate::config::Config;
use crate::control::signal::contacts::Group;
use crate::control::site::{Cap, CircuitId, LimitClass, MeterId, Miner, Site};
use crate::meter::profile::Profile;
use crate::meter::{Connection, Transport};
use crate::signal::Kind;
use crate::units::Watts;

/// What a meter sees.
#[derive(Debug)]
pub enum Source {
    /// The power into a circuit.
    Circuit(CircuitId),
    /// What the scenario says.
    Reading(ReadingScript),
    /// The bits of a group of contacts, as they stand.
    Contacts(u32),
}

/// Which devices a fault befalls, by their positions in the site.
#[derive(Debug)]
pub enum Targets {
    /// Meters.
    Meters(Vec<usize>, MeterFault),
    /// Miners.
    Miners(Vec<usize>, MinerFault),
    /// The contact behind a bit of a group, by the group's position behind the meters.
    Contact(usize, u32),
    /// The whole site, and from the return of its power until miners answer.
    Site(Duration),
}

/// A site to which a script happens.
pub trait Stage {
    /// A fault of a meter begins or ends.
    fn meter(&mut self, position: usize, fault: MeterFault, turn: Turn);

    /// A fault of a miner begins or ends.
    fn miner(&mut self, position: usize, fault: &MinerFault, turn: Turn);

    /// A contact changes.
    fn contact(&mut self, group: usize, bit: u32);

    /// The whole site loses its power or gets it back.
    fn site(&mut self, boot: Duration, turn: Turn);
}

/// Lets happen what is due, given the time since the start. Gives whether anything was.
pub fn play(schedule: &mut [Scheduled], running: Duration, stage: &mut impl Stage) -> bool {
    let mut any = false;
    for event in schedule {
        let Some(turn) = event.turn(running) else {
            continue;
        };
        any = true;
        match &event.targets {
            Targets::Meters(positions, fault) => {
                positions.iter().for_each(|position| stage.meter(*position, *fault, turn));
            }
            Targets::Miners(positions, fault) => {
                positions.iter().for_each(|position| stage.miner(*position, fault, turn));
            }
            Targets::Contact(group, bit) => stage.contact(*group, *bit),
            Targets::Site(boot) => stage.site(*boot, turn),
        }
    }
    any
}

/// What a scheduled fault does at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It begins.
    Begins,
    /// It ends.
    Ends,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Active,
    Over,
}

/// A fault with its time.
#[derive(Debug)]
pub struct Scheduled {
    at: Duration,
    lasting: Option<Duration>,
    phase: Phase,
    /// Whom it befalls.
    pub targets: Targets,
}

impl Scheduled {
    /// When it does something next by itself; `None` once it is over or lasts for ever.
    pub fn next(&self) -> Option<Duration> {
        match self.phase {
            Phase::Waiting => Some(self.at),
            Phase::Active => self.lasting.map(|lasting| self.at.saturating_add(lasting)),
            Phase::Over => None,
        }
    }

    /// Whether it is going on.
    pub fn is_on(&self) -> bool {
        self.phase == Phase::Active
    }

    /// What it does now, given the time since the start. One that began and ended between two calls never happened.
    pub fn turn(&mut self, running: Duration) -> Option<Turn> {
        let ended = self.lasting.is_some_and(|lasting| running >= self.at.saturating_add(lasting));
        match self.phase {
            Phase::Waiting if ended => {
                self.phase = Phase::Over;
                None
            }
            Phase::Waiting if running >= self.at => {
                self.phase = Phase::Active;
                Some(Turn::Begins)
            }
            Phase::Active if ended => {
                self.phase = Phase::Over;
                Some(Turn::Ends)
            }
            _ => None,
        }
    }
}

/// What the contact of an emergency stop shows while it is closed, far from where noise could open it.
const PRESSED_BY_NOBODY: Watts = Watts::whole(1_000);

/// What every meter of the site sees: what the scenario says, else its circuit, else the surplus for a register
/// that is followed.
pub fn sources(site: &Site, scenario: &Scenario) -> Result<Vec<Source>, SimError> {
    let named = scenario.readings.iter().map(|reading| &reading.meter);
    for name in named.chain(scenario.meters.iter().map(|(name, _)| name)) {
        if !site.meters.iter().any(|meter| meter.name == name.text) {
            return Err(no_meter(scenario, site, name).into());
        }
    }
    let mut scripts: BTreeMap<&str, &ReadingScript> =
        scenario.readings.iter().map(|reading| (reading.meter.text.as_str(), reading)).collect();
    let mut sources = Vec::new();
    for (position, meter) in site.meters.iter().enumerate() {
        let id = MeterId(position);
        let follows = |source| {
            Source::Reading(ReadingScript {
                meter: Named { text: meter.name.clone(), place: Place::default() },
                source,
            })
        };
        let circuit = site.circuits.iter().position(|circuit| circuit.meter == Some(id));
        let limit =
            site.limits.iter().find(|limit| matches!(limit.cap, Cap::Reading { meter, .. } if meter == id));
        sources.push(match (scripts.remove(meter.name.as_str()), circuit, limit) {
            (Some(script), _, _) => Source::Reading(script.clone()),
            (None, Some(circuit), _) => Source::Circuit(CircuitId(circuit)),
            (None, None, Some(limit)) if limit.class == LimitClass::Surplus => {
                follows(ReadingSource::Surplus)
            }
            (None, None, Some(limit)) => {
                return Err(SimError::NoReading {
                    meter: meter.name.clone(),
                    limit: limit.name.clone(),
                    file: scenario.file.clone(),
                });
            }
            // Nobody has pressed an emergency stop, unless the scenario says so.
            (None, None, None)
                if site.circuits.iter().any(|it| it.emergency_stop.is_some_and(|it| it.meter == id)) =>
            {
                follows(ReadingSource::Steps { first: PRESSED_BY_NOBODY, then: Vec::new() })
            }
            // A meter that nothing uses.
            (None, None, None) => follows(ReadingSource::Steps { first: Watts::ZERO, then: Vec::new() }),
        });
    }
    Ok(sources)
}

fn no_meter(scenario: &Scenario, site: &Site, name: &Named) -> ScenarioError {
    let names: Vec<_> = site.meters.iter().map(|meter| meter.name.as_str()).collect();
    scenario.error(name.place, format!("the site has no meter `{}`; it has {}", name.text, names.join(", ")))
}

/// Looks up the devices of every fault; `accepts` says whether a miner knows its own.
pub fn schedule(
    config: &Config,
    scenario: &Scenario,
    accepts: impl Fn(usize, &MinerFault) -> Result<(), String>,
) -> Result<Vec<Scheduled>, SimError> {
    let mut schedule = Vec::new();
    for FaultEvent { at, lasting, fault } in &scenario.faults {
        let targets = match fault {
            Fault::Meter { name, fault } => Targets::Meters(meters(config, scenario, name, *fault)?, *fault),
            Fault::Miner { choice, fault } => {
                let chosen = miners(&config.site, scenario, choice)?;
                for position in &chosen {
                    accepts(*position, fault).map_err(|words| scenario.error(choice.name.place, words))?;
                }
                Targets::Miners(chosen, fault.clone())
            }
            Fault::Contact { source, name } => {
                let (position, bit) = contact(config, scenario, source, name)?;
                Targets::Contact(position, bit)
            }
            Fault::Outage { boot } => Targets::Site(*boot),
        };
        schedule.push(Scheduled { at: *at, lasting: *lasting, phase: Phase::Waiting, targets });
    }
    Ok(schedule)
}

/// The groups of contacts of a site: their names, how they are read and what they mean.
pub fn groups(config: &Config) -> impl Iterator<Item = (&str, &Connection, &Group)> {
    config.signals.iter().filter_map(|spec| match &spec.kind {
        Kind::Contact(settings) => Some((spec.settings.name.as_str(), &settings.connection, &settings.group)),
        _ => None,
    })
}

/// The bits of a group in which no contact speaks.
pub fn at_rest(group: &Group) -> u32 {
    let closed = group.contacts.iter().zip(0..).filter(|(contact, _)| !contact.when_closed);
    closed.fold(0, |bits, (_, at)| bits | 1_u32.checked_shl(at).unwrap_or(0))
}

fn contact(
    config: &Config,
    scenario: &Scenario,
    source: &Named,
    name: &Named,
) -> Result<(usize, u32), ScenarioError> {
    let found = groups(config).enumerate().find(|(_, (known, ..))| *known == source.text);
    let Some((position, (_, _, group))) = found else {
        return Err(scenario.error(
            source.place,
            format!("the site has no source of orders `{}` that is contacts", source.text),
        ));
    };
    let bit = group.contacts.iter().zip(0..).find(|(contact, _)| *contact.name == *name.text);
    bit.map(|(_, at)| (position, 1_u32.checked_shl(at).unwrap_or(0))).ok_or_else(|| {
        let names: Vec<&str> = group.contacts.iter().map(|contact| &*contact.name).collect();
        scenario.error(
            name.place,
            format!("`{}` has no contact `{}`; it has {}", source.text, name.text, names.join(", ")),
        )
    })
}

fn meters(
    config: &Config,
    scenario: &Scenario,
    name: &Named,
    fault: MeterFault,
) -> Result<Vec<usize>, ScenarioError> {
    let site = &config.site;
    let mut chosen = Vec::new();
    let meters = site.meters.iter().map(|meter| meter.name.as_str()).zip(&config.meters);
    let groups = groups(config).map(|(name, connection, _)| (name, connection));
    for (position, (meter, connection)) in meters.chain(groups).enumerate() {
        if !name.matches(meter) {
            continue;
        }
        let link = config.links.get(connection.link.0).map(|link| &link.transport);
        if let Err(words) = possible(fault, &connection.profile, link) {
            return Err(scenario.error(name.place, format!("the meter `{meter}` {words}")));
        }
        chosen.push(position);
    }
    if chosen.is_empty() {
        return Err(no_meter(scenario, site, name));
    }
    Ok(chosen)
}

/// Whether a meter with this profile on such a link can have a fault at all.
fn possible(fault: MeterFault, profile: &Profile, link: Option<&Transport>) -> Result<(), String> {
    match (fault, link) {
        (MeterFault::Unavailable, _) if encode::unavailable(&profile.power).is_none() => {
            Err(format!("cannot be unavailable: its profile `{}` has no pattern for that", profile.name))
        }
        (MeterFault::Answers { bend: Bend::Crc, .. }, Some(Transport::Tcp(_))) => {
            Err("cannot have a wrong CRC: Modbus TCP has none".into())
        }
        (MeterFault::Answers { bend: Bend::Reset, .. }, Some(Transport::Rtu(..))) => {
            Err("cannot reset a connection: it hangs on a serial port, which has none".into())
        }
        (MeterFault::Clients { .. }, Some(Transport::Rtu(..))) => {
            Err("cannot choose its clients: it hangs on a serial port, which has only one".into())
        }
        _ => Ok(()),
    }
}

/// Which miners of a site are meant, by their positions.
///
/// # Errors
/// Miners or circuits that the site does not have.
pub fn miners(site: &Site, scenario: &Scenario, choice: &MinerChoice) -> Result<Vec<usize>, ScenarioError> {
    let below = match &choice.circuit {
        None => None,
        Some(name) => Some(circuit(scenario, site, name)?),
    };
    let fits = |miner: &Miner| {
        choice.name.matches(&miner.name) && below.is_none_or(|top| site.feeds(top, miner.circuit))
    };
    let fitting = site.miners.iter().enumerate().filter(|(_, miner)| fits(miner));
    let fitting: Vec<usize> = fitting.map(|(position, _)| position).collect();
    let (chosen, wanted): (Vec<usize>, usize) = match choice.part {
        Part::All => (fitting, 1),
        Part::Count(count) => (fitting.into_iter().take(count).collect(), count),
        // The next one as soon as the share of those so far is a whole number more.
        Part::Share(share) => {
            let whole = |number: u32| (f64::from(number) * share + 1e-9).floor();
            let there = fitting.len();
            let spread = fitting.into_iter().zip(0_u32..);
            let chosen = spread.filter(|(_, number)| whole(number.saturating_add(1)) > whole(*number));
            let chosen: Vec<usize> = chosen.map(|(position, _)| position).collect();
            if chosen.is_empty() && there > 0 {
                let words = format!("the share of the {there} miners `{}` is not even one", choice.name.text);
                return Err(scenario.error(choice.name.place, words));
            }
            (chosen, 1)
        }
    };
    if chosen.len() < wanted {
        return Err(scenario.error(
            choice.name.place,
            format!(
                "this needs {wanted} of the miners `{}`, but the site has {}",
                choice.name.text,
                chosen.len()
            ),
        ));
    }
    Ok(chosen)
}

/// What an outage of the site is to each of its miners.
pub fn power_cut(boot: Duration) -> MinerFault {
    let boot = format!("{}ms", boot.as_millis());
    let with = toml::Table::from_iter([("boot".to_owned(), toml::Value::String(boot))]);
    MinerFault { kind: FaultKind::PowerCut.name().to_owned(), with }
}

/// How every miner of the site differs from its model.
///
/// # Errors
/// Miners or circuits that the site does not have.
pub fn deviations(site: &Site, scenario: &Scenario) -> Result<Vec<Deviation>, ScenarioError> {
    let mut all = vec![Deviation::NONE; site.miners.len()];
    for differ in &scenario.differ {
        for position in miners(site, scenario, &differ.choice)? {
            if let Some(deviation) = all.get_mut(position) {
                deviation.bend(differ);
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(at: u64, lasting: Option<u64>) -> Scheduled {
        Scheduled {
            at: Duration::from_secs(at),
            lasting: lasting.map(Duration::from_secs),
            phase: Phase::Waiting,
            targets: Targets::Meters(vec![], MeterFault::Frozen),
        }
    }

    fn turns(mut fault: Scheduled, times: &[u64]) -> Vec<Option<Turn>> {
        times.iter().map(|s| fault.turn(Duration::from_secs(*s))).collect()
    }

    #[test]
    fn a_fault_begins_once_and_ends_once() {
        use Turn::{Begins, Ends};
        assert_eq!(
            turns(fault(2, Some(3)), &[0, 1, 2, 3, 4, 5, 6]),
            [None, None, Some(Begins), None, None, Some(Ends), None]
        );
        assert_eq!(turns(fault(0, None), &[0, 1, 9_999]), [Some(Begins), None, None]);
    }

    #[test]
    fn a_fault_between_two_ticks_never_happened() {
        assert_eq!(turns(fault(2, Some(1)), &[1, 9, 10]), [None, None, None]);
    }
}
