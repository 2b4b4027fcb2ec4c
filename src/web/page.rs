//! The page for people: what is going on and where to read more. No script; it loads itself anew.

use std::fmt::Write as _;
use std::time::Duration;

use super::health::Health;
use super::status::{Circuit, Cycle, Meter, Signals, Status};
use crate::control::snapshot::MeterStatus;
use crate::metrics::long;
use crate::signal::OPERATOR;
use crate::units::Watts;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
    color:#1b1b1b;background:#fff}table{border-collapse:collapse;margin:1rem 0;width:100%}\
    th,td{text-align:right;padding:.25rem .6rem;border-bottom:1px solid #ddd}\
    th:first-child,td:first-child{text-align:left}td:last-child,th:last-child{text-align:left}\
    .line{font-weight:600}.bad{color:#a40000}\
    @media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}th,td{border-color:#444}.bad{color:#ff8080}}";

/// Text as HTML takes it, in a tag or an attribute; names come from configurations and files and may hold anything.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

fn watts(value: f64) -> String {
    Watts::saturating(value).to_string()
}

fn watts_or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), watts)
}

pub(super) fn page(status: &Status, health: &Health) -> String {
    let site = escape(&status.site);
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"refresh\" content=\"5\">\
         <title>Ballast: {site}</title><style>{STYLE}</style></head><body><h1>{site}</h1>\
         <p class=\"line\">{}</p>",
        escape(&status.summary)
    );
    if let Some(reason) = &health.reason {
        // Writing into a string cannot fail, here and below.
        let _ = write!(html, "<p class=\"bad\">{}</p>", escape(reason));
    }
    if let Some(cycle) = &status.cycle {
        let _ = write!(html, "<p>What binds: {}.</p>", escape(&cycle.binding.words));
        unused(&mut html, cycle);
        circuits(&mut html, cycle);
        conditions(&mut html, &cycle.circuits);
        meters(&mut html, &cycle.meters);
    }
    if let Some(all) = &status.signals {
        signals(&mut html, all);
    }
    let _ = writeln!(
        html,
        "<p><a href=\"/metrics\">metrics</a> · <a href=\"/healthz\">health</a> · \
         <a href=\"/api/v1/status\">status</a> · <a href=\"/api/v1/status?miners=1\">status with each miner</a></p>\
         <p>Ballast {} · mode {}. Power is in watts; import and consumption are positive.</p></body></html>",
        status.version, status.mode
    );
    html
}

/// What is left of the surplus, and what the next miner waits for.
fn unused(html: &mut String, cycle: &Cycle) {
    if let Some(why) = &cycle.fleet.left_why {
        let lasts = Duration::try_from_secs_f64(cycle.fleet.left_for_seconds).unwrap_or_default();
        let _ = write!(
            html,
            "<p>{} could be taken and are not, for {}: {}.</p>",
            watts(cycle.fleet.left_watts),
            long(lasts),
            escape(why)
        );
    }
    if let Some(waiting) = &cycle.fleet.waiting {
        let _ =
            write!(html, "<p>The next miner, {}, {}.</p>", escape(&waiting.miner), escape(&waiting.words));
    }
}

fn circuits(html: &mut String, cycle: &Cycle) {
    html.push_str(
        "<table><tr><th>Circuit</th><th>Power</th><th>Miners</th><th>Budget</th><th>Short</th>\
         <th>Tightest limit</th></tr>",
    );
    for Circuit { name, power_watts, miners_watts, budget_watts, over_watts, cap, .. } in &cycle.circuits {
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(name),
            watts_or_dash(*power_watts),
            watts(*miners_watts),
            watts(*budget_watts),
            watts(*over_watts),
            escape(&cap.words)
        );
    }
    html.push_str("</table>");
}

/// The limits that rest, and where.
fn conditions(html: &mut String, circuits: &[Circuit]) {
    let resting = |circuit: &Circuit| -> Vec<String> {
        let limits = circuit.limits.iter().filter(|limit| !limit.acts);
        limits.map(|limit| format!("{} at {}", limit.source, circuit.name)).collect()
    };
    let all: Vec<String> = circuits.iter().flat_map(resting).collect();
    if !all.is_empty() {
        let _ = write!(html, "<p>Does not act at present: {}.</p>", escape(&all.join(", ")));
    }
}

/// What is worth a word about a meter, after how its latest read ended.
fn remarks(meter: &Meter) -> String {
    let mut words = meter.status.to_owned();
    if words == MeterStatus::Turned.name() {
        words.push_str(": moves the wrong way when the miners move");
    }
    match (&meter.in_use, meter.disagreement) {
        (_, Some(true)) => words.push_str(", its parts disagree: the worse value counts"),
        (Some(part), _) => {
            let _ = write!(words, ", from {part}");
        }
        _ => {}
    }
    if let Some(seconds) = meter.asked_seconds {
        let _ = write!(
            words,
            ", the same value for {seconds:.0} s: the miners are put lower to see whether it lives"
        );
    }
    if let Some(charge) = meter.readings.get("state_of_charge") {
        let _ = write!(words, ", charged {charge:.0} %");
    }
    words
}

fn meters(html: &mut String, meters: &[Meter]) {
    html.push_str("<table><tr><th>Meter</th><th>Power</th><th>Age</th><th>Latest read</th></tr>");
    for meter in meters {
        let age = meter.age_seconds.map_or_else(|| "–".into(), |age| format!("{age:.1} s"));
        let bad =
            if meter.up == Some(false) || meter.disagreement == Some(true) { " class=\"bad\"" } else { "" };
        let _ = write!(
            html,
            "<tr{bad}><td>{}</td><td>{}</td><td>{age}</td><td>{}</td></tr>",
            escape(&meter.name),
            meter.contact.map_or_else(|| watts_or_dash(meter.power_watts), str::to_owned),
            escape(&remarks(meter))
        );
    }
    html.push_str("</table>");
}

/// Who gives orders. A site without any but the operator's, who has given none, has nothing to show.
fn signals(html: &mut String, all: &Signals) {
    if all.sources.iter().all(|source| source.name == OPERATOR && source.caps.is_empty()) {
        return;
    }
    html.push_str(
        "<table><tr><th>Source of orders</th><th>Cap</th><th>Above it</th><th>Heard</th><th>State</th></tr>",
    );
    for source in &all.sources {
        let tightest = source.caps.iter().map(|cap| cap.cap_watts).reduce(f64::min);
        let age = source.age_seconds.map_or_else(|| "–".into(), |age| format!("{age:.0} s ago"));
        let state = source.state.unwrap_or("–");
        let bad = if matches!(state, "failsafe" | "released" | "degraded") { " class=\"bad\"" } else { "" };
        let mut words = state.to_owned();
        for trouble in &source.trouble {
            let _ = write!(words, ", {trouble}");
        }
        if let Some(by) = &source.lifted_by {
            let _ = write!(words, ", lifted by {by}");
        }
        let _ = write!(
            html,
            "<tr{bad}><td>{}</td><td>{}</td><td>{}</td><td>{age}</td><td>{}</td></tr>",
            escape(&source.name),
            watts_or_dash(tightest),
            watts_or_dash(source.shortfall_watts),
            escape(&words)
        );
    }
    html.push_str("</table>");
    if all.store_errors.is_some_and(|errors| errors > 0) {
        html.push_str("<p class=\"bad\">The database has failed: some orders may not survive a restart.</p>");
    }
    if !all.clock_synchronised {
        html.push_str("<p class=\"bad\">The clock is in doubt: orders begin early and end late.</p>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_carry_markup_into_the_page() {
        let hostile = "<script>alert('x')</script> & \"more\"";
        let status = Status {
            site: hostile.into(),
            version: "0",
            mode: "start-up",
            would_be: "start-up",
            summary: hostile.into(),
            cycle: None,
            signals: None,
        };
        let health = Health {
            status: "unavailable",
            reason: Some(hostile.into()),
            mode: "start-up",
            last_cycle_age_seconds: None,
        };
        let html = page(&status, &health);
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;more&quot;"));
    }
}
