//! `[[alarms.windows]]`: times in which nobody is called for some alarms.

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::diagnostic::{At, Report};
use super::names;
use super::reader::{Table, Wrong, shorten, text_of};
use super::signals::windows::{MOST_WINDOWS, window};
use crate::alarm::kind::Kind;
use crate::alarm::window::{Muting, When, Window};
use crate::signal::windows::Windows;

/// Where a circuit is named before it is known which there are: the window, and the name with its place.
pub(super) type Unchecked = Vec<(usize, super::diagnostic::Span, String)>;

/// Reads the windows. Their circuits are checked by [`check`], once those are known.
pub(super) fn windows(alarms: &Table<'_>, zone: Option<&TimeZone>) -> (Vec<Window>, Unchecked) {
    let tables = alarms.tables("windows");
    if tables.len() > MOST_WINDOWS {
        alarms.report().error(
            alarms.key_span("windows"),
            format!("there are {} windows", tables.len()),
            format!("the most is {MOST_WINDOWS}"),
        );
    }
    let (mut all, mut unchecked) = (Vec::new(), Unchecked::new());
    for (at, table) in tables.into_iter().take(MOST_WINDOWS).enumerate() {
        // Read first: a key of a window that has a mistake elsewhere is not one more.
        let mut circuits = Unchecked::new();
        for (span, value) in table.list("circuits").iter().flat_map(|at| &at.value) {
            match text_of(value) {
                Ok(name) => circuits.push((all.len(), *span, name.to_owned())),
                Err(wrong) => wrong.tell(table.report(), *span, "circuits"),
            }
        }
        if let Some(window) = one(&table, at, zone) {
            unchecked.append(&mut circuits);
            all.push(window);
        }
        table.check();
    }
    (all, unchecked)
}

/// Puts the circuits into their windows.
pub(super) fn check<'n>(
    report: &Report<'_>,
    windows: &mut [Window],
    unchecked: Unchecked,
    circuits: impl Iterator<Item = &'n str>,
) {
    let all: BTreeSet<&str> = circuits.collect();
    for (at, span, name) in unchecked {
        if !all.contains(name.as_str()) {
            report.error(
                span,
                format!("`circuits` has \"{}\", and no circuit is called so", shorten(&name)),
                report.suggest(&name, all.iter().copied()),
            );
        } else if let Some(window) = windows.get_mut(at) {
            window.mutes.circuits.insert(name.into());
        }
    }
}

fn one(table: &Table<'_>, at: usize, zone: Option<&TimeZone>) -> Option<Window> {
    let report = table.report();
    let kinds = kinds(table);
    if zone.is_none() {
        report.error(
            table.span(),
            format!("{} needs a time zone", table.title()),
            "write time_zone = \"…\" under [site], by its name in the IANA database, like \"Asia/Karachi\"",
        );
    }
    let when = if table.has("begins") || table.has("ends") {
        for key in ["from", "to", "days", "season", "except_holidays"] {
            if table.has(key) {
                report.error(
                    table.key_span(key),
                    format!("`{key}` belongs to a window that comes back, and `begins` and `ends` to one that is once"),
                    "keep one of the two",
                );
            }
        }
        once(table, zone)
    } else {
        let read = window(table, at);
        read.zip(zone.cloned())
            .map(|(window, zone)| When::Often(Windows { zone, windows: vec![window], holidays: Vec::new() }))
    };
    let name = table.text("name").map_or_else(|| format!("window {}", at + 1), |at| at.value.to_owned());
    Some(Window {
        name: name.into(),
        when: when?,
        mutes: Muting { kinds: kinds?, circuits: BTreeSet::new() },
    })
}

fn once(table: &Table<'_>, zone: Option<&TimeZone>) -> Option<When> {
    let moment = |key: &'static str| {
        let read: Option<At<DateTime>> = table.read(key, |value| {
            text_of(value)?.parse::<DateTime>().map_err(|_| {
                Wrong::new(
                    "is no time",
                    "write day and time on the clocks of the site, like \"2026-12-01T08:00\"",
                )
            })
        });
        let read = table.require(key, read, "write when, like \"2026-12-01T08:00\"")?;
        let at = zone?.to_timestamp(read.value).ok()?;
        Some((at.as_millisecond(), read.span))
    };
    let (begins, ends) = (moment("begins"), moment("ends"));
    let ((from, _), (to, span)) = (begins?, ends?);
    if to <= from {
        table.report().error(span, "the window ends before it begins", "write `ends` after `begins`");
        return None;
    }
    Some(When::Once(from, to))
}

/// `kinds = ["miner-fault"]`; without it all that are not of safety. Those are muted only beside `also_safety = true`.
fn kinds(table: &Table<'_>) -> Option<BTreeSet<Kind>> {
    let report = table.report();
    let also_safety = table.boolean("also_safety").unwrap_or(false);
    let Some(list) = table.list("kinds") else {
        return Some(Kind::ALL.into_iter().filter(|kind| !kind.is_of_safety()).collect());
    };
    let mut kinds = BTreeSet::new();
    for (span, value) in list.value {
        let name = match text_of(value) {
            Ok(name) => name,
            Err(wrong) => {
                wrong.tell(report, span, "kinds");
                continue;
            }
        };
        match Kind::named(name) {
            None => report.error(
                span,
                format!("there is no kind of alarm `{}`", shorten(name)),
                names::suggest(name, Kind::ALL.map(Kind::name)),
            ),
            Some(kind) if kind.is_of_safety() && !also_safety => report.error(
                span,
                format!("`{name}` may be about people, plant or the grid, and somebody should be called"),
                "leave it out, or write also_safety = true in this window if it is meant",
            ),
            Some(kind) => drop(kinds.insert(kind)),
        }
    }
    Some(kinds)
}
