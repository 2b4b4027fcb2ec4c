//! What an agent says, brought to the desk: alerts become limits or end them, and statuses are signs of life.
//!
//! An alert is about one feed. So it makes the source heard again only where the agent was heard since the start and nothing is known to be
//! missed: what it is not about may have been missed, too. One that is heard late tells of the past: it lifts what it may, and says nothing of
//! whether the agent is heard now.

use std::time::Duration;

use super::admit::Gate;
use super::alert::{Alert, Life, State};
use super::message::Trace;
use super::post::standing;
use super::settings::InfraSettings;
use super::shed::{Plan, Report, Surroundings, split};
use crate::control::signal::{Order, Wall};
use crate::control::site::{CircuitId, Scope};
use crate::signal::{Answer, Desk, List, SourceKey, Word};

/// Why a status counts for nothing.
const ABOVE: &str = "a feed of the agent is above its target, and what was said of the others may have been missed: the fail-safe holds \
                     until none is above";

/// Where what an agent says goes.
#[derive(Debug)]
pub struct Ear<'e> {
    /// The desk …
    pub desk: &'e Desk,
    /// … and the source there.
    pub source: SourceKey,
    /// Knows what was verified, which is remembered with what it came to.
    pub gate: &'e mut Gate,
}

/// What became of the hints of an alert: they are limits.
#[derive(Debug)]
pub struct Heeded {
    /// How many limits stand now.
    pub caps: usize,
    /// What the desk did not take, in words.
    pub refused: Vec<String>,
    /// What is to be told of the hints; `None` where there is nothing to tell.
    pub report: Option<Report>,
}

/// Why the hints of an alert are no limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unheeded {
    /// The configuration was read again without the source; the task is about to end.
    #[error("the site has no such source of orders")]
    NoSource,
    /// What stands does not leave room for them.
    #[error("an alert is refused: too much of those before it has not ended yet")]
    NoRoom,
}

impl Ear<'_> {
    /// Whether the agent was heard since the start, and nothing of what it said is known to be missed.
    fn is_whole(&self) -> bool {
        self.desk.word(self.source) == Some(Word::Whole)
    }

    /// The agent lives, and says how its feeds stand. `None` once the configuration was read again without the source.
    pub async fn lives(&mut self, state: State) -> Option<Life> {
        let known = self.desk.view(self.source).map(|view| view.state);
        let life = state.means(self.is_whole(), known);
        match life {
            // Said, since nothing else tells why an agent that is heard does not end the fail-safe.
            Life::Nothing => self.desk.complain(self.source, ABOVE.into()),
            Life::Sign => self.desk.heartbeat(self.source),
            Life::Control => {
                let orders = standing(self.desk, self.source)?.orders;
                self.hand_over(orders, false).await?;
            }
        }
        Some(life)
    }

    /// A breach is over: what it asked for is lifted. Gives the orders that stood for it; `None` as in [`Self::lives`].
    pub async fn end(&mut self, alert: &Alert, late: bool) -> Option<Vec<Order>> {
        let (left, over) = split(standing(self.desk, self.source)?.orders, alert, late, &[]);
        let silent = late || !self.is_whole();
        self.hand_over(left, silent).await?;
        Some(over)
    }

    /// A breach begins or goes on: its hints become limits. `id` and `sent` are of its message.
    ///
    /// # Errors
    /// [`Unheeded`].
    pub async fn shed(
        &mut self,
        alert: &Alert,
        (id, sent, trace): (&str, Wall, Option<Trace>),
        settings: &InfraSettings,
        scope: Scope,
    ) -> Result<Heeded, Unheeded> {
        let standing = standing(self.desk, self.source).ok_or(Unheeded::NoSource)?;
        let mut plan = {
            let believed = |circuit: CircuitId, scope: Scope| self.desk.believed(circuit, scope);
            let around = Surroundings {
                resources: &settings.resources,
                site: &standing.site,
                scope,
                believed: &believed,
            };
            Plan::of(alert, (id, sent.min(self.desk.wall())), standing.orders.clone(), &around)
        };
        if !standing.has_room_for(&plan.orders) {
            return Err(Unheeded::NoRoom);
        }
        let orders = std::mem::take(&mut plan.orders);
        let caps = orders.len();
        let silent = !self.is_whole();
        let answers = self.hand_over(orders, silent).await.ok_or(Unheeded::NoSource)?;
        let mut refused = Vec::new();
        for answer in answers {
            if let Err(refusal) = answer.outcome {
                let why = refusal.to_string();
                plan.refuse(&answer.id, &why);
                refused.push(why);
            }
        }
        if !refused.is_empty() {
            // It asked for less, and does not get it.
            self.desk.miss(self.source);
        }
        let within: Duration = settings.applied_within;
        let report = Report::new(alert, trace, plan.judged(), (self.desk.moment(), within));
        Ok(Heeded { caps, refused, report: (!report.is_empty()).then_some(report) })
    }

    /// Hands all that is to stand to the desk.
    async fn hand_over(&mut self, orders: Vec<Order>, silent: bool) -> Option<Vec<Answer>> {
        let list = List { orders, remember: self.gate.news(), silent, ..List::default() };
        self.desk.list(self.source, list).await.ok()
    }
}
