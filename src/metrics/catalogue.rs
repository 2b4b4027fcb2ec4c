//! Every metric there is: name, help, kind and labels, in one place. `docs/guide/metrics.md` speaks of each, and
//! a test holds the two together.

use prometheus::proto::MetricType;

/// What a metric is called and what it means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Definition {
    /// Full name.
    pub(super) name: &'static str,
    /// One sentence with unit and sign.
    pub(super) help: &'static str,
    /// Gauge, counter or histogram.
    pub(super) kind: MetricType,
    /// Names of its labels, in the order in which their values are given.
    pub(super) labels: &'static [&'static str],
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Definition {
    Definition { name, help, kind: MetricType::GAUGE, labels }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Definition {
    Definition { name, help, kind: MetricType::COUNTER, labels }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Definition {
    Definition { name, help, kind: MetricType::HISTOGRAM, labels }
}

const CIRCUIT: &[&str] = &["circuit"];
const SOURCE: &[&str] = &["source"];
const METER: &[&str] = &["meter"];
const PHASE: &[&str] = &["meter", "phase"];
/// The labels of everything that is said of one miner.
pub(super) const MINER: &[&str] = &["miner", "circuit", "driver"];

pub(super) const BUILD_INFO: Definition =
    gauge("ballast_build_info", &["version"], "Always 1; the label says which version runs.");
pub(super) const MODE: Definition =
    gauge("ballast_mode", &["mode"], "1 for the state that the controller is in, 0 for the others.");
pub(super) const LAST_CYCLE_AGE: Definition = gauge(
    "ballast_last_cycle_age_seconds",
    &[],
    "Time since the last completed control cycle, at the moment of the scrape.",
);
pub(super) const CYCLE_DURATION: Definition = histogram(
    "ballast_cycle_duration_seconds",
    &[],
    "How long a control cycle took, from freezing the inputs to handing over the commands.",
);

pub(super) const SURPLUS: Definition = gauge(
    "ballast_surplus_watts",
    &[],
    "Power left over locally before the miners take any: generation minus other load, never negative; absent while the meter of the root is lost.",
);
pub(super) const BUDGET: Definition = gauge(
    "ballast_budget_watts",
    &[],
    "What the fleet may draw with every limit of every circuit considered; never negative.",
);
pub(super) const BINDING: Definition = gauge(
    "ballast_binding_limit_info",
    &["circuit", "source"],
    "Always 1; the labels name the tightest limit of the fleet and the circuit on which it acts.",
);
pub(super) const SHORTFALL: Definition = gauge(
    "ballast_shortfall_watts",
    &[],
    "How far the fleet cannot help exceeding its budgets: miners at their floor, silent or late.",
);

pub(super) const FLEET_POWER: Definition = gauge(
    "ballast_fleet_power_watts",
    &[],
    "Estimated draw of all miners, the silent ones included; consumption is positive.",
);
pub(super) const FLEET_SETPOINT: Definition = gauge(
    "ballast_fleet_setpoint_watts",
    &[],
    "Settled draw of all miners together at what they are set to.",
);
pub(super) const FLEET_TARGET: Definition =
    gauge("ballast_fleet_target_watts", &[], "The budget after the ramp: what the allocation may use now.");
pub(super) const FLEET_HASHRATE: Definition =
    gauge("ballast_fleet_hashrate_hashes_per_second", &[], "Sum of the hashrates that the miners report.");
pub(super) const OPTIMALITY_GAP: Definition = gauge(
    "ballast_optimality_gap_ratio",
    &[],
    "How far the hashrate of the allocation is below a proven upper bound at the same power; 0.001 is 0.1 %.",
);
pub(super) const FLEET_LEFT: Definition = gauge(
    "ballast_fleet_left_watts",
    &[],
    "What the miners could take within every limit and do not, beyond what is kept free.",
);
pub(super) const WAKE_NEEDED: Definition = gauge(
    "ballast_wake_needed_watts",
    &[],
    "What the next miner to be woken needs to start. Absent while none waits for power.",
);
pub(super) const WAKE_AVAILABLE: Definition = gauge(
    "ballast_wake_available_watts",
    &[],
    "What has been there for the next miner to be woken for as long as a start takes, with everything that runs at its \
     lowest. Absent while none waits for power.",
);
pub(super) const CLASS_POWER: Definition = gauge(
    "ballast_class_power_watts",
    &["class"],
    "Estimated draw of the members of a class, by which they give power up: miner, interruptible, throttle, guaranteed.",
);
pub(super) const CLASS_SETPOINT: Definition = gauge(
    "ballast_class_setpoint_watts",
    &["class"],
    "Settled draw at the setpoints of the members of a class.",
);
pub(super) const CLASS_MEMBERS: Definition =
    gauge("ballast_class_members", &["class"], "Number of members of a class.");
pub(super) const CLASS_SHEDDABLE: Definition = gauge(
    "ballast_class_sheddable_watts",
    &["class"],
    "What the members of a class would draw less if all were told the lowest that breaks no contract. What they were told already, \
     and who does not answer, does not follow, can be told nothing or is worked on, counts with nothing.",
);
pub(super) const CLASS_PAUSED: Definition =
    gauge("ballast_class_paused", &["class"], "Number of servers of a class that are paused.");
pub(super) const MINERS: Definition = gauge("ballast_miners", &["state"], "Number of miners in each state.");
pub(super) const ENERGY: Definition = counter(
    "ballast_energy_joules_total",
    &["kind"],
    "Energy since the start: surplus left over locally, captured by the miners, imported for the miners, \
     curtailed although the miners could have taken it.",
);

pub(super) const TENANT_ENERGY: Definition = counter(
    "ballast_tenant_energy_joules_total",
    &["tenant"],
    "Drawn since the start by the miners of a tenant, while they are known.",
);
pub(super) const TENANT_HASHES: Definition = counter(
    "ballast_tenant_hashes_total",
    &["tenant"],
    "Hashes since the start by the miners of a tenant, by their own word.",
);

pub(super) const CIRCUIT_POWER: Definition = gauge(
    "ballast_circuit_power_watts",
    CIRCUIT,
    "Power into the circuit by its meter; import is positive, export negative. Absent while the meter is stale.",
);
pub(super) const CIRCUIT_LIMIT: Definition = gauge(
    "ballast_circuit_limit_watts",
    &["circuit", "source"],
    "A cap on the circuit, in its own scope; import is positive, a negative cap demands export. Absent while it does not \
     act.",
);
pub(super) const LIMIT_ACTIVE: Definition = gauge(
    "ballast_limit_active",
    &["circuit", "source"],
    "1 while a limit that has a condition acts, 0 while its condition lets it rest.",
);
pub(super) const CIRCUIT_HEADROOM: Definition = gauge(
    "ballast_circuit_headroom_watts",
    CIRCUIT,
    "What the circuit's own limits leave to its miners; negative when the other load alone exceeds a limit.",
);
pub(super) const CIRCUIT_BUDGET: Definition = gauge(
    "ballast_circuit_budget_watts",
    CIRCUIT,
    "What the miners of the circuit may draw with the circuits above it considered; never negative.",
);
pub(super) const CIRCUIT_BINDING: Definition = gauge(
    "ballast_circuit_binding_limit_info",
    &["circuit", "source"],
    "Always 1; the labels name the tightest of the circuit's own limits.",
);
pub(super) const CIRCUIT_SHORTFALL: Definition = gauge(
    "ballast_circuit_shortfall_watts",
    CIRCUIT,
    "How far the miners of the circuit cannot help exceeding its budget.",
);
pub(super) const INTERLOCK_HOLDS: Definition = gauge(
    "ballast_circuit_interlock_holds",
    CIRCUIT,
    "1 while what must hold before the miners of the circuit run does hold, 0 when it does not or nobody knows.",
);
pub(super) const EMERGENCY_STOP: Definition = gauge(
    "ballast_circuit_emergency_stop",
    &["circuit", "state"],
    "How the emergency stop of the circuit stands: 1 for its state, 0 for the others.",
);
pub(super) const BREAKER_STATE: Definition = gauge(
    "ballast_circuit_breaker_state",
    &["circuit", "state"],
    "1 for the state that the breaker of the circuit is in (closed, opening, open, unknown), 0 for the others.",
);

pub(super) const METER_UP: Definition = gauge(
    "ballast_meter_up",
    METER,
    "1 when the latest read gave a good value, it is not stale and the meter is believed, else 0. Absent before the first \
     read ended.",
);
pub(super) const METER_POWER: Definition = gauge(
    "ballast_meter_power_watts",
    METER,
    "Latest good value of the meter; import is positive, export negative. Absent while it is stale.",
);
pub(super) const METER_AGE: Definition = gauge(
    "ballast_meter_age_seconds",
    METER,
    "Age of the latest good value, at the moment of the scrape. Absent while there was none yet.",
);
pub(super) const METER_REFRESH: Definition = gauge(
    "ballast_meter_refresh_seconds",
    METER,
    "How often the device has a new value, as learned; of a combined meter, that of its slowest part or of the part in \
     use. Absent while that is not known.",
);
pub(super) const METER_LAG: Definition = gauge(
    "ballast_meter_lag_seconds",
    &["meter", "origin"],
    "How late the meter shows what happens: configured by the operator, or learned from what the miners do. The \
     configured one counts where there is one.",
);
pub(super) const METER_IN_USE: Definition = gauge(
    "ballast_meter_in_use",
    &["meter", "part"],
    "Of redundant meters, 1 for the part in use and 0 for the others; while they disagree the worse value counts.",
);
pub(super) const METER_DISAGREEMENT: Definition = gauge(
    "ballast_meter_disagreement",
    METER,
    "1 while redundant parts differ by more than they may for longer than they may, else 0.",
);
pub(super) const METER_FREQUENCY: Definition = gauge(
    "ballast_meter_frequency_hertz",
    METER,
    "Frequency of the grid by the meter. Absent while it is stale.",
);
pub(super) const METER_VOLTAGE: Definition = gauge(
    "ballast_meter_voltage_volts",
    PHASE,
    "Voltage from the phase to neutral by the meter. Absent while it is stale.",
);
pub(super) const METER_PHASE_POWER: Definition = gauge(
    "ballast_meter_phase_power_watts",
    PHASE,
    "Power of the phase by the meter; import is positive, export negative. Absent while it is stale.",
);
pub(super) const METER_ENERGY: Definition = counter(
    "ballast_meter_energy_joules_total",
    &["meter", "direction"],
    "Counter of the meter itself since it began to count, by direction: import or export. Absent while it is stale.",
);
pub(super) const METER_CHARGE: Definition = gauge(
    "ballast_meter_state_of_charge_ratio",
    METER,
    "State of charge of the battery by its meter; 1 is full. Absent while it is stale.",
);
pub(super) const METER_READS: Definition = counter(
    "ballast_meter_reads_total",
    &["meter", "result"],
    "Reads of the meter that ended, by how they ended.",
);

pub(super) const MINER_UP: Definition = gauge(
    "ballast_miner_up",
    MINER,
    "1 when the miner answers, 0 when it does not. Absent before it was first asked.",
);
pub(super) const MINER_POWER: Definition = gauge(
    "ballast_miner_power_watts",
    MINER,
    "Draw of the miner by its own fresh reading; consumption is positive. Absent where there is none.",
);
pub(super) const MINER_SETPOINT: Definition = gauge(
    "ballast_miner_setpoint_watts",
    MINER,
    "Settled draw at what the miner is set to, asleep included. Absent while nothing was commanded or adopted.",
);
pub(super) const MINER_HASHRATE: Definition = gauge(
    "ballast_miner_hashrate_hashes_per_second",
    MINER,
    "Hashrate of the miner by its own fresh reading. Absent where there is none.",
);
pub(super) const MINER_STRAGGLER: Definition = gauge(
    "ballast_miner_straggler",
    MINER,
    "1 when the miner does not do what it was told; its power stays counted.",
);

pub(super) const COMMANDS: Definition = counter(
    "ballast_commands_total",
    &["driver", "result"],
    "Commands to miners that ended, by how they ended. Accepted is not yet applied.",
);
pub(super) const COMMAND_DURATION: Definition = histogram(
    "ballast_command_duration_seconds",
    &["driver"],
    "Time from handing a command to the driver until the miner answered or the driver gave up.",
);
pub(super) const MINER_RESPONSE: Definition = histogram(
    "ballast_miner_response_seconds",
    &["driver"],
    "Time from a command to the first reading of the draw where the command put it. A command that asks for the draw \
     there is, or that a later one overtakes, is not counted.",
);

pub(super) const SIGNAL_STATE: Definition = gauge(
    "ballast_signal_state",
    &["source", "state"],
    "1 for the state that a source of orders is in, 0 for the others.",
);
pub(super) const SIGNAL_AGE: Definition = gauge(
    "ballast_signal_age_seconds",
    SOURCE,
    "Time since the source was last heard with a good answer, at the moment of the scrape. Absent before the first.",
);
pub(super) const LIMIT_MET: Definition = gauge(
    "ballast_limit_met_seconds",
    SOURCE,
    "How long it took from obeying the source's latest order until the measured power was at or below its cap. Absent \
     while it is not.",
);
pub(super) const ORDER_SHORTFALL: Definition = gauge(
    "ballast_order_shortfall_watts",
    SOURCE,
    "How far the measured power is above the cap of the source's order that is missed by the most; 0 while all are met. \
     Absent while none holds or nothing is measured.",
);
pub(super) const ORDER_DEVIATION: Definition = gauge(
    "ballast_order_deviation_watts",
    SOURCE,
    "Mean power under the source's latest order minus its cap; positive is too much, negative more shed than asked.",
);
pub(super) const ORDERS: Definition = counter(
    "ballast_orders_total",
    &["source", "result"],
    "Orders that the source has given, by what became of them.",
);
pub(super) const SIGNAL_CONNECTED: Definition = gauge(
    "ballast_signal_connected",
    SOURCE,
    "1 while the broker of the source is connected, else 0. Absent for a source without a connection of its own.",
);
pub(super) const SIGNAL_MESSAGES: Definition = counter(
    "ballast_signal_messages_total",
    &["source", "result"],
    "Messages that came from the broker of the source, by result: taken, again (it came before as it is), or why it was refused.",
);
pub(super) const SIGNAL_SENT: Definition = counter(
    "ballast_signal_sent_total",
    &["source", "message"],
    "Messages that were handed to the broker of the source, by what they tell: status, the breach of a limit, or how a hint was carried out.",
);
pub(super) const SIGNAL_LIST_AGE: Definition = gauge(
    "ballast_signal_list_age_seconds",
    SOURCE,
    "Time since a list of orders of the source came into force. Absent while none did since the start.",
);
pub(super) const SIGNAL_BREACH: Definition = gauge(
    "ballast_signal_breach",
    &["source", "circuit"],
    "1 while the source is told that the circuit draws more than an order allows, else 0.",
);
pub(super) const STORE_ERRORS: Definition = counter(
    "ballast_store_errors_total",
    &[],
    "Writes to the database that failed or took too long. Absent where nothing is kept on disk.",
);
pub(super) const RECORD_BYTES: Definition =
    gauge("ballast_record_bytes", &[], "What the record takes on disk. Absent where nothing is recorded.");
pub(super) const RECORD_LOST: Definition = counter(
    "ballast_record_lost_cycles_total",
    &[],
    "Control cycles that are not in the record because the disk was too slow or failed.",
);
pub(super) const RECORD_ERRORS: Definition = counter(
    "ballast_record_errors_total",
    &[],
    "Writes of the record that failed; control goes on without it.",
);
pub(super) const CLOCK_SYNCHRONISED: Definition = gauge(
    "ballast_clock_synchronised",
    &[],
    "1 while the wall clock is trusted, 0 while nobody is known to keep it right or it has jumped.",
);
pub(super) const MAINTENANCE_MINERS: Definition = gauge(
    "ballast_maintenance_miners",
    &["hold"],
    "Miners on which somebody works, by how they are kept: asleep, or hands-off.",
);
pub(super) const MQTT_CONNECTED: Definition = gauge(
    "ballast_mqtt_connected",
    &[],
    "1 while the broker of MQTT is connected, else 0. Absent without one.",
);
pub(super) const MQTT_PUBLISHED: Definition =
    counter("ballast_mqtt_published_total", &[], "Messages that were handed to the broker of MQTT.");
pub(super) const MQTT_MESSAGES: Definition = counter(
    "ballast_mqtt_messages_total",
    &["result"],
    "Orders and heartbeats that came over MQTT, by result: done, refused, or dropped because too many came.",
);
pub(super) const MQTT_FAILURES: Definition = counter(
    "ballast_mqtt_failures_total",
    &["failure"],
    "Connections to the broker of MQTT that failed or were lost, and messages that found no room on their way to it.",
);
const ALARM: &[&str] = &["kind", "severity", "subject"];
pub(super) const ALARM_RAISED: Definition = gauge(
    "ballast_alarm_raised",
    ALARM,
    "1 for each alarm that is raised and not quiet; the subject is the meter, circuit, miner or source that it is about.",
);
pub(super) const ALARM_ACKNOWLEDGED: Definition = gauge(
    "ballast_alarm_acknowledged",
    ALARM,
    "1 when somebody has said that they know of the alarm, else 0.",
);
pub(super) const ALARMS: Definition =
    counter("ballast_alarms_total", &["kind"], "Alarms that were raised since the start.");
pub(super) const ALARMS_LEFT_OUT: Definition = counter(
    "ballast_alarms_left_out_total",
    &[],
    "Looks at something that would be an alarm, were there not a thousand already.",
);
pub(super) const ALARM_POSTS_FAILED: Definition = counter(
    "ballast_alarm_posts_failed_total",
    &[],
    "Alarms that could not be told to the webhook. Absent without one.",
);
pub(super) const HEARTBEAT_UP: Definition = gauge(
    "ballast_heartbeat_up",
    &["heartbeat"],
    "Whether the sign of life is given to the PLC: 0 when it is withheld or cannot be written.",
);
pub(super) const HEARTBEAT_AGE: Definition =
    gauge("ballast_heartbeat_age_seconds", &["heartbeat"], "Time since the latest sign of life was written.");
pub(super) const HEARTBEATS: Definition =
    counter("ballast_heartbeats_total", &["heartbeat"], "Signs of life that were written since the start.");
pub(super) const HEARTBEAT_FAILURES: Definition = counter(
    "ballast_heartbeat_failures_total",
    &["heartbeat"],
    "Writes to a PLC that failed since the start, of the sign of life and of what is told beside it.",
);
pub(super) const STRANGERS: Definition = gauge(
    "ballast_strangers",
    &[],
    "Miners and configuration of this daemon that programs of other accounts said at the latest start or reload to hold, too.",
);

pub(super) const LEAD: Definition = gauge(
    "ballast_lead",
    &["lead"],
    "1 for what this machine of a pair may do with the miners, 0 for the others. Absent without [standby].",
);
pub(super) const STANDBY_PEER_UP: Definition = gauge(
    "ballast_standby_peer_up",
    &[],
    "1 while the other machine of a pair answers. Absent without [standby].",
);
pub(super) const STANDBY_ADDRESS: Definition = gauge(
    "ballast_standby_address_held",
    &[],
    "1 while this machine of a pair has the address that moves. Absent without [standby].",
);

/// All of them.
pub(super) const ALL: &[&Definition] = &[
    &BUILD_INFO,
    &MODE,
    &LAST_CYCLE_AGE,
    &CYCLE_DURATION,
    &SURPLUS,
    &BUDGET,
    &BINDING,
    &SHORTFALL,
    &FLEET_POWER,
    &FLEET_SETPOINT,
    &FLEET_TARGET,
    &FLEET_HASHRATE,
    &OPTIMALITY_GAP,
    &FLEET_LEFT,
    &WAKE_NEEDED,
    &WAKE_AVAILABLE,
    &CLASS_POWER,
    &CLASS_SETPOINT,
    &CLASS_MEMBERS,
    &CLASS_SHEDDABLE,
    &CLASS_PAUSED,
    &MINERS,
    &ENERGY,
    &TENANT_ENERGY,
    &TENANT_HASHES,
    &CIRCUIT_POWER,
    &CIRCUIT_LIMIT,
    &LIMIT_ACTIVE,
    &CIRCUIT_HEADROOM,
    &CIRCUIT_BUDGET,
    &CIRCUIT_BINDING,
    &CIRCUIT_SHORTFALL,
    &INTERLOCK_HOLDS,
    &EMERGENCY_STOP,
    &BREAKER_STATE,
    &METER_UP,
    &METER_POWER,
    &METER_AGE,
    &METER_REFRESH,
    &METER_LAG,
    &METER_IN_USE,
    &METER_DISAGREEMENT,
    &METER_FREQUENCY,
    &METER_VOLTAGE,
    &METER_PHASE_POWER,
    &METER_ENERGY,
    &METER_CHARGE,
    &METER_READS,
    &MINER_UP,
    &MINER_POWER,
    &MINER_SETPOINT,
    &MINER_HASHRATE,
    &MINER_STRAGGLER,
    &COMMANDS,
    &COMMAND_DURATION,
    &MINER_RESPONSE,
    &SIGNAL_STATE,
    &SIGNAL_AGE,
    &LIMIT_MET,
    &ORDER_SHORTFALL,
    &ORDER_DEVIATION,
    &ORDERS,
    &SIGNAL_CONNECTED,
    &SIGNAL_MESSAGES,
    &SIGNAL_SENT,
    &SIGNAL_LIST_AGE,
    &SIGNAL_BREACH,
    &STORE_ERRORS,
    &RECORD_BYTES,
    &RECORD_LOST,
    &RECORD_ERRORS,
    &CLOCK_SYNCHRONISED,
    &MAINTENANCE_MINERS,
    &ALARM_RAISED,
    &ALARM_ACKNOWLEDGED,
    &ALARMS,
    &ALARMS_LEFT_OUT,
    &ALARM_POSTS_FAILED,
    &MQTT_CONNECTED,
    &MQTT_PUBLISHED,
    &MQTT_MESSAGES,
    &MQTT_FAILURES,
    &HEARTBEAT_UP,
    &HEARTBEAT_AGE,
    &HEARTBEATS,
    &HEARTBEAT_FAILURES,
    &STRANGERS,
    &LEAD,
    &STANDBY_PEER_UP,
    &STANDBY_ADDRESS,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_is_in_the_guide_and_every_metric_of_the_guide_is_there() {
        let guide = include_str!("../../docs/guide/metrics.md");
        let written: BTreeSet<&str> = guide
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .filter(|word| word.starts_with("ballast_"))
            .map(|word| word.trim_end_matches("_bucket"))
            .collect();
        let there: BTreeSet<&str> = ALL.iter().map(|definition| definition.name).collect();
        assert_eq!(written, there);
    }

    #[test]
    fn rules_and_dashboards_speak_of_metrics_and_labels_that_there_are() {
        let files = [
            include_str!("../../monitoring/ballast.rules.yml"),
            include_str!("../../monitoring/ballast.rules.test.yml"),
            include_str!("../../monitoring/ballast.rules.days.test.yml"),
            include_str!("../../monitoring/grafana/ballast-site.json"),
            include_str!("../../monitoring/grafana/ballast-fleet.json"),
        ];
        for file in files {
            let mut found = 0;
            // What stands after a colon is the name that a rule gives.
            for (at, _) in file.match_indices("ballast_").filter(|&(at, _)| !file[..at].ends_with(':')) {
                let rest = &file[at..];
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap();
                let (name, rest) = rest.split_at(end);
                let of = |name: &str| ALL.iter().find(|definition| definition.name == name);
                let histogram = ["_bucket", "_count", "_sum"].iter().find_map(|part| {
                    of(name.strip_suffix(part)?).filter(|definition| definition.kind == MetricType::HISTOGRAM)
                });
                let definition = of(name).or(histogram).unwrap_or_else(|| panic!("there is no {name}"));
                found += 1;
                let Some(labels) = rest.strip_prefix('{').and_then(|rest| rest.split('}').next()) else {
                    continue;
                };
                for label in labels.split(',') {
                    let label = label.split(['=', '!']).next().unwrap().trim();
                    let beside = ["job", "site", "instance"].contains(&label);
                    let bucket = label == "le" && histogram.is_some();
                    assert!(beside || bucket || definition.labels.contains(&label), "{name} has no {label}");
                }
            }
            assert!(found > 5, "{found} metrics in a file");
        }
    }

    #[test]
    fn every_metric_says_its_unit_in_its_name() {
        for definition in ALL {
            let name = definition.name;
            let counter = definition.kind == MetricType::COUNTER;
            assert_eq!(counter, name.ends_with("_total"), "{name}");
            assert!(definition.help.ends_with('.'), "{name}: the help is a sentence");
        }
    }
}
