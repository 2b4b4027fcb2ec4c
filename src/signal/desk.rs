//! The desk: takes the orders of every source in, one at a time, and says each cycle which caps act.
//!
//! What the orders come to is worked out in [`crate::control::signal`]. The desk adds what is not pure: the clocks, the
//! random delay of an order, the baseline that it reduces against, and the store.
//!
//! An order is worked into a copy of its source's book, the copy goes to disk, and only then does the book become what
//! the copy is. So what acts is on disk, and nothing waits for the disk but whoever gave the order. A disk that fails
//! or takes too long stops no order: it is obeyed all the same, and its record says so.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::baseline::Baselines;
use super::glance::Giver;
pub use super::glance::{Glance, Made};
use super::heard::{Heard, Word};
use super::keep;
pub use super::key::SourceKey;
use super::ledger::Ledger;
use super::steady::Steady;
use crate::clock::{Clock, Moment};
use crate::control::signal::book::Told;
use crate::control::signal::order::Bases;
use crate::control::signal::{
    Active, Ask, Basis, Book, Doubt, Now, Order, Receipt, Refusal, SourceSettings, Urgency, View, Wall, Why,
};
use crate::control::site::{Cap, Circuit, CircuitId, LimitClass, Scope, Site, SourceId};
use crate::control::snapshot::OrderCap;
use crate::store::boot::Boot;
use crate::store::{Kept, Store, Write};
use crate::units::Watts;

/// The wall clock: what it shows and how far it can be trusted.
pub type WallClock = Arc<dyn Fn() -> (Wall, Doubt) + Send + Sync>;

/// The name of the operator's order that holds the fleet back after a power outage.
pub const START_UP: &str = "start-up-after-outage";

/// The farthest that a source's clock moves the windows of its orders. One that is further off does not know the time, and
/// says nothing about them.
pub const MOST_OFF: Duration = Duration::from_secs(3_600);
/// A power that is this many times what is known to hang on a circuit cannot be meant, whatever else hangs there.
const GROSS: f64 = 10.0;

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
    /// When it was made, where that is known: what came later is not taken back by it.
    pub made: Option<Made>,
    /// What is remembered beside it, as by [`Desk::remember`].
    pub remember: Vec<(Arc<str>, u64)>,
    /// It says nothing of whether the source is heard: what it is made of is old, or not all that the source says.
    pub silent: bool,
}

/// Takes orders in. Copies share one desk.
#[derive(Clone)]
pub struct Desk(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) clock: Clock,
    pub(super) wall: WallClock,
    pub(super) state: Mutex<State>,
    pub(super) store: Option<Store>,
    /// Which boot of the machine this is; `None` without a store.
    pub(super) boot: Option<Boot>,
    /// How far the steady scale had come when the daemon's clock was started, and what a start could not account for.
    pub(super) steady: Mutex<Steady>,
    news: Notify,
    /// There is something for the ledger on disk.
    pub(super) ledger_news: Notify,
}

pub(super) struct State {
    pub(super) site: Arc<Site>,
    /// Counts the configurations.
    pub(super) generation: u64,
    /// The sites of the configurations before, the latest last.
    pub(super) past: VecDeque<Arc<Site>>,
    /// Of each circuit, the sum of the nameplates of the miners at or below it.
    pub(super) nameplates: Vec<Watts>,
    pub(super) sources: Vec<Source>,
    pub(super) ledger: Ledger,
    pub(super) baselines: Baselines,
    /// Until when the fleet is held back after a power outage.
    pub(super) hold: Option<Moment>,
    /// Sources that left, and are still on disk.
    pub(super) forget: Vec<Arc<str>>,
    /// When the views were made.
    pub(super) looked: Option<Moment>,
}

pub(super) struct Source {
    pub(super) name: Arc<str>,
    pub(super) book: Book,
    /// How far its clock is from ours, where it tells.
    pub(super) doubt: Doubt,
    pub(super) view: Option<View>,
    /// How much is known of what it says.
    pub(super) word: Word,
    /// Its orders are taken in one after the other: what is stored is what is in force.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    /// What is known to be on disk.
    pub(super) saved: Option<Kept>,
    /// What became of its orders, by word.
    pub(super) counts: BTreeMap<&'static str, u64>,
    pub(super) link: Option<super::link::Link>,
}

impl Source {
    pub(super) fn new(book: Book) -> Self {
        Self {
            name: book.settings().name.as_str().into(),
            book,
            doubt: Doubt::None,
            view: None,
            word: Word::default(),
            turn: Arc::default(),
            saved: None,
            counts: BTreeMap::new(),
            link: None,
        }
    }

    fn count(&mut self, outcome: Result<Receipt, Refusal>) {
        let count = self.counts.entry(result_name(outcome)).or_default();
        *count = count.saturating_add(1);
    }
}

/// What can become of an order, for metrics.
pub(super) const RESULTS: [&str; 6] = ["accepted", "replaced", "duplicate", "outdated", "over", "refused"];

const fn result_name(outcome: Result<Receipt, Refusal>) -> &'static str {
    match outcome {
        Ok(Receipt::Accepted) => "accepted",
        Ok(Receipt::Replaced) => "replaced",
        Ok(Receipt::Duplicate) => "duplicate",
        Ok(Receipt::Outdated) => "outdated",
        Ok(Receipt::Over) => "over",
        Err(_) => "refused",
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// A change of one book that is being worked out.
struct Draft<'s> {
    /// By which the circuits of what is offered are numbered.
    site: Arc<Site>,
    book: Book,
    now: Now,
    name: Arc<str>,
    state: &'s State,
    /// The orders that were offered, and what became of them.
    offered: Vec<(Order, Result<Receipt, Refusal>)>,
    /// Who has given the one that was offered.
    giver: Option<Giver>,
}

impl Draft<'_> {
    fn accept(&mut self, mut order: Order) -> Result<Receipt, Refusal> {
        let circuit = keep::moved(&self.site, &self.state.site, order.circuit);
        let outcome = if let Some(circuit) = circuit {
            order.circuit = circuit;
            let bases = self.state.bases(&self.name, &order);
            self.book.accept(order.clone(), &bases, &self.now)
        } else {
            Err(Refusal::Circuit)
        };
        self.offered.push((order, outcome));
        outcome
    }
}

impl Desk {
    /// A desk for the sources of a site, in the order of [`Site::sources`], that keeps nothing on disk.
    pub fn new(site: Arc<Site>, sources: Vec<SourceSettings>, clock: Clock, wall: WallClock) -> Self {
        let sources = sources.into_iter().map(|settings| Source::new(Book::new(settings))).collect();
        let steady = Steady::new(wall().0);
        Self::of(State::new(site, sources), clock, wall, None, None, steady)
    }

    pub(super) fn of(
        state: State,
        clock: Clock,
        wall: WallClock,
        store: Option<Store>,
        boot: Option<Boot>,
        steady: Steady,
    ) -> Self {
        Self(Arc::new(Inner {
            clock,
            wall,
            state: Mutex::new(state),
            store,
            boot,
            steady: Mutex::new(steady),
            news: Notify::new(),
            ledger_news: Notify::new(),
        }))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The moment on both scales, with what one source's clock adds to the doubt.
    pub(super) fn now(&self, of_source: Doubt) -> Now {
        let (wall, doubt) = (self.0.wall)();
        let doubt = match (doubt, of_source) {
            (Doubt::Unknown, _) | (_, Doubt::Unknown) => Doubt::Unknown,
            (Doubt::None, other) | (other, Doubt::None) => other,
            (Doubt::Off(one), Doubt::Off(other)) => Doubt::Off(one.max(other)),
        };
        let moment = self.0.clock.now();
        let steady = self.0.steady.lock().unwrap_or_else(PoisonError::into_inner).at(moment);
        Now { moment, steady, wall, doubt }
    }

    /// The moment on all scales.
    pub fn moments(&self) -> Now {
        self.now(Doubt::None)
    }

    /// The wall clock's time.
    pub fn wall(&self) -> Wall {
        (self.0.wall)().0
    }

    /// The source of a name.
    pub fn source(&self, name: &str) -> Option<SourceKey> {
        self.state().key(name)
    }

    /// The source of a name, and the site by which its orders number their circuits.
    pub fn source_and_site(&self, name: &str) -> Option<(SourceKey, Arc<Site>)> {
        let state = self.state();
        Some((state.key(name)?, state.site.clone()))
    }

    /// The site by which a source and its circuits are numbered; `None` when that is too long ago.
    pub fn site_of(&self, source: SourceKey) -> Option<Arc<Site>> {
        self.state().site_of(source.generation)
    }

    /// The version of an order that does not say it: later than all that are known of that name, also when the clock
    /// was set back meanwhile.
    pub fn next_revision(&self, source: SourceKey, id: &str) -> u64 {
        let newest = self.state().at(source).and_then(|at| at.book.newest(id));
        let now = u64::try_from(self.wall().as_unix_millis()).unwrap_or(0);
        newest.map_or(now, |newest| now.max(newest.saturating_add(1)))
    }

    /// The site whose circuits orders may name.
    pub fn site(&self) -> Arc<Site> {
        self.state().site.clone()
    }

    /// Works a change into a copy of a source's book, brings the copy to disk, and lets it take effect.
    async fn change<T>(
        &self,
        source: SourceKey,
        edit: impl FnOnce(&mut Draft<'_>) -> (T, Heard),
    ) -> Result<(T, Vec<Refused>), DeskError> {
        let (site, name, turn) = {
            let state = self.state();
            let at = state.at(source).ok_or(DeskError::NoSource)?;
            let site = state.site_of(source.generation).ok_or(DeskError::NoSource)?;
            (site, at.name.clone(), at.turn.clone())
        };
        let turn = turn.lock_owned().await;
        let (change, (value, heard)) = {
            let state = self.state();
            let source = state.named(&name).ok_or(DeskError::NoSource)?;
            let mut draft = Draft {
                site,
                book: source.book.clone(),
                now: self.now(source.doubt),
                name: name.clone(),
                state: &state,
                offered: Vec::new(),
                giver: None,
            };
            let result = edit(&mut draft);
            let Draft { book, offered, giver, .. } = draft;
            let kept = keep::of_book(&book, &state.site);
            let unsaved = source.saved.as_ref() != Some(&kept);
            (Change { name, book, kept, unsaved, offered, giver, site: state.site.clone() }, result)
        };
        // On a task of its own: a sender that hangs up in the middle must not leave an order on disk that nobody obeys.
        let desk = self.clone();
        let finish = async move {
            let done = desk.finish(change, heard).await;
            drop(turn);
            done
        };
        // The task ends early with the runtime alone.
        let refused = tokio::spawn(finish).await.map_err(|_| DeskError::NoSource)??;
        Ok((value, refused))
    }

    /// The second half of a change: to disk, and into force.
    async fn finish(&self, mut change: Change, heard: Heard) -> Result<Vec<Refused>, DeskError> {
        let name = change.name.clone();
        let stored = self.save(&change).await;
        let wall = self.wall();
        let mut state = self.state();
        let refused = if Arc::ptr_eq(&change.site, &state.site) {
            Vec::new()
        } else {
            // The configuration was read again meanwhile.
            let gone = change.book.relocate(|id| keep::moved(&change.site, &state.site, id));
            gone.into_iter().map(|held| Refused { id: held.order.id, why: Refusal::Circuit }).collect()
        };
        state.take_effect(change, stored, &refused, wall)?;
        if let Some(source) = state.named_mut(&name) {
            match heard {
                Heard::Orders(complaint) => {
                    let now = self.now(source.doubt);
                    source.word = Word::Whole;
                    source.book.fresh(Told::Orders, complaint, &now);
                }
                Heard::Part(Some(complaint)) => source.book.complain(complaint),
                Heard::Part(None) | Heard::Nothing => {}
            }
        }
        drop(state);
        self.wake();
        Ok(refused)
    }

    /// Brings the state of a source to disk; tells whether it is there.
    async fn save(&self, change: &Change) -> bool {
        match &self.0.store {
            None => false,
            Some(_) if !change.unsaved => true,
            Some(store) => {
                let sources = vec![(change.name.clone(), change.kept.clone())];
                store.write(Write { sources, ..Write::default() }).await.is_ok()
            }
        }
    }

    /// Takes one order in. When this returns `Ok`, it is on disk, or its record says that it is not, and it acts from the
    /// next cycle on.
    ///
    /// # Errors
    /// It cannot be obeyed; what was in force stays in force.
    pub async fn give(&self, source: SourceKey, order: Order) -> Result<Receipt, DeskError> {
        self.give_sent(source, order, None, None).await
    }

    /// As [`Self::give`], with what the clock of the source showed when it sent the order: one that was sent before what
    /// is known of it, and comes after it, is [`Receipt::Outdated`]. `giver` is who has put a name to it.
    ///
    /// # Errors
    /// As [`Self::give`].
    pub async fn give_sent(
        &self,
        source: SourceKey,
        order: Order,
        sent: Option<Wall>,
        giver: Option<Giver>,
    ) -> Result<Receipt, DeskError> {
        let id = order.id.clone();
        let edit = |draft: &mut Draft<'_>| {
            if draft.book.sent(&order.id).zip(sent).is_some_and(|(known, sent)| sent < known) {
                draft.offered.push((order, Ok(Receipt::Outdated)));
                return (Ok(Receipt::Outdated), Heard::Nothing);
            }
            let id = order.id.clone();
            draft.giver = giver;
            let outcome = draft.accept(order);
            // What was not taken says nothing of what the source wants now.
            let taken = matches!(outcome, Ok(Receipt::Accepted | Receipt::Replaced | Receipt::Duplicate));
            if let Some(sent) = sent.filter(|_| taken) {
                draft.book.note_sent(&id, sent);
            }
            (outcome, if taken { Heard::Orders(None) } else { Heard::Nothing })
        };
        let (outcome, refused) = self.change(source, edit).await?;
        if let Some(refused) = refused.iter().find(|refused| refused.id == id) {
            return Err(refused.why.into());
        }
        Ok(outcome?)
    }

    /// Takes an order back, by its name; see [`Book::withdraw`]. `false` when there is none.
    ///
    /// # Errors
    /// [`DeskError::NoSource`].
    pub async fn take_back(
        &self,
        source: SourceKey,
        id: &str,
        revision: Option<u64>,
    ) -> Result<bool, DeskError> {
        let edit = |draft: &mut Draft<'_>| {
            let now = draft.now;
            let known = draft.book.withdraw(id, revision, &now);
            // Whoever takes back what never was does not know what stands.
            (known, if known { Heard::Orders(None) } else { Heard::Nothing })
        };
        let (known, _) = self.change(source, edit).await?;
        Ok(known || self.end_hold(source, id))
    }

    /// Ends the wait after a power outage, when that is what somebody takes back.
    fn end_hold(&self, source: SourceKey, id: &str) -> bool {
        let mut state = self.state();
        let operator = state.at(source).is_some_and(|at| *at.name == *super::OPERATOR);
        id == START_UP && operator && state.hold.take().is_some()
    }

    /// Takes the whole list of a source in: what is not in it is taken back. Answers for each order in its order.
    ///
    /// # Errors
    /// [`DeskError::NoSource`].
    pub async fn list(&self, source: SourceKey, list: List) -> Result<Vec<Answer>, DeskError> {
        let edit = |draft: &mut Draft<'_>| {
            let mut listed = list.unreadable;
            let mut answers = Vec::with_capacity(list.orders.len());
            for order in list.orders {
                let id = order.id.clone();
                listed.push(id.clone());
                answers.push(Answer { id, outcome: draft.accept(order) });
            }
            let now = draft.now;
            if let Some(made) = list.made {
                let later = draft.book.orders().filter(|held| made.before(held));
                listed.extend(later.map(|held| held.order.id.clone()));
            }
            draft.book.complete(&listed, &now);
            for (name, number) in list.remember {
                draft.book.withdraw(&name, Some(number), &now);
            }
            let refused = answers.iter().find_map(|answer| {
                answer.outcome.as_ref().err().map(|refusal| format!("{}: {refusal}", answer.id).into())
            });
            let complaint = list.complaint.or(refused);
            (answers, if list.silent { Heard::Part(complaint) } else { Heard::Orders(complaint) })
        };
        let (mut answers, refused) = self.change(source, edit).await?;
        for answer in &mut answers {
            if let Some(refused) = refused.iter().find(|refused| refused.id == answer.id) {
                answer.outcome = Err(refused.why);
            }
        }
        Ok(answers)
    }

    /// Remembers names of messages and a number for each, on disk and in its order: as those of orders that must not come back, and
    /// for as long. For sources that name their orders otherwise.
    ///
    /// # Errors
    /// [`DeskError::NoSource`].
    pub async fn remember(&self, source: SourceKey, names: Vec<(Arc<str>, u64)>) -> Result<(), DeskError> {
        let edit = |draft: &mut Draft<'_>| {
            let now = draft.now;
            for (name, number) in names {
                draft.book.withdraw(&name, Some(number), &now);
            }
            ((), Heard::Nothing)
        };
        self.change(source, edit).await?;
        Ok(())
    }

    /// What the clock of a source showed when it sent the latest version of an order, where it tells.
    pub fn sent(&self, source: SourceKey, id: &str) -> Option<Wall> {
        self.state().at(source)?.book.sent(id)
    }

    /// How far the source's clock is from ours, by its latest answer. It moves windows by [`MOST_OFF`] at the most.
    pub fn doubt(&self, source: SourceKey, doubt: Doubt) {
        if let Some(source) = self.state().at_mut(source) {
            source.doubt = match doubt {
                Doubt::Off(by) => Doubt::Off(by.min(MOST_OFF)),
                other => other,
            };
        }
    }

    /// Which caps act now. Never waits for the disk.
    pub fn look(&self) -> Vec<OrderCap> {
        let mut state = self.state();
        let mut caps = Vec::new();
        let mut news = false;
        for (source, id) in state.sources.iter_mut().zip(0..) {
            let now = self.now(source.doubt);
            let begun = source.book.begun();
            let view = source.book.view(&now);
            news |= begun != source.book.begun();
            caps.extend(
                view.caps.iter().map(|active| OrderCap { source: SourceId(id), active: active.clone() }),
            );
            source.view = Some(view);
        }
        let now = self.0.clock.now();
        state.looked = Some(now);
        if news {
            // That an order has begun must outlive us.
            self.0.ledger_news.notify_one();
        }
        self.account(now);
        if state.hold.is_some_and(|until| now >= until) {
            state.hold = None;
        }
        if let (Some(_), Some(source)) = (state.hold, state.operator()) {
            let active = Active {
                circuit: CircuitId(0),
                scope: Scope::Miners,
                cap: Watts::ZERO,
                why: Why::Order(START_UP.into()),
                basis: Basis::Instant,
                urgency: Urgency::Normal,
            };
            caps.push(OrderCap { source, active });
        }
        caps
    }

    /// What each source came to at the latest [`Self::look`], in the order of the site.
    pub fn views(&self) -> Vec<Option<View>> {
        self.state().sources.iter().map(|source| source.view.clone()).collect()
    }

    /// What a source came to at the latest [`Self::look`].
    pub fn view(&self, source: SourceKey) -> Option<View> {
        self.state().at(source).and_then(|at| at.view.clone())
    }

    /// Everything that hangs on a circuit and could draw: what a higher cap is refused for.
    pub fn nameplate(&self, circuit: CircuitId, scope: Scope) -> Watts {
        self.state().nameplate(circuit, scope)
    }

    /// The most that a cap on a circuit is believed: above it a power cannot be meant, and is refused.
    pub fn believed(&self, circuit: CircuitId, scope: Scope) -> Watts {
        let state = self.state();
        state.plausible(circuit, scope, state.nameplate(circuit, scope))
    }

    /// Lifts the caps of a source until a moment, in somebody's name, for the record. `false` without a name or for a
    /// time that is over.
    ///
    /// # Errors
    /// [`DeskError::NoSource`].
    pub async fn lift(&self, source: SourceKey, by: &str, until: Wall) -> Result<bool, DeskError> {
        let edit = |draft: &mut Draft<'_>| {
            let now = draft.now;
            (draft.book.lift(by, until, &now), Heard::Nothing)
        };
        let (lifted, _) = self.change(source, edit).await?;
        if lifted {
            let wall = self.wall();
            let mut state = self.state();
            let name = state.at(source).map(|source| source.name.clone());
            let circuit = keep::circuit_name(&state.site, CircuitId(0));
            if let Some(name) = name {
                state.ledger.lifted(&name, &circuit, by, wall, until);
            }
        }
        Ok(lifted)
    }

    /// Ends a lift before its time.
    ///
    /// # Errors
    /// [`DeskError::NoSource`].
    pub async fn end_lift(&self, source: SourceKey) -> Result<(), DeskError> {
        self.change(source, |draft| (draft.book.end_lift(), Heard::Nothing)).await?;
        Ok(())
    }

    /// Something has changed that a cycle and the disk should know of.
    pub(super) fn wake(&self) {
        self.0.news.notify_one();
        self.0.ledger_news.notify_one();
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

/// An order that was worked out and could not take effect.
struct Refused {
    id: Arc<str>,
    why: Refusal,
}

/// A change of one book that was worked out and is not in force yet.
struct Change {
    name: Arc<str>,
    book: Book,
    kept: Kept,
    /// It is not on disk already.
    unsaved: bool,
    offered: Vec<(Order, Result<Receipt, Refusal>)>,
    giver: Option<Giver>,
    /// For which it was worked out.
    site: Arc<Site>,
}

impl State {
    pub(super) fn new(site: Arc<Site>, sources: Vec<Source>) -> Self {
        Self {
            nameplates: site.nameplates(),
            generation: 0,
            past: VecDeque::new(),
            site,
            sources,
            ledger: Ledger::default(),
            baselines: Baselines::default(),
            hold: None,
            forget: Vec::new(),
            looked: None,
        }
    }

    pub(super) fn named(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|source| *source.name == *name)
    }

    pub(super) fn named_mut(&mut self, name: &str) -> Option<&mut Source> {
        self.sources.iter_mut().find(|source| *source.name == *name)
    }

    /// The operator's position.
    fn operator(&self) -> Option<SourceId> {
        self.sources.iter().position(|source| *source.name == *super::OPERATOR).map(SourceId)
    }

    /// The book becomes what the copy of it was made to be, and the ledger takes note.
    fn take_effect(
        &mut self,
        change: Change,
        stored: bool,
        refused: &[Refused],
        wall: Wall,
    ) -> Result<(), DeskError> {
        let Change { name, book, kept, offered, giver, site, .. } = change;
        let source = self.sources.iter_mut().find(|source| source.name == name).ok_or(DeskError::NoSource)?;
        source.book.adopt(book);
        if stored {
            source.saved = Some(kept);
        }
        for (order, outcome) in offered {
            let gone = refused.iter().find(|refused| refused.id == order.id);
            let outcome = gone.map_or(outcome, |refused| Err(refused.why));
            source.count(outcome);
            let circuit = keep::circuit_name(&site, order.circuit);
            match outcome {
                Ok(Receipt::Accepted | Receipt::Replaced) => {
                    if let Some(held) = source.book.orders().find(|held| held.order.id == order.id) {
                        self.ledger.accepted(&name, held, &circuit, stored, giver.as_ref());
                    }
                }
                Ok(_) => {}
                Err(why) => self.ledger.refused(&name, &order, &circuit, &why.to_string(), wall),
            }
        }
        for held in source.book.orders() {
            if let Some(withdrawn) = held.withdrawn {
                self.ledger.end(&name, &held.order.id, withdrawn, Some("taken back"));
            }
        }
        Ok(())
    }

    /// What the cap of an order is measured with.
    pub(super) fn bases(&self, source: &str, order: &Order) -> Bases {
        let nameplate = self.nameplate(order.circuit, order.scope);
        Bases {
            nameplate: match order.ask {
                Ask::ShareOfNameplate(_) => nameplate,
                Ask::Cap(_) | Ask::ReduceBy(_) => self.plausible(order.circuit, order.scope, nameplate),
            },
            baseline: self.baselines.of(order.circuit, order.scope),
            draw: draw(source, &order.id),
        }
    }

    /// Everything that hangs on a circuit: its miners, and for its import the other load too, or the rating of the
    /// connection where that is more.
    fn nameplate(&self, circuit: CircuitId, scope: Scope) -> Watts {
        let miners = self.nameplates.get(circuit.0).copied().unwrap_or(Watts::ZERO);
        match scope {
            Scope::Miners => miners,
            Scope::Import => {
                let others = self.below(circuit).map(|circuit| circuit.other_load).sum::<Watts>();
                self.rating(circuit).unwrap_or(Watts::ZERO).max(miners + others)
            }
        }
    }

    /// Above this a power cannot be meant. Where a meter tells the other load, nobody has written down how large it can
    /// be: then a rating tells, and without one only a gross mistake is seen, such as watts for kilowatts.
    fn plausible(&self, circuit: CircuitId, scope: Scope, nameplate: Watts) -> Watts {
        let metered = self.below(circuit).any(|circuit| circuit.meter.is_some() && !circuit.dedicated);
        if scope == Scope::Import && metered && self.rating(circuit).is_none() {
            nameplate.scaled(GROSS)
        } else {
            nameplate
        }
    }

    /// A circuit and all those that it feeds.
    fn below(&self, circuit: CircuitId) -> impl Iterator<Item = &Circuit> {
        let all = self.site.circuits.iter().zip((0..).map(CircuitId));
        all.filter(move |(_, id)| self.site.feeds(circuit, *id)).map(|(circuit, _)| circuit)
    }

    /// The largest import that the site's own limits ever let into a circuit.
    fn rating(&self, circuit: CircuitId) -> Option<Watts> {
        let own = self.site.limits.iter().filter(|limit| {
            limit.circuit == circuit
                && limit.scope == Scope::Import
                && matches!(limit.class, LimitClass::Safety | LimitClass::Grid | LimitClass::Contract)
        });
        own.filter_map(|limit| match limit.cap {
            Cap::Constant(cap) => Some(cap),
            Cap::Reading { .. } => None,
        })
        .reduce(Watts::max)
    }
}

/// Where in its spread the random delay of an order falls: drawn once, by its name, so that it is the same after a
/// restart and when the order is told again.
pub(super) fn draw(source: &str, id: &str) -> f64 {
    let mut hasher = DefaultHasher::new();
    (source, id).hash(&mut hasher);
    let part = u32::try_from(hasher.finish() >> 32).unwrap_or(0);
    f64::from(part) / f64::from(u32::MAX)
}
