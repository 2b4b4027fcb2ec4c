//! A server whose work its tenant pauses and resumes, when asked by a hook: a wrapper around its driver.
//!
//! Below its lowest cap a server is not capped further. It is *paused*, by whatever the tenant has put behind the hook (a checkpoint, a
//! stop signal, the scheduler), and resumed before any miner is woken. For the control law that is sleep: [`Target::Sleep`] pauses,
//! [`Target::Power`] resumes what is paused. Nothing here ends any work: what the hook does is the tenant's.
//!
//! | What is told | What is done |
//! |---|---|
//! | `Sleep` | the hook is asked to pause; at the same time the cap goes to the lowest, which is certain, whatever the hook says |
//! | `Power`, paused | the cap, then the hook is asked to resume: nobody comes back above what there is for them |
//! | `Power`, in doubt of what the hook was asked last | as paused; a shed is the cap alone |
//! | `Power`, nothing heard of the hook yet | the hook is asked to resume, then the cap; a shed is the cap alone |
//! | `Power`, running | the cap |
//!
//! - **Yes is not done.** A server is asleep while its hook says `paused` and its draw does not contradict; while it says `pausing`, it runs.
//! - **Nothing is kept in memory alone.** The hook is asked for its state with each reading, so that whoever was paused before the daemon
//!   was started is found paused, and is resumed by the control law.
//! - **A pause that is called off is resumed, though it had not begun.** A hook may say yes and `running` until the work has heard of it:
//!   for its notice and a minute `running` is no reason not to resume, unless `pausing` or `paused` came before it.
//! - **In doubt a shed is the cap alone.** Whoever turns out to be paused then is asleep without having been told so: the control law
//!   tells it its target once more (`Reapply`), and with that it is resumed.
//! - **A reading does not wait for a hook that hangs.** What the hook said in the round before stands meanwhile (`asking`).
//! - A hook that does not answer leaves it unknown what the server does: it counts at what it draws. Caps go on as ever.

mod asking;
mod command;
mod hook;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, Url};

use crate::clock::{Clock, Moment};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::miner::identity::Identity;
use crate::miner::{Connection, Driver, DriverError, Urgency};
use crate::secret::Secret;
use crate::tls::Trust;
use crate::units::Watts;
use asking::Asking;
use hook::{Action, Hook};

pub use hook::State;

/// So long beyond its notice a hook that was asked to pause may say that the work runs, and pause it all the same.
const HIDDEN: Duration = Duration::from_secs(60);

/// How the work of a server is paused and resumed.
#[derive(Clone, Debug, PartialEq)]
pub struct Pause {
    /// Whom to ask.
    pub way: Way,
    /// What the hook is told: so long it has until the power is expected to be gone.
    pub notice: Duration,
    /// How long the hook may take to answer; the work behind it may go on after its answer.
    pub timeout: Duration,
    /// The lowest cap of the server, in watts; above zero. Below it the server is paused.
    pub lowest: Watts,
    /// What the server draws while it is paused, in watts; below `lowest`.
    pub draw: Watts,
}

impl Pause {
    /// The address of a hook that is not told which server is meant, so that it serves one alone; `None` of any other. A program is told by
    /// its environment.
    pub fn shared(&self) -> Option<&Url> {
        match &self.way {
            Way::Http { url, .. } => (hook::addressed(url, "a") == *url).then_some(url),
            Way::Command(_) => None,
        }
    }

    /// The most that a server may draw and be believed to be paused: halfway to what it draws when it runs at its lowest.
    fn most(&self) -> Watts {
        (self.draw + self.lowest).scaled(0.5)
    }
}

/// How a hook is reached.
#[derive(Clone, PartialEq)]
pub enum Way {
    /// A service of the tenant's over HTTP.
    Http {
        /// The address, in whose path or query `{name}` stands for the name of the server. Only its host is ever shown.
        url: Url,
        /// Sent as a bearer token.
        token: Option<Secret>,
        /// Whose certificate it must have; `None`: one that the machine's authorities vouch for.
        trust: Option<Trust>,
    },
    /// A program on this machine and its arguments; `{name}` in an argument stands for the name of the server.
    Command(Arc<[String]>),
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { url, .. } => f.debug_tuple("Http").field(&url.host_str()).finish(),
            Self::Command(words) => f.debug_tuple("Command").field(&words.first()).finish(),
        }
    }
}

/// What is known of what the work does.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// The hook has never been heard.
    Nothing,
    /// Something was asked of it, and what came of that it has not said.
    Doubt,
    /// It was asked at this moment to pause the work, may do so, and has not said yet that it does.
    Asked(Moment),
    /// It said so last.
    Said(State),
}

/// A driver of a server, and the pause hook of whoever works on it.
pub struct Paused {
    driver: Box<dyn Driver>,
    hook: Arc<Hook>,
    asking: Asking,
    settings: Arc<Pause>,
    name: Arc<str>,
    clock: Clock,
    known: Known,
    /// What was last logged as wrong with the hook, without its numbers, until it is well again.
    complaint: Option<String>,
}

impl Paused {
    /// Nothing is sent yet.
    pub fn new(
        driver: Box<dyn Driver>,
        connection: &Connection,
        settings: &Arc<Pause>,
        http: &Client,
    ) -> Self {
        let clock = Clock::start();
        let hook = Arc::new(Hook::new(connection, settings, http));
        Self {
            driver,
            asking: Asking::new(&hook, clock),
            hook,
            settings: Arc::clone(settings),
            name: Arc::clone(&connection.name),
            clock,
            known: Known::Nothing,
            complaint: None,
        }
    }

    /// Logs what is wrong with the hook, once until it is another thing.
    fn complain(&mut self, what: &str) {
        // What it draws, and what a hook counts, is another number with each reading.
        let kind: String = what.chars().filter(|letter| !letter.is_ascii_digit()).collect();
        if self.complaint.as_ref() != Some(&kind) {
            tracing::warn!(miner = &*self.name, "its pause hook: {what}");
            self.complaint = Some(kind);
        }
    }

    fn well(&mut self) {
        if self.complaint.take().is_some() {
            tracing::info!(miner = &*self.name, "its pause hook is well again");
        }
    }

    /// A reading of the server, with what the hook says.
    fn look(&mut self, status: MinerStatus, said: Result<State, DriverError>) -> MinerStatus {
        let power = status.power.value();
        let most = self.settings.most();
        match said {
            Ok(State::Paused) => {
                if let Some(power) = power.filter(|power| *power > most) {
                    // The draw is believed, and not the word.
                    self.complain(&format!("it says that the work is paused, and the server draws {power}"));
                    return status;
                }
                self.well();
                let activity = match status.activity {
                    fault @ Activity::Fault(_) => fault,
                    _ => Activity::Asleep,
                };
                MinerStatus { activity, target: Measured::Value(Target::Sleep), ..status }
            }
            Ok(State::Running | State::Pausing) => {
                self.well();
                status
            }
            Err(error) => {
                let what = error.to_string();
                let idle = power.is_some_and(|power| power <= most);
                let activity = match status.activity {
                    fault @ Activity::Fault(_) => fault,
                    // Paused, or without work: only the hook could tell.
                    _ if idle => Activity::Fault(format!("its pause hook does not tell: {what}").into()),
                    _ => Activity::Unknown,
                };
                self.complain(&what);
                MinerStatus { activity, ..status }
            }
        }
    }

    /// Takes in what the hook says of the state.
    fn hear(&mut self, state: State) {
        match (self.known, state) {
            // It may say so still, and pause all the same.
            (Known::Asked(at), State::Running)
                if self.clock.now() - at < self.settings.notice + self.settings.timeout + HIDDEN => {}
            _ => self.known = Known::Said(state),
        }
    }

    async fn resume(&mut self) -> Result<(), DriverError> {
        // Until the hook has said yes, a pause may still come that it was asked for.
        if !matches!(self.known, Known::Asked(_)) {
            self.known = Known::Doubt;
        }
        self.asking.forget();
        let told = self.hook.tell(Action::Resume).await?;
        self.known = told.map_or(Known::Doubt, Known::Said);
        tracing::info!(miner = &*self.name, "asked its pause hook to resume the work");
        Ok(())
    }

    async fn pause(&mut self, urgency: Urgency) -> Result<(), DriverError> {
        let before = self.known;
        self.known = Known::Asked(self.clock.now());
        self.asking.forget();
        let lowest = Target::Power(self.settings.lowest);
        // Neither waits for the other: the cap is certain, and the notice runs.
        let (capped, told) = tokio::join!(self.driver.apply(lowest, urgency), self.hook.tell(Action::Pause));
        match capped {
            // It went as low as it goes: what is left is the hook's.
            Ok(()) | Err(DriverError::Rejected { reason: Rejection::OutOfRange, .. }) => {}
            Err(error) => {
                tracing::warn!(
                    miner = &*self.name,
                    "it is to be paused, and its cap stays as it is: {error}"
                );
            }
        }
        match told {
            Ok(Some(state)) => self.hear(state),
            Ok(None) => {}
            Err(error) => {
                if matches!(error, DriverError::Rejected { .. }) {
                    // Nothing has come of it; of what it was asked before that, all the same.
                    self.known = if matches!(before, Known::Asked(_)) { before } else { Known::Doubt };
                }
                return Err(error);
            }
        }
        tracing::info!(
            miner = &*self.name,
            notice = self.settings.notice.as_secs(),
            "asked its pause hook to pause the work"
        );
        Ok(())
    }
}

// Whatever the driver can be told, it must be told through this.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Driver for Paused {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        self.asking.ask().await;
        let (status, said) = tokio::join!(self.driver.read(), self.asking.answer());
        if let Ok(state) = said {
            self.hear(state);
        }
        Ok(self.look(status?, said))
    }

    async fn apply(&mut self, target: Target, urgency: Urgency) -> Result<(), DriverError> {
        if target == Target::Sleep {
            return self.pause(urgency).await;
        }
        match (self.known, urgency) {
            // A shed waits for no hook that may be hanging: what is paused is told to go on when there is time.
            (Known::Said(State::Running), _)
            | (Known::Nothing | Known::Doubt | Known::Asked(_), Urgency::Shed) => {
                self.driver.apply(target, urgency).await
            }
            (Known::Nothing, Urgency::Normal) => {
                self.resume().await?;
                self.driver.apply(target, urgency).await
            }
            (Known::Said(State::Pausing | State::Paused) | Known::Doubt | Known::Asked(_), _) => {
                self.driver.apply(target, urgency).await?;
                self.resume().await
            }
        }
    }

    async fn identify(&mut self) -> Result<Option<Identity>, DriverError> {
        self.driver.identify().await
    }

    async fn prove_account(&mut self) -> Result<bool, DriverError> {
        self.driver.prove_account().await
    }

    async fn keep_alive(&mut self) {
        self.driver.keep_alive().await;
    }

    fn vouched(&mut self, vouched: bool) {
        self.driver.vouched(vouched);
    }

    fn emergency(&mut self, emergency: bool) {
        self.driver.emergency(emergency);
    }

    async fn close(&mut self) {
        self.asking.forget();
        self.driver.close().await;
    }
}
