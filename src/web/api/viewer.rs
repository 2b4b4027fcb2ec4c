//! What one viewer of the events is sent: who there is, then each cycle, with the miners that have changed.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::clock::{self, Moment};
use crate::control::decision::MinerState;
use crate::control::frame::Frame;
use crate::control::site::{CircuitId, LoadClass, MinerId, Site};
use crate::control::snapshot::{Activity, MinerInput, Target};
use crate::metrics::{Exporter, Present};
use crate::web::status::status_of;

/// A draw that has moved by no more than this part is not told again.
const MOVED: f64 = 0.02;
/// Nor one that has moved by less than a watt.
const LEAST: f64 = 1.0;

/// What was sent of a miner.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    state: MinerState,
    /// In whole watts.
    draw: f64,
    /// In whole watts; -1 is sleep.
    told: Option<f64>,
    /// It has a fault, or is the next that waits to be woken.
    marked: bool,
}

impl Row {
    fn of(frame: &Frame, index: usize) -> Option<Self> {
        let outcome = frame.decision.miners.get(index)?;
        let status = frame.snapshot.miners.get(index).unwrap_or(&MinerInput::PENDING).status.as_ref();
        let faulty = outcome.state == MinerState::Fault
            || status.is_some_and(|status| matches!(status.value.activity, Activity::Fault(_)));
        let waits = frame.decision.waiting.is_some_and(|waiting| waiting.miner == MinerId(index));
        Some(Self {
            state: outcome.state,
            draw: outcome.draw.get().round(),
            told: outcome.setpoint.map(|target| match target {
                Target::Sleep => -1.0,
                Target::Power(power) => power.get().round(),
            }),
            marked: faulty || waits,
        })
    }

    /// Whether this is worth telling somebody who was told the other.
    fn differs(&self, told: &Self) -> bool {
        let same_order = match (self.told, told.told) {
            (Some(one), Some(other)) => (one - other).abs() < LEAST,
            (None, None) => true,
            _ => false,
        };
        let moved = (self.draw - told.draw).abs();
        self.state != told.state
            || self.marked != told.marked
            || !same_order
            || (moved >= LEAST && moved > told.draw.abs() * MOVED)
    }

    fn write(&self, index: usize, out: &mut String) {
        let state = MinerState::ALL.iter().position(|state| *state == self.state).unwrap_or(0);
        let marked = u8::from(self.marked);
        // Writing into a string cannot fail, here and below.
        let _ = match self.told {
            Some(told) => write!(out, "[{index},{state},{:.0},{told:.0},{marked}]", self.draw),
            None => write!(out, "[{index},{state},{:.0},null,{marked}]", self.draw),
        };
    }
}

#[derive(Serialize)]
struct Roster<'r> {
    generation: &'r str,
    states: [&'static str; 8],
    miners: Vec<(&'r str, usize, &'static str, f64)>,
    /// Of those that are no miners, the position and the class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    servers: Vec<(usize, &'static str)>,
    circuits: Vec<RosterCircuit<'r>>,
}

#[derive(Serialize)]
struct RosterCircuit<'r> {
    name: &'r str,
    parent: Option<usize>,
}

fn roster(generation: &str, site: &Site) -> Result<String, serde_json::Error> {
    let place = |id: CircuitId| id.0;
    let roster = Roster {
        generation,
        states: MinerState::ALL.map(MinerState::name),
        miners: site
            .miners
            .iter()
            .map(|miner| (miner.name.as_str(), miner.circuit.0, miner.driver, miner.nameplate.get().round()))
            .collect(),
        servers: site
            .miners
            .iter()
            .enumerate()
            .filter(|(_, member)| member.class != LoadClass::Miner)
            .map(|(at, member)| (at, member.class.name()))
            .collect(),
        circuits: site
            .circuits
            .iter()
            .map(|circuit| RosterCircuit { name: &circuit.name, parent: circuit.parent.map(place) })
            .collect(),
    };
    serde_json::to_string(&roster)
}

/// What all viewers share of a cycle, so that it is written once.
#[derive(Debug, Default)]
pub(super) struct Common {
    /// By the generation.
    roster: Mutex<Option<(String, Arc<str>)>>,
    /// By the generation and the moment of the cycle.
    status: Mutex<Option<(String, Moment, Arc<str>)>>,
}

impl Common {
    fn roster(&self, present: &Present) -> Option<Arc<str>> {
        let mut latest = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((generation, text)) = latest.as_ref()
            && *generation == present.generation
        {
            return Some(text.clone());
        }
        let text: Arc<str> = logged(roster(&present.generation, &present.site))?.into();
        *latest = Some((present.generation.clone(), text.clone()));
        Some(text)
    }

    fn status(&self, exporter: &Exporter, present: &Present, at: Moment) -> Option<Arc<str>> {
        let mut latest = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((generation, cycle, text)) = latest.as_ref()
            && *generation == present.generation
            && *cycle == at
        {
            return Some(text.clone());
        }
        let status = status_of(exporter, present, false);
        let text: Arc<str> = logged(serde_json::to_string(&status))?.into();
        *latest = Some((present.generation.clone(), at, text.clone()));
        Some(text)
    }
}

fn logged(text: Result<String, serde_json::Error>) -> Option<String> {
    text.inspect_err(|error| tracing::error!(%error, "an event cannot be written")).ok()
}

/// Somebody who is sent what changes. Holds what was sent to them of each miner, and nothing else.
#[derive(Debug, Default)]
pub struct Viewer {
    generation: Option<String>,
    /// The moment of the cycle that was sent last.
    cycle: Option<Moment>,
    sent: Vec<Row>,
}

impl Viewer {
    /// Somebody who knows who there is in this generation already.
    pub fn knowing(generation: Option<String>) -> Self {
        Self { generation, ..Self::default() }
    }

    /// The events that are due, as they go over the wire; empty when nothing is.
    pub fn next(&mut self, exporter: &Exporter) -> String {
        self.next_with(exporter, &Common::default())
    }

    pub(super) fn next_with(&mut self, exporter: &Exporter, common: &Common) -> String {
        let present = exporter.present();
        let mut out = String::new();
        if self.generation.as_deref() != Some(present.generation.as_str()) {
            let Some(roster) = common.roster(&present) else { return out };
            out.push_str("event: roster\ndata: ");
            out.push_str(&roster);
            out.push_str("\n\n");
            *self = Self::knowing(Some(present.generation.clone()));
        }
        if let Some(frame) = present.frame.as_ref().filter(|frame| self.cycle != Some(frame.decision.at)) {
            self.frame(exporter, &present, frame, common, &mut out);
        }
        out
    }

    fn frame(
        &mut self,
        exporter: &Exporter,
        present: &Present,
        frame: &Frame,
        common: &Common,
        out: &mut String,
    ) {
        let Some(status) = common.status(exporter, present, frame.decision.at) else { return };
        let age = i64::try_from(exporter.clock().now().since(frame.decision.at).as_millis()).unwrap_or(0);
        let at = clock::unix_millis().saturating_sub(age);
        let whole = self.cycle.is_none() || self.sent.len() != frame.decision.miners.len();
        if whole {
            self.sent.clear();
        }
        out.reserve(status.len() + 256 + if whole { frame.decision.miners.len() * 32 } else { 0 });
        let generation = &present.generation;
        let alarms = exporter.alarms().map_or_else(
            || "null".to_owned(),
            |it| {
                let crate::metrics::AlarmSummary { critical, warning, notice, unacknowledged, newest } = it;
                format!(
                    "{{\"critical\":{critical},\"warning\":{warning},\"notice\":{notice},\
                 \"unacknowledged\":{unacknowledged},\"newest\":{newest}}}"
                )
            },
        );
        // A generation is made of digits, letters and a point: it needs no escape.
        let _ = write!(
            out,
            "event: frame\ndata: {{\"at\":{at},\"generation\":\"{generation}\",\"status\":{status},\
             \"alarms\":{alarms},\"miners\":{{\"whole\":{whole},\"rows\":["
        );
        let mut first = true;
        for index in 0..frame.decision.miners.len() {
            let Some(row) = Row::of(frame, index) else { continue };
            match self.sent.get_mut(index) {
                Some(told) if !row.differs(told) => continue,
                Some(told) => *told = row,
                None => self.sent.push(row),
            }
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            row.write(index, out);
        }
        out.push_str("]}}\n\n");
        self.cycle = Some(frame.decision.at);
    }
}
