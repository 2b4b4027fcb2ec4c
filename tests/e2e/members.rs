//! Daemons under a daemon: one simulated site, two lower daemons with half of its miners each, and an upper one that has the
//! meter of the connection point and no miner of its own.

use std::time::Duration;

use crate::bench::{Process, Settings, Site, always, eventually, get, scenario, seconds};

/// What a lost upper daemon leaves to each lower one.
const FAIL_SAFE: f64 = 4_000.0;

/// The simulated site with a meter at each half, and the configurations of the three daemons.
struct Large {
    site: Site,
}

impl Large {
    fn new() -> Self {
        Self { site: Site::new() }
    }

    fn host(&self, device: u8) -> String {
        self.site.host(device)
    }

    /// The pages of a daemon: 2 and 3 are the lower ones, 4 is the upper one.
    fn pages(&self, daemon: u8) -> String {
        format!("{}:9842", self.host(daemon))
    }

    /// The whole site as one: what the simulator serves.
    fn plant(&self) -> String {
        let text = self.site.config(&Settings::default(), &format!("{}{}", meter("one", 2), meter("two", 3)));
        let halves = "[circuits.one]\nparent = \"pcc\"\nmeter = \"one\"\ndedicated = true\n\
                      [circuits.two]\nparent = \"pcc\"\nmeter = \"two\"\ndedicated = true\n";
        let text = text.replace("[circuits.fleet]\nparent = \"pcc\"\n", halves);
        let at = text.find("[groups.bos]").unwrap();
        let (first, second) = text.split_at(at);
        let plant = format!(
            "{}{}",
            first.replace("circuit = \"fleet\"", "circuit = \"one\""),
            second.replace("circuit = \"fleet\"", "circuit = \"two\"")
        );
        self.site.write("plant.toml", &plant);
        plant
    }

    /// One half as a daemon of its own, which follows nothing and waits for the upper one.
    fn lower(&self, plant: &str, half: &str, mode: &str) -> String {
        let (daemon, unit) = if half == "one" { (2, 2) } else { (3, 3) };
        let groups: String = plant
            .split("\n[")
            .filter(|part| part.starts_with("groups.") && part.contains(&format!("circuit = \"{half}\"")))
            .map(|part| format!("\n[{part}"))
            .collect();
        // Its own part alone of what stands behind the last group.
        let groups = groups.split("\n[meters").next().unwrap().to_owned();
        let listen = self.pages(daemon);
        let address = self.host(1);
        self.token(half, &format!("the-token-of-half-{half}-0123"));
        format!(
            r#"
[site]
name = "half {half}"
mode = "{mode}"
[control]
period = "250ms"
raise_rate = "10 kW/s"
deadband = "100 W"
min_sleep = "1s"
start_timeout = "5s"
straggler_grace = "2s"
on_exit = "hold"
[store]
path = "{half}.db"
[web]
listen = "{listen}"
[web.tokens.upper]
token = {{ file = "{half}.token" }}
scopes = ["limits"]
source = "upper"
[circuits.{half}]
meter = "{half}"
dedicated = true
fail_safe = "{FAIL_SAFE} W"
[limits.rating]
circuit = "{half}"
import = "22 kW"
class = "safety"
[signals.upper]
kind = "http"
caps = "miners"
lost_after = "3s"
fail_safe = "{FAIL_SAFE} W"
[links.switchboard]
tcp = "{address}:5020"
timeout = "500ms"
gap = "5ms"
{meter}
{groups}
"#,
            meter = meter(half, unit),
        )
    }

    fn token(&self, half: &str, token: &str) {
        let path = self.site.write(&format!("{half}.token"), &format!("{token}\n"));
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path, private).unwrap();
    }

    fn upper(&self) -> String {
        let address = self.host(1);
        let member = |half: &str, daemon: u8, lowest: &str, highest: &str, nameplate: &str| {
            format!(
                r#"
[miners.{half}]
driver = "ballast"
address = "{}"
circuit = "pcc"
serial = "half {half}"
credentials = {{ password_file = "{half}.token" }}
minimum = "{lowest}"
maximum = "{highest}"
nameplate = "{nameplate}"
sleep = "240 W"
timeout = "2s"
poll_period = "500ms"
silent_after = "4s"
start_time = "4s"
dead_time_down = "800ms"
dead_time_up = "800ms"
ramp_down = "4 kW/s"
ramp_up = "2 kW/s"
"#,
                self.host(daemon)
            )
        };
        format!(
            r#"
[site]
name = "upper"
mode = "control"
[control]
period = "250ms"
raise_rate = "10 kW/s"
deadband = "100 W"
min_sleep = "1s"
start_timeout = "5s"
straggler_grace = "4s"
on_exit = "hold"
[store]
path = "upper.db"
[web]
listen = "{listen}"
[circuits.pcc]
meter = "pcc"
margin = "500 W"
fail_safe = "0 W"
[limits.follow-surplus]
circuit = "pcc"
import = "0 W"
class = "surplus"
[links.switchboard]
tcp = "{address}:5020"
timeout = "500ms"
gap = "5ms"
{pcc}
{one}
{two}
"#,
            listen = self.pages(4),
            pcc = meter("pcc", 1),
            one = member("one", 2, "2140 W", "19 kW", "20.7 kW"),
            two = member("two", 3, "1000 W", "8300 W", "8850 W"),
        )
    }

    fn start(&self, name: &'static str, daemon: u8, config: &str) -> Process {
        let file = format!("{name}.toml");
        self.site.write(&file, config);
        let process = self.site.spawn(name, &mut self.site.ballast(&["run", "-c", &file]));
        eventually("a daemon serves its pages", seconds(60.0), || get(&self.pages(daemon), "/healthz"));
        process
    }

    /// What the upper daemon says of a half.
    fn member(&self, half: &str) -> serde_json::Value {
        let text = eventually("the upper daemon answers", seconds(60.0), || {
            get(&self.pages(4), &format!("/api/v1/miners/{half}"))
        });
        serde_json::from_str(&text).unwrap()
    }

    /// What a lower daemon is held to, in watts.
    fn cap(&self, daemon: u8) -> f64 {
        let text = eventually("a lower daemon answers", seconds(60.0), || {
            get(&self.pages(daemon), "/api/v1/status")
        });
        let status: serde_json::Value = serde_json::from_str(&text).unwrap();
        status.pointer("/cycle/fleet/cap_watts").unwrap().as_f64().unwrap()
    }

    fn state(&self, half: &str) -> String {
        self.member(half).get("state").and_then(|state| state.as_str()).unwrap_or_default().to_owned()
    }
}

fn meter(name: &str, unit: u8) -> String {
    format!(
        "[meters.{name}]\nlink = \"switchboard\"\nunit = {unit}\nprofile = \"eastron-sdm630\"\nperiod = \"250ms\"\n\
         stale_after = \"1500ms\"\nfail_safe_after = \"3s\"\n"
    )
}

/// Long enough for a source that is lost after 3 s, and for its miners.
const LOST: Duration = Duration::from_secs(10);

#[test]
fn two_daemons_under_one_follow_the_surplus_and_a_lost_upper_one_raises_nothing() {
    let large = Large::new();
    let plant = large.plant();
    let step = "[[event]]\nat = \"60s\"\nfor = \"15s\"\nload = { by = \"6 kW\", over = \"500ms\" }\n";
    let sim = large.site.simulate("plant.toml", &scenario(step));
    let _one = large.start("one", 2, &large.lower(&plant, "one", "control"));
    let mut two = large.start("two", 3, &large.lower(&plant, "two", "control"));
    let mut upper = large.start("upper", 4, &large.upper());

    // Nobody was heard at first, so the lower ones stand at their fail-safe; then the 24 kW are taken. That must be before the
    // step, for which a busy machine has time.
    eventually("the fleet takes the surplus", seconds(55.0), || (sim.truth().fleet > 21_500.0).then_some(()));
    eventually("the surplus falls", seconds(90.0), || (sim.truth().surplus < 18_100.0).then_some(()));
    eventually("import is over", seconds(10.0), || (sim.truth().pcc <= 0.0).then_some(()));
    eventually("the surplus is back", seconds(60.0), || (sim.truth().surplus > 23_900.0).then_some(()));
    eventually("the fleet is back", seconds(60.0), || (sim.truth().fleet > 21_000.0).then_some(()));

    // A lower daemon is killed: its miners stay where they are, and it counts as one that nobody hears.
    two.kill();
    eventually("it is not heard", seconds(60.0), || (large.state("two") == "unreachable").then_some(()));
    let _two = large.start("two", 3, &large.lower(&plant, "two", "control"));
    eventually("it is led again", seconds(60.0), || (large.state("two") == "hashing").then_some(()));
    eventually("the fleet is whole", seconds(60.0), || (sim.truth().fleet > 21_000.0).then_some(()));

    // The upper daemon is killed: nothing rises above what it had ordered, and in the end the fail-safes stand.
    upper.kill();
    let most = sim.truth().fleet.max(large.cap(2) + large.cap(3)) + 400.0;
    always("nobody's silence raises anything", LOST, || sim.truth().fleet, |fleet| *fleet < most);
    let low = 2.0 * FAIL_SAFE + 200.0;
    eventually("the fail-safes hold", seconds(60.0), || (sim.truth().fleet < low).then_some(()));
    always("and go on holding", seconds(3.0), || sim.truth().fleet, |fleet| *fleet < low);

    // It is back, and gives the orders anew.
    let _upper = large.start("upper", 4, &large.upper());
    eventually("the surplus is taken again", seconds(60.0), || (sim.truth().fleet > 21_000.0).then_some(()));
}

#[test]
fn a_member_that_observes_and_one_whose_token_is_wrong_are_named_and_counted() {
    let large = Large::new();
    let plant = large.plant();
    let sim = large.site.simulate("plant.toml", &scenario(""));
    let before = sim.truth().fleet;
    let _one = large.start("one", 2, &large.lower(&plant, "one", "observe"));
    let _two = large.start("two", 3, &large.lower(&plant, "two", "control"));
    // The lower daemon has read its token; the upper one reads another.
    large.token("two", "some-other-token-altogether");
    let _upper = large.start("upper", 4, &large.upper());
    let fault = eventually("the one that observes is named", seconds(60.0), || {
        large.member("one")["fault"].as_str().map(str::to_owned)
    });
    assert!(fault.contains("it only observes") && fault.contains("mode = \"control\""), "{fault}");
    eventually("the one without a good token is named", seconds(60.0), || {
        let log = large.site.read("upper.err");
        (log.contains("two") && log.contains("password") && !log.contains("some-other-token")).then_some(())
    });
    assert_ne!(large.state("two"), "hashing");
    // One half keeps its draw, for it obeys nobody; the other one stands at the fail-safe of a source that nobody speaks for.
    eventually("the rest is at its fail-safe", seconds(60.0), || (sim.truth().fleet < before).then_some(()));
}
