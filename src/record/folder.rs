//! How much there may be in the folder, and which segments go first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::segment::EXTENSION;

/// How a segment is named: by the time at which it begins, in UTC.
const NAME: &str = "%Y-%m-%dT%H-%M-%S%.3fZ";

/// The name of a segment that begins at a time, in milliseconds since 1970.
pub(super) fn name(wall: i64) -> String {
    let time = Timestamp::from_millisecond(wall).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{}.{EXTENSION}", time.strftime(NAME))
}

/// When a segment begins, by its name; `None` for what is no segment of ours.
fn begun(path: &Path) -> Option<i64> {
    let stem = path.file_stem()?.to_str()?;
    path.extension().filter(|extension| *extension == EXTENSION)?;
    let (whole, rest) = stem.split_once('.')?;
    let millis: i64 = rest.strip_suffix('Z').filter(|digits| digits.len() == 3)?.parse().ok()?;
    let time = jiff::civil::DateTime::strptime("%Y-%m-%dT%H-%M-%S", whole).ok()?;
    let zoned = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    zoned.timestamp().as_millisecond().checked_add(millis)
}

/// A segment on disk.
#[derive(Clone, Debug)]
struct File {
    path: PathBuf,
    begun: i64,
    bytes: u64,
}

/// The segments of a folder, the oldest first. Other files are none of ours.
fn segments(folder: &Path) -> io::Result<Vec<File>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if let (Some(begun), Ok(metadata)) = (begun(&path), entry.metadata())
            && metadata.is_file()
        {
            found.push(File { path, begun, bytes: metadata.len() });
        }
    }
    found.sort_by(|one, other| (one.begun, &one.path).cmp(&(other.begun, &other.path)));
    Ok(found)
}

/// Deletes segments, the oldest first, until at most so many bytes are left and none is older than `keep`. Returns the bytes
/// that are left.
pub(super) fn trim(folder: &Path, most: u64, keep: Duration, now: i64) -> io::Result<u64> {
    let oldest = now.saturating_sub(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
    let all = segments(folder)?;
    let mut left: u64 = all.iter().map(|file| file.bytes).sum();
    for file in all {
        if left <= most && file.begun >= oldest {
            continue;
        }
        fs::remove_file(&file.path)?;
        left = left.saturating_sub(file.bytes);
    }
    Ok(left)
}

/// What [`halve`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Halved {
    /// How many segments it deleted.
    pub files: usize,
    /// How long they were together.
    pub bytes: u64,
    /// Bytes that are left.
    pub left: u64,
}

/// Deletes the oldest half of what there is, but never the newest segment.
pub(super) fn halve(folder: &Path) -> io::Result<Halved> {
    let mut all = segments(folder)?;
    let total: u64 = all.iter().map(|file| file.bytes).sum();
    all.pop();
    let mut done = Halved { files: 0, bytes: 0, left: total };
    for file in all {
        if done.bytes >= total / 2 {
            break;
        }
        fs::remove_file(&file.path)?;
        done = Halved {
            files: done.files + 1,
            bytes: done.bytes + file.bytes,
            left: done.left.saturating_sub(file.bytes),
        };
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_known_by_its_name_and_nothing_else_is() {
        let wall = 1_795_927_432_123;
        assert_eq!(name(wall), "2026-11-29T04-43-52.123Z.record");
        assert_eq!(begun(Path::new("x").join(name(wall)).as_path()), Some(wall));
        for other in
            ["ballast.db", "notes.record", "2026-11-29T04-43-52.123Z", "2026-99-29T04-43-52.123Z.record"]
        {
            assert_eq!(begun(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn the_oldest_go_first_and_other_files_stay() {
        let folder = std::env::temp_dir().join(format!("ballast-record-trim-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let day = 86_400_000;
        let start = 1_795_927_432_123;
        for number in 0..5 {
            fs::write(folder.join(name(start + number * day)), [0; 100]).unwrap();
        }
        fs::write(folder.join("notes.txt"), [0; 1_000]).unwrap();
        let now = start + 5 * day;
        let days = |days: u64| Duration::from_secs(days * 86_400);
        assert_eq!(trim(&folder, 1_000, days(10), now).unwrap(), 500);
        assert_eq!(trim(&folder, 1_000, days(4), now).unwrap(), 400, "one was too old");
        assert_eq!(trim(&folder, 250, days(4), now).unwrap(), 200);
        let left: Vec<i64> = segments(&folder).unwrap().iter().map(|file| file.begun).collect();
        assert_eq!(left, [start + 3 * day, start + 4 * day]);
        assert_eq!(halve(&folder).unwrap(), Halved { files: 1, bytes: 100, left: 100 });
        assert_eq!(halve(&folder).unwrap(), Halved { files: 0, bytes: 0, left: 100 }, "the newest stays");
        assert!(folder.join("notes.txt").exists());
        let _ = fs::remove_dir_all(&folder);
    }
}
