//! A guard on the frequency drives a simulated site: from a sag of the mains to measured power, and every cell of the
//! table in `docs/guide/signals/guard.md`.

use crate::signals_level;

use std::time::Duration;

use ballast::clock::Moment;
use ballast::control::measure::Measure;
use ballast::control::signal::SourceState;
use ballast::control::snapshot::{MeterInput, MeterStatus, Reading};
use ballast::signal::guard::Guards;
use signals_level::{Site, Table, mistakes};

const GUARD: &str = r#"
[signals.sag]
kind = "guard"
circuit = "pcc"
meter = "pcc"
below = "49.7 Hz"
back_above = "49.9 Hz"
cap = "5 kW"
samples = 2
return_after = "3s"
lost_after = "4s"
"#;

fn event(at: u64, lasting: u64, what: &str) -> String {
    format!("[[event]]\nat = \"{at}s\"\nfor = \"{lasting}s\"\n{what}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sag_of_the_frequency_brings_the_power_down_and_its_end_lets_it_up() {
    let site = Site::start("127.63.1", GUARD, &event(8, 10, "mains = { frequency = \"49.5 Hz\" }")).await;
    site.eventually("it runs free", |site| site.frame().is_some() && site.fleet() > 18_000.0).await;
    let took = site.eventually("the guard acts", |site| site.caps(1).contains(&5_000.0)).await;
    assert!(took < Duration::from_secs(20), "{took:?}");
    site.eventually("the miners are down", |site| site.fleet() < 5_100.0).await;
    site.eventually("the guard lets go", |site| site.caps(1).is_empty()).await;
    site.eventually("the fleet is back", |site| site.fleet() > 12_000.0).await;
    site.stop().await;
}

#[test]
fn a_guard_caps_the_miners_unless_it_says_import() {
    let text = |more: &str| format!("{GUARD}{more}");
    let scope = |more: &str| Table::new(&text(more), 0).context().place.scope;
    assert_eq!(scope(""), ballast::control::site::Scope::Miners);
    assert_eq!(scope("caps = \"import\"\n"), ballast::control::site::Scope::Import);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sag_of_the_voltage_is_seen_likewise() {
    let guard = GUARD
        .replace("below = \"49.7 Hz\"", "measure = \"voltage\"\nbelow = \"207 V\"")
        .replace("49.9 Hz", "215 V");
    let site =
        Site::start("127.63.2", &guard, &event(6, 60, "mains = { voltage = \"200 V\", over = \"1s\" }"))
            .await;
    site.eventually("the guard acts", |site| site.caps(1).contains(&5_000.0)).await;
    site.eventually("the miners are down", |site| site.fleet() < 5_100.0).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frequency_that_is_not_known_is_the_worst() {
    // The meter falls silent: its circuit has a fail-safe of 15 kW, and the guard's 5 kW are tighter.
    let site =
        Site::start("127.63.3", GUARD, &event(6, 10, "meter = { name = \"pcc\", fault = \"silent\" }")).await;
    site.eventually("it runs free", |site| site.frame().is_some() && site.fleet() > 18_000.0).await;
    site.eventually("the guard acts", |site| site.caps(1).contains(&5_000.0)).await;
    assert!(site.is_lost(1), "and it is called lost");
    site.eventually("the miners are down", |site| site.fleet() < 5_100.0).await;
    site.eventually("the guard lets go", |site| site.caps(1).is_empty()).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_of_a_sag_trips_anew() {
    let mut site =
        Site::start("127.63.4", GUARD, &event(4, 120, "mains = { frequency = \"49.5 Hz\" }")).await;
    site.eventually("the miners are down", |site| site.caps(1).contains(&5_000.0) && site.fleet() < 5_100.0)
        .await;
    site.restart().await;
    site.eventually("the guard acts", |site| site.caps(1).contains(&5_000.0)).await;
    site.eventually("the miners are down", |site| site.fleet() < 5_100.0).await;
    site.stop().await;
}

/// A guard at a desk, fed by hand.
struct Running {
    table: Table,
    guards: Guards,
}

impl Running {
    fn start(guard: &str) -> Self {
        let table = Table::new(guard, 1_800_000_000_000);
        let config = signals_level::config("127.9.9", guard);
        let guards = Guards::start(&config.signals, &table.desk, None);
        Self { table, guards }
    }

    /// A reading of now, or none; the caps that act on it.
    async fn look(&mut self, hertz: Option<f64>) -> Vec<f64> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = self.table.clock.now();
        self.look_at(hertz.map(|value| Reading { value, at: now }), now)
    }

    fn look_at(&mut self, reading: Option<Reading<f64>>, now: Moment) -> Vec<f64> {
        let mut meter = MeterInput::new(MeterStatus::Ok, None);
        if let Some(reading) = reading {
            meter.others.set(Measure::Frequency, reading);
        }
        self.guards.look(&[meter], now).into_iter().map(|order| order.active.cap.get()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_guard_decides_is_on_record_and_its_source_is_heard() {
    let mut running = Running::start(GUARD);
    running.look(Some(50.0)).await;
    assert_eq!(running.table.view().state, SourceState::Controlled);
    running.look(Some(49.0)).await;
    assert_eq!(running.look(Some(49.0)).await, [5_000.0]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((running.table.cap(), running.table.view().state), (Some(5_000.0), SourceState::Limited));
    for _ in 0..5 {
        running.look(Some(50.0)).await;
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((running.table.cap(), running.table.view().state), (None, SourceState::Controlled));
}

#[tokio::test(start_paused = true)]
async fn after_a_power_cut_nothing_is_known_and_the_guard_acts_when_that_stays() {
    let mut running = Running::start(GUARD);
    assert_eq!(running.look(None).await, [] as [f64; 0]);
    for _ in 0..4 {
        running.look(None).await;
    }
    assert_eq!(running.look(None).await, [5_000.0]);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_no_number_is_no_value() {
    let mut running = Running::start(GUARD);
    running.look(Some(50.0)).await;
    for _ in 0..4 {
        assert_eq!(running.look(Some(f64::NAN)).await, [] as [f64; 0]);
    }
    assert_eq!(running.look(Some(f64::NAN)).await, [5_000.0], "not known for too long");
}

#[tokio::test(start_paused = true)]
async fn the_same_sample_twice_is_one_sample() {
    let mut running = Running::start(GUARD);
    let now = running.table.clock.now();
    for _ in 0..20 {
        assert_eq!(running.look_at(Some(Reading { value: 49.0, at: now }), now), [] as [f64; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_does_not_move_a_guard() {
    let mut running = Running::start(GUARD);
    for _ in 0..3 {
        running.look(Some(49.0)).await;
    }
    for wall in [0, 1_700_000_000_000, 1_900_000_000_000] {
        running.table.set(wall);
        assert_eq!(running.look(Some(49.0)).await, [5_000.0]);
        assert_eq!(running.table.cap(), Some(5_000.0), "{wall}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_leaves_a_guard_alone_leaves_it_tripped() {
    let mut running = Running::start(GUARD);
    for _ in 0..3 {
        running.look(Some(49.0)).await;
    }
    let config = signals_level::config("127.9.9", GUARD);
    running.guards = Guards::start(&config.signals, &running.table.desk, Some(running.guards));
    assert_eq!(running.look(Some(49.8)).await, [5_000.0], "between the edges it stays");
}

#[test]
fn what_is_no_guard_is_refused_with_its_place() {
    assert_eq!(mistakes(GUARD), "");
    for (right, wrong, said) in [
        ("meter = \"pcc\"\n", "meter = \"pcx\"\n", "did you mean"),
        ("\"49.7 Hz\"", "\"49.7 V\"", "no unit of frequency"),
        ("\"49.7 Hz\"", "49.7", "is a bare number"),
        ("\"49.9 Hz\"", "\"49.5 Hz\"", "is below `below`"),
        ("cap = \"5 kW\"", "", "has no `cap`"),
        ("cap = \"5 kW\"", "cap = \"none\"", "guards nothing"),
        ("samples = 2", "samples = 0", "must be from 1 to 100"),
        ("below = \"49.7 Hz\"\n", "", "neither `below` and `droop`"),
        (
            "below = \"49.7 Hz\"\nback_above = \"49.9 Hz\"\ncap = \"5 kW\"",
            "droop = [{ at = \"49.2 Hz\", cap = \"0 %\" }, { at = \"49.8 Hz\", cap = \"100 %\" }]",
            "does not fall",
        ),
    ] {
        let said_here = mistakes(&GUARD.replacen(right, wrong, 1));
        assert!(said_here.contains(said), "{wrong}: {said_here}");
    }
    let droop = GUARD.replace(
        "below = \"49.7 Hz\"\nback_above = \"49.9 Hz\"\ncap = \"5 kW\"",
        "droop = [{ at = \"49.8 Hz\", cap = \"100 %\" }, { at = \"49.2 Hz\", cap = \"0 %\" }]\nhysteresis = \"50 mHz\"",
    );
    assert_eq!(mistakes(&droop), "");
}
