//! Small files beside a journal, which are replaced as a whole.

use std::io;
use std::path::Path;

use crate::journal::{Access, Disk, read_full, write_all};

/// Puts a file in the place of the one before. A reader finds the old or the new one.
///
/// It is synced before it gets its name: after a power cut there may be an older one or none, but never half of one.
/// Fails when there are more bytes than this file may have.
pub(super) fn put(disk: &dyn Disk, path: &Path, bytes: &[u8], most: usize) -> io::Result<()> {
    if bytes.len() > most {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is too long"));
    }
    let new = path.with_extension("new");
    match disk.remove(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&new)?;
    write_all(&*file, 0, bytes).map_err(|(_, error)| error)?;
    file.sync()?;
    disk.rename(&new, path)
}

/// The bytes of a file that may have so many.
pub(super) fn get(disk: &dyn Disk, path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Access::Read)?;
    let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    if length > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
    }
    let mut bytes = vec![0; length];
    let read = read_full(&*file, 0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}
