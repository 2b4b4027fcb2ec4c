//! What would be drawn without an order: the mean of the latest ten minutes in which none acted.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Moment;
use crate::control::site::{CircuitId, Scope, Site};
use crate::units::{Joules, Watts};

/// How much undisturbed time is looked back on.
const SPAN: Duration = Duration::from_secs(600);
/// Undisturbed time is added up in pieces of this length.
const PIECE: Duration = Duration::from_secs(30);
/// With less undisturbed time there is no baseline.
const LEAST: Duration = Duration::from_secs(60);
/// Two observations further apart than this say nothing of the time between them.
const LONGEST_STEP: Duration = Duration::from_secs(60);

/// The mean power of one circuit in one scope.
#[derive(Clone, Debug, Default)]
struct Track {
    pieces: VecDeque<(Duration, Joules)>,
    last: Option<Moment>,
}

impl Track {
    fn observe(&mut self, at: Moment, power: Option<Watts>) {
        let step = self.last.map_or(Duration::ZERO, |last| at - last);
        let Some(power) = power else {
            self.last = None;
            return;
        };
        self.last = Some(at);
        if step.is_zero() || step > LONGEST_STEP {
            return;
        }
        let piece = match self.pieces.back_mut() {
            Some(piece) if piece.0 < PIECE => piece,
            _ => {
                let most = usize::try_from(SPAN.as_secs() / PIECE.as_secs()).unwrap_or(20);
                while self.pieces.len() >= most {
                    self.pieces.pop_front();
                }
                self.pieces.push_back((Duration::ZERO, Joules::ZERO));
                match self.pieces.back_mut() {
                    Some(piece) => piece,
                    None => return,
                }
            }
        };
        piece.0 = piece.0.saturating_add(step);
        piece.1 += power.over(step);
    }

    fn mean(&self) -> Option<Watts> {
        let time: Duration = self.pieces.iter().map(|piece| piece.0).sum();
        let energy: Joules = self.pieces.iter().map(|piece| piece.1).sum();
        (time >= LEAST).then(|| Watts::saturating(energy.get() / time.as_secs_f64()))
    }
}

/// The baselines of all circuits.
#[derive(Clone, Debug, Default)]
pub(super) struct Baselines {
    /// By circuit: of its import, and of its miners.
    tracks: Vec<[Track; 2]>,
}

const fn slot(scope: Scope) -> usize {
    match scope {
        Scope::Import => 0,
        Scope::Miners => 1,
    }
}

impl Baselines {
    /// What a circuit would draw without an order; `None` while nobody knows.
    pub(super) fn of(&self, circuit: CircuitId, scope: Scope) -> Option<Watts> {
        self.tracks.get(circuit.0)?.get(slot(scope))?.mean()
    }

    /// One cycle. `ordered` are the circuits on which an order acts; those above and below them move with it.
    /// `measured` says what a circuit draws in a scope, where that is measured.
    pub(super) fn observe(
        &mut self,
        site: &Site,
        at: Moment,
        ordered: &[CircuitId],
        measured: impl Fn(CircuitId, Scope) -> Option<Watts>,
    ) {
        self.tracks.resize(site.circuits.len(), <[Track; 2]>::default());
        for (track, id) in self.tracks.iter_mut().zip((0..).map(CircuitId)) {
            let disturbed = ordered.iter().any(|order| site.feeds(*order, id) || site.feeds(id, *order));
            let [import, miners] = track;
            let power = |scope| if disturbed { None } else { measured(id, scope) };
            import.observe(at, power(Scope::Import));
            miners.observe(at, power(Scope::Miners));
        }
    }

    /// Follows circuits that have another position now: `place` says which one it was before.
    pub(super) fn relocate(&mut self, count: usize, before: impl Fn(CircuitId) -> Option<CircuitId>) {
        let old = std::mem::take(&mut self.tracks);
        let known = |id: CircuitId| before(id).and_then(|before| old.get(before.0)).cloned();
        self.tracks = (0..count).map(|index| known(CircuitId(index)).unwrap_or_default()).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(track: &mut Track, from: u64, to: u64, power: f64) {
        for second in from..=to {
            track.observe(Moment::millis(second * 1000), Some(Watts::kilowatts(power)));
        }
    }

    #[test]
    fn there_is_no_baseline_before_a_minute_of_data() {
        let mut track = Track::default();
        feed(&mut track, 0, 59, 100.0);
        assert_eq!(track.mean(), None);
        feed(&mut track, 60, 60, 100.0);
        assert_eq!(track.mean(), Some(Watts::kilowatts(100.0)));
    }

    #[test]
    fn what_lies_more_than_ten_minutes_back_does_not_count() {
        let mut track = Track::default();
        feed(&mut track, 0, 300, 900.0);
        feed(&mut track, 301, 1_000, 100.0);
        assert_eq!(track.mean(), Some(Watts::kilowatts(100.0)));
    }

    #[test]
    fn time_under_an_order_is_left_out_and_the_time_before_it_stays() {
        let mut track = Track::default();
        feed(&mut track, 0, 120, 300.0);
        for second in 121..5_000 {
            track.observe(Moment::millis(second * 1000), None);
        }
        assert_eq!(track.mean(), Some(Watts::kilowatts(300.0)));
        feed(&mut track, 5_000, 5_001, 300.0);
        assert_eq!(track.mean(), Some(Watts::kilowatts(300.0)), "the gap is not a step");
    }
}
