//! The sections `[links.*]` and `[meters.*]`: how power is measured.

use std::collections::BTreeMap;
use std::time::Duration;

use super::builtin;
use super::circuits::Names;
use super::combined;
use super::diagnostic::{At, Report, Span};
use super::profiles;
use super::reader::{MOST_POWER, Table, Wrong};
use crate::control::site;
use crate::meter::line::{Line, Parity};
use crate::meter::plan::Plan;
use crate::meter::profile::{Function, Pace, Plausible, Profile};
use crate::meter::{Connection, Link, LinkId, Transport};
use crate::units::Watts;

const DAY: Duration = Duration::from_secs(86_400);
/// A power beyond this many times what hangs at the site is no power.
const BEYOND: f64 = 100.0;

/// The links, by name and place.
pub(super) struct Links<'a> {
    pub(super) links: Vec<Link>,
    names: Names<'a>,
    spans: Vec<Span>,
    /// What the file says nothing of, so that the devices may.
    open: Vec<Open>,
}

/// Which of what a device may need its link says nothing of.
struct Open {
    connect_delay: bool,
    timeout: bool,
}

impl Links<'_> {
    /// The position of a link; notes a name that is not known.
    pub(super) fn find(&self, report: &Report<'_>, name: At<&str>) -> Option<usize> {
        self.names.find(report, name)
    }
}

/// Reads `[links.*]`. A link that is wrong keeps its place in the list, so that positions stay true.
pub(super) fn links<'a>(root: &Table<'a>) -> Links<'a> {
    let report = root.report();
    let mut links = Vec::new();
    let mut spans = Vec::new();
    let mut open = Vec::new();
    let mut found = Vec::new();
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (name, table) in root.named("links") {
        let transport = transport(&table);
        if let Some(at) = &transport
            && let Some(other) = seen.insert(address(&at.value), name.value)
        {
            report.error(
                at.span,
                format!("link `{other}` already goes to {}", at.value),
                "one link serves all meters behind an address; put the meters on it and remove this one",
            );
        }
        let millis = Duration::from_millis;
        let time =
            |key, low, high, default| table.time(key, low, high).map_or(default, |at: At<Duration>| at.value);
        let link = Link {
            name: name.value.to_owned(),
            transport: transport.map_or_else(|| Transport::Tcp(super::addresses::nowhere()), |at| at.value),
            // Slow gateways take most of a second to answer for a serial line behind them.
            timeout: time("timeout", millis(50), millis(60_000), millis(1_000)),
            connect_timeout: time("connect_timeout", millis(50), millis(60_000), millis(3_000)),
            connect_delay: time("connect_delay", Duration::ZERO, millis(30_000), Duration::ZERO),
            gap: time("gap", Duration::ZERO, millis(10_000), millis(30)),
            numbered: table.boolean("numbered").unwrap_or(true),
        };
        open.push(Open { connect_delay: !table.has("connect_delay"), timeout: !table.has("timeout") });
        table.finish();
        links.push(link);
        spans.push(name.span);
        found.push(name.value);
    }
    Links { links, names: Names::new("link", found), spans, open }
}

/// What two links may not have in common.
fn address(transport: &Transport) -> String {
    match transport {
        // A gateway does not speak both kinds at one port.
        Transport::Tcp(endpoint) | Transport::RtuOverTcp(endpoint, _) => {
            endpoint.to_string().to_ascii_lowercase()
        }
        // The same file, however it is written; two names of one device meet when the port is opened, for its owner
        // opens it alone.
        Transport::Rtu(path, _) => {
            let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
            parts.fold(String::new(), |path, part| path + "/" + part)
        }
    }
}

/// Where the link goes: exactly one of the three kinds.
fn transport(table: &Table<'_>) -> Option<At<Transport>> {
    let report = table.report();
    let endpoint = |key| {
        table.read(key, |value| {
            let text = super::reader::text_of(value)?;
            super::addresses::endpoint(text).map_err(|fault| {
                Wrong::new(fault, format!("write a host and a port, like {key} = \"10.0.0.5:502\""))
            })
        })
    };
    let tcp = endpoint("tcp");
    let over_tcp = endpoint("rtu_over_tcp");
    let port = table.read("rtu", |value| serial_port(super::reader::text_of(value)?));
    let baud = table.integer("baud", 300, 4_000_000);
    let parity = table.choice("parity", &Parity::NAMES);
    let stop_bits = table.integer("stop_bits", 1, 2);

    let kinds: Vec<&str> = ["tcp", "rtu_over_tcp", "rtu"].into_iter().filter(|key| table.has(key)).collect();
    match kinds.as_slice() {
        [] => {
            report.error(
                table.span(),
                format!("{} has no `tcp`, `rtu_over_tcp` or `rtu`", table.title()),
                "write tcp = \"host:port\" for Modbus TCP, rtu_over_tcp = \"host:port\" for a transparent serial \
                 gateway, or rtu = \"/dev/…\" for a serial port",
            );
            return None;
        }
        [_] => {}
        [first, second, ..] => {
            report.error(
                table.key_span(second),
                format!("{} has both `{first}` and `{second}`", table.title()),
                "a link goes one way: keep the one that it is",
            );
            return None;
        }
    }
    for key in ["baud", "parity", "stop_bits"] {
        let means_nothing = table.has("tcp") || (table.has("rtu_over_tcp") && key != "baud");
        if means_nothing && table.has(key) {
            report.error(
                table.key_span(key),
                format!("`{key}` belongs to a serial port of this machine"),
                "behind a gateway the line is set up at the gateway; remove it here",
            );
        }
    }
    let usual = Line::default();
    let line = Line {
        baud: baud.map_or(usual.baud, |at| at.value),
        parity: parity.map_or(usual.parity, |at| at.value),
        stop_bits: stop_bits.and_then(|at| u8::try_from(at.value).ok()).unwrap_or(usual.stop_bits),
    };
    tcp.map(|at| At::new(Transport::Tcp(at.value), at.span))
        .or_else(|| over_tcp.map(|at| At::new(Transport::RtuOverTcp(at.value, line), at.span)))
        .or_else(|| port.map(|at| At::new(Transport::Rtu(at.value, line), at.span)))
}

/// The path of a serial port.
fn serial_port(text: &str) -> Result<String, Wrong> {
    let help = "write the device's path, like rtu = \"/dev/serial/by-id/…\" (which stays the same when adapters are \
                plugged in another order) or rtu = \"/dev/ttyUSB0\"";
    if !text.starts_with('/') || text.ends_with('/') || text.chars().any(char::is_control) {
        return Err(Wrong::new("is no path of a device", help));
    }
    Ok(text.to_owned())
}

/// What the devices on a link need, where the link says nothing of it.
fn keep_pace(meters: &Meters, links: &mut Links<'_>) {
    for connection in &meters.connections {
        let place = connection.link.0;
        let (Some(link), Some(open)) = (links.links.get_mut(place), links.open.get(place)) else { continue };
        let pace = connection.profile.pace;
        if let Some(delay) = pace.connect_delay.filter(|_| open.connect_delay) {
            link.connect_delay = link.connect_delay.max(delay);
        }
        if let Some(timeout) = pace.timeout.filter(|_| open.timeout) {
            link.timeout = link.timeout.max(timeout);
        }
    }
}

/// What a profile says that its device needs of the link: `pace = { connect_delay = "1s", timeout = "5s" }`.
pub(super) fn pace(table: &Table<'_>) -> Pace {
    let Some(inner) = table.table("pace") else { return Pace::default() };
    let millis = Duration::from_millis;
    let time = |key, low, high| inner.time(key, low, high).map(|at| at.value);
    let pace = Pace {
        connect_delay: time("connect_delay", Duration::ZERO, millis(30_000)),
        timeout: time("timeout", millis(50), millis(60_000)),
    };
    inner.finish();
    pace
}

/// A timeout that is over before the characters are through can never be met.
fn warn_of_haste(meters: &Meters, links: &Links<'_>, report: &Report<'_>) {
    for (index, (link, span)) in links.links.iter().zip(&links.spans).enumerate() {
        let Some(line) = link.transport.line() else {
            continue;
        };
        let on_link = meters.connections.iter().filter(|connection| connection.link.0 == index);
        let longest = on_link
            .flat_map(|connection| {
                let plan = Plan::new(connection.profile.points().map(|(_, point)| point));
                (0..).map_while(move |position| plan.span(position)).map(|span| span.count)
            })
            .max()
            .unwrap_or(0);
        let needed = line.exchange(longest);
        if link.timeout < needed {
            // Up to whole milliseconds.
            let needed = Duration::from_millis(u64::try_from(needed.as_millis()).unwrap_or(0) + 1);
            report.warn(
                *span,
                format!(
                    "the `timeout` of link `{}` is over before an answer can be: at {} baud {longest} registers take {}",
                    link.name,
                    line.baud,
                    super::quantity::write_time(needed)
                ),
                "raise `timeout`, and leave room for the time that the device thinks: 1 s is usual",
            );
        }
    }
}

/// A meter whose value is stale before a lost answer is given up is stale with each one that is lost. Once for each link.
fn warn_of_patience(meters: &Meters, links: &Links<'_>, report: &Report<'_>) {
    for (index, (link, span)) in links.links.iter().zip(&links.spans).enumerate() {
        let on_link = meters.connections.iter().zip(&meters.meters).filter(|(to, _)| to.link.0 == index);
        let shortest = on_link.map(|(_, meter)| meter).min_by_key(|meter| meter.stale_after);
        let Some(meter) = shortest else { continue };
        let who = format!("meter `{}` on it is stale", meter.name);
        warn_of_lost_answers(
            report,
            *span,
            link,
            (&who, meter.stale_after),
            "`stale_after` of the meters there",
        );
    }
}

/// Warns where `who` does not outlast one answer that is lost on a link: what is so after a time that `key` sets.
pub(super) fn warn_of_lost_answers(
    report: &Report<'_>,
    span: Span,
    link: &Link,
    (who, after): (&str, Duration),
    key: &str,
) {
    if link.timeout > after {
        let write = super::quantity::write_time;
        report.warn(
            span,
            format!(
                "link `{}` waits {} for an answer, and {who} after {}: one lost answer is enough",
                link.name,
                write(link.timeout),
                write(after)
            ),
            format!(
                "shorten `timeout` of the link, or make {key} longer than it, with room for a few lost answers"
            ),
        );
    }
}

/// The names of all meters, for the circuits and limits that refer to them: the devices first.
pub(super) fn names<'a>(root: &Table<'a>) -> Vec<At<&'a str>> {
    let (combined, devices): (Vec<_>, Vec<_>) =
        root.named("meters").into_iter().partition(|(_, table)| combined::is_combined(table));
    devices.into_iter().chain(combined).map(|(name, _)| name).collect()
}

/// The meters, by position.
pub(super) struct Meters {
    pub(super) meters: Vec<site::Meter>,
    pub(super) connections: Vec<Connection>,
    pub(super) spans: Vec<Span>,
}

/// Reads `[meters.*]`. A meter that is wrong keeps its place in the list.
pub(super) fn meters<'a>(root: &Table<'a>, links: &mut Links<'a>, own: &BTreeMap<String, Profile>) -> Meters {
    let report = root.report();
    let mut result = Meters { meters: Vec::new(), connections: Vec::new(), spans: Vec::new() };
    let mut used = vec![false; links.links.len()];
    for (name, table) in root.named("meters").into_iter().filter(|(_, table)| !combined::is_combined(table)) {
        let link = table.text("link");
        let link = table.require("link", link, "name the link that the meter hangs on: link = \"…\"");
        let link = link.and_then(|link| links.names.find(report, link));
        if let Some(mark) = link.and_then(|link| used.get_mut(link)) {
            *mark = true;
        }
        let unit = table.integer("unit", 0, 255);
        let unit = table.require(
            "unit",
            unit,
            "write the Modbus unit id of the meter, like unit = 1; it is never guessed",
        );
        let mut profile = profile(&table, name.value, own);
        profiles::full_scale(&table, &mut profile);
        let invert = table.boolean("invert").unwrap_or(false);
        // The profile's is that of the device, before the configuration turns it.
        let own_range = profile.plausible.map(|range| match invert {
            true => Plausible { low: -range.high, high: -range.low },
            false => range,
        });
        let (meter, frozen_after) = times(name.value, &table);
        let connection = Connection {
            link: LinkId(link.unwrap_or(0)),
            unit: unit.and_then(|at| u8::try_from(at.value).ok()).unwrap_or(0),
            profile,
            invert,
            plausible: plausible(&table).or(own_range),
            frozen_after,
            stale_after: meter.stale_after,
            period: meter.period,
        };
        table.finish();
        result.meters.push(meter);
        result.connections.push(connection);
        result.spans.push(name.span);
    }
    // Contacts are read over links, too.
    let contacts = root.named("signals").into_iter().filter_map(|(_, table)| table.text("link"));
    for link in contacts {
        if let Some(mark) = links.names.position(link.value).and_then(|link| used.get_mut(link)) {
            *mark = true;
        }
    }
    for ((link, span), used) in links.links.iter().zip(&links.spans).zip(used) {
        if !used {
            report.warn(*span, format!("no meter hangs on link `{}`", link.name), "");
        }
    }
    keep_pace(&result, links);
    warn_of_twins(&result, report);
    warn_of_haste(&result, links, report);
    warn_of_patience(&result, links, report);
    result
}

/// The times of a meter. Those that the file does not give follow from those that it gives.
fn times(name: &str, table: &Table<'_>) -> (site::Meter, Option<Duration>) {
    let report = table.report();
    let mistakes = report.count();
    let seconds = Duration::from_secs;
    let period =
        table.time("period", Duration::from_millis(50), seconds(3_600)).map_or(seconds(1), |at| at.value);
    let lag = table.time("lag", Duration::ZERO, seconds(600));
    let learn_lag = lag.is_none();
    let lag = lag.map_or(Duration::ZERO, |at| at.value);
    let stale = table.time("stale_after", Duration::from_millis(50), DAY);
    let fail_safe = table.time("fail_safe_after", Duration::from_millis(50), DAY);
    let frozen = table.time("frozen_after", seconds(1), DAY);

    let stale_after = stale.map_or_else(
        || {
            let usual = period.saturating_mul(5).max(seconds(5));
            fail_safe.map_or(usual, |at| usual.min(at.value))
        },
        |at| at.value,
    );
    let fail_safe_after = fail_safe.map_or_else(|| stale_after.saturating_mul(4), |at| at.value);
    // One wrong key is enough to say; comparing defaults with it would only add noise.
    if report.count() == mistakes {
        let write = super::quantity::write_time;
        if stale_after <= period {
            report.error(
                stale.or(fail_safe).map_or(table.span(), |at| at.span),
                format!(
                    "meter `{name}` would be stale after {}, but is read every {} only",
                    write(stale_after),
                    write(period)
                ),
                "give `stale_after` room for a few lost readings, or shorten `period`",
            );
        }
        if stale_after > fail_safe_after {
            report.error(
                fail_safe.or(stale).map_or(table.span(), |at| at.span),
                format!(
                    "`fail_safe_after` ({}) comes before `stale_after` ({})",
                    write(fail_safe_after),
                    write(stale_after)
                ),
                "a value is used up to `stale_after`, loses weight until `fail_safe_after`, and is then given up",
            );
        }
        if let Some(frozen) = frozen.filter(|frozen| frozen.value <= period) {
            report.error(
                frozen.span,
                format!("`frozen_after` is not longer than the `period` of {}", write(period)),
                "a steady load may show the same value several times; a minute is a sensible start",
            );
        }
    }
    let meter = site::Meter {
        name: name.to_owned(),
        period,
        lag,
        learn_lag,
        stale_after,
        fail_safe_after,
        combined: None,
    };
    (meter, frozen.map(|at| at.value))
}

fn profile(table: &Table<'_>, name: &str, own: &BTreeMap<String, Profile>) -> Profile {
    let report = table.report();
    let named = table.text("profile");
    let inline = profiles::inline(table, name);
    let described = profiles::described(table);
    let sunspec = profiles::sunspec(table);
    let is_sunspec = named.is_some_and(|named| named.value == profiles::SUNSPEC);
    if table.has("sunspec") && !is_sunspec {
        report.error(
            table.key_span("sunspec"),
            format!("meter `{name}` is not read as a SunSpec device"),
            "write profile = \"sunspec\", or remove this",
        );
    }
    match (table.has("profile"), described.is_some()) {
        (true, true) => report.error(
            table.key_span(described.unwrap_or("power")),
            format!("meter `{name}` has both a `profile` and registers of its own"),
            "keep one of the two",
        ),
        (false, false) => report.error(
            table.span(),
            format!("meter `{name}` says nothing of its registers"),
            "write profile = \"…\" for a known meter (`ballast meter profiles` lists them), profile = \"sunspec\" for \
             one that says itself what its registers mean, or describe the register in power = { … }",
        ),
        (false, true) => return inline.unwrap_or_else(|| profiles::empty(name)),
        (true, false) => {}
    }
    let Some(named) = named else {
        return profiles::empty(name);
    };
    if is_sunspec {
        return sunspec;
    }
    if let Some(profile) = own.get(named.value) {
        return profile.clone();
    }
    if let Some(profile) = builtin::profile(named.value) {
        return profile;
    }
    let mut known: Vec<&str> = own.keys().map(String::as_str).chain([profiles::SUNSPEC]).collect();
    builtin::profile_names().for_each(|name| known.push(name));
    report.error(
        named.span,
        format!("there is no meter profile `{}`", super::reader::shorten(named.value)),
        report.suggest(named.value, known.iter().copied()),
    );
    profiles::empty(name)
}

/// A meter without a plausible range of its own gets one by what hangs at the site: a value far beyond it is an error of
/// the device or of its scale, and would count as energy and as import for as long as it lasts. A profile's range, which
/// is what the device can show, stands for it as well.
pub(super) fn assume_plausible(connections: &mut [Connection], hanging: Watts) {
    let most = hanging.scaled(BEYOND).min(Watts::saturating(MOST_POWER));
    if most <= Watts::ZERO {
        return;
    }
    for connection in connections.iter_mut().filter(|connection| !connection.profile.contacts) {
        connection.plausible.get_or_insert(Plausible { low: -most, high: most });
    }
}

/// A meter whose registers of 16 bits end below what hangs at the site shows nothing when it matters, or something else.
pub(super) fn warn_of_narrowness(
    meters: &Meters,
    circuits: &[site::Circuit],
    miners: Watts,
    report: &Report<'_>,
) {
    let each = meters.connections.iter().zip(&meters.meters).zip(&meters.spans).enumerate();
    let heads = |index| circuits.iter().any(|circuit| circuit.meter == Some(site::MeterId(index)));
    for (_, ((connection, meter), span)) in each.filter(|(index, _)| heads(*index)) {
        let terms = &connection.profile.power.terms;
        let reach: Option<f64> = terms.iter().map(|term| term.turnover().map(|span| span / 2.0)).sum();
        let Some(reach) = reach.filter(|reach| !terms.is_empty() && *reach < miners.get()) else { continue };
        report.warn(
            *span,
            format!(
                "meter `{}` can show {} at the most, in registers of 16 bits, and {miners} of miners hang at the site",
                meter.name,
                Watts::saturating(reach)
            ),
            "take a profile with wider registers, if the device has them",
        );
    }
}

/// The range of powers that a meter, or a kind of meter, can show.
pub(super) fn plausible(table: &Table<'_>) -> Option<Plausible> {
    let inner = table.table("plausible")?;
    let low = inner.power("low", -MOST_POWER, MOST_POWER);
    let low = inner.require("low", low, "write the lowest power that the meter can show");
    let high = inner.power("high", -MOST_POWER, MOST_POWER);
    let high = inner.require("high", high, "write the highest power that the meter can show");
    let report = inner.report();
    inner.finish();
    let (low, high) = (low?, high?);
    if low.value >= high.value {
        report.error(
            low.span,
            format!("the plausible range begins at {} and ends at {}", low.value, high.value),
            "`low` must be below `high`; export is negative",
        );
        return None;
    }
    Some(Plausible { low: low.value, high: high.value })
}

/// Two names for one register are allowed (two circuits may be compared with one device), but rarely meant.
fn warn_of_twins(meters: &Meters, report: &Report<'_>) {
    /// Link, unit, and the registers of power.
    type Place = (usize, u8, Vec<(Function, u16)>);
    let mut seen: BTreeMap<Place, &str> = BTreeMap::new();
    for ((connection, meter), span) in meters.connections.iter().zip(&meters.meters).zip(&meters.spans) {
        let terms = connection.profile.power.terms.iter();
        let addresses: Vec<(Function, u16)> = terms.map(|term| (term.function, term.address)).collect();
        if addresses.is_empty() {
            continue;
        }
        if let Some(other) = seen.insert((connection.link.0, connection.unit, addresses), &meter.name) {
            report.warn(
                *span,
                format!("meter `{}` reads the same register as `{other}`", meter.name),
                "check `link` and `unit`; each meter on a bus has its own unit id",
            );
        }
    }
}
