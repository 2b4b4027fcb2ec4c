//! What outlives a run and a configuration: a start with what was on disk, a reload, and the beat that keeps the disk
//! up to date.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::desk::{Desk, START_UP, Source, State, WallClock, draw};
use super::ledger::Ledger;
pub use super::ledger::MOST_RECORDS;
use super::steady::Steady;
use super::{OPERATOR, keep};
use crate::clock::Clock;
use crate::control::signal::{Book, Feed, Now, SourceSettings, Wall};
use crate::control::site::{CircuitId, Site};
use crate::store::boot::{Alive, Boot};
use crate::store::{self, Kept, Loaded, Opened, Store, Write};

/// Time between two beats when nothing happens.
const BEAT: Duration = Duration::from_secs(10);
/// Beats follow each other no faster than this, whatever happens.
const SOONEST: Duration = Duration::from_millis(500);

const OUTAGE: &str = "discarded: the power was out";
const NO_CIRCUIT: &str = "its circuit left the configuration";
const NO_SOURCE: &str = "its source left the configuration";
const MISSED: &str = "over before the restart";

/// What is on disk, and the clocks of this machine.
pub struct Beginning<'b> {
    /// The store and what was in it; `None` where nothing is kept.
    pub opened: Option<Opened>,
    /// `[store]`.
    pub settings: &'b store::Settings,
    /// The daemon's clock.
    pub clock: Clock,
    /// The wall clock.
    pub wall: WallClock,
}

impl Desk {
    /// A desk for the sources of a site, in the order of [`Site::sources`], with what was on disk. Orders are resumed
    /// beside the fail-safe of their source, which stands until the source is heard. After a power outage they are
    /// discarded, the fail-safe stands alone, and the fleet waits for a while that is the site's own.
    pub fn start(site: Arc<Site>, sources: Vec<SourceSettings>, beginning: Beginning<'_>) -> Self {
        let Beginning { opened, settings, clock, wall } = beginning;
        let Some(Opened { store, loaded, .. }) = opened else {
            return Self::new(site, sources, clock, wall);
        };
        let boot = Boot::of_this_machine(clock);
        let alive = boot.alive();
        let steady = steady(&loaded, &alive, clock, &wall);
        let state = begin(&site, sources, &loaded, &alive, settings, clock, &wall, steady, store.proof());
        Self::of(state, clock, wall, Some(store), Some(boot), steady)
    }

    /// A desk whose store could not be opened: everything is obeyed, nothing is kept until the store is there, and the
    /// metrics say so.
    pub fn without_disk(
        site: Arc<Site>,
        sources: Vec<SourceSettings>,
        clock: Clock,
        wall: WallClock,
        store: Store,
    ) -> Self {
        let sources = sources.into_iter().map(|settings| Source::new(Book::new(settings))).collect();
        let steady = Steady::new(wall().0);
        let mut state = State::new(site, sources);
        state.ledger.prove_to(store.proof());
        Self::of(state, clock, wall, Some(store), Some(Boot::of_this_machine(clock)), steady)
    }

    /// Takes a new configuration. Sources of the same name keep their orders, which follow their circuits by name; those
    /// that are gone leave with theirs, and so do orders whose circuit is gone. A new source begins with its fail-safe.
    pub fn configure(&self, site: Arc<Site>, sources: Vec<SourceSettings>) {
        let wall = self.wall();
        let mut guard = self.state();
        let state = &mut *guard;
        let before = state.renew(site.clone());
        let mut known: Vec<Source> = std::mem::take(&mut state.sources);
        for settings in sources {
            let at = known.iter().position(|source| *source.name == *settings.name);
            let Some(mut source) = at.map(|at| known.swap_remove(at)) else {
                state.sources.push(Source::new(Book::new(settings)));
                continue;
            };
            for gone in source.book.relocate(|id| keep::moved(&before, &site, id)) {
                state.ledger.end(&source.name, &gone.order.id, wall, Some(NO_CIRCUIT));
            }
            source.book.configure(settings);
            source.view = None;
            state.sources.push(source);
        }
        for source in known {
            for held in source.book.orders() {
                state.ledger.end(&source.name, &held.order.id, wall, Some(NO_SOURCE));
            }
            state.forget.push(source.name);
        }
        state.forget.retain(|name| !site.sources.iter().any(|source| source.name == **name));
        state.baselines.relocate(site.circuits.len(), |id| keep::moved(&site, &before, id));
        state.nameplates = site.nameplates();
        drop(guard);
        self.0.ledger_news.notify_one();
    }

    /// Keeps the disk up to date, for ever: what could not be written before, the figures of the ledger, and that the
    /// daemon lives.
    pub async fn run_beats(&self) -> Infallible {
        if self.0.store.is_none() {
            return std::future::pending().await;
        }
        loop {
            self.beat().await;
            tokio::time::sleep(SOONEST).await;
            // No news for a while is no failure.
            let _ = tokio::time::timeout(BEAT, self.0.ledger_news.notified()).await;
        }
    }

    /// The disk could be had at last: what was there and is not known joins what is. It only ever lowers a cap.
    async fn resume_late(&self, loaded: &Loaded) {
        for (name, kept) in &loaded.sources {
            let turn = self.state().named(name).map(|source| source.turn.clone());
            let Some(turn) = turn else { continue };
            // A change that is being brought to disk is a copy of the book, and takes the place of what is joined to it.
            let _turn = turn.lock().await;
            let now = self.moments();
            let mut guard = self.state();
            let state = &mut *guard;
            let Some(source) = state.sources.iter_mut().find(|source| source.name == *name) else { continue };
            for stored in kept.orders.iter().filter(|stored| stored.held.withdrawn.is_none()) {
                let Some(circuit) = keep::circuit(&state.site, &stored.circuit) else { continue };
                let mut held = stored.held.clone();
                held.order.circuit = circuit;
                if source.book.join(held, &now) {
                    know(&mut state.ledger, name, stored, now.wall);
                }
            }
        }
    }

    /// Brings to disk what is not there yet. What fails is tried again with the next beat.
    pub async fn beat(&self) {
        let Some(store) = &self.0.store else { return };
        if let Some(loaded) = store.take_late() {
            self.resume_late(&loaded).await;
            store.has_joined();
        }
        let sources: Vec<_> =
            self.state().sources.iter().map(|source| (source.name.clone(), source.turn.clone())).collect();
        for (name, turn) in sources {
            let _turn = turn.lock().await;
            let kept = {
                let state = self.state();
                let Some(source) = state.named(&name) else { continue };
                let kept = keep::of_book(&source.book, &state.site);
                if source.saved.as_ref() == Some(&kept) {
                    continue;
                }
                kept
            };
            let write = Write { sources: vec![(name.clone(), kept.clone())], ..Write::default() };
            if store.write(write).await.is_ok() {
                let mut state = self.state();
                if let Some(source) = state.named_mut(&name) {
                    source.saved = Some(kept);
                }
                state.ledger.stored(&name);
            }
        }
        let (rows, forget) = {
            let mut state = self.state();
            (state.ledger.take_rows(), state.forget.clone())
        };
        let write = Write {
            sources: forget.iter().map(|name| (name.clone(), Kept::default())).collect(),
            ledger: rows.clone(),
            alive: self
                .0
                .boot
                .as_ref()
                .map(|boot| Alive { steady: Some(self.moments().steady), ..boot.alive() }),
            ..Write::default()
        };
        let written = store.write(write).await.is_ok();
        let mut state = self.state();
        if written {
            state.forget.retain(|name| !forget.contains(name));
        } else {
            state.ledger.give_back(&rows);
        }
    }
}

/// The steady scale goes on where it was, and no jump of the wall clock moves it.
fn steady(loaded: &Loaded, alive: &Alive, clock: Clock, wall: &WallClock) -> Steady {
    let orders = loaded.sources.iter().flat_map(|(_, kept)| &kept.orders);
    // The latest sign of life may be older than the latest order.
    let latest = orders.filter_map(|stored| Some(stored.held.begun?.steady)).max();
    let before = loaded.alive.as_ref().and_then(|before| Some((before, before.steady?)));
    let (now, off) = match before {
        Some((before, steady)) => {
            let (passed, off) = alive.since(before);
            (steady.later(passed), off)
        }
        None => (latest.unwrap_or(wall().0), None),
    };
    let now = latest.map_or(now, |latest| now.max(latest));
    Steady::resumed(now.earlier(clock.now().since_start()), off)
}

/// The state of a desk that begins with what was on disk.
#[expect(clippy::too_many_arguments, reason = "all that a start is given")]
fn begin(
    site: &Arc<Site>,
    sources: Vec<SourceSettings>,
    loaded: &Loaded,
    alive: &Alive,
    settings: &store::Settings,
    clock: Clock,
    wall: &WallClock,
    steady: Steady,
    proof: crate::proof::Writer,
) -> State {
    let (time, doubt) = wall();
    let moment = clock.now();
    let now = Now { moment, steady: steady.at(moment), wall: time, doubt };
    let outage =
        loaded.alive.as_ref().is_some_and(|before| alive.follows_outage(before, settings.outage_after));
    let mut state = State::new(site.clone(), Vec::new());
    state.ledger = Ledger::of_rows(&loaded.ledger, loaded.last_number);
    state.ledger.prove_to(proof);
    for settings in sources {
        let known = loaded.sources.iter().find(|(name, _)| **name == *settings.name);
        let book = match known {
            None => Book::new(settings),
            Some((name, kept)) => resume(&mut state.ledger, site, settings, name, kept, outage, &now),
        };
        if let Some((by, _)) = known.and_then(|(_, kept)| kept.lift.as_ref()) {
            // Whoever answers for it may not be there any more.
            let circuit = keep::circuit_name(site, CircuitId(0));
            state.ledger.lift_is_gone(&book.settings().name.as_str().into(), &circuit, by, time);
        }
        let mut source = Source::new(book);
        source.saved = known.map(|(_, kept)| kept.clone());
        state.sources.push(source);
    }
    for (name, kept) in &loaded.sources {
        if state.named(name).is_none() {
            for order in &kept.orders {
                state.ledger.end(name, &order.held.order.id, time, Some(NO_SOURCE));
            }
            state.forget.push(name.clone());
        }
    }
    for (source, id) in state.ledger.open() {
        let held = state.named(&source).and_then(|it| it.book.orders().find(|held| held.order.id == id));
        if held.is_none_or(|held| held.withdrawn.is_some()) {
            state.ledger.end(&source, &id, time, Some(MISSED));
        }
    }
    if outage {
        tracing::warn!(
            "the power was out: orders from before are discarded, every source begins at its fail-safe value, and the \
             fleet waits for up to {:?} before it starts",
            settings.restart_spread
        );
        hold_back(&mut state, settings.restart_spread, &now);
    } else if !loaded.sources.is_empty() {
        let orders: usize = loaded.sources.iter().map(|(_, kept)| kept.orders.len()).sum();
        tracing::info!(orders, "orders from before the restart are resumed");
    }
    state
}

/// The book of a source that was on disk.
fn resume(
    ledger: &mut Ledger,
    site: &Site,
    settings: SourceSettings,
    name: &Arc<str>,
    kept: &Kept,
    outage: bool,
    now: &Now,
) -> Book {
    // Who is never asked and has no fail-safe would leave nothing in place of its orders: an operator's order to stay
    // off must not end with a power cut.
    let asked_anew = settings.feed != Feed::Calendar || settings.fail_safe.is_some();
    if outage && asked_anew {
        for order in &kept.orders {
            know(ledger, name, order, now.wall);
            ledger.end(name, &order.held.order.id, now.wall, Some(OUTAGE));
        }
        return Book::resume(settings, [], kept.withdrawn.iter().cloned(), []);
    }
    let (book, gone) = keep::to_book(settings, kept, site);
    for order in &kept.orders {
        know(ledger, name, order, now.wall);
        ledger.resumed(name, &order.held.order.id);
    }
    for order in gone {
        tracing::warn!(
            source = &**name,
            "order {} is dropped: the site has no circuit {} any more",
            order.held.order.id,
            order.circuit
        );
        ledger.end(name, &order.held.order.id, now.wall, Some(NO_CIRCUIT));
    }
    book
}

/// Sees to it that an order from disk has an entry in the ledger.
pub(super) fn know(ledger: &mut Ledger, name: &Arc<str>, order: &store::StoredOrder, wall: Wall) {
    let revision = order.held.order.revision;
    let known = ledger.find(name, &order.held.order.id).is_some_and(|entry| entry.revision == revision);
    if !known {
        ledger.end(name, &order.held.order.id, wall, None);
        ledger.resume(name, &order.held, &order.circuit, true);
    }
}

/// Holds the fleet back for a part of the spread that follows from the site's name: many sites must not come back in
/// one second.
fn hold_back(state: &mut State, spread: Duration, now: &Now) {
    let part = spread.mul_f64(draw(&state.site.name, START_UP));
    if part.is_zero() {
        return;
    }
    state.hold = Some(now.moment + part);
    state.ledger.hold_back(&OPERATOR.into(), &keep::circuit_name(&state.site, CircuitId(0)), now.wall, part);
}
