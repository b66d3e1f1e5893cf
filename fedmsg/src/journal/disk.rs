//! The one door of a journal to the disk, narrow enough for a test to fail, tear or reorder every call.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::clock::Clock;

/// Folders are the owner's to write and the group's to read, and pass their group on.
const FOLDER_MODE: u32 = 0o2750;
const FILE_MODE: u32 = 0o640;

/// What a journal asks of a file system.
///
/// Names are durable after [`sync_folder`](Disk::sync_folder), contents after [`DiskFile::sync`], and
/// neither one before: whoever implements this may lose any part of what was not synced.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes the folder and those above it, durably. One that is there already is fine.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;
    /// The names in a folder, in any order.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Makes a new empty file, to be read and written. Fails when the name is taken.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file. Never follows a symbolic link, and never waits for the other end of a pipe.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name in the same folder, and puts it in the place of what had that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a name away.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names of a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// What is to be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading alone. Such a file can be synced all the same.
    Read,
    /// Reading and writing.
    Write,
}

/// An open file of a [`Disk`].
#[expect(clippy::len_without_is_empty, reason = "a length on disk, not a collection")]
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads from this place on; fewer bytes than asked for, and none at the end.
    fn read_at(&self, at: u64, to: &mut [u8]) -> io::Result<usize>;
    /// Writes at this place; says how many bytes it took.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<usize>;
    /// Makes content and length durable; says how long that took.
    fn sync(&self) -> io::Result<Duration>;
    /// How many bytes it has.
    fn len(&self) -> io::Result<u64>;
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
        if let Some(above) = above {
            self.make_folder(above)?;
        }
        match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            made => {
                made?;
                // The umask and the kernel take bits away when the folder is made.
                fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE))?;
            }
        }
        self.sync_folder(above.unwrap_or(Path::new(".")))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        // `create_new` takes no link for a file, dangling or not.
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(FILE_MODE).open(path)?;
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        Ok(Box::new(OsFile(file)))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(access == Access::Write).custom_flags(flags);
        let file = file.open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"));
        }
        Ok(Box::new(OsFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

#[derive(Debug)]
struct OsFile(File);

impl DiskFile for OsFile {
    fn read_at(&self, at: u64, to: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(&self.0, to, at)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<usize> {
        FileExt::write_at(&self.0, bytes, at)
    }

    fn sync(&self) -> io::Result<Duration> {
        let clock = Clock::start();
        self.0.sync_data()?;
        Ok(Duration::from_micros(clock.micros()))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// A call that a signal interrupted is made again, so many times.
const INTERRUPTIONS_MAX: usize = 100;

/// Writes all of it. A short write goes on where it stopped; a failed one ends with the number of bytes
/// that were taken before it.
pub(crate) fn write_all(
    file: &dyn DiskFile,
    at: u64,
    bytes: &[u8],
) -> Result<(), (usize, io::Error)> {
    let (mut done, mut interruptions) = (0, 0);
    while done < bytes.len() {
        match file.write_at(at + done as u64, &bytes[done..]) {
            Ok(0) => return Err((done, io::ErrorKind::WriteZero.into())),
            Ok(taken) => done += taken,
            Err(error) if interrupted(&error) && interruptions < INTERRUPTIONS_MAX => {
                interruptions += 1;
            }
            Err(error) => return Err((done, error)),
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends; says how much there was.
pub(crate) fn read_full(file: &dyn DiskFile, at: u64, to: &mut [u8]) -> io::Result<usize> {
    let (mut done, mut interruptions) = (0, 0);
    while done < to.len() {
        match file.read_at(at + done as u64, &mut to[done..]) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if interrupted(&error) && interruptions < INTERRUPTIONS_MAX => {
                interruptions += 1;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn interrupted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}
