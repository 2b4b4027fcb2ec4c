//! What became of each order: the entries of the ledger, bounded, and what is news about them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::desk::START_UP;
use super::glance::Giver;
use super::keep;
use super::prove::{self, Event, Figures};
use super::record::{News, Record, Stage, What};
use crate::control::signal::book::Held;
use crate::control::signal::delivery::Delivery;
use crate::control::signal::{Ask, Basis, Order, Urgency, Wall};
use crate::control::site::{CircuitId, Scope, Site, SourceId};
use crate::proof::{self, Writer};
use crate::store::LedgerRow;
use crate::units::Watts;

/// Orders whose record is at hand.
pub const MOST_RECORDS: usize = 500;
/// What stands in the place of an order's name when somebody has lifted the caps of a source.
const LIFT: &str = "lift";
/// Lines that wait for the log; the oldest fall away.
const MOST_NEWS: usize = 256;

/// One order.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    number: u64,
    pub(super) source: Arc<str>,
    pub(super) id: Arc<str>,
    pub(super) revision: u64,
    circuit: Arc<str>,
    scope: Scope,
    pub(super) stage: Stage,
    /// `None` when it was refused.
    pub(super) delivery: Option<Delivery>,
    basis: Basis,
    from: Wall,
    until: Option<Wall>,
    received: Wall,
    stored: bool,
    note: Option<Arc<str>>,
    by: Option<Arc<str>>,
    remark: Option<Arc<str>>,
    /// It has changed since it was last handed to the store.
    dirty: bool,
}

impl Entry {
    /// Neither refused nor over.
    pub(super) fn open(&self) -> bool {
        matches!(self.stage, Stage::Accepted | Stage::Acting)
    }

    fn record(&self, site: &Site) -> Option<Record> {
        let source = site.sources.iter().position(|source| source.name == *self.source)?;
        let delivery = self.delivery.as_ref();
        Some(Record {
            source: SourceId(source),
            id: self.id.clone(),
            revision: self.revision,
            circuit: keep::circuit(site, &self.circuit).unwrap_or(CircuitId(usize::MAX)),
            scope: self.scope,
            stage: self.stage.clone(),
            cap: delivery.map(|delivery| delivery.cap),
            baseline: delivery.and_then(|delivery| delivery.baseline),
            basis: self.basis,
            from: self.from,
            until: self.until,
            received: self.received,
            applied: delivery.and_then(|delivery| delivery.applied),
            met: delivery.and_then(|delivery| delivery.met),
            ended: delivery.and_then(|delivery| delivery.ended),
            measured: delivery.map(|delivery| delivery.measured).unwrap_or_default(),
            mean: delivery.and_then(Delivery::mean),
            deviation: delivery.and_then(Delivery::deviation),
            worst: delivery.map_or(Watts::ZERO, |delivery| delivery.worst),
            shortfall: delivery
                .filter(|_| self.stage == Stage::Acting)
                .and_then(|delivery| delivery.shortfall),
            avoided: delivery.and_then(Delivery::avoided),
            delivered: delivery.and_then(Delivery::delivered),
            stored: self.stored,
            note: self.note.clone(),
            by: self.by.clone(),
            remark: self.remark.clone(),
        })
    }

    fn figures(&self) -> Figures {
        let delivery = self.delivery.as_ref();
        Figures {
            mean: delivery.and_then(Delivery::mean),
            deviation: delivery.and_then(Delivery::deviation),
            avoided: delivery.and_then(Delivery::avoided),
            delivered: delivery.and_then(Delivery::delivered),
        }
    }

    fn row(&self) -> LedgerRow {
        let delivery = self.delivery.as_ref();
        let refused = match &self.stage {
            Stage::Refused(reason) => Some(reason.clone()),
            _ => None,
        };
        LedgerRow {
            number: self.number,
            source: self.source.clone(),
            id: self.id.clone(),
            revision: self.revision,
            circuit: self.circuit.clone(),
            scope: self.scope,
            stage: self.stage.name().into(),
            reason: refused.or_else(|| self.note.clone()),
            cap: delivery.map(|delivery| delivery.cap),
            baseline: delivery.and_then(|delivery| delivery.baseline),
            basis: self.basis,
            from: self.from,
            until: self.until,
            received: self.received,
            applied: delivery.and_then(|delivery| delivery.applied),
            met: delivery.and_then(|delivery| delivery.met),
            ended: delivery.and_then(|delivery| delivery.ended),
            measured: delivery.map(|delivery| delivery.measured).unwrap_or_default(),
            energy: delivery.map(|delivery| delivery.energy).unwrap_or_default(),
            worst: delivery.map(|delivery| delivery.worst).unwrap_or_default(),
            worst_mean: delivery.and_then(|delivery| delivery.worst_mean),
            stored: self.stored,
            by: self.by.clone(),
            remark: self.remark.clone(),
        }
    }

    fn of_row(row: &LedgerRow) -> Self {
        let delivery = row.cap.map(|cap| {
            let mut delivery = Delivery::new(cap, row.baseline, row.basis, row.received);
            delivery.applied = row.applied;
            delivery.met = row.met;
            delivery.ended = row.ended;
            delivery.measured = row.measured;
            delivery.energy = row.energy;
            delivery.worst = row.worst;
            delivery.worst_mean = row.worst_mean;
            delivery
        });
        let stage = keep::stage(&row.stage, row.reason.as_ref());
        Self {
            number: row.number,
            source: row.source.clone(),
            id: row.id.clone(),
            revision: row.revision,
            circuit: row.circuit.clone(),
            scope: row.scope,
            note: row.reason.clone().filter(|_| !matches!(stage, Stage::Refused(_))),
            stage,
            delivery,
            basis: row.basis,
            from: row.from,
            until: row.until,
            received: row.received,
            stored: row.stored,
            by: row.by.clone(),
            remark: row.remark.clone(),
            dirty: false,
        }
    }
}

/// The entries at hand, the newest last.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: VecDeque<Entry>,
    last: u64,
    news: VecDeque<News>,
    proof: Writer,
}

impl Ledger {
    /// The entries that were on disk, the newest last.
    pub(super) fn of_rows(rows: &[LedgerRow], last: u64) -> Self {
        Self { entries: rows.iter().map(Entry::of_row).collect(), last, ..Self::default() }
    }

    /// Where everything goes that is to be proven later.
    pub(super) fn prove_to(&mut self, proof: Writer) {
        self.proof = proof;
    }

    /// Hands over what has happened to the newest entry.
    fn prove(&self, event: Event) {
        if let Some(entry) = self.entries.back() {
            prove::order(&self.proof, event, &entry.row(), entry.figures());
        }
    }

    /// All records, the newest first. Those of sources that the site does not have any more are on disk alone.
    pub(super) fn records(&self, site: &Site) -> Vec<Record> {
        self.entries.iter().rev().filter_map(|entry| entry.record(site)).collect()
    }

    /// The newest entry of an order that was taken in. What was refused has entries of its own, and changes none.
    pub(super) fn find(&mut self, source: &str, id: &str) -> Option<&mut Entry> {
        let taken = |entry: &&mut Entry| !matches!(entry.stage, Stage::Refused(_));
        self.entries.iter_mut().rev().filter(taken).find(|entry| *entry.source == *source && *entry.id == *id)
    }

    /// The newest entry of a source that was ever obeyed.
    pub(super) fn latest_applied(&self, source: &str) -> Option<&Delivery> {
        let applied = |entry: &&Entry| {
            *entry.source == *source && entry.delivery.as_ref().is_some_and(|it| it.applied.is_some())
        };
        self.entries.iter().rev().find(applied).and_then(|entry| entry.delivery.as_ref())
    }

    /// The largest shortfall and the deviation of the orders of a source that hold now.
    pub(super) fn shortfall(&self, source: &str) -> Option<Watts> {
        let acting = self.entries.iter().filter(|entry| *entry.source == *source);
        let each = acting.filter(|entry| entry.stage == Stage::Acting);
        each.filter_map(|entry| entry.delivery.as_ref()?.shortfall).reduce(Watts::max)
    }

    fn tell(&mut self, source: &Arc<str>, id: &Arc<str>, what: What) {
        if self.news.len() >= MOST_NEWS {
            self.news.pop_front();
        }
        self.news.push_back(News { source: source.clone(), id: id.clone(), what });
    }

    /// What is worth a line in the log since this was last asked.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        self.news.drain(..).collect()
    }

    /// Whether something is worth a line, or worth the disk.
    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    fn push(&mut self, entry: Entry) {
        if self.entries.len() >= MOST_RECORDS {
            // What is over goes first.
            let over = self.entries.iter().position(|entry| !entry.open()).unwrap_or(0);
            self.entries.remove(over);
        }
        self.entries.push_back(entry);
    }

    /// An order was accepted; it takes the place of its earlier version.
    pub(super) fn accepted(
        &mut self,
        source: &Arc<str>,
        held: &Held,
        circuit: &Arc<str>,
        stored: bool,
        giver: Option<&Giver>,
    ) {
        self.end(source, &held.order.id, held.received, Some(proof::LATER_VERSION));
        self.tell(
            source,
            &held.order.id,
            What::Accepted { cap: held.cap, circuit: circuit.clone(), scope: held.order.scope, stored },
        );
        self.resume(source, held, circuit, stored);
        if let Some(giver) = giver {
            self.given_by(source, &held.order.id, giver.by.as_deref(), giver.remark.as_deref());
        }
        self.prove(Event::Received);
    }

    /// Somebody has put their name to the newest version of an order, and says why.
    pub(super) fn given_by(&mut self, source: &str, id: &str, by: Option<&str>, remark: Option<&str>) {
        let Some(entry) = self.find(source, id) else { return };
        (entry.by, entry.remark) = (by.map(Into::into), remark.map(Into::into));
        entry.dirty = true;
    }

    /// Who has given the newest versions of the orders of a source, and why, where somebody has said so.
    pub(super) fn givers(&self, source: &str) -> Vec<Giver> {
        let mut seen = BTreeSet::new();
        let its =
            self.entries.iter().rev().filter(|entry| *entry.source == *source && entry.delivery.is_some());
        its.filter(|entry| seen.insert(entry.id.clone()))
            .filter(|entry| entry.by.is_some() || entry.remark.is_some())
            .map(|entry| Giver { id: entry.id.clone(), by: entry.by.clone(), remark: entry.remark.clone() })
            .collect()
    }

    /// An order is in the book and has no entry.
    pub(super) fn resume(&mut self, source: &Arc<str>, held: &Held, circuit: &Arc<str>, stored: bool) {
        let order = &held.order;
        let delivery = Delivery::new(held.cap, held.baseline, order.basis, held.received);
        let entry = self.entry(source, order, circuit, held.received);
        self.push(Entry { stage: Stage::Accepted, delivery: Some(delivery), stored, ..entry });
    }

    /// An order from before a restart is in force again.
    pub(super) fn resumed(&mut self, source: &str, id: &str) {
        if let Some(entry) = self.find(source, id) {
            let proven = (entry.row(), entry.figures());
            prove::order(&self.proof, Event::Resumed, &proven.0, proven.1);
        }
    }

    /// The fleet waits after a power outage: an order of the operator's that nobody has given.
    pub(super) fn hold_back(&mut self, source: &Arc<str>, circuit: &Arc<str>, now: Wall, time: Duration) {
        let order = Order {
            id: START_UP.into(),
            revision: 0,
            lane: "".into(),
            priority: 0,
            circuit: CircuitId(0),
            scope: Scope::Miners,
            ask: Ask::Cap(Watts::ZERO),
            basis: Basis::Instant,
            urgency: Urgency::Normal,
            from: now,
            until: Some(now.later(time)),
            start_spread: Duration::ZERO,
        };
        let held = Held {
            order,
            cap: Watts::ZERO,
            baseline: None,
            received: now,
            start_delay: Duration::ZERO,
            return_delay: Duration::ZERO,
            withdrawn: None,
            begun: None,
            sent: None,
        };
        self.accepted(source, &held, circuit, false, None);
    }

    /// Somebody has lifted the caps of a source.
    pub(super) fn lifted(&mut self, source: &Arc<str>, circuit: &Arc<str>, by: &str, now: Wall, until: Wall) {
        let order = Order {
            id: LIFT.into(),
            revision: 0,
            lane: "".into(),
            priority: 0,
            circuit: CircuitId(0),
            scope: Scope::Import,
            ask: Ask::Cap(Watts::ZERO),
            basis: Basis::Instant,
            urgency: Urgency::Normal,
            from: now,
            until: Some(until),
            start_spread: Duration::ZERO,
        };
        self.tell(source, &by.into(), What::Lifted { until });
        if until > now {
            prove::lift(&self.proof, "lifted", source, by, Some(until));
        }
        let note = Some(format!("its caps are lifted by {by}").into());
        let entry = self.entry(source, &order, circuit, now);
        self.push(Entry { stage: Stage::Ended, note, ..entry });
    }

    /// A restart has ended a lift.
    pub(super) fn lift_is_gone(&mut self, source: &Arc<str>, circuit: &Arc<str>, by: &str, now: Wall) {
        self.lifted(source, circuit, by, now, now);
        // What was told is that it ended, and not that it began.
        self.news.pop_back();
        self.tell(source, &by.into(), What::LiftGone);
        prove::lift(&self.proof, "lift ended by a restart", source, by, None);
        if let Some(entry) = self.entries.back_mut() {
            entry.note = Some(format!("a restart has ended the lift by {by}").into());
        }
    }

    /// An order was refused. The same refusal of the same version is told once.
    pub(super) fn refused(
        &mut self,
        source: &Arc<str>,
        order: &Order,
        circuit: &Arc<str>,
        why: &str,
        now: Wall,
    ) {
        let known = self.entries.iter().rev().any(|entry| {
            entry.source == *source
                && entry.id == order.id
                && entry.revision == order.revision
                && matches!(&entry.stage, Stage::Refused(reason) if **reason == *why)
        });
        if known {
            return;
        }
        self.tell(source, &order.id, What::Refused(why.into()));
        let entry = self.entry(source, order, circuit, now);
        self.push(Entry { stage: Stage::Refused(why.into()), ..entry });
        self.prove(Event::Refused);
    }

    fn entry(&mut self, source: &Arc<str>, order: &Order, circuit: &Arc<str>, received: Wall) -> Entry {
        self.last = self.last.saturating_add(1);
        Entry {
            number: self.last,
            source: source.clone(),
            id: order.id.clone(),
            revision: order.revision,
            circuit: circuit.clone(),
            scope: order.scope,
            stage: Stage::Accepted,
            delivery: None,
            basis: order.basis,
            from: order.from,
            until: order.until,
            received,
            stored: false,
            note: None,
            by: None,
            remark: None,
            dirty: true,
        }
    }

    /// An order holds in this cycle, and its scope measures so much; `rests`: as [`Delivery::observe`] has it.
    pub(super) fn observe(
        &mut self,
        source: &str,
        id: &str,
        wall: Wall,
        (power, rests): (Option<Watts>, bool),
    ) {
        let Some(entry) = self.find(source, id).filter(|entry| entry.open()) else { return };
        let (source, id) = (entry.source.clone(), entry.id.clone());
        let Some(delivery) = entry.delivery.as_mut() else { return };
        let (before, begins) = (delivery.met, delivery.applied.is_none());
        delivery.observe(wall, power, rests);
        if entry.stage != Stage::Acting {
            entry.stage = Stage::Acting;
            entry.dirty = true;
        }
        if before.is_none()
            && let (Some(met), Some(applied)) = (delivery.met, delivery.applied)
        {
            entry.dirty = true;
            let proven = (entry.row(), entry.figures());
            if begins {
                prove::order(&self.proof, Event::Acting, &proven.0, proven.1);
            }
            prove::order(&self.proof, Event::Met, &proven.0, proven.1);
            self.tell(&source, &id, What::Met(met.since(applied)));
        } else if begins {
            let proven = (entry.row(), entry.figures());
            prove::order(&self.proof, Event::Acting, &proven.0, proven.1);
        }
    }

    /// An order does not hold now, and is not over: its time has not come, or another one hides it.
    pub(super) fn rest(&mut self, source: &str, id: &str) {
        if let Some(entry) = self.find(source, id).filter(|entry| entry.stage == Stage::Acting) {
            entry.stage = Stage::Accepted;
            entry.dirty = true;
        }
    }

    /// An order is over. Nothing when it was before.
    pub(super) fn end(&mut self, source: &str, id: &str, wall: Wall, note: Option<&str>) {
        let Some(entry) = self.find(source, id).filter(|entry| entry.open()) else { return };
        entry.stage = Stage::Ended;
        entry.dirty = true;
        entry.note = note.map(Into::into);
        let (mut mean, mut deviation) = (None, None);
        if let Some(delivery) = entry.delivery.as_mut() {
            delivery.end(wall);
            mean = delivery.mean();
            deviation = delivery.deviation();
        }
        let (source, id, note) = (entry.source.clone(), entry.id.clone(), entry.note.clone());
        let proven = (entry.row(), entry.figures());
        prove::order(&self.proof, Event::Ended, &proven.0, proven.1);
        self.tell(&source, &id, What::Ended { mean, deviation, note });
    }

    /// Names of the open orders, with their source.
    pub(super) fn open(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let open = self.entries.iter().filter(|entry| entry.open());
        open.map(|entry| (entry.source.clone(), entry.id.clone())).collect()
    }

    /// All that a source has in its book is on disk by now.
    pub(super) fn stored(&mut self, source: &str) {
        for entry in self.entries.iter_mut().filter(|entry| *entry.source == *source && entry.open()) {
            entry.dirty |= !entry.stored;
            entry.stored = true;
        }
    }

    /// What the store does not have yet, and the figures of the orders that hold. They count as handed over.
    pub(super) fn take_rows(&mut self) -> Vec<LedgerRow> {
        let due = self.entries.iter_mut().filter(|entry| entry.dirty || entry.stage == Stage::Acting);
        due.map(|entry| {
            entry.dirty = false;
            entry.row()
        })
        .collect()
    }

    /// Rows that were handed over and are not on disk.
    pub(super) fn give_back(&mut self, rows: &[LedgerRow]) {
        for entry in &mut self.entries {
            entry.dirty |= rows.iter().any(|row| row.number == entry.number);
        }
    }
}
