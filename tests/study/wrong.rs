//! Wrong traces of each kind, through the program.

use super::{assess, folder, told};

/// A file with these words.
fn file(name: &str, text: &str) -> String {
    let path = folder("wrong").join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Sixty days of a sun that no two days see alike, every half hour.
fn sunny() -> String {
    let mut text = String::from("time,power_kw\n");
    for at in 0..60 * 48_i32 {
        let (day, slot) = (at / 48, at % 48);
        let cloud = 0.6 + 0.4 * (f64::from(day) * 2.3 + f64::from(slot) * 0.9).sin();
        let sun = (f64::from(slot - 12) / 24.0 * std::f64::consts::PI).sin().max(0.0);
        let sun = if (12..36).contains(&slot) { sun } else { 0.0 };
        text.push_str(&format!("{},{:.3}\n", 1_735_689_600 + i64::from(at) * 1800, 1000.0 * sun * cloud));
    }
    text
}

#[test]
fn each_wrong_trace_is_refused_with_what_to_do() {
    for (name, text, words) in [
        ("empty.csv", "", "nothing in it"),
        ("one.csv", "time,kw\n2025-01-01 00:00,1\n", "one instant"),
        ("text.csv", "Dear all,\nplease find below the data.\n", "--time"),
        ("sign.csv", "time,kw\n2025-01-01 00:00,-1\n2025-01-01 00:15,-2\n", "--sign import"),
        (
            "both.csv",
            "time,kw\n2025-01-01 00:00,800\n2025-01-01 00:15,-4000\n2025-01-01 00:30,-3900\n",
            "both ways",
        ),
        ("unit.csv", "time,power\n2025-01-01 00:00,1\n2025-01-01 00:15,2\n", "--unit"),
    ] {
        let output = assess(&[&file(name, text)]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(words), "{name}: {error}");
        assert!(output.stdout.is_empty(), "{name}");
    }
    let output = assess(&[&file("sunny.csv", &sunny()), "--capacity", "1 kW"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("off by 1,000"));
    let mut counter = String::from("time,kWh\n");
    for at in 0..200_i64 {
        counter.push_str(&format!("{},{}\n", 1_735_689_600 + at * 3600, 90_000 + at * 125 + at % 7));
    }
    let output = assess(&[&file("counter.csv", &counter), "--unit", "kWh-per-interval"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("readings of a counter"));
    for every in ["0s", "1500ms", "2d"] {
        assert!(!assess(&[&file("sunny.csv", &sunny()), "--every", every]).status.success(), "{every}");
    }
    let output = assess(&[&file("sunny.csv", &sunny()), "--every", "7min"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("further apart than --every"));
    let off = sunny().replacen("1735693200,0.000", "1735693200,off", 1);
    let output = assess(&[&file("cell.csv", &off)]);
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("cell.csv:4: column 2 (power_kw): \"off\" is no number")
    );
    let output = assess(&["nowhere.csv"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere.csv"));
}

#[test]
fn the_report_fits_80_columns_and_the_page_needs_nothing_from_elsewhere() {
    let trace = file("sunny2.csv", &sunny());
    let page = folder("wrong").join("page.html");
    let output = assess(&[&trace, "--html", page.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for part in ["WHAT WAS KNOWN", "POWER AT AN INSTANT", "DROUGHTS", "ENERGY OF A YEAR", "FLEETS", "Firm"] {
        assert!(text.contains(part), "{part}");
    }
    let page = std::fs::read_to_string(page).unwrap();
    for elsewhere in ["http:", "https:", "<script", "src=", "@import", "url("] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    assert!(
        page.matches("<svg").count() == 3
            && page.matches("<section").count() == page.matches("</section>").count()
    );
    assert!(!page.contains("NaN"), "nothing unknown is drawn");
}

#[test]
fn the_steadier_of_two_sites_comes_first_with_reasons() {
    let sunny = file("sun.csv", &sunny());
    let mut steady = String::from("time,power_kw\n");
    for at in 0..60 * 48_i32 {
        let kw = 400.0 + 80.0 * (f64::from(at) * 0.37).sin();
        steady.push_str(&format!("{},{kw:.3}\n", 1_735_689_600 + i64::from(at) * 1800));
    }
    let both = told(&[&sunny, &file("river.csv", &steady)]);
    assert_eq!(both["ranking"][0]["name"], "river.csv");
    assert_eq!(both["ranking"][1]["rank"], 2);
    assert!(both["ranking"][0]["reasons"].as_array().unwrap().len() >= 4);
    assert!(both["sites"][1]["carried"][1]["watts"].as_f64().unwrap() > 300e3);
    assert!(both["sites"][0]["known"]["not_known"].as_array().unwrap().len() >= 3);
}

#[test]
fn a_guaranteed_load_comes_first() {
    let trace = file("sunny3.csv", &sunny());
    let all = told(&[&trace]);
    let rest = told(&[&trace, "--floor", "100 kW"]);
    let mean = |site: &serde_json::Value| site["sites"][0]["mean_watts"].as_f64().unwrap();
    assert!(mean(&rest) < mean(&all));
    let carried = rest["sites"][0]["floor_carried"].as_f64().unwrap();
    assert!((0.3..0.5).contains(&carried), "{carried}");
}

#[test]
fn a_hall_beside_miners_is_told_by_class() {
    let trace = file("sunny5.csv", &sunny());
    let all = told(&[&trace, "--hall", "200 kW"]);
    let classes = all["sites"][0]["hall"]["classes"].as_array().unwrap();
    let of = |at: usize, key: &str| classes[at][key].as_f64().unwrap();
    assert_eq!(classes[0]["class"], "interruptible");
    assert!(of(0, "work_share") < of(1, "work_share") && of(1, "work_share") < of(2, "work_share"));
    // Who keeps more takes more from the grid: half of the time there is no sun at all.
    assert!(of(0, "mean_import_watts") < of(1, "mean_import_watts"));
    assert!(of(2, "mean_import_watts") > 90e3 && of(2, "full_share") < 0.5);
    assert!(all["sites"][0]["hall"]["longest_too_little_hours"].as_f64().unwrap() > 10.0);
    assert!(told(&[&trace])["sites"][0].get("hall").is_none());
    let page = folder("wrong").join("hall.html");
    let output = assess(&[&trace, "--hall", "200 kW", "--html", page.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("A HALL OF 200.0 kW beside miners") && text.contains("\n  guaranteed     100.0 %"),
        "{text}"
    );
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<h2>A hall of 200.0 kW beside miners</h2>") && page.contains("<td>throttle</td>"));
}

#[test]
fn a_page_is_never_written_over_anything_but_a_page() {
    let trace = file("sunny3.csv", &sunny());
    let output = assess(&[&trace, "--html", &trace]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("is no page"));
    assert_eq!(std::fs::read_to_string(&trace).unwrap(), sunny());
    let page = folder("wrong").join("again.html");
    for _ in 0..2 {
        assert!(assess(&[&trace, "--html", page.to_str().unwrap()]).status.success());
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let trace = file("sunny4.csv", &sunny());
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ballast"))
        .args(["assess", &trace, "--json"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"));
}
