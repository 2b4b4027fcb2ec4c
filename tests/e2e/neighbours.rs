//! Programs of others on both sides: an energy manager by pymodbus whose register is followed, and Prometheus.

use std::io::{ErrorKind, Write as _};
use std::process::{Command, Stdio};

use crate::bench::{Process, Settings, Site, always, eventually, get, scenario, seconds, skip};

/// The energy manager, serving a number of watts.
struct Register {
    process: Process,
}

impl Register {
    /// `None`, and a word about it, where Python has no pymodbus.
    fn serve(site: &Site, watts: u32) -> Option<Self> {
        let python = std::env::var("BALLAST_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
        let found = Command::new(&python)
            .args(["-c", "from pymodbus.simulator import SimDevice, SimData"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !found {
            skip(&format!("{python} has no pymodbus 3.16; install it or set BALLAST_TEST_PYTHON"));
            return None;
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pymodbus_surplus.py");
        let command = &mut Command::new(python);
        let command = command.args([script, &site.host(2), "5021"]).stdin(Stdio::piped());
        let mut register = Self { process: site.spawn("pymodbus", command) };
        register.set(watts);
        Some(register)
    }

    fn set(&mut self, watts: u32) {
        writeln!(self.process.stdin(), "{}", watts / 10).unwrap();
    }
}

#[test]
fn a_surplus_register_served_by_pymodbus_is_followed() {
    let site = Site::new();
    let Some(mut register) = Register::serve(&site, 20_000) else { return };
    // The simulated site does not have the energy manager, and its own meter never binds.
    let settings = Settings { follow: "100 kW", ..Settings::default() };
    site.write("plant.toml", &site.config(&settings, ""));
    let manager = r#"
[links.manager]
tcp = "NET.2:5021"
timeout = "500ms"
connect_timeout = "500ms"

[meters.manager]
link = "manager"
unit = 7
period = "300ms"
stale_after = "1500ms"
fail_safe_after = "3s"
power = { function = "holding", address = 40, format = "u16", scale = 10, unavailable = [0xFFFF] }

[limits.free-power]
circuit = "fleet"
miners = { reading = "manager", fail_safe = "14500 W" }
class = "surplus"
"#;
    site.write("site.toml", &site.config(&settings, manager));
    let sim = site.simulate("plant.toml", &scenario(""));
    let daemon = site.run("site.toml");

    let below = |value: f64, within: f64| {
        let what = format!("the fleet is set and comes below {value} W");
        eventually(&what, seconds(within), || {
            let set = daemon.metrics().get("ballast_fleet_setpoint_watts")?;
            (set > 13_000.0 && set <= value && sim.truth().fleet <= 1.01 * value).then_some(())
        });
    };
    let above = |value: f64, within: f64| {
        eventually(&format!("the fleet rises above {value} W"), seconds(within), || {
            (sim.truth().fleet > value).then_some(())
        });
    };
    let stays_below = |value: f64| {
        always(
            &format!("the setpoints stay below {value} W"),
            seconds(1.5),
            || daemon.value("ballast_fleet_setpoint_watts"),
            |set| *set <= value,
        );
    };
    below(20_000.0, 10.0);
    above(18_500.0, 10.0);
    stays_below(20_000.0);
    register.set(16_000);
    below(16_000.0, 5.0);
    stays_below(16_000.0);
    register.set(22_000);
    above(20_500.0, 15.0);
    stays_below(22_000.0);
    assert_eq!(daemon.value("ballast_binding_limit_info{circuit=\"fleet\",source=\"free-power\"}"), 1.0);

    register.process.kill();
    below(14_500.0, 8.0);
    assert_eq!(daemon.value("ballast_meter_up{meter=\"manager\"}"), 0.0);
    let mut register = Register::serve(&site, 19_000).expect("it was there before");
    above(17_500.0, 20.0);
    stays_below(19_000.0);
    // "No value" is no zero and no 655 kW: it is a lost reading.
    register.set(655_350);
    below(14_500.0, 8.0);
}

#[test]
fn prometheus_scrapes_it() {
    let site = Site::new();
    site.write("site.toml", &site.config(&Settings::default(), ""));
    site.write(
        "prometheus.yml",
        &format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n  - job_name: ballast\n    \
             static_configs:\n      - targets: ['{}']\n",
            site.listen()
        ),
    );
    let address = format!("{}:9090", site.host(3));
    let mut command = Command::new("prometheus");
    let command = command
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=prometheus", "--log.level=warn"])
        .arg(format!("--web.listen-address={address}"))
        .current_dir(&site.folder);
    match Command::new("prometheus").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return skip("prometheus is not installed (Debian: apt-get install prometheus)");
        }
        status => assert!(status.unwrap().success()),
    }
    let _sim = site.simulate("site.toml", &scenario(""));
    let daemon = site.run("site.toml");
    daemon.reaches("following", 8.0);
    let mut prometheus = site.spawn("prometheus", command);

    let ask = |query: &str| -> Option<f64> {
        let answer: serde_json::Value =
            serde_json::from_str(&get(&address, &format!("/api/v1/query?query={query}"))?).ok()?;
        answer.pointer("/data/result/0/value/1")?.as_str()?.parse().ok()
    };
    let up = eventually("Prometheus has scraped", seconds(60.0), || ask("up").filter(|up| *up > 0.0));
    assert_eq!(up, 1.0);
    let stored = eventually("Prometheus has the fleet", seconds(60.0), || ask("ballast_fleet_power_watts"));
    let now = daemon.value("ballast_fleet_power_watts");
    assert!((stored - now).abs() < 0.2 * now, "stored {stored}, now {now}");
    eventually("the meter is read about four times a second", seconds(15.0), || {
        let rate = ask("sum(rate(ballast_meter_reads_total{result=%22ok%22}[10s]))")?;
        (2.0..8.0).contains(&rate).then_some(())
    });
    prometheus.signal("TERM");
    assert_eq!(prometheus.code(seconds(10.0)), 0);
}
