//! `kill -9` at any moment loses no order whose sender got its yes.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[expect(dead_code, clippy::expect_used, clippy::panic, reason = "the tests of orders use the rest")]
#[path = "signals/signals_bench/mod.rs"]
mod signals_bench;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use signals_bench::{Folder, Hands, UTILITY, desk, order, site, source};

/// Where the child finds the database; without it the child's test does nothing.
const DATABASE: &str = "BALLAST_TEST_DATABASE";
/// The same, for the child with a full disk.
const FULL: &str = "BALLAST_TEST_FULL_DISK";
/// How often the child is killed.
const TIMES: u64 = 100;
/// So many orders are in force at once.
const STANDING: u64 = 40;

fn name(number: u64) -> String {
    format!("order {number}")
}

/// Not a test of its own: what is killed. Gives orders and takes old ones back, and says each `yes` that it gets.
#[tokio::test]
async fn a_child_that_gives_orders_until_it_is_killed() {
    let Some(path) = std::env::var_os(DATABASE).map(PathBuf::from) else { return };
    let config = site(&["hall"], UTILITY);
    let hands = Hands::new();
    let desk = desk(&config, &path, &hands);
    let utility = source(&desk, "utility");
    let known = desk.records().iter().filter_map(|record| number(&record.id)).max();
    let mut out = std::io::stdout().lock();
    let mut next = known.map_or(0, |known| known + 1);
    writeln!(out, "\nfrom {next}").unwrap();
    loop {
        let order = order(&name(next), 50.0, hands.wall(), None);
        desk.give(utility, order).await.unwrap();
        writeln!(out, "given {next}").unwrap();
        if let Some(old) = next.checked_sub(STANDING) {
            desk.take_back(utility, &name(old), None).await.unwrap();
            writeln!(out, "taken {old}").unwrap();
        }
        out.flush().unwrap();
        next += 1;
    }
}

fn number(id: &str) -> Option<u64> {
    id.strip_prefix("order ")?.parse().ok()
}

/// Not a test of its own: what runs on a disk that is full, and says how it goes.
#[tokio::test]
async fn a_child_whose_disk_is_full() {
    let Some(path) = std::env::var_os(FULL).map(PathBuf::from) else { return };
    let config = site(&["hall"], UTILITY);
    let hands = Hands::new();
    let desk = desk(&config, &path, &hands);
    let utility = source(&desk, "utility");
    for number in 0..500_u64 {
        let id = format!("{}{}", name(number), "x".repeat(200));
        desk.give(utility, order(&id, 50.0, hands.wall(), None)).await.unwrap();
        let stored = desk.records().first().is_some_and(|record| record.stored);
        let acts = signals_bench::acting(&desk).len() == 1;
        println!(
            "\n{} {} {number}",
            if stored { "stored" } else { "forgotten" },
            if acts { "obeyed" } else { "lost" }
        );
        if !stored {
            println!("\nerrors {}", desk.status().store_errors.unwrap());
            return;
        }
    }
}

#[test]
fn on_a_full_disk_an_order_is_obeyed_and_its_record_says_that_it_is_not_stored() {
    let folder = Folder::new();
    let path = folder.database();
    // To a process with this limit (setrlimit(2), RLIMIT_FSIZE) the disk is full at 800 KB or 400 KB, as the shell counts.
    let line = "trap '' XFSZ; ulimit -f 800; exec \"$0\" --exact a_child_whose_disk_is_full --nocapture";
    let output = Command::new("sh")
        .args(["-c", line])
        .arg(std::env::current_exe().unwrap())
        .env(FULL, &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = |word: &str| said.lines().filter(|line| line.starts_with(word)).count();
    assert_eq!(words("forgotten obeyed"), 1, "{said}");
    assert_eq!(words("stored lost") + words("forgotten lost"), 0, "{said}");
    // The order itself, and where that came first, the entry of the one before it in the proof.
    assert_eq!(words("errors 1") + words("errors 2"), 1, "{said}");
    let loaded = signals_bench::open(&path);
    assert!(loaded.damaged.is_none());
    let on_disk: usize = loaded.loaded.sources.iter().map(|(_, kept)| kept.orders.len()).sum();
    assert_eq!(on_disk, words("stored obeyed"), "what was said to be stored is there");
    assert!(on_disk > 10);
}

fn child(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_child_that_gives_orders_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(DATABASE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn kill_at_any_moment_loses_no_order_that_was_acknowledged() {
    let folder = Folder::new();
    let path = folder.database();
    let mut random = rand::rngs::StdRng::seed_from_u64(5);
    // What the child was told `yes` for, and what it may have been told `yes` for without a word about it.
    let (mut given, mut taken, mut maybe_taken) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for round in 0..TIMES {
        let mut child = child(&path);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (told, heard) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut said = Vec::new();
            for line in lines.map_while(Result::ok) {
                if line.starts_with("from ") || line.starts_with("given ") {
                    let _ = told.send(());
                }
                said.push(line);
            }
            said
        });
        for _ in 0..=random.random_range(0..8) {
            heard.recv_timeout(Duration::from_secs(20)).expect("the child goes on");
        }
        std::thread::sleep(Duration::from_micros(random.random_range(0..20_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut last = None;
        for line in reader.join().unwrap() {
            let (word, number) = line.split_once(' ').unwrap_or_default();
            match (word, number.parse::<u64>()) {
                ("given", Ok(number)) => {
                    given.insert(number);
                    last = Some(number);
                }
                ("taken", Ok(number)) => {
                    taken.insert(number);
                }
                _ => {}
            }
        }
        maybe_taken.extend(last.and_then(|last| last.checked_sub(STANDING)));
        let loaded = signals_bench::open(&path);
        assert!(loaded.damaged.is_none(), "round {round}: a kill damages nothing");
        let on_disk: BTreeSet<u64> = loaded
            .loaded
            .sources
            .iter()
            .flat_map(|(_, kept)| &kept.orders)
            .filter(|order| order.held.withdrawn.is_none())
            .filter_map(|order| number(&order.held.order.id))
            .collect();
        for number in given.difference(&taken).filter(|number| !maybe_taken.contains(number)) {
            assert!(on_disk.contains(number), "round {round}: order {number} is lost");
        }
        for number in &taken {
            assert!(!on_disk.contains(number), "round {round}: order {number} has come back");
        }
    }
    assert!(given.len() > 200, "the child has given orders: {}", given.len());
    println!("{} orders given, {} taken back, {TIMES} kills", given.len(), taken.len());
}
