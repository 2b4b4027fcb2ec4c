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
        eventually("the PLC listens", seconds(10.0), || {
            std::net::TcpStream::connect((address, 5502)).ok().map(drop)
        });
        Some(plc)
    }

    /// Tells it something and waits until it has obeyed.
    fn tell(&mut self, words: &str) {
        writeln!(self.words, "{words}").unwrap();
        let done = format!("done {words}");
        eventually("the PLC obeys", seconds(5.0), || self.said.lock().unwrap().contains(&done).then_some(()));
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
    eventually("five beats", seconds(20.0), || (beats().len() >= 5).then_some(()));
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
    eventually("it beats again", seconds(10.0), || (beats().len() > before + 1).then_some(()));

    // A PLC that refuses: told, counted, and an alarm; the fleet is followed on.
    plc.tell("deaf");
    eventually("it is known that nothing is written", seconds(10.0), || {
        let metrics = daemon.metrics();
        (metrics.value("ballast_heartbeat_up{heartbeat=\"contactor\"}") == 0.0
            && metrics
                .get("ballast_alarm_raised{kind=\"heartbeat\",severity=\"warning\",subject=\"contactor\"}")
                == Some(1.0))
        .then_some(())
    });
    assert_eq!(daemon.mode(), "following");
    plc.tell("hear");
    eventually("it is well again", seconds(10.0), || {
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
