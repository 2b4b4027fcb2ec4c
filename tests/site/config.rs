//! The configuration as a whole: the shipped files, wrong files and what is said of them, and the site that comes out.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ballast::config::{self, Config, ConfigErrors, Options, Secrets, builtin};
use ballast::control::measure::Measure;
use ballast::control::site::{Actuator, Cap, Combination, LimitClass, MeterId, Scope, Site};
use ballast::units::{Hashrate, Watts};
use proptest::prelude::*;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn toml_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "nothing in {}", folder.display());
    files
}

fn environment(name: &str) -> Option<String> {
    (name == "MINERS_PASSWORD").then(|| String::from("from the environment"))
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    let files = [("miners.password", "secret\n"), ("empty.password", "\n")];
    let options = Options { secrets: Secrets::Read, files: &files, environment: &environment };
    config::parse(text, Path::new("site.toml"), &options)
}

pub(crate) fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn wrong(text: &str) -> String {
    match parse(text) {
        Ok(_) => panic!("nothing was found wrong with:\n{text}"),
        Err(errors) => errors.to_string(),
    }
}

/// A small site that is right, with a place to put more.
pub(crate) fn site(more: &str) -> String {
    format!(
        r#"
[site]
name = "Test"
mode = "control"
[circuits.pcc]
meter = "pcc"
[limits.follow-surplus]
circuit = "pcc"
import = "0 W"
[links.bus]
tcp = "127.0.0.1:502"
[meters.pcc]
link = "bus"
unit = 1
profile = "eastron-sdm630"
[groups.a]
driver = "whatsminer-v3"
circuit = "pcc"
model = "m60s"
addresses = ["10.0.0.1-10.0.0.3"]
credentials = {{ password_file = "miners.password" }}
{more}
"#
    )
}

/// What the control law trusts; see the documentation of `control::site`.
fn assert_consistent(site: &Site) {
    assert!(site.circuits[0].parent.is_none());
    for (at, circuit) in site.circuits.iter().enumerate() {
        assert!(circuit.parent.map_or(at == 0, |parent| parent.0 < at), "{}", circuit.name);
        assert!(circuit.meter.is_none_or(|meter| meter.0 < site.meters.len()));
        assert!(circuit.margin >= Watts::ZERO && circuit.other_load >= Watts::ZERO);
    }
    for limit in &site.limits {
        assert!(limit.circuit.0 < site.circuits.len());
        assert!(!matches!(limit.cap, Cap::Reading { meter, .. } if meter.0 >= site.meters.len()));
    }
    for (at, meter) in site.meters.iter().enumerate() {
        assert!(meter.stale_after <= meter.fail_safe_after);
        assert!(meter.combined.is_some() || site.meters[..at].iter().all(|before| before.combined.is_none()));
        for part in meter.combined.iter().flat_map(Combination::parts) {
            assert!(part.meter.0 < site.meters.len() && part.meter.0 != at);
        }
    }
    for condition in site.limits.iter().filter_map(|limit| limit.condition) {
        assert!(condition.meter.0 < site.meters.len() && condition.below < condition.until);
    }
    for miner in &site.miners {
        assert!(miner.circuit.0 < site.circuits.len());
        assert!(!miner.points.is_empty(), "{}", miner.name);
        assert!(miner.points.windows(2).all(|pair| pair[0].power < pair[1].power), "{}", miner.name);
        assert!(miner.sleep < miner.minimum() && miner.maximum() <= miner.nameplate, "{}", miner.name);
        assert!(!matches!(miner.actuator, Actuator::Continuous { quantum } if quantum <= Watts::ZERO));
    }
}

#[test]
fn every_shipped_file_loads() {
    for path in toml_files(&folder("config")) {
        let config = config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        assert_consistent(&config.site);
        let devices = config.site.meters.iter().filter(|meter| meter.combined.is_none()).count();
        assert_eq!(config.meters.len(), devices);
        assert_eq!(config.miners.len(), config.site.miners.len());
        for warning in &config.warnings {
            // A checkout cannot keep the demo's password file to itself; nothing else may need a look.
            assert!(warning.message().contains("can read the password file"), "{warning}");
        }
    }
    for path in toml_files(&folder("config/models")) {
        let text = fs::read_to_string(&path).unwrap();
        builtin::parse_model("it", &text, &path).unwrap_or_else(|errors| panic!("{errors}"));
    }
    for path in toml_files(&folder("config/meters")) {
        let text = fs::read_to_string(&path).unwrap();
        builtin::parse_profile("it", &text, &path).unwrap_or_else(|errors| panic!("{errors}"));
    }
}

#[test]
fn an_interlock_and_a_breaker_are_read_and_their_mistakes_told() {
    let text = |protection: &str| {
        format!(
            r#"
[site]
name = "Test"
mode = "control"
[circuits.pcc]
meter = "pcc"
{protection}
[limits.follow-surplus]
circuit = "pcc"
import = "0 W"
[links.bus]
tcp = "127.0.0.1:502"
[meters.pcc]
link = "bus"
unit = 1
profile = "eastron-sdm630"
[meters.pump]
link = "bus"
unit = 2
profile = "eastron-sdm630"
[drivers.shunt]
kind = "modbus"
port = 1502
on = {{ coil = 0, value = true }}
off = {{ coil = 0, value = false }}
[miners.one]
driver = "cgminer-readonly"
address = "127.0.0.1"
circuit = "pcc"
maximum = "3 kW"
"#
        )
    };
    let parse = |protection: &str| {
        config::parse(&text(protection), Path::new("test.toml"), &Options::default())
            .map_err(|errors| errors.to_string())
    };
    let good = parse(
        r#"interlock = { meter = "pump", at_least = "400 W" }
breaker = { device = "shunt", address = "127.0.0.9" }"#,
    );
    let good = good.unwrap_or_else(|errors| panic!("{errors}"));
    let circuit = &good.site.circuits[0];
    assert!(circuit.interlock.is_some_and(|lock| lock.meter.0 == 1), "{:?}", circuit.interlock);
    assert!(circuit.breaker.is_some());
    let connection = good.breakers[0].as_ref().unwrap();
    assert_eq!(connection.endpoint.to_string(), "127.0.0.9:1502", "the device's port");
    assert!(!good.warnings.iter().any(|warning| warning.to_string().contains("pump")), "it is used");
    for (wrong, says) in [
        (r#"interlock = { meter = "pmup", at_least = "400 W" }"#, "no meter `pmup`"),
        (r#"interlock = { meter = "pump" }"#, "has no `at_least`"),
        (r#"interlock = { meter = "pump", at_least = "0 W" }"#, "could ever break it"),
        (r#"breaker = { device = "vnish", address = "127.0.0.9" }"#, "must be a device of your own"),
        (r#"breaker = { device = "shunt" }"#, "has no `address`"),
        (r#"breaker = { device = "shunt", address = "127.0.0.9", after = "1s" }"#, "is too short"),
    ] {
        let errors = parse(wrong).unwrap_err();
        assert!(errors.contains(says), "{wrong}: {errors}");
    }
}

#[test]
fn the_demo_loads_from_the_binary_without_its_password_file() {
    let config = config::demo(config::DEMO_NETWORK).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.site.miners.len(), 120);
    assert!(config.miners.iter().all(|miner| {
        miner.credentials.as_ref().is_some_and(|account| account.password.expose() == "demo")
    }));
    let names: Vec<&str> = config.site.circuits.iter().map(|circuit| circuit.name.as_str()).collect();
    assert_eq!(names, ["pcc", "fleet", "container-1", "container-2", "container-3"]);
}

/// Compares a text with a file beside the fixtures. `UPDATE_EXPECTED=1` writes it anew: review the change as you
/// would review code.
pub fn assert_expected(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(path, actual).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(actual, expected, "{} differs; UPDATE_EXPECTED=1 rewrites it", path.display());
}

#[test]
fn the_demo_is_told_in_words() {
    let config = config::demo(config::DEMO_NETWORK).unwrap();
    assert_expected(&folder("tests/fixtures/config/demo.summary"), &config::summary(&config));
}

#[test]
fn a_read_cap_is_told_in_words() {
    let config = config::load(&folder("config/example-surplus-register.toml")).unwrap();
    assert_expected(&folder("tests/fixtures/config/surplus-register.summary"), &config::summary(&config));
}

#[test]
fn one_small_miner_beside_the_loads_of_a_factory_is_no_mistake() {
    let with = |keys: &str| site("").replace("[limits.follow", &format!("{keys}\n[limits.follow"));
    let told = good(&with("margin = \"50 kW\"\nfail_safe = \"60 kW\"").replace("-10.0.0.3", ""));
    assert!(!told.warnings.is_empty(), "it is told all the same");
    assert!(wrong(&with("margin = \"300 MW\"")).contains("`margin` keeps 300.0 MW free"));
}

#[test]
fn every_wrong_file_is_told_all_its_mistakes() {
    for path in toml_files(&folder("tests/fixtures/config")) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let files = [("miners.password", "secret\n"), ("empty.password", "\n")];
        let options = Options { secrets: Secrets::Read, files: &files, environment: &environment };
        let said = match config::parse(&text, Path::new(&name), &options) {
            Err(errors) => format!("{errors}\n"),
            Ok(config) => {
                assert!(!config.warnings.is_empty(), "{name}: neither a mistake nor a warning");
                config.warnings.iter().map(|warning| format!("warning: {warning}\n\n")).collect()
            }
        };
        assert!(!said.contains("hunter2"), "{name}: a secret is shown:\n{said}");
        assert_expected(&path.with_extension("expected"), &said);
    }
}

#[test]
fn mistakes_come_in_the_order_of_the_file_each_with_its_place() {
    let text = fs::read_to_string(folder("tests/fixtures/config/many-mistakes.toml")).unwrap();
    let errors = parse(&text).unwrap_err();
    let places: Vec<(usize, usize)> = errors
        .errors()
        .iter()
        .map(|error| error.place().map(|place| (place.line, place.column)).unwrap())
        .collect();
    assert!(places.is_sorted());
    assert_eq!(places.len(), errors.count());
    assert!(errors.count() >= 15, "{}", errors.count());
}

#[test]
fn ten_thousand_miners_in_ranges_are_each_there_once() {
    let mut text = site("");
    for block in 0..40 {
        text.push_str(&format!(
            "[groups.block-{block}]\ndriver = \"braiins-os\"\ncircuit = \"pcc\"\nmodel = \"s19k-pro\"\n\
             addresses = [\"10.{}.0.1-10.{}.0.250\"]\ncredentials = {{ password_file = \"miners.password\" }}\n",
            block + 1,
            block + 1
        ));
    }
    let config = good(&text);
    assert_eq!(config.site.miners.len(), 10_003);
    assert_consistent(&config.site);
    let mut endpoints: Vec<_> = config.miners.iter().map(|miner| &miner.endpoint).collect();
    endpoints.sort();
    endpoints.dedup();
    assert_eq!(endpoints.len(), 10_003);
    assert!(config.site.miners.iter().any(|miner| miner.name == "block-39-250"));
    // 2 % of the fleet's nameplate per second, where nothing else is said.
    let nameplate: Watts = config.site.miners.iter().map(|miner| miner.nameplate).sum();
    let rate = config.site.settings.raise_rate.get();
    assert!((rate - nameplate.get() * 0.02).abs() < 1.0, "{rate}");
}

#[test]
fn a_range_that_is_far_too_long_is_refused_before_it_is_expanded() {
    let said = wrong(&site("").replace("10.0.0.1-10.0.0.3", "1.0.0.1-200.0.0.1"));
    assert!(said.contains("more than 100000 miners"), "{said}");
}

#[test]
fn an_overlap_of_ranges_is_one_mistake() {
    let said =
        wrong(&site("").replace("\"10.0.0.1-10.0.0.3\"", "\"10.0.0.1-10.0.0.9\", \"10.0.0.5-10.0.0.20\""));
    assert!(said.contains("`a-010` and `a-005` are both at 10.0.0.5:4433, and 4 more pairs"), "{said}");
    assert!(said.ends_with("1 mistake"), "{said}");
}

#[test]
fn an_unknown_model_works_with_its_bounds_alone() {
    let config = good(&site("").replace("model = \"m60s\"", "minimum = \"2 kW\"\nmaximum = \"3 kW\""));
    let miner = &config.site.miners[0];
    assert_eq!((miner.minimum(), miner.maximum()), (Watts::whole(2_000), Watts::whole(3_000)));
    assert_eq!(miner.nameplate, Watts::whole(3_150), "5 % above the maximum");
    assert_eq!(config.miners[0].rated, Watts::whole(3_000));
    assert!((miner.points[1].hashrate.as_terahashes() - 120.0).abs() < 1e-9);
}

#[test]
fn only_a_maximum_is_enough_for_an_unknown_model() {
    let config = good(&site("").replace("model = \"m60s\"", "maximum = \"3 kW\"\nefficiency = \"20 J/TH\""));
    assert!((config.site.miners[0].minimum() - Watts::whole(2_100)).abs() < Watts::saturating(1e-6));
    assert!(
        (config.site.miners[0].points[1].hashrate - Hashrate::terahashes(150.0)).abs() < Hashrate::whole(1)
    );
}

#[test]
fn bounds_of_a_group_cut_the_curve_of_its_model() {
    let config = good(
        &site("").replace("model = \"m60s\"", "model = \"m60s\"\nminimum = \"2000 W\"\nmaximum = \"3000 W\""),
    );
    let powers: Vec<Watts> = config.site.miners[0].points.iter().map(|point| point.power).collect();
    assert_eq!(powers, [2_000, 2_200, 2_500, 2_800, 3_000].map(Watts::whole));
    assert_eq!(config.site.miners[0].nameplate, Watts::whole(3_600), "the worst case stays");
    assert_eq!(config.miners[0].rated, Watts::whole(3_156), "the base of percent stays");
    let hashrates: Vec<f64> =
        config.site.miners[0].points.iter().map(|point| point.hashrate.as_terahashes()).collect();
    assert!(hashrates.is_sorted() && hashrates[0] > 113.8 && hashrates[4] < 170.8, "{hashrates:?}");
}

#[test]
fn steps_keep_only_the_points_within_the_bounds() {
    let steps =
        site("").replace("model = \"m60s\"", "model = \"m60s\"\nactuator = \"steps\"\nmaximum = \"2600 W\"");
    let miner = &good(&steps).site.miners[0];
    assert_eq!((miner.points.len(), miner.maximum()), (3, Watts::whole(2_500)));
    let none = steps.replace("maximum = \"2600 W\"", "maximum = \"1000 W\"");
    assert!(wrong(&none).contains("no operating point of the model lies between"), "{}", wrong(&none));
}

#[test]
fn a_miner_that_is_on_or_off_has_one_point() {
    let config = good(&site("").replace("model = \"m60s\"", "model = \"m60s\"\nactuator = \"on-off\""));
    assert_eq!(config.site.miners[0].actuator, Actuator::OnOff);
    assert_eq!(config.site.miners[0].points.len(), 1);
}

#[test]
fn a_percent_actuator_steps_by_one_percent_of_its_rated_power() {
    let Actuator::Continuous { quantum } = good(&site("")).site.miners[0].actuator else { panic!() };
    assert!((quantum.get() - 31.56).abs() < 1e-9);
}

#[test]
fn a_single_miner_inherits_what_it_does_not_say() {
    let config = good(&site(
        "[miners.odd]\ngroup = \"a\"\naddress = \"10.0.9.9:5555\"\npoll_period = \"2s\"\nstart_overshoot = \"10 %\"\n\
         credentials = { username = \"user1\", password_env = \"MINERS_PASSWORD\" }",
    ));
    let (miner, connection) = (config.site.miners.last().unwrap(), config.miners.last().unwrap());
    assert_eq!((miner.name.as_str(), miner.driver), ("odd", "whatsminer-v3"));
    assert_eq!(connection.endpoint.to_string(), "10.0.9.9:5555");
    assert_eq!(miner.poll_period, Duration::from_secs(2));
    assert!((miner.response.start_overshoot - 0.10).abs() < 1e-12);
    let account = connection.credentials.as_ref().unwrap();
    assert_eq!(account.username.as_deref(), Some("user1"));
    assert_eq!(account.password.expose(), "from the environment");
    assert_eq!(config.miners[0].credentials.as_ref().unwrap().username.as_deref(), Some("super"));
}

#[test]
fn the_class_of_a_limit_follows_from_what_it_is() {
    let config = good(&site(
        "[circuits.sub]\nparent = \"pcc\"\n[limits.sub]\ncircuit = \"sub\"\nimport = \"50 kW\"\n\
         [limits.read]\ncircuit = \"pcc\"\nminers = { reading = \"free\" }\n\
         [meters.free]\nlink = \"bus\"\nunit = 9\npower = { function = \"input\", address = 0, format = \"u16\" }\n\
         [groups.b]\ndriver = \"whatsminer-v2\"\ncircuit = \"sub\"\nmodel = \"m60s\"\n\
         addresses = [\"10.1.0.1-10.1.0.40\"]\ncredentials = { password_file = \"miners.password\" }",
    ));
    let classes: Vec<_> = config.site.limits.iter().map(|limit| (limit.class, limit.scope)).collect();
    assert_eq!(
        classes,
        [
            (LimitClass::Surplus, Scope::Import),
            (LimitClass::Safety, Scope::Import),
            (LimitClass::Surplus, Scope::Miners)
        ]
    );
    assert!(matches!(config.site.limits[2].cap, Cap::Reading { fail_safe, .. } if fail_safe == Watts::ZERO));
}

#[test]
fn circuits_are_put_in_order_whatever_the_order_of_the_file() {
    let text = site("").replace(
        "[circuits.pcc]",
        "[circuits.leaf]\nparent = \"middle\"\n[circuits.middle]\nparent = \"pcc\"\n[circuits.pcc]",
    );
    let config = good(&text);
    assert_consistent(&config.site);
    let names: Vec<&str> = config.site.circuits.iter().map(|circuit| circuit.name.as_str()).collect();
    assert_eq!(names, ["pcc", "middle", "leaf"]);
}

#[test]
fn observe_mode_reaches_the_control_law() {
    assert!(!good(&site("")).site.settings.observe);
    assert!(good(&site("").replace("\"control\"", "\"observe\"")).site.settings.observe);
}

#[test]
fn times_of_a_meter_follow_from_its_period() {
    let config = good(&site("").replace("unit = 1\n", "unit = 1\nperiod = \"10s\"\n"));
    assert_eq!(config.site.meters[0].stale_after, Duration::from_secs(50));
    assert_eq!(config.site.meters[0].fail_safe_after, Duration::from_secs(200));
    let config = good(&site("").replace("unit = 1\n", "unit = 1\nfail_safe_after = \"3s\"\n"));
    assert_eq!(config.site.meters[0].stale_after, Duration::from_secs(3));
}

#[test]
fn a_tree_of_circuits_has_a_bounded_depth() {
    let mut text = site("[circuits.c0]\nparent = \"pcc\"\n");
    for level in 1..40 {
        text.push_str(&format!("[circuits.c{level}]\nparent = \"c{}\"\n", level - 1));
    }
    let said = wrong(&text);
    assert!(said.contains("circuit `c31` hangs more than 32 levels deep"), "{said}");
}

/// Two more meters on the bus, the battery's among them, and what is put together.
fn combined(more: &str) -> String {
    site(&format!(
        r#"
[meters.b]
link = "bus"
unit = 2
profile = "eastron-sdm630"
lag = "400ms"
stale_after = "30s"
[meters.battery]
link = "bus"
unit = 100
profile = "victron-gx-battery"
{more}
"#
    ))
    .replace("meter = \"pcc\"", "meter = \"whole\"")
}

#[test]
fn meters_are_put_together_from_others() {
    let config = good(&combined(
        r#"
[meters.whole]
redundant = ["pcc", "phases"]
disagreement = "5 kW"
[meters.phases]
sum = ["b.power_l1", "b.power_l2", "-b.power_l3"]
[limits.battery-first]
circuit = "pcc"
miners = "0 W"
while = { meter = "battery", state_of_charge_below = "60 %", until_above = "80 %" }
"#,
    ));
    assert_consistent(&config.site);
    let names: Vec<&str> = config.site.meters.iter().map(|meter| meter.name.as_str()).collect();
    assert_eq!(names, ["pcc", "b", "battery", "whole", "phases"], "devices first");
    assert_eq!(config.meters.len(), 3);
    let Some(Combination::Sum(terms)) = &config.site.meters[4].combined else { panic!("a sum") };
    let found: Vec<_> =
        terms.iter().map(|term| (term.part.meter.0, term.part.measure, term.negative)).collect();
    let expected = [(1, Measure::PowerL1, false), (1, Measure::PowerL2, false), (1, Measure::PowerL3, true)];
    assert_eq!(found, expected);
    let Some(Combination::Redundant(whole)) = &config.site.meters[3].combined else { panic!("redundant") };
    assert_eq!(whole.parts.iter().map(|part| part.meter.0).collect::<Vec<_>>(), [0, 4]);
    assert_eq!(whole.disagreement, Watts::whole(5_000));
    assert_eq!(
        (whole.disagreement_for, whole.return_after),
        (Duration::from_secs(10), Duration::from_secs(60))
    );
    // The tightest patience of the parts, however deep they lie.
    assert_eq!(config.site.meters[4].stale_after, Duration::from_secs(30));
    assert_eq!(config.site.meters[3].stale_after, Duration::from_secs(5));
    assert!(
        config.site.meters[0].learn_lag && !config.site.meters[1].learn_lag,
        "a lag that is given counts"
    );
    assert!(!config.site.meters[4].learn_lag);
    assert_eq!(config.site.circuits[0].meter, Some(MeterId(3)));
    let condition = config.site.limits[1].condition.unwrap();
    assert_eq!(condition.meter, MeterId(2));
    assert!((condition.below - 0.6).abs() < 1e-9 && (condition.until - 0.8).abs() < 1e-9);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let words = config::summary(&config);
    for part in [
        "whole: pcc, else phases; the worse value while they differ by more than 5.00 kW for 10s",
        "Charges that are read\n    battery: victron-gx-battery on bus at 127.0.0.1:502, unit 100, read every 1s\n",
        "phases: the sum b.power_l1 + b.power_l2 - b.power_l3, lost with any of them",
        "battery-first (safety): its miners at most 0 W, while battery is charged below 60 %, until it is above 80 %; \
         also while that is not known",
    ] {
        assert!(words.contains(part), "{part}\n{words}");
    }
}

#[test]
fn what_is_wrong_with_a_combined_meter_is_said_with_its_place() {
    for (more, said) in [
        ("sum = [\"pcc\", \"batery\"]", "there is no meter `batery`\n"),
        ("sum = [\"pcc\", \"batery\"]", "did you mean `battery`?"),
        ("sum = [\"pcc\", \"whole\"]", "put together from each other in a cycle: `whole` ← `whole`"),
        ("sum = [\"x\"]\n[meters.x]\nsum = [\"-whole\"]", "in a cycle: `whole` ← `x` ← `whole`"),
        ("sum = [\"pcc\", \"b\"]\nlink = \"bus\"", "is put together from others and has a `link`"),
        (
            "sum = [\"pcc\"]\nredundant = [\"pcc\", \"b\"]\ndisagreement = \"1 W\"",
            "both `sum` and `redundant`",
        ),
        ("sum = []", "`sum` is empty"),
        ("sum = [1]", "a part of `sum` is a bare number"),
        ("sum = [\"pcc\", \"-pcc\"]", "`pcc` is a part twice"),
        ("sum = [\"pcc.powr_l1\"]", "did you mean `power_l1`?"),
        ("sum = [\"battery.power_l1\"]", "meter `battery` does not tell its `power_l1`"),
        ("sum = [\"pcc.voltage_l1\"]", "`voltage_l1` is no power of meter `pcc`"),
        ("sum = [\"pcc\"]\ndisagreement = \"5 kW\"", "`disagreement` belongs to `redundant` meters"),
        ("sum = [\"pcc\"]\ncolour = 3", "unknown key `colour`"),
        ("redundant = [\"pcc\", \"b\"]", "has no `disagreement`"),
        ("redundant = [\"pcc\"]\ndisagreement = \"5 kW\"", "has one part only"),
        ("redundant = [\"pcc\", \"-b\"]\ndisagreement = \"5 kW\"", "a part of `whole` has a sign"),
        ("redundant = [\"pcc\", \"b\"]\ndisagreement = 5", "`disagreement` is a bare number"),
    ] {
        let said_of_it = wrong(&combined(&format!("[meters.whole]\n{more}")));
        assert!(said_of_it.contains(said), "{more}: {said}\n{said_of_it}");
        assert!(said_of_it.starts_with("site.toml:"), "{said_of_it}");
    }
    let crowd: String = (0..201).map(|at| format!("[meters.m{at}]\nsum = [\"pcc\"]\n")).collect();
    assert!(wrong(&site(&crowd)).contains("the file has 201 combined meters"));
    let many = vec!["\"pcc\""; 65].join(", ");
    assert!(wrong(&combined(&format!("[meters.whole]\nsum = [{many}]"))).contains("`sum` has 65 parts"));
}

#[test]
fn a_condition_that_could_not_work_is_refused() {
    let limit = |condition: &str| {
        let more = format!(
            "[meters.whole]\nsum = [\"pcc\", \"b\"]\n[limits.b]\ncircuit = \"pcc\"\nminers = \"0 W\"\nwhile = {condition}"
        );
        wrong(&combined(&more))
    };
    for (condition, said) in [
        ("{ meter = \"battery\", state_of_charge_below = \"60 %\" }", "has no `until_above`"),
        (
            "{ meter = \"battery\", state_of_charge_below = \"60 %\", until_above = \"60 %\" }",
            "`until_above` is not above",
        ),
        (
            "{ meter = \"battery\", state_of_charge_below = \"60 %\", until_above = \"100 %\" }",
            "is never reached",
        ),
        ("{ meter = \"battery\", state_of_charge_below = 0.6, until_above = \"80 %\" }", "write \"60 %\""),
        (
            "{ meter = \"b\", state_of_charge_below = \"60 %\", until_above = \"80 %\" }",
            "meter `b` does not tell its state of charge: limit `b` would act for ever",
        ),
        (
            "{ meter = \"bat\", state_of_charge_below = \"60 %\", until_above = \"80 %\" }",
            "there is no meter `bat`",
        ),
        ("\"always\"", "it must be a table"),
    ] {
        let found = limit(condition);
        assert!(found.contains(said), "{condition}: {said}\n{found}");
    }
}

#[test]
fn a_limit_that_rests_now_and_then_holds_nobody_back_for_good() {
    let text = combined(
        "[meters.whole]\nsum = [\"pcc\", \"b\"]\n[limits.b]\ncircuit = \"pcc\"\nimport = \"0 W\"\n\
         while = { meter = \"battery\", state_of_charge_below = \"60 %\", until_above = \"80 %\" }",
    );
    let only = text.replace("[limits.follow-surplus]\ncircuit = \"pcc\"\nimport = \"0 W\"", "");
    assert!(wrong(&only).contains("has a meter, but no limit: nothing would hold the fleet back"));
    assert!(good(&text).warnings.is_empty());
}

#[test]
fn a_cap_that_is_the_power_of_its_circuit_by_another_name_is_refused() {
    let said = wrong(&site(
        r#"
[meters.b]
link = "bus"
unit = 2
profile = "eastron-sdm630"
[meters.either]
redundant = ["pcc", "b"]
disagreement = "5 kW"
[limits.wrong]
circuit = "pcc"
miners = { reading = "either", fail_safe = "0 W" }
"#,
    ));
    assert!(said.contains("takes the power of circuit `pcc` for its cap"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_file_that_was_damaged_anywhere_is_read_or_refused_and_never_panics(
        start in 0.0..1.0_f64, length in 0..40_usize, junk in "[\\]\\[{}=.,\"'#a-z0-9äW \n\t-]{0,12}",
    ) {
        let text = fs::read_to_string(folder("config/ballast.toml")).unwrap();
        let characters: Vec<char> = text.chars().filter(|c| *c != '\r').collect();
        // A position in the text as a share of its length; rounding does not matter here.
        let at = characters.iter().enumerate().position(|(at, _)| {
            f64::from(u32::try_from(at).unwrap()) >= start * f64::from(u32::try_from(characters.len()).unwrap())
        }).unwrap_or(0);
        let damaged: String = characters[..at]
            .iter()
            .copied()
            .chain(junk.chars())
            .chain(characters[(at + length).min(characters.len())..].iter().copied())
            .collect();
        let options = Options { secrets: Secrets::Skip, ..Options::default() };
        match config::parse(&damaged, Path::new("damaged.toml"), &options) {
            Ok(config) => {
                assert_consistent(&config.site);
                prop_assert!(!config::summary(&config).is_empty());
            }
            Err(errors) => prop_assert!(errors.count() > 0 && !errors.to_string().is_empty()),
        }
    }
}

#[test]
fn a_password_never_shows_in_the_debug_output() {
    let shown = format!("{:?}", good(&site("")));
    assert!(!shown.contains("secret\"") && shown.contains("[secret]"));
}

#[test]
fn without_secrets_everything_else_is_checked() {
    let text = site("").replace("miners.password", "not-here.password");
    assert!(wrong(&text).contains("cannot find the password file"));
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    let config = config::parse(&text, Path::new("site.toml"), &options).unwrap();
    assert!(config.miners[0].credentials.is_none());
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

mod files {
    use super::*;

    /// A folder that goes away with the test.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ballast-config-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, bytes).unwrap();
            path
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn said(path: &Path) -> String {
        config::load(path).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_readable_text_is_refused_clearly() {
        let folder = Temporary::new("refused");
        assert!(said(&folder.0.join("missing.toml")).contains("cannot be read"));
        assert!(said(&folder.0).contains("is a folder"));
        let bytes = folder.write("bytes.toml", b"# fine\n[site]\nname = \"\xff\"\n");
        assert!(said(&bytes).contains("is not UTF-8 text (line 3)"), "{}", said(&bytes));
        let large = folder.write("large.toml", vec![b'#'; 16 * 1024 * 1024 + 1]);
        assert!(said(&large).contains("larger than 16 MiB"), "{}", said(&large));
    }

    #[cfg(unix)]
    #[test]
    fn a_password_file_for_everybody_is_a_warning_and_its_newline_is_no_part_of_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Temporary::new("permissions");
        let password = folder.write("miners.password", "secret\r\n");
        let site = folder.write("site.toml", site(""));
        for (mode, warnings) in [(0o600, 0), (0o644, 1)] {
            fs::set_permissions(&password, fs::Permissions::from_mode(mode)).unwrap();
            let config = config::load(&site).unwrap();
            assert_eq!(config.warnings.len(), warnings, "{:?}", config.warnings);
            assert_eq!(config.miners[0].credentials.as_ref().unwrap().password.expose(), "secret");
        }
    }

    #[test]
    fn a_password_file_that_is_none_is_refused() {
        let folder = Temporary::new("passwords");
        let site = folder.write("site.toml", site(""));
        for (content, fault) in [
            (vec![], "is empty"),
            (b"a\nb\n".to_vec(), "more than one line"),
            (vec![b'a'; 5_000], "larger than 4096"),
        ] {
            folder.write("miners.password", content);
            assert!(said(&site).contains(fault), "{}", said(&site));
        }
        fs::remove_file(folder.0.join("miners.password")).unwrap();
        fs::create_dir(folder.0.join("miners.password")).unwrap();
        assert!(said(&site).contains("is not a file"), "{}", said(&site));
    }

    #[test]
    fn a_credential_comes_from_the_folder_that_systemd_names() {
        let folder = Temporary::new("credential");
        folder.write("miners", "from systemd\n");
        let path = folder.0.to_str().unwrap().to_owned();
        let environment = move |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| path.clone());
        let options = Options { environment: &environment, ..Options::default() };
        let text =
            site("").replace("password_file = \"miners.password\"", "password_credential = \"miners\"");
        let config = config::parse(&text, Path::new("site.toml"), &options).unwrap();
        assert_eq!(config.miners[0].credentials.as_ref().unwrap().password.expose(), "from systemd");
        assert!(wrong(&text).contains("CREDENTIALS_DIRECTORY is not set"));
    }
}

#[test]
fn a_hint_keeps_the_unit_that_was_written_and_names_both_where_there_is_none() {
    let margin = |value: &str| {
        wrong(&site("").replace("meter = \"pcc\"\n", &format!("meter = \"pcc\"\nmargin = {value}\n")))
    };
    for (value, hint) in [
        ("\"3,5 KW\"", "write a decimal point, like \"3.5 kW\""),
        ("3", "a power needs its unit: write \"3 W\" or \"3 kW\""),
        ("\"3\"", "write it like \"3 W\" or \"3 kW\""),
    ] {
        let told = margin(value);
        assert!(told.lines().any(|line| line.ends_with(hint)), "{value}: {hint:?} is not in\n{told}");
    }
}

#[test]
fn a_connection_point_that_is_said_to_be_of_miners_alone_is_told_which_key_says_so() {
    let told = wrong(&site("").replace("meter = \"pcc\"\n", "meter = \"pcc\"\ndedicated = true\n"));
    assert!(told.contains("leaves nothing to the miners of `pcc`: the circuit is `dedicated`"), "{told}");
    assert!(told.contains("take `dedicated` out: a meter at the connection point sees other load"), "{told}");
}

#[test]
fn quotation_marks_of_a_word_processor_are_named() {
    for (line, mark) in [("name = “Test”", '“'), ("name = „Test“", '„'), ("name = \"Test”", '”')]
    {
        let told = wrong(&site("").replace("name = \"Test\"", line));
        assert!(
            told.contains(&format!(
                "`{mark}` is a quotation mark of a word processor: write the plain one, \""
            )),
            "{told}"
        );
    }
    // In a text and in a comment it is none.
    let told = wrong(&site("").replace("name = \"Test\"", "name = \"“Test”\" x # “"));
    assert!(!told.contains("word processor"), "{told}");
}
