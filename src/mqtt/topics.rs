//! What there is to tell, topic by topic: what `/api/v1` says, of the same types. Miners have no topics of their own, so that their
//! number does not matter.

use serde::Serialize;
use serde_json::{Value, json};

use super::discovery::{self, Counters};
use super::outbox::Topic;
use crate::alarm::Alarms;
use crate::config::Mqtt;
use crate::metrics::{AlarmSummary, Exporter};
use crate::web::api::raised;
use crate::web::{Status, status};

/// Topics of circuits, of meters and of sources at the most; those that stand first in the configuration have them.
pub const MOST_OF_A_KIND: usize = 256;
/// Alarms that are told in full.
const MOST_ALARMS: usize = 20;

/// The topic at which it is said whether the daemon is there.
pub fn availability(plan: &Mqtt) -> String {
    format!("{}/availability", plan.prefix)
}

/// Everything that there is to tell now; `None` before the first cycle. `counters` are the meters' counters that were ever told.
pub fn all(exporter: &Exporter, alarms: &Alarms, plan: &Mqtt, counters: &mut Counters) -> Option<Vec<Topic>> {
    let status = status(exporter, false);
    status.cycle.as_ref()?;
    let mut topics = Vec::new();
    if plan.discovery {
        topics.extend(discovery::entities(&status, plan, counters));
    }
    let Status { cycle, signals, .. } = &status;
    if let Some(cycle) = cycle {
        each(&mut topics, plan, "circuits", &cycle.circuits, |circuit| &circuit.name);
        each(&mut topics, plan, "meters", &cycle.meters, |meter| &meter.name);
    }
    if let Some(signals) = signals {
        each(&mut topics, plan, "signals", &signals.sources, |source| &source.name);
    }
    topics.push(Topic::new(format!("{}/alarms", plan.prefix), told(exporter.alarms(), alarms)));
    topics.push(Topic::new(format!("{}/site", plan.prefix), without_lists(&status)));
    Some(topics)
}

/// The names of a site need no escape in a topic.
fn each<T: Serialize>(
    topics: &mut Vec<Topic>,
    plan: &Mqtt,
    kind: &str,
    all: &[T],
    name: impl Fn(&T) -> &String,
) {
    let topic = |one: &T| {
        let value = serde_json::to_value(one).ok()?;
        Some(Topic::new(format!("{}/{kind}/{}", plan.prefix, name(one)), value))
    };
    topics.extend(all.iter().take(MOST_OF_A_KIND).filter_map(topic));
}

/// The answer of `/api/v1/status` without what has topics of its own.
fn without_lists(status: &Status) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or(Value::Null);
    if let Some(cycle) = value.get_mut("cycle").and_then(Value::as_object_mut) {
        cycle.remove("circuits");
        cycle.remove("meters");
    }
    if let Some(signals) = value.get_mut("signals").and_then(Value::as_object_mut) {
        signals.remove("sources");
    }
    value
}

fn told(summary: Option<AlarmSummary>, alarms: &Alarms) -> Value {
    let AlarmSummary { critical, warning, notice, unacknowledged, .. } = summary.unwrap_or_default();
    json!({
        "critical": critical,
        "warning": warning,
        "notice": notice,
        "unacknowledged": unacknowledged,
        "alarms": raised(alarms, MOST_ALARMS),
    })
}
