//! The loop: when a cycle runs, what it is told, and what becomes of its decision.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::alarm::Alarms;
use crate::clock::{Clock, Moment};
use crate::config::{Config, ExitPolicy};
use crate::control::frame::Frame;
use crate::control::headroom;
use crate::control::lead::Lead;
use crate::control::preview::preview;
use crate::control::{Snapshot, State, farewell, step};
use crate::daemon::breakers::Breakers;
use crate::daemon::energy::Energy;
use crate::daemon::fleet::Fleet;
use crate::daemon::journal::Journal;
use crate::daemon::memory::Memory;
use crate::daemon::meters::Meters;
use crate::daemon::signals::{self, Signals};
use crate::daemon::{DaemonError, notify};
use crate::heartbeat::Heartbeats;
use crate::maintenance::Maintenance;
use crate::metrics::Exporter;
use crate::mqtt::Mqtt;
use crate::proof::{Kind, Writer};
use crate::record::{self, Recorder};
use crate::signal::guard::Guards;
use crate::signal::{Desk, Spec};
use crate::standby::Standby;
use crate::stops::Stops;
use crate::web::api::{Api, Ask};

/// A cycle may come early for a fresh meter value, but not sooner than this part of the period after the one
/// before: a fast meter must not turn the loop into a busy one.
const EARLIEST: f64 = 0.25;

/// A cycle that an order asks for comes no sooner than this after the one before: orders in swarms must not turn the loop
/// into a busy one either.
const SOONEST: Duration = Duration::from_millis(20);

/// Time between two looks at what was learned of the miners, for those who ask.
const LEARNED_EVERY: Duration = Duration::from_secs(60);

/// What the rest of the program asks of the loop.
pub enum Request {
    /// A new configuration.
    Reload {
        /// Already checked.
        config: Box<Config>,
        /// Answered when it is in force.
        done: oneshot::Sender<Result<(), DaemonError>>,
    },
    /// What would an order do?
    Preview(Ask),
    /// The end, in order. Told at once: how much longer than without pause hooks that may take.
    Stop(Option<oneshot::Sender<Duration>>),
}

/// Everything that the loop owns.
pub struct Loop {
    pub state: State,
    pub clock: Clock,
    pub meters: Meters,
    pub fleet: Fleet,
    pub breakers: Breakers,
    pub heartbeats: Heartbeats,
    pub desk: Desk,
    pub alarms: Alarms,
    pub maintenance: Maintenance,
    pub stops: Stops,
    pub signals: Signals,
    pub api: Arc<Api>,
    pub mqtt: Mqtt,
    pub guards: Guards,
    pub exporter: Arc<Exporter>,
    pub frames: watch::Sender<Option<Frame>>,
    pub journal: Journal,
    pub proof: Writer,
    pub memory: Memory,
    pub energy: Energy,
    pub recorder: Recorder,
    pub exit: ExitPolicy,
    /// The other machine of a pair, where there is one.
    pub standby: Option<Standby>,
    /// The sources of orders, which are heard by whoever leads.
    pub specs: Vec<Spec>,
    /// They are heard here.
    pub hears: bool,
    /// When it was last told what was learned of the miners.
    pub learned: Moment,
}

impl Loop {
    /// Runs until it is told to stop, then carries out the exit policy. Ends at once, and tells which, when one of the
    /// tasks has ended by itself that it lives on: what that said last would stand for ever.
    pub async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Request>,
        mut previews: mpsc::Receiver<Ask>,
    ) -> Result<(), DaemonError> {
        let mut last = self.clock.instant(self.clock.now());
        self.recorder.checkpoint(&self.state, self.clock.now());
        loop {
            match self.wait(last, &mut inbox, &mut previews).await {
                None => {
                    last = self.clock.instant(self.clock.now());
                    if let Some(part) = self.ended() {
                        return Err(part);
                    }
                    self.cycle();
                }
                Some(Request::Reload { config, done }) => {
                    let _ = done.send(self.reload(*config).await);
                }
                Some(Request::Preview(ask)) => self.foresee(ask),
                Some(Request::Stop(takes)) => {
                    if let Some(takes) = takes {
                        let _ = takes.send(self.fleet.hooks());
                    }
                    break;
                }
            }
        }
        // From here on nobody follows anything any more, and a PLC is not to be told otherwise.
        self.heartbeats.end();
        // Observing means never to have touched a miner, to the end.
        let follows = self.standby.as_ref().is_some_and(|standby| !standby.takes_orders());
        let looks_on = self.state.site().settings.observe || follows;
        let exit = if looks_on { ExitPolicy::Hold } else { self.exit };
        let mut leave = Vec::new();
        if exit == ExitPolicy::Restore {
            // By what is in force now, not a period ago.
            self.cycle();
            let frame = self.frames.borrow();
            leave = frame.as_ref().map(|it| farewell::leave(&self.state, &it.decision)).unwrap_or_default();
        }
        let sequence = self.state.sequence();
        let alone = self.maintenance.look(self.state.site());
        self.signals.end().await;
        let last = self.memory.last(&self.state, self.meters.refreshes());
        let energy = self.energy.last();
        let recorded = self.recorder.end();
        tokio::join!(
            self.fleet.stop(exit, sequence, &leave, &alone),
            self.meters.stop(),
            self.desk.beat(),
            self.stops.last(),
            last,
            energy,
            recorded
        );
        self.proof.append(Kind::Stop, serde_json::json!({}));
        self.desk.seal().await;
        Ok(())
    }

    /// What has ended by itself of all that runs beside the loop.
    fn ended(&self) -> Option<DaemonError> {
        let fleet = self.fleet.ended().map(|name| format!("the session of the miner {name}"));
        let breakers = || self.breakers.ended().map(|name| format!("the session of the breaker {name}"));
        let guards = || self.guards.ended().map(|name| format!("the record of the guard {name}"));
        let meters = || self.meters.have_ended().then(|| "the reading of a meter".to_owned());
        let signals = || self.signals.have_ended().then(|| "a source of orders".to_owned());
        fleet.or_else(breakers).or_else(guards).or_else(meters).or_else(signals).map(DaemonError::PartEnded)
    }

    /// Waits for the next cycle (`None`) or request: a period after the last cycle, or earlier for a fresh value.
    async fn wait(
        &self,
        last: Instant,
        inbox: &mut mpsc::Receiver<Request>,
        previews: &mut mpsc::Receiver<Ask>,
    ) -> Option<Request> {
        let period = self.state.site().settings.period;
        let news = self.meters.news();
        let fresh = async {
            sleep_until(last + period.mul_f64(EARLIEST)).await;
            news.notified().await;
        };
        // An order waits for no sample; what it is bounded by is that many orders come at once.
        let ordered = async {
            self.desk.news().await;
            sleep_until(last + SOONEST).await;
        };
        tokio::select! {
            biased;
            request = inbox.recv() => Some(request.unwrap_or(Request::Stop(None))),
            () = sleep_until(last + period) => None,
            () = fresh => None,
            () = ordered => None,
            // Whoever asks waits for no more than a cycle, and a cycle never for them.
            Some(ask) = previews.recv() => Some(Request::Preview(ask)),
        }
    }

    /// Answers from a copy of the state, on a thread of its own.
    fn foresee(&self, ask: Ask) {
        let frame = self.frames.borrow().clone();
        let Some(frame) = frame.filter(|frame| Arc::ptr_eq(&frame.site, &ask.site)) else {
            let _ = ask.answer.send(None);
            return;
        };
        let state = self.state.clone();
        tokio::task::spawn_blocking(move || {
            let preview = preview(state, &frame, &ask.change);
            // Whoever asked may have gone.
            let _ = ask.answer.send(Some(preview));
        });
    }

    /// Hears the sources of orders from the moment on in which this machine has the address, and no longer.
    fn hear(&mut self) {
        let hears = self.standby.as_ref().is_none_or(Standby::takes_orders);
        if hears == self.hears {
            return;
        }
        self.hears = hears;
        self.mqtt.hear(hears);
        // What ran before ends at its next wait; nobody waits for that here.
        self.signals = self.listen(&self.meters);
    }

    fn listen(&self, meters: &Meters) -> Signals {
        if self.hears {
            Signals::start(&self.specs, &self.desk, self.clock, &self.frames.subscribe(), meters)
        } else {
            Signals::none()
        }
    }

    fn cycle(&mut self) {
        let begun = self.clock.now();
        self.hear();
        let meters = self.meters.inputs();
        let (released, latched) = self.stops.take(self.state.site());
        let mut orders = self.desk.look();
        orders.extend(self.guards.look(&meters, begun));
        let mut snapshot = Snapshot {
            now: begun,
            meters,
            miners: self.fleet.inputs(),
            orders,
            breakers: self.breakers.inputs(),
            holds: self.maintenance.look(self.state.site()),
            released,
            latched,
            lead: self.standby.as_ref().map_or(Lead::Alone, Standby::role),
        };
        record::settle(&mut snapshot);
        let decision = step(&mut self.state, &snapshot);
        self.breakers.send(&decision.breakers);
        let settings = &self.state.site().settings;
        // Whoever only looks on leads nobody.
        let lead = if settings.observe { Lead::Follows } else { decision.lead };
        self.fleet.cycle(begun, settings.period, lead);
        self.fleet.emergencies(&headroom::emergencies(self.state.site(), &snapshot.orders));
        self.fleet.send(&decision.commands);
        self.stops.note(&self.state);
        self.exporter.observe_cycle(self.clock.now() - begun);

        let site = self.state.site().clone();
        self.journal.write(&site, &snapshot, &decision);
        let frame = Frame { site, snapshot: Arc::new(snapshot), decision: Arc::new(decision) };
        self.desk.note(&frame);
        self.journal.signals(&frame.site, begun, &self.desk.views(), &self.desk.take_news());
        self.exporter.publish(frame.snapshot.clone(), frame.decision.clone());
        notify::cycle_done(&frame);
        self.recorder.cycle(&frame);
        self.energy.cycle(&frame);
        self.frames.send_replace(Some(frame));
        self.memory.keep(&self.state, || self.meters.refreshes(), begun);
        if begun - self.learned >= LEARNED_EVERY {
            self.learned = begun;
            self.exporter.learn(self.state.learned());
        }
        // To copy the state takes its time, and no command waits for it.
        self.recorder.checkpoint(&self.state, begun);
    }

    async fn reload(&mut self, config: Config) -> Result<(), DaemonError> {
        // Here, where no cycle can latch another one before it is done.
        let gone = self.stops.given_up(self.state.site(), &config.site);
        if !gone.is_empty() {
            return Err(DaemonError::Latched(gone));
        }
        let left = self.fleet.left_paused(&config);
        // Whoever only looks on has paused nothing.
        if !left.is_empty() && !self.state.site().settings.observe {
            return Err(DaemonError::LeftPaused(left));
        }
        let mut state = State::new(config.site.clone());
        state.inherit(&self.state);
        self.stops.restore(&mut state);
        let meters = Meters::start(&config, self.clock, Some(&self.meters), &self.meters.refreshes());
        self.fleet.configure(&config, self.clock);
        self.breakers.configure(&config, self.clock);
        self.heartbeats.configure(&config.heartbeats);
        // A task that speaks for a source knows it by its position, which may be another one's from here on. What is published of the
        // old site stands meanwhile, so that those who look see no gap.
        self.signals.end().await;
        self.exporter.reconfigure(config.site.clone());
        self.exporter.watch_meters(meters.reads());
        self.desk.configure(config.site.clone(), signals::settings(&config));
        self.api.configure(&config);
        self.mqtt.configure(&config);
        self.alarms.configure(&config.alarms);
        self.proof.set_keep(config.proof.keep);
        self.proof.append_signed(Kind::Reload, super::configuration(&config));
        self.journal.configure(&config.proof);
        self.guards = Guards::start(&config.signals, &self.desk, Some(std::mem::take(&mut self.guards)));
        self.specs.clone_from(&config.signals);
        self.signals = self.listen(&meters);
        self.memory.configure(&config);
        self.energy.configure(&config);
        self.state = state;
        self.recorder.reload(config.hash);
        self.recorder.checkpoint(&self.state, self.clock.now());
        self.exit = config.exit;
        self.meters = meters;
        self.cycle();
        Ok(())
    }
}
