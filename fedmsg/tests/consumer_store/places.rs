//! The stores that every case runs on.

use std::path::{Path, PathBuf};

#[cfg(feature = "postgres")]
use fedmsg::consumer::PostgresStore;
use fedmsg::consumer::{Bounds, CursorStore, SqliteStore, StoreError};
use fedmsg::testing::MemoryStore;
use tempfile::TempDir;

/// A place for one store, which any number of processes can open.
pub struct Place {
    /// The test that runs, by its name: a child process runs the same one.
    pub test: &'static str,
    /// What a child process was told to do.
    pub child: Option<String>,
    kind: Kind,
    _folder: Option<TempDir>,
}

enum Kind {
    Memory(MemoryStore),
    Sqlite(PathBuf),
    #[cfg(feature = "postgres")]
    Postgres(String),
}

impl Place {
    pub fn memory(test: &'static str) -> Option<Place> {
        Some(Place::of(test, Kind::Memory(MemoryStore::new())))
    }

    pub fn sqlite(test: &'static str) -> Option<Place> {
        let folder = tempfile::tempdir().expect("a folder");
        let kind = Kind::Sqlite(folder.path().join("state").join("consumers.db"));
        Some(Place { _folder: Some(folder), ..Place::of(test, kind) })
    }

    /// A schema of its own on the server; none where there is no server.
    #[cfg(feature = "postgres")]
    pub fn postgres(test: &'static str) -> Option<Place> {
        let url = crate::server::shared()?.schema();
        Some(Place::of(test, Kind::Postgres(url)))
    }

    fn of(test: &'static str, kind: Kind) -> Place {
        Place { test, child: None, kind, _folder: None }
    }

    pub fn open(&self) -> Box<dyn CursorStore> {
        self.open_with(Bounds::default())
    }

    pub fn open_with(&self, bounds: Bounds) -> Box<dyn CursorStore> {
        self.try_open(bounds).expect("opened")
    }

    pub fn try_open(&self, bounds: Bounds) -> Result<Box<dyn CursorStore>, StoreError> {
        Ok(match &self.kind {
            Kind::Memory(store) => Box::new(store.clone().with_bounds(bounds)),
            Kind::Sqlite(path) => Box::new(SqliteStore::open(path)?.with_bounds(bounds)),
            #[cfg(feature = "postgres")]
            Kind::Postgres(url) => Box::new(PostgresStore::connect(url)?.with_bounds(bounds)),
        })
    }

    /// Runs statements past the store.
    pub fn sql(&self, script: &str) {
        match &self.kind {
            Kind::Memory(_) => panic!("nothing is stored in SQL here"),
            Kind::Sqlite(path) => {
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                let connection = rusqlite::Connection::open(path).expect("opened");
                connection.execute_batch(script).expect(script);
            }
            #[cfg(feature = "postgres")]
            Kind::Postgres(url) => crate::server::psql(url, script),
        }
    }

    /// How these bytes are written in a statement.
    pub fn blob(&self, hex: &str) -> String {
        match &self.kind {
            #[cfg(feature = "postgres")]
            Kind::Postgres(_) => format!("'\\x{hex}'"),
            _ => format!("X'{hex}'"),
        }
    }

    /// For another process.
    pub fn address(&self) -> String {
        match &self.kind {
            Kind::Memory(_) => panic!("no other process can come here"),
            Kind::Sqlite(path) => format!("sqlite {}", path.display()),
            #[cfg(feature = "postgres")]
            Kind::Postgres(url) => format!("postgres {url}"),
        }
    }

    /// What this process was given, when it is a child.
    pub fn given(test: &'static str) -> Option<Place> {
        let address = std::env::var(ADDRESS).ok()?;
        let (kind, rest) = address.split_once(' ').expect("an address");
        let kind = match kind {
            "sqlite" => Kind::Sqlite(Path::new(rest).into()),
            #[cfg(feature = "postgres")]
            "postgres" => Kind::Postgres(rest.into()),
            _ => panic!("{address}"),
        };
        Some(Place { child: Some(std::env::var(JOB).expect("a job")), ..Place::of(test, kind) })
    }
}

/// Variables for child processes: where the store is, and what to do.
pub const ADDRESS: &str = "FEDMSG_TEST_ADDRESS";
pub const JOB: &str = "FEDMSG_TEST_JOB";
