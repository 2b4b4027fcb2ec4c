//! The plant of the shipped scenarios, as pure functions of time.

use std::time::Duration;

use ballast::sim::Scenario;
use ballast::sim::plant::Plant;
use ballast::units::Watts;

/// Generation minus other load in kilowatts, not cut at zero, every 100 ms of the first hour.
fn surplus(plant: &Plant) -> Vec<f64> {
    (0..36_000_u32)
        .map(|i| {
            let balance = plant.at(Duration::from_millis(100) * i);
            (balance.generation() - balance.other()).get() / 1e3
        })
        .collect()
}

fn share(values: &[f64], holds: impl Fn(f64) -> bool) -> f64 {
    let count = values.iter().filter(|value| holds(**value)).count();
    f64::from(u32::try_from(count).unwrap()) / f64::from(u32::try_from(values.len()).unwrap())
}

/// The largest rise and the largest fall within so many samples.
fn largest(values: &[f64], samples: usize) -> (f64, f64) {
    let changes = || values.iter().zip(values.iter().skip(samples)).map(|(a, b)| b - a);
    (changes().fold(0.0, f64::max), -changes().fold(0.0, f64::min))
}

/// The analysis of the demo's hour. `cargo test --test sim the_cloudy_hour -- --nocapture` prints it.
#[test]
fn the_cloudy_hour_is_what_it_says() {
    let plant = Plant::new(&Scenario::find("cloudy-hour").unwrap());
    let surplus = surplus(&plant);
    let mut sorted = surplus.clone();
    sorted.sort_by(f64::total_cmp);
    let quantile = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
    let mean = surplus.iter().sum::<f64>() / 36_000.0;
    let over = share(&surplus, |kw| kw > 460.0);
    print!("surplus: mean {mean:.0} kW; quantiles");
    for percent in [0, 5, 25, 50, 75, 95, 100] {
        print!(" {percent} %: {:.0} kW", quantile(percent));
    }
    println!("; over 460 kW {:.2} % of the time", over * 100.0);
    for (seconds, samples) in [(1, 10), (5, 50), (10, 100), (60, 600)] {
        let (rise, fall) = largest(&surplus, samples);
        println!("within {seconds:2} s: largest rise {rise:.0} kW, largest fall {fall:.0} kW");
    }
    let moves: Vec<f64> = surplus.iter().zip(surplus.iter().skip(50)).map(|(a, b)| (b - a).abs()).collect();
    for size in [30.0, 50.0, 80.0] {
        println!(
            "changes by more than {size} kW within 5 s: {:.2} % of the time",
            share(&moves, |kw| kw > size) * 1e2
        );
    }

    assert!((200.0..320.0).contains(&mean), "mean {mean}");
    assert!(quantile(0) > 30.0, "never nothing: {}", quantile(0));
    assert!(over < 0.01, "over 460 kW: {over}");
    assert!(quantile(95) - quantile(5) > 180.0, "it varies");
    let (rise, fall) = largest(&surplus, 50);
    assert!((50.0..100.0).contains(&rise.max(fall)), "5 to 10 % of 1 MW: {rise} {fall}");
}

#[test]
fn every_scenario_keeps_its_bound_between_its_events() {
    for (name, _) in Scenario::EMBEDDED {
        let mut scenario = Scenario::find(name).unwrap();
        scenario.plant_events.clear();
        let plant = Plant::new(&scenario);
        let bound = plant.steepest_ramp().get() / 1e3 * 0.1 + 1e-9;
        let values = surplus(&plant);
        let (rise, fall) = largest(&values, 1);
        assert!(rise <= bound && fall <= bound, "{name}: {rise} {fall} {bound}");
    }
}

#[test]
fn a_scenario_is_the_same_whenever_and_however_it_is_asked() {
    let (a, b) = (0..2)
        .map(|_| Plant::new(&Scenario::find("cloudy-hour").unwrap()))
        .fold((None, None), |(first, _): (Option<Plant>, Option<Plant>), plant| {
            (first.or(Some(plant.clone())), Some(plant))
        });
    let (a, b) = (a.unwrap(), b.unwrap());
    let times: Vec<_> = (0..3_600_u64).map(Duration::from_secs).collect();
    let forwards: Vec<_> = times.iter().map(|time| a.at(*time)).collect();
    let mut backwards: Vec<_> = times.iter().rev().map(|time| b.at(*time)).collect();
    backwards.reverse();
    assert_eq!(forwards, backwards);

    let mut other = Scenario::find("cloudy-hour").unwrap();
    other.seed += 1;
    let other = Plant::new(&other);
    assert!(times.iter().any(|time| other.at(*time) != a.at(*time)), "another seed is another day");
}

#[test]
fn the_night_has_no_surplus() {
    let plant = Plant::new(&Scenario::find("night").unwrap());
    for minute in 0..480 {
        let balance = plant.at(Duration::from_secs(60 * minute));
        assert_eq!(balance.surplus(), Watts::ZERO);
        assert!(balance.other() > Watts::whole(80_000));
    }
}

#[test]
fn a_step_is_as_high_and_as_steep_as_it_is_written() {
    let plant = Plant::new(&Scenario::find("step-down").unwrap());
    for (milliseconds, kilowatts) in
        [(0, 400.0), (30_000, 400.0), (30_500, 350.0), (31_000, 300.0), (89_000, 300.0), (91_000, 400.0)]
    {
        let surplus = plant.at(Duration::from_millis(milliseconds)).surplus();
        assert!(
            (surplus - Watts::kilowatts(kilowatts)).abs() < Watts::whole(1),
            "{milliseconds} ms: {surplus}"
        );
    }
}

#[test]
fn events_change_what_they_name() {
    let text = r#"
description = "events"
[sun]
peak = "1 MW"
start = "12:00"
[generation]
steady = "100 kW"
[load]
base = "200 kW"
[auxiliary]
hall = "5 kW"
[[event]]
at = "10s"
for = "10s"
sun = { to = "300 kW" }
[[event]]
at = "30s"
for = "10s"
sun = { times = 0.0 }
[[event]]
at = "50s"
for = "10s"
surplus = { to = "-40 kW", over = "2s" }
"#;
    let plant = Plant::new(&Scenario::parse("events.toml", text).unwrap());
    let at = |seconds: f64| plant.at(Duration::from_secs_f64(seconds));
    assert!(at(5.0).sun > Watts::whole(700_000));
    assert_eq!(at(15.0).sun, Watts::whole(300_000));
    assert_eq!(at(15.0).surplus(), Watts::whole(195_000));
    assert_eq!(at(35.0).generation(), Watts::whole(100_000));
    let shortage = at(55.0);
    assert!((shortage.generation() - shortage.other() + Watts::whole(40_000)).abs() < Watts::whole(1));
    assert_eq!(shortage.surplus(), Watts::ZERO);
    assert!(at(65.0).surplus() > Watts::whole(500_000));
}
