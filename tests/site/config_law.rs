//! What the configuration says to the control law: keys of earlier versions, and sites that could never work.

use std::path::Path;

use ballast::config::{self, Config, Options, Secrets};
use ballast::units::Watts;

fn good(text: &str) -> Config {
    let files = [("miners.password", "secret\n")];
    let options = Options { secrets: Secrets::Read, files: &files, environment: &|_| None };
    config::parse(text, Path::new("site.toml"), &options).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The warnings of a file, each as it is told.
fn warnings(text: &str) -> Vec<String> {
    good(text).warnings.iter().map(ToString::to_string).collect()
}

/// A small site that is right, with more keys of `[control]` and more sections.
fn site(control: &str, more: &str) -> String {
    format!(
        r#"
[site]
name = "Test"
mode = "control"
[control]
{control}
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

#[test]
fn a_file_with_the_keys_of_an_earlier_version_loads_and_says_so_of_each() {
    let old = "raise_hold = \"5s\"\nraise_samples = 3\nanticipate = \"2s\"\nmax_starting = 4";
    let said = warnings(&site(old, ""));
    for (key, line) in [("raise_hold", 6), ("raise_samples", 7), ("anticipate", 8), ("max_starting", 9)] {
        let told: Vec<&String> = said.iter().filter(|said| said.contains(&format!("`{key}`"))).collect();
        let [told] = told.as_slice() else { panic!("{key} is told {} times in {said:#?}", told.len()) };
        assert!(told.starts_with(&format!("site.toml:{line}:1: `{key}` has no effect any more: ")), "{told}");
        assert!(told.contains("take the line out"), "{told}");
    }
    let settings = |text: &str| good(text).site.settings.clone();
    assert_eq!(settings(&site(old, "")), settings(&site("", "")), "they change something");
    assert_eq!(warnings(&site("", "")), Vec::<String>::new());
}

#[test]
fn miners_without_an_account_are_told_of_once_whatever_the_mode() {
    let text = site("", "")
        .replace("credentials = { password_file = \"miners.password\" }", "")
        .replace("10.0.0.1-10.0.0.3", "10.0.0.1-10.0.0.120");
    for mode in ["control", "observe"] {
        let mut told = warnings(&text.replace("mode = \"control\"", &format!("mode = \"{mode}\"")));
        told.retain(|told| told.contains("`credentials`"));
        let [told] = told.as_slice() else { panic!("{mode}: {told:#?}") };
        assert!(told.contains("120 miners have no `credentials`"), "{told}");
        assert!(told.contains("(a-001, a-002, a-003 and 117 more)"), "{told}");
    }
}

#[test]
fn the_share_that_may_be_imported_is_read() {
    let share = |control: &str| good(&site(control, "")).site.settings.import_share;
    assert!((share("import_share = \"0.1 %\"") - 0.001).abs() < 1e-12);
    assert!(share("import_share = \"0 %\"").abs() < 1e-12);
    assert!((share("") - 0.000_4).abs() < 1e-12);
}

/// At its highest power, whatever it is told.
const STARTS_FULL: &str = "whatsminer-v3";
/// Where it is told.
const STARTS_LOW: &str = "braiins-os";

/// A container on its own circuit with one miner that draws 1.8 to 3.15 kW, and a cap.
fn capped(driver: &str, cap: &str) -> String {
    let more = format!(
        r#"
[circuits.shed]
parent = "pcc"
[limits.shed-fuse]
circuit = "shed"
{cap}
[models.heavy]
points = [{{ power = "1.8 kW", hashrate = "110 TH/s" }}, {{ power = "3.15 kW", hashrate = "170 TH/s" }}]
nameplate = "3.4 kW"
sleep = "20 W"
start_overshoot = "5 %"
[miners.heavy]
driver = "{driver}"
circuit = "shed"
model = "heavy"
address = "10.0.9.1"
credentials = {{ password_file = "miners.password" }}
"#
    );
    site("", &more)
}

/// What is said of starts that can never be.
fn never_starts(text: &str) -> Vec<String> {
    warnings(text).into_iter().filter(|said| said.contains("can ever start")).collect()
}

#[test]
fn a_cap_under_which_no_miner_can_start_is_told() {
    for cap in ["miners = \"2 kW\"", "import = \"2 kW\""] {
        let said = never_starts(&capped(STARTS_FULL, cap));
        let [said] = said.as_slice() else { panic!("{said:#?}") };
        assert!(
            said.contains(
                "no miner of circuit `shed` can ever start under limit `shed-fuse`: it needs 3.31 kW, 2.00 kW are allowed"
            ),
            "{said}"
        );
    }
    // Its highest power and what it draws beyond that while it tunes.
    assert_eq!(never_starts(&capped(STARTS_FULL, "miners = \"3.2 kW\"")).len(), 1);
    assert_eq!(never_starts(&capped(STARTS_FULL, "miners = \"3.32 kW\"")), Vec::<String>::new());
    // One that starts where it is told needs no more than that and its overshoot.
    assert_eq!(never_starts(&capped(STARTS_LOW, "miners = \"1.85 kW\"")).len(), 1);
    assert_eq!(never_starts(&capped(STARTS_LOW, "miners = \"3.32 kW\"")), Vec::<String>::new());
}

#[test]
fn a_cap_that_is_not_always_there_keeps_no_miner_from_starting() {
    let order = capped(STARTS_FULL, "miners = \"5 kW\"");
    assert_eq!(never_starts(&order), Vec::<String>::new());
    // What a meter measures may leave room at another time.
    let following = order.replace("import = \"0 W\"", "import = \"-50 kW\"");
    assert_eq!(never_starts(&following), Vec::<String>::new());
}

#[test]
fn a_meter_without_a_range_refuses_a_hundred_times_what_hangs_at_the_site() {
    let config =
        good(&site("", "[limits.rating]\ncircuit = \"pcc\"\nimport = \"30 kW\"\nclass = \"safety\"\n"));
    let range = config.meters[0].plausible.expect("a range");
    let miners: Watts = config.site.miners.iter().map(|miner| miner.nameplate).sum();
    assert_eq!(range.high, miners.max(Watts::whole(30_000)).scaled(100.0));
    assert_eq!(range.low, -range.high);
}

/// A hall of three servers that never draw less than 3 kW each, or 5 kW by contract, under a limit.
fn hall_under(limit: &str, class: &str) -> String {
    format!(
        "[site]\nname = \"s\"\nmode = \"observe\"\n[circuits.pcc]\n[circuits.hall]\nparent = \"pcc\"\n[limits.all]\ncircuit = \"pcc\"\n\
         miners = \"90 kW\"\n[limits.fuse]\ncircuit = \"hall\"\n{limit}\n[groups.gpu]\ndriver = \"zeusd\"\ncircuit = \"hall\"\n\
         addresses = [\"127.0.0.1-127.0.0.3\"]\nminimum = \"3 kW\"\nmaximum = \"6 kW\"\nnameplate = \"6.5 kW\"\n{class}\n"
    )
}

#[test]
fn a_limit_below_what_servers_cannot_be_kept_from_drawing_is_told() {
    let agreed = "class = \"guaranteed\"\ncontract = \"5 kW\"";
    let read = |text: &str| {
        let options = Options { secrets: Secrets::Skip, ..Options::default() };
        config::parse(text, Path::new("site.toml"), &options).map_err(|errors| errors.to_string())
    };
    let words =
        "limit `fuse` leaves 8.00 kW on circuit `hall`, and no less than 9.00 kW is drawn there: 3 servers";
    let error = read(&hall_under("miners = \"8 kW\"\nclass = \"safety\"", agreed)).unwrap_err();
    assert!(error.contains(words), "{error}");
    // A contract gives way to what protects something, and to nothing else.
    assert!(read(&hall_under("miners = \"10 kW\"\nclass = \"safety\"", agreed)).is_ok());
    let said = warnings(&hall_under("miners = \"10 kW\"\nclass = \"contract\"", agreed));
    assert!(said.iter().any(|said| said.contains("no less than 15.0 kW is drawn there")), "{said:#?}");
    let said = warnings(&hall_under("miners = \"16 kW\"\nclass = \"contract\"", agreed));
    assert!(!said.iter().any(|said| said.contains("is drawn there")), "{said:#?}");
}
