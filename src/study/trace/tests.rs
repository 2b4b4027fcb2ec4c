use super::*;

fn told() -> Told {
    Told {
        unit: Some(Unit::Kilowatts),
        zone: Some(TimeZone::UTC),
        sign: Some(Sign::Surplus),
        ..Told::default()
    }
}

fn got(text: &str, told: &Told) -> Result<Trace, String> {
    read("t.csv", text.as_bytes(), told, &mut |_| ()).map_err(|error| error.to_string())
}

fn refused(text: &str, told: &Told) -> String {
    got(text, told).expect_err("it is refused")
}

fn kinds(trace: &Trace) -> Vec<&'static str> {
    trace.findings.iter().map(|found| found.kind).collect()
}

/// Rows every quarter of an hour from 2025-01-01, each with its number's value.
fn quarters(n: i64, value: impl Fn(i64) -> String) -> String {
    let mut text = String::from("time,power_kw\n");
    for at in 0..n {
        text.push_str(&format!("{},{}\n", 1_735_689_600 + at * 900, value(at)));
    }
    text
}

/// Something that is neither stale nor straight.
fn uneven(at: i64) -> f64 {
    500.0 + 300.0 * (number::seconds(at) * 0.7).sin() + 100.0 * (number::seconds(at) * 1.9).cos()
}

use crate::study::number;

#[test]
fn the_same_rows_in_many_dresses_are_the_same_trace() {
    let plain =
        got("time,kW\n2025-12-31 00:00,1.5\n2025-12-31 00:15,2.5\n2025-12-31 00:30,0.25\n", &Told::default())
            .unwrap();
    assert_eq!(plain.values, [1500.0, 2500.0, 250.0]);
    for text in [
        "\u{feff}Zeit;Leistung (kW)\r\n31.12.2025 00:00;1,5\r\n31.12.2025 00:15;2,5\r\n31.12.2025 00:30;0,25\r\n",
        "time\tMW\n2025-12-31T00:00:00Z\t0.0015\n2025-12-31T00:15:00Z\t0.0025\n2025-12-31T00:30:00Z\t0.00025",
        "time,kWh\n1767139200,0.375\n1767140100,0.625\n1767141000,0.0625\n",
        "date,time,W\n12/31/2025,12:00 AM,1500\n12/31/2025,12:15 AM,2500\n12/31/2025,12:30 AM,250\n",
        "\"time\",\"kW\"\n\"2025-12-31 00:30\",\"0.25\"\n\"2025-12-31 00:00\",\"1.5\"\n\"2025-12-31 00:15\",\"2.5\"\n",
    ] {
        let trace = got(text, &Told::default()).unwrap();
        assert_eq!((trace.start, trace.step), (plain.start, plain.step), "{text}");
        assert!(trace.values.iter().zip(&plain.values).all(|(a, b)| (a - b).abs() < 1e-6), "{text}");
    }
    let words = "Plant: North\nExported 1/1/2026, all values\n\ntime;kW;note\n2025-12-31 00:00;1.5;\n2025-12-31 00:15;2.5;\n2025-12-31 00:30;0.25;\n";
    let trace = got(words, &Told::default()).unwrap();
    assert_eq!(trace.values, plain.values);
    let broken = words.replace("2.5", "much");
    assert!(
        refused(&broken, &Told { value: Some("kW".into()), ..told() }).contains("t.csv:6: column 2 (kW)")
    );
    let bare = got("2025-12-31 00:00;1,5\n2025-12-31 00:15;2,5\n", &told()).unwrap();
    assert_eq!(bare.values, [1500.0, 2500.0]);
}

#[test]
fn import_positive_is_turned_round_when_told() {
    let told = Told { sign: Some(Sign::Import), ..told() };
    let trace = got(&quarters(4, |at| (100 - at * 60).to_string()), &told).unwrap();
    assert_eq!(trace.surplus().collect::<Vec<_>>(), [0.0, 0.0, 20_000.0, 80_000.0]);
}

#[test]
fn a_day_of_25_hours_and_one_of_23_keep_their_order() {
    let zone = Told { zone: TimeZone::get("Europe/Paris").ok(), ..told() };
    let text = "time,kW\n2014-10-26 01:00,1\n2014-10-26 02:00,2\n2014-10-26 02:00,3\n2014-10-26 03:00,4\n";
    let trace = got(text, &zone).unwrap();
    assert_eq!(trace.values, [1000.0, 2000.0, 3000.0, 4000.0]);
    let text = "time,kW\n2014-03-30 01:00,1\n2014-03-30 03:00,2\n2014-03-30 04:00,3\n";
    assert_eq!(got(text, &zone).unwrap().values, [1000.0, 2000.0, 3000.0]);
    let text = "time,kW\n2014-03-30 01:00,1\n2014-03-30 02:00,2\n2014-03-30 03:00,3\n2014-03-30 04:00,3\n";
    assert!(kinds(&got(text, &zone).unwrap()).contains(&"time"), "a time that does not exist is told");
}

#[test]
fn sources_are_added_up_only_where_all_are_there() {
    let told = Told { id: Some("unit".into()), value: Some("kw".into()), ..told() };
    let text = "time,unit,kw\n0001735689600,a,1\n1735689600,a,1\n1735689600,b,2\n1735690500,a,3\n1735691400,b,4\n1735691400,a,5\n";
    let text = text.replace("0001735689600,a,1\n", "");
    let trace = got(&text, &told).unwrap();
    assert_eq!(trace.values[0].to_bits(), 3000.0_f64.to_bits());
    assert!(trace.values[1].is_nan());
    assert_eq!(trace.values[2].to_bits(), 9000.0_f64.to_bits());
    assert!(
        trace.findings.iter().any(|found| found.what.contains("some of the 2 sources") && found.count == 1)
    );
}

#[test]
fn duplicates_and_gaps_are_told_and_not_averaged_over() {
    let text = quarters(20, |at| if at == 7 { "NaN".into() } else { uneven(at).to_string() });
    let twice = text.replacen("1735690500,", "1735690500,9999\n1735690500,", 1);
    let gap: String = twice
        .lines()
        .filter(|line| !line.starts_with("1735700400"))
        .map(|line| format!("{line}\n"))
        .collect();
    let trace = got(&gap, &told()).unwrap();
    assert_eq!(trace.marks.iter().filter(|mark| **mark == Mark::Missing).count(), 2);
    let kinds = kinds(&trace);
    assert!(
        kinds.contains(&"duplicate") && kinds.contains(&"gap") && kinds.contains(&"missing"),
        "{kinds:?}"
    );
}

#[test]
fn several_sources_without_a_column_for_them_are_asked_about() {
    let text: String =
        (0..40_i64).map(|at| format!("{},{}\n", 1_735_689_600 + at / 2 * 900, uneven(at))).collect();
    assert!(refused(&text, &told()).contains("--id-column"));
}

#[test]
fn mixed_intervals_are_averaged_or_refused() {
    let mut text = String::from("time,kW\n");
    for at in 0..20 {
        text.push_str(&format!("{},{}\n", 1_735_689_600 + at * 900, 100));
    }
    for at in 0..60 {
        text.push_str(&format!("{},{}\n", 1_735_707_600 + at * 300, 100 * (at % 3)));
    }
    let trace = got(&text, &told()).unwrap();
    assert_eq!((trace.step, trace.values.len()), (900, 40));
    assert!(kinds(&trace).contains(&"interval"));
    assert!((trace.values[30] - 100_000.0).abs() < 1e-6);
    let odd = text.replace("time,kW", "time,kWh");
    assert!(refused(&odd, &Told { unit: Some(Unit::KilowattHoursPerInterval), ..told() }).contains("mixed"));
    let jitter: String = (0..50_i64).map(|at| format!("{},1\n", 1_735_689_600 + at * at * 7)).collect();
    assert!(refused(&jitter, &told()).contains("--every"));
}

#[test]
fn what_cannot_be_read_is_refused_with_line_and_column() {
    assert!(refused("", &told()).contains("nothing in it"));
    assert!(refused("time,kW\n", &told()).contains("no row"));
    assert!(refused("time,kW\n2025-01-01 00:00,1\n", &told()).contains("one instant"));
    let text = quarters(50, |at| if at == 20 { "closed".into() } else { "1".into() });
    let error = refused(&text, &told());
    assert!(error.contains("t.csv:22: column 2 (power_kw)") && error.contains("--missing"), "{error}");
    assert!(got(&text, &Told { missing: vec!["closed".into()], ..told() }).is_ok());
    let error = refused(&quarters(50, |_| "1".into()).replace("1735700400", "noon"), &told());
    assert!(error.contains("column 1 (time)") && error.contains("noon"), "{error}");
    let error = refused("time,kW\n2025-01-01 00:00,1\n2025-01-01 00:15\n2025-01-01 00:30,1\n", &told());
    assert!(error.contains("t.csv:3"), "{error}");
    assert!(refused("PAR1 and more", &told()).contains("Parquet"));
    assert!(refused("t\0i\0m\0e\0", &told()).contains("UTF-8"));
    assert!(refused("some prose that\nis no table", &told()).contains("--separator"));
}

#[test]
fn a_wrong_sign_and_a_wrong_unit_are_asked_about_by_name() {
    let unsure = Told { sign: None, ..told() };
    assert!(refused(&quarters(50, |at| format!("-{}", at + 1)), &unsure).contains("--sign import"));
    assert!(refused(&quarters(50, |at| format!("-{}", at + 1)), &told()).contains("--sign"));
    assert!(refused(&quarters(50, |_| "0".into()), &told()).contains("all values are 0"));
    let capacity = Told { capacity: Some(1e6), ..told() };
    assert!(got(&quarters(50, |at| uneven(at).to_string()), &capacity).is_ok());
    for off in [1e3, 1e-3] {
        assert!(
            refused(&quarters(50, |at| (off * uneven(at)).to_string()), &capacity).contains("off by 1,000"),
            "{off}"
        );
    }
}

#[test]
fn stale_and_straight_stretches_and_spikes_are_marked_and_left_out() {
    let text = quarters(400, |at| match at {
        100..120 => "444".into(),
        200..230 => (300 + (at - 200) * 7).to_string(),
        300 => "9000".into(),
        _ => uneven(at).to_string(),
    });
    let trace = got(&text, &told()).unwrap();
    let marked = |mark: Mark| trace.marks.iter().filter(|other| **other == mark).count();
    assert_eq!((marked(Mark::Stale), marked(Mark::Outlier)), (20, 1));
    assert!((29..=32).contains(&marked(Mark::Interpolated)), "{}", marked(Mark::Interpolated));
    assert!(trace.values[110].is_nan() && trace.values[300].is_nan());
    let kept = got(&text, &Told { keep_doubtful: true, ..told() }).unwrap();
    assert!(!kept.values[110].is_nan());
    assert_eq!(kept.marks, trace.marks);
}

#[test]
fn a_dip_is_a_mistake_where_all_around_is_calm_and_weather_where_it_is_not() {
    let calm = |at: i64| 500.0 + 300.0 * (number::seconds(at) * 0.02).sin();
    let marked = |value: &dyn Fn(i64) -> f64| {
        let text = quarters(400, |at| if at == 150 { "20".into() } else { value(at).to_string() });
        got(&text, &told()).unwrap().marks.iter().filter(|mark| **mark == Mark::Outlier).count()
    };
    assert_eq!(marked(&calm), 1);
    assert_eq!(marked(&uneven), 0);
}

#[test]
fn night_and_a_limit_that_was_reached_are_not_stale() {
    let text = quarters(960, |at| match at % 96 {
        0..24 | 72..96 => "0".into(),
        40..56 => "800".into(),
        slot => format!(
            "{:.3}",
            800.0 * (number::seconds(slot - 24) / 16.0).min(number::seconds(72 - slot) / 16.0).powi(2)
        ),
    });
    let trace = got(&text, &told()).unwrap();
    assert!(trace.marks.iter().all(|mark| *mark == Mark::Trusted), "{:?}", trace.findings);
}

#[test]
fn rows_may_be_averaged_while_they_are_read() {
    let mut text = String::from("time,kW\n");
    for at in 0..600 {
        text.push_str(&format!("{},{}\n", 1_735_689_600 + at, at % 60));
    }
    let trace = got(&text, &Told { every: Some(60), ..told() }).unwrap();
    assert_eq!((trace.step, trace.values.len()), (60, 10));
    assert!(
        trace.values.iter().all(|value| value.is_nan() || (value - 29_500.0).abs() < 1e-6),
        "{:?}",
        trace.values
    );
}

#[test]
fn rows_of_several_sources_in_turn_are_averaged_each_for_itself() {
    let mut text = String::from("time,unit,kw\n");
    for at in (0..1200_i64).rev() {
        for unit in [1, 2] {
            text.push_str(&format!("{},{unit},{}\n", 1_735_689_600 + at, unit * (at % 60)));
        }
    }
    let told = Told {
        every: Some(60),
        id: Some("unit".into()),
        value: Some("kw".into()),
        keep_doubtful: true,
        ..told()
    };
    let trace = got(&text, &told).unwrap();
    assert_eq!((trace.step, trace.values.len()), (60, 20));
    assert!(trace.values.iter().all(|value| (value - 88_500.0).abs() < 1e-6), "{:?}", trace.values);
    assert!(!kinds(&trace).contains(&"duplicate"));
}

/// Rows that come to no end.
struct Endless {
    at: i64,
    left: Vec<u8>,
}

impl std::io::Read for Endless {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while self.left.len() < into.len() {
            self.left.extend_from_slice(format!("{},{}\n", 1_000_000_000 + self.at, self.at % 7).as_bytes());
            self.at += 1;
        }
        let n = into.len();
        into.copy_from_slice(&self.left[..n]);
        self.left.drain(..n);
        Ok(n)
    }
}

#[test]
#[ignore = "12 million rows take a minute without optimising; run it with --release"]
fn more_rows_than_are_kept_are_refused_with_what_to_do() {
    let endless = Endless { at: 0, left: Vec::new() };
    let error = read("t.csv", endless, &told(), &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("--every"), "{error}");
}
