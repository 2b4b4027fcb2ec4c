//! What is worth a line in the log: changes of state, once each. A cycle like the one before leaves no trace.

mod answers;
mod obedience;
mod proven;
#[cfg(test)]
mod tests;
mod waits;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info, warn};

use crate::clock::Moment;
use crate::control::decision::{BreakerState, Command, Decision, MeterDecision, Mode, Source};
use crate::control::signal::{SourceState, View};
use crate::control::site::{CircuitId, Combination, Meter, MeterId, Scope, Site};
use crate::control::snapshot::{MeterInput, MeterStatus, Snapshot};
use crate::control::stop::StopState;
use crate::metrics::{
    Over, SignalStats, binding_reason, circuit_name, describe, over_budget, part_name, source_label,
};
use crate::proof::{self, Writer};
use crate::signal::record::{News, What};
use crate::signal::status::trouble;
use crate::units::Watts;
use answers::Answers;
use obedience::{Episode, Obedience, Said};
use proven::Proven;
use waits::Waits;

/// A binding limit that changes back and forth is told at most this often.
const BINDING_EVERY: Duration = Duration::from_secs(30);
/// Lines about the orders of one source in [`LINES_EVERY`].
const MOST_LINES: u32 = 30;
/// See [`MOST_LINES`].
const LINES_EVERY: Duration = Duration::from_secs(60);

/// What was told last.
#[derive(Default)]
pub struct Journal {
    /// Who knows when the orders end that hold.
    orders: Option<Arc<dyn SignalStats>>,
    mode: Option<(Mode, Mode)>,
    binding: Option<(CircuitId, Source, Moment)>,
    short: Episode,
    obedience: Obedience,
    answers: Answers,
    waits: Waits,
    proven: Proven,
    meters: Vec<Told>,
    /// Of each limit with a condition, by its position, whether it acted.
    conditions: BTreeMap<usize, bool>,
    /// Of each circuit, by its position, what was told of its breaker, whether its interlock held, and whether its emergency stop acted.
    protection: BTreeMap<usize, Protection>,
    /// Of each source of orders, by its name, the state that was told.
    sources: BTreeMap<String, SourceState>,
    /// Of each source of orders, by its name, how much was told of its orders.
    lines: BTreeMap<String, Lines>,
}

/// Of a circuit, what was told of its breaker, whether its interlock held, and whether its emergency stop acted.
type Protection = (Option<BreakerState>, Option<bool>, Option<bool>);

/// How much was told of the orders of a source lately.
#[derive(Debug, Default)]
struct Lines {
    since: Moment,
    told: u32,
    silent: u32,
}

impl Lines {
    /// Whether there is room for another line. A source that writes a new order every second must not fill the log.
    fn room(&mut self, source: &str, now: Moment) -> bool {
        if now - self.since >= LINES_EVERY {
            if self.silent > 0 {
                info!(
                    source,
                    "{} more lines about its orders were left out; the records have them", self.silent
                );
            }
            *self = Self { since: now, told: 0, silent: 0 };
        }
        let room = self.told < MOST_LINES;
        if room {
            self.told = self.told.saturating_add(1);
        } else {
            self.silent = self.silent.saturating_add(1);
        }
        room
    }
}

/// What was told of a meter.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    in_use: Option<usize>,
    disagreement: bool,
    slow: bool,
    asked: bool,
    learned_lag: Option<Duration>,
    /// Why the control law does not believe it.
    disbelieved: Option<MeterStatus>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Journal {
    /// A journal that can tell when orders end.
    pub fn new(orders: Arc<dyn SignalStats>) -> Self {
        Self { orders: Some(orders), ..Self::default() }
    }

    /// And that hands changes over to the proof, one in `every` at the most.
    pub fn proving(self, writer: Writer, every: Duration) -> Self {
        Self { proven: Proven::new(writer, every), ..self }
    }

    /// Takes a new configuration.
    pub fn configure(&mut self, proof: &proof::Settings) {
        self.proven.configure(proof.decisions_every);
    }

    /// Tells what has changed since the cycle before.
    pub fn write(&mut self, site: &Site, snapshot: &Snapshot, decision: &Decision) {
        let mode = (decision.mode, decision.would_be);
        if self.mode != Some(mode) {
            let line = describe(site, decision);
            match decision.would_be {
                Mode::FailSafe => warn!(mode = decision.mode.name(), "{line}"),
                _ => info!(mode = decision.mode.name(), "{line}"),
            }
            self.mode = Some(mode);
            self.binding = None;
        }
        self.binding(site, snapshot, decision);
        self.shortfall(site, decision);
        self.meters(site, snapshot, decision);
        self.conditions(site, decision);
        self.protection(site, decision);
        self.obedience.write(site, decision);
        self.answers.write(site, decision);
        self.waits.write(site, decision);
        self.proven.write(site, decision);
        for command in &decision.commands {
            log_command(site, command);
        }
    }

    /// Tells what the sources of orders have come to since the cycle before, and what became of their orders.
    pub fn signals(&mut self, site: &Site, now: Moment, views: &[Option<View>], news: &[News]) {
        for (source, view) in site.sources.iter().zip(views) {
            let Some(view) = view else { continue };
            let before = self.sources.insert(source.name.clone(), view.state);
            if before == Some(view.state) {
                continue;
            }
            tell_state(&source.name, before, view);
        }
        let there = |name: &String| site.sources.iter().any(|source| source.name == *name);
        if self.sources.len() > site.sources.len() {
            self.sources.retain(|name, _| there(name));
        }
        for news in news {
            let lines = self.lines.entry(news.source.to_string()).or_default();
            if lines.room(&news.source, now) {
                tell_news(news);
            }
        }
        if self.lines.len() > site.sources.len() {
            self.lines.retain(|name, _| there(name));
        }
    }

    fn binding(&mut self, site: &Site, snapshot: &Snapshot, decision: &Decision) {
        let now = (decision.binding.circuit, decision.binding.source);
        let told = self.binding.map(|(circuit, source, _)| (circuit, source));
        let due = self.binding.is_none_or(|(_, _, at)| decision.at - at >= BINDING_EVERY);
        if told == Some(now) || !due {
            return;
        }
        if told.is_some() {
            let orders = self.orders.as_ref().map(|orders| orders.status());
            info!("binding limit: {}", binding_reason(site, snapshot, decision, orders.as_ref()));
        }
        self.binding = Some((now.0, now.1, decision.at));
    }

    fn shortfall(&mut self, site: &Site, decision: &Decision) {
        let over = over_budget(site, decision);
        let said = self.short.note(over.is_some(), decision.at);
        if let (Some(Said::Begins), Some(Over { circuit, by, at_most })) = (said, over) {
            let most = if at_most { "up to " } else { "" };
            warn!(
                circuit = circuit_name(site, circuit),
                "{most}{by} more than the budget allows: what could be shed is shed"
            );
        }
        if said == Some(Said::Over) {
            info!("the fleet fits its budgets again");
        }
    }

    fn meters(&mut self, site: &Site, snapshot: &Snapshot, decision: &Decision) {
        if self.meters.len() != decision.meters.len() {
            self.meters = vec![Told::default(); decision.meters.len()];
        }
        let each = site.meters.iter().zip(&decision.meters).zip(self.meters.iter_mut());
        for (index, ((meter, now), told)) in each.enumerate() {
            told.write(site, MeterId(index), meter, now);
            told.believe(meter, snapshot.meters.get(index), now);
        }
    }

    fn conditions(&mut self, site: &Site, decision: &Decision) {
        for value in decision.circuits.iter().flat_map(|circuit| &circuit.limits) {
            let Source::Limit(id) = value.source else { continue };
            let Some(condition) = site.limits.get(id.0).and_then(|limit| limit.condition) else { continue };
            let before = self.conditions.insert(id.0, value.acts);
            if before == Some(value.acts) || (before.is_none() && value.acts) {
                continue;
            }
            let limit = source_label(site, value.source);
            let battery = site.meters.get(condition.meter.0).map_or("?", |meter| meter.name.as_str());
            if value.acts {
                info!("limit {limit} acts: {battery} is low on charge, or does not say");
            } else {
                info!("limit {limit} does not act any more: {battery} is charged");
            }
        }
    }

    fn protection(&mut self, site: &Site, decision: &Decision) {
        for ((circuit, now), index) in site.circuits.iter().zip(&decision.circuits).zip(0..) {
            let lock = now.limits.iter().find(|value| matches!(value.source, Source::Interlock(_)));
            let holds = lock.map(|value| !value.acts);
            let stop = now.emergency_stop.filter(|stop| *stop != StopState::Unread);
            let stops = stop.map(|stop| stop != StopState::Ready);
            let before = self.protection.insert(index, (now.breaker, holds, stops));
            let (breaker, held, stopped) = before.unwrap_or_default();
            let name = circuit.name.as_str();
            match holds.filter(|_| held != holds) {
                Some(true) => info!("the interlock of {name} holds: its miners may run"),
                Some(false) => {
                    warn!("the interlock of {name} does not hold, or nobody knows: its miners sleep")
                }
                None => {}
            }
            match stops.filter(|_| stopped != stops) {
                Some(true) => warn!(
                    "the emergency stop of {name}: its contact is open or cannot be read, or it is not released yet; its miners sleep"
                ),
                Some(false) => info!("the emergency stop of {name} is ready: its miners may run"),
                None => {}
            }
            match now.breaker.filter(|_| breaker != now.breaker) {
                Some(BreakerState::Opening) => warn!(
                    "the breaker of {name} is told to open: its emergency stop is latched, or miners on it do not do what they \
                     are told and a limit is exceeded"
                ),
                Some(BreakerState::Open) => {
                    warn!("the breaker of {name} is open; it stays so until somebody closes it");
                }
                Some(BreakerState::Closed) => info!("the breaker of {name} is closed"),
                Some(BreakerState::Unknown) => warn!("the breaker of {name} does not answer"),
                None => {}
            }
        }
    }
}

impl Told {
    /// Tells what has changed of one meter.
    fn write(&mut self, site: &Site, id: MeterId, meter: &Meter, now: &MeterDecision) {
        let name = meter.name.as_str();
        if let (Some(used), Some(Combination::Redundant(redundant))) = (now.in_use, &meter.combined)
            && self.in_use != Some(used)
        {
            let part = redundant.parts.get(used).map(|part| part_name(site, *part)).unwrap_or_default();
            match (self.in_use, used) {
                (None, 0) => {}
                (_, 0) => info!(meter = name, "{part} is used again"),
                _ => warn!(meter = name, "{part} is used instead of what is preferred"),
            }
            self.in_use = Some(used);
        }
        let disagreement = now.disagreement == Some(true);
        if disagreement && !self.disagreement {
            let most = match &meter.combined {
                Some(Combination::Redundant(redundant)) => redundant.disagreement,
                _ => Watts::ZERO,
            };
            warn!(
                meter = name,
                "its parts differ by more than {most}: the worse value counts; find out which of them is wrong"
            );
        } else if !disagreement && self.disagreement {
            info!(meter = name, "its parts agree again, or one of them is out of use");
        }
        self.disagreement = disagreement;
        // What is learned wavers a little; that is no new episode.
        let most = meter.stale_after.mul_f64(if self.slow { 0.8 } else { 1.0 });
        // A contact has a new value when somebody switches it.
        let own = now.input.refresh.filter(|_| meter.combined.is_none() && !site.reads_stop(id));
        let slow = own.filter(|refresh| *refresh * 2 > most);
        if let Some(refresh) = slow.filter(|_| !self.slow) {
            warn!(
                meter = name,
                "has a new value every {:.1} s only, and is stale after {:.1} s: two lost values in a row are taken for a \
                 lost meter; raise `stale_after`, or make the meter faster",
                refresh.as_secs_f64(),
                meter.stale_after.as_secs_f64()
            );
        }
        self.slow = slow.is_some();
        if let Some(time) = now.asked.filter(|_| !self.asked) {
            info!(
                meter = name,
                "has shown the same value for {:.0} s: the miners are put a little lower to see whether it lives",
                time.as_secs_f64()
            );
        }
        self.asked = now.asked.is_some();
        if let Some(lag) = now.learned_lag.filter(|lag| self.learned_lag != Some(*lag)) {
            let seconds = lag.as_secs_f64();
            if meter.learn_lag && seconds < 0.05 {
                info!(meter = name, "shows at once what the miners do");
            } else if meter.learn_lag {
                info!(
                    meter = name,
                    "shows what the miners do {seconds:.1} s late; its values are taken as that old"
                );
            } else if lag.abs_diff(meter.lag) > Duration::from_secs(1) {
                warn!(
                    meter = name,
                    "seems to show what the miners do {seconds:.1} s late, and `lag` says {:.1} s, which counts",
                    meter.lag.as_secs_f64()
                );
            }
            self.learned_lag = Some(lag);
        }
    }
}

impl Told {
    /// Tells of a meter whose reads are good and which is not believed all the same. A frozen value that is seen where it
    /// is read is told there.
    fn believe(&mut self, meter: &Meter, read: Option<&MeterInput>, now: &MeterDecision) {
        let name = meter.name.as_str();
        let good = read.is_none_or(|read| matches!(read.status, MeterStatus::Ok));
        let doubt = Some(now.input.status)
            .filter(|status| matches!(status, MeterStatus::Turned | MeterStatus::Frozen) && good);
        if doubt == self.disbelieved {
            return;
        }
        match doubt {
            Some(MeterStatus::Turned) => warn!(
                meter = name,
                "moves the wrong way when the miners move: check its current transformers or `invert`; it counts as lost"
            ),
            Some(_) => warn!(
                meter = name,
                "does not show what the miners do: its value stands still; it counts as lost"
            ),
            // It is lost for another reason now, which is told elsewhere.
            None if !good => {}
            None => info!(meter = name, "shows what the miners do again"),
        }
        self.disbelieved = doubt;
    }
}

fn tell_state(source: &str, before: Option<SourceState>, view: &View) {
    let state = view.state.name();
    match (before, view.state) {
        // The quiet beginning of a source that needs nobody.
        (None, SourceState::Controlled | SourceState::Limited) => {}
        (_, SourceState::Init) => info!(source, state, "not heard yet: its fail-safe value holds"),
        (_, SourceState::Failsafe) => {
            let silent = view
                .age
                .map_or_else(|| "was never heard".into(), |age| format!("silent for {} s", age.as_secs()));
            warn!(source, state, "{silent}: its fail-safe value holds");
        }
        (_, SourceState::Released) => {
            warn!(source, state, "still silent: the value that is configured for that holds");
        }
        (_, SourceState::Degraded) => {
            let words: Vec<String> = view.trouble.iter().map(trouble).collect();
            warn!(source, state, "{}", words.join("; "));
        }
        (_, SourceState::Controlled) => info!(source, state, "heard, and no order holds"),
        (_, SourceState::Limited) => info!(source, state, "heard, and an order holds"),
    }
}

fn tell_news(news: &News) {
    let (source, order) = (&*news.source, &*news.id);
    match &news.what {
        What::Accepted { cap, circuit, scope, stored } => {
            let what = match scope {
                Scope::Import => "import",
                Scope::Miners => "miners",
            };
            let kept = if *stored { "" } else { "; it is not on disk, and a restart forgets it" };
            info!(source, order, "accepted: at most {cap} of {what} at {circuit}{kept}");
        }
        What::Refused(why) => warn!(source, order, "refused, what was in force stays: {why}"),
        What::Lifted { until } => {
            let until = jiff::Timestamp::from_millisecond(until.as_unix_millis())
                .map_or_else(|_| "the end of time".into(), |time| time.to_string());
            warn!(source, by = order, "its caps are lifted until {until}");
        }
        What::LiftGone => {
            warn!(
                source,
                by = order,
                "its caps were lifted; the restart has ended that, and they hold again"
            );
        }
        What::Met(after) => {
            info!(source, order, "met {:.1} s after it was first obeyed", after.as_secs_f64())
        }
        What::Ended { mean, deviation, note } => {
            let note = note.as_deref().map(|note| format!(" ({note})")).unwrap_or_default();
            match (mean, deviation) {
                (Some(mean), Some(deviation)) => {
                    let side = if *deviation > Watts::ZERO { "above" } else { "below" };
                    info!(source, order, "over{note}: {mean} on average, {} {side} its cap", deviation.abs());
                }
                _ => info!(source, order, "over{note}"),
            }
        }
    }
}

fn log_command(site: &Site, command: &Command) {
    let miner = site.miners.get(command.miner.0).map_or("?", |miner| miner.name.as_str());
    debug!(miner, sequence = command.sequence, cause = command.cause.name(), "{:?}", command.target);
}
