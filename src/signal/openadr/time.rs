//! Dates and durations as OpenADR 3 writes them.

use std::time::Duration;

use jiff::Timestamp;

use crate::control::signal::Wall;

/// From here on a duration has no end: the specification writes infinity as `P9999Y`.
const INFINITE_YEARS: u64 = 1_000;
const DAY: u64 = 86_400;

/// When something begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Now; inside an event: right after what came before.
    Now,
    /// At this time.
    At(Wall),
}

/// How long something lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So long; zero takes it back.
    For(Duration),
    /// Without an end.
    Forever,
}

/// Reads the start of a period (RFC 3339). The beginning of time means now: `0001-01-01…`, or `0000-00-00` as version
/// 3.0.0 has it. `None` for anything else that names no moment, so also for a time without its offset: hours too early
/// or too late are worse than an order that is not understood.
pub fn start(text: &str) -> Option<Start> {
    let text = text.trim();
    if text.starts_with("0001-01-01") || text.starts_with("0000-00-00") {
        return Some(Start::Now);
    }
    moment(text).map(Start::At)
}

/// Reads a moment (RFC 3339, with an offset). The last day of the year 9999, which programs write for "for ever" and which
/// lies beyond what can be computed with in some offset, is the last moment that can.
pub fn moment(text: &str) -> Option<Wall> {
    let text = text.trim();
    let moment: Timestamp = text.parse().ok().or_else(|| {
        let rest = text.strip_prefix("9999-12-3")?;
        let earlier: Option<Timestamp> = format!("9998-12-3{rest}").parse().ok();
        earlier.and_then(|_| Timestamp::from_second(Timestamp::MAX.as_second()).ok())
    })?;
    Some(Wall::unix_millis(moment.as_millisecond()))
}

/// Reads the header `Date` of an answer (RFC 9110, section 5.6.7).
pub fn http_date(text: &str) -> Option<Wall> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    let moment = parser.parse_timestamp(text.trim()).ok()?;
    Some(Wall::unix_millis(moment.as_millisecond()))
}

/// Writes a moment for a report (RFC 3339, UTC).
pub fn write_moment(moment: Wall) -> String {
    Timestamp::from_millisecond(moment.as_unix_millis()).map_or_else(|_| String::new(), |at| at.to_string())
}

/// Writes a duration (ISO 8601), in whole seconds.
pub fn write_duration(time: Duration) -> String {
    format!("PT{}S", time.as_secs())
}

/// Reads a duration (ISO 8601). The calendar does not matter: a year counts as 366 days and a month as 31, since a cap
/// had better last too long. The sign is dropped where `signed` (`randomizeStart` goes both ways), and refused elsewhere.
pub fn length(text: &str, signed: bool) -> Option<Length> {
    let text = text.trim();
    let text = match text.strip_prefix('-') {
        Some(rest) if signed => rest,
        Some(_) => return None,
        None => text,
    };
    let rest = text.strip_prefix('P')?;
    let (days, time) = match rest.split_once('T') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (rest, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let mut seconds = 0_f64;
    let mut infinite = false;
    for (number, unit) in parts(days, &['Y', 'M', 'W', 'D'])? {
        let whole: u64 = number.parse().ok()?;
        let factor = match unit {
            'Y' => 366 * DAY,
            'M' => 31 * DAY,
            'W' => 7 * DAY,
            _ => DAY,
        };
        infinite |= unit == 'Y' && whole >= INFINITE_YEARS;
        let size: f64 = number.parse().ok()?;
        seconds += size * f64::from(u32::try_from(factor).ok()?);
    }
    for (number, unit) in parts(time, &['H', 'M', 'S'])? {
        if unit != 'S' && number.contains('.') {
            return None;
        }
        let size: f64 = number.parse().ok()?;
        seconds += size
            * f64::from(match unit {
                'H' => 3_600_u32,
                'M' => 60,
                _ => 1,
            });
    }
    let most = f64::from(u32::try_from(366 * DAY).ok()?) * f64::from(u32::try_from(INFINITE_YEARS).ok()?);
    if infinite || seconds >= most {
        return Some(Length::Forever);
    }
    Duration::try_from_secs_f64(seconds).ok().map(Length::For)
}

/// Numbers with their units, each unit at most once and in this order.
fn parts<'t>(text: &'t str, units: &[char]) -> Option<Vec<(&'t str, char)>> {
    let mut found = Vec::new();
    let mut allowed = units.iter();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, behind) = rest.split_at_checked(end)?;
        let unit = behind.chars().next()?;
        if number.is_empty() || number.len() > 18 || !allowed.any(|known| *known == unit) {
            return None;
        }
        found.push((number, unit));
        rest = behind.get(unit.len_utf8()..)?;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        match length(text, false)? {
            Length::For(time) => Some(time.as_secs()),
            Length::Forever => Some(u64::MAX),
        }
    }

    #[test]
    fn durations_are_read_as_iso_8601_has_them() {
        for (text, expected) in [
            ("PT0S", 0),
            ("P0D", 0),
            ("PT15M", 900),
            ("PT1H", 3_600),
            ("PT1H30M5S", 5_405),
            ("P1DT2H", 93_600),
            ("P2W", 1_209_600),
            ("P1M", 31 * DAY),
            ("P1Y", 366 * DAY),
            ("P9999Y", u64::MAX),
            ("P1000Y", u64::MAX),
            ("P999999999999999D", u64::MAX),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        assert_eq!(length("PT1.5S", false), Some(Length::For(Duration::from_millis(1_500))));
        assert_eq!(length("-PT5M", true), Some(Length::For(Duration::from_secs(300))));
    }

    #[test]
    fn the_last_day_of_the_calendar_is_for_ever_in_any_offset_and_nothing_else_is() {
        for text in ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999+05:00", "9999-12-31T00:00:00-11:00"]
        {
            let read = moment(text).unwrap_or_else(|| panic!("{text}"));
            let written = write_moment(read);
            assert!(written.starts_with("9999-12-30T22"), "{text}: {written}");
            assert_eq!(moment(&written), Some(read));
        }
        for text in [
            "9999-12-31",
            "9999-12-31T25:00:00Z",
            "9999-12-3",
            "9999-12-32T00:00:00Z",
            "9999-13-31T00:00:00Z",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "", "P", "PT", "1H", "PT1", "PTS", "P1H", "PT1D", "PT1M1H", "PT1H1H", "-PT1H", "PT1.5H", "P1.5D",
            "PT é",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn the_beginning_of_time_means_now_and_a_time_needs_its_offset() {
        for text in [
            "0001-01-01",
            "0001-01-01T00:00:00",
            "0001-01-01T00:00:00Z",
            "0001-01-01T00:00:00.000Z",
            "0000-00-00",
        ] {
            assert_eq!(start(text), Some(Start::Now), "{text}");
        }
        let at = Start::At(Wall::unix_millis(1_675_987_200_000));
        for text in ["2023-02-10T00:00:00Z", "2023-02-10T00:00:00.000Z", "2023-02-10T01:00:00+01:00"] {
            assert_eq!(start(text), Some(at), "{text}");
        }
        for text in ["", "2023-02-10", "2023-02-10T00:00:00", "17:35:55", "soon"] {
            assert_eq!(start(text), None, "{text}");
        }
    }

    #[test]
    fn the_date_of_an_answer_is_read() {
        let at = Some(Wall::unix_millis(784_111_777_000));
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), at);
        assert_eq!(http_date("yesterday"), None);
    }
}
