//! Which messages of the partner are obeyed: verified, theirs, fresh, and new. In the role of infra the partner is the agent.
//!
//! Only `data` of a message and the header of its signature are signed; its id, its time and its source are anybody's word who may
//! publish at the broker. So a time that is signed (`iat`) is the one that counts, and what was signed once is taken once: a signature
//! that comes again under another id is a replay, however fresh the rest looks. What was verified is remembered whether or not it was
//! obeyed, and on disk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::alert::{self, Alert, State};
use super::jws::{JwsError, KeySet, Verified};
use super::message::{
    Envelope, Fault, Sent, TARGET_SET, Target, Trace, agent_source, infra_source, partner_source, targets,
    wrong,
};
use crate::control::signal::Wall;
use crate::control::signal::book::MOST_WITHDRAWN;
use crate::line::shorten;
use crate::signal::link::Came;

/// How many messages are remembered: as many as the book of the source keeps.
const MOST_SEEN: usize = MOST_WITHDRAWN;

/// Why a message is not obeyed. What was in force stays in force.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    /// It cannot be used.
    #[error("a message is refused: {0}")]
    Fault(#[from] Fault),
    /// Its signature is not believed.
    #[error("a message is refused: {0}")]
    Signature(#[from] JwsError),
    /// It is signed, and its content cannot be used.
    #[error("a message is refused: {0}")]
    Content(Fault),
    /// It is signed for somebody else.
    #[error("a message is refused: it is signed for others (`aud`), and not for us")]
    Audience,
    /// It does not say under its signature when it was signed.
    #[error(
        "a message is refused: its signature holds no time (`iat`) that can be read, as `require_iat` asks for"
    )]
    Undated,
    /// It is of another kind.
    #[error("a message is refused: it is a {0}, which is nothing for us")]
    Kind(String),
    /// A status, which asks for nothing.
    #[error("a status is refused: {0}")]
    Status(String),
    /// It says to come from somebody else.
    #[error("a message is refused: it says to come from {0}, and not from the other side")]
    Source(String),
    /// Too old.
    #[error("a message is refused: it was sent {} s ago by its own word, longer than `oldest_message`", .0.as_secs())]
    Old(Duration),
    /// Sent in the future.
    #[error("a message is refused: it will be sent in {} s by its own word; compare the clocks", .0.as_secs())]
    Ahead(Duration),
    /// It was over before it came.
    #[error("a message is refused: it has been over for {} s by its own word (`exp`)", .0.as_secs())]
    Over(Duration),
    /// Its id was seen with another content, or is told again.
    #[error("a message is refused: its id {0} came before")]
    Replayed(String),
    /// Its content was seen under another id.
    #[error(
        "a message is refused: what it says was signed for another message that came before; to say the same again, sign another \
         `iat` or `jti` with it"
    )]
    Rewrapped,
    /// A message that was sent later was obeyed already.
    #[error("a message is refused: one that was sent later came before it")]
    Outdated,
}

impl Refused {
    /// As it is counted.
    pub const fn came(&self) -> Came {
        match self {
            Self::Fault(_) => Came::Unreadable,
            Self::Signature(_) => Came::Signature,
            Self::Content(_) | Self::Status(_) => Came::Content,
            Self::Audience => Came::Audience,
            Self::Undated => Came::Undated,
            Self::Kind(_) => Came::Kind,
            Self::Source(_) => Came::Sender,
            Self::Old(_) | Self::Over(_) => Came::Old,
            Self::Ahead(_) => Came::Ahead,
            Self::Replayed(_) => Came::Replayed,
            Self::Rewrapped => Came::Rewrapped,
            Self::Outdated => Came::Outdated,
        }
    }

    /// Whether the partner did sign it, and it was neither obeyed nor refused before: it may have asked for less.
    pub const fn missed(&self) -> bool {
        match self {
            Self::Content(_)
            | Self::Undated
            | Self::Old(_)
            | Self::Over(_)
            | Self::Ahead(_)
            | Self::Replayed(_)
            | Self::Outdated => true,
            Self::Fault(_)
            | Self::Signature(_)
            | Self::Audience
            | Self::Kind(_)
            | Self::Status(_)
            | Self::Source(_)
            | Self::Rewrapped => false,
        }
    }
}

/// A message that is to be obeyed.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted<T = Vec<Target>> {
    /// The id of its event; a UUID.
    pub id: String,
    /// By what the partner knows it again: its correlation id, or its id where it has none.
    pub correlation: String,
    /// When it was sent, by the partner's clock: signed, where they sign it.
    pub sent: Wall,
    /// Its trace, where it has one.
    pub trace: Option<Trace>,
    /// It came after its time, or after one that was sent later, and its content counts all the same.
    pub late: bool,
    /// What it says: of a partner, the whole list of targets.
    pub said: T,
}

impl<T> Admitted<T> {
    fn of(event: Envelope, sent: Wall, late: bool, said: T) -> Self {
        Self {
            correlation: event.correlation.unwrap_or_else(|| event.id.clone()),
            id: event.id,
            sent,
            trace: event.trace,
            late,
            said,
        }
    }
}

/// What an agent says to the infra role.
#[derive(Clone, Debug, PartialEq)]
pub enum FromAgent {
    /// A breach begins, goes on or ends.
    Alert(Alert),
    /// They live, and this is how their feeds stand.
    State(State),
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer<T = Vec<Target>> {
    /// It is to be obeyed.
    New(Admitted<T>),
    /// Nothing is to be done: it came before, as it is, or it is a status that tells of the past.
    Again,
}

/// What is asked of a message.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'r> {
    /// The name of the partner.
    pub partner: &'r str,
    /// Our own name.
    pub identity: &'r str,
    /// So old it may be, and so far ahead.
    pub oldest: Duration,
    /// The time that it was signed must be signed with it.
    pub require_iat: bool,
}

/// Looks at every message before anybody else does.
#[derive(Debug)]
pub struct Gate {
    source: String,
    /// As what we stand in an audience: our name, and what stands in `source` of our messages.
    ours: [String; 2],
    oldest: Duration,
    require_iat: bool,
    /// What was verified, the latest last: `ID/MARK`.
    seen: VecDeque<Arc<str>>,
    /// What of that is not on disk, and when it was sent, in Unix milliseconds; zero for what was refused.
    news: Vec<(Arc<str>, u64)>,
    /// When the latest that was taken was sent.
    latest: Option<Wall>,
    /// Of when the latest status is.
    state: Option<Wall>,
}

impl Gate {
    /// Takes the lists of a partner by these rules. `known` is what [`Self::news`] gave before a restart, the latest last.
    pub fn new(rules: &Rules<'_>, known: Vec<(Arc<str>, u64)>) -> Self {
        Self::between(rules, partner_source(rules.partner), agent_source(rules.identity), known)
    }

    /// As [`Self::new`], for the role of infra: the partner is an agent, and what they say is looked at by [`Self::look_at_agent`].
    pub fn of_infra(rules: &Rules<'_>, known: Vec<(Arc<str>, u64)>) -> Self {
        Self::between(rules, agent_source(rules.partner), infra_source(rules.identity), known)
    }

    fn between(rules: &Rules<'_>, source: String, ours: String, known: Vec<(Arc<str>, u64)>) -> Self {
        let latest = known.iter().map(|(_, sent)| *sent).max().filter(|sent| *sent > 0);
        Self {
            source,
            ours: [rules.identity.to_owned(), ours],
            oldest: rules.oldest,
            require_iat: rules.require_iat,
            latest: latest.and_then(|sent| i64::try_from(sent).ok()).map(Wall::unix_millis),
            state: None,
            seen: known.into_iter().map(|(name, _)| name).collect(),
            news: Vec::new(),
        }
    }

    /// What was verified since this was asked last, to be kept.
    pub fn news(&mut self) -> Vec<(Arc<str>, u64)> {
        std::mem::take(&mut self.news)
    }

    /// Looks at a message of a partner. One that is not verified leaves no trace here: who cannot sign cannot make the partner's own be
    /// refused.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn look(&mut self, payload: &[u8], keys: &KeySet, now: Wall) -> Result<Answer, Refused> {
        let event = Envelope::read(payload)?;
        if event.kind != TARGET_SET {
            return Err(Refused::Kind(shorten(&event.kind)));
        }
        self.take(event, keys, now, targets, |_| false)
    }

    /// Looks at a message of an agent, as [`Self::look`].
    ///
    /// # Errors
    /// [`Refused`].
    pub fn look_at_agent(
        &mut self,
        payload: &[u8],
        keys: &KeySet,
        now: Wall,
    ) -> Result<Answer<FromAgent>, Refused> {
        let event = Envelope::read(payload)?;
        if event.kind == Sent::Status.kind() {
            return self.state(event, keys, now);
        }
        if event.kind != Sent::Breach.kind() {
            return Err(Refused::Kind(shorten(&event.kind)));
        }
        // That a breach is over stays true, however late it is heard.
        let lasts = |said: &FromAgent| matches!(said, FromAgent::Alert(alert) if alert.is_over());
        self.take(event, keys, now, |data| alert::alert(data).map(FromAgent::Alert), lasts)
    }

    /// A status asks for nothing, so it need not be remembered: one that is not later than the latest is no news. Its time is signed.
    fn state(&mut self, event: Envelope, keys: &KeySet, now: Wall) -> Result<Answer<FromAgent>, Refused> {
        self.is_theirs(&event)?;
        let verified = keys.verify(&event.data)?;
        let signed = Signed::of(&verified);
        if !signed.is_for(&self.ours) {
            return Err(Refused::Audience);
        }
        let said = alert::state(&verified.payload).map_err(|fault| Refused::Status(fault.to_string()))?;
        let ahead = said.at.since(now);
        if ahead > self.oldest {
            let why = format!("it is of a time in {} s by its own word; compare the clocks", ahead.as_secs());
            return Err(Refused::Status(why));
        }
        if now.since(said.at) > self.oldest || self.state.is_some_and(|latest| said.at <= latest) {
            return Ok(Answer::Again);
        }
        self.state = Some(said.at);
        Ok(Answer::New(Admitted::of(event, said.at, false, FromAgent::State(said))))
    }

    fn is_theirs(&self, event: &Envelope) -> Result<(), Refused> {
        if event.source == self.source { Ok(()) } else { Err(Refused::Source(shorten(&event.source))) }
    }

    /// Takes a message once. `read` understands its content, `lasts` says that this counts however late it comes.
    fn take<T>(
        &mut self,
        event: Envelope,
        keys: &KeySet,
        now: Wall,
        read: impl FnOnce(&[u8]) -> Result<T, Fault>,
        lasts: fn(&T) -> bool,
    ) -> Result<Answer<T>, Refused> {
        self.is_theirs(&event)?;
        let verified = keys.verify(&event.data)?;
        let mark = URL_SAFE_NO_PAD.encode(verified.mark);
        let name: Arc<str> = format!("{}/{mark}", event.id).into();
        if self.seen.contains(&name) {
            return Ok(Answer::Again);
        }
        let parts = || self.seen.iter().filter_map(|known| known.rsplit_once('/'));
        if parts().any(|(_, other)| other == mark) {
            return Err(Refused::Rewrapped);
        }
        let same_id = parts().any(|(id, _)| id == event.id);
        let signed = Signed::of(&verified);
        if !signed.is_for(&self.ours) {
            return Err(Refused::Audience);
        }
        let judged = if same_id {
            Err(Refused::Replayed(event.id.clone()))
        } else {
            self.judge(event, &signed, now, || read(&verified.payload), lasts)
        };
        let sent = judged.as_ref().ok().map(|(_, sent)| *sent);
        self.latest = self.latest.max(sent);
        if self.seen.len() >= MOST_SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(name.clone());
        let sent = sent.and_then(|sent| u64::try_from(sent.as_unix_millis()).ok());
        self.news.push((name, sent.unwrap_or(0)));
        judged.map(|(said, _)| Answer::New(said))
    }

    /// Whether a new message of the partner is to be obeyed, and what is to be remembered as its time.
    fn judge<T>(
        &self,
        event: Envelope,
        signed: &Signed<'_>,
        now: Wall,
        read: impl FnOnce() -> Result<T, Fault>,
        lasts: fn(&T) -> bool,
    ) -> Result<(Admitted<T>, Wall), Refused> {
        let iat = signed.iat();
        if iat.is_none() && self.require_iat {
            return Err(Refused::Undated);
        }
        let sent = iat.unwrap_or(event.time);
        let said = read();
        let late = match self.in_time(sent, now).and_then(|()| signed.counts(now, self.oldest)) {
            Ok(()) => false,
            Err(Refused::Old(_) | Refused::Over(_) | Refused::Outdated) if said.as_ref().is_ok_and(lasts) => {
                true
            }
            Err(refused) => return Err(refused),
        };
        let said = said.map_err(Refused::Content)?;
        // A time that is not signed must not make later messages be refused.
        let noted = if iat.is_some() { sent } else { sent.min(now) };
        Ok((Admitted::of(event, sent, late, said), noted))
    }

    fn in_time(&self, sent: Wall, now: Wall) -> Result<(), Refused> {
        let (old, ahead) = (now.since(sent), sent.since(now));
        if old > self.oldest {
            return Err(Refused::Old(old));
        }
        if ahead > self.oldest {
            return Err(Refused::Ahead(ahead));
        }
        if self.latest.is_some_and(|latest| sent < latest) {
            return Err(Refused::Outdated);
        }
        Ok(())
    }
}

/// What is signed beside the targets (RFC 7519): in the header, or else in the data.
struct Signed<'v> {
    header: &'v Value,
    data: Option<Value>,
}

impl<'v> Signed<'v> {
    fn of(verified: &'v Verified) -> Self {
        Self { header: &verified.header, data: serde_json::from_slice(&verified.payload).ok() }
    }

    fn claim(&self, name: &str) -> Option<&Value> {
        let claim = self.header.get(name).or_else(|| self.data.as_ref()?.get(name));
        claim.filter(|value| !value.is_null())
    }

    /// When it was signed.
    fn iat(&self) -> Option<Wall> {
        self.time("iat")
    }

    /// Whether it counts now, by the time from which (`nbf`, with what clocks may differ by) and to which (`exp`) it says that it does.
    fn counts(&self, now: Wall, apart: Duration) -> Result<(), Refused> {
        let read = |name: &'static str| match (self.claim(name), self.time(name)) {
            (Some(given), None) => {
                Err(Refused::Content(wrong(name, &given.to_string(), "seconds since 1970")))
            }
            (_, time) => Ok(time),
        };
        if let Some(exp) = read("exp")?.filter(|exp| *exp <= now) {
            return Err(Refused::Over(now.since(exp)));
        }
        match read("nbf")?.map(|nbf| nbf.since(now)).filter(|ahead| *ahead > apart) {
            Some(ahead) => Err(Refused::Ahead(ahead)),
            None => Ok(()),
        }
    }

    /// A time: seconds since 1970, as a number.
    fn time(&self, name: &str) -> Option<Wall> {
        let seconds = self.claim(name)?.as_f64()?;
        let since = Duration::try_from_secs_f64(seconds).ok()?;
        i64::try_from(since.as_millis()).ok().map(Wall::unix_millis)
    }

    /// Whether one of these names is among those for whom it is; what names nobody is for everybody.
    fn is_for(&self, names: &[String]) -> bool {
        let ours = |word: &Value| word.as_str().is_some_and(|word| names.iter().any(|name| name == word));
        match self.claim("aud") {
            None => true,
            Some(Value::Array(words)) => words.iter().any(ours),
            Some(word) => ours(word),
        }
    }
}
