//! The hardware addresses that this machine's network stack knows: for firmware that tells its own only after a login.
//!
//! The kernel lists hosts on its own segments alone (`/proc/net/arp`, proc(5)), so a host behind a router is not in it.
//! A router that answers for others (proxy ARP) shows as one hardware address for many hosts: such entries are dropped.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Moment};
use crate::miner::identity::Mac;

/// The table of IPv4 neighbours on Linux.
const TABLE: &str = "/proc/net/arp";
/// Largest table that is read.
const MOST_BYTES: u64 = 8 * 1024 * 1024;
/// How long a table that was read is good enough.
const FRESH: Duration = Duration::from_millis(500);

/// Reads the kernel's table: one line per host, with its address first and its hardware address fourth.
pub fn parse(table: &str) -> BTreeMap<IpAddr, Mac> {
    let mut hosts: BTreeMap<IpAddr, Mac> = BTreeMap::new();
    let mut owners: BTreeMap<Mac, usize> = BTreeMap::new();
    for line in table.lines().skip(1) {
        let mut columns = line.split_whitespace();
        let (Some(ip), Some(_), Some(flags), Some(mac)) =
            (columns.next(), columns.next(), columns.next(), columns.next())
        else {
            continue;
        };
        // Flag 2: the entry is complete.
        let complete =
            u32::from_str_radix(flags.trim_start_matches("0x"), 16).is_ok_and(|flags| flags & 2 == 2);
        if let (true, Ok(ip), Ok(mac)) = (complete, ip.parse(), mac.parse()) {
            hosts.insert(ip, mac);
            *owners.entry(mac).or_default() += 1;
        }
    }
    hosts.retain(|_, mac| owners.get(mac) == Some(&1));
    hosts
}

/// Reads the table now and then.
pub struct Neighbours {
    clock: Clock,
    read: Mutex<Option<(Moment, BTreeMap<IpAddr, Mac>)>>,
}

impl Neighbours {
    /// Nothing is read yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, read: Mutex::new(None) }
    }

    /// The hardware address of a host that was spoken with a moment ago. `None` where the system does not tell.
    pub fn of(&self, ip: IpAddr) -> Option<Mac> {
        if ip.is_loopback() {
            return None;
        }
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        if let Some((at, table)) = &*read
            && (now.since(*at) < FRESH || table.contains_key(&ip))
        {
            return table.get(&ip).copied();
        }
        let mut text = String::new();
        let file = std::fs::File::open(TABLE).ok()?;
        file.take(MOST_BYTES).read_to_string(&mut text).ok()?;
        let table = parse(&text);
        let found = table.get(&ip).copied();
        *read = Some((now, table));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_entries_count_and_a_router_that_answers_for_others_does_not() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     10.20.0.7        0x1         0x2         02:ee:da:00:00:07     *        eth0\n\
                     10.20.0.8        0x1         0x0         00:00:00:00:00:00     *        eth0\n\
                     10.20.1.1        0x1         0x2         02:ee:da:00:00:99     *        eth0\n\
                     10.20.1.2        0x1         0x2         02:ee:da:00:00:99     *        eth0\n\
                     nonsense\n";
        let hosts = parse(table);
        assert_eq!(hosts.len(), 1);
        let ip: IpAddr = "10.20.0.7".parse().unwrap();
        assert_eq!(hosts.get(&ip).unwrap().to_string(), "02:EE:DA:00:00:07");
    }
}
