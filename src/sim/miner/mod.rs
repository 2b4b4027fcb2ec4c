//! Simulated miners: the physics of one miner each, and the vendor's protocol in front of it on a loopback socket.
//!
//! ```text
//!   plant ── power(now) ──────────────► SimMiner ◄── set, sleep, wake … ── vendor server ◄── driver
//!   scenario ── inject, clear ────────►    │  physics + faults + identity      (door, one per miner)
//! ```
//!
//! Nothing here knows the control law. A driver sees only the socket, and the socket speaks as the vendor
//! documents it, refusals included. The implementations of the vendors' cryptography are written apart from the
//! drivers' on purpose: that the two ends understand each other is a test.

mod antminer;
mod antminer_web;
mod auradine;
mod avalon;
mod axeos;
mod ballast;
mod bitmain_stock;
mod braiins_os;
mod cgminer;
mod cgminer_readonly;
pub mod crypt;
mod door;
mod epic;
mod fault;
mod generic;
mod grpc;
mod identity;
mod legacy;
mod luxos;
mod mara;
mod noise;
pub mod physics;
mod proto;
mod redfish;
mod rest;
mod sealminer;
mod vnish;
mod web;
mod whatsminer_v2;
mod whatsminer_v3;
mod zeusd;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Moment};
use crate::control::site::{AnswerWithin, Miner, OperatingPoint};
use crate::miner::{Connection, DriverKind};
use crate::sim::scenario::{Demand, Deviation};
use crate::units::{Hashrate, Watts};

pub use fault::{Fault, FaultError, FaultKind, FaultParams};
pub use physics::{Habits, MinerState, Pace, Physics, Setting, Work};
pub use redfish::{Form as BmcForm, Manner as BmcManner};
pub use zeusd::Manner as ZeusdManner;

use door::Door;
use fault::Faults;
use identity::Identity;

/// What the simulated miners of one driver are like where they differ from others.
#[derive(Debug)]
struct Make {
    /// Account name and password that they come with; empty where the vendor has none.
    account: (&'static str, &'static str),
    /// The large and the small model.
    faces: [Face; 2],
    /// How their firmware behaves.
    habits: Habits,
    /// Connections that are served at once.
    connections: usize,
    /// Serves the vendor's port until cancelled.
    serve: fn(Door, &Connection) -> JoinHandle<()>,
    /// Further ports, open where the miner listens on the vendor's own.
    beside: &'static [Beside],
}

/// What a model says of itself.
#[derive(Clone, Copy, Debug)]
struct Face {
    /// The vendor's model name.
    model: &'static str,
    /// Chips on a board.
    chips: u32,
}

/// A second port.
#[derive(Clone, Copy, Debug)]
struct Beside {
    port: u16,
    /// Connections that are served at once.
    connections: usize,
    /// Serves it until cancelled.
    serve: fn(Door) -> JoinHandle<()>,
}

/// The simulated miners of each driver.
const fn make(driver: DriverKind) -> &'static Make {
    match driver {
        DriverKind::WhatsminerV2 => &whatsminer_v2::MAKE,
        DriverKind::WhatsminerV3 => &whatsminer_v3::MAKE,
        DriverKind::BraiinsOs => &braiins_os::MAKE,
        DriverKind::Vnish => &vnish::MAKE,
        DriverKind::Luxos => &luxos::MAKE,
        DriverKind::BitmainStock => &bitmain_stock::MAKE,
        DriverKind::Epic => &epic::MAKE,
        DriverKind::AxeOs => &axeos::MAKE,
        DriverKind::Avalon => &avalon::MAKE,
        DriverKind::Auradine => &auradine::MAKE,
        DriverKind::CgminerReadOnly => &cgminer_readonly::MAKE,
        DriverKind::Proto => &proto::MAKE,
        DriverKind::Mara => &mara::MAKE,
        DriverKind::SealMiner => &sealminer::MAKE,
        DriverKind::Ballast => &ballast::MAKE,
        DriverKind::Redfish => &redfish::MAKE,
        DriverKind::Zeusd => &zeusd::MAKE,
        DriverKind::Generic => &generic::MAKE,
    }
}

/// How long a reboot on command keeps the control board down.
const REBOOT_TIME: Duration = Duration::from_secs(45);

/// How a miner is when the simulation begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// Hashing, settled, at this fraction of its rated power (the least it can, where that is more).
    Hashing {
        /// From 0 to 1.
        fraction: f64,
    },
    /// Asleep for a while.
    Asleep,
}

/// Why a simulated miner says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The write interface is off.
    WriteDisabled,
    /// It fails for no reason that it would tell.
    Failed,
}

/// What was asked of a miner since the simulation began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    /// Commands about power, sleep and reboot that it understood, obeyed or not.
    pub commands: u64,
    /// Commands that it refused.
    pub refused: u64,
    /// Commands that a power controller has no business with: pools, network, passwords, firmware.
    pub trespasses: u64,
    /// Restarts of mining that a command caused.
    pub restarts: u32,
}

/// One simulated miner. Shared between the plant, which asks for its draw, and its vendor server.
pub struct SimMiner {
    driver: DriverKind,
    identity: Identity,
    username: String,
    password: String,
    rated: Watts,
    nameplate: Watts,
    minimum: Watts,
    maximum: Watts,
    points: Vec<OperatingPoint>,
    best: Hashrate,
    /// How long it takes to answer a command.
    answers: AnswerWithin,
    inner: Mutex<Inner>,
    /// How its BMC behaves, where it is a server.
    bmc: Mutex<BmcManner>,
    /// How its `zeusd` behaves, where it is a server with one.
    zeusd: Mutex<ZeusdManner>,
    changes: watch::Sender<()>,
}

struct Inner {
    physics: Physics,
    faults: Faults,
    tally: Tally,
}

/// Where an answer may take its time ([`AnswerWithin`]), it takes so much of that: of stock Antminers 21 s of 30.
const ANSWERS_AFTER: f64 = 0.7;

/// What a vendor server can see of its miner.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) state: MinerState,
    /// By its own reading.
    pub(super) power: Watts,
    /// The same over some minutes.
    average: Watts,
    pub(super) hashrate: Hashrate,
    pub(super) setting: Option<Setting>,
    pub(super) limit: Watts,
    pub(super) mining_time: Duration,
    pub(super) uptime: Duration,
    warmth: f64,
    write_api_off: bool,
}

/// What stands between a request and its answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Obstacle {
    Nothing,
    Hang,
    Delay(Duration),
    Garbage,
}

/// Whether the control board is on the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reach {
    pub(super) up: bool,
    /// When that changes by itself.
    until: Option<Moment>,
}

impl SimMiner {
    /// A miner as the site describes it, bent by its seed, with the account of its connection (the vendor's
    /// default account where the connection has none).
    pub fn new(spec: &Miner, connection: &Connection, seed: u64, initial: Initial) -> Self {
        Self::differing(spec, connection, seed, initial, &Deviation::NONE)
    }

    /// How long it takes to answer a command that sets its power, and one that puts it to sleep or wakes it.
    pub fn answers(&self) -> AnswerWithin {
        self.answers
    }

    /// The same, as a model that comes with the program; any other word changes nothing.
    #[must_use]
    pub fn of_model(mut self, model: Option<&str>) -> Self {
        if let Some(model) = model {
            self.identity.be(model);
        }
        self
    }

    /// The same, but not quite as its model says.
    pub fn differing(
        spec: &Miner,
        connection: &Connection,
        seed: u64,
        initial: Initial,
        differs: &Deviation,
    ) -> Self {
        let habits = Habits::of(connection.driver);
        let physics = Physics::new(spec, connection.rated, habits, seed, initial, differs);
        let (username, password) = make(connection.driver).account;
        let account = connection.credentials.as_ref();
        Self {
            driver: connection.driver,
            identity: Identity::new(connection, seed),
            username: account
                .and_then(|account| account.username.clone())
                .unwrap_or_else(|| username.to_owned()),
            password: account
                .map_or_else(|| password.to_owned(), |account| account.password.expose().to_owned()),
            rated: physics.limit(),
            nameplate: spec.nameplate.max(spec.maximum()),
            minimum: spec.minimum(),
            maximum: spec.maximum(),
            points: spec.points.clone(),
            best: spec.points.last().map_or(Hashrate::ZERO, |point| point.hashrate),
            answers: AnswerWithin {
                set: spec.answer_within.set.mul_f64(ANSWERS_AFTER),
                switch: spec.answer_within.switch.mul_f64(ANSWERS_AFTER),
            },
            inner: Mutex::new(Inner { physics, faults: Faults::default(), tally: Tally::default() }),
            bmc: Mutex::default(),
            zeusd: Mutex::default(),
            changes: watch::Sender::new(()),
        }
    }

    /// The same with jobs, each from a time since the start on: it draws no more than they ask for. `spec` is its own.
    #[must_use]
    pub fn with_jobs(mut self, spec: &Miner, jobs: Vec<(Duration, Demand)>) -> Self {
        self.inner.get_mut().unwrap_or_else(PoisonError::into_inner).physics.take_jobs(spec, jobs);
        self
    }

    /// The work that it was asked for and has done, up to when its draw was last asked for; `None` without jobs.
    pub fn work(&self) -> Option<Work> {
        self.lock().physics.work()
    }

    /// Never held across an await; a panic elsewhere leaves a state that is still worth reading.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True draw at the wall.
    pub fn power(&self, now: Moment) -> Watts {
        self.lock().physics.power(now)
    }

    /// True draw and hashrate, and up to when the draw stands still unless a command comes; see [`Physics::pulse`].
    pub fn pulse(&self, now: Moment) -> (Watts, Hashrate, Moment) {
        self.lock().physics.pulse(now)
    }

    /// True hashrate.
    pub fn hashrate(&self, now: Moment) -> Hashrate {
        self.lock().physics.hashrate(now)
    }

    /// What it does in truth.
    pub fn state(&self, now: Moment) -> MinerState {
        self.lock().physics.state(now)
    }

    /// What was asked of it.
    pub fn tally(&self) -> Tally {
        let inner = self.lock();
        Tally { restarts: inner.physics.restarts(), ..inner.tally }
    }

    /// Lets something go wrong. A fault of the same kind is replaced.
    pub fn inject(&self, fault: Fault, now: Moment) {
        {
            let mut inner = self.lock();
            match fault {
                Fault::Reboot { off_for } => inner.physics.cut(off_for, now),
                Fault::Trips => inner.physics.trip(now),
                Fault::PowerCut { boot } => inner.physics.black_out(boot, now),
                _ => inner.faults.set(fault),
            }
        }
        self.changes.send_replace(());
    }

    /// Ends a fault. A reboot ends by itself.
    pub fn clear(&self, kind: FaultKind, now: Moment) {
        {
            let mut inner = self.lock();
            match kind {
                FaultKind::Trips => inner.physics.untrip(now),
                FaultKind::PowerCut => inner.physics.power_returns(now),
                _ => inner.faults.unset(kind),
            }
        }
        self.changes.send_replace(());
    }

    /// Carries out a command, unless a fault stands in the way.
    fn command(&self, obey: impl FnOnce(&mut Physics)) -> Result<(), Refusal> {
        let result = {
            let mut inner = self.lock();
            let refusal = if inner.faults.write_api_off {
                Some(Refusal::WriteDisabled)
            } else if inner.faults.rejects {
                Some(Refusal::Failed)
            } else {
                None
            };
            if let Some(refusal) = refusal {
                inner.tally.refused += 1;
                Err(refusal)
            } else {
                inner.tally.commands += 1;
                if !inner.faults.ignores {
                    obey(&mut inner.physics);
                }
                Ok(())
            }
        };
        self.changes.send_replace(());
        result
    }

    /// Sets the power in watts.
    ///
    /// # Errors
    /// [`Refusal`] while a fault makes it refuse.
    pub fn set_power(&self, power: Watts, now: Moment) -> Result<(), Refusal> {
        self.command(|physics| physics.set(Setting::Watts(power), Pace::Quick, now))
    }

    /// Sets the power in percent of the stable power at 100 %.
    ///
    /// # Errors
    /// [`Refusal`] while a fault makes it refuse.
    pub fn set_percent(&self, percent: f64, pace: Pace, now: Moment) -> Result<(), Refusal> {
        self.command(|physics| physics.set(Setting::Percent(percent), pace, now))
    }

    /// Goes back to the power limit.
    ///
    /// # Errors
    /// [`Refusal`] while a fault makes it refuse.
    pub fn restore(&self, now: Moment) -> Result<(), Refusal> {
        self.command(|physics| physics.restore(now))
    }

    /// Stops mining.
    ///
    /// # Errors
    /// [`Refusal`] while a fault makes it refuse.
    pub fn sleep(&self, now: Moment) -> Result<(), Refusal> {
        self.command(|physics| physics.sleep(now))
    }

    /// Starts mining.
    ///
    /// # Errors
    /// [`Refusal`] while a fault makes it refuse.
    pub fn wake(&self, now: Moment) -> Result<(), Refusal> {
        self.command(|physics| physics.wake(now))
    }

    /// Restarts the mining software, with a new power limit or the old one.
    ///
    /// # Errors
    /// [`Refusal`] while a fault makes it refuse.
    pub fn restart(&self, limit: Option<Watts>, now: Moment) -> Result<(), Refusal> {
        self.command(|physics| physics.restart(limit, now))
    }

    /// Restarts the control board.
    ///
    /// # Errors
    /// [`Refusal`] while a fault makes it refuse.
    pub fn reboot(&self, now: Moment) -> Result<(), Refusal> {
        self.command(|physics| physics.reboot(REBOOT_TIME, now))
    }

    /// Hashrate at the highest operating point, in hashes a second: what the plate says.
    fn top_hashrate(&self) -> f64 {
        self.best.get()
    }

    /// A command came that is none of a power controller's business.
    fn trespass(&self) {
        let mut inner = self.lock();
        inner.tally.trespasses += 1;
    }

    pub(super) fn view(&self, now: Moment) -> View {
        let mut inner = self.lock();
        let factor = inner.faults.lies.unwrap_or(1.0);
        let write_api_off = inner.faults.write_api_off;
        let physics = &mut inner.physics;
        View {
            power: physics.reported(now).scaled(factor),
            average: physics.average(now).scaled(factor),
            state: physics.state(now),
            hashrate: physics.hashrate(now),
            setting: physics.shown_setting(now),
            limit: physics.limit(),
            mining_time: physics.mining_time(now),
            uptime: physics.uptime(now),
            warmth: physics.warmth(now),
            write_api_off,
        }
    }

    pub(super) fn obstacle(&self) -> Obstacle {
        let faults = self.lock().faults;
        match (faults.hang, faults.garbage, faults.slow) {
            (true, _, _) => Obstacle::Hang,
            (_, true, _) => Obstacle::Garbage,
            (_, _, Some(delay)) => Obstacle::Delay(delay),
            _ => Obstacle::Nothing,
        }
    }

    pub(super) fn reach(&self, now: Moment) -> Reach {
        let mut inner = self.lock();
        let until = inner.physics.next_boot_change(now);
        let up = !inner.faults.unreachable && inner.physics.state(now) != MinerState::Rebooting;
        Reach { up, until }
    }

    /// Changes how its BMC behaves, where it is a server.
    pub fn bmc<T>(&self, change: impl FnOnce(&mut BmcManner) -> T) -> T {
        change(&mut self.bmc.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes how its `zeusd` behaves, where it is a server with one.
    pub fn zeusd<T>(&self, change: impl FnOnce(&mut ZeusdManner) -> T) -> T {
        change(&mut self.zeusd.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether what it says yes to is carried out.
    pub(super) fn obeys(&self) -> bool {
        !self.lock().faults.ignores
    }

    /// Waits until it no longer hangs.
    async fn unhung(&self) {
        let mut changes = self.changes.subscribe();
        while self.obstacle() == Obstacle::Hang {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

/// A vendor server that runs. Dropping the handle does not stop it; its cancellation token does.
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    task: JoinHandle<()>,
    beside: Vec<JoinHandle<()>>,
}

impl ServerHandle {
    /// Where it listens; the port is the one that was assigned if the endpoint asked for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the server has ended; its connections end with it.
    pub async fn finished(self) {
        // The task ends by cancellation of its token; a panic in it has been printed already.
        let _ended = self.task.await;
        for beside in self.beside {
            let _ended = beside.await;
        }
    }
}

/// Binds the endpoint of a connection and answers there as the vendor's firmware does, until cancelled.
///
/// On the vendor's own port a miner also opens the further ports that its firmware has (the old reading port 4028, a
/// page on port 80, gRPC on port 50051), so that other tools recognise and read it; where one is taken it goes without.
///
/// Each miner takes one file descriptor for its listener and one per connection, and no thread.
///
/// # Errors
/// Refuses an address that is not loopback, and passes on why the address cannot be bound.
pub async fn serve(
    miner: Arc<SimMiner>,
    connection: &Connection,
    clock: Clock,
    cancel: CancellationToken,
) -> std::io::Result<ServerHandle> {
    let endpoint = &connection.endpoint;
    let host = if endpoint.host == "localhost" { "127.0.0.1" } else { &endpoint.host };
    let refuse = |reason: &str| {
        std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            format!(
                "the simulated miner \"{}\" cannot listen on {endpoint}: {reason}; use an address of 127.0.0.0/8",
                connection.name
            ),
        )
    };
    let address: IpAddr = host.parse().map_err(|_| refuse("this is not an IP address"))?;
    if !address.is_loopback() {
        return Err(refuse("this is not a loopback address"));
    }
    let make = make(connection.driver);
    let door = Door::open(
        Arc::clone(&miner),
        SocketAddr::new(address, endpoint.port),
        clock,
        cancel.clone(),
        make.connections,
    )
    .await
    .map_err(|error| {
        std::io::Error::new(
            error.kind(),
            format!("the simulated miner \"{}\" cannot listen on {endpoint}: {error}", connection.name),
        )
    })?;
    let address = door.address();
    let task = (make.serve)(door, connection);
    let mut beside = Vec::new();
    if connection.endpoint.port == connection.driver.traits().port {
        for second in make.beside {
            let place = SocketAddr::new(address.ip(), second.port);
            match Door::open(Arc::clone(&miner), place, clock, cancel.clone(), second.connections).await {
                Ok(door) => beside.push((second.serve)(door)),
                Err(error) => {
                    tracing::warn!(miner = %connection.name, %place, %error, "no second port");
                }
            }
        }
    }
    Ok(ServerHandle { address, task, beside })
}

/// A number for JSON without a fraction, as firmware writes watts.
#[expect(clippy::cast_possible_truncation, reason = "clamped to a range that both types hold exactly")]
fn whole(value: f64) -> i64 {
    value.round().clamp(-9e15, 9e15) as i64
}

/// A number for JSON with few digits, as firmware writes measured values.
fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests;
