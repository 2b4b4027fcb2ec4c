//! Parts of a trace, and what the site must have.

use super::*;
use crate::config;
use crate::study::trace::{self, Sign, Unit};
use jiff::tz::TimeZone;

/// Quarters of an hour from a midnight on.
fn quarters(values: &[Option<i32>]) -> Trace {
    let mut text = String::from("time,power_w\n");
    for (at, value) in (0_i64..).zip(values) {
        if let Some(value) = value {
            text.push_str(&format!("{},{value}\n", 1_735_689_600 + at * 900));
        }
    }
    let told = trace::Told {
        unit: Some(Unit::Watts),
        zone: Some(TimeZone::UTC),
        sign: Some(Sign::Surplus),
        keep_doubtful: true,
        ..trace::Told::default()
    };
    trace::read("t.csv", text.as_bytes(), &told, &mut |_| ()).unwrap()
}

fn hours(part: &Part) -> (f64, f64, f64) {
    let hours = |time: Duration| time.as_secs_f64() / 3600.0;
    (hours(part.begins), hours(part.counts), hours(part.ends))
}

fn up_and_down(count: i32) -> Vec<Option<i32>> {
    (0..count).map(|at| Some(1_000 + 100 * (at % 7))).collect()
}

#[test]
fn a_day_is_cut_at_quarters_and_each_part_warms_up_before() {
    let trace = quarters(&up_and_down(96));
    let cut = parts(&trace, 0, Duration::from_secs(900));
    assert_eq!(
        cut.iter().map(hours).collect::<Vec<_>>(),
        [(0.0, 0.25, 6.0), (5.75, 6.0, 12.0), (11.75, 12.0, 18.0), (17.75, 18.0, 24.0)]
    );
    // By the local clock: it begins at 05:30.
    let cut = parts(&trace, 19_800, Duration::from_secs(900));
    assert_eq!(hours(&cut[0]), (0.0, 0.25, 0.5));
    assert_eq!(hours(&cut[1]), (0.25, 0.5, 6.5));
}

#[test]
fn a_long_gap_is_not_simulated_and_a_short_one_is() {
    let mut values = up_and_down(96);
    values[20..24].fill(None);
    values[40..60].fill(None);
    let cut = parts(&quarters(&values), 0, Duration::from_secs(900));
    let cut: Vec<_> = cut.iter().map(hours).collect();
    assert_eq!(
        cut,
        [(0.0, 0.25, 6.0), (5.75, 6.0, 10.0), (15.0, 15.25, 18.0), (17.75, 18.0, 24.0)],
        "each stretch begins with a warm-up of its own"
    );
}

#[test]
fn no_time_is_counted_twice_or_left_out() {
    let trace = quarters(&up_and_down(96 * 9 + 17));
    let cut = parts(&trace, 40_000, Duration::from_secs(1_800));
    assert_eq!(cut[0].counts, Duration::from_secs(1_800));
    assert!(cut.windows(2).all(|pair| pair[0].ends == pair[1].counts));
    assert_eq!(cut.last().unwrap().ends, Duration::from_secs(900 * (96 * 9 + 17)));
    assert!(cut.len() >= 9 && cut.len() <= 11, "{}", cut.len());
}

#[test]
fn a_site_that_nothing_lets_follow_the_surplus_is_refused_with_what_to_do() {
    let demo = config::demo(config::DEMO_NETWORK).unwrap();
    let told = |change: &dyn Fn(&mut Site)| {
        let mut site = (*demo.site).clone();
        change(&mut site);
        follows(&site).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(told(&|_| ()), "");
    assert!(
        told(&|site| site.limits.retain(|limit| limit.class != LimitClass::Surplus))
            .contains("import = \"0 W\"")
    );
    assert!(told(&|site| site.circuits[0].meter = None).contains("[circuits.pcc]"));
    let moved = told(&|site| {
        let limit = site.limits.iter_mut().find(|limit| limit.class == LimitClass::Surplus).unwrap();
        limit.circuit.0 = 1;
    });
    assert!(moved.contains("`fleet`") && moved.contains("`pcc`"), "{moved}");
    assert!(told(&|site| site.settings.observe = true).contains("mode = \"control\""));
    let fixed = told(&|site| site.miners.iter_mut().for_each(|miner| miner.actuator = Actuator::Fixed));
    assert!(fixed.contains("no miner"));
}

#[test]
fn as_many_miners_are_awake_at_first_as_the_surplus_carries() {
    let site = config::demo(config::DEMO_NETWORK).unwrap().site;
    let awake = |watts: Watts| {
        let all = initial(&site, watts);
        all.iter().filter(|one| matches!(one, Initial::Hashing { .. })).count()
    };
    assert_eq!(awake(Watts::ZERO), 0);
    assert_eq!(awake(full_power(&site)), site.miners.len());
    let half = awake(full_power(&site).scaled(0.25));
    assert!(half > 10 && half < site.miners.len(), "{half}");
}
