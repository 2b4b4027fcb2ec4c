//! The database: what is kept comes back, what cannot be trusted is set aside, and a disk that fails is told.

use crate::signals_bench;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::learned::Learned;
use ballast::control::signal::book::{Begun, Held};
use ballast::control::signal::{Active, Ask, Basis, Order, Urgency, Wall, Why};
use ballast::control::site::{CircuitId, Scope};
use ballast::store::boot::Alive;
use ballast::store::{Kept, LearnedRow, LedgerRow, Store, StoreError, StoredCap, StoredOrder, Write};
use ballast::units::{Joules, Watts};
use proptest::prelude::*;
use signals_bench::{Folder, eventually, let_go, open, order};

fn wall(milliseconds: i64) -> Wall {
    Wall::unix_millis(milliseconds)
}

fn stored(order: Order) -> StoredOrder {
    let held = Held {
        cap: Watts::kilowatts(12.5),
        baseline: None,
        received: wall(5),
        start_delay: Duration::ZERO,
        return_delay: Duration::ZERO,
        withdrawn: None,
        begun: None,
        sent: None,
        order,
    };
    StoredOrder { circuit: "pcc".into(), held }
}

fn kept(names: &[&str]) -> Kept {
    let mut orders: Vec<_> = names.iter().map(|name| stored(order(name, 12.5, wall(1), None))).collect();
    orders.sort_by(|one, other| one.held.order.id.cmp(&other.held.order.id));
    Kept { orders, ..Kept::default() }
}

async fn write(store: &Store, source: &str, kept: &Kept) -> Result<(), StoreError> {
    let sources = vec![(source.into(), kept.clone())];
    store.write(Write { sources, ..Write::default() }).await
}

fn row(number: u64) -> LedgerRow {
    LedgerRow {
        number,
        source: "utility".into(),
        id: format!("order {number}").into(),
        revision: u64::MAX,
        circuit: "pcc".into(),
        scope: Scope::Miners,
        stage: "ended".into(),
        reason: Some("taken back".into()),
        cap: Some(Watts::kilowatts(3.0)),
        baseline: Some(Watts::kilowatts(9.0)),
        basis: Basis::Mean(Duration::from_secs(900)),
        from: wall(1),
        until: Some(wall(2)),
        // Too old for the ledger by the calendar is tested elsewhere.
        received: wall(4_000_000_000_000),
        applied: Some(wall(4)),
        met: Some(wall(5)),
        ended: Some(wall(6)),
        measured: Duration::from_millis(1_234),
        energy: Joules::saturating(77.5),
        worst: Watts::whole(8),
        worst_mean: Some(Watts::whole(9)),
        stored: true,
        by: Some("Aisha".into()),
        remark: number.is_multiple_of(2).then(|| "the transformer hums".into()),
    }
}

/// What is on disk, by a connection of its own.
fn loaded(path: &Path) -> ballast::store::Loaded {
    open(path).loaded
}

#[tokio::test]
async fn everything_that_is_kept_comes_back_as_it_was() {
    let folder = Folder::new();
    let everything = Kept {
        orders: vec![StoredOrder {
            circuit: "hall \"7\"; DROP TABLE orders".into(),
            held: Held {
                order: Order {
                    revision: u64::MAX,
                    lane: "DISPATCH_SETPOINT".into(),
                    priority: u32::MAX,
                    scope: Scope::Miners,
                    ask: Ask::ShareOfNameplate(0.3),
                    basis: Basis::Mean(Duration::from_secs(900)),
                    urgency: Urgency::Emergency,
                    until: Some(wall(i64::MAX)),
                    start_spread: Duration::from_secs(60),
                    ..order("ü'1", 0.0, wall(-5), None)
                },
                cap: Watts::ZERO,
                baseline: Some(Watts::kilowatts(300.0)),
                received: wall(7),
                start_delay: Duration::from_millis(1_500),
                return_delay: Duration::from_secs(9),
                withdrawn: Some(wall(11)),
                begun: Some(Begun { wall: wall(7), steady: wall(-3) }),
                sent: Some(wall(6)),
            },
        }],
        withdrawn: vec![("b".into(), 3), ("a".into(), u64::MAX), ("b".into(), 4)],
        caps: vec![StoredCap {
            circuit: "pcc".into(),
            active: Active {
                circuit: CircuitId(0),
                scope: Scope::Import,
                cap: Watts::kilowatts(50.0),
                why: Why::Kept("old".into()),
                basis: Basis::Instant,
                urgency: Urgency::Normal,
            },
        }],
        lift: Some(("night shift".into(), wall(99))),
    };
    let alive = Alive {
        boot: Some("a".into()),
        uptime: Some(Duration::from_secs(5)),
        wall: wall(1_000),
        steady: Some(wall(990)),
    };
    let write = Write {
        sources: vec![("utility".into(), everything.clone()), ("operator".into(), kept(&["one"]))],
        ledger: vec![row(1), row(2)],
        alive: Some(alive.clone()),
        learned: Vec::new(),
        maintenance: None,
        alarms: Vec::new(),
        ..Write::default()
    };
    open(&folder.database()).store.write(write).await.unwrap();
    let loaded = loaded(&folder.database());
    assert_eq!(
        loaded.sources,
        [("operator".into(), kept(&["one"])), ("utility".into(), everything)],
        "every field"
    );
    assert_eq!(loaded.ledger, [row(1), row(2)]);
    assert_eq!((loaded.last_number, loaded.unreadable, loaded.alive), (2, 0, Some(alive)));
}

#[tokio::test]
async fn the_newest_entries_of_the_ledger_are_read_and_the_oldest_are_dropped() {
    let folder = Folder::new();
    let opened = open(&folder.database());
    let most = u64::from(ballast::store::MOST_LEDGER);
    for first in [1, most + 101] {
        let ledger = (first..first + 100).map(row).collect();
        opened.store.write(Write { ledger, ..Write::default() }).await.unwrap();
        for _ in 0..64 {
            let ledger = vec![row(first)];
            opened.store.write(Write { ledger, ..Write::default() }).await.unwrap();
        }
    }
    drop(opened);
    let loaded = Store::open(&folder.database(), 10).unwrap().loaded;
    assert_eq!(loaded.ledger.len(), 10);
    assert_eq!(loaded.ledger.last().map(|row| row.number), Some(most + 200));
    let all = Store::open(&folder.database(), usize::try_from(most).unwrap()).unwrap().loaded.ledger;
    assert!(all.first().is_some_and(|row| row.number > 100), "what is too far back is gone");
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_never_deleted() {
    let folder = Folder::new();
    let path = folder.database();
    let rubbish = b"this was a database once, before the lightning".repeat(40);
    fs::write(&path, &rubbish).unwrap();
    let opened = open(&path);
    let damaged = opened.damaged.unwrap();
    assert_eq!(fs::read(&damaged.aside).unwrap(), rubbish, "for whoever wants to look");
    assert!(opened.loaded.sources.is_empty());
    write(&opened.store, "utility", &kept(&["a"])).await.unwrap();
    drop(opened.store);
    assert_eq!(loaded(&path).sources, [("utility".into(), kept(&["a"]))], "the new file works");
}

#[tokio::test]
async fn a_file_that_is_damaged_in_the_middle_is_noticed() {
    let folder = Folder::new();
    let path = folder.database();
    let names: Vec<String> = (0..400).map(|number| format!("order {number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let opened = open(&path);
    write(&opened.store, "utility", &kept(&names)).await.unwrap();
    drop(opened);
    let_go(&path);
    let mut bytes = fs::read(&path).unwrap();
    let (from, to) = (bytes.len() / 3, bytes.len() * 2 / 3);
    bytes[from..to].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    assert!(open(&path).damaged.is_some());
}

#[tokio::test]
async fn the_database_of_another_program_or_a_later_version_is_left_alone() {
    let folder = Folder::new();
    for (name, sql) in [
        ("other.db", "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1);"),
        ("later.db", "PRAGMA user_version = 99;"),
    ] {
        let path = folder.0.join(name);
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute_batch(sql).unwrap();
        drop(connection);
        let before = fs::read(&path).unwrap();
        let damaged = open(&path).damaged.unwrap();
        assert_eq!(fs::read(&damaged.aside).unwrap(), before, "{name}: {}", damaged.reason);
    }
}

#[tokio::test]
async fn rows_that_make_no_sense_are_left_out_and_counted() {
    let folder = Folder::new();
    let opened = open(&folder.database());
    write(&opened.store, "utility", &kept(&["a", "b"])).await.unwrap();
    drop(opened);
    let_go(&folder.database());
    let connection = rusqlite::Connection::open(folder.database()).unwrap();
    connection.execute("UPDATE orders SET scope = 'everything' WHERE name = 'a'", []).unwrap();
    drop(connection);
    let loaded = loaded(&folder.database());
    assert_eq!((loaded.sources, loaded.unreadable), (vec![("utility".into(), kept(&["b"]))], 1));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_an_error_that_says_what_to_do() {
    let folder = Folder::new();
    let path = folder.0.join("missing").join("ballast.db");
    let error = Store::open(&path, 10).err().unwrap().to_string();
    assert!(error.contains("ballast.db") && error.contains("writable"), "{error}");
}

#[tokio::test]
async fn a_write_that_fails_is_told_and_made_good_by_the_next_one() {
    let folder = Folder::new();
    let opened = open(&folder.database());
    write(&opened.store, "utility", &kept(&["a"])).await.unwrap();
    // Somebody else holds the file for longer than it is waited for.
    let other = rusqlite::Connection::open(folder.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; INSERT INTO lifts VALUES ('x', 'y', 1);").unwrap();
    let error = write(&opened.store, "utility", &kept(&["a", "b"])).await.unwrap_err();
    assert!(matches!(error, StoreError::Write(_)), "{error}");
    assert!(opened.store.failing());
    assert_eq!(opened.store.errors(), 1);
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    eventually("it is written", async || write(&opened.store, "utility", &kept(&["b", "c"])).await.is_ok())
        .await;
    assert!(!opened.store.failing());
    drop(opened);
    assert_eq!(loaded(&folder.database()).sources, [("utility".into(), kept(&["b", "c"]))]);
}

#[tokio::test]
async fn a_disk_that_hangs_is_waited_for_a_second_and_the_queue_has_an_end() {
    let folder = Folder::new();
    let opened = open(&folder.database());
    let other = rusqlite::Connection::open(folder.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; INSERT INTO lifts VALUES ('x', 'y', 1);").unwrap();
    let clock = Clock::start();
    let mut writes = tokio::task::JoinSet::new();
    for number in 0..100 {
        let store = opened.store.clone();
        writes.spawn(async move { write(&store, "utility", &kept(&[&number.to_string()])).await });
    }
    let errors: Vec<StoreError> =
        writes.join_all().await.into_iter().filter_map(std::result::Result::err).collect();
    let took = clock.now().since_start();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(errors.len(), 100);
    assert!(errors.iter().any(|error| matches!(error, StoreError::Slow(_))), "{errors:?}");
    assert!(errors.iter().any(|error| matches!(error, StoreError::Full)), "{errors:?}");
    assert_eq!(opened.store.errors(), 100);
    // While it is known to fail, hardly at all.
    let clock = Clock::start();
    assert!(write(&opened.store, "utility", &kept(&["a"])).await.is_err());
    assert!(clock.now().since_start() < Duration::from_millis(700));
    other.execute_batch("ROLLBACK").unwrap();
}

#[tokio::test]
async fn a_file_that_becomes_read_only_is_told_and_loses_nothing() {
    let folder = Folder::new();
    let opened = open(&folder.database());
    write(&opened.store, "utility", &kept(&["a"])).await.unwrap();
    drop(opened);
    let_go(&folder.database());
    fs::set_permissions(folder.database(), PermissionsExt::from_mode(0o400)).unwrap();
    fs::set_permissions(&folder.0, PermissionsExt::from_mode(0o500)).unwrap();
    let result = Store::open(&folder.database(), 10);
    fs::set_permissions(&folder.0, PermissionsExt::from_mode(0o700)).unwrap();
    fs::set_permissions(folder.database(), PermissionsExt::from_mode(0o600)).unwrap();
    // Whoever runs as root may write what nobody else may.
    if let Err(error) = result {
        assert!(matches!(error, StoreError::Open { .. }), "{error}");
    }
    assert_eq!(loaded(&folder.database()).sources, [("utility".into(), kept(&["a"]))]);
}

#[test]
fn a_sign_of_life_is_told_by_the_system_or_left_open() {
    let boot = ballast::store::boot::Boot::of_this_machine(Clock::start());
    let (one, other) = (boot.alive(), boot.alive());
    assert_eq!(one.boot, other.boot);
    assert!(!other.follows_outage(&one, Duration::ZERO), "one boot");
}

#[test]
fn the_section_of_the_store_is_read_and_its_mistakes_are_told() {
    let defaults = signals_bench::site(&["hall"], "");
    assert_eq!(defaults.store, ballast::store::Settings::default());
    assert_eq!(defaults.clock, None);
    let own = signals_bench::site(
        &["hall"],
        "[store]\npath = \"state/orders.db\"\noutage_after = \"1h\"\nrestart_spread = \"0s\"\n",
    );
    assert_eq!(own.store.path.as_deref(), Some(Path::new("state/orders.db")));
    assert_eq!(own.store.outage_after, Duration::from_secs(3_600));
    assert_eq!(own.store.restart_spread, Duration::ZERO);
    for (bad, words) in [
        ("path = \"\"", "names no file"),
        ("path = \"folder/\"", "names no file"),
        ("outage_after = \"1s\"", "too short"),
        ("restart_spread = 5", "bare number"),
        ("paht = \"x\"", "path"),
    ] {
        let text = format!("[store]\n{bad}\n");
        let path = Path::new("orders.toml");
        let errors = ballast::config::parse(&text, path, &ballast::config::Options::default()).unwrap_err();
        assert!(errors.to_string().contains(words), "{bad}: {errors}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// The thread writes differences: after any sequence of states the disk holds the latest one.
    #[test]
    fn whatever_was_written_before_the_latest_state_is_on_disk(
        states in proptest::collection::vec(
            (proptest::collection::btree_set(0..8_u8, 0..6), proptest::collection::vec(0..5_u8, 0..6), any::<bool>()),
            1..8,
        ),
    ) {
        let folder = Folder::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let opened = open(&folder.database());
        let mut latest = Kept::default();
        let mut withdrawn: Vec<(std::sync::Arc<str>, u64)> = Vec::new();
        for (names, more, lifted) in states {
            let names: Vec<String> = names.iter().map(u8::to_string).collect();
            withdrawn.extend(more.iter().map(|name| (name.to_string().into(), u64::from(*name))));
            // As the book does: the oldest fall off.
            let fallen = withdrawn.len().saturating_sub(7);
            withdrawn.drain(..fallen);
            latest = Kept {
                withdrawn: withdrawn.clone(),
                lift: lifted.then(|| ("somebody".into(), wall(5))),
                ..kept(&names.iter().map(String::as_str).collect::<Vec<_>>())
            };
            runtime.block_on(write(&opened.store, "utility", &latest)).unwrap();
        }
        drop(opened);
        let expected = if latest == Kept::default() { vec![] } else { vec![("utility".into(), latest)] };
        prop_assert_eq!(loaded(&folder.database()).sources, expected);
    }
}

#[tokio::test]
async fn what_was_learned_of_a_miner_has_one_row_and_no_clock_makes_it_go() {
    let folder = Folder::new();
    let path = folder.database();
    let store = open(&path).store;
    let learned = Learned { scale: 1.1, floor: None, sleep: Some(20.0), pace: 1.5, start: None };
    let row = |miner: &str, scale: f64, stamp: Wall| LearnedRow {
        miner: miner.into(),
        identity: "whatsminer-v3 at 10.0.0.1:4433".into(),
        learned: Learned { scale, ..learned },
        stamp,
    };
    let put =
        async |learned: Vec<LearnedRow>| store.write(Write { learned, ..Write::default() }).await.unwrap();
    // A stamp from the future makes no other one old; whether one is too old to be used is seen when it is read.
    let now = wall(4_000_000_000_000);
    put(vec![row("a", 1.0, wall(1)), row("b", 1.1, now)]).await;
    put(vec![row("b", 1.2, now)]).await;
    let found = loaded(&path);
    assert_eq!(found.learned, [row("a", 1.0, wall(1)), row("b", 1.2, now)]);
    assert_eq!(found.unreadable, 0);
}

#[tokio::test]
async fn a_database_of_an_earlier_version_keeps_what_is_in_it_and_gains_what_is_new() {
    let folder = Folder::new();
    let path = folder.database();
    write(&open(&path).store, "utility", &kept(&["a"])).await.unwrap();
    let earlier = rusqlite::Connection::open(&path).unwrap();
    earlier.execute_batch("DROP TABLE energy; DROP TABLE energy_counters; DROP TABLE baselines; DROP TABLE proof; DROP TABLE maintenance; DROP TABLE alarms; \
             DROP TABLE learned; DROP TABLE refreshes; ALTER TABLE orders DROP COLUMN begun_ms; ALTER TABLE orders DROP COLUMN begun_steady_ms; ALTER TABLE orders DROP COLUMN sent_ms; \
             ALTER TABLE alive DROP COLUMN steady_ms; ALTER TABLE ledger DROP COLUMN given_by; ALTER TABLE ledger DROP COLUMN remark; PRAGMA user_version = 1;").unwrap();
    drop(earlier);
    let opened = open(&path);
    assert!(opened.damaged.is_none());
    assert_eq!(opened.loaded.sources, [("utility".into(), kept(&["a"]))]);
    assert!(opened.loaded.learned.is_empty());
}

/// The database and its log as a crash leaves them.
async fn crashed(into: &Folder) -> std::path::PathBuf {
    let folder = Folder::new();
    let store = open(&folder.database()).store;
    for names in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
        write(&store, "operator", &kept(names)).await.unwrap();
    }
    for end in ["", "-wal"] {
        let name = |folder: &Folder| format!("{}{end}", folder.database().display());
        fs::copy(name(&folder), name(into)).unwrap();
    }
    into.database()
}

#[tokio::test]
async fn a_damaged_log_is_said_and_a_copy_of_it_kept() {
    let folder = Folder::new();
    let path = crashed(&folder).await;
    let log = path.with_extension("db-wal");
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, &bytes).unwrap();
    let opened = open(&path);
    let damaged = opened.damaged.unwrap();
    assert!(!damaged.all && damaged.reason.contains("its log is damaged from frame"), "{damaged:?}");
    assert_eq!(fs::read(format!("{}-wal", damaged.aside.display())).unwrap(), bytes);
    assert_eq!(opened.store.errors(), 1, "it shows in the metrics");
    // And it goes on.
    write(&opened.store, "operator", &kept(&["d"])).await.unwrap();

    let whole = Folder::new();
    let opened = open(&crashed(&whole).await);
    assert!(opened.damaged.is_none(), "a crash damages nothing");
    assert_eq!(opened.loaded.sources, [("operator".into(), kept(&["a", "b", "c"]))]);
}

#[tokio::test]
async fn a_disk_that_is_not_there_at_the_start_is_tried_again() {
    let folder = Folder::new();
    write(&open(&folder.database()).store, "operator", &kept(&["a"])).await.unwrap();
    let_go(&folder.database());
    let (there, away) = (folder.0.join("there"), folder.0.join("away"));
    fs::create_dir(&away).unwrap();
    fs::copy(folder.database(), away.join("ballast.db")).unwrap();
    let store = Store::absent(&there.join("ballast.db"));
    assert_eq!((store.errors(), store.failing()), (1, true));
    assert!(write(&store, "utility", &kept(&["b"])).await.is_err());
    assert!(store.take_late().is_none());
    fs::rename(&away, &there).unwrap();
    // While it is known to fail nobody waits for it for long.
    eventually("it is written", async || write(&store, "utility", &kept(&["b"])).await.is_ok()).await;
    assert!(!store.failing());
    let late = store.take_late().unwrap();
    assert_eq!(late.sources, [("operator".into(), kept(&["a"]))]);
    assert!(store.take_late().is_none());
}

#[tokio::test]
async fn what_a_late_disk_holds_stays_there_until_whoever_writes_knows_of_it() {
    let folder = Folder::new();
    let (there, away) = (folder.0.join("there"), folder.0.join("away"));
    fs::create_dir(&away).unwrap();
    write(&open(&away.join("ballast.db")).store, "operator", &kept(&["a", "b"])).await.unwrap();
    let_go(&away.join("ballast.db"));
    let database = there.join("ballast.db");
    let absent = || Store::absent(&database);
    let put = async |store: &Store, names: &[&str]| {
        let kept = kept(names);
        eventually("it is written", async || write(store, "operator", &kept).await.is_ok()).await;
    };
    let store = absent();
    fs::rename(&away, &there).unwrap();
    put(&store, &["c"]).await;
    put(&store, &[]).await;
    // The end comes before anybody has asked.
    drop(store);
    let_go(&database);
    assert_eq!(loaded(&database).sources, [("operator".into(), kept(&["a", "b"]))]);
    let_go(&database);
    let store = absent();
    put(&store, &["c"]).await;
    assert!(store.take_late().is_some());
    store.has_joined();
    put(&store, &["a", "c"]).await;
    drop(store);
    let_go(&database);
    assert_eq!(
        loaded(&database).sources,
        [("operator".into(), kept(&["a", "c"]))],
        "now it is left out on purpose"
    );
}

#[tokio::test]
async fn a_folder_that_is_deleted_is_noticed_and_gets_everything_once_it_is_back() {
    let folder = Folder::new();
    let store = open(&folder.database()).store;
    write(&store, "operator", &kept(&["a"])).await.unwrap();
    fs::remove_dir_all(&folder.0).unwrap();
    assert!(write(&store, "utility", &kept(&["b"])).await.is_err());
    assert!(write(&store, "utility", &kept(&["b"])).await.is_err());
    fs::create_dir_all(&folder.0).unwrap();
    write(&store, "utility", &kept(&["b"])).await.unwrap();
    drop(store);
    let loaded = open(&folder.database()).loaded;
    assert_eq!(loaded.sources, [("operator".into(), kept(&["a"])), ("utility".into(), kept(&["b"]))]);
}
