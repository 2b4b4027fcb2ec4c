//! A file in one step: whoever reads it sees the old text or the new one, never half of it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use crate::files;

/// Replaces a file. The new text is written beside it, forced to the disk and then given its name, with the
/// permissions and, where that is allowed, the owner of the old one. A symbolic link stays one.
///
/// # Errors
/// The operating system's; the old file is untouched then.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = files::folder(&target);
    let name = target.file_name().ok_or_else(|| io::Error::other("it has no file name"))?;
    let temporary = folder.join(format!(".{}.{:08x}.new", name.to_string_lossy(), rand::random::<u32>()));
    let result = write_new(&temporary, &target, text).and_then(|()| fs::rename(&temporary, &target));
    if let Err(error) = result {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    // The new name itself must survive a power cut too; not every file system can be asked for that.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

fn write_new(temporary: &Path, target: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(temporary)?;
    if let Ok(metadata) = fs::metadata(target) {
        file.set_permissions(metadata.permissions())?;
        keep_owner(temporary, &metadata);
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(unix)]
fn keep_owner(temporary: &Path, metadata: &fs::Metadata) {
    use std::os::unix::fs::{MetadataExt as _, chown};
    // Only root may give files away; anybody else keeps it, as with any editor.
    let _ = chown(temporary, Some(metadata.uid()), Some(metadata.gid()));
}

#[cfg(not(unix))]
fn keep_owner(_: &Path, _: &fs::Metadata) {}
