//! Orders that come as messages (MQTT): the rules of `limits`, and what a way needs on which messages may be kept, come
//! late or come twice.
//!
//! Every message says when it was sent, and one that is older than its source allows is refused, whoever kept it. Of an order
//! without a `revision` that moment is the revision: the same message twice is one order, and an older one never takes the
//! place of a newer one.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde::Serialize;

use super::answer::Limit;
use super::body::{self, ClearBody, LARGEST};
use super::limits::stamp;
use super::problem::Problem;
use super::{Api, Person, answer};
use crate::control::signal::Wall;
use crate::token::{Caller, Scopes};

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Gives an order, or a later version of it.
    Set,
    /// Takes an order back.
    Clear,
    /// Says that its source lives, and which orders stand.
    Heartbeat,
}

impl Command {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Set, Self::Clear, Self::Heartbeat];

    /// In a word; the last part of its topic.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Clear => "clear",
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// A message from somebody who may order.
#[derive(Clone, Copy, Debug)]
pub struct Message<'m> {
    /// What it asks for.
    pub command: Command,
    /// What it says.
    pub payload: &'m [u8],
    /// It was kept for whoever comes later, so that nobody knows when it was meant.
    pub retained: bool,
}

/// What became of a message. The answers are those of HTTP, with the status that they have there.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// What was asked for.
    pub command: &'static str,
    /// The order, as far as it could be read.
    pub id: Option<String>,
    /// When the message was sent, by its own word, as far as it could be read.
    pub sent_at: Option<String>,
    /// The status that the answer has over HTTP: below 300 for yes.
    pub status: u16,
    /// What became of it, in a word; `null` where it was refused.
    pub outcome: Option<&'static str>,
    /// Whether the order is on disk: what is not, a restart forgets.
    pub stored: bool,
    /// The order as it is known now.
    limit: Option<Limit>,
    /// What is wrong.
    pub title: Option<String>,
    /// What to do.
    pub detail: Option<String>,
}

impl Answer {
    fn new(command: Command) -> Self {
        Self {
            command: command.name(),
            id: None,
            sent_at: None,
            status: StatusCode::OK.as_u16(),
            outcome: None,
            stored: false,
            limit: None,
            title: None,
            detail: None,
        }
    }

    /// Whether it was done.
    pub const fn is_done(&self) -> bool {
        self.title.is_none()
    }

    fn refused(mut self, problem: Problem) -> Self {
        self.status = problem.code.as_u16();
        (self.title, self.detail) = (Some(problem.error), Some(problem.help));
        self
    }
}

impl Api {
    /// Carries out what a message asks for, for the source of this name and no other. `oldest` is how long ago it may have been
    /// sent. When this returns, an order that was taken is on disk, or the answer says that it is not.
    pub async fn message(&self, source: &str, oldest: Duration, message: Message<'_>) -> Answer {
        let mut answer = Answer::new(message.command);
        match self.carry_out(source, oldest, message, &mut answer).await {
            Ok(()) => answer,
            Err(problem) => answer.refused(problem),
        }
    }

    async fn carry_out(
        &self,
        name: &str,
        oldest: Duration,
        message: Message<'_>,
        answer: &mut Answer,
    ) -> Result<(), Problem> {
        let caller = Caller {
            name: Arc::from("mqtt"),
            scopes: Scopes { limits: true, ..Scopes::default() },
            source: Some(name.to_owned()),
        };
        self.takes_orders()?;
        let source = self.source(name)?;
        let arrived = self.desk.wall();
        let command = message.command.name();
        let complain = |id: &str, problem: Problem| self.complain(&caller, source, id, problem);
        sound(&message).map_err(|problem| complain(command, problem))?;
        match message.command {
            Command::Set => {
                let (id, mut limit) = match body::named_limit(message.payload) {
                    Ok(read) => read,
                    Err((id, wrong)) => {
                        let problem = complain(id.as_deref().unwrap_or(command), wrong.into());
                        answer.id = id;
                        return Err(problem);
                    }
                };
                answer.id = Some(id.clone());
                answer.sent_at = limit.sent_at.and_then(answer::stamp);
                let sent = self.recent(limit.sent_at, oldest).map_err(|problem| complain(&id, problem))?;
                let revision = limit.revision.unwrap_or_else(|| version(sent));
                limit.revision = Some(revision);
                // What is over or was taken back does not come back by the same message.
                let at = self.desk.glance(source);
                let gone = |at: &crate::signal::glance::Glance| {
                    at.standing(&id).is_none()
                        && at.find(&id).is_some_and(|held| held.order.revision >= revision)
                };
                if at.as_ref().is_some_and(gone) {
                    return Err(Problem::outdated());
                }
                let (code, given) = self.set_limit(&caller, (source, name), &id, Ok(limit)).await?;
                answer.status = code.as_u16();
                (answer.outcome, answer.stored, answer.limit) =
                    (Some(given.outcome), given.stored, given.limit);
            }
            Command::Clear => {
                let ClearBody { id, revision, sent_at } =
                    body::clear(message.payload).map_err(|wrong| complain(command, wrong.into()))?;
                answer.id = Some(id.clone());
                answer.sent_at = sent_at.and_then(answer::stamp);
                let sent = self.recent(sent_at, oldest).map_err(|problem| complain(&id, problem))?;
                // It is of the version that is known, whoever counts them: a moment would outdo every later one of theirs. Of a name that is
                // not known nothing is remembered. Looked at first: what comes meanwhile is of a later one.
                let known = self.desk.glance(source).and_then(|at| Some(at.find(&id)?.order.revision));
                // A withdrawal that comes late does not take back what was ordered after it.
                if self.desk.sent(source, &id).is_some_and(|known| sent < known) {
                    return Err(Problem::outdated());
                }
                let revision = revision.or(known);
                // Its token is not the operator's: the log and the order's own entries tell of it.
                let nobody = Person::default();
                let given = self.clear_limit(&caller, (source, name), &id, revision, nobody).await?;
                (answer.outcome, answer.stored) = (Some(given.outcome), given.stored);
            }
            Command::Heartbeat => {
                let read = body::heartbeat(message.payload).map_err(Problem::from);
                let heartbeat = read.map_err(|problem| complain(command, problem))?;
                answer.sent_at = heartbeat.sent_at.and_then(answer::stamp);
                self.recent(heartbeat.sent_at, oldest).map_err(|problem| complain(command, problem))?;
                self.heard(&caller, (source, name), arrived, Ok(heartbeat)).await?;
                answer.outcome = Some("heard");
            }
        }
        Ok(())
    }

    /// When a message was sent, if that is not too long ago nor still to come.
    fn recent(&self, sent: Option<Wall>, oldest: Duration) -> Result<Wall, Problem> {
        let ours = self.desk.wall();
        let sent = sent.ok_or_else(|| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "the message does not say when it was sent",
                "write `sent_at` with what the clock of the sender shows, like \"2026-07-01T13:00:00.250Z\": a message may \
                 have been kept on its way",
            )
        })?;
        if ours.since(sent).max(sent.since(ours)) <= oldest {
            return Ok(sent);
        }
        Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("the message was sent at {}, and it is {} here", stamp(Some(sent)), stamp(Some(ours))),
            format!(
                "a message may be {} s on its way; send it anew, or set the clock that is wrong. What was in force stays in \
                 force",
                oldest.as_secs()
            ),
        ))
    }
}

/// Refuses what is not looked at further.
fn sound(message: &Message<'_>) -> Result<(), Problem> {
    if message.retained {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the message is retained: whoever connects later would be given it again",
            "send it without the retain flag",
        ));
    }
    if message.payload.len() > LARGEST {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the message is larger than {} KiB", LARGEST / 1024),
            "an order needs a few hundred bytes; send one order at a time",
        ));
    }
    Ok(())
}

/// The version that a moment stands for.
fn version(sent: Wall) -> u64 {
    u64::try_from(sent.as_unix_millis()).unwrap_or(0)
}
