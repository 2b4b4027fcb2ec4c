//! A calendar drives a simulated site: from the hours of the configuration to measured power, and every cell of the
//! table in `docs/guide/signals/calendar.md`.

use crate::signals_level;

use std::time::Duration;

use ballast::control::signal::{Doubt, SourceState};
use ballast::signal::{Kind, calendar};
use jiff::{Timestamp, ToSpan};
use signals_level::{Site, Table, mistakes};

const HOUR: u64 = 3_600;

fn calendar(windows: &str) -> String {
    format!("[signals.peak]\nkind = \"calendar\"\ncircuit = \"pcc\"\nclass = \"contract\"\n{windows}")
}

/// Peak from 18:00 to 22:00 in Karachi, which is 13:00 to 17:00 UTC.
const EVENING: &str = r#"
time_zone = "Asia/Karachi"
[[signals.peak.windows]]
name = "evening"
from = "18:00"
to = "22:00"
cap = "8 kW"
"#;

fn millis(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

/// A running calendar at a desk.
struct Running {
    table: Table,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(at: &str) -> Self {
        let table = Table::new(&calendar(EVENING), millis(at));
        let Kind::Calendar(settings) = table.kind() else { panic!("a calendar") };
        let task = tokio::spawn(calendar::run(settings, table.context()));
        let running = Self { table, task };
        running.after(1).await;
        running
    }

    async fn after(&self, seconds: u64) -> Option<f64> {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        self.table.cap()
    }

    async fn restart(self) -> Self {
        self.task.abort();
        let Kind::Calendar(settings) = self.table.kind() else { panic!("a calendar") };
        let task = tokio::spawn(calendar::run(settings, self.table.context()));
        let running = Self { table: self.table, task };
        running.after(1).await;
        running
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_brings_the_power_down() {
    // The minute of the machine's clock decides, so the window is put around it.
    let now = Timestamp::from_second(i64::try_from(ballast::clock::unix_seconds()).unwrap()).unwrap();
    let clock = |minutes: i64| (now + minutes.minutes()).strftime("%H:%M").to_string();
    let window = |from, to, cap| {
        format!(
            "[[signals.peak.windows]]\nfrom = \"{}\"\nto = \"{}\"\ncap = \"{cap}\"\n",
            clock(from),
            clock(to)
        )
    };
    let signals = calendar(&(window(-2, 30, "8 kW") + &window(60, 90, "0 W")));
    let site = Site::start("127.62.1", &signals, "").await;
    site.eventually("the window acts", |site| site.caps(1) == [8_000.0]).await;
    site.eventually("the import is down", |site| site.import() < 8_100.0).await;
    site.always("and stays", Duration::from_secs(2), |site| site.import() < 8_300.0).await;
    site.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_window_begins_and_ends_at_the_hours_of_the_site() {
    let running = Running::start("2026-11-22T12:00:00Z").await;
    assert_eq!(running.after(HOUR - 3).await, None);
    assert_eq!(running.after(2).await, Some(8_000.0));
    assert_eq!(running.after(4 * HOUR - 3).await, Some(8_000.0));
    assert_eq!(running.after(4).await, None);
    assert_eq!(running.after(20 * HOUR).await, Some(8_000.0), "and again the next day");
    assert_eq!(running.table.view().state, SourceState::Limited);
}

#[tokio::test(start_paused = true)]
async fn a_calendar_is_never_lost() {
    let running = Running::start("2026-11-22T12:00:00Z").await;
    // Nobody reads it any more: what it has told goes on for two days.
    running.task.abort();
    assert_eq!(running.after(2 * HOUR).await, Some(8_000.0));
    assert_eq!(running.after(24 * HOUR).await, Some(8_000.0));
    assert_ne!(running.table.view().state, SourceState::Failsafe);
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_the_middle_of_a_window_goes_on() {
    let running = Running::start("2026-11-22T14:00:00Z").await;
    assert_eq!(running.table.cap(), Some(8_000.0));
    let running = running.restart().await;
    assert_eq!(running.table.cap(), Some(8_000.0));
    assert_eq!(running.table.view().caps.len(), 1, "the same order, not another");
    assert_eq!(running.after(3 * HOUR).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_start_after_an_outage_begins_where_the_calendar_is() {
    // A new desk knows nothing; the calendar tells it all at once.
    let running = Running::start("2026-11-22T16:59:00Z").await;
    assert_eq!(running.table.cap(), Some(8_000.0));
    assert_eq!(running.after(70).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_cap_above_the_nameplate_is_refused_and_the_others_hold() {
    let more = "[[signals.peak.windows]]\nfrom = \"13:00\"\nto = \"23:00\"\ncap = \"900 MW\"\n";
    let table = Table::new(&calendar(&format!("{EVENING}{more}")), millis("2026-11-22T14:00:00Z"));
    let Kind::Calendar(settings) = table.kind() else { panic!("a calendar") };
    tokio::spawn(calendar::run(settings, table.context()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(table.cap(), Some(8_000.0));
    assert_eq!(table.view().state, SourceState::Degraded, "and it is said");
}

#[tokio::test(start_paused = true)]
async fn every_refresh_tells_the_same_orders_again() {
    let running = Running::start("2026-11-22T13:30:00Z").await;
    for _ in 0..3 {
        running.after(HOUR).await;
        let view = running.table.view();
        assert_eq!((view.caps.len(), view.state), (1, SourceState::Limited));
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_in_doubt_begins_early_and_ends_late() {
    let running = Running::start("2026-11-22T12:00:00Z").await;
    // Nobody knows how far it is off: five minutes are allowed for.
    running.table.doubt(Doubt::Unknown);
    assert_eq!(running.after(HOUR - 303).await, None);
    assert_eq!(running.after(5).await, Some(8_000.0));
    assert_eq!(running.table.view().state, SourceState::Degraded);
    assert_eq!(running.after(4 * HOUR + 590).await, Some(8_000.0));
    assert_eq!(running.after(15).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_is_noticed_within_seconds() {
    let running = Running::start("2026-11-22T12:00:00Z").await;
    assert_eq!(running.table.cap(), None);
    // Far beyond what was told ahead.
    running.table.set(millis("2027-06-01T14:00:00Z"));
    assert_eq!(running.after(3).await, Some(8_000.0));
    // The evening has begun, and ends when its time is over, though the clock is set right meanwhile.
    running.table.set(millis("2026-11-22T05:00:00Z"));
    assert_eq!(running.after(3).await, Some(8_000.0));
    assert_eq!(running.after(3 * HOUR - 20).await, Some(8_000.0));
    assert_eq!(running.after(25).await, None);
}

#[test]
fn what_is_no_calendar_is_refused_with_its_place() {
    let good = calendar(EVENING);
    assert_eq!(mistakes(&good), "");
    for (right, wrong, said) in [
        ("Asia/Karachi", "Asia/Karatchi", "is no time zone"),
        ("\"18:00\"", "\"25:00\"", "is no time of the day"),
        ("\"18:00\"", "\"24:00\"", "cannot be 24:00"),
        ("\"18:00\"", "\"6pm\"", "is no time of the day"),
        ("\"22:00\"", "\"18:00\"", "ends when it begins"),
        ("cap = \"8 kW\"", "", "has no `cap`"),
        ("cap = \"8 kW\"", "cap = \"-8 kW\"", "is negative"),
        ("cap = \"8 kW\"", "cap = \"120 %\"", "is too large"),
        ("to = ", "days = [\"mo\"]\nto = ", "is no day"),
        ("to = ", "season = { from = \"02-30\", to = \"03-01\" }\nto = ", "is no day of the year"),
        ("time_zone", "holidays = [\"2026-13-01\"]\ntime_zone", "is no day"),
        ("to = ", "unitl = \"22:00\"\nto = ", "unknown key"),
    ] {
        let said_here = mistakes(&good.replacen(right, wrong, 1));
        assert!(said_here.contains(said), "{wrong}: {said_here}");
    }
    let rich = good.replace("time_zone", "holidays = [\"2026-03-21\", \"12-25\"]\ntime_zone").replace(
        "to = \"22:00\"",
        "to = \"06:00\"\ndays = [\"fri-mon\", \"holiday\"]\nexcept_holidays = true\nseason = { from = \"11-01\", to = \"02-29\" }",
    );
    assert_eq!(mistakes(&rich), "");
    let of_the_site = good.replace("time_zone = \"Asia/Karachi\"\n", "");
    assert_eq!(mistakes(&of_the_site), "", "the site says its time zone");
}
