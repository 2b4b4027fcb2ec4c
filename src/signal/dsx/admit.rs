//! Which messages of the partner are obeyed: verified, theirs, fresh, and new.
//!
//! Only `data` of a message is signed; its id, its time and its source are anybody's word who may publish at the broker. So what was
//! signed once is taken once: a signature that comes again under another id is a replay, however fresh the rest looks.

use std::collections::VecDeque;
use std::time::Duration;

use super::jws::{JwsError, KeySet};
use super::message::{Envelope, Fault, TARGET_SET, Target, Trace, partner_source, targets};
use crate::control::signal::Wall;
use crate::line::shorten;

/// How many messages are remembered.
const MOST_SEEN: usize = 1_024;

/// Why a message is not obeyed. What was in force stays in force.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    /// It cannot be used.
    #[error("a message is refused: {0}")]
    Fault(#[from] Fault),
    /// Its signature is not believed.
    #[error("a message is refused: {0}")]
    Signature(#[from] JwsError),
    /// It is of another kind.
    #[error("a message is refused: it is a {0}, where load targets are expected")]
    Kind(String),
    /// It says to come from somebody else.
    #[error("a message is refused: it says to come from {0}, and not from the partner")]
    Source(String),
    /// Too old.
    #[error("a message is refused: it was sent {} s ago by its own word, longer than `oldest_message`", .0.as_secs())]
    Old(Duration),
    /// Sent in the future.
    #[error("a message is refused: it will be sent in {} s by its own word; compare the clocks", .0.as_secs())]
    Ahead(Duration),
    /// Its id was seen with another content, or is told anew.
    #[error("a message is refused: its id {0} came before")]
    Replayed(String),
    /// Its content was seen under another id.
    #[error("a message is refused: what it says was signed for another message that came before")]
    Rewrapped,
    /// A message that was sent later was obeyed already.
    #[error("a message is refused: one that was sent later came before it")]
    Outdated,
}

/// A message as the broker gave it.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'r> {
    /// What it says.
    pub payload: &'r [u8],
    /// The broker says that it may have given it before, or that it has kept it.
    pub again: bool,
}

/// A list of load targets that is to be obeyed.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// The id of its event; a UUID.
    pub id: String,
    /// By what the partner knows it again: its correlation id, or its id where it has none.
    pub correlation: String,
    /// When it was sent, by the partner's clock.
    pub sent: Wall,
    /// Its trace, where it has one.
    pub trace: Option<Trace>,
    /// The whole list.
    pub targets: Vec<Target>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It is to be obeyed.
    Targets(Admitted),
    /// The broker gave it twice: nothing is to be done.
    Again,
}

/// Looks at every message before anybody else does.
#[derive(Debug)]
pub struct Gate {
    source: String,
    oldest: Duration,
    /// What was taken, the latest last: ids and marks of signatures.
    seen: VecDeque<(String, [u8; 32])>,
    /// When the latest that was taken was sent.
    latest: Option<Wall>,
}

impl Gate {
    /// Takes messages of one partner that are no older than `oldest`. `latest` is when the latest was sent that is known from before
    /// a restart.
    pub fn new(partner: &str, oldest: Duration, latest: Option<Wall>) -> Self {
        Self { source: partner_source(partner), oldest, seen: VecDeque::new(), latest }
    }

    /// Looks at a message. One that is not taken leaves no trace here: who cannot sign cannot make the partner's own be refused.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn look(&mut self, raw: &Raw<'_>, keys: &KeySet, now: Wall) -> Result<Answer, Refused> {
        let event = Envelope::read(raw.payload)?;
        if event.kind != TARGET_SET {
            return Err(Refused::Kind(shorten(&event.kind)));
        }
        if event.source != self.source {
            return Err(Refused::Source(shorten(&event.source)));
        }
        let verified = keys.verify(&event.data)?;
        let same_id = self.seen.iter().any(|(id, _)| *id == event.id);
        let same_mark = self.seen.iter().any(|(_, mark)| *mark == verified.mark);
        let both = self.seen.iter().any(|(id, mark)| *id == event.id && *mark == verified.mark);
        if both && raw.again {
            return Ok(Answer::Again);
        }
        if same_id {
            return Err(Refused::Replayed(event.id));
        }
        if same_mark {
            return Err(Refused::Rewrapped);
        }
        let (old, ahead) = (now.since(event.time), event.time.since(now));
        if old > self.oldest {
            return Err(Refused::Old(old));
        }
        if ahead > self.oldest {
            return Err(Refused::Ahead(ahead));
        }
        if self.latest.is_some_and(|latest| event.time < latest) {
            return Err(Refused::Outdated);
        }
        let targets = targets(&verified.payload)?;
        if self.seen.len() >= MOST_SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back((event.id.clone(), verified.mark));
        self.latest = Some(event.time);
        Ok(Answer::Targets(Admitted {
            correlation: event.correlation.unwrap_or_else(|| event.id.clone()),
            id: event.id,
            sent: event.time,
            trace: event.trace,
            targets,
        }))
    }
}
