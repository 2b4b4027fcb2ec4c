//! Registers of a meter as a configuration or a profile describes them: where a value stands, in which format, and what
//! stands beside it.

use toml::de::DeValue;

use super::diagnostic::{At, Report};
use super::reader::{Table, Wrong, integer_of, is_a, number_of};
use crate::meter::plan::MAX_REGISTERS;
use crate::meter::profile::{
    ByteOrder, Condition, Effect, Ends, Factor, Format, FullScale, Function, Patterns, Point, RawRange,
    Register, Sign, WordOrder,
};

/// More registers than any meter needs for one value.
const MOST_TERMS: usize = 32;
/// More factors than any value has: current, voltage, and a power of ten.
const MOST_FACTORS: usize = 4;

/// A point: a register, or a list of them that are added up.
pub(super) fn point(table: &Table<'_>, key: &'static str) -> Option<Point> {
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
    Some(Point::of(tables.into_iter().take(MOST_TERMS).filter_map(register).collect()))
}

/// Where a device says whether what it measures with is there:
/// `status = { function = "holding", address = 37100, good = [1] }`.
pub(super) fn status(table: &Table<'_>) -> Option<Condition> {
    let inner = table.table("status")?;
    let report = inner.report();
    let (span, good) = (inner.span(), inner.has("good"));
    if good == inner.has("bad") {
        report.error(
            span,
            "the status does not say what it is while the values count",
            "write good = [1], or bad = [0] where it may be anything else",
        );
    }
    let format = format(&inner);
    let mask = inner.integer("mask", 0, u32::MAX).map_or(u64::MAX, |at| u64::from(at.value));
    let any_of =
        ["good", "bad"].into_iter().flat_map(|key| patterns(&inner, key, format).unwrap_or_default());
    let patterns = masked(&inner, mask, any_of.collect());
    let written = inner.has("unavailable");
    let mut register = beside(inner)?;
    if !written {
        // A number at the end of its format says something here.
        register.unavailable.clear();
    }
    Some(Condition { register, patterns, good })
}

/// Patterns within a mask.
fn masked(table: &Table<'_>, mask: u64, any_of: Vec<u64>) -> Patterns {
    if any_of.iter().any(|pattern| pattern & !mask != 0) {
        table.report().error(
            table.span(),
            "a pattern has bits outside of the `mask`",
            "it would never be met: write the pattern with all other bits zero",
        );
    }
    Patterns { mask, any_of }
}

/// The format as it is written, if it is.
fn format(table: &Table<'_>) -> Option<Format> {
    let text = table.text("format")?.value;
    Format::NAMES.into_iter().find(|(name, _)| *name == text).map(|(_, format)| format)
}

/// A register that stands beside values and has nothing beside itself.
fn beside(table: Table<'_>) -> Option<Register> {
    for key in ["scale_register", "sign", "multiply", "exponent", "range", "saturated"] {
        if table.has(key) {
            table.report().error(
                table.key_span(key),
                format!("a register beside a value has no `{key}`"),
                "remove it; a value has these",
            );
        }
    }
    register(table)
}

/// The register with the sign of a value: `sign = { address = 8198, negative = [1] }`.
fn sign(table: &Table<'_>, function: Option<Function>) -> Option<Sign> {
    let inner = table.table("sign")?;
    let address = wire_address(&inner, "address", function);
    let address = inner.require("address", address, "write the wire address of the register with the sign");
    let mask = inner.integer("mask", 1, 0xFFFF).map_or(0xFFFF, |at| u64::from(at.value));
    let read = |key| patterns(&inner, key, Some(Format::U16));
    let negative = read("negative").map(|patterns| At::new(patterns, inner.span()));
    let negative = inner.require(
        "negative",
        negative,
        "write what stands there for a negative value, like negative = [1]",
    );
    let positive = masked(&inner, mask, read("positive").unwrap_or_else(|| vec![0]));
    let negative = masked(&inner, mask, negative?.value);
    inner.finish();
    Some(Sign { address: u16::try_from(address?.value).ok()?, positive, negative })
}

/// The registers that multiply a value, and that with its power of ten.
fn factors(table: &Table<'_>) -> Vec<Factor> {
    let mut factors = Vec::new();
    for (key, effect) in [("multiply", Effect::Multiply), ("exponent", Effect::PowerOfTen)] {
        let tables = if table.has(key) { table.tables(key) } else { Vec::new() };
        factors.extend(tables.into_iter().filter_map(beside).map(|register| Factor { register, effect }));
    }
    if factors.len() > MOST_FACTORS {
        table.report().error(
            table.span(),
            format!("the value has {} factors in other registers", factors.len()),
            format!("at most {MOST_FACTORS} are supported: multiply what does not change into `scale`"),
        );
        factors.truncate(MOST_FACTORS);
    }
    factors
}

/// A wire address. One that is a number of the table in front of it in manuals is warned of: as it stands it is another value, and often one
/// that the device has. In hexadecimal nobody writes numbers of manuals.
pub(super) fn wire_address(
    table: &Table<'_>,
    key: &'static str,
    function: Option<Function>,
) -> Option<At<u32>> {
    let address = table.integer(key, 0, 65_535)?;
    if let Some(function) = function
        && table.in_decimal(key)
    {
        warn_of_manuals(table.report(), key, function, address);
    }
    Some(address)
}

/// The first number in manuals of a table that `address` would be one of; `None` where it is none.
fn in_manuals(function: Function, address: u32) -> Option<u32> {
    let first = match function {
        Function::Coil | Function::Discrete => 10_001,
        Function::Input => 30_001,
        Function::Holding => 40_001,
    };
    (first..first + 9_999).contains(&address).then_some(first)
}

fn warn_of_manuals(report: &Report<'_>, key: &str, function: Function, address: At<u32>) {
    let Some(first) = in_manuals(function, address.value) else { return };
    report.warn(
        address.span,
        format!(
            "address {} looks like a number of a manual that counts from {first}: on the wire that one is {}",
            address.value,
            address.value - first
        ),
        format!(
            "write {key} = {}; if {} is what stands on the wire, write it as {:#06X}",
            address.value - first,
            address.value,
            address.value
        ),
    );
}

fn register(table: Table<'_>) -> Option<Register> {
    let report = table.report();
    let function = table.choice("function", &Function::NAMES);
    let function = table.require(
        "function",
        function,
        "write function = \"holding\" (function code 3), \"input\" (4), \"coil\" (1) or \"discrete\" (2)",
    );
    let address = wire_address(&table, "address", function.map(|at| at.value));
    let address = table.require(
        "address",
        address,
        "write the wire address, counted from zero; hexadecimal like 0x34 is fine. Manuals that count from 1, or \
         from 30001 or 40001, mean one less, or 30001 or 40001 less",
    );
    let format = table.choice("format", &Format::NAMES);
    let bits = function.is_some_and(|at| at.value.is_bits());
    let format = match format {
        // There is only one.
        None if bits && !table.has("format") => Some(At::new(Format::Bool, table.span())),
        format => table.require("format", format, "write the number format, like format = \"f32\""),
    };
    if let Some(at) = format
        && let Some(function) = function
        && bits != (at.value == Format::Bool)
    {
        let help = if bits {
            "a coil or a discrete input is a single bit: format = \"bool\""
        } else {
            "\"bool\" is the format of coils and discrete inputs; of a register take the number, like \"u16\""
        };
        report.error(at.span, format!("{} do not have this format", function.value.items()), help);
    }
    if bits {
        let single = [
            "word_order",
            "byte_order",
            "scale_register",
            "sign",
            "multiply",
            "exponent",
            "range",
            "zero",
            "unavailable",
            "saturated",
        ];
        for key in single.into_iter().filter(|key| table.has(key)) {
            report.error(
                table.key_span(key),
                format!("a single bit has no `{key}`"),
                "remove it; `scale` and `offset` say what 0 and 1 stand for",
            );
        }
    }
    let word_order = table
        .choice("word_order", &[("high-first", WordOrder::HighFirst), ("low-first", WordOrder::LowFirst)])
        .map_or(WordOrder::HighFirst, |at| at.value);
    let byte_order = table
        .choice("byte_order", &[("high-first", ByteOrder::HighFirst), ("low-first", ByteOrder::LowFirst)])
        .map_or(ByteOrder::HighFirst, |at| at.value);
    let scale = table.read("scale", |value| {
        number_of(value).filter(|scale| *scale != 0.0 && scale.abs() <= 1e12).ok_or_else(|| {
            Wrong::new(
                "is no usable factor",
                "write what one count stands for in watts, volts, hertz, watt-hours or percent, like 0.1",
            )
        })
    });
    let offset = table.read("offset", |value| {
        number_of(value)
            .filter(|offset| offset.abs() <= 1e12)
            .ok_or_else(|| Wrong::new("is no usable number", "write what is added after the scale"))
    });
    // Beside a value that was warned of itself once is enough.
    let warned = |function: Function| {
        table.in_decimal("address") && address.is_some_and(|at| in_manuals(function, at.value).is_some())
    };
    let near = function.map(|at| at.value).filter(|function| !warned(*function));
    let scale_register = wire_address(&table, "scale_register", near);
    let (sign, factors) = (sign(&table, near), factors(&table));
    let range = range(&table);
    let zero = patterns(&table, "zero", format.map(|at| at.value));
    let unavailable = patterns(&table, "unavailable", format.map(|at| at.value));
    let saturated = patterns(&table, "saturated", format.map(|at| at.value));
    // Of a device of which nobody says what it shows without a value, the ends of an integer are none.
    let ends = match (&unavailable, &saturated, format) {
        (None, None, Some(format)) if range.is_none() => format.value.ends().to_vec(),
        _ => Vec::new(),
    };
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
    let span = table.span();
    table.finish();
    let register = Register {
        function: function?.value,
        address: u16::try_from(address?.value).ok()?,
        format: format?.value,
        word_order,
        byte_order,
        scale: scale.map_or(1.0, |at| at.value),
        offset: offset.map_or(0.0, |at| at.value),
        scale_register: scale_register.and_then(|at| u16::try_from(at.value).ok()),
        sign,
        factors,
        range,
        zero: zero.unwrap_or_default(),
        unavailable: unavailable.unwrap_or(ends),
        saturated: saturated.unwrap_or_default(),
    };
    if register.extent().1 > MAX_REGISTERS {
        report.error(
            span,
            "`scale_register` or `sign` is too far from the value",
            format!("both are read with one request, which takes {MAX_REGISTERS} registers at most"),
        );
    }
    Some(register)
}

/// A raw range, and the values that its ends stand for: two numbers, or the full scale of the site.
fn range(table: &Table<'_>) -> Option<RawRange> {
    let report = table.report();
    let inner = table.table("range")?;
    let number = |key| {
        inner.read(key, |value| {
            number_of(value)
                .filter(|number| number.abs() <= 1e18)
                .ok_or_else(|| Wrong::new("is no usable number", "write a number without unit, like 9999"))
        })
    };
    let raw_low = number("raw_low").map_or(0.0, |at| at.value);
    let raw_high = number("raw_high");
    let raw_high = inner.require("raw_high", raw_high, "write the highest raw number, like raw_high = 9999");
    let (low, high) = (number("low"), number("high"));
    let full_scale = inner
        .choice("full_scale", &[("power", FullScale::Power), ("voltage", FullScale::Voltage)])
        .map(|at| at.value);
    let both_ways = inner.boolean("both_ways").unwrap_or(false);
    let span = inner.span();
    inner.finish();
    let ends = match (low, high, full_scale) {
        (Some(low), Some(high), None) if !both_ways => Ends::Known { low: low.value, high: high.value },
        (None, None, Some(scale)) if both_ways => Ends::PlusMinusFullScale(scale),
        (None, None, Some(scale)) => Ends::ToFullScale(scale),
        _ => {
            report.error(
                span,
                "the range does not say what its ends stand for",
                "write low = … and high = …, or full_scale = \"power\" with or without both_ways = true",
            );
            return None;
        }
    };
    let raw_high: At<f64> = raw_high?;
    let turned = matches!(ends, Ends::Known { low, high } if low >= high);
    if raw_low >= raw_high.value || turned {
        report.error(
            raw_high.span,
            "the range is empty or upside down",
            "the low end must be below the high end",
        );
        return None;
    }
    Some(RawRange { raw_low, raw_high: raw_high.value, ends })
}

/// Raw bit patterns; `None` where the key is not there.
fn patterns(table: &Table<'_>, key: &'static str, format: Option<Format>) -> Option<Vec<u64>> {
    const MOST: usize = 8;
    let report: &Report<'_> = table.report();
    let list = table.list(key)?;
    if list.value.len() > MOST {
        report.error(list.span, format!("`{key}` has more than {MOST} patterns"), "");
    }
    let bits = format.map_or(64, |format| u32::from(format.words()) * 16);
    let mut patterns = Vec::new();
    for (span, value) in list.value.into_iter().take(MOST) {
        match pattern(value, bits) {
            Ok(pattern) => patterns.push(pattern),
            Err(wrong) => report.error(
                span,
                format!("a pattern of `{key}` {wrong}"),
                format!("write the raw bits of the {bits}-bit value, like 0x{:X}", 1_u64 << (bits - 1)),
            ),
        }
    }
    Some(patterns)
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
