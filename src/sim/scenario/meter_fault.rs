//! The faults of meters in a scenario file: their names, their parameters and what is allowed for each.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;

use super::quantity::{Share, Time};
use super::raw::RawMeterEvent;
use super::read::{SHORTEST_REFRESH, Source};
use super::{Bend, Keeps, MeterFault, Noise, ScenarioError};
use crate::units::Watts;

/// A fault's name, the parameters that it needs and those that it may have.
type Kind = (&'static str, &'static [&'static str], &'static [&'static str]);

const EVERY: &[&str] = &["every"];

/// Every fault that a meter can have, with its parameters: those that it needs and those that it may have.
pub const FAULTS: [Kind; 26] = [
    ("silent", &[], EVERY),
    ("mute", &[], &[]),
    ("refuse", &[], &[]),
    ("clients", &["most"], &["keeps"]),
    ("reset", &[], EVERY),
    ("slow", &["delay"], EVERY),
    ("late", &["delay"], EVERY),
    ("exception", &["code"], EVERY),
    ("short", &[], EVERY),
    ("cut-off", &[], EVERY),
    ("wrong-count", &[], EVERY),
    ("wrong-function", &[], EVERY),
    ("wrong-unit", &[], EVERY),
    ("crossed", &[], EVERY),
    ("wrong-crc", &[], EVERY),
    ("twice", &[], EVERY),
    ("frozen", &[], &[]),
    ("unavailable", &[], &[]),
    ("offset", &["by"], &[]),
    ("factor", &["factor"], &[]),
    ("refresh", &["period"], &[]),
    ("lag", &["time"], &[]),
    ("delay", &["time"], &[]),
    ("noise", &[], &["by", "share"]),
    ("glitch", &["to"], &[]),
    ("no-voltage", &[], &[]),
];

/// The longest delay of an answer.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// The longest refresh period and time constant.
const LONGEST: Duration = Duration::from_secs(3_600);

/// The longest pure delay: what a meter must remember for it has to end somewhere.
pub(super) const LONGEST_AGE: Duration = Duration::from_secs(600);

/// The rarest fault of answers.
const RAREST: u32 = 1_000;

/// The largest factor.
const LARGEST_FACTOR: f64 = 1e6;

/// Reads the fault of an event.
pub(super) fn read(source: &Source<'_>, raw: &RawMeterEvent) -> Result<MeterFault, ScenarioError> {
    let name = raw.fault.get_ref().as_str();
    let missing = |what: &str| source.error(raw.fault.span(), format!("the fault `{name}` takes {what}"));
    let Some((_, needed, allowed)) = FAULTS.iter().find(|(known, ..)| *known == name) else {
        let names = FAULTS.map(|(name, ..)| name).join(", ");
        return Err(
            source.error(raw.fault.span(), format!("meters have no fault `{name}`; there are {names}"))
        );
    };
    for (parameter, span) in given(raw) {
        if !needed.contains(&parameter) && !allowed.contains(&parameter) {
            let takes = [*needed, *allowed].concat().join("` and `");
            let takes = if takes.is_empty() { "no parameters".into() } else { format!("only `{takes}`") };
            let message = format!("the fault `{name}` takes {takes}, so `{parameter}` does nothing");
            return Err(source.error(span, message));
        }
    }
    let answers = |bend| Ok(MeterFault::Answers { bend, every: every(source, raw)? });
    let time = |time: &Option<Spanned<Time>>, range, words: &str| match time {
        Some(time) => within(source, time, range),
        None => Err(missing(words)),
    };
    let delay = || time(&raw.delay, Duration::from_millis(1)..=LONGEST_DELAY, "`delay`, a duration");
    match name {
        "silent" => answers(Bend::Silent),
        "reset" => answers(Bend::Reset),
        "slow" => answers(Bend::Slow(delay()?)),
        "late" => answers(Bend::Late(delay()?)),
        "short" => answers(Bend::Short),
        "cut-off" => answers(Bend::CutOff),
        "wrong-count" => answers(Bend::Count),
        "wrong-function" => answers(Bend::Function),
        "wrong-unit" => answers(Bend::Unit),
        "crossed" => answers(Bend::Crossed),
        "wrong-crc" => answers(Bend::Crc),
        "twice" => answers(Bend::Twice),
        "exception" => match &raw.code {
            Some(code) if *code.get_ref() != 0 => answers(Bend::Exception(*code.get_ref())),
            Some(code) => Err(source.error(code.span(), "`code` must lie between 1 and 255")),
            None => Err(missing("`code`, 1 to 255")),
        },
        "mute" => Ok(MeterFault::Mute),
        "refuse" => Ok(MeterFault::Refuse),
        "clients" => {
            let most = raw.most.as_ref().ok_or_else(|| missing("`most`, 1 to 64"))?;
            let keeps = raw.keeps.as_ref().map(|keeps| self::keeps(source, keeps)).transpose()?;
            Ok(MeterFault::Clients { most: clients(source, most)?, keeps: keeps.unwrap_or_default() })
        }
        "frozen" => Ok(MeterFault::Frozen),
        "offset" => match &raw.by {
            Some(by) => Ok(MeterFault::Offset(by.get_ref().0)),
            None => Err(missing("`by`, a power")),
        },
        "factor" => match &raw.factor {
            Some(factor) if factor.get_ref().abs() <= LARGEST_FACTOR => {
                Ok(MeterFault::Factor(*factor.get_ref()))
            }
            Some(factor) => {
                Err(source.error(factor.span(), "`factor` must lie between -1,000,000 and 1,000,000"))
            }
            None => Err(missing("`factor`, a number")),
        },
        "refresh" => {
            Ok(MeterFault::Refresh(time(&raw.period, SHORTEST_REFRESH..=LONGEST, "`period`, a duration")?))
        }
        "lag" => Ok(MeterFault::Lag(time(&raw.time, Duration::ZERO..=LONGEST, "`time`, a duration")?)),
        "delay" => {
            Ok(MeterFault::Delay(time(&raw.time, Duration::ZERO..=LONGEST_AGE, "`time`, a duration")?))
        }
        "noise" => match (&raw.by, &raw.share) {
            (None, None) => Err(missing("`by`, a power, or `share`, a percentage, or both")),
            (by, share) => Ok(MeterFault::Noise(Noise {
                absolute: by.as_ref().map_or(Watts::ZERO, |by| by.get_ref().0.abs()),
                share: noise_share(source, share.as_ref())?.unwrap_or(0.0),
            })),
        },
        "glitch" => match &raw.to {
            Some(to) => Ok(MeterFault::Glitch(to.get_ref().0)),
            None => Err(missing("`to`, a power")),
        },
        "no-voltage" => Ok(MeterFault::NoVoltage),
        // The one that is left of the list above.
        _ => Ok(MeterFault::Unavailable),
    }
}

/// The parameters that stand in the file, with their places.
fn given(raw: &RawMeterEvent) -> impl Iterator<Item = (&'static str, Range<usize>)> {
    fn span<T>(value: &Option<Spanned<T>>) -> Option<Range<usize>> {
        value.as_ref().map(Spanned::span)
    }
    [
        ("by", span(&raw.by)),
        ("to", span(&raw.to)),
        ("share", span(&raw.share)),
        ("factor", span(&raw.factor)),
        ("code", span(&raw.code)),
        ("delay", span(&raw.delay)),
        ("period", span(&raw.period)),
        ("time", span(&raw.time)),
        ("every", span(&raw.every)),
        ("most", span(&raw.most)),
        ("keeps", span(&raw.keeps)),
    ]
    .into_iter()
    .filter_map(|(name, span)| Some((name, span?)))
}

fn every(source: &Source<'_>, raw: &RawMeterEvent) -> Result<u32, ScenarioError> {
    match &raw.every {
        None => Ok(1),
        Some(every) if (1..=RAREST).contains(every.get_ref()) => Ok(*every.get_ref()),
        Some(every) => Err(source.error(every.span(), format!("`every` must lie between 1 and {RAREST}"))),
    }
}

/// Noise as a fraction of the value.
pub(super) fn noise_share(
    source: &Source<'_>,
    share: Option<&Spanned<Share>>,
) -> Result<Option<f64>, ScenarioError> {
    match share {
        None => Ok(None),
        Some(share) if (0.0..=1.0).contains(&share.get_ref().0) => Ok(Some(share.get_ref().0)),
        Some(share) => Err(source.error(share.span(), "noise is 0 % to 100 % of the value")),
    }
}

pub(super) fn within(
    source: &Source<'_>,
    time: &Spanned<Time>,
    range: RangeInclusive<Duration>,
) -> Result<Duration, ScenarioError> {
    let duration = time.get_ref().0;
    if range.contains(&duration) {
        return Ok(duration);
    }
    let (low, high) = range.into_inner();
    Err(source.error(time.span(), format!("must lie between {low:?} and {high:?}")))
}

/// How many clients a link takes.
pub(super) fn clients(source: &Source<'_>, count: &Spanned<usize>) -> Result<usize, ScenarioError> {
    match count.get_ref() {
        1..=64 => Ok(*count.get_ref()),
        _ => Err(source.error(count.span(), "a meter takes 1 to 64 connections")),
    }
}

/// Which clients stay.
pub(super) fn keeps(source: &Source<'_>, keeps: &Spanned<String>) -> Result<Keeps, ScenarioError> {
    let known = Keeps::NAMES.iter().find(|(name, _)| name == keeps.get_ref());
    known.map(|(_, keeps)| *keeps).ok_or_else(|| {
        source.error(keeps.span(), "a full meter keeps the `\"first\"` clients or the `\"last\"`")
    })
}
