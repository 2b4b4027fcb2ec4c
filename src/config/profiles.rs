//! What a meter's registers mean: the files in `config/meters/`, `[profiles.*]`, and inline in `[meters.*]`.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::diagnostic::{At, Report};
use super::quantity;
use super::reader::{MOST_POWER, Table, Wrong, integer_of, is_a, number_of, quantity_of};
use crate::meter::plan::MAX_REGISTERS;
use crate::meter::profile::{
    ByteOrder, Certainty, Ends, Format, FullScale, Function, Measure, Point, Profile, RawRange, Register,
    WordOrder,
};

/// More registers than any meter needs for one value.
const MOST_TERMS: usize = 32;

/// Reads `[profiles.*]`. A profile that is wrong is kept with what could be read.
pub(super) fn section<'a>(root: &Table<'a>) -> BTreeMap<&'a str, Profile> {
    root.named("profiles").into_iter().map(|(name, table)| (name.value, profile(name.value, table))).collect()
}

/// Reads a profile: the table of a file in `config/meters/` or of `[profiles.NAME]`.
pub(super) fn profile(name: &str, table: Table<'_>) -> Profile {
    let description = table.text("description").map_or("", |at| at.value);
    let certainty = table.choice("certainty", &Certainty::NAMES).map_or(Certainty::Unknown, |at| at.value);
    let power = point(&table, "power");
    let power = table.require("power", power, "describe the register of total active power: [power]");
    let mut profile = Profile {
        name: name.to_owned(),
        power: power.unwrap_or_default(),
        others: others(&table),
        description: description.to_owned(),
        certainty,
    };
    if table.boolean("invert").unwrap_or(false) {
        profile.turn();
    }
    table.finish();
    profile
}

/// Reads the registers that a meter's own table describes, if it does.
pub(super) fn inline(table: &Table<'_>, meter: &str) -> Option<Profile> {
    let power = point(table, "power")?;
    let name = format!("{meter} (own registers)");
    Some(Profile { name, power, others: others(table), ..Profile::default() })
}

/// Stands in for a profile that could not be read; the mistake is noted already.
pub(super) fn empty(name: &str) -> Profile {
    Profile { name: name.to_owned(), ..Profile::default() }
}

/// Gives a profile whose raw ranges depend on the transformers of the site what the meter's table says of them:
/// `full_scale = { power = "662.4 kW", voltage = "828 V" }`.
pub(super) fn full_scale(table: &Table<'_>, profile: &mut Profile) {
    let report = table.report();
    let inner = table.table("full_scale");
    let wanted = [FullScale::Power, FullScale::Voltage].map(|scale| profile.needs(scale));
    let mut power_is_given = false;
    if let Some(inner) = inner {
        power_is_given = inner.has("power");
        if !wanted.contains(&true) {
            report.error(
                table.key_span("full_scale"),
                format!("the registers of profile `{}` have no full scale", profile.name),
                "remove it",
            );
        }
        let power = inner.power("power", 1.0, MOST_POWER).map(|at| at.value.get());
        let voltage = inner
            .read("voltage", |value| quantity_of(value, &quantity::VOLTAGE, 1.0, 2e6))
            .map(|at| at.value);
        inner.finish();
        for (scale, full) in [(FullScale::Power, power), (FullScale::Voltage, voltage)] {
            if let Some(full) = full {
                profile.set_full_scale(scale, full);
            }
        }
    }
    let power_waits = profile
        .power
        .terms
        .iter()
        .any(|term| term.range.is_some_and(|range| !matches!(range.ends, Ends::Known { .. })));
    if power_waits && !power_is_given {
        report.error(
            table.span(),
            format!("profile `{}` needs the `full_scale` of the meter", profile.name),
            "it follows from the transformers: write full_scale = { power = \"662.4 kW\", voltage = \"828 V\" }",
        );
    }
}

/// Every point but power.
fn others(table: &Table<'_>) -> BTreeMap<Measure, Point> {
    Measure::NAMES
        .into_iter()
        .filter(|(_, measure)| *measure != Measure::Power)
        .filter_map(|(key, measure)| Some((measure, point(table, key)?)))
        .collect()
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
    let scale_register = table.integer("scale_register", 0, 65_535);
    let range = range(&table);
    let unavailable = patterns(&table, "unavailable", format.map(|at| at.value));
    let saturated = patterns(&table, "saturated", format.map(|at| at.value));
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
    let scale_span = scale_register.as_ref().map(|at| at.span);
    let register = Register {
        function: function?.value,
        address: u16::try_from(address?.value).ok()?,
        format: format?.value,
        word_order,
        byte_order,
        scale: scale.map_or(1.0, |at| at.value),
        offset: offset.map_or(0.0, |at| at.value),
        scale_register: scale_register.and_then(|at| u16::try_from(at.value).ok()),
        range,
        unavailable,
        saturated,
    };
    if let Some(span) = scale_span
        && register.extent().1 > MAX_REGISTERS
    {
        report.error(
            span,
            "`scale_register` is too far from the value",
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

/// Raw bit patterns.
fn patterns(table: &Table<'_>, key: &'static str, format: Option<Format>) -> Vec<u64> {
    const MOST: usize = 8;
    let report: &Report<'_> = table.report();
    let Some(list) = table.list(key) else {
        return Vec::new();
    };
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::builtin::parse_profile;
    use super::super::{Config, ConfigErrors, Options, Secrets, parse};
    use super::*;

    const POWER: &str = "power = { function = \"holding\", address = 1, format = \"i16\", scale = 10 }\n";

    fn read(text: &str) -> Profile {
        parse_profile("p", text, Path::new("p")).unwrap_or_else(|errors| panic!("{errors}")).0
    }

    fn fault(text: &str) -> String {
        parse_profile("p", text, Path::new("p")).unwrap_err().to_string()
    }

    /// A whole configuration with one meter.
    fn site(meter: &str) -> Result<Config, ConfigErrors> {
        let text = format!(
            r#"
            [site]
            name = "Test"
            mode = "observe"
            [links.a]
            tcp = "10.0.0.1:502"
            [meters.m]
            link = "a"
            unit = 1
            {meter}
            [circuits.pcc]
            meter = "m"
            [limits.surplus]
            circuit = "pcc"
            import = "0 W"
            [groups.x]
            circuit = "pcc"
            addresses = ["10.0.0.2"]
            model = "m60s"
            driver = "whatsminer-v3"
            "#
        );
        let options = Options { secrets: Secrets::Skip, ..Options::default() };
        parse(&text, Path::new("site.toml"), &options)
    }

    #[test]
    fn every_key_of_a_register_is_read() {
        let profile = read(
            "description = \"D\"\ncertainty = \"low\"\nfrequency = { function = \"input\", address = 9, format = \"u16\", \
             word_order = \"low-first\", byte_order = \"low-first\", scale = 0.5, offset = 45, scale_register = 11, \
             range = { raw_low = 1, raw_high = 9, low = 2, high = 4 }, unavailable = [0xFFFF], saturated = [0xFFFE] }\n\
             power = { function = \"input\", address = 1, format = \"u16\" }",
        );
        assert_eq!((profile.description.as_str(), profile.certainty), ("D", Certainty::Low));
        let frequency = &profile.point(Measure::Frequency).unwrap().terms[0];
        assert_eq!(
            *frequency,
            Register {
                function: Function::Input,
                address: 9,
                format: Format::U16,
                word_order: WordOrder::LowFirst,
                byte_order: ByteOrder::LowFirst,
                scale: 0.5,
                offset: 45.0,
                scale_register: Some(11),
                range: Some(RawRange {
                    raw_low: 1.0,
                    raw_high: 9.0,
                    ends: Ends::Known { low: 2.0, high: 4.0 }
                }),
                unavailable: vec![0xFFFF],
                saturated: vec![0xFFFE],
            }
        );
    }

    #[test]
    fn invert_turns_every_power_and_nothing_else() {
        let others = ["power_l1", "voltage_l1"].map(|key| POWER.replacen("power", key, 1)).concat();
        let profile = read(&format!("invert = true\n{POWER}{others}"));
        let scale = |measure| profile.point(measure).map(|point| point.terms[0].scale);
        assert_eq!(scale(Measure::Power), Some(-10.0));
        assert_eq!(scale(Measure::PowerL1), Some(-10.0));
        assert_eq!(scale(Measure::VoltageL1), Some(10.0));
    }

    #[test]
    fn what_cannot_be_is_refused_where_it_stands() {
        let with = |extra: &str| fault(&POWER.replace(" }", &format!(", {extra} }}")));
        assert!(with("scale_register = 400").contains("too far"));
        assert!(with("range = { raw_high = 9 }").contains("what its ends stand for"));
        assert!(with("range = { raw_high = 0, low = 1, high = 2 }").contains("empty"));
        assert!(with("range = { raw_high = 9, low = 2, high = 1 }").contains("upside down"));
        assert!(with("range = { low = 1, high = 2 }").contains("raw_high"));
        assert!(with("saturated = [0x10000]").contains("`saturated` has more than 16 bits"));
        assert!(fault(&format!("certainty = \"sure\"\n{POWER}")).contains("sure"));
        assert!(
            fault("frequency = { function = \"input\", address = 9, format = \"u16\" }")
                .contains("no `power`")
        );
    }

    #[test]
    fn a_full_scale_is_asked_for_where_it_is_needed_and_nowhere_else() {
        let said = |meter: &str| site(meter).map(|_| ()).unwrap_err().to_string();
        let satec = "profile = \"satec-pm180\"\n";
        assert!(said(satec).contains("needs the `full_scale`"));
        assert!(
            said(&format!("{satec}full_scale = {{ voltage = \"828 V\" }}"))
                .contains("needs the `full_scale`")
        );
        assert!(
            said("profile = \"eastron-sdm630\"\nfull_scale = { power = \"1 kW\" }")
                .contains("have no full scale")
        );
        let config = site(&format!("{satec}full_scale = {{ power = \"662.4 kW\" }}"));
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        let range = config.meters[0].profile.power.terms[0].range.unwrap();
        assert_eq!(range.ends, Ends::Known { low: -662_400.0, high: 662_400.0 });
    }
}
