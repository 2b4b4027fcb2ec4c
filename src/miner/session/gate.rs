//! How many miners are spoken with at once: in total, for each driver and for each subnet.
//!
//! Polls wait for a place; commands never wait for a poll. What commands are bounded by is the number of files that the
//! process may open, which is far more; a half of those places is for sheds alone, so that a shed does not wait behind
//! commands that have time.
//!
//! Miners whose latest exchange failed wait in a queue of their own, with a quarter of the places: where a switch is
//! dead and each poll runs into its time limit, the other miners are read as before.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::miner::{DriverKind, Endpoint, Urgency};

/// How many exchanges are under way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Polls over the whole site.
    pub polls: usize,
    /// Polls with one driver.
    pub driver: usize,
    /// Polls in one subnet: a /24 of IPv4, a /64 of IPv6; all miners that are named and not numbered count as one.
    pub subnet: usize,
    /// Commands over the whole site.
    pub commands: usize,
}

impl Bounds {
    /// Polls over the whole site, where there are files enough.
    const POLLS: usize = 1_024;
    /// Files that are not the miners': meters, pages, database, log.
    const OTHERS: usize = 256;

    /// The bounds of a process that may have this many files open.
    pub fn of_files(files: usize) -> Self {
        let free = files.saturating_sub(Self::OTHERS.min(files / 2)).max(4);
        let polls = (free / 4).min(Self::POLLS);
        Self { polls, driver: (polls * 3 / 4).max(1), subnet: 64.min(polls), commands: free - polls }
    }
}

/// A number of places, a part of them for miners that are failing.
#[derive(Debug)]
struct Pool {
    sound: Semaphore,
    failing: Semaphore,
}

impl Pool {
    fn new(places: usize) -> Arc<Self> {
        let failing = places.div_ceil(4);
        Arc::new(Self { sound: places_for(places - failing), failing: places_for(failing) })
    }

    const fn of(&self, failing: bool) -> &Semaphore {
        if failing { &self.failing } else { &self.sound }
    }
}

fn places_for(count: usize) -> Semaphore {
    Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS))
}

/// The miners that share a stretch of network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subnet {
    V4([u8; 3]),
    V6([u16; 4]),
    Named,
}

impl Subnet {
    fn of(host: &str) -> Self {
        match host.parse() {
            Ok(IpAddr::V4(address)) => {
                let [a, b, c, _] = address.octets();
                Self::V4([a, b, c])
            }
            Ok(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
            Err(_) => Self::Named,
        }
    }
}

/// Places for commands: every one takes one of `all`, and one that has time takes one of `gentle` before.
#[derive(Debug)]
struct Commands {
    all: Semaphore,
    gentle: Semaphore,
}

/// Bounds how many exchanges are under way at once, over all sessions.
#[derive(Debug)]
pub struct Gate {
    bounds: Bounds,
    total: Arc<Pool>,
    commands: Arc<Commands>,
    drivers: Mutex<BTreeMap<DriverKind, Arc<Pool>>>,
    /// Those that still have miners.
    subnets: Mutex<BTreeMap<Subnet, Weak<Pool>>>,
}

impl Gate {
    /// Lets this many polls through at once, at least one, wherever the miners are; commands are not bounded.
    pub fn new(polls: usize) -> Self {
        Self::bounded(Bounds { polls, driver: polls, subnet: polls, commands: Semaphore::MAX_PERMITS })
    }

    /// With bounds for all; each is at least one.
    pub fn bounded(bounds: Bounds) -> Self {
        Self {
            bounds,
            total: Pool::new(bounds.polls),
            commands: Arc::new(Commands {
                all: places_for(bounds.commands),
                gentle: places_for(bounds.commands / 2),
            }),
            drivers: Mutex::default(),
            subnets: Mutex::default(),
        }
    }

    /// The bounds.
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Where the miner of a session waits.
    pub fn lane(&self, kind: DriverKind, endpoint: &Endpoint) -> Lane {
        let mut drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        let driver = drivers.entry(kind).or_insert_with(|| Pool::new(self.bounds.driver)).clone();
        drop(drivers);
        let key = Subnet::of(&endpoint.host);
        let mut subnets = self.subnets.lock().unwrap_or_else(PoisonError::into_inner);
        let subnet = subnets.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            subnets.retain(|_, pool| pool.strong_count() > 0);
            let pool = Pool::new(self.bounds.subnet);
            subnets.insert(key, Arc::downgrade(&pool));
            pool
        });
        drop(subnets);
        // The narrowest first: who waits in a crowded subnet holds no place that others could use.
        Lane { pools: [subnet, driver, Arc::clone(&self.total)], commands: Arc::clone(&self.commands) }
    }
}

/// Where one miner waits for its turn.
#[derive(Clone, Debug)]
pub struct Lane {
    pools: [Arc<Pool>; 3],
    commands: Arc<Commands>,
}

/// A place that was taken; dropping it gives it back.
#[derive(Debug)]
pub struct Turn<'l> {
    _places: [Option<SemaphorePermit<'l>>; 3],
}

impl Lane {
    /// Waits for the place of a poll. `failing`: the latest exchange with this miner failed.
    pub async fn poll(&self, failing: bool) -> Turn<'_> {
        let [subnet, driver, total] = &self.pools;
        // A semaphore that is never closed never fails.
        let subnet = subnet.of(failing).acquire().await.ok();
        let driver = driver.of(failing).acquire().await.ok();
        let total = total.of(failing).acquire().await.ok();
        Turn { _places: [subnet, driver, total] }
    }

    /// Waits for the place of a command.
    pub async fn command(&self, urgency: Urgency) -> Turn<'_> {
        let gentle = match urgency {
            Urgency::Shed => None,
            Urgency::Normal => self.commands.gentle.acquire().await.ok(),
        };
        let any = self.commands.all.acquire().await.ok();
        Turn { _places: [gentle, any, None] }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn at(host: &str) -> Endpoint {
        Endpoint { host: host.to_owned(), port: 4028 }
    }

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }

    const BOUNDS: Bounds = Bounds { polls: 16, driver: 8, subnet: 4, commands: 4 };

    /// How many polls these lanes get through, one after the other.
    fn passed<'l>(lanes: impl IntoIterator<Item = &'l Lane>, failing: bool) -> Vec<Turn<'l>> {
        lanes.into_iter().filter_map(|lane| now(lane.poll(failing))).collect()
    }

    #[test]
    fn a_subnet_a_driver_and_the_site_are_each_bounded() {
        let gate = Gate::bounded(BOUNDS);
        let lane = |kind, host: String| gate.lane(kind, &at(&host));
        let near: Vec<Lane> = (1..20).map(|host| lane(DriverKind::Luxos, format!("10.0.1.{host}"))).collect();
        let far: Vec<Lane> = (1..20).map(|net| lane(DriverKind::Luxos, format!("10.0.{net}.1"))).collect();
        let other: Vec<Lane> = (1..20).map(|net| lane(DriverKind::Epic, format!("10.1.{net}.1"))).collect();
        let third: Vec<Lane> = (1..20).map(|net| lane(DriverKind::AxeOs, format!("10.2.{net}.1"))).collect();
        assert_eq!(passed(&near, false).len(), 3, "three of the four places of the subnet");
        let first = passed(&far, false);
        assert_eq!(first.len(), 6, "of the driver");
        let second = passed(&other, false);
        assert_eq!(second.len(), 6);
        assert_eq!(passed(&third, false).len(), 0, "of the site");
        drop(first);
        assert_eq!(passed(&third, false).len(), 6);
    }

    #[test]
    fn failing_miners_do_not_hold_up_the_others() {
        let gate = Gate::bounded(BOUNDS);
        let lanes: Vec<Lane> =
            (1..20).map(|host| gate.lane(DriverKind::Luxos, &at(&format!("10.0.1.{host}")))).collect();
        let failing = passed(&lanes, true);
        assert_eq!(failing.len(), 1);
        assert_eq!(passed(&lanes, false).len(), 3);
    }

    #[test]
    fn commands_wait_for_no_poll_and_sheds_for_no_other_command() {
        let gate = Gate::bounded(BOUNDS);
        let lanes: Vec<Lane> =
            (1..20).map(|host| gate.lane(DriverKind::Luxos, &at(&format!("10.0.1.{host}")))).collect();
        let polls = passed(&lanes, false);
        let all = |urgency| lanes.iter().filter_map(move |lane| now(lane.command(urgency)));
        let gentle: Vec<_> = all(Urgency::Normal).collect();
        assert_eq!(gentle.len(), 2);
        let sheds: Vec<_> = all(Urgency::Shed).collect();
        assert_eq!(sheds.len(), 2, "the places that are kept for them");
        drop((polls, gentle));
        let more: Vec<_> = all(Urgency::Shed).collect();
        assert_eq!(more.len(), 2, "what the others gave back");
    }

    #[test]
    fn a_waiting_poll_that_is_dropped_gives_its_places_back() {
        let gate = Gate::bounded(Bounds { polls: 1, driver: 1, subnet: 4, commands: 1 });
        let lane = gate.lane(DriverKind::Luxos, &at("10.0.1.1"));
        let held = now(lane.poll(false));
        for _ in 0..20 {
            assert!(now(lane.poll(false)).is_none());
        }
        drop(held);
        assert!(now(lane.poll(false)).is_some());
    }

    #[test]
    fn subnets_are_those_of_the_address_family_and_forgotten_without_miners() {
        assert_eq!(Subnet::of("10.0.1.7"), Subnet::of("10.0.1.200"));
        assert_ne!(Subnet::of("10.0.1.7"), Subnet::of("10.0.2.7"));
        assert_eq!(Subnet::of("fd00::1"), Subnet::of("fd00::2"));
        assert_eq!(Subnet::of("miner-1.lan"), Subnet::of("miner-2.lan"));
        let gate = Gate::new(10);
        for net in 0..200 {
            let _ = gate.lane(DriverKind::Luxos, &at(&format!("10.0.{net}.1")));
        }
        assert!(gate.subnets.lock().unwrap().len() <= 1);
    }

    #[test]
    fn bounds_fit_into_the_files_that_there_are() {
        let unit = Bounds::of_files(65_536);
        assert_eq!(unit, Bounds { polls: 1_024, driver: 768, subnet: 64, commands: 64_256 });
        for files in [0, 8, 64, 1_024, 4_096, 1 << 20] {
            let bounds = Bounds::of_files(files);
            assert!(bounds.polls >= 1 && bounds.driver >= 1 && bounds.subnet >= 1 && bounds.commands >= 1);
            assert!(bounds.polls + bounds.commands <= files.max(8), "{files}: {bounds:?}");
        }
    }
}
