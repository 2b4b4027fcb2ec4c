//! Every simulated vendor is asked who it is over a real socket, and told from another miner at the same address.

use crate::drivers_sim;
use crate::drivers_support;

use std::sync::Arc;
use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::Rejection;
use ballast::discover::identified::Identified;
use ballast::discover::neighbours::Neighbours;
use ballast::discover::who::Witness;
use ballast::discover::{Identity, Sameness, same_miner};
use ballast::miner::{Connection, Driver, DriverError, DriverKind, http_client};
use ballast::secret::Secret;
use drivers_sim::Sim;
use drivers_support::{MISBEHAVIOURS, connection, misbehaving};

const POINTS: [(f64, f64); 3] = [(1_500.0, 60.0), (2_500.0, 100.0), (3_300.0, 120.0)];

fn witness(connection: &Connection) -> Witness {
    let neighbours = Arc::new(Neighbours::new(Clock::start()));
    Witness::new(connection, &http_client().unwrap(), &neighbours).unwrap()
}

async fn who(kind: DriverKind, seed: u64) -> Identity {
    let points = if kind == DriverKind::AxeOs { [(8.0, 0.6), (12.0, 0.9), (18.0, 1.2)] } else { POINTS };
    let sim = Sim::start(kind, seed, "127.0.0.1", 0, &points).await;
    let told = witness(&sim.connection).ask().await.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    told.unwrap_or_else(|| panic!("{kind:?} does not tell who it is"))
}

/// What is never asked who it is: it does not tell, or its driver alone may ask.
fn tells_nobody(kind: DriverKind) -> bool {
    matches!(
        kind,
        DriverKind::CgminerReadOnly | DriverKind::Redfish | DriverKind::Zeusd | DriverKind::Generic
    )
}

#[tokio::test]
async fn every_vendor_is_told_from_another_miner_of_the_same_kind() {
    for kind in DriverKind::ALL {
        if tells_nobody(kind) {
            continue;
        }
        let (one, again, other) = (who(kind, 7).await, who(kind, 7).await, who(kind, 8).await);
        assert_eq!(same_miner(&one, &again), Sameness::Same, "{kind:?}");
        assert!(matches!(same_miner(&one, &other), Sameness::Different(_)), "{kind:?}: {one:?} {other:?}");
    }
}

#[tokio::test]
async fn asking_leaves_the_miner_and_its_driver_as_they_are() {
    let sim = Sim::start(DriverKind::WhatsminerV3, 3, "127.0.0.1", 0, &POINTS).await;
    let mut driver = Identified::new(sim.driver(), witness(&sim.connection));
    driver.read().await.unwrap();
    let one = driver.identify().await.unwrap().unwrap();
    driver.read().await.unwrap();
    assert_eq!(driver.identify().await.unwrap(), Some(one));
    assert_eq!(sim.miner.tally(), ballast::sim::miner::Tally::default());
    driver.close().await;
}

#[tokio::test]
async fn a_refused_account_is_told_as_such_and_not_as_another_miner() {
    for kind in [DriverKind::BraiinsOs, DriverKind::BitmainStock, DriverKind::Mara, DriverKind::Auradine] {
        let mut sim = Sim::start(kind, 5, "127.0.0.1", 0, &POINTS).await;
        if let Some(account) = &mut sim.connection.credentials {
            account.password = Secret::new("another one".to_owned());
        }
        let told = witness(&sim.connection).ask().await;
        let refused = matches!(&told, Err(DriverError::Rejected { reason: Rejection::Credentials, .. }));
        assert!(refused, "{kind:?}: {told:?}");
        sim.connection.credentials = None;
        let told = witness(&sim.connection).ask().await;
        assert!(matches!(told, Ok(None)), "{kind:?}: {told:?}");
    }
}

#[tokio::test]
async fn hostile_hosts_and_closed_ports_are_an_error_or_nobody_within_a_bound() {
    let mut asking = tokio::task::JoinSet::new();
    for how in MISBEHAVIOURS {
        let address = misbehaving(how).await;
        for kind in DriverKind::ALL {
            let mut connection = connection(kind, address);
            connection.timeout = Duration::from_millis(150);
            if tells_nobody(kind) {
                continue;
            }
            let witness = witness(&connection);
            asking.spawn(async move {
                let told = tokio::time::timeout(Duration::from_secs(4), witness.ask()).await;
                assert!(!matches!(told.unwrap(), Ok(Some(_))), "{how:?} {kind:?}");
            });
        }
    }
    asking.join_all().await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let told = witness(&connection(DriverKind::Luxos, closed)).ask().await;
    assert!(matches!(told, Err(DriverError::Unreachable { .. })), "{told:?}");
}

#[tokio::test]
async fn no_password_is_in_what_a_failed_question_says() {
    for how in MISBEHAVIOURS {
        let mut connection = connection(DriverKind::BraiinsOs, misbehaving(how).await);
        connection.timeout = Duration::from_millis(60);
        let said = format!("{:?}", witness(&connection).ask().await);
        assert!(!said.contains(drivers_support::PASSWORD), "{said}");
    }
}
