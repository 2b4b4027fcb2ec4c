//! Bad replies, for every driver and for each of the answers that it reads: a typed outcome in bounded time and memory, and
//! never a reading that is not true.

use crate::drivers_proxy;
use crate::sim_servers::bench;

use std::collections::BTreeSet;
use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::{Activity, Rejection, Target};
use ballast::miner::{
    Connection, Credentials, Driver, DriverError, DriverKind, Endpoint, Urgency, driver, http_client,
};
use ballast::secret::Secret;
use ballast::sim::miner::Initial;
use ballast::units::Watts;
use bench::{Bench, PASSWORD};
use drivers_proxy::{Fate, Proxy, Wire};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// The time limit of one exchange here.
const LIMIT: Duration = Duration::from_millis(400);
/// A session gives a driver up after so many of its limits.
const PATIENCE: u32 = 8;

/// A way to spoil an answer.
struct Spoil {
    name: &'static str,
    fate: fn(&[u8]) -> Fate,
    /// An answer that nobody can take for one: what needs it must fail.
    hopeless: bool,
}

const SPOILS: [Spoil; 14] = [
    Spoil { name: "truncated", fate: |body| Fate::Body(body[..body.len() / 2].to_vec()), hopeless: true },
    Spoil {
        name: "cut off with the connection",
        fate: |body| Fate::Raw(body[..body.len() / 3].to_vec()),
        hopeless: true,
    },
    Spoil { name: "empty", fate: |_| Fate::Body(Vec::new()), hopeless: true },
    Spoil { name: "closed", fate: |_| Fate::Raw(Vec::new()), hopeless: true },
    Spoil { name: "silence", fate: |_| Fate::Silence, hopeless: true },
    Spoil { name: "slow drip", fate: |_| Fate::Drip, hopeless: true },
    Spoil { name: "oversized", fate: |_| Fate::Flood, hopeless: true },
    Spoil { name: "not UTF-8", fate: |body| Fate::Body(inserted(body, b"\"\xff\xfe\"")), hopeless: true },
    Spoil {
        name: "HTML",
        fate: |_| Fate::Body(b"<html><body>502 Bad Gateway</body></html>".to_vec()),
        hopeless: true,
    },
    Spoil { name: "hostile nesting", fate: |_| Fate::Body(vec![b'['; 200_000]), hopeless: true },
    Spoil { name: "an empty object", fate: |_| Fate::Body(b"{}".to_vec()), hopeless: false },
    Spoil {
        name: "wrong types",
        fate: |body| Fate::Body(mapped(body, &|_| serde_json::json!([{}]))),
        hopeless: false,
    },
    Spoil {
        name: "values missing",
        fate: |body| Fate::Body(mapped(body, &|_| Value::Null)),
        hopeless: false,
    },
    Spoil { name: "absurd numbers", fate: |body| Fate::Body(mapped(body, &absurd)), hopeless: false },
];

fn inserted(body: &[u8], what: &[u8]) -> Vec<u8> {
    let middle = body.len() / 2;
    [&body[..middle], what, &body[middle..]].concat()
}

fn absurd(value: &Value) -> Value {
    if value.is_number() { serde_json::json!(-1e300) } else { value.clone() }
}

/// The answer with every leaf replaced. What is no JSON stays.
fn mapped(body: &[u8], leaf: &dyn Fn(&Value) -> Value) -> Vec<u8> {
    fn walk(value: &Value, leaf: &dyn Fn(&Value) -> Value) -> Value {
        match value {
            Value::Object(object) => {
                Value::Object(object.iter().map(|(key, value)| (key.clone(), walk(value, leaf))).collect())
            }
            Value::Array(list) => Value::Array(list.iter().map(|value| walk(value, leaf)).collect()),
            _ => leaf(value),
        }
    }
    let text = body.strip_suffix(b"\0").unwrap_or(body);
    match serde_json::from_slice::<Value>(text) {
        Ok(value) => walk(&value, leaf).to_string().into_bytes(),
        Err(_) => body.to_vec(),
    }
}

/// What a request is about, without its values.
fn key(request: &str) -> String {
    let request = request.strip_prefix("encrypted ").unwrap_or(request);
    if let Ok(value) = serde_json::from_str::<Value>(request) {
        let name = value.get("command").or_else(|| value.get("cmd")).and_then(Value::as_str);
        return name.unwrap_or_default().to_owned();
    }
    request.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// The tests here run one after the other, and some drivers of each at once: what is slow because the machine is busy must
/// not be taken for a driver that is late.
static ALONE: Mutex<()> = Mutex::const_new(());
const AT_ONCE: usize = 4;

struct Stand {
    bench: Bench,
    proxy: Proxy,
    http: reqwest::Client,
}

impl Stand {
    async fn new(kind: DriverKind, http: reqwest::Client) -> Self {
        let bench = Bench::start_seeded(kind, Initial::Hashing { fraction: 1.0 }, 1).await;
        let any = "127.0.0.1:0".parse().unwrap();
        let proxy = Proxy::start(Wire::of(kind), any, bench.address(), PASSWORD).await;
        Self { bench, proxy, http }
    }

    fn connection(&self) -> Connection {
        let endpoint = Endpoint { host: "127.0.0.1".into(), port: self.proxy.address.port() };
        Connection { endpoint, timeout: LIMIT, ..self.bench.connection() }
    }

    fn driver(&self) -> Box<dyn Driver> {
        driver(&self.connection(), &self.http)
    }

    /// Spoils the answers to one request and lets the others pass.
    fn spoil(&self, about: &str, fate: fn(&[u8]) -> Fate) {
        let about = about.to_owned();
        self.proxy.judge(move |request, body| if key(request) == about { fate(body) } else { Fate::Pass });
    }

    fn pass(&self) {
        self.proxy.judge(|_, _| Fate::Pass);
    }

    fn told(&self, what: &str, error: &DriverError) {
        let text = error.to_string();
        assert!(!text.contains(PASSWORD), "{what}: the password is in {text}");
        assert!(text.len() < 600, "{what}: {text}");
    }
}

/// Runs something and holds it to the time that a session gives it.
async fn timed<T>(clock: Clock, what: &str, work: impl Future<Output = T>) -> T {
    let began = clock.now();
    let limit = LIMIT * PATIENCE;
    let result = tokio::time::timeout(limit, work).await;
    let took = clock.now().since(began);
    result.unwrap_or_else(|_| panic!("{what}: not over after {took:?}"))
}

async fn readings(kind: DriverKind, http: reqwest::Client) {
    let stand = Stand::new(kind, http).await;
    let clock = Clock::start();
    let patient = Connection { timeout: LIMIT * 10, ..stand.connection() };
    driver(&patient, &stand.http).read().await.unwrap();
    let asked: BTreeSet<String> = stand.proxy.take().iter().map(|exchange| key(&exchange.request)).collect();
    for about in &asked {
        for Spoil { name, fate, hopeless } in &SPOILS {
            let what = format!("{}, {about}: {name}", kind.name());
            stand.spoil(about, *fate);
            let mut driver = stand.driver();
            match timed(clock, &what, driver.read()).await {
                Err(error) => stand.told(&what, &error),
                // What it could do without it may leave open; what it says must be true.
                Ok(status) => {
                    if let Some(power) = status.power.value() {
                        let truth = stand.bench.power();
                        assert!(
                            (power.get() - truth).abs() < 0.1 * truth,
                            "{what}: says {power} of {truth} W"
                        );
                    }
                    assert!(!(*hopeless && asked.len() == 1), "{what}: read from nothing: {status:?}");
                }
            }
            // The same driver is as good as new once the miner is.
            stand.pass();
            let again = timed(clock, &what, driver.read()).await;
            assert!(again.is_ok(), "{what}: and then {again:?}");
            driver.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoilt_answer_is_never_taken_for_a_reading() {
    let before = resident();
    let _alone = ALONE.lock().await;
    let http = http_client().unwrap();
    let mut all = JoinSet::new();
    for kind in DriverKind::ALL {
        if all.len() >= AT_ONCE {
            all.join_next().await.unwrap().unwrap();
        }
        all.spawn(readings(kind, http.clone()));
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    let grown = resident().saturating_sub(before);
    println!("{grown} MiB more after all floods");
    assert!(grown < 150, "{grown} MiB more than before");
}

/// The largest resident set so far, in MiB; 0 where the system does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default().to_owned();
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or_default() / 1024
}

type Slip = fn(&str) -> String;

/// Answers that are not quite JSON, as known firmware writes them; none may cost a reading.
const SLIPS: [(&str, Slip); 6] = [
    ("a comma too many", |body| body.replacen('}', ",}", 1)),
    ("a raw line end in a text", |body| body.replacen('{', "{\"motd\":\"a\nb\",", 1)),
    ("a number that is none", |body| body.replacen('{', "{\"nobody needs\":-nan,", 1)),
    ("a NUL inside", |body| body.replacen(':', ":\0", 1)),
    ("another encoding", |body| body.replacen('{', "{\"motd\":\"\u{1}\",", 1)),
    ("a NUL behind it", |body| format!("{body}\0")),
];

async fn nearly_json(kind: DriverKind, http: reqwest::Client) {
    let stand = Stand::new(kind, http).await;
    let clock = Clock::start();
    let sound = driver(&stand.connection(), &stand.http).read().await.unwrap();
    let asked: BTreeSet<String> = stand.proxy.take().iter().map(|exchange| key(&exchange.request)).collect();
    // What logs in was never seen to slip, and the operator's own device is read as it is described.
    for about in asked.iter().filter(|about| !about.contains("auth") && !about.contains("token")) {
        for (name, slip) in SLIPS {
            let what = format!("{}, {about}: {name}", kind.name());
            let wanted = about.clone();
            stand.proxy.judge(move |request, body| {
                if key(request) != wanted || serde_json::from_slice::<Value>(body).is_err() {
                    return Fate::Pass;
                }
                let text = slip(std::str::from_utf8(body).unwrap()).into_bytes();
                Fate::Body(text.iter().map(|byte| if *byte == 1 { 0xe9 } else { *byte }).collect())
            });
            let mut driver = stand.driver();
            let status = timed(clock, &what, driver.read()).await;
            let status = status.unwrap_or_else(|error| panic!("{what}: {error}"));
            let truth = stand.bench.power();
            if let Some(power) = status.power.value() {
                assert!((power.get() - truth).abs() < 0.1 * truth, "{what}: says {power} of {truth} W");
            }
            assert_eq!(status.activity, sound.activity, "{what}");
            driver.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_nearly_json_is_read_by_every_driver() {
    let _alone = ALONE.lock().await;
    let http = http_client().unwrap();
    let mut all = JoinSet::new();
    for kind in DriverKind::ALL.into_iter().filter(|kind| *kind != DriverKind::Generic) {
        all.spawn(nearly_json(kind, http.clone()));
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
}

/// Fields without which there is no answer: the envelope, logins, and what tells one answer from another.
const ENVELOPE: [&str; 8] = ["STATUS", "code", "desc", "token", "access_token", "timeout_s", "Token", "mode"];

/// The places of all leaves of an answer.
fn leaves(value: &Value, place: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (key, value) in object {
                leaves(value, &format!("{place}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        // The second entry of a list is like the first.
        Value::Array(list) if !list.is_empty() => leaves(&list[0], &format!("{place}/0"), found),
        _ => found.push(place.to_owned()),
    }
}

async fn each_field(kind: DriverKind, http: reqwest::Client) {
    let stand = Stand::new(kind, http).await;
    let clock = Clock::start();
    driver(&stand.connection(), &stand.http).read().await.unwrap();
    let mut answers = std::collections::BTreeMap::new();
    for exchange in stand.proxy.take() {
        if let Ok(value) =
            serde_json::from_slice::<Value>(exchange.answer.strip_suffix(b"\0").unwrap_or(&exchange.answer))
        {
            answers.insert(key(&exchange.request), value);
        }
    }
    let mut spoilt = 0;
    for (about, answer) in &answers {
        let mut places = Vec::new();
        leaves(answer, "", &mut places);
        places.retain(|place| !place.split('/').any(|part| ENVELOPE.contains(&part)));
        for place in places {
            for wrong in [serde_json::json!("nan"), serde_json::json!([{}]), Value::Null] {
                spoilt += 1;
                let what = format!("{}, {about}: {wrong} at {place}", kind.name());
                let (wanted, at) = (about.clone(), place.clone());
                stand.proxy.judge(move |request, body| {
                    let whole = serde_json::from_slice::<Value>(body.strip_suffix(b"\0").unwrap_or(body));
                    match whole {
                        Ok(mut value) if key(request) == wanted => {
                            if let Some(leaf) = value.pointer_mut(&at) {
                                leaf.clone_from(&wrong);
                            }
                            Fate::Body(value.to_string().into_bytes())
                        }
                        _ => Fate::Pass,
                    }
                });
                let mut driver = stand.driver();
                let status = timed(clock, &what, driver.read()).await;
                let status = status.unwrap_or_else(|error| panic!("{what}: {error}"));
                let truth = stand.bench.power();
                if let Some(power) = status.power.value() {
                    assert!((power.get() - truth).abs() < 0.1 * truth, "{what}: says {power} of {truth} W");
                }
                assert_ne!(status.activity, Activity::Asleep, "{what}");
                driver.close().await;
            }
        }
    }
    assert!(spoilt > 0, "{}", kind.name());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_wrong_field_spoils_nothing_else() {
    let _alone = ALONE.lock().await;
    let http = http_client().unwrap();
    let mut all = JoinSet::new();
    for kind in DriverKind::ALL.into_iter().filter(|kind| *kind != DriverKind::Generic) {
        if all.len() >= AT_ONCE {
            all.join_next().await.unwrap().unwrap();
        }
        all.spawn(each_field(kind, http.clone()));
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
}

async fn commands(kind: DriverKind, http: reqwest::Client) {
    let stand = Stand::new(kind, http).await;
    let clock = Clock::start();
    let patient = Connection { timeout: LIMIT * 10, ..stand.connection() };
    let mut good = driver(&patient, &stand.http);
    // A server does not sleep.
    let target = if kind.is_server() { Target::Power(Watts::whole(2_000)) } else { Target::Sleep };
    if good.apply(target, Urgency::Shed).await.is_err() {
        assert_eq!(kind, DriverKind::CgminerReadOnly);
        return;
    }
    good.close().await;
    let asked: BTreeSet<String> = stand.proxy.take().iter().map(|exchange| key(&exchange.request)).collect();
    for about in asked.iter().filter(|about| !about.contains("logo")) {
        for Spoil { name, fate, hopeless } in &SPOILS {
            let what = format!("{}, {about}: {name}", kind.name());
            stand.spoil(about, *fate);
            let mut driver = stand.driver();
            match timed(clock, &what, driver.apply(target, Urgency::Shed)).await {
                Err(error) => stand.told(&what, &error),
                // Over HTTP the status alone may say yes; elsewhere there is no yes without an answer.
                Ok(()) => assert!(!hopeless || Wire::of(kind) == Wire::Http, "{what}: yes to nothing"),
            }
            driver.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoilt_answer_to_a_command_is_a_typed_failure() {
    let _alone = ALONE.lock().await;
    let http = http_client().unwrap();
    let mut all = JoinSet::new();
    for kind in DriverKind::ALL {
        if all.len() >= AT_ONCE {
            all.join_next().await.unwrap().unwrap();
        }
        all.spawn(commands(kind, http.clone()));
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_called_one() {
    let _alone = ALONE.lock().await;
    let http = http_client().unwrap();
    for kind in DriverKind::ALL {
        if !kind.needs_password() || kind == DriverKind::CgminerReadOnly {
            continue;
        }
        let stand = Stand::new(kind, http.clone()).await;
        let wrong = "wr0ng-wr0ng";
        let credentials = Some(Credentials { username: None, password: Secret::new(wrong.into()) });
        let connection = Connection { credentials, timeout: LIMIT * 5, ..stand.connection() };
        let mut driver = driver(&connection, &stand.http);
        for target in [Target::Sleep, Target::Power(Watts::whole(2_400))] {
            match driver.apply(target, Urgency::Shed).await {
                Err(DriverError::Rejected { reason: Rejection::Credentials, .. }) => {}
                result => panic!("{} {target:?}: {result:?}", kind.name()),
            }
        }
        if let Err(error) = driver.read().await {
            let text = error.to_string();
            assert!(text.contains("password") && !text.contains(wrong), "{}: {text}", kind.name());
        }
        // Where a read needs the account, it shows before the first command.
        let provable = [
            "braiins-os",
            "vnish",
            "bitmain-stock",
            "auradine",
            "mara",
            "proto",
            "ballast",
            "redfish",
            "zeusd",
        ]
        .contains(&kind.name());
        match driver.prove_account().await {
            Err(DriverError::Rejected { reason: Rejection::Credentials, .. }) => {
                assert!(provable, "{}", kind.name())
            }
            result => assert!(!provable && result.is_ok_and(|proven| !proven), "{}", kind.name()),
        }
        let right = Connection { timeout: LIMIT * 5, ..stand.connection() };
        let proven = ballast::miner::driver(&right, &stand.http).prove_account().await;
        assert_eq!(proven.unwrap(), provable, "{}", kind.name());
        assert_eq!(stand.bench.miner.tally().commands, 0, "{}", kind.name());
    }
}
