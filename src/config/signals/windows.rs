//! Windows of a calendar, as the kinds `calendar` and `price` write them.

use jiff::civil::{Date, Time};

use super::Context;
use crate::config::reader::{Table, Wrong, text_of};
use crate::signal::windows::{Days, Holiday, MonthDay, Window, Windows};

/// More windows than any tariff has.
pub(in crate::config) const MOST_WINDOWS: usize = 32;
/// More holidays than two decades have.
const MOST_HOLIDAYS: usize = 400;

const DAY_NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Reads `time_zone`, `holidays` and the list of windows under a key; with each window, what `inner` reads of its
/// table.
pub(super) fn windows<T>(
    table: &Table<'_>,
    key: &'static str,
    context: &Context<'_, '_>,
    mut inner: impl FnMut(&Table<'_>) -> Option<T>,
) -> Option<(Windows, Vec<T>)> {
    let report = table.report();
    let own = crate::config::settings::time_zone(table);
    let zone = if table.has("time_zone") { own } else { context.time_zone.cloned() };
    if zone.is_none() && !table.has("time_zone") {
        report.error(
            table.span(),
            format!("{} has no time zone", table.title()),
            "write time_zone = \"…\" here or under [site], by its name in the IANA database, like \"Asia/Karachi\"",
        );
    }
    let holidays = holidays(table);
    let tables = table.tables(key);
    let count = tables.len();
    if count == 0 || count > MOST_WINDOWS {
        report.error(
            table.key_span(key),
            format!("{} has {count} windows", table.title()),
            format!("write one to {MOST_WINDOWS}, each as [[signals.NAME.{key}]]"),
        );
    }
    let read: Vec<Option<(Window, T)>> = tables
        .into_iter()
        .take(MOST_WINDOWS)
        .enumerate()
        .map(|(at, window_table)| {
            let window = window(&window_table, at);
            let more = inner(&window_table);
            window_table.check();
            Some((window?, more?))
        })
        .collect();
    let whole: Option<Vec<_>> = read.into_iter().collect();
    let (windows, more) = whole?.into_iter().unzip();
    Some((Windows { zone: zone?, windows, holidays }, more))
}

/// One window that comes back.
pub(in crate::config) fn window(table: &Table<'_>, at: usize) -> Option<Window> {
    let report = table.report();
    let name = table.text("name").map_or_else(|| format!("window {}", at + 1), |at| at.value.to_owned());
    let from = table.read("from", |value| clock(text_of(value)?));
    let from =
        table.require("from", from, "write when it begins on the clocks of the site, like from = \"18:00\"");
    let to = table.read("to", |value| clock(text_of(value)?));
    let to =
        table.require("to", to, "write when it ends, like to = \"22:00\"; \"24:00\" is the end of the day");
    let days = days(table);
    let season = table.table("season").and_then(|season| {
        let first = season.read("from", |value| month_day(text_of(value)?));
        let first = season.require("from", first, "write the first day, like from = \"12-01\"");
        let last = season.read("to", |value| month_day(text_of(value)?));
        let last = season.require("to", last, "write the last day, like to = \"02-29\"");
        season.finish();
        Some((first?.value, last?.value))
    });
    if table.has("season") && season.is_none() {
        return None;
    }
    let (from, to) = (from?, to?);
    let Some(begins) = from.value else {
        report.error(from.span, "`from` cannot be 24:00", "write from = \"00:00\" and the day before it");
        return None;
    };
    if to.value == Some(begins) {
        report.error(
            to.span,
            "the window ends when it begins",
            "for a whole day write from = \"00:00\" and to = \"24:00\"",
        );
        return None;
    }
    Some(Window { name: name.into(), from: begins, to: to.value, days: days?, season })
}

/// A time of the day; `None` for 24:00.
fn clock(text: &str) -> Result<Option<Time>, Wrong> {
    let wrong =
        || Wrong::new("is no time of the day", "write hours and minutes, like \"18:00\" or \"06:30\"");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let two = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i8>().ok().filter(|_| digits)
    };
    match (two(hour), two(minute)) {
        (Some(24), Some(0)) => Ok(None),
        (Some(hour), Some(minute)) => Time::new(hour, minute, 0, 0).map(Some).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

fn month_day(text: &str) -> Result<MonthDay, Wrong> {
    // A leap year has every day that a year can have.
    let date = format!("2024-{text}").parse::<Date>().ok().filter(|_| text.len() == 5);
    date.map(|date| MonthDay { month: date.month(), day: date.day() }).ok_or_else(|| {
        Wrong::new("is no day of the year", "write month and day, like \"12-01\" for the first of December")
    })
}

/// `days = ["mon-fri", "sun", "holiday"]` and `except_holidays = true`.
fn days(table: &Table<'_>) -> Option<Days> {
    let except_holidays = table.boolean("except_holidays").unwrap_or(false);
    let list = table.list("days");
    let Some(list) = list else {
        return (!table.has("days")).then_some(Days { except_holidays, ..Days::ALL });
    };
    let mut days = Days { weekdays: [false; 7], holidays: false, except_holidays };
    let mut sound = !list.value.is_empty();
    if list.value.is_empty() {
        table.report().error(list.span, "`days` is empty", "leave it out for every day");
    }
    for (span, value) in list.value {
        if let Err(wrong) = text_of(value).and_then(|text| add(&mut days, text)) {
            wrong.tell(table.report(), span, "days");
            sound = false;
        }
    }
    sound.then_some(days)
}

fn add(days: &mut Days, text: &str) -> Result<(), Wrong> {
    let wrong = || {
        Wrong::new(
            "is no day",
            "write \"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\", \"sun\", a range like \"mon-fri\", or \"holiday\"",
        )
    };
    let position = |name: &str| DAY_NAMES.iter().position(|day| *day == name).ok_or_else(wrong);
    if text == "holiday" {
        days.holidays = true;
        return Ok(());
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (position(first)?, position(last)?);
    // From Friday to Monday goes over the end of the week.
    for (at, day) in days.weekdays.iter_mut().enumerate() {
        *day |= if first <= last { (first..=last).contains(&at) } else { at >= first || at <= last };
    }
    Ok(())
}

fn holidays(table: &Table<'_>) -> Vec<Holiday> {
    let Some(list) = table.list("holidays") else { return Vec::new() };
    let report = table.report();
    if list.value.len() > MOST_HOLIDAYS {
        report.error(
            list.span,
            format!("`holidays` has {} days", list.value.len()),
            format!("at most {MOST_HOLIDAYS} are supported"),
        );
        return Vec::new();
    }
    let mut holidays = Vec::new();
    for (span, value) in list.value {
        let read = text_of(value).and_then(|text| {
            let whole = text.parse::<Date>().ok().filter(|_| text.len() == 10).map(Holiday::Once);
            match whole {
                Some(day) => Ok(day),
                None => month_day(text).map(Holiday::Yearly).map_err(|_| {
                    Wrong::new(
                        "is no day",
                        "write year, month and day, like \"2026-03-21\", or month and day for every year, like \"12-25\"",
                    )
                }),
            }
        });
        match read {
            Ok(holiday) => holidays.push(holiday),
            Err(wrong) => wrong.tell(report, span, "holidays"),
        }
    }
    holidays
}
