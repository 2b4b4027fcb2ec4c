//! What the thread of the database adds to the proof: the chain of entries, in the same file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use crate::proof::Queue;
use crate::proof::chain::Chain;

pub(super) struct Proving {
    /// Where the key is.
    folder: PathBuf,
    queue: Arc<Queue>,
    /// `None` until the table was read.
    chain: Option<Chain>,
    /// Why a table without entries is a new one.
    because: Option<String>,
}

impl Proving {
    pub(super) fn new(database: &Path, queue: Arc<Queue>, because: Option<String>) -> Self {
        // A path without a folder is in the one where the daemon was started.
        let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        Self { folder, queue, chain: None, because }
    }

    /// The file is not there any more, or is another one.
    pub(super) fn lose_file(&mut self) {
        let before = self.chain.take().map(|chain| chain.head().clone()).filter(|head| head.number > 0);
        let ended = before.map(|head| format!("; its chain ended with {}:{}", head.number, head.hash));
        self.because = Some(format!("the database was gone or damaged{}", ended.unwrap_or_default()));
    }

    /// Adds what waits. What cannot be added waits on.
    pub(super) fn add(&mut self, connection: &mut Connection, seal: bool) -> rusqlite::Result<()> {
        let chain = match &mut self.chain {
            Some(chain) => chain,
            none => none.insert(Chain::resume(connection, &self.folder, self.because.clone())?),
        };
        let (pending, lost) = self.queue.take();
        let added = chain.add(connection, &pending, lost, self.queue.keep(), seal);
        match &added {
            Ok(()) => self.queue.set_head(chain.head().number, &chain.head().hash),
            Err(_) => self.queue.give_back(pending, lost),
        }
        added
    }
}
