//! The files of a configuration folder, read but not yet understood.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};

use super::problem::{Place, Problem, ProblemKind, Source};
use crate::limits::{CONFIG_FILE_BYTES_MAX, CONFIG_FILES_MAX};

/// The subfolder of public keys.
pub(super) const KEYS: &str = "keys.d";
/// The subfolder of rules.
pub(super) const POLICY: &str = "policy.d";
/// The subfolder of secret keys.
pub(super) const PRIVATE: &str = "private";

/// The text of a file.
#[derive(Clone, Debug)]
pub(super) struct SourceText {
    pub source: Source,
    pub text: String,
}

/// Everything that stands in a configuration folder, each kind in lexical order.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub settings: Vec<SourceText>,
    pub policy: Vec<SourceText>,
    pub keys: Vec<SourceText>,
    /// Files that could not be read, or that must not be believed.
    pub problems: Vec<Problem>,
}

impl Folder {
    /// Reads the folder. A folder that does not exist is a problem only when somebody named it.
    pub fn read(path: &Path, named: bool) -> Folder {
        let mut folder = Folder::default();
        match list(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !named => return folder,
            listed => folder.settings = folder.texts(path, listed),
        }
        for kind in [POLICY, KEYS] {
            let path = path.join(kind);
            let texts = match list(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                listed => folder.texts(&path, listed),
            };
            match kind {
                POLICY => folder.policy = texts,
                _ => folder.keys = texts,
            }
        }
        folder
    }

    pub fn is_empty(&self) -> bool {
        let files = self.settings.len() + self.policy.len() + self.keys.len();
        files == 0 && self.problems.is_empty()
    }

    /// Says whether two readings are the same, the errors of reading included.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let texts = self.settings.iter().chain(&self.policy).chain(&self.keys);
        let texts = texts.map(|file| (file.source.to_string(), file.text.as_str()));
        let problems: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        let problems = problems.iter().map(|problem| (String::new(), problem.as_str()));
        for (name, text) in texts.chain(problems) {
            for part in [name.as_str(), text] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        hash.finalize().into()
    }

    /// Takes the files of one folder and notes what is wrong with it and with them.
    fn texts(&mut self, path: &Path, listed: io::Result<(u32, Vec<PathBuf>)>) -> Vec<SourceText> {
        let (mode, mut files) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                self.problem(path, ProblemKind::Unreadable(error.to_string()));
                return Vec::new();
            }
        };
        if let Some(kind) = writable_by_all(mode) {
            self.problem(path, kind);
        }
        if files.len() > CONFIG_FILES_MAX {
            self.problem(path, ProblemKind::TooManyFiles(CONFIG_FILES_MAX));
            files.truncate(CONFIG_FILES_MAX);
        }
        files.iter().filter_map(|file| self.text(file)).collect()
    }

    fn text(&mut self, path: &Path) -> Option<SourceText> {
        let text = match read_text(path) {
            Ok((mode, text)) => match writable_by_all(mode) {
                None => Ok(text),
                Some(kind) => Err(kind),
            },
            Err(error) => Err(ProblemKind::Unreadable(error.to_string())),
        };
        match text {
            Ok(text) => Some(SourceText { source: Source::File(path.into()), text }),
            Err(kind) => {
                self.problem(path, kind);
                None
            }
        }
    }

    fn problem(&mut self, path: &Path, kind: ProblemKind) {
        let place = Place::whole(Source::File(path.into()));
        self.problems.push(Problem { place, key: String::new(), kind });
    }
}

fn writable_by_all(mode: u32) -> Option<ProblemKind> {
    (mode & 0o002 != 0).then_some(ProblemKind::WritableByAll { mode: mode & 0o7777 })
}

/// The folder's permission bits, and its `*.toml` files in lexical order. Names that begin with a dot are
/// what editors and tools leave behind.
fn list(path: &Path) -> io::Result<(u32, Vec<PathBuf>)> {
    let mode = std::fs::metadata(path)?.mode();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        let plain = name.to_str().is_some_and(|name| !name.starts_with('.'));
        if plain && Path::new(&name).extension().is_some_and(|extension| extension == "toml") {
            files.push(path.join(name));
        }
    }
    files.sort_unstable();
    Ok((mode, files))
}

fn read_text(path: &Path) -> io::Result<(u32, String)> {
    let (file, metadata) = open_plain(path)?;
    let mut text = String::new();
    file.take(CONFIG_FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > CONFIG_FILE_BYTES_MAX {
        let said = format!("it has more than {CONFIG_FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, said));
    }
    Ok((metadata.mode(), text))
}

/// Opens a regular file. What is asked about it afterwards is asked of the handle, so that nobody can put
/// another file there in between; a pipe does not make us wait.
pub(super) fn open_plain(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok((file, metadata))
}
