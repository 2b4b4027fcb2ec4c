//! What a meter's answers come to: one row for each point, and what a look at them together tells.
//!
//! Nothing here reads or waits.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Moment;
use crate::meter::ReadError;
use crate::meter::decode::{self, Measured};
use crate::meter::plan::Plan;
use crate::meter::profile::{Function, Measure, Plausible, Point, Profile, Register};
use crate::meter::survey::Reply;

/// Phases may differ from the total by this share of the power that flows.
const PHASES_OFF: f64 = 0.03;
/// And by so many watts: registers are refreshed one after the other, and their last digits are rounded.
const PHASES_OFF_WATTS: f64 = 30.0;
/// Below this many volts a phase is taken for not connected.
const NO_VOLTAGE: f64 = 20.0;
/// Usual voltages between line and neutral, in volts.
const VOLTAGE: std::ops::RangeInclusive<f64> = 85.0..=300.0;
/// Voltages of grids above those, between line and neutral or line and line, in volts: medium and high voltage, behind
/// transformers whose ratio the meter knows.
const HIGH_VOLTAGE: std::ops::RangeInclusive<f64> = 500.0..=420_000.0;
/// The phases of one grid differ by less than this share.
const ALIKE: f64 = 0.2;
/// Usual frequencies, in hertz.
const FREQUENCY: std::ops::RangeInclusive<f64> = 45.0..=65.0;

const PHASES: [(&str, Measure, Measure); 3] = [
    ("L1", Measure::PowerL1, Measure::VoltageL1),
    ("L2", Measure::PowerL2, Measure::VoltageL2),
    ("L3", Measure::PowerL3, Measure::VoltageL3),
];

/// Why a point has no value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Why {
    /// It was read; the registers hold no value.
    Absent(decode::Absent),
    /// Outside of the configured `plausible` range.
    Implausible(Measured),
    /// Its request failed.
    Failed(ReadError),
    /// It was not asked for, since the unit had just failed to answer.
    NotAsked,
}

impl Why {
    /// The word for scripts; those of the daemon's metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Absent(_) => "unavailable",
            Self::Implausible(_) => "implausible",
            Self::Failed(error) => error.status().name(),
            Self::NotAsked => "skipped",
        }
    }

    /// In few words, for the table.
    fn short(&self) -> String {
        match self {
            Self::Absent(absent) => format!("– {absent}"),
            Self::Implausible(value) => format!("– {value} is not plausible"),
            Self::Failed(ReadError::Exception { code, .. }) => format!("– refused (exception {code})"),
            Self::Failed(ReadError::Timeout { .. }) => String::from("– no answer"),
            Self::Failed(ReadError::Malformed { .. }) => String::from("– garbled"),
            Self::Failed(ReadError::Answerer { got, .. }) => format!("– unit {got} answered"),
            Self::Failed(ReadError::Number { .. }) => String::from("– answer to another request"),
            Self::Failed(ReadError::Connect { .. } | ReadError::Broken { .. }) => {
                String::from("– no connection")
            }
            Self::NotAsked => String::from("– not asked"),
        }
    }
}

/// One point of a meter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// What.
    pub(super) measure: Measure,
    /// Its registers.
    pub(super) registers: Vec<(Function, u16, u16)>,
    /// Their words as they came, register by register; empty where they did not all come.
    pub(super) raw: Vec<Vec<u16>>,
    /// What they mean, or why nothing.
    pub(super) value: Result<Measured, Why>,
    /// The latest good value and when it came.
    pub(super) last: Option<(Measured, Moment)>,
    /// The longest round trip among its requests.
    pub(super) took: Option<Duration>,
}

/// A profile as the configuration turns it: with `invert` the powers change their sign, and what was imported was
/// exported.
pub(super) fn turned(profile: &Profile, invert: bool) -> Profile {
    let mut profile = profile.clone();
    if invert {
        profile.turn();
        let import = profile.others.remove(&Measure::EnergyImport);
        let export = profile.others.remove(&Measure::EnergyExport);
        profile.others.extend(import.map(|point| (Measure::EnergyExport, point)));
        profile.others.extend(export.map(|point| (Measure::EnergyImport, point)));
    }
    profile
}

/// The rows of a meter after a read. `before` are those of the read before.
pub(super) fn rows(
    profile: &Profile,
    plausible: Option<Plausible>,
    plan: &Plan,
    replies: &[Reply],
    before: &[Row],
) -> Vec<Row> {
    let points = profile.points().filter(|(_, point)| !point.terms.is_empty());
    points.map(|(measure, point)| row(profile, measure, point, plausible, plan, replies, before)).collect()
}

fn row(
    profile: &Profile,
    measure: Measure,
    point: &Point,
    plausible: Option<Plausible>,
    plan: &Plan,
    replies: &[Reply],
    before: &[Row],
) -> Row {
    let words =
        |register: &Register| if arrived(register, replies).is_some() { plan.words(register) } else { None };
    let all: Option<Vec<(Duration, Moment)>> =
        point.registers().map(|register| arrived(register, replies)).collect();
    let value = match failure(point, replies) {
        Some(why) => Err(why),
        None => decode::measured(profile, measure, words).map_err(Why::Absent),
    };
    let value = match (value, plausible) {
        (Ok(Measured::Power(power)), Some(range))
            if measure == Measure::Power && (power < range.low || power > range.high) =>
        {
            Err(Why::Implausible(Measured::Power(power)))
        }
        (value, _) => value,
    };
    let at = all.as_ref().and_then(|all| all.iter().map(|(_, at)| *at).min());
    let fresh = value.as_ref().ok().copied().zip(at);
    let earlier = || before.iter().find(|row| row.measure == measure).and_then(|row| row.last);
    Row {
        measure,
        registers: point
            .registers()
            .map(|term| {
                let (address, count) = term.extent();
                (term.function, address, count)
            })
            .collect(),
        raw: if all.is_some() {
            point.registers().filter_map(|register| words(register).map(<[u16]>::to_vec)).collect()
        } else {
            Vec::new()
        },
        value,
        last: fresh.or_else(earlier),
        took: all.and_then(|all| all.into_iter().map(|(took, _)| took).max()),
    }
}

/// How long and when the words of a register came.
fn arrived(register: &Register, replies: &[Reply]) -> Option<(Duration, Moment)> {
    let reply = replies.iter().find(|reply| reply.brings(register))?;
    reply.result.as_ref()?.as_ref().ok().copied()
}

/// Why the registers of a point did not come.
fn failure(point: &Point, replies: &[Reply]) -> Option<Why> {
    point.registers().find_map(|term| {
        if arrived(term, replies).is_some() {
            return None;
        }
        let reply = replies.iter().find(|reply| reply.covers(term));
        match reply.map(|reply| &reply.result) {
            Some(Some(Err(error))) => Some(Why::Failed(error.clone())),
            Some(None) => Some(Why::NotAsked),
            _ => Some(Why::Absent(decode::Absent::NotRead)),
        }
    })
}

/// How a remark is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// To know.
    Note,
    /// To be looked after.
    Warning,
}

impl Tone {
    /// What stands before it.
    pub(super) const fn mark(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "--",
            Self::Warning => "!!",
        }
    }
}

/// Something that the rows of a meter tell together.
pub(super) type Remark = (Tone, String);

/// What the power of a meter means on this site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It measures what flows into a circuit.
    Circuit(String),
    /// Its value is the cap of a limit.
    Cap(String),
    /// Nothing uses it.
    None,
}

fn number(value: Measured) -> f64 {
    match value {
        Measured::Power(watts) => watts.get(),
        Measured::Energy(energy) => energy.get(),
        Measured::Voltage(number) | Measured::Frequency(number) | Measured::StateOfCharge(number) => number,
    }
}

/// Looks at the values of a meter together.
pub(super) fn remarks(rows: &[Row], invert: bool, role: &Role) -> Vec<Remark> {
    let values: BTreeMap<Measure, f64> =
        rows.iter().filter_map(|row| Some((row.measure, number(*row.value.as_ref().ok()?)))).collect();
    let mut remarks = Vec::new();
    let power = rows.iter().find(|row| row.measure == Measure::Power);
    if let Some(Ok(Measured::Power(power))) = power.map(|row| &row.value) {
        let size = power.abs();
        remarks.push((
            Tone::Note,
            match (role, power.get()) {
                (Role::Cap(limit), _) => format!("{power} is the cap of limit {limit}"),
                (_, power) if power.abs() < 0.5 => String::from("no power flows"),
                (Role::Circuit(circuit), power) if power > 0.0 => {
                    format!("import {size}: power flows into circuit {circuit}")
                }
                (Role::Circuit(circuit), _) => format!("export {size}: power flows out of circuit {circuit}"),
                (Role::None, power) if power > 0.0 => format!("import {size}"),
                (Role::None, _) => format!("export {size}"),
            },
        ));
    }
    if invert {
        remarks.push((
            Tone::Note,
            String::from("`invert` is set: signs are turned, and import and export are swapped; RAW is what the meter says"),
        ));
    }
    remarks.extend(phases(&values));
    remarks.extend(voltages(&values));
    if let Some(hertz) = values.get(&Measure::Frequency)
        && !FREQUENCY.contains(hertz)
    {
        remarks.push((
            Tone::Warning,
            format!("{hertz:.2} Hz is no grid's frequency: the profile is not that of this meter"),
        ));
    }
    remarks
}

/// What the powers of the phases tell.
fn phases(values: &BTreeMap<Measure, f64>) -> Vec<Remark> {
    let phases: Vec<(&str, f64)> =
        PHASES.iter().filter_map(|(name, power, _)| Some((*name, *values.get(power)?))).collect();
    let (Some(total), true) = (values.get(&Measure::Power), phases.len() > 1) else {
        return Vec::new();
    };
    let sum: f64 = phases.iter().map(|(_, power)| power).sum();
    let flowing: f64 = phases.iter().map(|(_, power)| power.abs()).sum();
    let watts = crate::units::Watts::saturating;
    let mut remarks = Vec::new();
    let off = (sum - total).abs();
    if off > PHASES_OFF * flowing.max(total.abs()) && off > PHASES_OFF_WATTS {
        remarks.push((
            Tone::Warning,
            format!(
                "the phases add up to {}, the total says {}: a register is wrong (profile), or the meter counts the \
                 total in another way",
                watts(sum),
                watts(*total)
            ),
        ));
    } else {
        remarks.push((Tone::Good, format!("the phases add up to the total ({})", watts(sum))));
    }
    // One against the others: what a current transformer that is turned looks like.
    let large: Vec<&(&str, f64)> = phases
        .iter()
        .filter(|(_, power)| power.abs() > 0.1 * flowing && flowing > PHASES_OFF_WATTS)
        .collect();
    let negative: Vec<&str> = large.iter().filter(|(_, power)| *power < 0.0).map(|(name, _)| *name).collect();
    let positive: Vec<&str> = large.iter().filter(|(_, power)| *power > 0.0).map(|(name, _)| *name).collect();
    if large.len() == 3 && !negative.is_empty() && !positive.is_empty() {
        let odd = if negative.len() < positive.len() { negative } else { positive };
        remarks.push((
            Tone::Warning,
            format!(
                "{} flows against the other phases: its current transformer is turned or sits on another phase, unless \
                 something there really feeds in on one phase",
                odd.join(", ")
            ),
        ));
    }
    remarks
}

/// What the voltages tell.
fn voltages(values: &BTreeMap<Measure, f64>) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let all: Vec<f64> = PHASES.iter().filter_map(|(_, _, voltage)| values.get(voltage).copied()).collect();
    let most = all.iter().copied().fold(0.0, f64::max);
    if all.iter().all(|volts| HIGH_VOLTAGE.contains(volts) && most - volts <= ALIKE * most) && !all.is_empty()
    {
        remarks.push((
            Tone::Note,
            format!(
                "{:.2} kV: a grid of medium or high voltage, if that is what it is connected to",
                most / 1e3
            ),
        ));
        return remarks;
    }
    for (name, power, voltage) in PHASES {
        let Some(volts) = values.get(&voltage) else { continue };
        if volts.abs() < NO_VOLTAGE {
            // Meters of one phase in a profile of three show zeros everywhere.
            let bare = values.get(&power).is_none_or(|power| power.abs() < 1.0);
            remarks.push((
                Tone::Warning,
                format!(
                    "{name} has no voltage: {}",
                    if bare {
                        "is the phase connected, and is the fuse of the voltage tap in?"
                    } else {
                        "and yet power: look at the voltage taps"
                    }
                ),
            ));
        } else if !VOLTAGE.contains(volts) {
            remarks.push((
                Tone::Warning,
                format!(
                    "{name} has {volts:.1} V: {}",
                    if (300.0..=500.0).contains(volts) {
                        "that is a voltage between two phases; is the neutral connected?"
                    } else {
                        "with voltage transformers set their ratio in the meter; else the profile is not that of this meter"
                    }
                ),
            ));
        }
    }
    remarks
}

/// The table of a meter. `now` gives the ages.
pub(super) fn table(rows: &[Row], now: Moment) -> String {
    let head = ["POINT", "REGISTERS", "RAW", "VALUE", "AGE", "ANSWER IN"].map(String::from);
    let cells: Vec<[String; 6]> = std::iter::once(head)
        .chain(rows.iter().map(|row| {
            let age = |at: Moment| format!("{:.1} s", (now - at).as_secs_f64());
            let value = match (&row.value, row.last) {
                (Ok(value), _) => value.to_string(),
                (Err(why), Some((last, at))) => format!("{} (last {last}, {} ago)", why.short(), age(at)),
                (Err(why), None) => why.short(),
            };
            let fresh = row.value.is_ok();
            [
                row.measure.name().to_owned(),
                row.registers.iter().map(|place| registers(*place)).collect::<Vec<_>>().join(" + "),
                row.raw.iter().map(|words| hexadecimal(words)).collect::<Vec<_>>().join(" + "),
                value,
                row.last.filter(|_| fresh).map_or_else(String::new, |(_, at)| age(at)),
                row.took.map_or_else(String::new, |took| match took.as_millis() {
                    0 => String::from("<1 ms"),
                    millis => format!("{millis} ms"),
                }),
            ]
        }))
        .collect();
    let width = |column: usize| {
        cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let (a, b, c, d, e) = (width(0), width(1), width(2), width(3), width(4));
    cells
        .iter()
        .map(|[point, places, raw, value, age, took]| {
            let line = format!("  {point:a$}  {places:b$}  {raw:c$}  {value:d$}  {age:>e$}  {took:>9}");
            format!("{}\n", line.trim_end())
        })
        .collect()
}

/// `input 0x0034-35`, with the function code's name as in a profile.
fn registers((function, address, count): (Function, u16, u16)) -> String {
    let name = function_name(function);
    match count {
        0 | 1 => format!("{name} 0x{address:04X}"),
        _ => format!("{name} 0x{address:04X}-{:02X}", address.wrapping_add(count - 1) & 0xFF),
    }
}

/// As written in a profile.
pub(super) const fn function_name(function: Function) -> &'static str {
    match function {
        Function::Holding => "holding",
        Function::Input => "input",
        Function::Coil => "coil",
        Function::Discrete => "discrete",
    }
}

/// Words as four digits each.
pub(super) fn hexadecimal(words: &[u16]) -> String {
    words.iter().map(|word| format!("{word:04X}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use crate::config::builtin;
    use crate::meter::{Connection, LinkId};
    use crate::units::Watts;

    use super::*;

    fn connection(invert: bool) -> Connection {
        Connection {
            link: LinkId(0),
            unit: 1,
            profile: builtin::profile("eastron-sdm630").unwrap(),
            invert,
            plausible: None,
            frozen_after: None,
            stale_after: Duration::from_secs(5),
            period: Duration::from_secs(1),
        }
    }

    fn float(value: f32) -> [u16; 2] {
        let [a, b, c, d] = value.to_bits().to_be_bytes();
        [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
    }

    /// Reads a whole SDM630 with these values; what is not named is refused.
    fn read(values: &[(Measure, f32)], invert: bool) -> Vec<Row> {
        let connection = connection(invert);
        let mut plan = Plan::new(connection.profile.points().map(|(_, point)| point));
        // One request for each register, so that each has a fate of its own.
        let mut position = 0;
        while plan.span(position).is_some() {
            if !plan.split(position) {
                position += 1;
            }
        }
        let replies = (0..)
            .map_while(|position| plan.span(position).map(|span| (position, span)))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(position, span)| {
                let known = values.iter().find(|(measure, _)| {
                    connection
                        .profile
                        .point(*measure)
                        .is_some_and(|point| point.terms[0].address == span.address)
                });
                let result = match known {
                    Some((_, value)) => {
                        plan.store(position, &float(*value));
                        Ok((Duration::from_millis(12), Moment::millis(1_000)))
                    }
                    None => Err(ReadError::Exception {
                        place: "here".into(),
                        unit: 1,
                        function: span.function,
                        address: span.address,
                        count: span.count,
                        code: 2,
                    }),
                };
                Reply { span, result: Some(result) }
            })
            .collect::<Vec<_>>();
        rows(&turned(&connection.profile, connection.invert), None, &plan, &replies, &[])
    }

    fn told(remarks: &[Remark]) -> String {
        remarks.iter().map(|(tone, text)| format!("{} {text}\n", tone.mark())).collect()
    }

    #[test]
    fn rows_show_raw_words_values_and_refusals() {
        let rows = read(&[(Measure::Power, 12_300.0), (Measure::VoltageL1, 230.1)], false);
        let table = table(&rows, Moment::millis(1_500));
        let line = |name: &str| table.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        assert!(line("power ").contains("input 0x0034-35  4640 3000"), "{table}");
        assert!(line("power ").contains("12.3 kW") && line("power ").contains("0.5 s"), "{table}");
        assert!(line("power ").ends_with("12 ms"), "{table}");
        assert!(line("power_l2").contains("– refused (exception 2)"), "{table}");
        assert!(line("voltage_l1").contains("230.1 V"), "{table}");
    }

    #[test]
    fn invert_turns_the_sign_and_swaps_the_energies() {
        let values = [(Measure::Power, 500.0), (Measure::EnergyImport, 7.0), (Measure::EnergyExport, 9.0)];
        let rows = read(&values, true);
        let value = |measure| rows.iter().find(|row| row.measure == measure).unwrap().value.clone();
        assert_eq!(value(Measure::Power), Ok(Measured::Power(Watts::whole(-500))));
        assert_eq!(value(Measure::EnergyImport).unwrap().to_string(), "9.000 kWh");
        let remarks = told(&remarks(&rows, true, &Role::Circuit("pcc".into())));
        assert!(remarks.contains("export 500 W: power flows out of circuit pcc"), "{remarks}");
        assert!(remarks.contains("`invert` is set"), "{remarks}");
    }

    #[test]
    fn phases_are_held_against_the_total() {
        let phases = |one, two, three| {
            let rows = read(
                &[
                    (Measure::Power, 9_000.0),
                    (Measure::PowerL1, one),
                    (Measure::PowerL2, two),
                    (Measure::PowerL3, three),
                ],
                false,
            );
            told(&remarks(&rows, false, &Role::None))
        };
        assert!(phases(3_000.0, 3_000.0, 2_950.0).contains("ok the phases add up"));
        assert!(phases(3_000.0, 3_000.0, 2_500.0).contains("!! the phases add up to 8.50 kW"));
        let turned = phases(9_000.0, 9_000.0, -9_000.0);
        assert!(turned.contains("!! L3 flows against the other phases"), "{turned}");
        assert!(!phases(4_500.0, 4_500.0, -1.0).contains("against"), "a phase without load says nothing");
    }

    #[test]
    fn a_phase_without_voltage_and_a_strange_frequency_are_told() {
        let rows = read(
            &[
                (Measure::VoltageL1, 231.0),
                (Measure::VoltageL2, 0.4),
                (Measure::VoltageL3, 400.0),
                (Measure::Frequency, 500.0),
            ],
            false,
        );
        let remarks = told(&remarks(&rows, false, &Role::None));
        assert!(
            remarks.contains("!! L2 has no voltage") && remarks.contains("!! L3 has 400.0 V"),
            "{remarks}"
        );
        assert!(remarks.contains("!! 500.00 Hz") && !remarks.contains("L1 has"), "{remarks}");
    }

    #[test]
    fn an_implausible_power_is_none_and_the_last_good_one_is_kept() {
        let good = read(&[(Measure::Power, 100.0)], false);
        let connection = connection(false);
        let plan = Plan::new([&connection.profile.power]);
        let span = plan.span(0).unwrap();
        let silent = [Reply {
            span,
            result: Some(Err(ReadError::Timeout {
                place: "here".into(),
                unit: 1,
                limit: Duration::from_secs(1),
            })),
        }];
        let later = rows(&connection.profile, None, &plan, &silent, &good);
        assert!(later[0].raw.is_empty());
        let line = table(&later[..1], Moment::millis(6_000));
        assert!(line.contains("– no answer (last 100 W, 5.0 s ago)"), "{line}");
        let range = Plausible { low: Watts::ZERO, high: Watts::whole(50) };
        let mut plan = plan;
        plan.store(0, &float(100.0));
        let reply = [Reply { span, result: Some(Ok((Duration::ZERO, Moment::START))) }];
        let refused = rows(&connection.profile, Some(range), &plan, &reply, &[]);
        assert_eq!(refused[0].value.as_ref().unwrap_err().name(), "implausible");
        assert_eq!(refused[0].last, None);
    }
}
