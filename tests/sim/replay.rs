//! The control law on the demo's site, in simulated time: the figures that it must reach.

use std::time::Duration;

use ballast::config;
use ballast::control::decision::MinerState;
use ballast::sim::Scenario;
use ballast::sim::replay::Replay;

fn demo(scenario: &str) -> Replay {
    let config = config::demo(config::DEMO_NETWORK).unwrap();
    Replay::new(&config, &Scenario::find(scenario).unwrap()).unwrap()
}

#[test]
fn the_cloudy_hour_is_followed_from_its_first_minute_on() {
    let mut replay = demo("cloudy-hour");
    let mut stragglers = 0;
    replay.run(Duration::from_secs(60), |_, _| {});
    for (from, to) in [(60, 300), (300, 900), (900, 1_800), (1_800, 3_600)] {
        replay.restart_counting();
        let before = replay.commands();
        replay.run(Duration::from_secs(to - from), |decision, _| {
            stragglers += decision.miners.iter().filter(|miner| miner.state == MinerState::Straggler).count();
        });
        let totals = replay.totals();
        let captured = totals.captured_share().unwrap();
        let imported = totals.imported.ratio(totals.surplus).unwrap();
        let commands = replay.commands() - before;
        println!(
            "{from} s to {to} s: surplus {}, captured {:.2} %, imported {:.3} %, at most {}, {commands} commands",
            totals.surplus,
            100.0 * captured,
            100.0 * imported,
            totals.peak_import
        );
        // What is kept free is the price of a small import: under a sky this wild each point of the one costs 0.03 of the
        // other.
        assert!(captured >= 0.94, "captured {captured:.4} from {from} s on");
        assert!(imported < 0.002_5, "imported {imported:.5} from {from} s on");
        // Less than one command per miner and minute: following is not hunting.
        assert!(commands < 120 * (to - from) / 60, "{commands} commands from {from} s on");
    }
    assert_eq!(stragglers, 0, "every miner does what it is told; none may be called a straggler");
    assert_eq!(replay.restarts(), 0, "no command may restart mining");
}

#[test]
fn at_night_the_fleet_sleeps_and_nothing_is_commanded_any_more() {
    let mut replay = demo("night");
    replay.run(Duration::from_secs(120), |_, _| {});
    let before = replay.commands();
    let mut last = None;
    replay.run(Duration::from_secs(300), |decision, flows| last = Some((decision.clone(), *flows)));
    let (decision, flows) = last.unwrap();
    assert!(flows.fleet.get() < 120.0 * 60.0, "the fleet draws {}", flows.fleet);
    assert!(decision.fleet.setpoint.get() < 120.0 * 60.0);
    assert_eq!(replay.commands(), before, "commands in a night in which nothing changes");
}
