//! What an order would do, in words: `ballast limit set --preview`.

use serde_json::Value;

use super::limit::margin;
use super::orders::{at, text, watts};
use super::table::{Align, Table};

/// Miners that are named.
const MOST: usize = 10;

/// The answer of the daemon for people.
pub(super) fn words(answer: &Value, width: Option<usize>) -> String {
    if answer["starting"] == true {
        return String::from(
            "The daemon is still starting: not all meters and miners have been read, so nobody knows yet who would be moved. \
             Ask again in a minute.\nNothing was ordered.\n",
        );
    }
    let count = |key: &str| at(answer, &format!("/moves/{key}")).as_u64().unwrap_or(0);
    let of = if answer["scope"] == "miners" { "the miners of " } else { "" };
    let takes = if of.is_empty() { "takes" } else { "take" };
    let mut out = format!(
        "{of}{} {takes} {} now and would take {}",
        text(&answer["circuit"]),
        watts(&answer["power_watts"]),
        watts(&answer["after_watts"])
    );
    match (answer["met_after_seconds"].as_f64(), answer["cap_watts"].is_null()) {
        (_, true) => out.push_str(".\n"),
        (Some(0.0), false) => {
            out.push_str(&format!(": the cap of {} is met already.\n", watts(&answer["cap_watts"])))
        }
        (Some(after), false) => {
            out.push_str(&format!(
                ": the cap of {} is met after {after:.0} s.\n",
                watts(&answer["cap_watts"])
            ));
        }
        (None, false) => {
            let looked = answer["looked_seconds"].as_f64().unwrap_or(0.0);
            out.push_str(&format!(
                ": the cap of {} is not met within {looked:.0} s, {} are missing.\n",
                watts(&answer["cap_watts"]),
                watts(&answer["short_watts"])
            ));
        }
    }
    if let Some(much) = margin(answer) {
        let why = text(&answer["margin_reason"]);
        out.push_str(&format!("It may hold up to {much} longer than it says, because {why}.\n"));
    }
    let parts: Vec<String> =
        [("lowered", "lowered"), ("put_to_sleep", "put to sleep"), ("raised", "raised"), ("woken", "woken")]
            .iter()
            .filter(|(key, _)| count(key) > 0)
            .map(|(key, words)| format!("{} {words}", count(key)))
            .collect();
    let miners = if count("total") == 1 { "miner" } else { "miners" };
    match count("total") {
        0 => out.push_str("No miner would be moved.\n"),
        total => out.push_str(&format!("{total} {miners} would be moved: {}.\n", parts.join(", "))),
    }
    let elsewhere = answer["elsewhere_watts"].as_f64().unwrap_or(0.0);
    if elsewhere.abs() >= 1.0 {
        let more = if elsewhere > 0.0 { "more" } else { "less" };
        out.push_str(&format!(
            "Miners of other circuits would be set to draw {} {more}.\n",
            watts(&elsewhere.abs().into())
        ));
    }
    let rows = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for skipped in rows(&answer["skipped"]) {
        let names: Vec<String> = rows(at(&skipped, "/names")).iter().take(MOST).map(text).collect();
        let all = at(&skipped, "/miners").as_u64().unwrap_or(0);
        let more = if u64::try_from(names.len()).is_ok_and(|shown| shown < all) { ", …" } else { "" };
        let drawn = watts(at(&skipped, "/watts"));
        let why = text(at(&skipped, "/why"));
        out.push_str(&format!("{all} would not ({why}), {drawn}: {}{more}\n", names.join(", ")));
    }
    let mut table = Table::new(&[
        ("MINER", Align::Left),
        ("NOW", Align::Right),
        ("THEN", Align::Right),
        ("AFTER", Align::Right),
    ]);
    for it in rows(at(answer, "/moves/miners")).iter().take(MOST) {
        let then = if it["sleeps"] == true { "asleep".into() } else { watts(&it["to_watts"]) };
        let after = it["after_seconds"].as_f64().map_or_else(|| "–".into(), |after| format!("{after:.0} s"));
        table.row(vec![text(&it["name"]), watts(&it["from_watts"]), then, after]);
    }
    if !table.is_empty() {
        out.push('\n');
        out.push_str(&table.within(width));
        let hidden = usize::try_from(count("total")).unwrap_or(usize::MAX).saturating_sub(MOST);
        if hidden > 0 {
            out.push_str(&format!("and {hidden} more\n"));
        }
    }
    out.push_str("Nothing was ordered. Sun and other load are taken to stay as they are.\n");
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_preview_says_who_moves_and_when_it_is_met() {
        let mut answer = json!({
            "circuit": "hall", "scope": "miners", "cap_watts": 40_000.0, "power_watts": 90_000.0, "after_watts": 39_800.0,
            "short_watts": 0.0, "met_after_seconds": 6.0, "looked_seconds": 20.0,
            "moves": { "total": 12, "lowered": 10, "put_to_sleep": 2, "raised": 0, "woken": 0, "miners": [
                { "name": "a1", "from_watts": 3_400.0, "to_watts": 20.0, "sleeps": true, "after_seconds": 12.0 },
            ] },
            "skipped": [{ "why": "does not answer", "miners": 3, "watts": 9_600.0, "names": ["b1", "b2"] }],
        });
        let told = words(&answer, None);
        assert!(
            told.starts_with("the miners of hall take 90 kW now and would take 39.8 kW: the cap of 40 kW is met after 6 s.\n"),
            "{told}"
        );
        assert!(told.contains("12 miners would be moved: 10 lowered, 2 put to sleep.\n"), "{told}");
        assert!(told.contains("3 would not (does not answer), 9.6 kW: b1, b2, …\n"), "{told}");
        assert!(told.contains("asleep") && told.contains("and 2 more"), "{told}");
        assert!(!told.contains("longer") && !told.contains("other circuits"), "{told}");
        answer["elsewhere_watts"] = json!(42_000.0);
        let taken = "Miners of other circuits would be set to draw 42 kW more.\n";
        assert!(words(&answer, None).contains(taken), "{answer}");
        answer["margin_seconds"] = json!(270.0);
        answer["margin_reason"] = json!("the clock is not synchronised");
        let late = "It may hold up to 5 min longer than it says, because the clock is not synchronised.\n";
        assert!(words(&answer, None).contains(late), "{answer}");
        answer["met_after_seconds"] = Value::Null;
        answer["short_watts"] = json!(9_400.0);
        assert!(words(&answer, None).contains("is not met within 20 s, 9.4 kW are missing"), "{answer}");
        answer["starting"] = json!(true);
        let told = words(&answer, None);
        assert!(told.starts_with("The daemon is still starting") && !told.contains("moved: "), "{told}");
    }
}
