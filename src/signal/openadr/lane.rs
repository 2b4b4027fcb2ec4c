//! From the events of a top node to the orders of the desk.
//!
//! Each interval of an event becomes one order for each payload that is obeyed. Neither payload types nor programmes hide
//! each other: each payload type of each programme has a lane of its own, and across lanes the tightest binds. Inside a
//! lane the priority of the event counts.
//!
//! A *reservation* adds to the *subscription* of its programme: where both hold, an order over their sum stands in the lane of the
//! subscription with a better priority. It is made anew from each list, and is never kept when one of the two cannot be
//! read: what raises is believed only while all of it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::event::{Event, Interval, ReportWish, id_of, units};
use super::fault::Fault;
use super::settings::{Level, Meaning, PowerUnit, Rule, Settings};
use super::window::{Window, windows};
use crate::control::signal::{Ask, Order, Urgency, Wall};
use crate::control::site::Scope;
use crate::line::shorten;
use crate::signal::{List, Place};
use crate::units::Watts;

/// Most orders that are handed over: a little less than a book holds. Those that begin latest stay out until there is room.
pub const MOST_ORDERS: usize = 480;
/// Most orders that are made of a list, before those that come later are left out.
const MOST_DRAFTS: usize = 20_000;
/// Most events that are remembered for reports.
const MOST_FOLLOWED: usize = MOST_ORDERS;
/// Most sums of a subscription and a reservation, and most parts of each that are looked at.
const MOST_SUMS: usize = 128;
/// See [`MOST_SUMS`].
const MOST_PARTS: usize = 512;
/// The lane of subscriptions.
const SUBSCRIPTION: &str = "IMPORT_CAPACITY_SUBSCRIPTION";

/// The programmes of a top node: the units of their payload types by their id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Programmes {
    units: BTreeMap<String, BTreeMap<String, String>>,
    /// The one whose events are obeyed; `None` for all.
    pub chosen: Option<String>,
}

impl Programmes {
    /// Takes in a programme. What cannot be read of its units is not known.
    pub fn add(&mut self, programme: &Value) {
        if let Some(id) = id_of(programme) {
            self.units.insert(id.to_owned(), units(programme).unwrap_or_default());
        }
    }

    fn unit(&self, programme: &str, payload: &str) -> Option<&str> {
        self.units.get(programme)?.get(payload).map(String::as_str)
    }
}

/// What surrounds the events.
pub struct Surroundings<'s> {
    /// The settings of the source.
    pub settings: &'s Settings,
    /// Its name.
    pub source: &'s str,
    /// Where its orders act.
    pub place: Place,
    /// Everything that hangs there, by scope.
    pub nameplate: &'s dyn Fn(Scope) -> Watts,
    /// What the desk has of this source.
    pub known: &'s [Arc<str>],
    /// The wall clock.
    pub now: Wall,
}

/// What a list of events comes to.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// For the desk.
    pub list: List,
    /// The events that are meant for this site, for reports.
    pub followed: Vec<Followed>,
    /// Payload types that mean nothing here.
    pub unmapped: BTreeSet<String>,
}

/// An event that is meant for this site.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    /// Its id.
    pub id: String,
    /// The id of its programme.
    pub program: String,
    /// Its version.
    pub revision: u64,
    /// Whether anything of it is obeyed.
    pub obeyed: bool,
    /// How many intervals it has, repetitions not counted.
    pub intervals: usize,
    /// What it wants to have reported.
    pub wishes: Vec<ReportWish>,
    /// When its intervals hold, with the numbers that the top node gave them.
    pub windows: Vec<(i64, Wall, Option<Wall>)>,
}

/// One order in the making.
struct Draft {
    order: Order,
    kind: Kind,
}

#[derive(PartialEq)]
enum Kind {
    Plain,
    Subscription(Watts),
    Reservation(Watts),
}

/// Reads the events of a list. One that cannot be read is left out and named, and what is known of it stays.
pub fn read(events: &[Value], programmes: &Programmes, around: &Surroundings<'_>) -> Reading {
    let mut reading = Reading::default();
    let mut drafts = Vec::new();
    let mut faults: Vec<String> = Vec::new();
    for value in events {
        let read = Event::read(value).and_then(|event| {
            let other = programmes
                .chosen
                .as_ref()
                .is_some_and(|chosen| !event.program.is_empty() && event.program != *chosen);
            if other || !event.is_for(&around.settings.names) {
                return Ok(());
            }
            if drafts.len() >= MOST_DRAFTS {
                return Err(Fault::TooMany {
                    what: "orders together with those before it",
                    most: MOST_DRAFTS,
                });
            }
            one(&event, programmes, around, &mut reading).map(|orders| drafts.extend(orders))
        });
        if let Err(fault) = read {
            let id = id_of(value);
            faults.push(match id {
                Some(id) => format!("event {}: {fault}", shorten(id)),
                None => format!("an event without an id: {fault}"),
            });
            // Without an id it may be any of those that are known.
            let begin = id.map(|id| format!("{id}/"));
            let kept = around.known.iter().filter(|known| {
                !known.contains('+') && begin.as_ref().is_none_or(|begin| known.starts_with(begin.as_str()))
            });
            reading.list.unreadable.extend(kept.cloned());
        }
    }
    reading.list.complaint = match faults.split_first() {
        None => None,
        Some((first, [])) => Some(first.as_str().into()),
        Some((first, more)) => Some(format!("{first}; and {} more that cannot be read", more.len()).into()),
    };
    let sums = sums(&drafts, around);
    let orders = drafts.into_iter().filter(|draft| !matches!(draft.kind, Kind::Reservation(_)));
    reading.list.orders = bounded(orders.map(|draft| draft.order).chain(sums).collect(), around.now);
    reading
}

/// Those that hold or are to come first, by their start; then those that are over, the latest first.
fn bounded(mut orders: Vec<Order>, now: Wall) -> Vec<Order> {
    let over = |order: &Order| order.until.is_some_and(|until| until <= now);
    if orders.len() > MOST_ORDERS {
        orders.sort_by_key(|order| {
            let begins = order.from.max(now).as_unix_millis();
            let ended = order.until.map_or(0, |until| until.as_unix_millis().saturating_neg());
            if over(order) { (true, ended) } else { (false, begins) }
        });
        orders.truncate(MOST_ORDERS);
    }
    orders
}

fn one(
    event: &Event,
    programmes: &Programmes,
    around: &Surroundings<'_>,
    reading: &mut Reading,
) -> Result<Vec<Draft>, Fault> {
    let mut drafts = Vec::new();
    if event.intervals.is_empty() {
        // It asks for something, and does not say what and when.
        return Err(Fault::Missing("intervals"));
    }
    let mut unmapped = BTreeSet::new();
    let windows = windows(event, draw(around.source, &event.id), around.now);
    for window in &windows {
        let Some(interval) = event.intervals.get(window.interval) else { continue };
        let mut obeyed = 0_u32;
        for (payload, values) in &interval.payloads {
            let Some(rule) = around.settings.payloads.get(payload) else {
                unmapped.insert(payload.clone());
                continue;
            };
            let unit = unit(event, programmes, payload, rule, around.settings)?;
            let subject = Subject { event, interval, payload, rule, unit, window };
            let more = subject.orders(values, obeyed, around)?;
            obeyed += 1;
            drafts.extend(more);
        }
    }
    reading.unmapped.extend(unmapped);
    let reported = !drafts.is_empty() || !event.reports.is_empty();
    if !reported || reading.followed.len() >= MOST_FOLLOWED {
        return Ok(drafts);
    }
    reading.followed.push(Followed {
        id: event.id.clone(),
        program: event.program.clone(),
        revision: event.revision(),
        obeyed: !drafts.is_empty(),
        intervals: event.intervals.len(),
        wishes: event.reports.clone(),
        windows: windows
            .iter()
            .filter_map(|window| {
                let interval = event.intervals.get(window.interval)?;
                Some((interval.number, window.from, window.until))
            })
            .collect(),
    });
    Ok(drafts)
}

/// From the event, else its programme, else the configuration.
fn unit(
    event: &Event,
    programmes: &Programmes,
    payload: &str,
    rule: &Rule,
    settings: &Settings,
) -> Result<PowerUnit, Fault> {
    if matches!(rule.meaning, Meaning::Simple | Meaning::Alert(_)) {
        return Ok(settings.unit);
    }
    let written =
        event.units.get(payload).map(String::as_str).or_else(|| programmes.unit(&event.program, payload));
    match written {
        Some(unit) => PowerUnit::from_name(unit)
            .ok_or_else(|| Fault::Unit { payload: shorten(payload), unit: shorten(unit) }),
        None => Ok(rule.unit.unwrap_or(settings.unit)),
    }
}

/// A payload in its interval.
struct Subject<'e> {
    event: &'e Event,
    interval: &'e Interval,
    payload: &'e str,
    rule: &'e Rule,
    unit: PowerUnit,
    window: &'e Window,
}

impl Subject<'_> {
    /// One order, or one for each value where there are several: they share the interval evenly (User Guide, 7.3).
    fn orders(&self, values: &[Value], before: u32, around: &Surroundings<'_>) -> Result<Vec<Draft>, Fault> {
        let Window { from, until, round, .. } = *self.window;
        let mut id = format!("{}/{}", self.event.id, self.interval.id);
        if round > 0 {
            id = format!("{id}#{round}");
        }
        if before > 0 {
            id = format!("{id}:{before}");
        }
        if let Meaning::Alert(level) = self.rule.meaning {
            let ask = level_ask(level, (around.nameplate)(self.scope(around)));
            return Ok(vec![self.draft(id, ask, Kind::Plain, (from, until), around)]);
        }
        match values {
            [] => Err(self.wrong(&Value::Null)),
            [value] => {
                let (ask, kind) = self.ask(value, around)?;
                Ok(vec![self.draft(id, ask, kind, (from, until), around)])
            }
            several => {
                let until = until.ok_or_else(|| Fault::Undivided(self.interval.id.clone()))?;
                let count = u32::try_from(several.len()).unwrap_or(u32::MAX);
                let whole = until.since(from);
                let mut drafts = Vec::with_capacity(several.len());
                for (value, position) in several.iter().zip(0_u32..) {
                    let (ask, kind) = self.ask(value, around)?;
                    let begin = from.later(whole * position / count);
                    let end = from.later(whole * position.saturating_add(1) / count);
                    drafts.push(self.draft(
                        format!("{id}.{position}"),
                        ask,
                        kind,
                        (begin, Some(end)),
                        around,
                    ));
                }
                Ok(drafts)
            }
        }
    }

    fn scope(&self, around: &Surroundings<'_>) -> Scope {
        self.rule.scope.unwrap_or(around.place.scope)
    }

    fn ask(&self, value: &Value, around: &Surroundings<'_>) -> Result<(Ask, Kind), Fault> {
        let nameplate = (around.nameplate)(self.scope(around));
        if self.rule.meaning == Meaning::Simple {
            let level = (0_u8..).zip(&around.settings.simple).find(|(level, _)| {
                value.as_f64().is_some_and(|number| number.total_cmp(&f64::from(*level)).is_eq())
            });
            let (_, level) = level.ok_or_else(|| self.wrong(value))?;
            return Ok((level_ask(*level, nameplate), Kind::Plain));
        }
        let number = value.as_f64().ok_or_else(|| self.wrong(value))?;
        let watts = Watts::new(self.unit.watts(number)).map_err(|_| self.wrong(value))?;
        if self.rule.meaning == Meaning::Reservation && watts < Watts::ZERO {
            return Err(self.wrong(value));
        }
        let cap = Ask::Cap(believed(watts, nameplate, around.settings.rating));
        Ok(match self.rule.meaning {
            Meaning::Reduction => (Ask::ReduceBy(watts), Kind::Plain),
            Meaning::Subscription => (cap, Kind::Subscription(watts)),
            Meaning::Reservation => (cap, Kind::Reservation(watts)),
            Meaning::Cap | Meaning::Simple | Meaning::Alert(_) => (cap, Kind::Plain),
        })
    }

    fn wrong(&self, value: &Value) -> Fault {
        let simple = self.rule.meaning == Meaning::Simple;
        Fault::Value {
            payload: shorten(self.payload),
            interval: self.interval.id.clone(),
            value: shorten(&value.to_string()),
            expected: if simple { "a level from 0 to 3" } else { "a power" },
        }
    }

    fn draft(
        &self,
        id: String,
        ask: Ask,
        kind: Kind,
        (from, until): (Wall, Option<Wall>),
        around: &Surroundings<'_>,
    ) -> Draft {
        let capacity = matches!(kind, Kind::Subscription(_) | Kind::Reservation(_));
        let alert = matches!(self.rule.meaning, Meaning::Alert(_));
        let order = Order {
            id: id.into(),
            revision: self.event.revision(),
            lane: lane(if capacity { SUBSCRIPTION } else { self.payload }, &self.event.program),
            priority: if capacity { doubled(self.event.priority) + 1 } else { self.event.priority },
            circuit: around.place.circuit,
            scope: self.scope(around),
            ask,
            basis: around.settings.basis,
            urgency: if alert { Urgency::Emergency } else { Urgency::Normal },
            from,
            until,
            // The shift is in `from` already: all intervals of an event are moved by the same time.
            start_spread: std::time::Duration::ZERO,
        };
        Draft { order, kind }
    }
}

fn lane(payload: &str, programme: &str) -> Arc<str> {
    if programme.is_empty() { payload.into() } else { format!("{payload} of {programme}").into() }
}

/// Leaves room for a better priority between two.
fn doubled(priority: u32) -> u32 {
    priority.min(u32::MAX / 2 - 1) * 2
}

/// A cap that is more than everything that hangs there is no restriction, if the connection can carry it; above that it is
/// a mistake of somebody, and the desk refuses it.
fn believed(cap: Watts, nameplate: Watts, rating: Option<Watts>) -> Watts {
    match rating {
        Some(rating) if cap > nameplate && cap <= rating => nameplate,
        _ => cap,
    }
}

fn level_ask(level: Level, nameplate: Watts) -> Ask {
    match level {
        Level::Share(share) => Ask::ShareOfNameplate(share),
        Level::Power(cap) => Ask::Cap(cap.min(nameplate)),
    }
}

/// Where a subscription and a reservation hold at once: an order over both.
fn sums(drafts: &[Draft], around: &Surroundings<'_>) -> Vec<Order> {
    let mut orders = Vec::new();
    let not_over = |draft: &&Draft| draft.order.until.is_none_or(|until| until > around.now);
    let parts = |of: fn(&Kind) -> Option<Watts>| {
        let parts = drafts.iter().filter(not_over).filter_map(move |draft| Some((draft, of(&draft.kind)?)));
        parts.take(MOST_PARTS).collect::<Vec<_>>()
    };
    let subscriptions = parts(|kind| if let Kind::Subscription(watts) = kind { Some(*watts) } else { None });
    let reservations = parts(|kind| if let Kind::Reservation(watts) = kind { Some(*watts) } else { None });
    for (base, subscribed) in subscriptions {
        for (more, reserved) in &reservations {
            let reserved = *reserved;
            let from = base.order.from.max(more.order.from);
            let until = match (base.order.until, more.order.until) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            let empty = until.is_some_and(|until| until <= from);
            let usable = reserved > Watts::ZERO && subscribed >= Watts::ZERO;
            if empty
                || !usable
                || (base.order.scope, &base.order.lane) != (more.order.scope, &more.order.lane)
                || orders.len() >= MOST_SUMS
            {
                continue;
            }
            let nameplate = (around.nameplate)(base.order.scope);
            // Each of the two makes sense alone: more than everything together is no mistake of a unit then.
            let alone = subscribed <= nameplate && reserved <= nameplate;
            let sum = subscribed + reserved;
            let sum =
                if alone { sum.min(nameplate) } else { believed(sum, nameplate, around.settings.rating) };
            orders.push(Order {
                id: format!("{}+{}", base.order.id, more.order.id).into(),
                // Higher whenever one of the two is.
                revision: base.order.revision.saturating_add(more.order.revision),
                priority: base.order.priority.saturating_sub(1),
                ask: Ask::Cap(sum),
                from,
                until,
                ..base.order.clone()
            });
        }
    }
    orders
}

/// Whether a reading is within its bounds, for tests and fuzzing: not too many orders, each with a name of its own, none
/// that ends before it begins, and a complaint where something could not be read.
#[cfg(any(fuzzing, test))]
pub fn sound(reading: &Reading) -> bool {
    let orders = &reading.list.orders;
    let names: BTreeSet<&str> = orders.iter().map(|order| &*order.id).collect();
    // Two events of one id are the top node's mistake; the book takes one of them.
    let events: BTreeSet<&str> = reading.followed.iter().map(|event| event.id.as_str()).collect();
    orders.len() <= MOST_ORDERS
        && (names.len() == orders.len() || events.len() < reading.followed.len())
        && orders.iter().all(|order| order.until.is_none_or(|until| until >= order.from))
        && (reading.list.unreadable.is_empty() || reading.list.complaint.is_some())
}

/// Where in its spread a random start falls, -1 to 1: drawn once for each event by its id, so that it is the same at each
/// poll and after a restart.
pub fn draw(source: &str, event: &str) -> f64 {
    let digest = Sha256::new().chain_update(source).chain_update([0]).chain_update(event).finalize();
    let bytes = digest.first_chunk::<4>().copied().unwrap_or_default();
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX) * 2.0 - 1.0
}
