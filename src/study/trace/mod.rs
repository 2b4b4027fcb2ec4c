//! A recording of power: read from a file of rows, put on a grid of equal intervals, and judged.
//!
//! What is not trusted is marked, counted and left out of the statistics, never averaged over.

mod faults;
mod flat;
mod grid;
mod read;
mod recorded;
mod sniff;
mod time;

use jiff::tz::TimeZone;

pub use read::{MAX_ROWS, Progress, read, read_file};
pub use recorded::read_record;
pub use time::DateOrder;

/// The unit of the values of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Watts.
    Watts,
    /// Kilowatts.
    Kilowatts,
    /// Megawatts.
    Megawatts,
    /// Watt-hours in each interval.
    WattHoursPerInterval,
    /// Kilowatt-hours in each interval.
    KilowattHoursPerInterval,
    /// Megawatt-hours in each interval.
    MegawattHoursPerInterval,
}

impl Unit {
    /// Watts of one unit; for energies, watt-hours of one.
    const fn factor(self) -> f64 {
        match self {
            Self::Watts | Self::WattHoursPerInterval => 1.0,
            Self::Kilowatts | Self::KilowattHoursPerInterval => 1e3,
            Self::Megawatts | Self::MegawattHoursPerInterval => 1e6,
        }
    }

    /// Whether the values are energies of intervals.
    const fn is_energy(self) -> bool {
        matches!(
            self,
            Self::WattHoursPerInterval | Self::KilowattHoursPerInterval | Self::MegawattHoursPerInterval
        )
    }

    /// As it is written on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Watts => "W",
            Self::Kilowatts => "kW",
            Self::Megawatts => "MW",
            Self::WattHoursPerInterval => "Wh-per-interval",
            Self::KilowattHoursPerInterval => "kWh-per-interval",
            Self::MegawattHoursPerInterval => "MWh-per-interval",
        }
    }

    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Watts,
        Self::Kilowatts,
        Self::Megawatts,
        Self::WattHoursPerInterval,
        Self::KilowattHoursPerInterval,
        Self::MegawattHoursPerInterval,
    ];
}

/// What the sign of a value means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sign {
    /// Positive is power to spare (generation, export); negative is none.
    #[default]
    Surplus,
    /// Positive is import, as a meter at the point of common coupling counts; negative is power to spare.
    Import,
}

/// What the time beside a value marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stamp {
    /// The start of the interval that the value stands for.
    #[default]
    Start,
    /// Its end.
    End,
}

/// What the reader was told. What is absent it finds by itself or asks for.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The column of the time, by name or by number from 1; two with a `+` between where date and time are apart.
    pub time: Option<String>,
    /// The column of the value, by name or by number from 1.
    pub value: Option<String>,
    /// The column that says whose row it is: the rows of one instant are added up, where all are there.
    pub id: Option<String>,
    /// The unit.
    pub unit: Option<Unit>,
    /// The sign.
    pub sign: Option<Sign>,
    /// What the time beside a value marks.
    pub stamp: Option<Stamp>,
    /// The zone of times that say none, and of the days and hours of the report.
    pub zone: Option<TimeZone>,
    /// Takes local times as they are written, without the offset beside them: some recordings follow daylight saving while
    /// their offset does not.
    pub ignore_offset: bool,
    /// What separates the fields.
    pub separator: Option<u8>,
    /// Whether a comma, not a point, stands before the decimals.
    pub decimal_comma: Option<bool>,
    /// Whether the first row names the columns.
    pub header: Option<bool>,
    /// Which comes first, day or month.
    pub date_order: Option<DateOrder>,
    /// Averages to this interval while reading, in seconds.
    pub every: Option<i64>,
    /// The most that the source can give, in watts: what lies far above is a mistake.
    pub capacity: Option<f64>,
    /// More words that stand for a missing value.
    pub missing: Vec<String>,
    /// Keeps what looks stale, interpolated or out of line; it is told all the same.
    pub keep_doubtful: bool,
}

/// Why a slot of the grid is not trusted, or that it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// Nothing speaks against it.
    #[default]
    Trusted,
    /// There is no value.
    Missing,
    /// The same value for too long.
    Stale,
    /// On a straight line for too long.
    Interpolated,
    /// Out of line with its neighbours or beyond what the source can give.
    Outlier,
}

/// What was found in a trace, for the table of what is not trusted.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Finding {
    /// `duplicate`, `missing`, `gap`, `stale`, `interpolated`, `outlier`, `capacity`, `clock`, `interval`, `time` or `unit`.
    pub kind: &'static str,
    /// How many rows or slots.
    pub count: usize,
    /// The first instant, or the first line of the file.
    pub first: String,
    /// The last instant.
    pub last: String,
    /// What it is, and what was done about it.
    pub what: String,
}

/// A span of a trace whose clock is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// The first slot.
    pub from: usize,
    /// The slot after the last.
    pub to: usize,
    /// By how much the clock goes before or after that of the rest, in minutes.
    pub minutes: i64,
}

/// A recording on a grid of equal intervals.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What it is called: the file without its folder.
    pub name: String,
    /// The beginning of the first interval, in seconds since 1970.
    pub start: i64,
    /// The length of an interval, in seconds.
    pub step: i64,
    /// Where the intervals are equal on the local clock (days, and whatever is longer than the hour by which clocks are changed),
    /// the local time of the first, in seconds as if it were UTC.
    pub civil: Option<i64>,
    /// Power to spare in watts, negative where there is none and power is imported; NaN where it is not known or not trusted.
    pub values: Vec<f64>,
    /// Why, one for each value.
    pub marks: Vec<Mark>,
    /// Spans whose clock is off: their hours of the day do not count.
    pub shifts: Vec<Shift>,
    /// The zone of its days and hours.
    pub zone: TimeZone,
    /// The zone, as it is told.
    pub zone_name: String,
    /// How many rows were read.
    pub rows: usize,
    /// What was found, for the table.
    pub findings: Vec<Finding>,
    /// What the reader assumed because nobody told it.
    pub assumed: Vec<String>,
    /// The most that the source can give, in watts, if told.
    pub capacity: Option<f64>,
}

impl Trace {
    /// The instant at which a slot begins, in seconds since 1970.
    pub fn at(&self, slot: usize) -> i64 {
        self.slots().at(slot)
    }

    /// The slot in which an instant lies; negative before the first.
    pub fn slot(&self, at: i64) -> i64 {
        self.slots().slot(at)
    }

    fn slots(&self) -> grid::Slots<'_> {
        grid::Slots { start: self.start, step: self.step, civil: self.civil, zone: &self.zone }
    }

    /// The instant of a slot in the trace's zone, to the minute.
    pub fn told(&self, slot: usize) -> String {
        instant(self.at(slot), &self.zone)
    }

    /// Leaves only the slots of a range. What was found stays as it is.
    pub fn cut(&mut self, from: usize, to: usize) {
        let (from, to) = (from.min(self.values.len()), to.min(self.values.len()));
        self.start = self.at(from);
        self.civil = self.civil.map(|local| local + super::number::signed(from) * self.step);
        self.values = self.values.drain(from..to.max(from)).collect();
        self.marks = self.marks.drain(from..to.max(from)).collect();
        self.shifts.clear();
    }

    /// Hours of a count of slots.
    pub fn hours(&self, slots: usize) -> f64 {
        super::number::count(slots) * super::number::seconds(self.step) / 3600.0
    }

    /// Power to spare: 0 where power is imported; NaN where it is not known.
    pub fn surplus(&self) -> impl Iterator<Item = f64> + '_ {
        // `max` would take 0 for NaN.
        self.values.iter().map(|value| if *value < 0.0 { 0.0 } else { *value })
    }

    /// Local seconds (as if the local clock were UTC) of each slot, in order. The zone is asked once an hour.
    pub fn local(&self) -> Vec<i64> {
        if let Some(local) = self.civil {
            return (0..self.values.len())
                .map(|slot| local + super::number::signed(slot) * self.step)
                .collect();
        }
        let (mut hour, mut offset) = (i64::MIN, 0);
        (0..self.values.len())
            .map(|slot| {
                let at = self.at(slot);
                // Zones change at quarters of an hour at the finest.
                if at.div_euclid(900) != hour {
                    hour = at.div_euclid(900);
                    offset = time::offset(at, &self.zone);
                }
                at + offset
            })
            .collect()
    }
}

/// A zone by its name in the IANA database, or an offset such as `+05:00`.
pub fn zone(text: &str) -> Option<TimeZone> {
    match time::parse_offset(text) {
        Some(offset) => {
            let offset = i32::try_from(offset).ok().and_then(|s| jiff::tz::Offset::from_seconds(s).ok())?;
            Some(TimeZone::fixed(offset))
        }
        None => TimeZone::get(text).ok(),
    }
}

/// An instant in a zone, to the minute.
pub(crate) fn instant(at: i64, zone: &TimeZone) -> String {
    jiff::Timestamp::from_second(at).map_or_else(
        |_| at.to_string(),
        |at| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string(),
    )
}

/// Why a trace cannot be used, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read.
    #[error("{name}: {source}")]
    Io {
        /// Which file.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// A cell cannot be read.
    #[error("{name}:{line}: column {column}: {what}")]
    Cell {
        /// Which file.
        name: String,
        /// The line, from 1.
        line: usize,
        /// The column, from 1, with its name if it has one.
        column: String,
        /// What is there, and what to do.
        what: String,
    },
    /// A line cannot be read.
    #[error("{name}:{line}: {what}")]
    Line {
        /// Which file.
        name: String,
        /// The line, from 1.
        line: usize,
        /// What is there, and what to do.
        what: String,
    },
    /// The file as a whole cannot be used.
    #[error("{name}: {what}")]
    File {
        /// Which file.
        name: String,
        /// What is wrong, and what to do.
        what: String,
    },
}

#[cfg(test)]
mod tests;
