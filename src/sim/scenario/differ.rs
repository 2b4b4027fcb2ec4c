//! Miners that differ from what the configuration says of them: `[[differ]]`; and which miners are meant, for faults too.
//!
//! The controller is told the model, the plant has this.

use std::ops::RangeInclusive;

use toml::Spanned;

use super::quantity::{Share, Size};
use super::raw::RawDiffer;
use super::read::Source;
use super::{MinerChoice, Named, Part, Place, ScenarioError};
use crate::units::Watts;

/// How some miners differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Differ {
    /// Which miners.
    pub choice: MinerChoice,
    /// The least that they can draw while hashing: a power, or a fraction of their highest one.
    pub floor: Option<Size>,
    /// What they draw asleep.
    pub sleep: Option<Watts>,
    /// Every power that they tell is the true one multiplied by this.
    pub readings: Option<f64>,
    /// How much faster they follow a setting: ramps and dead times.
    pub pace: Option<f64>,
    /// How much longer they take to start.
    pub start_time: Option<f64>,
}

/// How one miner differs from its model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deviation {
    /// The least that it can draw while hashing; `None` as the model says.
    pub floor: Option<Size>,
    /// What it draws asleep; `None` as the model says.
    pub sleep: Option<Watts>,
    /// Every power that it tells is the true one multiplied by this.
    pub readings: f64,
    /// How much faster it follows a setting.
    pub pace: f64,
    /// How much longer it takes to start.
    pub start_time: f64,
}

impl Deviation {
    /// As the model says.
    pub const NONE: Self = Self { floor: None, sleep: None, readings: 1.0, pace: 1.0, start_time: 1.0 };

    /// Takes over what is said of it.
    pub fn bend(&mut self, by: &Differ) {
        self.floor = by.floor.or(self.floor);
        self.sleep = by.sleep.or(self.sleep);
        self.readings = by.readings.unwrap_or(self.readings);
        self.pace = by.pace.unwrap_or(self.pace);
        self.start_time = by.start_time.unwrap_or(self.start_time);
    }
}

/// How wrong readings may be.
const READINGS: RangeInclusive<f64> = 0.0..=10.0;

/// How fast or slow a miner may be.
const PACE: RangeInclusive<f64> = 0.05..=20.0;

pub(super) fn read(source: &Source<'_>, raw: &RawDiffer) -> Result<Differ, ScenarioError> {
    let name = match &raw.name {
        Some(name) => source.named(name),
        None => Named { text: "*".into(), place: Place::default() },
    };
    let floor = match &raw.floor {
        None => None,
        Some(floor) => match floor.get_ref().0 {
            Size::Share(share) if (0.0..=1.0).contains(&share) => Some(Size::Share(share)),
            Size::Power(power) if power >= Watts::ZERO => Some(Size::Power(power)),
            _ => return Err(source.error(floor.span(), "a floor is a power, or 0 % to 100 % of the highest")),
        },
    };
    let sleep = match &raw.sleep {
        Some(sleep) if sleep.get_ref().0 < Watts::ZERO => {
            return Err(source.error(sleep.span(), "must not be negative"));
        }
        sleep => sleep.as_ref().map(|sleep| sleep.get_ref().0),
    };
    Ok(Differ {
        choice: choice(source, name, &raw.circuit, &raw.count, &raw.share)?,
        floor,
        sleep,
        readings: factor(source, raw.readings.as_ref(), READINGS)?,
        pace: factor(source, raw.pace.as_ref(), PACE)?,
        start_time: factor(source, raw.start_time.as_ref(), PACE)?,
    })
}

fn factor(
    source: &Source<'_>,
    factor: Option<&Spanned<f64>>,
    range: RangeInclusive<f64>,
) -> Result<Option<f64>, ScenarioError> {
    match factor {
        None => Ok(None),
        Some(factor) if range.contains(factor.get_ref()) => Ok(Some(*factor.get_ref())),
        Some(factor) => {
            Err(source
                .error(factor.span(), format!("must lie between {} and {}", range.start(), range.end())))
        }
    }
}

/// Which miners are meant.
pub(super) fn choice(
    source: &Source<'_>,
    name: Named,
    circuit: &Option<Spanned<String>>,
    count: &Option<Spanned<usize>>,
    share: &Option<Spanned<Share>>,
) -> Result<MinerChoice, ScenarioError> {
    let part = match (count, share) {
        (None, None) => Part::All,
        (Some(count), None) if *count.get_ref() == 0 => {
            return Err(source.error(count.span(), "a fault of no miner is none; `count` starts at 1"));
        }
        (Some(count), None) => Part::Count(*count.get_ref()),
        (None, Some(share)) => match share.get_ref().0 {
            fraction if fraction > 0.0 && fraction <= 1.0 => Part::Share(fraction),
            _ => return Err(source.error(share.span(), "`share` is above 0 % and at most 100 %")),
        },
        (Some(_), Some(share)) => {
            return Err(source.error(share.span(), "miners are chosen by `count` or by `share`, not by both"));
        }
    };
    Ok(MinerChoice { name, circuit: circuit.as_ref().map(|name| source.named(name)), part })
}
