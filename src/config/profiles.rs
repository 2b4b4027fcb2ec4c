//! What a meter's registers mean: the files in `config/meters/`, `[profiles.*]`, and inline in `[meters.*]`.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::diagnostic::Report;
use super::reader::{Table, Wrong, integer_of, is_a, number_of};
use crate::meter::profile::{Format, Function, Point, Profile, Register, WordOrder};

/// More registers than any meter needs for one value.
const MOST_TERMS: usize = 32;

/// Reads `[profiles.*]`. A profile that is wrong is kept with what could be read.
pub(super) fn section<'a>(root: &Table<'a>) -> BTreeMap<&'a str, Profile> {
    root.named("profiles").into_iter().map(|(name, table)| (name.value, profile(name.value, table))).collect()
}

/// Reads a profile: the table of a file in `config/meters/` or of `[profiles.NAME]`.
pub(super) fn profile(name: &str, table: Table<'_>) -> Profile {
    table.text("description");
    let power = point(&table, "power");
    let power = table.require("power", power, "describe the register of total active power: [power]");
    table.finish();
    Profile { name: name.to_owned(), power: power.unwrap_or(Point { terms: Vec::new() }) }
}

/// Reads the registers that a meter's own table describes, if it does.
pub(super) fn inline(table: &Table<'_>, meter: &str) -> Option<Profile> {
    let power = point(table, "power")?;
    Some(Profile { name: format!("{meter} (own registers)"), power })
}

/// Stands in for a profile that could not be read; the mistake is noted already.
pub(super) fn empty(name: &str) -> Profile {
    Profile { name: name.to_owned(), power: Point { terms: Vec::new() } }
}

fn point(table: &Table<'_>, key: &'static str) -> Option<Point> {
    let report = table.report();
    let mistakes = report.count();
    let tables = table.tables(key);
    if !table.has(key) {
        return None;
    }
    let count = tables.len();
    if count > MOST_TERMS || (count == 0 && report.count() == mistakes) {
        report.error(
            table.key_span(key),
            format!("`{key}` is a list of {count} registers"),
            format!("write one to {MOST_TERMS}; they are added up"),
        );
    }
    Some(Point { terms: tables.into_iter().take(MOST_TERMS).filter_map(register).collect() })
}

fn register(table: Table<'_>) -> Option<Register> {
    let report = table.report();
    let function = table.choice("function", &[("holding", Function::Holding), ("input", Function::Input)]);
    let function = table.require(
        "function",
        function,
        "write function = \"holding\" (function code 3) or \"input\" (function code 4)",
    );
    let address = table.integer("address", 0, 65_535);
    let address = table.require(
        "address",
        address,
        "write the wire address, counted from zero; hexadecimal like 0x34 is fine. Manuals that count from 1, or \
         from 30001 or 40001, mean one less, or 30001 or 40001 less",
    );
    let format = table.choice("format", &Format::NAMES);
    let format = table.require("format", format, "write the number format, like format = \"f32\"");
    let word_order = table
        .choice("word_order", &[("high-first", WordOrder::HighFirst), ("low-first", WordOrder::LowFirst)])
        .map_or(WordOrder::HighFirst, |at| at.value);
    let scale = table.read("scale", |value| {
        number_of(value).filter(|scale| *scale != 0.0 && scale.abs() <= 1e12).ok_or_else(|| {
            Wrong::new("is no usable factor", "write the number of watts that one count stands for, like 0.1")
        })
    });
    let unavailable = unavailable(&table, format.map(|at| at.value));
    if let (Some(address), Some(format)) = (address, format)
        && address.value + u32::from(format.value.words()) > 65_536
    {
        report.error(
            address.span,
            format!(
                "a value of {} registers at {} ends behind the last address",
                format.value.words(),
                address.value
            ),
            "the last register is 65535",
        );
    }
    table.finish();
    Some(Register {
        function: function?.value,
        address: u16::try_from(address?.value).ok()?,
        format: format?.value,
        word_order,
        scale: scale.map_or(1.0, |at| at.value),
        unavailable,
    })
}

fn unavailable(table: &Table<'_>, format: Option<Format>) -> Vec<u64> {
    const MOST: usize = 8;
    let report: &Report<'_> = table.report();
    let Some(list) = table.list("unavailable") else {
        return Vec::new();
    };
    if list.value.len() > MOST {
        report.error(list.span, format!("`unavailable` has more than {MOST} patterns"), "");
    }
    let bits = format.map_or(64, |format| u32::from(format.words()) * 16);
    let mut patterns = Vec::new();
    for (span, value) in list.value.into_iter().take(MOST) {
        match pattern(value, bits) {
            Ok(pattern) => patterns.push(pattern),
            Err(wrong) => report.error(
                span,
                format!("a pattern of `unavailable` {wrong}"),
                format!("write the raw bits of the {bits}-bit value, like 0x{:X}", 1_u64 << (bits - 1)),
            ),
        }
    }
    patterns
}

fn pattern(value: &DeValue<'_>, bits: u32) -> Result<u64, String> {
    let number = integer_of(value).ok_or_else(|| match value {
        DeValue::Integer(_) => String::from("is too large"),
        other => is_a(other),
    })?;
    let pattern = u64::try_from(number).map_err(|_| String::from("is negative or too large"))?;
    if bits < 64 && pattern >> bits != 0 {
        return Err(format!("has more than {bits} bits"));
    }
    Ok(pattern)
}
