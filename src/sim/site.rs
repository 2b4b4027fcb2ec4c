//! The running simulation: plant, miners, meters and faults on one tick, with the truth kept beside them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::fleet;
use super::jobs::Work;
use super::meter::bus::{Bus, Door};
use super::meter::pty::Line;
use super::meter::server::Framing;
use super::meter::{Dial, SimMeter, encode, server};
use super::plant::{Balance, Mains, Plant, Wiring};
use super::scenario::{MeterFault, Metering, MinerFault, Noise, Scenario, ScenarioError};
use super::script::{Scheduled, Source, Stage, Turn, at_rest, groups, play, power_cut, schedule, sources};
use super::truth::{Accountant, Flows, Truth};
use super::vtn;
use crate::clock::{Clock, Moment};
use crate::config::Config;
use crate::control::site::{MeterId, Miner};
use crate::endpoint::Endpoint;
use crate::meter::{Connection, Transport};
use crate::units::{Hashrate, Watts};

/// Time between two steps of the plant and samples of the truth.
const TICK: Duration = Duration::from_millis(50);

/// Longest wait for the tasks at shutdown.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// The fastest that sun and load may run.
const FASTEST: f64 = 3_600.0;

/// What the plant must know of a simulated miner.
pub trait Load: Send + Sync {
    /// Its draw at the wall at this moment. Not negative.
    fn power(&self, now: Moment) -> Watts;

    /// Its hashrate at this moment.
    fn hashrate(&self, now: Moment) -> Hashrate;

    /// The work that it was asked for and has done so far, where it is a server with jobs.
    fn work(&self) -> Option<Work> {
        None
    }

    /// Whether it knows a fault; asked once for every scripted fault, before anything runs.
    ///
    /// # Errors
    /// Words for people: which faults and parameters there are.
    fn accepts(&self, fault: &MinerFault) -> Result<(), String>;

    /// Lets a fault begin.
    fn inject(&self, fault: &MinerFault, now: Moment);

    /// Ends a fault.
    fn clear(&self, fault: &MinerFault, now: Moment);
}

/// Why a simulation cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The scenario does not fit the site, or is wrong in itself.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// A speed that is none.
    #[error("a speed of {0} is not possible; it must be above 0 and at most {FASTEST}")]
    Speed(f64),
    /// An address that is not this computer alone.
    #[error(
        "{what} listens at {endpoint} in this configuration, which is not a loopback address; a simulated site \
         is served on 127.0.0.1 or ::1 only: give the simulation a configuration of its own"
    )]
    NotLoopback {
        /// Whose address.
        what: String,
        /// Which.
        endpoint: Endpoint,
    },
    /// An address that cannot be opened.
    #[error("cannot listen at {endpoint} for {what}: {source}; {}", remedy(.source))]
    Bind {
        /// For whom.
        what: String,
        /// Where.
        endpoint: Endpoint,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// A serial line that cannot be made.
    #[error(
        "cannot make a serial line at {path} for {what}: {source}; name a path in a folder of your own where nothing \
         stands yet, like rtu = \"/tmp/meter-room\""
    )]
    Line {
        /// For whom.
        what: String,
        /// Where.
        path: String,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// A meter that the scenario would have to speak for.
    #[error(
        "the reading of the meter `{meter}` is the cap of the limit `{limit}`, but the scenario does not say what it \
         shows; add `[readings.{meter}]` with `value = \"…\"` to {file}"
    )]
    NoReading {
        /// Which meter.
        meter: String,
        /// Which limit.
        limit: String,
        /// The scenario.
        file: String,
    },
    /// The site and its loads do not belong together.
    #[error("the site has {expected} miners, but {given} simulated ones were given")]
    Loads {
        /// Miners of the site.
        expected: usize,
        /// Loads given.
        given: usize,
    },
}

/// A running simulation. It ends when it is shut down, dropped, or its token is cancelled.
#[derive(Debug)]
pub struct Simulation {
    truth: watch::Receiver<Truth>,
    accountant: Arc<Mutex<Accountant>>,
    clock: Clock,
    tasks: TaskTracker,
    cancel: CancellationToken,
    /// Ends the simulated miners, where the simulation started them.
    miners: Option<DropGuard>,
    _guard: DropGuard,
}

impl Simulation {
    /// Starts the whole site: plant, meters and one simulated miner for each of the configuration. When this
    /// returns, every port is open.
    ///
    /// # Errors
    /// As [`Simulation::start_with`], for the miners' addresses too.
    pub async fn start(
        config: &Config,
        scenario: &Scenario,
        speed: f64,
        clock: Clock,
        cancel: CancellationToken,
    ) -> Result<Self, SimError> {
        let cancel = cancel.child_token();
        let guard = cancel.clone().drop_guard();
        let loads = fleet::serve(config, scenario, clock, &cancel).await?;
        vtn::script::serve(config, scenario, clock, &cancel).await?;
        let simulation = Self::start_with(config, scenario, loads, speed, clock, cancel).await?;
        Ok(Self { miners: Some(guard), ..simulation })
    }

    /// Starts the plant and serves the meters of every link in the configuration. `loads` are the miners, in the
    /// order of the site. When this returns, every register holds a value and every port is open.
    ///
    /// # Errors
    /// A scenario that does not fit the site, an address that is not loopback or cannot be opened, a speed that is
    /// not above 0 and at most 3,600.
    pub async fn start_with(
        config: &Config,
        scenario: &Scenario,
        loads: Vec<Arc<dyn Load>>,
        speed: f64,
        clock: Clock,
        cancel: CancellationToken,
    ) -> Result<Self, SimError> {
        if !(speed > 0.0 && speed <= FASTEST) {
            return Err(SimError::Speed(speed));
        }
        let expected = config.site.miners.len();
        if loads.len() != expected {
            return Err(SimError::Loads { expected, given: loads.len() });
        }
        if let Some(order) = scenario.orders.first() {
            let words = "an order is played by `ballast simulate` alone; give it to a running daemon with `ballast limit set`";
            return Err(scenario.error(order.circuit.place, words).into());
        }
        let sources = sources(&config.site, scenario)?;
        let schedule = schedule(config, scenario, |position, fault| {
            loads.get(position).map_or(Ok(()), |load| load.accepts(fault))
        })?;
        let wiring = Wiring::new(scenario, &config.site)?;
        let buses = buses(config);

        let mut listeners = Vec::new();
        let mut lines = Vec::new();
        for (link, bus) in config.links.iter().zip(&buses) {
            let what = format!("the meter link `{}`", link.name);
            match &link.transport {
                Transport::Tcp(endpoint) => {
                    listeners.push((bus.clone(), Framing::Tcp, listen(what, endpoint).await?));
                }
                Transport::RtuOverTcp(endpoint, _) => {
                    listeners.push((bus.clone(), Framing::Rtu, listen(what, endpoint).await?));
                }
                Transport::Rtu(path, _) => {
                    let line = Line::open(Path::new(path));
                    let line = line.map_err(|source| SimError::Line { what, path: path.clone(), source })?;
                    lines.push((bus.clone(), line));
                }
            }
        }

        let meters = config
            .meters
            .iter()
            .zip(&config.site.meters)
            .enumerate()
            .filter_map(|(position, (connection, meter))| {
                let bus = buses.get(connection.link.0)?.clone();
                let mut metering = scenario.metering(&meter.name);
                if config.site.reads_stop(MeterId(position)) {
                    // A contact is open or closed: the noise of a meter would open it.
                    metering.noise = Noise::NONE;
                }
                let dial = Dial::of(scenario, position, metering);
                Some(SimMeter::new(position, connection, dial, bus))
            })
            .zip(sources)
            .chain(groups(config).enumerate().filter_map(|(position, (name, connection, group))| {
                let bus = buses.get(connection.link.0)?.clone();
                // An input module shows what is: it filters nothing and has no noise.
                let metering =
                    Metering { lag: Duration::ZERO, noise: Noise::NONE, ..scenario.metering(name) };
                let position = config.meters.len() + position;
                let dial = Dial::of(scenario, position, metering);
                let module = SimMeter::new(position, connection, dial, bus);
                Some((module, Source::Contacts(at_rest(group))))
            }))
            .collect();
        let maximum = config.site.miners.iter().map(Miner::maximum).sum();
        let started = clock.now();
        let accountant = Arc::new(Mutex::new(Accountant::new(maximum, started)));
        let (sender, truth) = watch::channel(Truth::default());
        let mut engine = Engine {
            started,
            speed,
            plant: Plant::new(scenario),
            wiring,
            loads,
            meters,
            outages: 0,
            works: !scenario.jobs.is_empty(),
            links: read_over(config).map(|connection| connection.link.0).collect(),
            devices: config.meters.len(),
            buses,
            schedule,
            accountant: accountant.clone(),
            sender,
        };
        engine.tick(started);

        let cancel = cancel.child_token();
        let tasks = TaskTracker::new();
        for (bus, framing, (listener, address)) in listeners {
            let most = (scenario.connections, scenario.keeps);
            tasks.spawn(server::serve(bus, listener, address, framing, most, cancel.clone()));
        }
        for (bus, line) in lines {
            tasks.spawn(line.serve(bus, cancel.clone()));
        }
        tasks.spawn(run(engine, clock, cancel.clone()));
        tasks.close();
        Ok(Self {
            truth,
            accountant,
            clock,
            tasks,
            miners: None,
            _guard: cancel.clone().drop_guard(),
            cancel,
        })
    }

    /// The true state of the site, at most one tick (50 ms) old.
    pub fn truth(&self) -> Truth {
        self.truth.borrow().clone()
    }

    /// The true state of the site, as it changes.
    pub fn watch(&self) -> watch::Receiver<Truth> {
        self.truth.clone()
    }

    /// Begins to count energies anew, like after a warm-up.
    pub fn restart_counting(&self) {
        let now = self.clock.now();
        self.accountant.lock().unwrap_or_else(PoisonError::into_inner).restart(now);
    }

    /// Ends every task and closes every port; waits for that, but not longer than two seconds.
    pub async fn shutdown(mut self) {
        self.cancel.cancel();
        drop(self.miners.take());
        if tokio::time::timeout(SHUTDOWN, self.tasks.wait()).await.is_err() {
            tracing::warn!("the simulation did not end in time");
        }
    }
}

struct Engine {
    started: Moment,
    speed: f64,
    plant: Plant,
    wiring: Wiring,
    loads: Vec<Arc<dyn Load>>,
    meters: Vec<(SimMeter, Source)>,
    /// The link of each meter.
    links: Vec<usize>,
    /// How many of `meters` are meters; groups of contacts follow.
    devices: usize,
    buses: Vec<Arc<Bus>>,
    schedule: Vec<Scheduled>,
    /// Outages of the site that last.
    outages: u32,
    /// The scenario has jobs.
    works: bool,
    accountant: Arc<Mutex<Accountant>>,
    sender: watch::Sender<Truth>,
}

async fn run(mut engine: Engine, clock: Clock, cancel: CancellationToken) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => engine.tick(clock.now()),
        }
    }
}

impl Engine {
    fn tick(&mut self, now: Moment) {
        let running = now.since(self.started);
        let time = running.mul_f64(self.speed);
        self.faults(running, now);

        let dark = self.outages > 0;
        // Whatever a load says, nothing comes to it.
        let powered = |power: Watts| if dark { Watts::ZERO } else { power };
        let draws: Vec<Watts> = self.loads.iter().map(|load| powered(load.power(now))).collect();
        let balance = if dark { Balance::DARK } else { self.plant.at(time) };
        let circuits = if dark { self.wiring.dead() } else { self.wiring.circuits(&balance, &draws) };
        let flows = Flows {
            generation: balance.generation(),
            other: balance.other(),
            fleet: draws.into_iter().sum(),
            hashrate: self.loads.iter().map(|load| load.hashrate(now)).sum(),
        };
        let mains = if dark { Mains::GONE } else { self.plant.mains(time) };
        for (meter, source) in &mut self.meters {
            meter.feel(mains);
            let truth = match source {
                Source::Circuit(circuit) => circuits.get(circuit.0).copied().unwrap_or(Watts::ZERO),
                Source::Reading(script) => script.value(time, flows.surplus()),
                Source::Contacts(bits) => Watts::saturating(f64::from(*bits)),
            };
            meter.observe(truth, now);
        }
        let totals = {
            let mut accountant = self.accountant.lock().unwrap_or_else(PoisonError::into_inner);
            accountant.sample(now, flows);
            accountant.totals()
        };
        self.sender.send_replace(Truth {
            at: now,
            scenario_time: time,
            surplus: flows.surplus(),
            pcc: flows.pcc(),
            other: flows.other,
            pv: flows.generation,
            fleet: flows.fleet,
            hashrate: flows.hashrate,
            circuits,
            work: if self.works { self.loads.iter().map(|load| load.work()).collect() } else { Vec::new() },
            totals,
        });
    }

    fn faults(&mut self, running: Duration, now: Moment) {
        let mut schedule = std::mem::take(&mut self.schedule);
        let any = play(&mut schedule, running, &mut At { engine: self, now });
        self.schedule = schedule;
        if !any {
            return;
        }
        // A link is as narrow as the narrowest of its meters makes it.
        let mut doors = vec![Door::default(); self.buses.len()];
        for ((meter, _), link) in self.meters.iter().zip(&self.links) {
            if let Some(door) = doors.get_mut(*link) {
                *door = door.and(meter.door());
            }
        }
        for (bus, door) in self.buses.iter().zip(doors) {
            bus.let_in(door);
        }
    }
}

/// The site at a moment of its script.
struct At<'a> {
    engine: &'a mut Engine,
    now: Moment,
}

impl Stage for At<'_> {
    fn meter(&mut self, position: usize, fault: MeterFault, turn: Turn) {
        match (self.engine.meters.get_mut(position), turn) {
            (Some((meter, _)), Turn::Begins) => meter.inject(fault),
            (Some((meter, _)), Turn::Ends) => meter.clear(fault),
            (None, _) => {}
        }
    }

    fn miner(&mut self, position: usize, fault: &MinerFault, turn: Turn) {
        match (self.engine.loads.get(position), turn) {
            (Some(load), Turn::Begins) => load.inject(fault, self.now),
            (Some(load), Turn::Ends) => load.clear(fault, self.now),
            (None, _) => {}
        }
    }

    fn contact(&mut self, group: usize, bit: u32) {
        if let Some((_, Source::Contacts(bits))) = self.engine.meters.get_mut(self.engine.devices + group) {
            *bits ^= bit;
        }
    }

    fn site(&mut self, boot: Duration, turn: Turn) {
        self.engine.outages = match turn {
            Turn::Begins => self.engine.outages.saturating_add(1),
            Turn::Ends => self.engine.outages.saturating_sub(1),
        };
        for position in 0..self.engine.meters.len() {
            self.meter(position, MeterFault::Refuse, turn);
        }
        let cut = power_cut(boot);
        for position in 0..self.engine.loads.len() {
            self.miner(position, &cut, turn);
        }
    }
}

/// What to do where something cannot be listened at.
fn remedy(error: &std::io::Error) -> &'static str {
    match error.raw_os_error() {
        // EMFILE, for which there is no stable kind.
        Some(24) => {
            "no other port helps: each simulated device takes a file, and each connection one more. Allow more in this shell, \
             `ulimit -n 65536`, and start it again there"
        }
        _ => {
            "stop the program that uses this port, or choose another one in the configuration (below 1024 takes privileges)"
        }
    }
}

/// The address on this computer that an endpoint names.
pub(super) fn loopback(endpoint: &Endpoint) -> Option<SocketAddr> {
    let address = match endpoint.host.as_str() {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().ok()?,
    };
    address.is_loopback().then_some(SocketAddr::new(address, endpoint.port))
}

async fn listen(what: String, endpoint: &Endpoint) -> Result<(TcpListener, SocketAddr), SimError> {
    let Some(address) = loopback(endpoint) else {
        return Err(SimError::NotLoopback { what, endpoint: endpoint.clone() });
    };
    match TcpListener::bind(address).await {
        Ok(listener) => Ok((listener, address)),
        Err(source) => Err(SimError::Bind { what, endpoint: endpoint.clone(), source }),
    }
}

/// How everything is read that hangs on links: the meters, then the groups of contacts.
fn read_over(config: &Config) -> impl Iterator<Item = &Connection> {
    config.meters.iter().chain(groups(config).map(|(_, connection, _)| connection))
}

/// One bus for each link, with the registers of all meters that hang on it.
fn buses(config: &Config) -> Vec<Arc<Bus>> {
    let mut buses: Vec<Bus> = config.links.iter().map(|_| Bus::new()).collect();
    for (position, connection) in read_over(config).enumerate() {
        if let Some(bus) = buses.get_mut(connection.link.0) {
            let registers = connection.profile.points().flat_map(|(_, point)| encode::registers(point));
            bus.add(position, connection.unit, registers);
        }
    }
    buses.into_iter().map(Arc::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_runs_out_of_files_is_told_so_and_not_to_take_another_port() {
        let told = |number: i32| {
            let endpoint = Endpoint { host: "127.0.0.1".into(), port: 4028 };
            let source = std::io::Error::from_raw_os_error(number);
            SimError::Bind { what: "the miner `a-001`".into(), endpoint, source }.to_string()
        };
        assert!(told(24).contains("ulimit -n") && !told(24).contains("choose another"), "{}", told(24));
        assert!(told(98).contains("choose another") && !told(98).contains("ulimit"), "{}", told(98));
    }
}
