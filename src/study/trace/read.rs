//! Reads rows, one after the other, in bounded memory.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use jiff::tz::TimeZone;

use super::sniff::{self, Shape};
use super::time::{self, Locals, Resolved, Written};
use super::{Finding, Sign, Stamp, Told, Trace, TraceError, grid};
use crate::study::number;

/// How many rows are kept, 24 bytes each: a year of 15-minute values of 300 meters, or 5 months of seconds.
pub const MAX_ROWS: usize = 12_000_000;
/// The longest line.
const MAX_LINE: u64 = 1 << 20;
/// The largest power that is taken for one, in watts, or energy of an interval, in watt-hours: a hundred times what all people use.
const MOST: f64 = 1e15;
/// How much of a file is looked at before it is read.
const SAMPLE: usize = 1 << 18;
/// How many sources one file may have.
const MAX_IDS: usize = 10_000;

/// Called now and then with how many bytes were read.
pub type Progress<'a> = &'a mut dyn FnMut(u64);

/// A row that was kept: a value, or the sum of several where the reader averages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub at: i64,
    pub value: f64,
    pub id: u32,
    /// How many rows it is the sum of; 0 where there is no value.
    pub parts: u32,
}

/// What was read, before it is put on a grid.
pub(super) struct Rows {
    pub rows: Vec<Row>,
    pub ids: Vec<String>,
    pub read: usize,
    pub missing: usize,
    pub zone: TimeZone,
    pub zone_name: String,
    pub findings: Vec<Finding>,
    pub assumed: Vec<String>,
}

/// Reads a file.
///
/// # Errors
/// [`TraceError`], with the line and the column where there is one.
pub fn read_file(path: &Path, told: &Told, progress: Progress<'_>) -> Result<Trace, TraceError> {
    let name = path
        .file_name()
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    let file = std::fs::File::open(path)
        .map_err(|source| TraceError::Io { name: path.display().to_string(), source })?;
    read(&name, file, told, progress)
}

/// Reads rows from anywhere. `name` is what errors call it.
///
/// # Errors
/// As [`read_file`].
pub fn read(name: &str, from: impl Read, told: &Told, progress: Progress<'_>) -> Result<Trace, TraceError> {
    let io = |source| TraceError::Io { name: name.to_owned(), source };
    let file = |what: &str| TraceError::File { name: name.to_owned(), what: what.to_owned() };
    let mut from = BufReader::with_capacity(1 << 16, from);
    let mut sample = Vec::with_capacity(SAMPLE);
    from.by_ref().take(u64::try_from(SAMPLE).unwrap_or(u64::MAX)).read_to_end(&mut sample).map_err(io)?;
    if sample.starts_with(b"PAR1") {
        return Err(file("it is Parquet, which is not read; write it as CSV"));
    }
    if sample.starts_with(&[0x1f, 0x8b]) || sample.starts_with(b"PK") {
        return Err(file("it is compressed; unpack it first"));
    }
    if sample.starts_with(&[0xff, 0xfe]) || sample.starts_with(&[0xfe, 0xff]) || sample.contains(&0) {
        return Err(file("it is not UTF-8 text; save it as CSV in UTF-8"));
    }
    let text = String::from_utf8_lossy(&sample);
    let whole = sample.len() < SAMPLE;
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = sniff::records(text);
    if !whole {
        lines.pop();
    }
    let shape = sniff::shape(name, &lines, told)?;
    let chained = BufReader::with_capacity(1 << 18, std::io::Cursor::new(&sample).chain(from));
    let rows = Reader::new(name, &shape, told).rows(chained, progress)?;
    grid::build(name, rows, &shape, told)
}

struct Reader<'a> {
    name: &'a str,
    shape: &'a Shape,
    told: &'a Told,
    locals: Option<Locals>,
    zone: Option<(TimeZone, String)>,
    ids: BTreeMap<String, u32>,
    /// The last instant of each source, to tell the two passes of an hour apart.
    last: Vec<i64>,
    twice: usize,
    never: Vec<String>,
    never_count: usize,
    out: Vec<Row>,
    joined: String,
}

impl<'a> Reader<'a> {
    fn new(name: &'a str, shape: &'a Shape, told: &'a Told) -> Self {
        let zone = told.zone.clone().map(|zone| {
            let name = zone.iana_name().map_or_else(|| offset_name(time::offset(0, &zone)), str::to_owned);
            (zone, name)
        });
        Self {
            name,
            shape,
            told,
            locals: None,
            zone,
            ids: BTreeMap::new(),
            last: Vec::new(),
            twice: 0,
            never: Vec::new(),
            never_count: 0,
            out: Vec::new(),
            joined: String::new(),
        }
    }

    fn cell(&self, line: usize, column: usize, what: String) -> TraceError {
        let named = self.shape.names.get(column).map_or(String::new(), |name| format!(" ({name})"));
        TraceError::Cell { name: self.name.to_owned(), line, column: format!("{}{named}", column + 1), what }
    }

    fn rows(mut self, mut from: impl BufRead, progress: Progress<'_>) -> Result<Rows, TraceError> {
        let mut buffer = Vec::new();
        let (mut lines, mut bytes, mut read, mut missing) = (0_usize, 0_u64, 0_usize, 0_usize);
        let needed = [Some(self.shape.time), self.shape.clock, Some(self.shape.value), self.shape.id]
            .into_iter()
            .flatten()
            .max()
            .unwrap_or(0);
        let mut findings = Vec::new();
        let mut before = 0;
        loop {
            buffer.clear();
            let line = lines + 1;
            let at_line = |what: String| TraceError::Line { name: self.name.to_owned(), line, what };
            let mut ended = true;
            // A row goes on in the next line where a quotation mark is open.
            for more in 0.. {
                let most = MAX_LINE.saturating_sub(u64::try_from(buffer.len()).unwrap_or(MAX_LINE));
                let n = from
                    .by_ref()
                    .take(most)
                    .read_until(b'\n', &mut buffer)
                    .map_err(|source| TraceError::Io { name: self.name.to_owned(), source })?;
                let closed = n == 0 || more >= sniff::MAX_LINES;
                if closed && more > 0 {
                    return Err(at_line(
                        "a quotation mark is opened in this row and never closed; mend the line".into(),
                    ));
                }
                lines += usize::from(n > 0);
                bytes += u64::try_from(n).unwrap_or(0);
                if lines.is_multiple_of(1 << 16) {
                    progress(bytes);
                }
                ended = buffer.ends_with(b"\n");
                if !ended && buffer.len() >= usize::try_from(MAX_LINE).unwrap_or(usize::MAX) {
                    return Err(at_line(
                        "the row is longer than a million characters; is it a CSV file, and is each quotation mark closed?".into(),
                    ));
                }
                if !buffer.contains(&b'"') || !sniff::is_open(&buffer, &[self.shape.separator]) {
                    break;
                }
            }
            if buffer.is_empty() {
                break;
            }
            let lossy;
            let text = match std::str::from_utf8(&buffer) {
                Ok(text) => text,
                // A degree sign of an old program in a column that nobody asked for is no reason to stop.
                Err(_) => {
                    lossy = String::from_utf8_lossy(&buffer).into_owned();
                    &lossy
                }
            };
            let text = if line == 1 { text.trim_start_matches('\u{feff}') } else { text };
            if text.trim().is_empty() {
                continue;
            }
            if before < self.shape.preamble {
                before += 1;
                continue;
            }
            if self.shape.header && read == 0 && line_is_head(text, self.shape) {
                continue;
            }
            let mut row = Vec::with_capacity(self.shape.names.len().max(needed + 1));
            sniff::fields(text, self.shape.separator, &mut row);
            if row.len() <= needed {
                if !ended {
                    findings.push(Finding {
                        kind: "missing",
                        count: 1,
                        first: format!("line {line}"),
                        last: format!("line {line}"),
                        what: "the last line is cut and was left out".into(),
                    });
                    break;
                }
                return Err(at_line(format!(
                    "{} fields, but the row needs {}; mend the line or say --separator",
                    row.len(),
                    needed + 1
                )));
            }
            read += 1;
            let get = |at: usize| row.get(at).copied().unwrap_or("");
            let id = match self.shape.id {
                Some(at) => self.id(get(at)).map_err(|what| self.cell(line, at, what))?,
                None => self.id("").map_err(at_line_owned(self.name, line))?,
            };
            let at = self
                .time(get(self.shape.time), self.shape.clock.map(get), id)
                .map_err(|what| self.cell(line, self.shape.time, what))?;
            let text = get(self.shape.value);
            let value = if sniff::is_missing(text, &self.told.missing) {
                missing += 1;
                None
            } else {
                let value = sniff::number(text, self.shape.comma).ok_or_else(|| {
                    self.cell(
                        line,
                        self.shape.value,
                        format!("{text:?} is no number; mend it, or say --missing {text:?} if it stands for a value that is not there"),
                    )
                })?;
                if value.abs() * self.shape.unit.factor() > MOST {
                    return Err(self.cell(
                        line,
                        self.shape.value,
                        format!(
                            "{text:?} in the unit {} is more than any site has; mend it or say --unit, or --missing {text:?} if it stands for a value that is not there",
                            self.shape.unit.name()
                        ),
                    ));
                }
                Some(value)
            };
            self.keep(at, value, id).map_err(at_line_owned(self.name, line))?;
        }
        progress(bytes);
        let (zone, zone_name) = self.zone.clone().unwrap_or((TimeZone::UTC, "UTC".into()));
        if self.never_count > 0 {
            findings.push(Finding {
                kind: "time",
                count: self.never_count,
                first: self.never.first().cloned().unwrap_or_default(),
                last: self.never.last().cloned().unwrap_or_default(),
                what: format!(
                    "local times that do not exist, for the clock of {zone_name} is put forward there; if the \
                     recording keeps one time all year, say --zone with an offset, such as +01:00"
                ),
            });
        }
        let mut names: Vec<(u32, String)> = self.ids.into_iter().map(|(name, id)| (id, name)).collect();
        names.sort_unstable();
        let mut assumed = self.shape.assumed.clone();
        if self.told.zone.is_none() {
            assumed.push(format!("days and hours are those of {zone_name}; --zone says otherwise"));
        }
        if self.twice > 0 {
            assumed.push(format!("{} rows lie in the hour that the clock of {zone_name} goes through twice; they were told apart by their order", self.twice));
        }
        Ok(Rows {
            rows: self.out,
            ids: names.into_iter().map(|(_, name)| name).collect(),
            read,
            missing,
            zone,
            zone_name,
            findings,
            assumed,
        })
    }

    fn id(&mut self, name: &str) -> Result<u32, String> {
        if let Some(id) = self.ids.get(name) {
            return Ok(*id);
        }
        let id = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        if self.ids.len() >= MAX_IDS {
            return Err(format!("more than {MAX_IDS} sources in one file; is it the right column?"));
        }
        self.ids.insert(name.to_owned(), id);
        self.last.push(i64::MIN);
        Ok(id)
    }

    fn time(&mut self, date: &str, clock: Option<&str>, id: u32) -> Result<i64, String> {
        let text = match clock {
            Some(clock) => {
                self.joined.clear();
                self.joined.push_str(date);
                self.joined.push(' ');
                self.joined.push_str(clock);
                self.joined.as_str()
            }
            None => date,
        };
        let written = time::parse(text, self.shape.order).ok_or_else(|| {
            sniff::serial_words(text).unwrap_or_else(|| {
                format!(
                    "{text:?} is no time; times are like 2025-12-31 23:45, 31.12.2025 23:45 or seconds since 1970"
                )
            })
        })?;
        let last = usize::try_from(id).ok().and_then(|id| self.last.get_mut(id));
        let written = match written {
            Written::Offset(at, offset) if self.told.ignore_offset => Written::Local(at + offset),
            written => written,
        };
        let at = match written {
            Written::Instant(at) => at,
            Written::Offset(at, offset) => {
                if self.zone.is_none() {
                    let zone =
                        i32::try_from(offset).ok().and_then(|s| jiff::tz::Offset::from_seconds(s).ok());
                    self.zone = zone.map(|zone| (TimeZone::fixed(zone), offset_name(offset)));
                }
                at
            }
            Written::Local(local) => {
                let (zone, _) = self.zone.get_or_insert_with(|| (TimeZone::UTC, "UTC".into()));
                let locals = self.locals.get_or_insert_with(|| Locals::new(zone.clone()));
                match locals.resolve(local) {
                    Resolved::One(at) => at,
                    Resolved::Two(first, second) => {
                        self.twice += 1;
                        let last = last.as_ref().map(|last| **last).filter(|last| *last != i64::MIN);
                        let second_time = if self.shape.newest_first {
                            last.is_none_or(|last| last > second)
                        } else {
                            last.is_some_and(|last| last >= first)
                        };
                        if second_time { second } else { first }
                    }
                    Resolved::None(at) => {
                        self.never_count += 1;
                        if self.never.len() > 1 {
                            self.never.pop();
                        }
                        self.never.push(text.chars().take(16).collect());
                        at
                    }
                }
            }
        };
        if let Some(last) = last {
            *last = at;
        }
        Ok(at)
    }

    fn keep(&mut self, at: i64, value: Option<f64>, id: u32) -> Result<(), String> {
        let parts = u32::from(value.is_some());
        let value = value.unwrap_or(0.0);
        if let Some(every) = self.told.every {
            // What ends with an interval lies in it and not in the next.
            let within = if self.told.stamp == Some(Stamp::End) { at - 1 } else { at };
            let at = within.div_euclid(every) * every;
            if let Some(last) = self.out.last_mut()
                && last.at == at
                && last.id == id
            {
                last.value += value;
                last.parts = last.parts.saturating_add(parts);
                return Ok(());
            }
            return self.push(Row { at, value, id, parts });
        }
        self.push(Row { at, value, id, parts })
    }

    fn push(&mut self, row: Row) -> Result<(), String> {
        if self.out.len() >= MAX_ROWS && self.told.every.is_some() {
            gather(&mut self.out);
            // What fills most of the room even so would be gathered again and again.
            if self.out.len() > MAX_ROWS / 2 {
                return Err(format!("more than {} averages; say --every with a longer time", MAX_ROWS / 2));
            }
        }
        if self.out.len() >= MAX_ROWS {
            return Err(format!(
                "more than {MAX_ROWS} values, as many as are kept at once; say --every 1min (or longer), which averages while reading"
            ));
        }
        self.out.push(row);
        Ok(())
    }
}

/// Puts rows in order and adds up those of one instant and source.
pub(super) fn gather(rows: &mut Vec<Row>) {
    if !rows.is_sorted_by_key(|row| (row.at, row.id)) {
        rows.sort_by_key(|row| (row.at, row.id));
    }
    rows.dedup_by(|row, kept| {
        let same = row.at == kept.at && row.id == kept.id;
        if same {
            kept.value += row.value;
            kept.parts = kept.parts.saturating_add(row.parts);
        }
        same
    });
}

fn at_line_owned(name: &str, line: usize) -> impl Fn(String) -> TraceError {
    let name = name.to_owned();
    move |what| TraceError::Line { name: name.clone(), line, what }
}

fn line_is_head(text: &str, shape: &Shape) -> bool {
    let mut row = Vec::new();
    sniff::fields(text.trim_start_matches('\u{feff}'), shape.separator, &mut row);
    row.iter().zip(&shape.names).all(|(cell, name)| sniff::plain_name(cell) == *name)
}

/// An offset as people write it.
pub(super) fn offset_name(offset: i64) -> String {
    if offset == 0 {
        return "UTC".into();
    }
    let sign = if offset < 0 { '-' } else { '+' };
    format!("UTC{sign}{:02}:{:02}", offset.abs() / 3600, offset.abs() % 3600 / 60)
}

/// Whether a value counts towards power to spare as it stands.
pub(super) const fn turned(sign: Option<Sign>) -> f64 {
    match sign {
        Some(Sign::Import) => -1.0,
        Some(Sign::Surplus) | None => 1.0,
    }
}

/// A mean that is exact for one.
pub(super) fn mean_of(row: &Row) -> f64 {
    if row.parts == 0 { f64::NAN } else { row.value / number::count(usize::try_from(row.parts).unwrap_or(1)) }
}
