//! DSX Flex: from the bytes of a partner to caps, and from cycles to what the partner is told.

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
use ballast::signal::dsx::jws::{JwsError, KeySet, KeySetError, Signer};
use ballast::signal::dsx::message::{Envelope, Fault, LARGEST, Outgoing, Sent, Trace, is_uuid, targets, uuid};
use ballast::signal::dsx::park::{MOST_PARKED, Parked, Parking, due};
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
const NOW: Wall = Wall::unix_millis(1_796_029_200_000);

fn seconds(seconds: u64) -> Duration {
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

fn set(keys: &[&Value]) -> KeySet {
    KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

/// A partner with one key.
struct Partner {
    signer: Signer,
    jwk: Value,
    keys: KeySet,
}

impl Partner {
    fn new(name: &str) -> Self {
        let (pem, jwk) = pair(name);
        Self { signer: Signer::new(&pem, name).unwrap(), keys: set(&[&jwk]), jwk }
    }

    fn sign(&self, data: &Value) -> String {
        self.signer.sign(data.to_string().as_bytes()).unwrap()
    }
}

/// A message of the partner.
fn event(id: u128, at: Wall, data: &Value) -> Value {
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

fn one(cap: Value) -> Value {
    json!({ "targets": [{ "interval": {}, "load_constraint": cap }] })
}

fn watt(value: u32) -> Value {
    json!({ "value": value, "unit": "watt" })
}

const RULES: Rules<'static> =
    Rules { partner: "acme-energy", identity: "mill", oldest: OLDEST, require_iat: false };

fn gate() -> Gate {
    Gate::new(&RULES, Vec::new())
}

fn look(gate: &mut Gate, keys: &KeySet, event: &Value) -> Result<Answer, Refused> {
    look_at(gate, keys, event, NOW)
}

fn look_at(gate: &mut Gate, keys: &KeySet, event: &Value, now: Wall) -> Result<Answer, Refused> {
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
        Ok(Answer::Targets(list)) => list,
        other => panic!("{other:?}"),
    }
}

fn fixture(name: &str) -> Value {
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

#[test]
fn a_message_that_is_not_the_partners_or_not_signed_by_them_is_refused() {
    let (partner, stranger) = (Partner::new("acme-1"), Partner::new("acme-1"));
    let data = one(watt(10_000));
    let signed = json!(partner.sign(&data));
    let mut gate = gate();
    let mut refused = |event: &Value| look(&mut gate, &partner.keys, event).unwrap_err();
    let with = |field: &str, value: Value| {
        let mut event = event(1, NOW, &signed);
        event[field] = value;
        event
    };
    // Unsigned, in each of its forms.
    assert_eq!(refused(&with("data", data.clone())), Refused::Fault(Fault::Unsigned));
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for (alg, tail) in [("none", ""), ("none", "AA"), ("HS256", "AAAA"), ("ES384", "AAAA")] {
        let forged =
            format!("{}.{}.{tail}", part(json!({ "alg": alg, "kid": "acme-1" })), part(data.clone()));
        let told = refused(&with("data", json!(forged)));
        let expected = matches!(told, Refused::Signature(JwsError::Algorithm(_) | JwsError::NotCompact));
        assert!(expected, "{alg}: {told:?}");
    }
    // Signed by somebody else under the partner's name of a key, or with what was signed for something else.
    let wrong = refused(&with("data", json!(stranger.sign(&data))));
    assert_eq!(wrong, Refused::Signature(JwsError::Forged));
    let whole = partner.sign(&data);
    let (header, rest) = whole.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let moved = format!("{header}.{}.{signature}", part(one(Value::Null)));
    assert_eq!(refused(&with("data", json!(moved))), Refused::Signature(JwsError::Forged));
    // A key that nobody knows, and none at all.
    let other = Partner::new("acme-2").sign(&data);
    assert!(matches!(refused(&with("data", json!(other))), Refused::Signature(JwsError::UnknownKey(_))));
    let nameless = format!("{}.{}.AAAA", part(json!({ "alg": "ES256" })), part(data.clone()));
    assert_eq!(refused(&with("data", json!(nameless))), Refused::Signature(JwsError::NoKey));
    let critical =
        format!("{}.{}.AAAA", part(json!({ "alg": "ES256", "kid": "acme-1", "crit": ["b64"] })), part(data));
    assert_eq!(refused(&with("data", json!(critical))), Refused::Signature(JwsError::Critical));
    for (field, value) in [
        ("source", json!("//grid/v1/isv/somebody-else")),
        ("source", json!("//grid/v1/infra/acme-energy")),
        ("type", json!("grid.powerbreach.enforcement.v1")),
        ("specversion", json!("2.0")),
        ("id", json!("1")),
        ("time", json!("2026-11-30T09:00:00")),
        ("correlationid", json!("x")),
        ("data", Value::Null),
        ("data", json!("a.b")),
    ] {
        let told = refused(&with(field, value.clone()));
        assert!(!told.to_string().is_empty(), "{field} = {value}");
    }
    let bytes =
        [vec![], b"[]".to_vec(), b"{".to_vec(), vec![0xff, 0xfe], vec![b'['; 5_000], vec![b' '; 70_000]];
    for payload in &bytes {
        let told = gate.look(payload, &partner.keys, NOW);
        assert!(matches!(told, Err(Refused::Fault(_))), "{told:?}");
    }
    // None of it has left a trace: the partner's own message is taken.
    assert!(matches!(look(&mut gate, &partner.keys, &event(1, NOW, &signed)), Ok(Answer::Targets(_))));
}

#[test]
fn a_message_is_obeyed_once_and_in_its_time() {
    let partner = Partner::new("acme-1");
    let mut gate = gate();
    let sign = |watts: u32| json!(partner.sign(&one(watt(watts))));
    let (first, second) = (sign(1), sign(1));
    let at = |seconds_ago: u64| NOW.earlier(seconds(seconds_ago));
    assert!(matches!(look(&mut gate, &partner.keys, &event(11, at(61), &sign(1))), Err(Refused::Old(_))));
    let ahead = event(12, NOW.later(seconds(61)), &sign(1));
    assert!(matches!(look(&mut gate, &partner.keys, &ahead), Err(Refused::Ahead(_))));
    assert!(look(&mut gate, &partner.keys, &event(1, at(10), &first)).is_ok());
    // The broker may say it twice, whatever it says of it.
    assert_eq!(look(&mut gate, &partner.keys, &event(1, at(10), &first)), Ok(Answer::Again));
    let other = look(&mut gate, &partner.keys, &event(1, at(9), &sign(1))).unwrap_err();
    assert_eq!(other, Refused::Replayed(uuid(1)), "another content under the same id");
    // The signature does not hold the id and the time: who takes it over into another message is found out.
    let wrapped = look(&mut gate, &partner.keys, &event(2, at(5), &first)).unwrap_err();
    assert_eq!(wrapped, Refused::Rewrapped);
    assert!(
        look(&mut gate, &partner.keys, &event(3, at(4), &second)).is_ok(),
        "the partner says the same anew"
    );
    assert_eq!(look(&mut gate, &partner.keys, &event(4, at(8), &sign(2))), Err(Refused::Outdated));
    // After a restart, too.
    let mut restarted = Gate::new(&RULES, gate.news());
    assert_eq!(look(&mut restarted, &partner.keys, &event(5, at(8), &sign(2))), Err(Refused::Outdated));
    assert_eq!(look(&mut restarted, &partner.keys, &event(6, at(1), &first)), Err(Refused::Rewrapped));
    assert_eq!(look(&mut restarted, &partner.keys, &event(3, at(4), &second)), Ok(Answer::Again));
}

#[test]
fn a_trace_that_is_none_is_not_passed_on() {
    let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let none = ("0".repeat(32), "0".repeat(16));
    for (parent, sound) in [
        (format!("00-{trace}-{span}-01"), true),
        (format!("ff-{trace}-{span}-01"), false),
        (format!("00-{}-{span}-01", none.0), false),
        (format!("00-{trace}-{}-01", none.1), false),
    ] {
        let mut message = event(1, NOW, &json!("a.b.c"));
        message["traceparent"] = json!(parent);
        let read = Envelope::read(message.to_string().as_bytes()).unwrap();
        assert_eq!(read.trace.map(|trace| trace.parent), sound.then_some(parent));
    }
}

#[test]
fn what_was_signed_is_taken_once_however_fresh_it_is_made_to_look() {
    let partner = Partner::new("acme-1");
    let (mut gate, mut kept) = (gate(), Vec::new());
    // It came too late, and comes again days later as if it were new; a list that cannot be used is no better.
    for (number, data) in [(1, one(Value::Null)), (3, json!({ "targets": [] }))] {
        let signed = json!(partner.sign(&data));
        let late = look(&mut gate, &partner.keys, &event(number, NOW.earlier(seconds(90)), &signed)).unwrap_err();
        assert!(matches!(late, Refused::Old(_)) && late.missed(), "{late:?}");
        let days = NOW.later(seconds(5 * 86_400));
        let fresh = event(number + 1, days, &signed);
        assert_eq!(look_at(&mut gate, &partner.keys, &fresh, days), Err(Refused::Rewrapped));
        kept.extend(gate.news());
        let mut restarted = Gate::new(&RULES, kept.clone());
        let told = look_at(&mut restarted, &partner.keys, &fresh, days).unwrap_err();
        assert_eq!((told.missed(), told), (false, Refused::Rewrapped), "who cannot sign makes nothing be missed");
    }
    // What is dated ahead by whoever may publish does not make the partner's next list late.
    let ahead = event(5, NOW.later(seconds(59)), &json!(partner.sign(&one(watt(1)))));
    assert!(look(&mut gate, &partner.keys, &ahead).is_ok());
    assert!(look(&mut gate, &partner.keys, &event(6, NOW, &json!(partner.sign(&one(watt(2)))))).is_ok());
    // What cannot be read and was signed may have asked for less.
    let unreadable = look(&mut gate, &partner.keys, &event(7, NOW, &json!(partner.sign(&json!({}))))).unwrap_err();
    assert!(matches!(unreadable, Refused::Content(_)) && unreadable.missed(), "{unreadable:?}");
}

#[test]
fn what_the_partner_signs_beside_the_targets_counts_more_than_what_anybody_writes() {
    let partner = Partner::new("acme-1");
    let with = |field: &str, value: Value| {
        let mut data = one(watt(1_000));
        data[field] = value;
        json!(partner.sign(&data))
    };
    let unix = |at: Wall| json!(at.as_unix_millis() / 1_000);
    let mut gate = gate();
    let mut told = |id: u128, at: Wall, signed: &Value| look(&mut gate, &partner.keys, &event(id, at, signed));
    // Old by the signature, new by the rest; and the other way round.
    assert!(matches!(told(1, NOW, &with("iat", unix(NOW.earlier(seconds(90))))), Err(Refused::Old(_))));
    let taken = told(2, NOW.earlier(seconds(90)), &with("iat", unix(NOW.earlier(seconds(5)))));
    let Ok(Answer::Targets(list)) = taken else { panic!("{taken:?}") };
    assert_eq!(list.sent, NOW.earlier(seconds(5)));
    let before = told(3, NOW, &with("iat", unix(NOW.earlier(seconds(9)))));
    assert_eq!(before, Err(Refused::Outdated));
    // For whom it is.
    for (id, aud, ours) in [
        (10, json!("mill"), true),
        (11, json!(["other", "//grid/v1/dsx-flex-agent/mill"]), true),
        (12, json!("other"), false),
        (13, json!([]), false),
        (14, json!(7), false),
    ] {
        let told = told(id, NOW, &with("aud", aud));
        assert_eq!(told.is_ok(), ours, "{told:?}");
        assert!(told.err().is_none_or(|error| error == Refused::Audience && !error.missed()));
    }
    // What says the same anew is another message by what is signed with it, also where signatures are worked out and not drawn.
    for (id, signed) in [(20, json!("a")), (21, json!("b"))] {
        assert!(told(id, NOW, &with("jti", signed)).is_ok());
    }
    // A time that is signed can be asked for.
    let mut strict = Gate::new(&Rules { require_iat: true, ..RULES }, Vec::new());
    let mut told = |id: u128, signed: &Value| look(&mut strict, &partner.keys, &event(id, NOW, signed));
    let undated = told(1, &json!(partner.sign(&one(watt(1))))).unwrap_err();
    assert!(undated == Refused::Undated && undated.missed());
    assert_eq!(told(2, &with("iat", json!("today"))), Err(Refused::Undated));
    assert!(told(3, &with("iat", unix(NOW))).is_ok());
}

#[tokio::test]
async fn what_was_verified_is_known_as_long_as_the_desk_is() {
    let desk = desk();
    let source = desk.source("grid").unwrap();
    let partner = Partner::new("acme-1");
    let mut gate = gate();
    let (null, late) = (json!(partner.sign(&one(Value::Null))), json!(partner.sign(&one(Value::Null))));
    assert!(look(&mut gate, &partner.keys, &event(1, NOW, &null)).is_ok());
    desk.list(source, List { remember: gate.news(), ..List::default() }).await.unwrap();
    assert!(look(&mut gate, &partner.keys, &event(2, NOW.earlier(seconds(90)), &late)).is_err());
    desk.remember(source, gate.news()).await.unwrap();
    let mut next = Gate::new(&RULES, desk.remembered(source));
    for signed in [null, late] {
        let replayed = look(&mut next, &partner.keys, &event(3, NOW.later(seconds(9)), &signed));
        assert_eq!(replayed, Err(Refused::Rewrapped));
    }
}

#[test]
fn a_signature_that_was_turned_into_its_equal_is_the_same_one() {
    let partner = Partner::new("acme-1");
    let whole = partner.sign(&one(watt(1)));
    let (message, signature) = whole.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    // s becomes n - s (RFC 6979, A.2.5 has n of the curve P-256).
    let order = [
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51_u8,
    ];
    let mut borrow = 0_i16;
    for at in (0..32).rev() {
        let difference = i16::from(order[at]) - i16::from(bytes[32 + at]) - borrow;
        borrow = i16::from(difference < 0);
        bytes[32 + at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    let twin = format!("{message}.{}", URL_SAFE_NO_PAD.encode(&bytes));
    assert_ne!(twin, whole);
    let mut gate = gate();
    assert!(look(&mut gate, &partner.keys, &event(1, NOW, &json!(whole))).is_ok());
    let told = look(&mut gate, &partner.keys, &event(2, NOW, &json!(twin))).unwrap_err();
    assert_eq!(told, Refused::Rewrapped);
}

#[test]
fn keys_of_both_algorithms_are_taken_and_each_is_for_its_own() {
    let vector = fixture("rs256.json");
    let rsa = KeySet::read(vector["keys"].to_string().as_bytes()).unwrap();
    let data = vector["data"].as_str().unwrap();
    let verified = rsa.verify(data).unwrap();
    assert_eq!(targets(&verified.payload).unwrap()[0].feeds, ["main-a", "main-b"]);
    let mut broken = data.to_owned();
    broken.replace_range(
        data.len() - 8..data.len() - 7,
        if &data[data.len() - 8..data.len() - 7] == "A" { "B" } else { "A" },
    );
    assert_eq!(rsa.verify(&broken), Err(JwsError::Forged));
    // A key of one kind under the name of the other.
    let mut posing = vector["keys"]["keys"][0].clone();
    posing["kid"] = json!("acme-1");
    let partner = Partner::new("acme-1");
    let signed = partner.sign(&one(Value::Null));
    assert_eq!(set(&[&posing]).verify(&signed), Err(JwsError::OtherAlgorithm("acme-1".into())));
    // Rotation: the new key beside the old one, and then alone.
    let next = Partner::new("acme-2");
    let both = set(&[&partner.jwk, &next.jwk]);
    assert!(both.verify(&signed).is_ok() && both.verify(&next.sign(&one(Value::Null))).is_ok());
    assert!(matches!(next.keys.verify(&signed), Err(JwsError::UnknownKey(_))));
    let read = |text: &str| KeySet::read(text.as_bytes()).map(|_| ()).unwrap_err();
    assert_eq!(read("[]"), KeySetError::NotASet);
    assert_eq!(read(r#"{"keys": [{"kty": "oct", "kid": "a", "k": "AAAA"}]}"#), KeySetError::Empty);
    assert_eq!(read(&json!({ "keys": [&partner.jwk, &partner.jwk] }).to_string()), KeySetError::Twice);
    assert_eq!(read(&json!({ "keys": vec![&partner.jwk; 65] }).to_string()), KeySetError::TooMany(64));
    let mut encrypts = partner.jwk.clone();
    encrypts["use"] = json!("enc");
    assert_eq!(read(&json!({ "keys": [encrypts] }).to_string()), KeySetError::Empty);
    assert!(Signer::new(&Secret::new("no key".into()), "a").is_err());
}

#[tokio::test]
async fn what_was_missed_is_known_until_the_partner_is_heard_whatever_else_is_said_meanwhile() {
    let desk = desk();
    let source = desk.source("grid").unwrap();
    let age = || {
        desk.look();
        desk.view(source).unwrap().age.unwrap()
    };
    let later = async || tokio::time::sleep(Duration::from_millis(300)).await;
    let missed = || desk.copy().sources.iter().any(|copy| &*copy.name == "grid" && !copy.in_control);
    desk.list(source, List::default()).await.unwrap();
    later().await;
    desk.heartbeat(source);
    assert!(age() < Duration::from_millis(250) && !missed());
    desk.miss(source);
    desk.complain(source, "a message is refused".into());
    later().await;
    desk.heartbeat(source);
    assert!(age() >= Duration::from_millis(250), "that the broker lives says nothing");
    assert!(missed(), "and whoever leads next does not take it for heard");
    desk.list(source, List::default()).await.unwrap();
    assert!(age() < Duration::from_millis(250) && !missed());
}

#[test]
fn a_message_waits_for_its_key_until_keys_come_and_the_newest_is_not_the_one_that_goes() {
    let at = |second: u64| Moment::millis(second * 1_000);
    let mut parking = Parking::default();
    let park = |message: u64| Parked { message, at: at(message), wall: NOW.later(seconds(message)) };
    let most = u64::try_from(MOST_PARKED).unwrap();
    for message in 0..most {
        assert!(parking.put(park(message)).is_none());
    }
    assert_eq!(parking.put(park(most)).map(|gone| gone.message), Some(0));
    let left: Vec<u64> = parking.take().into_iter().map(|parked| parked.message).collect();
    assert_eq!(left, (1..=most).collect::<Vec<_>>());
    assert!(parking.is_empty());
    // Waiting makes it old only where it takes too long.
    assert_eq!(park(0).judged_at(NOW.later(seconds(59))), NOW);
    assert_eq!(park(0).judged_at(NOW.later(seconds(3_660))), NOW.later(seconds(3_600)));
    // At once; soon where they did not come; not too often for a key that nobody may ever have had.
    assert!(due(None, false, at(0)));
    for (came, waits, second, expected) in [
        (false, false, 4, false),
        (false, false, 5, true),
        (false, true, 5, true),
        (true, true, 59, false),
        (true, true, 60, true),
        (true, false, 60, false),
        (true, false, 3_600, true),
    ] {
        assert_eq!(due(Some((at(0), came)), waits, at(second)), expected, "{came} {waits} {second}");
    }
    // What is too old by its own word waits for nothing.
    let partner = Partner::new("acme-1");
    let signed = json!(partner.sign(&one(watt(1))));
    let bytes = |sent: Wall| event(1, sent, &signed).to_string().into_bytes();
    assert!(gate().may_wait(&bytes(NOW), NOW));
    assert!(!gate().may_wait(&bytes(NOW.earlier(seconds(61))), NOW));
    assert!(!gate().may_wait(&bytes(NOW.later(seconds(61))), NOW));
    assert!(!gate().may_wait(b"{", NOW));
}

/// A desk of a small site that keeps nothing on disk.
fn desk() -> Desk {
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
        let stands = glance.held.iter().filter(|held| told(held, glance.phase(held)).is_some());
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
    let known: Vec<Told> = glance.held.iter().filter_map(|held| told(held, glance.phase(held))).collect();
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
    let ends: Vec<Option<Wall>> =
        glance.held.iter().filter_map(|held| told(held, glance.phase(held))).map(|told| told.until).collect();
    assert!(!ends.is_empty() && ends.iter().all(|end| *end == Some(NOW.later(seconds(3_600)))), "{ends:?}");
    // A soft target that is tighter does not hide a hard one.
    let mut both = json!({ "targets": [target(json!(["main-b"]), 8_000), target(json!(["main-b"]), 6_000)] });
    both["targets"][1]["strategy"] = json!({ "best_effort": true });
    assert_eq!(give(both).await, [(0, 20_000.0), (1, 7_000.0), (2, 6_000.0), (2, 8_000.0)]);
    let urgent = desk.look().into_iter().find(|order| order.active.cap == Watts::whole(8_000)).unwrap();
    assert_eq!(urgent.active.urgency, Urgency::Emergency);
    assert!(give(one(Value::Null)).await.is_empty());
    let glance = desk.glance(source).unwrap();
    assert!(glance.held.iter().all(|held| told(held, glance.phase(held)).is_none()));
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
        Ok(Answer::Targets(list)) => list,
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

/// Everything that an agent can say, with the schema of each.
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
    assert_eq!(kinds.len(), 6, "{kinds:?}");
    std::fs::write(&path, json!(messages).to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/dsx_schema.py");
    let output = Command::new(&python).arg(script).arg(schema).arg(&path).output().unwrap();
    let _ = std::fs::remove_file(&path);
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
