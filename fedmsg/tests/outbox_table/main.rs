//! An application's outbox table: its rows, in SQLite and in PostgreSQL, a publisher with a real journal, and crashes
//! after every step.

mod aside;
mod crashes;
mod owners;
#[cfg(feature = "postgres")]
mod postgres;
mod publishing;
#[cfg(feature = "postgres")]
#[path = "../consumer_store/server.rs"]
mod server;
mod sqlite;
mod world;

/// Says so where everybody sees it: what is printed in the usual way is not shown for a test that passes.
#[cfg(feature = "postgres")]
fn not_run(why: &str) {
    use std::io::Write;
    writeln!(std::io::stderr(), "NOT RUN: {why}").expect("somebody reads the errors");
}
