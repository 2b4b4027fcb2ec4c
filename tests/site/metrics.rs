//! What a scrape says of a cycle.

use crate::metrics_sample;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ballast::control::decision::{
    Binding, Decision, Held, LimitValue, MeterDecision, MinerState, Mode, Source, Waiting,
};
use ballast::control::measure::Measure;
use ballast::control::site::{
    CircuitId, Combination, Condition, LoadClass, Meter, MeterId, MinerId, Part, Redundant, SourceId,
};
use ballast::control::snapshot::{MeterInput, MeterStatus, Reading};
use ballast::metrics::{CommandTally, Exporter, ReadTally, SignalStats, describe};
use ballast::signal::link::{Came, Exceeded, Link};
use ballast::signal::status::{SourceStatus, Status};
use ballast::units::Watts;
use metrics_sample::{SECOND, decision, publish, running, silent, site, text};

/// All samples by name and labels. Two samples of one name would hide each other, so that fails here.
fn samples(exporter: &Exporter) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    for line in text(exporter).lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let before = samples.insert(name.to_owned(), value.parse().unwrap());
        assert_eq!(before, None, "{name} is there twice");
    }
    samples
}

fn value(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    *samples.get(name).unwrap_or_else(|| panic!("{name} is missing"))
}

#[track_caller]
fn says(samples: &BTreeMap<String, f64>, name: &str, expected: f64) {
    let found = value(samples, name);
    assert!((found - expected).abs() < 1e-6, "{name} is {found}, not {expected}");
}

#[test]
fn a_scrape_tells_budget_limits_fleet_and_energy_in_base_units() {
    let (exporter, _) = running(6);
    let samples = samples(&exporter);
    for (name, expected) in [
        ("ballast_budget_watts", 306_100.0),
        ("ballast_surplus_watts", 312_400.0),
        ("ballast_shortfall_watts", 0.0),
        ("ballast_fleet_power_watts", 304_900.0),
        ("ballast_fleet_hashrate_hashes_per_second", 1.62e16),
        ("ballast_circuit_power_watts{circuit=\"pcc\"}", -7_500.0),
        ("ballast_circuit_limit_watts{circuit=\"pcc\",source=\"follow-surplus\"}", 0.0),
        ("ballast_circuit_limit_watts{circuit=\"pcc\",source=\"main-breaker\"}", 400_000.0),
        ("ballast_circuit_headroom_watts{circuit=\"pcc\"}", 306_100.0),
        ("ballast_binding_limit_info{circuit=\"pcc\",source=\"follow-surplus\"}", 1.0),
        ("ballast_mode{mode=\"following\"}", 1.0),
        ("ballast_mode{mode=\"fail-safe\"}", 0.0),
        ("ballast_miners{state=\"hashing\"}", 2.0),
        ("ballast_miners{state=\"straggler\"}", 1.0),
        ("ballast_miners{state=\"fault\"}", 0.0),
        ("ballast_miners{state=\"unanswered\"}", 0.0),
        ("ballast_fleet_left_watts", 5_700.0),
        ("ballast_energy_joules_total{kind=\"captured\"}", 3.9e9),
        ("ballast_meter_power_watts{meter=\"pv\"}", -312_400.0),
        ("ballast_cycle_duration_seconds_count", 1.0),
    ] {
        says(&samples, name, expected);
    }
    assert!(value(&samples, "ballast_last_cycle_age_seconds") < 5.0);
    let binding = samples.keys().filter(|name| name.starts_with("ballast_binding_limit_info"));
    assert_eq!(binding.count(), 1, "one limit binds");
}

#[test]
fn an_unknown_value_has_no_series_and_is_not_zero() {
    let (exporter, _) = running(6);
    let samples = samples(&exporter);
    let absent = |name: &str| assert!(!samples.contains_key(name), "{name} is there");
    absent("ballast_meter_power_watts{meter=\"dead\"}");
    absent("ballast_meter_age_seconds{meter=\"dead\"}");
    says(&samples, "ballast_meter_up{meter=\"dead\"}", 0.0);
    absent("ballast_circuit_power_watts{circuit=\"container\"}");

    let labels = |miner: usize, driver: &str| {
        format!("{{miner=\"rack-000-{miner:02}\",circuit=\"container\",driver=\"{driver}\"}}")
    };
    let unreachable = labels(2, "whatsminer-v3");
    says(&samples, &format!("ballast_miner_up{unreachable}"), 0.0);
    absent(&format!("ballast_miner_power_watts{unreachable}"));
    absent(&format!("ballast_miner_hashrate_hashes_per_second{unreachable}"));
    says(&samples, &format!("ballast_miner_setpoint_watts{unreachable}"), 20.0);

    let no_hashrate = labels(3, "braiins-os");
    says(&samples, &format!("ballast_miner_power_watts{no_hashrate}"), 3_390.0);
    absent(&format!("ballast_miner_hashrate_hashes_per_second{no_hashrate}"));
    says(&samples, &format!("ballast_miner_straggler{no_hashrate}"), 1.0);

    let never_asked = labels(4, "whatsminer-v3");
    absent(&format!("ballast_miner_up{never_asked}"));
    absent(&format!("ballast_miner_setpoint_watts{never_asked}"));
}

#[test]
fn each_class_tells_how_many_it_has_what_it_draws_and_what_it_could_give() {
    let (exporter, _) = silent(6);
    let mut hall = site(6);
    hall.miners[0].class = LoadClass::Guaranteed;
    hall.miners[0].sleeps = false;
    hall.miners[0].contract = Some(Watts::whole(3_000));
    hall.miners[1].class = LoadClass::Interruptible;
    exporter.reconfigure(Arc::new(hall));
    publish(&exporter, |_, _| {});
    let found = samples(&exporter);
    for (name, expected) in [
        ("ballast_class_members{class=\"miner\"}", 4.0),
        ("ballast_class_members{class=\"guaranteed\"}", 1.0),
        ("ballast_class_power_watts{class=\"guaranteed\"}", 3_412.0),
        ("ballast_class_setpoint_watts{class=\"guaranteed\"}", 3_400.0),
        ("ballast_class_sheddable_watts{class=\"guaranteed\"}", 400.0),
        // One hashes; of the others nobody knows whether they would.
        ("ballast_class_sheddable_watts{class=\"miner\"}", 3_380.0),
        ("ballast_class_paused{class=\"interruptible\"}", 1.0),
        ("ballast_class_paused{class=\"miner\"}", 0.0),
    ] {
        says(&found, name, expected);
    }
    assert!(!found.contains_key("ballast_class_members{class=\"throttle\"}"), "there is none");
}

/// Sources as they are given.
struct Sources(Status);

impl SignalStats for Sources {
    fn status(&self) -> Status {
        self.0.clone()
    }
}

fn source(name: &str, link: Option<Link>) -> SourceStatus {
    SourceStatus {
        name: name.into(),
        state: None,
        age: None,
        trouble: Vec::new(),
        lifted: None,
        caps: Vec::new(),
        met_after: None,
        shortfall: None,
        deviation: None,
        orders: Vec::new(),
        link,
    }
}

#[test]
fn a_source_with_a_connection_tells_what_came_what_was_sent_and_where_too_much_is_drawn() {
    let (exporter, clock) = running(6);
    let exceeded = Exceeded { cap: Watts::whole(10), measured: Watts::whole(13), critical: true };
    let mut link = Link {
        connected: true,
        states_sent: 7,
        alerts_sent: 1,
        reports_sent: 2,
        listed: Some(clock.now()),
        // Two feeds of one circuit are one series.
        watched: vec![("pcc".into(), None), ("container".into(), None), ("container".into(), Some(exceeded))],
        ..Link::default()
    };
    link.count(Came::Taken);
    link.count(Came::Replayed);
    link.count(Came::Replayed);
    let sources = vec![source("price", None), source("dso", Some(link))];
    exporter.watch_signals(Arc::new(Sources(Status { sources, ..Status::default() })));
    let found = samples(&exporter);
    for (name, expected) in [
        ("ballast_signal_connected{source=\"dso\"}", 1.0),
        ("ballast_signal_messages_total{source=\"dso\",result=\"taken\"}", 1.0),
        ("ballast_signal_messages_total{source=\"dso\",result=\"replayed\"}", 2.0),
        ("ballast_signal_messages_total{source=\"dso\",result=\"signature\"}", 0.0),
        ("ballast_signal_sent_total{source=\"dso\",message=\"status\"}", 7.0),
        ("ballast_signal_sent_total{source=\"dso\",message=\"breach\"}", 1.0),
        ("ballast_signal_breach{source=\"dso\",circuit=\"pcc\"}", 0.0),
        ("ballast_signal_breach{source=\"dso\",circuit=\"container\"}", 1.0),
    ] {
        says(&found, name, expected);
    }
    assert!(value(&found, "ballast_signal_list_age_seconds{source=\"dso\"}") < 60.0);
    assert!(
        !found.contains_key("ballast_signal_connected{source=\"price\"}"),
        "it has no connection of its own"
    );
}

fn outcome(input: MeterInput, lost: f64) -> MeterDecision {
    MeterDecision {
        input,
        lost,
        lag: Duration::ZERO,
        learned_lag: None,
        in_use: None,
        disagreement: None,
        asked: None,
    }
}

#[test]
fn everything_that_a_meter_tells_is_told_while_it_is_fresh() {
    let (exporter, clock) = silent(1);
    publish(&exporter, |snapshot, _| {
        let (now, pcc) = (snapshot.now, &mut snapshot.meters[0]);
        pcc.refresh = Some(10 * SECOND);
        for (measure, value) in [
            (Measure::Frequency, 49.98),
            (Measure::VoltageL1, 231.5),
            (Measure::VoltageL3, 229.0),
            (Measure::PowerL2, -2_500.0),
            (Measure::EnergyImport, 1_000.0),
            (Measure::EnergyExport, 2.0),
            (Measure::StateOfCharge, 64.0),
        ] {
            pcc.others.set(measure, Reading { value, at: now });
        }
        // One that does not make sense as a number is not there.
        snapshot.meters[2].others.set(Measure::Frequency, Reading { value: f64::NAN, at: now });
    });
    assert!(clock.now() < ballast::clock::Moment::START + 3 * SECOND);
    let samples = samples(&exporter);
    for (name, expected) in [
        ("ballast_meter_refresh_seconds{meter=\"pcc\"}", 10.0),
        ("ballast_meter_frequency_hertz{meter=\"pcc\"}", 49.98),
        ("ballast_meter_voltage_volts{meter=\"pcc\",phase=\"L1\"}", 231.5),
        ("ballast_meter_voltage_volts{meter=\"pcc\",phase=\"L3\"}", 229.0),
        ("ballast_meter_phase_power_watts{meter=\"pcc\",phase=\"L2\"}", -2_500.0),
        ("ballast_meter_energy_joules_total{meter=\"pcc\",direction=\"import\"}", 3_600_000.0),
        ("ballast_meter_energy_joules_total{meter=\"pcc\",direction=\"export\"}", 7_200.0),
        ("ballast_meter_state_of_charge_ratio{meter=\"pcc\"}", 0.64),
    ] {
        says(&samples, name, expected);
    }
    let absent = |name: &str| assert!(!samples.contains_key(name), "{name} is there");
    absent("ballast_meter_voltage_volts{meter=\"pcc\",phase=\"L2\"}");
    absent("ballast_meter_frequency_hertz{meter=\"pv\"}");
    absent("ballast_meter_refresh_seconds{meter=\"pv\"}");
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_is_stale_has_no_series_though_the_power_is_fresh() {
    let (exporter, _) = silent(1);
    let now = exporter.clock().now();
    tokio::time::sleep(10 * SECOND).await;
    publish(&exporter, |snapshot, _| {
        snapshot.meters[0].others.set(Measure::StateOfCharge, Reading { value: 64.0, at: now });
    });
    let samples = samples(&exporter);
    says(&samples, "ballast_meter_power_watts{meter=\"pcc\"}", -7_500.0);
    assert!(!samples.contains_key("ballast_meter_state_of_charge_ratio{meter=\"pcc\"}"));
}

#[test]
fn combined_meters_and_lags_are_told_as_the_control_law_took_them() {
    let (exporter, _) = silent(1);
    // A pair of redundant meters, and a limit that rests.
    let mut site = site(1);
    let part = |meter| Part { meter: MeterId(meter), measure: Measure::Power };
    site.meters[0].learn_lag = false;
    site.meters[0].lag = Duration::from_millis(500);
    site.meters.push(Meter {
        name: "both".into(),
        combined: Some(Combination::Redundant(Redundant {
            parts: vec![part(0), Part { measure: Measure::PowerL1, ..part(2) }],
            disagreement: Watts::whole(5_000),
            disagreement_for: 10 * SECOND,
            return_after: 60 * SECOND,
        })),
        ..site.meters[2].clone()
    });
    site.limits[2].condition = Some(Condition { meter: MeterId(2), below: 0.6, until: 0.8 });
    exporter.reconfigure(Arc::new(site));
    publish(&exporter, |snapshot, decision| {
        let reading = Reading { value: Watts::whole(4_200), at: snapshot.now };
        decision.meters = snapshot.meters.iter().map(|input| outcome(*input, 0.0)).collect();
        decision.meters[0].learned_lag = Some(2 * SECOND);
        decision.meters[2].learned_lag = Some(Duration::from_millis(1_500));
        decision.meters.push(MeterDecision {
            in_use: Some(1),
            disagreement: Some(true),
            ..outcome(MeterInput::new(MeterStatus::Ok, Some(reading)), 0.0)
        });
        decision.circuits[1].limits[0].acts = false;
    });
    let found = samples(&exporter);
    for (name, expected) in [
        ("ballast_meter_power_watts{meter=\"both\"}", 4_200.0),
        ("ballast_meter_up{meter=\"both\"}", 1.0),
        ("ballast_meter_disagreement{meter=\"both\"}", 1.0),
        ("ballast_meter_in_use{meter=\"both\",part=\"pcc\"}", 0.0),
        ("ballast_meter_in_use{meter=\"both\",part=\"pv.power_l1\"}", 1.0),
        ("ballast_meter_lag_seconds{meter=\"pcc\",origin=\"configured\"}", 0.5),
        ("ballast_meter_lag_seconds{meter=\"pcc\",origin=\"learned\"}", 2.0),
        ("ballast_meter_lag_seconds{meter=\"pv\",origin=\"learned\"}", 1.5),
        ("ballast_limit_active{circuit=\"container\",source=\"container-feeder\"}", 0.0),
    ] {
        says(&found, name, expected);
    }
    assert!(
        !found.contains_key("ballast_circuit_limit_watts{circuit=\"container\",source=\"container-feeder\"}")
    );
    assert!(!found.contains_key("ballast_meter_lag_seconds{meter=\"pv\",origin=\"configured\"}"));
    assert!(!found.contains_key("ballast_meter_disagreement{meter=\"pcc\"}"), "it has no parts");
    publish(&exporter, |snapshot, decision| {
        let reading = Reading { value: Watts::whole(4_200), at: snapshot.now };
        decision.meters = vec![outcome(MeterInput::new(MeterStatus::Unreachable, Some(reading)), 0.1); 4];
    });
    let lost = samples(&exporter);
    says(&lost, "ballast_meter_up{meter=\"both\"}", 0.0);
    assert!(!lost.contains_key("ballast_meter_power_watts{meter=\"both\"}"), "lost with its parts");
}

#[test]
fn before_the_first_cycle_only_start_up_is_told() {
    let (exporter, _) = silent(3);
    let samples = samples(&exporter);
    says(&samples, "ballast_mode{mode=\"start-up\"}", 1.0);
    says(&samples, "ballast_cycle_duration_seconds_count", 0.0);
    assert!(!samples.keys().any(|name| name.contains("watts")), "no power is known yet");
}

#[tokio::test(start_paused = true)]
async fn readings_age_while_no_cycle_completes() {
    let (exporter, _) = running(6);
    tokio::time::sleep(4 * SECOND).await;
    let later = samples(&exporter);
    says(&later, "ballast_last_cycle_age_seconds", 4.0);
    says(&later, "ballast_meter_age_seconds{meter=\"pcc\"}", 4.0);
    says(&later, "ballast_meter_up{meter=\"pcc\"}", 0.0);
    for name in ["ballast_meter_power_watts{meter=\"pcc\"}", "ballast_circuit_power_watts{circuit=\"pcc\"}"] {
        assert!(!later.contains_key(name), "{name} is stale and still told");
    }
    tokio::time::sleep(20 * SECOND).await;
    let silent = samples(&exporter);
    assert!(!silent.keys().any(|name| name.starts_with("ballast_miner_power_watts")));
    says(&silent, "ballast_budget_watts", 306_100.0);
}

#[test]
fn a_good_old_value_of_a_meter_that_fails_now_is_told_but_the_meter_is_down() {
    let (exporter, _) = silent(1);
    publish(&exporter, |snapshot, _| snapshot.meters[0].status = MeterStatus::Exception(4));
    let samples = samples(&exporter);
    says(&samples, "ballast_meter_up{meter=\"pcc\"}", 0.0);
    says(&samples, "ballast_meter_power_watts{meter=\"pcc\"}", -7_500.0);
}

#[test]
fn a_meter_that_is_not_believed_is_down_however_good_its_reads_are() {
    let (exporter, _) = silent(1);
    publish(&exporter, |snapshot, decision| {
        decision.meters = snapshot.meters.iter().map(|input| outcome(*input, 0.0)).collect();
    });
    says(&samples(&exporter), "ballast_meter_up{meter=\"pcc\"}", 1.0);
    for status in [MeterStatus::Turned, MeterStatus::Frozen] {
        publish(&exporter, |snapshot, decision| {
            decision.meters = snapshot.meters.iter().map(|input| outcome(*input, 1.0)).collect();
            decision.meters[0].input.status = status;
        });
        says(&samples(&exporter), "ballast_meter_up{meter=\"pcc\"}", 0.0);
    }
}

#[test]
fn what_the_next_miner_waits_for_is_told_while_one_waits() {
    let (exporter, _) = running(6);
    let names = ["ballast_wake_needed_watts", "ballast_wake_available_watts"];
    let before = samples(&exporter);
    assert!(names.iter().all(|name| !before.contains_key(*name)), "none waits");
    publish(&exporter, |_, decision| {
        decision.miners[0].state = MinerState::Unanswered;
        decision.waiting = Some(Waiting {
            miner: MinerId(1),
            needs: Watts::whole(3_310),
            there: Watts::whole(2_460),
            held: Held::Short,
        });
    });
    let samples = samples(&exporter);
    says(&samples, names[0], 3_310.0);
    says(&samples, names[1], 2_460.0);
    says(&samples, "ballast_miners{state=\"unanswered\"}", 1.0);
}

#[test]
fn counters_come_from_their_owners_and_never_twice() {
    let (exporter, _) = running(1);
    let reads = Arc::new(ReadTally::default());
    let commands = Arc::new(CommandTally::default());
    exporter.watch_meters(reads.clone());
    exporter.watch_commands(commands.clone());
    for (meter, result) in [("pcc", "ok"), ("pcc", "ok"), ("dead", "unreachable"), ("gone", "ok")] {
        reads.record(meter, result);
    }
    commands.record("braiins-os", "accepted", Duration::from_millis(40));
    commands.record("braiins-os", "rejected_busy", Duration::from_secs(2));
    let samples = samples(&exporter);
    says(&samples, "ballast_meter_reads_total{meter=\"pcc\",result=\"ok\"}", 2.0);
    says(&samples, "ballast_meter_reads_total{meter=\"dead\",result=\"unreachable\"}", 1.0);
    assert!(!samples.keys().any(|name| name.contains("\"gone\"")), "a meter that the site does not have");
    says(&samples, "ballast_commands_total{driver=\"braiins-os\",result=\"accepted\"}", 1.0);
    let bucket =
        |le: &str| format!("ballast_command_duration_seconds_bucket{{driver=\"braiins-os\",le=\"{le}\"}}");
    says(&samples, &bucket("0.03"), 0.0);
    says(&samples, &bucket("0.1"), 1.0);
    says(&samples, &bucket("+Inf"), 2.0);
}

#[test]
fn one_source_that_caps_a_circuit_twice_gives_one_series_with_the_tighter_cap() {
    let (exporter, _) = silent(1);
    publish(&exporter, |_, decision| {
        let mut again = decision.circuits[0].limits[1];
        again.cap = Some(Watts::kilowatts(90.0));
        decision.circuits[0].limits.push(again);
    });
    says(
        &samples(&exporter),
        "ballast_circuit_limit_watts{circuit=\"pcc\",source=\"main-breaker\"}",
        90_000.0,
    );
}

#[test]
fn the_labels_do_not_grow_with_time() {
    let (exporter, _) = running(6);
    let names = |exporter: &Exporter| samples(exporter).into_keys().collect::<BTreeSet<_>>();
    let first = names(&exporter);
    for _ in 0..50 {
        publish(&exporter, |_, _| {});
    }
    assert_eq!(first, names(&exporter));
}

#[test]
fn a_new_configuration_drops_what_belongs_to_the_old_one() {
    let (exporter, _) = running(6);
    exporter.reconfigure(Arc::new(site(2)));
    assert!(exporter.frame().is_none());
    publish(&exporter, |_, _| {});
    assert!(!text(&exporter).contains("rack-000-05"));
}

#[test]
fn a_name_with_quotes_and_line_breaks_is_escaped() {
    let mut odd = site(1);
    odd.miners[0].name = "a\"b\\c\nd".into();
    let (exporter, _) = silent(0);
    exporter.reconfigure(Arc::new(odd));
    publish(&exporter, |_, _| {});
    let name = "ballast_miner_up{miner=\"a\\\"b\\\\c\\nd\",";
    assert!(text(&exporter).contains(name), "{}", text(&exporter));
}

#[test]
fn the_sentence_says_what_binds_and_what_flows() {
    let (site, now) = (site(120), ballast::clock::Moment::START);
    let mut decision = decision(&site, now);
    assert_eq!(
        describe(&site, &decision),
        "surplus 312.4 kW · budget 306.1 kW (follow-surplus at pcc) · fleet 304.9 kW · export 7.50 kW · \
         16.2 PH/s · 1 not asked yet, 116 hashing, 1 asleep, 1 straggler, 1 unreachable"
    );
    decision.mode = Mode::FailSafe;
    decision.binding =
        Binding { circuit: CircuitId(0), source: Source::LostMeter(MeterId(0)), budget: Watts::ZERO };
    decision.fleet.budget = Watts::ZERO;
    over(&mut decision, Watts::kilowatts(304.9), Watts::kilowatts(3.4));
    decision.circuits[0].power = None;
    decision.miners.clear();
    assert_eq!(
        describe(&site, &decision),
        "fail-safe · budget 0 W (meter pcc lost, at pcc) · fleet 304.9 kW · \
         3.40 kW over budget · grid unknown · 16.2 PH/s · no miners"
    );
}

/// The miners draw so much, and are so far over the budget.
fn over(decision: &mut Decision, draw: Watts, over: Watts) {
    (decision.fleet.draw, decision.fleet.shortfall) = (draw, over);
    (decision.circuits[0].miners, decision.circuits[0].shortfall) = (draw, over);
}

#[test]
fn the_cap_that_binds_stands_beside_a_budget_that_is_another_figure() {
    let (site, now) = (site(120), ballast::clock::Moment::START);
    let mut decision = decision(&site, now);
    let source = Source::Order(SourceId(0));
    decision.binding = Binding { circuit: CircuitId(0), source, budget: Watts::kilowatts(285.0) };
    decision.fleet.budget = Watts::kilowatts(285.0);
    let mut words = |cap: f64, own: f64| {
        let cap = LimitValue {
            source,
            cap: Some(Watts::kilowatts(cap)),
            headroom: Watts::kilowatts(own),
            acts: true,
        };
        decision.circuits[0].limits = vec![cap];
        decision.circuits[0].budget = Watts::kilowatts(own);
        describe(&site, &decision).split(" · ").find(|part| part.starts_with("budget")).unwrap().to_owned()
    };
    assert!(words(285.0, 285.0).ends_with(" at pcc)"), "{}", words(285.0, 285.0));
    assert!(words(400.0, 285.0).ends_with(" at pcc, 400.0 kW less 115.0 kW)"), "{}", words(400.0, 285.0));
    assert!(words(140.0, 140.0).ends_with(" at pcc, 140.0 kW)"), "{}", words(140.0, 140.0));
    assert!(words(140.0, 150.0).ends_with(" at pcc, 140.0 kW and 10.0 kW generated there)"));
    // More than it is seen to draw is a worst case, and told as that.
    over(&mut decision, Watts::whole(46), Watts::kilowatts(3.6));
    assert!(describe(&site, &decision).contains("fleet 46 W · up to 3.60 kW over budget"));
}

#[test]
fn what_miners_draw_asleep_is_no_breach_and_nobody_is_further_over_a_budget_than_they_draw() {
    let site = site(2);
    let mut decision = decision(&site, ballast::clock::Moment::START);
    over(&mut decision, Watts::whole(2_390), Watts::whole(2_500));
    let words = describe(&site, &decision);
    assert!(words.contains("fleet 2.39 kW · 2.39 kW over budget · "), "{words}");
    decision.circuits[0].budget = Watts::ZERO;
    decision.circuits[0].asleep = Watts::whole(2_400);
    assert!(describe(&site, &decision).contains(" · 100 W over budget"), "{}", describe(&site, &decision));
    decision.circuits[0].asleep = Watts::whole(2_500);
    assert!(!describe(&site, &decision).contains("over budget"), "what is left is drawn asleep");
    let all = |decision: &mut Decision, state: MinerState| {
        decision.miners.iter_mut().for_each(|miner| miner.state = state);
    };
    // While one is late by a few watts, too.
    let mut resting = decision.clone();
    all(&mut resting, MinerState::Asleep);
    for now in &mut resting.circuits {
        (now.asleep, now.miners) = (Watts::whole(2_400), Watts::whole(2_390));
        now.power = now.power.map(|_| Watts::whole(2_390));
    }
    assert!(!describe(&site, &resting).contains("over budget"), "{}", describe(&site, &resting));
    decision.circuits[0].asleep = Watts::ZERO;
    all(&mut decision, MinerState::Unreachable);
    let words = describe(&site, &decision);
    assert!(words.starts_with("no miner can be reached · surplus "), "{words}");
    assert!(words.contains("up to 2.50 kW over budget"), "{words}");
    decision.binding.source = Source::Fleet;
    assert!(describe(&site, &decision).contains("(no limit binds"), "not all are at their most");
}

#[test]
fn a_site_without_a_surplus_limit_is_described_without_a_surplus() {
    let mut site = site(1);
    site.limits.remove(0);
    let mut decision = decision(&site, ballast::clock::Moment::START);
    decision.fleet.surplus = Watts::ZERO;
    decision.binding.source = Source::Fleet;
    decision.circuits[0].power = Some(Watts::whole(1_500));
    decision.mode = Mode::Observe;
    assert_eq!(
        describe(&site, &decision),
        "observe, else following · budget 306.1 kW (all miners at maximum) · fleet 304.9 kW · import 1.50 kW · \
         16.2 PH/s · 1 hashing"
    );
}

#[test]
fn a_snapshot_shorter_than_the_site_counts_as_pending() {
    let (exporter, _) = silent(3);
    publish(&exporter, |snapshot, decision| {
        snapshot.meters.clear();
        snapshot.miners.clear();
        decision.miners.clear();
    });
    let samples = samples(&exporter);
    assert!(!samples.keys().any(|name| name.starts_with("ballast_meter_")));
    assert!(!samples.keys().any(|name| name.starts_with("ballast_miner_")));
}

#[test]
fn a_reading_from_the_future_is_of_age_zero() {
    let (exporter, clock) = silent(1);
    let later = clock.now() + 5 * SECOND;
    publish(&exporter, |snapshot, _| {
        snapshot.meters[0].power = Some(Reading { value: Watts::ZERO, at: later });
    });
    says(&samples(&exporter), "ballast_meter_age_seconds{meter=\"pcc\"}", 0.0);
}
