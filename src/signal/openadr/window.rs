//! When each interval of an event holds.
//!
//! After the User Guide of OpenADR 3.1.1, section 7.3: an interval takes its period from itself, else from the event; without
//! a start of its own it follows the one before; the duration of the event cuts the intervals short or repeats them.
//!
//! Where the specification leaves it open, the cap lasts longer rather than shorter:
//! - an interval without any duration lasts until the next one begins, and the last one until it is taken back
//!   (version 3.0.0 has infinity as the default, version 3.1 zero);
//! - a duration of zero *of the event* is taken for none, because that is the default in the schema; `PT0S` takes an
//!   order back where it is the duration of the period.

use std::time::Duration;

use super::event::Event;
use super::time::{Length, Start};
use crate::control::signal::Wall;

/// Most windows that are made of one event.
pub const MOST_WINDOWS: usize = 2_500;
/// How far ahead repetitions are laid out.
const AHEAD: Duration = Duration::from_secs(2 * 86_400);
/// How long a repetition that is over stays known: clocks may differ.
const BEHIND: Duration = Duration::from_secs(25 * 3_600);
/// Most repetitions at a time.
const MOST_REPEATS: u32 = 600;

/// When an interval holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its position in the event.
    pub interval: usize,
    /// How often the intervals were gone through before.
    pub round: u64,
    /// From here on.
    pub from: Wall,
    /// Up to here; `None` until it is taken back.
    pub until: Option<Wall>,
}

/// Lays out the windows of an event, those that last no time left out. `draw` is where in its spread a random start falls,
/// -1 to 1; `now` only bounds how many repetitions there are, and moves none.
pub fn windows(event: &Event, draw: f64, now: Wall) -> Vec<Window> {
    let mut windows = once(event, draw);
    let Some(first) = windows.iter().map(|window| window.from).min() else { return windows };
    let end = windows.iter().map(|window| window.until).try_fold(first, |end, until| Some(end.max(until?)));
    match (event.duration, end) {
        (None, _) | (Some(Length::For(Duration::ZERO)), _) | (Some(Length::Forever), None) => {}
        (Some(Length::For(whole)), None) => cut(&mut windows, first.later(whole)),
        (Some(whole), Some(end)) => {
            let total = end.since(first);
            let last = match whole {
                Length::For(whole) => Some(first.later(whole)),
                Length::Forever => None,
            };
            if last.is_none_or(|last| last > end) && !total.is_zero() {
                windows = repeated(&windows, first, total, last, now);
            }
            if let Some(last) = last {
                cut(&mut windows, last);
            }
        }
    }
    windows.retain(|window| window.until.is_none_or(|until| until > window.from));
    windows.truncate(MOST_WINDOWS);
    windows
}

/// Each interval once, also those that last no time.
fn once(event: &Event, draw: f64) -> Vec<Window> {
    // "Now" is when the top node said it: the same at each poll and after each restart.
    let said = event.changed.unwrap_or(Wall::unix_millis(0));
    let anchor = match event.period.start {
        Some(Start::At(at)) => at,
        Some(Start::Now) | None => said,
    };
    let first = event.intervals.first();
    let spread = first.and_then(|interval| interval.period.randomize).or(event.period.randomize);
    let mut move_by = spread.map_or(Shift::default(), |spread| Shift::of(spread, draw));
    // Where the interval before ends; `None` where it has no end.
    let mut cursor = Some(move_by.of_moment(anchor));
    let mut windows = Vec::with_capacity(event.intervals.len());
    let mut open: Option<usize> = None;
    for (interval, position) in event.intervals.iter().zip(0_usize..) {
        if position > 0
            && let Some(spread) = interval.period.randomize
        {
            move_by = Shift::of(spread, draw);
        }
        let own = match interval.period.start {
            Some(Start::At(at)) => Some(move_by.of_moment(at)),
            Some(Start::Now) | None => None,
        };
        // Nothing follows what has no end of its own.
        let Some(from) = own.or(cursor) else { continue };
        if let Some(window) = open.take().and_then(|at: usize| windows.get_mut(at)) {
            let window: &mut Window = window;
            window.until = Some(window.from.max(from));
        }
        let length = interval.period.length.or(event.period.length);
        // A moment without an offset of its own and no dates at all has no end that could be trusted.
        let dated =
            own.is_some() || matches!(event.period.start, Some(Start::At(_))) || event.changed.is_some();
        let until = match length {
            Some(Length::For(time)) if dated || time.is_zero() => Some(from.later(time)),
            Some(_) => None,
            None => {
                open = Some(windows.len());
                None
            }
        };
        windows.push(Window { interval: position, round: 0, from, until });
        cursor = until;
    }
    windows
}

fn cut(windows: &mut [Window], last: Wall) {
    for window in windows {
        window.until = Some(window.until.map_or(last, |until| until.min(last)));
    }
}

fn repeated(once: &[Window], first: Wall, total: Duration, last: Option<Wall>, now: Wall) -> Vec<Window> {
    let total_ms = total.as_millis().max(1);
    let round_at = |at: Wall| u64::try_from(at.since(first).as_millis() / total_ms).unwrap_or(0);
    // Short rounds must not use up the bound before the present is reached.
    let begin = round_at(now.earlier(BEHIND)).max(round_at(now).saturating_sub(u64::from(MOST_REPEATS / 4)));
    let mut windows = Vec::new();
    for round in (begin..).take(usize::try_from(MOST_REPEATS).unwrap_or(1)) {
        let Some(offset) = u128::from(round).checked_mul(total_ms).and_then(|ms| u64::try_from(ms).ok())
        else {
            break;
        };
        let offset = Duration::from_millis(offset);
        let start = first.later(offset);
        // The first round that is left is always there: it says what is to come.
        if (round > begin && start > now.later(AHEAD))
            || last.is_some_and(|last| start >= last)
            || windows.len() >= MOST_WINDOWS
        {
            break;
        }
        let shifted = once.iter().map(|window| Window {
            interval: window.interval,
            round,
            from: window.from.later(offset),
            until: window.until.map(|until| until.later(offset)),
        });
        windows.extend(shifted.filter(|window| window.until.is_none_or(|until| until.later(BEHIND) > now)));
    }
    windows
}

/// By how much a start is moved at random.
#[derive(Clone, Copy, Default)]
struct Shift {
    by: Duration,
    back: bool,
}

impl Shift {
    fn of(spread: Duration, draw: f64) -> Self {
        let part = if draw.is_finite() { draw.clamp(-1.0, 1.0) } else { 0.0 };
        let seconds = spread.as_secs_f64().min(86_400.0) * part.abs();
        Self { by: Duration::try_from_secs_f64(seconds).unwrap_or_default(), back: part < 0.0 }
    }

    fn of_moment(self, at: Wall) -> Wall {
        if self.back { at.earlier(self.by) } else { at.later(self.by) }
    }
}
