//! The desk: takes the orders of every source in, one at a time, and says each cycle which caps act.
//!
//! What the orders come to is worked out in [`crate::control::signal`]. The desk adds what is not pure: the clocks, the
//! random delay of an order, the baseline that it reduces against, and the store.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::record::Record;
use crate::clock::{Clock, Moment};
use crate::control::signal::book::Told;
use crate::control::signal::order::Bases;
use crate::control::signal::{Book, Doubt, Now, Order, Receipt, Refusal, SourceSettings, View, Wall};
use crate::control::site::{CircuitId, Scope, Site, SourceId};
use crate::control::snapshot::OrderCap;
use crate::units::Watts;

/// The wall clock: what it shows and how far it can be trusted.
pub type WallClock = Arc<dyn Fn() -> (Wall, Doubt) + Send + Sync>;

/// Why an order was not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DeskError {
    /// There is no such source, or none any more since the configuration was read again.
    #[error("the site has no such source of orders")]
    NoSource,
    /// It cannot be obeyed.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// What became of one order of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Its name.
    pub id: Arc<str>,
    /// What became of it.
    pub outcome: Result<Receipt, Refusal>,
}

/// Everything that a source has to say: the whole list of its orders.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// The orders that could be read.
    pub orders: Vec<Order>,
    /// Names of those that could not be read, as far as they are known: what is known of them stays in force.
    pub unreadable: Vec<Arc<str>>,
    /// What is wrong with the list, in words; makes the source degraded.
    pub complaint: Option<Arc<str>>,
}

/// Takes orders in. Copies share one desk.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    clock: Clock,
    wall: WallClock,
    state: Mutex<State>,
    /// Orders are taken in one after the other: what is stored is what is in force.
    turn: tokio::sync::Mutex<()>,
    news: Notify,
}

struct State {
    site: Arc<Site>,
    /// Of each circuit, the sum of the nameplates of the miners at or below it.
    nameplates: Vec<Watts>,
    sources: Vec<Source>,
}

struct Source {
    book: Book,
    /// How far its clock is from ours, where it tells.
    doubt: Doubt,
    view: Option<View>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Desk {
    /// A desk for the sources of a site, in the order of [`Site::sources`].
    pub fn new(site: Arc<Site>, sources: Vec<SourceSettings>, clock: Clock, wall: WallClock) -> Self {
        let state = State {
            nameplates: nameplates(&site),
            site,
            sources: sources
                .into_iter()
                .map(|settings| Source { book: Book::new(settings), doubt: Doubt::None, view: None })
                .collect(),
        };
        Self(Arc::new(Inner {
            clock,
            wall,
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::default(),
            news: Notify::new(),
        }))
    }

    /// Takes a new configuration. Sources of the same name keep their orders; those that are gone leave with theirs.
    pub fn configure(&self, site: Arc<Site>, sources: Vec<SourceSettings>) {
        let mut state = self.state();
        let mut known: Vec<Source> = std::mem::take(&mut state.sources);
        state.sources = sources
            .into_iter()
            .map(|settings| {
                let at = known.iter().position(|source| source.book.settings().name == settings.name);
                match at.map(|at| known.swap_remove(at)) {
                    Some(mut source) => {
                        source.book.configure(settings);
                        source
                    }
                    None => Source { book: Book::new(settings), doubt: Doubt::None, view: None },
                }
            })
            .collect();
        state.nameplates = nameplates(&site);
        state.site = site;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The moment on both scales, with what one source's clock adds to the doubt.
    fn now(&self, of_source: Doubt) -> Now {
        let (wall, doubt) = (self.0.wall)();
        let doubt = match (doubt, of_source) {
            (Doubt::Unknown, _) | (_, Doubt::Unknown) => Doubt::Unknown,
            (Doubt::None, other) | (other, Doubt::None) => other,
            (Doubt::Off(one), Doubt::Off(other)) => Doubt::Off(one.max(other)),
        };
        Now { moment: self.0.clock.now(), wall, doubt }
    }

    /// The wall clock's time.
    pub fn wall(&self) -> Wall {
        (self.0.wall)().0
    }

    /// The source of a name.
    pub fn source(&self, name: &str) -> Option<SourceId> {
        self.state().site.sources.iter().position(|source| source.name == name).map(SourceId)
    }

    /// The site whose circuits orders may name.
    pub fn site(&self) -> Arc<Site> {
        self.state().site.clone()
    }

    /// Everything that hangs on a circuit: what an order there can ask a share of.
    pub fn nameplate(&self, circuit: CircuitId, scope: Scope) -> Watts {
        self.state().nameplate(circuit, scope)
    }

    /// Takes one order in. When this returns `Ok`, it is stored and acts from the next cycle on.
    ///
    /// # Errors
    /// It cannot be obeyed; what was in force stays in force.
    pub async fn give(&self, source: SourceId, order: Order) -> Result<Receipt, DeskError> {
        let _turn = self.0.turn.lock().await;
        let mut state = self.state();
        let now = self.now(state.doubt(source));
        let bases = state.bases(source, &order);
        let book = state.book(source).ok_or(DeskError::NoSource)?;
        let receipt = book.accept(order, &bases, &now)?;
        book.fresh(Told::Orders, None, &now);
        drop(state);
        self.0.news.notify_one();
        Ok(receipt)
    }

    /// Takes an order back, by its name; see [`Book::withdraw`]. `false` when there is none.
    ///
    /// # Errors
    /// [`DeskError::NoSource`].
    pub async fn take_back(
        &self,
        source: SourceId,
        id: &str,
        revision: Option<u64>,
    ) -> Result<bool, DeskError> {
        let _turn = self.0.turn.lock().await;
        let mut state = self.state();
        let now = self.now(state.doubt(source));
        let book = state.book(source).ok_or(DeskError::NoSource)?;
        let known = book.withdraw(id, revision, &now);
        book.fresh(Told::Orders, None, &now);
        drop(state);
        self.0.news.notify_one();
        Ok(known)
    }

    /// Takes the whole list of a source in: what is not in it is taken back. Answers for each order in its order.
    ///
    /// # Errors
    /// [`DeskError::NoSource`].
    pub async fn list(&self, source: SourceId, list: List) -> Result<Vec<Answer>, DeskError> {
        let _turn = self.0.turn.lock().await;
        let mut state = self.state();
        let now = self.now(state.doubt(source));
        let mut listed = list.unreadable;
        let mut answers = Vec::with_capacity(list.orders.len());
        for order in list.orders {
            listed.push(order.id.clone());
            let bases = state.bases(source, &order);
            let id = order.id.clone();
            let book = state.book(source).ok_or(DeskError::NoSource)?;
            answers.push(Answer { id, outcome: book.accept(order, &bases, &now) });
        }
        let book = state.book(source).ok_or(DeskError::NoSource)?;
        book.complete(&listed, &now);
        let refused = answers.iter().find_map(|answer| {
            answer.outcome.as_ref().err().map(|refusal| format!("{}: {refusal}", answer.id).into())
        });
        book.fresh(Told::Orders, list.complaint.or(refused), &now);
        drop(state);
        self.0.news.notify_one();
        Ok(answers)
    }

    /// The source lives, and says nothing else.
    pub fn heartbeat(&self, source: SourceId) {
        let mut state = self.state();
        let now = self.now(state.doubt(source));
        if let Some(book) = state.book(source) {
            book.fresh(Told::Heartbeat, None, &now);
        }
    }

    /// How far the source's clock is from ours, by its latest answer.
    pub fn doubt(&self, source: SourceId, doubt: Doubt) {
        if let Some(source) = self.state().sources.get_mut(source.0) {
            source.doubt = doubt;
        }
    }

    /// Which caps act now.
    pub fn look(&self) -> Vec<OrderCap> {
        let mut state = self.state();
        let mut caps = Vec::new();
        for (source, id) in state.sources.iter_mut().zip(0..) {
            let now = self.now(source.doubt);
            let view = source.book.view(&now);
            caps.extend(
                view.caps.iter().map(|active| OrderCap { source: SourceId(id), active: active.clone() }),
            );
            source.view = Some(view);
        }
        caps
    }

    /// What each source came to at the latest [`Self::look`], in the order of the site.
    pub fn views(&self) -> Vec<Option<View>> {
        self.state().sources.iter().map(|source| source.view.clone()).collect()
    }

    /// What became of each order, the newest first; those that are over are kept for a while.
    pub fn records(&self) -> Vec<Record> {
        Vec::new()
    }

    /// Lifts the caps of a source until a moment, in somebody's name, for the record. `false` without a name or for a
    /// time that is over.
    ///
    /// # Errors
    /// [`DeskError::NoSource`].
    pub async fn lift(&self, source: SourceId, by: &str, until: Wall) -> Result<bool, DeskError> {
        let _turn = self.0.turn.lock().await;
        let mut state = self.state();
        let now = self.now(state.doubt(source));
        let lifted = state.book(source).ok_or(DeskError::NoSource)?.lift(by, until, &now);
        drop(state);
        self.0.news.notify_one();
        Ok(lifted)
    }

    /// Ends a lift before its time.
    ///
    /// # Errors
    /// [`DeskError::NoSource`].
    pub async fn end_lift(&self, source: SourceId) -> Result<(), DeskError> {
        let _turn = self.0.turn.lock().await;
        let mut state = self.state();
        state.book(source).ok_or(DeskError::NoSource)?.end_lift();
        drop(state);
        self.0.news.notify_one();
        Ok(())
    }

    /// Resolves when something has come that may change a cap.
    pub async fn news(&self) {
        self.0.news.notified().await;
    }

    /// The moment of the daemon's clock.
    pub fn moment(&self) -> Moment {
        self.0.clock.now()
    }
}

impl State {
    fn book(&mut self, source: SourceId) -> Option<&mut Book> {
        self.sources.get_mut(source.0).map(|source| &mut source.book)
    }

    fn doubt(&self, source: SourceId) -> Doubt {
        self.sources.get(source.0).map_or(Doubt::None, |source| source.doubt)
    }

    /// What the cap of an order is measured with.
    fn bases(&self, source: SourceId, order: &Order) -> Bases {
        let name = self.site.sources.get(source.0).map_or("", |source| source.name.as_str());
        Bases {
            nameplate: self.nameplate(order.circuit, order.scope),
            baseline: None,
            draw: draw(name, &order.id),
        }
    }

    /// Everything that hangs on a circuit: its miners, and for its import the other load too.
    fn nameplate(&self, circuit: CircuitId, scope: Scope) -> Watts {
        let miners = self.nameplates.get(circuit.0).copied().unwrap_or(Watts::ZERO);
        match scope {
            Scope::Miners => miners,
            Scope::Import => {
                let others = self.site.circuits.iter().enumerate().filter(|(index, _)| {
                    let mut at = Some(CircuitId(*index));
                    while let Some(here) = at {
                        if here == circuit {
                            return true;
                        }
                        at = self.site.circuits.get(here.0).and_then(|circuit| circuit.parent);
                    }
                    false
                });
                miners + others.map(|(_, circuit)| circuit.other_load).sum::<Watts>()
            }
        }
    }
}

/// Where in its spread the random delay of an order falls: drawn once, by its name, so that it is the same after a
/// restart and when the order is told again.
fn draw(source: &str, id: &str) -> f64 {
    let mut hasher = DefaultHasher::new();
    (source, id).hash(&mut hasher);
    let part = u32::try_from(hasher.finish() >> 32).unwrap_or(0);
    f64::from(part) / f64::from(u32::MAX)
}

fn nameplates(site: &Site) -> Vec<Watts> {
    let mut sums = vec![Watts::ZERO; site.circuits.len()];
    for miner in &site.miners {
        let mut at = Some(miner.circuit);
        while let Some(here) = at {
            if let Some(sum) = sums.get_mut(here.0) {
                *sum += miner.nameplate;
            }
            at = site.circuits.get(here.0).and_then(|circuit| circuit.parent);
        }
    }
    sums
}
