//! A piece of a record as a record of its own.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{Segments, Window, decide};
use crate::record::anonymous::Anonymous;
use crate::record::delta::Outcome;
use crate::record::folder;
use crate::record::segment::{Encoder, Header, Reason, RecordError, Segment};

/// Cycles of a block of a record that is cut out.
const BLOCK: u64 = 600;

/// What to cut out of a record, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cut {
    /// From when to when.
    pub window: Window,
    /// Without names, texts and the hash of the configuration.
    pub anonymise: bool,
    /// What is recorded as decided is what this program decides.
    pub decide_anew: bool,
}

/// Why nothing was cut out.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// It cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It cannot be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Written {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is nothing in the window.
    #[error(
        "nothing was recorded in this time; ballast replay without --from and --to shows from when to when there is something"
    )]
    Empty,
}

/// Cuts a piece out of a record, as segments of their own in a folder. Returns them. A piece begins where the window does, as
/// long as the control law still comes to the state that it had there; else where the segment does.
///
/// # Errors
/// It cannot be read, or not be written, or there is nothing in the window.
pub fn cut(files: &[PathBuf], how: Cut, to: &Path) -> Result<Vec<PathBuf>, CutError> {
    let mut damaged = Vec::new();
    let mut segments = Segments::new(files, how.window, &mut damaged);
    let mut written = Vec::new();
    let mut names = Anonymous::default();
    while let Some(segment) = segments.next() {
        let path = segment.path().to_owned();
        drop(segment);
        written.extend(cut_one(&path, how, &mut names, to)?);
    }
    if let (true, [only]) = (written.is_empty(), files) {
        Segment::open(only)?;
    }
    if written.is_empty() { Err(CutError::Empty) } else { Ok(written) }
}

/// How many cycles of a segment come before the window; none, where the control law comes to another state on the way there.
fn ahead(path: &Path, window: Window) -> Result<u64, RecordError> {
    let mut segment = Segment::open(path)?;
    let mut state = segment.state.clone();
    let mut number = 0;
    while let Ok(Some(cycle)) = segment.next_cycle() {
        if !window.is_before(cycle.wall) {
            return Ok(number);
        }
        let decided = decide(&mut state, &cycle.snapshot).map(|decision| Outcome::of(&decision));
        if decided.as_ref() != Some(&cycle.outcome) {
            return Ok(0);
        }
        number += 1;
    }
    Ok(number)
}

fn cut_one(path: &Path, how: Cut, names: &mut Anonymous, to: &Path) -> Result<Option<PathBuf>, CutError> {
    let skip = ahead(path, how.window)?;
    let mut segment = Segment::open(path)?;
    let mut state = segment.state.clone();
    let mut bytes = Vec::new();
    let mut encoder: Option<Encoder> = None;
    let mut begun = None;
    let mut number = 0;
    // A torn end is no reason not to keep the rest.
    while let Ok(Some(mut cycle)) = segment.next_cycle() {
        if how.window.is_after(cycle.wall) {
            break;
        }
        number += 1;
        let before = (number == skip + 1).then(|| state.clone());
        let Some(decision) = decide(&mut state, &cycle.snapshot) else { break };
        if number <= skip {
            continue;
        }
        if how.decide_anew {
            cycle.outcome = Outcome::of(&decision);
        }
        if let Some(before) = before {
            let mut header =
                Header { wall: cycle.wall, reason: Reason::Cut, lost: 0, ..segment.header.clone() };
            if how.anonymise {
                names.hide_site(&mut header.site);
                header.configuration = [0; 32];
            }
            let (begins, first) = Encoder::begin(&header, &before);
            (encoder, bytes, begun) = (Some(begins), first, Some(cycle.wall));
        }
        if how.anonymise {
            names.hide_texts(&mut cycle.snapshot);
        }
        if let Some(encoder) = &mut encoder {
            encoder.cycle(cycle.wall, &cycle.snapshot, &cycle.outcome);
            if encoder.waiting() >= BLOCK {
                bytes.extend_from_slice(&encoder.block());
            }
        }
    }
    let (Some(mut encoder), Some(wall)) = (encoder, begun) else { return Ok(None) };
    bytes.extend_from_slice(&encoder.block());
    let file = to.join(folder::name(wall));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CutError::Written { path, source }
    };
    std::fs::create_dir_all(to).map_err(failed(to))?;
    let open = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
    open.and_then(|mut open| open.write_all(&bytes)).map_err(failed(&file))?;
    Ok(Some(file))
}
