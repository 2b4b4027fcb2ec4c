//! Whether this start follows a power outage: another boot of the machine, after a long silence.

use std::time::Duration;

use crate::clock::{self, Clock};
use crate::control::signal::Wall;

/// Where Linux tells which boot this is (`Documentation/admin-guide/sysctl/kernel.rst`, `random/boot_id`). A service
/// with `ProcSubset=pid` does not see it.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Made anew in memory by each boot (file-hierarchy(7)): when that was names the boot, too, where the kernel keeps it.
const RUN: &str = "/run";
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
    /// The steady scale of [`crate::control::signal::Now`]; `None` where nobody keeps it.
    pub steady: Option<Wall>,
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
            .filter(|id| !id.is_empty() && id.len() <= LONGEST_ID)
            .or_else(|| made(RUN));
        let started = std::fs::read_to_string(OWN_STAT).ok().and_then(|text| start_time(&text));
        Self { id, started, clock }
    }

    /// A sign of life, now. The steady scale is for whoever keeps it to add.
    pub fn alive(&self) -> Alive {
        let uptime = self.started.map(|started| started.saturating_add(self.clock.now().since_start()));
        Alive { boot: self.id.clone(), uptime, wall: Wall::unix_millis(clock::unix_millis()), steady: None }
    }
}

/// When a folder was made, to the nanosecond, whatever clock that was by.
fn made(path: &str) -> Option<String> {
    let made = std::fs::metadata(path).ok()?.created().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    // Some file systems have the same whole second for every folder.
    (made.subsec_nanos() > 0).then(|| format!("{path} {}", made.as_nanos()))
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

    /// How long ago the sign of life `before` was, by what nobody can set: the time since the boot. And by how much more the
    /// wall clock says, where the machine may have been off meanwhile: that may be so, and a clock may be wrong.
    pub fn since(&self, before: &Self) -> (Duration, Option<Duration>) {
        let same = match (&self.boot, &before.boot) {
            (Some(now), Some(then)) => Some(now == then),
            _ => None,
        };
        let up = self.uptime.unwrap_or_default();
        let passed = match before.uptime {
            // Also where the boots have no names: it is no longer than this.
            Some(then) if same != Some(false) && up >= then => up - then,
            _ if same == Some(true) => Duration::ZERO,
            _ => up,
        };
        let certain = same == Some(true) && self.uptime.is_some() && before.uptime.is_some();
        let more = self.wall.since(before.wall).saturating_sub(passed);
        (passed, Some(more).filter(|more| !certain && !more.is_zero()))
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
            steady: None,
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
    fn how_long_a_restart_took_does_not_follow_the_wall_clock() {
        let seconds = Duration::from_secs;
        let before = alive(Some("a"), Some(5_000), 100_000);
        for wall in [0, 98_800, 100_003, 90_000_000] {
            assert_eq!(alive(Some("a"), Some(5_003), wall).since(&before), (seconds(3), None), "{wall}");
        }
        let later = alive(Some("b"), Some(30), 100_500);
        assert_eq!(
            later.since(&before),
            (seconds(30), Some(seconds(470))),
            "it was off, says the wall clock"
        );
        assert_eq!(
            alive(Some("b"), Some(30), 0).since(&before),
            (seconds(30), None),
            "a clock that was never set"
        );
        let before = alive(None, Some(5_000), 100_000);
        assert_eq!(alive(None, Some(5_003), 100_003).since(&before), (seconds(3), None));
        assert_eq!(alive(None, Some(5_003), 900_000).since(&before).0, seconds(3));
    }

    #[test]
    fn a_boot_is_named_by_what_it_made() {
        assert_eq!(made("/run"), made("/run"));
        assert_eq!(made("/nowhere"), None);
    }

    #[test]
    fn the_start_of_a_process_is_read_behind_a_name_with_anything_in_it() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194560 1 0 0 0 1 0 0 0 20 0 1 0 123456 1 1";
        assert_eq!(start_time(stat), Some(Duration::from_millis(1_234_560)));
        assert_eq!(start_time("17 (x) S 1"), None);
        assert_eq!(start_time(""), None);
    }
}
