//! DSX Flex: which messages of a partner are obeyed, and what is remembered of them.

use std::time::Duration;

use ballast::clock::Moment;
use ballast::control::signal::Wall;
use ballast::secret::Secret;
use ballast::signal::List;
use ballast::signal::dsx::admit::{Answer, Gate, Refused, Rules};
use ballast::signal::dsx::jws::{JwsError, KeySet, KeySetError, Signer};
use ballast::signal::dsx::message::{Envelope, Fault, targets, uuid};
use ballast::signal::dsx::park::{MOST_PARKED, Parked, Parking, due};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::dsx::{NOW, Partner, RULES, desk, event, fixture, gate, look, look_at, one, seconds, set, watt};

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
    assert!(matches!(look(&mut gate, &partner.keys, &event(1, NOW, &signed)), Ok(Answer::New(_))));
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
        let late =
            look(&mut gate, &partner.keys, &event(number, NOW.earlier(seconds(90)), &signed)).unwrap_err();
        assert!(matches!(late, Refused::Old(_)) && late.missed(), "{late:?}");
        let days = NOW.later(seconds(5 * 86_400));
        let fresh = event(number + 1, days, &signed);
        assert_eq!(look_at(&mut gate, &partner.keys, &fresh, days), Err(Refused::Rewrapped));
        kept.extend(gate.news());
        let mut restarted = Gate::new(&RULES, kept.clone());
        let told = look_at(&mut restarted, &partner.keys, &fresh, days).unwrap_err();
        assert_eq!(
            (told.missed(), told),
            (false, Refused::Rewrapped),
            "who cannot sign makes nothing be missed"
        );
    }
    // What is dated ahead by whoever may publish does not make the partner's next list late.
    let ahead = event(5, NOW.later(seconds(59)), &json!(partner.sign(&one(watt(1)))));
    assert!(look(&mut gate, &partner.keys, &ahead).is_ok());
    assert!(look(&mut gate, &partner.keys, &event(6, NOW, &json!(partner.sign(&one(watt(2)))))).is_ok());
    // What cannot be read and was signed may have asked for less.
    let unreadable =
        look(&mut gate, &partner.keys, &event(7, NOW, &json!(partner.sign(&json!({}))))).unwrap_err();
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
    let mut told =
        |id: u128, at: Wall, signed: &Value| look(&mut gate, &partner.keys, &event(id, at, signed));
    // Old by the signature, new by the rest; and the other way round.
    assert!(matches!(told(1, NOW, &with("iat", unix(NOW.earlier(seconds(90))))), Err(Refused::Old(_))));
    let taken = told(2, NOW.earlier(seconds(90)), &with("iat", unix(NOW.earlier(seconds(5)))));
    let Ok(Answer::New(list)) = taken else { panic!("{taken:?}") };
    assert_eq!(list.sent, NOW.earlier(seconds(5)));
    let before = told(3, NOW, &with("iat", unix(NOW.earlier(seconds(9)))));
    assert_eq!(before, Err(Refused::Outdated));
    // From when on and how long it counts.
    for (id, name, at) in
        [(4, "exp", NOW.earlier(seconds(1))), (5, "exp", NOW), (6, "nbf", NOW.later(seconds(90)))]
    {
        let refused = told(id, NOW, &with(name, unix(at))).unwrap_err();
        assert!(
            matches!(refused, Refused::Over(_) | Refused::Ahead(_)) && refused.missed(),
            "{name}: {refused}"
        );
    }
    let unread = told(7, NOW, &with("exp", json!("tomorrow")));
    assert!(matches!(unread, Err(Refused::Content(_))), "{unread:?}");
    for (id, name, at) in [(8, "exp", NOW.later(seconds(60))), (9, "nbf", NOW.earlier(seconds(5)))] {
        assert!(told(id, NOW, &with(name, unix(at))).is_ok(), "{name}");
    }
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
    let park =
        |message: u64| Parked { message, at: at(message), wall: NOW.later(seconds(message)), asks: true };
    let most = u64::try_from(MOST_PARKED).unwrap();
    for message in 0..most {
        assert!(parking.put(park(message)).is_none());
    }
    assert_eq!(parking.oldest(), Some(at(0)));
    assert_eq!(parking.put(park(most)).map(|gone| gone.message), Some(0));
    assert_eq!(parking.oldest(), Some(at(1)));
    let left: Vec<u64> = parking.take().into_iter().map(|parked| parked.message).collect();
    assert_eq!(left, (1..=most).collect::<Vec<_>>());
    assert!(parking.is_empty() && parking.oldest().is_none());
    // What asks for nothing goes first, also the newest.
    for message in 0..most {
        parking.put(Parked { asks: message != 2, ..park(message) });
    }
    for (message, asks, gone) in [(20, true, 2), (21, false, 21), (22, true, 0)] {
        let parked = parking.put(Parked { asks, ..park(message) });
        assert_eq!(parked.map(|parked| parked.message), Some(gone));
    }
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
}
