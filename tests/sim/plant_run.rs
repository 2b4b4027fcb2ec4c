//! The running simulation: truth, faults of miners, addresses, start and end.

use crate::sim_plant_site;

use std::time::Duration;

use ballast::endpoint::Endpoint;
use ballast::meter::Transport;
use ballast::meter::profile::{Format, WordOrder};
use ballast::sim::{Scenario, SimError};
use ballast::units::Watts;
use sim_plant_site::{CALM, MeterSpec, config, free_port, register, start, start_scenario};
use tokio::time::{sleep, timeout};

fn pcc() -> MeterSpec {
    ("pcc", 1, vec![register(Format::F32, WordOrder::HighFirst, 1.0)], false)
}

#[tokio::test]
async fn the_truth_is_known_at_once_and_counted_from_then_on() {
    let (simulation, _) = start(&config(free_port(), &[pcc()]), "").await.unwrap();
    let truth = simulation.truth();
    assert_eq!(truth.pcc, Watts::whole(58_000));
    assert_eq!(truth.circuits, [Watts::whole(58_000), Watts::whole(8_000)]);
    assert_eq!((truth.pv, truth.other), (Watts::whole(150_000), Watts::whole(200_000)));
    assert_eq!((truth.surplus, truth.fleet), (Watts::ZERO, Watts::whole(8_000)));
    sleep(Duration::from_millis(400)).await;
    let totals = simulation.truth().totals;
    let seconds = totals.time.as_secs_f64();
    assert!((0.3..10.0).contains(&seconds), "{seconds}");
    assert!((totals.imported.get() / seconds - 58_000.0).abs() < 1.0);
    assert!((totals.attributable_import.get() / seconds - 8_000.0).abs() < 1.0);
    assert!((totals.hashes / seconds / 320e12 - 1.0).abs() < 1e-6);
    simulation.shutdown().await;
}

#[tokio::test]
async fn counting_can_begin_anew() {
    let (simulation, _) = start(&config(free_port(), &[pcc()]), "").await.unwrap();
    sleep(Duration::from_millis(300)).await;
    simulation.restart_counting();
    let mut watch = simulation.watch();
    watch.mark_unchanged();
    watch.changed().await.unwrap();
    let truth = simulation.truth();
    let totals = truth.totals;
    assert!(totals.time <= truth.at.since(totals.counting_from), "{:?}", totals.time);
    assert!(totals.counting_from.since_start() >= Duration::from_millis(300));
    simulation.shutdown().await;
}

#[tokio::test]
async fn speed_runs_the_plant_and_not_the_devices() {
    // The load changes after a minute of scenario time: half a second at a speed of 120. The miner's fault is due
    // after a minute of real time: not in this test.
    let script = "[[event]]\nat = \"60s\"\nload = { by = \"10 kW\" }\n\
                  [[event]]\nat = \"60s\"\nminer = { name = \"*\", fault = \"slow\" }\n";
    let scenario = Scenario::parse("fast.toml", &format!("{CALM}{script}")).unwrap();
    let (simulation, miners) =
        start_scenario(&config(free_port(), &[pcc()]), &scenario, 120.0).await.unwrap();
    assert_eq!(simulation.truth().other, Watts::whole(200_000));
    sleep(Duration::from_millis(900)).await;
    let truth = simulation.truth();
    assert_eq!(truth.other, Watts::whole(210_000));
    assert!(truth.scenario_time >= Duration::from_secs(80), "{:?}", truth.scenario_time);
    assert!(miners[0].log.lock().unwrap().is_empty());
    simulation.shutdown().await;
}

#[tokio::test]
async fn a_fault_reaches_the_miners_that_it_names_and_leaves_them() {
    let script = "[[event]]\nat = \"100ms\"\nfor = \"400ms\"\n\
                  miner = { name = \"m*\", circuit = \"hall\", count = 1, fault = \"slow\" }\n";
    let (simulation, miners) = start(&config(free_port(), &[pcc()]), script).await.unwrap();
    for _ in 0..3_000 {
        sleep(Duration::from_millis(20)).await;
        if miners[0].log.lock().unwrap().len() == 2 {
            break;
        }
    }
    assert_eq!(*miners[0].log.lock().unwrap(), ["+slow", "-slow"]);
    assert!(miners[1].log.lock().unwrap().is_empty());
    simulation.shutdown().await;
}

#[tokio::test]
async fn in_an_outage_nothing_flows_the_port_is_closed_and_the_miners_have_no_power() {
    let port = free_port();
    let script = "[[event]]\nat = \"200ms\"\nfor = \"900ms\"\noutage = { boot = \"2s\" }\n";
    let (simulation, miners) = start(&config(port, &[pcc()]), script).await.unwrap();
    let mut truth = simulation.watch();
    let patience = Duration::from_secs(60);
    let dark = timeout(patience, truth.wait_for(|truth| truth.pcc == Watts::ZERO)).await.unwrap();
    let dark = dark.unwrap().clone();
    assert!(dark.circuits.iter().all(|power| *power == Watts::ZERO));
    assert_eq!((dark.pv, dark.other, dark.surplus), (Watts::ZERO, Watts::ZERO, Watts::ZERO));
    let mut refused = None;
    for _ in 0..40 {
        refused = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.err().map(|error| error.kind());
        if refused.is_some() {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(refused, Some(std::io::ErrorKind::ConnectionRefused));
    let back = timeout(patience, truth.wait_for(|truth| truth.pcc == Watts::whole(58_000))).await.unwrap();
    drop(back.unwrap());
    for miner in &miners {
        assert_eq!(*miner.log.lock().unwrap(), ["+power-cut", "-power-cut"]);
    }
    simulation.shutdown().await;
}

#[tokio::test]
async fn what_the_site_does_not_have_is_told_with_its_place() {
    for (script, words) in [
        (
            "[[event]]\nat = \"1s\"\nminer = { name = \"x*\", fault = \"slow\" }\n",
            "13:18: this needs 1 of the miners `x*`, but the site has 0",
        ),
        (
            "[[event]]\nat = \"1s\"\nminer = { name = \"*\", count = 3, fault = \"slow\" }\n",
            "but the site has 2",
        ),
        (
            "[[event]]\nat = \"1s\"\nminer = { name = \"*\", fault = \"melt\" }\n",
            "miners have no fault `melt`",
        ),
        (
            "[[event]]\nat = \"1s\"\nminer = { name = \"*\", fault = \"slow\", with = { dely = \"1s\" } }\n",
            "no parameter `dely`",
        ),
        (
            "[[event]]\nat = \"1s\"\nminer = { name = \"*\", circuit = \"cellar\", fault = \"slow\" }\n",
            "no circuit `cellar`; it has pcc, hall",
        ),
        (
            "[[event]]\nat = \"1s\"\nmeter = { name = \"x\", fault = \"silent\" }\n",
            "no meter `x`; it has pcc",
        ),
        ("[meters.x]\nlag = \"1s\"\n", "no meter `x`; it has pcc"),
        ("[readings.x]\nvalue = \"1 W\"\n", "no meter `x`; it has pcc"),
        ("[auxiliary]\ncellar = \"1 W\"\n", "no circuit `cellar`"),
    ] {
        let error = start(&config(free_port(), &[pcc()]), script).await.err().map(|e| e.to_string());
        let error = error.unwrap_or_else(|| panic!("{script} is accepted"));
        assert!(error.starts_with("test.toml:1") && error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_meter_without_a_pattern_for_no_value_cannot_be_unavailable() {
    let meter = ("pcc", 1, vec![register(Format::I32, WordOrder::HighFirst, 1.0)], false);
    let script = "[[event]]\nat = \"1s\"\nmeter = { name = \"*\", fault = \"unavailable\" }\n";
    let error = start(&config(free_port(), &[meter]), script).await.err().map(|e| e.to_string());
    assert!(error.unwrap().contains("no pattern"));
}

#[tokio::test]
async fn an_address_that_is_not_loopback_is_refused() {
    let mut config = config(free_port(), &[pcc()]);
    for host in ["192.0.2.7", "0.0.0.0", "meter.example"] {
        config.links[0].transport = Transport::Tcp(Endpoint { host: host.into(), port: 502 });
        let error = start(&config, "").await.err().unwrap();
        assert!(matches!(error, SimError::NotLoopback { .. }), "{error}");
        let words = error.to_string();
        assert!(words.contains(host) && words.contains("`bus`"), "{words}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = start(&config(port, &[pcc()]), "").await.err().unwrap().to_string();
    assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(error.contains("stop the program that uses this port"), "{error}");
}

#[tokio::test]
async fn a_register_that_is_no_surplus_needs_words_from_the_scenario() {
    let plc = ("plc", 1, vec![register(Format::F32, WordOrder::HighFirst, 1.0)], false);
    let mut config = config(free_port(), &[plc]);
    let mut site = (*config.site).clone();
    site.limits[0].class = ballast::control::site::LimitClass::Grid;
    config.site = std::sync::Arc::new(site);
    let error = start(&config, "").await.err().unwrap().to_string();
    assert!(error.contains("[readings.plc]") && error.contains("`manager`"), "{error}");
}

#[tokio::test]
async fn nonsensical_speeds_are_refused() {
    let scenario = Scenario::parse("calm.toml", CALM).unwrap();
    for speed in [0.0, -1.0, f64::NAN, f64::INFINITY, 4_000.0] {
        let result = start_scenario(&config(free_port(), &[pcc()]), &scenario, speed).await;
        assert!(matches!(result, Err(SimError::Speed(_))));
    }
}

#[tokio::test]
async fn after_shutdown_the_port_is_free_again() {
    let port = free_port();
    let (simulation, _) = start(&config(port, &[pcc()]), "").await.unwrap();
    simulation.shutdown().await;
    let (again, _) = start(&config(port, &[pcc()]), "").await.unwrap();
    // Dropping ends it as well.
    drop(again);
    sleep(Duration::from_millis(100)).await;
    let (last, _) = start(&config(port, &[pcc()]), "").await.unwrap();
    last.shutdown().await;
}
