//! The keys of an OpenADR source.

use crate::signals_openadr_site;

use std::path::Path;
use std::time::Duration;

use ballast::config::{self, Config, Options, Secrets};
use ballast::control::signal::Basis;
use ballast::control::site::Scope;
use ballast::secret::Secret;
use ballast::signal::openadr::settings::{Account, Level, Meaning, PowerUnit, Programme, Telling};
use ballast::units::Watts;
use signals_openadr_site::{settings, text};

const URL: &str = "https://vtn.example/openadr3/3.1.0";
const CLIENT: &str = "client_id = \"a\"\nclient_secret = { file = \"vtn.secret\" }\n";

fn try_text(text: &str, secrets: Secrets) -> Result<Config, String> {
    let files = [("password", "ballast"), ("vtn.secret", "s3cr3t-9"), ("utility.secret", "s3cr3t-9")];
    let options = Options { secrets, files: &files, environment: &|_| None };
    config::parse(text, Path::new("site.toml"), &options).map_err(|errors| errors.to_string())
}

fn refused(url: &str, more: &str) -> String {
    let words = try_text(&text(98, url, more), Secrets::Read).expect_err("it is taken");
    assert!(!words.contains("s3cr3t-9"), "{words}");
    words
}

/// The section as it stands in a text, in the place of the one of the test site.
fn with_section(section: &str) -> String {
    let whole = text(98, URL, "");
    let (site, _) = whole.split_once("[signals.utility]").unwrap();
    format!("{site}{section}")
}

#[test]
fn the_examples_of_the_guide_are_valid() {
    let guide = include_str!("../../docs/guide/signals/openadr.md");
    let examples: Vec<&str> =
        guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    // What a scenario says is read by the simulator.
    let (scripts, examples): (Vec<&str>, Vec<&str>) =
        examples.into_iter().partition(|example| example.starts_with("[[vtn]]"));
    let script =
        ballast::sim::Scenario::parse("guide", &format!("description = \"x\"\n{}", scripts[0])).unwrap();
    assert_eq!((scripts.len(), script.vtn.len()), (1, 2));
    assert_eq!(examples.len(), 3);
    for example in &examples {
        try_text(&with_section(example), Secrets::Read).unwrap_or_else(|words| panic!("{words}"));
    }
    // The first has nothing but the way to the top node, and the second says the defaults.
    let mut least = try_text(&with_section(examples[0]), Secrets::Read).unwrap();
    let Account::Client { token_url, id, secret, scope, basic } = settings(&mut least).account.clone() else {
        panic!("no client");
    };
    assert_eq!((token_url.as_str(), id.as_str()), ("https://login.example/oauth2/token", "mill-creek"));
    assert_eq!((secret, scope, basic), (Secret::new("s3cr3t-9".into()), None, false));
    let mut all = try_text(&with_section(examples[1]), Secrets::Read).unwrap();
    let (least, all) = (settings(&mut least).clone(), settings(&mut all).clone());
    assert_eq!(least.account, all.account);
    assert_eq!((least.poll, least.timeout, least.unit), (all.poll, all.timeout, all.unit));
    assert_eq!(least.simple, all.simple);
    assert_eq!((least.reports.asked, least.reports.every), (all.reports.asked, all.reports.every));
    assert_eq!(least.payloads.len() + 1, all.payloads.len());
    for (name, rule) in &least.payloads {
        assert_eq!(all.payloads.get(name), Some(rule), "{name}");
    }
    assert_eq!((least.programme, least.rating, least.basis), (Programme::Any, None, Basis::Instant));
}

#[test]
fn every_key_arrives() {
    let more = r#"
client_id = "a"
client_secret = { file = "vtn.secret" }
token_auth = "basic"
scope = "read_all"
program_id = "p1"
ven_name = "mill"
resources = ["hall"]
groups = ["north"]
targets = ["t"]
timeout = "2s"
unit = "MW"
rating = "500 kW"
judged_over = "15min"
simple = ["100 %", "50 %", "40 kW", "0 W"]
report = false
report_always = ["USAGE", "OPERATING_STATE"]
report_every = "5min"
acknowledge = "ACK"
alerts = { ALERT_FLEX_ALERT = "75 %" }
payloads = { SIMPLE = { means = "cap" }, LESS = { means = "reduction", unit = "W", caps = "miners" } }
"#;
    let mut config = try_text(&text(98, URL, more), Secrets::Read).unwrap();
    let found = settings(&mut config).clone();
    let Account::Client { token_url, basic, scope, .. } = &found.account else { panic!("no client") };
    assert_eq!(token_url.as_str(), "https://vtn.example/openadr3/3.1.0/auth/token", "the default");
    assert_eq!((*basic, scope.as_deref()), (true, Some("read_all")));
    assert_eq!(found.programme, Programme::Id("p1".into()));
    assert_eq!((found.names.ven.as_deref(), found.reports.resource.as_str()), (Some("mill"), "hall"));
    assert_eq!((found.poll, found.timeout), (Duration::from_secs(1), Duration::from_secs(2)));
    assert_eq!((found.unit, found.rating), (PowerUnit::Megawatt, Some(Watts::whole(500_000))));
    assert_eq!(found.basis, Basis::Mean(Duration::from_secs(900)));
    let levels =
        [Level::Share(1.0), Level::Share(0.5), Level::Power(Watts::whole(40_000)), Level::Power(Watts::ZERO)];
    assert_eq!(found.simple, levels);
    assert_eq!(found.reports.always, [Telling::Usage, Telling::OperatingState]);
    assert_eq!((found.reports.asked, found.reports.acknowledge.as_deref()), (false, Some("ACK")));
    assert_eq!(found.payloads["ALERT_FLEX_ALERT"].meaning, Meaning::Alert(Level::Share(0.75)));
    assert_eq!(found.payloads["SIMPLE"].meaning, Meaning::Cap);
    let less = found.payloads["LESS"];
    assert_eq!((less.meaning, less.unit), (Meaning::Reduction, Some(PowerUnit::Watt)));
    assert_eq!(less.scope, Some(Scope::Miners));
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_to_do() {
    for (url, more, words) in [
        ("http://vtn.example/", CLIENT, "is not encrypted"),
        ("ftp://vtn.example/", CLIENT, "begins with https://"),
        ("vtn.example", CLIENT, "is no address"),
        ("https://a:s3cr3t-9@vtn.example/", CLIENT, "has an account in it"),
        ("https://vtn.example/?key=1", CLIENT, "has a query in it"),
        (URL, "", "has no account"),
        (URL, "client_id = \"a\"\n", "has no `client_secret`"),
        (URL, "client_secret = { file = \"vtn.secret\" }\n", "has no `client_id`"),
        (URL, "client_id = \"a\"\nclient_secret = \"s3cr3t-9\"\n", "does not belong into the configuration"),
        (URL, "client_id = \"a\"\nclient_secret = { file = \"nowhere\" }\n", "cannot find"),
        (URL, &format!("{CLIENT}token = {{ file = \"vtn.secret\" }}\n"), "there is a token and a client"),
        (URL, &format!("{CLIENT}token_url = \"http://login.example/\"\n"), "is not encrypted"),
        (URL, &format!("{CLIENT}program = \"a\"\nprogram_id = \"b\"\n"), "is given twice"),
        (URL, &format!("{CLIENT}simple = [\"100 %\"]\n"), "does not have four caps"),
        (URL, &format!("{CLIENT}simple = [1, 2, 3, 4]\n"), "bare number"),
        (URL, &format!("{CLIENT}unit = \"kVA\"\n"), "cannot be \"kVA\""),
        (URL, &format!("{CLIENT}lost_after = \"1500ms\"\n"), "shorter than two polls"),
        (URL, &format!("{CLIENT}ca = \"nowhere.pem\"\n"), "the certificates in nowhere.pem cannot be used"),
        (URL, &format!("{CLIENT}ca_file = \"nowhere.pem\"\n"), "`ca_file` is called `ca`"),
        (URL, &format!("{CLIENT}alerts = {{ ALERT_OTHER = true }}\n"), "`ALERT_OTHER` is true or false"),
        (URL, &format!("{CLIENT}payloads = {{ X = \"cap\" }}\n"), "`X` is a text in quotes"),
        (URL, &format!("{CLIENT}payloads = {{ X = {{ means = \"cup\" }} }}\n"), "did you mean"),
        (URL, &format!("{CLIENT}report_always = [\"DEMANDS\"]\n"), "cannot hold \"DEMANDS\""),
        (URL, &format!("{CLIENT}targets = \"north\"\n"), "write a list of names"),
        (URL, &format!("{CLIENT}pol = \"1s\"\n"), "unknown key `pol`"),
    ] {
        let found = refused(url, more);
        assert!(found.contains(words), "{more}: {found}");
    }
}

#[test]
fn a_file_can_be_checked_where_its_secrets_are_not() {
    for account in [CLIENT, "token = { file = \"nowhere\" }\n"] {
        try_text(&text(98, URL, account), Secrets::Skip).unwrap();
    }
    let mut config = try_text(&text(98, "http://127.0.0.1:3000/", ""), Secrets::Read).unwrap();
    assert_eq!(settings(&mut config).account, Account::Nobody);
    let shown = format!("{:?}", try_text(&text(98, URL, CLIENT), Secrets::Read).unwrap().signals);
    assert!(!shown.contains("s3cr3t-9"), "{shown}");
}
