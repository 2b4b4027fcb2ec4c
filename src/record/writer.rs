//! The thread that writes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tracing::{info, warn};

use super::delta::Outcome;
use super::segment::{Encoder, Reason, header};
use super::{Settings, Shared, folder};
use crate::clock::Moment;
use crate::control::{Decision, Snapshot, State};

/// So much may be lost by a crash.
const BLOCK: Duration = Duration::from_secs(10);
/// A block is not longer than this, not packed yet.
const LONGEST_BLOCK: usize = 4 << 20;
/// Another segment begins when one has this part of all.
const PART: u64 = 8;
/// A wall clock that was set back by less than this, in milliseconds, changes no order of segments: two hours.
const SET_BACK: i64 = 7_200_000;

/// What the loop hands over.
pub(super) enum Job {
    /// A segment begins.
    Begin(Box<Begin>),
    /// A cycle of the control law.
    Cycle { wall: i64, snapshot: Arc<Snapshot>, decision: Arc<Decision> },
}

/// How a segment begins.
pub(super) struct Begin {
    /// Before the first cycle.
    pub state: State,
    pub configuration: [u8; 32],
    pub wall: i64,
    pub reason: Reason,
}

/// A segment that is being written.
struct Open {
    file: File,
    encoder: Encoder,
    bytes: u64,
    /// The loop was told that it is full.
    full: bool,
    /// When the block began that is being filled.
    block: Option<Moment>,
}

pub(super) struct Writer {
    folder: PathBuf,
    settings: Settings,
    shared: Arc<Shared>,
    open: Option<Open>,
    /// The time in the name of the latest segment.
    latest: Option<i64>,
    /// Bytes of all other segments.
    others: u64,
    /// How many of the cycles that were lost a segment has told.
    told: u64,
    /// What is wrong has been said.
    complained: bool,
}

impl Writer {
    pub(super) fn new(folder: PathBuf, settings: Settings, shared: Arc<Shared>) -> Self {
        Self { folder, settings, shared, open: None, latest: None, others: 0, told: 0, complained: false }
    }

    /// Writes until nobody hands over any more.
    pub(super) fn run(mut self, mut inbox: Receiver<Job>) {
        while let Some(job) = inbox.blocking_recv() {
            let done = match job {
                Job::Begin(begin) => self.begin(*begin),
                Job::Cycle { wall, snapshot, decision } => self.cycle(wall, &snapshot, &decision),
            };
            if let Err(error) = done {
                self.fail(&error);
            }
        }
        if let Err(error) = self.flush() {
            self.fail(&error);
        }
    }

    fn most(&self) -> u64 {
        self.settings.max_size / PART
    }

    fn begin(&mut self, begin: Begin) -> io::Result<()> {
        self.flush()?;
        self.open = None;
        if !self.folder.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        }
        let most = self.most();
        let room = self.settings.max_size.saturating_sub(most.saturating_mul(2));
        self.others = folder::trim(&self.folder, room, self.settings.keep, begin.wall)?;
        let all = self.shared.lost.load(Ordering::Relaxed);
        let lost = all.saturating_sub(self.told);
        let header = header(begin.state.site(), begin.configuration, begin.wall, begin.reason, lost);
        let (encoder, bytes) = Encoder::begin(&header, &begin.state);
        let length = size(&bytes);
        if length >= most {
            return Err(io::Error::other(format!(
                "the state of this site alone takes {length} bytes: give [record] a larger max_megabytes"
            )));
        }
        let (mut file, path) = self.create(begin.wall)?;
        if let Err(error) = file.write_all(&bytes) {
            // What is left of it is no segment; where it cannot even be deleted, whoever reads leaves it out.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        self.told = all;
        self.open = Some(Open { file, encoder, bytes: length, full: false, block: None });
        self.shared.bytes.store(self.others.saturating_add(length), Ordering::Relaxed);
        if std::mem::take(&mut self.complained) {
            info!("the record in {} goes on", self.folder.display());
        }
        Ok(())
    }

    /// A file that was not there before. Whoever reads goes by the names: one stands behind the latest also where the wall clock was set
    /// back by a little. One that was years ahead is not followed.
    fn create(&mut self, wall: i64) -> io::Result<(File, PathBuf)> {
        let behind = self.latest.map_or(wall, |latest| latest.saturating_add(1));
        let begun = if behind.saturating_sub(wall) < SET_BACK { wall.max(behind) } else { wall };
        let mut last = None;
        for later in 0..100 {
            let name = begun.saturating_add(later);
            let path = self.folder.join(folder::name(name));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => {
                    self.latest = Some(name);
                    return Ok((file, path));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::other("there is no name left for a segment")))
    }

    fn cycle(&mut self, wall: i64, snapshot: &Snapshot, decision: &Decision) -> io::Result<()> {
        let most = self.most();
        let Some(open) = &mut self.open else {
            // It failed, and the loop did not know yet.
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        let waiting = open.encoder.cycle(wall, snapshot, &Outcome::of(decision));
        let since = *open.block.get_or_insert(snapshot.now);
        if snapshot.now - since >= BLOCK || waiting >= LONGEST_BLOCK {
            self.flush()?;
        }
        let bytes = self.open.as_ref().map_or(0, |open| open.bytes);
        // The loop begins another one with the next cycle, and is told once: cycles that it has handed over before come to this one
        // still. Where it does not, there is an end nevertheless.
        if bytes >= most && self.open.as_mut().is_some_and(|open| !std::mem::replace(&mut open.full, true)) {
            self.shared.full.store(true, Ordering::Relaxed);
        }
        if bytes >= most.saturating_mul(2) {
            self.open = None;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let block = open.encoder.block();
        open.block = None;
        open.file.write_all(&block)?;
        // Whoever deletes the file or its folder takes no room from a file that is open: without a look nothing would tell.
        if open.file.metadata()?.nlink() == 0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file was deleted while it was written"));
        }
        open.bytes = open.bytes.saturating_add(size(&block));
        self.shared.bytes.store(self.others.saturating_add(open.bytes), Ordering::Relaxed);
        Ok(())
    }

    /// Gives the segment up. The loop asks for another one later.
    fn fail(&mut self, error: &io::Error) {
        let waiting = self.open.take().map_or(0, |open| open.encoder.waiting());
        self.shared.lost.fetch_add(waiting, Ordering::Relaxed);
        self.shared.errors.fetch_add(1, Ordering::Relaxed);
        let first = !std::mem::replace(&mut self.complained, true);
        if first {
            warn!(
                "the record in {} is interrupted, control is not: {error}; it is tried again each minute. Look after the \
                 disk (space, rights), or write enabled = false in [record]",
                self.folder.display()
            );
        }
        if first && error.kind() == io::ErrorKind::StorageFull {
            // What else is on this disk needs the room more, the orders in the database above all. Once: whatever fills the
            // disk must not take the whole record.
            match folder::halve(&self.folder) {
                Ok(folder::Halved { files, bytes, left }) => {
                    self.shared.bytes.store(left, Ordering::Relaxed);
                    warn!(
                        "the disk is full: the {files} oldest files of the record were deleted ({bytes} bytes)"
                    );
                }
                Err(error) => warn!("the disk is full, and nothing of the record could be deleted: {error}"),
            }
        }
        self.shared.failed.store(true, Ordering::Release);
    }
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stands_behind_the_latest_also_where_the_clock_was_set_back_a_little() {
        let folder = std::env::temp_dir().join(format!("ballast-names-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut writer = Writer::new(folder.clone(), Settings::default(), Arc::default());
        let mut name = |wall: i64| writer.create(wall).unwrap().1;
        let first = name(SET_BACK * 10);
        let second = name(SET_BACK * 10);
        // The oldest is deleted: its name is free again.
        fs::remove_file(&first).unwrap();
        let third = name(SET_BACK * 9 + 1_000);
        assert!(first < second && second < third, "{second:?} {third:?}");
        let far_back = name(SET_BACK * 5);
        assert!(far_back < first, "the clock was hours ahead: {far_back:?}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
