//! Energy from the frames of a week to the report: its totals are those of the meters' own counters, and what was delivered is
//! what another program works out of the same database.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use ballast::clock::Moment;
use ballast::config::{Config, Options, parse};
use ballast::control::decision::{
    Binding, CircuitDecision, Decision, Energy, FleetDecision, MeterDecision, MinerDecision, MinerState,
    Mode, Source,
};
use ballast::control::frame::Frame;
use ballast::control::lead::Lead;
use ballast::control::measure::Measure;
use ballast::control::signal::{Basis, Wall};
use ballast::control::site::{CircuitId, Scope};
use ballast::control::snapshot::{
    Contact, Measured, MeterInput, MeterStatus, MinerInput, MinerStatus, Reading, Snapshot,
};
use ballast::energy::account::Account;
use ballast::energy::baseline::Baseline;
use ballast::energy::{Kind, Row, Sums};
use ballast::store::{AlarmRow, BaselineRow, LedgerRow, Store, Write};
use ballast::units::{Hashrate, Joules, Watts};
use serde_json::Value;

use super::folder;

const SITE: &str = r#"
[site]
name = "Week"
mode = "observe"
[circuits.pcc]
meter = "main"
[circuits.hall]
parent = "pcc"
meter = "hall"
dedicated = true
[circuits.barn]
parent = "pcc"
meter = "barn"
[limits.follow]
circuit = "pcc"
import = "0 W"
class = "surplus"
[links.board]
tcp = "127.0.0.1:5020"
[meters.main]
link = "board"
unit = 1
profile = "eastron-sdm630"
[meters.hall]
link = "board"
unit = 2
profile = "eastron-sdm630"
[meters.barn]
link = "board"
unit = 3
profile = "eastron-sdm630"
[groups.north]
driver = "luxos"
model = "s19k-pro"
circuit = "hall"
tenant = "north"
addresses = ["127.0.1.1-127.0.1.4"]
[groups.south]
driver = "luxos"
model = "s19k-pro"
circuit = "barn"
tenant = "south"
addresses = ["127.0.2.1-127.0.2.2"]
"#;

/// Monday 2026-06-01, 00:00 UTC.
const MONDAY: i64 = 1_780_272_000_000;
/// Time between two cycles, in seconds.
const STEP: u64 = 5;
const WEEK: u64 = 7 * 86_400;

fn site() -> Config {
    parse(SITE, Path::new("site.toml"), &Options::default()).unwrap()
}

/// A small number as one with a fraction.
fn number(n: u64) -> f64 {
    f64::from(u32::try_from(n).unwrap())
}

/// A share that jumps every seven minutes, without chance.
fn dice(second: u64, salt: u64) -> f64 {
    let mut x = (second / 420).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(0xd1b5_4a32_d192_ed03);
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 32;
    number(x % 10_000) / 10_000.0
}

/// What really flows: into the site, the hall and the barn; and of the barn what its miners draw.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    main: f64,
    hall: f64,
    barn: f64,
    south: f64,
}

fn flow(second: u64) -> Flow {
    let day = number(second) / 86_400.0 * std::f64::consts::TAU;
    let sun = (-day.cos()).max(0.0) * 14_000.0 * (0.6 + 0.4 * dice(second, 1));
    let hall = 10_000.0 * dice(second, 2);
    let south = 5_000.0 * dice(second, 3);
    let barn = south + 1_200.0 + 300.0 * (day * 7.0).sin();
    Flow { main: hall + barn + 2_500.0 - sun, hall, barn, south }
}

/// The meters' own counters, in watt-hours: each flows on whatever anybody reads.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    main: [f64; 2],
    hall: f64,
}

/// What is told in one cycle. `deaf` are meters that do not answer.
fn frame(config: &Config, at: Moment, now: Flow, counters: Counters, deaf: [bool; 3]) -> Frame {
    let site = &config.site;
    let powers = [now.main, now.hall, now.barn];
    let mut meters = Vec::new();
    for (index, power) in powers.into_iter().enumerate() {
        let mut input =
            MeterInput::new(MeterStatus::Ok, Some(Reading { value: Watts::saturating(power), at }));
        let mut count = |measure, value| input.others.set(measure, Reading { value, at });
        match index {
            // It counts in steps of 10 Wh, the other one finely.
            0 => {
                count(Measure::EnergyImport, (counters.main[0] / 10.0).floor() * 10.0);
                count(Measure::EnergyExport, (counters.main[1] / 10.0).floor() * 10.0);
            }
            1 => count(Measure::EnergyImport, counters.hall),
            _ => {}
        }
        meters.push(if deaf[index] { MeterInput::new(MeterStatus::Unreachable, None) } else { input });
    }
    let order = ["main", "hall", "barn"];
    let at_place = |name: &str| order.iter().position(|known| *known == name).unwrap();
    let by_meter = |index: usize| at_place(&site.meters[index].name);
    let meters: Vec<MeterInput> = (0..3).map(|index| meters[by_meter(index)]).collect();
    let draws: Vec<f64> = site
        .miners
        .iter()
        .map(|miner| if miner.name.starts_with("north") { now.hall / 4.0 } else { now.south / 2.0 })
        .collect();
    let miners = draws
        .iter()
        .map(|draw| MinerInput {
            contact: Contact::Reachable,
            status: Some(Reading {
                value: MinerStatus {
                    power: Measured::Value(Watts::saturating(*draw)),
                    hashrate: Measured::Value(Hashrate::terahashes(draw / 20.0)),
                    ..MinerStatus::default()
                },
                at,
            }),
            delivery: None,
        })
        .collect();
    let circuits = site
        .circuits
        .iter()
        .map(|circuit| {
            let index = match circuit.name.as_str() {
                "pcc" => 0,
                name => at_place(name),
            };
            let drawn = [now.hall + now.south, now.hall, now.south][index];
            CircuitDecision {
                power: (!deaf[index]).then(|| Watts::saturating(powers[index])),
                other: Watts::saturating(powers[index] - drawn),
                miners: Watts::saturating(drawn),
                limits: Vec::new(),
                headroom: Watts::ZERO,
                budget: Watts::ZERO,
                binding: Source::Fleet,
                setpoint: Watts::ZERO,
                shortfall: Watts::ZERO,
                asleep: Watts::ZERO,
                breaker: None,
                emergency_stop: None,
            }
        })
        .collect();
    let told = |input: &MeterInput| MeterDecision {
        input: *input,
        lost: 0.0,
        lag: Duration::ZERO,
        learned_lag: None,
        in_use: None,
        disagreement: None,
        asked: None,
    };
    let decision = Decision {
        at,
        lead: Lead::Alone,
        mode: Mode::Observe,
        would_be: Mode::Following,
        binding: Binding { circuit: CircuitId(0), source: Source::Fleet, budget: Watts::ZERO },
        fleet: FleetDecision::default(),
        circuits,
        meters: meters.iter().map(told).collect(),
        miners: draws
            .iter()
            .map(|draw| MinerDecision {
                state: MinerState::Hashing,
                draw: Watts::saturating(*draw),
                counted: Watts::saturating(*draw),
                hashrate: Hashrate::terahashes(draw / 20.0),
                setpoint: None,
                settled: Watts::ZERO,
            })
            .collect(),
        commands: Vec::new(),
        breakers: Vec::new(),
        responses: Vec::new(),
        waiting: None,
        energy: Energy::default(),
    };
    Frame {
        site: site.clone(),
        snapshot: Arc::new(Snapshot::new(at, meters, miners)),
        decision: Arc::new(decision),
    }
}

fn report(database: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ballast"))
        .args(["report", "--zone", "UTC", "--database"])
        .arg(database)
        .args(arguments)
        .output()
        .unwrap()
}

#[track_caller]
fn told(database: &Path, arguments: &[&str]) -> Value {
    let output = report(database, &[&["--format", "json"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn database(name: &str) -> PathBuf {
    let folder = folder(name);
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(folder.join(format!("ballast.db{end}")));
    }
    folder.join("ballast.db")
}

#[track_caller]
fn near(what: &str, got: &Value, wanted: f64) {
    let got = got.as_f64().unwrap();
    eprintln!(
        "{what}: {got:.1} Wh told, {wanted:.1} Wh by the independent integrator ({:+.5} %)",
        (got / wanted - 1.0) * 100.0
    );
    assert!((got - wanted).abs() <= 0.001 * wanted.abs(), "{what}: {got} is not {wanted} to 0.1 %");
}

fn subject<'v>(told: &'v Value, kind: &str, name: &str) -> &'v Value {
    let all = told["energy"].as_array().unwrap();
    all.iter().find(|it| it["kind"] == kind && it["name"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_week_adds_up_with_the_counters_through_gaps_a_reset_a_restart_and_jumps_of_the_clock() {
    let (config, path) = (site(), database("energy-week"));
    let opened = Store::open(&path, 10).unwrap();
    let mut account = Account::new(&config.site, &config.tenants, &opened.loaded.counters);
    let mut store = opened.store;
    // What really flowed: by the second, and nothing of it from the program. What the barn's meter and the miners' drew while
    // the daemon was down nobody can know.
    let mut truth = Counters { main: [812_345.0, 99_000.0], hall: 4_000_000.0 };
    let begun = truth;
    let (mut hall_true, mut barn_seen, mut south_seen, mut caused_seen, mut unseen) =
        (0.0, 0.0, 0.0, 0.0, 0.0);
    let (mut offset_ms, mut restarted) = (0_i64, Moment::START);
    let day = |day: u64, hour: u64, minute: u64| day * 86_400 + hour * 3_600 + minute * 60;
    let down = day(4, 10, 7) + 30..day(4, 10, 11) + 30;
    let mut last = begun;
    for second in 1..=WEEK {
        let now = flow(second);
        truth.main[0] += now.main.max(0.0) / 3_600.0;
        truth.main[1] += (-now.main).max(0.0) / 3_600.0;
        truth.hall += now.hall / 3_600.0;
        hall_true += now.hall / 3_600.0;
        let up = !down.contains(&second);
        if up {
            barn_seen += now.barn / 3_600.0;
            south_seen += now.south / 3_600.0;
        }
        let deaf_main = (day(1, 9, 3)..day(1, 9, 13)).contains(&second);
        if up && !deaf_main {
            caused_seen += now.main.max(0.0).min(now.hall + now.south) / 3_600.0;
        } else {
            unseen += now.main.max(0.0) / 3_600.0;
        }
        if second == day(3, 14, 21) {
            // The hall's meter is exchanged.
            truth.hall = 17.0;
        }
        if second == day(5, 6, 5) {
            offset_ms += 40 * 60_000;
        } else if second == day(5, 9, 50) {
            offset_ms -= 40 * 60_000;
        }
        if second == down.start {
            // A crash would lose up to a minute more of what only the power tells.
            let write =
                Write { energy: account.take_rows(), counters: account.counters(), ..Write::default() };
            store.write(write).await.unwrap();
            drop(store);
            let opened = Store::open(&path, 10).unwrap();
            account = Account::new(&config.site, &config.tenants, &opened.loaded.counters);
            store = opened.store;
            restarted = Moment::after_start(Duration::from_secs(down.end));
        }
        if second % STEP != 0 || !up {
            continue;
        }
        let at = Moment::after_start(
            Duration::from_secs(second) - restarted.since_start().min(Duration::from_secs(second)),
        );
        let wall = Wall::unix_millis(MONDAY + i64::try_from(second).unwrap() * 1_000 + offset_ms);
        let deaf = [deaf_main, (day(2, 20, 55)..day(2, 21, 25)).contains(&second), false];
        account.tell(&frame(&config, at, now, truth, deaf), wall);
        last = truth;
        if second % 900 == 0 {
            let write =
                Write { energy: account.take_rows(), counters: account.counters(), ..Write::default() };
            store.write(write).await.unwrap();
        }
    }
    let write = Write { energy: account.take_rows(), counters: account.counters(), ..Write::default() };
    store.write(write).await.unwrap();
    // Beside the writer, whose connection is open.
    let told = told(&path, &["--from", "2026-06-01", "--to", "2026-06-08"]);
    let pcc = &subject(&told, "circuit", "pcc")["total"];
    near("import of the site", &pcc["import_watt_hours"], last.main[0] - begun.main[0]);
    near("export of the site", &pcc["export_watt_hours"], last.main[1] - begun.main[1]);
    near("import because of miners", &pcc["import_caused_by_miners_watt_hours"], caused_seen);
    let doubt = pcc["import_not_known_whether_caused_watt_hours"].as_f64().unwrap();
    // Its counter counts in steps of 10 Wh, in each of the two gaps.
    assert!(unseen > 100.0 && (doubt - unseen).abs() < 40.0, "{doubt} of {unseen}");
    let hall = &subject(&told, "circuit", "hall")["total"];
    near("import of the hall", &hall["import_watt_hours"], hall_true);
    assert_eq!(hall["counter_resets"], 1);
    assert_eq!(hall["clock_jumps"], 2);
    let barn = &subject(&told, "circuit", "barn")["total"];
    near("import of the barn", &barn["import_watt_hours"], barn_seen);
    assert_eq!(barn["by_counter_seconds"], 0.0, "it has none");
    near(
        "draw of the tenant south",
        &subject(&told, "tenant", "south")["total"]["miners_watt_hours"],
        south_seen,
    );
    near(
        "hashes of the tenant south",
        &subject(&told, "tenant", "south")["total"]["hashes_terahashes"],
        south_seen * 3_600.0 / 20.0,
    );
    // What was bridged is told as such, and what was not known is missing: the four minutes that the daemon was down.
    let seconds = |value: &Value| value.as_f64().unwrap();
    assert!((seconds(&pcc["bridged_seconds"]) - 840.0).abs() < 60.0, "{}", pcc["bridged_seconds"]);
    assert!((seconds(&hall["bridged_seconds"]) - 2_040.0).abs() < 60.0, "{}", hall["bridged_seconds"]);
    assert!(
        (seconds(&barn["metered_seconds"]) - (number(WEEK) - 240.0)).abs() < 30.0,
        "{}",
        barn["metered_seconds"]
    );
    // A quarter that the daemon was down in has two parts and is one; the hour that the clock had twice has more time than an hour.
    let quarter = |start: &str| {
        let all = subject(&told, "circuit", "barn")["quarters"].as_array().unwrap();
        all.iter().find(|it| it["start_utc"] == start).unwrap().clone()
    };
    assert!((seconds(&quarter("2026-06-05T10:00:00Z")["observed_seconds"]) - 660.0).abs() < 20.0);
    assert!(seconds(&quarter("2026-06-06T09:45:00Z")["observed_seconds"]) > 1_400.0);
    let all = subject(&told, "circuit", "barn")["quarters"].as_array().unwrap();
    assert!(all.iter().all(|it| it["start_utc"] != "2026-06-06T06:15:00Z"), "the clock never showed it");
    pages_of(&path);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_are_told_quarters_page_by_page_beside_the_daemon_that_writes() {
    let path = database("energy-interface");
    let opened = Store::open(&path, 10).unwrap();
    let mut rows = quarters(&[]);
    // A second part of one quarter, as after a restart.
    let mut part = rows[100].clone();
    part.part += 1_000_000;
    rows.push(part);
    opened.store.write(Write { energy: rows, ..Write::default() }).await.unwrap();
    drop(opened);
    let mut config = ballast::config::demo(ballast::config::DEMO_NETWORK).unwrap();
    config.web.listen = ([127, 0, 0, 1], 0).into();
    config.store.path = Some(path);
    let daemon = ballast::daemon::Daemon::start(config, ballast::clock::Clock::start()).await.unwrap();
    let ask = async |query: &str| {
        let url = format!("http://{}/api/v1/energy{query}", daemon.address());
        let answer = reqwest::Client::new().get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let from = "from=2026-04-03T00:00:00Z&to=2026-04-05T00:00:00Z";
    let (code, all) = ask(&format!("?{from}&circuit=pcc&limit=10&offset=2")).await;
    assert_eq!(code, 200, "{all}");
    assert_eq!(
        (&all["total"], &all["offset"], &all["interval_seconds"]),
        (&192.into(), &2.into(), &900.into())
    );
    assert_eq!(all["quarters"].as_array().unwrap().len(), 10);
    let twice = &all["quarters"][2];
    assert_eq!(
        (&twice["start"], &twice["observed_seconds"]),
        (&"2026-04-03T01:00:00Z".into(), &1_800.0.into())
    );
    assert!(twice["hashes_terahashes"].is_null(), "not known is not zero");
    let (code, none) = ask(&format!("?{from}&tenant=north")).await;
    assert_eq!((code, &none["total"]), (200, &0.into()));
    assert_eq!(ask("").await.0, 200, "the last day");
    for wrong in
        ["?from=yesterday", "?from=2026-01-01T00:00:00Z&to=2026-06-01T00:00:00Z", "?limit=5000", "?miner=x"]
    {
        let (code, problem) = ask(wrong).await;
        assert_eq!((code, problem["detail"].as_str().is_some()), (400, true), "{wrong}: {problem}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn what_flowed_while_the_meter_was_silent_is_not_known_and_makes_bounds_of_the_shares() {
    let (config, path) = (site(), database("energy-silent"));
    let opened = Store::open(&path, 10).unwrap();
    let mut account = Account::new(&config.site, &config.tenants, &[]);
    let mut counters = Counters { main: [812_345.0, 99_000.0], hall: 4_000_000.0 };
    for second in 1..=65 {
        // Other load comes on while the meter is silent, and is gone when it speaks again: all was because of the miners.
        let main = if (31..55).contains(&second) { 10_000.0 } else { -8_000.0 };
        let now = Flow { main, hall: 9_000.0, barn: 3_200.0, south: 3_000.0 };
        counters.main[0] += now.main.max(0.0) / 3_600.0;
        counters.main[1] += (-now.main).max(0.0) / 3_600.0;
        counters.hall += now.hall / 3_600.0;
        if second % STEP == 0 {
            let at = Moment::after_start(Duration::from_secs(second));
            let wall = Wall::unix_millis(MONDAY + i64::try_from(second).unwrap() * 1_000);
            let deaf = [(30..55).contains(&second), false, false];
            account.tell(&frame(&config, at, now, counters, deaf), wall);
        }
    }
    opened.store.write(Write { energy: account.take_rows(), ..Write::default() }).await.unwrap();
    let days = ["--from", "2026-06-01", "--to", "2026-06-01"];
    let all = told(&path, &days);
    let pcc = &subject(&all, "circuit", "pcc")["total"];
    let figure = |name: &str| pcc[name].as_f64().unwrap();
    assert!((60.0..=80.0).contains(&figure("import_watt_hours")), "{pcc}");
    let is = |name: &str, watt_hours: f64| assert!((figure(name) - watt_hours).abs() < 1e-9, "{name}: {pcc}");
    is("import_caused_by_miners_watt_hours", 0.0);
    is("import_not_known_whether_caused_watt_hours", figure("import_watt_hours"));
    // Of the hall it is known all the time.
    let hall = &subject(&all, "circuit", "hall")["total"];
    assert_eq!(hall["import_not_known_whether_caused_watt_hours"], 0.0, "{hall}");
    let page = report(&path, &days);
    let page = String::from_utf8(page.stdout).unwrap();
    assert!(page.contains("<b>0 Wh to 70.00 Wh</b>imported because of them"), "{page}");
    assert!(page.contains("at least 0.0 % and at most 35.0 % came from the grid because of them"), "{page}");
    assert!(page.contains("at least 65.0 % was power that nobody else"), "{page}");
    let doubt =
        "70.00 Wh were imported while it was not known whether because of them (known for 35 of 60 s)";
    assert!(page.contains(doubt), "{page}");
    assert!(page.contains("<b>pcc</b>: 0 Wh to 70.00 Wh; it was known for 35 of 60 s."), "{page}");
    let csv = report(&path, &[&days[..], &["--format", "csv", "--table", "totals"]].concat());
    let csv = String::from_utf8(csv.stdout).unwrap();
    assert!(csv.contains(",import_not_known_whether_caused_watt_hours,"), "{csv}");
}

#[tokio::test]
async fn of_quarters_of_an_earlier_version_all_is_told_that_may_be_because_of_the_miners() {
    let path = database("energy-earlier");
    let opened = Store::open(&path, 10).unwrap();
    let row = |number: i64, together: u64| Row {
        start: Wall::unix_millis(MONDAY + number * 900_000),
        part: number,
        kind: Kind::Circuit,
        name: "pcc".into(),
        parent: None,
        sums: Sums {
            observed: Duration::from_secs(900),
            import: Joules::whole(3_600_000),
            by_counter: Duration::from_secs(900),
            caused: Joules::whole(720_000),
            together: Duration::from_secs(together),
            ..Sums::default()
        },
    };
    let energy = vec![row(0, 900), row(1, 600)];
    opened.store.write(Write { energy, ..Write::default() }).await.unwrap();
    drop(opened);
    let earlier = rusqlite::Connection::open(&path).unwrap();
    let older = "DROP TABLE refreshes; ALTER TABLE energy DROP COLUMN unattributed_j; ALTER TABLE energy DROP COLUMN unmetered_j; PRAGMA user_version = 9;";
    earlier.execute_batch(older).unwrap();
    drop(earlier);
    assert!(Store::open(&path, 10).unwrap().damaged.is_none());
    let all = told(&path, &["--from", "2026-06-01", "--to", "2026-06-01"]);
    let doubt = &subject(&all, "circuit", "pcc")["total"]["import_not_known_whether_caused_watt_hours"];
    assert_eq!(doubt, &Value::from(800.0));
}

/// The other forms of the same report.
fn pages_of(path: &Path) {
    let page = folder("energy-week").join("report.html");
    let arguments = ["--from", "2026-06-01", "--to", "2026-06-08", "--out", page.to_str().unwrap()];
    assert!(report(path, &arguments).status.success());
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(
        html.starts_with("<!doctype html>") && html.contains("Took only what nobody else would have used")
    );
    assert!(!html.contains("<script") && !html.contains("http://") && !html.contains("https://"));
    let csv =
        report(path, &["--from", "2026-06-01", "--to", "2026-06-07", "--format", "csv", "--table", "days"]);
    let csv = String::from_utf8(csv.stdout).unwrap();
    let columns = csv.lines().next().unwrap().split(',').count();
    assert!(csv.starts_with("start_utc,end_utc,kind,name,parent,observed_seconds,import_watt_hours,"));
    assert!(csv.contains("\r\n") && csv.lines().all(|line| line.split(',').count() == columns));
    assert_eq!(csv.lines().count(), 1 + 7 * 5, "seven days of three circuits and two tenants");
    let south = told(path, &["--from", "2026-06-01", "--to", "2026-06-07", "--tenant", "south"]);
    assert_eq!(south["energy"].as_array().unwrap().len(), 1);
    let none = report(path, &["--from", "2025-06-01", "--to", "2025-06-07"]);
    let words = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(!none.status.success() && words.contains("there is energy from 2026-06-01 00:00"), "{words}");
    let none = report(&path.with_file_name("none.db"), &["--from", "2025-06-01", "--to", "2025-06-07"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("--database"));
}

/// Sixty days of quarters of one circuit, with the time zone's own days: more at noon, less at the weekend, other every day.
fn quarters(orders: &[(i64, i64)]) -> Vec<Row> {
    let start = MONDAY - 60 * 86_400_000;
    (0..62 * 96)
        .map(|number: i64| {
            let at = start + number * 900_000;
            let day = f64::from(i32::try_from(number / 96).unwrap());
            let of_day = f64::from(i32::try_from(number % 96).unwrap()) / 96.0;
            let usual = 2e6 + 4e5 * (of_day * std::f64::consts::TAU).sin() + 1.5e5 * (day * 1.7).sin();
            let weekend = if (number / 96 + 2) % 7 >= 5 { 0.7 } else { 1.0 };
            let shed = if orders.iter().any(|(from, until)| at < *until && at + 900_000 > *from) {
                0.35
            } else {
                1.0
            };
            let watts = usual * weekend * shed * (1.0 + 0.02 * dice(u64::try_from(number).unwrap() * 420, 9));
            // One hour of one day is not known, and one quarter of an order hardly.
            let known = match number {
                4_000..4_004 => 0.0,
                5_818 => 400.0,
                _ => 900.0,
            };
            let time = Duration::from_secs_f64(known);
            Row {
                start: Wall::unix_millis(at),
                part: number,
                kind: Kind::Circuit,
                name: "pcc".into(),
                parent: None,
                sums: Sums {
                    observed: time,
                    import: Joules::saturating(watts * known),
                    by_counter: time,
                    miners: Joules::saturating(watts * known * 0.9),
                    miners_known: time,
                    together: time,
                    ..Sums::default()
                },
            }
        })
        .collect()
}

fn order(number: u64, source: &str, (from, until): (i64, i64)) -> LedgerRow {
    let wall = Wall::unix_millis;
    LedgerRow {
        number,
        source: source.into(),
        id: format!("event-{number}").into(),
        revision: 1,
        circuit: "pcc".into(),
        scope: Scope::Import,
        stage: "ended".into(),
        reason: None,
        cap: Some(Watts::kilowatts(800.0)),
        baseline: Some(Watts::kilowatts(1_950.0)),
        basis: Basis::Instant,
        from: wall(from),
        until: Some(wall(until)),
        received: wall(from - 3_600_000),
        applied: Some(wall(from)),
        met: Some(wall(from + 20_000)),
        ended: Some(wall(until)),
        measured: Duration::from_secs(3_600),
        energy: Joules::ZERO,
        worst: Watts::ZERO,
        worst_mean: None,
        by: None,
        remark: None,
        stored: true,
    }
}

#[tokio::test]
async fn what_was_delivered_is_what_another_program_works_out_of_the_same_database() {
    let path = database("energy-settled");
    let hour = 3_600_000;
    let day = 24 * hour;
    // A working day at noon, not at the full hour; a Saturday; a day before, which is then none of the ten; and one for the firm level.
    let times = [
        ("ten", MONDAY + 12 * hour + 8 * 60_000, MONDAY + 15 * hour + 20 * 60_000),
        ("ten", MONDAY - 2 * day + 10 * hour, MONDAY - 2 * day + 12 * hour),
        ("ten", MONDAY - 5 * day + 11 * hour, MONDAY - 5 * day + 13 * hour),
        ("same", MONDAY + day + 13 * hour, MONDAY + day + 16 * hour),
        ("firm", MONDAY - 9 * day + 6 * hour, MONDAY - 9 * day + 7 * hour),
        ("before", MONDAY - 10 * day + 6 * hour, MONDAY - 10 * day + 7 * hour),
    ];
    let spans: Vec<(i64, i64)> = times.iter().map(|(_, from, until)| (*from, *until)).collect();
    let opened = Store::open(&path, 10).unwrap();
    let ledger = (1..).zip(times).map(|(number, (source, from, until))| order(number, source, (from, until)));
    let since = Wall::unix_millis(MONDAY - 100 * day);
    let baseline = |source: &str, baseline| BaselineRow { source: source.into(), since, baseline };
    let write = Write {
        energy: quarters(&spans),
        ledger: ledger.collect(),
        baselines: vec![
            baseline("ten", Baseline::TenInTen),
            baseline("same", Baseline::SameDay),
            baseline("firm", Baseline::Firm(Watts::kilowatts(1_900.0))),
        ],
        alarms: vec![AlarmRow {
            id: 1,
            kind: "meter-lost".into(),
            severity: "critical".into(),
            subject: "main".into(),
            words: "the meter `main` does not answer".into(),
            raised_ms: MONDAY + hour,
            cleared_ms: Some(MONDAY + 2 * hour),
            acknowledged_by: None,
            acknowledged_ms: None,
            note: None,
            told: true,
        }],
        ..Write::default()
    };
    opened.store.write(write).await.unwrap();
    let configured = serde_json::json!({ "site": "Mill, north" });
    opened.store.proof().append(ballast::proof::Kind::Start, configured);
    opened.store.seal().await.unwrap();
    let excuse = "2026-05-27T12:00/2026-05-27T12:30=the miners were in maintenance";
    let told = told(&path, &["--excuse", excuse, "--from", "2026-05-15", "--to", "2026-06-02"]);
    let orders = told["orders"].as_array().unwrap();
    assert_eq!(orders.len(), 6);
    assert!(orders.iter().all(|order| !order["delivered_watt_hours"].is_null()), "{orders:#?}");
    assert_eq!(told["alarms"][0]["kind"], "meter-lost");
    assert_eq!(told["site"], "Mill, north");
    assert_eq!(told["zone"], "UTC");
    let days = ["--from", "2026-05-15", "--to", "2026-06-02", "--format", "csv", "--table"];
    for table in ["orders", "alarms", "totals"] {
        let csv = String::from_utf8(report(&path, &[&days[..], &[table]].concat()).stdout).unwrap();
        let mut lines = csv.lines();
        assert!(lines.next().unwrap().ends_with(",site,zone"), "{csv}");
        assert!(lines.all(|line| line.ends_with(",\"Mill, north\",UTC")), "{csv}");
    }
    let ten = &orders[0];
    assert_eq!(ten["baseline"], "10-in-10");
    assert_eq!(ten["baseline_days"].as_array().unwrap().len(), 10);
    assert!(!ten["baseline_days"].to_string().contains("2026-05-27"), "an order acted on that day");
    let excused: Vec<&str> = ten["quarters"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|quarter| quarter["excused"].as_str())
        .collect();
    assert!(excused.iter().any(|why| why.contains("7.0 min")), "{excused:?}");
    assert!(excused.iter().any(|why| why.contains("44 % of it is measured")), "{excused:?}");
    assert!(orders[2]["quarters"].to_string().contains("in maintenance"));
    let page = folder("energy-settled").join("report.html");
    let out = page.to_str().unwrap();
    assert!(report(&path, &["--from", "2026-05-15", "--to", "2026-06-02", "--out", out]).status.success());
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page.contains("<title>Energy report of Mill, north</title>") && page.contains("zone UTC"),
        "{page}"
    );
    by_python(&path, orders);
}

/// The same by a script that shares nothing with the program but the database.
fn by_python(path: &Path, orders: &[Value]) {
    let python = std::env::var("BALLAST_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/study/settlement.py");
    let Ok(output) = Command::new(&python).arg(script).arg(path).arg("UTC").output() else {
        eprintln!("SKIPPED: {python} cannot be run");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let other: Value = serde_json::from_slice(&output.stdout).unwrap();
    for order in orders {
        let theirs = &other[order["order"].as_str().unwrap()];
        for key in ["asked_watt_hours", "delivered_watt_hours"] {
            near(&format!("{} {key}", order["order"]), &order[key], theirs[key].as_f64().unwrap());
        }
        for quarter in order["quarters"].as_array().unwrap() {
            let ours = &quarter["baseline_watt_hours"];
            let theirs = &theirs["quarters"][quarter["start_utc"].as_str().unwrap()];
            near("baseline of a quarter", ours, theirs["baseline_watt_hours"].as_f64().unwrap());
        }
    }
}
