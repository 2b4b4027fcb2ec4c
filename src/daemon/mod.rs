//! The daemon: inputs in, a cycle of the control law, orders out. It wires and never decides.
//!
//! ```text
//!  meter tasks ──► Meters ─┐                                ┌─► sessions ──► miners
//!                          ├─► Snapshot ─► control::step ─► ┤
//!  sessions ─────► Fleet ──┘                                └─► Exporter ──► /metrics, /healthz, pages
//! ```
//!
//! | File | What it does |
//! |---|---|
//! | `fleet` | one session per miner; orders out, reports in |
//! | `breakers` | one session per breaker of a circuit |
//! | `meters` | the meter tasks, and what was known before a reload |
//! | `signals` | the tasks of the sources of orders |
//! | `cycle` | the loop: when a cycle runs, what it is told, what becomes of its decision |
//! | `journal` | what is worth a line in the log |
//! | `energy` | energy by the quarter hour, on its way to the disk |
//! | `memory` | what was learned of the miners and the meters, over a restart |
//! | `notify` | readiness and watchdog messages to systemd |
//! | `call` | `ballast reload`: how the running daemon is asked, and answers |
//! | `name` | names by which the daemons of a computer find each other |
//! | `single` | one daemon at a time |
//! | `terminal` | what a SIGHUP means |
//! | `service` | `ballast run`: signals, reload, the order of the end |

mod breakers;
pub mod call;
mod cycle;
mod energy;
pub mod fleet;
mod journal;
mod memory;
mod meters;
mod name;
pub mod notify;
pub mod service;
mod signals;
pub mod single;
mod terminal;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::alarm::{self, Alarms};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::State;
use crate::control::frame::Frame;
use crate::heartbeat::Heartbeats;
use crate::maintenance::Maintenance;
use crate::metrics::{Exporter, MetricsError};
use crate::mqtt::{self, Mqtt};
use crate::proof::{self, Kind};
use crate::record::Recorder;
use crate::signal::Desk;
use crate::signal::guard::Guards;
use crate::standby::Standby;
use crate::stops::Stops;
use crate::web::api::{Api, Asker};
use crate::web::{self, WebError};
use breakers::Breakers;
use cycle::{Loop, Request};
use energy::Energy;
use fleet::Fleet;
use memory::Memory;
use meters::Meters;
pub(crate) use name::own_account;
use signals::Signals;

/// How long the end may take: systemd and operators wait for it, and are promised five seconds from the signal to the end of
/// the process. Where pause hooks of tenants are asked, those have their time besides, which nobody else's answer takes.
pub const LONGEST_STOP: Duration = Duration::from_millis(4_500);

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The pages cannot be served.
    #[error(transparent)]
    Web(#[from] WebError),
    /// The metrics are wrong in themselves.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// No HTTP client for the miners.
    #[error(
        "cannot prepare an HTTP client: {}; this is a fault of the system, not of the configuration",
        crate::tls::innermost(.0)
    )]
    Http(#[from] reqwest::Error),
    /// A new configuration would start what was stopped in an emergency: it is not taken, and the running one stays.
    #[error(
        "the emergency stop of {} is latched, and this configuration does not have it any more: release it first (`ballast stops \
         release`), then take it out or rename its circuit", .0.join(", ")
    )]
    Latched(Vec<String>),
    /// Work is paused, and nobody would resume it.
    #[error(
        "the work of {} is paused by its hook, and this configuration has no such server or another hook for it, so that nobody would \
         resume it: wait until it runs again (`ballast status` says which limit holds it), or resume it by hand, then reload", .0.join(", ")
    )]
    LeftPaused(Vec<String>),
    /// The control loop ended by itself.
    #[error("the control loop has ended by itself; this is a mistake in the program, please report it")]
    LoopEnded,
    /// Another part of it ended by itself.
    #[error("{0} has ended by itself; this is a mistake in the program, please report it")]
    PartEnded(String),
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    exporter: Arc<Exporter>,
    frames: watch::Receiver<Option<Frame>>,
    requests: mpsc::Sender<Request>,
    control: JoinHandle<Result<(), DaemonError>>,
    pages: JoinHandle<()>,
    watching: JoinHandle<()>,
    messages: JoinHandle<()>,
    cancel: CancellationToken,
    address: std::net::SocketAddr,
    desk: Desk,
    alarms: Alarms,
}

/// The socket of this machine. Without it the daemon does its work and is called over the network.
fn local(path: &std::path::Path) -> Option<web::Local> {
    match web::Local::bind(path) {
        Ok(local) => Some(local),
        Err(error) => {
            tracing::warn!(
                "cannot open the socket {}: {error}; ballast limit and ballast orders come by the network instead",
                path.display()
            );
            None
        }
    }
}

/// The record, in a folder beside the database unless the configuration names another one.
fn record(config: &Config) -> Recorder {
    let beside = || Some(config.store.path.as_ref()?.parent()?.join("record"));
    let folder = config.record.folder.clone().or_else(beside);
    Recorder::start(&config.record, folder, config.hash)
}

/// What the proof says of a configuration that comes into force: its hash, never its text.
fn configuration(config: &Config) -> serde_json::Value {
    serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "site": config.site.name,
        "observe": config.site.settings.observe,
        "configuration_sha256": proof::entry::hex(&config.hash),
        "circuits": config.site.circuits.len(),
        "meters": config.site.meters.len(),
        "miners": config.site.miners.len(),
    })
}

impl Daemon {
    /// Starts everything that a configuration describes. When this returns, the pages are served and the loop runs.
    ///
    /// # Errors
    /// The address of the pages cannot be listened on, or the system cannot give what every program needs.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, DaemonError> {
        let pages = web::Pages::Open(web::bind(config.web.listen)?);
        Self::start_with(config, clock, pages).await
    }

    /// As [`Daemon::start`], with pages that may have to wait for their address.
    ///
    /// # Errors
    /// The system cannot give what every program needs.
    pub async fn start_with(config: Config, clock: Clock, pages: web::Pages) -> Result<Self, DaemonError> {
        let exporter = Arc::new(Exporter::new(config.site.clone(), clock)?);
        let address = pages.address().unwrap_or(config.web.listen);
        let cancel = CancellationToken::new();

        let mut state = State::new(config.site.clone());
        let first = config.store.path.as_deref().is_none_or(|path| !path.exists());
        let (desk, mut kept) = signals::desk(&config, clock).await;
        let store = kept.as_ref().map(|kept| kept.store.clone());
        let empty = kept.as_ref().is_none_or(|kept| kept.empty);
        let raised = kept.as_mut().map(|kept| std::mem::take(&mut kept.alarms)).unwrap_or_default();
        let alarms = Alarms::new(&config.alarms, raised);
        let counters = kept.as_mut().map(|kept| std::mem::take(&mut kept.counters)).unwrap_or_default();
        let energy = Energy::start(&config, store.clone(), &counters);
        let works = kept.as_mut().map(|kept| std::mem::take(&mut kept.maintenance)).unwrap_or_default();
        let maintenance = Maintenance::new(works, store.clone(), clock);
        let proof = desk.proof();
        proof.set_keep(config.proof.keep);
        proof.append_signed(Kind::Start, configuration(&config));
        alarms.prove_to(proof.clone());
        if let Some(authority) = config.proof.time_stamps.clone() {
            let asking = authority.run(proof.clone());
            tokio::spawn(cancel.child_token().run_until_cancelled_owned(asking));
        }
        let memory = Memory::start(&config, kept, &mut state);
        let stops = Stops::new(config.store.path.as_deref(), first);
        stops.restore(&mut state);
        let meters = Meters::start(&config, clock, None, &memory.refreshes());
        let fleet = Fleet::start(&config, clock)?;
        let breakers = Breakers::start(&config, clock)?;
        exporter.watch_meters(meters.reads());
        exporter.watch_commands(fleet.stats());
        exporter.watch_signals(Arc::new(desk.clone()));
        exporter.watch_alarms(Arc::new(alarms.clone()));
        exporter.watch_tenants(energy.tally());
        let recorder = record(&config);
        if let Some(watch) = recorder.watch() {
            exporter.watch_record(watch);
        }
        let (questions, previews) = mpsc::channel(1);
        let api = Api::new(&config, desk.clone()).with_alarms(alarms.clone());
        let api = match &config.store.path {
            Some(path) => api.with_energy(path.clone()),
            None => api,
        };
        let api = api.with_maintenance(maintenance.clone()).with_stops(stops.clone());
        let standby = config
            .standby
            .clone()
            .map(|settings| Standby::start(settings, clock, (&desk, &maintenance, &stops), empty, &cancel));
        if let Some(standby) = &standby {
            exporter.watch_standby(standby.clone());
        }
        let api = api.with_standby(standby.clone());
        let hears = standby.as_ref().is_none_or(Standby::takes_orders);
        let api = Arc::new(api.with_previews(Asker::new(questions)));
        let local = config.web.socket.as_deref().and_then(local);
        let serving = web::serve_with(pages, local, exporter.clone(), api.clone(), cancel.child_token());
        let pages = tokio::spawn(serving);

        tokio::spawn(cancel.child_token().run_until_cancelled_owned(api.clone().watch_tokens()));
        let beats = desk.clone();
        tokio::spawn(cancel.child_token().run_until_cancelled_owned(async move { beats.run_beats().await }));

        let (requests, inbox) = mpsc::channel(4);
        let (outlet, frames) = watch::channel(None);
        let around = alarm::Around {
            exporter: exporter.clone(),
            record: recorder.watch(),
            store,
            maintenance: maintenance.clone(),
            stops: stops.clone(),
            standby: standby.clone(),
            clock,
            site: config.site.name.as_str().into(),
        };
        let watching = tokio::spawn(alarms.clone().run(around, frames.clone(), cancel.child_token()));
        let mqtt = Mqtt::new(&config, hears);
        let around =
            mqtt::Around { exporter: exporter.clone(), alarms: alarms.clone(), api: api.clone(), clock };
        let messages = tokio::spawn(mqtt::run(mqtt.plans(), around, cancel.child_token()));
        let heartbeats = Heartbeats::start(&config.heartbeats, clock, frames.clone());
        exporter.watch_heartbeats(heartbeats.board());
        let control = Loop {
            state,
            heartbeats,
            memory,
            energy,
            recorder,
            clock,
            guards: Guards::start(&config.signals, &desk, None),
            signals: if hears {
                Signals::start(&config.signals, &desk, clock, &frames, &meters)
            } else {
                Signals::none()
            },
            hears,
            specs: config.signals.clone(),
            standby,
            meters,
            fleet,
            breakers,
            api: api.clone(),
            mqtt,
            desk: desk.clone(),
            alarms: alarms.clone(),
            maintenance,
            stops: stops.clone(),
            exporter: exporter.clone(),
            frames: outlet,
            journal: journal::Journal::new(Arc::new(desk.clone()))
                .proving(proof.clone(), config.proof.decisions_every),
            proof,
            exit: config.exit,
            learned: crate::clock::Moment::START,
        };
        let control = tokio::spawn(control.run(inbox, previews));
        Ok(Self {
            exporter,
            frames,
            requests,
            control,
            pages,
            watching,
            messages,
            cancel,
            address,
            desk,
            alarms,
        })
    }

    /// Where the pages are served; the port that was given where the configuration asked for any.
    pub fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// What the metrics and pages are made from.
    pub fn exporter(&self) -> &Arc<Exporter> {
        &self.exporter
    }

    /// Where orders are given, and what became of them.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// What somebody should know of.
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// The latest cycle, as it changes; `None` before the first.
    pub fn frames(&self) -> watch::Receiver<Option<Frame>> {
        self.frames.clone()
    }

    /// Takes a new configuration: meters are read anew, sessions of miners whose connection did not change go on,
    /// and what was learned stays. The address of the pages does not change. Returns when it is in force.
    ///
    /// # Errors
    /// The loop has ended, or the system cannot give what it needs; the old configuration then stays in force.
    pub async fn reload(&self, config: Config) -> Result<(), DaemonError> {
        let (done, answer) = oneshot::channel();
        let request = Request::Reload { config: Box::new(config), done };
        self.requests.send(request).await.map_err(|_| DaemonError::LoopEnded)?;
        answer.await.map_err(|_| DaemonError::LoopEnded)?
    }

    /// Resolves when a part of the daemon has ended by itself, which none must: whoever started it is to start it anew.
    pub async fn failed(&mut self) -> DaemonError {
        tokio::select! {
            ended = &mut self.control => match ended {
                Ok(Err(error)) => error,
                Ok(Ok(())) | Err(_) => DaemonError::LoopEnded,
            },
            _ = &mut self.pages => DaemonError::PartEnded("what serves the pages".into()),
            _ = &mut self.messages => DaemonError::PartEnded("what speaks with the broker of MQTT".into()),
            _ = &mut self.watching => DaemonError::PartEnded("what looks for alarms".into()),
        }
    }

    /// Ends in order: the loop, the exit policy, the sessions, the pages. Takes [`LONGEST_STOP`] at the most, and the
    /// longest time that the pause hook of a server may take, where there is one.
    pub async fn stop(mut self) {
        let (takes, mut hooks) = oneshot::channel();
        let orderly = async {
            if self.requests.send(Request::Stop(Some(takes))).await.is_ok() {
                let _ = (&mut self.control).await;
            }
            self.cancel.cancel();
            let _ = tokio::join!(&mut self.pages, &mut self.messages, &mut self.watching);
        };
        let late = async {
            tokio::time::sleep(LONGEST_STOP).await;
            let hooks: Duration = hooks.try_recv().unwrap_or_default();
            tokio::time::sleep(hooks).await;
        };
        let in_time = tokio::select! {
            biased;
            () = orderly => true,
            () = late => false,
        };
        if !in_time {
            tracing::warn!("not everything has ended in its time; leaving it");
            self.control.abort();
            self.pages.abort();
            self.messages.abort();
            self.watching.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_that_are_not_served_any_more_are_a_failure_and_so_is_a_loop_that_ends() {
        let mut config = crate::config::demo(crate::config::DEMO_NETWORK).unwrap();
        config.web.listen = ([127, 0, 0, 1], 0).into();
        for loop_ends in [false, true] {
            let mut daemon = Daemon::start(config.clone(), Clock::start()).await.unwrap();
            if loop_ends {
                daemon.control.abort()
            } else {
                daemon.pages.abort()
            }
            let failed = daemon.failed().await;
            assert_eq!(matches!(failed, DaemonError::LoopEnded), loop_ends, "{failed}");
            assert_eq!(failed.to_string().contains("what serves the pages has ended by itself"), !loop_ends);
            daemon.cancel.cancel();
        }
    }
}
