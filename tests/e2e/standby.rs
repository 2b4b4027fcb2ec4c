//! Two machines that stand by each other, each a network namespace of its own: an address moves between them, one of them is
//! killed, and then both are made to believe that they lead.

use std::process::{Command, Stdio};

use crate::bench::{Process, Settings, Site, eventually, now, scenario, seconds, skip};

/// Carries connections from the addresses that the machines know to those on which the simulated site is served: it is served on
/// loopback alone.
const CARRIER: &str = r#"
import asyncio, sys
near, far = sys.argv[1:3]
places = [(1, 5020)] + [(first + n, port) for first, port in ((11, 4028), (21, 4433), (31, 8080)) for n in range(3)]
async def pipe(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
def carrier(host, port):
    async def carry(reader, writer):
        try:
            there = await asyncio.open_connection(f"{far}.{host}", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))
    return carry
async def main():
    for host, port in places:
        await asyncio.start_server(carrier(host, port), f"{near}.{host}", port)
    await asyncio.sleep(3600)
asyncio.run(main())
"#;
/// The network that the machines share. It is in namespaces of the test's own.
const NET: &str = "10.99.0";
const SHARED: &str = "10.99.0.200";
const TOKEN: &str = "token-of-the-pair-0123456789-abcdef";

/// Three namespaces on one bridge: the site and the two machines. They are gone with it.
struct Networks(String);

impl Networks {
    /// `None` where that is not allowed.
    fn build() -> Option<Self> {
        let networks = Self(format!("bt{}", std::process::id() % 100_000));
        let Self(own) = &networks;
        let script = format!(
            "set -e
             for n in s a b; do ip netns add {own}$n; ip -n {own}$n link set lo up; done
             ip -n {own}s link add br0 type bridge; ip -n {own}s link set br0 up
             for n in a b; do
                 ip -n {own}s link add v$n type veth peer name eth0 netns {own}$n
                 ip -n {own}s link set v$n master br0 up
                 ip -n {own}$n link set eth0 up
             done
             ip -n {own}s addr add {NET}.254/24 dev br0
             ip -n {own}s route add local {NET}.0/26 dev lo
             ip -n {own}a addr add {NET}.201/24 dev eth0
             ip -n {own}b addr add {NET}.202/24 dev eth0"
        );
        let done = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
        done.is_ok_and(|done| done.success()).then_some(networks)
    }

    fn ip(&self, which: char, arguments: &str) {
        let Self(own) = self;
        let line = format!("ip -n {own}{which} {arguments}");
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success(), "{line}");
    }

    /// A command in one of them.
    fn inside(&self, which: char, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}{which}", self.0), program]);
        command
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for which in ['s', 'a', 'b'] {
            let name = format!("{}{which}", self.0);
            let _ = Command::new("ip").args(["netns", "del", &name]).stderr(Stdio::null()).status();
        }
    }
}

/// Everything in its place.
struct Pair<'s> {
    site: &'s Site,
    networks: &'s Networks,
}

impl Pair<'_> {
    fn run(&self, which: char) -> Process {
        let mut command = self.networks.inside(which, env!("CARGO_BIN_EXE_ballast"));
        command.args(["run", "-c", &format!("{which}.toml")]).current_dir(&self.site.folder);
        command.stdin(Stdio::null());
        self.site.spawn(if which == 'a' { "run-a" } else { "run-b" }, &mut command)
    }

    /// Asks one of the machines, from itself.
    fn ask(&self, which: char, more: &[&str], path: &str) -> String {
        let mut command = self.networks.inside(which, "curl");
        let header = format!("Authorization: Bearer {TOKEN}");
        command.args(["-s", "-m", "3", "-H", &header, "-H", "Content-Type: application/json"]).args(more);
        let said = command.arg(format!("http://127.0.0.1:9842{path}")).output().unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    fn leads(&self, which: char) -> String {
        let metrics = self.ask(which, &[], "/metrics");
        let on = metrics.lines().find(|line| line.starts_with("ballast_lead{") && line.ends_with(" 1"));
        on.and_then(|line| line.split('"').nth(1)).unwrap_or("none").to_owned()
    }

    fn becomes(&self, which: char, lead: &str) {
        eventually(&format!("{which} {lead}"), seconds(90.0), || (self.leads(which) == lead).then_some(()));
    }
}

#[test]
fn the_second_machine_goes_on_where_the_first_one_has_died_and_two_that_lead_do_not_raise() {
    for program in ["python3", "curl"] {
        if Command::new(program).arg("--version").stdout(Stdio::null()).status().is_err() {
            skip(&format!("two machines that stand by each other ({program} is missing)"));
            return;
        }
    }
    let Some(networks) = Networks::build() else {
        skip("two machines that stand by each other (no network namespaces can be made here)");
        return;
    };
    let site = Site::new();
    let config = site.config(&Settings::default(), "");
    site.write("site.toml", &config);
    let far = site.host(0);
    let far = far.strip_suffix(".0").unwrap().to_owned();
    site.write("carrier.py", CARRIER);
    std::fs::set_permissions(
        site.write("token", &format!("{TOKEN}\n")),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    for (which, other) in [('a', 202), ('b', 201)] {
        let near = config
            .replace(&format!("listen = \"{far}.1:9842\""), "listen = \"0.0.0.0:9842\"")
            .replace(&far, NET)
            .replace("name = \"End to end\"", "name = \"End to end\"\nclock = \"trusted\"");
        let more = format!(
            "\n[store]\npath = \"{which}.db\"\n[web.tokens.operator]\ntoken = {{ file = \"token\" }}\nscopes = [\"operator\"]\n\
             [standby]\naddress = \"{SHARED}\"\npeer = \"http://{NET}.{other}:9842\"\ntoken = {{ file = \"token\" }}\n"
        );
        site.write(&format!("{which}.toml"), &(near + &more));
    }
    networks.ip('a', &format!("addr add {SHARED}/24 dev eth0"));
    let mut sim = networks.inside('s', env!("CARGO_BIN_EXE_ballast"));
    sim.args(["sim", "-c", "site.toml", "-s", "scenario.toml", "--every", "100ms"]).current_dir(&site.folder);
    site.write("scenario.toml", &scenario(""));
    let sim = site.simulated(sim);
    let mut carrier = networks.inside('s', "python3");
    carrier.args(["carrier.py", NET, &far]).current_dir(&site.folder);
    let _carrier = site.spawn("carrier", &mut carrier);
    let pair = Pair { site: &site, networks: &networks };
    let mut first = pair.run('a');
    let second = pair.run('b');
    pair.becomes('a', "leads");
    pair.becomes('b', "follows");

    // An order that the first one is given is known to the second one, which takes none itself.
    let order = ["-X", "PUT", "-d", r#"{"cap":"18 kW","scope":"miners","circuit":"fleet","by":"shift"}"#];
    let refused = pair.ask('b', &order, "/api/v1/limits/peak");
    assert!(refused.contains("this machine stands by") && refused.contains(SHARED), "{refused}");
    let given = pair.ask('a', &order, "/api/v1/limits/peak");
    assert!(given.contains("\"accepted\""), "{given}");
    eventually("the second one knows the order", seconds(60.0), || {
        let known = pair.ask('b', &[], "/api/v1/limits");
        (known.contains("peak") && known.contains("shift")).then_some(())
    });
    eventually("the order is obeyed", seconds(30.0), || (sim.truth().fleet < 18_200.0).then_some(()));

    // The first one dies, and the address moves.
    first.kill();
    networks.ip('a', &format!("addr del {SHARED}/24 dev eth0"));
    networks.ip('b', &format!("addr add {SHARED}/24 dev eth0"));
    pair.becomes('b', "leads");
    let (before, said) = (sim.truth().fleet, sim.truths().len());
    std::thread::sleep(seconds(4.0));
    let truths = sim.truths();
    let since: Vec<f64> = truths.iter().skip(said).map(|truth| truth.fleet).collect();
    let (least, most) =
        (since.iter().copied().fold(f64::MAX, f64::min), since.iter().copied().fold(0.0, f64::max));
    assert!(least > 0.85 * before && most < 18_300.0, "no step: {least} to {most} W, from {before} W");

    // The first one is back. Both have the address, and cannot reach each other.
    let _first = pair.run('a');
    pair.becomes('a', "follows");
    for (which, other) in [('a', 202), ('b', 201)] {
        networks.ip(which, &format!("route add blackhole {NET}.{other}/32"));
    }
    networks.ip('a', &format!("addr add {SHARED}/24 dev eth0"));
    pair.becomes('a', "leads");
    // What one of them alone is told holds, though the other one would raise by 2 kW. What is moved in the first seconds after the other
    // one began to lead is taken for what was there: then the next, lower cap shows it.
    // The order stands by then, and each further one takes its place.
    let each = [("15 kW", "accepted"), ("12 kW", "replaced"), ("9 kW", "replaced")];
    let seen = each.iter().any(|(cap, outcome)| {
        let body = format!(r#"{{"cap":"{cap}","scope":"miners","circuit":"fleet"}}"#);
        let given = pair.ask('b', &["-X", "PUT", "-d", &body], "/api/v1/limits/split");
        assert!(given.contains(&format!("\"outcome\":\"{outcome}\"")), "{given}");
        let asked = now();
        while now() - asked < seconds(30.0) && pair.leads('a') != "lowers-only" {
            std::thread::sleep(seconds(0.2));
        }
        pair.leads('a') == "lowers-only"
    });
    assert!(seen, "the first one does not see that the second one leads, too");
    // For five seconds in a row: two that fight would be above it again and again.
    eventually("the lower of the two holds", seconds(60.0), || {
        let last: Vec<f64> = sim.truths().iter().rev().take(50).map(|truth| truth.fleet).collect();
        (last.len() == 50 && last.iter().all(|fleet| *fleet < 15_250.0)).then_some(())
    });
    drop(second);
}
