//! The control law on the demo's site, in simulated time.

use std::time::Duration;

use ballast::config;
use ballast::sim::Scenario;
use ballast::sim::replay::Replay;

#[test]
fn the_cloudy_hour_is_followed() {
    let mut config = config::demo(config::DEMO_NETWORK).unwrap();
    {
        let mut site = (*config.site).clone();
        let e = |n: &str| std::env::var(n).ok().and_then(|v| v.parse::<f64>().ok());
        if let Some(v) = e("ANT") {
            site.settings.anticipate = Duration::from_secs_f64(v);
        }
        if let Some(v) = e("HOLD") {
            site.settings.raise_hold = Duration::from_secs_f64(v);
        }
        if let Some(v) = e("RATE") {
            site.settings.raise_rate = ballast::units::WattsPerSecond::saturating(v);
        }
        if let Some(v) = e("MARGIN") {
            site.circuits[0].margin = ballast::units::Watts::saturating(v);
        }
        if let Some(v) = e("PERIOD") {
            site.settings.period = Duration::from_secs_f64(v);
        }
        if let Some(v) = e("DEAD") {
            site.settings.deadband = ballast::units::Watts::saturating(v);
        }
        if let Some(v) = e("START") {
            site.settings.max_starting = v as usize;
        }
        if let Some(v) = e("MINSLEEP") {
            site.settings.min_sleep = Duration::from_secs_f64(v);
        }
        config.site = site.into();
    }
    let scenario = Scenario::find("cloudy-hour").unwrap();
    let mut replay = Replay::new(&config, &scenario).unwrap();
    let mut n = 0;
    let verbose = std::env::var_os("V").is_some();
    replay.run(Duration::from_secs(60), |_, _| {});
    for (from, to) in [(60, 300), (300, 900), (900, 1800), (1800, 3600)] {
        replay.restart_counting();
        let before = replay.commands();
        replay.run(Duration::from_secs(to - from), |d, f| {
            n += 1;
            if verbose && n % 15 == 0 {
                for driver in ["whatsminer-v3", "whatsminer-v2", "braiins-os"] {
                    let mut sums = [0.0; 4];
                    let mut states = std::collections::BTreeMap::new();
                    for (spec, m) in config.site.miners.iter().zip(&d.miners) {
                        if spec.driver == driver {
                            sums[0] += m.settled.get();
                            sums[1] += m.draw.get();
                            sums[2] += m.counted.get();
                            *states.entry(m.state.name()).or_insert(0) += 1;
                        }
                    }
                    println!(
                        "    {driver}: settled {:.1} draw {:.1} counted {:.1} {states:?} gap {:.4}",
                        sums[0] / 1e3,
                        sums[1] / 1e3,
                        sums[2] / 1e3,
                        d.fleet.optimality_gap
                    );
                }
            }
            if verbose && n % 5 == 0 {
                println!(
                    "{:?} surplus {} other-est {} headroom {} target {} setpoint {} est {} true {} | {} cmd",
                    d.at,
                    f.surplus(),
                    d.circuits[0].other,
                    d.circuits[0].headroom,
                    d.fleet.target,
                    d.fleet.setpoint,
                    d.fleet.draw,
                    f.fleet,
                    d.commands.len()
                );
            }
        });
        let t = replay.totals();
        let s = t.surplus.get();
        println!(
            "{from}-{to}: surplus {} usable {:.3} captured {:.4} of usable {:.4} imported {:.5} peak {} commands {} restarts {}",
            t.surplus,
            t.usable_surplus.get() / s,
            t.captured.get() / s,
            t.usable_captured_share().unwrap(),
            t.imported.get() / s,
            t.peak_import,
            replay.commands() - before,
            replay.restarts()
        );
    }
}
