//! From a list of load targets to orders, and from orders back to the targets that they are.
//!
//! A list takes the place of the one before as a whole. Each target becomes one order for each of its circuits. They stand in one
//! lane: where several hold at once, the tightest binds. A target without a limit (`null`) makes no order: what was said before is
//! gone with its list.
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
use crate::units::Watts;

/// Most orders of one list: a quarter of what the book of a source holds.
pub const MOST_ORDERS: usize = 128;
/// The lane of all orders of this kind.
const LANE: &str = "dsx-flex";

/// Why a list cannot be carried out. Nothing of it is, and the one before stays.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// A feed that is not agreed.
    #[error("a list of targets is refused: the feed {0} is not one of ours")]
    Feed(String),
    /// It ends before it begins.
    #[error("a list of targets is refused: one ends before it begins")]
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
}

/// The orders that a list comes to; none where every target is without a limit, or over.
///
/// # Errors
/// [`PlanError`].
pub fn orders(list: &Admitted, around: &Surroundings<'_>) -> Result<Vec<Order>, PlanError> {
    let mut orders = Vec::new();
    for target in &list.targets {
        let circuits = circuits(target, around.feeds)?;
        let from = target.from.unwrap_or_else(|| list.sent.min(around.now));
        if target.until.is_some_and(|until| until < from) {
            return Err(PlanError::Backwards);
        }
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
                revision: u64::try_from(list.sent.as_unix_millis()).unwrap_or(0),
                lane: LANE.into(),
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
    Ok(orders)
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

/// The target that an order is; `None` for one that was taken back or is over.
pub fn told(held: &Held, phase: Phase) -> Option<Told> {
    if held.withdrawn.is_some() || !matches!(phase, Phase::Ahead | Phase::Acting) {
        return None;
    }
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
        active: phase == Phase::Acting,
    })
}

/// The tightest target that holds on a circuit; of best-effort ones only where `gentle`.
pub fn binding(targets: &[Told], circuit: CircuitId, gentle: bool) -> Option<&Told> {
    targets
        .iter()
        .filter(|told| told.active && told.circuit == circuit && (gentle || !told.best_effort))
        .min_by(|one, other| one.cap.total_cmp(&other.cap))
}
