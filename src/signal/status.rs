//! What metrics, pages and the log are told of each source, and what each cycle tells the ledger.

use std::sync::Arc;
use std::time::Duration;

use super::desk::{Desk, RESULTS, State};
use super::keep;
use super::link::Link;
use super::record::{News, Record};
use crate::control::frame::{Frame, fresh_status};
use crate::control::signal::book::{Phase, Trouble};
use crate::control::signal::{Doubt, SourceState, Wall, Why};
use crate::control::site::{CircuitId, Scope, Site};
use crate::control::snapshot::MinerInput;
use crate::proof::Writer;
use crate::store::Store;
use crate::units::Watts;

/// What is told of each source while the clock of this machine is in doubt.
pub const CLOCK_IN_DOUBT: &str = "nobody is known to keep the clock right: orders begin early and end late";

/// All sources, the store and the clock, for whoever shows them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The sources, in the order of the site.
    pub sources: Vec<SourceStatus>,
    /// Hand-overs to the store that have failed since the start; `None` where nothing is kept.
    pub store_errors: Option<u64>,
    /// Whether the latest hand-over to the store failed.
    pub store_failing: bool,
    /// Whether the wall clock can be trusted.
    pub clock_synchronised: bool,
}

/// One source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its state; `None` before the first cycle.
    pub state: Option<SourceState>,
    /// Time since the latest fresh signal; `None` before the first.
    pub age: Option<Duration>,
    /// Why it is degraded, in words.
    pub trouble: Vec<String>,
    /// Who has lifted its caps, and until when.
    pub lifted: Option<(Arc<str>, Wall)>,
    /// The caps that it sets now.
    pub caps: Vec<CapStatus>,
    /// From being obeyed to being met, of the latest order that was obeyed; `None` while it is not met.
    pub met_after: Option<Duration>,
    /// How far the latest measurement is above the tightest of its orders that hold; `None` while none is measured.
    pub shortfall: Option<Watts>,
    /// How far the mean of the latest order that was obeyed lies above its cap (positive) or below it (negative).
    pub deviation: Option<Watts>,
    /// What became of its orders since the start: every word of a closed set, with how often.
    pub orders: Vec<(&'static str, u64)>,
    /// How its connection is; `None` where it has none of its own.
    pub link: Option<Link>,
}

/// By how much an order ends later than it says, because the clock is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// By this much at the most.
    pub by: Duration,
    /// Why, to be said behind "because".
    pub why: &'static str,
}

impl Late {
    /// `None` where it ends when it says.
    pub fn of(margin: Duration, doubt: Doubt) -> Option<Self> {
        let why = match doubt {
            Doubt::Unknown => "the clock is not synchronised",
            Doubt::None | Doubt::Off(_) => "the clocks do not agree",
        };
        (margin > Duration::ZERO).then_some(Self { by: margin, why })
    }

    /// In words, to stand behind the end: `up to 5 min longer because the clock is not synchronised`. Whole minutes, rounded
    /// up: a difference of two clocks that trembles by a second must not make new words.
    pub fn words(&self) -> String {
        let minutes = self.by.as_secs().div_ceil(60).max(1);
        format!("up to {minutes} min longer because {}", self.why)
    }
}

/// A cap that acts.
#[derive(Clone, Debug, PartialEq)]
pub struct CapStatus {
    /// Name of the circuit.
    pub circuit: Arc<str>,
    /// What it caps there.
    pub scope: Scope,
    /// How much.
    pub cap: Watts,
    /// `order`, `returning`, `kept`, `fail-safe` or `released`.
    pub why: &'static str,
    /// The order, where one stands behind it.
    pub order: Option<Arc<str>>,
    /// Up to when, where an order holds that has an end.
    pub until: Option<Wall>,
    /// By how much it may hold longer than that.
    pub late: Option<Late>,
}

impl Desk {
    /// What became of each order, the newest first; those that are over are kept for a while, 500 in all.
    pub fn records(&self) -> Vec<Record> {
        let state = self.state();
        state.ledger.records(&state.site)
    }

    /// The same, with the site whose positions they name.
    pub fn records_and_site(&self) -> (Arc<Site>, Vec<Record>) {
        let state = self.state();
        (state.site.clone(), state.ledger.records(&state.site))
    }

    /// What has happened to orders since this was last asked, for the log.
    pub fn take_news(&self) -> Vec<News> {
        self.state().ledger.take_news()
    }

    /// Where entries of the proof are handed over.
    pub fn proof(&self) -> Writer {
        self.0.store.as_ref().map(Store::proof).unwrap_or_default()
    }

    /// Brings what waits for the proof to disk, and signs its head. A disk that fails is told elsewhere.
    pub async fn seal(&self) {
        if let Some(store) = &self.0.store {
            let _ = store.seal().await;
        }
    }

    /// All sources as they stand.
    pub fn status(&self) -> Status {
        let (_, doubt) = (self.0.wall)();
        let now = self.0.clock.now();
        let state = self.state();
        let since = state.looked.map_or(Duration::ZERO, |looked| now - looked);
        Status {
            sources: (0..state.sources.len())
                .filter_map(|index| {
                    let doubt = state.sources.get(index).map_or(Doubt::None, |source| source.doubt);
                    state.source_status(index, since, self.now(doubt).doubt)
                })
                .collect(),
            store_errors: self.0.store.as_ref().map(crate::store::Store::errors),
            store_failing: self.0.store.as_ref().is_some_and(crate::store::Store::failing),
            clock_synchronised: doubt == Doubt::None,
        }
    }

    /// What a cycle has measured: to be called after each, with what it left behind.
    pub fn note(&self, frame: &Frame) {
        let wall = self.wall();
        let measured = Measured::of(frame);
        let mut guard = self.state();
        let state = &mut *guard;
        if !Arc::ptr_eq(&state.site, &frame.site) {
            // The configuration was read again meanwhile: positions mean something else now.
            return;
        }
        let site = frame.site.clone();
        let mut held = Vec::new();
        for cap in &frame.snapshot.orders {
            let Why::Order(id) = &cap.active.why else { continue };
            let Some(source) = state.sources.get(cap.source.0).map(|source| source.name.clone()) else {
                continue;
            };
            let power = measured.power(cap.active.circuit, cap.active.scope);
            // A cap on the import is met by the import alone.
            let rests = cap.active.scope == Scope::Miners
                && measured.rests.get(cap.active.circuit.0).copied().unwrap_or(false);
            state.ledger.observe(&source, id, wall, (power, rests));
            held.push((source, id.clone()));
        }
        for (source, id) in state.ledger.open() {
            if held.iter().any(|(its, name)| *its == source && *name == id) {
                continue;
            }
            let phase = state.named(&source).and_then(|it| {
                let held = it.book.orders().find(|held| held.order.id == id)?;
                // By the margin that the law gives it: its record is open for as long as it may act.
                let now = self.now(it.doubt);
                Some(held.phase(&now, it.book.settings().clock_margin(now.doubt)))
            });
            match phase {
                Some(Phase::Ahead | Phase::Acting) => state.ledger.rest(&source, &id),
                Some(Phase::Returning | Phase::Over) | None => state.ledger.end(&source, &id, wall, None),
            }
        }
        let ordered: Vec<CircuitId> = frame.snapshot.orders.iter().map(|cap| cap.active.circuit).collect();
        state
            .baselines
            .observe(&site, frame.snapshot.now, &ordered, |circuit, scope| measured.power(circuit, scope));
        let news = state.ledger.has_news();
        drop(guard);
        if news {
            self.0.ledger_news.notify_one();
        }
    }
}

impl State {
    fn source_status(&self, index: usize, since: Duration, doubt: Doubt) -> Option<SourceStatus> {
        let source = self.sources.get(index)?;
        let view = source.view.as_ref();
        let latest = self.ledger.latest_applied(&source.name);
        let caps = view.map(|view| view.caps.as_slice()).unwrap_or_default();
        let late = Late::of(source.book.settings().clock_margin(doubt), doubt);
        Some(SourceStatus {
            name: source.name.clone(),
            state: view.map(|view| view.state),
            age: view.and_then(|view| view.age).map(|age| age.saturating_add(since)),
            trouble: view.map(|view| view.trouble.iter().map(trouble).collect()).unwrap_or_default(),
            lifted: view.and_then(|view| view.lifted.clone()),
            caps: caps
                .iter()
                .map(|cap| CapStatus {
                    circuit: keep::circuit_name(&self.site, cap.circuit),
                    scope: cap.scope,
                    cap: cap.cap,
                    why: why(&cap.why),
                    order: order_of(&cap.why),
                    until: match &cap.why {
                        Why::Order(id) => source.book.held(id).and_then(|held| held.order.until),
                        _ => None,
                    },
                    late,
                })
                .collect(),
            met_after: latest.and_then(|it| Some(it.met?.since(it.applied?))),
            shortfall: self.ledger.shortfall(&source.name),
            deviation: latest.and_then(crate::control::signal::delivery::Delivery::deviation),
            orders: RESULTS
                .iter()
                .map(|result| (*result, source.counts.get(result).copied().unwrap_or(0)))
                .collect(),
            link: source.link.clone(),
        })
    }
}

const fn why(why: &Why) -> &'static str {
    match why {
        Why::Order(_) => "order",
        Why::Returning(_) => "returning",
        Why::Kept(_) => "kept",
        Why::FailSafe => "fail-safe",
        Why::Released => "released",
    }
}

fn order_of(why: &Why) -> Option<Arc<str>> {
    match why {
        Why::Order(id) | Why::Returning(id) | Why::Kept(id) => Some(id.clone()),
        Why::FailSafe | Why::Released => None,
    }
}

/// What is wrong with a source that still speaks, in words.
pub fn trouble(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Unreadable(what) => format!("cannot be obeyed: {what}"),
        Trouble::Clock(Doubt::Off(by)) => {
            format!("the clocks differ by {} s: orders begin early and end late by as much", by.as_secs())
        }
        Trouble::Clock(_) => CLOCK_IN_DOUBT.into(),
    }
}

/// What each circuit measures in a cycle.
struct Measured {
    import: Vec<Option<Watts>>,
    miners: Vec<Option<Watts>>,
    /// Whether its miners draw no more than they do asleep.
    rests: Vec<bool>,
}

impl Measured {
    /// The import of a circuit is what its meter says. What its miners draw is what a meter says that sees them alone,
    /// else the sum of their own readings, in which a miner without one counts with the most that it may draw; nothing is
    /// measured where none of them has one.
    fn of(frame: &Frame) -> Self {
        let Frame { site, snapshot, decision } = frame;
        let mut sums = vec![(Watts::ZERO, false); site.circuits.len()];
        for (index, miner) in site.miners.iter().enumerate() {
            let input = snapshot.miners.get(index).unwrap_or(&MinerInput::PENDING);
            let reading =
                fresh_status(input, snapshot.now, miner.silent_after).and_then(|status| status.power.value());
            let counted = decision.miners.get(index).map_or(miner.nameplate, |outcome| outcome.counted);
            let power = reading.unwrap_or(counted);
            for (circuit, _) in site.up(miner.circuit) {
                if let Some(sum) = sums.get_mut(circuit.0) {
                    *sum = (sum.0 + power, sum.1 || reading.is_some());
                }
            }
        }
        let import: Vec<Option<Watts>> = decision.circuits.iter().map(|circuit| circuit.power).collect();
        let each = site.circuits.iter().enumerate().map(|(index, circuit)| {
            let metered = import.get(index).copied().flatten().filter(|_| circuit.dedicated);
            let summed = sums.get(index).filter(|sum| sum.1).map(|sum| sum.0);
            metered.or(summed)
        });
        let miners: Vec<Option<Watts>> = each.collect();
        // Whoever says that they sleep does so when no more is measured, too.
        let each = decision.at_rest(site).into_iter().zip(&decision.circuits).zip(&miners);
        let rests = each.map(|((rests, circuit), power)| {
            rests && power.is_some_and(|power| power <= circuit.at_most_asleep())
        });
        Self { rests: rests.collect(), miners, import }
    }

    fn power(&self, circuit: CircuitId, scope: Scope) -> Option<Watts> {
        let by_circuit = match scope {
            Scope::Import => &self.import,
            Scope::Miners => &self.miners,
        };
        by_circuit.get(circuit.0).copied().flatten()
    }
}
