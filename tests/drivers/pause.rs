//! Servers that are paused by their tenant's hook: over HTTP against a little service, and by a command that is a script.

use crate::drivers_rest;
use crate::drivers_support;
use crate::zeusd;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ballast::clock::{Clock, Moment};
use ballast::config::{self, Config, ExitPolicy, Options};
use ballast::control::commands::correction;
use ballast::control::decision::{Cause, MinerState};
use ballast::control::farewell::Leave;
use ballast::control::response::Track;
use ballast::control::site::{Cap, MinerId};
use ballast::control::snapshot::{
    Activity, Contact, HeldMiner, Hold, Measured, MinerInput, MinerStatus, Reading, Rejection, Target,
};
use ballast::daemon::Daemon;
use ballast::daemon::fleet::Fleet;
use ballast::miner::pause::{Pause, Paused, State, Way};
use ballast::miner::{Connection, Driver, DriverError, DriverKind, Urgency, http_client};
use ballast::secret::Secret;
use ballast::units::Watts;
use drivers_rest::{Reply, Seen, Server, reply};
use drivers_support::{Misbehaviour, PASSWORD, connection, example, hall, misbehaving, nobody, power};
use serde_json::{Value, json};

const LOWEST: i32 = 3_000;
const IDLE: i32 = 600;

/// What the server and its hook were told, in order.
type Log = Arc<Mutex<Vec<String>>>;

/// A server without a wire.
struct Stub {
    log: Log,
    draw: Arc<Mutex<i32>>,
    refuses: bool,
}

#[async_trait]
impl Driver for Stub {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        let power = Measured::Value(Watts::whole(*self.draw.lock().unwrap()));
        let target = Measured::Value(Target::Power(Watts::whole(LOWEST)));
        Ok(MinerStatus { power, target, activity: Activity::Hashing, ..MinerStatus::default() })
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        let told = match target {
            Target::Sleep => "cap sleep".to_owned(),
            Target::Power(power) => format!("cap {:.0}", power.get()),
        };
        self.log.lock().unwrap().push(told);
        if !self.refuses {
            return Ok(());
        }
        let endpoint = connection(DriverKind::Redfish, "127.0.0.1:443".parse().unwrap()).endpoint;
        Err(DriverError::Rejected { endpoint, exchange: "a cap", reason: Rejection::Busy })
    }

    async fn close(&mut self) {}
}

/// A server with a hook.
struct Bench {
    driver: Paused,
    log: Log,
    draw: Arc<Mutex<i32>>,
}

fn bench_named(name: &str, way: Way, refuses: bool, log: Log) -> Bench {
    bench_of(name, way, refuses, log, Duration::from_millis(700))
}

fn bench_of(name: &str, way: Way, refuses: bool, log: Log, timeout: Duration) -> Bench {
    let settings = Arc::new(Pause {
        way,
        notice: Duration::from_secs(45),
        timeout,
        lowest: Watts::whole(LOWEST),
        draw: Watts::whole(IDLE),
    });
    let connection = Connection {
        name: name.into(),
        pause: Some(Arc::clone(&settings)),
        ..connection(DriverKind::Redfish, "127.0.0.1:443".parse().unwrap())
    };
    let draw = Arc::new(Mutex::new(5_000));
    let stub = Stub { log: Arc::clone(&log), draw: Arc::clone(&draw), refuses };
    let driver = Paused::new(Box::new(stub), &connection, &settings, &http_client().unwrap());
    Bench { driver, log, draw }
}

impl Bench {
    fn new(way: Way) -> Self {
        bench_named("gpu-1", way, false, Log::default())
    }

    async fn read(&mut self) -> MinerStatus {
        self.driver.read().await.unwrap()
    }

    async fn activity(&mut self) -> Activity {
        self.read().await.activity
    }

    fn draws(&self, watts: i32) {
        *self.draw.lock().unwrap() = watts;
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

fn over_http(url: &str) -> Way {
    Way::Http { url: url.parse().unwrap(), token: Some(Secret::new("t0ken".to_owned())), trust: None }
}

fn words(result: Result<(), DriverError>) -> String {
    match result {
        Err(DriverError::Rejected { reason: Rejection::Other(words), .. }) => words.to_string(),
        other => panic!("expected a no in words, got {other:?}"),
    }
}

/// What a service of a tenant's does with its work.
struct Tenant {
    state: Arc<Mutex<State>>,
    server: Server,
}

impl Tenant {
    /// Pauses at once, or takes its time for ever.
    async fn start(log: &Log, pauses: State) -> Self {
        let state = Arc::new(Mutex::new(State::Running));
        let (log, told) = (Arc::clone(log), Arc::clone(&state));
        let server = Server::start(move |seen: &Seen| answer(seen, &log, &told, pauses)).await;
        Self { state, server }
    }

    fn way(&self) -> Way {
        over_http(&format!("http://{}/jobs/pause?rack=7", self.server.address))
    }

    /// As the configuration has it.
    fn table(&self) -> String {
        let address = self.server.address;
        format!("{{ url = \"http://{address}/jobs/pause?rack=7\", token_file = \"t\", draw = \"300 W\" }}")
    }

    fn is(&self, state: State) {
        *self.state.lock().unwrap() = state;
    }
}

fn answer(seen: &Seen, log: &Log, state: &Mutex<State>, pauses: State) -> Reply {
    assert_eq!(seen.header("authorization"), Some("Bearer t0ken"));
    let mut state = state.lock().unwrap();
    if seen.line.starts_with("POST") {
        let asked: Value = serde_json::from_str(&seen.body).unwrap();
        let action = asked["action"].as_str().unwrap().to_owned();
        *state = if action == "pause" { pauses } else { State::Running };
        log.lock().unwrap().push(action);
    }
    reply(200, json!({ "state": state.name() }).to_string())
}

#[tokio::test]
async fn a_server_is_paused_and_resumed_in_order() {
    let log = Log::default();
    let tenant = Tenant::start(&log, State::Paused).await;
    let mut bench = bench_named("gpu-1", tenant.way(), false, Arc::clone(&log));
    assert_eq!(bench.activity().await, Activity::Hashing);
    bench.driver.apply(power(4_000), Urgency::Normal).await.unwrap();
    assert_eq!(bench.take(), ["cap 4000"], "whoever runs is not resumed");
    bench.driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    let mut told = bench.take();
    told.sort_unstable();
    assert_eq!(told, ["cap 3000", "pause"], "the lowest cap of the configuration, and never below it");
    bench.draws(IDLE);
    let status = bench.read().await;
    assert_eq!((status.activity, status.target), (Activity::Asleep, Measured::Value(Target::Sleep)));
    bench.driver.apply(power(3_500), Urgency::Normal).await.unwrap();
    assert_eq!(bench.take(), ["cap 3500", "resume"], "it comes back under its new cap");
    bench.draws(3_500);
    assert_eq!(bench.activity().await, Activity::Hashing);
    let posts: Vec<Seen> =
        tenant.server.log().into_iter().filter(|seen| seen.line.starts_with("POST")).collect();
    assert_eq!(posts.len(), 2);
    assert_eq!(posts[0].line, "POST /jobs/pause?rack=7");
    let body: Value = serde_json::from_str(&posts[0].body).unwrap();
    assert_eq!((&body["server"], &body["notice_seconds"]), (&json!("gpu-1"), &json!(45)));
    assert!(body["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    let body: Value = serde_json::from_str(&posts[1].body).unwrap();
    assert_eq!((&body["action"], &body["notice_seconds"]), (&json!("resume"), &json!(0)));
}

#[tokio::test]
async fn whoever_is_still_pausing_runs_and_whoever_draws_is_not_paused_whatever_the_hook_says() {
    let log = Log::default();
    let tenant = Tenant::start(&log, State::Pausing).await;
    let mut bench = bench_named("gpu-1", tenant.way(), false, Arc::clone(&log));
    bench.driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    bench.draws(LOWEST);
    for _ in 0..3 {
        assert_eq!(bench.activity().await, Activity::Hashing, "accepted is not applied");
    }
    tenant.is(State::Paused);
    assert_eq!(bench.activity().await, Activity::Hashing, "its draw is believed and not its word");
    bench.draws(IDLE);
    assert_eq!(bench.activity().await, Activity::Asleep);
}

#[tokio::test]
async fn after_a_restart_a_paused_server_is_found_paused_and_can_be_resumed() {
    let log = Log::default();
    let tenant = Tenant::start(&log, State::Paused).await;
    tenant.is(State::Paused);
    let mut bench = bench_named("gpu-1", tenant.way(), false, Arc::clone(&log));
    bench.draws(IDLE);
    assert_eq!(bench.activity().await, Activity::Asleep);
    assert!(bench.take().is_empty(), "reading tells nobody anything");
    bench.driver.apply(power(3_200), Urgency::Normal).await.unwrap();
    assert_eq!(bench.take(), ["cap 3200", "resume"]);
    // One that was not read yet may be paused.
    let mut bench = bench_named("gpu-1", tenant.way(), false, Arc::clone(&log));
    bench.driver.apply(power(3_200), Urgency::Normal).await.unwrap();
    assert_eq!(bench.take(), ["resume", "cap 3200"]);
}

#[tokio::test]
async fn a_hook_that_says_no_is_told_and_the_cap_goes_down_all_the_same() {
    let server = Server::start(|seen: &Seen| {
        let post = seen.line.starts_with("POST");
        let no = json!({ "error": "job 17 is\nin its last minute; t0ken" }).to_string();
        if post { reply(409, no) } else { reply(200, r#"{"state":"running"}"#) }
    })
    .await;
    let mut bench = Bench::new(over_http(&format!("http://{}/", server.address)));
    let told = words(bench.driver.apply(Target::Sleep, Urgency::Shed).await);
    assert!(told.contains("409") && told.contains("job 17 is in its last minute"), "{told}");
    assert!(!told.contains("t0ken") && !told.contains('\n'), "{told}");
    assert_eq!(bench.take(), ["cap 3000"]);
    assert_eq!(bench.activity().await, Activity::Hashing);
}

#[tokio::test]
async fn without_its_hook_it_is_unknown_what_a_server_does_and_caps_go_on() {
    let mut bench = Bench::new(over_http(&format!("http://{}/", nobody().await)));
    assert_eq!(bench.activity().await, Activity::Unknown, "it counts at what it draws");
    bench.draws(IDLE);
    let Activity::Fault(fault) = bench.activity().await else { panic!("nobody can tell") };
    assert!(fault.contains("hook") && fault.contains("cannot be reached"), "{fault}");
    bench.driver.apply(power(4_000), Urgency::Shed).await.unwrap();
    assert_eq!(bench.take(), ["cap 4000"], "a shed waits for no hook");
    let told = words(bench.driver.apply(power(5_000), Urgency::Normal).await);
    assert!(told.contains("cannot be reached"), "{told}");
    assert!(bench.take().is_empty(), "what may be paused is not raised without having been resumed");
    words(bench.driver.apply(Target::Sleep, Urgency::Shed).await);
    assert_eq!(bench.take(), ["cap 3000"]);
}

#[tokio::test]
async fn a_hook_that_hangs_or_speaks_nonsense_costs_no_more_than_its_time() {
    for how in drivers_support::MISBEHAVIOURS {
        let mut bench = Bench::new(over_http(&format!("http://{}/", misbehaving(how).await)));
        let asking = async {
            let status = bench.read().await;
            assert_eq!(status.activity, Activity::Unknown, "{how:?}");
            let outcome = bench.driver.apply(Target::Sleep, Urgency::Shed).await;
            assert!(
                matches!(outcome, Err(DriverError::Timeout { .. } | DriverError::Malformed { .. })),
                "{how:?}: {outcome:?}"
            );
            if matches!(how, Misbehaviour::Silence) {
                assert!(outcome.unwrap_err().to_string().contains("the pause hook"), "{how:?}");
            }
        };
        tokio::time::timeout(Duration::from_secs(5), asking).await.unwrap();
        assert_eq!(bench.take(), ["cap 3000"], "{how:?}");
        // What came of it nobody knows: it is resumed, and under its cap.
        assert!(bench.driver.apply(power(3_300), Urgency::Normal).await.is_err());
        assert_eq!(bench.take(), ["cap 3300"], "{how:?}");
    }
}

#[tokio::test]
async fn nobody_comes_back_whose_cap_cannot_be_set() {
    let log = Log::default();
    let tenant = Tenant::start(&log, State::Paused).await;
    let mut bench = bench_named("gpu-1", tenant.way(), true, Arc::clone(&log));
    bench.draws(IDLE);
    bench.driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert_eq!(bench.activity().await, Activity::Asleep, "it is paused, whatever its cap");
    bench.take();
    let outcome = bench.driver.apply(power(4_000), Urgency::Normal).await;
    assert!(matches!(outcome, Err(DriverError::Rejected { reason: Rejection::Busy, .. })));
    assert_eq!(bench.take(), ["cap 4000"]);
}

#[tokio::test]
async fn a_pause_that_is_called_off_before_it_began_is_resumed_though_its_hook_says_that_it_runs() {
    let log = Log::default();
    // It says yes, and has told nobody yet.
    let tenant = Tenant::start(&log, State::Running).await;
    let mut bench = bench_named("gpu-1", tenant.way(), false, Arc::clone(&log));
    bench.driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    bench.take();
    for _ in 0..3 {
        assert_eq!(bench.activity().await, Activity::Hashing);
    }
    bench.driver.apply(power(3_500), Urgency::Normal).await.unwrap();
    assert_eq!(bench.take(), ["cap 3500", "resume"]);
    assert_eq!(bench.activity().await, Activity::Hashing);
    bench.driver.apply(power(4_000), Urgency::Normal).await.unwrap();
    assert_eq!(bench.take(), ["cap 4000"], "it has said since that it goes on");
    // One that was seen to begin, and goes on: its tenant wanted that.
    bench.driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    bench.take();
    for state in [State::Pausing, State::Running, State::Running] {
        tenant.is(state);
        assert_eq!(bench.activity().await, Activity::Hashing);
    }
    bench.driver.apply(power(4_000), Urgency::Normal).await.unwrap();
    assert_eq!(bench.take(), ["cap 4000"]);
}

#[tokio::test]
async fn a_hook_that_says_no_the_second_time_is_resumed_from_the_first() {
    let log = Log::default();
    let told = Arc::clone(&log);
    let server = Server::start(move |seen: &Seen| {
        let mut told = told.lock().unwrap();
        if seen.line.starts_with("POST") {
            let asked: Value = serde_json::from_str(&seen.body).unwrap();
            told.push(asked["action"].as_str().unwrap().to_owned());
        }
        let pauses = told.iter().filter(|action| *action == "pause").count();
        let again = pauses > 1 && told.last().is_some_and(|action| action == "pause");
        if again && seen.line.starts_with("POST") {
            reply(409, r#"{"error": "it has been asked already"}"#)
        } else {
            reply(200, r#"{"state":"running"}"#)
        }
    })
    .await;
    let way = over_http(&format!("http://{}/", server.address));
    let mut bench = bench_named("gpu-1", way, false, Log::default());
    bench.driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    words(bench.driver.apply(Target::Sleep, Urgency::Shed).await);
    assert_eq!(bench.activity().await, Activity::Hashing);
    bench.driver.apply(power(4_000), Urgency::Normal).await.unwrap();
    assert_eq!(*log.lock().unwrap(), ["pause", "pause", "resume"]);
}

#[tokio::test]
async fn whoever_was_left_in_doubt_by_a_shed_is_told_again_by_the_law_and_resumed() {
    let log = Log::default();
    let tenant = Tenant::start(&log, State::Running).await;
    let mut bench = bench_named("gpu-1", tenant.way(), false, Arc::clone(&log));
    bench.driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    bench.take();
    bench.driver.apply(power(3_200), Urgency::Shed).await.unwrap();
    assert_eq!(bench.take(), ["cap 3200"], "a shed waits for no hook");
    // The pause comes after all.
    tenant.is(State::Paused);
    bench.draws(IDLE);
    let status = bench.read().await;
    assert_eq!(status.activity, Activity::Asleep);
    let config = hooked("127.0.0.1:4938".parse().unwrap(), "control", "9 kW", &tenant.table());
    let mut track = Track::default();
    track.setpoint = Some(power(3_200));
    track.state = MinerState::Starting;
    let now = Moment::after_start(Duration::from_secs(100));
    let status = Some(Reading { value: status, at: now });
    let input = MinerInput { contact: Contact::Reachable, status, delivery: None };
    let told = correction(&config.site.miners[0], &track, &input, (false, Target::Sleep), now);
    assert_eq!(told, Some((power(3_200), Cause::Reapply)));
    // It draws less than that, so there is time (`Fleet::send`).
    bench.driver.apply(power(3_200), Urgency::Normal).await.unwrap();
    assert_eq!(bench.take(), ["cap 3200", "resume"]);
}

#[tokio::test]
async fn a_hook_that_hangs_holds_up_no_reading_but_the_first() {
    let way = over_http(&format!("http://{}/", misbehaving(Misbehaviour::Silence).await));
    let mut bench = bench_of("gpu-1", way, false, Log::default(), Duration::from_secs(5));
    assert_eq!(bench.activity().await, Activity::Unknown);
    let clock = Clock::start();
    for _ in 0..4 {
        assert_eq!(bench.activity().await, Activity::Unknown);
    }
    // Each question is waited for for two seconds.
    let took = clock.now().since_start();
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn what_a_slow_hook_said_in_the_round_before_stands_until_it_has_answered() {
    let script = Script::new("thinks", "sleep 0.8\ncat state");
    let says = |state: State| std::fs::write(script.0.join("state"), state.name()).unwrap();
    says(State::Running);
    let mut bench = bench_of("gpu-1", script.way(&[]), false, Log::default(), Duration::from_secs(5));
    assert_eq!(bench.activity().await, Activity::Hashing, "the first answer is waited for");
    says(State::Paused);
    bench.draws(IDLE);
    assert_eq!(bench.activity().await, Activity::Hashing);
    for _ in 0..100 {
        if bench.activity().await == Activity::Asleep {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("its answer is never heard");
}

/// A site with one server, which draws 900 W.
fn hooked(address: SocketAddr, mode: &str, cap: &str, pause: &str) -> Config {
    let text = format!(
        "[site]\nname = \"s\"\nmode = \"{mode}\"\n[circuits.hall]\n[limits.cap]\ncircuit = \"hall\"\nminers = \"{cap}\"\n\
         [miners.gpu-1]\ndriver = \"zeusd\"\ncircuit = \"hall\"\naddress = \"{address}\"\nbase = \"400 W\"\n\
         minimum = \"1 kW\"\nmaximum = \"1050 W\"\nnameplate = \"1100 W\"\ncredentials = {{ password_file = \"p\" }}\n\
         poll_period = \"500ms\"\nclass = \"interruptible\"\npause = {pause}\n"
    );
    let options = Options { files: &[("p", PASSWORD), ("t", "t0ken")], ..Options::default() };
    let mut config =
        config::parse(&text, Path::new("site.toml"), &options).unwrap_or_else(|errors| panic!("{errors}"));
    config.web.listen = "127.0.0.1:0".parse().unwrap();
    config
}

async fn until_it_is(fleet: &Fleet, activity: &Activity) {
    for _ in 0..1_000 {
        let inputs = fleet.inputs();
        let status = inputs.first().and_then(|input| input.status.as_ref());
        if status.is_some_and(|status| status.value.activity == *activity) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it is never {activity:?}: {:?}", fleet.inputs());
}

fn posts(server: &Server) -> usize {
    server.log().iter().filter(|seen| seen.line.starts_with("POST")).count()
}

#[tokio::test]
async fn the_end_of_the_daemon_waits_for_a_hook_as_long_as_that_may_take() {
    let server = zeusd::serve().await;
    let script = Script::new(
        "slow",
        "case $1 in state) if [ -e resumed ]; then echo running; else echo paused; fi;;\n\
         resume) sleep 5; touch resumed;; esac",
    );
    let program = script.0.join("pause-job");
    let pause = format!("{{ command = [\"{}\"], draw = \"900 W\", timeout = \"20s\" }}", program.display());
    let fleet = Fleet::start(&hooked(server.address, "control", "9 kW", &pause), Clock::start()).unwrap();
    until_it_is(&fleet, &Activity::Asleep).await;
    // Three seconds for the answers, and one more for what is on its way, are not enough.
    let clock = Clock::start();
    fleet.stop(ExitPolicy::Restore, 0, &[Leave::Highest], &[]).await;
    assert!(script.0.join("resumed").exists(), "it was resumed to its end");
    let took = clock.now().since_start();
    assert!(took < Duration::from_secs(15), "and no longer waited for than that: {took:?}");
}

#[tokio::test]
async fn a_configuration_that_would_leave_paused_work_to_nobody_is_told_from_one_that_does_not() {
    let (server, log) = (zeusd::serve().await, Log::default());
    let tenant = Tenant::start(&log, State::Paused).await;
    tenant.is(State::Paused);
    // The server draws so much whatever is asked of it.
    let table = tenant.table().replace("300 W", "900 W");
    let config = |pause: &str| hooked(server.address, "control", "9 kW", pause);
    let fleet = Fleet::start(&config(&table), Clock::start()).unwrap();
    until_it_is(&fleet, &Activity::Asleep).await;
    assert!(fleet.left_paused(&config(&table)).is_empty(), "the same hook");
    let slower = table.replace('}', ", timeout = \"9s\" }");
    assert!(fleet.left_paused(&config(&slower)).is_empty(), "it is asked in another way");
    let other = "{ command = [\"/bin/true\"], draw = \"900 W\" }";
    assert_eq!(fleet.left_paused(&config(other)), ["gpu-1"], "another hook knows of no pause");
    let mut gone = config(&table);
    gone.miners.clear();
    assert_eq!(fleet.left_paused(&gone), ["gpu-1"]);
    tenant.is(State::Running);
    until_it_is(&fleet, &Activity::Hashing).await;
    assert!(fleet.left_paused(&gone).is_empty(), "its work runs");
    fleet.stop(ExitPolicy::Hold, 0, &[], &[]).await;
}

#[tokio::test]
async fn whoever_is_left_alone_is_not_paused_at_the_end_either() {
    let alone = HeldMiner { miner: MinerId(0), hold: Hold::HandsOff };
    for (holds, told) in [(vec![alone], vec![]), (Vec::new(), vec!["pause"])] {
        let (server, log) = (zeusd::serve().await, Log::default());
        let tenant = Tenant::start(&log, State::Pausing).await;
        let config = hooked(server.address, "control", "9 kW", &tenant.table());
        let fleet = Fleet::start(&config, Clock::start()).unwrap();
        until_it_is(&fleet, &Activity::Hashing).await;
        fleet.stop(ExitPolicy::Sleep, 0, &[], &holds).await;
        assert_eq!(*log.lock().unwrap(), told);
        assert_eq!(posts(&tenant.server), told.len());
        assert!(!told.is_empty() || posts(&server) == 0, "its cap stands");
        assert!(!tenant.server.log().is_empty(), "its state is asked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_only_looks_on_asks_for_the_state_and_neither_pauses_nor_resumes() {
    for mode in ["observe", "control"] {
        let (server, log) = (zeusd::serve().await, Log::default());
        let tenant = Tenant::start(&log, State::Pausing).await;
        // Asleep it fits below that, and otherwise not.
        let mut config = hooked(server.address, mode, "9 kW", &tenant.table());
        // In a file a limit under which it can never run is a mistake.
        Arc::make_mut(&mut config.site).limits[0].cap = Cap::Constant(Watts::whole(700));
        let daemon = Daemon::start(config, Clock::start()).await.unwrap();
        if mode == "control" {
            for _ in 0..600 {
                if !log.lock().unwrap().is_empty() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let first = log.lock().unwrap().first().cloned();
            assert_eq!(first.as_deref(), Some("pause"), "that is what looking on keeps it from");
            daemon.stop().await;
            continue;
        }
        tokio::time::sleep(Duration::from_secs(8)).await;
        daemon.stop().await;
        assert_eq!((posts(&tenant.server), posts(&server)), (0, 0));
        assert!(tenant.server.log().len() > 5, "its state is asked with each reading");
    }
}

/// A folder with a script, which is gone with this.
struct Script(PathBuf);

impl Script {
    fn new(name: &str, text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ballast-pause-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("pause-job");
        std::fs::write(&path, format!("#!/bin/sh\ncd \"${{0%/*}}\" || exit 9\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    fn way(&self, arguments: &[&str]) -> Way {
        let program = self.0.join("pause-job").to_str().unwrap().to_owned();
        let words = std::iter::once(program).chain(arguments.iter().map(|&word| word.to_owned()));
        Way::Command(words.collect::<Vec<_>>().into())
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_command_gets_each_word_by_itself_in_an_environment_of_its_own() {
    let script = Script::new(
        "words",
        "for word in \"$@\"; do printf '%s\\n' \"$word\" >> words; last=$word; done\n\
         env | sort > environment-$last\n\
         case $last in state) cat state 2>/dev/null || echo running;; pause) echo paused > state;; resume) rm -f state;; esac",
    );
    let name = "a b;$(touch x)'\"*ü";
    let mut bench = bench_named(name, script.way(&["--server", "{name}"]), false, Log::default());
    assert_eq!(bench.activity().await, Activity::Hashing);
    assert_eq!(script.file("words"), format!("--server\n{name}\nstate\n"));
    assert!(!script.0.join("x").exists(), "there is no shell in between");
    bench.driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    bench.draws(IDLE);
    assert_eq!(bench.activity().await, Activity::Asleep);
    bench.driver.apply(power(4_000), Urgency::Normal).await.unwrap();
    assert_eq!(bench.activity().await, Activity::Hashing);
    for told in ["state", "resume"] {
        let environment = script.file(&format!("environment-{told}"));
        assert!(environment.contains("BALLAST_NOTICE_SECONDS=0\n"), "{told}: {environment}");
    }
    let environment = script.file("environment-pause");
    for line in ["BALLAST_NOTICE_SECONDS=45", "LANG=C.UTF-8", &format!("BALLAST_SERVER={name}")] {
        assert!(environment.lines().any(|told| told == line), "{environment}");
    }
    assert!(!environment.contains("CARGO"), "nothing of ours: {environment}");
}

#[tokio::test]
async fn a_command_that_fails_says_no_in_one_bounded_line() {
    let script = Script::new(
        "fails",
        "case $1 in state) echo paused or so; exit 0;; esac\n\
         i=0; while [ $i -lt 3000 ]; do printf 'aaaaaaaaaaaaaaaaaaaa'; i=$((i+1)); done\n\
         printf '\\033[2Jno queue\\nsecond line\\n' >&2; exit 1",
    );
    let mut bench = Bench::new(script.way(&[]));
    let told = words(bench.driver.apply(Target::Sleep, Urgency::Shed).await);
    assert!(told.contains("exit status: 1") && told.contains("no queue"), "{told}");
    assert!(!told.contains("second") && !told.contains('\u{1b}') && told.len() < 200, "{told}");
    assert_eq!(bench.take(), ["cap 3000"]);
    bench.draws(IDLE);
    assert_eq!(bench.activity().await, Activity::Asleep, "the first word counts");
    let missing = Way::Command(vec!["/nowhere/pause-job".to_owned()].into());
    let told = words(Bench::new(missing).driver.apply(Target::Sleep, Urgency::Shed).await);
    assert!(told.contains("cannot be run"), "{told}");
}

fn is_alive(pid: &str) -> bool {
    // One that has ended and was not waited for by its new parent yet is no more alive.
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn a_command_that_hangs_ends_with_all_that_it_has_started() {
    let script = Script::new("hangs", "sleep 60 &\necho $! > child\necho $$ > own\nwait");
    let mut bench = Bench::new(script.way(&[]));
    let outcome = bench.driver.apply(Target::Sleep, Urgency::Shed).await;
    assert!(matches!(outcome, Err(DriverError::Timeout { .. })), "{outcome:?}");
    let (child, own) = (script.file("child"), script.file("own"));
    assert!(!child.is_empty() && !own.is_empty());
    for _ in 0..100 {
        if !is_alive(&child) && !is_alive(&own) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{child} or {own} is alive");
}

#[tokio::test]
async fn a_command_that_leaves_somebody_behind_is_answered_at_once_and_nobody_stays() {
    let script = Script::new("leaves", "sleep 60 &\necho $! > child\necho running");
    let mut bench = Bench::new(script.way(&[]));
    assert_eq!(bench.activity().await, Activity::Hashing);
    let child = script.file("child");
    for _ in 0..100 {
        if !is_alive(&child) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{child} is alive");
}

#[test]
fn the_hook_of_the_guide_is_read() {
    let pinned = format!("certificate = \"sha256:{}\"", "ab".repeat(32));
    let servers = example(include_str!("../../docs/guide/ai-halls.md"));
    let config = hall(&servers.replace("ca = \"bmc-ca.pem\"", &pinned));
    assert_eq!(config.site.miners.len(), 8);
    assert!(
        config.site.miners.iter().all(|server| server.sleeps && server.notice == Duration::from_secs(30))
    );
}
