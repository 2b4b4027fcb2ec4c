//! What every test here needs: a site of its own in files and on loopback addresses, the program's processes, and
//! eyes on what they say.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use ballast::clock::{Clock, Moment};

/// Also found in logs nowhere: a test looks for it.
pub const PASSWORD: &str = "correct-horse-e2e-Zq81";
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Longest wait for an HTTP answer.
const ANSWER: Duration = Duration::from_secs(5);

pub fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Time since the first call.
pub fn now() -> Moment {
    static CLOCK: OnceLock<Clock> = OnceLock::new();
    CLOCK.get_or_init(Clock::start).now()
}

/// Asks until there is an answer. Panics with `what` when there is none in time.
pub fn eventually<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = now();
    loop {
        if let Some(answer) = look() {
            return answer;
        }
        assert!(now() - begun < within, "not within {within:?}: {what}");
        sleep(LOOK);
    }
}

/// Looks for a while; panics with `what` and the value when one is wrong.
pub fn always<T: std::fmt::Debug>(
    what: &str,
    time: Duration,
    mut look: impl FnMut() -> T,
    good: impl Fn(&T) -> bool,
) {
    let begun = now();
    while now() - begun < time {
        let value = look();
        assert!(good(&value), "{what}, but: {value:?}");
        sleep(LOOK);
    }
}

/// The second number of `127.N.0.0/16`, which this process has for itself: whoever holds the port has the network.
fn network() -> u8 {
    static NETWORK: OnceLock<(u8, TcpListener)> = OnceLock::new();
    let claim = || {
        (90..=250).find_map(|number| {
            let listener = TcpListener::bind((format!("127.{number}.0.1"), 59_842)).ok()?;
            Some((number, listener))
        })
    };
    NETWORK.get_or_init(|| claim().expect("a free loopback network")).0
}

/// Sites that run at the same time. Every one is a simulator and a daemon, and the tests wait for what those do in real
/// time: with more of them on a small machine they would wait for each other.
const PLACES: usize = 5;

static TAKEN: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// One of the places, as long as it lives.
struct Place;

impl Place {
    fn wait() -> Self {
        let taken = TAKEN.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken =
            TAKEN.1.wait_while(taken, |taken| *taken >= PLACES).unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *TAKEN.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        TAKEN.1.notify_one();
    }
}

/// A site: its folder, its addresses, and the processes that were started in it. Everything ends with it; when the
/// test fails, the ends of all logs are shown.
pub struct Site {
    pub folder: PathBuf,
    net: String,
    #[expect(dead_code, reason = "free again when the site is gone")]
    place: Place,
}

impl Site {
    /// Waits for a place. Addresses are never given twice in a run: two tests cannot meet at one.
    pub fn new() -> Self {
        static GIVEN: AtomicU8 = AtomicU8::new(0);
        let place = Place::wait();
        let number = GIVEN.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(number < u8::MAX, "more sites than addresses");
        let folder = std::env::temp_dir().join(format!("ballast-e2e-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let site = Self { folder, net: format!("127.{}.{number}", network()), place };
        let password = site.write("password", &format!("{PASSWORD}\n"));
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(password, private).unwrap();
        site
    }

    /// The address of a device.
    pub fn host(&self, device: u8) -> String {
        format!("{}.{device}", self.net)
    }

    /// Where the daemon serves its pages.
    pub fn listen(&self) -> String {
        format!("{}:9842", self.host(1))
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    pub fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.path(file);
        fs::write(&path, text).unwrap();
        path
    }

    pub fn read(&self, file: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(file)).unwrap_or_default()).into_owned()
    }

    /// A configuration of nine miners of three kinds that follow the surplus: 13.9 kW at their lowest, 27.4 kW at
    /// their highest. `NET` in `more` becomes the network.
    pub fn config(&self, settings: &Settings, more: &str) -> String {
        let Settings { mode, on_exit, fail_safe, follow, grace, feeder } = settings;
        let (feeder_circuit, feeder_meter) = if *feeder {
            (
                format!("meter = \"fleet\"\ndedicated = true\nfail_safe = \"{fail_safe}\""),
                "[meters.fleet]\nlink = \"switchboard\"\nunit = 2\nprofile = \"eastron-sdm630\"\nperiod = \"250ms\"\n\
                 stale_after = \"1500ms\"\nfail_safe_after = \"3s\"\n",
            )
        } else {
            (String::new(), "")
        };
        let mut text = format!(
            r#"
[site]
name = "End to end"
mode = "{mode}"

[control]
period = "250ms"
raise_rate = "10 kW/s"
deadband = "100 W"
min_sleep = "1s"
start_timeout = "5s"
straggler_grace = "{grace}"
on_exit = "{on_exit}"

[web]
listen = "NET.1:9842"

[circuits.pcc]
meter = "pcc"
margin = "500 W"
fail_safe = "{fail_safe}"

[circuits.fleet]
parent = "pcc"
{feeder_circuit}

[links.switchboard]
tcp = "NET.1:5020"
timeout = "500ms"
gap = "5ms"

[meters.pcc]
link = "switchboard"
unit = 1
profile = "eastron-sdm630"
period = "250ms"
stale_after = "1500ms"
fail_safe_after = "3s"

{feeder_meter}
[limits.follow-surplus]
circuit = "pcc"
import = "{follow}"
class = "surplus"
"#
        );
        let groups = [
            ("v2", "whatsminer-v2", "m30s-plus-plus", 4028, 11),
            ("v3", "whatsminer-v3", "m60s", 4433, 21),
            ("bos", "braiins-os", "s19k-pro", 8080, 31),
        ];
        for (name, driver, model, port, first) in groups {
            text.push_str(&format!(
                r#"
[groups.{name}]
driver = "{driver}"
model = "{model}"
circuit = "fleet"
addresses = ["NET.{first}-NET.{last}"]
port = {port}
credentials = {{ password_file = "password" }}
timeout = "2s"
poll_period = "500ms"
silent_after = "6s"
start_time = "1s"
dead_time_down = "300ms"
dead_time_up = "300ms"
ramp_down = "1 kW/s"
ramp_up = "500 W/s"
min_interval = "500ms"
adjust_cost = "1s"
"#,
                last = first + 2,
            ));
        }
        text.push_str(more);
        text.replace("NET", &self.net)
    }

    /// `ballast` with arguments, in the site's folder, with a clean environment.
    pub fn ballast(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ballast"));
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null());
        for name in ["BALLAST_LOG", "JOURNAL_STREAM", "NOTIFY_SOCKET", "WATCHDOG_USEC", "NO_COLOR"] {
            command.env_remove(name);
        }
        command
    }

    /// Starts a command whose words go to `NAME.out` and `NAME.err`.
    pub fn spawn(&self, name: &'static str, command: &mut Command) -> Process {
        let to = |end| {
            let path = self.path(&format!("{name}.{end}"));
            File::options().create(true).append(true).open(path).unwrap()
        };
        let child = command.stdout(to("out")).stderr(to("err")).spawn();
        Process(child.unwrap_or_else(|error| panic!("{name} does not start: {error}")))
    }

    /// Starts a command whose words somebody reads, and may stop reading.
    pub fn pipe(&self, command: &mut Command) -> Process {
        Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// The simulated site, served from `FILE.toml` under the scenario; it says the truth ten times a second.
    pub fn simulate(&self, config: &str, scenario: &str) -> Sim<'_> {
        self.write("scenario.toml", scenario);
        self.simulated(self.ballast(&["sim", "-c", config, "-s", "scenario.toml", "--every", "100ms"]))
    }

    /// The simulated site by a command of the test's own.
    pub fn simulated(&self, mut command: Command) -> Sim<'_> {
        let process = self.spawn("sim", &mut command);
        let sim = Sim { process, site: self };
        eventually("the simulated site is served", seconds(60.0), || {
            sim.site.read("sim.out").contains("are served").then_some(())
        });
        sim
    }

    /// The daemon. Returns when it serves its pages.
    pub fn run(&self, config: &str) -> Daemon<'_> {
        let daemon =
            Daemon { process: self.spawn("run", &mut self.ballast(&["run", "-c", config])), site: self };
        daemon.serves();
        daemon
    }

    /// Asks for a page of the daemon: the body, whatever the code; `None` while nobody answers.
    pub fn get(&self, path: &str) -> Option<String> {
        get(&self.listen(), path)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut files: Vec<_> =
                fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|file| file.path()).collect();
            files.sort();
            for file in files.iter().filter(|file| is_log(file)) {
                let text = String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned();
                let lines: Vec<_> = text.lines().collect();
                let tail = lines.get(lines.len().saturating_sub(25)..).unwrap_or_default();
                eprintln!("---- the end of {}\n{}", file.display(), tail.join("\n"));
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "out" || end == "err")
}

/// What differs between the sites of the tests.
pub struct Settings {
    pub mode: &'static str,
    pub on_exit: &'static str,
    pub fail_safe: &'static str,
    /// What may be imported.
    pub follow: &'static str,
    /// How late a miner may be.
    pub grace: &'static str,
    /// A second meter sees the miners alone.
    pub feeder: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: "control",
            on_exit: "hold",
            fail_safe: "15 kW",
            follow: "0 W",
            grace: "2s",
            feeder: false,
        }
    }
}

/// A surplus of 24 kW that stays, and miners that draw 22 kW; `more` are events.
pub fn scenario(more: &str) -> String {
    format!(
        r#"
description = "End to end"
[generation]
steady = "60 kW"
[load]
base = "36 kW"
[miners]
start = "hashing"
at = "80 %"
[metering]
refresh = "100ms"
lag = "100ms"
{more}
"#
    )
}

/// A process that ends with the test.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Sends a signal such as `TERM`.
    pub fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.0.id());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success(), "{line}");
    }

    /// Types a line on the terminal in front of it.
    pub fn type_line(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// How it ended, once it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// Waits until it has ended by itself, and returns its exit code.
    pub fn code(&mut self, within: Duration) -> i32 {
        let status = eventually("the process ends", within, || self.ended());
        status.code().unwrap_or_else(|| panic!("ended by a signal: {status}"))
    }

    /// Nobody reads what it says any more.
    pub fn hang_up_on(&mut self) {
        drop((self.0.stdout.take(), self.0.stderr.take()));
    }

    pub fn stdin(&mut self) -> &mut std::process::ChildStdin {
        self.0.stdin.as_mut().expect("a pipe")
    }
}

/// The simulated site in its process.
pub struct Sim<'s> {
    #[expect(dead_code, reason = "ends with the value")]
    process: Process,
    site: &'s Site,
}

/// One line of the simulated site: the truth.
#[derive(Clone, Copy, Debug)]
pub struct Truth {
    pub surplus: f64,
    pub fleet: f64,
    /// Import is positive.
    pub pcc: f64,
}

impl Sim<'_> {
    /// Everything it has said so far, ten lines a second.
    pub fn truths(&self) -> Vec<Truth> {
        let said = self.site.read("sim.out");
        let whole = said.rfind('\n').and_then(|end| said.get(..end)).unwrap_or_default();
        whole.lines().filter_map(truth).collect()
    }

    /// The latest.
    pub fn truth(&self) -> Truth {
        eventually("the simulated site says a line", seconds(60.0), || self.truths().last().copied())
    }
}

fn truth(line: &str) -> Option<Truth> {
    let pcc = power(line, "import ").or_else(|| power(line, "export ").map(|power| -power))?;
    Some(Truth { surplus: power(line, "surplus ")?, fleet: power(line, "fleet ")?, pcc })
}

/// The power in watts that stands behind a word.
fn power(line: &str, word: &str) -> Option<f64> {
    let (_, rest) = line.split_once(word)?;
    let mut parts = rest.split_whitespace();
    let value: f64 = parts.next()?.parse().ok()?;
    match parts.next()? {
        "W" => Some(value),
        "kW" => Some(value * 1e3),
        "MW" => Some(value * 1e6),
        _ => None,
    }
}

/// The daemon in its process.
pub struct Daemon<'s> {
    pub process: Process,
    pub site: &'s Site,
}

impl<'s> Daemon<'s> {
    fn serves(&self) {
        eventually("the daemon serves its pages", seconds(60.0), || self.site.get("/healthz"));
    }

    /// Another daemon process, for a command that needs more than [`Site::run`] gives.
    pub fn of(site: &'s Site, process: Process) -> Self {
        let daemon = Self { process, site };
        daemon.serves();
        daemon
    }

    pub fn metrics(&self) -> Metrics {
        Metrics(eventually("the daemon gives its metrics", seconds(60.0), || self.site.get("/metrics")))
    }

    pub fn mode(&self) -> String {
        self.metrics().mode()
    }

    /// Waits for a state of the controller.
    pub fn reaches(&self, mode: &str, within: f64) {
        eventually(&format!("the mode is {mode}"), seconds(within), || (self.mode() == mode).then_some(()));
    }

    /// One value; it must be there.
    pub fn value(&self, series: &str) -> f64 {
        self.metrics().value(series)
    }

    pub fn log(&self) -> String {
        self.site.read("run.err")
    }
}

/// A scrape.
pub struct Metrics(String);

impl Metrics {
    /// The value of a series, written as in the scrape.
    pub fn get(&self, series: &str) -> Option<f64> {
        self.all(series).find(|(name, _)| *name == series).map(|(_, value)| value)
    }

    pub fn value(&self, series: &str) -> f64 {
        self.get(series).unwrap_or_else(|| panic!("{series} is not in the scrape"))
    }

    /// Every series that begins so.
    pub fn all<'m>(&'m self, begin: &'m str) -> impl Iterator<Item = (&'m str, f64)> {
        self.0.lines().filter(move |line| line.starts_with(begin)).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name, value.parse().ok()?))
        })
    }

    /// The sum of every series that begins so.
    pub fn sum(&self, begin: &str) -> f64 {
        self.all(begin).map(|(_, value)| value).sum()
    }

    /// The state of the controller.
    pub fn mode(&self) -> String {
        let on = self.all("ballast_mode{").find(|(_, value)| *value > 0.5);
        on.and_then(|(name, _)| name.split('"').nth(1)).unwrap_or("none").to_owned()
    }

    pub fn text(&self) -> &str {
        &self.0
    }
}

/// A GET over HTTP 1.0, whose answer ends with the connection.
pub fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// Says straight to the terminal that a test cannot run here: what a passing test prints is hidden.
pub fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}
