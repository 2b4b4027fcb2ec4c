//! What can be proven: the chain in the database of a daemon, and what a stranger finds with foreign tools.

use crate::signals_bench;
use crate::signals_plant;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use ballast::proof::key::{PUBLIC, PublicKey};
use ballast::proof::read::Entries;
use ballast::proof::verify::{Report, Verifier};
use ballast::proof::{Entry, Kind};
use ballast::signal::List;
use ballast::store::{Store, StoreError};
use serde_json::{Value, json};
use signals_bench::{Folder, let_go, open, order, source};

fn entries(database: &Path) -> Vec<Entry> {
    let mut all = Vec::new();
    Entries::open(database).unwrap().each(0, u64::MAX, |entry| all.push(entry)).unwrap();
    all
}

fn verify(database: &Path) -> Report {
    let key = PublicKey::of_file(&database.with_file_name(PUBLIC)).unwrap();
    let mut verifier = Verifier::new(vec![key], None, false);
    entries(database).iter().for_each(|entry| verifier.read(entry));
    verifier.end()
}

fn ballast(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ballast")).args(arguments).output().unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// A Python, where there is one, and `openssl` beside it.
fn foreign_tools() -> Option<String> {
    let python = std::env::var("BALLAST_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    for (tool, argument) in [(python.as_str(), "--version"), ("openssl", "version")] {
        let run = Command::new(tool).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !run.is_ok_and(|status| status.success()) {
            println!("SKIPPED: there is no {tool}; install it, or set BALLAST_TEST_PYTHON");
            return None;
        }
    }
    Some(python)
}

async fn append(store: &Store, count: u64) -> Result<(), StoreError> {
    let writer = store.proof();
    for number in 0..count {
        writer.append(Kind::Energy, json!({ "number": number }));
    }
    store.seal().await
}

#[tokio::test]
async fn a_chain_goes_on_after_a_restart_and_after_a_crash() {
    let (folder, other) = (Folder::new(), Folder::new());
    let store = open(&folder.database()).store;
    append(&store, 5).await.unwrap();
    assert_eq!(store.proof().head().unwrap().0, 7, "its beginning, five, and a signature");
    // What a crash leaves: both files as they are on disk now.
    store.proof().append(Kind::Order, json!({ "event": "received" }));
    store.write(Default::default()).await.unwrap();
    for file in ["ballast.db", "ballast.db-wal", "proof.key", PUBLIC] {
        fs::copy(folder.0.join(file), other.0.join(file)).unwrap();
    }
    drop(store);
    let_go(&folder.database());
    for database in [folder.database(), other.database()] {
        let store = open(&database).store;
        append(&store, 3).await.unwrap();
        let report = verify(&database);
        assert!(report.holds() && report.unsigned_tail == 0, "{report:?}");
        assert!(report.last >= 11 && report.signatures == 2, "{report:?}");
    }
}

#[tokio::test]
async fn the_oldest_are_removed_up_to_a_signature_and_what_is_left_holds() {
    let folder = Folder::new();
    let store = open(&folder.database()).store;
    store.proof().set_keep(2_000);
    for _ in 0..8 {
        append(&store, 900).await.unwrap();
    }
    let report = verify(&folder.database());
    assert!(report.holds(), "{:?}", report.faults);
    assert!(report.first > 1 && (2_000..=4_000).contains(&report.entries), "{report:?}");
    // Somebody removes more of them.
    drop(store);
    let_go(&folder.database());
    let connection = rusqlite::Connection::open(folder.database()).unwrap();
    let sql = "DELETE FROM proof WHERE number < (SELECT min(number) FROM proof WHERE kind = 'checkpoint' AND number > ?)";
    connection.execute(sql, [i64::try_from(report.first).unwrap()]).unwrap();
    let report = verify(&folder.database());
    assert!(report.faults[0].contains("are missing, and no entry says why"), "{report:?}");
}

#[tokio::test]
async fn a_damaged_database_begins_a_new_chain_that_says_so() {
    let folder = Folder::new();
    fs::write(folder.database(), "this is no database, and never was one".repeat(100)).unwrap();
    let store = open(&folder.database()).store;
    append(&store, 1).await.unwrap();
    let all = entries(&folder.database());
    assert_eq!(all[0].kind, "begin");
    assert!(
        all[0].body.contains("the database was damaged and is set aside as ballast.db.damaged-"),
        "{}",
        all[0].body
    );
    assert!(verify(&folder.database()).holds());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_proven_to_a_stranger() {
    let folder = Folder::new();
    let plant = signals_plant::Plant::start(&folder.database()).await;
    let desk = plant.daemon.desk().clone();
    let utility = source(&desk, "utility");
    desk.list(utility, List::default()).await.unwrap();
    plant.reaches("the fleet runs", |power| power > 24_000.0).await;
    desk.give(utility, order("event", 20.0, desk.wall(), None)).await.unwrap();
    plant.record("event", |record| record.met.is_some()).await;
    desk.list(utility, List::default()).await.unwrap();
    plant.record("event", |record| record.ended.is_some()).await;
    plant.stop().await;
    drop(desk);

    let state = folder.0.to_str().unwrap();
    let found = ballast(&["ledger", "verify", "--state", state, "--json"]);
    let report: Value = serde_json::from_slice(&found.stdout).unwrap_or_else(|_| panic!("{}", words(&found)));
    assert!(found.status.success(), "{report:#}");
    assert_eq!(report["ends_with_stop"], true, "{report:#}");
    for kind in ["begin", "start", "decision", "order", "checkpoint", "stop"] {
        assert!(report["kinds"][kind].as_u64() >= Some(1), "{kind}: {report:#}");
    }
    let all = entries(&folder.database());
    let events: Vec<String> = all
        .iter()
        .filter(|entry| entry.kind == "order" && entry.value()["order"] == "event")
        .map(|entry| entry.value()["event"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(events, ["received", "acting", "met", "ended"]);

    // What somebody keeps proves later that the end is there.
    let head = String::from_utf8(ballast(&["ledger", "head", "--state", state]).stdout).unwrap();
    assert!(ballast(&["ledger", "verify", "--state", state, "--expect-head", head.trim()]).status.success());
    let later = format!("{}:{}", all.len() + 1, all[0].hash);
    let found = ballast(&["ledger", "verify", "--state", state, "--expect-head", &later]);
    assert!(words(&found).contains("the tail is cut"), "{}", words(&found));

    let file = folder.0.join("event.jsonl");
    let out = file.to_str().unwrap();
    let exported = ballast(&["ledger", "export", "event", "--out", out, "--state", state]);
    assert!(exported.status.success() && !words(&exported).contains("not over"), "{}", words(&exported));
    let found = ballast(&["ledger", "verify", "--database", out]);
    assert!(found.status.success(), "{}", words(&found));
    // Again, as it says where the order was not over: into the same file, and never over another one.
    let before = fs::read_to_string(&file).unwrap();
    let again = ballast(&["ledger", "export", "event", "--out", out, "--state", state]);
    assert!(again.status.success(), "{}", words(&again));
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    let (other, link) = (folder.0.join("letter.txt"), folder.0.join("link.jsonl"));
    fs::write(&other, "dear utility").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for taken in [&other, &link] {
        let out = taken.to_str().unwrap();
        let refused = ballast(&["ledger", "export", "event", "--out", out, "--state", state]);
        assert!(
            !refused.status.success() && words(&refused).contains("name another file"),
            "{}",
            words(&refused)
        );
    }
    assert_eq!(fs::read_to_string(&other).unwrap(), "dear utility");
    let shown = ballast(&["ledger", "show", "--state", state, "--kind", "order"]);
    assert!(words(&shown).contains("\"event\":\"met\""), "{}", words(&shown));

    // Each line of the file changed, and each left out.
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let with = |number: usize, line: Option<String>| {
        let mut all: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        match line {
            Some(line) => all[number] = line,
            None => drop(all.remove(number)),
        }
        all.join("\n") + "\n"
    };
    // The first line, which is not signed: what it says, which entries it names, and whether that is all.
    let heading: Value = serde_json::from_str(lines[0]).unwrap();
    let first_line = |change: &dyn Fn(&mut Value)| {
        let mut heading = heading.clone();
        change(&mut heading);
        with(0, Some(heading.to_string()))
    };
    assert!(heading["order"]["energy_j"].is_number() && heading["complete"] == true, "{heading:#}");
    let summaries = [
        first_line(&|heading| heading["order"]["energy_j"] = json!(1.003)),
        first_line(&|heading| drop(heading["order"].as_object_mut().unwrap().remove("energy_j"))),
        first_line(&|heading| drop(heading["entries"].as_array_mut().unwrap().remove(1))),
        first_line(&|heading| heading["entries"].as_array_mut().unwrap().push(json!(99_999))),
        first_line(&|heading| heading["complete"] = json!(false)),
        first_line(&|heading| heading["ballast_proof"] = json!(2)),
    ];
    let mut forged: Vec<String> = (1..lines.len()).map(|number| with(number, None)).collect();
    for (number, line) in lines.iter().enumerate().skip(1) {
        forged.push(with(number, Some(line.replacen("\"at\":1", "\"at\":2", 1))));
    }
    // More than an entry or the first line has, which no hash would cover.
    forged.extend([0, 1].map(|number| with(number, Some(lines[number].replacen('{', "{\"paid\":1,", 1)))));
    let changed = folder.0.join("changed.jsonl");
    let refused = |text: &String| {
        fs::write(&changed, text).unwrap();
        let found = ballast(&["ledger", "verify", "--database", changed.to_str().unwrap()]);
        // Without its last line the file holds, and says up to where it is signed.
        !found.status.success() || words(&found).contains("are not signed")
    };
    assert!(forged.iter().all(refused));
    for text in &summaries {
        fs::write(&changed, text).unwrap();
        let found = ballast(&["ledger", "verify", "--database", changed.to_str().unwrap()]);
        assert!(words(&found).contains("FAULT: the first line"), "{}", words(&found));
    }

    let Some(python) = foreign_tools() else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide/verify.py");
    let stranger = |file: &Path| {
        let key = folder.0.join(PUBLIC);
        let run = Command::new(&python).arg(script).arg(file).arg(key).output().unwrap();
        (run.status.success(), words(&run))
    };
    let (holds, said) = stranger(&file);
    assert!(holds && said.contains("\"event\":\"ended\""), "{said}");
    for text in &forged {
        fs::write(&changed, text).unwrap();
        assert!(!stranger(&changed).0, "{text}");
    }
    for text in &summaries {
        fs::write(&changed, text).unwrap();
        let (holds, said) = stranger(&changed);
        assert!(!holds && said.starts_with("the first line is not what the signed entries say"), "{said}");
    }
    // What cannot be read is told in a sentence, and not by what failed within the script.
    let cut = text.trim_end().strip_suffix('}').unwrap();
    let twice = lines[0].replacen("\"entries\"", "\"entries\":[],\"entries\"", 1);
    for text in ["", "\n", "[]", "{}", lines[0], cut, &with(1, Some("\u{1}".into())), &with(0, Some(twice))] {
        fs::write(&changed, text).unwrap();
        let (holds, said) = stranger(&changed);
        assert!(!holds && said.contains("cannot be read") && said.lines().count() == 1, "{said}");
    }
    fs::write(&changed, [b'{', 0xFF, b'\n']).unwrap();
    for missing in [&changed, &folder.0.join("nothing.jsonl")] {
        let (holds, said) = stranger(missing);
        assert!(!holds && said.starts_with("it cannot be read") && said.lines().count() == 1, "{said}");
    }
    // Another key than the daemon's.
    let other = Folder::new();
    ballast::proof::key::Key::of_folder(&other.0).unwrap();
    let run = Command::new(&python).arg(script).arg(&file).arg(other.0.join(PUBLIC)).output().unwrap();
    assert!(words(&run).contains("does not hold"), "{}", words(&run));
}
