//! What the guide prints of meters and weak grids is what Ballast reads.

use std::fs;
use std::path::Path;

use ballast::config::{self, Options, Secrets, builtin};
use ballast::control::site::Combination;

/// The blocks of TOML in a page of the guide.
fn blocks(page: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(String::from).collect()
}

#[test]
fn the_weak_grid_of_the_guide_is_a_configuration_that_checks() {
    let blocks = blocks("docs/guide/weak-grids.md");
    let whole = blocks.last().unwrap();
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    let config =
        config::parse(whole, Path::new("weak.toml"), &options).unwrap_or_else(|e| panic!("{e}\n{whole}"));
    let site = &config.site;
    // Without the battery, or the miners drain it.
    let combined = site.meters.iter().find_map(|meter| meter.combined.as_ref()).unwrap();
    let Combination::Sum(terms) = combined else { panic!("{combined:?}") };
    let signs: Vec<(&str, bool)> =
        terms.iter().map(|term| (site.meters[term.part.meter.0].name.as_str(), term.negative)).collect();
    assert_eq!(signs, [("grid", false), ("battery", true)]);
    assert_eq!(site.circuits[0].meter.map(|id| site.meters[id.0].name.as_str()), Some("without-battery"));
    assert!(blocks[0].lines().all(|line| whole.contains(line)), "{}", blocks[0]);
}

#[test]
fn the_profiles_of_the_guide_are_profiles() {
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    let base = blocks("docs/guide/weak-grids.md").pop().unwrap();
    let mut count = 0;
    for block in blocks("docs/guide/metering.md").iter().filter(|block| block.starts_with("[profiles.")) {
        let text = format!("{base}\n{block}");
        let config = config::parse(&text, Path::new("guide.toml"), &options);
        config.unwrap_or_else(|errors| panic!("{errors}\n{block}"));
        count += 1;
    }
    assert_eq!(count, 2);
}

/// What the table of devices names is there, and what is there of late is named.
#[test]
fn the_guide_names_profiles_that_there_are() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide/metering.md")).unwrap();
    let table = page
        .split("### Which profile for which device")
        .nth(1)
        .unwrap()
        .split("\n\nWhatever")
        .next()
        .unwrap();
    let known: Vec<&str> = builtin::profile_names().collect();
    let named: Vec<&str> = table.split('`').skip(1).step_by(2).filter(|word| !word.contains(' ')).collect();
    assert!(named.len() >= 19, "{named:?}");
    for name in named.into_iter().filter(|name| *name != "sunspec") {
        assert!(known.contains(&name), "{name} is no profile");
    }
}
