//! What is said of each miner: most of a scrape, so it is written straight into the text, beside labels that were made once.

use std::fmt::Write as _;

use super::catalogue::{self as names, Definition};
use super::collector::flag;
use super::sources::circuit_name;
use crate::clock::Moment;
use crate::control::decision::{MinerDecision, MinerState};
use crate::control::frame::{Frame, fresh_status};
use crate::control::site::{Miner, Site};
use crate::control::snapshot::{Contact, MinerInput};

/// What one family says of a miner; `None` where that is not known.
type Say = fn(&Miner, &MinerInput, Option<&MinerDecision>, Moment) -> Option<f64>;

const FAMILIES: [(&Definition, Say); 5] = [
    (&names::MINER_UP, |_, input, _, _| {
        (input.contact != Contact::Pending).then(|| flag(input.contact == Contact::Reachable))
    }),
    (&names::MINER_POWER, |miner, input, _, now| {
        Some(fresh_status(input, now, miner.silent_after)?.power.value()?.get())
    }),
    (&names::MINER_SETPOINT, |_, _, decision, _| {
        decision.and_then(|known| known.setpoint.map(|_| known.settled.get()))
    }),
    (&names::MINER_HASHRATE, |miner, input, _, now| {
        Some(fresh_status(input, now, miner.silent_after)?.hashrate.value()?.get())
    }),
    (&names::MINER_STRAGGLER, |_, _, decision, _| {
        decision.map(|known| flag(known.state == MinerState::Straggler))
    }),
];

/// The labels of each miner as they stand in the text, made once.
pub(super) fn labels(site: &Site) -> Vec<String> {
    let each = site.miners.iter().map(|miner| {
        let values = [miner.name.as_str(), circuit_name(site, miner.circuit), miner.driver];
        let pairs =
            names::MINER.iter().zip(values).map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
        pairs.collect::<Vec<_>>().join(",")
    });
    each.collect()
}

/// As the text format wants the values of labels
/// (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-format-details>).
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Writes what is known of the miners, a family after the other; one of which nothing is known is left out.
pub(super) fn write(frame: &Frame, labels: &[String], now: Moment, text: &mut String) {
    let Frame { site, snapshot, decision } = frame;
    for (definition, say) in FAMILIES {
        let Definition { name, help, .. } = definition;
        let mut begun = false;
        for (index, (miner, labels)) in site.miners.iter().zip(labels).enumerate() {
            let input = snapshot.miners.get(index).unwrap_or(&MinerInput::PENDING);
            let Some(value) = say(miner, input, decision.miners.get(index), now) else { continue };
            if !begun {
                begun = true;
                let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
            }
            // A text takes whatever is written into it.
            let _ = writeln!(text, "{name}{{{labels}}} {value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_may_hold_is_told_from_what_ends_it() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
        assert_eq!(escaped("rack-1"), "rack-1");
    }

    #[test]
    fn every_family_is_a_gauge_with_the_labels_of_a_miner() {
        for (definition, _) in FAMILIES {
            assert_eq!(definition.kind, prometheus::proto::MetricType::GAUGE);
            assert_eq!(definition.labels, names::MINER);
        }
    }
}
