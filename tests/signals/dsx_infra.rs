//! DSX Flex in the role of infra: from the hints of a foreign agent to limits, and from cycles to what it is told of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ballast::clock::{Clock, Moment};
use ballast::config::{self, Config, Options, Secrets};
use ballast::control::decision::{MinerState, Mode};
use ballast::control::frame::Frame;
use ballast::control::signal::{SourceState, Wall};
use ballast::control::site::{CircuitId, Scope};
use ballast::control::snapshot::{
    Contact, Measured, MeterInput, MeterStatus, MinerInput, MinerStatus, Reading, Snapshot,
};
use ballast::control::{State, step};
use ballast::signal::dsx::InfraSettings;
use ballast::signal::dsx::admit::{Answer, FromAgent, Gate, Refused, Rules};
use ballast::signal::dsx::alert::{Life, alert};
use ballast::signal::dsx::heed::{Ear, Heeded};
use ballast::signal::dsx::jws::JwsError;
use ballast::signal::dsx::message::{Fault, Outgoing, Sent, Trace, uuid};
use ballast::signal::dsx::shed::{Outcome, Plan, Report, Shed, Surroundings, judge, reverted};
use ballast::signal::{Desk, Kind, SourceKey};
use ballast::units::Watts;
use serde_json::{Value, json};

use crate::dsx::{Partner, event, seconds, watt};
use crate::signals_bench::Hands;

pub(super) const TEXT: &str = r#"
[site]
name = "Mill"
mode = "control"
[circuits.pcc]
other_load = "5 kW"
[circuits.rack]
parent = "pcc"
margin = "100 W"
[circuits.gpu-1]
parent = "rack"
[circuits.gpu-2]
parent = "rack"
[circuits.gpu-3]
parent = "rack"
[limits.rating]
circuit = "pcc"
miners = "20 kW"
class = "safety"
[groups.slowed]
driver = "zeusd"
class = "throttle"
circuit = "gpu-1"
addresses = ["127.0.0.11"]
maximum = "7 kW"
[groups.held]
driver = "zeusd"
class = "guaranteed"
contract = "7 kW"
circuit = "gpu-2"
addresses = ["127.0.0.12"]
maximum = "7 kW"
[groups.waits]
driver = "zeusd"
class = "interruptible"
pause = { command = ["/bin/true"], draw = "600 W" }
circuit = "gpu-3"
addresses = ["127.0.0.13"]
maximum = "7 kW"
[signals.agent]
kind = "dsx-flex-infra"
broker = "mqtt://127.0.0.1"
identity = "mill"
agent = "maxlps"
agent_keys_url = "https://maxlps.example/jwks"
signing_key_file = "dsx.pem"
signing_key_id = "mill-1"
lost_after = "2min"
fail_safe = "23 kW"
resources = { node-1 = "gpu-1", node-2 = "gpu-2", node-3 = "gpu-3", rack-b = "rack" }
"#;

fn config() -> Config {
    parsed(TEXT)
}

pub(super) fn parsed(text: &str) -> Config {
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    config::parse(text, Path::new("site.toml"), &options).unwrap_or_else(|errors| panic!("{errors}"))
}

fn settings(config: &Config) -> InfraSettings {
    match &config.signals[1].kind {
        Kind::DsxInfra(settings) => (**settings).clone(),
        other => panic!("{other:?}"),
    }
}

pub(super) fn hint(resource: &str, action: &str, priority: u32, target: Option<u32>) -> Value {
    let mut hint =
        json!({ "resource_id": resource, "resource_type": "node", "action": action, "priority": priority });
    if let Some(target) = target {
        hint["target_power"] = watt(target);
    }
    hint
}

/// The data of an alert on the feed `main-a`.
pub(super) fn data(breach: u128, status: &str, hints: &Value) -> Value {
    let mut data = json!({
        "feed_tag": "main-a",
        "status": status,
        "severity": "critical",
        "breach": { "breach_id": uuid(breach), "detected_at": "2026-06-01T00:00:00Z" },
        "target": { "correlation_id": uuid(5), "load_constraint": watt(18_000) },
        "measured_load": watt(26_000),
        "infrastructure_actions": if status == "escalated" { json!(["SHUTDOWN_NODES"]) } else { json!([]) },
    });
    if status != "resolved" {
        data["shed_hints"] = hints.clone();
    }
    data
}

/// What a message comes to, beside what the desk holds.
#[derive(Debug)]
pub(super) enum Came {
    Nothing,
    Shed(Vec<String>, Option<Report>),
    Reverted(Option<Value>),
    State(Life),
}

impl Came {
    pub(super) fn report(self) -> Report {
        match self {
            Self::Shed(refused, Some(report)) if refused.is_empty() => report,
            other => panic!("{other:?}"),
        }
    }
}

/// A hall with a desk, and an agent with a key. What comes is handled by what the role does it with, without a broker.
pub(super) struct Hall {
    config: Config,
    settings: InfraSettings,
    pub(super) desk: Desk,
    pub(super) hands: Hands,
    gate: Gate,
    agent: Partner,
    source: SourceKey,
}

impl Hall {
    pub(super) fn new() -> Self {
        Self::of(TEXT)
    }

    /// One whose agent was heard, and says that no feed is above.
    pub(super) async fn heard() -> Self {
        let mut hall = Self::new();
        let state = hall.state(90, true);
        assert!(matches!(hall.hear(&state).await, Ok(Came::State(Life::Control))));
        hall
    }

    pub(super) fn of(text: &str) -> Self {
        let config = parsed(text);
        let sources = config.signals.iter().map(|spec| spec.settings.clone()).collect();
        let hands = Hands::new();
        let desk = Desk::new(config.site.clone(), sources, Clock::start(), hands.clock());
        let rules = Rules { partner: "maxlps", identity: "mill", oldest: seconds(60), require_iat: false };
        Self {
            settings: settings(&config),
            gate: Gate::of_infra(&rules, Vec::new()),
            agent: Partner::new("maxlps-1"),
            config,
            source: desk.source("agent").unwrap(),
            desk,
            hands,
        }
    }

    pub(super) fn source(&self) -> SourceKey {
        self.source
    }

    pub(super) async fn pass(&self, time: Duration) {
        self.hands.forward(time);
        tokio::time::advance(time).await;
    }

    /// A message of the agent, signed with its key, as it is sent then.
    pub(super) fn says(&self, id: u128, sent: Wall, what: Sent, data: &Value) -> Value {
        let mut event = event(id, sent, &json!(self.agent.sign(data)));
        event["source"] = json!("//grid/v1/dsx-flex-agent/maxlps");
        event["type"] = json!(what.kind());
        event
    }

    pub(super) fn alerts(&self, id: u128, breach: u128, status: &str, hints: &Value) -> Value {
        self.says(id, self.hands.wall(), Sent::Breach, &data(breach, status, hints))
    }

    pub(super) fn state(&self, id: u128, compliant: bool) -> Value {
        let at = jiff::Timestamp::from_millisecond(self.hands.wall().as_unix_millis()).unwrap().to_string();
        let data = json!({ "snapshot_time": at, "feeds": { "main-a": { "compliant": compliant } } });
        self.says(id, self.hands.wall(), Sent::Status, &data)
    }

    pub(super) async fn hear(&mut self, event: &Value) -> Result<Came, Refused> {
        let (wall, source) = (self.hands.wall(), self.source());
        let looked = self.gate.look_at_agent(event.to_string().as_bytes(), &self.agent.keys, wall);
        let message = match looked {
            Ok(Answer::New(message)) => message,
            Ok(Answer::Again) => return Ok(Came::Nothing),
            Err(refused) => {
                if refused.missed() {
                    self.desk.miss(source);
                    self.desk.remember(source, self.gate.news()).await.unwrap();
                }
                return Err(refused);
            }
        };
        let mut ear = Ear { desk: &self.desk, source, gate: &mut self.gate };
        Ok(match message.said {
            FromAgent::State(state) => Came::State(ear.lives(state).await.unwrap()),
            FromAgent::Alert(alert) if alert.is_over() => {
                let over = ear.end(&alert, message.late).await.unwrap();
                let ids = (alert.breach.as_str(), alert.feed.as_str());
                Came::Reverted(reverted(ids, &over, &self.settings.resources, wall))
            }
            FromAgent::Alert(alert) => {
                let heard = (message.id.as_str(), message.sent, None);
                let heeded = ear.shed(&alert, heard, &self.settings, Scope::Import).await.unwrap();
                let Heeded { refused, report, .. } = heeded;
                Came::Shed(refused, report)
            }
        })
    }

    /// What the hints of the agent and its loss come to: circuits and caps.
    pub(super) fn caps(&self) -> Vec<(String, f64)> {
        let name = |id: CircuitId| self.config.site.circuits[id.0].name.clone();
        let mut caps: Vec<(String, f64)> = self
            .desk
            .look()
            .iter()
            .filter(|order| order.source == self.source().position())
            .map(|order| (name(order.active.circuit), order.active.cap.get().round()))
            .collect();
        caps.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
        caps
    }

    pub(super) fn view(&self) -> SourceState {
        self.desk.look();
        self.desk.view(self.source()).unwrap().state
    }

    /// A cycle in which each server is as it is said, by its circuit, or draws 7 kW and is set to that.
    fn cycle(&self, servers: &[(&str, Server)]) -> Frame {
        let (site, now) = (&self.config.site, self.desk.moment());
        let of = |circuit: CircuitId| {
            let name = &site.circuits[circuit.0].name;
            servers.iter().find(|(known, _)| known == name).map_or(RUNS, |(_, server)| *server)
        };
        let read = |server: Server| MinerInput {
            contact: Contact::Reachable,
            status: Some(Reading {
                value: MinerStatus {
                    power: server.draw.map_or(Measured::Unavailable, Measured::Value),
                    ..MinerStatus::default()
                },
                at: now.earlier(server.age),
            }),
            delivery: None,
        };
        let inputs = site.miners.iter().map(|member| read(of(member.circuit))).collect();
        let snapshot = Snapshot { orders: self.desk.look(), ..Snapshot::new(now, Vec::new(), inputs) };
        let mut decision = step(&mut State::new(site.clone()), &snapshot);
        decision.mode = Mode::Limited;
        let draws = site.sums(|_, member| of(member.circuit).draw.unwrap_or(Watts::whole(7_000)));
        let sets = site.sums(|_, member| of(member.circuit).set);
        for ((circuit, draw), set) in decision.circuits.iter_mut().zip(draws).zip(sets) {
            (circuit.miners, circuit.setpoint, circuit.other) = (draw, set, Watts::ZERO);
        }
        for (outcome, member) in decision.miners.iter_mut().zip(&site.miners) {
            outcome.state = of(member.circuit).state;
        }
        Frame { site: site.clone(), snapshot: Arc::new(snapshot), decision: Arc::new(decision) }
    }

    fn follow(&self, report: &mut Report, servers: &[(&str, Server)]) -> bool {
        report.follow(&self.cycle(servers), self.source().position(), self.desk.moment());
        report.is_settled()
    }

    pub(super) fn told(&self, report: &Report) -> Value {
        report.write(self.hands.wall())
    }
}

#[derive(Clone, Copy)]
struct Server {
    draw: Option<Watts>,
    set: Watts,
    state: MinerState,
    age: Duration,
}

const RUNS: Server = Server {
    draw: Some(Watts::whole(7_000)),
    set: Watts::whole(7_000),
    state: MinerState::Hashing,
    age: Duration::ZERO,
};

pub(super) fn codes(told: &Value) -> Vec<(String, String)> {
    let word = |result: &Value, key: &str| result[key].as_str().unwrap().to_owned();
    let results = told["results"].as_array().unwrap().iter();
    results.map(|result| (word(result, "code"), word(result, "message"))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_applied_when_the_measured_draw_shows_it_and_not_before() {
    let mut hall = Hall::new();
    hall.pass(seconds(30)).await;
    let alert = hall.alerts(1, 9, "active", &json!([hint("node-1", "power_cap", 1, Some(4_000))]));
    let mut report = hall.hear(&alert).await.unwrap().report();
    assert!(hall.caps().contains(&("gpu-1".into(), 4_000.0)));
    hall.pass(seconds(2)).await;
    let down = Server { draw: Some(Watts::whole(3_950)), set: Watts::whole(3_900), ..RUNS };
    for (what, server) in [
        ("nothing was told yet", RUNS),
        ("accepted is not applied", Server { set: Watts::whole(3_900), ..RUNS }),
        ("it draws little, and may draw more", Server { draw: Some(Watts::whole(1_000)), ..RUNS }),
        ("nobody knows whether it was taken", Server { state: MinerState::Unanswered, ..down }),
        ("it was measured before", Server { age: seconds(5), ..down }),
        ("it is not measured", Server { draw: None, ..down }),
    ] {
        assert!(!hall.follow(&mut report, &[("gpu-1", server)]), "{what}");
    }
    assert!(hall.follow(&mut report, &[("gpu-1", down)]));
    let told = hall.told(&report);
    assert_eq!((&told["action"], &told["code"]), (&json!("applied"), &json!("success")), "{told}");
    assert_eq!((&told["breach_id"], &told["feed_tag"]), (&json!(uuid(9)), &json!("main-a")));
    let result = &told["results"][0];
    assert_eq!((&result["resource_id"], &result["code"]), (&json!("node-1"), &json!("applied")), "{told}");
    assert!(result["applied_power"].is_null(), "it is what was asked for: {told}");
}

#[tokio::test(start_paused = true)]
async fn a_hint_that_does_not_show_by_its_time_has_failed_and_says_why() {
    let mut hall = Hall::new();
    let hints =
        json!([hint("node-1", "power_cap", 1, Some(4_000)), hint("node-3", "power_cap", 2, Some(4_000))]);
    let alert = hall.alerts(1, 9, "active", &hints);
    let mut report = hall.hear(&alert).await.unwrap().report();
    let servers = [
        ("gpu-1", Server { set: Watts::whole(3_900), ..RUNS }),
        ("gpu-3", Server { set: Watts::whole(3_900), draw: None, ..RUNS }),
    ];
    hall.pass(seconds(59)).await;
    assert!(!hall.follow(&mut report, &servers));
    hall.pass(seconds(1)).await;
    assert!(hall.follow(&mut report, &servers));
    let told = hall.told(&report);
    assert_eq!(told["code"], "error", "{told}");
    let failed = |why: &str| ("failed".to_owned(), why.to_owned());
    assert_eq!(codes(&told), [failed("it draws more"), failed("nobody knows what it draws")]);
    // The limits stand all the same, and where no cycle comes time goes by, too.
    assert!(hall.caps().contains(&("gpu-1".into(), 4_000.0)));
    let again = hall.alerts(2, 9, "escalated", &hints);
    let mut report = hall.hear(&again).await.unwrap().report();
    report.expire(hall.desk.moment());
    assert!(!report.is_settled());
    report.expire(hall.desk.moment() + seconds(60));
    assert!(report.is_settled() && report.outcomes().all(|outcome| matches!(outcome, Outcome::Failed(..))));
}

#[tokio::test(start_paused = true)]
async fn a_hint_for_the_guaranteed_the_unknown_and_what_ballast_does_not_do_is_skipped_with_its_reason() {
    let mut hall = Hall::heard().await;
    let hints = json!([
        hint("node-1", "power_cap", 5, Some(100_000)),
        hint("node-1", "power_cap", 4, None),
        hint("node-1", "suspend", 3, None),
        hint("node-9", "power_cap", 2, Some(4_000)),
        hint("node-2", "power_cap", 1, Some(4_000)),
    ]);
    let alert = hall.alerts(1, 9, "escalated", &hints);
    let report = hall.hear(&alert).await.unwrap().report();
    assert!(report.is_settled(), "there is nothing to wait for");
    let told = hall.told(&report);
    let reasons =
        ["guaranteed", "no resource of this name", "no job is ended", "no `target_power`", "check the unit"];
    for ((code, message), reason) in codes(&told).iter().zip(reasons) {
        assert!(code == "skipped" && message.contains(reason), "{reason}: {told}");
    }
    assert_eq!(told["results"].as_array().unwrap().len(), 5);
    assert_eq!(told["code"], "error");
    assert!(told["diag_msg"].as_str().unwrap().contains("SHUTDOWN_NODES"), "{told}");
    assert!(hall.caps().is_empty(), "{:?}", hall.caps());
}

#[tokio::test(start_paused = true)]
async fn a_cap_below_what_may_be_asked_for_is_raised_to_it_and_told() {
    let mut hall = Hall::heard().await;
    let lowest = |circuit: &str| {
        let site = &hall.config.site;
        let at = site.circuits.iter().position(|known| known.name == circuit).unwrap();
        site.miners.iter().find(|member| member.circuit.0 == at).unwrap().minimum().get().round()
    };
    let (first, third) = (lowest("gpu-1"), lowest("gpu-3"));
    let hints = json!([
        hint("node-1", "power_cap", 1, Some(500)),
        hint("node-3", "suspend", 2, None),
        hint("rack-b", "throttle", 3, None),
    ]);
    let alert = hall.alerts(1, 9, "active", &hints);
    let mut report = hall.hear(&alert).await.unwrap().report();
    // The one with a contract keeps all that it may draw, also with the margin that is kept free there.
    let expected = [
        ("gpu-1".to_owned(), first),
        ("gpu-3".to_owned(), 600.0),
        ("rack".to_owned(), first + 7_000.0 + third + 100.0),
    ];
    assert_eq!(hall.caps(), expected);
    let low = |watts: f64| {
        let power = Watts::saturating(watts);
        Server { draw: Some(power), set: power, ..RUNS }
    };
    assert!(hall.follow(&mut report, &[("gpu-1", low(first)), ("gpu-3", low(600.0))]));
    let told = hall.told(&report);
    assert_eq!(told["code"], "success", "{told}");
    assert_eq!(told["results"][0]["applied_power"]["value"], first, "{told}");
    assert_eq!(told["results"][1]["applied_power"]["value"], 600.0, "{told}");
}

#[tokio::test(start_paused = true)]
async fn the_hints_of_a_feed_add_up_until_its_breach_is_over() {
    let mut hall = Hall::heard().await;
    let one = json!([hint("node-1", "power_cap", 1, Some(4_000))]);
    let alert = hall.alerts(1, 9, "active", &one);
    hall.hear(&alert).await.unwrap().report();
    // Who has given what they can is not named any more, and keeps it; who is named anew gets the newer limit.
    let other = hall.alerts(2, 9, "escalated", &json!([hint("node-3", "power_cap", 1, Some(5_000))]));
    hall.hear(&other).await.unwrap().report();
    assert_eq!(hall.caps(), [("gpu-1".to_owned(), 4_000.0), ("gpu-3".to_owned(), 5_000.0)]);
    let anew = hall.alerts(3, 9, "escalated", &json!([hint("node-1", "power_cap", 1, Some(4_500))]));
    hall.hear(&anew).await.unwrap().report();
    assert_eq!(hall.caps(), [("gpu-1".to_owned(), 4_500.0), ("gpu-3".to_owned(), 5_000.0)]);
    // Another feed has hints of its own.
    let mut elsewhere = data(10, "active", &json!([hint("rack-b", "power_cap", 1, Some(20_000))]));
    elsewhere["feed_tag"] = json!("main/b");
    let elsewhere = hall.says(4, hall.hands.wall(), Sent::Breach, &elsewhere);
    hall.hear(&elsewhere).await.unwrap().report();
    // An agent that began anew has another name for the breach of the feed: what it says is over is over.
    let over = hall.alerts(5, 11, "resolved", &json!([]));
    let Came::Reverted(Some(told)) = hall.hear(&over).await.unwrap() else { panic!("nothing is told") };
    assert_eq!((&told["action"], &told["code"]), (&json!("reverted"), &json!("success")), "{told}");
    let names: Vec<&Value> =
        told["results"].as_array().unwrap().iter().map(|result| &result["resource_id"]).collect();
    assert_eq!(names.len(), 2, "{told}");
    assert!(names.contains(&&json!("node-1")) && names.contains(&&json!("node-3")), "{told}");
    assert_eq!(hall.caps(), [("rack".to_owned(), 20_000.0)]);
    // There is nothing to tell of a breach for which nothing was done.
    let nothing = hall.alerts(6, 12, "resolved", &json!([]));
    assert!(matches!(hall.hear(&nothing).await, Ok(Came::Reverted(None))));
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_asks_for_nothing_is_not_told_to_be_done() {
    let mut hall = Hall::new();
    let nothing = hall.alerts(1, 9, "active", &json!([]));
    let came = hall.hear(&nothing).await.unwrap();
    assert!(matches!(&came, Came::Shed(refused, None) if refused.is_empty()), "{came:?}");
    let harder = hall.alerts(2, 9, "escalated", &json!([]));
    let report = hall.hear(&harder).await.unwrap().report();
    let told = hall.told(&report);
    assert!(report.is_settled() && told["diag_msg"].as_str().unwrap().contains("SHUTDOWN_NODES"), "{told}");
    assert_eq!(told["code"], "error", "{told}");
}

#[tokio::test(start_paused = true)]
async fn other_load_whose_meter_is_silent_is_not_counted_as_none() {
    let cooled = "[circuits.cooling]\nparent = \"rack\"\nmeter = \"cooling\"\nfail_safe = \"0 W\"\n[links.hall]\ntcp = \
                  \"127.0.0.9:502\"\n[meters.cooling]\nlink = \"hall\"\nunit = 1\nprofile = \"eastron-sdm630\"\n[circuits.gpu-1]";
    let mut hall = Hall::of(&TEXT.replacen("[circuits.gpu-1]", cooled, 1));
    let at = |name: &str| hall.config.site.circuits.iter().position(|known| known.name == name).unwrap();
    let (rack, cooling) = (at("rack"), at("cooling"));
    hall.pass(seconds(30)).await;
    let alert = hall.alerts(1, 9, "active", &json!([hint("rack-b", "power_cap", 1, Some(24_000))]));
    let mut report = hall.hear(&alert).await.unwrap().report();
    hall.pass(seconds(2)).await;
    let mut shows = |metered: Option<i32>, other: i32| {
        let mut frame = hall.cycle(&[]);
        let mut decision = (*frame.decision).clone();
        decision.circuits[cooling].power = metered.map(Watts::whole);
        decision.circuits[rack].other = Watts::whole(other);
        let status = if metered.is_some() { MeterStatus::Ok } else { MeterStatus::Unreachable };
        let power = metered.map(|power| Reading { value: Watts::whole(power), at: hall.desk.moment() });
        let mut snapshot = (*frame.snapshot).clone();
        snapshot.meters = vec![MeterInput::new(status, power)];
        decision.meters.clear();
        (frame.decision, frame.snapshot) = (Arc::new(decision), Arc::new(snapshot));
        report.follow(&frame, hall.source().position(), hall.desk.moment());
        report.is_settled()
    };
    assert!(!shows(None, 2_000), "21 kW of servers, and nobody knows what is drawn beside them");
    assert!(!shows(Some(4_000), 4_000), "with 4 kW beside them it is 25 kW");
    assert!(shows(Some(2_000), 2_000));
}

#[tokio::test(start_paused = true)]
async fn a_hint_that_is_forged_or_told_again_moves_nothing() {
    let mut hall = Hall::new();
    let state = hall.state(1, true);
    hall.hear(&state).await.unwrap();
    let one = json!([hint("node-1", "power_cap", 1, Some(4_000))]);
    let sound = hall.alerts(2, 9, "active", &one);
    let with = |field: &str, value: Value| {
        let mut event = sound.clone();
        event["id"] = json!(uuid(50));
        event[field] = value;
        event
    };
    let stranger = Partner::new("maxlps-1");
    let forged = with("data", json!(stranger.sign(&data(9, "active", &one))));
    assert_eq!(hall.hear(&forged).await.unwrap_err(), Refused::Signature(JwsError::Forged));
    let unsigned = with("data", data(9, "active", &one));
    assert_eq!(hall.hear(&unsigned).await.unwrap_err(), Refused::Fault(Fault::Unsigned));
    for (field, value) in [
        ("source", json!("//grid/v1/isv/maxlps")),
        ("source", json!("//grid/v1/dsx-flex-agent/another")),
        ("type", json!("grid.loadtarget.set.v1")),
        ("type", json!("grid.powerbreach.enforcement.v1")),
    ] {
        let told = hall.hear(&with(field, value.clone())).await.unwrap_err();
        assert!(matches!(told, Refused::Source(_) | Refused::Kind(_)) && !told.missed(), "{value}: {told:?}");
    }
    // A status that is passed off as an alert has no hints, and none may be made of a status.
    let posing = with("type", json!(Sent::Status.kind()));
    assert!(matches!(hall.hear(&posing).await, Err(Refused::Status(_))));
    assert!(hall.caps().is_empty(), "{:?}", hall.caps());
    hall.hear(&sound).await.unwrap().report();
    let over = hall.alerts(3, 9, "resolved", &json!([]));
    hall.hear(&over).await.unwrap();
    assert!(hall.caps().is_empty());
    // What was obeyed once is not obeyed again, as it is or in another wrapping, and not by whoever begins anew.
    assert!(matches!(hall.hear(&sound).await, Ok(Came::Nothing)));
    let mut wrapped = sound.clone();
    wrapped["id"] = json!(uuid(60));
    assert_eq!(hall.hear(&wrapped).await.unwrap_err(), Refused::Rewrapped);
    let rules = Rules { partner: "maxlps", identity: "mill", oldest: seconds(60), require_iat: false };
    hall.gate = Gate::of_infra(&rules, hall.desk.remembered(hall.source()));
    assert_eq!(hall.hear(&wrapped).await.unwrap_err(), Refused::Rewrapped);
    let ahead =
        jiff::Timestamp::from_millisecond(hall.hands.wall().later(seconds(90)).as_unix_millis()).unwrap();
    let ahead = json!({ "snapshot_time": ahead.to_string(), "feeds": {} });
    let ahead = hall.says(80, hall.hands.wall(), Sent::Status, &ahead);
    let told = hall.hear(&ahead).await.unwrap_err().to_string();
    assert!(told.contains("in 90 s") && told.matches("refused").count() == 1, "{told}");
    // An old status keeps nobody alive, and is no reason to complain.
    let old = hall.state(70, true);
    hall.pass(seconds(61)).await;
    assert!(matches!(hall.hear(&old).await, Ok(Came::Nothing)));
    let new = hall.state(71, true);
    assert!(matches!(hall.hear(&new).await, Ok(Came::State(_))));
    assert!(matches!(hall.hear(&new).await, Ok(Came::Nothing)));
    assert!(hall.caps().is_empty());
}

#[test]
fn an_alert_with_a_mistake_is_none() {
    let sound = data(
        9,
        "active",
        &json!([hint("node-1", "power_cap", 2, Some(1)), hint("node-3", "throttle", 1, None)]),
    );
    let read = |value: &Value| alert(value.to_string().as_bytes());
    let known = read(&sound).unwrap();
    let order: Vec<&str> = known.hints.iter().map(|hint| hint.resource.as_str()).collect();
    assert_eq!(order, ["node-3", "node-1"], "what goes first comes first");
    for (at, value) in [
        ("/status", json!("over")),
        ("/feed_tag", json!("a\nb")),
        ("/feed_tag", json!("a".repeat(129))),
        ("/breach/breach_id", json!("9")),
        ("/shed_hints", json!({})),
        ("/shed_hints", json!(vec![hint("node-1", "throttle", 1, None); 65])),
        ("/shed_hints/0/priority", json!(0)),
        ("/shed_hints/0/priority", json!(1.5)),
        ("/shed_hints/0/resource_type", json!("rack")),
        ("/shed_hints/0/action", json!("shutdown")),
        ("/shed_hints/0/resource_id", json!("")),
        ("/shed_hints/0/target_power", json!({ "value": -1, "unit": "watt" })),
        ("/shed_hints/0/target_power", json!({ "value": 1, "unit": "horse" })),
        ("/infrastructure_actions", json!(["BURN"])),
    ] {
        let mut wrong = sound.clone();
        *wrong.pointer_mut(at).unwrap() = value;
        assert!(read(&wrong).is_err(), "{at}: {wrong}");
    }
}

/// Everything that the role can say, with the schema of each.
pub(crate) fn said() -> Vec<(&'static str, Value)> {
    let config = config();
    let settings = settings(&config);
    let believed = |_: CircuitId, _: Scope| Watts::whole(60_000);
    let around = Surroundings {
        resources: &settings.resources,
        site: &config.site,
        scope: Scope::Import,
        believed: &believed,
    };
    let hints = json!([
        hint("node-1", "power_cap", 1, Some(4_000)),
        hint("node-2", "throttle", 2, None),
        hint("node-3", "suspend", 3, None),
    ]);
    let now = crate::dsx::NOW;
    let mut said = Vec::new();
    for status in ["active", "escalated"] {
        let alert = alert(data(9, status, &hints).to_string().as_bytes()).unwrap();
        let judged: Vec<Result<Shed, String>> = alert.hints.iter().map(|hint| judge(hint, &around)).collect();
        let mut report = Report::new(&alert, None, judged, (Moment::START, Duration::ZERO));
        report.close();
        said.push(("PowerBreachEnforcementData", report.write(now)));
        let plan = Plan::of(&alert, (uuid(1).as_str(), now), Vec::new(), &around);
        let ids = (alert.breach.as_str(), alert.feed.as_str());
        let told = reverted(ids, &plan.orders, &settings.resources, now);
        said.push(("PowerBreachEnforcementData", told.unwrap()));
    }
    let message = Outgoing {
        what: Sent::Enforcement,
        identity: "mill",
        id: &uuid(rand::random()),
        time: now,
        correlation: None,
        trace: &Trace::new(5, 6),
        data: &Partner::new("mill-1").sign(&json!({})),
    };
    said.push(("PowerBreachEnforcementEvent", serde_json::from_str(&message.write()).unwrap()));
    said
}
