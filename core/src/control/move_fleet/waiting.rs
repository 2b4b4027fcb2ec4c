//! Who is woken next, and what keeps them from starting.

use std::collections::{BTreeMap, BTreeSet};

use super::per_circuit;
use crate::control::allocate::track::{self, Terms, Wakes};
use crate::control::allocate::{Item, Level};
use crate::control::decision::{Held, Waiting};
use crate::control::headroom::Headroom;
use crate::control::site::{LoadClass, MinerId};
use crate::control::state::State;
use crate::control::tree::Tree;
use crate::units::Watts;

/// What those that run take of the surplus within so many seconds nobody is woken for; what they take later the sun may have taken back.
const SOON: f64 = 5.0;

/// Who is woken next, and what it waits for; `None` where nobody can be.
pub(super) fn waiting(
    state: &State,
    items: &[Item<'_>],
    circuits: &[Headroom],
    terms: &Terms,
    wakes: &Wakes,
) -> Option<Waiting> {
    let first = |of: fn(&Item<'_>) -> bool| track::first(items, &state.favoured, terms, of);
    let awake = first(|item| item.wakeable);
    let index = awake.or_else(|| first(|item| item.resting))?;
    let item = items.get(index)?;
    let start = item.start_draw(item.best()) - item.sleep;
    let each = state.tree.path(item.circuit).iter().filter_map(|&at| {
        let (circuit, base) = (circuits.get(at)?, wakes.base(item, at));
        let (sustained, now) = (wakes.sustained.get(at)? - base, circuit.raise - base);
        let held = if circuit.shows && now >= start {
            Held::Brief
        } else if !circuit.shows || sustained + (circuit.if_proven - circuit.raise).max(0.0) >= start {
            Held::Proving
        } else {
            Held::Short
        };
        let enough = if track::is_taken(item, at, wakes) { Held::Others } else { Held::Brief };
        Some((sustained, if sustained < start { held } else { enough }))
    });
    let least = each.min_by(|(one, _), (other, _)| one.total_cmp(other))?;
    let (there, held) = match (least, awake) {
        ((there, Held::Short), _) => (there, Held::Short),
        ((there, _), None) => (there, Held::Resting),
        // Others were woken just now, and power rises by so much only.
        ((there, Held::Others | Held::Brief), _) if there >= start && state.wake_debt > 0.0 => {
            (there, Held::Pace)
        }
        (least, _) => least,
    };
    // Without a bound there is what it needs.
    let there = if held == Held::Pace { there.min(start) } else { there };
    there.is_finite().then(|| Waiting {
        miner: MinerId(index),
        needs: Watts::saturating(start),
        there: Watts::saturating(there.max(0.0)),
        held,
    })
}

/// What [`Wakes::bases`] holds.
pub(super) fn bases(items: &[Item<'_>], tree: &Tree, circuits: usize) -> BTreeMap<LoadClass, Vec<f64>> {
    let asleep = items.iter().filter(|item| item.level == Level::Sleep && item.movable);
    let classes: BTreeSet<LoadClass> = asleep.map(|item| item.class).collect();
    let base = |class: LoadClass| {
        move |item: &Item<'_>| {
            let stays = item.class > class && item.movable && item.level != Level::Sleep;
            if stays { item.base.max(item.settled) } else { item.base }
        }
    };
    classes.into_iter().map(|class| (class, per_circuit(items, tree, circuits, base(class)))).collect()
}

/// Per circuit, what the miners that run and those that start take, all budgets considered: of the surplus, which comes and goes, what
/// they can within [`SOON`]; of what stays, all that they can.
pub(super) fn taken(items: &[Item<'_>], tree: &Tree, circuits: &[Headroom]) -> Vec<f64> {
    let mut sums = vec![(0.0, 0.0); circuits.len()];
    for item in items {
        let (soon, at_last) = match item.level {
            _ if !item.movable => (item.counted, item.counted),
            Level::Sleep => (item.sleep, item.sleep),
            Level::Power(_) if !item.steady => {
                let starts = item.settled.max(item.base);
                (starts, starts)
            }
            // What is idle under its cap takes no more when that is raised.
            Level::Power(_) if item.idle() => (item.drawn, item.settled),
            Level::Power(_) => {
                let most = item.power_at(Level::Power(item.maximum())).max(item.settled);
                (item.up_in(SOON).min(most), most)
            }
        };
        if let Some(sum) = sums.get_mut(item.circuit) {
            *sum = (sum.0 + soon, sum.1 + at_last);
        }
    }
    for index in tree.deepest_first() {
        let raise = circuits.get(index).map_or(f64::INFINITY, |circuit| circuit.raise.max(0.0));
        let Some(own) = sums.get_mut(index) else { continue };
        *own = (own.0.min(raise), own.1.min(raise));
        let own = *own;
        if let Some(sum) = tree.path(index).get(1).and_then(|&parent| sums.get_mut(parent)) {
            *sum = (sum.0 + own.0, sum.1 + own.1);
        }
    }
    sums.iter()
        .zip(circuits)
        .map(|(sum, circuit)| if circuit.follows_surplus() { sum.0 } else { sum.1 })
        .collect()
}
