//! What would have been drawn without an order, by the methods that programmes use.
//!
//! | Name | What it is | Whose it is |
//! |---|---|---|
//! | `meter-before` | the mean of the last ten minutes in which no order acted, stated when the order came | metering before and after |
//! | `10-in-10` | the mean of the same quarter hour on the last ten days of the same kind without an order, times what the hours before the order say of this day | California ISO, tariff section 4.13.4 |
//! | `same-day-3+2` | the mean of three hours before and two hours after the order, with an hour between | PJM, manual 11 |
//! | `firm` | a stated level | firm service level, guaranteed load drop |
//!
//! The documents of the programmes rule; these are their arithmetic on quarter hours. What is not in it: holidays (a
//! programme's own list), losses, and aggregation over several sites.

use std::collections::BTreeMap;

use jiff::Span as Days;
use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

use super::settle::{Event, Series};
use super::{KNOWN, QUARTER_MS, quarter};
use crate::control::signal::Wall;
use crate::units::Watts;

/// Days that `10-in-10` looks back over.
const LOOK_BACK: i64 = 45;
/// Days from Monday to Friday that it takes, and the fewest with which it says anything.
const WEEKDAYS: (usize, usize) = (10, 5);
/// The same at the weekend.
const WEEKEND: (usize, usize) = (4, 4);
/// How far the hours before an order may move it.
const ADJUSTMENT: (f64, f64) = (0.8, 1.2);
/// Quarters of an hour.
const HOUR: i64 = 4;

/// How it is found out what would have been drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Baseline {
    /// The mean of the last ten undisturbed minutes.
    #[default]
    MeterBefore,
    /// Ten days of the same kind, adjusted on the day.
    TenInTen,
    /// Three hours before and two after.
    SameDay,
    /// A stated level.
    Firm(Watts),
}

impl Baseline {
    /// As written in the configuration and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MeterBefore => "meter-before",
            Self::TenInTen => "10-in-10",
            Self::SameDay => "same-day-3+2",
            Self::Firm(_) => "firm",
        }
    }

    /// The method of a name; `firm` needs a level.
    pub fn from_name(name: &str, firm: Option<Watts>) -> Option<Self> {
        match name {
            "meter-before" => Some(Self::MeterBefore),
            "10-in-10" => Some(Self::TenInTen),
            "same-day-3+2" => Some(Self::SameDay),
            "firm" => firm.map(Self::Firm),
            _ => None,
        }
    }
}

/// What would have been drawn, quarter by quarter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Mean power by the beginning of the quarter, in Unix milliseconds.
    pub watts: BTreeMap<i64, Watts>,
    /// By how much the hours before the order moved it.
    pub adjustment: Option<f64>,
    /// The days that it is made of.
    pub days: Vec<Date>,
    /// What a reader should know of it.
    pub note: Option<String>,
}

/// Works it out. `same` are the orders of the same source on this circuit and on those above and below it, this one
/// included: on their days nothing is ordinary.
///
/// # Errors
/// Why there is none, in words.
pub fn curve(
    how: Baseline,
    series: &Series,
    event: &Event,
    same: &[&Event],
    zone: &TimeZone,
) -> Result<Curve, String> {
    match how {
        Baseline::MeterBefore => match event.stated {
            Some(watts) => Ok(constant(event, watts)),
            None => Err(
                "none was known when the order came: less than a minute without an order had been measured"
                    .into(),
            ),
        },
        Baseline::Firm(watts) => Ok(constant(event, watts)),
        Baseline::SameDay => same_day(series, event, same),
        Baseline::TenInTen => ten_in_ten(series, event, same, zone),
    }
}

fn constant(event: &Event, watts: Watts) -> Curve {
    Curve { watts: event.quarters().map(|start| (start, watts)).collect(), ..Curve::default() }
}

/// Mean power over quarters, where enough of them are known.
fn mean(series: &Series, quarters: impl Iterator<Item = i64>) -> Option<Watts> {
    let (mut sum, mut known, mut all) = (0.0, 0.0, 0.0);
    for start in quarters {
        all += 1.0;
        if let Some(watts) = series.watts(start) {
            sum += watts.get();
            known += 1.0;
        }
    }
    (all > 0.0 && known >= all * KNOWN).then(|| Watts::saturating(sum / known))
}

/// The quarters from `from` up to `to`, counted from a quarter.
fn around(at: i64, from: i64, to: i64) -> impl Iterator<Item = i64> + Clone {
    (from..to).map(move |number| at.saturating_add(number.saturating_mul(QUARTER_MS)))
}

fn same_day(series: &Series, event: &Event, same: &[&Event]) -> Result<Curve, String> {
    let begin = quarter(event.from).as_unix_millis();
    let end = event.quarters().last().unwrap_or(begin).saturating_add(QUARTER_MS);
    let before = around(begin, -4 * HOUR, -HOUR);
    let after = around(end, HOUR, 3 * HOUR);
    let all = || before.clone().chain(after.clone());
    let disturbed = |start: i64| same.iter().any(|other| other.id != event.id && other.touches(start));
    if all().any(disturbed) {
        return Err(
            "another order of the source acted in the three hours before or the two hours after".into()
        );
    }
    let watts = mean(series, all())
        .ok_or("of the three hours before and the two hours after, more than a tenth is not known")?;
    Ok(constant(event, watts))
}

fn ten_in_ten(series: &Series, event: &Event, same: &[&Event], zone: &TimeZone) -> Result<Curve, String> {
    let begin = quarter(event.from).as_unix_millis();
    let quarters: Vec<i64> = event.quarters().collect();
    if quarters.len() > 96 {
        return Err("the order lasted for longer than a day, and days are compared with days".into());
    }
    let today = local(begin, zone).ok_or("its time is out of every calendar")?.date();
    let weekend = is_weekend(today);
    let (want, least) = if weekend { WEEKEND } else { WEEKDAYS };
    let before: Vec<i64> = around(begin, -4 * HOUR, -HOUR).collect();
    let mut days: Vec<(Date, i64)> = Vec::new();
    for back in 1..=LOOK_BACK {
        if days.len() >= want {
            break;
        }
        let Ok(day) = today.checked_sub(Days::new().days(back)) else { break };
        let whole = quarters
            .iter()
            .chain(&before)
            .all(|start| moved(*start, back, zone).is_some_and(|start| series.watts(start).is_some()));
        let ordinary = is_weekend(day) == weekend && !same.iter().any(|other| on_day(other, day, zone));
        if whole && ordinary {
            days.push((day, back));
        }
    }
    if days.len() < least {
        return Err(format!(
            "only {} of the last {LOOK_BACK} days are of the same kind, without an order and known; {least} are the fewest",
            days.len()
        ));
    }
    let usual = |start: i64| {
        let each = days.iter().filter_map(|(_, back)| series.watts(moved(start, *back, zone)?));
        let (sum, n) = each.fold((0.0, 0.0), |(sum, n), watts| (sum + watts.get(), n + 1.0));
        (n > 0.0).then(|| sum / n)
    };
    let usually: f64 = before.iter().filter_map(|start| usual(*start)).sum();
    let disturbed = before.iter().any(|start| same.iter().any(|it| it.id != event.id && it.touches(*start)));
    let on_the_day = mean(series, before.iter().copied()).filter(|_| !disturbed);
    let usually = usually / 12.0;
    let adjustment = on_the_day
        .map(|watts| watts.get() / usually)
        .filter(|ratio| ratio.is_finite() && usually > 0.0)
        .map(|ratio| ratio.clamp(ADJUSTMENT.0, ADJUSTMENT.1));
    let factor = adjustment.unwrap_or(1.0);
    let watts =
        quarters.iter().filter_map(|start| Some((*start, Watts::saturating(usual(*start)? * factor))));
    let note = adjustment.is_none().then(|| {
        String::from("not adjusted: of the four hours before the order too little is known, or another order acted in them")
    });
    Ok(Curve {
        watts: watts.collect(),
        adjustment,
        days: days.into_iter().map(|(day, _)| day).collect(),
        note,
    })
}

fn local(start: i64, zone: &TimeZone) -> Option<jiff::civil::DateTime> {
    Some(Timestamp::from_millisecond(start).ok()?.to_zoned(zone.clone()).datetime())
}

/// The same time of day, some days before.
fn moved(start: i64, days: i64, zone: &TimeZone) -> Option<i64> {
    let then = local(start, zone)?.checked_sub(Days::new().days(days)).ok()?;
    // In the hour that a change of the clocks leaves out, the quarter that takes its place.
    let stamp = zone.to_ambiguous_timestamp(then).compatible().ok()?;
    Some(quarter(Wall::unix_millis(stamp.as_millisecond())).as_unix_millis())
}

fn is_weekend(day: Date) -> bool {
    matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday)
}

/// Whether an order acted on a day of the site.
fn on_day(event: &Event, day: Date, zone: &TimeZone) -> bool {
    let date = |at: Wall| local(at.as_unix_millis(), zone).map(|at| at.date());
    let last = Wall::unix_millis(event.until.as_unix_millis().saturating_sub(1)).max(event.from);
    date(event.from).zip(date(last)).is_some_and(|(from, until)| from <= day && day <= until)
}
