//! Whether the miner that answers at an address is the one that is meant.
//!
//! ```text
//!              same, or it cannot be told
//!   unasked ───────────────────────────────► sure
//!      ▲  │                                   │ no connection, silence, an answer that is none,
//!      │  │ another one                       │ a clock of its own that jumped
//!      │  ▼                                   │
//!      │ stranger ◄──── asked again each time │
//!      └──────────────────────────────────────┘
//! ```
//!
//! Asking costs an exchange or two, so what was found out is kept until there is a reason to doubt it. A stranger stays
//! one until it says otherwise: silence proves nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::miner::DriverError;
use crate::miner::identity::{Identity, Sameness, same_miner};

/// A miner that answers everything but this question so often, and never did answer it, cannot tell who it is.
const MOST_UNANSWERED: u32 = 3;
/// How much more than the time between two readings the miner's own clock may have gone on.
const LEEWAY: Duration = Duration::from_secs(120);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unasked,
    Sure,
    Stranger(Arc<str>),
}

/// What a question brought.
#[derive(Debug)]
pub enum Verdict {
    /// The miner that is meant, as far as anybody can tell.
    Sure,
    /// Another one; in what, for people.
    Stranger(Arc<str>),
    /// It did not say, though it could be expected to.
    Unsure(DriverError),
}

/// What is known of who answers.
#[derive(Debug, Default)]
pub struct Trust {
    /// `None`: nothing is known of the miner that is meant, so there is nothing to compare.
    known: Option<Identity>,
    state: State,
    /// It has said before who it is, so a silence about it now means something.
    told: bool,
    unanswered: u32,
    uptime: Option<(Moment, Duration)>,
}

impl Trust {
    /// For a miner of this identity; one that tells nothing is never asked for.
    pub fn new(known: Identity) -> Self {
        Self { known: (!known.is_anonymous()).then_some(known), ..Self::default() }
    }

    /// Whether it must be asked before the next command.
    pub fn must_ask(&self) -> bool {
        self.known.is_some() && self.state != State::Sure
    }

    /// Whether the latest answer was that of another miner.
    pub const fn is_stranger(&self) -> bool {
        matches!(self.state, State::Stranger(_))
    }

    /// Whether it was asked and could not tell who it is, so that its address alone counts.
    pub fn cannot_tell(&self) -> bool {
        self.known.is_some() && self.state == State::Sure && !self.told
    }

    /// Something happened after which another miner may be there.
    pub fn doubt(&mut self) {
        if self.state == State::Sure {
            self.state = State::Unasked;
        }
        self.uptime = None;
    }

    /// Takes the miner's own clock into account: one that fell or jumped has restarted, or is another one's.
    pub fn note_uptime(&mut self, uptime: Option<Duration>, at: Moment) {
        let Some(after) = uptime else { return };
        if let Some((then, before)) = self.uptime {
            let latest = before + (at - then).mul_f64(1.01) + LEEWAY;
            if after + Duration::from_secs(2) < before || after > latest {
                self.doubt();
            }
        }
        self.uptime = Some((at, after));
    }

    /// Takes in what the miner said of itself; `None`: nothing that tells it from others.
    pub fn take(&mut self, answer: Result<Option<Identity>, DriverError>) -> Verdict {
        let Some(known) = &self.known else { return Verdict::Sure };
        let seen = match answer {
            Ok(seen) => seen.unwrap_or_default(),
            Err(error) => {
                self.unanswered = self.unanswered.saturating_add(1);
                if self.told || self.is_stranger() || self.unanswered < MOST_UNANSWERED {
                    return Verdict::Unsure(error);
                }
                Identity::default()
            }
        };
        self.unanswered = 0;
        match same_miner(known, &seen) {
            Sameness::Same => {
                self.told = true;
                self.state = State::Sure;
                Verdict::Sure
            }
            Sameness::Different(reason) => {
                let reason: Arc<str> = reason.into();
                self.state = State::Stranger(Arc::clone(&reason));
                Verdict::Stranger(reason)
            }
            Sameness::CannotTell => {
                if let State::Stranger(reason) = &self.state {
                    return Verdict::Stranger(Arc::clone(reason));
                }
                if self.told {
                    let reason: Arc<str> = "it does not say any more who it is".into();
                    self.state = State::Stranger(Arc::clone(&reason));
                    return Verdict::Stranger(reason);
                }
                self.state = State::Sure;
                Verdict::Sure
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;

    fn who(mac: &str) -> Identity {
        Identity { mac: mac.parse().ok(), ..Identity::default() }
    }

    const OURS: &str = "02:ee:da:00:00:01";
    const THEIRS: &str = "02:ee:da:00:00:02";

    fn lost() -> DriverError {
        let endpoint = Endpoint { host: "192.0.2.1".to_owned(), port: 4028 };
        DriverError::Timeout { endpoint, exchange: "identification", limit: Duration::from_secs(1) }
    }

    fn sure() -> Trust {
        let mut trust = Trust::new(who(OURS));
        assert!(matches!(trust.take(Ok(Some(who(OURS)))), Verdict::Sure));
        trust
    }

    #[test]
    fn a_miner_of_which_nothing_is_known_is_never_asked() {
        let mut trust = Trust::new(Identity { model: Some("M60S".to_owned()), ..Identity::default() });
        trust.doubt();
        assert!(!trust.must_ask());
    }

    #[test]
    fn what_was_found_out_is_kept_until_there_is_doubt() {
        let mut trust = Trust::new(who(OURS));
        assert!(trust.must_ask());
        assert!(matches!(trust.take(Ok(Some(who(OURS)))), Verdict::Sure));
        assert!(!trust.must_ask());
        trust.doubt();
        assert!(trust.must_ask());
    }

    #[test]
    fn a_stranger_stays_one_until_it_says_otherwise() {
        let mut trust = sure();
        trust.doubt();
        assert!(matches!(trust.take(Ok(Some(who(THEIRS)))), Verdict::Stranger(_)));
        for _ in 0..10 {
            assert!(!matches!(trust.take(Err(lost())), Verdict::Sure));
            assert!(!matches!(trust.take(Ok(None)), Verdict::Sure));
            trust.doubt();
            assert!(trust.is_stranger() && trust.must_ask());
        }
        assert!(matches!(trust.take(Ok(Some(who(OURS)))), Verdict::Sure));
        assert!(!trust.must_ask());
    }

    #[test]
    fn a_miner_that_never_tells_is_taken_at_its_address() {
        let mut trust = Trust::new(who(OURS));
        assert!(matches!(trust.take(Ok(None)), Verdict::Sure));
        let mut trust = Trust::new(who(OURS));
        assert!(matches!(trust.take(Err(lost())), Verdict::Unsure(_)));
        assert!(matches!(trust.take(Err(lost())), Verdict::Unsure(_)));
        assert!(matches!(trust.take(Err(lost())), Verdict::Sure));
    }

    #[test]
    fn a_miner_that_told_before_and_is_silent_about_it_now_is_not_trusted() {
        let mut trust = sure();
        trust.doubt();
        for _ in 0..10 {
            assert!(matches!(trust.take(Err(lost())), Verdict::Unsure(_)));
        }
        assert!(matches!(trust.take(Ok(None)), Verdict::Stranger(_)));
    }

    #[test]
    fn a_clock_that_fell_or_jumped_is_a_reason_to_ask_and_one_that_runs_is_not() {
        let seconds = Duration::from_secs;
        let read = |trust: &mut Trust, at, uptime| {
            trust.note_uptime(Some(seconds(uptime)), Moment::after_start(seconds(at)));
        };
        let mut trust = sure();
        for at in 0..100 {
            read(&mut trust, at * 10, 5_000 + at * 10 - at % 2);
            assert!(!trust.must_ask());
        }
        read(&mut trust, 1_010, 30);
        assert!(trust.must_ask());
        let mut trust = sure();
        read(&mut trust, 0, 5_000);
        read(&mut trust, 10, 90_000);
        assert!(trust.must_ask());
    }
}
