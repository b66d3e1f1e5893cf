//! Files of secret keys: made once, readable by their owner alone, refused otherwise.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::files::open_plain;
use crate::identity::Identity;
use crate::keys::{KeyError, SecretKey};
use crate::limits::KEY_FILE_BYTES_MAX;

/// Why a secret key cannot be used or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// There is no such file, or it cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others than the owner may read or write it.
    #[error(
        "{path}: group or others have access (mode {mode:04o}): chmod 600, and make a new key if it was read"
    )]
    Exposed {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("{path}: it belongs to user {owner}, neither to this one ({user}) nor to root")]
    ForeignOwner {
        /// The file or folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// It is too long to be a key.
    #[error("{path}: too long for a key")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It holds no key.
    #[error("{path}: {error}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        error: KeyError,
    },
    /// It exists already, and a key is never overwritten.
    #[error("{path}: exists already; a key is never overwritten")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    NoRandomness(String),
}

impl KeyFileError {
    /// Whether the only trouble is that there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, KeyFileError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }
}

/// Where the secret key of an identity is kept in this folder.
pub fn secret_path(private_dir: &Path, identity: &Identity) -> PathBuf {
    private_dir.join(format!("{identity}.key"))
}

/// Reads a secret key. Refused when group or others have any access, or when the owner is neither this user
/// nor root.
pub fn load_secret(path: &Path) -> Result<SecretKey, KeyFileError> {
    load(path, |mode, _owner| mode & 0o077 == 0)
}

/// Reads a secret key out of the folder of credentials that systemd gives to a service. There root owns the
/// file and an access list lets the service read it, which shows as read access of the group.
pub fn load_credential(path: &Path) -> Result<SecretKey, KeyFileError> {
    load(path, |mode, owner| mode & if owner == 0 { 0o037 } else { 0o077 } == 0)
}

fn load(path: &Path, is_private: impl Fn(u32, u32) -> bool) -> Result<SecretKey, KeyFileError> {
    let (file, metadata) = open_plain(path).map_err(at(path))?;
    check_owner(path, &metadata)?;
    let mode = metadata.mode() & 0o7777;
    if !is_private(mode, metadata.uid()) {
        return Err(KeyFileError::Exposed { path: path.into(), mode });
    }
    if metadata.len() > KEY_FILE_BYTES_MAX {
        return Err(KeyFileError::TooLong { path: path.into() });
    }
    // All the room at once: a buffer that grows would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_BYTES_MAX as usize + 1));
    file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(at(path))?;
    SecretKey::parse(&text).map_err(|error| KeyFileError::Key { path: path.into(), error })
}

/// Makes a key: the secret half in `private_dir`, the public half as `<identity>.toml` in `keys_dir`.
/// Neither file may exist.
pub fn create_key(
    private_dir: &Path,
    keys_dir: &Path,
    identity: &Identity,
) -> Result<SecretKey, KeyFileError> {
    let public_path = keys_dir.join(format!("{identity}.toml"));
    if public_path.symlink_metadata().is_ok() {
        return Err(KeyFileError::Exists { path: public_path });
    }
    let key = create_secret(private_dir, identity)?;
    let published = DirBuilder::new().recursive(true).mode(0o755).create(keys_dir);
    let published = published
        .map_err(at(keys_dir))
        .and_then(|()| write_new(&public_path, 0o644, public_text(&key, identity).as_bytes()));
    if let Err(error) = published {
        // A secret key that nobody can trust yet is of no use, and would stand in the way of the next try.
        let _ = std::fs::remove_file(secret_path(private_dir, identity));
        return Err(error);
    }
    Ok(key)
}

/// Makes the secret half of a key.
pub(super) fn create_secret(
    private_dir: &Path,
    identity: &Identity,
) -> Result<SecretKey, KeyFileError> {
    create_private_dir(private_dir)?;
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| KeyFileError::NoRandomness(error.to_string()))?;
    let path = secret_path(private_dir, identity);
    let key = SecretKey::from_seed(&seed)
        .map_err(|error| KeyFileError::Key { path: path.clone(), error })?;
    let mut text = key.to_text();
    text.push('\n');
    write_new(&path, 0o600, text.as_bytes())?;
    Ok(key)
}

/// What stands in the file of public keys.
pub fn public_text(key: &SecretKey, identity: &Identity) -> String {
    let (id, public) = (key.public().id(), key.public().to_text());
    format!("identity = \"{identity}\"\n\n[[key]]\nid      = \"{id}\"\ned25519 = \"{public}\"\n")
}

/// Makes a folder that only this user can enter, with its parents; refuses one that others may write or
/// that belongs to somebody else.
pub(super) fn create_private_dir(path: &Path) -> Result<(), KeyFileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))?;
    let metadata = path.metadata().map_err(at(path))?;
    check_owner(path, &metadata)?;
    let mode = metadata.mode() & 0o7777;
    match mode & 0o022 {
        0 => Ok(()),
        _ => Err(KeyFileError::Exposed { path: path.into(), mode }),
    }
}

fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), KeyFileError> {
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    match owner == user || owner == 0 {
        true => Ok(()),
        false => Err(KeyFileError::ForeignOwner { path: path.into(), owner, user }),
    }
}

/// Writes a file that must not exist, so that nobody ever sees half of it: under another name first, synced,
/// then linked to its own. A rename would replace the file of somebody who was faster; a link does not.
fn write_new(path: &Path, mode: u32, text: &[u8]) -> Result<(), KeyFileError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        let error = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(KeyFileError::Io { path: path.into(), error });
    };
    let unique = uuid::Uuid::new_v4();
    let temporary = folder.join(format!(".{}.{unique}.tmp", name.to_string_lossy()));
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(mode);
    let written = options.open(&temporary).and_then(|mut file| {
        file.write_all(text)?;
        file.sync_all()
    });
    let linked = written.and_then(|()| std::fs::hard_link(&temporary, path));
    let _ = std::fs::remove_file(&temporary);
    linked.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.into() },
        _ => KeyFileError::Io { path: path.into(), error },
    })?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

fn at(path: &Path) -> impl Fn(io::Error) -> KeyFileError {
    let path = path.to_path_buf();
    move |error| KeyFileError::Io { path: path.clone(), error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    fn identity() -> Identity {
        Identity::parse("bodhi.backend01").expect("identity")
    }

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let (private, keys) = (folder.path().join("private"), folder.path().join("keys.d"));
        let key = create_key(&private, &keys, &identity()).expect("made");
        let path = secret_path(&private, &identity());
        let mode = |path: &Path| path.metadata().expect("metadata").mode() & 0o777;
        assert_eq!((mode(&private), mode(&path)), (0o700, 0o600));
        assert_eq!(load_secret(&path).expect("read").public(), key.public());
        let public = std::fs::read_to_string(keys.join("bodhi.backend01.toml")).expect("public");
        assert!(public.contains(&key.public().to_text()), "{public}");
        let again = create_key(&private, &keys, &identity()).expect_err("again");
        assert!(matches!(again, KeyFileError::Exists { .. }), "{again}");
        std::fs::remove_file(keys.join("bodhi.backend01.toml")).expect("removed");
        let again = create_key(&private, &keys, &identity()).expect_err("again");
        assert!(matches!(again, KeyFileError::Exists { .. }), "{again}");
        let names = std::fs::read_dir(&private).expect("folder").count();
        assert_eq!(names, 1, "nothing is left behind");
    }

    #[test]
    fn a_key_that_others_can_reach_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let private = folder.path().join("private");
        create_secret(&private, &identity()).expect("made");
        let path = secret_path(&private, &identity());
        for (mode, secret, credential) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o440, false, path.metadata().expect("metadata").uid() == 0),
            (0o604, false, false),
            (0o660, false, false),
            (0o601, false, false),
        ] {
            set_permissions(&path, Permissions::from_mode(mode)).expect("chmod");
            assert_eq!(load_secret(&path).is_ok(), secret, "{mode:o}");
            assert_eq!(load_credential(&path).is_ok(), credential, "{mode:o}");
        }
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("link");
        assert!(load_secret(&link).is_err(), "a link is judged by what it points to");
        set_permissions(&path, Permissions::from_mode(0o600)).expect("chmod");
        assert!(load_secret(&link).is_ok());
        // Only root can give a file away.
        if std::os::unix::fs::chown(&path, Some(54_321), None).is_ok() {
            let error = load_secret(&path).expect_err("given away");
            assert!(matches!(error, KeyFileError::ForeignOwner { owner: 54_321, .. }), "{error}");
        }
    }

    #[test]
    fn what_is_no_key_file_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = |name: &str| folder.path().join(name);
        assert!(load_secret(&path("none")).expect_err("none").is_missing());
        assert!(load_secret(folder.path()).is_err(), "a folder");
        for (name, text) in [("text", "hello".into()), ("long", "x".repeat(5_000))] {
            write_new(&path(name), 0o600, text.as_bytes()).expect("written");
            let error = load_secret(&path(name)).expect_err(name);
            assert!(!error.is_missing(), "{error}");
        }
        set_permissions(folder.path(), Permissions::from_mode(0o770)).expect("chmod");
        let open = create_secret(folder.path(), &identity()).expect_err("open folder");
        assert!(matches!(open, KeyFileError::Exposed { .. }), "{open}");
    }
}
