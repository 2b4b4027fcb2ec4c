//! From a list of load targets to orders, and from orders back to the targets that they are.
//!
//! A list takes the place of those before on the circuits that it names (all of them, where a target has no tags), from the first
//! beginning of a target there on: until then, and elsewhere, what stood goes on. Each target becomes one order for each of its
//! circuits. They stand in one lane, or in another with best effort: where several hold at once, the tightest binds. A target without
//! a limit (`null`) makes no order.
//!
//! An order is called `EVENT/NUMBER/CORRELATION` (`EVENT/NUMBER` where the two are the same), so that after a restart the partner is told of
//! its targets by what is on disk.

use std::collections::BTreeMap;
use std::time::Duration;

use super::admit::Admitted;
use super::message::Target;
use crate::control::signal::book::{Held, Phase};
use crate::control::signal::{Ask, Basis, Order, Urgency, Wall};
use crate::control::site::{CircuitId, Scope};
use crate::line::shorten;
use crate::signal::glance::Glance;
use crate::units::Watts;

/// Most orders of one list: a quarter of what the book of a source holds.
pub const MOST_ORDERS: usize = 128;
/// The lane of what is to be met …
const LANE: &str = "dsx-flex";
/// … and of what is asked with best effort: neither hides the other, for the tighter one may be the one that does not hurry.
const GENTLE: &str = "dsx-flex-best-effort";

/// Why a list cannot be carried out. Nothing of it is, and the one before stays.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// A feed that is not agreed.
    #[error("a list of targets is refused: the feed {0} is not one of ours")]
    Feed(String),
    /// It ends before it begins, or when it does: nobody can mean that, and its way back would hold for minutes.
    #[error("a list of targets is refused: one ends before it begins, or at once")]
    Backwards,
    /// A power that cannot be meant.
    #[error(
        "a list of targets is refused: {cap} is above {most}, up to which a target is believed there; check the unit"
    )]
    TooHigh {
        /// What was asked.
        cap: Watts,
        /// The most that is believed.
        most: Watts,
    },
    /// More than can be kept.
    #[error("a list of targets is refused: it comes to more than {0} orders")]
    TooMany(usize),
}

/// Which circuits are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feeds {
    /// What a target without tags is for.
    pub whole: CircuitId,
    /// The circuits by their tags, the whole site among them.
    pub tags: BTreeMap<String, CircuitId>,
}

/// What orders are made of beside the targets.
pub struct Surroundings<'s> {
    /// Which circuits are meant.
    pub feeds: &'s Feeds,
    /// On what the orders act.
    pub scope: Scope,
    /// The most that a cap on a circuit is believed.
    pub believed: &'s dyn Fn(CircuitId) -> Watts,
    /// The wall clock.
    pub now: Wall,
    /// What stands of the lists before: neither taken back nor over.
    pub standing: &'s [Order],
}

/// The orders that a list comes to, and those of the lists before that go on beside it or until it begins.
///
/// # Errors
/// [`PlanError`].
pub fn orders(list: &Admitted, around: &Surroundings<'_>) -> Result<Vec<Order>, PlanError> {
    let mut orders = Vec::new();
    let mut begins = Begins::default();
    for target in &list.said {
        let circuits = circuits(target, around.feeds)?;
        let from = target.from.unwrap_or_else(|| list.sent.min(around.now));
        if target.until.is_some_and(|until| until <= from) {
            return Err(PlanError::Backwards);
        }
        begins.note(target, &circuits, from);
        let Some(cap) = target.cap else { continue };
        for circuit in circuits {
            let most = (around.believed)(circuit);
            if cap > most {
                return Err(PlanError::TooHigh { cap, most });
            }
            if target.until.is_some_and(|until| until <= around.now) {
                continue;
            }
            if orders.len() >= MOST_ORDERS {
                return Err(PlanError::TooMany(MOST_ORDERS));
            }
            orders.push(Order {
                id: name(list, orders.len()).into(),
                revision: revision(list),
                lane: if target.best_effort { GENTLE } else { LANE }.into(),
                priority: u32::MAX,
                circuit,
                scope: around.scope,
                ask: Ask::Cap(cap),
                basis: Basis::Instant,
                urgency: if target.best_effort { Urgency::Normal } else { Urgency::Emergency },
                from,
                until: target.until,
                start_spread: Duration::ZERO,
            });
        }
    }
    orders.extend(around.standing.iter().filter_map(|order| begins.left(order, list, around.now)));
    Ok(orders)
}

/// From when on a list counts.
#[derive(Default)]
struct Begins {
    /// By the position of the circuit.
    named: BTreeMap<usize, Wall>,
    /// On all of them.
    all: Option<Wall>,
}

impl Begins {
    fn note(&mut self, target: &Target, circuits: &[CircuitId], from: Wall) {
        if target.feeds.is_empty() {
            self.all = Some(self.all.map_or(from, |known| known.min(from)));
            return;
        }
        for circuit in circuits {
            let known = self.named.entry(circuit.0).or_insert(from);
            *known = from.min(*known);
        }
    }

    /// What is left of an order of the lists before.
    fn left(&self, order: &Order, list: &Admitted, now: Wall) -> Option<Order> {
        let begins = match (self.all, self.named.get(&order.circuit.0).copied()) {
            (Some(all), Some(named)) => all.min(named),
            (None, None) => return Some(order.clone()),
            (all, named) => all.or(named)?,
        };
        if begins <= now || begins <= order.from {
            return None;
        }
        if order.until.is_some_and(|until| until <= begins) {
            return Some(order.clone());
        }
        let revision = revision(list).max(order.revision.saturating_add(1));
        Some(Order { revision, until: Some(begins), ..order.clone() })
    }
}

fn revision(list: &Admitted) -> u64 {
    u64::try_from(list.sent.as_unix_millis()).unwrap_or(0)
}

/// The circuits of a target, each once.
fn circuits(target: &Target, feeds: &Feeds) -> Result<Vec<CircuitId>, PlanError> {
    if target.feeds.is_empty() {
        return Ok(vec![feeds.whole]);
    }
    let mut circuits = Vec::with_capacity(target.feeds.len());
    for tag in &target.feeds {
        let circuit = feeds.tags.get(tag).copied().ok_or_else(|| PlanError::Feed(shorten(tag)))?;
        if !circuits.contains(&circuit) {
            circuits.push(circuit);
        }
    }
    Ok(circuits)
}

fn name(list: &Admitted, number: usize) -> String {
    if list.correlation == list.id {
        format!("{}/{number}", list.id)
    } else {
        format!("{}/{number}/{}", list.id, list.correlation)
    }
}

/// A target that is known here, as it is told to the partner.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Where.
    pub circuit: CircuitId,
    /// At most so much, not negative.
    pub cap: Watts,
    /// From here on.
    pub from: Wall,
    /// Up to here; `None` until another list comes.
    pub until: Option<Wall>,
    /// Nobody is to be disturbed for it beyond what goes gently.
    pub best_effort: bool,
    /// By what the partner knows it again; a UUID.
    pub correlation: String,
    /// It holds now.
    pub active: bool,
}

/// The targets that the orders of a source are: those that stand.
pub fn told(glance: &Glance) -> Vec<Told> {
    let stand = glance.held.iter().filter(|held| glance.is_ahead_or_acts(held));
    stand.filter_map(|held| target(held, glance.phase(held) == Phase::Acting)).collect()
}

fn target(held: &Held, active: bool) -> Option<Told> {
    let mut parts = held.order.id.split('/');
    let event = parts.next()?;
    let correlation = parts.nth(1).unwrap_or(event);
    Some(Told {
        circuit: held.order.circuit,
        cap: held.cap,
        from: held.order.from,
        until: held.order.until,
        best_effort: held.order.urgency == Urgency::Normal,
        correlation: correlation.to_owned(),
        active,
    })
}

/// The tightest target that holds on a circuit; of best-effort ones only where `gentle`.
pub fn binding(targets: &[Told], circuit: CircuitId, gentle: bool) -> Option<&Told> {
    targets
        .iter()
        .filter(|told| told.active && told.circuit == circuit && (gentle || !told.best_effort))
        .min_by(|one, other| one.cap.total_cmp(&other.cap))
}
