//! `ballast simulate`: a small site on traces that are made here.

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use ballast::clock::Moment;
use ballast::config::{self, Config, Options};
use ballast::control::site::CircuitId;
use ballast::sim::Scenario;
use ballast::sim::curve::Curve;
use ballast::sim::replay::{Replay, Setup, Steps, Watcher};
use ballast::sim::truth::Flows;

use super::folder;

/// Twelve miners behind a meter of their own.
const SITE: &str = r#"
[site]
name = "twelve"
mode = "control"
[control]
period = "PERIOD"
[circuits.pcc]
meter = "pcc"
margin = "500 W"
[circuits.fleet]
parent = "pcc"
meter = "feeder"
dedicated = true
fail_safe = "0 W"
[limits.follow]
circuit = "pcc"
import = "0 W"
class = "surplus"
[links.switchboard]
tcp = "127.0.0.1:5020"
[meters.pcc]
link = "switchboard"
unit = 1
profile = "eastron-sdm630"
period = "PERIOD"
[meters.feeder]
link = "switchboard"
unit = 2
profile = "eastron-sdm630"
period = "PERIOD"
[groups.hall]
driver = "whatsminer-v2"
model = "m30s-plus-plus"
circuit = "fleet"
addresses = ["127.0.9.1-127.0.9.12"]
credentials = { password_env = "NOT_SET_FOR_A_SIMULATION" }
"#;

fn site_text(period: &str) -> String {
    SITE.replace("PERIOD", period)
}

fn site(period: &str) -> Config {
    let options = Options { secrets: config::Secrets::Skip, ..Options::default() };
    config::parse(&site_text(period), std::path::Path::new("twelve.toml"), &options).unwrap()
}

/// A file with these words, of this test's own.
fn file(name: &str, text: &str) -> String {
    let path = folder("simulate").join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A cloudy sky over a plant of 45 kW, every five minutes from a midnight on.
fn sky(hours: i32) -> String {
    let mut text = String::from("time,power_kw\n");
    for at in 0..hours * 12 {
        let hour = f64::from(at) / 12.0;
        let sun = ((hour - 1.0) / 14.0 * std::f64::consts::PI).sin().max(0.0);
        let sun = if (1.0..15.0).contains(&hour) { sun } else { 0.0 };
        let cloud = 0.75 + 0.25 * (f64::from(at) * 1.7).sin();
        text.push_str(&format!("{},{:.3}\n", 1_735_689_600 + i64::from(at) * 300, 45.0 * sun * cloud));
    }
    text
}

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ballast")).arg("simulate").args(arguments).output().unwrap()
}

#[track_caller]
fn told(arguments: &[&str]) -> String {
    let output = simulate(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Like a plant: what comes second by second.
fn curve(seconds: i32, watts: impl Fn(f64) -> f64) -> Arc<Curve> {
    let means: Vec<f64> = (0..seconds).map(|second| watts(f64::from(second))).collect();
    Arc::new(Curve::new(&means, Duration::from_secs(1)))
}

fn replay(steps: Steps, scenario: &str, curve: &Arc<Curve>) -> Replay {
    let scenario = Scenario::parse("s.toml", &format!("description = \"test\"\n{scenario}")).unwrap();
    // As the command has it: only where nothing moves from second to second.
    let calm = Some(Duration::from_secs(2)).filter(|_| curve.interval() >= Duration::from_secs(60));
    let setup = Setup { recorded: Some(curve.clone()), steps, earliest: 0.25, calm, ..Setup::default() };
    Replay::with(&site("1s"), &scenario, setup).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_result_with_any_number_of_threads_and_another_seed_another() {
    let (trace, config) = (file("sky.csv", &sky(7)), file("five.toml", &site_text("5s")));
    let run = |threads: &str, seed: &str| {
        told(&[&trace, "--config", &config, "--json", "--alone", "--threads", threads, "--seed", seed])
    };
    let one = run("1", "1");
    assert_eq!(one, run("2", "1"));
    assert_ne!(one, run("2", "2"));
    let json: serde_json::Value = serde_json::from_str(&one).unwrap();
    assert_eq!((json["schema"].as_i64(), json["parts"].as_i64()), (Some(1), Some(2)), "{one}");
    let way = &json["ways"][0];
    assert!(way["captured_share"].as_f64().unwrap() > 0.7, "{one}");
    assert!(way["import_share"].as_f64().unwrap() < 0.03, "{one}");
    assert!((way["known_hours"].as_f64().unwrap() - 6.75).abs() < 1e-3, "{one}");
}

/// Two servers on the feeder of the twelve miners.
const SERVERS: &str = r#"
[groups.servers]
driver = "zeusd"
circuit = "fleet"
addresses = ["127.0.8.1-127.0.8.2"]
credentials = { password_env = "NOT_SET_FOR_A_SIMULATION" }
maximum = "7 kW"
nameplate = "7.4 kW"
class = "throttle"
"#;

#[test]
fn a_fleet_with_servers_is_told_by_class_and_miners_alone_are_not() {
    let trace = file("hall.csv", &sky(6));
    let config = file("hall.toml", &(site_text("5s") + SERVERS));
    let jobs = file("jobs.toml", "description = \"jobs\"\n[[job]]\nname = \"servers-*\"\ntraining = {}\n");
    let run = |more: &[&str]| {
        told(&[[&*trace, "--config", &*config, "--alone", "--scenario", &*jobs].as_slice(), more].concat())
    };
    let json: serde_json::Value = serde_json::from_str(&run(&["--json"])).unwrap();
    let classes = json["classes"].as_array().unwrap();
    let of = |at: usize, key: &str| classes[at][key].as_f64().unwrap();
    assert_eq!((&classes[0]["class"], &classes[1]["class"]), (&"miner".into(), &"throttle".into()));
    assert_eq!((&classes[0]["members"], &classes[1]["members"]), (&12.into(), &2.into()));
    assert!((of(1, "full_power_watts") - 14e3).abs() < 1.0, "{json}");
    // They are never put to sleep and never below half; what they had less of than all took work from them.
    assert!(of(1, "at_work_share") > 0.99 && of(1, "of_full_share") > 0.48, "{json}");
    assert!((0.7..=1.0).contains(&of(1, "work_share")), "{json}");
    assert!(of(0, "at_work_share") < of(1, "at_work_share") && classes[0]["work_share"].is_null(), "{json}");
    let drew = of(0, "watt_hours") + of(1, "watt_hours");
    let fleet = json["ways"][0]["fleet_watt_hours"].as_f64().unwrap();
    assert!((drew - fleet).abs() < 0.01 * fleet, "{drew} of {fleet}");
    let text = run(&[]);
    assert!(text.contains("\nBY CLASS (Ballast)       members") && text.contains("\nthrottle "), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let alone = file("alone.toml", &site_text("5s"));
    let json: serde_json::Value =
        serde_json::from_str(&told(&[&trace, "--config", &alone, "--alone", "--json"])).unwrap();
    assert!(json.get("classes").is_none());
}

/// What a watcher adds up, and whether the balance held.
#[derive(Default)]
struct Sums {
    last: Option<(Moment, Flows)>,
    fleet: f64,
    captured: f64,
    import: f64,
    surplus: f64,
    /// The most of the surplus that counts, in watts.
    most: Option<f64>,
    highest_after: Option<(Moment, Moment, f64)>,
}

impl Watcher for Sums {
    fn flows(&mut self, at: Moment, flows: &Flows) {
        if let Some((from, to, highest)) = &mut self.highest_after
            && at >= *from
            && at < *to
        {
            *highest = highest.max(flows.fleet.get());
        }
        if let Some((before, then)) = self.last.replace((at, *flows)) {
            assert!(at > before, "moments come in order");
            let seconds = at.since(before).as_secs_f64();
            assert!(seconds <= 1.001, "at least one every second");
            let mean = |of: &dyn Fn(&Flows) -> f64| (of(&then) + of(flows)) / 2.0 * seconds;
            self.fleet += mean(&|flows| flows.fleet.get());
            self.captured += mean(&|flows| flows.captured().get());
            self.import += mean(&|flows| flows.attributable_import().get());
            let most = self.most.unwrap_or(f64::INFINITY);
            self.surplus += mean(&|flows| flows.surplus().get().min(most));
        }
        let balance = flows.pcc().get() - (flows.fleet.get() - (flows.generation - flows.other).get());
        assert!(balance.abs() < 1e-6, "grid = draw - surplus");
    }
}

/// Clouds: from a fifth to all of the fleet and back, with steep edges.
fn clouds(second: f64) -> f64 {
    let edge = |at: f64| ((second - at) / 20.0).clamp(0.0, 1.0);
    26e3 + 8e3 * (second / 170.0).sin() - 12e3 * (edge(500.0) - edge(640.0)) + 9e3 * edge(1_200.0)
}

#[test]
fn grid_is_draw_less_surplus_at_every_step_and_at_every_circuit() {
    let curve = curve(1_500, clouds);
    let mut replay = replay(Steps::Adaptive, "", &curve);
    let mut sums = Sums::default();
    for _ in 0..15 {
        replay.watch(Duration::from_secs(60), &mut sums);
        let fleet: f64 = replay.draws().iter().map(|draw| draw.get()).sum();
        let surplus = curve.at(replay.now().since_start()).get();
        let pcc = replay.circuits()[CircuitId(0).0].get();
        // The draws of miners that stand still are those of their latest look: heat alone has moved them since.
        assert!((pcc - (fleet - surplus)).abs() < 2.0, "{pcc} {fleet} {surplus}");
    }
    assert!((sums.captured + sums.import - sums.fleet).abs() < 1e-3 * sums.fleet);
    assert!(sums.captured / sums.surplus > 0.8, "{}", sums.captured / sums.surplus);
}

/// What came of a curve in a way to go on: captured and imported, in percent of what a fleet of this size can take.
fn came(steps: Steps, curve: &Arc<Curve>) -> (f64, f64) {
    let mut replay = replay(steps, "[miners]\nstart = \"hashing\"\nat = \"75 %\"\n", curve);
    replay.watch(Duration::from_secs(120), &mut Sums::default());
    let mut sums = Sums { most: Some(38.4e3), ..Sums::default() };
    replay.watch(curve.length() - Duration::from_secs(130), &mut sums);
    (100.0 * sums.captured / sums.surplus, 100.0 * sums.import / sums.surplus)
}

/// Both ways to go on come to the same, within 0.2 points.
#[track_caller]
fn alike(curve: &Arc<Curve>) {
    let (fine, adaptive) = (came(Steps::Fine, curve), came(Steps::Adaptive, curve));
    println!("captured, imported: fine {fine:?}, adaptive {adaptive:?}");
    assert!((fine.0 - adaptive.0).abs() < 0.2, "captured {} {}", fine.0, adaptive.0);
    assert!((fine.1 - adaptive.1).abs() < 0.2, "imported {} {}", fine.1, adaptive.1);
}

#[test]
fn adaptive_steps_come_to_the_same_as_fine_ones() {
    // Second by second: what all can follow, plenty, steadiness, and a night.
    let curve = curve(2_400, |second| match second {
        s if s < 900.0 => 31e3 + 4e3 * (s / 60.0).sin(),
        s if s < 1_200.0 => 60e3,
        s if s < 1_700.0 => 33e3,
        s if s < 1_800.0 => 33e3 - (s - 1_700.0) * 330.0,
        _ => 0.0,
    });
    alike(&curve);
}

#[test]
fn cycles_that_are_further_apart_on_a_trace_of_minutes_come_to_the_same() {
    let minutes: Vec<f64> = (0..40).map(|minute| 31e3 + 5e3 * (f64::from(minute) * 1.3).sin()).collect();
    alike(&Arc::new(Curve::new(&minutes, Duration::from_secs(60))));
}

#[test]
fn an_order_of_the_scenario_is_obeyed_and_its_end_too() {
    let curve = curve(1_300, |_| 45e3);
    let order = "[[event]]\nat = \"300s\"\nfor = \"400s\"\norder = { circuit = \"fleet\", cap = \"25 kW\", miners = true }\n";
    let mut replay = replay(Steps::Adaptive, order, &curve);
    let at = |seconds: u64| Moment::millis(seconds * 1_000);
    let mut sums = Sums { highest_after: Some((at(100), at(300), 0.0)), ..Sums::default() };
    replay.watch(Duration::from_secs(300), &mut sums);
    assert!(sums.highest_after.unwrap().2 > 35e3);
    sums.highest_after = Some((at(320), at(700), 0.0));
    replay.watch(Duration::from_secs(400), &mut sums);
    let under = sums.highest_after.unwrap().2;
    assert!(under > 20e3 && under < 25.3e3, "{under}");
    sums.highest_after = Some((at(760), at(1_300), 0.0));
    replay.watch(Duration::from_secs(590), &mut sums);
    assert!(sums.highest_after.unwrap().2 > 35e3);
}

#[test]
fn a_silent_meter_of_the_scenario_stops_the_fleet() {
    let curve = curve(900, |_| 45e3);
    let fault = "[[event]]\nat = \"120s\"\nmeter = { name = \"pcc\", fault = \"silent\" }\n";
    let mut replay = replay(Steps::Adaptive, fault, &curve);
    replay.watch(Duration::from_secs(120), &mut Sums::default());
    let before: f64 = replay.draws().iter().map(|draw| draw.get()).sum();
    replay.watch(Duration::from_secs(200), &mut Sums::default());
    let after: f64 = replay.draws().iter().map(|draw| draw.get()).sum();
    assert!(before > 30e3 && after < 5e3, "{before} {after}");
}

#[test]
fn the_report_tells_every_way_and_what_was_not_known() {
    let mut text = sky(9);
    let gap: Vec<&str> =
        text.lines().enumerate().filter(|(at, _)| !(84..90).contains(at)).map(|(_, l)| l).collect();
    text = gap.join("\n");
    let (trace, config) = (file("gap.csv", &text), file("ten.toml", &site_text("10s")));
    let report = told(&[&trace, "--config", &config, "--from", "2025-01-01 05:00", "--hash-price", "50"]);
    for word in ["Ballast", "on/off", "integrator", "groups", "netted in 60 min", "LEAVES OUT", "earned, $"] {
        assert!(report.contains(word), "{word}\n{report}");
    }
    assert!(report.contains("not known and not counted: 0.50 h"), "{report}");
    assert!(report.lines().all(|line| line.chars().count() <= 80), "{report}");
}

#[test]
fn wrong_inputs_are_refused_with_what_to_do() {
    let trace = file("short.csv", &sky(6));
    let good = file("good.toml", &site_text("5s"));
    let bad = |name: &str, from: &str, to: &str| file(name, &site_text("5s").replace(from, to));
    let unlimited = bad(
        "unlimited.toml",
        "import = \"0 W\"\nclass = \"surplus\"",
        "import = \"90 kW\"\nclass = \"safety\"",
    );
    let order =
        "description = \"x\"\n[[event]]\nat = \"1s\"\norder = { circuit = \"nowhere\", cap = \"1 kW\" }\n";
    let (nowhere, negative) =
        (file("nowhere.toml", order), file("negative.toml", &order.replace("1 kW", "-1 kW")));
    for (arguments, words, code) in [
        (vec!["--config", &unlimited], "limits.follow-surplus", 78),
        (vec!["--config", "nowhere.toml"], "nowhere.toml", 78),
        (vec!["--config", &good, "--warm-up", "7h"], "--warm-up", 1),
        (vec!["--config", &good, "--from", "2026-01-01"], "--from", 1),
        (vec!["--config", &good, "--from", "yesterday"], "2025-06-01", 2),
        (vec!["--config", &good, "--scenario", &nowhere], "no circuit `nowhere`", 78),
        (vec!["--config", &good, "--scenario", &negative], "must not be negative", 78),
        (vec!["--config", &good, "--scenario", "no-such"], "cloudy-hour", 78),
        (vec!["--config", &good, "--noise", "3"], "share", 2),
        (vec!["--config", &good, "--noise", "-1"], "share from 0 to 1", 2),
        (vec!["--config", &good, "--seed", "-1"], "a whole number, 0 or more", 2),
        (vec!["--config", &good, "--warm-up", "-5s"], "without a sign", 2),
        (vec!["--config", &good, "--hash-price", "-5"], "from 0 to", 2),
        (vec!["--config", &good, "--threads", "0"], "--threads", 2),
    ] {
        let output = simulate(&[&[trace.as_str()], arguments.as_slice()].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(words), "{arguments:?}: {error}");
        assert!(!error.contains("use '--"), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty());
    }
    let output = simulate(&["/dev/null", "--config", &good]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("/dev/null"), "{error}");
}

/// What a simulation of twelve miners on three hours of this power tells as JSON and as text.
#[track_caller]
fn both(name: &str, kilowatts: &str, site: &str, more: &[&str]) -> (serde_json::Value, String) {
    let mut text = String::from("time,power_kw\n");
    for at in 0..12 {
        text.push_str(&format!("{},{kilowatts}{}\n", 1_735_689_600 + at * 900, at % 7));
    }
    let (trace, config) = (file(&format!("{name}.csv"), &text), file(&format!("{name}.toml"), site));
    let arguments = [&[trace.as_str(), "--config", &config, "--alone", "--keep-doubtful"], more].concat();
    let json = told(&[arguments.as_slice(), &["--json"]].concat());
    (serde_json::from_str(&json).unwrap(), told(&arguments))
}

#[test]
fn the_scenario_is_named_and_an_event_in_time_that_is_not_counted_is_told() {
    let order = |at: &str| {
        format!(
            "description = \"a cap\"\n[[event]]\nat = \"{at}\"\nfor = \"5min\"\norder = {{ circuit = \"fleet\", cap = \"9 kW\" }}\n"
        )
    };
    let sees = |name: &str, at: &str, more: &[&str]| {
        let scenario = file(&format!("{name}-scenario.toml"), &order(at));
        both(name, "30.", &site_text("10s"), &[&["--scenario", &scenario], more].concat())
    };
    let (json, report) = sees("early", "0s", &[]);
    let played = &json["scenario"];
    assert!(played["name"].as_str().unwrap().ends_with("early-scenario.toml"), "{json}");
    let first = &played["first_not_counted"];
    assert_eq!((first["place"].as_str(), first["never"].as_bool()), (Some("warm_up"), Some(true)), "{json}");
    assert_eq!((played["events"].as_u64(), played["begin_not_counted"].as_u64()), (Some(1), Some(1)));
    let words = report.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in
        ["early-scenario.toml", "the order at 0s", "warm-up of 15min", "--warm-up 0s", "times counted from"]
    {
        assert!(words.contains(word), "{word}\n{report}");
    }
    let (json, report) = sees("late", "5h", &[]);
    assert_eq!(json["scenario"]["first_not_counted"]["place"].as_str(), Some("after_end"), "{json}");
    assert!(report.contains("after the end"), "{report}");
    for (name, at, more) in [("inside", "1h", &[][..]), ("at-once", "0s", &["--warm-up", "0s"])] {
        let (json, report) = sees(name, at, more);
        assert_eq!(json["scenario"]["begin_not_counted"].as_u64(), Some(0), "{json}");
        assert!(!report.contains("TO KNOW FIRST"), "{report}");
    }
}

#[test]
fn a_unit_that_the_meter_cannot_mean_is_told_with_the_reason() {
    let (json, report) = both("megawatts", "30.", &site_text("10s"), &["--unit", "MW"]);
    let way = &json["ways"][0];
    assert!(way["refused_hours"].as_f64().unwrap() > 2.0, "{json}");
    let words = report.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in ["was in fail-safe for", "the meter `pcc`", "`plausible`: check --unit"] {
        assert!(words.contains(word), "{word}\n{report}");
    }
    let (json, report) = both("kilowatts", "30.", &site_text("10s"), &[]);
    assert!(json["ways"][0]["refused_hours"].as_f64().unwrap() <= 0.0, "{json}");
    assert!(!report.contains("TO KNOW FIRST"), "{report}");
}

#[test]
fn a_fleet_that_never_ran_has_taken_nothing_and_the_report_says_so() {
    let (json, report) = both("little", "0.3", &site_text("10s"), &[]);
    let way = &json["ways"][0];
    assert!(way["running_hours"].as_f64().unwrap() <= 0.0, "{json}");
    assert!(way["captured_watt_hours"].as_f64().unwrap() <= 0.0, "{json}");
    assert!(way["fleet_watt_hours"].as_f64().unwrap() > 0.0, "{json}");
    assert!(report.contains("no miner ever ran"), "{report}");
    assert!(report.contains("taken, kWh") && report.contains("import added, kWh"), "{report}");
}

#[test]
fn import_costs_what_the_surplus_costs_unless_told_and_money_wants_a_hash_price() {
    let left = |name: &str, more: &[&str]| {
        let (json, report) = both(name, "30.", &site_text("10s"), more);
        (json["ways"][0]["left_after_power"].as_f64(), report)
    };
    let prices = ["--hash-price", "50", "--power-price", "40"];
    let (same, report) = left("price", &prices);
    assert!(report.contains("the price of the") && report.contains("40 $"), "{report}");
    let (free, report) = left("free", &[&prices[..], &["--import-price", "0"]].concat());
    assert!(!report.contains("TO KNOW FIRST"), "{report}");
    assert!(same.unwrap() < free.unwrap(), "{same:?} {free:?}");
    let (none, report) = left("no-hash", &prices[2..]);
    assert!(none.is_none() && report.contains("--hash-price"), "{report}");
}

#[test]
fn one_miner_is_one_and_hours_have_two_decimals() {
    let one = site_text("10s").replace("127.0.9.1-127.0.9.12", "127.0.9.1");
    let (json, report) = both("one", "3.", &one, &[]);
    assert_eq!(json["miners"].as_u64(), Some(1));
    assert!(report.contains("\n1 miner, ") && report.contains("counted: 2.75 h"), "{report}");
}

#[test]
fn long_gaps_are_told_in_hours() {
    let text: String = sky(12).lines().enumerate().filter(|(at, _)| !(61..109).contains(at)).fold(
        String::new(),
        |mut text, (_, line)| {
            text.push_str(line);
            text.push('\n');
            text
        },
    );
    let (trace, config) = (file("long-gap.csv", &text), file("long-gap.toml", &site_text("10s")));
    let run = |more: &[&str]| told(&[&[trace.as_str(), "--config", &config, "--alone"], more].concat());
    let json: serde_json::Value = serde_json::from_str(&run(&["--json"])).unwrap();
    assert!((json["gap_hours"].as_f64().unwrap() - 4.0).abs() < 1e-3, "{json}");
    let report = run(&[]);
    assert!(report.contains("not known and not counted: 4.00 h; warm-up: 0.50 h"), "{report}");
}

#[test]
fn progress_is_told_by_simulated_time_of_a_single_part_too() {
    use ballast::study::simulate::{Told, simulate};
    use ballast::study::trace;
    let told =
        trace::Told { unit: Some(trace::Unit::Kilowatts), keep_doubtful: true, ..trace::Told::default() };
    let trace = trace::read("sky.csv", sky(6).as_bytes(), &told, &mut |_| ()).unwrap();
    let told = Told { parts: false, habits: false, ..Told::default() };
    let seen = std::sync::Mutex::new(Vec::new());
    simulate(&site("10s"), None, &trace, &told, &|done, all| seen.lock().unwrap().push((done, all))).unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(seen.len() > 30, "{seen:?}");
    assert!(seen.is_sorted() && seen.last().is_some_and(|(done, all)| done == all), "{seen:?}");
}
