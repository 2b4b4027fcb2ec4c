//! A clock that is wrong, and a configuration that is read again at the wrong moment, loosen nothing.

use crate::signals_bench;

use std::path::Path;
use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::signal::book::Phase;
use ballast::control::signal::{Doubt, Order, Receipt, SourceState, Wall};
use ballast::control::site::{CircuitId, Scope};
use ballast::signal::desk::{MOST_OFF, Made};
use ballast::signal::record::Stage;
use ballast::signal::{Desk, List};
use signals_bench::{
    Folder, Hands, ROOT, UTILITY, acting, desk, eventually, import, let_go, open, order, site, source,
    tightest,
};

const DAY: Duration = Duration::from_secs(86_400);

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

fn plain(signals: &str) -> (Desk, Hands) {
    let (hands, config) = (Hands::new(), site(&["east", "west"], signals));
    let sources = config.signals.iter().map(|spec| spec.settings.clone()).collect();
    (Desk::new(config.site.clone(), sources, Clock::start(), hands.clock()), hands)
}

fn configure(desk: &Desk, circuits: &[&str], signals: &str) {
    let config = site(circuits, signals);
    desk.configure(config.site.clone(), config.signals.iter().map(|spec| spec.settings.clone()).collect());
}

/// Ends a desk as a crash does. Its thread lets go of the file.
fn crash(desk: Desk, path: &Path) {
    drop(desk);
    let_go(path);
}

#[tokio::test]
async fn a_restart_with_the_clock_off_by_anything_resumes_what_had_begun() {
    for off in [-1_200, 60, 3_600, -56 * 365 * 86_400, 500 * 86_400_i64] {
        let (folder, hands, config) = (Folder::new(), Hands::new(), site(&["hall"], UTILITY));
        let one = desk(&config, &folder.database(), &hands);
        let operator = source(&one, "operator");
        one.give(operator, order("stop", 0.0, hands.wall(), None)).await.unwrap();
        let hour = order("hour", 300.0, hands.wall(), Some(hands.wall().later(minutes(60))));
        one.give(operator, hour).await.unwrap();
        one.beat().await;
        crash(one, &folder.database());
        hands.jump(off);
        let two = desk(&config, &folder.database(), &hands);
        assert!(acting(&two).contains(&"stop".into()), "{off} s off");
        assert_eq!(import(&two), Some(0.0), "{off} s off");
        let glance = two.glance(source(&two, "operator")).unwrap();
        assert!(
            glance.held.iter().all(|held| glance.phase(held) == Phase::Acting),
            "{off} s: {:?}",
            glance.held
        );
    }
}

#[tokio::test]
async fn an_order_of_later_has_begun_on_disk_as_soon_as_it_begins() {
    let (folder, hands, config) = (Folder::new(), Hands::new(), site(&["hall"], UTILITY));
    let one = desk(&config, &folder.database(), &hands);
    let operator = source(&one, "operator");
    one.give(operator, order("tonight", 0.0, hands.wall().later(minutes(5)), None)).await.unwrap();
    assert!(!acting(&one).contains(&"tonight".into()));
    hands.forward(minutes(5));
    assert!(acting(&one).contains(&"tonight".into()));
    one.beat().await;
    crash(one, &folder.database());
    hands.jump(-1_200);
    assert!(acting(&desk(&config, &folder.database(), &hands)).contains(&"tonight".into()));
}

#[tokio::test]
async fn a_wrong_clock_trims_no_record() {
    let (folder, hands, config) = (Folder::new(), Hands::new(), site(&["hall"], UTILITY));
    let one = desk(&config, &folder.database(), &hands);
    let utility = source(&one, "utility");
    // As if it had been recorded by a clock of two years ago.
    let old = order("old", 50.0, hands.wall(), None);
    hands.jump(-730 * 86_400);
    one.give(utility, Order { from: hands.wall(), ..old }).await.unwrap();
    one.take_back(utility, "old", None).await.unwrap();
    one.beat().await;
    one.give(utility, order("new", 50.0, hands.wall(), None)).await.unwrap();
    one.beat().await;
    crash(one, &folder.database());
    let rows = open(&folder.database()).loaded.ledger;
    assert!(rows.iter().any(|row| &*row.id == "old" && row.ended.is_some()), "{rows:?}");
}

#[tokio::test]
async fn an_order_is_taken_again_after_its_end_though_the_clock_went_back() {
    let (desk, hands) = plain(UTILITY);
    let utility = source(&desk, "utility");
    let give = async || {
        let revision = desk.next_revision(utility, "a");
        desk.give(utility, Order { revision, ..order("a", 50.0, hands.wall(), None) }).await
    };
    assert_eq!(give().await, Ok(Receipt::Accepted));
    assert!(desk.take_back(utility, "a", None).await.unwrap());
    hands.jump(-1_200);
    assert_eq!(give().await, Ok(Receipt::Accepted), "its version is a later one, whatever the clock says");
    assert_eq!(import(&desk), Some(50.0));
}

#[tokio::test]
async fn taking_back_what_never_was_ends_no_fail_safe() {
    let (desk, hands) = plain(UTILITY);
    let utility = source(&desk, "utility");
    assert_eq!(import(&desk), Some(100.0));
    assert!(!desk.take_back(utility, "never", None).await.unwrap());
    assert_eq!(import(&desk), Some(100.0));
    assert_eq!(desk.view(utility).unwrap().state, SourceState::Init);
    // Nor does a version that is outdated, or an order whose time is over.
    let over = order("over", 400.0, hands.wall().earlier(minutes(9)), Some(hands.wall().earlier(minutes(8))));
    assert_eq!(desk.give(utility, over).await, Ok(Receipt::Over));
    assert_eq!(import(&desk), Some(100.0));
    desk.give(utility, Order { revision: 5, ..order("a", 400.0, hands.wall(), None) }).await.unwrap();
    assert_eq!(import(&desk), Some(400.0), "an order does");
}

#[tokio::test]
async fn what_is_outdated_ends_no_fail_safe() {
    tokio::time::pause();
    let (desk, hands) = plain(UTILITY);
    let utility = source(&desk, "utility");
    desk.give(utility, Order { revision: 5, ..order("a", 400.0, hands.wall(), None) }).await.unwrap();
    assert_eq!(import(&desk), Some(400.0));
    tokio::time::advance(minutes(3)).await;
    assert_eq!(import(&desk), Some(100.0), "lost");
    let late = Order { revision: 4, ..order("a", 450.0, hands.wall(), None) };
    assert_eq!(desk.give(utility, late).await, Ok(Receipt::Outdated));
    assert_eq!(import(&desk), Some(100.0));
}

const TWO: &str = "[signals.utility]\nkind = \"http\"\nlost_after = \"120s\"\nfail_safe = \"100 kW\"\n\
                   [signals.other]\nkind = \"http\"\nlost_after = \"120s\"\nfail_safe = \"90 kW\"\n";
const TURNED: &str = "[signals.other]\nkind = \"http\"\nlost_after = \"120s\"\nfail_safe = \"90 kW\"\n\
                      [signals.utility]\nkind = \"http\"\nlost_after = \"120s\"\nfail_safe = \"100 kW\"\n";

#[tokio::test]
async fn a_source_and_a_circuit_found_before_a_reload_are_the_same_after_it() {
    let (desk, hands) = plain(TWO);
    let (utility, other) = (source(&desk, "utility"), source(&desk, "other"));
    // Found by number in the configuration of then: 2 is west, and will be east.
    let west = |id: &str| Order {
        circuit: CircuitId(2),
        scope: Scope::Miners,
        ..order(id, 2.0, hands.wall(), None)
    };
    assert_eq!(desk.look().len(), 2);
    configure(&desk, &["west", "east"], TURNED);
    desk.give(utility, west("w")).await.unwrap();
    let held = |name: &str| desk.held(source(&desk, name)).len();
    assert_eq!((held("utility"), held("other")), (1, 0));
    assert_eq!(desk.site().circuits[1].name, "west");
    assert_eq!(tightest(&desk.look(), CircuitId(1), Scope::Miners), Some(2.0));
    assert_eq!(tightest(&desk.look(), CircuitId(2), Scope::Miners), None);
    // Every other word for a source, too.
    let state = |name: &str| desk.view(source(&desk, name)).unwrap().state;
    assert_eq!((state("utility"), state("other")), (SourceState::Limited, SourceState::Init));
    desk.complain(utility, "nonsense".into());
    desk.heartbeat(utility);
    desk.doubt(utility, Doubt::Off(minutes(2)));
    assert!(desk.lift(utility, "night shift", hands.wall().later(minutes(10))).await.unwrap());
    desk.look();
    assert!(desk.view(source(&desk, "other")).unwrap().lifted.is_none());
    assert!(desk.view(source(&desk, "utility")).unwrap().lifted.is_some());
    assert_eq!(desk.settings(other).unwrap().name, "other");
    assert!(!desk.take_back(other, "w", None).await.unwrap());
    assert!(desk.take_back(utility, "w", None).await.unwrap());
    // What is gone is gone, and nobody stands in for it.
    configure(&desk, &["west", "east"], UTILITY);
    assert!(desk.give(other, order("o", 1.0, hands.wall(), None)).await.is_err());
    assert!(desk.list(other, List::default()).await.is_err());
    assert_eq!(held("utility"), 1, "{:?}", desk.held(source(&desk, "utility")));
    // So is what was found too long ago.
    for _ in 0..40 {
        configure(&desk, &["west", "east"], TWO);
    }
    assert!(desk.give(utility, order("late", 1.0, hands.wall(), None)).await.is_err());
}

#[tokio::test]
async fn a_reload_while_an_order_waits_for_its_turn_puts_it_under_no_other_source() {
    let (folder, hands) = (Folder::new(), Hands::new());
    let desk = desk(&site(&["east", "west"], TWO), &folder.database(), &hands);
    let utility = source(&desk, "utility");
    let west = Order { circuit: CircuitId(2), scope: Scope::Miners, ..order("w", 2.0, hands.wall(), None) };
    // Many at once: they wait for each other, and for the disk.
    let waiting: Vec<_> = (0..20)
        .map(|number| {
            let (desk, order) = (desk.clone(), Order { id: format!("w{number}").into(), ..west.clone() });
            tokio::spawn(async move { desk.give(utility, order).await })
        })
        .collect();
    tokio::task::yield_now().await;
    configure(&desk, &["west", "east"], TURNED);
    for give in waiting {
        assert_eq!(give.await.unwrap(), Ok(Receipt::Accepted));
    }
    assert_eq!(desk.held(source(&desk, "other")).len(), 0);
    let held = desk.held(source(&desk, "utility"));
    assert!(held.len() == 20 && held.iter().all(|held| held.order.circuit == CircuitId(1)), "{held:?}");
}

#[tokio::test]
async fn a_list_takes_nothing_back_that_came_after_it_was_made() {
    let (desk, hands) = plain(UTILITY);
    let utility = source(&desk, "utility");
    let now = hands.wall();
    let theirs = |second: i64| Wall::unix_millis(now.as_unix_millis() - 90_000 + second * 1_000);
    let list = |sent, arrived| List { made: Some(Made { sent, arrived }), ..List::default() };
    desk.give_sent(utility, order("a", 50.0, now, None), Some(theirs(10)), None).await.unwrap();
    desk.list(utility, list(Some(theirs(9)), now)).await.unwrap();
    assert_eq!(import(&desk), Some(50.0), "by the clock of the source it is older than the order");
    // An older version that comes late changes nothing either, with the version left to us.
    let late = Order { revision: 9, ..order("a", 400.0, now, None) };
    assert_eq!(desk.give_sent(utility, late, Some(theirs(8)), None).await, Ok(Receipt::Outdated));
    assert_eq!(import(&desk), Some(50.0));
    desk.list(utility, list(Some(theirs(11)), now)).await.unwrap();
    assert_eq!(import(&desk), None);
    // Without a word of its clock: what came while it arrived stays.
    desk.give(utility, order("b", 60.0, now, None)).await.unwrap();
    desk.list(utility, list(None, now.earlier(Duration::from_millis(5)))).await.unwrap();
    assert_eq!(import(&desk), Some(60.0));
    desk.list(utility, list(None, now)).await.unwrap();
    assert_eq!(import(&desk), None);
}

#[tokio::test]
async fn a_source_without_a_calendar_moves_no_window_by_more_than_an_hour() {
    let (desk, hands) = plain(UTILITY);
    let utility = source(&desk, "utility");
    let tonight = hands.wall().later(minutes(61));
    desk.give(utility, order("tonight", 10.0, tonight, None)).await.unwrap();
    desk.doubt(utility, Doubt::Off(DAY * 20_000));
    assert_eq!(import(&desk), None, "{MOST_OFF:?} at the most");
}

#[tokio::test]
async fn a_refused_correction_leaves_the_record_of_what_holds() {
    let (desk, hands) = plain(UTILITY);
    let utility = source(&desk, "utility");
    desk.give(utility, order("a", 50.0, hands.wall(), None)).await.unwrap();
    let wrong = Order { revision: 2, ..order("a", -1.0, hands.wall(), None) };
    assert!(desk.give(utility, wrong).await.is_err());
    assert!(desk.take_back(utility, "a", None).await.unwrap());
    let records = desk.records();
    let stages: Vec<_> = records.iter().map(|record| record.stage.name()).collect();
    assert_eq!(stages, ["refused", "ended"], "{records:?}");
    assert!(records.iter().all(|record| record.stage != Stage::Acting));
    assert_eq!(tightest(&desk.look(), ROOT, Scope::Import), None);
}

#[tokio::test]
async fn the_records_of_a_damaged_or_lost_file_say_what_is_on_disk() {
    let (folder, hands, config) = (Folder::new(), Hands::new(), site(&["hall"], UTILITY));
    let desk = desk(&config, &folder.database(), &hands);
    let utility = source(&desk, "utility");
    let stored = |id: &str| desk.glance(utility).unwrap().stored(id);
    desk.give(utility, order("a", 50.0, hands.wall(), None)).await.unwrap();
    assert!(stored("a"));
    // The folder goes while the daemon runs, and the open file with it.
    std::fs::remove_dir_all(&folder.0).unwrap();
    desk.give(utility, order("b", 40.0, hands.wall(), None)).await.unwrap();
    assert_eq!(import(&desk), Some(40.0), "obeyed all the same");
    assert!(!stored("b"));
    assert!(!desk.records()[0].stored);
    assert!(desk.take_back(utility, "b", None).await.unwrap());
    // It is there again: so is everything that stands.
    std::fs::create_dir_all(&folder.0).unwrap();
    desk.give(utility, order("c", 30.0, hands.wall(), None)).await.unwrap();
    // Where the disk has failed an order is not kept waiting for it.
    eventually("what stands is on disk", async || {
        desk.beat().await;
        stored("c")
    })
    .await;
    crash(desk, &folder.database());
    let kept = &open(&folder.database()).loaded.sources[0].1;
    let names: Vec<_> =
        kept.orders.iter().filter(|it| it.held.withdrawn.is_none()).map(|it| &*it.held.order.id).collect();
    assert_eq!(names, ["a", "c"]);
}

#[tokio::test]
async fn what_was_on_a_disk_that_came_late_joins_what_is_known() {
    let (folder, hands, config) = (Folder::new(), Hands::new(), site(&["hall"], UTILITY));
    let (there, away) = (folder.0.join("there"), folder.0.join("away"));
    std::fs::create_dir(&away).unwrap();
    let one = desk(&config, &away.join("ballast.db"), &hands);
    let operator = source(&one, "operator");
    one.give(operator, order("stop", 30.0, hands.wall(), None)).await.unwrap();
    one.give(operator, order("same", 80.0, hands.wall(), None)).await.unwrap();
    one.beat().await;
    crash(one, &away.join("ballast.db"));
    let database = there.join("ballast.db");
    let sources = config.signals.iter().map(|spec| spec.settings.clone()).collect();
    let store = ballast::store::Store::absent(&database);
    let two = Desk::without_disk(config.site.clone(), sources, Clock::start(), hands.clock(), store);
    let again = Order { revision: 2, ..order("same", 70.0, hands.wall(), None) };
    two.give(operator, again).await.unwrap();
    assert!(!two.glance(operator).unwrap().stored("same"));
    assert_eq!(import(&two), Some(70.0));
    // The folder comes with the file in it, at once: its thread may look at any moment, and makes a file where there is a
    // folder without one.
    std::fs::rename(&away, &there).unwrap();
    // It finds the file when it next has something to write.
    eventually("the operator's stop is known again", async || {
        two.beat().await;
        import(&two) == Some(30.0)
    })
    .await;
    eventually("both are on disk", async || {
        two.beat().await;
        let glance = two.glance(operator).unwrap();
        glance.stored("stop") && glance.stored("same")
    })
    .await;
    crash(two, &database);
    let loaded = open(&database).loaded;
    let caps: Vec<_> = loaded.sources[0].1.orders.iter().map(|it| it.held.cap.get() / 1e3).collect();
    assert_eq!(caps, [70.0, 30.0]);
    assert!(loaded.ledger.iter().filter(|row| &*row.id == "same").count() >= 2, "no record was written over");
}
