//! Whether this start follows a power outage: another boot of the machine, after a long silence.

use std::time::Duration;

use crate::clock::{self, Clock};
use crate::control::signal::Wall;

/// Where Linux tells which boot this is (`Documentation/admin-guide/sysctl/kernel.rst`, `random/boot_id`). A service
/// with `ProcSubset=pid` does not see it.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Field 22 of this file (`starttime`, proc_pid_stat(5)) is when the process started, counted from the boot.
const OWN_STAT: &str = "/proc/self/stat";
/// `starttime` is in hundredths of a second: `USER_HZ` is 100 on every architecture that Linux and Rust share.
const TICKS: u64 = 100;
/// Two boots are told apart without their names when the clocks disagree by more than this.
const SAME_BOOT: Duration = Duration::from_secs(120);
/// Longest name of a boot; it is a UUID.
const LONGEST_ID: usize = 64;

/// A sign of life: which boot, how long after it, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alive {
    /// The name of the boot, where the system tells it.
    pub boot: Option<String>,
    /// Time since the boot, where the system tells it.
    pub uptime: Option<Duration>,
    /// The wall clock.
    pub wall: Wall,
}

/// Tells signs of life of this process.
#[derive(Clone, Debug)]
pub struct Boot {
    id: Option<String>,
    /// From the boot to the start of this process.
    started: Option<Duration>,
    clock: Clock,
}

impl Boot {
    /// Asks the system. `clock` was started with the process.
    pub fn of_this_machine(clock: Clock) -> Self {
        let id = std::fs::read_to_string(BOOT_ID)
            .ok()
            .map(|text| text.trim().to_owned())
            .filter(|id| !id.is_empty() && id.len() <= LONGEST_ID);
        let started = std::fs::read_to_string(OWN_STAT).ok().and_then(|text| start_time(&text));
        Self { id, started, clock }
    }

    /// A sign of life, now.
    pub fn alive(&self) -> Alive {
        let uptime = self.started.map(|started| started.saturating_add(self.clock.now().since_start()));
        Alive { boot: self.id.clone(), uptime, wall: Wall::unix_millis(clock::unix_millis()) }
    }
}

fn start_time(stat: &str) -> Option<Duration> {
    // The name of the program stands in brackets and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    // What follows begins with field 3.
    let ticks: u64 = fields.split_whitespace().nth(22 - 3)?.parse().ok()?;
    Some(Duration::from_millis(ticks.checked_mul(1_000 / TICKS)?))
}

impl Alive {
    /// Whether a start that shows `self` follows a power outage, when the latest sign of life before was `before`.
    ///
    /// What cannot be told counts as none: then orders are resumed beside the fail-safe, which is the tighter way.
    pub fn follows_outage(&self, before: &Self, outage_after: Duration) -> bool {
        let gap = self.wall.since(before.wall);
        !self.same_boot(before) && gap > outage_after
    }

    fn same_boot(&self, before: &Self) -> bool {
        match ((&self.boot, &before.boot), (self.uptime, before.uptime)) {
            ((Some(now), Some(then)), _) => now == then,
            // In one boot both clocks have gone on by as much.
            (_, (Some(now), Some(then))) => {
                now >= then && (now - then).abs_diff(self.wall.since(before.wall)) <= SAME_BOOT
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTAGE: Duration = Duration::from_secs(600);

    fn alive(boot: Option<&str>, uptime: Option<u64>, wall: i64) -> Alive {
        Alive {
            boot: boot.map(Into::into),
            uptime: uptime.map(Duration::from_secs),
            wall: Wall::unix_millis(wall * 1_000),
        }
    }

    #[test]
    fn an_outage_is_another_boot_after_a_long_gap() {
        let before = alive(Some("a"), Some(5_000), 100_000);
        assert!(alive(Some("b"), Some(30), 101_000).follows_outage(&before, OUTAGE));
        assert!(!alive(Some("b"), Some(30), 100_500).follows_outage(&before, OUTAGE), "a reboot, short");
        assert!(!alive(Some("a"), Some(9_000), 104_000).follows_outage(&before, OUTAGE), "a restart");
    }

    #[test]
    fn without_the_name_of_the_boot_the_time_since_it_tells() {
        let before = alive(None, Some(5_000), 100_000);
        assert!(alive(None, Some(30), 101_000).follows_outage(&before, OUTAGE));
        assert!(
            alive(None, Some(5_500), 900_000).follows_outage(&before, OUTAGE),
            "up for longer, and another boot"
        );
        assert!(!alive(None, Some(9_000), 104_000).follows_outage(&before, OUTAGE), "one boot");
    }

    #[test]
    fn what_cannot_be_told_is_no_outage() {
        let before = alive(None, None, 100_000);
        assert!(!alive(Some("b"), Some(30), 900_000).follows_outage(&before, OUTAGE));
        let before = alive(Some("a"), Some(10), 900_000);
        assert!(
            !alive(Some("b"), Some(30), 100).follows_outage(&before, OUTAGE),
            "a clock that was never set"
        );
    }

    #[test]
    fn the_start_of_a_process_is_read_behind_a_name_with_anything_in_it() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194560 1 0 0 0 1 0 0 0 20 0 1 0 123456 1 1";
        assert_eq!(start_time(stat), Some(Duration::from_millis(1_234_560)));
        assert_eq!(start_time("17 (x) S 1"), None);
        assert_eq!(start_time(""), None);
    }
}
