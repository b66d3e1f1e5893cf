//! A disk in memory that fails, tears and crashes as it is told.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;

use super::memory_file::MemoryFile;
use crate::journal::{Access, Disk, DiskFile};

/// A disk in memory. Cheap to clone: all clones are the same disk.
///
/// Every call of [`Disk`] and [`DiskFile`] counts, the first one is number 0, and each can be made to fail
/// or to be the last one before the power is cut. Everything is decided by seeds.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<Inner>>);

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskFault {
    /// At which call, counted from the disk's first one.
    pub call: u64,
    /// What happens.
    pub kind: FaultKind,
    /// Whether the calls behind it fail as well.
    pub for_ever: bool,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The power is cut during the call: it and all later ones fail, until [`MemoryDisk::restart`].
    Crash,
    /// An input/output error. Of a write, half of the bytes may have been taken; after a failed sync, what
    /// was written before is never brought to the disk by a later one.
    Io,
    /// No room. Calls that need none succeed.
    Full,
    /// A write takes half of its bytes; other calls succeed.
    ShortWrite,
    /// A signal came before anything was done.
    Interrupted,
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<u64, MemoryFile>,
    live: BTreeMap<PathBuf, u64>,
    durable: BTreeMap<PathBuf, u64>,
    unsynced: Vec<Naming>,
    next_file: u64,
    calls: u64,
    fault: Option<DiskFault>,
    capacity: Option<u64>,
    down: bool,
    /// How often the power was cut: files that were opened before are dead.
    lives: u64,
}

/// A name that was given, given away or taken away.
#[derive(Clone, Debug)]
enum Naming {
    Create(PathBuf, u64),
    Rename(PathBuf, PathBuf, u64),
    Remove(PathBuf),
}

impl MemoryDisk {
    /// An empty disk without an end.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// What is to go wrong from now on; nothing: no more.
    pub fn fail(&self, fault: Option<DiskFault>) {
        self.lock().fault = fault;
    }

    /// The bytes that all files together may have; nothing: without an end.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Whether the power was cut.
    pub fn is_down(&self) -> bool {
        self.lock().down
    }

    /// Cuts the power, if it is on, and starts the disk again. Of everything that was not synced, names and
    /// bytes alike, what the seed says is there afterwards.
    pub fn restart(&self, seed: u64) {
        let mut random = Rng::with_seed(seed);
        let mut inner = self.lock();
        inner.files.values_mut().for_each(|file| file.crash(&mut random));
        let keep = [0, 50, 100][random.usize(0..3)];
        for naming in std::mem::take(&mut inner.unsynced) {
            if random.u8(0..100) < keep {
                naming.apply(&mut inner.durable);
            }
        }
        inner.live = inner.durable.clone();
        (inner.down, inner.fault) = (false, None);
        inner.lives += 1;
    }

    /// Another disk with the same content, all of it durable, and without faults.
    pub fn copy(&self) -> MemoryDisk {
        let inner = self.lock();
        let mut files = inner.files.clone();
        files.values_mut().for_each(|file| file.set(file.live.clone()));
        let (live, durable) = (inner.live.clone(), inner.live.clone());
        let (next_file, capacity) = (inner.next_file, inner.capacity);
        let copy = Inner { files, live, durable, next_file, capacity, ..Inner::default() };
        MemoryDisk(Arc::new(Mutex::new(copy)))
    }

    /// All files, and how long they are.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let inner = self.lock();
        let length = |file: &u64| inner.files.get(file).map_or(0, |file| file.live.len() as u64);
        inner.live.iter().map(|(path, file)| (path.clone(), length(file))).collect()
    }

    /// What a file holds.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let inner = self.lock();
        Some(inner.files.get(inner.live.get(path)?)?.live.clone())
    }

    /// Puts something else into a file, durably: damage. Makes the file when there is none.
    pub fn set_content(&self, path: &Path, content: Vec<u8>) {
        let mut inner = self.lock();
        let number = match inner.live.get(path) {
            Some(number) => *number,
            None => inner.new_file(),
        };
        inner.live.insert(path.into(), number);
        inner.durable.insert(path.into(), number);
        inner.files.entry(number).or_default().set(content);
    }

    /// Changes these bits of one byte of a file.
    ///
    /// # Panics
    /// When there is no such byte.
    pub fn flip(&self, path: &Path, at: usize, bits: u8) {
        let mut content = self.content(path).expect("a file");
        content[at] ^= bits;
        self.set_content(path, content);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_file(&self, number: u64, lives: u64) -> Box<dyn DiskFile> {
        Box::new(OpenFile { disk: self.clone(), number, lives })
    }
}

/// What a call does when a fault meets it.
enum Meets {
    Nothing,
    /// The call fails, after as much of it as can be left half done.
    Failure(io::Error),
    Short,
}

impl Inner {
    /// Counts a call.
    fn call(&mut self) -> io::Result<Meets> {
        let call = self.calls;
        self.calls += 1;
        if self.down {
            return Err(io::Error::other("the power is off"));
        }
        let due = |fault: &DiskFault| call == fault.call || (fault.for_ever && call > fault.call);
        let Some(fault) = self.fault.filter(due) else { return Ok(Meets::Nothing) };
        Ok(match fault.kind {
            FaultKind::Crash => {
                self.down = true;
                Meets::Failure(io::Error::other("the power was cut"))
            }
            FaultKind::Io => Meets::Failure(io::Error::from_raw_os_error(5)),
            FaultKind::Full => Meets::Failure(full()),
            FaultKind::Interrupted => Meets::Failure(io::ErrorKind::Interrupted.into()),
            FaultKind::ShortWrite => Meets::Short,
        })
    }

    /// Counts a call that needs no room and writes nothing.
    fn plain_call(&mut self) -> io::Result<()> {
        match self.call()? {
            Meets::Failure(error) if !is_full(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Counts a call that changes names. One that the power was cut in may have been done.
    fn naming_call(&mut self, naming: Naming) -> io::Result<()> {
        let met = self.call()?;
        let needs_room = !matches!(naming, Naming::Remove(_));
        match met {
            Meets::Failure(error) if self.down => {
                self.unsynced.push(naming);
                Err(error)
            }
            Meets::Failure(error) if needs_room || !is_full(&error) => Err(error),
            _ => {
                naming.apply(&mut self.live);
                self.unsynced.push(naming);
                Ok(())
            }
        }
    }

    fn new_file(&mut self) -> u64 {
        self.next_file += 1;
        self.files.insert(self.next_file, MemoryFile::default());
        self.next_file
    }

    /// Room that is left for a file of this length to grow.
    fn room(&self) -> u64 {
        let Some(capacity) = self.capacity else { return u64::MAX };
        let used = self.live.values().filter_map(|file| self.files.get(file));
        capacity.saturating_sub(used.map(|file| file.live.len() as u64).sum())
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Naming::Create(path, file) => {
                names.insert(path.clone(), *file);
            }
            Naming::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Naming::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull
}

impl Disk for MemoryDisk {
    fn make_folder(&self, _folder: &Path) -> io::Result<()> {
        self.lock().plain_call()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut inner = self.lock();
        inner.plain_call()?;
        // What has a file below it is a folder, and is listed as well.
        let inside = inner.live.keys().filter_map(|path| path.strip_prefix(folder).ok());
        let names = inside.filter_map(|path| path.iter().next()?.to_str().map(str::to_owned));
        let mut names: Vec<String> = names.collect();
        names.dedup();
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.lock();
        if inner.live.contains_key(path) {
            inner.plain_call()?;
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = inner.new_file();
        inner.naming_call(Naming::Create(path.into(), file))?;
        Ok(self.open_file(file, inner.lives))
    }

    fn open(&self, path: &Path, _access: Access) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.lock();
        inner.plain_call()?;
        let file = inner.live.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.open_file(file, inner.lives))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        let file = inner.live.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        inner.naming_call(Naming::Rename(from.into(), to.into(), file))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        if !inner.live.contains_key(path) {
            inner.plain_call()?;
            return Err(io::ErrorKind::NotFound.into());
        }
        inner.naming_call(Naming::Remove(path.into()))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.plain_call()?;
        let Inner { unsynced, durable, .. } = &mut *inner;
        unsynced.retain(|naming| {
            let (Naming::Create(path, _) | Naming::Rename(path, ..) | Naming::Remove(path)) =
                naming;
            let here = path.parent() == Some(folder);
            if here {
                naming.apply(durable);
            }
            !here
        });
        Ok(())
    }
}

#[derive(Debug)]
struct OpenFile {
    disk: MemoryDisk,
    number: u64,
    lives: u64,
}

impl OpenFile {
    fn with<T>(&self, act: impl FnOnce(&mut Inner, u64) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.disk.lock();
        if inner.lives != self.lives {
            return Err(io::Error::other("opened before the power was cut"));
        }
        act(&mut inner, self.number)
    }
}

fn file(inner: &mut Inner, number: u64) -> io::Result<&mut MemoryFile> {
    inner.files.get_mut(&number).ok_or_else(|| io::ErrorKind::NotFound.into())
}

impl DiskFile for OpenFile {
    fn read_at(&self, at: u64, to: &mut [u8]) -> io::Result<usize> {
        self.with(|inner, number| {
            inner.plain_call()?;
            let live = &file(inner, number)?.live;
            let from = usize::try_from(at).unwrap_or(usize::MAX).min(live.len());
            let length = to.len().min(live.len() - from);
            to[..length].copy_from_slice(&live[from..from + length]);
            Ok(length)
        })
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<usize> {
        self.with(|inner, number| {
            let met = inner.call()?;
            let grows =
                (at + bytes.len() as u64).saturating_sub(file(inner, number)?.live.len() as u64);
            let room = inner.room();
            let fits = bytes.len() - grows.saturating_sub(room).min(bytes.len() as u64) as usize;
            let (length, result) = match met {
                Meets::Nothing if fits == 0 => (0, Err(full())),
                Meets::Nothing => (fits, Ok(fits)),
                Meets::Short => (fits.div_ceil(2), Ok(fits.div_ceil(2))),
                // All of it is on its way when the power goes, half of it when the disk fails.
                Meets::Failure(error) if inner.down => (fits, Err(error)),
                Meets::Failure(error) if error.raw_os_error() == Some(5) => (fits / 2, Err(error)),
                Meets::Failure(error) => (0, Err(error)),
            };
            file(inner, number)?.write(at, &bytes[..length]);
            result
        })
    }

    fn sync(&self) -> io::Result<Duration> {
        self.with(|inner, number| {
            // Room is given to bytes as late as here by some file systems, so any failure can come.
            if let Meets::Failure(error) = inner.call()? {
                if !inner.down && error.kind() != io::ErrorKind::Interrupted {
                    file(inner, number)?.fail_sync();
                }
                return Err(error);
            }
            file(inner, number)?.sync();
            Ok(Duration::ZERO)
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|inner, number| {
            inner.plain_call()?;
            Ok(file(inner, number)?.live.len() as u64)
        })
    }
}
