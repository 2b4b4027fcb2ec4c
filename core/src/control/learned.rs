//! What was learned of a miner and is worth keeping over a restart.

use crate::control::response::PACE_RANGE;
use crate::control::settle::Settling;
use crate::control::site::{Miner, MinerId};
use crate::control::state::State;

/// Scales beyond this are no matter of scale.
const SCALES: std::ops::RangeInclusive<f64> = 0.5..=2.0;
/// No miner takes longer to begin to draw, in seconds.
const LONGEST_START: f64 = 3_600.0;

/// What was learned of one miner. Powers are in its own watts, times in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learned {
    /// Its draw over what it was asked for.
    pub scale: f64,
    /// The draw below which it does not go while it hashes, where that was seen.
    pub floor: Option<f64>,
    /// Its draw asleep, where that was seen.
    pub sleep: Option<f64>,
    /// How long it takes to follow, over what its model says.
    pub pace: f64,
    /// From waking until its draw rises, where that was seen.
    pub start: Option<f64>,
}

impl Learned {
    /// Whether it can be true of a miner. One part that cannot makes the rest doubtful too.
    fn fits(&self, miner: &Miner) -> bool {
        let within = |value: Option<f64>, low: f64, high: f64| {
            value.is_none_or(|value| value.is_finite() && value > low && value <= high)
        };
        SCALES.contains(&self.scale)
            && within(self.floor, 0.0, miner.nameplate.get())
            && within(self.sleep, -f64::MIN_POSITIVE, miner.minimum().get() / 2.0)
            && (PACE_RANGE.0..=PACE_RANGE.1).contains(&self.pace)
            && within(self.start, 0.0, LONGEST_START)
    }
}

impl State {
    /// What has been learned of each miner that was seen to run steadily.
    pub fn learned(&self) -> Vec<(MinerId, Learned)> {
        let known = (0..).zip(&self.tracks).filter(|(_, track)| track.settling.is_known());
        let told = known.map(|(index, track)| {
            let learned = Learned {
                scale: track.settling.scale(),
                floor: track.settling.floor(),
                sleep: track.settling.sleep(),
                pace: track.pace,
                start: track.start,
            };
            (MinerId(index), learned)
        });
        told.collect()
    }

    /// Begins with what was learned of a miner before. Tells whether it was taken: what cannot be true is not, nor
    /// anything once this controller has commanded, or has seen the miner for itself.
    pub fn teach(&mut self, miner: MinerId, learned: &Learned) -> bool {
        let (Some(spec), Some(track)) = (self.site.miners.get(miner.0), self.tracks.get_mut(miner.0)) else {
            return false;
        };
        if self.sequence > 0 || track.settling.is_known() || !learned.fits(spec) {
            return false;
        }
        track.settling = Settling::known(learned.scale, learned.floor, learned.sleep, spec.maximum().get());
        track.pace = learned.pace;
        track.start = learned.start;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::control::testing;

    const KNOWN: Learned =
        Learned { scale: 1.1, floor: Some(1_700.0), sleep: Some(35.0), pace: 2.5, start: Some(42.0) };

    fn state() -> State {
        State::new(Arc::new(testing::site(2)))
    }

    #[test]
    fn what_was_learned_is_there_again_after_a_restart() {
        let mut state = state();
        assert!(state.learned().is_empty());
        assert!(state.teach(MinerId(1), &KNOWN));
        let told = state.learned();
        let [(miner, learned)] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(*miner, MinerId(1));
        assert!((learned.scale - KNOWN.scale).abs() < 1e-9, "{learned:?}");
        assert_eq!(Learned { scale: KNOWN.scale, ..*learned }, KNOWN);
        let (spec, track) = (&state.site.miners[1], &state.tracks[1]);
        assert!((track.settling.power(1_400.0) - 1_700.0).abs() < 1e-9, "the floor holds it up");
        assert!((track.settling.power(3_000.0) - 3_300.0).abs() < 1e-9);
        assert!((track.sleep(spec) - 35.0).abs() < 1e-9);
    }

    #[test]
    fn what_cannot_be_true_is_refused_as_a_whole() {
        let nonsense = [
            Learned { scale: f64::NAN, ..KNOWN },
            Learned { scale: 0.2, ..KNOWN },
            Learned { scale: 3.0, ..KNOWN },
            Learned { floor: Some(-1.0), ..KNOWN },
            Learned { floor: Some(5_000.0), ..KNOWN },
            Learned { sleep: Some(-1.0), ..KNOWN },
            Learned { sleep: Some(1_399.0), ..KNOWN },
            Learned { pace: 0.0, ..KNOWN },
            Learned { pace: f64::INFINITY, ..KNOWN },
            Learned { start: Some(0.0), ..KNOWN },
            Learned { start: Some(1e9), ..KNOWN },
        ];
        for learned in nonsense {
            let mut state = state();
            assert!(!state.teach(MinerId(0), &learned), "{learned:?}");
            assert!(state.learned().is_empty(), "{learned:?}");
        }
        assert!(!state().teach(MinerId(99), &KNOWN), "there is no such miner");
    }

    #[test]
    fn nothing_is_taught_once_the_controller_knows_or_has_commanded() {
        let mut state = state();
        assert!(state.teach(MinerId(0), &KNOWN));
        assert!(!state.teach(MinerId(0), &Learned { scale: 0.9, ..KNOWN }));
        state.sequence = 1;
        assert!(!state.teach(MinerId(1), &KNOWN));
    }
}
