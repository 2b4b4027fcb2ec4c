//! Puts what a scan found into a configuration. Pure: text in, text out.
//!
//! A miner is known by its hardware address, else by its serial number. One that moved keeps its name and gets its new
//! address; one that is not found keeps its place and gets a comment; one that is new gets a line under `[miners]` and
//! a group for what it shares with others of its driver and model. Everything that stands in the text already stays
//! as it is, comments and order included; a check at the end makes sure of that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::finding::{Finding, WarningKind};
use super::merge_groups::Groups;
use super::scan::Scan;
use super::targets::{MOST, Target};
use crate::config::{self, ConfigErrors};
use crate::miner::identity::{Identity, Mac, Sameness, meaningful_serial, same_miner};

/// How the comments begin that this program puts into a configuration.
pub const MARK: &str = "# ballast discover: ";

/// What a merge needs to know beside the scan.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The circuit that feeds new miners; without one the only circuit of the file, or a word that must be replaced.
    pub circuit: Option<String>,
    /// Accounts for new groups: driver, account name, password file as the configuration is to name it.
    pub accounts: Vec<(String, Option<String>, String)>,
}

/// Something that is different in the new text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new miner.
    Added {
        /// Its name.
        name: String,
        /// Where it answers.
        address: IpAddr,
    },
    /// A new group, or a new model; with whether something in it is left to the operator.
    Table {
        /// The header, such as `[groups.m60s]`.
        header: String,
        /// Whether it has a `TODO`.
        todo: bool,
    },
    /// A known miner with a new address.
    Moved {
        /// Its name.
        name: String,
        /// Where it was.
        from: IpAddr,
        /// Where it is.
        to: IpAddr,
    },
    /// A miner that was known by its address alone got its hardware address or serial number.
    Learned {
        /// Its name.
        name: String,
    },
    /// A miner was not found; it got a comment.
    Gone {
        /// Its name.
        name: String,
        /// Where it was looked for.
        address: IpAddr,
    },
    /// A miner that had such a comment was found again.
    Back {
        /// Its name.
        name: String,
    },
}

/// Why a merge is not made. The file is left alone.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The text is no TOML.
    #[error("{0}")]
    Syntax(ConfigErrors),
    /// A section is not what it should be.
    #[error("{}: `{section}` is not a table; nothing was written", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The section.
        section: &'static str,
    },
    /// The new text would lack something of the old one: a fault of this program.
    #[error("{}: `{what}` would be lost; nothing was written. Please report this", path.display())]
    Loss {
        /// The file.
        path: PathBuf,
        /// What would be lost.
        what: String,
    },
}

/// A merged configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// The new text; the old one, to the byte, when nothing changes.
    pub text: String,
    /// What is different.
    pub changes: Vec<Change>,
    /// What a person should know or decide; one sentence each.
    pub notes: Vec<String>,
}

/// A miner that the text names.
struct Known {
    name: String,
    host: Option<IpAddr>,
    port: Option<u16>,
    identity: Identity,
    driver: Option<String>,
    /// The finding that it is.
    seen: Option<usize>,
}

/// Merges a scan into a text. `path` is for messages.
///
/// # Errors
/// [`MergeError`]; with file, line and column where the text cannot be read.
pub fn merge(text: &str, path: &Path, scan: &Scan, options: &Options) -> Result<Merged, MergeError> {
    config::check_syntax(text, path).map_err(MergeError::Syntax)?;
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        // The configuration's parser accepted it: the two differ only by a fault of one of them.
        MergeError::Loss { path: path.to_owned(), what: error.message().to_owned() }
    })?;
    for section in ["miners", "groups", "models", "circuits"] {
        if document.get(section).is_some_and(|item| item.as_table_like().is_none()) {
            return Err(MergeError::Shape { path: path.to_owned(), section });
        }
    }
    let mut work = Work::new(&document, scan);
    work.find_known();
    work.move_known(&mut document);
    let fresh = work.place_others(&mut document);
    let mut groups = Groups::new(&document, options);
    for index in fresh {
        if let Some(finding) = scan.findings.get(index) {
            groups.add(finding);
        }
    }
    groups.write(&mut document, &mut work.changes);
    work.mark_missing(&mut document);
    let Work { changes, mut notes, .. } = work;
    notes.sort();
    if changes.is_empty() {
        return Ok(Merged { text: text.to_owned(), changes, notes });
    }
    let text_after = restore_ends(text, document.to_string());
    nothing_lost(text, &text_after, &changes, path)?;
    Ok(Merged { text: text_after, changes, notes })
}

struct Work<'s> {
    scan: &'s Scan,
    known: Vec<Known>,
    /// Addresses that a group's `addresses` cover, with the group and its driver.
    ranges: BTreeMap<IpAddr, (String, Option<String>)>,
    taken: BTreeSet<usize>,
    changes: Vec<Change>,
    notes: Vec<String>,
}

/// A text of a table, group or miner.
fn text_of<'t>(table: &'t dyn TableLike, key: &str) -> Option<&'t str> {
    table.get(key).and_then(Item::as_str)
}

/// The host and port of an `address`.
fn host_and_port(text: &str) -> (Option<IpAddr>, Option<u16>) {
    let text = text.trim();
    if let Ok(ip) = text.parse() {
        return (Some(ip), None);
    }
    text.parse().map_or((None, None), |socket: std::net::SocketAddr| (Some(socket.ip()), Some(socket.port())))
}

impl<'s> Work<'s> {
    fn new(document: &DocumentMut, scan: &'s Scan) -> Self {
        let group_driver = |name: &str| {
            let group = document.get("groups")?.as_table_like()?.get(name)?.as_table_like()?;
            text_of(group, "driver").map(str::to_owned)
        };
        let mut known = Vec::new();
        let miners = document.get("miners").and_then(Item::as_table_like);
        for (name, item) in miners.into_iter().flat_map(TableLike::iter) {
            let Some(table) = item.as_table_like() else { continue };
            let (host, port) = text_of(table, "address").map_or((None, None), host_and_port);
            let driver = text_of(table, "driver")
                .map(str::to_owned)
                .or_else(|| group_driver(text_of(table, "group")?));
            let identity = Identity {
                mac: text_of(table, "mac").and_then(|mac| mac.parse().ok()),
                serial: text_of(table, "serial").and_then(meaningful_serial),
                ..Identity::default()
            };
            known.push(Known { name: name.to_owned(), host, port, identity, driver, seen: None });
        }
        let mut ranges = BTreeMap::new();
        let groups = document.get("groups").and_then(Item::as_table_like);
        for (name, item) in groups.into_iter().flat_map(TableLike::iter) {
            let list = item.as_table_like().and_then(|table| table.get("addresses")).and_then(Item::as_array);
            for text in list.into_iter().flatten().filter_map(Value::as_str) {
                let one = host_and_port(text).0.map(|ip| vec![ip]);
                let all = one.or_else(|| text.parse::<Target>().ok().map(|target| target.addresses()));
                for ip in all.into_iter().flatten().take(MOST) {
                    ranges.entry(ip).or_insert_with(|| (name.to_owned(), group_driver(name)));
                }
            }
        }
        Self { scan, known, ranges, taken: BTreeSet::new(), changes: Vec::new(), notes: Vec::new() }
    }

    /// Finds the findings that are named in the text: by hardware address or serial number.
    fn find_known(&mut self) {
        let mut by_mac: BTreeMap<Mac, usize> = BTreeMap::new();
        for (index, finding) in self.scan.findings.iter().enumerate() {
            let Some(mac) = finding.identity.mac else { continue };
            if let Some(first) = by_mac.insert(mac, index) {
                let at =
                    self.scan.findings.get(first).map_or(String::new(), |other| other.address.to_string());
                self.notes.push(format!(
                    "{} and {at} have the same hardware address {mac}: one miner with two addresses, or a router in \
                     between; only the first is written",
                    finding.address
                ));
                by_mac.insert(mac, first);
                self.taken.insert(index);
            }
        }
        for known in &mut self.known {
            if known.identity.is_anonymous() {
                continue;
            }
            let found = self.scan.findings.iter().enumerate().position(|(index, finding)| {
                !self.taken.contains(&index)
                    && same_miner(&known.identity, &finding.identity) == Sameness::Same
            });
            if let Some(index) = found {
                known.seen = Some(index);
                self.taken.insert(index);
            }
        }
    }

    /// Gives those that moved their new address, unless something else of the text stands there.
    fn move_known(&mut self, document: &mut DocumentMut) {
        // Addresses that stay with their entries: of those that were found where they were, or not found at all.
        let mut held: BTreeMap<IpAddr, String> = BTreeMap::new();
        for known in &self.known {
            let now = known.seen.and_then(|index| self.scan.findings.get(index)).map(|found| found.address);
            if let Some(host) = known.host
                && (now.is_none() || now == Some(host))
            {
                held.insert(host, known.name.clone());
            }
        }
        let mut moved = Vec::new();
        for known in &self.known {
            let Some(finding) = known.seen.and_then(|index| self.scan.findings.get(index)) else { continue };
            if learn(document, known, finding) {
                self.changes.push(Change::Learned { name: known.name.clone() });
            }
            // An address that is a name is the operator's way to follow the miner.
            let Some(from) = known.host.filter(|host| *host != finding.address) else { continue };
            let other = held
                .get(&finding.address)
                .map(|name| format!("miner `{name}`"))
                .or_else(|| self.ranges.get(&finding.address).map(|(name, _)| format!("group `{name}`")));
            if let Some(other) = other {
                self.notes.push(format!(
                    "`{}` moved from {from} to {}, but {other} stands there in the file: give that one its address or take \
                     it out, then run this again",
                    known.name, finding.address
                ));
                continue;
            }
            moved.push((known.name.clone(), from, finding.address, known.port));
        }
        for (name, from, to, port) in moved {
            let text = match port {
                Some(port) => std::net::SocketAddr::new(to, port).to_string(),
                None => to.to_string(),
            };
            if let Some(table) = entry(document, &name) {
                replace_text(table, "address", &text);
                self.changes.push(Change::Moved { name: name.clone(), from, to });
            }
            for known in self.known.iter_mut().filter(|known| known.name == name) {
                known.host = Some(to);
            }
        }
    }

    /// What is left: findings at an address that the text names, and new ones. Gives the new ones.
    fn place_others(&mut self, document: &mut DocumentMut) -> Vec<usize> {
        let mut fresh = Vec::new();
        let mut unusable: BTreeMap<String, usize> = BTreeMap::new();
        for (index, finding) in self.scan.findings.iter().enumerate() {
            if self.taken.contains(&index) {
                continue;
            }
            let at = finding.address;
            let driver = finding.control.driver_name();
            let entry = self.known.iter_mut().find(|known| known.host == Some(at));
            if let Some(known) = entry {
                if known.seen.is_some() {
                    continue;
                }
                if let Sameness::Different(reason) = same_miner(&known.identity, &finding.identity) {
                    self.notes.push(format!(
                        "`{}` should be at {at}, but another miner answers there: {reason}. If it took the place of `{}`, \
                         write its mac and serial there; else give `{}` its new address",
                        known.name, known.name, known.name
                    ));
                    continue;
                }
                known.seen = Some(index);
                if let Some(expected) = known.driver.as_deref()
                    && driver != Some(expected)
                {
                    self.notes.push(mismatch(&format!("`{}`", known.name), at, expected, finding));
                } else if learn(document, known, finding) {
                    self.changes.push(Change::Learned { name: known.name.clone() });
                }
                continue;
            }
            if let Some((group, expected)) = self.ranges.get(&at) {
                if let Some(expected) = expected.as_deref()
                    && driver != Some(expected)
                {
                    self.notes.push(mismatch(&format!("group `{group}`"), at, expected, finding));
                }
                continue;
            }
            if finding.control.driver().is_none() {
                let why = match driver {
                    None if finding.is_warned(WarningKind::Algorithm) => {
                        String::from("it does not hash Bitcoin")
                    }
                    Some(driver) => format!("this version has no driver `{driver}`"),
                    None => String::from("there is no API that answers"),
                };
                *unusable.entry(why).or_default() += 1;
                continue;
            }
            fresh.push(index);
        }
        for (why, count) in unusable {
            let were = if count == 1 { "was" } else { "were" };
            self.notes.push(format!("{} {were} not written: {why}", super::report::counted(count, "miner")));
        }
        fresh
    }

    /// Puts a comment above those that were looked for and not found, and takes it away from those that are back.
    fn mark_missing(&mut self, document: &mut DocumentMut) {
        for known in &self.known {
            let missing = known.seen.is_none().then_some(known.host).flatten();
            match missing.filter(|host| self.scan.settled.contains(host)) {
                Some(host) => {
                    let comment = format!("not found at {host}");
                    if mark(document, &known.name, Some(&comment)) {
                        self.changes.push(Change::Gone { name: known.name.clone(), address: host });
                    }
                    self.notes
                        .push(format!("`{}` was not found at {host}; it stays in the file", known.name));
                }
                None if known.seen.is_some() && mark(document, &known.name, None) => {
                    self.changes.push(Change::Back { name: known.name.clone() });
                }
                None => {}
            }
        }
        let found: BTreeSet<IpAddr> = self.scan.findings.iter().map(|finding| finding.address).collect();
        let mut lost: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
        for (ip, (group, _)) in &self.ranges {
            if self.scan.settled.contains(ip) && !found.contains(ip) {
                lost.entry(group).or_default().push(*ip);
            }
        }
        for (group, addresses) in lost {
            let shown: Vec<String> = addresses.iter().take(4).map(ToString::to_string).collect();
            let more = if addresses.len() > 4 { ", …" } else { "" };
            let count = super::report::counted(addresses.len(), "address");
            self.notes.push(format!(
                "group `{group}`: no miner at {count} of its list ({}{more})",
                shown.join(", ")
            ));
        }
    }
}

fn mismatch(what: &str, at: IpAddr, expected: &str, finding: &Finding) -> String {
    let found = finding.control.driver_name().unwrap_or("no driver");
    format!(
        "{what} says driver `{expected}` for {at}, but {} answers there (`{found}`): correct the driver",
        finding.firmware.title()
    )
}

/// The table of a miner.
fn entry<'d>(document: &'d mut DocumentMut, name: &str) -> Option<&'d mut dyn TableLike> {
    document.get_mut("miners")?.as_table_like_mut()?.get_mut(name)?.as_table_like_mut()
}

/// Writes hardware address and serial number into an entry that lacks them. Says whether it did.
fn learn(document: &mut DocumentMut, known: &Known, finding: &Finding) -> bool {
    let mut learned = false;
    let Some(table) = entry(document, &known.name) else { return false };
    if let (Some(mac), false) = (finding.identity.mac, table.contains_key("mac")) {
        insert_text(table, "mac", &mac.to_string());
        learned = true;
    }
    if let (Some(serial), false) = (&finding.identity.serial, table.contains_key("serial")) {
        insert_text(table, "serial", serial);
        learned = true;
    }
    learned
}

/// Replaces a text and leaves blanks and comments around it.
fn replace_text(table: &mut dyn TableLike, key: &str, text: &str) {
    if let Some(value) = table.get_mut(key).and_then(Item::as_value_mut) {
        let decor = value.decor().clone();
        *value = Value::from(text);
        *value.decor_mut() = decor;
    }
}

/// Adds a key at the end. In an inline table the blank before the brace moves behind the new value.
fn insert_text(table: &mut dyn TableLike, key: &str, text: &str) {
    let last = table.iter().last().map(|(key, _)| key.to_owned());
    let inline = table.iter().last().is_some_and(|(_, item)| item.is_value())
        && last.as_ref().and_then(|last| table.get(last)).and_then(Item::as_value).is_some_and(|value| {
            value.decor().suffix().and_then(|raw| raw.as_str()).is_some_and(|suffix| suffix == " ")
        });
    if inline && let Some(value) = last.and_then(|last| table.get_mut(&last)).and_then(Item::as_value_mut) {
        value.decor_mut().set_suffix("");
        let mut new = Value::from(text);
        *new.decor_mut() = toml_edit::Decor::new(" ", " ");
        table.insert(key, Item::Value(new));
        return;
    }
    table.insert(key, toml_edit::value(text));
}

/// Sets or takes away this program's comment above a miner. Says whether anything changed.
fn mark(document: &mut DocumentMut, name: &str, comment: Option<&str>) -> bool {
    let Some(miners) = document.get_mut("miners").and_then(Item::as_table_like_mut) else { return false };
    let decor = match miners.get_mut(name) {
        Some(Item::Table(table)) if !table.is_dotted() => Some(table.decor_mut()),
        Some(Item::Value(Value::InlineTable(_))) => None,
        _ => return false,
    };
    match decor {
        Some(decor) => set_mark(decor, "\n", comment),
        None => miners.key_mut(name).is_some_and(|mut key| set_mark(key.leaf_decor_mut(), "", comment)),
    }
}

fn set_mark(decor: &mut toml_edit::Decor, usual: &str, comment: Option<&str>) -> bool {
    let before = decor.prefix().and_then(|raw| raw.as_str()).unwrap_or(usual).to_owned();
    let mut lines: Vec<&str> = before.split_inclusive('\n').collect();
    lines.retain(|line| !line.trim_start().starts_with(MARK));
    // What follows the last line break stands on the line of the key itself.
    let indent = lines.pop_if(|line| !line.ends_with('\n')).unwrap_or_default();
    let mut after = lines.concat();
    if let Some(comment) = comment {
        after.push_str(&format!("{indent}{MARK}{comment}\n"));
    }
    after.push_str(indent);
    if after == before {
        return false;
    }
    decor.set_prefix(after);
    true
}

/// Line ends as the text had them.
fn restore_ends(before: &str, after: String) -> String {
    let after =
        if before.contains("\r\n") { after.replace("\r\n", "\n").replace('\n', "\r\n") } else { after };
    if before.starts_with('\u{feff}') && !after.starts_with('\u{feff}') {
        format!("\u{feff}{after}")
    } else {
        after
    }
}

/// Everything that was in the old text is in the new one, the addresses of miners that moved aside; comments too.
fn nothing_lost(old: &str, new: &str, changes: &[Change], path: &Path) -> Result<(), MergeError> {
    let loss = |what: String| MergeError::Loss { path: path.to_owned(), what };
    let parse = |text: &str| toml::from_str::<toml::Table>(text.trim_start_matches('\u{feff}'));
    let (Ok(before), Ok(after)) = (parse(old), parse(new)) else {
        return Err(loss(String::from("the whole")));
    };
    let moved: BTreeSet<Vec<&str>> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Moved { name, .. } => Some(vec!["miners", name.as_str(), "address"]),
            _ => None,
        })
        .collect();
    let mut path_of_key = Vec::new();
    compare(&before, &after, &moved, &mut path_of_key).map_err(loss)?;
    let comments = |text: &str| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for line in
            text.lines().map(str::trim).filter(|line| line.starts_with('#') && !line.starts_with(MARK))
        {
            *counts.entry(line.to_owned()).or_default() += 1;
        }
        counts
    };
    let after = comments(new);
    for (line, count) in comments(old) {
        if after.get(&line).is_none_or(|kept| *kept < count) {
            return Err(loss(line));
        }
    }
    Ok(())
}

fn compare<'t>(
    before: &'t toml::Table,
    after: &toml::Table,
    moved: &BTreeSet<Vec<&str>>,
    place: &mut Vec<&'t str>,
) -> Result<(), String> {
    for (key, value) in before {
        place.push(key);
        let other = after.get(key).ok_or_else(|| place.join("."))?;
        match (value, other) {
            (toml::Value::Table(value), toml::Value::Table(other)) => compare(value, other, moved, place)?,
            (value, other) if value == other || moved.contains(place) => {}
            _ => return Err(place.join(".")),
        }
        place.pop();
    }
    Ok(())
}

/// A line of `[miners]`: `name = { group = "…", address = "…", mac = "…", serial = "…" }`.
pub(super) fn miner_line(group: &str, finding: &Finding) -> InlineTable {
    let mut line = InlineTable::new();
    line.insert("group", group.into());
    line.insert("address", finding.address.to_string().into());
    if let Some(mac) = finding.identity.mac {
        line.insert("mac", mac.to_string().into());
    }
    if let Some(serial) = &finding.identity.serial {
        line.insert("serial", serial.as_str().into());
    }
    line
}

/// The same as a table of its own, for files that are written that way.
pub(super) fn miner_table(group: &str, finding: &Finding) -> Table {
    let mut table = Table::new();
    for (key, value) in miner_line(group, finding).iter() {
        let mut value = value.clone();
        value.decor_mut().clear();
        table.insert(key, Item::Value(value));
    }
    table
}
