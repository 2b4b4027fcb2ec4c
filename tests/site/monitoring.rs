//! What stands in `monitoring/`: rules, dashboards and the example for Alertmanager do what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const RULES: &str = include_str!("../../monitoring/ballast.rules.yml");
const RULE_TESTS: [&str; 2] = [
    include_str!("../../monitoring/ballast.rules.test.yml"),
    include_str!("../../monitoring/ballast.rules.days.test.yml"),
];
const DASHBOARDS: [(&str, &str); 2] = [
    ("ballast-site.json", include_str!("../../monitoring/grafana/ballast-site.json")),
    ("ballast-fleet.json", include_str!("../../monitoring/grafana/ballast-fleet.json")),
];
/// Panels that Grafana brings along.
const PANELS: [&str; 7] = ["row", "stat", "timeseries", "state-timeline", "table", "bargauge", "text"];

fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring")
}

/// What a tool says about files in `monitoring/`, and whether it is content; `None` where the tool is not installed.
fn said(tool: &str, debian: &str, arguments: &[&str]) -> Option<(bool, String)> {
    match Command::new(tool).current_dir(monitoring()).args(arguments).output() {
        Ok(output) => {
            let out = String::from_utf8_lossy(&output.stdout).into_owned();
            Some((output.status.success(), out + &String::from_utf8_lossy(&output.stderr)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Straight to the terminal: what a passing test prints is hidden.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: {tool} is not installed (Debian: apt-get install {debian})"
            );
            None
        }
        Err(error) => panic!("{tool} does not start: {error}"),
    }
}

fn alerts(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect()
}

#[test]
fn promtool_finds_that_the_rules_do_what_their_tests_say() {
    let files = ["test", "rules", "ballast.rules.test.yml", "ballast.rules.days.test.yml"];
    for arguments in [["check", "rules", "ballast.rules.yml"].as_slice(), files.as_slice()] {
        if let Some((well, said)) = said("promtool", "prometheus", arguments) {
            assert!(well, "promtool {}:\n{said}", arguments.join(" "));
        }
    }
}

#[test]
fn every_alert_fires_in_a_test_and_is_quiet_in_another() {
    let (mut fires, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    for tests in RULE_TESTS {
        let mut lines = tests.lines().map(str::trim).peekable();
        while let Some(line) = lines.next() {
            let Some(alert) = line.strip_prefix("alertname: ") else { continue };
            match lines.peek() {
                Some(&"exp_alerts: []") => quiet.insert(alert),
                Some(&"exp_alerts:") => fires.insert(alert),
                other => panic!("after {line} stands {other:?}"),
            };
        }
    }
    let there = alerts(RULES);
    assert!(there.len() > 10, "{there:?}");
    assert_eq!(fires, there, "alerts that fire in a test");
    assert_eq!(quiet, there, "alerts that do not fire in a test");
}

#[test]
fn the_guide_shows_rules_as_they_stand_in_the_file() {
    let guide = include_str!("../../docs/guide/metrics.md");
    let shown = alerts(guide);
    assert_eq!(shown.len(), 3, "{shown:?}");
    // Each rule reaches to the next blank or less indented line.
    for alert in shown {
        let block = |text: &str| -> Vec<String> {
            let start = format!("- alert: {alert}");
            let mut lines = text.lines().skip_while(|line| line.trim() != start);
            let first = lines.next().unwrap();
            let indent = first.len() - first.trim_start().len();
            let rest = lines.take_while(|line| {
                line.len() - line.trim_start().len() > indent && !line.trim_start().starts_with('#')
            });
            std::iter::once(first).chain(rest).map(|line| line.trim().to_owned()).collect()
        };
        assert_eq!(block(guide), block(RULES), "{alert}");
    }
}

#[test]
fn amtool_finds_nothing_wrong_with_the_example_for_alertmanager() {
    let check = ["check-config", "alertmanager.yml"];
    if let Some((well, said)) = said("amtool", "prometheus-alertmanager", &check) {
        assert!(well, "amtool says:\n{said}");
    }
    for (severity, receiver) in
        [("critical", "night"), ("warning", "day"), ("notice", "day"), ("none", "nobody")]
    {
        let labels = format!("severity={severity}");
        let route =
            ["config", "routes", "test", "--config.file=alertmanager.yml", &labels, "site=mill-creek"];
        if let Some((well, said)) = said("amtool", "prometheus-alertmanager", &route) {
            assert!(well && said.lines().any(|line| line == receiver), "{severity}: {said}");
        }
    }
}

fn dashboard(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().unwrap()
}

#[test]
fn dashboards_are_whole_and_need_no_plugin() {
    for (file, text) in DASHBOARDS {
        let dashboard = dashboard(text);
        assert!(dashboard["schemaVersion"].as_u64() >= Some(39), "{file}: Grafana 11");
        assert!(dashboard["id"].is_null(), "{file}: an id belongs to one Grafana");
        let mut ids = BTreeSet::new();
        let mut taken = BTreeMap::new();
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap();
            let kind = panel["type"].as_str().unwrap();
            assert!(PANELS.contains(&kind), "{file}: {title}: {kind}");
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: {title}: its id is there already");
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(place("x") + place("w") <= 24, "{file}: {title}: reaches beyond the edge");
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    let other = taken.insert((x, y), title);
                    assert!(other.is_none(), "{file}: {title} lies over {other:?}");
                }
            }
            if kind == "row" {
                continue;
            }
            assert!(panel["description"].as_str().is_some_and(|said| said.ends_with('.')), "{file}: {title}");
            if !["table", "state-timeline"].contains(&kind) {
                assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{file}: {title}: has no unit");
            }
            let targets = panel["targets"].as_array().unwrap();
            let sources = targets.iter().chain([panel]).map(|target| &target["datasource"]["uid"]);
            assert!(sources.clone().all(|uid| uid == "${datasource}"), "{file}: {title}: {sources:?}");
        }
    }
}

/// Every query of a dashboard, its variables filled in as for a site called `site`.
fn queries(dashboard: &Value) -> Vec<String> {
    let targets = panels(dashboard).iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets
        .map(|target| {
            let written = target["expr"].as_str().unwrap();
            let filled = written.replace("$__rate_interval", "1m").replace("$__range", "1h");
            let filled = filled.replace("$site", "site").replace("$grid", "pcc");
            assert!(!filled.contains('$'), "a variable that is not known here: {filled}");
            filled
        })
        .collect()
}

#[test]
fn promtool_understands_every_query_of_the_dashboards() {
    let mut rules = Vec::new();
    for (file, text) in DASHBOARDS {
        let queries = queries(&dashboard(text));
        assert!(queries.len() > 20, "{file}: {} queries", queries.len());
        rules.extend(queries.into_iter().enumerate().map(|(number, query)| {
            // Two queries of a dashboard may be the same; rules may not.
            let labels = serde_json::json!({ "file": file, "number": number.to_string() });
            serde_json::json!({ "record": "query", "expr": query, "labels": labels })
        }));
    }
    // YAML reads JSON.
    let written = serde_json::json!({ "groups": [{ "name": "queries", "rules": rules }] }).to_string();
    let path = std::env::temp_dir().join(format!("ballast-queries-{}.yml", std::process::id()));
    std::fs::write(&path, written).unwrap();
    let answer = said("promtool", "prometheus", &["check", "rules", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    if let Some((well, said)) = answer {
        assert!(well, "promtool says:\n{said}");
    }
}

/// The blocks of a language in a page of the guide.
fn blocks<'t>(page: &'t str, language: &str) -> Vec<&'t str> {
    let start = format!("```{language}\n");
    page.split(start.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn promtool_takes_the_configurations_of_the_guide() {
    let pages = [include_str!("../../docs/guide/metrics.md"), include_str!("../../docs/guide/many-sites.md")];
    let configurations: Vec<_> = pages
        .iter()
        .flat_map(|page| blocks(page, "yaml"))
        .filter(|block| block.contains("scrape_configs:"))
        .collect();
    assert_eq!(configurations.len(), 3, "{configurations:?}");
    for (number, configuration) in configurations.into_iter().enumerate() {
        let path =
            std::env::temp_dir().join(format!("ballast-prometheus-{}-{number}.yml", std::process::id()));
        std::fs::write(&path, configuration).unwrap();
        // The files that it names are on the machine of the reader.
        let check = ["check", "config", "--syntax-only", path.to_str().unwrap()];
        let answer = said("promtool", "prometheus", &check);
        std::fs::remove_file(&path).unwrap();
        if let Some((well, said)) = answer {
            assert!(well, "{configuration}\npromtool says:\n{said}");
        }
    }
}
