//! The demo's site under broken cloud, with its hall, without, and with something else in its place: the hall costs nothing of what is
//! captured, and imports no more than what could stand there instead.

use std::path::Path;
use std::time::Duration;

use ballast::config::{self, Config, DEMO_NETWORK, DemoFleet, Options};
use ballast::sim::Scenario;
use ballast::sim::replay::Replay;
use ballast::units::Joules;

const SKY: &str = include_str!("../../scenarios/cloudy-hour.toml");
const SEED: &str = "seed = 2022";
/// Half an hour of one sky says little: between two of them lie as many points as between two laws.
const SKIES: u32 = 12;
/// So many of them in every run of the tests.
const FEW_SKIES: u32 = 4;

/// As `ai-event` has them.
const JOBS: &str = r#"
[[job]]
name = "held-*"
inference = { low = "45 %" }
[[job]]
name = "slowed-*"
training = { swing = "5 %", frequency = "0.5 Hz" }
[[job]]
name = "waits-*"
training = {}
"#;

/// What the hall of the demo draws on the mean under these jobs, in place of the site's own 190 kW.
const WITH_THE_HALL: (&str, &str) = ("base = \"190 kW\"", "base = \"272 kW\"");

/// The demo's site with so many miners more that they can use as much as its hall: 9 more of each of the three kinds.
fn with_miners_for_the_hall() -> Config {
    const MORE: &[(&str, &str)] = &[
        ("-127.77.1.40", "-127.77.1.49"),
        ("-127.77.2.40", "-127.77.2.49"),
        ("-127.77.3.40", "-127.77.3.49"),
        ("\"140 kW\"", "\"170 kW\""),
        ("\"130 kW\"", "\"158 kW\""),
        ("\"110 kW\"", "\"134 kW\""),
        ("\"400 kW\"", "\"490 kW\""),
    ];
    let more = MORE.iter().fold(config::DEMO.to_owned(), |text, (few, many)| {
        assert!(text.contains(few), "{few}");
        text.replace(few, many)
    });
    let files = &[
        ("demo.password", include_str!("../../../config/demo.password")),
        ("demo.token", include_str!("../../../config/demo.token")),
    ];
    config::parse(&more, Path::new("demo.toml"), &Options { files, ..Options::default() }).unwrap()
}

/// What half an hour came to, from the fourth minute on, under several skies together.
#[derive(Default)]
struct Came {
    surplus: Joules,
    usable: Joules,
    captured: Joules,
    imported: Joules,
    starts: u64,
}

impl Came {
    /// `edit` changes the scenario.
    fn under(skies: u32, what: &str, config: &Config, edit: impl Fn(&str) -> String) -> Self {
        assert!(SKY.contains(SEED));
        let mut came = Self::default();
        for sky in 0..skies {
            let text = edit(&SKY.replace(SEED, &format!("seed = {}", 2_022 + sky)));
            let scenario = Scenario::parse("cloudy-hour", &text).unwrap();
            let mut replay = Replay::new(config, &scenario).unwrap();
            replay.run(Duration::from_secs(180), |_, _| {});
            replay.restart_counting();
            replay.run(Duration::from_secs(1_800), |_, _| {});
            let totals = replay.totals();
            came.surplus += totals.surplus;
            came.usable += totals.usable_surplus;
            came.captured += totals.captured;
            came.imported += totals.attributable_import;
            came.starts += replay.turns().0;
        }
        println!(
            "{what}: captured {:.2} % of the surplus and {:.2} % of what the fleet can use of it; imported {:.3} %; {} left over, {} starts",
            100.0 * came.captured.ratio(came.surplus).unwrap(),
            100.0 * came.captured.ratio(came.usable).unwrap(),
            100.0 * came.imported.ratio(came.surplus).unwrap(),
            came.left(),
            came.starts,
        );
        came
    }

    fn left(&self) -> Joules {
        self.surplus - self.captured
    }
}

/// Under the same skies: the miners alone, miners in the place of the hall, a load in its place, and the hall.
fn compare(skies: u32) {
    let demo = config::demo(DEMO_NETWORK).unwrap();
    let alone = Came::under(skies, "120 miners", &demo, str::to_owned);
    let miners = Came::under(skies, "miners in the hall's place", &with_miners_for_the_hall(), str::to_owned);
    let (own, more) = WITH_THE_HALL;
    assert!(SKY.contains(own));
    let load = Came::under(skies, "a load in its place", &demo, |sky| sky.replace(own, more));
    let ai = config::demo_fleet(DemoFleet::Ai, DEMO_NETWORK).unwrap();
    let hall = Came::under(skies, "120 miners and the hall", &ai, |sky| format!("{sky}\n{JOBS}"));

    let left = |came: &Came| came.left().ratio(came.surplus).unwrap();
    let import = |came: &Came| came.imported.ratio(came.surplus).unwrap();
    // Of the same surplus no less is captured than by the miners alone.
    assert!(left(&hall) < left(&alone), "{} and {}", left(&hall), left(&alone));
    assert!(hall.left().get() < load.left().get() * 1.02, "{} and {}", hall.left(), load.left());
    assert!(import(&hall) < 0.001, "{}", import(&hall));
    assert!(hall.imported < miners.imported, "{} and {}", hall.imported, miners.imported);
    assert!(hall.imported.get() < load.imported.get() * 1.02, "{} and {}", hall.imported, load.imported);
    // Miners are put to sleep before any server is lowered, and have to be woken again: that costs some of it.
    assert!(left(&hall) < left(&miners) * 1.2, "{} and {}", left(&hall), left(&miners));
}

#[test]
fn a_site_with_a_hall_leaves_no_more_than_one_with_miners_alone() {
    compare(FEW_SKIES);
}

#[test]
#[ignore = "a table of docs/benchmarks.md: twelve skies take two minutes"]
fn a_site_with_a_hall_leaves_no_more_than_one_with_miners_alone_under_many_skies() {
    compare(SKIES);
}
