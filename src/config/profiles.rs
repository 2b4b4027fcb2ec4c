//! What a meter's registers mean: the files in `config/meters/`, those in a folder of the site, `[profiles.*]`, and
//! inline in `[meters.*]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::diagnostic::{At, ConfigErrors, Report};
use super::reader::{MOST_POWER, Table, Wrong, integer_of, is_a, number_of, quantity_of, shorten};
use super::{builtin, names, quantity};
use crate::meter::plan::MAX_REGISTERS;
use crate::meter::profile::{
    ByteOrder, Certainty, Ends, Format, FullScale, Function, Measure, Point, Profile, RawRange, Register,
    WordOrder,
};
use crate::meter::sunspec::{Kind, Wanted};

/// More registers than any meter needs for one value.
const MOST_TERMS: usize = 32;
/// The most files that a folder of profiles may have.
const MOST_FILES: usize = 200;
/// The largest file of a profile, in bytes.
const LARGEST_PROFILE: u64 = 256 * 1024;
/// The word for a device that says itself what its registers mean; no profile can have this name.
pub(super) const SUNSPEC: &str = "sunspec";

/// The profiles of a site beside those that come with the program, by name; the later word counts: a file in the folder
/// covers a built-in profile of its name, and `[profiles.NAME]` covers both. A profile that is wrong is kept with what
/// could be read.
pub(super) fn own(root: &Table<'_>, folder: Option<&At<PathBuf>>) -> BTreeMap<String, Profile> {
    let mut own = folder.map(|folder| files(folder, root.report())).unwrap_or_default();
    for (name, table) in root.named("profiles") {
        if name.value == SUNSPEC {
            root.report().error(name.span, format!("a profile cannot be named `{SUNSPEC}`"), RESERVED);
        }
        own.insert(name.value.to_owned(), profile(name.value, table));
    }
    own
}

/// What to do about a profile with the reserved name.
const RESERVED: &str =
    "it is the word for devices that say themselves what their registers mean; choose another name";

/// Reads every `*.toml` of a folder as a profile of the file's name.
fn files(folder: &At<PathBuf>, report: &Report<'_>) -> BTreeMap<String, Profile> {
    let mut profiles = BTreeMap::new();
    let shown = folder.value.display();
    let listed = std::fs::read_dir(&folder.value).and_then(|entries| {
        // One more than may be, so that too many are noticed; the rest is not even looked at.
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        let is_toml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
        let paths = paths.filter(|path| path.as_ref().map_or(true, is_toml));
        paths.take(MOST_FILES + 1).collect::<std::io::Result<Vec<PathBuf>>>()
    });
    let mut paths = match listed {
        Ok(paths) => paths,
        Err(error) => {
            report.error(
                folder.span,
                format!("the profiles in {shown} cannot be read: {error}"),
                "name a folder, relative to this file, with a file NAME.toml for each profile",
            );
            return profiles;
        }
    };
    if paths.len() > MOST_FILES {
        report.error(
            folder.span,
            format!("{shown} has more than {MOST_FILES} files"),
            "keep only the profiles of this site in it",
        );
        return profiles;
    }
    paths.sort();
    for path in paths {
        match file(&path) {
            Ok((name, profile, warnings)) => {
                report.warn_elsewhere(warnings);
                profiles.insert(name, profile);
            }
            Err(errors) => report.error_elsewhere(&errors),
        }
    }
    profiles
}

/// Reads a file with a profile.
fn file(path: &Path) -> Result<(String, Profile, Vec<super::Diagnostic>), ConfigErrors> {
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
    if let Some(fault) = names::fault(name) {
        let message = format!("the name \"{}\" {fault}", shorten(name));
        return Err(ConfigErrors::of_file(path, message, "rename the file: it gives the profile its name"));
    }
    if name == SUNSPEC {
        let message = format!("a profile cannot be named `{SUNSPEC}`");
        return Err(ConfigErrors::of_file(path, message, RESERVED));
    }
    let text = super::read_bounded(path, LARGEST_PROFILE, "a profile is a few dozen lines")?;
    let (profile, warnings) = builtin::parse_profile(name, &text, path)?;
    Ok((name.to_owned(), profile, warnings))
}

/// Reads a profile: the table of a file in `config/meters/` or of `[profiles.NAME]`.
pub(super) fn profile(name: &str, table: Table<'_>) -> Profile {
    let description = table.text("description").map_or("", |at| at.value);
    let certainty = table.choice("certainty", &Certainty::NAMES).map_or(Certainty::Unknown, |at| at.value);
    let power = point(&table, "power");
    let others = others(&table);
    if power.is_none() && others.is_empty() {
        table.require::<()>(
            "power",
            None,
            "describe the register of total active power: [power]; a meter without power has at least another point",
        );
    }
    let mut profile = Profile {
        name: name.to_owned(),
        power: power.unwrap_or_default(),
        others,
        description: description.to_owned(),
        certainty,
        sunspec: None,
        contacts: false,
    };
    if table.boolean("invert").unwrap_or(false) {
        profile.turn();
    }
    table.finish();
    profile
}

/// Whether a meter's own table describes registers, and under which key.
pub(super) fn described(table: &Table<'_>) -> Option<&'static str> {
    Measure::NAMES.into_iter().map(|(key, _)| key).find(|key| table.has(key))
}

/// Reads the registers that a meter's own table describes, if it does.
pub(super) fn inline(table: &Table<'_>, meter: &str) -> Option<Profile> {
    let (power, others) = (point(table, "power"), others(table));
    described(table)?;
    let name = format!("{meter} (own registers)");
    Some(Profile { name, power: power.unwrap_or_default(), others, ..Profile::default() })
}

/// Stands for the profile of a device that says itself what its registers mean:
/// `sunspec = { prefer = "meter", base = 40000 }` says what is wanted of it.
pub(super) fn sunspec(table: &Table<'_>) -> Profile {
    let mut wanted = Wanted::default();
    if let Some(inner) = table.table("sunspec") {
        wanted.prefer = inner.choice("prefer", &Kind::NAMES).map(|at| at.value);
        wanted.base = inner.integer("base", 0, 65_533).and_then(|at| u16::try_from(at.value).ok());
        inner.finish();
    }
    Profile {
        name: String::from("SunSpec (asked of the device)"),
        sunspec: Some(wanted),
        ..Profile::default()
    }
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
    let function = table.choice("function", &Function::NAMES);
    let function = table.require(
        "function",
        function,
        "write function = \"holding\" (function code 3), \"input\" (4), \"coil\" (1) or \"discrete\" (2)",
    );
    let address = table.integer("address", 0, 65_535);
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
        let single = ["word_order", "byte_order", "scale_register", "range", "unavailable", "saturated"];
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
        assert!(fault("description = \"D\"").contains("no `power`"), "nothing at all");
    }

    #[test]
    fn a_profile_may_do_without_power_but_not_without_anything() {
        let charge = read("state_of_charge = { function = \"holding\", address = 843, format = \"u16\" }");
        assert!(charge.power.terms.is_empty() && !charge.tells_power());
        assert_eq!(charge.points().map(|(measure, _)| measure).collect::<Vec<_>>(), [Measure::StateOfCharge]);
        assert_eq!(charge.point(Measure::Power), None);
    }

    #[test]
    fn a_contact_can_stand_for_a_power() {
        let contact = read("power = { function = \"discrete\", address = 7, scale = 250000, offset = -5 }");
        let term = &contact.power.terms[0];
        assert_eq!((term.function, term.format), (Function::Discrete, Format::Bool));
        let value = |bit| crate::meter::decode::value(term, &[bit]);
        assert_eq!((value(0), value(1)), (Some(-5.0), Some(249_995.0)));
        let with = |extra: &str| fault(&format!("power = {{ function = \"coil\", address = 7, {extra} }}"));
        assert!(with("format = \"u16\"").contains("coils do not have this format"));
        assert!(with("scale_register = 8").contains("a single bit has no `scale_register`"));
        assert!(with("unavailable = [1]").contains("a single bit has no `unavailable`"));
        let register = fault("power = { function = \"input\", address = 7, format = \"bool\" }");
        assert!(register.contains("input registers do not have this format"), "{register}");
    }

    #[test]
    fn sunspec_is_a_profile_with_two_wishes() {
        let wanted = |meter: &str| {
            let config = site(meter).unwrap_or_else(|errors| panic!("{errors}"));
            config.meters[0].profile.sunspec.unwrap()
        };
        assert_eq!(wanted("profile = \"sunspec\""), Wanted::default());
        let wishes = "profile = \"sunspec\"\nsunspec = { prefer = \"inverter\", base = 50000 }";
        assert_eq!(wanted(wishes), Wanted { prefer: Some(Kind::Inverter), base: Some(50_000) });
        let said = |meter: &str| site(meter).map(|_| ()).unwrap_err().to_string();
        assert!(
            said("profile = \"eastron-sdm630\"\nsunspec = { base = 0 }").contains("profile = \"sunspec\"")
        );
        assert!(said("profile = \"sunspec\"\nsunspec = { prefer = \"battery\" }").contains("battery"));
        assert!(said("profile = \"sunspec\"\n[profiles.sunspec]\n").contains("cannot be named `sunspec`"));
        let config = site("profile = \"sunspec\"").unwrap();
        assert!(super::super::summary(&config).contains("SunSpec (asked of the device) on a"));
    }

    #[test]
    fn a_meter_at_the_head_of_a_circuit_has_to_tell_power() {
        let charge = "state_of_charge = { function = \"holding\", address = 843, format = \"u16\" }";
        let said = site(charge).map(|_| ()).unwrap_err().to_string();
        assert!(said.contains("does not tell its power"), "{said}");
        let both = site(&format!("profile = \"eastron-sdm630\"\n{charge}")).map(|_| ()).unwrap_err();
        assert!(both.to_string().contains("both a `profile` and registers of its own"), "{both}");
    }

    #[test]
    fn a_folder_of_profiles_covers_those_that_come_along() {
        let folder = std::env::temp_dir().join(format!("ballast-profiles-{}", std::process::id()));
        let own = folder.join("meters.d");
        std::fs::create_dir_all(&own).unwrap();
        let write = |name: &str, text: &str| std::fs::write(own.join(name), text).unwrap();
        let file = |profile: &str| {
            let text = format!(
                "[site]\nname = \"T\"\nmode = \"observe\"\nprofiles = \"meters.d\"\n\
                 [links.a]\ntcp = \"10.0.0.1:502\"\n[meters.m]\nlink = \"a\"\nunit = 1\nprofile = \"{profile}\"\n\
                 [circuits.pcc]\nmeter = \"m\"\n[limits.s]\ncircuit = \"pcc\"\nimport = \"0 W\"\n\
                 [profiles.mine]\n{POWER}[groups.x]\ncircuit = \"pcc\"\naddresses = [\"10.0.0.2\"]\n\
                 model = \"m60s\"\ndriver = \"whatsminer-v3\"\n"
            );
            let options = Options { secrets: Secrets::Skip, ..Options::default() };
            (parse(&text, &folder.join("site.toml"), &options), text)
        };
        write("eastron-sdm630.toml", &POWER.replace("address = 1", "address = 77"));
        write("mine.toml", &POWER.replace("address = 1", "address = 78"));
        write("theirs.toml", &POWER.replace("address = 1", "address = 79"));
        write("notes.txt", "no profile");
        for (profile, address) in
            [("eastron-sdm630", 77), ("mine", 1), ("theirs", 79), ("siemens-pac2200", 65)]
        {
            let config = file(profile).0.unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(config.meters[0].profile.power.terms[0].address, address, "{profile}");
        }
        std::fs::write(folder.join("site.toml"), file("mine").1).unwrap();
        let listed = super::super::profiles(&folder.join("site.toml")).unwrap();
        let names: Vec<&str> = listed.iter().map(|profile| profile.name.as_str()).collect();
        assert_eq!(names, ["eastron-sdm630", "mine", "theirs"]);
        // Every mistake, each in its own file, and those of the configuration as well.
        write(
            "broken.toml",
            "power = { function = \"input\", address = 70000, format = \"u16\" }\nspeed = 3\n",
        );
        write("worse.toml", "power = {");
        write("sunspec.toml", POWER);
        write("sp ace.toml", POWER);
        let errors = file("none").0.unwrap_err();
        let said = errors.to_string();
        for words in [
            "broken.toml:1:41: ",
            "broken.toml:2:1: unknown key `speed`",
            "worse.toml:1:",
            "sunspec.toml: a profile cannot be named",
            "sp ace.toml: the name",
            "site.toml:10:11: there is no meter profile `none`",
        ] {
            assert!(said.contains(words), "{words} is not in:\n{said}");
        }
        assert!(errors.count() >= 6);
        std::fs::remove_dir_all(&own).unwrap();
        let said = file("mine").0.unwrap_err().to_string();
        assert!(said.contains("site.toml:4:12: the profiles in"), "{said}");
        std::fs::remove_dir_all(&folder).unwrap();
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
