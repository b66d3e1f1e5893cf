//! `fedmsg journal import`.

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use fedmsg::StreamName;
use fedmsg::config::Config;
use fedmsg::journal::{
    ArchiveError, ArchiveReader, Body, Entry, JournalError, Piece, Range, Reader, Restore,
};
use fedmsg_tool::{Code, CommonOptions};

use super::Error;
use super::places::{disk, slot_of};
use super::verify::{Grade, Verifier};
use crate::config::{counted, load};

pub(super) const EXAMPLES: &str = "\
Examples:
  fedmsg journal import bodhi.fmx
  ssh backend01 fedmsg journal export bodhi.backend01/0 | fedmsg journal import
  fedmsg journal import bodhi.fmx --folder ./journal      to look at it, not in the state folder

Each record is verified before it is kept: its signature by a key that this host trusts, its place in its
stream, and the chain. What the policy does not allow here is kept, because the chain goes through it, and
counted. A crash leaves all of the journal or nothing. When there is a journal already that has all of it, nothing is
done; one that differs is never mixed with it.

A publisher that finds an imported journal begins a new epoch: others may have seen more of the old one.

Exit codes: 0 success, or it is there already · 1 failure, or there is another journal · 2 wrong command line ·
3 the file is damaged or cut off · 5 a record cannot be verified · 75 a publisher is at work on the stream";

#[derive(Args)]
pub(super) struct Options {
    /// What `fedmsg journal export` wrote [default: stdin]
    file: Option<PathBuf>,

    /// Make the journal in this folder, which is missing or empty, instead of the state folder
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub(super) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let config = load(common)?;
    let said = match options.file.as_deref().filter(|path| *path != Path::new("-")) {
        Some(path) => {
            let file = File::open(path).map_err(|error| Error::File { path: path.into(), error });
            import(BufReader::new(file?), options.folder.as_deref(), &config)?
        }
        None => import(io::stdin().lock(), options.folder.as_deref(), &config)?,
    };
    if common.quiet == 0 {
        // When stderr is closed, there is nobody left to tell.
        let _ = writeln!(io::stderr().lock(), "{said}");
    }
    Ok(Code::Ok)
}

/// Imports, and says what was done.
fn import<R: Read>(from: R, folder: Option<&Path>, config: &Config) -> Result<String, Error> {
    let mut archive = ArchiveReader::open(from)?;
    let stream = archive.stream().clone();
    let slot = slot_of(&config.state_dir, &stream);
    let target = folder.map_or_else(|| slot.join("journal"), PathBuf::from);
    let _lock = match folder {
        Some(_) => None,
        None => Some(lock(&slot, &stream)?),
    };
    let mut verifier = Verifier::new(config.trust.clone(), stream.clone());
    let restore = Restore::begin(&target, &stream, config.journal.settings());
    let done = match restore {
        Err(JournalError::Exists { .. }) => {
            compare(&mut archive, &target)?;
            "is there already, nothing was changed".to_owned()
        }
        restore => {
            let kept = restore_all(&mut archive, restore?, &mut verifier)?;
            format!("{kept} imported into {}", target.display())
        }
    };
    let refused: u64 = verifier.refused.values().map(|kind| kind.count).sum();
    if refused > 0 {
        let count = counted(usize::try_from(refused).unwrap_or(usize::MAX), "record");
        tracing::warn!(
            "{count} kept that subscribers here refuse: `fedmsg journal check` says why"
        );
    }
    Ok(format!("{stream}: {done}"))
}

/// The lock of the slot: what a publisher holds as long as it writes.
fn lock(slot: &Path, stream: &StreamName) -> Result<File, Error> {
    let path = slot.join("lock");
    let failed = |error| Error::File { path: path.clone(), error };
    fs::create_dir_all(slot).map_err(failed)?;
    let lock = File::options().create(true).truncate(false).write(true).open(&path);
    let lock = lock.map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::Held(stream.clone())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn restore_all<R: Read>(
    archive: &mut ArchiveReader<R>,
    mut restore: Restore,
    verifier: &mut Verifier,
) -> Result<String, Error> {
    let (mut range, mut entries) = (None, 0_usize);
    while let Some(piece) = archive.next_piece()? {
        match piece {
            Piece::Epoch { range: next, genesis } => {
                verify(verifier, &next, 0, &Body::Record(genesis.clone()))?;
                restore.epoch(next, &genesis)?;
                range = Some(next);
            }
            Piece::Entry(entry) => {
                // An entry comes behind its epoch, or was refused as damage.
                let Some(range) = &range else { return Err(ArchiveError::Damaged(0).into()) };
                verify(verifier, range, entry.i, &entry.body)?;
                restore.entry(entry)?;
                entries += 1;
            }
            _ => return Err(Error::NothingThere),
        }
    }
    restore.finish()?;
    Ok(counted(entries, "record"))
}

/// Whether this is what the stream's owner signed for this place. Tombstones are covered by the chain.
fn verify(verifier: &mut Verifier, range: &Range, i: u64, body: &Body) -> Result<(), Error> {
    let Body::Record(wire) = body else { return Ok(()) };
    match verifier.open(range.epoch, i, wire) {
        Ok(()) => Ok(()),
        Err(reason) if Grade::of(reason) == Grade::Policy => Ok(()),
        Err(fedmsg::rejection::Rejection::Fork) => Err(Error::Misplaced { epoch: range.epoch, i }),
        Err(reason) => Err(Error::Refused { epoch: range.epoch, i, reason }),
    }
}

/// Whether a journal has everything that the archive has.
fn compare<R: Read>(archive: &mut ArchiveReader<R>, target: &Path) -> Result<(), Error> {
    let mut reader = Reader::new(disk(), target);
    let (mut range, mut there) = (None::<Range>, VecDeque::<Entry>::new());
    while let Some(piece) = archive.next_piece()? {
        let entry = match piece {
            Piece::Epoch { range: next, .. } => {
                (range, there) = (Some(next), VecDeque::new());
                continue;
            }
            Piece::Entry(entry) => entry,
            _ => continue,
        };
        let Some(range) = &range else { return Err(ArchiveError::Damaged(0).into()) };
        if there.is_empty() {
            let known = reader.read(range.epoch, entry.i, range.last, 256, 4 << 20);
            there = known.map(|batch| batch.entries.into()).unwrap_or_default();
        }
        if there.pop_front().is_none_or(|known| (known.i, &known.body) != (entry.i, &entry.body)) {
            let (path, epoch) = (target.into(), range.epoch);
            return Err(Error::Differs { path, epoch, i: entry.i });
        }
    }
    Ok(())
}
