//! The orders of one source, and which caps act.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::order::{Bases, Basis, Order, Receipt, Refusal, Urgency};
use super::source::{Feed, Release, SourceSettings, SourceState};
use super::time::{Doubt, FOUNDED, Now, Wall};
use serde::{Deserialize, Serialize};

use crate::control::site::{CircuitId, Scope};
use crate::moment::Moment;
use crate::units::Watts;

/// More orders than any programme has at once.
pub const MOST_ORDERS: usize = 512;
/// How many withdrawn orders are remembered, so that an older version that arrives late does not revive them.
pub const MOST_WITHDRAWN: usize = 1024;
/// Longest name of an order, in bytes.
pub const MOST_NAME: usize = 256;

/// An order that begins within this time of its announced start was there to begin on time.
const ON_TIME: Duration = Duration::from_secs(5);
/// An end further off than this was never given as a length.
const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// The moment at which an order began. From here on its time is counted, and not read from the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// What the wall clock showed.
    pub wall: Wall,
    /// The same on the steady scale: [`Now::steady`].
    pub steady: Wall,
}

/// An order in the book. All of it is kept on disk, so that a restart in the middle resumes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// As it came.
    pub order: Order,
    /// The cap that it comes to, fixed when it was accepted.
    pub cap: Watts,
    /// The baseline against which it reduces, where it does.
    pub baseline: Option<Watts>,
    /// When it was accepted.
    pub received: Wall,
    /// How long its start is put off.
    pub start_delay: Duration,
    /// How long its cap stays after its end.
    pub return_delay: Duration,
    /// When it was taken back; for an order that has begun, by its own count.
    pub withdrawn: Option<Wall>,
    /// When it began. An order that has begun stays so, whatever the wall clock does.
    pub begun: Option<Begun>,
    /// What the clock of the source showed when it sent the latest version, where it tells.
    #[serde(default)]
    pub sent: Option<Wall>,
}

/// Where an order stands in its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has not begun.
    Ahead,
    /// It holds.
    Acting,
    /// It is over, and its cap stays for a random while.
    Returning,
    /// It is over.
    Over,
}

impl Held {
    /// Where it stands, when windows begin `margin` early and end as much late.
    pub fn phase(&self, now: &Now, margin: Duration) -> Phase {
        let shown = self.phase_at(now.wall, margin);
        let Some(begun) = self.begun else { return shown };
        let counted = match self.phase_at(self.counted(now), margin) {
            Phase::Ahead => Phase::Acting,
            other => other,
        };
        // One that began in the middle of its window may have been brought there by a clock that was ahead: then it is
        // over when the clock says so, too, and comes again when its time does.
        let on_time = begun.wall.since(self.starts()) <= ON_TIME;
        match (counted, shown) {
            (Phase::Over | Phase::Returning, Phase::Acting | Phase::Ahead)
                if !on_time && self.withdrawn.is_none() =>
            {
                shown
            }
            _ => counted,
        }
    }

    /// What the wall clock would show if it had not been touched since the order began.
    pub fn counted(&self, now: &Now) -> Wall {
        self.begun.map_or(now.wall, |begun| now.steady.max(begun.steady).moved(begun.steady, begun.wall))
    }

    fn starts(&self) -> Wall {
        self.order.from.later(self.start_delay)
    }

    fn phase_at(&self, wall: Wall, margin: Duration) -> Phase {
        let starts = self.starts().earlier(margin);
        let announced = self.order.until.map(|until| until.later(margin));
        let ends = match (announced, self.withdrawn) {
            (Some(until), Some(withdrawn)) => Some(until.min(withdrawn)),
            (until, withdrawn) => until.or(withdrawn),
        };
        match ends {
            // Taken back before it began.
            Some(_) if self.withdrawn.is_some() && self.begun.is_none() => Phase::Over,
            _ if wall < starts => Phase::Ahead,
            Some(ends) if wall >= ends.later(self.return_delay) => Phase::Over,
            Some(ends) if wall >= ends => Phase::Returning,
            _ => Phase::Acting,
        }
    }

    /// Takes note of its begin, and of an end that a clock without a date has made of it.
    fn follow(&mut self, now: &Now) {
        match self.begun {
            None if self.phase_at(now.wall, Duration::ZERO) == Phase::Acting => {
                self.begun = Some(Begun { wall: now.wall, steady: now.steady });
            }
            // Its time is counted to the end, and by the clock it is still to come.
            Some(_) if self.phase(now, Duration::ZERO) == Phase::Ahead => self.begun = None,
            // It began by a clock that was never set, which puts the end of a date off by decades.
            Some(begun)
                if begun.wall < FOUNDED
                    && now.wall >= FOUNDED
                    && now.doubt == Doubt::None
                    && self.withdrawn.is_none()
                    && self.order.until.is_some_and(|until| until.since(begun.wall) > YEAR) =>
            {
                self.begun = Some(Begun { wall: now.wall, steady: now.steady });
            }
            _ => {}
        }
    }

    /// It is taken back now. `false` when it was before.
    fn take_back(&mut self, now: &Now) -> bool {
        let news = self.withdrawn.is_none();
        let counted = self.counted(now);
        self.withdrawn.get_or_insert(counted);
        news
    }
}

/// Why a cap acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// An order holds.
    Order(Arc<str>),
    /// An order is over, and power returns at a random moment.
    Returning(Arc<str>),
    /// It was in force when the signal was lost, and nobody has taken it back.
    Kept(Arc<str>),
    /// The signal is lost, has not come yet, or has only just come back.
    FailSafe,
    /// The signal has been lost for longer than the hold.
    Released,
}

/// A cap that acts now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Active {
    /// The circuit that it caps.
    pub circuit: CircuitId,
    /// What it caps there.
    pub scope: Scope,
    /// How much.
    pub cap: Watts,
    /// Why.
    pub why: Why,
    /// Against what it is judged.
    pub basis: Basis,
    /// How power shall move.
    pub urgency: Urgency,
}

/// What is wrong with a source that still speaks.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// Part of what it said could not be read or obeyed; the rest counts, and what was known stays.
    Unreadable(Arc<str>),
    /// The clocks differ, or ours cannot be trusted.
    Clock(Doubt),
}

/// What a source comes to in one cycle.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Its state.
    pub state: SourceState,
    /// Age of the latest fresh signal; `None` before the first.
    pub age: Option<Duration>,
    /// The caps that act; the tightest binds.
    pub caps: Vec<Active>,
    /// Why it is degraded; empty otherwise.
    pub trouble: Vec<Trouble>,
    /// Who has lifted its caps, and until when.
    pub lifted: Option<(Arc<str>, Wall)>,
}

/// What a fresh, authenticated and complete signal brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// That the source lives.
    Heartbeat,
    /// Its orders, or that it has none.
    Orders,
}

/// The orders of one source.
#[derive(Clone, Debug)]
pub struct Book {
    settings: SourceSettings,
    orders: BTreeMap<Arc<str>, Held>,
    /// Names and revisions that were taken back, the latest last.
    withdrawn: VecDeque<(Arc<str>, u64)>,
    fresh_at: Option<Moment>,
    /// Whether what the source says counts: after a loss it must first say more than that it lives.
    in_control: bool,
    /// Whether the fail-safe stands because a signal that was there was lost, and not because none has come yet.
    heard_before_loss: bool,
    /// Whether it was lost at the latest view.
    was_lost: bool,
    begun: Option<Moment>,
    /// Since when the fail-safe stands.
    failed_at: Option<Moment>,
    /// The caps of the latest view.
    latest: Vec<Active>,
    /// The tightest caps of the time since the signal was lost.
    kept: BTreeMap<(usize, bool), Active>,
    unreadable: Option<Arc<str>>,
    lifted: Option<Lift>,
    /// Orders that act early because nobody keeps the clock, and until when at least: it may be set at any moment.
    early: BTreeMap<Arc<str>, Moment>,
}

/// Somebody answers for drawing more than was ordered.
#[derive(Clone, Debug)]
struct Lift {
    by: Arc<str>,
    /// By the wall clock, for people.
    until: Wall,
    ends: Moment,
}

impl Book {
    /// An empty book: after a start without anything on disk, and after a power cut.
    pub fn new(settings: SourceSettings) -> Self {
        Self {
            settings,
            orders: BTreeMap::new(),
            withdrawn: VecDeque::new(),
            fresh_at: None,
            in_control: false,
            heard_before_loss: false,
            was_lost: false,
            begun: None,
            failed_at: None,
            latest: Vec::new(),
            kept: BTreeMap::new(),
            unreadable: None,
            lifted: None,
            early: BTreeMap::new(),
        }
    }

    /// A book with the orders that were on disk: after a restart.
    pub fn restore(settings: SourceSettings, orders: impl IntoIterator<Item = Held>) -> Self {
        let mut book = Self::new(settings);
        book.orders =
            orders.into_iter().take(MOST_ORDERS).map(|held| (held.order.id.clone(), held)).collect();
        book
    }

    /// A book with everything that was on disk: orders, the names and revisions that were taken back, the latest last,
    /// and the caps that stood because the source was lost.
    pub fn resume(
        settings: SourceSettings,
        orders: impl IntoIterator<Item = Held>,
        withdrawn: impl IntoIterator<Item = (Arc<str>, u64)>,
        kept: impl IntoIterator<Item = Active>,
    ) -> Self {
        let mut book = Self::restore(settings, orders);
        book.withdrawn = withdrawn.into_iter().take(MOST_WITHDRAWN).collect();
        let kept: Vec<Active> = kept.into_iter().collect();
        book.keep(&kept);
        book
    }

    /// When the source was heard last, and whether what it says counts.
    pub fn heard(&self) -> (Option<Moment>, bool) {
        (self.fresh_at, self.in_control)
    }

    /// Takes everything from the book of another daemon that leads: orders, withdrawals, the caps that stand because the source
    /// was lost, and when it was heard. What acts early here goes on to do so, and nobody's lift is taken along: whoever answers
    /// for it may not be there any more.
    pub fn mirror(
        &mut self,
        orders: impl IntoIterator<Item = Held>,
        withdrawn: impl IntoIterator<Item = (Arc<str>, u64)>,
        kept: impl IntoIterator<Item = Active>,
        heard: (Option<Moment>, bool),
    ) {
        let settings = self.settings.clone();
        let new = Self::resume(settings, orders, withdrawn, kept);
        (self.orders, self.withdrawn, self.kept) = (new.orders, new.withdrawn, new.kept);
        (self.fresh_at, self.in_control) = heard;
        self.lifted = None;
        if self.in_control {
            // What stood here for want of a word was the other one's affair, and that one has heard it.
            (self.failed_at, self.heard_before_loss) = (None, false);
        }
    }

    /// The order of a name.
    pub fn held(&self, id: &str) -> Option<&Held> {
        self.orders.get(id)
    }

    /// Names and revisions that were taken back, the latest last.
    pub fn withdrawn(&self) -> impl Iterator<Item = &(Arc<str>, u64)> {
        self.withdrawn.iter()
    }

    /// The caps that stand because the source was lost while they were in force.
    pub fn kept(&self) -> impl Iterator<Item = &Active> {
        self.kept.values()
    }

    /// Who has lifted the caps, and until when.
    pub fn lifted(&self) -> Option<(Arc<str>, Wall)> {
        self.lifted.as_ref().map(|lift| (lift.by.clone(), lift.until))
    }

    /// Takes the orders, withdrawals and lift of a copy of this book that was changed meanwhile. What was heard, lost
    /// and kept stays as it is here, and so does what has begun meanwhile.
    pub fn adopt(&mut self, changed: Self) {
        let before = std::mem::replace(&mut self.orders, changed.orders);
        for (id, held) in before {
            if let Some(same) = self.orders.get_mut(&id).filter(|same| same.order == held.order) {
                same.begun = same.begun.or(held.begun);
            }
        }
        self.withdrawn = changed.withdrawn;
        self.lifted = changed.lifted;
    }

    /// Follows circuits that have another position now; `None` for one that is gone. Returns the orders of those, which
    /// are no longer in the book.
    pub fn relocate(&mut self, place: impl Fn(CircuitId) -> Option<CircuitId>) -> Vec<Held> {
        let mut gone = Vec::new();
        for (id, mut held) in std::mem::take(&mut self.orders) {
            match place(held.order.circuit) {
                Some(circuit) => {
                    held.order.circuit = circuit;
                    self.orders.insert(id, held);
                }
                None => gone.push(held),
            }
        }
        let moved = |mut active: Active| {
            active.circuit = place(active.circuit)?;
            Some(active)
        };
        self.latest = std::mem::take(&mut self.latest).into_iter().filter_map(moved).collect();
        self.kept = std::mem::take(&mut self.kept)
            .into_values()
            .filter_map(moved)
            .map(|active| ((active.circuit.0, active.scope == Scope::Import), active))
            .collect();
        gone
    }

    /// An order from disk, later than the others of the book: what is known by its name counts more. What it began it
    /// goes on with, from now. Whether it has joined.
    pub fn join(&mut self, mut held: Held, now: &Now) -> bool {
        if self.newest(&held.order.id).is_some() || self.orders.len() >= MOST_ORDERS {
            return false;
        }
        if let Some(begun) = &mut held.begun {
            // The scale that it was counted on was not known when ours began.
            begun.steady = begun.steady.min(now.steady);
        }
        self.orders.insert(held.order.id.clone(), held).is_none()
    }

    /// The highest version that is known of an order, also when it was taken back.
    pub fn newest(&self, id: &str) -> Option<u64> {
        let gone = self.withdrawn.iter().filter(|(name, _)| **name == *id).map(|(_, revision)| *revision);
        gone.chain(self.orders.get(id).map(|held| held.order.revision)).max()
    }

    /// How many orders have begun.
    pub fn begun(&self) -> usize {
        self.orders.values().filter(|held| held.begun.is_some()).count()
    }

    /// What the clock of the source showed when it sent the latest version of an order, where it tells.
    pub fn sent(&self, id: &str) -> Option<Wall> {
        self.held(id)?.sent
    }

    /// Takes note of what the clock of the source showed when it sent an order that is known.
    pub fn note_sent(&mut self, id: &str, sent: Wall) {
        if let Some(held) = self.orders.get_mut(id) {
            held.sent = Some(sent);
        }
    }

    /// What the source is.
    pub fn settings(&self) -> &SourceSettings {
        &self.settings
    }

    /// Takes new settings. What was ordered and heard stays known.
    pub fn configure(&mut self, settings: SourceSettings) {
        self.settings = settings;
    }

    /// All orders, by name.
    pub fn orders(&self) -> impl Iterator<Item = &Held> {
        self.orders.values()
    }

    /// Takes an order in. It is in force from the next [`Self::view`] on.
    ///
    /// # Errors
    /// [`Refusal`]; what was in force before stays in force.
    pub fn accept(&mut self, order: Order, bases: &Bases, now: &Now) -> Result<Receipt, Refusal> {
        if order.id.is_empty() || order.id.len() > MOST_NAME {
            return Err(Refusal::Name(MOST_NAME));
        }
        if order.is_backwards() {
            return Err(Refusal::Backwards);
        }
        let dead = self.withdrawn.iter().any(|(id, revision)| *id == order.id && order.revision <= *revision);
        let known = self.orders.get(&order.id);
        if dead || known.is_some_and(|held| order.revision < held.order.revision) {
            return Ok(Receipt::Outdated);
        }
        // Taken back by its absence from a list, and back in it: that is news.
        let standing = known.filter(|held| held.withdrawn.is_none());
        if standing.is_some_and(|held| held.order == order) {
            return Ok(Receipt::Duplicate);
        }
        let cap = order.ask.resolve(bases)?;
        // A lane is our own word for it, and another version of this program may have another one.
        let same = |held: &Held| held.order == Order { lane: held.order.lane.clone(), ..order.clone() };
        if let Some(held) = standing
            && held.order.revision == order.revision
            && cap >= held.cap
            && !same(held)
        {
            return Err(Refusal::SameRevision);
        }
        let draw = if bases.draw.is_finite() { bases.draw.clamp(0.0, 1.0) } else { 1.0 };
        let mut held = Held {
            cap,
            baseline: bases.baseline,
            received: now.wall,
            // A correction of an order keeps the delay that was drawn for it.
            start_delay: known.map_or_else(|| order.start_spread.mul_f64(draw), |held| held.start_delay),
            return_delay: self.settings.return_spread.mul_f64(draw),
            withdrawn: None,
            // A correction that does not begin later goes on with the count of what it corrects.
            begun: standing.filter(|known| order.from <= known.order.from).and_then(|known| known.begun),
            sent: known.and_then(|known| known.sent),
            order,
        };
        held.follow(now);
        let margin = self.margin(now.doubt);
        if held.phase(now, margin) == Phase::Over {
            let id = held.order.id;
            if let Some(known) = self.orders.get_mut(&id) {
                known.take_back(now);
            }
            return Ok(Receipt::Over);
        }
        let replaces = standing.is_some();
        self.prune(now, margin);
        if !self.orders.contains_key(&held.order.id) && self.orders.len() >= MOST_ORDERS {
            return Err(Refusal::Full(MOST_ORDERS));
        }
        self.orders.insert(held.order.id.clone(), held);
        Ok(if replaces { Receipt::Replaced } else { Receipt::Accepted })
    }

    /// Takes an order back, by its name. Versions up to this revision (all that are known, without one) do not come
    /// back. `false` when there is none.
    pub fn withdraw(&mut self, id: &str, revision: Option<u64>, now: &Now) -> bool {
        let known = self.orders.get(id).map(|held| held.order.revision);
        if let (Some(known), Some(revision)) = (known, revision)
            && revision < known
        {
            return false;
        }
        if let Some(revision) = revision.or(known) {
            if self.withdrawn.len() >= MOST_WITHDRAWN {
                self.withdrawn.pop_front();
            }
            self.withdrawn.push_back((id.into(), revision));
        }
        self.orders.get_mut(id).is_some_and(|held| held.take_back(now))
    }

    /// The source has told its whole list: what is not in it is taken back. Events that could not be read are in it,
    /// too: the version that is known stays.
    pub fn complete(&mut self, listed: &[Arc<str>], now: &Now) {
        for (id, held) in &mut self.orders {
            if !listed.contains(id) {
                held.take_back(now);
            }
        }
    }

    /// A fresh, authenticated, complete signal has come. `unreadable` says what part of it could not be obeyed.
    pub fn fresh(&mut self, told: Told, unreadable: Option<Arc<str>>, now: &Now) {
        self.fresh_at = Some(now.moment);
        if told == Told::Orders || self.settings.feed != Feed::Stream {
            self.in_control = true;
        }
        if told == Told::Orders || unreadable.is_some() {
            self.unreadable = unreadable;
        }
    }

    /// Something authenticated came that could not be obeyed: what is known stays in force, the source is degraded, and
    /// it is no fresher for it.
    pub fn complain(&mut self, unreadable: Arc<str>) {
        self.unreadable = Some(unreadable);
    }

    /// Lifts the caps of this source until a moment, in somebody's name. `false` without a name or for a time that is
    /// over.
    pub fn lift(&mut self, by: &str, until: Wall, now: &Now) -> bool {
        let valid = !by.trim().is_empty() && by.len() <= MOST_NAME && until > now.wall;
        if valid {
            self.lifted = Some(Lift { by: by.into(), until, ends: now.moment + until.since(now.wall) });
        }
        valid
    }

    /// Ends a lift before its time.
    pub fn end_lift(&mut self) {
        self.lifted = None;
    }

    /// Which caps act now, and the state of the source. Moments must not go back; one that does counts as now.
    pub fn view(&mut self, now: &Now) -> View {
        let begun = *self.begun.get_or_insert(now.moment);
        let margin = self.margin(now.doubt);
        // Whichever clock is ahead ends a lift.
        if self
            .lifted
            .as_ref()
            .is_some_and(|lift| now.wall.later(margin) >= lift.until || now.moment + margin >= lift.ends)
        {
            self.lifted = None;
        }
        for held in self.orders.values_mut() {
            held.follow(now);
        }
        let age = self.fresh_at.map(|at| now.moment - at);
        let silent = age.is_none_or(|age| age > self.settings.lost_after);
        let calendar = self.settings.feed == Feed::Calendar;
        if silent && self.fresh_at.is_some() && !calendar {
            self.in_control = false;
        }
        let lost = !calendar && !self.in_control;
        let waiting = lost && self.fresh_at.is_none() && now.moment - begun <= self.settings.lost_after;
        let mut caps = self.ordered(now, margin);
        if lost {
            if !self.was_lost {
                self.was_lost = true;
                // However long ago the latest look was: what acted then is not given back unseen.
                let latest = std::mem::take(&mut self.latest);
                self.keep(&latest);
                self.heard_before_loss |= self.fresh_at.is_some();
            }
            let since = *self.failed_at.get_or_insert(now.moment);
            self.keep(&caps);
            self.add_kept(&mut caps);
            let known = |held: &Held| {
                held.order.until.is_some() && matches!(held.phase(now, margin), Phase::Ahead | Phase::Acting)
            };
            let finishing =
                self.settings.finish_schedule && self.fresh_at.is_some() && self.orders.values().any(known);
            let held = now.moment - since >= self.settings.fail_safe_hold;
            let released = match self.settings.release {
                Release::AfterHold(cap) if held && !waiting => Some(cap),
                _ => None,
            };
            if !finishing {
                self.fail_safe(&mut caps, released);
            }
            let state = match (waiting, released) {
                (true, _) => SourceState::Init,
                (false, Some(_)) => SourceState::Released,
                (false, None) => SourceState::Failsafe,
            };
            let trouble = self.complaints();
            return self.seen(state, age, caps, trouble);
        }
        self.was_lost = false;
        self.kept.clear();
        if let Some(since) = self.failed_at {
            if self.heard_before_loss && now.moment - since < self.settings.fail_safe_hold {
                self.fail_safe(&mut caps, None);
                let trouble = self.complaints();
                return self.seen(SourceState::Failsafe, age, caps, trouble);
            }
            self.failed_at = None;
            self.heard_before_loss = false;
        }
        self.prune(now, margin);
        let mut trouble = self.complaints();
        if margin > Duration::ZERO {
            trouble.push(Trouble::Clock(now.doubt));
        }
        let state = match (trouble.is_empty(), caps.is_empty()) {
            (false, _) => SourceState::Degraded,
            (true, false) => SourceState::Limited,
            (true, true) => SourceState::Controlled,
        };
        self.seen(state, age, caps, trouble)
    }

    /// What was heard and cannot be obeyed.
    fn complaints(&self) -> Vec<Trouble> {
        self.unreadable.iter().cloned().map(Trouble::Unreadable).collect()
    }

    fn seen(
        &mut self,
        state: SourceState,
        age: Option<Duration>,
        mut caps: Vec<Active>,
        trouble: Vec<Trouble>,
    ) -> View {
        self.latest.clone_from(&caps);
        if self.lifted.is_some() {
            caps.clear();
        }
        View { state, age, caps, trouble, lifted: self.lifted() }
    }

    /// By how much windows begin early and end late.
    fn margin(&self, doubt: Doubt) -> Duration {
        self.settings.clock_margin(doubt)
    }

    /// The caps of the orders: in each lane of each circuit and scope the best priority, then the strictest, then the
    /// newest; and all those whose power is only just returning.
    fn ordered(&mut self, now: &Now, margin: Duration) -> Vec<Active> {
        self.watch_early(now, margin);
        let mut best: BTreeMap<(&str, usize, bool), &Held> = BTreeMap::new();
        let mut caps = Vec::new();
        for held in self.orders.values() {
            let order = &held.order;
            let phase = match held.phase(now, margin) {
                Phase::Ahead if self.early.contains_key(&order.id) => Phase::Acting,
                phase => phase,
            };
            match phase {
                Phase::Acting => {
                    let place = (&*order.lane, order.circuit.0, order.scope == Scope::Import);
                    let slot = best.entry(place).or_insert(held);
                    let better = order
                        .priority
                        .cmp(&slot.order.priority)
                        .then(held.cap.total_cmp(&slot.cap))
                        .then(slot.order.revision.cmp(&order.revision));
                    if better.is_lt() {
                        *slot = held;
                    }
                }
                Phase::Returning => caps.push(active(held, Why::Returning(order.id.clone()))),
                Phase::Ahead | Phase::Over => {}
            }
        }
        caps.extend(best.into_values().map(|held| active(held, Why::Order(held.order.id.clone()))));
        caps
    }

    /// While the signal is lost nothing that was in force loosens, unless a schedule is to be finished.
    fn keep(&mut self, caps: &[Active]) {
        if self.settings.finish_schedule {
            return;
        }
        for cap in caps {
            let place = (cap.circuit.0, cap.scope == Scope::Import);
            let tighter = self.kept.get(&place).is_none_or(|kept| cap.cap < kept.cap);
            if tighter {
                let why = match &cap.why {
                    Why::Order(id) | Why::Returning(id) => Why::Kept(id.clone()),
                    other => other.clone(),
                };
                self.kept.insert(place, Active { why, ..cap.clone() });
            }
        }
    }

    fn add_kept(&self, caps: &mut Vec<Active>) {
        for (place, kept) in &self.kept {
            let same = |cap: &Active| (cap.circuit.0, cap.scope == Scope::Import) == *place;
            if !caps.iter().any(|cap| same(cap) && cap.cap <= kept.cap) {
                caps.push(kept.clone());
            }
        }
    }

    fn fail_safe(&self, caps: &mut Vec<Active>, released: Option<Watts>) {
        let Some(fail_safe) = self.settings.fail_safe else { return };
        caps.push(Active {
            circuit: fail_safe.circuit,
            scope: fail_safe.scope,
            cap: released.unwrap_or(fail_safe.cap),
            why: if released.is_some() { Why::Released } else { Why::FailSafe },
            basis: Basis::Instant,
            urgency: Urgency::Normal,
        });
    }

    /// Orders that act early for want of somebody who keeps the clock go on to act for as long as they might have been
    /// early: the first time that it is set must give nothing back.
    fn watch_early(&mut self, now: &Now, margin: Duration) {
        self.early.retain(|id, until| now.moment < *until && self.orders.contains_key(id));
        if now.doubt != Doubt::Unknown {
            return;
        }
        for held in self.orders.values().filter(|held| held.begun.is_none()) {
            if held.phase(now, margin) == Phase::Acting {
                self.early.entry(held.order.id.clone()).or_insert(now.moment + margin);
            }
        }
    }

    fn prune(&mut self, now: &Now, margin: Duration) {
        self.orders.retain(|_, held| held.phase(now, margin) != Phase::Over);
    }
}

fn active(held: &Held, why: Why) -> Active {
    Active {
        circuit: held.order.circuit,
        scope: held.order.scope,
        cap: held.cap,
        why,
        basis: held.order.basis,
        urgency: held.order.urgency,
    }
}

/// The tightest cap on a circuit and scope over all sources; `None` when nothing acts there.
pub fn tightest<'a>(
    views: impl IntoIterator<Item = &'a View>,
    circuit: CircuitId,
    scope: Scope,
) -> Option<&'a Active> {
    views
        .into_iter()
        .flat_map(|view| &view.caps)
        .filter(|cap| cap.circuit == circuit && cap.scope == scope)
        .min_by(|a, b| a.cap.total_cmp(&b.cap))
}
