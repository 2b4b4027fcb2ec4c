//! Hours of the day that come back: on which days, in which season, and the moments that they are.
//!
//! A window belongs to the day on which it begins: weekday, season and holiday are those of that day, also where it ends
//! after midnight. Where clocks are put forward, a beginning or end within the hour that is skipped is the moment of
//! the change; where they are put back, a window begins with the first and ends with the second of the two hours that
//! bear the same name: in doubt it is longer.

use std::sync::Arc;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::control::signal::Wall;

/// On which days of the week, holidays included as an eighth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    /// Monday first.
    pub weekdays: [bool; 7],
    /// On every holiday, whatever its weekday.
    pub holidays: bool,
    /// Not on holidays, whatever their weekday.
    pub except_holidays: bool,
}

impl Days {
    /// Every day.
    pub const ALL: Self = Self { weekdays: [true; 7], holidays: false, except_holidays: false };

    fn has(&self, weekday: Weekday, holiday: bool) -> bool {
        let at = usize::try_from(weekday.to_monday_zero_offset()).unwrap_or(0);
        let usual = self.weekdays.get(at).copied().unwrap_or(true);
        (usual && !(holiday && self.except_holidays)) || (holiday && self.holidays)
    }
}

/// A day of the year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MonthDay {
    /// 1 to 12.
    pub month: i8,
    /// 1 to 31; the 29th of February is also the end of the shorter ones.
    pub day: i8,
}

impl MonthDay {
    fn of(date: Date) -> Self {
        Self { month: date.month(), day: date.day() }
    }
}

/// A holiday: of one year, or of every year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holiday {
    /// Of one year.
    Once(Date),
    /// Of every year.
    Yearly(MonthDay),
}

/// A window of the day that comes back.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Its name.
    pub name: Arc<str>,
    /// When it begins, on the clocks of the site.
    pub from: Time,
    /// When it ends; `None` at midnight, which is the end of the day on which it began. Where it is not after `from`, it
    /// is that of the next day.
    pub to: Option<Time>,
    /// On which days.
    pub days: Days,
    /// From the first to the last day of its season, both included, also across New Year; `None` all year.
    pub season: Option<(MonthDay, MonthDay)>,
}

impl Window {
    fn covers(&self, date: Date, holiday: bool) -> bool {
        let day = MonthDay::of(date);
        let in_season = self.season.is_none_or(|(first, last)| {
            if first <= last { first <= day && day <= last } else { first <= day || day <= last }
        });
        in_season && self.days.has(date.weekday(), holiday)
    }
}

/// One time of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Its position in [`Windows::windows`].
    pub window: usize,
    /// The day on which it begins.
    pub date: Date,
    /// When it begins.
    pub from: Timestamp,
    /// When it ends; after `from`.
    pub until: Timestamp,
}

/// The windows of one calendar.
#[derive(Clone, Debug, PartialEq)]
pub struct Windows {
    /// The clocks by which they are meant.
    pub zone: TimeZone,
    /// The windows, in the order of the configuration.
    pub windows: Vec<Window>,
    /// The holidays.
    pub holidays: Vec<Holiday>,
}

impl Windows {
    /// Every time of every window that ends after `from` and begins before `to`, by beginning.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> Vec<Instance> {
        let day = |at: Timestamp| self.zone.to_datetime(at).date();
        // A window is no longer than two days, and the zone's clocks no farther from UTC than one.
        let mut date = day(from).saturating_sub(2.days());
        let last = day(to).saturating_add(1.day());
        let mut found = Vec::new();
        while date <= last {
            let holiday = self.is_holiday(date);
            for (at, window) in self.windows.iter().enumerate() {
                if !window.covers(date, holiday) {
                    continue;
                }
                if let Some((begins, ends)) = self.moments(window, date)
                    && begins < to
                    && ends > from
                {
                    found.push(Instance { window: at, date, from: begins, until: ends });
                }
            }
            let Ok(next) = date.tomorrow() else { break };
            date = next;
        }
        found.sort_by_key(|instance| (instance.from, instance.window));
        found
    }

    /// The windows that cover a moment, in the order of the configuration.
    pub fn at(&self, moment: Timestamp) -> Vec<usize> {
        let next = moment.saturating_add(SignedDuration::from_secs(1)).unwrap_or(moment);
        let mut windows: Vec<usize> = self
            .between(moment, next)
            .into_iter()
            .filter(|instance| instance.from <= moment && moment < instance.until)
            .map(|instance| instance.window)
            .collect();
        windows.sort_unstable();
        windows
    }

    fn is_holiday(&self, date: Date) -> bool {
        self.holidays.iter().any(|holiday| match holiday {
            Holiday::Once(day) => *day == date,
            Holiday::Yearly(day) => *day == MonthDay::of(date),
        })
    }

    /// When a window that begins on a day begins and ends; `None` where nothing is left of it.
    fn moments(&self, window: &Window, date: Date) -> Option<(Timestamp, Timestamp)> {
        let end = match window.to {
            Some(to) if to > window.from => date.to_datetime(to),
            Some(to) => date.tomorrow().ok()?.to_datetime(to),
            None => date.tomorrow().ok()?.to_datetime(Time::midnight()),
        };
        let from = self.moment(date.to_datetime(window.from), Side::First)?;
        let until = self.moment(end, Side::Last)?;
        (from < until).then_some((from, until))
    }

    /// The moment of a time on the clocks of the zone.
    fn moment(&self, time: DateTime, side: Side) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(time);
        match (ambiguous.offset(), side) {
            (AmbiguousOffset::Unambiguous { offset }, _)
            | (AmbiguousOffset::Fold { before: offset, .. }, Side::First)
            | (AmbiguousOffset::Fold { after: offset, .. }, Side::Last) => offset.to_timestamp(time).ok(),
            // The time is skipped. By the later offset it lies before the change, which comes next.
            (AmbiguousOffset::Gap { after, .. }, _) => {
                let before = after.to_timestamp(time).ok()?;
                self.zone.following(before).next().map(|change| change.timestamp())
            }
        }
    }
}

/// Which of two moments with the same name on the clock.
#[derive(Clone, Copy)]
enum Side {
    First,
    Last,
}

/// A wall-clock time as the calendar's library knows it; its last or first moment where it is beyond.
pub fn timestamp(wall: Wall) -> Timestamp {
    Timestamp::from_millisecond(wall.as_unix_millis()).unwrap_or(if wall.as_unix_millis() < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// The same in the words of the orders.
pub fn wall(at: Timestamp) -> Wall {
    Wall::unix_millis(at.as_millisecond())
}

#[cfg(test)]
mod tests {
    use jiff::civil::time;
    use jiff::tz::TimeZoneDatabase;
    use proptest::prelude::*;

    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZoneDatabase::bundled().get(name).unwrap()
    }

    fn window(from: Time, to: Option<Time>) -> Window {
        Window { name: "peak".into(), from, to, days: Days::ALL, season: None }
    }

    fn windows(name: &str, window: Window) -> Windows {
        Windows { zone: zone(name), windows: vec![window], holidays: Vec::new() }
    }

    /// All times of the window that begin in some days, in UTC.
    fn times(windows: &Windows, from: &str, to: &str) -> Vec<(String, String)> {
        let parse = |text: &str| format!("{text}T00:00:00Z").parse::<Timestamp>().unwrap();
        windows
            .between(parse(from), parse(to))
            .into_iter()
            .map(|instance| (instance.from.to_string(), instance.until.to_string()))
            .collect()
    }

    fn pair(from: &str, until: &str) -> (String, String) {
        (from.into(), until.into())
    }

    #[test]
    fn an_evening_peak_is_at_the_hours_of_the_site() {
        let karachi = windows("Asia/Karachi", window(time(18, 30, 0, 0), Some(time(22, 30, 0, 0))));
        assert_eq!(
            times(&karachi, "2026-11-22", "2026-11-24"),
            [
                pair("2026-11-22T13:30:00Z", "2026-11-22T17:30:00Z"),
                pair("2026-11-23T13:30:00Z", "2026-11-23T17:30:00Z")
            ]
        );
    }

    #[test]
    fn a_window_across_midnight_belongs_to_the_day_on_which_it_begins() {
        let mut night = window(time(22, 0, 0, 0), Some(time(6, 0, 0, 0)));
        // Fridays alone.
        night.days.weekdays = [false, false, false, false, true, false, false];
        let night = windows("UTC", night);
        assert_eq!(
            times(&night, "2026-11-16", "2026-11-23"),
            [pair("2026-11-20T22:00:00Z", "2026-11-21T06:00:00Z")]
        );
        let day = windows("UTC", window(time(0, 0, 0, 0), None));
        assert_eq!(
            times(&day, "2026-11-16", "2026-11-17"),
            [pair("2026-11-16T00:00:00Z", "2026-11-17T00:00:00Z")]
        );
    }

    #[test]
    fn a_beginning_in_the_skipped_hour_is_the_moment_of_the_change() {
        // 29 March 2026, 02:00 to 03:00 does not exist: at 01:00 UTC the clocks go from 02:00 to 03:00.
        let berlin = windows("Europe/Berlin", window(time(2, 30, 0, 0), Some(time(4, 0, 0, 0))));
        assert_eq!(
            times(&berlin, "2026-03-28", "2026-03-30"),
            [
                pair("2026-03-28T01:30:00Z", "2026-03-28T03:00:00Z"),
                pair("2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z")
            ]
        );
        // 8 March 2026: at 07:00 UTC from 02:00 to 03:00.
        let york = windows("America/New_York", window(time(2, 30, 0, 0), Some(time(4, 0, 0, 0))));
        assert_eq!(
            times(&york, "2026-03-08", "2026-03-09"),
            [pair("2026-03-08T07:00:00Z", "2026-03-08T08:00:00Z")]
        );
    }

    #[test]
    fn an_end_in_the_skipped_hour_is_the_moment_of_the_change_and_what_lies_within_it_is_nothing() {
        let berlin = windows("Europe/Berlin", window(time(1, 0, 0, 0), Some(time(2, 30, 0, 0))));
        assert_eq!(
            times(&berlin, "2026-03-29", "2026-03-30").first(),
            Some(&pair("2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"))
        );
        let within = windows("Europe/Berlin", window(time(2, 10, 0, 0), Some(time(2, 50, 0, 0))));
        assert_eq!(times(&within, "2026-03-29", "2026-03-30"), []);
    }

    #[test]
    fn a_repeated_hour_is_covered_twice() {
        // 25 October 2026: at 01:00 UTC the clocks go back from 03:00 to 02:00.
        let berlin = windows("Europe/Berlin", window(time(2, 0, 0, 0), Some(time(2, 30, 0, 0))));
        assert_eq!(
            times(&berlin, "2026-10-25", "2026-10-26"),
            [pair("2026-10-25T00:00:00Z", "2026-10-25T01:30:00Z")],
            "from the first 02:00 to the second 02:30"
        );
        // 1 November 2026: at 06:00 UTC from 02:00 to 01:00.
        let york = windows("America/New_York", window(time(1, 30, 0, 0), Some(time(3, 0, 0, 0))));
        assert_eq!(
            times(&york, "2026-11-01", "2026-11-02"),
            [pair("2026-11-01T05:30:00Z", "2026-11-01T08:00:00Z")]
        );
    }

    #[test]
    fn a_season_may_go_across_new_year() {
        let mut winter = window(time(17, 0, 0, 0), Some(time(21, 0, 0, 0)));
        winter.season = Some((MonthDay { month: 12, day: 1 }, MonthDay { month: 2, day: 29 }));
        let winter = windows("UTC", winter);
        let count = |from, to| times(&winter, from, to).len();
        assert_eq!(count("2026-11-28", "2026-12-03"), 2);
        assert_eq!(count("2026-12-30", "2027-01-02"), 3);
        assert_eq!(count("2027-02-27", "2027-03-03"), 2);
        assert_eq!(count("2028-02-27", "2028-03-03"), 3, "a leap year");
    }

    #[test]
    fn holidays_can_be_left_out_or_be_the_only_days() {
        let mut work = window(time(8, 0, 0, 0), Some(time(12, 0, 0, 0)));
        work.days = Days {
            weekdays: [true, true, true, true, true, false, false],
            holidays: false,
            except_holidays: true,
        };
        let mut calendar = windows("UTC", work);
        calendar.holidays = vec![
            Holiday::Once(jiff::civil::date(2026, 11, 18)),
            Holiday::Yearly(MonthDay { month: 11, day: 20 }),
        ];
        let count = |calendar: &Windows| times(calendar, "2026-11-16", "2026-11-23").len();
        assert_eq!(count(&calendar), 3, "Monday, Tuesday and Thursday");
        calendar.windows[0].days = Days { weekdays: [false; 7], holidays: true, except_holidays: false };
        assert_eq!(count(&calendar), 2);
    }

    proptest! {
        /// Over a year of every hour, in zones with their own rules: a window that is not within a skipped hour is there
        /// once a day, its ends are the times it says or the moment of a change, and it is never longer than what
        /// it says by more than the hour that is repeated.
        #[test]
        fn a_daily_window_is_there_every_day_and_as_long_as_it_says(
            name in prop_oneof![
                Just("Europe/Berlin"), Just("America/New_York"), Just("Asia/Karachi"), Just("Australia/Lord_Howe"),
                Just("America/Sao_Paulo"), Just("Asia/Tehran"),
            ],
            day in 0..365_i64,
            from in 0..1_440_i64,
            long in 61..1_440_i64,
        ) {
            let minute = |minutes: i64| {
                let minutes = minutes % 1_440;
                time(i8::try_from(minutes / 60).unwrap(), i8::try_from(minutes % 60).unwrap(), 0, 0)
            };
            let calendar = windows(name, window(minute(from), Some(minute(from + long))));
            let date = jiff::civil::date(2026, 1, 1).saturating_add(day.days());
            let (begins, ends) = calendar.moments(&calendar.windows[0], date).unwrap();
            let length = begins.duration_until(ends).as_mins();
            prop_assert!((length - long).abs() <= 60, "{begins} {ends} {long}");
            prop_assert_eq!(calendar.at(begins).len(), 1);
            prop_assert!(calendar.at(ends).is_empty() || long > 1_379);
            let clock = |at: Timestamp| calendar.zone.to_datetime(at).time();
            let change = |at: Timestamp| {
                let before = at.saturating_sub(SignedDuration::from_secs(1)).unwrap();
                calendar.zone.to_offset(before) != calendar.zone.to_offset(at)
            };
            prop_assert!(clock(begins) == minute(from) || change(begins));
            prop_assert!(clock(ends) == minute(from + long) || change(ends));
        }
    }
}
