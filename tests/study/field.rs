//! Recordings as the field gives them: coarse meters, half days, slips of dates and signs, spreadsheets. Through the program.

use std::f64::consts::{PI, TAU};
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{assess, folder, told};

/// 2025-01-01 00:00 UTC.
const START: i64 = 1_735_689_600;

/// A file with these words.
fn file(name: &str, text: &str) -> String {
    let path = folder("field").join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A file of rows with a distance in seconds.
fn rows(name: &str, n: i32, step: i64, value: impl Fn(i32) -> Option<f64>) -> String {
    let mut text = String::from("time,power_kw\n");
    for at in 0..n {
        if let Some(value) = value(at) {
            text.push_str(&format!("{},{value}\n", START + i64::from(at) * step));
        }
    }
    file(name, &text)
}

/// The first site of what is said as JSON.
#[track_caller]
fn site(arguments: &[&str]) -> Value {
    told(arguments)["sites"][0].clone()
}

/// What is said when it is refused.
#[track_caller]
fn refused(arguments: &[&str]) -> String {
    let output = assess(arguments);
    assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?} is not refused");
    String::from_utf8(output.stderr).unwrap()
}

#[track_caller]
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// The words of all findings of a kind.
fn findings(site: &Value, kind: &str) -> Vec<String> {
    let all = site["known"]["findings"].as_array().unwrap();
    let all = all.iter().filter(|found| found["kind"] == kind);
    all.map(|found| format!("{} {}", found["count"], found["what"])).collect()
}

/// A river: slow, never still.
fn river(minutes: f64) -> f64 {
    34.0 + 21.0 * (minutes / 2880.0 * TAU).sin() + 6.0 * (minutes / 611.0 * TAU).sin()
}

/// A sun: 0 at night, and no two days alike.
fn sun(at: i32, per_day: i32) -> f64 {
    let (day, slot) = (at.div_euclid(per_day), f64::from(at.rem_euclid(per_day)) / f64::from(per_day));
    let cloud = 0.7 + 0.3 * (f64::from(day) * 2.3 + slot * 29.0).sin();
    if (0.25..0.75).contains(&slot) { 1000.0 * ((slot - 0.25) * 2.0 * PI).sin() * cloud } else { 0.0 }
}

/// A load that is never still.
fn uneven(at: i32) -> f64 {
    50.0 * (f64::from(at) * 0.7).sin()
}

#[test]
fn a_slow_power_counted_in_coarse_steps_is_trusted_and_a_dead_meter_in_it_is_found() {
    for (name, step, kw) in
        [("a", 60, 1.0), ("b", 60, 0.1), ("c", 900, 1.0), ("d", 300, 5.0), ("e", 60, 10.0)]
    {
        let n = 20 * 86_400 / step;
        let counted = move |at: i32| (river(f64::from(at) * f64::from(step) / 60.0) / kw).round() * kw;
        let all =
            site(&[&rows(&format!("coarse-{name}.csv"), n, i64::from(step), move |at| Some(counted(at)))]);
        let trusted = number(&all["known"]["trusted_share"]);
        assert!(trusted > 0.995, "{kw} kW every {step} s: {trusted}");
        // A meter that is dead for a day and a half, in which the river goes elsewhere. In six steps nobody can see that.
        if kw > 5.0 {
            continue;
        }
        let per_hour = 3600 / step;
        let (from, to) = (100 * per_hour, 136 * per_hour);
        let dead = rows(&format!("dead-{name}.csv"), n, i64::from(step), move |at| {
            Some(counted(if (from..to).contains(&at) { from } else { at }))
        });
        let found = number(&site(&[&dead])["known"]["stale"]);
        assert!(
            (f64::from(to - from) - found).abs() <= 0.1 * f64::from(to - from),
            "{kw} kW every {step} s: {found}"
        );
    }
}

#[test]
fn a_schedule_that_is_held_for_hours_is_no_dead_meter() {
    let held = |at: i32| f64::from((at / 16 * 7919) % 97 * 10 + 30) + 0.37;
    let all = site(&[&rows("held.csv", 30 * 96, 900, |at| Some(held(at)))]);
    assert!(number(&all["known"]["trusted_share"]) > 0.99, "{}", all["known"]);
}

#[test]
fn little_trust_is_said_before_any_figure() {
    let patchy =
        rows("patchy.csv", 30 * 96, 900, |at| (at % 10 < 8).then(|| 500.0 + uneven(at) + sun(at, 96)));
    let all = site(&[&patchy]);
    assert!((number(&all["known"]["trusted_share"]) - 0.8).abs() < 0.01);
    assert!(all["warnings"][0].as_str().unwrap().contains("missing"), "{}", all["warnings"]);
    let page = folder("field").join("patchy.html");
    let output = assess(&[&patchy, "--html", page.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().nth(2).unwrap().starts_with("! Only 80.1 % of the recording"), "{text}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.find("Only 80.1 %").unwrap() < page.find("On average").unwrap());
    let whole = site(&[&rows("whole.csv", 30 * 96, 900, |at| Some(500.0 + uneven(at) + sun(at, 96)))]);
    assert_eq!(whole["warnings"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_recording_of_daylight_alone_does_not_pass_for_whole_days() {
    let whole = site(&[&rows("suns.csv", 40 * 96, 900, |at| Some(sun(at, 96)))]);
    assert_eq!(whole["known"]["hours_count_alike"], false);
    let light = rows("light.csv", 40 * 96, 900, |at| (20..80).contains(&(at % 96)).then(|| sun(at, 96)));
    let light = site(&[&light]);
    for key in ["mean_watts", "capacity_factor", "share_without"] {
        let (a, b) = (number(&whole[key]), number(&light[key]));
        assert!((a - b).abs() < 0.002 * a.abs(), "{key}: {a} {b}");
    }
    let year = |site: &Value| number(&site["year"]["p50_watt_hours"]);
    assert!((year(&whole) / year(&light) - 1.0).abs() < 0.002);
    let earns = |site: &Value| number(&site["sizing"]["best"][0]["earns_per_year"]);
    assert!((earns(&whole) / earns(&light) - 1.0).abs() < 0.01, "{} {}", earns(&whole), earns(&light));
    for (a, b) in whole["months"].as_array().unwrap().iter().zip(light["months"].as_array().unwrap()) {
        assert!((number(&a["mean_watts"]) / number(&b["mean_watts"]) - 1.0).abs() < 0.01, "{a} {b}");
    }
    assert_eq!(light["known"]["hours_never_known"][0], "00:00 to 05:00");
    let told = light["warnings"].to_string();
    assert!(told.contains("00:00 to 05:00 and from 20:00 to 24:00"), "{told}");
    // A day and a half that begins in the morning has two mornings and one evening.
    let half = rows("half.csv", 10 * 96 + 48, 900, |at| (at >= 24).then(|| sun(at, 96)));
    let half = site(&[&half]);
    assert!((number(&half["mean_watts"]) / number(&whole["mean_watts"]) - 1.0).abs() < 0.03);
}

#[test]
fn hours_of_import_between_hours_of_surplus_count_as_nothing_to_spare() {
    let import = |at: i32| [100, 313, 527].contains(&at);
    let value = move |at: i32| if import(at) { -400.0 } else { 600.0 + 10.0 * (f64::from(at) * 0.9).sin() };
    let surplus = rows("import.csv", 720, 3600, move |at| Some(value(at)));
    let turned = rows("import-turned.csv", 720, 3600, move |at| Some(-value(at)));
    for arguments in
        [&[surplus.as_str()][..], &[&surplus, "--sign", "surplus"], &[&turned, "--sign", "import"]]
    {
        let all = site(arguments);
        assert_eq!(
            (&all["known"]["trusted"], &all["known"]["missing"]),
            (&720.into(), &0.into()),
            "{arguments:?}"
        );
        assert!((number(&all["share_without"]) - 3.0 / 720.0).abs() < 1e-9, "{arguments:?}");
    }
    assert!(findings(&site(&[&surplus]), "outlier")[0].contains("3 lie below 0"));
    assert!(findings(&site(&[&turned, "--sign", "import"]), "outlier").is_empty());
}

#[test]
fn daily_rows_keep_every_day_when_the_clock_is_changed() {
    let (mut forward, mut day) = (Vec::new(), jiff::civil::date(2024, 1, 1));
    while day < jiff::civil::date(2026, 1, 1) {
        forward.push((day, 400 + 7 * (day.day_of_year() % 13) + day.day_of_year() % 5));
        day = day.tomorrow().unwrap();
    }
    let mean = forward.iter().map(|(_, kw)| f64::from(*kw)).sum::<f64>() / 731.0 * 1e3;
    for (name, format) in [("days", "%Y-%m-%d"), ("midnights", "%Y-%m-%d 00:00"), ("noons", "%Y-%m-%d 12:00")]
    {
        let mut text = String::from("day,kw\n");
        for (day, kw) in &forward {
            text.push_str(&format!("{},{kw}\n", day.strftime(format)));
        }
        let all = site(&[&file(&format!("{name}.csv"), &text), "--zone", "Europe/Paris"]);
        assert_eq!(
            (&all["known"]["intervals"], &all["known"]["trusted"]),
            (&731.into(), &731.into()),
            "{name}"
        );
        assert!((number(&all["mean_watts"]) - mean).abs() < 1e-3, "{name}");
        assert_eq!(all["months"].as_array().map(Vec::len), Some(24), "{name}");
        assert!(all["months"].as_array().unwrap().iter().all(|month| month["known"] == 1.0), "{name}");
    }
    // As a meter tells them: the energy of the day, at its end.
    let mut text = String::from("day,kwh\n");
    for (day, _) in &forward {
        let next = day.tomorrow().unwrap();
        let hours = if [(3, 31), (3, 30)].contains(&(day.month(), day.day()))
            && day.weekday() == jiff::civil::Weekday::Sunday
        {
            23
        } else if [(10, 27), (10, 26)].contains(&(day.month(), day.day()))
            && day.weekday() == jiff::civil::Weekday::Sunday
        {
            25
        } else {
            24
        };
        text.push_str(&format!("{next} 00:00,{}\n", hours * (50 + i32::from(day.day()) % 7)));
    }
    let all = site(&[&file("energies.csv", &text), "--zone", "Europe/Paris", "--stamp", "end"]);
    assert_eq!(all["known"]["first"], "2024-01-01 00:00");
    assert_eq!(all["known"]["last"], "2026-01-01 00:00");
    assert!((number(&all["largest_watts"]) - 56e3).abs() < 1e-6, "a day of 25 hours has no more power");
}

#[test]
fn newest_first_rows_keep_the_hour_that_is_there_twice() {
    let mut lines = Vec::new();
    for at in 0..8 * 96_i64 {
        // From 2025-10-22 00:00 in Paris; the clock is put back on the 26th.
        let instant = 1_761_084_000 + at * 900;
        let offset = if instant < 1_761_440_400 { 7200 } else { 3600 };
        let local = jiff::Timestamp::from_second(instant + offset).unwrap();
        let kw = 500.0 + 200.0 * (f64::from(i32::try_from(at).unwrap()) * 0.37).sin();
        lines.push(format!("{},{kw:.3}", local.strftime("%Y-%m-%d %H:%M")));
    }
    let text = |lines: &[String]| format!("time,kw\n{}\n", lines.join("\n"));
    let oldest = file("oldest.csv", &text(&lines));
    lines.reverse();
    let newest = file("newest.csv", &text(&lines));
    let (mut one, mut other) =
        (site(&[&oldest, "--zone", "Europe/Paris"]), site(&[&newest, "--zone", "Europe/Paris"]));
    assert_eq!(other["known"]["trusted"], 8 * 96);
    for site in [&mut one, &mut other] {
        site["name"] = Value::Null;
    }
    assert_eq!(one, other);
}

#[test]
fn a_capacity_that_cuts_the_top_off_is_told_or_refused() {
    let sunny = rows("capacity.csv", 60 * 48, 1800, |at| Some(sun(at, 48)));
    let error = refused(&[&sunny, "--capacity", "400 kW"]);
    assert!(
        error.contains("more than 1.2 times the capacity of 400.000 kW") && error.contains('%'),
        "{error}"
    );
    let some = findings(&site(&[&sunny, "--capacity", "900 kW"]), "capacity");
    assert!(some[0].contains("values above the capacity of 900.000 kW"), "{some:?}");
    assert!(findings(&site(&[&sunny, "--capacity", "1 MW"]), "capacity").is_empty());
    assert!(assess(&[&sunny, "--capacity", "400 kW", "--keep-doubtful"]).status.success());
}

#[test]
fn a_line_break_in_quotation_marks_is_part_of_its_field() {
    let text = |value: &str| {
        let mut text = String::from("time,\"active\npower (kW)\",note\n");
        for at in 0..2000_i64 {
            let note = if at % 3 == 0 { "\"checked, and\nfound \"\"good\"\"\"" } else { "a 5\" pipe" };
            let kw = if at == 1990 { value.into() } else { (at % 7 * 10 + at % 3).to_string() };
            text.push_str(&format!("{},{kw},{note}\n", START + at * 900));
        }
        text
    };
    let all = site(&[&file("break.csv", &text("12"))]);
    assert_eq!(all["known"]["trusted"], 2000);
    let error = refused(&[&file("break2.csv", &text("much"))]);
    assert!(
        error.contains("break2.csv:2657: column 2 (active power (kW)): \"much\" is no number"),
        "{error}"
    );
    let open = text("12").replacen("a 5\" pipe", "\"a pipe", 1);
    assert!(assess(&[&file("break3.csv", &open)]).status.success(), "the next quotation mark closes it");
    let mut last = text("12");
    last.push_str(&format!("{},12,\"and then\n", START + 2000 * 900));
    assert!(refused(&[&file("break4.csv", &last)]).contains("quotation mark is opened"));
}

#[test]
fn absurd_powers_are_refused_with_their_line() {
    for (absurd, unit) in [("1e306", "kW"), ("-1e300", "kW"), ("1e13", "kW"), ("1e308", "Wh-per-interval")] {
        let mut text = String::from("time,power\n");
        for at in 0..100_i64 {
            let value = if at == 42 { absurd.into() } else { (at % 7).to_string() };
            text.push_str(&format!("{},{value}\n", START + at * 900));
        }
        let error = refused(&[&file("absurd.csv", &text), "--unit", unit]);
        assert!(
            error.contains("absurd.csv:44: column 2 (power)") && error.contains("more than any site"),
            "{error}"
        );
    }
    let tiny = rows("tiny.csv", 100, 900, |at| Some(1e-290 * f64::from(at % 7)));
    assert!(refused(&[&tiny]).contains("thousandth of a watt"));
    let sunny = rows("fine.csv", 10 * 48, 1800, |at| Some(sun(at, 48)));
    for (option, value) in [
        ("--capacity", "1e300 kW"),
        ("--floor", "1e200 MW"),
        ("--fleets", "1e300 W"),
        ("--hash-prices", "1e308"),
        ("--power-prices", "inf"),
        ("--joules-per-terahash", "1e-300"),
        ("--fleet-cost", "nan"),
    ] {
        let error = refused(&[&sunny, option, value]);
        assert!(error.contains(option), "{error}");
    }
    let most = [
        "--hash-prices",
        "1e9",
        "--power-prices",
        "1e9",
        "--fleet-cost",
        "1e9",
        "--joules-per-terahash",
        "0.001",
    ];
    let all = told(&[&[sunny.as_str()][..], &most].concat());
    for best in all["sites"][0]["sizing"]["best"].as_array().unwrap() {
        assert!(best.as_object().unwrap().values().all(Value::is_number), "{best}");
    }
}

#[test]
fn a_date_far_from_all_others_is_a_bad_row() {
    let sunny = |wrong: &str| {
        let mut text = String::from("time,power_kw\n");
        for at in 0..40 * 96 {
            let time = START + i64::from(at) * 900;
            let time = if at == 777 { wrong.to_owned() } else { time.to_string() };
            text.push_str(&format!("{time},{}\n", sun(at, 96)));
        }
        text
    };
    for wrong in ["1970-01-01 00:00", "2099-03-04 05:00", "2025-09-01 12:00", "2024-06-01 00:00"] {
        let all = site(&[&file("date.csv", &sunny(wrong))]);
        assert!(number(&all["known"]["trusted_share"]) > 0.999, "{wrong}: {}", all["known"]);
        let told = findings(&all, "time");
        assert!(told.len() == 1 && told[0].contains("far from all others"), "{wrong}: {told:?}");
    }
    let both = sunny("1970-01-01 00:00") + "2099-01-01 00:00,7\n";
    assert!(number(&site(&[&file("dates.csv", &both)])["known"]["trusted_share"]) > 0.999);
    // A gap of a month between two halves is a gap.
    let gap = rows("month.csv", 90 * 96, 900, |at| (!(30 * 96..60 * 96).contains(&at)).then(|| sun(at, 96)));
    assert!(findings(&site(&[&gap]), "time").is_empty());
}

#[test]
fn two_rows_are_not_enough_to_say_what_pays() {
    let day = rows("day.csv", 6 * 96, 900, |at| Some(sun(at, 96)));
    let all = site(&[&day]);
    assert_eq!(all["sizing"]["best"].as_array().map(Vec::len), Some(0));
    assert!(all["sizing"]["best_withheld"].as_str().unwrap().starts_with("6.0 days are known"));
    let text = String::from_utf8(assess(&[&day]).stdout).unwrap();
    assert!(
        text.contains("Which fleet pays best is not said") && !text.contains("pays best of the sizes"),
        "{text}"
    );
    let week = rows("week.csv", 7 * 96, 900, |at| Some(sun(at, 96)));
    let text = String::from_utf8(assess(&[&week]).stdout).unwrap().replace('\n', " ");
    for condition in
        ["a PH/s earns 50 $ a day", "a MWh of surplus costs 20 $", "20.0 J/TH", "150 $ a year", "pays best"]
    {
        assert!(text.contains(condition), "{condition}: {text}");
    }
}

#[test]
fn a_drought_that_the_recording_cuts_off_says_so() {
    let drought = |from: i32, to: i32, gap: bool| {
        let value = move |at: i32| {
            let dry = (from..to).contains(&at);
            (!(gap && at == from - 1)).then(|| if dry { 1.0 } else { 500.0 + 90.0 * f64::from(at % 7) })
        };
        let all = site(&[&rows("drought.csv", 480, 3600, value)]);
        let text = String::from_utf8(assess(&[&rows("drought.csv", 480, 3600, value)]).stdout).unwrap();
        let first = &all["droughts"][0];
        let open = (first["window_open"].as_bool().unwrap(), first["run_open"].as_bool().unwrap());
        assert_eq!(all["droughts"][1]["window_open"].as_bool().unwrap(), text.contains("at least"), "{text}");
        assert_eq!(open.0 || open.1, text.contains("≥"), "{text}");
        open
    };
    assert_eq!(drought(0, 50, false), (true, true));
    assert_eq!(drought(430, 480, false), (true, true));
    // The window reaches over the gap, the run does not.
    assert_eq!(drought(200, 250, true), (false, true));
    assert_eq!(drought(200, 250, false), (false, false));
}

#[test]
fn what_spreadsheets_write_is_read_or_named() {
    let mut serial = String::from("time,kw\n");
    let mut minus = String::from("time,kw\n");
    for at in 0..200 {
        serial.push_str(&format!("{},{}\n", 45_123.5 + f64::from(at) / 96.0, at % 7));
        let kw = 40.0 - f64::from(at % 7) * 7.0;
        let kw = if at == 5 { "\u{2013}".to_owned() } else { format!("{kw}").replace('-', "\u{2212}") };
        minus.push_str(&format!("{},{kw}\n", START + i64::from(at) * 900));
    }
    let serial = file("serial.csv", &serial);
    for arguments in [&[serial.as_str()][..], &[&serial, "--time", "time"]] {
        let error = refused(arguments);
        assert!(error.contains("serial number of a day (2023-07-16 12:00)"), "{error}");
    }
    let all = site(&[&file("minus.csv", &minus)]);
    assert_eq!(all["known"]["missing"], 1);
    assert!((number(&all["share_without"]) - 28.0 / 199.0).abs() < 0.01, "{}", all["share_without"]);
}

#[test]
fn the_command_line_says_what_is_wrong_with_it() {
    let sunny = rows("line.csv", 10 * 48, 1800, |at| Some(sun(at, 48)));
    for (arguments, words) in [
        (["--value", "time"], "--value time is the column of the time"),
        (["--value", "1"], "--value 1 is the column of the time"),
        (["--capacity", "-5 kW"], "from 0 W"),
        (["--fleets", "-1 MW"], "from 0 W"),
        (["--hash-prices", "-40"], "from 0 to"),
        (["--rise", "-0.5"], "from 0 to"),
        (["--floor", "-1"], "'--floor <POWER>'"),
        (["--seed", "-1"], "'--seed <SEED>'"),
        (["--block-days", "-7"], "'--block-days <DAYS>'"),
        (["--start-time", "-5min"], "'--start-time <TIME>'"),
        (["--stamp", "middle"], "start, end"),
    ] {
        let error = refused(&[&sunny, arguments[0], arguments[1]]);
        assert!(error.contains(words) && !error.contains("unexpected argument"), "{arguments:?}: {error}");
    }
    assert!(refused(&[&sunny, &sunny]).contains("given twice"));
    let folder = folder("field/other");
    std::fs::copy(&sunny, folder.join("line.csv")).unwrap();
    let both = told(&[&sunny, folder.join("line.csv").to_str().unwrap()]);
    assert_ne!(both["ranking"][0]["name"], both["ranking"][1]["name"], "two of one name are told apart");
}

#[test]
fn standard_input_is_read_where_a_dash_stands_for_it() {
    let sunny = rows("stdin.csv", 10 * 48, 1800, |at| Some(sun(at, 48)));
    let mut child = Command::new(env!("CARGO_BIN_EXE_ballast"))
        .args(["assess", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&std::fs::read(&sunny).unwrap()).unwrap();
    let piped: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    let mut named = told(&[&sunny]);
    named["sites"][0]["name"] = "standard input".into();
    assert_eq!(piped, named);
    assert!(refused(&["-", "-"]).contains("given twice"));
}

#[test]
fn a_time_may_mark_the_end_of_its_interval() {
    let sunny = rows("stamp.csv", 10 * 96, 900, |at| Some(sun(at, 96)));
    let (start, end) = (site(&[&sunny]), site(&[&sunny, "--stamp", "end"]));
    assert_eq!(
        (start["known"]["first"].as_str(), end["known"]["first"].as_str()),
        (Some("2025-01-01 00:00"), Some("2024-12-31 23:45"))
    );
    assert!(start["known"]["assumed"].to_string().contains("--stamp end"));
    assert!(!end["known"]["assumed"].to_string().contains("--stamp end"));
    let hourly = site(&[&sunny, "--stamp", "end", "--every", "1h"]);
    assert_eq!(hourly["known"]["first"], "2024-12-31 23:00");
    assert!(
        (number(&hourly["largest_watts"]) - number(&start["largest_watts"])).abs()
            < 0.1 * number(&start["largest_watts"])
    );
}

#[test]
fn the_record_of_the_daemon_is_assessed_without_an_export() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/records");
    let all = site(&["--record", folder, "--zone", "Asia/Karachi"]);
    assert_eq!((&all["known"]["intervals"], &all["known"]["rows"]), (&3.into(), &120.into()));
    assert_eq!(all["known"]["first"], "2026-11-29 09:44");
    assert!(all["known"]["assumed"].to_string().contains("what the miners drew"), "{}", all["known"]);
    assert!(refused(&["--record", "nowhere"]).contains("nowhere"));
    assert!(refused(&["--record", folder, "--record", folder]).contains("given twice"));
    assert!(refused(&[]).contains("TRACE"));
}
