//! Whether entries are what was written. Pure: entries in, what is wrong out.

use std::collections::{BTreeMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

use super::entry::{Entry, NO_HASH, hash};
use super::key::PublicKey;
use super::stamp;
use crate::line::shown;

/// Faults that are told one by one; what is more is counted.
pub const MOST_FAULTS: usize = 20;

/// Entries back to which time stamps are looked for: one follows what it is for within seconds.
const RECENT: usize = 20_000;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Entries that were read.
    pub entries: u64,
    /// The number of the first; 0 where there is none.
    pub first: u64,
    /// The number of the last; 0 where there is none.
    pub last: u64,
    /// The hash of the last.
    pub head: String,
    /// The number of the latest entry with a signature that holds; `None` where there is none.
    pub signed: Option<u64>,
    /// How many signatures hold.
    pub signatures: u64,
    /// Entries behind the latest signature: whoever can write to the file could have made others.
    pub unsigned_tail: u64,
    /// Whether it ends as a daemon that was stopped in order leaves it.
    pub ends_with_stop: bool,
    /// How many time stamps of somebody else are for a head of this chain. Whether they are signed by whom they say is for `openssl`.
    pub stamps: u64,
    /// The latest of them: the number of the entry that it is for, its time by its own word, and who is said to have made it.
    pub stamped: Option<(u64, String, String)>,
    /// Entries by their kind.
    pub kinds: BTreeMap<String, u64>,
    /// What is wrong, the first [`MOST_FAULTS`].
    pub faults: Vec<String>,
    /// How much is wrong in all.
    pub fault_count: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub const fn holds(&self) -> bool {
        self.fault_count == 0
    }

    /// Adds something that is wrong.
    pub fn fault(&mut self, words: String) {
        self.fault_count = self.fault_count.saturating_add(1);
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(words);
        }
    }
}

/// Reads entries one by one.
#[derive(Debug)]
pub struct Verifier {
    keys: Vec<PublicKey>,
    expected: Option<(u64, String)>,
    report: Report,
    /// The latest entry that says that the oldest were removed: which is the first since.
    trimmed: Option<u64>,
    whole: bool,
    last_kinds: [String; 2],
    /// The latest entries, for the stamps of them.
    recent: VecDeque<(u64, String)>,
    started: bool,
}

impl Verifier {
    /// With the keys whose signatures count, and a head that was kept elsewhere and must be in the chain. An exported
    /// file (`excerpt`) begins with a signature and says nothing of what was before.
    pub fn new(keys: Vec<PublicKey>, expected: Option<(u64, String)>, excerpt: bool) -> Self {
        Self {
            keys,
            expected,
            report: Report { head: NO_HASH.to_owned(), ..Report::default() },
            trimmed: None,
            whole: !excerpt,
            last_kinds: [String::new(), String::new()],
            recent: VecDeque::new(),
            started: false,
        }
    }

    fn fault(&mut self, words: String) {
        self.report.fault(words);
    }

    /// Reads the next entry.
    pub fn read(&mut self, entry: &Entry) {
        let number = entry.number;
        let previous = if self.started {
            let due = self.report.last.saturating_add(1);
            if number > due {
                self.fault(format!("entries {due} to {} are missing", number.saturating_sub(1)));
            } else if number < due {
                self.fault(format!("entry {number} stands behind entry {}", self.report.last));
            }
            self.report.head.clone()
        } else {
            self.begin(entry)
        };
        if hash(&previous, number, entry.at, &entry.kind, &entry.body) != entry.hash {
            self.fault(format!("entry {number} is not what was written, or the one before it is not"));
        }
        if self.expected.as_ref().is_some_and(|(expected, _)| *expected == number) {
            let (_, expected) = self.expected.take().unwrap_or_default();
            if expected != entry.hash {
                self.fault(format!("entry {number} has another hash than the one that was kept"));
            }
        }
        self.report.unsigned_tail = self.report.unsigned_tail.saturating_add(1);
        match entry.kind.as_str() {
            "checkpoint" => self.signature(entry, &previous),
            "stamp" => self.stamp(entry),
            "trim" => {
                self.trimmed = entry.value().get("first").and_then(Value::as_u64);
            }
            _ => {}
        }
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((number, entry.hash.clone()));
        if !self.started {
            self.report.first = number;
        }
        self.started = true;
        self.report.entries = self.report.entries.saturating_add(1);
        self.report.last = number;
        self.report.head.clone_from(&entry.hash);
        let kind = if self.report.kinds.len() < 64 { entry.kind.as_str() } else { "other" };
        let count = self.report.kinds.entry(kind.to_owned()).or_default();
        *count = count.saturating_add(1);
        self.last_kinds.rotate_left(1);
        let [_, last] = &mut self.last_kinds;
        last.clone_from(&entry.kind);
    }

    /// What is taken for the hash before the first entry.
    fn begin(&mut self, entry: &Entry) -> String {
        if entry.number == 1 {
            if entry.kind != "begin" {
                self.fault("entry 1 is not the beginning of a chain".into());
            }
            return NO_HASH.to_owned();
        }
        if entry.kind != "checkpoint" {
            self.fault(format!(
                "it begins with entry {}, which is neither the beginning of a chain nor signed: what was before is missing",
                entry.number
            ));
        }
        entry.value().get("head").and_then(Value::as_str).unwrap_or("").to_owned()
    }

    fn signature(&mut self, entry: &Entry, previous: &str) {
        let number = entry.number;
        let body = entry.value();
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("");
        let before = number.saturating_sub(1);
        if text("head") != previous || body.get("number").and_then(Value::as_u64) != Some(before) {
            self.fault(format!("entry {number} signs another head than the one before it"));
            return;
        }
        if body.get("signature").is_none() {
            // The daemon had no key. What it says of itself is in its log.
            if !self.started && number != 1 {
                self.fault(format!("it begins with entry {number}, which bears no signature"));
            }
            return;
        }
        if self.keys.is_empty() {
            return;
        }
        if self.keys.iter().any(|key| key.signed(before, previous, text("signature"))) {
            self.report.signatures = self.report.signatures.saturating_add(1);
            self.report.signed = Some(number);
            self.report.unsigned_tail = 0;
        } else if self.keys.iter().any(|key| key.fingerprint() == text("key")) {
            self.fault(format!("the signature of entry {number} does not hold"));
        } else {
            let name: String = text("key").chars().filter(char::is_ascii_hexdigit).take(16).collect();
            self.fault(format!(
                "entry {number} is signed by another key ({name}…): name it with --public-key, if it is to be believed"
            ));
        }
    }

    fn stamp(&mut self, entry: &Entry) {
        let body = entry.value();
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("");
        let (number, head) = (entry.number, text("head"));
        let (of, hash) = head.split_once(':').unwrap_or_default();
        let of: u64 = of.parse().unwrap_or(0);
        let known = self.recent.iter().find(|(number, _)| *number == of);
        if known.is_some_and(|(_, known)| known != hash) {
            self.fault(format!(
                "entry {number} is a time stamp of another entry {of} than the one that is here"
            ));
            return;
        }
        if known.is_none() {
            // It lies before what is here, or too far back.
            return;
        }
        let token = STANDARD.decode(text("token")).unwrap_or_default();
        match stamp::time_of(&token, head) {
            Ok(time) => {
                self.report.stamps = self.report.stamps.saturating_add(1);
                let by = text("by").chars().take(100).map(shown).collect();
                self.report.stamped = Some((of, time, by));
            }
            Err(error) => {
                self.fault(format!("the time stamp of entry {number} is not what it says: {error}"))
            }
        }
    }

    /// What was found.
    pub fn end(mut self) -> Report {
        if let Some((number, _)) = self.expected.take() {
            self.fault(format!(
                "entry {number}, whose hash was kept, is not there: the tail is cut, or it was removed"
            ));
        }
        let first = self.report.first;
        if self.whole && self.report.entries > 0 {
            match self.trimmed {
                Some(kept) if kept > first => {
                    self.fault(format!("entries from {first} on are there that were removed"));
                }
                None if first > 1 => {
                    self.fault(format!(
                        "entries 1 to {} are missing, and no entry says why",
                        first.saturating_sub(1)
                    ));
                }
                Some(kept) if kept < first => {
                    let last = first.saturating_sub(1);
                    self.fault(format!("entries {kept} to {last} are missing, and no entry says why"));
                }
                _ => {}
            }
        }
        let [before, last] = &self.last_kinds;
        self.report.ends_with_stop = before == "stop" && last == "checkpoint";
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::super::chain::checkpoint;
    use super::super::key::Key;
    use super::*;
    use proptest::prelude::*;

    /// A chain as a daemon writes it: with a signature after each seven entries, and at the end.
    fn chain(entries: u64, key: &Key) -> Vec<Entry> {
        let mut all: Vec<Entry> = Vec::new();
        let mut head = NO_HASH.to_owned();
        for number in 1..=entries {
            let at = 1_790_000_000_000 + i64::try_from(number).unwrap() * 1_234;
            let (kind, body) = match number {
                1 => ("begin", r#"{"because":"there was no chain before","format":1}"#.to_owned()),
                _ if number % 7 == 0 || number == entries => {
                    ("checkpoint", checkpoint(number - 1, &head, Some(key)))
                }
                _ => (
                    "order",
                    format!(r#"{{"cap_w":{number}.000,"event":"acting","order":"a{}"}}"#, number % 5),
                ),
            };
            let entry = Entry::following(&head, number, at, kind, body);
            head.clone_from(&entry.hash);
            all.push(entry);
        }
        all
    }

    fn verify(all: &[Entry], key: &Key, expected: Option<(u64, String)>) -> Report {
        let mut verifier = Verifier::new(vec![key.public()], expected, false);
        all.iter().for_each(|entry| verifier.read(entry));
        verifier.end()
    }

    fn rehash(all: &mut [Entry], from: usize) {
        for index in from..all.len() {
            let before = all[index - 1].hash.clone();
            let Entry { number, at, kind, body, .. } = all[index].clone();
            all[index] = Entry::following(&before, number, at, &kind, body);
        }
    }

    #[test]
    fn a_chain_that_nobody_touched_holds() {
        let (key, _) = Key::new().unwrap();
        let all = chain(300, &key);
        let report = verify(&all, &key, Some((150, all[149].hash.clone())));
        assert!(report.holds(), "{:?}", report.faults);
        assert_eq!((report.signed, report.unsigned_tail, report.last), (Some(300), 0, 300));
        let other = Key::new().unwrap().0;
        assert!(verify(&all, &other, None).faults[0].contains("signed by another key"));
    }

    #[test]
    fn what_is_left_after_the_oldest_were_removed_holds_only_where_an_entry_says_so() {
        let (key, _) = Key::new().unwrap();
        let mut all = chain(100, &key);
        assert!(verify(&all[6..], &key, None).faults[0].contains("entries 1 to 6 are missing"));
        all[50].kind = "trim".into();
        all[50].body = r#"{"first":7,"removed_entries":6}"#.into();
        rehash(&mut all, 50);
        for index in 51..100 {
            if all[index].kind == "checkpoint" {
                all[index].body = checkpoint(index as u64, &all[index - 1].hash, Some(&key));
                rehash(&mut all, index);
            }
        }
        assert_eq!(verify(&all[6..], &key, None).faults, Vec::<String>::new());
        assert!(verify(&all[13..], &key, None).faults[0].contains("entries 7 to 13 are missing"));
    }

    #[test]
    fn a_forged_signature_of_a_first_entry_is_found() {
        let (key, _) = Key::new().unwrap();
        let mut all = chain(100, &key);
        all[6].body = checkpoint(6, &all[5].hash, Some(&Key::new().unwrap().0));
        rehash(&mut all, 6);
        assert!(!verify(&all[6..], &key, None).holds());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// What a hand with access to the file, and without the key, can do to a chain of 28 entries that ends with a signature
        /// and whose head was kept.
        #[test]
        fn whatever_is_changed_removed_or_moved_is_found(
            (how, at, other, place, bit) in (0..9_u8, 0..28_usize, 0..28_usize, 0..4_096_usize, 0..7_u8)
        ) {
            static CHAIN: std::sync::OnceLock<(Vec<Entry>, Key)> = std::sync::OnceLock::new();
            let (good, key) = CHAIN.get_or_init(|| {
                let key = Key::new().unwrap().0;
                (chain(28, &key), key)
            });
            let head = Some((28, good[27].hash.clone()));
            let mut all = good.clone();
            // A flipped bit of a text; every byte of it is ASCII and stays so.
            let flip = |text: &mut String| {
                let mut bytes = text.clone().into_bytes();
                let place = place % bytes.len();
                bytes[place] ^= 1 << bit;
                *text = String::from_utf8(bytes).unwrap();
            };
            match how {
                0 => flip(&mut all[at].body),
                1 => flip(&mut all[at].hash),
                2 => flip(&mut all[at].kind),
                3 => all[at].number ^= 1 << bit,
                4 => all[at].at ^= 1_i64 << (place % 63),
                5 => {
                    let until = (at + 1 + other % 9).min(all.len());
                    all.drain(at..until);
                }
                6 => {
                    let taken = all.remove(at);
                    all.insert(other.min(all.len()), taken);
                }
                7 => {
                    let twice = all[at].clone();
                    all.insert(other, twice);
                }
                // Changed, and all hashes behind it worked out anew: but nobody else can sign them.
                _ => {
                    let at = at.clamp(1, 26);
                    flip(&mut all[at].body);
                    rehash(&mut all, at);
                }
            }
            prop_assume!(all != *good);
            // The head that was kept is needed only where the end itself is gone.
            let cut = how == 5 && all.len() == at;
            let report = verify(&all, key, head.filter(|_| cut));
            prop_assert!(!report.holds(), "{how} at {at}");
        }
    }
}
