//! Two sources in conflict always give the minimum: random sequences of orders, withdrawals, losses, restarts, reloads
//! and failures of the disk, through the desk and the database.

use crate::signals_bench;

use std::path::Path;
use std::time::Duration;

use ballast::clock::Clock;
use ballast::config::Config;
use ballast::control::signal::{Order, SourceState};
use ballast::control::site::{Scope, SourceId};
use ballast::control::snapshot::OrderCap;
use ballast::signal::desk::WallClock;
use ballast::signal::start::Beginning;
use ballast::signal::{Desk, List};
use proptest::prelude::*;
use signals_bench::{Folder, Hands, ROOT, open, order, site, source};

const SOURCES: [&str; 2] = ["utility", "aggregator"];
const FAIL_SAFE: f64 = 100.0;
const SIGNALS: &str = r#"
[signals.utility]
kind = "http"
lost_after = "120s"
fail_safe = "100 kW"
[signals.aggregator]
kind = "http"
lost_after = "120s"
fail_safe = "100 kW"
fail_safe_hold = "200s"
"#;

/// One thing that can happen.
#[derive(Clone, Debug)]
enum Event {
    Give { source: usize, id: u8, revision: u64, cap: u32, from: u64, long: u64, priority: u32 },
    TakeBack { source: usize, id: u8 },
    Nothing { source: usize },
    Heartbeat { source: usize },
    Crash,
    Reload { turned: bool },
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let source = 0..2_usize;
    prop_oneof![
        6 => (source.clone(), 0..4_u8, 0..6_u64, 0..500_000_u32, 0..300_u64, 1..900_u64, 0..3_u32).prop_map(
            |(source, id, revision, cap, from, long, priority)| Event::Give {
                source, id, revision, cap, from, long, priority
            }
        ),
        2 => (source.clone(), 0..4_u8).prop_map(|(source, id)| Event::TakeBack { source, id }),
        1 => source.clone().prop_map(|source| Event::Nothing { source }),
        2 => source.prop_map(|source| Event::Heartbeat { source }),
        1 => Just(Event::Crash),
        1 => any::<bool>().prop_map(|turned| Event::Reload { turned }),
        4 => (1..200_u64).prop_map(Event::Wait),
    ]
}

fn configuration(turned: bool) -> Config {
    let circuits: &[&str] = if turned { &["west", "east"] } else { &["east", "west"] };
    site(circuits, SIGNALS)
}

fn begin(config: &Config, path: &Path, wall: WallClock) -> Desk {
    let sources = config.signals.iter().map(|spec| spec.settings.clone()).collect();
    let beginning =
        Beginning { opened: Some(open(path)), settings: &config.store, clock: Clock::start(), wall };
    Desk::start(config.site.clone(), sources, beginning)
}

/// An order that the test itself knows of, to work the caps out anew.
#[derive(Clone, Debug)]
struct Known {
    source: usize,
    order: Order,
    cap: f64,
}

/// Waits on the real clock of another thread while tokio's stands still.
async fn on_disk<T>(work: impl Future<Output = T>) -> T {
    tokio::time::resume();
    let result = work.await;
    tokio::time::pause();
    result
}

fn effective(caps: &[OrderCap], source: Option<SourceId>) -> f64 {
    let here = caps.iter().filter(|cap| source.is_none_or(|source| cap.source == source));
    let caps = here.filter(|cap| cap.active.circuit == ROOT && cap.active.scope == Scope::Import);
    caps.map(|cap| cap.active.cap.get() / 1e3).fold(f64::INFINITY, f64::min)
}

async fn play(events: Vec<Event>) -> Result<(), TestCaseError> {
    let (folder, hands) = (Folder::new(), Hands::new());
    let mut config = configuration(false);
    let mut desk = begin(&config, &folder.database(), hands.clock());
    let mut known: Vec<Known> = Vec::new();
    let mut before: [Option<f64>; 2] = [None, None];
    tokio::time::pause();
    for event in events {
        let mut anew = false;
        match event {
            Event::Give { source: of, id, revision, cap, from, long, priority } => {
                let from = hands.wall().later(Duration::from_secs(from));
                let order = Order {
                    revision,
                    priority,
                    ..order(
                        &id.to_string(),
                        f64::from(cap) / 1e3,
                        from,
                        Some(from.later(Duration::from_secs(long))),
                    )
                };
                let given = on_disk(desk.give(source(&desk, SOURCES[of]), order.clone())).await;
                use ballast::control::signal::Receipt::{Accepted, Replaced};
                if let Ok(Accepted | Replaced) = given {
                    known.retain(|it| it.source != of || it.order.id != order.id);
                    known.push(Known { source: of, order, cap: f64::from(cap) / 1e3 });
                }
            }
            Event::TakeBack { source: of, id } => {
                let id = id.to_string();
                let taken = on_disk(desk.take_back(source(&desk, SOURCES[of]), &id, None)).await;
                prop_assert!(taken.is_ok());
                known.retain(|it| it.source != of || *it.order.id != *id);
            }
            Event::Nothing { source: of } => {
                on_disk(desk.list(source(&desk, SOURCES[of]), List::default())).await.unwrap();
                known.retain(|it| it.source != of);
            }
            Event::Heartbeat { source: of } => desk.heartbeat(source(&desk, SOURCES[of])),
            Event::Crash => {
                on_disk(desk.beat()).await;
                drop(desk);
                desk = begin(&config, &folder.database(), hands.clock());
                anew = true;
            }
            Event::Reload { turned } => {
                config = configuration(turned);
                let sources = config.signals.iter().map(|spec| spec.settings.clone()).collect();
                desk.configure(config.site.clone(), sources);
            }
            Event::Wait(seconds) => {
                let time = Duration::from_secs(seconds);
                tokio::time::advance(time).await;
                hands.forward(time);
            }
        }
        let caps = desk.look();
        let views = desk.views();
        let own: Vec<f64> =
            SOURCES.iter().map(|name| effective(&caps, Some(source(&desk, name).position()))).collect();
        let all = effective(&caps, None);
        prop_assert!(all.total_cmp(&own[0].min(own[1])).is_eq(), "{all} is not the lower of {own:?}");
        for (index, name) in SOURCES.iter().enumerate() {
            let now = hands.wall();
            let acting = known.iter().filter(|it| {
                it.source == index && it.order.from <= now && it.order.until.is_some_and(|until| now < until)
            });
            let best = acting.min_by(|one, other| {
                one.order.priority.cmp(&other.order.priority).then(one.cap.total_cmp(&other.cap))
            });
            if let Some(best) = best {
                prop_assert!(own[index] <= best.cap + 1e-9, "{name}: {} is above {best:?}", own[index]);
            }
            let view = views[source(&desk, name).position().0].as_ref().unwrap();
            let lost = matches!(view.state, SourceState::Init | SourceState::Failsafe);
            if lost {
                prop_assert!(own[index] <= FAIL_SAFE, "{name}: {view:?}");
            }
            let silent = view.age.is_none_or(|age| age > Duration::from_secs(120));
            if let Some(before) = before[index].filter(|_| lost && silent && !anew) {
                prop_assert!(own[index] <= before, "{name}: rose from {before}: {view:?}");
            }
            // A crash in the middle of a loss gives nothing back either, as far as the latest beat knew it.
            if let Some(before) = before[index].filter(|_| anew) {
                prop_assert!(own[index] <= before.max(FAIL_SAFE), "{name}: rose from {before}: {view:?}");
            }
            before[index] = Some(own[index]);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens: the effective cap is the lower one of both sources, it is never above the best order that a
    /// source has in force, and it never rises because a source is lost, the daemon crashes or the file is read again.
    #[test]
    fn two_sources_in_conflict_give_the_minimum_and_a_loss_never_loosens(
        events in proptest::collection::vec(event(), 1..30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(play(events))?;
    }
}

#[tokio::test]
async fn a_thousand_orders_at_once_are_taken_in_and_none_hides_the_tightest() {
    let (folder, hands) = (Folder::new(), Hands::new());
    let config = configuration(false);
    let desk = begin(&config, &folder.database(), hands.clock());
    let clock = Clock::start();
    for name in SOURCES {
        let orders = (0..500_u32).map(|number| {
            order(&format!("{name} {number}"), 400.0 - f64::from(number % 300), hands.wall(), None)
        });
        let list = List { orders: orders.collect(), ..List::default() };
        let answers = desk.list(source(&desk, name), list).await.unwrap();
        assert!(answers.iter().all(|answer| answer.outcome.is_ok()));
    }
    let took = clock.now().since_start();
    let caps = desk.look();
    assert!((effective(&caps, None) - 101.0).abs() < 1e-9);
    println!("1,000 orders in two lists, on disk: {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}
