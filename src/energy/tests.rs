//! Baselines and settlements where the calendar is odd; the rest is held against another program in `tests/study/energy.rs`.

use jiff::tz::TimeZone;

use super::baseline::{Baseline, curve};
use super::settle::{Event, Excuse, Series, Verdict, settle};
use super::*;
use crate::control::site::Scope;

fn at(text: &str) -> Wall {
    Wall::unix_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn event(from: &str, until: &str) -> Event {
    Event {
        number: 1,
        source: "utility".into(),
        id: "one".into(),
        circuit: "pcc".into(),
        scope: Scope::Import,
        cap: Watts::kilowatts(100.0),
        stated: Some(Watts::kilowatts(200.0)),
        from: at(from),
        until: at(until),
        ordered: (at(from), Some(at(until))),
        measured: (Duration::ZERO, Joules::ZERO),
        recorded: None,
    }
}

/// Quarters from `from` on at these powers.
fn series(from: &str, watts: impl IntoIterator<Item = f64>) -> Series {
    let mut series = Series::default();
    for (number, watts) in (0..).zip(watts) {
        let start = Wall::unix_millis(at(from).as_unix_millis() + number * QUARTER_MS);
        let import = Watts::saturating(watts).over(QUARTER);
        let sums = Sums { import, by_counter: QUARTER, ..Sums::default() };
        series.add(start, Scope::Import, &sums);
    }
    series
}

#[test]
fn a_quarter_of_utc_is_one_before_1970_too() {
    assert_eq!(quarter(at("2026-07-01T12:14:59.999Z")), at("2026-07-01T12:00:00Z"));
    assert_eq!(quarter(Wall::unix_millis(-1)), Wall::unix_millis(-QUARTER_MS));
}

#[test]
fn delivery_is_below_within_or_above_what_was_asked() {
    let event = event("2026-07-01T12:00:00Z", "2026-07-01T13:15:00Z");
    // Of 100 kW that were asked: 90, 95, 150, 160 and, by the wrong way, −10.
    let series = series("2026-07-01T12:00:00Z", [110e3, 105e3, 50e3, 40e3, 210e3]);
    let settled = settle(
        &event,
        Baseline::MeterBefore,
        &series,
        std::slice::from_ref(&event),
        &[],
        &TimeZone::UTC,
        |_, _| true,
    );
    let verdicts: Vec<Verdict> = settled.quarters.iter().map(|quarter| quarter.verdict).collect();
    use Verdict::{Above, Below, Within};
    assert_eq!(verdicts, [Below, Within, Within, Above, Below]);
    assert_eq!(settled.delivered.unwrap(), Watts::kilowatts(485.0).over(QUARTER));
    assert_eq!(settled.asked.unwrap(), Watts::kilowatts(500.0).over(QUARTER));
    assert_eq!(settled.verdict, Within);
}

#[test]
fn what_is_excused_says_why_and_counts_in_no_total() {
    let order = event("2026-07-01T12:00:00Z", "2026-07-01T12:50:00Z");
    let mut tighter = event("2026-07-01T12:30:00Z", "2026-07-01T12:45:00Z");
    (tighter.number, tighter.source, tighter.cap) = (2, "market".into(), Watts::ZERO);
    let excuse = Excuse {
        from: at("2026-07-01T12:20:00Z"),
        until: at("2026-07-01T12:25:00Z"),
        reason: "maintenance".into(),
    };
    let series = series("2026-07-01T12:00:00Z", [100e3; 4]);
    let all = [order.clone(), tighter];
    let settled =
        settle(&order, Baseline::MeterBefore, &series, &all, &[excuse], &TimeZone::UTC, |_, _| true);
    let excused: Vec<Option<&str>> =
        settled.quarters.iter().map(|quarter| quarter.excused.as_deref()).collect();
    assert_eq!(excused[0], None);
    assert_eq!(excused[1], Some("maintenance"));
    assert_eq!(excused[2], Some("the order one of market asked for more"));
    assert!(excused[3].unwrap().contains("5.0 min"), "{excused:?}");
    assert_eq!(settled.asked.unwrap(), Watts::kilowatts(100.0).over(QUARTER));
    // A daemon that was down is no reason to say anything of that time.
    let settled =
        settle(&order, Baseline::MeterBefore, &Series::default(), &all, &[], &TimeZone::UTC, |_, _| true);
    assert_eq!(settled.verdict, Verdict::NotKnown);
    assert!(settled.quarters[0].excused.as_ref().unwrap().contains("did not run"));
}

/// Three orders of one source in one quarter, one after another: the tightest excuses none that came when it was over.
#[test]
fn an_order_that_was_over_before_excuses_no_later_one_of_the_same_quarter() {
    let brief = |number, id: &str, from, until, cap| {
        let mut order = event(from, until);
        let held = order.until.since(order.from);
        (order.number, order.id, order.cap) = (number, id.into(), Watts::kilowatts(cap));
        order.measured = (held, Watts::kilowatts(100.0).over(held));
        order
    };
    let night = brief(1, "night", "2026-07-01T11:00:10Z", "2026-07-01T11:00:46Z", 0.0);
    let next = brief(2, "ev17", "2026-07-01T11:00:58Z", "2026-07-01T11:01:28Z", 100.0);
    let last = brief(3, "ev18", "2026-07-01T11:01:31Z", "2026-07-01T11:01:43Z", 90.0);
    let series = series("2026-07-01T11:00:00Z", [200e3]);
    let excused = |all: &[Event], order: &Event| {
        let settled = settle(order, Baseline::MeterBefore, &series, all, &[], &TimeZone::UTC, |_, _| true);
        assert_eq!(settled.asked.is_some(), settled.quarters[0].excused.is_none(), "{settled:?}");
        settled.quarters[0].excused.clone()
    };
    let all = [night, next, last];
    for order in &all {
        assert_eq!(excused(&all, order), None, "{}", order.id);
    }
    // One that ends where the next begins leaves it alone; a second longer, and both held.
    let [mut night, next, _] = all;
    night.until = next.from;
    assert_eq!(excused(&[night.clone(), next.clone()], &next), None);
    night.until = next.from.later(Duration::from_secs(1));
    let why = excused(&[night, next.clone()], &next);
    assert_eq!(why.as_deref(), Some("the order night of utility asked for more"));
}

#[test]
fn an_excuse_is_for_an_order_that_held_at_its_time_and_not_for_another_of_the_same_quarter() {
    let mut order = event("2026-07-01T11:05:00Z", "2026-07-01T11:10:00Z");
    let held = order.until.since(order.from);
    order.measured = (held, Watts::kilowatts(100.0).over(held));
    let series = series("2026-07-01T11:00:00Z", [200e3]);
    let excused = |from, until| {
        let excuse = [Excuse { from: at(from), until: at(until), reason: "breaker".into() }];
        let all = std::slice::from_ref(&order);
        let settled =
            settle(&order, Baseline::MeterBefore, &series, all, &excuse, &TimeZone::UTC, |_, _| true);
        settled.quarters[0].excused.is_some()
    };
    assert!(!excused("2026-07-01T11:00:00Z", "2026-07-01T11:00:30Z"));
    assert!(!excused("2026-07-01T11:00:00Z", "2026-07-01T11:05:00Z"));
    assert!(!excused("2026-07-01T11:10:00Z", "2026-07-01T11:30:00Z"));
    assert!(excused("2026-07-01T11:00:00Z", "2026-07-01T11:05:01Z"));
    assert!(excused("2026-07-01T10:00:00Z", "2026-07-01T12:00:00Z"));
}

#[test]
fn an_order_of_minutes_is_settled_by_what_was_measured_while_it_held() {
    // Asked for 90 s; the clock was in doubt, so that it held from 5 min before them on. 75 kW flowed, and 200 in the rest of the
    // quarter.
    let mut order = event("2026-07-01T12:02:00Z", "2026-07-01T12:08:30Z");
    order.ordered = (at("2026-07-01T12:07:00Z"), Some(at("2026-07-01T12:08:30Z")));
    let held = Duration::from_secs(390);
    order.measured = (held, Watts::kilowatts(75.0).over(held));
    assert!(order.differs());
    let settle = |order: &Event, series: &Series| {
        let all = std::slice::from_ref(order);
        settle(order, Baseline::MeterBefore, series, all, &[], &TimeZone::UTC, |_, _| true)
    };
    let quarter = (75.0 * 390.0 + 200.0 * 510.0) / 900.0 * 1e3;
    let series = series("2026-07-01T12:00:00Z", [quarter]);
    let settled = settle(&order, &series);
    let share = settled.delivered.unwrap().ratio(settled.asked.unwrap()).unwrap();
    assert!((share - 1.25).abs() < 1e-9 && settled.by_order, "{settled:?}");
    assert_eq!((settled.verdict, settled.quarters[0].held), (Verdict::Within, held));
    assert_eq!(settled.quarters[0].excused, None);
    // Of which less than nine tenths were measured: then there is the quarter alone, in which it held for a part.
    order.measured = (Duration::from_secs(300), Watts::kilowatts(75.0).over(Duration::from_secs(300)));
    let settled = settle(&order, &series);
    assert!(settled.quarters[0].excused.as_ref().unwrap().contains("6.5 min"), "{settled:?}");
    assert_eq!((settled.verdict, settled.by_order), (Verdict::NotKnown, false));
    // One with a whole quarter in it is settled by quarters, as programmes do.
    let mut long = event("2026-07-01T12:00:00Z", "2026-07-01T12:20:00Z");
    long.measured = (Duration::from_secs(1_200), Joules::ZERO);
    assert!(!settle(&long, &series).by_order && !long.differs());
}

#[test]
fn days_are_compared_at_the_same_time_of_day_over_a_change_to_summer_time() {
    let zone = TimeZone::get("Europe/Vienna").unwrap();
    // From Monday, 9 March 2026; the clocks change on Sunday, the 29th. At noon by the clock 300 kW flow, else 100.
    let from = at("2026-03-08T23:00:00Z");
    let watts = (0..29 * 96).map(|number| {
        let stamp = jiff::Timestamp::from_millisecond(from.as_unix_millis() + number * QUARTER_MS).unwrap();
        if stamp.to_zoned(zone.clone()).hour() == 12 { 300e3 } else { 100e3 }
    });
    let series = series("2026-03-08T23:00:00Z", watts);
    let order = event("2026-04-01T10:00:00Z", "2026-04-01T11:00:00Z");
    let curve = curve(Baseline::TenInTen, &series, &order, &[&order], &zone).unwrap();
    assert_eq!(curve.days.len(), 10);
    assert!(curve.watts.values().all(|watts| (watts.get() - 300e3).abs() < 1.0), "{:?}", curve.watts);
    assert_eq!(curve.adjustment, Some(1.0));
}

#[test]
fn a_baseline_that_cannot_be_had_says_why() {
    let order = event("2026-07-01T12:00:00Z", "2026-07-01T13:00:00Z");
    let short = series("2026-06-29T00:00:00Z", [100e3; 3 * 96]);
    let why = |how| curve(how, &short, &order, &[&order], &TimeZone::UTC).unwrap_err();
    assert!(why(Baseline::TenInTen).contains("only 2 of the last 45 days"), "{}", why(Baseline::TenInTen));
    let mut none = order.clone();
    none.stated = None;
    assert!(curve(Baseline::MeterBefore, &short, &none, &[&none], &TimeZone::UTC).is_err());
    let mut other = event("2026-07-01T14:30:00Z", "2026-07-01T15:00:00Z");
    other.id = "two".into();
    let disturbed = curve(Baseline::SameDay, &short, &order, &[&order, &other], &TimeZone::UTC);
    assert!(disturbed.unwrap_err().contains("another order"));
    assert!(curve(Baseline::SameDay, &short, &order, &[&order], &TimeZone::UTC).is_ok());
}
