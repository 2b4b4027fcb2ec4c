//! Times as files have them.

use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::study::number;

/// Which comes first where a date is written with its year last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateOrder {
    /// 31/12/2025.
    DayFirst,
    /// 12/31/2025.
    MonthFirst,
}

/// A time as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Seconds since 1970.
    Instant(i64),
    /// Seconds since 1970 with the offset that is written beside it.
    Offset(i64, i64),
    /// The local clock's seconds, as if it were UTC.
    Local(i64),
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; the inverse of the usual division into eras of 400 years.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) || !(1900..=2200).contains(&year) {
        return None;
    }
    // March is the first month, so that the leap day is the last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    Some(365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468)
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn digits(&mut self, most: usize) -> Option<(i64, usize)> {
        let (mut value, mut n) = (0, 0);
        while n < most
            && let Some((c, rest)) = self.0.split_first()
            && c.is_ascii_digit()
        {
            value = value * 10 + i64::from(c - b'0');
            n += 1;
            self.0 = rest;
        }
        (n > 0).then_some((value, n))
    }

    fn any(&mut self, of: &[u8]) -> Option<u8> {
        let (c, rest) = self.0.split_first()?;
        of.contains(c).then(|| {
            self.0 = rest;
            *c
        })
    }

    fn blanks(&mut self) {
        while self.any(b" ").is_some() {}
    }
}

/// The first two numbers of a date whose year comes last, if it is one: both orders are then looked at.
pub(super) fn first_two(text: &str) -> Option<(i64, i64)> {
    let mut at = Cursor(text.trim().as_bytes());
    let (first, _) = at.digits(2)?;
    let mark = at.any(b"/.-")?;
    let (second, _) = at.digits(2)?;
    at.any(&[mark])?;
    at.digits(4).map(|_| (first, second))
}

/// Reads a time. `None` is no time that this program knows.
pub(super) fn parse(text: &str, order: DateOrder) -> Option<Written> {
    let text = text.trim();
    let bytes = text.as_bytes();
    if let Some(instant) = epoch(text) {
        return Some(Written::Instant(instant));
    }
    let mut at = Cursor(bytes);
    let (first, n) = at.digits(8)?;
    let date = if n == 8 {
        days(first / 10_000, first / 100 % 100, first % 100)?
    } else {
        let mark = at.any(b"-/.")?;
        let (second, _) = at.digits(2)?;
        at.any(&[mark])?;
        let (third, width) = at.digits(4)?;
        match (n, width, order) {
            (4, 1 | 2, _) => days(first, second, third)?,
            (1 | 2, 4, DateOrder::DayFirst) => days(third, second, first)?,
            (1 | 2, 4, DateOrder::MonthFirst) => days(third, first, second)?,
            (1 | 2, 2, DateOrder::DayFirst) => days(2000 + third, second, first)?,
            (1 | 2, 2, DateOrder::MonthFirst) => days(2000 + third, first, second)?,
            _ => return None,
        }
    } * 86_400;
    at.any(b"Tt_");
    at.blanks();
    if at.0.is_empty() {
        return Some(Written::Local(date));
    }
    let seconds = clock(&mut at)?;
    let local = date + seconds;
    at.blanks();
    let rest = std::str::from_utf8(at.0).ok()?;
    match rest {
        "" => Some(Written::Local(local)),
        "Z" | "z" | "UTC" | "GMT" => Some(Written::Offset(local, 0)),
        rest => parse_offset(rest).map(|offset| Written::Offset(local - offset, offset)),
    }
}

/// Seconds of the day: `0:05`, `00:05:30.5`, `1:30 PM`, `24:00`, `0005`.
fn clock(at: &mut Cursor) -> Option<i64> {
    let (mut hour, n) = at.digits(6)?;
    let minute;
    let mut second = 0;
    match n {
        6 => (hour, minute, second) = (hour / 10_000, hour / 100 % 100, hour % 100),
        4 => (hour, minute) = (hour / 100, hour % 100),
        1 | 2 => {
            at.any(b":.")?;
            minute = at.digits(2)?.0;
            if at.any(b":.").is_some() {
                second = at.digits(2)?.0;
                if at.any(b".,").is_some() {
                    at.digits(9)?;
                }
            }
        }
        _ => return None,
    }
    let before = at.0;
    at.blanks();
    if let Some(half) = at.any(b"AaPp") {
        at.any(b".");
        at.any(b"Mm")?;
        at.any(b".");
        if !(1..=12).contains(&hour) {
            return None;
        }
        hour = hour % 12 + if half.eq_ignore_ascii_case(&b'p') { 12 } else { 0 };
    } else {
        at.0 = before;
    }
    let fits = (hour < 24 || (hour == 24 && minute == 0 && second == 0)) && minute < 60 && second < 61;
    fits.then_some(hour * 3600 + minute * 60 + second)
}

/// `+05:00`, `+0500`, `-5`, in seconds.
pub(super) fn parse_offset(text: &str) -> Option<i64> {
    let mut at = Cursor(text.as_bytes());
    let sign = if at.any(b"+-")? == b'-' { -1 } else { 1 };
    let (hours, n) = at.digits(4)?;
    let (hours, minutes) = match n {
        4 => (hours / 100, hours % 100),
        1 | 2 if at.any(b":").is_some() => (hours, at.digits(2)?.0),
        1 | 2 => (hours, 0),
        _ => return None,
    };
    (at.0.is_empty() && hours <= 15 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Seconds, milliseconds, microseconds or nanoseconds since 1970, by their size; dates of digits alone are none of them.
fn epoch(text: &str) -> Option<i64> {
    let whole = text.split(['.', 'e', 'E']).next().unwrap_or(text);
    if whole.is_empty() || !whole.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    match whole.len() {
        9 | 10 => Some(number::whole(value)),
        13 => Some(number::whole(value / 1e3)),
        16 => Some(number::whole(value / 1e6)),
        19 => Some(number::whole(value / 1e9)),
        _ => None,
    }
}

/// What a spreadsheet's serial number of a day is as a date, where a text can be one: days since the end of 1899.
pub(super) fn serial(text: &str) -> Option<String> {
    let days: f64 = text.trim().parse().ok()?;
    if !text.trim().bytes().all(|c| c.is_ascii_digit() || c == b'.') || !(20_000.0..80_000.0).contains(&days)
    {
        return None;
    }
    let at = Timestamp::from_second(number::whole(((days - 25_569.0) * 86_400.0).round())).ok()?;
    Some(at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M").to_string())
}

/// The instant of a local time; of two the first, and where there is none the one after the same time since midnight.
pub(super) fn instant_of(local: i64, zone: &TimeZone) -> i64 {
    match Locals::new(zone.clone()).resolve(local) {
        Resolved::One(at) | Resolved::Two(at, _) | Resolved::None(at) => at,
    }
}

/// The offset of a zone at an instant, in seconds.
pub(super) fn offset(at: i64, zone: &TimeZone) -> i64 {
    Timestamp::from_second(at).map_or(0, |at| i64::from(zone.to_offset(at).seconds()))
}

/// What a local time is in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resolved {
    /// There is one such instant.
    One(i64),
    /// The clock is put back: there are two.
    Two(i64, i64),
    /// The clock is put forward: there is none; the instant is the one after the same time since midnight.
    None(i64),
}

/// Local times to instants; remembers the last quarter of an hour, since most rows lie in that of their neighbour.
#[derive(Debug)]
pub(super) struct Locals {
    zone: TimeZone,
    quarter: i64,
    kind: (i64, Option<i64>, bool),
}

impl Locals {
    pub(super) const fn new(zone: TimeZone) -> Self {
        Self { zone, quarter: i64::MIN, kind: (0, None, false) }
    }

    pub(super) fn resolve(&mut self, local: i64) -> Resolved {
        let quarter = local.div_euclid(900);
        if quarter != self.quarter {
            self.quarter = quarter;
            let civil = Timestamp::from_second(quarter * 900)
                .map(|at| TimeZone::UTC.to_datetime(at))
                .unwrap_or_default();
            self.kind = match self.zone.to_ambiguous_timestamp(civil).offset() {
                AmbiguousOffset::Unambiguous { offset } => (i64::from(offset.seconds()), None, false),
                AmbiguousOffset::Fold { before, after } => {
                    (i64::from(before.seconds()), Some(i64::from(after.seconds())), false)
                }
                AmbiguousOffset::Gap { before, .. } => (i64::from(before.seconds()), None, true),
            };
        }
        match self.kind {
            (first, Some(second), _) => Resolved::Two(local - first, local - second),
            (offset, None, true) => Resolved::None(local - offset),
            (offset, None, false) => Resolved::One(local - offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Written {
        parse(text, DateOrder::DayFirst).unwrap_or_else(|| panic!("{text:?} is no time"))
    }

    #[test]
    fn common_forms_of_one_instant_are_one_instant() {
        let wanted = 1_735_689_900; // 2025-01-01 00:05 UTC
        for text in ["1735689900", "1735689900.0", "1735689900000", "1735689900000000"] {
            assert_eq!(at(text), Written::Instant(wanted), "{text}");
        }
        for text in ["2025-01-01T00:05:00Z", "2025-01-01 05:05:00+05:00", "2025-01-01 05:05 +0500"] {
            assert!(matches!(at(text), Written::Offset(instant, _) if instant == wanted), "{text}");
        }
        for text in [
            "2025-01-01 00:05",
            "202501010005",
            "1.1.2025 0:05",
            "01/01/2025 12:05 AM",
            "20250101 0005",
            "2025/1/1 00:05:00.250",
        ] {
            assert_eq!(at(text), Written::Local(wanted), "{text}");
        }
        assert_eq!(parse("12/31/2024", DateOrder::MonthFirst), Some(Written::Local(1_735_603_200)));
        for text in ["", "noon", "2025-02-30", "31/12", "2025-01-01 25:00", "12", "0.5"] {
            assert_eq!(parse(text, DateOrder::DayFirst), None, "{text}");
        }
    }

    #[test]
    fn the_hour_that_is_there_twice_and_the_one_that_is_not_are_told_apart() {
        let mut locals = Locals::new(TimeZone::get("Europe/Paris").unwrap());
        let Written::Local(twice) = at("2014-10-26 02:30") else { panic!() };
        assert_eq!(locals.resolve(twice), Resolved::Two(twice - 7200, twice - 3600));
        let Written::Local(never) = at("2014-03-30 02:30") else { panic!() };
        assert_eq!(locals.resolve(never), Resolved::None(never - 3600));
        let Written::Local(plain) = at("2014-07-01 12:00") else { panic!() };
        assert_eq!(locals.resolve(plain), Resolved::One(plain - 7200));
    }
}
