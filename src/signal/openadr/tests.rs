//! From the JSON of events to orders.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::event::Event;
use super::fault::Fault;
use super::lane::{MOST_ORDERS, Programmes, Reading, Surroundings, draw, read};
use super::settings::{Account, Level, Meaning, PowerUnit, Rule, Settings};
use super::window::{MOST_WINDOWS, windows};
use crate::control::signal::{Ask, Order, Urgency, Wall};
use crate::control::site::{CircuitId, Scope};
use crate::signal::Place;
use crate::units::Watts;

/// 2026-01-10 12:00 UTC.
const NOW: Wall = Wall::unix_millis(1_768_046_400_000);
const NAMEPLATE: Watts = Watts::whole(400_000);

fn settings() -> Settings {
    Settings::new("http://127.0.0.1:1/openadr3".parse().unwrap(), Account::Nobody)
}

fn read_with(settings: &Settings, known: &[&str], programmes: &Programmes, events: &[Value]) -> Reading {
    let known: Vec<Arc<str>> = known.iter().map(|id| Arc::from(*id)).collect();
    let place = Place { circuit: CircuitId(0), scope: Scope::Import };
    let around = Surroundings {
        settings,
        source: "utility",
        place,
        nameplate: &|scope| if scope == Scope::Import { NAMEPLATE } else { NAMEPLATE.scaled(0.5) },
        known: &known,
        now: NOW,
    };
    read(events, programmes, &around)
}

fn orders(events: &[Value]) -> Vec<Order> {
    let reading = read_with(&settings(), &[], &Programmes::default(), events);
    assert_eq!(reading.list.complaint, None);
    reading.list.orders
}

fn complaint(event: Value) -> String {
    let reading = read_with(&settings(), &[], &Programmes::default(), &[event]);
    assert!(reading.list.orders.is_empty());
    reading.list.complaint.unwrap().to_string()
}

/// An event of one payload type; each interval has the values given.
fn event(payload: &str, period: Value, values: &[Value]) -> Value {
    let intervals: Vec<Value> = values
        .iter()
        .enumerate()
        .map(|(id, value)| json!({ "id": id, "payloads": [{ "type": payload, "values": [value] }] }))
        .collect();
    json!({
        "id": "e",
        "programID": "p",
        "createdDateTime": "2026-01-10T11:00:00Z",
        "modificationDateTime": "2026-01-10T11:30:00Z",
        "intervalPeriod": period,
        "intervals": intervals,
    })
}

fn limit(period: Value, values: &[Value]) -> Value {
    event("IMPORT_CAPACITY_LIMIT", period, values)
}

fn hour() -> Value {
    json!({ "start": "2026-01-10T12:00:00Z", "duration": "PT1H" })
}

/// Minutes from now.
fn minutes(at: Wall) -> i64 {
    (at.as_unix_millis() - NOW.as_unix_millis()) / 60_000
}

/// When each order holds, in minutes from now.
fn times(event: Value) -> Vec<(i64, Option<i64>)> {
    orders(&[event]).iter().map(|order| (minutes(order.from), order.until.map(minutes))).collect()
}

fn cap(order: &Order) -> Watts {
    match order.ask {
        Ask::Cap(cap) => cap,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_interval_becomes_an_order_with_the_version_and_priority_of_its_event() {
    let mut event = limit(hour(), &[json!(120), json!(80.5)]);
    event["priority"] = json!(3);
    let orders = orders(&[event]);
    let [first, second] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!((&*first.id, &*second.id), ("e/0", "e/1"));
    assert_eq!((cap(first), cap(second)), (Watts::whole(120_000), Watts::whole(80_500)));
    assert_eq!(first.revision, 1_768_044_600_000);
    assert_eq!((first.priority, &*first.lane), (3, "IMPORT_CAPACITY_LIMIT of p"));
    assert_eq!(first.until, Some(second.from), "the second follows the first");
    assert_eq!((first.scope, first.urgency), (Scope::Import, Urgency::Normal));
}

#[test]
fn an_event_without_a_priority_comes_last() {
    for priority in [json!(null), Value::Null] {
        let mut event = limit(hour(), &[json!(1)]);
        event["priority"] = priority;
        assert_eq!(orders(&[event])[0].priority, u32::MAX);
    }
    let mut event = limit(hour(), &[json!(1)]);
    event["priority"] = json!(2.0);
    assert_eq!(orders(&[event])[0].priority, 2);
}

#[test]
fn intervals_follow_one_another_or_begin_where_they_say() {
    let mut event = limit(hour(), &[json!(1), json!(2), json!(3), json!(4)]);
    event["intervals"][1]["intervalPeriod"] = json!({ "start": "0001-01-01", "duration": "PT2H" });
    event["intervals"][3]["intervalPeriod"] = json!({ "start": "2026-01-10T18:00:00Z" });
    assert_eq!(times(event), [(0, Some(60)), (60, Some(180)), (180, Some(240)), (360, Some(420))]);
}

#[test]
fn an_event_that_begins_now_begins_when_it_was_given_at_every_poll() {
    let now = json!({ "start": "0001-01-01T00:00:00", "duration": "PT1H" });
    assert_eq!(times(limit(now, &[json!(1)])), [(-30, Some(30))]);
    let forever = json!({ "start": "0001-01-01", "duration": "P9999Y" });
    assert_eq!(times(limit(forever, &[json!(1)])), [(-30, None)]);
    assert_eq!(times(limit(json!(null), &[json!(1)])), [(-30, None)], "without any period too");
}

#[test]
fn a_duration_of_zero_takes_an_order_back_and_no_duration_does_not() {
    let zero = json!({ "start": "2026-01-10T12:00:00Z", "duration": "PT0S" });
    assert_eq!(times(limit(zero, &[json!(1), json!(2)])), []);
    let none = json!({ "start": "2026-01-10T12:00:00Z" });
    assert_eq!(times(limit(none.clone(), &[json!(1)])), [(0, None)]);
    let mut two = limit(none, &[json!(1), json!(2)]);
    two["intervals"][1]["intervalPeriod"] = json!({ "start": "2026-01-10T13:00:00Z", "duration": null });
    assert_eq!(times(two), [(0, Some(60)), (60, None)], "the next one ends it");
    let mut default = limit(hour(), &[json!(1)]);
    default["duration"] = json!("PT0S");
    assert_eq!(times(default), [(0, Some(60))], "the default of the schema for an event means nothing");
}

#[test]
fn the_duration_of_the_event_cuts_its_intervals_short_or_repeats_them() {
    let mut event = limit(hour(), &[json!(1), json!(2)]);
    event["duration"] = json!("PT90M");
    assert_eq!(times(event.clone()), [(0, Some(60)), (60, Some(90))]);
    event["duration"] = json!("PT5H");
    let expected = [(0, 60), (60, 120), (120, 180), (180, 240), (240, 300)];
    assert_eq!(times(event.clone()), expected.map(|(from, until)| (from, Some(until))));
    let ids: Vec<_> = orders(&[event]).iter().map(|order| order.id.to_string()).collect();
    assert_eq!(ids, ["e/0", "e/1", "e/0#1", "e/1#1", "e/0#2"]);
}

#[test]
fn intervals_that_repeat_for_ever_are_there_today_and_tomorrow_under_the_same_names() {
    let mut event =
        limit(json!({ "start": "2020-01-01T00:00:00Z", "duration": "PT12H" }), &[json!(1), json!(2)]);
    event["duration"] = json!("P9999Y");
    let first = orders(&[event.clone()]);
    let acting: Vec<_> = first
        .iter()
        .filter(|order| order.from <= NOW && order.until.is_some_and(|until| until > NOW))
        .collect();
    assert_eq!(acting.len(), 1);
    assert_eq!((cap(acting[0]), minutes(acting[0].from)), (Watts::whole(2_000), 0));
    assert!(first.len() < 12 && first.iter().any(|order| minutes(order.from) > 24 * 60), "{}", first.len());
    // A quick one fills no book, and the present is in it.
    event["intervalPeriod"]["duration"] = json!("PT0.5S");
    let quick = orders(&[event]);
    assert!(quick.len() <= MOST_ORDERS);
    assert!(quick.iter().any(|order| order.from <= NOW && order.until.is_some_and(|until| until > NOW)));
}

#[test]
fn a_random_start_moves_all_intervals_by_the_same_time_and_always_by_the_same() {
    let mut event = limit(hour(), &[json!(1), json!(2)]);
    event["intervalPeriod"]["randomizeStart"] = json!("PT30M");
    let moved = orders(&[event.clone()]);
    let shift = (moved[0].from.as_unix_millis() - NOW.as_unix_millis()) / 1_000;
    assert!(shift != 0 && shift.abs() <= 1_800, "{shift} s");
    assert_eq!(moved[0].until, Some(moved[1].from));
    assert_eq!(moved[1].from.since(moved[0].from), Duration::from_secs(3_600));
    assert_eq!(orders(&[event.clone()]), moved);
    event["id"] = json!("another");
    assert_ne!(orders(&[event])[0].from, moved[0].from);
    let draws: Vec<f64> = (0..200).map(|number| draw("utility", &number.to_string())).collect();
    assert!(draws.iter().all(|draw| (-1.0..=1.0).contains(draw)));
    assert!(draws.iter().filter(|draw| **draw < 0.0).count() > 70, "either way");
    assert_ne!(draw("utility", "e").to_bits(), draw("other", "e").to_bits());
}

#[test]
fn several_values_share_their_interval() {
    let mut event = limit(hour(), &[json!(1)]);
    event["intervals"][0]["payloads"][0]["values"] = json!([100, 50, 80]);
    let orders = orders(&[event.clone()]);
    let found: Vec<_> = orders.iter().map(|order| (&*order.id, minutes(order.from), cap(order))).collect();
    assert_eq!(
        found,
        [
            ("e/0.0", 0, Watts::whole(100_000)),
            ("e/0.1", 20, Watts::whole(50_000)),
            ("e/0.2", 40, Watts::whole(80_000))
        ]
    );
    event["intervalPeriod"]["duration"] = json!("P9999Y");
    assert!(complaint(event).contains("several values and no end"));
}

#[test]
fn a_price_of_better_priority_hides_no_limit() {
    let mut price = event("PRICE", hour(), &[json!(0.2)]);
    (price["id"], price["priority"]) = (json!("price"), json!(0));
    let mut setpoint = event("DISPATCH_SETPOINT", hour(), &[json!(90)]);
    (setpoint["id"], setpoint["priority"]) = (json!("setpoint"), json!(0));
    let reading =
        read_with(&settings(), &[], &Programmes::default(), &[price, setpoint, limit(hour(), &[json!(50)])]);
    let lanes: Vec<_> = reading.list.orders.iter().map(|order| &*order.lane).collect();
    assert_eq!(lanes, ["DISPATCH_SETPOINT of p", "IMPORT_CAPACITY_LIMIT of p"]);
    assert!(reading.unmapped.contains("PRICE"));
}

#[test]
fn no_programme_hides_or_loosens_another() {
    let mut other = limit(hour(), &[json!(300)]);
    (other["id"], other["programID"], other["priority"]) = (json!("other"), json!("q"), json!(0));
    let found = orders(&[limit(hour(), &[json!(50)]), other]);
    let lanes: Vec<_> = found.iter().map(|order| (&*order.lane, cap(order).get())).collect();
    assert_eq!(lanes, [("IMPORT_CAPACITY_LIMIT of p", 50e3), ("IMPORT_CAPACITY_LIMIT of q", 300e3)]);
    let mut subscription = event("IMPORT_CAPACITY_SUBSCRIPTION", hour(), &[json!(100)]);
    subscription["id"] = json!("s");
    let mut reservation = event("IMPORT_CAPACITY_RESERVATION", hour(), &[json!(50)]);
    (reservation["id"], reservation["programID"]) = (json!("r"), json!("q"));
    let found = orders(&[subscription, reservation]);
    assert_eq!(found.iter().map(|order| &*order.id).collect::<Vec<_>>(), ["s/0"], "adds to its own alone");
}

#[test]
fn an_event_without_intervals_is_said_and_what_is_known_of_it_stays() {
    let bare = limit(hour(), &[]);
    assert!(complaint(bare.clone()).contains("intervals"));
    let reading = read_with(&settings(), &["e/0"], &Programmes::default(), &[bare]);
    assert_eq!(reading.list.unreadable, ["e/0".into()]);
}

#[test]
fn levels_and_alerts_are_what_the_operator_says() {
    let levels: Vec<_> = orders(&[event("SIMPLE", hour(), &[json!(0), json!(1), json!(2.0), json!(3)])])
        .iter()
        .map(|order| order.ask)
        .collect();
    assert_eq!(levels, [1.0, 0.6, 0.3, 0.0].map(Ask::ShareOfNameplate));
    for wrong in [json!(4), json!(-1), json!(1.5), json!("1"), json!(null)] {
        assert!(complaint(event("SIMPLE", hour(), &[wrong])).contains("level from 0 to 3"));
    }
    let alert = orders(&[event("ALERT_GRID_EMERGENCY", hour(), &[json!("Help")])]);
    assert_eq!((alert[0].ask, alert[0].urgency), (Ask::Cap(Watts::ZERO), Urgency::Emergency));
    let mut own = settings();
    own.simple[2] = Level::Power(Watts::whole(70_000));
    own.payloads.insert(
        "ALERT_FLEX_ALERT".into(),
        Rule { meaning: Meaning::Alert(Level::Share(0.5)), unit: None, scope: Some(Scope::Miners) },
    );
    let events = [event("SIMPLE", hour(), &[json!(2)]), event("ALERT_FLEX_ALERT", hour(), &[json!("")])];
    let found = read_with(&own, &[], &Programmes::default(), &events).list.orders;
    assert_eq!(found[0].ask, Ask::Cap(Watts::whole(70_000)));
    assert_eq!((found[1].ask, found[1].scope), (Ask::ShareOfNameplate(0.5), Scope::Miners));
}

#[test]
fn a_reservation_adds_to_the_subscription_while_both_hold() {
    let mut subscription = event("IMPORT_CAPACITY_SUBSCRIPTION", hour(), &[json!(100)]);
    subscription["id"] = json!("s");
    subscription["intervalPeriod"]["duration"] = json!("P9999Y");
    let mut reservation = event("IMPORT_CAPACITY_RESERVATION", hour(), &[json!(50)]);
    reservation["id"] = json!("r");
    reservation["intervalPeriod"]["start"] = json!("2026-01-10T13:00:00Z");
    let found = orders(&[reservation.clone(), subscription.clone()]);
    let [base, sum] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&*base.id, cap(base), base.until), ("s/0", Watts::whole(100_000), None));
    assert_eq!((&*sum.id, cap(sum)), ("s/0+r/0", Watts::whole(150_000)));
    assert_eq!((minutes(sum.from), sum.until.map(minutes)), (60, Some(120)));
    assert_eq!(base.lane, sum.lane);
    assert!(sum.priority < base.priority, "the sum hides the subscription in its time");
    // Alone it raises nothing, and one that cannot be read takes back what it added.
    assert_eq!(orders(&[reservation.clone()]), []);
    reservation["intervals"][0]["payloads"][0]["values"] = json!(["?"]);
    let known = ["s/0", "s/0+r/0"];
    let reading = read_with(&settings(), &known, &Programmes::default(), &[reservation, subscription]);
    assert_eq!(reading.list.orders.len(), 1);
    assert_eq!(reading.list.unreadable, []);
    assert!(reading.list.complaint.is_some());
}

#[test]
fn a_cap_above_everything_is_no_restriction_up_to_the_rating_and_a_mistake_above() {
    let mut own = settings();
    let events = [limit(hour(), &[json!(450), json!(4_500)])];
    let caps = |own: &Settings| {
        let orders = read_with(own, &[], &Programmes::default(), &events).list.orders;
        [cap(&orders[0]), cap(&orders[1])]
    };
    assert_eq!(caps(&own), [Watts::whole(450_000), Watts::whole(4_500_000)], "the desk refuses them");
    own.rating = Some(Watts::whole(500_000));
    assert_eq!(caps(&own), [NAMEPLATE, Watts::whole(4_500_000)]);
}

#[test]
fn units_are_known_or_refused_loudly() {
    let with = |unit: Value| {
        let mut event = limit(hour(), &[json!(10)]);
        event["payloadDescriptors"] = json!([{ "payloadType": "IMPORT_CAPACITY_LIMIT", "units": unit }]);
        event
    };
    for (unit, watts) in [("KW", 10_000), ("kW", 10_000), ("W", 10), ("MW", 10_000_000)] {
        assert_eq!(cap(&orders(&[with(json!(unit))])[0]), Watts::whole(watts), "{unit}");
    }
    for unit in ["KVA", "mW", "KWH", "PERCENT", "", "furlong"] {
        let words = complaint(with(json!(unit)));
        assert!(words.contains("no unit of power that is known"), "{words}");
    }
    assert_eq!(cap(&orders(&[with(json!(null))])[0]), Watts::whole(10_000));
    let mut programmes = Programmes::default();
    programmes.add(&json!({ "id": "p", "payloadDescriptors": [
        { "objectType": "REPORT_PAYLOAD_DESCRIPTOR", "payloadType": "IMPORT_CAPACITY_LIMIT", "units": "KWH" },
        { "objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "IMPORT_CAPACITY_LIMIT", "units": "W" },
    ] }));
    let of = |event| cap(&read_with(&settings(), &[], &programmes, &[event]).list.orders[0]);
    assert_eq!(of(with(json!(null))), Watts::whole(10));
    assert_eq!(of(with(json!("MW"))), Watts::whole(10_000_000));
    assert_eq!(PowerUnit::from_name("mw"), None, "nobody means milliwatts, and nobody should have to guess");
}

#[test]
fn what_cannot_be_read_is_named_and_what_is_known_of_it_stays() {
    let known = ["e/0", "e/1", "e/0+r/0", "other/0"];
    let good = {
        let mut good = limit(hour(), &[json!(7)]);
        good["id"] = json!("good");
        good
    };
    let bad = limit(hour(), &[json!("x")]);
    let reading = read_with(&settings(), &known, &Programmes::default(), &[bad.clone(), good.clone()]);
    let names =
        |reading: &Reading| reading.list.unreadable.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&reading), ["e/0", "e/1"]);
    assert_eq!(reading.list.orders.len(), 1);
    assert!(
        reading.list.complaint.as_deref().unwrap().starts_with("event e: the value of IMPORT_CAPACITY_LIMIT")
    );
    let mut nameless = bad;
    nameless["id"] = json!(12);
    let reading = read_with(&settings(), &known, &Programmes::default(), &[nameless, json!([]), good]);
    assert_eq!(names(&reading), ["e/0", "e/1", "other/0", "e/0", "e/1", "other/0"], "it may be any of them");
    assert!(reading.list.complaint.as_deref().unwrap().ends_with("and 1 more that cannot be read"));
}

#[test]
fn events_of_both_versions_are_read() {
    let mut old = limit(hour(), &[json!(1)]);
    old["targets"] =
        json!([{ "type": "GROUP", "values": ["a", "b"] }, { "type": "VEN_NAME", "values": ["v"] }]);
    let mut new = old.clone();
    new["targets"] = json!(["a", "b", "v"]);
    let (old, new) = (Event::read(&old).unwrap(), Event::read(&new).unwrap());
    assert_eq!(old.targets.len(), 3);
    let names = |event: &Event| event.targets.iter().map(|target| target.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&old), names(&new));
    let long = json!({ "id": "e", "intervals": vec![json!({}); 2_001] });
    assert_eq!(Event::read(&long), Err(Fault::TooMany { what: "intervals", most: 2_000 }));
}

#[test]
fn two_intervals_of_one_number_are_two_orders() {
    let mut event = limit(hour(), &[json!(1), json!(2)]);
    event["intervals"][1]["id"] = json!(0);
    let ids: Vec<_> = orders(&[event]).iter().map(|order| order.id.to_string()).collect();
    assert_eq!(ids, ["e/0", "e/at1"]);
}

#[test]
fn more_orders_than_a_book_holds_leave_the_latest_out() {
    let period = json!({ "start": "2026-01-10T00:00:00Z", "duration": "PT1M" });
    let values: Vec<Value> = (0..1_500).map(|_| json!(5)).collect();
    let found = orders(&[limit(period, &values)]);
    assert_eq!(found.len(), MOST_ORDERS);
    assert!(found.iter().all(|order| minutes(order.from) >= 0), "those that are over make room first");
    assert!(found.iter().any(|order| minutes(order.from) == 0));
}

/// JSON that looks like an event here and there.
fn piece() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("IMPORT_CAPACITY_LIMIT"),
        Just("IMPORT_CAPACITY_SUBSCRIPTION"),
        Just("IMPORT_CAPACITY_RESERVATION"),
        Just("SIMPLE"),
        Just("ALERT_BLACK_START"),
        Just("0001-01-01"),
        Just("2026-01-10T11:59:00Z"),
        Just("-009999-01-01T00:00:00Z"),
        Just("PT0S"),
        Just("PT1M"),
        Just("PT0.001S"),
        Just("P9999Y"),
        Just("P999Y"),
        Just("KW"),
        Just("MW"),
        Just("e"),
    ];
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => (0..4_i32).prop_map(Value::from),
        6 => text.prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("id"),
        Just("type"),
        Just("values"),
        Just("start"),
        Just("duration"),
        Just("randomizeStart"),
        Just("intervals"),
        Just("intervalPeriod"),
        Just("payloads"),
        Just("payloadDescriptors"),
        Just("payloadType"),
        Just("units"),
        Just("priority"),
        Just("targets"),
        Just("modificationDateTime"),
    ];
    leaf.prop_recursive(5, 60, 5, move |inner| {
        let fields = proptest::collection::vec((key.clone(), inner.clone()), 0..7);
        prop_oneof![
            1 => proptest::collection::vec(inner, 0..5).prop_map(Value::from),
            2 => fields.prop_map(|fields| {
                fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<BTreeMap<_, _>>()
            })
            .prop_map(|fields| json!(fields)),
        ]
    })
}

/// An event that is right but for what is put into it.
fn nearly() -> impl Strategy<Value = Value> {
    (piece(), 0..9_usize, proptest::collection::vec((0..4_usize, any::<f64>()), 1..5)).prop_map(
        |(odd, place, values)| {
            let kinds = [
                "IMPORT_CAPACITY_LIMIT",
                "IMPORT_CAPACITY_SUBSCRIPTION",
                "IMPORT_CAPACITY_RESERVATION",
                "SIMPLE",
            ];
            let mut event = limit(hour(), &vec![json!(3); values.len()]);
            for (position, (kind, value)) in values.iter().enumerate() {
                let payload = &mut event["intervals"][position]["payloads"][0];
                payload["type"] = json!(kinds[*kind]);
                payload["values"] = json!([value]);
            }
            match place {
                0 => event["duration"] = odd,
                1 => event["intervalPeriod"]["start"] = odd,
                2 => event["intervalPeriod"]["duration"] = odd,
                3 => event["intervalPeriod"]["randomizeStart"] = odd,
                4 => event["intervals"][0]["intervalPeriod"] = odd,
                5 => event["intervals"][0]["payloads"][0]["values"] = json!([odd]),
                6 => event["payloadDescriptors"] = odd,
                7 => event["modificationDateTime"] = odd,
                _ => event["priority"] = odd,
            }
            event
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever comes: the bounds hold, windows are windows, names are unique, and what cannot be read is named.
    #[test]
    fn whatever_a_top_node_says_comes_to_orders_within_bounds(
        events in proptest::collection::vec(prop_oneof![1 => piece(), 3 => nearly()], 0..6),
    ) {
        let reading = read_with(&settings(), &["e/0", "f/0"], &Programmes::default(), &events);
        prop_assert!(super::lane::sound(&reading));
        for event in events.iter().filter_map(|event| Event::read(event).ok()) {
            let windows = windows(&event, draw("utility", &event.id), NOW);
            prop_assert!(windows.len() <= MOST_WINDOWS);
            prop_assert!(windows.iter().all(|window| window.until.is_none_or(|until| until > window.from)));
        }
    }

    /// The way in of the fuzz target, on bytes that are nearly a list.
    #[test]
    fn bytes_that_are_nearly_a_list_do_no_harm(
        events in proptest::collection::vec(nearly(), 0..3),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = json!(events).to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        prop_assert!(super::fuzzing::events(&bytes));
    }

    /// A list is taken as it is told: reading it again gives the same orders.
    #[test]
    fn an_event_means_the_same_at_each_poll(event in nearly()) {
        let once = read_with(&settings(), &[], &Programmes::default(), std::slice::from_ref(&event));
        let again = read_with(&settings(), &[], &Programmes::default(), &[event]);
        prop_assert_eq!(once.list.orders, again.list.orders);
    }
}
