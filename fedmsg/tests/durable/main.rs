//! Durable consumers over the bus in memory, with journals and stores that outlive their processes.

mod forgetting;
mod going_on;
mod late;
mod owners;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
#[path = "../consumer_store/server.rs"]
mod server;
mod tasks;
mod trying;
mod world;

/// Says so where everybody sees it: what is printed in the usual way is not shown for a test that passes.
#[cfg(feature = "postgres")]
fn not_run(why: &str) {
    use std::io::Write;
    writeln!(std::io::stderr(), "NOT RUN: {why}").expect("somebody reads the errors");
}
