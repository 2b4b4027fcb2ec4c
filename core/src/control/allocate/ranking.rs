//! What is put in order only as far as anybody looks: of thousands rarely more than a few are needed.

use std::cmp::Ordering;

/// How many are put in order at first.
const FIRST: usize = 64;

/// Things of which the first ones are asked for.
pub(super) struct Ranking<T> {
    all: Vec<T>,
    /// Which comes first. Of any two that are told apart nowhere else it must say it.
    order: fn(&T, &T) -> Ordering,
    /// So many are in order; all others come after them.
    sorted: usize,
}

impl<T> Ranking<T> {
    pub(super) const fn new(all: Vec<T>, order: fn(&T, &T) -> Ordering) -> Self {
        Self { all, order, sorted: 0 }
    }

    /// The one at this rank; the first is at 0.
    pub(super) fn get(&mut self, rank: usize) -> Option<&T> {
        if rank >= self.all.len() {
            return None;
        }
        while rank >= self.sorted {
            let rest = self.all.get_mut(self.sorted..)?;
            let more = (self.sorted * 3).max(FIRST).min(rest.len());
            if more < rest.len() {
                rest.select_nth_unstable_by(more, self.order);
            }
            rest.get_mut(..more)?.sort_unstable_by(self.order);
            self.sorted += more;
        }
        self.all.get(rank)
    }

    /// All of them, the rest in any order.
    pub(super) fn all(&self) -> &[T] {
        &self.all
    }
}
