//! Three hours in which a quarter less is to be drawn, on the evening of a day with two peaks.

use ballast::config::Config;
use ballast::control::site::LoadClass;
use ballast::sim::jobs::{Throughput, Work};
use ballast::sim::replay::Steps;

use super::{HEAD, Seen, hall, order, plenty, replay, run, scenario, site, yard};

/// From half past five in the evening until half past eight; the second peak is at eight.
const BEGINS: f64 = 17.5 * 3_600.0;
const LASTS: f64 = 3.0 * 3_600.0;
/// What was drawn in the quarter of an hour before is the baseline.
const BEFORE: f64 = 900.0;
/// Time to be found and to settle.
const WARM_UP: f64 = 600.0;

/// Who has a contract answers people, as half of those do that may be slowed down; the others train.
const JOBS: &str = r#"
[[job]]
name = "held-*"
inference = {}
[[job]]
name = "slowed-a-*"
inference = {}
[[job]]
name = "slowed-b-*"
training = {}
[[job]]
name = "waits-*"
training = {}
"#;

struct Came {
    /// The highest mean of a minute over the target, after the first, and how many lay above it.
    worst: f64,
    above: usize,
    work: Throughput,
}

fn event(config: &Config) -> Came {
    let start = BEGINS - BEFORE - WARM_UP;
    let mut before = Seen::default();
    let plenty = plenty(config);
    let calm = scenario(plenty, JOBS);
    run(&mut replay(config, &calm, Steps::Adaptive, start), WARM_UP + BEFORE, &mut before);
    let target = 0.75 * before.mean(BEGINS - BEFORE, BEGINS);

    let cut = scenario(plenty, &format!("{JOBS}{}", order(BEGINS, LASTS, target, false)));
    let mut replay = replay(config, &cut, Steps::Adaptive, start);
    run(&mut replay, WARM_UP + BEFORE, &mut Seen::default());
    let then = replay.work();
    let mut seen = Seen::default();
    run(&mut replay, LASTS, &mut seen);
    let work: Vec<Option<Work>> =
        replay.work().into_iter().zip(then).map(|(now, then)| Some(now?.since(then?))).collect();
    let work = Throughput::of(&config.site, &work).unwrap();

    let minutes: Vec<f64> =
        (0..180).map(|minute| BEGINS + 60.0 * f64::from(minute)).map(|at| seen.mean(at, at + 60.0)).collect();
    let worst = minutes.iter().skip(1).copied().fold(0.0, f64::max) / target;
    let above = minutes.iter().skip(1).filter(|mean| **mean > target).count();
    println!(
        "target {:.1} kW; the first minute {:.3} of it, the highest of the others {worst:.4}, {above} above it; work done: {work}",
        target / 1e3,
        minutes[0] / target
    );
    Came { worst, above, work }
}

#[test]
fn a_site_with_miners_draws_a_quarter_less_for_three_hours_and_its_hall_hardly_notices() {
    let came = event(&site(&(HEAD.to_owned() + &hall("") + &yard(""))));
    assert_eq!(came.above, 0, "{:.4} of the target", came.worst);
    assert!(came.work.hall >= 0.91, "{}", came.work);
    assert!(came.work.class(LoadClass::Guaranteed).unwrap() > 0.999, "{}", came.work);
}

/// What no miners can take off it. With the curve that is assumed, three quarters of the power are nine tenths of the work where all
/// share it alike; here three of twelve give nothing, and people ask for more and more meanwhile.
#[test]
fn a_hall_alone_draws_a_quarter_less_for_three_hours_and_who_has_a_contract_notices_nothing() {
    let came = event(&site(&(HEAD.to_owned() + &hall(""))));
    assert_eq!(came.above, 0, "{:.4} of the target", came.worst);
    assert!(came.work.class(LoadClass::Guaranteed).unwrap() > 0.999, "{}", came.work);
    assert!(came.work.hall >= 0.8, "{}", came.work);
    let of = |class| came.work.class(class).unwrap();
    assert!(of(LoadClass::Throttle) > of(LoadClass::Interruptible), "{}", came.work);
}
