//! The fleet of a configuration against simulated miners over real sockets: an address that belongs to another miner, and
//! polls that hang.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[expect(dead_code, reason = "the drivers' tests use the rest")]
#[path = "drivers/drivers_sim/mod.rs"]
mod drivers_sim;
#[expect(dead_code, reason = "the drivers' tests use the rest")]
#[path = "drivers/drivers_support/mod.rs"]
mod drivers_support;

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ballast::clock::Clock;
use ballast::config::{self, Config, ExitPolicy, Options};
use ballast::control::decision::{Cause, Command};
use ballast::control::site::MinerId;
use ballast::control::snapshot::{Activity, Contact, MinerInput, Outcome, Rejection, Target};
use ballast::daemon::fleet::Fleet;
use ballast::discover::neighbours::Neighbours;
use ballast::discover::who::Witness;
use ballast::miner::{DriverKind, http_client};
use drivers_sim::Sim;
use drivers_support::PASSWORD;

const POINTS: [(f64, f64); 2] = [(1_500.0, 60.0), (3_300.0, 120.0)];

/// A site with one table for each miner: its address, and what else is known of it.
fn site(timeout: &str, miners: &[(SocketAddr, String)]) -> Config {
    let mut text = format!(
        "[site]\nname = \"Test\"\nmode = \"control\"\n[circuits.pcc]\n[limits.all]\ncircuit = \"pcc\"\n\
         miners = \"10 kW\"\n[groups.g]\ndriver = \"whatsminer-v3\"\nmodel = \"m60s\"\ncircuit = \"pcc\"\ntimeout = \"{timeout}\"\n\
         poll_period = \"500 ms\"\nsilent_after = \"20s\"\ncredentials = {{ password_file = \"p\" }}\n"
    );
    for (index, (address, more)) in miners.iter().enumerate() {
        writeln!(text, "[miners.m{index}]\ngroup = \"g\"\naddress = \"{address}\"\n{more}").unwrap();
    }
    let options = Options { files: &[("p", PASSWORD)], ..Options::default() };
    config::parse(&text, Path::new("site.toml"), &options).unwrap_or_else(|errors| panic!("{errors}"))
}

fn shed(miner: usize, sequence: u64) -> Command {
    Command { miner: MinerId(miner), target: Target::Sleep, sequence, cause: Cause::Shed }
}

async fn mac(sim: &Sim) -> String {
    let neighbours = Arc::new(Neighbours::new(Clock::start()));
    let witness = Witness::new(&sim.connection, &http_client().unwrap(), &neighbours).unwrap();
    witness.ask().await.unwrap().unwrap().mac.unwrap().to_string()
}

fn address(sim: &Sim) -> SocketAddr {
    format!("{}:{}", sim.connection.endpoint.host, sim.connection.endpoint.port).parse().unwrap()
}

/// Waits until what is known of a miner is so; fails after a minute, which is enough for a busy machine.
async fn wait(fleet: &Fleet, miner: usize, is: impl Fn(&MinerInput) -> bool) -> MinerInput {
    for _ in 0..3_000 {
        let input = fleet.inputs()[miner].clone();
        if is(&input) {
            return input;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{:?}", fleet.inputs()[miner]);
}

fn ended(sequence: u64) -> impl Fn(&MinerInput) -> bool {
    move |input| {
        let delivery = input.delivery.as_ref();
        delivery.is_some_and(|it| it.sequence == sequence && it.outcome != Outcome::InFlight)
    }
}

#[tokio::test]
async fn an_address_that_belongs_to_another_miner_is_never_commanded() {
    let ours = Sim::start(DriverKind::WhatsminerV3, 1, "127.0.0.1", 0, &POINTS).await;
    let theirs = Sim::start(DriverKind::WhatsminerV3, 2, "127.0.0.1", 0, &POINTS).await;
    let mac = mac(&ours).await;
    let known = format!("mac = \"{mac}\"");
    let (right, swapped) =
        (site("2s", &[(address(&ours), known.clone())]), site("2s", &[(address(&theirs), known)]));

    let mut fleet = Fleet::start(&right, Clock::start()).unwrap();
    wait(&fleet, 0, |input| input.contact == Contact::Reachable).await;
    fleet.send(&[shed(0, 1)]);
    assert_eq!(wait(&fleet, 0, ended(1)).await.delivery.unwrap().outcome, Outcome::Accepted);

    // The same miner of the configuration, at an address where another one answers.
    fleet.configure(&swapped, Clock::start());
    fleet.send(&[shed(0, 2)]);
    let refused = Outcome::Rejected(Rejection::AnotherMiner);
    assert_eq!(wait(&fleet, 0, ended(2)).await.delivery.unwrap().outcome, refused);
    let report = wait(&fleet, 0, |input| input.status.is_some()).await;
    assert!(matches!(report.contact, Contact::Unreachable { .. }), "{report:?}");
    assert!(matches!(report.status.unwrap().value.activity, Activity::Fault(_)));
    fleet.stop(ExitPolicy::Sleep, 2, &[], &[]).await;
    assert_eq!(theirs.miner.tally().commands, 0, "not even by the exit policy");
    assert_eq!(ours.miner.tally().commands, 1);
}

#[tokio::test]
async fn sheds_reach_their_miners_while_every_poll_of_the_subnet_hangs() {
    let good = Sim::start(DriverKind::WhatsminerV3, 3, "127.0.0.1", 0, &POINTS).await;
    // More than may be polled at once in one subnet. They take connections and never answer: nobody accepts.
    let silent: Vec<TcpListener> =
        (2..200).map(|host| TcpListener::bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap()).collect();
    let mut miners: Vec<(SocketAddr, String)> =
        silent.iter().map(|listener| (listener.local_addr().unwrap(), String::new())).collect();
    miners.push((address(&good), String::new()));
    let last = miners.len() - 1;
    let fleet = Fleet::start(&site("2s", &miners), Clock::start()).unwrap();
    // All places are taken by now, and none is given back before two seconds have gone by.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let clock = Clock::start();
    fleet.send(&[shed(last, 1)]);
    assert_eq!(wait(&fleet, last, ended(1)).await.delivery.unwrap().outcome, Outcome::Accepted);
    assert!(clock.now().since_start() < Duration::from_millis(700), "{:?}", clock.now());
    fleet.stop(ExitPolicy::Hold, 1, &[], &[]).await;
}

#[tokio::test]
async fn miners_that_hang_do_not_keep_the_others_from_being_read() {
    let good = Sim::start(DriverKind::WhatsminerV3, 4, "127.0.0.1", 0, &POINTS).await;
    let silent: Vec<TcpListener> =
        (2..200).map(|host| TcpListener::bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap()).collect();
    let mut miners: Vec<(SocketAddr, String)> =
        silent.iter().map(|listener| (listener.local_addr().unwrap(), String::new())).collect();
    miners.push((address(&good), String::new()));
    let last = miners.len() - 1;
    let fleet = Fleet::start(&site("250 ms", &miners), Clock::start()).unwrap();
    // Each of them has run into its time limit once.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut stamps = std::collections::BTreeSet::new();
    for _ in 0..40 {
        stamps.extend(fleet.inputs()[last].status.as_ref().map(|status| status.at));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(stamps.len() >= 3, "read {} times in two seconds", stamps.len());
    fleet.stop(ExitPolicy::Hold, 0, &[], &[]).await;
}
