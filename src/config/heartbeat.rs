//! The section `[heartbeat.*]`: signs of life for PLCs.

use std::time::Duration;

use super::diagnostic::At;
use super::reader::Wrong;
use super::reader::{Table, text_of};
use super::{addresses, devices};
use crate::heartbeat::Settings;
use crate::miner::drivers::generic::modbus::{Address, Number};

/// More than any site has.
const MOST: usize = 16;
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(60);

/// Reads `[heartbeat.*]`.
pub(super) fn section(root: &Table<'_>) -> Vec<Settings> {
    let named = root.named("heartbeat");
    if named.len() > MOST {
        let report = root.report();
        report.error(
            root.key_span("heartbeat"),
            format!("there are {} heartbeats", named.len()),
            format!("the most is {MOST}"),
        );
    }
    named.into_iter().take(MOST).filter_map(|(name, table)| one(name.value, table)).collect()
}

fn one(name: &str, table: Table<'_>) -> Option<Settings> {
    let endpoint = table.read("address", |value| {
        addresses::host(text_of(value)?)
            .map_err(|wrong| Wrong::new(wrong, "write a host, or host:port, like \"192.168.30.40\""))
    });
    let endpoint = table.require("address", endpoint, "write where the PLC listens");
    let unit = table.integer("unit", 0, 255).and_then(|at| u8::try_from(at.value).ok());
    let place = |key| {
        table.table(key).and_then(|inner| {
            let address = devices::address(&inner, true);
            inner.finish();
            address
        })
    };
    let beat = place("beat");
    let beat = table.require(
        "beat",
        beat,
        "write what beats: beat = { coil = 0 } is toggled, beat = { holding = 100 } counts",
    );
    let alive = table.table("alive").and_then(|inner| {
        let address = devices::address(&inner, true);
        let value = inner.read("value", devices::word_of).map_or(1, |at| at.value);
        inner.finish();
        Some((address?, value))
    });
    let state = place("state");
    if let Some(Address::Coil(_)) = state {
        table.report().error(
            table.key_span("state"),
            "`state` is a number, and a coil holds none",
            "name a register: state = { holding = 101 }",
        );
    }
    let power = |key| {
        table.table(key).and_then(|inner| {
            let number = devices::number(&inner, true);
            inner.finish();
            number
        })
    };
    let (draw, setpoint) = (power("draw"), power("setpoint"));
    let time = |key, low, high, default| table.time(key, low, high).map_or(default, |at: At<_>| at.value);
    let period = time("period", SHORTEST, LONGEST, Duration::from_secs(1));
    let timeout =
        time("timeout", Duration::from_millis(100), Duration::from_secs(10), Duration::from_millis(500));
    let in_observe = table.boolean("in_observe").unwrap_or(false);
    let stops_in_fail_safe = table.boolean("stops_in_fail_safe").unwrap_or(false);
    let stops_above_lost = table.share("stops_above_lost", 1.0).map(|at| at.value);
    let settings = || {
        Some(Settings {
            name: name.into(),
            endpoint: endpoint?.value.with_port(502),
            unit: unit.unwrap_or(1),
            beat: beat?,
            alive,
            state,
            draw,
            setpoint,
            period,
            timeout,
            in_observe,
            stops_in_fail_safe,
            stops_above_lost,
        })
    };
    let settings = settings();
    if let Some(settings) = &settings
        && let Some(twice) = twice(settings)
    {
        table.report().error(
            table.span(),
            format!("{} writes two things to {twice}", table.title()),
            "give each a place of its own; a number of 32 bits takes two registers",
        );
    }
    table.finish();
    settings
}

/// A place that is written by two of the keys.
fn twice(settings: &Settings) -> Option<String> {
    let one = |address: Address| (address, 1);
    let number = |number: &Number| (number.address, number.kind.registers());
    let all = [
        Some(one(settings.beat)),
        settings.alive.map(|(address, _)| one(address)),
        settings.state.map(one),
        settings.draw.as_ref().map(number),
        settings.setpoint.as_ref().map(number),
    ];
    let mut written = std::collections::BTreeSet::new();
    for (address, count) in all.into_iter().flatten() {
        let (coil, first) = match address {
            Address::Coil(at) | Address::Discrete(at) => (true, at),
            Address::Holding(at) | Address::Input(at) => (false, at),
        };
        for at in (0..count).map(|more| first.saturating_add(more)) {
            if !written.insert((coil, at)) {
                return Some(format!("{} {at}", if coil { "coil" } else { "holding register" }));
            }
        }
    }
    None
}
