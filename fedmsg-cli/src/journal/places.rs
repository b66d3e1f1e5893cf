//! Where the journals of this host are.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use fedmsg::StreamName;
use fedmsg::journal::{Disk, OsDisk, survey};

use super::Error;

/// Which journal.
#[derive(Args, Default)]
pub(super) struct One {
    /// The stream, IDENTITY/SLOT
    #[arg(value_parser = StreamName::parse, required_unless_present = "folder")]
    pub(super) stream: Option<StreamName>,

    /// Take the journal in this folder instead of one of the state folder
    #[arg(long, value_name = "DIR")]
    pub(super) folder: Option<PathBuf>,
}

/// Which journals.
#[derive(Args, Default)]
pub(super) struct Several {
    /// Streams, IDENTITY/SLOT [default: all of this host]
    #[arg(value_parser = StreamName::parse, value_name = "STREAM", conflicts_with = "folder")]
    pub(super) streams: Vec<StreamName>,

    /// Take the journal in this folder instead of those of the state folder
    #[arg(long, value_name = "DIR")]
    pub(super) folder: Option<PathBuf>,
}

/// A journal, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) stream: StreamName,
    pub(crate) folder: PathBuf,
}

pub(crate) fn disk() -> Arc<dyn Disk> {
    Arc::new(OsDisk)
}

impl One {
    pub(super) fn place(&self, state: &Path) -> Result<Place, Error> {
        let Some(stream) = &self.stream else {
            let folder = self.folder.as_deref().unwrap_or(state);
            return at(folder);
        };
        let Some(folder) = &self.folder else { return of(state, stream) };
        let place = at(folder)?;
        if place.stream == *stream {
            return Ok(place);
        }
        let (path, found) = (place.folder, place.stream.to_string());
        Err(Error::OtherStream { path, found, expected: stream.clone() })
    }
}

impl Several {
    pub(super) fn places(&self, state: &Path) -> Result<Vec<Place>, Error> {
        if let Some(folder) = &self.folder {
            return Ok(vec![at(folder)?]);
        }
        if self.streams.is_empty() {
            return all(state);
        }
        self.streams.iter().map(|stream| of(state, stream)).collect()
    }
}

/// The folder of a stream's slot.
pub(super) fn slot_of(state: &Path, stream: &StreamName) -> PathBuf {
    let slot = stream.slot().to_string();
    state.join("streams").join(stream.identity().as_str()).join(slot)
}

fn of(state: &Path, stream: &StreamName) -> Result<Place, Error> {
    let folder = slot_of(state, stream).join("journal");
    match folder.is_dir() {
        true => Ok(Place { stream: stream.clone(), folder }),
        false => Err(Error::NoJournal { stream: stream.clone(), path: folder }),
    }
}

fn at(folder: &Path) -> Result<Place, Error> {
    let seen = survey(&disk(), folder)?;
    let stream = seen.stream.and_then(|stream| StreamName::parse(&stream).ok());
    let stream = stream.ok_or_else(|| Error::NoStream(folder.into()))?;
    Ok(Place { stream, folder: folder.into() })
}

/// Every journal of the state folder, in order of the names.
pub(crate) fn all(state: &Path) -> Result<Vec<Place>, Error> {
    let mut places = Vec::new();
    let streams = state.join("streams");
    for identity in names(&streams)? {
        for slot in names(&streams.join(&identity))? {
            let folder = streams.join(&identity).join(&slot).join("journal");
            let Ok(stream) = StreamName::parse(&format!("{identity}/{slot}")) else { continue };
            if folder.is_dir() {
                places.push(Place { stream, folder });
            }
        }
    }
    places.sort_by_key(|place| (place.stream.identity().to_string(), place.stream.slot()));
    Ok(places)
}

/// The names in a folder; none when it is missing.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let failed = |error| Error::Folder { path: folder.into(), error };
    let entries = match std::fs::read_dir(folder) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(Vec::new());
        }
        entries => entries.map_err(failed)?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
    names.filter_map(Result::transpose).collect::<io::Result<_>>().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journals_are_found_by_their_folders_and_nothing_else_is() {
        let state = tempfile::tempdir().expect("folder");
        assert_eq!(all(state.path()).expect("none"), []);
        for folder in ["b.h/0/journal", "a.h/10/journal", "a.h/2/journal", "a.h/3", "x/0/journal"] {
            std::fs::create_dir_all(state.path().join("streams").join(folder)).expect("made");
        }
        std::fs::write(state.path().join("streams/file"), "").expect("written");
        let found = all(state.path()).expect("found");
        let streams: Vec<&str> = found.iter().map(|place| place.stream.as_str()).collect();
        assert_eq!(streams, ["a.h/2", "a.h/10", "b.h/0"]);
        assert!(found[0].folder.ends_with("streams/a.h/2/journal"));

        let one = |text| One { stream: StreamName::parse(text).ok(), folder: None };
        assert_eq!(one("b.h/0").place(state.path()).expect("there"), found[2]);
        let missing = one("a.h/3").place(state.path()).expect_err("none");
        assert!(matches!(missing, Error::NoJournal { .. }), "{missing}");
        let folder = Some(found[0].folder.clone());
        let empty = One { stream: None, folder }.place(state.path()).expect_err("empty");
        assert!(matches!(empty, Error::NoStream(_)), "{empty}");
    }
}
