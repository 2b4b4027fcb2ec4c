//! The simulated site under an OpenADR 3 top node, from order to measured power. The cells of the table in
//! docs/guide/signals/openadr.md stand here.

use crate::signals_openadr_site;

use ballast::clock::Clock;
use ballast::control::decision::Source;
use ballast::sim::vtn::Fault;
use serde_json::json;
use signals_openadr_site::{Bench, UTILITY, event, from_now, seconds};
use tokio::time::sleep;

const ORDER: Option<Source> = Some(Source::Order(UTILITY));
const LOST: Option<Source> = Some(Source::LostSource(UTILITY));

/// Other load of 10 kW and all miners at full power; the transformer would stand more.
const FREE: f64 = 33_000.0;
/// How far what the miners draw hums about what they were told.
const HUM: f64 = 20.0;

#[tokio::test(flavor = "multi_thread")]
async fn the_site_follows_an_event_from_order_to_measured_power() {
    let bench = Bench::start(
        1,
        "program = \"capacity\"\nreport_always = [\"DEMAND\"]\nacknowledge = \"OPERATING_STATE\"\n",
    )
    .await;
    bench.rises_to(FREE, 60.0).await;
    let given = Clock::start();
    bench.vtn.put_event(json!({
        "id": "e1",
        "programID": "p1",
        "payloadDescriptors": [{ "payloadType": "IMPORT_CAPACITY_LIMIT", "units": "KW" }],
        "intervals": [
            {
                "id": 0,
                "intervalPeriod": { "start": from_now(0), "duration": "PT12S" },
                "payloads": [{ "type": "IMPORT_CAPACITY_LIMIT", "values": [26.0] }],
            },
            {
                "id": 1,
                "intervalPeriod": { "duration": "PT600S" },
                "payloads": [{ "type": "IMPORT_CAPACITY_LIMIT", "values": [22.0] }],
            },
        ],
    }));
    bench.falls_to(26_000.0, 9.0).await;
    assert_eq!(bench.cap(), Some(26_000.0));
    println!("met {:.1} s after the order", given.now().since_start().as_secs_f64());
    assert_eq!(bench.binding(), ORDER);
    bench.until("the second interval follows", 20.0, |bench| bench.cap() == Some(22_000.0)).await;
    assert!(given.now().since_start() > seconds(11.0), "the second interval follows the first");
    bench.falls_to(22_000.0, 5.0).await;
    bench.stays(0.0, 22_000.0 + HUM, 2.0).await;
    let reports = bench.vtn.reports();
    let of = |name: &str| reports.iter().find(|report| report["reportName"] == format!("{name} e1"));
    let receipt = of("receipt").expect("the receipt of the event is reported");
    assert_eq!(receipt["resources"][0]["intervals"][0]["payloads"][0]["type"], "OPERATING_STATE");
    let demand = of("measurement").expect("the first interval is reported");
    let mean = &demand["resources"][0]["intervals"][0]["payloads"][0];
    assert_eq!(mean["type"], "DEMAND");
    let mean = mean["values"][0].as_f64().unwrap();
    assert!((22.0..36.0).contains(&mean), "{mean} kW");
    // Taken back by a duration of zero.
    let mut cancelled = event("e1", "IMPORT_CAPACITY_LIMIT", 22.0);
    cancelled["intervalPeriod"]["duration"] = json!("PT0S");
    bench.vtn.put_event(cancelled);
    bench.rises_to(FREE, 60.0).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_top_node_leaves_the_fail_safe_and_never_more_than_the_cap_that_held() {
    let bench = Bench::start(2, "").await;
    bench.vtn.put_event(event("e1", "DISPATCH_SETPOINT", 11.0));
    bench.falls_to(11_000.0, 15.0).await;
    // The cap that held (11 kW) is below the fail-safe (12 kW): it stays, and the fleet does not rise.
    bench.vtn.set_faults([Fault::Hang]);
    bench.stays(0.0, 11_000.0, 5.0).await;
    assert_eq!(bench.binding(), ORDER);
    bench.vtn.set_faults([]);
    bench.vtn.delete_event("e1");
    bench.rises_to(FREE, 60.0).await;
    bench.vtn.set_faults([Fault::Unauthorised]);
    bench.falls_to(12_000.0, 15.0).await;
    assert_eq!(bench.binding(), LOST);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_event_holds_again_and_nothing_rises_before_the_top_node_is_heard() {
    let bench = Bench::start(3, "").await;
    bench.vtn.put_event(event("e1", "IMPORT_CAPACITY_LIMIT", 24.0));
    bench.falls_to(24_000.0, 15.0).await;
    bench.vtn.set_faults([Fault::Hang]);
    let bench = bench.restart().await;
    bench.falls_to(12_000.0, 15.0).await;
    bench.stays(0.0, 12_500.0, 2.0).await;
    bench.vtn.set_faults([]);
    // Starts come one after another: each may draw its full power.
    bench.rises_to(20_000.0, 120.0).await;
    bench.stays(0.0, 24_000.0, 3.0).await;
    assert_eq!(bench.binding(), ORDER);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_the_fail_safe_stands_until_the_top_node_has_told_everything() {
    let bench = Bench::start(4, "").await;
    bench.vtn.set_faults([Fault::ServerError]);
    let bench = bench.restart().await;
    bench.falls_to(12_000.0, 15.0).await;
    assert_eq!(bench.binding(), LOST);
    bench.stays(0.0, 12_500.0, 3.0).await;
    bench.vtn.put_event(event("e1", "IMPORT_CAPACITY_LIMIT", 24.0));
    bench.vtn.set_faults([]);
    bench.rises_to(20_000.0, 120.0).await;
    bench.stays(0.0, 24_000.0, 3.0).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_value_is_refused_and_the_cap_that_held_stays() {
    let bench = Bench::start(5, "").await;
    bench.vtn.put_event(event("e1", "IMPORT_CAPACITY_LIMIT", 24.0));
    bench.falls_to(24_000.0, 15.0).await;
    for value in [json!("a lot"), json!(-5), json!(4_000_000), json!(null)] {
        bench.vtn.put_event(event("e1", "IMPORT_CAPACITY_LIMIT", value));
        bench.stays(0.0, 24_000.0, 1.5).await;
        assert_eq!(bench.binding(), ORDER);
    }
    // Zero is a value.
    bench.vtn.put_event(event("e1", "IMPORT_CAPACITY_LIMIT", 0));
    bench.falls_to(11_000.0, 15.0).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_told_again_or_comes_late_changes_nothing() {
    let bench = Bench::start(6, "").await;
    let mut first = event("e1", "IMPORT_CAPACITY_LIMIT", 30.0);
    first["modificationDateTime"] = json!(from_now(-60));
    let mut second = event("e1", "IMPORT_CAPACITY_LIMIT", 22.0);
    second["modificationDateTime"] = json!(from_now(-30));
    bench.vtn.put_event(second.clone());
    bench.falls_to(22_000.0, 15.0).await;
    for told in [second.clone(), first, second] {
        let polls = bench.vtn.counts().events;
        bench.vtn.put_event(told);
        bench.until("a few polls", 10.0, |bench| bench.vtn.counts().events > polls + 6).await;
        assert_eq!(bench.cap(), Some(22_000.0));
        bench.stays(0.0, 22_000.0 + HUM, 1.0).await;
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_clocks_that_differ_a_window_begins_early_and_ends_late() {
    let bench = Bench::start(7, "").await;
    bench.rises_to(FREE, 60.0).await;
    // By its own word it begins in ten minutes.
    let mut later = event("e1", "IMPORT_CAPACITY_LIMIT", 24.0);
    later["intervalPeriod"] = json!({ "start": from_now(600), "duration": "PT1H" });
    bench.vtn.put_event(later);
    bench.stays(30_000.0, 45_000.0, 2.0).await;
    bench.vtn.set_faults([Fault::Skew { by: seconds(660.0), ahead: true }]);
    bench.falls_to(24_000.0, 15.0).await;
    assert_eq!(bench.binding(), ORDER);
    bench.vtn.set_faults([]);
    bench.rises_to(FREE, 60.0).await;
    // And one that is over by its own word still holds while the other clock is behind.
    let mut over = event("e1", "IMPORT_CAPACITY_LIMIT", 24.0);
    over["intervalPeriod"] = json!({ "start": from_now(-3_600), "duration": "PT3590S" });
    bench.vtn.set_faults([Fault::Skew { by: seconds(120.0), ahead: false }]);
    sleep(seconds(0.6)).await;
    bench.vtn.put_event(over);
    bench.falls_to(24_000.0, 15.0).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_event_among_good_ones_is_skipped_and_the_good_ones_hold() {
    let bench = Bench::start(8, "").await;
    bench.vtn.put_event(event("e1", "IMPORT_CAPACITY_LIMIT", 28.0));
    bench.vtn.put_event(event("e2", "SIMPLE", 0));
    bench.vtn.put_event(event("e3", "ALERT_GRID_EMERGENCY", "calm down"));
    bench.falls_to(11_000.0, 15.0).await;
    // The alert becomes unreadable: what was known of it stays. The others go on.
    bench.vtn.delete_event("e3");
    bench.vtn.set_faults([Fault::BadEvent(r#"{"id":"e3","intervals":[{"payloads":"?"}]}"#.into())]);
    bench.stays(0.0, 11_500.0, 3.0).await;
    bench.vtn.set_faults([]);
    bench.rises_to(24_000.0, 60.0).await;
    bench.stays(0.0, 28_000.0, 2.0).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scenario_scripts_a_top_node() {
    let script = r#"
[[vtn]]
source = "utility"
at = "6s"
for = "12s"
event = '''{
  "payloadDescriptors": [{ "payloadType": "IMPORT_CAPACITY_LIMIT", "units": "KW" }],
  "intervalPeriod": { "start": "0001-01-01", "duration": "P9999Y" },
  "intervals": [{ "id": 0, "payloads": [{ "type": "IMPORT_CAPACITY_LIMIT", "values": [22] }] }]
}'''

[[vtn]]
source = "utility"
at = "30s"
fault = "hang"
"#;
    let url = "http://127.84.9.2:8088/openadr3";
    let bench = Bench::scripted(9, "program = \"capacity\"\n", url, script).await;
    bench
        .until("the top node is heard", 5.0, |bench| bench.cap().is_none() && bench.binding().is_some())
        .await;
    bench.until("the event has come", 10.0, |bench| bench.cap() == Some(22_000.0)).await;
    bench.falls_to(22_000.0, 10.0).await;
    bench.until("the event is taken back", 20.0, |bench| bench.cap().is_none()).await;
    bench.until("the top node hangs", 25.0, |bench| bench.cap() == Some(12_000.0)).await;
    bench.falls_to(12_000.0, 10.0).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_script_for_a_top_node_that_is_not_there_is_refused_with_its_place() {
    use ballast::sim::Scenario;
    let with = |lines: &str| {
        Scenario::parse("s.toml", &format!("description = \"x\"\n[[vtn]]\nsource = \"utility\"\n{lines}"))
            .map(|scenario| scenario.vtn.len())
            .map_err(|error| error.to_string())
    };
    assert_eq!(with(""), Ok(1));
    assert_eq!(with("ahead = \"90s\"\nat = \"5s\"\nfor = \"1min\"\n"), Ok(1));
    for (lines, words) in [
        ("fault = \"burn\"\n", "s.toml:4:9: top nodes have no fault `burn`; they have hang, "),
        ("event = \"{\"\n", "s.toml:4:9: is no JSON"),
        ("event = \"[]\"\n", "an event is a JSON object"),
        ("fault = \"hang\"\nahead = \"1s\"\n", "s.toml:3:10: a top node does one thing at a time"),
        ("faults = \"hang\"\n", "unknown field `faults`"),
    ] {
        let error = with(lines).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}
