//! What a meter can tell beside the power that the control law follows.

use serde::{Deserialize, Serialize};

use crate::control::snapshot::Reading;

/// What a point of a meter tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Measure {
    /// Total active power, in watts, import positive.
    Power,
    /// Active power of phase 1, in watts, import positive.
    PowerL1,
    /// Of phase 2.
    PowerL2,
    /// Of phase 3.
    PowerL3,
    /// Voltage from phase 1 to neutral, in volts.
    VoltageL1,
    /// Of phase 2.
    VoltageL2,
    /// Of phase 3.
    VoltageL3,
    /// Frequency, in hertz.
    Frequency,
    /// Active energy taken in, in watt-hours since the meter began to count.
    EnergyImport,
    /// Active energy given out, in watt-hours since the meter began to count.
    EnergyExport,
    /// How full the battery is, in percent.
    StateOfCharge,
}

impl Measure {
    /// Every measure with its name in TOML, power first.
    pub const NAMES: [(&'static str, Self); 11] = [
        ("power", Self::Power),
        ("power_l1", Self::PowerL1),
        ("power_l2", Self::PowerL2),
        ("power_l3", Self::PowerL3),
        ("voltage_l1", Self::VoltageL1),
        ("voltage_l2", Self::VoltageL2),
        ("voltage_l3", Self::VoltageL3),
        ("frequency", Self::Frequency),
        ("energy_import", Self::EnergyImport),
        ("energy_export", Self::EnergyExport),
        ("state_of_charge", Self::StateOfCharge),
    ];

    /// As written in TOML.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::PowerL1 => "power_l1",
            Self::PowerL2 => "power_l2",
            Self::PowerL3 => "power_l3",
            Self::VoltageL1 => "voltage_l1",
            Self::VoltageL2 => "voltage_l2",
            Self::VoltageL3 => "voltage_l3",
            Self::Frequency => "frequency",
            Self::EnergyImport => "energy_import",
            Self::EnergyExport => "energy_export",
            Self::StateOfCharge => "state_of_charge",
        }
    }

    /// The unit that the scales of its registers lead to.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Power | Self::PowerL1 | Self::PowerL2 | Self::PowerL3 => "W",
            Self::VoltageL1 | Self::VoltageL2 | Self::VoltageL3 => "V",
            Self::Frequency => "Hz",
            Self::EnergyImport | Self::EnergyExport => "Wh",
            Self::StateOfCharge => "%",
        }
    }

    /// Whether its sign says which way the power flows.
    pub const fn is_power(self) -> bool {
        matches!(self, Self::Power | Self::PowerL1 | Self::PowerL2 | Self::PowerL3)
    }

    /// Its place in [`Self::NAMES`].
    fn index(self) -> usize {
        Self::NAMES.iter().position(|(_, measure)| *measure == self).unwrap_or(usize::MAX)
    }
}

/// The latest good value of each measure of a meter but its power, each with its own stamp. A measure that the meter
/// does not have, or has not yet told, is `None`; its age tells whether it is stale.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Readings {
    values: [Option<Reading<f64>>; Measure::NAMES.len()],
}

impl Readings {
    /// Nothing known.
    pub const NONE: Self = Self { values: [None; Measure::NAMES.len()] };

    /// The latest value, in the unit of the measure.
    pub fn get(&self, measure: Measure) -> Option<Reading<f64>> {
        self.values.get(measure.index()).copied().flatten()
    }

    /// Takes a value, which should be finite.
    pub fn set(&mut self, measure: Measure, reading: Reading<f64>) {
        if let Some(slot) = self.values.get_mut(measure.index()) {
            *slot = Some(reading);
        }
    }

    /// All values there are, in the order of [`Measure::NAMES`].
    pub fn iter(&self) -> impl Iterator<Item = (Measure, Reading<f64>)> + '_ {
        Measure::NAMES.iter().filter_map(|(_, measure)| Some((*measure, self.get(*measure)?)))
    }
}
