//! An unannounced cut of three tenths: how long after the decision it is met.

use ballast::config::Config;
use ballast::sim::replay::Steps;

use super::{HEAD, QUICK, Seen, hall, order, plenty, replay, run, scenario, servers, site, yard};

/// When the order comes, in seconds.
const BEGINS: f64 = 90.0;
/// How long it is looked at.
const LOOKED_AT: f64 = 60.0;
/// What a cap is met with, as a factor: the error of devices.
const NEAR: f64 = 1.005;

/// These work at full power.
fn at_work(names: &[&str]) -> String {
    names.iter().map(|name| format!("[[job]]\nname = \"{name}\"\ntraining = {{}}\n")).collect()
}

/// From the decision until all draw no more than seven tenths of what they drew, in seconds.
fn took(config: &Config, jobs: &str) -> f64 {
    let plenty = plenty(config);
    let mut before = Seen::default();
    run(&mut replay(config, &scenario(plenty, jobs), Steps::Fine, 0.0), BEGINS, &mut before);
    let drawn = before.mean(BEGINS - 20.0, BEGINS);
    let cap = 0.7 * drawn;
    let mut seen = Seen::default();
    let cut = scenario(plenty, &format!("{jobs}{}", order(BEGINS, 600.0, cap, true)));
    run(&mut replay(config, &cut, Steps::Fine, 0.0), BEGINS + LOOKED_AT, &mut seen);
    let decided = seen.decided(BEGINS);
    let met = seen.met(decided, BEGINS + LOOKED_AT, cap * NEAR);
    println!(
        "a cut from {:.1} to {:.1} kW, decided {:.2} s after the order, met {:.2} s after that; {:.1} kW at the end of the minute",
        drawn / 1e3,
        cap / 1e3,
        decided - BEGINS,
        met - decided,
        seen.mean(BEGINS + LOOKED_AT - 10.0, BEGINS + LOOKED_AT) / 1e3
    );
    assert!(met < BEGINS + LOOKED_AT - 5.0, "it is not met at all");
    met - decided
}

const HALL: [&str; 3] = ["held-*", "slowed-*", "waits-*"];

#[test]
fn a_cut_of_three_tenths_is_met_a_second_after_the_decision_by_quick_miners_and_servers() {
    let config = site(&(HEAD.to_owned() + &hall(QUICK) + &yard(QUICK)));
    let took = took(&config, &at_work(&HALL));
    assert!(took <= 1.0, "{took:.2} s");
}

#[test]
fn with_the_times_that_vendors_tell_it_takes_no_longer_than_they_do() {
    let config = site(&(HEAD.to_owned() + &hall("") + &yard("")));
    let took = took(&config, &at_work(&HALL));
    // Of the quick ones a dead time of a second and a ramp of two, each with a spread of some percent.
    assert!(took <= 4.0, "{took:.2} s");
}

#[test]
fn servers_by_their_bmcs_alone_meet_it_within_ten_seconds() {
    let config = site(&(HEAD.to_owned() + &servers("bmc", "redfish", (6, 12), "class = \"throttle\"\n")));
    let took = took(&config, &at_work(&["bmc-*"]));
    assert!(took <= 10.0, "{took:.2} s");
}
