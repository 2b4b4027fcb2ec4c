//! What the control law carries from one cycle to the next.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::control::allocate::Level;
use crate::control::allocate::optimum::Hulls;
use crate::control::breaker::Trip;
use crate::control::combine::Combiner;
use crate::control::decision::{Energy, Mode};
use crate::control::history::History;
use crate::control::lead::Contest;
use crate::control::meters::CircuitMemory;
use crate::control::ramp::Ramp;
use crate::control::response::Track;
use crate::control::site::{CircuitId, LoadClass, Site};
use crate::control::stop::Stop;
use crate::control::tree::Tree;
use crate::moment::Moment;

/// The state of the controller. Everything in it was computed from snapshots; nothing is read from outside.
///
/// Kept by `serde`, it is without its site, which [`State::restore`] gives back. One that an earlier version has kept, with
/// other fields, can be given back, too: what it does not say is as at the beginning.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default = "blank")]
pub struct State {
    #[serde(skip, default = "nowhere")]
    pub(super) site: Arc<Site>,
    #[serde(skip)]
    pub(super) tree: Tree,
    pub(super) tracks: Vec<Track>,
    pub(super) memories: Vec<CircuitMemory>,
    pub(super) ramps: Vec<Ramp>,
    /// Of each circuit, what is known of its breaker.
    pub(super) trips: Vec<Trip>,
    /// Of each circuit, how its emergency stop stands.
    pub(super) stops: Vec<Stop>,
    pub(super) combiner: Combiner,
    /// Of each limit, whether it acts: what has a condition does from the beginning, until the condition says no.
    pub(super) acting: Vec<bool>,
    /// Sum of the nameplates of all miners at or below each circuit, in watts.
    pub(super) nameplates: Vec<f64>,
    /// Sum of the highest points of all miners at or below each circuit, in watts.
    pub(super) maxima: Vec<f64>,
    pub(super) mode: Mode,
    /// Moment of the first cycle.
    pub(super) begun: Option<Moment>,
    /// Moment of the cycle before.
    pub(super) before: Option<Moment>,
    /// Number of the latest command.
    pub(super) sequence: u64,
    pub(super) energy: Energy,
    pub(super) hulls: Hulls,
    /// When the allocation was last compared with the optimum.
    pub(super) balanced_at: Option<Moment>,
    /// When an order, an interlock or a stop was last seen to hold the miners of a circuit, while one is there.
    pub(super) held_at: Option<Moment>,
    /// Levels to which the next raises favour some miners.
    pub(super) favoured: Vec<Option<Level>>,
    /// Gap to the bound at the latest comparison.
    pub(super) gap: f64,
    /// Of each circuit, what the other load and what is kept free for it have lately come to.
    pub(super) taken: Vec<History>,
    /// What was started lately and is still to be made up for by the rate at which miners may be started, in watts.
    pub(super) wake_debt: f64,
    /// When miners were last put to sleep because they had to be.
    pub(super) slept_at: Option<Moment>,
    /// Since when the miners leave surplus that they could take.
    pub(super) left_since: Option<Moment>,
    /// Whether another daemon was seen to lead, too.
    pub(super) contest: Contest,
}

/// The place of the site in a state that has not been given one yet.
fn nowhere() -> Arc<Site> {
    Arc::new(Site::nowhere())
}

/// What a state is that says nothing of itself.
fn blank() -> State {
    State::new(nowhere())
}

impl State {
    /// A controller that knows nothing yet.
    pub fn new(site: Arc<Site>) -> Self {
        let tree = Tree::new(&site);
        let mut nameplates = vec![0.0; site.circuits.len()];
        let mut maxima = nameplates.clone();
        for miner in &site.miners {
            tree.add(&mut nameplates, miner.circuit, miner.nameplate.get());
            tree.add(&mut maxima, miner.circuit, miner.maximum().get());
        }
        let mut memories = vec![CircuitMemory::default(); site.circuits.len()];
        for (index, memory) in memories.iter_mut().enumerate() {
            let mut here =
                site.miners.iter().filter(|miner| tree.path(miner.circuit.0).contains(&index)).peekable();
            memory.only_servers = here.peek().is_some() && here.all(|miner| miner.class != LoadClass::Miner);
            // Every miner at or below the circuit hangs on a dedicated, metered circuit at or below it.
            memory.miners_metered = site.miners.iter().all(|miner| {
                let path = tree.path(miner.circuit.0);
                let below = path.iter().take_while(|&&above| above != index).chain([&index]);
                let on_it = path.contains(&index);
                !on_it
                    || below.into_iter().any(|&above| {
                        site.circuits
                            .get(above)
                            .is_some_and(|circuit| circuit.dedicated && circuit.meter.is_some())
                    })
            });
        }
        Self {
            memories,
            tracks: vec![Track::default(); site.miners.len()],
            ramps: vec![Ramp::default(); site.circuits.len()],
            trips: vec![Trip::default(); site.circuits.len()],
            stops: vec![Stop::default(); site.circuits.len()],
            combiner: Combiner::new(&site),
            acting: vec![true; site.limits.len()],
            nameplates,
            maxima,
            mode: Mode::StartUp,
            begun: None,
            before: None,
            sequence: 0,
            energy: Energy::default(),
            hulls: Hulls::default(),
            balanced_at: None,
            held_at: None,
            favoured: Vec::new(),
            gap: 0.0,
            taken: vec![History::default(); site.circuits.len()],
            wake_debt: 0.0,
            slept_at: None,
            left_since: None,
            contest: Contest::default(),
            tree,
            site,
        }
    }

    /// The site that it controls.
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// The number of the latest command; later ones are above it.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The circuits whose emergency stop is latched.
    pub fn latched(&self) -> impl Iterator<Item = CircuitId> {
        let latched = self.stops.iter().enumerate().filter(|(_, stop)| stop.latched());
        latched.map(|(index, _)| CircuitId(index))
    }

    /// Says that the emergency stop of a circuit was latched in a run before.
    pub fn latch(&mut self, circuit: CircuitId) {
        if let Some(stop) = self.stops.get_mut(circuit.0) {
            *stop = Stop::LATCHED;
        }
    }

    /// Takes over the emergency stops of circuits of the same name. One that reads another contact from now on has to be read first;
    /// what is latched stays so.
    fn inherit_stops(&mut self, earlier: &State) {
        let meter = |site: &Site, circuit: &crate::control::site::Circuit| {
            circuit.emergency_stop.and_then(|stop| Some(site.meters.get(stop.meter.0)?.name.clone()))
        };
        for (circuit, stop) in self.site.circuits.iter().zip(self.stops.iter_mut()) {
            let known = earlier.site.circuits.iter().zip(&earlier.stops);
            let Some((before, known)) = known.into_iter().find(|(known, _)| known.name == circuit.name)
            else {
                continue;
            };
            let same = meter(&self.site, circuit) == meter(&earlier.site, before);
            *stop = match (same, known.latched()) {
                (true, _) => *known,
                (false, true) => Stop::LATCHED,
                (false, false) => Stop::default(),
            };
        }
    }

    /// Takes over from a controller of an earlier configuration: what was learned of a miner or circuit of the
    /// same name stays known, so that a reload moves nothing by itself. Energy totals and command numbers go on.
    pub fn inherit(&mut self, earlier: &State) {
        let tracks: std::collections::BTreeMap<&str, &Track> =
            earlier.site.miners.iter().map(|miner| miner.name.as_str()).zip(&earlier.tracks).collect();
        for (miner, track) in self.site.miners.iter().zip(self.tracks.iter_mut()) {
            if let Some(known) = tracks.get(miner.name.as_str()) {
                *track = (*known).clone();
            }
        }
        let circuits: std::collections::BTreeMap<&str, (&CircuitMemory, &Ramp, &Trip, &History)> = earlier
            .site
            .circuits
            .iter()
            .map(|circuit| circuit.name.as_str())
            .zip(earlier.memories.iter().zip(&earlier.ramps).zip(earlier.trips.iter().zip(&earlier.taken)))
            .map(|(name, ((memory, ramp), (trip, taken)))| (name, (memory, ramp, trip, taken)))
            .collect();
        let own = self.memories.iter_mut().zip(self.ramps.iter_mut());
        let own = own.zip(self.trips.iter_mut().zip(self.taken.iter_mut()));
        for (circuit, ((memory, ramp), (trip, taken))) in self.site.circuits.iter().zip(own) {
            if let Some((known, slope, tripped, past)) = circuits.get(circuit.name.as_str()) {
                *trip = (*tripped).clone();
                *taken = (*past).clone();
                memory.take_over((*known).clone());
                memory.look_again();
                *ramp = (*slope).clone();
            }
        }
        self.inherit_stops(earlier);
        self.combiner.inherit(&self.site, &earlier.combiner, &earlier.site);
        for (limit, acts) in self.site.limits.iter().zip(self.acting.iter_mut()) {
            let before = earlier.site.limits.iter().zip(&earlier.acting);
            // Only a condition that stands as it stood lets a limit rest.
            let known = before.into_iter().find(|(known, _)| {
                known.name == limit.name && known.condition.is_some() == limit.condition.is_some()
            });
            if let (Some((_, known)), Some(_)) = (known, limit.condition) {
                *acts = *known;
            }
        }
        self.wake_debt = earlier.wake_debt;
        self.slept_at = earlier.slept_at;
        self.left_since = earlier.left_since;
        self.contest = earlier.contest;
        self.balanced_at = earlier.balanced_at;
        self.energy = earlier.energy;
        self.sequence = earlier.sequence;
        self.begun = earlier.begun;
        self.before = earlier.before;
        self.mode = earlier.mode;
    }
}
