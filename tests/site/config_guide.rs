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
fn the_emergency_stop_of_the_guide_is_a_whole_site_that_checks() {
    let blocks = blocks("docs/guide/fail-safe.md");
    let whole = blocks.iter().find(|block| block.contains("emergency_stop")).unwrap();
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    let config =
        config::parse(whole, Path::new("stop.toml"), &options).unwrap_or_else(|e| panic!("{e}\n{whole}"));
    let site = &config.site;
    let hall = site.circuits.iter().find(|circuit| circuit.name == "hall").unwrap();
    assert_eq!(site.meters[hall.emergency_stop.unwrap().meter.0].name, "stop-hall");
    assert!(site.miners.iter().all(|miner| site.circuits[miner.circuit.0].name == "hall"));
    let told: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert!(!told.iter().any(|told| told.contains("stop-hall")), "{told:#?}");
}

#[test]
fn the_sources_of_the_page_on_many_sites_go_into_a_site() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo.toml");
    let blocks = blocks("docs/guide/many-sites.md");
    // Behind the two sources stand whole configurations, which `tests/drivers/ballast.rs` reads.
    let (sources, whole) = blocks.split_at(2);
    assert!(whole.len() == 3 && whole.iter().all(|block| block.starts_with("[site]")), "{blocks:?}");
    let whole = fs::read_to_string(demo).unwrap() + "\n" + &sources.join("\n");
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    config::parse(&whole, Path::new("many.toml"), &options).unwrap_or_else(|e| panic!("{e}\n{whole}"));
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

fn text(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The lines of a page that are set in.
fn set_in(page: &str) -> String {
    page.lines()
        .map(|line| line.strip_prefix("    ").map_or("\n".into(), |line| format!("{line}\n")))
        .collect()
}

/// What `ballast check` is said to print of the first site is what it prints.
#[test]
fn the_first_site_is_told_as_the_guide_prints_it() {
    let page = text("docs/guide/getting-started.md");
    let first = page.split("## 2. Check it").next().unwrap();
    let site: String =
        first.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    let config = config::parse(&site, Path::new("site.toml"), &options).unwrap_or_else(|e| panic!("{e}"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let said = config::summary(&config);
    let printed = set_in(page.split("## 2. Check it").nth(1).unwrap().split("\n## ").next().unwrap());
    // An empty line of the output is one of the page, too.
    let lines =
        |text: &str| text.lines().filter(|line| !line.is_empty()).map(String::from).collect::<Vec<_>>();
    assert_eq!(lines(&printed)[1..], lines(&said)[..], "{said}");

    let wrong =
        config::parse(&site.replace("\"300 W\"", "300"), Path::new("site.toml"), &options).unwrap_err();
    let said = wrong.to_string();
    let shown: Vec<&str> =
        said.lines().filter(|line| line.trim_start().starts_with("= ") || line.contains("bare")).collect();
    for file in ["docs/guide/getting-started.md", "docs/guide/configuration.md"] {
        let page = set_in(&text(file));
        for line in &shown {
            let words = line.rsplit_once(": `").map_or(line.trim(), |(_, words)| words);
            assert!(page.contains(words), "{file} does not print {words:?}");
        }
    }
}

/// All the program can say: its source without what stands between and around the words of a message.
fn everything_said() -> String {
    fn walk(folder: &Path, all: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, all);
            } else if path.extension().is_some_and(|end| end == "rs") {
                all.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut all = String::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    walk(&root.join("src"), &mut all);
    walk(&root.join("core/src"), &mut all);
    let lines: Vec<&str> = all.lines().map(str::trim).collect();
    lines.join("\n").replace("\\\n", "").replace('`', "").replace("\\\"", "\"")
}

/// Messages that the guide quotes in its tables and logs are messages that there are.
#[test]
fn what_the_guide_quotes_is_what_the_program_says() {
    let said = everything_said();
    let mut missing = Vec::new();
    let mut count = 0;
    let mut look = |page: &str, quoted: &str| {
        for part in quoted.split('…').map(|part| part.trim_matches([' ', ':', ';', ',', '.', '?'])) {
            // Names and figures in a message are put in when it is told.
            let whole =
                part == "Address already in use" || part.len() < 4 || said.contains(&part.replace('`', ""));
            count += 1;
            if !whole {
                missing.push(format!("{page}: {part}"));
            }
        }
    };
    let configuration = text("docs/guide/configuration.md");
    let start = text("docs/guide/getting-started.md");
    for (name, section) in [
        ("configuration.md", configuration.split("## What the check finds").nth(1).unwrap()),
        ("getting-started.md", start.split("## When it does not work").nth(1).unwrap()),
    ] {
        for row in section.lines().filter(|line| line.starts_with("| `")) {
            let cell = row.trim_start_matches("| ").split(" | ").next().unwrap();
            cell.split('`').skip(1).step_by(2).for_each(|quoted| look(name, quoted));
        }
    }
    for line in set_in(&start).lines() {
        let log = ["INFO ", "WARN ", "ERROR "].iter().find_map(|level| line.strip_prefix(level));
        for part in log.or_else(|| line.contains(" · ").then_some(line)).unwrap_or("").split(" · ") {
            let words = part.split(|c: char| c.is_ascii_digit() || c == '=' || c == '(').next().unwrap();
            let words = words
                .trim()
                .trim_end_matches(" policy")
                .trim_end_matches(" version")
                .trim_end_matches(" meter");
            look("getting-started.md", words.strip_prefix("observe, else ").unwrap_or(words));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(count > 60, "{count}");
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
