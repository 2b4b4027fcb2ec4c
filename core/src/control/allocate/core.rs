//! Exact for a few: the best levels of a handful of miners in the power that they have together.
//!
//! A multiple-choice knapsack, solved by dynamic programming over whole cells of power. The greedy filling is
//! right about nearly all miners; only those around the place where the power ran out are worth this effort.

use crate::control::allocate::{Item, Level};
use crate::control::site::CircuitId;
use crate::control::tree::Tree;

/// The finest cell of power, in watts.
const FINEST: f64 = 1.0;
/// A cell is this share of all power that the items' circuit carries: coarser than that loses less than it costs.
const CELL_SHARE: f64 = 2e-5;
/// The most cells.
const MOST_CELLS: f64 = 60_000.0;

/// A level with what it takes beyond the lowest and what it brings.
#[derive(Clone, Copy)]
struct Choice {
    level: Level,
    cells: usize,
    hashrate: f64,
}

/// Replaces the levels of the `core` items by the best ones for the power that they have, where that is better and
/// fits every circuit. `room` is what each circuit has left and `carried` what all items draw together; both are
/// kept up to date.
pub fn improve(
    items: &[Item<'_>],
    tree: &Tree,
    circuit: usize,
    core: &[usize],
    carried: &mut f64,
    room: &mut [f64],
    levels: &mut [Level],
) {
    let chosen: Vec<(usize, &Item<'_>, Level)> =
        core.iter().filter_map(|&index| Some((index, items.get(index)?, *levels.get(index)?))).collect();
    let free = tree.least(room, circuit);
    if chosen.len() < 2 || free < 0.0 {
        return;
    }
    let held: f64 = chosen.iter().map(|(_, item, level)| item.power_at(*level) - item.least()).sum();
    let most: f64 = chosen.iter().map(|(_, item, _)| item.maximum() * item.scale - item.least()).sum();
    let capacity = (held + free).min(most);
    let cell = (*carried * CELL_SHARE).max(FINEST).max(capacity / MOST_CELLS);
    let Some(cells) = whole((capacity / cell).floor()) else {
        return;
    };

    let choices: Vec<Vec<Choice>> =
        chosen.iter().map(|(_, item, level)| options(item, *level, cell)).collect();
    let before: f64 = chosen.iter().map(|(_, item, level)| item.hashrate_at(*level)).sum();
    let Some((after, picks)) = knapsack(&choices, cells) else {
        return;
    };
    if after <= before * (1.0 + 1e-9) {
        return;
    }
    let mut trial = room.to_vec();
    let picked: Vec<(usize, &Item<'_>, Level, Level)> = chosen
        .iter()
        .zip(&picks)
        .map(|(&(index, item, level), pick)| (index, item, level, pick.level))
        .collect();
    for (_, item, from, to) in &picked {
        let more = item.power_at(*to) - item.power_at(*from);
        tree.add(&mut trial, CircuitId(item.circuit), -more);
    }
    // The cells stand for the circuit that ran full; the ones below it may be tighter for some.
    let worse = trial.iter().zip(room.iter()).any(|(after, before)| *after < 0.0 && after < before);
    if worse {
        return;
    }
    room.copy_from_slice(&trial);
    for (index, item, from, level) in picked {
        *carried += item.power_at(level) - item.power_at(from);
        if let Some(slot) = levels.get_mut(index) {
            *slot = level;
        }
    }
}

/// What an item can do: the lowest, its points, and where it is.
fn options(item: &Item<'_>, level: Level, cell: f64) -> Vec<Choice> {
    let points = item.points.iter().map(|point| Level::Power(point.power.get()));
    let able = points.filter(|stop| item.fit(item.power_at(*stop)) == *stop);
    let mut choices: Vec<Choice> = Vec::new();
    for stop in able.chain([level]) {
        // Rounded up, so that what fits in cells fits in watts.
        if let (Level::Power(_), Some(cells)) =
            (stop, whole(((item.power_at(stop) - item.least()) / cell).ceil()))
        {
            choices.push(Choice { level: stop, cells, hashrate: item.hashrate_at(stop) });
        }
    }
    let lowest = item.lowest();
    choices.push(Choice { level: lowest, cells: 0, hashrate: item.hashrate_at(lowest) });
    choices
}

/// The best choice for each item within this many cells, and what they bring together.
fn knapsack(choices: &[Vec<Choice>], cells: usize) -> Option<(f64, Vec<Choice>)> {
    // One row after each item: the most hashrate for each number of cells. Only values are kept, which is a loop
    // that the processor takes several cells at a time; the way to the best one is found afterwards.
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(choices.len() + 1);
    rows.push(vec![0.0; cells + 1]);
    for options in choices {
        let mut next = vec![f64::NEG_INFINITY; cells + 1];
        let best = rows.last()?;
        for option in options {
            let Some(to) = next.get_mut(option.cells..) else {
                continue;
            };
            for (from, value) in best.iter().zip(to) {
                let sum = from + option.hashrate;
                *value = if sum > *value { sum } else { *value };
            }
        }
        rows.push(next);
    }
    let value = rows.last()?.last().copied().filter(|value| value.is_finite())?;
    let mut left = cells;
    let mut wanted = value;
    let mut picks: Vec<Choice> = Vec::with_capacity(choices.len());
    for (options, before) in choices.iter().zip(&rows).rev() {
        // The same sum as above, so it is found to the last bit.
        let (choice, rest, from) = options.iter().find_map(|option| {
            let rest = left.checked_sub(option.cells)?;
            let from = *before.get(rest)?;
            ((from + option.hashrate).total_cmp(&wanted).is_eq()).then_some((*option, rest, from))
        })?;
        picks.push(choice);
        left = rest;
        wanted = from;
    }
    picks.reverse();
    Some((value, picks))
}

/// A whole number of cells; `None` when it is negative or absurd.
fn whole(value: f64) -> Option<usize> {
    if !(0.0..=MOST_CELLS * 2.0).contains(&value) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be in range above"
    )]
    Some(value as usize)
}
