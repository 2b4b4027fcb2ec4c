//! What happens in a scenario: changes of the plant, faults of meters and miners.

use std::time::Duration;

use super::{Named, Noise, quantity};
use crate::units::Watts;

/// A change of the plant for a while: it comes within `over`, stays until the end of `lasting`, goes within `over`.
#[derive(Debug, Clone, PartialEq)]
pub struct PlantEvent {
    /// When it begins, in scenario time.
    pub at: Duration,
    /// How long until it begins to go away; `None` for ever.
    pub lasting: Option<Duration>,
    /// How long it takes to come and to go.
    pub over: Duration,
    /// What changes.
    pub change: Change,
    /// The circuit on which a load changes; `None` is that of the other load. Nothing else has one.
    pub circuit: Option<Named>,
}

/// What an event changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// This much more (or less) other load.
    LoadBy(Watts),
    /// The output of the photovoltaic plant is this, whatever the sun does.
    SunTo(Watts),
    /// The output of the photovoltaic plant is multiplied by this.
    SunTimes(f64),
    /// The other load becomes whatever leaves this surplus; below zero it is a shortage.
    SurplusTo(Watts),
    /// The frequency of the mains is this, in hertz.
    FrequencyTo(f64),
    /// The voltage of the mains, from each phase to neutral, is this, in volts.
    VoltageTo(f64),
}

impl PlantEvent {
    /// How much of the change is in effect, 0 to 1.
    pub fn weight(&self, time: Duration) -> f64 {
        let ramp = |since: Duration| {
            if self.over.is_zero() { 1.0 } else { (since.as_secs_f64() / self.over.as_secs_f64()).min(1.0) }
        };
        let Some(since) = time.checked_sub(self.at) else {
            return 0.0;
        };
        let coming = ramp(since);
        match self.lasting.and_then(|lasting| since.checked_sub(lasting)) {
            None => coming,
            Some(after) => (coming - ramp(after)).max(0.0),
        }
    }
}

/// A cap that the operator sets for a while. Played in simulated time alone: a running daemon takes orders from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderEvent {
    /// When it begins, in scenario time.
    pub at: Duration,
    /// How long it holds; `None` for ever.
    pub lasting: Option<Duration>,
    /// The circuit that it caps.
    pub circuit: Named,
    /// How much.
    pub cap: Watts,
    /// It caps the draw of the circuit's miners, not what flows into the circuit.
    pub miners: bool,
    /// Miners may be put to sleep where lowering would be slower.
    pub emergency: bool,
}

impl OrderEvent {
    /// Whether it holds at a time.
    pub fn holds(&self, time: Duration) -> bool {
        time >= self.at && self.lasting.is_none_or(|lasting| time < self.at.saturating_add(lasting))
    }
}

/// What can go wrong with a meter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MeterFault {
    /// The whole link closes its connections and refuses new ones, all its units with it.
    Refuse,
    /// The whole link takes connections and requests and never says a word, not even for units that are not there.
    Mute,
    /// The whole link takes so many clients and no more.
    Clients {
        /// 1 to 64.
        most: usize,
        /// Who has to go when there is one too many.
        keeps: Keeps,
    },
    /// The registers keep their last value.
    Frozen,
    /// The registers hold the profile's "no value" pattern, or NaN where the format has one.
    Unavailable,
    /// The value is wrong by this much.
    Offset(Watts),
    /// The value is multiplied by this: a wrong transformer ratio, a turned sign.
    Factor(f64),
    /// The value is this, whatever flows: a glitch of the device or of its gateway.
    Glitch(Watts),
    /// Zero watts, volts and hertz: the device lives and its voltage taps are off.
    NoVoltage,
    /// The noise is this, instead of the meter's own.
    Noise(Noise),
    /// The value is the one of so long ago, at most ten minutes.
    Delay(Duration),
    /// The registers change only this often, 50 ms to 1 h.
    Refresh(Duration),
    /// The filter has this time constant, at most 1 h.
    Lag(Duration),
    /// Answers are wrong, or do not come.
    Answers {
        /// In which way.
        bend: Bend,
        /// Only every nth answer; 1 for each, at most 1,000.
        every: u32,
    },
}

/// Which clients stay when a link has more than it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keeps {
    /// Those that were there: further ones are closed as they come.
    #[default]
    First,
    /// Those that came last: the oldest is thrown out.
    Last,
}

impl Keeps {
    /// As written in a scenario.
    pub const NAMES: [(&'static str, Self); 2] = [("first", Self::First), ("last", Self::Last)];
}

/// How an answer goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bend {
    /// It does not come.
    Silent,
    /// The connection is reset instead. Not on a serial port.
    Reset,
    /// It is this exception code.
    Exception(u8),
    /// It comes so much later, at most a minute, to whom it belongs, if it is still there. Nothing else is heard on
    /// that connection in the meantime.
    Slow(Duration),
    /// It comes so much later, at most a minute, to whoever is connected then. What the unit is asked in the meantime
    /// is answered afterwards: devices answer in order.
    Late(Duration),
    /// It has one register too few, in a frame that is consistent otherwise.
    Short,
    /// It ends in the middle, and nothing follows.
    CutOff,
    /// Its byte count is two more than the bytes that follow.
    Count,
    /// It carries another function than the request.
    Function,
    /// It carries another unit than the request.
    Unit,
    /// It carries the transaction id of another request; on serial lines, which have none, another unit.
    Crossed,
    /// Its check is wrong. On serial lines only.
    Crc,
    /// It comes twice.
    Twice,
}

/// What goes wrong with a miner; the simulated miner gives the name its meaning.
#[derive(Debug, Clone, PartialEq)]
pub struct MinerFault {
    /// Name of the fault, like `unreachable`.
    pub kind: String,
    /// Its parameters, as they stand in the file.
    pub with: toml::Table,
}

impl MinerFault {
    /// A parameter that is a duration.
    ///
    /// # Errors
    /// Words for people, when it is something else.
    pub fn duration(&self, key: &str) -> Result<Option<Duration>, String> {
        self.parameter(key, |value| quantity::duration(value.as_str()?), "a duration like \"5s\"")
    }

    /// A parameter that is a percentage, as a fraction.
    ///
    /// # Errors
    /// Words for people, when it is something else.
    pub fn fraction(&self, key: &str) -> Result<Option<f64>, String> {
        self.parameter(key, |value| quantity::fraction(value.as_str()?), "a percentage like \"5 %\"")
    }

    /// A parameter that is a power.
    ///
    /// # Errors
    /// Words for people, when it is something else.
    pub fn power(&self, key: &str) -> Result<Option<Watts>, String> {
        self.parameter(key, |value| quantity::power(value.as_str()?), "a power like \"3 kW\"")
    }

    /// A parameter that is a plain number.
    ///
    /// # Errors
    /// Words for people, when it is something else.
    pub fn number(&self, key: &str) -> Result<Option<f64>, String> {
        self.parameter(
            key,
            |value| value.as_float().or_else(|| i32::try_from(value.as_integer()?).ok().map(f64::from)),
            "a number",
        )
    }

    /// Refuses parameters that are not among these.
    ///
    /// # Errors
    /// Words for people that name the first other one.
    pub fn only(&self, known: &[&str]) -> Result<(), String> {
        match self.with.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(format!("the fault `{}` has no parameter `{key}`", self.kind)),
        }
    }

    fn parameter<T>(
        &self,
        key: &str,
        parse: impl Fn(&toml::Value) -> Option<T>,
        wanted: &str,
    ) -> Result<Option<T>, String> {
        match self.with.get(key) {
            None => Ok(None),
            Some(value) => parse(value)
                .map(Some)
                .ok_or_else(|| format!("`{key}` of the fault `{}` must be {wanted}", self.kind)),
        }
    }
}

/// Which miners a fault befalls.
#[derive(Debug, Clone, PartialEq)]
pub struct MinerChoice {
    /// Pattern for their names.
    pub name: Named,
    /// Only those below this circuit.
    pub circuit: Option<Named>,
    /// How many of those.
    pub part: Part,
}

/// How many of the chosen miners are meant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Part {
    /// All of them.
    All,
    /// The first so many in the order of the configuration.
    Count(usize),
    /// This fraction, above 0 and at most 1, spread evenly over the order of the configuration.
    Share(f64),
}

/// A fault of devices, in real time since the start.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultEvent {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts; `None` for ever.
    pub lasting: Option<Duration>,
    /// Of what.
    pub fault: Fault,
}

/// A fault of meters or of miners.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The whole site is without power: nothing is generated and drawn, no meter and no miner answers. When the power is
    /// back, every miner starts by itself and goes to its maximum.
    Outage {
        /// From the return of the power until a miner answers again.
        boot: Duration,
    },
    /// Of every meter that fits the pattern.
    Meter {
        /// Which.
        name: Named,
        /// What.
        fault: MeterFault,
    },
    /// Of miners.
    Miner {
        /// Which.
        choice: MinerChoice,
        /// What.
        fault: MinerFault,
    },
    /// No fault, but a contact that speaks, as its source calls it.
    Contact {
        /// The source of orders that reads it.
        source: Named,
        /// Its name there.
        name: Named,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_comes_stays_and_goes() {
        let event = PlantEvent {
            at: Duration::from_secs(60),
            lasting: Some(Duration::from_secs(30)),
            over: Duration::from_secs(4),
            change: Change::SunTimes(0.0),
            circuit: None,
        };
        let weight = |s: f64| event.weight(Duration::from_secs_f64(s));
        for (at, expected) in [
            (0.0, 0.0),
            (60.0, 0.0),
            (61.0, 0.25),
            (64.0, 1.0),
            (90.0, 1.0),
            (92.0, 0.5),
            (94.0, 0.0),
            (1000.0, 0.0),
        ] {
            assert!((weight(at) - expected).abs() < 1e-9, "{at}: {}", weight(at));
        }
    }
}
