//! The sessions of all miners: orders out, reports in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Config, ExitPolicy};
use crate::control::decision::{Cause, Command};
use crate::control::snapshot::{MinerInput, Outcome, Target};
use crate::metrics::{CommandCount, CommandDurations, CommandStats};
use crate::miner::session::{self, Gate, Order, Session, SessionSpec};
use crate::miner::tally::{BUCKETS, Ended, SessionMetrics};
use crate::miner::{Connection, DriverKind, Urgency};
use crate::units::Watts;

/// How many miners are polled at one time over the whole site; commands do not wait for it.
const POLLS_AT_ONCE: usize = 256;
/// How long the exit policy waits for the miners' answers.
const FAREWELL: Duration = Duration::from_secs(3);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);

struct Member {
    name: String,
    connection: Connection,
    poll_period: Duration,
    silent_after: Duration,
    maximum: Watts,
    session: Session,
    cancel: CancellationToken,
}

/// Every miner's session, in the order of the site. Dropping it ends them.
pub struct Fleet {
    members: Vec<Member>,
    http: reqwest::Client,
    gate: Arc<Gate>,
    stats: Arc<SessionMetrics>,
    cancel: CancellationToken,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Fleet {
    /// Starts a session for each miner.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn start(config: &Config, clock: Clock) -> Result<Self, reqwest::Error> {
        let mut fleet = Self {
            members: Vec::new(),
            http: crate::miner::http_client()?,
            gate: Arc::new(Gate::new(POLLS_AT_ONCE)),
            stats: Arc::new(SessionMetrics::default()),
            cancel: CancellationToken::new(),
        };
        fleet.configure(config, clock);
        Ok(fleet)
    }

    /// Takes a new configuration. Sessions whose connection did not change go on.
    pub fn configure(&mut self, config: &Config, clock: Clock) {
        let mut known: BTreeMap<String, Member> =
            self.members.drain(..).map(|member| (member.name.clone(), member)).collect();
        for (spec, connection) in config.site.miners.iter().zip(&config.miners) {
            let kept = known.remove(&spec.name).filter(|member| {
                let same = member.connection == *connection
                    && member.poll_period == spec.poll_period
                    && member.silent_after == spec.silent_after;
                if !same {
                    member.cancel.cancel();
                }
                same
            });
            let member =
                kept.map(|member| Member { maximum: spec.maximum(), ..member }).unwrap_or_else(|| {
                    let cancel = self.cancel.child_token();
                    let session = session::spawn(
                        crate::miner::driver(connection, &self.http),
                        SessionSpec {
                            name: spec.name.as_str().into(),
                            kind: connection.driver,
                            endpoint: connection.endpoint.clone(),
                            poll_period: spec.poll_period,
                            silent_after: spec.silent_after,
                            timeout: connection.timeout,
                        },
                        clock,
                        self.gate.clone(),
                        self.stats.clone(),
                        cancel.clone(),
                    );
                    Member {
                        name: spec.name.clone(),
                        connection: connection.clone(),
                        poll_period: spec.poll_period,
                        silent_after: spec.silent_after,
                        maximum: spec.maximum(),
                        session,
                        cancel,
                    }
                });
            self.members.push(member);
        }
        for gone in known.into_values() {
            gone.cancel.cancel();
        }
    }

    /// The latest of every miner, in the order of the site.
    pub fn inputs(&self) -> Vec<MinerInput> {
        self.members.iter().map(|member| member.session.report.borrow().clone()).collect()
    }

    /// Hands out the commands of a cycle. Never waits.
    pub fn send(&self, commands: &[Command]) {
        for command in commands {
            let hurry =
                matches!(command.cause, Cause::Shed | Cause::Escalate) || command.target == Target::Sleep;
            let urgency = if hurry { Urgency::Shed } else { Urgency::Normal };
            let order = Order { target: command.target, sequence: command.sequence, urgency };
            if let Some(member) = self.members.get(command.miner.0) {
                member.session.order.send_replace(Some(order));
            }
        }
    }

    /// The counts for the metrics.
    pub fn stats(&self) -> Arc<dyn CommandStats> {
        Arc::new(Stats(self.stats.clone()))
    }

    /// Does with the miners what the configuration wants at the end, waits a moment for their answers, and closes
    /// all sessions. `sequence` is the number of the latest command.
    pub async fn stop(mut self, exit: ExitPolicy, sequence: u64) {
        let target = |member: &Member| match exit {
            ExitPolicy::Hold => None,
            ExitPolicy::Sleep => Some(Target::Sleep),
            ExitPolicy::Restore => Some(Target::Power(member.maximum)),
        };
        let mut last = sequence;
        let mut waiting: Vec<(usize, u64)> = Vec::new();
        for (index, member) in self.members.iter().enumerate() {
            if let Some(target) = target(member) {
                last += 1;
                let order = Order { target, sequence: last, urgency: Urgency::Shed };
                member.session.order.send_replace(Some(order));
                waiting.push((index, last));
            }
        }
        let total = waiting.len();
        let mut refused = 0_usize;
        let deadline = tokio::time::sleep(FAREWELL);
        tokio::pin!(deadline);
        while !waiting.is_empty() {
            tokio::select! {
                () = &mut deadline => break,
                () = tokio::time::sleep(LOOK) => {}
            }
            waiting.retain(|(index, sequence)| {
                let report =
                    self.members.get(*index).map(|member| member.session.report.borrow().delivery.clone());
                let ended = report.flatten().filter(|delivery| {
                    delivery.sequence == *sequence && delivery.outcome != Outcome::InFlight
                });
                refused += usize::from(ended.as_ref().is_some_and(|end| end.outcome != Outcome::Accepted));
                ended.is_none()
            });
        }
        if total > 0 {
            let failed = waiting.len() + refused;
            if failed > 0 {
                tracing::warn!(
                    policy = exit.name(),
                    failed,
                    "not every miner has confirmed the last command"
                );
            }
            tracing::info!(
                policy = exit.name(),
                miners = total,
                accepted = total - failed,
                "left the miners as configured"
            );
        }
        self.cancel.cancel();
        for member in self.members.drain(..) {
            let _ = member.session.task.await;
        }
    }
}

struct Stats(Arc<SessionMetrics>);

impl CommandStats for Stats {
    fn commands(&self) -> Vec<CommandCount> {
        let mut counts = Vec::new();
        for kind in DriverKind::ALL {
            let tally = self.0.driver(kind);
            for ended in Ended::ALL {
                let result = if ended == Ended::Ok { "accepted" } else { ended.name() };
                counts.push(CommandCount { driver: kind.name(), result, count: tally.commands.get(ended) });
            }
        }
        counts
    }

    fn durations(&self) -> Vec<CommandDurations> {
        DriverKind::ALL
            .into_iter()
            .map(|kind| {
                let read = self.0.driver(kind).command_seconds.read();
                CommandDurations {
                    driver: kind.name(),
                    buckets: BUCKETS.into_iter().zip(read.cumulative).collect(),
                    count: read.count,
                    sum: read.seconds,
                }
            })
            .collect()
    }
}
