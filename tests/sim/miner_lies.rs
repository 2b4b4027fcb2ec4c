//! A miner that lies about its power. Its own word is never the last one: a meter decides. The headroom comes from the
//! meter at the point of common coupling, and a dedicated meter of the fleet's feeder replaces the sum of what miners say.

use std::time::Duration;

use ballast::config;
use ballast::sim::Scenario;
use ballast::sim::replay::Replay;

/// Two thirds of the miners say half of what they draw, under a steady surplus of 300 kW.
const LIES: &str = r#"
description = "Miners that lie"
[generation]
steady = "500 kW"
[load]
base = "200 kW"
[miners]
start = "hashing"
at = "80 %"
[[event]]
at = "0s"
miner = { name = "m60s-*", fault = "lies", with = { factor = 0.5 } }
[[event]]
at = "0s"
miner = { name = "m30s-*", fault = "lies", with = { factor = 0.5 } }
"#;

#[test]
fn miners_that_say_half_of_what_they_draw_do_not_import_for_long() {
    let config = config::demo(config::DEMO_NETWORK).unwrap();
    let mut replay = Replay::new(&config, &Scenario::parse("lies", LIES).unwrap()).unwrap();
    replay.run(Duration::from_secs(60), |_, _| {});
    let totals = replay.totals();
    let imported = totals.imported.ratio(totals.surplus).unwrap();
    assert!(imported < 0.015, "{:.2} % of the surplus are imported in the first minute", 100.0 * imported);
    replay.restart_counting();
    replay.run(Duration::from_secs(240), |_, _| {});
    let totals = replay.totals();
    let (imported, captured) =
        (totals.imported.ratio(totals.surplus).unwrap(), totals.captured_share().unwrap());
    println!("captured {:.2} %, imported {:.3} %", 100.0 * captured, 100.0 * imported);
    assert!(imported < 0.001, "{:.2} % of the surplus are imported on the word of miners", 100.0 * imported);
    assert!(captured > 0.95, "{:.2} % captured", 100.0 * captured);
}
