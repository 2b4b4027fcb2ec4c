//! An order on a part of the fleet, in simulated time.

use std::collections::BTreeSet;
use std::time::Duration;

use ballast::clock::Moment;
use ballast::config::Config;
use ballast::control::decision::Decision;
use ballast::control::snapshot::Target;
use ballast::sim::Scenario;
use ballast::sim::replay::{Replay, Steps, Watcher};
use ballast::sim::truth::Flows;

use super::hall;

/// A yard with two halls.
const HEAD: &str = r#"
[site]
name = "yard"
mode = "control"
[circuits.pcc]
meter = "grid"
margin = "1 kW"
[circuits.hall-a]
parent = "pcc"
[circuits.hall-b]
parent = "pcc"
[limits.follow-surplus]
circuit = "pcc"
import = "0 W"
[links.board]
tcp = "127.0.0.1:5020"
[meters.grid]
link = "board"
unit = 1
profile = "eastron-sdm630"
[groups.a]
driver = "whatsminer-v3"
model = "m60s"
circuit = "hall-a"
addresses = ["127.0.1.1-127.0.1.12"]
credentials = { password_env = "NOT_SET_FOR_A_SIMULATION" }
"#;

/// The first of the miners of `hall-b`.
const HALL: usize = 12;

fn site(driver: &str, model: &str) -> Config {
    hall::site(&format!(
        "{HEAD}[groups.b]\ndriver = \"{driver}\"\nmodel = \"{model}\"\ncircuit = \"hall-b\"\n\
         addresses = [\"127.0.2.1-127.0.2.12\"]\ncredentials = {{ password_env = \"NOT_SET_FOR_A_SIMULATION\" }}\n"
    ))
}

/// What was seen of an order on the hall with the later twelve miners.
#[derive(Default)]
struct Seen {
    /// Who is told to sleep.
    told: BTreeSet<usize>,
    /// How many were by the first decision, and at the most.
    first: Option<usize>,
    most: usize,
    /// What the hall draws, in watts.
    draw: f64,
}

impl Watcher for Seen {
    fn flows(&mut self, _: Moment, _: &Flows) {}

    fn decision(&mut self, decision: &Decision, _: &Flows) {
        let hall = |miner: usize| miner >= HALL;
        for command in decision.commands.iter().filter(|command| hall(command.miner.0)) {
            if command.target == Target::Sleep {
                self.told.insert(command.miner.0);
            } else {
                self.told.remove(&command.miner.0);
            }
        }
        if !self.told.is_empty() {
            self.first.get_or_insert(self.told.len());
        }
        self.most = self.most.max(self.told.len());
        self.draw = decision.miners.iter().skip(HALL).map(|miner| miner.draw.get()).sum();
    }
}

/// What the first decision takes is enough, however late they say what they do, whatever ends their software, and whatever they
/// were seen to do before: in seconds, when the orders begin.
#[test]
fn an_order_on_one_hall_puts_no_more_to_sleep_than_it_takes() {
    const CAP: f64 = 15_500.0;
    const ORDERS: [u32; 3] = [1_240, 2_483, 3_727];
    let order = |at: &u32| {
        format!(
            "[[event]]\nat = \"{at}s\"\nfor = \"100s\"\norder = {{ circuit = \"hall-b\", cap = \"{CAP} W\", miners = true }}\n"
        )
    };
    let orders: String = ORDERS.iter().map(order).collect();
    let text = format!(
        "description = \"orders\"\nseed = 11\n[generation]\nsteady = \"200 kW\"\n[load]\nbase = \"20 kW\"\nnoise = \"500 W\"\n\
         [miners]\nstart = \"hashing\"\n{orders}"
    );
    let scenario = Scenario::parse("orders.toml", &text).unwrap_or_else(|error| panic!("{error}"));
    for (driver, model) in [
        ("whatsminer-v2", "m30s-plus-plus"),
        ("whatsminer-v3", "m60s"),
        ("braiins-os", "s19k-pro"),
        ("bitmain-stock", "s19-xp"),
        ("mara", "s19-xp"),
        ("sealminer", "s19-xp"),
        ("vnish", "s19-xp"),
        ("luxos", "s19-xp"),
    ] {
        let config = site(driver, model);
        let mut replay = hall::replay(&config, &scenario, Steps::Fine, 0.0);
        for at in ORDERS {
            let until = |replay: &mut Replay, seconds: u32, seen: &mut Seen| {
                let now = replay.now().since_start();
                replay.watch(Duration::from_secs(u64::from(seconds)).saturating_sub(now), seen);
            };
            until(&mut replay, at - 1, &mut Seen::default());
            let mut seen = Seen::default();
            until(&mut replay, at + 98, &mut seen);
            println!("{driver} at {at} s: {} asleep, {:.1} kW", seen.most, seen.draw / 1e3);
            // One more where they settle a little above what they were told.
            let first = seen.first.unwrap_or(0);
            assert!(
                seen.most <= first + 1,
                "{driver} at {at} s: {first} asleep first, and {} in the end",
                seen.most
            );
            assert!(seen.draw <= CAP && seen.draw > 0.75 * CAP, "{driver} at {at} s: {:.0} W", seen.draw);
        }
    }
}
