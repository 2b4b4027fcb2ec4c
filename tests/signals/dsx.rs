//! DSX Flex: from the targets of a partner to caps, and from cycles to what the partner is told. Which messages are obeyed is in `dsx_gate`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ballast::clock::{Clock, Moment};
use ballast::config::{self, Options, Secrets};
use ballast::control::signal::book::Phase;
use ballast::control::signal::{Doubt, Order, Urgency, Wall};
use ballast::control::site::{CircuitId, Scope};
use ballast::secret::Secret;
use ballast::signal::dsx::admit::{Admitted, Answer, Gate, Refused, Rules};
use ballast::signal::dsx::breach::{Breach, Hint, Status, Watch, alert};
use ballast::signal::dsx::jws::{KeySet, Signer};
use ballast::signal::dsx::message::{Fault, LARGEST, Outgoing, Sent, Trace, is_uuid, targets, uuid};
use ballast::signal::dsx::plan::{Feeds, PlanError, Surroundings, Told, binding, orders, told};
use ballast::signal::dsx::session::bounded;
use ballast::signal::dsx::tell::{Event, Feed, Metadata, View, status};
use ballast::signal::{Desk, List};
use ballast::store::Store;
use ballast::units::Watts;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

const SITE: CircuitId = CircuitId(0);
const A: CircuitId = CircuitId(1);
const B: CircuitId = CircuitId(2);
const OLDEST: Duration = Duration::from_secs(60);
/// 2026-11-30 09:00 UTC.
pub(crate) const NOW: Wall = Wall::unix_millis(1_796_029_200_000);

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A key pair: the private half as PEM, the public one as a JWK.
fn pair(name: &str) -> (Secret, Value) {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
    let point = key.public_key().as_ref().to_vec();
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "kid": name, "use": "sig",
        "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
    });
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(document.as_ref())
    );
    (Secret::new(pem), jwk)
}

pub(crate) fn set(keys: &[&Value]) -> KeySet {
    KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

/// A partner with one key.
pub(crate) struct Partner {
    pub(crate) signer: Signer,
    pub(crate) jwk: Value,
    pub(crate) keys: KeySet,
}

impl Partner {
    pub(crate) fn new(name: &str) -> Self {
        let (pem, jwk) = pair(name);
        Self { signer: Signer::new(&pem, name).unwrap(), keys: set(&[&jwk]), jwk }
    }

    pub(crate) fn sign(&self, data: &Value) -> String {
        self.signer.sign(data.to_string().as_bytes()).unwrap()
    }
}

/// A message of the partner.
pub(crate) fn event(id: u128, at: Wall, data: &Value) -> Value {
    json!({
        "specversion": "1.0.2",
        "id": uuid(id),
        "source": "//grid/v1/isv/acme-energy",
        "type": "grid.loadtarget.set.v1",
        "time": jiff::Timestamp::from_millisecond(at.as_unix_millis()).unwrap().to_string(),
        "datacontenttype": "application/json",
        "subject": "loadtarget",
        "correlationid": uuid(id + 1_000),
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "data": data,
    })
}

pub(crate) fn one(cap: Value) -> Value {
    json!({ "targets": [{ "interval": {}, "load_constraint": cap }] })
}

pub(crate) fn watt(value: u32) -> Value {
    json!({ "value": value, "unit": "watt" })
}

pub(crate) const RULES: Rules<'static> =
    Rules { partner: "acme-energy", identity: "mill", oldest: OLDEST, require_iat: false };

pub(crate) fn gate() -> Gate {
    Gate::new(&RULES, Vec::new())
}

pub(crate) fn look(gate: &mut Gate, keys: &KeySet, event: &Value) -> Result<Answer, Refused> {
    look_at(gate, keys, event, NOW)
}

pub(crate) fn look_at(gate: &mut Gate, keys: &KeySet, event: &Value, now: Wall) -> Result<Answer, Refused> {
    gate.look(event.to_string().as_bytes(), keys, now)
}

fn feeds() -> Feeds {
    let tags = [("site", SITE), ("main-a", A), ("main-b", B)];
    Feeds { whole: SITE, tags: tags.map(|(tag, circuit)| (tag.to_owned(), circuit)).into() }
}

fn planned(list: &Admitted) -> Result<Vec<Order>, PlanError> {
    after(list, &[])
}

/// What a list comes to after others.
fn after(list: &Admitted, standing: &[Order]) -> Result<Vec<Order>, PlanError> {
    let (feeds, believed) = (feeds(), |_: CircuitId| Watts::whole(60_000));
    let around =
        Surroundings { feeds: &feeds, scope: Scope::Import, believed: &believed, now: NOW, standing };
    orders(list, &around)
}

/// What a partner's data comes to.
fn list(data: &Value) -> Admitted {
    let partner = Partner::new("acme-1");
    let event = event(7, NOW, &json!(partner.sign(data)));
    match look(&mut gate(), &partner.keys, &event) {
        Ok(Answer::New(list)) => list,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dsx").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_list_of_the_schema_is_understood_and_what_is_none_is_refused_as_a_whole() {
    let cases = fixture("targets.json");
    for case in cases["understood"].as_array().unwrap() {
        let orders = planned(&list(&case["data"])).unwrap_or_else(|error| panic!("{case}: {error}"));
        let caps: Vec<Value> = orders
            .iter()
            .map(|order| {
                let ballast::control::signal::Ask::Cap(cap) = order.ask else { panic!("{order:?}") };
                json!({
                    "circuit": (["site", "a", "b"][order.circuit.0]),
                    "watts": cap.get(),
                    "best_effort": order.urgency == Urgency::Normal,
                })
            })
            .collect();
        assert_eq!(json!(caps), case["caps"], "{}", case["what"]);
    }
    for case in cases["refused"].as_array().unwrap() {
        let data = case["data"].to_string();
        let told = match targets(data.as_bytes()) {
            Err(fault) => fault.to_string(),
            Ok(_) => planned(&list(&case["data"])).expect_err("it is taken").to_string(),
        };
        assert!(told.contains(case["what"].as_str().unwrap()), "{case}: {told}");
    }
    let many = json!({ "targets": vec![one(Value::Null)["targets"][0].clone(); 65] });
    assert!(matches!(targets(many.to_string().as_bytes()), Err(Fault::TooMany { .. })));
}

/// A desk of a small site that keeps nothing on disk.
pub(crate) fn desk() -> Desk {
    desk_on(None)
}

fn desk_on(store: Option<Store>) -> Desk {
    let text = "[site]\nname = \"Mill\"\nmode = \"control\"\n[circuits.pcc]\nother_load = \"30 kW\"\n[circuits.a]\nparent = \"pcc\"\n\
                [circuits.b]\nparent = \"pcc\"\nother_load = \"20 kW\"\n[limits.rating]\ncircuit = \"pcc\"\nminers = \"25 kW\"\nclass = \"safety\"\n\
                [groups.a]\ndriver = \"luxos\"\nmodel = \"s19k-pro\"\ncircuit = \"a\"\naddresses = [\"127.0.0.1-127.0.0.5\"]\n\
                [signals.grid]\nkind = \"dsx-flex\"\nbroker = \"mqtt://127.0.0.1\"\nidentity = \"mill\"\npartner = \"acme-energy\"\n\
                partner_keys_url = \"https://acme.example/jwks\"\nsigning_key_file = \"dsx.pem\"\nsigning_key_id = \"mill-1\"\n\
                fail_safe = \"5 kW\"\nfeeds = { main-a = \"a\", main-b = \"b\" }\n";
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    let config =
        config::parse(text, Path::new("site.toml"), &options).unwrap_or_else(|errors| panic!("{errors}"));
    let sources = config.signals.iter().map(|spec| spec.settings.clone()).collect();
    let (clock, wall) = (Clock::start(), Arc::new(|| (NOW, Doubt::None)));
    match store {
        Some(store) => Desk::without_disk(config.site, sources, clock, wall, store),
        None => Desk::new(config.site, sources, clock, wall),
    }
}

#[tokio::test]
async fn a_list_that_is_not_on_disk_is_obeyed_and_known_not_to_be() {
    for (desk, saved) in [(desk(), true), (desk_on(Some(Store::broken())), false)] {
        let source = desk.source("grid").unwrap();
        let orders = planned(&list(&one(watt(9_000)))).unwrap();
        let remember = vec![("a/b".into(), 1)];
        desk.list(source, List { orders, remember, ..List::default() }).await.unwrap();
        assert_eq!(desk.is_saved(source), saved);
        assert!(desk.look().iter().any(|order| order.active.cap == Watts::whole(9_000)));
    }
}

#[tokio::test]
async fn a_list_lowers_the_caps_the_next_takes_its_place_and_null_lifts() {
    let desk = desk();
    let source = desk.source("grid").unwrap();
    let give = async |data: Value| {
        let glance = desk.glance(source).unwrap();
        let stands = glance.held.iter().filter(|held| glance.is_ahead_or_acts(held));
        let standing: Vec<Order> = stands.map(|held| held.order.clone()).collect();
        let orders = after(&list_of(&data), &standing).unwrap();
        let answers = desk.list(source, List { orders, ..List::default() }).await.unwrap();
        assert!(answers.iter().all(|answer| answer.outcome.is_ok()), "{answers:?}");
        let mut caps: Vec<(usize, f64)> = desk
            .look()
            .iter()
            .filter(|order| order.source == source.position())
            .map(|order| (order.active.circuit.0, order.active.cap.get()))
            .collect();
        caps.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
        caps
    };
    let target = |tags: Value, watts: u32| json!({ "interval": {}, "feed_tags": tags, "load_constraint": watt(watts) });
    // Of several that hold at once on one feed the tightest binds, in whatever order they stand.
    let data = json!({ "targets": [
        target(json!(["main-a"]), 9_000), target(json!(["main-a", "main-b"]), 7_000), target(json!([]), 20_000),
        { "interval": { "start_time": "2026-11-30T12:00:00Z" }, "load_constraint": watt(1_000) },
        { "interval": { "end_time": "2026-11-30T08:59:59Z", "start_time": "2026-11-30T08:00:00Z" }, "load_constraint": watt(500) },
    ] });
    assert_eq!(give(data).await, [(0, 20_000.0), (1, 7_000.0), (2, 7_000.0)]);
    // What is told of them after a restart stands in the orders themselves.
    let glance = desk.glance(source).unwrap();
    let known = told(&glance);
    assert_eq!((known.len(), known.iter().filter(|told| told.active).count()), (5, 4));
    assert!(known.iter().all(|told| is_uuid(&told.correlation) && !told.best_effort));
    assert_eq!(binding(&known, A, true).unwrap().cap, Watts::whole(7_000));
    // A list is a whole one of the feeds that it names, and of no other.
    let other = json!({ "targets": [target(json!(["main-b"]), 8_000)] });
    assert_eq!(give(other).await, [(0, 20_000.0), (1, 7_000.0), (2, 8_000.0)]);
    // What lifts later lifts nothing yet.
    let later = json!({ "targets": [
        { "interval": { "start_time": "2026-11-30T10:00:00Z" }, "load_constraint": null },
    ] });
    assert_eq!(give(later).await, [(0, 20_000.0), (1, 7_000.0), (2, 8_000.0)]);
    let glance = desk.glance(source).unwrap();
    let ends: Vec<Option<Wall>> = told(&glance).into_iter().map(|told| told.until).collect();
    assert!(!ends.is_empty() && ends.iter().all(|end| *end == Some(NOW.later(seconds(3_600)))), "{ends:?}");
    // A soft target that is tighter does not hide a hard one.
    let mut both = json!({ "targets": [target(json!(["main-b"]), 8_000), target(json!(["main-b"]), 6_000)] });
    both["targets"][1]["strategy"] = json!({ "best_effort": true });
    assert_eq!(give(both).await, [(0, 20_000.0), (1, 7_000.0), (2, 6_000.0), (2, 8_000.0)]);
    let urgent = desk.look().into_iter().find(|order| order.active.cap == Watts::whole(8_000)).unwrap();
    assert_eq!(urgent.active.urgency, Urgency::Emergency);
    assert!(give(one(Value::Null)).await.is_empty());
    let glance = desk.glance(source).unwrap();
    assert!(told(&glance).is_empty());
    assert_eq!(glance.held.iter().filter(|held| glance.phase(held) == Phase::Acting).count(), 0);
}

#[test]
fn a_list_counts_on_the_circuits_that_it_names_and_from_its_beginning_on() {
    let data = json!({ "targets": [
        { "interval": {}, "feed_tags": ["main-a"], "load_constraint": watt(9_000) },
        { "interval": { "end_time": "2026-11-30T09:30:00Z" }, "feed_tags": ["main-b"], "load_constraint": watt(8_000) },
        { "interval": { "start_time": "2026-11-30T12:00:00Z" }, "load_constraint": watt(20_000) },
    ] });
    let before = planned(&list_of(&data)).unwrap();
    let left = |targets: Value| -> Vec<(usize, Option<u64>)> {
        let all = after(&list_of(&json!({ "targets": targets })), &before).unwrap();
        let old = all.iter().filter(|order| before.iter().any(|known| known.id == order.id));
        old.map(|order| (order.circuit.0, order.until.map(|until| until.since(NOW).as_secs()))).collect()
    };
    let null = |start: Value, tags: Value| json!([{ "interval": { "start_time": start }, "feed_tags": tags, "load_constraint": null }]);
    // At once: the named feed alone, or all of them.
    assert_eq!(left(null(Value::Null, json!(["main-a"]))), [(2, Some(1_800)), (0, None)]);
    assert!(left(null(Value::Null, json!([]))).is_empty());
    assert!(left(null(json!("2026-11-30T08:00:00Z"), Value::Null)).is_empty(), "it began before now");
    // Later: what stands ends when it begins, or before where it said so; what would begin after that does not.
    let ten = || json!("2026-11-30T10:00:00Z");
    assert_eq!(left(null(ten(), json!(["main-a"]))), [(1, Some(3_600)), (2, Some(1_800)), (0, None)]);
    assert_eq!(left(null(ten(), Value::Null)), [(1, Some(3_600)), (2, Some(1_800))]);
    // A limit that begins later does not lift what stands before it either.
    let limit = json!([{ "interval": { "start_time": ten() }, "feed_tags": ["main-a"], "load_constraint": watt(9_500) }]);
    assert_eq!(left(limit), [(1, Some(3_600)), (2, Some(1_800)), (0, None)]);
    // Of several targets for one feed the first beginning counts.
    let two = json!([
        { "interval": { "start_time": ten() }, "feed_tags": ["main-a"], "load_constraint": watt(9_500) },
        { "interval": { "start_time": "2026-11-30T09:10:00Z" }, "feed_tags": ["main-a"], "load_constraint": null },
    ]);
    assert_eq!(left(two), [(1, Some(600)), (2, Some(1_800)), (0, None)]);
}

/// As [`list`], each under an id of its own.
fn list_of(data: &Value) -> Admitted {
    let partner = Partner::new("acme-1");
    let event = event(rand::random::<u64>().into(), NOW, &json!(partner.sign(data)));
    match look(&mut gate(), &partner.keys, &event) {
        Ok(Answer::New(list)) => list,
        other => panic!("{other:?}"),
    }
}

fn a_told(cap: i32, best_effort: bool) -> Told {
    Told {
        circuit: A,
        cap: Watts::whole(cap),
        from: NOW,
        until: Some(NOW.later(seconds(3_600))),
        best_effort,
        correlation: uuid(9),
        active: true,
    }
}

const METADATA: Metadata = Metadata { minimum: Watts::whole(1_000), maximum: Watts::whole(20_000) };

fn view(power: i32, setpoint: i32, cap: Option<i32>) -> View {
    View {
        measured: Some(Watts::whole(power)),
        calculated: Watts::whole(setpoint),
        arrived: (power - setpoint).abs() < 200,
        setpoint: Watts::whole(setpoint),
        cap: cap.map(Watts::whole),
    }
}

/// Lets a feed follow one view a second; gives the events that it has to tell, by their second.
fn events(views: &[View]) -> Vec<(usize, String)> {
    let mut feed = [Feed::new("main-a", A, METADATA)];
    let mut told = Vec::new();
    for (second, view) in views.iter().enumerate() {
        let at = Duration::from_secs(u64::try_from(second).unwrap());
        feed[0].follow(*view, Moment::after_start(at), NOW.later(at));
        while feed[0].has_news() {
            let said = status(&feed, &[], 0.02, NOW);
            // What was not sent is said again.
            assert_eq!(said, status(&feed, &[], 0.02, NOW));
            feed[0].was_told();
            told.push((second, said["feeds"]["main-a"]["event"].as_str().unwrap().to_owned()));
        }
    }
    told
}

#[test]
fn a_message_that_is_too_large_takes_little_room_and_is_refused_all_the_same() {
    for (size, kept) in [(3, 3), (LARGEST, LARGEST), (LARGEST + 1, LARGEST + 1), (8_000_000, LARGEST + 1)] {
        let message = rumqttc::Publish::new("a", rumqttc::QoS::AtLeastOnce, vec![b' '; size]);
        let message = bounded(message);
        assert_eq!((message.payload.len(), message.topic.as_str()), (kept, "a"));
        let told = gate().look(&message.payload, &KeySet::none(), NOW).unwrap_err();
        assert_eq!(told == Refused::Fault(Fault::TooLarge(LARGEST)), size > LARGEST, "{told:?}");
    }
}

#[test]
fn who_asks_for_the_most_that_they_were_told_is_not_refused() {
    let metadata = Metadata { maximum: Watts::new(59_999.6).unwrap(), ..METADATA };
    let feed = [Feed::new("main-a", A, metadata)];
    let told = status(&feed, &[], 0.02, NOW)["feeds"]["main-a"]["metadata"].clone();
    for field in ["power_maximum", "default_constraint"] {
        assert_eq!(told[field], json!({ "value": 59_999.0, "unit": "watt" }), "{field}");
    }
}

#[test]
fn a_feed_tells_each_transition_once() {
    let mut views = vec![view(15_000, 15_000, None); 2];
    views.extend([
        view(15_000, 9_800, Some(10_000)),
        view(12_000, 9_800, Some(10_000)),
        view(9_800, 9_800, Some(10_000)),
    ]);
    views.extend([view(9_800, 9_800, Some(10_000)); 3]);
    views.extend([view(9_800, 11_000, None), view(11_000, 15_000, None)]);
    views.extend([view(15_000, 15_000, None); 15]);
    let told = events(&views);
    let names: Vec<&str> = told.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["start_ramp_down", "end_ramp_down", "start_ramp_up", "end_ramp_up"]);
    assert_eq!(told.iter().map(|(second, _)| *second).take(3).collect::<Vec<_>>(), [2, 4, 8]);
    // Tighter while it is on its way up.
    let turned = events(&[
        view(9_000, 9_000, Some(9_000)),
        view(9_000, 12_000, None),
        view(10_000, 5_000, Some(5_000)),
        view(5_000, 5_000, Some(5_000)),
    ]);
    let names: Vec<&str> = turned.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["start_ramp_up", "start_ramp_down", "end_ramp_down"]);
}

#[test]
fn what_is_not_measured_is_not_compliant_while_a_target_holds() {
    let state = |view: Option<View>, targets: &[Told]| {
        let mut feed = [Feed::new("main-a", A, METADATA)];
        if let Some(view) = view {
            feed[0].follow(view, Moment::START, NOW);
        }
        status(&feed, targets, 0.02, NOW)["feeds"]["main-a"]["compliant"].clone()
    };
    let unknown = View { measured: None, ..view(0, 5_000, None) };
    assert_eq!(state(Some(unknown), &[a_told(9_000, false)]), false);
    assert_eq!(state(None, &[a_told(9_000, false)]), false);
    assert_eq!(state(Some(unknown), &[]), true);
    assert_eq!(state(Some(view(9_100, 9_100, None)), &[a_told(9_000, false)]), true);
    assert_eq!(state(Some(view(9_500, 9_100, None)), &[a_told(9_000, true)]), false, "best effort or not");
}

/// What a watch tells of one power a second, under one target: second, status, whether critical.
fn breaches(
    watch: &mut Watch,
    powers: &[Option<i32>],
    target: Option<&Told>,
    from: u64,
) -> Vec<(u64, Status, bool)> {
    let mut told = Vec::new();
    for (power, second) in powers.iter().zip(from..) {
        let at = (Moment::millis(second * 1_000), NOW.later(seconds(second)));
        if let Some(breach) = watch.follow(power.map(Watts::whole), target, at, || uuid(second.into())) {
            told.push((second, breach.status, breach.critical));
        }
    }
    told
}

#[test]
fn a_breach_begins_when_its_target_had_its_time_and_keeps_its_id_to_its_end() {
    let target = a_told(10_000, false);
    let mut watch = Watch::new(0.02, seconds(5));
    // On its way down it is none, and once it was met every excess is.
    let falling = [15_000, 13_000, 11_000, 9_900, 9_900, 10_150, 10_500].map(Some);
    assert_eq!(breaches(&mut watch, &falling, Some(&target), 0), [(6, Status::Active, false)]);
    let id = watch.open().unwrap().id.clone();
    // A meter that is silent begins none and ends none; worse is told at once.
    let worse = [None, Some(11_000), Some(12_500), Some(12_500)];
    assert_eq!(breaches(&mut watch, &worse, Some(&target), 7), [(9, Status::Escalated, true)]);
    assert_eq!(watch.open().unwrap().id, id);
    let back = [9_000, 10_900, 9_000, 9_000, 9_000, 9_000].map(Some);
    assert_eq!(breaches(&mut watch, &back, Some(&target), 11), [(16, Status::Resolved, false)]);
    assert!(watch.open().is_none());
    // Never met: after its time. Critical from its beginning it is escalated at once.
    let mut watch = Watch::new(0.02, seconds(5));
    let told = breaches(&mut watch, &[Some(15_000); 8], Some(&target), 0);
    assert_eq!(told, [(5, Status::Active, true), (6, Status::Escalated, true)]);
    assert!(breaches(&mut watch, &[Some(15_000); 70], Some(&target), 8).is_empty());
    // The target goes, and what is told is what is drawn then.
    let at = (Moment::millis(90_000), NOW.later(seconds(90)));
    let last = watch.follow(Some(Watts::whole(14_000)), None, at, || uuid(1)).unwrap();
    assert_eq!((last.status, last.measured), (Status::Resolved, Watts::whole(14_000)));
    // It lasts, and becomes critical after that: that is told once.
    let mut watch = Watch::new(0.02, seconds(5));
    let told = breaches(&mut watch, &[Some(11_000); 70], Some(&target), 0);
    assert_eq!(told, [(5, Status::Active, false), (65, Status::Escalated, false)]);
    let worse = [Some(12_500), Some(11_000), Some(12_500)];
    assert_eq!(breaches(&mut watch, &worse, Some(&target), 70), [(70, Status::Escalated, true)]);
}

#[test]
fn a_breach_is_told_within_the_cycle_that_shows_it() {
    let target = a_told(10_000, false);
    let mut watch = Watch::new(0.02, seconds(30));
    assert!(breaches(&mut watch, &[Some(9_000); 3], Some(&target), 0).is_empty());
    assert_eq!(breaches(&mut watch, &[Some(10_400)], Some(&target), 3), [(3, Status::Active, false)]);
}

/// Everything that either role can say, with the schema of each.
fn said() -> Vec<(&'static str, Value)> {
    let mut said = Vec::new();
    let target = a_told(10_000, false);
    for event in [
        Event::TargetSet,
        Event::StartRampDown,
        Event::EndRampDown,
        Event::StartRampUp,
        Event::EndRampUp,
        Event::Periodic,
    ] {
        let mut feeds = [Feed::new("main-a", A, METADATA), Feed::new("main-b", B, METADATA)];
        feeds[0].follow(view(15_000, 15_000, None), Moment::START, NOW);
        feeds[0].follow(view(15_000, 9_000, Some(10_000)), Moment::millis(1_000), NOW);
        while feeds[0].has_news() {
            feeds[0].was_told();
        }
        feeds[0].push(event);
        let endless = Told { until: None, active: false, ..a_told(8_000, true) };
        said.push(("PowerStateStatusData", status(&feeds, &[target.clone(), endless], 0.02, NOW)));
    }
    let hints = [
        Hint { member: "miner-7".into(), suspend: true, lowest: Watts::whole(40) },
        Hint { member: "gpu-1".into(), suspend: false, lowest: Watts::whole(3_500) },
    ];
    let mut watch = Watch::new(0.02, Duration::ZERO);
    let mut follow = |power: i32, target: Option<&Told>, second: u64| -> Option<Breach> {
        let at = (Moment::millis(second * 1_000), NOW.later(seconds(second)));
        watch.follow(Some(Watts::whole(power)), target, at, || uuid(77))
    };
    let steps = [follow(11_000, Some(&target), 0), follow(13_000, Some(&target), 1), follow(13_000, None, 2)];
    for breach in steps {
        let breach = breach.unwrap();
        said.push(("PowerBreachAlertData", alert("main-a", &breach, &hints)));
        said.push(("PowerBreachAlertData", alert("main-a", &breach, &[])));
    }
    let signer = Partner::new("mill-1").signer;
    let trace = Trace::new(5, 6);
    for (what, schema) in [(Sent::Status, "PowerStateStatusEvent"), (Sent::Breach, "PowerBreachAlertEvent")] {
        for correlation in [None, Some(uuid(3))] {
            let message = Outgoing {
                what,
                identity: "mill",
                id: &uuid(rand::random()),
                time: NOW,
                correlation: correlation.as_deref(),
                trace: &trace.next(9),
                data: &signer.sign(b"{}").unwrap(),
            };
            said.push((schema, serde_json::from_str(&message.write()).unwrap()));
        }
    }
    // What we take for examples must be some.
    for case in fixture("targets.json")["understood"].as_array().unwrap() {
        said.push(("SetLoadTargetData", case["data"].clone()));
    }
    let partner = Partner::new("acme-1");
    said.push(("LoadTargetSetEvent", event(1, NOW, &json!(partner.sign(&one(Value::Null))))));
    said.extend(crate::dsx_infra::said());
    said
}

#[test]
fn what_is_sent_is_as_the_schema_has_it() {
    let Some(schema) = std::env::var_os("BALLAST_TEST_DSX_SCHEMA") else {
        println!(
            "SKIPPED: what DSX Flex is told against its schema; set BALLAST_TEST_DSX_SCHEMA to the file of it (1.7.0)"
        );
        return;
    };
    let python = std::env::var("BALLAST_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = Command::new(&python);
    command.args(["-c", "import jsonschema, yaml"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !command.status().is_ok_and(|status| status.success()) {
        println!("SKIPPED: {python} has no jsonschema and pyyaml; install them or set BALLAST_TEST_PYTHON");
        return;
    }
    let path = std::env::temp_dir().join(format!("ballast-dsx-{}.json", std::process::id()));
    let messages: Vec<Value> =
        said().into_iter().map(|(schema, value)| json!({ "schema": schema, "value": value })).collect();
    let kinds: BTreeMap<&str, usize> = messages.iter().fold(BTreeMap::new(), |mut kinds, message| {
        *kinds.entry(message["schema"].as_str().unwrap()).or_default() += 1;
        kinds
    });
    assert_eq!(kinds.len(), 8, "{kinds:?}");
    std::fs::write(&path, json!(messages).to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/dsx_schema.py");
    let output = Command::new(&python).arg(script).arg(schema).arg(&path).output().unwrap();
    let _ = std::fs::remove_file(&path);
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
