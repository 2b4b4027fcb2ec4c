//! A segment: a file that needs no other to be replayed.
//!
//! ```text
//! "BALLAST RECORD 2\n"
//! frame: kind (1 byte) · length (4) · check sum (4) · content          numbers with the low byte first
//!   kind 1, first    the header: what it is of, and the site as the control law knows it
//!   kind 2, second   the state of the control law before the first cycle
//!   kind 3, others   a block of cycles, each as what differs from the one before
//! ```
//!
//! A frame that does not fit its check sum ends what can be used. At the end of the file, that is what a power cut leaves
//! behind.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Crc;
use serde::{Deserialize, Serialize};

use super::columns::{self, Columns, Damage, MOST_BYTES};
use super::delta::{Before, Cycle, Outcome};
use crate::control::site::Site;
use crate::control::{Snapshot, State};
use crate::miner::DriverKind;

/// How a segment begins.
///
/// The number rises with every change of the format. The fields of site, state and snapshot have their names in it: one that
/// is new must have a value that stands for its absence (`serde(default)`), then older records can be read.
/// `tests/fixtures/records` holds records that must be.
pub(super) const MAGIC: &[u8] = b"BALLAST RECORD 2\n";
/// What a record of every version begins with.
const ANY: &[u8] = b"BALLAST RECORD ";
/// What the name of a segment ends with, behind a dot.
pub const EXTENSION: &str = "record";
/// Largest frame, packed.
const MOST_FRAME: u32 = 64 << 20;
/// Most cycles of a block that are believed.
const MOST_CYCLES: u64 = 1_000_000;

const HEADER: u8 = 1;
const STATE: u8 = 2;
const BLOCK: u8 = 3;

/// Why a segment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The program has started.
    Start,
    /// The one before was long enough.
    Turn,
    /// Another configuration is in force.
    Reload,
    /// Cycles were lost: the disk was too slow.
    Gap,
    /// Cycles were lost: nothing could be written.
    Trouble,
    /// It was cut out of another one.
    Cut,
}

impl Reason {
    /// As written for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Start => "the program has started",
            Self::Turn => "the segment before was long enough",
            Self::Reload => "another configuration is in force",
            Self::Gap => "cycles were lost because the disk was too slow",
            Self::Trouble => "cycles were lost because nothing could be written",
            Self::Cut => "cut out of another segment",
        }
    }
}

/// What stands before the cycles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Which version of the program wrote it.
    pub program: String,
    /// The hash (SHA-256) of the configuration's text.
    pub configuration: [u8; 32],
    /// Wall-clock time, in milliseconds since 1970.
    pub wall: i64,
    /// Why it begins.
    pub reason: Reason,
    /// Cycles that were lost right before.
    pub lost: u64,
    /// The driver of each miner.
    pub drivers: Vec<String>,
    /// The site; its miners have no driver here.
    pub site: Site,
}

/// Why a record cannot be read, or no further.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system does not give it.
    #[error("{}: cannot be read: {source}", path.display())]
    System {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{}: is no record of Ballast; name a file that ends in .{EXTENSION}, or the folder with them", .0.display())]
    Foreign(PathBuf),
    /// It is of another version.
    #[error("{}: was written by a version of Ballast that keeps other things; replay it with that version", .0.display())]
    Version(PathBuf),
    /// There is none.
    #[error("{}: there is no record in this folder; is `[record]` on, and has the daemon run?", .0.display())]
    None(PathBuf),
    /// It is of another site.
    #[error(
        "the configuration of `{other}` has none of the miners that were recorded at `{recorded}`, by name: there is nothing to compare"
    )]
    OtherSite {
        /// Where it was recorded.
        recorded: String,
        /// The site of the configuration.
        other: String,
    },
    /// It is damaged.
    #[error("{}: damaged at byte {offset}: the bytes {what}; what stands before them can be used", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where the frame begins that cannot be used.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// It ends in the middle of a frame.
    #[error("{}: ends in the middle of a block at byte {offset}, as after a power cut; what stands before can be used",
        path.display())]
    Torn {
        /// Which file.
        path: PathBuf,
        /// Where the frame begins.
        offset: u64,
    },
}

fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut sum = Crc::new();
    sum.update(&[kind]);
    sum.update(content);
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(content.len().saturating_add(9));
    bytes.push(kind);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&sum.sum().to_le_bytes());
    bytes.extend_from_slice(content);
    bytes
}

fn packed(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut content = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    content.extend_from_slice(&columns::pack(bytes));
    frame(kind, &content)
}

/// Makes the bytes of a segment, one piece after another.
#[derive(Debug)]
pub struct Encoder {
    before: Before,
    columns: Columns,
    cycles: u64,
}

impl Encoder {
    /// A segment, and the bytes with which it begins.
    pub fn begin(header: &Header, state: &State) -> (Self, Vec<u8>) {
        let mut bytes = MAGIC.to_vec();
        // What has no length cannot be written, and there is nothing of that kind in either.
        bytes.extend_from_slice(&packed(HEADER, &columns::named(header)));
        bytes.extend_from_slice(&packed(STATE, &columns::named(state)));
        let encoder = Self { before: Before::nothing(&header.site), columns: Columns::default(), cycles: 0 };
        (encoder, bytes)
    }

    /// Adds a cycle. Returns how many bytes wait for [`Encoder::block`], not packed yet.
    pub fn cycle(&mut self, wall: i64, snapshot: &Snapshot, outcome: &Outcome) -> usize {
        self.before.write(&mut self.columns, wall, snapshot, outcome);
        self.cycles += 1;
        self.columns.len()
    }

    /// How many cycles wait for [`Encoder::block`].
    pub fn waiting(&self) -> u64 {
        self.cycles
    }

    /// The block of all cycles since the one before; empty without any.
    pub fn block(&mut self) -> Vec<u8> {
        if self.cycles == 0 {
            return Vec::new();
        }
        let mut content = self.cycles.to_le_bytes().to_vec();
        content.extend_from_slice(&self.columns.pack());
        self.cycles = 0;
        frame(BLOCK, &content)
    }
}

/// The header of a site that is recorded.
pub fn header(site: &Site, configuration: [u8; 32], wall: i64, reason: Reason, lost: u64) -> Header {
    Header {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        configuration,
        wall,
        reason,
        lost,
        drivers: site.miners.iter().map(|miner| miner.driver.to_owned()).collect(),
        site: site.clone(),
    }
}

/// A segment that is being read.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    from: BufReader<File>,
    /// Where the next frame begins, and how long the file is.
    offset: u64,
    length: u64,
    /// What stands before the cycles. The miners of its site have their drivers.
    pub header: Header,
    /// The site.
    pub site: Arc<Site>,
    /// The state before the first cycle.
    pub state: State,
    before: Before,
    block: columns::Reading,
    left: u64,
    ended: bool,
}

impl Segment {
    /// Opens a segment and reads what stands before its cycles.
    ///
    /// # Errors
    /// It cannot be read, is something else, or is damaged there.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let system = |source| RecordError::System { path: path.to_owned(), source };
        // Before it is opened: a pipe would be waited for.
        if !std::fs::metadata(path).map_err(system)?.is_file() {
            return Err(RecordError::Foreign(path.to_owned()));
        }
        let file = File::open(path).map_err(system)?;
        let metadata = file.metadata().map_err(system)?;
        let mut from = BufReader::new(file);
        let mut magic = vec![0; MAGIC.len()];
        match from.read_exact(&mut magic) {
            Ok(()) if magic == MAGIC => {}
            Ok(()) if magic.starts_with(ANY) => return Err(RecordError::Version(path.to_owned())),
            Ok(()) => return Err(RecordError::Foreign(path.to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(RecordError::Foreign(path.to_owned()));
            }
            Err(source) => return Err(system(source)),
        }
        let mut frames = Frames {
            path,
            from: &mut from,
            offset: u64::try_from(MAGIC.len()).unwrap_or(0),
            length: metadata.len(),
        };
        let begins = frames.offset;
        let header = frames.one(HEADER)?;
        let mut header: Header = parse(&header).map_err(|what| frames.damaged(begins, what))?;
        if header.drivers.len() != header.site.miners.len() {
            return Err(frames.damaged(begins, "have not one driver for each miner"));
        }
        for (miner, driver) in header.site.miners.iter_mut().zip(&header.drivers) {
            // A label; the name of a driver of a later version is not known here.
            miner.driver = DriverKind::from_name(driver).map_or("unknown", DriverKind::name);
        }
        let site = Arc::new(header.site.clone());
        let begins = frames.offset;
        let state = frames.one(STATE)?;
        let state: State = parse(&state).map_err(|what| frames.damaged(begins, what))?;
        let state = state.restore(site.clone()).map_err(|unfit| frames.damaged(begins, unfit))?;
        let (offset, length) = (frames.offset, frames.length);
        Ok(Self {
            path: path.to_owned(),
            from,
            offset,
            length,
            before: Before::nothing(&header.site),
            header,
            site,
            state,
            block: columns::Reading::default(),
            left: 0,
            ended: false,
        })
    }

    /// Which file it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next cycle; `None` at the end.
    ///
    /// # Errors
    /// The file is torn or damaged here; nothing comes after that.
    pub fn next_cycle(&mut self) -> Result<Option<Cycle>, RecordError> {
        if self.ended {
            return Ok(None);
        }
        let outcome = self.read_next();
        self.ended = !matches!(outcome, Ok(Some(_)));
        outcome
    }

    fn read_next(&mut self) -> Result<Option<Cycle>, RecordError> {
        let mut frames =
            Frames { path: &self.path, from: &mut self.from, offset: self.offset, length: self.length };
        while self.left == 0 {
            if frames.offset >= frames.length {
                return Ok(None);
            }
            let begins = frames.offset;
            let content = frames.content(BLOCK)?;
            let (cycles, block) =
                content.split_first_chunk::<8>().ok_or_else(|| frames.damaged(begins, Damage::Short))?;
            self.left = u64::from_le_bytes(*cycles);
            if self.left > MOST_CYCLES {
                return Err(frames.damaged(begins, Damage::Nonsense));
            }
            self.block = columns::Reading::unpack(block).map_err(|damage| frames.damaged(begins, damage))?;
            self.offset = frames.offset;
        }
        self.left -= 1;
        let cycle =
            self.before.read(&mut self.block).map_err(|damage| frames.damaged(self.offset, damage))?;
        Ok(Some(cycle))
    }
}

fn parse<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, Damage> {
    rmp_serde::from_slice(bytes).map_err(|_| Damage::Nonsense)
}

/// The frames of a file.
struct Frames<'f> {
    path: &'f Path,
    from: &'f mut BufReader<File>,
    offset: u64,
    length: u64,
}

impl Frames<'_> {
    fn damaged(&self, offset: u64, what: impl ToString) -> RecordError {
        RecordError::Damaged { path: self.path.to_owned(), offset, what: what.to_string() }
    }

    fn read(&mut self, count: usize, begins: u64) -> Result<Vec<u8>, RecordError> {
        let mut bytes = vec![0; count];
        match self.from.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(RecordError::Torn { path: self.path.to_owned(), offset: begins })
            }
            Err(source) => Err(RecordError::System { path: self.path.to_owned(), source }),
        }
    }

    /// The content of the next frame, which must be of this kind.
    fn content(&mut self, wanted: u8) -> Result<Vec<u8>, RecordError> {
        let begins = self.offset;
        let head = self.read(9, begins)?;
        let &[kind, a, b, c, d, e, f, g, h] = head.as_slice() else {
            return Err(self.damaged(begins, Damage::Short));
        };
        let (length, sum) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        let end = begins.saturating_add(9).saturating_add(u64::from(length));
        if length > MOST_FRAME {
            return Err(self.damaged(begins, "name a length that no frame has"));
        }
        if end > self.length {
            return Err(RecordError::Torn { path: self.path.to_owned(), offset: begins });
        }
        let content = self.read(usize::try_from(length).unwrap_or(usize::MAX), begins)?;
        let mut real = Crc::new();
        real.update(&[kind]);
        real.update(&content);
        if real.sum() != sum {
            return Err(self.damaged(begins, "do not fit their check sum"));
        }
        if kind != wanted {
            return Err(self.damaged(begins, "are of a kind that does not belong here"));
        }
        self.offset = end;
        Ok(content)
    }

    /// The next frame, unpacked.
    fn one(&mut self, wanted: u8) -> Result<Vec<u8>, RecordError> {
        let begins = self.offset;
        let content = self.content(wanted)?;
        let (length, packed) =
            content.split_first_chunk::<4>().ok_or_else(|| self.damaged(begins, Damage::Short))?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(MOST_BYTES + 1);
        columns::unpack(packed, length).map_err(|damage| self.damaged(begins, damage))
    }
}

/// The segments of a folder, the oldest first, or the one file. Files of no length, which a full disk leaves behind, are none.
///
/// # Errors
/// The folder cannot be read, or there is none in it.
pub fn find(path: &Path) -> Result<Vec<PathBuf>, RecordError> {
    let system = |source| RecordError::System { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(system)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(system)? {
        let file = entry.map_err(system)?.path();
        let something =
            std::fs::metadata(&file).is_ok_and(|metadata| !metadata.is_file() || metadata.len() > 0);
        if something && file.extension().is_some_and(|extension| extension == EXTENSION) {
            found.push(file);
        }
    }
    found.sort();
    if found.is_empty() { Err(RecordError::None(path.to_owned())) } else { Ok(found) }
}
