//! Miner models: `[models.*]` and the files in `config/models/`. What a miner can draw and what it gives for it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::diagnostic::At;
use super::reader::Table;
use crate::control::site::{ChangeCost, OperatingPoint, Response};
use crate::units::{Watts, WattsPerSecond};

/// More operating points than any firmware offers.
const MOST_POINTS: usize = 100;

/// No miner is that large.
pub(super) const MOST_MINER_POWER: f64 = 100e3;

/// How finely a miner is set, as written in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fineness {
    /// In steps of the driver's quantum.
    Continuous,
    /// At the operating points alone.
    Steps,
    /// Full power or asleep.
    OnOff,
}

/// A miner model.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The name that the configuration uses.
    pub name: String,
    /// Points at which it can run, by rising power; at least one.
    pub points: Vec<OperatingPoint>,
    /// Draw while asleep, where known.
    pub sleep: Option<Watts>,
    /// The most it can ever draw, where known.
    pub nameplate: Option<Watts>,
    /// Draw at 100 %, for firmware that is set in percent; `None`: the highest point.
    pub rated: Option<Watts>,
    /// How finely it is set; `None`: as the driver can.
    pub actuator: Option<Fineness>,
    /// How it follows, where it differs from its driver.
    pub(super) response: ResponseKeys,
}

/// The keys that override a driver's [`Response`] and [`ChangeCost`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ResponseKeys {
    dead_time_down: Option<Duration>,
    dead_time_up: Option<Duration>,
    ramp_down: Option<WattsPerSecond>,
    ramp_up: Option<WattsPerSecond>,
    start_time: Option<Duration>,
    start_overshoot: Option<f64>,
    adjust_cost: Option<Duration>,
    sleep_cost: Option<Duration>,
    min_interval: Option<Duration>,
}

impl ResponseKeys {
    /// Reads the keys from the table of a model, group or miner.
    pub(super) fn read(table: &Table<'_>) -> Self {
        let time = |key, high| {
            table.time(key, Duration::ZERO, Duration::from_secs(high)).map(|at: At<Duration>| at.value)
        };
        let rate = |key| table.rate(key).map(|at| at.value);
        Self {
            dead_time_down: time("dead_time_down", 600),
            dead_time_up: time("dead_time_up", 600),
            ramp_down: rate("ramp_down"),
            ramp_up: rate("ramp_up"),
            start_time: time("start_time", 3_600),
            start_overshoot: table.share("start_overshoot", 1.0).map(|at| at.value),
            adjust_cost: time("adjust_cost", 3_600),
            sleep_cost: time("sleep_cost", 86_400),
            min_interval: time("min_interval", 3_600),
        }
    }

    /// These keys where they are given, else the other ones.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            dead_time_down: self.dead_time_down.or(other.dead_time_down),
            dead_time_up: self.dead_time_up.or(other.dead_time_up),
            ramp_down: self.ramp_down.or(other.ramp_down),
            ramp_up: self.ramp_up.or(other.ramp_up),
            start_time: self.start_time.or(other.start_time),
            start_overshoot: self.start_overshoot.or(other.start_overshoot),
            adjust_cost: self.adjust_cost.or(other.adjust_cost),
            sleep_cost: self.sleep_cost.or(other.sleep_cost),
            min_interval: self.min_interval.or(other.min_interval),
        }
    }

    /// A driver's response with these keys put over it.
    pub(super) fn response(self, driver: Response) -> Response {
        Response {
            dead_time_down: self.dead_time_down.unwrap_or(driver.dead_time_down),
            dead_time_up: self.dead_time_up.unwrap_or(driver.dead_time_up),
            ramp_down: self.ramp_down.unwrap_or(driver.ramp_down),
            ramp_up: self.ramp_up.unwrap_or(driver.ramp_up),
            start_time: self.start_time.unwrap_or(driver.start_time),
            starts_at_full: driver.starts_at_full,
            start_overshoot: self.start_overshoot.unwrap_or(driver.start_overshoot),
            caps: driver.caps,
        }
    }

    /// A driver's costs with these keys put over them.
    pub(super) fn cost(self, driver: ChangeCost) -> ChangeCost {
        ChangeCost {
            adjust: self.adjust_cost.unwrap_or(driver.adjust),
            sleep: self.sleep_cost.unwrap_or(driver.sleep),
            min_interval: self.min_interval.unwrap_or(driver.min_interval),
        }
    }
}

/// Reads `[models.*]`. A model that is wrong is kept with what could be read.
pub(super) fn section<'a>(root: &Table<'a>) -> BTreeMap<&'a str, Model> {
    root.named("models").into_iter().map(|(name, table)| (name.value, model(name.value, table))).collect()
}

/// The key `actuator`.
pub(super) fn fineness(table: &Table<'_>) -> Option<Fineness> {
    table
        .choice(
            "actuator",
            &[("continuous", Fineness::Continuous), ("steps", Fineness::Steps), ("on-off", Fineness::OnOff)],
        )
        .map(|at| at.value)
}

/// Reads a model: the table of a file in `config/models/` or of `[models.NAME]`.
pub(super) fn model(name: &str, table: Table<'_>) -> Model {
    let report = table.report();
    table.text("description");
    let points = points(&table);
    let sleep = table.power("sleep", 0.0, MOST_MINER_POWER);
    let nameplate = table.power("nameplate", 1.0, MOST_MINER_POWER);
    let rated = table.power("rated", 1.0, MOST_MINER_POWER);
    if let (Some(sleep), Some(first)) = (sleep, points.first())
        && sleep.value >= first.power
    {
        report.error(
            sleep.span,
            format!(
                "model `{name}` draws more asleep ({}) than at its lowest point ({})",
                sleep.value, first.power
            ),
            "check the two powers",
        );
    }
    if let (Some(nameplate), Some(last)) = (nameplate, points.last())
        && nameplate.value < last.power
    {
        report.error(
            nameplate.span,
            format!("the nameplate of model `{name}` is below its highest point ({})", last.power),
            "the nameplate is the most that the miner can ever draw, start-up included",
        );
    }
    let actuator = fineness(&table);
    let response = ResponseKeys::read(&table);
    table.finish();
    Model {
        name: name.to_owned(),
        points,
        sleep: sleep.map(|at| at.value),
        nameplate: nameplate.map(|at| at.value),
        rated: rated.map(|at| at.value),
        actuator,
        response,
    }
}

fn points(table: &Table<'_>) -> Vec<OperatingPoint> {
    const HELP: &str = "write points = [{ power = \"3156 W\", hashrate = \"170.8 TH/s\" }, …]";
    let report = table.report();
    let mistakes = report.count();
    let mut points: Vec<At<OperatingPoint>> = Vec::new();
    for point in table.tables("points").into_iter().take(MOST_POINTS + 1) {
        let span = point.span();
        let power = point.power("power", 1.0, MOST_MINER_POWER);
        let power = point.require("power", power, HELP);
        let hashrate = point.hashrate("hashrate");
        let hashrate = point.require("hashrate", hashrate, HELP);
        point.finish();
        if let (Some(power), Some(hashrate)) = (power, hashrate) {
            points.push(At::new(OperatingPoint { power: power.value, hashrate: hashrate.value }, span));
        }
    }
    if report.count() > mistakes {
        return points.into_iter().map(|at| at.value).collect();
    }
    if points.is_empty() || points.len() > MOST_POINTS {
        report.error(
            table.key_span("points"),
            format!("{} needs 1 to {MOST_POINTS} operating points", table.title()),
            HELP,
        );
    }
    points.sort_by(|a, b| a.value.power.total_cmp(&b.value.power));
    for pair in points.windows(2) {
        let [lower, higher] = pair else { continue };
        if lower.value.power == higher.value.power {
            report.error(higher.span, format!("there are two points at {}", higher.value.power), "keep one");
        } else if lower.value.hashrate > higher.value.hashrate {
            report.error(
                higher.span,
                format!(
                    "{} gives {}, less than the {} at {}",
                    higher.value.power, higher.value.hashrate, lower.value.hashrate, lower.value.power
                ),
                "nobody would run a miner there; check the numbers or leave the point out",
            );
        }
    }
    points.into_iter().map(|at| at.value).collect()
}
