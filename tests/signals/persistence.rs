//! Orders outlive a restart, a reload and a bad disk; after a power outage they do not. What was delivered is measured.

use crate::signals_bench;
use crate::signals_plant;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ballast::clock::{Clock, Moment};
use ballast::config::Config;
use ballast::control::frame::Frame;
use ballast::control::signal::book::Phase;
use ballast::control::signal::{Ask, Order, Receipt, Refusal, SourceState};
use ballast::control::site::{CircuitId, Scope};
use ballast::control::snapshot::{MeterInput, MeterStatus, Reading, Snapshot};
use ballast::control::{State, step};
use ballast::signal::record::{News, Stage, What};
use ballast::signal::{Desk, DeskError, List};
use ballast::store::Write;
use ballast::store::boot::Alive;
use ballast::units::Watts;
use signals_bench::{
    Folder, Hands, ROOT, UTILITY, acting, desk, eventually, import, let_go, open, order, site, source,
    tightest,
};

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

fn configure(desk: &Desk, config: &Config) {
    desk.configure(config.site.clone(), config.signals.iter().map(|spec| spec.settings.clone()).collect());
}

/// Ends a desk as a crash does: nothing is said to it. Its thread lets go of the file.
fn crash(desk: Desk, path: &Path) {
    drop(desk);
    let_go(path);
}

#[tokio::test]
async fn a_restart_resumes_orders_beside_the_fail_safe_until_the_source_is_heard() {
    for (cap, at_boot) in [(150.0, 100.0), (50.0, 50.0)] {
        let (folder, hands, config) = (Folder::new(), Hands::new(), site(&["hall"], UTILITY));
        let one = desk(&config, &folder.database(), &hands);
        let utility = source(&one, "utility");
        one.give(utility, order("a", cap, hands.wall(), None)).await.unwrap();
        assert_eq!(import(&one), Some(cap));
        assert!(one.records()[0].stored);
        crash(one, &folder.database());

        let two = desk(&config, &folder.database(), &hands);
        assert_eq!(import(&two), Some(at_boot), "the lower of both");
        assert_eq!(two.views()[1].as_ref().unwrap().state, SourceState::Init);
        two.heartbeat(utility);
        assert_eq!(import(&two), Some(at_boot), "a heartbeat says nothing of orders");
        two.list(utility, List { orders: vec![order("a", cap, hands.wall(), None)], ..List::default() })
            .await
            .unwrap();
        assert_eq!(import(&two), Some(cap), "now it is heard");
    }
}

#[tokio::test]
async fn what_was_taken_back_stays_so_over_a_restart_and_a_lift_does_not() {
    let (folder, hands, config) = (Folder::new(), Hands::new(), site(&["hall"], UTILITY));
    let one = desk(&config, &folder.database(), &hands);
    let utility = source(&one, "utility");
    one.give(utility, Order { revision: 4, ..order("a", 50.0, hands.wall(), None) }).await.unwrap();
    assert!(one.take_back(utility, "a", None).await.unwrap());
    one.give(utility, order("b", 60.0, hands.wall(), None)).await.unwrap();
    assert!(one.lift(utility, "night shift", hands.wall().later(minutes(30))).await.unwrap());
    assert_eq!(one.records()[0].note.as_deref(), Some("its caps are lifted by night shift"));
    crash(one, &folder.database());

    let two = desk(&config, &folder.database(), &hands);
    let late = Order { revision: 4, ..order("a", 50.0, hands.wall(), None) };
    assert_eq!(two.give(utility, late).await, Ok(Receipt::Outdated));
    assert_eq!(import(&two), Some(60.0), "the lift is gone");
    let news = two.take_news();
    assert!(news.iter().any(|news| news.what == What::LiftGone && &*news.id == "night shift"), "{news:?}");
    let lift = two.records().into_iter().find(|record| &*record.id == "lift").unwrap();
    assert_eq!(lift.note.as_deref(), Some("a restart has ended the lift by night shift"));
    two.beat().await;
    crash(two, &folder.database());
    let three = desk(&config, &folder.database(), &hands);
    assert!(three.take_news().is_empty(), "it is said once");
}

#[tokio::test]
async fn a_cap_that_is_kept_for_a_lost_source_is_kept_over_a_restart() {
    tokio::time::pause();
    let (folder, hands, config) = (Folder::new(), Hands::new(), site(&["hall"], UTILITY));
    tokio::time::resume();
    let one = desk(&config, &folder.database(), &hands);
    let utility = source(&one, "utility");
    let until = hands.wall().later(minutes(5));
    one.give(utility, order("a", 20.0, hands.wall(), Some(until))).await.unwrap();
    assert_eq!(import(&one), Some(20.0));
    tokio::time::pause();
    tokio::time::advance(minutes(3)).await;
    hands.forward(minutes(3));
    assert_eq!(import(&one), Some(20.0), "lost in the middle of it");
    hands.forward(minutes(10));
    assert_eq!(import(&one), Some(20.0), "and kept beyond its end");
    tokio::time::resume();
    one.beat().await;
    crash(one, &folder.database());
    let two = desk(&config, &folder.database(), &hands);
    assert_eq!(import(&two), Some(20.0));
    two.list(utility, List::default()).await.unwrap();
    assert_eq!(import(&two), None, "the source has spoken");
}

#[tokio::test]
async fn after_a_power_outage_orders_are_discarded_and_the_fleet_starts_staggered() {
    let (folder, hands, config) = (Folder::new(), Hands::new(), site(&["hall"], UTILITY));
    let one = desk(&config, &folder.database(), &hands);
    let utility = source(&one, "utility");
    let operator = source(&one, "operator");
    one.give(utility, order("a", 20.0, hands.wall(), None)).await.unwrap();
    let stay_off = order("maintenance", 480.0, hands.wall(), None);
    one.give(operator, stay_off).await.unwrap();
    one.beat().await;
    crash(one, &folder.database());
    another_boot(&folder, minutes(20)).await;

    let two = desk(&config, &folder.database(), &hands);
    tokio::time::pause();
    let caps = two.look();
    assert_eq!(
        tightest(&caps, ROOT, Scope::Import),
        Some(100.0),
        "the fail-safe alone, and what the operator said"
    );
    assert!(acting(&two).contains(&"maintenance".into()), "nobody would say it anew");
    assert_eq!(tightest(&caps, ROOT, Scope::Miners), Some(0.0), "the fleet waits");
    let record = two.records().into_iter().find(|record| &*record.id == "a").unwrap();
    assert_eq!((record.stage, record.note.as_deref()), (Stage::Ended, Some("discarded: the power was out")));
    tokio::time::advance(config.store.restart_spread).await;
    assert_eq!(tightest(&two.look(), ROOT, Scope::Miners), None, "for five minutes at the most");
}

#[tokio::test]
async fn a_reboot_after_a_short_gap_resumes() {
    let (folder, hands, config) = (Folder::new(), Hands::new(), site(&["hall"], UTILITY));
    let one = desk(&config, &folder.database(), &hands);
    one.give(source(&one, "utility"), order("a", 20.0, hands.wall(), None)).await.unwrap();
    crash(one, &folder.database());
    another_boot(&folder, minutes(3)).await;
    let two = desk(&config, &folder.database(), &hands);
    assert_eq!(import(&two), Some(20.0));
    assert_eq!(tightest(&two.look(), ROOT, Scope::Miners), None);
}

#[tokio::test]
async fn somebody_who_takes_the_wait_after_an_outage_back_ends_it() {
    let (folder, hands, config) = (Folder::new(), Hands::new(), site(&["hall"], UTILITY));
    drop(open(&folder.database()));
    another_boot(&folder, minutes(60)).await;
    let desk = desk(&config, &folder.database(), &hands);
    assert_eq!(tightest(&desk.look(), ROOT, Scope::Miners), Some(0.0));
    let operator = source(&desk, "operator");
    assert!(desk.take_back(operator, ballast::signal::desk::START_UP, None).await.unwrap());
    assert_eq!(tightest(&desk.look(), ROOT, Scope::Miners), None);
}

/// Makes the latest sign of life one of another boot, so long ago.
async fn another_boot(folder: &Folder, ago: Duration) {
    let now = ballast::store::boot::Boot::of_this_machine(Clock::start()).alive();
    let before = Alive { boot: Some("another".into()), wall: now.wall.earlier(ago), ..now };
    let opened = open(&folder.database());
    let write = Write { alive: Some(before), ..Write::default() };
    opened.store.write(write).await.unwrap();
}

#[tokio::test]
async fn a_reload_with_circuits_in_another_order_moves_orders_by_name() {
    let (folder, hands) = (Folder::new(), Hands::new());
    let before = site(&["east", "west"], UTILITY);
    let desk = desk(&before, &folder.database(), &hands);
    let utility = source(&desk, "utility");
    let west = Order { circuit: CircuitId(2), scope: Scope::Miners, ..order("w", 2.0, hands.wall(), None) };
    desk.give(utility, west).await.unwrap();
    assert_eq!(tightest(&desk.look(), CircuitId(2), Scope::Miners), Some(2.0));

    configure(
        &desk,
        &site(&["west", "north", "east"], &format!("[signals.first]\nkind = \"http\"\n{UTILITY}")),
    );
    let caps = desk.look();
    assert_eq!(tightest(&caps, CircuitId(1), Scope::Miners), Some(2.0), "west is the first one now");
    assert_eq!(tightest(&caps, CircuitId(2), Scope::Miners), None);
    assert_eq!(desk.site().sources[caps[0].source.0].name, "utility");
    assert_eq!(desk.records()[0].circuit, CircuitId(1));
}

#[tokio::test]
async fn a_reload_drops_and_records_orders_whose_circuit_or_source_is_gone() {
    let (folder, hands) = (Folder::new(), Hands::new());
    let more = format!("{UTILITY}[signals.other]\nkind = \"http\"\n");
    let one = desk(&site(&["east", "west"], &more), &folder.database(), &hands);
    let west = Order { circuit: CircuitId(2), scope: Scope::Miners, ..order("w", 2.0, hands.wall(), None) };
    one.give(source(&one, "utility"), west).await.unwrap();
    one.give(source(&one, "utility"), order("all", 70.0, hands.wall(), None)).await.unwrap();
    one.give(source(&one, "other"), order("o", 40.0, hands.wall(), None)).await.unwrap();
    assert_eq!(import(&one), Some(40.0));

    let after = site(&["east"], UTILITY);
    configure(&one, &after);
    assert_eq!(import(&one), Some(70.0), "what can still be obeyed is");
    let records = one.records();
    let gone = records.iter().find(|record| &*record.id == "w").unwrap();
    assert_eq!(
        (gone.stage.name(), gone.note.as_deref()),
        ("ended", Some("its circuit left the configuration"))
    );
    one.beat().await;
    crash(one, &folder.database());
    let loaded = open(&folder.database()).loaded;
    assert_eq!(loaded.sources.len(), 1, "the other source has left the disk too: {:?}", loaded.sources);
    let other = loaded.ledger.iter().find(|row| &*row.id == "o").unwrap();
    assert_eq!(other.reason.as_deref(), Some("its source left the configuration"));
}

#[tokio::test]
async fn a_reload_gives_a_lost_source_nothing_back() {
    tokio::time::pause();
    let hands = Hands::new();
    let config = site(&["hall"], UTILITY);
    let sources = config.signals.iter().map(|spec| spec.settings.clone()).collect();
    let desk = Desk::new(config.site.clone(), sources, Clock::start(), hands.clock());
    desk.give(source(&desk, "utility"), order("a", 20.0, hands.wall(), None)).await.unwrap();
    assert_eq!(import(&desk), Some(20.0));
    tokio::time::advance(minutes(3)).await;
    hands.forward(minutes(3));
    assert_eq!(import(&desk), Some(20.0));
    configure(&desk, &site(&["another", "hall"], UTILITY));
    assert_eq!(import(&desk), Some(20.0));
    assert_eq!(desk.views()[1].as_ref().unwrap().state, SourceState::Failsafe);
}

#[tokio::test]
async fn when_the_disk_fails_an_order_is_obeyed_and_stored_as_soon_as_it_can_be() {
    let (folder, hands, config) = (Folder::new(), Hands::new(), site(&["hall"], UTILITY));
    let desk = desk(&config, &folder.database(), &hands);
    let utility = source(&desk, "utility");
    desk.give(utility, order("a", 90.0, hands.wall(), None)).await.unwrap();
    let other = rusqlite::Connection::open(folder.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; INSERT INTO lifts VALUES ('x', 'y', 1);").unwrap();
    let clock = Clock::start();
    desk.give(utility, order("b", 50.0, hands.wall(), None)).await.unwrap();
    desk.give(utility, order("c", 40.0, hands.wall(), None)).await.unwrap();
    let took = clock.now().since_start();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(import(&desk), Some(40.0), "obeyed all the same");
    assert!(!desk.records()[0].stored);
    assert!(desk.status().store_errors.unwrap() > 0);
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    eventually("all of it is on disk", async || {
        desk.beat().await;
        desk.records().iter().all(|record| record.stored)
    })
    .await;
    crash(desk, &folder.database());
    let kept = &open(&folder.database()).loaded.sources[0].1;
    assert_eq!(kept.orders.len(), 3);
}

#[tokio::test]
async fn a_sender_that_hangs_up_in_the_middle_leaves_an_order_that_is_obeyed() {
    let (folder, hands, config) = (Folder::new(), Hands::new(), site(&["hall"], UTILITY));
    let desk = desk(&config, &folder.database(), &hands);
    let utility = source(&desk, "utility");
    {
        let give = desk.give(utility, order("a", 50.0, hands.wall(), None));
        tokio::pin!(give);
        // Once is not enough for the disk.
        let _ = tokio::time::timeout(Duration::ZERO, &mut give).await;
    }
    eventually("it is obeyed", async || import(&desk) == Some(50.0)).await;
}

#[tokio::test]
async fn a_damaged_file_starts_at_the_fail_safe() {
    let (folder, hands, config) = (Folder::new(), Hands::new(), site(&["hall"], UTILITY));
    let one = desk(&config, &folder.database(), &hands);
    one.give(source(&one, "utility"), order("a", 20.0, hands.wall(), None)).await.unwrap();
    crash(one, &folder.database());
    std::fs::write(folder.database(), b"nothing that anybody can read").unwrap();
    let two = desk(&config, &folder.database(), &hands);
    assert_eq!(import(&two), Some(100.0));
    assert_eq!(two.views()[1].as_ref().unwrap().state, SourceState::Init);
}

#[tokio::test]
async fn a_value_that_cannot_be_meant_is_refused_and_the_previous_cap_stays() {
    let (folder, hands, config) = (Folder::new(), Hands::new(), site(&["hall"], UTILITY));
    let desk = desk(&config, &folder.database(), &hands);
    let utility = source(&desk, "utility");
    desk.give(utility, order("a", 50.0, hands.wall(), None)).await.unwrap();
    for bad in [-1.0, 1e9] {
        let worse = Order { revision: 2, ..order("a", bad, hands.wall(), None) };
        assert!(matches!(desk.give(utility, worse).await, Err(DeskError::Refused(_))));
    }
    let nowhere = Order { circuit: CircuitId(99), ..order("n", 50.0, hands.wall(), None) };
    assert_eq!(desk.give(utility, nowhere).await, Err(Refusal::Circuit.into()));
    assert_eq!(import(&desk), Some(50.0));
    let refused = desk.records().iter().filter(|record| record.stage.name() == "refused").count();
    assert_eq!(refused, 3);
    for _ in 0..3 {
        let again = Order { revision: 2, ..order("a", -1.0, hands.wall(), None) };
        let _ = desk.give(utility, again).await;
    }
    let records = desk.records();
    let refused = records.iter().filter(|record| record.stage.name() == "refused").count();
    assert_eq!(refused, 3, "the same refusal is told once");
    let counted = desk.status().sources[1].orders.iter().find(|(result, _)| *result == "refused").unwrap().1;
    assert_eq!(counted, 6, "and counted each time");
}

#[tokio::test]
async fn an_order_that_comes_twice_counts_once_and_an_older_version_not_at_all() {
    let (folder, hands, config) = (Folder::new(), Hands::new(), site(&["hall"], UTILITY));
    let desk = desk(&config, &folder.database(), &hands);
    let utility = source(&desk, "utility");
    let second = Order { revision: 2, ..order("a", 50.0, hands.wall(), None) };
    assert_eq!(desk.give(utility, second.clone()).await, Ok(Receipt::Accepted));
    assert_eq!(desk.give(utility, second).await, Ok(Receipt::Duplicate));
    assert_eq!(desk.give(utility, order("a", 90.0, hands.wall(), None)).await, Ok(Receipt::Outdated));
    assert_eq!(import(&desk), Some(50.0));
    assert_eq!(desk.records().len(), 1);
    let third = Order { revision: 3, ..order("a", 70.0, hands.wall(), None) };
    assert_eq!(desk.give(utility, third).await, Ok(Receipt::Replaced));
    let records = desk.records();
    assert_eq!((records[0].revision, records[0].stage.name()), (3, "accepted"));
    assert_eq!((records[1].stage.name(), records[1].note.as_deref()), ("ended", Some("a later version")));
}

#[tokio::test]
async fn a_clock_in_doubt_begins_orders_early_and_ends_them_late() {
    let hands = Hands::new();
    let config = site(&["hall"], UTILITY);
    let sources = config.signals.iter().map(|spec| spec.settings.clone()).collect();
    let wall = {
        let hands = hands.clone();
        Arc::new(move || (hands.wall(), ballast::control::signal::Doubt::Unknown))
    };
    tokio::time::pause();
    let pass = async |time| {
        hands.forward(time);
        tokio::time::advance(time).await;
    };
    let desk = Desk::new(config.site.clone(), sources, Clock::start(), wall);
    let begin = hands.wall().later(minutes(10));
    let event = order("a", 50.0, begin, Some(begin.later(minutes(10))));
    desk.give(source(&desk, "utility"), event).await.unwrap();
    assert_eq!(import(&desk), None);
    let phase = || {
        let glance = desk.glance(source(&desk, "utility")).unwrap();
        glance.standing("a").map(|held| glance.phase(held))
    };
    assert_eq!(phase(), Some(Phase::Ahead));
    pass(minutes(5)).await;
    desk.heartbeat(source(&desk, "utility"));
    assert_eq!(import(&desk), Some(50.0), "five minutes early");
    assert_eq!(phase(), Some(Phase::Acting), "the lists say what the law does");
    assert_eq!(desk.views()[1].as_ref().unwrap().state, SourceState::Degraded);
    let status = desk.status();
    assert!(!status.clock_synchronised);
    let told = status.sources[1].caps[0].late.map(|late| late.words());
    assert_eq!(told.as_deref(), Some("up to 5 min longer because the clock is not synchronised"));
    assert_eq!(desk.glance(source(&desk, "utility")).map(|at| at.margin()), Some(minutes(5)));
    pass(minutes(19)).await;
    desk.heartbeat(source(&desk, "utility"));
    assert_eq!(import(&desk), Some(50.0), "and nearly five minutes late");
    assert_eq!(phase(), Some(Phase::Acting), "in its extra minutes it stands in the lists");
    pass(minutes(1)).await;
    desk.heartbeat(source(&desk, "utility"));
    assert_eq!(import(&desk), None);
    assert_eq!(phase(), None);
}

/// A site with a meter, and cycles of the control law in which it says what the test wants.
struct Cycles {
    state: State,
    config: Config,
    desk: Desk,
    hands: Hands,
    second: u64,
}

impl Cycles {
    fn new() -> Self {
        let text = r#"
[links.bus]
tcp = "127.0.66.99:502"
[meters.pcc]
link = "bus"
unit = 1
profile = "eastron-sdm630"
"#;
        let mut config = site(&["hall"], &format!("{UTILITY}{text}"));
        let mut site = (*config.site).clone();
        site.circuits[0].meter = Some(ballast::control::site::MeterId(0));
        config.site = Arc::new(site);
        let hands = Hands::new();
        tokio::time::pause();
        let sources = config.signals.iter().map(|spec| spec.settings.clone()).collect();
        let desk = Desk::new(config.site.clone(), sources, Clock::start(), hands.clock());
        Self { state: State::new(config.site.clone()), config, desk, hands, second: 0 }
    }

    async fn run(&mut self, seconds: u64, kilowatts: f64) -> Vec<News> {
        for _ in 0..seconds {
            self.second += 1;
            tokio::time::advance(Duration::from_secs(1)).await;
            self.hands.forward(Duration::from_secs(1));
            let now = Moment::millis(self.second * 1_000);
            let reading = Reading { value: Watts::kilowatts(kilowatts), at: now };
            let meters = vec![MeterInput::new(MeterStatus::Ok, Some(reading))];
            let miners = vec![ballast::control::snapshot::MinerInput::PENDING; self.config.site.miners.len()];
            let snapshot = Snapshot { orders: self.desk.look(), ..Snapshot::new(now, meters, miners) };
            let decision = step(&mut self.state, &snapshot);
            self.desk.note(&Frame {
                site: self.config.site.clone(),
                snapshot: Arc::new(snapshot),
                decision: Arc::new(decision),
            });
        }
        self.desk.take_news()
    }
}

#[tokio::test]
async fn a_reduction_is_measured_against_the_ten_minutes_before_it() {
    let mut cycles = Cycles::new();
    let utility = source(&cycles.desk, "utility");
    // In control, so that no fail-safe stands.
    cycles.desk.list(utility, List::default()).await.unwrap();
    let reduce = |id: &str, hands: &Hands| Order {
        ask: Ask::ReduceBy(Watts::kilowatts(30.0)),
        ..order(id, 0.0, hands.wall(), None)
    };
    cycles.run(30, 200.0).await;
    let early = cycles.desk.give(utility, reduce("a", &cycles.hands)).await;
    assert_eq!(early, Err(Refusal::NoBaseline.into()), "half a minute is too little");
    cycles.run(60, 200.0).await;
    cycles.desk.give(utility, reduce("a", &cycles.hands)).await.unwrap();
    assert_eq!(import(&cycles.desk), Some(170.0));
    assert_eq!(cycles.desk.records()[0].baseline, Some(Watts::kilowatts(200.0)));
    cycles.run(300, 150.0).await;
    cycles.desk.give(utility, reduce("b", &cycles.hands)).await.unwrap();
    let record = &cycles.desk.records()[0];
    assert_eq!(record.baseline, Some(Watts::kilowatts(200.0)), "time under an order is no baseline");
}

#[tokio::test]
async fn an_order_is_proven_from_received_to_ended_and_over_delivery_shows() {
    let mut cycles = Cycles::new();
    let utility = source(&cycles.desk, "utility");
    cycles.desk.list(utility, List::default()).await.unwrap();
    cycles.run(90, 200.0).await;
    let until = cycles.hands.wall().later(minutes(2));
    let order = Order {
        ask: Ask::ReduceBy(Watts::kilowatts(100.0)),
        ..order("a", 0.0, cycles.hands.wall(), Some(until))
    };
    cycles.desk.give(utility, order).await.unwrap();
    let accepted = cycles.desk.take_news();
    assert!(matches!(&accepted[..], [News { what: What::Accepted { .. }, .. }]), "{accepted:?}");
    assert_eq!(cycles.run(5, 180.0).await, [], "not met yet");
    let record = &cycles.desk.records()[0];
    assert_eq!(record.stage, Stage::Acting);
    assert_eq!(record.shortfall, Some(Watts::kilowatts(80.0)), "under-delivery, in watts");
    assert_eq!(record.met, None);
    let met = cycles.run(1, 60.0).await;
    assert!(
        matches!(&met[..], [News { what: What::Met(after), .. }] if *after == Duration::from_secs(5)),
        "{met:?}"
    );
    cycles.run(100, 60.0).await;
    let source = &cycles.desk.status().sources[1];
    assert_eq!(source.met_after, Some(Duration::from_secs(5)));
    assert_eq!(source.shortfall, Some(Watts::ZERO));
    assert!(source.deviation.unwrap() < Watts::kilowatts(-30.0), "over-delivery, in watts");
    let ended = cycles.run(20, 60.0).await;
    assert!(matches!(&ended[..], [News { what: What::Ended { .. }, .. }]), "{ended:?}");
    let record = &cycles.desk.records()[0];
    assert_eq!(record.stage, Stage::Ended);
    assert!(record.delivered.unwrap() > 1.2, "{:?}", record.delivered);
    assert!(record.avoided.unwrap().kilowatt_hours() > 0.0);
    assert_eq!(record.shortfall, None);
}

#[tokio::test]
async fn an_order_that_is_hidden_by_a_better_one_is_not_observed() {
    let mut cycles = Cycles::new();
    let utility = source(&cycles.desk, "utility");
    cycles.desk.give(utility, order("plain", 50.0, cycles.hands.wall(), None)).await.unwrap();
    let better = Order { priority: 1, ..order("better", 120.0, cycles.hands.wall(), None) };
    cycles.desk.give(utility, better).await.unwrap();
    cycles.run(10, 110.0).await;
    let records = cycles.desk.records();
    let of = |id: &str| records.iter().find(|record| &*record.id == id).unwrap();
    assert_eq!((of("plain").stage.name(), of("plain").applied), ("accepted", None));
    assert!(of("better").met.is_some());
}

#[tokio::test]
async fn what_was_measured_goes_on_after_a_restart() {
    let (folder, hands, config) = (Folder::new(), Hands::new(), site(&["hall"], UTILITY));
    let one = desk(&config, &folder.database(), &hands);
    let utility = source(&one, "utility");
    one.give(utility, order("a", 20.0, hands.wall(), None)).await.unwrap();
    let short = order("b", 30.0, hands.wall(), Some(hands.wall().later(minutes(1))));
    one.give(utility, short).await.unwrap();
    one.beat().await;
    crash(one, &folder.database());
    hands.forward(minutes(5));
    let two = desk(&config, &folder.database(), &hands);
    let records = two.records();
    assert_eq!(records.len(), 2, "no order has two records: {records:?}");
    assert!(records.iter().all(|record| record.stored));
}

#[test]
fn the_service_keeps_its_orders_in_the_state_directory_of_systemd() {
    let folder = Folder::new();
    let config = folder.0.join("ballast.toml");
    let text = format!(
        "{}[web]\nlisten = \"127.0.0.1:0\"\n{UTILITY}",
        signals_bench::text(&["hall"]).replace("\"control\"", "\"observe\"")
    );
    std::fs::write(&config, text).unwrap();
    let log = std::fs::File::create(folder.0.join("log")).unwrap();
    let mut service = std::process::Command::new(env!("CARGO_BIN_EXE_ballast"))
        .args(["run", "-c"])
        .arg(&config)
        .env("STATE_DIRECTORY", format!("{}:/nowhere", folder.0.display()))
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let said = || std::fs::read_to_string(folder.0.join("log")).unwrap_or_default();
    for _ in 0..1_200 {
        if said().contains("metrics and status on") && said().contains("fail-safe value holds") {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    service.kill().unwrap();
    service.wait().unwrap();
    assert!(said().contains("not heard yet: its fail-safe value holds"), "{}", said());
    assert!(!said().contains("kept in memory alone"), "{}", said());
    let loaded = open(&folder.database()).loaded;
    assert!(loaded.alive.is_some(), "it has given a sign of life");
}

#[tokio::test]
async fn an_order_lowers_the_measured_power_of_the_site_and_its_end_gives_it_back() {
    let folder = Folder::new();
    let plant = signals_plant::Plant::start(&folder.database()).await;
    let desk = plant.daemon.desk().clone();
    let utility = source(&desk, "utility");
    desk.list(utility, List::default()).await.unwrap();
    plant.reaches("the fleet runs", |power| power > 24_000.0).await;

    let order = order("event", 20.0, desk.wall(), None);
    desk.give(utility, order).await.unwrap();
    plant.reaches("the order is met at the meter", |power| power <= 20_200.0).await;
    let record = plant.record("event", |record| record.met.is_some()).await;
    assert!(record.stored && record.applied.is_some());
    let metrics = String::from_utf8(plant.daemon.exporter().render().unwrap()).unwrap();
    for line in [
        "ballast_signal_state{source=\"utility\",state=\"limited\"} 1",
        "ballast_order_shortfall_watts{source=\"utility\"} 0",
        "ballast_orders_total{source=\"utility\",result=\"accepted\"} 1",
        "ballast_limit_met_seconds{source=\"utility\"}",
        "ballast_store_errors_total 0",
        "ballast_clock_synchronised 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }

    // In the middle of it the daemon is stopped and started: nothing is given back unasked.
    let plant = plant.restarted().await;
    let desk = plant.daemon.desk().clone();
    assert_eq!(import(&desk), Some(20.0));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let power = plant.power();
    assert!(power <= 20_400.0, "{power} W after the restart");

    desk.list(utility, List::default()).await.unwrap();
    plant.reaches("power comes back", |power| power > 24_000.0).await;
    let record = plant.record("event", |record| record.ended.is_some()).await;
    assert_eq!(record.note.as_deref(), Some("taken back"));
    plant.stop().await;
}
