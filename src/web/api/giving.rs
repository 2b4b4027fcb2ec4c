//! What becomes of an order, whichever way it came: by a request of HTTP, or by a message.

use std::time::Duration;

use axum::http::StatusCode;

use super::answer::{self, Alive, Given, Limit};
use super::body::{self, End, HeartbeatBody, LimitBody};
use super::limits::{no_limit, refused, stamp};
use super::problem::Problem;
use super::{Api, Person};
use crate::control::signal::{Doubt, Order, Receipt, Wall};
use crate::control::site::{CircuitId, Scope};
use crate::signal::desk::Made;
use crate::signal::glance::Giver;
use crate::signal::{DeskError, List, SourceKey};
use crate::token::Caller;

/// A clock that is further off does not know the day.
const MOST_APART: Duration = Duration::from_secs(86_400);

/// A source, and its name.
pub(super) type Named<'n> = (SourceKey, &'n str);

impl Api {
    /// Takes an order that could be read, or says of one that could not what is wrong: then its source is degraded.
    pub(super) async fn set_limit(
        &self,
        caller: &Caller,
        (source, name): Named<'_>,
        id: &str,
        read: Result<LimitBody, Problem>,
    ) -> Result<(StatusCode, Given), Problem> {
        let complain = |problem: Problem| self.complain(caller, source, id, problem);
        let read = read.and_then(|limit| {
            self.plausible(limit.sent_at)?;
            Ok(limit)
        });
        let limit = read.map_err(complain)?;
        let (source, order) = self.order(name, id, &limit).map_err(complain)?;
        let (until, now) = (order.until, self.desk.wall());
        // Given to the desk, it would end the version before it: a wrong date must not take a cap away.
        if order.from <= now && until.is_some_and(|until| order.from <= until && until <= now) {
            return Err(complain(over(until)));
        }
        let giver = Giver {
            id: id.into(),
            by: limit.by.as_deref().map(Into::into),
            remark: limit.note.as_deref().map(Into::into),
        };
        let receipt = match self.desk.give_sent(source, order, limit.sent_at, Some(giver.clone())).await {
            Ok(receipt) => receipt,
            Err(error) => return Err(complain(refused(&error, name))),
        };
        if receipt == Receipt::Over {
            return Err(over(until));
        }
        if receipt == Receipt::Outdated {
            return Err(Problem::outdated());
        }
        self.compare_clocks(source, limit.sent_at);
        let at = self.desk.glance(source);
        let stored = at.as_ref().is_some_and(|at| at.stored(id));
        let limit = at.as_ref().and_then(|at| Some(Limit::new(at.find(id)?, at)));
        if receipt != Receipt::Duplicate {
            let person = Person { by: giver.by.as_deref(), note: giver.remark.as_deref() };
            self.prove(caller, "limit set", name, Some(id), person);
            tracing::info!(
                source = name,
                order = id,
                token = &*caller.name,
                by = giver.by.as_deref(),
                note = giver.remark.as_deref(),
                "order {}",
                answer::outcome(receipt)
            );
        }
        let code = if receipt == Receipt::Accepted { StatusCode::CREATED } else { StatusCode::OK };
        Ok((code, Given { outcome: answer::outcome(receipt), stored, limit }))
    }

    /// Takes an order back, up to a version where one is named.
    pub(super) async fn clear_limit(
        &self,
        caller: &Caller,
        (source, name): Named<'_>,
        id: &str,
        revision: Option<u64>,
        person: Person<'_>,
    ) -> Result<Given, Problem> {
        let before = self.desk.glance(source);
        if let (Some(revision), Some(held)) = (revision, before.as_ref().and_then(|at| at.find(id)))
            && held.withdrawn.is_none()
            && revision < held.order.revision
        {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                format!("version {} of the order is in force", held.order.revision),
                "take back that version, or leave `revision` away",
            ));
        }
        let known = self.desk.take_back(source, id, revision).await.map_err(|error| refused(&error, name))?;
        if !known {
            return Err(no_limit(id));
        }
        self.prove(caller, "limit taken back", name, Some(id), person);
        tracing::info!(
            source = name,
            order = id,
            token = &*caller.name,
            by = person.by,
            note = person.note,
            "order taken back"
        );
        let stored = self.desk.glance(source).is_some_and(|at| at.stored(id));
        Ok(Given { outcome: "withdrawn", stored, limit: None })
    }

    /// Takes note that a source lives, and which of its orders stand where it says so. `arrived` is when it began to say it.
    pub(super) async fn heard(
        &self,
        caller: &Caller,
        (source, name): Named<'_>,
        arrived: Wall,
        read: Result<HeartbeatBody, Problem>,
    ) -> Result<Alive, Problem> {
        let read = read.and_then(|heartbeat| {
            self.plausible(heartbeat.sent_at)?;
            Ok(heartbeat)
        });
        let heartbeat = read.map_err(|problem| self.complain(caller, source, "heartbeat", problem))?;
        self.compare_clocks(source, heartbeat.sent_at);
        match heartbeat.limits {
            None => self.desk.heartbeat(source),
            Some(names) => {
                let at = self.desk.glance(source);
                let stands = |name: &String| at.as_ref().is_some_and(|at| at.standing(name).is_some());
                let missing: Vec<&String> = names.iter().filter(|name| !stands(name)).collect();
                if let Some(first) = missing.first() {
                    // It lives, but what it orders is not all known: control is not given back on its word.
                    self.desk.heartbeat(source);
                    return Err(Problem::new(
                        StatusCode::CONFLICT,
                        format!(
                            "{} of these orders are not known, such as `{}`",
                            missing.len(),
                            body::shorten(first)
                        ),
                        "send each with PUT /api/v1/limits/{id}, then say again which stand",
                    ));
                }
                // An order that came after it was made stands, too.
                let made = Some(Made { sent: heartbeat.sent_at, arrived });
                let list =
                    List { unreadable: names.into_iter().map(Into::into).collect(), made, ..List::default() };
                self.desk.list(source, list).await.map_err(|error| refused(&error, name))?;
            }
        }
        let state = self.desk.view(source);
        let state_before = state.map(|view| view.state.name());
        Ok(Alive { source: name.to_owned(), state_before })
    }

    /// An order of a source as the desk takes it. Names are found in one configuration, all of them.
    pub(super) fn order(
        &self,
        source: &str,
        id: &str,
        body: &LimitBody,
    ) -> Result<(SourceKey, Order), Problem> {
        let (default_circuit, default_scope) = self.place(source).unwrap_or((String::new(), Scope::Import));
        let (key, site) =
            self.desk.source_and_site(source).ok_or_else(|| refused(&DeskError::NoSource, source))?;
        let name = body.circuit.as_ref().unwrap_or(&default_circuit);
        let circuit = site.circuits.iter().position(|circuit| circuit.name == *name).map(CircuitId);
        let circuit = circuit.ok_or_else(|| {
            let names: Vec<&str> = site.circuits.iter().map(|circuit| circuit.name.as_str()).collect();
            Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("the site has no circuit `{}`", body::shorten(name)),
                format!("there are {}", names.join(", ")),
            )
        })?;
        let now = self.desk.wall();
        let build = |from: Wall, revision: u64| Order {
            id: id.into(),
            revision,
            lane: "".into(),
            priority: body.priority.unwrap_or(u32::MAX),
            circuit,
            scope: body.scope.unwrap_or(default_scope),
            ask: body.ask,
            basis: body.basis,
            urgency: body.urgency,
            from,
            until: match body.end {
                End::Open => None,
                End::At(until) => Some(until),
                End::After(time) => Some(from.later(time)),
            },
            start_spread: body.start_spread,
        };
        let at = self.desk.glance(key);
        let standing = at.as_ref().and_then(|at| at.standing(id));
        let from = body.from.unwrap_or(now);
        let next = self.desk.next_revision(key, id);
        let order = match (body.revision, standing) {
            // The same version again begins when it began.
            (Some(revision), Some(held)) if held.order.revision == revision => {
                build(body.from.unwrap_or(held.order.from), revision)
            }
            (Some(revision), _) => build(from, revision),
            (None, Some(held)) => {
                let again = build(body.from.unwrap_or(held.order.from), held.order.revision);
                // "For two hours" without a beginning means from now on, each time that it is said.
                let moving = body.from.is_none() && matches!(body.end, End::After(_));
                if again == held.order && !moving { again } else { build(from, next) }
            }
            (None, None) => build(from, next),
        };
        Ok((key, order))
    }

    /// Refuses what was sent on another day, by the clock of its sender: that clock, or ours, was never set.
    fn plausible(&self, sent_at: Option<Wall>) -> Result<(), Problem> {
        let (Some(theirs), ours) = (sent_at, self.desk.wall()) else { return Ok(()) };
        if ours.since(theirs).max(theirs.since(ours)) <= MOST_APART {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("`sent_at` is {}, and it is {} here", stamp(Some(theirs)), stamp(Some(ours))),
            "set the clock that is wrong, or leave `sent_at` away; what was in force stays in force",
        ))
    }

    /// Makes the source degraded for something that could not be obeyed, and says so in the log.
    pub(super) fn complain(&self, caller: &Caller, source: SourceKey, id: &str, problem: Problem) -> Problem {
        let id = body::shorten(id);
        self.desk.complain(source, format!("{id}: {}", problem.error).into());
        tracing::warn!(token = &*caller.name, order = id, error = problem.error, "an order is refused");
        problem
    }

    fn compare_clocks(&self, source: SourceKey, sent_at: Option<Wall>) {
        if let Some(theirs) = sent_at {
            let ours = self.desk.wall();
            self.desk.doubt(source, Doubt::Off(ours.since(theirs).max(theirs.since(ours))));
        }
    }
}

fn over(until: Option<Wall>) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        format!("the order is over already: it ends at {}", stamp(until)),
        "check the dates and the clocks of both machines; DELETE takes an order back",
    )
}
