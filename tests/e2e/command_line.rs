//! What the command line says when something is wrong, and with which exit code.

use std::net::TcpListener;
use std::process::Output;

use crate::bench::{Daemon, Settings, Site, scenario, seconds};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn output(site: &Site, arguments: &[&str]) -> Output {
    site.ballast(arguments).output().unwrap()
}

#[test]
fn a_wrong_configuration_ends_with_78_and_says_where() {
    let site = Site::new();
    let good = site.config(&Settings::default(), "");
    let line = 1 + good.lines().position(|line| line == "deadband = \"100 W\"").unwrap();
    site.write("wrong.toml", &good.replace("deadband = \"100 W\"", "deadband = \"100\""));
    for arguments in [
        ["run", "--config", "wrong.toml"].as_slice(),
        &["check", "--config", "wrong.toml"],
        &["check", "wrong.toml"],
        &["sim", "--config", "wrong.toml"],
    ] {
        let output = output(&site, arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {said}");
        assert!(
            said.contains(&format!("wrong.toml:{line}:12: `deadband` has no unit")),
            "{arguments:?}: {said}"
        );
        assert!(output.stdout.is_empty(), "what is wrong goes to standard error alone");
    }
}

#[test]
fn a_good_configuration_is_told_in_words() {
    let site = Site::new();
    site.write("site.toml", &site.config(&Settings::default(), ""));
    let output = output(&site, &["check", "site.toml", "--strict"]);
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", said(&output));
    assert!(words.contains("End to end: controls 9 miners."), "{words}");
    assert!(words.contains("the miners get at most 15.0 kW"), "{words}");
}

#[test]
fn the_schema_for_editors_is_printed_as_it_is_shipped() {
    let output = output(&Site::new(), &["schema"]);
    assert!(output.status.success(), "{}", said(&output));
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/ballast.schema.json");
    assert_eq!(String::from_utf8_lossy(&output.stdout), std::fs::read_to_string(shipped).unwrap());
}

#[test]
fn a_missing_file_ends_with_78_and_says_which() {
    let site = Site::new();
    for arguments in [
        ["run", "--config", "nowhere.toml"].as_slice(),
        &["check", "nowhere.toml"],
        &["sim", "--config", "nowhere.toml"],
    ] {
        let output = output(&site, arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {said}");
        assert!(said.contains("nowhere.toml: cannot be read: No such file"), "{arguments:?}: {said}");
    }
    site.write("site.toml", &site.config(&Settings::default(), ""));
    let output = output(&site, &["sim", "--config", "site.toml", "--scenario", "nothing"]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(
        said.contains("nothing: cannot be read") && said.contains("step-down"),
        "built-in ones are named: {said}"
    );
}

#[test]
fn a_wrong_scenario_ends_with_78_and_says_where() {
    let site = Site::new();
    site.write("site.toml", &site.config(&Settings::default(), ""));
    let text = scenario("[[event]]\nat = \"1s\"\nminer = { name = \"v4-*\", fault = \"hang\" }\n");
    let line = 1 + text.lines().position(|line| line.contains("v4-*")).unwrap();
    site.write("wrong.toml", &text);
    let output = output(&site, &["sim", "--config", "site.toml", "--scenario", "wrong.toml"]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains(&format!("wrong.toml:{line}:")) && said.contains("v4-*"), "line {line}: {said}");
}

#[test]
fn a_port_that_is_taken_ends_with_1_and_says_which() {
    let site = Site::new();
    site.write("site.toml", &site.config(&Settings::default(), ""));
    let _other = TcpListener::bind(site.listen()).unwrap();
    let mut process = site.spawn("run", &mut site.ballast(&["run", "-c", "site.toml"]));
    assert_eq!(process.code(seconds(5.0)), 1);
    let log = site.read("run.err");
    assert!(log.contains(&site.listen()) && log.contains("in use"), "{log}");

    let _meter = TcpListener::bind(format!("{}:5020", site.host(1))).unwrap();
    let output = output(&site, &["sim", "--config", "site.toml", "--scenario", "step-down"]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the meter link `switchboard`") && said.contains(":5020"), "{said}");
}

#[test]
fn without_certificates_of_the_system_everything_that_speaks_plain_http_works() {
    let site = Site::new();
    site.write("site.toml", &site.config(&Settings::default(), ""));
    let bare = |arguments: &[&str]| {
        let mut command = site.ballast(arguments);
        // As on a machine without the package ca-certificates.
        command.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
        command
    };
    let _sim = site.simulate("site.toml", &scenario(""));
    let _daemon = Daemon::of(&site, site.spawn("run", &mut bare(&["run", "-c", "site.toml"])));
    let output = bare(&["discover", &site.host(1), "--timeout", "100ms"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    site.write("operator.token", "operator-token-of-the-tests");
    let url = format!("http://{}", site.listen());
    let reach = ["limit", "list", "--token-file", "operator.token", "--url"];
    let output = bare(&[&reach[..], &[&url]].concat()).output().unwrap();
    assert!(said(&output).contains("no token is configured"), "the daemon answers: {}", said(&output));
    // Whoever means the demo moves nobody's site, whatever token lies at hand.
    let mut meant = bare(&["limit", "set", "x", "--cap", "1 kW", "--demo", "--url", &url]);
    let output = meant.env("BALLAST_TOKEN_FILE", site.path("operator.token")).output().unwrap();
    assert!(said(&output).contains("is no demo"), "{}", said(&output));
    // What speaks HTTPS says what is missing.
    let output = bare(&[&reach[..], &["https://127.0.0.1:1"]].concat()).output().unwrap();
    let words = said(&output);
    assert!(words.contains("No CA certificates were loaded") && words.contains("ca-certificates"), "{words}");
}
