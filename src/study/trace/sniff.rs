//! What the first rows of a file say about the rest: separator, decimals, head, and which column is what.

use super::time::{self, DateOrder};
use super::{Told, TraceError, Unit};

/// How the rows of a file are read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    pub separator: u8,
    pub comma: bool,
    pub header: bool,
    pub names: Vec<String>,
    pub time: usize,
    /// Where the time of day has a column of its own.
    pub clock: Option<usize>,
    pub value: usize,
    pub id: Option<usize>,
    pub unit: Unit,
    pub order: DateOrder,
    /// Rows before the table that are not blank and no part of it.
    pub preamble: usize,
    /// Whether the newest row comes first.
    pub newest_first: bool,
    /// What nobody told.
    pub assumed: Vec<String>,
}

/// Splits a line into its fields; those in quotes may have the separator in them.
pub(super) fn fields<'a>(line: &'a str, separator: u8, into: &mut Vec<&'a str>) {
    into.clear();
    let (mut place, mut start) = (Place::Begin, 0);
    for (at, c) in line.bytes().enumerate() {
        if c == separator && place != Place::Quoted {
            into.push(clean(line.get(start..at).unwrap_or("")));
            start = at + 1;
            place = Place::Begin;
        } else {
            place = place.after(c);
        }
    }
    into.push(clean(line.get(start..).unwrap_or("")));
}

/// Where in a field a character stands. A quotation mark means something at the beginning of a field only: elsewhere it may be
/// an inch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Begin,
    Plain,
    Quoted,
    Closed,
}

impl Place {
    const fn after(self, c: u8) -> Self {
        match (self, c) {
            (Self::Begin | Self::Closed, b'"') => Self::Quoted,
            (Self::Quoted, b'"') => Self::Closed,
            (Self::Quoted, _) => Self::Quoted,
            (Self::Begin, b' ' | b'\t' | b'\r' | b'\n') => Self::Begin,
            (Self::Closed, b' ' | b'\t' | b'\r' | b'\n') => Self::Closed,
            _ => Self::Plain,
        }
    }
}

/// Whether a quotation mark is opened in some lines and not closed: the row then goes on in the next line.
pub(super) fn is_open(lines: &[u8], separators: &[u8]) -> bool {
    let mut place = Place::Begin;
    for c in lines {
        place = if separators.contains(c) && place != Place::Quoted { Place::Begin } else { place.after(*c) };
    }
    place == Place::Quoted
}

/// What may separate fields.
pub(super) const SEPARATORS: [u8; 4] = *b";\t,|";
/// So many lines a row may have, by line breaks within quotation marks.
pub(super) const MAX_LINES: usize = 1000;

/// The rows of a text, without the ends of their lines: lines, but for line breaks within quotation marks.
pub(super) fn records(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let (mut from, mut to, mut lines) = (0, 0, 0);
    for line in text.split_inclusive('\n') {
        to += line.len();
        lines += 1;
        let row = text.get(from..to).unwrap_or("");
        if lines < MAX_LINES && row.contains('"') && is_open(row.as_bytes(), &SEPARATORS) {
            continue;
        }
        all.push(row.trim_end_matches(['\n', '\r']));
        (from, lines) = (to, 0);
    }
    if from < text.len() {
        all.push(text.get(from..).unwrap_or("").trim_end_matches(['\n', '\r']));
    }
    all
}

fn clean(field: &str) -> &str {
    let field = field.trim();
    field.strip_prefix('"').and_then(|field| field.strip_suffix('"')).unwrap_or(field).trim()
}

/// A number as it is written. `None` is none.
pub(super) fn number(text: &str, comma: bool) -> Option<f64> {
    // Word processors and some exports write the minus sign of typography.
    let minus;
    let text = match text.strip_prefix(['\u{2212}', '\u{fe63}', '\u{ff0d}']) {
        Some(rest) => {
            minus = format!("-{rest}");
            minus.as_str()
        }
        None => text,
    };
    let plain = match text.parse::<f64>() {
        Ok(value) if !comma || !text.contains('.') => return value.is_finite().then_some(value),
        _ => text,
    };
    let (thousands, decimal) = if comma { ('.', ',') } else { (',', '.') };
    if !plain.starts_with(|c: char| c.is_ascii_digit() || "+-.,".contains(c)) {
        return None;
    }
    // Thousands stand in groups of three, or it is another kind of number.
    let (whole, rest) = plain.split_once(decimal).map_or((plain, None), |(whole, rest)| (whole, Some(rest)));
    let mut groups = whole.split([thousands, '\'', ' ', '\u{a0}', '\u{202f}']);
    let first = groups.next().unwrap_or("");
    let mut tidy = first.to_owned();
    for group in groups {
        if group.len() != 3 || first.trim_start_matches(['+', '-']).len() > 3 {
            return None;
        }
        tidy.push_str(group);
    }
    if let Some(rest) = rest {
        tidy.push('.');
        tidy.push_str(rest);
    }
    tidy.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Words that stand for a value that is not there.
const MISSING: [&str; 17] = [
    "", "nan", "na", "n/a", "#n/a", "null", "none", "-", "--", "\u{2212}", "\u{2013}", "\u{2014}", "?",
    "nodata", "no data", "bad", "missing",
];

/// Whether a cell says that there is no value.
pub(super) fn is_missing(text: &str, more: &[String]) -> bool {
    MISSING.iter().any(|word| text.eq_ignore_ascii_case(word)) || more.iter().any(|word| word == text)
}

/// What a unit is called at the end of a column's name.
fn unit_of(name: &str) -> Option<Unit> {
    let words: Vec<String> = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    words.iter().find_map(|word| match word.as_str() {
        "w" | "watt" | "watts" => Some(Unit::Watts),
        "kw" | "kilowatt" | "kilowatts" => Some(Unit::Kilowatts),
        "mw" | "megawatt" | "megawatts" => Some(Unit::Megawatts),
        "wh" => Some(Unit::WattHoursPerInterval),
        "kwh" => Some(Unit::KilowattHoursPerInterval),
        "mwh" => Some(Unit::MegawattHoursPerInterval),
        _ => None,
    })
}

/// Finds the shape of a file in its first lines.
pub(super) fn shape(name: &str, lines: &[&str], told: &Told) -> Result<Shape, TraceError> {
    let file = |what: String| TraceError::File { name: name.to_owned(), what };
    let lines: Vec<&str> = lines.iter().copied().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return Err(file("there is nothing in it; give a file of rows with a time and a power".into()));
    }
    let mut assumed = Vec::new();
    let separator = told.separator.map_or_else(|| separator(&lines), Some).ok_or_else(|| {
        file("no column of times beside one of powers is found; the fields are to be separated by a comma, a semicolon or a tab, or say --separator".into())
    })?;
    let preamble = preamble(&lines, separator);
    if preamble > 0 {
        assumed.push(format!("the first {preamble} lines are no rows of the table"));
    }
    let lines = lines.get(preamble..).unwrap_or(&[]);
    let first = lines.first().copied().unwrap_or("");
    let mut head = Vec::new();
    fields(first, separator, &mut head);
    let rows: Vec<Vec<&str>> = lines
        .iter()
        .skip(1)
        .map(|line| {
            let mut row = Vec::new();
            fields(line, separator, &mut row);
            row
        })
        .collect();
    let is_time = |text: &str| {
        time::parse(text, DateOrder::DayFirst).or_else(|| time::parse(text, DateOrder::MonthFirst)).is_some()
    };
    let comma = told.decimal_comma.unwrap_or_else(|| {
        let cells = || rows.iter().flatten().filter(|cell| !is_time(cell));
        separator != b','
            && cells().any(|cell| cell.contains(',') && number(cell, true).is_some())
            && !cells().any(|cell| cell.contains('.') && !cell.contains(',') && number(cell, false).is_some())
    });
    let header = told.header.unwrap_or_else(|| {
        !head.iter().any(|cell| is_time(cell))
            || head.iter().all(|cell| number(cell, comma).is_none() && !is_time(cell))
    });
    let names: Vec<String> =
        if header { head.iter().map(|cell| plain_name(cell)).collect() } else { Vec::new() };
    let width = head.len();
    let samples: Vec<&Vec<&str>> =
        if header { rows.iter().collect() } else { std::iter::once(&head).chain(&rows).collect() };
    if samples.is_empty() {
        return Err(file("it has a head and no row".into()));
    }
    let column = |wanted: &str, what: &str| -> Result<usize, TraceError> {
        if let Some(at) = names.iter().position(|name| name == wanted) {
            return Ok(at);
        }
        if let Some(at) = wanted.parse::<usize>().ok().and_then(|n| n.checked_sub(1)).filter(|at| *at < width)
        {
            return Ok(at);
        }
        names.iter().position(|name| name.eq_ignore_ascii_case(wanted)).ok_or_else(|| {
            file(format!("there is no column {wanted:?} for the {what}; there are {}", listed(&names, width)))
        })
    };
    let share = |at: usize, is: &dyn Fn(&str) -> bool| {
        let cells =
            samples.iter().filter_map(|row| row.get(at)).filter(|cell| !is_missing(cell, &told.missing));
        let (good, all) =
            cells.fold((0_usize, 0_usize), |(good, all), cell| (good + usize::from(is(cell)), all + 1));
        all > 0 && good * 10 >= all * 9
    };
    let is_clock = |text: &str| text.contains(':') && is_time(&format!("2000-01-01 {text}"));
    let (time, clock) = match told.time.as_deref() {
        Some(both) if both.contains('+') && !names.iter().any(|name| name == both) => {
            let (date, clock) = both.split_once('+').unwrap_or((both, ""));
            (column(date.trim(), "date")?, Some(column(clock.trim(), "time of day")?))
        }
        Some(wanted) => (column(wanted, "time")?, None),
        None => {
            let time = (0..width).find(|at| share(*at, &is_time)).ok_or_else(|| {
                let serial = samples.iter().find_map(|row| row.iter().find_map(|cell| serial_words(cell)));
                file(format!(
                    "no column reads as a time; {} There are {}",
                    serial.unwrap_or_else(|| {
                        "say which with --time. Times are like 2025-12-31 23:45, 31.12.2025 23:45 or seconds since 1970.".into()
                    }),
                    listed(&names, width)
                ))
            })?;
            let alone = share(time, &|text| !text.contains(':'));
            (time, (time + 1 < width && alone && share(time + 1, &is_clock)).then_some(time + 1))
        }
    };
    let id = told.id.as_deref().map(|wanted| column(wanted, "source of each row")).transpose()?;
    let is_number = |text: &str| number(text, comma).is_some();
    let value = if let Some(wanted) = told.value.as_deref() {
        let at = column(wanted, "power")?;
        let other = match at {
            at if at == time || Some(at) == clock => Some("time"),
            at if Some(at) == id => Some("source of each row"),
            _ => None,
        };
        if let Some(other) = other {
            return Err(file(format!(
                "--value {wanted} is the column of the {other}; say which column is the power. There are {}",
                listed(&names, width)
            )));
        }
        at
    } else {
        let numbers: Vec<usize> = (0..width)
            .filter(|at| *at != time && Some(*at) != clock && Some(*at) != id && share(*at, &is_number))
            .collect();
        let named: Vec<usize> = numbers
            .iter()
            .copied()
            .filter(|at| {
                names.get(*at).is_some_and(|name| {
                    let lower = name.to_ascii_lowercase();
                    unit_of(name).is_some()
                        || ["power", "surplus", "export"].iter().any(|word| lower.contains(word))
                })
            })
            .collect();
        match (numbers.as_slice(), named.as_slice()) {
            ([one], _) | (_, [one]) => *one,
            ([], _) => {
                return Err(file(format!(
                    "no column reads as numbers; say which is the power with --value. There are {}",
                    listed(&names, width)
                )));
            }
            _ => {
                return Err(file(format!(
                    "which column is the power? Say --value NAME; there are {}",
                    listed(&names, width)
                )));
            }
        }
    };
    let unit = match (told.unit, names.get(value).and_then(|name| unit_of(name))) {
        (Some(unit), _) => unit,
        (None, Some(unit)) => {
            assumed.push(format!(
                "the unit is {}, by the name of the column; --unit says otherwise",
                unit.name()
            ));
            unit
        }
        (None, None) => {
            return Err(file(format!(
                "the name of the power's column{} says no unit; say --unit W, kW, MW or kWh-per-interval",
                names.get(value).map_or(String::new(), |name| format!(" ({name})"))
            )));
        }
    };
    let order = match told.date_order {
        Some(order) => order,
        None => {
            let (order, guessed) = date_order(&samples, time).map_err(file)?;
            if guessed {
                let first = if order == DateOrder::DayFirst { "day" } else { "month" };
                assumed.push(format!(
                    "the {first} comes first in dates, by how they go on; --date-order says otherwise"
                ));
            }
            order
        }
    };
    let written = |row: &&Vec<&str>| {
        let date = row.get(time).copied().unwrap_or("");
        let text = clock.map_or_else(
            || date.to_owned(),
            |clock| format!("{date} {}", row.get(clock).copied().unwrap_or("")),
        );
        time::parse(&text, order).map(|written| match written {
            time::Written::Instant(at) | time::Written::Offset(at, _) | time::Written::Local(at) => at,
        })
    };
    let (first, last) = (samples.iter().find_map(written), samples.iter().rev().find_map(written));
    let newest_first = first > last;
    Ok(Shape {
        separator,
        comma,
        header,
        names,
        time,
        clock,
        value,
        id,
        unit,
        order,
        preamble,
        newest_first,
        assumed,
    })
}

/// The name of a column on one line.
pub(super) fn plain_name(cell: &str) -> String {
    cell.replace(|c: char| crate::line::shown(c) != c, " ")
}

/// What to say of a text that is a spreadsheet's serial number of a day, if it can be one.
pub(super) fn serial_words(text: &str) -> Option<String> {
    time::serial(text).map(|date| {
        format!(
            "{text:?} looks like a spreadsheet's serial number of a day ({date}): give the column a format such as yyyy-mm-dd hh:mm \
             there and export it again."
        )
    })
}

fn listed(names: &[String], width: usize) -> String {
    if names.is_empty() {
        return format!("columns 1 to {width}");
    }
    let named: Vec<&str> = names.iter().take(40).map(String::as_str).collect();
    format!("{}{}", named.join(", "), if names.len() > 40 { " …" } else { "" })
}

/// The character that splits all lines into the same number of fields, two or more.
fn separator(lines: &[&str]) -> Option<u8> {
    let mut row = Vec::new();
    let mut best = None;
    for separator in SEPARATORS {
        let counts: Vec<usize> = lines
            .iter()
            .map(|line| {
                fields(line, separator, &mut row);
                row.len()
            })
            .collect();
        let most = counts.iter().copied().max().unwrap_or(1);
        let same = counts.iter().filter(|count| **count == most).count();
        // A semicolon or a tab that does it is meant; a comma may also stand before decimals.
        if most > 1 && same * 10 >= counts.len() * 9 {
            return Some(separator);
        }
        if most > 1 && best.is_none() {
            best = Some(separator);
        }
    }
    best
}

/// How many lines stand before the first that has as many fields as most: words about the table.
fn preamble(lines: &[&str], separator: u8) -> usize {
    let mut row = Vec::new();
    let mut counts = std::collections::BTreeMap::<usize, (usize, usize)>::new();
    for (at, line) in lines.iter().enumerate() {
        fields(line, separator, &mut row);
        if row.len() > 1 {
            let (times, _) = counts.entry(row.len()).or_insert((0, at));
            *times += 1;
        }
    }
    counts.values().max_by_key(|(times, _)| *times).map_or(0, |(_, first)| *first)
}

/// Day or month first, by a number above 12, or, a guess, by which goes on; refused where the rows leave it open.
fn date_order(samples: &[&Vec<&str>], at: usize) -> Result<(DateOrder, bool), String> {
    let mut open = None;
    let mut seconds = std::collections::BTreeSet::new();
    let mut firsts = std::collections::BTreeSet::new();
    for text in samples.iter().filter_map(|row| row.get(at)) {
        let Some((first, second)) = time::first_two(text) else { continue };
        if first > 12 || text.contains('.') {
            return Ok((DateOrder::DayFirst, false));
        }
        if second > 12 {
            return Ok((DateOrder::MonthFirst, false));
        }
        firsts.insert(first);
        seconds.insert(second);
        open = Some(*text);
    }
    match open {
        None => Ok((DateOrder::DayFirst, false)),
        // Rows that follow one another pass through days sooner than through months.
        Some(_) if firsts.len() > 1 && seconds.len() == 1 => Ok((DateOrder::DayFirst, true)),
        Some(_) if seconds.len() > 1 && firsts.len() == 1 => Ok((DateOrder::MonthFirst, true)),
        Some(text) => Err(format!("is {text} the day or the month first? Say --date-order day or month")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for (text, comma, value) in [
            ("1.5", false, 1.5),
            ("-1,5", true, -1.5),
            ("1.234,5", true, 1234.5),
            ("1,234.5", false, 1234.5),
            ("1'234.5", false, 1234.5),
            ("1e-3", false, 0.001),
            ("1.234", true, 1234.0),
            (",5", true, 0.5),
        ] {
            assert!((number(text, comma).unwrap() - value).abs() < 1e-12, "{text}");
        }
        for text in ["", "x", "inf", "nan", "1,2,3", "12,34.5", "1.2.3"] {
            assert_eq!(number(text, false), None, "{text}");
        }
    }

    #[test]
    fn separator_decimals_head_and_columns_are_found() {
        let told = Told { unit: Some(Unit::Kilowatts), ..Told::default() };
        let lines = ["Zeit;Leistung", "31.12.2025 00:00;1.234,5", "31.12.2025 00:15;0,5"];
        let found = shape("f", &lines, &told).unwrap();
        assert_eq!((found.separator, found.comma, found.header), (b';', true, true));
        assert_eq!((found.time, found.value, found.order), (0, 1, DateOrder::DayFirst));
        let lines = ["2025-12-31,00:00,1.5", "2025-12-31,00:15,2.5"];
        let found = shape("f", &lines, &told).unwrap();
        assert_eq!((found.header, found.time, found.clock, found.value), (false, 0, Some(1), 2));
    }

    #[test]
    fn what_is_open_is_asked_by_name() {
        let refused = |lines: &[&str]| shape("f", lines, &Told::default()).unwrap_err().to_string();
        assert!(
            refused(&["time,a,b", "2025-01-01 00:00,1,2"]).contains("--value NAME; there are time, a, b")
        );
        assert!(refused(&["time,a", "2025-01-01 00:00,1"]).contains("--unit"));
        assert!(refused(&["time,kW", "1/2/2025 00:00,1", "3/4/2025 00:00,1"]).contains("--date-order"));
        assert!(refused(&["some words", "and more"]).contains("--separator"));
        assert!(refused(&["", " "]).contains("nothing in it"));
        assert!(refused(&["time,kW"]).contains("no row"));
    }
}
