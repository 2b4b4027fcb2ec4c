//! The sessions of all miners: orders out, reports in.

mod files;
mod stats;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Moment};
use crate::config::{Config, ExitPolicy};
use crate::control::decision::{Cause, Command};
use crate::control::farewell::Leave;
use crate::control::lead::Lead;
use crate::control::site::{Actuator, CircuitId, Miner, MinerId};
use crate::control::snapshot::{Activity, HeldMiner, Hold, MinerInput, Outcome, Target, hold_of};
use crate::discover::identified::Identified;
use crate::discover::neighbours::Neighbours;
use crate::discover::who::Witness;
use crate::metrics::CommandStats;
use crate::miner::identity::Identity;
use crate::miner::session::{self, Bounds, Gate, Order, Session, SessionSpec, Shared};
use crate::miner::{Connection, Driver, Urgency};
use crate::units::Watts;

/// How long the exit policy waits for the miners' answers; for those of pause hooks as much longer as they may take.
const FAREWELL: Duration = Duration::from_secs(3);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);

struct Member {
    name: String,
    connection: Connection,
    identity: Identity,
    poll_period: Duration,
    silent_after: Duration,
    minimum: Watts,
    maximum: Watts,
    /// The lowest that it is told at the end; `None` where something was agreed: it stays as it is.
    lowest: Option<Target>,
    /// It can be commanded at all.
    commanded: bool,
    circuit: CircuitId,
    session: Session,
    cancel: CancellationToken,
}

impl Member {
    /// Whether it is a server whose work is paused, by its own word.
    fn is_paused(&self) -> bool {
        let report = self.session.report.borrow();
        let asleep = report.status.as_ref().is_some_and(|status| status.value.activity == Activity::Asleep);
        self.connection.pause.is_some() && asleep
    }

    /// How much longer than others it may take to answer, because a hook is asked.
    fn hook(&self) -> Duration {
        self.connection.pause.as_ref().map_or(Duration::ZERO, |pause| pause.timeout)
    }

    /// What became of a command, once that is known.
    fn outcome(&self, sequence: u64) -> Option<Outcome> {
        let report = self.session.report.borrow();
        let delivery = report.delivery.as_ref().filter(|delivery| delivery.sequence == sequence)?;
        (delivery.outcome != Outcome::InFlight).then(|| delivery.outcome.clone())
    }

    /// Whether its work is paused from here on, by all that is known, where it was told this last and that became of it.
    fn stays_paused(&self, told: Option<(Target, Option<Outcome>)>) -> bool {
        match told {
            Some((Target::Power(_), Some(Outcome::Accepted))) => false,
            // What was not refused may have been done.
            Some((Target::Sleep, outcome)) => {
                self.is_paused() || !matches!(outcome, Some(Outcome::Rejected(_)))
            }
            Some((Target::Power(_), _)) | None => self.is_paused(),
        }
    }
}

/// A miner of a configuration.
struct Wanted<'c> {
    spec: &'c Miner,
    connection: &'c Connection,
    identity: &'c Identity,
    model: Option<&'c str>,
}

impl Wanted<'_> {
    fn is_kept(&self, member: &Member) -> bool {
        member.connection == *self.connection
            && member.identity == *self.identity
            && member.poll_period == self.spec.poll_period
            && member.silent_after == self.spec.silent_after
    }
}

/// Who had a miner's name before.
enum Before {
    /// The same session, which goes on.
    Same(Box<Member>),
    /// Nobody, or a session that ends; what it was told to shed and nobody knows of yet.
    Other(Option<Order>),
}

/// The lowest that is told at the end where everything is put to sleep.
fn lowest(spec: &Miner) -> Option<Target> {
    spec.contract.is_none().then(|| spec.lowest())
}

/// Whether a miner can be commanded: what is only read is left alone to the end.
fn commanded(miner: &Miner) -> bool {
    miner.actuator != Actuator::Fixed
}

/// Every miner's session, in the order of the site. Dropping it ends them.
pub struct Fleet {
    members: Vec<Member>,
    http: reqwest::Client,
    neighbours: Arc<Neighbours>,
    shared: Shared,
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
        let files = files::limit();
        let needed = files::needed(config.miners.len());
        if files < needed {
            tracing::warn!(
                files,
                needed,
                "this process may open fewer files than its miners can need at once: raise `ulimit -n`, or LimitNOFILE of \
                 the service; until then commands go out in waves"
            );
        }
        let mut fleet = Self {
            members: Vec::new(),
            http: crate::miner::http_client()?,
            neighbours: Arc::new(Neighbours::new(clock)),
            shared: Shared::new(Gate::bounded(Bounds::of_files(files))),
            cancel: CancellationToken::new(),
        };
        fleet.configure(config, clock);
        Ok(fleet)
    }

    /// Takes a new configuration. Sessions whose connection did not change go on. One that takes another one's place begins
    /// once all those have ended that end now, and carries on with a shed that was not answered yet.
    pub fn configure(&mut self, config: &Config, clock: Clock) {
        let mut known: BTreeMap<String, Member> =
            self.members.drain(..).map(|member| (member.name.clone(), member)).collect();
        let nobody = Identity::default();
        let identities = config.identities.iter().chain(std::iter::repeat(&nobody));
        let models = config.models.iter().map(Option::as_deref).chain(std::iter::repeat(None));
        let miners = config.site.miners.iter().zip(&config.miners).zip(identities).zip(models);
        let wanted: Vec<_> = miners
            .map(|(((spec, connection), identity), model)| Wanted { spec, connection, identity, model })
            .collect();
        let before: Vec<_> = wanted
            .iter()
            .map(|wanted| match known.remove(&wanted.spec.name) {
                Some(member) if wanted.is_kept(&member) => Before::Same(Box::new(member)),
                Some(member) => Before::Other(self.end(member)),
                None => Before::Other(None),
            })
            .collect();
        for gone in known.into_values() {
            self.end(gone);
        }
        for (wanted, before) in wanted.iter().zip(before) {
            let member = match before {
                Before::Same(member) => {
                    let spec = wanted.spec;
                    Member {
                        minimum: spec.minimum(),
                        maximum: spec.maximum(),
                        lowest: lowest(spec),
                        commanded: commanded(spec),
                        circuit: spec.circuit,
                        ..*member
                    }
                }
                Before::Other(shed) => {
                    let member = self.begin(wanted, clock);
                    if !config.site.settings.observe && member.commanded {
                        member.session.order.send_replace(shed);
                    }
                    member
                }
            };
            self.members.push(member);
        }
    }

    /// The servers whose work is paused, or is asked to be, and which nobody would resume under this configuration: it has no such
    /// server, or another hook for it.
    pub fn left_paused(&self, config: &Config) -> Vec<String> {
        let next: BTreeMap<&str, &Connection> =
            config.site.miners.iter().map(|miner| miner.name.as_str()).zip(&config.miners).collect();
        let way = |connection: &Connection| connection.pause.as_ref().map(|pause| pause.way.clone());
        let is_left = |member: &&Member| {
            let order = *member.session.order.borrow();
            let told = order.map(|order| (order.target, member.outcome(order.sequence)));
            member.connection.pause.is_some()
                && member.stays_paused(told)
                && next.get(member.name.as_str()).is_none_or(|it| way(it) != way(&member.connection))
        };
        self.members.iter().filter(is_left).map(|member| member.name.clone()).collect()
    }

    /// Ends a session. What it was told to shed and nobody knows of yet.
    fn end(&self, member: Member) -> Option<Order> {
        let shed = member.session.open_shed();
        member.cancel.cancel();
        self.shared.leaving.add(member.session.task);
        shed
    }

    fn begin(&self, wanted: &Wanted<'_>, clock: Clock) -> Member {
        let Wanted { spec, connection, identity, model } = *wanted;
        let cancel = self.cancel.child_token();
        let session = session::spawn(
            self.driver(connection, identity, model),
            SessionSpec {
                name: spec.name.as_str().into(),
                kind: connection.driver,
                endpoint: connection.endpoint.clone(),
                poll_period: spec.poll_period,
                silent_after: spec.silent_after,
                timeout: connection.timeout,
                identity: identity.clone(),
                model: model.map(str::to_owned),
            },
            clock,
            self.shared.clone(),
            cancel.clone(),
        );
        Member {
            name: spec.name.clone(),
            connection: connection.clone(),
            identity: identity.clone(),
            poll_period: spec.poll_period,
            silent_after: spec.silent_after,
            minimum: spec.minimum(),
            maximum: spec.maximum(),
            lowest: lowest(spec),
            commanded: commanded(spec),
            circuit: spec.circuit,
            session,
            cancel,
        }
    }

    /// The latest of every miner, in the order of the site.
    pub fn inputs(&self) -> Vec<MinerInput> {
        self.members.iter().map(|member| member.session.report.borrow().clone()).collect()
    }

    /// The name of a miner whose session has ended by itself.
    pub(super) fn ended(&self) -> Option<&str> {
        self.members
            .iter()
            .find(|member| member.session.task.is_finished())
            .map(|member| member.name.as_str())
    }

    /// The driver of a miner; where it is known who the miner is, one that can ask.
    fn driver(&self, connection: &Connection, identity: &Identity, model: Option<&str>) -> Box<dyn Driver> {
        let driver = crate::miner::driver(connection, &self.http);
        if identity.is_anonymous() && model.is_none() {
            return driver;
        }
        match Witness::new(connection, &self.http, &self.neighbours) {
            Some(witness) => Box::new(Identified::new(driver, witness)),
            None => driver,
        }
    }

    /// Says of each circuit whether there is an emergency: it goes with what is told there from now on.
    pub fn emergencies(&self, circuits: &[bool]) {
        for member in &self.members {
            let on = circuits.get(member.circuit.0) == Some(&true);
            member.session.emergency.store(on, Ordering::Relaxed);
        }
    }

    /// Hands out the commands of a cycle, sheds first. Never waits.
    pub fn send(&self, commands: &[Command]) {
        let mut later = Vec::new();
        for command in commands {
            let Some(member) = self.members.get(command.miner.0) else { continue };
            let urgency = if hurries(command, &member.session) { Urgency::Shed } else { Urgency::Normal };
            let order = Order { target: command.target, sequence: command.sequence, urgency };
            match urgency {
                Urgency::Shed => {
                    member.session.order.send_replace(Some(order));
                }
                Urgency::Normal => later.push((member, order)),
            }
        }
        for (member, order) in later {
            member.session.order.send_replace(Some(order));
        }
    }

    /// Says that a cycle has run, of those that run each `period`, and what it may do. Where that is not to raise anybody, what is not
    /// sent yet of what would is called off: it would come beside another daemon that leads.
    pub fn cycle(&self, now: Moment, period: Duration, lead: Lead) {
        self.shared.vouch.cycle(now, period, lead != Lead::Follows);
        if matches!(lead, Lead::Alone | Lead::Leads) {
            return;
        }
        for member in &self.members {
            member.session.order.send_if_modified(|order| {
                let waits = order.is_some_and(|order| order.urgency == Urgency::Normal);
                *order = order.filter(|_| !waits);
                waits
            });
        }
    }

    /// The counts for the metrics.
    pub fn stats(&self) -> Arc<dyn CommandStats> {
        Arc::new(stats::Stats(self.shared.metrics.clone()))
    }

    /// How much longer than the miners' answers those of pause hooks may take at the end.
    pub(super) fn hooks(&self) -> Duration {
        let commanded = self.members.iter().filter(|member| member.commanded);
        commanded.map(Member::hook).max().unwrap_or_default()
    }

    /// Does with the miners what the configuration wants at the end, waits a moment for their answers, and for those of pause hooks as
    /// long as they may take, and closes all sessions. `sequence` is the number of the latest command; `leave` says for each miner what its limits leave it, and
    /// nothing is room for none. Whoever is left alone because somebody works on it is told nothing.
    pub async fn stop(mut self, exit: ExitPolicy, sequence: u64, leave: &[Leave], holds: &[HeldMiner]) {
        let left_alone = |index: usize| hold_of(holds, MinerId(index)) == Some(Hold::HandsOff);
        let target = |(index, member): (usize, &Member)| match exit {
            ExitPolicy::Hold => None,
            _ if left_alone(index) => None,
            ExitPolicy::Sleep => member.lowest.map(|lowest| (lowest, Urgency::Shed)),
            ExitPolicy::Restore => match leave.get(index) {
                Some(Leave::Highest) => Some((Target::Power(member.maximum), Urgency::Normal)),
                Some(Leave::Lowest) => Some((Target::Power(member.minimum), Urgency::Normal)),
                Some(Leave::AsItIs) | None => None,
            },
        };
        let mut last = sequence;
        let mut told: Vec<(usize, Target, u64)> = Vec::new();
        for (index, member) in self.members.iter().enumerate().filter(|(_, member)| member.commanded) {
            if let Some((target, urgency)) = target((index, member)) {
                last += 1;
                let order = Order { target, sequence: last, urgency };
                member.session.order.send_replace(Some(order));
                told.push((index, target, last));
            }
        }
        let total = told.len();
        let left = self.members.iter().filter(|member| member.commanded).count() - total;
        if exit == ExitPolicy::Restore && left > 0 {
            tracing::warn!(
                miners = left,
                "left as they are: a limit in force does not leave them their highest power, or somebody works on them"
            );
        }
        let mut refused = 0_usize;
        let mut waiting = told.clone();
        let clock = Clock::start();
        while !waiting.is_empty() {
            let asked = waiting.iter().filter_map(|(index, _, _)| self.members.get(*index));
            let hooks = asked.map(Member::hook).max().unwrap_or_default();
            if clock.now().since_start() >= FAREWELL + hooks {
                break;
            }
            tokio::time::sleep(LOOK).await;
            waiting.retain(|(index, _, sequence)| {
                let outcome = self.members.get(*index).and_then(|member| member.outcome(*sequence));
                refused += usize::from(outcome.as_ref().is_some_and(|end| *end != Outcome::Accepted));
                outcome.is_none()
            });
        }
        let servers = self.members.iter().enumerate().filter(|(_, member)| member.connection.pause.is_some());
        let paused = servers.filter(|(index, member)| {
            let told = told.iter().find(|(other, _, _)| other == index);
            let told = told.map(|(_, target, sequence)| (*target, member.outcome(*sequence)));
            member.stays_paused(told)
        });
        let paused = paused.count();
        if paused > 0 {
            tracing::warn!(
                servers = paused,
                "their work is left paused, for all that is known, until a daemon that commands them is there again, or somebody \
                 resumes it"
            );
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
        self.shared.leaving.gone().await;
    }
}

/// Whether power must fall now: what the control law sheds or escalates, every sleep, and what is set anew while the
/// miner draws more than it may, such as one that restarted by itself in the middle of a limit.
fn hurries(command: &Command, session: &Session) -> bool {
    match (command.cause, command.target) {
        (Cause::Shed | Cause::Escalate, _) | (_, Target::Sleep) => true,
        (Cause::Reapply, Target::Power(power)) => {
            let report = session.report.borrow();
            let draw = report.status.as_ref().and_then(|status| status.value.power.value());
            // Where it is not known what it draws, it may be too much.
            draw.is_none_or(|draw| draw > power)
        }
        (Cause::Raise | Cause::Rebalance | Cause::Maintenance, Target::Power(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::control::snapshot::{Contact, Measured, MinerStatus, Reading, Rejection};
    use crate::miner::pause::{Pause, Way};

    #[tokio::test]
    async fn a_session_that_ends_by_itself_is_named() {
        let config = crate::config::demo(crate::config::DEMO_NETWORK).unwrap();
        let fleet = Fleet::start(&config, Clock::start()).unwrap();
        assert_eq!(fleet.ended(), None);
        let member = fleet.members.get(1).unwrap();
        member.session.task.abort();
        while !member.session.task.is_finished() {
            tokio::task::yield_now().await;
        }
        assert_eq!(fleet.ended(), Some(member.name.as_str()));
    }

    #[tokio::test]
    async fn who_may_raise_nobody_calls_off_what_would_whenever_the_last_cycle_was() {
        let config = crate::config::demo(crate::config::DEMO_NETWORK).unwrap();
        let fleet = Fleet::start(&config, Clock::start()).unwrap();
        let (second, at) =
            (Duration::from_secs(1), |seconds| Moment::after_start(Duration::from_secs(seconds)));
        let command = |miner, cause| Command {
            miner: MinerId(miner),
            target: Target::Power(Watts::whole(2_000)),
            sequence: 1,
            cause,
        };
        let waits = |miner: usize| fleet.members[miner].session.order.borrow().is_some();
        // A machine that stood still for a minute: another one leads meanwhile.
        for lead in [Lead::Follows, Lead::Lowers] {
            fleet.cycle(at(100), second, Lead::Leads);
            fleet.send(&[command(0, Cause::Raise), command(1, Cause::Shed)]);
            fleet.cycle(at(102), second, Lead::Leads);
            assert!(waits(0) && waits(1));
            fleet.cycle(at(160), second, lead);
            assert!(!waits(0) && waits(1), "what lowers goes on its way: {lead:?}");
            assert_eq!(fleet.shared.vouch.holds(at(160)), lead == Lead::Lowers);
        }
    }

    #[tokio::test]
    async fn whoever_did_not_say_that_it_goes_on_is_left_paused_and_so_is_whoever_may_have_been_paused() {
        let config = crate::config::demo(crate::config::DEMO_NETWORK).unwrap();
        let mut fleet = Fleet::start(&config, Clock::start()).unwrap();
        assert_eq!(fleet.hooks(), Duration::ZERO);
        let (reports, report) = watch::channel(MinerInput::PENDING);
        let pause = Pause {
            way: Way::Command(Vec::<String>::new().into()),
            notice: Duration::ZERO,
            timeout: Duration::from_secs(20),
            lowest: Watts::whole(2_000),
            draw: Watts::whole(500),
        };
        let member = fleet.members.first_mut().unwrap();
        (member.connection.pause, member.commanded) = (Some(Arc::new(pause)), true);
        member.session.report = report;
        assert_eq!(fleet.hooks(), Duration::from_secs(20));
        let stays = |told| fleet.members[0].stays_paused(told);
        let (on, no) = (Target::Power(Watts::whole(2_000)), || Some(Outcome::Rejected(Rejection::Busy)));
        // It runs.
        assert!(!stays(None) && !stays(Some((on, None))) && !stays(Some((Target::Sleep, no()))));
        for outcome in [None, Some(Outcome::Unknown), Some(Outcome::Accepted)] {
            assert!(stays(Some((Target::Sleep, outcome))));
        }
        let value = MinerStatus { activity: Activity::Asleep, ..MinerStatus::default() };
        let status = Some(Reading { value, at: Moment::START });
        reports.send_replace(MinerInput { contact: Contact::Reachable, status, delivery: None });
        assert!(stays(None) && stays(Some((Target::Sleep, no()))));
        for outcome in [None, Some(Outcome::Unknown), no()] {
            assert!(stays(Some((on, outcome))), "it is paused");
        }
        assert!(!stays(Some((on, Some(Outcome::Accepted)))));
    }

    #[tokio::test]
    async fn what_must_fall_hurries_and_what_has_time_does_not() {
        let (reports, report) = watch::channel(MinerInput::PENDING);
        let session = Session {
            order: watch::channel(None).0,
            report,
            emergency: Arc::default(),
            task: tokio::spawn(async {}),
        };
        let hurry =
            |cause, target| hurries(&Command { miner: MinerId(0), target, sequence: 1, cause }, &session);
        let power = |watts| Target::Power(Watts::whole(watts));
        assert!(hurry(Cause::Reapply, power(2_000)), "it may draw anything");
        let draws = |watts| {
            let value = MinerStatus { power: Measured::Value(Watts::whole(watts)), ..MinerStatus::default() };
            let status = Some(Reading { value, at: Moment::START });
            reports.send_replace(MinerInput { contact: Contact::Reachable, status, delivery: None });
        };
        // Rebooted in the middle of a limit, and back at full power.
        draws(3_400);
        assert!(hurry(Cause::Reapply, power(2_000)));
        assert!(hurry(Cause::Reapply, Target::Sleep));
        // Put to sleep by somebody else.
        draws(15);
        assert!(!hurry(Cause::Reapply, power(2_000)));
        assert!(hurry(Cause::Rebalance, Target::Sleep));
        for cause in [Cause::Shed, Cause::Escalate] {
            assert!(hurry(cause, power(2_000)));
        }
        for cause in [Cause::Raise, Cause::Rebalance] {
            assert!(!hurry(cause, power(2_000)));
        }
    }
}
