//! The small files beside the segments: bytes that are set aside for a full disk, how far the journal was when it
//! was closed, and how far it is while its writer lives.

use std::io;
use std::path::Path;

use super::disk::{Access, Disk, DiskFile, read_full, write_all};
use super::error::{JournalError, io_error};
use super::format::{Fields, NEW};
use crate::envelope::Epoch;
use crate::limits::JOURNAL_RESERVE_BYTES;

const RESERVE: &str = "reserve";
const END: &str = "end";
const END_MAGIC: [u8; 8] = *b"fmjend\0\x01";
const MARK: &str = "mark";
const MARK_MAGIC: [u8; 8] = *b"fmjmrk\0\x01";
const PLACE_BYTES: usize = 8 + 16 + 8 + 4;

/// Sets bytes aside, unless they are there; says whether they are.
pub(super) fn build_reserve(disk: &dyn Disk, folder: &Path) -> bool {
    if has_reserve(disk, folder) {
        return true;
    }
    let path = folder.join(RESERVE);
    // Not zeros: a file system may keep those without keeping room for them.
    let bytes: Vec<u8> = (0..JOURNAL_RESERVE_BYTES).map(|at| ((at * 31) >> 3) as u8 | 1).collect();
    match put(disk, folder, RESERVE, &bytes) {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(path = %path.display(), %error, "setting bytes aside");
            false
        }
    }
}

/// Whether they are there.
pub(super) fn has_reserve(disk: &dyn Disk, folder: &Path) -> bool {
    let length = disk.open(&folder.join(RESERVE), Access::Read).and_then(|file| file.len());
    length.is_ok_and(|length| length == JOURNAL_RESERVE_BYTES as u64)
}

/// Gives the bytes up.
pub(super) fn release_reserve(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    disk.remove(&folder.join(RESERVE))?;
    disk.sync_folder(folder)
}

/// Writes down how far the journal is.
pub(super) fn write_end(
    disk: &dyn Disk,
    folder: &Path,
    epoch: Epoch,
    last: u64,
) -> Result<(), JournalError> {
    put(disk, folder, END, &encode(END_MAGIC, epoch, last))
        .map_err(io_error("writing", folder.join(END)))
}

/// How far the journal was when it was last closed; nothing when that is not known.
pub(super) fn read_end(disk: &dyn Disk, folder: &Path) -> Option<(Epoch, u64)> {
    read(disk, folder, END, END_MAGIC)
}

/// The file in which a writer that lives says how far its journal is durable. It is written in place and never
/// synced, so that it costs next to nothing: what it says was durable before, and half of it says nothing.
pub(super) fn open_mark(disk: &dyn Disk, folder: &Path) -> io::Result<Box<dyn DiskFile>> {
    let path = folder.join(MARK);
    disk.open(&path, Access::Write).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => disk.create(&path),
        _ => Err(error),
    })
}

/// Says that everything up to here is durable.
pub(super) fn write_mark(file: &dyn DiskFile, epoch: Epoch, last: u64) -> io::Result<()> {
    write_all(file, 0, &encode(MARK_MAGIC, epoch, last)).map_err(|(_, error)| error)
}

/// How far the journal was durable at least, as its writer said last; nothing when that is not known.
pub(super) fn read_mark(disk: &dyn Disk, folder: &Path) -> Option<(Epoch, u64)> {
    read(disk, folder, MARK, MARK_MAGIC)
}

fn encode(magic: [u8; 8], epoch: Epoch, last: u64) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(epoch.uuid().as_bytes());
    bytes.extend_from_slice(&last.to_be_bytes());
    let sum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&sum.to_be_bytes());
    bytes
}

fn read(disk: &dyn Disk, folder: &Path, name: &str, magic: [u8; 8]) -> Option<(Epoch, u64)> {
    let file = disk.open(&folder.join(name), Access::Read).ok()?;
    let mut bytes = [0; PLACE_BYTES + 1];
    let read = read_full(&*file, 0, &mut bytes).ok()?;
    let (bytes, sum) = bytes[..read].split_at_checked(PLACE_BYTES - 4)?;
    if sum != crc32c::crc32c(bytes).to_be_bytes() {
        return None;
    }
    let mut fields = Fields(bytes.strip_prefix(&magic)?);
    Some((fields.epoch()?, fields.number::<8>()?))
}

/// Written beside, synced, and put into place: a crash leaves the old or the new one.
fn put(disk: &dyn Disk, folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (path, new) = (folder.join(name), folder.join(format!("{name}{NEW}")));
    let write = || {
        let file = disk.create(&new)?;
        write_all(&*file, 0, bytes).map_err(|(_, error)| error)?;
        file.sync()?;
        disk.rename(&new, &path)
    };
    if let Err(error) = write() {
        // What is left is removed by the next open, if not now.
        disk.remove(&new).ok();
        return Err(error);
    }
    disk.sync_folder(folder)
}
