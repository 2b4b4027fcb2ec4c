//! Ballast's own simulator, read by a client that nobody here wrote: `mbpoll`, over TCP and over a pseudo-terminal.
//!
//! Needs `mbpoll` (Debian has a package of that name). Without it the test says so and passes.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// Register of the SDM630's total power (Eastron, "SDM630 Modbus protocol", 30053), a float, high word first.
const POWER: &str = "52";

/// `ballast sim`, ended with the test.
struct Sim {
    process: Child,
    lines: Receiver<String>,
    folder: PathBuf,
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A power as the simulator writes it: `58.0 kW`.
fn watts(text: &str) -> f64 {
    let (number, unit) = text.split_once(' ').unwrap_or_else(|| panic!("{text}"));
    let factor = match unit {
        "W" => 1.0,
        "kW" => 1e3,
        "MW" => 1e6,
        _ => panic!("{text}"),
    };
    number.parse::<f64>().unwrap() * factor
}

impl Sim {
    /// A site whose meters hang on a TCP port and on a serial line, two on each. The plant imports 150 kW, and after
    /// some time 1.15 MW.
    fn start(name: &str, port: u16) -> Self {
        let folder = std::env::temp_dir().join(format!("ballast-mbpoll-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let line = folder.join("line");
        let mut config = format!(
            "[site]\nname = \"Test\"\nmode = \"observe\"\n[circuits.pcc]\nmeter = \"grid\"\n\
             [limits.follow-surplus]\ncircuit = \"pcc\"\nimport = \"0 W\"\n\
             [links.net]\ntcp = \"127.0.0.1:{port}\"\n[links.line]\nrtu = \"{}\"\n\
             [miners.one]\ndriver = \"whatsminer-v3\"\ncircuit = \"pcc\"\nmodel = \"m60s\"\naddress = \"127.0.0.1:{}\"\n",
            line.display(),
            free_port(),
        );
        for (meter, link, unit) in
            [("grid", "net", 1), ("hall", "net", 2), ("roof", "line", 1), ("pump", "line", 2)]
        {
            write!(
                config,
                "[meters.{meter}]\nlink = \"{link}\"\nunit = {unit}\nprofile = \"eastron-sdm630\"\n"
            )
            .unwrap();
        }
        let scenario = "description = \"steady, then a step\"\n[generation]\nsteady = \"50 kW\"\n[load]\nbase = \"200 kW\"\n\
                        [miners]\nstart = \"asleep\"\n[metering]\nnoise = \"0 W\"\nlag = \"0s\"\nrefresh = \"50ms\"\n\
                        [readings.hall]\nvalue = \"-12345.5 W\"\n[readings.roof]\nvalue = \"2 MW\"\n\
                        [readings.pump]\nvalue = \"750 W\"\n\
                        [[event]]\nat = \"4s\"\nload = { by = \"1 MW\" }\n";
        let (config_file, scenario_file) = (folder.join("site.toml"), folder.join("scenario.toml"));
        std::fs::write(&config_file, config).unwrap();
        std::fs::write(&scenario_file, scenario).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_ballast"))
            .args(["sim", "--every", "100ms", "--for", "60s", "--config"])
            .arg(&config_file)
            .arg("--scenario")
            .arg(&scenario_file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let sim = Self { process, lines, folder };
        // The first line says that every port is open.
        sim.lines.recv_timeout(Duration::from_secs(60)).expect("the simulator starts");
        sim
    }

    fn line(&self) -> PathBuf {
        self.folder.join("line")
    }

    /// What the simulator says of the import at its connection point, at present.
    fn import(&self) -> f64 {
        while self.lines.try_recv().is_ok() {}
        let line = self.lines.recv_timeout(Duration::from_secs(60)).expect("a line in time");
        let import = line.split(" · ").find_map(|part| part.strip_prefix("import "));
        watts(import.unwrap_or_else(|| panic!("{line}")))
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Whether there is an mbpoll; says so when not.
fn mbpoll_is_there() -> bool {
    let there = Command::new("mbpoll").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        eprintln!("SKIPPED: there is no mbpoll; install the package of that name");
    }
    there
}

/// Reads a float, high word first, from the input registers of a unit, once.
fn mbpoll(unit: u8, place: &[&str]) -> f64 {
    let output = Command::new("mbpoll")
        .args(["-0", "-1", "-B", "-t", "3:float", "-r", POWER, "-c", "1", "-a", &unit.to_string()])
        .args(place)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let value = text.lines().find_map(|line| line.strip_prefix(&format!("[{POWER}]:")));
    let value = value.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    value.trim().parse().unwrap()
}

fn over_tcp(unit: u8, port: u16) -> f64 {
    mbpoll(unit, &["-m", "tcp", "-p", &port.to_string(), "127.0.0.1"])
}

fn over_serial(unit: u8, line: &Path) -> f64 {
    mbpoll(unit, &["-m", "rtu", "-b", "9600", "-P", "none", line.to_str().unwrap()])
}

/// To the precision with which the simulator writes powers.
fn near(one: f64, other: f64) -> bool {
    (one - other).abs() <= other.abs() * 0.005
}

#[test]
fn a_foreign_client_reads_over_tcp_what_the_simulator_says_is_true() {
    if !mbpoll_is_there() {
        return;
    }
    let port = free_port();
    let sim = Sim::start("tcp", port);
    let (truth, read) = (sim.import(), over_tcp(1, port));
    assert!(near(read, truth) && near(read, 150e3), "{read} W were read, {truth} W flow");
    assert!((over_tcp(2, port) + 12_345.5).abs() < 0.01, "the other unit of the same address");
    let mut step = (0.0, 0.0);
    for _ in 0..100 {
        step = (sim.import(), over_tcp(1, port));
        if step.0 > 1e6 && near(step.1, step.0) {
            break;
        }
    }
    assert!(near(step.1, step.0) && near(step.1, 1.15e6), "{step:?}");
}

#[test]
fn a_foreign_client_reads_over_a_serial_line_what_the_scenario_says() {
    if !mbpoll_is_there() {
        return;
    }
    let sim = Sim::start("rtu", free_port());
    for _ in 0..3 {
        assert!((over_serial(1, &sim.line()) - 2e6).abs() < 1.0);
        assert!((over_serial(2, &sim.line()) - 750.0).abs() < 0.01);
    }
}
