//! What jobs do to a server, and what a cap does to its work. Nothing is commanded by the law here.

use std::sync::Arc;
use std::time::Duration;

use ballast::config::{self, Config, DEMO_NETWORK, DemoFleet};
use ballast::control::site::{LoadClass, MinerId};
use ballast::control::snapshot::Target;
use ballast::sim::Scenario;
use ballast::sim::jobs::Throughput;
use ballast::sim::replay::{Replay, Steps};
use ballast::units::Watts;

use super::{HEAD, Seen, replay, run, scenario, servers, site};

/// Three servers that may be slowed down.
fn three() -> Config {
    let group = servers("gpu", "zeusd", (4, 3), "class = \"throttle\"\n");
    let mut config = site(&(HEAD.replace("50 kW", "15 kW") + &group));
    let mut observes = (*config.site).clone();
    observes.settings.observe = true;
    config.site = Arc::new(observes);
    config
}

const JOBS: &str = r#"
[[job]]
name = "gpu-001"
training = {}
[[job]]
name = "gpu-002"
inference = { low = "50 %" }
[[job]]
name = "gpu-003"
at = "60s"
training = { swing = "20 %", frequency = "0.1 Hz", in_step = true }
"#;

fn draws(replay: &Replay) -> Vec<f64> {
    replay.draws().iter().map(|draw| draw.get()).collect()
}

#[track_caller]
fn near(draw: f64, watts: f64) {
    assert!((draw - watts).abs() < 0.02 * watts, "{draw} W, and not {watts} W");
}

#[test]
fn a_server_draws_what_its_job_asks_for_and_no_more_than_its_cap() {
    let config = three();
    for steps in [Steps::Fine, Steps::Adaptive] {
        let mut replay = replay(&config, &scenario(50.0, JOBS), steps, 0.0);
        run(&mut replay, 30.0, &mut Seen::default());
        let drawn = draws(&replay);
        near(drawn[0], 7_000.0);
        // Midnight, four hours from a peak.
        near(drawn[1], 7_000.0 * (0.5 + 0.5 * (-0.5_f64 * (4.0 / 2.5_f64).powi(2)).exp()));
        near(drawn[2], 1_400.0);
        for member in 0..3 {
            replay.order(MinerId(member), Target::Power(Watts::whole(5_250)), 1);
        }
        // A quarter of the period behind a whole number of them: the highest of the swing.
        run(&mut replay, 72.5 - 30.0, &mut Seen::default());
        let drawn = draws(&replay);
        near(drawn[0], 5_250.0);
        assert!(drawn[1] < 5_000.0, "a cap above the draw changes nothing: {} W", drawn[1]);
        near(drawn[2], 5_250.0);
        run(&mut replay, 5.0, &mut Seen::default());
        near(draws(&replay)[2], 7_000.0 * 0.8 / 1.2);
    }
}

#[test]
fn what_a_cap_takes_from_work_goes_by_the_curve() {
    let config = three();
    let mut replay = replay(&config, &scenario(50.0, JOBS), Steps::Fine, 0.0);
    run(&mut replay, 60.0, &mut Seen::default());
    let all = Throughput::of(&config.site, &replay.work()).unwrap();
    assert!(all.hall > 0.9999 && all.class(LoadClass::Miner).is_none(), "{all}");
    for member in 0..3 {
        replay.order(MinerId(member), Target::Power(Watts::whole(5_250)), 1);
    }
    run(&mut replay, 20.0, &mut Seen::default());
    let then = replay.work();
    run(&mut replay, 100.0, &mut Seen::default());
    let shares: Vec<f64> = replay
        .work()
        .into_iter()
        .zip(then)
        .map(|(now, then)| now.unwrap().since(then.unwrap()).share().unwrap())
        .collect();
    // Three quarters of the power are 90.5 % of the work; the cap is held to a percent or so.
    assert!((shares[0] - 0.905).abs() < 0.01, "{shares:?}");
    assert!(shares[1] > 0.9999, "{shares:?}");
    assert!(shares[2] > 0.905 && shares[2] < 0.99, "only above the cap: {shares:?}");
}

#[test]
fn the_demo_and_the_guide_have_jobs_for_the_servers_of_the_demo() {
    let config = config::demo_fleet(DemoFleet::Ai, DEMO_NETWORK).unwrap();
    let servers = config.site.miners.iter().filter(|member| member.class != LoadClass::Miner);
    assert_eq!((servers.count(), config.site.miners.len()), (12, 132));
    let guide = include_str!("../../../docs/guide/demo-and-simulator.md");
    let mut examples = guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let example = examples.find(|text| text.contains("[[job]]")).unwrap();
    let example = Scenario::parse("guide", &format!("description = \"x\"\n{example}")).unwrap();
    Replay::new(&config, &example).unwrap();
    let shown = Scenario::find(DemoFleet::Ai.scenario()).unwrap();
    let mut replay = Replay::new(&config, &shown).unwrap();
    replay.run(Duration::from_secs(30), |_, _| {});
    let work = Throughput::of(&config.site, &replay.work()).unwrap();
    assert_eq!(work.classes.len(), 3, "{work}");
}

#[test]
fn a_job_for_a_miner_is_refused_at_its_place() {
    let config = config::demo(DEMO_NETWORK).unwrap();
    let scenario = scenario(50.0, "[[job]]\nname = \"m60s-001\"\ntraining = {}\n");
    let error = Replay::new(&config, &scenario).err().unwrap().to_string();
    assert!(error.starts_with("hall.toml:5:") && error.contains("is a miner"), "{error}");
}
