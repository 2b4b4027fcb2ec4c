//! What a meter's registers mean: the files in `config/meters/`, those in a folder of the site, `[profiles.*]`, and
//! inline in `[meters.*]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::diagnostic::{At, ConfigErrors, Report};
use super::reader::{MOST_POWER, Table, quantity_of, shorten};
use super::registers::{point, status};
use super::{builtin, meters, names, quantity};
use crate::meter::profile::{Certainty, Ends, FullScale, Measure, Point, Profile};
use crate::meter::sunspec::{Kind, Wanted};

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
        plausible: meters::plausible(&table),
        pace: meters::pace(&table),
        ..Profile::default()
    };
    if let Some(condition) = status(&table) {
        profile.only_if(&condition);
    }
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
    let mut profile = Profile { name, power: power.unwrap_or_default(), others, ..Profile::default() };
    if let Some(condition) = status(table) {
        profile.only_if(&condition);
    }
    Some(profile)
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::meter::profile::{
        ByteOrder, Effect, Factor, Format, Function, Patterns, RawRange, Register, Sign, WordOrder,
    };

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
             range = { raw_low = 1, raw_high = 9, low = 2, high = 4 }, unavailable = [0xFFFF], zero = [0xFFFD], saturated = [0xFFFE], \
             sign = { address = 12, mask = 1, negative = [1] }, \
             multiply = { function = \"holding\", address = 40, format = \"u16\", scale = 0.1 }, \
             exponent = { function = \"input\", address = 41, format = \"i16\" } }\n\
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
                zero: vec![0xFFFD],
                unavailable: vec![0xFFFF],
                saturated: vec![0xFFFE],
                sign: Some(Sign {
                    address: 12,
                    positive: Patterns { mask: 1, any_of: vec![0] },
                    negative: Patterns { mask: 1, any_of: vec![1] },
                }),
                factors: vec![
                    Factor {
                        register: Register {
                            address: 40,
                            scale: 0.1,
                            unavailable: vec![0xFFFF],
                            ..Register::default()
                        },
                        effect: Effect::Multiply,
                    },
                    Factor {
                        register: Register {
                            function: Function::Input,
                            address: 41,
                            format: Format::I16,
                            unavailable: vec![0x8000, 0x7FFF],
                            ..Register::default()
                        },
                        effect: Effect::PowerOfTen,
                    },
                ],
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
    fn a_profile_has_its_own_plausible_range_and_the_site_has_the_last_word() {
        let range = |meter: &str| {
            let text = format!(
                "{meter}\n[profiles.p]\nplausible = {{ low = \"-20 kW\", high = \"50 kW\" }}\n{POWER}"
            );
            let config = site(&text).unwrap_or_else(|errors| panic!("{errors}"));
            let plausible = config.meters[0].plausible.unwrap();
            (plausible.low.get(), plausible.high.get())
        };
        let is = |found: (f64, f64), low: f64, high: f64| {
            assert!((found.0 - low).abs() < 1e-6 && (found.1 - high).abs() < 1e-6, "{found:?}");
        };
        is(range("profile = \"p\""), -20e3, 50e3);
        is(range("profile = \"p\"\ninvert = true"), -50e3, 20e3);
        is(range("profile = \"p\"\nplausible = { low = \"-1 kW\", high = \"2 kW\" }"), -1e3, 2e3);
    }

    #[test]
    fn a_link_takes_the_pace_of_the_devices_on_it_and_has_the_last_word() {
        let pace = |profiles: &[&str], link: &str| {
            let mut text =
                format!("profile = \"eastron-sdm630\"\n[links.slow]\ntcp = \"10.0.0.9:502\"\n{link}");
            for (unit, profile) in (1..).zip(profiles) {
                text +=
                    &format!("[meters.m{unit}]\nlink = \"slow\"\nunit = {unit}\nprofile = \"{profile}\"\n");
            }
            let config = site(&text).unwrap_or_else(|errors| panic!("{errors}"));
            let link = config.links.iter().find(|link| link.name == "slow").unwrap();
            (link.connect_delay.as_millis(), link.timeout.as_millis())
        };
        assert_eq!(pace(&["eastron-sdm630"], ""), (0, 1_000));
        // The dongle swallows what is asked right after connecting, and is slow.
        assert_eq!(pace(&["huawei-sun2000", "eastron-sdm630"], ""), (1_000, 5_000));
        assert_eq!(pace(&["huawei-smartlogger"], ""), (1_000, 1_000));
        assert_eq!(pace(&["huawei-sun2000"], "connect_delay = \"2s\"\ntimeout = \"3s\"\n"), (2_000, 3_000));
        assert_eq!(pace(&["huawei-sun2000"], "connect_delay = \"0s\"\n"), (0, 5_000));
    }

    #[test]
    fn a_register_that_ends_below_what_hangs_there_is_a_warning() {
        let said = |format: &str| {
            let power = POWER.replace("i16", format).replace("scale = 10", "scale = 0.1");
            let config = site(&power).unwrap_or_else(|errors| panic!("{errors}"));
            config.warnings.iter().map(ToString::to_string).collect::<String>()
        };
        assert!(
            said("i16").contains("can show 3.28 kW at the most, in registers of 16 bits"),
            "{}",
            said("i16")
        );
        assert!(!said("i32").contains("at the most"), "{}", said("i32"));
    }

    #[test]
    fn a_status_makes_every_point_wait_for_it() {
        let status = "status = { function = \"holding\", address = 37100, format = \"u16\", good = [1] }\n";
        let profile = read(&format!("{status}{POWER}{}", POWER.replacen("power", "power_l1", 1)));
        for (measure, point) in profile.points() {
            let [condition] = point.only_if.as_slice() else { panic!("{measure:?}") };
            assert_eq!((condition.register.address, condition.good), (37_100, true));
            assert!(condition.patterns.hold(1) && !condition.patterns.hold(0));
        }
        let with = |more: &str| fault(&format!("{}{POWER}", status.replace("good = [1]", more)));
        assert!(with("good = [1], bad = [2]").contains("while the values count"));
        assert!(with("mask = 2").contains("while the values count"));
        assert!(with("mask = 2, good = [1]").contains("outside of the `mask`"));
        assert!(with("good = [0x10000]").contains("more than 16 bits"));
        assert!(with("good = [1], range = { raw_high = 9, low = 1, high = 2 }").contains("has no `range`"));
    }

    #[test]
    fn the_ends_of_an_integer_are_no_value_unless_the_profile_says_more() {
        let unavailable = |more: &str| {
            let profile = read(&POWER.replace(" }", &format!("{more} }}")));
            profile.power.terms[0].unavailable.clone()
        };
        assert_eq!(unavailable(""), [0x8000, 0x7FFF]);
        assert_eq!(unavailable(", saturated = [0x8000]"), [0_u64; 0]);
        assert_eq!(unavailable(", unavailable = []"), [0_u64; 0]);
        assert_eq!(unavailable(", unavailable = [7]"), [7]);
    }

    #[test]
    fn what_cannot_be_is_refused_where_it_stands() {
        let with = |extra: &str| fault(&POWER.replace(" }", &format!(", {extra} }}")));
        assert!(with("scale_register = 400").contains("too far"));
        assert!(with("range = { raw_high = 9 }").contains("what its ends stand for"));
        assert!(with("range = { raw_high = 0, low = 1, high = 2 }").contains("empty"));
        assert!(with("range = { raw_high = 9, low = 2, high = 1 }").contains("upside down"));
        assert!(with("range = { low = 1, high = 2 }").contains("raw_high"));
        assert!(with("sign = { address = 400, negative = [1] }").contains("too far"));
        assert!(with("sign = { address = 2 }").contains("negative = [1]"));
        assert!(
            with("multiply = { function = \"input\", address = 2, format = \"u16\", sign = 1 }")
                .contains("has no `sign`")
        );
        assert!(with("exponent = 3").contains("exponent"));
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
