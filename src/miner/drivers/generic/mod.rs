//! A device of the operator's own: a switch or a setpoint behind HTTP or Modbus TCP, described in the configuration
//! (`[drivers.NAME]`). A smart outlet, a contactor's coil, a heater's controller can be ballast, too.
//!
//! Nothing is known of such a device but what the description says, so everything is read back: a device that says yes
//! and does not do it has refused. Where a setpoint can be lowered and the device be switched, the setpoint goes first
//! when it rises from sleep, so that it never runs at an older, higher one.
//!
//! [`http`] and [`modbus`] carry the requests; this file decides which.

pub mod http;
pub mod modbus;

use std::time::Duration;

use async_trait::async_trait;
use reqwest::Client;

use crate::control::site::{AnswerWithin, ChangeCost, Response};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::miner::kind::{About, Class, DriverKind, Quantum, Traits};
use crate::miner::reply::fields::measured;
use crate::miner::wire::Place;
use crate::miner::{Connection, Driver, DriverError, Urgency};
use crate::units::{Watts, WattsPerSecond};

/// What is known of such a miner before it was spoken with.
pub(in crate::miner) const ABOUT: About = About {
    name: "generic",
    // Secrets of a device of the operator's own stand in its description.
    needs_password: false,
    new: |connection, http| Box::new(Generic::new(connection, http)),
    // A switch or a heater: nothing is known of it but what its description says. Cautious guesses; the class
    // and the port are those of the description.
    traits: Traits {
        quantum: Quantum::Watts(Watts::whole(1)),
        class: Class::OnOff,
        restarts: false,
        persists: true,
        answers: AnswerWithin::NONE,
        response: Response {
            dead_time_down: Duration::from_secs(2),
            dead_time_up: Duration::from_secs(2),
            ramp_down: WattsPerSecond::whole(1_000),
            ramp_up: WattsPerSecond::whole(1_000),
            start_time: Duration::from_secs(5),
            starts_at_full: true,
            start_overshoot: 0.05,
            caps: false,
        },
        // Contactors wear with every cycle.
        cost: ChangeCost {
            adjust: Duration::from_secs(1),
            sleep: Duration::from_secs(300),
            min_interval: Duration::from_secs(60),
        },
        port: 80,
        username: None,
    },
};

/// A device gets this long to show what it said yes to, before it is read a second and last time.
const SETTLE: Duration = Duration::from_millis(300);
/// How far a setpoint that reads back may lie from the one that was sent, as a fraction: devices round.
const READ_BACK: f64 = 0.01;
/// The largest setpoint that is ever sent.
const MAX_WATTS: f64 = 1e6;

/// What a setpoint counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Watts at the wall.
    Watts,
    /// Percent of the rated power.
    Percent,
}

/// How a device is reached and spoken to.
#[derive(Clone, Debug, PartialEq)]
pub enum Protocol {
    /// Requests over HTTP.
    Http(Box<http::Description>),
    /// Coils and registers over Modbus TCP.
    Modbus(modbus::Description),
}

/// A device, as `[drivers.NAME]` describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// The name in the configuration.
    pub name: String,
    /// TCP port, unless a miner says otherwise.
    pub port: u16,
    /// What a setpoint counts; `None`: the device can be switched, and nothing else.
    pub setpoint: Option<Unit>,
    /// How it is spoken to.
    pub protocol: Protocol,
}

impl Description {
    /// What its actuator can do: those of the kind, with the class and the port of the description.
    pub fn traits(&self) -> Traits {
        let class = if self.setpoint.is_some() { Class::Continuous } else { Class::OnOff };
        Traits { class, port: self.port, ..DriverKind::Generic.traits() }
    }
}

/// The ways of one protocol.
enum Wire {
    Http(Box<http::Http>),
    Modbus(modbus::Modbus),
}

/// Speaks with one device.
pub struct Generic {
    place: Place,
    rated: Watts,
    setpoint: Option<Unit>,
    wire: Option<Wire>,
}

impl Generic {
    /// For one device. Nothing is sent yet. A connection without a description refuses everything.
    pub fn new(connection: &Connection, http: &Client) -> Self {
        let wire = connection.device.as_ref().map(|device| match &device.protocol {
            Protocol::Http(description) => {
                Wire::Http(Box::new(http::Http::new(connection, description, http)))
            }
            Protocol::Modbus(description) => Wire::Modbus(modbus::Modbus::new(connection, description)),
        });
        Self {
            place: Place::new(connection),
            rated: connection.rated,
            setpoint: connection.device.as_ref().and_then(|device| device.setpoint),
            wire,
        }
    }

    fn wire(&self) -> Result<&Wire, DriverError> {
        let none = || self.place.other("anything", "there is no description of this device", &[]);
        self.wire.as_ref().ok_or_else(none)
    }

    /// Whether it is switched on.
    async fn is_on(&self) -> Result<bool, DriverError> {
        match self.wire()? {
            Wire::Http(http) => http.is_on().await,
            Wire::Modbus(modbus) => modbus.is_on().await,
        }
    }

    async fn power(&self) -> Result<Option<Option<f64>>, DriverError> {
        match self.wire()? {
            Wire::Http(http) => http.power().await,
            Wire::Modbus(modbus) => modbus.power().await,
        }
    }

    /// The setpoint in watts, where it can be read.
    async fn target(&self) -> Result<Option<f64>, DriverError> {
        let value = match self.wire()? {
            Wire::Http(http) => http.target().await?,
            Wire::Modbus(modbus) => modbus.target().await?,
        };
        Ok(value.map(|value| match self.setpoint {
            Some(Unit::Percent) => self.rated.get() * value / 100.0,
            Some(Unit::Watts) | None => value,
        }))
    }

    /// What was read after a change: that it cannot be read is no refusal of the change.
    fn after<T>(&self, read: Result<T, DriverError>) -> Result<T, DriverError> {
        read.map_err(|error| self.place.halfway("it said yes", error))
    }

    /// Switches it, and sees that it did.
    async fn switch(&self, on: bool) -> Result<(), DriverError> {
        match self.wire()? {
            Wire::Http(http) => http.switch(on).await?,
            Wire::Modbus(modbus) => modbus.switch(on).await?,
        }
        if self.after(self.is_on().await)? == on {
            return Ok(());
        }
        tokio::time::sleep(SETTLE).await;
        if self.after(self.is_on().await)? == on {
            return Ok(());
        }
        let words = if on { "it said yes and is still off" } else { "it said yes and is still on" };
        Err(self.place.other("a switch", words, &[]))
    }

    /// Sends a setpoint, never more than asked for, and sees that it was taken where that can be read.
    async fn set(&self, unit: Unit, power: Watts) -> Result<(), DriverError> {
        let name = "a setpoint";
        let wanted = match unit {
            Unit::Watts => power.get().floor(),
            Unit::Percent => {
                // A thousandth of a watt lets a whole percent survive the rounding of binary fractions.
                let share = (power.get() + 1e-3) / self.rated.get().max(1.0);
                (share * 100.0).floor().min(100.0)
            }
        };
        if !(1.0..=MAX_WATTS).contains(&wanted) {
            return Err(self.place.rejected(name, Rejection::OutOfRange));
        }
        match self.wire()? {
            Wire::Http(http) => http.set(unit, wanted).await?,
            Wire::Modbus(modbus) => modbus.set(wanted).await?,
        }
        let watts = match unit {
            Unit::Watts => wanted,
            Unit::Percent => self.rated.get() * wanted / 100.0,
        };
        let taken =
            |read: Option<f64>| read.is_none_or(|read| (read - watts).abs() <= watts * READ_BACK + 1.0);
        if taken(self.after(self.target().await)?) {
            return Ok(());
        }
        tokio::time::sleep(SETTLE).await;
        if taken(self.after(self.target().await)?) {
            return Ok(());
        }
        Err(self.place.other(name, "it said yes and kept another one", &[]))
    }
}

#[async_trait]
impl Driver for Generic {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        let on = self.is_on().await?;
        let power = match self.power().await? {
            Some(watts) => measured(watts, true, Watts::saturating),
            None => Measured::Unsupported,
        };
        let target = match (on, self.setpoint) {
            (false, _) => Measured::Value(Target::Sleep),
            (true, None) => Measured::Value(Target::Power(self.rated)),
            (true, Some(_)) => match self.target().await? {
                Some(watts) if watts > 0.0 => Measured::Value(Target::Power(Watts::saturating(watts))),
                Some(_) => Measured::Unavailable,
                None => Measured::Unsupported,
            },
        };
        Ok(MinerStatus {
            power,
            hashrate: Measured::Unsupported,
            activity: if on { Activity::Hashing } else { Activity::Asleep },
            target,
            range: None,
            points: None,
            uptime: None,
        })
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        match (target, self.setpoint) {
            (Target::Sleep, _) => self.switch(false).await,
            (Target::Power(power), Some(unit)) => {
                self.set(unit, power).await?;
                if self.after(self.is_on().await)? { Ok(()) } else { self.switch(true).await }
            }
            (Target::Power(power), None) => {
                // On, it draws what it draws: a smaller target cannot be kept.
                if power < self.rated.scaled(0.99) {
                    return Err(self.place.rejected("a power target", Rejection::OutOfRange));
                }
                if self.is_on().await? { Ok(()) } else { self.switch(true).await }
            }
        }
    }

    async fn close(&mut self) {
        // Nothing is open between two exchanges, and there is no login.
    }
}
