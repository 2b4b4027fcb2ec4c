//! What Prometheus and people see: the last snapshot and decision, rendered when somebody asks.
//!
//! A scrape takes what the last cycle left behind and never waits for a meter or a miner. Publishing swaps one
//! pointer and never waits for a scrape. Values that are not known have no series; nothing is zero that is not
//! known to be zero. Ages are counted at the moment of the scrape, so a daemon whose cycles hang shows its
//! readings ageing.
//!
//! The sets of labels are bounded by the configuration: names of circuits, limits, meters, miners and drivers,
//! and closed sets of words.

mod alarms;
mod catalogue;
mod collector;
mod counters;
mod explain;
mod family;
mod heartbeat;
mod meters;
mod miners;
mod mqtt;
mod record;
mod sentence;
mod signals;
mod sources;
mod told;
mod why;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, Registry, TextEncoder};
use tokio::sync::watch;

use crate::clock::{self, Clock};
use crate::control::decision::{Decision, Mode};
use crate::control::frame::Frame;
use crate::control::learned::Learned;
use crate::control::site::{LimitClass, MinerId, Site};
use crate::control::snapshot::Snapshot;
use crate::energy::tally::Tally;
use crate::heartbeat::{Board, Health};
use crate::history::{History, Sample};
use crate::standby::Standby;
use crate::units::Watts;
use told::Tellings;

pub use alarms::{AlarmCounts, AlarmStats, AlarmSummary};
pub(crate) use collector::count_by_state;
pub use counters::{
    COMMAND_BOUNDS, CommandCount, CommandDurations, CommandStats, CommandTally, MeterReads, ReadCount,
    ReadTally,
};
pub(crate) use explain::long;
pub use explain::{Known, explain};
pub use mqtt::{MqttCounts, MqttStats};
pub use sentence::{Over, describe, over_budget};
pub(crate) use sentence::{disobedience, left_words, waiting_words};
pub use signals::SignalStats;
pub use sources::{binding_words, source_label};
pub(crate) use sources::{circuit_name, meter_name, miner_name, part_name};
pub use told::Telling;
pub(crate) use why::root_cap;
pub use why::{Here, Speaker, Told, binding_reason, stop_words, tightest};

/// The content type of [`Exporter::render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Upper bounds for the duration of a cycle, in seconds.
const CYCLE_BOUNDS: [f64; 11] = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0];

/// Upper bounds for the response of a miner, in seconds: from a second (Whatsminer) to half an hour (tuning).
const RESPONSE_BOUNDS: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0];

/// The metrics could not be put together.
#[derive(Debug, thiserror::Error)]
#[error("cannot put the metrics together: {0}; this is a mistake in the program, please report it")]
pub struct MetricsError(#[from] prometheus::Error);

/// Everything that a scrape reads.
#[derive(Clone)]
struct State {
    site: Arc<Site>,
    /// Of each miner, as they stand in the text.
    miner_labels: Arc<Vec<String>>,
    frame: Option<Frame>,
    /// The last one of the configuration before, until there is one of this.
    before: Option<Frame>,
    reads: Option<Arc<dyn MeterReads>>,
    commands: Option<Arc<dyn CommandStats>>,
    signals: Option<Arc<dyn SignalStats>>,
    record: Option<crate::record::Watch>,
    alarms: Option<Arc<dyn AlarmStats>>,
    tenants: Option<Tally>,
    mqtt: Option<Arc<dyn MqttStats>>,
    heartbeats: Board,
    strangers: Option<u64>,
    standby: Option<Standby>,
    /// Counts the configurations since the start.
    generation: u64,
}

struct Inner {
    clock: Clock,
    state: RwLock<State>,
    /// When this exporter was made, which tells its generations from those of another run of the daemon.
    born: i64,
    /// Counts the cycles and the reloads.
    changes: watch::Sender<u64>,
    history: History,
    told: Tellings,
}

/// What is known at one moment, all of one configuration.
#[derive(Clone, Debug)]
pub struct Present {
    /// Another one with each start and each reload: positions mean something else then.
    pub generation: String,
    /// The site as it is configured.
    pub site: Arc<Site>,
    /// What the last cycle left behind; `None` before the first.
    pub frame: Option<Frame>,
}

impl Inner {
    /// A copy (of pointers), so that nobody waits for whoever renders.
    fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Holds the last cycle and renders it for Prometheus.
pub struct Exporter {
    inner: Arc<Inner>,
    registry: Registry,
    cycles: Histogram,
    responses: HistogramVec,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl Exporter {
    /// An exporter for a site, before its first cycle. The clock is the one that the snapshots' moments are on.
    ///
    /// # Errors
    /// When the catalogue of metrics contradicts itself.
    pub fn new(site: Arc<Site>, clock: Clock) -> Result<Self, MetricsError> {
        let inner = Arc::new(Inner {
            clock,
            state: RwLock::new(State {
                miner_labels: Arc::new(miners::labels(&site)),
                site,
                frame: None,
                before: None,
                reads: None,
                commands: None,
                signals: None,
                record: None,
                alarms: None,
                tenants: None,
                mqtt: None,
                heartbeats: Board::default(),
                strangers: None,
                standby: None,
                generation: 0,
            }),
            born: clock::unix_millis(),
            changes: watch::Sender::new(0),
            history: History::default(),
            told: Tellings::default(),
        });
        let duration = &catalogue::CYCLE_DURATION;
        let cycles = Histogram::with_opts(
            HistogramOpts::new(duration.name, duration.help).buckets(CYCLE_BOUNDS.to_vec()),
        )?;
        let response = &catalogue::MINER_RESPONSE;
        let responses = HistogramVec::new(
            HistogramOpts::new(response.name, response.help).buckets(RESPONSE_BOUNDS.to_vec()),
            response.labels,
        )?;
        let registry = Registry::new();
        collector::check()?;
        registry.register(Box::new(cycles.clone()))?;
        registry.register(Box::new(responses.clone()))?;
        Ok(Self { inner, registry, cycles, responses })
    }

    /// Takes over what a cycle left behind. Never waits for a scrape.
    pub fn publish(&self, snapshot: Arc<Snapshot>, decision: Arc<Decision>) {
        self.note_responses(&decision);
        let site = self.site();
        self.inner.told.note(&site, &snapshot, &decision);
        self.inner.history.note(
            decision.at,
            sample(&site, &decision),
            Some(&source_label(&site, decision.binding.source)),
        );
        self.inner.change(|state| {
            state.frame = Some(Frame { site: Arc::clone(&state.site), snapshot, decision });
            state.before = None;
        });
        self.inner.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Takes over what was learned of the miners.
    pub fn learn(&self, learned: Vec<(MinerId, Learned)>) {
        self.inner.told.learn(&self.site(), learned);
    }

    /// What a miner was told last and what was learned of it, as far as that is known.
    pub fn known_of(&self, miner: MinerId) -> (Option<Telling>, Option<Learned>) {
        self.inner.told.of(miner)
    }

    /// Changes with every cycle and every reload. Whoever waits on it holds up nobody.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// The last hours.
    pub fn history(&self) -> &History {
        &self.inner.history
    }

    /// What is known now, all of one configuration.
    pub fn present(&self) -> Present {
        let state = self.inner.state.read().unwrap_or_else(PoisonError::into_inner);
        Present {
            generation: format!("{:x}.{}", self.inner.born, state.generation),
            site: Arc::clone(&state.site),
            frame: state.frame.clone(),
        }
    }

    /// Counts the miners whose draw has arrived in this cycle.
    fn note_responses(&self, decision: &Decision) {
        if decision.responses.is_empty() {
            return;
        }
        let site = self.site();
        for (id, took) in &decision.responses {
            if let Some(miner) = site.miners.get(id.0) {
                self.responses.with_label_values(&[miner.driver]).observe(took.as_secs_f64());
            }
        }
    }

    /// Counts a completed cycle and how long it took.
    pub fn observe_cycle(&self, took: Duration) {
        self.cycles.observe(took.as_secs_f64());
    }

    /// Takes a site that was configured anew. What was published belongs to the old one and is dropped.
    pub fn reconfigure(&self, site: Arc<Site>) {
        let labels = Arc::new(miners::labels(&site));
        self.inner.told.moved(&self.site(), &site);
        self.inner.change(|state| {
            state.site = site;
            state.miner_labels = labels;
            state.before = state.frame.take().or(state.before.take());
            state.generation = state.generation.wrapping_add(1);
        });
        self.inner.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Where the counts of meter reads come from; none are exported before.
    pub fn watch_meters(&self, reads: Arc<dyn MeterReads>) {
        self.inner.change(|state| state.reads = Some(reads));
    }

    /// Where the counts of commands come from; none are exported before.
    pub fn watch_commands(&self, commands: Arc<dyn CommandStats>) {
        self.inner.change(|state| state.commands = Some(commands));
    }

    /// Where the states of the sources of orders come from; none are exported before.
    pub fn watch_signals(&self, signals: Arc<dyn SignalStats>) {
        self.inner.change(|state| state.signals = Some(signals));
    }

    /// Where it is known how the record is; nothing is exported of it before.
    pub fn watch_record(&self, record: crate::record::Watch) {
        self.inner.change(|state| state.record = Some(record));
    }

    /// Where the alarms are known; none are exported before.
    pub fn watch_alarms(&self, alarms: Arc<dyn AlarmStats>) {
        self.inner.change(|state| state.alarms = Some(alarms));
    }

    /// Where it is known what each tenant's miners did; nothing is exported of it before.
    pub fn watch_tenants(&self, tally: Tally) {
        self.inner.change(|state| state.tenants = Some(tally));
    }

    /// Where it is known how the broker of MQTT is; nothing is exported of it before.
    pub fn watch_mqtt(&self, mqtt: Arc<dyn MqttStats>) {
        self.inner.change(|state| state.mqtt = Some(mqtt));
    }

    /// Where it is known how the signs of life for PLCs are; nothing is exported of them before.
    pub fn watch_heartbeats(&self, board: Board) {
        self.inner.change(|state| state.heartbeats = board);
    }

    /// How the signs of life for PLCs are.
    pub fn heartbeats(&self) -> Vec<(Arc<str>, Health)> {
        self.inner.state().heartbeats.list()
    }

    /// How many alarms there are; `None` where nobody looks for any.
    pub fn alarms(&self) -> Option<AlarmSummary> {
        let alarms = self.inner.state().alarms?;
        Some(alarms.summary())
    }

    /// How many of what this daemon holds programs of other accounts say that they hold, too; not exported before.
    pub fn watch_strangers(&self, strangers: u64) {
        self.inner.change(|state| state.strangers = Some(strangers));
    }

    /// What was told last by [`Exporter::watch_strangers`]; 0 before.
    pub fn strangers(&self) -> u64 {
        self.inner.state().strangers.unwrap_or(0)
    }

    /// The other machine of a pair; nothing is exported of it before.
    pub fn watch_standby(&self, standby: Standby) {
        self.inner.change(|state| state.standby = Some(standby));
    }

    /// The sources of orders as they stand; `None` where nobody keeps them.
    pub fn signals(&self) -> Option<crate::signal::status::Status> {
        let signals = self.inner.state().signals?;
        Some(signals.status())
    }

    /// The site as it is configured now.
    pub fn site(&self) -> Arc<Site> {
        self.inner.state().site
    }

    /// How many commands the miners have accepted since the start.
    pub fn accepted_commands(&self) -> u64 {
        let counts = self.inner.state().commands.map(|stats| stats.commands()).unwrap_or_default();
        counts.iter().filter(|count| count.result == "accepted").map(|count| count.count).sum()
    }

    /// What the last cycle left behind; `None` before the first.
    pub fn frame(&self) -> Option<Frame> {
        self.inner.state().frame
    }

    /// The last cycle that completed, also one of the configuration before: that cycles go on is no matter of what they were told.
    pub fn last_cycle(&self) -> Option<Frame> {
        let state = self.inner.state();
        state.frame.or(state.before)
    }

    /// The clock that the frames' moments are on.
    pub fn clock(&self) -> Clock {
        self.inner.clock
    }

    /// All metrics in the text format of Prometheus, of the type [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// When a metric breaks the rules of the format.
    pub fn render(&self) -> Result<Vec<u8>, MetricsError> {
        let mut text = String::new();
        // One state for all of it: a cycle may end meanwhile, and sums must fit what they are the sums of.
        let (state, now) = (self.inner.state(), self.inner.clock.now());
        let mut families = self.registry.gather();
        families.extend(collector::families(&state, now));
        families.retain(|family| !family.get_metric().is_empty());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        TextEncoder::new().encode_utf8(&families, &mut text)?;
        if let Some(frame) = &state.frame {
            miners::write(frame, &state.miner_labels, now, &mut text);
        }
        Ok(text.into_bytes())
    }
}

/// What is left over locally; `None` while the meter of the root says nothing: nobody knows then. And where no limit follows it and
/// no meter could see any, as in a container whose only meter is that of its miners.
pub fn surplus(site: &Site, decision: &Decision) -> Option<Watts> {
    let follows = site.limits.iter().any(|limit| limit.class == LimitClass::Surplus);
    if !follows && !site.circuits.iter().any(|circuit| circuit.meter.is_some() && !circuit.dedicated) {
        return None;
    }
    let told = decision.circuits.first().is_some_and(|root| root.power.is_some());
    let metered = site.circuits.first().is_some_and(|root| root.meter.is_some());
    (!metered || told).then_some(decision.fleet.surplus)
}

/// What a cycle has to say for the curves of the last hours.
fn sample(site: &Site, decision: &Decision) -> Sample {
    let fleet = &decision.fleet;
    let import = decision.circuits.first().and_then(|root| root.power);
    // While the daemon starts up, nothing is allowed and nothing is forbidden.
    let budget = (decision.would_be != Mode::StartUp).then_some(fleet.budget);
    Sample {
        surplus: surplus(site, decision).map(Watts::get),
        power: Some(fleet.draw.get()),
        import: import.map(Watts::get),
        budget: budget.map(Watts::get),
        cap: root_cap(site, decision).map(Watts::get),
    }
}
