//! `fedmsg journal export`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use fedmsg::journal::{ArchiveWriter, Damage, Range, Reader};
use fedmsg_tool::{Code, CommonOptions, terminal};

use super::Error;
use super::places::{One, Place, disk};
use super::walk::{Found, Part, walk};
use crate::config::{counted, load};

pub(super) const EXAMPLES: &str = "\
Examples:
  fedmsg journal export bodhi.backend01/0 bodhi.fmx
  fedmsg journal export bodhi.backend01/0 | ssh backup 'cat > bodhi.fmx'
  fedmsg journal export --folder /backup/journal --file part.fmx --from 1000 --to 2000

Writes what is there now, with checksums, and everything that is needed to import it elsewhere: the records are
what their publisher signed, so whoever trusts its key needs to trust nothing else. Nothing is overwritten.

Exit codes: 0 success · 1 failure · 2 wrong command line · 3 something of it cannot be read, nothing is left";

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    which: One,

    /// The file to be made [default: stdout]
    #[arg(conflicts_with = "file_option")]
    file: Option<PathBuf>,

    /// The same, where --folder stands for the stream
    #[arg(long = "file", id = "file_option", value_name = "FILE")]
    file_option: Option<PathBuf>,

    #[command(flatten)]
    part: Part,
}

pub(super) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let config = load(common)?;
    let place = options.which.place(&config.state_dir)?;
    let mut reader = Reader::new(disk(), &place.folder);
    let ranges = options.part.of(&reader.ranges()?)?;
    let target = options.file.as_deref().or(options.file_option.as_deref());
    let entries = match target.filter(|path| *path != Path::new("-")) {
        Some(path) => to_file(path, &place, &mut reader, &ranges)?,
        None if terminal::stdout_is_terminal() => return Err(Error::Terminal),
        None => write(io::stdout().lock(), &place, &mut reader, &ranges)?.1,
    };
    if common.quiet == 0 {
        let count = counted(usize::try_from(entries).unwrap_or(usize::MAX), "record");
        // When stderr is closed, there is nobody left to tell.
        let _ = writeln!(io::stderr().lock(), "{}: {count} exported", place.stream);
    }
    Ok(Code::Ok)
}

/// A file that is whole, or none.
fn to_file(
    path: &Path,
    place: &Place,
    reader: &mut Reader,
    ranges: &[Range],
) -> Result<u64, Error> {
    let failed = |error| Error::File { path: path.into(), error };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path);
    let file = file.map_err(failed)?;
    let written = write(BufWriter::new(file), place, reader, ranges).and_then(|(out, entries)| {
        let file: File = out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        Ok(entries)
    });
    if written.is_err() {
        // What is left says by itself that it is cut off.
        fs::remove_file(path).ok();
    }
    written
}

fn write<W: Write>(
    out: W,
    place: &Place,
    reader: &mut Reader,
    ranges: &[Range],
) -> Result<(W, u64), Error> {
    let mut archive = ArchiveWriter::new(out, &place.stream)?;
    for range in ranges {
        let Some(genesis) = reader.genesis(range.epoch)? else {
            return Err(Error::Unreadable { epoch: range.epoch, from: 0, to: 0 });
        };
        archive.epoch(range, &genesis)?;
        walk(reader, range, |found| match found {
            Found::Entry(entry) => Ok(archive.entry(&entry).map(|()| true)?),
            Found::Hole(Damage { epoch, from, to, .. }) => {
                Err(Error::Unreadable { epoch, from, to })
            }
        })?;
    }
    Ok(archive.finish()?)
}
