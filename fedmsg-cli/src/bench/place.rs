//! Where a figure writes: a folder of its own on a disk that has a name.

use std::fs;
use std::path::{Path, PathBuf};

use fedmsg::config::Config;
use fedmsg_tool::CommonOptions;
use tempfile::TempDir;

use super::{Error, Options};

/// File systems that are memory: a sync costs nothing there, and proves nothing.
const IN_MEMORY: [&str; 3] = ["tmpfs", "ramfs", "devtmpfs"];

/// A folder for one figure; it is removed when this is dropped.
pub(super) struct Place {
    folder: TempDir,
    mount: Mount,
}

/// What a folder is on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    point: PathBuf,
    kind: String,
    device: String,
}

impl Place {
    /// In `--folder`, or else where this host's journals would be. A file system in memory is refused.
    pub(super) fn new(options: &Options, common: &CommonOptions) -> Result<Place, Error> {
        let above = match &options.folder {
            Some(folder) => folder.clone(),
            None => Config::load(&common.load_options()).map_err(Error::other)?.state_dir.clone(),
        };
        let told = |error: &dyn std::fmt::Display| {
            let above = above.display();
            Error::Other(format!("{above}: {error}; `--folder` names another folder to write in"))
        };
        fs::create_dir_all(&above).map_err(|error| told(&error))?;
        let real = above.canonicalize().map_err(|error| told(&error))?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mount = mount_of(&mounts, &real).ok_or_else(|| told(&"it is on no file system"))?;
        if IN_MEMORY.contains(&mount.kind.as_str()) {
            let kind = format!("{} is memory, where a sync costs nothing", mount.kind);
            return Err(told(&kind));
        }
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(real);
        Ok(Place { folder: folder.map_err(|error| told(&error))?, mount })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The file system and its device, for people.
    pub(super) fn name(&self) -> String {
        format!("{} on {}", self.mount.kind, self.mount.device)
    }
}

/// The mount that a real path is on, from the text of `/proc/PID/mountinfo` (proc(5)). Of several at one place the
/// last one counts: it hides the others.
fn mount_of(mountinfo: &str, path: &Path) -> Option<Mount> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = unescaped(before.split(' ').nth(4)?);
        let mut after = after.split(' ');
        let (kind, device) = (after.next()?.to_owned(), unescaped(after.next()?));
        Some(Mount { point: point.into(), kind, device })
    });
    let above = mounts.filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

/// Spaces and the like are written as three octal digits there.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (written, meant)| text.replace(written, meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
22 21 0:5 / /dev/shm rw - tmpfs tmpfs rw
23 21 0:44 / /srv/my\\040disk rw - ext4 /dev/old rw
24 21 0:45 / /srv/my\\040disk rw - xfs /dev/new rw
";

    #[test]
    fn a_folder_is_on_the_nearest_mount_and_on_the_last_one_of_a_place() {
        let of = |path: &str| mount_of(MOUNTS, Path::new(path)).map(|mount| mount.device);
        assert_eq!(of("/var/lib").as_deref(), Some("/dev/vda"));
        assert_eq!(of("/dev/shm/x").as_deref(), Some("tmpfs"));
        assert_eq!(of("/dev/shmx").as_deref(), Some("/dev/vda"));
        assert_eq!(of("/srv/my disk/deep/er").as_deref(), Some("/dev/new"));
        assert_eq!(mount_of("", Path::new("/")), None);
    }
}
