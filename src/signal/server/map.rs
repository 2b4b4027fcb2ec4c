//! The registers of the server, and what a write to them means. Pure: the desk, the sockets and the clock are elsewhere.
//!
//! Addresses count from zero, as they stand on the wire; powers are in the unit of the configuration (`scale`, 1 W
//! unless it says otherwise); numbers of 32 bits have their high word first. Holding and input registers (functions 3
//! and 4) show the same.
//!
//! | Address | | Written by the terminal |
//! |---|---|---|
//! | 0–1 | limit, u32 | at most this; 0xFFFFFFFF is reserved, and reads back while none was written |
//! | 2 | enable | 1: the limit holds (so from the start); 0: there is no limit |
//! | 3 | heartbeat counter | any number, another one each time |
//! | 4 | emergency | 1: the emergency cap of the configuration holds as well; 0: it does not |
//!
//! | Address | | Read alone |
//! |---|---|---|
//! | 100–101 | applied cap, u32 | the tightest that holds by this source's word or loss; 0xFFFFFFFF: none |
//! | 102–103 | measured power, i32 | what the cap is compared with: the circuit's import (export negative) or its miners' draw; 0x80000000: not known |
//! | 104–105 | available to shed, u32 | what the miners draw above their sleep; 0xFFFFFFFF: not known |
//! | 106 | state | 0 init, 1 controlled, 2 limited, 3 degraded, 4 failsafe, 5 released |
//! | 107 | accepted writes | those that ordered something; wraps |
//! | 108 | refused writes | wraps |
//! | 109–110 | shortfall, u32 | how far the power is above the applied cap; 0xFFFFFFFF: not known |
//! | 111 | signal age | seconds since the latest sign of life; 65535: none yet, or longer |
//! | 112 | unit of the powers | in watts |
//! | 113 | version of this table | 1 |
//!
//! A limit is taken whole. One write over both words is one number. A high word alone is kept for its low word, which
//! must come from the same address within ten seconds. A low word alone is a limit below 65536: **its high word counts
//! as zero**, so that a high word that was lost on the way can only make the limit tighter than it was meant.

use std::net::IpAddr;
use std::time::Duration;

use crate::clock::Moment;
use crate::control::signal::SourceState;
use crate::units::Watts;

/// First and last register that can be written.
const COMMANDS: (u16, u16) = (0, 4);
/// First and last register that can only be read.
const TELEMETRY: (u16, u16) = (100, 113);
/// No limit, or not known.
pub(super) const NONE: u32 = 0xFFFF_FFFF;
/// A signed number that is not known.
const UNKNOWN: i32 = i32::MIN;
/// How long a high word waits for its low word.
const HALF: Duration = Duration::from_secs(10);

/// Why a request is refused, by its code ("MODBUS Application Protocol Specification V1.1b3", 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// There is no such function here.
    Function = 1,
    /// There is no such register, or it cannot be written.
    Address = 2,
    /// The value cannot be meant, or the request is not whole.
    Value = 3,
    /// Later: another client is in the middle of the same number, or there are too many requests.
    Busy = 6,
}

/// What the terminal has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    /// The limit, in units; `None` while none was written.
    pub limit: Option<u32>,
    /// Whether the limit holds.
    pub enable: bool,
    /// The counter; `None` while none was written.
    pub heartbeat: Option<u16>,
    /// Whether the emergency cap holds.
    pub emergency: bool,
    half: Option<Half>,
}

/// A high word that waits for its low word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Half {
    of: IpAddr,
    high: u16,
    at: Moment,
}

/// What a write comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What stands in the registers if the orders are accepted.
    pub next: Commands,
    /// It says what holds, as a whole: limit, enable and emergency of `next`.
    pub orders: bool,
    /// The counter has moved.
    pub alive: bool,
}

impl Commands {
    /// Before anything was written.
    pub const fn new() -> Self {
        Self { limit: None, enable: true, heartbeat: None, emergency: false, half: None }
    }

    /// What a write of these words from an address on means. Nothing has changed yet.
    ///
    /// # Errors
    /// [`Exception`]; then nothing of it counts.
    pub fn plan(&self, peer: IpAddr, now: Moment, start: u16, words: &[u16]) -> Result<Plan, Exception> {
        let count = u16::try_from(words.len()).map_err(|_| Exception::Value)?;
        let last = count.checked_sub(1).ok_or(Exception::Value)?;
        if start.checked_add(last).is_none_or(|last| last > COMMANDS.1) {
            return Err(Exception::Address);
        }
        let word = |address: u16| words.get(usize::from(address.checked_sub(start)?)).copied();
        let mut next = self.clone();
        let half = self.half.filter(|half| now.since(half.at) <= HALF);
        let limit = match (word(0), word(1)) {
            (None, None) => None,
            (Some(high), Some(low)) => {
                next.half = None;
                Some(join(high, low))
            }
            _ if half.is_some_and(|half| half.of != peer) => return Err(Exception::Busy),
            (Some(high), None) => {
                next.half = Some(Half { of: peer, high, at: now });
                None
            }
            (None, Some(low)) => {
                next.half = None;
                Some(join(half.map_or(0, |half| half.high), low))
            }
        };
        if limit == Some(NONE) {
            return Err(Exception::Value);
        }
        next.limit = limit.or(self.limit);
        if let Some(enable) = word(2) {
            next.enable = flag(enable)?;
        }
        next.heartbeat = word(3).or(self.heartbeat);
        if let Some(emergency) = word(4) {
            next.emergency = flag(emergency)?;
        }
        let told = limit.is_some() || word(2).is_some() || word(4).is_some();
        let same = (next.limit, next.enable, next.emergency) == (self.limit, self.enable, self.emergency);
        let stuck = word(3).is_some() && word(3) == self.heartbeat;
        Ok(Plan {
            // A block that is written over and over with a counter that stands still is the last word of a program
            // that hangs, and no sign of life.
            orders: told && !(stuck && same),
            alive: word(3).is_some() && !stuck,
            next,
        })
    }
}

impl Default for Commands {
    fn default() -> Self {
        Self::new()
    }
}

fn join(high: u16, low: u16) -> u32 {
    (u32::from(high) << 16) | u32::from(low)
}

fn flag(word: u16) -> Result<bool, Exception> {
    match word {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Exception::Value),
    }
}

/// What can be read besides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Telemetry {
    /// The tightest cap that holds.
    pub cap: Option<Watts>,
    /// What it is compared with.
    pub power: Option<Watts>,
    /// What can be shed.
    pub to_shed: Option<Watts>,
    /// The state of the source.
    pub state: SourceState,
    /// Writes that ordered something.
    pub accepted: u16,
    /// Writes that were refused.
    pub refused: u16,
    /// Time since the latest sign of life.
    pub age: Option<Duration>,
    /// One unit of power in the registers. Above zero.
    pub unit: Watts,
}

/// The words of a read.
///
/// # Errors
/// [`Exception::Address`] where there is a register that does not exist, [`Exception::Value`] for a count that is not
/// from 1 to 125.
pub fn read(commands: &Commands, telemetry: &Telemetry, start: u16, count: u16) -> Result<Vec<u16>, Exception> {
    if !(1..=125).contains(&count) {
        return Err(Exception::Value);
    }
    let last = start.checked_add(count - 1).ok_or(Exception::Address)?;
    let within = |(first, end): (u16, u16)| start >= first && last <= end;
    let (first, words) = if within(COMMANDS) {
        let [high, low] = split(commands.limit.unwrap_or(NONE));
        let flags = [commands.enable, commands.emergency].map(u16::from);
        (COMMANDS.0, vec![high, low, flags[0], commands.heartbeat.unwrap_or(0), flags[1]])
    } else if within(TELEMETRY) {
        (TELEMETRY.0, telemetry.words())
    } else {
        return Err(Exception::Address);
    };
    let from = usize::from(start - first);
    let words = words.get(from..from + usize::from(count)).ok_or(Exception::Address)?;
    Ok(words.to_vec())
}

impl Telemetry {
    fn words(&self) -> Vec<u16> {
        let unit = self.unit.get();
        let units = |watts: Option<Watts>| watts.map_or(NONE, |watts| whole(watts.get() / unit));
        let shortfall = self.cap.zip(self.power).map(|(cap, power)| (power - cap).at_least_zero());
        let power = self.power.map_or(UNKNOWN, |power| signed((power.get() / unit).round()));
        let age = self.age.map_or(u16::MAX, |age| u16::try_from(age.as_secs()).unwrap_or(u16::MAX));
        let state = SourceState::ALL.iter().position(|state| *state == self.state).unwrap_or(0);
        let mut words = Vec::with_capacity(14);
        words.extend(split(units(self.cap)));
        words.extend(split(u32::from_be_bytes(power.to_be_bytes())));
        words.extend(split(units(self.to_shed)));
        words.extend([u16::try_from(state).unwrap_or(0), self.accepted, self.refused]);
        words.extend(split(if self.cap.is_none() { 0 } else { units(shortfall) }));
        words.extend([age, u16::try_from(whole(unit)).unwrap_or(u16::MAX), 1]);
        words
    }
}

fn split(number: u32) -> [u16; 2] {
    let [a, b, c, d] = number.to_be_bytes();
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

/// Whole units, never more than there are.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to a range that both types hold exactly"
)]
fn whole(units: f64) -> u32 {
    units.clamp(0.0, f64::from(NONE - 1)) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to a range that both types hold exactly")]
fn signed(units: f64) -> i32 {
    units.clamp(f64::from(UNKNOWN + 1), f64::from(i32::MAX)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));
    const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

    fn at(second: u64) -> Moment {
        Moment::millis(second * 1000)
    }

    fn plan(commands: &Commands, start: u16, words: &[u16]) -> Result<Plan, Exception> {
        commands.plan(ONE, at(0), start, words)
    }

    #[test]
    fn one_write_over_both_words_is_one_limit() {
        let plan = plan(&Commands::new(), 0, &[0x0004, 0x93E0]).unwrap();
        assert_eq!((plan.next.limit, plan.orders, plan.alive), (Some(300_000), true, false));
    }

    #[test]
    fn a_high_word_waits_for_its_low_word() {
        let half = plan(&Commands::new(), 0, &[0x0004]).unwrap();
        assert_eq!((half.next.limit, half.orders), (None, false), "half a number orders nothing");
        let whole = plan(&half.next, 1, &[0x93E0]).unwrap();
        assert_eq!((whole.next.limit, whole.orders), (Some(300_000), true));
        // Another client must not finish the number, nor begin its own in the middle.
        assert_eq!(half.next.plan(TWO, at(1), 1, &[0x93E0]), Err(Exception::Busy));
        assert_eq!(half.next.plan(TWO, at(1), 0, &[0x0001]), Err(Exception::Busy));
        assert!(half.next.plan(TWO, at(1), 0, &[1, 2]).is_ok(), "a whole one is no half");
        assert_eq!(half.next.plan(TWO, at(11), 1, &[9]).unwrap().next.limit, Some(9), "it does not wait for ever");
    }

    #[test]
    fn a_torn_limit_is_never_looser_than_it_was_meant() {
        let before = plan(&Commands::new(), 0, &[0x0004, 0x93E0]).unwrap().next;
        // 100 kW was meant, 0x000186A0, and its high word was lost.
        let torn = plan(&before, 1, &[0x86A0]).unwrap();
        assert_eq!(torn.next.limit, Some(0x86A0));
        let late = plan(&before, 0, &[0x0001]).unwrap().next.plan(ONE, at(11), 1, &[0x86A0]).unwrap();
        assert_eq!(late.next.limit, Some(0x86A0), "a high word that is too old is none");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_whole() {
        let commands = Commands::new();
        assert_eq!(plan(&commands, 0, &[0xFFFF, 0xFFFF]), Err(Exception::Value));
        assert_eq!(plan(&commands, 2, &[2]), Err(Exception::Value));
        assert_eq!(plan(&commands, 0, &[0, 5, 1, 7, 9]), Err(Exception::Value), "not even the good part");
        assert_eq!(plan(&commands, 4, &[1, 0]), Err(Exception::Address));
        assert_eq!(plan(&commands, 100, &[1]), Err(Exception::Address), "read alone");
        assert_eq!(plan(&commands, u16::MAX, &[1, 1]), Err(Exception::Address));
        assert_eq!(plan(&commands, 0, &[]), Err(Exception::Value));
    }

    #[test]
    fn the_same_again_is_a_sign_of_life_unless_the_counter_stands_still() {
        let first = plan(&Commands::new(), 0, &[0, 500, 1, 7, 0]).unwrap();
        assert_eq!((first.orders, first.alive), (true, true));
        let stuck = plan(&first.next, 0, &[0, 500, 1, 7, 0]).unwrap();
        assert_eq!((stuck.orders, stuck.alive), (false, false), "a program that hangs");
        let moved = plan(&first.next, 0, &[0, 500, 1, 8, 0]).unwrap();
        assert_eq!((moved.orders, moved.alive), (true, true));
        let news = plan(&first.next, 0, &[0, 400, 1, 7, 0]).unwrap();
        assert_eq!((news.orders, news.alive), (true, false), "a new limit counts whatever the counter does");
        let alone = plan(&first.next, 0, &[0, 500]).unwrap();
        assert!(alone.orders, "without the counter in it, to say it again is to be there");
    }

    #[test]
    fn what_is_written_reads_back_and_what_is_not_known_says_so() {
        let telemetry = Telemetry {
            cap: None,
            power: None,
            to_shed: None,
            state: SourceState::Init,
            accepted: 0,
            refused: 0,
            age: None,
            unit: Watts::whole(1),
        };
        assert_eq!(read(&Commands::new(), &telemetry, 0, 5), Ok(vec![0xFFFF, 0xFFFF, 1, 0, 0]));
        let commands = plan(&Commands::new(), 0, &[1, 2, 0, 9, 1]).unwrap().next;
        assert_eq!(read(&commands, &telemetry, 0, 5), Ok(vec![1, 2, 0, 9, 1]));
        assert_eq!(read(&commands, &telemetry, 1, 2), Ok(vec![2, 0]));
        let unknown = vec![0xFFFF, 0xFFFF, 0x8000, 0, 0xFFFF, 0xFFFF, 0, 0, 0, 0, 0, 0xFFFF, 1, 1];
        assert_eq!(read(&commands, &telemetry, 100, 14), Ok(unknown));
        for (start, count) in [(4, 2), (5, 1), (99, 2), (100, 15), (114, 1), (u16::MAX, 2)] {
            assert_eq!(read(&commands, &telemetry, start, count), Err(Exception::Address), "{start} {count}");
        }
        assert_eq!(read(&commands, &telemetry, 0, 0), Err(Exception::Value));
        assert_eq!(read(&commands, &telemetry, 0, 126), Err(Exception::Value));
    }

    #[test]
    fn powers_are_told_in_the_unit_and_never_better_than_they_are() {
        let telemetry = Telemetry {
            cap: Some(Watts::kilowatts(99.9)),
            power: Some(Watts::kilowatts(-120.4)),
            to_shed: Some(Watts::kilowatts(55.99)),
            state: SourceState::Failsafe,
            accepted: 3,
            refused: 4,
            age: Some(Duration::from_secs(130)),
            unit: Watts::whole(1_000),
        };
        let words = read(&Commands::new(), &telemetry, 100, 14).unwrap();
        assert_eq!(words, [0, 99, 0xFFFF, 0xFF88, 0, 55, 4, 3, 4, 0, 0, 130, 1_000, 1]);
        let above = Telemetry { power: Some(Watts::kilowatts(120.0)), ..telemetry };
        assert_eq!(read(&Commands::new(), &above, 109, 2).unwrap(), [0, 20]);
        let silent = Telemetry { power: None, ..telemetry };
        assert_eq!(read(&Commands::new(), &silent, 109, 2).unwrap(), [0xFFFF, 0xFFFF]);
    }
}
