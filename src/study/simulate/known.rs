//! What has to be known before the figures of a simulation: which scenario was played, and what makes the figures say less
//! than they seem to.

use std::time::Duration;

use serde::Serialize;

use super::{Account, Part, SimulateError, Told, least_power};
use crate::config::Config;
use crate::control::site::{Cap, LimitClass, MeterId, Site};
use crate::sim::curve::Curve;
use crate::sim::scenario::{Fault, Scenario};
use crate::study::trace::{Trace, instant};

/// Ballast's own law without its meters for more than this part of the time is told.
const DOUBT: f64 = 0.005;

/// The scenario that was played.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Played {
    /// Its file, or the name of a built-in one.
    pub name: String,
    /// What it shows.
    pub description: String,
    /// From when on its times count: the beginning of what was simulated, in the zone of the trace.
    pub begins: String,
    /// Its events: orders, faults and changes of the plant.
    pub events: usize,
    /// Those of them that begin in time that is not counted.
    pub begin_not_counted: usize,
    /// Those of which no moment at all is counted.
    pub never_counted: usize,
    /// The first that begins in time that is not counted.
    pub first_not_counted: Option<Uncounted>,
}

/// An event that begins in time that is not counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Uncounted {
    /// What begins.
    pub what: &'static str,
    /// When, on the scale of the scenario, in seconds.
    pub at_seconds: f64,
    /// When, in the zone of the trace.
    pub at: String,
    /// Where that is.
    pub place: Place,
    /// Nothing of what comes after is counted either.
    pub never: bool,
}

/// Where time is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// At the beginning, or after a long gap.
    WarmUp,
    /// Where the trace is not known.
    Gap,
    /// After the end of what is simulated.
    AfterEnd,
}

/// An event of any kind: what it is, when it begins and how long it lasts.
type Event = (&'static str, Duration, Option<Duration>);

fn events(scenario: &Scenario) -> Vec<Event> {
    let orders = scenario.orders.iter().map(|order| ("order", order.at, order.lasting));
    let faults = scenario.faults.iter().map(|event| {
        let what = match event.fault {
            Fault::Outage { .. } => "outage",
            Fault::Meter { .. } => "fault of a meter",
            Fault::Miner { .. } => "fault of miners",
            Fault::Contact { .. } => "contact",
        };
        (what, event.at, event.lasting)
    });
    let plant = scenario.plant_events.iter().map(|event| {
        ("change of the plant", event.at, event.lasting.map(|lasting| lasting.saturating_add(event.over)))
    });
    let mut all: Vec<Event> = orders.chain(faults).chain(plant).collect();
    all.sort_by_key(|event| event.1);
    all
}

/// What of a scenario lies where nothing is counted.
pub(super) fn played(scenario: &Scenario, trace: &Trace, curve: &Curve, parts: &[Part]) -> Played {
    let uncounted = |&(what, at, lasting): &Event| {
        let counted = |time: Duration| parts.iter().any(|part| part.counts <= time && time < part.ends);
        let place = if at >= curve.length() {
            Place::AfterEnd
        } else if counted(at) {
            if curve.knows(at) {
                return None;
            }
            Place::Gap
        } else if parts.iter().any(|part| part.begins <= at && at < part.counts) {
            Place::WarmUp
        } else {
            Place::Gap
        };
        let over = lasting.map_or(Duration::MAX, |lasting| at.saturating_add(lasting));
        let after = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
        Some(Uncounted {
            what,
            at_seconds: at.as_secs_f64(),
            at: instant(trace.at(0).saturating_add(after), &trace.zone),
            place,
            never: !parts.iter().any(|part| part.counts < over && at < part.ends),
        })
    };
    let all = events(scenario);
    let begin: Vec<Uncounted> = all.iter().filter_map(uncounted).collect();
    Played {
        name: scenario.file.clone(),
        description: scenario.description.clone(),
        begins: trace.told(0),
        events: all.len(),
        begin_not_counted: begin.len(),
        never_counted: begin.iter().filter(|event| event.never).count(),
        first_not_counted: begin.into_iter().next(),
    }
}

impl Played {
    /// What is to be said of events that are not counted; `None` where all are.
    fn note(&self, warm_up: Duration) -> Option<String> {
        let first = self.first_not_counted.as_ref()?;
        let at = short(Duration::from_secs_f64(first.at_seconds));
        let (place, instead) = match first.place {
            Place::WarmUp => (
                format!("lies in the warm-up of {}, which is not counted", short(warm_up)),
                "give a later `at`, or --warm-up 0s",
            ),
            Place::Gap => {
                ("lies in a gap of the trace, which is not counted".into(), "give an `at` outside of it")
            }
            Place::AfterEnd => {
                ("lies after the end of what is simulated".into(), "give an earlier `at`, or a longer trace")
            }
        };
        let after = if first.never {
            ""
        } else {
            " (what it brings about later, if it lasts, is counted all the same)"
        };
        let many = if self.begin_not_counted > 1 {
            format!(
                "{} of the {} events of the scenario begin in time that is not counted, and of {} of them nothing at \
                 all is counted. The first: ",
                self.begin_not_counted, self.events, self.never_counted
            )
        } else {
            String::new()
        };
        Some(format!("{many}the {} at {at} ({}) {place}; {instead}{after}", first.what, first.at))
    }
}

/// A time in the largest unit that it is whole in, as a scenario writes it.
fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    if time.subsec_nanos() > 0 {
        format!("{}s", time.as_secs_f64())
    } else if seconds > 0 && seconds.is_multiple_of(3600) {
        format!("{}h", seconds / 3600)
    } else if seconds > 0 && seconds.is_multiple_of(60) {
        format!("{}min", seconds / 60)
    } else {
        format!("{seconds}s")
    }
}

/// The meters without which what follows the surplus is blind.
pub(super) fn eyes(site: &Site) -> Vec<MeterId> {
    let follow = site.limits.iter().filter(|limit| limit.class == LimitClass::Surplus);
    let meters = follow.filter_map(|limit| match limit.cap {
        Cap::Reading { meter, .. } => Some(meter),
        Cap::Constant(_) => site.circuits.get(limit.circuit.0).and_then(|circuit| circuit.meter),
    });
    meters.collect()
}

/// What is to be known before the figures. `account` is Ballast's.
pub(super) fn notes(config: &Config, account: &Account, played: Option<&Played>, told: &Told) -> Vec<String> {
    let mut notes: Vec<String> = played.and_then(|played| played.note(told.warm_up)).into_iter().collect();
    if account.known_hours > 0.0 && account.running_hours <= 0.0 {
        notes.push(if account.usable_watt_hours > 0.0 {
            "no miner ever ran under Ballast, although the surplus would have been enough for one at times".into()
        } else {
            format!(
                "no miner ever ran: the surplus never was enough for the least power of the smallest miner, {}; if that \
                 is a surprise, check --unit and --sign",
                least_power(&config.site)
            )
        });
    }
    notes.extend(doubt(&config.site, account));
    notes.extend(prices(told));
    notes
}

/// How long Ballast's own law was without what it follows, where that is more than a little.
fn doubt(site: &Site, account: &Account) -> Option<String> {
    let hours = account.fail_safe_hours.max(account.refused_hours).max(account.lost_hours);
    if hours <= DOUBT * account.known_hours || account.known_hours <= 0.0 {
        return None;
    }
    let part = |hours: f64| format!("{hours:.2} h ({:.1} %)", 100.0 * hours / account.known_hours);
    let meter = eyes(site).first().and_then(|id| site.meters.get(id.0)).map_or("?", |meter| &meter.name);
    let mut words = format!("Ballast was in fail-safe for {} of the time", part(account.fail_safe_hours));
    if account.refused_hours > 0.0 {
        words.push_str(&format!(
            "; for {} it refused the values of the meter `{meter}`, which lay outside of `plausible`: check --unit, or \
             whether the meter's `plausible` fits this trace",
            part(account.refused_hours)
        ));
    }
    if account.lost_hours > 0.0 {
        words.push_str(&format!(
            "; for {} the meter `{meter}` did not answer or was not believed",
            part(account.lost_hours)
        ));
    }
    Some(words)
}

/// Which prices were not told, and what was taken instead.
fn prices(told: &Told) -> Vec<String> {
    let mut notes = Vec::new();
    match (told.hash_price, told.power_price, told.import_price) {
        (None, None, None) => return notes,
        (None, ..) => notes.push("the rows in dollars are missing: they need --hash-price".into()),
        (Some(_), Some(price), None) => notes.push(format!(
            "power from the grid is counted at the price of the surplus, {price} $ a MWh; --import-price tells another"
        )),
        (Some(_), None, Some(_)) => {
            notes.push("the surplus is counted as free; --power-price tells what it costs".into());
        }
        _ => {}
    }
    notes
}

/// Refuses a trace of which nothing would be counted.
///
/// # Errors
/// [`SimulateError::TooShort`].
pub(super) fn counts(parts: &[Part], longest: Duration, warm_up: Duration) -> Result<(), SimulateError> {
    if parts.is_empty() {
        return Err(SimulateError::TooShort { length: longest, warm_up });
    }
    Ok(())
}
