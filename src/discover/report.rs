//! What a scan found, as text for people.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::finding::{Control, Finding, WarningKind};
use super::scan::Scan;

/// Most lines of hosts that are no miners, and of addresses behind one warning.
const SHOWN: usize = 8;
/// The widest that a column of devices' own words gets.
const WIDEST: usize = 28;

/// Prints the whole: a table, totals, warnings, what else answered.
///
/// # Errors
/// Writing failed.
pub fn write(scan: &Scan, tried_defaults: bool, out: &mut dyn Write) -> io::Result<()> {
    if !scan.findings.is_empty() {
        table(&scan.findings, out)?;
        writeln!(out)?;
        totals(&scan.findings, out)?;
        writeln!(out)?;
    }
    summary(scan, out)?;
    warnings(&scan.findings, out)?;
    nameless(&scan.findings, out)?;
    others(scan, out)?;
    if !scan.findings.is_empty() && !tried_defaults {
        writeln!(
            out,
            "\nDefault passwords were not checked; --try-default-passwords does, with one harmless login per miner."
        )?;
    }
    out.flush()
}

/// `1 miner`, `2 miners`.
pub fn counted(count: usize, what: &str) -> String {
    let ending = match (count, what.strip_suffix('s')) {
        (1, _) => "",
        (_, Some(_)) => "es",
        (_, None) => "s",
    };
    format!("{count} {what}{ending}")
}

fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| String::from("-"), |text| text.to_string())
}

fn cut(text: String) -> String {
    if text.chars().count() <= WIDEST {
        return text;
    }
    text.chars().take(WIDEST - 1).chain(std::iter::once('…')).collect()
}

fn table(findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    const HEAD: [&str; 9] =
        ["ADDRESS", "MODEL", "FIRMWARE", "VERSION", "MAC", "DRIVER", "STATE", "POWER", "HASHRATE"];
    let rows: Vec<[String; 9]> = findings
        .iter()
        .map(|finding| {
            [
                finding.address.to_string(),
                cut(or_dash(finding.identity.model.as_deref().or(finding.identity.vendor.as_deref()))),
                finding.firmware.title().to_owned(),
                cut(or_dash(finding.version.as_deref())),
                or_dash(finding.identity.mac),
                finding.control.to_string(),
                finding.state.name().to_owned(),
                or_dash(finding.power),
                or_dash(finding.hashrate),
            ]
        })
        .collect();
    let mut widths = HEAD.map(|head| head.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut line = |cells: &[String]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .enumerate()
            // Numbers end in one column.
            .map(
                |(place, (cell, width))| {
                    if place >= 7 { format!("{cell:>width$}") } else { format!("{cell:width$}") }
                },
            )
            .collect();
        writeln!(out, "{}", padded.join("  ").trim_end())
    };
    line(&HEAD.map(String::from))?;
    rows.iter().try_for_each(|row| line(row))
}

fn totals(findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    let mut groups: BTreeMap<(String, &str, String), usize> = BTreeMap::new();
    for finding in findings {
        let model = or_dash(finding.identity.model.as_deref().or(finding.identity.vendor.as_deref()));
        let control = match finding.control {
            Control::Driver(kind) => format!("driver {}", kind.name()),
            Control::ReadOnly => String::from("can be read, not throttled"),
            Control::Nothing => String::from("cannot be used"),
        };
        *groups.entry((model, finding.firmware.title(), control)).or_default() += 1;
    }
    for ((model, firmware, control), count) in groups {
        writeln!(out, "{count:5} × {model}, {firmware}: {control}")?;
    }
    Ok(())
}

fn summary(scan: &Scan, out: &mut dyn Write) -> io::Result<()> {
    let throttled =
        scan.findings.iter().filter(|finding| matches!(finding.control, Control::Driver(_))).count();
    write!(
        out,
        "{} at {} in {:.1} s",
        counted(scan.findings.len(), "miner"),
        counted(scan.addresses, "address"),
        scan.elapsed.as_secs_f64(),
    )?;
    if !scan.findings.is_empty() {
        write!(out, "; {throttled} can be throttled")?;
    }
    if !scan.others.is_empty() {
        write!(out, "; {} something else", counted_hosts(scan.others.len()))?;
    }
    if scan.closed > 0 {
        write!(out, "; {} refused all three ports", scan.closed)?;
    }
    writeln!(out, "; {} did not answer", scan.silent)?;
    if scan.not_asked > 0 {
        writeln!(
            out,
            "{} could not be asked: this machine had no sockets left. Raise `ulimit -n`, or lower --rate.",
            counted(scan.not_asked, "address")
        )?;
    }
    if scan.interrupted {
        let left = scan.addresses.saturating_sub(scan.settled.len());
        writeln!(out, "Stopped before the end: {} were not asked to the end.", counted(left, "address"))?;
    }
    Ok(())
}

fn counted_hosts(count: usize) -> String {
    if count == 1 { String::from("1 host is") } else { format!("{count} hosts are") }
}

fn warnings(findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    let mut kinds: BTreeMap<(WarningKind, &str), Vec<String>> = BTreeMap::new();
    for finding in findings {
        for warning in &finding.warnings {
            kinds.entry((warning.kind, &warning.text)).or_default().push(finding.address.to_string());
        }
    }
    for ((_, text), addresses) in kinds {
        let more = addresses.len().saturating_sub(SHOWN);
        let shown: Vec<&str> = addresses.iter().take(SHOWN).map(String::as_str).collect();
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        writeln!(out, "\nwarning: {}{rest}: {text}", shown.join(", "))?;
    }
    Ok(())
}

/// Says which drivers' miners would tell who they are if they had an account.
fn nameless(findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    let mut drivers: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.identity.is_anonymous()) {
        let tells = !super::plan::private(finding.firmware).is_empty();
        if let (true, Some(driver)) = (tells, finding.control.driver_name()) {
            *drivers.entry(driver).or_default() += 1;
        }
    }
    for (driver, count) in drivers {
        let who = if count == 1 { "tells its" } else { "tell their" };
        writeln!(
            out,
            "\n{} of {driver} {who} hardware address only after a login: --credentials {driver}=FILE, where FILE holds \
             the password. Without it the address alone says which miner is which.",
            counted(count, "miner")
        )?;
    }
    Ok(())
}

fn others(scan: &Scan, out: &mut dyn Write) -> io::Result<()> {
    if scan.others.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nNo miners that are known:")?;
    for (ip, what) in scan.others.iter().take(SHOWN) {
        writeln!(out, "  {ip}: {what}")?;
    }
    let more = scan.others.len().saturating_sub(SHOWN);
    if more > 0 {
        writeln!(out, "  and {more} more; --json lists all")?;
    }
    Ok(())
}
