//! Answers that lie: whatever comes, nothing panics, nothing grows, and nothing reaches the terminal that it would obey.

use ballast::discover::evidence::{Evidence, Reply};
use ballast::discover::{identify, report, scan::Scan};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::identify::every_firmware;

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        Just(json!("\u{1b}]0;owned\u{7}\u{202e}\r\n")),
        Just(json!("9".repeat(400))),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| prop::collection::vec(inner, 0..3).prop_map(Value::Array))
}

/// Replaces the value at one place of a document, counted from its beginning.
fn replace(value: &mut Value, place: &mut usize, new: &Value) {
    if *place == 0 {
        *value = new.clone();
    }
    *place = place.wrapping_sub(1);
    match value {
        Value::Array(list) => list.iter_mut().for_each(|value| replace(value, place, new)),
        Value::Object(map) => map.values_mut().for_each(|value| replace(value, place, new)),
        _ => {}
    }
}

fn printed(evidence: &Evidence) -> String {
    let findings = identify("10.20.0.7".parse().unwrap(), evidence).into_iter().collect();
    let scan = Scan { findings, addresses: 1, ..Scan::default() };
    let mut out = Vec::new();
    report::write(&scan, false, &mut out).unwrap();
    serde_json::to_vec(&scan).unwrap();
    String::from_utf8(out).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_wrong_value_anywhere_does_no_harm(firmware in 0_usize..18, place in 0_usize..60, new in any_json()) {
        let rows = every_firmware();
        let mut evidence = rows[firmware % rows.len()].1.evidence();
        let mut place = place;
        for reply in evidence.replies.values_mut() {
            match reply {
                Reply::Data(value) => replace(value, &mut place, &new),
                Reply::Page(page) => {
                    if let Some(value) = &mut page.json {
                        replace(value, &mut place, &new);
                    }
                }
                _ => {}
            }
        }
        let text = printed(&evidence);
        prop_assert!(text.len() < 4_000, "{}", text.len());
        let obeyed = |character: char| (character.is_control() && character != '\n') || character == '\u{202e}';
        prop_assert!(!text.contains(obeyed), "{text:?}");
    }
}

#[test]
fn numbers_that_no_miner_has_count_as_left_out() {
    for (name, host, ..) in every_firmware() {
        let mut evidence = host.evidence();
        for reply in evidence.replies.values_mut() {
            let value = match reply {
                Reply::Data(value) => value,
                Reply::Page(page) => match &mut page.json {
                    Some(value) => value,
                    None => continue,
                },
                _ => continue,
            };
            enlarge(value);
        }
        let Some(found) = identify("10.20.0.7".parse().unwrap(), &evidence) else { continue };
        assert!(found.power.is_none_or(|watts| watts.get() <= 100e3), "{name}");
        assert!(found.hashrate.is_none_or(|rate| rate.as_terahashes() <= 100e3), "{name}");
    }
}

fn enlarge(value: &mut Value) {
    match value {
        Value::Number(_) => *value = json!(1e300),
        Value::Array(list) => list.iter_mut().for_each(enlarge),
        Value::Object(map) => map.values_mut().for_each(enlarge),
        _ => {}
    }
}
