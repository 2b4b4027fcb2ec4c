//! New miners in a configuration: their groups, models and names.

use std::collections::{BTreeMap, BTreeSet};

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::finding::{Finding, Point};
use super::merge::{Change, Options, miner_line, miner_table};
use super::targets::{MOST, Target};
use crate::config::builtin;
use crate::miner::DriverKind;
use crate::miner::kind::Class;
use crate::miner::reply::models::slug;
use crate::units::Watts;

/// Stands where only the operator knows; `ballast check` complains about it with its line.
pub const TODO: &str = "TODO";

/// What makes miners one group: driver, model, port.
type Key = (DriverKind, String, Option<u16>);

/// New miners, collected by group.
pub(super) struct Groups<'o> {
    options: &'o Options,
    circuits: Vec<String>,
    /// Models that the text describes itself.
    models: BTreeSet<String>,
    /// The groups of the text: driver, model, port, how many names its list takes.
    known: BTreeMap<String, KnownGroup>,
    names: BTreeSet<String>,
    fresh: BTreeMap<Key, Vec<Finding>>,
}

struct KnownGroup {
    driver: Option<String>,
    model: Option<String>,
    port: Option<u16>,
}

impl<'o> Groups<'o> {
    pub(super) fn new(document: &DocumentMut, options: &'o Options) -> Self {
        let section = |name: &str| document.get(name).and_then(Item::as_table_like);
        let keys = |name: &str| -> Vec<String> {
            section(name).into_iter().flat_map(TableLike::iter).map(|(key, _)| key.to_owned()).collect()
        };
        let mut known = BTreeMap::new();
        let mut names: BTreeSet<String> = keys("miners").into_iter().collect();
        for (name, item) in section("groups").into_iter().flat_map(TableLike::iter) {
            let Some(table) = item.as_table_like() else { continue };
            let text = |key| table.get(key).and_then(Item::as_str).map(str::to_owned);
            let port = table.get("port").and_then(Item::as_integer).and_then(|port| u16::try_from(port).ok());
            known.insert(name.to_owned(), KnownGroup { driver: text("driver"), model: text("model"), port });
            // The members of a list are named GROUP-001 and so on.
            let list = table.get("addresses").and_then(Item::as_array);
            let count: usize = list
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(|text| text.parse::<Target>().map_or(1, |target| target.addresses().len().max(1)))
                .sum();
            let count = count.min(MOST);
            let width = count.to_string().len().max(3);
            names.extend((1..=count).map(|number| format!("{name}-{number:0width$}")));
        }
        Self {
            options,
            circuits: keys("circuits"),
            models: keys("models").into_iter().collect(),
            known,
            names,
            fresh: BTreeMap::new(),
        }
    }

    /// Takes a new miner; one without a driver of this program is left out.
    pub(super) fn add(&mut self, finding: &Finding) {
        let Some(driver) = finding.control.driver() else { return };
        let model = slug(finding.identity.model.as_deref().unwrap_or_default());
        self.fresh.entry((driver, model, finding.port)).or_default().push(finding.clone());
    }

    /// Writes groups, models and miners at the end of the document.
    pub(super) fn write(mut self, document: &mut DocumentMut, changes: &mut Vec<Change>) {
        let mut position = last_position(document.as_table());
        let mut place = || {
            position += 1;
            Some(position)
        };
        let mut lines: Vec<(String, String, Finding)> = Vec::new();
        for (key, findings) in std::mem::take(&mut self.fresh) {
            let group = match self.fitting(&key) {
                Some(group) => group,
                None => {
                    let group = self.free_name(&key);
                    self.describe_model(document, &key, &findings, &mut place, changes);
                    let (mut table, todo) = self.group(&key, &findings);
                    table.set_position(place());
                    if let Some(groups) = section(document, "groups") {
                        groups.insert(&group, Item::Table(table));
                    }
                    changes.push(Change::Table { header: format!("[groups.{group}]"), todo });
                    group
                }
            };
            let mut number = 0_usize;
            for finding in findings {
                let name = loop {
                    number += 1;
                    let name = format!("{group}-{number:03}");
                    if self.names.insert(name.clone()) {
                        break name;
                    }
                };
                lines.push((name, group.clone(), finding));
            }
        }
        if lines.is_empty() {
            return;
        }
        let Some(miners) = section(document, "miners") else { return };
        // A file that gives each miner a table of its own goes on that way.
        let tables = miners.iter().any(|(_, item)| item.is_table());
        if !tables && miners.is_empty() && miners.is_implicit() {
            miners.set_implicit(false);
            miners.set_position(place());
        }
        for (name, group, finding) in lines {
            let item = if tables {
                let mut table = miner_table(&group, &finding);
                table.set_position(place());
                Item::Table(table)
            } else {
                Item::Value(Value::InlineTable(miner_line(&group, &finding)))
            };
            miners.insert(&name, item);
            changes.push(Change::Added { name, address: finding.address });
        }
    }

    /// A group of the text that new miners can join.
    fn fitting(&self, (driver, model, port): &Key) -> Option<String> {
        let fits = |group: &KnownGroup| {
            group.driver.as_deref() == Some(driver.name())
                && group.port == *port
                && group.model.as_deref() == Some(model)
        };
        let by_model = self.known.iter().find(|(_, group)| fits(group)).map(|(name, _)| name.clone());
        by_model.or_else(|| {
            // One that this program wrote for a model that has no description.
            let name = base_name(model, *driver);
            let group = self.known.get(&name)?;
            let same = group.driver.as_deref() == Some(driver.name()) && group.port == *port;
            (same && group.model.is_none()).then_some(name)
        })
    }

    fn free_name(&mut self, (driver, model, port): &Key) -> String {
        let base = base_name(model, *driver);
        let candidates = [base.clone(), format!("{base}-{}", driver.name())]
            .into_iter()
            .chain((2_u32..).map(|number| format!("{base}-{number}")));
        let name = candidates.into_iter().find(|name| !self.known.contains_key(name)).unwrap_or(base);
        let group =
            KnownGroup { driver: Some(driver.name().to_owned()), model: Some(model.clone()), port: *port };
        self.known.insert(name.clone(), group);
        name
    }

    fn has_model(&self, model: &str) -> bool {
        !model.is_empty() && (self.models.contains(model) || builtin::model(model).is_some())
    }

    /// Writes `[models.NAME]` for a model that nobody describes, where its miners list their operating points.
    fn describe_model(
        &mut self,
        document: &mut DocumentMut,
        (_, model, _): &Key,
        findings: &[Finding],
        place: &mut impl FnMut() -> Option<isize>,
        changes: &mut Vec<Change>,
    ) {
        // Points must rise in both; a list that does not is no description.
        let usable = |points: &[Point]| {
            points.len() >= 2
                && points.windows(2).all(|pair| match pair {
                    [low, high] => low.power < high.power && low.hashrate <= high.hashrate,
                    _ => true,
                })
        };
        let told = findings.iter().find(|finding| usable(&finding.points));
        let (false, false, Some(finding)) = (self.has_model(model), model.is_empty(), told) else { return };
        let mut points = Array::new();
        for point in &finding.points {
            let mut entry = InlineTable::new();
            entry.insert("power", format!("{:.0} W", point.power.get()).into());
            entry.insert("hashrate", format!("{:.1} TH/s", point.hashrate.as_terahashes()).into());
            let mut value = Value::InlineTable(entry);
            value.decor_mut().set_prefix("\n    ");
            points.push_formatted(value);
        }
        points.set_trailing("\n");
        points.set_trailing_comma(true);
        let mut table = Table::new();
        table.insert("points", toml_edit::value(points));
        if let Some(mut key) = table.key_mut("points") {
            let told = format!("# As the miner at {} lists them.\n", finding.address);
            key.leaf_decor_mut().set_prefix(told);
        }
        table.set_position(place());
        if let Some(models) = section(document, "models") {
            models.insert(model, Item::Table(table));
        }
        self.models.insert(model.clone());
        changes.push(Change::Table { header: format!("[models.{model}]"), todo: false });
    }

    /// The table of a new group, and whether the operator must complete it.
    fn group(&self, (driver, model, port): &Key, findings: &[Finding]) -> (Table, bool) {
        let mut table = Table::new();
        let mut todo = false;
        table.insert("driver", toml_edit::value(driver.name()));
        let circuit = match (&self.options.circuit, self.circuits.as_slice()) {
            (Some(circuit), _) => toml_edit::value(circuit.as_str()),
            (None, [only]) => toml_edit::value(only.as_str()),
            (None, several) => {
                todo = true;
                let names = several.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
                let help = if names.is_empty() { names } else { format!(": {names}") };
                commented(TODO, &format!("the circuit that feeds these miners{help}"))
            }
        };
        table.insert("circuit", circuit);
        if let Some(port) = port {
            table.insert("port", toml_edit::value(i64::from(*port)));
        }
        if self.has_model(model) {
            table.insert("model", toml_edit::value(model.as_str()));
        } else {
            todo |= powers(&mut table, driver.traits().class, findings);
        }
        let account = self.options.accounts.iter().find(|(name, ..)| name == driver.name());
        if let Some((_, username, file)) = account {
            let mut credentials = InlineTable::new();
            if let Some(username) = username {
                credentials.insert("username", username.as_str().into());
            }
            credentials.insert("password_file", file.as_str().into());
            table.insert("credentials", toml_edit::value(credentials));
        }
        let names: BTreeSet<String> = findings
            .iter()
            .map(|finding| {
                let identity = &finding.identity;
                let words = [identity.vendor.as_deref(), identity.model.as_deref()];
                words.into_iter().flatten().collect::<Vec<_>>().join(" ")
            })
            .filter(|name| !name.is_empty())
            .take(3)
            .collect();
        let names = if names.is_empty() {
            String::from("unnamed")
        } else {
            names.into_iter().collect::<Vec<_>>().join(", ")
        };
        let firmware = findings.first().map_or("", |finding| finding.firmware.title());
        let mut comment = format!("# Found by ballast discover: {names}; {firmware}.\n");
        if account.is_none() && driver.traits().class != Class::ReadOnly {
            comment.push_str("# Commands need an account: credentials = { password_file = \"FILE\" }\n");
        }
        if let Some(mut key) = table.key_mut("driver") {
            key.leaf_decor_mut().set_prefix(comment);
        }
        (table, todo)
    }
}

/// The powers of a model that nobody describes: what the miners themselves name, else a word that must be replaced.
/// Says whether there is such a word.
fn powers(table: &mut Table, class: Class, findings: &[Finding]) -> bool {
    let told = |pick: fn(&Finding) -> Option<Watts>| findings.iter().filter_map(pick).collect::<Vec<_>>();
    let write = |watts: Watts| format!("{:.0} W", watts.get());
    let highest = told(|finding| finding.limits.maximum);
    let lowest = told(|finding| finding.limits.minimum);
    let mut todo = false;
    // What all of them accept: the lowest of their highest, the highest of their lowest.
    let maximum = highest.iter().copied().reduce(Watts::min);
    let minimum = lowest.iter().copied().reduce(Watts::max);
    if class == Class::Continuous {
        match (minimum, maximum) {
            (Some(minimum), Some(maximum)) if minimum < maximum => {
                table.insert("minimum", toml_edit::value(write(minimum)));
            }
            (None, Some(_)) => {}
            _ => {
                todo = true;
                table.insert(
                    "minimum",
                    commented(TODO, "the lowest power at which they run stably, like \"2000 W\""),
                );
            }
        }
    }
    match maximum {
        Some(maximum) => {
            // No `nameplate`: a limit does not say what a start draws, and without that key the driver's allowance for
            // starts is put on top of `maximum`.
            table.insert("maximum", commented(&write(maximum), "the limit that the miners name"));
        }
        None => {
            todo = true;
            table.insert("maximum", commented(TODO, "the highest power at which they run, like \"3400 W\""));
            let help = "the most they can ever draw, start-up included, like \"3600 W\"";
            table.insert("nameplate", commented(TODO, help));
        }
    }
    if class == Class::Steps {
        todo = true;
        table.insert("model", commented(TODO, "describe its steps: [models.NAME] with points = […]"));
    }
    todo
}

/// A text with a comment behind it.
fn commented(text: &str, comment: &str) -> Item {
    let mut value = Value::from(text);
    value.decor_mut().set_suffix(format!(" # {comment}"));
    Item::Value(value)
}

fn base_name(model: &str, driver: DriverKind) -> String {
    if model.is_empty() { driver.name().to_owned() } else { model.to_owned() }
}

/// A section of the document; made where it is missing. An inline section (`miners = {}`) becomes a table; its shape
/// was checked before, so there is always one.
fn section<'d>(document: &'d mut DocumentMut, name: &str) -> Option<&'d mut Table> {
    let item = document.as_table_mut().entry(name).or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    if !item.is_table() {
        let made = std::mem::take(item).into_table().unwrap_or_default();
        *item = Item::Table(made);
    }
    item.as_table_mut()
}

fn last_position(table: &Table) -> isize {
    let mut last = table.position().unwrap_or(0);
    for (_, item) in table {
        match item {
            Item::Table(inner) => last = last.max(last_position(inner)),
            Item::ArrayOfTables(list) => {
                last = list.iter().map(last_position).fold(last, isize::max);
            }
            _ => {}
        }
    }
    last
}
