//! A calendar: hours of the day in the site's time zone in which less may be drawn.
//!
//! It needs nobody: its windows are given to the desk as orders for the next two days, every hour anew, and at once
//! when the wall clock jumps. When the clock is in doubt they begin early and end late, which the book of the source sees
//! to; for that, what is just over stays in the list for a day.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use super::contact::words;
use super::windows::{Windows, timestamp, wall};
use super::{Context, List, Place};
use crate::control::signal::{Ask, Basis, Order, Urgency, Wall};
use crate::units::Watts;

/// How far ahead windows are given to the desk.
const AHEAD: Duration = Duration::from_secs(48 * 3_600);
/// For how long after its end a window stays listed: as long as a clock may be taken to be off at the most.
const BEHIND: Duration = Duration::from_secs(24 * 3_600);
/// How often they are given anew.
const REFRESH: Duration = Duration::from_secs(3_600);
/// How often the clocks are compared.
const LOOK: Duration = Duration::from_secs(1);
/// The wall clock has jumped when it goes this much more or less than the monotonic one between two looks.
const JUMP: Duration = Duration::from_secs(2);

/// The settings of this kind of source.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// When.
    pub windows: Windows,
    /// How much, for each window; `None` for no limit.
    pub caps: Vec<Option<Ask>>,
}

/// Runs until it is dropped.
pub async fn run(settings: Settings, context: Context) {
    let mut known: Option<Vec<Order>> = None;
    loop {
        let now = context.desk.wall();
        let nameplate = context.desk.nameplate(context.place.circuit, context.place.scope);
        let mut orders = orders(&settings, context.place, nameplate, now);
        let lay_out = |then| self::orders(&settings, context.place, nameplate, then);
        context.desk.add_what_holds(context.source, &mut orders, lay_out);
        if known.as_ref() != Some(&orders) {
            if let Some(next) = orders.iter().find(|order| order.until.is_none_or(|until| until > now)) {
                info!(source = %context.name, "next: {}", next.id);
            }
            known = Some(orders.clone());
        }
        match context.desk.list(context.source, List { orders, ..List::default() }).await {
            Ok(answers) => {
                for answer in answers {
                    if let Err(refusal) = answer.outcome {
                        warn!(source = %context.name, order = %answer.id, "{refusal}; check the `cap` of this window");
                    }
                }
            }
            Err(error) => warn!(source = %context.name, "{error}"),
        }
        wait(&context, now).await;
    }
}

/// Waits for the next refresh, or for a jump of the wall clock.
async fn wait(context: &Context, begun: Wall) {
    let mut before = (context.clock.now(), context.desk.wall());
    let first = before.0;
    loop {
        sleep(LOOK).await;
        let now = (context.clock.now(), context.desk.wall());
        let (passed, shown) = (now.0 - before.0, now.1.as_unix_millis() - before.1.as_unix_millis());
        let expected = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        if shown.abs_diff(expected) > u64::try_from(JUMP.as_millis()).unwrap_or(u64::MAX) {
            info!(source = %context.name, "the wall clock has jumped; the calendar is read anew");
            return;
        }
        if now.0 - first >= REFRESH || now.1.since(begun) >= REFRESH {
            return;
        }
        before = now;
    }
}

/// The orders that a calendar comes to at a time. An order's name says all that it is, so that a time that the site's
/// configuration or a law changes makes another order of it.
fn orders(settings: &Settings, place: Place, nameplate: Watts, now: Wall) -> Vec<Order> {
    let (from, to) = (timestamp(now.earlier(BEHIND)), timestamp(now.later(AHEAD)));
    let windows = &settings.windows;
    windows
        .between(from, to)
        .into_iter()
        .filter_map(|instance| {
            let name = &windows.windows.get(instance.window)?.name;
            let ask = settings.caps.get(instance.window).copied().flatten()?;
            let local = |at| windows.zone.to_datetime(at).strftime("%F %H:%M").to_string();
            let offset = windows.zone.to_offset(instance.from);
            Some(Order {
                id: format!(
                    "{name} {} to {} ({offset}): {}",
                    local(instance.from),
                    local(instance.until),
                    words(ask, nameplate)
                )
                .into(),
                revision: 0,
                lane: "calendar".into(),
                priority: u32::MAX,
                circuit: place.circuit,
                scope: place.scope,
                ask,
                basis: Basis::Instant,
                urgency: Urgency::Normal,
                from: wall(instance.from),
                until: Some(wall(instance.until)),
                start_spread: Duration::ZERO,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use jiff::civil::time;
    use jiff::tz::TimeZoneDatabase;

    use super::super::windows::{Days, Window};
    use super::*;
    use crate::control::site::{CircuitId, Scope};

    fn settings() -> Settings {
        let window = Window {
            name: "evening".into(),
            from: time(18, 0, 0, 0),
            to: Some(time(22, 0, 0, 0)),
            days: Days::ALL,
            season: None,
        };
        Settings {
            windows: Windows {
                zone: TimeZoneDatabase::bundled().get("Asia/Karachi").unwrap(),
                windows: vec![window.clone(), Window { name: "free".into(), ..window }],
                holidays: Vec::new(),
            },
            caps: vec![Some(Ask::Cap(Watts::whole(5_000))), None],
        }
    }

    const PLACE: Place = Place { circuit: CircuitId(3), scope: Scope::Miners };

    #[test]
    fn windows_are_told_two_days_ahead_and_one_day_behind() {
        let now: jiff::Timestamp = "2026-11-22T15:00:00Z".parse().unwrap();
        let orders = orders(&settings(), PLACE, Watts::whole(9_000), wall(now));
        let names: Vec<&str> = orders.iter().map(|order| &*order.id).collect();
        assert_eq!(
            names,
            [
                "evening 2026-11-21 18:00 to 2026-11-21 22:00 (+05): 5000 W",
                "evening 2026-11-22 18:00 to 2026-11-22 22:00 (+05): 5000 W",
                "evening 2026-11-23 18:00 to 2026-11-23 22:00 (+05): 5000 W",
                "evening 2026-11-24 18:00 to 2026-11-24 22:00 (+05): 5000 W",
            ]
        );
        assert_eq!((orders[0].circuit, orders[0].scope), (PLACE.circuit, PLACE.scope));
        assert!(orders.iter().all(|order| order.until > Some(order.from)));
    }

    #[test]
    fn the_same_window_has_the_same_order_in_every_refresh() {
        let at = |text: &str| orders(&settings(), PLACE, Watts::whole(9_000), wall(text.parse().unwrap()));
        let (early, late) = (at("2026-11-22T10:00:00Z"), at("2026-11-22T11:00:00Z"));
        assert!(early.iter().filter(|order| late.contains(order)).count() >= 3);
    }

    #[test]
    fn a_clock_at_the_end_of_time_is_no_panic() {
        for wall in [i64::MIN, i64::MAX, 0] {
            let _ = orders(&settings(), PLACE, Watts::whole(9_000), Wall::unix_millis(wall));
        }
    }
}
