//! Moments, as people write them on the command line and as they read them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::clock;

/// Which day is meant where a time stands alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Day {
    Today,
    /// Today while it is ahead, else tomorrow.
    Coming,
}

/// A moment of the past, for the command line: RFC 3339, else on the clocks of this machine; a time alone is of today.
///
/// # Errors
/// It is none. Says how one is written.
pub(super) fn past(words: &str) -> Result<Timestamp, String> {
    moment(words, Day::Today)
}

/// The end of a time of the past, for the command line: as [`past`], but a day alone is meant as a whole.
///
/// # Errors
/// As [`past`].
pub(super) fn end(words: &str) -> Result<Timestamp, String> {
    end_of(words, &TimeZone::system()).map_or_else(|| past(words), Ok)
}

/// The last millisecond of a day that stands alone: nothing that is kept is told finer.
fn end_of(words: &str, zone: &TimeZone) -> Option<Timestamp> {
    let next = zone.to_timestamp(behind(words)?).ok()?;
    Timestamp::from_millisecond(next.as_millisecond() - 1).ok()
}

/// What follows on a day that stands alone.
pub(super) fn behind(words: &str) -> Option<DateTime> {
    let words = words.trim();
    // A day is also read of one with a time.
    let day = words.parse::<Date>().ok().filter(|_| !words.contains(['T', 't', ':', ' ']))?;
    day.tomorrow().ok().map(Into::into)
}

/// A moment to come, for the command line: as [`past`], but a time alone is the next one.
///
/// # Errors
/// As [`past`].
pub(super) fn coming(words: &str) -> Result<Timestamp, String> {
    moment(words, Day::Coming)
}

fn moment(words: &str, day: Day) -> Result<Timestamp, String> {
    let now = Timestamp::try_from(clock::wall()).map_err(|error| error.to_string())?;
    read(words.trim(), now, &TimeZone::system(), day).ok_or_else(|| {
        String::from(
            "write it like \"18:30\", \"2026-07-01 18:30\", \"2026-07-01\", or with an offset \
             \"2026-07-01T18:30:00+05:00\"",
        )
    })
}

fn read(words: &str, now: Timestamp, zone: &TimeZone, day: Day) -> Option<Timestamp> {
    if let Ok(at) = words.parse::<Timestamp>() {
        return Some(at);
    }
    let at = |civil: DateTime| zone.to_timestamp(civil).ok();
    if let Ok(civil) = words.parse::<DateTime>() {
        return at(civil);
    }
    // Digits alone could be a year.
    let time = words.parse::<Time>().ok().filter(|_| words.contains(':'))?;
    let date = zone.to_datetime(now).date();
    let today = at(date.to_datetime(time))?;
    if day == Day::Today || today > now { Some(today) } else { at(date.tomorrow().ok()?.to_datetime(time)) }
}

/// A moment of an answer (RFC 3339, or milliseconds since 1970) in the zone of this machine; a dash for none.
pub(super) fn day_time(value: &Value) -> String {
    let at = match value.as_i64() {
        Some(millis) => Timestamp::from_millisecond(millis).ok(),
        None => value.as_str().and_then(|text| text.parse::<Timestamp>().ok()),
    };
    // What has no beginning begins when counting does.
    at.filter(|at| at.as_second() > 0).map_or_else(
        || String::from("–"),
        |at| at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// Milliseconds since 1970 as programs read them (RFC 3339, UTC); `None` beyond the calendar.
pub(super) fn stamp(millis: i64) -> Option<String> {
    Timestamp::from_millisecond(millis).ok().map(|at| at.to_string())
}

/// Milliseconds since 1970 to the last one, for records that are compared: `2026-11-29 04:43:52.125 UTC`.
pub(super) fn utc(millis: i64) -> String {
    let at = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%d %H:%M:%S%.3f UTC").to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        let zone = TimeZone::get("Asia/Karachi").unwrap();
        let now: Timestamp = "2026-07-01T12:00:00Z".parse().unwrap();
        let read = |words, day| read(words, now, &zone, day).map(|at| at.to_string());
        for (words, today, coming) in [
            ("18:30", "2026-07-01T13:30:00Z", "2026-07-01T13:30:00Z"),
            ("16:30", "2026-07-01T11:30:00Z", "2026-07-02T11:30:00Z"),
            ("2026-07-03 06:00", "2026-07-03T01:00:00Z", "2026-07-03T01:00:00Z"),
            ("2026-07-03T06:00", "2026-07-03T01:00:00Z", "2026-07-03T01:00:00Z"),
            ("2026-07-03", "2026-07-02T19:00:00Z", "2026-07-02T19:00:00Z"),
            ("2026-07-03T06:00:00+02:00", "2026-07-03T04:00:00Z", "2026-07-03T04:00:00Z"),
            ("2026-07-03T06:00:00Z", "2026-07-03T06:00:00Z", "2026-07-03T06:00:00Z"),
        ] {
            assert_eq!(read(words, Day::Today).as_deref(), Some(today), "{words}");
            assert_eq!(read(words, Day::Coming).as_deref(), Some(coming), "{words}");
        }
        let last = |words| end_of(words, &zone).map(|at| at.to_string());
        assert_eq!(last(" 2026-07-03").as_deref(), Some("2026-07-03T18:59:59.999Z"));
        for other in ["2026-07-03 06:00", "2026-07-03T06", "06:00", "2026-07-03T06:00:00Z", "July"] {
            assert_eq!(last(other), None, "{other}");
        }
        assert!(
            end("2026-07-03") > past("2026-07-03") && end("2026-07-03 06:00") == past("2026-07-03 06:00")
        );
        for nonsense in ["", "tomorrow", "noon", "25:00", "6pm", "2026", "2026-13-01 00:00"] {
            assert_eq!(read(nonsense, Day::Today), None, "{nonsense}");
        }
        assert!(past("noon").unwrap_err().contains("18:30") && coming(" 18:30 ").is_ok());
    }

    #[test]
    fn both_shapes_of_an_answer_are_told_alike() {
        assert_eq!(day_time(&json!(1_790_000_000_000_i64)), day_time(&json!(stamp(1_790_000_000_000))));
        assert_eq!(day_time(&Value::Null), "–");
        assert_eq!(utc(1_790_000_000_125), "2026-09-21 14:13:20.125 UTC");
    }
}
