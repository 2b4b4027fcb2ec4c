//! What of an order was delivered: worked out from the stored quarters, so that it can be worked out again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::baseline::{Baseline, Curve, curve};
use super::{KNOWN, QUARTER, QUARTER_MS, Sums, quarter};
use crate::control::signal::Wall;
use crate::control::site::Scope;
use crate::units::{Joules, Watts};

/// What programmes accept of what was asked: at least this share, and no more than [`MOST`].
pub const LEAST: f64 = 0.95;
/// See [`LEAST`].
pub const MOST: f64 = 1.5;
/// Why a quarter cannot be judged that the clock showed twice, or not as a whole.
const JUMPED: &str = "the clock jumped";
/// Times that are no further apart count as one.
const APART: Duration = Duration::from_secs(10);
/// Quarters of one order that are settled at most: half a year.
const MOST_QUARTERS: i64 = 17_568;

/// An order as it is settled.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number in the ledger.
    pub number: u64,
    /// Name of the source.
    pub source: Arc<str>,
    /// The name that the source gave it.
    pub id: Arc<str>,
    /// Name of the circuit.
    pub circuit: Arc<str>,
    /// What it capped there.
    pub scope: Scope,
    /// The cap that it came to.
    pub cap: Watts,
    /// What would have been drawn without it, as stated when it was accepted.
    pub stated: Option<Watts>,
    /// From when it held.
    pub from: Wall,
    /// Up to when.
    pub until: Wall,
    /// From when on it was to hold by its own words, and up to when. A clock that is in doubt, a random delay or a withdrawal
    /// makes another time of it.
    pub ordered: (Wall, Option<Wall>),
    /// For how long power was measured while it held, and the energy in that time.
    pub measured: (Duration, Joules),
    /// What was delivered by the record: against what was stated when it came, as a fraction.
    pub recorded: Option<f64>,
}

impl Event {
    /// Whether it began or ended at another time than it says.
    pub fn differs(&self) -> bool {
        let apart = |one: Wall, other: Wall| one.since(other).max(other.since(one)) >= APART;
        apart(self.from, self.ordered.0) || self.ordered.1.is_some_and(|until| apart(self.until, until))
    }

    /// Mean power while it held, where enough of that was measured, and no quarter of an hour lies within it: then the mean
    /// of a quarter is mostly of time in which it did not hold.
    fn mean(&self) -> Option<Watts> {
        let (time, energy) = self.measured;
        let held = self.until.since(self.from);
        let known = !time.is_zero() && time.as_secs_f64() >= held.as_secs_f64() * KNOWN;
        let short = self.quarters().all(|start| self.within(start) < QUARTER);
        (known && short).then(|| Watts::saturating(energy.get() / time.as_secs_f64()))
    }

    /// The quarters that it touches, by their beginning in Unix milliseconds.
    pub fn quarters(&self) -> impl Iterator<Item = i64> + Clone + use<> {
        let first = quarter(self.from).as_unix_millis();
        let last = self.until.as_unix_millis();
        let most = last.min(first.saturating_add(QUARTER_MS.saturating_mul(MOST_QUARTERS)));
        (0_i64..)
            .map(move |n| first.saturating_add(n.saturating_mul(QUARTER_MS)))
            .take_while(move |at| *at < most)
    }

    /// Whether it acted in a quarter.
    pub fn touches(&self, start: i64) -> bool {
        self.from.as_unix_millis() < start.saturating_add(QUARTER_MS) && self.until.as_unix_millis() > start
    }

    /// From when in a quarter it held, and up to when: not before, where it did not.
    fn part(&self, start: i64) -> (Wall, Wall) {
        let end = Wall::unix_millis(start.saturating_add(QUARTER_MS));
        (self.from.max(Wall::unix_millis(start)), self.until.min(end))
    }

    /// For how much of a quarter it held.
    fn within(&self, start: i64) -> Duration {
        let (from, until) = self.part(start);
        until.since(from)
    }

    /// Whether it held in a quarter at one moment from `from` to `until`.
    fn meets(&self, (from, until): (Wall, Wall), start: i64) -> bool {
        let (its_from, its_until) = self.part(start);
        from.max(its_from) < until.min(its_until)
    }
}

/// Mean power quarter by quarter, with how much of each is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series(BTreeMap<i64, Known>);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Known {
    energy: Joules,
    time: Duration,
    bridged: Duration,
    jumps: u32,
}

impl Series {
    /// Adds a part of a quarter. Of import, what flows out is taken off.
    pub fn add(&mut self, start: Wall, scope: Scope, sums: &Sums) {
        let known = self.0.entry(quarter(start).as_unix_millis()).or_default();
        let (energy, time) = match scope {
            Scope::Import => (sums.import - sums.export, sums.metered()),
            Scope::Miners => (sums.miners, sums.miners_known),
        };
        known.energy += energy;
        known.time = known.time.saturating_add(time);
        if scope == Scope::Import {
            known.bridged = known.bridged.saturating_add(sums.bridged);
        }
        known.jumps = known.jumps.saturating_add(sums.jumps);
    }

    /// Its mean power, where enough of the quarter is known.
    pub fn watts(&self, start: i64) -> Option<Watts> {
        let known = self.0.get(&start).filter(|known| known.fault().is_none())?;
        Some(Watts::saturating(known.energy.get() / known.time.as_secs_f64()))
    }

    /// Whether the clock jumped in it.
    fn jumped(&self, start: i64) -> bool {
        self.0.get(&start).is_some_and(Known::jumped)
    }

    /// Why a quarter cannot be judged.
    fn fault(&self, start: i64) -> Option<String> {
        match self.0.get(&start) {
            None => Some("nothing is known of it: the daemon did not run".into()),
            Some(known) => known.fault(),
        }
    }
}

impl Known {
    fn jumped(&self) -> bool {
        self.jumps > 0 || self.time.as_secs_f64() / QUARTER.as_secs_f64() > 1.02
    }

    fn fault(&self) -> Option<String> {
        let of = |time: Duration| time.as_secs_f64() / QUARTER.as_secs_f64();
        let exact = self.time.saturating_sub(self.bridged);
        if self.jumped() {
            return Some(JUMPED.to_owned());
        }
        if of(exact) >= KNOWN {
            return None;
        }
        let of = of(exact) * 100.0;
        Some(if self.bridged.is_zero() {
            format!("only {of:.0} % of it is measured")
        } else {
            format!("only {of:.0} % of it is measured, the rest a counter tells as a sum")
        })
    }
}

/// How a quarter or an order was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Less than [`LEAST`] of what was asked.
    Below,
    /// As asked.
    Within,
    /// More than [`MOST`] of what was asked.
    Above,
    /// The baseline is not above the cap: nothing was to be reduced.
    NothingAsked,
    /// There is no baseline, or nothing that counts.
    NotKnown,
}

impl Verdict {
    /// As written in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Below => "below",
            Self::Within => "within",
            Self::Above => "above",
            Self::NothingAsked => "nothing-asked",
            Self::NotKnown => "not-known",
        }
    }

    fn of(delivered: Option<Joules>, asked: Option<Joules>) -> Self {
        let Some((delivered, asked)) = delivered.zip(asked) else { return Self::NotKnown };
        if asked.get() <= 0.0 {
            return Self::NothingAsked;
        }
        match delivered.ratio(asked) {
            Some(share) if share < LEAST => Self::Below,
            Some(share) if share > MOST => Self::Above,
            Some(_) => Self::Within,
            None => Self::NothingAsked,
        }
    }
}

/// One quarter of an order. Energies are those of the time within it for which the order held.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// When the quarter begins.
    pub start: Wall,
    /// For how much of it the order held.
    pub held: Duration,
    /// What would have flowed.
    pub baseline: Option<Joules>,
    /// What flowed.
    pub measured: Option<Joules>,
    /// What was to be reduced: down to the cap.
    pub asked: Option<Joules>,
    /// What was reduced: negative where more flowed than would have.
    pub delivered: Option<Joules>,
    /// How it went.
    pub verdict: Verdict,
    /// Why it is not held against the site, and counts in no total.
    pub excused: Option<String>,
}

/// An order, settled.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// The order.
    pub event: Event,
    /// By which method.
    pub baseline: Baseline,
    /// What came of it, or why there is none.
    pub curve: Result<Curve, String>,
    /// What flowed is what was measured while it held, and not the mean of quarters: no whole one lies within it.
    pub by_order: bool,
    /// Each quarter.
    pub quarters: Vec<Settled>,
    /// Over all quarters that are not excused: what was to be reduced.
    pub asked: Option<Joules>,
    /// What was reduced.
    pub delivered: Option<Joules>,
    /// How it went.
    pub verdict: Verdict,
}

/// A time that is not held against the site, by somebody's word.
#[derive(Clone, Debug, PartialEq)]
pub struct Excuse {
    /// From when.
    pub from: Wall,
    /// Up to when.
    pub until: Wall,
    /// Why.
    pub reason: String,
}

/// Settles an order. `all` are all orders there are; `related` says whether one circuit feeds the other.
pub fn settle(
    event: &Event,
    how: Baseline,
    series: &Series,
    all: &[Event],
    excuses: &[Excuse],
    zone: &TimeZone,
    related: impl Fn(&str, &str) -> bool,
) -> Settlement {
    let same: Vec<&Event> = all
        .iter()
        .filter(|other| other.source == event.source && related(&other.circuit, &event.circuit))
        .collect();
    let curve = curve(how, series, event, &same, zone);
    let mean = event.mean();
    let known = curve.as_ref().ok();
    let quarters: Vec<Settled> =
        event.quarters().map(|start| one(event, start, (series, mean), known, all, excuses)).collect();
    let total = |of: fn(&Settled) -> Option<Joules>| {
        let counted = quarters.iter().filter(|quarter| quarter.excused.is_none());
        counted.filter_map(of).reduce(|one, other| one + other)
    };
    let (asked, delivered) = (total(|it| it.asked), total(|it| it.delivered));
    Settlement {
        event: event.clone(),
        baseline: how,
        curve,
        by_order: mean.is_some(),
        asked,
        delivered,
        verdict: Verdict::of(delivered, asked),
        quarters,
    }
}

fn one(
    event: &Event,
    start: i64,
    (series, mean): (&Series, Option<Watts>),
    curve: Option<&Curve>,
    all: &[Event],
    excuses: &[Excuse],
) -> Settled {
    let held = event.within(start);
    let baseline = curve.and_then(|curve| curve.watts.get(&start)).map(|watts| watts.over(held));
    let measured = mean.or_else(|| series.watts(start)).map(|watts| watts.over(held));
    let asked = baseline.map(|baseline| (baseline - event.cap.over(held)).at_least_zero());
    let delivered = baseline.zip(measured).map(|(baseline, measured)| baseline - measured);
    let told = excuses.iter().find(|it| event.meets((it.from, it.until), start)).map(|it| it.reason.clone());
    let tighter = || {
        let other = all.iter().find(|other| {
            other.number != event.number
                && other.circuit == event.circuit
                && other.scope == event.scope
                && other.cap < event.cap
                && event.meets((other.from, other.until), start)
        })?;
        Some(format!("the order {} of {} asked for more", other.id, other.source))
    };
    let part = (held < QUARTER).then(|| {
        let minutes = held.as_secs_f64() / 60.0;
        format!("the order held for {minutes:.1} min of it: it began, ended or changed")
    });
    let unknown = || match mean {
        Some(_) => series.jumped(start).then(|| JUMPED.to_owned()),
        None => series.fault(start).or(part),
    };
    let excused = told.or_else(unknown).or_else(tighter);
    Settled {
        start: Wall::unix_millis(start),
        held,
        verdict: Verdict::of(delivered, asked),
        baseline,
        measured,
        asked,
        delivered,
        excused,
    }
}
