//! Published recordings, with values that pandas gives for them. They come from PyPI, inside of the packages of others, and
//! stay below the target directory; where they cannot be had the tests say so and pass.
//!
//! Needs `python3`, or the Python named by `BALLAST_TEST_PYTHON`, with pip.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;

use super::{folder, told};

/// One at a time: two downloads of one file would write over each other.
static DOWNLOAD: Mutex<()> = Mutex::new(());

/// Unpacks what a package holds; zips in it are unpacked too, and Parquet becomes CSV where pyarrow is.
const UNPACK: &str = r#"
import glob, io, os, subprocess, sys, zipfile
package, to, wanted = sys.argv[1:4]
subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", package, "-d", to], check=True)
def unpack(file):
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            if name.endswith(".zip") and wanted in name:
                unpack(io.BytesIO(archive.read(name)))
            elif name.endswith((".csv", ".parquet")) and "MACOSX" not in name:
                with open(os.path.join(to, os.path.basename(name)), "wb") as out:
                    out.write(archive.read(name))
for wheel in glob.glob(os.path.join(to, "*.whl")):
    unpack(wheel)
"#;

/// The path of a file of a package, downloaded once. `None` where it cannot be had.
fn published(package: &str, archive: &str, name: &str) -> Option<PathBuf> {
    let _alone = DOWNLOAD.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = folder(&package.replace("==", "-"));
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    let python = std::env::var("BALLAST_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let output = Command::new(&python).args(["-c", UNPACK, package]).arg(&folder).arg(archive).output();
    if path.exists() {
        return Some(path);
    }
    let why = output.map_or_else(
        |error| error.to_string(),
        |output| String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("").to_owned(),
    );
    eprintln!("SKIPPED: {name} of {package} cannot be had with {python} ({why})");
    None
}

/// Reads a published file and says what comes of it.
fn site(path: &std::path::Path, arguments: &[&str]) -> Value {
    let all = [&[path.to_str().unwrap()], arguments].concat();
    told(&all)["sites"][0].clone()
}

#[track_caller]
fn near(got: &Value, wanted: f64) {
    let got = got.as_f64().unwrap();
    assert!((got - wanted).abs() <= 0.001 * wanted.abs(), "{got} is not {wanted} to 0.1 %");
}

/// How many of the first finding of a kind there are.
fn found(site: &Value, kind: &str) -> u64 {
    let all = site["known"]["findings"].as_array().unwrap();
    all.iter()
        .filter(|found| found["kind"] == kind)
        .filter_map(|found| found["count"].as_u64())
        .max()
        .unwrap_or(0)
}

#[test]
fn four_turbines_of_two_years_give_the_values_of_pandas() {
    let Some(path) = published("openoa==3.2", "la_haute_borne", "la-haute-borne-data-2014-2015.csv") else {
        return;
    };
    let site = site(
        &path,
        &[
            "--value",
            "P_avg",
            "--id-column",
            "Wind_turbine_name",
            "--unit",
            "kW",
            "--capacity",
            "8.2 MW",
            "--zone",
            "UTC",
        ],
    );
    assert_eq!(site["known"]["rows"], 420_480);
    assert_eq!(found(&site, "duplicate"), 48);
    assert_eq!(found(&site, "missing"), 2569);
    for kind in ["stale", "interpolated", "outlier", "clock"] {
        assert_eq!(found(&site, kind), 0, "{kind}");
    }
    near(&site["mean_watts"], 1_409_366.494);
    let exceeded = |percent: u64| {
        let all = site["duration"].as_array().unwrap();
        all.iter().find(|step| step["percent_of_time"] == percent).unwrap()["watts"].clone()
    };
    near(&exceeded(50), 803_760.0);
    near(&exceeded(75), 175_849.998);
    near(&exceeded(90), 0.0);
    near(&site["autocorrelation"][0][1], 0.9008);
    near(&site["autocorrelation"][1][1], 0.659_139);
    near(&site["autocorrelation"][2][1], 0.376_258);
    near(&site["run_below_twentieth_of_capacity_hours"], 68.6667);
    // What is not known is neither power nor its absence; and, as the published comparison does it, gaps filled with what was before.
    near(&site["droughts"][0]["window_hours"], 190.6667);
    near(&site["droughts"][0]["window_held_hours"], 189.5);
    near(&site["droughts"][1]["window_hours"], 304.8333);
}

#[test]
fn days_of_a_solar_plant_give_the_values_of_pandas() {
    let Some(path) = published("pvanalytics==0.2.2", "-", "serf_east_15min_ac_power.csv") else { return };
    let site = site(&path, &["--value", "ac_power", "--unit", "kW"]);
    let days = &site["day_energy_recorded"];
    assert_eq!(days["days"], 104);
    near(&days["p50_watt_hours"], 29_611e3);
    near(&days["p90_watt_hours"], 18_163e3);
    near(&days["p99_watt_hours"], 8_677e3);
    for kind in ["stale", "interpolated", "outlier", "clock"] {
        assert_eq!(found(&site, kind), 0, "{kind}");
    }
}

#[test]
fn faulty_variants_are_marked() {
    for (name, kind, least, most) in [
        // 245 slots are marked stale by those who made it; 1,254 are interpolated, 88 of them at night or alone.
        ("ac_power_inv_2173_stale_data.csv", "stale", 245, 245),
        ("ac_power_inv_2173_interpolated_data.csv", "interpolated", 1150, 1254),
        ("ac_power_inv_7539_outliers.csv", "outlier", 6, 6),
    ] {
        let Some(path) = published("pvanalytics==0.2.2", "-", name) else { return };
        let site = site(&path, &["--value", "value_normalized", "--unit", "kW"]);
        let n = found(&site, kind);
        assert!((least..=most).contains(&n), "{name}: {n}");
    }
    // The same inverters without the faults.
    for name in ["ac_power_inv_2173.csv", "ac_power_inv_7539.csv"] {
        let Some(path) = published("pvanalytics==0.2.2", "-", name) else { return };
        let site = site(&path, &["--value", "value_normalized", "--unit", "kW"]);
        for kind in ["stale", "interpolated", "outlier"] {
            assert_eq!(found(&site, kind), 0, "{name}: {kind}");
        }
    }
}

#[test]
fn a_clock_that_jumps_by_an_hour_is_found() {
    let name = "system_50_ac_power_2_full_DST";
    let Some(parquet) = published("pvanalytics==0.2.2", "-", &format!("{name}.parquet")) else { return };
    let path = parquet.with_extension("csv");
    if !path.exists() {
        let python = std::env::var("BALLAST_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
        let script = "import sys\nimport pyarrow.parquet, pyarrow.csv\n\
                      pyarrow.csv.write_csv(pyarrow.parquet.read_table(sys.argv[1]), sys.argv[2])";
        let made = Command::new(&python).args(["-c", script]).args([&parquet, &path]).output();
        if !made.is_ok_and(|made| made.status.success()) {
            let _ = std::fs::remove_file(&path);
            eprintln!("SKIPPED: {python} has no pyarrow to read {name}.parquet");
            return;
        }
    }
    let told = ["--time", "measured_on", "--value", "ac_power_2", "--unit", "kW"];
    assert!(found(&site(&path, &told), "clock") > 10_000);
    // Read as what it is, a clock of Denver with an offset that does not follow it, the sun stands still.
    let denver = [&told[..], &["--zone", "America/Denver", "--ignore-offset"]].concat();
    assert_eq!(found(&site(&path, &denver), "clock"), 0);
}
