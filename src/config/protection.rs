//! The keys `interlock`, `emergency_stop` and `breaker` of a circuit: what must hold before miners run, what stops them until somebody
//! releases it, and what opens the circuit in the end.

use std::time::Duration;

use super::addresses;
use super::circuits::Names;
use super::devices::Devices;
use super::diagnostic::At;
use super::reader::{Table, Wrong, text_of};
use crate::control::site::{Breaker, EmergencyStop, Interlock, MeterId, OpensBreaker};
use crate::miner::drivers::generic;
use crate::miner::{Connection, DriverKind};
use crate::units::Watts;

/// Reads `interlock = { meter = "…", at_least = "…" }`.
pub(super) fn interlock(circuit: &Table<'_>, meters: &Names<'_>) -> Option<Interlock> {
    let table = circuit.table("interlock")?;
    let report = table.report();
    let meter = table.text("meter").and_then(|at| meters.find(report, at));
    let meter =
        if table.has("meter") { meter } else { table.require("meter", None, "name the meter that tells") };
    let at_least = table.load("at_least");
    let at_least = table.require("at_least", at_least, "write the least power that shows that it runs");
    if let Some(at) = &at_least
        && at.value <= Watts::ZERO
    {
        report.error(at.span, "`at_least` is zero: nothing could ever break it", "write a power above zero");
    }
    table.finish();
    Some(Interlock { meter: MeterId(meter?), at_least: at_least?.value })
}

/// Reads `emergency_stop = { meter = "…", opens_breaker = "…" }`.
pub(super) fn emergency_stop(circuit: &Table<'_>, meters: &Names<'_>) -> Option<EmergencyStop> {
    let table = circuit.table("emergency_stop")?;
    let meter = table.text("meter");
    let meter = table.require("meter", meter, "name the meter that reads the contact");
    let meter = meter.and_then(|at| meters.find(table.report(), at));
    let words = [
        ("always", OpensBreaker::Always),
        ("when-open", OpensBreaker::WhenOpen),
        ("never", OpensBreaker::Never),
    ];
    let opens_breaker = table.choice("opens_breaker", &words).map_or(OpensBreaker::Always, |at| at.value);
    table.finish();
    Some(EmergencyStop { meter: MeterId(meter?), opens_breaker })
}

/// Reads `breaker = { device = "…", address = "…", after = "…" }`.
pub(super) fn breaker(name: &str, circuit: &Table<'_>, devices: &Devices) -> Option<(Breaker, Connection)> {
    let table = circuit.table("breaker")?;
    let device = table.read("device", |value| match devices.driver(text_of(value)?)? {
        (DriverKind::Generic, device) => Ok(device),
        _ => Err(Wrong::new(
            "must be a device of your own",
            "describe the output that opens the circuit in [drivers.NAME] and name that",
        )),
    });
    let device = table.require("device", device, "name the device of [drivers.NAME] whose `off` opens it");
    let address = table.read("address", |value| {
        addresses::host(text_of(value)?)
            .map_err(|wrong| Wrong::new(wrong, "write a host, or host:port, like \"192.168.30.21\""))
    });
    let address = table.require("address", address, "write where the device listens");
    let seconds = Duration::from_secs;
    let after = table.time("after", seconds(5), seconds(86_400)).map_or(seconds(60), |at: At<_>| at.value);
    let timeout = table
        .time("timeout", Duration::from_millis(100), seconds(60))
        .map_or(seconds(5), |at: At<_>| at.value);
    table.finish();
    let device: std::sync::Arc<generic::Description> = device?.value?;
    let endpoint = address?.value.with_port(device.port);
    let connection = Connection {
        name: format!("breaker of {name}").into(),
        driver: DriverKind::Generic,
        endpoint,
        credentials: None,
        timeout,
        rated: Watts::ZERO,
        device: Some(device),
        certificate: None,
        gpus: None,
        pause: None,
        rated_is_told: true,
    };
    Some((Breaker { after }, connection))
}
