//! What the README and the guide print of `ballast demo`, `ballast sim` and the daemon's lines is what the programs print, but for
//! the figures: those move with the law, and every run has its own.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ballast::clock::Clock;
use ballast::config::{self, Options, Secrets};
use ballast::control::decision::{Binding, Decision, LimitValue, MinerState, Mode, Source};
use ballast::control::site::{CircuitId, LimitId, MeterId, Site};
use ballast::metrics::describe;
use ballast::units::Watts;

use crate::metrics_sample;

const PAGES: [&str; 4] = [
    "README.md",
    "docs/guide/demo-and-simulator.md",
    "docs/guide/getting-started.md",
    "docs/guide/configuration.md",
];

fn text(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The lines of a page that are set in.
fn set_in(page: &str) -> Vec<String> {
    text(page).lines().filter_map(|line| line.strip_prefix("    ")).map(String::from).collect()
}

/// A line without its figures: `#` for each number, and one unit for each kind of quantity, however large.
fn form(line: &str) -> String {
    let mut form = String::new();
    for sign in line.chars() {
        let part = sign.is_ascii_digit() || sign == '.' && form.ends_with('#');
        match (part, form.ends_with('#')) {
            (true, true) => {}
            (true, false) => form.push('#'),
            (false, _) => form.push(sign),
        }
    }
    for (kind, sizes) in [("W", "kMG"), ("H/s", "kMGTPE")] {
        for size in sizes.chars() {
            form = form.replace(&format!("# {size}{kind}"), &format!("# {kind}"));
        }
    }
    form
}

/// All bindings that a site can have, with the cap that its words may tell.
fn bindings(site: &Site) -> Vec<Binding> {
    let binding = |circuit, source| Binding { circuit, source, budget: Watts::kilowatts(42.0) };
    let limits = site.limits.iter().enumerate();
    let mut all: Vec<_> =
        limits.map(|(index, limit)| binding(limit.circuit, Source::Limit(LimitId(index)))).collect();
    for meter in 0..site.meters.len() {
        let circuits = (0..site.circuits.len()).map(CircuitId);
        all.extend(circuits.map(|circuit| binding(circuit, Source::LostMeter(MeterId(meter)))));
    }
    all.push(binding(CircuitId(0), Source::Fleet));
    all
}

/// The decision of a sample, stretched over a site, with this binding, its cap and the budget of its circuit.
fn decision(site: &Site, binding: &Binding, cap: Option<f64>, own: f64) -> Decision {
    let mut decision = metrics_sample::decision(site, Clock::start().now());
    let circuit = decision.circuits[0].clone();
    decision.circuits.resize(site.circuits.len(), circuit);
    decision.miners.truncate(2);
    decision.binding = *binding;
    let value = LimitValue {
        source: binding.source,
        cap: cap.map(Watts::kilowatts),
        headroom: Watts::ZERO,
        acts: true,
    };
    let circuit = &mut decision.circuits[binding.circuit.0];
    (circuit.limits, circuit.budget) = (vec![value], Watts::kilowatts(own));
    decision
}

/// Everything that may stand in a line before its last part, in all orders in which it can.
fn beginnings(site: &Site) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for binding in &bindings(site) {
        for (cap, own) in [(None, 306.1), (Some(110.0), 110.0), (Some(400.0), 306.1), (Some(200.0), 306.1)] {
            for (mode, would_be) in
                Mode::ALL.into_iter().flat_map(|mode| Mode::ALL.map(|other| (mode, other)))
            {
                for (shortfall, draw) in [(0.0, 9.0), (5.0, 9.0), (9.0, 5.0)] {
                    for power in [Some(-7.5), Some(7.5), None] {
                        let mut decision = decision(site, binding, cap, own);
                        (decision.mode, decision.would_be) = (mode, would_be);
                        decision.fleet.shortfall = Watts::kilowatts(shortfall);
                        decision.circuits[0].shortfall = decision.fleet.shortfall;
                        decision.circuits[0].miners = Watts::kilowatts(draw);
                        decision.circuits[0].power = power.map(Watts::kilowatts);
                        let said = form(&describe(site, &decision));
                        all.insert(said.rsplit_once(" · ").unwrap().0.to_owned());
                    }
                }
            }
        }
    }
    all
}

/// What a line may say of the miners at its end.
fn endings(site: &Site) -> BTreeSet<String> {
    let binding = &bindings(site)[0];
    let mut all = BTreeSet::new();
    for state in MinerState::ALL {
        for count in [1, 2] {
            let mut decision = decision(site, binding, None, 306.1);
            decision.miners.truncate(count);
            decision.miners.iter_mut().for_each(|miner| miner.state = state);
            all.insert(form(&describe(site, &decision)).rsplit_once(" · ").unwrap().1.to_owned());
        }
    }
    all
}

/// A line of the demo has the time in front, one of a log its level in front and the mode behind.
fn status(line: &str) -> Option<&str> {
    if let Some(line) = line.strip_prefix("INFO ") {
        return line.contains(" · ").then(|| line.rsplit_once(" mode=").unwrap().0);
    }
    let (time, rest) = line.trim_start().split_once("  ")?;
    let (minutes, seconds) = time.split_once(':')?;
    let number = |part: &str| !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit());
    (number(minutes) && number(seconds)).then_some(rest)
}

#[test]
fn lines_of_the_demo_in_the_guide_are_lines_that_it_can_print() {
    let site = config::demo(config::DEMO_NETWORK).unwrap().site;
    let (beginnings, endings) = (beginnings(&site), endings(&site));
    let mut count = 0;
    for page in PAGES {
        for line in &set_in(page) {
            let Some(line) = status(line) else { continue };
            let (begins, ends) = line.rsplit_once(" · ").unwrap();
            assert!(beginnings.contains(&form(begins)), "{page} prints {begins:?}");
            for miners in ends.split(", ") {
                assert!(endings.contains(&form(miners)), "{page} prints {miners:?}");
            }
            count += 1;
        }
    }
    assert!(count >= 17, "{count}");
}

/// Lines that the guide has shortened, with its own words behind them: each part is one that can be printed.
#[test]
fn shortened_lines_of_the_guide_have_parts_that_can_be_printed() {
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    let example = "config/example-surplus-register.toml";
    let site = config::parse(&text(example), Path::new(example), &options).unwrap().site;
    let parts: BTreeSet<String> =
        beginnings(&site).iter().flat_map(|line| line.split(" · ")).map(String::from).collect();
    let mut count = 0;
    for line in set_in("docs/guide/configuration.md").iter().filter(|line| line.contains(" · fleet ")) {
        let line = line.split("   ").next().unwrap();
        for part in line.split(" · ") {
            assert!(parts.contains(&form(part)), "{part:?}");
        }
        count += 1;
    }
    assert_eq!(count, 5);
}

/// A program that runs until it has said so many lines.
fn run(folder: &Path, arguments: &[&str], lines: usize) -> Vec<String> {
    let mut child: Child = Command::new(env!("CARGO_BIN_EXE_ballast"))
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    for _ in 0..lines {
        if out.read_line(&mut said).unwrap() == 0 {
            break;
        }
    }
    let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    out.read_to_string(&mut said).unwrap();
    let ended = child.wait_with_output().unwrap();
    let warned = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}{warned}");
    assert!(!warned.contains("says that it is"), "a simulated miner contradicts the configuration: {warned}");
    said.lines().map(String::from).collect()
}

fn forms(lines: &[String]) -> BTreeSet<String> {
    lines.iter().map(|line| form(line)).collect()
}

/// The lines of a block of a page, from the one that follows these words.
fn block(page: &str, after: &str) -> Vec<String> {
    let text = text(page);
    let rest = text.split(after).nth(1).unwrap_or_else(|| panic!("{page} does not say {after:?}"));
    let lines = rest.lines().skip(1).skip_while(|line| line.is_empty());
    let block = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
    block.filter_map(|line| line.strip_prefix("    ")).map(String::from).collect()
}

#[test]
fn what_the_demo_says_first_and_last_is_what_the_guide_prints() {
    let said = run(Path::new("/"), &["demo", "--every", "100ms", "--listen", "127.0.0.1:0"], 12);
    // The lines between them are of those that the other test knows, so that both mean the same.
    let site = config::demo(config::DEMO_NETWORK).unwrap().site;
    let known = beginnings(&site);
    let lines: Vec<&str> = said.iter().filter_map(|line| status(line)).collect();
    assert!(lines.len() >= 5, "{said:#?}");
    for line in lines {
        assert!(known.contains(&form(line.rsplit_once(" · ").unwrap().0)), "{line}");
    }
    let printed = block("README.md", "It prints a line every three seconds:");
    let first: Vec<String> = printed.into_iter().take_while(|line| status(line).is_none()).collect();
    assert_eq!(first.len(), 4, "{first:#?}");
    for (printed, said) in first.iter().zip(&said) {
        assert_eq!(form(printed), form(said));
    }
    let said = forms(&said);
    let account = block("docs/guide/demo-and-simulator.md", "A minute of it:");
    let account: Vec<&String> = account
        .iter()
        .filter(|line| line.starts_with("  captured") || line.starts_with("  imported"))
        .collect();
    assert_eq!(account.len(), 2);
    for line in account {
        assert!(said.contains(&form(line)), "{line:?} is not of {said:#?}");
    }
}

#[test]
fn what_the_simulator_says_is_what_the_guide_prints() {
    // The demo's file on a network of its own.
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("sim-of-the-guide");
    fs::create_dir_all(folder.join("config")).unwrap();
    for secret in ["config/demo.token", "config/demo.password"] {
        fs::write(folder.join(secret), text(secret)).unwrap();
    }
    fs::write(folder.join("config/demo.toml"), text("config/demo.toml").replace("127.77.", "127.94."))
        .unwrap();
    let said = run(&folder, &["sim", "--config", "config/demo.toml", "--every", "100ms"], 4);
    let said: BTreeSet<String> =
        forms(&said).into_iter().map(|line| line.replace("· import #", "· export #")).collect();
    let mut count = 0;
    for page in PAGES {
        for line in set_in(page)
            .iter()
            .filter(|line| line.starts_with("generation ") || line.contains(" are served, "))
        {
            let line = form(line).replace("· import #", "· export #");
            assert!(said.contains(&line), "{page} prints {line:?}, which is none of {said:#?}");
            count += 1;
        }
    }
    assert!(count >= 12, "{count}");
}

/// Words at the beginning of lines, such as the names of a table.
fn beginnings_of(lines: &[String]) -> BTreeSet<String> {
    lines.iter().filter_map(|line| line.split_whitespace().next()).map(String::from).collect()
}

#[test]
fn what_the_guide_prints_of_daily_work_is_what_the_commands_print() {
    let page = "docs/guide/daily-work.md";
    let mut demo = Command::new(env!("CARGO_BIN_EXE_ballast"))
        .args(["demo", "--every", "100ms", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(demo.stdout.take().unwrap());
    let mut said = String::new();
    // Some lines behind its introduction it has its figures.
    while said.lines().filter(|line| status(line).is_some()).count() < 3 {
        assert!(out.read_line(&mut said).unwrap() > 0, "{said}");
    }
    let url = said.split("Status: ").nth(1).unwrap().lines().next().unwrap().trim_end_matches('/').to_owned();
    let ask = |arguments: &[&str]| -> Vec<String> {
        let output = Command::new(env!("CARGO_BIN_EXE_ballast"))
            .args(arguments)
            .args(["--demo", "--url", &url])
            .output()
            .unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(!told.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        told.lines().map(String::from).collect()
    };
    let shown = |command: &str| {
        let lines = block(page, &format!("$ ballast {command} --demo"));
        lines.into_iter().take_while(|line| !line.starts_with("$ ")).collect::<Vec<_>>()
    };
    let answered = ask(&["status"]);
    for begins in beginnings_of(&shown("status")) {
        // What it is called in the answer depends on what the fleet does just now.
        let moves = begins.starts_with("follows") || begins == "no";
        assert!(moves || beginnings_of(&answered).contains(&begins), "{begins}: {answered:#?}");
    }
    let heads = |lines: &[String]| -> Vec<String> {
        let head =
            |line: &&String| line.split_whitespace().all(|word| word.chars().all(|c| c.is_ascii_uppercase()));
        let heads = lines.iter().filter(head).filter(|line| !line.is_empty());
        heads.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(heads(&shown("status")), heads(&answered));
    let check = ask(&["status", "--check"]).remove(0);
    let figures = |line: &str| form(line.split('|').nth(1).unwrap()).replace('-', "");
    assert_eq!(figures(&shown("status --check")[0]), figures(&check));
    let miners = ask(&["miners", "--search", "m60s-00"]);
    assert_eq!(heads(&shown("miners --search m60s-00")), heads(&miners[..1]));
    assert_eq!(miners.len(), 10);
    let explained = ask(&["miner", "explain", "m60s-001"]);
    let printed = shown("miner explain m60s-001");
    for (line, begins) in [(0, "m60s-001 on container-1: "), (printed.len() - 1, "  The fleet as a whole: ")]
    {
        assert!(printed[line].starts_with(begins), "{printed:#?}");
        assert!(explained.iter().any(|line| line.starts_with(begins)), "{explained:#?}");
    }
    let tail = ask(&["tail", "--for", "3s"]);
    let kinds = |lines: &[String]| -> Vec<String> {
        lines.iter().take(2).map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&shown("tail")), kinds(&tail), "{tail:#?}");
    let _ = Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap();
    out.read_to_string(&mut said).unwrap();
    assert!(demo.wait().unwrap().success());
}
