//! A source as it stands, all of one moment; what of its orders holds; and when a list of them was made.

use std::sync::Arc;
use std::time::Duration;

use super::desk::{Desk, Source, SourceKey};
use crate::control::signal::book::{Held, Phase};
use crate::control::signal::{Doubt, Now, Order, SourceSettings, View, Wall, Why};
use crate::control::site::Site;
use crate::signal::status::Late;
use crate::store::Kept;

/// Two clocks that are no further apart show the same time.
const APART: Duration = Duration::from_secs(60);

/// When a list was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// By the clock of the source.
    pub sent: Option<Wall>,
    /// By ours, when it began to arrive.
    pub arrived: Wall,
}

impl Made {
    /// Whether an order came after the list was made.
    pub(super) fn before(&self, held: &Held) -> bool {
        let later = match (self.sent, held.sent) {
            (Some(list), Some(order)) => order > list,
            (Some(list), None) => held.received > list,
            (None, _) => false,
        };
        later || held.received > self.arrived
    }
}

/// A source as it stands, all of one moment.
#[derive(Clone, Debug)]
pub struct Glance {
    /// The site by which its circuits are numbered.
    pub site: Arc<Site>,
    /// What it is by the configuration in force.
    pub settings: SourceSettings,
    /// What it came to at the latest look.
    pub view: Option<View>,
    /// Its orders, by name.
    pub held: Vec<Held>,
    /// The moment.
    pub now: Now,
    /// Who has given its orders, as far as somebody has said so.
    givers: Vec<Giver>,
    /// Its state as it is on disk.
    saved: Option<Kept>,
}

/// Who has given an order, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Giver {
    /// The name of the order.
    pub id: Arc<str>,
    /// Who answers for it.
    pub by: Option<Arc<str>>,
    /// Why, in their words.
    pub remark: Option<Arc<str>>,
}

impl Glance {
    /// An order of this name.
    pub fn find(&self, id: &str) -> Option<&Held> {
        self.held.iter().find(|held| *held.order.id == *id)
    }

    /// An order of this name that was not taken back and is not over.
    pub fn standing(&self, id: &str) -> Option<&Held> {
        self.find(id).filter(|held| held.withdrawn.is_none() && self.phase(held) != Phase::Over)
    }

    /// Where an order stands, as the law has it: while the clock is in doubt it begins early and ends late. Nothing that
    /// still acts may be missing from a list, for then nobody can take it back.
    pub fn phase(&self, held: &Held) -> Phase {
        let acts = |why: &Why| matches!(why, Why::Order(id) if *id == held.order.id);
        match held.phase(&self.now, self.margin()) {
            // It acts early until the doubt is over, though the clock has been set meanwhile.
            Phase::Ahead if self.view.iter().flat_map(|view| &view.caps).any(|active| acts(&active.why)) => {
                Phase::Acting
            }
            phase => phase,
        }
    }

    /// Whether an order was not taken back, and is to act or acts. One whose power is only just returning does neither, though
    /// [`Self::standing`] still finds it.
    pub fn is_ahead_or_acts(&self, held: &Held) -> bool {
        held.withdrawn.is_none() && matches!(self.phase(held), Phase::Ahead | Phase::Acting)
    }

    /// By how much orders begin early and end late now, because the clock is in doubt.
    pub fn margin(&self) -> Duration {
        self.settings.clock_margin(self.now.doubt)
    }

    /// By how much orders hold longer now than they say, and why.
    pub fn late(&self) -> Option<Late> {
        Late::of(self.margin(), self.now.doubt)
    }

    /// Who has given an order, and why; `None` where nobody has said so.
    pub fn giver(&self, id: &str) -> Option<&Giver> {
        self.givers.iter().find(|giver| *giver.id == *id)
    }

    /// Whether what is known of an order (that it stands, that it was taken back) is on disk.
    pub fn stored(&self, id: &str) -> bool {
        let version = |held: &Held| (held.order.revision, held.cap, held.withdrawn);
        let Some(saved) = &self.saved else { return false };
        let saved = saved.orders.iter().find(|stored| *stored.held.order.id == *id);
        saved.map(|stored| version(&stored.held)) == self.find(id).map(version)
    }
}

/// Time between two points, whichever is the earlier.
fn apart(one: Wall, other: Wall) -> Duration {
    one.since(other).max(other.since(one))
}

impl Desk {
    /// Adds what holds to the orders that a source has laid out for now. `lay_out` gives them for another moment: what holds
    /// goes on to its end, by its own count, though the wall clock has left its days. Whoever lays windows out and did
    /// not add it would take it back.
    pub fn add_what_holds(
        &self,
        source: SourceKey,
        orders: &mut Vec<Order>,
        lay_out: impl Fn(Wall) -> Vec<Order>,
    ) {
        let mut latest: Option<(Wall, Vec<Order>)> = None;
        for (id, counted) in self.counted(source) {
            if orders.iter().any(|order| order.id == id) {
                continue;
            }
            // Most have been counted since the same jump of the clock.
            let (_, then) = match latest.take() {
                Some(known) if apart(known.0, counted) <= APART => latest.insert(known),
                _ => latest.insert((counted, lay_out(counted))),
            };
            orders.extend(then.iter().find(|order| order.id == id).cloned());
        }
    }

    /// What the wall clock would show by the count of the orders that hold, where that is not what it shows.
    fn counted(&self, source: SourceKey) -> Vec<(Arc<str>, Wall)> {
        let state = self.state();
        let Some(at) = state.at(source) else { return Vec::new() };
        let now = self.now(Doubt::None);
        let holds = |held: &&Held| held.begun.is_some() && held.withdrawn.is_none();
        let holding = at.book.orders().filter(holds).map(|held| (held.order.id.clone(), held.counted(&now)));
        holding.filter(|(_, wall)| apart(*wall, now.wall) > APART).collect()
    }

    /// A source as it stands; `None` when it is gone.
    pub fn glance(&self, source: SourceKey) -> Option<Glance> {
        let state = self.state();
        let at = state.at(source)?;
        Some(Glance {
            site: state.site.clone(),
            settings: at.book.settings().clone(),
            view: at.view.clone(),
            held: at.book.orders().cloned().collect(),
            now: self.now(at.doubt),
            givers: state.ledger.givers(&at.name),
            saved: at.saved.clone(),
        })
    }

    /// Whether everything that is remembered of a source, and so each list that came with it, is on disk, or there is none to keep it.
    pub fn is_saved(&self, source: SourceKey) -> bool {
        let state = self.state();
        let saved =
            |at: &Source| at.saved.as_ref().is_some_and(|kept| kept.withdrawn.iter().eq(at.book.withdrawn()));
        self.0.store.is_none() || state.at(source).is_some_and(saved)
    }

    /// What is remembered of a source, and the names and revisions of orders that must not come back; the latest last.
    pub fn remembered(&self, source: SourceKey) -> Vec<(Arc<str>, u64)> {
        self.state().at(source).map_or_else(Vec::new, |at| at.book.withdrawn().cloned().collect())
    }

    /// All orders that are known of a source, by name; empty for a source that is not there.
    pub fn held(&self, source: SourceKey) -> Vec<Held> {
        self.state().at(source).map_or_else(Vec::new, |at| at.book.orders().cloned().collect())
    }

    /// What a source is by the configuration in force.
    pub fn settings(&self, source: SourceKey) -> Option<SourceSettings> {
        self.state().at(source).map(|at| at.book.settings().clone())
    }

    /// The names of the orders of a source that are in its book and were not taken back.
    pub fn known(&self, source: SourceKey) -> Vec<Arc<str>> {
        let state = self.state();
        let orders = state.at(source).map(|source| source.book.orders());
        let standing = orders.into_iter().flatten().filter(|held| held.withdrawn.is_none());
        standing.map(|held| held.order.id.clone()).collect()
    }
}
