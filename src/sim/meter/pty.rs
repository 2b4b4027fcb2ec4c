//! A serial line of our own: a pseudo-terminal with a name at the path that the configuration gives.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_serial::{SerialPort as _, SerialStream};
use tokio_util::sync::CancellationToken;

use super::bus::Bus;
use super::server::{Framing, talk};

/// Pause after a failure of the operating system, so that it is not asked in a busy loop.
const PAUSE: Duration = Duration::from_millis(100);

/// `O_NOCTTY` of Linux, on all of its usual processors.
const O_NOCTTY: i32 = 0o400;

/// A pseudo-terminal and the link that leads to it. Both go when it is dropped.
#[derive(Debug)]
pub struct Line {
    /// The devices' end.
    stream: SerialStream,
    /// The other end is held open, or the line would end whenever the client leaves; but not as a port, of which there
    /// can be one only.
    _held: File,
    /// The other end's own name.
    name: PathBuf,
    path: PathBuf,
}

impl Line {
    /// Makes a line that is reached at a path, by a symbolic link.
    ///
    /// # Errors
    /// A path under `/dev` (real devices are never replaced) or one where something else stands; the operating
    /// system's words.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path.starts_with("/dev") {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "a simulated line is never put under /dev",
            ));
        }
        let (stream, mut other) = SerialStream::pair()?;
        let name = other.name().ok_or_else(|| io::Error::other("the pseudo-terminal has no name"))?;
        other.set_exclusive(false)?;
        // Not as the terminal that controls this process.
        let held = File::options().read(true).custom_flags(O_NOCTTY).open(&name)?;
        drop(other);
        match std::fs::read_link(path) {
            // Left behind by a simulation that could not clean up.
            Ok(target) if target.starts_with("/dev/pts") => std::fs::remove_file(path)?,
            _ => {}
        }
        std::os::unix::fs::symlink(&name, path)?;
        Ok(Self { stream, _held: held, name: name.into(), path: path.to_owned() })
    }

    /// Serves until cancelled. While the bus refuses, the line is there, but nobody answers.
    pub async fn serve(mut self, bus: Arc<Bus>, cancel: CancellationToken) {
        let mut door = bus.door();
        loop {
            let refusing = door.borrow_and_update().refusing;
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = door.changed() => {}
                // It ends with a failure of the operating system only.
                _ = talk(&bus, Framing::Rtu, &mut self.stream), if !refusing => sleep(PAUSE).await,
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // Where it is gone already, or belongs to another by now, there is nothing to do.
        if std::fs::read_link(&self.path).is_ok_and(|target| target == self.name) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
