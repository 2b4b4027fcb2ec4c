//! A partner of the grid that nobody here wrote (paho-mqtt, openssl) sets load targets by DSX Flex over a real broker: mosquitto. So does a
//! foreign agent with its hints.
//!
//! Needs mosquitto with its tools, openssl, and a Python with paho-mqtt 2: `python3`, or the one named by `BALLAST_TEST_PYTHON`. Without
//! them the tests say so and pass.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::bench::{Process, Settings, Site, always, eventually, now, scenario, seconds, skip};
use crate::mqtt::{Broker, SECRET, USER, missing};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/dsx_partner.py");
/// The partner for a first trial that the guide comes with.
const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide/dsx_partner.py");

/// The Python of the partner, where everything that they need is here.
fn python() -> Option<String> {
    let python = std::env::var("BALLAST_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let runs = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let lacking = if let Some(program) = missing() {
        Some(program.to_owned())
    } else if !runs("openssl", &["version"]) {
        Some("openssl".into())
    } else if !runs(&python, &["-c", "from paho.mqtt.client import CallbackAPIVersion"]) {
        Some(format!("paho-mqtt 2 of {python}"))
    } else {
        None
    };
    if let Some(lacking) = lacking {
        skip(&format!("load targets by DSX Flex ({lacking} is missing)"));
        return None;
    }
    Some(python)
}

/// The partner of a site.
struct Partner<'s> {
    site: &'s Site,
    python: String,
}

impl<'s> Partner<'s> {
    fn new(site: &'s Site, python: String) -> Self {
        let partner = Self { site, python };
        let made = partner.command(&["keys", &site.folder.display().to_string()]).status().unwrap();
        assert!(made.success());
        partner
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(SCRIPT).args(arguments).current_dir(&self.site.folder);
        command
    }

    fn broker(&self) -> String {
        format!("{},{USER},{SECRET}", self.site.host(60))
    }

    /// Listens from now on, in `NAME.out`.
    fn listen(&self, name: &'static str) -> Process {
        let process = self.site.spawn(name, &mut self.command(&["listen", &self.broker(), "."]));
        eventually("the partner listens", seconds(60.0), || {
            self.site.read(&format!("{name}.out")).contains("listening").then_some(())
        });
        process
    }

    /// Sends a list of targets; gives its correlation id.
    fn set(&self, data: &str, more: &[&str]) -> String {
        self.say("set", data, more)
    }

    /// Sends a list (`set`), or as a foreign agent an `alert` or a `state`; gives its correlation id.
    fn say(&self, what: &str, data: &str, more: &[&str]) -> String {
        let broker = self.broker();
        let arguments = [&[what, broker.as_str(), ".", data][..], more].concat();
        let output = self.command(&arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        said.pointer("/correlationid").unwrap().as_str().unwrap().to_owned()
    }
}

/// Everything that the partner was told, in its order.
fn told(site: &Site, name: &str) -> Vec<Value> {
    let said = site.read(&format!("{name}.out"));
    let whole = said.rfind('\n').and_then(|end| said.get(..end)).unwrap_or_default();
    let lines = whole.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["topic"].is_string()).collect()
}

/// The states of the hall that the partner was told.
fn states(site: &Site, name: &str) -> Vec<Value> {
    let all = told(site, name).into_iter();
    all.filter_map(|line| line.pointer("/data/feeds/hall").cloned()).filter(Value::is_object).collect()
}

fn source(more: &str) -> String {
    format!(
        "\n[store]\npath = \"ballast.db\"\n[signals.grid]\nkind = \"dsx-flex\"\ncircuit = \"fleet\"\nbroker = \"mqtt://NET.60\"\ncredentials \
         = {{ username = \"{USER}\", password_file = \"broker.password\" }}\nidentity = \"mill\"\npartner = \"acme-energy\"\npartner_keys = \
         \"partner-jwks.json\"\nsigning_key_file = \"agent.pem\"\nsigning_key_id = \"mill-1\"\nfeeds = {{ hall = \"fleet\" }}\nfail_safe \
         = \"15 kW\"\nlost_after = \"30s\"\noldest_message = \"30s\"\nstatus_every = \"5s\"\n{more}"
    )
}

fn feeder() -> Settings {
    Settings { feeder: true, ..Settings::default() }
}

const NULL: &str = r#"{"targets": [{"interval": {}, "load_constraint": null}]}"#;

fn hall(kilowatts: u32) -> String {
    format!(
        r#"{{"targets": [{{"interval": {{}}, "feed_tags": ["hall"], "load_constraint": {{"value": {kilowatts}, "unit": "kilowatt"}}}}]}}"#
    )
}

/// The state of the source, as the interface has it.
/// Why the latest message of the partner is not obeyed; `None` where it is. That the clock is in doubt is another matter.
fn refused(site: &Site) -> Option<String> {
    let status: Value = serde_json::from_str(&site.get("/api/v1/status").unwrap()).unwrap();
    let sources = status.pointer("/signals/sources").unwrap().as_array().unwrap();
    let grid = sources.iter().find(|source| source.get("name").is_some_and(|name| name == "grid")).unwrap();
    let all =
        grid.get("trouble").unwrap().as_array().unwrap().iter().map(|why| why.as_str().unwrap().to_owned());
    all.into_iter().find(|why| why.starts_with("cannot be obeyed"))
}

#[test]
fn a_partner_lowers_and_lifts_and_nobody_else_moves_anything() {
    let Some(python) = python() else { return };
    let site = Site::new();
    let mut broker = Broker::start(&site, "");
    let partner = Partner::new(&site, python);
    site.write("site.toml", &site.config(&feeder(), &source("")));
    let sim = site.simulate("site.toml", &scenario(""));
    let _listener = partner.listen("heard");
    let daemon = site.run("site.toml");
    daemon.reaches("fail-safe", 15.0);
    eventually("nothing is more than the fail-safe before the partner is heard", seconds(20.0), || {
        (sim.truth().fleet < 15_500.0).then_some(())
    });
    eventually("the partner is told before they say a word", seconds(60.0), || {
        (!states(&site, "heard").is_empty()).then_some(())
    });

    partner.set(NULL, &[]);
    eventually("control is given back", seconds(30.0), || (sim.truth().fleet > 20_000.0).then_some(()));
    let correlation = partner.set(&hall(17), &["as=kept"]);
    eventually("it acts", seconds(20.0), || (sim.truth().fleet < 17_300.0).then_some(()));
    let names = || -> Vec<String> {
        states(&site, "heard").iter().map(|state| state["event"].as_str().unwrap().to_owned()).collect()
    };
    eventually("the way down is told from its beginning to its end", seconds(30.0), || {
        let names = names();
        let place = |name: &str| names.iter().rposition(|known| known == name);
        (place("target_set")? < place("start_ramp_down")?
            && place("start_ramp_down")? < place("end_ramp_down")?)
        .then_some(())
    });
    let last = states(&site, "heard").pop().unwrap();
    let target = &last["targets"][0];
    assert_eq!(
        (&target["correlation_id"], &target["active"]),
        (&correlation.as_str().into(), &true.into()),
        "{last}"
    );
    assert_eq!(target["load_constraint"]["value"], 17_000.0, "{last}");
    eventually("it is met", seconds(30.0), || {
        (states(&site, "heard").pop()?["compliant"] == true).then_some(())
    });
    let all = told(&site, "heard");
    let answered = all.iter().find(|line| line["event"]["correlationid"] == correlation.as_str());
    assert!(
        answered.is_some_and(|line| line["event"]["traceparent"].is_string()),
        "the list is answered by its name"
    );

    // A message that comes again as it is is no news, whoever sends it.
    partner.set(NULL, &["from=kept"]);
    always("nothing is said against it", seconds(5.0), || refused(&site), Option::is_none);
    // None of these moves anything, each makes the source degraded, and the log says why.
    for (what, data, more) in [
        ("signature is wrong", NULL, &["key=rogue"][..]),
        ("no compact JWS", NULL, &["alg=none"]),
        ("is not signed", NULL, &["alg=object"]),
        ("not among those of the partner", NULL, &["kid=acme-2"]),
        ("longer than `oldest_message`", NULL, &["age=120"]),
        ("not from the other side", NULL, &["source=somebody"]),
        (
            "is not one of ours",
            r#"{"targets": [{"interval": {}, "feed_tags": ["x"], "load_constraint": null}]}"#,
            &[],
        ),
        ("no `targets`", "{}", &[]),
    ] {
        partner.set(data, more);
        // For a key that is not known the key set is read anew first, once a minute at the most.
        eventually(what, seconds(90.0), || {
            refused(&site).is_some_and(|why| why.contains(what)).then_some(())
        });
    }
    always("nothing is moved", seconds(5.0), || sim.truth().fleet, |fleet| *fleet < 17_500.0);
    let count = |result: &str| {
        let series = format!("ballast_signal_messages_total{{source=\"grid\",result=\"{result}\"}}");
        daemon.value(&series)
    };
    for result in ["taken", "again", "signature", "old", "sender", "content", "unplanned"] {
        assert!(count(result) >= 1.0, "{result} is counted");
    }
    assert!(daemon.value("ballast_signal_connected{source=\"grid\"}") > 0.5);
    assert!(daemon.value("ballast_signal_list_age_seconds{source=\"grid\"}") < 900.0);
    assert!(daemon.value("ballast_signal_sent_total{source=\"grid\",message=\"status\"}") >= 1.0);
    let log = daemon.log();
    assert!(log.contains("a message is refused"), "{log}");
    assert!(!log.contains(SECRET) && !log.contains("PRIVATE KEY"));
    partner.set(&hall(16), &[]);
    eventually("a sound list makes the source sound", seconds(20.0), || {
        refused(&site).is_none().then_some(())
    });
    partner.set(NULL, &[]);
    eventually("power returns", seconds(40.0), || (sim.truth().fleet > 20_000.0).then_some(()));
    // As the guide has it, with the same key.
    let (password, host) = (site.folder.join("password.txt"), site.host(60));
    std::fs::write(&password, SECRET).unwrap();
    let guide = |power: &str| {
        let mut command = Command::new(&partner.python);
        command.args([
            GUIDE,
            "set",
            &host,
            "mill",
            power,
            "--minutes",
            "9",
            "--user",
            USER,
            "--password-file",
        ]);
        let output = command.arg(&password).current_dir(&site.folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    guide("16.5 kW");
    eventually("the guide's partner is obeyed", seconds(20.0), || {
        (sim.truth().fleet < 16_800.0 && refused(&site).is_none()).then_some(())
    });
    guide("none");
    eventually("power returns again", seconds(40.0), || (sim.truth().fleet > 20_000.0).then_some(()));
    eventually("the way up is told to its end", seconds(60.0), || {
        names().iter().any(|name| name == "end_ramp_up").then_some(())
    });

    // Another key, which nobody here was told of: the key set is read anew for it, once a minute at the most.
    assert!(partner.command(&["rotate", "."]).status().unwrap().success());
    // A list waits for its key. Few are sent: too many that wait are missed, and then the fail-safe would lower the fleet.
    let mut sent = None;
    eventually("the new key counts", seconds(120.0), || {
        if sent.is_none_or(|at| now() - at > seconds(20.0)) {
            partner.set(&hall(16), &["key=rogue", "kid=acme-2"]);
            sent = Some(now());
        }
        let told = states(&site, "heard").pop()?;
        (told["targets"][0]["load_constraint"]["value"] == 16_000.0).then_some(())
    });
    eventually("it is obeyed", seconds(20.0), || (sim.truth().fleet < 16_300.0).then_some(()));
    partner.set(NULL, &[]);
    always("the old one does not", seconds(5.0), || sim.truth().fleet, |fleet| *fleet < 16_500.0);
    partner.set(NULL, &["key=rogue", "kid=acme-2"]);
    eventually("power returns once more", seconds(40.0), || (sim.truth().fleet > 20_000.0).then_some(()));

    // A lost broker is a lost source. It comes back with nothing kept, so only the partner gives control back.
    broker.down();
    eventually("the fail-safe is obeyed", seconds(70.0), || (sim.truth().fleet < 15_500.0).then_some(()));
    assert!(daemon.value("ballast_signal_connected{source=\"grid\"}") < 0.5);
    broker.up();
    let _again = partner.listen("again");
    eventually("the partner is told again", seconds(90.0), || {
        (!states(&site, "again").is_empty()).then_some(())
    });
    always(
        "to be connected is not to be in control",
        seconds(5.0),
        || sim.truth().fleet,
        |fleet| *fleet < 15_700.0,
    );
    partner.set(NULL, &["key=rogue", "kid=acme-2"]);
    eventually("the partner gives control back", seconds(40.0), || {
        (sim.truth().fleet > 20_000.0).then_some(())
    });
}

#[test]
fn who_does_not_come_down_is_a_breach_with_one_id_to_its_end() {
    let Some(python) = python() else { return };
    let site = Site::new();
    let _broker = Broker::start(&site, "");
    let partner = Partner::new(&site, python);
    site.write("site.toml", &site.config(&feeder(), &source("breach_after = \"3s\"\n")));
    let deaf =
        "[[event]]\nat = \"0s\"\nfor = \"60s\"\nminer = { name = \"*\", fault = \"ignore-commands\" }\n";
    let sim = site.simulate("site.toml", &scenario(deaf));
    let _listener = partner.listen("heard");
    let daemon = site.run("site.toml");
    eventually("the partner is told", seconds(60.0), || (!states(&site, "heard").is_empty()).then_some(()));
    let correlation = partner.set(&hall(14), &[]);
    let alerts = || -> Vec<Value> {
        told(&site, "heard").into_iter().filter(|line| line["data"]["feed_tag"] == "hall").collect()
    };
    let first = eventually("the breach is told", seconds(30.0), || alerts().into_iter().next());
    let data = &first["data"];
    assert_eq!(
        (&data["status"], &data["severity"], &first["qos"]),
        (&"active".into(), &"critical".into(), &2.into()),
        "{data}"
    );
    assert_eq!(data["target"]["correlation_id"], correlation.as_str(), "{data}");
    assert!(data["measured_load"]["value"].as_f64().unwrap() > 16_800.0, "{data}");
    let hints = data["shed_hints"].as_array().unwrap();
    assert!(!hints.is_empty() && hints[0]["priority"] == 1 && hints[0]["action"] == "suspend", "{data}");
    let open = || daemon.metrics().sum("ballast_signal_breach{source=\"grid\"");
    assert!(open() > 0.5, "the metrics tell of it");
    eventually("they come down at last", seconds(90.0), || (sim.truth().fleet < 14_300.0).then_some(()));
    let last = eventually("it is over", seconds(60.0), || {
        alerts().into_iter().find(|line| line["data"]["status"] == "resolved")
    });
    assert_eq!(last["data"]["breach"]["breach_id"], data["breach"]["breach_id"]);
    eventually("the metrics tell that, too", seconds(10.0), || (open() < 0.5).then_some(()));
    assert!(
        last["data"]["shed_hints"].is_null() && last["data"]["breach"]["resolved_at"].is_string(),
        "{last}"
    );
}

/// The same site in the role of infra, under the same names.
fn infra() -> String {
    source("")
        .replace("kind = \"dsx-flex\"", "kind = \"dsx-flex-infra\"")
        .replace("partner = \"acme-energy\"", "agent = \"maxlps\"")
        .replace("partner_keys", "agent_keys")
        .replace("feeds = { hall = \"fleet\" }", "resources = { rack-1 = \"fleet\" }")
        .replace("status_every = \"5s\"\n", "")
        .replace("lost_after = \"30s\"", "lost_after = \"10min\"")
}

fn alert(status: &str, kilowatts: u32) -> String {
    let hints = if status == "resolved" {
        String::new()
    } else {
        format!(
            r#", "shed_hints": [{{"resource_id": "rack-1", "resource_type": "chassis", "action": "power_cap", "priority": 1,
            "target_power": {{"value": {kilowatts}, "unit": "kilowatt"}}}}, {{"resource_id": "rack-2", "resource_type": "node",
            "action": "suspend", "priority": 2}}]"#
        )
    };
    format!(
        r#"{{"feed_tag": "main-a", "status": "{status}", "severity": "critical", "infrastructure_actions": [],
        "breach": {{"breach_id": "6f1c2a34-0b5d-4e6f-8a7b-9c0d1e2f3a4b", "detected_at": "NOW"}},
        "target": {{"correlation_id": "7f1c2a34-0b5d-4e6f-8a7b-9c0d1e2f3a4b", "load_constraint": {{"value": 18, "unit": "kilowatt"}}}},
        "measured_load": {{"value": 22, "unit": "kilowatt"}}{hints}}}"#
    )
}

#[test]
fn a_hint_of_a_foreign_agent_is_a_limit_and_it_is_told_what_was_measured() {
    let Some(python) = python() else { return };
    let site = Site::new();
    let _broker = Broker::start(&site, "");
    let agent = Partner::new(&site, python);
    site.write("site.toml", &site.config(&feeder(), &infra()));
    let sim = site.simulate("site.toml", &scenario(""));
    let _listener = agent.listen("heard");
    let daemon = site.run("site.toml");
    daemon.reaches("fail-safe", 15.0);
    // Whether we listen already nobody tells.
    eventually("a status gives control back", seconds(60.0), || {
        agent.say("state", r#"{"snapshot_time": "NOW", "feeds": {"main-a": {"compliant": true}}}"#, &[]);
        (sim.truth().fleet > 20_000.0).then_some(())
    });
    let enforced = |action: &str| -> Option<Value> {
        told(&site, "heard").into_iter().rfind(|line| line["data"]["action"] == action)
    };
    agent.say("alert", &alert("active", 17), &[]);
    eventually("the limit acts", seconds(30.0), || (sim.truth().fleet < 17_300.0).then_some(()));
    let report = eventually("it is told", seconds(70.0), || enforced("applied"));
    assert_eq!(
        (&report["qos"], &report["topic"]),
        (&2.into(), &"grid/v1/infra/mill/powerbreach/enforcement".into())
    );
    let results = report["data"]["results"].as_array().unwrap();
    let codes: Vec<&Value> = results.iter().map(|result| &result["code"]).collect();
    assert_eq!(codes, ["applied", "skipped"], "{report}");
    agent.say("alert", &alert("escalated", 12), &["key=rogue"]);
    eventually("a forged alert is refused", seconds(30.0), || {
        refused(&site).is_some_and(|why| why.contains("signature is wrong")).then_some(())
    });
    always("and moves nothing", seconds(5.0), || sim.truth().fleet, |fleet| *fleet > 16_000.0);
    agent.say("alert", &alert("resolved", 0), &[]);
    eventually("power returns", seconds(40.0), || (sim.truth().fleet > 20_000.0).then_some(()));
    eventually("that is told, too", seconds(20.0), || enforced("reverted"));
}
