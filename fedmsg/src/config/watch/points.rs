//! Which folders have to be watched to notice that the files of a configuration changed, also when what
//! changes is a link on the way to them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::config::files::{KEYS, POLICY};

/// Most links that are followed on the way to one file, as in the kernel.
const LINKS_MAX: usize = 40;

/// Folders, and what in them is of interest: everything, or a few names.
#[derive(Debug, Default)]
pub(super) struct Points(BTreeMap<PathBuf, Interest>);

#[derive(Debug)]
enum Interest {
    All,
    Names(BTreeSet<OsString>),
}

impl Points {
    /// What leads to the files of this configuration folder, as things are now.
    pub fn of_folder(folder: &Path) -> Points {
        let mut points = Points::default();
        for folder in [folder.to_path_buf(), folder.join(POLICY), folder.join(KEYS)] {
            let Some(real) = points.follow(&folder) else { continue };
            let entries = std::fs::read_dir(&real).into_iter().flatten().flatten();
            let links =
                entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
            for link in links {
                points.follow(&link.path());
            }
            points.0.insert(real, Interest::All);
        }
        points
    }

    /// The folders to watch.
    pub fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }

    /// Whether a change of these paths could be a change of the configuration.
    pub fn concern(&self, paths: &[PathBuf]) -> bool {
        let concerns = |path: &PathBuf| {
            let inside = path.parent().and_then(|folder| self.0.get(folder));
            let name = path.file_name().unwrap_or_default();
            match inside {
                Some(Interest::All) => true,
                Some(Interest::Names(names)) if names.contains(name) => true,
                // Something that happened to a watched folder itself.
                _ => matches!(self.0.get(path), Some(Interest::All)),
            }
        };
        paths.is_empty() || paths.iter().any(concerns)
    }

    /// Follows a path to the real thing, and notes every link on the way and the thing itself. `None` when
    /// the way ends early; then the place where it goes on one day is noted.
    fn follow(&mut self, path: &Path) -> Option<PathBuf> {
        let mut real = PathBuf::from("/");
        let mut rest: Vec<OsString> = Vec::new();
        push(&mut rest, path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == ".." {
                real.pop();
                continue;
            }
            let next = real.join(&name);
            let metadata = next.symlink_metadata().ok();
            let is_link = metadata.as_ref().is_some_and(|metadata| metadata.is_symlink());
            if is_link || rest.is_empty() || metadata.is_none() {
                self.note(&real, &name);
            }
            metadata?;
            if !is_link {
                real = next;
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return None;
            }
            let target = std::fs::read_link(&next).ok()?;
            if target.is_absolute() {
                real = PathBuf::from("/");
            }
            push(&mut rest, &target);
        }
        Some(real)
    }

    fn note(&mut self, folder: &Path, name: &OsString) {
        let names = || Interest::Names(BTreeSet::new());
        let interest = self.0.entry(folder.into()).or_insert_with(names);
        if let Interest::Names(names) = interest {
            names.insert(name.clone());
        }
    }
}

/// Puts the parts of a path on the stack of what is still to be walked, the first one on top.
fn push(rest: &mut Vec<OsString>, path: &Path) {
    let parts = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_os_string()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    rest.extend(parts);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_link_on_the_way_is_watched() {
        let folder = tempfile::tempdir().expect("folder");
        let root = folder.path().canonicalize().expect("real");
        for name in ["v1/conf/keys.d", "elsewhere"] {
            std::fs::create_dir_all(root.join(name)).expect("folder");
        }
        symlink("v1", root.join("current")).expect("link");
        symlink(root.join("current/conf"), root.join("etc")).expect("link");
        symlink(root.join("elsewhere/a.toml"), root.join("v1/conf/a.toml")).expect("link");
        let points = Points::of_folder(&root.join("etc"));
        for (path, concerns) in [
            ("etc", true),
            ("current", true),
            ("other", false),
            ("v1/conf/anything", true),
            ("v1/conf/keys.d/x.toml", true),
            ("v1/conf/policy.d", true),
            ("elsewhere/a.toml", true),
            ("elsewhere/b.toml", false),
            ("v1/other", false),
        ] {
            assert_eq!(points.concern(&[root.join(path)]), concerns, "{path}");
        }
        let missing = Points::of_folder(&root.join("none/below"));
        assert!(missing.concern(&[root.join("none")]));
        symlink("loop", root.join("loop")).expect("link");
        assert!(Points::of_folder(&root.join("loop")).concern(&[root.join("loop")]));
    }
}
