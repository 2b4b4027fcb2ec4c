//! SunSpec discovery on images that somebody else's encoder made: pysunspec2.
//!
//! Needs a Python with pysunspec2: `python3`, or the one named by `BALLAST_TEST_PYTHON`. Without it the test says so
//! and passes.

use std::process::Command;

use ballast::meter::decode::{self, Absent};
use ballast::meter::plan::Plan;
use ballast::meter::profile::{Measure, Profile};
use ballast::meter::sunspec::{Answer, Discovery, Refused};

const SCRIPT: &str = r#"
import sunspec2.device as device
common = device.Model(1)
for name, value in [("Mn", "Acme"), ("Md", "EM-3"), ("SN", "42")]:
    common.points[name].value = value
integers = device.Model(203)
for name, value in [("V_SF", -1), ("Hz_SF", -2), ("W_SF", 1), ("TotWh_SF", 2)]:
    integers.points[name].value = value
for name, value in [("PhVphA", 230.1), ("PhVphB", 229.9), ("Hz", 50.02), ("W", -12340), ("WphA", -10000),
                    ("WphB", -2340), ("WphC", 0), ("TotWhExp", 7000), ("TotWhImp", 6553900)]:
    integers.points[name].cvalue = value
floats = device.Model(213)
for name, value in [("PhVphA", 230.0), ("PhVphB", 231.5), ("Hz", 50.0), ("W", -1500.0), ("WphA", 400.25),
                    ("WphB", 300.5), ("WphC", 1000.0), ("TotWhExp", 500.0), ("TotWhImp", 100000.0)]:
    floats.points[name].value = value
print((b"SunS" + b"".join(model.get_mb() for model in (common, integers, floats)) + b"\xff\xff\x00\x00").hex())
"#;

/// The registers from 40000 on, as pysunspec2 encodes them; `None` where there is none.
fn image() -> Option<Vec<u16>> {
    let python = std::env::var("BALLAST_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import sunspec2.device"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: {python} has no pysunspec2; install it or set BALLAST_TEST_PYTHON");
        return None;
    }
    let output = Command::new(&python).args(["-c", SCRIPT]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let hex = String::from_utf8(output.stdout).unwrap();
    let word = |at: usize| u16::from_str_radix(hex.trim().get(at..at + 4)?, 16).ok();
    Some((0..).map_while(|index| word(4 * index)).collect())
}

fn read(image: &[u16], address: u16, count: u16) -> Answer {
    let start = usize::from(address.checked_sub(40_000).ok_or(Refused)?);
    image.get(start..start + usize::from(count)).map(<[u16]>::to_vec).ok_or(Refused)
}

fn value(image: &[u16], profile: &Profile, measure: Measure) -> Result<f64, Absent> {
    let point = profile.point(measure).unwrap_or_else(|| panic!("no {measure:?}"));
    let mut plan = Plan::new([point]);
    let spans: Vec<_> = (0..).map_while(|position| plan.span(position)).collect();
    for (position, span) in spans.into_iter().enumerate() {
        plan.store(position, &read(image, span.address, span.count).unwrap());
    }
    decode::explain(point, |register| plan.words(register))
}

#[test]
fn what_pysunspec2_encodes_is_what_is_measured() {
    let Some(image) = image() else { return };
    let mut discovery = Discovery::new();
    while let Some(request) = discovery.request() {
        discovery.answer(&read(&image, request.address, request.count));
    }
    let found = discovery.finish().unwrap();
    let models: Vec<u16> = found.iter().map(|found| found.model).collect();
    assert_eq!(models, [203, 213]);
    for found in &found {
        let identity = &found.identity;
        assert_eq!(
            [&identity.manufacturer, &identity.model, &identity.serial].map(String::as_str),
            ["Acme", "EM-3", "42"]
        );
    }
    use Measure::*;
    let measures =
        [Power, PowerL1, PowerL2, PowerL3, VoltageL1, VoltageL2, Frequency, EnergyExport, EnergyImport];
    let integers = [-12_340.0, -10_000.0, -2_340.0, 0.0, 230.1, 229.9, 50.02, 7_000.0, 6_553_900.0].map(Ok);
    let floats = [-1_500.0, 400.25, 300.5, 1_000.0, 230.0, 231.5, 50.0, 500.0, 100_000.0].map(Ok);
    for (found, expected) in found.iter().zip([integers, floats]) {
        let values = measures.map(|measure| value(&image, &found.profile, measure));
        assert_eq!(values, expected, "model {}", found.model);
        assert_eq!(value(&image, &found.profile, VoltageL3), Err(Absent::Unavailable), "not implemented");
    }
}
