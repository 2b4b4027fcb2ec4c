//! Who is woken next, and what keeps them from starting.

use crate::control::allocate::Item;
use crate::control::allocate::track::{self, Terms, Wakes};
use crate::control::decision::{Held, Waiting};
use crate::control::headroom::Headroom;
use crate::control::site::MinerId;
use crate::control::state::State;
use crate::units::Watts;

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
