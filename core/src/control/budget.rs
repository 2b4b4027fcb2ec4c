//! From the headroom of each circuit to the budget of each circuit, and to what binds the fleet.

use crate::control::decision::{Binding, Source};
use crate::control::headroom::Headroom;
use crate::control::site::{CircuitId, Site};
use crate::control::tree::Tree;
use crate::units::Watts;

/// What the miners of each circuit may draw when everything above is considered too; infinite without any limit,
/// never negative.
pub fn budgets(site: &Site, headrooms: &[f64]) -> Vec<f64> {
    let mut budgets: Vec<f64> = Vec::with_capacity(headrooms.len());
    for (circuit, headroom) in site.circuits.iter().zip(headrooms) {
        let above = circuit.parent.and_then(|parent| budgets.get(parent.0)).copied().unwrap_or(f64::INFINITY);
        budgets.push(headroom.min(above).max(0.0));
    }
    budgets
}

/// What fits the whole tree below a circuit, and the limit that makes it so. `own` is the most that the miners
/// directly on each circuit could draw.
pub fn fit(tree: &Tree, circuits: &[Headroom], own: &[f64], index: usize) -> Binding {
    let mut below = own.get(index).copied().unwrap_or(0.0);
    // Of the circuits below, the one that takes away most is the one to name.
    let mut tightest: Option<(f64, Binding)> = None;
    for &child in tree.children(index) {
        let binding = fit(tree, circuits, own, child);
        let full = most(tree, own, child);
        let lost = full - binding.budget.get();
        below += binding.budget.get();
        if binding.source != Source::Fleet && tightest.is_none_or(|(most, _)| lost > most) {
            tightest = Some((lost, binding));
        }
    }
    let here = circuits.get(index).map_or(f64::INFINITY, |circuit| circuit.headroom.max(0.0));
    if here < below {
        let source = circuits.get(index).map_or(Source::Fleet, |circuit| circuit.binding);
        return Binding { circuit: CircuitId(index), source, budget: Watts::saturating(here) };
    }
    let (circuit, source) =
        tightest.map_or((CircuitId(index), Source::Fleet), |(_, binding)| (binding.circuit, binding.source));
    Binding { circuit, source, budget: Watts::saturating(below) }
}

/// The most that the miners at or below a circuit could draw.
fn most(tree: &Tree, own: &[f64], index: usize) -> f64 {
    let below: f64 = tree.children(index).iter().map(|&child| most(tree, own, child)).sum();
    own.get(index).copied().unwrap_or(0.0) + below
}
