//! What the configuration says to the control law: keys of earlier versions, and sites that could never work.

#![cfg(test)]

use std::path::Path;

use ballast::config::{self, Config, Options, Secrets};

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
fn the_share_that_may_be_imported_is_read() {
    let share = |control: &str| good(&site(control, "")).site.settings.import_share;
    assert!((share("import_share = \"0.1 %\"") - 0.001).abs() < 1e-12);
    assert!(share("import_share = \"0 %\"").abs() < 1e-12);
    assert!((share("") - 0.000_4).abs() < 1e-12);
}
