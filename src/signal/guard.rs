//! A guard on the frequency or the voltage at a meter: when it sags, the miners draw less.
//!
//! It is looked at in every cycle, on the readings of that cycle, and acts in the same one; the law is in
//! [`crate::control::signal::guard_law`]. Beside that each change is given to the desk as an order, so that it is on record
//! and survives a restart. It is **not an ancillary service** and no relay: a meter that is polled every second and
//! miners that take seconds are too slow and too uncertain for that.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::contact::words;
use super::{Desk, Kind, List, Place, SourceKey, Spec};
use crate::clock::Moment;
use crate::control::measure::Measure;
use crate::control::signal::guard_law::{Guard, Law, Level};
use crate::control::signal::{Active, Ask, Basis, Order, Urgency, Wall, Why};
use crate::control::site::MeterId;
use crate::control::snapshot::{MeterInput, OrderCap, Reading};

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Hertz.
    Frequency,
    /// Volts from phase to neutral: the lowest of those phases that the meter tells.
    Voltage,
}

impl Watched {
    /// The measures of a meter that tell it.
    pub const fn measures(self) -> &'static [Measure] {
        match self {
            Self::Frequency => &[Measure::Frequency],
            Self::Voltage => &[Measure::VoltageL1, Measure::VoltageL2, Measure::VoltageL3],
        }
    }

    /// In words, with its unit.
    fn say(self, value: Option<f64>) -> String {
        match (self, value) {
            (Self::Frequency, Some(value)) => format!("frequency {value:.2} Hz"),
            (Self::Voltage, Some(value)) => format!("voltage {value:.1} V"),
            (Self::Frequency, None) => "frequency unknown".into(),
            (Self::Voltage, None) => "voltage unknown".into(),
        }
    }

    /// The reading of a meter: the lowest value, and the age of the oldest.
    fn reading(self, meter: &MeterInput) -> Option<Reading<f64>> {
        let readings = self.measures().iter().filter_map(|measure| meter.others.get(*measure));
        readings.reduce(|one, other| Reading { value: one.value.min(other.value), at: one.at.min(other.at) })
    }
}

/// The settings of this kind of source.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The meter that tells the value.
    pub meter: MeterId,
    /// Which value.
    pub watched: Watched,
    /// When and how much.
    pub law: Law,
    /// What holds at level 0; between 0 and 1 the level is a share of the nameplate.
    pub cap: Ask,
}

/// All guards of a configuration. Dropping it ends their records.
#[derive(Debug, Default)]
pub struct Guards(Vec<Running>);

#[derive(Debug)]
struct Running {
    source: SourceKey,
    name: Arc<str>,
    place: Place,
    settings: Settings,
    guard: Guard,
    desk: Desk,
    /// What is in force, by its name.
    standing: Option<(Arc<str>, Ask)>,
    /// The level at the latest look.
    left: f64,
    /// Since when the value has been known; the record of a run before is not closed sooner than power would return.
    known_since: Option<Moment>,
    record: watch::Sender<Option<(SourceKey, Vec<Order>)>>,
}

impl Guards {
    /// The name of a guard whose record nobody takes any more.
    pub fn ended(&self) -> Option<&str> {
        self.0.iter().find(|running| running.record.is_closed()).map(|running| &*running.name)
    }

    /// Starts the guards of a configuration, on the present tokio runtime. One that is the same as `before` goes on as it
    /// was.
    pub fn start(specs: &[Spec], desk: &Desk, before: Option<Self>) -> Self {
        let mut known = before.unwrap_or_default().0;
        let guards = specs.iter().filter_map(|spec| {
            let Kind::Guard(settings) = &spec.kind else { return None };
            let source = desk.source(&spec.settings.name)?;
            let name: Arc<str> = spec.settings.name.as_str().into();
            let same = known.iter().position(|known| {
                known.name == name && known.settings == *settings && known.place == spec.place
            });
            if let Some(mut running) = same.map(|at| known.swap_remove(at)) {
                running.source = source;
                return Some(running);
            }
            Some(Running {
                source,
                place: spec.place,
                settings: settings.clone(),
                guard: Guard::new(&name),
                desk: desk.clone(),
                standing: None,
                left: 1.0,
                known_since: None,
                record: recorder(name.clone(), desk),
                name,
            })
        });
        Self(guards.collect())
    }

    /// The caps that act on the readings of this cycle.
    pub fn look(&mut self, meters: &[MeterInput], now: Moment) -> Vec<OrderCap> {
        self.0.iter_mut().filter_map(|running| running.look(meters, now)).collect()
    }
}

impl Running {
    fn look(&mut self, meters: &[MeterInput], now: Moment) -> Option<OrderCap> {
        let reading =
            meters.get(self.settings.meter.0).and_then(|meter| self.settings.watched.reading(meter));
        let level = self.guard.look(&self.settings.law, reading, now);
        if level.fresh {
            self.desk.heartbeat(self.source);
        }
        self.known_since =
            if level.unknown || level.value.is_none() { None } else { Some(self.known_since.unwrap_or(now)) };
        self.follow(level, now);
        let (id, ask) = self.standing.clone()?;
        let nameplate = self.desk.nameplate(self.place.circuit, self.place.scope);
        let cap = match ask {
            Ask::Cap(cap) => cap.min(nameplate),
            Ask::ShareOfNameplate(share) => nameplate.scaled(share),
            Ask::ReduceBy(by) => (nameplate - by).at_least_zero(),
        };
        let active = Active {
            circuit: self.place.circuit,
            scope: self.place.scope,
            cap,
            why: if level.unknown { Why::FailSafe } else { Why::Order(id) },
            basis: Basis::Instant,
            urgency: Urgency::Emergency,
        };
        Some(OrderCap { source: self.source.position(), active })
    }

    fn follow(&mut self, level: Level, now: Moment) {
        let moved = level.left.total_cmp(&self.left).is_ne();
        self.left = level.left;
        if moved {
            let said = self.settings.watched.say(level.value.filter(|_| !level.unknown));
            let ask = self.ask();
            let nameplate = self.desk.nameplate(self.place.circuit, self.place.scope);
            self.standing = ask.map(|ask| (format!("{said}: {}", words(ask, nameplate)).into(), ask));
            match &self.standing {
                Some((id, _)) => warn!(source = %self.name, "{id}"),
                None => info!(source = %self.name, "{said}: power may return"),
            }
        }
        // Nothing is said of a value that is not known: the desk finds out by itself that the source is lost. And after a
        // start, an order that is on record stays until power would return after a trip.
        let law = &self.settings.law;
        let settled = law.return_after.saturating_add(law.return_spread);
        let certain = self.standing.is_some() || self.known_since.is_some_and(|since| now - since >= settled);
        if !level.unknown && (moved || self.record.borrow().is_none()) && certain {
            self.publish();
        }
    }

    fn ask(&self) -> Option<Ask> {
        match self.left {
            left if left >= 1.0 => None,
            left if left <= 0.0 => Some(self.settings.cap),
            left => Some(Ask::ShareOfNameplate(left)),
        }
    }

    fn publish(&self) {
        let order = |(id, ask): &(Arc<str>, Ask)| Order {
            id: id.clone(),
            revision: 0,
            lane: "guard".into(),
            priority: u32::MAX,
            circuit: self.place.circuit,
            scope: self.place.scope,
            ask: *ask,
            basis: Basis::Instant,
            urgency: Urgency::Emergency,
            from: Wall::unix_millis(0),
            until: None,
            start_spread: Duration::ZERO,
        };
        self.record.send_replace(Some((self.source, self.standing.iter().map(order).collect())));
    }
}

/// Starts the task that gives what a guard decided to the desk, which may have to wait for the disk.
fn recorder(name: Arc<str>, desk: &Desk) -> watch::Sender<Option<(SourceKey, Vec<Order>)>> {
    let (sender, mut orders) = watch::channel(None);
    let desk = desk.clone();
    tokio::spawn(async move {
        while orders.changed().await.is_ok() {
            let Some((source, orders)) = orders.borrow_and_update().clone() else { continue };
            match desk.list(source, List { orders, ..List::default() }).await {
                Ok(answers) => {
                    for answer in answers {
                        if let Err(refusal) = answer.outcome {
                            warn!(source = %name, order = %answer.id, "not on record: {refusal}");
                        }
                    }
                }
                Err(error) => warn!(source = %name, "not on record: {error}"),
            }
        }
    });
    sender
}
