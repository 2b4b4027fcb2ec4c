//! A PLC that nobody here wrote (pymodbus): it is given a sign of life for as long as the daemon works, and no longer.
//!
//! Needs a Python with pymodbus 3.16 or later: `python3`, or the one named by `BALLAST_TEST_PYTHON`. Without it the tests say so
//! and pass.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::bench::{Settings, Site, always, eventually, scenario, seconds};

/// The PLC's process, ended with the test.
struct Plc {
    child: Child,
    words: ChildStdin,
    said: Arc<Mutex<Vec<String>>>,
}

impl Drop for Plc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Plc {
    fn start(address: &str) -> Option<Self> {
        let python = std::env::var("BALLAST_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
        let found = Command::new(&python)
            .args(["-c", "from pymodbus.simulator import SimDevice, SimData"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !found {
            eprintln!("SKIPPED: {python} has no pymodbus 3.16; install it or set BALLAST_TEST_PYTHON");
            return None;
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pymodbus_plc.py");
        let mut child = Command::new(&python)
            .args([script, address, "5502"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let (words, lines) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let heard = said.clone();
        std::thread::spawn(move || {
            lines.lines().map_while(Result::ok).for_each(|line| heard.lock().unwrap().push(line));
        });
        let plc = Self { child, words, said };
        eventually("the PLC listens", seconds(60.0), || {
            std::net::TcpStream::connect((address, 5502)).ok().map(drop)
        });
        Some(plc)
    }

    /// Tells it something and waits until it has obeyed.
    fn tell(&mut self, words: &str) {
        writeln!(self.words, "{words}").unwrap();
        let done = format!("done {words}");
        eventually("the PLC obeys", seconds(60.0), || {
            self.said.lock().unwrap().contains(&done).then_some(())
        });
        self.said.lock().unwrap().retain(|line| *line != done);
    }

    /// What was written to a place by a function, in the order in which it came.
    fn writes(&self, function: u8, place: u16) -> Vec<u32> {
        let start = format!("{function} {place} ");
        let said = self.said.lock().unwrap();
        said.iter().filter_map(|line| line.strip_prefix(&start)?.split(' ').next()?.parse().ok()).collect()
    }
}

#[test]
fn a_plc_is_given_a_sign_of_life_for_as_long_as_the_daemon_works_and_no_longer() {
    let site = Site::new();
    let Some(mut plc) = Plc::start(&site.host(60)) else { return };
    let heartbeat = r#"
[heartbeat.contactor]
address = "NET.60:5502"
beat = { holding = 100 }
alive = { coil = 3 }
state = { holding = 101 }
draw = { holding = 102, type = "u32", scale = 1 }
period = "300ms"
"#;
    site.write("site.toml", &site.config(&Settings::default(), heartbeat));
    let _sim = site.simulate("site.toml", &scenario(""));
    let mut daemon = site.run("site.toml");
    let beats = || plc.writes(6, 100);
    eventually("five beats", seconds(60.0), || (beats().len() >= 5).then_some(()));
    let seen = beats();
    for pair in seen.windows(2) {
        assert_eq!(pair[1], pair[0] % 65_535 + 1, "it counts: {seen:?}");
    }
    eventually("it follows the surplus", seconds(10.0), || plc.writes(6, 101).contains(&2).then_some(()));
    assert!(plc.writes(5, 3).iter().all(|value| *value == 1));
    assert!(!plc.writes(16, 102).is_empty(), "the draw is told");
    assert_eq!(daemon.metrics().value("ballast_heartbeat_up{heartbeat=\"contactor\"}"), 1.0);

    // A daemon that hangs: nothing is written.
    daemon.process.signal("STOP");
    std::thread::sleep(seconds(0.5));
    let before = beats().len();
    always("a daemon that hangs gives no sign of life", seconds(1.5), || beats().len(), |now| *now == before);
    daemon.process.signal("CONT");
    eventually("it beats again", seconds(60.0), || (beats().len() > before + 1).then_some(()));

    // A PLC that refuses: told, counted, and an alarm; the fleet is followed on.
    plc.tell("deaf");
    eventually("it is known that nothing is written", seconds(60.0), || {
        let metrics = daemon.metrics();
        (metrics.value("ballast_heartbeat_up{heartbeat=\"contactor\"}") == 0.0
            && metrics
                .get("ballast_alarm_raised{kind=\"heartbeat\",severity=\"warning\",subject=\"contactor\"}")
                == Some(1.0))
        .then_some(())
    });
    assert_eq!(daemon.mode(), "following");
    plc.tell("hear");
    eventually("it is well again", seconds(60.0), || {
        (daemon.metrics().value("ballast_heartbeat_up{heartbeat=\"contactor\"}") == 1.0).then_some(())
    });

    // The end: not one more.
    daemon.process.kill();
    std::thread::sleep(seconds(0.3));
    let last = plc.writes(6, 100).len();
    always(
        "a dead daemon gives no sign of life",
        seconds(1.0),
        || plc.writes(6, 100).len(),
        |now| *now == last,
    );
}

/// A circuit whose emergency stop is the first input of the PLC.
const STOP: &str = r#"
[circuits.fleet.emergency_stop]
meter = "stop"
[links.plc]
tcp = "NET.60:5502"
timeout = "500ms"
[meters.stop]
link = "plc"
unit = 1
power = { function = "discrete", address = 0 }
period = "200ms"
stale_after = "1s"
fail_safe_after = "2s"
[web.tokens.operator]
token = { file = "token" }
scopes = ["operator"]
[store]
path = "state/ballast.db"
"#;

#[test]
fn an_emergency_stop_holds_over_a_restart_until_somebody_releases_it() {
    let site = Site::new();
    let Some(mut plc) = Plc::start(&site.host(60)) else { return };
    std::fs::create_dir(site.path("state")).unwrap();
    let token = site.write("token", "emergency-stop-of-a-test-Zq81x\n");
    std::fs::set_permissions(token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    site.write("site.toml", &site.config(&Settings::default(), STOP));
    // The simulator plays everything but the PLC.
    site.write("plant.toml", &site.config(&Settings::default(), ""));
    let sim = site.simulate("plant.toml", &scenario(""));
    let mut daemon = site.run("site.toml");
    let stopped = |daemon: &crate::bench::Daemon<'_>, state: &str| {
        let series = format!("ballast_circuit_emergency_stop{{circuit=\"fleet\",state=\"{state}\"}}");
        daemon.metrics().get(&series) == Some(1.0)
    };
    let ballast = |arguments: &[&str]| {
        let output = site.ballast(arguments).args(["-c", "site.toml"]).output().unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    };
    let release =
        || ballast(&["stops", "release", "fleet", "--by", "A. Khan", "--note", "the hall is clear"]);
    daemon.reaches("following", 20.0);
    assert!(stopped(&daemon, "ready"));
    plc.tell("open 0");
    eventually("all miners sleep", seconds(15.0), || (sim.truth().fleet < 1_000.0).then_some(()));
    assert!(stopped(&daemon, "open"));
    let (done, said) = release();
    assert!(!done && said.contains("its contact is open"), "{said}");
    let raised = "ballast_alarm_raised{kind=\"emergency-stop\",severity=\"critical\",subject=\"fleet\"}";
    eventually("there is an alarm", seconds(60.0), || {
        (daemon.metrics().get(raised) == Some(1.0)).then_some(())
    });
    plc.tell("close 0");
    eventually("it waits to be released", seconds(60.0), || stopped(&daemon, "latched").then_some(()));

    // A configuration in which the circuit is another one would start what was stopped.
    let renamed = site
        .config(&Settings::default(), STOP)
        .replace("\n[circuits.fleet.emergency_stop]\n", "\n[circuits.pcc.emergency_stop]\n");
    site.write("site.toml", &renamed);
    let (done, said) = ballast(&["reload"]);
    assert!(!done && said.contains("the emergency stop of fleet is latched"), "{said}");
    site.write("site.toml", &site.config(&Settings::default(), STOP));

    // Killed and started anew, it is stopped still.
    daemon.process.kill();
    let daemon = site.run("site.toml");
    eventually("it waits to be released", seconds(60.0), || stopped(&daemon, "latched").then_some(()));
    always("nobody wakes", seconds(4.0), || sim.truth().fleet, |fleet| *fleet < 1_000.0);
    let (_, said) = ballast(&["stops"]);
    assert!(said.contains("waits to be released"), "{said}");
    let (done, said) = release();
    assert!(done && said.contains("is released"), "{said}");
    eventually("miners run", seconds(30.0), || (sim.truth().fleet > 10_000.0).then_some(()));
    let (done, said) = release();
    assert!(!done && said.contains("is not latched"), "{said}");

    // A contact that cannot be read any more.
    plc.tell("deaf");
    eventually("all miners sleep", seconds(15.0), || (sim.truth().fleet < 1_000.0).then_some(()));
    assert!(stopped(&daemon, "unknown"));
    plc.tell("hear");
    eventually("it waits to be released", seconds(60.0), || stopped(&daemon, "latched").then_some(()));
    let ledger = site.read("run.err");
    assert!(ledger.contains("its emergency stop is released"), "{ledger}");
}
