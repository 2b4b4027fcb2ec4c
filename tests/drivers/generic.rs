//! Devices of the operator's own: their description in the configuration, the requests on the wire, and the simulated
//! device behind HTTP and Modbus TCP.

use crate::drivers_rest;
use crate::drivers_support;
use crate::sim_servers::bench as sim_bench;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ballast::clock::Clock;
use ballast::config::{self, Config, Options};
use ballast::control::site::Actuator;
use ballast::control::snapshot::{Activity, Measured, Rejection, Target};
use ballast::miner::drivers::generic::{Description, Generic, Protocol, Unit};
use ballast::miner::{Connection, Driver, DriverError, DriverKind, Endpoint, Urgency, driver, http_client};
use ballast::sim::miner::{Fault, FaultKind, Initial};
use ballast::units::Watts;
use drivers_rest::{Reply, Seen, Server, reply};
use drivers_support::{
    MISBEHAVIOURS, Misbehaviour, connection, malformed, misbehaving, nobody, power, rejection,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use sim_bench::Bench;

const HEATER: &str = r#"
[drivers.heater]
kind = "http"
port = 8081
headers = { Accept = "application/json", X-Api-Key = { file = "key" } }
on = { path = "/relay", body = '{"turn":"on"}', expect = { pointer = "/ok", value = true } }
off = { path = "/relay", body = '{"turn":"off"}', status = 200 }
setpoint = { method = "PUT", path = "/power", body = '{"limit":{watts}}' }
state = { path = "/relay", pointer = "/state", on = "on", off = "off" }
power = { path = "/meter", pointer = "/channels/0/kilowatts", scale = 1000.0 }
target = { path = "/power", pointer = "/limit" }
"#;

const OUTLET: &str = r#"
[drivers.heater]
kind = "http"
on = { method = "GET", path = "/cm?cmnd=Power%20On" }
off = { method = "GET", path = "/cm?cmnd=Power%20Off" }
state = { path = "/cm?cmnd=Power", pointer = "/POWER", on = "ON", off = "OFF" }
"#;

const CONTACTOR: &str = r#"
[drivers.heater]
kind = "modbus"
unit = 7
on = { coil = 3, value = true }
off = { coil = 3, value = false }
"#;

const REGISTERS: &str = r#"
[drivers.heater]
kind = "modbus"
on = { holding = 10, value = 2 }
off = { holding = 10, value = 1 }
state = { input = 20, on = 2, off = 1 }
setpoint = { holding = 100, type = "u32", scale = 0.1, of = "percent", word_order = "low-first" }
power = { input = 30, type = "f32" }
"#;

fn parse(device: &str, miner: &str) -> Result<Config, String> {
    let text = format!(
        r#"
[site]
name = "Test"
mode = "control"
[circuits.pcc]
meter = "pcc"
[limits.follow-surplus]
circuit = "pcc"
import = "0 W"
[links.bus]
tcp = "127.0.0.1:502"
[meters.pcc]
link = "bus"
unit = 1
profile = "eastron-sdm630"
[miners.boiler]
driver = "heater"
circuit = "pcc"
address = "10.0.0.9"
maximum = "3400 W"
{miner}
{device}
"#
    );
    let options = Options { files: &[("key", "k3y-of-the-heater\n")], ..Options::default() };
    config::parse(&text, Path::new("site.toml"), &options).map_err(|errors| errors.to_string())
}

fn described(device: &str) -> Arc<Description> {
    let config = parse(device, "").unwrap_or_else(|errors| panic!("{errors}"));
    config.miners[0].device.clone().unwrap()
}

fn reach(device: &str, address: SocketAddr) -> Connection {
    let mut connection = connection(DriverKind::Generic, address);
    connection.device = Some(described(device));
    connection.credentials = None;
    connection.rated = Watts::whole(3_400);
    connection
}

fn generic(device: &str, address: SocketAddr) -> Generic {
    Generic::new(&reach(device, address), &http_client().unwrap())
}

#[test]
fn a_device_is_read_from_the_configuration() {
    let config = parse(HEATER, "").unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.miners[0].driver, DriverKind::Generic);
    assert_eq!(config.miners[0].endpoint.port, 8081);
    assert!(matches!(config.site.miners[0].actuator, Actuator::Continuous { .. }));
    assert_eq!(described(HEATER).setpoint, Some(Unit::Watts));
    assert_eq!(described(REGISTERS).setpoint, Some(Unit::Percent));
    let config = parse(CONTACTOR, "").unwrap();
    assert_eq!(config.miners[0].endpoint.port, 502);
    assert_eq!(config.site.miners[0].actuator, Actuator::OnOff);
    let shown = format!("{:?}", parse(HEATER, "").unwrap());
    assert!(!shown.contains("k3y"), "a header's value is a secret");
}

#[test]
fn mistakes_in_a_device_are_told_with_their_place() {
    for (from, to, message) in [
        ("kind = \"http\"", "kind = \"smoke\"", "`kind` cannot be \"smoke\""),
        ("kind = \"http\"", "", "has no `kind`"),
        ("on = {", "onn = {", "has no `on`"),
        ("on = {", "onn = {", "unknown key `onn`"),
        ("state = {", "status = {", "has no `state`"),
        ("path = \"/meter\"", "path = \"meter\"", "`path` is no path"),
        ("path = \"/meter\", ", "", "has no `path`"),
        ("\"/limit\"", "\"limit\"", "`pointer` is no place in an answer"),
        ("{watts}", "2000", "needs {watts} or {percent}"),
        ("{watts}", "{watts}{percent}", "needs {watts} or {percent}"),
        ("{\"turn\":\"on\"}", "{watts}", "switches only"),
        ("scale = 1000.0", "scale = 0", "`scale` is of no use"),
        ("scale = 1000.0", "scale = \"1\"", "`scale` is a text"),
        ("status = 200", "status = 99", "`status` is 99"),
        ("method = \"PUT\"", "method = \"DELETE\"", "`method` cannot be \"DELETE\""),
        ("{ file = \"key\" }", "\"k3y\"", "is a secret"),
        ("{ file = \"key\" }", "{ file = \"nowhere\" }", "cannot find the password file"),
        ("{ file = \"key\" }", "{}", "needs one source"),
        ("X-Api-Key", "\"X Key\"", "is no name of a header"),
        (
            "setpoint = { method = \"PUT\", path = \"/power\", body = '{\"limit\":{watts}}' }",
            "",
            "has a `target` and no",
        ),
        ("[drivers.heater]", "[drivers.braiins-os]", "there is a driver named `braiins-os` already"),
        ("[drivers.heater]", "[drivers.heaters]", "`driver` cannot be \"heater\""),
    ] {
        assert!(HEATER.contains(from), "{from}");
        let errors = parse(&HEATER.replacen(from, to, 1), "").unwrap_err();
        assert!(errors.contains(message), "{from} -> {to}:\n{errors}");
        assert!(errors.starts_with("site.toml:"), "{errors}");
        assert!(!errors.contains("k3y"), "{errors}");
    }
    for (from, to, message) in [
        ("coil = 3, value = true", "value = true", "needs one address"),
        ("coil = 3, value = true", "coil = 3, holding = 1", "needs one address"),
        ("coil = 3, value = true", "coil = 70000", "`coil` is 70000"),
        ("coil = 3, value = true", "input = 3", "unknown key `input`"),
        ("coil = 3, value = true", "coil = 4", "has no `state`"),
        ("value = false", "value = true", "reads alike"),
        ("value = false", "value = -1", "`value` is a bare number"),
        ("unit = 7", "unit = 256", "`unit` is 256"),
        ("unit = 7", "power = { coil = 1 }", "a coil holds none"),
        ("unit = 7", "target = { holding = 1 }", "has a `target` and no"),
        ("unit = 7", "setpoint = { holding = 1, type = \"u64\" }", "`type` cannot be \"u64\""),
    ] {
        let errors = parse(&CONTACTOR.replacen(from, to, 1), "").unwrap_err();
        assert!(errors.contains(message), "{from} -> {to}:\n{errors}");
    }
    let errors = parse(HEATER, "").map(|_| ()).and_then(|()| {
        parse("[miners.second]\ndriver = \"generic\"\ncircuit = \"pcc\"\naddress = \"10.0.0.8\"\nmaximum = \"1 kW\"", "")
    });
    assert!(errors.unwrap_err().contains("needs a device of your own"));
}

/// A heater that keeps what it is told, and can be told to lie.
#[derive(Default)]
struct Heater {
    on: bool,
    limit: i64,
    stuck: bool,
    status: Option<u16>,
    swallow: bool,
    bodies: std::collections::HashMap<&'static str, String>,
}

impl Heater {
    fn answer(&mut self, seen: &Seen) -> Reply {
        if seen.header("x-api-key") != Some("k3y-of-the-heater") {
            return reply(401, "{\"error\":\"who are you\"}");
        }
        if !seen.line.starts_with("GET") {
            if self.swallow {
                return None;
            }
            if let Some(status) = self.status {
                return reply(status, "{\"message\":\"no k3y-of-the-heater\"}");
            }
        }
        if let Some(body) = self.bodies.get(seen.line.as_str()) {
            return reply(200, body.clone());
        }
        let moved = !self.stuck;
        match (seen.line.as_str(), seen.body.as_str()) {
            ("POST /relay", r#"{"turn":"on"}"#) => {
                self.on |= moved;
                reply(200, r#"{"ok":true}"#)
            }
            ("POST /relay", r#"{"turn":"off"}"#) => {
                self.on &= !moved;
                reply(200, "")
            }
            ("PUT /power", body) => {
                let body: Value = serde_json::from_str(body).unwrap();
                if moved {
                    self.limit = body["limit"].as_i64().unwrap();
                }
                reply(200, "{}")
            }
            ("GET /relay", _) => reply(200, json!({"state": if self.on { "on" } else { "off" }}).to_string()),
            ("GET /power", _) => reply(200, json!({"limit": self.limit.to_string()}).to_string()),
            ("GET /meter", _) => reply(200, json!({"channels": [{"kilowatts": 1.25}]}).to_string()),
            _ => reply(404, ""),
        }
    }
}

struct Bed {
    server: Server,
    heater: Arc<Mutex<Heater>>,
}

impl Bed {
    async fn start() -> Self {
        let heater = Arc::new(Mutex::new(Heater { on: true, limit: 2_000, ..Heater::default() }));
        let shared = Arc::clone(&heater);
        let server = Server::start(move |seen| shared.lock().unwrap().answer(seen)).await;
        Self { server, heater }
    }

    fn driver(&self) -> Generic {
        generic(HEATER, self.server.address)
    }

    fn with(&self, change: impl Fn(&mut Heater)) {
        change(&mut self.heater.lock().unwrap());
    }

    fn writes(&self) -> Vec<String> {
        let log = self.server.log();
        let writes = log.iter().filter(|seen| !seen.line.starts_with("GET"));
        writes.map(|seen| format!("{} {}", seen.line, seen.body)).collect()
    }
}

#[tokio::test]
async fn a_device_behind_http_is_read() {
    let bed = Bed::start().await;
    let status = bed.driver().read().await.unwrap();
    // Small devices serve one client at a time.
    assert!(bed.server.log().iter().all(|seen| seen.header("connection") == Some("close")));
    assert_eq!(status.power, Measured::Value(Watts::whole(1_250)));
    assert_eq!((status.activity, status.target), (Activity::Hashing, Measured::Value(power(2_000))));
    assert_eq!(status.hashrate, Measured::Unsupported);
    bed.with(|heater| heater.on = false);
    let status = bed.driver().read().await.unwrap();
    assert_eq!((status.activity, status.target), (Activity::Asleep, Measured::Value(Target::Sleep)));
    bed.with(|heater| drop(heater.bodies.insert("GET /meter", r#"{"channels":[]}"#.to_owned())));
    assert_eq!(bed.driver().read().await.unwrap().power, Measured::Unavailable);
}

#[tokio::test]
async fn the_setpoint_goes_first_and_the_switch_second() {
    let bed = Bed::start().await;
    let mut driver = bed.driver();
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    driver.apply(Target::Power(Watts::saturating(1_500.9)), Urgency::Normal).await.unwrap();
    driver.apply(power(1_600), Urgency::Normal).await.unwrap();
    assert_eq!(
        bed.writes(),
        [
            r#"POST /relay {"turn":"off"}"#,
            r#"PUT /power {"limit":1500}"#,
            r#"POST /relay {"turn":"on"}"#,
            r#"PUT /power {"limit":1600}"#,
        ]
    );
    assert_eq!(rejection(driver.apply(power(0), Urgency::Shed).await), Rejection::OutOfRange);
}

#[tokio::test]
async fn a_yes_that_does_not_show_is_a_refusal() {
    let bed = Bed::start().await;
    bed.with(|heater| heater.stuck = true);
    let words = |text: &str| Rejection::Other(text.into());
    let off = rejection(bed.driver().apply(Target::Sleep, Urgency::Shed).await);
    assert_eq!(off, words("it said yes and is still on"));
    let set = rejection(bed.driver().apply(power(1_000), Urgency::Shed).await);
    assert_eq!(set, words("it said yes and kept another one"));
    assert_eq!(bed.writes().len(), 2, "nothing is repeated");
}

#[tokio::test]
async fn a_change_that_cannot_be_read_back_is_neither_a_yes_nor_a_refusal() {
    let server = Server::start(|seen| match seen.line.as_str() {
        "PUT /power" | "POST /relay" => reply(200, "{}"),
        _ => reply(500, "not now"),
    })
    .await;
    let mut driver = generic(HEATER, server.address);
    for target in [power(1_000), Target::Sleep] {
        let words = malformed(driver.apply(target, Urgency::Shed).await);
        assert!(words.starts_with("it said yes"), "{words}");
    }
}

#[tokio::test]
async fn refusals_are_told_without_secrets() {
    let bed = Bed::start().await;
    bed.with(|heater| heater.status = Some(500));
    let reason = rejection(bed.driver().apply(Target::Sleep, Urgency::Shed).await);
    assert_eq!(reason, Rejection::Other("HTTP 500: no [secret]".into()));
    // A yes with another status than the described one is none.
    bed.with(|heater| heater.status = Some(202));
    assert!(matches!(rejection(bed.driver().apply(Target::Sleep, Urgency::Shed).await), Rejection::Other(_)));
    // Nor is one without the described value.
    bed.with(|heater| {
        heater.status = None;
        heater.on = false;
        heater.bodies.insert("POST /relay", r#"{"ok":false}"#.to_owned());
    });
    assert!(matches!(
        rejection(bed.driver().apply(power(2_000), Urgency::Normal).await),
        Rejection::Other(_)
    ));
    let server = Server::start(|_| reply(401, "")).await;
    let error = generic(HEATER, server.address).read().await.unwrap_err();
    assert!(matches!(error, DriverError::Rejected { .. }), "{error}");
}

#[tokio::test]
async fn a_command_without_an_answer_is_not_said_again() {
    let bed = Bed::start().await;
    bed.with(|heater| heater.swallow = true);
    let error = bed.driver().apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout { .. }), "{error}");
    assert_eq!(bed.writes().len(), 1);
}

#[tokio::test]
async fn an_outlet_is_switched_with_plain_requests_and_only_for_its_whole_draw() {
    let on = Arc::new(Mutex::new(false));
    let shared = Arc::clone(&on);
    let server = Server::start(move |seen| {
        let mut on = shared.lock().unwrap();
        match seen.line.as_str() {
            "GET /cm?cmnd=Power%20On" => *on = true,
            "GET /cm?cmnd=Power%20Off" => *on = false,
            _ => {}
        }
        reply(200, json!({"POWER": if *on { "ON" } else { "OFF" }}).to_string())
    })
    .await;
    let mut driver = generic(OUTLET, server.address);
    assert_eq!(rejection(driver.apply(power(2_000), Urgency::Normal).await), Rejection::OutOfRange);
    driver.apply(power(3_400), Urgency::Normal).await.unwrap();
    let status = driver.read().await.unwrap();
    assert_eq!((status.power, status.target), (Measured::Unsupported, Measured::Value(power(3_400))));
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert!(!*on.lock().unwrap());
}

#[tokio::test]
async fn answers_of_the_wrong_shape_are_malformed() {
    for (line, body) in [
        ("GET /relay", "{"),
        ("GET /relay", "{}"),
        ("GET /relay", r#"{"state":"maybe"}"#),
        ("GET /relay", r#"{"state":["on"]}"#),
        ("GET /meter", r#"{"channels":[{"kilowatts":"some"}]}"#),
        ("GET /power", r#"{"limit":{}}"#),
    ] {
        let bed = Bed::start().await;
        bed.with(|heater| drop(heater.bodies.insert(line, body.to_owned())));
        let error = bed.driver().read().await.unwrap_err();
        assert!(matches!(error, DriverError::Malformed { .. }), "{line} {body}: {error}");
    }
}

#[tokio::test]
async fn a_misbehaving_server_costs_one_time_limit_at_most() {
    for device in [HEATER, CONTACTOR] {
        for how in MISBEHAVIOURS {
            let mut driver = generic(device, misbehaving(how).await);
            let clock = Clock::start();
            let read = driver.read().await.unwrap_err();
            let command = driver.apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
            assert!(clock.now().since_start() < Duration::from_millis(1_500), "{how:?}");
            for error in [read, command] {
                let expected = match how {
                    Misbehaviour::Silence => matches!(error, DriverError::Timeout { .. }),
                    _ => matches!(error, DriverError::Malformed { .. } | DriverError::Timeout { .. }),
                };
                assert!(expected, "{how:?}: {error}");
            }
        }
        let error = generic(device, nobody().await).read().await.unwrap_err();
        assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
    }
    let mut nothing = connection(DriverKind::Generic, nobody().await);
    nothing.device = None;
    let mut driver = driver(&nothing, &http_client().unwrap());
    assert!(driver.read().await.unwrap_err().to_string().contains("description"));
}

async fn simulated(device: &str) -> Bench {
    let endpoint = Endpoint { host: "127.0.0.1".into(), port: 0 };
    Bench::start_device(described(device), Initial::Hashing { fraction: 1.0 }, endpoint).await
}

async fn follows(device: &str, setpoint: bool, measured: bool) {
    let bench = simulated(device).await;
    let mut connection = reach(device, bench.address());
    connection.timeout = Duration::from_secs(2);
    let mut driver = Generic::new(&connection, &http_client().unwrap());
    let status = driver.read().await.unwrap();
    assert_eq!(status.activity, Activity::Hashing);
    assert_eq!(matches!(status.power, Measured::Value(_)), measured, "{:?}", status.power);
    if setpoint {
        driver.apply(power(2_040), Urgency::Shed).await.unwrap();
        bench.until("2 kW", |bench| (bench.power() - 2_040.0).abs() < 60.0).await;
        assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(2_040)));
    }
    // The simulated switch acts behind a dead time, as a relay with a delay does.
    let result = driver.apply(Target::Sleep, Urgency::Shed).await;
    result.unwrap();
    bench.until("off", |bench| bench.power() < 100.0).await;
    assert_eq!(driver.read().await.unwrap().activity, Activity::Asleep);
    driver.apply(power(3_400), Urgency::Normal).await.unwrap();
    bench.until("on", |bench| bench.power() > 3_000.0).await;
    let tally = bench.miner.tally();
    assert_eq!((tally.trespasses, tally.refused), (0, 0));
    bench.inject(Fault::RejectCommands);
    assert!(matches!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Other(_)));
    bench.clear(FaultKind::RejectCommands);
    bench.inject(Fault::IgnoreCommands);
    let reason = rejection(driver.apply(Target::Sleep, Urgency::Shed).await);
    assert_eq!(reason, Rejection::Other("it said yes and is still on".into()));
    bench.clear(FaultKind::IgnoreCommands);
    bench.inject(Fault::Garbage);
    assert!(driver.read().await.is_err());
}

#[tokio::test]
async fn the_simulated_heater_behind_http_is_set_and_switched() {
    follows(HEATER, true, true).await;
}

#[tokio::test]
async fn the_simulated_outlet_behind_http_is_switched() {
    follows(OUTLET, false, false).await;
}

#[tokio::test]
async fn the_simulated_contactor_behind_modbus_is_switched() {
    follows(CONTACTOR, false, false).await;
}

#[tokio::test]
async fn the_simulated_heater_behind_modbus_is_set_and_switched() {
    follows(REGISTERS, true, true).await;
}

#[tokio::test]
async fn modbus_exceptions_have_their_reason() {
    let bench = simulated(CONTACTOR).await;
    // A setpoint where the device has none.
    let mut wrong = reach(CONTACTOR, bench.address());
    let mut description = (*described(CONTACTOR)).clone();
    if let Protocol::Modbus(modbus) = &mut description.protocol {
        modbus.off.0 = ballast::miner::drivers::generic::modbus::Address::Coil(99);
    }
    wrong.device = Some(Arc::new(description));
    let mut driver = Generic::new(&wrong, &http_client().unwrap());
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::OutOfRange);
    assert_eq!(bench.miner.tally().trespasses, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever the device answers, each request is one of the described ones and the setpoint never more than asked.
    #[test]
    fn only_described_requests_are_ever_sent(
        targets in prop::collection::vec(prop_oneof![Just(-1.0), 0.0..9_000.0_f64], 1..6),
        state in prop_oneof![Just("{\"state\":\"on\"}".to_owned()), Just("{\"state\":\"off\"}".to_owned()), ".{0,30}"],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let most = targets.iter().copied().fold(0.0, f64::max);
        let log = runtime.block_on(async {
            let bed = Bed::start().await;
            bed.with(|heater| drop(heater.bodies.insert("GET /relay", state.clone())));
            let mut driver = bed.driver();
            for watts in targets {
                let target = if watts < 0.0 { Target::Sleep } else { Target::Power(Watts::saturating(watts)) };
                let _ = driver.apply(target, Urgency::Shed).await;
                let _ = driver.read().await;
            }
            bed.server.log()
        });
        for seen in log {
            match seen.line.as_str() {
                "POST /relay" => {
                    let known = [r#"{"turn":"on"}"#, r#"{"turn":"off"}"#].contains(&seen.body.as_str());
                    prop_assert!(known, "{}", seen.body);
                }
                "PUT /power" => {
                    let body: Value = serde_json::from_str(&seen.body).unwrap();
                    prop_assert!(body["limit"].as_f64().unwrap() <= most);
                }
                line => prop_assert!(["GET /relay", "GET /power", "GET /meter"].contains(&line), "{}", line),
            }
        }
    }
}
