//! Where a store of consumers is: what a configuration says, read once, and opened.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{CursorStore, StoreError};

/// The address of a store. A password in it is never shown, neither by `Display` nor by `Debug`.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreAddress {
    /// A file of this host: `sqlite:///var/lib/fedmsg/consumers.db`.
    Sqlite(PathBuf),
    /// A server: `postgres://USER:PASSWORD@HOST:PORT/DATABASE`.
    Postgres(String),
}

/// Not an address of a store. What was written is not repeated: a password may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreAddressError {
    /// Neither of the two.
    #[error(
        "not the address of a store: `sqlite:///ABSOLUTE/PATH` or `postgres://USER:PASSWORD@HOST:PORT/DATABASE` is expected"
    )]
    Unknown,
    /// A file whose place depends on the current directory.
    #[error("the path of a store is absolute, with three slashes: `sqlite:///ABSOLUTE/PATH`")]
    RelativePath,
}

impl StoreAddress {
    /// Reads an address. Whether a server's is complete shows when it is opened.
    pub fn parse(text: &str) -> Result<StoreAddress, StoreAddressError> {
        if let Some(path) = text.strip_prefix("sqlite://") {
            let path = Path::new(path);
            return match path.is_absolute() && path.file_name().is_some() {
                true => Ok(StoreAddress::Sqlite(path.into())),
                false => Err(StoreAddressError::RelativePath),
            };
        }
        match text.starts_with("postgres://") || text.starts_with("postgresql://") {
            true => Ok(StoreAddress::Postgres(text.into())),
            false => Err(StoreAddressError::Unknown),
        }
    }

    /// Opens the store. A file is made when there is none, and so are the tables of a server. Blocks; for a
    /// server not to be called from within a tokio runtime.
    pub fn open(&self) -> Result<Box<dyn CursorStore>, StoreError> {
        match self {
            #[cfg(feature = "sqlite")]
            StoreAddress::Sqlite(path) => Ok(Box::new(super::SqliteStore::open(path)?)),
            #[cfg(not(feature = "sqlite"))]
            StoreAddress::Sqlite(_) => Err(StoreError::NotBuilt { feature: "sqlite" }),
            #[cfg(feature = "postgres")]
            StoreAddress::Postgres(address) => {
                Ok(Box::new(super::PostgresStore::connect(address)?))
            }
            #[cfg(not(feature = "postgres"))]
            StoreAddress::Postgres(_) => Err(StoreError::NotBuilt { feature: "postgres" }),
        }
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreAddress::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            StoreAddress::Postgres(address) => f.write_str(&without_password(address)),
        }
    }
}

impl fmt::Debug for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreAddress({self})")
    }
}

/// The text without what could be a password: that of the user, and one in a parameter. A password may have
/// any characters, so too much is left out rather than too little.
pub(crate) fn without_password(text: &str) -> String {
    let mut shown = text.to_owned();
    if let (Some(scheme), Some(host)) = (text.find("://"), text.rfind('@')) {
        let user = scheme + 3;
        let colon = text.get(user..host).and_then(|user| user.find(':'));
        if let Some(colon) = colon {
            shown.replace_range(user + colon + 1..host, "…");
        }
    }
    let mut from = 0;
    while let Some(at) = shown[from..].find("password=") {
        let value = from + at + "password=".len();
        let end = shown[value..].find('&').map_or(shown.len(), |end| value + end);
        shown.replace_range(value..end, "…");
        from = value + '…'.len_utf8();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused_without_being_repeated() {
        let file = StoreAddress::parse("sqlite:///var/lib/c.db").expect("a file");
        assert_eq!(file, StoreAddress::Sqlite("/var/lib/c.db".into()));
        assert_eq!(file.to_string(), "sqlite:///var/lib/c.db");
        for text in ["postgres://u:s@h/d", "postgresql://h"] {
            assert!(matches!(StoreAddress::parse(text), Ok(StoreAddress::Postgres(_))), "{text}");
        }
        for (text, error) in [
            ("sqlite://c.db", StoreAddressError::RelativePath),
            ("sqlite:///", StoreAddressError::RelativePath),
            ("/var/lib/c.db", StoreAddressError::Unknown),
            ("mysql://u:secret@h", StoreAddressError::Unknown),
            ("", StoreAddressError::Unknown),
        ] {
            let said = StoreAddress::parse(text).expect_err(text);
            assert_eq!(said, error, "{text}");
            assert!(!said.to_string().contains("secret"));
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for (text, shown) in [
            ("postgres://u:secret@h:5432/d", "postgres://u:…@h:5432/d"),
            ("postgres://u:se@c:r/et@h/d", "postgres://u:…@h/d"),
            ("postgres://u@h/d", "postgres://u@h/d"),
            ("postgres://h:5432/d", "postgres://h:5432/d"),
            ("postgres://h/d?password=secret", "postgres://h/d?password=…"),
            (
                "postgres://h/d?password=secret&x=1&sslpassword=secret",
                "postgres://h/d?password=…&x=1&sslpassword=…",
            ),
        ] {
            let address = StoreAddress::parse(text).expect(text);
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), format!("StoreAddress({shown})"));
        }
    }
}
