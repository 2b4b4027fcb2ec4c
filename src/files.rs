//! Small files that are replaced as a whole: whoever reads one, after a power cut too, finds the one before or the new one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// Whose a file is, and who may read it. It is so from its first byte on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// It belongs to the account that writes it, and is for nobody else (0600).
    Writer,
    /// It is given to the owner of its folder, and is for nobody else (0600).
    FolderOwner,
    /// It belongs to the account that writes it, and everybody may read it (0644).
    Everybody,
}

/// The folder in which a file is.
pub fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Puts a file in the place of the one before, and waits until both it and its name are on disk.
///
/// It is written under its name with `.new` behind it; what a crash has left there is replaced. Of two that write the same file at
/// once, one fails: whoever cannot rule that out locks something.
///
/// # Errors
/// The operating system's. Then the one before is untouched, unless it was the folder alone that could not be brought to disk, and
/// nothing is left beside it.
pub fn replace(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let folder = File::open(folder(path))?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mode = if readers == Readers::Everybody { 0o644 } else { 0o600 };
    // Only a file that was not there before: a link is not followed.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    let written = (|| {
        if readers == Readers::FolderOwner {
            let (owner, own) = (folder.metadata()?, file.metadata()?);
            if owner.uid() != own.uid() {
                fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
            }
        }
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        folder.sync_all()
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = std::env::temp_dir().join(format!("ballast-files-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("kept.json");
        // What a crash has left.
        std::fs::write(folder.join("kept.json.new"), "half of").unwrap();
        for (content, readers, mode) in [
            ("one", Readers::Writer, 0o600_u32),
            ("two", Readers::FolderOwner, 0o600),
            ("", Readers::Everybody, 0o644),
        ] {
            replace(&path, content.as_bytes(), readers).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
            let found = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            // The mask of whoever runs this may take more away.
            assert_eq!(found & !mode, 0, "{readers:?}: {found:o}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"three", Readers::Writer).is_err(), "there is a folder of that name");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
