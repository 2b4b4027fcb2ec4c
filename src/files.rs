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
    /// It stays as it is, and belongs to whom it did where that is allowed; a new one is as the system makes it. For files of people,
    /// who may have a `.new` of their own beside it: none of theirs is touched.
    AsBefore,
}

/// The folder in which a file is.
pub fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Puts a file in the place of the one before, and waits until both it and its name are on disk.
///
/// # Errors
/// As [`write`].
pub fn replace(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    write(path, readers, |file| file.write_all(content))
}

/// As [`replace`], with a content that is written piece by piece; a link at that path is not followed.
///
/// It is written under its name with `.new` behind it; what a crash has left there is replaced. Of two that write the same file at
/// once, one fails: whoever cannot rule that out locks something. [`Readers::AsBefore`] takes a name that nobody has, and the last wins.
///
/// # Errors
/// The operating system's, and those of `fill`. Then the one before is untouched, unless it was the folder alone that could not be
/// brought to disk, and nothing is left beside it.
pub fn write<T>(
    path: &Path,
    readers: Readers,
    fill: impl FnOnce(&mut File) -> io::Result<T>,
) -> io::Result<T> {
    let folder = File::open(folder(path))?;
    let kept = readers == Readers::AsBefore;
    let before = if kept { std::fs::metadata(path).ok() } else { None };
    let mut beside = path.as_os_str().to_owned();
    if kept {
        beside.push(format!(".{:016x}", rand::random::<u64>()));
    }
    beside.push(".new");
    let beside = PathBuf::from(beside);
    if !kept
        && let Err(error) = std::fs::remove_file(&beside)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mode = match readers {
        Readers::Writer | Readers::FolderOwner => 0o600,
        Readers::Everybody => 0o644,
        Readers::AsBefore => before.as_ref().map_or(0o666, |before| before.mode() & 0o777),
    };
    // Only a file that was not there before: a link is not followed.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    let written = (|| {
        if readers == Readers::FolderOwner {
            let (owner, own) = (folder.metadata()?, file.metadata()?);
            if owner.uid() != own.uid() {
                fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
            }
        }
        if let Some(before) = before {
            // Only root may give files away; anybody else keeps it, as with any editor.
            let _ = fchown(&file, Some(before.uid()), Some(before.gid()));
            file.set_permissions(before.permissions())?;
        }
        let filled = fill(&mut file)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        match folder.sync_all() {
            // Not every file system of people can be asked for that.
            Err(error) if !kept => Err(error),
            _ => Ok(filled),
        }
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
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let beside = folder.join("kept.json.new");
        std::fs::write(&beside, "of somebody").unwrap();
        mode(0o604);
        replace(&path, b"as it was", Readers::AsBefore).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o604);
        assert_eq!(std::fs::read_to_string(&beside).unwrap(), "of somebody");
        assert!(write(&path, Readers::AsBefore, |_| Err::<(), _>(io::Error::other("no end"))).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "as it was");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        std::fs::remove_file(beside).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"three", Readers::Writer).is_err(), "there is a folder of that name");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
