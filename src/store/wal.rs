//! Whether the log beside a database (its write-ahead log) is whole.
//!
//! After "WAL-mode File Format" of the documentation of SQLite (sqlite.org/walformat.html): a head of 32 bytes, then frames
//! of 24 bytes and a page each. Two salts in the head are repeated in each frame that belongs to it; what lies behind them
//! is left over from before. A sum runs over all of it, so that one wrong bit puts everything behind it out of use.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

const HEAD: usize = 32;
const FRAME_HEAD: usize = 24;
/// The first number of the head; with the lowest bit set, sums are over numbers with the highest byte first.
const MAGIC: u32 = 0x377f_0682;
/// Pages are no larger.
const LARGEST_PAGE: usize = 65_536;

/// A sum over pairs of numbers.
#[derive(Clone, Copy, Default, PartialEq)]
struct Sum(u32, u32);

impl Sum {
    fn add(mut self, bytes: &[u8], highest_first: bool) -> Self {
        let number = |bytes: &[u8; 4]| {
            if highest_first { u32::from_be_bytes(*bytes) } else { u32::from_le_bytes(*bytes) }
        };
        let (numbers, _) = bytes.as_chunks::<4>();
        for pair in numbers.chunks_exact(2) {
            if let [one, other] = pair {
                self.0 = self.0.wrapping_add(number(one)).wrapping_add(self.1);
                self.1 = self.1.wrapping_add(number(other)).wrapping_add(self.0);
            }
        }
        self
    }
}

/// A number of a head, the highest byte first.
fn field(head: &[u8], at: usize) -> u32 {
    let bytes = head.get(at * 4..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or_default();
    u32::from_be_bytes(bytes)
}

/// What is wrong with a log, in words; `None` for one that is whole, empty or not there. One that ends in the middle of a
/// frame is whole: the power went while it was written, and nobody was told that it was.
pub(super) fn fault(path: &Path) -> Option<String> {
    let mut file = BufReader::new(File::open(path).ok()?);
    let mut head = [0; HEAD];
    file.read_exact(&mut head).ok()?;
    if head == [0; HEAD] {
        return None;
    }
    let highest_first = field(&head, 0) == MAGIC | 1;
    let mut sum = Sum::default().add(head.get(..24).unwrap_or_default(), highest_first);
    let page = usize::try_from(field(&head, 2)).unwrap_or(0);
    let usable = page.is_power_of_two() && (512..=LARGEST_PAGE).contains(&page);
    if field(&head, 0) | 1 != MAGIC | 1 || !usable || sum != Sum(field(&head, 6), field(&head, 7)) {
        return Some("the head of its log is damaged: what was written last is lost".into());
    }
    let mut frame = vec![0; FRAME_HEAD + page];
    let mut number = 0_u64;
    let mut broken: Option<u64> = None;
    while file.read_exact(&mut frame).is_ok() {
        number = number.saturating_add(1);
        let (head_of, content) = frame.split_at(FRAME_HEAD);
        let ours = (field(head_of, 2), field(head_of, 3)) == (field(&head, 4), field(&head, 5));
        if broken.is_none() {
            sum = sum.add(head_of.get(..8).unwrap_or_default(), highest_first).add(content, highest_first);
            let whole = sum == Sum(field(head_of, 4), field(head_of, 5));
            if ours && whole {
                continue;
            }
            broken = Some(number);
        }
        // Where a whole change of this log follows, it is no end. What was begun and never finished has no last frame, and
        // may be left over behind what was written since.
        if ours && field(head_of, 1) != 0 {
            let first = broken.unwrap_or(number);
            return Some(format!("its log is damaged from frame {first} on: what was written since is lost"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_of_a_log_that_counts_is_missed_when_it_is_wrong() {
        let folder = std::env::temp_dir().join(format!("ballast-wal-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let (database, copy) = (folder.join("a.db"), folder.join("copy-wal"));
        let connection = rusqlite::Connection::open(&database).unwrap();
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0)).unwrap();
        for number in 0..3 {
            connection
                .execute_batch(&format!("CREATE TABLE t{number} (x); INSERT INTO t{number} VALUES (1);"))
                .unwrap();
        }
        let log = std::fs::read(folder.join("a.db-wal")).unwrap();
        let with = |bytes: &[u8]| {
            std::fs::write(&copy, bytes).unwrap();
            fault(&copy)
        };
        assert_eq!(with(&log), None);
        assert_eq!(fault(&folder.join("nowhere")), None);
        for end in [0, 20, 32, 33, log.len() - 1, log.len() - 4_000] {
            assert_eq!(with(&log[..end]), None, "cut at {end}");
        }
        for at in (0..log.len()).step_by(97) {
            let mut wrong = log.clone();
            wrong[at] ^= 0x10;
            // The very last frame without its salts is not told from what is left over from before.
            let last = log.len() - 4_096 - FRAME_HEAD;
            assert!(
                with(&wrong).is_some() || (last + 8..last + 16).contains(&at),
                "byte {at} of {}",
                log.len()
            );
        }
        // What is left over from an earlier log is no damage.
        let mut older = log.clone();
        let half = HEAD + (log.len() - HEAD) / (FRAME_HEAD + 4_096) / 2 * (FRAME_HEAD + 4_096);
        for frame in older[half..].chunks_mut(FRAME_HEAD + 4_096) {
            frame[8] ^= 1;
        }
        assert_eq!(with(&older), None);
        drop(connection);
        let _ = std::fs::remove_dir_all(&folder);
    }
}
