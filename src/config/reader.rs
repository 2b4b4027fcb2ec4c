//! A table of the file, key by key. Every getter notes what is wrong and goes on, so that one run finds all.

use std::cell::RefCell;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{At, Report, Span};
use super::keys::{Section, Taken};
use super::names;
use super::quantity::{self, Kind};
use crate::line::is_line;
pub(super) use crate::line::shorten;
use crate::units::{Hashrate, Watts, WattsPerSecond};

/// The largest power that is believed: ten gigawatts, either way.
pub(super) const MOST_POWER: f64 = 10e9;

/// What is wrong with a value; completes a sentence that begins with the key.
pub(super) struct Wrong {
    what: String,
    help: String,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: help.into() }
    }

    /// Notes it of an element of a list, at its place.
    pub(super) fn tell(self, report: &Report<'_>, span: Span, key: &str) {
        report.error(span, format!("an element of `{key}` {}", self.what), self.help);
    }
}

/// A table being read. The keys that are declared and asked for are the keys that exist: [`Table::finish`] refuses the rest.
pub(super) struct Table<'a> {
    report: &'a Report<'a>,
    entries: &'a DeTable<'a>,
    /// Which keys it may have, and what they take.
    section: &'static Section,
    /// The word at its key `kind`, where its keys depend on that.
    kind: Option<&'a str>,
    /// As written in a header, for messages: `limits.feeder`.
    name: String,
    /// Where a missing key is reported.
    span: Span,
    asked: RefCell<Vec<&'static str>>,
    mistakes_before: usize,
}

impl<'a> Table<'a> {
    pub(super) fn new(
        report: &'a Report<'a>,
        entries: &'a DeTable<'a>,
        section: &'static Section,
        name: String,
        span: Span,
    ) -> Self {
        let kind = entries.get("kind").filter(|_| !section.kinds.is_empty());
        Self {
            report,
            entries,
            section,
            kind: kind.and_then(|kind| kind.get_ref().as_str()),
            name,
            span,
            asked: RefCell::default(),
            mistakes_before: report.count(),
        }
    }

    pub(super) fn report(&self) -> &'a Report<'a> {
        self.report
    }

    /// Where the table begins.
    pub(super) fn span(&self) -> Span {
        self.span
    }

    /// Its name in words, for messages: `[limits.feeder]`.
    pub(super) fn title(&self) -> String {
        if self.name.is_empty() { String::from("the file") } else { format!("[{}]", self.name) }
    }

    /// Whether the key is there, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Where the key stands, else the table.
    pub(super) fn key_span(&self, key: &str) -> Span {
        self.entries.get_key_value(key).map_or(self.span, |(key, _)| key.span().into())
    }

    /// The value of a key, where it is declared as what it is taken for. What is not would be missing in the schema: it is
    /// left unread, and so told as an unknown key wherever it is written.
    fn ask(&self, key: &'static str, taken: Taken<'_>) -> Option<&'a Spanned<DeValue<'a>>> {
        if !self.section.declares(self.kind, key, taken) {
            // Of another kind it is an unknown key. A reader that nobody has declared this for must not go on without it in silence.
            let own = self.section.keys(self.kind).any(|known| known.name == key);
            if own || !self.section.declares(None, key, taken) {
                self.report.error(
                    self.span,
                    format!("{} is read for a `{key}` that it is not declared to have", self.title()),
                    "the fault is in ballast and not in this file; please report it",
                );
            }
            return None;
        }
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.entries.get(key)
    }

    /// Reads a key with a function of its value.
    pub(super) fn read<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&'a DeValue<'a>) -> Result<T, Wrong>,
    ) -> Option<At<T>> {
        self.read_as(key, Taken::Anything, read)
    }

    fn read_as<T>(
        &self,
        key: &'static str,
        taken: Taken<'_>,
        read: impl FnOnce(&'a DeValue<'a>) -> Result<T, Wrong>,
    ) -> Option<At<T>> {
        let value = self.ask(key, taken)?;
        let span = value.span().into();
        match read(value.get_ref()) {
            Ok(value) => Some(At::new(value, span)),
            Err(wrong) => {
                self.report.error(span, format!("`{key}` {}", wrong.what), wrong.help);
                None
            }
        }
    }

    /// Notes that a key is missing, unless it is there and wrong (which was noted already).
    pub(super) fn require<T>(&self, key: &'static str, value: Option<T>, help: &str) -> Option<T> {
        if value.is_none() && !self.has(key) {
            self.report.error(self.span, format!("{} has no `{key}`", self.title()), help);
        }
        value
    }

    pub(super) fn text(&self, key: &'static str) -> Option<At<&'a str>> {
        self.read_as(key, Taken::Text, |value| text_of(value))
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        self.read_as(key, Taken::Boolean, |value| {
            value.as_bool().ok_or_else(|| Wrong::new(is_a(value), "write `true` or `false`, without quotes"))
        })
        .map(|at| at.value)
    }

    pub(super) fn integer(&self, key: &'static str, low: u32, high: u32) -> Option<At<u32>> {
        self.read_as(key, Taken::Whole(low, high), |value| {
            let number = integer_of(value).ok_or_else(|| {
                Wrong::new(is_a(value), format!("write a whole number from {low} to {high}, without quotes"))
            })?;
            u32::try_from(number)
                .ok()
                .filter(|number| (low..=high).contains(number))
                .ok_or_else(|| Wrong::new(format!("is {number}"), format!("it must be from {low} to {high}")))
        })
    }

    /// Whether a whole number is written as people count, and not in hexadecimal.
    pub(super) fn in_decimal(&self, key: &str) -> bool {
        let integer = self.entries.get(key).and_then(|value| value.get_ref().as_integer());
        integer.is_some_and(|integer| integer.radix() == 10)
    }

    /// A key of an earlier version, which sets nothing any more: it is left unread and said so.
    pub(super) fn retired(&self, key: &'static str, why: &str) {
        if self.ask(key, Taken::Anything).is_some() {
            self.report.warn(
                self.key_span(key),
                format!("`{key}` has no effect any more: {why}"),
                "take the line out",
            );
        }
    }

    /// One of a fixed set of words.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, choices: &[(&'static str, T)]) -> Option<At<T>> {
        let words: Vec<&'static str> = choices.iter().map(|(name, _)| *name).collect();
        self.read_as(key, Taken::Words(&words), |value| {
            let word = text_of(value)?;
            choices.iter().find(|(name, _)| *name == word).map(|(_, choice)| *choice).ok_or_else(|| {
                Wrong::new(
                    format!("cannot be \"{}\"", shorten(word)),
                    names::suggest(word, words.iter().copied()),
                )
            })
        })
    }

    fn quantity(&self, key: &'static str, kind: &'static Kind, low: f64, high: f64) -> Option<At<f64>> {
        self.read_as(key, Taken::Quantity(kind, low < 0.0), |value| quantity_of(value, kind, low, high))
    }

    /// A power between two bounds, inclusive.
    pub(super) fn power(&self, key: &'static str, low: f64, high: f64) -> Option<At<Watts>> {
        let at = self.quantity(key, &quantity::POWER, low, high)?;
        self.report.remember(key, at.span, at.value);
        Some(At::new(Watts::saturating(at.value), at.span))
    }

    /// A power that is not negative.
    pub(super) fn load(&self, key: &'static str) -> Option<At<Watts>> {
        self.power(key, 0.0, MOST_POWER)
    }

    pub(super) fn rate(&self, key: &'static str) -> Option<At<WattsPerSecond>> {
        let at = self.quantity(key, &quantity::POWER_RATE, 1e-3, MOST_POWER)?;
        self.report.remember(key, at.span, at.value);
        Some(At::new(WattsPerSecond::saturating(at.value), at.span))
    }

    pub(super) fn hashrate(&self, key: &'static str) -> Option<At<Hashrate>> {
        let at = self.quantity(key, &quantity::HASHRATE, 1.0, 1e21)?;
        Some(At::new(Hashrate::saturating(at.value), at.span))
    }

    /// Joules per hash.
    pub(super) fn efficiency(&self, key: &'static str) -> Option<At<f64>> {
        self.quantity(key, &quantity::EFFICIENCY, 1e-13, 1e-6)
    }

    /// A fraction of one, written in percent.
    pub(super) fn share(&self, key: &'static str, high: f64) -> Option<At<f64>> {
        self.quantity(key, &quantity::SHARE, 0.0, high)
    }

    pub(super) fn time(&self, key: &'static str, low: Duration, high: Duration) -> Option<At<Duration>> {
        self.read_as(key, Taken::Quantity(&quantity::TIME, false), |value| time_of(value, low, high))
    }

    /// A table below this one.
    pub(super) fn table(&self, key: &'static str) -> Option<Table<'a>> {
        let value = self.ask(key, Taken::Table)?;
        self.table_of(key, key, self.key_span(key), value)
    }

    /// All tables below `[key.*]`, in the order of the file; a name that cannot be one is noted and kept.
    pub(super) fn named(&self, key: &'static str) -> Vec<(At<&'a str>, Table<'a>)> {
        let Some(section) = self.table(key) else {
            return Vec::new();
        };
        let mut tables: Vec<_> = section
            .entries
            .iter()
            .filter_map(|(name, value)| {
                let span = name.span().into();
                let name: &'a str = name.get_ref();
                if let Some(fault) = names::fault(name) {
                    self.report.error(span, format!("the name \"{}\" {fault}", shorten(name)), "");
                }
                let table = section.table_of(key, name, span, value)?;
                Some((At::new(name, span), table))
            })
            .collect();
        // The parser sorts by name; people and messages follow the file.
        tables.sort_by_key(|(name, _)| name.span);
        tables
    }

    /// One table or a list of tables below this one; empty when the key is missing or wrong.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Table<'a>> {
        let Some(value) = self.ask(key, Taken::Tables) else {
            return Vec::new();
        };
        match value.get_ref() {
            DeValue::Array(array) => array
                .iter()
                .filter_map(|element| self.table_of(key, key, element.span().into(), element))
                .collect(),
            _ => self.table_of(key, key, self.key_span(key), value).into_iter().collect(),
        }
    }

    fn table_of(
        &self,
        key: &str,
        name: &str,
        span: Span,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Option<Table<'a>> {
        let path = if self.name.is_empty() { name.to_owned() } else { format!("{}.{name}", self.name) };
        match value.get_ref() {
            DeValue::Table(entries) => {
                let section = self.section.below(self.kind, name);
                Some(Self::new(self.report, entries, section, path, span))
            }
            other => {
                self.report.error(
                    value.span().into(),
                    format!("`{}` {}", if key == name { key } else { &path }, is_a(other)),
                    format!("it must be a table: [{path}] with keys below it, or {{ … }}"),
                );
                None
            }
        }
    }

    /// Every key with its place, for tables whose keys are names.
    pub(super) fn keys(&self) -> Vec<(&'a str, Span)> {
        self.entries.iter().map(|(key, _)| (key.get_ref().as_ref(), key.span().into())).collect()
    }

    /// The table of a key that is a name; `None` also when it is something else.
    pub(super) fn table_named(&self, key: &str) -> Option<Table<'a>> {
        let (name, value) = self.entries.get_key_value(key)?;
        value.get_ref().is_table().then(|| self.table_of(key, key, name.span().into(), value)).flatten()
    }

    /// Reads a key that is a name with a function of its value.
    pub(super) fn read_named<T>(
        &self,
        key: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Result<T, Wrong>,
    ) -> Option<At<T>> {
        let value = self.entries.get(key)?;
        match read(value.get_ref()) {
            Ok(found) => Some(At::new(found, value.span().into())),
            Err(wrong) => {
                self.report.hide(value.span().into());
                self.report.error(
                    value.span().into(),
                    format!("`{}` {}", shorten(key), wrong.what),
                    wrong.help,
                );
                None
            }
        }
    }

    /// A list, each element with its place.
    pub(super) fn list(&self, key: &'static str) -> Option<At<Vec<(Span, &'a DeValue<'a>)>>> {
        self.read_as(key, Taken::List, |value| {
            let array = value.as_array().ok_or_else(|| Wrong::new(is_a(value), "write a list: [ … , … ]"))?;
            Ok(array.iter().map(|element| (element.span().into(), element.get_ref())).collect())
        })
    }

    /// Notes every key that nobody asked for. Tells whether the whole table was read without a mistake.
    pub(super) fn finish(self) -> bool {
        self.check()
    }

    /// As [`Self::finish`], for a table that is borrowed.
    pub(super) fn check(&self) -> bool {
        let asked = self.asked.borrow();
        for (key, value) in self.entries.iter() {
            let name: &str = key.get_ref();
            if !asked.contains(&name) {
                if self.name.ends_with("credentials") {
                    self.report.hide(value.span().into());
                }
                self.report.error(
                    key.span().into(),
                    format!("unknown key `{}` in {}", shorten(name), self.title()),
                    self.report.suggest(name, asked.iter().copied()),
                );
            }
        }
        self.report.count() == self.mistakes_before
    }
}

/// "is a string", for values of the wrong type.
pub(super) fn is_a(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(_) => String::from("is a text in quotes"),
        DeValue::Integer(_) | DeValue::Float(_) => String::from("is a bare number"),
        DeValue::Boolean(_) => String::from("is true or false"),
        DeValue::Datetime(_) => String::from("is a date"),
        DeValue::Array(_) => String::from("is a list"),
        DeValue::Table(_) => String::from("is a table"),
    }
}

pub(super) fn text_of<'a>(value: &'a DeValue<'a>) -> Result<&'a str, Wrong> {
    value.as_str().ok_or_else(|| Wrong::new(is_a(value), "write a text in quotes"))
}

/// A text of one line, of 1 byte to so many.
pub(super) fn bounded(value: &DeValue<'_>, longest: usize) -> Result<String, Wrong> {
    let text = text_of(value)?;
    if text.is_empty() || text.len() > longest || !is_line(text) {
        return Err(Wrong::new("cannot be used", format!("write 1 to {longest} characters")));
    }
    Ok(text.to_owned())
}

/// A whole number; hexadecimal, octal and binary count too.
pub(super) fn integer_of(value: &DeValue<'_>) -> Option<i128> {
    let integer = value.as_integer()?;
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A number, whole or not; NaN and infinity are none.
pub(super) fn number_of(value: &DeValue<'_>) -> Option<f64> {
    let number: f64 = match value {
        DeValue::Float(float) => float.as_str().parse().ok()?,
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

pub(super) fn quantity_of(value: &DeValue<'_>, kind: &Kind, low: f64, high: f64) -> Result<f64, Wrong> {
    let base = match value {
        DeValue::String(text) => {
            quantity::parse(text, kind).map_err(|error| split_advice(&error.to_string()))?
        }
        DeValue::Integer(_) | DeValue::Float(_) => {
            let number = number_of(value).unwrap_or(400.0);
            // A bare 0.05 for a share means five percent, not a twentieth of one.
            let number = if *kind == quantity::SHARE { number * 100.0 } else { number };
            return Err(Wrong::new(
                "is a bare number",
                format!(
                    "{} needs its unit: write {}",
                    kind.what,
                    quantity::with_the_usual(&number.to_string(), kind)
                ),
            ));
        }
        other => {
            let example = quantity::with_the_usual("400", kind);
            return Err(Wrong::new(is_a(other), format!("write {} like {example}", kind.what)));
        }
    };
    if base < low && low >= 0.0 && base < 0.0 {
        return Err(Wrong::new("is negative", "it makes sense from zero on only"));
    }
    if base < low {
        return Err(Wrong::new("is too small", format!("the least is {}", quantity::write(low, kind))));
    }
    if base > high {
        return Err(Wrong::new("is too large", format!("the most is {}", quantity::write(high, kind))));
    }
    Ok(base)
}

fn time_of(value: &DeValue<'_>, low: Duration, high: Duration) -> Result<Duration, Wrong> {
    // The bounds are applied to the time, which is exact, not to the seconds.
    let seconds = quantity_of(value, &quantity::TIME, 0.0, f64::MAX)?;
    let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    if time < low {
        return Err(Wrong::new("is too short", format!("the least is {}", quantity::write_time(low))));
    }
    if time > high {
        return Err(Wrong::new("is too long", format!("the most is {}", quantity::write_time(high))));
    }
    Ok(time)
}

fn split_advice(message: &str) -> Wrong {
    match message.split_once("; ") {
        Some((what, help)) => Wrong::new(what, help),
        None => Wrong::new(message, ""),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use toml::de::DeTable;

    use super::*;
    use crate::config::keys::{Key, Shape};

    static PUMP: &[Key] = &[Key { name: "pace", takes: Shape::Boolean, must: false }];
    static FAN: &[Key] = &[Key { name: "pace", takes: Shape::Text, must: false }];
    static DEVICE: Section = Section {
        name: "device",
        told: &[],
        keys: &[&[Key { name: "kind", takes: Shape::Text, must: true }]],
        kinds: &[("pump", &[PUMP]), ("fan", &[FAN]), ("lamp", &[])],
        named: None,
        names: None,
    };

    /// What is wrong with a device of this kind at which a text is read for `pace`.
    fn mistakes(kind: &str) -> String {
        let text = format!("kind = \"{kind}\"\n");
        let document = DeTable::parse(&text).unwrap();
        let report = Report::new(&text, Path::new("f"));
        let table = Table::new(&report, document.get_ref(), &DEVICE, "device".into(), document.span().into());
        assert!(table.text("pace").is_none());
        report.finish().map_or_else(|errors| errors.to_string(), |_| String::new())
    }

    #[test]
    fn a_key_that_is_declared_as_something_else_is_told_whatever_another_kind_declares() {
        assert!(mistakes("pump").contains("is read for a `pace` that it is not declared to have"));
        assert_eq!(mistakes("fan"), "");
        assert_eq!(mistakes("lamp"), "", "of another kind it is an unknown key, wherever it stands");
    }
}
