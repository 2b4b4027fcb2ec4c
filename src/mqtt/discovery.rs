//! What Home Assistant is told there is: one retained message for each entity, by its rules for discovery over MQTT.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::outbox::Topic;
use super::topics::availability;
use crate::config::Mqtt;
use crate::control::decision::{MinerState, Mode};
use crate::web::Status;

/// Circuits and meters that have entities at the most: a house's dashboard is no control room.
const MOST_OF_A_KIND: usize = 32;
/// Counters that are remembered at the most, over all reloads.
const MOST_COUNTERS: usize = 1_024;
/// The longest state that Home Assistant takes, in characters.
const LONGEST_STATE: usize = 255;

/// How this site is called in the topics and ids of Home Assistant.
pub fn node(plan: &Mqtt) -> String {
    part(&plan.prefix.replace('/', "_"))
}

/// A name as a part of an id. Names have letters, digits, `-`, `_` and `.`.
fn part(name: &str) -> String {
    name.replace('.', "_dot_")
}

/// Where an entity of a kind is announced; `+` for all.
pub fn config_topic(plan: &Mqtt, component: &str, object: &str) -> String {
    format!("{}/{component}/{}/{object}/config", plan.discovery_prefix, node(plan))
}

struct Maker<'m> {
    plan: &'m Mqtt,
    node: String,
    device: Value,
    topics: Vec<Topic>,
}

impl Maker<'_> {
    /// Adds an entity: its id, its name, where its value stands (topic and template), and what else it is.
    fn add(&mut self, component: &str, id: &str, name: &str, (topic, template): (&str, &str), more: Value) {
        let mut config = json!({
            "name": name,
            "unique_id": format!("{}_{id}", self.node),
            "state_topic": format!("{}/{topic}", self.plan.prefix),
            "value_template": format!("{{{{ {template} }}}}"),
            "availability_topic": availability(self.plan),
            "device": self.device,
            "origin": { "name": "Ballast", "sw_version": env!("CARGO_PKG_VERSION") },
        });
        if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
            config.extend(more);
        }
        self.topics.push(Topic::new(config_topic(self.plan, component, id), config));
    }

    fn power(&mut self, id: &str, name: &str, at: (&str, &str)) {
        let is = json!({ "device_class": "power", "unit_of_measurement": "W", "state_class": "measurement" });
        self.add("sensor", id, name, at, is);
    }

    /// A counter of energy; the template gives watt hours.
    fn energy(&mut self, id: &str, name: &str, at: (&str, &str)) {
        let is = json!({ "device_class": "energy", "unit_of_measurement": "Wh", "state_class": "total_increasing" });
        self.add("sensor", id, name, at, is);
    }

    fn count(&mut self, id: &str, name: &str, at: (&str, &str)) {
        self.add("sensor", id, name, at, json!({ "state_class": "measurement" }));
    }

    /// Something that is wrong while a condition holds.
    fn problem(&mut self, id: &str, name: &str, (topic, condition): (&str, &str)) {
        let template = format!("'ON' if {condition} else 'OFF'");
        self.add("binary_sensor", id, name, (topic, &template), json!({ "device_class": "problem" }));
    }

    fn site(&mut self) {
        let fleet = |key: &str| format!("value_json.cycle.fleet.{key}");
        for (id, name, key) in [
            ("surplus", "Surplus", "surplus_watts"),
            ("fleet_power", "Fleet power", "power_watts"),
            ("fleet_setpoint", "Fleet setpoint", "setpoint_watts"),
            ("fleet_budget", "Fleet budget", "budget_watts"),
            ("shortfall", "Shortfall", "shortfall_watts"),
            ("left", "Surplus left unused", "left_watts"),
        ] {
            self.power(id, name, ("site", &fleet(key)));
        }
        for (id, name, key) in [
            ("energy_captured", "Surplus energy taken", "captured_joules"),
            ("energy_imported", "Energy imported for miners", "imported_joules"),
        ] {
            let template = format!("(value_json.cycle.energy.{key} / 3600) | round(0)");
            self.energy(id, name, ("site", &template));
        }
        let modes = Mode::ALL.map(Mode::name);
        self.add(
            "sensor",
            "mode",
            "Mode",
            ("site", "value_json.mode"),
            json!({ "device_class": "enum", "options": modes }),
        );
        let why = format!("value_json.cycle.binding.words[:{LONGEST_STATE}]");
        self.add("sensor", "binding", "What binds", ("site", &why), json!({}));
        self.add(
            "sensor",
            "binding_limit",
            "Binding limit",
            ("site", "value_json.cycle.binding.source"),
            json!({}),
        );
        for state in MinerState::ALL {
            let state = state.name();
            let template = format!("value_json.cycle.miners_by_state['{state}'] | default(0)");
            self.count(&format!("miners_{}", part(state)), &format!("Miners {state}"), ("site", &template));
        }
        let attributes = json!({
            "json_attributes_topic": format!("{}/alarms", self.plan.prefix),
            "device_class": "problem",
        });
        let alarm = "'ON' if value_json.critical + value_json.warning > 0 else 'OFF'";
        self.add("binary_sensor", "alarm", "Alarm", ("alarms", alarm), attributes);
        self.problem("alarm_critical", "Critical alarm", ("alarms", "value_json.critical > 0"));
        self.count(
            "alarms_unacknowledged",
            "Alarms nobody knows of",
            ("alarms", "value_json.unacknowledged"),
        );
    }
}

/// The counters that meters have told of, by meter and name: one that is not fresh for a while is still there.
pub type Counters = BTreeSet<(String, &'static str)>;

/// All entities of the site.
pub fn entities(status: &Status, plan: &Mqtt, counters: &mut Counters) -> Vec<Topic> {
    let node = node(plan);
    let device = json!({
        "identifiers": [&node],
        "name": &status.site,
        "manufacturer": "Ballast",
        "model": "Ballast load of miners",
        "sw_version": status.version,
    });
    let mut maker = Maker { plan, node, device, topics: Vec::new() };
    maker.site();
    let cycle = status.cycle.iter();
    for circuit in cycle.clone().flat_map(|cycle| cycle.circuits.iter().take(MOST_OF_A_KIND)) {
        let (name, id) = (&circuit.name, part(&circuit.name));
        let topic = format!("circuits/{name}");
        for (kind, words, key) in [
            ("power", "power", "power_watts"),
            ("miners", "miners", "miners_watts"),
            ("cap", "cap", "cap.cap_watts"),
        ] {
            let at = format!("value_json.{key}");
            maker.power(&format!("circuit_{id}_{kind}"), &format!("Circuit {name} {words}"), (&topic, &at));
        }
    }
    for meter in cycle.flat_map(|cycle| cycle.meters.iter().take(MOST_OF_A_KIND)) {
        let (name, id) = (&meter.name, part(&meter.name));
        let topic = format!("meters/{name}");
        maker.power(
            &format!("meter_{id}_power"),
            &format!("Meter {name}"),
            (&topic, "value_json.power_watts"),
        );
        for (key, words) in [("energy_import", "import"), ("energy_export", "export")] {
            let counter = (name.clone(), key);
            if meter.readings.contains_key(key) && counters.len() < MOST_COUNTERS {
                counters.insert(counter.clone());
            }
            if counters.contains(&counter) {
                let at = format!("value_json.readings.{key}");
                maker.energy(&format!("meter_{id}_{key}"), &format!("Meter {name} {words}"), (&topic, &at));
            }
        }
        let lost = "value_json.up == false";
        maker.problem(&format!("meter_{id}_lost"), &format!("Meter {name} lost"), (&topic, lost));
    }
    for source in status.signals.iter().flat_map(|signals| signals.sources.iter().take(MOST_OF_A_KIND)) {
        let (name, id) = (&source.name, part(&source.name));
        let lost = "value_json.state in ['failsafe', 'released']";
        let topic = format!("signals/{name}");
        maker.problem(&format!("signal_{id}_lost"), &format!("Source {name} lost"), (&topic, lost));
    }
    maker.topics
}
